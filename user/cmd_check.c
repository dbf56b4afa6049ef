/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir check: reads a configuration, says what was understood and what it costs. No privileges. */
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "cmd.h"
#include "config.h"
#include "session.h"
#include "shows.h"

static const char *const mode_names[] = { "auto", "native", "generic" };

/* Faults go to stderr as they come, or into the document's "errors". */
struct faults {
	unsigned n;
	json_t *errors;
	bool for_anybody; /* who asks may not be told all */
};

static json_t *json_fault(const struct config_fault *f)
{
	return json_pack("{s:s, s:o, s:s, s:s}", "file", printable(f->file, strlen(f->file)), "line",
			 f->line ? json_integer(f->line) : json_null(), "field", f->field, "message",
			 f->message);
}

static void on_fault(const struct config_fault *f, void *arg)
{
	struct faults *faults = arg;

	faults->n++;
	if (out_json)
		json_array_append_new(faults->errors, json_fault(f));
	else
		config_print_fault(f, stderr);
}

/* ---- values as text --------------------------------------------------------------------------- */

/* The kernel takes any byte in a name. */
static const char *iface_text(const struct config_iface *iface)
{
	return printable(iface->name, strlen(iface->name));
}

static const char *vip_text(const struct config_vip *vip, char *text, size_t len)
{
	char addr[INET6_ADDRSTRLEN] = "";

	inet_ntop(vip->family == 4 ? AF_INET : AF_INET6, &vip->addr, addr, sizeof(addr));
	snprintf(text, len, vip->family == 4 ? "%s:%u" : "[%s]:%u", addr, ntohs(vip->port));
	return text;
}

static const char *ttl_text(__u64 ttl_ns)
{
	return ttl_ns == WEIR_NEVER ? "never" : human_duration(ttl_ns);
}

static const char *strangers_text(const struct config_service *s)
{
	return s->flags & WEIR_SVC_STRANGERS_PASS ? "pass" : "drop";
}

/* Network k of a service: those of IPv4, then those of IPv6. */
static const char *client_text(const struct config_service *s, unsigned k, char *text, size_t len)
{
	if (k < s->nclients4)
		format_net(&s->clients4[k], 4, text, len);
	else
		format_net(&s->clients6[k - s->nclients4], 6, text, len);
	return text;
}

static const char *address_text(const struct config_vip *at, char *text, size_t len)
{
	if (at->port)
		return vip_text(at, text, len);
	inet_ntop(at->family == 4 ? AF_INET : AF_INET6, &at->addr, text, len);
	return text;
}

static const char *protocol_text(const struct config_service *s)
{
	if (s->flags & WEIR_SVC_TCP)
		return s->flags & WEIR_SVC_UDP ? "both" : "tcp";
	return "udp";
}

static const char *fragments_text(const struct config_service *s)
{
	return s->flags & WEIR_SVC_FRAGMENTS ? "steer" : "drop";
}

static const char *fail_text(const struct config_pool *p)
{
	return p->fail == WEIR_FAIL_RESET ? "reset" : "drop";
}

static bool is_http(const struct config_check *check)
{
	return check->kind == CHECK_HTTP || check->kind == CHECK_HTTPS;
}

/* ---- for people ------------------------------------------------------------------------------- */

static void print_pool_use(const struct config *c, const struct config_service *s)
{
	printf("  protocol   %s\n", protocol_text(s));
	printf("  pool       %s\n", c->pools[s->pool].name);
	if (s->migrate_pool != CONFIG_NO_POOL)
		printf("  migrate    %g%% of the keys to %s\n", s->migrate_percent,
		       c->pools[s->migrate_pool].name);
	if (s->fallback != CONFIG_NO_POOL)
		printf("  fallback   %s\n", c->pools[s->fallback].name);
	if (s->quic_len)
		printf("  quic       server id of %u byte%s at byte %u of connection ids\n", s->quic_len,
		       s->quic_len == 1 ? "" : "s", s->quic_at);
	printf("  fragments  %s\n", fragments_text(s));
}

