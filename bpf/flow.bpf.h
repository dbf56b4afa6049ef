/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table: which backend a connection belongs to, in one cache line as a rule, and whether it counts
 * as one of its active connections. See include/weir/steer.h for a word. Words change by
 * compare-and-exchange alone; who wins settles the count.
 */
#ifndef WEIR_FLOW_BPF_H
#define WEIR_FLOW_BPF_H

#include "maps.bpf.h"
#include "parse.bpf.h"
#include "request.bpf.h"
#include "weir/hash.h"

static __always_inline __u64 tuple_hash(__u64 seed, const struct weir_addr *client, __be16 port, const struct weir_pkt *p)
{
	__u64 h = weir_hash_start(seed, p->salt);

	h = weir_hash_word(h, (__u64)client->w[0] << 32 | client->w[1]);
	if (p->family == 6)
		h = weir_hash_word(h, (__u64)client->w[2] << 32 | client->w[3]);
	return weir_hash_end(h, (__u32)port << 8 | p->proto);
}

/* In the table: with a seed, so that nobody can choose tuples that meet in one bucket. Never 0 in the tag,
 * which a free word has. */
static __always_inline __u64 flow_hash(const struct weir_addr *client, __be16 port, const struct weir_pkt *p)
{
	return tuple_hash(cfg.flow_seed, client, port, p) | 1ULL << 63;
}

/* For consistent hashing: the same on each edge host, and after each load. (See turn_of() for the last step.) */
static __always_inline __u64 spread_hash(const struct weir_addr *client, __be16 port, const struct weir_pkt *p)
{
	return weir_hash_word(tuple_hash(0, client, port, p), 0);
}

static __always_inline __u32 tick_now(struct weir_work *w)
{
	return now_coarse(w) >> WEIR_TICK & WEIR_TICK_MASK;
}

static __always_inline __u64 flow_word(__u64 hash, __u32 backend, __u32 state, __u32 tick)
{
	return (hash >> WEIR_FLOW_TAG << WEIR_FLOW_TAG) | (__u64)backend << WEIR_FLOW_BACKEND |
	       (__u64)state << WEIR_FLOW_STATE | tick;
}

/* Where a flow's word is. */
struct flow_ref {
	__u32 bucket;
	__u32 at; /* 0: nowhere, else its number in the bucket + 1 */
};

/* The word's number + 1. Without branches: eight of them in a row are guessed wrong too often. */
static __always_inline __u32 bucket_find(__u32 bucket, __u64 hash)
{
	struct weir_flow_bucket *b = bpf_map_lookup_elem(&flows, &bucket);
	__u32 at = 0;

	if (!b)
		return 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
		__u64 differs = (*(volatile __u64 *)&b->word[i] ^ hash) >> WEIR_FLOW_TAG;

		at += (i + 1 - at) & (__u32)((__s64)(differs - 1) >> 63);
	}
	return at;
}

static __always_inline __u64 *flow_at(struct flow_ref r)
{
	struct weir_flow_bucket *b = bpf_map_lookup_elem(&flows, &r.bucket);
	__u32 i = r.at - 1;

	OPAQUE(i);
	return b ? &b->word[i & (WEIR_BUCKET_WORDS - 1)] : NULL;
}

/* Starts the read of a bucket that may be needed next. */
static __always_inline void bucket_fetch(__u32 bucket)
{
	struct weir_flow_bucket *b = bpf_map_lookup_elem(&flows, &bucket);

	if (b)
		(void)*(volatile __u64 *)&b->word[0];
}

/* A flow that is new, as a rule, is in neither of its buckets: both are fetched at once then. */
static __always_inline struct flow_ref flow_find(__u64 hash, bool new)
{
	struct flow_ref r = { weir_bucket1(hash, cfg.flow_mask), 0 };
	__u32 second = weir_bucket2(hash, cfg.flow_mask);

	if (new)
		bucket_fetch(second);
	r.at = bucket_find(r.bucket, hash);
	if (!r.at) {
		r.bucket = second;
		r.at = bucket_find(second, hash);
	}
	return r;
}

/* Looks at the word again: it may be another flow's by now. 0 then. */
static __always_inline __u64 flow_read(__u64 *word, __u64 hash)
{
	__u64 v = *(volatile __u64 *)word;

	return (v ^ hash) >> WEIR_FLOW_TAG ? 0 : v;
}

static __always_inline struct weir_member *member_of(__u32 backend)
{
	__u32 place = backend / WEIR_POOL_BACKENDS & (WEIR_POOLS_MAX - 1);
	struct weir_pool *pool = bpf_map_lookup_elem(&pools, &place);

	return pool ? &pool->member[backend & (WEIR_POOL_BACKENDS - 1)] : NULL;
}

static __always_inline void count_active(__u32 backend, __s32 by)
{
	struct weir_member *m = member_of(backend);

	if (m)
		__sync_fetch_and_add(&m->active, by);
}

