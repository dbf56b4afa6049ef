// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Ranks and places. Commands hold the writers' lock; the agent does not, so that what it writes (ranks, flags,
 * mean_unit, mask) follows from what stands in backend_ctl and is computed again each second: whoever was
 * overtaken by the other is put right then, and a rank at once.
 */
#include "pools.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "flows.h"
#include "hotset.h"
#include "maglev.h"
#include "nat.h"
#include "pools_parts.h"
#include "route.h"

#define LATENCY_HALF_NS 30000000000ULL /* a latency that nobody measures halves in this time */
#define LOAD_MAX	((1ULL << 43) - 1)

/* Backends that are chosen from: a pool's, or those of one of its shards. */
struct group {
	unsigned first, places; /* places of pools */
};

static unsigned begin_of(struct group g)
{
	return g.first * WEIR_POOL_BACKENDS;
}

static unsigned end_of(struct group g)
{
	return (g.first + g.places) * WEIR_POOL_BACKENDS;
}

static struct group whole(const struct pools_mem *m, unsigned pool)
{
	return (struct group){ pool, m->pool_ctl[pool].places };
}

static struct group group_of(const struct pools_mem *m, unsigned backend)
{
	unsigned pool = pools_of(m, backend);

	if (m->pool_ctl[pool].shards > 1)
		return (struct group){ backend / WEIR_POOL_BACKENDS, 1 };
	return whole(m, pool);
}

static struct weir_member *member_of(const struct pools_mem *m, unsigned backend)
{
	return &m->pools[backend / WEIR_POOL_BACKENDS].member[backend % WEIR_POOL_BACKENDS];
}

static __u32 active_of(const struct pools_mem *m, unsigned backend)
{
	return __atomic_load_n(&member_of(m, backend)->active, __ATOMIC_RELAXED);
}

/* ---- finding ---------------------------------------------------------------------------------- */

int pools_find(const struct pools_mem *m, const char *pool)
{
	int found = -ENOENT;

	for (int i = 0; i < WEIR_POOLS_MAX; i++) {
		if (!m->pool_ctl[i].name[0])
			continue;
		if (pool && same_name(m->pool_ctl[i].name, pool))
			return i;
		if (!pool)
			found = found == -ENOENT ? i : -EINVAL;
	}
	return found;
}

unsigned pools_place(const struct pools_mem *m, const char *name)
{
	int found = pools_find(m, name);

	return found < 0 ? WEIR_POOL_NONE : found;
}

unsigned pools_of(const struct pools_mem *m, unsigned backend)
{
	unsigned place = backend / WEIR_POOL_BACKENDS, pool = place;

	while (pool && !m->pool_ctl[pool].name[0])
		pool--;
	return m->pool_ctl[pool].name[0] && pool + m->pool_ctl[pool].places > place ? pool : place;
}

int pools_next(const struct pools_mem *m, unsigned pool, int backend)
{
	struct group g = whole(m, pool);

	for (unsigned b = backend < 0 ? begin_of(g) : (unsigned)backend + 1; b < end_of(g); b++) {
		if (pools_used(m, b))
			return b;
	}
	return -1;
}

int pools_backend(const struct pools_mem *m, unsigned pool, const char *name)
{
	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		if (same_name(m->backend_ctl[b].name, name))
			return b;
	}
	return -ENOENT;
}

/* ---- ranks ------------------------------------------------------------------------------------ */

static __u64 ballast_of(const struct pools_mem *m, unsigned backend, __u64 now)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];
	__u64 whole_ns = m->pool_ctl[pools_of(m, backend)].slow_start_ns, left;

	if (!b->slow_until_ns || now >= b->slow_until_ns || !whole_ns)
		return 0;
	left = b->slow_until_ns - now;
	return left >= whole_ns ? b->ballast : b->ballast * (double)left / whole_ns;
}

static bool is_backup(const struct pools_mem *m, unsigned backend)
{
	return __atomic_load_n(&m->backend_ctl[backend].flags, __ATOMIC_RELAXED) & WEIR_BACKEND_BACKUP;
}

