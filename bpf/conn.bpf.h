/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of TCP connections to cached services, and what both directions need of it: see include/weir/conn.h.
 * Who changes a connection holds its lock, which is waited for no longer than the other side needs it as a rule.
 * XDP and tc share this, as parse.bpf.h.
 */
#ifndef WEIR_CONN_BPF_H
#define WEIR_CONN_BPF_H

#include "fence.bpf.h"
#include "flow.bpf.h"
#include "weir/conn.h"

#define CONN_NONE ~0U

/* How far behind or ahead of the rest a segment may be: four times the window that Linux offers at most, if not told
 * to. What is farther is not the stream's. */
#define CONN_WINDOW (1U << 24)

#define CONN_TIME_MASK ((1U << (32 - WEIR_CONN_STRIPE)) - 1)
#define CONN_SECOND    8  /* of WEIR_CONN_TIME */
#define CONN_STALE     12 /* 1.6 to 1.74 s: whoever fills waits for 2 s after a write */
#define CONN_FLOW      4  /* replies that follow each other within this time flow */

static __always_inline __u32 conn_now(struct weir_work *w)
{
	return now_coarse(w) >> WEIR_CONN_TIME;
}

/* Time of a word of `pend`, and how long ago it was. */
static __always_inline __u32 conn_age(__u32 now, __u32 word)
{
	return (now - (word >> WEIR_CONN_STRIPE)) & CONN_TIME_MASK;
}

static __always_inline void track_count(__u32 svc, __u32 cause)
{
	__u32 at = svc * WEIR_TRACK_MAX + cause;
	__u64 *n = bpf_map_lookup_elem(&track, &at);

	if (n)
		++*n;
}

/* ---- the table -------------------------------------------------------------------------------- */

static __always_inline struct weir_conn *conn_at(__u32 at)
{
	return bpf_map_lookup_elem(&conns, &at);
}

static __always_inline __u32 conn_bucket(__u64 hash)
{
	return ((__u32)hash & cfg.conn_mask) * WEIR_CONN_WAYS;
}

static __always_inline __u32 conn_tag(__u64 hash)
{
	return (__u32)(hash >> 32) | 1;
}

/* The connection's place, or CONN_NONE. */
static __always_inline __u32 conn_find(__u64 hash)
{
	__u32 at = conn_bucket(hash), tag = conn_tag(hash);

#pragma clang loop unroll(full)
	for (int i = 0; i < WEIR_CONN_WAYS; i++) {
		struct weir_conn *c = conn_at(at + i);

		if (c && *(volatile __u32 *)&c->tag == tag)
			return at + i;
	}
	return CONN_NONE;
}

static __always_inline bool conn_try(struct weir_conn *c)
{
	return !__sync_val_compare_and_swap(&c->busy, 0, 1);
}

/* The other side holds it for some 100 ns. False: it was not had (an interrupt, a host that gives no CPU). */
__noinline int conn_wait(__u32 at)
{
	struct weir_conn *c = conn_at(at);

	if (!c)
		return false;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 128; i++) {
		if (!*(volatile __u32 *)&c->busy && conn_try(c))
			return true;
	}
	return false;
}

static __always_inline bool conn_lock(struct weir_conn *c, __u32 at)
{
	return conn_try(c) || conn_wait(at);
}

/* (On x86-64 a store comes after those before it.) */
static __always_inline void conn_unlock(struct weir_conn *c)
{
	asm volatile("" ::: "memory");
	*(volatile __u32 *)&c->busy = 0;
}

/* With the lock: whether the place is still this connection's. */
static __always_inline bool conn_is(const struct weir_conn *c, __u64 hash)
{
	return c->tag == conn_tag(hash);
}

/* How readily a place is given away: 0 not at all. */
static __always_inline __u32 conn_worth(const struct weir_conn *c, __u32 now)
{
	__u32 idle = now - c->seen;

	if (!c->tag)
		return ~0U;
	if (c->state == WEIR_CONN_CLOSED || c->flags & WEIR_CONN_OVER)
		return ~0U - 1;
	return (__s32)idle > WEIR_CONN_IDLE ? idle : 0;
}

/* A place in the bucket for a connection that is not in the table; CONN_NONE: all are in use. */
static __always_inline __u32 conn_place(__u64 hash, __u32 now)
{
	__u32 at = conn_bucket(hash), best = 0, place = CONN_NONE;

#pragma clang loop unroll(disable)
	for (int i = 0; i < WEIR_CONN_WAYS; i++) {
		struct weir_conn *c = conn_at(at + i);
		__u32 worth = c ? conn_worth(c, now) : 0;

		if (worth > best) {
			best = worth;
			place = at + i;
		}
	}
	return place;
}

/* The stream begins at `seq`. */
static __always_inline void conn_begin(struct weir_conn *c, __u32 seq)
{
	c->pos = c->floor = c->high = c->mark = seq;
	c->state = WEIR_CONN_TEXT;
	c->flags = WEIR_CONN_FIRST;
	c->asked = c->npend = c->old = 0;
	c->saved = 0;
	c->missed = 0;
}

