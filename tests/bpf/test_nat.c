// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Address translation, both ways: random packets against checksums made anew, and ICMP errors with what they quote
 * (RFC 3022, RFC 5508). test_deliver.c has the plain packets.
 */
#include <linux/bpf.h>
#include <unistd.h>

#include "emulated.h"
#include "steer_scene.h"

#define RANDOM_PACKETS ((int)rounds(4000))

static const char *vip_of(const struct way *way)
{
	return way->vip4 ?: way->vip6;
}

static int nat_family(const struct way *way)
{
	return way->vip4 ? 4 : 6;
}

static __u16 vip_port(const struct way *way)
{
	return way->vport ?: 443;
}

static __u16 backend_port(const struct way *way)
{
	return way->port ?: vip_port(way);
}

/* Packets of a backend come from its interface. */
static void from_backend_of(const struct way *way)
{
	edge.from = way->action == XDP_TX ? edge.eth0 : edge.eth1;
}

static void from_clients(void)
{
	edge.from = edge.eth0;
}

/* From the way's backend to the client of `flow`. */
static struct flow back_flow(const struct way *way, const struct flow *flow)
{
	return (struct flow){.src = way->backend,
			     .dst = flow->src,
			     .sport = backend_port(way),
			     .dport = flow->sport,
			     .tags = flow->tags,
			     .no_csum = flow->no_csum};
}

/* The frame f of a backend as the client gets it. */
static void want_back(struct frame *want, const struct frame *f, const struct way *way)
{
	*want = *f;
	frame_macs(want, MAC_CLIENT, MAC_EDGE0);
	frame_set_ttl(want, frame_ttl(f) - 1);
	frame_set_source(want, vip_of(way), vip_port(way));
	fix_csum(want, f);
}

static bool expect_back(const struct frame *f, const struct way *way)
{
	struct frame want;
	bool ok;

	want_back(&want, f, way);
	from_backend_of(way);
	ok = edge_expect(f, WEIR_R_TRANSLATED, way->action, &want);
	from_clients();
	return ok;
}

/*
 * Services of several addresses: which one a reply is from, the client's flow tells. Two services whose backend has
 * a port of its own, and two whose port stays: there another port is another key.
 */
static const struct way others[] = {
	{"the first of three addresses", "192.0.2.31", NULL, WEIR_VIA_NAT, 4, "10.8.0.1", NULL, MAC_A4, MAC_EDGE0,
	 ETH0, 8080, 443},
	{"the second of three addresses", "192.0.2.32", NULL, WEIR_VIA_NAT, 4, "10.8.0.1", NULL, MAC_A4, MAC_EDGE0,
	 ETH0, 8080, 443},
	{"the third of three addresses, by its port", "192.0.2.31", NULL, WEIR_VIA_NAT, 4, "10.8.0.1", NULL, MAC_A4,
	 MAC_EDGE0, ETH0, 8080, 8443},
	{"the first of two addresses of IPv6", NULL, "2001:db8::31", WEIR_VIA_NAT, 6, "fd08::1", NULL, MAC_A6,
	 MAC_EDGE0, ETH0, 8080, 443},
	{"the second of two addresses of IPv6", NULL, "2001:db8::32", WEIR_VIA_NAT, 6, "fd08::1", NULL, MAC_A6,
	 MAC_EDGE0, ETH0, 8080, 8443},
	{"the first of three whose port stays", "192.0.2.33", NULL, WEIR_VIA_NAT, 4, "10.9.0.1", NULL, MAC_B4,
	 MAC_EDGE1, ETH1, 0, 443},
	{"the second of three whose port stays", "192.0.2.34", NULL, WEIR_VIA_NAT, 4, "10.9.0.1", NULL, MAC_B4,
	 MAC_EDGE1, ETH1, 0, 443},
	{"the third of three whose port stays", "192.0.2.33", NULL, WEIR_VIA_NAT, 4, "10.9.0.1", NULL, MAC_B4,
	 MAC_EDGE1, ETH1, 0, 8443},
	{"the first of two of IPv6 whose port stays", NULL, "2001:db8::33", WEIR_VIA_NAT, 6, "fd09::1", NULL, MAC_B6,
	 MAC_EDGE1, ETH1, 0, 443},
	{"the second of two of IPv6 whose port stays", NULL, "2001:db8::34", WEIR_VIA_NAT, 6, "fd09::1", NULL, MAC_B6,
	 MAC_EDGE1, ETH1, 0, 443},
};
#define OTHERS (sizeof(others) / sizeof(*others))

