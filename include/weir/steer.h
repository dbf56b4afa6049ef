/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ABI of steering: pools of backends, the flow table, next hops. Who writes what is said at each
 * map in bpf/maps.bpf.h. Byte order is the host's unless the type says __be.
 */
#ifndef WEIR_STEER_H
#define WEIR_STEER_H

#include <linux/types.h>

#include "abi.h"

/* ---- backends ------------------------------------------------------------------------------- */

/*
 * Backend number = place of its pool * WEIR_POOL_BACKENDS + place in the pool; a pool of more than
 * that many takes several places of pools, one after another. A number keeps its meaning while flows
 * name it: a place is given to another backend only after its flows have been taken out of the table.
 */
#define WEIR_BACKEND_NONE 0xffff

#define WEIR_VIA_L2	1 /* same segment: only the MAC address changes, the backend answers the client (DSR) */
#define WEIR_VIA_TUNNEL 2 /* IPIP, IP6IP6 and the two mixtures, by the families of packet and backend (DSR) */
#define WEIR_VIA_NAT	3 /* destination translated, and the reply's source back */

#define WEIR_BACKEND_DEAD (1 << 0) /* its flows move: no packet goes there any more */

struct weir_backend {
	struct weir_addr addr;	 /* the tunnel's far end, NAT's destination, the next hop of L2 */
	struct weir_addr source; /* the tunnel's near end; of the family of addr */
	__be16 port;		 /* of NAT; 0: the service's own */
	__u8 family;		 /* of addr: 4 or 6; 0: the place is free */
	__u8 via;		 /* WEIR_VIA_* */
	__u32 flags;		 /* WEIR_BACKEND_* */
	__u32 quic_id;		 /* as in connection ids, in wire order read as a number */
	__u32 capacity;		 /* as configured: connections, or any unit common to the pool */
	__u32 pad[4];
};
_Static_assert(sizeof(struct weir_backend) == 64, "weir_backend");

/* backend_ctl: the same backend for the control plane; programs do not look at it. */

#define WEIR_ADMIN_UP	    0
#define WEIR_ADMIN_DRAIN    1 /* takes no new flows, keeps the old */
#define WEIR_ADMIN_DISABLED 2 /* takes none at all: its flows move */

#define WEIR_HEALTH_UNKNOWN 0 /* not checked, or not yet: taken for up */
#define WEIR_HEALTH_UP	    1
#define WEIR_HEALTH_DOWN    2

#define WEIR_BACKEND_BACKUP	 (1 << 0)
#define WEIR_BACKEND_BY_HAND	 (1 << 1) /* a command changed or made it: differs from the configuration */
#define WEIR_BACKEND_GONE	 (1 << 2) /* a command took it out, though the configuration has it */
#define WEIR_BACKEND_ADDED	 (1 << 3) /* a command made it: the configuration does not have it */

struct weir_ctl_backend {
	char name[WEIR_NAME_MAX];   /* "": the place is free */
	__u32 admin;		    /* WEIR_ADMIN_* */
	__u32 health;		    /* WEIR_HEALTH_*, by the agent */
	__u32 flags;		    /* WEIR_BACKEND_BACKUP .. */
	__u32 ballast;		    /* connections that slow start put on top at first: less and less until */
	__u64 slow_until_ns;	    /* CLOCK_MONOTONIC; 0: no slow start */
	__u64 since;		    /* seconds since 1970: of the last change of admin or health */
	__u64 latency_ns;	    /* smoothed; 0: unknown */
	__u64 latency_at_ns;	    /* CLOCK_MONOTONIC: when it was last measured, or halved for want of that */
	__u64 checks_ok, checks_failed;
	char why[64];		    /* the last check's failure, "" after a success */
};
_Static_assert(sizeof(struct weir_ctl_backend) == 160, "weir_ctl_backend");

/* pool_ctl: a pool's place for the control plane. */
#define WEIR_POOL_BY_HAND (1 << 0) /* a command set its scheduler or the like: differs from the configuration */

