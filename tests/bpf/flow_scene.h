/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections through weir_rx: a pool of backends, packets of many clients, and where each went. L2 and
 * tunnelled packets tell their backend by the MAC address that they leave with, translated ones by their
 * destination. In a header, since the harness keeps its state in the file that includes it.
 */
#ifndef WEIR_TEST_FLOW_SCENE_H
#define WEIR_TEST_FLOW_SCENE_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdlib.h>

#include "flows.h"
#include "packet.h"
#include "rx_fixture.h"
#include "test.h"
#include "weir/reason.h"

#define VIP      0xc0000201 /* 192.0.2.1 */
#define VIP_PORT 80
#define CLIENTS  0x0a010000 /* 10.1.0.0/16 */
#define BACKENDS 0x0a080001 /* the first one's address: 10.8.0.1, .2, .. */

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

/* Where a packet went, when not to a backend. */
#define TO_NOBODY (-1) /* dropped */
#define TO_HOST   (-2)
#define TO_SENDER (-3) /* answered */
#define TO_ERROR  (-4)

struct flow_scene {
	struct rx_fixture *fx;
	const struct pools_mem *m;
	int fd; /* of the program */
	bool nat;
};

/* ---- configurations --------------------------------------------------------------------------- */

struct text {
	char s[64 * 1024];
	size_t len;
};

static inline void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->len += vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
	if (t->len >= sizeof(t->s))
		abort();
}