static const char several_yaml[] =
	"interfaces: [{name: eth0}]\n"
	"cache: {capacity: 64, memory: 64K}\n"
	"flows: {capacity: 4096}\n"
	"services:\n"
	"  - {name: s4, protocol: both, pool: s4, vips: ['192.0.2.31:443', '192.0.2.32:443', '192.0.2.31:8443']}\n"
	"  - {name: s6, protocol: both, pool: s6, vips: ['[2001:db8::31]:443', '[2001:db8::32]:8443']}\n"
	"  - {name: p4, protocol: both, pool: p4, vips: ['192.0.2.33:443', '192.0.2.34:443', '192.0.2.33:8443']}\n"
	"  - {name: p6, protocol: both, pool: p6, vips: ['[2001:db8::33]:443', '[2001:db8::34]:443']}\n"
	"  - {name: mc, cache: true, clients: [198.51.100.0/24], origin: '10.8.0.1:7000', pool: mc,\n"
	"     vips: ['192.0.2.41:11211', '192.0.2.42:11211']}\n"
	"pools:\n"
	"  - {name: s4, delivery: nat, backends: [{name: b1, address: '10.8.0.1:8080'}]}\n"
	"  - {name: s6, delivery: nat, backends: [{name: b1, address: '[fd08::1]:8080'}]}\n"
	"  - {name: p4, delivery: nat, backends: [{name: b1, address: '10.9.0.1'}]}\n"
	"  - {name: p6, delivery: nat, backends: [{name: b1, address: 'fd09::1'}]}\n"
	"  - {name: mc, delivery: nat, shards: 2, backends: [\n"
	"     {name: b1, address: '10.8.0.1:7000', shard: 0}, {name: b2, address: '10.8.0.1:7001', shard: 1}]}\n";

/* Whether the scene is that of several addresses. */
static bool several;

static void each(void (*test)(const struct way *way))
{
	const struct way *all = several ? others : ways;

	for (size_t i = 0; i < (several ? OTHERS : WAYS); i++) {
		if (all[i].via == WEIR_VIA_NAT)
			test(&all[i]);
	}
}

/* A flow to the way's service; of several addresses each has a client of its own. */
static void nat_flow(struct flow *flow, const struct way *way, __u16 sport)
{
	static char clients[OTHERS][64];

	flow_to(flow, way, nat_family(way), sport);
	if (!several)
		return;
	snprintf(clients[way - others], sizeof(*clients), way->vip4 ? "198.51.100.1%02d" : "2001:db8:c::1%02d",
		 (int)(way - others));
	flow->src = clients[way - others];
}

/* Of one address replies are translated without a flow; of several the flow tells: here it is. */
static void have_flow(const struct way *way, const struct flow *flow)
{
	__u32 from = edge.from;
	struct outcome o;
	struct frame f;

	if (!several)
		return;
	from_clients();
	make(&f, flow, &kinds[2]);
	CHECK_INT(edge_send(&f, &o), way->action);
	make(&f, flow, &kinds[6]);
	CHECK_INT(edge_send(&f, &o), way->action);
	edge.from = from;
}

/* ---- the way back ------------------------------------------------------------------------------- */

static void test_back(const struct way *way)
{
	struct flow flow, back;
	struct frame f;

	test_begin(say("%s: back, from the service; MAC addresses, TTL, checksums", way->says));
	nat_flow(&flow, way, 40200);
	have_flow(way, &flow);
	for (int i = 0; i < 3; i++) {
		flow.tags = way->action == XDP_TX ? i : 0;
		back = back_flow(way, &flow);
		for (size_t k = 0; k < KINDS; k++) {
			make(&f, &back, &kinds[k]);
			if (!expect_back(&f, way))
				printf("# it was %s\n", kinds[k].says);
		}
		frame_udp(&f, &back, "x", 1);
		frame_pad(&f, 90, 0x22);
		expect_back(&f, way);
	}
	test_end();
}

