// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What stands around the request: Ethernet, VLAN tags, IP, UDP, and who sends it to whom. */
#include <netinet/in.h>

#include "scene.h"

static struct scene scene;
static const struct item foo = {.key = "foo",
				.value = "bar",
				.client_flags = 5,
				.flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL,
				.cas = 17};
static struct msg get_foo, reply_foo, set_foo;

/* The hot copy of foo answers again, whatever was fenced before. */
static void refill(void)
{
	CHECK(scene_put(&scene, &foo) >= 0);
}

static void make(struct frame *f, struct flow flow)
{
	frame_udp(f, &flow, get_foo.b, get_foo.len);
}

/* ---- answered --------------------------------------------------------------------------------- */

static void test_answered(const char *says, struct flow flow)
{
	struct frame f;

	test_begin(says);
	refill();
	make(&f, flow);
	expect_reply(&scene, &f, reply_foo.b, reply_foo.len);
	test_end();
}

static struct flow with_tags(struct flow flow, int tags)
{
	flow.tags = tags;
	return flow;
}

static struct flow from(struct flow flow, const char *src, __u16 sport)
{
	flow.src = src;
	flow.sport = sport;
	return flow;
}

static void test_vlan(void)
{
	struct frame f;

	test_answered("IPv4", CLIENT4);
	test_answered("IPv6", CLIENT6);
	test_answered("IPv4 in a VLAN: the tag is kept", with_tags(CLIENT4, 1));
	test_answered("IPv6 in a VLAN", with_tags(CLIENT6, 1));
	test_answered("IPv4 in QinQ: both tags are kept", with_tags(CLIENT4, 2));
	test_answered("IPv6 in QinQ", with_tags(CLIENT6, 2));
	test_begin("three VLAN tags are none of ours");
	refill();
	make(&f, with_tags(CLIENT4, 3));
	expect_untouched(&scene, &f, WEIR_R_OTHER);
	test_end();
	test_begin("a VLAN tag around another protocol");
	make(&f, with_tags(CLIENT4, 1));
	frame_put16(&f, 16, 0x0806);
	expect_untouched(&scene, &f, WEIR_R_OTHER);
	test_end();
	test_begin("a priority tag (VLAN 0) is a tag like any other");
	make(&f, with_tags(CLIENT4, 1));
	frame_put16(&f, 14, 0);
	{
		struct frame want;
		struct outcome o;

		frame_reply(&want, &f, reply_foo.b, reply_foo.len, true);
		frame_put16(&want, 14, 0);
		scene_run(&scene, &f, &o);
		CHECK_MEM(o.b, o.len, want.b, want.len);
	}
	test_end();
}

/* Bytes behind the IP packet: Ethernet's padding. Over both families, for requests of any length. */
static void test_padding(void)
{
	struct flow flow[] = {CLIENT4, CLIENT6};
	struct item tiny = {.key = "k", .value = ""};
	struct msg m, r;
	struct frame f;

	test_begin("a frame padded to 60 bytes and more is answered, without its padding");
	refill();
	for (int i = 0; i < 2; i++) {
		for (size_t len = 60; len < 200; len += 20) {
			make(&f, flow[i]);
			frame_pad(&f, len, 0xee);
			expect_reply(&scene, &f, reply_foo.b, reply_foo.len);
		}
	}
	test_end();
	test_begin("a reply shorter than 60 bytes to a padded frame is padded");
	scene_put(&scene, &tiny);
	msg_text(&m, 9, "mg k\r\n");
	msg_text(&r, 9, "HD\r\n");
	for (int i = 0; i < 2; i++) {
		frame_udp(&f, &flow[i], m.b, m.len);
		frame_pad(&f, 60, 0xee);
		expect_reply(&scene, &f, r.b, r.len);
	}
	test_end();
	test_begin("padding is no part of the request");
	msg_text(&m, 9, "get foo");
	frame_udp(&f, &flow[0], m.b, m.len);
	f.b[f.len++] = '\r';
	f.b[f.len++] = '\n';
	expect_untouched(&scene, &f, WEIR_R_BAD_REQUEST);
	test_end();
}

