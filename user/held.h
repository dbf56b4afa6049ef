/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys of one service that promotion holds, or has asked for, each with its hits and writes within the
 * window.
 */
#ifndef WEIR_HELD_H
#define WEIR_HELD_H

#include <stdbool.h>
#include <stddef.h>

#include "key_index.h"
#include "panes.h"

struct held_key {
	__u64 hash;
	__u64 since_ns; /* asked for; once it is in, in; */
	bool in;
	bool promoted;        /* or somebody else brought it */
	bool looked;          /* fence is known */
	bool leaving;         /* it is to give way to another one, */
	__u64 gives_way;      /* and to this one that key does: its hash; 0: none */
	bool made_room;       /* that one went before its value was there */
	__u64 round;          /* when it was last seen in the hot set */
	__u64 counter, fence; /* of the last look */
	__u32 hits[PANE_SLOTS], writes[PANE_SLOTS];
	__u32 id;
	__u8 len;
	char key[];
};

struct held {
	struct panes panes;
	struct key_index index;
	struct held_key **all;    /* NULL: the place is free */
	__u32 nall, room, n, nin; /* places; keys; those that are in */
	__u32 full;               /* no place before this one is free */
};

int held_init(struct held *h, __u64 window_ns, __u64 now_ns);
void held_clear(struct held *h);
struct held_key *held_find(const struct held *h, __u64 hash, const char *key, size_t len);
/* Of those with this hash any one. */
struct held_key *held_by_hash(const struct held *h, __u64 hash);
/* NULL: no memory. */
struct held_key *held_add(struct held *h, __u64 hash, const char *key, size_t len, __u64 now_ns);
void held_remove(struct held *h, struct held_key *k);
void held_set_in(struct held *h, struct held_key *k, __u64 now_ns);
/* Its hit counter and its fence are now these; what was added goes to the present pane. */
void held_look(struct held *h, struct held_key *k, __u64 counter, __u64 fence, __u64 now_ns);
/* Comes to the present: before the next three. */
void held_turn(struct held *h, __u64 now_ns);
__u64 held_hits(const struct held *h, const struct held_key *k, __u64 now_ns);
__u64 held_writes(const struct held *h, const struct held_key *k, __u64 now_ns);
/* Of the present pane and the one before. */
__u64 held_lately(const struct held *h, const __u32 *n);

#endif
