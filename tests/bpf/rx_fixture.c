// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "rx_fixture.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rx.h"
#include "weir/reason.h"
#include "weir_tx.skel.h"

__u64 rx_fixture_mac;
bool rx_fixture_frags;

struct rx_fixture {
	struct maps maps;
	struct config *config;
	struct weir_rx *rx;
	struct weir_tx *tx;
};

static int load(struct rx_fixture *fx, unsigned mtu)
{
	__u8 ids[WEIR_SERVICES_MAX];
	struct bpf_program *prog;
	struct weir_config cfg;
	int err;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		ids[i] = i;
	for (unsigned i = 0; i < fx->config->nservices; i++)
		memcpy(maps_ctl(&fx->maps)->services[i].name, fx->config->services[i].name, WEIR_NAME_MAX);
	err = pools_apply(&fx->maps.pools, fx->config, false, NULL, NULL) ?:
	      maps_config(&cfg, fx->config, ids, &fx->maps, mtu);
	cfg.mac = rx_fixture_mac;
	cfg.frags = rx_fixture_frags;
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

int rx_fixture_open_yaml(struct rx_fixture **out, const char *yaml, unsigned mtu)
{
	struct rx_fixture *fx = calloc(1, sizeof(*fx));
	int err;

	if (!fx)
		return -ENOMEM;
	err = config_parse(&fx->config, "fixture", yaml, strlen(yaml), stderr);
	if (err)
		goto fail_free;
	err = maps_create(&fx->maps, fx->config);
	if (err)
		goto fail_config;
	err = load(fx, mtu);
	if (err) {
		rx_fixture_close(fx);
		return err;
	}
	*out = fx;
	return 0;
fail_config:
	config_free(fx->config);
fail_free:
	free(fx);
	return err;
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
	if (!fx)
		return;
	weir_rx__destroy(fx->rx);
	weir_tx__destroy(fx->tx);
	maps_close(&fx->maps);
	config_free(fx->config);
	free(fx);
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