/* ---- IPv4 ------------------------------------------------------------------------------------- */

/* A lie in one byte or word of the headers; the IPv4 checksum is right again behind it if `fix`. */
struct lie {
	const char *says;
	int l3, l4, eth; /* offset in the IP, the UDP or the Ethernet header, -1: not there */
	int bytes;       /* 1, 2 */
	__u16 value;
	bool fix;
	int reason;
};

#define IP(off, n, v, r, s)                            \
	{                                              \
		s, off, -1, -1, n, v, true, WEIR_R_##r \
	}
#define IP_RAW(off, n, v, r, s)                         \
	{                                               \
		s, off, -1, -1, n, v, false, WEIR_R_##r \
	}
#define UDP(off, n, v, r, s)                            \
	{                                               \
		s, -1, off, -1, n, v, false, WEIR_R_##r \
	}
#define ETH(off, n, v, r, s)                            \
	{                                               \
		s, -1, -1, off, n, v, false, WEIR_R_##r \
	}

/* The datagram has 8 + 8 + 9 bytes from the UDP header on, the IPv4 packet 45. */
static const struct lie ipv4_lies[] = {
	IP(0, 1, 0x40, MALFORMED, "IPv4: a header of no words"),
	IP(0, 1, 0x44, MALFORMED, "IPv4: a header of four words"),
	IP(0, 1, 0x55, MALFORMED, "IPv4: version 5"),
	IP(0, 1, 0x65, MALFORMED, "IPv4: version 6"),
	IP(0, 1, 0x4f, MALFORMED, "IPv4: a header longer than the packet"),
	IP(2, 2, 0, MALFORMED, "IPv4: total length 0"),
	IP(2, 2, 19, MALFORMED, "IPv4: total length below its header"),
	IP(2, 2, 20, MALFORMED, "IPv4: total length without UDP"),
	IP(2, 2, 27, MALFORMED, "IPv4: total length cuts the UDP header"),
	IP(2, 2, 44, MALFORMED, "IPv4: total length one short of UDP's"),
	IP(2, 2, 46, MALFORMED, "IPv4: total length one beyond the frame"),
	IP(2, 2, 65535, MALFORMED, "IPv4: total length far beyond the frame"),
	IP_RAW(10, 2, 0, MALFORMED, "IPv4: no header checksum"),
	IP_RAW(10, 2, 0xbeef, MALFORMED, "IPv4: a wrong header checksum"),
	IP_RAW(8, 1, 1, MALFORMED, "IPv4: a header checksum that is off by the TTL"),
	IP(6, 2, 0x4000, HIT, "IPv4: don't fragment"),
	IP(6, 2, 0x8000, HIT, "IPv4: the reserved bit is no fragment"),
	IP(8, 1, 1, HIT, "IPv4: TTL 1 has arrived"),
	IP(1, 1, 0xff, HIT, "IPv4: any type of service"),
	IP(6, 2, 0x2000, FRAGMENT, "IPv4: the first fragment"),
	IP(6, 2, 0x2001, FRAGMENT, "IPv4: a fragment in the middle"),
	IP(6, 2, 0x0001, FRAGMENT, "IPv4: the last fragment"),
	IP(6, 2, 0x1fff, FRAGMENT, "IPv4: the farthest fragment"),
	IP(9, 1, IPPROTO_TCP, TCP, "IPv4: TCP to the service"),
	IP(9, 1, IPPROTO_ICMP, OTHER, "IPv4: ICMP"),
	IP(9, 1, 136, OTHER, "IPv4: UDP-Lite"),
	IP(16, 1, 11, OTHER, "IPv4: to another address"),
	IP(19, 1, 2, OTHER, "IPv4: to the neighbour's address"),
	UDP(2, 2, 11212, OTHER, "to another port"),
	UDP(2, 2, 0, OTHER, "to port 0"),
	UDP(4, 2, 0, MALFORMED, "IPv4: UDP length 0"),
	UDP(4, 2, 7, MALFORMED, "UDP length 7"),
	UDP(4, 2, 8, BAD_FRAME, "UDP length 8: an empty datagram"),
	UDP(4, 2, 16, BAD_FRAME, "UDP length 16: a frame header alone"),
	UDP(4, 2, 24, BAD_REQUEST, "UDP length cuts the line's end"),
	UDP(4, 2, 26, MALFORMED, "UDP length one beyond the packet"),
	UDP(4, 2, 65535, MALFORMED, "UDP length far beyond the packet"),
	UDP(6, 2, 0, HIT, "IPv4: a request without a UDP checksum is answered with one"),
	ETH(12, 2, 0x0806, OTHER, "ARP"),
	ETH(12, 2, 0x0026, OTHER, "802.3 with a length"),
	ETH(12, 2, 0x86dd, MALFORMED, "an IPv4 packet under IPv6's type"),
};

