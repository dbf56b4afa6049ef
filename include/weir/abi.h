/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ABI between the BPF programs and the control plane: what stands in the maps and in the
 * programs' constant configuration. Fixed widths only, named padding, every size asserted.
 * Byte order is the host's unless the type says __be.
 */
#ifndef WEIR_ABI_H
#define WEIR_ABI_H

#include <linux/types.h>

#include "limits.h"

#define WEIR_MAGIC	 0x5745495245444745ULL /* "WEIREDGE" */
#define WEIR_ABI_VERSION 4

/* ---- the programs' constant configuration (.rodata), fixed at load ------------------------ */

/* An IPv4 address stands in the first word, the rest is zero. Wire order. */
struct weir_addr {
	__be32 w[4];
};
_Static_assert(sizeof(struct weir_addr) == 16, "weir_addr");

/* A client network: an address a is inside when (a & mask) == addr, word by word. */
struct weir_net {
	struct weir_addr addr;
	struct weir_addr mask;
};
_Static_assert(sizeof(struct weir_net) == 32, "weir_net");

/* One address and port of a service. */
struct weir_vip {
	struct weir_addr addr;
	__be16 port;
	__u8 family; /* 4 or 6; 0: the place is free */
	__u8 svc;
	__u32 salt; /* of (address, port), in flows' hashes: the same after each reload */
};
_Static_assert(sizeof(struct weir_vip) == 24, "weir_vip");

#define WEIR_SVC_CACHE		(1 << 0) /* answers lookups from the hot set */
#define WEIR_SVC_STRANGERS_PASS (1 << 1) /* not in clients: pass, otherwise drop */
#define WEIR_SVC_NO_CSUM4	(1 << 2) /* UDP checksum 0 over IPv4 */
#define WEIR_SVC_TCP		(1 << 3) /* TCP goes to the pool */
#define WEIR_SVC_UDP		(1 << 4) /* UDP does */
#define WEIR_SVC_ANY_CLIENT	(1 << 5) /* clients are not looked at (a service without a cache) */
#define WEIR_SVC_FRAGMENTS	(1 << 6) /* fragments go to the pool, too; otherwise they are dropped */
/* Only in weir_ctl_svc: */
#define WEIR_SVC_BY_HAND	(1 << 16) /* a command made or changed it */
#define WEIR_SVC_ADDED		(1 << 17) /* a command made it: the configuration does not have it */

#define WEIR_MIGRATE_ALL	0xffff

struct weir_service {
	__u8 flags;
	__u8 nclients4;
	__u8 nclients6;
	__u8 pool;	   /* WEIR_POOL_NONE: passes to this host */
	__u8 shard_bits;   /* pools pool .. pool + 2^bits - 1, by the key's hash; 0: one pool */
	__u8 migrate_pool; /* the first of those that some keys have moved to; WEIR_POOL_NONE */
	__u16 migrate;	   /* how many of 65,536 keys have: by their hash, the lowest first; or WEIR_MIGRATE_ALL */
	__u8 fallback;	   /* the pool for requests of a sharded service that name no single key */
	__u8 quic_at;	   /* offset of the server id in connection ids, */
	__u8 quic_len;	   /* and its length, 1 to 4 bytes; 0: not routed by connection id */
	__u8 vip_at;	   /* its addresses: vips[vip_at] and those behind it, */
	__u8 nvips;	   /* so many */
	__u8 pad[3];
	struct weir_net clients4[WEIR_CLIENTS_MAX];
	struct weir_net clients6[WEIR_CLIENTS_MAX];
};
_Static_assert(sizeof(struct weir_service) == 16 + 64 * WEIR_CLIENTS_MAX, "weir_service");

