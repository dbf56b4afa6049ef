/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The configuration file (YAML, see docs/weir.yaml.5 and docs/weir.example.yaml), read, checked and
 * brought to the forms that the data plane uses. Nothing here needs privileges.
 */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "weir/abi.h"
#include "weir/conn.h"
#include "weir/invalidation.h"
#include "weir/latency.h"
#include "weir/sample.h"
#include "weir/steer.h"

struct config_vip {
	struct weir_addr addr; /* wire order; IPv4 in the first word */
	__be16 port;
	__u8 family; /* 4 or 6 */
};

#define CONFIG_CAPACITY	    100 /* of a backend that is not given any */
#define CONFIG_CAPACITY_MAX 65536
#define CONFIG_NO_QUIC_ID   0xffffffffU

struct config_backend {
	char name[WEIR_NAME_MAX];
	struct config_vip at; /* port 0: the service's */
	__u8 via;	      /* WEIR_VIA_* */
	__u8 admin;	      /* WEIR_ADMIN_* */
	bool backup;
	__u32 capacity;	      /* 1 to CONFIG_CAPACITY_MAX */
	__u32 shard;	      /* number of its shard; 0 where the pool has one */
	__u32 quic_id;	      /* CONFIG_NO_QUIC_ID: none */
};

enum check_kind {
	CHECK_NONE,
	CHECK_TCP,
	CHECK_HTTP,
	CHECK_HTTPS,
	CHECK_MEMCACHED,
	CHECK_MEMCACHED_UDP,
	CHECK_COMMAND
};

enum check_through {
	THROUGH_DELIVERY, /* backends of l2 and tunnel are sent a SYN as clients' packets are, too */
	THROUGH_ADDRESS,  /* only their own address is asked */
};

struct config_check {
	enum check_kind kind;
	enum check_through through;
	__u64 interval_ns, timeout_ns;
	unsigned rise, fall; /* checks in a row that change a backend's state */
	unsigned jitter;     /* percent of the interval */
	__be16 port;	     /* 0: the backend's, or else the one that its services' addresses have in common */
	char *path;	     /* of HTTP: "/" */
	char *host;	     /* of HTTP: the Host header; NULL: the address */
	char *command;	     /* run by /bin/sh; WEIR_POOL, WEIR_BACKEND, WEIR_ADDRESS, WEIR_PORT are set */
	unsigned status_min, status_max; /* of HTTP: 200 to 399 */
};

struct config_pool {
	char name[WEIR_NAME_MAX];
	struct config_backend *backends;
	unsigned nbackends;
	unsigned shards;     /* a power of two; 1: not sharded */
	__u32 scheduler;     /* WEIR_SCHED_* */
	__u32 fail;	     /* WEIR_FAIL_* */
	__u8 via;	     /* WEIR_VIA_*, the backends' default */
	unsigned quantum;    /* percent of the mean load: loads that differ by less count as equal; 0 to 50 */
	unsigned bound;	     /* percent above the mean, of maglev-bounded; 1 to 1000 */
	__u64 slow_start_ns; /* 0: none */
	struct config_check check;
};

#define CONFIG_NO_POOL	(-1)
#define CONFIG_REPLICAS 3 /* of an origin */

#define CONFIG_DENY_MAX 64
#define CONFIG_TOP_MAX	100000

/* Keys that the agent takes into the hot set by itself. */
struct config_promote {
	bool on;
	__u64 window_ns;
	__u32 min_hits; /* lookups within the window */
	__u32 top;	/* keys that it holds at most */
	char **deny;	/* beginnings of keys that it leaves alone */
	unsigned ndeny;
	bool evict_all; /* also what others brought gives way, and counts for top */
	__u64 stay_out_ns; /* what is too large or written too often is left alone so long */
};

