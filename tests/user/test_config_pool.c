/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Steering in the configuration: what is understood, and every rule with a row that breaks it. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_text.h"

#define MIB    (1ULL << 20)
#define SECOND 1000000000ULL

#define IFACES	"interfaces: [{name: eth0}]\n"
#define SERVICE "services:\n- {name: w, vips: ['192.0.2.1:80'], pool: web}\n"
/* A pool that begins on line 3, with more keys from line 4 on; and one with these backends from line 5 on. */
#define POOL(keys) \
	IFACES "pools:\n- name: web\n" keys "\n  backends: [{name: b1, address: 10.8.0.1}]\n" SERVICE
#define BACKENDS(list) IFACES "pools:\n- name: web\n  backends:\n" list SERVICE
#define BACKEND(keys)  BACKENDS("  - {name: b1, address: 10.8.0.1, " keys "}\n")
#define CHECK_OF(keys) POOL("  check: {" keys "}")

/* A pool `web` of a tunnel backend, on lines 2 to 4, and services from line 5 on. */
#define WEB	  "pools:\n- name: web\n  backends: [{name: b1, address: 10.8.0.1}]\n"
#define WITH(key) IFACES WEB "services:\n- name: w\n  vips: ['192.0.2.1:80']\n  pool: web\n  " key "\n"
/* The same with a cache and a pool `nat`, its service from line 6 on. */
#define NAT	    "pools:\n- name: nat\n  delivery: nat\n  backends: [{name: b1, address: 10.9.0.1}]\n"
#define CACHED(key) IFACES NAT "services:\n- name: c\n  vips: ['192.0.2.1:11211']\n  clients: [10.0.0.0/8]\n" \
			       "  cache: true\n  pool: nat\n  " key "\n"

/* Pools with shards on lines 2 to 7; a service from line 9 on, its last key on line 14. */
#define SHARDED                                                                                              \
	"pools:\n- {name: s, delivery: nat, shards: 2, backends: [{name: a, address: 10.9.0.1, shard: 0},\n"  \
	"  {name: b, address: 10.9.0.2, shard: 1}]}\n- {name: n, delivery: nat, backends: [{name: a, address: " \
	"10.9.1.1}]}\n- {name: s2, delivery: nat, shards: 2, backends: [{name: a, address: 10.9.2.1, shard: "  \
	"0}, {name: b, address: 10.9.2.2, shard: 1}]}\n- {name: web, backends: [{name: a, address: 10.8.0.1}]}\n"
#define SHARDS(key)                                                                                        \
	IFACES SHARDED "services:\n- name: c\n  vips: ['192.0.2.1:1']\n  clients: [10.0.0.1]\n  cache: true\n" \
		       "  pool: s\n  " key "\n"

/* ---- addresses -------------------------------------------------------------------------------- */

static void test_address(void)
{
	static const struct {
		const char *text;
		int err, family, port;
		__u32 last;
	} rows[] = {
		{ "10.8.0.1", 0, 4, 0, 0 },	       { "10.8.0.1:80", 0, 4, 80, 0 },
		{ "fd00::1", 0, 6, 0, 1 },	       { "[fd00::1]:80", 0, 6, 80, 1 },
		{ "fd00::1:80", 0, 6, 0, 0x10080 },    { "", -EINVAL, 0, 0, 0 },
		{ ":80", -EINVAL, 0, 0, 0 },	       { "10.8.0.1:", -EINVAL, 0, 0, 0 },
		{ "10.8.0.1:0", -EINVAL, 0, 0, 0 },    { "10.8.0.1:65536", -EINVAL, 0, 0, 0 },
		{ "[fd00::1]", -EINVAL, 0, 0, 0 },     { "[10.8.0.1]:80", -EINVAL, 0, 0, 0 },
		{ "10.8.0.1/32", -EINVAL, 0, 0, 0 },   { "10.8.0.01", -EINVAL, 0, 0, 0 },
		{ "fe80::1%eth0", -EINVAL, 0, 0, 0 },  { "web1.example.com", -EINVAL, 0, 0, 0 },
	};

	test_begin("a backend's address stands with a port, or alone");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct config_vip at = { .port = htons(7) };

		if (!CHECK_INT(parse_address(rows[i].text, &at), rows[i].err))
			printf("#   text: \"%s\"\n", rows[i].text);
		if (rows[i].err)
			continue;
		CHECK_INT(at.family, rows[i].family);
		CHECK_INT(ntohs(at.port), rows[i].port);
		CHECK_INT(ntohl(at.addr.w[3]), rows[i].last);
	}
	test_end();
}

/* ---- good files ------------------------------------------------------------------------------- */

static const char full[] =
	"interfaces: [{name: eth0}]\n"
	"flows: {capacity: 5000, idle: {tcp: 2h, udp: 2s, half_open: 3s, closing: 4s, closed: 5s}}\n"
	"pools:\n"
	"- name: web\n"
	"  scheduler: maglev-bounded\n"
	"  delivery: l2\n"
	"  fail: reset\n"
	"  quantum: 0%\n"
	"  bound: 1000\n"
	"  slow_start: 1m\n"
	"  check: {type: https, path: /up?x=1, host: a.example, status: 204, port: 8443, interval: 100ms,\n"
	"          timeout: 100ms, rise: 1, fall: 100, jitter: 0, through: address}\n"
	"  backends:\n"
	"  - {name: b1, address: 10.8.0.1, capacity: 65536, backup: true, quic_id: 65535}\n"
	"  - {name: b2, address: '[fd00:8::2]:80', delivery: tunnel, state: drain, quic_id: 0}\n"
	"  - {name: b3, address: 'fd00:8::2', state: disabled, capacity: 1, quic_id: 7}\n"
	"- name: users\n"
	"  delivery: nat\n"
	"  shards: 2\n"
	"  check: {type: command, command: 'test -n \"$WEIR_BACKEND\"'}\n"
	"  backends:\n"
	"  - {name: b1, address: 10.9.0.1, shard: 1}\n"
	"  - {name: b2, address: 10.9.0.2, shard: 0}\n"
	"- name: new\n"
	"  delivery: nat\n"
	"  shards: 2\n"
	"  backends: [{name: b1, address: 10.9.1.1, shard: 0}, {name: b2, address: 10.9.1.2, shard: 1}]\n"
	"- {name: any, delivery: nat, backends: [{name: b1, address: 10.9.2.1}]}\n"
	"services:\n"
	"- name: web\n"
	"  vips: ['192.0.2.1:443', '[2001:db8::1]:443']\n"
	"  protocol: both\n"
	"  pool: web\n"
	"  fragments: drop\n"
	"  clients: [10.0.0.0/8, '::/0']\n"
	"  strangers: pass\n"
	"  quic: {offset: 18, length: 2}\n"
	"- name: users\n"
	"  vips: ['192.0.2.1:11211']\n"
	"  clients: [10.0.0.0/8]\n"
	"  cache: true\n"
	"  ttl: 1m\n"
	"  pool: users\n"
	"  migrate: {to: new, percent: 12.25%}\n"
	"  fallback: any\n"
	"- {name: old, vips: ['192.0.2.2:11211'], clients: [10.0.0.0/8]}\n";

