/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Samples of a benchmark, as a row of the table on standard output and as one line of JSON in the
 * file that `scripts/bench` gathers into build/bench.json.
 */
#ifndef WEIR_BENCH_REPORT_H
#define WEIR_BENCH_REPORT_H

#include <stdio.h>
#include <stdlib.h>

#define REPORT_RUNS_MAX 101

struct samples {
	double v[REPORT_RUNS_MAX];
	int n;
};

static inline void samples_add(struct samples *s, double v)
{
	if (s->n < REPORT_RUNS_MAX)
		s->v[s->n++] = v;
}

static inline int samples_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double samples_median(struct samples *s)
{
	qsort(s->v, s->n, sizeof(s->v[0]), samples_order);
	if (!s->n)
		return 0;
	return s->n % 2 ? s->v[s->n / 2] : (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
}

static inline void report_head(void)
{
	printf("%-34s %-7s %10s %10s %10s %5s  %s\n", "name", "unit", "min", "median", "max", "runs",
	       "target");
}

static inline int report_digits(double v)
{
	return v >= 10000 ? 0 : v >= 100 ? 1 : 2;
}

/* For the file alone; NULL: none. */
static inline void report_json(FILE *json, const char *name, const char *unit, struct samples *s)
{
	double median = samples_median(s);

	if (!json || !s->n)
		return;
	fprintf(json,
		"{\"name\": \"%s\", \"unit\": \"%s\", \"min\": %.3f, \"median\": %.3f, \"max\": "
		"%.3f, "
		"\"runs\": %d}\n",
		name, unit, s->v[0], median, s->v[s->n - 1], s->n);
}

/* `target` stands beside the row as it is: NULL or "" for none. */
static inline void report_row(FILE *json, const char *name, const char *unit, struct samples *s,
			      const char *target)
{
	double median = samples_median(s);
	int digits = report_digits(median);

	if (!s->n)
		return;
	printf("%-34s %-7s %10.*f %10.*f %10.*f %5d  %s\n", name, unit, digits, s->v[0], digits, median,
	       digits, s->v[s->n - 1], s->n, target ? target : "");
	fflush(stdout);
	report_json(json, name, unit, s);
}

static inline void report_error(const char *name, const char *why)
{
	printf("%-34s ERROR   %s\n", name, why);
	fflush(stdout);
}

#endif
