// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From a service to a backend, packet in, packet out: each byte of each header, by each way of delivery.
 * test_icmp.c has what senders are told and the errors of others, test_nat.c what translation is about.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "emulated.h"
#include "steer_scene.h"

/* ---- each kind of packet, each way ------------------------------------------------------------- */

static void test_way(const struct way *way, int family)
{
	struct flow flow;
	struct frame f;

	if (!flow_to(&flow, way, family, 40000))
		return;
	test_begin(say("IPv%d by %s: SYN, data, FIN, RST, UDP; MAC addresses, TTL, checksums", family,
		       way->says));
	for (size_t i = 0; i < KINDS; i++) {
		make(&f, &flow, &kinds[i]);
		if (!expect_delivered(&f, way))
			printf("# it was %s\n", kinds[i].says);
	}
	test_end();
}

static void test_tags(const struct way *way, int family)
{
	struct flow flow;
	struct frame f;
	bool same = way->action == XDP_TX;

	if (!flow_to(&flow, way, family, 40001))
		return;
	test_begin(say("IPv%d by %s: VLAN tags %s", family, way->says,
		       same ? "are kept" : "cannot be kept: dropped"));
	for (flow.tags = 1; flow.tags <= 2; flow.tags++) {
		make(&f, &flow, &kinds[1]);
		if (same)
			expect_delivered(&f, way);
		else
			edge_untouched(&f, WEIR_R_NO_ROUTE);
	}
	test_end();
}

/* Ethernet's padding of short packets, and what switches append. */
static void test_padding(const struct way *way, int family)
{
	struct flow flow;
	struct frame f;

	if (!flow_to(&flow, way, family, 40002))
		return;
	test_begin(say("IPv%d by %s: lengths count no padding", family, way->says));
	frame_udp(&f, &flow, "x", 1);
	frame_pad(&f, 90, 0);
	expect_delivered(&f, way);
	frame_tcp(&f, &flow, &(struct tcp){.flags = TCP_ACK}, NULL, 0);
	frame_pad(&f, 77, 0xee);
	expect_delivered(&f, way);
	test_end();
}

static void test_fields(const struct way *way, int family)
{
	struct flow flow;
	struct frame f;

	if (!flow_to(&flow, way, family, 40003))
		return;
	test_begin(say("IPv%d by %s: DSCP, ECN, DF, TTL 255 and 2", family, way->says));
	for (int df = 0; df < 2; df++) {
		for (int tos = 0; tos < 256; tos += 51) {
			frame_udp(&f, &flow, "hello", 5);
			frame_set_tos(&f, tos);
			frame_set_df(&f, df);
			frame_set_ttl(&f, tos & 1 ? 255 : 2);
			expect_delivered(&f, way);
		}
	}
	test_end();
}

static void each(void (*test)(const struct way *way, int family))
{
	for (size_t i = 0; i < WAYS; i++) {
		test(&ways[i], 4);
		test(&ways[i], 6);
	}
}

/* ---- single fields ---------------------------------------------------------------------------- */

/* RFC 1624: over all ids, each value of the checksum but one occurs, before and after. */
static void test_ttl_checksum(void)
{
	struct outcome o;
	struct frame f, want;
	struct flow flow;
	int bad = 0, step = emulated() ? 7 : 1;

	test_begin("the checksum after a hop is that of RFC 791 for each of 65,536 ids, never 0xffff for 0");
	flow_to(&flow, L2, 4, 40010);
	frame_udp(&f, &flow, "x", 1);
	for (int id = 0; id < 65536 && bad < 5; id += step) {
		frame_put16(&f, f.l3 + 4, id);
		frame_fix_ip_csum(&f);
		want_delivered(&want, &f, L2, 0, 0);
		edge_send(&f, &o);
		bad += !CHECK_INT(o.action, XDP_TX) || !CHECK_MEM(o.b, o.len, want.b, want.len);
	}
	test_end();
}

