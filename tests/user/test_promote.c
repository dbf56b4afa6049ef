// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Who is let into the hot set, who has to go, and who stays out, in a world of its own: an origin that answers
 * when it is told to, and a hot set that is a list.
 */
#include <math.h>
#include <stdlib.h>

#include "admit.h"
#include "config_text.h"
#include "hotset.h"
#include "refused.h"
#include "test.h"

#define S         1000000000ULL
#define WORLD_MAX 20000

struct copy {
	char key[40];
	bool there, pinned;
	__u64 hits, fence;
};

static struct {
	struct copy keys[WORLD_MAX];
	unsigned asked[WORLD_MAX], nasked; /* numbers of keys */
	unsigned asks, drops, there, room;
	int ask_error, drop_error;
	__u64 now;
	struct admit *a;
} w;

static __u64 seed = 4711;

static double random01(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) * 0x1p-53;
}

static __u64 hash_of(const char *key)
{
	return hot_hash(3, 0, key, strlen(key));
}

static unsigned number_of(const char *key, size_t len)
{
	char text[40] = "";

	memcpy(text, key, len < 39 ? len : 39);
	return atoi(strchr(text, ':') ? strchr(text, ':') + 1 : "0");
}

static int on_ask(__u8 svc, const char *key, size_t len, void *arg)
{
	if (w.ask_error)
		return w.ask_error;
	w.asks++;
	w.asked[w.nasked++] = number_of(key, len);
	return 0;
}

static int on_drop(__u8 svc, const char *key, size_t len, void *arg)
{
	struct copy *c = &w.keys[number_of(key, len)];

	if (w.drop_error)
		return w.drop_error;
	w.drops++;
	w.there -= c->there;
	c->there = false;
	return 0;
}

static void begin(struct config_promote how, unsigned sample)
{
	struct admit_ops ops = {on_ask, on_drop, NULL};

	memset(&w, 0, sizeof(w));
	w.now = 1000 * S;
	w.room = WORLD_MAX;
	for (unsigned i = 0; i < WORLD_MAX; i++)
		sprintf(w.keys[i].key, "key:%u", i);
	how.on = true;
	if (!how.stay_out_ns)
		how.stay_out_ns = 600 * S;
	CHECK_INT(admit_new(&w.a, 0, &how, sample, &ops, w.now), 0);
}

static void end(void)
{
	admit_free(w.a);
	w.a = NULL;
}

static void miss(unsigned n, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		admit_sample(w.a, hash_of(w.keys[n].key), w.keys[n].key, strlen(w.keys[n].key), w.now);
}

static void result(unsigned n, enum fill_result r)
{
	admit_result(w.a, hash_of(w.keys[n].key), w.keys[n].key, strlen(w.keys[n].key), r, w.now);
}

/* The origin answers all that it was asked. */
static void answer(void)
{
	for (unsigned i = 0; i < w.nasked; i++) {
		unsigned n = w.asked[i];
		bool full = w.there >= w.room;

		if (!full) {
			w.there++;
			w.keys[n] = (struct copy){.there = true};
			sprintf(w.keys[n].key, "key:%u", n);
		}
		result(n, full ? FILL_FULL : FILL_ADDED);
	}
	w.nasked = 0;
}

/* A round through the hot set. */
static void round_now(void)
{
	for (unsigned i = 0; i < WORLD_MAX; i++) {
		union {
			struct weir_slot slot;
			char room[512];
		} s = {};

		if (!w.keys[i].there)
			continue;
		s.slot.flags = w.keys[i].pinned ? 0 : WEIR_SLOT_PROMOTED;
		s.slot.key_len = strlen(w.keys[i].key);
		memcpy(s.slot.text + WEIR_KEY_AT, w.keys[i].key, s.slot.key_len);
		admit_slot(w.a, hash_of(w.keys[i].key), &s.slot, w.keys[i].hits, w.keys[i].fence, 1000 * S,
			   w.now);
	}
	admit_round(w.a, w.now);
}

static void pass(__u64 ns)
{
	w.now += ns;
	answer();
	round_now();
}

static struct admit_why why_of(unsigned n)
{
	struct admit_why why;

	admit_explain(w.a, hash_of(w.keys[n].key), w.keys[n].key, strlen(w.keys[n].key), w.now, &why);
	return why;
}

