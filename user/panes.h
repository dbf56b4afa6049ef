/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts over a sliding window, which is cut into PANES panes. What stands in the oldest one counts for the part
 * of it that is still inside the window. So a count is that of the window, but for how unevenly it came within
 * the oldest pane: at most an eighth of the window is guessed.
 */
#ifndef WEIR_PANES_H
#define WEIR_PANES_H

#include <linux/types.h>

#define PANES      8
#define PANE_SLOTS (PANES + 1) /* the last is the one that is leaving */

struct panes {
	__u64 pane_ns;
	__u64 number; /* of the present pane: time / pane_ns */
};

static inline unsigned pane_slot(__u64 number)
{
	return number % PANE_SLOTS;
}

static inline void panes_init(struct panes *p, __u64 window_ns, __u64 now_ns)
{
	p->pane_ns = window_ns / PANES ?: 1;
	p->number = now_ns / p->pane_ns;
}

/* Comes to the present: how many slots, pane_slot(number) and those before it, are to be emptied. */
static inline unsigned panes_turn(struct panes *p, __u64 now_ns)
{
	__u64 number = now_ns / p->pane_ns, n;

	if (number <= p->number)
		return 0;
	n = number - p->number;
	p->number = number;
	return n < PANE_SLOTS ? n : PANE_SLOTS;
}

static inline __u64 panes_sum(const struct panes *p, const __u32 *n, __u64 now_ns)
{
	unsigned leaving = pane_slot(p->number + 1);
	__u64 into = now_ns - p->number * p->pane_ns, sum = 0;

	for (unsigned i = 0; i < PANE_SLOTS; i++)
		sum += i == leaving ? 0 : n[i];
	if (!n[leaving] || now_ns < p->number * p->pane_ns)
		return sum + n[leaving];
	if (into >= p->pane_ns)
		return sum;
	return sum + (__u64)(n[leaving] * (double)(p->pane_ns - into) / p->pane_ns + 0.5);
}

#endif
