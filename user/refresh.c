// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is known of each copy is kept by its hit counter's number, which a key keeps when its value is replaced.
 * A copy's period begins when its end is seen to be a new one: it was filled, or refreshed.
 */
#include "refresh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "origins.h"
#include "slot_copy.h"
#include "weir/reason.h"

#define STEP_US	     10000
#define STEP_NS	     1000000ULL /* of the loop, each STEP_US: a tenth at most */
#define STEP_BUCKETS 64		/* between two looks at the clock */
#define ROUND_MAX_NS 1000000000ULL
#define ROUND_MIN_NS 100000000ULL
#define HOT_HITS     2		/* within a period: a copy is hot */
#define AGAIN_NS     10000000000ULL /* what is dead is asked for again after that */
#define DEAD_NS	     60000000000ULL /* what is dead and was not hot is taken out then */
#define PERIOD_NS    300000000000ULL /* of a copy that does not expire */
#define WAITING_MAX  (1 << 15)	/* in the filler: the rest of its room is for others */
#define ASKS_DOWN    64		/* in a round, while no endpoint answers */
#define TICK	     24		/* times are kept in units of 2^24 ns */

#define LOOK_SEEN (1 << 0)
#define LOOK_HOT  (1 << 1) /* the period before was */
#define LOOK_DEAD (1 << 2) /* due is about that */

struct look {
	__u32 ends; /* when it was last seen to expire */
	__u32 due;  /* when there is something to decide */
	__u32 hits; /* when the period began */
	__u32 flags;
};

struct refresh {
	sd_event_source *step;
	struct filler *filler;
	const struct hotset_mem *mem; /* NULL: nothing is loaded */
	struct hotset *h;	      /* as a reader */
	struct look *looks;	      /* by entry */
	bool on[WEIR_SERVICES_MAX];
	unsigned asks_left[WEIR_SERVICES_MAX]; /* of this round */
	__u64 base_ns, now_ns;
	__u64 begun_ns, round_ns; /* this round; from one to the next */
	__u32 at; /* bucket */
	bool full; /* the filler takes no more now */
	__u64 random;
	struct refresh_counts counts;
};

/* ---- one copy --------------------------------------------------------------------------------- */

static __u32 tick_of(const struct refresh *r, __u64 ns)
{
	return ns == WEIR_NEVER ? ~0U : (ns - r->base_ns) >> TICK;
}

/* 10 to 25% of a period, so that what was filled together is not asked for together. */
static __u64 early(struct refresh *r, __u64 life_ns)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return life_ns / 100 * (10 + r->random % 16);
}

static void begin_period(struct refresh *r, struct look *l, const struct weir_slot *s, __u32 hits)
{
	__u64 life = s->expires_ns == WEIR_NEVER ? PERIOD_NS : s->expires_ns - r->now_ns;
	bool hot = l->flags & LOOK_SEEN && hits - l->hits >= HOT_HITS && hits >= l->hits;

	l->flags = LOOK_SEEN | (hot ? LOOK_HOT : 0);
	l->hits = hits;
	l->ends = tick_of(r, s->expires_ns);
	l->due = tick_of(r, r->now_ns + (s->expires_ns == WEIR_NEVER ? life : life - early(r, life)));
}

static bool ask(struct refresh *r, const struct weir_slot *s, enum fill_why why)
{
	int err;

	if (!r->asks_left[s->svc])
		return false;
	if (filler_waiting(r->filler) >= WAITING_MAX)
		err = -EAGAIN;
	else
		err = fill_ask(r->filler, s->svc, slot_key(s), s->key_len, why, NULL, NULL);
	r->full = err == -EAGAIN;
	r->asks_left[s->svc] -= !err;
	return !err;
}

/* Alive, and its time nears: asked for when it is hot; otherwise looked at again, it may become so. */
static void look_alive(struct refresh *r, struct look *l, const struct weir_slot *s, __u32 hits)
{
	__u64 left = s->expires_ns - r->now_ns;

	if (s->expires_ns == WEIR_NEVER) {
		begin_period(r, l, s, hits);
		return;
	}
	if (hits - l->hits >= HOT_HITS && hits >= l->hits && ask(r, s, FILL_REFRESH))
		r->counts.refreshed++;
	l->due = tick_of(r, r->now_ns + left / 2);
}

/* Fenced or expired: it answers no more. */
static void look_dead(struct refresh *r, struct look *l, const struct weir_slot *s, __u32 hits)
{
	bool hot = l->flags & LOOK_HOT || (hits - l->hits >= HOT_HITS && hits >= l->hits);

	if (hot) {
		if (!ask(r, s, FILL_REWARM))
			return;
		r->counts.rewarmed++;
		l->due = tick_of(r, r->now_ns + AGAIN_NS);
	} else if (!(l->flags & LOOK_DEAD) || filler_waiting(r->filler) >= WAITING_MAX) {
		l->due = tick_of(r, r->now_ns + DEAD_NS);
	} else {
		r->counts.swept += !fill_drop_dead(r->filler, s->svc, slot_key(s), s->key_len);
		l->flags = 0;
		l->due = tick_of(r, r->now_ns + DEAD_NS); /* a command that has the lock may keep it for long */
	}
	l->flags |= LOOK_DEAD;
}

