// SPDX-License-Identifier: GPL-2.0-only
/*
 * The receive programs (XDP): parse, classify, request, answer, steer, and one exit. Each stage returns a
 * reason, or WEIR_NEXT to go on; see docs/design.md. weir_rx is loaded where no service has a pool (one
 * third of the verifier's work), weir_rx_steer where one has.
 */
#define PKT_CTX	     struct xdp_md
#define PKT_LEN(ctx) (cfg.frags ? (__u32)bpf_xdp_get_buff_len(ctx) : (ctx)->data_end - (ctx)->data)
#define PKT_LOAD     bpf_xdp_load_bytes
#include "maps.bpf.h"
#include "classify.bpf.h"
#include "latency_client.bpf.h"
#include "observe.bpf.h"
#include "rewrite.bpf.h"
#include "sample.bpf.h"
#include "steer.bpf.h"
#include "track.bpf.h"

/* Copies the datagram into the work area, as far as it can be understood. */
static __always_inline int load_request(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w)
{
	__u32 len = p->payload_len;

	if (len > REQ_MAX)
		len = REQ_MAX;
	if (!one_to(&len, REQ_MAX))
		return WEIR_R_BAD_FRAME;
	return bpf_xdp_load_bytes(ctx, p->payload, w->req, len) ? WEIR_R_MALFORMED : WEIR_NEXT;
}

static __always_inline int slow_request(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w, __u32 svc)
{
	int r = load_request(ctx, p, w);

	if (r != WEIR_NEXT)
		return r;
	if (w->req[WEIR_FRAME_HDR] == BIN_REQ)
		return binary_request(p->payload_len, svc);
	return text_request(p->payload_len, svc);
}

/* memcached drops what is too short, or not one datagram. Keeps the request id. */
static __always_inline bool frame_header(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w)
{
	__u8 *d = frame_at(ctx, p->payload, WEIR_FRAME_HDR);

	if (!d || p->payload_len <= WEIR_FRAME_HDR)
		return false;
	w->id = LOAD(__u16, d);
	return LOAD(__u16, d + 4) == bpf_htons(1);
}

/* A write raises its fence now, and again when the egress program sees its reply. */
static __always_inline void fence_write(const struct weir_pkt *p, struct weir_work *w, __u32 svc, int reason)
{
	__u32 stripe = PENDING_ALL;

	if (reason == WEIR_R_WRITE) {
		stripe = weir_stripe(w->hash);
		fence_stripe(stripe);
	} else {
		fence_service(svc);
	}
	pending_add(pending_hash(svc, &p->saddr, p->sport, w->id), stripe);
}

/* Tells the egress program that a reply which no lookup has, or "HD", is no write's. */
static __always_inline void note_read(const struct weir_pkt *p, struct weir_work *w, __u32 svc)
{
	pending_add(pending_hash(svc, &p->saddr, p->sport, w->id), PENDING_READ);
}

/* WEIR_NEXT: w describes a lookup. */
static __always_inline int request(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w, __u32 svc)
{
	int r;

	if (p->payload > PAYLOAD_OFF_MAX) { /* behind headers that nobody needs: do not even look */
		fence_service(svc);
		return WEIR_R_UNKNOWN;
	}
	if (!frame_header(ctx, p, w))
		return WEIR_R_BAD_FRAME;
	if (simple_get(ctx, p, w, svc))
		return WEIR_NEXT;
	r = slow_request(ctx, p, w, svc);
	if (r == WEIR_R_WRITE || r == WEIR_R_WRITE_ALL || r == WEIR_R_UNKNOWN)
		fence_write(p, w, svc, r);
	else if (r != WEIR_NEXT)
		note_read(p, w, svc);
	return r;
}

static __always_inline int answer(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w, __u32 svc)
{
	struct fences fences = read_fences(w->hash, svc);
	struct weir_reply reply = {};
	struct weir_slot *s = hot_find(w);
	int r;

	if (!s)
		return WEIR_R_MISS;
	r = hot_valid(s, w, &fences, svc);
	if (r == WEIR_NEXT)
		r = answer_words(w, s, &reply);
	if (r == WEIR_NEXT)
		r = rewrite(ctx, p, svc, w, s, &reply);
	if (r != WEIR_R_HIT)
		return r;
	count_hit(s);
	if (cfg.latency)
		hit_end(w, svc);
	return r;
}

/* From the headers to a reason: answered, refused, or what is to be done with it. */
static __always_inline int serve(struct xdp_md *ctx, struct weir_pkt *p, __u32 *svc, bool steer)
{
	int refuse = WEIR_NEXT, r;
	struct weir_work *w = NULL;

	if (cfg.latency) {
		w = work_area();
		if (w)
			hit_begin(w);
	}
	r = parse(ctx, p);
	if (r == WEIR_NEXT)
		r = classify(p, svc, &refuse, steer);
	if (r != WEIR_NEXT)
		return r == WEIR_R_TCP && is_followed(*svc) ? track_request(ctx, p, *svc) : r;
	if (!cfg.latency)
		w = work_area();
	if (!w)
		return WEIR_R_MISS;
	if (steer && !(service_at(*svc)->flags & WEIR_SVC_CACHE))
		return refuse;
	FORGET(p->l3, w);
	FORGET(p->payload, w);
	FORGET(p->family, w);
	FORGET(refuse, w);
	FORGET(p->flags, w);
	FORGET(p->proto, w);
	r = request(ctx, p, w, *svc);
	if (r != WEIR_NEXT)
		return r;
	r = refuse == WEIR_NEXT ? answer(ctx, p, w, *svc) : refuse;
	if (refuse == WEIR_NEXT)
		sample_miss(w, *svc, r);
	if (r != WEIR_R_HIT && w->op == OP_META)
		note_read(p, w, *svc);
	return r;
}

/* UDP to a service of TCP is left over. action: that of a packet that is sent on, or -1. */
static __always_inline int leave(struct xdp_md *ctx, struct weir_pkt *p, __u32 svc, int reason, int action)
{
	if (reason == WEIR_NEXT)
		reason = WEIR_R_OTHER;
	observe(svc, reason, p->len);
	if (action < 0)
		action = xdp_action(reason);
	if (cfg.latency && svc < WEIR_SERVICES_MAX && action == XDP_PASS)
		local_packet(ctx, p, svc, reason);
	return action;
}

SEC("xdp")
int weir_rx(struct xdp_md *ctx)
{
	struct weir_pkt p = {};
	__u32 svc = WEIR_SVC_NONE;
	int reason = serve(ctx, &p, &svc, false);

	return leave(ctx, &p, svc, reason, -1);
}

SEC("xdp")
int weir_rx_steer(struct xdp_md *ctx)
{
	struct weir_pkt p = {};
	__u32 svc = WEIR_SVC_NONE;
	int action = -1, reason = serve(ctx, &p, &svc, true);

	reason = steer(ctx, &p, &svc, reason, &action);
	return leave(ctx, &p, svc, reason, action);
}

char _license[] SEC("license") = "GPL";