/* Key n is held. */
static void hold(unsigned n, unsigned misses)
{
	miss(n, misses);
	answer();
	CHECK(w.keys[n].there);
}

/* ---- coming in -------------------------------------------------------------------------------- */

static void test_min_hits(void)
{
	test_begin("where each miss is told, a key comes in with its min_hits-th lookup, and not before");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 100, .top = 10}, 1);
	miss(1, 99);
	CHECK_INT(w.asks, 0);
	miss(1, 1);
	CHECK_INT(w.asks, 1);
	miss(1, 10); /* under way */
	CHECK_INT(w.asks, 1);
	answer();
	miss(1, 100); /* fenced, or expired: it is held all the same */
	CHECK_INT(w.asks, 1);
	CHECK_INT(admit_counts(w.a)->promoted, 1);
	CHECK_INT(admit_counts(w.a)->held, 1);
	end();
	test_end();

	test_begin("of samples as many are asked for as stand for min_hits");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 100, .top = 10}, 16);
	miss(1, 6);
	CHECK_INT(w.asks, 0);
	miss(1, 1);
	CHECK_INT(w.asks, 1);
	end();
	test_end();

	test_begin("one sample is not enough, however few hits are asked for");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 1, .top = 10}, 16);
	miss(1, 1);
	CHECK_INT(w.asks, 0);
	miss(1, 1);
	CHECK_INT(w.asks, 1);
	end();
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 1, .top = 10}, 1);
	miss(1, 1);
	CHECK_INT(w.asks, 1);
	end();
	test_end();

	test_begin("lookups longer ago than the window do not count");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 100, .top = 10}, 1);
	for (int i = 0; i < 40; i++) { /* 99 in each window */
		miss(1, 33);
		w.now += 30 * S;
	}
	CHECK_INT(w.asks, 0);
	end();
	test_end();
}

static void test_statistics(void)
{
	unsigned in_twice = 0, in_half = 0, n = 1000;

	test_begin("by samples of 1 in 16, keys with twice min_hits come in, and those with half of it stay "
		   "out");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 800, .top = 4000}, 16);
	for (unsigned k = 0; k < 2 * n; k++) {
		for (unsigned i = 0; i < (k < n ? 1600 : 400); i++) {
			if (random01() < 1.0 / 16)
				miss(k, 1);
		}
		answer();
		in_twice += k < n && w.keys[k].there;
		in_half += k >= n && w.keys[k].there;
	}
	printf("#   %u of %u, and %u of %u\n", in_twice, n, in_half, n);
	CHECK(in_twice >= n * 99 / 100);
	CHECK(in_half <= n / 100);
	end();
	test_end();
}

static char *deny[] = {"session:", "tmp:"};

static void test_denied(void)
{
	struct admit_why why;

	test_begin("keys that begin as `deny` says stay out");
	begin(
		(struct config_promote){
			.window_ns = 80 * S, .min_hits = 2, .top = 10, .deny = deny, .ndeny = 2},
		1);
	strcpy(w.keys[1].key, "session:1");
	strcpy(w.keys[2].key, "tmp:2");
	strcpy(w.keys[3].key, "session3");
	miss(1, 1000);
	miss(2, 1000);
	miss(3, 2);
	CHECK_INT(w.asks, 1);
	why = why_of(1);
	CHECK_STR(why.deny, "session:");
	CHECK_INT(why.misses, 0);
	CHECK(!why_of(3).deny);
	CHECK_INT(admit_counts(w.a)->refused[ADMIT_DENIED], 2000);
	end();
	test_end();
}

static const struct {
	enum fill_result result;
	int refusal; /* -1: none */
	unsigned after_s;
} refusals[] = {
	{FILL_TOO_LONG, ADMIT_TOO_LARGE, 600}, {FILL_WRITING, ADMIT_VOLATILE, 600},
	{FILL_MISSING, ADMIT_MISSING, 5},      {FILL_STALE, ADMIT_MISSING, 5},
	{FILL_EXPIRING, ADMIT_MISSING, 5},     {FILL_ORIGIN, ADMIT_ORIGIN, 5},
	{FILL_NO_ORIGIN, ADMIT_ORIGIN, 5},     {FILL_FLUSH, ADMIT_ORIGIN, 5},
	{FILL_DROPPED, ADMIT_DROPPED, 1},      {FILL_GONE, -1, 0},
};

