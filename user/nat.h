/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The map nat_back: what clients know a backend by whose replies are translated. Nothing without it (in tests). */
#ifndef WEIR_NAT_H
#define WEIR_NAT_H

#include "pools_parts.h"

/* Entries of the services of c and what stands in the pools; with `new_only`, none is changed. 0 or -errno. */
int nat_put(const struct pools_mem *m, const struct config *c, bool new_only);
/* Takes out all others. */
int nat_keep(const struct pools_mem *m, const struct config *c);
/* Entries of one backend more, as the running programs know its pool's service. See pools_add(). */
int nat_add(const struct pools_mem *m, unsigned pool, unsigned backend);
/* Takes out those of some backends. */
void nat_forget(const struct pools_mem *m, const struct backend_set *gone);

#endif
