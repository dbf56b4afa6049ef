/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The origin's side of a fill: pipelined meta gets over one TCP connection
 * (memcached doc/protocol.txt, "Meta Get"): mg KEY v f t c k, closed by mn.
 */
#ifndef WEIR_ORIGIN_H
#define WEIR_ORIGIN_H

#include <stddef.h>

#include "weir/abi.h"

struct origin;

enum origin_status {
	ORIGIN_FOUND,
	ORIGIN_MISSING,
	ORIGIN_STALE, /* found, but marked stale or won by a recache: not to be held. memcached has then
		       * given its recache token to us, if nobody had it: no meta get can avoid that */
	ORIGIN_ERROR, /* the origin refused this key; `why` says so */
};

struct origin_reply {
	enum origin_status status;
	const void *value; /* valid during the callback */
	size_t value_len;
	__u32 client_flags;
	__u64 cas;
	int cas_known;
	int key_b64;	   /* the origin returned the key in base64 with flag b */
	long ttl_s;	   /* remaining, -1: never expires */
	__u64 sent_ns;	   /* CLOCK_MONOTONIC, before the request was written */
	const char *why;
};

/*
 * `cookie` is what was passed to origin_get(). Non-zero stops; origin_get/_flush return it. The
 * callback must not ask for more (-EDEADLK).
 */
typedef int (*origin_fn)(const struct origin_reply *r, void *cookie, void *arg);

/*
 * "address:port", "[address]:port". 0 or -errno (-ETIMEDOUT, -ECONNREFUSED, -EINVAL ...). timeout_ms
 * bounds how long the origin may let us wait without a byte moved; not 0.
 *
 * After a failure or a stop every later call returns the same, and gets that were not answered never
 * will be: -ETIMEDOUT, -ECONNRESET (closed by the origin), -EPROTO (a reply that is not to the
 * request), -EPROTONOSUPPORT (no meta commands), -ECONNREFUSED (an error before any request, as
 * when the origin has too many connections).
 */
int origin_open(struct origin **out, const char *endpoint, unsigned timeout_ms, origin_fn fn, void *arg);
/*
 * Queues a get; may call back for earlier ones. Callbacks come in the order of the gets. A key that
 * cannot stand in a request is -EINVAL, and harms nothing.
 */
int origin_get(struct origin *o, const char *key, size_t key_len, void *cookie);
/* Waits until every get has been answered. */
int origin_flush(struct origin *o);
void origin_close(struct origin *o);

#endif