static __u32 label_of(const struct flow *flow)
{
	struct outcome o;
	struct frame f;

	frame_udp(&f, flow, "x", 1);
	if (!expect_delivered_as(&f, TUN6, WEIR_R_STEERED, &o))
		return 0;
	return (o.b[15] & 15) << 16 | o.b[16] << 8 | o.b[17];
}

static void test_flow_label(void)
{
	__u32 labels[64];
	struct flow flow;
	int same = 0;

	test_begin("an outer flow label is the flow's: the same for its packets, others for other flows");
	for (int i = 0; i < 64; i++) {
		flow_to(&flow, TUN6, i & 1 ? 6 : 4, 41000 + i / 2);
		labels[i] = label_of(&flow);
		CHECK_INT(label_of(&flow), labels[i]);
		for (int k = 0; k < i; k++)
			same += labels[k] == labels[i];
	}
	CHECK(same <= 1); /* by chance: 64 of a million */
	test_end();
}

/* RFC 6864, 4.1: an id matters where a datagram may be fragmented, and must not be used twice soon. */
static void test_outer_id(void)
{
	__u16 ids[16];
	struct outcome o;
	struct frame f;
	struct flow flow;
	int same = 0;

	test_begin("an outer IPv4 id is 0 with DF, else another one for each packet");
	flow_to(&flow, TUN4, 4, 40011);
	for (int i = 0; i < 16; i++) {
		frame_udp(&f, &flow, "x", 1);
		frame_set_df(&f, false);
		expect_delivered_as(&f, TUN4, WEIR_R_STEERED, &o);
		ids[i] = o.b[18] << 8 | o.b[19];
		for (int k = 0; k < i; k++)
			same += ids[k] == ids[i];
	}
	CHECK(same <= 1);
	frame_set_df(&f, true);
	expect_delivered_as(&f, TUN4, WEIR_R_STEERED, &o);
	CHECK_INT(o.b[18] << 8 | o.b[19], 0);
	test_end();
}

/* Puts options of IPv4, or extension headers, into a frame. */
static void add_options(struct frame *f)
{
	static const __u8 router_alert[8] = {0x94, 4, 0, 0, 1, 1, 1, 0};
	__u8 dest[24] = {IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0, f->proto, 1, 1, 12};

	if (f->family == 4)
		frame_options(f, router_alert, sizeof(router_alert), 0);
	else
		frame_options(f, dest, sizeof(dest), IPPROTO_HOPOPTS);
}

static void test_options(const struct way *way, int family)
{
	struct flow flow;
	struct frame f;

	if (!flow_to(&flow, way, family, 40012))
		return;
	test_begin(say("IPv%d by %s: IP options and extension headers go along", family, way->says));
	for (size_t i = 0; i < KINDS; i++) {
		make(&f, &flow, &kinds[i]);
		add_options(&f);
		expect_delivered(&f, way);
	}
	test_end();
}

/* Clients come in over the other interface. */
static void test_other_side(const struct way *way, int family)
{
	struct way from1 = *way;
	struct flow flow;
	struct frame f;

	if (!flow_to(&flow, way, family, 40013))
		return;
	test_begin(say("IPv%d by %s: from the other interface", family, way->says));
	from1.action = way->action == XDP_TX ? XDP_REDIRECT : XDP_TX;
	edge.from = edge.eth1;
	for (size_t i = 0; i < KINDS; i++) {
		make(&f, &flow, &kinds[i]);
		expect_delivered(&f, &from1);
	}
	edge.from = edge.eth0;
	test_end();
}

/* ---- which way, and none ---------------------------------------------------------------------- */

static const struct way nowhere = {"nothing", "192.0.2.11", "2001:db8::11", .via = WEIR_VIA_L2};
static const struct way nowhere_reset = {"a reset", "192.0.2.12", "2001:db8::12", .via = WEIR_VIA_L2};
static const struct way whole = {"L2, without fragments",
				 "192.0.2.14",
				 "2001:db8::14",
				 WEIR_VIA_L2,
				 4,
				 "10.8.0.1",
				 NULL,
				 MAC_A4,
				 MAC_EDGE0,
				 ETH0,
				 0,
				 443};
