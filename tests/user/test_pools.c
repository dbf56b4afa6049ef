/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pools over plain memory: what a configuration, commands and the agent make of ranks, units, Maglev's table and
 * places. nat_back is a real map where this process may make one.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "hotset.h"
#include "pool_fixture.h"
#include "weir/hash.h"

#define SECOND 1000000000ULL

static struct fixture f;

/* One pool "web" of b1 .. bn, loaded. */
static struct config_pool web;
static struct config conf;

static void load(unsigned n)
{
	setup(&f, BUCKETS);
	web = pool("web", n);
	conf = (struct config){ .pools = &web, .npools = 1 };
	CHECK_INT(apply(&f, &conf, false), 0);
}

static void unload(void)
{
	teardown(&f);
	free(web.backends);
}

/* The rank's load without the connection to come. */
static __u64 load_digits(unsigned b)
{
	return ((member(&f, b)->rank & (WEIR_RANK_BACKUP - 1)) >> WEIR_RANK_LOAD) - member(&f, b)->unit;
}

#define LATENCY_DIGITS ((1ULL << WEIR_RANK_LOAD) - 1)

static bool down(unsigned b)
{
	return member(&f, b)->rank & WEIR_RANK_DOWN;
}

static unsigned in_table(unsigned place, unsigned who)
{
	unsigned n = 0;

	for (int i = 0; i < WEIR_MAGLEV; i++)
		n += f.m.maglev[place].place[i] == who;
	return n;
}

static void check_line(unsigned i, const char *want)
{
	CHECK_STR(i < f.nlines ? f.line[i] : "(no line)", want);
}

/* ---- ranks ------------------------------------------------------------------------------------ */

static void test_units(void)
{
	static const __u32 capacity[] = { 50, 100, 200, 65536 };

	setup(&f, BUCKETS);
	web = pool("web", 4);
	for (int i = 0; i < 4; i++)
		web.backends[i].capacity = capacity[i];
	conf = (struct config){ .pools = &web, .npools = 1 };
	CHECK_INT(apply(&f, &conf, false), 0);

	test_begin("a connection weighs the less, the more a backend can take");
	CHECK_INT(member(&f, 0)->unit, WEIR_UNIT_MAX);
	CHECK_INT(member(&f, 1)->unit, WEIR_UNIT_MAX / 2);
	CHECK_INT(member(&f, 2)->unit, WEIR_UNIT_MAX / 4);
	CHECK_INT(member(&f, 3)->unit, (__u64)WEIR_UNIT_MAX * 50 / 65536);
	CHECK_INT(f.m.pools[0].n, 4);
	CHECK_INT(f.m.pools[0].mean_unit, (__u64)WEIR_UNIT_MAX * 50 / (50 + 100 + 200 + 65536));
	CHECK_INT(f.m.pools[0].bound, 320);
	CHECK(down(4) && down(63) && !down(0) && !down(3));
	test_end();

	test_begin("server ids stand one higher, where a program looks for them; 0 is none");
	web.backends[1].quic_id = 0;
	web.backends[2].quic_id = 77;
	CHECK_INT(apply(&f, &conf, false), 0);
	check_line(0, "pool web: backend b2: quic_id none -> 0");
	check_line(1, "pool web: backend b3: quic_id none -> 77");
	CHECK_INT(f.m.pools[0].quic[0], 0);
	CHECK_INT(f.m.pools[0].quic[1], 1);
	CHECK_INT(f.m.pools[0].quic[2], 78);
	CHECK_INT(pools_del(&f.m, 2), 0);
	CHECK_INT(f.m.pools[0].quic[2], 0);
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(f.m.pools[0].quic[2], 78);
	test_end();

	test_begin("the least capacity there can be beside the greatest still weighs something");
	CHECK_INT(pools_set(&f.m, 0, 1, -1), 0);
	CHECK_INT(member(&f, 0)->unit, WEIR_UNIT_MAX);
	CHECK_INT(member(&f, 3)->unit, WEIR_UNIT_MAX >> 16);
	CHECK_INT(pools_set(&f.m, 0, 65537, -1), -EINVAL);
	test_end();
	unload();
}

static void test_states(void)
{
	load(4);
	test_begin("draining: no new flows, but not dead; disabled and down: dead");
	CHECK_INT(pools_admin(&f.m, 0, WEIR_ADMIN_DRAIN), 0);
	CHECK(down(0));
	CHECK_INT(f.m.backends[0].flags, 0);
	CHECK_INT(pools_admin(&f.m, 1, WEIR_ADMIN_DISABLED), 0);
	CHECK(down(1));
	CHECK_INT(f.m.backends[1].flags, WEIR_BACKEND_DEAD);
	pools_health(&f.m, 2, WEIR_HEALTH_DOWN, "connection refused");
	CHECK(down(2));
	CHECK_INT(f.m.backends[2].flags, WEIR_BACKEND_DEAD);
	CHECK_STR(f.m.backend_ctl[2].why, "connection refused");
	CHECK_INT(f.m.pools[0].mean_unit, WEIR_UNIT_MAX); /* one is left */
	CHECK_INT(pools_admin(&f.m, 0, 3), -EINVAL);
	CHECK_INT(pools_admin(&f.m, 4, WEIR_ADMIN_UP), -ENOENT);
	test_end();

	test_begin("Maglev's table forgets who is not to take flows, but not who is down for a moment");
	CHECK_INT(in_table(0, 0), 0);
	CHECK_INT(in_table(0, 1), 0);
	CHECK(in_table(0, 2) > 7000 && in_table(0, 3) > 7000);
	test_end();

	test_begin("who is up again is chosen again");
	CHECK_INT(pools_admin(&f.m, 1, WEIR_ADMIN_UP), 0);
	pools_health(&f.m, 2, WEIR_HEALTH_UP, NULL);
	CHECK(!down(1) && !down(2));
	CHECK_INT(f.m.backends[1].flags | f.m.backends[2].flags, 0);
	CHECK_STR(f.m.backend_ctl[2].why, "");
	CHECK_INT(f.m.pools[0].mean_unit, WEIR_UNIT_MAX / 3);
	test_end();

	test_begin("all gone: no mean, an empty table");
	for (int b = 0; b < 4; b++)
		pools_admin(&f.m, b, WEIR_ADMIN_DISABLED);
	CHECK_INT(f.m.pools[0].mean_unit, 0);
	CHECK_INT(in_table(0, WEIR_BACKEND_NONE), WEIR_MAGLEV);
	test_end();
	unload();
}

