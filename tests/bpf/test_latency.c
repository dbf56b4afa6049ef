// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Latencies: packets with known pauses between them, through weir_rx and weir_tx. What the programs measured must
 * lie between what this clock says was the least and the most; and nothing else may have been counted.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "emulated.h"
#include "steer_scene.h"
#include "weir/hash.h"
#include "weir/latency.h"

/* ---- services --------------------------------------------------------------------------------- */

enum { WEB, WEB6, DSR, USERS, LOCAL, SERVICES };

/* A server as a client sees it. */
struct target {
	const char *says;
	int svc;
	const char *client, *vip;
	__u16 port;
	const char *server; /* where replies come from; NULL: this host, through weir_tx; "": nobody sees them */
	__u16 server_port;
	const char *pool, *backend;
};

static const struct target targets[] = {
	{"NAT", WEB, STEER_CLIENT4, "192.0.2.7", 443, "10.8.0.1", 8080, "web", "b1"},
	{"NAT of IPv6", WEB6, STEER_CLIENT6, "2001:db8::8", 443, "fd08::1", 8080, "web6", "b1"},
	{"this host", LOCAL, STEER_CLIENT4, "192.0.2.50", 11211, NULL, 0, NULL, NULL},
	{"this host over IPv6", LOCAL, STEER_CLIENT6, "2001:db8::50", 11211, NULL, 0, NULL, NULL},
	{"DSR", DSR, STEER_CLIENT4, "192.0.2.3", 443, "", 0, "dsr", "b1"},
	{"DSR over IPv6", DSR, STEER_CLIENT6, "2001:db8::3", 443, "", 0, "dsr", "b1"},
};
#define TARGETS (sizeof(targets) / sizeof(*targets))
#define NAT_T	(&targets[0])
#define LOCAL_T (&targets[2])
#define DSR_T	(&targets[4])

static const struct target users = {"a shard",	 USERS, STEER_CLIENT4, "192.0.2.5", 11211,
				    "10.20.0.2", 11211, "users",	"b1"};

#define CLIENTS_YAML "clients: [198.51.100.0/24, '2001:db8:c::/48']"

/* The services' numbers are their places. */
static const char yaml_text[] =
	"interfaces: [{name: eth0}]\n"
	"cache: {capacity: 64, memory: 64K}\n"
	"flows: {capacity: 4096}\n"
	"latency: {%s}\n"
	"services:\n"
	"  - {name: web, protocol: both, pool: web, vips: ['192.0.2.7:443']}\n"
	"  - {name: web6, protocol: both, pool: web6, vips: ['[2001:db8::8]:443']}\n"
	"  - {name: dsr, protocol: both, pool: dsr, vips: ['192.0.2.3:443', '[2001:db8::3]:443']}\n"
	"  - {name: users, protocol: both, pool: users, cache: true, ttl: 1m, vips: ['192.0.2.5:11211'],\n"
	"     fallback: web2, " CLIENTS_YAML "}\n"
	"  - {name: local, ttl: 1m, vips: ['192.0.2.50:11211', '[2001:db8::50]:11211'], " CLIENTS_YAML "}\n"
	"pools:\n"
	"  - {name: web, delivery: nat, backends: [{name: b1, address: '10.8.0.1:8080'}]}\n"
	"  - {name: web6, delivery: nat, backends: [{name: b1, address: '[fd08::1]:8080'}]}\n"
	"  - {name: dsr, delivery: tunnel, backends: [{name: b1, address: 10.20.0.1}]}\n"
	"  - {name: users, delivery: nat, shards: 2,\n"
	"     backends: [{name: b1, address: 10.20.0.2, shard: 0}, {name: b2, address: 10.20.0.3, shard: 1}]}\n"
	"  - {name: web2, delivery: nat, backends: [{name: b1, address: 10.20.0.4}]}\n";

static const char local_text[] =
	"interfaces: [{name: eth0}]\n"
	"cache: {capacity: 64, memory: 64K}\n"
	"latency: {%s}\n"
	"services:\n"
	"  - {name: a, ttl: 1m, vips: ['192.0.2.51:1'], " CLIENTS_YAML "}\n"
	"  - {name: b, ttl: 1m, vips: ['192.0.2.51:2'], " CLIENTS_YAML "}\n"
	"  - {name: c, ttl: 1m, vips: ['192.0.2.51:3'], " CLIENTS_YAML "}\n"
	"  - {name: d, ttl: 1m, vips: ['192.0.2.51:4'], " CLIENTS_YAML "}\n"
	"  - {name: local, ttl: 1m, vips: ['192.0.2.50:11211', '[2001:db8::50]:11211'], " CLIENTS_YAML "}\n";

#define EACH	 "flows: 1024, interval: 0, timeout: 1s" /* a sample of each request */
#define SELDOM	 "flows: 1024, interval: 9s, timeout: 1s"
#define NOW_THEN "flows: 1024, interval: 60ms, timeout: 1s"
#define OFF	 "flows: 0"

static void open_with(const char *text, const char *latency)
{
	char yaml[4096];

	snprintf(yaml, sizeof(yaml), text, latency);
	scene_open(&edge.s, yaml, 1500);
}

/* ---- what was counted ------------------------------------------------------------------------- */

static struct maps *maps(void)
{
	return rx_fixture_maps(edge.s.fx);
}

struct counted {
	struct weir_histogram svc[SERVICES][WEIR_LAT_PATHS], backend[WEIR_BACKEND_PATHS];
};

static void read_histogram(int svc, int path, struct weir_histogram *sum)
{
	__u32 at = svc * WEIR_LAT_PATHS + path, ncpu = maps_ctl(maps())->ncpu;
	struct weir_histogram of[ncpu];

	memset(sum, 0, sizeof(*sum));
	if (bpf_map_lookup_elem(maps()->fd[MAP_LATENCY], &at, of)) {
		printf("Bail out! no histogram %u\n", at);
		exit(1);
	}
	for (__u32 cpu = 0; cpu < ncpu; cpu++) {
		sum->sum_ns += of[cpu].sum_ns;
		sum->lost += of[cpu].lost;
		sum->failed += of[cpu].failed;
		for (int i = 0; i < WEIR_LAT_BUCKETS; i++)
			sum->n[i] += of[cpu].n[i];
	}
}

/* All services' histograms, and those of the target's backend. */
static void read_all(const struct target *t, struct counted *c)
{
	memset(c, 0, sizeof(*c));
	for (int svc = 0; svc < SERVICES; svc++)
		for (int path = 0; path < WEIR_LAT_PATHS; path++)
			read_histogram(svc, path, &c->svc[svc][path]);
	if (t->pool)
		memcpy(c->backend,
		       (struct weir_histogram *)maps()->at[MAP_BACKEND_LAT] +
			       backend_of(t->pool, t->backend) * WEIR_BACKEND_PATHS,
		       sizeof(c->backend));
}

static struct counted before;

static void mark(const struct target *t)
{
	read_all(t, &before);
}

/* When a packet was sent: the program saw it in between. */
struct when {
	__u64 from, to;
};

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static unsigned long long total(const struct weir_histogram *h)
{
	unsigned long long n = 0;

	for (int i = 0; i < WEIR_LAT_BUCKETS; i++)
		n += h->n[i];
	return n;
}

/* What the histogram has more than before is one sample, of the time between two packets. */
static bool one_sample(const struct weir_histogram *is, const struct weir_histogram *was, struct when a,
		       struct when b)
{
	__u64 ns = is->sum_ns - was->sum_ns;
	__u32 at = weir_lat_bucket(ns);

	if (!CHECK_INT(total(is) - total(was), 1))
		return false;
	if (!CHECK(ns >= b.from - a.to && ns <= b.to - a.from))
		printf("# %llu ns, not %llu to %llu\n", ns, b.from - a.to, b.to - a.from);
	return CHECK_INT(is->n[at] - was->n[at], 1) & CHECK_INT(is->lost, was->lost) &
	       CHECK_INT(is->failed, was->failed);
}

