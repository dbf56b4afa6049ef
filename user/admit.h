/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which keys of one service are held: decides by sampled misses, and by the hits of what is held. A key comes in
 * when it was looked up min_hits times within the window, as far as samples tell, and when it is among the top:
 * when those are held already, it takes the place of the one that is asked for least, if it is asked for more by
 * a quarter.
 *
 * Knows neither sockets nor the loop: who calls it asks the origin, and looks at the hot set for it.
 */
#ifndef WEIR_ADMIT_H
#define WEIR_ADMIT_H

#include "config.h"
#include "filler.h"
#include "sketch.h"

/* Why a key is not let in now. X(symbol, name in reports) */
#define ADMIT_REFUSALS(X)                                                        \
	X(DENIED, "denied")         /* its beginning is in `deny` */             \
	X(TOO_LARGE, "too_large")   /* longer than value_max or a datagram */    \
	X(VOLATILE, "too_volatile") /* written more often than it is answered */ \
	X(MISSING, "missing")       /* not at the origin, or not for long */     \
	X(FULL, "full")             /* the hot set has no room */                \
	X(ORIGIN, "origin_error")   /* the origin cannot be asked */             \
	X(DROPPED, "dropped")       /* somebody dropped it while it was fetched */

#define ADMIT_REFUSAL_ENUM(sym, name) ADMIT_##sym,
enum admit_refusal { ADMIT_REFUSALS(ADMIT_REFUSAL_ENUM) ADMIT_REFUSAL_COUNT };

struct admit;

struct admit_counts {
	__u64 samples; /* of misses */
	__u64 asked, promoted;
	__u64 evicted;                      /* gave way to others, */
	__u64 demoted;                      /* or were hardly asked for any more, */
	__u64 worn;                         /* or written too often, */
	__u64 denied;                       /* or `deny` names them since */
	__u64 refused[ADMIT_REFUSAL_COUNT]; /* denied: samples; others: each time that a key was sent away */
	__u64 held;                         /* keys now */
};

struct admit_ops {
	/* As fill_ask() for promotion, whose result is told to admit_result(); and fill_drop(). */
	int (*ask)(__u8 svc, const char *key, size_t len, void *arg);
	int (*drop)(__u8 svc, const char *key, size_t len, void *arg);
	void *arg;
};

/* What is known of a key: of lookups within the window, in numbers of lookups. */
struct admit_why {
	bool held, asked;
	bool promoted;      /* or somebody else brought it; of one that is held */
	__u64 since_ns;     /* held, or asked for; at least, when it was there before the agent began */
	__u64 hits, writes; /* of one that is held: measured */
	__u64 misses;       /* by its samples, */
	__u64 over;         /* and so many more at most, by the sketch; samples themselves are chance */
	__u64 needs; /* so many it must have at least to come in: min_hits, or more than the least of those held */
	__u64 rank;        /* among all keys of the service that are known */
	__u64 nheld, room; /* keys that are held, and may be */
	const char *deny;  /* its beginning, or NULL */
	bool refused;
	enum admit_refusal refusal;
	__u64 until_ns;
};

const char *admit_refusal_name(enum admit_refusal r);

/* One in `sample` misses is told. how is copied. 0 or -ENOMEM. */
int admit_new(struct admit **out, __u8 svc, const struct config_promote *how, __u32 sample,
	      const struct admit_ops *ops, __u64 now_ns);
void admit_free(struct admit *a);
/* Whether it is as it would be made of these. */
bool admit_same(const struct admit *a, const struct config_promote *how, __u32 sample);

/* A lookup missed. */
void admit_sample(struct admit *a, __u64 hash, const char *key, size_t len, __u64 now_ns);
/* What became of a key that was asked for. */
void admit_result(struct admit *a, __u64 hash, const char *key, size_t len, enum fill_result r, __u64 now_ns);

/*
 * A round through the hot set: each of the service's slots, with its hit counter and its key's fence; then the
 * end. age_ns: so old the counters are at most.
 */
void admit_slot(struct admit *a, __u64 hash, const struct weir_slot *slot, __u64 counter, __u64 fence,
		__u64 age_ns, __u64 now_ns);
void admit_round(struct admit *a, __u64 now_ns);

void admit_explain(struct admit *a, __u64 hash, const char *key, size_t len, __u64 now_ns,
		   struct admit_why *why);
const struct admit_counts *admit_counts(const struct admit *a);
void admit_sketch(const struct admit *a, struct sketch_usage *u);
/* Each key that samples tell of, neither held nor denied. */
void admit_each(struct admit *a, __u64 now_ns, sketch_fn fn, void *arg);

#endif
