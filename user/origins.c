// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which endpoint is asked what. A get waits in one queue until the endpoint that it is for has a connection
 * with room. All of that is done from one place (pump), which runs in a round of the loop of its own: never
 * under a caller.
 */
#include "origins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hotset.h"
#include "origin_conn.h"
#include "origin_parse.h"

#define CONNECTIONS_MAX 8
#define BACKOFF_TIMES	30 /* the first back-off, at most */
#define MS_NS		1000000ULL

struct endpoint {
	struct origins *o;
	char name[WEIR_ORIGIN_MAX];
	struct origin_conn *conns[CONNECTIONS_MAX];
	unsigned failures; /* in a row */
	__u64 retry_ns;	   /* left alone until then */
};

struct origins {
	sd_event *event;
	sd_event_source *pump, *timer;
	struct origins_opts opts;
	struct endpoint at[ORIGINS_MAX];
	unsigned n;
	struct origin_asks waiting;
	unsigned pending; /* waiting, or with a connection */
	char why[128];	  /* the last failure */
	struct origins_counts counts;
};

static void pump_soon(struct origins *o)
{
	sd_event_source_set_enabled(o->pump, SD_EVENT_ONESHOT);
}

/* ---- failures --------------------------------------------------------------------------------- */

/* The asker's own. */
static void hand_over(struct origins *o, struct origin_ask *a, const struct origin_reply *r)
{
	o->pending--;
	o->counts.answered++;
	o->counts.bytes += r->value ? r->value_len : 0;
	a->fn(r, a->arg);
	free(a);
}

static void fail(struct origins *o, struct origin_ask *a)
{
	struct origin_reply r = { .status = ORIGIN_ERROR, .sent_ns = a->sent_ns, .why = o->why };

	o->counts.failed++;
	hand_over(o, a, &r);
}

static void back_off(struct endpoint *e, int err)
{
	__u64 times = e->failures < 5 ? 1ULL << e->failures : BACKOFF_TIMES;

	e->failures++;
	e->retry_ns = monotonic_ns() + times * e->o->opts.backoff_ms * MS_NS;
	snprintf(e->o->why, sizeof(e->o->why), "%s: %s", e->name, strerror(-err));
}

/* What a connection owes is asked again, before all that waits, and in its old order. */
static void take_back(struct endpoint *e, struct origin_asks *left, bool held_against)
{
	struct origins *o = e->o;
	struct origin_asks all;
	struct origin_ask *a;

	asks_init(&all);
	while ((a = asks_take(left))) {
		if (held_against || a->again)
			a->tried |= 1 << (e - o->at);
		a->again = true;
		o->counts.retried++;
		asks_add(&all, a);
	}
	while ((a = asks_take(&o->waiting)))
		asks_add(&all, a);
	while ((a = asks_take(&all)))
		asks_add(&o->waiting, a);
}

/* A connection that had worked may have been closed for being idle, or with an origin that was started again. */
static void lose(struct endpoint *e, struct origin_conn *c, int err)
{
	bool held_against = err == -ETIMEDOUT || err == -EPROTO || !origin_conn_worked(c);
	struct origin_asks left;

	asks_init(&left);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		if (e->conns[i] == c)
			e->conns[i] = NULL;
	}
	origin_conn_close(c, &left);
	e->o->counts.timeouts += err == -ETIMEDOUT;
	e->o->counts.losses += err != -ETIMEDOUT;
	if (held_against)
		back_off(e, err);
	else
		snprintf(e->o->why, sizeof(e->o->why), "%s: %s", e->name, strerror(-err));
	take_back(e, &left, held_against);
	pump_soon(e->o);
}

/* ---- replies ---------------------------------------------------------------------------------- */

static bool is_free(const struct endpoint *e, const struct origin_ask *a)
{
	return !(a->tried & 1 << (e - e->o->at)) && monotonic_ns() >= e->retry_ns;
}

/* The origin has trouble of its own, which another may not have. */
static bool is_for_another(struct endpoint *e, struct origin_ask *a, const struct origin_reply *r)
{
	bool any = false;

	if (r->status != ORIGIN_ERROR || strncmp(r->why, "SERVER_ERROR", 12))
		return false;
	a->tried |= 1 << (e - e->o->at);
	for (unsigned i = 0; i < e->o->n; i++)
		any |= is_free(&e->o->at[i], a);
	return any;
}