static inline void add_address(struct text *t, int i)
{
	__u32 a = BACKENDS + i;

	add(t, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

static inline void begin_yaml(struct text *t, unsigned flows)
{
	t->len = 0;
	add(t,
	    "interfaces: [{name: eth0}]\n"
	    "cache: {capacity: 64, memory: 64K}\n"
	    "flows: {capacity: %u}\n"
	    "pools:\n",
	    flows);
}

/* `how` of the pool: more of its fields, each on a line of its own and indented by four. */
static inline void add_pool(struct text *t, const char *name, const char *how)
{
	add(t, "  - name: %s\n%s    backends:\n", name, how);
}

/* `more`: ", capacity: 50" and the like. */
static inline void add_backend(struct text *t, int i, const char *more)
{
	add(t, "      - {name: b%d, address: ", i);
	add_address(t, i);
	add(t, "%s}\n", more);
}

static inline void add_service(struct text *t, const char *pool, const char *how)
{
	add(t,
	    "services:\n"
	    "  - name: web\n"
	    "    vips: ['192.0.2.1:%u']\n"
	    "    pool: %s\n%s",
	    VIP_PORT, pool, how);
}

/* A pool of n equal backends, all protocols. */
static inline void plain_yaml(struct text *t, unsigned flows, int n, const char *how)
{
	begin_yaml(t, flows);
	add_pool(t, "web", how);
	for (int i = 0; i < n; i++)
		add_backend(t, i, "");
	add_service(t, "web", "    protocol: both\n");
}

/* ---- the scene -------------------------------------------------------------------------------- */

/* Next hops as if looked up just now. They last for half a minute: the FIB here knows none. */
static inline void know_hops(struct flow_scene *s)
{
	int ncpu = libbpf_num_possible_cpus();
	struct weir_hop hop[ncpu];
	__u32 tick = flows_tick();

	memset(hop, 0, sizeof(hop));
	for (__u32 b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (!s->m->backends[b].family)
			continue;
		for (int i = 0; i < ncpu; i++)
			hop[i] = (struct weir_hop){.tick = tick,
						   .asked = tick,
						   .ifindex = 1,
						   .mtu = 1500,
						   .dst = {0x06, 0x57, 0, 0, b >> 8, b}};
		bpf_map_update_elem(s->m->hops_fd, &b, hop, BPF_ANY);
	}
}

static inline void flow_scene_open(struct flow_scene *s, const struct text *yaml)
{
	int err = rx_fixture_open_yaml(&s->fx, yaml->s, 1500);

	if (err) {
		printf("Bail out! cannot load: %s\n", strerror(-err));
		exit(1);
	}
	s->m = &rx_fixture_maps(s->fx)->pools;
	s->fd = bpf_program__fd(rx_fixture_prog(s->fx));
	s->nat = s->m->backends[0].via == WEIR_VIA_NAT;
	know_hops(s);
}

static inline void flow_scene_close(struct flow_scene *s)
{
	rx_fixture_close(s->fx);
}

static inline void use_cpus(unsigned long mask)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < 64; i++)
		if (mask >> i & 1)
			CPU_SET(i, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* ---- packets ---------------------------------------------------------------------------------- */

struct peer {
	__u32 addr; /* host order */
	__u16 port;
};

struct wire {
	__u8 b[512];
	size_t len;
};

struct sent {
	int action; /* XDP_* */
	struct wire out;
};

static inline void put16(__u8 *at, __u16 v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static inline void put32(__u8 *at, __u32 v)
{
	put16(at, v >> 16);
	put16(at + 2, v);
}

static inline __u32 get32(const __u8 *at)
{
	return (__u32)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* Ethernet and IPv4; `len` bytes follow. */
static inline void put_ip(struct wire *w, struct peer from, struct peer to, __u8 proto, size_t len)
{
	static const __u8 eth[14] = {0x02, 0, 0, 0, 0x5e, 0x47, 0x02, 0, 0, 0, 0xc1, 0x1e, 0x08, 0};
	__u8 *ip = w->b + 14;

	memset(w->b, 0, 14 + 20 + 20);
	memcpy(w->b, eth, 14);
	ip[0] = 0x45;
	put16(ip + 2, 20 + len);
	ip[8] = 63;
	ip[9] = proto;
	put32(ip + 12, from.addr);
	put32(ip + 16, to.addr);
	put16(ip + 10, rfc1071(ip, 20));
	put16(ip + 20, from.port);
	put16(ip + 22, to.port);
	w->len = 14 + 20 + len;
}

static inline void put_tcp(struct wire *w, struct peer from, struct peer to, __u8 flags)
{
	put_ip(w, from, to, IPPROTO_TCP, 20);
	w->b[14 + 20 + 12] = 5 << 4;
	w->b[14 + 20 + 13] = flags;
}

static inline void put_udp(struct wire *w, struct peer from, struct peer to, const void *data, size_t len)
{
	put_ip(w, from, to, IPPROTO_UDP, 8 + len);
	put16(w->b + 14 + 20 + 4, 8 + len);
	memcpy(w->b + 14 + 20 + 8, data, len);
}

static inline void run_wire(struct flow_scene *s, const struct wire *w, struct sent *to)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = w->b, .data_size_in = w->len, .data_out = to->out.b,
		    .data_size_out = sizeof(to->out.b), .repeat = 1);
	int err = bpf_prog_test_run_opts(s->fd, &opts);

	to->action = err ? -1 : (int)opts.retval;
	to->out.len = err ? 0 : opts.data_size_out;
}

static inline int backend_at(const struct flow_scene *s, __u32 addr)
{
	for (int b = 0; b < WEIR_BACKENDS_MAX; b++)
		if (s->m->backends[b].family == 4 && ntohl(s->m->backends[b].addr.w[0]) == addr)
			return b;
	return TO_ERROR;
}

/* The backend that the frame went to, or TO_*. */
static inline int went_to(const struct flow_scene *s, const struct sent *to)
{
	static const __u8 sender[6] = {0x02, 0, 0, 0, 0xc1, 0x1e};
	const __u8 *b = to->out.b;

	if (to->action == XDP_DROP)
		return TO_NOBODY;
	if (to->action == XDP_PASS)
		return TO_HOST;
	if ((to->action != XDP_TX && to->action != XDP_REDIRECT) || to->out.len < 34)
		return TO_ERROR;
	if (!memcmp(b, sender, 6))
		return TO_SENDER;
	if (s->nat)
		return backend_at(s, get32(b + 14 + 16));
	return b[0] == 0x06 && b[1] == 0x57 ? b[4] << 8 | b[5] : TO_ERROR;
}

static inline int send_wire(struct flow_scene *s, const struct wire *w)
{
	struct sent to;

	run_wire(s, w, &to);
	return went_to(s, &to);
}

static const struct peer vip = {VIP, VIP_PORT};

static inline int send_tcp(struct flow_scene *s, struct peer from, __u8 flags)
{
	struct wire w;

	put_tcp(&w, from, vip, flags);
	return send_wire(s, &w);
}

static inline int send_udp(struct flow_scene *s, struct peer from, const void *data, size_t len)
{
	struct wire w;

	put_udp(&w, from, vip, data, len);
	return send_wire(s, &w);
}

/* A handshake; the SYN's backend, or TO_ERROR when the ACK went elsewhere. */
static inline int connect_tcp(struct flow_scene *s, struct peer from)
{
	int b = send_tcp(s, from, SYN);

	return send_tcp(s, from, ACK) == b ? b : TO_ERROR;
}

/* ---- the table -------------------------------------------------------------------------------- */

static inline __u32 active_of(const struct flow_scene *s, int backend)
{
	struct weir_member *m =
		&s->m->pools[backend / WEIR_POOL_BACKENDS].member[backend % WEIR_POOL_BACKENDS];

	return __atomic_load_n(&m->active, __ATOMIC_SEQ_CST);
}

/* A flow's word, found by who is said to be the client; NULL: not in the table. */
static inline __u64 *word_of(const struct flow_scene *s, struct peer from, bool tcp)
{
	__u64 info = (__u64)htonl(from.addr) << 32 | (__u64)htons(from.port) << 16 | tcp;

	for (__u32 b = 0; b < s->m->ctl->flow_buckets; b++)
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++)
			if (s->m->flows[b].info[i] == info && s->m->flows[b].word[i])
				return &s->m->flows[b].word[i];
	return NULL;
}

/* WEIR_FLOW_*, 0: not in the table. */
static inline unsigned state_of(const struct flow_scene *s, struct peer from, bool tcp)
{
	__u64 *word = word_of(s, from, tcp);

	return word ? weir_flow_state(*word) : 0;
}

/* All flows as if their last packet came `ticks` earlier. */
static inline void age(const struct flow_scene *s, __u32 ticks)
{
	for (__u32 b = 0; b < s->m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *at = &s->m->flows[b].word[i], old = *at, new;

			do {
				new = (old & ~(__u64)WEIR_TICK_MASK) | ((old - ticks) & WEIR_TICK_MASK);
			} while (old && !__atomic_compare_exchange_n(at, &old, new, false, __ATOMIC_SEQ_CST,
								     __ATOMIC_SEQ_CST));
		}
	}
}

