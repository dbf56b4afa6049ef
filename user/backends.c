/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "backends.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define RING 8
#define TEXT 80

static char *ring(void)
{
	static char buffers[RING][TEXT];
	static unsigned next;

	return buffers[next++ % RING];
}

/* ---- walking ---------------------------------------------------------------------------------- */

int next_pool(const struct pools_mem *m, int pool)
{
	while (++pool < WEIR_POOLS_MAX) {
		if (*m->pool_ctl[pool].name)
			return pool;
	}
	return -1;
}

int next_backend(const struct pools_mem *m, unsigned pool, int backend)
{
	int first = pool * WEIR_POOL_BACKENDS, end = first + m->pool_ctl[pool].places * WEIR_POOL_BACKENDS;

	for (backend = backend < first ? first : backend + 1; backend < end; backend++) {
		if (*m->backend_ctl[backend].name)
			return backend;
	}
	return -1;
}

/* ---- finding ---------------------------------------------------------------------------------- */

/* ", "-separated, as many as there is room for. */
static void list_add(char *text, size_t len, const char *name)
{
	size_t at = strlen(text);

	snprintf(text + at, len - at, "%s%.31s", at ? ", " : "", name);
}

int find_pool(const struct session *s, const char *name, unsigned *pool)
{
	const struct pools_mem *m = dp_pools(s->dp);
	char names[256] = "";
	int found = pools_find(m, name);

	*pool = found;
	if (found >= 0)
		return EXIT_OK;
	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p))
		list_add(names, sizeof(names), pool_name(m, p));
	if (!*names)
		return fail(EXIT_FAILED, "%s: no pool is loaded: the configuration has none", s->what);
	if (name)
		return fail(EXIT_FAILED, "%s: no pool '%s'; there is: %s", s->what, name, names);
	return fail(EXIT_USAGE, "%s: which pool? Name one with --pool: %s", s->what, names);
}

int find_backend(const struct session *s, unsigned pool, const char *name, unsigned *backend)
{
	const struct pools_mem *m = dp_pools(s->dp);
	char names[256] = "";
	int found = pools_backend(m, pool, name);

	*backend = found;
	if (found >= 0)
		return EXIT_OK;
	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b))
		list_add(names, sizeof(names), m->backend_ctl[b].name);
	return fail(EXIT_FAILED, "%s: pool %s has no backend '%s'; it has: %s", s->what, pool_name(m, pool),
		    name, *names ? names : "none");
}

/* ---- words ------------------------------------------------------------------------------------ */

bool backend_known(const struct pools_mem *m, unsigned backend)
{
	return backend < WEIR_BACKENDS_MAX && *m->backend_ctl[backend].name;
}

const char *pool_name(const struct pools_mem *m, unsigned pool)
{
	char *text = ring();

	snprintf(text, TEXT, "%.31s", m->pool_ctl[pool].name);
	return text;
}

const char *backend_name(const struct pools_mem *m, unsigned backend)
{
	char *text = ring();

	snprintf(text, TEXT, "%.31s/%.31s", m->pool_ctl[pools_of(m, backend)].name,
		 m->backend_ctl[backend].name);
	return text;
}

const char *addr_text(const struct weir_addr *a, int family, __be16 port)
{
	char addr[INET6_ADDRSTRLEN] = "?", *text = ring();

	inet_ntop(family == 6 ? AF_INET6 : AF_INET, a, addr, sizeof(addr));
	if (!port)
		snprintf(text, TEXT, "%s", addr);
	else
		snprintf(text, TEXT, family == 6 ? "[%s]:%u" : "%s:%u", addr, ntohs(port));
	return text;
}

const char *backend_address(const struct weir_backend *b)
{
	return b->family ? addr_text(&b->addr, b->family, b->port) : "-";
}

const char *via_name(unsigned via)
{
	return via >= WEIR_VIA_L2 && via <= WEIR_VIA_NAT ? delivery_names[via - 1] : "?";
}

const char *scheduler_name(unsigned scheduler)
{
	return scheduler <= WEIR_SCHED_MAGLEV_BOUNDED ? scheduler_names[scheduler] : "?";
}

const char *fail_name(unsigned how)
{
	return how == WEIR_FAIL_RESET ? "reset" : "drop";
}

const char *admin_name(unsigned admin)
{
	return admin <= WEIR_ADMIN_DISABLED ? state_names[admin] : "?";
}

const char *health_name(unsigned health)
{
	static const char *const names[] = {"unknown", "up", "down"};

	return health <= WEIR_HEALTH_DOWN ? names[health] : "?";
}

const char *backend_state(const struct pools_mem *m, unsigned backend)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];

	if (b->flags & WEIR_BACKEND_GONE)
		return "removed";
	if (b->admin == WEIR_ADMIN_DISABLED)
		return "disabled";
	if (b->health == WEIR_HEALTH_DOWN)
		return "down";
	if (b->admin == WEIR_ADMIN_DRAIN)
		return "draining";
	return b->slow_until_ns > monotonic_ns() ? "slow start" : "up";
}

/* ---- numbers ---------------------------------------------------------------------------------- */

__u32 backend_active(const struct pools_mem *m, unsigned backend)
{
	const struct weir_pool *pool = &m->pools[backend / WEIR_POOL_BACKENDS];

	return __atomic_load_n(&pool->member[backend % WEIR_POOL_BACKENDS].active, __ATOMIC_RELAXED);
}