static void on_answer(struct origin_ask *a, struct origin_reply *r, void *arg)
{
	struct endpoint *e = arg;

	e->failures = 0;
	if (!is_for_another(e, a, r)) {
		hand_over(e->o, a, r);
		return;
	}
	e->o->counts.retried++;
	asks_put_back(&e->o->waiting, a);
}

static void on_rest(void *arg)
{
	struct endpoint *e = arg;

	if (e->o->waiting.n)
		pump_soon(e->o);
}

static void on_lost(struct origin_conn *c, int err, void *arg)
{
	lose(arg, c, err);
}

/* ---- asking ----------------------------------------------------------------------------------- */

static unsigned asked_of(const struct endpoint *e)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		n += e->conns[i] ? origin_conn_pending(e->conns[i]) : 0;
	return n;
}

/* The first that may be asked. After a failure one get tries, and the others go elsewhere, or *wait. */
static struct endpoint *pick(struct origins *o, const struct origin_ask *a, bool *wait)
{
	*wait = false;
	for (unsigned i = 0; i < o->n; i++) {
		struct endpoint *e = &o->at[i];

		if (!is_free(e, a))
			continue;
		if (!e->failures || !asked_of(e))
			return e;
		*wait = true;
	}
	return NULL;
}

static int open_conn(struct endpoint *e, struct origin_conn **c)
{
	static const struct origin_conn_ops ops = { on_answer, on_rest, on_lost };

	return origin_conn_open(c, e->o->event, e->name, &ops, e);
}

/* The connection that owes least; another one when that owes a lot. NULL: all owe as much as they may. */
static int choose_conn(struct endpoint *e, struct origin_conn **out)
{
	struct origin_conn *best = NULL, **place = NULL;
	int err;

	for (unsigned i = 0; i < e->o->opts.connections; i++) {
		struct origin_conn *c = e->conns[i];

		if (!c)
			place = &e->conns[i];
		else if (!best || origin_conn_pending(c) < origin_conn_pending(best))
			best = c;
	}
	*out = best;
	if (best && origin_conn_pending(best) < CONN_WINDOW / 2)
		return 0;
	err = place ? open_conn(e, place) : -EBUSY;
	if (!err)
		*out = *place;
	else if (best && origin_conn_pending(best) == CONN_WINDOW)
		*out = NULL;
	return best ? 0 : err;
}

/* False: the first that waits goes on waiting. */
static bool pump_one(struct origins *o)
{
	struct origin_conn *c;
	struct origin_ask *a;
	struct endpoint *e;
	bool wait;
	int err;

	e = pick(o, o->waiting.first, &wait);
	if (!e && wait)
		return false;
	err = e ? choose_conn(e, &c) : 0;
	if (err) {
		back_off(e, err);
		return true;
	}
	if (e && !c)
		return false;
	a = asks_take(&o->waiting);
	if (e)
		origin_conn_ask(c, a);
	else
		fail(o, a);
	return true;
}

static __u64 deadline_of(const struct origins *o, const struct origin_conn *c)
{
	return c ? origin_conn_deadline(c, o->opts.connect_ms * MS_NS, o->opts.reply_ms * MS_NS) : WEIR_NEVER;
}