static void test_backups(void)
{
	setup(&f, BUCKETS);
	web = pool("web", 3);
	web.backends[2].backup = true;
	conf = (struct config){ .pools = &web, .npools = 1 };
	CHECK_INT(apply(&f, &conf, false), 0);

	test_begin("a backup ranks behind every primary, and is not in the table beside them");
	CHECK(member(&f, 2)->rank & WEIR_RANK_BACKUP && !down(2));
	CHECK_INT(in_table(0, 2), 0);
	CHECK_INT(f.m.pools[0].mean_unit, WEIR_UNIT_MAX / 2);
	test_end();

	test_begin("without primaries the mean is the backups', and the table when the primaries are taken out");
	pools_health(&f.m, 0, WEIR_HEALTH_DOWN, "x");
	pools_health(&f.m, 1, WEIR_HEALTH_DOWN, "x");
	CHECK_INT(f.m.pools[0].mean_unit, WEIR_UNIT_MAX);
	CHECK_INT(in_table(0, 2), 0);
	pools_admin(&f.m, 0, WEIR_ADMIN_DISABLED);
	pools_admin(&f.m, 1, WEIR_ADMIN_DRAIN);
	CHECK_INT(in_table(0, 2), WEIR_MAGLEV);
	test_end();

	test_begin("a backup becomes a primary and the other way round");
	CHECK_INT(pools_set(&f.m, 2, 0, 0), 0);
	CHECK(!(member(&f, 2)->rank & WEIR_RANK_BACKUP));
	CHECK_INT(pools_set(&f.m, 2, 0, 1), 0);
	CHECK(member(&f, 2)->rank & WEIR_RANK_BACKUP);
	test_end();
	unload();
}

/* Digits of the load that the mask leaves out. */
static int coarse(void)
{
	return __builtin_ctzll(f.m.pools[0].mask >> WEIR_RANK_LOAD);
}

static void test_quantum(void)
{
	setup(&f, BUCKETS);
	web = pool("web", 2);
	web.quantum = 2;
	conf = (struct config){ .pools = &web, .npools = 1 };
	CHECK_INT(apply(&f, &conf, false), 0);

	test_begin("without connections exact counts decide");
	pools_fade(&f.m, monotonic_ns());
	CHECK(f.m.pools[0].mask == ~0ULL);
	test_end();

	test_begin("the step follows the mean load, the largest power of two within the quantum");
	member(&f, 0)->active = 600;
	member(&f, 1)->active = 400;
	pools_fade(&f.m, monotonic_ns());
	CHECK_INT(coarse(), 21); /* 2% of 500 connections of 2^18 units: 10 of them, 8 */
	member(&f, 0)->active = 20;
	member(&f, 1)->active = 20;
	pools_fade(&f.m, monotonic_ns());
	CHECK_INT(coarse(), 16); /* 0.4: a quarter */
	CHECK_INT(f.m.pools[0].mask & ((1 << WEIR_RANK_LOAD) - 1), (1 << WEIR_RANK_LOAD) - 1);
	CHECK((f.m.pools[0].mask & (WEIR_RANK_DOWN | WEIR_RANK_BACKUP)) == (WEIR_RANK_DOWN | WEIR_RANK_BACKUP));
	test_end();

	test_begin("the largest table and half of it as quantum stay within the load's digits");
	f.m.pool_ctl[0].quantum = 50;
	member(&f, 0)->active = member(&f, 1)->active = 1 << 23;
	pools_fade(&f.m, monotonic_ns());
	CHECK_INT(coarse(), 40);
	f.m.pool_ctl[0].quantum = 0;
	pools_fade(&f.m, monotonic_ns());
	CHECK(f.m.pools[0].mask == ~0ULL);
	test_end();
	unload();
}

static void test_latency(void)
{
	__u64 now;

	load(2);
	test_begin("latency is smoothed and stands below the load in the rank");
	pools_latency(&f.m, 0, 800000);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 800000);
	pools_latency(&f.m, 0, 1600000);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 900000);
	pools_latency(&f.m, 0, 100000);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 800000);
	pools_latency(&f.m, 0, 0); /* none */
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 800000);
	CHECK_INT(load_digits(0), 0);
	CHECK_INT(member(&f, 0)->rank & LATENCY_DIGITS, (__u64)weir_latency_code(800000) << WEIR_RANK_LATENCY);
	CHECK(member(&f, 0)->rank > member(&f, 1)->rank);
	test_end();

	test_begin("a latency that nobody measures any more fades; one that is measured does not");
	now = monotonic_ns();
	pools_fade(&f.m, now + 20 * SECOND);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 800000);
	pools_fade(&f.m, now + 40 * SECOND);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 400000);
	pools_fade(&f.m, now + 41 * SECOND);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 400000);
	CHECK_INT(load_digits(0), 0);
	CHECK_INT(member(&f, 0)->rank & LATENCY_DIGITS, (__u64)weir_latency_code(400000) << WEIR_RANK_LATENCY);
	test_end();
	unload();
}

