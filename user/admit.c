// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A score is how many lookups a key had within the window: hits, which are measured, and `sample` for each
 * sampled miss. Of c samples the sum is off by sqrt(c) * sample, mostly; what a key must have more than the one
 * that it drives out (a quarter, and two samples) keeps chance from swapping keys to and fro.
 */
#include "admit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "held.h"
#include "refused.h"

#define COUNTERS_MIN   4096
#define COUNTERS_MAX   (1 << 18)
#define SAMPLES_MIN    2 /* one alone is any key that comes by */
#define MARGIN         4 /* a quarter */
#define MARGIN_SAMPLES 2
#define ASKED_MAX      256
#define VICTIMS_MAX    1024 /* of a round */
#define VOLATILE_MIN   8    /* writes */
#define SECOND_NS      1000000000ULL
#define SOON_NS        (5 * SECOND_NS)  /* what is missing now may be there then */
#define FULL_NS        (10 * SECOND_NS) /* until it is tried whether there is room again */

struct victim {
	__u64 hash, score;
};

struct admit {
	__u8 svc;
	struct config_promote how;
	size_t deny_len[CONFIG_DENY_MAX];
	__u32 sample;
	__u64 needs; /* samples, to be let in where there is room */
	struct admit_ops ops;
	struct sketch *sketch;
	struct held held;
	struct refused refused;
	struct victim *victims; /* who may give way, least first */
	__u32 nvictims, victim;
	__u64 rounds;
	__u32 room;    /* keys that may be held, */
	__u64 full_ns; /* fewer than `top` until then: the hot set is full */
	struct admit_counts counts;
};

static const char *const refusal_names[] = {
#define REFUSAL(sym, name) name,
	ADMIT_REFUSALS(REFUSAL)
};

const char *admit_refusal_name(enum admit_refusal r)
{
	return refusal_names[r];
}

/* ---- scores ----------------------------------------------------------------------------------- */

static __u64 misses_of(struct admit *a, __u64 hash, const char *key, size_t len, __u64 now_ns, __u64 *over)
{
	struct sketch_count c;

	sketch_find(a->sketch, hash, key, len, now_ns, &c);
	if (over)
		*over = c.over * a->sample;
	return c.n * a->sample;
}

static __u64 score_of(struct admit *a, const struct held_key *k, __u64 now_ns)
{
	return held_hits(&a->held, k, now_ns) + misses_of(a, k->hash, k->key, k->len, now_ns, NULL);
}

static __u64 min_score(const struct admit *a)
{
	return a->needs * a->sample > a->how.min_hits ? a->needs * a->sample : a->how.min_hits;
}

/* What a key must have to come in now; WEIR_NEVER: nobody would give way. */
static __u64 bar(const struct admit *a)
{
	__u64 least = min_score(a), more;

	if (a->held.n < a->room)
		return least;
	if (a->victim == a->nvictims)
		return WEIR_NEVER;
	more = a->victims[a->victim].score;
	more += more / MARGIN + MARGIN_SAMPLES * a->sample;
	return more > least ? more : least;
}

static const char *denied(const struct admit *a, const char *key, size_t len)
{
	for (unsigned i = 0; i < a->how.ndeny; i++) {
		if (len >= a->deny_len[i] && !memcmp(key, a->how.deny[i], a->deny_len[i]))
			return a->how.deny[i];
	}
	return NULL;
}

/* ---- in and out ------------------------------------------------------------------------------- */

static void refuse(struct admit *a, __u64 hash, enum admit_refusal why, __u64 for_ns, __u64 now_ns)
{
	a->counts.refused[why]++;
	refused_add(&a->refused, hash, why,
		    now_ns + (for_ns < a->how.stay_out_ns ? for_ns : a->how.stay_out_ns));
}

/* Out of the hot set. False: not now, it will be tried again in the next round. */
static bool let_go(struct admit *a, struct held_key *k)
{
	if (a->ops.drop(a->svc, k->key, k->len, a->ops.arg))
		return false;
	held_remove(&a->held, k);
	return true;
}

/* For k one gives way. False: none did. */
static bool evict_for(struct admit *a, struct held_key *k)
{
	struct held_key *out = k->gives_way ? held_by_hash(&a->held, k->gives_way) : NULL;

	k->gives_way = 0;
	if (!out || !out->in)
		return false;
	out->leaving = false; /* it may be chosen again, if it does not go now */
	if (!let_go(a, out))
		return false;
	a->counts.evicted++;
	return true;
}

/* For k none gives way. */
static void evict_none(struct admit *a, struct held_key *k)
{
	struct held_key *stays = k->gives_way ? held_by_hash(&a->held, k->gives_way) : NULL;

	k->gives_way = 0;
	if (stays)
		stays->leaving = false;
}