static int backend_path(int path)
{
	if (path == WEIR_LAT_CONNECT || path == WEIR_LAT_CONNECT_SERVER)
		return WEIR_BACKEND_CONNECT;
	return path >= WEIR_LAT_MISS && path <= WEIR_LAT_REQUEST_ACKED ? WEIR_BACKEND_REQUEST : -1;
}

/* Since mark(): one sample of this path, and nothing else anywhere. */
static bool expect_sample(const struct target *t, int path, struct when a, struct when b)
{
	struct weir_histogram *was = &before.svc[t->svc][path], *is;
	struct counted now;
	bool ok;

	read_all(t, &now);
	is = &now.svc[t->svc][path];
	ok = one_sample(is, was, a, b);
	if (t->pool && backend_path(path) >= 0) {
		ok &= one_sample(&now.backend[backend_path(path)], &before.backend[backend_path(path)], a, b);
		before.backend[backend_path(path)] = now.backend[backend_path(path)];
	}
	*was = *is;
	ok &= CHECK(!memcmp(&now, &before, sizeof(now)));
	if (!ok)
		printf("# path %d of %s\n", path, t->says);
	before = now;
	return ok;
}

static bool expect_none(const struct target *t)
{
	struct counted now;
	bool ok;

	read_all(t, &now);
	ok = CHECK(!memcmp(&now, &before, sizeof(now)));
	if (!ok)
		printf("# of %s\n", t->says);
	for (int svc = 0; !ok && svc < SERVICES; svc++)
		for (int path = 0; path < WEIR_LAT_PATHS; path++)
			if (memcmp(&now.svc[svc][path], &before.svc[svc][path], sizeof(before.svc[0][0])))
				printf("# service %d, path %d\n", svc, path);
	before = now;
	return ok;
}

/* One request was lost, or failed, more than before; of a connection's: path CONNECT_SERVER. */
static bool expect_unanswered(const struct target *t, int path, unsigned lost, unsigned failed)
{
	before.svc[t->svc][path].lost += lost;
	before.svc[t->svc][path].failed += failed;
	if (t->pool) {
		before.backend[backend_path(path)].lost += lost;
		before.backend[backend_path(path)].failed += failed;
	}
	return expect_none(t);
}

/* ---- records ---------------------------------------------------------------------------------- */

static struct weir_flow_rec *recs(void)
{
	return maps()->at[MAP_FLOW_RECS];
}

static __u64 flow_hash_of(const struct target *t, __u16 sport, __u8 proto)
{
	int family = strchr(t->client, ':') ? 6 : 4;
	struct weir_addr client = {}, vip = {};
	__u64 h;

	inet_pton(family == 4 ? AF_INET : AF_INET6, t->client, &client);
	inet_pton(family == 4 ? AF_INET : AF_INET6, t->vip, &vip);
	h = weir_hash_start(maps_ctl(maps())->flow_seed, weir_vip_salt(&vip, htons(t->port)));
	h = weir_hash_word(h, (__u64)client.w[0] << 32 | client.w[1]);
	if (family == 6)
		h = weir_hash_word(h, (__u64)client.w[2] << 32 | client.w[3]);
	return weir_hash_end(h, (__u32)htons(sport) << 8 | proto) | 1ULL << 63;
}

static struct weir_flow_rec *element_of(const struct target *t, __u16 sport, __u8 proto)
{
	return &recs()[flow_hash_of(t, sport, proto) >> 20 & (maps_ctl(maps())->flow_recs - 1)];
}

/* The flow's record; NULL: it is not measured. */
static struct weir_flow_rec *rec_of(const struct target *t, __u16 sport, __u8 proto)
{
	struct weir_flow_rec *rec = element_of(t, sport, proto);

	return rec->hash == flow_hash_of(t, sport, proto) ? rec : NULL;
}

/* A source port whose flow has an element of its own, which is free. */
static __u16 free_port(const struct target *t, __u8 proto)
{
	static __u16 next = 20000;

	while (element_of(t, next, proto)->hash)
		next++;
	return next++;
}

/* Another flow's port with the same element. */
static __u16 port_beside(const struct target *t, __u16 sport, __u8 proto)
{
	struct weir_flow_rec *at = element_of(t, sport, proto);
	__u16 port = sport;

	do {
		port++;
	} while (element_of(t, port, proto) != at && port != sport);
	return port;
}

/* As if its packets came earlier. */
static void age_record(struct weir_flow_rec *rec, __u32 by)
{
	rec->seen -= by;
	if (rec->sent_ns)
		rec->sent_ns -= (__u64)by << WEIR_REC_TIME;
}

#define LONG_MS 1200 /* more than the timeout */

/* As if what waits for its answer had been sent so long ago. */
static void sent_long_ago(const struct target *t, __u16 sport, __u8 proto)
{
	struct weir_flow_rec *rec = rec_of(t, sport, proto);

	if (CHECK(rec && rec->sent_ns))
		rec->sent_ns -= LONG_MS * 1000000ULL;
}

/* ---- packets ---------------------------------------------------------------------------------- */

struct conn {
	const struct target *t;
	__u16 sport;
	bool stamps;	  /* with the time stamp option */
	__u32 val, echo;  /* of the next packet */
	bool fragment;	  /* the next packet is a first fragment */
};

static void pause_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

static struct conn conn_to(const struct target *t)
{
	return (struct conn){.t = t, .sport = free_port(t, IPPROTO_TCP)};
}

static void put_stamps(struct frame *f, const struct conn *c)
{
	__u8 option[12] = {1, 1, 8, 10};

	*(__be32 *)(option + 4) = htonl(c->val);
	*(__be32 *)(option + 8) = htonl(c->echo);
	memcpy(f->b + f->l4 + 20, option, sizeof(option));
	frame_fix_l4_csum(f);
}

static void cut(struct frame *f, const struct conn *c)
{
	struct frame whole = *f;

	if (c->fragment)
		frame_fragment(f, &whole, 0, (f->len - f->l4) & ~7, true);
}

static void check_same(const struct frame *f, const struct outcome *o)
{
	CHECK_MEM(o->b, o->len, f->b, f->len);
}

static struct when send_client(const struct target *t, const struct frame *f)
{
	struct outcome o;
	struct when w;

	w.from = now_ns();
	edge_send(f, &o);
	w.to = now_ns();
	CHECK_INT(o.action, t->server ? XDP_TX : XDP_PASS);
	if (!t->server)
		check_same(f, &o);
	return w;
}

static struct when send_server(const struct target *t, const struct frame *f)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->b, .data_size_in = f->len, .repeat = 1);
	struct outcome o;
	struct when w;

	opts.data_out = o.b;
	opts.data_size_out = sizeof(o.b);
	w.from = now_ns();
	if (t->server) {
		CHECK_INT(edge_send(f, &o), XDP_TX);
	} else {
		CHECK_INT(bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_tx_prog(edge.s.fx)), &opts), 0);
		CHECK_INT(opts.retval, TC_ACT_OK);
		o.len = opts.data_size_out;
		check_same(f, &o);
	}
	w.to = now_ns();
	return w;
}

static struct flow forth(const struct target *t, __u16 sport)
{
	return (struct flow){.src = t->client, .dst = t->vip, .sport = sport, .dport = t->port};
}

static struct flow back(const struct target *t, __u16 sport)
{
	return (struct flow){.src = t->server ?: t->vip,
			     .dst = t->client,
			     .sport = t->server ? t->server_port : t->port,
			     .dport = sport};
}

static void make_segment(struct frame *f, const struct conn *c, const struct flow *flow, __u8 flags, __u32 seq,
			 __u32 ack_no, size_t len)
{
	struct tcp tcp = {.seq = seq, .ack = ack_no, .flags = flags, .window = 500, .options = c->stamps ? 12 : 0};

	frame_tcp(f, flow, &tcp, some_bytes(), len);
	if (c->stamps)
		put_stamps(f, c);
	cut(f, c);
}

static struct when from_client(struct conn *c, __u8 flags, __u32 seq, __u32 ack_no, size_t len)
{
	struct flow flow = forth(c->t, c->sport);
	struct frame f;

	make_segment(&f, c, &flow, flags, seq, ack_no, len);
	return send_client(c->t, &f);
}

