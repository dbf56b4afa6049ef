/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One connection of origins.c to an endpoint: pipelined gets, written and answered as the socket lets it. */
#ifndef WEIR_ORIGIN_CONN_H
#define WEIR_ORIGIN_CONN_H

#include "origins.h"

#define CONN_WINDOW 128 /* gets that are not answered yet */

/* A get, wherever it stands. */
struct origin_ask {
	struct origin_ask *next;
	origins_fn fn;
	void *arg;
	__u64 sent_ns; /* before it was written */
	__u64 end;     /* of the request, in bytes since the connection began */
	__u8 tried;    /* a bit an endpoint: it failed there */
	bool again;    /* a connection that had worked was lost with it; so far it is held against nobody */
	__u8 key_len;
	char key[];
};

struct origin_asks {
	struct origin_ask *first, **end;
	unsigned n;
};

void asks_init(struct origin_asks *q);
void asks_add(struct origin_asks *q, struct origin_ask *a);
void asks_put_back(struct origin_asks *q, struct origin_ask *a); /* at the front */
struct origin_ask *asks_take(struct origin_asks *q);		  /* NULL: empty */

struct origin_conn;

struct origin_conn_ops {
	/* The ask is the owner's again. r->status ORIGIN_ERROR: the origin refused it. */
	void (*answered)(struct origin_ask *a, struct origin_reply *r, void *arg);
	/* After each round of replies, of which there may have been none. */
	void (*rested)(void *arg);
	/* The connection is over; to be closed with origin_conn_close(), now or later. */
	void (*lost)(struct origin_conn *c, int err, void *arg);
};

/* Begins to connect. 0 or -errno. */
int origin_conn_open(struct origin_conn **out, sd_event *event, const char *endpoint,
		     const struct origin_conn_ops *ops, void *arg);
/* What was not answered goes to `left`. */
void origin_conn_close(struct origin_conn *c, struct origin_asks *left);
/* Asks not answered yet: at most CONN_WINDOW. */
unsigned origin_conn_pending(const struct origin_conn *c);
/* Takes the ask over; written by the next flush. */
void origin_conn_ask(struct origin_conn *c, struct origin_ask *a);
void origin_conn_flush(struct origin_conn *c);
/* When it has been too slow; WEIR_NEVER: it owes nothing. */
__u64 origin_conn_deadline(const struct origin_conn *c, __u64 connect_ns, __u64 reply_ns);
/* It has answered something: losing it may be the fault of the moment. */
bool origin_conn_worked(const struct origin_conn *c);

#endif