/* Without a unit it is put in its place, but not settled yet. */
static bool may_be_chosen(const struct pools_mem *m, unsigned backend)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];

	return pools_used(m, backend) && __atomic_load_n(&member_of(m, backend)->unit, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&b->admin, __ATOMIC_ACQUIRE) == WEIR_ADMIN_UP &&
	       __atomic_load_n(&b->health, __ATOMIC_ACQUIRE) != WEIR_HEALTH_DOWN;
}

/* The load counts the connection to come: of two idle backends the larger is to take it. */
static __u64 rank_of(const struct pools_mem *m, unsigned backend, __u64 now)
{
	__u64 load = (ballast_of(m, backend, now) + 1) * member_of(m, backend)->unit, latency;

	if (!may_be_chosen(m, backend))
		return WEIR_RANK_DOWN;
	latency = weir_latency_code(__atomic_load_n(&m->backend_ctl[backend].latency_ns, __ATOMIC_RELAXED));
	return (is_backup(m, backend) ? WEIR_RANK_BACKUP : 0) |
	       (load < LOAD_MAX ? load : LOAD_MAX) << WEIR_RANK_LOAD | latency << WEIR_RANK_LATENCY;
}

/* A drained backend keeps its flows: it is not dead. */
static __u32 flags_of(const struct pools_mem *m, unsigned backend)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];

	return __atomic_load_n(&b->admin, __ATOMIC_ACQUIRE) == WEIR_ADMIN_DISABLED ||
			       __atomic_load_n(&b->health, __ATOMIC_ACQUIRE) == WEIR_HEALTH_DOWN ?
		       WEIR_BACKEND_DEAD :
		       0;
}

