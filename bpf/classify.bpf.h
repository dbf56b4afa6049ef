/* SPDX-License-Identifier: GPL-2.0-only */
/* Stage 2: the service that a packet is addressed to, and whether its sender may be answered. */
#ifndef WEIR_CLASSIFY_BPF_H
#define WEIR_CLASSIFY_BPF_H

#include "fence.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "weir/hash.h"

/* A service's constants. The compiler must not know the number's bound: it would leave the mask out. */
static __always_inline const volatile struct weir_service *service_at(__u32 svc)
{
	OPAQUE(svc);
	return &cfg.services[svc & (WEIR_SERVICES_MAX - 1)];
}

static __always_inline bool addr_eq(const struct weir_addr *a, const volatile struct weir_addr *b)
{
	return !((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1]) | (a->w[2] ^ b->w[2]) | (a->w[3] ^ b->w[3]));
}

/* The service of (address, port), or WEIR_SVC_NONE; *salt tells its flows from others'. */
static __always_inline __u32 service_of(const struct weir_addr *addr, __be16 port, __u8 family, __u32 *salt)
{
	__u32 i = cfg.vip_index[weir_vip_hash(cfg.vip_seed, addr, port)];
	const volatile struct weir_vip *v;

	if (!one_to(&i, WEIR_VIPS_MAX))
		return WEIR_SVC_NONE;
	v = &cfg.vips[i - 1];
	if (v->port != port || v->family != family || !addr_eq(addr, &v->addr))
		return WEIR_SVC_NONE;
	*salt = v->salt;
	return v->svc & (WEIR_SERVICES_MAX - 1);
}

static __always_inline bool in_net(const struct weir_addr *a, const volatile struct weir_net *n, __u8 family)
{
	if (family == 4)
		return (a->w[0] & n->mask.w[0]) == n->addr.w[0];
	return !(((a->w[0] & n->mask.w[0]) ^ n->addr.w[0]) | ((a->w[1] & n->mask.w[1]) ^ n->addr.w[1]) |
		 ((a->w[2] & n->mask.w[2]) ^ n->addr.w[2]) | ((a->w[3] & n->mask.w[3]) ^ n->addr.w[3]));
}

/* Whether one of the service's client networks holds the address. */
static __always_inline bool is_client(const struct weir_addr *a, __u32 svc, __u8 family)
{
	const volatile struct weir_service *s = service_at(svc);
	__u32 n = family == 4 ? s->nclients4 : s->nclients6;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_CLIENTS_MAX && i < n; i++) {
		if (in_net(a, family == 4 ? &s->clients4[i] : &s->clients6[i], family))
			return true;
	}
	return false;
}

/*
 * A reply must never go to a server's port, to ourselves or to everybody: port 0, a source port that
 * is the service's own (two servers would answer each other for ever), our own address, a group.
 */
static __always_inline bool bad_source(const struct weir_pkt *p)
{
	__u8 first = LOAD(__u8, &p->saddr);

	if (!p->sport || p->sport == p->dport || addr_eq(&p->saddr, &p->daddr))
		return true;
	if (p->family == 6)
		return first == 0xff || !(p->saddr.w[0] | p->saddr.w[1] | p->saddr.w[2]);
	return first == 0 || first == 127 || first >= 224;
}

static __always_inline int stranger(__u32 svc)
{
	return service_at(svc)->flags & WEIR_SVC_STRANGERS_PASS ?
		       WEIR_R_STRANGER_PASS :
		       WEIR_R_STRANGER_DROP;
}

/* Whether TCP to the service is followed: see track.bpf.h. (There is more than one bucket then.) */
static __always_inline bool is_followed(__u32 svc)
{
	return cfg.conn_mask && service_at(svc)->flags & WEIR_SVC_CACHE;
}

/* Whether packets of this protocol to the service go to a pool. */
static __always_inline bool has_pool(__u32 svc, __u8 proto)
{
	const volatile struct weir_service *s = service_at(svc);

	return s->pool != WEIR_POOL_NONE && s->flags & (proto == IPPROTO_TCP ? WEIR_SVC_TCP : WEIR_SVC_UDP);
}

