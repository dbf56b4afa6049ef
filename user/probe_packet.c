// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * References: RFC 9293 (TCP), RFC 2003 (IP in IP), RFC 2473 (in IPv6), RFC 4213 (IPv6 in IPv4), RFC 1071
 * (checksums).
 */
#include "probe_packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define HOPS    64
#define IP4_LEN 20
#define IP6_LEN 40
#define TCP_LEN 20

/* ---- as they leave ---------------------------------------------------------------------------- */

static void put16(__u8 *at, __u16 n)
{
	at[0] = n >> 8;
	at[1] = n;
}

static void put32(__u8 *at, __u32 n)
{
	put16(at, n >> 16);
	put16(at + 2, n);
}

static __u32 sum16(const __u8 *d, size_t len, __u32 sum)
{
	for (size_t i = 0; i < len; i += 2)
		sum += d[i] << 8 | d[i + 1];
	return sum;
}

static __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

static size_t ip_len(int family)
{
	return family == 4 ? IP4_LEN : IP6_LEN;
}

/* In front of `len` bytes. */
static void put_ip(__u8 *at, int family, const struct weir_addr *from, const struct weir_addr *to, int proto,
		   size_t len, __u32 label)
{
	memset(at, 0, ip_len(family));
	if (family == 4) {
		at[0] = 0x45;
		put16(at + 2, IP4_LEN + len);
		put16(at + 6, 0x4000); /* DF, and so no id */
		at[8] = HOPS;
		at[9] = proto;
		memcpy(at + 12, from, 4);
		memcpy(at + 16, to, 4);
		put16(at + 10, fold(sum16(at, IP4_LEN, 0)));
		return;
	}
	put32(at, 6U << 28 | (label & 0xfffff));
	put16(at + 4, len);
	at[6] = proto;
	at[7] = HOPS;
	memcpy(at + 8, from, 16);
	memcpy(at + 24, to, 16);
}

static void put_tcp(__u8 *at, const struct probe_ask *ask, const struct probe_packet *p)
{
	size_t len = ask->vip.family == 4 ? 4 : 16;
	__u32 sum = IPPROTO_TCP + TCP_LEN;

	memset(at, 0, TCP_LEN);
	put16(at, p->port);
	memcpy(at + 2, &ask->vip.port, 2);
	put32(at + 4, p->seq);
	at[12] = TCP_LEN / 4 << 4;
	at[13] = p->flags;
	put16(at + 14, 0xffff); /* window */
	sum = sum16((const __u8 *)&p->from, len, sum16((const __u8 *)&ask->vip.addr, len, sum));
	put16(at + 16, fold(sum16(at, TCP_LEN, sum)));
}

size_t probe_packet(const struct probe_ask *ask, const struct probe_packet *p, __u8 *to)
{
	size_t inner = ip_len(ask->vip.family) + TCP_LEN;
	size_t outer = ask->via == WEIR_VIA_TUNNEL ? ip_len(ask->family) : 0;

	/* The label of a flow is its own: the outer one, too (RFC 6438). */
	if (outer)
		put_ip(to, ask->family, &ask->source, &ask->backend,
		       ask->vip.family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6, inner,
		       p->port * 2654435761U >> 12);
	put_ip(to + outer, ask->vip.family, &p->from, &ask->vip.addr, IPPROTO_TCP, TCP_LEN, 0);
	put_tcp(to + outer + inner - TCP_LEN, ask, p);
	return outer + inner;
}

/* ---- answers ---------------------------------------------------------------------------------- */

#define LOAD8(off)         BPF_STMT(BPF_LD | BPF_B | BPF_ABS, off)
#define LOAD16(off)        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, off)
#define IF_EQ(k, yes, no)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, no)
#define IF_GE(k, yes, no)  BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, yes, no)
#define IF_ANY(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, k, yes, no)
#define AND(k)             BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)
#define RETURN(k)          BPF_STMT(BPF_RET | BPF_K, k)
#define SYN_RST_ACK        (PROBE_SYN | PROBE_RST | PROBE_ACK)

/* No later fragment, TCP, to one of our ports, a SYN-ACK or an RST that acknowledges. */
static struct sock_filter filter4[] = {
	LOAD8(9),
	IF_EQ(IPPROTO_TCP, 0, 9),
	LOAD16(6),
	IF_ANY(0x1fff, 7, 0),
	BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* X: the header's length */
	BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
	IF_GE(PROBE_PORT_MIN, 0, 4),
	BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
	AND(SYN_RST_ACK),
	IF_EQ(PROBE_SYN | PROBE_ACK, 2, 0),
	IF_EQ(PROBE_RST | PROBE_ACK, 1, 0),
	RETURN(0),
	RETURN(~0U),
};

static struct sock_filter filter6[] = {
	LOAD8(6),
	IF_EQ(IPPROTO_TCP, 0, 6),
	LOAD16(IP6_LEN + 2),
	IF_GE(PROBE_PORT_MIN, 0, 4),
	LOAD8(IP6_LEN + 13),
	AND(SYN_RST_ACK),
	IF_EQ(PROBE_SYN | PROBE_ACK, 2, 0),
	IF_EQ(PROBE_RST | PROBE_ACK, 1, 0),
	RETURN(0),
	RETURN(~0U),
};

struct sock_fprog probe_filter(int family)
{
	return family == 4 ? (struct sock_fprog){sizeof(filter4) / sizeof(*filter4), filter4}
			   : (struct sock_fprog){sizeof(filter6) / sizeof(*filter6), filter6};
}

static __u16 get16(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

bool probe_parse(const __u8 *d, size_t len, int family, struct probe_answer *a)
{
	size_t addr = family == 4 ? 4 : 16, head = IP6_LEN;
	const __u8 *from = family == 4 ? d + 12 : d + 8;

	memset(a, 0, sizeof(*a));
	if (family == 4 && len)
		head = (d[0] & 15) * 4;
	if (head < ip_len(family) || len < head + TCP_LEN || d[0] >> 4 != family)
		return false;
	if (d[family == 4 ? 9 : 6] != IPPROTO_TCP || (family == 4 && get16(d + 6) & 0x1fff))
		return false;
	memcpy(&a->from.addr, from, addr);
	memcpy(&a->to, from + addr, addr);
	memcpy(&a->from.port, d + head, 2);
	a->from.family = family;
	a->port = get16(d + head + 2);
	a->ack = (__u32)get16(d + head + 8) << 16 | get16(d + head + 10);
	a->flags = d[head + 13] & SYN_RST_ACK;
	return a->port >= PROBE_PORT_MIN;
}