static void check_full_pool(const struct config_pool *p)
{
	const struct config_check *check = &p->check;

	CHECK_STR(p->name, "web");
	CHECK_INT(p->scheduler, WEIR_SCHED_MAGLEV_BOUNDED);
	CHECK_INT(p->via, WEIR_VIA_L2);
	CHECK_INT(p->fail, WEIR_FAIL_RESET);
	CHECK_INT(p->quantum, 0);
	CHECK_INT(p->bound, 1000);
	CHECK_INT(p->slow_start_ns, 60 * SECOND);
	CHECK_INT(p->shards, 1);
	CHECK_INT(check->kind, CHECK_HTTPS);
	CHECK_STR(check->path, "/up?x=1");
	CHECK_STR(check->host, "a.example");
	CHECK(!check->command);
	CHECK_INT(check->status_min, 204);
	CHECK_INT(check->status_max, 204);
	CHECK_INT(ntohs(check->port), 8443);
	CHECK_INT(check->interval_ns, SECOND / 10);
	CHECK_INT(check->timeout_ns, SECOND / 10);
	CHECK_INT(check->rise, 1);
	CHECK_INT(check->fall, 100);
	CHECK_INT(check->jitter, 0);
	CHECK_INT(check->through, THROUGH_ADDRESS);
}

static void check_full_backends(const struct config_backend *b)
{
	CHECK_STR(b[0].name, "b1");
	CHECK_INT(b[0].at.family, 4);
	CHECK_INT(b[0].at.port, 0);
	CHECK_INT(b[0].via, WEIR_VIA_L2);
	CHECK_INT(b[0].capacity, 65536);
	CHECK_INT(b[0].backup, 1);
	CHECK_INT(b[0].admin, WEIR_ADMIN_UP);
	CHECK_INT(b[0].quic_id, 65535);
	CHECK_INT(b[1].at.family, 6);
	CHECK_INT(ntohs(b[1].at.port), 80);
	CHECK_INT(b[1].via, WEIR_VIA_TUNNEL);
	CHECK_INT(b[1].capacity, 100);
	CHECK_INT(b[1].backup, 0);
	CHECK_INT(b[1].admin, WEIR_ADMIN_DRAIN);
	CHECK_INT(b[1].quic_id, 0);
	CHECK_INT(b[2].at.port, 0);
	CHECK_INT(b[2].admin, WEIR_ADMIN_DISABLED);
	CHECK_INT(b[2].capacity, 1);
}

static void check_full_services(const struct config *c)
{
	const struct config_service *web = &c->services[0], *users = &c->services[1], *old = &c->services[2];

	CHECK_INT(web->pool, 0);
	CHECK_INT(web->migrate_pool, CONFIG_NO_POOL);
	CHECK_INT(web->fallback, CONFIG_NO_POOL);
	CHECK_INT(web->flags, WEIR_SVC_TCP | WEIR_SVC_UDP | WEIR_SVC_STRANGERS_PASS);
	CHECK_INT(web->nclients6, 1);
	CHECK_INT(web->quic_at, 18);
	CHECK_INT(web->quic_len, 2);
	CHECK_INT(users->pool, 1);
	CHECK_INT(users->migrate_pool, 2);
	CHECK(users->migrate_percent == 12.25);
	CHECK_INT(users->fallback, 3);
	CHECK_INT(users->flags, WEIR_SVC_CACHE | WEIR_SVC_UDP | WEIR_SVC_FRAGMENTS);
	CHECK_INT(users->ttl_ns, 60 * SECOND);
	CHECK_INT(old->pool, CONFIG_NO_POOL);
	CHECK_INT(old->flags, WEIR_SVC_CACHE);
}

static void test_full(void)
{
	struct config *c;

	test_begin("a file with every key of steering is understood");
	c = parse_good(full);
	if (CHECK(c) && CHECK_INT(c->npools, 4)) {
		CHECK_INT(c->flow_buckets, 8192 / 8);
		CHECK_INT(c->idle_ns[WEIR_FLOW_TCP], 7200 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_UDP], 2 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_SYN], 3 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_FOUND], 3 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_FIN_C], 4 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_FIN_B], 4 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_CLOSED], 5 * SECOND);
		check_full_pool(&c->pools[0]);
		check_full_backends(c->pools[0].backends);
		CHECK_INT(c->pools[1].shards, 2);
		CHECK_STR(c->pools[1].check.command, "test -n \"$WEIR_BACKEND\"");
		CHECK_INT(c->pools[1].backends[0].shard, 1);
		CHECK_INT(c->pools[1].backends[1].shard, 0);
		CHECK_INT(c->pools[1].backends[1].via, WEIR_VIA_NAT);
		check_full_services(c);
	}
	config_free(c);
	test_end();
}

static void check_default_pool(const struct config_pool *p)
{
	const struct config_check *check = &p->check;

	CHECK_INT(p->scheduler, WEIR_SCHED_LEAST_LOADED);
	CHECK_INT(p->via, WEIR_VIA_TUNNEL);
	CHECK_INT(p->fail, WEIR_FAIL_DROP);
	CHECK_INT(p->quantum, 2);
	CHECK_INT(p->bound, 25);
	CHECK_INT(p->slow_start_ns, 0);
	CHECK_INT(p->shards, 1);
	CHECK_INT(check->kind, CHECK_NONE);
	CHECK(!check->path && !check->host && !check->command);
	CHECK_INT(check->port, 0);
	CHECK_INT(check->interval_ns, 2 * SECOND);
	CHECK_INT(check->timeout_ns, SECOND);
	CHECK_INT(check->rise, 2);
	CHECK_INT(check->fall, 3);
	CHECK_INT(check->jitter, 10);
	CHECK_INT(check->through, THROUGH_DELIVERY);
	CHECK_INT(p->backends[0].via, WEIR_VIA_TUNNEL);
	CHECK_INT(p->backends[0].capacity, 100);
	CHECK_INT(p->backends[0].admin, WEIR_ADMIN_UP);
	CHECK_INT(p->backends[0].backup, 0);
	CHECK_INT(p->backends[0].quic_id, CONFIG_NO_QUIC_ID);
}

