/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Histograms: buckets, quantiles against the exact ones of the same values, sums and differences; flow records. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "../test.h"
#include "latency.h"

#define VALUES 100000

/* ---- buckets ---------------------------------------------------------------------------------- */

static void test_log2(void)
{
	int bad = 0;

	test_begin("log2 of each power of two, of one below and one above");
	for (int i = 0; i < 64; i++) {
		__u64 x = 1ULL << i;

		bad += weir_log2(x) != (__u32)i;
		bad += i && weir_log2(x - 1) != (__u32)i - (i > 0);
		bad += i && weir_log2(x + 1) != (__u32)i;
	}
	CHECK_INT(bad, 0);
	CHECK_INT(weir_log2(~0ULL), 63);
	test_end();
}

static void test_bounds(void)
{
	int bad = 0;

	test_begin("buckets adjoin, and each has its lowest and its highest value");
	CHECK_INT(weir_lat_bound(0), 0);
	CHECK_INT(weir_lat_bound(1), 1024);
	CHECK_INT(weir_lat_bound(WEIR_LAT_BUCKETS - 1), 1LL << 36);
	for (__u32 b = 0; b < WEIR_LAT_BUCKETS - 1; b++) {
		__u64 low = weir_lat_bound(b), next = weir_lat_bound(b + 1);

		bad += next <= low;
		bad += weir_lat_bucket(low) != b || weir_lat_bucket(next - 1) != b;
		bad += b && (next - low) * 8 > low; /* an eighth of its octave */
	}
	CHECK_INT(bad, 0);
	test_end();

	test_begin("the edges: 0, 1023, 1024, 2^36 - 1, 2^36 and the largest number");
	CHECK_INT(weir_lat_bucket(0), 0);
	CHECK_INT(weir_lat_bucket(1023), 0);
	CHECK_INT(weir_lat_bucket(1024), 1);
	CHECK_INT(weir_lat_bucket((1ULL << 36) - 1), WEIR_LAT_BUCKETS - 2);
	CHECK_INT(weir_lat_bucket(1ULL << 36), WEIR_LAT_BUCKETS - 1);
	CHECK_INT(weir_lat_bucket(~0ULL), WEIR_LAT_BUCKETS - 1);
	test_end();
}

/* ---- quantiles -------------------------------------------------------------------------------- */

/* xorshift64*: the same values each time. */
static double uniform(void)
{
	static __u64 x = 0x9e3779b97f4a7c15ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return ((x * 0x2545f4914f6cdd1dULL >> 11) + 0.5) / (1ULL << 53);
}