static void test_slow_start(void)
{
	__u64 until;

	setup(&f, BUCKETS);
	web = pool("web", 3);
	web.slow_start_ns = 10 * SECOND;
	web.backends[2].capacity = 200;
	conf = (struct config){ .pools = &web, .npools = 1 };
	f.ctl.agent_ns = monotonic_ns();
	CHECK_INT(apply(&f, &conf, false), 0);

	test_begin("a pool that is new starts at once");
	CHECK(!f.m.backend_ctl[0].slow_until_ns && !f.m.backend_ctl[2].slow_until_ns);
	test_end();

	test_begin("idle backends differ by what one connection would be to them");
	CHECK_INT(member(&f, 0)->rank >> WEIR_RANK_LOAD, WEIR_UNIT_MAX);
	CHECK_INT(member(&f, 2)->rank >> WEIR_RANK_LOAD, WEIR_UNIT_MAX / 2);
	test_end();

	test_begin("a recovered backend begins as loaded as the others are for their capacity");
	member(&f, 0)->active = 40;
	member(&f, 1)->active = 60;
	member(&f, 2)->active = 10; /* still open */
	pools_health(&f.m, 2, WEIR_HEALTH_DOWN, "x");
	pools_health(&f.m, 2, WEIR_HEALTH_UP, NULL);
	CHECK_INT(f.m.backend_ctl[2].ballast, 90);
	until = f.m.backend_ctl[2].slow_until_ns;
	CHECK(until > monotonic_ns() + 9 * SECOND && until <= monotonic_ns() + 10 * SECOND);
	pools_fade(&f.m, until - 10 * SECOND);
	CHECK_INT(load_digits(2), 90 * (WEIR_UNIT_MAX / 2));
	CHECK_INT(load_digits(0), 0);
	test_end();

	test_begin("the ballast fades in a line, and is gone at the end");
	pools_fade(&f.m, until - 5 * SECOND);
	CHECK_INT(load_digits(2), 45 * (WEIR_UNIT_MAX / 2));
	pools_fade(&f.m, until - SECOND);
	CHECK_INT(load_digits(2), 9 * (WEIR_UNIT_MAX / 2));
	pools_fade(&f.m, until);
	CHECK_INT(load_digits(2), 0);
	CHECK_INT(f.m.backend_ctl[2].ballast, 0);
	CHECK(!f.m.backend_ctl[2].slow_until_ns);
	test_end();

	test_begin("one that a command adds starts slowly, too, but not where no agent would end it");
	web.backends[3] = backend(4);
	CHECK_INT(pools_add(&f.m, 0, &web.backends[3]), 3);
	CHECK_INT(f.m.backend_ctl[3].ballast, 27); /* 110 of 400 */
	CHECK_INT(pools_del(&f.m, 3), 0);
	f.ctl.agent_ns = 1;
	CHECK_INT(pools_add(&f.m, 0, &web.backends[3]), 3);
	CHECK(!f.m.backend_ctl[3].slow_until_ns);
	test_end();

	test_begin("down while it starts: no ballast is left; alone in its pool: none at all");
	pools_health(&f.m, 2, WEIR_HEALTH_DOWN, "x");
	pools_health(&f.m, 2, WEIR_HEALTH_UP, NULL);
	CHECK(f.m.backend_ctl[2].ballast > 0);
	for (int b = 0; b < 4; b++)
		pools_health(&f.m, b, WEIR_HEALTH_DOWN, "x");
	CHECK_INT(f.m.backend_ctl[2].ballast, 0);
	pools_health(&f.m, 2, WEIR_HEALTH_UP, NULL);
	CHECK_INT(f.m.backend_ctl[2].ballast, 0);
	test_end();

	test_begin("more ballast than the load has digits for stays within them");
	f.m.backend_ctl[2].ballast = ~0U;
	f.m.backend_ctl[2].slow_until_ns = monotonic_ns() + 100 * SECOND;
	pools_fade(&f.m, monotonic_ns());
	CHECK(!(member(&f, 2)->rank & (WEIR_RANK_DOWN | WEIR_RANK_BACKUP)));
	test_end();
	unload();
}

/* ---- Maglev ----------------------------------------------------------------------------------- */

/* Largest part of the table over what its capacity should have, and the least. */
static void check_spread(unsigned n, double within)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += web.backends[i].capacity;
	for (unsigned i = 0; i < n; i++) {
		double part = in_table(0, i) / (WEIR_MAGLEV * web.backends[i].capacity / sum);

		if (!CHECK(part > 1 - within && part < 1 + within))
			printf("# b%u has %.3f of its part\n", i + 1, part);
	}
}

static void test_spread(void)
{
	load(16);
	test_begin("Maglev's table: each backend has its part, within 1%");
	check_spread(16, 0.01);
	test_end();

	test_begin("by capacity, within 4%");
	for (int i = 0; i < 16; i++)
		web.backends[i].capacity = 100 * (1 + i % 5);
	CHECK_INT(apply(&f, &conf, false), 0);
	check_spread(16, 0.04);
	test_end();
	unload();

	load(256);
	test_begin("of 256 backends, within 3%; the table is in the first place of the pool");
	check_spread(256, 0.03);
	CHECK_INT(f.m.pools[0].n, 256);
	CHECK_INT(f.m.pool_ctl[0].places, 4);
	CHECK_INT(in_table(1, WEIR_BACKEND_NONE), WEIR_MAGLEV);
	test_end();
	unload();
}

static void test_disruption(void)
{
	struct weir_maglev was;
	unsigned moved = 0;

	load(16);
	was = f.m.maglev[0];
	CHECK_INT(pools_del(&f.m, 7), 0);
	test_begin("one of 16 backends goes: of the others' places few change");
	for (int i = 0; i < WEIR_MAGLEV; i++)
		moved += was.place[i] != 7 && was.place[i] != f.m.maglev[0].place[i];
	CHECK(moved < WEIR_MAGLEV / 25);
	CHECK_INT(in_table(0, 7), 0);
	test_end();

	test_begin("it comes back: the table is as before");
	CHECK_INT(pools_add(&f.m, 0, &web.backends[7]), 7);
	CHECK_MEM(&f.m.maglev[0], sizeof(was), &was, sizeof(was));
	test_end();
	unload();
}

