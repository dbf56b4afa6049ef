/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Steering in the configuration: the flow table, pools with their backends and checks, and what services
 * have to do with them. First each by itself, in the order of the file; then what they ask of each other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_build.h"
#include "http.h"

#define FLOWS_DFLT     (1 << 22)
#define POOL_UNSHARDED 256 /* backends of a pool without shards */
#define CID_MAX        20 /* bytes of a QUIC connection id (RFC 9000, 17.2) */
#define TEXT_MAX       255

const char *const scheduler_names[] = {"least-loaded", "maglev", "maglev-bounded", NULL};
const char *const delivery_names[] = {"l2", "tunnel", "nat", NULL};
const char *const state_names[] = {"up", "drain", "disabled", NULL};
const char *const check_names[] = {"none",      "tcp",           "http",    "https",
				   "memcached", "memcached-udp", "command", NULL};
const char *const through_names[] = {"delivery", "address", NULL};

/* ---- the schema ------------------------------------------------------------------------------- */

static const cyaml_schema_field_t idle_fields[] = {
	TEXT(raw_idle, tcp, OPTIONAL),
	TEXT(raw_idle, udp, OPTIONAL),
	TEXT(raw_idle, half_open, OPTIONAL),
	TEXT(raw_idle, closing, OPTIONAL),
	TEXT(raw_idle, closed, OPTIONAL),
	CYAML_FIELD_END,
};

const cyaml_schema_field_t flows_fields[] = {
	TEXT(raw_flows, capacity, OPTIONAL),
	PART(raw_flows, idle, idle_fields),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t check_fields[] = {
	TEXT(raw_check, type, REQUIRED),    TEXT(raw_check, path, OPTIONAL),
	TEXT(raw_check, host, OPTIONAL),    TEXT(raw_check, port, OPTIONAL),
	TEXT(raw_check, status, OPTIONAL),  TEXT(raw_check, interval, OPTIONAL),
	TEXT(raw_check, timeout, OPTIONAL), TEXT(raw_check, rise, OPTIONAL),
	TEXT(raw_check, fall, OPTIONAL),    TEXT(raw_check, jitter, OPTIONAL),
	TEXT(raw_check, command, OPTIONAL), TEXT(raw_check, through, OPTIONAL),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t backend_fields[] = {
	TEXT(raw_backend, name, REQUIRED),
	TEXT(raw_backend, address, REQUIRED),
	TEXT(raw_backend, capacity, OPTIONAL),
	TEXT(raw_backend, backup, OPTIONAL),
	TEXT(raw_backend, delivery, OPTIONAL),
	TEXT(raw_backend, state, OPTIONAL),
	TEXT(raw_backend, quic_id, OPTIONAL),
	TEXT(raw_backend, shard, OPTIONAL),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t backend_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_backend, backend_fields),
};

static const cyaml_schema_field_t pool_fields[] = {
	TEXT(raw_pool, name, REQUIRED),
	TEXT(raw_pool, scheduler, OPTIONAL),
	TEXT(raw_pool, delivery, OPTIONAL),
	TEXT(raw_pool, fail, OPTIONAL),
	TEXT(raw_pool, quantum, OPTIONAL),
	TEXT(raw_pool, bound, OPTIONAL),
	TEXT(raw_pool, slow_start, OPTIONAL),
	TEXT(raw_pool, shards, OPTIONAL),
	PART(raw_pool, check, check_fields),
	LIST(raw_pool, "backends", REQUIRED, backends, &backend_entry, WEIR_BACKENDS_MAX),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t pool_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_pool, pool_fields),
};

const cyaml_schema_field_t migrate_fields[] = {
	TEXT(raw_migrate, to, REQUIRED),
	TEXT(raw_migrate, percent, REQUIRED),
	CYAML_FIELD_END,
};

const cyaml_schema_field_t quic_fields[] = {
	TEXT(raw_quic, offset, REQUIRED),
	TEXT(raw_quic, length, REQUIRED),
	CYAML_FIELD_END,
};

/* ---- values ----------------------------------------------------------------------------------- */

__u64 build_time(struct source *s, const char *field, const char *text, const char *min, const char *max,
		 const char *dflt)
{
	__u64 ns, least = 0, most = 0;
	int err;

	if (!text)
		text = dflt;
	parse_duration(min, &least);
	parse_duration(max, &most);
	err = parse_duration(text, &ns);
	if (err == -EINVAL)
		fault(s, field, "'%.60s' is not a duration, as in 500ms, 90s or 1h30m", text);
	else if (err || ns < least || ns > most)
		fault(s, field, "'%.60s' is not from %s to %s", text, min, max);
	else
		return ns;
	parse_duration(dflt, &ns);
	return ns;
}

/* Takes the % from the end, where there is one. */
static int percent_digits(const char *text, char *digits, size_t size)
{
	size_t len = strlen(text);

	if (len && text[len - 1] == '%')
		len--;
	if (!len || len >= size)
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	return 0;
}