/* Looks again after the store: whoever was overtaken by another writer would leave what was true before. */
static void store_rank(const struct pools_mem *m, unsigned backend, __u64 now)
{
	__u64 *at = &member_of(m, backend)->rank, rank;
	__u32 flags;

	do {
		rank = rank_of(m, backend, now);
		flags = flags_of(m, backend);
		if (pools_used(m, backend))
			__atomic_store_n(&m->backends[backend].flags, flags, __ATOMIC_SEQ_CST);
		__atomic_store_n(at, rank, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	} while (rank != rank_of(m, backend, now) || flags != flags_of(m, backend));
}

struct sums {
	__u64 active, capacity;
	unsigned n;
};

/* Of those of a group that may be chosen, primaries or backups, but for one. */
static struct sums sum_up(const struct pools_mem *m, struct group g, bool backup, unsigned except)
{
	struct sums s = {};

	for (unsigned b = begin_of(g); b < end_of(g); b++) {
		if (b == except || !may_be_chosen(m, b) || is_backup(m, b) != backup)
			continue;
		s.active += active_of(m, b);
		s.capacity += m->backends[b].capacity;
		s.n++;
	}
	return s;
}

static __u32 least_capacity(const struct pools_mem *m, struct group g)
{
	__u32 least = 0;

	for (unsigned b = begin_of(g); b < end_of(g); b++) {
		if (pools_used(m, b) && (!least || m->backends[b].capacity < least))
			least = m->backends[b].capacity;
	}
	return least;
}

/*
 * Loads that differ by less than `quantum` percent of the mean shall count as equal. What that is in
 * units changes with the load, and a mask can only leave out whole binary digits: so the step is the
 * largest power of two that is not more than that, taken anew each second. With few connections it is less
 * than one, and exact counts decide.
 */
static __u64 mask_of(__u64 mean_load, __u32 quantum)
{
	__u64 step = mean_load * quantum / 100;

	if (step < 2)
		return ~0ULL;
	step = 1ULL << (63 - __builtin_clzll(step));
	return ~((step - 1) << WEIR_RANK_LOAD);
}

/* What follows from health, latency and load. */
static void refresh(const struct pools_mem *m, struct group g, __u64 now)
{
	__u32 quantum = m->pool_ctl[pools_of(m, begin_of(g))].quantum, mean_unit = 0;
	struct weir_pool *p = &m->pools[g.first];
	struct sums s = sum_up(m, g, false, WEIR_BACKENDS_MAX);

	if (!s.n)
		s = sum_up(m, g, true, WEIR_BACKENDS_MAX);
	for (unsigned b = begin_of(g); b < end_of(g); b++)
		store_rank(m, b, now);
	if (s.capacity)
		mean_unit = (__u64)WEIR_UNIT_MAX * least_capacity(m, g) / s.capacity;
	__atomic_store_n(&p->mean_unit, mean_unit, __ATOMIC_RELAXED);
	__atomic_store_n(&p->mask, mask_of(s.active * mean_unit, quantum), __ATOMIC_RELAXED);
}

/* The table knows primaries; backups only where there are no others. Health does not change it. */
static unsigned entries(const struct pools_mem *m, struct group g, bool backup, struct maglev_entry *e)
{
	unsigned n = 0;

	for (unsigned b = begin_of(g); b < end_of(g); b++) {
		if (pools_used(m, b) && m->backend_ctl[b].admin == WEIR_ADMIN_UP && is_backup(m, b) == backup)
			e[n++] = (struct maglev_entry){ m->backend_ctl[b].name, m->backends[b].capacity,
							b - begin_of(g) };
	}
	return n;
}

static void fill_maglev(const struct pools_mem *m, struct group g, const char *pool)
{
	struct maglev_entry e[PLACES_PER_POOL * WEIR_POOL_BACKENDS];
	unsigned n = entries(m, g, false, e);

	if (!n)
		n = entries(m, g, true, e);
	maglev_fill(&m->maglev[g.first], pool, e, n);
}

/* What a program compares a connection id with. */
static void set_quic_id(const struct pools_mem *m, unsigned backend)
{
	__u32 id = pools_used(m, backend) ? m->backends[backend].quic_id + 1 : 0; /* 0 of CONFIG_NO_QUIC_ID, too */

	__atomic_store_n(&m->pools[backend / WEIR_POOL_BACKENDS].quic[backend % WEIR_POOL_BACKENDS], id,
			 __ATOMIC_RELAXED);
}

/* One connection is `unit`, so that loads of backends of any capacity compare. */
static void set_members(const struct pools_mem *m, struct group g)
{
	__u32 least = least_capacity(m, g), n[PLACES_PER_POOL] = {}, last = 0, unit;

	for (unsigned b = begin_of(g); b < end_of(g); b++) {
		unsigned at = b - begin_of(g);

		set_quic_id(m, b);
		if (!pools_used(m, b))
			continue;
		unit = (__u64)WEIR_UNIT_MAX * least / m->backends[b].capacity;
		__atomic_store_n(&member_of(m, b)->unit, unit ?: 1, __ATOMIC_RELAXED);
		n[at / WEIR_POOL_BACKENDS] = at % WEIR_POOL_BACKENDS + 1;
		last = at + 1;
	}
	for (unsigned i = 0; i < g.places; i++)
		__atomic_store_n(&m->pools[g.first + i].n, i ? n[i] : last, __ATOMIC_RELAXED);
}

static void settle(const struct pools_mem *m, struct group g, const char *pool, __u64 now)
{
	set_members(m, g);
	refresh(m, g, now);
	fill_maglev(m, g, pool);
}

void pools_settle(const struct pools_mem *m, unsigned pool)
{
	const struct weir_ctl_pool *p = &m->pool_ctl[pool];
	__u64 now = monotonic_ns();

	if (p->shards <= 1)
		settle(m, whole(m, pool), p->name, now);
	for (unsigned i = 0; i < p->shards && p->shards > 1; i++)
		settle(m, (struct group){ pool + i, 1 }, p->name, now);
}

/* ---- slow start ------------------------------------------------------------------------------- */

/* As loaded as the others at first, so that not all new flows go to the one that has none. */
static void begin_slow_start(const struct pools_mem *m, unsigned backend)
{
	struct weir_ctl_backend *b = &m->backend_ctl[backend];
	__u64 slow = m->pool_ctl[pools_of(m, backend)].slow_start_ns, mean, own = active_of(m, backend);
	struct sums others = sum_up(m, group_of(m, backend), is_backup(m, backend), backend);

	if (!slow || !others.capacity)
		return;
	mean = others.active * m->backends[backend].capacity / others.capacity;
	b->ballast = mean > own ? mean - own : 0;
	b->slow_until_ns = b->ballast ? monotonic_ns() + slow : 0;
}

static void end_slow_start(struct weir_ctl_backend *b)
{
	b->slow_until_ns = 0;
	b->ballast = 0;
}

bool agent_is_here(const struct weir_ctl *ctl)
{
	__u64 seen = ctl->agent_ns;

	return seen && monotonic_ns() < seen + AGENT_LOST_NS;
}

/* For commands: only where there is an agent, which ends it. */
void pools_slow_start(const struct pools_mem *m, unsigned backend)
{
	if (agent_is_here(m->ctl))
		begin_slow_start(m, backend);
}

/* ---- places of backends ----------------------------------------------------------------------- */

void pools_source(const struct pools_mem *m, unsigned backend)
{
	struct weir_backend *b = &m->backends[backend];
	struct weir_addr source = {};

	/* Without a route the old one stays: the link may be down for a moment. */
	if (b->via != WEIR_VIA_TUNNEL || route_source(&b->addr, b->family, &source))
		return;
	for (int i = 0; i < 4; i++)
		__atomic_store_n(&b->source.w[i], source.w[i], __ATOMIC_RELAXED);
}

static void zero_hop(const struct pools_mem *m, unsigned backend)
{
	struct weir_hop zero[m->ctl->ncpu ?: 1];

	memset(zero, 0, sizeof(zero));
	if (m->hops_fd >= 0)
		bpf_map_update_elem(m->hops_fd, &backend, zero, BPF_ANY);
}

/* Those of who had the place before. */
static void zero_latency(const struct pools_mem *m, unsigned backend)
{
	if (m->latency)
		memset(m->latency + backend * WEIR_BACKEND_PATHS, 0, WEIR_BACKEND_PATHS * sizeof(*m->latency));
}

int pools_room(const struct pools_mem *m, unsigned pool, const struct config_backend *b)
{
	struct group g = whole(m, pool);
	int found = -ENOSPC, taken_out = -ENOSPC;

	if (m->pool_ctl[pool].shards > 1)
		g = (struct group){ pool + b->shard, 1 };
	for (unsigned i = end_of(g); i-- > begin_of(g);) {
		if (pools_used(m, i))
			continue;
		if (same_name(m->backend_ctl[i].name, b->name))
			return i;
		*(m->backend_ctl[i].name[0] ? &taken_out : &found) = i;
	}
	return found >= 0 ? found : taken_out;
}

void pools_put(const struct pools_mem *m, unsigned backend, const struct config_backend *b, __u32 flags)
{
	struct weir_backend *to = &m->backends[backend];
	struct weir_ctl_backend *ctl = &m->backend_ctl[backend];

	memset(ctl, 0, sizeof(*ctl));
	ctl->admin = b->admin;
	ctl->flags = flags | (b->backup ? WEIR_BACKEND_BACKUP : 0);
	ctl->since = time(NULL);
	memcpy(ctl->name, b->name, strnlen(b->name, WEIR_NAME_MAX - 1));
	*to = (struct weir_backend){
		.addr = b->at.addr,
		.port = b->at.port,
		.via = b->via,
		.quic_id = b->quic_id,
		.capacity = b->capacity,
	};
	member_of(m, backend)->active = 0;
	zero_hop(m, backend);
	zero_latency(m, backend);
	__atomic_store_n(&to->family, b->at.family, __ATOMIC_RELEASE);
	pools_source(m, backend);
}

static void free_place(const struct pools_mem *m, unsigned backend)
{
	struct weir_member *member = member_of(m, backend);

	__atomic_store_n(&m->backends[backend].family, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&member->rank, WEIR_RANK_DOWN, __ATOMIC_SEQ_CST);
	__atomic_store_n(&member->active, 0, __ATOMIC_SEQ_CST);
	member->unit = 0;
	memset(&m->backends[backend], 0, sizeof(*m->backends));
	memset(&m->backend_ctl[backend], 0, sizeof(*m->backend_ctl));
	zero_hop(m, backend);
}

static void settle_those_of(const struct pools_mem *m, const struct backend_set *set)
{
	bool done[WEIR_POOLS_MAX] = {};

	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		unsigned pool = set_has(set, b) ? pools_of(m, b) : WEIR_POOLS_MAX;

		if (pool == WEIR_POOLS_MAX || done[pool])
			continue;
		pools_settle(m, pool);
		done[pool] = true;
	}
}

