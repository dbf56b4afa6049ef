/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services changed by commands. What runs is written down as a configuration, with the change in it, checked
 * as one, and put into the programs as a reload does it; pools stay as they are.
 */
#ifndef WEIR_SERVICE_EDIT_H
#define WEIR_SERVICE_EDIT_H

#include "session.h"

/* Texts as in weir.yaml; lists are separated by commas. NULL: as it is, or of a new service the default. */
struct service_edit {
	const char *name;
	bool add, del;
	const char *vips, *clients, *pool, *protocol, *fragments, *cache, *origin, *ttl;
	const char *migrate; /* "POOL=PERCENT", "none" */
};

/* Opens for itself, so that the session must be closed. 0, or the exit status after the reason was told. */
int service_edit(const char *what, const struct service_edit *e);

/* The share of the keys that have moved, as it was configured. */
double migrate_percent(__u16 migrate);

#endif
