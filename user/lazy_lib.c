// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "lazy_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool find_all(void *handle, const struct lazy_symbol *s)
{
	void *found = handle;

	for (; s->name && found; s++) {
		found = dlsym(handle, s->name);
		memcpy(s->pointer, &found, sizeof(found));
	}
	return found;
}

/* It is never unloaded: some libraries cannot be. */
int lazy_load(struct lazy_lib *lib, char *why, size_t len)
{
	void *handle;

	if (lib->loaded)
		return 0;
	handle = dlopen(lib->soname, RTLD_NOW | RTLD_NODELETE);
	lib->loaded = find_all(handle, lib->symbols);
	if (lib->loaded)
		return 0;
	snprintf(why, len, "needs the library of Debian's package %s: %s", lib->package, dlerror());
	return -ELIBACC;
}