static int grace(const struct pools_mem *m)
{
	return m->grace ? m->grace(m->grace_arg) : 0;
}

/*
 * A program that chose the backend before it was disabled may still put a flow of its into the table; one
 * that took a flow out may still have to count it. Both are over after a grace period, each its own.
 */
int pools_retire(const struct pools_mem *m, const struct backend_set *gone)
{
	int err;

	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (set_has(gone, b))
			pools_set_admin(m, b, WEIR_ADMIN_DISABLED);
	}
	settle_those_of(m, gone);
	err = grace(m);
	if (err)
		return err;
	flows_remove_all(m, gone->bits);
	err = grace(m);
	if (err)
		return err;
	nat_forget(m, gone);
	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (set_has(gone, b))
			free_place(m, b);
	}
	settle_those_of(m, gone);
	return 0;
}

/* ---- commands --------------------------------------------------------------------------------- */

/* One place more, if it is free and the pool may have it. */
static bool grow(const struct pools_mem *m, unsigned pool)
{
	struct weir_ctl_pool *p = &m->pool_ctl[pool];
	unsigned next = pool + p->places;

	if (p->shards > 1 || p->places >= PLACES_PER_POOL || next >= WEIR_POOLS_MAX || m->pool_ctl[next].name[0])
		return false;
	for (int i = 0; i < WEIR_POOL_BACKENDS; i++)
		m->pools[next].member[i].rank = WEIR_RANK_DOWN;
	p->places++;
	return true;
}

