/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What config.c, config_pool.c and config_latency.c share, and nobody else: the file as libcyaml loads it, faults, and the
 * reading of single values. See config.c for the three passes.
 */
#ifndef WEIR_CONFIG_BUILD_H
#define WEIR_CONFIG_BUILD_H

#include <cyaml/cyaml.h>
#include <stdbool.h>

#include "config.h"

#define PATH_MAX_SHOWN 160

/* ---- faults ----------------------------------------------------------------------------------- */

struct mark;

struct source {
	const char *name;
	config_fault_fn fn;
	void *arg;
	struct mark *marks;
	size_t nmarks, room;
	unsigned faults;
	char path[PATH_MAX_SHOWN];
};

/* The line of a field; of what it would stand in, when it is not there. */
unsigned line_of(const struct source *s, const char *field);
void fault_at(struct source *s, unsigned line, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
#define fault(s, field, ...) fault_at(s, line_of(s, field), field, __VA_ARGS__)
/* Formats a field's path; valid until the next call. */
const char *at(struct source *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- the file as loaded: all values are strings, NULL when they are not there ------------------ */

struct raw_iface {
	char *name, *mode;
};

struct raw_cache {
	char *capacity, *memory, *hit_counters, *connections, *sample;
};

struct raw_idle {
	char *tcp, *udp, *half_open, *closing, *closed;
};

struct raw_flows {
	char *capacity;
	struct raw_idle *idle;
};

struct raw_latency {
	char *flows, *interval, *timeout, *slow;
};

struct raw_agent {
	char *http, *token_file;
};

struct raw_bus {
	char *redis, *stream, *user, *password_file, *db, *tls, *stale_after, *fail;
};

struct raw_check {
	char *type, *path, *host, *port, *status, *interval, *timeout, *rise, *fall, *jitter, *command,
		*through;
};

struct raw_backend {
	char *name, *address, *capacity, *backup, *delivery, *state, *quic_id, *shard;
};

struct raw_pool {
	char *name, *scheduler, *delivery, *fail, *quantum, *bound, *slow_start, *shards;
	struct raw_check *check;
	struct raw_backend *backends;
	unsigned backends_count;
};

struct raw_migrate {
	char *to, *percent;
};

struct raw_quic {
	char *offset, *length;
};

struct raw_promote {
	char *min_hits, *window, *top, *evict, *stay_out;
	char **deny;
	unsigned deny_count;
};

struct raw_service {
	char *name;
	char **vips, **clients;
	unsigned vips_count, clients_count;
	char *strangers, *origin, *ttl, *value_max, *udp_checksum, *refresh;
	char **replicas;
	unsigned replicas_count;
	char *protocol, *cache, *pool, *fallback, *fragments;
	struct raw_migrate *migrate;
	struct raw_quic *quic;
	struct raw_promote *promote;
};

struct raw_policy {
	char *name, *service, *on, *list, *above, *top, *peer, *every, *event, *template, *cooldown, *rate, *max;
};

struct raw {
	struct raw_iface *ifaces;
	unsigned ifaces_count;
	struct raw_cache *cache;
	struct raw_flows *flows;
	struct raw_latency *latency;
	struct raw_agent *agent;
	struct raw_bus *bus;
	struct raw_policy *policies;
	unsigned policies_count;
	struct raw_pool *pools;
	unsigned pools_count;
	struct raw_service *services;
	unsigned services_count;
};

#define REQUIRED CYAML_FLAG_POINTER
#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT(type, member, flags) \
	CYAML_FIELD_STRING_PTR(#member, flags, struct type, member, 0, CYAML_UNLIMITED)
#define PART(type, member, fields) CYAML_FIELD_MAPPING_PTR(#member, OPTIONAL, struct type, member, fields)
#define LIST(type, key, flags, member, entry, max) \
	CYAML_FIELD_SEQUENCE(key, flags, struct type, member, entry, 1, max)

extern const cyaml_schema_field_t agent_fields[], bus_fields[], flows_fields[], latency_fields[], migrate_fields[], quic_fields[], promote_fields[];
extern const cyaml_schema_value_t pool_entry, policy_entry;

/* ---- single values ---------------------------------------------------------------------------- */

/* A whole string of digits without leading zeroes. -EINVAL, -ERANGE. */
int parse_number(const char *s, __u64 min, __u64 max, __u64 *n);
bool same_vip(const struct config_vip *a, const struct config_vip *b);

/* These report what is wrong with `text`, and take dflt when it is wrong or NULL. */

extern const char *const booleans[];
/* The number of a word among `words`. */
int build_choice(struct source *s, const char *field, const char *word, const char *const *words, int dflt);
__u64 build_number(struct source *s, const char *field, const char *text, __u64 min, __u64 max, __u64 dflt);
/* A duration between two others, all written as the file has them. */
__u64 build_time(struct source *s, const char *field, const char *text, const char *min, const char *max,
		 const char *dflt);
/* How many flows or the like, up to a power of two. `which`, for people: "flows from 1024 to 4M, as in 32K". */
__u32 build_flow_count(struct source *s, const char *field, const char *text, __u32 min, __u32 max, __u32 dflt,
		       const char *which);
/* A name of WEIR_NAME_MAX bytes; false when it is none. */
bool build_name(struct source *s, const char *field, const char *text, char *name);

/* An endpoint that can be an origin, of WEIR_ORIGIN_MAX bytes; false, with `to` as it was, when it is none. */
bool build_endpoint(struct source *s, const char *field, const char *text, char *to);

/* ---- the hot set ------------------------------------------------------------------------------ */

extern const cyaml_schema_value_t text_entry;
/* How service i's hot copies are kept: replicas, refresh. */
void build_keep(struct source *s, const struct raw_service *r, unsigned i, const struct config *c,
		struct config_service *svc);

/* Service i's, which has its cache and origin by then; raw NULL: none. 0 or -ENOMEM, faults apart. */
int build_promote(struct source *s, const struct raw_promote *raw, unsigned i, struct config *c);
void free_promote(struct config_service *svc);
/* After the services and the bus. 0 or -ENOMEM, faults apart. */
int build_policies(struct source *s, const struct raw *raw, struct config *c);
void free_policies(struct config *c);

/* ---- steering --------------------------------------------------------------------------------- */

void build_flows(struct source *s, const struct raw *raw, struct config *c);
void build_latency(struct source *s, const struct raw *raw, struct config *c);
/* 0 or -ENOMEM, faults apart. */
int build_agent(struct source *s, const struct raw *raw, struct config *c);
/* After the services. 0 or -ENOMEM, faults apart. */
int build_bus(struct source *s, const struct raw *raw, struct config *c);
void free_bus(struct config *c);
/* 0 or -ENOMEM, faults apart. */
int build_pools(struct source *s, const struct raw *raw, struct config *c);
/* Service i's cache, pool and what goes there; after the pools. */
void build_steering(struct source *s, const struct raw *raw, unsigned i, struct config *c);
/* What services and pools ask of each other; after all of them. 0 or -ENOMEM, faults apart. */
int check_steering(struct source *s, const struct raw *raw, struct config *c);
void free_pools(struct config *c);

#endif