/* Puts a connection in, whose stream begins at `seq`. Its place, or CONN_NONE. */
static __always_inline __u32 conn_add(__u64 hash, __u32 svc, __u32 seq, __u32 now)
{
	__u32 at = conn_place(hash, now);
	struct weir_conn *c = conn_at(at);

	if (!c || !conn_try(c))
		return CONN_NONE;
	conn_begin(c, seq);
	c->seen = now;
	c->replied = 0;
	c->svc = svc;
	*(volatile __u32 *)&c->tag = conn_tag(hash);
	conn_unlock(c);
	return at;
}

/* ---- what is not certain ---------------------------------------------------------------------- */

/* It cannot be followed any more; each of its segments fences the service. A global function, to be verified
 * once. */
__noinline int conn_lose(__u32 at, __u32 svc, __u32 cause)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();

	if (!c || !w)
		return WEIR_R_TCP_UNSURE;
	if (c->state != WEIR_CONN_LOST) {
		c->cause = cause;
		c->state = WEIR_CONN_LOST;
		track_count(svc, cause);
	}
	fence_service_at(svc, now_coarse(w));
	return WEIR_R_TCP_UNSURE;
}

/* What a reply fences of a service need not be fenced again so soon: nothing can have been filled since. */
static __always_inline void fence_service_again(__u32 svc, struct weir_work *w)
{
	struct weir_svc_fence *f = bpf_map_lookup_elem(&svc_fence, &svc);
	__u64 now = now_coarse(w);

	if (f && now - f->last_ns >= 1000000000ULL)
		fence_service_at(svc, now);
}

/* ---- writes that wait for their replies -------------------------------------------------------- */

static __always_inline __u32 *pend_at(struct weir_conn *c, __u32 i)
{
	i += c->first;
	OPAQUE(i);
	return &c->pend[i & (WEIR_CONN_PEND - 1)];
}

/* A write has no place there. `word` is what would stand in it; `behind`: its command ends behind the mark. */
static __always_inline void crowd_add(struct weir_conn *c, __u32 word, bool behind)
{
	if (!(c->flags & WEIR_CONN_CROWDED))
		c->crowded = word;
	c->flags |= WEIR_CONN_CROWDED;
	if (!behind)
		return;
	if (!(c->flags & WEIR_CONN_CROWDING))
		c->crowding = word;
	c->flags |= WEIR_CONN_CROWDING;
}

static __always_inline void pend_add(struct weir_conn *c, __u32 stripe, __u32 now)
{
	__u32 word = stripe | now << WEIR_CONN_STRIPE, *last = pend_at(c, c->npend - 1);

	if (c->npend && !((*last ^ stripe) & (WEIR_FENCE_STRIPES - 1))) {
		if (c->old == c->npend)
			c->old--;
		*last = word;
		return;
	}
	if (c->npend >= WEIR_CONN_PEND) { /* the oldest gives way */
		crowd_add(c, *pend_at(c, 0), !c->old);
		c->old -= !!c->old;
		c->first++;
		c->npend--;
	}
	*pend_at(c, c->npend) = word;
	c->npend++;
}

/* Those that have no place there are raised again, with the service. Soon after they were, the time will do: nothing
 * can have been filled since. */
static __always_inline void crowd_renew(struct weir_conn *c, struct weir_work *w, __u32 svc)
{
	struct weir_svc_fence *f = bpf_map_lookup_elem(&svc_fence, &svc);
	__u32 now = conn_now(w);

	if (conn_age(now, c->crowded) >= CONN_SECOND)
		fence_service_at(svc, now_coarse(w));
	else if (f)
		f->last_ns = now_coarse(w);
	c->crowded = c->crowding = now << WEIR_CONN_STRIPE;
}

/* The same for number i. */
static __always_inline void pend_renew(struct weir_conn *c, __u32 i, struct weir_work *w)
{
	__u32 *word = pend_at(c, i), stripe = *word & (WEIR_FENCE_STRIPES - 1);
	struct weir_fence *f = bpf_map_lookup_elem(&hot_fence, &stripe);
	__u64 now = now_coarse(w);

	*word = stripe | (__u32)(now >> WEIR_CONN_TIME) << WEIR_CONN_STRIPE;
	if (!f)
		return;
	if (now - f->last_ns >= 1000000000ULL)
		fence_stripe_at(stripe, now);
	else
		f->last_ns = now;
}

/* ---- segments --------------------------------------------------------------------------------- */

/* False: Linux drops it for its header. */
static __always_inline bool read_part(PKT_CTX *ctx, const struct weir_pkt *p, struct tcp_part *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 off = p->l4, hlen, ip_end = p->l3 + p->ip_len;
	struct tcphdr *t;

	if (!at_most(&off, L4_OFF_MAX))
		return false;
	t = data + off;
	OPAQUE(t);
	if ((void *)(t + 1) > end)
		return false;
	hlen = LOAD(__u8, (__u8 *)t + 12) >> 4 << 2;
	s->off = p->l4 + hlen;
	if (hlen < sizeof(*t) || s->off > ip_end)
		return false;
	s->flags = LOAD(__u8, (__u8 *)t + 13);
	s->len = ip_end - s->off;
	s->seq = bpf_ntohl(t->seq) + !!(s->flags & TCP_SYN);
	s->ack = bpf_ntohl(t->ack_seq);
	return true;
}

#endif