static void tell_lie(struct frame *f, const struct lie *lie)
{
	size_t at = lie->l3 >= 0 ? f->l3 + lie->l3 : lie->l4 >= 0 ? f->l4 + lie->l4 : (size_t)lie->eth;

	if (lie->bytes == 1)
		f->b[at] = lie->value;
	else
		frame_put16(f, at, lie->value);
	if (lie->fix && f->family == 4)
		frame_fix_ip_csum(f);
}

static void test_lie(const struct lie *lie, struct flow flow)
{
	struct frame f;

	test_begin(lie->says);
	for (flow.tags = 0; flow.tags < 3; flow.tags++) {
		refill();
		make(&f, flow);
		if (lie->eth >= 0 && flow.tags)
			break;
		tell_lie(&f, lie);
		if (lie->reason == WEIR_R_HIT)
			expect_reply(&scene, &f, reply_foo.b, reply_foo.len);
		else
			expect_untouched(&scene, &f, lie->reason);
	}
	test_end();
}

static void test_ipv4_options(void)
{
	__u8 options[40];
	struct frame f;

	test_begin("IPv4 options of any length: a read is passed on");
	memset(options, 1, sizeof(options));
	refill();
	for (size_t len = 4; len <= 40; len += 4) {
		make(&f, CLIENT4);
		frame_options(&f, options, len, 0);
		CHECK(frame_csums_ok(&f));
		expect_untouched(&scene, &f, WEIR_R_OPTIONS);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	}
	test_end();
	test_begin("IPv4 options: a write is seen behind them");
	for (size_t len = 4; len <= 40; len += 4) {
		struct flow flow = CLIENT4;

		refill();
		frame_udp(&f, &flow, set_foo.b, set_foo.len);
		frame_options(&f, options, len, 0);
		expect_untouched(&scene, &f, WEIR_R_WRITE);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
	}
	test_end();
}

static void test_fragments_fence(void)
{
	static const __u16 frags[] = {0x2000, 0x2001, 0x0001};
	struct frame f;

	test_begin("each IPv4 fragment to the service fences it, and only this service's address");
	for (int i = 0; i < 3; i++) {
		refill();
		make(&f, CLIENT4);
		frame_put16(&f, f.l3 + 6, frags[i]);
		frame_fix_ip_csum(&f);
		expect_untouched(&scene, &f, WEIR_R_FRAGMENT);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
		refill();
		f.b[f.l3 + 19] = 77;
		frame_fix_ip_csum(&f);
		expect_untouched(&scene, &f, WEIR_R_OTHER);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	}
	test_end();
	test_begin("a stranger's fragments fence nothing where strangers are dropped");
	for (int i = 0; i < 3; i++) {
		make(&f, from(CLIENT4, "192.0.2.1", 40000));
		frame_put16(&f, f.l3 + 6, frags[i]);
		frame_fix_ip_csum(&f);
		expect_untouched(&scene, &f, i ? WEIR_R_OTHER : WEIR_R_STRANGER_DROP);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	}
	test_end();
	test_begin("later fragments of TCP fence the service, too: see test_track.c for the first ones");
	for (int i = 1; i < 3; i++) {
		make(&f, CLIENT4);
		frame_put16(&f, f.l3 + 6, frags[i]);
		f.b[f.l3 + 9] = IPPROTO_TCP;
		frame_fix_ip_csum(&f);
		expect_untouched(&scene, &f, WEIR_R_FRAGMENT);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
		refill();
	}
	test_end();
}

