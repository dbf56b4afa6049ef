/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The latencies of clients' traffic, as what decides between backends of equal load. What a check measures is
 * another thing than what a request takes, or a connection by way of the client: a pool's backends are
 * compared by one of these only, the best that there is.
 */
#ifndef WEIR_AGENT_TRAFFIC_H
#define WEIR_AGENT_TRAFFIC_H

#include "pools.h"

struct traffic;

struct traffic *traffic_new(void); /* NULL: no memory */
void traffic_free(struct traffic *t);
/* Other maps are looked at from now on. */
void traffic_begin(struct traffic *t);
/* Once a second. */
void traffic_look(struct traffic *t, const struct pools_mem *m);
/* The pool with this first place has latencies of traffic: those of checks do not count. */
bool traffic_measured(const struct traffic *t, unsigned pool);

#endif
