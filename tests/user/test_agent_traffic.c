/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which latencies decide between a pool's backends: those of requests, of connects, or of checks; never two kinds. */
#include "agent_traffic.h"

#include "pool_fixture.h"
#include "weir/latency.h"

#define MS 1000000ULL

struct scene {
	struct fixture f;
	struct traffic *t;
	struct config_pool pools[1];
	struct config c;
};

static void begin(struct scene *s, unsigned backends)
{
	setup(&s->f, BUCKETS);
	s->f.m.latency = calloc(WEIR_BACKENDS_MAX * WEIR_BACKEND_PATHS, sizeof(struct weir_histogram));
	s->pools[0] = pool("p", backends);
	s->c = (struct config){ .pools = s->pools, .npools = 1 };
	CHECK_INT(apply(&s->f, &s->c, false), 0);
	s->t = traffic_new();
	traffic_look(s->t, &s->f.m);
}

static void end(struct scene *s)
{
	traffic_free(s->t);
	free(s->f.m.latency);
	free(s->pools[0].backends);
	teardown(&s->f);
}

/* As the programs count. */
static void count(struct scene *s, unsigned backend, unsigned path, unsigned n, __u64 ns)
{
	struct weir_histogram *h = &s->f.m.latency[backend * WEIR_BACKEND_PATHS + path];

	h->sum_ns += n * ns;
	h->n[weir_lat_bucket(ns)] += n;
}

static __u64 latency(struct scene *s, unsigned backend)
{
	return s->f.m.backend_ctl[backend].latency_ns;
}

static void look(struct scene *s)
{
	traffic_look(s->t, &s->f.m);
}

static void test_mean(void)
{
	static struct scene s;

	begin(&s, 2);
	test_begin("the mean of a second's requests; a few do not count before they are four");
	count(&s, 0, WEIR_BACKEND_REQUEST, 2, 10 * MS);
	count(&s, 0, WEIR_BACKEND_REQUEST, 2, 20 * MS);
	count(&s, 1, WEIR_BACKEND_REQUEST, 3, 5 * MS);
	look(&s);
	CHECK_INT(latency(&s, 0), 15 * MS);
	CHECK_INT(latency(&s, 1), 0);
	CHECK(traffic_measured(s.t, 0));
	count(&s, 1, WEIR_BACKEND_REQUEST, 1, 9 * MS);
	look(&s);
	CHECK_INT(latency(&s, 1), 6 * MS);
	test_end();

	test_begin("each is one step of the smoothing, and what was taken is not taken again");
	count(&s, 0, WEIR_BACKEND_REQUEST, 1000, 23 * MS);
	look(&s);
	CHECK_INT(latency(&s, 0), 16 * MS);
	look(&s);
	CHECK_INT(latency(&s, 0), 16 * MS);
	test_end();

	test_begin("too few for ten seconds are forgotten");
	count(&s, 1, WEIR_BACKEND_REQUEST, 3, 100 * MS);
	for (int i = 0; i < 11; i++)
		look(&s);
	count(&s, 1, WEIR_BACKEND_REQUEST, 4, 14 * MS);
	look(&s);
	CHECK_INT(latency(&s, 1), 14 * MS); /* another beginning: there was no source for ten seconds */
	test_end();

	test_begin("a place that another backend was given begins anew");
	memset(&s.f.m.latency[0], 0, sizeof(s.f.m.latency[0]));
	s.f.m.backend_ctl[0].latency_ns = 0;
	count(&s, 0, WEIR_BACKEND_REQUEST, 4, 3 * MS);
	look(&s);
	CHECK_INT(latency(&s, 0), 3 * MS);
	test_end();
	end(&s);
}

static void test_old(void)
{
	static struct scene s;

	begin(&s, 1);
	test_begin("what was counted before the agent began does not count");
	count(&s, 0, WEIR_BACKEND_REQUEST, 100, 50 * MS);
	traffic_begin(s.t);
	look(&s);
	CHECK_INT(latency(&s, 0), 0);
	CHECK(!traffic_measured(s.t, 0));
	test_end();
	end(&s);
}

static void test_source(void)
{
	static struct scene s;

	begin(&s, 3);
	test_begin("from checks to requests: who was not measured keeps its place in proportion");
	pools_latency(&s.f.m, 0, 1 * MS);
	pools_latency(&s.f.m, 1, 2 * MS);
	pools_latency(&s.f.m, 2, 30 * MS);
	count(&s, 0, WEIR_BACKEND_REQUEST, 10, 4 * MS);
	count(&s, 1, WEIR_BACKEND_REQUEST, 10, 8 * MS);
	look(&s);
	CHECK_INT(latency(&s, 0), 4 * MS);
	CHECK_INT(latency(&s, 1), 8 * MS);
	CHECK_INT(latency(&s, 2), 120 * MS);
	test_end();

	test_begin("connects say nothing beside requests");
	count(&s, 2, WEIR_BACKEND_CONNECT, 10, 1 * MS);
	look(&s);
	CHECK_INT(latency(&s, 2), 120 * MS);
	test_end();

	test_begin("but are what is left when requests have been none for ten seconds");
	for (int i = 0; i < 9; i++) {
		count(&s, 2, WEIR_BACKEND_CONNECT, 10, 1 * MS);
		look(&s);
	}
	CHECK_INT(latency(&s, 2), 1 * MS);
	CHECK(traffic_measured(s.t, 0));
	test_end();

	test_begin("then checks, for all or none of the pool");
	for (int i = 0; i < 10; i++)
		look(&s);
	CHECK(!traffic_measured(s.t, 0));
	for (unsigned b = 0; b < 3; b++)
		CHECK_INT(latency(&s, b), 0);
	test_end();
	end(&s);
}

static void test_guess(void)
{
	static struct scene s;

	begin(&s, 2);
	test_begin("the first that is measured takes the place of such a guess, the next ones are smoothed");
	pools_latency(&s.f.m, 0, 1 * MS);
	pools_latency(&s.f.m, 1, 1 * MS);
	count(&s, 0, WEIR_BACKEND_REQUEST, 10, 4 * MS);
	look(&s);
	CHECK_INT(latency(&s, 1), 4 * MS);
	count(&s, 1, WEIR_BACKEND_REQUEST, 10, 40 * MS);
	look(&s);
	CHECK_INT(latency(&s, 1), 40 * MS);
	count(&s, 1, WEIR_BACKEND_REQUEST, 10, 48 * MS);
	look(&s);
	CHECK_INT(latency(&s, 1), 41 * MS);
	test_end();
	end(&s);
}

static void test_none(void)
{
	static struct scene s;

	begin(&s, 1);
	test_begin("where no latencies are counted, checks have their way");
	free(s.f.m.latency);
	s.f.m.latency = NULL;
	pools_latency(&s.f.m, 0, 7 * MS);
	look(&s);
	CHECK_INT(latency(&s, 0), 7 * MS);
	CHECK(!traffic_measured(s.t, 0));
	test_end();
	end(&s);
}

int main(void)
{
	test_mean();
	test_old();
	test_source();
	test_guess();
	test_none();
	return test_done();
}