/* The backend's name at each entry, of two hosts whose pools have another history. */
static void test_same_on_all_hosts(void)
{
	struct weir_maglev was;
	unsigned differ = 0, known = 0;

	load(10);
	was = f.m.maglev[0];
	unload();
	setup(&f, BUCKETS);
	web = pool("web", 10);
	for (int i = 0; i < 10; i++)
		web.backends[i] = backend(10 - i);
	CHECK_INT(apply(&f, &conf, false), 0);
	test_begin("hosts that share an address have the same table, whatever places the backends have");
	for (int i = 0; i < WEIR_MAGLEV; i++)
		differ += was.place[i] != 9 - f.m.maglev[0].place[i];
	CHECK_INT(differ, 0);
	test_end();

	test_begin("and the same in each release: this one is what it was");
	for (int i = 0; i < WEIR_MAGLEV; i++)
		known = known * 31 + was.place[i];
	CHECK_INT(known, 3309216020U);
	test_end();
	unload();
}

static bool stop;
static unsigned torn;

static void *read_table(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		for (int i = 0; i < WEIR_MAGLEV; i += 7)
			torn += __atomic_load_n(&f.m.maglev[0].place[i], __ATOMIC_RELAXED) >= 8;
	}
	return NULL;
}

static void test_table_readers(void)
{
	pthread_t thread;

	load(8);
	stop = false;
	test_begin("a reader sees valid entries at any time while the table is rebuilt");
	if (CHECK_INT(pthread_create(&thread, NULL, read_table, NULL), 0)) {
		for (int i = 0; i < 200; i++)
			pools_admin(&f.m, i / 2 % 7, i % 2 ? WEIR_ADMIN_UP : WEIR_ADMIN_DRAIN);
		__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
		pthread_join(thread, NULL);
	}
	CHECK_INT(torn, 0);
	test_end();
	unload();
}

/* ---- configurations --------------------------------------------------------------------------- */

static void test_apply(void)
{
	void *was = malloc(sizeof(struct weir_pool)), *was_table = malloc(sizeof(struct weir_maglev));

	load(4);
	test_begin("the first load says what came");
	CHECK_INT(f.nlines, 1);
	check_line(0, "pool web added, with 4 backends");
	CHECK_INT(number(&f, "web", "b3"), 2);
	CHECK_INT(pools_place(&f.m, "web"), 0);
	CHECK_INT(pools_place(&f.m, "we"), WEIR_POOL_NONE);
	CHECK_INT(pools_of(&f.m, 2), 0);
	CHECK_INT(f.m.pools[0].svc, WEIR_SVC_NONE);
	test_end();

	test_begin("the same again says and changes nothing");
	memcpy(was, &f.m.pools[0], sizeof(struct weir_pool));
	memcpy(was_table, &f.m.maglev[0], sizeof(struct weir_maglev));
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(f.nlines, 0);
	CHECK_INT(f.graces, 0);
	CHECK_MEM(&f.m.pools[0], sizeof(struct weir_pool), was, sizeof(struct weir_pool));
	CHECK_MEM(&f.m.maglev[0], sizeof(struct weir_maglev), was_table, sizeof(struct weir_maglev));
	test_end();

	/* b2 goes, b9 comes, b1 gets more capacity, b3 another address, b4 drains. */
	put_flow(&f, 0, 0, WEIR_FLOW_TCP, 0);
	put_flow(&f, 1, 1, WEIR_FLOW_TCP, 0);
	put_flow(&f, 2, 2, WEIR_FLOW_UDP, 0);
	put_flow(&f, 3, 3, WEIR_FLOW_TCP, 0);
	pools_latency(&f.m, 0, 5000000);
	pools_health(&f.m, 3, WEIR_HEALTH_UP, NULL);
	web.backends[0].capacity = 300;
	web.backends[1] = backend(9);
	web.backends[2].at.addr.w[0] = inet_addr("10.0.0.33");
	web.backends[3].admin = WEIR_ADMIN_DRAIN;
	web.scheduler = WEIR_SCHED_MAGLEV_BOUNDED;
	web.quantum = 5;
	web.fail = WEIR_FAIL_RESET;

	test_begin("a dry run says what a configuration would change, and changes nothing");
	memcpy(was, &f.m.pools[0], sizeof(struct weir_pool));
	CHECK_INT(apply(&f, &conf, true), 0);
	CHECK_INT(f.nlines, 8);
	check_line(0, "pool web: scheduler least-loaded -> maglev-bounded");
	check_line(1, "pool web: fail drop -> reset");
	check_line(2, "pool web: quantum 0% -> 5%");
	check_line(3, "pool web: backend b1: capacity 100 -> 300");
	check_line(4, "pool web: backend b2 removed, its flows go");
	check_line(5, "pool web: backend b3: address 10.0.0.3 -> 10.0.0.33: another backend, the old one's flows go");
	check_line(6, "pool web: backend b4: state up -> drain");
	check_line(7, "pool web: backend b9 added");
	CHECK_MEM(&f.m.pools[0], sizeof(struct weir_pool), was, sizeof(struct weir_pool));
	CHECK_INT(number(&f, "web", "b2"), 1);
	test_end();

	test_begin("who stays keeps place, flows, count, health and latency; who goes takes its flows along");
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(f.nlines, 8);
	CHECK_INT(number(&f, "web", "b1"), 0);
	CHECK_INT(number(&f, "web", "b4"), 3);
	CHECK_INT(number(&f, "web", "b2"), -1);
	CHECK_INT(member(&f, 0)->active, 1);
	CHECK_INT(member(&f, 3)->active, 1);
	CHECK_INT(f.m.backend_ctl[0].latency_ns, 5000000);
	CHECK_INT(f.m.backend_ctl[3].health, WEIR_HEALTH_UP);
	CHECK(f.m.flows[0].word[0] && !f.m.flows[0].word[1] && !f.m.flows[0].word[2] && f.m.flows[0].word[3]);
	CHECK_INT(f.graces, 2);
	test_end();

	test_begin("a place that was given up starts from nothing");
	CHECK_INT(member(&f, 1)->active | member(&f, 2)->active, 0);
	CHECK(down(1) && down(2));
	CHECK_INT(f.m.backends[1].family | f.m.backends[2].family, 0);
	CHECK_STR(f.m.backend_ctl[1].name, "");
	CHECK_INT(f.m.backends[number(&f, "web", "b3")].addr.w[0], inet_addr("10.0.0.33"));
	CHECK_INT(apply(&f, &conf, true), 0);
	CHECK_INT(f.nlines, 0);
	test_end();

	free(was);
	free(was_table);
	unload();
}

