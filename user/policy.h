/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Warming policies, as a part of the agent: at a start, when traffic rises, from what another host holds, or by an
 * event on the bus, keys are fetched before they are asked for. Only names of keys come from elsewhere; values come
 * from the service's own origin, by the filler.
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include <jansson.h>

#include "bus.h"
#include "filler.h"
#include "promote.h"

struct policies;

/* What the policy did since it is there, in runs that have ended. */
struct policy_counts {
	const char *name; /* valid until policies_begin() */
	__u64 runs_ok, runs_failed;
	__u64 by[FILL_RESULT_COUNT], left_out; /* keys */
	__u64 last, took_ns; /* when the last run began, in seconds since 1970; 0: none has ended */
};

int policies_new(struct policies **out, sd_event *event, struct filler *f, struct promote *p, struct bus *b);
void policies_free(struct policies *p);
/* As filler_begin(), and after it, promotion's and the bus'. A policy that did not change goes on. */
int policies_begin(struct policies *p, struct dataplane *dp, const struct config *c);
/* Before filler_stop(). */
void policies_stop(struct policies *p);
/* Each second, with a data plane. */
void policies_second(struct policies *p, struct dataplane *dp);
/* Each policy with its schedule and its last runs; NULL without memory. */
json_t *policies_json(const struct policies *p);
/* Of the i-th policy; false: there is none. */
bool policies_counts(const struct policies *p, unsigned i, struct policy_counts *c);

#endif
