/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address translation: a packet's destination becomes the backend's, and the source of what comes back the
 * service's again. Without a table of its own: what a backend's address and port stand for is known
 * (nat_back), and the client's address is left as it is; so the backend's way to clients must lead through
 * this host.
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

/* The flow that a backend's packet is of. One client's to each shard are told apart: see steer_place(). */
static __always_inline __u64 back_hash(struct weir_pkt *p, const struct weir_nat_back *back)
{
	const volatile struct weir_service *s = service_at(back->svc);

	p->salt = back->salt;
	if (p->proto == IPPROTO_UDP && (s->shard_bits | s->migrate))
		p->salt += back->backend / WEIR_POOL_BACKENDS;
	return flow_hash(&p->daddr, p->dport, p);
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
	state = weir_flow_state(old);
	if (p->proto == IPPROTO_TCP && p->tcp_flags & TCP_RST)
		state = WEIR_FLOW_CLOSED;
	else if (p->proto == IPPROTO_TCP && p->tcp_flags & TCP_FIN)
		state = state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_CLOSED ? WEIR_FLOW_CLOSED : WEIR_FLOW_FIN_B;
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

static __always_inline struct weir_nat_back *back_of(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w,
						     bool icmp)
{
	if (icmp)
		return parse_quote(ctx, p) ?
			       known_as(&w->quote.daddr, w->quote.dport, w->quote.family, w->quote.proto) :
			       NULL;
	if (p->flags & PKT_LATER) {
		__s32 port = frag_port(ctx, p, tick_now(w));

		return port < 0 ? NULL : known_as(&p->saddr, port, p->family, p->proto);
	}
	return known_as(&p->saddr, p->sport, p->family, p->proto);
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
	back = back_of(ctx, p, w, icmp);
	if (!back)
		return WEIR_NEXT;
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
	}
	if ((p->flags & (PKT_FRAGMENT | PKT_LATER)) == PKT_FRAGMENT)
		frag_keep_port(ctx, p, tick_now(w));
	if (p->proto == IPPROTO_UDP && service_at(back->svc)->flags & WEIR_SVC_CACHE)
		reply(ctx, p, back->svc);
	r = edit_back(ctx, p, w, back, icmp);
	if (r != WEIR_NEXT)
		return r;
	return put_way(ctx, p, f) ? WEIR_R_TRANSLATED : WEIR_R_ABORTED;
}

#endif
