/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Latencies: histograms, the records of flows, and what a server's packet ends. latency_client.bpf.h has the
 * client's packets. XDP and tc share this; nothing here touches a packet or decides what becomes of it.
 *
 * Reading the clock costs as much as all else that is done for a packet: it is read when a sample begins or ends,
 * once a packet. What can wait for a millisecond goes by the coarse clock. Whether a sample is begun is decided
 * when nothing is known of how it will end.
 *
 * References: RFC 6298 (smoothing; Karn's rule), RFC 7323 (time stamps).
 */
#ifndef WEIR_LATENCY_BPF_H
#define WEIR_LATENCY_BPF_H

#include "classify.bpf.h"
#include "flow.bpf.h"
#include "frame.bpf.h"

/* Whom a packet's latency belongs to: service, backend << 16, and of UDP: */
#define WHO_CACHED (1 << 8) /* replies have their request's id */
#define WHO_WAITS  (1 << 9) /* this request will be replied to */

static __always_inline __u32 who_of(__u32 svc, __u32 backend)
{
	__u32 cached = service_at(svc)->flags & WEIR_SVC_CACHE ? WHO_CACHED : 0;

	return (svc & (WEIR_SERVICES_MAX - 1)) | cached | backend << 16;
}

/* ---- histograms ------------------------------------------------------------------------------- */

static __always_inline struct weir_histogram *service_histogram(__u32 svc, __u32 path)
{
	__u32 at = svc * WEIR_LAT_PATHS + path;

	return bpf_map_lookup_elem(&latency, &at);
}

/* NULL: no backend's, or of a path that is not kept for backends. */
static __always_inline struct weir_histogram *backend_histogram(__u32 backend, __u32 path)
{
	__u32 at = backend * WEIR_BACKEND_PATHS;

	if (path == WEIR_LAT_CONNECT || path == WEIR_LAT_CONNECT_SERVER)
		at += WEIR_BACKEND_CONNECT;
	else if (path < WEIR_LAT_MISS || path > WEIR_LAT_REQUEST_ACKED)
		return NULL;
	return backend == WEIR_BACKEND_NONE ? NULL : bpf_map_lookup_elem(&backend_latency, &at);
}

/* One sample, into the histograms of service and backend. */
__noinline int lat_sample(__u32 svc, __u32 path, __u32 backend, __u64 ns)
{
	struct weir_histogram *h = service_histogram(svc, path);
	__u32 at = weir_lat_bucket(ns);

	if (!at_most(&at, WEIR_LAT_BUCKETS - 1))
		return 0;
	if (h) {
		h->n[at]++;
		h->sum_ns += ns;
	}
	h = backend_histogram(backend, path);
	if (h) {
		__sync_fetch_and_add(&h->n[at], 1);
		__sync_fetch_and_add(&h->sum_ns, ns);
	}
	return 0;
}

/* No answer came: the server refused it, or the time is up. */
__noinline int lat_unanswered(__u32 svc, __u32 path, __u32 backend, __u32 failed)
{
	struct weir_histogram *h = service_histogram(svc, path);

	if (h)
		*(failed ? &h->failed : &h->lost) += 1;
	h = backend_histogram(backend, path);
	if (h)
		__sync_fetch_and_add(failed ? &h->failed : &h->lost, 1);
	return 0;
}

/* ---- records ---------------------------------------------------------------------------------- */

static __always_inline struct weir_flow_rec *rec_at(__u64 hash)
{
	__u32 at = (__u32)(hash >> 20) & cfg.rec_mask;

	return bpf_map_lookup_elem(&flow_recs, &at);
}

/* Starts the read of a record that will be needed. */
static __always_inline void rec_fetch(__u64 hash)
{
	struct weir_flow_rec *rec = rec_at(hash);

	if (rec)
		(void)*(volatile __u64 *)&rec->hash;
}

static __always_inline __u32 rec_time(struct weir_work *w)
{
	return now_coarse(w) >> WEIR_REC_TIME;
}

static __always_inline __u64 rec_sent(const struct weir_flow_rec *rec)
{
	return *(const volatile __u64 *)&rec->sent_ns;
}

/* How long something waits for its answer, in WEIR_REC_TIME: longer than requests are waited for. (The coarse
 * clock is late: it may not have begun yet.) */
static __always_inline bool timed_out(__u64 sent_ns, __u32 now)
{
	return (__s32)(now - (__u32)(sent_ns >> WEIR_REC_TIME)) > (__s32)cfg.rec_timeout;
}

#define CLOCK_LAG 16 /* one CPU's coarse clock may be a tick behind another's */

/* Where many flows are in use, each one's packets are due: so that counting never costs more than a little of a
 * CPU's time, only so many samples and records are begun in a tick; not where each request is wanted. */
static __always_inline bool may_begin(const struct weir_work *w, __u32 now)
{
	return w->begun_at != now || w->begun < WEIR_LAT_TICK || !cfg.rec_interval;
}

static __always_inline void begun(struct weir_work *w, __u32 now)
{
	w->begun = w->begun_at == now ? w->begun + 1 : 1;
	w->begun_at = now;
}

/* Whether it is time for a sample of the flow; by its time stamps alone, which come later, so that requests have
 * the first turn. */
static __always_inline bool request_due(const struct weir_flow_rec *rec, const struct weir_work *w, __u32 now)
{
	return (__s32)(now - rec->next) >= 0 && may_begin(w, now);
}

static __always_inline bool stamps_due(const struct weir_flow_rec *rec, const struct weir_work *w, __u32 now)
{
	return (__s32)(now - rec->next) >= (__s32)cfg.rec_interval + CLOCK_LAG && may_begin(w, now);
}

/* They are; a request may follow at once. */
static __always_inline void stamps_begun(struct weir_flow_rec *rec, struct weir_work *w, __u32 now)
{
	rec->next = now - CLOCK_LAG;
	begun(w, now);
}

/* The clock, read once a packet. */
static __always_inline __u64 read_clock(__u64 *ns)
{
	if (!*ns)
		*ns = bpf_ktime_get_ns();
	return *ns;
}

/* Who takes what was waited for has the sample; false: somebody else has, or another is waited for by now. */
static __always_inline bool take(__u64 *since, __u64 was)
{
	return __sync_val_compare_and_swap(since, was, 0) == was;
}

static __always_inline __u32 in_us(__u64 ns)
{
	__u64 us = ns / 1000;

	return us > 0xffffffff ? 0xffffffff : us ?: 1;
}

/* An eighth of the difference; 0: the first one. */
static __always_inline __u32 smoothed(__u32 was, __u32 us)
{
	return was ? ((__u64)was * 7 + us) / 8 : us;
}

static __always_inline __u32 least(__u32 was, __u32 us)
{
	return !was || us < was ? us : was;
}

static __always_inline __u32 rec_svc(const struct weir_flow_rec *rec)
{
	return rec->info >> 10 & (WEIR_SERVICES_MAX - 1);
}

/* Which latency the flow's request is. */
static __always_inline __u32 request_path(const struct weir_flow_rec *rec)
{
	if (rec->info & 1)
		return rec->flags & WEIR_REC_ONEWAY ? WEIR_LAT_REQUEST_ACKED : WEIR_LAT_REQUEST;
	return service_at(rec_svc(rec))->flags & WEIR_SVC_CACHE ? WEIR_LAT_MISS : WEIR_LAT_REQUEST;
}

/* The request that waits since `sent` is answered. */
static __always_inline bool rec_answered(struct weir_flow_rec *rec, __u64 sent, __u64 *ns)
{
	struct weir_rec_lat *l = &rec->request;
	__u32 us;

	if (!take(&rec->sent_ns, sent))
		return false;
	us = in_us(read_clock(ns) - sent);
	l->latest = us;
	l->min = least(l->min, us);
	l->smooth = smoothed(l->smooth, us);
	l->n++;
	lat_sample(rec_svc(rec), request_path(rec), rec->backend, *ns - sent);
	return true;
}

/* What waits since `sent` will not be answered. Of connections that are not opened only the server's silence or
 * refusal counts: who forges SYNs does not answer either. */
static __always_inline void rec_unanswered(struct weir_flow_rec *rec, __u64 sent, bool failed)
{
	__u32 path = request_path(rec);

	if (!take(&rec->sent_ns, sent))
		return;
	if (rec->state == WEIR_REC_SYNACK || (rec->state == WEIR_REC_SYN && rec->flags & WEIR_REC_ONEWAY))
		return;
	if (rec->state == WEIR_REC_SYN)
		path = WEIR_LAT_CONNECT_SERVER;
	if (failed)
		rec->failed += rec->failed != 0xffff;
	else
		rec->lost += rec->lost != 0xffff;
	lat_unanswered(rec_svc(rec), path, rec->backend, failed);
}

_Static_assert(offsetof(struct weir_flow_rec, flags) == offsetof(struct weir_flow_rec, backend) + 3, "one word");

/* Flags are changed by both sides: atomically, by the word that they are in. */
static __always_inline __u32 *flags_word(struct weir_flow_rec *rec)
{
	return (void *)rec + offsetof(struct weir_flow_rec, backend);
}

static __always_inline void flags_set(struct weir_flow_rec *rec, __u32 flags)
{
	__sync_fetch_and_or(flags_word(rec), flags << 24);
}

static __always_inline void flags_clear(struct weir_flow_rec *rec, __u32 flags)
{
	__sync_fetch_and_and(flags_word(rec), ~(flags << 24));
}

/* Which sides' packets have to be looked at closely. */
static __always_inline __u32 to_look(struct weir_flow_rec *rec)
{
	__u64 client = *(volatile __u64 *)&rec->echo_ns[0], server = *(volatile __u64 *)&rec->echo_ns[1];
	__u32 flags = 0;

	if (client == WEIR_REC_LOOKING || server > WEIR_REC_LOOKING)
		flags |= WEIR_REC_LOOK_C;
	if (server == WEIR_REC_LOOKING || client > WEIR_REC_LOOKING)
		flags |= WEIR_REC_LOOK_S;
	if (rec_sent(rec))
		flags |= rec->flags & WEIR_REC_ONEWAY ? WEIR_REC_LOOK_C : WEIR_REC_LOOK_S;
	return flags;
}

/* After a packet of one side: what is begun is asked for, and only this side's packets say that nothing is
 * asked of them any more. So no packet that ends a sample is missed, or it would be ended later, and wrong. */
static __always_inline void rec_look(struct weir_flow_rec *rec, __u32 own)
{
	__u32 flags = to_look(rec), more = flags & ~(__u32)rec->flags;

	if (more)
		flags_set(rec, more);
	if (flags & own || !(rec->flags & own))
		return;
	flags_clear(rec, own);
	if (to_look(rec) & own)
		flags_set(rec, own);
}

/* ---- TCP -------------------------------------------------------------------------------------- */

struct segment {
	__u32 seq, ack;
	__u32 len; /* of its data */
	__u32 stamped; /* the two below are there */
	__u32 val, echo;
};

#define TCP_STAMP 0x0101080a /* NOP, NOP, the option's kind and length: as all systems put it (RFC 7323, A) */

static __always_inline __s32 data_len(const struct weir_pkt *p, const void *tcp)
{
	return p->ip_len - (p->l4 - p->l3) - (LOAD(__u8, tcp + 12) >> 4) * 4;
}

static __always_inline bool read_segment(PKT_CTX *ctx, const struct weir_pkt *p, struct segment *s)
{
	void *tcp = frame_at(ctx, p->l4, sizeof(struct tcphdr));
	__s32 len;

	if (!tcp)
		return false;
	s->seq = bpf_ntohl(LOAD(__u32, tcp + 4));
	s->ack = bpf_ntohl(LOAD(__u32, tcp + 8));
	len = data_len(p, tcp);
	s->len = len > 0 ? len : 0;
	s->stamped = 0;
	if (LOAD(__u8, tcp + 12) >> 4 < 8)
		return true;
	tcp = frame_at(ctx, p->l4 + sizeof(struct tcphdr), 12);
	if (!tcp || LOAD(__u32, tcp) != bpf_htonl(TCP_STAMP))
		return true;
	s->stamped = 1;
	s->val = bpf_ntohl(LOAD(__u32, tcp + 4));
	s->echo = bpf_ntohl(LOAD(__u32, tcp + 8));
	return true;
}

/* Whether a is behind b in the sequence. */
static __always_inline bool after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* The other side returns the time stamp that is waited for. Or a later one: then the packet that did was not
 * seen, and its time is not known. */
static __always_inline void stamp_back(struct weir_flow_rec *rec, const struct segment *s, __u32 of, __u64 *ns)
{
	__u64 since = *(volatile __u64 *)&rec->echo_ns[of];
	__u32 us;

	if (since <= WEIR_REC_LOOKING || after(rec->echo[of], s->echo))
		return;
	if (!take(&rec->echo_ns[of], since) || s->echo != rec->echo[of])
		return;
	us = in_us(read_clock(ns) - since);
	rec->rtt_min[of] = least(rec->rtt_min[of], us);
	rec->rtt_smooth[of] = smoothed(rec->rtt_smooth[of], us);
	lat_sample(rec_svc(rec), WEIR_LAT_RTT_SERVER + of, rec->backend, *ns - since);
}

/*
 * Time stamps of a packet of one side (0: the client's). A round trip begins with the first packet that has its
 * time stamp, or an earlier one's echo would seem quick: so one is noted, and the next later one taken. It must
 * carry data, for only that is acknowledged at once.
 */
static __always_inline void stamps(struct weir_flow_rec *rec, const struct segment *s, __u32 side, bool begin,
				   __u32 now, __u64 *ns)
{
	__u64 *mine = &rec->echo_ns[side];

	if (!s->stamped)
		return;
	stamp_back(rec, s, 1 - side, ns);
	if (*mine > WEIR_REC_LOOKING && timed_out(*mine, now))
		*mine = 0;
	if (*mine == WEIR_REC_LOOKING && after(s->val, rec->echo[side])) {
		rec->echo[side] = s->val;
		if (s->len)
			*(volatile __u64 *)mine = read_clock(ns);
	} else if (!*mine && begin && s->len) {
		rec->echo[side] = s->val;
		*mine = WEIR_REC_LOOKING;
	}
}

static __always_inline void rec_over(struct weir_flow_rec *rec)
{
	rec->echo_ns[0] = rec->echo_ns[1] = 0;
	rec->state = WEIR_REC_OVER;
}

/* ---- the server's packets --------------------------------------------------------------------- */

/* SYN-ACK: of the SYN that is known; the first one, or none tells the halves apart. */
static __always_inline void accepted(struct weir_flow_rec *rec, const struct segment *s, __u64 *ns)
{
	__u64 sent = rec_sent(rec);

	if (rec->state == WEIR_REC_SYNACK)
		flags_set(rec, WEIR_REC_AGAIN);
	if (rec->state != WEIR_REC_SYN || s->ack != rec->match || !sent || !take(&rec->sent_ns, sent))
		return;
	read_clock(ns);
	if (!(rec->flags & WEIR_REC_AGAIN)) {
		rec->connect_us = in_us(*ns - sent);
		lat_sample(rec_svc(rec), WEIR_LAT_CONNECT_SERVER, rec->backend, *ns - sent);
	}
	flags_clear(rec, WEIR_REC_AGAIN);
	rec->state = WEIR_REC_SYNACK;
	*(volatile __u64 *)&rec->sent_ns = *ns;
}

/* Data: perhaps the first of an answer. Then the server's own time stamp is taken, too. */
static __always_inline void replied(struct weir_flow_rec *rec, const struct segment *s, struct weir_work *w,
				    __u64 *ns)
{
	bool requests = rec->state == WEIR_REC_OPEN || rec->state == WEIR_REC_OVER, begin = false;
	__u32 now = rec_time(w);
	__u64 sent = rec_sent(rec);

	if (sent && requests && s->len && after(s->seq + s->len, rec->match))
		begin = rec_answered(rec, sent, ns);
	if (rec->state != WEIR_REC_OPEN)
		return;
	if (s->len && stamps_due(rec, w, now)) {
		begin = true;
		stamps_begun(rec, w, now);
	}
	stamps(rec, s, 1, begin, now, ns);
}

/* A server's segment that may end or begin something. */
__noinline int server_segment(PKT_CTX *ctx, const struct weir_pkt *p, __u64 hash)
{
	struct weir_flow_rec *rec = rec_at(hash);
	struct weir_work *w = work_area();
	struct segment s = {};
	__u64 ns = 0, sent;

	if (!p || !w || !rec || rec->hash != hash || !read_segment(ctx, p, &s))
		return 0;
	if ((p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		accepted(rec, &s, &ns);
		return 0;
	}
	replied(rec, &s, w, &ns);
	if (p->tcp_flags & TCP_RST) {
		sent = rec_sent(rec);
		if (sent)
			rec_unanswered(rec, sent, true);
	}
	if (p->tcp_flags & (TCP_RST | TCP_FIN)) {
		rec->sent_ns = 0;
		rec_over(rec);
	}
	rec_look(rec, WEIR_REC_LOOK_S);
	return 0;
}

/* The request is answered by any datagram, a cache's by the one with its id. */
__noinline int server_datagram(PKT_CTX *ctx, const struct weir_pkt *p, __u64 hash, __u32 who)
{
	struct weir_flow_rec *rec = rec_at(hash);
	__u64 ns = 0, sent;
	__u8 *id;

	if (!p || !rec || rec->hash != hash)
		return 0;
	sent = rec_sent(rec);
	if (!sent)
		return 0;
	if (who & WHO_CACHED) {
		id = p->payload_len < WEIR_FRAME_HDR ? NULL : frame_at(ctx, p->payload, WEIR_FRAME_HDR);
		if (!id || LOAD(__u16, id) != rec->match)
			return 0;
	}
	rec_answered(rec, sent, &ns);
	return 0;
}

/* A whole packet of a service, from this host or from a backend; hash: of its flow. Most end here. */
static __always_inline void measure_server(PKT_CTX *ctx, const struct weir_pkt *p, struct weir_work *w, __u64 hash,
					   __u32 who)
{
	struct weir_flow_rec *rec = rec_at(hash);

	if (!rec || rec->hash != hash)
		return;
	if (p->proto == IPPROTO_TCP) {
		if (!(p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) && !(rec->flags & WEIR_REC_LOOK_S) &&
		    !stamps_due(rec, w, rec_time(w)))
			return;
		server_segment(ctx, p, hash);
		return;
	}
	if (!(who & WHO_CACHED) && rec->match) /* what the client sends next is a request */
		rec->match = 0;
	if (rec_sent(rec))
		server_datagram(ctx, p, hash, who);
}

#endif
