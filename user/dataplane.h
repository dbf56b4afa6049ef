/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The loaded data plane: programs on interfaces, maps pinned under /sys/fs/bpf/weir/. Everything
 * that outlives a command is in the pins; this module finds it, changes it, and takes it away.
 */
#ifndef WEIR_DATAPLANE_H
#define WEIR_DATAPLANE_H

#include <stdbool.h>

#include "config.h"
#include "hotset.h"
#include "maps.h"
#include "pools.h"

#define WEIR_PIN_DIR "/sys/fs/bpf/weir"

struct dataplane;

/* DP_WRITE takes the writers' lock; DP_AGENT writes without it what needs none (see pools.h). */
enum dp_access { DP_READ, DP_WRITE, DP_AGENT };

/*
 * Opens what is loaded. 0 or -errno with a sentence in dp_error(): -ENOENT not loaded, -EPROTO
 * another version's, -EBUSY the lock, -ESTALE a load or unload was interrupted, -EPERM; of DP_AGENT
 * -EXDEV loaded in another network namespace.
 */
int dp_open(struct dataplane **out, enum dp_access access);
void dp_close(struct dataplane *dp);
/* Whether it is still what is loaded: 0, -ENOENT nothing is, -ESTALE something else is, or it is going. */
int dp_current(struct dataplane *dp);
/* The writers' lock, without waiting: a descriptor that holds it until it is closed; -EBUSY; or as dp_current(). */
int dp_lock_now(struct dataplane *dp);
/* Makes this process the agent. A descriptor that holds this until it is closed; -EBUSY another one is. */
int dp_agent_lock(void);
const char *dp_error(void);

struct weir_ctl *dp_ctl(struct dataplane *dp);
/* The memory of the hot set; with DP_WRITE its grace period works. */
const struct hotset_mem *dp_hotset_mem(struct dataplane *dp);
/* The memory of pools and flows; with DP_WRITE pools can change. */
const struct pools_mem *dp_pools(struct dataplane *dp);
/* All maps; with DP_READ their memory may only be read. */
struct maps *dp_maps(struct dataplane *dp);
/* It was loaded in another network namespace: its interfaces are not those here. */
bool dp_elsewhere(struct dataplane *dp);
/* Counters of service svc (WEIR_SVC_NONE: of none), summed over CPUs: WEIR_R_COUNT elements. */
int dp_counts(struct dataplane *dp, unsigned svc, struct weir_count *counts);
/* Packets and bytes that were sent to a backend, summed over CPUs; none when they cannot be read. */
void dp_sent(struct dataplane *dp, unsigned backend, struct weir_count *sum);
/* Number of a service, or -ENOENT; NULL: the only one, -EINVAL when there are several. */
int dp_service(struct dataplane *dp, const char *name);

/* What is attached where now, against what the control block says. */
struct dp_iface_state {
	bool present;	  /* the interface exists */
	bool attached;	  /* our program is on it */
	bool dispatcher;  /* under libxdp's dispatcher */
	unsigned mode;	  /* WEIR_MODE_*, 0 unknown */
	bool egress;	  /* the egress program is on it */
	unsigned mtu;
};
int dp_iface_state(struct dataplane *dp, const struct weir_ctl_iface *ci, struct dp_iface_state *st);

struct dp_load_opts {
	const char *iface;     /* NULL: those of the configuration */
	unsigned mode;	       /* 0: as configured */
};
int dp_load(const struct config *c, const struct dp_load_opts *o);
int dp_reload(const struct config *c);
/*
 * Only the services become c's, as commands have them; its pools name those that are loaded. -EAGAIN: what was
 * loaded when c was made of it, of this generation, has changed since.
 */
int dp_reload_services(const struct config *c, __u32 generation);
/* Idempotent: finishes what an interrupted load or unload left. -ENOENT: nothing there. */
int dp_unload(void);

#endif