static void test_refused(void)
{
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		char says[100];

		snprintf(says, sizeof(says), "a key that is %s stays out for %u s",
			 fill_result_name(refusals[i].result), refusals[i].after_s);
		test_begin(says);
		begin((struct config_promote){.window_ns = 800 * S, .min_hits = 10, .top = 10}, 1);
		miss(1, 10);
		CHECK_INT(w.nasked, 1);
		result(1, refusals[i].result);
		CHECK_INT(why_of(1).refused, refusals[i].refusal >= 0);
		if (refusals[i].refusal >= 0)
			CHECK_INT(why_of(1).refusal, refusals[i].refusal);
		w.now += refusals[i].after_s * S;
		if (refusals[i].after_s) {
			w.now -= 1;
			miss(1, 10);
			CHECK_INT(w.asks, 1);
			w.now += 1;
		}
		miss(1, 1);
		CHECK_INT(w.asks, 2);
		CHECK(!why_of(1).refused);
		end();
		test_end();
	}

	test_begin("when the filler takes no more, a key is tried with its next miss");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 10}, 1);
	w.ask_error = -EAGAIN;
	miss(1, 10);
	CHECK(!why_of(1).asked);
	w.ask_error = 0;
	miss(1, 1);
	CHECK(why_of(1).asked);
	end();
	test_end();
}

static void test_refused_table(void)
{
	static struct refused r;
	unsigned found = 0;

	test_begin("who stays out is remembered in bounded memory; what would end soonest is forgotten");
	for (__u64 i = 1; i <= 100000; i++)
		refused_add(&r, i * 0x123456789abcdefULL, 1, i);
	for (__u64 i = 1; i <= 100000; i++)
		found += refused_find(&r, i * 0x123456789abcdefULL, 0) != NULL;
	CHECK_INT(found, REFUSED_SETS * REFUSED_WAYS);
	CHECK(refused_find(&r, 100000 * 0x123456789abcdefULL, 99999));
	CHECK(!refused_find(&r, 100000 * 0x123456789abcdefULL, 100000));
	test_end();
}

/* ---- giving way ------------------------------------------------------------------------------- */

/* Ten are held, with 100, 200 .. 1000 hits within the window; the least is number 0. */
static void hold_ten(void)
{
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 10}, 1);
	for (unsigned i = 0; i < 10; i++) {
		hold(i, 10);
		w.keys[i].hits = 100 * (i + 1) - 10;
	}
	round_now();
}

static void test_admission(void)
{
	test_begin(
		"when the top are held, a key that is asked for about as often as the least one stays out");
	hold_ten();
	CHECK_INT(why_of(0).hits, 90);
	CHECK_INT(why_of(0).misses, 10);
	CHECK_INT(why_of(20).needs, 100 + 25 + 2);
	miss(20, 126);
	CHECK_INT(w.asks, 10);
	test_end();

	test_begin("one that is asked for more by a margin takes its place, once its value is there");
	miss(20, 1);
	CHECK_INT(w.asks, 11);
	CHECK(w.keys[0].there);
	answer();
	CHECK(!w.keys[0].there && w.keys[20].there);
	CHECK_INT(w.there, 10);
	CHECK_INT(admit_counts(w.a)->evicted, 1);
	test_end();

	test_begin("the next one needs more than the next least has");
	CHECK_INT(why_of(21).needs, 200 + 50 + 2);
	miss(21, 251);
	CHECK_INT(w.asks, 11);
	miss(21, 1);
	CHECK_INT(w.asks, 12);
	test_end();

	test_begin("when its value does not come, nothing gives way");
	result(21, FILL_MISSING);
	w.nasked = 0;
	CHECK(w.keys[1].there);
	CHECK_INT(w.there, 10);
	round_now();
	CHECK_INT(admit_counts(w.a)->held, 10);
	CHECK_INT(why_of(20).held, 1);
	end();
	test_end();

	test_begin("one that somebody else brought meanwhile drives nothing out, however often it is fetched");
	hold_ten();
	w.keys[20].there = w.keys[20].pinned = true;
	for (int i = 0; i < 20; i++) {
		miss(20, 300);
		CHECK_INT(w.nasked, 1);
		result(20, i % 2 ? FILL_REPLACED : FILL_UNCHANGED);
		w.nasked = 0;
		round_now();
	}
	CHECK_INT(w.drops, 0);
	CHECK_INT(admit_counts(w.a)->held, 10);
	test_end();

	test_begin("  its own, replaced before a round has seen it, is held with the next");
	w.keys[20].pinned = false;
	miss(20, 1);
	result(20, FILL_REPLACED);
	CHECK_INT(why_of(20).held, 0);
	round_now();
	CHECK(why_of(20).held && why_of(20).promoted);
	end();
	test_end();

	test_begin("what cannot be dropped now gives way the next time");
	hold_ten();
	w.drop_error = -EAGAIN;
	miss(20, 127);
	answer();
	CHECK(w.keys[0].there);
	w.drop_error = 0;
	round_now(); /* one too many */
	CHECK(!w.keys[0].there);
	CHECK_INT(w.there, 10);
	end();
	test_end();

	test_begin("hits count as misses do: what is answered most is evicted last");
	hold_ten();
	for (unsigned i = 0; i < 10; i++)
		w.keys[i].hits += i == 0 ? 5000 : 0;
	round_now();
	miss(20, 300);
	answer();
	CHECK(w.keys[0].there && !w.keys[1].there);
	end();
	test_end();
}

