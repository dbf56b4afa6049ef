/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which keys of a stream come most often, within a window and in bounded memory: Space-Saving (Metwally,
 * Agrawal, El Abbadi 2005), anew for each pane of the window. A key is stored once, with its counts in all
 * panes.
 *
 * A count is never more than what was seen. It lacks at most `over`: in each pane what the key that it took the
 * place of had, or when it has no counter there, the least counter. Each is at most 1/counters of what the pane
 * saw. Once the counters are used up, a doorkeeper (Einziger, Friedman, Manes 2017) lets in only what comes
 * twice, so that keys which come once do not wear out the counters; what it kept out is in `over`, too.
 */
#ifndef WEIR_SKETCH_H
#define WEIR_SKETCH_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct sketch;

struct sketch_count {
	__u64 n;    /* seen within the window while it had a counter */
	__u64 over; /* so much more at most */
};

struct sketch_usage {
	__u32 counters;       /* of a pane */
	__u32 used;           /* of the present pane */
	__u32 keys;           /* stored, of all panes; at most four times the counters */
	__u32 least;          /* the least counter of the present pane; 0: not all are used */
	__u64 bytes;          /* of memory */
	__u64 seen, kept_out; /* since it was made; by the doorkeeper */
};

typedef void (*sketch_fn)(const char *key, size_t len, __u64 hash, __u64 n, void *arg);

int sketch_new(struct sketch **out, __u32 counters, __u64 window_ns, __u64 now_ns);
void sketch_free(struct sketch *s);
/* A key (of 1 to 255 bytes) was seen; how often within the window, as in sketch_count. Time never goes back. */
__u64 sketch_add(struct sketch *s, __u64 hash, const char *key, size_t len, __u64 now_ns);
/* False: it has no counter in any pane. */
bool sketch_find(struct sketch *s, __u64 hash, const char *key, size_t len, __u64 now_ns,
		 struct sketch_count *c);
/* Each key with a counter in some pane. */
void sketch_each(struct sketch *s, __u64 now_ns, sketch_fn fn, void *arg);
void sketch_usage(const struct sketch *s, struct sketch_usage *u);

#endif
