/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Next hops for backends that no network leads to. */
#ifndef WEIR_BENCH_HOPS_H
#define WEIR_BENCH_HOPS_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "rx_fixture.h"

/* As if the kernel had told them, back the way packets come; they are used on for half a minute. */
static inline int hops_fill(struct rx_fixture *fx, unsigned backends)
{
	struct maps *m = rx_fixture_maps(fx);
	int ncpu = libbpf_num_possible_cpus();
	struct weir_hop *all = calloc(ncpu, sizeof(*all));
	struct timespec t;
	int err = all ? 0 : -ENOMEM;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	for (int i = 0; all && i < ncpu; i++) {
		all[i] = (struct weir_hop){.ifindex = 1, .mtu = 1500, .dst = {2, 0, 0, 0, 0, 3}, .src = {2, 0, 0, 0, 0, 1}};
		all[i].tick = all[i].asked = (t.tv_sec * 1000000000ULL + t.tv_nsec) >> WEIR_TICK & WEIR_TICK_MASK;
	}
	for (__u32 b = 0; !err && b < backends; b++)
		err = bpf_map_update_elem(m->fd[MAP_HOPS], &b, all, BPF_ANY) ? -errno : 0;
	free(all);
	return err;
}

#endif
