/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What promotion costs the agent for one sampled miss: from the ring through the hash, the sketch and the
 * decision. Rings are filled, which is not timed, and read, which is, in turns, until each row's stream has
 * passed. `core` is the part of a core that 200,000 samples a second take.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admit.h"
#include "hotset.h"
#include "report.h"
#define samples miss_samples /* report.h has a struct of this name, of other samples */
#include "samples.h"
#undef samples
#include "weir/reason.h"

#define RINGS    4
#define PER_S    200000
#define TURN     (RINGS * WEIR_SAMPLES / 2)
#define WINDOW_S 60
#define PRIMES   (WINDOW_S * PER_S / TURN) /* turns that fill the window, untimed */

struct row {
	const char *name;
	unsigned keys; /* 0: each comes once */
	double skew;
	unsigned top, key_len;
};

static const struct row rows[] = {
	{"promote/zipf0.99/10M", 10000000, 0.99, 1000, 32},
	{"promote/zipf1.2/10M", 10000000, 1.2, 1000, 32},
	{"promote/zipf0.99/10M/top100k", 10000000, 0.99, 100000, 32},
	{"promote/uniform/10M", 10000000, 0, 1000, 32},
	{"promote/once", 0, 0, 1000, 32},
	{"promote/zipf0.99/10M/k200", 10000000, 0.99, 1000, 200},
};

static struct weir_sample rings[RINGS * WEIR_SAMPLES];
static struct admit *admit;
static __u64 now_ns, random_state = 88172645463325252ULL, drops;
static unsigned asked;
static char asked_keys[1024][256];
static size_t asked_len[1024];

static double random01(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) * 0x1p-53;
}

/* By the inverse of the continuous law: close enough for what is counted here. */
static __u64 next_key(const struct row *r)
{
	static __u64 once;
	double u = random01(), e = 1 - r->skew;

	if (!r->keys)
		return ++once;
	if (!r->skew)
		return u * r->keys;
	return pow(u * (pow(r->keys, e) - 1) + 1, 1 / e) - 1;
}

/* Numbers as hashes: keys that are near in rank are not alike. */
static void write_sample(unsigned ring, const struct row *r)
{
	struct weir_sample *at = &rings[ring * WEIR_SAMPLES], *s;
	__u64 n = ++at->head;

	s = &at[weir_sample_at(n)];
	memset(s->key, 'k', r->key_len);
	snprintf((char *)s->key, 24, "key:%016llx", next_key(r) * 0x9e3779b97f4a7c15ULL);
	s->key[20] = 'k';
	s->key_len = r->key_len;
	s->svc = 0;
	s->reason = WEIR_R_MISS;
	s->seq = n;
}

static int on_ask(__u8 svc, const char *key, size_t len, void *arg)
{
	if (asked == 1024)
		return -EAGAIN;
	memcpy(asked_keys[asked], key, len);
	asked_len[asked++] = len;
	return 0;
}

static int on_drop(__u8 svc, const char *key, size_t len, void *arg)
{
	drops++;
	return 0;
}

static void on_sample(__u8 svc, const char *key, size_t len, __u8 reason, void *arg)
{
	admit_sample(admit, hot_hash(1, svc, key, len), key, len, now_ns);
}

/* They come in. Their misses go on all the same: that is more work than there would be. */
static void answer(void)
{
	for (unsigned i = 0; i < asked; i++)
		admit_result(admit, hot_hash(1, 0, asked_keys[i], asked_len[i]), asked_keys[i], asked_len[i],
			     FILL_ADDED, now_ns);
	asked = 0;
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* ns for one of a turn's samples. */
static double turn(struct miss_samples *s, const struct row *r)
{
	double begin, took;
	unsigned n;

	for (unsigned i = 0; i < TURN; i++)
		write_sample(i % RINGS, r);
	now_ns += 1000000000ULL / PER_S * TURN;
	begin = cpu_ns();
	n = samples_poll(s);
	took = cpu_ns() - begin;
	answer();
	return n == TURN ? took / n : NAN;
}

/* NULL, or what went wrong. */
static const char *measure(struct miss_samples *s, const struct row *r, unsigned rounds, unsigned turns,
			   FILE *json)
{
	struct samples ns = {.n = 0}, core = {.n = 0};
	struct sketch_usage u;
	char name[80];

	for (unsigned i = 0; i < PRIMES; i++)
		turn(s, r);
	for (unsigned i = 0; i < rounds; i++) {
		double sum = 0;

		for (unsigned k = 0; k < turns; k++)
			sum += turn(s, r);
		if (isnan(sum))
			return "samples were lost";
		samples_add(&ns, sum / turns);
		samples_add(&core, sum / turns * PER_S / 1e9);
	}
	snprintf(name, sizeof(name), "%s/core", r->name);
	report_row(json, r->name, "ns", &ns, "");
	report_row(json, name, "cores", &core, "<= 0.5");
	admit_sketch(admit, &u);
	printf("#   %u keys, %.1f MB; %llu%% kept out by the doorkeeper; %llu promoted, %llu evicted\n",
	       u.keys, u.bytes / 1e6, u.kept_out * 100 / u.seen, admit_counts(admit)->promoted,
	       admit_counts(admit)->evicted);
	return NULL;
}

static const char *run_row(sd_event *event, const struct row *r, unsigned rounds, unsigned turns, FILE *json)
{
	const struct config_promote how = {.on = true,
					   .min_hits = 100,
					   .top = r->top,
					   .window_ns = WINDOW_S * 1000000000ULL,
					   .stay_out_ns = 600000000000ULL};
	const struct admit_ops ops = {on_ask, on_drop, NULL};
	struct miss_samples *s;
	const char *why = "no memory";

	memset(rings, 0, sizeof(rings));
	if (admit_new(&admit, 0, &how, 16, &ops, now_ns))
		return why;
	if (!samples_new(&s, event, on_sample, NULL) && !samples_begin(s, rings, RINGS)) {
		why = measure(s, r, rounds, turns, json);
		samples_free(s);
	}
	admit_free(admit);
	return why;
}

static bool selected(const char *name, char **prefixes)
{
	for (char **p = prefixes; *p; p++) {
		if (!strncmp(name, *p, strlen(*p)))
			return true;
	}
	return !*prefixes;
}

int main(int argc, char **argv)
{
	unsigned rounds = 9, turns = 16;
	FILE *json = NULL;
	sd_event *event;
	int c, failed = 0;

	while ((c = getopt(argc, argv, "r:n:o:")) != -1) {
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'n')
			turns = atoi(optarg);
		else if (c == 'o' && !(json = fopen(optarg, "w")))
			return perror(optarg), 1;
		if (c == '?' || !rounds || rounds > REPORT_RUNS_MAX || !turns)
			return fprintf(stderr, "usage: promote [-r ROUNDS] [-n TURNS] [-o JSON_LINES] "
					       "[ROW-PREFIX...]\n"),
			       2;
	}
	if (sd_event_new(&event) < 0)
		return perror("sd_event_new"), 1;
	report_head();
	for (const struct row *r = rows; r < rows + sizeof(rows) / sizeof(rows[0]); r++) {
		const char *why =
			selected(r->name, argv + optind) ? run_row(event, r, rounds, turns, json) : NULL;

		if (why)
			report_error(r->name, why);
		failed += why != NULL;
	}
	sd_event_unref(event);
	if (json && fclose(json))
		return perror("writing results"), 1;
	return failed ? 1 : 0;
}