static const struct way lost = {"a hop nobody knows", "192.0.2.15", "2001:db8::15", .via = WEIR_VIA_TUNNEL};

static const struct way found = {"that hop, now known",
				 "192.0.2.15",
				 NULL,
				 WEIR_VIA_TUNNEL,
				 4,
				 "10.8.0.77",
				 "10.8.0.254",
				 MAC_A4,
				 MAC_EDGE0,
				 ETH0,
				 0,
				 443};

static void test_no_backend(void)
{
	struct way moved = found;
	struct flow flow;
	struct frame f;

	for (int family = 4; family <= 6; family += 2) {
		test_begin(say("IPv%d: no backend is left: dropped", family));
		flow_to(&flow, &nowhere, family, 40020);
		for (size_t i = 0; i < KINDS; i++) {
			make(&f, &flow, &kinds[i]);
			edge_untouched(&f, WEIR_R_NO_BACKEND);
		}
		test_end();
	}
	test_begin("the next hop is not known: dropped");
	for (int family = 4; family <= 6; family += 2) {
		flow_to(&flow, &lost, family, 40021);
		frame_udp(&f, &flow, "x", 1);
		edge_untouched(&f, WEIR_R_NO_ROUTE);
	}
	test_end();
	test_begin("the next hop becomes known: the next packet goes there");
	sh("ip neigh add 10.8.0.77 lladdr 02:00:00:00:b8:04 dev eth0 nud permanent");
	flow_to(&flow, &lost, 4, 40021);
	frame_udp(&f, &flow, "x", 1);
	expect_delivered(&f, &found);
	test_end();
	test_begin("the next hop gets another address: from the next tick on; it is no longer known: kept "
		   "for a while");
	sh("ip neigh replace 10.8.0.77 lladdr 02:00:00:00:b8:06 dev eth0 nud permanent");
	moved.dst = MAC_A6;
	next_tick();
	expect_delivered(&f, &moved);
	sh("ip neigh del 10.8.0.77 dev eth0");
	next_tick();
	expect_delivered(&f, &moved);
	test_end();
}

/* RFC 9293, 3.10.7.1, of a closed connection. */
static void want_reset(struct frame *want, const struct flow *flow, const struct tcp *t, size_t len)
{
	struct flow back = {.src = flow->dst,
			    .dst = flow->src,
			    .sport = flow->dport,
			    .dport = flow->sport,
			    .tags = flow->tags};
	struct tcp r = {.flags = TCP_RST};

	if (t->flags & TCP_ACK) {
		r.seq = t->ack;
	} else {
		r.flags |= TCP_ACK;
		r.ack = t->seq + len + !!(t->flags & TCP_SYN) + !!(t->flags & TCP_FIN);
	}
	frame_tcp(want, &back, &r, NULL, 0);
	frame_macs(want, MAC_CLIENT, MAC_EDGE0);
	frame_set_ttl(want, 64);
	if (want->family == 4) {
		frame_put16(want, want->l3 + 4, 0);
		frame_set_df(want, true);
	} else {
		memcpy(want->b + want->l3, "\x60\0\0", 4);
	}
	frame_pad(want, 60, 0);
}

struct reset_row {
	const char *says;
	struct tcp tcp;
	size_t len, pad;
};

static const struct reset_row reset_rows[] = {
	{"a SYN", {.seq = 7, .flags = TCP_SYN, .options = 20}, 0, 0},
	{"a SYN with data", {.seq = 0xfffffff0, .flags = TCP_SYN}, 100, 0},
	{"a SYN with FIN", {.seq = 7, .flags = TCP_SYN | TCP_FIN}, 1, 0},
	{"data with an ACK", {.seq = 9, .ack = 0xdeadbeef, .flags = TCP_ACK | TCP_PSH}, 1001, 0},
	{"data without an ACK", {.seq = 9, .flags = TCP_PSH}, 11, 0},
	{"FIN with an ACK", {.seq = 9, .ack = 1, .flags = TCP_ACK | TCP_FIN}, 0, 0},
	{"FIN without an ACK", {.seq = 9, .flags = TCP_FIN}, 4, 0},
	{"no flag at all", {.seq = 9}, 0, 0},
	{"padding that is no data", {.seq = 9, .flags = TCP_SYN}, 0, 100},
	{"a SYN-ACK", {.seq = 9, .ack = 77, .flags = TCP_SYN | TCP_ACK}, 0, 0},
};

