/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fills the hot set of one service from warming lists and from its origin. Knows nothing of maps or
 * words on a terminal: the hot set is memory, what happens to each line goes into a report.
 */
#ifndef WEIR_WARM_H
#define WEIR_WARM_H

#include "hotset.h"
#include "list.h"

/* Why a line was not warmed. X(symbol, name in reports, whether it makes the run fail) */
#define WARM_SKIPS(X)                                                                    \
	X(BAD_LINE, "bad_line", true)        /* the list says why */                     \
	X(EXPIRED, "expired", false)         /* a metadump line whose time has passed */ \
	X(EXPIRING, "expiring", false)       /* at the origin for a second at most */    \
	X(MISSING, "missing", true)          /* not at the origin */                     \
	X(STALE, "stale", true)              /* the origin itself calls it stale */      \
	X(TOO_LONG, "too_long", true)        /* longer than value_max or a datagram */   \
	X(FULL, "full", true)                /* no room */                               \
	X(NO_ORIGIN, "no_origin", true)      /* no value, and nowhere to fetch it */     \
	X(ORIGIN, "origin_error", true)      /* the origin refused it, or was lost */    \
	X(WRITING, "write_in_flight", true)  /* written again and again meanwhile */     \
	X(FLUSH, "flush_pending", true)      /* a flush_all with a date is too near */   \
	X(NOT_FETCHED, "not_fetched", false) /* a dry run does not ask the origin */     \
	X(STRICT, "strict", true)            /* good, but another line was not */

#define WARM_SKIP_ENUM(sym, name, fails) WARM_##sym,
enum warm_skip { WARM_SKIPS(WARM_SKIP_ENUM) WARM_SKIP_COUNT };

struct warm_opts {
	__u8 svc;
	__u64 ttl_ns; /* for lines that give none */
	__u32 value_max;
	const char *origin; /* "": none */
	bool replace, strict;
	bool dry_run;        /* changes nothing, and asks no origin */
	unsigned settle_ms;  /* how long a write may take to reach the origin */
	unsigned timeout_ms; /* of the origin */
	/* A line that was skipped; may be NULL. */
	void (*fault)(const char *list, unsigned long line, const char *why, void *arg);
	/* How far list number `list` is read, as in list_sink; may be NULL. */
	void (*progress)(unsigned list, __u64 done, __u64 total, void *arg);
	void *arg;
};

struct warm_report {
	__u64 lines, added, replaced, unchanged, removed;
	__u64 skipped[WARM_SKIP_COUNT];
	__u64 value_bytes;         /* of what was added or replaced */
	__u64 *list_lines;         /* by list; warm_report_free() */
	struct hotset_usage usage; /* afterwards; all 0 without a hot set */
	char error[256];           /* why warm_run() failed */
};

/*
 * Reads the lists into the hot set. `mem` NULL (a dry run only): there is none, lines are read and
 * counted. 0 when it ran to its end, which says nothing of single lines (see warm_ok()); else -errno
 * with r->error set, and r says how far it came.
 */
int warm_run(const struct hotset_mem *mem, struct list *const *lists, unsigned nlists,
	     const struct warm_opts *o, struct warm_report *r);
void warm_report_free(struct warm_report *r);
/* Every line that should have been warmed was. */
bool warm_ok(const struct warm_report *r);
const char *warm_skip_name(enum warm_skip s);

/*
 * When a hot copy must end because of a delayed flush_all at the origin, by when its value was asked for: a time
 * to end before (WEIR_NEVER: no such flush; it may have passed), 0: never, -EBUSY: its date is not known.
 */
int warm_flush_cap(const struct hotset_mem *mem, __u8 svc, __u64 asked_ns, __u64 *cap_ns);

#endif
