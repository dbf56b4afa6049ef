/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of bpf/maps.bpf.h from the control plane's side: created, pinned, found again, mapped. */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <bpf/libbpf.h>
#include <stdbool.h>

#include "config.h"
#include "hotset.h"
#include "pools.h"

enum map_id {
	MAP_CTL,
	MAP_INDEX,
	MAP_SLABS,
	MAP_HITS,
	MAP_FENCE,
	MAP_SVC_FENCE,
	MAP_PENDING,
	MAP_STATS,
	MAP_POOLS,
	MAP_BACKENDS,
	MAP_MAGLEV,
	MAP_FLOWS,
	MAP_FRAGS,
	MAP_HOPS,
	MAP_NAT_BACK,
	MAP_POOL_CTL,
	MAP_BACKEND_CTL,
	MAP_LATENCY,
	MAP_BACKEND_LAT,
	MAP_FLOW_RECS,
	MAP_CONNS,
	MAP_TRACK,
	MAP_SAMPLES,
	MAP_INVALIDATIONS,
	MAP_COUNT
};

struct maps {
	int fd[MAP_COUNT];
	void *at[MAP_COUNT]; /* where mapped, or NULL */
	size_t len[MAP_COUNT];
	struct hotset_mem mem;
	struct pools_mem pools;
};

/* Sizes the maps for `c`, creates and maps them, and writes a control block in state LOADING with a
 * fresh seed, no interfaces and no services. 0 or -errno; then nothing is left open. */
int maps_create(struct maps *m, const struct config *c);
/* Opens what is pinned in dir. -ENOENT: nothing is; -ESTALE: a part is missing; -EPROTO: of another
 * version (ctl is then mapped no further than its magic). `write`: mapped for writing. */
int maps_open(struct maps *m, const char *dir, bool write);
/* Pins all in dir, ctl last. */
int maps_pin(struct maps *m, const char *dir);
void maps_unpin(const char *dir);
/* Makes an object that is not yet loaded use these maps, each by its name. */
int maps_give(struct maps *m, struct bpf_object *obj);
/* Lets m use some maps of `from` in the place of its own, which are given up. */
int maps_share(struct maps *m, struct maps *from, const int *ids, int n);
void maps_close(struct maps *m);
/* Makes what a grace period needs, and capabilities, so that later ones need none. 0 or -errno. */
int maps_prepare_grace(void);

static inline struct weir_ctl *maps_ctl(struct maps *m)
{
	return m->at[MAP_CTL];
}

/* How often flows are measured, for who looks. (The programs have it from maps_config().) */
void maps_set_latency(struct weir_ctl *ctl, const struct config *c);

const char *map_name(enum map_id id);
/* How many elements it has where ctl is as it is. */
__u32 map_entries(const struct weir_ctl *ctl, enum map_id id);

/*
 * The programs' constant configuration. `ids` gives each of c's services its number (that of
 * ctl->services); the pools have their places by then. -ENOSPC when the addresses find no collision-free places.
 */
int maps_config(struct weir_config *out, const struct config *c, const __u8 *ids, const struct maps *m, __u32 mtu);
/* Of one service: *to is zeroed. A pool that has no place yet is WEIR_POOL_NONE. */
void maps_service(struct weir_service *to, const struct config_service *s, const struct config *c,
		  const struct pools_mem *pools);

#endif