static void test_fail_reset(void)
{
	struct frame f, want;
	struct flow flow;

	for (int i = 0; i < 6; i++) {
		flow_to(&flow, &nowhere_reset, i & 1 ? 6 : 4, 40030);
		flow.tags = i / 2;
		test_begin(say("IPv%d, %d tags, fail: reset: TCP is reset as RFC 9293 says", i & 1 ? 6 : 4,
			       flow.tags));
		for (size_t k = 0; k < sizeof(reset_rows) / sizeof(*reset_rows); k++) {
			const struct reset_row *r = &reset_rows[k];

			frame_tcp(&f, &flow, &r->tcp, some_bytes(), r->len);
			frame_pad(&f, r->pad, 0x55);
			want_reset(&want, &flow, &r->tcp, r->len);
			if (!expect_answer(&f, WEIR_R_RESET, &want))
				printf("# it was %s\n", r->says);
		}
		frame_tcp(&f, &flow, &syn, NULL, 0);
		add_options(&f);
		want_reset(&want, &flow, &syn, 0);
		expect_answer(&f, WEIR_R_RESET, &want);
		test_end();
	}
	test_begin("fail: reset: an RST and UDP are not answered");
	for (int family = 4; family <= 6; family += 2) {
		flow_to(&flow, &nowhere_reset, family, 40031);
		frame_tcp(&f, &flow, &rst, NULL, 0);
		edge_untouched(&f, WEIR_R_NO_BACKEND);
		frame_tcp(&f, &flow, &(struct tcp){.flags = TCP_RST | TCP_ACK}, NULL, 0);
		edge_untouched(&f, WEIR_R_NO_BACKEND);
		frame_udp(&f, &flow, "x", 1);
		edge_untouched(&f, WEIR_R_NO_BACKEND);
	}
	test_end();
}

static int send_tcp(const struct flow *flow, const struct tcp *tcp)
{
	struct outcome o;
	struct frame f;

	frame_tcp(&f, flow, tcp, "data", tcp->flags & TCP_SYN ? 0 : 4);
	edge_run(&f, &o);
	return went_to(&o);
}

static void test_dead(int family)
{
	const struct pools_mem *m = edge_pools();
	struct frame f, want;
	struct flow flow;
	int first, next, backend;
	char name[8];

	test_begin(say("IPv%d: a dead backend's connection is reset, the next SYN goes elsewhere", family));
	flow_to(&flow, &many, family, 40040);
	first = send_tcp(&flow, &syn);
	CHECK(first);
	CHECK_INT(send_tcp(&flow, &ack), first);
	snprintf(name, sizeof(name), "b%d", first);
	CHECK_INT(active_of("many", name), 1);
	backend = backend_of("many", name);
	pools_health(m, backend, WEIR_HEALTH_DOWN, "test");
	frame_tcp(&f, &flow, &ack, "data", 4);
	want_reset(&want, &flow, &ack, 4);
	expect_answer(&f, WEIR_R_RESET, &want);
	CHECK_INT(active_of("many", name), 0);
	next = send_tcp(&flow, &syn);
	CHECK(next && next != first);
	CHECK_INT(send_tcp(&flow, &ack), next);
	pools_health(m, backend, WEIR_HEALTH_UP, NULL);
	CHECK_INT(send_tcp(&flow, &ack), next);
	send_tcp(&flow, &rst);
	test_end();
}

