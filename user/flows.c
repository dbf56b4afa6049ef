// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "flows.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The tick of a packet may be ahead of one that was read before: so far it is no idle time at all. */
#define AHEAD 64

__u32 flows_tick(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts); /* the programs' clock is as coarse */
	return ((__u64)ts.tv_sec * 1000000000 + ts.tv_nsec) >> WEIR_TICK & WEIR_TICK_MASK;
}

__u32 flows_ticks(__u64 ns)
{
	__u64 ticks = (ns >> WEIR_TICK) + !!(ns & ((1ULL << WEIR_TICK) - 1));

	return ticks > WEIR_TICK_MASK / 2 ? WEIR_TICK_MASK / 2 : ticks;
}

static __u32 idle(__u64 word, __u32 tick)
{
	__u32 n = weir_flow_idle(word, tick);

	return n > WEIR_TICK_MASK - AHEAD ? 0 : n;
}

static __u64 load_word(const __u64 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static struct weir_member *member_of(const struct pools_mem *m, unsigned backend)
{
	return &m->pools[backend / WEIR_POOL_BACKENDS].member[backend % WEIR_POOL_BACKENDS];
}

/* Takes a flow out as it was read, and settles it. False: somebody changed it first; *old is what it is now. */
static bool exchange(const struct pools_mem *m, __u64 *word, __u64 *old, __u64 uncounted)
{
	if (!__atomic_compare_exchange_n(word, old, uncounted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	if (weir_flow_counts(weir_flow_state(*old)))
		__atomic_sub_fetch(&member_of(m, weir_flow_backend(*old))->active, 1, __ATOMIC_SEQ_CST);
	return true;
}

static bool take_out(const struct pools_mem *m, __u64 *word, __u64 *old)
{
	return exchange(m, word, old, 0);
}

/* ---- for people ------------------------------------------------------------------------------- */

/* See struct weir_flow_bucket in include/weir/steer.h. */
void flow_who(struct flow_seen *f, __u64 info)
{
	*f = (struct flow_seen){
		.svc = info >> 10 & 63,
		.port = info >> 16,
		.family = info & 2 ? 6 : 4,
		.tcp = info & 1,
	};
	f->client.w[f->family == 4 ? 0 : 3] = info >> 32;
}

static void describe(struct flow_seen *f, __u64 word, __u64 info, __u32 tick)
{
	flow_who(f, info);
	f->state = weir_flow_state(word);
	f->backend = weir_flow_backend(word);
	f->idle_ns = (__u64)idle(word, tick) << WEIR_TICK;
}

/* A flow and who it is: read again when another took its place in between. */
static __u64 read_flow(const struct pools_mem *m, __u32 bucket, int i, __u64 *info)
{
	__u64 word = load_word(&m->flows[bucket].word[i]), again;

	for (;; word = again) {
		*info = load_word(&m->flows[bucket].info[i]);
		again = load_word(&m->flows[bucket].word[i]);
		if (!((word ^ again) >> WEIR_FLOW_TAG))
			return again;
	}
}

int flows_each(const struct pools_mem *m, int (*fn)(const struct flow_seen *flow, void *arg), void *arg)
{
	__u32 tick = flows_tick();

	for (__u32 b = 0; b < m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			struct flow_seen flow;
			__u64 info, word = read_flow(m, b, i, &info);
			int stop;

			if (!word)
				continue;
			describe(&flow, word, info, tick);
			stop = fn(&flow, arg);
			if (stop)
				return stop;
		}
	}
	return 0;
}

/* ---- sweeping --------------------------------------------------------------------------------- */

static bool expired(const struct weir_ctl *ctl, __u64 word, __u32 tick)
{
	__u32 state = weir_flow_state(word), limit = state < WEIR_FLOW_STATES ? ctl->idle_ticks[state] : 0;

	return limit && idle(word, tick) > limit;
}

static void sweep_word(const struct pools_mem *m, __u64 *word, __u32 tick, struct flows_swept *s)
{
	__u64 v = load_word(word);
	__u32 state;

	while (v && expired(m->ctl, v, tick)) {
		if (take_out(m, word, &v)) {
			s->expired++;
			return;
		}
	}
	if (!v)
		return;
	state = weir_flow_state(v);
	s->flows++;
	if (state < WEIR_FLOW_STATES)
		s->by_state[state]++;
}

void flows_sweep(const struct pools_mem *m, __u32 from, __u32 n, struct flows_swept *s)
{
	__u32 tick = flows_tick(), buckets = m->ctl->flow_buckets;

	for (__u32 b = from; b < buckets && b - from < n; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++)
			sweep_word(m, &m->flows[b].word[i], tick, s);
	}
}

/* ---- removing --------------------------------------------------------------------------------- */

static bool in_set(const __u64 *backends, __u64 word)
{
	unsigned b = weir_flow_backend(word);

	return backends[b / WEIR_POOL_BACKENDS] >> b % WEIR_POOL_BACKENDS & 1;
}

__u64 flows_remove_all(const struct pools_mem *m, const __u64 backends[WEIR_POOLS_MAX])
{
	__u64 removed = 0;

	for (__u32 b = 0; b < m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *word = &m->flows[b].word[i], v = load_word(word);

			while (v && in_set(backends, v)) {
				if (take_out(m, word, &v)) {
					removed++;
					break;
				}
			}
		}
	}
	return removed;
}

