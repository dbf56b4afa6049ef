/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packets of probes, byte by byte as another program made them from the RFCs, and what counts as an answer:
 * by the kernel's own filter, attached to a socket pair, and by what reads it afterwards. That they pass real
 * tunnels, and what backends say, is seen in tests/net/test_probe.sh.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../test.h"
#include "probe.h"

static struct config_vip vip_of(const char *text)
{
	struct config_vip vip = {};

	CHECK_INT(parse_endpoint(text, &vip), 0);
	return vip;
}

static void put(const char *text, __u8 *family, struct weir_addr *addr)
{
	struct config_vip vip = {};

	if (!text)
		return;
	CHECK_INT(parse_address(text, &vip), 0);
	*family = vip.family;
	*addr = vip.addr;
}

/* ---- as they leave ---------------------------------------------------------------------------- */

#define V4      "450000280000400040066ecb0a030001c0000201"
#define V4_SYN  V4 "ef32005089abcdef000000005002ffff9cbf0000"
#define V6      "6000000000140640fd03000000000000000000000000000120010db8000000000000000000000001"
#define V6_SYN  V6 "ef32005089abcdef000000005002ffff3e060000"
#define OUTER4  "0a0300010a03000b"
#define OUTER6  "40fd030000000000000000000000000001fd030000000000000000000000000011"
#define ADDRS4  "192.0.2.1:80", "10.3.0.1"
#define ADDRS6  "[2001:db8::1]:80", "fd03::1"
#define TUNNEL4 "10.3.0.1", "10.3.0.11"
#define TUNNEL6 "fd03::1", "fd03::11"

static const struct packet_row {
	const char *sentence, *vip, *from, *source, *backend;
	__u8 flags;
	const char *want;
} packet_rows[] = {
	{"IPv4 by L2", ADDRS4, NULL, "10.3.0.11", PROBE_SYN, V4_SYN},
	{"IPv4 by L2 to a backend of IPv6", ADDRS4, NULL, "fd03::11", PROBE_SYN, V4_SYN},
	{"IPv6 by L2", ADDRS6, NULL, "10.3.0.11", PROBE_SYN, V6_SYN},
	{"an RST", ADDRS4, NULL, "10.3.0.11", PROBE_RST, V4 "ef32005089abcdef000000005004ffff9cbd0000"},
	{"IPv4 in IPv4", ADDRS4, TUNNEL4, PROBE_SYN, "4500003c00004000400426ad" OUTER4 V4_SYN},
	{"IPv6 in IPv6", ADDRS6, TUNNEL6, PROBE_SYN, "600b1720003c29" OUTER6 V6_SYN},
	{"IPv4 in IPv6", ADDRS4, TUNNEL6, PROBE_SYN, "600b1720002804" OUTER6 V4_SYN},
	{"IPv6 in IPv4", ADDRS6, TUNNEL4, PROBE_SYN, "450000500000400040292674" OUTER4 V6_SYN},
};

static size_t build(const struct packet_row *r, __u8 *packet)
{
	struct probe_ask ask = {.vip = vip_of(r->vip), .via = r->source ? WEIR_VIA_TUNNEL : WEIR_VIA_L2};
	struct probe_packet p = {.port = 61234, .seq = 0x89abcdef, .flags = r->flags};
	__u8 family;

	put(r->from, &family, &p.from);
	put(r->source, &family, &ask.source);
	put(r->backend, &ask.family, &ask.backend);
	return probe_packet(&ask, &p, packet);
}

static void test_packets(void)
{
	for (size_t i = 0; i < sizeof(packet_rows) / sizeof(*packet_rows); i++) {
		__u8 packet[PROBE_PACKET_MAX];
		char text[2 * PROBE_PACKET_MAX + 1] = "";
		size_t len;

		test_begin(packet_rows[i].sentence);
		len = build(&packet_rows[i], packet);
		CHECK(len <= PROBE_PACKET_MAX);
		for (size_t b = 0; b < len; b++)
			sprintf(text + 2 * b, "%02x", packet[b]);
		CHECK_STR(text, packet_rows[i].want);
		test_end();
	}
}

/* ---- what answers ----------------------------------------------------------------------------- */

#define PORT(n)                   \
	{                         \
		(n) >> 8, (n)&255 \
	}

static const struct answer_row {
	const char *sentence;
	__u8 flags, port[2], proto;
	__u16 frag;       /* of IPv4 */
	unsigned options; /* words of it */
	bool passes;
} answer_rows[] = {
	{"a SYN-ACK", 0x12, PORT(61000), 6, 0, 0, true},
	{"a SYN-ACK with ECN", 0x52, PORT(65535), 6, 0, 0, true},
	{"an RST-ACK", 0x14, PORT(62000), 6, 0, 0, true},
	{"a SYN-ACK behind IP options", 0x12, PORT(62000), 6, 0, 10, true},
	{"a SYN-ACK with DF", 0x12, PORT(62000), 6, 0x4000, 0, true},
	{"an RST that acknowledges nothing", 0x04, PORT(62000), 6, 0, 0, false},
	{"a SYN", 0x02, PORT(62000), 6, 0, 0, false},
	{"data", 0x18, PORT(62000), 6, 0, 0, false},
	{"a FIN", 0x11, PORT(62000), 6, 0, 0, false},
	{"a port of somebody else", 0x12, PORT(60999), 6, 0, 0, false},
	{"UDP", 0x12, PORT(62000), 17, 0, 0, false},
	{"a later fragment", 0x12, PORT(62000), 6, 0x2001, 0, false},
};