static int look_at(const struct weir_slot *at, void *arg)
{
	struct refresh *r = arg;
	struct key_copy k;
	const struct weir_slot *s = &k.slot;
	struct look *l;
	bool dead, due, fresh;
	__u32 now;

	/* Without the origin's number it was given by hand: the origin is not asked. */
	if (!copy_key(&k, r->mem, at) || !r->on[s->svc] || !(s->flags & WEIR_SLOT_CAS))
		return 0;
	l = &r->looks[s->entry];
	now = tick_of(r, r->now_ns);
	dead = hotset_state(r->h, s, r->now_ns) != WEIR_R_HIT;
	fresh = (l->flags & (LOOK_SEEN | LOOK_DEAD)) != LOOK_SEEN || l->ends != tick_of(r, s->expires_ns);
	if (!dead && fresh) {
		begin_period(r, l, s, hotset_hits(r->h, s));
		return 0;
	}
	/* What dies is looked at now; what would be due before the next round, in this one. */
	due = l->due <= now + (dead ? 0 : tick_of(r, r->base_ns + r->round_ns));
	if (dead && !(l->flags & LOOK_DEAD))
		due = true;
	if (due && dead)
		look_dead(r, l, s, hotset_hits(r->h, s));
	else if (due)
		look_alive(r, l, s, hotset_hits(r->h, s));
	return r->full;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

/* As often as the shortest life asks for. */
static __u64 round_of(const struct refresh *r)
{
	__u64 least = ROUND_MAX_NS;

	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++) {
		__u64 part = r->mem->ctl->services[i].ttl_ns / 10;

		if (r->on[i] && part < least)
			least = part;
	}
	return least < ROUND_MIN_NS ? ROUND_MIN_NS : least;
}

static void begin_round(struct refresh *r)
{
	r->begun_ns = monotonic_ns();
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++) {
		struct origins *o = filler_origins(r->filler, i);
		bool up = false;

		for (unsigned k = 0; o && k < ORIGINS_MAX; k++)
			up |= origins_up(o, k);
		r->asks_left[i] = up ? ~0U : ASKS_DOWN;
	}
}

/* False: enough for now. */
static bool step(struct refresh *r)
{
	__u64 begin = monotonic_ns();

	r->now_ns = begin;
	while (r->at < r->mem->ctl->index_buckets) {
		if (hotset_each_in(r->h, r->at, STEP_BUCKETS, look_at, r))
			return false;
		r->at += STEP_BUCKETS;
		if (monotonic_ns() - begin > STEP_NS)
			return false;
	}
	return true;
}

static int on_step(sd_event_source *s, uint64_t usec, void *arg)
{
	struct refresh *r = arg;
	__u64 wait_us = STEP_US, took, round;

	if (!r->at)
		begin_round(r);
	r->full = false;
	if (step(r)) {
		took = monotonic_ns() - r->begun_ns;
		round = round_of(r);
		r->at = 0;
		r->round_ns = took > round ? took : round;
		r->counts.rounds++;
		r->counts.round_ns = took;
		if (round > took + STEP_US * 1000)
			wait_us = (round - took) / 1000;
	}
	sd_event_source_set_time_relative(s, wait_us);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- life ------------------------------------------------------------------------------------- */

static const struct config_service *configured(const struct config *c, const char *name)
{
	for (unsigned i = 0; c && i < c->nservices; i++) {
		if (!strncmp(c->services[i].name, name, WEIR_NAME_MAX))
			return &c->services[i];
	}
	return NULL;
}

static bool any_on(struct refresh *r, const struct config *c)
{
	bool any = false;

	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++) {
		const struct weir_ctl_svc *cs = &r->mem->ctl->services[i];
		const struct config_service *s = configured(c, cs->name);

		r->on[i] = *cs->name && *cs->origin && cs->flags & WEIR_SVC_CACHE && r->mem->hits &&
			   (!s || s->refresh);
		any |= r->on[i];
	}
	return any;
}

static int take_up(struct refresh *r, struct dataplane *dp)
{
	struct hotset_mem mem = *dp_hotset_mem(dp);
	int err;

	mem.grace = NULL;
	r->looks = calloc(mem.ctl->entries, sizeof(*r->looks));
	err = r->looks ? hotset_open(&r->h, &mem) : -ENOMEM;
	if (err) {
		free(r->looks);
		r->looks = NULL;
		return err;
	}
	r->mem = dp_hotset_mem(dp);
	r->base_ns = monotonic_ns();
	r->round_ns = ROUND_MAX_NS;
	r->at = 0;
	return 0;
}

int refresh_begin(struct refresh *r, struct dataplane *dp, const struct config *c)
{
	int err = 0, on;

	if (r->mem && r->mem != dp_hotset_mem(dp))
		refresh_stop(r);
	if (!r->mem)
		err = take_up(r, dp);
	if (err)
		return err;
	on = any_on(r, c) ? SD_EVENT_ONESHOT : SD_EVENT_OFF;
	err = sd_event_source_set_time_relative(r->step, 0);
	return err < 0 ? err : sd_event_source_set_enabled(r->step, on);
}

void refresh_stop(struct refresh *r)
{
	sd_event_source_set_enabled(r->step, SD_EVENT_OFF);
	hotset_close(r->h);
	free(r->looks);
	r->h = NULL;
	r->looks = NULL;
	r->mem = NULL;
}

int refresh_new(struct refresh **out, sd_event *event, struct filler *f)
{
	struct refresh *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->filler = f;
	r->random = monotonic_ns() | 1;
	err = sd_event_add_time(event, &r->step, CLOCK_MONOTONIC, 0, 1000, on_step, r);
	if (err >= 0)
		err = sd_event_source_set_enabled(r->step, SD_EVENT_OFF);
	if (err < 0) {
		refresh_free(r);
		return err;
	}
	*out = r;
	return 0;
}

void refresh_free(struct refresh *r)
{
	if (!r)
		return;
	refresh_stop(r);
	sd_event_source_disable_unref(r->step);
	free(r);
}

const struct refresh_counts *refresh_counts(const struct refresh *r)
{
	return &r->counts;
}
