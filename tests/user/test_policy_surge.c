/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What rate is usual: days of traffic by a clock that is simulated, and what is kept of them in a file. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy_surge.h"
#include "state_file.h"
#include "test.h"

#define DAY   86400
#define ABOVE 50

/* From 200 at four in the morning to 1800 at four in the afternoon, with some noise. */
static double daily(unsigned second)
{
	double wave = cos((second / (double)DAY - 4 / 24.0) * 2 * M_PI);
	static unsigned seed = 1;

	seed = seed * 1103515245 + 12345;
	return (1000 - 800 * wave) * (0.9 + 0.2 * ((seed >> 16 & 1023) / 1023.0));
}

/* Seconds from `from` on with `factor` times the daily rate; how many of them were a surge. */
static unsigned pass(struct surge *s, unsigned from, unsigned seconds, double factor)
{
	unsigned fired = 0;

	for (unsigned i = from; i < from + seconds; i++) {
		surge_second(s, factor * daily(i % DAY), i % DAY);
		fired += surge_now(s, ABOVE);
	}
	return fired;
}

/* How many seconds it takes until it is told; 999: longer. */
static unsigned until_told(struct surge *s, unsigned from, double factor)
{
	for (unsigned i = 1; i < 999; i++) {
		if (pass(s, from + i - 1, 1, factor))
			return i;
	}
	return 999;
}

static void same_rate(struct surge *s, unsigned from, unsigned seconds, double n)
{
	for (unsigned i = from; i < from + seconds; i++)
		surge_second(s, n, i % DAY);
}

/* A surge after three days, which is copied so that each case begins alike. */
static struct surge after_days;

static void test_days(void)
{
	struct surge s;

	surge_begin(&after_days);
	pass(&after_days, 0, DAY, 1);
	test_begin("from the second day on the daily rise is no surge, nor is noise");
	CHECK_INT(pass(&after_days, 0, DAY, 1), 0);
	CHECK_INT(pass(&after_days, 0, DAY, 1), 0);
	test_end();

	test_begin("the same curve a quarter of an hour early is no surge");
	s = after_days;
	CHECK_INT(pass(&s, 0, 600, 1), 0);
	for (unsigned i = 600; i < DAY - 900; i++) {
		surge_second(&s, daily(i + 900), i);
		if (!CHECK(!surge_now(&s, ABOVE)))
			break;
	}
	test_end();

	test_begin("twice of what is usual is told within 20 seconds at the quiet and at the busy hour");
	s = after_days;
	pass(&s, 0, 4 * 3600 + 100, 1);
	CHECK(until_told(&s, 4 * 3600 + 100, 2) <= 20);
	s = after_days;
	pass(&s, 0, 16 * 3600 + 100, 1);
	CHECK(until_told(&s, 16 * 3600 + 100, 2) <= 20);
	test_end();

	test_begin("a quarter more than usual is no surge, whatever the hour");
	s = after_days;
	CHECK_INT(pass(&s, 0, DAY, 1.25), 0);
	test_end();

	test_begin("a rate that would be a surge at night is none by day");
	s = after_days;
	pass(&s, 0, 4 * 3600, 1);
	same_rate(&s, 4 * 3600, 60, 900);
	CHECK(surge_now(&s, ABOVE));
	s = after_days;
	pass(&s, 0, 15 * 3600, 1);
	same_rate(&s, 15 * 3600, 60, 900);
	CHECK(!surge_now(&s, ABOVE));
	test_end();

	test_begin("it is over within 20 seconds, too");
	s = after_days;
	pass(&s, 0, 4 * 3600, 1);
	pass(&s, 4 * 3600, 120, 3);
	CHECK(surge_now(&s, ABOVE));
	pass(&s, 4 * 3600 + 120, 20, 1);
	CHECK(!surge_now(&s, ABOVE));
	test_end();

	test_begin("one day of three times the traffic does not become what is usual");
	s = after_days;
	pass(&s, 0, DAY, 3);
	pass(&s, 0, 3600, 1);
	CHECK(until_told(&s, 3600, 3) <= 20);
	test_end();
}

