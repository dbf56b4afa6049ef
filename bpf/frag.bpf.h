/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Later fragments have no ports: what the first one told is kept under a hash of what all fragments of a packet
 * have in common. Of clients' packets that is the backend, of backends' (which are translated) the service's address.
 */
#ifndef WEIR_FRAG_BPF_H
#define WEIR_FRAG_BPF_H

#include "frame.bpf.h"
#include "place.bpf.h"

#define FRAG_TICKS 60 /* RFC 791 and 8200: reassembly is given up then */

/* A word of `frags`: tag | what is kept (12 bits) | tick (12). */
#define FRAG_TICK_MASK 0xfff
#define FRAG_KEPT      12
#define FRAG_TAG       24

/* Of all fragments of one packet. 0: they cannot be told. */
static __always_inline __u64 frag_hash(struct xdp_md *ctx, const struct weir_pkt *p)
{
	/* The id of IPv6 ends the fragment header, as a rule the last in front of the data. */
	__u32 *at = frame_at(ctx, p->family == 4 ? p->l3 + 4 : p->l4 - 4, 4);
	__u64 h = weir_hash_start(cfg.flow_seed, p->proto);

	if (!at)
		return 0;
	h = weir_hash_word(h, (__u64)p->saddr.w[0] << 32 | p->saddr.w[1]);
	h = weir_hash_word(h, (__u64)p->saddr.w[2] << 32 | p->saddr.w[3]);
	h = weir_hash_word(h, (__u64)p->daddr.w[0] << 32 | p->daddr.w[3]);
	return weir_hash_end(h, p->family == 4 ? *at & 0xffff : *at) | 1;
}

static __always_inline void frag_put(__u64 hash, __u32 what, __u32 tick)
{
	__u32 at = hash & (WEIR_FRAGS - 1);
	__u64 *word = bpf_map_lookup_elem(&frags, &at);

	if (hash && word)
		*(volatile __u64 *)word = hash >> FRAG_TAG << FRAG_TAG | what << FRAG_KEPT | (tick & FRAG_TICK_MASK);
}

/* What was kept, or -1. */
static __always_inline __s32 frag_get(__u64 hash, __u32 tick)
{
	__u32 at = hash & (WEIR_FRAGS - 1);
	__u64 *word = bpf_map_lookup_elem(&frags, &at), v;

	if (!hash || !word)
		return -1;
	v = *(volatile __u64 *)word;
	if ((v ^ hash) >> FRAG_TAG || ((tick - (__u32)v) & FRAG_TICK_MASK) > FRAG_TICKS)
		return -1;
	return v >> FRAG_KEPT & ((1U << (FRAG_TAG - FRAG_KEPT)) - 1);
}

/* ---- of clients ------------------------------------------------------------------------------- */

/* Keeps where a first fragment went. */
__noinline int frag_keep(struct xdp_md *ctx, const struct weir_pkt *p, __u32 backend, __u32 tick)
{
	if (p)
		frag_put(frag_hash(ctx, p), backend, tick);
	return 0;
}

/* Where a later fragment goes, PLACE_NONE: nobody knows. */
__noinline __u32 frag_find(struct xdp_md *ctx, const struct weir_pkt *p, __u32 tick)
{
	__s32 backend = p ? frag_get(frag_hash(ctx, p), tick) : -1;

	return backend >= 0 && backend_lives(backend) ? backend : PLACE_NONE;
}

/* ---- of backends ------------------------------------------------------------------------------ */

/* Told from those of clients by a bit: later fragments are looked up as both. */
static __always_inline __u64 frag_hash_back(struct xdp_md *ctx, const struct weir_pkt *p)
{
	__u64 hash = frag_hash(ctx, p);

	return hash ? hash ^ 1ULL << 63 : 0;
}

static __always_inline void frag_keep_vip(struct xdp_md *ctx, const struct weir_pkt *p, __u32 vip, __u32 tick)
{
	frag_put(frag_hash_back(ctx, p), vip, tick);
}

/* The number of the address that the first one got, or -1: not known. */
static __always_inline __s32 frag_vip(struct xdp_md *ctx, const struct weir_pkt *p, __u32 tick)
{
	return frag_get(frag_hash_back(ctx, p), tick);
}

#endif