struct weir_config {
	__u64 hash_seed;
	__u64 vip_seed;		/* see weir_vip_hash() */
	__u32 index_mask;	/* buckets in hot_index - 1 */
	__u32 frags;		/* 1: frames may come in several buffers (xdp.frags) */
	__u32 entries;		/* hit counters per CPU; 0: no counters */
	__u32 mtu;		/* of the interface */
	__u32 nvips;
	__u32 conn_mask;	/* buckets in conns - 1 */
	__u64 flow_seed;
	__u32 flow_mask;	/* buckets in flows - 1 */
	__u32 steer;		/* 1: some service has a pool */
	__u32 nat;		/* 1: some backend's replies are translated */
	__u32 latency;		/* 1: latencies are counted */
	__u64 mac;		/* of the interface, in the low six bytes as on the wire; 0: any */
	__u32 rec_mask;		/* flow_recs - 1 */
	__u32 rec_interval;	/* between two samples of a flow, in WEIR_REC_TIME */
	__u32 rec_timeout;	/* a request without reply is lost after that, in WEIR_REC_TIME */
	__u32 sample;		/* of so many misses one is sampled, on average; 0: none */
	__u8 vip_index[WEIR_VIP_INDEX]; /* 0: none, else number of the vip + 1 */
	struct weir_vip vips[WEIR_VIPS_MAX];
	struct weir_service services[WEIR_SERVICES_MAX];
};
_Static_assert(sizeof(struct weir_config) == 88 + WEIR_VIP_INDEX + 24 * WEIR_VIPS_MAX +
						     (16 + 64 * WEIR_CLIENTS_MAX) * WEIR_SERVICES_MAX,
	       "weir_config");

/* ---- the hot set ---------------------------------------------------------------------------- */

/*
 * hot_index: array of buckets. A word is 0 when free, else
 *   bits 63..32 tag (hash >> 32, lowest bit forced to 1)
 *   bits 31..10 slab
 *   bits  9..0  first line in the slab
 */
struct weir_bucket {
	__u64 word[WEIR_BUCKET_WORDS];
};
_Static_assert(sizeof(struct weir_bucket) == WEIR_LINE, "weir_bucket");

#define WEIR_SLOT_CAS	   (1 << 0) /* cas is the origin's */
#define WEIR_SLOT_KEY_B64  (1 << 1) /* the origin holds the key as binary: `k` is returned in base64 */
#define WEIR_SLOT_IMMORTAL (1 << 2) /* the item never expires at the origin: t is -1 */
#define WEIR_SLOT_PROMOTED (1 << 3) /* promotion brought it, and may evict it; of no meaning to programs */

#define WEIR_NEVER (~0ULL)

/*
 * A slot: the header, then the text reply as memcached sends it for `get`:
 *   "VALUE " key " " flags " " length "\r\n" | value | "\r\nEND\r\n" | cas in decimal
 * head_len covers up to and including the first "\r\n". All but expires_ns is written once, before
 * the index word that publishes the slot.
 */
struct weir_slot {
	__u64 expires_ns;	/* CLOCK_MONOTONIC; WEIR_NEVER: does not expire */
	__u64 fence;		/* answers only while hot_fence[stripe].count still equals it */
	__u64 svc_fence;	/* and svc_fence[svc].count this */
	__u64 cas;
	__u32 client_flags;
	__u32 entry;		/* number of the hit counter */
	__u32 reserved;
	__u16 head_len;
	__u16 value_len;
	__u16 csum_text;	/* folded one's complement sum of the text reply, from an even offset */
	__u16 csum_value;	/* the same of the value alone */
	__u8 key_len;
	__u8 svc;
	__u8 flags;
	__u8 lines;		/* length of the slot in lines */
	__u8 cas_digits;
	__u8 len_digits;	/* digits of the value's length, of the client flags: both in the head */
	__u8 flags_digits;
	__u8 pad[5];
	__u8 text[];
};
_Static_assert(sizeof(struct weir_slot) == WEIR_SLOT_HDR, "weir_slot");

#define WEIR_KEY_AT 6 /* offset of the key in a slot's text: after "VALUE " */
#define WEIR_TAIL_LEN 7 /* "\r\nEND\r\n" */

struct weir_slab {
	__u8 bytes[WEIR_SLAB_SIZE];
};

/* ---- fences --------------------------------------------------------------------------------- */

struct weir_fence {
	__u64 count;   /* raised by every write to a key of this stripe */
	__u64 last_ns; /* CLOCK_MONOTONIC (coarse) of the last raise */
};
_Static_assert(sizeof(struct weir_fence) == 16, "weir_fence");

struct weir_svc_fence {
	__u64 count;
	__u64 last_ns;
	__u64 flush_at_ns; /* a delayed flush_all strikes at about this time; 0: none; WEIR_NEVER: unknown */
	__u64 fills;	   /* raised by the control plane: values that are being fetched are not to be published */
};
_Static_assert(sizeof(struct weir_svc_fence) == 32, "weir_svc_fence");

/* ---- counters ------------------------------------------------------------------------------- */

/* stats: per-CPU array, element service * WEIR_REASON_MAX + reason. Packets of no service count
 * under WEIR_SVC_NONE. */
