/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What rate is usual at this time of the day, and whether the present one is far above it. A day has 96 quarters of an
 * hour; each remembers its mean, smoothed over days. Usual is the larger of this quarter's and the next one's: who is
 * early for the daily rise is no surge. Where no day has seen them, it is what the last hour had.
 */
#ifndef WEIR_POLICY_SURGE_H
#define WEIR_POLICY_SURGE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define SURGE_SLOTS 96
#define SURGE_TEXT_MAX 4096

struct surge {
	double usual[SURGE_SLOTS]; /* a second; negative: not known */
	double sum;		   /* of this quarter's seconds */
	unsigned seconds;
	int slot;		   /* the present quarter; -1: before the first second */
	double rate, slow;	   /* smoothed over ten seconds, over an hour */
	__u64 seen, age;	   /* seconds that are in them */
};

void surge_begin(struct surge *s);
/* A second passed in which there were n lookups; second_of_day: by the clock on the wall, 0 to 86399. */
void surge_second(struct surge *s, double n, unsigned second_of_day);
/* What is usual now, a second; negative: not known yet. */
double surge_usual(const struct surge *s);
/* Whether the rate is more than `above` percent over what is usual. */
bool surge_now(const struct surge *s, unsigned above);

/*
 * What is known, as a line of text that outlives the agent: whose it is (a word), when by the clock on the wall. The
 * length, or 0: it does not fit.
 */
size_t surge_write(const struct surge *s, const char *whose, __u64 now, char *text, size_t room);
/* Into one that was just begun. The last hour's rate counts for an hour only. False: another's, or damaged. */
bool surge_read(struct surge *s, const char *whose, __u64 now, const char *text);

#endif
