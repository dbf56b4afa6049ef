// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How well the hot set follows the traffic, in simulated time (follow.h): hits beside those of an ideal of the
 * same size, how long until they are there again after a change, and what the agent's promotion takes for it. Each
 * run is another draw of the same workload: the spread is that of chance, and of the machine for `cpu` alone.
 */
#include <unistd.h>

#include "follow.h"
#include "report.h"

#define WINDOW_S 10
#define WINDOW   (WINDOW_S * FOLLOW_RATE)
#define PART     0.9

/* Lookups are counted in thousands. */
#define COLUMNS(X)                                                                                      \
	X(IDEAL, "ideal", "%", "")                                                                      \
	X(HITS, "hits", "%", "")                                                                        \
	X(RATIO, "ratio", "%", ">= 95")                                                                 \
	X(COLD, "cold", "1000", "")          /* until 90% of the ideal: from nothing, */                \
	X(SHIFT20, "shift20", "1000", "")    /* after a fifth of the ranks changed their keys, */       \
	X(SHIFT100, "shift100", "1000", "")  /* after all did */                                        \
	X(DRIFT, "drift", "%", "")           /* by the ideal, while a fiftieth changes each second */   \
	X(SCAN, "scan", "%", ">= 98")        /* by what was before, half of all lookups being a scan */ \
	X(SAMPLES, "flash/samples", "1", "") /* of a new key that gets a fifth of the traffic */        \
	X(FLASH, "flash", "1000", "")        /* until that key is held */                               \
	X(CPU, "cpu", "%", "")               /* of a core, at 200,000 lookups a second */

#define COLUMN_ENUM(sym, name, unit, target) sym,
enum column { COLUMNS(COLUMN_ENUM) COLUMN_COUNT };

static const struct {
	const char *name, *unit, *target;
} columns[] = {
#define COLUMN(sym, name, unit, target) {name, unit, target},
	COLUMNS(COLUMN)
};

static const struct {
	const char *name;
	double skew;
	unsigned top, sample, min_hits;
} workloads[] = {
	{"warm/zipf0.99/1000", 0.99, 1000, 16, 100},
	{"warm/zipf1.2/1000", 1.2, 1000, 16, 100},
	{"warm/zipf0.99/100", 0.99, 100, 16, 100},
	{"warm/zipf0.99/8000/sample4", 0.99, 8000, 4, 10},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static struct samples rows[COLUMN_COUNT];

static struct follow_counts count(struct follow *f, __u64 lookups)
{
	struct follow_counts c = {0};

	follow_run(f, lookups, &c);
	return c;
}

static void settle(struct follow *f)
{
	count(f, WINDOW + WINDOW / 4);
}

static void measure_steady(struct follow *f)
{
	struct follow_counts c, scan;

	samples_add(&rows[COLD], follow_until(f, PART, 3 * WINDOW) / 1e3);
	settle(f);
	c = count(f, WINDOW);
	samples_add(&rows[IDEAL], 100.0 * c.ideal / c.lookups);
	samples_add(&rows[HITS], 100.0 * c.hits / c.lookups);
	samples_add(&rows[RATIO], 100 * follow_ratio(&c));
	f->scan = 0.5;
	scan = count(f, WINDOW);
	f->scan = 0;
	samples_add(&rows[SCAN], 100 * follow_ratio(&scan) / follow_ratio(&c));
}

static void measure_changes(struct follow *f)
{
	struct follow_counts c = {0};

	f->flash = 0.2;
	count(f, WINDOW / 4);
	f->flash = 0;
	samples_add(&rows[SAMPLES], f->flash_samples);
	samples_add(&rows[FLASH], f->flash_lookups / 1e3);
	settle(f);
	follow_shift(f, 0.2);
	samples_add(&rows[SHIFT20], follow_until(f, PART, 3 * WINDOW) / 1e3);
	settle(f);
	follow_shift(f, 1);
	samples_add(&rows[SHIFT100], follow_until(f, PART, 3 * WINDOW) / 1e3);
	settle(f);
	for (unsigned s = 0; s < WINDOW_S; s++) {
		follow_shift(f, 0.02);
		follow_run(f, FOLLOW_RATE, &c);
	}
	samples_add(&rows[DRIFT], 100 * follow_ratio(&c));
}

/* NULL, or what went wrong. */
static const char *run_workload(unsigned n, unsigned runs, FILE *json)
{
	const struct config_promote how = {.on = true,
					   .min_hits = workloads[n].min_hits,
					   .top = workloads[n].top,
					   .window_ns = WINDOW_S * 1000000000ULL,
					   .stay_out_ns = 600000000000ULL};

	memset(rows, 0, sizeof(rows));
	for (unsigned i = 0; i < runs; i++) {
		struct follow *f = follow_new(workloads[n].skew, &how, workloads[n].sample, i + 1);

		if (!f)
			return "no memory";
		measure_steady(f);
		measure_changes(f);
		samples_add(&rows[CPU], 100.0 * f->agent_ns / (f->ticks * FOLLOW_TICK_NS));
		follow_free(f);
	}
	for (unsigned i = 0; i < COLUMN_COUNT; i++) {
		char name[80];

		snprintf(name, sizeof(name), "%s/%s", workloads[n].name, columns[i].name);
		report_row(json, name, columns[i].unit, &rows[i], columns[i].target);
	}
	return NULL;
}

static bool selected(const char *name, char **prefixes)
{
	for (char **p = prefixes; *p; p++) {
		if (!strncmp(name, *p, strlen(*p)))
			return true;
	}
	return !*prefixes;
}

int main(int argc, char **argv)
{
	unsigned runs = 5;
	FILE *json = NULL;
	int c, failed = 0;

	while ((c = getopt(argc, argv, "r:o:")) != -1) {
		if (c == 'r')
			runs = atoi(optarg);
		else if (c == 'o' && !(json = fopen(optarg, "w")))
			return perror(optarg), 1;
		if (c == '?' || !runs || runs > REPORT_RUNS_MAX)
			return fprintf(stderr, "usage: warm [-r RUNS] [-o JSON_LINES] [ROW-PREFIX...]\n"), 2;
	}
	report_head();
	for (unsigned i = 0; i < WORKLOADS; i++) {
		const char *why = NULL;

		if (selected(workloads[i].name, argv + optind))
			why = run_workload(i, runs, json);
		if (why)
			report_error(workloads[i].name, why);
		failed += why != NULL;
	}
	if (json && fclose(json))
		return perror("writing results"), 1;
	return failed ? 1 : 0;
}