static void test_not_back(const struct way *way)
{
	bool v4 = nat_family(way) == 4;
	struct flow flow, back;
	struct frame f;

	test_begin(
		say("%s: what a backend sends to this host, or from another port, is left alone", way->says));
	from_backend_of(way);
	nat_flow(&flow, way, 40201);
	back = back_flow(way, &flow);
	back.dst = v4 ? "10.8.0.254" : "fd08::fe";
	frame_tcp(&f, &back, &ack, some_bytes(), 100);
	edge_untouched(&f, WEIR_R_OTHER);
	frame_udp(&f, &back, some_bytes(), 100);
	edge_untouched(&f, WEIR_R_OTHER);
	back = back_flow(way, &flow);
	back.sport++;
	frame_tcp(&f, &back, &ack, some_bytes(), 100);
	edge_untouched(&f, WEIR_R_OTHER);
	back = back_flow(way, &flow);
	back.src = v4 ? "10.8.0.2" : "fd08::2";
	frame_tcp(&f, &back, &ack, some_bytes(), 100);
	edge_untouched(&f, WEIR_R_OTHER);
	from_clients();
	test_end();
}

/* The edge speaks as the service: it has no other address that a backend would know. */
static void test_back_errors(const struct way *way)
{
	struct frame f, want, out = {.l3 = 14};
	struct flow flow, back, error;
	bool v4 = nat_family(way) == 4;
	struct outcome o;
	size_t len;

	test_begin(say("%s: the backend is told of a TTL used up, and of the clients' MTU", way->says));
	nat_flow(&flow, way, 40202);
	have_flow(way, &flow);
	back = back_flow(way, &flow);
	from_backend_of(way);
	for (int big = 0; big < 2; big++) {
		struct icmp icmp = big  ? v4 ? (struct icmp){3, 4, 1500} : (struct icmp){2, 0, 1500}
				    : v4 ? (struct icmp){11, 0, 0}
					: (struct icmp){3, 0, 0};

		frame_udp(&f, &back, some_bytes(), big ? 1501 - (v4 ? 28 : 48) : 100);
		if (!big)
			frame_set_ttl(&f, 1);
		edge_run(&f, &o);
		memcpy(out.b, o.b, o.len);
		out.family = f.family;
		error = (struct flow){.src = vip_of(way), .dst = way->backend};
		len = frame_ip_len(&out) - (v4 ? 28 : 48);
		if (!CHECK(len < 1300))
			continue;
		frame_icmp(&want, &error, &icmp, f.b + f.l3, len);
		frame_macs(&want, MAC_CLIENT, MAC_EDGE0); /* swapped */
		check_out(&o, big ? WEIR_R_TOO_BIG : WEIR_R_TTL, XDP_TX, &want);
	}
	frame_udp(&f, &back, some_bytes(), 1500 - (v4 ? 28 : 48));
	expect_back(&f, way);
	from_clients();
	test_end();
}

/* Of one packet of 1,008 bytes: the first 400, and the rest. */
static void make_fragments(struct frame *all, struct frame *first, struct frame *rest, const struct flow *back, __u16 id)
{
	frame_udp(all, back, some_bytes(), 1000);
	if (all->family == 4)
		frame_put16(all, all->l3 + 4, id);
	frame_fragment(first, all, 0, 400, true);
	frame_fragment(rest, all, 400, 608, false);
}