static void test_by_hand(void)
{
	load(3);
	web.backends[3] = backend(4);
	CHECK_INT(pools_add(&f.m, 0, &web.backends[3]), 3);
	CHECK_INT(pools_admin(&f.m, 0, WEIR_ADMIN_DRAIN), 0);
	CHECK_INT(pools_set(&f.m, 1, 55, 1), 0);
	CHECK_INT(pools_del(&f.m, 2), 0);

	test_begin("what commands did is marked: changed, added, taken out");
	CHECK_INT(f.m.backend_ctl[0].flags, WEIR_BACKEND_BY_HAND);
	CHECK_INT(f.m.backend_ctl[1].flags, WEIR_BACKEND_BY_HAND | WEIR_BACKEND_BACKUP);
	CHECK_INT(f.m.backend_ctl[2].flags, WEIR_BACKEND_BY_HAND | WEIR_BACKEND_GONE);
	CHECK_STR(f.m.backend_ctl[2].name, "b3");
	CHECK_INT(f.m.backend_ctl[3].flags, WEIR_BACKEND_BY_HAND | WEIR_BACKEND_ADDED);
	CHECK_INT(pools_next(&f.m, 0, 1), 3); /* b3 is not in use */
	CHECK_INT(pools_backend(&f.m, 0, "b3"), -ENOENT);
	CHECK_INT(pools_del(&f.m, 2), -ENOENT);
	CHECK_INT(pools_set(&f.m, 2, 1, -1), -ENOENT);
	test_end();

	test_begin("a command's backend that a command takes out leaves no trace; others' names are refused");
	CHECK_INT(pools_add(&f.m, 0, &web.backends[3]), -EEXIST);
	CHECK_INT(pools_del(&f.m, 3), 0);
	CHECK_STR(f.m.backend_ctl[3].name, "");
	CHECK_INT(pools_add(&f.m, 0, &web.backends[3]), 3);
	test_end();

	test_begin("a reload says the difference and takes it back");
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(f.nlines, 5);
	check_line(0, "pool web: backend b1: state drain -> up");
	check_line(1, "pool web: backend b2: capacity 55 -> 100");
	check_line(2, "pool web: backend b2: backup yes -> no");
	check_line(3, "pool web: backend b4 removed, its flows go");
	check_line(4, "pool web: backend b3 added");
	CHECK_INT(f.m.backend_ctl[0].flags | f.m.backend_ctl[1].flags | f.m.backend_ctl[2].flags, 0);
	CHECK_INT(number(&f, "web", "b3"), 2);
	test_end();

	test_begin("a name taken out by hand and added again is the configuration's, changed");
	CHECK_INT(pools_del(&f.m, 1), 0);
	CHECK_INT(pools_add(&f.m, 0, &web.backends[1]), 1);
	CHECK_INT(f.m.backend_ctl[1].flags, WEIR_BACKEND_BY_HAND);
	test_end();

	test_begin("backends that make no sense are refused");
	web.backends[4] = backend(5);
	web.backends[4].capacity = 0;
	CHECK_INT(pools_add(&f.m, 0, &web.backends[4]), -EINVAL);
	web.backends[4].capacity = 65537;
	CHECK_INT(pools_add(&f.m, 0, &web.backends[4]), -EINVAL);
	web.backends[4] = backend(5);
	web.backends[4].shard = 1;
	CHECK_INT(pools_add(&f.m, 0, &web.backends[4]), -EINVAL);
	web.backends[4] = backend(5);
	web.backends[4].at.family = 0;
	CHECK_INT(pools_add(&f.m, 0, &web.backends[4]), -EINVAL);
	test_end();
	unload();
}

static void test_grace_fails(void)
{
	load(2);
	put_flow(&f, 0, 1, WEIR_FLOW_TCP, 0);
	f.grace_err = -EIO;
	test_begin("while programs cannot be waited for, no place is given up: the backend is only disabled");
	CHECK_INT(pools_del(&f.m, 1), -EIO);
	CHECK(down(1));
	CHECK_INT(f.m.backends[1].flags, WEIR_BACKEND_DEAD);
	CHECK_STR(f.m.backend_ctl[1].name, "b2");
	CHECK_INT(member(&f, 1)->active, 1);
	f.grace_err = 0;
	CHECK_INT(pools_del(&f.m, 1), 0);
	CHECK_INT(f.m.backends[1].family | member(&f, 1)->active, 0);
	test_end();
	unload();
}

/* 64 backends are all replaced: there is no free place for the new ones at first. */
static void test_full_place(void)
{
	load(64);
	test_begin("a full place whose backends are all replaced has all the new ones in the end");
	for (int i = 0; i < 64; i++)
		web.backends[i] = backend(500 + i);
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(f.m.pool_ctl[0].places, 1);
	for (int i = 0; i < 64; i++)
		CHECK(number(&f, "web", web.backends[i].name) >= 0);
	CHECK_INT(in_table(0, WEIR_BACKEND_NONE), 0);
	test_end();

	test_begin("a command that adds one more takes the next place, and gives it back to the configuration");
	CHECK_INT(pools_add(&f.m, 0, &(struct config_backend){ .name = "x", .at = web.backends[0].at,
							       .via = WEIR_VIA_L2, .capacity = 1 }),
		  64);
	CHECK_INT(f.m.pool_ctl[0].places, 2);
	CHECK_INT(f.m.pools[0].n, 65);
	for (int i = 0; i < 64; i++)
		web.backends[i] = backend(1000 + i);
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(number(&f, "web", "b1"), -1);
	for (int i = 0; i < 64; i++)
		CHECK(number(&f, "web", web.backends[i].name) >= 0);
	CHECK_INT(apply(&f, &conf, true), 0);
	CHECK_INT(f.nlines, 0);
	test_end();
	unload();
}

/* ---- places ----------------------------------------------------------------------------------- */