static unsigned build_percent(struct source *s, const char *field, const char *text, unsigned min,
			      unsigned max, unsigned dflt)
{
	char digits[16];
	__u64 n;

	if (!text)
		return dflt;
	if (!percent_digits(text, digits, sizeof(digits)) && !parse_number(digits, min, max, &n))
		return n;
	fault(s, field, "'%.60s' is not a percentage from %u%% to %u%%", text, min, max);
	return dflt;
}

/* The same from 0 to 100 with up to three decimals. */
static double build_share(struct source *s, const char *field, const char *text)
{
	char digits[16], *dot;
	bool ok = !percent_digits(text, digits, sizeof(digits));
	double share = 0;
	__u64 n;

	dot = ok ? strchr(digits, '.') : NULL;
	if (dot) {
		size_t len = strlen(dot + 1);

		ok = len && len <= 3 && strspn(dot + 1, "0123456789") == len;
		share = strtoul(dot + 1, NULL, 10) / (len == 1 ? 10.0 : len == 2 ? 100.0 : 1000.0);
		*dot = '\0';
	}
	if (ok && !parse_number(digits, 0, 100, &n) && n + share <= 100)
		return n + share;
	fault(s, field, "'%.60s' is not a percentage from 0%% to 100%%", text);
	return 0;
}

/* Printable ASCII; of HTTP's texts without spaces. */
static char *build_text(struct source *s, const char *field, const char *text, bool spaces)
{
	size_t len = text ? strlen(text) : 0;
	char *copy;

	if (!text)
		return NULL;
	for (const char *p = text; *p; p++)
		if (*p < (spaces ? ' ' : '!') || *p > '~')
			len = 0;
	if (len && len <= TEXT_MAX) {
		copy = strdup(text);
		if (!copy)
			fault(s, field, "%s", strerror(ENOMEM));
		return copy;
	}
	fault(s, field, "'%.60s' is not 1 to %u printable characters%s", text, TEXT_MAX,
	      spaces ? "" : " without spaces");
	return NULL;
}

/* ---- the flow table --------------------------------------------------------------------------- */

__u32 build_flow_count(struct source *s, const char *field, const char *text, __u32 min, __u32 max, __u32 dflt,
		       const char *which)
{
	__u64 n = dflt;
	__u32 flows = min;

	/* flows are counted, not measured: no bytes and no G */
	if (text && (strpbrk(text, "BGTgt") || parse_size(text, &n) || n < min || n > max)) {
		fault(s, field, "'%.60s' is not a number of %s", text, which);
		n = dflt;
	}
	while (flows < n)
		flows *= 2;
	return flows;
}

static __u32 build_flow_capacity(struct source *s, const char *text)
{
	return build_flow_count(s, "flows.capacity", text, WEIR_FLOWS_MIN, WEIR_FLOWS_MAX, FLOWS_DFLT,
				"flows from 1024 to 16M, as in 500000 or 4M");
}

/* At least a tick of the flow table, at most about half of what ticks count to. */
static __u64 build_idle(struct source *s, const char *name, const char *text, const char *dflt)
{
	return build_time(s, at(s, "flows.idle.%s", name), text, "2s", "2h", dflt);
}

void build_flows(struct source *s, const struct raw *raw, struct config *c)
{
	static const struct raw_flows no_flows;
	static const struct raw_idle no_idle;
	const struct raw_flows *flows = raw->flows ? raw->flows : &no_flows;
	const struct raw_idle *idle = flows->idle ? flows->idle : &no_idle;

	c->flow_buckets = build_flow_capacity(s, flows->capacity) / WEIR_BUCKET_WORDS;
	c->idle_ns[WEIR_FLOW_TCP] = build_idle(s, "tcp", idle->tcp, "1h");
	c->idle_ns[WEIR_FLOW_RESTING] = c->idle_ns[WEIR_FLOW_TCP];
	c->idle_ns[WEIR_FLOW_UDP] = build_idle(s, "udp", idle->udp, "90s");
	c->idle_ns[WEIR_FLOW_SYN] = build_idle(s, "half_open", idle->half_open, "10s");
	c->idle_ns[WEIR_FLOW_FOUND] = c->idle_ns[WEIR_FLOW_SYN];
	c->idle_ns[WEIR_FLOW_FIN_C] = build_idle(s, "closing", idle->closing, "2m");
	c->idle_ns[WEIR_FLOW_FIN_B] = c->idle_ns[WEIR_FLOW_FIN_C];
	c->idle_ns[WEIR_FLOW_RESET] = c->idle_ns[WEIR_FLOW_FIN_C];
	c->idle_ns[WEIR_FLOW_CLOSED] = build_idle(s, "closed", idle->closed, "30s");
}

/* ---- health checks ---------------------------------------------------------------------------- */

static bool is_http(enum check_kind kind)
{
	return kind == CHECK_HTTP || kind == CHECK_HTTPS;
}