/* Behind the first, which has the ports and the whole packet's checksum. */
static void test_back_fragments(const struct way *way)
{
	struct frame all, total, first, rest, want;
	struct flow flow, back;

	test_begin(say("%s: back in fragments: all of them from the service, behind the first", way->says));
	nat_flow(&flow, way, 40203);
	have_flow(way, &flow);
	back = back_flow(way, &flow);
	make_fragments(&all, &first, &rest, &back, 0x4711);
	from_backend_of(way);
	edge_untouched(&rest, WEIR_R_OTHER);
	want_back(&total, &all, way);
	want_back(&want, &first, way);
	frame_put16(&want, frame_csum_at(&want), frame_get16(&total, frame_csum_at(&total)));
	edge_expect(&first, WEIR_R_TRANSLATED, way->action, &want);
	for (int i = 0; i < 2; i++) {
		want = rest;
		frame_macs(&want, MAC_CLIENT, MAC_EDGE0);
		frame_set_ttl(&want, frame_ttl(&rest) - 1);
		frame_set_source(&want, vip_of(way), 0);
		edge_expect(&rest, WEIR_R_TRANSLATED, way->action, &want);
	}
	/* Another packet's, or another sender's, does not follow it. */
	rest.b[rest.family == 4 ? rest.l3 + 5 : rest.l4 - 1] ^= 1;
	if (rest.family == 4)
		frame_fix_ip_csum(&rest);
	edge_untouched(&rest, WEIR_R_OTHER);
	make_fragments(&all, &first, &rest, &back, 0x4711);
	frame_set_source(&rest, rest.family == 4 ? "10.8.0.2" : "fd08::2", 0);
	edge_untouched(&rest, WEIR_R_OTHER);
	from_clients();
	test_end();
}

static void test_back_no_route(void)
{
	struct flow flow, back;
	struct frame f;

	test_begin("a backend's packet, but the client's next hop is not known: dropped");
	sh("ip neigh del 10.8.0.99 dev eth0 && ip neigh del fd08::99 dev eth0");
	for (int family = 4; family <= 6; family += 2) {
		const struct way *way = family == 4 ? NAT4 : NAT6;

		flow_to(&flow, way, family, 40204);
		back = back_flow(way, &flow);
		make(&f, &back, &kinds[1]);
		edge_untouched(&f, WEIR_R_NO_ROUTE);
	}
	sh("ip neigh add 10.8.0.99 lladdr 02:00:00:00:c1:1e dev eth0 nud permanent");
	sh("ip neigh add fd08::99 lladdr 02:00:00:00:c1:1e dev eth0 nud permanent");
	expect_back(&f, NAT6);
	test_end();
}

/* ---- random packets ----------------------------------------------------------------------------- */

static unsigned rnd(unsigned n)
{
	return (unsigned)random() % n;
}

static char client[64];

static void random_frame(struct frame *f, struct flow *flow)
{
	static __u8 data[1400];
	size_t len = rnd(4) ? rnd(1300) : rnd(4);

	for (size_t i = 0; i < len; i++)
		data[i] = random() >> 8;
	if (rnd(2)) {
		struct tcp tcp = {.seq = random(),
				  .ack = random(),
				  .flags = rnd(64) | TCP_ACK,
				  .window = random(),
				  .options = rnd(11) * 4};

		frame_tcp(f, flow, &tcp, data, len);
	} else {
		flow->no_csum = f->family == 4 && !rnd(6);
		frame_udp(f, flow, data, len);
	}
	frame_set_tos(f, rnd(256));
	frame_set_ttl(f, 2 + rnd(254));
	if (f->family == 4)
		frame_put16(f, f->l3 + 4, random());
	if (f->family == 4)
		frame_fix_ip_csum(f);
	if (!rnd(4))
		frame_pad(f, f->len + rnd(30), random());
}

/* Lets f's checksum, or that of `as`, which differs from it in addresses and ports alone, be 0. */
static void make_csum_0(struct frame *f, const struct frame *as)
{
	struct frame g = *as;

	if (f->data + 2 > f->l3 + frame_ip_len(f))
		return;
	frame_put16(&g, f->data, 0);
	frame_put16(f, f->data, frame_l4_csum(&g));
	frame_fix_l4_csum(f);
}

static bool csum_is_0(const struct frame *f)
{
	return frame_get16(f, frame_csum_at(f)) == (f->proto == IPPROTO_UDP ? 0xffff : 0);
}

static int frames_differ(const struct frame *f, const struct frame *want, int action)
{
	struct outcome o;

	edge_send(f, &o);
	return !CHECK_INT(o.action, action) || !CHECK_MEM(o.b, o.len, want->b, want->len);
}