struct weir_ctl_pool {
	char name[WEIR_NAME_MAX]; /* of the pool's first place; "": free, or a further place */
	__u32 places;		  /* how many it takes, from here on */
	__u32 shards;		  /* that many pools of one place each, a power of two; 1: not sharded */
	__u64 slow_start_ns;	  /* 0: none */
	__u32 delivery;		  /* WEIR_VIA_*, of backends that a command adds */
	__u32 flags;		  /* WEIR_POOL_* */
	__u32 quantum;		  /* percent of the mean load that counts as equal: the agent makes `mask` of it */
	__u32 pad;
};
_Static_assert(sizeof(struct weir_ctl_pool) == 64, "weir_ctl_pool");

/* ---- pools ---------------------------------------------------------------------------------- */

#define WEIR_SCHED_LEAST_LOADED	  0
#define WEIR_SCHED_MAGLEV	  1
#define WEIR_SCHED_MAGLEV_BOUNDED 2

#define WEIR_FAIL_DROP	0 /* when no backend is left: silence, */
#define WEIR_FAIL_RESET 1 /* or a TCP reset */

/*
 * A backend in the choice. Its key is rank + active * unit << WEIR_RANK_LOAD; the least key wins:
 *   bit  62      down, draining or empty: not to be chosen
 *   bit  61      backup: only when no other is left
 *   bits 60..18  load: active connections in units of 1 / capacity; the rank's part of it is the connection to
 *                come, and what slow start puts on top
 *   bits 17..6   recent latency, see weir_latency_code()
 *   bits  5..0   zero here; in a key the place, so that ties are broken by the flow
 */
#define WEIR_RANK_DOWN	  (1ULL << 62)
#define WEIR_RANK_BACKUP  (1ULL << 61)
#define WEIR_RANK_LOAD	  18
#define WEIR_RANK_LATENCY 6
#define WEIR_LATENCY_MAX  0xfff
#define WEIR_UNIT_MAX	  (1 << 18) /* of the backend with the least capacity in its pool */

struct weir_member {
	__u32 active; /* connections; programs and sweeper count it, atomically */
	__u32 unit;   /* WEIR_UNIT_MAX * least capacity of the pool / capacity; at least 1 */
	__u64 rank;
};
_Static_assert(sizeof(struct weir_member) == 16, "weir_member");

struct weir_pool {
	struct weir_member member[WEIR_POOL_BACKENDS];
	__u64 mask;	 /* of keys: its zeroes are the load's digits in which backends count as equal */
	__u32 n;	 /* places in use, from 0; of the first place of a pool: of all its places together */
	__u32 scheduler; /* WEIR_SCHED_* */
	__u32 fail;	 /* WEIR_FAIL_* */
	__u32 bound;	 /* maglev-bounded: the most a backend may have, as 1/256 of the mean load: 320 is 25% more */
	__u32 mean_unit; /* WEIR_UNIT_MAX * least capacity / sum of capacities: mean load = sum of active * it */
	__u32 svc;	 /* the service it belongs to */
	__u64 pad[3];
	__u32 quic[WEIR_POOL_BACKENDS]; /* the members' server ids + 1; 0: none */
};
_Static_assert(sizeof(struct weir_pool) == 20 * WEIR_POOL_BACKENDS + 56, "weir_pool");

/*
 * Maglev's lookup table (Eisenbud et al., NSDI 2016, 3.4): the backend of place hash * WEIR_MAGLEV >> 32,
 * as its place in the pool, WEIR_BACKEND_NONE when the pool is empty.
 */
#define WEIR_MAGLEV 16381 /* a prime */
struct weir_maglev {
	__u16 place[WEIR_MAGLEV + 3];
};

/*
 * Latency as 12 bits in logarithmic steps: 0 unknown or below 1 us; from then on 128 steps an octave
 * (0.8% each), up to 2^31 us. Smaller is better, and unknown best: a new backend is tried.
 */
static inline __u32 weir_latency_code(__u64 ns)
{
	__u64 us = ns / 1000;
	__u32 octave;

	if (!us)
		return 0;
	octave = 63 - __builtin_clzll(us);
	if (octave > 30)
		return WEIR_LATENCY_MAX;
	return (octave << 7 | (octave >= 7 ? us >> (octave - 7) : us << (7 - octave)) % 128) + 1;
}

/* ---- the flow table ------------------------------------------------------------------------- */

/*
 * flows: array of buckets. A word is 0 when free, else
 *   bits 63..30 tag, from the flow's hash
 *   bits 29..18 backend
 *   bits 17..14 state
 *   bits 13..0  tick of the last packet
 * Programs and the sweeper change a word by compare-and-exchange only. Whoever changes it from a state
 * that counts to one that does not (or to another backend) takes it out of `active`, and the other way
 * round: so each flow is settled exactly once.
 */
