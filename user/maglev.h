/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maglev's lookup table (Eisenbud et al., NSDI 2016, 3.4), weighted. */
#ifndef WEIR_MAGLEV_H
#define WEIR_MAGLEV_H

#include "weir/steer.h"

struct maglev_entry {
	const char *name; /* of the backend */
	__u32 weight;	  /* its capacity, at least 1 */
	__u16 place;	  /* what the table says of it */
};

/*
 * Fills `table` for the n backends of a pool (any number), in proportion to their weights; e is sorted. The same
 * names and weights give each backend the same part of the table on every host, whatever its place.
 * Readers may look on: entries change one by one, and only those that differ.
 */
void maglev_fill(struct weir_maglev *table, const char *pool, struct maglev_entry *e, unsigned n);

#endif