struct config_service {
	char name[WEIR_NAME_MAX];
	struct config_vip *vips;
	unsigned nvips;
	struct weir_net clients4[WEIR_CLIENTS_MAX];
	struct weir_net clients6[WEIR_CLIENTS_MAX];
	unsigned nclients4, nclients6;
	char origin[WEIR_ORIGIN_MAX]; /* "": none */
	char replicas[CONFIG_REPLICAS][WEIR_ORIGIN_MAX]; /* whom the agent asks when the origin fails, in this order */
	unsigned nreplicas;
	bool refresh;		      /* the agent fetches hot copies again before they expire */
	__u64 ttl_ns;		      /* WEIR_NEVER: none */
	__u32 value_max;	      /* bytes */
	__u32 flags;		      /* WEIR_SVC_* */
	int pool;		      /* number in config.pools, or CONFIG_NO_POOL */
	int migrate_pool, fallback;   /* the same */
	double migrate_percent;	      /* 0 to 100 */
	__u8 quic_at, quic_len;	      /* of the server id in connection ids; 0 bytes: none */
	struct config_promote promote;
};

#define CONFIG_POLICIES_MAX 64

enum policy_on {
	POLICY_START, /* the agent takes up a hot set that holds none of the service's keys, */
	POLICY_SURGE, /* lookups a second are `above` over what is usual at this time of the day, */
	POLICY_PEER,  /* at its start, and each `every_ns`: the agent of another host tells what it holds, */
	POLICY_EVENT, /* or an event came by the bus */
};

/* When the agent warms keys, and which. */
struct config_policy {
	char name[WEIR_NAME_MAX];
	unsigned service; /* number in config.services */
	enum policy_on on;
	char *list;	   /* keys; or what takes the place of `*` in the template. NULL: none */
	char *event, *template;
	unsigned above;	   /* percent */
	__u32 top;	   /* keys, the hottest first */
	__u32 max;	   /* keys in a run */
	__u32 rate;	   /* keys a second */
	struct config_vip peer;
	__u64 every_ns;	   /* 0: once */
	__u64 cooldown_ns; /* between two runs; of an event: of the same keys */
};

struct config_iface {
	char name[16];
	__u32 mode; /* 0 auto, WEIR_MODE_NATIVE, WEIR_MODE_GENERIC */
};

enum bus_fail { BUS_PASS, BUS_SERVE };
#define CONFIG_BUS_STREAM_MAX 128

/* Where writers elsewhere tell what they changed. */
struct config_bus {
	struct config_vip redis; /* family 0: there is no bus */
	char stream[CONFIG_BUS_STREAM_MAX];
	char *user, *password_file; /* NULL: none */
	unsigned db;
	__u64 stale_ns; /* how old what was heard may be, before */
	__u32 fail;	/* BUS_PASS: nothing is answered from the hot set; BUS_SERVE: it goes on */
};

struct config {
	char *path;
	struct config_iface *ifaces;
	unsigned nifaces;
	struct config_service *services;
	unsigned nservices;
	struct config_pool *pools;
	unsigned npools;
	__u32 flow_buckets;  /* a power of two; each holds WEIR_BUCKET_WORDS flows. 0: no service has a pool */
	__u64 idle_ns[WEIR_FLOW_STATES]; /* by WEIR_FLOW_* */
	__u32 flow_recs;     /* flows whose latency is measured, a power of two; 0: none is */
	__u64 rec_interval_ns; /* between two samples of a flow */
	__u64 rec_timeout_ns;  /* a request without reply is lost then */
	__u64 slow_ns;	     /* the agent logs flows with a request slower than this; WEIR_NEVER: none */
	struct config_vip http; /* where the agent answers HTTP; family 0: nowhere */
	char *token_file;    /* whose token invalidations by HTTP need; NULL: they come from this host */
	struct config_bus bus;
	struct config_policy *policies;
	unsigned npolicies;
	__u32 capacity;	     /* keys */
	__u64 memory;	     /* bytes for slots */
	int hit_counters;    /* 0: none */
	__u32 conns;	     /* TCP connections to cached services that are followed, a power of two; 0: none is */
	__u32 sample;	     /* of so many misses one is sampled; 0: none */
};

