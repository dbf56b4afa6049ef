/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sampled misses, from which the agent learns which keys to hold: a ring for each CPU, without locks. Samples
 * are numbered from 1 on; number n stands at weir_sample_at(n). A program writes `seq` 0 there, then the rest,
 * then `seq` n, and then the ring's head. A reader that finds n before and after its copy has the whole sample;
 * one that comes too late has lost some, and sees by the head how many. The head lives in the map, and not with
 * a program: after a reload, and by the programs of other interfaces, the same count goes on.
 */
#ifndef WEIR_SAMPLE_H
#define WEIR_SAMPLE_H

#include <linux/types.h>

#include "limits.h"

/* samples: mapped array, element cpu * WEIR_SAMPLES + place. */
struct weir_sample {
	__u64 seq;
	__u64 head; /* at place 0: how many samples were ever written to this ring */
	__u8 svc;
	__u8 key_len;
	__u8 reason; /* WEIR_R_*: MISS, EXPIRED or FENCED */
	__u8 pad[5];
	__u8 key[256]; /* as the hot set holds keys; the last word is padded with zeroes, what follows is of old */
};
_Static_assert(sizeof(struct weir_sample) == 280, "weir_sample");

/* The place of sample number n in its CPU's ring. */
static inline __attribute__((always_inline)) __u32 weir_sample_at(__u64 n)
{
	return n & (WEIR_SAMPLES - 1);
}

#endif
