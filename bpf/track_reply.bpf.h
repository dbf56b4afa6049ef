/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a server's TCP segments tell of a connection that is followed (track.bpf.h). That the server reads the same
 * stream: it acknowledges nothing that was not seen. And that a write may be done: its fence is raised again before
 * the reply passes. Replies name no key; which write one is of is told from when it comes. Seen on tc egress where
 * the origin is on this host, and on XDP where its replies are translated.
 */
#ifndef WEIR_TRACK_REPLY_BPF_H
#define WEIR_TRACK_REPLY_BPF_H

#include "conn.bpf.h"

/* The server may acknowledge what was seen, and nothing behind a gap: else a segment has passed unseen. */
static __always_inline bool ack_known(const struct weir_conn *c, __u32 ack)
{
	__u32 high = c->flags & WEIR_CONN_GAP ? c->pos : c->high;

	return ack - c->floor <= high - c->floor;
}

/* One command at a time: this is its reply. */
static __always_inline void answered(struct weir_conn *c, struct weir_work *w, __u32 svc)
{
	__u64 now = now_coarse(w);

#pragma clang loop unroll(disable)
	for (int i = 0; i < WEIR_CONN_PEND; i++) {
		if (i >= c->npend)
			break;
		fence_stripe_at(*pend_at(c, i) & (WEIR_FENCE_STRIPES - 1), now);
	}
	if (c->flags & WEIR_CONN_CROWDED)
		fence_service_at(svc, now);
	c->flags &= ~(WEIR_CONN_CROWDED | WEIR_CONN_CROWDING);
	c->npend = c->old = 0;
	c->mark = c->pos;
	c->asked = 0;
}

/* The server has all up to the mark: those without a place in `pend` count as those that have one, from the first
 * behind it. A new mark. */
static __always_inline void set_mark(struct weir_conn *c)
{
	if (c->flags & WEIR_CONN_CROWDING)
		c->crowded = c->crowding;
	else
		c->flags &= ~WEIR_CONN_CROWDED;
	c->flags &= ~WEIR_CONN_CROWDING;
	c->mark = c->pos;
	c->old = c->npend;
}

/* How many writes in `pend` have not been fenced for `least`. From number `from` on those that are stale are, now.
 * A global function, to be verified once. */
__noinline __u32 pend_late(__u32 at, __u32 least, __u32 from)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();
	__u32 i, age;

	if (!c || !w)
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < WEIR_CONN_PEND; i++) {
		if (i >= c->npend)
			break;
		age = conn_age(conn_now(w), *pend_at(c, i));
		if (age < least) /* nor are those behind it older */
			break;
		if (age >= CONN_STALE && i >= from)
			pend_renew(c, i, w);
	}
	return i;
}

/*
 * Several commands wait, and this may be the reply to any; or to one before that which is not whole yet. None need be
 * fenced again within two seconds after it was, since nothing is filled in that time. So a write is fenced again by the
 * first reply after that; unless replies have been flowing for a second since: then its own was among them. It is
 * forgotten then, if the server has all of it. If it has not, its reply is yet to come.
 */
static __always_inline void perhaps_answered(struct weir_conn *c, struct weir_work *w, __u32 at, __u32 svc, bool flow,
					     __u32 ack)
{
	__u32 old = 0, late;
	bool whole;

	if (c->flags & WEIR_CONN_PIPED)
		c->asked = 0;
	if ((__s32)(ack - c->pos) >= 0) {
		c->flags &= ~WEIR_CONN_CROWDING;
		c->mark = c->pos;
		c->old = c->npend;
	}
	whole = (__s32)(ack - c->mark) >= 0;
	if (whole)
		old = c->old;
	late = pend_late(at, flow ? CONN_SECOND : CONN_STALE, flow ? old : 0);
	if (late > old)
		late = old;
	c->first += late;
	c->npend -= late;
	if (c->flags & WEIR_CONN_CROWDED && conn_age(conn_now(w), c->crowded) >= CONN_STALE)
		crowd_renew(c, w, svc);
	if (whole)
		set_mark(c);
}

static __always_inline void track_server_data(struct weir_conn *c, struct weir_work *w, __u32 at, __u32 ack,
					      __u32 svc)
{
	__u32 now = conn_now(w);

	if (now - c->replied > CONN_FLOW)
		c->flowing = now;
	c->replied = now;
	if (!(c->flags & WEIR_CONN_PIPED) && (__s32)(ack - c->pos) >= 0)
		answered(c, w, svc);
	else
		perhaps_answered(c, w, at, svc, now - c->flowing >= CONN_SECOND, ack);
}

/* With the lock. */
static __always_inline void track_server(struct weir_conn *c, struct weir_work *w, __u32 at, const struct tcp_part *s,
					 __u32 svc)
{
	if (s->flags & TCP_SYN && c->flags & WEIR_CONN_AGAIN && s->ack == c->syn)
		conn_begin(c, s->ack);
	if (c->state == WEIR_CONN_LOST || !ack_known(c, s->ack)) {
		conn_lose(at, svc, WEIR_TRACK_RANGE);
		return;
	}
	c->flags |= WEIR_CONN_HEARD;
	if (s->len)
		track_server_data(c, w, at, s->ack, svc);
}

/* Whether a segment changes nothing: without the lock, since nobody can have a reply to what is being read. */
static __always_inline bool tells_nothing(const struct weir_conn *c, const struct tcp_part *s)
{
	return c->flags & WEIR_CONN_HEARD && !(s->flags & TCP_SYN) && ack_known(c, s->ack) &&
	       (!s->len || !(c->asked | c->npend | (c->flags & WEIR_CONN_CROWDED)));
}

/* A server's segment to the client that is the packet's destination. */
__noinline int track_reply(PKT_CTX *ctx, const struct weir_pkt *p, __u32 svc)
{
	struct weir_work *w = work_area();
	struct weir_conn *c;
	struct tcp_part *s;
	__u64 hash;
	__u32 at;

	if (!p || !w || p->flags & PKT_FRAGMENT || !read_part(ctx, p, &w->part))
		return 0;
	s = &w->part;
	hash = flow_hash(&p->daddr, p->dport, p);
	at = conn_find(hash);
	c = conn_at(at);
	if (s->flags & TCP_RST || !(s->flags & TCP_ACK))
		return 0;
	svc &= WEIR_SERVICES_MAX - 1;
	if (!c) { /* what it asked for fenced the service, or passed elsewhere */
		if (s->len)
			fence_service_again(svc, w);
		return 0;
	}
	if (c->missed || (c->state == WEIR_CONN_LOST && !(s->flags & TCP_SYN))) {
		if (s->len)
			fence_service_again(svc, w);
		return 0;
	}
	if (tells_nothing(c, s))
		return 0;
	if (!conn_lock(c, at)) {
		if (s->len && (c->npend || c->flags & WEIR_CONN_CROWDED))
			fence_service_again(svc, w);
		return 0;
	}
	if (conn_is(c, hash))
		track_server(c, w, at, s, svc);
	conn_unlock(c);
	return 0;
}

#endif
