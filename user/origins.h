/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The origin of one service and its replicas, asked inside an sd-event loop by pipelined meta gets. Nothing here
 * waits. An endpoint that fails, or lets a get wait too long, is left alone for a while (1 s, then twice as long
 * each time up to 30 s); what it was asked is asked of the next one.
 */
#ifndef WEIR_ORIGINS_H
#define WEIR_ORIGINS_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "origin.h"

#define ORIGINS_MAX 4 /* endpoints */

struct origins;

/* 0: the default. */
struct origins_opts {
	unsigned connect_ms;  /* 1000 */
	unsigned reply_ms;    /* from the request to its reply: 500 */
	unsigned connections; /* to an endpoint: 2 */
	unsigned queue;	      /* gets that are not answered yet, in all: 4096 */
	unsigned backoff_ms;  /* 1000 */
};

struct origins_counts {
	__u64 gets, answered, failed; /* `failed` are among those answered: an error of ours, not the origin's */
	__u64 retried;		      /* asked again, of another endpoint */
	__u64 timeouts, losses;	      /* of connections: too slow; closed, refused, or not making sense */
	__u64 bytes;		      /* of values */
};

/*
 * Once for each get, never from within origins_get(). As origin_fn; more may be asked for. r->status is
 * ORIGIN_ERROR, with `why`, when no endpoint answered, too. A value that fits no datagram is not kept: r->value
 * is NULL, and r->value_len its length.
 */
typedef void (*origins_fn)(const struct origin_reply *r, void *arg);

/*
 * Endpoints as origin_open() takes them, the first is preferred. 0 or -errno. Connects when it is asked
 * something.
 */
int origins_new(struct origins **out, sd_event *event, const char *const *endpoints, unsigned n,
		const struct origins_opts *opts);
/* Gets that were not answered never will be. */
void origins_free(struct origins *o);
/* 0; -EAGAIN: the queue is full; -EINVAL: not a key; -ENOMEM. */
int origins_get(struct origins *o, const char *key, size_t key_len, origins_fn fn, void *arg);
/* Gets that are not answered yet. */
unsigned origins_pending(const struct origins *o);
/* Whether endpoint i is asked at present: it did not just fail. */
bool origins_up(const struct origins *o, unsigned i);
const struct origins_counts *origins_counts(const struct origins *o);

#endif
