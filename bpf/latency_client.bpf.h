/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Latencies, the client's packets: they are counted in the flow's record, and begin samples. What most packets
 * are, neither a request's first nor one that is waited for, is dealt with inline.
 */
#ifndef WEIR_LATENCY_CLIENT_BPF_H
#define WEIR_LATENCY_CLIENT_BPF_H

#include "latency.bpf.h"
#include "slow.bpf.h"

/* ---- a flow's record -------------------------------------------------------------------------- */

/* Whether nobody is measured here any more. A request that is waited for keeps its place: or the slow ones would
 * be missing. */
static __always_inline bool rec_free(const struct weir_flow_rec *rec, __u32 now)
{
	__u64 sent = rec_sent(rec);
	__u8 state = rec->state;

	if (!rec->hash)
		return true;
	if (sent && (state == WEIR_REC_OPEN || state == WEIR_REC_OVER) && !timed_out(sent, now))
		return false;
	return state == WEIR_REC_OVER || (__s32)(now - rec->seen) > WEIR_REC_IDLE;
}

static __always_inline bool is_oneway(__u32 backend)
{
	struct weir_backend *b = backend == WEIR_BACKEND_NONE ? NULL : bpf_map_lookup_elem(&backends, &backend);

	return b && b->via != WEIR_VIA_NAT;
}

/* The record becomes this flow's, if it is free. The flow before is settled. */
static __always_inline bool rec_take(struct weir_flow_rec *rec, const struct weir_pkt *p, __u64 hash, __u32 who,
				     struct weir_work *w)
{
	__u64 old = *(volatile __u64 *)&rec->hash, sent = rec_sent(rec);
	__u32 now = rec_time(w);

	if (!rec_free(rec, now) || !may_begin(w, now) || __sync_val_compare_and_swap(&rec->hash, old, hash) != old)
		return false;
	if (sent && timed_out(sent, now))
		rec_unanswered(rec, sent, false);
	__builtin_memset(&rec->info, 0, sizeof(*rec) - offsetof(struct weir_flow_rec, info));
	rec->info = flow_info_of(p, who & (WEIR_SERVICES_MAX - 1));
	rec->packets = 1;
	rec->bytes = p->ip_len;
	rec->seen = rec->next = rec->first = now;
	rec->backend = who >> 16;
	rec->flags = is_oneway(who >> 16) ? WEIR_REC_ONEWAY : 0;
	rec->state = WEIR_REC_OPEN;
	begun(w, now);
	return true;
}

static __always_inline void rec_count(struct weir_flow_rec *rec, const struct weir_pkt *p, __u32 now)
{
	rec->packets++;
	rec->bytes += p->ip_len;
	rec->seen = now;
}

/* ---- TCP -------------------------------------------------------------------------------------- */

