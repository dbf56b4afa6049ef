// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A configuration brought into the maps. All that can fail is looked at before anything changes. Backends that
 * are new come before those that go, as far as there are places, so that a pool whose backends are all
 * replaced is never without; and those that go leave together, with one pass over the flows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nat.h"
#include "pools_parts.h"

struct apply {
	const struct pools_mem *m;
	const struct config *c;
	pools_change_fn fn;
	void *arg;
	unsigned place[WEIR_POOLS_MAX], places[WEIR_POOLS_MAX]; /* of c's pools */
	bool is_new[WEIR_POOLS_MAX];
};

/* ---- words ------------------------------------------------------------------------------------ */

static void __attribute__((format(printf, 2, 3))) say(const struct apply *a, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	if (!a->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	a->fn(line, a->arg);
}

struct text {
	char s[80];
};

static struct text address_text(const struct weir_addr *addr, __u8 family, __be16 port)
{
	char ip[INET6_ADDRSTRLEN] = "?";
	struct text t;

	inet_ntop(family == 6 ? AF_INET6 : AF_INET, addr, ip, sizeof(ip));
	if (port)
		snprintf(t.s, sizeof(t.s), family == 6 ? "[%s]:%u" : "%s:%u", ip, ntohs(port));
	else
		snprintf(t.s, sizeof(t.s), "%s", ip);
	return t;
}

static const char *const via_words[] = { "?", "l2", "tunnel", "nat" };
static const char *const admin_words[] = { "up", "drain", "disabled" };
static const char *const scheduler_words[] = { "least-loaded", "maglev", "maglev-bounded" };
static const char *const fail_words[] = { "drop", "reset" };

/* ---- the same backend ------------------------------------------------------------------------- */

static unsigned shard_of(const struct apply *a, unsigned pool, unsigned backend)
{
	return a->m->pool_ctl[pool].shards > 1 ? backend / WEIR_POOL_BACKENDS - pool : 0;
}

static const struct config_backend *namesake(const struct apply *a, const struct config_pool *cp, unsigned backend)
{
	for (unsigned i = 0; i < cp->nbackends; i++) {
		if (same_name(cp->backends[i].name, a->m->backend_ctl[backend].name))
			return &cp->backends[i];
	}
	return NULL;
}

static bool same_backend(const struct apply *a, unsigned pool, unsigned backend, const struct config_backend *cb)
{
	const struct weir_backend *b = &a->m->backends[backend];

	return same_name(a->m->backend_ctl[backend].name, cb->name) && b->family == cb->at.family &&
	       b->port == cb->at.port && b->via == cb->via && !memcmp(&b->addr, &cb->at.addr, sizeof(b->addr)) &&
	       shard_of(a, pool, backend) == cb->shard;
}

/* The place of a backend of the configuration, or -1. */
static int find_same(const struct apply *a, unsigned pool, const struct config_backend *cb)
{
	for (int b = pools_next(a->m, pool, -1); b >= 0; b = pools_next(a->m, pool, b)) {
		if (same_backend(a, pool, b, cb))
			return b;
	}
	return -1;
}

static bool configured(const struct apply *a, unsigned pool)
{
	for (unsigned i = 0; i < a->c->npools; i++) {
		if (same_name(a->c->pools[i].name, a->m->pool_ctl[pool].name))
			return true;
	}
	return false;
}

/* ---- places ----------------------------------------------------------------------------------- */

static unsigned shards_of(const struct config_pool *cp)
{
	return cp->shards ?: 1;
}

static unsigned places_needed(const struct config_pool *cp)
{
	return cp->shards > 1 ? cp->shards : (cp->nbackends + WEIR_POOL_BACKENDS - 1) / WEIR_POOL_BACKENDS ?: 1;
}

static __u64 places_bits(unsigned first, unsigned n)
{
	return (n >= 64 ? ~0ULL : (1ULL << n) - 1) << first;
}

/* A run of free places, or -ENOSPC. One that begins a stretch of four leaves the pool room to grow. */
static int find_run(__u64 taken, unsigned n)
{
	unsigned roomy = n < PLACES_PER_POOL ? PLACES_PER_POOL : n;

	for (unsigned i = 0; i + roomy <= WEIR_POOLS_MAX; i += PLACES_PER_POOL) {
		if (!(taken & places_bits(i, roomy)))
			return i;
	}
	for (unsigned i = 0; i + n <= WEIR_POOLS_MAX; i++) {
		if (!(taken & places_bits(i, n)))
			return i;
	}
	return -ENOSPC;
}

static int no_places(const struct apply *a, const struct config_pool *cp, unsigned n, const char *where)
{
	say(a, "pool %.31s: needs %u free place%s %s, of %d; those of pools that go are free after the reload",
	    cp->name, n, n == 1 ? "" : "s", where, WEIR_POOLS_MAX);
	return -ENOSPC;
}

/* A pool that is loaded stays where it is; further places come next to it. */
static int plan_known(struct apply *a, unsigned i, unsigned pool, __u64 *taken)
{
	const struct config_pool *cp = &a->c->pools[i];
	const struct weir_ctl_pool *p = &a->m->pool_ctl[pool];
	unsigned need = places_needed(cp), more = need > p->places ? need - p->places : 0;
	__u64 bits = more ? places_bits(pool + p->places, more) : 0;

	if (p->shards != shards_of(cp)) {
		say(a,
		    "pool %.31s: its shards cannot change from %u to %u while it is loaded: give the new pool "
		    "another name",
		    cp->name, p->shards, shards_of(cp));
		return -EINVAL;
	}
	if (more && (pool + need > WEIR_POOLS_MAX || *taken & bits))
		return no_places(a, cp, more, "next to those it has");
	*taken |= bits;
	a->place[i] = pool;
	a->places[i] = p->places + more;
	return 0;
}

static int plan_new(struct apply *a, unsigned i, __u64 *taken)
{
	unsigned n = places_needed(&a->c->pools[i]);
	int at = find_run(*taken, n);

	if (at < 0)
		return no_places(a, &a->c->pools[i], n, "in a row");
	*taken |= places_bits(at, n);
	a->place[i] = at;
	a->places[i] = n;
	a->is_new[i] = true;
	return 0;
}

static int plan(struct apply *a)
{
	__u64 taken = 0;
	int err = 0;

	if (a->c->npools > WEIR_POOLS_MAX)
		return no_places(a, &a->c->pools[WEIR_POOLS_MAX], 1, "more");
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		if (a->m->pool_ctl[p].name[0])
			taken |= places_bits(p, a->m->pool_ctl[p].places);
	}
	for (unsigned i = 0; i < a->c->npools && !err; i++) {
		int pool = pools_find(a->m, a->c->pools[i].name);

		a->is_new[i] = pool < 0;
		if (pool >= 0)
			err = plan_known(a, i, pool, &taken);
	}
	for (unsigned i = 0; i < a->c->npools && !err; i++) {
		if (a->is_new[i])
			err = plan_new(a, i, &taken);
	}
	return err;
}

