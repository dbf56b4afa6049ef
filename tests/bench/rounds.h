/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Samples of weir_rx under the driver program: BPF_PROG_TEST_RUN of driver.bpf.c, which puts the packet back
 * before each repeat and tail-calls weir_rx, or an empty program. The two take turns; a sample is a run
 * of weir_rx less the mean of the empty runs before and after it.
 */
#ifndef WEIR_BENCH_ROUNDS_H
#define WEIR_BENCH_ROUNDS_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "driver.skel.h"
#include "report.h"
#include "rx_fixture.h"

#define ROUNDS_MIN 3  /* also when they take longer than a row may */
#define TURNS	   16 /* of each program in a round */

/* weir_rx with its maps, and a driver that fits it. */
struct subject {
	struct rx_fixture *fx;
	struct driver *driver;
	struct bench_state *states;
};

static unsigned rounds = 9, repeats = 1 << 20, row_seconds = 6, first_cpu;

static int set_slot(struct driver *d, __u32 slot, const struct bpf_program *prog)
{
	int fd = bpf_program__fd(prog);

	return bpf_map_update_elem(bpf_map__fd(d->maps.bench_progs), &slot, &fd, BPF_ANY) ? -errno : 0;
}

/* Programs that tail-call each other must agree on what the verifier assumed for them. */
static int open_driver(struct driver **out, const struct bpf_program *subject)
{
	struct driver *d = driver__open();
	struct bpf_program *progs[2];
	int err;

	if (!d)
		return -errno;
	*out = d;
	progs[0] = d->progs.bench_driver;
	progs[1] = d->progs.bench_empty;
	for (int i = 0; i < 2; i++) {
		bpf_program__set_flags(progs[i], bpf_program__flags(subject) & BPF_F_XDP_HAS_FRAGS);
		bpf_program__set_expected_attach_type(progs[i], bpf_program__expected_attach_type(subject));
	}
	err = driver__load(d);
	err = err ?: set_slot(d, BENCH_EMPTY, progs[1]);
	return err ?: set_slot(d, BENCH_SUBJECT, subject);
}

static size_t states_size(void)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (sizeof(struct bench_state) * BENCH_CPUS + page - 1) & ~(page - 1);
}

/* The driver for a fixture that is open. */
static int add_driver(struct subject *s)
{
	int err = open_driver(&s->driver, rx_fixture_prog(s->fx));
	void *map;

	if (err)
		return err;
	map = mmap(NULL, states_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		   bpf_map__fd(s->driver->maps.bench_state), 0);
	if (map == MAP_FAILED)
		return -errno;
	s->states = map;
	return 0;
}

static void close_subject(struct subject *s)
{
	if (s->states)
		munmap(s->states, states_size());
	driver__destroy(s->driver);
	if (s->fx)
		rx_fixture_close(s->fx);
	memset(s, 0, sizeof(*s));
}

/* ---- runs ----------------------------------------------------------------------------------- */

static double thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* One worker: a thread pinned to a CPU. With a barrier its runs start together with another's. */
struct worker {
	const struct subject *subject;
	pthread_barrier_t *barrier;
	unsigned cpu;
	struct samples together, alone;
	unsigned turn; /* repeats */
	__u64 packets; /* sent through the subject */
	time_t deadline;
	volatile bool *stop; /* all workers' */
	int err;
};

static int pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return -pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* ns of CPU time for one of n repeats. */
static double run(struct worker *w, enum bench_slot slot, unsigned n)
{
	struct bench_state *s = &w->subject->states[w->cpu];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = s->frame, .data_size_in = s->len, .repeat = n);
	double start;

	s->home = 0;
	s->slot = slot;
	w->packets += slot == BENCH_SUBJECT ? n : 0;
	start = thread_ns();
	if (bpf_prog_test_run_opts(bpf_program__fd(w->subject->driver->progs.bench_driver), &o))
		w->err = -errno;
	if (s->errors)
		w->err = -EIO;
	return (thread_ns() - start) / n;
}

static void meet(pthread_barrier_t *barrier)
{
	if (barrier)
		pthread_barrier_wait(barrier);
}