__u64 flows_remove(const struct pools_mem *m, unsigned backend)
{
	__u64 set[WEIR_POOLS_MAX] = {};

	if (backend < WEIR_BACKENDS_MAX)
		set[backend / WEIR_POOL_BACKENDS] = 1ULL << backend % WEIR_POOL_BACKENDS;
	for (unsigned b = 0; backend >= WEIR_BACKENDS_MAX && b < WEIR_BACKENDS_MAX; b++) {
		if (!m->backends[b].family)
			set[b / WEIR_POOL_BACKENDS] |= 1ULL << b % WEIR_POOL_BACKENDS;
	}
	return flows_remove_all(m, set);
}

/* ---- resting ---------------------------------------------------------------------------------- */

static bool is_open_tcp(__u32 state)
{
	return state == WEIR_FLOW_TCP || state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_FIN_B;
}

static void rest(const struct pools_mem *m, __u64 *word, unsigned backend)
{
	__u64 v = load_word(word), states = 15ULL << WEIR_FLOW_STATE;

	while (weir_flow_backend(v) == backend && is_open_tcp(weir_flow_state(v))) {
		if (exchange(m, word, &v, (v & ~states) | (__u64)WEIR_FLOW_RESTING << WEIR_FLOW_STATE))
			return;
	}
}

void flows_rest(const struct pools_mem *m, unsigned backend)
{
	for (__u32 b = 0; b < m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++)
			rest(m, &m->flows[b].word[i], backend);
	}
}

/* ---- recounting ------------------------------------------------------------------------------- */

static void count_flows(const struct pools_mem *m, __u32 *n)
{
	memset(n, 0, WEIR_BACKENDS_MAX * sizeof(*n));
	for (__u32 b = 0; b < m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 v = load_word(&m->flows[b].word[i]);

			n[weir_flow_backend(v)] += weir_flow_counts(weir_flow_state(v));
		}
	}
}

static __u32 active(const struct pools_mem *m, unsigned backend)
{
	return __atomic_load_n(&member_of(m, backend)->active, __ATOMIC_SEQ_CST);
}

/*
 * How far a counter is from what was counted. It moves while flows are counted: what lies between its value
 * before and after is right, and beyond that the nearer one is meant. It may have gone below zero.
 */
static __s64 drift_of(__u32 before, __u32 after, __u32 counted)
{
	__s32 a = before - counted, b = after - counted;
	__s32 least = a < b ? a : b, most = a < b ? b : a;

	return least > 0 ? least : most < 0 ? most : 0;
}

__u64 flows_recount(const struct pools_mem *m, __s64 *last)
{
	__u32 before[WEIR_BACKENDS_MAX], counted[WEIR_BACKENDS_MAX];
	__u64 corrected = 0;

	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++)
		before[b] = active(m, b);
	count_flows(m, counted);
	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		__s64 drift = drift_of(before[b], active(m, b), counted[b]);

		if (!drift || drift != last[b]) {
			last[b] = drift;
			continue;
		}
		__atomic_sub_fetch(&member_of(m, b)->active, (__u32)drift, __ATOMIC_SEQ_CST);
		corrected += llabs(drift);
		last[b] = 0;
	}
	__atomic_add_fetch(&m->ctl->drift, corrected, __ATOMIC_SEQ_CST);
	return corrected;
}
