// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Sampled misses: how many, of what, what stands in them, and what does not. */
#include <math.h>

#include "scene.h"
#include "weir/sample.h"

static struct scene scene;

static const char yaml_form[] = "interfaces: [{name: eth0}]\n"
				"cache: {capacity: 1024, memory: 4M, sample: %u}\n"
				"services:\n"
				"  - name: test\n"
				"    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
				"    clients: [10.0.0.0/8, 'fd00::/8']\n"
				"    strangers: pass\n"
				"  - name: other\n"
				"    vips: ['10.0.0.9:11211']\n"
				"    clients: [10.0.0.0/8]\n";

static void open_with(unsigned sample)
{
	char yaml[1024];

	snprintf(yaml, sizeof(yaml), yaml_form, sample);
	scene_open(&scene, yaml, 1500);
}

/* ---- the rings -------------------------------------------------------------------------------- */

/* The test stays on one CPU: the ring in which something was written. */
static const struct weir_sample *ring(void)
{
	const struct weir_sample *all = rx_fixture_maps(scene.fx)->at[MAP_SAMPLES];

	return all + (size_t)sched_getcpu() * WEIR_SAMPLES;
}

static __u64 written(void)
{
	const struct weir_sample *all = rx_fixture_maps(scene.fx)->at[MAP_SAMPLES];
	__u64 n = 0;

	for (__u32 cpu = 0; cpu < maps_ctl(rx_fixture_maps(scene.fx))->ncpu; cpu++)
		n += all[(size_t)cpu * WEIR_SAMPLES].head;
	return n;
}

static const struct weir_sample *sample_of(__u64 n)
{
	return &ring()[weir_sample_at(n)];
}

/* ---- packets ---------------------------------------------------------------------------------- */

static void make_frame(struct frame *f, const struct flow *flow, const void *data, size_t len)
{
	struct msg m;

	msg_frame(&m, 0x7777, 0, 1);
	msg_add(&m, data, len);
	frame_udp(f, flow, m.b, m.len);
}

/* The same frame n times in the kernel. */
static void send_many(const void *data, size_t len, unsigned n)
{
	struct flow flow = CLIENT4;
	struct frame f;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f.b, .repeat = n);

	make_frame(&f, &flow, data, len);
	o.data_size_in = f.len;
	CHECK_INT(bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_prog(scene.fx)), &o), 0);
}

static void send_text(const char *text)
{
	send_many(text, strlen(text), 1);
}

/* How many samples a datagram makes where each miss is one. */
static __u64 made_by(const struct flow *flow, const void *data, size_t len)
{
	__u64 before = written();
	struct outcome o;
	struct frame f;

	make_frame(&f, flow, data, len);
	scene_run(&scene, &f, &o);
	return written() - before;
}

/* ---- how many --------------------------------------------------------------------------------- */

static void test_rate(unsigned sample)
{
	char says[80];
	/*
	 * Distances are even from 1 to 2N-1: variance N(N-1)/3; so of a renewal process after n: n (N-1) / (3
	 * N^2).
	 */
	unsigned n = 100000;
	double want = (double)n / sample, sigma = sqrt(n * (sample - 1.0) / (3.0 * sample * sample)), off;
	__u64 before;

	snprintf(says, sizeof(says), "of 100,000 misses one of %u is sampled, within 3 sigma", sample);
	test_begin(says);
	open_with(sample);
	/* Chance takes it beyond that once in 370 times, and twice in a row once in 100,000. */
	for (int tries = 0; tries < 2; tries++) {
		before = written();
		send_many("get periodic\r\n", 14, n);
		off = written() - before - want;
		printf("#   %.0f samples off %.0f, sigma %.1f\n", off, want, sigma);
		if (fabs(off) <= 3 * sigma + 1)
			break;
	}
	CHECK(fabs(off) <= 3 * sigma + 1);
	scene_close(&scene);
	test_end();
}

