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

/* What precedes the value. */
struct key_copy {
	union {
		struct weir_slot slot;
		__u8 bytes[WEIR_SLOT_HDR + WEIR_KEY_AT + 256];
	};
};

/* False: it changed meanwhile. */
bool copy_slot(struct copy *to, const struct weir_slot *from);
/* The published slot of a key, one that changes while it is copied looked up again. False: there is none. */
bool copy_of_key(struct copy *to, const struct hotset *h, __u8 svc, const char *key, size_t len);
/* Of a slot in mem. The copy may be nonsense, but is within bounds: those of services, entries and keys. */
bool copy_key(struct key_copy *to, const struct hotset_mem *mem, const struct weir_slot *from);

#endif