static void print_hot(const struct config_service *s)
{
	printf("  origin     %s\n", *s->origin ? s->origin : "none: lists must carry the values");
	printf("  ttl        %s\n", ttl_text(s->ttl_ns));
	printf("  value_max  %u bytes\n", s->value_max);
	if (s->promote.on)
		printf("  promote    the %u keys asked for most, %u times within %s\n", s->promote.top,
		       s->promote.min_hits, human_duration(s->promote.window_ns));
	if (s->refresh)
		printf("  refresh    before they expire\n");
	for (unsigned i = 0; i < s->nreplicas; i++)
		printf("%s%s", i ? " " : "  replicas   ", s->replicas[i]);
	if (s->nreplicas)
		printf("\n");
	if (s->flags & WEIR_SVC_NO_CSUM4)
		printf("  checksum   none over IPv4\n");
}

static void print_service(const struct config *c, const struct config_service *s)
{
	char text[64];

	printf("service %s\n  vips      ", s->name);
	for (unsigned i = 0; i < s->nvips; i++)
		printf(" %s", vip_text(&s->vips[i], text, sizeof(text)));
	printf("\n  clients   ");
	for (unsigned i = 0; i < s->nclients4 + s->nclients6; i++)
		printf(" %s", client_text(s, i, text, sizeof(text)));
	if (s->flags & WEIR_SVC_ANY_CLIENT)
		printf(" anyone\n");
	else
		printf("\n  strangers  %s\n", strangers_text(s));
	if (s->pool != CONFIG_NO_POOL)
		print_pool_use(c, s);
	if (s->flags & WEIR_SVC_CACHE)
		print_hot(s);
}

static void print_check(const struct config_check *check, unsigned via)
{
	printf("  check      %s", check_names[check->kind]);
	if (is_http(check))
		printf(" %s%s%s, status %u to %u", check->path, check->host ? " of " : "",
		       check->host ? check->host : "", check->status_min, check->status_max);
	if (check->command)
		printf(" \"%s\"", check->command);
	if (check->port)
		printf(", port %u", ntohs(check->port));
	if (check->kind != CHECK_NONE && check->kind != CHECK_COMMAND && via != WEIR_VIA_NAT)
		printf(", %s", check->through == THROUGH_DELIVERY ? "through the delivery of clients' packets" :
								    "at backends' own addresses");
	if (check->kind != CHECK_NONE)
		printf("\n             every %s (%u%% more or less), timeout %s, up after %u, down after %u",
		       human_duration(check->interval_ns), check->jitter, human_duration(check->timeout_ns),
		       check->rise, check->fall);
	printf("\n");
}

static void print_backend(const struct config_pool *p, const struct config_backend *b)
{
	char text[64];

	printf("    %-16s %-22s %s, capacity %u", b->name, address_text(&b->at, text, sizeof(text)),
	       delivery_names[b->via - 1], b->capacity);
	if (p->shards > 1)
		printf(", shard %u", b->shard);
	if (b->quic_id != CONFIG_NO_QUIC_ID)
		printf(", quic id %u", b->quic_id);
	if (b->backup)
		printf(", backup");
	if (b->admin != WEIR_ADMIN_UP)
		printf(", %s", state_names[b->admin]);
	printf("\n");
}

static void print_pool(const struct config_pool *p)
{
	printf("pool %s\n  scheduler  %s", p->name, scheduler_names[p->scheduler]);
	if (p->scheduler == WEIR_SCHED_LEAST_LOADED)
		printf(", loads within %u%% are equal", p->quantum);
	if (p->scheduler == WEIR_SCHED_MAGLEV_BOUNDED)
		printf(", up to %u%% above the mean", p->bound);
	printf("\n  delivery   %s\n  fail       %s\n", delivery_names[p->via - 1], fail_text(p));
	if (p->slow_start_ns)
		printf("  slow start %s\n", human_duration(p->slow_start_ns));
	print_check(&p->check, p->via);
	if (p->shards > 1)
		printf("  shards     %u\n", p->shards);
	printf("  backends\n");
	for (unsigned b = 0; b < p->nbackends; b++)
		print_backend(p, &p->backends[b]);
}

static void print_flows(const struct config *c)
{
	printf("flows, at most %s\n", human_count((__u64)c->flow_buckets * WEIR_BUCKET_WORDS));
	printf("  forgotten after: open %s, udp %s, half-open %s", human_duration(c->idle_ns[WEIR_FLOW_TCP]),
	       human_duration(c->idle_ns[WEIR_FLOW_UDP]), human_duration(c->idle_ns[WEIR_FLOW_SYN]));
	printf(", closing %s, closed %s\n", human_duration(c->idle_ns[WEIR_FLOW_FIN_C]),
	       human_duration(c->idle_ns[WEIR_FLOW_CLOSED]));
}