static void test_defaults(void)
{
	struct config *c;

	test_begin("what is left out of a pool and its service has its default");
	c = parse_good(POOL(""));
	if (CHECK(c)) {
		const struct config_service *s = &c->services[0];

		CHECK_INT(c->flow_buckets, (4 << 20) / 8);
		CHECK_INT(c->idle_ns[WEIR_FLOW_TCP], 3600 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_UDP], 90 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_SYN], 10 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_FOUND], 10 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_FIN_C], 120 * SECOND);
		CHECK_INT(c->idle_ns[WEIR_FLOW_CLOSED], 30 * SECOND);
		check_default_pool(&c->pools[0]);
		CHECK_INT(s->flags, WEIR_SVC_TCP | WEIR_SVC_FRAGMENTS | WEIR_SVC_ANY_CLIENT);
		CHECK_INT(s->nclients4 + s->nclients6, 0);
		CHECK_INT(s->quic_len, 0);
		CHECK_INT(s->value_max, 0);
		CHECK_INT(s->ttl_ns, 0);
	}
	config_free(c);
	test_end();

	test_begin("http asks for / and takes 200 to 399; an interval below the time-out's default shortens it");
	c = parse_good(CHECK_OF("type: http, interval: 500ms"));
	if (CHECK(c)) {
		CHECK_STR(c->pools[0].check.path, "/");
		CHECK(!c->pools[0].check.host);
		CHECK_INT(c->pools[0].check.status_min, 200);
		CHECK_INT(c->pools[0].check.status_max, 399);
		CHECK_INT(c->pools[0].check.timeout_ns, SECOND / 2);
	}
	config_free(c);
	test_end();
}

static void test_good_rows(void)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{ "a pool that no service uses",
		  IFACES WEB "services:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n" },
		{ "one tunnel pool of two services, and addresses of both families",
		  IFACES WEB "services:\n- {name: a, vips: ['192.0.2.1:80', '[2001:db8::1]:81'], pool: web}\n"
			     "- {name: b, vips: ['192.0.2.2:80'], pool: web}\n" },
		{ "the same tunnel backend in two pools",
		  IFACES WEB "- name: web2\n  backends: [{name: b1, address: 10.8.0.1}]\n" SERVICE },
		{ "slow_start: 0", POOL("  slow_start: 0") },
		{ "slow_start: never", POOL("  slow_start: never") },
		{ "shards: 1", POOL("  shards: 1") },
		{ "fail: backup with a backup",
		  BACKENDS("  - {name: b1, address: 10.8.0.1}\n  - {name: b2, address: 10.8.0.2, backup: true}\n"
			   "  fail: backup\n") },
		{ "a check that is off and keeps its keys",
		  CHECK_OF("type: none, path: /x, command: y, interval: 5s") },
		{ "a check by port 80 of the one service's two addresses",
		  IFACES "pools:\n- name: web\n  check: {type: tcp}\n  backends: [{name: b1, address: 10.8.0.1}]\n"
			 "services:\n- {name: w, vips: ['192.0.2.1:80', '192.0.2.2:80'], pool: web}\n" },
		{ "a check through the delivery, as asked for", CHECK_OF("type: tcp, through: delivery") },
		{ "  of a pool that no service uses",
		  IFACES "pools:\n- name: web\n  check: {type: tcp, through: delivery}\n  backends: [{name: b1, "
			 "address: 10.8.0.1}]\n- {name: x, backends: [{name: a, address: 10.8.0.1}]}\n"
			 "services:\n- {name: w, vips: ['192.0.2.1:80'], pool: x}\n" },
		{ "  of a pool with one tunnel backend beside NAT",
		  IFACES "pools:\n- name: web\n  delivery: nat\n  check: {type: http, through: delivery}\n"
			 "  backends: [{name: a, address: 10.8.0.1}, {name: b, address: 10.8.0.2, delivery: l2}]\n" SERVICE },
		{ "  of services with TCP and with UDP",
		  IFACES "pools:\n- name: web\n  check: {type: tcp, through: delivery, port: 80}\n  backends: [{name: b1, "
			 "address: 10.8.0.1}]\nservices:\n- {name: w, vips: ['192.0.2.1:80'], pool: web}\n"
			 "- {name: u, vips: ['192.0.2.1:53'], pool: web, protocol: udp}\n" },
		{ "a check of addresses of NAT backends",
		  IFACES "pools:\n- name: web\n  delivery: nat\n  check: {type: tcp, through: address}\n"
			 "  backends: [{name: b1, address: 10.8.0.1}]\n" SERVICE },
		{ "a check that is off and would go through the delivery", CHECK_OF("type: none, through: delivery") },
		{ "migrate of nothing", SHARDS("migrate: {to: s2, percent: 0}") },
		{ "migrate of all", SHARDS("migrate: {to: s2, percent: 100%}") },
		{ "migrate of the smallest share", SHARDS("migrate: {to: s2, percent: 0.001}") },
		{ "a fallback", SHARDS("fallback: n") },
		{ "a service without a cache for all of both families", WITH("clients: [0.0.0.0/0]") },
		{ "protocol: udp", WITH("protocol: udp") },
		{ "fragments: steer", WITH("fragments: steer") },
		{ "NAT behind several addresses, of which some share a port",
		  IFACES NAT "services:\n- {name: a, vips: ['192.0.2.1:1', '192.0.2.2:1', '192.0.2.1:2'], pool: nat}\n" },
		{ "NAT on one address with ports apart",
		  IFACES "pools:\n- {name: web, delivery: nat, backends: [{name: a, address: '10.8.0.1:80'},\n"
			 "  {name: b, address: '10.8.0.1:81'}]}\n" SERVICE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		test_begin(rows[i].name);
		config_free(parse_good(rows[i].text));
		test_end();
	}
}

static void check_capacity(const char *capacity, __u32 buckets)
{
	struct config *c;
	char text[512];

	snprintf(text, sizeof(text), IFACES "flows: {capacity: %s}\n" WEB SERVICE, capacity);
	c = parse_good(text);
	if (CHECK(c))
		CHECK_INT(c->flow_buckets, buckets);
	config_free(c);
}

static void test_flow_capacity(void)
{
	test_begin("the capacity of flows is rounded up to a power of two");
	check_capacity("1024", 128);
	check_capacity("1025", 256);
	check_capacity("1K", 128);
	check_capacity("1500k", 1 << 18);
	check_capacity("4M", 1 << 19);
	check_capacity("16M", 1 << 21);
	check_capacity("16777216", 1 << 21);
	test_end();
}

static void test_minimal(void)
{
	struct config *c;

	test_begin("without any cache the hot set is as small as it can be, unless it is asked for");
	c = parse_good(POOL(""));
	if (CHECK(c)) {
		CHECK_INT(c->capacity, 1);
		CHECK_INT(c->memory, 65536);
		CHECK_INT(c->hit_counters, 0);
	}
	config_free(c);
	c = parse_good("cache: {capacity: 500}\n" POOL(""));
	if (CHECK(c)) {
		CHECK_INT(c->capacity, 500);
		CHECK_INT(c->hit_counters, 1);
	}
	config_free(c);
	test_end();

	test_begin("without any service that has a pool there is no flow table");
	c = parse_good(IFACES "flows: {capacity: 16M}\n" WEB
			      "services:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n");
	if (CHECK(c)) {
		CHECK_INT(c->flow_buckets, 0);
		CHECK_INT(c->npools, 1);
		CHECK_INT(c->capacity, 100000);
	}
	config_free(c);
	test_end();
}

/* ---- faults ----------------------------------------------------------------------------------- */