static void test_first_day(void)
{
	struct surge s;

	test_begin("before the first second, and in the first half minute, nothing is usual and nothing is a surge");
	surge_begin(&s);
	CHECK(surge_usual(&s) < 0 && !surge_now(&s, 1));
	for (int i = 0; i < 29; i++) {
		surge_second(&s, i < 15 ? 100 : 100000, 1000 + i);
		CHECK(surge_usual(&s) < 0 && !surge_now(&s, 1));
	}
	test_end();

	test_begin("then it is what the last hour had");
	surge_begin(&s);
	same_rate(&s, 0, 60, 100);
	CHECK(fabs(surge_usual(&s) - 100) < 1e-6);
	CHECK(!surge_now(&s, ABOVE));
	same_rate(&s, 60, 10, 300);
	CHECK(surge_now(&s, ABOVE));
	test_end();

	test_begin("the time before the first lookup does not count");
	surge_begin(&s);
	same_rate(&s, 0, 600, 0);
	CHECK(surge_usual(&s) < 0);
	same_rate(&s, 600, 100, 40);
	CHECK(fabs(surge_usual(&s) - 40) < 1e-6);
	CHECK(!surge_now(&s, ABOVE));
	test_end();

	test_begin("below ten lookups a second there is no surge");
	surge_begin(&s);
	same_rate(&s, 0, 600, 1);
	same_rate(&s, 600, 60, 9);
	CHECK(!surge_now(&s, ABOVE));
	same_rate(&s, 660, 60, 11);
	CHECK(surge_now(&s, ABOVE));
	test_end();

	test_begin("exactly what is allowed above is no surge");
	surge_begin(&s);
	s.slot = 0;
	s.usual[0] = 100;
	s.seen = s.age = 1000;
	s.rate = 150;
	CHECK(!surge_now(&s, ABOVE));
	s.rate = 150.001;
	CHECK(surge_now(&s, ABOVE));
	test_end();
}

static void test_clock(void)
{
	struct surge s = after_days, before;
	unsigned seed = 7, fired = 0, at = 0;

	test_begin("a clock that jumps back and forth changes nothing that is known, and is no surge");
	surge_second(&s, 150, 0); /* the last day ends */
	before = s;
	for (int i = 0; i < 20000; i++) {
		seed = seed * 1103515245 + 12345;
		at = i % 50 ? at + 1 : seed >> 3;
		surge_second(&s, 150, at);
		fired += surge_now(&s, ABOVE);
		CHECK(s.slot >= 0 && s.slot < SURGE_SLOTS);
	}
	CHECK_INT(fired, 0);
	CHECK(!memcmp(s.usual, before.usual, sizeof(s.usual)));
	test_end();

	test_begin("seconds that no day has are taken as of one");
	surge_second(&s, 150, 0xffffffff);
	CHECK(s.slot >= 0 && s.slot < SURGE_SLOTS);
	test_end();

	test_begin("midnight comes between the last quarter and the first");
	surge_begin(&s);
	same_rate(&s, DAY - 900, 900, 100);
	same_rate(&s, 0, 1, 100);
	CHECK_INT(s.usual[SURGE_SLOTS - 1], 100);
	CHECK(s.usual[0] < 0);
	test_end();

	test_begin("a third of a quarter is enough to know it, less is not");
	surge_begin(&s);
	same_rate(&s, 900 - 299, 299, 100);
	same_rate(&s, 900, 900, 50);
	same_rate(&s, 1800, 1, 50);
	CHECK(s.usual[0] < 0);
	CHECK_INT(s.usual[1], 50);
	test_end();
}

static const char *const damaged[] = {
	"", "\n", "weir-usual-1", "weir-usual-2 cache 1000 5 60 end\n", "weir-usual-1 cache 1000 5 60 end\n",
	"weir-usual-1 cache 1000 nan 60 end\n", "\x80\xff\xfe",
};

