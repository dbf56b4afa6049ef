// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_traffic.h"

#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "latency.h"

#define SAMPLES_MIN 4  /* a mean of fewer says little, */
#define LATELY_S    10 /* and so much later they are no longer worth anything */

/* What a pool's backends are compared by: the last that is not BY_CHECKS. */
enum source { BY_CHECKS, BY_CONNECT, BY_REQUEST };

struct path {
	__u64 n, sum_ns; /* that were taken already, */
	__u8 age;	 /* so many seconds ago */
	__u64 mean_ns;	 /* of those since; 0: too few so far */
};

struct traffic {
	bool first; /* what the maps hold is of old */
	struct path paths[WEIR_BACKENDS_MAX][WEIR_BACKEND_PATHS];
	__u8 left[WEIR_POOLS_MAX][WEIR_BACKEND_PATHS]; /* seconds until that is no longer lately */
	enum source source[WEIR_POOLS_MAX];
	bool guessed[WEIR_BACKENDS_MAX]; /* the latency was not measured by the source, but given in proportion */
};

struct traffic *traffic_new(void)
{
	struct traffic *t = calloc(1, sizeof(*t));

	if (t)
		traffic_begin(t);
	return t;
}

void traffic_free(struct traffic *t)
{
	free(t);
}

void traffic_begin(struct traffic *t)
{
	memset(t, 0, sizeof(*t));
	t->first = true;
}

static void take(struct path *p, __u64 n, __u64 sum_ns)
{
	p->n = n;
	p->sum_ns = sum_ns;
	p->age = 0;
}

/* Whether there is a mean now. Counts that became less are those of another backend in this place. */
static bool look_at_path(struct traffic *t, const struct pools_mem *m, unsigned backend, unsigned path)
{
	const struct weir_histogram *h = &m->latency[backend * WEIR_BACKEND_PATHS + path];
	struct path *p = &t->paths[backend][path];
	__u64 n = latency_count(h), sum = __atomic_load_n(&h->sum_ns, __ATOMIC_RELAXED);

	p->mean_ns = 0;
	if (n < p->n || sum < p->sum_ns)
		take(p, 0, 0);
	if (t->first || ++p->age > LATELY_S) {
		take(p, n, sum);
	} else if (n >= p->n + SAMPLES_MIN) {
		p->mean_ns = (sum - p->sum_ns) / (n - p->n);
		take(p, n, sum);
	}
	return p->mean_ns;
}

static enum source source_of(struct traffic *t, unsigned pool, const bool *any)
{
	for (unsigned path = 0; path < WEIR_BACKEND_PATHS; path++) {
		if (any[path])
			t->left[pool][path] = LATELY_S;
		else if (t->left[pool][path])
			t->left[pool][path]--;
	}
	return t->left[pool][WEIR_BACKEND_REQUEST] ? BY_REQUEST :
	       t->left[pool][WEIR_BACKEND_CONNECT] ? BY_CONNECT :
						     BY_CHECKS;
}

static unsigned path_of(enum source source)
{
	return source == BY_REQUEST ? WEIR_BACKEND_REQUEST : WEIR_BACKEND_CONNECT;
}

/* How many times as large as before latencies are in the new way, by those that are known in both; 0: none is. */
static double ratio(const struct traffic *t, const struct pools_mem *m, unsigned pool, unsigned path)
{
	double before = 0, now = 0;

	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		if (!t->paths[b][path].mean_ns || !m->backend_ctl[b].latency_ns)
			continue;
		before += m->backend_ctl[b].latency_ns;
		now += t->paths[b][path].mean_ns;
	}
	return before > 0 ? now / before : 0;
}

/*
 * By something else from now on, which nothing of before can be compared with. Who was not yet measured in the new
 * way is given what it had in proportion, or all would be sent to the slow ones until these are known.
 */
static void change_source(struct traffic *t, const struct pools_mem *m, unsigned pool, enum source to)
{
	double times = to == BY_CHECKS ? 0 : ratio(t, m, pool, path_of(to));

	t->source[pool] = to;
	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		__u64 before = m->backend_ctl[b].latency_ns;

		pools_latency_unknown(m, b);
		t->guessed[b] = to != BY_CHECKS && !t->paths[b][path_of(to)].mean_ns;
		if (t->guessed[b])
			pools_latency(m, b, before * times);
	}
}

/* What is measured takes the place of a guess at once: smoothed with it, it would count an eighth. */
static void measured(struct traffic *t, const struct pools_mem *m, unsigned backend, __u64 mean_ns)
{
	if (!mean_ns)
		return;
	if (t->guessed[backend])
		pools_latency_unknown(m, backend);
	t->guessed[backend] = false;
	pools_latency(m, backend, mean_ns);
}

static void look_at_pool(struct traffic *t, const struct pools_mem *m, unsigned pool)
{
	bool any[WEIR_BACKEND_PATHS] = {};
	enum source source;

	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		for (unsigned path = 0; path < WEIR_BACKEND_PATHS; path++)
			any[path] |= look_at_path(t, m, b, path);
	}
	source = source_of(t, pool, any);
	if (source != t->source[pool])
		change_source(t, m, pool, source);
	for (int b = pools_next(m, pool, -1); source != BY_CHECKS && b >= 0; b = pools_next(m, pool, b))
		measured(t, m, b, t->paths[b][path_of(source)].mean_ns);
}

void traffic_look(struct traffic *t, const struct pools_mem *m)
{
	for (int p = next_pool(m, -1); m->latency && p >= 0; p = next_pool(m, p))
		look_at_pool(t, m, p);
	t->first = false;
}

bool traffic_measured(const struct traffic *t, unsigned pool)
{
	return t->source[pool] != BY_CHECKS;
}
