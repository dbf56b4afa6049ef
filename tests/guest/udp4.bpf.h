/* SPDX-License-Identifier: GPL-2.0-only */
/* UDP over IPv4 without options, as the programs of these tests count it. */
#ifndef WEIR_TEST_UDP4_BPF_H
#define WEIR_TEST_UDP4_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct udp4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed));

/* The frame, when it is a datagram to this port; else NULL. Then element i of counts is one more. */
static __always_inline struct udp4 *count_udp4(struct xdp_md *ctx, __u16 port, void *counts, __u32 i)
{
	struct udp4 *f = (void *)(long)ctx->data;
	__u64 *n;

	if ((void *)(f + 1) > (void *)(long)ctx->data_end || f->eth.h_proto != bpf_htons(ETH_P_IP) ||
	    f->ip.ihl != 5 || f->ip.protocol != IPPROTO_UDP || f->udp.dest != bpf_htons(port))
		return NULL;
	n = bpf_map_lookup_elem(counts, &i);
	if (n)
		__sync_fetch_and_add(n, 1);
	return f;
}

#endif