static void test_dead_udp(void)
{
	const struct pools_mem *m = edge_pools();
	struct outcome o;
	struct frame f;
	struct flow flow;
	char name[8];
	int first;

	test_begin("a dead backend's UDP flow goes elsewhere at once");
	flow_to(&flow, &many, 4, 40041);
	frame_udp(&f, &flow, "x", 1);
	edge_run(&f, &o);
	first = went_to(&o);
	CHECK(first);
	snprintf(name, sizeof(name), "b%d", first);
	pools_health(m, backend_of("many", name), WEIR_HEALTH_DOWN, "test");
	edge_run(&f, &o);
	CHECK_REASON(o.reason, WEIR_R_STEERED);
	CHECK(went_to(&o) && went_to(&o) != first);
	pools_health(m, backend_of("many", name), WEIR_HEALTH_UP, NULL);
	test_end();
}

/* ---- fragments -------------------------------------------------------------------------------- */

static void test_fragments_way(const struct way *way, int family)
{
	struct frame all, first, later, last, total;
	struct flow flow;

	if (!flow_to(&flow, way, family, 40050))
		return;
	test_begin(say("IPv%d by %s: all fragments of a packet go the same way", family, way->says));
	frame_udp(&all, &flow, some_bytes(), 1000);
	if (family == 4)
		frame_put16(&all, all.l3 + 4, 0x4242);
	frame_fragment(&first, &all, 0, 400, true);
	frame_fragment(&later, &all, 400, 400, true);
	frame_fragment(&last, &all, 800, 208, false);
	edge_untouched(&later, WEIR_R_FRAGMENT_DROP);
	edge_untouched(&last, WEIR_R_FRAGMENT_DROP);
	/* Of NAT the checksum is in the first, over the whole. */
	want_delivered(&total, &all, way, 0, 0);
	for (int i = 0; i < 2; i++) {
		struct frame want;
		struct outcome o;

		edge_run(&first, &o);
		want_like(&want, &first, way, &o);
		if (way->via == WEIR_VIA_NAT)
			frame_put16(&want, frame_csum_at(&want), frame_get16(&total, frame_csum_at(&total)));
		check_out(&o, WEIR_R_STEERED, way->action, &want);
		expect_delivered(&later, way);
		expect_delivered(&last, way);
	}
	test_end();
}

static void test_fragments_off(void)
{
	struct frame all, f;
	struct flow flow;

	test_begin("fragments: drop: none is taken, whole packets are");
	for (int family = 4; family <= 6; family += 2) {
		flow_to(&flow, &whole, family, 40051);
		frame_udp(&all, &flow, some_bytes(), 1000);
		expect_delivered(&all, &whole);
		frame_fragment(&f, &all, 0, 400, true);
		edge_untouched(&f, WEIR_R_FRAGMENT_DROP);
		frame_fragment(&f, &all, 400, 608, false);
		edge_untouched(&f, WEIR_R_FRAGMENT_DROP);
	}
	test_end();
}

static void test_fragments_of_others(void)
{
	struct frame all, f;
	struct flow flow;

	test_begin("a later fragment of another packet, or to another address, does not follow the first");
	for (int family = 4; family <= 6; family += 2) {
		flow_to(&flow, L2, family, 40052);
		frame_udp(&all, &flow, some_bytes(), 1000);
		frame_fragment(&f, &all, 0, 400, true);
		expect_delivered(&f, L2);
		frame_fragment(&f, &all, 400, 608, false);
		f.b[family == 4 ? f.l3 + 5 : f.l4 - 1] ^= 1; /* the last byte of the id */
		if (family == 4)
			frame_fix_ip_csum(&f);
		edge_untouched(&f, WEIR_R_FRAGMENT_DROP);
		frame_fragment(&f, &all, 400, 608, false);
		frame_set_source(&f, family == 4 ? "198.51.100.8" : "2001:db8:c::8", 0);
		edge_untouched(&f, WEIR_R_FRAGMENT_DROP);
		frame_fragment(&f, &all, 400, 608, false);
		frame_set_dest(&f, family == 4 ? "192.0.2.200" : "2001:db8::200", 0);
		edge_untouched(&f, WEIR_R_OTHER);
	}
	test_end();
}

