// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "packet.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const __u8 client_mac[6] = {0x02, 0, 0, 0, 0xc1, 0x1e};
static const __u8 server_mac[6] = {0x02, 0, 0, 0, 0x5e, 0x47};

static void emit(struct frame *f, const void *p, size_t len)
{
	if (f->len + len > sizeof(f->b))
		abort();
	memcpy(f->b + f->len, p, len);
	f->len += len;
}

static void emit8(struct frame *f, __u8 v)
{
	emit(f, &v, 1);
}

static void emit16(struct frame *f, __u16 v)
{
	emit8(f, v >> 8);
	emit8(f, v);
}

__u16 frame_get16(const struct frame *f, size_t at)
{
	return f->b[at] << 8 | f->b[at + 1];
}

void frame_put16(struct frame *f, size_t at, __u16 v)
{
	f->b[at] = v >> 8;
	f->b[at + 1] = v;
}

/* ---- checksums -------------------------------------------------------------------------------- */

static __u64 add_words(__u64 sum, const __u8 *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? b[i] : b[i] << 8;
	return sum;
}

static __u16 complement(__u64 sum)
{
	while (sum > 0xffff)
		sum = sum % 0x10000 + sum / 0x10000;
	return ~sum;
}

__u16 rfc1071(const void *p, size_t len)
{
	return complement(add_words(0, p, len));
}

__u16 frame_udp_csum(const struct frame *f)
{
	size_t addrs = f->family == 4 ? f->l3 + 12 : f->l3 + 8, addrs_len = f->family == 4 ? 8 : 32;
	size_t len = frame_get16(f, f->l4 + 4);
	__u64 sum = add_words(0, f->b + addrs, addrs_len) + IPPROTO_UDP + len;
	__u16 csum;

	sum = add_words(sum, f->b + f->l4, 6);
	sum = add_words(sum, f->b + f->l4 + 8, len - 8);
	csum = complement(sum);
	return csum ? csum : 0xffff;
}

bool frame_csums_ok(const struct frame *f)
{
	if (f->family == 4 && rfc1071(f->b + f->l3, (f->b[f->l3] & 15) * 4))
		return false;
	return frame_get16(f, f->l4 + 6) == frame_udp_csum(f);
}

void frame_fix_ip_csum(struct frame *f)
{
	frame_put16(f, f->l3 + 10, 0);
	frame_put16(f, f->l3 + 10, rfc1071(f->b + f->l3, (f->b[f->l3] & 15) * 4));
}

void frame_fix_udp_csum(struct frame *f)
{
	frame_put16(f, f->l4 + 6, frame_udp_csum(f));
}

/* ---- frames ----------------------------------------------------------------------------------- */

static void emit_l2(struct frame *f, const __u8 *dst, const __u8 *src)
{
	emit(f, dst, 6);
	emit(f, src, 6);
	for (int i = 0; i < f->flow.tags; i++) {
		emit16(f, i + 1 < f->flow.tags ? 0x88a8 : 0x8100);
		emit16(f, 0x6000 | (100 + i)); /* priority 3, VLAN 100.. */
	}
	emit16(f, f->family == 4 ? 0x0800 : 0x86dd);
}

static void emit_addr(struct frame *f, const char *text)
{
	__u8 addr[16];

	if (inet_pton(f->family == 4 ? AF_INET : AF_INET6, text, addr) != 1)
		abort();
	emit(f, addr, f->family == 4 ? 4 : 16);
}

static void emit_ipv4(struct frame *f, size_t len, __u16 id, __u16 frag, __u8 ttl)
{
	emit8(f, 0x45);
	emit8(f, 0);
	emit16(f, 20 + len);
	emit16(f, id);
	emit16(f, frag);
	emit8(f, ttl);
	emit8(f, IPPROTO_UDP);
	emit16(f, 0);
}

static void emit_ipv6(struct frame *f, size_t len, __u32 label, __u8 hops)
{
	emit16(f, 0x6000 | label >> 16);
	emit16(f, label);
	emit16(f, len);
	emit8(f, IPPROTO_UDP);
	emit8(f, hops);
}

