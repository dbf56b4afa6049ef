/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which keys miss: of cfg.sample misses on average one goes into the CPU's ring, for the agent, which learns
 * from them what to hold. Nothing waits here: a full ring is written over. Distances between samples are random,
 * or what comes at regular intervals would be sampled always, or never.
 */
#ifndef WEIR_SAMPLE_BPF_H
#define WEIR_SAMPLE_BPF_H

#include "request.bpf.h"

#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif

/* xorshift64 (Marsaglia 2003), of this CPU. Never 0. */
static __always_inline __u64 sample_random(struct weir_work *w)
{
	__u64 x = w->sample_random;

	if (!x)
		x = ((__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32()) | 1;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return w->sample_random = x;
}

/* A distance of 1 to 2N - 1, on average N. */
static __always_inline __u32 sample_gap(struct weir_work *w)
{
	return 1 + ((sample_random(w) >> 32) * (2 * cfg.sample - 1) >> 32);
}

static __always_inline struct weir_sample *sample_at(__u32 at)
{
	return bpf_map_lookup_elem(&samples, &at);
}

static __always_inline void sample_key(struct weir_sample *s, const struct weir_work *w)
{
	__u64 *to = (__u64 *)s->key;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < KEY_WORDS; i++) {
		if (i * 8 >= w->key_len)
			break;
		to[i] = w->key[i];
	}
	s->key_len = w->key_len;
}

/* Writes the sample that is due, and says when the next one is. (The first: none was due yet.) */
__noinline int sample_now(__u32 svc, __u32 reason)
{
	struct weir_work *w = work_area();
	bool first;
	struct weir_sample *head, *s;
	__u32 ring;
	__u64 n;

	if (!w)
		return 0;
	first = !w->sample_random;
	w->sample_in = sample_gap(w);
	ring = bpf_get_smp_processor_id() * WEIR_SAMPLES;
	head = sample_at(ring);
	if (first || !head)
		return 0;
	n = head->head + 1;
	s = sample_at(ring + weir_sample_at(n));
	if (!s)
		return 0;
	*(volatile __u64 *)&s->seq = 0;
	barrier(); /* no store may pass those of seq */
	sample_key(s, w);
	s->svc = svc;
	s->reason = reason;
	barrier();
	*(volatile __u64 *)&s->seq = n;
	*(volatile __u64 *)&head->head = n;
	return 0;
}

/* Of a client's lookup of the key in w, which ended with this reason. */
static __always_inline void sample_miss(struct weir_work *w, __u32 svc, int reason)
{
	if (!cfg.sample || (reason != WEIR_R_MISS && reason != WEIR_R_EXPIRED && reason != WEIR_R_FENCED))
		return;
	if (w->sample_in > 1)
		w->sample_in--;
	else
		sample_now(svc, reason);
}

#endif
