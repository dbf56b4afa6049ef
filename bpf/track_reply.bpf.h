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
	c->flags &= ~WEIR_CONN_CROWDED;
	c->npend = 0;
	c->asked = 0;
}

/*
 * Several commands wait, and this may be the reply to any. None need be fenced again within two seconds after it was,
 * since nothing is filled in that time. So a write is fenced again by the first reply after that; unless replies have
 * been flowing for a second since: then its own was among them.
 */
static __always_inline void perhaps_answered(struct weir_conn *c, struct weir_work *w, __u32 svc, bool flow)
{
	__u32 now = conn_now(w);

	c->asked = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < WEIR_CONN_PEND; i++) {
		__u32 word = *pend_at(c, 0), age = conn_age(now, word);

		if (!c->npend || age < CONN_SECOND || (!flow && age < CONN_STALE))
			break;
		if (!flow)
			fence_stripe_at(word & (WEIR_FENCE_STRIPES - 1), now_coarse(w));
		c->first++;
		c->npend--;
	}
	if (c->flags & WEIR_CONN_CROWDED && conn_age(now, c->crowded) >= CONN_STALE)
		fence_service_at(svc, now_coarse(w));
	c->flags &= ~WEIR_CONN_CROWDED;
}

static __always_inline void track_server_data(struct weir_conn *c, struct weir_work *w, __u32 ack, __u32 svc)
{
	__u32 now = conn_now(w);
	bool flow = now - c->replied <= CONN_FLOW;

	c->replied = now;
	if (c->flags & WEIR_CONN_PIPED)
		perhaps_answered(c, w, svc, flow);
	else if ((__s32)(ack - c->pos) >= 0) /* all of the command was there */
		answered(c, w, svc);
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
		track_server_data(c, w, s->ack, svc);
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
	if (!c || s->flags & TCP_RST || !(s->flags & TCP_ACK))
		return 0;
	svc &= WEIR_SERVICES_MAX - 1;
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
