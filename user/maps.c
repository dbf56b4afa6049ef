// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flows.h"
#include "weir/conn.h"
#include "weir/hash.h"
#include "weir/invalidation.h"
#include "weir/reason.h"
#include "weir/sample.h"

/* Beside bpf/maps.bpf.h: what the maps are, for their creator. ctl is the last in the order of
 * pinning, so that whoever finds it finds all. */
struct map_kind {
	const char *name;
	__u32 type, value_size, flags;
	bool writable; /* mapped for writing by a writer; programs write the others */
};

static const struct map_kind kinds[MAP_COUNT] = {
	[MAP_CTL] = { "ctl", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_ctl), BPF_F_MMAPABLE, true },
	[MAP_INDEX] = { "hot_index", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_bucket),
			BPF_F_MMAPABLE, true },
	[MAP_SLABS] = { "hot_slabs", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_slab),
			BPF_F_MMAPABLE, true },
	[MAP_HITS] = { "hot_hits", BPF_MAP_TYPE_ARRAY, sizeof(__u64), BPF_F_MMAPABLE, true },
	[MAP_FENCE] = { "hot_fence", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_fence), BPF_F_MMAPABLE, true },
	[MAP_SVC_FENCE] = { "svc_fence", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_svc_fence), BPF_F_MMAPABLE, true },
	[MAP_PENDING] = { "pending", BPF_MAP_TYPE_ARRAY, sizeof(__u64), 0, false },
	[MAP_STATS] = { "stats", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct weir_count), 0, false },
	[MAP_POOLS] = { "pools", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_pool), BPF_F_MMAPABLE, true },
	[MAP_BACKENDS] = { "backends", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_backend), BPF_F_MMAPABLE, true },
	[MAP_MAGLEV] = { "maglev", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_maglev), BPF_F_MMAPABLE, true },
	[MAP_FLOWS] = { "flows", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_flow_bucket), BPF_F_MMAPABLE, true },
	[MAP_FRAGS] = { "frags", BPF_MAP_TYPE_ARRAY, sizeof(__u64), 0, false },
	[MAP_HOPS] = { "hops", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct weir_hop), 0, false },
	[MAP_NAT_BACK] = { "nat_back", BPF_MAP_TYPE_HASH, sizeof(struct weir_nat_back), 0, false },
	[MAP_POOL_CTL] = { "pool_ctl", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_ctl_pool), BPF_F_MMAPABLE, true },
	[MAP_BACKEND_CTL] = { "backend_ctl", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_ctl_backend), BPF_F_MMAPABLE,
			      true },
	[MAP_LATENCY] = { "latency", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct weir_histogram), 0, false },
	[MAP_BACKEND_LAT] = { "backend_latency", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_histogram), BPF_F_MMAPABLE,
			      true },
	[MAP_FLOW_RECS] = { "flow_recs", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_flow_rec), BPF_F_MMAPABLE, true },
	[MAP_CONNS] = { "conns", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_conn), BPF_F_MMAPABLE, false },
	[MAP_TRACK] = { "track", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(__u64), 0, false },
	[MAP_SAMPLES] = { "samples", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_sample), BPF_F_MMAPABLE, false },
	[MAP_INVALIDATIONS] = { "invalidations", BPF_MAP_TYPE_ARRAY, sizeof(struct weir_invalidation), BPF_F_MMAPABLE,
				true },
};

static __u32 key_size(int id)
{
	return id == MAP_NAT_BACK ? sizeof(struct weir_nat_key) : sizeof(__u32);
}

const char *map_name(enum map_id id)
{
	return kinds[id].name;
}

static void reset(struct maps *m)
{
	memset(m, 0, sizeof(*m));
	for (int i = 0; i < MAP_COUNT; i++)
		m->fd[i] = -1;
}

void maps_close(struct maps *m)
{
	for (int i = 0; i < MAP_COUNT; i++) {
		if (m->at[i])
			munmap(m->at[i], m->len[i]);
		if (m->fd[i] >= 0)
			close(m->fd[i]);
	}
	reset(m);
}