/* ---- frames that lie -------------------------------------------------------------------------- */

static void test_truncated(const struct way *way, int family)
{
	struct frame f, cut;
	struct flow flow;
	struct outcome o;

	if (!flow_to(&flow, way, family, 40060))
		return;
	test_begin(say("IPv%d by %s: cut anywhere, with or without right lengths: untouched or whole", family,
		       way->says));
	for (flow.tags = 0; flow.tags < 3; flow.tags += 2) {
		make(&f, &flow, &kinds[1]);
		for (cut = f, cut.len = 14; cut.len < f.len; cut.len++) {
			edge_send(&cut, &o);
			CHECK_INT(o.action, XDP_PASS);
			CHECK_MEM(o.b, o.len, cut.b, cut.len);
		}
	}
	flow.tags = 0;
	for (size_t len = 0; len < 60; len++) { /* the header's length says so, too */
		frame_tcp(&f, &flow, &ack, some_bytes(), 60);
		f.len = f.l4 + len;
		frame_put16(&f, f.l3 + (family == 4 ? 2 : 4), (family == 4 ? 20 : 0) + len);
		if (family == 4)
			frame_fix_ip_csum(&f);
		edge_send(&f, &o);
		CHECK_INT(o.action, len < 20 ? XDP_PASS : way->action);
		if (len < 20)
			CHECK_MEM(o.b, o.len, f.b, f.len);
	}
	test_end();
}

static void test_lies(void)
{
	struct frame f;
	struct flow flow;

	test_begin("a header that contradicts the frame: passed, untouched");
	flow_to(&flow, L2, 4, 40061);
	frame_udp(&f, &flow, "hello", 5);
	frame_put16(&f, f.l3 + 2, f.len - f.l3 + 1);
	frame_fix_ip_csum(&f);
	edge_untouched(&f, WEIR_R_MALFORMED);
	frame_udp(&f, &flow, "hello", 5);
	f.b[f.l3 + 10] ^= 1; /* the checksum */
	edge_untouched(&f, WEIR_R_MALFORMED);
	frame_udp(&f, &flow, "hello", 5);
	f.b[f.l3] = 0x44;
	frame_fix_ip_csum(&f);
	edge_untouched(&f, WEIR_R_MALFORMED);
	flow_to(&flow, L2, 6, 40061);
	frame_udp(&f, &flow, "hello", 5);
	frame_put16(&f, f.l3 + 4, f.len - f.l3 - 40 + 1);
	edge_untouched(&f, WEIR_R_MALFORMED);
	test_end();
	test_begin("another port, another address, another protocol: passed, untouched");
	for (int family = 4; family <= 6; family += 2) {
		flow_to(&flow, L2, family, 40062);
		flow.dport = 444;
		frame_udp(&f, &flow, "hello", 5);
		edge_untouched(&f, WEIR_R_OTHER);
		flow.dport = 443;
		flow.dst = family == 4 ? "192.0.2.200" : "2001:db8::200";
		frame_tcp(&f, &flow, &syn, NULL, 0);
		edge_untouched(&f, WEIR_R_OTHER);
		flow_to(&flow, L2, family, 40062);
		frame_udp(&f, &flow, "hello", 5);
		f.b[f.l3 + (family == 4 ? 9 : 6)] = 132;
		frame_set_ttl(&f, 9);
		edge_untouched(&f, WEIR_R_OTHER);
	}
	test_end();
}