/* A key that is each 16th miss, and one that is each of the others: neither is seen too often. */
static void test_no_alias(void)
{
	char fifteen[] = "get often\r\n", one[] = "get rare\r\n";
	unsigned rare = 0, all = 0, rounds = 800; /* two runs each, and each run waits for RCU */
	double p = 1.0 / 16;

	test_begin("a key that comes at the interval of sampling is sampled as others are");
	open_with(16);
	for (unsigned i = 0; i < rounds; i++) {
		__u64 before = written();

		send_many(fifteen, sizeof(fifteen) - 1, 15);
		send_text(one);
		for (__u64 k = before + 1; k <= written(); k++, all++)
			rare += sample_of(k)->key_len == 4;
	}
	printf("#   %u of %u\n", rare, all);
	CHECK(fabs(rare - rounds * p) <= 4 * sqrt(rounds * p));
	scene_close(&scene);
	test_end();
}

static void test_none(void)
{
	test_begin("with sample 0 nothing is sampled");
	open_with(0);
	send_many("get nothing\r\n", 13, 1000);
	CHECK_INT(map_entries(maps_ctl(rx_fixture_maps(scene.fx)), MAP_SAMPLES), 1);
	CHECK_INT(((struct weir_sample *)rx_fixture_maps(scene.fx)->at[MAP_SAMPLES])->head, 0);
	scene_close(&scene);
	test_end();
}

/* ---- what stands in them ---------------------------------------------------------------------- */

static void check_sample(__u64 n, unsigned svc, const char *key, size_t len, int reason)
{
	const struct weir_sample *s = sample_of(n);

	CHECK_INT(s->seq, n);
	CHECK_INT(s->svc, svc);
	CHECK_INT(s->reason, reason);
	CHECK_MEM(s->key, s->key_len, key, len);
	/* The last word is padded, whatever stood there before. */
	for (size_t i = len; i < ((len + 7) & ~7UL); i++)
		CHECK_INT(s->key[i], 0);
}

static void test_content(void)
{
	struct flow to_other = {.src = "10.0.0.2", .dst = "10.0.0.9", .sport = 40000, .dport = 11211};
	struct flow v6 = CLIENT6, v4 = CLIENT4;
	char longest[WEIR_KEY_MAX + 8], binary[24 + 5] = {(char)0x80, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5};

	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "get ", 4);
	memcpy(longest + 4 + WEIR_KEY_MAX, "\r\n", 2);
	memcpy(binary + 24, "binky", 5);
	test_begin("a sample has the key as the hot set would, its service, and the reason");
	open_with(1);
	send_text("get arms\r\n"); /* which begins the countdown */
	CHECK_INT(written(), 0);
	CHECK_INT(made_by(&v4, "get a\r\n", 7), 1);
	check_sample(1, 0, "a", 1, WEIR_R_MISS);
	CHECK_INT(made_by(&v6, "gets 12345678\r\n", 15), 1);
	check_sample(2, 0, "12345678", 8, WEIR_R_MISS);
	CHECK_INT(made_by(&to_other, "get of-other\n", 13), 1);
	check_sample(3, 1, "of-other", 8, WEIR_R_MISS);
	CHECK_INT(made_by(&v4, longest, 4 + WEIR_KEY_MAX + 2), 1);
	check_sample(4, 0, longest + 4, WEIR_KEY_MAX, WEIR_R_MISS);
	CHECK_INT(made_by(&v4, "mg meta v\r\n", 11), 1);
	check_sample(5, 0, "meta", 4, WEIR_R_MISS);
	CHECK_INT(made_by(&v4, "mg Zm9vYmE= b v\r\n", 17), 1);
	check_sample(6, 0, "fooba", 5, WEIR_R_MISS);
	CHECK_INT(made_by(&v4, binary, sizeof(binary)), 1);
	check_sample(7, 0, "binky", 5, WEIR_R_MISS);
	scene_close(&scene);
	test_end();
}

