/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The hot set as a warming list (see list.h, `jsonl`): what is held, the most asked for first. */
#ifndef WEIR_EXPORT_H
#define WEIR_EXPORT_H

#include <stdio.h>

#include "session.h"

struct export_opts {
	int svc;
	__u32 top;	/* 0: all */
	bool values;	/* with value, flags and the time that is left; else keys alone */
	__u64 limit_ns; /* looks no longer than this, and at another part of the hot set the next time; 0: at all */
};

/*
 * Those that are neither expired nor fenced. How many, or -errno. left_out: keys that are no UTF-8, which JSON does
 * not have; may be NULL.
 */
int export_keys(const struct session *s, const struct export_opts *o, FILE *to, __u32 *left_out);

#endif