/*
 * Waits until no program still runs that began before. The kernel promises this for an update of a map
 * of maps: it returns after synchronize_rcu() ("bpf: wait for running BPF programs when updating
 * map-in-map", 4.20), since XDP and tc programs run inside an RCU read-side section. Unlike
 * membarrier(2) this also holds on one CPU and with nohz_full.
 */
static int barrier = -1, barrier_inner = -1; /* of this process, whatever is loaded */

int maps_prepare_grace(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);

	if (barrier >= 0)
		return 0;
	if (barrier_inner < 0)
		barrier_inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_inner", 4, 4, 1, NULL);
	if (barrier_inner < 0)
		return -errno;
	opts.inner_map_fd = barrier_inner;
	barrier = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "weir_barrier", 4, 4, 1, &opts);
	return barrier < 0 ? -errno : 0;
}

static int grace(void *arg)
{
	__u32 zero = 0;
	int err = maps_prepare_grace();

	return err ?: bpf_map_update_elem(barrier, &zero, &barrier_inner, BPF_ANY) ? -errno : 0;
}

static int map_one(struct maps *m, int id, __u32 entries, bool write)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int prot = PROT_READ | (write && kinds[id].writable ? PROT_WRITE : 0);
	void *at;

	if (!(kinds[id].flags & BPF_F_MMAPABLE))
		return 0;
	m->len[id] = ((size_t)entries * kinds[id].value_size + page - 1) & ~(page - 1);
	at = mmap(NULL, m->len[id], prot, MAP_SHARED, m->fd[id], 0);
	if (at == MAP_FAILED)
		return -errno;
	m->at[id] = at;
	return 0;
}

static bool has_backend_latency(const struct weir_ctl *ctl)
{
	return ctl->flow_recs && ctl->flow_buckets > 1;
}

static void describe(struct maps *m, bool write)
{
	struct weir_ctl *ctl = maps_ctl(m);

	m->mem = (struct hotset_mem){
		.ctl = ctl,
		.index = m->at[MAP_INDEX],
		.slabs = m->at[MAP_SLABS],
		.hits = ctl->hit_entries ? m->at[MAP_HITS] : NULL,
		.fences = m->at[MAP_FENCE],
		.svc_fences = m->at[MAP_SVC_FENCE],
		.invalidations = m->at[MAP_INVALIDATIONS],
		.grace = write ? grace : NULL,
	};
	m->pools = (struct pools_mem){
		.ctl = ctl,
		.pools = m->at[MAP_POOLS],
		.maglev = m->at[MAP_MAGLEV],
		.pool_ctl = m->at[MAP_POOL_CTL],
		.backends = m->at[MAP_BACKENDS],
		.backend_ctl = m->at[MAP_BACKEND_CTL],
		.flows = m->at[MAP_FLOWS],
		.latency = has_backend_latency(ctl) ? m->at[MAP_BACKEND_LAT] : NULL,
		.nat_back = m->fd[MAP_NAT_BACK],
		.hops_fd = m->fd[MAP_HOPS],
		.grace = write ? grace : NULL,
	};
}

/* ---- create ----------------------------------------------------------------------------------- */

