/* SPDX-License-Identifier: GPL-2.0-only */
/* Stage 4a: the hot set, read only and without a lock. See docs/maps.md for its layout. */
#ifndef WEIR_HOTSET_BPF_H
#define WEIR_HOTSET_BPF_H

#include "request.bpf.h"

/* The word of the bucket whose tag is the key's, 0: none. Of two with one tag the first is taken:
 * the other then is a miss, once in 2^31 pairs. */
static __always_inline __u64 bucket_word(__u32 bucket, __u32 tag)
{
	struct weir_bucket *b = bpf_map_lookup_elem(&hot_index, &bucket);

	if (!b)
		return 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
		__u64 word = *(volatile __u64 *)&b->word[i];

		if (word >> 32 == tag)
			return word;
	}
	return 0;
}

static __always_inline struct weir_slot *slot_of(__u64 word)
{
	__u32 slab = (__u32)word >> 10, line = word & (WEIR_SLAB_LINES - 1);
	struct weir_slab *s = bpf_map_lookup_elem(&hot_slabs, &slab);

	return s ? (struct weir_slot *)(s->bytes + line * WEIR_LINE) : NULL;
}

static __always_inline bool same_key(const struct weir_slot *s, const struct weir_work *w, __u32 len)
{
	const __u8 *key = s->text + WEIR_KEY_AT;
	__u64 diff;
	__u32 i;

	if (s->key_len != len)
		return false;
#pragma clang loop unroll(disable)
	for (i = 0; i < KEY_WORDS - 1; i++) {
		if (i * 8 + 8 > len)
			break;
		if (LOAD(__u64, key + i * 8) != w->key[i])
			return false;
	}
	OPAQUE(i); /* the compiler makes it len / 8, of which the verifier knows no bound */
	i &= KEY_WORDS - 1;
	diff = LOAD(__u64, key + i * 8) ^ w->key[i];
	return !(diff & ((1ULL << (len & 7) * 8) - 1));
}

/* Starts the read of a bucket that may be needed next. */
static __always_inline void prefetch(__u32 bucket)
{
	struct weir_bucket *b = bpf_map_lookup_elem(&hot_index, &bucket);

	if (b)
		(void)*(volatile __u64 *)&b->word[WEIR_BUCKET_WORDS - 1];
}

/* The slot published for the key in w, or NULL. */
static __always_inline struct weir_slot *hot_find(struct weir_work *w)
{
	__u64 hash = w->hash;
	__u32 tag = weir_tag(hash);
	struct weir_slot *s;
	__u64 word;

	prefetch(weir_bucket2(hash, cfg.index_mask));
	word = bucket_word(weir_bucket1(hash, cfg.index_mask), tag);
	if (!word)
		word = bucket_word(weir_bucket2(hash, cfg.index_mask), tag);
	if (!word)
		return NULL;
	w->word = word;
	s = slot_of(word);
	return s && same_key(s, w, w->key_len) ? s : NULL;
}

/* The fences of a key, read before its slot is: a write that comes later is concurrent with this
 * lookup. The read also overlaps with that of the index. */
struct fences {
	__u64 key, svc;
};

static __always_inline struct fences read_fences(__u64 hash, __u32 svc)
{
	__u32 stripe = weir_stripe(hash);
	struct weir_fence *f = bpf_map_lookup_elem(&hot_fence, &stripe);
	struct weir_svc_fence *sf = bpf_map_lookup_elem(&svc_fence, &svc);
	struct fences now = { WEIR_NEVER, WEIR_NEVER };

	if (f)
		now.key = *(volatile __u64 *)&f->count;
	if (sf)
		now.svc = *(volatile __u64 *)&sf->count;
	return now;
}

/* Whether the slot may answer now: WEIR_NEXT, or why not. */
static __always_inline int hot_valid(const struct weir_slot *s, struct weir_work *w, const struct fences *f, __u32 svc)
{
	__u32 zero = 0;
	struct weir_ctl *c = bpf_map_lookup_elem(&ctl, &zero);
	__u64 now = now_coarse(w);

	if (!c || s->svc != svc)
		return WEIR_R_MISS;
	if (now >= *(volatile __u64 *)&c->lease_deadline_ns)
		return WEIR_R_LEASE_OVER;
	if (s->fence != f->key || s->svc_fence != f->svc)
		return WEIR_R_FENCED;
	if (now >= *(volatile __u64 *)&s->expires_ns)
		return WEIR_R_EXPIRED;
	return WEIR_NEXT;
}

static __always_inline void count_hit(const struct weir_slot *s)
{
	__u32 at = s->entry;
	__u64 *n;

	if (at >= cfg.entries)
		return;
	at += bpf_get_smp_processor_id() * cfg.entries;
	n = bpf_map_lookup_elem(&hot_hits, &at);
	if (n)
		(*n)++;
}

#endif