static double gaussian(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

static double draw_uniform(void)
{
	return 2000 + uniform() * 50e6;
}

static double draw_exponential(void)
{
	return 1100 - log(uniform()) * 300e3;
}

static double draw_lognormal(void)
{
	return 1024 + exp(log(200e3) + 1.5 * gaussian());
}

static double draw_bimodal(void)
{
	return uniform() < 0.9 ? 90e3 + 5e3 * gaussian() : 40e6 + 1e6 * gaussian();
}

static double draw_constant(void)
{
	return 1152000;
}

/* The heaviest tail that fits: of index 1, from a microsecond. */
static double draw_pareto(void)
{
	double v = 1024 / uniform();

	return v < 68e9 ? v : 68e9;
}

static int compare(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

static void check_quantiles(const char *sentence, double (*draw)(void))
{
	static const double qs[] = {0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};
	static __u64 values[VALUES];
	struct weir_histogram h = {};

	test_begin(sentence);
	for (int i = 0; i < VALUES; i++) {
		values[i] = draw();
		h.n[weir_lat_bucket(values[i])]++;
	}
	qsort(values, VALUES, sizeof(values[0]), compare);
	for (unsigned i = 0; i < sizeof(qs) / sizeof(qs[0]); i++) {
		double exact = values[(int)ceil(qs[i] * VALUES * (1 - 1e-12)) - 1];
		double got = latency_quantile(&h, qs[i]);

		if (!CHECK(fabs(got - exact) <= LATENCY_ERROR * exact))
			printf("# q %g: got %g, exactly %g\n", qs[i], got, exact);
	}
	CHECK_INT(latency_count(&h), VALUES);
	test_end();
}

/* The bound itself, at all values there are: what the middle of a bucket is wrong by at its ends. */
static void test_error(void)
{
	double worst = 0;

	test_begin("the middle of a bucket is wrong by 6.25% at most, which is less than the stated bound");
	for (__u32 b = 1; b < WEIR_LAT_BUCKETS - 1; b++) {
		double low = weir_lat_bound(b), high = weir_lat_bound(b + 1) - 1, got;
		struct weir_histogram h = {};

		h.n[b] = 1;
		got = latency_quantile(&h, 1);
		worst = fmax(worst, fmax((got - low) / low, (high - got) / high));
	}
	CHECK(worst <= 0.0625 && worst > 0.06);
	CHECK(worst < LATENCY_ERROR);
	test_end();
}

static void test_ranks(void)
{
	struct weir_histogram h = {};
	__u32 low = weir_lat_bucket(2048), high = weir_lat_bucket(1 << 20);

	test_begin("the quantile is the value of rank ceil(q * count)");
	CHECK_INT(latency_quantile(&h, 0.5), 0);
	h.n[low] = 99;
	h.n[high] = 1;
	CHECK_INT(latency_quantile(&h, 1e-9), 2048 + 128);
	CHECK_INT(latency_quantile(&h, 0.5), 2048 + 128);
	CHECK_INT(latency_quantile(&h, 0.99), 2048 + 128);
	CHECK_INT(latency_quantile(&h, 0.990001), (1 << 20) + (1 << 16));
	CHECK_INT(latency_quantile(&h, 1), (1 << 20) + (1 << 16));
	h.n[low] = 7; /* 0.07 * 100 is a little more than 7 in binary */
	h.n[high] = 93;
	CHECK_INT(latency_quantile(&h, 0.07), 2048 + 128);
	test_end();

	test_begin("quantiles below and above all buckets");
	h = (struct weir_histogram){.n[0] = 5};
	CHECK_INT(latency_quantile(&h, 0.5), 512);
	h = (struct weir_histogram){.n[WEIR_LAT_BUCKETS - 1] = 5};
	CHECK_INT(latency_quantile(&h, 0.5), 1LL << 36);
	h.n[0] = ~0ULL >> 1; /* as many as one can count */
	CHECK_INT(latency_quantile(&h, 0.999), 512);
	test_end();
}

static void test_sums(void)
{
	struct weir_histogram a = {.sum_ns = 10, .lost = 1, .failed = 2, .n[3] = 5, .n[209] = 1};
	struct weir_histogram b = {.sum_ns = 7, .lost = 1, .n[3] = 2, .n[4] = 1}, sum = a;

	test_begin("histograms are added and subtracted bucket by bucket");
	latency_add(&sum, &b);
	CHECK_INT(sum.sum_ns, 17);
	CHECK_INT(sum.lost, 2);
	CHECK_INT(sum.n[3], 7);
	CHECK_INT(latency_count(&sum), 9);
	latency_since(&sum, &b);
	CHECK_MEM(&sum, sizeof(sum), &a, sizeof(a));
	latency_since(&sum, &a);
	CHECK_INT(latency_count(&sum), 0);
	test_end();

	test_begin("counters that began anew in between are what they are now");
	latency_since(&b, &a);
	CHECK_INT(b.sum_ns, 7);
	CHECK_INT(b.n[3], 2);
	CHECK_INT(b.n[4], 1);
	test_end();
}

/* ---- words ------------------------------------------------------------------------------------ */

static void check_text(__u64 ns, const char *want)
{
	char text[32];

	CHECK_STR(latency_text(ns, text, sizeof(text)), want);
}

static void test_words(void)
{
	int bad = 0;

	test_begin("latencies have three digits");
	check_text(0, "0ns");
	check_text(999, "999ns");
	check_text(1024, "1.02us");
	check_text(9994, "9.99us");
	check_text(9996, "10.0us");
	check_text(99960, "100us");
	check_text(999400, "999us");
	check_text(999600, "1.00ms");
	check_text(12345678, "12.3ms");
	check_text(1ULL << 36, "68.7s");
	check_text(3600000000000, "3600s");
	test_end();

	test_begin("each path has a name of its own, and a sentence");
	for (int i = 0; i < WEIR_LAT_PATHS; i++)
		bad += latency_path_named(latency_path(i)) != i || strlen(latency_path_help(i)) < 20;
	CHECK_INT(bad, 0);
	CHECK_INT(latency_path_named("requests"), -1);
	CHECK_INT(latency_path_named(""), -1);
	CHECK_STR(latency_path(WEIR_LAT_PATHS), "unknown");
	test_end();
}

/* ---- records ---------------------------------------------------------------------------------- */

#define RECS 8

struct seen {
	struct latency_flow flows[RECS];
	unsigned n, stop_at;
};

static int on_flow(const struct latency_flow *f, void *arg)
{
	struct seen *s = arg;

	s->flows[s->n++] = *f;
	return s->n == s->stop_at ? 7 : 0;
}

/* Seconds ago, in WEIR_REC_TIME. */
static __u32 at(double ago)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (__u64)((ts.tv_sec - ago) * 1e9 + ts.tv_nsec) >> WEIR_REC_TIME;
}

static struct weir_flow_rec rec(unsigned state, __u32 flags, double ago)
{
	__u64 client = (__u64)inet_addr("10.7.0.2") << 32 | (__u64)htons(443) << 16;

	return (struct weir_flow_rec){.hash = 0x1234567890ULL,
				      .info = client | 5 << 10 | flags,
				      .state = state,
				      .seen = at(ago),
				      .first = at(ago + 20)};
}

static void test_flows(void)
{
	static struct weir_ctl ctl = {.flow_recs = RECS, .idle_ticks = {0, 10, 3600, 90, 10, 10, 30, 10, 10}};
	static struct weir_flow_rec recs[RECS];
	static struct maps m;
	struct seen s = {};

	m.at[MAP_CTL] = &ctl;
	m.at[MAP_FLOW_RECS] = recs;
	recs[1] = rec(WEIR_REC_OPEN, 1, 5);
	recs[2] = rec(WEIR_REC_OPEN, 2, 100); /* UDP, forgotten */
	recs[3] = rec(WEIR_REC_OVER, 1, 5);
	recs[4] = rec(WEIR_REC_OVER, 1, 60);      /* forgotten */
	recs[5] = rec(WEIR_REC_SYNACK, 3, -0.01); /* a moment after now */
	recs[7] = rec(WEIR_REC_OPEN, 0, 10);

	test_begin("records of flows: who, since when; free ones and forgotten ones are left out");
	CHECK_INT(latency_flows(&m, on_flow, &s), 0);
	CHECK_INT(s.n, 4);
	CHECK_INT(s.flows[0].flow.svc, 5);
	CHECK_INT(s.flows[0].flow.family, 4);
	CHECK(s.flows[0].flow.tcp);
	CHECK_INT(s.flows[0].flow.port, htons(443));
	CHECK_INT(s.flows[0].flow.client.w[0], inet_addr("10.7.0.2"));
	CHECK_INT(s.flows[0].flow.state, WEIR_FLOW_TCP);
	CHECK(s.flows[0].flow.idle_ns / 1e9 > 4.9 && s.flows[0].flow.idle_ns / 1e9 < 5.5);
	CHECK(s.flows[0].age_ns / 1e9 > 24.9 && s.flows[0].age_ns / 1e9 < 25.5);
	CHECK_INT(s.flows[1].flow.state, WEIR_FLOW_CLOSED);
	CHECK_INT(s.flows[2].flow.state, WEIR_FLOW_SYN);
	CHECK_INT(s.flows[2].flow.family, 6);
	CHECK_INT(s.flows[2].flow.client.w[3], inet_addr("10.7.0.2"));
	CHECK_INT(s.flows[2].flow.idle_ns, 0);
	CHECK(!s.flows[3].flow.tcp);
	CHECK_INT(s.flows[3].flow.state, WEIR_FLOW_UDP);
	test_end();

	test_begin("a caller that has seen enough ends it");
	s = (struct seen){.stop_at = 2};
	CHECK_INT(latency_flows(&m, on_flow, &s), 7);
	CHECK_INT(s.n, 2);
	test_end();
}

static void test_off(void)
{
	static struct weir_ctl ctl;
	static struct maps m;
	struct weir_histogram h;
	struct seen s = {};

	m.at[MAP_CTL] = &ctl;
	test_begin("where latencies are not counted there are none");
	CHECK(!latency_on(&m));
	CHECK_INT(latency_of_service(&m, 0, 0, &h), -ENODATA);
	CHECK_INT(latency_of_backend(&m, 0, 0, &h), -ENODATA);
	CHECK_INT(latency_flows(&m, on_flow, &s), 0);
	CHECK_INT(s.n, 0);
	test_end();

	test_begin("a service, a backend and a path that cannot be");
	ctl.flow_recs = RECS;
	m.pools.latency = &h;
	CHECK_INT(latency_of_service(&m, WEIR_SERVICES_MAX, 0, &h), -EINVAL);
	CHECK_INT(latency_of_service(&m, 0, WEIR_LAT_PATHS, &h), -EINVAL);
	CHECK_INT(latency_of_backend(&m, WEIR_BACKENDS_MAX, 0, &h), -EINVAL);
	CHECK_INT(latency_of_backend(&m, 0, WEIR_BACKEND_PATHS, &h), -EINVAL);
	test_end();
}

int main(void)
{
	test_log2();
	test_bounds();
	check_quantiles("quantiles of uniform values are within the bound", draw_uniform);
	check_quantiles("quantiles of exponential values are within the bound", draw_exponential);
	check_quantiles("quantiles of lognormal values are within the bound", draw_lognormal);
	check_quantiles("quantiles of two humps are within the bound", draw_bimodal);
	check_quantiles("quantiles of one value are within the bound", draw_constant);
	check_quantiles("quantiles of a heavy tail are within the bound", draw_pareto);
	test_error();
	test_ranks();
	test_sums();
	test_words();
	test_flows();
	test_off();
	return test_done();
}
