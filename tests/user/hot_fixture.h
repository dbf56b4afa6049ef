/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A data plane that is plain memory, for tests of what the agent does with the hot set: it stands in the place of
 * dataplane.c. The writers' lock is a file; the grace period takes as long as it is told to.
 */
#ifndef WEIR_HOT_FIXTURE_H
#define WEIR_HOT_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "dataplane.h"
#include "test.h"
#include "weir/hash.h"
#include "weir/reason.h"

#define SVC 2

struct dataplane {
	struct hotset_mem mem;
	struct weir_ctl ctl;
	struct weir_fence *fences;
	struct weir_svc_fence *svc_fences;
	char lock[32];
	int gone; /* what dp_lock_now() says */
	unsigned grace_ms;
	int grace_err;
	unsigned graces;
	bool in_grace;
};

int dp_lock_now(struct dataplane *dp)
{
	int fd = open(dp->lock, O_RDONLY | O_CLOEXEC);

	if (!dp->gone && !flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	close(fd);
	return dp->gone ?: -EBUSY;
}

const struct hotset_mem *dp_hotset_mem(struct dataplane *dp)
{
	return &dp->mem;
}

struct weir_ctl *dp_ctl(struct dataplane *dp)
{
	return &dp->ctl;
}

static inline int on_grace(void *arg)
{
	struct dataplane *dp = arg;

	__atomic_store_n(&dp->in_grace, true, __ATOMIC_SEQ_CST);
	usleep(dp->grace_ms * 1000);
	dp->graces++;
	__atomic_store_n(&dp->in_grace, false, __ATOMIC_SEQ_CST);
	return dp->grace_err;
}

static inline void dp_setup(struct dataplane *dp, __u32 buckets, __u32 slabs, __u32 entries)
{
	memset(dp, 0, sizeof(*dp));
	dp->ctl.hash_seed = 77;
	dp->ctl.index_buckets = buckets;
	dp->ctl.slabs = slabs;
	dp->ctl.entries = dp->ctl.hit_entries = entries;
	dp->ctl.ncpu = 1;
	dp->ctl.generation = 1;
	strcpy(dp->ctl.services[SVC].name, "sessions");
	dp->ctl.services[SVC].flags = WEIR_SVC_CACHE;
	dp->ctl.services[SVC].ttl_ns = 60000000000ULL;
	dp->ctl.services[SVC].value_max = WEIR_TEXT_MAX;
	dp->fences = calloc(WEIR_FENCE_STRIPES, sizeof(*dp->fences));
	dp->svc_fences = calloc(WEIR_SERVICES_MAX, sizeof(*dp->svc_fences));
	dp->mem = (struct hotset_mem){
		.ctl = &dp->ctl,
		.index = aligned_alloc(WEIR_LINE, buckets * sizeof(struct weir_bucket)),
		.slabs = aligned_alloc(WEIR_LINE, slabs * sizeof(struct weir_slab)),
		.hits = calloc(entries, sizeof(__u64)),
		.fences = dp->fences,
		.svc_fences = dp->svc_fences,
		.grace = on_grace,
		.grace_arg = dp,
	};
	memset(dp->mem.index, 0, buckets * sizeof(struct weir_bucket));
	memset(dp->mem.slabs, 0, slabs * sizeof(struct weir_slab));
	strcpy(dp->lock, "/tmp/weir-test-XXXXXX");
	close(mkstemp(dp->lock));
}

static inline void dp_teardown(struct dataplane *dp)
{
	unlink(dp->lock);
	free(dp->fences);
	free(dp->svc_fences);
	free(dp->mem.index);
	free(dp->mem.slabs);
	free(dp->mem.hits);
}

static inline struct weir_fence *fence_of(struct dataplane *dp, const char *key)
{
	return &dp->fences[weir_stripe(hot_hash(dp->ctl.hash_seed, SVC, key, strlen(key)))];
}

/* As a write that passes. */
static inline void raise_fence(struct dataplane *dp, const char *key)
{
	fence_of(dp, key)->count++;
	fence_of(dp, key)->last_ns = monotonic_ns();
}

/* What a packet would find: the value of a key that would be answered now; else "miss", "expired", "fenced". */
static inline const char *look(struct dataplane *dp, const char *key)
{
	struct hotset_mem reader = dp->mem;
	const struct weir_slot *s;
	static char value[2048];
	struct hotset *h;
	int state;

	reader.grace = NULL;
	CHECK_INT(hotset_open(&h, &reader), 0);
	s = hotset_find(h, SVC, key, strlen(key));
	state = s ? hotset_state(h, s, monotonic_ns()) : WEIR_R_MISS;
	snprintf(value, sizeof(value), "%s", state == WEIR_R_MISS ? "miss" : hotset_state_name(state));
	if (state == WEIR_R_HIT)
		snprintf(value, sizeof(value), "%.*s", s->value_len, slot_value(s));
	hotset_close(h);
	return value;
}

/* A copy of the key's slot; false: there is none. */
static inline bool slot_of(struct dataplane *dp, const char *key, struct weir_slot *slot)
{
	struct hotset_mem reader = dp->mem;
	const struct weir_slot *s;
	struct hotset *h;

	reader.grace = NULL;
	CHECK_INT(hotset_open(&h, &reader), 0);
	s = hotset_find(h, SVC, key, strlen(key));
	if (s)
		*slot = *s;
	hotset_close(h);
	return s;
}

static inline struct hot_item item_of(const char *key, const char *value)
{
	return (struct hot_item){ .key = key, .key_len = strlen(key), .value = value, .value_len = strlen(value),
				  .svc = SVC, .expires_ns = WEIR_NEVER };
}

/* Another process's command: opens the hot set anew under the lock, puts or drops, and closes. */
static inline void by_hand(struct dataplane *dp, const char *key, const char *value)
{
	struct hot_item it = item_of(key, value ?: "");
	struct hotset *h;
	int lock = -1;

	for (int i = 0; i < 200 && lock < 0; i++) {
		lock = dp_lock_now(dp);
		usleep(lock < 0 ? 10000 : 0);
	}
	if (!CHECK(lock >= 0) || !CHECK_INT(hotset_open(&h, &dp->mem), 0))
		return;
	it.fence.key = fence_of(dp, key)->count;
	it.fence.svc = dp->svc_fences[SVC].count;
	CHECK(value ? hotset_put(h, &it) >= 0 : !hotset_drop(h, SVC, key, strlen(key)));
	CHECK_INT(hotset_close(h), 0);
	close(lock);
}

#endif