static void print_latency(const struct config *c)
{
	if (!c->flow_recs) {
		printf("latency, not measured\n");
		return;
	}
	printf("latency, of %s flows at most\n  measured: ", human_count(c->flow_recs));
	if (c->rec_interval_ns)
		printf("each flow at most every %s", human_duration(c->rec_interval_ns));
	else
		printf("each request");
	printf(", lost without a reply for %s\n", human_duration(c->rec_timeout_ns));
	if (c->slow_ns != WEIR_NEVER)
		printf("  logged: flows with a request of more than %s\n", human_duration(c->slow_ns));
}

static void print_bus(const struct config_bus *b)
{
	char text[64];

	printf("bus\n  redis      %s, stream %s\n", vip_text(&b->redis, text, sizeof(text)),
	       printable(b->stream, strlen(b->stream)));
	printf("  silent     for %s: %s\n", human_duration(b->stale_ns),
	       b->fail == BUS_SERVE ? "answers go on" : "nothing is answered from the hot set");
}

/* When it warms, and what. */
static void print_policy_on(const struct config_policy *p)
{
	char text[64];

	if (p->on == POLICY_START)
		printf("  on         start\n");
	else if (p->on == POLICY_SURGE)
		printf("  on         surge: lookups %u%% above what is usual\n", p->above);
	else if (p->on == POLICY_PEER && p->every_ns)
		printf("  on         peer %s, every %s\n", vip_text(&p->peer, text, sizeof(text)),
		       human_duration(p->every_ns));
	else if (p->on == POLICY_PEER)
		printf("  on         peer %s, once\n", vip_text(&p->peer, text, sizeof(text)));
	else
		printf("  on         event %s\n", printable(p->event, strlen(p->event)));
}

static void print_policy(const struct config *c, const struct config_policy *p)
{
	printf("policy %s\n  service    %s\n", p->name, c->services[p->service].name);
	print_policy_on(p);
	if (p->template)
		printf("  template   %s\n", printable(p->template, strlen(p->template)));
	if (p->list)
		printf("  list       %s\n", printable(p->list, strlen(p->list)));
	if (p->on == POLICY_SURGE || p->on == POLICY_PEER)
		printf("  top        %s keys\n", human_count(p->top));
	printf("  at most    %s keys a run, %s a second\n", human_count(p->max), human_count(p->rate));
}

static void print_memory(const struct config *c, const struct config_memory *m)
{
	printf("memory, for %s keys\n", human_count(c->capacity));
	printf("  %-12s %10s\n", "index", human_bytes(m->index));
	printf("  %-12s %10s\n", "slots", human_bytes(m->slabs));
	printf("  %-12s %10s\n", "hit counters", human_bytes(m->hits));
	printf("  %-12s %10s\n", "fences", human_bytes(m->fences));
	if (m->flows)
		printf("  %-12s %10s\n", "flows", human_bytes(m->flows));
	if (m->conns)
		printf("  %-12s %10s\n", "connections", human_bytes(m->conns));
	if (m->latency)
		printf("  %-12s %10s\n", "latency", human_bytes(m->latency));
	printf("  %-12s %10s\n", "other", human_bytes(m->other));
	printf("  %-12s %10s\n", "total", human_bytes(m->total));
}

static void print_config(const struct config *c, const struct config_memory *m)
{
	printf("interfaces ");
	for (unsigned i = 0; i < c->nifaces; i++)
		printf(" %s (%s)", iface_text(&c->ifaces[i]), mode_names[c->ifaces[i].mode]);
	printf("\n");
	for (unsigned i = 0; i < c->nservices; i++)
		print_service(c, &c->services[i]);
	for (unsigned i = 0; i < c->npools; i++)
		print_pool(&c->pools[i]);
	if (c->flow_buckets)
		print_flows(c);
	print_latency(c);
	if (c->bus.redis.family)
		print_bus(&c->bus);
	for (unsigned i = 0; i < c->npolicies; i++)
		print_policy(c, &c->policies[i]);
	print_memory(c, m);
}

