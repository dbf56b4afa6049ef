/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 5: to a backend. The next packet of an open connection, which most are, is dealt with here; all
 * else in global functions: place_flow(), and those below for fragments, QUIC, ICMP errors and shards.
 */
#ifndef WEIR_STEER_BPF_H
#define WEIR_STEER_BPF_H

#include "classify.bpf.h"
#include "deliver.bpf.h"
#include "frag.bpf.h"
#include "latency_client.bpf.h"
#include "observe.bpf.h"
#include "place.bpf.h"

/* ---- shards: the pool of a cached service's request ------------------------------------------ */

/* A hash of the key that is the same on each host and after each load. */
static __always_inline __u64 stable_hash(const struct weir_work *w)
{
	__u32 words = w->key_len / 8 + 1;
	__u64 h = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < KEY_WORDS; i++) {
		if (i >= words)
			break;
		h = weir_hash_word(h, w->key[i]);
	}
	return weir_hash_end(h, w->key_len);
}

/* Requests with these fates have one key, and it was taken: see take_key(). (Refused lookups, too. Of FLAG but for
 * a key that is no base64, which each backend refuses.) */
#define KEYED                                                                                            \
	(1ULL << WEIR_R_MISS | 1ULL << WEIR_R_EXPIRED | 1ULL << WEIR_R_FENCED | 1ULL << WEIR_R_LEASE_OVER |  \
	 1ULL << WEIR_R_CAS_UNKNOWN | 1ULL << WEIR_R_INEXACT | 1ULL << WEIR_R_TOO_LONG |                   \
	 1ULL << WEIR_R_NO_ROOM | 1ULL << WEIR_R_OTHER_HOST | 1ULL << WEIR_R_WRITE | 1ULL << WEIR_R_FLAG |   \
	 1ULL << WEIR_R_OPTIONS | 1ULL << WEIR_R_BAD_SOURCE | 1ULL << WEIR_R_STRANGER_PASS)

__noinline __u32 shard_pool(__u32 svc, __u32 reason)
{
	const volatile struct weir_service *s = service_at(svc);
	struct weir_work *w = work_area();
	__u64 hash;
	bool moved;

	if (!w)
		return WEIR_POOL_NONE;
	if (!(KEYED >> (reason & 63) & 1))
		return s->shard_bits ? s->fallback : s->pool;
	hash = stable_hash(w);
	/* A share of the keys, not of the shards: by other bits. */
	moved = ((__u32)hash >> 16) < s->migrate || s->migrate == WEIR_MIGRATE_ALL;
	return (moved ? s->migrate_pool : s->pool) +
	       (hash >> 32 & ((1U << (s->shard_bits & 7)) - 1));
}

/* ---- QUIC: the backend that a connection id names --------------------------------------------- */

#define QUIC_LONG	0x80
#define QUIC_HANDSHAKE	2 /* of the long header's types: the first whose id is the server's (RFC 9000, 17.2) */
#define QUIC_V2		0x6b3343cf /* which numbers them otherwise (RFC 9369, 3.2) */
#define QUIC_HANDSHAKE2 3
#define QUIC_ID_MAX	20

/* Offset of the connection id in the datagram; 0: there is none that the server has made, of `need` bytes. */
static __always_inline __u32 quic_id_at(const __u8 *d, __u32 need)
{
	__u32 version, handshake;

	if (!(d[0] & QUIC_LONG))
		return 1;
	version = LOAD(__u32, d + 1);
	handshake = version == bpf_htonl(QUIC_V2) ? QUIC_HANDSHAKE2 : QUIC_HANDSHAKE;
	/* Without a version it negotiates one, and its id is not the server's. */
	if (!version || (d[0] >> 4 & 3) != handshake || d[5] > QUIC_ID_MAX || d[5] < need)
		return 0;
	return 6;
}

static __always_inline __u32 quic_member(__u32 place, __u32 id)
{
	struct weir_pool *pool = pool_at(place);

	if (!pool || id == ~0U) /* its number is that of none */
		return WEIR_BACKEND_NONE;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_POOL_BACKENDS; i++) {
		if (pool->quic[i] == id + 1)
			return place * WEIR_POOL_BACKENDS + i;
	}
	return WEIR_BACKEND_NONE;
}

/* A live backend, or WEIR_BACKEND_NONE. */
__noinline __u32 quic_backend(struct xdp_md *ctx, const struct weir_pkt *p, __u32 svc)
{
	const volatile struct weir_service *s = service_at(svc);
	__u32 at, backend, len = s->quic_len;
	__u8 *d, *id;

	if (!p || p->payload_len < 8)
		return WEIR_BACKEND_NONE;
	d = frame_at(ctx, p->payload, 8);
	if (!d)
		return WEIR_BACKEND_NONE;
	at = quic_id_at(d, s->quic_at + len);
	if (!at || at + s->quic_at + len > p->payload_len || len < 1 || len > 4)
		return WEIR_BACKEND_NONE;
	/* Eight bytes that end behind the server id: there are headers in front of it. */
	id = frame_at(ctx, p->payload + at + s->quic_at + len - 8, 8);
	if (!id)
		return WEIR_BACKEND_NONE;
	backend = quic_member(s->pool, bpf_be64_to_cpu(LOAD(__u64, id)) & (~0ULL >> (64 - 8 * len)));
	return backend != WEIR_BACKEND_NONE && backend_lives(backend) ? backend : WEIR_BACKEND_NONE;
}