static bool is_up(const struct weir_ctl_backend *b)
{
	return b->admin == WEIR_ADMIN_UP && b->health != WEIR_HEALTH_DOWN;
}

__u64 pool_active(const struct pools_mem *m, unsigned pool, unsigned *backends)
{
	__u64 active = 0;

	*backends = 0;
	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		active += backend_active(m, b);
		++*backends;
	}
	return active;
}

unsigned count_up(const struct pools_mem *m, unsigned pool)
{
	unsigned n = 0;

	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b))
		n += is_up(&m->backend_ctl[b]);
	return n;
}

unsigned backend_shard(const struct pools_mem *m, unsigned backend)
{
	unsigned pool = pools_of(m, backend);

	return m->pool_ctl[pool].shards > 1 ? backend / WEIR_POOL_BACKENDS - pool : 0;
}

/* Connections for the capacity, of those in the backend's pool or shard that new connections go to. Negative: none. */
static double mean_load(const struct pools_mem *m, unsigned backend, bool backups)
{
	unsigned pool = pools_of(m, backend), shard = backend_shard(m, backend);
	double active = 0, capacity = 0;

	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		if (backend_shard(m, b) != shard || !is_up(&m->backend_ctl[b]) ||
		    !(m->backend_ctl[b].flags & WEIR_BACKEND_BACKUP) != !backups)
			continue;
		active += backend_active(m, b);
		capacity += m->backends[b].capacity;
	}
	return capacity > 0 ? active / capacity : -1;
}

double backend_load(const struct pools_mem *m, unsigned backend)
{
	double mean = mean_load(m, backend, false), own = m->backends[backend].capacity;

	if (mean < 0)
		mean = mean_load(m, backend, true);
	return mean > 0 && own > 0 ? backend_active(m, backend) / own / mean : -1;
}

const char *backend_drift(const struct pools_mem *m, unsigned backend)
{
	__u32 flags = m->backend_ctl[backend].flags;

	if (flags & WEIR_BACKEND_GONE)
		return "removed";
	if (flags & WEIR_BACKEND_ADDED)
		return "added";
	return flags & WEIR_BACKEND_BY_HAND ? "changed" : NULL;
}

unsigned count_by_hand(const struct pools_mem *m)
{
	unsigned n = m->ctl->services_gone;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		n += !!(m->ctl->services[i].flags & WEIR_SVC_BY_HAND);
	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		n += !!(m->pool_ctl[p].flags & WEIR_POOL_BY_HAND);
		for (int b = next_backend(m, p, -1); b >= 0; b = next_backend(m, p, b))
			n += backend_drift(m, b) != NULL;
	}
	return n;
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static json_t *json_text(const char *text, size_t len)
{
	len = strnlen(text, len);
	return len ? json_string(printable(text, len)) : json_null();
}

static json_t *json_source(const struct weir_backend *b)
{
	return b->via == WEIR_VIA_TUNNEL ? json_string(addr_text(&b->source, b->family, 0)) : json_null();
}

static void json_add_state(json_t *doc, const struct pools_mem *m, unsigned backend)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];
	__u64 now = monotonic_ns();
	json_t *part =
		json_pack("{s:s, s:s, s:s, s:o, s:f, s:o, s:I, s:I}", "state", backend_state(m, backend),
			  "admin", admin_name(b->admin), "health", health_name(b->health), "why",
			  json_text(b->why, sizeof(b->why)), "slow_start_seconds",
			  b->slow_until_ns > now ? (b->slow_until_ns - now) / 1e9 : 0.0, "since_at",
			  b->since ? json_integer(b->since) : json_null(), "checks_ok",
			  (json_int_t)b->checks_ok, "checks_failed", (json_int_t)b->checks_failed);

	json_object_update(doc, part);
	json_decref(part);
}

json_t *json_backend(const struct session *s, unsigned backend)
{
	const struct pools_mem *m = dp_pools(s->dp);
	const struct weir_ctl_backend *ctl = &m->backend_ctl[backend];
	const struct weir_backend *b = &m->backends[backend];
	double load = backend_load(m, backend);
	struct weir_count sent;
	json_t *doc;

	dp_sent(s->dp, backend, &sent);
	doc = json_pack("{s:s, s:s, s:s?, s:s?, s:o, s:i, s:b, s:I, s:I, s:o, s:o, s:I, s:I, s:b, s:b}",
			"pool", pool_name(m, pools_of(m, backend)), "name", ctl->name, "address",
			b->family ? backend_address(b) : NULL, "via", b->family ? via_name(b->via) : NULL,
			"source", json_source(b), "shard", (int)backend_shard(m, backend), "backup",
			!!(ctl->flags & WEIR_BACKEND_BACKUP), "capacity", (json_int_t)b->capacity, "active",
			(json_int_t)backend_active(m, backend), "load",
			load < 0 ? json_null() : json_real(load), "latency_seconds",
			ctl->latency_ns ? json_real(ctl->latency_ns / 1e9) : json_null(), "packets",
			(json_int_t)sent.packets, "bytes", (json_int_t)sent.bytes, "by_hand",
			backend_drift(m, backend) != NULL, "removed", !!(ctl->flags & WEIR_BACKEND_GONE));
	json_add_state(doc, m, backend);
	return doc;
}