/* ---- what changes ----------------------------------------------------------------------------- */

struct quic_text {
	char s[16];
};

static struct quic_text quic_text(__u32 id)
{
	struct quic_text t = { "none" };

	if (id != CONFIG_NO_QUIC_ID)
		snprintf(t.s, sizeof(t.s), "%u", id);
	return t;
}

static __u32 bound_of(const struct config_pool *cp)
{
	return 256 + 256 * cp->bound / 100;
}

static void tell_pool(const struct apply *a, const struct config_pool *cp, unsigned pool)
{
	const struct weir_ctl_pool *ctl = &a->m->pool_ctl[pool];
	const struct weir_pool *p = &a->m->pools[pool];

	if (p->scheduler != cp->scheduler)
		say(a, "pool %.31s: scheduler %s -> %s", cp->name, scheduler_words[p->scheduler % 3],
		    scheduler_words[cp->scheduler]);
	if (p->fail != cp->fail)
		say(a, "pool %.31s: fail %s -> %s", cp->name, fail_words[p->fail % 2], fail_words[cp->fail]);
	if (p->bound != bound_of(cp))
		say(a, "pool %.31s: bound %u%% -> %u%%", cp->name, ((p->bound - 256) * 100 + 255) / 256, cp->bound);
	if (ctl->quantum != cp->quantum)
		say(a, "pool %.31s: quantum %u%% -> %u%%", cp->name, ctl->quantum, cp->quantum);
	if (ctl->slow_start_ns != cp->slow_start_ns)
		say(a, "pool %.31s: slow_start %gs -> %gs", cp->name, ctl->slow_start_ns / 1e9,
		    cp->slow_start_ns / 1e9);
	if (ctl->delivery != cp->via)
		say(a, "pool %.31s: delivery %s -> %s", cp->name, via_words[ctl->delivery % 4], via_words[cp->via]);
}