static void test_text(void)
{
	char text[SURGE_TEXT_MAX], bad[SURGE_TEXT_MAX];
	struct surge s, before;
	size_t len = surge_write(&after_days, "cache", 5000000000, text, sizeof(text));

	test_begin("what is known survives as text, to six digits");
	CHECK(len && len == strlen(text) && text[len - 1] == '\n');
	surge_begin(&s);
	CHECK(surge_read(&s, "cache", 5000000100, text));
	for (int i = 0; i < SURGE_SLOTS; i++)
		CHECK(fabs(s.usual[i] / after_days.usual[i] - 1) < 1e-5);
	CHECK(fabs(s.slow / after_days.slow - 1) < 1e-5);
	CHECK(s.age == after_days.age);
	test_end();

	test_begin("with it, a doubled rate is told ten seconds after a restart; the usual one is not");
	CHECK_INT(pass(&s, 0, 600, 1), 0);
	surge_begin(&s);
	CHECK(surge_read(&s, "cache", 5000000100, text));
	CHECK_INT(until_told(&s, 0, 2), 10);
	test_end();

	test_begin("after an hour, or with a clock that went back, the last hour's rate is not that of the last hour");
	surge_begin(&s);
	CHECK(surge_read(&s, "cache", 5000003601, text) && !s.age && s.usual[5] > 0);
	CHECK(surge_read(&s, "cache", 4999999999, text) && !s.age && s.usual[5] > 0);
	test_end();

	test_begin("a day of which little is known, too");
	surge_begin(&s);
	same_rate(&s, 0, 1000, 100);
	CHECK(surge_write(&s, "cache", 1, text, sizeof(text)));
	surge_begin(&before);
	CHECK(surge_read(&before, "cache", 2, text) && before.usual[0] == 100 && before.usual[1] < 0);
	test_end();

	test_begin("another service's is not taken, nor what is damaged: nothing changes then");
	surge_begin(&before);
	surge_begin(&s);
	CHECK(!surge_read(&s, "sessions", 2, text));
	for (size_t i = 0; i < sizeof(damaged) / sizeof(*damaged); i++)
		CHECK(!surge_read(&s, "cache", 2, damaged[i]));
	for (size_t cut = 0; cut + 1 < strlen(text); cut++) { /* all but its newline */
		memcpy(bad, text, cut);
		bad[cut] = 0;
		CHECK(!surge_read(&s, "cache", 2, bad));
	}
	CHECK(!memcmp(&s, &before, sizeof(s)));
	test_end();

	test_begin("numbers that are none of a rate are damage");
	for (const char *const *w = (const char *const[]){ "nan", "inf", "-5", "0x10", "1e13", "1e999", NULL }; *w; w++) {
		char *end = strstr(text, " end");

		snprintf(bad, sizeof(bad), "%.*s", (int)(end - text), text);
		*strrchr(bad, ' ') = 0;
		snprintf(bad + strlen(bad), 64, " %s end\n", *w);
		if (!CHECK(!surge_read(&s, "cache", 2, bad)))
			printf("# %s was taken\n", *w);
	}
	test_end();

	test_begin("the largest numbers have room; where there is none, nothing is written");
	surge_begin(&s);
	for (int i = 0; i < SURGE_SLOTS; i++)
		s.usual[i] = 1.23456e-300;
	CHECK(surge_write(&s, "a-name-of-31-bytes-aaaaaaaaaaaaa", ~0ULL, text, sizeof(text)));
	CHECK(!surge_write(&s, "cache", 1, text, 200));
	CHECK(!surge_write(&s, "cache", 1, text, 10));
	test_end();
}

static void test_file(void)
{
	char dir[] = "/tmp/weir-test-XXXXXX", path[64], other[64], text[64];

	test_begin("a file is written in one step and read whole");
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/usual", dir);
	snprintf(other, sizeof(other), "%s/usual.tmp", dir);
	CHECK_INT(state_read(path, text, sizeof(text)), -ENOENT);
	CHECK_INT(state_write(path, "one\n", 4), 0);
	CHECK_INT(state_write(path, "two\n", 4), 0);
	CHECK_INT(state_read(path, text, sizeof(text)), 0);
	CHECK_STR(text, "two\n");
	CHECK(access(other, F_OK));
	test_end();

	test_begin("one that is too long, a link and a directory are refused");
	CHECK_INT(state_read(path, text, 4), -EFBIG);
	CHECK_INT(state_read(path, text, 5), 0);
	CHECK_INT(state_read(dir, text, sizeof(text)), -EISDIR);
	CHECK(!symlink("/dev/zero", other));
	CHECK_INT(state_read(other, text, sizeof(text)), -ELOOP);
	CHECK_INT(state_write(path, "three\n", 6), -ELOOP);
	CHECK_INT(state_read(path, text, sizeof(text)), 0);
	CHECK_STR(text, "two\n");
	unlink(other);
	unlink(path);
	CHECK_INT(rmdir(dir), 0);
	CHECK_INT(state_write(path, "four\n", 5), -ENOENT);
	test_end();
}

int main(void)
{
	test_days();
	test_first_day();
	test_clock();
	test_text();
	test_file();
	return test_done();
}
