/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What libbpf's tc functions do not tell. */
#ifndef WEIR_TC_H
#define WEIR_TC_H

#include <stdbool.h>

/* No filter of anybody hangs on the interface's clsact qdisc. False also when that cannot be known. */
bool tc_clsact_empty(int ifindex);

#endif
