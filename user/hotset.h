/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hot set as its one writer sees it: plain memory (mapped BPF maps, or malloc'ed in tests).
 * Publication is one 64-bit store of an index word; a slot that was visible is reused only after
 * `grace` has returned, which waits until no program can still hold it. What is free is derived
 * from the index each time the hot set is opened, so a writer that was killed leaks nothing.
 */
#ifndef WEIR_HOTSET_H
#define WEIR_HOTSET_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/abi.h"
#include "weir/invalidation.h"

struct hotset;

/* Where the parts are. `grace` may be NULL for a reader. */
struct hotset_mem {
	struct weir_ctl *ctl;
	struct weir_bucket *index;
	struct weir_slab *slabs;
	__u64 *hits; /* [ncpu][hit_entries], or NULL */
	const struct weir_fence *fences;
	const struct weir_svc_fence *svc_fences;
	struct weir_invalidation *invalidations; /* or NULL: they are not counted */
	int (*grace)(void *arg); /* 0, or -errno: then no slot is reused */
	void *grace_arg;
};

/* A fence as it stood before the value was fetched. */
struct hot_fence {
	__u64 key, svc;
	__u64 fills; /* of the service, see struct weir_svc_fence: not kept in the slot */
};

struct hot_item {
	const char *key; /* key_len bytes, 1..WEIR_KEY_MAX, not terminated */
	const void *value;
	size_t key_len;
	size_t value_len;
	__u32 client_flags;
	__u8 svc;
	__u8 flags; /* WEIR_SLOT_* */
	__u64 cas;  /* when WEIR_SLOT_CAS */
	__u64 expires_ns;
	struct hot_fence fence;
};

enum hot_put { HOT_ADDED, HOT_REPLACED, HOT_UNCHANGED };

struct hotset_usage {
	__u64 keys, capacity;
	__u64 lines, lines_total; /* lines in slots, lines in all slabs */
};

/* Opens for writing (scans the index, waits out a killed writer's grace period). 0 or -errno. */
int hotset_open(struct hotset **out, const struct hotset_mem *mem);
/* Waits for readers of everything retired, then frees. 0, or what grace said. */
int hotset_close(struct hotset *h);
/* From now on a put never waits for readers: -EAGAIN, there would be room once they are waited for. */
void hotset_never_wait(struct hotset *h);
/* Of a writer that stays open: how many slots wait for readers; */
unsigned hotset_retired(const struct hotset *h);
/* its caller has waited the grace period since the last change, so that they are free. */
void hotset_waited(struct hotset *h);
/* Frees the handle alone: for one that another writer has made old. The next writer waits for what it retired. */
void hotset_abandon(struct hotset *h);

/*
 * Publishes an item. enum hot_put, or -ENOSPC (no slot or no entry free), -EXFULL (both buckets
 * full), -EMSGSIZE (the text reply exceeds one datagram), -EINVAL (not a memcached key).
 */
int hotset_put(struct hotset *h, const struct hot_item *item);
/* 0, or -ENOENT. */
int hotset_drop(struct hotset *h, __u8 svc, const char *key, size_t key_len);
/* The published slot of a key, or NULL. Valid until the next put, drop or close. */
const struct weir_slot *hotset_find(const struct hotset *h, __u8 svc, const char *key, size_t key_len);
/* The fence of a key now: read it before the value is fetched. */
struct hot_fence hotset_fence(const struct hotset *h, __u8 svc, const char *key, size_t key_len);
/* Whether it is another now: then what was fetched meanwhile must not be published. Asked with the writers' lock. */
bool hotset_fence_moved(const struct hotset *h, __u8 svc, const char *key, size_t key_len,
			const struct hot_fence *since);
/* CLOCK_MONOTONIC ns of the last write seen to the key's stripe or service; 0: none. */
__u64 hotset_last_write(const struct hotset *h, __u8 svc, const char *key, size_t key_len);
/* Whether a packet would be answered now, as far as fences and expiry go: a reason (WEIR_R_HIT,
 * WEIR_R_EXPIRED, WEIR_R_FENCED). */
int hotset_state(const struct hotset *h, const struct weir_slot *slot, __u64 now_ns);
/* That in a word: "hit", "expired", "fenced". */
const char *hotset_state_name(int reason);
/* Sum of the slot's hit counters over all CPUs. */
__u64 hotset_hits(const struct hotset *h, const struct weir_slot *slot);
/* Calls fn for each published slot; stops when it returns non-zero, and returns that. */
int hotset_each(struct hotset *h, int (*fn)(const struct weir_slot *slot, void *arg), void *arg);
/* The same for n buckets of the index, from `first` on. */
int hotset_each_in(struct hotset *h, __u32 first, __u32 n, int (*fn)(const struct weir_slot *slot, void *arg),
		   void *arg);
/* Drops each published slot for which fn returns true; how many. */
__u64 hotset_drop_if(struct hotset *h, bool (*fn)(const struct weir_slot *slot, void *arg), void *arg);
struct hotset_usage hotset_usage(const struct hotset *h);

/* Whether an item can ever fit: lines its slot takes, or -EMSGSIZE, -EINVAL. */
int hotset_lines(const struct hot_item *item);
/* Whether memcached would take it as a key: 1..250 bytes, none of them a space or control. */
bool hotset_key_ok(const char *key, size_t key_len);

__u64 hot_hash(__u64 seed, __u8 svc, const char *key, size_t key_len);
__u64 monotonic_ns(void);

static inline const char *slot_key(const struct weir_slot *s)
{
	return (const char *)s->text + WEIR_KEY_AT;
}

static inline const char *slot_value(const struct weir_slot *s)
{
	return (const char *)s->text + s->head_len;
}

#endif
