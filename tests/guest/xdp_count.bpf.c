/* SPDX-License-Identifier: GPL-2.0-only */
/* Somebody else's program on the NIC: passes everything, and counts what goes to memcached's UDP port. */
#include "udp4.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} xdp_counted SEC(".maps");

SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	count_udp4(ctx, 11211, &xdp_counted, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