static void test_shards(void)
{
	setup(&f, BUCKETS);
	web = pool("web", 8);
	web.shards = 4;
	for (int i = 0; i < 8; i++)
		web.backends[i].shard = i % 4;
	web.backends[4].capacity = 400;
	CHECK_INT(apply(&f, &conf, false), 0);

	test_begin("each shard is a pool of its own, in a place of its own");
	CHECK_INT(f.m.pool_ctl[0].places, 4);
	CHECK_INT(number(&f, "web", "b1"), 0);
	CHECK_INT(number(&f, "web", "b5"), 1);
	CHECK_INT(number(&f, "web", "b2"), 64);
	CHECK_INT(number(&f, "web", "b8"), 3 * 64 + 1);
	CHECK_INT(pools_of(&f.m, 3 * 64 + 1), 0);
	for (int p = 0; p < 4; p++) {
		CHECK_INT(f.m.pools[p].n, 2);
		CHECK_INT(in_table(p, 0) + in_table(p, 1), WEIR_MAGLEV);
	}
	CHECK_INT(member(&f, 0)->unit, WEIR_UNIT_MAX);
	CHECK_INT(member(&f, 1)->unit, WEIR_UNIT_MAX / 4);
	CHECK_INT(member(&f, 64)->unit, WEIR_UNIT_MAX);
	CHECK_INT(f.m.pools[0].mean_unit, WEIR_UNIT_MAX / 5);
	CHECK_INT(f.m.pools[1].mean_unit, WEIR_UNIT_MAX / 2);
	test_end();

	test_begin("health of one shard is nothing to the others");
	pools_health(&f.m, 64, WEIR_HEALTH_DOWN, "x");
	CHECK_INT(f.m.pools[1].mean_unit, WEIR_UNIT_MAX);
	CHECK_INT(f.m.pools[2].mean_unit, WEIR_UNIT_MAX / 2);
	test_end();

	test_begin("a backend in another shard is another backend");
	web.backends[1].shard = 2;
	CHECK_INT(apply(&f, &conf, false), 0);
	CHECK_INT(f.nlines, 1);
	check_line(0, "pool web: backend b2: shard 1 -> 2: another backend, the old one's flows go");
	CHECK_INT(number(&f, "web", "b2"), 2 * 64 + 2);
	test_end();

	test_begin("the number of shards of a loaded pool cannot change");
	web.shards = 8;
	CHECK_INT(apply(&f, &conf, false), -EINVAL);
	CHECK_INT(f.nlines, 1);
	check_line(0, "pool web: its shards cannot change from 4 to 8 while it is loaded: give the new pool another "
		      "name");
	test_end();
	unload();
}

static void test_places(void)
{
	struct config_pool pools[3] = { pool("a", 60), pool("b", 1), pool("c", 2) };
	struct config c = { .pools = pools, .npools = 3 };

	setup(&f, BUCKETS);
	CHECK_INT(apply(&f, &c, false), 0);
	test_begin("small pools stand apart, so that they can grow");
	CHECK_INT(pools_find(&f.m, "a"), 0);
	CHECK_INT(pools_find(&f.m, "b"), 4);
	CHECK_INT(pools_find(&f.m, "c"), 8);
	CHECK_INT(pools_find(&f.m, "d"), -ENOENT);
	CHECK_INT(pools_find(&f.m, NULL), -EINVAL);
	test_end();

	test_begin("a pool of more than 64 takes the next place as well; numbers stay");
	for (int i = 60; i < 68; i++)
		pools[0].backends[i] = backend(i + 1);
	pools[0].nbackends = 68;
	put_flow(&f, 0, 59, WEIR_FLOW_TCP, 0);
	CHECK_INT(apply(&f, &c, false), 0);
	CHECK_INT(f.m.pool_ctl[0].places, 2);
	CHECK_INT(f.m.pools[0].n, 68);
	CHECK_INT(f.m.pools[1].n, 4);
	CHECK_INT(number(&f, "a", "b60"), 59);
	CHECK_INT(number(&f, "a", "b68"), 67);
	CHECK_INT(pools_of(&f.m, 67), 0);
	CHECK_INT(member(&f, 59)->active, 1);
	CHECK_INT(in_table(0, 67) > 0, 1);
	CHECK(down(127) && down(68));
	test_end();

	test_begin("a pool that goes takes its flows along and leaves its place");
	put_flow(&f, 1, 4 * 64, WEIR_FLOW_TCP, 0);
	free(pools[1].backends);
	pools[1] = pools[2];
	c.npools = 2;
	CHECK_INT(apply(&f, &c, false), 0);
	CHECK_INT(f.nlines, 1);
	check_line(0, "pool b removed, its flows go");
	CHECK_INT(pools_find(&f.m, "b"), -ENOENT);
	CHECK_INT(pools_find(&f.m, "c"), 8);
	CHECK(f.m.flows[0].word[0] && !f.m.flows[0].word[1]);
	CHECK_INT(f.m.pools[4].n, 0);
	CHECK_INT(member(&f, 4 * 64)->active, 0);
	test_end();
	teardown(&f);
	free(pools[0].backends);
	free(pools[1].backends);
}

/* Everything there is, to see that it stays. */
struct snapshot {
	struct weir_pool pools[WEIR_POOLS_MAX];
	struct weir_ctl_pool pool_ctl[WEIR_POOLS_MAX];
	struct weir_backend backends[WEIR_BACKENDS_MAX];
	struct weir_ctl_backend backend_ctl[WEIR_BACKENDS_MAX];
};

static struct snapshot *snapshot(void)
{
	struct snapshot *s = malloc(sizeof(*s));

	memcpy(s->pools, f.m.pools, sizeof(s->pools));
	memcpy(s->pool_ctl, f.m.pool_ctl, sizeof(s->pool_ctl));
	memcpy(s->backends, f.m.backends, sizeof(s->backends));
	memcpy(s->backend_ctl, f.m.backend_ctl, sizeof(s->backend_ctl));
	return s;
}

