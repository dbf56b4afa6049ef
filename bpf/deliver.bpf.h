/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 5b: the packet on its way to its backend: new MAC addresses, one hop less, and in front of it the
 * header of a tunnel, or other addresses in it (nat.bpf.h). What can fail comes before the first store.
 *
 * References: RFC 2003 (IP in IP), RFC 2473 (in IPv6), RFC 4213 (IPv6 in IPv4), RFC 6040 (ECN), RFC 1624
 * (incremental checksums), RFC 6864 (IPv4 ids).
 */
#ifndef WEIR_DELIVER_BPF_H
#define WEIR_DELIVER_BPF_H

#include "frame.bpf.h"
#include "hop.bpf.h"
#include "icmp.bpf.h"
#include "nat.bpf.h"

#define TUNNEL_TTL 64

struct outer4 {
	__u32 w[5];
};

struct outer6 {
	__u32 w[10];
};

/* MAC addresses, tags kept. `l3` is where the IP header begins by now: what is written from there on is
 * overwritten by it. */
static __always_inline bool put_l2(struct xdp_md *ctx, const struct weir_hop *hop, const struct l2_words *l2, __u32 l3,
				   __be16 proto)
{
	const void *macs = (const void *)hop + offsetof(struct weir_hop, dst); /* and src behind it */
	void *at = frame_at(ctx, 0, 24);
	__u8 *type = frame_at(ctx, l3 - 2, 2);

	if (!at || !type)
		return false;
	*(__u32 *)at = LOAD(__u32, macs);
	*(__u32 *)(at + 4) = LOAD(__u32, macs + 4);
	*(__u32 *)(at + 8) = LOAD(__u32, macs + 8);
	*(__u32 *)(at + 12) = l2->w[1] >> 32;
	*(__u64 *)(at + 16) = l2->w[2];
	*(__be16 *)type = proto;
	return true;
}

/* What the outer header takes over from the inner one. */
struct inner {
	__u8 tos;    /* DSCP and ECN (RFC 6040, normal mode) */
	__u8 proto;  /* IPPROTO_IPIP, IPPROTO_IPV6 */
	__u8 df;
	__u8 pad;
	__u32 label; /* of an outer IPv6 header: the flow's (RFC 6438) */
};

/* Each CPU counts from elsewhere. */
static __always_inline __u32 next_id(void)
{
	struct weir_work *w = work_area();

	return w ? (w->ip_id++ + bpf_get_smp_processor_id() * 4099) & 0xffff : 0;
}

static __always_inline bool put_outer4(struct xdp_md *ctx, const struct weir_pkt *p, const struct weir_backend *b,
				       const struct inner *in)
{
	struct outer4 *o = frame_at(ctx, p->l3, sizeof(*o));
	/* RFC 6864: an id is for what may be fragmented. */
	__u32 id = in->df ? 0 : next_id(), frag = in->df ? bpf_htons(0x4000) : 0;
	__u32 from = b->source.w[0], to = b->addr.w[0], len = bpf_htons(p->ip_len + sizeof(*o));
	__u64 sum;

	if (!o)
		return false;
	o->w[0] = 0x45 | (__u32)in->tos << 8 | len << 16;
	o->w[1] = id | frag << 16;
	sum = (__u64)o->w[0] + o->w[1] + (TUNNEL_TTL | in->proto << 8) + from + to;
	o->w[2] = TUNNEL_TTL | (__u32)in->proto << 8 | (__u32)(__u16)~csum_fold(sum) << 16;
	o->w[3] = from;
	o->w[4] = to;
	return true;
}