static void test_hysteresis(void)
{
	unsigned before = 0;

	test_begin("keys that are asked for equally do not drive each other out");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 10}, 16);
	for (unsigned s = 0; s < 600; s++) {
		/* 20 keys with 40 lookups a second each, of which 10 are held */
		for (unsigned i = 0; i < 20 * 40; i++) {
			unsigned k = random01() * 20;

			if (w.keys[k].there)
				w.keys[k].hits++;
			else if (random01() < 1.0 / 16)
				miss(k, 1);
		}
		pass(S);
		if (s == 100)
			before = admit_counts(w.a)->evicted;
	}
	printf("#   %llu swaps after the first window\n", admit_counts(w.a)->evicted - before);
	CHECK_INT(w.there, 10);
	CHECK(admit_counts(w.a)->evicted - before <= 5);
	end();
	test_end();
}

static void test_scan(void)
{
	char key[40];

	test_begin("a scan of keys that come once evicts nothing, and asks for nothing");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 16, .top = 10}, 16);
	for (unsigned i = 0; i < 10; i++)
		hold(i, 10);
	w.asks = 0;
	for (unsigned i = 0; i < 300000; i++) {
		sprintf(key, "scan:%u", i);
		admit_sample(w.a, hash_of(key), key, strlen(key), w.now);
		if (i % 10000 == 0) {
			for (unsigned k = 0; k < 10; k++)
				w.keys[k].hits += 100;
			pass(S);
		}
	}
	CHECK_INT(w.asks, 0);
	CHECK_INT(w.drops, 0);
	CHECK_INT(w.there, 10);
	end();
	test_end();
}

/* Zipf over 10,000 keys from `shift` on; the part of lookups that were hits. */
static double zipf_second(const double *cdf, unsigned shift, unsigned lookups)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < lookups; i++) {
		double u = random01();
		unsigned low = 0, high = 9999;

		while (low < high) {
			unsigned mid = (low + high) / 2;

			if (cdf[mid] < u)
				low = mid + 1;
			else
				high = mid;
		}
		low = (low + shift) % 10000;
		if (w.keys[low].there)
			w.keys[low].hits++, hits++;
		else if (random01() < 1.0 / 16)
			miss(low, 1);
		if (i % 100 == 0)
			answer();
	}
	return (double)hits / lookups;
}

