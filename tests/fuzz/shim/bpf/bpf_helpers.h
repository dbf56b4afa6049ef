/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stands in for libbpf's header of that name where BPF code is compiled for the host: maps are told
 * apart by their address, helpers are functions of whoever includes the code.
 */
#ifndef WEIR_SHIM_BPF_HELPERS_H
#define WEIR_SHIM_BPF_HELPERS_H

#include <linux/types.h>

#define SEC(name)
#define __uint(name, value) int (*name)[value]
#define __type(name, value) __typeof__(value) *name
#undef __always_inline
#define __always_inline	    inline __attribute__((always_inline))
#define __noinline	    static __attribute__((noinline))

struct xdp_md;
struct bpf_fib_lookup;

void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta);
long bpf_xdp_adjust_tail(struct xdp_md *ctx, int delta);
__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx);
long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 off, void *to, __u32 len);
long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 off, void *from, __u32 len);
long bpf_csum_diff(__be32 *from, __u32 from_len, __be32 *to, __u32 to_len, __u32 seed);
__u64 bpf_ktime_get_coarse_ns(void);
__u64 bpf_ktime_get_ns(void);
__u64 bpf_jiffies64(void);
__u32 bpf_get_smp_processor_id(void);
__u32 bpf_get_prandom_u32(void);
long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int len, __u32 flags);
long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_loop(__u32 n, void *step, void *arg, __u64 flags);

#endif