static __always_inline bool put_outer6(struct xdp_md *ctx, const struct weir_pkt *p, const struct weir_backend *b,
				       const struct inner *in)
{
	struct outer6 *o = frame_at(ctx, p->l3, sizeof(*o));

	if (!o)
		return false;
	o->w[0] = bpf_htonl(6 << 28 | (__u32)in->tos << 20 | (in->label & 0xfffff));
	o->w[1] = bpf_htons(p->ip_len) | (__u32)in->proto << 16 | (__u32)TUNNEL_TTL << 24;
	__builtin_memcpy(&o->w[2], &b->source, sizeof(b->source));
	__builtin_memcpy(&o->w[6], &b->addr, sizeof(b->addr));
	return true;
}

/* Reads what decides: TTL, and what the tunnel takes over. False: the frame is shorter. */
static __always_inline bool look_inside(struct xdp_md *ctx, const struct weir_pkt *p, struct inner *in, __u32 *ttl)
{
	if (p->family == 4) {
		struct iphdr *ip = frame_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		*ttl = ip->ttl;
		in->tos = ip->tos;
		in->df = !!(ip->frag_off & bpf_htons(0x4000));
		in->proto = IPPROTO_IPIP;
	} else {
		struct ipv6hdr *ip = frame_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		*ttl = ip->hop_limit;
		in->tos = bpf_ntohs(LOAD(__be16, ip)) >> 4;
		in->df = 1;
		in->proto = IPPROTO_IPV6;
	}
	return true;
}

static __always_inline bool put_outer(struct xdp_md *ctx, const struct weir_pkt *p, const struct weir_backend *b,
				      const struct inner *in)
{
	return b->family == 4 ? put_outer4(ctx, p, b, in) : put_outer6(ctx, p, b, in);
}

/* How much longer the packet gets. */
static __always_inline __u32 outer_len(const struct weir_backend *b)
{
	if (b->via != WEIR_VIA_TUNNEL)
		return 0;
	return b->family == 4 ? sizeof(struct outer4) : sizeof(struct outer6);
}

/* All stores. False: half done. */
static __always_inline bool put_packet(struct xdp_md *ctx, const struct weir_pkt *p, const struct weir_backend *b,
				       const struct weir_hop *hop, const struct l2_words *l2, const struct inner *in,
				       __u32 grow)
{
	__u8 family = grow ? b->family : p->family;

	if (!put_l2(ctx, hop, l2, p->l3, family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6)))
		return false;
	if (!put_hop(ctx, p, p->l3 + grow))
		return false;
	return !grow || put_outer(ctx, p, b, in);
}

/*
 * Sends the packet to a backend: `reason`, with *action how it leaves. Or, the frame untouched or turned
 * into an answer to the sender, why it went nowhere.
 */
static __always_inline int deliver(struct xdp_md *ctx, const struct weir_pkt *p, __u32 backend, __u64 hash, __u32 tick,
				   int reason, int *action)
{
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);
	struct weir_hop *hop = hop_to(ctx, backend, tick);
	struct inner in = { .label = hash >> 32 };
	struct l2_words l2;
	__u32 grow, ttl;

	if (!b || !hop || (p->l3 != ETH_HLEN && hop->ifindex != ctx->ingress_ifindex))
		return WEIR_R_NO_ROUTE;
	if (!look_inside(ctx, p, &in, &ttl) || !save_l2(&l2, (void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return WEIR_R_MALFORMED;
	if (ttl <= 1)
		return answer_icmp(ctx, p, ICMP_OUT_TTL, 0);
	grow = outer_len(b);
	if (p->ip_len + grow > hop->mtu)
		return answer_icmp(ctx, p, ICMP_OUT_TOO_BIG, hop->mtu - grow);
	if (b->via == WEIR_VIA_NAT) {
		int r = nat_forward(ctx, p, backend);

		if (r != WEIR_NEXT)
			return r;
	}
	if (grow && bpf_xdp_adjust_head(ctx, -(int)grow))
		return WEIR_R_NO_ROOM;
	if (!put_packet(ctx, p, b, hop, &l2, &in, grow))
		return WEIR_R_ABORTED;
	hop->packets++;
	hop->bytes += p->ip_len;
	*action = leave_by(ctx, hop->ifindex);
	return reason;
}

#endif
