// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_lease.h"

static __u64 limit_ns = WEIR_NEVER;

void agent_limit_lease(__u64 until_ns)
{
	limit_ns = until_ns;
}

void agent_extend_lease(struct weir_ctl *ctl)
{
	__u64 now = monotonic_ns(), until = now + AGENT_LEASE_NS;

	__atomic_store_n(&ctl->lease_deadline_ns, until < limit_ns ? until : limit_ns, __ATOMIC_RELAXED);
	ctl->agent_ns = now;
}

void agent_leave_lease(struct weir_ctl *ctl)
{
	__atomic_store_n(&ctl->lease_deadline_ns, limit_ns, __ATOMIC_RELAXED);
}
