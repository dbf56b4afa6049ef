// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Whether the hot set follows the traffic: a million keys, the real promotion in simulated time, and beside it an
 * ideal of the same size that knows popularity beforehand (tests/bench/follow.h). All is seeded: the same each
 * time.
 */
#include "follow.h"
#include "test.h"

#define WINDOW_S 10
#define WINDOW   (WINDOW_S * FOLLOW_RATE) /* lookups: two million */
#define TOP      1000

static const double skews[] = {0.99, 1.2};

static struct follow *begin(double skew, unsigned top, unsigned sample, unsigned min_hits)
{
	const struct config_promote how = {.on = true,
					   .min_hits = min_hits,
					   .top = top,
					   .window_ns = WINDOW_S * 1000000000ULL,
					   .stay_out_ns = 600000000000ULL};
	struct follow *f = follow_new(skew, &how, sample, 1);

	if (!CHECK(f))
		exit(1);
	return f;
}

/* The hit ratio by that of the ideal, over so many lookups. */
static double ratio_of(struct follow *f, __u64 lookups)
{
	struct follow_counts c = {0};

	follow_run(f, lookups, &c);
	printf("#   hit ratio %.4f, ideal %.4f: %.4f of it; %u keys held\n", (double)c.hits / c.lookups,
	       (double)c.ideal / c.lookups, follow_ratio(&c), f->nheld);
	return follow_ratio(&c);
}

static void settle(struct follow *f)
{
	struct follow_counts c = {0};

	follow_run(f, WINDOW + WINDOW / 4, &c);
}

static bool within(struct follow *f, __u64 lookups)
{
	__u64 took = follow_until(f, 0.9, 3 * WINDOW);

	printf("#   90%% of the ideal after %llu lookups, may take %llu; a window has %llu\n", took, lookups,
	       WINDOW);
	return took <= lookups;
}

static const char *say(char *to, size_t len, double skew, const char *what)
{
	snprintf(to, len, "Zipf %g: %s", skew, what);
	return to;
}

/* ---- steady ----------------------------------------------------------------------------------- */

static void test_cold(struct follow *f, double skew)
{
	char name[160];

	test_begin(say(name, sizeof(name), skew, "from nothing to 90% of the ideal in half a window"));
	CHECK_INT(f->nheld, 0);
	CHECK(within(f, WINDOW / 2));
	test_end();

	test_begin(
		say(name, sizeof(name), skew, "in steady state at least 95% of the ideal of the same size"));
	settle(f);
	CHECK(ratio_of(f, WINDOW) >= 0.95);
	CHECK(f->nheld > TOP * 95 / 100 && f->nheld <= TOP);
	test_end();
}

/* The traffic of the million keys is half of what it was, in the same time. */
static void test_scan(struct follow *f, double skew)
{
	double before = ratio_of(f, WINDOW / 2), during;
	char name[160];

	test_begin(say(name, sizeof(name), skew,
		       "a scan of a million keys that come once, half of all lookups, "
		       "costs no more than 2% of the hits"));
	f->scan = 0.5;
	during = ratio_of(f, WINDOW);
	f->scan = 0;
	CHECK(f->once >= 900000);
	CHECK(during >= 0.98 * before);
	CHECK(ratio_of(f, WINDOW / 2) >= 0.98 * before);
	test_end();

	test_begin(say(name, sizeof(name), skew, "and the origin is asked for none of them"));
	CHECK_INT(f->asked_once, 0);
	test_end();
}

/* ---- changes ---------------------------------------------------------------------------------- */

/*
 * The new key needs what `why` says of any key that nobody asked for: a quarter and two samples more than the
 * least of those held. That least one rises by a key each time that another comes in: two more samples.
 */
static void test_flash(struct follow *f, double skew)
{
	struct admit_why why;
	char name[160], key[FOLLOW_KEY + 1];

	follow_key(key, FOLLOW_FLASH);
	admit_explain(f->admit, follow_hash(key, FOLLOW_KEY), key, FOLLOW_KEY, f->now_ns, &why);
	test_begin(say(name, sizeof(name), skew,
		       "a flash crowd, 20% of the traffic to a new key: held as soon as "
		       "its samples say so, and in 20,000 lookups"));
	f->flash = 0.2;
	CHECK(ratio_of(f, WINDOW / 20) >= 0.9);
	printf("#   asked for after %llu samples, for a score of %llu; there after %llu lookups\n",
	       f->flash_samples, why.needs, f->flash_lookups);
	CHECK(f->copies[FOLLOW_FLASH].at);
	CHECK(f->flash_samples * f->sample >= f->how.min_hits);
	CHECK(f->flash_samples <= (why.needs + f->sample - 1) / f->sample + 2);
	CHECK(f->flash_lookups <= 20000);
	test_end();

	test_begin(say(name, sizeof(name), skew, "it costs the others nothing, and goes when it is over"));
	CHECK(ratio_of(f, WINDOW / 2) >= 0.98);
	f->flash = 0;
	settle(f);
	CHECK(!f->copies[FOLLOW_FLASH].at);
	CHECK(ratio_of(f, WINDOW / 2) >= 0.95);
	test_end();
}