/* The client moved, or its flow is new here: the table follows. */
__noinline int follow(const struct weir_pkt *p, __u64 hash, __u32 svc, __u32 backend)
{
	struct weir_work *w = work_area();
	struct flow_ref r = flow_find(hash, false);
	__u64 *word, old, new;

	if (!w || !p)
		return 0;
	new = flow_word(hash, backend, WEIR_FLOW_UDP, tick_now(w));
	if (!r.at)
		return flow_insert(hash, new, tick_now(w), flow_info_of(p, svc));
	word = flow_at(r);
	old = word ? flow_read(word, hash) : 0;
	return old && old != new && flow_change(word, old, new);
}

/* ---- fragments -------------------------------------------------------------------------------- */

/* Whether some service with a pool has the address: 1. */
__noinline int steered_addr(const struct weir_addr *to, __u32 family)
{
	if (!to)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_VIPS_MAX && i < cfg.nvips; i++) {
		const volatile struct weir_vip *v = &cfg.vips[i];

		if (v->family == family && addr_eq(to, &v->addr) &&
		    service_at(v->svc)->pool != WEIR_POOL_NONE)
			return 1;
	}
	return 0;
}

/* ---- ICMP errors ------------------------------------------------------------------------------ */

/* The backend whose packet an ICMP error is about, PLACE_NONE: of nobody. The host's own then. */
__noinline __u32 icmp_backend(struct xdp_md *ctx, const struct weir_pkt *p)
{
	struct weir_work *w = work_area();
	struct flow_ref r;
	struct weir_pkt *q;
	__u64 hash, *word, old = 0;
	__u32 svc, backend;

	if (!w || !p || !parse_quote(ctx, p))
		return PLACE_NONE;
	q = &w->quote;
	w->back_svc = svc = service_of(&q->saddr, q->sport, q->family, &q->salt);
	if (svc == WEIR_SVC_NONE || !has_pool(svc, q->proto) || !addr_eq(&q->saddr, &p->daddr))
		return PLACE_NONE;
	hash = flow_hash(&q->daddr, q->dport, q);
	r = flow_find(hash, false);
	word = r.at ? flow_at(r) : NULL;
	if (word)
		old = flow_read(word, hash);
	backend = old ? weir_flow_backend(old) : derive(service_at(svc)->pool, spread_hash(&q->daddr, q->dport, q));
	return backend != WEIR_BACKEND_NONE && backend_lives(backend) ? backend : PLACE_NONE;
}

/* ---- the stage -------------------------------------------------------------------------------- */