/* What a configuration costs in locked kernel memory, bytes. */
struct config_memory {
	__u64 index, slabs, hits, fences, flows, latency, conns, other, total;
	__u32 index_buckets, nslabs;
};

/*
 * Reads and checks a file. 0; else -errno after writing one line per fault to err as
 * "FILE:LINE: FIELD: what is wrong" (LINE is left out when it is not known).
 */
int config_load(struct config **out, const char *path, FILE *err);
/* The same from memory, `name` standing for the file in messages. */
int config_parse(struct config **out, const char *name, const void *text, size_t len, FILE *err);

/* One fault. line 0: not known; field "": the file as a whole. Both texts are printable ASCII. */
struct config_fault {
	const char *file;
	unsigned line;
	const char *field; /* "services[0].clients[2]" */
	const char *message;
};
typedef void (*config_fault_fn)(const struct config_fault *fault, void *arg);
/* As config_load() and config_parse(), each fault given to fn instead of written. */
int config_load_each(struct config **out, const char *path, config_fault_fn fn, void *arg);
int config_parse_each(struct config **out, const char *name, const void *text, size_t len,
		      config_fault_fn fn, void *arg);
/* Writes the line of a fault to a FILE. */
void config_print_fault(const struct config_fault *fault, void *file);

void config_free(struct config *c);
void config_memory(const struct config *c, unsigned ncpu, struct config_memory *m);
/* Whether this machine has room: more than 80% of what is available now is -ENOSPC, with why in words. */
int config_fits(const struct config_memory *m, char *why, size_t len);

/*
 * "5m", "90s", "1h30m", "500ms", "2d", "100us": largest unit first; "0" or "never" is WEIR_NEVER. 0 or -EINVAL; beyond
 * 2^63 ns -ERANGE.
 */
int parse_duration(const char *s, __u64 *ns);
/* "64M", "1G", "65536", "512KiB": powers of 1024. 0 or -EINVAL, -ERANGE. */
int parse_size(const char *s, __u64 *bytes);
/*
 * "10.0.0.0/8", "fd00::/16", "10.0.0.1" (a host). Sets family to 4 or 6. -EINVAL; host bits set: -EDOM, and
 * net is the network that the address stands in.
 */
int parse_net(const char *s, struct weir_net *net, int *family);
/* The network as parse_net() reads it: "10.0.0.0/8". */
void format_net(const struct weir_net *net, int family, char *text, size_t len);
/* "10.0.0.1:11211", "[fd00::1]:11211". 0 or -EINVAL. */
int parse_endpoint(const char *s, struct config_vip *vip);
/* The same, or the address alone: "10.0.0.1", "fd00::1", whose port is 0. Of a backend. */
int parse_address(const char *s, struct config_vip *vip);
/* Where HTTP is answered: as parse_endpoint(), or "none", whose family is 0. */
int parse_http(const char *s, struct config_vip *at);
/* 1 to 31 of a-z, 0-9, '_' and '-', a letter or digit first: of services, pools, backends. */
bool config_name_ok(const char *name);
/* Why no other host has this address ("is a multicast address: ..."), or NULL. */
const char *config_not_host(const struct weir_addr *a, int family);

/* How the file spells things, by number; the last is followed by NULL. */
extern const char *const scheduler_names[]; /* WEIR_SCHED_* */
extern const char *const delivery_names[];  /* WEIR_VIA_* - 1 */
extern const char *const state_names[];	    /* WEIR_ADMIN_* */
extern const char *const check_names[];	    /* enum check_kind */
extern const char *const through_names[];   /* enum check_through */
extern const char *const promote_evict_names[]; /* config_promote.evict_all */
extern const char *const policy_on_names[]; /* enum policy_on */
extern const char *const bus_fail_names[];  /* BUS_* */

#endif
