/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Libraries that few commands need are not linked, but opened when they are needed: to load them, with all
 * that they need themselves, takes longer than what most commands do. Next to its user a library has one table:
 *
 *	#define Z_FUNCTIONS(X) X(deflate) X(inflate)
 *	LAZY_LIB(z, "libz.so.1", "zlib1g", Z_FUNCTIONS);
 *
 * After lazy_load(&z, ...) these are sym_deflate() and sym_inflate(), with the types that the header gives
 * them. One that is called by its own name does not link.
 */
#ifndef WEIR_LAZY_LIB_H
#define WEIR_LAZY_LIB_H

#include <stdbool.h>
#include <stddef.h>

struct lazy_symbol {
	const char *name;
	void *pointer; /* the address of sym_NAME */
};

struct lazy_lib {
	const char *soname, *package; /* Debian's */
	const struct lazy_symbol *symbols; /* the last one's name is NULL */
	bool loaded;
};

#define LAZY_POINTER(function) static typeof(function) *sym_##function;
#define LAZY_SYMBOL(function)  { #function, &sym_##function },
#define LAZY_LIB(lib, soname, package, FUNCTIONS) \
	FUNCTIONS(LAZY_POINTER) \
	static const struct lazy_symbol lib##_symbols[] = { FUNCTIONS(LAZY_SYMBOL) {} }; \
	static struct lazy_lib lib = { soname, package, lib##_symbols, false }

/* Once is enough, more do no harm. 0; else -errno, and why in words, to follow a noun: "needs ...". */
int lazy_load(struct lazy_lib *lib, char *why, size_t len);

#endif
