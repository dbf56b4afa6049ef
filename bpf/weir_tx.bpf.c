// SPDX-License-Identifier: GPL-2.0-only
/*
 * The egress program (tc): sees the origin's replies, and raises again the fence of a write whose
 * reply passes; and counts how long replies took. It never changes or holds up a packet.
 */
#include <linux/pkt_cls.h>

#define PKT_CTX	     struct __sk_buff
#define PKT_LEN(ctx) ((ctx)->len)
#define PKT_LOAD     bpf_skb_load_bytes
#include "classify.bpf.h"
#include "latency.bpf.h"
#include "observe.bpf.h"
#include "reply.bpf.h"
#include "track_reply.bpf.h"

/* The headers may lie outside the linear part; 128 bytes hold all that parse() needs as a rule. */
static __always_inline void pull_headers(struct __sk_buff *skb)
{
	__u32 linear = skb->data_end - skb->data;

	if (linear < 128 && linear < skb->len)
		bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128);
}

/* A reply of this host. */
__noinline int local_reply(struct __sk_buff *skb, const struct weir_pkt *p, __u32 svc)
{
	struct weir_work *w = work_area();

	if (p && w && !(p->flags & PKT_FRAGMENT))
		measure_server(skb, p, w, flow_hash(&p->daddr, p->dport, p), who_of(svc, WEIR_BACKEND_NONE));
	return 0;
}

SEC("tc")
int weir_tx(struct __sk_buff *skb)
{
	struct weir_pkt p = {};
	__u32 svc;
	int r;

	pull_headers(skb);
	r = parse(skb, &p);
	if (r != WEIR_NEXT || p.flags & PKT_LATER || (p.proto != IPPROTO_UDP && !cfg.latency && !cfg.conn_mask))
		return TC_ACT_OK;
	svc = service_of(&p.saddr, p.sport, p.family, &p.salt);
	if (svc == WEIR_SVC_NONE)
		return TC_ACT_OK;
	if (cfg.latency)
		local_reply(skb, &p, svc);
	if (p.proto == IPPROTO_TCP && is_followed(svc))
		track_reply(skb, &p, svc);
	if (p.proto == IPPROTO_UDP)
		observe(svc, reply(skb, &p, svc), skb->len);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