/* The next one that may give way; NULL: none is left of this round. */
static struct held_key *next_victim(struct admit *a)
{
	while (a->victim < a->nvictims) {
		struct held_key *k = held_by_hash(&a->held, a->victims[a->victim++].hash);

		if (k && k->in && !k->leaving)
			return k;
	}
	return NULL;
}

/* Asks the origin for a key. What gives way does so when the key is there; but in a full hot set before. */
static void let_in(struct admit *a, __u64 hash, const char *key, size_t len, __u64 now_ns)
{
	struct held_key *out = a->held.n < a->room ? NULL : next_victim(a), *k;
	bool crowded = now_ns < a->full_ns;

	if (a->held.n >= a->room && !out)
		return;
	k = held_add(&a->held, hash, key, len, now_ns);
	if (!k)
		return;
	if (a->ops.ask(a->svc, key, len, a->ops.arg)) {
		held_remove(&a->held, k);
		return;
	}
	a->counts.asked++;
	if (out) {
		out->leaving = true;
		k->gives_way = out->hash;
	}
	if (out && crowded)
		k->made_room = evict_for(a, k);
}

void admit_sample(struct admit *a, __u64 hash, const char *key, size_t len, __u64 now_ns)
{
	__u64 n;

	a->counts.samples++;
	if (denied(a, key, len)) {
		a->counts.refused[ADMIT_DENIED]++;
		return;
	}
	held_turn(&a->held, now_ns);
	n = sketch_add(a->sketch, hash, key, len, now_ns);
	if (now_ns >= a->full_ns)
		a->room = a->how.top;
	if (n < a->needs || n * a->sample < bar(a) || a->held.n - a->held.nin >= ASKED_MAX)
		return;
	if (held_find(&a->held, hash, key, len) || refused_find(&a->refused, hash, now_ns))
		return;
	let_in(a, hash, key, len, now_ns);
}

/* ---- results ---------------------------------------------------------------------------------- */

static void came_in(struct admit *a, struct held_key *k, enum fill_result r, __u64 now_ns)
{
	if (r != FILL_ADDED) { /* it was there: the next round tells whose it is */
		evict_none(a, k);
		held_remove(&a->held, k);
		return;
	}
	evict_for(a, k);
	k->promoted = true;
	k->round = a->rounds + 1;
	held_set_in(&a->held, k, now_ns);
	a->counts.promoted++;
}

static void stays_out(struct admit *a, __u64 hash, enum fill_result r, bool made_room, __u64 now_ns)
{
	switch (r) {
	case FILL_TOO_LONG:
		refuse(a, hash, ADMIT_TOO_LARGE, WEIR_NEVER, now_ns);
		break;
	case FILL_WRITING:
		refuse(a, hash, ADMIT_VOLATILE, WEIR_NEVER, now_ns);
		break;
	case FILL_MISSING:
	case FILL_STALE:
	case FILL_EXPIRING:
		refuse(a, hash, ADMIT_MISSING, SOON_NS, now_ns);
		break;
	case FILL_FULL:
		a->room = a->held.nin;
		a->full_ns = now_ns + FULL_NS;
		/* What is too large for the room that another one left would take one with each try. */
		refuse(a, hash, ADMIT_FULL, made_room ? WEIR_NEVER : SECOND_NS, now_ns);
		break;
	case FILL_DROPPED:
		refuse(a, hash, ADMIT_DROPPED, SECOND_NS, now_ns);
		break;
	case FILL_GONE:
		break;
	default:
		refuse(a, hash, ADMIT_ORIGIN, SOON_NS, now_ns);
	}
}

void admit_result(struct admit *a, __u64 hash, const char *key, size_t len, enum fill_result r, __u64 now_ns)
{
	struct held_key *k = held_find(&a->held, hash, key, len);
	bool made_room;

	if (!k || k->in)
		return;
	if (r == FILL_ADDED || r == FILL_REPLACED || r == FILL_UNCHANGED) {
		came_in(a, k, r, now_ns);
		return;
	}
	made_room = k->made_room;
	evict_none(a, k);
	held_remove(&a->held, k);
	stays_out(a, hash, r, made_room, now_ns);
}

/* ---- rounds ----------------------------------------------------------------------------------- */

