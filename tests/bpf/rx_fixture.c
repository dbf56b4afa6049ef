// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "rx_fixture.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rx.h"
#include "weir/reason.h"
#include "weir_tx.skel.h"

__u64 rx_fixture_mac;
bool rx_fixture_frags;
bool rx_fixture_reuse;

struct rx_fixture {
	struct maps maps;
	struct weir_ctl first; /* ctl as it was made */
	struct config *config;
	struct weir_rx *rx;
	struct weir_tx *tx;
};

static struct rx_fixture *kept; /* closed, and still loaded */

static void destroy(struct rx_fixture *fx)
{
	if (!fx)
		return;
	weir_rx__destroy(fx->rx);
	weir_tx__destroy(fx->tx);
	maps_close(&fx->maps);
	config_free(fx->config);
	free(fx);
}

/* ---- new ---------------------------------------------------------------------------------------- */

/* Brings a configuration into empty maps; *cfg is what the programs are to have. */
static int apply(struct maps *m, const struct config *c, unsigned mtu, struct weir_config *cfg)
{
	__u8 ids[WEIR_SERVICES_MAX];
	int err;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		ids[i] = i;
	for (unsigned i = 0; i < c->nservices; i++)
		memcpy(maps_ctl(m)->services[i].name, c->services[i].name, WEIR_NAME_MAX);
	err = pools_apply(&m->pools, c, false, NULL, NULL) ?: maps_config(cfg, c, ids, m, mtu);
	cfg->mac = rx_fixture_mac;
	cfg->frags = rx_fixture_frags;
	return err;
}

static int load(struct rx_fixture *fx, unsigned mtu)
{
	struct bpf_program *prog;
	struct weir_config cfg;
	int err;

	err = apply(&fx->maps, fx->config, mtu, &cfg);
	fx->rx = err ? NULL : weir_rx__open();
	fx->tx = err ? NULL : weir_tx__open();
	if (!fx->rx || !fx->tx)
		return err ?: -errno;
	memcpy((void *)&fx->rx->rodata->cfg, &cfg, sizeof(cfg));
	memcpy((void *)&fx->tx->rodata->cfg, &cfg, sizeof(cfg));
	prog = rx_choose(fx->rx);
	if (cfg.frags)
		bpf_program__set_flags(prog, BPF_F_XDP_HAS_FRAGS);
	return maps_give(&fx->maps, fx->rx->obj) ?: maps_give(&fx->maps, fx->tx->obj) ?:
	       weir_rx__load(fx->rx) ?: weir_tx__load(fx->tx);
}

/* ---- used again --------------------------------------------------------------------------------- */

static int zero_mapped(int fd, const struct bpf_map_info *info)
{
	size_t len = (size_t)info->max_entries * ((info->value_size + 7) & ~7U);
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	memset(at, 0, len);
	munmap(at, len);
	return 0;
}

static int zero_elements(int fd, const struct bpf_map_info *info)
{
	size_t cpus = info->type == BPF_MAP_TYPE_PERCPU_ARRAY ? libbpf_num_possible_cpus() : 1;
	void *zero = calloc(info->max_entries, cpus * ((info->value_size + 7) & ~7U));
	__u32 *keys = calloc(info->max_entries, sizeof(*keys)), n = info->max_entries;
	int err = zero && keys ? 0 : -ENOMEM;

	for (__u32 i = 0; i < n && !err; i++)
		keys[i] = i;
	if (!err && bpf_map_update_batch(fd, keys, zero, &n, NULL))
		err = -errno;
	free(zero);
	free(keys);
	return err;
}

static int delete_elements(int fd, const struct bpf_map_info *info)
{
	__u8 key[info->key_size];

	while (!bpf_map_get_next_key(fd, NULL, key)) {
		if (bpf_map_delete_elem(fd, key))
			return -errno;
	}
	return 0;
}

/* As it is when it was just made. */
static int empty(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.map_flags & BPF_F_MMAPABLE)
		return zero_mapped(fd, &info);
	switch (info.type) {
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		return zero_elements(fd, &info);
	case BPF_MAP_TYPE_HASH:
		return delete_elements(fd, &info);
	default:
		return -ENOTSUP;
	}
}

static bool is_shared(const struct bpf_map *map)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		if (!strcmp(bpf_map__name(map), map_name(id)))
			return true;
	}
	return false;
}

/* The maps of the programs' own: the work area. Of variables nobody would know what they began as. */
static int empty_own(const struct bpf_object *obj)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, obj) {
		if (bpf_map__map_flags(map) & BPF_F_RDONLY_PROG || is_shared(map))
			continue;
		err = err ?: bpf_map__is_internal(map) ? -ENOTSUP : empty(bpf_map__fd(map));
	}
	return err;
}

