/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics as Prometheus text, version 0.0.4, and as OpenMetrics, 1.0.0: they differ in the heads of families. */
#include <errno.h>
#include <string.h>

#include "metrics.h"

/* Every fourth bucket's lower bound is one, where there are two an octave: 2^n and 1.5 x 2^n ns. */
#define BOUND_STEP 4
#define BOUNDS	   ((WEIR_LAT_BUCKETS - 2) / BOUND_STEP + 1)

/* It has its stream alone: nothing is locked for each character of some ten millions. */
struct writer {
	FILE *f;
	bool openmetrics;
	char name[128]; /* of the family, as samples have it */
	char le[BOUNDS][32];
};

static void init(struct writer *w)
{
	char text[32];

	for (unsigned i = 0; i < BOUNDS; i++)
		strcpy(w->le[i], metrics_number(weir_lat_bound(1 + i * BOUND_STEP) / 1e9, text));
}

static void put(const struct writer *w, const char *text)
{
	fputs_unlocked(text, w->f);
}

/* Help is escaped as label values are, but for the quote, which only OpenMetrics escapes there. */
static void put_escaped(const struct writer *w, const char *text, bool quote)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '\n' || (*text == '"' && quote))
			putc_unlocked('\\', w->f);
		putc_unlocked(*text == '\n' ? 'n' : *text, w->f);
	}
}

static void put_head(const struct writer *w, const struct metric_family *m)
{
	static const char *const types[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_INFO] = "info",
		[METRIC_HISTOGRAM] = "histogram",
	};
	const char *type = m->type == METRIC_INFO && !w->openmetrics ? "gauge" : types[m->type];
	const char *name = w->openmetrics ? m->name : w->name;

	fprintf(w->f, "# HELP %s ", name);
	put_escaped(w, m->help, w->openmetrics);
	fprintf(w->f, "\n# TYPE %s %s\n", name, type);
	if (w->openmetrics && *m->unit)
		fprintf(w->f, "# UNIT %s %s\n", name, m->unit);
}

/* {service="a",le="0.001"}; le NULL: without. */
static void put_labels(const struct writer *w, const struct metric_sample *s, const char *le)
{
	const char *before = "{";

	for (unsigned i = 0; i < s->nlabels; i++, before = ",") {
		put(w, before);
		put(w, s->labels[i].name);
		put(w, "=\"");
		put_escaped(w, s->labels[i].value, true);
		put(w, "\"");
	}
	if (le) {
		put(w, before);
		put(w, "le=\"");
		put(w, le);
		put(w, "\"");
	}
	if (s->nlabels || le)
		put(w, "}");
}

static void put_value(const struct writer *w, const struct metric_sample *s, const char *suffix, const char *le,
		      double value)
{
	char text[32];

	put(w, w->name);
	put(w, suffix);
	put_labels(w, s, le);
	put(w, " ");
	put(w, metrics_number(value, text));
	put(w, "\n");
}

/* The bucket of a bound holds what is shorter than that. */
static void put_histogram(const struct writer *w, const struct metric_family *m, const struct metric_sample *s)
{
	unsigned step = m->halves ? BOUND_STEP : 2 * BOUND_STEP, bucket = 0;
	__u64 n = 0;

	for (unsigned end = 1; end < WEIR_LAT_BUCKETS; end += step) {
		while (bucket < end)
			n += s->hist->n[bucket++];
		put_value(w, s, "_bucket", w->le[(end - 1) / BOUND_STEP], n);
	}
	n += s->hist->n[bucket];
	put_value(w, s, "_bucket", "+Inf", n);
	put_value(w, s, "_sum", NULL, s->hist->sum_ns / 1e9);
	put_value(w, s, "_count", NULL, n);
}

static void put_family(struct writer *w, const struct metric_family *m)
{
	snprintf(w->name, sizeof(w->name), "%s", metrics_full_name(m));
	put_head(w, m);
	for (unsigned i = 0; i < m->n; i++) {
		if (m->type == METRIC_HISTOGRAM)
			put_histogram(w, m, &m->samples[i]);
		else
			put_value(w, &m->samples[i], "", NULL, m->samples[i].value);
	}
}

int metrics_prometheus(FILE *f, const struct metrics *ms, bool openmetrics)
{
	struct writer w = {.f = f, .openmetrics = openmetrics};

	init(&w);
	errno = 0;
	for (unsigned i = 0; i < ms->n; i++) {
		if (ms->families[i].n)
			put_family(&w, &ms->families[i]);
	}
	if (openmetrics)
		fputs("# EOF\n", f);
	return ferror(f) ? -(errno ?: EIO) : 0;
}