/* Whether a service may send packets to pool p. */
static bool is_used(const struct config *c, int p)
{
	for (unsigned i = 0; i < c->nservices; i++)
		if (c->services[i].pool == p || c->services[i].migrate_pool == p ||
		    c->services[i].fallback == p)
			return true;
	return false;
}

static void note_unused(const struct config *c)
{
	for (unsigned p = 0; p < c->npools; p++)
		if (!is_used(c, p))
			note("pool %s: no service uses it", c->pools[p].name);
}

static void note_shards(const struct config *c)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		const struct config_service *s = &c->services[i];
		bool fallback = s->fallback != CONFIG_NO_POOL;

		if (s->pool == CONFIG_NO_POOL || c->pools[s->pool].shards == 1)
			continue;
		note("service %s: requests that name no single key, flush_all too, go to %s%s and not to the shards",
		     s->name, fallback ? "pool " : "this host", fallback ? c->pools[s->fallback].name : "");
	}
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static json_t *json_interfaces(const struct config *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < c->nifaces; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name",
						      iface_text(&c->ifaces[i]), "mode",
						      mode_names[c->ifaces[i].mode]));
	return list;
}

static json_t *json_clients(const struct config_service *s)
{
	json_t *clients = json_array();
	char text[64];

	for (unsigned i = 0; i < s->nclients4 + s->nclients6; i++)
		json_array_append_new(clients, json_string(client_text(s, i, text, sizeof(text))));
	return clients;
}

/* What of a service is about its cache. */
static void json_set_hot(json_t *doc, const struct config_service *s)
{
	json_t *replicas = json_array();
	json_t *hot = json_pack("{s:s?, s:o, s:I, s:b, s:b, s:o}", "origin", *s->origin ? s->origin : NULL,
				"ttl_seconds", json_seconds(s->ttl_ns), "value_max", (json_int_t)s->value_max,
				"udp_checksum", !(s->flags & WEIR_SVC_NO_CSUM4), "refresh", s->refresh, "replicas",
				replicas);

	for (unsigned i = 0; i < s->nreplicas; i++)
		json_array_append_new(replicas, json_string(s->replicas[i]));

	json_object_set_new(hot, "promote",
			    s->promote.on ? json_pack("{s:i, s:f, s:i}", "min_hits", (int)s->promote.min_hits,
						      "window_seconds", s->promote.window_ns / 1e9, "top",
						      (int)s->promote.top) :
					    json_null());
	json_object_update(doc, hot);
	json_decref(hot);
}

static const char *pool_name(const struct config *c, int pool)
{
	return pool == CONFIG_NO_POOL ? NULL : c->pools[pool].name;
}

/* And about its pool. */
static void json_set_use(json_t *doc, const struct config *c, const struct config_service *s)
{
	json_t *use = json_pack("{s:s, s:s?, s:s}", "protocol", protocol_text(s), "fallback",
				pool_name(c, s->fallback), "fragments", fragments_text(s));

	json_object_set_new(use, "migrate",
			    s->migrate_pool == CONFIG_NO_POOL
				    ? json_null()
				    : json_pack("{s:s, s:f}", "to", pool_name(c, s->migrate_pool), "percent",
						s->migrate_percent));
	json_object_set_new(use, "quic",
			    s->quic_len ? json_pack("{s:i, s:i}", "offset", s->quic_at, "length", s->quic_len)
					: json_null());
	json_object_update(doc, use);
	json_decref(use);
}

static json_t *json_service(const struct config *c, const struct config_service *s)
{
	json_t *vips = json_array(), *doc;
	bool any = s->flags & WEIR_SVC_ANY_CLIENT;
	char text[64];

	for (unsigned i = 0; i < s->nvips; i++)
		json_array_append_new(vips, json_string(vip_text(&s->vips[i], text, sizeof(text))));
	doc = json_pack("{s:s, s:o, s:o, s:s?, s:b, s:s?}", "name", s->name, "vips", vips, "clients",
			any ? json_null() : json_clients(s), "strangers", any ? NULL : strangers_text(s),
			"cache", !!(s->flags & WEIR_SVC_CACHE), "pool", pool_name(c, s->pool));
	if (s->flags & WEIR_SVC_CACHE)
		json_set_hot(doc, s);
	if (s->pool != CONFIG_NO_POOL)
		json_set_use(doc, c, s);
	return doc;
}

