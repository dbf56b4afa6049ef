/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a cache's reply tells: that of a write raises the write's fence again. Seen on tc egress where the
 * origin is on this host, and on XDP where its replies are translated. Each defines PKT_LOAD().
 */
#ifndef WEIR_REPLY_BPF_H
#define WEIR_REPLY_BPF_H

#include "fence.bpf.h"

#define REPLY_HEAD 16 /* the frame header and what tells replies apart */

/* What only a lookup's reply begins with: "VALUE ", "END" and "EN", or a binary get's head. (That of a
 * gat, too, whose touch changes no value. Meta replies like "HD" are told apart by their request.) */
static __always_inline bool is_lookup_reply(const __u8 *d)
{
	return LOAD(__u32, d) == ('V' | 'A' << 8 | 'L' << 16 | 'U' << 24) || LOAD(__u16, d) == ('E' | 'N' << 8) ||
	       (d[0] == 0x81 && (d[1] == 0x00 || d[1] == 0x09 || d[1] == 0x0c || d[1] == 0x0d));
}

/* A reply of service svc to the packet's destination. */
static __always_inline int reply(PKT_CTX *ctx, const struct weir_pkt *p, __u32 svc)
{
	__u8 head[REPLY_HEAD] = {};
	__u32 len = p->payload_len;
	__s64 stripe;

	if (len <= WEIR_FRAME_HDR)
		return WEIR_R_REPLY;
	if (len > sizeof(head))
		len = sizeof(head);
	if (!one_to(&len, sizeof(head)) || PKT_LOAD(ctx, p->payload, head, len))
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

#endif