static void test_shift(void)
{
	static double cdf[10000];
	double sum = 0, ideal, ratio = 0;
	unsigned seconds;

	test_begin("Zipf 0.99: the top 100 of 10,000 keys give at least 95% of the ideal hit ratio, and a "
		   "shift is followed");
	for (unsigned i = 0; i < 10000; i++)
		cdf[i] = sum += pow(i + 1, -0.99);
	for (unsigned i = 0; i < 10000; i++)
		cdf[i] /= sum;
	ideal = cdf[99];
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 50, .top = 100}, 16);
	for (unsigned s = 0; s < 100; s++) {
		ratio = zipf_second(cdf, 0, 5000);
		pass(S);
	}
	printf("#   ideal %.4f, got %.4f\n", ideal, ratio);
	CHECK(ratio >= 0.95 * ideal);
	CHECK_INT(w.there, 100);
	for (seconds = 0; seconds < 200; seconds++) {
		ratio = zipf_second(cdf, 5000, 5000);
		pass(S);
		if (ratio >= 0.9 * ideal)
			break;
	}
	printf("#   90%% of it again %u s after the shift, with a window of 80 s\n", seconds);
	CHECK(seconds <= 80);
	for (unsigned s = 0; s < 80; s++) {
		ratio = zipf_second(cdf, 5000, 5000);
		pass(S);
	}
	CHECK(ratio >= 0.95 * ideal);
	CHECK_INT(w.there, 100);
	end();
	test_end();
}

/* ---- having to go ----------------------------------------------------------------------------- */

static void test_leaving(void)
{
	test_begin("a key that is written more often than it is answered goes, and stays out");
	hold_ten();
	pass(S);
	w.keys[3].fence += 2000; /* each write twice */
	w.keys[4].fence += 2000;
	w.keys[4].hits += 2000;
	pass(S);
	CHECK(!w.keys[3].there);
	CHECK(w.keys[4].there);
	CHECK_INT(why_of(4).writes, 1000);
	CHECK_INT(why_of(3).refusal, ADMIT_VOLATILE);
	w.asks = 0;
	miss(3, 1000);
	CHECK_INT(w.asks, 0);
	end();
	test_end();

	test_begin("a few writes do not make a key too volatile");
	hold_ten();
	w.keys[0].fence += 14;
	pass(20 * S);
	w.keys[0].hits = 90;
	pass(S);
	CHECK(w.keys[0].there);
	end();
	test_end();

	test_begin("a key that had less than half of min_hits in a whole window goes");
	hold_ten();
	for (unsigned s = 0; s < 100; s++) {
		w.keys[7].hits += s % 12 == 0; /* six in a window */
		w.keys[8].hits += s % 40 == 0; /* two */
		pass(S);
	}
	CHECK(w.keys[7].there);
	CHECK(!w.keys[8].there);
	CHECK(admit_counts(w.a)->demoted >= 1);
	end();
	test_end();

	test_begin("what a new `deny` names goes, unless others brought it");
	hold_ten();
	end();
	begin(
		(struct config_promote){
			.window_ns = 80 * S, .min_hits = 10, .top = 10, .deny = deny, .ndeny = 2},
		1);
	for (unsigned i = 0; i < 3; i++) {
		w.keys[i].there = true;
		sprintf(w.keys[i].key, "%s:%u", i ? "tmp" : "key", i);
	}
	w.keys[2].pinned = true;
	w.there = 3;
	round_now();
	CHECK(w.keys[0].there && !w.keys[1].there && w.keys[2].there);
	CHECK_INT(admit_counts(w.a)->denied, 1);
	end();
	test_end();

	test_begin("what others dropped is no longer held, and comes in again when it is asked for");
	hold_ten();
	on_drop(0, w.keys[9].key, strlen(w.keys[9].key), NULL);
	round_now();
	CHECK_INT(admit_counts(w.a)->held, 9);
	miss(9, 10);
	answer();
	CHECK(w.keys[9].there);
	end();
	test_end();

	test_begin("lower `top`: the least asked for go");
	hold_ten();
	end();
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 3}, 1);
	for (unsigned i = 0; i < 10; i++) {
		w.keys[i].there = true;
		w.keys[i].hits = 100 * (i + 1);
	}
	w.there = 10;
	round_now();
	for (int i = 0; i < 3; i++)
		pass(S);
	CHECK_INT(w.there, 3);
	CHECK(w.keys[9].there);
	end();
	test_end();
}

