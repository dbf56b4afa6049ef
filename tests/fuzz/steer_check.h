/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a steered packet, a translated one, and an answer to its sender must look like: by a reading of the
 * frame of its own, byte by byte from the RFCs, and sums that no translation may change.
 */
#ifndef WEIR_FUZZ_STEER_CHECK_H
#define WEIR_FUZZ_STEER_CHECK_H

#include "../bpf/packet.h"
#include "kernel.h"
#include "pools.h"

#define EXT_HEADERS 8 /* as many as the program follows */

/* A frame's packet, read anew. */
struct view {
	const __u8 *b;
	size_t len, l3, l4, end; /* end: of the IP packet */
	int family, proto;
	bool frag, later, options;
};

static __u32 be(const __u8 *p, int bytes)
{
	__u32 v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void view_ext(struct view *v)
{
	for (int i = 0; i < EXT_HEADERS && v->l4 + 4 <= v->len && !v->later; i++) {
		const __u8 *h = v->b + v->l4;

		if (v->proto == IPPROTO_FRAGMENT) {
			v->frag |= (be(h + 2, 2) & 0xfff9) != 0;
			v->later |= (be(h + 2, 2) & 0xfff8) != 0;
			v->l4 += 8;
		} else if (v->proto == IPPROTO_AH) {
			v->l4 += (h[1] + 2) * 4;
		} else if (v->proto == IPPROTO_HOPOPTS || v->proto == IPPROTO_ROUTING || v->proto == IPPROTO_DSTOPTS) {
			v->l4 += (h[1] + 1) * 8;
		} else {
			return;
		}
		v->options = true;
		v->proto = h[0];
	}
}

/* False: no IP packet, or one that lies about its length. */
static bool view(struct view *v, const __u8 *b, size_t len)
{
	const __u8 *ip;

	*v = (struct view){.b = b, .len = len, .l3 = 14};
	while (v->l3 < 22 && v->l3 + 2 <= len && (be(b + v->l3 - 2, 2) == 0x8100 || be(b + v->l3 - 2, 2) == 0x88a8))
		v->l3 += 4;
	ip = b + v->l3;
	if (v->l3 + 20 <= len && be(ip - 2, 2) == 0x0800) {
		v->family = 4;
		v->proto = ip[9];
		v->l4 = v->l3 + (ip[0] & 15) * 4;
		v->end = v->l3 + be(ip + 2, 2);
		v->frag = be(ip + 6, 2) & 0x3fff;
		v->later = be(ip + 6, 2) & 0x1fff;
		v->options = ip[0] != 0x45;
		return ip[0] >> 4 == 4 && (ip[0] & 15) >= 5 && v->l4 <= v->end && v->end <= len;
	}
	if (v->l3 + 40 > len || be(ip - 2, 2) != 0x86dd)
		return false;
	v->family = 6;
	v->proto = ip[6];
	v->l4 = v->l3 + 40;
	v->end = v->l4 + be(ip + 4, 2);
	view_ext(v);
	return ip[0] >> 4 == 6 && v->end <= len;
}

static size_t ttl_at(const struct view *v)
{
	return v->l3 + (v->family == 4 ? 8 : 7);
}

static size_t addr_len(const struct view *v)
{
	return v->family == 4 ? 4 : 16;
}

static size_t saddr_at(const struct view *v)
{
	return v->l3 + (v->family == 4 ? 12 : 8);
}

static size_t daddr_at(const struct view *v)
{
	return saddr_at(v) + addr_len(v);
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* The one's complement sum of words, 0 for 0xffff: what a right checksum makes 0. */
UNWATCHED static __u32 residue(__u64 sum, const __u8 *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? b[i] : b[i] << 8;
	return sum % 0xffff;
}

static __u32 ip_residue(const struct view *v)
{
	return v->family == 4 ? residue(0, v->b + v->l3, (v->b[v->l3] & 15) * 4) : 0;
}

/* Of what stands behind the IP header, with the pseudo header, as far as it is in this packet. */
static __u32 l4_residue(const struct view *v)
{
	__u64 sum = 0;

	if (v->proto != IPPROTO_ICMP)
		sum = residue(v->end - v->l4 + v->proto, v->b + saddr_at(v), 2 * addr_len(v));
	return residue(sum, v->b + v->l4, v->end - v->l4);
}

/* ---- what may differ -------------------------------------------------------------------------- */

/* Bytes of the packet that came in, by their places, and whether they may be others in the one that leaves. */
struct differ {
	bool may[FRAME_MAX + 64];
};

static void may(struct differ *d, size_t at, size_t len)
{
	memset(d->may + at, true, len);
}

UNWATCHED static void must_equal(const struct differ *d, const __u8 *in, const __u8 *out, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		require(d->may[i] || in[i] == out[i]);
}

static const __u8 client_side[6] = {0x02, 0, 0, 0, 0xc1, 0x1e};

/* ---- to a backend ----------------------------------------------------------------------------- */

static void check_outer(const struct view *in, const struct view *out, const struct weir_backend *b)
{
	const __u8 *o = out->b + out->l3, *i = in->b + in->l3;
	__u32 tos = in->family == 4 ? i[1] : (be(i, 2) >> 4 & 0xff);

	require(out->family == b->family && out->proto == (in->family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6));
	require(!out->options && !out->frag && o[b->family == 4 ? 8 : 7] == 64);
	require(out->end - out->l4 == in->end - in->l3);
	require(!memcmp(out->b + saddr_at(out), &b->source, addr_len(out)));
	require(!memcmp(out->b + daddr_at(out), &b->addr, addr_len(out)));
	require(tos == (out->family == 4 ? o[1] : (be(o, 2) >> 4 & 0xff)));
	if (out->family == 4) {
		require(!ip_residue(out));
		require((be(o + 6, 2) & 0x4000) == (in->family == 4 ? be(i + 6, 2) & 0x4000 : 0x4000));
	}
}

/* The quoted packet of an ICMP error, as a view of its own. */
static void quoted(struct view *q, const struct view *v)
{
	*q = *v;
	q->l3 = v->l4 + 8;
	q->l4 = q->l3 + (v->family == 4 ? (v->b[q->l3] & 15) * 4 : 40);
	q->proto = v->b[q->l3 + (v->family == 4 ? 9 : 6)];
}

static bool is_icmp_of(const struct view *v)
{
	return v->proto == (v->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) && !v->later;
}

/*
 * A translated end of the packet: the source, or else the destination. In an ICMP error also the other end of
 * what it quotes. `end_of`: the address and port that stand there now; NULL: not asked.
 */
static void check_edit(const struct view *in, const struct view *out, struct differ *d, bool source,
		       const struct weir_addr *addr, __be16 port)
{
	size_t at = source ? saddr_at(in) : daddr_at(in);

	may(d, at, addr_len(in));
	require(!memcmp(out->b + at, addr, addr_len(in)) || (source && is_icmp_of(in)));
	require(ip_residue(in) == ip_residue(out));
	if (in->later)
		return;
	if (is_icmp_of(in)) {
		struct view q, was;

		quoted(&q, out);
		quoted(&was, in);
		may(d, in->l4 + 2, 2);
		may(d, source ? daddr_at(&q) : saddr_at(&q), addr_len(&q));
		may(d, q.l4 + (source ? 2 : 0), 2);
		at = q.l4 + (q.proto == IPPROTO_TCP ? 16 : 6);
		if (q.family == 4)
			may(d, q.l3 + 10, 2);
		if (at + 2 <= in->end)
			may(d, at, 2);
		require(!memcmp(out->b + (source ? daddr_at(&q) : saddr_at(&q)), addr, addr_len(&q)));
		require(!memcmp(out->b + q.l4 + (source ? 2 : 0), &port, 2));
		require(ip_residue(&q) == ip_residue(&was));
		require(l4_residue(in) == l4_residue(out));
		return;
	}
	may(d, in->l4 + (source ? 0 : 2), 2);
	require(!memcmp(out->b + in->l4 + (source ? 0 : 2), &port, 2));
	at = in->l4 + (in->proto == IPPROTO_TCP ? 16 : 6);
	if (in->proto == IPPROTO_UDP && !be(in->b + at, 2))
		return;
	may(d, at, 2);
	require(in->proto != IPPROTO_UDP || be(out->b + at, 2));
	require(l4_residue(in) == l4_residue(out));
}

/* The packet inside, or all of it, is what came in but for one hop, and what `d` lets differ. */
static void check_inner(const struct view *in, const __u8 *out, struct differ *d)
{
	size_t ttl = ttl_at(in);

	require(in->b[ttl] > 1 && out[ttl] == in->b[ttl] - 1);
	may(d, ttl, 1);
	if (in->family == 4)
		may(d, in->l3 + 10, 2);
	must_equal(d, in->b, out, in->l3, in->len);
}

static void check_l2(const struct view *in, const __u8 *out, __u32 ifindex)
{
	const __u8 smac[6] = {0x02, 0, 0, 0, 0x5e, 0x46 + ifindex};

	require(!memcmp(out + 6, smac, 6));
	require(!memcmp(out + 12, in->b + 12, in->l3 - 14));
	require(in->l3 == 14 || redirected < 0);
}

/* As a backend gets it. */
static void check_forward(const struct view *in, const struct view *out, const struct weir_backend *b, __be16 port)
{
	size_t grow = b->via != WEIR_VIA_TUNNEL ? 0 : b->family == 4 ? 20 : 40;
	static struct differ d;
	struct view inner = *out;

	memset(&d, 0, in->len);
	require(out->len == in->len + grow && out->l3 == in->l3);
	require(be(out->b + out->l3 - 2, 2) == (out->family == 4 ? 0x0800u : 0x86ddu));
	if (grow) {
		check_outer(in, out, b);
		inner.b += grow;
		inner.family = in->family;
	}
	if (b->via == WEIR_VIA_NAT) {
		require(b->family == in->family);
		check_edit(in, out, &d, false, &b->addr, port);
	}
	check_inner(in, inner.b, &d);
	require(ip_residue(in) == ip_residue(&inner));
}

/* As a client gets what a backend sent. */
static void check_back(const struct view *in, const struct view *out, const struct weir_addr *vip, __be16 port)
{
	static struct differ d;

	memset(&d, 0, in->len);
	require(out->len == in->len && !memcmp(out->b, client_side, 6));
	check_edit(in, out, &d, true, vip, port);
	check_inner(in, out->b, &d);
}

/* ---- answers ---------------------------------------------------------------------------------- */

/* An answer to the sender: all of its headers, from `from` if that is not whom the packet was for. */
static void check_answer(const struct view *in, const struct view *out, const struct weir_addr *from)
{
	require(redirected < 0 && out->l3 == in->l3 && out->family == in->family);
	require(!memcmp(out->b, in->b + 6, 6) && !memcmp(out->b + 6, in->b, 6));
	require(!memcmp(out->b + 12, in->b + 12, in->l3 - 12));
	require(!memcmp(out->b + daddr_at(out), in->b + saddr_at(in), addr_len(in)));
	require(!memcmp(out->b + saddr_at(out), from ? (const __u8 *)from : in->b + daddr_at(in), addr_len(in)));
	require(out->b[ttl_at(out)] == 64 && !out->options && !out->frag && !ip_residue(out) && !l4_residue(out));
	require(out->len == (out->end < 60 ? 60 : out->end) && (out->len == 60 || out->len <= in->len + 48));
	require(!in->later);
}

static void check_icmp_answer(const struct view *in, const struct view *out, bool big, const struct weir_addr *from)
{
	const __u8 *h = out->b + out->l4;
	size_t quote = out->end - out->l4 - 8;

	check_answer(in, out, from);
	require(in->proto != IPPROTO_ICMP && in->proto != IPPROTO_ICMPV6);
	if (in->family == 4)
		require(out->proto == IPPROTO_ICMP && h[0] == (big ? 3 : 11) && h[1] == (big ? 4 : 0));
	else
		require(out->proto == IPPROTO_ICMPV6 && h[0] == (big ? 2 : 3) && !h[1]);
	require(quote >= 20 && quote <= in->end - in->l3 && out->end - out->l3 <= (in->family == 4 ? 576u : 1280u));
	require(!memcmp(h + 8, in->b + in->l3, quote));
	/* It must help: a packet as long as it says would not come back. */
	require(big ? be(h + 4, 4) && be(h + 4, 4) < in->end - in->l3 : !be(h + 4, 4));
}

static void check_reset(const struct view *in, const struct view *out)
{
	const __u8 *t = out->b + out->l4, *s = in->b + in->l4;

	check_answer(in, out, NULL);
	require(in->proto == IPPROTO_TCP && !in->frag && !(s[13] & 0x04));
	require(out->proto == IPPROTO_TCP && out->end == out->l4 + 20 && t[13] & 0x04 && t[12] == 0x50);
	require(!memcmp(t, s + 2, 2) && !memcmp(t + 2, s, 2));
	if (s[13] & 0x10)
		require(!memcmp(t + 4, s + 8, 4) && t[13] == 0x04);
	else
		require(!be(t + 4, 4) && t[13] == 0x14);
}

#endif
