/* SPDX-License-Identifier: GPL-2.0-only */
/* Passes everything: turns polling on at the far end of a veth pair (see lab_native_peer). */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