static void start(struct frame *f, const struct flow *flow)
{
	f->len = 0;
	f->flow = *flow;
	f->family = strchr(flow->src, ':') ? 6 : 4;
	f->proto = IPPROTO_UDP;
}

static void emit_udp(struct frame *f, const void *data, size_t len, bool csum)
{
	f->l4 = f->len;
	emit16(f, f->flow.sport);
	emit16(f, f->flow.dport);
	emit16(f, 8 + len);
	emit16(f, 0);
	f->data = f->len;
	emit(f, data, len);
	if (f->family == 4)
		frame_fix_ip_csum(f);
	if (csum)
		frame_fix_udp_csum(f);
}

void frame_udp(struct frame *f, const struct flow *flow, const void *data, size_t len)
{
	start(f, flow);
	emit_l2(f, server_mac, client_mac);
	f->l3 = f->len;
	if (f->family == 4)
		emit_ipv4(f, 8 + len, 0x1234, 0, 63);
	else
		emit_ipv6(f, 8 + len, 0xabcde, 63);
	emit_addr(f, flow->src);
	emit_addr(f, flow->dst);
	emit_udp(f, data, len, !flow->no_csum);
}

void frame_reply(struct frame *f, const struct frame *request, const void *data, size_t len, bool csum)
{
	const struct flow *q = &request->flow;
	struct flow flow = {
		.src = q->dst, .dst = q->src, .sport = q->dport, .dport = q->sport, .tags = q->tags};

	start(f, &flow);
	emit_l2(f, client_mac, server_mac);
	f->l3 = f->len;
	if (f->family == 4)
		emit_ipv4(f, 8 + len, 0, 0x4000, 64);
	else
		emit_ipv6(f, 8 + len, 0, 64);
	emit_addr(f, flow.src);
	emit_addr(f, flow.dst);
	emit_udp(f, data, len, csum);
}

void frame_insert(struct frame *f, size_t at, const void *bytes, size_t len)
{
	if (f->len + len > sizeof(f->b))
		abort();
	memmove(f->b + at + len, f->b + at, f->len - at);
	memcpy(f->b + at, bytes, len);
	f->len += len;
	if (at <= f->l3)
		f->l3 += len;
	if (at <= f->l4)
		f->l4 += len;
	if (at <= f->data)
		f->data += len;
}

void frame_pad(struct frame *f, size_t len, __u8 byte)
{
	while (f->len < len)
		emit8(f, byte);
}

void frame_fix_lengths(struct frame *f)
{
	if (f->family == 4)
		frame_put16(f, f->l3 + 2, f->len - f->l3);
	else
		frame_put16(f, f->l3 + 4, f->len - f->l3 - 40);
	if (f->proto == IPPROTO_UDP)
		frame_put16(f, f->l4 + 4, f->len - f->l4);
}

void frame_options(struct frame *f, const void *bytes, size_t len, int first)
{
	frame_insert(f, f->l4, bytes, len);
	frame_fix_lengths(f);
	if (f->family == 4) {
		f->b[f->l3] = 0x45 + len / 4;
		frame_fix_ip_csum(f);
	} else {
		f->b[f->l3 + 6] = first;
	}
	if (f->proto == IPPROTO_UDP)
		frame_fix_udp_csum(f);
	else
		frame_fix_l4_csum(f);
}

/* ---- TCP, ICMP, fragments, tunnels -------------------------------------------------------------- */

size_t frame_ip_len(const struct frame *f)
{
	return f->family == 4 ? frame_get16(f, f->l3 + 2) : 40u + frame_get16(f, f->l3 + 4);
}

size_t frame_csum_at(const struct frame *f)
{
	return f->l4 + (f->proto == IPPROTO_TCP ? 16 : f->proto == IPPROTO_UDP ? 6 : 2);
}

__u16 frame_l4_csum(const struct frame *f)
{
	size_t addrs = f->family == 4 ? f->l3 + 12 : f->l3 + 8, addrs_len = f->family == 4 ? 8 : 32;
	size_t len = f->l3 + frame_ip_len(f) - f->l4, at = frame_csum_at(f) - f->l4;
	__u64 sum = 0;
	__u16 csum;

	if (f->proto != IPPROTO_ICMP)
		sum = add_words(0, f->b + addrs, addrs_len) + f->proto + len;
	sum = add_words(sum, f->b + f->l4, at);
	sum = add_words(sum, f->b + f->l4 + at + 2, len - at - 2);
	csum = complement(sum);
	return csum || f->proto != IPPROTO_UDP ? csum : 0xffff;
}

