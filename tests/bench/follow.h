/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients, an edge host and an origin, in simulated time: lookups of keys by Zipf's law, of which those that are
 * held count a hit, and one in `sample` of the others is told to the agent's promotion. That is the real one
 * (admit.h, with its sketch); it reads samples every 20 ms, is answered by the origin in as long, and goes through
 * the hot set once a second, as promote.c does. Beside it stands the ideal: the `top` keys most asked for, known
 * beforehand.
 *
 * The shape is that of public studies of memcached: popularity by Zipf's law, at Twitter often steeper than an
 * exponent of 1 (Yang et al., OSDI 2020), keys of some tens of bytes there and at Facebook (Atikoglu et al.,
 * SIGMETRICS 2012), lookups by far the most of requests. 0.99, as benchmarks have it, is the harder end: less of
 * the traffic is in the top, and ranks lie closer together.
 */
#ifndef WEIR_BENCH_FOLLOW_H
#define WEIR_BENCH_FOLLOW_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admit.h"
#include "hotset.h"
#include "zipf.h"

#define FOLLOW_KEYS    1000000
#define FOLLOW_ONCE    4000000 /* keys of a scan, at most */
#define FOLLOW_FLASH   FOLLOW_KEYS
#define FOLLOW_NUMBERS (FOLLOW_KEYS + 1 + FOLLOW_ONCE)
#define FOLLOW_RATE    200000ULL /* lookups a second */
#define FOLLOW_TICK    4000      /* lookups in 20 ms */
#define FOLLOW_TICK_NS (1000000000ULL / FOLLOW_RATE * FOLLOW_TICK)
#define FOLLOW_ROUND   (FOLLOW_RATE / FOLLOW_TICK)
#define FOLLOW_KEY     38 /* bytes */
#define FOLLOW_ASKED   1024

struct follow_counts {
	__u64 lookups, hits, ideal; /* but those of a scan */
};

struct follow_sample {
	__u32 number;
	char key[FOLLOW_KEY + 1];
};

struct follow {
	struct config_promote how;
	__u32 sample;
	struct admit *admit;
	struct zipf zipf;
	__u32 *key_of; /* by rank */
	struct follow_copy {
		__u32 at; /* in held, from 1 on; 0: not there */
		__u32 hits;
	} * copies;
	__u32 *held, nheld;
	__u32 asked[FOLLOW_ASKED], nasked, asked_once; /* once: of a scan, ever */
	struct follow_sample batch[FOLLOW_TICK];
	__u32 nbatch;
	__u64 random, now_ns, ticks, agent_ns;
	__u32 gap, once;
	double flash, scan;                 /* parts of all lookups */
	__u64 flash_samples, flash_lookups; /* until it was asked for, until it was there */
	bool flash_asked;
};

static inline void follow_key(char *to, __u32 number)
{
	snprintf(to, FOLLOW_KEY + 1, "timeline:user:%024u", number);
}

static inline __u32 follow_number(const char *key, size_t len)
{
	char digits[16] = "";

	memcpy(digits, key + len - 10, 10);
	return strtoul(digits, NULL, 10);
}

static inline __u64 follow_hash(const char *key, size_t len)
{
	return hot_hash(1, 0, key, len);
}

static inline int follow_ask(__u8 svc, const char *key, size_t len, void *arg)
{
	struct follow *f = arg;
	__u32 number = follow_number(key, len);

	if (f->nasked == FOLLOW_ASKED)
		return -EAGAIN;
	f->asked[f->nasked++] = number;
	f->asked_once += number > FOLLOW_FLASH;
	f->flash_asked |= number == FOLLOW_FLASH;
	return 0;
}

static inline int follow_drop(__u8 svc, const char *key, size_t len, void *arg)
{
	struct follow *f = arg;
	struct follow_copy *c = &f->copies[follow_number(key, len)];
	__u32 last = f->held[f->nheld - 1];

	if (!c->at)
		return 0;
	f->held[c->at - 1] = last;
	f->copies[last].at = c->at;
	c->at = 0;
	f->nheld--;
	return 0;
}

/* ---- the agent -------------------------------------------------------------------------------- */

static inline void follow_answer(struct follow *f)
{
	char key[FOLLOW_KEY + 1];

	for (__u32 i = 0; i < f->nasked; i++) {
		struct follow_copy *c = &f->copies[f->asked[i]];

		f->held[f->nheld++] = f->asked[i];
		*c = (struct follow_copy){.at = f->nheld};
		follow_key(key, f->asked[i]);
		admit_result(f->admit, follow_hash(key, FOLLOW_KEY), key, FOLLOW_KEY, FILL_ADDED, f->now_ns);
	}
	f->nasked = 0;
}

static inline void follow_round(struct follow *f)
{
	union {
		struct weir_slot slot;
		char room[512];
	} s = {};

	s.slot.flags = WEIR_SLOT_PROMOTED;
	s.slot.key_len = FOLLOW_KEY;
	for (__u32 i = 0; i < f->nheld; i++) {
		char *key = (char *)s.slot.text + WEIR_KEY_AT;

		follow_key(key, f->held[i]);
		admit_slot(f->admit, follow_hash(key, FOLLOW_KEY), &s.slot, f->copies[f->held[i]].hits, 0,
			   f->now_ns, f->now_ns);
	}
	admit_round(f->admit, f->now_ns);
}