static struct when from_server(struct conn *c, __u8 flags, __u32 seq, __u32 ack_no, size_t len)
{
	struct flow flow = back(c->t, c->sport);
	struct frame f;

	make_segment(&f, c, &flow, flags, seq, ack_no, len);
	return send_server(c->t, &f);
}

#define CSEQ 1000U /* the first sequence number of a client's data */
#define SSEQ 5000U /* of a server's */

/* Opens the connection, a pause of one millisecond between packets. */
static void connect_to(struct conn *c)
{
	from_client(c, TCP_SYN, CSEQ - 1, 0, 0);
	pause_ms(1);
	if (!c->t->server || *c->t->server)
		from_server(c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	pause_ms(1);
	from_client(c, TCP_ACK, CSEQ, SSEQ, 0);
	mark(c->t);
}

static bool is_oneway(const struct target *t)
{
	return t->server && !*t->server;
}

/* Each target whose server's packets are seen, or each whose are not. */
static void each(bool oneway, void (*test)(const struct target *t))
{
	for (size_t i = 0; i < TARGETS; i++) {
		if (is_oneway(&targets[i]) == oneway && (edge_pools()->pools[0].n || !targets[i].pool))
			test(&targets[i]);
	}
}

static struct weir_flow_rec *rec_of_conn(const struct conn *c)
{
	static struct weir_flow_rec none;
	struct weir_flow_rec *rec = rec_of(c->t, c->sport, IPPROTO_TCP);

	return CHECK(rec != NULL) ? rec : &none;
}

static bool about(__u32 us, struct when a, struct when b)
{
	if (us >= (b.from - a.to) / 1000 && us <= (b.to - a.from) / 1000)
		return true;
	printf("# %u us, not %llu to %llu\n", us, (b.from - a.to) / 1000, (b.to - a.from) / 1000);
	return false;
}

/* ---- connecting ------------------------------------------------------------------------------- */

static void test_handshake(const struct target *t)
{
	struct conn c = conn_to(t);
	struct weir_flow_rec *rec;
	struct when a, b, d;

	test_begin(say("%s: the halves of a handshake", t->says));
	mark(t);
	a = from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	expect_none(t);
	pause_ms(4);
	b = from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	expect_sample(t, WEIR_LAT_CONNECT_SERVER, a, b);
	pause_ms(9);
	d = from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	expect_sample(t, WEIR_LAT_CONNECT_CLIENT, b, d);
	rec = rec_of_conn(&c);
	CHECK(about(rec->connect_us, a, b));
	CHECK_INT(rec->state, WEIR_REC_OPEN);
	CHECK_INT(rec->sent_ns, 0);
	CHECK_INT(rec->backend, t->pool ? backend_of(t->pool, t->backend) : WEIR_BACKEND_NONE);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	expect_none(t);
	test_end();
}

static void test_handshake_oneway(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a handshake, both halves", t->says));
	mark(t);
	a = from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	pause_ms(6);
	b = from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	expect_sample(t, WEIR_LAT_CONNECT, a, b);
	CHECK(about(rec_of_conn(&c)->connect_us, a, b));
	CHECK_INT(rec_of_conn(&c)->flags & WEIR_REC_ONEWAY, WEIR_REC_ONEWAY);
	test_end();
}

static void test_syn_again(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when b, d;

	test_begin(say("%s: a SYN that is sent again, and a SYN-ACK", t->says));
	mark(t);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	pause_ms(2);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	b = from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	expect_none(t);
	pause_ms(2);
	d = from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	expect_sample(t, WEIR_LAT_CONNECT_CLIENT, b, d);
	CHECK_INT(rec_of_conn(&c)->connect_us, 0);

	c = conn_to(t);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	mark(t);
	from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	expect_none(t);

	c = conn_to(t);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ + 1, 0);
	expect_none(t);
	test_end();
}

static void test_syn_again_oneway(const struct target *t)
{
	struct conn c = conn_to(t);

	test_begin(say("%s: a SYN that is sent again", t->says));
	mark(t);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	expect_none(t);
	CHECK_INT(rec_of_conn(&c)->flags & WEIR_REC_AGAIN, 0);
	test_end();
}

static void test_refused(const struct target *t)
{
	struct conn c = conn_to(t);

	test_begin(say("%s: a connection that is refused has failed", t->says));
	mark(t);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	from_server(&c, TCP_RST | TCP_ACK, 0, CSEQ, 0);
	expect_unanswered(t, WEIR_LAT_CONNECT_SERVER, 0, 1);
	CHECK_INT(rec_of_conn(&c)->state, WEIR_REC_OVER);
	from_server(&c, TCP_RST | TCP_ACK, 0, CSEQ, 0);
	expect_none(t);
	test_end();
}

/* ---- requests --------------------------------------------------------------------------------- */

static void test_request(const struct target *t)
{
	struct conn c = conn_to(t);
	struct weir_flow_rec *rec;
	struct when a, b, d, e;
	__u32 first;

	test_begin(say("%s: a request's first byte to its reply's first", t->says));
	connect_to(&c);
	from_server(&c, TCP_ACK, SSEQ, CSEQ, 0);
	expect_none(t);
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 0);
	from_server(&c, TCP_ACK, SSEQ + 10, CSEQ + 100, 0); /* the reply, if it was one, came by another way */
	expect_none(t);
	pause_ms(7);
	b = from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 1000);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	rec = rec_of_conn(&c);
	first = rec->request.latest;
	CHECK_INT(rec->request.smooth, first);
	from_server(&c, TCP_ACK, SSEQ + 1000, CSEQ + 100, 1000);
	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 2000, 0);
	expect_none(t);
	d = from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 2000, 50);
	pause_ms(3);
	e = from_server(&c, TCP_ACK, SSEQ + 2000, CSEQ + 150, 1);
	expect_sample(t, WEIR_LAT_REQUEST, d, e);
	CHECK_INT(rec->request.n, 2);
	CHECK(about(rec->request.latest, d, e));
	CHECK_INT(rec->request.min, first < rec->request.latest ? first : rec->request.latest);
	CHECK_INT(rec->request.smooth, (first * 7ULL + rec->request.latest) / 8);
	test_end();
}

static void test_request_oneway(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b, d;

	test_begin(say("%s: a request to the acknowledgement of its reply", t->says));
	connect_to(&c);
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(3);
	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ, 0);
	expect_none(t);
	pause_ms(3);
	b = from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 1, 0);
	expect_sample(t, WEIR_LAT_REQUEST_ACKED, a, b);
	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 900, 0);
	expect_none(t);
	a = from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 900, 10);
	pause_ms(2);
	b = from_client(&c, TCP_ACK, CSEQ + 110, SSEQ + 950, 10); /* the next request acknowledges the reply */
	expect_sample(t, WEIR_LAT_REQUEST_ACKED, a, b);
	pause_ms(2);
	d = from_client(&c, TCP_ACK, CSEQ + 120, SSEQ + 960, 0);
	expect_sample(t, WEIR_LAT_REQUEST_ACKED, b, d);
	a = from_client(&c, TCP_ACK, CSEQ + 120, SSEQ + 960, 10);
	b = from_client(&c, TCP_ACK | TCP_FIN, CSEQ + 130, SSEQ + 970, 0);
	expect_sample(t, WEIR_LAT_REQUEST_ACKED, a, b);
	CHECK_INT(rec_of_conn(&c)->request.n, 4);
	CHECK_INT(rec_of_conn(&c)->state, WEIR_REC_OVER);

	c = conn_to(t);
	connect_to(&c);
	from_client(&c, TCP_ACK | TCP_FIN, CSEQ, SSEQ, 10); /* nobody looks for what comes later */
	CHECK_INT(rec_of_conn(&c)->sent_ns, 0);
	from_client(&c, TCP_ACK, CSEQ + 11, SSEQ + 50, 0);
	expect_none(t);
	CHECK_INT(rec_of_conn(&c)->flags & WEIR_REC_LOOK_C, 0);
	test_end();
}