static void test_cold_copies(void)
{
	struct item expired = {.key = "old", .value = "1", .expires_ns = 1},
		    hot = {.key = "hot", .value = "1"};
	struct flow v4 = CLIENT4;

	test_begin("expired and fenced copies count as misses, hits do not");
	open_with(1);
	send_text("get arms\r\n");
	CHECK_INT(scene_put(&scene, &expired), HOT_ADDED);
	CHECK_INT(scene_put(&scene, &hot), HOT_ADDED);
	CHECK_INT(made_by(&v4, "get old\r\n", 9), 1);
	check_sample(1, 0, "old", 3, WEIR_R_EXPIRED);
	CHECK_INT(made_by(&v4, "get hot\r\n", 9), 0);
	CHECK_INT(made_by(&v4, "delete hot\r\n", 12), 0);
	CHECK_INT(made_by(&v4, "get hot\r\n", 9), 1);
	check_sample(2, 0, "hot", 3, WEIR_R_FENCED);
	scene_close(&scene);
	test_end();
}

/* ---- what does not ---------------------------------------------------------------------------- */

static const struct {
	const char *says, *request;
	struct flow flow;
} others[] = {
#define C .flow = {.src = "10.0.0.2", .dst = "10.0.0.1", .sport = 40000, .dport = 11211}
	{"a set", "set k 0 0 1\r\nx\r\n", C},
	{"a delete", "delete k\r\n", C},
	{"a meta write", "ms k 1\r\nx\r\n", C},
	{"a get that touches", "gat 10 k\r\n", C},
	{"a flush", "flush_all\r\n", C},
	{"a get of two keys", "get a b\r\n", C},
	{"a version", "version\r\n", C},
	{"an mn", "mn\r\n", C},
	{"what is not understood", "frobnicate k\r\n", C},
	{"a get without its line end", "get k", C},
	{"a stranger's get", "get k\r\n",
	 .flow = {.src = "192.0.2.7", .dst = "10.0.0.1", .sport = 40000, .dport = 11211}},
	{"a stranger's get over IPv6", "get k\r\n",
	 .flow = {.src = "2001:db8::7", .dst = "fd00::1", .sport = 40000, .dport = 11211}},
	{"a get from the service's own port", "get k\r\n",
	 .flow = {.src = "10.0.0.2", .dst = "10.0.0.1", .sport = 11211, .dport = 11211}},
	{"a get to another port", "get k\r\n",
	 .flow = {.src = "10.0.0.2", .dst = "10.0.0.1", .sport = 40000, .dport = 11212}},
#undef C
};

static void test_others(void)
{
	struct flow v4 = CLIENT4;
	char says[120];

	open_with(1);
	send_text("get arms\r\n");
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(says, sizeof(says), "%s is not sampled", others[i].says);
		test_begin(says);
		CHECK_INT(made_by(&others[i].flow, others[i].request, strlen(others[i].request)), 0);
		CHECK_INT(made_by(&v4, "get k\r\n", 7), 1);
		test_end();
	}
	test_begin("a lookup when the lease is over is not sampled");
	CHECK_INT(scene_put(&scene, &(struct item){.key = "lease", .value = "1"}), HOT_ADDED);
	maps_ctl(rx_fixture_maps(scene.fx))->lease_deadline_ns = 1;
	CHECK_INT(made_by(&v4, "get lease\r\n", 11), 0);
	test_end();
	scene_close(&scene);
}

/* ---- full ------------------------------------------------------------------------------------- */

static void test_overwritten(void)
{
	test_begin("a full ring keeps the newest samples, and their numbers tell what is gone");
	open_with(1);
	send_text("get arms\r\n");
	send_many("get early\r\n", 11, 1000);
	send_many("get late\r\n", 10, WEIR_SAMPLES);
	CHECK_INT(written(), 1000 + WEIR_SAMPLES);
	for (__u64 n = 1001; n <= 1000 + WEIR_SAMPLES; n++) {
		if (!CHECK_INT(sample_of(n)->seq, n) ||
		    !CHECK_MEM(sample_of(n)->key, sample_of(n)->key_len, "late", 4))
			break;
	}
	CHECK(sample_of(1)->seq != 1);
	scene_close(&scene);
	test_end();
}

int main(void)
{
	test_rate(16);
	test_rate(2);
	test_rate(1000);
	test_no_alias();
	test_none();
	test_content();
	test_cold_copies();
	test_others();
	test_overwritten();
	return test_done();
}