static inline __u64 follow_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* What it does every 20 ms. */
static inline void follow_agent(struct follow *f)
{
	__u64 begin = follow_cpu_ns();

	follow_answer(f);
	for (__u32 i = 0; i < f->nbatch; i++) {
		const struct follow_sample *s = &f->batch[i];

		f->flash_samples += s->number == FOLLOW_FLASH && !f->flash_asked;
		admit_sample(f->admit, follow_hash(s->key, FOLLOW_KEY), s->key, FOLLOW_KEY, f->now_ns);
	}
	f->nbatch = 0;
	if (++f->ticks % FOLLOW_ROUND == 0)
		follow_round(f);
	f->agent_ns += follow_cpu_ns() - begin;
}

/* ---- the traffic ------------------------------------------------------------------------------ */

static inline double follow_draw(struct follow *f)
{
	f->random = bench_random(f->random);
	return (f->random >> 11) * 0x1p-53;
}

/* The key of the next lookup, and whether the ideal holds it. */
static inline __u32 follow_next(struct follow *f, bool *ideal)
{
	double u = f->flash || f->scan ? follow_draw(f) : 1;
	__u32 rank;

	*ideal = u < f->flash;
	if (u < f->flash)
		return FOLLOW_FLASH;
	if (u < f->flash + f->scan)
		return FOLLOW_FLASH + 1 + f->once++ % FOLLOW_ONCE;
	rank = zipf_draw(&f->zipf, &f->random);
	*ideal = rank < f->how.top - (f->flash > 0);
	return f->key_of[rank];
}

static inline void follow_miss(struct follow *f, __u32 number)
{
	if (f->gap-- > 1)
		return;
	f->gap = 1 + (__u32)(follow_draw(f) * (2 * f->sample - 1));
	f->batch[f->nbatch].number = number;
	follow_key(f->batch[f->nbatch++].key, number);
}

/* So many lookups, up to a whole tick; counts are added. */
static inline void follow_run(struct follow *f, __u64 lookups, struct follow_counts *c)
{
	for (__u64 end = f->ticks + (lookups + FOLLOW_TICK - 1) / FOLLOW_TICK; f->ticks < end;) {
		for (unsigned i = 0; i < FOLLOW_TICK; i++) {
			bool ideal;
			__u32 number = follow_next(f, &ideal);
			struct follow_copy *copy = &f->copies[number];

			copy->hits += copy->at > 0;
			f->flash_lookups += f->flash && !f->copies[FOLLOW_FLASH].at;
			if (!copy->at)
				follow_miss(f, number);
			if (number > FOLLOW_FLASH)
				continue;
			c->lookups++;
			c->hits += copy->at > 0;
			c->ideal += ideal;
		}
		f->now_ns += FOLLOW_TICK_NS;
		follow_agent(f);
	}
}

static inline double follow_ratio(const struct follow_counts *c)
{
	return c->ideal ? (double)c->hits / c->ideal : 0;
}

/* Of the ranks this part changes places with others, whichever they are. */
static inline void follow_shift(struct follow *f, double part)
{
	for (__u32 i = 0; i < FOLLOW_KEYS; i++) {
		__u32 other = follow_draw(f) * FOLLOW_KEYS, key = f->key_of[i];

		if (follow_draw(f) >= part)
			continue;
		f->key_of[i] = f->key_of[other];
		f->key_of[other] = key;
	}
}

/* How many lookups until the hits are this part of the ideal's, over a quarter of a second; `most`: not before. */
static inline __u64 follow_until(struct follow *f, double part, __u64 most)
{
	__u64 begin = f->ticks;

	while ((f->ticks - begin) * FOLLOW_TICK < most) {
		struct follow_counts c = {0};

		follow_run(f, FOLLOW_RATE / 4, &c);
		if (follow_ratio(&c) >= part)
			break;
	}
	return (f->ticks - begin) * FOLLOW_TICK;
}

/* ---- life ------------------------------------------------------------------------------------- */

static inline void follow_free(struct follow *f)
{
	admit_free(f->admit);
	zipf_free(&f->zipf);
	free(f->key_of);
	free(f->copies);
	free(f->held);
	free(f);
}

static inline struct follow *follow_new(double skew, const struct config_promote *how, __u32 sample,
					__u64 seed)
{
	struct follow *f = calloc(1, sizeof(*f));
	const struct admit_ops ops = {follow_ask, follow_drop, f};

	if (!f)
		return NULL;
	f->how = *how;
	f->sample = f->gap = sample;
	f->random = seed * 0x9e3779b97f4a7c15ULL | 1;
	f->now_ns = 1000000000000ULL;
	f->key_of = calloc(FOLLOW_KEYS, sizeof(*f->key_of));
	f->copies = calloc(FOLLOW_NUMBERS, sizeof(*f->copies));
	f->held = calloc(how->top + FOLLOW_ASKED, sizeof(*f->held));
	if (!f->key_of || !f->copies || !f->held || zipf_make(&f->zipf, FOLLOW_KEYS, skew) ||
	    admit_new(&f->admit, 0, how, sample, &ops, f->now_ns)) {
		follow_free(f);
		return NULL;
	}
	for (__u32 i = 0; i < FOLLOW_KEYS; i++)
		f->key_of[i] = i;
	follow_shift(f, 1);
	return f;
}

#endif