static void test_long_request(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a request of several segments, and requests before the reply", t->says));
	connect_to(&c);
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(3);
	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ, 100);
	pause_ms(3);
	b = from_server(&c, TCP_ACK, SSEQ, CSEQ + 200, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	from_server(&c, TCP_ACK, SSEQ + 10, CSEQ + 200, 10);
	from_client(&c, TCP_ACK, CSEQ + 200, SSEQ, 100); /* had not seen the reply */
	from_server(&c, TCP_ACK, SSEQ + 20, CSEQ + 300, 10);
	expect_none(t);
	test_end();
}

static void test_disorder(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: an old reply answers nothing; a reply's later part that comes first does", t->says));
	connect_to(&c);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 10);
	mark(t);
	a = from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 10, 100);
	pause_ms(1);
	from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 10);
	from_server(&c, TCP_ACK, SSEQ + 5, CSEQ + 100, 5);
	expect_none(t);
	pause_ms(2);
	b = from_server(&c, TCP_ACK, SSEQ + 500, CSEQ + 200, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	from_server(&c, TCP_ACK, SSEQ + 10, CSEQ + 200, 490);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100); /* and an old request */
	from_server(&c, TCP_ACK, SSEQ + 510, CSEQ + 200, 10);
	expect_none(t);
	test_end();
}

static void test_wrap(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: sequence numbers that wrap around", t->says));
	from_client(&c, TCP_SYN, -1U, 0, 0);
	from_server(&c, TCP_SYN | TCP_ACK, -2U, 0, 0);
	from_client(&c, TCP_ACK, 0, -1U, 0);
	mark(t);
	a = from_client(&c, TCP_ACK, 0, -1U, 10);
	pause_ms(2);
	b = from_server(&c, TCP_ACK, -1U, 10, 1);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	a = from_client(&c, TCP_ACK, 10, 0, 10);
	from_server(&c, TCP_ACK, -1U, 10, 1);
	expect_none(t);
	b = from_server(&c, TCP_ACK, 0, 20, 1);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	c = conn_to(t);
	from_client(&c, TCP_SYN, 100, 0, 0);
	from_server(&c, TCP_SYN | TCP_ACK, 0x7ffffff0, 101, 0);
	from_client(&c, TCP_ACK, 101, 0x7ffffff1, 0);
	mark(t);
	a = from_client(&c, TCP_ACK, 101, 0x7ffffff1, 10);
	b = from_server(&c, TCP_ACK, 0x7ffffff1, 111, 1000);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	test_end();
}

/* ---- ends ------------------------------------------------------------------------------------- */

static void test_ends(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: reset and FIN", t->says));
	connect_to(&c);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_server(&c, TCP_RST | TCP_ACK, SSEQ, CSEQ + 100, 0);
	expect_unanswered(t, WEIR_LAT_REQUEST, 0, 1);
	CHECK_INT(rec_of_conn(&c)->failed, 1);
	CHECK_INT(rec_of_conn(&c)->state, WEIR_REC_OVER);
	from_client(&c, TCP_ACK, CSEQ, SSEQ + 5, 100);
	from_server(&c, TCP_ACK, SSEQ + 5, CSEQ + 100, 5);
	expect_none(t);

	c = conn_to(t);
	connect_to(&c);
	from_server(&c, TCP_RST | TCP_ACK, SSEQ, CSEQ + 100, 0); /* no request waits */
	expect_none(t);

	c = conn_to(t);
	connect_to(&c);
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(1);
	b = from_server(&c, TCP_ACK | TCP_FIN, SSEQ, CSEQ + 100, 100);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	CHECK_INT(rec_of_conn(&c)->state, WEIR_REC_OVER);

	c = conn_to(t);
	connect_to(&c);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_server(&c, TCP_ACK | TCP_FIN, SSEQ, CSEQ + 100, 0);
	expect_none(t);
	CHECK_INT(rec_of_conn(&c)->sent_ns, 0);

	c = conn_to(t);
	connect_to(&c);
	a = from_client(&c, TCP_ACK | TCP_FIN, CSEQ, SSEQ, 100); /* all it will say */
	CHECK_INT(rec_of_conn(&c)->state, WEIR_REC_OVER);
	pause_ms(2);
	from_server(&c, TCP_ACK, SSEQ, CSEQ + 101, 0);
	from_client(&c, TCP_ACK | TCP_FIN, CSEQ, SSEQ, 100);
	expect_none(t);
	b = from_server(&c, TCP_ACK, SSEQ, CSEQ + 101, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);

	c = conn_to(t);
	connect_to(&c);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_client(&c, TCP_RST, CSEQ + 100, 0, 0);
	from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 10);
	expect_none(t);
	CHECK_INT(rec_of_conn(&c)->state, WEIR_REC_OVER);
	test_end();
}

static void test_lost(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a request that is sent again waits on; after the timeout it is lost, once", t->says));
	connect_to(&c);
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(20);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(5);
	b = from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);

	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 10, 100);
	sent_long_ago(t, c.sport, IPPROTO_TCP);
	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 10, 100);
	expect_unanswered(t, WEIR_LAT_REQUEST, 1, 0);
	from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 10, 100);
	from_server(&c, TCP_ACK, SSEQ + 10, CSEQ + 200, 10);
	expect_none(t);
	CHECK_INT(rec_of_conn(&c)->lost, 1);

	a = from_client(&c, TCP_ACK, CSEQ + 200, SSEQ + 20, 100); /* slow, but nothing was sent again */
	sent_long_ago(t, c.sport, IPPROTO_TCP);
	a.from -= LONG_MS * 1000000ULL;
	a.to -= LONG_MS * 1000000ULL;
	b = from_server(&c, TCP_ACK, SSEQ + 20, CSEQ + 300, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);

	a = from_client(&c, TCP_ACK, CSEQ + 300, SSEQ + 30, 100); /* and a long one, part of which is */
	from_client(&c, TCP_ACK, CSEQ + 400, SSEQ + 30, 100);
	sent_long_ago(t, c.sport, IPPROTO_TCP);
	from_client(&c, TCP_ACK, CSEQ + 500, SSEQ + 30, 100);
	from_client(&c, TCP_ACK, CSEQ + 400, SSEQ + 30, 100);
	a.from -= LONG_MS * 1000000ULL;
	a.to -= LONG_MS * 1000000ULL;
	b = from_server(&c, TCP_ACK, SSEQ + 30, CSEQ + 600, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);

	from_client(&c, TCP_ACK, CSEQ + 600, SSEQ + 40, 100);
	sent_long_ago(t, c.sport, IPPROTO_TCP);
	from_client(&c, TCP_ACK | TCP_FIN, CSEQ + 700, SSEQ + 40, 0);
	expect_unanswered(t, WEIR_LAT_REQUEST, 1, 0);
	from_client(&c, TCP_ACK | TCP_FIN, CSEQ + 700, SSEQ + 40, 0);
	expect_none(t);
	test_end();
}

static void test_unseen_reply(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a request whose reply was not seen is none", t->says));
	connect_to(&c);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(3);
	a = from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 50, 100);
	expect_none(t);
	pause_ms(1);
	b = from_server(&c, TCP_ACK, SSEQ + 50, CSEQ + 200, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	test_end();
}

static void test_midway(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a connection whose SYN was not seen is measured from its second request on", t->says));
	mark(t);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 10);
	expect_none(t);
	a = from_client(&c, TCP_ACK, CSEQ + 100, SSEQ + 10, 100);
	b = from_server(&c, TCP_ACK, SSEQ + 10, CSEQ + 200, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	c = conn_to(t);
	from_client(&c, TCP_ACK | TCP_FIN, CSEQ, SSEQ, 100);
	CHECK(!rec_of(t, c.sport, IPPROTO_TCP));
	from_client(&c, TCP_RST, CSEQ, 0, 0);
	CHECK(!rec_of(t, c.sport, IPPROTO_TCP));
	test_end();
}

/* ---- time stamps ------------------------------------------------------------------------------ */

static struct when stamped_client(struct conn *c, __u32 val, __u32 echo, size_t len)
{
	c->val = val;
	c->echo = echo;
	return from_client(c, TCP_ACK, CSEQ, SSEQ, len);
}

/* Data that answers nothing: behind what is waited for is only what has not been sent. */
static struct when stamped_server(struct conn *c, __u32 val, __u32 echo, size_t len)
{
	c->val = val;
	c->echo = echo;
	return from_server(c, TCP_ACK, SSEQ - len, CSEQ, len);
}

