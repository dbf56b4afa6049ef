/* SPDX-License-Identifier: GPL-2.0-only */
/* A tunnel's far end where the kernel has no tunnel devices: takes off the outer header of IP in IP, in all four
 * mixtures. Passes all else. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Length of an outer header without options, 0: there is none. */
static __always_inline int outer(void *l3, void *end, __be16 type, __u8 *inner)
{
	struct iphdr *ip4 = l3;
	struct ipv6hdr *ip6 = l3;

	if (type == bpf_htons(ETH_P_IP) && (void *)(ip4 + 1) <= end && ip4->ihl == 5 &&
	    !(ip4->frag_off & bpf_htons(0x3fff))) {
		*inner = ip4->protocol;
		return sizeof(*ip4);
	}
	if (type == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end) {
		*inner = ip6->nexthdr;
		return sizeof(*ip6);
	}
	return 0;
}

SEC("xdp")
int xdp_decap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr eth, *to;
	__u8 inner = 0;
	int len;

	if (data + sizeof(eth) > end)
		return XDP_PASS;
	__builtin_memcpy(&eth, data, sizeof(eth));
	len = outer(data + sizeof(eth), end, eth.h_proto, &inner);
	if (!len || (inner != IPPROTO_IPIP && inner != IPPROTO_IPV6))
		return XDP_PASS;
	eth.h_proto = inner == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (bpf_xdp_adjust_head(ctx, len))
		return XDP_ABORTED;
	to = (void *)(long)ctx->data;
	if ((void *)(to + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(to, &eth, sizeof(eth));
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
