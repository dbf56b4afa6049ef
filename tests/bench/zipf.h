/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Numbers by Zipf's law: number r, from 0 on, comes in proportion to (r + 1)^-skew. Drawn from an alias table
 * (Walker 1977, Vose 1991): exact, and two reads whatever the law is.
 */
#ifndef WEIR_BENCH_ZIPF_H
#define WEIR_BENCH_ZIPF_H

#include <errno.h>
#include <linux/types.h>
#include <math.h>
#include <stdlib.h>

#include "driver.h"

struct zipf {
	__u32 n;
	double *sums; /* of the parts up to and with this number; the last is 1 */
	struct zipf_place {
		float own;   /* this part of the place is its own number's, */
		__u32 other; /* the rest this one's */
	} * places;
};

static inline void zipf_free(struct zipf *z)
{
	free(z->sums);
	free(z->places);
	*z = (struct zipf){0};
}

/* What places have too much goes to those that have too little. `todo`: the little ones, then the large ones. */
static inline void zipf_share(struct zipf *z, double *part, __u32 *todo)
{
	__u32 little = 0, large = z->n;

	for (__u32 i = 0; i < z->n; i++)
		todo[part[i] < 1 ? little++ : --large] = i;
	while (little && large < z->n) {
		__u32 l = todo[--little], g = todo[large];

		z->places[l] = (struct zipf_place){part[l], g};
		part[g] -= 1 - part[l];
		if (part[g] >= 1)
			continue;
		large++;
		todo[little++] = g;
	}
	while (little)
		z->places[todo[--little]].own = 1;
	while (large < z->n)
		z->places[todo[large++]].own = 1;
}

/* 0 or -ENOMEM. */
static inline int zipf_make(struct zipf *z, __u32 n, double skew)
{
	double *part = malloc(n * sizeof(*part)), sum = 0;
	__u32 *todo = malloc(n * sizeof(*todo));

	*z = (struct zipf){n, malloc(n * sizeof(*z->sums)), calloc(n, sizeof(*z->places))};
	if (part && todo && z->sums && z->places) {
		for (__u32 i = 0; i < n; i++)
			z->sums[i] = sum += pow(i + 1, -skew);
		for (__u32 i = 0; i < n; i++) {
			z->sums[i] /= sum;
			part[i] = pow(i + 1, -skew) / sum * n;
		}
		zipf_share(z, part, todo);
	} else {
		zipf_free(z);
	}
	free(part);
	free(todo);
	return z->places ? 0 : -ENOMEM;
}

static inline __u32 zipf_draw(const struct zipf *z, __u64 *random)
{
	const struct zipf_place *p;
	__u32 at;

	*random = bench_random(*random);
	at = (*random >> 32) * z->n >> 32;
	p = &z->places[at];
	return (__u32)*random * 0x1p-32 < p->own ? at : p->other;
}

/* The part of all that the numbers below n are: the hit ratio of a cache that holds just these. */
static inline double zipf_top(const struct zipf *z, __u32 n)
{
	return n ? z->sums[(n < z->n ? n : z->n) - 1] : 0;
}

#endif
