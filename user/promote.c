// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "promote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "slot_copy.h"

#define SECOND_NS    1000000000ULL
#define STEP_US      10000
#define STEP_NS      500000ULL /* of the loop, each STEP_US: a twentieth at most */
#define STEP_BUCKETS 64        /* between two looks at the clock */
#define ROUND_MAX_NS 10000000000ULL
#define ROUND_MIN_NS 1000000000ULL
#define ROUNDS       64 /* of a window, at least */

struct promote {
	struct filler *filler;
	struct samples *samples;
	sd_event_source *step;
	const struct hotset_mem *mem; /* NULL: nothing is loaded */
	struct hotset *h;             /* as a reader */
	struct admit *by[WEIR_SERVICES_MAX];
	struct config_promote how[WEIR_SERVICES_MAX]; /* without `deny` */
	char names[WEIR_SERVICES_MAX][WEIR_NAME_MAX];
	__u64 seed, now_ns, age_ns;
	__u64 begun_ns, round_ns; /* this round; from one to the next */
	__u32 at;                 /* bucket */
};

/* ---- what is asked of the filler -------------------------------------------------------------- */

static __u64 hash_of(const struct promote *p, unsigned svc, const char *key, size_t len)
{
	return hot_hash(p->seed, svc, key, len);
}

static void on_filled(__u8 svc, const char *key, size_t len, enum fill_result r, void *arg)
{
	struct promote *p = arg;

	if (p->by[svc])
		admit_result(p->by[svc], hash_of(p, svc, key, len), key, len, r, monotonic_ns());
}

static int ask(__u8 svc, const char *key, size_t len, void *arg)
{
	struct promote *p = arg;

	return fill_ask(p->filler, svc, key, len, FILL_PROMOTE, on_filled, p);
}

static int drop(__u8 svc, const char *key, size_t len, void *arg)
{
	struct promote *p = arg;

	return fill_drop(p->filler, svc, key, len);
}

/* ---- misses ----------------------------------------------------------------------------------- */

static void on_sample(__u8 svc, const char *key, size_t len, __u8 reason, void *arg)
{
	struct promote *p = arg;

	if (p->by[svc])
		admit_sample(p->by[svc], hash_of(p, svc, key, len), key, len, monotonic_ns());
}

/* ---- rounds ----------------------------------------------------------------------------------- */

static int on_slot(const struct weir_slot *s, void *arg)
{
	struct promote *p = arg;
	struct key_copy k;
	struct admit *a;
	__u64 hash;
	__u8 svc;

	if (s->svc >= WEIR_SERVICES_MAX || !p->by[s->svc] || !copy_key(&k, p->mem, s))
		return 0;
	svc = k.slot.svc;
	a = p->by[svc];
	if (!a)
		return 0;
	hash = hash_of(p, svc, slot_key(&k.slot), k.slot.key_len);
	admit_slot(a, hash, &k.slot, hotset_hits(p->h, &k.slot),
		   hotset_fence(p->h, svc, slot_key(&k.slot), k.slot.key_len).key, p->age_ns, p->now_ns);
	return 0;
}

static void end_round(struct promote *p)
{
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (p->by[i])
			admit_round(p->by[i], monotonic_ns());
	}
}

/* False: enough for now. */
static bool step(struct promote *p, __u64 most_ns)
{
	__u64 begin = monotonic_ns();

	p->now_ns = begin;
	while (p->at < p->mem->ctl->index_buckets) {
		hotset_each_in(p->h, p->at, STEP_BUCKETS, on_slot, p);
		p->at += STEP_BUCKETS;
		if (monotonic_ns() - begin > most_ns)
			return false;
	}
	p->at = 0;
	end_round(p);
	return true;
}

static void begin_round(struct promote *p)
{
	__u64 loaded = p->mem->ctl->loaded_s * SECOND_NS;

	p->begun_ns = monotonic_ns();
	p->age_ns = p->begun_ns > loaded + SECOND_NS ? p->begun_ns - loaded : SECOND_NS;
}

