/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a steered packet's sender is told: ICMP "time exceeded", "fragmentation needed" and "packet too big",
 * and TCP resets; and reading the ICMP errors of others. Global functions: none of this is hot.
 *
 * References: RFC 792, RFC 1191, RFC 1812 4.3.2, RFC 4443, RFC 9293 3.10.7.1.
 */
#ifndef WEIR_ICMP_BPF_H
#define WEIR_ICMP_BPF_H

#include "flow.bpf.h"
#include "frame.bpf.h"
#include "rewrite.bpf.h"

#define ICMP_OUT_TTL	 0
#define ICMP_OUT_TOO_BIG 1

#define ANSWERS_MAX 1000 /* a tick and CPU */
#define QUOTE_MAX   504	 /* bytes of the packet that are sent back: bpf_csum_diff() takes 512 */
#define ICMP_HDR    8

struct icmp_hdr {
	__u8 type, code;
	__u16 check;
	__be32 rest; /* the MTU */
};

static __always_inline bool is_icmp(const struct weir_pkt *p)
{
	return (p->family == 4 && p->proto == IPPROTO_ICMP) || (p->family == 6 && p->proto == IPPROTO_ICMPV6);
}

static __always_inline bool may_answer(struct weir_work *w)
{
	__u32 tick = tick_now(w);

	if (w->answers_tick != tick) {
		w->answers_tick = tick;
		w->answers = 0;
	}
	return w->answers++ < ANSWERS_MAX;
}

/* A source that nobody has: not to be answered (RFC 1812, 4.3.2.7). */
static __always_inline bool no_host(const struct weir_pkt *p)
{
	__u8 first = LOAD(__u8, &p->saddr);

	if (p->family == 6)
		return first == 0xff || !(p->saddr.w[0] | p->saddr.w[1] | p->saddr.w[2] | p->saddr.w[3]);
	return first == 0 || first == 127 || first >= 224;
}

/* The one's complement sum of the pseudo header of what goes back from p's destination to its source. */
static __always_inline __u64 pseudo_sum(const struct weir_pkt *p, __u32 len, __u8 proto)
{
	return addrs_sum(p) + bpf_htons(len) + bpf_htons(proto);
}

/* An IP header from p's destination to its source before `len` bytes, in out. */
static __always_inline void build_ip(__u8 *out, const struct weir_pkt *p, __u32 len, __u8 proto)
{
	if (p->family == 4)
		write_ipv4((struct iphdr *)out, p, sizeof(struct iphdr) + len, proto);
	else
		write_ipv6((struct ipv6hdr *)out, p, len, proto);
}

/* The frame becomes the answer that stands in the work area, back to where it came from. */
static __always_inline int send_back(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w, __u32 len, int reason)
{
	__u32 frame = p->l3 + len;
	struct l2_words l2;
	void *at;

	if (!save_l2(&l2, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return WEIR_R_NO_ROOM;
	if (frame < FRAME_MIN)
		frame = FRAME_MIN;
	if (resize(ctx, (int)frame - (int)p->len))
		return WEIR_R_ICMP_LIMIT;
	at = frame_at(ctx, 0, sizeof(l2));
	if (!at)
		return WEIR_R_ABORTED;
	write_l2(at, &l2);
	if (!one_to(&len, sizeof(struct ipv6hdr) + ICMP_HDR + QUOTE_MAX) || bpf_xdp_store_bytes(ctx, p->l3, w->req, len))
		return WEIR_R_ABORTED;
	return reason;
}

static __always_inline void build_icmp(struct icmp_hdr *h, __u8 family, __u32 kind, __u32 mtu)
{
	bool big = kind == ICMP_OUT_TOO_BIG;

	if (family == 4) { /* destination unreachable, fragmentation needed; time exceeded */
		h->type = big ? 3 : 11;
		h->code = big ? 4 : 0;
	} else { /* packet too big; time exceeded */
		h->type = big ? 2 : 3;
		h->code = 0;
	}
	h->check = 0;
	h->rest = big ? bpf_htonl(mtu) : 0;
}

/* Answers p with an ICMP error of our own: the reason of what was done. */
__noinline int answer_icmp(struct xdp_md *ctx, const struct weir_pkt *p, __u32 kind, __u32 mtu)
{
	struct weir_work *w = work_area();
	__u32 quote, hdr, proto = IPPROTO_ICMPV6;
	struct icmp_hdr *h;
	__u64 sum = 0;

	if (!w || !p || p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6 || p->flags & PKT_LATER ||
	    no_host(p) || !may_answer(w))
		return WEIR_R_ICMP_LIMIT;
	hdr = p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	quote = p->ip_len < QUOTE_MAX ? p->ip_len & ~3U : QUOTE_MAX;
	if (!one_to(&quote, QUOTE_MAX) || bpf_xdp_load_bytes(ctx, p->l3, w->req + hdr + ICMP_HDR, quote))
		return WEIR_R_MALFORMED;
	h = (struct icmp_hdr *)(w->req + hdr);
	build_icmp(h, p->family, kind, mtu);
	if (p->family == 4)
		proto = IPPROTO_ICMP;
	else
		sum = pseudo_sum(p, ICMP_HDR + quote, IPPROTO_ICMPV6);
	sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)h, ICMP_HDR + (quote & ~3U), 0);
	h->check = ~csum_fold(sum);
	build_ip(w->req, p, ICMP_HDR + quote, proto);
	return send_back(ctx, p, w, hdr + ICMP_HDR + quote, kind == ICMP_OUT_TTL ? WEIR_R_TTL : WEIR_R_TOO_BIG);
}

