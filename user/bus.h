/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The bus: a stream of Redis on which those who write to the origin by other ways tell so. Its entries are read
 * from a position that outlives the agent, so what was missed is made up for. Hot copies answer only while all
 * that stood in the stream `stale_after` ago has been applied: the lease ends then, and goes on once it has
 * been.
 */
#ifndef WEIR_BUS_H
#define WEIR_BUS_H

#include "invalidate_agent.h"

struct bus;

struct bus_field {
	const char *name, *value; /* NUL-terminated; may hold others */
	size_t name_len, value_len;
};

/* An entry with a field `event`. May come again, after the agent was killed. */
struct bus_event {
	int svc;	  /* its service, -1: all of them */
	const char *name; /* the value of `event`: 1 to 64 bytes of ASCII that print */
	const struct bus_field *fields; /* all of the entry's: "id", "42" */
	unsigned nfields;
	__u64 age_ms;	  /* since it was added, by the clocks of Redis and this host */
};
typedef void (*bus_event_fn)(const struct bus_event *e, void *arg);

struct bus_counts {
	bool up;	  /* connected */
	__u64 fresh_ns;	  /* CLOCK_MONOTONIC: all that stood in the stream then has been applied; 0: not yet */
	__u64 keys, prefixes, services, events; /* entries with such; one may have several */
	__u64 malformed;  /* skipped, or a part of it was */
	__u64 elsewhere;  /* of services that are not here */
	__u64 entries;	  /* all */
	__u64 replays;	  /* times that entries were made up for after a while without the bus */
	__u64 resets;	  /* times that entries were lost, or nobody knows: all services were fenced */
	__u64 connects, failures; /* connections that came up; that failed, or ended */
};

/* 0 or -errno. */
int bus_new(struct bus **out, sd_event *event, struct invalidate *v);
void bus_free(struct bus *b);
/* After invalidate_begin(); connects where c has a bus. 0 or -errno. */
int bus_begin(struct bus *b, const struct config *c);
/* Before invalidate_stop(). */
void bus_stop(struct bus *b);
/* Who is told of events: one at most. */
void bus_on_event(struct bus *b, bus_event_fn fn, void *arg);
/* Why this host is not to take traffic yet, or NULL. */
const char *bus_not_ready(const struct bus *b);
/* NULL: there is no bus. */
const struct bus_counts *bus_counts(const struct bus *b);
/* What the lease may be, before there is a bus: none with one that it depends on, else WEIR_NEVER. */
__u64 bus_first_lease(const struct config *c);

#endif