static void random_flow(struct flow *flow, const struct way *way)
{
	flow_to(flow, way, nat_family(way), 1 + rnd(65535));
	snprintf(client, sizeof(client), way->vip4 ? "198.51.%u.%u" : "2001:db8:c::%x:%x", rnd(256),
		 rnd(256));
	if (several) { /* as many as have places in the table */
		snprintf(client, sizeof(client), way->vip4 ? "198.51.100.%u" : "2001:db8:c::%x", 1 + rnd(8));
		flow->sport = 20000 + 10 * (way - others) + rnd(8);
	}
	flow->src = client;
	flow->tags = way->action == XDP_TX ? rnd(3) : 0;
}

static void test_random(const struct way *way)
{
	struct frame f, want;
	struct flow flow;
	int bad = 0, zero = 0;

	test_begin(say("%s: %d random packets, forth: checksums are those made anew", way->says,
		       RANDOM_PACKETS));
	srandom(1);
	for (int i = 0; i < RANDOM_PACKETS && bad < 3; i++) {
		random_flow(&flow, way);
		f.family = nat_family(way);
		random_frame(&f, &flow);
		want_delivered(&want, &f, way, 0, 0);
		if (!flow.no_csum && !rnd(8))
			make_csum_0(&f, rnd(4) ? &want : &f);
		want_delivered(&want, &f, way, 0, 0);
		zero += !flow.no_csum && csum_is_0(&want);
		bad += frames_differ(&f, &want, way->action);
	}
	CHECK(zero > RANDOM_PACKETS / 20);
	test_end();
}

static void test_random_back(const struct way *way)
{
	struct frame f, want;
	struct flow flow, back;
	int bad = 0;

	test_begin(say("%s: %d random packets, back", way->says, RANDOM_PACKETS));
	from_backend_of(way);
	srandom(2);
	for (int i = 0; i < RANDOM_PACKETS && bad < 3; i++) {
		random_flow(&flow, way);
		have_flow(way, &flow);
		back = back_flow(way, &flow);
		f.family = nat_family(way);
		random_frame(&f, &back);
		want_back(&want, &f, way);
		if (!back.no_csum && !rnd(8))
			make_csum_0(&f, rnd(4) ? &want : &f);
		want_back(&want, &f, way);
		bad += frames_differ(&f, &want, way->action);
	}
	from_clients();
	test_end();
}

/* Nobody would notice the damage behind it any more. */
static void test_wrong_stays_wrong(const struct way *way)
{
	struct frame f, want;
	struct flow flow;
	struct outcome o;

	test_begin(say("%s: a wrong checksum is not made right", way->says));
	for (int i = 0; i < 2; i++) {
		nat_flow(&flow, way, 40203);
		make(&f, &flow, i ? &kinds[1] : &kinds[6]);
		f.b[f.data] ^= 0x40;
		want_delivered(&want, &f, way, 0, 0);
		edge_run(&f, &o);
		CHECK_REASON(o.reason, WEIR_R_STEERED);
		memcpy(want.b, o.b, o.len);
		CHECK_INT(o.len, want.len);
		CHECK(frame_get16(&want, frame_csum_at(&want)) != frame_l4_csum(&want));
		want.b[f.data] ^= 0x40;
		CHECK_INT(frame_get16(&want, frame_csum_at(&want)), frame_l4_csum(&want));
	}
	test_end();
}

/* ---- ICMP errors -------------------------------------------------------------------------------- */

static const struct icmp errors4[] = {{3, 1, 0}, {3, 4, 1300}, {11, 0, 0}, {12, 0, 20 << 24}};
static const struct icmp errors6[] = {{1, 3, 0}, {2, 0, 1300}, {3, 0, 0}, {4, 0, 40}};
static const size_t quotes[] = {8, 18, 20, 33,
				300}; /* bytes behind the IP header; TCP's checksum ends at 18 */

#define ICMP_ROWS (2 * 5 * 4)