static __always_inline bool is_syn(const struct weir_pkt *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* A SYN begins a record. The same once more: which one will be answered cannot be told. In a flow that is in use
 * it is late, or forged. */
static __always_inline void opening(struct weir_flow_rec *rec, const struct weir_pkt *p, const struct segment *s,
				    __u64 hash, __u32 who, struct weir_work *w)
{
	__u32 now = rec_time(w);

	if (rec_take(rec, p, hash, who, w)) {
		rec->state = WEIR_REC_SYN;
		rec->match = s->seq + 1;
		*(volatile __u64 *)&rec->sent_ns = bpf_ktime_get_ns();
	} else if (rec->hash == hash) {
		rec_count(rec, p, now);
		if (rec->state == WEIR_REC_SYN)
			flags_set(rec, WEIR_REC_AGAIN);
	}
}

/* The client's ACK: its half of the handshake, with ONEWAY both. */
static __always_inline void opened(struct weir_flow_rec *rec, const struct segment *s, __u64 *ns)
{
	__u64 sent = rec_sent(rec);
	bool oneway = rec->flags & WEIR_REC_ONEWAY, mine = sent && take(&rec->sent_ns, sent);

	if (mine && !(rec->flags & WEIR_REC_AGAIN) && (rec->state == WEIR_REC_SYNACK || oneway)) {
		if (oneway)
			rec->connect_us = in_us(read_clock(ns) - sent);
		lat_sample(rec_svc(rec), oneway ? WEIR_LAT_CONNECT : WEIR_LAT_CONNECT_CLIENT, rec->backend,
			   read_clock(ns) - sent);
	}
	flags_clear(rec, WEIR_REC_AGAIN);
	rec->state = WEIR_REC_OPEN;
	rec->match = s->ack - 1; /* the first data is a request */
}

/* A request begins to wait, if it is time for a sample. Of any the place is noted where its answer would begin:
 * what is sent with the same place in view belongs to the same request. */
static __always_inline bool requested(struct weir_flow_rec *rec, const struct segment *s, __u32 who,
				      struct weir_work *w, __u64 *ns)
{
	__u32 now = rec_time(w);

	*(volatile __u32 *)&rec->match = s->ack;
	if (!request_due(rec, w, now))
		return false;
	begun(w, now);
	rec->next = now + cfg.rec_interval;
	rec->seq = s->seq;
	rec->backend = who >> 16;
	*(volatile __u64 *)&rec->sent_ns = read_clock(ns);
	return true;
}

/* What an open flow's segment says of a request that waits: 0, or since when it does so still. */
static __always_inline __u64 waiting(struct weir_flow_rec *rec, const struct segment *s, __u32 now, __u64 *ns)
{
	__u64 sent = rec_sent(rec);

	if (!sent)
		return 0;
	if (after(s->ack, rec->match)) {
		if (rec->flags & WEIR_REC_ONEWAY)
			rec_answered(rec, sent, ns);
		else
			take(&rec->sent_ns, sent); /* answered, by a packet that was not seen */
		return 0;
	}
	if (s->len && !after(s->seq, rec->seq) && timed_out(sent, now)) { /* its beginning, once more */
		rec_unanswered(rec, sent, false);
		return 0;
	}
	return sent;
}

static __always_inline void client_data(struct weir_flow_rec *rec, const struct segment *s, __u32 who,
					struct weir_work *w, __u64 *ns)
{
	__u32 now = rec_time(w);
	bool fresh = s->len && after(s->ack, rec->match), begin = false;
	__u64 sent = waiting(rec, s, now, ns);

	if (!sent && fresh) {
		begin = requested(rec, s, who, w, ns);
	} else if (s->len && stamps_due(rec, w, now)) {
		begin = true;
		stamps_begun(rec, w, now);
	}
	if (!(rec->flags & WEIR_REC_ONEWAY))
		stamps(rec, s, 0, begin, now, ns);
}

/* The client's end. After its FIN, but not its reset, the answer to a request may still come. */
static __always_inline void closing(struct weir_flow_rec *rec, const struct weir_pkt *p, __u32 now)
{
	__u64 sent = rec_sent(rec);

	if (sent && timed_out(sent, now))
		rec_unanswered(rec, sent, false);
	if (p->tcp_flags & TCP_RST || rec->flags & WEIR_REC_ONEWAY || rec->state == WEIR_REC_SYN ||
	    rec->state == WEIR_REC_SYNACK)
		rec->sent_ns = 0;
	rec_over(rec);
}

/* A client's segment that may begin or end something. */
__noinline int client_segment(PKT_CTX *ctx, const struct weir_pkt *p, __u64 hash, __u32 who)
{
	struct weir_flow_rec *rec = rec_at(hash);
	struct weir_work *w = work_area();
	struct segment s = {};
	__u64 ns = 0;

	if (!p || !w || !rec || !read_segment(ctx, p, &s))
		return 0;
	if (is_syn(p)) {
		opening(rec, p, &s, hash, who, w);
		return 0;
	}
	if (rec->hash != hash) {
		if (!(p->tcp_flags & (TCP_FIN | TCP_RST)) && rec_take(rec, p, hash, who, w))
			rec->match = s.ack; /* whether a request begins here, nobody knows */
		return 0;
	}
	if (rec->state != WEIR_REC_OVER && p->tcp_flags & TCP_ACK && !(p->tcp_flags & TCP_RST)) {
		if (rec->state != WEIR_REC_OPEN)
			opened(rec, &s, &ns);
		client_data(rec, &s, who, w, &ns);
	}
	if (p->tcp_flags & (TCP_FIN | TCP_RST))
		closing(rec, p, rec_time(w));
	rec_look(rec, WEIR_REC_LOOK_C);
	return 0;
}

/* Whether an open flow's segment neither begins nor ends anything. */
static __always_inline bool segment_quiet(PKT_CTX *ctx, const struct weir_pkt *p, struct weir_flow_rec *rec,
					  const struct weir_work *w, __u32 now)
{
	__u64 sent = rec_sent(rec);
	void *tcp;
	__u32 ack;

	if (p->tcp_flags & (TCP_FIN | TCP_RST) || rec->state != WEIR_REC_OPEN || rec->flags & WEIR_REC_LOOK_C)
		return false;
	tcp = frame_at(ctx, p->l4, sizeof(struct tcphdr));
	if (!tcp || data_len(p, tcp) <= 0)
		return true;
	ack = bpf_ntohl(LOAD(__u32, tcp + 8));
	if (after(ack, rec->match)) {
		if (sent || request_due(rec, w, now))
			return false;
		rec->match = ack;
		return true;
	}
	return !(sent && timed_out(sent, now)) && !stamps_due(rec, w, now);
}

/* ---- UDP -------------------------------------------------------------------------------------- */

/* Whether a datagram begins nothing: nobody would see the reply, or one is waited for, or it is not time, or
 * another was sent since the last reply. */
static __always_inline bool datagram_quiet(struct weir_flow_rec *rec, __u32 who, const struct weir_work *w,
					   __u32 now)
{
	__u64 sent = rec_sent(rec);

	if (rec->flags & WEIR_REC_ONEWAY || (who & (WHO_CACHED | WHO_WAITS)) == WHO_CACHED)
		return true;
	if (sent)
		return !timed_out(sent, now);
	if (who & WHO_CACHED)
		return !request_due(rec, w, now);
	if (rec->match)
		return true;
	if (request_due(rec, w, now))
		return false;
	rec->match = 1;
	return true;
}

/* A datagram that begins something. */
__noinline int client_datagram(const struct weir_pkt *p, __u64 hash, __u32 who)
{
	struct weir_flow_rec *rec = rec_at(hash);
	struct weir_work *w = work_area();
	__u64 sent;
	__u32 now;

	if (!p || !w || !rec)
		return 0;
	now = rec_time(w);
	if (rec->hash != hash && !rec_take(rec, p, hash, who, w))
		return 0;
	sent = rec_sent(rec);
	if (sent && timed_out(sent, now)) {
		rec_unanswered(rec, sent, false);
		rec->match = 0;
	}
	if (datagram_quiet(rec, who, w, now))
		return 0;
	begun(w, now);
	*(volatile __u32 *)&rec->match = who & WHO_CACHED ? w->id : 1;
	rec->next = now + cfg.rec_interval;
	rec->backend = who >> 16;
	*(volatile __u64 *)&rec->sent_ns = bpf_ktime_get_ns();
	return 0;
}

/* ---- the stage -------------------------------------------------------------------------------- */

/* A whole packet of a client to a service, before anything in it is changed. */
static __always_inline void measure_client(PKT_CTX *ctx, const struct weir_pkt *p, struct weir_work *w, __u64 hash,
					   __u32 who)
{
	struct weir_flow_rec *rec = rec_at(hash);
	bool tcp = p->proto == IPPROTO_TCP;
	__u32 now = rec_time(w);

	if (!rec)
		return;
	if (rec->hash != hash && !(rec_free(rec, now) && may_begin(w, now)))
		return;
	if (rec->hash == hash && !(tcp && is_syn(p))) {
		rec_count(rec, p, now);
		if (tcp ? segment_quiet(ctx, p, rec, w, now) : datagram_quiet(rec, who, w, now))
			return;
	}
	if (tcp)
		client_segment(ctx, p, hash, who);
	else
		client_datagram(p, hash, who);
}

/* Requests with these fates are lookups that memcached replies to, but for quiet ones. */
#define REPLIED                                                                                          \
	(1ULL << WEIR_R_MISS | 1ULL << WEIR_R_EXPIRED | 1ULL << WEIR_R_FENCED | 1ULL << WEIR_R_LEASE_OVER |  \
	 1ULL << WEIR_R_CAS_UNKNOWN | 1ULL << WEIR_R_INEXACT | 1ULL << WEIR_R_TOO_LONG |                   \
	 1ULL << WEIR_R_NO_ROOM | 1ULL << WEIR_R_MULTI_KEY)

/* WHO_WAITS: the request in w, left to a server, will be replied to. */
static __always_inline __u32 will_reply(const struct weir_work *w, int reason)
{
	__u8 opcode = w->req[WEIR_FRAME_HDR + 1];

	if (!(REPLIED >> (reason & 63) & 1) || (w->op == OP_META && FLAG_IN(w->seen, 'q')) ||
	    (w->op == OP_BINARY && (opcode == BIN_GETQ || opcode == BIN_GETKQ)))
		return 0;
	return WHO_WAITS;
}

/* A client's packet that is passed to this host. */
__noinline int local_packet(struct xdp_md *ctx, struct weir_pkt *p, __u32 svc, __u32 reason)
{
	struct weir_work *w = work_area();
	__u32 who;

	if (!p || !w || p->flags & PKT_FRAGMENT || reason == WEIR_R_MALFORMED || reason == WEIR_R_OTHER_HOST)
		return 0;
	who = who_of(svc, WEIR_BACKEND_NONE);
	if (p->proto == IPPROTO_UDP)
		who |= will_reply(w, reason);
	else if (p->proto != IPPROTO_TCP)
		return 0;
	measure_client(ctx, p, w, flow_hash(&p->saddr, p->sport, p), who);
	return 0;
}

/* ---- hits ------------------------------------------------------------------------------------- */

/* The first packet of each tick is timed, on each CPU, should it be a hit. */
static __always_inline void hit_begin(struct weir_work *w)
{
	__u64 jiffies = bpf_jiffies64();

	if (w->hit_jiffies == jiffies) {
		if (w->hit_ns)
			w->hit_ns = 0;
		return;
	}
	w->hit_jiffies = jiffies;
	w->hit_ns = bpf_ktime_get_ns();
}

static __always_inline void hit_end(const struct weir_work *w, __u32 svc)
{
	if (w->hit_ns)
		lat_sample(svc, WEIR_LAT_HIT, WEIR_BACKEND_NONE, bpf_ktime_get_ns() - w->hit_ns);
}

#endif