static void open_stamped(struct conn *c)
{
	c->stamps = true;
	connect_to(c);
	rec_of_conn(c)->match = SSEQ; /* no requests in these tests */
	pause_ms(25);
}

static void test_rtt_server(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a round trip to the server, by time stamps", t->says));
	open_stamped(&c);
	stamped_client(&c, 100, 1, 10); /* others may have had it */
	stamped_server(&c, 1, 100, 0);
	expect_none(t);
	stamped_client(&c, 100, 1, 10);
	stamped_client(&c, 99, 1, 10); /* late */
	a = stamped_client(&c, 101, 1, 10);
	stamped_client(&c, 101, 1, 10);
	pause_ms(3);
	stamped_server(&c, 1, 100, 0);
	expect_none(t);
	b = stamped_server(&c, 1, 101, 0);
	expect_sample(t, WEIR_LAT_RTT_SERVER, a, b);
	stamped_server(&c, 1, 101, 0);
	expect_none(t);
	CHECK(about(rec_of_conn(&c)->rtt_min[0], a, b));
	CHECK_INT(rec_of_conn(&c)->rtt_smooth[0], rec_of_conn(&c)->rtt_min[0]);

	pause_ms(25);
	stamped_client(&c, 102, 1, 10);
	stamped_client(&c, 103, 1, 0); /* nobody hurries to acknowledge that */
	stamped_server(&c, 1, 103, 0);
	expect_none(t);
	stamped_client(&c, 103, 1, 10); /* not the first with it */
	stamped_server(&c, 1, 103, 0);
	expect_none(t);
	stamped_client(&c, 104, 1, 10);
	stamped_server(&c, 1, 105, 0); /* an echo was missed */
	expect_none(t);
	stamped_server(&c, 1, 104, 0);
	expect_none(t);
	test_end();
}

static void test_rtt_client(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a, b;

	test_begin(say("%s: a round trip to the client, by time stamps, as they wrap around", t->says));
	open_stamped(&c);
	stamped_server(&c, -2U, 1, 10);
	stamped_server(&c, -1U, 1, 0);
	stamped_client(&c, 1, -1U, 0);
	expect_none(t);
	a = stamped_server(&c, 0, 1, 10);
	pause_ms(2);
	stamped_client(&c, 1, -1U, 0);
	expect_none(t);
	b = stamped_client(&c, 1, 0, 0);
	expect_sample(t, WEIR_LAT_RTT_CLIENT, a, b);
	CHECK(about(rec_of_conn(&c)->rtt_min[1], a, b));
	CHECK_INT(rec_of_conn(&c)->rtt_min[0], 0);
	stamped_client(&c, 1, 0, 0);
	expect_none(t);
	test_end();
}

static void test_other_options(const struct target *t)
{
	struct conn c = conn_to(t);
	struct tcp tcp = {.seq = CSEQ, .ack = SSEQ, .flags = TCP_ACK, .window = 500, .options = 40};
	struct flow flow = forth(t, c.sport);
	struct weir_flow_rec *rec;
	struct frame f;

	test_begin(say("%s: other options are no time stamps, a header's wrong length is no data", t->says));
	connect_to(&c);
	frame_tcp(&f, &flow, &tcp, some_bytes(), 20);
	send_client(t, &f);
	rec = rec_of_conn(&c);
	CHECK_INT(rec->echo_ns[0], 0);
	CHECK(rec->sent_ns != 0);
	rec->sent_ns = 0;
	tcp.options = 0;
	tcp.ack++;
	frame_tcp(&f, &flow, &tcp, some_bytes(), 10);
	f.b[f.l4 + 12] = 15 << 4; /* longer than the packet */
	frame_fix_l4_csum(&f);
	send_client(t, &f);
	CHECK_INT(rec->sent_ns, 0);
	f.b[f.l4 + 12] = 8 << 4; /* the option would lie outside */
	frame_fix_l4_csum(&f);
	send_client(t, &f);
	CHECK_INT(rec->sent_ns, 0);
	CHECK_INT(rec->echo_ns[0], 0);
	expect_none(t);
	test_end();
}

/* ---- UDP -------------------------------------------------------------------------------------- */

static struct when datagram(const struct target *t, __u16 sport, bool reply, const void *data, size_t len)
{
	struct flow flow = reply ? back(t, sport) : forth(t, sport);
	struct frame f;

	frame_udp(&f, &flow, data, len);
	return reply ? send_server(t, &f) : send_client(t, &f);
}

static void test_udp(const struct target *t)
{
	__u16 sport = free_port(t, IPPROTO_UDP);
	struct weir_flow_rec *rec;
	struct when a, b;

	test_begin(say("%s: UDP, the first datagram after a reply to the next reply", t->says));
	mark(t);
	a = datagram(t, sport, false, "ask", 3);
	pause_ms(2);
	datagram(t, sport, false, "ask", 3);
	pause_ms(2);
	b = datagram(t, sport, true, "tell", 4);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	datagram(t, sport, true, "tell", 4);
	expect_none(t);
	a = datagram(t, sport, false, "ask", 3);
	b = datagram(t, sport, true, "", 0);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	datagram(t, sport, false, "ask", 3);
	sent_long_ago(t, sport, IPPROTO_UDP);
	a = datagram(t, sport, false, "ask", 3);
	expect_unanswered(t, WEIR_LAT_REQUEST, 1, 0);
	b = datagram(t, sport, true, "tell", 4);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	rec = rec_of(t, sport, IPPROTO_UDP);
	if (CHECK(rec != NULL)) {
		CHECK_INT(rec->packets, 5);
		CHECK_INT(rec->bytes, 5 * ((strchr(t->vip, ':') ? 40 : 20) + 8 + 3));
		CHECK_INT(rec->request.n, 3);
		CHECK_INT(rec->lost, 1);
		CHECK_INT(rec->info & 1, 0);
	}
	test_end();
}

static void test_udp_oneway(const struct target *t)
{
	__u16 sport = free_port(t, IPPROTO_UDP);
	struct weir_flow_rec *rec;

	test_begin(say("%s: UDP is counted, but nobody sees replies", t->says));
	mark(t);
	for (int i = 0; i < 3; i++)
		datagram(t, sport, false, "ask", 3);
	expect_none(t);
	rec = rec_of(t, sport, IPPROTO_UDP);
	if (CHECK(rec != NULL)) {
		CHECK_INT(rec->packets, 3);
		CHECK_INT(rec->sent_ns, 0);
	}
	test_end();
}

static struct when request_id(const struct target *t, __u16 sport, __u16 id, const char *text)
{
	struct msg m;

	msg_text(&m, id, text);
	return datagram(t, sport, false, m.b, m.len);
}

static struct when reply_id(const struct target *t, __u16 sport, __u16 id, const char *text)
{
	struct msg m;

	msg_text(&m, id, text);
	return datagram(t, sport, true, m.b, m.len);
}

static void test_ids(const struct target *t)
{
	__u16 sport = free_port(t, IPPROTO_UDP);
	struct when a, b;

	test_begin(say("%s: a cache's request over UDP to the reply with its id", t->says));
	mark(t);
	a = request_id(t, sport, 0x1234, "get foo\r\n");
	pause_ms(2);
	request_id(t, sport, 0x1235, "get bar\r\n"); /* one at a time */
	reply_id(t, sport, 0x1235, "END\r\n");
	reply_id(t, sport, 0x3412, "END\r\n");
	datagram(t, sport, true, "\x12\x34", 2);
	expect_none(t);
	pause_ms(2);
	b = reply_id(t, sport, 0x1234, "END\r\n");
	expect_sample(t, WEIR_LAT_MISS, a, b);
	reply_id(t, sport, 0x1234, "END\r\n");
	expect_none(t);
	a = request_id(t, sport, 0x1234, "get foo bar\r\n");
	b = reply_id(t, sport, 0x1234, "END\r\n");
	expect_sample(t, WEIR_LAT_MISS, a, b);
	request_id(t, sport, 7, "get foo\r\n");
	sent_long_ago(t, sport, IPPROTO_UDP);
	a = request_id(t, sport, 8, "get foo\r\n");
	expect_unanswered(t, WEIR_LAT_MISS, 1, 0);
	reply_id(t, sport, 7, "END\r\n");
	expect_none(t);
	b = reply_id(t, sport, 8, "END\r\n");
	expect_sample(t, WEIR_LAT_MISS, a, b);
	test_end();
}

