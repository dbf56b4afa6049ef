/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who said that values have changed, and why: counted by reason, source and level. No program looks at it.
 * Commands and the agent add to it at the same time, without a lock: a place is taken by writing `hash` once, by
 * compare-and-exchange; then the name is written, by all who find it missing, and all write the same.
 */
#ifndef WEIR_INVALIDATION_H
#define WEIR_INVALIDATION_H

#include <linux/types.h>

/* How much was invalidated. X(symbol, name) */
#define WEIR_INVAL_LEVEL_LIST(X) X(KEY, "key") X(PREFIX, "prefix") X(SERVICE, "service")
/* By what way it came. */
#define WEIR_INVAL_SOURCE_LIST(X) X(CLI, "cli") X(HTTP, "http") X(BUS, "bus")

#define WEIR_INVAL_ENUM(sym, name) WEIR_INVAL_##sym,
enum weir_inval_level { WEIR_INVAL_LEVEL_LIST(WEIR_INVAL_ENUM) WEIR_INVAL_LEVELS };
enum weir_inval_source { WEIR_INVAL_SOURCE_LIST(WEIR_INVAL_ENUM) WEIR_INVAL_SOURCES };

#define WEIR_INVAL_REASONS    64 /* that are told apart; more are counted as the last element, "other" */
#define WEIR_INVAL_REASON_MAX 32 /* bytes of a reason */

/* invalidations: mapped array of WEIR_INVAL_REASONS + 1. */
struct weir_invalidation {
	__u64 hash; /* of the reason; 0: the place is free */
	char reason[WEIR_INVAL_REASON_MAX + 8]; /* ends with a NUL; "": not yet written */
	__u64 n[WEIR_INVAL_SOURCES][WEIR_INVAL_LEVELS];
	__u64 pad;
};
_Static_assert(sizeof(struct weir_invalidation) == 128, "weir_invalidation");

#endif
