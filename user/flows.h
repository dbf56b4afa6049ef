/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table from the control plane's side: read, swept, recounted. Words are changed by
 * compare-and-exchange, as the programs do it, so that each flow is settled once. See
 * include/weir/steer.h for what a word holds.
 */
#ifndef WEIR_FLOWS_H
#define WEIR_FLOWS_H

#include "pools.h"

/* The tick of now, as the programs compute it. */
__u32 flows_tick(void);
/* How many ticks a time-out is, for ctl->idle_ticks: rounded up, 0 only of 0. */
__u32 flows_ticks(__u64 ns);

struct flow_seen {
	unsigned state; /* WEIR_FLOW_* */
	unsigned backend, svc;
	__u64 idle_ns;	/* since its last packet, to a tick */
	struct weir_addr client; /* of IPv6 only the last word is known, in w[3] */
	__be16 port;
	unsigned family; /* 4 or 6 */
	bool tcp;
};
/* Service, client and protocol, as they stand beside a flow's word (struct weir_flow_bucket) and in its record. The
 * rest is zeroed. */
void flow_who(struct flow_seen *flow, __u64 info);
/* Calls fn for each flow, until it returns non-zero, which is returned. */
int flows_each(const struct pools_mem *m, int (*fn)(const struct flow_seen *flow, void *arg), void *arg);

struct flows_swept {
	__u64 flows;   /* that are left, */
	__u64 expired; /* and those that were taken out */
	__u64 by_state[WEIR_FLOW_STATES]; /* of those left */
};
/* Takes out what has been idle for longer than ctl->idle_ticks, from bucket `from` on, `n` buckets or up to the
 * table's end. Adds to *s. */
void flows_sweep(const struct pools_mem *m, __u32 from, __u32 n, struct flows_swept *s);
/*
 * The open connections of a backend that went down no longer count: whether they outlive that, each one's next
 * packet shows. (With DSR nobody sees the resets of a backend that starts again.)
 */
void flows_rest(const struct pools_mem *m, unsigned backend);
/* Takes out all flows of a backend (of WEIR_BACKEND_NONE: of those whose place is free). How many. */
__u64 flows_remove(const struct pools_mem *m, unsigned backend);
/* The same for many: a bit for each backend, a word for each place of a pool. */
__u64 flows_remove_all(const struct pools_mem *m, const __u64 backends[WEIR_POOLS_MAX]);

/*
 * Counts the flows of each backend and corrects `active` where a recount differs from it twice in a row
 * by the same number (packets pass meanwhile). `last` is the caller's, zeroed at first, WEIR_BACKENDS_MAX
 * long. How many connections were corrected, also added to ctl->drift.
 */
__u64 flows_recount(const struct pools_mem *m, __s64 *last);

#endif