static void build_status(struct source *s, unsigned p, const char *text, struct config_check *check)
{
	const char *dash = text ? strchr(text, '-') : NULL;
	char low[8] = "";
	__u64 min = 200, max = 399;
	int err = 0;

	if (text) {
		snprintf(low, sizeof(low), "%.*s", (int)(dash ? dash - text : (long)strlen(text)), text);
		err = parse_number(low, 100, 599, &min);
		max = min;
	}
	if (!err && dash)
		err = parse_number(dash + 1, min, 599, &max);
	if (err)
		fault(s, at(s, "pools[%u].check.status", p),
		      "'%.60s' is not a status from 100 to 599 or a range of them, as in 200 or 200-399",
		      text);
	check->status_min = min;
	check->status_max = max;
}

static void build_http(struct source *s, unsigned p, const struct raw_check *r, struct config_check *check)
{
	char why[256];

	build_status(s, p, r->status, check);
	check->host = build_text(s, at(s, "pools[%u].check.host", p), r->host, false);
	check->path = build_text(s, at(s, "pools[%u].check.path", p), r->path ? r->path : "/", false);
	if (check->path && *check->path != '/')
		fault(s, at(s, "pools[%u].check.path", p), "'%.60s' does not begin with /", r->path);
	if (http_load(why, sizeof(why)))
		fault(s, at(s, "pools[%u].check.type", p), "%s %s", check_names[check->kind], why);
}

static void build_command(struct source *s, unsigned p, const struct raw_check *r, struct config_check *check)
{
	if (r->command)
		check->command = build_text(s, at(s, "pools[%u].check.command", p), r->command, true);
	else
		fault(s, at(s, "pools[%u].check.command", p), "is required of type command, and missing");
}

/* Keys of another type than the one that is given; `none` may keep all for later. */
static void refuse_check_keys(struct source *s, unsigned p, const struct raw_check *r, enum check_kind kind)
{
	const struct {
		const char *name, *text, *type;
		bool fits;
	} keys[] = {{"path", r->path, "http and https", is_http(kind)},
		    {"host", r->host, "http and https", is_http(kind)},
		    {"status", r->status, "http and https", is_http(kind)},
		    {"command", r->command, "command", kind == CHECK_COMMAND}};

	for (unsigned k = 0; kind != CHECK_NONE && k < sizeof(keys) / sizeof(*keys); k++)
		if (keys[k].text && !keys[k].fits)
			fault(s, at(s, "pools[%u].check.%s", p, keys[k].name),
			      "is of type %s, and this is %s", keys[k].type, check_names[kind]);
}

static void build_times(struct source *s, unsigned p, const struct raw_check *r, struct config_check *check)
{
	check->interval_ns =
		build_time(s, at(s, "pools[%u].check.interval", p), r->interval, "100ms", "1h", "2s");
	check->timeout_ns =
		build_time(s, at(s, "pools[%u].check.timeout", p), r->timeout, "10ms", "1h", "1s");
	if (check->timeout_ns <= check->interval_ns)
		return;
	if (r->timeout)
		fault(s, at(s, "pools[%u].check.timeout", p), "'%.60s' is longer than the interval (%s)",
		      r->timeout, r->interval ? r->interval : "2s");
	check->timeout_ns = check->interval_ns;
}

static void build_check(struct source *s, unsigned p, const struct raw_check *r, struct config_check *check)
{
	static const struct raw_check none;

	if (!r)
		r = &none;
	check->kind = build_choice(s, at(s, "pools[%u].check.type", p), r->type, check_names, CHECK_NONE);
	refuse_check_keys(s, p, r, check->kind);
	check->through = build_choice(s, at(s, "pools[%u].check.through", p), r->through, through_names,
				      THROUGH_DELIVERY);
	check->port = htons(build_number(s, at(s, "pools[%u].check.port", p), r->port, 1, 65535, 0));
	build_times(s, p, r, check);
	check->rise = build_number(s, at(s, "pools[%u].check.rise", p), r->rise, 1, 100, 2);
	check->fall = build_number(s, at(s, "pools[%u].check.fall", p), r->fall, 1, 100, 3);
	check->jitter = build_percent(s, at(s, "pools[%u].check.jitter", p), r->jitter, 0, 50, 10);
	if (is_http(check->kind))
		build_http(s, p, r, check);
	if (check->kind == CHECK_COMMAND)
		build_command(s, p, r, check);
}

/* ---- backends --------------------------------------------------------------------------------- */

static void build_backend_name(struct source *s, unsigned p, unsigned b, const char *text,
			       struct config_pool *pool)
{
	if (!build_name(s, at(s, "pools[%u].backends[%u].name", p, b), text, pool->backends[b].name))
		return;
	for (unsigned k = 0; k < b; k++) {
		if (strcmp(text, pool->backends[k].name))
			continue;
		fault(s, at(s, "pools[%u].backends[%u].name", p, b), "'%s' is already backends[%u]", text, k);
		return;
	}
}

/* Those at fault have no family. */
static void build_backend_address(struct source *s, unsigned p, unsigned b, const char *text,
				  struct config_pool *pool)
{
	const char *why = "is not an address, as in 10.0.0.1, 10.0.0.1:80, fd00::1 or [fd00::1]:80";
	struct config_vip *to = &pool->backends[b].at;

