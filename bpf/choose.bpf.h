/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which backend a new flow goes to. Live counters, no snapshot: bursts would pile up on what was the least
 * loaded a moment ago. See struct weir_member for the key.
 */
#ifndef WEIR_CHOOSE_BPF_H
#define WEIR_CHOOSE_BPF_H

#include "flow.bpf.h"

#define KEY_NONE (~0ULL >> 1) /* more than any key: down */
#define POOL_PLACES_MAX 4 /* of a pool without shards */
#define FEW_OF_MANY 8 /* backends looked at where there are too many to look at all */
#define LAST (WEIR_POOL_BACKENDS - 1) /* the last bits of a key */

static __always_inline struct weir_pool *pool_at(__u32 place)
{
	place &= WEIR_POOLS_MAX - 1;
	return bpf_map_lookup_elem(&pools, &place);
}

/* Keys are below 2^63: their difference has a sign. Without a branch, which the verifier would follow. */
static __always_inline __u64 lesser(__u64 a, __u64 b)
{
	__s64 less = b - a;

	return a + (less & less >> 63);
}

static __always_inline __u64 key_of(const struct weir_member *m, __u64 mask)
{
	return (m->rank + ((__u64)*(volatile __u32 *)&m->active * m->unit << WEIR_RANK_LOAD)) & mask;
}

/* The least key of one place of a pool. Its last bits are the member's, counted from `turn` on. */
static __always_inline __u64 least_key(const struct weir_pool *pool, __u64 mask, __u32 turn)
{
	__u64 best = KEY_NONE;
	__u32 n = pool->n;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_POOL_BACKENDS; i += 4) {
		if (i >= n)
			break;
		best = lesser(best, key_of(&pool->member[i], mask) | ((i - turn) & LAST));
		best = lesser(best, key_of(&pool->member[i + 1], mask) | ((i + 1 - turn) & LAST));
		best = lesser(best, key_of(&pool->member[i + 2], mask) | ((i + 2 - turn) & LAST));
		best = lesser(best, key_of(&pool->member[i + 3], mask) | ((i + 3 - turn) & LAST));
	}
	return best;
}

/* Where to begin to count: by the flow's hash, so that equals get equal parts. Mixed once more: in its highest bits
 * clients of neighbouring addresses lie too even or too close, by the seed. */
static __always_inline __u32 turn_of(__u64 hash, __u32 n)
{
	return (weir_hash_word(hash, 0) >> 32) * (n < WEIR_POOL_BACKENDS ? n : WEIR_POOL_BACKENDS) >> 32;
}

/* The least loaded of up to 64: its place. */
static __always_inline int least_of_all(const struct weir_pool *pool, __u64 hash)
{
	__u32 turn = turn_of(hash, pool->n);
	__u64 best = least_key(pool, pool->mask & ~(__u64)LAST, turn);

	return best & WEIR_RANK_DOWN ? -1 : (int)((best + turn) & LAST);
}

/* The least key of a further place: verified once, for all of them. */
__noinline __u64 least_of_place(__u32 place, __u64 mask, __u32 turn)
{
	struct weir_pool *pool = pool_at(place);

	return pool ? least_key(pool, mask, turn) : KEY_NONE;
}

/* The same for a pool of several places. */
__noinline int least_of_places(__u32 first, __u64 hash)
{
	struct weir_pool *pool = pool_at(first);
	__u64 best = KEY_NONE, mask;
	__u32 turn, n;
	int who = -1;

	if (!pool)
		return -1;
	n = pool->n;
	turn = turn_of(hash, n);
	mask = pool->mask & ~(__u64)LAST;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < POOL_PLACES_MAX && i * WEIR_POOL_BACKENDS < n; i++) {
		__u64 key = least_of_place(first + i, mask, turn);

		if (key < best) {
			best = key;
			who = i * WEIR_POOL_BACKENDS + ((key + turn) & LAST);
		}
	}
	return best & WEIR_RANK_DOWN ? -1 : who;
}

/* The i-th of the backends that a flow's hash names. */
static __always_inline __u32 named(__u64 hash, __u32 i, __u32 n)
{
	return (hash * (0x9e3779b97f4a7c15ULL + 2 * i) >> 32) * n >> 32;
}

/* The least loaded of a few that the flow's hash names, of a pool of several places; of all where those few are
 * none that should be taken. */