/* In the hot set, and nobody here brought it: an agent before this one did, or with evict_all anybody. */
static struct held_key *adopt(struct admit *a, __u64 hash, const struct weir_slot *s, __u64 counter,
			      __u64 age_ns, __u64 now_ns)
{
	struct held_key *k;
	__u64 hits = counter;

	/*
	 * With evict_all there may be many more than `top`: what is left then is not seen, and so not evicted.
	 */
	if (a->held.n >= 2 * (__u64)a->how.top)
		return NULL;
	k = held_add(&a->held, hash, slot_key(s), s->key_len, now_ns);
	if (!k)
		return NULL;
	held_set_in(&a->held, k, now_ns);
	/* Of its hits those of the window, had they come evenly. */
	if (age_ns > a->how.window_ns)
		hits = (double)hits * a->how.window_ns / age_ns;
	k->counter = counter - hits;
	return k;
}

void admit_slot(struct admit *a, __u64 hash, const struct weir_slot *s, __u64 counter, __u64 fence,
		__u64 age_ns, __u64 now_ns)
{
	bool promoted = s->flags & WEIR_SLOT_PROMOTED;
	struct held_key *k;

	held_turn(&a->held, now_ns);
	k = held_find(&a->held, hash, slot_key(s), s->key_len);
	if (k && !k->in)
		return;
	if (!promoted && !a->how.evict_all) {
		if (k) /* an operator's since */
			held_remove(&a->held, k);
		return;
	}
	if (!k)
		k = adopt(a, hash, s, counter, age_ns, now_ns);
	if (!k)
		return;
	if (!k->looked)
		k->fence = fence;
	k->looked = true;
	k->promoted = promoted;
	k->round = a->rounds + 1;
	held_look(&a->held, k, counter, fence, now_ns);
}

static bool is_volatile(const struct admit *a, const struct held_key *k)
{
	__u64 writes = held_lately(&a->held, k->writes);

	return writes >= VOLATILE_MIN && writes > held_lately(&a->held, k->hits);
}

/* It was held for a whole window, and had less than half of what it takes to come in. */
static bool is_cold(const struct admit *a, const struct held_key *k, __u64 score, __u64 now_ns)
{
	return now_ns - k->since_ns >= a->how.window_ns && 2 * score < a->how.min_hits;
}

/* What has to go whoever else wants in. True: it is gone. */
static bool weed(struct admit *a, struct held_key *k, __u64 score, __u64 now_ns)
{
	__u64 hash = k->hash;

	if (k->round <= a->rounds) { /* dropped, or swept */
		held_remove(&a->held, k);
		return true;
	}
	if (!k->promoted)
		return false;
	if (denied(a, k->key, k->len)) { /* by a new configuration */
		if (!let_go(a, k))
			return false;
		a->counts.denied++;
		return true;
	}
	if (is_volatile(a, k)) {
		if (!let_go(a, k))
			return false;
		refuse(a, hash, ADMIT_VOLATILE, WEIR_NEVER, now_ns);
		a->counts.worn++;
		return true;
	}
	if (!is_cold(a, k, score, now_ns) || !let_go(a, k))
		return false;
	a->counts.demoted++;
	return true;
}

static int by_score(const void *x, const void *y)
{
	const struct victim *a = x, *b = y;

	return (a->score > b->score) - (a->score < b->score);
}

/* The configuration had room for more once. What others brought is not trimmed. */
static void trim(struct admit *a, __u32 promoted)
{
	while (promoted > a->how.top) {
		struct held_key *k = next_victim(a);

		if (!k)
			break;
		if (!k->promoted)
			continue;
		if (!let_go(a, k))
			break;
		a->counts.evicted++;
		promoted--;
	}
}

void admit_round(struct admit *a, __u64 now_ns)
{
	struct victim *all = malloc((a->held.nin + 1) * sizeof(*all));
	__u32 n = 0, promoted = 0;

	held_turn(&a->held, now_ns);
	for (__u32 i = 0; all && i < a->held.nall; i++) {
		struct held_key *k = a->held.all[i];
		__u64 score = k ? score_of(a, k, now_ns) : 0;

		if (!k || !k->in || weed(a, k, score, now_ns))
			continue;
		promoted += k->promoted;
		if (!k->leaving)
			all[n++] = (struct victim){k->hash, score};
	}
	if (all)
		qsort(all, n, sizeof(*all), by_score);
	free(a->victims);
	a->victims = all;
	a->nvictims = n;
	a->victim = 0;
	a->rounds++;
	trim(a, promoted);
}

/* ---- why -------------------------------------------------------------------------------------- */

struct rank {
	struct admit *a;
	__u64 score, above;
};

static void rank_missed(const char *key, size_t len, __u64 hash, __u64 n, void *arg)
{
	struct rank *r = arg;

	if (n * r->a->sample > r->score && !held_find(&r->a->held, hash, key, len))
		r->above++;
}

