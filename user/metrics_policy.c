/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics of warming policies. */
#include "agent_hot.h"
#include "metrics_build.h"
#include "policy.h"

static void collect_one(struct build *b, const struct policy_counts *c)
{
	const char *name = build_text(b, c->name, WEIR_NAME_MAX);

	build_add(b, FAMILY_POLICY_RUNS, c->runs_ok, "policy", name, "result", "ok", NULL);
	build_add(b, FAMILY_POLICY_RUNS, c->runs_failed, "policy", name, "result", "failed", NULL);
	for (int r = 0; r < FILL_RESULT_COUNT; r++) {
		if (c->by[r])
			build_add(b, FAMILY_POLICY_KEYS, c->by[r], "policy", name, "result", fill_result_name(r), NULL);
	}
	build_add(b, FAMILY_POLICY_KEYS, c->left_out, "policy", name, "result", "left_out", NULL);
	if (!c->last)
		return;
	build_add(b, FAMILY_POLICY_LAST, c->last, "policy", name, NULL);
	build_add(b, FAMILY_POLICY_TOOK, c->took_ns / 1e9, "policy", name, NULL);
}

void collect_policies(struct build *b)
{
	struct policy_counts c;

	for (unsigned i = 0; policies_counts(b->agent->hot->policies, i, &c); i++)
		collect_one(b, &c);
}
