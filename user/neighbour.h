/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whom this host hands a packet to an address to: what the kernel's routes and neighbour table say. */
#ifndef WEIR_NEIGHBOUR_H
#define WEIR_NEIGHBOUR_H

#include "weir/abi.h"

struct neighbour {
	__u32 ifindex;
	__u8 mac[6];
};

/* 0; -EAGAIN: its MAC address is not known (yet); else -errno: no route leads there. */
int neighbour_find(const struct weir_addr *to, int family, struct neighbour *n);

#endif