static size_t answer(const struct answer_row *r, int family, __u8 *d)
{
	size_t head = family == 4 ? 20 + 4 * r->options : 40;

	memset(d, 0, head + 20);
	if (family == 4) {
		d[0] = 0x40 + head / 4;
		d[6] = r->frag >> 8;
		d[7] = r->frag;
		d[9] = r->proto;
		memcpy(d + 12, "\xc0\x00\x02\x01\x0a\x03\x00\x01", 8);
	} else {
		d[0] = 0x60;
		d[6] = r->proto;
		d[8] = 0x20;
		d[24] = 0xfd;
	}
	memcpy(d + head, "\x00\x50", 2);
	memcpy(d + head + 2, r->port, 2);
	memcpy(d + head + 8, "\x89\xab\xcd\xf0", 4);
	d[head + 12] = 0x50;
	d[head + 13] = r->flags;
	return head + 20;
}

/* Two datagram sockets; of what is sent to the one the other hears what passes. */
static int filtered(int family, int *to)
{
	struct sock_fprog filter = probe_filter(family);
	int pair[2] = {-1, -1};

	CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	CHECK_INT(setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), 0);
	*to = pair[1];
	return pair[0];
}

static bool passes(int fd, int to, const __u8 *d, size_t len)
{
	__u8 got[256];
	bool sent = send(to, d, len, MSG_DONTWAIT) == (ssize_t)len;

	return sent && recv(fd, got, sizeof(got), MSG_DONTWAIT) == (ssize_t)len;
}

static void check_parsed(const struct answer_row *r, int family, const __u8 *d, size_t len)
{
	struct probe_answer a;

	for (size_t n = 0; n < len; n++) {
		__u8 *cut = malloc(n ?: 1); /* so that ASan sees what is read behind it */

		memcpy(cut, d, n);
		CHECK(!probe_parse(cut, n, family, &a));
		free(cut);
	}
	CHECK(probe_parse(d, len, family, &a));
	CHECK_INT(a.from.family, family);
	CHECK_INT(ntohs(a.from.port), 80);
	CHECK_INT(a.port, r->port[0] << 8 | r->port[1]);
	CHECK_INT(a.ack, 0x89abcdf0);
	CHECK_INT(a.flags, r->flags & 0x16);
	CHECK_MEM(&a.from.addr, 4, family == 4 ? "\xc0\x00\x02\x01" : "\x20\0\0\0", 4);
	CHECK_MEM(&a.to, 4, family == 4 ? "\x0a\x03\x00\x01" : "\xfd\0\0\0", 4);
}

static void test_answers(int family)
{
	int to, fd = filtered(family, &to);

	for (size_t i = 0; i < sizeof(answer_rows) / sizeof(*answer_rows); i++) {
		const struct answer_row *r = &answer_rows[i];
		char sentence[80];
		__u8 d[128];
		size_t len;

		if (family == 6 && (r->frag || r->options))
			continue;
		snprintf(sentence, sizeof(sentence), "IPv%d: %s %s", family, r->sentence,
			 r->passes ? "is an answer" : "is none");
		test_begin(sentence);
		len = answer(r, family, d);
		CHECK_INT(passes(fd, to, d, len), r->passes);
		if (r->passes)
			check_parsed(r, family, d, len);
		test_end();
	}
	close(fd);
	close(to);
}

static void test_lies(void)
{
	__u8 d[128];
	struct probe_answer a;
	size_t len = answer(&answer_rows[0], 4, d);

	test_begin("a header that contradicts the packet is no answer");
	d[0] = 0x44;
	CHECK(!probe_parse(d, len, 4, &a));
	d[0] = 0x4f;
	CHECK(!probe_parse(d, len, 4, &a));
	d[0] = 0x65;
	CHECK(!probe_parse(d, len, 4, &a));
	d[0] = 0x45;
	CHECK(probe_parse(d, len, 4, &a));
	CHECK(!probe_parse(d, len, 6, &a));
	test_end();
}

/* ---- sockets ---------------------------------------------------------------------------------- */

static void on_done(const char *why, __u64 latency_ns, void *arg)
{
}

static void test_sockets(void)
{
	const char *sentence = "a probe to where no route leads is refused at once; sockets are given back";
	struct probe_ask ask = {.vip = vip_of("192.0.2.1:80"), .via = WEIR_VIA_TUNNEL};
	struct probes *p = NULL;
	struct probe *k = NULL;
	sd_event *event = NULL;
	int err, fd = dup(0);

	close(fd);
	CHECK(sd_event_new(&event) >= 0);
	err = probes_new(&p, event);
	test_begin(sentence);
	if (err == -EPERM) {
		test_skip(sentence, "no CAP_NET_RAW");
	} else {
		CHECK_INT(err, 0);
		put("10.3.0.11", &ask.family, &ask.backend);
		ask.backend.w[0] = htonl(INADDR_BROADCAST); /* connect() refuses that */
		CHECK(probe_start(p, &ask, on_done, NULL, &k) < 0);
		CHECK(!k);
		probes_free(p);
		test_end();
	}
	sd_event_unref(event);
	CHECK_INT(dup(0), fd);
	close(fd);
}

int main(void)
{
	test_packets();
	test_answers(4);
	test_answers(6);
	test_lies();
	test_sockets();
	return test_done();
}
