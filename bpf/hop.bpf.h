/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The next hop to a backend, from the kernel's FIB and neighbour table: looked up once a second by each CPU
 * and kept, since a lookup costs more than all the rest. Neighbours are resolved by the agent's checks and
 * by the host's own traffic; XDP cannot ask for that.
 */
#ifndef WEIR_HOP_BPF_H
#define WEIR_HOP_BPF_H

#include "flow.bpf.h"

#ifndef AF_INET
#define AF_INET	 2
#define AF_INET6 10
#endif
#define HOP_KEPT 30 /* ticks that one is used on while the kernel no longer knows it */

/* What to ask the FIB, in the work area: the stack is short. */
static __always_inline struct bpf_fib_lookup *fib_towards(struct weir_work *w, const struct weir_addr *from,
							  const struct weir_addr *to, __u8 family, __u32 ifindex)
{
	struct bpf_fib_lookup *f = &w->fib;

	__builtin_memset(f, 0, sizeof(*f));
	f->ifindex = ifindex;
	f->family = AF_INET;
	if (family == 4) {
		f->ipv4_src = from->w[0];
		f->ipv4_dst = to->w[0];
		return f;
	}
	f->family = AF_INET6;
	__builtin_memcpy(f->ipv6_src, from, sizeof(*from));
	__builtin_memcpy(f->ipv6_dst, to, sizeof(*to));
	return f;
}

static __always_inline void hop_set(struct weir_hop *hop, const struct bpf_fib_lookup *f)
{
	hop->ifindex = f->ifindex;
	hop->mtu = f->mtu_result;
	__builtin_memcpy(hop->dst, f->dmac, 6);
	__builtin_memcpy(hop->src, f->smac, 6);
}

/* Looks the hop of a backend up again. 1: it can be used. */
__noinline int hop_refresh(struct xdp_md *ctx, __u32 backend, __u32 tick)
{
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);
	struct weir_hop *hop = bpf_map_lookup_elem(&hops, &backend);
	struct weir_work *w = work_area();
	struct bpf_fib_lookup *f;

	if (!b || !hop || !w)
		return 0;
	f = fib_towards(w, &b->source, &b->addr, b->family, ctx->ingress_ifindex);
	if (bpf_fib_lookup(ctx, f, sizeof(*f), 0) == BPF_FIB_LKUP_RET_SUCCESS) {
		hop_set(hop, f);
		hop->tick = tick;
	} else if (((tick - hop->tick) & WEIR_TICK_MASK) > HOP_KEPT) {
		hop->ifindex = 0; /* asked for again by the next packet: its neighbour may be known soon */
	}
	hop->asked = tick;
	return hop->ifindex != 0;
}

/* The hop of a backend, or NULL. */
static __always_inline struct weir_hop *hop_to(struct xdp_md *ctx, __u32 backend, __u32 tick)
{
	struct weir_hop *hop = bpf_map_lookup_elem(&hops, &backend);

	if (!hop)
		return NULL;
	if ((hop->asked != tick || !hop->ifindex) && !hop_refresh(ctx, backend, tick))
		return NULL;
	return hop;
}

static __always_inline int leave_by(struct xdp_md *ctx, __u32 ifindex)
{
	return ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(ifindex, 0);
}

#endif