/*
 * A round is `repeats` of either program, in short turns, so that a change of the clock or of a
 * neighbour's load meets both. Its sample is the median turn.
 */
static void round_once(struct worker *w, struct samples *out, pthread_barrier_t *barrier)
{
	struct samples turns = {.n = 0};
	double before = run(w, BENCH_EMPTY, w->turn), subject, after;

	for (int i = 0; i < TURNS; i++) {
		meet(barrier);
		subject = run(w, BENCH_SUBJECT, w->turn);
		meet(barrier);
		after = run(w, BENCH_EMPTY, w->turn);
		samples_add(&turns, subject - (before + after) / 2);
		before = after;
	}
	samples_add(out, samples_median(&turns));
}

/* The same of what one subject costs more than another. */
static __attribute__((unused)) void round_between(struct worker *more, struct worker *less, struct samples *out)
{
	struct samples turns = {.n = 0};
	double before = run(less, BENCH_SUBJECT, less->turn), more_ns, after;

	for (int i = 0; i < TURNS; i++) {
		more_ns = run(more, BENCH_SUBJECT, more->turn);
		after = run(less, BENCH_SUBJECT, less->turn);
		samples_add(&turns, more_ns - (before + after) / 2);
		before = after;
	}
	samples_add(out, samples_median(&turns));
}

static void *work(void *arg)
{
	struct worker *w = arg;

	w->err = pin(w->cpu);
	run(w, BENCH_SUBJECT, w->turn * TURNS / 4); /* warms caches and the clock up */
	for (unsigned i = 0; i < rounds && !*w->stop; i++) {
		round_once(w, &w->together, w->barrier);
		meet(w->barrier);
		/* One CPU alone while the other waits: the ratio is taken within a round. */
		if (w->barrier && w->cpu == first_cpu)
			round_once(w, &w->alone, NULL);
		if (w->cpu == first_cpu)
			*w->stop = i + 1 >= ROUNDS_MIN && time(NULL) >= w->deadline;
		meet(w->barrier);
	}
	return NULL;
}

static __attribute__((unused)) int run_workers(struct worker *w, int n)
{
	pthread_barrier_t barrier;
	pthread_t threads[2];
	volatile bool stop = false;
	int err = 0;

	pthread_barrier_init(&barrier, NULL, n);
	for (int i = 0; i < n; i++) {
		w[i].barrier = n > 1 ? &barrier : NULL;
		w[i].stop = &stop;
		w[i].deadline = time(NULL) + row_seconds;
		if (pthread_create(&threads[i], NULL, work, &w[i]))
			exit(1);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		err = err ?: w[i].err;
	}
	pthread_barrier_destroy(&barrier);
	return err;
}

/* ---- the command line ----------------------------------------------------------------------- */

static bool selected(const char *name, char **prefixes)
{
	if (!*prefixes)
		return true;
	for (; *prefixes; prefixes++)
		if (!strncmp(name, *prefixes, strlen(*prefixes)))
			return true;
	return false;
}

/* Reads the options and pins this thread; the file for results, or NULL. Row prefixes begin at optind. Ends the
 * program when something is wrong. */
static FILE *bench_options(const char *name, int argc, char **argv)
{
	FILE *json = NULL;
	int c, err;

	while ((c = getopt(argc, argv, "r:n:s:c:o:")) != -1) {
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'n')
			repeats = atoi(optarg);
		else if (c == 's')
			row_seconds = atoi(optarg);
		else if (c == 'c')
			first_cpu = atoi(optarg);
		else if (c == 'o')
			json = fopen(optarg, "w");
		if (c == 'o' && !json)
			perror(optarg), exit(1);
		if (c == '?')
			rounds = 0;
	}
	if (!rounds || rounds > REPORT_RUNS_MAX || repeats < 1000 || first_cpu > 1) {
		fprintf(stderr, "usage: %s [-r ROUNDS] [-n REPEATS] [-s ROW_SECONDS] [-c FIRST_CPU] [-o JSON_LINES] "
				"[ROW-PREFIX...]\n", name);
		exit(2);
	}
	err = pin(first_cpu);
	if (err) {
		fprintf(stderr, "CPU %u: %s\n", first_cpu, strerror(-err));
		exit(1);
	}
	return json;
}

#endif
