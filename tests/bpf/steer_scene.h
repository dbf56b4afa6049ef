/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An edge host for tests of steering: two interfaces with routes and neighbours, services 1.. with pools behind
 * them, and one packet from an interface through weir_rx. In a header, as scene.h.
 *
 *	eth0 (10.8.0.254, fd08::fe, MTU 1500)  clients behind 10.8.0.99; backends 10.8.0.x, 10.20.0.x
 *	eth1 (10.9.0.254, fd09::fe, MTU 1400)  backends 10.9.0.x, 10.21.0.x
 */
#ifndef WEIR_TEST_STEER_SCENE_H
#define WEIR_TEST_STEER_SCENE_H

#include <arpa/inet.h>
#include <net/if.h>
#include <stdarg.h>
#include <time.h>

#include "flows.h"
#include "scene.h"

#define MAC_EDGE0  ((const __u8[6]){0x02, 0, 0, 0, 0x5e, 0x47}) /* as the frames' builder has them */
#define MAC_EDGE1  ((const __u8[6]){0x02, 0, 0, 0, 0x5e, 0x48})
#define MAC_CLIENT ((const __u8[6]){0x02, 0, 0, 0, 0xc1, 0x1e})
#define MAC_A4     ((const __u8[6]){0x02, 0, 0, 0, 0xb8, 0x04}) /* 10.8.0.1, which routes to 10.20.0.0/16 */
#define MAC_A6     ((const __u8[6]){0x02, 0, 0, 0, 0xb8, 0x06})
#define MAC_B4     ((const __u8[6]){0x02, 0, 0, 0, 0xb9, 0x04}) /* 10.9.0.1, which routes to 10.21.0.0/16 */
#define MAC_B6     ((const __u8[6]){0x02, 0, 0, 0, 0xb9, 0x06})

#define STEER_CLIENT4 "198.51.100.7"
#define STEER_CLIENT6 "2001:db8:c::7"

struct steer {
	struct scene s;
	__u32 eth0, eth1;
	__u32 from; /* the interface that packets come from */
	bool counted; /* whether the counters are known: */
	unsigned long long counts[WEIR_R_COUNT];
};

static struct steer edge;

/* ---- the host --------------------------------------------------------------------------------- */

static inline void sh(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd)) {
		printf("Bail out! failed: %s\n", cmd);
		exit(1);
	}
}

static inline void make_iface(const char *dev, const char *mac, int mtu, int net)
{
	sh("ip link add %s address %s mtu %d type veth peer name %s-far mtu %d", dev, mac, mtu, dev, mtu);
	sh("echo 0 >/proc/sys/net/ipv6/conf/%s/accept_dad", dev);
	sh("ip link set %s up && ip link set %s-far up", dev, dev);
	sh("ip addr add 10.%d.0.254/16 dev %s && ip addr add fd0%d::fe/64 dev %s nodad", net, dev, net, dev);
	sh("for v in 4 6; do echo 1 >/proc/sys/net/ipv$v/conf/%s/forwarding || exit 1; done", dev);
	sh("ip neigh add 10.%d.0.1 lladdr 02:00:00:00:b%d:04 dev %s nud permanent", net, net, dev);
	sh("ip neigh add fd0%d::1 lladdr 02:00:00:00:b%d:06 dev %s nud permanent", net, net, dev);
	sh("ip route add 10.%d.0.0/16 via 10.%d.0.1", net + 12, net);
	sh("ip route add fd%d::/64 via fd0%d::1", net + 12, net);
}

/* The lab's name space is the test's own. */
static inline void make_host(void)
{
	make_iface("eth0", "02:00:00:00:5e:47", 1500, 8);
	make_iface("eth1", "02:00:00:00:5e:48", 1400, 9);
	sh("ip neigh add 10.8.0.99 lladdr 02:00:00:00:c1:1e dev eth0 nud permanent");
	sh("ip neigh add fd08::99 lladdr 02:00:00:00:c1:1e dev eth0 nud permanent");
	sh("ip route add default via 10.8.0.99 && ip route add default via fd08::99");
	edge.eth0 = if_nametoindex("eth0");
	edge.eth1 = if_nametoindex("eth1");
	edge.from = edge.eth0;
}