static void tell_kept(const struct apply *a, const struct config_pool *cp, unsigned backend,
		      const struct config_backend *cb)
{
	const struct weir_ctl_backend *ctl = &a->m->backend_ctl[backend];
	const struct weir_backend *b = &a->m->backends[backend];

	if (ctl->admin != cb->admin)
		say(a, "pool %.31s: backend %.31s: state %s -> %s", cp->name, cb->name, admin_words[ctl->admin % 3],
		    admin_words[cb->admin]);
	if (b->capacity != cb->capacity)
		say(a, "pool %.31s: backend %.31s: capacity %u -> %u", cp->name, cb->name, b->capacity,
		    cb->capacity);
	if (!(ctl->flags & WEIR_BACKEND_BACKUP) != !cb->backup)
		say(a, "pool %.31s: backend %.31s: backup %s", cp->name, cb->name,
		    cb->backup ? "no -> yes" : "yes -> no");
	if (b->quic_id != cb->quic_id)
		say(a, "pool %.31s: backend %.31s: quic_id %s -> %s", cp->name, cb->name, quic_text(b->quic_id).s,
		    quic_text(cb->quic_id).s);
}

/* The name stays, the backend does not. */
static void tell_replaced(const struct apply *a, const struct config_pool *cp, unsigned pool, unsigned backend,
			  const struct config_backend *cb)
{
	const struct weir_backend *b = &a->m->backends[backend];
	struct text was = address_text(&b->addr, b->family, b->port);
	struct text is = address_text(&cb->at.addr, cb->at.family, cb->at.port);
	char what[200];

	if (strcmp(was.s, is.s))
		snprintf(what, sizeof(what), "address %s -> %s", was.s, is.s);
	else if (b->via != cb->via)
		snprintf(what, sizeof(what), "delivery %s -> %s", via_words[b->via % 4], via_words[cb->via]);
	else
		snprintf(what, sizeof(what), "shard %u -> %u", shard_of(a, pool, backend), cb->shard);
	say(a, "pool %.31s: backend %.31s: %s: another backend, the old one's flows go", cp->name, cb->name, what);
}

static void tell_known(const struct apply *a, const struct config_pool *cp, unsigned pool)
{
	tell_pool(a, cp, pool);
	for (int b = pools_next(a->m, pool, -1); b >= 0; b = pools_next(a->m, pool, b)) {
		const struct config_backend *cb = namesake(a, cp, b);

		if (!cb)
			say(a, "pool %.31s: backend %.31s removed, its flows go", cp->name,
			    a->m->backend_ctl[b].name);
		else if (same_backend(a, pool, b, cb))
			tell_kept(a, cp, b, cb);
		else
			tell_replaced(a, cp, pool, b, cb);
	}
	for (unsigned i = 0; i < cp->nbackends; i++) {
		if (pools_backend(a->m, pool, cp->backends[i].name) < 0)
			say(a, "pool %.31s: backend %.31s added", cp->name, cp->backends[i].name);
	}
}

static void tell(const struct apply *a)
{
	for (unsigned i = 0; i < a->c->npools; i++) {
		const struct config_pool *cp = &a->c->pools[i];

		if (a->is_new[i])
			say(a, "pool %.31s added, with %u backend%s", cp->name, cp->nbackends,
			    cp->nbackends == 1 ? "" : "s");
		else
			tell_known(a, cp, a->place[i]);
	}
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		if (a->m->pool_ctl[p].name[0] && !configured(a, p))
			say(a, "pool %.31s removed, its flows go", a->m->pool_ctl[p].name);
	}
}

/* ---- pools ------------------------------------------------------------------------------------ */

/* The number of the service that a pool belongs to. */
static __u32 service_of(const struct apply *a, int pool)
{
	for (unsigned i = 0; i < a->c->nservices; i++) {
		const struct config_service *s = &a->c->services[i];

		if (s->pool != pool && s->migrate_pool != pool && s->fallback != pool)
			continue;
		for (int k = 0; k < WEIR_SERVICES_MAX; k++) {
			if (same_name(a->m->ctl->services[k].name, s->name))
				return k;
		}
	}
	return WEIR_SVC_NONE;
}

