/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table's sweeper over plain memory. A thread plays the data plane: it changes words by
 * compare-and-exchange and counts, as the programs do, while they are swept, removed and recounted.
 */
#include <pthread.h>

#include "hotset.h"
#include "pool_fixture.h"

static struct fixture f;

static __u64 word_at(unsigned at)
{
	return f.m.flows[at / WEIR_BUCKET_WORDS].word[at % WEIR_BUCKET_WORDS];
}

/* ---- ticks ------------------------------------------------------------------------------------ */

static void test_ticks(void)
{
	test_begin("time-outs are rounded up to ticks: short ones do not become none");
	CHECK_INT(flows_ticks(0), 0);
	CHECK_INT(flows_ticks(1), 1);
	CHECK_INT(flows_ticks(1ULL << WEIR_TICK), 1);
	CHECK_INT(flows_ticks((1ULL << WEIR_TICK) + 1), 2);
	CHECK_INT(flows_ticks(7200000000000ULL), 6706);
	CHECK_INT(flows_ticks(WEIR_NEVER), WEIR_TICK_MASK / 2);
	CHECK(flows_tick() <= WEIR_TICK_MASK);
	test_end();
}

/* ---- what is seen ----------------------------------------------------------------------------- */

struct seen {
	struct flow_seen flow[8];
	unsigned n, stop_at;
};

static int on_flow(const struct flow_seen *flow, void *arg)
{
	struct seen *s = arg;

	if (s->n < 8)
		s->flow[s->n] = *flow;
	return ++s->n == s->stop_at ? 77 : 0;
}

static void test_each(void)
{
	__u32 tick = flows_tick();
	struct seen s = {};
	__be32 v4 = inet_addr("192.0.2.9"), last = htonl(0xbeef0001);

	setup(&f, BUCKETS);
	put_flow(&f, 3, 70, WEIR_FLOW_TCP, tick - 5);
	f.m.flows[0].info[3] = (__u64)v4 << 32 | (__u64)htons(4711) << 16 | 63 << 10 | 1;
	put_flow(&f, BUCKETS * 8 - 1, WEIR_BACKENDS_MAX - 1, WEIR_FLOW_UDP, tick + 3); /* ahead */
	f.m.flows[BUCKETS - 1].info[7] = (__u64)last << 32 | (__u64)htons(53) << 16 | 2;

	test_begin("flows are told with the client, its port, service and protocol");
	CHECK_INT(flows_each(&f.m, on_flow, &s), 0);
	CHECK_INT(s.n, 2);
	CHECK_INT(s.flow[0].client.w[0], v4);
	CHECK_INT(ntohs(s.flow[0].port), 4711);
	CHECK_INT(s.flow[0].svc, 63);
	CHECK_INT(s.flow[0].family, 4);
	CHECK(s.flow[0].tcp);
	CHECK_INT(s.flow[0].backend, 70);
	CHECK_INT(s.flow[0].state, WEIR_FLOW_TCP);
	CHECK(s.flow[0].idle_ns >> WEIR_TICK >= 5 && s.flow[0].idle_ns >> WEIR_TICK <= 6);
	CHECK_INT(s.flow[1].client.w[3], last);
	CHECK_INT(s.flow[1].client.w[0], 0);
	CHECK_INT(s.flow[1].family, 6);
	CHECK(!s.flow[1].tcp);
	CHECK_INT(s.flow[1].backend, WEIR_BACKENDS_MAX - 1);
	test_end();

	test_begin("a packet after the clock was read makes its flow no 4.9 hours old");
	CHECK_INT(s.flow[1].idle_ns, 0);
	test_end();

	test_begin("who wants no more flows gets none");
	s = (struct seen){ .stop_at = 1 };
	CHECK_INT(flows_each(&f.m, on_flow, &s), 77);
	CHECK_INT(s.n, 1);
	test_end();
	teardown(&f);
}

/* ---- the sweep -------------------------------------------------------------------------------- */

