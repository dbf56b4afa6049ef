/* SPDX-License-Identifier: GPL-2.0-only */
/* The one exit: a reason becomes counters and an action. Counting cannot change the outcome. */
#ifndef WEIR_OBSERVE_BPF_H
#define WEIR_OBSERVE_BPF_H

#include "maps.bpf.h"

static __always_inline void observe(__u32 svc, int reason, __u32 bytes)
{
	__u32 at = svc * WEIR_REASON_MAX + reason;
	struct weir_count *c = bpf_map_lookup_elem(&stats, &at);

	if (!c)
		return;
	c->packets++;
	c->bytes += bytes;
}

#define XDP_OF_PASS    XDP_PASS
#define XDP_OF_TX      XDP_TX
#define XDP_OF_DROP    XDP_DROP
#define XDP_OF_ABORTED XDP_ABORTED
#define REASON_CASE(sym, name, action, class, help)                                                      \
	case WEIR_R_##sym:                                                                               \
		return XDP_OF_##action;

static __always_inline int xdp_action(int reason)
{
	switch (reason) {
		WEIR_REASONS(REASON_CASE)
	}
	return XDP_PASS;
}

#endif
