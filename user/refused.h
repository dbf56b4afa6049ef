/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which keys stay out for a while, and why: a table of fixed size, by hash. When it is full, what would end
 * soonest is forgotten, and such a key is tried again before its time.
 */
#ifndef WEIR_REFUSED_H
#define WEIR_REFUSED_H

#include <linux/types.h>
#include <string.h>

#define REFUSED_SETS 1024
#define REFUSED_WAYS 4

struct refusal {
	__u64 hash;
	__u64 until_ns; /* 0: free */
	__u32 reason;
};

struct refused {
	struct refusal by[REFUSED_SETS][REFUSED_WAYS];
};

static inline struct refusal *refused_set(struct refused *r, __u64 hash)
{
	return r->by[(hash * 0x9e3779b97f4a7c15ULL) >> 54];
}

/* NULL: it is not, or no longer. */
static inline const struct refusal *refused_find(struct refused *r, __u64 hash, __u64 now_ns)
{
	struct refusal *set = refused_set(r, hash);

	for (int i = 0; i < REFUSED_WAYS; i++) {
		if (set[i].hash == hash && set[i].until_ns > now_ns)
			return &set[i];
	}
	return NULL;
}

static inline void refused_add(struct refused *r, __u64 hash, __u32 reason, __u64 until_ns)
{
	struct refusal *set = refused_set(r, hash), *to = set;

	for (int i = 0; i < REFUSED_WAYS; i++) {
		if (set[i].hash == hash) {
			to = &set[i];
			break;
		}
		if (set[i].until_ns < to->until_ns)
			to = &set[i];
	}
	*to = (struct refusal){hash, until_ns, reason};
}

#endif