static const struct fault_row schema_rows[] = {
	{ "an unknown key of a pool", POOL("  sheduler: maglev"), "w:4: pools[0].sheduler: unknown key\n" },
	{ "an unknown key of a backend", BACKEND("weight: 3"), "w:5: pools[0].backends[0].weight: unknown key\n" },
	{ "an unknown key of a check", CHECK_OF("type: tcp, every: 1s"),
	  "w:4: pools[0].check.every: unknown key\n" },
	{ "an unknown key of idle", IFACES "flows:\n  idle:\n    icmp: 1s\n" WEB SERVICE,
	  "w:4: flows.idle.icmp: unknown key\n" },
	{ "a pool without backends", IFACES "pools:\n- name: web\n" SERVICE,
	  "w:3: pools[0].backends: is required, and missing\n" },
	{ "a pool with an empty list of them", IFACES "pools:\n- name: web\n  backends: []\n" SERVICE,
	  "w:4: pools[0].backends: needs at least one entry\n" },
	{ "no pools in the list", IFACES "pools: []\n" SERVICE, "w:2: pools: needs at least one entry\n" },
	{ "a backend without an address", BACKENDS("  - name: b1\n"),
	  "w:5: pools[0].backends[0].address: is required, and missing\n" },
	{ "a backend without a name", BACKENDS("  - address: 10.8.0.1\n"),
	  "w:5: pools[0].backends[0].name: is required, and missing\n" },
	{ "a pool without a name", IFACES "pools:\n- backends: [{name: b, address: 10.8.0.1}]\n" SERVICE,
	  "w:3: pools[0].name: is required, and missing\n" },
	{ "a check without a type", CHECK_OF("interval: 1s"),
	  "w:4: pools[0].check.type: is required, and missing\n" },
	{ "migrate without a share", CACHED("migrate: {to: x}"),
	  "w:12: services[0].migrate.percent: is required, and missing\n" },
	{ "quic without a length", WITH("quic: {offset: 1}"),
	  "w:9: services[0].quic.length: is required, and missing\n" },
	{ "a backend given twice in one", BACKEND("name: b2"),
	  "w:5: pools[0].backends[0].name: is given twice\n" },
};

#define FLOWS(keys) IFACES "flows: {" keys "}\n" WEB SERVICE
#define NOT_FLOWS   "is not a number of flows from 1024 to 16M, as in 500000 or 4M\n"

static const struct fault_row flow_rows[] = {
	{ "too few", FLOWS("capacity: 1023"), "w:2: flows.capacity: '1023' " NOT_FLOWS },
	{ "too many", FLOWS("capacity: 16777217"), "w:2: flows.capacity: '16777217' " NOT_FLOWS },
	{ "in bytes", FLOWS("capacity: 64MiB"), "w:2: flows.capacity: '64MiB' " NOT_FLOWS },
	{ "in G", FLOWS("capacity: 1G"), "w:2: flows.capacity: '1G' " NOT_FLOWS },
	{ "no number", FLOWS("capacity: lots"), "w:2: flows.capacity: 'lots' " NOT_FLOWS },
	{ "beyond 64 bits", FLOWS("capacity: 99999999999999999999M"),
	  "w:2: flows.capacity: '99999999999999999999M' " NOT_FLOWS },
	{ "forgotten at once", FLOWS("idle: {udp: 1999ms}"),
	  "w:2: flows.idle.udp: '1999ms' is not from 2s to 2h\n" },
	{ "kept for longer than ticks count", FLOWS("idle: {tcp: 2h1ms}"),
	  "w:2: flows.idle.tcp: '2h1ms' is not from 2s to 2h\n" },
	{ "never forgotten", FLOWS("idle: {tcp: never, half_open: 0}"),
	  "w:2: flows.idle.tcp: 'never' is not from 2s to 2h\n"
	  "w:2: flows.idle.half_open: '0' is not from 2s to 2h\n" },
	{ "no durations", FLOWS("idle: {closing: 5, closed: soon}"),
	  "w:2: flows.idle.closing: '5' is not a duration, as in 500ms, 90s or 1h30m\n"
	  "w:2: flows.idle.closed: 'soon' is not a duration, as in 500ms, 90s or 1h30m\n" },
};

static const struct fault_row pool_rows[] = {
	{ "a name in capitals", IFACES "pools:\n- name: Web\n  backends: [{name: b1, address: 10.8.0.1}]\n"
				       "services:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n",
	  "w:3: pools[0].name: 'Web' is not a name: 1 to 31 of a-z, 0-9, '_' and '-', a letter or digit first\n" },
	{ "a name twice", IFACES WEB "- name: web\n  backends: [{name: b1, address: 10.8.0.1}]\n" SERVICE,
	  "w:5: pools[1].name: 'web' is already pools[0]\n" },
	{ "an unknown scheduler", POOL("  scheduler: wlc"),
	  "w:4: pools[0].scheduler: 'wlc' is not one of least-loaded, maglev, maglev-bounded\n" },
	{ "an unknown delivery", POOL("  delivery: dsr"),
	  "w:4: pools[0].delivery: 'dsr' is not one of l2, tunnel, nat\n" },
	{ "an unknown way to fail", POOL("  fail: open"),
	  "w:4: pools[0].fail: 'open' is not one of drop, reset, backup\n" },
	{ "backup without one", POOL("  fail: backup"),
	  "w:4: pools[0].fail: 'backup' needs a backend with backup: true\n" },
	{ "a quantum above half", POOL("  quantum: 51%"),
	  "w:4: pools[0].quantum: '51%' is not a percentage from 0% to 50%\n" },
	{ "a quantum of two signs", POOL("  quantum: 2%%"),
	  "w:4: pools[0].quantum: '2%%' is not a percentage from 0% to 50%\n" },
	{ "a quantum with a fraction", POOL("  quantum: 2.5"),
	  "w:4: pools[0].quantum: '2.5' is not a percentage from 0% to 50%\n" },
	{ "a quantum of nothing but a sign", POOL("  quantum: '%'"),
	  "w:4: pools[0].quantum: '%' is not a percentage from 0% to 50%\n" },
	{ "a bound of the mean itself", POOL("  bound: 0"),
	  "w:4: pools[0].bound: '0' is not a percentage from 1% to 1000%\n" },
	{ "a bound of many times the mean", POOL("  bound: 1001"),
	  "w:4: pools[0].bound: '1001' is not a percentage from 1% to 1000%\n" },
	{ "a slow start that never ends", POOL("  slow_start: 61m"),
	  "w:4: pools[0].slow_start: '61m' is not from 1s to 1h\n" },
	{ "a slow start without a unit", POOL("  slow_start: 30"),
	  "w:4: pools[0].slow_start: '30' is not a duration, as in 500ms, 90s or 1h30m\n" },
	{ "three shards", POOL("  shards: 3"), "w:4: pools[0].shards: '3' is not a power of two from 1 to 64\n" },
	{ "no shards", POOL("  shards: 0"), "w:4: pools[0].shards: '0' is not a power of two from 1 to 64\n" },
	{ "128 shards", POOL("  shards: 128"),
	  "w:4: pools[0].shards: '128' is not a power of two from 1 to 64\n" },
};