	if (!parse_address(text, to))
		why = config_not_host(&to->addr, to->family);
	if (why) {
		fault(s, at(s, "pools[%u].backends[%u].address", p, b), "'%.60s' %s", text, why);
		memset(to, 0, sizeof(*to));
		return;
	}
	for (unsigned k = 0; k < b; k++) {
		if (!same_vip(to, &pool->backends[k].at))
			continue;
		fault(s, at(s, "pools[%u].backends[%u].address", p, b), "'%.60s' is already backends[%u]",
		      text, k);
		return;
	}
}

static void build_backend_shard(struct source *s, unsigned p, unsigned b, const char *text,
				struct config_pool *pool)
{
	if (pool->shards > 1 && !text)
		fault(s, at(s, "pools[%u].backends[%u].shard", p, b),
		      "is required in a pool with shards, and missing");
	else if (pool->shards == 1 && text)
		fault(s, at(s, "pools[%u].backends[%u].shard", p, b),
		      "says nothing in a pool without shards");
	else
		pool->backends[b].shard = build_number(s, at(s, "pools[%u].backends[%u].shard", p, b), text,
						       0, pool->shards - 1, 0);
}

static void build_backend(struct source *s, unsigned p, unsigned b, const struct raw_backend *r,
			  struct config_pool *pool)
{
	struct config_backend *to = &pool->backends[b];

	build_backend_name(s, p, b, r->name, pool);
	build_backend_address(s, p, b, r->address, pool);
	to->capacity = build_number(s, at(s, "pools[%u].backends[%u].capacity", p, b), r->capacity, 1,
				    CONFIG_CAPACITY_MAX, CONFIG_CAPACITY);
	to->backup = build_choice(s, at(s, "pools[%u].backends[%u].backup", p, b), r->backup, booleans, 0);
	to->via = 1 + build_choice(s, at(s, "pools[%u].backends[%u].delivery", p, b), r->delivery,
				   delivery_names, pool->via - 1);
	to->admin = build_choice(s, at(s, "pools[%u].backends[%u].state", p, b), r->state, state_names,
				 WEIR_ADMIN_UP);
	to->quic_id = build_number(s, at(s, "pools[%u].backends[%u].quic_id", p, b), r->quic_id, 0,
				   CONFIG_NO_QUIC_ID - 1, CONFIG_NO_QUIC_ID);
	if (pool->shards)
		build_backend_shard(s, p, b, r->shard, pool);
}

static int build_backends(struct source *s, unsigned p, const struct raw_pool *r, struct config_pool *pool)
{
	pool->backends = calloc(r->backends_count, sizeof(*pool->backends));
	if (!pool->backends)
		return -ENOMEM;
	pool->nbackends = r->backends_count;
	for (unsigned b = 0; b < pool->nbackends; b++)
		build_backend(s, p, b, &r->backends[b], pool);
	return 0;
}

/* ---- pools ------------------------------------------------------------------------------------ */

static void build_pool_name(struct source *s, unsigned p, const char *text, struct config *c)
{
	if (!build_name(s, at(s, "pools[%u].name", p), text, c->pools[p].name))
		return;
	for (unsigned k = 0; k < p; k++) {
		if (strcmp(text, c->pools[k].name))
			continue;
		fault(s, at(s, "pools[%u].name", p), "'%s' is already pools[%u]", text, k);
		return;
	}
}

/* A power of two; 1: not sharded; 0 after a fault. */
static unsigned build_shards(struct source *s, unsigned p, const char *text)
{
	__u64 n = 1;

	if (!text || (!parse_number(text, 1, WEIR_POOLS_MAX, &n) && !(n & (n - 1))))
		return n;
	fault(s, at(s, "pools[%u].shards", p), "'%.60s' is not a power of two from 1 to %u", text,
	      WEIR_POOLS_MAX);
	return 0;
}

static void check_shards(struct source *s, unsigned p, const struct config_pool *pool)
{
	unsigned count[WEIR_POOLS_MAX] = {0};

	for (unsigned b = 0; b < pool->nbackends; b++)
		count[pool->backends[b].shard]++;
	for (unsigned k = 0; k < pool->shards; k++) {
		if (!count[k])
			fault(s, at(s, "pools[%u].shards", p), "no backend has shard %u", k);
		if (count[k] > WEIR_POOL_BACKENDS)
			fault(s, at(s, "pools[%u].shards", p), "more than %u backends have shard %u",
			      WEIR_POOL_BACKENDS, k);
	}
}

static unsigned places_of(const struct config_pool *pool)
{
	return pool->shards > 1 ? pool->shards
				: (pool->nbackends + WEIR_POOL_BACKENDS - 1) / WEIR_POOL_BACKENDS;
}

