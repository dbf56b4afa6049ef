/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invalidations as the agent applies them: at once and without the writers' lock. Copies that the agent keeps by
 * itself stay, fenced, and are fetched again when they are hot; others are dropped, a moment later.
 */
#ifndef WEIR_INVALIDATE_AGENT_H
#define WEIR_INVALIDATE_AGENT_H

#include "filler.h"
#include "invalidate.h"

#define INVAL_PREFIXES_MAX 64	     /* in one step: each key is compared with all of them */
#define INVAL_BUCKETS_MAX  (1 << 17) /* of the index: of more, the loop does not look at each */

struct invalidate;

/* 0 or -ENOMEM. */
int invalidate_new(struct invalidate **out, struct filler *f, struct writer *w);
void invalidate_free(struct invalidate *v);
/* As filler_begin(), and after it. 0 or -errno. */
int invalidate_begin(struct invalidate *v, struct dataplane *dp, const struct config *c);
void invalidate_stop(struct invalidate *v);

/* The next service with a cache behind number `svc` (-1: the first), or -1; also where nothing is loaded. */
int invalidate_next(const struct invalidate *v, int svc);
/* Its number, or -1: there is no such service with a cache. */
int invalidate_named(const struct invalidate *v, const char *name, size_t len);
/* NULL: nothing is loaded. */
struct dataplane *invalidate_dp(const struct invalidate *v);

/* Whether the key was held. */
bool invalidate_key(struct invalidate *v, const struct inval *by, __u8 svc, const char *key, size_t len);
/* How many keys with these prefixes were held; -1: that was not looked at, and the whole service is fenced. */
__s64 invalidate_prefixes(struct invalidate *v, const struct inval *by, __u8 svc,
			  const struct inval_prefix *prefixes, unsigned n);
void invalidate_service(struct invalidate *v, const struct inval *by, __u8 svc);
/* After that: what was asked for before is fetched again, as much of it as the filler takes. */
void invalidate_rewarm(struct invalidate *v);

#endif