static void set_pool(const struct apply *a, unsigned i)
{
	const struct config_pool *cp = &a->c->pools[i];
	struct weir_ctl_pool *ctl = &a->m->pool_ctl[a->place[i]];

	ctl->slow_start_ns = cp->slow_start_ns;
	ctl->delivery = cp->via;
	ctl->quantum = cp->quantum;
	ctl->flags &= ~WEIR_POOL_BY_HAND;
	for (unsigned p = a->place[i]; p < a->place[i] + a->places[i]; p++) {
		a->m->pools[p].scheduler = cp->scheduler;
		a->m->pools[p].fail = cp->fail;
		a->m->pools[p].bound = bound_of(cp);
		a->m->pools[p].svc = service_of(a, i);
	}
}

static void clear_places(const struct pools_mem *m, unsigned first, unsigned n)
{
	memset(&m->pools[first], 0, n * sizeof(*m->pools));
	memset(&m->maglev[first], 0xff, n * sizeof(*m->maglev)); /* WEIR_BACKEND_NONE */
	for (unsigned i = first; i < first + n; i++) {
		for (int k = 0; k < WEIR_POOL_BACKENDS; k++)
			m->pools[i].member[k].rank = WEIR_RANK_DOWN;
	}
	memset(&m->backends[first * WEIR_POOL_BACKENDS], 0, n * WEIR_POOL_BACKENDS * sizeof(*m->backends));
	memset(&m->backend_ctl[first * WEIR_POOL_BACKENDS], 0, n * WEIR_POOL_BACKENDS * sizeof(*m->backend_ctl));
}

/* A new pool: nobody knows of its places yet. */
static void make_pool(const struct apply *a, unsigned i)
{
	const struct config_pool *cp = &a->c->pools[i];
	struct weir_ctl_pool *ctl = &a->m->pool_ctl[a->place[i]];

	clear_places(a->m, a->place[i], a->places[i]);
	memset(ctl, 0, a->places[i] * sizeof(*ctl));
	ctl->places = a->places[i];
	ctl->shards = shards_of(cp);
	memcpy(ctl->name, cp->name, strnlen(cp->name, WEIR_NAME_MAX - 1));
	set_pool(a, i);
	for (unsigned k = 0; k < cp->nbackends; k++)
		pools_put(a->m, pools_room(a->m, a->place[i], &cp->backends[k]), &cp->backends[k], 0);
	pools_settle(a->m, a->place[i]);
}

static void forget_pool(const struct pools_mem *m, unsigned pool)
{
	unsigned places = m->pool_ctl[pool].places;

	memset(&m->pool_ctl[pool], 0, places * sizeof(*m->pool_ctl));
	clear_places(m, pool, places);
}

static bool none(const struct backend_set *s)
{
	static const struct backend_set empty;

	return !memcmp(s, &empty, sizeof(empty));
}

void pools_undo(const struct pools_mem *m, __u64 made)
{
	struct backend_set gone = {};

	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		for (int b = made >> p & 1 ? pools_next(m, p, -1) : -1; b >= 0; b = pools_next(m, p, b))
			set_add(&gone, b);
	}
	/* A program that is taken off again may have sent flows there. */
	if (!none(&gone) && pools_retire(m, &gone))
		return;
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		if (made >> p & 1)
			forget_pool(m, p);
	}
}

static int fail_nat(const struct apply *a, int err)
{
	say(a, "entering the translated backends: %s", err == -E2BIG ? "the map nat_back is full" : strerror(-err));
	return err;
}

static int prepare(struct apply *a, __u64 *made)
{
	int err;

	*made = 0;
	for (unsigned i = 0; i < a->c->npools; i++) {
		struct weir_ctl_pool *ctl = &a->m->pool_ctl[a->place[i]];

		if (a->is_new[i]) {
			make_pool(a, i);
			*made |= 1ULL << a->place[i];
		} else if (ctl->places < a->places[i]) {
			clear_places(a->m, a->place[i] + ctl->places, a->places[i] - ctl->places);
			ctl->places = a->places[i];
		}
	}
	err = nat_put(a->m, a->c, true);
	if (!err)
		return 0;
	pools_undo(a->m, *made);
	*made = 0;
	return fail_nat(a, err);
}

/* ---- backends --------------------------------------------------------------------------------- */

static void update(const struct apply *a, unsigned backend, const struct config_backend *cb)
{
	struct weir_ctl_backend *ctl = &a->m->backend_ctl[backend];
	struct weir_backend *b = &a->m->backends[backend];
	__u32 flags = ctl->flags & ~(WEIR_BACKEND_BY_HAND | WEIR_BACKEND_ADDED | WEIR_BACKEND_BACKUP);

	__atomic_store_n(&b->capacity, cb->capacity, __ATOMIC_RELAXED);
	__atomic_store_n(&b->quic_id, cb->quic_id, __ATOMIC_RELAXED);
	__atomic_store_n(&ctl->flags, flags | (cb->backup ? WEIR_BACKEND_BACKUP : 0), __ATOMIC_RELEASE);
	pools_set_admin(a->m, backend, cb->admin);
	pools_source(a->m, backend);
}

