/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The reasons of include/weir/reason.h as a table, and sums over their classes. */
#ifndef WEIR_REASONS_H
#define WEIR_REASONS_H

#include "weir/abi.h"
#include "weir/reason.h"

struct reason {
	const char *name, *action, *help;
	enum weir_class class;
};
extern const struct reason reasons[WEIR_R_COUNT];

#define CLASSES (WEIR_CLS_REFUSED + 1)
extern const char *const class_names[CLASSES];

/* Packets of all reasons of a class; counts has WEIR_R_COUNT elements. */
__u64 class_packets(const struct weir_count *counts, enum weir_class class);

#endif
