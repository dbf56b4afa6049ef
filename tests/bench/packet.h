/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Builds the benchmarks' request frames. */
#ifndef WEIR_BENCH_PACKET_H
#define WEIR_BENCH_PACKET_H

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct packet_flow {
	int family; /* AF_INET or AF_INET6 */
	int proto;  /* IPPROTO_UDP or IPPROTO_TCP */
	unsigned char src_mac[ETH_ALEN], dst_mac[ETH_ALEN];
	unsigned char src[16], dst[16]; /* IPv4: in the first four bytes */
	uint16_t sport, dport;          /* host order */
};

static inline uint32_t packet_sum(uint32_t sum, const void *p, size_t len)
{
	const unsigned char *b = p;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += b[i] << 8 | b[i + 1];
	return len & 1 ? sum + (b[len - 1] << 8) : sum;
}

static inline uint16_t packet_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static inline size_t packet_ip(unsigned char *out, const struct packet_flow *f, size_t l4_len)
{
	struct iphdr *ip4 = (void *)out;
	struct ipv6hdr *ip6 = (void *)out;

	if (f->family == AF_INET6) {
		*ip6 = (struct ipv6hdr){
			.version = 6, .payload_len = htons(l4_len), .nexthdr = f->proto, .hop_limit = 64};
		memcpy(&ip6->saddr, f->src, 16);
		memcpy(&ip6->daddr, f->dst, 16);
		return sizeof(*ip6);
	}
	*ip4 = (struct iphdr){.version = 4,
			      .ihl = 5,
			      .tot_len = htons(sizeof(*ip4) + l4_len),
			      .ttl = 64,
			      .protocol = f->proto};
	memcpy(&ip4->saddr, f->src, 4);
	memcpy(&ip4->daddr, f->dst, 4);
	ip4->check = packet_fold(packet_sum(0, ip4, sizeof(*ip4)));
	return sizeof(*ip4);
}

static inline size_t packet_l4_len(const struct packet_flow *f)
{
	return f->proto == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
}

/* The UDP checksum is left out over IPv4; over IPv6 it must not be. */
static inline void packet_l4(unsigned char *out, const struct packet_flow *f, size_t len)
{
	struct tcphdr *tcp = (void *)out;
	struct udphdr *udp = (void *)out;
	uint32_t sum;

	if (f->proto == IPPROTO_TCP) {
		*tcp = (struct tcphdr){.source = htons(f->sport),
				       .dest = htons(f->dport),
				       .doff = 5,
				       .ack = 1,
				       .window = htons(512)};
		return;
	}
	*udp = (struct udphdr){.source = htons(f->sport), .dest = htons(f->dport), .len = htons(len)};
	if (f->family != AF_INET6)
		return;
	sum = packet_sum(packet_sum(len + IPPROTO_UDP, f->src, 16), f->dst, 16);
	udp->check = packet_fold(packet_sum(sum, out, len));
}

/* Writes a frame around `data`; its length, or 0 when it does not fit in `size`. */
static inline size_t packet_build(unsigned char *out, size_t size, const struct packet_flow *f,
				  const void *data, size_t data_len)
{
	size_t l4_len = packet_l4_len(f) + data_len;
	struct ethhdr *eth = (void *)out;
	size_t at = sizeof(*eth);

	if (at + sizeof(struct ipv6hdr) + l4_len > size)
		return 0;
	memcpy(eth->h_dest, f->dst_mac, ETH_ALEN);
	memcpy(eth->h_source, f->src_mac, ETH_ALEN);
	eth->h_proto = htons(f->family == AF_INET6 ? ETH_P_IPV6 : ETH_P_IP);
	at += packet_ip(out + at, f, l4_len);
	memcpy(out + at + packet_l4_len(f), data, data_len);
	packet_l4(out + at, f, l4_len);
	return at + l4_len;
}

/* Where the data of such a frame begins. */
static inline size_t packet_data_at(const struct packet_flow *f)
{
	return sizeof(struct ethhdr) +
	       (f->family == AF_INET6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + packet_l4_len(f);
}

#endif