static void build_fail(struct source *s, unsigned p, const char *text, struct config_pool *pool)
{
	static const char *const ways[] = {"drop", "reset", "backup", NULL};
	int way = build_choice(s, at(s, "pools[%u].fail", p), text, ways, 0);

	pool->fail = way == 1 ? WEIR_FAIL_RESET : WEIR_FAIL_DROP;
	if (way < 2)
		return;
	for (unsigned b = 0; b < pool->nbackends; b++)
		if (pool->backends[b].backup)
			return;
	fault(s, at(s, "pools[%u].fail", p), "'backup' needs a backend with backup: true");
}

static void build_slow_start(struct source *s, unsigned p, const char *text, struct config_pool *pool)
{
	if (text && strcmp(text, "0") && strcmp(text, "never"))
		pool->slow_start_ns =
			build_time(s, at(s, "pools[%u].slow_start", p), text, "1s", "1h", "30s");
}

static int build_pool(struct source *s, unsigned p, const struct raw_pool *r, struct config *c)
{
	struct config_pool *pool = &c->pools[p];
	unsigned faults;
	int err;

	build_pool_name(s, p, r->name, c);
	pool->scheduler = build_choice(s, at(s, "pools[%u].scheduler", p), r->scheduler, scheduler_names,
				       WEIR_SCHED_LEAST_LOADED);
	pool->via = 1 + build_choice(s, at(s, "pools[%u].delivery", p), r->delivery, delivery_names,
				     WEIR_VIA_TUNNEL - 1);
	pool->quantum = build_percent(s, at(s, "pools[%u].quantum", p), r->quantum, 0, 50, 2);
	pool->bound = build_percent(s, at(s, "pools[%u].bound", p), r->bound, 1, 1000, 25);
	build_slow_start(s, p, r->slow_start, pool);
	build_check(s, p, r->check, &pool->check);
	pool->shards = build_shards(s, p, r->shards);
	faults = s->faults;
	err = build_backends(s, p, r, pool);
	if (err)
		return err;
	build_fail(s, p, r->fail, pool);
	if (pool->shards > 1 && faults == s->faults) /* one at fault could be the one that is missed */
		check_shards(s, p, pool);
	if (pool->shards == 1 && pool->nbackends > POOL_UNSHARDED)
		fault(s, at(s, "pools[%u].backends", p), "has more than %u entries, and the pool no shards",
		      POOL_UNSHARDED);
	return 0;
}

int build_pools(struct source *s, const struct raw *raw, struct config *c)
{
	unsigned places = 0, before;
	int err = 0;

	if (!raw->pools)
		return 0;
	c->pools = calloc(raw->pools_count, sizeof(*c->pools));
	if (!c->pools)
		return -ENOMEM;
	c->npools = raw->pools_count;
	for (unsigned p = 0; !err && p < c->npools; p++) {
		err = build_pool(s, p, &raw->pools[p], c);
		before = places;
		places += places_of(&c->pools[p]);
		if (before <= WEIR_POOLS_MAX && places > WEIR_POOLS_MAX)
			fault(s, at(s, "pools[%u]", p),
			      "more than %u places: a pool takes one for each shard, or for each %u backends",
			      WEIR_POOLS_MAX, WEIR_POOL_BACKENDS);
	}
	return err;
}

void free_pools(struct config *c)
{
	for (unsigned p = 0; p < c->npools; p++) {
		free(c->pools[p].backends);
		free(c->pools[p].check.path);
		free(c->pools[p].check.host);
		free(c->pools[p].check.command);
	}
	free(c->pools);
}

/* ---- services --------------------------------------------------------------------------------- */

static int find_pool(struct source *s, const char *field, const char *name, const struct config *c)
{
	for (unsigned p = 0; name && p < c->npools; p++)
		if (*name && !strcmp(name, c->pools[p].name))
			return p;
	if (name)
		fault(s, field, "there is no pool '%.60s'", name);
	return CONFIG_NO_POOL;
}

/* A service as it is without steering. */
static void refuse_steering(struct source *s, const struct raw_service *r, unsigned i, bool cache)
{
	const struct {
		const char *name;
		const void *given;
	} keys[] = {{"protocol", r->protocol},
		    {"fragments", r->fragments},
		    {"migrate", r->migrate},
		    {"fallback", r->fallback},
		    {"quic", r->quic}};

	if (!cache)
		fault(s, at(s, "services[%u].cache", i),
		      "false without a pool: the service would do nothing");
	for (unsigned k = 0; k < sizeof(keys) / sizeof(*keys); k++)
		if (keys[k].given)
			fault(s, at(s, "services[%u].%s", i, keys[k].name), "says nothing without a pool");
}

static void build_protocol(struct source *s, const char *text, unsigned i, struct config_service *svc)
{
	static const char *const words[] = {"tcp", "udp", "both", NULL};
	static const __u32 flags[] = {WEIR_SVC_TCP, WEIR_SVC_UDP, WEIR_SVC_TCP | WEIR_SVC_UDP};
	bool cache = svc->flags & WEIR_SVC_CACHE;
	int protocol = build_choice(s, at(s, "services[%u].protocol", i), text, words, cache);

	svc->flags |= flags[protocol];
	if (cache && !protocol)
		fault(s, at(s, "services[%u].protocol", i),
		      "'tcp' with a cache, which is of UDP: udp or both is needed");
}

