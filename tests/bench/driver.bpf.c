/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drives a program under BPF_PROG_TEST_RUN. The kernel hands the same buffer to each repeat as the
 * last one left it, so a program that edits packets would meet its own reply: this one puts the
 * packet's head, tail and bytes back first, then tail-calls what is measured. An empty program in
 * the other slot gives what the driver itself costs.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "driver.h"

/* One element for each CPU, by its number. Written by both sides, mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_CPUS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bench_state);
} bench_state SEC(".maps");

/* enum bench_slot. Filled before the first run. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, BENCH_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} bench_progs SEC(".maps");

/* Packet pointers become numbers by way of the map, so that they can be subtracted. */
static __always_inline long restore_bounds(struct xdp_md *ctx, struct bench_state *s, __u32 want)
{
	volatile struct bench_state *v = s;
	__u64 begin, len;
	long err;

	v->begin = ctx->data;
	v->end = ctx->data_end;
	begin = v->begin;
	len = v->end - begin;
	if (!s->home)
		s->home = begin;
	/* Both calls are made also when nothing moved: the empty program pays for them too. */
	err = bpf_xdp_adjust_head(ctx, (int)(s->home - begin));
	len -= s->home - begin;
	return err ?: bpf_xdp_adjust_tail(ctx, (int)(want - len));
}

static __always_inline void draw_number(struct bench_state *s)
{
	__u32 at = s->num_at;

	if (!at || at > BENCH_FRAME_MAX - 8)
		return;
	s->random = bench_random(s->random);
	*(__u64 *)(s->frame + at) = bench_letters((__u32)(s->random >> 20) & s->num_mask);
}

/* The client 10.0.0.0 + number, or an IPv6 address that ends so. */
static __always_inline void draw_client(struct bench_state *s)
{
	__u32 at = s->flow_at, check = s->check_at, n, sum;

	if (!at || at > BENCH_FRAME_MAX - 4 || check > BENCH_FRAME_MAX - 2)
		return;
	s->random = bench_random(s->random);
	n = (s->next ? s->next++ : (__u32)(s->random >> 20)) & s->num_mask;
	n = bpf_htonl(0x0a000000 | n);
	*(__u32 *)(s->frame + at) = n;
	if (!check)
		return;
	sum = s->check_sum + (n & 0xffff) + (n >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*(__u16 *)(s->frame + check) = ~(sum + (sum >> 16));
}

/* A request acknowledges the reply before it. */
static __always_inline void number_pair(struct bench_state *s)
{
	__u32 ack = s->ack_at, seq = s->seq_at;

	if (!ack || ack > BENCH_FRAME_MAX - 4 || seq > BENCH_FRAME_MAX - 4)
		return;
	s->seq += BENCH_REPLY_DATA;
	*(__u32 *)(s->frame + ack) = bpf_htonl(s->seq);
	*(__u32 *)(s->reply + seq) = bpf_htonl(s->seq);
}

/* The next segment of a stream, as far as the subject sees it. */
static __always_inline void number_next(struct bench_state *s)
{
	__u32 at = s->next_at;

	if (!at || at > BENCH_FRAME_MAX - 4 || s->slot != BENCH_SUBJECT)
		return;
	*(__u32 *)(s->frame + at) = bpf_htonl(s->next_seq);
	s->next_seq += s->next_step;
}

static __always_inline long restore_reply(struct xdp_md *ctx, struct bench_state *s)
{
	__u32 len = s->reply_len;

	if (!len || len > BENCH_FRAME_MAX)
		return -1;
	return restore_bounds(ctx, s, len) ?: bpf_xdp_store_bytes(ctx, 0, s->reply, len);
}

static __always_inline long restore(struct xdp_md *ctx, struct bench_state *s)
{
	__u32 len = s->len;

	if (s->reply_len && s->turn++ & 1)
		return restore_reply(ctx, s);
	number_pair(s);
	number_next(s);
	draw_number(s);
	draw_client(s);
	if (!len || len > BENCH_FRAME_MAX)
		return -1;
	return restore_bounds(ctx, s, len) ?: bpf_xdp_store_bytes(ctx, 0, s->frame, len);
}

SEC("xdp")
int bench_driver(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct bench_state *s = bpf_map_lookup_elem(&bench_state, &cpu);

	if (!s)
		return XDP_ABORTED;
	if (restore(ctx, s)) {
		s->errors++;
		return XDP_ABORTED;
	}
	/*
	 * A real packet is in the cache long before the program runs. Here it was written an instant
	 * ago, and reads that straddle two writes still in the store buffer can stall: this
	 * locked instruction waits until the buffer has drained.
	 */
	__sync_fetch_and_add(&s->drained, 1);
	bpf_tail_call(ctx, &bench_progs, s->slot);
	s->errors++;
	return XDP_ABORTED;
}

SEC("xdp")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