#define WEIR_SVC_NONE WEIR_SERVICES_MAX
struct weir_count {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct weir_count) == 16, "weir_count");

/* ---- the control block ---------------------------------------------------------------------- */

#define WEIR_STATE_LOADING   1
#define WEIR_STATE_READY     2
#define WEIR_STATE_RELOADING 3
#define WEIR_STATE_UNLOADING 4

#define WEIR_MODE_NATIVE  1
#define WEIR_MODE_GENERIC 2

#define WEIR_IF_DISPATCHER (1 << 0) /* runs under the libxdp dispatcher */
#define WEIR_IF_CLSACT	   (1 << 1) /* the clsact qdisc is ours to remove */
#define WEIR_IF_FALLBACK   (1 << 2) /* generic because the driver takes no native program */
#define WEIR_IF_FRAGS	   (1 << 3) /* the program takes frames of several buffers, for a large MTU */

struct weir_ctl_iface {
	__u32 ifindex; /* 0: the place is free */
	__u32 prog_id; /* of weir_rx */
	__u32 mode;    /* WEIR_MODE_* */
	__u32 flags;   /* WEIR_IF_* */
	__u32 tc_handle;
	__u32 tc_priority;
	__u32 mtu;
	__u32 pad;
	char name[16];
};
_Static_assert(sizeof(struct weir_ctl_iface) == 48, "weir_ctl_iface");

struct weir_ctl_svc {
	char name[WEIR_NAME_MAX];     /* "": the place is free */
	char origin[WEIR_ORIGIN_MAX]; /* "address:port", "[address]:port"; "": none */
	__u64 ttl_ns;		      /* default TTL of a hot copy; WEIR_NEVER: none */
	__u32 value_max;	      /* bytes */
	__u32 flags;		      /* WEIR_SVC_* */
};
_Static_assert(sizeof(struct weir_ctl_svc) == 144, "weir_ctl_svc");

/* ctl: one element, mapped and written by the control plane; programs read the lease. */
struct weir_ctl {
	__u64 magic;
	__u32 abi_version;
	__u32 size;		 /* of this struct */
	__u64 lease_deadline_ns; /* CLOCK_MONOTONIC; WEIR_NEVER: answer without an agent */
	__u64 hash_seed;
	__u32 state;		 /* WEIR_STATE_* */
	__u32 generation;	 /* counts loads and reloads */
	__u32 index_buckets;
	__u32 slabs;
	__u32 entries;		 /* capacity in keys */
	__u32 hit_entries;	 /* hit counters per CPU: entries, or 0 */
	__u32 ncpu;		 /* possible CPUs */
	__u32 dirty;		 /* a writer has retired slots and not yet waited for readers */
	__u64 loaded_at;	 /* seconds since 1970 */
	__u64 netns;		 /* inode of the network namespace */
	__u32 iface_given;	 /* load -i: reload keeps the interfaces */
	__u32 flow_recs;	 /* 0: latencies are not counted */
	__u64 flow_seed;
	__u32 flow_buckets;	 /* in flows */
	__u32 idle_ticks[WEIR_FLOW_STATES]; /* by WEIR_FLOW_*: a flow without packets for longer is taken out; 0: never */
	__u32 services_gone;	 /* how many commands took out, though the configuration has them */
	__u32 rec_interval;	 /* as in struct weir_config, */
	__u32 rec_timeout;	 /* the same */
	__u32 conn_buckets;	 /* in conns; 0: TCP to cached services is not followed */
	__u32 loaded_s;		 /* of the last load, too, in seconds of CLOCK_MONOTONIC: nobody sets that */
	__u64 agent_ns;		 /* CLOCK_MONOTONIC: the agent was last seen; 0: never */
	__u64 drift;		 /* connections that recounts corrected, of all backends */
	__u64 writers;		 /* raised by whoever opens the hot set for writing: what others know of it is old then */
	__u32 sample;		 /* as in struct weir_config */
	__u32 sample_ring;	 /* places in a CPU's ring of samples; 0: none */
	char config[256];	 /* path of the configuration file, from the root */
	struct weir_ctl_iface ifaces[WEIR_IFACES_MAX];
	struct weir_ctl_svc services[WEIR_SERVICES_MAX];
};
_Static_assert(sizeof(struct weir_ctl) == 448 + 48 * WEIR_IFACES_MAX + 144 * WEIR_SERVICES_MAX, "weir_ctl");

#endif