static void idle_setup(void)
{
	setup(&f, BUCKETS);
	f.ctl.idle_ticks[WEIR_FLOW_SYN] = 10;
	f.ctl.idle_ticks[WEIR_FLOW_TCP] = 3000;
	f.ctl.idle_ticks[WEIR_FLOW_UDP] = 90;
	f.ctl.idle_ticks[WEIR_FLOW_CLOSED] = 30;
}

static void test_sweep(void)
{
	struct flows_swept s = {};
	__u32 tick = flows_tick();

	idle_setup();
	put_flow(&f, 0, 5, WEIR_FLOW_TCP, tick - 3002);
	put_flow(&f, 1, 5, WEIR_FLOW_TCP, tick - 2990);
	put_flow(&f, 2, 5, WEIR_FLOW_SYN, tick - 12);
	put_flow(&f, 3, 6, WEIR_FLOW_UDP, tick - 92);
	put_flow(&f, 4, 6, WEIR_FLOW_UDP, tick - 80);
	put_flow(&f, 5, 6, WEIR_FLOW_CLOSED, tick - 32);
	put_flow(&f, 6, 7, WEIR_FLOW_FIN_C, tick - 8000); /* no time-out */
	put_flow(&f, 7, 7, WEIR_FLOW_TCP, tick + 2);
	put_flow(&f, 8, 8, 15, tick - 8000); /* no state at all */
	put_flow(&f, BUCKETS * 8 - 1, 9, WEIR_FLOW_UDP, tick - 92);

	test_begin("what is idle for longer than its state's time-out goes, and what counted is settled");
	flows_sweep(&f.m, 0, BUCKETS - 1, &s);
	CHECK_INT(s.expired, 4);
	CHECK_INT(s.flows, 5);
	CHECK_INT(s.by_state[WEIR_FLOW_TCP], 2);
	CHECK_INT(s.by_state[WEIR_FLOW_UDP], 1);
	CHECK_INT(s.by_state[WEIR_FLOW_FIN_C], 1);
	CHECK_INT(member(&f, 5)->active, 1);
	CHECK_INT(member(&f, 6)->active, 1);
	CHECK_INT(member(&f, 7)->active, 2);
	CHECK(word_at(0) == 0 && word_at(2) == 0 && word_at(3) == 0 && word_at(5) == 0);
	test_end();

	test_begin("only the buckets asked for are swept, and none beyond the table");
	CHECK_INT(member(&f, 9)->active, 1);
	flows_sweep(&f.m, BUCKETS - 1, ~0U, &s);
	CHECK_INT(member(&f, 9)->active, 0);
	CHECK_INT(s.expired, 5);
	flows_sweep(&f.m, BUCKETS, 1, &s);
	flows_sweep(&f.m, ~0U, ~0U, &s);
	CHECK_INT(s.expired, 5);
	test_end();
	teardown(&f);
}

static void test_remove(void)
{
	__u64 set[WEIR_POOLS_MAX] = { [1] = 1ULL << 6 | 1ULL << 63 };
	__u32 tick = flows_tick();

	setup(&f, BUCKETS);
	for (unsigned i = 0; i < 40; i++)
		put_flow(&f, i, 64 + i % 4 * 6, 1 + i / 4 % 6, tick);

	test_begin("a backend's flows are taken out in every state, and only its own");
	CHECK_INT(member(&f, 64)->active, 7);
	CHECK_INT(flows_remove(&f.m, 64), 10);
	CHECK_INT(member(&f, 64)->active, 0);
	CHECK_INT(member(&f, 70)->active, 7);
	CHECK_INT(flows_remove(&f.m, 64), 0);
	test_end();

	test_begin("those of several backends go in one pass");
	CHECK_INT(flows_remove_all(&f.m, set), 10);
	CHECK_INT(member(&f, 70)->active, 0);
	CHECK_INT(member(&f, 76)->active, 7);
	test_end();

	test_begin("those of places that nobody has go, others stay");
	f.m.backends[82].family = 4;
	CHECK_INT(flows_remove(&f.m, WEIR_BACKEND_NONE), 10);
	CHECK_INT(member(&f, 76)->active, 0);
	CHECK_INT(member(&f, 82)->active, 7);
	test_end();
	teardown(&f);
}

