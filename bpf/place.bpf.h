/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 5a: the backend of a packet that is not simply the next one of an open connection: new flows, ends,
 * flows whose backend is gone, flows of which nothing is known. One global function, verified once.
 */
#ifndef WEIR_PLACE_BPF_H
#define WEIR_PLACE_BPF_H

#include "choose.bpf.h"

/* What place_flow() returns instead of a backend. */
#define PLACE_NONE  WEIR_BACKEND_NONE
#define PLACE_RESET (WEIR_BACKEND_NONE - 1) /* the flow's backend is gone: the client is to know */

/* A new flow in this state. Where the table has no place for it, it goes where it can be found again. */
static __always_inline __u32 place_new(const struct weir_pkt *p, __u64 hash, __u32 svc, __u32 pool, __u32 state, __u32 tick)
{
	__u32 backend = choose(pool, hash, spread_hash(&p->saddr, p->sport, p));

	if (backend == WEIR_BACKEND_NONE || flow_insert(hash, flow_word(hash, backend, state, tick), tick,
							 flow_info_of(p, svc)))
		return backend;
	return derive(pool, spread_hash(&p->saddr, p->sport, p));
}

/* Nothing is known of it. Followed, but it weighs nothing until it has lasted: anyone can send an ACK. */
static __always_inline __u32 place_lost(const struct weir_pkt *p, __u64 hash, __u32 svc, __u32 pool, __u32 tick)
{
	__u32 backend = derive(pool, spread_hash(&p->saddr, p->sport, p));

	if (backend == WEIR_BACKEND_NONE)
		return PLACE_NONE;
	if (!(p->tcp_flags & (TCP_RST | TCP_FIN)))
		flow_insert(hash, flow_word(hash, backend, WEIR_FLOW_FOUND, tick), tick, flow_info_of(p, svc));
	return backend;
}

#define STALE_TICKS 60
#define RESET_HOLDS 10 /* ticks that a flow is still in use after a reset, as far as SYNs go */

/* A SYN goes where the flow's packets go: it was sent again; or the flow is in use, and the SYN late, forged,
 * or of a client that has forgotten it. The backend sorts that out (RFC 5961, 4): it alone knows the
 * sequence numbers. After a reset, too, for a while: both may be forged. */
static __always_inline bool syn_follows(__u64 old, __u32 tick)
{
	__u32 state = weir_flow_state(old), idle = weir_flow_idle(old, tick);

	return (state == WEIR_FLOW_SYN || (state == WEIR_FLOW_TCP && idle < STALE_TICKS) ||
		(state == WEIR_FLOW_RESET && idle < RESET_HOLDS)) &&
	       may_be_chosen(weir_flow_backend(old));
}

/* Otherwise a SYN begins a new flow, whatever stands in the table: what is over, idle or on a backend that
 * takes no new flows must not capture it. */
static __always_inline __u32 place_syn(const struct weir_pkt *p, __u64 hash, __u32 svc, __u32 pool, __u64 *word,
				       __u64 old, __u32 tick)
{
	__u32 backend;

	if (!old)
		return place_new(p, hash, svc, pool, WEIR_FLOW_SYN, tick);
	backend = weir_flow_backend(old);
	if (syn_follows(old, tick)) {
		if (weir_flow_state(old) != WEIR_FLOW_TCP) /* nobody keeps an open one alive with SYNs */
			flow_change(word, old, flow_word(hash, backend, WEIR_FLOW_SYN, tick));
		return backend;
	}
	backend = choose(pool, hash, spread_hash(&p->saddr, p->sport, p));
	if (backend != WEIR_BACKEND_NONE)
		flow_change(word, old, flow_word(hash, backend, WEIR_FLOW_SYN, tick));
	return backend;
}

#define RESET_WAIT 2 /* ticks: what was under way at a reset has come by then */

/* A reset may be forged: its sequence number is known to the ends alone. Whoever sends a packet later was not reset. */
static __always_inline __u32 after_reset(__u64 old, __u32 tick)
{
	return weir_flow_idle(old, tick) < RESET_WAIT ? WEIR_FLOW_RESET : WEIR_FLOW_TCP;
}

static __always_inline bool is_ending(__u32 state)
{
	return state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_FIN_B || state == WEIR_FLOW_CLOSED;
}

/* The state after a packet of the client. With NAT the backend's FIN is seen as well. */
static __always_inline __u32 next_state(__u64 old, __u32 tcp_flags, bool both, __u32 tick)
{
	__u32 state = weir_flow_state(old);
	bool waited = (old & WEIR_TICK_MASK) != tick;

	if (tcp_flags & TCP_RST)
		return is_ending(state) ? WEIR_FLOW_CLOSED : WEIR_FLOW_RESET;
	if (tcp_flags & TCP_FIN) {
		if (!both || state == WEIR_FLOW_FIN_B || state == WEIR_FLOW_CLOSED || state == WEIR_FLOW_RESET)
			return WEIR_FLOW_CLOSED;
		if (state == WEIR_FLOW_FOUND && !waited) /* still anyone's: it must not weigh */
			return WEIR_FLOW_CLOSED;
		return WEIR_FLOW_FIN_C;
	}
	if (state == WEIR_FLOW_RESET)
		return after_reset(old, tick);
	if (state == WEIR_FLOW_SYN || state == WEIR_FLOW_RESTING || (state == WEIR_FLOW_FOUND && waited))
		return WEIR_FLOW_TCP;
	return state;
}

static __always_inline bool is_nat(__u32 backend)
{
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);

	return b && b->via == WEIR_VIA_NAT;
}

/* A packet of a flow in the table. */
static __always_inline __u32 place_known(const struct weir_pkt *p, __u64 hash, __u32 pool, __u64 *word, __u64 old,
					 __u32 tick)
{
	__u32 backend = weir_flow_backend(old), state = weir_flow_state(old), next = WEIR_FLOW_UDP;

	if (!backend_lives(backend)) {
		if (p->proto == IPPROTO_TCP) {
			flow_change(word, old, 0);
			return PLACE_RESET;
		}
		backend = choose(pool, hash, spread_hash(&p->saddr, p->sport, p));
		if (backend == WEIR_BACKEND_NONE) {
			flow_change(word, old, 0);
			return PLACE_NONE;
		}
	}
	if (p->proto == IPPROTO_TCP)
		next = next_state(old, p->tcp_flags, is_nat(backend), tick);
	if (next != WEIR_FLOW_RESET || state != WEIR_FLOW_RESET) /* whose time is that of the reset */
		flow_change(word, old, flow_word(hash, backend, next, tick));
	return backend;
}

/* The packet's backend, PLACE_NONE or PLACE_RESET. bucket and at: what flow_find() found. */
__noinline __u32 place_flow(const struct weir_pkt *p, __u64 hash, __u32 svc_pool, __u32 bucket, __u32 at)
{
	__u32 svc = svc_pool & 0xff, pool = svc_pool >> 8, tick;
	struct flow_ref r = { bucket, at };
	struct weir_work *w = work_area();
	__u64 *word = NULL, old = 0;

	if (!w || !p)
		return PLACE_NONE;
	tick = tick_now(w);
	if (r.at)
		word = flow_at(r);
	if (word)
		old = flow_read(word, hash);
	if (p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN)
		return place_syn(p, hash, svc, pool, word, word ? old : 0, tick);
	if (word && old)
		return place_known(p, hash, pool, word, old, tick);
	if (p->proto == IPPROTO_TCP)
		return place_lost(p, hash, svc, pool, tick);
	return place_new(p, hash, svc, pool, WEIR_FLOW_UDP, tick);
}

#endif