/* Replaces a word, and settles both counts, once. False: somebody else was quicker. */
static __always_inline bool flow_change(__u64 *word, __u64 old, __u64 new)
{
	if (__sync_val_compare_and_swap(word, old, new) != old)
		return false;
	if (weir_flow_counts(weir_flow_state(old)))
		count_active(weir_flow_backend(old), -1);
	if (weir_flow_counts(weir_flow_state(new)))
		count_active(weir_flow_backend(new), 1);
	return true;
}

/* The tick of the last packet: changes once a second, so that packets share the line unwritten. */
static __always_inline void flow_touch(__u64 *word, __u64 old, __u32 tick)
{
	if ((old & WEIR_TICK_MASK) != tick)
		__sync_val_compare_and_swap(word, old, (old & ~(__u64)WEIR_TICK_MASK) | tick);
}

/* Who gives way to whom, by state, four bits each: free, then what is over, half-open, UDP, TCP. */
#define FLOW_CLASSES                                                                                     \
	(1ULL << 4 * WEIR_FLOW_CLOSED | 2ULL << 4 * WEIR_FLOW_SYN | 2ULL << 4 * WEIR_FLOW_FOUND |        \
	 3ULL << 4 * WEIR_FLOW_UDP | 4ULL << 4 * WEIR_FLOW_FIN_C | 4ULL << 4 * WEIR_FLOW_FIN_B |         \
	 5ULL << 4 * WEIR_FLOW_TCP | 5ULL << 4 * WEIR_FLOW_RESTING | 1ULL << 4 * WEIR_FLOW_RESET)

static __always_inline __u32 flow_class(__u32 state)
{
	return FLOW_CLASSES >> 4 * state & 15;
}

/*
 * The class of what stands in a place. A half-open flow keeps it for a moment: its client is about to answer, and
 * where the SYN went cannot be found again. Or floods would let nobody in; as it is, they fill the table, and
 * who comes then goes where it can be found without it (derive()).
 */
#define FRESH 2 /* ticks */
#define AHEAD 2 /* another CPU's tick may be the next one already */

static __always_inline __u32 place_class(__u64 word, __u32 tick)
{
	__s64 old = (__s64)weir_flow_idle(word, tick + AHEAD) - (FRESH + AHEAD);
	__u64 classes;

	OPAQUE(old); /* or the compiler makes a branch of it, which the verifier follows for each place */
	classes = FLOW_CLASSES + (old >> 63 & 2ULL << 4 * WEIR_FLOW_SYN);
	return classes >> 4 * weir_flow_state(word) & 15;
}

/* Class, then how recent, then the place: the least of them gives way. */
static __always_inline __u32 place_cost(__u64 word, __u32 tick, __u32 at)
{
	__u32 recent = WEIR_TICK_MASK - weir_flow_idle(word, tick + AHEAD);

	return place_class(word, tick) << 20 | recent << 4 | at;
}

static __always_inline __u32 bucket_cost(__u32 bucket, __u32 tick, __u32 first, __u32 least)
{
	struct weir_flow_bucket *b = bpf_map_lookup_elem(&flows, &bucket);

	if (!b)
		return least;
#pragma clang loop unroll(full)
	for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
		__s32 less = place_cost(*(volatile __u64 *)&b->word[i], tick, first + i) - least;

		least += less & less >> 31;
	}
	return least;
}

static __always_inline void flow_describe(struct flow_ref r, __u64 info)
{
	struct weir_flow_bucket *b = bpf_map_lookup_elem(&flows, &r.bucket);
	__u32 i = r.at - 1;

	OPAQUE(i);
	if (b)
		b->info[i & (WEIR_BUCKET_WORDS - 1)] = info;
}

/*
 * A new flow: into a free place, or that of one that matters less or as little. False: there is none, or
 * others took it; then the flow goes without.
 */
__noinline int flow_insert(__u64 hash, __u64 new, __u32 tick, __u64 info)
{
	__u32 first = weir_bucket1(hash, cfg.flow_mask), second = weir_bucket2(hash, cfg.flow_mask);
	__u32 cost = bucket_cost(first, tick, 0, 0x7fffffff);
	struct flow_ref r;
	__u64 *word, old;

	if (cost >> 20) /* no free place in the first */
		cost = bucket_cost(second, tick, WEIR_BUCKET_WORDS, cost);
	if (cost >> 20 > flow_class(weir_flow_state(new)))
		return false;
	r.bucket = cost & WEIR_BUCKET_WORDS ? second : first;
	r.at = (cost & (WEIR_BUCKET_WORDS - 1)) + 1;
	word = flow_at(r);
	if (!word)
		return false;
	old = *(volatile __u64 *)word;
	if (old && place_class(old, tick) > flow_class(weir_flow_state(new)))
		return false;
	if (!flow_change(word, old, new))
		return false;
	flow_describe(r, info);
	return true;
}

/* See struct weir_flow_bucket. */
static __always_inline __u64 flow_info_of(const struct weir_pkt *p, __u32 svc)
{
	__u32 addr = p->family == 4 ? p->saddr.w[0] : p->saddr.w[3];

	return (__u64)addr << 32 | (__u64)p->sport << 16 | svc << 10 | (p->family == 6) << 1 | (p->proto == IPPROTO_TCP);
}

#endif