static void sizes(const struct weir_ctl *ctl, __u32 *entries)
{
	entries[MAP_CTL] = 1;
	entries[MAP_INDEX] = ctl->index_buckets;
	entries[MAP_SLABS] = ctl->slabs;
	entries[MAP_HITS] = ctl->hit_entries ? ctl->hit_entries * ctl->ncpu : 1;
	entries[MAP_FENCE] = WEIR_FENCE_STRIPES;
	entries[MAP_SVC_FENCE] = WEIR_SERVICES_MAX;
	entries[MAP_PENDING] = WEIR_PENDING;
	entries[MAP_STATS] = (WEIR_SERVICES_MAX + 1) * WEIR_REASON_MAX;
	entries[MAP_POOLS] = entries[MAP_MAGLEV] = entries[MAP_POOL_CTL] = WEIR_POOLS_MAX;
	entries[MAP_BACKENDS] = entries[MAP_BACKEND_CTL] = entries[MAP_HOPS] = WEIR_BACKENDS_MAX;
	entries[MAP_FLOWS] = ctl->flow_buckets;
	entries[MAP_FRAGS] = WEIR_FRAGS;
	entries[MAP_NAT_BACK] = 2 * WEIR_BACKENDS_MAX;
	entries[MAP_LATENCY] = ctl->flow_recs ? WEIR_SERVICES_MAX * WEIR_LAT_PATHS : 1;
	entries[MAP_BACKEND_LAT] = has_backend_latency(ctl) ? WEIR_BACKENDS_MAX * WEIR_BACKEND_PATHS : 1;
	entries[MAP_FLOW_RECS] = ctl->flow_recs ?: 1;
	entries[MAP_CONNS] = ctl->conn_buckets ? ctl->conn_buckets * WEIR_CONN_WAYS : 1;
	entries[MAP_TRACK] = WEIR_SERVICES_MAX * WEIR_TRACK_MAX;
	entries[MAP_SAMPLES] = ctl->sample_ring ? ctl->sample_ring * ctl->ncpu : 1;
	entries[MAP_INVALIDATIONS] = WEIR_INVAL_REASONS + 1;
}

__u32 map_entries(const struct weir_ctl *ctl, enum map_id id)
{
	__u32 entries[MAP_COUNT];

	sizes(ctl, entries);
	return entries[id];
}

/* In WEIR_REC_TIME, rounded up. */
static __u32 rec_units(__u64 ns)
{
	return (ns + (1 << WEIR_REC_TIME) - 1) >> WEIR_REC_TIME;
}

void maps_set_latency(struct weir_ctl *ctl, const struct config *c)
{
	ctl->rec_interval = rec_units(c->rec_interval_ns);
	ctl->rec_timeout = rec_units(c->rec_timeout_ns);
}

static int first_ctl(struct weir_ctl *ctl, const struct config *c)
{
	struct config_memory need;
	int ncpu = libbpf_num_possible_cpus();

	if (ncpu < 0)
		return ncpu;
	config_memory(c, ncpu, &need);
	memset(ctl, 0, sizeof(*ctl));
	if (getrandom(&ctl->hash_seed, sizeof(ctl->hash_seed), 0) != sizeof(ctl->hash_seed))
		return -EIO;
	ctl->magic = WEIR_MAGIC;
	ctl->abi_version = WEIR_ABI_VERSION;
	ctl->size = sizeof(*ctl);
	ctl->state = WEIR_STATE_LOADING;
	ctl->lease_deadline_ns = WEIR_NEVER;
	ctl->index_buckets = need.index_buckets;
	ctl->slabs = need.nslabs;
	ctl->entries = c->capacity;
	ctl->hit_entries = c->hit_counters ? c->capacity : 0;
	ctl->ncpu = ncpu;
	if (getrandom(&ctl->flow_seed, sizeof(ctl->flow_seed), 0) != sizeof(ctl->flow_seed))
		return -EIO;
	ctl->flow_buckets = c->flow_buckets ?: 1;
	for (int i = 0; i < WEIR_FLOW_STATES; i++)
		ctl->idle_ticks[i] = flows_ticks(c->idle_ns[i]);
	ctl->flow_recs = c->flow_recs;
	maps_set_latency(ctl, c);
	ctl->conn_buckets = c->conns / WEIR_CONN_WAYS;
	ctl->sample = c->sample;
	ctl->sample_ring = c->sample ? WEIR_SAMPLES : 0;
	ctl->loaded_at = time(NULL);
	ctl->loaded_s = monotonic_ns() / 1000000000;
	if (ctl->hit_entries && (__u64)ctl->hit_entries * ncpu > 0xffffffffULL)
		return -E2BIG;
	return 0;
}

