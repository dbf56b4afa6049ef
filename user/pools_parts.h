/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What pools.c does for pools_apply.c. */
#ifndef WEIR_POOLS_PARTS_H
#define WEIR_POOLS_PARTS_H

#include <string.h>

#include "pools.h"

#define PLACES_PER_POOL 4 /* that one without shards can have */

/* Sets of backends: a bit for each, a word for each place. */
struct backend_set {
	__u64 bits[WEIR_POOLS_MAX];
};

static inline void set_add(struct backend_set *s, unsigned backend)
{
	s->bits[backend / WEIR_POOL_BACKENDS] |= 1ULL << backend % WEIR_POOL_BACKENDS;
}

static inline bool set_has(const struct backend_set *s, unsigned backend)
{
	return s->bits[backend / WEIR_POOL_BACKENDS] >> backend % WEIR_POOL_BACKENDS & 1;
}

static inline bool pools_used(const struct pools_mem *m, unsigned backend)
{
	return __atomic_load_n(&m->backends[backend].family, __ATOMIC_ACQUIRE);
}

static inline bool same_name(const char *a, const char *b)
{
	return !strncmp(a, b, WEIR_NAME_MAX);
}

/* A free place for a backend of this shard, or -ENOSPC; a name that a command took out has its own. */
int pools_room(const struct pools_mem *m, unsigned pool, const struct config_backend *b);
/* Puts it there; it is not chosen before the pool is settled. */
void pools_put(const struct pools_mem *m, unsigned backend, const struct config_backend *b, __u32 flags);
void pools_slow_start(const struct pools_mem *m, unsigned backend);
/* Changes its admin state; true when it was another. */
bool pools_set_admin(const struct pools_mem *m, unsigned backend, __u32 admin);
/* All that follows from who is in the pool: ranks, units, Maglev's table. */
void pools_settle(const struct pools_mem *m, unsigned pool);
/* Takes backends out, and their flows; their places are free then. -errno: they are only disabled. */
int pools_retire(const struct pools_mem *m, const struct backend_set *gone);
void pools_source(const struct pools_mem *m, unsigned backend);

#endif
