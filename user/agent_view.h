/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent knows, for its parts that look only: HTTP, readiness. agent.c keeps it true. */
#ifndef WEIR_AGENT_VIEW_H
#define WEIR_AGENT_VIEW_H

#include "metrics.h"

struct agent_view {
	struct dataplane *dp;	    /* NULL: nothing is loaded; */
	int open_error;		    /* then what dp_open() said, and */
	char open_words[512];	    /* dp_error() */
	const struct config *config; /* what is checked, and how */
	const struct weir_config *constants; /* what the programs run with; NULL: not known */
	struct metrics_agent metrics;
	struct flows_swept swept;   /* of the last whole sweep; metrics.flows points here when there was one */
};

#define AGENT_LEASE_NS 3000000000ULL

/* Each second, and before what may take long: should the agent hang, the lease ends. */
static inline void agent_extend_lease(struct weir_ctl *ctl)
{
	__u64 now = monotonic_ns();

	__atomic_store_n(&ctl->lease_deadline_ns, now + AGENT_LEASE_NS, __ATOMIC_RELAXED);
	ctl->agent_ns = now;
}

#endif
