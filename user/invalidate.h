/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Values changed at the origin, and no packet told: what commands, HTTP and the bus say is applied here. A fence
 * is raised, as programs raise it for a write that they see, and before anything is dropped: so a value that is
 * being fetched at that moment is not published. This needs no lock.
 */
#ifndef WEIR_INVALIDATE_H
#define WEIR_INVALIDATE_H

#include "hotset.h"

extern const char *const inval_levels[], *const inval_sources[]; /* names, by WEIR_INVAL_* */

/* Who says so. */
struct inval {
	enum weir_inval_source source;
	const char *reason; /* a word as inval_reason_ok() has it; NULL: none was given */
};

/* 1 to 32 bytes of ASCII that print, no space among them. */
bool inval_reason_ok(const char *reason, size_t len);

/* The fence of the key's stripe: its copy answers no more, whether it is dropped or not. */
void inval_key(const struct hotset_mem *m, const struct inval *by, __u8 svc, const char *key, size_t len);
/* The service's: none of its copies does. */
void inval_service(const struct hotset_mem *m, const struct inval *by, __u8 svc);

struct inval_prefix {
	const char *text; /* as the first bytes of a key may be: hotset_key_ok() */
	size_t len;
};

/*
 * Keys with one of these prefixes, in two steps. The first: of this service nothing is published that is being
 * fetched now. (Whose keys these are nobody knows here, and to ask for them again costs little.)
 */
void inval_prefixes(const struct hotset_mem *m, const struct inval *by, __u8 svc, unsigned n);
/*
 * The second, of each slot that is held: true where it has one of them, after its fence was raised. Sound when
 * nobody publishes between the first step and the end of the second what was fetched before: see inval_service()
 * else.
 */
bool inval_has_prefix(const struct hotset_mem *m, const struct weir_slot *s, __u8 svc,
		      const struct inval_prefix *prefixes, unsigned n);

/* The fence alone, which nobody asked for by name: it is not counted. */
void inval_fence_service(const struct hotset_mem *m, __u8 svc);

#endif
