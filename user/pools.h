/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pools of backends in the maps: given their places at load, brought in line with a configuration at
 * reload, changed by commands and by the agent while packets pass. Only memory is touched, the maps hops and
 * nat_back, and the host's routes are asked for the near ends of tunnels. Who writes holds the writers'
 * lock (DP_WRITE); the agent's health and latency need none.
 *
 * A backend is known by its number (include/weir/steer.h); its pool by the number of its first place. In
 * use are those whose backends[].family is not 0. A backend that a command took out, though the configuration
 * has it, keeps its name in backend_ctl (WEIR_BACKEND_GONE), and is not in use.
 */
#ifndef WEIR_POOLS_H
#define WEIR_POOLS_H

#include <stdbool.h>

#include "config.h"
#include "weir/steer.h"

/* The mapped maps. In tests plain memory, nat_back and hops_fd -1, grace NULL. */
struct pools_mem {
	struct weir_ctl *ctl;
	struct weir_pool *pools;		/* WEIR_POOLS_MAX each */
	struct weir_maglev *maglev;
	struct weir_ctl_pool *pool_ctl;
	struct weir_backend *backends;		/* WEIR_BACKENDS_MAX each */
	struct weir_ctl_backend *backend_ctl;
	struct weir_flow_bucket *flows;		/* ctl->flow_buckets each */
	struct weir_histogram *latency;		/* WEIR_BACKEND_PATHS of each backend; NULL: not counted */
	int nat_back, hops_fd;
	int (*grace)(void *arg); /* waits out the programs that run: 0, or -errno; then no place is given up */
	void *grace_arg;
};

/* What a configuration changes, one line each for people: "pool web: backend b3 added". */
typedef void (*pools_change_fn)(const char *line, void *arg);

/*
 * Brings the pools in line with c: pools and backends keep their places by name, new ones take free ones,
 * those that are gone go at last, their flows with them (a backend whose address, port, delivery or shard changed
 * is another one). With `dry`, only says what it would do. Health, active counts and latency stay.
 * What commands changed is as configured again. The services have their numbers in ctl by then: the entries
 * of nat_back are taken anew from theirs. Nothing was changed with -ENOSPC (no places left) and -EINVAL (the
 * number of shards changed); then, as with any failure, the last line says why. fn may be NULL.
 */
int pools_apply(const struct pools_mem *m, const struct config *c, bool dry, pools_change_fn fn, void *arg);
/*
 * The part of it that running programs do not notice: pools of new names are made. For a reload, before the
 * programs change. What was made, a bit for each first place, can be taken back.
 */
int pools_prepare(const struct pools_mem *m, const struct config *c, __u64 *made, pools_change_fn fn, void *arg);
void pools_undo(const struct pools_mem *m, __u64 made);
/* Where only c's services are new: whose the pools are, and nat_back. */
int pools_services(const struct pools_mem *m, const struct config *c);
/* The place of a pool of the configuration, for struct weir_service; WEIR_POOL_NONE: of none. */
unsigned pools_place(const struct pools_mem *m, const char *name);

/* Number of a pool's first place, or -ENOENT. NULL: the only one, -EINVAL when there are several. */
int pools_find(const struct pools_mem *m, const char *pool);
/* Number of a backend of a pool, or -ENOENT. */
int pools_backend(const struct pools_mem *m, unsigned pool, const char *name);
/* The first place of the pool that a backend is in. */
unsigned pools_of(const struct pools_mem *m, unsigned backend);
/* The agent was seen lately: it is, each second. */
#define AGENT_LOST_NS 10000000000ULL
bool agent_is_here(const struct weir_ctl *ctl);
/* The next used backend of the pool after `backend` (-1: the first), or -1. */
int pools_next(const struct pools_mem *m, unsigned pool, int backend);

/* ---- commands: marked WEIR_BACKEND_BY_HAND ---- */

/*
 * The new backend's number; its slow start begins. -ENOSPC; -EEXIST: the name, or with NAT the address and
 * port; -EINVAL; -ENOTSUP: no program that runs translates for this pool, -EAFNOSUPPORT: its service has no
 * address of this family (both of NAT).
 */
int pools_add(const struct pools_mem *m, unsigned pool, const struct config_backend *b);
/* Capacity (0: leave), backup (-1: leave). */
int pools_set(const struct pools_mem *m, unsigned backend, __u32 capacity, int backup);
/* WEIR_ADMIN_*. */
int pools_admin(const struct pools_mem *m, unsigned backend, __u32 admin);
/* Its flows go with it. */
int pools_del(const struct pools_mem *m, unsigned backend);

/* ---- the agent ---- */

/*
 * WEIR_HEALTH_*; `why` of a failure, or NULL. Down: its flows move at once; up again: slow start begins. Counts
 * of checks are the caller's.
 */
void pools_health(const struct pools_mem *m, unsigned backend, __u32 health, const char *why);
/* One measured latency: smoothed (an eighth of the difference each time), and put into the rank. */
void pools_latency(const struct pools_mem *m, unsigned backend, __u64 ns);
/* None of those so far counts any more. */
void pools_latency_unknown(const struct pools_mem *m, unsigned backend);
/*
 * Lets slow starts fade, and latencies that nobody has measured for a while; fits each pool's mask to its
 * load. At least once a second. now: CLOCK_MONOTONIC.
 */
void pools_fade(const struct pools_mem *m, __u64 now_ns);
/* Asks the routes again for the near ends of all tunnels. */
void pools_sources(const struct pools_mem *m);

#endif
