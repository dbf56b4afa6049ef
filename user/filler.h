/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fetches keys and publishes them so that no write is overtaken: the fence is noted before the origin is asked,
 * a key that was written less than the settle time ago waits, and one whose fence moved meanwhile is not
 * published. What has come is published together, every 20 ms at most. All of it inside the agent's loop,
 * without waiting.
 */
#ifndef WEIR_FILLER_H
#define WEIR_FILLER_H

#include "config.h"
#include "writer.h"

/* Who asks. X(symbol, name in reports) */
#define FILL_WHYS(X)                                                        \
	X(REFRESH, "refresh") /* a hot copy is about to expire */           \
	X(PROMOTE, "promote") /* misses say that it is worth holding */     \
	X(START, "start")     /* a list, when the agent starts */           \
	X(SURGE, "surge")     /* traffic rises */                           \
	X(PEER, "peer")	      /* another host holds it */                   \
	X(EVENT, "event")     /* a message on the bus */                    \
	X(REWARM, "rewarm")   /* a hot copy was fenced, or has expired */

#define FILL_WHY_ENUM(sym, name) FILL_##sym,
enum fill_why { FILL_WHYS(FILL_WHY_ENUM) FILL_WHY_COUNT };

/* What became of it. X(symbol, name in reports) */
#define FILL_RESULTS(X)                                                                                    \
	X(ADDED, "added")                                                                                  \
	X(REPLACED, "replaced")                                                                            \
	X(UNCHANGED, "unchanged")     /* the same value; its time begins anew */                           \
	X(MISSING, "missing")	      /* not at the origin: a copy is dropped */                           \
	X(STALE, "stale")	      /* the origin itself calls it stale: a copy is dropped */            \
	X(EXPIRING, "expiring")	      /* at the origin for a second at most */                             \
	X(TOO_LONG, "too_long")	      /* longer than value_max or a datagram: a copy is dropped */         \
	X(FULL, "full")		      /* no room */                                                        \
	X(NO_ORIGIN, "no_origin")     /* the service has none */                                           \
	X(ORIGIN, "origin_error")     /* the origin refused it, or no endpoint answered */                 \
	X(WRITING, "write_in_flight") /* written again and again meanwhile */                              \
	X(FLUSH, "flush_pending")     /* a flush_all with a date is too near */                            \
	X(DROPPED, "dropped")	      /* fill_drop(), or a copy by hand, came while it was fetched */      \
	X(GONE, "gone")		      /* the data plane, or the service, is not there any more */

#define FILL_RESULT_ENUM(sym, name) FILL_##sym,
enum fill_result { FILL_RESULTS(FILL_RESULT_ENUM) FILL_RESULT_COUNT };

struct filler;

struct filler_counts {
	__u64 by[FILL_WHY_COUNT][FILL_RESULT_COUNT];
	__u64 asked[FILL_WHY_COUNT]; /* also those that joined a fetch */
	__u64 refused;		     /* -EAGAIN */
	__u64 joined;
	__u64 deferred;		     /* a write was too near: asked again later */
	__u64 drops, dropped;	     /* asked for; of keys that were held */
	__u64 batches;		     /* published together */
	__u64 value_bytes;	     /* fetched */
	__u64 waiting;		     /* keys now, in all stages */
};

/* Once for each fill_ask() and fill_put() that returned 0; may ask for more. The key is valid during the call. */
typedef void (*fill_fn)(__u8 svc, const char *key, size_t key_len, enum fill_result r, void *arg);

const char *fill_why_name(enum fill_why w);
const char *fill_result_name(enum fill_result r);

/* 0 or -errno. */
int filler_new(struct filler **out, sd_event *event, struct writer *w);
void filler_free(struct filler *f);
/* With each data plane that is taken up, and each configuration. What was asked for goes on. 0 or -errno. */
int filler_begin(struct filler *f, struct dataplane *dp, const struct config *c);
/* Before the data plane is closed. What was asked for is FILL_GONE. */
void filler_stop(struct filler *f);

/*
 * Queues a key. One fetch for each key: who asks for one that is under way joins it. 0; -EAGAIN: 64K keys wait;
 * -EINVAL: not a key, or not a service with a cache; -ENODEV: nothing is loaded; -ENOMEM. fn may be NULL.
 */
int fill_ask(struct filler *f, __u8 svc, const char *key, size_t key_len, enum fill_why why, fill_fn fn,
	     void *arg);
/* Queues a removal; a fetch of the key that is under way publishes nothing. As fill_ask(). */
int fill_drop(struct filler *f, __u8 svc, const char *key, size_t key_len);
/* The same of a copy that answers no more: one that was put since and does, stays. */
int fill_drop_dead(struct filler *f, __u8 svc, const char *key, size_t key_len);
/*
 * The fence of a key now, for fill_put(): before the value is read from where it comes. Zero when nothing is
 * loaded.
 */
struct hot_fence fill_fence(const struct filler *f, __u8 svc, const char *key, size_t key_len);
/*
 * Queues a value that did not come from the service's origin (it->flags, it->expires_ns and it->fence as they
 * are to be published). Copied. As fill_ask(); -EMSGSIZE: longer than value_max or a datagram.
 */
int fill_put(struct filler *f, const struct hot_item *it, enum fill_why why, fill_fn fn, void *arg);
/* Keys that wait, in all stages. */
unsigned filler_waiting(const struct filler *f);
const struct filler_counts *filler_counts(const struct filler *f);
/* How long a write may take to reach the origin: 2 s. For tests. */
void filler_settle(struct filler *f, unsigned ms);
/* The endpoints of a service's origin, for those who show them; NULL: none. Valid until filler_begin(). */
struct origins *filler_origins(const struct filler *f, __u8 svc);

#endif
