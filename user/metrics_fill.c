/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics of what the agent fetches for the hot set. */
#include "agent_hot.h"
#include "metrics_build.h"

void collect_fills(struct build *b, const struct agent_hot *hot)
{
	const struct filler_counts *c = filler_counts(hot->filler);

	for (int w = 0; w < FILL_WHY_COUNT; w++) {
		for (int r = 0; r < FILL_RESULT_COUNT; r++) {
			if (c->by[w][r])
				build_add(b, FAMILY_FILLS, c->by[w][r], "why", fill_why_name(w), "result",
					  fill_result_name(r), NULL);
		}
	}
	build_add(b, FAMILY_FILLS_WAITING, c->waiting, NULL);
	build_add(b, FAMILY_FILL_BYTES, c->value_bytes, NULL);
	build_add(b, FAMILY_FILL_SWEPT, refresh_counts(hot->refresh)->swept, NULL);
}