static inline void sweep(const struct flow_scene *s, struct flows_swept *swept)
{
	memset(swept, 0, sizeof(*swept));
	flows_sweep(s->m, 0, s->m->ctl->flow_buckets, swept);
}

static inline void forget_all(const struct flow_scene *s)
{
	struct flows_swept swept;

	age(s, 7900);
	sweep(s, &swept);
}

static inline void recount(const struct flow_scene *s, __u32 *n)
{
	memset(n, 0, WEIR_BACKENDS_MAX * sizeof(*n));
	for (__u32 b = 0; b < s->m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 word = s->m->flows[b].word[i];

			n[weir_flow_backend(word)] += weir_flow_counts(weir_flow_state(word));
		}
	}
}

/* Whether each backend's count is the number of its flows in the table that count. */
static inline bool counts_hold(const struct flow_scene *s)
{
	__u32 n[WEIR_BACKENDS_MAX];

	recount(s, n);
	for (int b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (active_of(s, b) != n[b]) {
			printf("# backend %d: %u active, %u in the table\n", b, active_of(s, b), n[b]);
			return false;
		}
	}
	return true;
}

static inline unsigned long total_active(const struct flow_scene *s)
{
	unsigned long sum = 0;

	for (int b = 0; b < WEIR_BACKENDS_MAX; b++)
		sum += active_of(s, b);
	return sum;
}

/* ---- chance ----------------------------------------------------------------------------------- */

/* splitmix64. */
static inline __u64 random_next(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline unsigned below(__u64 *state, unsigned n)
{
	return (random_next(state) >> 32) * n >> 32;
}

/* Many have an address in common. i below two millions. */
static inline struct peer client(unsigned i)
{
	return (struct peer){CLIENTS + 1 + i % 500, 1024 + i / 500 + i % 7 * 5000};
}

#endif
