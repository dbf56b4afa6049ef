/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What counters and histograms have more than in an earlier list: for receivers that add up what they are sent. */
#include <string.h>

#include "latency.h"
#include "metrics.h"

const struct metrics_quantile metrics_quantiles[METRICS_QUANTILES] = {
	{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}
};

static const struct metric_family *family_of(const struct metrics *ms, const char *name)
{
	for (unsigned i = 0; i < ms->n; i++) {
		if (!strcmp(ms->families[i].name, name))
			return &ms->families[i];
	}
	return NULL;
}

static double loaded_at(const struct metrics *ms)
{
	const struct metric_family *f = family_of(ms, "weir_loaded_timestamp_seconds");

	return f && f->n ? f->samples[0].value : -1;
}

static bool same_labels(const struct metric_sample *a, const struct metric_sample *b)
{
	if (a->nlabels != b->nlabels)
		return false;
	for (unsigned i = 0; i < a->nlabels; i++) {
		if (strcmp(a->labels[i].name, b->labels[i].name) || strcmp(a->labels[i].value, b->labels[i].value))
			return false;
	}
	return true;
}

/* The same sample in the list before: nearly always in the same place. NULL: there was none. */
static const struct metric_sample *sample_before(const struct metrics *ms, const struct metrics *before,
						 const struct metric_family *f, unsigned place)
{
	const struct metric_family *then;

	if (!before || (!f->foreign && loaded_at(before) != loaded_at(ms)))
		return NULL;
	then = family_of(before, f->name);
	for (unsigned i = 0; then && i < then->n; i++) {
		const struct metric_sample *s = &then->samples[(place + i) % then->n];

		if (same_labels(s, &f->samples[place]))
			return s;
	}
	return NULL;
}

double metrics_added(const struct metrics *ms, const struct metrics *before, const struct metric_family *f,
		     unsigned place)
{
	const struct metric_sample *then = sample_before(ms, before, f, place);
	double now = f->samples[place].value;

	if (!then)
		return f->foreign && before ? 0 : now;
	return then->value <= now ? now - then->value : now;
}

void metrics_added_hist(const struct metrics *ms, const struct metrics *before, const struct metric_family *f,
			unsigned place, struct weir_histogram *out)
{
	const struct metric_sample *then = sample_before(ms, before, f, place);

	*out = *f->samples[place].hist;
	if (then)
		latency_since(out, then->hist);
}