/* ---- the recount ------------------------------------------------------------------------------ */

static void test_recount(void)
{
	__s64 last[WEIR_BACKENDS_MAX] = {};
	__u32 tick = flows_tick();

	setup(&f, BUCKETS);
	for (unsigned i = 0; i < 30; i++)
		put_flow(&f, i, 100, WEIR_FLOW_TCP, tick);
	put_flow(&f, 30, 100, WEIR_FLOW_SYN, tick);

	test_begin("right counts stay");
	CHECK_INT(flows_recount(&f.m, last), 0);
	CHECK_INT(flows_recount(&f.m, last), 0);
	CHECK_INT(member(&f, 100)->active, 30);
	test_end();

	test_begin("a difference is corrected when it shows twice running, and counted as drift");
	member(&f, 100)->active += 4;
	CHECK_INT(flows_recount(&f.m, last), 0);
	CHECK_INT(member(&f, 100)->active, 34);
	CHECK_INT(flows_recount(&f.m, last), 4);
	CHECK_INT(member(&f, 100)->active, 30);
	CHECK_INT(f.ctl.drift, 4);
	CHECK_INT(flows_recount(&f.m, last), 0);
	test_end();

	test_begin("a difference that passes or changes is not");
	member(&f, 100)->active += 1;
	CHECK_INT(flows_recount(&f.m, last), 0);
	member(&f, 100)->active += 1;
	CHECK_INT(flows_recount(&f.m, last), 0);
	member(&f, 100)->active -= 2;
	CHECK_INT(flows_recount(&f.m, last), 0);
	member(&f, 100)->active += 2;
	CHECK_INT(flows_recount(&f.m, last), 0);
	member(&f, 100)->active -= 2;
	CHECK_INT(f.ctl.drift, 4);
	CHECK_INT(member(&f, 100)->active, 30);
	flows_recount(&f.m, last);
	test_end();

	test_begin("a count that went below zero comes back, also where no backend is");
	member(&f, 100)->active -= 33;
	member(&f, 4095)->active -= 1;
	CHECK_INT(flows_recount(&f.m, last), 0);
	CHECK_INT(flows_recount(&f.m, last), 34);
	CHECK_INT(member(&f, 100)->active, 30);
	CHECK_INT(member(&f, 4095)->active, 0);
	test_end();
	teardown(&f);
}

static void test_rest(void)
{
	__u32 tick = flows_tick();

	setup(&f, BUCKETS);
	test_begin("what is open on a backend that went down rests: it weighs nothing, and keeps place and time");
	put_flow(&f, 0, 5, WEIR_FLOW_TCP, tick - 7);
	put_flow(&f, 1, 5, WEIR_FLOW_FIN_B, tick);
	put_flow(&f, 2, 5, WEIR_FLOW_SYN, tick);
	put_flow(&f, 3, 5, WEIR_FLOW_UDP, tick);
	put_flow(&f, BUCKETS * 8 - 1, 6, WEIR_FLOW_TCP, tick);
	flows_rest(&f.m, 5);
	CHECK_INT(weir_flow_state(f.m.flows[0].word[0]), WEIR_FLOW_RESTING);
	CHECK_INT(weir_flow_idle(f.m.flows[0].word[0], tick), 7);
	CHECK_INT(weir_flow_backend(f.m.flows[0].word[0]), 5);
	CHECK_INT(weir_flow_state(f.m.flows[0].word[1]), WEIR_FLOW_RESTING);
	CHECK_INT(weir_flow_state(f.m.flows[0].word[2]), WEIR_FLOW_SYN);
	CHECK_INT(weir_flow_state(f.m.flows[0].word[3]), WEIR_FLOW_UDP);
	CHECK_INT(member(&f, 5)->active, 1);
	CHECK_INT(member(&f, 6)->active, 1);
	flows_rest(&f.m, 5);
	CHECK_INT(member(&f, 5)->active, 1);
	test_end();
	teardown(&f);
}