void frame_fix_l4_csum(struct frame *f)
{
	frame_put16(f, frame_csum_at(f), frame_l4_csum(f));
}

/* The IP header: as a client's, or as one that an answer has. */
static void emit_ip(struct frame *f, size_t len, int proto, bool from_client)
{
	f->proto = proto;
	f->l3 = f->len;
	if (f->family == 4)
		emit_ipv4(f, len, from_client ? 0x1234 : 0, from_client ? 0 : 0x4000, from_client ? 63 : 64);
	else
		emit_ipv6(f, len, from_client ? 0xabcde : 0, from_client ? 63 : 64);
	f->b[f->l3 + (f->family == 4 ? 9 : 6)] = proto;
	emit_addr(f, f->flow.src);
	emit_addr(f, f->flow.dst);
	f->l4 = f->len;
}

static void emit32(struct frame *f, __u32 v)
{
	emit16(f, v >> 16);
	emit16(f, v);
}

static void finish(struct frame *f, const void *data, size_t len)
{
	f->data = f->len;
	if (len)
		emit(f, data, len);
	if (f->family == 4)
		frame_fix_ip_csum(f);
	frame_fix_l4_csum(f);
}

void frame_tcp(struct frame *f, const struct flow *flow, const struct tcp *tcp, const void *data, size_t len)
{
	start(f, flow);
	emit_l2(f, server_mac, client_mac);
	emit_ip(f, 20 + tcp->options + len, IPPROTO_TCP, true);
	emit16(f, flow->sport);
	emit16(f, flow->dport);
	emit32(f, tcp->seq);
	emit32(f, tcp->ack);
	emit8(f, (20 + tcp->options) / 4 << 4);
	emit8(f, tcp->flags);
	emit16(f, tcp->window);
	emit16(f, 0);
	emit16(f, 0);
	for (size_t i = 0; i < tcp->options; i++)
		emit8(f, 1);
	finish(f, data, len);
}

void frame_icmp(struct frame *f, const struct flow *flow, const struct icmp *icmp, const void *data,
		size_t len)
{
	start(f, flow);
	emit_l2(f, server_mac, client_mac);
	emit_ip(f, 8 + len, f->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, false);
	emit8(f, icmp->type);
	emit8(f, icmp->code);
	emit16(f, 0);
	emit32(f, icmp->rest);
	finish(f, data, len);
}

void frame_fragment(struct frame *f, const struct frame *whole, size_t from, size_t len, bool more)
{
	__u8 hdr[8] = {whole->proto, 0, from >> 8, (from & 0xf8) | more, 0xca, 0xfe, 0xba, 0xbe};

	*f = *whole;
	f->proto = from ? 0 : whole->proto;
	memcpy(f->b + f->l4, whole->b + whole->l4 + from, len);
	f->len = f->l4 + len;
	if (f->family == 6) {
		frame_insert(f, f->l4, hdr, sizeof(hdr));
		f->b[f->l3 + 6] = IPPROTO_FRAGMENT;
		frame_put16(f, f->l3 + 4, f->len - f->l3 - 40);
		return;
	}
	frame_put16(f, f->l3 + 2, f->len - f->l3);
	frame_put16(f, f->l3 + 6, (more ? 0x2000 : 0) | from / 8);
	frame_fix_ip_csum(f);
}

void frame_macs(struct frame *f, const __u8 *dst, const __u8 *src)
{
	memcpy(f->b, dst, 6);
	memcpy(f->b + 6, src, 6);
}

void frame_set_tos(struct frame *f, __u8 tos)
{
	if (f->family == 4) {
		f->b[f->l3 + 1] = tos;
		frame_fix_ip_csum(f);
		return;
	}
	f->b[f->l3] = 0x60 | tos >> 4;
	f->b[f->l3 + 1] = (tos & 15) << 4 | (f->b[f->l3 + 1] & 15);
}