/* An open TCP connection's next packet: its backend; PLACE_NONE: look closer. */
static __always_inline __u32 next_packet(const struct weir_pkt *p, __u64 hash, struct flow_ref r, __u32 tick)
{
	__u64 *word, old;
	__u32 backend, state;

	if (!r.at)
		return PLACE_NONE;
	word = flow_at(r);
	if (!word)
		return PLACE_NONE;
	old = flow_read(word, hash);
	state = weir_flow_state(old);
	if (state != WEIR_FLOW_UDP && (state != WEIR_FLOW_TCP || p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return PLACE_NONE;
	backend = weir_flow_backend(old);
	if (!backend_lives(backend))
		return PLACE_NONE;
	flow_touch(word, old, tick);
	return backend;
}

/* No backend: what the pool's configuration wants. */
static __always_inline int fail(struct xdp_md *ctx, const struct weir_pkt *p, __u32 place, __u32 pool)
{
	struct weir_pool *pl = pool_at(pool);
	bool reset = place == PLACE_RESET || (pl && pl->fail == WEIR_FAIL_RESET);

	if (reset && p->proto == IPPROTO_TCP && !(p->flags & PKT_FRAGMENT) && !(p->tcp_flags & TCP_RST))
		return answer_reset(ctx, p);
	return WEIR_R_NO_BACKEND;
}

/* A packet to a service with a pool. */
static __always_inline __u32 steer_place(struct xdp_md *ctx, struct weir_pkt *p, __u32 svc, int reason, __u32 tick,
					 __u64 *hash, __u32 *pool)
{
	const volatile struct weir_service *s = service_at(svc);
	struct flow_ref r;
	__u32 backend;

	*pool = s->pool;
	if (s->shard_bits | s->migrate) {
		*pool = shard_pool(svc, reason);
		if (*pool == WEIR_POOL_NONE)
			return PLACE_NONE;
		if (p->proto == IPPROTO_UDP) /* one client's flows to each shard; TCP goes to one pool */
			p->salt += *pool;
	}
	*hash = flow_hash(&p->saddr, p->sport, p);
	if (cfg.latency)
		rec_fetch(*hash);
	if (s->quic_len && p->proto == IPPROTO_UDP && !(p->flags & PKT_FRAGMENT)) {
		backend = quic_backend(ctx, p, svc);
		if (backend != WEIR_BACKEND_NONE) {
			follow(p, *hash, svc, backend);
			return backend;
		}
	}
	r = flow_find(*hash, p->tcp_flags & TCP_SYN);
	backend = next_packet(p, *hash, r, tick);
	return backend == PLACE_NONE ? place_flow(p, *hash, svc | *pool << 8, r.bucket, r.at) : backend;
}

/* All paths through the headers are one to the verifier from here on: see FORGET. */
static __always_inline void forget(struct weir_pkt *p, const struct weir_work *w)
{
	FORGET(p->l3, w);
	FORGET(p->l4, w);
	FORGET(p->family, w);
	FORGET(p->proto, w);
	FORGET(p->flags, w);
}

/* Whether what became of the packet so far leaves it to the pool. */
static __always_inline bool to_pool(const struct weir_pkt *p, __u32 svc, int reason)
{
	if (reason == WEIR_R_MALFORMED)
		return false;
	if (svc >= WEIR_SERVICES_MAX) /* about a flow, perhaps, or a part of a packet */
		return reason == WEIR_R_OTHER && (cfg.nat || is_icmp(p) || p->flags & PKT_LATER) && ip_sum_ok(p);
	if (p->flags & PKT_LATER)
		return ip_sum_ok(p);
	return has_pool(svc, p->proto) && (reason == WEIR_NEXT || xdp_action(reason) == XDP_PASS);
}

/* What becomes of a packet in the end: its reason, or that with which it is sent to a backend. */
static __always_inline int steer(struct xdp_md *ctx, struct weir_pkt *p, __u32 *svc, int reason, int *action)
{
	struct weir_work *w = work_area();
	__u32 tick, backend, pool = WEIR_POOL_NONE;
	__u64 hash = 0;
	struct l2_words l2;
	int as;

	if (!w)
		return WEIR_R_NO_BACKEND;
	forget(p, w);
	FORGET(reason, w);
	FORGET(*svc, w);
	if (!to_pool(p, *svc, reason))
		return reason;
	if (!save_l2(&l2, (void *)(long)ctx->data, (void *)(long)ctx->data_end) || !to_us(&l2))
		return *svc >= WEIR_SERVICES_MAX ? reason : WEIR_R_OTHER_HOST;
	tick = tick_now(w);
	as = reason == WEIR_NEXT || reason == WEIR_R_TCP || reason == WEIR_R_FRAGMENT ? WEIR_R_STEERED : reason;
	if (*svc >= WEIR_SERVICES_MAX && cfg.nat) {
		int r = nat_return(ctx, p);

		if (r == WEIR_R_TRANSLATED)
			*action = leave_by(ctx, w->fib.ifindex);
		if (r != WEIR_NEXT) {
			*svc = w->back_svc & (WEIR_SERVICES_MAX - 1);
			return r;
		}
	}
	if (is_icmp(p)) {
		backend = icmp_backend(ctx, p);
		if (backend == PLACE_NONE)
			return reason;
		as = WEIR_R_ICMP_ERROR;
		*svc = w->back_svc & (WEIR_SERVICES_MAX - 1);
	} else if (p->flags & PKT_LATER) {
		if (!steered_addr(&p->daddr, p->family))
			return reason;
		backend = frag_find(ctx, p, tick);
		if (backend == PLACE_NONE)
			return WEIR_R_FRAGMENT_DROP;
		as = WEIR_R_STEERED;
	} else if (*svc >= WEIR_SERVICES_MAX) {
		return reason;
	} else {
		if (p->flags & PKT_FRAGMENT && !(service_at(*svc)->flags & WEIR_SVC_FRAGMENTS))
			return WEIR_R_FRAGMENT_DROP;
		backend = steer_place(ctx, p, *svc, reason, tick, &hash, &pool);
		if (pool == WEIR_POOL_NONE) /* it names no single key, and there is no fallback */
			return reason;
		if (backend >= PLACE_RESET)
			return fail(ctx, p, backend, pool);
		if (p->flags & PKT_FRAGMENT)
			frag_keep(ctx, p, backend, tick);
		else if (cfg.latency)
			measure_client(ctx, p, w, hash, who_of(*svc, backend) | will_reply(w, reason));
	}
	return deliver(ctx, p, backend, hash, tick, as, action);
}

#endif
