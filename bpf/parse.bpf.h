/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1: headers, once, into a description. The only place that reads L2 to L4 layouts; XDP and
 * tc share it: each defines PKT_CTX, its context, and PKT_LEN(), the whole packet's length.
 *
 * What Linux would drop is MALFORMED, nothing else is: a packet that the host would still deliver must
 * be seen by the later stages, or a write could pass unnoticed.
 */
#ifndef WEIR_PARSE_BPF_H
#define WEIR_PARSE_BPF_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "common.bpf.h"
#include "weir/abi.h"

#define PKT_OPTIONS  (1 << 0) /* IPv4 options, or IPv6 extension headers */
#define PKT_FRAGMENT (1 << 1)
#define PKT_LATER    (1 << 2) /* a fragment without the L4 header */
#define PKT_NO_CSUM  (1 << 3) /* UDP checksum 0 */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define L4_OFF_MAX 16384 /* far beyond any single-buffer frame; bounds offsets for the verifier */

struct weir_pkt {
	struct weir_addr saddr, daddr;
	__be16 sport, dport;
	__u16 len;	   /* of the frame */
	__u16 l3;	   /* offsets from the start of the frame */
	__u16 l4;
	__u16 payload;	   /* of UDP */
	__u16 payload_len; /* as the UDP header says, inside the frame */
	__u8 family;	   /* 4, 6 */
	__u8 proto;
	__u8 flags;	   /* PKT_* */
	__u8 tcp_flags;	   /* byte 13 of the TCP header */
	__u16 ip_len;	   /* of the IP packet, as its header says */
	__u32 salt;	   /* of the service's address, see struct weir_vip; set by classify */
	__u64 ip_sum;	   /* of the IPv4 header's 16-bit words, not folded; see ip_sum_ok() */
};
_Static_assert(sizeof(struct weir_pkt) <= 96, "weir_pkt");

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

static __always_inline int parse_udp(struct weir_pkt *p, void *data, void *end, __u32 l4_len)
{
	__u32 off = p->l4, len;
	struct udphdr *udp;

	if (l4_len < sizeof(*udp) || !at_most(&off, L4_OFF_MAX))
		return WEIR_R_MALFORMED;
	udp = data + off;
	OPAQUE(udp);
	if ((void *)(udp + 1) > end)
		return WEIR_R_MALFORMED;
	p->sport = udp->source;
	p->dport = udp->dest;
	if (p->flags & PKT_FRAGMENT)
		return WEIR_NEXT;
	len = bpf_ntohs(udp->len);
	if (!len && p->family == 6) /* Linux: as far as the packet reaches (RFC 2675) */
		len = l4_len;
	if (len < sizeof(*udp) || len > l4_len)
		return WEIR_R_MALFORMED;
	if (!udp->check)
		p->flags |= PKT_NO_CSUM;
	p->payload = p->l4 + sizeof(*udp);
	p->payload_len = len - sizeof(*udp);
	return WEIR_NEXT;
}

/* (A fragment that is too short for its header is an attack: RFC 1858.) */
static __always_inline int parse_tcp(struct weir_pkt *p, void *data, void *end, __u32 l4_len)
{
	__u32 off = p->l4;
	struct tcphdr *tcp;

	if (l4_len < sizeof(*tcp) || !at_most(&off, L4_OFF_MAX))
		return WEIR_R_MALFORMED;
	tcp = data + off;
	OPAQUE(tcp);
	if ((void *)(tcp + 1) > end)
		return WEIR_R_MALFORMED;
	p->sport = tcp->source;
	p->dport = tcp->dest;
	p->tcp_flags = LOAD(__u8, (__u8 *)tcp + 13);
	return WEIR_NEXT;
}

static __always_inline int parse_l4(struct weir_pkt *p, void *data, void *end, __u32 l4_len)
{
	if (p->flags & PKT_LATER)
		return WEIR_NEXT;
	if (p->proto == IPPROTO_UDP)
		return parse_udp(p, data, end, l4_len);
	if (p->proto == IPPROTO_TCP)
		return parse_tcp(p, data, end, l4_len);
	return WEIR_R_OTHER;
}

/* A router would have dropped what has a wrong IPv4 header checksum: it must not be answered. Checked
 * apart from parse(), for packets to a service only. With options it is left to the host. */
static __always_inline bool ip_sum_ok(const struct weir_pkt *p)
{
	return p->family == 6 || p->flags & PKT_OPTIONS || csum_fold(p->ip_sum) == 0xffff;
}

/* RFC 791. */
static __always_inline int parse_ipv4(struct weir_pkt *p, void *data, void *end)
{
	struct iphdr *ip = data + p->l3;
	__u32 hlen, len;

	if ((void *)(ip + 1) > end)
		return WEIR_R_MALFORMED;
	hlen = ip->ihl * 4;
	len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || hlen < sizeof(*ip) || len < hlen || len + p->l3 > p->len)
		return WEIR_R_MALFORMED;
	if (hlen != sizeof(*ip)) {
		p->flags |= PKT_OPTIONS;
	} else {
		__u32 *w = (__u32 *)ip;

		p->ip_sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];
	}
	if (ip->frag_off & bpf_htons(0x3fff)) /* more fragments, or an offset */
		p->flags |= PKT_FRAGMENT;
	if (ip->frag_off & bpf_htons(0x1fff))
		p->flags |= PKT_LATER;
	p->family = 4;
	p->proto = ip->protocol;
	p->saddr.w[0] = ip->saddr;
	p->daddr.w[0] = ip->daddr;
	p->l4 = p->l3 + hlen;
	p->ip_len = len;
	return parse_l4(p, data, end, len - hlen);
}