/* ---- IPv6 ------------------------------------------------------------------------------------- */

static const struct lie ipv6_lies[] = {
	IP(0, 1, 0x40, MALFORMED, "IPv6: version 4"),
	IP(4, 2, 0, MALFORMED, "IPv6: payload length 0"),
	IP(4, 2, 7, MALFORMED, "IPv6: payload length cuts the UDP header"),
	IP(4, 2, 24, MALFORMED, "IPv6: payload length one short of UDP's"),
	IP(4, 2, 26, MALFORMED, "IPv6: payload length one beyond the frame"),
	IP(4, 2, 65535, MALFORMED, "IPv6: payload length far beyond the frame"),
	IP(6, 1, IPPROTO_TCP, TCP, "IPv6: TCP to the service"),
	IP(6, 1, IPPROTO_ICMPV6, OTHER, "IPv6: ICMP"),
	IP(6, 1, 59, OTHER, "IPv6: no next header"),
	IP(7, 1, 1, HIT, "IPv6: hop limit 1 has arrived"),
	IP(1, 1, 0xff, HIT, "IPv6: any traffic class and flow label"),
	IP(39, 1, 2, OTHER, "IPv6: to the neighbour's address"),
	UDP(4, 2, 7, MALFORMED, "IPv6: UDP length 7"),
	UDP(4, 2, 8, BAD_FRAME, "IPv6: UDP length 8"),
	UDP(4, 2, 26, MALFORMED, "IPv6: UDP length one beyond the packet"),
	UDP(6, 2, 0, MALFORMED, "IPv6: a request without a UDP checksum, which every host drops"),
	ETH(12, 2, 0x0800, MALFORMED, "an IPv6 packet under IPv4's type"),
};

#define HBH  0
#define DST  60
#define RTG  43
#define FRAG 44
#define AH   51

struct chain {
	const char *says;
	__u8 types[12];
	int n;
	int read, write; /* the reasons of a get and of a set */
};

#define FENCES       -1 /* any reason, as long as it fences */
#define READ_OPTIONS WEIR_R_OPTIONS, WEIR_R_WRITE

static const struct chain chains[] = {
	{"IPv6: hop-by-hop options", {HBH}, 1, READ_OPTIONS},
	{"IPv6: destination options", {DST}, 1, READ_OPTIONS},
	{"IPv6: a routing header", {RTG}, 1, READ_OPTIONS},
	{"IPv6: an authentication header", {AH}, 1, READ_OPTIONS},
	{"IPv6: an atomic fragment is a whole packet", {FRAG}, 1, READ_OPTIONS},
	{"IPv6: all kinds of extension headers", {HBH, DST, RTG, FRAG, AH, DST}, 6, READ_OPTIONS},
	{"IPv6: eight extension headers", {DST, DST, DST, DST, DST, DST, DST, DST}, 8, READ_OPTIONS},
	{"IPv6: nine extension headers: Linux delivers them, so a write must not pass unseen",
	 {DST, DST, DST, DST, DST, DST, DST, DST, DST},
	 9,
	 FENCES,
	 FENCES},
	{"IPv6: an extension header of an unknown kind", {DST, 140}, 2, WEIR_R_OTHER, WEIR_R_OTHER},
};

/* Each header of 16 bytes, but the fragment header, which has 8. */
static size_t make_chain(__u8 *out, const struct chain *c, __u16 frag)
{
	size_t len = 0;

	for (int i = 0; i < c->n; i++) {
		__u8 *h = out + len;
		size_t n = c->types[i] == FRAG ? 8 : 16;

		memset(h, 0, n);
		h[0] = i + 1 < c->n ? c->types[i + 1] : IPPROTO_UDP;
		if (c->types[i] == AH)
			h[1] = 2; /* in words, less two */
		else if (c->types[i] != FRAG)
			h[1] = 1; /* in eight bytes, less one */
		if (c->types[i] == DST || c->types[i] == HBH) {
			h[2] = 1; /* PadN */
			h[3] = 12;
		}
		if (c->types[i] == FRAG) {
			h[2] = frag >> 8;
			h[3] = frag;
		}
		len += n;
	}
	return len;
}