void frame_set_df(struct frame *f, bool df)
{
	if (f->family == 6)
		return;
	f->b[f->l3 + 6] = (f->b[f->l3 + 6] & ~0x40) | (df ? 0x40 : 0);
	frame_fix_ip_csum(f);
}

__u8 frame_ttl(const struct frame *f)
{
	return f->b[f->l3 + (f->family == 4 ? 8 : 7)];
}

void frame_set_ttl(struct frame *f, __u8 ttl)
{
	f->b[f->l3 + (f->family == 4 ? 8 : 7)] = ttl;
	if (f->family == 4)
		frame_fix_ip_csum(f);
}

static void set_end(struct frame *f, const char *addr, __u16 port, bool dest)
{
	size_t at = f->l3 + (f->family == 4 ? 12 : 8) + (dest ? f->family == 4 ? 4 : 16 : 0);

	if (inet_pton(f->family == 4 ? AF_INET : AF_INET6, addr, f->b + at) != 1)
		abort();
	if (f->family == 4)
		frame_fix_ip_csum(f);
	if (port)
		frame_put16(f, f->l4 + (dest ? 2 : 0), port);
}

void frame_set_source(struct frame *f, const char *addr, __u16 port)
{
	set_end(f, addr, port, false);
}

void frame_set_dest(struct frame *f, const char *addr, __u16 port)
{
	set_end(f, addr, port, true);
}

void frame_outer(struct frame *f, const char *src, const char *dst, __u16 id, __u32 label)
{
	struct frame o = {.family = strchr(src, ':') ? 6 : 4};
	size_t len = frame_ip_len(f);
	bool df = f->family == 6 || f->b[f->l3 + 6] & 0x40;
	__u8 tos = f->family == 4 ? f->b[f->l3 + 1] : (f->b[f->l3] & 15) << 4 | f->b[f->l3 + 1] >> 4;

	if (o.family == 4)
		emit_ipv4(&o, len, id, df ? 0x4000 : 0, 64);
	else
		emit_ipv6(&o, len, label, 64);
	o.b[o.family == 4 ? 9 : 6] = f->family == 4 ? 4 : 41;
	emit_addr(&o, src);
	emit_addr(&o, dst);
	frame_set_tos(&o, tos);
	frame_put16(f, f->l3 - 2, o.family == 4 ? 0x0800 : 0x86dd);
	frame_insert(f, f->l3, o.b, o.len);
	f->l3 -= o.len;
	f->family = o.family;
}

/* ---- datagrams -------------------------------------------------------------------------------- */

void msg_add(struct msg *m, const void *p, size_t len)
{
	if (m->len + len > sizeof(m->b))
		abort();
	if (len)
		memcpy(m->b + m->len, p, len);
	m->len += len;
}

static void add_be(struct msg *m, __u64 v, int bytes)
{
	while (bytes--) {
		__u8 b = v >> bytes * 8;

		msg_add(m, &b, 1);
	}
}

void msg_frame(struct msg *m, __u16 id, __u16 seq, __u16 count)
{
	m->len = 0;
	add_be(m, id, 2);
	add_be(m, seq, 2);
	add_be(m, count, 2);
	add_be(m, 0, 2);
}

void msg_text(struct msg *m, __u16 id, const char *text)
{
	msg_frame(m, id, 0, 1);
	msg_add(m, text, strlen(text));
}

void msg_add_bin(struct msg *m, const struct bin *b)
{
	size_t key_len = b->key_len ?: b->key ? strlen(b->key) : 0;

	add_be(m, b->magic ?: 0x80, 1);
	add_be(m, b->op, 1);
	add_be(m, key_len, 2);
	add_be(m, b->ext_len, 1);
	add_be(m, 0, 1);
	add_be(m, b->status, 2);
	add_be(m, b->ext_len + key_len + b->value_len, 4);
	add_be(m, b->opaque, 4);
	add_be(m, b->cas, 8);
	msg_add(m, b->ext, b->ext_len);
	msg_add(m, b->key, key_len);
	msg_add(m, b->value, b->value_len);
}

void msg_bin(struct msg *m, __u16 id, const struct bin *b)
{
	msg_frame(m, id, 0, 1);
	msg_add_bin(m, b);
}