static __always_inline int least_of_few(__u32 place, const struct weir_pool *pool, __u64 hash)
{
	__u64 best = KEY_NONE, mask = pool->mask & ~(__u64)LAST;
	__u32 n = pool->n;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FEW_OF_MANY; i++) {
		struct weir_member *m = member_of(place * WEIR_POOL_BACKENDS + named(hash, i, n));

		if (m)
			best = lesser(best, key_of(m, mask) | i);
	}
	if (best & (WEIR_RANK_DOWN | WEIR_RANK_BACKUP))
		return least_of_places(place, hash);
	return named(hash, best & (FEW_OF_MANY - 1), n);
}

static __always_inline bool backend_lives(__u32 backend)
{
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);

	return b && b->family && !(*(volatile __u32 *)&b->flags & WEIR_BACKEND_DEAD);
}

static __always_inline bool may_be_chosen(__u32 backend)
{
	struct weir_member *m = member_of(backend);

	return m && !(m->rank & WEIR_RANK_DOWN);
}

/* Load of a backend in units; of maglev-bounded. */
static __always_inline __u64 load_of(__u32 backend)
{
	struct weir_member *m = member_of(backend);

	return m ? (__u64)*(volatile __u32 *)&m->active * m->unit : ~0ULL;
}

/* Of the first n backends in one place. */
static __always_inline __u64 active_of(__u32 place, __u32 n)
{
	struct weir_pool *pool = pool_at(place);
	__u64 sum = 0;

	if (!pool)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_POOL_BACKENDS; i += 4) {
		if (i >= n)
			break;
		sum += (__u64)pool->member[i].active + pool->member[i + 1].active + pool->member[i + 2].active +
		       pool->member[i + 3].active;
	}
	return sum;
}

/* The mean load times the bound: who has more takes no new flow. */
__noinline __u64 load_bound(__u32 place)
{
	struct weir_pool *pool = pool_at(place);
	__u64 sum = 0;
	__u32 n;

	if (!pool)
		return 0;
	n = pool->n;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < POOL_PLACES_MAX; i++) {
		if (i * WEIR_POOL_BACKENDS >= n)
			break;
		sum += active_of(place + i, n - i * WEIR_POOL_BACKENDS);
	}
	return sum * pool->mean_unit * pool->bound >> 8;
}

#define MAGLEV_TRIES 8

/* Consistent hashing: the same flow, the same backend, on each edge host that has the same pool. Of several
 * candidates the first that is up and within the bound. Its place, or -1. */
static __always_inline int by_maglev(__u32 place, __u64 spread, __u64 bound, bool new)
{
	struct weir_maglev *table;

	place &= WEIR_POOLS_MAX - 1;
	table = bpf_map_lookup_elem(&maglev, &place);
	if (!table)
		return -1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAGLEV_TRIES; i++) {
		__u64 at = (spread >> 32) * WEIR_MAGLEV >> 32;
		__u32 who = at < WEIR_MAGLEV ? table->place[at] : WEIR_BACKEND_NONE, id;

		if (who == WEIR_BACKEND_NONE)
			return -1;
		id = place * WEIR_POOL_BACKENDS + who;
		if ((new ? may_be_chosen(id) : backend_lives(id)) && load_of(id) <= bound)
			return who;
		spread = spread * 0x9e3779b97f4a7c15ULL + 1;
	}
	return -1;
}

/* The backend of a new flow, or WEIR_BACKEND_NONE. By flow_hash() and spread_hash(). */
__noinline __u32 choose(__u32 place, __u64 hash, __u64 spread)
{
	struct weir_pool *pool = pool_at(place);
	int who = -1;

	if (!pool)
		return WEIR_BACKEND_NONE;
	if (pool->scheduler == WEIR_SCHED_MAGLEV)
		who = by_maglev(place, spread, ~0ULL, true);
	else if (pool->scheduler == WEIR_SCHED_MAGLEV_BOUNDED)
		who = by_maglev(place, spread, load_bound(place), true);
	if (who < 0 && pool->n <= WEIR_POOL_BACKENDS)
		who = least_of_all(pool, hash);
	else if (who < 0 && pool->scheduler == WEIR_SCHED_MAGLEV_BOUNDED) /* a few may all be beyond the bound */
		who = least_of_places(place, hash);
	else if (who < 0)
		who = least_of_few(place, pool, hash);
	return who < 0 ? WEIR_BACKEND_NONE : place * WEIR_POOL_BACKENDS + who;
}

/* The backend of a flow of which nothing is known: where another edge host, or this one before it lost its
 * table, may have sent it. */
__noinline __u32 derive(__u32 place, __u64 spread)
{
	int who = by_maglev(place, spread, ~0ULL, false);

	return who < 0 ? WEIR_BACKEND_NONE : place * WEIR_POOL_BACKENDS + who;
}

#endif