int maps_create(struct maps *m, const struct config *c)
{
	__u32 entries[MAP_COUNT];
	struct weir_ctl ctl;
	int err;

	reset(m);
	err = first_ctl(&ctl, c);
	if (err)
		return err;
	sizes(&ctl, entries);
	for (int i = 0; i < MAP_COUNT; i++) {
		LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = kinds[i].flags);

		m->fd[i] = bpf_map_create(kinds[i].type, kinds[i].name, key_size(i), kinds[i].value_size, entries[i], &opts);
		if (m->fd[i] < 0)
			err = -errno;
		else
			err = map_one(m, i, entries[i], true);
		if (err)
			goto fail;
	}
	*maps_ctl(m) = ctl;
	describe(m, true);
	return 0;
fail:
	maps_close(m);
	return err;
}

/* ---- pins ------------------------------------------------------------------------------------- */

static void pin_path(char *path, size_t len, const char *dir, int id)
{
	snprintf(path, len, "%s/%s", dir, kinds[id].name);
}

int maps_pin(struct maps *m, const char *dir)
{
	char path[256];

	for (int i = MAP_COUNT; i-- > 0;) {
		pin_path(path, sizeof(path), dir, i);
		if (unlink(path) && errno != ENOENT)
			return -errno;
		if (bpf_obj_pin(m->fd[i], path))
			return -errno;
	}
	return 0;
}

void maps_unpin(const char *dir)
{
	char path[256];

	for (int i = 0; i < MAP_COUNT; i++) {
		pin_path(path, sizeof(path), dir, i);
		unlink(path);
	}
}

static int open_one(struct maps *m, const char *dir, int id)
{
	char path[256];

	pin_path(path, sizeof(path), dir, id);
	m->fd[id] = bpf_obj_get(path);
	return m->fd[id] < 0 ? -errno : 0;
}

/* The size of a map as it is. -EPROTO: not the map that this version makes. */
static int open_entries(struct maps *m, int id, __u32 *entries)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(m->fd[id], &info, &len))
		return -errno;
	if (info.type != kinds[id].type || info.value_size != kinds[id].value_size)
		return -EPROTO;
	*entries = info.max_entries;
	return 0;
}

static int check_ctl(const struct weir_ctl *ctl)
{
	return ctl->magic == WEIR_MAGIC && ctl->abi_version == WEIR_ABI_VERSION && ctl->size == sizeof(*ctl) ? 0 :
														-EPROTO;
}

int maps_open(struct maps *m, const char *dir, bool write)
{
	__u32 entries[MAP_COUNT], want[MAP_COUNT];
	int err = 0;

	reset(m);
	for (int i = 0; i < MAP_COUNT && !err; i++) {
		err = open_one(m, dir, i);
		if (err == -ENOENT && i != MAP_CTL)
			err = -ESTALE;
		if (!err)
			err = open_entries(m, i, &entries[i]);
		if (!err)
			err = map_one(m, i, entries[i], write);
		if (!err && i == MAP_CTL)
			err = check_ctl(maps_ctl(m));
	}
	if (err)
		goto fail;
	sizes(maps_ctl(m), want);
	if (memcmp(entries, want, sizeof(want))) {
		err = -ESTALE; /* a reload that changed the capacity was interrupted */
		goto fail;
	}
	describe(m, write);
	return 0;
fail:
	maps_close(m);
	return err;
}

int maps_share(struct maps *m, struct maps *from, const int *ids, int n)
{
	for (int i = 0; i < n; i++) {
		int id = ids[i], fd = fcntl(from->fd[id], F_DUPFD_CLOEXEC, 0), err;
		__u32 entries;

		if (fd < 0)
			return -errno;
		close(m->fd[id]);
		m->fd[id] = fd;
		if (m->at[id])
			munmap(m->at[id], m->len[id]);
		m->at[id] = NULL;
		err = open_entries(m, id, &entries) ?: map_one(m, id, entries, true);
		if (err)
			return err;
	}
	describe(m, true);
	return 0;
}

int maps_give(struct maps *m, struct bpf_object *obj)
{
	for (int i = 0; i < MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, kinds[i].name);
		int err = map ? bpf_map__reuse_fd(map, m->fd[i]) : 0;

		if (err)
			return err;
	}
	return 0;
}

