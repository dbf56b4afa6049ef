// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What a steered packet's sender is told by ICMP, byte by byte (RFC 792, 1191, 1812, 4443), and the ICMP errors
 * of others about steered packets. Those about translated ones are in test_nat.c.
 */
#include <linux/bpf.h>
#include <unistd.h>

#include "steer_scene.h"

#define ROUTER4 "203.0.113.1"
#define ROUTER6 "2001:db8:ff::1"

/* ---- told to the sender ------------------------------------------------------------------------ */

/*
 * The error about f that its sender gets, with `quoted` bytes of it. RFC 1812, 4.3.2.3: at least the IP header
 * and eight bytes, at most 576 bytes in all; RFC 4443, 2.4 (c): at most 1280.
 */
static void want_error(struct frame *want, const struct frame *f, bool big, __u32 mtu, size_t quoted)
{
	struct flow back = {.src = f->flow.dst, .dst = f->flow.src, .tags = f->flow.tags};
	struct icmp error = {.rest = big ? mtu : 0};

	if (f->family == 4) {
		error.type = big ? 3 : 11;
		error.code = big ? 4 : 0;
	} else {
		error.type = big ? 2 : 3;
	}
	frame_icmp(want, &back, &error, f->b + f->l3, quoted);
	frame_macs(want, MAC_CLIENT, MAC_EDGE0);
	frame_pad(want, 60, 0);
}

static bool expect_error(const struct frame *f, int reason, bool big, __u32 mtu)
{
	size_t hdr = f->family == 4 ? 20 : 40, len = frame_ip_len(f), most = f->family == 4 ? 576 : 1280,
	       quoted;
	struct frame want, out = {.l3 = f->l3, .family = f->family};
	static __u32 tick, answers;
	struct outcome o;

	if (tick != flows_tick())
		tick = flows_tick(), answers = 0;
	if (++answers > 900) /* no more than a thousand are sent in a tick */
		next_tick();
	edge_run(f, &o);
	memcpy(out.b, o.b, o.len);
	quoted = frame_ip_len(&out) - hdr - 8;
	if (!CHECK_REASON(o.reason, reason) || !CHECK(quoted <= len) || !CHECK(quoted >= hdr + 8) ||
	    !CHECK(quoted + 3 >= len || quoted >= 500) || !CHECK(quoted + hdr + 8 <= most))
		return false;
	want_error(&want, f, big, mtu, quoted);
	len = want.l3 + frame_ip_len(&want);
	return CHECK_INT(o.action, XDP_TX) & CHECK_INT(o.len, want.len) &
	       CHECK_MEM(o.b, o.len < len ? o.len : len, want.b, len);
}

static void test_ttl(const struct way *way, int family)
{
	struct flow flow;
	struct frame f;

	if (!flow_to(&flow, way, family, 40100))
		return;
	test_begin(say("IPv%d by %s: TTL 1 and 0: time exceeded, back to the sender", family, way->says));
	for (flow.tags = 0; flow.tags < (way->action == XDP_TX ? 3 : 1); flow.tags++) {
		for (size_t i = 0; i < KINDS; i++) {
			make(&f, &flow, &kinds[i]);
			frame_set_ttl(&f, i & 1);
			if (!expect_error(&f, WEIR_R_TTL, false, 0))
				printf("# it was %s, %d tags\n", kinds[i].says, flow.tags);
		}
		for (size_t len = 470; !flow.tags && len < 490; len++) {
			frame_udp(&f, &flow, some_bytes(), len);
			frame_set_ttl(&f, 1);
			expect_error(&f, WEIR_R_TTL, false, 0);
		}
		frame_udp(&f, &flow, some_bytes(), 1400 - 48);
		frame_set_ttl(&f, 1);
		expect_error(&f, WEIR_R_TTL, false, 0);
		frame_udp(&f, &flow, some_bytes(), 3);
		frame_pad(&f, 200, 0xee);
		frame_set_ttl(&f, 1);
		expect_error(&f, WEIR_R_TTL, false, 0);
	}
	test_end();
}

/* A packet of `len` bytes, headers and all. */
static void make_len(struct frame *f, const struct flow *flow, bool tcp, size_t len)
{
	len -= f->family == 4 ? 20 : 40;
	if (tcp)
		frame_tcp(f, flow, &ack, some_bytes(), len - 20);
	else
		frame_udp(f, flow, some_bytes(), len - 8);
}

