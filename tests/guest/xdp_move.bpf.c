/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a steering program does with frames, without choosing: sends all on through another NIC
 * (xdp_move), or UDP to port 7000 back to where it came from (xdp_back). Counts by receive queue.
 */
#include "udp4.bpf.h"

#define QUEUES 8

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} move_to SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u64);
} by_queue SEC(".maps");

/* Nothing but UDP to port 7000 is counted: the numbers are exact, whatever else the hosts say. */
static __always_inline struct udp4 *counted(struct xdp_md *ctx)
{
	return count_udp4(ctx, 7000, &by_queue, ctx->rx_queue_index);
}

SEC("xdp")
int xdp_move(struct xdp_md *ctx)
{
	counted(ctx);
	return bpf_redirect_map(&move_to, 0, XDP_PASS);
}

SEC("xdp")
int xdp_back(struct xdp_md *ctx)
{
	struct udp4 *f = counted(ctx);
	unsigned char mac[ETH_ALEN];
	__be32 addr;

	if (!f)
		return XDP_PASS;
	__builtin_memcpy(mac, f->eth.h_source, ETH_ALEN);
	__builtin_memcpy(f->eth.h_source, f->eth.h_dest, ETH_ALEN);
	__builtin_memcpy(f->eth.h_dest, mac, ETH_ALEN);
	addr = f->ip.saddr;
	f->ip.saddr = f->ip.daddr;
	f->ip.daddr = addr;
	/* The checksum stays right: the same words are summed. */
	f->udp.dest = f->udp.source;
	f->udp.source = bpf_htons(7000);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