static int check_new(const struct pools_mem *m, unsigned pool, const struct config_backend *b)
{
	const struct weir_ctl_pool *p = &m->pool_ctl[pool];

	if (!b->name[0] || !b->capacity || b->capacity > CONFIG_CAPACITY_MAX || b->via < WEIR_VIA_L2 ||
	    b->via > WEIR_VIA_NAT || b->admin > WEIR_ADMIN_DISABLED || b->shard >= p->shards ||
	    (b->at.family != 4 && b->at.family != 6))
		return -EINVAL;
	return pools_backend(m, pool, b->name) >= 0 ? -EEXIST : 0;
}

int pools_add(const struct pools_mem *m, unsigned pool, const struct config_backend *b)
{
	struct backend_set one = {};
	int err = check_new(m, pool, b), at;
	__u32 flags = WEIR_BACKEND_BY_HAND;

	if (err)
		return err;
	at = pools_room(m, pool, b);
	if (at < 0 && grow(m, pool))
		at = pools_room(m, pool, b);
	if (at < 0)
		return at;
	if (!same_name(m->backend_ctl[at].name, b->name))
		flags |= WEIR_BACKEND_ADDED;
	pools_put(m, at, b, flags);
	err = nat_add(m, pool, at);
	if (err) {
		set_add(&one, at);
		nat_forget(m, &one);
		free_place(m, at);
		return err;
	}
	if (b->admin == WEIR_ADMIN_UP)
		pools_slow_start(m, at);
	pools_settle(m, pool);
	return at;
}

int pools_set(const struct pools_mem *m, unsigned backend, __u32 capacity, int backup)
{
	struct weir_ctl_backend *b = &m->backend_ctl[backend];
	__u32 flags = b->flags | WEIR_BACKEND_BY_HAND;

	if (!pools_used(m, backend))
		return -ENOENT;
	if (capacity > CONFIG_CAPACITY_MAX)
		return -EINVAL;
	if (capacity)
		m->backends[backend].capacity = capacity;
	if (backup >= 0)
		flags = backup ? flags | WEIR_BACKEND_BACKUP : flags & ~WEIR_BACKEND_BACKUP;
	__atomic_store_n(&b->flags, flags, __ATOMIC_RELEASE);
	pools_settle(m, pools_of(m, backend));
	return 0;
}