/* The agent asks backends as clients do, and is answered as they are: from a service's address. */
static void test_probe_answer(const struct way *way, int family)
{
	struct tcp answer = {.seq = 0x55667788, .ack = 0x10203041, .flags = TCP_SYN | TCP_ACK, .window = 64240};
	struct flow flow, back;
	struct frame f;

	if (!flow_to(&flow, way, family, 61234))
		return;
	test_begin(say("IPv%d by %s: what answers this host's own probes is passed, untouched", family, way->says));
	back = (struct flow){.src = flow.dst, .sport = flow.dport, .dport = flow.sport};
	back.dst = family == 4 ? "10.8.0.254" : "fd08::fe";
	frame_tcp(&f, &back, &answer, NULL, 0);
	edge_untouched(&f, WEIR_R_OTHER);
	answer.flags = TCP_RST | TCP_ACK;
	frame_tcp(&f, &back, &answer, NULL, 0);
	edge_untouched(&f, WEIR_R_OTHER);
	test_end();
}

/* On a segment that floods, the frames of others come by as well. */
static void test_destination(void)
{
	static const __u8 other[6] = {0x02, 0, 0, 0, 0x5e, 0x99}, group[6] = {1, 0, 0x5e, 0, 0, 1};
	struct flow flow;
	struct frame f;

	test_begin("a frame to another host's MAC address, or to a group, is not steered");
	flow_to(&flow, L2, 4, 40063);
	frame_udp(&f, &flow, "hello", 5);
	frame_macs(&f, other, MAC_CLIENT);
	edge_untouched(&f, WEIR_R_OTHER_HOST);
	frame_macs(&f, group, MAC_CLIENT);
	edge_untouched(&f, WEIR_R_OTHER_HOST);
	frame_macs(&f, MAC_EDGE0, MAC_CLIENT);
	expect_delivered(&f, L2);
	flow_to(&flow, &nowhere_reset, 6, 40063);
	frame_tcp(&f, &flow, &syn, NULL, 0);
	frame_macs(&f, other, MAC_CLIENT);
	edge_untouched(&f, WEIR_R_OTHER_HOST);
	test_end();
}

/* ---- large frames ------------------------------------------------------------------------------ */

/* With an MTU that takes several buffers a frame. */
static void test_large(const struct way *way, int family)
{
	size_t hdr = family == 4 ? 28 : 48,
	       outer = way->via == WEIR_VIA_TUNNEL ? way->family == 4 ? 20 : 40 : 0;
	struct frame f;
	struct flow flow;
	struct outcome o;

	if (way->action != XDP_TX || !flow_to(&flow, way, family, 40070))
		return;
	test_begin(say("IPv%d by %s: a frame of several buffers", family, way->says));
	for (flow.tags = 0; flow.tags < 3; flow.tags++) {
		frame_udp(&f, &flow, some_bytes(), 9000 - outer - hdr);
		expect_delivered(&f, way);
		frame_udp(&f, &flow, some_bytes(), 4000);
		expect_delivered(&f, way);
		frame_udp(&f, &flow, some_bytes(), 9001 - outer - hdr);
		edge_run(&f, &o);
		CHECK_REASON(o.reason, WEIR_R_TOO_BIG);
		CHECK(o.len < 600);
		frame_udp(&f, &flow, some_bytes(), 100);
		expect_delivered(&f, way);
	}
	test_end();
}

/* ---- for real ---------------------------------------------------------------------------------- */

static bool same(const struct frame *a, const struct frame *b)
{
	return a->len == b->len && !memcmp(a->b, b->b, a->len);
}

/* Sends f so that it leaves for the wire, and looks at what arrives at an interface's other end. */
static void test_wire(const struct way *way, const char *far)
{
	struct xdp_md ctx = {.ingress_ifindex = edge.eth0};
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = if_nametoindex(far)};
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
	struct frame f, want, got = {};
	struct flow flow;

	test_begin(say("by %s: arrives at %s, byte by byte", way->says, far));
	flow_to(&flow, way, way->vip4 ? 4 : 6, 40080);
	frame_tcp(&f, &flow, &syn, NULL, 0);
	frame_set_df(&f, true);
	want_delivered(&want, &f, way, 0, 0);
	ctx.data_end = f.len;
	CHECK(!bind(s, (void *)&at, sizeof(at)));
	for (int tries = 0; tries < 100 && !same(&got, &want); tries++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.b, .data_size_in = f.len, .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx), .repeat = 1, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
		ssize_t n;

		if (!tries)
			CHECK_INT(bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_prog(edge.s.fx)), &opts),
				  0);
		edge.counted = false;
		while (!same(&got, &want) && (n = recv(s, got.b, sizeof(got.b), 0)) > 0)
			got.len = n; /* others, too: the host looks for neighbours */
		usleep(10000);
	}
	CHECK_MEM(got.b, got.len, want.b, want.len);
	close(s);
	test_end();
}