struct ext_hdr {
	__u8 next;
	__u8 len;
	__be16 frag_off; /* of the fragment header only */
};

/* Length of an IPv6 extension header (RFC 8200, section 4), 0: `proto` is none. */
static __always_inline __u32 ext_len(__u8 proto, const struct ext_hdr *h)
{
	switch (proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return (h->len + 1) * 8;
	case IPPROTO_AH:
		return (h->len + 2) * 4;
	case IPPROTO_FRAGMENT:
		return 8;
	}
	return 0;
}

static __always_inline bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_AH || proto == IPPROTO_FRAGMENT;
}

static __always_inline __u8 fragment_flags(const struct ext_hdr *h)
{
	__u8 flags = 0;

	if (h->frag_off & bpf_htons(0xfff9)) /* more fragments, or an offset */
		flags |= PKT_FRAGMENT;
	if (h->frag_off & bpf_htons(0xfff8))
		flags |= PKT_LATER;
	return flags;
}

#define EXT_MAX 8

/*
 * Walks the extension headers at `off`: offset of what follows them in bits 0..15, its protocol in
 * 16..23, PKT_* in 24..31. A chain that ends outside the frame ends there. A global function, so that
 * the verifier sees its paths once.
 */
__noinline __u32 parse_extensions(PKT_CTX *ctx, __u32 off, __u32 proto)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 flags = 0, len;

#pragma clang loop unroll(disable)
	for (int i = 0; i < EXT_MAX; i++) {
		struct ext_hdr *h;

		if (off > L4_OFF_MAX)
			break;
		h = data + off;
		if ((void *)(h + 1) > end)
			break;
		len = ext_len(proto, h);
		if (!len)
			break;
		flags |= PKT_OPTIONS;
		if (proto == IPPROTO_FRAGMENT)
			flags |= fragment_flags(h);
		proto = h->next;
		off += len;
		if (flags & PKT_LATER)
			break;
	}
	return (off & 0xffff) | (proto & 0xff) << 16 | flags << 24;
}

static __always_inline int parse_ipv6(PKT_CTX *ctx, struct weir_pkt *p, void *data, void *end)
{
	struct ipv6hdr *ip = data + p->l3;
	__u32 len, l4_end;
	int r;

	if ((void *)(ip + 1) > end)
		return WEIR_R_MALFORMED;
	len = bpf_ntohs(ip->payload_len);
	l4_end = p->l3 + sizeof(*ip) + len;
	if (ip->version != 6 || l4_end > p->len)
		return WEIR_R_MALFORMED;
	p->family = 6;
	p->proto = ip->nexthdr;
	__builtin_memcpy(&p->saddr, &ip->saddr, sizeof(p->saddr));
	__builtin_memcpy(&p->daddr, &ip->daddr, sizeof(p->daddr));
	p->l4 = p->l3 + sizeof(*ip);
	p->ip_len = sizeof(*ip) + len;
	if (p->proto != IPPROTO_UDP && p->proto != IPPROTO_TCP) {
		__u32 x = parse_extensions(ctx, p->l4, p->proto);

		p->l4 = x;
		p->proto = x >> 16;
		p->flags = x >> 24;
		/* Cut short by a fragment, or longer than we look: whatever comes behind, it may be a write. */
		if (is_extension(p->proto)) {
			p->flags |= PKT_FRAGMENT | PKT_LATER;
			p->proto = IPPROTO_UDP;
		}
	}
	if (p->l4 > l4_end)
		return WEIR_R_MALFORMED;
	r = parse_l4(p, data, end, l4_end - p->l4);
	if (r == WEIR_NEXT && p->flags & PKT_NO_CSUM)
		return WEIR_R_MALFORMED; /* RFC 8200, 8.1: not over IPv6 */
	return r;
}

/* WEIR_NEXT: p describes a UDP or TCP packet, or a later fragment of one. */
static __always_inline int parse(PKT_CTX *ctx, struct weir_pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__be16 proto;

	p->len = PKT_LEN(ctx);
	if ((void *)(eth + 1) > end)
		return WEIR_R_MALFORMED;
	proto = LOAD(__be16, data + offsetof(struct ethhdr, h_proto)); /* the struct is packed: byte by byte */
	p->l3 = sizeof(*eth);
#pragma clang loop unroll(full)
	for (int i = 0; i < 2; i++) {
		struct vlan_tag *tag = data + sizeof(*eth) + i * sizeof(*tag);

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return WEIR_R_MALFORMED;
		proto = tag->proto;
		p->l3 += sizeof(*tag);
	}
	if (proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(p, data, end);
	if (proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(ctx, p, data, end);
	return WEIR_R_OTHER;
}

#endif