bool pools_set_admin(const struct pools_mem *m, unsigned backend, __u32 admin)
{
	struct weir_ctl_backend *b = &m->backend_ctl[backend];

	if (b->admin == admin)
		return false;
	end_slow_start(b);
	if (admin == WEIR_ADMIN_UP)
		pools_slow_start(m, backend);
	__atomic_store_n(&b->admin, admin, __ATOMIC_SEQ_CST);
	b->since = time(NULL);
	return true;
}

int pools_admin(const struct pools_mem *m, unsigned backend, __u32 admin)
{
	struct weir_ctl_backend *b = &m->backend_ctl[backend];

	if (!pools_used(m, backend))
		return -ENOENT;
	if (admin > WEIR_ADMIN_DISABLED)
		return -EINVAL;
	if (!pools_set_admin(m, backend, admin))
		return 0;
	__atomic_or_fetch(&b->flags, WEIR_BACKEND_BY_HAND, __ATOMIC_RELEASE);
	pools_settle(m, pools_of(m, backend));
	return 0;
}

int pools_del(const struct pools_mem *m, unsigned backend)
{
	struct weir_ctl_backend was = m->backend_ctl[backend], *b = &m->backend_ctl[backend];
	struct backend_set one = {};
	int err;

	if (!pools_used(m, backend))
		return -ENOENT;
	set_add(&one, backend);
	err = pools_retire(m, &one);
	if (err || was.flags & WEIR_BACKEND_ADDED)
		return err;
	b->flags = WEIR_BACKEND_GONE | WEIR_BACKEND_BY_HAND;
	b->since = time(NULL);
	memcpy(b->name, was.name, sizeof(b->name));
	return 0;
}

/* ---- the agent -------------------------------------------------------------------------------- */

void pools_health(const struct pools_mem *m, unsigned backend, __u32 health, const char *why)
{
	struct weir_ctl_backend *b = &m->backend_ctl[backend];
	__u32 was = b->health;

	if (!pools_used(m, backend))
		return;
	snprintf(b->why, sizeof(b->why), "%s", why ? why : "");
	if (was == health)
		return;
	if (health == WEIR_HEALTH_DOWN)
		end_slow_start(b);
	else if (was == WEIR_HEALTH_DOWN)
		begin_slow_start(m, backend);
	__atomic_store_n(&b->health, health, __ATOMIC_SEQ_CST);
	b->since = time(NULL);
	refresh(m, group_of(m, backend), monotonic_ns());
	if (health == WEIR_HEALTH_DOWN)
		flows_rest(m, backend);
}

void pools_latency(const struct pools_mem *m, unsigned backend, __u64 ns)
{
	struct weir_ctl_backend *b = &m->backend_ctl[backend];
	__u64 now = monotonic_ns(), was = b->latency_ns;
	__s64 differs = ns - was;

	if (!pools_used(m, backend) || !ns)
		return;
	__atomic_store_n(&b->latency_ns, was ? was + differs / 8 : ns, __ATOMIC_RELAXED);
	b->latency_at_ns = now;
	store_rank(m, backend, now);
}

void pools_latency_unknown(const struct pools_mem *m, unsigned backend)
{
	__atomic_store_n(&m->backend_ctl[backend].latency_ns, 0, __ATOMIC_RELAXED);
	store_rank(m, backend, monotonic_ns());
}

static void fade(struct weir_ctl_backend *b, __u64 now)
{
	if (b->slow_until_ns && now >= b->slow_until_ns)
		end_slow_start(b);
	if (b->latency_ns && now >= b->latency_at_ns + LATENCY_HALF_NS) {
		b->latency_at_ns = now;
		b->latency_ns /= 2;
	}
}

void pools_fade(const struct pools_mem *m, __u64 now_ns)
{
	for (unsigned pool = 0; pool < WEIR_POOLS_MAX; pool++) {
		unsigned shards = m->pool_ctl[pool].shards;

		if (!m->pool_ctl[pool].name[0])
			continue;
		for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b))
			fade(&m->backend_ctl[b], now_ns);
		if (shards <= 1)
			refresh(m, whole(m, pool), now_ns);
		for (unsigned i = 0; i < shards && shards > 1; i++)
			refresh(m, (struct group){ pool + i, 1 }, now_ns);
	}
}

void pools_sources(const struct pools_mem *m)
{
	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (pools_used(m, b))
			pools_source(m, b);
	}
}