static const struct fault_row backend_rows[] = {
	{ "a name in capitals", BACKENDS("  - {name: B, address: 10.8.0.1}\n"),
	  "w:5: pools[0].backends[0].name: 'B' is not a name: 1 to 31 of a-z, 0-9, '_' and '-', a letter or digit "
	  "first\n" },
	{ "a name twice", BACKENDS("  - {name: b, address: 10.8.0.1}\n  - {name: b, address: 10.8.0.2}\n"),
	  "w:6: pools[0].backends[1].name: 'b' is already backends[0]\n" },
	{ "an address twice", BACKENDS("  - {name: a, address: 'fd00::1'}\n  - {name: b, address: 'fd00:0::1'}\n"),
	  "w:6: pools[0].backends[1].address: 'fd00:0::1' is already backends[0]\n" },
	{ "a host name", BACKENDS("  - {name: a, address: web1}\n"),
	  "w:5: pools[0].backends[0].address: 'web1' is not an address, as in 10.0.0.1, 10.0.0.1:80, fd00::1 or "
	  "[fd00::1]:80\n" },
	{ "a loopback address", BACKENDS("  - {name: a, address: '127.0.0.1:80'}\n"),
	  "w:5: pools[0].backends[0].address: '127.0.0.1:80' is a loopback address, which no packet leaves this "
	  "host for\n" },
	{ "a multicast address", BACKENDS("  - {name: a, address: 'ff02::1'}\n"),
	  "w:5: pools[0].backends[0].address: 'ff02::1' is a multicast address: a unicast one is needed\n" },
	{ "any address", BACKENDS("  - {name: a, address: 0.0.0.0}\n"),
	  "w:5: pools[0].backends[0].address: '0.0.0.0' stands for all addresses: name one\n" },
	{ "no capacity", BACKEND("capacity: 0"),
	  "w:5: pools[0].backends[0].capacity: '0' is not a number from 1 to 65536\n" },
	{ "too much capacity", BACKEND("capacity: 65537"),
	  "w:5: pools[0].backends[0].capacity: '65537' is not a number from 1 to 65536\n" },
	{ "a backup that is neither", BACKEND("backup: yes"),
	  "w:5: pools[0].backends[0].backup: 'yes' is not one of false, true\n" },
	{ "an unknown delivery", BACKEND("delivery: ipip"),
	  "w:5: pools[0].backends[0].delivery: 'ipip' is not one of l2, tunnel, nat\n" },
	{ "an unknown state", BACKEND("state: down"),
	  "w:5: pools[0].backends[0].state: 'down' is not one of up, drain, disabled\n" },
	{ "an id that stands for none", BACKEND("quic_id: 4294967295"),
	  "w:5: pools[0].backends[0].quic_id: '4294967295' is not a number from 0 to 4294967294\n" },
	{ "a shard without shards", BACKEND("shard: 0"),
	  "w:5: pools[0].backends[0].shard: says nothing in a pool without shards\n" },
};

#define NOT_STATUS "is not a status from 100 to 599 or a range of them, as in 200 or 200-399\n"

static const struct fault_row check_rows[] = {
	{ "an unknown type", CHECK_OF("type: ping"),
	  "w:4: pools[0].check.type: 'ping' is not one of none, tcp, http, https, memcached, memcached-udp, "
	  "command\n" },
	{ "a path that is relative", CHECK_OF("type: http, path: up"),
	  "w:4: pools[0].check.path: 'up' does not begin with /\n" },
	{ "a path with a space", CHECK_OF("type: http, path: '/a b'"),
	  "w:4: pools[0].check.path: '/a b' is not 1 to 255 printable characters without spaces\n" },
	{ "a path that breaks the request", CHECK_OF("type: http, path: \"/a\\r\\nX: y\""),
	  "w:4: pools[0].check.path: '/a??X: y' is not 1 to 255 printable characters without spaces\n" },
	{ "a host that breaks the request", CHECK_OF("type: https, host: \"a\\nb\""),
	  "w:4: pools[0].check.host: 'a?b' is not 1 to 255 printable characters without spaces\n" },
	{ "an empty host", CHECK_OF("type: https, host: ''"),
	  "w:4: pools[0].check.host: '' is not 1 to 255 printable characters without spaces\n" },
	{ "a status of three digits too few", CHECK_OF("type: http, status: 99"),
	  "w:4: pools[0].check.status: '99' " NOT_STATUS },
	{ "a range that goes down", CHECK_OF("type: http, status: 300-200"),
	  "w:4: pools[0].check.status: '300-200' " NOT_STATUS },
	{ "a range without an end", CHECK_OF("type: http, status: 200-"),
	  "w:4: pools[0].check.status: '200-' " NOT_STATUS },
	{ "a class", CHECK_OF("type: http, status: 2xx"), "w:4: pools[0].check.status: '2xx' " NOT_STATUS },
	{ "a status beyond all", CHECK_OF("type: http, status: 200-600"),
	  "w:4: pools[0].check.status: '200-600' " NOT_STATUS },
	{ "a long status", CHECK_OF("type: http, status: 20000000000000"),
	  "w:4: pools[0].check.status: '20000000000000' " NOT_STATUS },
	{ "a status whose end is cut off", CHECK_OF("type: http, status: 0000200x-300"),
	  "w:4: pools[0].check.status: '0000200x-300' " NOT_STATUS },
	{ "port 0", CHECK_OF("type: tcp, port: 0"),
	  "w:4: pools[0].check.port: '0' is not a number from 1 to 65535\n" },
	{ "too often", CHECK_OF("type: tcp, interval: 99ms, timeout: 10ms"),
	  "w:4: pools[0].check.interval: '99ms' is not from 100ms to 1h\n" },
	{ "too seldom", CHECK_OF("type: tcp, interval: 61m"),
	  "w:4: pools[0].check.interval: '61m' is not from 100ms to 1h\n" },
	{ "no time to answer", CHECK_OF("type: tcp, timeout: 9ms"),
	  "w:4: pools[0].check.timeout: '9ms' is not from 10ms to 1h\n" },
	{ "a time-out beyond the interval", CHECK_OF("type: tcp, timeout: 2001ms"),
	  "w:4: pools[0].check.timeout: '2001ms' is longer than the interval (2s)\n" },
	{ "a time-out beyond the given interval", CHECK_OF("type: tcp, timeout: 2s, interval: 1s"),
	  "w:4: pools[0].check.timeout: '2s' is longer than the interval (1s)\n" },
	{ "rise and fall of none", CHECK_OF("type: tcp, rise: 0, fall: 101"),
	  "w:4: pools[0].check.rise: '0' is not a number from 1 to 100\n"
	  "w:4: pools[0].check.fall: '101' is not a number from 1 to 100\n" },
	{ "jitter of most of the interval", CHECK_OF("type: tcp, jitter: 51%"),
	  "w:4: pools[0].check.jitter: '51%' is not a percentage from 0% to 50%\n" },
	{ "no command", CHECK_OF("type: command"),
	  "w:4: pools[0].check.command: is required of type command, and missing\n" },
	{ "an empty command", CHECK_OF("type: command, command: ''"),
	  "w:4: pools[0].check.command: '' is not 1 to 255 printable characters\n" },
	{ "keys of other types", CHECK_OF("type: tcp, path: /, host: a, status: 200, command: b"),
	  "w:4: pools[0].check.path: is of type http and https, and this is tcp\n"
	  "w:4: pools[0].check.host: is of type http and https, and this is tcp\n"
	  "w:4: pools[0].check.status: is of type http and https, and this is tcp\n"
	  "w:4: pools[0].check.command: is of type command, and this is tcp\n" },
	{ "an unknown way", CHECK_OF("type: tcp, through: tunnel"),
	  "w:4: pools[0].check.through: 'tunnel' is not one of delivery, address\n" },
	{ "through the delivery, which is NAT",
	  IFACES "pools:\n- name: web\n  delivery: nat\n  check: {type: tcp, through: delivery}\n"
		 "  backends: [{name: b1, address: 10.8.0.1}]\n" SERVICE,
	  "w:5: pools[0].check.through: 'delivery' is for backends with delivery l2 or tunnel, and 'web' has "
	  "none\n" },
	{ "through the delivery, and no TCP",
	  IFACES "pools:\n- name: web\n  check: {type: memcached-udp, through: delivery}\n"
		 "  backends: [{name: b1, address: 10.8.0.1}]\nservices:\n"
		 "- {name: w, vips: ['192.0.2.1:80'], pool: web, protocol: udp}\n",
	  "w:4: pools[0].check.through: 'delivery' sends a TCP SYN, and no service that uses 'web' has protocol "
	  "tcp or both\n" },
	{ "no port, and services that differ",
	  IFACES "pools:\n- name: web\n  check: {type: tcp}\n  backends:\n  - {name: a, address: '10.8.0.1:1'}\n"
		 "  - {name: b, address: 10.8.0.2}\nservices:\n- {name: v, vips: ['192.0.2.1:80'], pool: web}\n"
		 "- {name: w, vips: ['192.0.2.1:443'], pool: web}\n",
	  "w:4: pools[0].check.port: is required, and missing: backend 'b' has none, and services use 80 and "
	  "443\n" },
};