#define LATER_TCP 0x100 /* with a family: of TCP, which may write to services that are followed alone */

/* Fences the service of address number i, if it is the fragment's and its sender may write to it: its number
 * + 1, else 0. A global function, or the verifier would follow its loop for every address. */
__noinline __u32 fence_fragment(const struct weir_addr *from, const struct weir_addr *to, __u32 family, __u32 i)
{
	const volatile struct weir_vip *v = &cfg.vips[i & (WEIR_VIPS_MAX - 1)];
	__u32 svc = v->svc & (WEIR_SERVICES_MAX - 1);

	if (!from || !to || v->family != (family & 0xff) || !addr_eq(to, &v->addr))
		return 0;
	if (family & LATER_TCP && !is_followed(svc))
		return 0;
	if ((!(family & LATER_TCP) || has_pool(svc, IPPROTO_TCP)) && !is_client(from, svc, family) &&
	    stranger(svc) == WEIR_R_STRANGER_DROP)
		return 0;
	fence_service(svc);
	return svc + 1;
}

/*
 * A later fragment names no port: it may complete a write to any service of its address. Those of
 * strangers cannot where strangers are dropped, since their first fragments never arrive; TCP that goes to
 * no pool is not. A global function, to be verified once. The service, or WEIR_SVC_NONE.
 */
__noinline __u32 later_fragment(const struct weir_addr *from, const struct weir_addr *to, __u32 family)
{
	__u32 found = WEIR_SVC_NONE + 1, svc;

	if (!from || !to)
		return WEIR_SVC_NONE;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_VIPS_MAX && i < cfg.nvips; i++) {
		/* Not cfg.vips[i].svc: the verifier knows each, and would follow each to the loop's end. */
		svc = fence_fragment(from, to, family, i);
		if (svc)
			found = svc;
	}
	return found - 1;
}

/*
 * WEIR_NEXT: a whole UDP packet to *svc. When its sender may not be answered, *refuse is why: such a
 * packet is still looked at, since it may be a write.
 */
static __always_inline int classify(struct weir_pkt *p, __u32 *svc, int *refuse, bool steer)
{
	if (p->flags & PKT_LATER) {
		*svc = WEIR_SVC_NONE;
		if (p->proto == IPPROTO_UDP)
			*svc = later_fragment(&p->saddr, &p->daddr, p->family);
		else if (p->proto == IPPROTO_TCP && cfg.conn_mask)
			*svc = later_fragment(&p->saddr, &p->daddr, p->family | LATER_TCP);
		return *svc < WEIR_SVC_NONE ? WEIR_R_FRAGMENT : WEIR_R_OTHER;
	}
	*svc = service_of(&p->daddr, p->dport, p->family, &p->salt);
	if (*svc == WEIR_SVC_NONE)
		return WEIR_R_OTHER;
	if (!ip_sum_ok(p))
		return WEIR_R_MALFORMED;
	if (p->proto == IPPROTO_TCP && !(steer && has_pool(*svc, IPPROTO_TCP)))
		return WEIR_R_TCP;
	if (steer && service_at(*svc)->flags & WEIR_SVC_ANY_CLIENT)
		return p->proto == IPPROTO_TCP ? WEIR_R_TCP : p->flags & PKT_FRAGMENT ? WEIR_R_FRAGMENT : WEIR_NEXT;
	if (!is_client(&p->saddr, *svc, p->family)) {
		*refuse = stranger(*svc);
		if (*refuse == WEIR_R_STRANGER_DROP)
			return *refuse;
	}
	if (p->proto == IPPROTO_TCP)
		return WEIR_R_TCP;
	if (*refuse == WEIR_NEXT && bad_source(p))
		*refuse = WEIR_R_BAD_SOURCE;
	else if (*refuse == WEIR_NEXT && p->flags & PKT_OPTIONS)
		*refuse = WEIR_R_OPTIONS;
	if (p->flags & PKT_FRAGMENT) {
		fence_service(*svc);
		return WEIR_R_FRAGMENT;
	}
	return WEIR_NEXT;
}

#endif