static void test_wires(void)
{
	sh("ethtool -K eth0-far gro on && ethtool -K eth1-far gro on"); /* polls: then it takes such frames */
	test_wire(TUN4, "eth0-far");
	test_wire(FAR4, "eth1-far");
	test_wire(&ways[1], "eth1-far");
	test_wire(NAT6, "eth0-far");
}

/* ---- noise ------------------------------------------------------------------------------------- */

/* One to four bytes of the headers are anything. */
static void damage(struct frame *f)
{
	for (int n = 1 + random() % 4; n > 0; n--)
		f->b[12 + random() % 70 % (f->len - 12)] = random() % 3 ? random() : random() % 2 * 255;
	if (random() % 4 == 0)
		f->len = 14 + random() % (f->len - 13);
	if (f->family == 4 && f->len > f->l3 + 20 && random() % 2)
		frame_put16(f, f->l3 + 10, 0), frame_put16(f, f->l3 + 10, rfc1071(f->b + f->l3, 20));
}

static void test_noise(void)
{
	struct flow flow, back;
	struct icmp icmp = {};
	struct outcome o;
	struct frame f;
	int seen[5] = {}, bad = 0, n = rounds(30000), some = n / 30;

	test_begin(say("%d damaged frames: what is passed or dropped is untouched, and none is aborted", n));
	srandom(3);
	for (int i = 0; i < n && bad < 5; i++) {
		if (!flow_to(&flow, &ways[i % WAYS], i & 16 ? 6 : 4, 41000 + i))
			continue;
		flow.tags = random() % 8 ? 0 : random() % 3;
		make(&f, &flow, &kinds[random() % KINDS]);
		if (random() % 3 == 0) {
			back = (struct flow){
				.src = flow.dst, .dst = flow.src, .sport = 443, .dport = flow.sport};
			make(&f, &back, &kinds[1]);
			icmp.type = i & 16 ? 1 : 3;
			frame_icmp(&f, &flow, &icmp, f.b + f.l3, 60);
		}
		damage(&f);
		edge_send(&f, &o);
		seen[o.action < 0 || o.action > 4 ? 0 : o.action]++;
		bad += !CHECK(o.action > XDP_ABORTED);
		if (o.action == XDP_PASS || o.action == XDP_DROP)
			bad += !CHECK_MEM(o.b, o.len, f.b, f.len);
	}
	CHECK(seen[XDP_PASS] > some && seen[XDP_TX] > some && seen[XDP_REDIRECT] > some && seen[XDP_DROP]);
	test_end();
}

int main(void)
{
	make_host();
	rx_fixture_mac = 0x475e00000002;
	edge_open(true);
	each(test_way);
	each(test_tags);
	each(test_padding);
	each(test_fields);
	test_ttl_checksum();
	test_flow_label();
	test_outer_id();
	each(test_options);
	each(test_other_side);
	test_no_backend();
	test_fail_reset();
	test_dead(4);
	test_dead(6);
	test_dead_udp();
	each(test_fragments_way);
	test_fragments_off();
	test_fragments_of_others();
	each(test_truncated);
	test_lies();
	each(test_probe_answer);
	test_wires();
	test_noise();
	test_destination();
	edge_close();
	rx_fixture_mac = 0;
	rx_fixture_frags = true;
	sh("ip link set eth0 mtu 9000 && ip link set eth0-far mtu 9000");
	edge_open(true);
	each(test_large);
	edge_close();
	return test_done();
}