static __u64 rank_of(struct admit *a, __u64 score, __u64 now_ns)
{
	struct rank r = {.a = a, .score = score};

	for (__u32 i = 0; i < a->held.nall; i++) {
		if (a->held.all[i] && score_of(a, a->held.all[i], now_ns) > score)
			r.above++;
	}
	sketch_each(a->sketch, now_ns, rank_missed, &r);
	return r.above + 1;
}

void admit_explain(struct admit *a, __u64 hash, const char *key, size_t len, __u64 now_ns,
		   struct admit_why *why)
{
	const struct refusal *no = refused_find(&a->refused, hash, now_ns);
	const struct held_key *k;

	held_turn(&a->held, now_ns);
	k = held_find(&a->held, hash, key, len);
	*why = (struct admit_why){
		.needs = bar(a), .nheld = a->held.nin, .room = a->room, .deny = denied(a, key, len)};
	why->misses = misses_of(a, hash, key, len, now_ns, &why->over);
	if (k) {
		why->held = k->in;
		why->asked = !k->in;
		why->promoted = k->promoted;
		why->since_ns = k->since_ns;
		why->hits = held_hits(&a->held, k, now_ns);
		why->writes = held_writes(&a->held, k, now_ns);
	}
	why->rank = rank_of(a, why->hits + why->misses, now_ns);
	if (no) {
		why->refused = true;
		why->refusal = no->reason;
		why->until_ns = no->until_ns;
	}
}

struct others {
	struct admit *a;
	sketch_fn fn;
	void *arg;
};

static void tell_missed(const char *key, size_t len, __u64 hash, __u64 n, void *arg)
{
	struct others *o = arg;

	if (!held_find(&o->a->held, hash, key, len) && !denied(o->a, key, len))
		o->fn(key, len, hash, n, o->arg);
}

void admit_each(struct admit *a, __u64 now_ns, sketch_fn fn, void *arg)
{
	sketch_each(a->sketch, now_ns, tell_missed, &(struct others){a, fn, arg});
}

const struct admit_counts *admit_counts(const struct admit *a)
{
	/* Of an admit that is const only to who reads it. */
	((struct admit *)a)->counts.held = a->held.nin;
	return &a->counts;
}

void admit_sketch(const struct admit *a, struct sketch_usage *u)
{
	sketch_usage(a->sketch, u);
}

/* ---- life ------------------------------------------------------------------------------------- */

static int copy_deny(struct admit *a, const struct config_promote *how)
{
	a->how.deny = calloc(how->ndeny ?: 1, sizeof(*a->how.deny));
	a->how.ndeny = 0;
	if (!a->how.deny)
		return -ENOMEM;
	for (unsigned i = 0; i < how->ndeny; i++) {
		a->how.deny[i] = strdup(how->deny[i]);
		if (!a->how.deny[i])
			return -ENOMEM;
		a->deny_len[i] = strlen(how->deny[i]);
		a->how.ndeny++;
	}
	return 0;
}

static __u32 counters_for(__u32 top)
{
	__u32 n = 8 * top;

	return n < COUNTERS_MIN ? COUNTERS_MIN : n > COUNTERS_MAX ? COUNTERS_MAX : n;
}

int admit_new(struct admit **out, __u8 svc, const struct config_promote *how, __u32 sample,
	      const struct admit_ops *ops, __u64 now_ns)
{
	struct admit *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	a->svc = svc;
	a->how = *how;
	a->sample = sample;
	a->ops = *ops;
	a->room = how->top;
	a->needs = (how->min_hits + sample - 1) / sample;
	if (a->needs < SAMPLES_MIN && sample > 1)
		a->needs = SAMPLES_MIN;
	err = copy_deny(a, how);
	err = err ?: sketch_new(&a->sketch, counters_for(how->top), how->window_ns, now_ns);
	err = err ?: held_init(&a->held, how->window_ns, now_ns);
	if (err)
		admit_free(a);
	else
		*out = a;
	return err;
}

void admit_free(struct admit *a)
{
	if (!a)
		return;
	for (unsigned i = 0; a->how.deny && i < a->how.ndeny; i++)
		free(a->how.deny[i]);
	free(a->how.deny);
	sketch_free(a->sketch);
	held_clear(&a->held);
	free(a->victims);
	free(a);
}

bool admit_same(const struct admit *a, const struct config_promote *how, __u32 sample)
{
	if (a->sample != sample || a->how.window_ns != how->window_ns || a->how.min_hits != how->min_hits ||
	    a->how.top != how->top || a->how.evict_all != how->evict_all ||
	    a->how.stay_out_ns != how->stay_out_ns || a->how.ndeny != how->ndeny)
		return false;
	for (unsigned i = 0; i < how->ndeny; i++) {
		if (strcmp(a->how.deny[i], how->deny[i]))
			return false;
	}
	return true;
}