#define NO_CACHE "is of a cache, and this service has none: cache: true gives it one\n"

static const struct fault_row service_rows[] = {
	{ "an unknown key of migrate", CACHED("migrate: {to: nat, percent: 1, from: nat}"),
	  "w:12: services[0].migrate.from: unknown key\n" },
	{ "a pool of no name",
	  IFACES WEB "services:\n- name: w\n  vips: ['192.0.2.1:80']\n  pool: ''\n",
	  "w:8: services[0].pool: there is no pool ''\n" },
	{ "a pool that is not there", IFACES WEB "services:\n- name: w\n  vips: ['192.0.2.1:80']\n  pool: we\n",
	  "w:8: services[0].pool: there is no pool 'we'\n" },
	{ "a pool where there are none", IFACES SERVICE, "w:3: services[0].pool: there is no pool 'web'\n" },
	{ "nothing to do", IFACES "services:\n- name: w\n  vips: ['192.0.2.1:80']\n  cache: false\n",
	  "w:5: services[0].cache: false without a pool: the service would do nothing\n" },
	{ "keys of a pool without one",
	  IFACES WEB "services:\n- name: w\n  vips: ['192.0.2.1:80']\n  clients: [10.0.0.1]\n  protocol: udp\n"
		     "  fragments: drop\n  migrate: {to: web, percent: 1}\n  fallback: web\n"
		     "  quic: {offset: 1, length: 1}\n",
	  "w:9: services[0].protocol: says nothing without a pool\n"
	  "w:10: services[0].fragments: says nothing without a pool\n"
	  "w:11: services[0].migrate: says nothing without a pool\n"
	  "w:12: services[0].fallback: says nothing without a pool\n"
	  "w:13: services[0].quic: says nothing without a pool\n" },
	{ "keys of a cache without one",
	  WITH("origin: 10.0.0.1:1\n  ttl: 1m\n  value_max: 1\n  udp_checksum: true"),
	  "w:9: services[0].origin: " NO_CACHE "w:10: services[0].ttl: " NO_CACHE
	  "w:11: services[0].value_max: " NO_CACHE "w:12: services[0].udp_checksum: " NO_CACHE },
	{ "a cache that is neither", WITH("cache: on"),
	  "w:9: services[0].cache: 'on' is not one of false, true\n" },
	{ "a cache for anyone",
	  IFACES NAT "services:\n- {name: c, vips: ['192.0.2.1:1'], cache: true, pool: nat}\n",
	  "w:7: services[0].clients: is required, and missing\n" },
	{ "a cache for all of IPv4, though it has a pool",
	  IFACES NAT "services:\n- {name: c, vips: ['192.0.2.1:1'], clients: [0.0.0.0/0], cache: true,\n"
		     "  pool: nat}\n",
	  "w:7: services[0].clients[0]: '0.0.0.0/0' would answer anyone, and UDP memcached that answers anyone "
	  "amplifies attacks from forged sources: name the clients' networks\n" },
	{ "clients of the other family", WITH("clients: ['fd00::/8']"),
	  "w:9: services[0].clients: no IPv4 network: nobody would be answered at 192.0.2.1:80\n" },
	{ "strangers without clients", WITH("strangers: drop"),
	  "w:9: services[0].strangers: says nothing without clients: nobody is a stranger\n" },
	{ "an unknown protocol", WITH("protocol: sctp"),
	  "w:9: services[0].protocol: 'sctp' is not one of tcp, udp, both\n" },
	{ "TCP with a cache", CACHED("protocol: tcp"),
	  "w:12: services[0].protocol: 'tcp' with a cache, which is of UDP: udp or both is needed\n" },
	{ "unknown fragments", WITH("fragments: pass"),
	  "w:9: services[0].fragments: 'pass' is not one of steer, drop\n" },
	{ "a cache without NAT",
	  IFACES WEB "services:\n- name: c\n  vips: ['192.0.2.1:1']\n  clients: [10.0.0.1]\n  cache: true\n"
		     "  pool: web\n",
	  "w:10: services[0].pool: a cache must see replies, so that writes are noticed: backend 'b1' of 'web' "
	  "needs delivery: nat\n" },
};

#define SHARD_LIST(list) IFACES "pools:\n- name: web\n  delivery: nat\n  shards: 2\n  backends:\n" list SERVICE

