// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Reading the rings of sampled misses: whole, in order, once; lost ones counted; while a writer is at work. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "samples.h"
#include "test.h"
#include "weir/limits.h"
#include "weir/reason.h"

#define CPUS 2

static struct weir_sample rings[CPUS * WEIR_SAMPLES];

/* As the program writes them. */
static void write_sample(unsigned cpu, unsigned svc, const char *key, size_t len)
{
	struct weir_sample *ring = &rings[cpu * WEIR_SAMPLES], *s;
	__u64 n = ring->head + 1;

	s = &ring[weir_sample_at(n)];
	__atomic_store_n(&s->seq, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(s->key, key, len);
	s->key_len = len;
	s->svc = svc;
	s->reason = WEIR_R_MISS;
	__atomic_store_n(&s->seq, n, __ATOMIC_RELEASE);
	__atomic_store_n(&ring->head, n, __ATOMIC_RELEASE);
}

static void write_number(unsigned cpu, unsigned n)
{
	char key[32];

	write_sample(cpu, cpu, key, sprintf(key, "%u", n));
}

static struct {
	unsigned calls, last[CPUS], disorder, torn;
	char key[256];
	size_t len;
	bool stop;
} got;
static struct samples *s;

static void on_sample(__u8 svc, const char *key, size_t len, __u8 reason, void *arg)
{
	char text[256] = "";
	unsigned n;

	got.calls++;
	memcpy(text, key, len);
	memcpy(got.key, key, len);
	got.len = len;
	n = atoi(text);
	if (svc < CPUS) {
		got.disorder += n <= got.last[svc];
		got.last[svc] = n;
	}
	got.torn += reason != WEIR_R_MISS || arg != &got;
	if (got.stop)
		samples_stop(s);
}

static void begin(void)
{
	memset(&got, 0, sizeof(got));
	CHECK_INT(samples_begin(s, rings, CPUS), 0);
}

static void test_reading(void)
{
	struct samples_counts before;

	test_begin("what was written before is not read");
	write_number(0, 1);
	begin();
	CHECK_INT(samples_poll(s), 0);
	test_end();

	test_begin("samples of all CPUs are read once, in order");
	for (unsigned i = 1; i <= 1000; i++) {
		write_number(0, i);
		write_number(1, i);
	}
	CHECK_INT(samples_poll(s), 2000);
	CHECK_INT(samples_poll(s), 0);
	CHECK_INT(got.calls, 2000);
	CHECK_INT(got.disorder, 0);
	CHECK_INT(samples_counts(s)->lost, 0);
	test_end();

	test_begin("a full ring is read whole");
	begin();
	for (unsigned i = 1; i <= WEIR_SAMPLES; i++)
		write_number(0, i);
	CHECK_INT(samples_poll(s), WEIR_SAMPLES);
	CHECK_INT(samples_counts(s)->lost, 0);
	test_end();

	test_begin("what was written over is counted as lost, the rest is read");
	begin();
	before = *samples_counts(s);
	for (unsigned i = 1; i <= 3 * WEIR_SAMPLES + 17; i++)
		write_number(1, i);
	CHECK_INT(samples_poll(s), WEIR_SAMPLES);
	CHECK_INT(samples_counts(s)->lost - before.lost, 2 * WEIR_SAMPLES + 17);
	CHECK_INT(samples_counts(s)->read - before.read, WEIR_SAMPLES);
	CHECK_INT(got.last[1], 3 * WEIR_SAMPLES + 17);
	CHECK_INT(got.disorder, 0);
	test_end();

	test_begin("the callback may stop the reading");
	begin();
	got.stop = true;
	write_number(0, 1);
	write_number(0, 2);
	samples_poll(s);
	CHECK_INT(got.calls, 1);
	test_end();
}

static void test_lies(void)
{
	struct weir_sample *w;
	__u64 lost;

	test_begin("a sample that is being written is lost; what is no key is given to nobody");
	begin();
	lost = samples_counts(s)->lost;
	write_number(0, 7);
	rings[weir_sample_at(rings[0].head)].seq = 0;
	CHECK_INT(samples_poll(s), 1);
	write_sample(0, WEIR_SERVICES_MAX, "key", 3);
	CHECK_INT(samples_poll(s), 1);
	write_sample(0, 0, "", 0);
	CHECK_INT(samples_poll(s), 1);
	write_sample(0, 0, "a b", 3);
	CHECK_INT(samples_poll(s), 1);
	write_sample(0, 0, "key", 3);
	w = &rings[weir_sample_at(rings[0].head)];
	w->key_len = 251;
	CHECK_INT(samples_poll(s), 1);
	CHECK_INT(got.calls, 0);
	CHECK_INT(samples_counts(s)->lost - lost, 1);
	CHECK_INT(samples_counts(s)->unfit, 4);
	test_end();

	test_begin("the longest key comes whole");
	{
		char longest[WEIR_KEY_MAX];

		memset(longest, 'k', sizeof(longest));
		write_sample(0, 9, longest, sizeof(longest));
		CHECK_INT(samples_poll(s), 1);
		CHECK_MEM(got.key, got.len, longest, sizeof(longest));
	}
	test_end();
}

static volatile bool done;

static void *write_fast(void *arg)
{
	for (unsigned i = 1; !done; i++) {
		char key[200];

		/* Long, and of one letter: a torn copy has two. */
		memset(key, 'a' + i % 26, sizeof(key));
		write_sample(0, 9, key, sizeof(key));
	}
	return NULL;
}

static unsigned torn;

static void on_long(__u8 svc, const char *key, size_t len, __u8 reason, void *arg)
{
	got.calls++;
	for (size_t i = 1; i < len; i++)
		torn += key[i] != key[0];
}

static void test_beside_writer(sd_event *event)
{
	pthread_t thread;
	__u64 first, all;
	time_t end = time(NULL) + 2;

	test_begin("beside a writer that is too fast no torn sample is taken, and the sums are right");
	samples_free(s);
	CHECK_INT(samples_new(&s, event, on_long, NULL), 0);
	memset(&got, 0, sizeof(got));
	CHECK_INT(samples_begin(s, rings, CPUS), 0);
	first = rings[0].head;
	pthread_create(&thread, NULL, write_fast, NULL);
	while (time(NULL) < end)
		samples_poll(s);
	done = true;
	pthread_join(thread, NULL);
	samples_poll(s);
	all = rings[0].head - first;
	CHECK_INT(torn, 0);
	CHECK(got.calls > 0);
	CHECK_INT(samples_counts(s)->read + samples_counts(s)->lost, all);
	printf("#   %llu written, %llu lost\n", all, samples_counts(s)->lost);
	test_end();
}

static void run_loop(sd_event *event, unsigned ms)
{
	struct timespec t;
	double end;

	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec + t.tv_nsec / 1e9 + ms / 1e3;
	do {
		sd_event_run(event, 1000);
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec + t.tv_nsec / 1e9 < end);
}

static void test_pace(sd_event *event)
{
	test_begin("the loop looks seldom while nothing comes, and soon again while much does");
	begin();
	run_loop(event, 1500);
	CHECK_INT(samples_counts(s)->poll_ms, 200);
	for (int k = 0; k < 60; k++) {
		for (unsigned i = 1; i <= WEIR_SAMPLES / 4; i++)
			write_number(0, i);
		run_loop(event, 25);
	}
	CHECK(samples_counts(s)->poll_ms <= 25);
	CHECK(got.calls > 50 * WEIR_SAMPLES / 4);
	samples_stop(s);
	got.calls = 0;
	write_number(0, 1);
	run_loop(event, 300);
	CHECK_INT(got.calls, 0);
	test_end();
}

int main(void)
{
	sd_event *event;

	if (sd_event_new(&event) < 0 || samples_new(&s, event, on_sample, &got))
		return 1;
	test_reading();
	test_lies();
	test_pace(event);
	test_beside_writer(event);
	samples_free(s);
	sd_event_unref(event);
	return test_done();
}
