/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A recorded workload: when connections arrive, and how much work each brings. A text file of lines
 *
 *	ARRIVAL WORK
 *
 * both whole microseconds: ARRIVAL since the first, never less than the line before; WORK how long a backend of
 * usual speed takes for it that has nothing else to do, at least 1. Lines that begin with # are comments. So what
 * a server's log has of its connections can be played as well as what is made here.
 */
#ifndef WEIR_BENCH_WORKLOAD_H
#define WEIR_BENCH_WORKLOAD_H

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "driver.h"

struct arrival {
	double at, work; /* us */
};

struct workload {
	struct arrival *a;
	unsigned n;
};

static inline int workload_add(struct workload *w, double at, double work)
{
	if (!(w->n & (w->n - 1))) { /* full at each power of two */
		struct arrival *a = realloc(w->a, (w->n ? 2 * (size_t)w->n : 1) * sizeof(*a));

		if (!a)
			return -ENOMEM;
		w->a = a;
	}
	w->a[w->n++] = (struct arrival){at, work};
	return 0;
}

/* ---- made: the same each time ---- */

#define WORK_LEAST 4000.0    /* us */
#define WORK_MOST  1000000.0
#define WORK_SHAPE 1.5	     /* of bounded Pareto: a mean of 11.3 ms, one in a hundred over 85 ms */

/* From 0 to 1, never either. */
static inline double workload_draw(__u64 *random)
{
	*random = bench_random(*random);
	return ((*random >> 12) + 0.5) / (double)(1ULL << 52);
}

/* Poisson arrivals, one every `every` us in the mean. */
static inline int workload_make(struct workload *w, unsigned n, double every)
{
	double cut = 1 - pow(WORK_LEAST / WORK_MOST, WORK_SHAPE), at = 0;
	__u64 random = 0x9e3779b97f4a7c15ULL;
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		double work = WORK_LEAST / pow(1 - workload_draw(&random) * cut, 1 / WORK_SHAPE);

		err = workload_add(w, floor(at), ceil(work));
		at -= log(workload_draw(&random)) * every;
	}
	return err;
}

/* ---- files ---- */

static inline int workload_write(const struct workload *w, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return -errno;
	fprintf(f, "# ARRIVAL WORK, us: see tests/bench/workload.h\n");
	for (unsigned i = 0; i < w->n; i++)
		fprintf(f, "%.0f %.0f\n", w->a[i].at, w->a[i].work);
	return ferror(f) | fclose(f) ? -EIO : 0;
}

static inline bool workload_line(struct workload *w, const char *line)
{
	unsigned long long at, work;
	int end = 0;

	if (line[0] == '#')
		return true;
	if (sscanf(line, " %llu %llu %n", &at, &work, &end) != 2 || line[end] || !work || work > 1000000000000ULL)
		return false;
	return at >= (w->n ? w->a[w->n - 1].at : 0) && !workload_add(w, at, work);
}

/* -EINVAL after a line on standard error about what is wrong with the file. */
static inline int workload_read(struct workload *w, const char *path)
{
	FILE *f = fopen(path, "r");
	char line[128];
	int err = 0;

	if (!f)
		return -errno;
	for (unsigned n = 1; !err && fgets(line, sizeof(line), f); n++) {
		if (workload_line(w, line))
			continue;
		fprintf(stderr, "%s:%u: not \"ARRIVAL WORK\" in us, or before the last line's arrival\n", path, n);
		err = -EINVAL;
	}
	err = err ?: ferror(f) ? -EIO : 0;
	fclose(f);
	return err;
}

#endif