/* The i-th kind of packet that an error may be about: TCP or UDP, by turns without a checksum. */
static void make_quoted(struct frame *f, struct flow *flow, int i)
{
	flow->no_csum = !strchr(flow->src, ':') && i % 4 == 2;
	if (i & 1)
		frame_tcp(f, flow, &ack, some_bytes(), 290);
	else
		frame_udp(f, flow, some_bytes(), 301);
	frame_set_ttl(f, 60);
}

static void make_icmp(struct frame *f, const char *src, const char *dst, int tags, int i,
		      const struct frame *about)
{
	struct flow flow = {.src = src, .dst = dst, .tags = tags};
	size_t quoted = quotes[i / 2 % 5];

	frame_icmp(f, &flow, about->family == 4 ? &errors4[i / 10] : &errors6[i / 10], about->b + about->l3,
		   (about->family == 4 ? 20 : 40) + quoted);
}

/* A router on the client's side, about a backend's packet: which it knows as the service's. */
static void test_icmp_forth(const struct way *way)
{
	bool v4 = nat_family(way) == 4;
	struct frame sent, seen, f, want;
	struct flow flow, back;
	const char *router = v4 ? "203.0.113.1" : "2001:db8:ff::1";

	test_begin(say("%s: ICMP errors reach the backend, about the packets as it sent them", way->says));
	nat_flow(&flow, way, 40210);
	for (int i = 0; i < ICMP_ROWS; i++) {
		flow.tags = way->action == XDP_TX ? i % 3 : 0;
		back = back_flow(way, &flow);
		make_quoted(&sent, &back, i);
		seen = sent;
		frame_set_source(&seen, vip_of(way), vip_port(way));
		fix_csum(&seen, &sent);
		make_icmp(&f, router, vip_of(way), flow.tags, i, &seen);
		make_icmp(&want, router, way->backend, flow.tags, i, &sent);
		frame_macs(&want, way->dst, way->src);
		frame_set_ttl(&want, 63);
		if (!edge_expect(&f, WEIR_R_ICMP_ERROR, way->action, &want))
			printf("# it was number %d\n", i);
	}
	test_end();
}

/* The backend, or a router before it, about a client's packet: which was to the service. */
static void test_icmp_back(const struct way *way, const char *router)
{
	struct frame sent, seen, f, want;
	struct flow flow;

	test_begin(say("%s: ICMP errors of %s reach the client, about the packets as it sent them", way->says,
		       router ? "a router" : "the backend"));
	nat_flow(&flow, way, 40211);
	have_flow(way, &flow);
	from_backend_of(way);
	for (int i = 0; i < ICMP_ROWS; i++) {
		flow.tags = way->action == XDP_TX ? i % 3 : 0;
		make_quoted(&sent, &flow, i);
		seen = sent;
		frame_set_dest(&seen, way->backend, backend_port(way));
		fix_csum(&seen, &sent);
		make_icmp(&f, router ?: way->backend, flow.src, flow.tags, i, &seen);
		make_icmp(&want, router ?: vip_of(way), flow.src, flow.tags, i, &sent);
		frame_macs(&want, MAC_CLIENT, MAC_EDGE0);
		frame_set_ttl(&want, 63);
		if (!edge_expect(&f, WEIR_R_TRANSLATED, way->action, &want))
			printf("# it was number %d\n", i);
	}
	from_clients();
	test_end();
}

static void test_icmp_of_backend(const struct way *way)
{
	test_icmp_back(way, NULL);
	test_icmp_back(way, way->vip4 ? "10.8.0.55" : "fd08::55");
}