static void build_migrate(struct source *s, const struct raw_migrate *r, unsigned i, struct config *c)
{
	struct config_service *svc = &c->services[i];

	if (!r)
		return;
	svc->migrate_pool = find_pool(s, at(s, "services[%u].migrate.to", i), r->to, c);
	svc->migrate_percent = build_share(s, at(s, "services[%u].migrate.percent", i), r->percent);
	if (!(svc->flags & WEIR_SVC_CACHE))
		fault(s, at(s, "services[%u].migrate", i),
		      "moves keys, and only a service with a cache knows them");
}

static void build_fallback(struct source *s, const char *name, unsigned i, struct config *c)
{
	struct config_service *svc = &c->services[i];

	svc->fallback = find_pool(s, at(s, "services[%u].fallback", i), name, c);
	if (name && svc->pool != CONFIG_NO_POOL && c->pools[svc->pool].shards == 1)
		fault(s, at(s, "services[%u].fallback", i), "is for a pool with shards, and '%s' has none",
		      c->pools[svc->pool].name);
}

static void build_quic(struct source *s, const struct raw_quic *r, unsigned i, struct config_service *svc)
{
	if (!r)
		return;
	svc->quic_at = build_number(s, at(s, "services[%u].quic.offset", i), r->offset, 0, CID_MAX - 1, 0);
	svc->quic_len = build_number(s, at(s, "services[%u].quic.length", i), r->length, 1, 4, 1);
	if (svc->quic_at + svc->quic_len > CID_MAX)
		fault(s, at(s, "services[%u].quic", i), "ends behind byte %u, the last of a connection id",
		      CID_MAX);
	if (svc->flags & WEIR_SVC_CACHE)
		fault(s, at(s, "services[%u].quic", i), "is not for a service with a cache");
	else if (!(svc->flags & WEIR_SVC_UDP))
		fault(s, at(s, "services[%u].quic", i), "is of UDP: protocol: udp or both is needed");
}

void build_steering(struct source *s, const struct raw *raw, unsigned i, struct config *c)
{
	static const char *const fragment_ways[] = {"steer", "drop", NULL};
	const struct raw_service *r = &raw->services[i];
	struct config_service *svc = &c->services[i];
	bool cache = build_choice(s, at(s, "services[%u].cache", i), r->cache, booleans, !r->pool);

	svc->pool = svc->migrate_pool = svc->fallback = CONFIG_NO_POOL;
	svc->flags = cache ? WEIR_SVC_CACHE : 0;
	if (!r->pool) {
		refuse_steering(s, r, i, cache);
		return;
	}
	svc->pool = find_pool(s, at(s, "services[%u].pool", i), r->pool, c);
	build_protocol(s, r->protocol, i, svc);
	if (!build_choice(s, at(s, "services[%u].fragments", i), r->fragments, fragment_ways, 0))
		svc->flags |= WEIR_SVC_FRAGMENTS;
	build_migrate(s, r->migrate, i, c);
	build_fallback(s, r->fallback, i, c);
	build_quic(s, r->quic, i, svc);
}

/* ---- between services and pools --------------------------------------------------------------- */

/* Who owns each pool with NAT backends: number of the service, -1 none. */
struct owners {
	int of[WEIR_POOLS_MAX];
};

/* The first backend that is delivered by NAT, or that is not. NULL: none. */
static const struct config_backend *first_nat(const struct config_pool *pool, bool nat)
{
	for (unsigned b = 0; b < pool->nbackends; b++)
		if ((pool->backends[b].via == WEIR_VIA_NAT) == nat)
			return &pool->backends[b];
	return NULL;
}

/* NAT keeps the family: a client's packet to any of the addresses may go to any of the backends. */
static void check_nat_vips(struct source *s, const struct raw *raw, const struct config *c, unsigned i,
			   const char *field, const struct config_pool *pool)
{
	const struct config_service *svc = &c->services[i];

	for (unsigned k = 0; k < svc->nvips * pool->nbackends; k++) {
		const struct config_backend *backend = &pool->backends[k % pool->nbackends];
		unsigned v = k / pool->nbackends, family = svc->vips[v].family;

		if (backend->via != WEIR_VIA_NAT || !family || !backend->at.family || backend->at.family == family)
			continue;
		fault(s, field,
		      "NAT keeps the family: backend '%s' of '%s' is IPv%u, and %.60s IPv%u: make a service and "
		      "a pool for each family",
		      backend->name, pool->name, backend->at.family, raw->services[i].vips[v], family);
		return;
	}
}