/* What may have no reply, or is no lookup. */
static void test_not_waited(const struct target *t)
{
	static const char *const texts[] = {
		"mg foo v q\r\n", "set foo 0 0 1 noreply\r\nx\r\n", "set foo 0 0 1\r\nx\r\n",
		"nonsense\r\n",	"quit\r\n",
	};
	const struct bin quiet = {.op = 0x09, .key = "foo"};
	__u16 sport = free_port(t, IPPROTO_UDP);
	struct msg m;

	test_begin(say("%s: quiet lookups, writes and what is not understood are not waited for", t->says));
	mark(t);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		request_id(t, sport, 1, texts[i]);
	msg_bin(&m, 1, &quiet);
	datagram(t, sport, false, m.b, m.len);
	reply_id(t, sport, 1, "END\r\n");
	expect_none(t);
	if (CHECK(rec_of(t, sport, IPPROTO_UDP) != NULL))
		CHECK_INT(rec_of(t, sport, IPPROTO_UDP)->packets, sizeof(texts) / sizeof(*texts) + 1);
	test_end();
}

/* The shard of `get KEY` is the key's: b1 and b2 are tried. */
static void test_shards(void)
{
	struct target t = users;
	struct when a, b;
	__u16 sport;

	test_begin("a shard's replies belong to the client's flow to that shard");
	for (int i = 0; i < 8; i++) {
		static const char *const gets[] = {"get a\r\n", "get b\r\n", "get c\r\n", "get d\r\n"};
		struct weir_flow_rec *all = recs();

		memset(all, 0, maps_ctl(maps())->flow_recs * sizeof(*all));
		sport = 30000 + i;
		t = users;
		mark(&t);
		a = request_id(&t, sport, 5, gets[i / 2]);
		pause_ms(1);
		for (int k = 0; k < 1024; k++)
			if (all[k].hash && all[k].backend == backend_of("users", "b2"))
				t.backend = "b2", t.server = "10.20.0.3";
		mark(&t);
		b = reply_id(&t, sport, 5, "END\r\n");
		expect_sample(&t, WEIR_LAT_MISS, a, b);
	}
	test_end();
}

/* ---- hits ------------------------------------------------------------------------------------- */

static void test_hits(void)
{
	struct hot_item hot = {
		.svc = LOCAL, .key = "hot", .key_len = 3, .value = "value", .value_len = 5, .expires_ns = WEIR_NEVER};
	struct weir_histogram was, is;
	struct outcome o;
	struct frame f;
	struct flow flow = forth(LOCAL_T, 20001);
	struct msg m;

	test_begin("hits are timed, the first packet of a tick");
	hot.fence = hotset_fence(edge.s.h, LOCAL, "hot", 3);
	CHECK(hotset_put(edge.s.h, &hot) >= 0);
	msg_text(&m, 1, "get hot\r\n");
	frame_udp(&f, &flow, m.b, m.len);
	read_histogram(LOCAL, WEIR_LAT_HIT, &was);
	for (int i = 0; i < 10; i++) {
		pause_ms(25);
		CHECK_INT(edge_send(&f, &o), XDP_TX);
	}
	read_histogram(LOCAL, WEIR_LAT_HIT, &is);
	CHECK_INT(total(&is) - total(&was), 10);
	CHECK(is.sum_ns - was.sum_ns > 10 * 20 && is.sum_ns - was.sum_ns < 10 * 5000000ULL);
	was = is;
	for (int i = 0; i < 1000; i++)
		edge_send(&f, &o);
	read_histogram(LOCAL, WEIR_LAT_HIT, &is);
	CHECK(total(&is) - total(&was) < 500);
	test_end();
}

/* ---- whose element ---------------------------------------------------------------------------- */

static void test_elements(const struct target *t)
{
	struct conn c = conn_to(t), other = c;
	struct weir_flow_rec *rec;

	test_begin(say("%s: who comes later is not measured, until the element is free", t->says));
	other.sport = port_beside(t, c.sport, IPPROTO_TCP);
	connect_to(&c);
	rec = rec_of_conn(&c);
	connect_to(&other);
	from_client(&other, TCP_ACK, CSEQ, SSEQ, 100);
	from_server(&other, TCP_ACK, SSEQ, CSEQ + 100, 100);
	expect_none(t);
	CHECK(rec_of(t, c.sport, IPPROTO_TCP) == rec);
	CHECK_INT(rec->packets, 2);
	age_record(rec, WEIR_REC_IDLE / 2);
	from_client(&other, TCP_ACK, CSEQ, SSEQ, 100);
	CHECK(rec_of(t, c.sport, IPPROTO_TCP) == rec);
	age_record(rec, WEIR_REC_IDLE / 2 + 1);
	from_client(&other, TCP_ACK, CSEQ, SSEQ, 100);
	CHECK(rec_of(t, other.sport, IPPROTO_TCP) == rec);
	CHECK_INT(rec->packets, 1);
	CHECK_INT(rec->connect_us, 0);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	CHECK(rec_of(t, other.sport, IPPROTO_TCP) == rec);
	from_client(&other, TCP_ACK | TCP_FIN, CSEQ, SSEQ, 0);
	CHECK_INT(rec->state, WEIR_REC_OVER);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	CHECK(rec_of(t, c.sport, IPPROTO_TCP) == rec);
	expect_none(t);
	test_end();
}

static void test_waiting_keeps(const struct target *t)
{
	struct conn c = conn_to(t), other = c;
	struct weir_flow_rec *rec;

	test_begin(say("%s: a request that waits keeps its element, one that is lost does not", t->says));
	other.sport = port_beside(t, c.sport, IPPROTO_TCP);
	connect_to(&c);
	rec = rec_of_conn(&c);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	rec->seen -= 2 * WEIR_REC_IDLE;
	mark(t);
	from_client(&other, TCP_ACK, CSEQ, SSEQ, 100);
	CHECK(rec_of(t, c.sport, IPPROTO_TCP) == rec);
	expect_none(t);
	sent_long_ago(t, c.sport, IPPROTO_TCP);
	from_client(&other, TCP_SYN, CSEQ - 1, 0, 0);
	CHECK(rec_of(t, other.sport, IPPROTO_TCP) == rec);
	expect_unanswered(t, WEIR_LAT_REQUEST, 1, 0);
	CHECK_INT(rec->state, WEIR_REC_SYN);
	CHECK_INT(rec->lost, 0);
	age_record(rec, 2 * WEIR_REC_IDLE); /* a SYN that nobody answered */
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	CHECK(rec_of(t, c.sport, IPPROTO_TCP) == rec);
	expect_unanswered(t, WEIR_LAT_CONNECT_SERVER, 1, 0);
	from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
	mark(t);
	age_record(rec, 2 * WEIR_REC_IDLE); /* and a SYN-ACK that the client did not: it may be forged */
	from_client(&other, TCP_SYN, CSEQ - 1, 0, 0);
	CHECK(rec_of(t, other.sport, IPPROTO_TCP) == rec);
	expect_none(t);
	test_end();
}

static void test_syn_in_flow(const struct target *t)
{
	struct conn c = conn_to(t);
	struct weir_flow_rec *rec;
	struct when a, b;

	test_begin(say("%s: a SYN begins a new flow where the old one is over or idle, else it is late", t->says));
	connect_to(&c);
	rec = rec_of_conn(&c);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
	CHECK_INT(rec->state, WEIR_REC_OPEN);
	CHECK_INT(rec->packets, 3);
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	b = from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 100);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	from_client(&c, TCP_ACK | TCP_FIN, CSEQ + 100, SSEQ + 100, 0);
	a = from_client(&c, TCP_SYN, 77, 0, 0);
	CHECK_INT(rec->state, WEIR_REC_SYN);
	CHECK_INT(rec->packets, 1);
	CHECK_INT(rec->request.n, 0);
	b = from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, 78, 0);
	expect_sample(t, WEIR_LAT_CONNECT_SERVER, a, b);
	from_client(&c, TCP_ACK, 78, SSEQ, 0);
	age_record(rec, WEIR_REC_IDLE + 2);
	from_client(&c, TCP_SYN, 99, 0, 0);
	CHECK_INT(rec->state, WEIR_REC_SYN);
	CHECK_INT(rec->packets, 1);
	test_end();
}

