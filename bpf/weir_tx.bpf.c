// SPDX-License-Identifier: GPL-2.0-only
/*
 * The egress program (tc): sees the origin's replies, and raises again the fence of a write whose
 * reply passes. It never changes or holds up a packet.
 */
#include <linux/pkt_cls.h>

#define PKT_CTX	     struct __sk_buff
#define PKT_LEN(ctx) ((ctx)->len)
#include "classify.bpf.h"
#include "observe.bpf.h"

#define REPLY_HEAD 16 /* the frame header and what tells replies apart */

/* What only a lookup's reply begins with: "VALUE ", "END" and "EN", or a binary get's head. (That of a
 * gat, too, whose touch changes no value. Meta replies like "HD" are told apart by their request.) */
static __always_inline bool is_lookup_reply(const __u8 *d)
{
	return LOAD(__u32, d) == ('V' | 'A' << 8 | 'L' << 16 | 'U' << 24) || LOAD(__u16, d) == ('E' | 'N' << 8) ||
	       (d[0] == 0x81 && (d[1] == 0x00 || d[1] == 0x09 || d[1] == 0x0c || d[1] == 0x0d));
}

/* A reply of service svc to the packet's destination. */
static __always_inline int reply(struct __sk_buff *skb, const struct weir_pkt *p, __u32 svc)
{
	__u8 head[REPLY_HEAD] = {};
	__u32 len = p->payload_len;
	__s64 stripe;

	if (len <= WEIR_FRAME_HDR)
		return WEIR_R_REPLY;
	if (len > sizeof(head))
		len = sizeof(head);
	if (!one_to(&len, sizeof(head)) || bpf_skb_load_bytes(skb, p->payload, head, len))
		return WEIR_R_REPLY;
	if (LOAD(__u16, head + 2)) /* a further datagram of a long reply: the first one said it all */
		return WEIR_R_REPLY;
	stripe = pending_take(pending_hash(svc, &p->daddr, p->dport, LOAD(__u16, head)));
	if (stripe < 0) {
		if (is_lookup_reply(head + WEIR_FRAME_HDR))
			return WEIR_R_REPLY;
		fence_service(svc);
		return WEIR_R_REPLY_LOST;
	}
	if (stripe == PENDING_READ)
		return WEIR_R_REPLY;
	if (stripe < WEIR_FENCE_STRIPES)
		fence_stripe(stripe);
	else
		fence_service(svc);
	return WEIR_R_REPLY_WRITE;
}

/* The headers may lie outside the linear part; 128 bytes hold all that parse() needs as a rule. */
static __always_inline void pull_headers(struct __sk_buff *skb)
{
	__u32 linear = skb->data_end - skb->data;

	if (linear < 128 && linear < skb->len)
		bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128);
}

SEC("tc")
int weir_tx(struct __sk_buff *skb)
{
	struct weir_pkt p = {};
	__u32 svc;
	int r;

	pull_headers(skb);
	r = parse(skb, &p);
	if (r != WEIR_NEXT || p.proto != IPPROTO_UDP || p.flags & PKT_LATER)
		return TC_ACT_OK;
	svc = service_of(&p.saddr, p.sport, p.family);
	if (svc == WEIR_SVC_NONE)
		return TC_ACT_OK;
	observe(svc, reply(skb, &p, svc), skb->len);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
