/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The log of slow flows: those whose latest request took longer than latency.slow. */
#ifndef WEIR_AGENT_SLOW_H
#define WEIR_AGENT_SLOW_H

#include "dataplane.h"

struct slow;

struct slow *slow_new(void); /* NULL: no memory */
void slow_free(struct slow *s);
/* Another data plane is looked at from now on. */
void slow_begin(struct slow *s);
/* Once a second; slow_ns WEIR_NEVER: logs none. How many were slow since the last time, logged or not. */
__u64 slow_look(struct slow *s, struct dataplane *dp, __u64 slow_ns);

#endif