/* ---- counts, fragments ------------------------------------------------------------------------ */

static void test_counts(const struct target *t)
{
	struct conn c = conn_to(t);
	unsigned ip = strchr(t->vip, ':') ? 40 : 20;
	struct weir_flow_rec *rec;
	__u64 from = now_ns(), to;

	test_begin(say("%s: the client's packets, bytes, and when", t->says));
	connect_to(&c);
	rec = rec_of_conn(&c);
	CHECK_INT(rec->packets, 2);
	CHECK_INT(rec->bytes, 2 * (ip + 20));
	for (int i = 0; i < 5; i++)
		from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	pause_ms(30);
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 0);
	to = now_ns();
	CHECK_INT(rec->packets, 8);
	CHECK_INT(rec->bytes, 8 * (ip + 20) + 500);
	CHECK(rec->first >= (__u32)(from >> WEIR_REC_TIME) - 12); /* the coarse clock is late */
	CHECK(rec->first <= (__u32)(to >> WEIR_REC_TIME) - 20);
	CHECK(rec->seen >= rec->first + 15 && rec->seen <= (__u32)(to >> WEIR_REC_TIME));
	CHECK_INT(rec->info >> 10 & 63, t->svc);
	CHECK_INT(rec->info & 3, (ip == 40) << 1 | 1);
	CHECK_INT(rec->info >> 16 & 0xffff, htons(c.sport));
	test_end();
}

static void test_fragments(const struct target *t)
{
	struct conn c = conn_to(t);
	struct weir_flow_rec was, *rec;

	test_begin(say("%s: fragments are not measured", t->says));
	connect_to(&c);
	rec = rec_of_conn(&c);
	was = *rec;
	c.fragment = true;
	from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
	from_client(&c, TCP_RST, CSEQ, SSEQ, 100);
	CHECK(!memcmp(&was, rec, sizeof(was)));
	if (!t->server || *t->server) {
		from_server(&c, TCP_RST, SSEQ, CSEQ, 100);
		CHECK(!memcmp(&was, rec, sizeof(was)));
	}
	c.sport = free_port(t, IPPROTO_TCP);
	from_client(&c, TCP_SYN, CSEQ - 1, 0, 100);
	CHECK(!rec_of(t, c.sport, IPPROTO_TCP));
	expect_none(t);
	test_end();
}

/* ---- several CPUs ----------------------------------------------------------------------------- */

#define ROUNDS	 1500
#define REPLY_NS 300000 /* a reply comes no sooner after its request */

static struct crowd {
	const struct target *t;
	__u16 sport;
	volatile __u32 asked, replied;
	volatile bool stop;
} crowd;

static void ask(__u32 i)
{
	struct conn c = {.t = crowd.t, .sport = crowd.sport};

	from_client(&c, TCP_ACK, CSEQ + i, SSEQ + i, 1);
}

/* The request once more, again and again, on another CPU. */
static void *ask_again(void *arg)
{
	while (!crowd.stop) {
		if (crowd.asked)
			ask(crowd.asked - 1);
	}
	return NULL;
}

static void *reply_all(void *arg)
{
	struct conn c = {.t = crowd.t, .sport = crowd.sport};

	for (__u32 i = 0; i < ROUNDS; i++) {
		__u64 since;

		while (crowd.asked <= i)
			sched_yield();
		for (since = now_ns(); now_ns() - since < REPLY_NS;)
			;
		from_server(&c, TCP_ACK, SSEQ + i, CSEQ + i + 1, 1);
		crowd.replied = i + 1;
	}
	return NULL;
}

/* Requests, each sent many times and on two CPUs, and their replies: no sample is less than the truth. */
static void test_crowd(const struct target *t)
{
	struct conn c = conn_to(t);
	struct weir_histogram was, is;
	pthread_t again, reply;
	cpu_set_t all, one;
	__u64 early = 0;

	test_begin(say("%s: on several CPUs at once a sample may be missing, but is never wrong", t->says));
	connect_to(&c);
	read_histogram(t->svc, WEIR_LAT_REQUEST, &was);
	crowd = (struct crowd){.t = t, .sport = c.sport};
	sched_getaffinity(0, sizeof(one), &one);
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	pthread_create(&again, NULL, ask_again, NULL);
	pthread_create(&reply, NULL, reply_all, NULL);
	for (__u32 i = 0; i < ROUNDS; i++) {
		ask(i);
		crowd.asked = i + 1;
		while (crowd.replied <= i)
			sched_yield();
	}
	crowd.stop = true;
	pthread_join(reply, NULL);
	pthread_join(again, NULL);
	sched_setaffinity(0, sizeof(one), &one);
	read_histogram(t->svc, WEIR_LAT_REQUEST, &is);
	for (__u32 i = 0; i < weir_lat_bucket(REPLY_NS); i++)
		early += is.n[i] - was.n[i];
	CHECK_INT(early, 0);
	if (!CHECK(total(&is) - total(&was) <= ROUNDS && total(&is) - total(&was) > ROUNDS * 8 / 10))
		printf("# %llu samples of %d requests\n", total(&is) - total(&was), ROUNDS);
	CHECK_INT(is.failed - was.failed, 0);
	test_end();
}

/* ---- sampling --------------------------------------------------------------------------------- */

/* As if an interval had passed. */
static void interval_later(const struct target *t, __u16 sport, __u8 proto)
{
	struct weir_flow_rec *rec = rec_of(t, sport, proto);

	if (CHECK(rec != NULL))
		rec->next = rec->seen;
}

