/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Simulated backends: hosts with a few CPUs that work on all of their connections at once, in equal parts
 * (processor sharing), each connection on one CPU at a time. `served` is what each of a backend's connections has
 * been given since the beginning, so that one ends when `served` has reached what it was at its arrival plus its
 * work: the ends stand in a heap.
 */
#ifndef WEIR_BENCH_SERVERS_H
#define WEIR_BENCH_SERVERS_H

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ending {
	double at; /* of `served` */
	unsigned conn;
};

struct server {
	double cpus, speed; /* 1: as the recording's */
	double capacity;    /* what schedulers are told */
	double now, served;
	double busy; /* sum of connections * time */
	struct ending *heap;
	unsigned n, room;
};

/* How fast each of its connections is served. */
static inline double server_rate(const struct server *s)
{
	return s->n > s->cpus ? s->speed * s->cpus / s->n : s->speed;
}

/* As time has passed. */
static inline void server_advance(struct server *s, double now)
{
	s->served += (now - s->now) * server_rate(s);
	s->busy += (now - s->now) * s->n;
	s->now = now;
}

/* When its next connection ends if no other arrives. */
static inline double server_due(const struct server *s)
{
	double left = s->n ? s->heap[0].at - s->served : 0;

	return s->n ? s->now + (left > 0 ? left : 0) / server_rate(s) : INFINITY;
}

static inline int server_begin(struct server *s, double now, double work, unsigned conn)
{
	unsigned at = s->n, up;

	server_advance(s, now);
	if (s->n == s->room) {
		struct ending *heap = realloc(s->heap, (s->room + 64) * 2 * sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		s->heap = heap;
		s->room = (s->room + 64) * 2;
	}
	s->n++;
	for (; at && s->heap[up = (at - 1) / 2].at > s->served + work; at = up)
		s->heap[at] = s->heap[up];
	s->heap[at] = (struct ending){s->served + work, conn};
	return 0;
}

/* The connection that is due at `now`. */
static inline unsigned server_end(struct server *s, double now)
{
	unsigned conn = s->heap[0].conn, at = 0, down;
	struct ending last;

	server_advance(s, now);
	last = s->heap[--s->n];
	while ((down = 2 * at + 1) < s->n) {
		down += down + 1 < s->n && s->heap[down + 1].at < s->heap[down].at;
		if (s->heap[down].at >= last.at)
			break;
		s->heap[at] = s->heap[down];
		at = down;
	}
	s->heap[at] = last;
	return conn;
}

#endif
