/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A connection to Redis that reads a stream, by hiredis inside an sd-event loop. It goes round: wait for
 * entries, a second at most (XREAD BLOCK); then, in one transaction, take what there is and what the stream says
 * of itself (XREAD, XINFO STREAM), so that both are of the same moment; and whether who says it is, or hears, the
 * master (INFO).
 */
#ifndef WEIR_BUS_REDIS_H
#define WEIR_BUS_REDIS_H

#include "bus.h"

struct stream_id {
	__u64 ms, seq;
};

static inline int stream_id_cmp(struct stream_id a, struct stream_id b)
{
	return a.ms != b.ms ? (a.ms > b.ms) - (a.ms < b.ms) : (a.seq > b.seq) - (a.seq < b.seq);
}

/* "1700000000000-0". 0 or -EINVAL. */
int stream_id_parse(struct stream_id *id, const char *text);

/* The stream at one moment. */
struct redis_look {
	struct stream_id last; /* the last id that it gave; 0-0: it is not there, or empty from the beginning */
	__u64 added;	       /* entries that were ever added to it */
	bool whole;	       /* what was given before this is all that it holds behind the position */
	__u64 asked_ns;	       /* CLOCK_MONOTONIC, a little before that moment */
};

struct redis_ops {
	/* From where on: the last entry that was given; NULL: only what comes from now on. */
	const struct stream_id *(*position)(void *arg);
	void (*entry)(struct stream_id id, const struct bus_field *fields, unsigned n, void *arg);
	void (*looked)(const struct redis_look *look, void *arg);
	void (*up)(void *arg);
	/* The connection could not be made, or is gone; it is to be closed. */
	void (*down)(const char *why, void *arg);
};

struct redis_link;

/* 0, or -errno after a reason was given in `why`. It holds no pointer to c. */
int redis_connect(struct redis_link **out, sd_event *event, const struct config_bus *c,
		  const struct redis_ops *ops, void *arg, char why[160]);
/* Calls nobody any more. May be called from all of the functions above. */
void redis_close(struct redis_link *l);
/* CLOCK_MONOTONIC: when something was last heard. */
__u64 redis_heard_ns(const struct redis_link *l);
/* Loads hiredis. 0; else -errno, and why as lazy_load() has it. */
int redis_library(char *why, size_t len);

#endif