/*
 * What a new load finds in the maps: ctl as maps_create() made it; all the others hold nothing but zeroes, and
 * nat_back nothing at all:
 *   ctl          lease, state, sizes, idle times, services' names
 *   hot_index, hot_slabs, hot_hits, hot_fence, svc_fence, pending    the hot set, and writes to it
 *   stats        counts by reason
 *   pools, backends, maglev, pool_ctl, backend_ctl, nat_back         made by pools_apply() from empty ones
 *   flows, frags who goes where
 *   hops         next hops, and bytes sent
 *   work         of each program: its clock, errors sent in a tick, the id of tunnels' packets
 */
static int empty_all(struct rx_fixture *fx)
{
	int err = 0;

	for (int id = 0; id < MAP_COUNT && !err; id++)
		err = empty(fx->maps.fd[id]);
	*maps_ctl(&fx->maps) = fx->first;
	return err ?: empty_own(fx->rx->obj) ?: empty_own(fx->tx->obj);
}

/* All that maps_create() looks at. */
static bool same_maps(const struct config *a, const struct config *b)
{
	return a->capacity == b->capacity && a->memory == b->memory && a->hit_counters == b->hit_counters &&
	       a->flow_buckets == b->flow_buckets && !memcmp(a->idle_ns, b->idle_ns, sizeof(a->idle_ns));
}

/* Whether the kept one does for c, and then it has c. Or -errno. */
static int adopt(struct config *c, unsigned mtu)
{
	struct weir_config cfg;
	int err;

	if (!kept || !rx_fixture_reuse || !same_maps(kept->config, c))
		return 0;
	err = empty_all(kept) ?: apply(&kept->maps, c, mtu, &cfg);
	if (err)
		return err;
	if (memcmp((const void *)&kept->rx->rodata->cfg, &cfg, sizeof(cfg)))
		return 0;
	config_free(kept->config);
	kept->config = c;
	return 1;
}

/* ---- open and close ----------------------------------------------------------------------------- */

static int open_new(struct rx_fixture **out, struct config *c, unsigned mtu)
{
	struct rx_fixture *fx = calloc(1, sizeof(*fx));
	int err = fx ? maps_create(&fx->maps, c) : -ENOMEM;

	if (err) {
		config_free(c);
		free(fx);
		return err;
	}
	fx->config = c;
	fx->first = *maps_ctl(&fx->maps);
	err = load(fx, mtu);
	if (err)
		destroy(fx);
	else
		*out = fx;
	return err;
}

int rx_fixture_open_yaml(struct rx_fixture **out, const char *yaml, unsigned mtu)
{
	struct config *c;
	int err = config_parse(&c, "fixture", yaml, strlen(yaml), stderr), adopted;

	if (err)
		return err;
	adopted = adopt(c, mtu);
	if (adopted > 0) {
		*out = kept;
		kept = NULL;
		return 0;
	}
	destroy(kept);
	kept = NULL;
	if (adopted < 0)
		config_free(c);
	return adopted ?: open_new(out, c, mtu);
}

int rx_fixture_open(struct rx_fixture **out, unsigned capacity, unsigned long memory)
{
	char yaml[512];

	snprintf(yaml, sizeof(yaml),
		 "interfaces: [{name: eth0}]\n"
		 "cache: {capacity: %u, memory: %lu}\n"
		 "services:\n"
		 "  - name: test\n"
		 "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
		 "    clients: [10.0.0.0/8, 'fd00::/8']\n",
		 capacity, memory);
	return rx_fixture_open_yaml(out, yaml, 1500);
}

void rx_fixture_close(struct rx_fixture *fx)
{
	if (!rx_fixture_reuse) {
		destroy(fx);
		return;
	}
	destroy(kept);
	kept = fx;
}

const struct bpf_program *rx_fixture_prog(struct rx_fixture *fx)
{
	return rx_program(fx->rx);
}

const struct bpf_program *rx_fixture_tx_prog(struct rx_fixture *fx)
{
	return fx->tx->progs.weir_tx;
}

const struct hotset_mem *rx_fixture_mem(struct rx_fixture *fx)
{
	return &fx->maps.mem;
}

struct maps *rx_fixture_maps(struct rx_fixture *fx)
{
	return &fx->maps;
}

static unsigned long long count_of(struct rx_fixture *fx, __u32 svc, int reason)
{
	struct weir_count per_cpu[maps_ctl(&fx->maps)->ncpu];
	__u32 at = svc * WEIR_REASON_MAX + reason;
	unsigned long long n = 0;

	if (bpf_map_lookup_elem(fx->maps.fd[MAP_STATS], &at, per_cpu))
		return 0;
	for (__u32 i = 0; i < maps_ctl(&fx->maps)->ncpu; i++)
		n += per_cpu[i].packets;
	return n;
}

unsigned long long rx_fixture_count(struct rx_fixture *fx, int reason)
{
	return count_of(fx, 0, reason) + count_of(fx, WEIR_SVC_NONE, reason);
}
