// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The sketch against exact counts: its bounds, its window, its memory, and streams that mean it ill. */
#include <math.h>
#include <stdlib.h>

#include "hotset.h"
#include "sketch.h"
#include "test.h"

#define S        1000000000ULL
#define KEYS_MAX (1 << 18)

static __u64 seed = 42;

static __u64 random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static size_t key_of(char *key, unsigned n)
{
	return sprintf(key, "key:%u", n);
}

static __u64 hash_of(const char *key, size_t len)
{
	return hot_hash(7, 0, key, len);
}

static __u64 add(struct sketch *s, unsigned n, __u64 now)
{
	char key[32];
	size_t len = key_of(key, n);

	return sketch_add(s, hash_of(key, len), key, len, now);
}

static struct sketch_count count(struct sketch *s, unsigned n, __u64 now)
{
	struct sketch_count c;
	char key[32];
	size_t len = key_of(key, n);

	sketch_find(s, hash_of(key, len), key, len, now, &c);
	return c;
}

/* ---- Zipf ------------------------------------------------------------------------------------- */

static double *zipf_new(unsigned n, double s)
{
	double *cdf = malloc(n * sizeof(*cdf)), sum = 0;

	for (unsigned i = 0; i < n; i++)
		cdf[i] = sum += pow(i + 1, -s);
	for (unsigned i = 0; i < n; i++)
		cdf[i] /= sum;
	return cdf;
}