static void test_mtu(const struct way *way, int family)
{
	size_t outer = way->via == WEIR_VIA_TUNNEL ? way->family == 4 ? 20 : 40 : 0, most = way->mtu - outer;
	struct frame f = {.family = family};
	struct flow flow;

	if (!flow_to(&flow, way, family, 40101))
		return;
	test_begin(say("IPv%d by %s: %zu bytes pass, one more is told that MTU", family, way->says, most));
	for (int i = 0; i < 4; i++) {
		make_len(&f, &flow, i & 1, most);
		frame_set_df(&f, i & 2);
		expect_delivered(&f, way);
		make_len(&f, &flow, i & 1, most + 1);
		frame_set_df(&f, i & 2);
		expect_error(&f, WEIR_R_TOO_BIG, true, most);
	}
	make_len(&f, &flow, true, most);
	frame_pad(&f, f.len + 4, 0x11); /* a trailer is no part of the packet */
	expect_delivered(&f, way);
	make_len(&f, &flow, false, 3000);
	expect_error(&f, WEIR_R_TOO_BIG, true, most);
	test_end();
}

static void each(void (*test)(const struct way *way, int family))
{
	for (size_t i = 0; i < WAYS; i++) {
		test(&ways[i], 4);
		test(&ways[i], 6);
	}
}

/* RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e). */
static void test_senders(void)
{
	static const char *const nobody[] = {
		"0.0.0.0",   "0.1.2.3",         "127.0.0.1", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255", "::",        "ff02::1",   "ff05::2"};
	struct flow flow;
	struct frame f;

	test_begin("a source that no host has is told nothing");
	for (size_t i = 0; i < sizeof(nobody) / sizeof(*nobody); i++) {
		flow_to(&flow, L2, strchr(nobody[i], ':') ? 6 : 4, 40102);
		flow.src = nobody[i];
		frame_udp(&f, &flow, "hello", 5);
		frame_set_ttl(&f, 1);
		edge_untouched(&f, WEIR_R_ICMP_LIMIT);
		frame_udp(&f, &flow, some_bytes(), 1500);
		edge_untouched(&f, WEIR_R_ICMP_LIMIT);
	}
	test_end();
}

static void test_later_fragments(void)
{
	struct frame all, f;
	struct flow flow;

	test_begin("IPv4: no error about a later fragment; about the first there is");
	flow_to(&flow, L2, 4, 40103);
	frame_udp(&all, &flow, some_bytes(), 1000);
	frame_fragment(&f, &all, 0, 400, true);
	expect_delivered(&f, L2);
	frame_set_ttl(&f, 1);
	expect_error(&f, WEIR_R_TTL, false, 0);
	frame_fragment(&f, &all, 400, 608, false);
	frame_set_ttl(&f, 1);
	edge_untouched(&f, WEIR_R_ICMP_LIMIT);
	test_end();
}

/* The program counts by its own clock's ticks: the loop must not see two of them. */
static void test_limit(void)
{
	struct flow flow;
	struct outcome o;
	struct frame f;
	__u32 tick;
	int sent;

	test_begin("at most 1000 errors and resets a tick, then drops; more in the next");
	flow_to(&flow, L2, 4, 40104);
	frame_udp(&f, &flow, "hello", 5);
	frame_set_ttl(&f, 1);
	for (int tries = 0; tries < 5; tries++) {
		next_tick();
		tick = flows_tick();
		sent = 0;
		for (int i = 0; i < 1200; i++)
			sent += edge_send(&f, &o) == XDP_TX;
		if (flows_tick() == tick)
			break;
	}
	CHECK_INT(sent, 1000);
	CHECK_INT(o.action, XDP_DROP);
	CHECK_MEM(o.b, o.len, f.b, f.len);
	edge_untouched(&f, WEIR_R_ICMP_LIMIT);
	next_tick();
	expect_error(&f, WEIR_R_TTL, false, 0);
	test_end();
}

/* ---- errors of others --------------------------------------------------------------------------- */

struct error_row {
	const char *says;
	struct icmp v4, v6;
};

static const struct error_row error_rows[] = {
	{"unreachable", {3, 1, 0}, {1, 3, 0}},
	{"too big", {3, 4, 1400}, {2, 0, 1400}},
	{"time exceeded", {11, 0, 0}, {3, 0, 0}},
	{"parameter problem", {12, 0, 20 << 24}, {4, 0, 40}},
};
#define ERROR_ROWS (sizeof(error_rows) / sizeof(*error_rows))

/* An error by a router on the client's side, about a packet that a backend has sent the client as the service,
 * with `quoted` bytes of it behind its IP header. */
static void make_error(struct frame *f, const struct flow *flow, const struct icmp *icmp,
		       const struct tcp *tcp, size_t quoted)
{
	struct flow back = {.src = flow->dst, .dst = flow->src, .sport = flow->dport, .dport = flow->sport};
	bool v4 = !strchr(flow->dst, ':');
	struct flow error = {.src = v4 ? ROUTER4 : ROUTER6, .dst = flow->dst, .tags = flow->tags};
	struct frame sent;

	if (tcp)
		frame_tcp(&sent, &back, tcp, some_bytes(), 600);
	else
		frame_udp(&sent, &back, some_bytes(), 600);
	frame_icmp(f, &error, icmp, sent.b + sent.l3, (v4 ? 20 : 40) + quoted);
}

static void test_errors(const struct way *way, int family)
{
	struct flow flow;
	struct outcome o;
	struct frame f;

	if (way->via == WEIR_VIA_NAT || !flow_to(&flow, way, family, 40110))
		return;
	test_begin(say("IPv%d by %s: ICMP errors about its packets go to the backend", family, way->says));
	frame_tcp(&f, &flow, &syn, NULL, 0);
	expect_delivered(&f, way);
	for (size_t i = 0; i < ERROR_ROWS * 6; i++) {
		const struct error_row *r = &error_rows[i % ERROR_ROWS];
		static const size_t quoted[] = {8, 20, 500};

		flow.tags = way->action == XDP_TX ? i % 3 : 0;
		make_error(&f, &flow, family == 4 ? &r->v4 : &r->v6, i & 1 ? &ack : NULL,
			   quoted[i / ERROR_ROWS % 3]);
		if (!expect_delivered_as(&f, way, WEIR_R_ICMP_ERROR, &o))
			printf("# it was %s\n", r->says);
	}
	test_end();
}

static int send_to_many(const struct frame *f, int reason)
{
	struct outcome o;

	edge_run(f, &o);
	CHECK_REASON(o.reason, reason);
	return went_to(&o);
}

static void test_which_backend(int family)
{
	const struct icmp *icmp = family == 4 ? &error_rows[1].v4 : &error_rows[1].v6;
	unsigned known = 0, derived = 0;
	struct flow flow;
	struct frame f;
	int to;

	test_begin(
		say("IPv%d: an ICMP error reaches the backend that has the flow, or is to get it", family));
	for (int i = 0; i < 80; i++) {
		flow_to(&flow, &many, family, 42000 + i);
		frame_tcp(&f, &flow, &syn, NULL, 0);
		to = send_to_many(&f, WEIR_R_STEERED);
		make_error(&f, &flow, icmp, &ack, 8);
		CHECK_INT(send_to_many(&f, WEIR_R_ICMP_ERROR), to);
		known |= 1 << to;
		flow_to(&flow, &many, family, 43000 + i);
		make_error(&f, &flow, icmp, &ack, 8);
		to = send_to_many(&f, WEIR_R_ICMP_ERROR);
		frame_tcp(&f, &flow, &ack, NULL, 0);
		CHECK_INT(send_to_many(&f, WEIR_R_STEERED), to);
		derived |= 1 << to;
	}
	CHECK_INT(known, 0x1e); /* each backend had some */
	CHECK_INT(derived, 0x1e);
	test_end();
}

static void rewrite(struct frame *f, size_t at, __u8 byte)
{
	f->b[at] = byte;
	frame_fix_l4_csum(f);
}

/* Of nobody's flow: the host's own. */
static void test_not_ours(int family)
{
	const struct icmp *icmp = family == 4 ? &error_rows[0].v4 : &error_rows[0].v6;
	struct icmp echo = {family == 4 ? 8 : 128, 0, 0x12340001};
	struct flow flow, other;
	struct frame f, g;

	test_begin(say("IPv%d: ICMP that is about no flow of a pool passes untouched", family));
	flow_to(&flow, L2, family, 40120);
	other = (struct flow){.src = family == 4 ? ROUTER4 : ROUTER6, .dst = flow.dst};
	frame_icmp(&f, &other, &echo, some_bytes(), 56);
	edge_untouched(&f, WEIR_R_OTHER);
	make_error(&f, &flow, &echo, &ack, 20); /* looks like one inside */
	edge_untouched(&f, WEIR_R_OTHER);
	other = flow;
	other.dst = family == 4 ? "192.0.2.200" : "2001:db8::200";
	make_error(&f, &other, icmp, &ack, 20);
	edge_untouched(&f, WEIR_R_OTHER);
	frame_set_dest(&f, flow.dst, 0); /* quotes another address than it is sent to */
	frame_fix_l4_csum(&f);
	edge_untouched(&f, WEIR_R_OTHER);
	make_error(&f, &flow, icmp, &ack, 20);
	frame_set_dest(&f, other.dst, 0);
	frame_fix_l4_csum(&f);
	edge_untouched(&f, WEIR_R_OTHER);
	other = flow;
	other.dport = 444;
	make_error(&f, &other, icmp, &ack, 20);
	edge_untouched(&f, WEIR_R_OTHER);
	for (size_t i = 0; i < 8; i++) { /* too little to tell */
		make_error(&f, &flow, icmp, &ack, i);
		edge_untouched(&f, WEIR_R_OTHER);
		frame_pad(&f, f.len + 30, 0x11); /* and what is behind the packet tells nothing */
		edge_untouched(&f, WEIR_R_OTHER);
	}
	make_error(&f, &flow, icmp, &ack, 20);
	g = f;
	rewrite(&g, f.data + (family == 4 ? 9 : 6), 132); /* of SCTP */
	edge_untouched(&g, WEIR_R_OTHER);
	g = f;
	rewrite(&g, f.data, family == 4 ? 0x65 : 0x45); /* of another version */
	edge_untouched(&g, WEIR_R_OTHER);
	if (family == 4) {
		g = f;
		rewrite(&g, f.data + 7, 1); /* of a later fragment: no ports */
		edge_untouched(&g, WEIR_R_OTHER);
		g = f;
		rewrite(&g, f.data, 0x44);
		edge_untouched(&g, WEIR_R_OTHER);
	}
	for (g = f, g.len = 14; g.len < f.len; g.len++) { /* the frame is cut */
		struct outcome o;

		CHECK_INT(edge_send(&g, &o), XDP_PASS);
		CHECK_MEM(o.b, o.len, g.b, g.len);
	}
	test_end();
}

/* What stands in a later fragment of a ping is data, whatever it looks like. */
static void test_fragmented(int family)
{
	const struct icmp *icmp = family == 4 ? &error_rows[0].v4 : &error_rows[0].v6;
	struct frame error, all, f;
	struct flow flow, ping;
	struct icmp echo = {family == 4 ? 8 : 128, 0, 0x12340001};
	__u8 data[700];

	test_begin(say("IPv%d: fragments of ICMP pass untouched, whatever their data looks like", family));
	flow_to(&flow, L2, family, 40130);
	make_error(&error, &flow, icmp, &ack, 20);
	memcpy(data, some_bytes(), sizeof(data));
	memcpy(data + 400 - 8, error.b + error.l4, error.len - error.l4);
	ping = (struct flow){.src = family == 4 ? ROUTER4 : ROUTER6, .dst = flow.dst};
	frame_icmp(&all, &ping, &echo, data, sizeof(data));
	frame_fragment(&f, &all, 0, 400, true);
	edge_untouched(&f, WEIR_R_OTHER);
	frame_fragment(&f, &all, 400, 308, false);
	edge_untouched(&f, WEIR_R_OTHER);
	frame_fragment(&f, &error, 0, 48, true); /* nor is half an error one */
	edge_untouched(&f, WEIR_R_OTHER);
	test_end();
}

/* RFC 1812, 4.3.2.7: no error about an error. */
static void test_error_of_error(int family)
{
	const struct icmp *icmp = family == 4 ? &error_rows[0].v4 : &error_rows[0].v6;
	struct flow flow;
	struct frame f;

	test_begin(say("IPv%d: an ICMP error without a hop left, or too big, is told to nobody", family));
	flow_to(&flow, FAR4, family, 40140);
	make_error(&f, &flow, icmp, &ack, 100);
	frame_set_ttl(&f, 1);
	edge_untouched(&f, WEIR_R_ICMP_LIMIT);
	frame_icmp(&f, &(struct flow){.src = f.flow.src, .dst = f.flow.dst}, icmp, f.b + f.data, 1400);
	edge_untouched(&f, WEIR_R_ICMP_LIMIT);
	test_end();
}

static void test_others(void)
{
	each(test_errors);
	for (int family = 4; family <= 6; family += 2) {
		test_which_backend(family);
		test_not_ours(family);
		test_fragmented(family);
		test_error_of_error(family);
	}
}

int main(void)
{
	make_host();
	edge_open(true);
	each(test_ttl);
	each(test_mtu);
	test_senders();
	test_later_fragments();
	test_limit();
	test_others();
	edge_close();
	printf("# without any NAT\n");
	edge_open(false);
	test_others();
	edge_close();
	return test_done();
}