static void test_others(void)
{
	test_begin("what others brought is not evicted, does not count for top, and is not asked for");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 2}, 1);
	for (unsigned i = 0; i < 10; i++)
		w.keys[i].there = w.keys[i].pinned = true;
	w.there = 10;
	round_now();
	CHECK_INT(admit_counts(w.a)->held, 0);
	hold(20, 10);
	hold(21, 10);
	round_now();
	miss(22, 1000);
	answer();
	CHECK_INT(w.there, 12);
	CHECK(w.keys[0].there);
	end();
	test_end();

	test_begin("with `evict: all` it is, and does");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 10, .evict_all = true}, 1);
	for (unsigned i = 0; i < 10; i++) {
		w.keys[i].there = w.keys[i].pinned = true;
		w.keys[i].hits = 12500 * i; /* of 1,000 s: 1,000 in the window for each */
	}
	w.there = 10;
	round_now();
	CHECK_INT(admit_counts(w.a)->held, 10);
	miss(20, 100);
	answer();
	CHECK(w.keys[20].there && !w.keys[0].there);
	CHECK_INT(w.there, 10);
	end();
	test_end();

	test_begin("a key that an operator put meanwhile is the operator's from then on");
	hold_ten();
	w.keys[0].pinned = true;
	round_now();
	miss(20, 500);
	answer();
	CHECK(w.keys[0].there);
	end();
	test_end();
}

static void test_restart(void)
{
	test_begin("an agent that starts takes over what is there, with hits as if they had come evenly");
	begin((struct config_promote){.window_ns = 100 * S, .min_hits = 10, .top = 3}, 1);
	for (unsigned i = 0; i < 3; i++) {
		w.keys[i].there = true;
		w.keys[i].hits = 10000 * (i + 1); /* in 1,000 s */
	}
	w.there = 3;
	round_now();
	CHECK_INT(why_of(0).hits, 1000);
	CHECK_INT(why_of(2).hits, 3000);
	miss(20, 1251);
	CHECK_INT(w.asks, 0);
	miss(20, 1);
	CHECK_INT(w.asks, 1);
	end();
	test_end();
}

static void test_full(void)
{
	unsigned dropped;

	test_begin("in a full hot set a hotter key takes the place of the least, which goes first");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 100}, 1);
	w.room = 5;
	for (unsigned i = 0; i < 5; i++)
		hold(i, 20);
	miss(20, 10);
	answer();
	CHECK_INT(why_of(20).refusal, ADMIT_FULL);
	round_now();
	w.now += S;
	dropped = w.drops;
	miss(20, 10); /* no more than the others */
	answer();
	CHECK_INT(w.drops, dropped);
	miss(20, 100);
	CHECK_INT(w.drops, dropped + 1); /* before the value is there */
	answer();
	CHECK(w.keys[20].there);
	CHECK_INT(w.there, 5);
	end();
	test_end();

	test_begin("one that does not fit where another one was drives out no more for `stay_out`");
	begin((struct config_promote){.window_ns = 80 * S, .min_hits = 10, .top = 100}, 1);
	w.room = 5;
	for (unsigned i = 0; i < 5; i++)
		hold(i, 20);
	miss(20, 200);
	answer();
	w.room = 0; /* for it */
	round_now();
	w.now += S;
	for (int i = 0; i < 30; i++) {
		miss(20, 10);
		pass(S);
	}
	CHECK_INT(w.drops, 1);
	CHECK_INT(why_of(20).refusal, ADMIT_FULL);
	CHECK(why_of(20).until_ns > w.now + 500 * S);
	end();
	test_end();

	test_begin("a hot set that is full of what others brought is left alone, and tried again later");
	begin((struct config_promote){.window_ns = 800 * S, .min_hits = 10, .top = 100}, 1);
	w.room = 0;
	miss(20, 10);
	answer();
	round_now();
	CHECK_INT(why_of(20).needs, WEIR_NEVER);
	w.now += 2 * S;
	miss(20, 1000);
	CHECK_INT(w.asks, 1);
	w.room = 1;
	w.now += 9 * S;
	miss(20, 1);
	answer();
	CHECK(w.keys[20].there);
	end();
	test_end();
}

static void test_why(void)
{
	struct admit_why why;

	test_begin("why: what a key has, what it needs, and where it stands");
	hold_ten();
	miss(20, 50);
	why = why_of(20);
	CHECK(!why.held && !why.asked && !why.refused && !why.deny);
	CHECK_INT(why.misses, 50);
	CHECK_INT(why.over, 0);
	CHECK_INT(why.rank, 11);
	CHECK_INT(why.needs, 127);
	CHECK_INT(why.nheld, 10);
	CHECK_INT(why.room, 10);
	why = why_of(9);
	CHECK(why.held && why.promoted);
	CHECK_INT(why.rank, 1);
	CHECK_INT(why.since_ns, 1000 * S);
	why = why_of(30);
	CHECK_INT(why.misses, 0);
	CHECK_INT(why.rank, 12);
	end();
	test_end();
}

