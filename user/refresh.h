/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keeps hot copies: those with hits are fetched again before they expire, and those that were hot when a write
 * fenced them, or when they expired, after that. The index is looked through in short steps. What nobody asks
 * for is left to expire, and taken out some time later.
 */
#ifndef WEIR_REFRESH_H
#define WEIR_REFRESH_H

#include "filler.h"

struct refresh;

struct refresh_counts {
	__u64 rounds;	/* through the whole index */
	__u64 round_ns; /* how long the last one took */
	__u64 refreshed, rewarmed; /* asked for */
	__u64 swept;	/* long dead: removals asked for */
};

int refresh_new(struct refresh **out, sd_event *event, struct filler *f);
void refresh_free(struct refresh *r);
/* As filler_begin(), and after it. */
int refresh_begin(struct refresh *r, struct dataplane *dp, const struct config *c);
void refresh_stop(struct refresh *r);
const struct refresh_counts *refresh_counts(const struct refresh *r);

#endif