/* Pool `p`, which service i names in a field. */
static void check_use(struct source *s, const struct raw *raw, const struct config *c, unsigned i,
		      const char *name, int p, struct owners *owners)
{
	const struct config_service *svc = &c->services[i];
	const struct config_backend *other;
	const struct config_pool *pool;
	char field[64];

	if (p == CONFIG_NO_POOL)
		return;
	pool = &c->pools[p];
	snprintf(field, sizeof(field), "services[%u].%s", i, name);
	other = first_nat(pool, false);
	if (svc->flags & WEIR_SVC_CACHE && other)
		fault(s, field,
		      "a cache must see replies, so that writes are noticed: backend '%s' of '%s' needs "
		      "delivery: nat",
		      other->name, pool->name);
	if (!(svc->flags & WEIR_SVC_CACHE) && pool->shards > 1)
		fault(s, field, "'%s' has shards, which need keys: only a service with a cache knows them",
		      pool->name);
	if (!first_nat(pool, true))
		return;
	if (owners->of[p] >= 0 && owners->of[p] != (int)i) {
		fault(s, field, "'%s' has NAT backends and already belongs to services[%d]", pool->name,
		      owners->of[p]);
		return;
	}
	owners->of[p] = i;
	check_nat_vips(s, raw, c, i, field, pool);
}

static void check_keys_pools(struct source *s, const struct config *c, unsigned i)
{
	const struct config_service *svc = &c->services[i];
	const struct config_pool *pool = &c->pools[svc->pool];

	if (svc->migrate_pool == svc->pool)
		fault(s, at(s, "services[%u].migrate.to", i), "'%s' is the pool itself", pool->name);
	if (svc->migrate_pool != CONFIG_NO_POOL && c->pools[svc->migrate_pool].shards != pool->shards)
		fault(s, at(s, "services[%u].migrate.to", i),
		      "'%s' does not have as many shards as '%s' (%u)", c->pools[svc->migrate_pool].name,
		      pool->name, pool->shards);
	if (svc->fallback != CONFIG_NO_POOL && c->pools[svc->fallback].shards > 1)
		fault(s, at(s, "services[%u].fallback", i),
		      "'%s' has shards, and what falls back has no single key", c->pools[svc->fallback].name);
}

static void check_quic_id(struct source *s, const struct raw_pool *raw, const struct config_pool *pool,
			  const char *field, unsigned b)
{
	for (unsigned k = 0; k < b; k++)
		if (raw->backends[k].quic_id && pool->backends[k].quic_id == pool->backends[b].quic_id) {
			fault(s, field, "'%u' is already that of backends[%u]", pool->backends[b].quic_id, k);
			return;
		}
}

/* Each backend has an id, so that no connection id leads to one that was given none. */
static void check_quic(struct source *s, const struct raw *raw, const struct config *c, unsigned i)
{
	const struct config_service *svc = &c->services[i];
	const struct config_pool *pool = &c->pools[svc->pool];
	__u64 max = (1ULL << 8 * svc->quic_len) - 1;

	if (pool->nbackends > WEIR_POOL_BACKENDS)
		fault(s, at(s, "services[%u].quic", i), "needs a pool of at most %u backends, and '%s' has %u",
		      WEIR_POOL_BACKENDS, pool->name, pool->nbackends);
	for (unsigned b = 0; b < pool->nbackends; b++) {
		const char *field = at(s, "pools[%d].backends[%u].quic_id", svc->pool, b);

		if (!raw->pools[svc->pool].backends[b].quic_id)
			fault(s, field, "is required, and missing: services[%u] routes by it", i);
		else if (pool->backends[b].quic_id > max)
			fault(s, field, "'%u' has no room in the %u byte%s of services[%u].quic",
			      pool->backends[b].quic_id, svc->quic_len, svc->quic_len == 1 ? "" : "s", i);
		else
			check_quic_id(s, &raw->pools[svc->pool], pool, field, b);
	}
}

static void check_service(struct source *s, const struct raw *raw, const struct config *c, unsigned i,
			  struct owners *owners)
{
	const struct config_service *svc = &c->services[i];

	check_use(s, raw, c, i, "pool", svc->pool, owners);
	check_use(s, raw, c, i, "migrate.to", svc->migrate_pool, owners);
	check_use(s, raw, c, i, "fallback", svc->fallback, owners);
	if (svc->pool == CONFIG_NO_POOL)
		return;
	check_keys_pools(s, c, i);
	if (svc->quic_len)
		check_quic(s, raw, c, i);
}

/* A NAT backend as replies come from it. */
struct nat_end {
	struct config_vip at;
	unsigned pool, backend;
	bool own_port;
};

/* The v-th port that a backend without one answers from: those of its service's addresses, each once; 0: no more. */
static __be16 port_of(const struct config_service *svc, unsigned v)
{
	for (unsigned i = 0; i < svc->nvips; i++) {
		bool again = false;

		for (unsigned k = 0; k < i; k++)
			again |= svc->vips[k].port == svc->vips[i].port;
		if (!again && !v--)
			return svc->vips[i].port;
	}
	return 0;
}

