/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which receive program of the object is for a configuration; the other is not loaded. */
#ifndef WEIR_RX_H
#define WEIR_RX_H

#include "weir_rx.skel.h"

#define RX_NAME "weir_rx" /* what the names of both begin with */

/* Of an object whose constants are set, before it is loaded. */
static inline struct bpf_program *rx_choose(struct weir_rx *rx)
{
	bool steer = rx->rodata->cfg.steer;

	bpf_program__set_autoload(rx->progs.weir_rx, !steer);
	bpf_program__set_autoload(rx->progs.weir_rx_steer, steer);
	return steer ? rx->progs.weir_rx_steer : rx->progs.weir_rx;
}

/* The one chosen. */
static inline struct bpf_program *rx_program(const struct weir_rx *rx)
{
	return rx->rodata->cfg.steer ? rx->progs.weir_rx_steer : rx->progs.weir_rx;
}

#endif