/* ---- the configuration ------------------------------------------------------------------------ */

#define PROMOTE(cache, service)             \
	"interfaces: [{name: eth0}]\n"      \
	"cache: {capacity: 100" cache "}\n" \
	"services:\n"                       \
	"  - name: a\n"                     \
	"    vips: ['10.0.0.1:11211']\n"    \
	"    clients: [10.0.0.0/8]\n" service

#define ORIGIN "    origin: 10.0.0.1:11211\n"

static const struct fault_row fault_rows[] = {
#define P8        "w:8: services[0].promote"
#define NO_PREFIX "is no beginning of a key: 1 to 250 bytes, and no space or control character\n"
	{"min_hits of 0", PROMOTE("", ORIGIN "    promote: {min_hits: 0}\n"),
	 P8 ".min_hits: '0' is not a number from 1 to 1000000000\n"},
	{"a window that is too short", PROMOTE("", ORIGIN "    promote: {window: 9s}\n"),
	 P8 ".window: '9s' is not from 10s to 30d\n"},
	{"top beyond its limit", PROMOTE("", ORIGIN "    promote: {top: 100001}\n"),
	 P8 ".top: '100001' is not a number from 1 to 100000\n"},
	{"an empty prefix", PROMOTE("", ORIGIN "    promote: {deny: ['a', '']}\n"),
	 P8 ".deny[1]: " NO_PREFIX},
	{"a prefix with a space", PROMOTE("", ORIGIN "    promote: {deny: ['a b']}\n"),
	 P8 ".deny[0]: " NO_PREFIX},
	{"an unknown way to evict", PROMOTE("", ORIGIN "    promote: {evict: some}\n"),
	 P8 ".evict: 'some' is not one of promoted, all\n"},
	{"no origin", PROMOTE("", "    promote: {}\n"),
	 "w:7: services[0].promote: needs an origin to fetch keys from\n"},
	{"no samples", PROMOTE(", sample: 0", ORIGIN "    promote: {}\n"),
	 P8 ": needs samples of misses: cache.sample is 0\n"},
	{"no hit counters", PROMOTE(", hit_counters: false", ORIGIN "    promote: {}\n"),
	 P8 ": needs to know hits: cache.hit_counters is false\n"},
#undef P8
#undef NO_PREFIX
};

static void test_config(void)
{
	static const char all[] =
		PROMOTE("", ORIGIN "    promote: {min_hits: 7, window: 2h, top: 50, deny: ['s:', 't:'],"
				   " evict: all, stay_out: 1m}\n");
	const struct config_promote *p;
	struct config *c;

	test_begin("promote: its defaults");
	c = parse_good(PROMOTE("", ORIGIN "    promote: {}\n"));
	if (c) {
		p = &c->services[0].promote;
		CHECK(p->on && !p->evict_all);
		CHECK_INT(p->min_hits, 100);
		CHECK_INT(p->window_ns, 24 * 3600 * S);
		CHECK_INT(p->top, 1000);
		CHECK_INT(p->ndeny, 0);
		CHECK_INT(p->stay_out_ns, 600 * S);
	}
	config_free(c);
	test_end();

	test_begin("promote: all of it");
	c = parse_good(all);
	if (c) {
		p = &c->services[0].promote;
		CHECK(p->on && p->evict_all);
		CHECK_INT(p->min_hits, 7);
		CHECK_INT(p->window_ns, 2 * 3600 * S);
		CHECK_INT(p->top, 50);
		CHECK_INT(p->stay_out_ns, 60 * S);
		CHECK_INT(p->ndeny, 2);
		CHECK_STR(p->deny[1], "t:");
	}
	config_free(c);
	test_end();

	FAULTS("promote", fault_rows);
}

int main(void)
{
	test_min_hits();
	test_statistics();
	test_denied();
	test_refused();
	test_refused_table();
	test_admission();
	test_hysteresis();
	test_scan();
	test_shift();
	test_leaving();
	test_others();
	test_restart();
	test_full();
	test_why();
	test_config();
	return test_done();
}
