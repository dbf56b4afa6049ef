/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the commands say of pools and backends, in words and in JSON, and how they find those named. */
#ifndef WEIR_BACKENDS_H
#define WEIR_BACKENDS_H

#include "pools.h"
#include "session.h"

/*
 * The pool named (NULL: the only one), or its backend. 0, or the exit status after the reason was told;
 * of a pool that must be named EXIT_USAGE.
 */
int find_pool(const struct session *s, const char *name, unsigned *pool);
int find_backend(const struct session *s, unsigned pool, const char *name, unsigned *backend);

/* The next pool's first place after `pool` (-1: the first), or -1. */
int next_pool(const struct pools_mem *m, int pool);
/* As pools_next(), with those that a command took out of what the configuration has. */
int next_backend(const struct pools_mem *m, unsigned pool, int backend);

/* Whether a flow's backend is one that is there: not this host, nor one that is gone. */
bool backend_known(const struct pools_mem *m, unsigned backend);

const char *pool_name(const struct pools_mem *m, unsigned pool);
/* "web/b1"; a static ring. */
const char *backend_name(const struct pools_mem *m, unsigned backend);
/* "10.0.0.1", "10.0.0.1:80", "[fd00::1]:80"; a static ring. */
const char *backend_address(const struct weir_backend *b);
const char *addr_text(const struct weir_addr *a, int family, __be16 port);

const char *via_name(unsigned via);
const char *scheduler_name(unsigned scheduler);
const char *fail_name(unsigned fail);
const char *admin_name(unsigned admin);
const char *health_name(unsigned health);
/* In a word: "up", "slow start", "draining", "disabled", "down", "removed". */
const char *backend_state(const struct pools_mem *m, unsigned backend);

/* Backends of a pool that take new connections. */
unsigned count_up(const struct pools_mem *m, unsigned pool);
/* Active connections of a pool, and how many backends it has. */
__u64 pool_active(const struct pools_mem *m, unsigned pool, unsigned *backends);
__u32 backend_active(const struct pools_mem *m, unsigned backend);
/*
 * Active connections for its capacity, against the mean of those in its pool (in its shard) that new ones go
 * to. Negative: these have none.
 */
double backend_load(const struct pools_mem *m, unsigned backend);
/* Its shard; 0 where the pool has one. */
unsigned backend_shard(const struct pools_mem *m, unsigned backend);
/* What commands did, so that it differs from the configuration: "added", "changed", "removed", or NULL. */
const char *backend_drift(const struct pools_mem *m, unsigned backend);
/* How many backends, pools and services commands changed, since the last load or reload. */
unsigned count_by_hand(const struct pools_mem *m);

json_t *json_backend(const struct session *s, unsigned backend);

#endif