/* ---- the programs' constants ------------------------------------------------------------------ */

static bool place_vips(struct weir_config *out)
{
	memset(out->vip_index, 0, sizeof(out->vip_index));
	for (__u32 i = 0; i < out->nvips; i++) {
		__u8 *place = &out->vip_index[weir_vip_hash(out->vip_seed, &out->vips[i].addr, out->vips[i].port)];

		if (*place)
			return false;
		*place = i + 1;
	}
	return true;
}

static __u8 place_of(const struct config *c, const struct pools_mem *pools, int pool)
{
	return pool == CONFIG_NO_POOL ? WEIR_POOL_NONE : pools_place(pools, c->pools[pool].name);
}

void maps_service(struct weir_service *to, const struct config_service *s, const struct config *c,
		  const struct pools_mem *pools)
{
	to->flags = s->flags;
	to->pool = place_of(c, pools, s->pool);
	to->migrate_pool = place_of(c, pools, s->migrate_pool);
	to->fallback = place_of(c, pools, s->fallback);
	if (s->pool != CONFIG_NO_POOL)
		to->shard_bits = __builtin_ctz(c->pools[s->pool].shards);
	to->migrate = s->migrate_percent * 655.36 > WEIR_MIGRATE_ALL ? WEIR_MIGRATE_ALL : s->migrate_percent * 655.36;
	to->quic_at = s->quic_at;
	to->quic_len = s->quic_len;
	to->nclients4 = s->nclients4;
	to->nclients6 = s->nclients6;
	memcpy(to->clients4, s->clients4, sizeof(to->clients4));
	memcpy(to->clients6, s->clients6, sizeof(to->clients6));
}

static bool has_nat(const struct config *c)
{
	for (unsigned i = 0; i < c->npools; i++) {
		for (unsigned k = 0; k < c->pools[i].nbackends; k++)
			if (c->pools[i].backends[k].via == WEIR_VIA_NAT)
				return true;
	}
	return false;
}

int maps_config(struct weir_config *out, const struct config *c, const __u8 *ids, const struct maps *m, __u32 mtu)
{
	const struct weir_ctl *ctl = m->at[MAP_CTL];
	const struct pools_mem *pools = &m->pools;

	memset(out, 0, sizeof(*out));
	out->hash_seed = ctl->hash_seed;
	out->index_mask = ctl->index_buckets - 1;
	out->entries = ctl->hit_entries;
	out->mtu = mtu;
	out->flow_seed = ctl->flow_seed;
	out->flow_mask = ctl->flow_buckets - 1;
	out->nat = has_nat(c);
	out->conn_mask = ctl->conn_buckets ? ctl->conn_buckets - 1 : 0;
	out->sample = c->sample; /* ctl has it when the programs do */
	out->latency = ctl->flow_recs != 0;
	out->rec_mask = ctl->flow_recs ? ctl->flow_recs - 1 : 0;
	out->rec_interval = rec_units(c->rec_interval_ns);
	out->rec_timeout = rec_units(c->rec_timeout_ns);
	for (unsigned i = 0; i < c->nservices; i++) {
		const struct config_service *s = &c->services[i];

		maps_service(&out->services[ids[i]], s, c, pools);
		out->services[ids[i]].vip_at = out->nvips;
		out->services[ids[i]].nvips = s->nvips;
		out->steer |= s->pool != CONFIG_NO_POOL;
		for (unsigned v = 0; v < s->nvips; v++) {
			out->vips[out->nvips++] = (struct weir_vip){
				.addr = s->vips[v].addr,
				.port = s->vips[v].port,
				.family = s->vips[v].family,
				.svc = ids[i],
				.salt = weir_vip_salt(&s->vips[v].addr, s->vips[v].port),
			};
		}
	}
	/* 128 addresses in 1024 places: about one seed in 3,500 has no collision. */
	for (int i = 0; i < 1000000; i++) {
		out->vip_seed = ctl->hash_seed + i * 0x9e3779b97f4a7c15ULL;
		if (place_vips(out))
			return 0;
	}
	return -ENOSPC;
}