static int on_step(sd_event_source *s, uint64_t usec, void *arg)
{
	struct promote *p = arg;
	__u64 wait_us = STEP_US, took;

	if (!p->at)
		begin_round(p);
	if (step(p, STEP_NS)) {
		took = monotonic_ns() - p->begun_ns;
		if (p->round_ns > took + STEP_US * 1000)
			wait_us = (p->round_ns - took) / 1000;
	}
	sd_event_source_set_time_relative(s, wait_us);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

void promote_round(struct promote *p)
{
	p->at = 0;
	begin_round(p);
	step(p, WEIR_NEVER);
}

/* ---- life ------------------------------------------------------------------------------------- */

static const struct config_promote *configured(const struct config *c, const struct weir_ctl_svc *cs)
{
	for (unsigned i = 0; c && *cs->name && i < c->nservices; i++) {
		const struct config_service *s = &c->services[i];

		if (!strncmp(s->name, cs->name, WEIR_NAME_MAX) && s->promote.on && cs->flags & WEIR_SVC_CACHE)
			return &s->promote;
	}
	return NULL;
}

static void end_service(struct promote *p, unsigned svc)
{
	admit_free(p->by[svc]);
	p->by[svc] = NULL;
}

static int begin_service(struct promote *p, unsigned svc, const struct config *c)
{
	static const struct admit_ops ops = {ask, drop, NULL};
	const struct weir_ctl *ctl = p->mem->ctl;
	const struct weir_ctl_svc *cs = &ctl->services[svc];
	const struct config_promote *how = configured(c, cs);
	struct admit_ops own = ops;

	if (!how || !ctl->sample || !p->mem->hits) {
		end_service(p, svc);
		return 0;
	}
	if (p->by[svc] && !strncmp(p->names[svc], cs->name, WEIR_NAME_MAX) &&
	    admit_same(p->by[svc], how, ctl->sample))
		return 0;
	end_service(p, svc);
	memcpy(p->names[svc], cs->name, WEIR_NAME_MAX);
	p->how[svc] = *how;
	p->how[svc].deny = NULL;
	own.arg = p;
	return admit_new(&p->by[svc], svc, how, ctl->sample, &own, monotonic_ns());
}

/* So that each window has many rounds, and a short one is not waited for. */
static __u64 round_of(const struct promote *p)
{
	__u64 least = ROUND_MAX_NS;

	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (p->by[i] && p->how[i].window_ns / ROUNDS < least)
			least = p->how[i].window_ns / ROUNDS;
	}
	return least < ROUND_MIN_NS ? ROUND_MIN_NS : least;
}

static int take_up(struct promote *p, struct dataplane *dp)
{
	struct hotset_mem mem = *dp_hotset_mem(dp);
	int err;

	mem.grace = NULL;
	err = hotset_open(&p->h, &mem);
	if (err)
		return err;
	p->mem = dp_hotset_mem(dp);
	p->seed = p->mem->ctl->hash_seed;
	p->at = 0;
	return 0;
}

static bool any(const struct promote *p)
{
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (p->by[i])
			return true;
	}
	return false;
}

int promote_begin(struct promote *p, struct dataplane *dp, const struct config *c)
{
	int err = 0;

	if (p->mem && p->mem != dp_hotset_mem(dp))
		promote_stop(p);
	if (!p->mem)
		err = take_up(p, dp);
	if (err)
		return err;
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		err = begin_service(p, i, c) ?: err;
	p->round_ns = round_of(p);
	sd_event_source_set_time_relative(p->step, 0);
	sd_event_source_set_enabled(p->step, any(p) ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	samples_stop(p->samples);
	if (any(p))
		err = samples_begin(p->samples, dp_maps(dp)->at[MAP_SAMPLES], p->mem->ctl->ncpu) ?: err;
	return err;
}

void promote_stop(struct promote *p)
{
	if (!p->mem)
		return;
	samples_stop(p->samples);
	sd_event_source_set_enabled(p->step, SD_EVENT_OFF);
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		end_service(p, i);
	hotset_close(p->h);
	p->h = NULL;
	p->mem = NULL;
}

int promote_new(struct promote **out, sd_event *event, struct filler *f)
{
	struct promote *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->filler = f;
	err = samples_new(&p->samples, event, on_sample, p);
	if (err >= 0)
		err = sd_event_add_time(event, &p->step, CLOCK_MONOTONIC, 0, 1000, on_step, p);
	if (err >= 0)
		err = sd_event_source_set_enabled(p->step, SD_EVENT_OFF);
	if (err < 0) {
		promote_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void promote_free(struct promote *p)
{
	if (!p)
		return;
	promote_stop(p);
	samples_free(p->samples);
	sd_event_source_disable_unref(p->step);
	free(p);
}

/* ---- what it knows ---------------------------------------------------------------------------- */

const struct config_promote *promote_config(const struct promote *p, unsigned svc)
{
	return p->by[svc] ? &p->how[svc] : NULL;
}

int promote_explain(struct promote *p, unsigned svc, const char *key, size_t len, struct admit_why *why)
{
	if (!p->by[svc])
		return -ENOENT;
	admit_explain(p->by[svc], hash_of(p, svc, key, len), key, len, monotonic_ns(), why);
	return 0;
}

int promote_counts(const struct promote *p, unsigned svc, struct admit_counts *c, struct sketch_usage *u)
{
	if (!p->by[svc])
		return -ENOENT;
	*c = *admit_counts(p->by[svc]);
	if (u)
		admit_sketch(p->by[svc], u);
	return 0;
}

__u32 promote_known(const struct promote *p, unsigned svc)
{
	struct sketch_usage u = {};

	if (p->by[svc])
		admit_sketch(p->by[svc], &u);
	return u.keys;
}

void promote_hottest(struct promote *p, unsigned svc, sketch_fn fn, void *arg)
{
	if (p->by[svc])
		admit_each(p->by[svc], monotonic_ns(), fn, arg);
}

const struct samples_counts *promote_samples(const struct promote *p)
{
	return samples_counts(p->samples);
}
