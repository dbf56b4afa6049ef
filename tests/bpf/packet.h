/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames for tests, made field by field: right at first, then bent on purpose. Checksums are computed
 * byte by byte as RFC 1071 words it, sharing nothing with the programs under test.
 */
#ifndef WEIR_TEST_PACKET_H
#define WEIR_TEST_PACKET_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define FRAME_MAX 9100
#define ETH_LEN   14

struct flow {
	const char *src, *dst; /* literal addresses; both of one family */
	__u16 sport, dport;
	int tags;     /* VLAN tags; of several the outermost is 802.1ad */
	bool no_csum; /* UDP checksum 0 */
};

struct frame {
	__u8 b[FRAME_MAX];
	size_t len;
	size_t l3, l4, data; /* offsets of the IP header, the UDP header, its payload */
	int family;          /* 4 or 6 */
	int proto;           /* of the header at l4; 0: there is none */
	struct flow flow;
};

/* A UDP datagram with everything right. */
void frame_udp(struct frame *f, const struct flow *flow, const void *data, size_t len);
/* The same flow's answer: addresses, ports and MACs swapped, tags kept, TTL 64, DF, no IP id. */
void frame_reply(struct frame *f, const struct frame *request, const void *data, size_t len, bool csum);

__u16 frame_get16(const struct frame *f, size_t at);
void frame_put16(struct frame *f, size_t at, __u16 v);
/* Puts bytes in before `at`; what lies behind moves, offsets with it. Lengths in headers stay. */
void frame_insert(struct frame *f, size_t at, const void *bytes, size_t len);
/* Appends bytes behind what the IP header covers. */
void frame_pad(struct frame *f, size_t len, __u8 byte);
/* Sets the lengths in the IP and UDP headers from the offsets and the frame's length. */
void frame_fix_lengths(struct frame *f);
void frame_fix_ip_csum(struct frame *f);
void frame_fix_udp_csum(struct frame *f);
/* Puts IPv4 options (a multiple of 4 bytes), or IPv6 extension headers of which the first is of type
 * `first` and the last names the protocol behind, between the IP and the L4 header; all else is right again. */
void frame_options(struct frame *f, const void *bytes, size_t len, int first);

/* ---- TCP, ICMP, fragments, tunnels: for what is steered ---- */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_ECE 0x40

struct tcp {
	__u32 seq, ack;
	__u8 flags;
	__u16 window;
	size_t options; /* bytes of NOPs behind the header, a multiple of 4 */
};

/* A TCP segment with everything right. */
void frame_tcp(struct frame *f, const struct flow *flow, const struct tcp *tcp, const void *data, size_t len);

struct icmp {
	__u8 type, code;
	__u32 rest; /* the four bytes behind the checksum */
};

/* An ICMP or ICMPv6 message with everything right; ports of the flow are not used. TTL 64, DF, no IP id. */
void frame_icmp(struct frame *f, const struct flow *flow, const struct icmp *icmp, const void *data,
		size_t len);
/* Bytes [from, from + len) of what the whole packet has behind its IP header, as a fragment. */
void frame_fragment(struct frame *f, const struct frame *whole, size_t from, size_t len, bool more);

void frame_macs(struct frame *f, const __u8 *dst, const __u8 *src);
/* TOS or traffic class: DSCP and ECN. */
void frame_set_tos(struct frame *f, __u8 tos);
void frame_set_df(struct frame *f, bool df);
__u8 frame_ttl(const struct frame *f);
void frame_set_ttl(struct frame *f, __u8 ttl);
/* Another source or destination; the checksums are as they were. Port 0: stays. */
void frame_set_source(struct frame *f, const char *addr, __u16 port);
void frame_set_dest(struct frame *f, const char *addr, __u16 port);
/* An outer header in front of the IP header, RFC 2003, 2473, 4213: TTL 64, the rest from the inner one. */
void frame_outer(struct frame *f, const char *src, const char *dst, __u16 id, __u32 label);
/* Bytes of the IP packet, as its header says. */
size_t frame_ip_len(const struct frame *f);
/* The TCP, UDP or ICMP checksum that the frame should carry; of UDP 0xffff for 0. */
__u16 frame_l4_csum(const struct frame *f);
/* Where it stands. */
size_t frame_csum_at(const struct frame *f);
void frame_fix_l4_csum(struct frame *f);

/* RFC 1071: the sum of all 16-bit words, complemented, in host order. */
__u16 rfc1071(const void *p, size_t len);
/* The UDP checksum that the frame should carry, RFC 768 and RFC 8200; host order, 0xffff for 0. */
__u16 frame_udp_csum(const struct frame *f);
/* Whether the IPv4 header's checksum (if any) and the UDP checksum are right. */
bool frame_csums_ok(const struct frame *f);

/* What stands in a datagram: memcached's frame header and the request. */
struct msg {
	__u8 b[FRAME_MAX];
	size_t len;
};

void msg_frame(struct msg *m, __u16 id, __u16 seq, __u16 count);
void msg_add(struct msg *m, const void *p, size_t len);
void msg_text(struct msg *m, __u16 id, const char *text);

struct bin {
	__u8 magic; /* 0: a request's */
	__u8 op;
	const void *ext;
	size_t ext_len;
	const char *key;
	size_t key_len; /* 0: strlen */
	const void *value;
	size_t value_len;
	__u16 status; /* of a request: the vbucket */
	__u32 opaque;
	__u64 cas;
};

void msg_add_bin(struct msg *m, const struct bin *b);
void msg_bin(struct msg *m, __u16 id, const struct bin *b);

#endif
