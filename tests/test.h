/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A test program prints TAP (testanything.org): one line a test, the failures' details as comments
 * before it. Assertions print both sides, return whether they held, and let the test go on.
 *
 *	test_begin("a key of 251 bytes is refused");
 *	CHECK_INT(hotset_put(h, &item), -EINVAL);
 *	test_end();
 *	return test_done();
 */
#ifndef WEIR_TEST_H
#define WEIR_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int test_count, test_failures;
static const char *test_name;
static bool test_bad;

static inline void test_begin(const char *sentence)
{
	test_name = sentence;
	test_bad = false;
}

static inline void test_end(void)
{
	printf("%sok %d - %s\n", test_bad ? "not " : "", ++test_count, test_name);
	fflush(stdout);
	test_failures += test_bad;
}

static inline void test_skip(const char *sentence, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++test_count, sentence, why);
	fflush(stdout);
}

static inline int test_done(void)
{
	printf("1..%d\n", test_count);
	return test_failures ? 1 : 0;
}

static inline bool test_check(bool held, const char *file, int line, const char *what)
{
	if (!held) {
		test_bad = true;
		printf("# %s:%d: does not hold: %s\n", file, line, what);
	}
	return held;
}

static inline bool test_int(long long got, long long want, const char *file, int line, const char *what)
{
	if (got != want) {
		test_bad = true;
		printf("# %s:%d: %s: got %lld, wanted %lld\n", file, line, what, got, want);
	}
	return got == want;
}

static inline void test_dump(const char *label, const void *p, size_t len)
{
	const unsigned char *b = p;

	printf("#   %-6s (%zu bytes)", label, len);
	for (size_t i = 0; i < len; i++)
		printf(i % 32 ? " %02x" : "\n#     %02x", b[i]);
	printf("\n");
}

static inline bool test_mem(const void *got, size_t got_len, const void *want, size_t want_len, const char *file,
			    int line, const char *what)
{
	if (got_len == want_len && !memcmp(got, want, want_len))
		return true;
	test_bad = true;
	printf("# %s:%d: %s differs\n", file, line, what);
	test_dump("got", got, got_len);
	test_dump("wanted", want, want_len);
	return false;
}

static inline bool test_str(const char *got, const char *want, const char *file, int line, const char *what)
{
	if (got && want && !strcmp(got, want))
		return true;
	test_bad = true;
	printf("# %s:%d: %s: got \"%s\", wanted \"%s\"\n", file, line, what, got ? got : "(null)",
	       want ? want : "(null)");
	return false;
}

#define CHECK(cond) test_check(cond, __FILE__, __LINE__, #cond)
#define CHECK_INT(got, want) test_int(got, want, __FILE__, __LINE__, #got)
#define CHECK_STR(got, want) test_str(got, want, __FILE__, __LINE__, #got)
#define CHECK_MEM(got, got_len, want, want_len) test_mem(got, got_len, want, want_len, __FILE__, __LINE__, #got)

#endif
