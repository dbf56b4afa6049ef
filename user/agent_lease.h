/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The lease as the agent extends it: should the agent hang, or not know what it must, it ends. */
#ifndef WEIR_AGENT_LEASE_H
#define WEIR_AGENT_LEASE_H

#include "hotset.h"

#define AGENT_LEASE_NS 3000000000ULL

/* Each second, and before what may take long. */
void agent_extend_lease(struct weir_ctl *ctl);
/* From now on it goes no further than that, CLOCK_MONOTONIC; WEIR_NEVER, as in the beginning: as far as it may. */
void agent_limit_lease(__u64 until_ns);
/* When the agent ends: as far as its limit, nobody will extend it. */
void agent_leave_lease(struct weir_ctl *ctl);

#endif