static const struct fault_row shard_rows[] = {
	{ "a backend of none", SHARD_LIST("  - {name: a, address: 10.8.0.1}\n"),
	  "w:7: pools[0].backends[0].shard: is required in a pool with shards, and missing\n"
	  "w:9: services[0].pool: 'web' has shards, which need keys: only a service with a cache knows them\n" },
	{ "one too high",
	  SHARD_LIST("  - {name: a, address: 10.8.0.1, shard: 0}\n  - {name: b, address: 10.8.0.2, shard: 2}\n"),
	  "w:8: pools[0].backends[1].shard: '2' is not a number from 0 to 1\n"
	  "w:10: services[0].pool: 'web' has shards, which need keys: only a service with a cache knows them\n" },
	{ "an empty one", SHARD_LIST("  - {name: a, address: 10.8.0.1, shard: 1}\n"),
	  "w:5: pools[0].shards: no backend has shard 0\n"
	  "w:9: services[0].pool: 'web' has shards, which need keys: only a service with a cache knows them\n" },
	{ "migrate to the pool itself", SHARDS("migrate: {to: s, percent: 1}"),
	  "w:14: services[0].migrate.to: 's' is the pool itself\n" },
	{ "migrate to other shards", SHARDS("migrate: {to: n, percent: 1}"),
	  "w:14: services[0].migrate.to: 'n' does not have as many shards as 's' (2)\n" },
	{ "migrate to nowhere", SHARDS("migrate: {to: x, percent: 1}"),
	  "w:14: services[0].migrate.to: there is no pool 'x'\n" },
	{ "migrate of more than all", SHARDS("migrate: {to: s, percent: 100.001}"),
	  "w:14: services[0].migrate.percent: '100.001' is not a percentage from 0% to 100%\n"
	  "w:14: services[0].migrate.to: 's' is the pool itself\n" },
	{ "migrate of a share too fine", SHARDS("migrate: {to: s, percent: 0.0001}"),
	  "w:14: services[0].migrate.percent: '0.0001' is not a percentage from 0% to 100%\n"
	  "w:14: services[0].migrate.to: 's' is the pool itself\n" },
	{ "migrate of no digits", SHARDS("migrate: {to: s, percent: .5}"),
	  "w:14: services[0].migrate.percent: '.5' is not a percentage from 0% to 100%\n"
	  "w:14: services[0].migrate.to: 's' is the pool itself\n" },
	{ "migrate without a cache",
	  IFACES SHARDED "services:\n- name: c\n  vips: ['192.0.2.1:1']\n  pool: web\n"
			 "  migrate: {to: n, percent: 1}\n",
	  "w:12: services[0].migrate: moves keys, and only a service with a cache knows them\n" },
	{ "a fallback that is not there", SHARDS("fallback: x"),
	  "w:14: services[0].fallback: there is no pool 'x'\n" },
	{ "a fallback with shards", SHARDS("fallback: s"),
	  "w:14: services[0].fallback: 's' has shards, and what falls back has no single key\n" },
	{ "a fallback without NAT", SHARDS("fallback: web"),
	  "w:14: services[0].fallback: a cache must see replies, so that writes are noticed: backend 'a' of 'web' "
	  "needs delivery: nat\n" },
	{ "a fallback of a pool without shards", CACHED("fallback: nat"),
	  "w:12: services[0].fallback: is for a pool with shards, and 'nat' has none\n" },
};

#define NATS(list) IFACES "pools:\n" list

static const struct fault_row nat_rows[] = {
	{ "two services of one pool",
	  IFACES NAT "services:\n- {name: a, vips: ['192.0.2.1:1'], pool: nat}\n"
		     "- {name: b, vips: ['192.0.2.1:2'], pool: nat}\n",
	  "w:8: services[1].pool: 'nat' has NAT backends and already belongs to services[0]\n" },
	{ "an address of either family",
	  IFACES NAT "services:\n- {name: a, vips: ['192.0.2.1:1', '[2001:db8::1]:1'], pool: nat}\n",
	  "w:7: services[0].pool: NAT keeps the family: backend 'b1' of 'nat' is IPv4, and [2001:db8::1]:1 IPv6: "
	  "make a service and a pool for each family\n" },
	{ "a backend of the other family",
	  IFACES NAT "services:\n- {name: a, vips: ['[2001:db8::1]:1'], pool: nat}\n",
	  "w:7: services[0].pool: NAT keeps the family: backend 'b1' of 'nat' is IPv4, and [2001:db8::1]:1 "
	  "IPv6: make a service and a pool for each family\n" },
	{ "one NAT backend among tunnels",
	  NATS("- name: web\n  backends:\n  - {name: a, address: 'fd00::1'}\n"
	       "  - {name: b, address: 'fd00::2', delivery: nat}\n") SERVICE,
	  "w:8: services[0].pool: NAT keeps the family: backend 'b' of 'web' is IPv6, and 192.0.2.1:80 IPv4: "
	  "make a service and a pool for each family\n" },
	{ "a backend in two pools",
	  NATS("- {name: web, delivery: nat, backends: [{name: a, address: '10.8.0.1:80'}]}\n"
	       "- {name: n, delivery: nat, backends: [{name: a, address: '10.8.0.1:80'}]}\n") SERVICE,
	  "w:4: pools[1].backends[0].address: '10.8.0.1:80' port 80 is already pools[0].backends[0], and with NAT "
	  "a reply must tell whose it is\n" },
	{ "a backend twice by the port of the service's second address",
	  NATS("- name: nat\n  delivery: nat\n  backends:\n  - {name: a, address: '10.8.0.1:81'}\n"
	       "  - {name: b, address: 10.8.0.1}\n")
	  "services:\n- {name: a, vips: ['192.0.2.1:80', '192.0.2.2:80', '192.0.2.1:81'], pool: nat}\n",
	  "w:7: pools[0].backends[1].address: '10.8.0.1' port 81 is already pools[0].backends[0], and with NAT a "
	  "reply must tell whose it is\n" },
	{ "a backend twice by the service's port",
	  NATS("- name: web\n  delivery: nat\n  backends:\n  - {name: a, address: '10.8.0.1:80'}\n"
	       "  - {name: b, address: 10.8.0.1}\n") SERVICE,
	  "w:7: pools[0].backends[1].address: '10.8.0.1' port 80 is already pools[0].backends[0], and with NAT a "
	  "reply must tell whose it is\n" },
};

#define QUIC_POOL "pools:\n- name: q\n  backends:\n"
#define QUIC(list, keys) \
	IFACES QUIC_POOL list "services:\n- {name: w, vips: ['192.0.2.1:443'], pool: q, protocol: udp,\n  " keys \
			      "}\n"
#define ONE_ID "  - {name: a, address: 10.8.0.1, quic_id: 17}\n"

