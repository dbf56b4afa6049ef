/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics of promotion: samples of misses, and what became of keys. */
#include "agent_hot.h"
#include "metrics_build.h"
#include "promote.h"

static void collect_service(struct build *b, const struct promote *p, unsigned svc)
{
	const char *name = build_text(b, b->ctl->services[svc].name, WEIR_NAME_MAX);
	struct sketch_usage u;
	struct admit_counts c;

	if (promote_counts(p, svc, &c, &u))
		return;
	build_add(b, FAMILY_PROMOTED, c.promoted, "service", name, NULL);
	build_add(b, FAMILY_DEMOTED, c.evicted, "service", name, "reason", "evicted", NULL);
	build_add(b, FAMILY_DEMOTED, c.demoted, "service", name, "reason", "cold", NULL);
	build_add(b, FAMILY_DEMOTED, c.worn, "service", name, "reason", "too_volatile", NULL);
	build_add(b, FAMILY_DEMOTED, c.denied, "service", name, "reason", "denied", NULL);
	for (int r = 0; r < ADMIT_REFUSAL_COUNT; r++)
		build_add(b, FAMILY_REFUSED, c.refused[r], "service", name, "reason", admit_refusal_name(r),
			  NULL);
	build_add(b, FAMILY_PROMOTED_KEYS, c.held, "service", name, NULL);
	build_add(b, FAMILY_SKETCH_SAMPLES, u.seen, "service", name, NULL);
	build_add(b, FAMILY_SKETCH_KEYS, u.keys, "service", name, NULL);
	build_add(b, FAMILY_SKETCH_LEAST, u.least, "service", name, NULL);
	build_add(b, FAMILY_SKETCH_BYTES, u.bytes, "service", name, NULL);
}

void collect_promotion(struct build *b)
{
	const struct promote *p = b->agent->hot->promote;
	const struct samples_counts *c = promote_samples(p);
	bool any = false;

	for (unsigned svc = 0; svc < WEIR_SERVICES_MAX; svc++) {
		if (promote_config(p, svc)) {
			collect_service(b, p, svc);
			any = true;
		}
	}
	if (!any)
		return;
	build_add(b, FAMILY_MISS_SAMPLES, c->read, "result", "read", NULL);
	build_add(b, FAMILY_MISS_SAMPLES, c->lost, "result", "lost", NULL);
}