static void arm(struct origins *o)
{
	__u64 first = WEIR_NEVER;

	for (unsigned i = 0; i < o->n * CONNECTIONS_MAX; i++) {
		__u64 at = deadline_of(o, o->at[i / CONNECTIONS_MAX].conns[i % CONNECTIONS_MAX]);

		first = at < first ? at : first;
	}
	if (first != WEIR_NEVER)
		sd_event_source_set_time(o->timer, first / 1000 + 1);
	sd_event_source_set_enabled(o->timer, first == WEIR_NEVER ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

/* Those that come meanwhile have another round. */
static int on_pump(sd_event_source *s, void *arg)
{
	struct origins *o = arg;
	unsigned n = o->waiting.n + ORIGINS_MAX;

	while (n-- && o->waiting.n && pump_one(o))
		;
	for (unsigned i = 0; i < o->n * CONNECTIONS_MAX; i++) {
		struct origin_conn *c = o->at[i / CONNECTIONS_MAX].conns[i % CONNECTIONS_MAX];

		if (c)
			origin_conn_flush(c);
	}
	arm(o);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct origins *o = arg;
	__u64 now = monotonic_ns();

	for (unsigned i = 0; i < o->n * CONNECTIONS_MAX; i++) {
		struct endpoint *e = &o->at[i / CONNECTIONS_MAX];
		struct origin_conn *c = e->conns[i % CONNECTIONS_MAX];

		if (deadline_of(o, c) <= now)
			lose(e, c, -ETIMEDOUT);
	}
	arm(o);
	return 0;
}

int origins_get(struct origins *o, const char *key, size_t key_len, origins_fn fn, void *arg)
{
	struct origin_ask *a;

	if (!meta_key_ok(key, key_len))
		return -EINVAL;
	if (o->pending >= o->opts.queue)
		return -EAGAIN;
	a = malloc(sizeof(*a) + key_len);
	if (!a)
		return -ENOMEM;
	*a = (struct origin_ask){ .fn = fn, .arg = arg, .key_len = key_len, .sent_ns = monotonic_ns() };
	memcpy(a->key, key, key_len);
	asks_add(&o->waiting, a);
	o->pending++;
	o->counts.gets++;
	pump_soon(o);
	return 0;
}

unsigned origins_pending(const struct origins *o)
{
	return o->pending;
}

bool origins_up(const struct origins *o, unsigned i)
{
	return i < o->n && !o->at[i].failures;
}

const struct origins_counts *origins_counts(const struct origins *o)
{
	return &o->counts;
}

/* ---- life ------------------------------------------------------------------------------------- */

static int set_endpoints(struct origins *o, const char *const *endpoints, unsigned n)
{
	struct sockaddr_storage ss;
	socklen_t len;

	if (!n || n > ORIGINS_MAX)
		return -EINVAL;
	for (o->n = 0; o->n < n; o->n++) {
		struct endpoint *e = &o->at[o->n];

		if (origin_address(endpoints[o->n], &ss, &len))
			return -EINVAL;
		e->o = o;
		snprintf(e->name, sizeof(e->name), "%s", endpoints[o->n]);
	}
	return 0;
}

static int set_sources(struct origins *o)
{
	int err = sd_event_add_defer(o->event, &o->pump, on_pump, o);

	if (err >= 0)
		err = sd_event_source_set_enabled(o->pump, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_time(o->event, &o->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, o);
	/* Should the loop itself have been late, replies that are there by now come first. */
	if (err >= 0)
		err = sd_event_source_set_priority(o->timer, SD_EVENT_PRIORITY_NORMAL + 1);
	if (err >= 0)
		err = sd_event_source_set_enabled(o->timer, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

int origins_new(struct origins **out, sd_event *event, const char *const *endpoints, unsigned n,
		const struct origins_opts *opts)
{
	struct origins *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	o->event = sd_event_ref(event);
	asks_init(&o->waiting);
	if (opts)
		o->opts = *opts;
	o->opts.connect_ms = o->opts.connect_ms ?: 1000;
	o->opts.reply_ms = o->opts.reply_ms ?: 500;
	o->opts.queue = o->opts.queue ?: 4096;
	o->opts.backoff_ms = o->opts.backoff_ms ?: 1000;
	if (!o->opts.connections || o->opts.connections > CONNECTIONS_MAX)
		o->opts.connections = o->opts.connections ? CONNECTIONS_MAX : 2;
	err = set_endpoints(o, endpoints, n) ?: set_sources(o);
	if (err)
		origins_free(o);
	else
		*out = o;
	return err;
}

void origins_free(struct origins *o)
{
	struct origin_ask *a;

	if (!o)
		return;
	for (unsigned i = 0; i < o->n * CONNECTIONS_MAX; i++)
		origin_conn_close(o->at[i / CONNECTIONS_MAX].conns[i % CONNECTIONS_MAX], &o->waiting);
	while ((a = asks_take(&o->waiting)))
		free(a);
	sd_event_source_disable_unref(o->pump);
	sd_event_source_disable_unref(o->timer);
	sd_event_unref(o->event);
	free(o);
}