/* And frees it. */
static bool as_in(struct snapshot *s)
{
	bool same = !memcmp(s->pools, f.m.pools, sizeof(s->pools)) &&
		    !memcmp(s->pool_ctl, f.m.pool_ctl, sizeof(s->pool_ctl)) &&
		    !memcmp(s->backends, f.m.backends, sizeof(s->backends)) &&
		    !memcmp(s->backend_ctl, f.m.backend_ctl, sizeof(s->backend_ctl));

	free(s);
	return same;
}

static void test_no_room(void)
{
	struct config_pool pools[WEIR_POOLS_MAX + 1];
	struct config c = { .pools = pools, .npools = 63 };
	struct snapshot *s;

	setup(&f, BUCKETS);
	for (int i = 0; i <= WEIR_POOLS_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		pools[i] = pool(name, 1);
	}
	CHECK_INT(apply(&f, &c, false), 0);
	test_begin("with one place left, a pool of two does not fit: nothing changes, and the pool is named");
	pools[63].shards = 2;
	pools[0].backends[0].capacity = 7;
	c.npools = 64;
	s = snapshot();
	CHECK_INT(apply(&f, &c, false), -ENOSPC);
	CHECK(as_in(s));
	CHECK_INT(f.nlines, 1);
	check_line(0, "pool p63: needs 2 free places in a row, of 64; those of pools that go are free after the reload");
	test_end();

	test_begin("all 64 places can be taken, and a pool among others cannot grow");
	pools[63].shards = 1;
	CHECK_INT(apply(&f, &c, false), 0);
	for (int i = 0; i < 64; i++)
		CHECK(pools_find(&f.m, pools[i].name) >= 0);
	free(pools[5].backends);
	pools[5] = pool("p5", 65);
	s = snapshot();
	CHECK_INT(apply(&f, &c, true), -ENOSPC);
	CHECK_INT(apply(&f, &c, false), -ENOSPC);
	CHECK(as_in(s));
	check_line(0, "pool p5: needs 1 free place next to those it has, of 64; those of pools that go are free "
		      "after the reload");
	pools[5].nbackends = 64;
	CHECK_INT(apply(&f, &c, false), 0);
	CHECK_INT(pools_add(&f.m, pools_find(&f.m, "p5"), &pools[5].backends[64]), -ENOSPC);
	test_end();

	test_begin("one pool too many is refused, though another goes: its place is free only afterwards");
	c.pools = pools + 1;
	CHECK_INT(apply(&f, &c, false), -ENOSPC);
	c.npools = 63;
	CHECK_INT(apply(&f, &c, false), 0);
	c.npools = 64;
	CHECK_INT(apply(&f, &c, false), 0);
	test_end();
	teardown(&f);
	for (int i = 0; i <= WEIR_POOLS_MAX; i++)
		free(pools[i].backends);
}

static void test_prepare(void)
{
	struct config_pool pools[2] = { pool("web", 2), pool("new", 2) };
	struct config c = { .pools = pools, .npools = 1 };
	struct weir_pool was;
	__u64 made;

	setup(&f, BUCKETS);
	CHECK_INT(apply(&f, &c, false), 0);
	c.npools = 2;
	pools[0].backends[0].capacity = 7;
	pools[0].nbackends = 1;
	was = f.m.pools[0];

	test_begin("before the programs change, new pools are made, and what runs stays as it is");
	CHECK_INT(pools_prepare(&f.m, &c, &made, on_line, &f), 0);
	CHECK(made == 1ULL << 4);
	CHECK_INT(number(&f, "new", "b2"), 4 * 64 + 1);
	CHECK(!down(4 * 64 + 1));
	CHECK_INT(f.m.pools[4].n, 2);
	CHECK_INT(in_table(4, 0) + in_table(4, 1), WEIR_MAGLEV);
	CHECK_MEM(&f.m.pools[0], sizeof(was), &was, sizeof(was));
	CHECK_INT(number(&f, "web", "b2"), 1);
	test_end();

	test_begin("it can be taken back, with the flows that went there");
	put_flow(&f, 0, 4 * 64, WEIR_FLOW_TCP, 0);
	pools_undo(&f.m, made);
	CHECK_INT(pools_find(&f.m, "new"), -ENOENT);
	CHECK_INT(f.m.backends[4 * 64].family | f.m.pools[4].n, 0);
	CHECK(!f.m.flows[0].word[0]);
	CHECK_MEM(&f.m.pools[0], sizeof(was), &was, sizeof(was));
	test_end();

	test_begin("after it the rest follows");
	CHECK_INT(pools_prepare(&f.m, &c, &made, on_line, &f), 0);
	CHECK_INT(apply(&f, &c, false), 0);
	CHECK_INT(f.nlines, 2);
	CHECK_INT(number(&f, "web", "b2"), -1);
	CHECK_INT(f.m.backends[0].capacity, 7);
	CHECK_INT(number(&f, "new", "b2"), 4 * 64 + 1);
	test_end();
	teardown(&f);
	free(pools[0].backends);
	free(pools[1].backends);
}

/* ---- beside the agent ------------------------------------------------------------------------- */

static void *play_agent(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		pools_health(&f.m, 1, WEIR_HEALTH_DOWN, "x");
		pools_health(&f.m, 1, WEIR_HEALTH_UP, NULL);
		pools_latency(&f.m, 1, 100000);
	}
	return NULL;
}

static void test_agent_race(void)
{
	unsigned chosen = 0;
	pthread_t thread;

	load(2);
	stop = false;
	test_begin("the agent's word does not bring back what a command has just taken out");
	if (CHECK_INT(pthread_create(&thread, NULL, play_agent, NULL), 0)) {
		for (int i = 0; i < 300; i++) {
			pools_admin(&f.m, 1, WEIR_ADMIN_DRAIN);
			usleep(20); /* as a grace period would */
			if (!down(1)) /* it may stand between its store and its second look */
				usleep(10000);
			chosen += !down(1);
			pools_admin(&f.m, 1, WEIR_ADMIN_UP);
		}
		__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
		pthread_join(thread, NULL);
	}
	CHECK_INT(chosen, 0);
	CHECK(!down(1));
	test_end();
	unload();
}