/* ---- beside the programs ---------------------------------------------------------------------- */

#define RACE_BACKENDS 4
#define RACE_ENOUGH   20000		  /* of what the main thread is to win */
#define RACE_NS	      60000000000ULL /* and no longer than this to win it, on a busy machine */

static bool stop;

/* As flow_change() of bpf/flow.bpf.h. */
static bool change(__u64 *word, __u64 old, __u64 new)
{
	if (!__atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	if (weir_flow_counts(weir_flow_state(old)))
		__atomic_sub_fetch(&member(&f, weir_flow_backend(old))->active, 1, __ATOMIC_SEQ_CST);
	if (weir_flow_counts(weir_flow_state(new)))
		__atomic_add_fetch(&member(&f, weir_flow_backend(new))->active, 1, __ATOMIC_SEQ_CST);
	return true;
}

/* Flows open, end, are overwritten and move, mostly long idle ones, so that the sweeper wants the same words. */
static void *play(void *arg)
{
	__u64 x = (unsigned long)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		__u64 *word, old;

		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		word = &f.m.flows[x >> 60 & 3].word[x >> 57 & 7];
		old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		change(word, old, flow_word(x >> 40 | 1, x >> 33 & (RACE_BACKENDS - 1), 1 + (x >> 35) % 6,
					    flows_tick() - (x >> 38 & 1 ? 0 : 200)));
	}
	return NULL;
}

static void check_counts(void)
{
	__u32 counted[RACE_BACKENDS] = {};

	for (unsigned at = 0; at < 32; at++)
		counted[weir_flow_backend(word_at(at))] += weir_flow_counts(weir_flow_state(word_at(at)));
	for (unsigned b = 0; b < RACE_BACKENDS; b++)
		CHECK_INT(member(&f, b)->active, counted[b]);
}

static bool begin_play(pthread_t *thread)
{
	stop = false;
	return CHECK_INT(pthread_create(thread, NULL, play, (void *)4711UL), 0);
}

static void end_play(pthread_t thread)
{
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
}

static void test_race(void)
{
	__u64 removed = 0, end = monotonic_ns() + RACE_NS;
	struct flows_swept s = {};
	pthread_t thread;

	setup(&f, 4);
	for (int i = 1; i < 8; i++)
		f.ctl.idle_ticks[i] = 90;
	test_begin("each flow is settled once, whoever is quicker: the program, the sweeper or a removal");
	if (begin_play(&thread)) {
		while ((s.expired < RACE_ENOUGH || removed < RACE_ENOUGH) && monotonic_ns() < end) {
			flows_sweep(&f.m, 0, 4, &s);
			removed += flows_remove(&f.m, 3);
		}
		end_play(thread);
	}
	CHECK(s.expired >= RACE_ENOUGH);
	CHECK(removed >= RACE_ENOUGH);
	check_counts();
	test_end();
	teardown(&f);
}

static void test_recount_race(void)
{
	__s64 last[WEIR_BACKENDS_MAX] = {};
	pthread_t thread;

	setup(&f, 4);
	test_begin("a recount beside the programs, and what it may have corrected wrongly, ends at the right counts");
	if (begin_play(&thread)) {
		for (int i = 0; i < 5000; i++)
			flows_recount(&f.m, last);
		end_play(thread);
	}
	for (int i = 0; i < 3; i++)
		flows_recount(&f.m, last);
	check_counts();
	test_end();
	teardown(&f);
}

int main(void)
{
	test_ticks();
	test_each();
	test_sweep();
	test_remove();
	test_recount();
	test_rest();
	test_race();
	test_recount_race();
	return test_done();
}