static const struct fault_row quic_rows[] = {
	{ "an offset behind all ids", QUIC(ONE_ID, "quic: {offset: 20, length: 1}"),
	  "w:8: services[0].quic.offset: '20' is not a number from 0 to 19\n" },
	{ "a length of five", QUIC(ONE_ID, "quic: {offset: 0, length: 5}"),
	  "w:8: services[0].quic.length: '5' is not a number from 1 to 4\n" },
	{ "an end behind all ids", QUIC(ONE_ID, "quic: {offset: 18, length: 3}"),
	  "w:8: services[0].quic: ends behind byte 20, the last of a connection id\n" },
	{ "a backend without an id",
	  QUIC(ONE_ID "  - {name: b, address: 10.8.0.2}\n", "quic: {offset: 0, length: 1}"),
	  "w:6: pools[0].backends[1].quic_id: is required, and missing: services[0] routes by it\n" },
	{ "an id twice, and it is 0",
	  QUIC("  - {name: a, address: 10.8.0.1, quic_id: 0}\n  - {name: b, address: 10.8.0.2, quic_id: 0}\n",
	       "quic: {offset: 0, length: 1}"),
	  "w:6: pools[0].backends[1].quic_id: '0' is already that of backends[0]\n" },
	{ "an id that is too long",
	  QUIC("  - {name: a, address: 10.8.0.1, quic_id: 256}\n", "quic: {offset: 0, length: 1}"),
	  "w:5: pools[0].backends[0].quic_id: '256' has no room in the 1 byte of services[0].quic\n" },
	{ "TCP", WITH("quic: {offset: 0, length: 1}"),
	  "w:9: services[0].quic: is of UDP: protocol: udp or both is needed\n"
	  "w:4: pools[0].backends[0].quic_id: is required, and missing: services[0] routes by it\n" },
	{ "a cache", CACHED("quic: {offset: 0, length: 1}"),
	  "w:12: services[0].quic: is not for a service with a cache\n"
	  "w:5: pools[0].backends[0].quic_id: is required, and missing: services[0] routes by it\n" },
};

/* ---- limits ----------------------------------------------------------------------------------- */

/* `n` pools of `backends` each, in `shards` shards (0: none), and a service of none of them. */
static char *many_pools(unsigned n, unsigned backends, unsigned shards)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs(IFACES "services: [{name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}]\npools:\n", f);
	for (unsigned p = 0; p < n; p++) {
		fprintf(f, "- name: p%u\n", p);
		fprintf(f, shards ? "  shards: %u\n" : "\n", shards);
		fputs("  backends:\n", f);
		for (unsigned b = 0; b < backends; b++) {
			fprintf(f, "  - {name: b%u, address: 10.%u.%u.%u", b, p, b >> 8, b & 255);
			fprintf(f, shards ? ", shard: %u}\n" : "}\n", shards ? b % shards : 0);
		}
	}
	fclose(f);
	return text;
}

static void test_limit(unsigned n, unsigned backends, unsigned shards, const char *want)
{
	char *text = many_pools(n, backends, shards), *said = NULL;
	struct config *c = NULL;

	CHECK_INT(parse(&c, text, strlen(text), &said), *want ? -EINVAL : 0);
	CHECK_STR(said, want);
	config_free(c);
	free(said);
	free(text);
}

static void test_limits(void)
{
	test_begin("64 places of pools are accepted in each form, one more is not");
	test_limit(64, 1, 0, "");
	test_limit(16, 256, 0, "");
	test_limit(64, 64, 0, "");
	test_limit(1, 4096, 64, "");
	test_limit(4, 16, 16, "");
	test_limit(65, 1, 0, "w:3: pools: has more than 64 entries\n");
	/* 32 pools of two places, and one: each of 3 + 65 lines, the first on line 4 */
	test_limit(33, 65, 0,
		   "w:2180: pools[32]: more than 64 places: a pool takes one for each shard, or for each 64 "
		   "backends\n");
	test_limit(5, 16, 16,
		   "w:80: pools[4]: more than 64 places: a pool takes one for each shard, or for each 64 "
		   "backends\n");
	test_end();

	test_begin("256 backends without shards and 64 of a shard are accepted, one more is not");
	test_limit(1, 256, 0, "");
	test_limit(1, 257, 0, "w:6: pools[0].backends: has more than 256 entries, and the pool no shards\n");
	test_limit(1, 128, 2, "");
	test_limit(1, 129, 2, "w:5: pools[0].shards: more than 64 backends have shard 0\n");
	test_limit(1, 4097, 64, "w:6: pools[0].backends: has more than 4096 entries\n");
	test_end();
}

static void test_quic_limit(void)
{
	char *text = NULL, *said = NULL;
	struct config *c = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	test_begin("a service routed by connection ids has at most 64 backends");
	fputs(IFACES "services: [{name: a, vips: ['192.0.2.1:1'], protocol: udp, pool: p,\n"
		     "  quic: {offset: 0, length: 2}}]\npools:\n- name: p\n  backends:\n", f);
	for (unsigned b = 0; b < 65; b++)
		fprintf(f, "  - {name: b%u, address: 10.8.0.%u, quic_id: %u}\n", b, b + 1, b);
	fclose(f);
	CHECK_INT(parse(&c, text, strlen(text), &said), -EINVAL);
	CHECK_STR(said, "w:3: services[0].quic: needs a pool of at most 64 backends, and 'p' has 65\n");
	free(said);
	free(text);
	test_end();
}

static void test_truncated(void)
{
	size_t len = strlen(full), bad = 0;

	test_begin("a file cut off anywhere is refused or whole, never half read");
	for (size_t n = 0; n < len; n++) {
		char *text = strndup(full, n), *said = NULL;
		struct config *c = NULL;
		int err = parse(&c, text, strlen(text), &said);

		bad += !err != !!c || !err != !*said;
		if (!err && (c->npools != 4 || c->services[0].pool != 0))
			bad++;
		config_free(c);
		free(said);
		free(text);
	}
	CHECK_INT(bad, 0);
	test_end();
}

/* ---- memory ----------------------------------------------------------------------------------- */

static void test_memory(void)
{
	struct config c = { .capacity = 1, .memory = 65536 };
	struct config_memory m, with;

	test_begin("memory: 16 bytes a flow, and as part of the sum");
	config_memory(&c, 2, &m);
	CHECK_INT(m.flows, 0);
	c.flow_buckets = (4 << 20) / 8;
	config_memory(&c, 2, &with);
	CHECK_INT(with.flows, 64 * MIB);
	CHECK_INT(with.total, m.total + 64 * MIB);
	CHECK_INT(with.other, m.other);
	test_end();

	test_begin("memory: the fixed maps of steering, next hops by CPU");
	config_memory(&c, 1, &m);
	CHECK_INT(m.total, m.index + m.slabs + m.hits + m.fences + m.flows + m.other);
	CHECK_INT(with.other - m.other, 4096 * 48 + 65 * 64 * 16 + 64 * 16 * 8);
	CHECK(m.other > 64 * (sizeof(struct weir_pool) + sizeof(struct weir_maglev)) +
				4096 * (sizeof(struct weir_backend) + sizeof(struct weir_ctl_backend)));
	test_end();
}

int main(void)
{
	test_address();
	test_full();
	test_defaults();
	test_good_rows();
	test_flow_capacity();
	test_minimal();
	FAULTS("structure", schema_rows);
	FAULTS("flows", flow_rows);
	FAULTS("pool", pool_rows);
	FAULTS("backend", backend_rows);
	FAULTS("check", check_rows);
	FAULTS("service", service_rows);
	FAULTS("shards", shard_rows);
	FAULTS("NAT", nat_rows);
	FAULTS("quic", quic_rows);
	test_limits();
	test_quic_limit();
	test_truncated();
	test_memory();
	return test_done();
}