static void chained(struct frame *f, const struct msg *m, const struct chain *c, __u16 frag)
{
	struct flow flow = CLIENT6;
	__u8 bytes[256];
	size_t len = make_chain(bytes, c, frag);

	frame_udp(f, &flow, m->b, m->len);
	frame_options(f, bytes, len, c->types[0]);
}

/* The frame passes as it is, and what answered before does so no longer. */
static void expect_fence(const struct frame *f)
{
	struct outcome o;

	refill();
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	scene_run(&scene, f, &o);
	CHECK_INT(o.action, XDP_PASS);
	CHECK_MEM(o.b, o.len, f->b, f->len);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
}

static void test_chain(const struct chain *c)
{
	struct frame f;

	test_begin(c->says);
	refill();
	chained(&f, &get_foo, c, 0);
	if (c->read != FENCES)
		expect_untouched(&scene, &f, c->read);
	chained(&f, &set_foo, c, 0);
	if (c->write == WEIR_R_OTHER)
		expect_untouched(&scene, &f, c->write);
	else
		expect_fence(&f);
	test_end();
}

static void test_ipv6_fragments(void)
{
	struct chain plain = {"", {FRAG}, 1, 0, 0}, behind = {"", {DST, FRAG}, 2, 0, 0};
	struct chain before = {"", {FRAG, DST}, 2, 0, 0};
	const struct chain *c[] = {&plain, &behind, &before};
	static const __u16 frags[] = {0x0001, 0x0009, 0x0008, 0xfff8};
	struct frame f;

	test_begin("each IPv6 fragment to the service fences it");
	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 4; j++) {
			refill();
			chained(&f, &get_foo, c[i], frags[j]);
			expect_untouched(&scene, &f, WEIR_R_FRAGMENT);
			CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
		}
	}
	test_end();
	test_begin("also when the fragmented part begins with an extension header");
	for (int j = 0; j < 4; j++) {
		chained(&f, &get_foo, c[2], frags[j]);
		expect_fence(&f);
	}
	test_end();
	test_begin("an IPv6 extension header that claims more than the packet");
	for (int len = 1; len < 256; len += 2) {
		refill();
		chained(&f, &get_foo, &chains[1], 0);
		f.b[f.l3 + 41] = len;
		if (len == 1) /* the right one */
			continue;
		expect_untouched(&scene, &f, WEIR_R_MALFORMED);
	}
	test_end();
}

/* RFC 2675 lets the length be 0, and Linux takes such a datagram to reach as far as the packet. */
static void test_ipv6_udp_length_0(void)
{
	struct flow flow = CLIENT6;
	struct frame f;

	test_begin("IPv6: UDP length 0 is delivered by Linux, so a write must not pass unseen");
	frame_udp(&f, &flow, set_foo.b, set_foo.len);
	frame_put16(&f, f.l4 + 4, 0);
	expect_fence(&f);
	test_end();
}

/* ---- who sends it ----------------------------------------------------------------------------- */

struct sender {
	const char *says, *src;
	__u16 sport;
	int reason;
};