#define WEIR_FLOW_TAG	  30
#define WEIR_FLOW_BACKEND 18
#define WEIR_FLOW_STATE	  14
#define WEIR_TICK_MASK	  0x3fff
#define WEIR_TICK	  30 /* a tick is 2^30 ns: 1.07 s; they wrap after 4.9 hours */

#define WEIR_FLOW_SYN	 1 /* half-open: the client's ACK has not come; weighs nothing, goes first */
#define WEIR_FLOW_TCP	 2 /* open */
#define WEIR_FLOW_UDP	 3
#define WEIR_FLOW_FIN_C	 4 /* NAT: the client's half is closed */
#define WEIR_FLOW_FIN_B	 5 /* NAT: the backend's half is */
#define WEIR_FLOW_CLOSED 6 /* over; kept for what is still under way */
#define WEIR_FLOW_FOUND	 7 /* its SYN was not seen: weighs nothing until a second has passed */
#define WEIR_FLOW_RESTING 8 /* open when its backend went down: weighs nothing until its next packet */
#define WEIR_FLOW_RESET	 9 /* the client's reset came, or one that says it is: weighs nothing until a later packet */

static inline __attribute__((always_inline)) __u32 weir_flow_state(__u64 word)
{
	return word >> WEIR_FLOW_STATE & 15;
}

static inline __attribute__((always_inline)) __u32 weir_flow_backend(__u64 word)
{
	return word >> WEIR_FLOW_BACKEND & (WEIR_BACKENDS_MAX - 1);
}

/* Whether a flow in this state is one of its backend's active connections. */
static inline __attribute__((always_inline)) int weir_flow_counts(__u32 state)
{
	return state - WEIR_FLOW_TCP <= WEIR_FLOW_FIN_B - WEIR_FLOW_TCP;
}

/* Ticks since the flow's last packet. */
static inline __attribute__((always_inline)) __u32 weir_flow_idle(__u64 word, __u32 tick)
{
	return (tick - (__u32)word) & WEIR_TICK_MASK;
}

/*
 * Beside each word, for people, who the client is:
 *   bits 63..32 IPv4: the address in wire order; IPv6: its last word
 *   bits 31..16 the client's port, wire order
 *   bits 15..10 service
 *   bit   1     IPv6
 *   bit   0     TCP
 * Written after the word: what is read beside a word that was replaced meanwhile is the old flow's. In the
 * line behind the words, which a processor fetches with them.
 */
struct weir_flow_bucket {
	__u64 word[WEIR_BUCKET_WORDS];
	__u64 info[WEIR_BUCKET_WORDS];
};
_Static_assert(sizeof(struct weir_flow_bucket) == 2 * WEIR_LINE, "weir_flow_bucket");

/* A packet's fragments behind the first: tag (hash, 40 bits) | backend, or number of the vip (12) | tick (12). */
#define WEIR_FRAGS (1 << 13)

/* ---- next hops ------------------------------------------------------------------------------ */

/* How to reach a backend, per CPU: filled from the FIB by the programs, anew each tick. */
struct weir_hop {
	__u32 tick;	/* of the last lookup that found it; */
	__u32 asked;	/* of the last lookup */
	__u32 ifindex;	/* 0: not known */
	__u32 mtu;	/* of the route */
	__u8 dst[6];
	__u8 src[6];
	__u32 pad;
	__u64 packets;	/* sent to the backend by this CPU */
	__u64 bytes;
};
_Static_assert(sizeof(struct weir_hop) == 48, "weir_hop");

/* nat_back: backend's address, port and protocol to what clients know it by: of several addresses of the service the
 * first, in which a packet's flow may be of another. */
struct weir_nat_key {
	struct weir_addr addr;
	__be16 port;
	__u8 family;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
};
_Static_assert(sizeof(struct weir_nat_key) == 20, "weir_nat_key");

struct weir_nat_back {
	struct weir_addr vip;
	__be16 port;
	__u8 svc;
	__u8 pad;
	__u32 salt; /* of the address: see struct weir_vip */
	__u32 backend;
};
_Static_assert(sizeof(struct weir_nat_back) == 28, "weir_nat_back");

#endif
