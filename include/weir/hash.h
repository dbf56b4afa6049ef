/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hashes that both sides compute. Keys are read eight bytes at a time, little end first as loaded;
 * the last word is padded with zeroes, and the length goes in at the end, so that no two keys have
 * the same words by construction. The mixing steps are those of MurmurHash3's 64-bit finaliser
 * (Appleby, public domain).
 */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <linux/types.h>

#include "abi.h"

static inline __attribute__((always_inline)) __u64 weir_hash_start(__u64 seed, __u32 svc)
{
	return seed + svc * 0x9e3779b97f4a7c15ULL;
}

static inline __attribute__((always_inline)) __u64 weir_hash_word(__u64 h, __u64 word)
{
	h = (h ^ word) * 0xff51afd7ed558ccdULL;
	return h ^ (h >> 32);
}

static inline __attribute__((always_inline)) __u64 weir_hash_end(__u64 h, __u32 key_len)
{
	h = (h ^ key_len) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 29);
}

/* Two candidate buckets, the tag and the fence's stripe, from one hash. */
static inline __attribute__((always_inline)) __u32 weir_bucket1(__u64 hash, __u32 mask)
{
	return (__u32)hash & mask;
}

static inline __attribute__((always_inline)) __u32 weir_bucket2(__u64 hash, __u32 mask)
{
	return (__u32)((hash * 0x9e3779b97f4a7c15ULL) >> 32) & mask;
}

static inline __attribute__((always_inline)) __u32 weir_tag(__u64 hash)
{
	return (__u32)(hash >> 32) | 1;
}

static inline __attribute__((always_inline)) __u32 weir_stripe(__u64 hash)
{
	return (__u32)(hash >> 20) & (WEIR_FENCE_STRIPES - 1);
}

/* What tells the flows of one address of a service from those of another: struct weir_vip. */
static inline __attribute__((always_inline)) __u32 weir_vip_salt(const struct weir_addr *a, __be16 port)
{
	__u64 h = weir_hash_word(weir_hash_start(port, 0), (__u64)a->w[0] << 32 | a->w[1]);

	return weir_hash_end(weir_hash_word(h, (__u64)a->w[2] << 32 | a->w[3]), 0) >> 32;
}

/* Place of (address, port) in vip_index; the control plane picks a seed without collisions. */
static inline __attribute__((always_inline)) __u32 weir_vip_hash(__u64 seed, const struct weir_addr *a,
								 __be16 port)
{
	__u64 h = ((__u64)a->w[0] << 32 | a->w[1]) + port;

	/* All bits must reach the highest ten, or some pairs of addresses collide under every seed. */
	h = h * 0x9e3779b97f4a7c15ULL ^ ((__u64)a->w[2] << 32 | a->w[3]);
	h = (h ^ seed) * 0xff51afd7ed558ccdULL;
	return h >> 54 & (WEIR_VIP_INDEX - 1);
}

#endif
