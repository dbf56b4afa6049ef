/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 4c: the request's frame becomes the reply's. (Steering writes headers in deliver.bpf.h.) Everything
 * that can fail comes before the first store; after it only TX or ABORTED.
 */
#ifndef WEIR_REWRITE_BPF_H
#define WEIR_REWRITE_BPF_H

#include "answer.bpf.h"
#include "frame.bpf.h"
#include "parse.bpf.h"

#define FRAME_MIN 60 /* without the FCS: not every driver pads */
/* Growth at the head stops short of what drivers keep there for themselves (xdp_frame 40 bytes and a
 * virtio header 12, of 256). */
#define HEAD_MAX  192

struct udp_frame {
	struct udphdr udp;
	__be16 id, seq, count, reserved; /* memcached's frame header */
};

/*
 * Changes the frame's length by `by` bytes, at the head when that suffices (it need not be cleared),
 * else at the tail, else at both: veth has little room behind a small frame. 0, or the frame is as
 * it was.
 */
static __always_inline int resize(struct xdp_md *ctx, int by)
{
	if (by <= 0)
		return by ? bpf_xdp_adjust_tail(ctx, by) : 0;
	if (by <= HEAD_MAX && !bpf_xdp_adjust_head(ctx, -by))
		return 0;
	if (!bpf_xdp_adjust_tail(ctx, by))
		return 0;
	if (by <= HEAD_MAX || bpf_xdp_adjust_head(ctx, -HEAD_MAX))
		return -1;
	if (!bpf_xdp_adjust_tail(ctx, by - HEAD_MAX))
		return 0;
	bpf_xdp_adjust_head(ctx, HEAD_MAX);
	return -1;
}

/* Swaps the addresses, keeps the tags. What it writes behind them is overwritten by the IP header. */
static __always_inline void write_l2(void *data, const struct l2_words *l2)
{
	__u64 dst = l2->w[0] & 0xffffffffffffULL;
	__u64 src = l2->w[0] >> 48 | (l2->w[1] & 0xffffffffULL) << 16;
	__u64 *w = data;

	w[0] = src | dst << 48;
	w[1] = dst >> 16 | (l2->w[1] & ~0xffffffffULL);
	w[2] = l2->w[2];
}

/* Everything of the IPv4 header but the addresses and the length, as 16-bit words: version and header
 * length, don't fragment (so that the id may be 0, RFC 6864), TTL 64, protocol. */
#define IPV4_CONST_SUM(proto) ((__u64)0x45 + bpf_htons(0x4000) + (64 | (proto) << 8))

static __always_inline void write_ipv4(struct iphdr *ip, const struct weir_pkt *p, __u32 len, __u8 proto)
{
	__u32 *w = (__u32 *)ip, from = p->daddr.w[0], to = p->saddr.w[0];
	__u16 sum = ~csum_fold(IPV4_CONST_SUM(proto) + bpf_htons(len) + from + to);

	w[0] = 0x45 | (__u32)bpf_htons(len) << 16;
	w[1] = (__u32)bpf_htons(0x4000) << 16;
	w[2] = 64 | proto << 8 | (__u32)sum << 16;
	w[3] = from;
	w[4] = to;
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct weir_pkt *p, __u32 payload_len, __u8 proto)
{
	__u32 *w = (__u32 *)ip;

	w[0] = bpf_htonl(6 << 28);
	w[1] = bpf_htons(payload_len) | (__u32)proto << 16 | 64U << 24;
	__builtin_memcpy(&ip->saddr, &p->daddr, sizeof(p->daddr));
	__builtin_memcpy(&ip->daddr, &p->saddr, sizeof(p->saddr));
}

static __always_inline __u64 addrs_sum(const struct weir_pkt *p)
{
	const struct weir_addr *a = &p->saddr, *b = &p->daddr;
	__u64 sum = (__u64)a->w[0] + b->w[0];

	if (p->family == 6)
		sum += (__u64)a->w[1] + a->w[2] + a->w[3] + b->w[1] + b->w[2] + b->w[3];
	return sum;
}

/* RFC 768 and RFC 8200, 8.1: pseudo header, ports, lengths, memcached's frame header, data. */
static __always_inline __u16 udp_csum(const struct weir_pkt *p, const struct weir_reply *r, __u32 udp_len, __u16 id,
				      __u64 out_sum)
{
	__u64 sum = addrs_sum(p) + bpf_htons(IPPROTO_UDP) + bpf_htons(1);
	__u16 csum;

	sum += 2 * (__u64)bpf_htons(udp_len) + p->sport + p->dport + id;
	csum = ~csum_fold(sum + out_sum + csum_at(r->csum, r->out_len));
	return csum ? csum : 0xffff;
}

static __always_inline void write_udp(struct udp_frame *u, const struct weir_pkt *p, __u32 udp_len, __u16 csum,
				      __u16 id)
{
	__u32 *w = (__u32 *)u;

	w[0] = p->dport | (__u32)p->sport << 16;
	w[1] = bpf_htons(udp_len) | (__u32)csum << 16;
	w[2] = id;
	w[3] = bpf_htons(1);
}

