/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a key's hash to the number of an element that somebody else holds: open addressing, eight slots in a
 * cache line, at most half full. Elements are told apart by whoever holds them.
 */
#ifndef WEIR_KEY_INDEX_H
#define WEIR_KEY_INDEX_H

#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdlib.h>

#define KEY_NONE (~0U)

struct key_slot {
	__u32 tag; /* the hash's upper half: where it belongs, too */
	__u32 id;  /* the element's number + 1; 0: free */
};

struct key_index {
	struct key_slot *slots;
	__u32 mask, n;
};

static inline int key_index_init(struct key_index *x, __u32 room)
{
	__u32 size = 64;

	while (size < 2 * room)
		size *= 2;
	x->slots = calloc(size, sizeof(*x->slots));
	x->mask = size - 1;
	x->n = 0;
	return x->slots ? 0 : -ENOMEM;
}

static inline void key_index_free(struct key_index *x)
{
	free(x->slots);
	x->slots = NULL;
}

/* Goes on from *at (hash >> 32 to begin with): the next element that may be the one, or KEY_NONE. */
static inline __u32 key_index_next(const struct key_index *x, __u64 hash, __u32 *at)
{
	__u32 tag = hash >> 32;

	for (*at &= x->mask; x->slots[*at].id; *at = (*at + 1) & x->mask) {
		if (x->slots[*at].tag == tag)
			return x->slots[(*at)++].id - 1;
	}
	return KEY_NONE;
}

static inline void key_index_place(struct key_index *x, __u32 tag, __u32 id)
{
	__u32 at = tag & x->mask;

	while (x->slots[at].id)
		at = (at + 1) & x->mask;
	x->slots[at] = (struct key_slot){tag, id + 1};
}

static inline int key_index_add(struct key_index *x, __u64 hash, __u32 id)
{
	struct key_index old = *x;

	if (x->n * 2 > x->mask) {
		if (key_index_init(x, x->mask + 1)) {
			*x = old;
			return -ENOMEM;
		}
		for (__u32 i = 0; i <= old.mask; i++)
			if (old.slots[i].id)
				key_index_place(x, old.slots[i].tag, old.slots[i].id - 1);
		x->n = old.n;
		free(old.slots);
	}
	key_index_place(x, hash >> 32, id);
	x->n++;
	return 0;
}

/* Those behind it move up, so that no lookup stops before them (Knuth, volume 3, 6.4, algorithm R). */
static inline void key_index_remove(struct key_index *x, __u64 hash, __u32 id)
{
	__u32 at = hash >> 32 & x->mask, next;

	while (x->slots[at].id != id + 1)
		at = (at + 1) & x->mask;
	for (next = (at + 1) & x->mask; x->slots[next].id; next = (next + 1) & x->mask) {
		if (((next - x->slots[next].tag) & x->mask) < ((next - at) & x->mask))
			continue;
		x->slots[at] = x->slots[next];
		at = next;
	}
	x->slots[at].id = 0;
	x->n--;
}

#endif