/* Up to WEIR_BACKENDS_MAX of them, and one more where there are. */
static unsigned collect_nat(const struct config *c, const struct owners *owners, struct nat_end *ends)
{
	unsigned n = 0;

	for (unsigned p = 0; p < c->npools; p++) {
		for (unsigned b = 0; b < c->pools[p].nbackends; b++) {
			const struct config_backend *backend = &c->pools[p].backends[b];
			struct nat_end end = {backend->at, p, b, backend->at.port};
			bool shares = !backend->at.port && owners->of[p] >= 0;

			if (backend->via != WEIR_VIA_NAT || !backend->at.family)
				continue;
			for (unsigned v = 0; n <= WEIR_BACKENDS_MAX && (shares || !v); v++) {
				if (shares)
					end.at.port = port_of(&c->services[owners->of[p]], v);
				if (v && !end.at.port)
					break;
				ends[n++] = end;
			}
		}
	}
	return n;
}

/* Reports a backend that an earlier one is the same as; what a pool's file text shows has been reported. */
static void check_nat_end(struct source *s, const struct raw *raw, const struct nat_end *ends, unsigned k)
{
	const struct nat_end *a = &ends[k];
	const char *text = raw->pools[a->pool].backends[a->backend].address;

	for (unsigned l = 0; l < k; l++) {
		const struct nat_end *b = &ends[l];

		if (!same_vip(&a->at, &b->at) || (a->pool == b->pool && a->own_port == b->own_port))
			continue;
		fault(s, at(s, "pools[%u].backends[%u].address", a->pool, a->backend),
		      "'%.60s' port %u is already pools[%u].backends[%u], and with NAT a reply must tell "
		      "whose it is",
		      text, ntohs(a->at.port), b->pool, b->backend);
		return;
	}
}

static int check_nat(struct source *s, const struct raw *raw, const struct config *c,
		     const struct owners *owners)
{
	struct nat_end *ends;
	unsigned n;

	if (!c->npools)
		return 0;
	ends = calloc(WEIR_BACKENDS_MAX + 1, sizeof(*ends));
	if (!ends)
		return -ENOMEM;
	n = collect_nat(c, owners, ends);
	if (n > WEIR_BACKENDS_MAX)
		fault(s, "pools", "NAT backends answer from more than %u addresses and ports: give them ports",
		      WEIR_BACKENDS_MAX);
	for (unsigned k = 1; k < n && n <= WEIR_BACKENDS_MAX; k++)
		check_nat_end(s, raw, ends, k);
	free(ends);
	return 0;
}

/* Whether a service may send packets to the pool. */
static bool uses(const struct config_service *svc, int p)
{
	return svc->pool == p || svc->migrate_pool == p || svc->fallback == p;
}

/* A check without a port of its own needs the backend's, or one that all services agree on. */
static void check_check(struct source *s, const struct config *c, unsigned p)
{
	const struct config_pool *pool = &c->pools[p];
	unsigned b = 0;
	__be16 port = 0;

	if (pool->check.kind == CHECK_NONE || pool->check.kind == CHECK_COMMAND || pool->check.port)
		return;
	while (b < pool->nbackends && pool->backends[b].at.port)
		b++;
	for (unsigned i = 0; b < pool->nbackends && i < c->nservices; i++) {
		const struct config_service *svc = &c->services[i];

		for (unsigned v = 0; uses(svc, p) && v < svc->nvips; v++) {
			if (port && svc->vips[v].port && svc->vips[v].port != port) {
				fault(s, at(s, "pools[%u].check.port", p),
				      "is required, and missing: backend '%s' has none, and services use %u "
				      "and %u",
				      pool->backends[b].name, ntohs(port), ntohs(svc->vips[v].port));
				return;
			}
			port = svc->vips[v].port ? svc->vips[v].port : port;
		}
	}
}

/* What is asked for in so many words must be possible: a SYN, to a backend that has the service's address. */
static void check_through(struct source *s, const struct raw *raw, const struct config *c, unsigned p)
{
	const struct config_pool *pool = &c->pools[p];
	unsigned users = 0, tcp = 0, b = 0;

	if (pool->check.kind == CHECK_NONE || !raw->pools[p].check->through || pool->check.through != THROUGH_DELIVERY)
		return;
	while (b < pool->nbackends && pool->backends[b].via == WEIR_VIA_NAT)
		b++;
	for (unsigned i = 0; i < c->nservices; i++) {
		users += uses(&c->services[i], p);
		tcp += uses(&c->services[i], p) && c->services[i].flags & WEIR_SVC_TCP;
	}
	if (b == pool->nbackends)
		fault(s, at(s, "pools[%u].check.through", p),
		      "'delivery' is for backends with delivery l2 or tunnel, and '%s' has none", pool->name);
	else if (users && !tcp)
		fault(s, at(s, "pools[%u].check.through", p),
		      "'delivery' sends a TCP SYN, and no service that uses '%s' has protocol tcp or both",
		      pool->name);
}

int check_steering(struct source *s, const struct raw *raw, struct config *c)
{
	struct owners owners;

	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++)
		owners.of[p] = -1;
	for (unsigned i = 0; i < c->nservices; i++)
		check_service(s, raw, c, i, &owners);
	for (unsigned p = 0; p < c->npools; p++) {
		check_check(s, c, p);
		check_through(s, raw, c, p);
	}
	return check_nat(s, raw, c, &owners);
}