static __always_inline bool write_headers(struct xdp_md *ctx, const struct weir_pkt *p, const struct l2_words *l2,
					  __u32 udp_len, __u16 csum, __u16 id)
{
	void *l2_at = frame_at(ctx, 0, sizeof(*l2)), *l3;

	if (p->family == 4) {
		l3 = frame_at(ctx, p->l3, sizeof(struct iphdr) + sizeof(struct udp_frame));
		if (!l2_at || !l3)
			return false;
		write_l2(l2_at, l2);
		write_ipv4(l3, p, sizeof(struct iphdr) + udp_len, IPPROTO_UDP);
		write_udp(l3 + sizeof(struct iphdr), p, udp_len, csum, id);
	} else {
		l3 = frame_at(ctx, p->l3, sizeof(struct ipv6hdr) + sizeof(struct udp_frame));
		if (!l2_at || !l3)
			return false;
		write_l2(l2_at, l2);
		write_ipv6(l3, p, udp_len, IPPROTO_UDP);
		write_udp(l3 + sizeof(struct ipv6hdr), p, udp_len, csum, id);
	}
	return true;
}

#define COPY_MAX   512 /* up to here word by word: a helper's call costs as much as twenty words */
#define COPY_CHUNK 32

/* Copies 8..COPY_MAX bytes into the frame: chunks of four words, then words, the last of which is copied
 * once more over the one before. */
static __always_inline bool copy_words(struct xdp_md *ctx, __u32 at, const __u8 *from, __u32 len)
{
	void *to = frame_at(ctx, at, 8), *end = (void *)(long)ctx->data_end;
	__u32 last = len - 8, i;

	if (!to)
		return false;
#pragma clang loop unroll(disable)
	for (i = 0; i < COPY_MAX; i += COPY_CHUNK) {
		if (i + COPY_CHUNK > len)
			break;
		if (to + i + COPY_CHUNK > end)
			return false;
		*(__u64 *)(to + i) = LOAD(__u64, from + i);
		*(__u64 *)(to + i + 8) = LOAD(__u64, from + i + 8);
		*(__u64 *)(to + i + 16) = LOAD(__u64, from + i + 16);
		*(__u64 *)(to + i + 24) = LOAD(__u64, from + i + 24);
	}
#pragma clang loop unroll(disable)
	for (; i < COPY_MAX; i += 8) {
		if (i >= last)
			break;
		if (to + i + 8 > end)
			return false;
		*(__u64 *)(to + i) = LOAD(__u64, from + i);
	}
	if (!at_most(&last, COPY_MAX))
		return false;
	to += last;
	OPAQUE(to);
	if (to + 8 > end)
		return false;
	*(__u64 *)to = LOAD(__u64, from + last);
	return true;
}

/* The reply's two parts behind the headers. */
static __always_inline bool write_data(struct xdp_md *ctx, __u32 at, struct weir_work *w, const struct weir_slot *s,
				       const struct weir_reply *r)
{
	__u32 out_len = r->out_len, off = r->off, len = r->len;

	if (one_to(&out_len, OUT_MASK) && bpf_xdp_store_bytes(ctx, at, w->out, out_len))
		return false;
	if (!len)
		return true;
	if (!at_most(&off, OUT_MASK) || !one_to(&len, WEIR_DGRAM_MAX))
		return false;
	if (len - 8 <= COPY_MAX - 8)
		return copy_words(ctx, at + out_len, s->text + off, len);
	return !bpf_xdp_store_bytes(ctx, at + out_len, (void *)s->text + off, len);
}

/* Linux takes a frame to a group or to another's address for nobody or for others to answer. */
static __always_inline bool to_us(const struct l2_words *l2)
{
	__u64 dst = l2->w[0] & 0xffffffffffffULL;

	return !(dst & 1) && (!cfg.mac || dst == cfg.mac);
}

/* WEIR_R_HIT: the frame is the reply. Before the first store: a reason to pass it on untouched. */
static __always_inline int rewrite(struct xdp_md *ctx, const struct weir_pkt *p, __u32 svc, struct weir_work *w,
				   const struct weir_slot *s, const struct weir_reply *r)
{
	__u32 data_len = r->out_len + r->len, udp_len = sizeof(struct udp_frame) + data_len;
	__u32 l4 = p->payload - sizeof(struct udphdr), frame = l4 + udp_len;
	__u16 id = w->id, csum = 0;
	struct l2_words l2;

	if (data_len > WEIR_TEXT_MAX || frame - p->l3 > cfg.mtu)
		return WEIR_R_TOO_LONG;
	if (!save_l2(&l2, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return WEIR_R_NO_ROOM;
	if (!to_us(&l2))
		return WEIR_R_OTHER_HOST;
	if (cfg.frags && p->len != ctx->data_end - ctx->data) /* in several buffers: no simple request */
		return WEIR_R_NO_ROOM;
	if (p->family == 6 || !(service_at(svc)->flags & WEIR_SVC_NO_CSUM4))
		csum = udp_csum(p, r, udp_len, id, out_csum(w, r->out_len));
	if (frame < FRAME_MIN && p->len >= FRAME_MIN)
		frame = FRAME_MIN;
	if (resize(ctx, (int)frame - (int)p->len))
		return WEIR_R_NO_ROOM;
	if (!write_headers(ctx, p, &l2, udp_len, csum, id) ||
	    !write_data(ctx, p->payload + WEIR_FRAME_HDR, w, s, r))
		return WEIR_R_ABORTED;
	return WEIR_R_HIT;
}

#endif