/* ---- nat_back --------------------------------------------------------------------------------- */

static int nat_lookup(const char *addr, int port, int proto, struct weir_nat_back *v)
{
	struct weir_nat_key k = { .addr = { { inet_addr(addr) } }, .port = htons(port), .family = 4, .proto = proto };

	return bpf_map_lookup_elem(f.m.nat_back, &k, v) ? -errno : 0;
}

static unsigned nat_count(void)
{
	struct weir_nat_key k, *last = NULL;
	unsigned n = 0;

	for (; !bpf_map_get_next_key(f.m.nat_back, last, &k); last = &k)
		n++;
	return n;
}

static void test_nat_rows(struct config *c, struct config_service *s)
{
	struct weir_nat_back v = {};

	test_begin("a translated backend's entries name the service's address, by protocol");
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 4);
	CHECK_INT(nat_lookup("10.0.0.1", 8080, IPPROTO_TCP, &v), 0);
	CHECK_INT(v.vip.w[0], inet_addr("192.0.2.1"));
	CHECK_INT(ntohs(v.port), 80);
	CHECK_INT(v.svc, 5);
	CHECK_INT(v.backend, 0);
	CHECK_INT(v.salt, weir_vip_salt(&s->vips[0].addr, s->vips[0].port));
	CHECK_INT(nat_lookup("10.0.0.2", 80, IPPROTO_UDP, &v), 0); /* no port of its own: the service's */
	CHECK_INT(v.backend, 1);
	CHECK_INT(f.m.pools[0].svc, 5);
	test_end();

	test_begin("a protocol that the service leaves, a backend that goes and one that is L2 have none");
	s->flags = WEIR_SVC_TCP;
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 2);
	CHECK_INT(nat_lookup("10.0.0.1", 8080, IPPROTO_UDP, &v), -ENOENT);
	CHECK_INT(pools_del(&f.m, 1), 0);
	CHECK_INT(nat_count(), 1);
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 2);
	web.backends[1].via = WEIR_VIA_L2;
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 1);
	test_end();

	test_begin("the service's address changes: the entry is another at once");
	s->vips[0].addr.w[0] = inet_addr("192.0.2.2");
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_lookup("10.0.0.1", 8080, IPPROTO_TCP, &v), 0);
	CHECK_INT(v.vip.w[0], inet_addr("192.0.2.2"));
	test_end();

	test_begin("several addresses: an entry is the first one's that its port may be of, and the next one's without it");
	s->vips[1] = s->vips[2] = s->vips[0];
	s->vips[1].addr.w[0] = inet_addr("192.0.2.3");
	s->vips[2].port = htons(81);
	s->nvips = 3;
	web.backends[1].via = WEIR_VIA_NAT;
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 3); /* one of the port 8080, and one each of 80 and 81 */
	CHECK_INT(nat_lookup("10.0.0.1", 8080, IPPROTO_TCP, &v), 0);
	CHECK_INT(v.vip.w[0], inet_addr("192.0.2.2"));
	CHECK_INT(ntohs(v.port), 80);
	CHECK_INT(nat_lookup("10.0.0.2", 80, IPPROTO_TCP, &v), 0);
	CHECK_INT(v.vip.w[0], inet_addr("192.0.2.2"));
	CHECK_INT(nat_lookup("10.0.0.2", 81, IPPROTO_TCP, &v), 0);
	CHECK_INT(ntohs(v.port), 81);
	s->vips[0] = s->vips[1];
	s->nvips = 1;
	web.backends[1].via = WEIR_VIA_L2;
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 1);
	CHECK_INT(nat_lookup("10.0.0.1", 8080, IPPROTO_TCP, &v), 0);
	CHECK_INT(v.vip.w[0], inet_addr("192.0.2.3"));
	test_end();

	test_begin("without programs that run, a command cannot add a translated backend: nothing is left of it");
	web.backends[2].via = WEIR_VIA_NAT;
	CHECK(pools_add(&f.m, 0, &web.backends[2]) < 0);
	CHECK_INT(pools_backend(&f.m, 0, web.backends[2].name), -ENOENT);
	CHECK_INT(nat_count(), 1);
	test_end();

	test_begin("a service that has the pool no longer leaves nothing behind");
	s->pool = CONFIG_NO_POOL;
	CHECK_INT(apply(&f, c, false), 0);
	CHECK_INT(nat_count(), 0);
	test_end();
}

static void test_nat(void)
{
	struct config_vip vips[3] = { { .addr = { { inet_addr("192.0.2.1") } }, .port = htons(80), .family = 4 } };
	struct config_service s = { .name = "front", .vips = vips, .nvips = 1, .flags = WEIR_SVC_TCP | WEIR_SVC_UDP,
				    .migrate_pool = CONFIG_NO_POOL, .fallback = CONFIG_NO_POOL };
	struct config c = { .pools = &web, .npools = 1, .services = &s, .nservices = 1 };

	setup(&f, BUCKETS);
	f.m.nat_back = bpf_map_create(BPF_MAP_TYPE_HASH, "nat_back", sizeof(struct weir_nat_key),
				      sizeof(struct weir_nat_back), 2 * WEIR_BACKENDS_MAX, NULL);
	if (f.m.nat_back < 0) {
		test_skip("entries of translated backends", strerror(errno));
		teardown(&f);
		return;
	}
	web = pool("web", 2);
	web.backends[2] = backend(3);
	web.backends[0].via = web.backends[1].via = WEIR_VIA_NAT;
	web.backends[0].at.port = htons(8080);
	strcpy(f.ctl.services[5].name, "front");
	test_nat_rows(&c, &s);
	close(f.m.nat_back);
	unload();
}

int main(void)
{
	test_units();
	test_states();
	test_backups();
	test_quantum();
	test_latency();
	test_slow_start();
	test_spread();
	test_disruption();
	test_same_on_all_hosts();
	test_table_readers();
	test_apply();
	test_by_hand();
	test_grace_fails();
	test_full_place();
	test_shards();
	test_places();
	test_no_room();
	test_prepare();
	test_agent_race();
	test_nat();
	return test_done();
}