static const struct sender senders[] = {
	{"the first address of the client network", "10.0.0.0", 40000, WEIR_R_HIT},
	{"the last address of the client network", "10.255.255.255", 40000, WEIR_R_HIT},
	{"one below the client network", "9.255.255.255", 40000, WEIR_R_STRANGER_DROP},
	{"one above the client network", "11.0.0.0", 40000, WEIR_R_STRANGER_DROP},
	{"the whole Internet", "192.0.2.7", 40000, WEIR_R_STRANGER_DROP},
	{"nobody: 0.0.0.0", "0.0.0.0", 40000, WEIR_R_STRANGER_DROP},
	{"a multicast source", "224.0.0.1", 40000, WEIR_R_STRANGER_DROP},
	{"broadcast as a source", "255.255.255.255", 40000, WEIR_R_STRANGER_DROP},
	{"source port 0", "10.0.0.2", 0, WEIR_R_BAD_SOURCE},
	{"source port 1", "10.0.0.2", 1, WEIR_R_HIT},
	{"source port 65535", "10.0.0.2", 65535, WEIR_R_HIT},
	{"the service's own port: two servers would answer each other for ever", "10.0.0.2", 11211,
	 WEIR_R_BAD_SOURCE},
	{"the service's own address", "10.0.0.1", 40000, WEIR_R_BAD_SOURCE},
	{"the first IPv6 address of the client network", "fd00::", 40000, WEIR_R_HIT},
	{"the last IPv6 address of the client network", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 40000,
	 WEIR_R_HIT},
	{"one below the IPv6 client network", "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 40000,
	 WEIR_R_STRANGER_DROP},
	{"one above the IPv6 client network", "fe00::", 40000, WEIR_R_STRANGER_DROP},
	{"the whole IPv6 Internet", "2001:db8::1", 40000, WEIR_R_STRANGER_DROP},
	{"an IPv6 multicast source", "ff02::1", 40000, WEIR_R_STRANGER_DROP},
	{"IPv6 source port 0", "fd00::2", 0, WEIR_R_BAD_SOURCE},
	{"the service's own port over IPv6", "fd00::2", 11211, WEIR_R_BAD_SOURCE},
	{"the service's own IPv6 address", "fd00::1", 40000, WEIR_R_BAD_SOURCE},
};

/* The same where clients are nearly everybody. */
static const struct sender any_senders[] = {
	{"a client at 0.x.x.x is never answered", "0.1.2.3", 40000, WEIR_R_BAD_SOURCE},
	{"a client at loopback is never answered", "127.0.0.1", 40000, WEIR_R_BAD_SOURCE},
	{"a multicast client is never answered", "224.0.0.1", 40000, WEIR_R_BAD_SOURCE},
	{"the highest multicast client is never answered", "239.255.255.255", 40000, WEIR_R_BAD_SOURCE},
	{"a reserved client is never answered", "240.0.0.1", 40000, WEIR_R_BAD_SOURCE},
	{"a broadcast client is never answered", "255.255.255.255", 40000, WEIR_R_BAD_SOURCE},
	{"a client at 223.255.255.255", "223.255.255.255", 40000, WEIR_R_HIT},
	{"an IPv6 multicast client is never answered", "ff02::1", 40000, WEIR_R_BAD_SOURCE},
	{"the unspecified IPv6 client is never answered", "::", 40000, WEIR_R_BAD_SOURCE},
	{"the IPv6 loopback client is never answered", "::1", 40000, WEIR_R_BAD_SOURCE},
	{"a client in 2001:db8::", "2001:db8::1", 40000, WEIR_R_HIT},
};

static void test_sender(const struct sender *s)
{
	struct flow flow = strchr(s->src, ':') ? CLIENT6 : CLIENT4;
	struct frame f;

	test_begin(s->says);
	refill();
	make(&f, from(flow, s->src, s->sport));
	if (s->reason == WEIR_R_HIT)
		expect_reply(&scene, &f, reply_foo.b, reply_foo.len);
	else
		expect_untouched(&scene, &f, s->reason);
	frame_udp(&f, &f.flow, set_foo.b, set_foo.len);
	expect_untouched(&scene, &f, s->reason == WEIR_R_STRANGER_DROP ? WEIR_R_STRANGER_DROP : WEIR_R_WRITE);
	CHECK_REASON(reason_of_get(&scene, "foo"),
		     s->reason == WEIR_R_STRANGER_DROP ? WEIR_R_HIT : WEIR_R_FENCED);
	test_end();
}

static const char config_any[] = "interfaces: [{name: eth0}]\n"
				 "services:\n"
				 "  - name: test\n"
				 "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
				 "    clients: [0.0.0.0/1, 128.0.0.0/1, '::/1', '8000::/1']\n";

