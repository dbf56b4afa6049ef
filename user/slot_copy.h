/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A slot as it was at one moment. Reading commands take no lock, and a slot can be reused under their
 * eyes, so that lengths are checked before they are trusted.
 */
#ifndef WEIR_SLOT_COPY_H
#define WEIR_SLOT_COPY_H

#include "hotset.h"

struct copy {
	union {
		struct weir_slot slot;
		__u8 bytes[WEIR_SLOT_LINES_MAX * WEIR_LINE];
	};
};

/* False: it changed meanwhile. */
bool copy_slot(struct copy *to, const struct weir_slot *from);
/* The published slot of a key, one that changes while it is copied looked up again. False: there is none. */
bool copy_of_key(struct copy *to, const struct hotset *h, __u8 svc, const char *key, size_t len);

#endif
