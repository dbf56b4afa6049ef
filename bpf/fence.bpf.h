/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fences: counters that a write raises. A hot copy answers only while the counters are what they
 * were before its value was fetched. A write raises them when its request passes and again when its
 * reply does, since the origin changes the value somewhere in between.
 */
#ifndef WEIR_FENCE_BPF_H
#define WEIR_FENCE_BPF_H

#include "maps.bpf.h"
#include "parse.bpf.h"
#include "weir/hash.h"

/* Instead of a stripe: a write to the whole service; a request that writes nothing, but whose reply might
 * look as if it had. */
#define PENDING_ALL   WEIR_FENCE_STRIPES
#define PENDING_READ  (WEIR_FENCE_STRIPES + 1)
#define PENDING_BITS  19
#define PENDING_STRIPE ((1ULL << PENDING_BITS) - 1)
_Static_assert(PENDING_READ <= PENDING_STRIPE, "a stripe fits");

static __always_inline void fence_stripe_at(__u32 stripe, __u64 now_ns)
{
	struct weir_fence *f = bpf_map_lookup_elem(&hot_fence, &stripe);

	if (!f)
		return;
	f->last_ns = now_ns; /* first: who reads the new count reads the time of it, too */
	__sync_fetch_and_add(&f->count, 1);
}

static __always_inline void fence_stripe(__u32 stripe)
{
	fence_stripe_at(stripe, bpf_ktime_get_coarse_ns());
}

static __always_inline void fence_service_at(__u32 svc, __u64 now_ns)
{
	struct weir_svc_fence *f = bpf_map_lookup_elem(&svc_fence, &svc);

	if (!f)
		return;
	f->last_ns = now_ns;
	__sync_fetch_and_add(&f->count, 1);
}

static __always_inline void fence_service(__u32 svc)
{
	fence_service_at(svc, bpf_ktime_get_coarse_ns());
}

/*
 * Identifies a request to its reply: service, client and request id, but no more than a hash of
 * them. A false match raises a fence too early or one too many, both harmless within the tag's odds.
 */
static __always_inline __u64 pending_hash(__u32 svc, const struct weir_addr *client, __be16 port, __u16 id)
{
	__u64 h = weir_hash_start(cfg.hash_seed, svc);

	h = weir_hash_word(h, (__u64)client->w[0] << 32 | client->w[1]);
	h = weir_hash_word(h, (__u64)client->w[2] << 32 | client->w[3]);
	h = weir_hash_word(h, (__u64)port << 16 | id);
	return weir_hash_end(h, 0);
}

static __always_inline __u64 pending_word(__u64 hash, __u32 stripe)
{
	return ((hash | 1ULL << 63) & ~PENDING_STRIPE) | stripe;
}

static __always_inline void pending_add(__u64 hash, __u32 stripe)
{
	__u32 at = hash & (WEIR_PENDING - 1);
	__u64 *p = bpf_map_lookup_elem(&pending, &at);

	if (p)
		*(volatile __u64 *)p = pending_word(hash, stripe);
}

/* Takes a pending request out; its stripe or PENDING_*, or -1 when it is not there. */
static __always_inline __s64 pending_take(__u64 hash)
{
	__u32 at = hash & (WEIR_PENDING - 1);
	__u64 *p = bpf_map_lookup_elem(&pending, &at);
	__u64 word;

	if (!p)
		return -1;
	word = *(volatile __u64 *)p;
	if ((word & ~PENDING_STRIPE) != pending_word(hash, 0))
		return -1;
	*(volatile __u64 *)p = 0;
	return word & PENDING_STRIPE;
}

#endif
