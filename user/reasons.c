/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "reasons.h"

const struct reason reasons[WEIR_R_COUNT] = {
#define REASON(sym, name, action, class, help) { name, #action, help, WEIR_CLS_##class },
	WEIR_REASONS(REASON)
};

const char *const class_names[CLASSES] = {
	[WEIR_CLS_NONE] = "none", [WEIR_CLS_HIT] = "hit",     [WEIR_CLS_MISS] = "miss",
	[WEIR_CLS_READ] = "read", [WEIR_CLS_WRITE] = "write", [WEIR_CLS_REFUSED] = "refused",
};

__u64 class_packets(const struct weir_count *counts, enum weir_class class)
{
	__u64 n = 0;

	for (int r = 0; r < WEIR_R_COUNT; r++)
		n += reasons[r].class == class ? counts[r].packets : 0;
	return n;
}