static inline void edge_close(void)
{
	scene_close(&edge.s);
}

static inline const struct pools_mem *edge_pools(void)
{
	return &rx_fixture_maps(edge.s.fx)->pools;
}

/* Number of a backend: that exits when there is none, as a typing error would have it. */
static inline int backend_of(const char *pool, const char *name)
{
	int place = pools_find(edge_pools(), pool), b = place;

	if (place >= 0)
		b = pools_backend(edge_pools(), place, name);
	if (b < 0) {
		printf("Bail out! no backend %s/%s\n", pool, name);
		exit(1);
	}
	return b;
}

static inline __u32 active_of(const char *pool, const char *name)
{
	int b = backend_of(pool, name);

	return edge_pools()->pools[b / WEIR_POOL_BACKENDS].member[b % WEIR_POOL_BACKENDS].active;
}

/* ---- packets ---------------------------------------------------------------------------------- */

#define COUNTED 16 /* services, as many as there are at most */

/* Adds n services' counters from `first` on. */
static inline void add_counts(unsigned long long *sum, __u32 first, __u32 n)
{
	static struct weir_count c[COUNTED * WEIR_REASON_MAX * 64];
	static __u32 keys[COUNTED * WEIR_REASON_MAX];
	struct maps *m = rx_fixture_maps(edge.s.fx);
	__u32 ncpu = maps_ctl(m)->ncpu, count = n * WEIR_REASON_MAX, before = first * WEIR_REASON_MAX - 1,
	      next;
	int err =
		bpf_map_lookup_batch(m->fd[MAP_STATS], first ? &before : NULL, &next, keys, c, &count, NULL);

	if (ncpu > 64 || (err && err != -ENOENT)) {
		printf("Bail out! cannot read the counters\n");
		exit(1);
	}
	for (__u32 i = 0; i < count; i++) {
		for (__u32 cpu = 0; keys[i] % WEIR_REASON_MAX < WEIR_R_COUNT && cpu < ncpu; cpu++)
			sum[keys[i] % WEIR_REASON_MAX] += c[i * ncpu + cpu].packets;
	}
}

/* Of all services together, and of none. */
static inline void edge_counts(unsigned long long *n)
{
	memset(n, 0, WEIR_R_COUNT * sizeof(*n));
	add_counts(n, 0, COUNTED);
	add_counts(n, WEIR_SVC_NONE, 1);
}

/* One frame from edge.from through weir_rx; its verdict, or -errno. */
static inline int edge_send(const struct frame *f, struct outcome *o)
{
	struct xdp_md ctx = {.data_end = f->len, .ingress_ifindex = edge.from};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->b, .data_size_in = f->len, .data_out = o->b,
		    .data_size_out = sizeof(o->b), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_prog(edge.s.fx)), &opts);

	edge.counted = false;
	o->action = err ? -1 : (int)opts.retval;
	o->len = err ? 0 : opts.data_size_out;
	return err ?: o->action;
}

/* The same, and the reason. */
static inline void edge_run(const struct frame *f, struct outcome *o)
{
	unsigned long long before[WEIR_R_COUNT];

	if (!edge.counted) /* to read them takes longer than the packet */
		edge_counts(edge.counts);
	memcpy(before, edge.counts, sizeof(before));
	CHECK(edge_send(f, o) >= 0);
	edge_counts(edge.counts);
	edge.counted = true;
	o->reason = reason_between(before, edge.counts);
}

/* It leaves with this action, reason and bytes: all of them, what stands behind the packet too. */
static inline bool check_out(const struct outcome *o, int reason, int action, const struct frame *want)
{
	return CHECK_REASON(o->reason, reason) & CHECK_INT(o->action, action) &
	       CHECK_MEM(o->b, o->len, want->b, want->len);
}

static inline bool edge_expect(const struct frame *f, int reason, int action, const struct frame *want)
{
	struct outcome o;

	edge_run(f, &o);
	return check_out(&o, reason, action, want);
}

/* Dropped or passed, and untouched. */
static inline bool edge_untouched(const struct frame *f, int reason)
{
	return edge_expect(f, reason, reasons[reason].action, f);
}