/* Bytes that p's TCP segment takes of the sequence space. */
static __always_inline __u32 segment_len(const struct weir_pkt *p, const struct tcphdr *t)
{
	__u32 head = p->l4 - p->l3 + t->doff * 4, len = p->ip_len > head ? p->ip_len - head : 0;

	return len + t->syn + t->fin;
}

/* Answers p with a TCP reset, as the host does where nobody listens. */
__noinline int answer_reset(struct xdp_md *ctx, const struct weir_pkt *p)
{
	struct weir_work *w = work_area();
	struct tcphdr *t, *r;
	__u32 hdr;

	if (!w || !p || no_host(p) || !may_answer(w))
		return WEIR_R_ICMP_LIMIT;
	t = frame_at(ctx, p->l4, sizeof(*t));
	if (!t)
		return WEIR_R_MALFORMED;
	hdr = p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	r = (struct tcphdr *)(w->req + hdr);
	__builtin_memset(r, 0, sizeof(*r));
	r->source = p->dport;
	r->dest = p->sport;
	r->doff = sizeof(*r) / 4;
	r->rst = 1;
	if (t->ack) {
		r->seq = t->ack_seq;
	} else {
		r->ack = 1;
		r->ack_seq = bpf_htonl(bpf_ntohl(t->seq) + segment_len(p, t));
	}
	r->check = ~csum_fold(pseudo_sum(p, sizeof(*r), IPPROTO_TCP) +
			      (__u32)bpf_csum_diff(NULL, 0, (__be32 *)r, sizeof(*r), 0));
	build_ip(w->req, p, sizeof(*r), IPPROTO_TCP);
	return send_back(ctx, p, w, hdr + sizeof(*r), WEIR_R_RESET);
}

/* ---- errors of others ------------------------------------------------------------------------- */

static __always_inline bool is_icmp_error(__u8 family, __u8 type)
{
	if (family == 4)
		return type == 3 || type == 4 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

static __always_inline bool quote_ipv4(struct xdp_md *ctx, struct weir_pkt *q)
{
	struct iphdr *ip = frame_at(ctx, q->l3, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
		return false;
	q->proto = ip->protocol;
	q->saddr.w[0] = ip->saddr;
	q->daddr.w[0] = ip->daddr;
	q->l4 = q->l3 + ip->ihl * 4;
	return true;
}

static __always_inline bool quote_ipv6(struct xdp_md *ctx, struct weir_pkt *q)
{
	struct ipv6hdr *ip = frame_at(ctx, q->l3, sizeof(*ip));

	if (!ip || ip->version != 6)
		return false;
	q->proto = ip->nexthdr; /* behind extension headers: left to the host */
	__builtin_memcpy(&q->saddr, &ip->saddr, sizeof(q->saddr));
	__builtin_memcpy(&q->daddr, &ip->daddr, sizeof(q->daddr));
	q->l4 = q->l3 + sizeof(*ip);
	return true;
}

/*
 * The packet that an ICMP error is about, into w->quote: addresses and ports as they stand there, l3 and l4.
 * Routers need quote no more than the first eight bytes behind its IP header. 1: it is one of TCP or UDP.
 */
__noinline int parse_quote(struct xdp_md *ctx, const struct weir_pkt *p)
{
	struct weir_work *w = work_area();
	struct weir_pkt *q;
	struct icmp_hdr *h;
	__u32 *ports;

	if (!w || !p || p->flags & PKT_FRAGMENT) /* a later one's data is no header */
		return 0;
	h = frame_at(ctx, p->l4, sizeof(*h));
	if (!h || !is_icmp_error(p->family, h->type))
		return 0;
	q = &w->quote;
	__builtin_memset(q, 0, sizeof(*q));
	q->family = p->family;
	q->l3 = p->l4 + ICMP_HDR;
	if (!(p->family == 4 ? quote_ipv4(ctx, q) : quote_ipv6(ctx, q)))
		return 0;
	if (q->proto != IPPROTO_TCP && q->proto != IPPROTO_UDP)
		return 0;
	ports = frame_at(ctx, q->l4, 8);
	if (!ports || q->l4 + 8 > p->l3 + p->ip_len)
		return 0;
	q->sport = *ports;
	q->dport = *ports >> 16;
	return 1;
}

#endif
