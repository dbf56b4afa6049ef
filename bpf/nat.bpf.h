/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address translation: a packet's destination becomes the backend's, and the source of what comes back the
 * service's again. Without a table of its own: what a backend's address and port stand for is known
 * (nat_back; of several addresses of a service the client's flow tells which), and the client's address is left as
 * it is; so the backend's way to clients must lead through this host.
 *
 * References: RFC 1624 (checksums), RFC 3022, RFC 5508 (ICMP).
 */
#ifndef WEIR_NAT_BPF_H
#define WEIR_NAT_BPF_H

#include "frag.bpf.h"
#include "frame.bpf.h"
#include "hop.bpf.h"
#include "icmp.bpf.h"
#include "latency.bpf.h"
#include "place.bpf.h"
#include "reply.bpf.h"
#include "track_reply.bpf.h"

/* One hop less. RFC 1624 with m' = m - 0x100: the sum grows by as much. (0xffff would be right as well, but is
 * not what a checksum made anew would be.) */
static __always_inline bool put_hop(struct xdp_md *ctx, const struct weir_pkt *p, __u32 l3)
{
	if (p->family == 4) {
		struct iphdr *ip = frame_at(ctx, l3, sizeof(*ip));
		__u32 sum;

		if (!ip)
			return false;
		sum = ip->check + bpf_htons(0x0100);
		ip->ttl--;
		ip->check = sum + (sum >= 0xffff);
	} else {
		struct ipv6hdr *ip = frame_at(ctx, l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->hop_limit--;
	}
	return true;
}

/* The change of a sum when one word becomes another (RFC 1624, eqn. 3). */
static __always_inline __u64 change16(__u16 old, __u16 new)
{
	return (__u64)(__u16)~old + new;
}

static __always_inline __u64 change_addr(const struct weir_addr *old, const struct weir_addr *new, __u8 family)
{
	__u64 d = (__u64)(__u32)~old->w[0] + new->w[0];

	if (family == 6)
		d += (__u64)(__u32)~old->w[1] + new->w[1] + (__u32)~old->w[2] + new->w[2] + (__u32)~old->w[3] +
		     new->w[3];
	return d;
}

static __always_inline __u16 changed(__u16 check, __u64 change)
{
	return ~csum_fold((__u64)(__u16)~check + change);
}

static __always_inline bool edit_ip(struct xdp_md *ctx, const struct nat_edit *e)
{
	if (e->family == 4) {
		struct iphdr *ip = frame_at(ctx, e->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->check = changed(ip->check, change_addr(&e->old, &e->new, 4));
		*(e->source ? &ip->saddr : &ip->daddr) = e->new.w[0];
	} else {
		struct ipv6hdr *ip = frame_at(ctx, e->l3, sizeof(*ip));

		if (!ip)
			return false;
		if (e->source)
			__builtin_memcpy(&ip->saddr, &e->new, sizeof(e->new));
		else
			__builtin_memcpy(&ip->daddr, &e->new, sizeof(e->new));
	}
	return true;
}

static __always_inline bool edit_port(struct xdp_md *ctx, const struct nat_edit *e)
{
	__be16 *ports = frame_at(ctx, e->l4, 4);

	if (!ports)
		return false;
	ports[e->source ? 0 : 1] = e->new_port;
	return true;
}

static __always_inline __u32 check_at(const struct nat_edit *e)
{
	return e->l4 + (e->proto == IPPROTO_TCP ? 16 : 6);
}

static __always_inline bool edit_check(struct xdp_md *ctx, const struct nat_edit *e)
{
	__u64 change = change_addr(&e->old, &e->new, e->family) + change16(e->old_port, e->new_port);
	__u16 *check = frame_at(ctx, check_at(e), 2);
	__u16 sum;

	if (!check)
		return false;
	if (e->proto == IPPROTO_UDP && !*check) /* none */
		return true;
	sum = changed(*check, change);
	*check = e->proto == IPPROTO_UDP && !sum ? 0xffff : sum;
	return true;
}

/* The frame holds everything that will be changed: nothing is stored before that is known. */
static __always_inline bool edit_fits(struct xdp_md *ctx, const struct nat_edit *e)
{
	if (!frame_at(ctx, e->l3, e->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return false;
	if (!e->l4)
		return true;
	if (!frame_at(ctx, e->l4, 4))
		return false;
	return !e->l4_check || frame_at(ctx, check_at(e), 2);
}

/* WEIR_NEXT: done. */
static __always_inline int edit(struct xdp_md *ctx, const struct nat_edit *e)
{
	if (!edit_fits(ctx, e))
		return WEIR_R_MALFORMED;
	if (!edit_ip(ctx, e))
		return WEIR_R_ABORTED;
	if (!e->l4)
		return WEIR_NEXT;
	if (!edit_port(ctx, e) || (e->l4_check && !edit_check(ctx, e)))
		return WEIR_R_ABORTED;
	return WEIR_NEXT;
}

/* The edit of a packet itself. */
static __always_inline void edit_of(struct nat_edit *e, const struct weir_pkt *p, bool source, const struct weir_addr *to,
				    __be16 port)
{
	bool has_l4 = !(p->flags & PKT_LATER);

	e->old = source ? p->saddr : p->daddr;
	e->new = *to;
	e->old_port = source ? p->sport : p->dport;
	e->new_port = port ?: e->old_port;
	e->l3 = p->l3;
	e->l4 = has_l4 ? p->l4 : 0;
	e->family = p->family;
	e->proto = p->proto;
	e->source = source;
	e->l4_check = has_l4;
}

/* The L4 checksum as it stands; 0: there is none. */
static __always_inline __u16 check_of(struct xdp_md *ctx, const struct nat_edit *e)
{
	__u16 *check = e->l4_check ? frame_at(ctx, check_at(e), 2) : NULL;

	return check ? *check : 0;
}

/*
 * An ICMP error: the addresses in front, the quoted ones, and the checksum over these. Over IPv4 the quoted
 * header's own checksum makes up for its address. Of UDP its checksum is quoted, of TCP only by some.
 */
static __always_inline int edit_icmp(struct xdp_md *ctx, const struct weir_pkt *p, struct nat_edit *front,
				     struct nat_edit *quoted)
{
	__u64 change = change16(quoted->old_port, quoted->new_port);
	struct icmp_hdr *h;
	__u16 was;
	int r;

	front->l4 = 0;
	quoted->l4_check = check_at(quoted) + 2 <= p->l3 + p->ip_len;
	if (!edit_fits(ctx, front) || !edit_fits(ctx, quoted) || !frame_at(ctx, p->l4, sizeof(*h)))
		return WEIR_R_MALFORMED;
	was = check_of(ctx, quoted);
	r = edit(ctx, quoted);
	if (r != WEIR_NEXT)
		return r;
	change += change16(was, check_of(ctx, quoted));
	if (p->family == 6)
		change += change_addr(&quoted->old, &quoted->new, 6) + change_addr(&front->old, &front->new, 6);
	h = frame_at(ctx, p->l4, sizeof(*h));
	if (!h)
		return WEIR_R_ABORTED;
	h->check = changed(h->check, change);
	return edit(ctx, front);
}

/* p becomes one to the backend. WEIR_NEXT, or why not (then the frame is untouched, or ABORTED). */
__noinline int nat_forward(struct xdp_md *ctx, const struct weir_pkt *p, __u32 backend)
{
	struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);
	struct weir_work *w = work_area();
	struct nat_edit *e, *q;

	if (!b || !p || !w || b->family != p->family)
		return WEIR_R_NO_ROUTE;
	e = &w->front;
	q = &w->quoted;
	edit_of(e, p, false, &b->addr, b->port);
	if (!is_icmp(p))
		return edit(ctx, e);
	edit_of(q, &w->quote, true, &b->addr, b->port);
	return edit_icmp(ctx, p, e, q);
}

/* ---- the way back ----------------------------------------------------------------------------- */

/* What the sender's address and port, or those that an ICMP error quotes, are known to clients by. */
static __always_inline struct weir_nat_back *known_as(const struct weir_addr *addr, __be16 port, __u8 family, __u8 proto)
{
	struct weir_nat_key key = { .addr = *addr, .port = port, .family = family, .proto = proto };

	return bpf_map_lookup_elem(&nat_back, &key);
}

/* Flows of one client to each shard are told apart: see steer_place(). */
static __always_inline __u32 salt_of(const struct weir_nat_back *back, __u32 salt, __u8 proto)
{
	const volatile struct weir_service *s = service_at(back->svc);

	if (proto == IPPROTO_UDP && (s->shard_bits | s->migrate))
		salt += back->backend / WEIR_POOL_BACKENDS;
	return salt;
}

/* The flow that a backend's packet is of. */
static __always_inline __u64 back_hash(struct weir_pkt *p, const struct weir_nat_back *back)
{
	p->salt = salt_of(back, back->salt, p->proto);
	return flow_hash(&p->daddr, p->dport, p);
}

/* ---- which address of several ----------------------------------------------------------------- */

/*
 * How much speaks for a flow, where a client has used a port for several addresses and all of it went to one backend:
 * of those in use the state, then the last packet. (Who was silent for a minute is another's port by now, perhaps.)
 */
static __always_inline __u32 claim_of(__u64 word, __u32 tick)
{
	__u32 idle = weir_flow_idle(word, tick + AHEAD);
	__u32 class = idle < STALE_TICKS ? flow_class(weir_flow_state(word)) : 0;

	return (class << WEIR_FLOW_STATE | (WEIR_TICK_MASK - idle)) + 1;
}

/* That of the flow to address number `i`, of the client in w->quote; 0: there is none at w->back.backend. */
static __always_inline __u32 claim_at(struct weir_work *w, const volatile struct weir_vip *v)
{
	struct weir_pkt *q = &w->quote;
	struct flow_ref r;
	__u64 hash, *word, old;

	q->salt = salt_of(&w->back, v->salt, q->proto);
	hash = flow_hash(&q->saddr, q->sport, q);
	r = flow_find(hash, false);
	word = r.at ? flow_at(r) : NULL;
	old = word ? flow_read(word, hash) : 0;
	return old && weir_flow_backend(old) == w->back.backend ? claim_of(old, tick_now(w)) : 0;
}

#define VIP_BITS 8 /* of a claim's number */

/* The claim of address number i with its number: of equal ones the first has more. 0: it is not the backend's. */
__noinline __u32 vip_claim(__u32 i)
{
	const volatile struct weir_vip *v = &cfg.vips[i & (WEIR_VIPS_MAX - 1)];
	struct weir_backend *b;
	struct weir_work *w = work_area();

	if (!w)
		return 0;
	b = bpf_map_lookup_elem(&backends, &w->back.backend);
	if (!b || v->family != w->quote.family || (!b->port && v->port != w->quote.dport))
		return 0;
	return claim_at(w, v) << VIP_BITS | (WEIR_VIPS_MAX - (i & (WEIR_VIPS_MAX - 1)));
}

/* Number of the address that w->quote, a client's packet as its backend got it, was to; WEIR_VIPS_MAX: of none. */
__noinline __u32 vip_of_client(__u32 svc)
{
	const volatile struct weir_service *s = service_at(svc);
	__s64 best = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_VIPS_MAX; i++) {
		__s64 more;

		if (i >= s->nvips)
			break;
		more = (__s64)vip_claim(s->vip_at + i) - best;
		best += more & ~(more >> 63);
	}
	return WEIR_VIPS_MAX - (best & ((1 << VIP_BITS) - 1));
}

/* w->back is to be of address number i. */
static __always_inline void back_from(struct weir_work *w, __u32 i)
{
	const volatile struct weir_vip *v = &cfg.vips[i & (WEIR_VIPS_MAX - 1)];

	for (int k = 0; k < 4; k++)
		w->back.vip.w[k] = v->addr.w[k];
	w->back.port = v->port;
	w->back.salt = v->salt;
	w->back.svc = v->svc & (WEIR_SERVICES_MAX - 1);
	w->back_vip = i;
}

/* A service has several addresses: the client's, where its flow is in the table, else the first. */
static __always_inline void back_of_client(const struct weir_pkt *p, struct weir_work *w, bool icmp)
{
	struct weir_pkt *q = &w->quote;
	__u32 vip;

	if (!icmp) {
		q->saddr = p->daddr;
		q->sport = p->dport;
		q->dport = p->sport;
		q->family = p->family;
		q->proto = p->proto;
	}
	vip = vip_of_client(w->back.svc);
	if (vip < WEIR_VIPS_MAX)
		back_from(w, vip);
}

/* ---- a backend's packet ----------------------------------------------------------------------- */

/* The state after a packet of the backend. Its resets are its own: nobody else is on that side. */
static __always_inline __u32 state_back(__u64 old, __u32 tcp_flags, __u32 tick)
{
	__u32 state = weir_flow_state(old);

	if (tcp_flags & TCP_RST)
		return WEIR_FLOW_CLOSED;
	if (tcp_flags & TCP_FIN)
		return state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_CLOSED || state == WEIR_FLOW_RESET ?
			       WEIR_FLOW_CLOSED :
			       WEIR_FLOW_FIN_B;
	return state == WEIR_FLOW_RESET ? after_reset(old, tick) : state;
}

/* The backend's end of a connection counts, too. */
static __always_inline void backend_flow(const struct weir_pkt *p, struct weir_work *w, const struct weir_nat_back *back,
					 __u64 hash)
{
	__u32 state, tick = tick_now(w);
	struct flow_ref r;
	__u64 *word, old;

	r = flow_find(hash, false);
	word = r.at ? flow_at(r) : NULL;
	old = word ? flow_read(word, hash) : 0;
	if (!old || weir_flow_backend(old) != back->backend)
		return;
	state = p->proto == IPPROTO_TCP ? state_back(old, p->tcp_flags, tick) : WEIR_FLOW_UDP;
	if (state == WEIR_FLOW_RESET) /* whose time is that of the reset */
		return;
	if (old != flow_word(hash, back->backend, state, tick))
		flow_change(word, old, flow_word(hash, back->backend, state, tick));
}

static __always_inline int edit_back(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w,
				     const struct weir_nat_back *back, bool icmp)
{
	struct nat_edit *e = &w->front, *q = &w->quoted;

	edit_of(e, p, true, &back->vip, back->port);
	if (!icmp)
		return edit(ctx, e);
	edit_of(q, &w->quote, false, &back->vip, back->port);
	if (!addr_eq(&p->saddr, &w->quote.daddr)) /* a router on the way to the backend says it */
		e->new = e->old;
	return edit_icmp(ctx, p, e, q);
}

/* MAC addresses of the next hop, and one hop less. */
static __always_inline bool put_way(struct xdp_md *ctx, const struct weir_pkt *p, const struct bpf_fib_lookup *f)
{
	__u8 *at = frame_at(ctx, 0, ETH_HLEN);

	if (!at)
		return false;
	__builtin_memcpy(at, f->dmac, 6);
	__builtin_memcpy(at + 6, f->smac, 6);
	return put_hop(ctx, p, p->l3);
}

/* TTL or hop limit; 0: the frame is shorter. */
static __always_inline __u32 ttl_of(struct xdp_md *ctx, const struct weir_pkt *p)
{
	__u8 *at = frame_at(ctx, p->l3 + (p->family == 4 ? 8 : 7), 1);

	return at ? *at : 0;
}

/* A later fragment comes from where its first one did. */
static __always_inline bool back_of_first(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w)
{
	__s32 vip = frag_vip(ctx, p, tick_now(w));

	if (vip < 0)
		return false;
	w->back.backend = WEIR_BACKEND_NONE; /* nobody asks */
	back_from(w, vip & (WEIR_VIPS_MAX - 1));
	return true;
}

/* Puts into w->back what the packet's sender is known by. False: it is no backend's. */
static __always_inline bool back_of(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w, bool icmp)
{
	const volatile struct weir_service *s;
	struct weir_nat_back *back;

	if (p->flags & PKT_LATER)
		return back_of_first(ctx, p, w);
	if (icmp && !parse_quote(ctx, p))
		return false;
	back = icmp ? known_as(&w->quote.daddr, w->quote.dport, w->quote.family, w->quote.proto) :
		      known_as(&p->saddr, p->sport, p->family, p->proto);
	if (!back)
		return false;
	w->back = *back;
	s = service_at(back->svc);
	w->back_vip = s->vip_at;
	if (s->nvips > 1)
		back_of_client(p, w, icmp);
	return true;
}

/*
 * A packet that a backend sends to a client: its source becomes the service's, and it goes on to the client,
 * by w->fib.ifindex. WEIR_NEXT: it is none, or for this host.
 */
__noinline int nat_return(struct xdp_md *ctx, struct weir_pkt *p)
{
	struct weir_work *w = work_area();
	struct weir_nat_back *back;
	struct bpf_fib_lookup *f;
	bool icmp;
	int r;

	if (!w || !p)
		return WEIR_NEXT;
	icmp = is_icmp(p);
	if (!back_of(ctx, p, w, icmp))
		return WEIR_NEXT;
	back = &w->back;
	w->back_svc = back->svc;
	f = fib_towards(w, &back->vip, &p->daddr, p->family, ctx->ingress_ifindex);
	r = bpf_fib_lookup(ctx, f, sizeof(*f), 0);
	if (r == BPF_FIB_LKUP_RET_NO_NEIGH)
		return WEIR_R_NO_ROUTE;
	if (r != BPF_FIB_LKUP_RET_SUCCESS || (p->l3 != ETH_HLEN && f->ifindex != ctx->ingress_ifindex))
		return WEIR_NEXT;
	if (ttl_of(ctx, p) <= 1 || p->ip_len > f->mtu_result) {
		p->daddr = back->vip; /* who answers */
		if (ttl_of(ctx, p) <= 1)
			return answer_icmp(ctx, p, ICMP_OUT_TTL, 0);
		return answer_icmp(ctx, p, ICMP_OUT_TOO_BIG, f->mtu_result);
	}
	if (!icmp && !(p->flags & PKT_LATER)) {
		__u64 hash = back_hash(p, back);

		if (cfg.latency)
			rec_fetch(hash);
		backend_flow(p, w, back, hash);
		if (cfg.latency && !(p->flags & PKT_FRAGMENT))
			measure_server(ctx, p, w, hash, who_of(back->svc, back->backend));
		if (p->proto == IPPROTO_TCP && is_followed(back->svc))
			track_reply(ctx, p, back->svc);
	}
	if ((p->flags & (PKT_FRAGMENT | PKT_LATER)) == PKT_FRAGMENT)
		frag_keep_vip(ctx, p, w->back_vip, tick_now(w));
	if (p->proto == IPPROTO_UDP && service_at(back->svc)->flags & WEIR_SVC_CACHE)
		reply(ctx, p, back->svc);
	r = edit_back(ctx, p, w, back, icmp);
	if (r != WEIR_NEXT)
		return r;
	return put_way(ctx, p, f) ? WEIR_R_TRANSLATED : WEIR_R_ABORTED;
}

#endif
