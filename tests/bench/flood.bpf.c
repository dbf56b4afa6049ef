/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client that keeps a core of its own busy with sending. flood_send makes requests out of live
 * frames (BPF_F_TEST_XDP_LIVE_FRAMES) and sends them out of the client's veth; flood_count sits on
 * that veth and counts the replies. Over IPv4, without a VLAN tag.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "driver.h"
#include "flood.h"

const volatile struct flood_config cfg;

/* Written by userspace: replies go on to the client's sockets instead of ending here. */
volatile __u32 pass_replies;
/* Written by userspace: time from one burst to the next; 0: a flood. */
volatile __u64 gap_ns;
__u64 next_ns;
__u32 left_in_burst;
__u64 random_state = 88172645463325252ULL; /* flood_send runs on one CPU */

/* Written by the programs, read by userspace. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flood_counts);
} counts SEC(".maps");

static __always_inline struct flood_counts *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/*
 * A frame comes back from its last journey as long as the reply in it, and the kernel notices only
 * when the packet changes here: so it starts one byte too long. The request is written anew.
 */
static __always_inline long write_request(struct xdp_md *ctx)
{
	__u64 letters;

	random_state = bench_random(random_state);
	letters = bench_letters((__u32)(random_state >> 20) & cfg.num_mask);
	return bpf_xdp_adjust_tail(ctx, -FLOOD_EXCESS) ?:
	       bpf_xdp_store_bytes(ctx, 0, (void *)cfg.frame, cfg.len) ?:
	       bpf_xdp_store_bytes(ctx, cfg.num_at, &letters, sizeof(letters));
}

static __always_inline int too_early(void)
{
	__u64 now;

	if (!gap_ns)
		return 0;
	if (left_in_burst) {
		left_in_burst--;
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (now < next_ns)
		return 1;
	next_ns = now + gap_ns;
	left_in_burst = FLOOD_BURST - 1;
	return 0;
}

SEC("xdp")
int flood_send(struct xdp_md *ctx)
{
	struct flood_counts *c = this_cpu();

	if (too_early())
		return XDP_DROP;
	if (!c || write_request(ctx))
		return XDP_ABORTED;
	c->sent++;
	return bpf_redirect(cfg.ifindex, 0);
}

/* -1: not a datagram of the server's; else whether it holds a value. */
static __always_inline int is_answer(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	char *text = (char *)(udp + 1) + 8; /* behind memcached's frame header */

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP ||
	    udp->source != bpf_htons(cfg.port))
		return -1;
	if ((void *)(text + 6) > end)
		return 0;
	return text[0] == 'V' && text[1] == 'A' && text[2] == 'L' && text[3] == 'U' && text[4] == 'E';
}

SEC("xdp")
int flood_count(struct xdp_md *ctx)
{
	int answer = is_answer((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	struct flood_counts *c = this_cpu();

	if (!c || answer < 0)
		return XDP_PASS;
	if (answer)
		c->answered++;
	else
		c->other++;
	return pass_replies ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
