/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Promotion, as a part of the agent: reads sampled misses, has what they say is worth it fetched, and goes
 * through the hot set to see what is still worth holding. admit.h decides; this brings it together with samples,
 * filler and maps.
 */
#ifndef WEIR_PROMOTE_H
#define WEIR_PROMOTE_H

#include "admit.h"
#include "dataplane.h"
#include "samples.h"

struct promote;

/* 0 or -errno. */
int promote_new(struct promote **out, sd_event *event, struct filler *f);
void promote_free(struct promote *p);
/* As filler_begin(), and after it. A service whose configuration did not change goes on with what it knows. */
int promote_begin(struct promote *p, struct dataplane *dp, const struct config *c);
void promote_stop(struct promote *p);

/* What the service does; NULL: it has no promotion. */
const struct config_promote *promote_config(const struct promote *p, unsigned svc);
/* -ENOENT: the service has no promotion. */
int promote_explain(struct promote *p, unsigned svc, const char *key, size_t len, struct admit_why *why);
/* The same of its counts; u may be NULL. */
int promote_counts(const struct promote *p, unsigned svc, struct admit_counts *c, struct sketch_usage *u);
const struct samples_counts *promote_samples(const struct promote *p);
/* How many keys of the service samples tell of, at most; and each of them that is not held, as sketch_each(). */
__u32 promote_known(const struct promote *p, unsigned svc);
void promote_hottest(struct promote *p, unsigned svc, sketch_fn fn, void *arg);
/* A round through the hot set at once. For tests. */
void promote_round(struct promote *p);

#endif