static void test_icmp_cut(const struct way *way)
{
	struct frame sent, f, cut;
	struct flow flow, back;
	struct outcome o;

	test_begin(say("%s: an ICMP error that is cut short is untouched", way->says));
	nat_flow(&flow, way, 40212);
	have_flow(way, &flow);
	back = back_flow(way, &flow);
	for (int forth = 0; forth < 2; forth++) {
		if (forth) {
			make_quoted(&sent, &back, 1);
			frame_set_source(&sent, vip_of(way), vip_port(way));
			make_icmp(&f, flow.src, vip_of(way), 0, 9, &sent);
		} else {
			make_quoted(&sent, &flow, 1);
			frame_set_dest(&sent, way->backend, backend_port(way));
			make_icmp(&f, way->backend, flow.src, 0, 9, &sent);
			from_backend_of(way);
		}
		for (cut = f, cut.len = 14; cut.len < f.len; cut.len++) {
			CHECK_INT(edge_send(&cut, &o), XDP_PASS);
			CHECK_MEM(o.b, o.len, cut.b, cut.len);
		}
		CHECK_INT(edge_send(&f, &o), way->action);
		/* And all lengths right, but eight bytes behind the quoted IP header, or not as many. */
		for (size_t quoted = 0; quoted < 60; quoted++) {
			size_t ip = nat_family(way) == 4 ? 20 : 40;

			frame_icmp(&cut, &f.flow, ip == 20 ? &errors4[0] : &errors6[0], sent.b + sent.l3,
				   quoted);
			edge_send(&cut, &o);
			CHECK_INT(o.action, quoted < ip + 8 ? XDP_PASS : way->action);
			if (quoted < ip + 8)
				CHECK_MEM(o.b, o.len, cut.b, cut.len);
		}
		from_clients();
	}
	test_end();
}

/* ---- several addresses ------------------------------------------------------------------------ */

/* From whom the client gets a reply of the way's backend: the address among `others` of its service; NULL: nobody. */
static const struct way *comes_from(const struct way *way, const struct flow *flow, const struct kind *kind)
{
	struct flow back = back_flow(way, flow);
	const struct way *from = NULL;
	struct frame f, want;
	struct outcome o;

	make(&f, &back, kind);
	from_backend_of(way);
	edge_send(&f, &o);
	from_clients();
	for (size_t i = 0; i < OTHERS; i++) {
		if (strcmp(others[i].backend, way->backend))
			continue;
		want_back(&want, &f, &others[i]);
		if (o.action == way->action && o.len == want.len && !memcmp(o.b, want.b, o.len))
			from = &others[i];
	}
	return from;
}

static void expect_from(const struct way *way, const struct flow *flow, const struct kind *kind,
			const struct way *want)
{
	const struct way *from = comes_from(way, flow, kind);

	CHECK_STR(from ? from->says : "nobody", want->says);
}

#define A    (&others[0])
#define B    (&others[1])
#define DATA (&kinds[1])
#define DGRAM (&kinds[6])

static void test_unknown_flow(void)
{
	struct flow flow;

	test_begin("several addresses, and no flow: a reply is from the first that its port may be of");
	for (size_t i = 0; i < OTHERS; i++) {
		const struct way *first = &others[i];

		while (first > others && !strcmp((first - 1)->backend, others[i].backend) &&
		       backend_port(first - 1) == backend_port(&others[i]))
			first--;
		nat_flow(&flow, &others[i], 40220);
		expect_from(&others[i], &flow, DATA, first);
		expect_from(&others[i], &flow, DGRAM, first);
	}
	/* The port of none. */
	nat_flow(&flow, &others[5], 40220);
	flow.dport = 444;
	CHECK(!comes_from(&(struct way){.vip4 = "192.0.2.33",
					.via = WEIR_VIA_NAT,
					.backend = "10.9.0.1",
					.action = XDP_PASS,
					.vport = 444},
			  &flow, DATA));
	test_end();
}

/* Client and port are the same to both addresses, and both flows are at the one backend. */
static void send_as(const struct way *way, __u16 sport, const struct kind *kind)
{
	struct outcome o;
	struct flow flow;
	struct frame f;

	flow_to(&flow, way, 4, sport);
	make(&f, &flow, kind);
	CHECK_INT(edge_send(&f, &o), way->action);
}

static void age_flows(__u32 ticks)
{
	const struct pools_mem *m = edge_pools();

	for (__u32 b = 0; b < m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *w = &m->flows[b].word[i];

			if (*w)
				*w = (*w & ~(__u64)WEIR_TICK_MASK) | ((*w - ticks) & WEIR_TICK_MASK);
		}
	}
}