/* ---- kinds of packets ------------------------------------------------------------------------- */

static const struct tcp syn = {.seq = 0x10203040, .flags = TCP_SYN, .window = 64240, .options = 20};
static const struct tcp ack = {
	.seq = 0x10203041, .ack = 0x55667788, .flags = TCP_ACK | TCP_PSH, .window = 502};
static const struct tcp fin = {
	.seq = 0x10203045, .ack = 0x55667788, .flags = TCP_ACK | TCP_FIN, .window = 502};
static const struct tcp rst = {.seq = 0x10203046, .flags = TCP_RST};

struct kind {
	const char *says;
	const struct tcp *tcp; /* NULL: UDP */
	size_t len;
};

static const struct kind kinds[] = {
	{"SYN", &syn, 0},
	{"data", &ack, 333},
	{"an ACK without data", &ack, 0},
	{"one byte", &ack, 1},
	{"FIN", &fin, 0},
	{"RST", &rst, 0},
	{"UDP", NULL, 200},
	{"UDP without data", NULL, 0},
	{"UDP of odd length", NULL, 201},
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static inline const char *say(const char *fmt, ...)
{
	static char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return text;
}

static inline const __u8 *some_bytes(void)
{
	static __u8 b[FRAME_MAX];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = i * 7 + (i >> 8);
	return b;
}

static inline void make(struct frame *f, const struct flow *flow, const struct kind *k)
{
	if (k->tcp)
		frame_tcp(f, flow, k->tcp, some_bytes(), k->len);
	else
		frame_udp(f, flow, some_bytes(), k->len);
}

/* ---- what should come out --------------------------------------------------------------------- */

/* How a service's packets go on. */
struct way {
	const char *says;
	const char *vip4, *vip6; /* of the service; NULL: of the other family only */
	int via;                 /* WEIR_VIA_* */
	int family;              /* of the backend */
	const char *backend;     /* its address */
	const char *source;      /* of tunnels */
	const __u8 *dst, *src;   /* MAC addresses */
	int action;
	size_t mtu;
	__u16 port;  /* of NAT; 0: stays */
	__u16 vport; /* of the service; 0: 443 */
};

#define ETH0 XDP_TX, 1500
#define ETH1 XDP_REDIRECT, 1400

static const struct way ways[] = {
	{"L2", "192.0.2.1", "2001:db8::1", WEIR_VIA_L2, 4, "10.8.0.1", NULL, MAC_A4, MAC_EDGE0, ETH0, 0, 443},
	{"L2 over another interface", "192.0.2.2", "2001:db8::2", WEIR_VIA_L2, 6, "fd09::1", NULL, MAC_B6,
	 MAC_EDGE1, ETH1, 0, 443},
	{"a tunnel over IPv4", "192.0.2.3", "2001:db8::3", WEIR_VIA_TUNNEL, 4, "10.20.0.1", "10.8.0.254",
	 MAC_A4, MAC_EDGE0, ETH0, 0, 443},
	{"a tunnel over IPv6", "192.0.2.4", "2001:db8::4", WEIR_VIA_TUNNEL, 6, "fd20::1", "fd08::fe", MAC_A6,
	 MAC_EDGE0, ETH0, 0, 443},
	{"a tunnel over IPv4 and another interface", "192.0.2.5", "2001:db8::5", WEIR_VIA_TUNNEL, 4,
	 "10.21.0.1", "10.9.0.254", MAC_B4, MAC_EDGE1, ETH1, 0, 443},
	{"a tunnel over IPv6 and another interface", "192.0.2.6", "2001:db8::6", WEIR_VIA_TUNNEL, 6,
	 "fd21::1", "fd09::fe", MAC_B6, MAC_EDGE1, ETH1, 0, 443},
	{"NAT", "192.0.2.7", NULL, WEIR_VIA_NAT, 4, "10.8.0.1", NULL, MAC_A4, MAC_EDGE0, ETH0, 8080, 443},
	{"NAT of IPv6", NULL, "2001:db8::8", WEIR_VIA_NAT, 6, "fd08::1", NULL, MAC_A6, MAC_EDGE0, ETH0, 8080, 443},
	{"NAT to the same port, over another interface", "192.0.2.9", NULL, WEIR_VIA_NAT, 4, "10.9.0.1", NULL,
	 MAC_B4, MAC_EDGE1, ETH1, 0, 443},
	{"NAT of IPv6 to the same port, over another interface", NULL, "2001:db8::a", WEIR_VIA_NAT, 6,
	 "fd09::1", NULL, MAC_B6, MAC_EDGE1, ETH1, 0, 443},
};
#define WAYS (sizeof(ways) / sizeof(*ways))
#define L2   (&ways[0])
#define TUN4 (&ways[2])
#define TUN6 (&ways[3])
#define FAR4 (&ways[4])
#define NAT4 (&ways[6])
#define NAT6 (&ways[7])

static const struct way many = {"one of four", "192.0.2.13", "2001:db8::13", .via = WEIR_VIA_TUNNEL};

/* A service with a pool of its own for each way, and some for what is special. */
struct edge_service {
	const char *name, *vip4, *vip6;
	const char *pool, *backends; /* YAML */
	const char *more;            /* of the service */
};

#define NAT "delivery: nat"

static const struct edge_service edge_services[] = {
	{"l2a", "192.0.2.1", "2001:db8::1", "delivery: l2", "{name: b1, address: 10.8.0.1}", ""},
	{"l2b", "192.0.2.2", "2001:db8::2", "delivery: l2", "{name: b1, address: 'fd09::1'}", ""},
	{"tun4", "192.0.2.3", "2001:db8::3", "delivery: tunnel", "{name: b1, address: 10.20.0.1}", ""},
	{"tun6", "192.0.2.4", "2001:db8::4", "delivery: tunnel", "{name: b1, address: 'fd20::1'}", ""},
	{"far4", "192.0.2.5", "2001:db8::5", "delivery: tunnel", "{name: b1, address: 10.21.0.1}", ""},
	{"far6", "192.0.2.6", "2001:db8::6", "delivery: tunnel", "{name: b1, address: 'fd21::1'}", ""},
	{"nat4", "192.0.2.7", NULL, NAT, "{name: b1, address: '10.8.0.1:8080'}", ""},
	{"nat6", NULL, "2001:db8::8", NAT, "{name: b1, address: '[fd08::1]:8080'}", ""},
	{"nat9", "192.0.2.9", NULL, NAT, "{name: b1, address: '10.9.0.1'}", ""},
	{"nata", NULL, "2001:db8::a", NAT, "{name: b1, address: 'fd09::1'}", ""},
	{"down", "192.0.2.11", "2001:db8::11", "delivery: l2",
	 "{name: b1, address: 10.8.0.1, state: disabled}", ""},
	{"reset", "192.0.2.12", "2001:db8::12", "delivery: l2, fail: reset",
	 "{name: b1, address: 10.8.0.1, state: disabled}", ""},
	{"many", "192.0.2.13", "2001:db8::13", "delivery: tunnel",
	 "{name: b1, address: 10.20.0.1}, {name: b2, address: 10.20.0.2}, "
	 "{name: b3, address: 10.20.0.3}, {name: b4, address: 10.20.0.4}",
	 ""},
	{"whole", "192.0.2.14", "2001:db8::14", "delivery: l2", "{name: b1, address: 10.8.0.1}",
	 ", fragments: drop"},
	{"lost", "192.0.2.15", "2001:db8::15", "delivery: tunnel", "{name: b1, address: 10.8.0.77}", ""},
};
#define EDGE_SERVICES (sizeof(edge_services) / sizeof(*edge_services))
_Static_assert(EDGE_SERVICES <= COUNTED, "all are counted");

static inline void write_service(FILE *f, const struct edge_service *s)
{
	fprintf(f, "  - {name: %s, protocol: both, pool: %s%s, vips: [", s->name, s->name, s->more);
	if (s->vip4)
		fprintf(f, "'%s:443'%s", s->vip4, s->vip6 ? ", " : "");
	if (s->vip6)
		fprintf(f, "'[%s]:443'", s->vip6);
	fprintf(f, "]}\n");
}

/* Loads weir_rx with all of them, or with those that need no translation. */
static inline void edge_open(bool nat)
{
	char *yaml = NULL;
	size_t len;
	FILE *f = open_memstream(&yaml, &len);

	fprintf(f, "interfaces: [{name: eth0}]\nflows: {capacity: 4096}\nservices:\n");
	for (size_t i = 0; i < EDGE_SERVICES; i++) {
		if (nat || strcmp(edge_services[i].pool, NAT))
			write_service(f, &edge_services[i]);
	}
	fprintf(f, "pools:\n");
	for (size_t i = 0; i < EDGE_SERVICES; i++) {
		const struct edge_service *s = &edge_services[i];

		if (nat || strcmp(s->pool, NAT))
			fprintf(f, "  - {name: %s, %s, backends: [%s]}\n", s->name, s->pool, s->backends);
	}
	fclose(f);
	scene_open(&edge.s, yaml, 1500);
	edge.counted = false;
	free(yaml);
}

/* The way's service, of this family, as a client of its own address sees it. */
static inline bool flow_to(struct flow *flow, const struct way *way, int family, __u16 sport)
{
	*flow = (struct flow){.src = family == 4 ? STEER_CLIENT4 : STEER_CLIENT6,
			      .dst = family == 4 ? way->vip4 : way->vip6,
			      .sport = sport,
			      .dport = way->vport ?: 443};
	return flow->dst;
}

/* What was f gets its checksum anew, where f had one. */
static inline void fix_csum(struct frame *want, const struct frame *f)
{
	if (f->proto && (f->proto != IPPROTO_UDP || frame_get16(f, frame_csum_at(f))))
		frame_fix_l4_csum(want);
}

/* The frame f as the backend gets it. Id and label of an outer header are the sender's choice. */
static inline void want_delivered(struct frame *want, const struct frame *f, const struct way *way, __u16 id,
				  __u32 label)
{
	*want = *f;
	frame_macs(want, way->dst, way->src);
	frame_set_ttl(want, frame_ttl(f) - 1);
	if (way->via == WEIR_VIA_NAT) {
		frame_set_dest(want, way->backend, f->proto ? way->port : 0);
		fix_csum(want, f);
	}
	if (way->via == WEIR_VIA_TUNNEL)
		frame_outer(want, way->source, way->backend, id, label);
}

/* The same with the sender's choice. */
static inline void want_like(struct frame *want, const struct frame *f, const struct way *way,
			     const struct outcome *o)
{
	const __u8 *ip = o->b + f->l3;
	bool df = f->family == 6 || f->b[f->l3 + 6] & 0x40;

	want_delivered(want, f, way, df ? 0 : ip[4] << 8 | ip[5], (ip[1] & 15) << 16 | ip[2] << 8 | ip[3]);
}

/* Runs f, which must be delivered; what came out is in o. */
static inline bool expect_delivered_as(const struct frame *f, const struct way *way, int reason,
				       struct outcome *o)
{
	struct frame want;

	edge_run(f, o);
	want_like(&want, f, way, o);
	return check_out(o, reason, way->action, &want);
}

static inline bool expect_delivered(const struct frame *f, const struct way *way)
{
	struct outcome o;

	return expect_delivered_as(f, way, WEIR_R_STEERED, &o);
}

/* Bytes behind the packet are the sender's own or zero: any. */
static inline bool expect_answer(const struct frame *f, int reason, const struct frame *want)
{
	struct outcome o;
	size_t len = want->l3 + frame_ip_len(want);

	edge_run(f, &o);
	return CHECK_REASON(o.reason, reason) & CHECK_INT(o.action, XDP_TX) & CHECK_INT(o.len, want->len) &
	       CHECK_MEM(o.b, o.len < len ? o.len : len, want->b, len);
}

/* The backend of the pool of four that a tunnelled packet went to, 1 to 4; 0: none. */
static inline int went_to(const struct outcome *o)
{
	return o->action == XDP_TX && o->b[30] == 10 && o->b[31] == 20 ? o->b[33] : 0;
}

/* ---- time ------------------------------------------------------------------------------------- */

/* Waits for the next tick of the programs, too. */
static inline void next_tick(void)
{
	__u32 tick = flows_tick();

	while (flows_tick() == tick)
		usleep(1000);
	usleep(20000); /* their clock is late by a jiffy */
}

#endif
