/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics as Prometheus text, version 0.0.4, and as OpenMetrics, 1.0.0: they differ in the heads of families. */
#include <errno.h>
#include <string.h>

#include "metrics.h"

#define BOUNDS (WEIR_LAT_LAST - WEIR_LAT_FIRST + 1)

struct writer {
	FILE *f;
	bool openmetrics;
	char name[128]; /* of the family, as samples have it */
};

/* Help is escaped as label values are, but for the quote, which only OpenMetrics escapes there. */
static void put_escaped(FILE *f, const char *text, bool quote)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", f);
		else if (*text == '\\' || (*text == '"' && quote))
			fprintf(f, "\\%c", *text);
		else
			putc(*text, f);
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
	put_escaped(w->f, m->help, w->openmetrics);
	fprintf(w->f, "\n# TYPE %s %s\n", name, type);
	if (w->openmetrics && *m->unit)
		fprintf(w->f, "# UNIT %s %s\n", name, m->unit);
}

/* {service="a",le="0.001"}; le NULL: without. */
static void put_labels(FILE *f, const struct metric_sample *s, const char *le)
{
	for (unsigned i = 0; i < s->nlabels; i++) {
		fprintf(f, "%c%s=\"", i ? ',' : '{', s->labels[i].name);
		put_escaped(f, s->labels[i].value, true);
		putc('"', f);
	}
	if (le)
		fprintf(f, "%cle=\"%s\"", s->nlabels ? ',' : '{', le);
	if (s->nlabels || le)
		putc('}', f);
}

static void put_value(const struct writer *w, const struct metric_sample *s, const char *suffix, const char *le,
		      double value)
{
	char text[32];

	fprintf(w->f, "%s%s", w->name, suffix);
	put_labels(w->f, s, le);
	fprintf(w->f, " %s\n", metrics_number(value, text));
}

/* Of each octave only its end: the bucket of le 2^n ns holds what is shorter than that. */
static void put_histogram(const struct writer *w, const struct metric_sample *s)
{
	__u64 n = s->hist->n[0];
	unsigned bucket = 1;
	char le[32];

	for (unsigned i = 0; i < BOUNDS; i++) {
		put_value(w, s, "_bucket", metrics_number((1ULL << (WEIR_LAT_FIRST + i)) / 1e9, le), n);
		for (unsigned k = 0; k < 8 && i + 1 < BOUNDS; k++)
			n += s->hist->n[bucket++];
	}
	n += s->hist->n[WEIR_LAT_BUCKETS - 1];
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
			put_histogram(w, &m->samples[i]);
		else
			put_value(w, &m->samples[i], "", NULL, m->samples[i].value);
	}
}

int metrics_prometheus(FILE *f, const struct metrics *ms, bool openmetrics)
{
	struct writer w = {.f = f, .openmetrics = openmetrics};

	errno = 0;
	for (unsigned i = 0; i < ms->n; i++) {
		if (ms->families[i].n)
			put_family(&w, &ms->families[i]);
	}
	if (openmetrics)
		fputs("# EOF\n", f);
	return ferror(f) ? -(errno ?: EIO) : 0;
}