static void test_one_port_for_two(void)
{
	struct flow flow;

	test_begin("a client uses a port for two addresses: replies are of the flow that is in use, then of the later");
	flow_to(&flow, A, 4, 50000);
	send_as(A, 50000, &kinds[0]);
	send_as(A, 50000, DATA);
	expect_from(A, &flow, DATA, A);
	send_as(B, 50000, &kinds[0]); /* a SYN of anyone does not take the connection's replies away */
	expect_from(A, &flow, DATA, A);
	age_flows(61);
	send_as(B, 50000, &kinds[0]); /* but those of who has gone away without a word */
	expect_from(B, &flow, &kinds[0], B);
	send_as(B, 50000, DATA);
	expect_from(B, &flow, DATA, B);
	send_as(B, 50000, &kinds[4]);
	expect_from(B, &flow, &kinds[4], B); /* both halves: over */
	send_as(A, 50000, &kinds[0]);
	expect_from(A, &flow, &kinds[0], A);
	send_as(A, 50000, DATA);
	expect_from(A, &flow, DATA, A);
	test_end();
	test_begin("  the later one of two UDP flows");
	for (int i = 0; i < 3; i++) {
		send_as(A, 50001, DGRAM);
		age_flows(1);
		send_as(B, 50001, DGRAM);
		expect_from(B, &flow, DGRAM, i ? B : A); /* another port of the client: no flow yet */
		flow.sport = 50001;
		expect_from(B, &flow, DGRAM, B);
		age_flows(1);
		send_as(A, 50001, DGRAM);
		expect_from(A, &flow, DGRAM, A);
	}
	test_end();
}

/* A flow of each shard, and the pool's place in its hash. */
static void test_shards(void)
{
	static const char *const vips[] = {"192.0.2.41", "192.0.2.42"};
	unsigned went[2] = {};
	struct frame f, want;
	struct outcome o;
	struct msg m;

	test_begin("several addresses of a sharded cache: replies of each shard are from the one that was asked");
	for (int i = 0; i < 64; i++) {
		struct flow flow = {.src = STEER_CLIENT4, .dst = vips[i % 2], .sport = 51000 + i, .dport = 11211};
		struct flow back = {.src = "10.8.0.1", .dst = STEER_CLIENT4, .dport = flow.sport};

		msg_text(&m, i, say("get key%d\r\n", i / 2));
		frame_udp(&f, &flow, m.b, m.len);
		CHECK_INT(edge_send(&f, &o), XDP_TX);
		back.sport = o.b[f.l4 + 2] << 8 | o.b[f.l4 + 3];
		if (!CHECK(back.sport == 7000 || back.sport == 7001))
			continue;
		went[back.sport - 7000]++;
		msg_text(&m, i, "END\r\n");
		frame_udp(&f, &back, m.b, m.len);
		want = f;
		frame_macs(&want, MAC_CLIENT, MAC_EDGE0);
		frame_set_ttl(&want, frame_ttl(&f) - 1);
		frame_set_source(&want, flow.dst, 11211);
		fix_csum(&want, &f);
		CHECK_INT(edge_send(&f, &o), XDP_TX);
		CHECK_MEM(o.b, o.len, want.b, want.len);
	}
	CHECK(went[0] > 8 && went[1] > 8);
	test_end();
}

static void test_several(void)
{
	several = true;
	scene_open(&edge.s, several_yaml, 1500);
	edge.counted = false;
	test_unknown_flow();
	each(test_back);
	each(test_not_back);
	each(test_back_errors);
	each(test_back_fragments);
	each(test_random_back);
	each(test_icmp_forth);
	each(test_icmp_of_backend);
	each(test_icmp_cut);
	test_one_port_for_two();
	test_shards();
	edge_close();
}

int main(void)
{
	make_host();
	edge_open(true);
	each(test_back);
	each(test_not_back);
	each(test_back_errors);
	each(test_back_fragments);
	test_back_no_route();
	each(test_random);
	each(test_random_back);
	each(test_wrong_stays_wrong);
	each(test_icmp_forth);
	each(test_icmp_of_backend);
	each(test_icmp_cut);
	edge_close();
	test_several();
	return test_done();
}
