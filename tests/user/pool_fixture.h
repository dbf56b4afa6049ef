/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pools and flows over plain memory, and configurations made by hand: for tests of both. */
#ifndef WEIR_POOL_FIXTURE_H
#define WEIR_POOL_FIXTURE_H

#include <arpa/inet.h>
#include <stdlib.h>

#include "flows.h"
#include "pools.h"
#include "test.h"

#define BUCKETS 64
#define LINES	64

struct fixture {
	struct weir_ctl ctl;
	struct pools_mem m;
	unsigned graces;
	int grace_err;
	/* What pools_apply() said. */
	char line[LINES][256];
	unsigned nlines;
};

static inline int fixture_grace(void *arg)
{
	struct fixture *f = arg;

	f->graces++;
	return f->grace_err;
}

static inline void setup(struct fixture *f, __u32 buckets)
{
	memset(f, 0, sizeof(*f));
	f->ctl.flow_buckets = buckets;
	f->ctl.ncpu = 1;
	f->m = (struct pools_mem){
		.ctl = &f->ctl,
		.pools = calloc(WEIR_POOLS_MAX, sizeof(struct weir_pool)),
		.maglev = calloc(WEIR_POOLS_MAX, sizeof(struct weir_maglev)),
		.pool_ctl = calloc(WEIR_POOLS_MAX, sizeof(struct weir_ctl_pool)),
		.backends = calloc(WEIR_BACKENDS_MAX, sizeof(struct weir_backend)),
		.backend_ctl = calloc(WEIR_BACKENDS_MAX, sizeof(struct weir_ctl_backend)),
		.flows = calloc(buckets, sizeof(struct weir_flow_bucket)),
		.nat_back = -1,
		.hops_fd = -1,
		.grace = fixture_grace,
		.grace_arg = f,
	};
}

static inline void teardown(struct fixture *f)
{
	free(f->m.pools);
	free(f->m.maglev);
	free(f->m.pool_ctl);
	free(f->m.backends);
	free(f->m.backend_ctl);
	free(f->m.flows);
}

static inline void on_line(const char *line, void *arg)
{
	struct fixture *f = arg;

	if (f->nlines < LINES)
		snprintf(f->line[f->nlines++], sizeof(f->line[0]), "%s", line);
}

static inline int apply(struct fixture *f, const struct config *c, bool dry)
{
	f->nlines = 0;
	memset(f->line, 0, sizeof(f->line));
	return pools_apply(&f->m, c, dry, on_line, f);
}

/* "b7" at 10.0.0.7, capacity 100, L2: where routes do not matter. */
static inline struct config_backend backend(unsigned n)
{
	struct config_backend b = {
		.at = { .addr = { { htonl(0x0a000000 + n) } }, .family = 4 },
		.via = WEIR_VIA_L2,
		.capacity = 100,
		.quic_id = CONFIG_NO_QUIC_ID,
	};

	snprintf(b.name, sizeof(b.name), "b%u", n);
	return b;
}

/* b1 .. bn in a pool of this name. */
static inline struct config_pool pool(const char *name, unsigned n)
{
	struct config_pool p = {
		.backends = calloc(n + 8, sizeof(struct config_backend)), /* room for a few more */
		.nbackends = n,
		.shards = 1,
		.via = WEIR_VIA_L2,
		.bound = 25,
	};

	snprintf(p.name, sizeof(p.name), "%s", name);
	for (unsigned i = 0; i < n; i++)
		p.backends[i] = backend(i + 1);
	return p;
}

static inline struct weir_member *member(struct fixture *f, unsigned backend)
{
	return &f->m.pools[backend / WEIR_POOL_BACKENDS].member[backend % WEIR_POOL_BACKENDS];
}

/* Of a pool whose backends all have numbers of one place; -1: none of this name. */
static inline int number(struct fixture *f, const char *pool, const char *name)
{
	int p = pools_find(&f->m, pool), b = p < 0 ? p : pools_backend(&f->m, p, name);

	return b < 0 ? -1 : b;
}

/* A flow's word as a program would write it. */
static inline __u64 flow_word(__u64 tag, unsigned backend, unsigned state, __u32 tick)
{
	return tag << WEIR_FLOW_TAG | (__u64)backend << WEIR_FLOW_BACKEND | state << WEIR_FLOW_STATE |
	       (tick & WEIR_TICK_MASK);
}

/* Puts one at this place of the table, and counts it. */
static inline void put_flow(struct fixture *f, unsigned at, unsigned backend, unsigned state, __u32 tick)
{
	f->m.flows[at / WEIR_BUCKET_WORDS].word[at % WEIR_BUCKET_WORDS] = flow_word(at + 1, backend, state, tick);
	member(f, backend)->active += weir_flow_counts(state);
}

#endif