/*
 * A key of old loses an eighth of its score with each eighth of the window, and a new one of the same rank gains
 * as much: by then it has a quarter more, as it must, 5/9 of a window have passed.
 */
static void test_shift(struct follow *f, double skew)
{
	char name[160];

	test_begin(say(name, sizeof(name), skew,
		       "when a fifth of the ranks change their keys, 90% of the ideal again "
		       "in three tenths of a window"));
	follow_shift(f, 0.2);
	CHECK(within(f, 3 * WINDOW / 10));
	settle(f);
	CHECK(ratio_of(f, WINDOW / 2) >= 0.95);
	test_end();

	test_begin(say(name, sizeof(name), skew, "when all do, in eight tenths"));
	follow_shift(f, 1);
	CHECK(ratio_of(f, FOLLOW_TICK) < 0.2);
	CHECK(within(f, 8 * WINDOW / 10));
	settle(f);
	CHECK(ratio_of(f, WINDOW / 2) >= 0.95);
	CHECK(f->nheld > TOP * 95 / 100 && f->nheld <= TOP);
	test_end();
}

static void test_drift(struct follow *f, double skew)
{
	struct follow_counts c = {0};
	char name[160];

	test_begin(say(name, sizeof(name), skew,
		       "when a fiftieth of the ranks change each second, for a window: at "
		       "least 90% of the ideal of the moment, on the whole"));
	for (unsigned s = 0; s < WINDOW_S; s++) {
		follow_shift(f, 0.02);
		follow_run(f, FOLLOW_RATE, &c);
	}
	printf("#   %.4f of the ideal\n", follow_ratio(&c));
	CHECK(follow_ratio(&c) >= 0.9);
	test_end();
}

/* ---- other sizes ------------------------------------------------------------------------------ */

static const struct {
	unsigned top, sample, min_hits;
	double least;
} sizes[] = {
	{10, 16, 100, 0.95},
	{1000, 1, 100, 0.95},
	{1000, 64, 100, 0.9}, /* the last of the top have two samples in a window: chance */
	{8000, 4, 10, 0.9},
};

static void test_sizes(void)
{
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct follow *f = begin(0.99, sizes[i].top, sizes[i].sample, sizes[i].min_hits);
		char name[160];

		snprintf(name, sizeof(name),
			 "Zipf 0.99: the top %u, one miss in %u told: at least %g of the ideal", sizes[i].top,
			 sizes[i].sample, sizes[i].least);
		test_begin(name);
		settle(f);
		CHECK(ratio_of(f, WINDOW / 2) >= sizes[i].least);
		CHECK(f->nheld <= sizes[i].top);
		test_end();
		follow_free(f);
	}
}

/* The table itself: what it draws is what it says. */
static void test_zipf(void)
{
	__u64 random = 1, lookups = 1000000;
	unsigned first = 0, top = 0;
	struct zipf z;

	test_begin("numbers come by Zipf's law");
	CHECK_INT(zipf_make(&z, 1000, 0.99), 0);
	for (unsigned i = 0; i < lookups; i++) {
		__u32 n = zipf_draw(&z, &random);

		first += n == 0;
		top += n < 100;
	}
	CHECK(fabs((double)first / lookups - zipf_top(&z, 1)) < 0.002);
	CHECK(fabs((double)top / lookups - zipf_top(&z, 100)) < 0.002);
	CHECK(fabs(zipf_top(&z, 2) / zipf_top(&z, 1) - 1 - pow(2, -0.99)) < 1e-9);
	CHECK(zipf_top(&z, 1000) > 1 - 1e-9);
	zipf_free(&z);
	test_end();
}

int main(void)
{
	test_zipf();
	for (unsigned i = 0; i < sizeof(skews) / sizeof(skews[0]); i++) {
		struct follow *f = begin(skews[i], TOP, 16, 100);

		test_cold(f, skews[i]);
		test_scan(f, skews[i]);
		test_flash(f, skews[i]);
		test_shift(f, skews[i]);
		test_drift(f, skews[i]);
		follow_free(f);
	}
	test_sizes();
	return test_done();
}
