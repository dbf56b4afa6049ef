/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * weir_rx loaded for tests and benches, attached to nothing: one service "test" (number 0) at
 * 10.0.0.1:11211 and [fd00::1]:11211, clients 10.0.0.0/8 and fd00::/8, MTU 1500.
 */
#ifndef WEIR_RX_FIXTURE_H
#define WEIR_RX_FIXTURE_H

#include "maps.h"

struct rx_fixture;

/* Opened with room for `capacity` keys and `memory` bytes of slots. 0 or -errno. */
int rx_fixture_open(struct rx_fixture **out, unsigned capacity, unsigned long memory);
/* The same with a configuration of one's own, in YAML. */
int rx_fixture_open_yaml(struct rx_fixture **out, const char *yaml, unsigned mtu);
/* The interface's MAC address for the next one opened, as in weir_config.mac; 0: any. */
extern __u64 rx_fixture_mac;
/* Whether the next one opened takes frames of several buffers. */
extern bool rx_fixture_frags;
/*
 * Whether the next one closed is kept, and the next one opened may be that one: with the same seeds, its maps
 * emptied, where the sizes of maps and the programs' constants are the same. Verifying them takes long.
 */
extern bool rx_fixture_reuse;
void rx_fixture_close(struct rx_fixture *fx);
const struct bpf_program *rx_fixture_prog(struct rx_fixture *fx);
const struct bpf_program *rx_fixture_tx_prog(struct rx_fixture *fx);
const struct hotset_mem *rx_fixture_mem(struct rx_fixture *fx);
struct maps *rx_fixture_maps(struct rx_fixture *fx);
/* Packets that left with a reason, over all CPUs; of service 0, or of none. */
unsigned long long rx_fixture_count(struct rx_fixture *fx, int reason);

#endif