static unsigned zipf(const double *cdf, unsigned n)
{
	double u = (random64() >> 11) * 0x1p-53;
	unsigned low = 0, high = n - 1;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (cdf[mid] < u)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- exact where there is room ---------------------------------------------------------------- */

static void test_exact(void)
{
	static unsigned true_n[1000];
	double *cdf = zipf_new(1000, 0.99);
	struct sketch *s;

	test_begin("as long as there are counters for all keys, counts are exact");
	CHECK_INT(sketch_new(&s, 1024, 800 * S, 0), 0);
	for (unsigned i = 0; i < 100000; i++) {
		unsigned k = zipf(cdf, 1000);

		true_n[k]++;
		if (add(s, k, i * (700 * S / 100000)) != true_n[k])
			test_bad = true;
	}
	for (unsigned k = 0; k < 1000; k++) {
		struct sketch_count c = count(s, k, 700 * S);

		if (!CHECK_INT(c.n, true_n[k]) || !CHECK_INT(c.over, 0))
			break;
	}
	sketch_free(s);
	free(cdf);
	test_end();
}

/* ---- the bound -------------------------------------------------------------------------------- */

static unsigned *true_counts;

static int by_true(const void *a, const void *b)
{
	unsigned x = true_counts[*(const unsigned *)a], y = true_counts[*(const unsigned *)b];

	return (x < y) - (x > y);
}

struct ranking {
	unsigned n[KEYS_MAX], keys[KEYS_MAX], used;
};

static void rank_key(const char *key, size_t len, __u64 hash, __u64 n, void *arg)
{
	struct ranking *r = arg;
	char text[32] = "";

	memcpy(text, key, len);
	r->keys[r->used] = atoi(text + 4);
	r->n[r->used++] = n;
}

static struct ranking ranking;

static int by_counted(const void *a, const void *b)
{
	unsigned x = ranking.n[*(const unsigned *)a], y = ranking.n[*(const unsigned *)b];

	return (x < y) - (x > y);
}

/* How many of the true top stand in the sketch's top. */
static unsigned found_of_top(struct sketch *s, unsigned nkeys, unsigned top, __u64 now)
{
	unsigned *order = malloc(KEYS_MAX * sizeof(*order)), found = 0;
	static bool is_top[KEYS_MAX];

	memset(is_top, 0, sizeof(is_top));
	for (unsigned i = 0; i < nkeys; i++)
		order[i] = i;
	qsort(order, nkeys, sizeof(*order), by_true);
	for (unsigned i = 0; i < top; i++)
		is_top[order[i]] = true;
	ranking.used = 0;
	sketch_each(s, now, rank_key, &ranking);
	for (unsigned i = 0; i < ranking.used; i++)
		order[i] = i;
	qsort(order, ranking.used, sizeof(*order), by_counted);
	for (unsigned i = 0; i < top && i < ranking.used; i++)
		found += is_top[ranking.keys[order[i]]];
	free(order);
	return found;
}

static void test_zipf(double skew, unsigned counters, unsigned top, unsigned want)
{
	unsigned n = 1000000, nkeys = 200000, outside = 0;
	double *cdf = zipf_new(nkeys, skew);
	__u64 now = 0, over = 0;
	struct sketch *s;
	char says[160];

	snprintf(says, sizeof(says),
		 "Zipf %.2f, %u keys, %u counters: counts are within their bounds; %u of the top %u", skew,
		 nkeys, counters, want, top);
	test_begin(says);
	true_counts = calloc(nkeys, sizeof(*true_counts));
	CHECK_INT(sketch_new(&s, counters, 80 * S, 0), 0);
	for (unsigned i = 0; i < n; i++) { /* seven panes: all is inside the window */
		unsigned k = zipf(cdf, nkeys);

		now = i * (70 * S / n);
		true_counts[k]++;
		add(s, k, now);
	}
	for (unsigned k = 0; k < nkeys; k++) {
		struct sketch_count c = count(s, k, now);

		outside += c.n > true_counts[k] || c.n + c.over < true_counts[k];
		over = c.over > over ? c.over : over;
	}
	CHECK_INT(outside, 0);
	CHECK(over <= n / counters + 100); /* and what the doorkeeper adds */
	printf("#   the largest bound is %llu, n / counters %u; found %u\n", over, n / counters,
	       found_of_top(s, nkeys, top, now));
	CHECK(found_of_top(s, nkeys, top, now) >= want);
	sketch_free(s);
	free(true_counts);
	free(cdf);
	test_end();
}

/* ---- the window ------------------------------------------------------------------------------- */

static void test_window(void)
{
	struct sketch *s;
	double worst = 0;

	test_begin("a steady key counts what came within the window, to 1%, at any moment");
	CHECK_INT(sketch_new(&s, 64, 80 * S, 0), 0);
	for (__u64 ms = 0; ms < 400000; ms += 10) { /* 100 a second */
		add(s, 1, ms * 1000000);
		if (ms >= 90000) {
			double off = fabs((double)count(s, 1, ms * 1000000).n / 8000 - 1);

			worst = off > worst ? off : worst;
		}
	}
	printf("#   off by %.3f%% at most\n", worst * 100);
	CHECK(worst <= 0.01);
	test_end();

	test_begin("what came longer ago than the window is no longer there");
	CHECK(count(s, 1, 401 * S).n > 0);
	CHECK(count(s, 1, 479 * S).n <= 1000);
	CHECK_INT(count(s, 1, 495 * S).n, 0);
	sketch_free(s);
	test_end();

	test_begin("a burst counts in full for seven eighths of the window, and is gone after nine");
	CHECK_INT(sketch_new(&s, 64, 80 * S, 0), 0);
	for (int i = 0; i < 100; i++)
		add(s, 2, 1005 * S);
	CHECK_INT(count(s, 2, 1005 * S).n, 100);
	CHECK_INT(count(s, 2, 1005 * S + 70 * S).n, 100);
	CHECK(count(s, 2, 1085 * S).n <= 50);
	CHECK_INT(count(s, 2, 1005 * S + 90 * S).n, 0);
	test_end();

	test_begin("a pause of many windows forgets all");
	add(s, 3, 1200 * S);
	add(s, 4, 1000000 * S);
	CHECK_INT(count(s, 3, 1000000 * S).n, 0);
	CHECK_INT(count(s, 4, 1000000 * S).n, 1);
	sketch_free(s);
	test_end();
}

/* ---- streams that mean it ill ----------------------------------------------------------------- */

static void test_scan(void)
{
	struct sketch_usage u;
	unsigned kept = 0;
	struct sketch *s;

	test_begin("a scan of keys that come once does not drive out those that come again");
	CHECK_INT(sketch_new(&s, 1024, 80 * S, 0), 0);
	for (unsigned i = 0; i < 3000000; i++) {
		add(s, 1000 + i, i * 20000ULL); /* 50,000 a second, for a minute */
		if (i % 30 == 0)
			add(s, i / 30 % 200, i * 20000ULL); /* 200 keys, eight times a second */
	}
	for (unsigned k = 0; k < 200; k++) {
		struct sketch_count c = count(s, k, 60 * S);

		kept += c.n <= 500 && c.n + c.over >= 500 && c.n >= 450;
	}
	CHECK_INT(kept, 200);
	sketch_usage(s, &u);
	printf("#   %llu of %llu kept out, the least counter %u\n", u.kept_out, u.seen, u.least);
	CHECK(u.kept_out > u.seen * 8 / 10);
	CHECK(u.least < 300);
	sketch_free(s);
	test_end();
}

static void test_kept_out(void)
{
	struct sketch *s;

	test_begin("what the doorkeeper keeps out is in the bound from the first on");
	CHECK_INT(sketch_new(&s, 64, 80 * S, 0), 0);
	for (unsigned i = 0; i < 64; i++)
		add(s, i, S);
	CHECK_INT(count(s, 100, S).over, 0);
	add(s, 100, S);
	CHECK_INT(count(s, 100, S).n, 0);
	CHECK(count(s, 100, S).over >= 1);
	sketch_free(s);
	test_end();
}

static void test_memory(void)
{
	struct sketch_usage u;
	struct sketch *s;
	__u32 keys = 0;
	__u64 bytes = 0;

	test_begin("whatever comes, no more than four times as many keys as counters are stored");
	CHECK_INT(sketch_new(&s, 256, 80 * S, 0), 0);
	for (unsigned i = 0; i < 2000000; i++) { /* each comes twice: past the doorkeeper */
		add(s, i / 2, i * 100000ULL);
		sketch_usage(s, &u);
		keys = u.keys > keys ? u.keys : keys;
		bytes = u.bytes > bytes ? u.bytes : bytes;
	}
	printf("#   %u keys, %llu bytes at most\n", keys, bytes);
	CHECK(keys <= 4 * 256);
	CHECK(bytes < 1 << 20);
	sketch_free(s);
	test_end();
}

static void test_keys(void)
{
	char longest[255] = "l", zero[] = "a\0b";
	struct sketch_count c;
	struct sketch *s;

	test_begin("keys are told apart by all their bytes, also where their hashes are the same");
	CHECK_INT(sketch_new(&s, 64, 80 * S, 0), 0);
	CHECK_INT(sketch_add(s, 5, "a", 1, S), 1);
	CHECK_INT(sketch_add(s, 5, "b", 1, S), 1);
	CHECK_INT(sketch_add(s, 5, zero, 3, S), 1);
	CHECK_INT(sketch_add(s, 5, zero, 2, S), 1);
	CHECK_INT(sketch_add(s, 5, longest, 255, S), 1);
	CHECK_INT(sketch_add(s, 5, "b", 1, S), 2);
	CHECK(sketch_find(s, 5, zero, 3, S, &c));
	CHECK_INT(c.n, 1);
	CHECK(!sketch_find(s, 5, "c", 1, S, &c));
	CHECK_INT(c.n, 0);
	sketch_free(s);
	test_end();
}

/* Keys that come and go, all with one tag, so that they stand in each other's way. */
static void test_churn(void)
{
	struct sketch_usage u;
	struct sketch *s;
	bool held = true;

	test_begin("keys with clashing hashes are found again after others went");
	CHECK_INT(sketch_new(&s, 128, 80 * S, 0), 0);
	for (__u64 i = 0; i < 200000; i++) {
		__u64 hash = (i % 40 < 20 ? 0x7ULL : i % 1024) << 32 | (i % 500);
		char key[32];
		size_t len = key_of(key, i % 500);

		sketch_add(s, hash, key, len, i * 1000000);
		held &= sketch_find(s, hash, key, len, i * 1000000, &(struct sketch_count){}) || i >= 128;
	}
	CHECK(held);
	sketch_usage(s, &u);
	CHECK(u.keys <= 512 && u.used <= 128);
	sketch_free(s);
	test_end();
}

int main(void)
{
	test_exact();
	test_zipf(0.99, 8192, 1000, 980);
	test_zipf(1.2, 8192, 1000, 990);
	test_zipf(0.8, 8192, 1000, 900);
	test_zipf(0.99, 1024, 100, 98);
	test_window();
	test_scan();
	test_kept_out();
	test_memory();
	test_keys();
	test_churn();
	return test_done();
}
