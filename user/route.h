/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the host's routes say. */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include "weir/abi.h"

/*
 * The address that this host would send to `to` from. -errno as connect() has it: -ENETUNREACH: no route
 * leads there.
 */
int route_source(const struct weir_addr *to, int family, struct weir_addr *source);

#endif