static const char config_pass[] = "interfaces: [{name: eth0}]\n"
				  "services:\n"
				  "  - name: test\n"
				  "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
				  "    clients: [192.168.0.0/16, 10.0.0.2, 'fd00::2']\n"
				  "    strangers: pass\n";

static void test_strangers_pass(void)
{
	const char *strangers[] = {"10.0.0.3", "192.167.255.255", "fd00::3"};

	test_begin("strangers: pass leaves their reads to the origin, and sees their writes");
	for (int i = 0; i < 3; i++) {
		struct flow flow = from(i < 2 ? CLIENT4 : CLIENT6, strangers[i], 40000);
		struct frame f;

		refill();
		make(&f, flow);
		expect_untouched(&scene, &f, WEIR_R_STRANGER_PASS);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
		frame_udp(&f, &flow, set_foo.b, set_foo.len);
		expect_untouched(&scene, &f, WEIR_R_WRITE);
		CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
	}
	test_end();
	test_answered("a client of the second network, a single host", CLIENT4);
	test_answered("a client of the first network", from(CLIENT4, "192.168.255.1", 40000));
}

static void test_destination(const char *says, __u8 first, __u8 last, int reason)
{
	struct flow flow = CLIENT4;
	struct frame f;

	test_begin(says);
	refill();
	make(&f, flow);
	f.b[0] = first;
	f.b[5] = last;
	if (reason == WEIR_R_HIT)
		expect_reply(&scene, &f, reply_foo.b, reply_foo.len);
	else
		expect_untouched(&scene, &f, reason);
	test_end();
}

/* The frames' builder sends to 02:00:00:00:5e:47. */
static void test_own_address(void)
{
	test_destination("a frame to the interface's own address is answered", 0x02, 0x47, WEIR_R_HIT);
	test_destination("a frame to another host's address is passed on", 0x02, 0x48, WEIR_R_OTHER_HOST);
	test_destination("a frame to a group is passed on", 0x03, 0x47, WEIR_R_OTHER_HOST);
}

static void test_in(const char *yaml, void (*tests)(void))
{
	struct scene first = scene;

	scene_open(&scene, yaml, 1500);
	tests();
	scene_close(&scene);
	scene = first;
}

static void test_any_senders(void)
{
	for (size_t i = 0; i < sizeof(any_senders) / sizeof(*any_senders); i++)
		test_sender(&any_senders[i]);
}

static void test_lies(void)
{
	struct flow flow4 = CLIENT4, flow6 = CLIENT6;

	for (size_t i = 0; i < sizeof(ipv4_lies) / sizeof(*ipv4_lies); i++)
		test_lie(&ipv4_lies[i], flow4);
	for (size_t i = 0; i < sizeof(ipv6_lies) / sizeof(*ipv6_lies); i++)
		test_lie(&ipv6_lies[i], flow6);
}

int main(void)
{
	msg_text(&get_foo, 0x4321, "get foo\r\n");
	msg_text(&reply_foo, 0x4321, "VALUE foo 5 3\r\nbar\r\nEND\r\n");
	msg_text(&set_foo, 0x4322, "set foo 0 0 1\r\nx\r\n");
	scene_open(&scene, NULL, 0);
	test_vlan();
	test_padding();
	test_lies();
	test_ipv4_options();
	test_fragments_fence();
	for (size_t i = 0; i < sizeof(chains) / sizeof(*chains); i++)
		test_chain(&chains[i]);
	test_ipv6_fragments();
	test_ipv6_udp_length_0();
	for (size_t i = 0; i < sizeof(senders) / sizeof(*senders); i++)
		test_sender(&senders[i]);
	test_in(config_any, test_any_senders);
	test_in(config_pass, test_strangers_pass);
	test_destination("a frame to a group is passed on, whatever the interface's address", 0x01, 0,
			 WEIR_R_OTHER_HOST);
	scene_close(&scene);
	rx_fixture_mac = 0x475e00000002;
	scene_open(&scene, NULL, 0);
	test_own_address();
	scene_close(&scene);
	return test_done();
}