/* Backends of a loaded pool: those that stay as configured, those that go into *gone. */
static void sort_out(const struct apply *a, unsigned i, struct backend_set *gone)
{
	const struct config_pool *cp = &a->c->pools[i];
	unsigned pool = a->place[i], begin = pool * WEIR_POOL_BACKENDS;

	set_pool(a, i);
	for (int b = pools_next(a->m, pool, -1); b >= 0; b = pools_next(a->m, pool, b)) {
		const struct config_backend *cb = namesake(a, cp, b);

		if (cb && same_backend(a, pool, b, cb))
			update(a, b, cb);
		else
			set_add(gone, b);
	}
	for (unsigned b = begin; b < begin + a->places[i] * WEIR_POOL_BACKENDS; b++) {
		if (a->m->backend_ctl[b].flags & WEIR_BACKEND_GONE)
			memset(&a->m->backend_ctl[b], 0, sizeof(a->m->backend_ctl[b]));
	}
}

/* Puts those that have no place yet, as far as there are free ones. */
static void put_new(const struct apply *a, unsigned i)
{
	const struct config_pool *cp = &a->c->pools[i];

	for (unsigned k = 0; k < cp->nbackends; k++) {
		const struct config_backend *cb = &cp->backends[k];
		int at = find_same(a, a->place[i], cb) < 0 ? pools_room(a->m, a->place[i], cb) : -1;

		if (at < 0)
			continue;
		pools_put(a->m, at, cb, 0);
		if (cb->admin == WEIR_ADMIN_UP)
			pools_slow_start(a->m, at);
	}
}

static int put_all(const struct apply *a)
{
	int err;

	for (unsigned i = 0; i < a->c->npools; i++)
		put_new(a, i);
	err = nat_put(a->m, a->c, false);
	for (unsigned i = 0; i < a->c->npools; i++)
		pools_settle(a->m, a->place[i]);
	return err ? fail_nat(a, err) : 0;
}

static int align(struct apply *a)
{
	struct backend_set gone = {};
	int err;

	for (unsigned i = 0; i < a->c->npools; i++)
		sort_out(a, i, &gone);
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		bool goes = a->m->pool_ctl[p].name[0] && !configured(a, p);

		for (int b = goes ? pools_next(a->m, p, -1) : -1; b >= 0; b = pools_next(a->m, p, b))
			set_add(&gone, b);
	}
	err = put_all(a);
	if (!err && !none(&gone)) {
		err = pools_retire(a->m, &gone);
		if (err)
			say(a, "waiting for running programs: %s: what is gone is only disabled", strerror(-err));
	}
	for (unsigned p = 0; p < WEIR_POOLS_MAX && !err; p++) {
		if (a->m->pool_ctl[p].name[0] && !configured(a, p))
			forget_pool(a->m, p);
	}
	if (!err && !none(&gone))
		err = put_all(a);
	if (err)
		return err;
	err = nat_keep(a->m, a->c);
	return err ? fail_nat(a, err) : 0;
}

int pools_apply(const struct pools_mem *m, const struct config *c, bool dry, pools_change_fn fn, void *arg)
{
	struct apply a = { .m = m, .c = c, .fn = fn, .arg = arg };
	__u64 made;
	int err = plan(&a);

	if (err)
		return err;
	tell(&a);
	if (dry)
		return 0;
	err = prepare(&a, &made);
	return err ? err : align(&a);
}

int pools_prepare(const struct pools_mem *m, const struct config *c, __u64 *made, pools_change_fn fn, void *arg)
{
	struct apply a = { .m = m, .c = c, .fn = fn, .arg = arg };
	int err = plan(&a);

	*made = 0;
	return err ? err : prepare(&a, made);
}

int pools_services(const struct pools_mem *m, const struct config *c)
{
	struct apply a = { .m = m, .c = c };
	int err;

	for (unsigned i = 0; i < c->npools; i++) {
		int pool = pools_find(m, c->pools[i].name);

		for (unsigned k = 0; pool >= 0 && k < m->pool_ctl[pool].places; k++)
			m->pools[pool + k].svc = service_of(&a, i);
	}
	err = nat_put(m, c, false);
	return err ? err : nat_keep(m, c);
}