static void test_interval(const struct target *t)
{
	struct conn c = conn_to(t);
	struct when a = {}, b = {};
	__u32 at = 0;

	test_begin(say("%s: a sample, and then none for an interval", t->says));
	connect_to(&c);
	for (int i = 0; i < 10; i++) {
		struct when s = from_client(&c, TCP_ACK, CSEQ + at, SSEQ + at, 10), e;

		pause_ms(1);
		e = from_server(&c, TCP_ACK, SSEQ + at, CSEQ + at + 10, 10);
		at += 10;
		if (!i)
			a = s, b = e;
	}
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	interval_later(t, c.sport, IPPROTO_TCP);
	from_client(&c, TCP_ACK, CSEQ + at - 10, SSEQ + at - 10, 10); /* a part of the last one, once more */
	from_server(&c, TCP_ACK, SSEQ + at, CSEQ + at, 10);
	expect_none(t);
	a = from_client(&c, TCP_ACK, CSEQ + at, SSEQ + at + 10, 10);
	b = from_server(&c, TCP_ACK, SSEQ + at + 10, CSEQ + at + 10, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	test_end();
}

static void test_interval_udp(const struct target *t)
{
	__u16 sport = free_port(t, IPPROTO_UDP);
	struct when a = {}, b = {};

	test_begin(say("%s: the same with UDP", t->says));
	mark(t);
	for (int i = 0; i < 10; i++) {
		struct when s = request_id(t, sport, i, "get foo\r\n"), e;

		pause_ms(1);
		e = reply_id(t, sport, i, "END\r\n");
		if (!i)
			a = s, b = e;
	}
	expect_sample(t, t->svc == LOCAL ? WEIR_LAT_MISS : WEIR_LAT_REQUEST, a, b);
	if (t->svc != LOCAL) { /* not a request's first */
		request_id(t, sport, 50, "get foo\r\n");
		interval_later(t, sport, IPPROTO_UDP);
		request_id(t, sport, 50, "get foo\r\n");
		reply_id(t, sport, 50, "END\r\n");
		expect_none(t);
	}
	interval_later(t, sport, IPPROTO_UDP);
	a = request_id(t, sport, 99, "get foo\r\n");
	b = reply_id(t, sport, 99, "END\r\n");
	expect_sample(t, t->svc == LOCAL ? WEIR_LAT_MISS : WEIR_LAT_REQUEST, a, b);
	test_end();
}

/* What is sampled takes round trips along, both ways: when a request begins, and when it ends. */
static void test_along(const struct target *t)
{
	struct conn c = conn_to(t);
	struct weir_flow_rec *rec;
	struct when a, b;

	test_begin(say("%s: a request's sample takes time stamps along", t->says));
	c.stamps = true;
	connect_to(&c);
	rec = rec_of_conn(&c);
	c.val = 10;
	c.echo = 20;
	a = from_client(&c, TCP_ACK, CSEQ, SSEQ, 10);
	CHECK_INT(rec->echo_ns[0], WEIR_REC_LOOKING);
	CHECK_INT(rec->echo_ns[1], 0);
	c.val = 20;
	c.echo = 10;
	b = from_server(&c, TCP_ACK, SSEQ, CSEQ + 10, 10);
	expect_sample(t, WEIR_LAT_REQUEST, a, b);
	CHECK_INT(rec->echo_ns[1], WEIR_REC_LOOKING);
	c.val = 11;
	c.echo = 20;
	a = from_client(&c, TCP_ACK, CSEQ + 10, SSEQ + 10, 10);
	pause_ms(2);
	c.val = 21;
	c.echo = 11;
	b = from_server(&c, TCP_ACK, SSEQ + 10, CSEQ + 20, 10);
	expect_sample(t, WEIR_LAT_RTT_SERVER, a, b);
	pause_ms(2);
	c.val = 12;
	c.echo = 21;
	a = from_client(&c, TCP_ACK, CSEQ + 20, SSEQ + 20, 0);
	expect_sample(t, WEIR_LAT_RTT_CLIENT, b, a);
	from_client(&c, TCP_ACK, CSEQ + 20, SSEQ + 20, 10);
	from_server(&c, TCP_ACK, SSEQ + 20, CSEQ + 30, 10);
	expect_none(t);
	CHECK_INT(rec->flags & (WEIR_REC_LOOK_C | WEIR_REC_LOOK_S), 0);
	test_end();
}

/* An upload and a download: no requests, but time stamps, now and then. */
static void test_bulk(const struct target *t, bool up)
{
	struct conn c = conn_to(t);
	struct weir_histogram h;
	__u64 start, n;
	int path = up ? WEIR_LAT_RTT_SERVER : WEIR_LAT_RTT_CLIENT;

	test_begin(say("%s: %s is measured by its time stamps, once an interval", t->says,
		       up ? "an upload" : "a download"));
	open_stamped(&c);
	read_histogram(t->svc, path, &h);
	n = total(&h);
	start = now_ns();
	for (__u32 i = 1; now_ns() - start < 700000000; i++) {
		if (up) {
			stamped_client(&c, i, i, 100);
			stamped_server(&c, i, i, 0);
		} else {
			stamped_server(&c, i, i, 100);
			stamped_client(&c, i, i, 0);
		}
		pause_ms(2);
	}
	read_histogram(t->svc, path, &h);
	n = total(&h) - n;
	if (!CHECK(n >= 2 && n <= (now_ns() - start) / 50000000))
		printf("# %llu samples in %llu ms\n", n, (now_ns() - start) / 1000000);
	test_end();
}

static void test_upload(const struct target *t)
{
	test_bulk(t, true);
}

static void test_download(const struct target *t)
{
	test_bulk(t, false);
}

/* A flood of new flows: in a tick of the coarse clock no more than 64 are begun to be measured. */
static void test_flood(const struct target *t)
{
	static unsigned short in_tick[1 << 16];
	struct flow flow = forth(t, 1);
	unsigned most = 0, measured = 0, n = maps_ctl(maps())->flow_recs;
	struct outcome o;
	struct frame f;

	memset(in_tick, 0, sizeof(in_tick));
	test_begin(say("%s: of a flood of new flows only so many are measured", t->says));
	flow.no_csum = true;
	frame_udp(&f, &flow, "ask", 3);
	for (__u16 port = 1000; port < 31000; port++) {
		f.b[f.l4] = port >> 8;
		f.b[f.l4 + 1] = port;
		edge_send(&f, &o);
	}
	for (unsigned i = 0; i < n; i++) {
		struct weir_flow_rec *rec = &recs()[i];
		unsigned now = rec->hash ? ++in_tick[rec->first & 0xffff] : 0;

		most = now > most ? now : most;
		measured += rec->hash != 0;
	}
	CHECK(most <= 64 && measured > 64);
	printf("# %u of 30000 measured, at most %u in a tick\n", measured, most);
	test_end();
}

/* ---- all at once ------------------------------------------------------------------------------ */

static void test_off(void)
{
	struct weir_histogram h = {};
	__u32 zero = 0;

	test_begin("switched off, nothing is counted");
	CHECK_INT(maps_ctl(maps())->flow_recs, 0);
	for (size_t i = 0; i < TARGETS; i++) {
		const struct target *t = &targets[i];
		struct conn c = {.t = t, .sport = 40000};

		from_client(&c, TCP_SYN, CSEQ - 1, 0, 0);
		if (!is_oneway(t))
			from_server(&c, TCP_SYN | TCP_ACK, SSEQ - 1, CSEQ, 0);
		from_client(&c, TCP_ACK, CSEQ, SSEQ, 100);
		if (!is_oneway(t))
			from_server(&c, TCP_ACK, SSEQ, CSEQ + 100, 100);
		request_id(t, 40000, 1, "get foo\r\n");
	}
	CHECK(!recs()[0].hash && !recs()[0].packets);
	memset(&h, 0, sizeof(h));
	{
		struct weir_histogram of[maps_ctl(maps())->ncpu];

		CHECK_INT(bpf_map_lookup_elem(maps()->fd[MAP_LATENCY], &zero, of), 0);
		for (__u32 cpu = 0; cpu < maps_ctl(maps())->ncpu; cpu++)
			CHECK(!memcmp(&of[cpu], &h, sizeof(h)));
	}
	test_end();
}

/* What both programs have in common. */
static void both_ways(void)
{
	each(false, test_handshake);
	each(false, test_syn_again);
	each(false, test_refused);
	each(false, test_request);
	each(false, test_long_request);
	each(false, test_disorder);
	each(false, test_wrap);
	each(false, test_ends);
	each(false, test_lost);
	each(false, test_unseen_reply);
	each(false, test_midway);
	each(false, test_rtt_server);
	each(false, test_rtt_client);
	each(false, test_other_options);
	each(false, test_elements);
	each(false, test_waiting_keeps);
	each(false, test_syn_in_flow);
	each(false, test_counts);
	each(false, test_fragments);
	if (!emulated()) /* its guests have one CPU */
		each(false, test_crowd);
	for (int i = 0; i < 2; i++) { /* over IPv4 and IPv6 */
		test_ids(LOCAL_T + i);
		test_not_waited(LOCAL_T + i);
	}
	test_hits();
}

int main(void)
{
	make_host();
	open_with(yaml_text, EACH);
	both_ways();
	each(true, test_handshake_oneway);
	each(true, test_syn_again_oneway);
	each(true, test_request_oneway);
	each(true, test_counts);
	each(true, test_fragments);
	each(true, test_udp_oneway);
	test_udp(NAT_T);
	test_udp(NAT_T + 1);
	test_shards();
	edge_close();
	open_with(local_text, EACH); /* weir_rx, without steering */
	both_ways();
	edge_close();
	open_with(yaml_text, SELDOM);
	each(false, test_interval);
	each(false, test_along);
	test_interval_udp(NAT_T);
	test_interval_udp(LOCAL_T);
	edge_close();
	open_with(yaml_text, NOW_THEN);
	if (emulated()) {
		test_upload(NAT_T);
		test_download(LOCAL_T);
	} else {
		each(false, test_upload);
		each(false, test_download);
	}
	edge_close();
	open_with(yaml_text, "flows: 32K");
	test_flood(NAT_T);
	test_flood(DSR_T);
	edge_close();
	open_with(yaml_text, OFF);
	test_off();
	edge_close();
	return test_done();
}