static json_t *json_check(const struct config_check *check)
{
	json_t *doc;

	if (check->kind == CHECK_NONE)
		return json_null();
	doc = json_pack("{s:s, s:o, s:o, s:o, s:i, s:i, s:i}", "type", check_names[check->kind], "port",
			check->port ? json_integer(ntohs(check->port)) : json_null(), "interval_seconds",
			json_seconds(check->interval_ns), "timeout_seconds", json_seconds(check->timeout_ns),
			"rise", check->rise, "fall", check->fall, "jitter_percent", check->jitter);
	json_object_set_new(doc, "through", json_string(through_names[check->through]));
	if (is_http(check)) {
		json_object_set_new(doc, "path", json_string(check->path));
		json_object_set_new(doc, "host", check->host ? json_string(check->host) : json_null());
		json_object_set_new(doc, "status", json_pack("[i, i]", check->status_min, check->status_max));
	}
	if (check->command)
		json_object_set_new(doc, "command", json_string(check->command));
	return doc;
}

static json_t *json_backend(const struct config_pool *p, const struct config_backend *b)
{
	char text[64];

	return json_pack("{s:s, s:s, s:s, s:I, s:b, s:s, s:o, s:o}", "name", b->name, "address",
			 address_text(&b->at, text, sizeof(text)), "delivery", delivery_names[b->via - 1],
			 "capacity", (json_int_t)b->capacity, "backup", b->backup, "state",
			 state_names[b->admin], "shard", p->shards > 1 ? json_integer(b->shard) : json_null(),
			 "quic_id", b->quic_id == CONFIG_NO_QUIC_ID ? json_null() : json_integer(b->quic_id));
}

static json_t *json_pool(const struct config_pool *p)
{
	json_t *backends = json_array();

	for (unsigned b = 0; b < p->nbackends; b++)
		json_array_append_new(backends, json_backend(p, &p->backends[b]));
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:i, s:o, s:o}", "name", p->name, "scheduler",
			 scheduler_names[p->scheduler], "delivery", delivery_names[p->via - 1], "fail",
			 fail_text(p), "quantum_percent", p->quantum, "bound_percent", p->bound,
			 "slow_start_seconds", json_real(p->slow_start_ns / 1e9), "shards", p->shards,
			 "check", json_check(&p->check), "backends", backends);
}

static json_t *json_flows(const struct config *c)
{
	if (!c->flow_buckets)
		return json_null();
	return json_pack("{s:I, s:{s:o, s:o, s:o, s:o, s:o}}", "capacity",
			 (json_int_t)c->flow_buckets * WEIR_BUCKET_WORDS, "idle_seconds", "tcp",
			 json_seconds(c->idle_ns[WEIR_FLOW_TCP]), "udp",
			 json_seconds(c->idle_ns[WEIR_FLOW_UDP]), "half_open",
			 json_seconds(c->idle_ns[WEIR_FLOW_SYN]), "closing",
			 json_seconds(c->idle_ns[WEIR_FLOW_FIN_C]), "closed",
			 json_seconds(c->idle_ns[WEIR_FLOW_CLOSED]));
}

static json_t *json_latency(const struct config *c)
{
	if (!c->flow_recs)
		return json_null();
	return json_pack("{s:I, s:f, s:f, s:o}", "flows", (json_int_t)c->flow_recs, "interval_seconds",
			 c->rec_interval_ns / 1e9, "timeout_seconds", c->rec_timeout_ns / 1e9, "slow_seconds",
			 json_seconds(c->slow_ns));
}

static json_t *json_vip(const struct config_vip *v)
{
	char text[64];

	return v->family ? json_string(vip_text(v, text, sizeof(text))) : json_null();
}

static json_t *json_bus(const struct config_bus *b)
{
	if (!b->redis.family)
		return json_null();
	return json_pack("{s:o, s:s, s:i, s:f, s:s}", "redis", json_vip(&b->redis), "stream",
			 printable(b->stream, strlen(b->stream)), "db", (int)b->db, "stale_after_seconds",
			 b->stale_ns / 1e9, "fail", bus_fail_names[b->fail]);
}

static json_t *json_text(const char *text)
{
	return text ? json_string(printable(text, strlen(text))) : json_null();
}

static json_t *json_policies(const struct config *c)
{
	json_t *policies = json_array();

	for (unsigned i = 0; i < c->npolicies; i++) {
		const struct config_policy *p = &c->policies[i];

		json_array_append_new(
			policies,
			json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:o, s:o, s:f}", "name", p->name,
				  "service", c->services[p->service].name, "on", policy_on_names[p->on], "list",
				  json_text(p->list), "event", json_text(p->event), "template",
				  json_text(p->template), "above_percent", (int)p->above, "top", (int)p->top, "max",
				  (int)p->max, "rate", (int)p->rate, "peer", json_vip(&p->peer), "every_seconds",
				  p->every_ns ? json_real(p->every_ns / 1e9) : json_null(), "cooldown_seconds",
				  p->cooldown_ns / 1e9));
	}
	return policies;
}

static json_t *json_config(const struct config *c, const struct config_memory *m)
{
	json_t *services = json_array(), *pools = json_array();

	for (unsigned i = 0; i < c->nservices; i++)
		json_array_append_new(services, json_service(c, &c->services[i]));
	for (unsigned i = 0; i < c->npools; i++)
		json_array_append_new(pools, json_pool(&c->pools[i]));
	return json_pack("{s:o, s:{s:I, s:I, s:b, s:I, s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "interfaces", json_interfaces(c),
			 "cache", "capacity", (json_int_t)c->capacity, "memory", (json_int_t)c->memory,
			 "hit_counters", c->hit_counters, "connections", (json_int_t)c->conns, "sample",
			 (json_int_t)c->sample, "flows", json_flows(c), "latency",
			 json_latency(c), "http", json_vip(&c->http), "bus", json_bus(&c->bus), "policies", json_policies(c),
			 "pools", pools, "services", services, "memory_bytes", json_memory(m));
}

/* ---- the command ------------------------------------------------------------------------------ */

/* Over HTTP anybody may ask, and a command line may hold a secret. */
static void withhold_commands(json_t *config)
{
	json_t *pools = json_object_get(config, "pools"), *pool;
	size_t i;

	json_array_foreach(pools, i, pool) {
		json_t *check = json_object_get(pool, "check");

		if (json_object_get(check, "command"))
			json_object_set_new(check, "command", json_null());
	}
}

static void print_document(const char *path, const struct config *c, const struct config_memory *m,
			   const struct faults *faults)
{
	json_t *doc = json_pack("{s:b, s:s, s:O}", "ok", !faults->n, "file", printable(path, strlen(path)),
				"errors", faults->errors);

	if (c) {
		json_t *config = json_config(c, m);

		if (faults->for_anybody)
			withhold_commands(config);
		json_object_update(doc, config);
		json_decref(config);
	}
	out_document("check", doc);
}

/* What is understood is printed also when it does not fit: the table shows what to cut. */
static int check(const char *path, struct faults *faults)
{
	struct config_memory m = { 0 };
	struct config *c = NULL;
	char why[160];

	if (!config_load_each(&c, path, on_fault, faults)) {
		config_memory(c, libbpf_num_possible_cpus(), &m);
		if (!out_json)
			print_config(c, &m);
		note_unused(c);
		note_shards(c);
		if (config_fits(&m, why, sizeof(why)))
			on_fault(&(struct config_fault){ path, 0, "cache", why }, faults);
	}
	if (out_json)
		print_document(path, c, &m, faults);
	config_free(c);
	if (!faults->n)
		return EXIT_OK;
	if (out_json)
		return EXIT_FAILED;
	return fail(EXIT_FAILED, "%s: %u fault%s", path, faults->n, faults->n == 1 ? "" : "s");
}

static int check_file(const char *path, bool for_anybody)
{
	struct faults faults = { .errors = json_array(), .for_anybody = for_anybody };
	int status = check(path, &faults);

	json_decref(faults.errors);
	return status;
}

int show_check(const char *path)
{
	return check_file(path, true);
}

int cmd_check(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *path = opt_value(cmd, values, "config");

	return path ? check_file(path, false) : fail(EXIT_USAGE, "check: name the configuration with -c FILE");
}
