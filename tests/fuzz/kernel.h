/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel does for a program: maps, helpers, and a frame of which nothing may be touched outside. For
 * programs compiled for the host. To be included behind the program; who includes it says what maps there are,
 * and has fake_fib() and fake_lookup().
 *
 * The frame ends where a page ends that nothing may touch beyond. In front of it stands a pattern.
 */
#ifndef WEIR_FUZZ_KERNEL_H
#define WEIR_FUZZ_KERNEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM	 16384
#define BEFORE	 512 /* bytes in front of the frame that are looked at */
#define PATTERN	 0x5c
#define XDP_HEAD 256 /* XDP_PACKET_HEADROOM */

/* What the fuzzer need not look into: it is about the program. */
#define UNWATCHED __attribute__((no_sanitize("coverage")))

static __u8 *room_end; /* of the frame; the page behind it cannot be touched */
static int head_room, tail_room;
static __u64 fake_now;
static int redirected; /* to this interface, -1: to none */

static void failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

#define require(cond) ((cond) ? (void)0 : failed(__FILE__, __LINE__, #cond))

/* ---- maps ------------------------------------------------------------------------------------- */

/* Array maps are found by their address. What stands beyond n is not there. */
struct fake_map {
	void *map;
	void *base;
	size_t size; /* of an element */
	__u32 n;
};
/* A row of fake_maps(): the map, and the array that stands for it. */
#define MAP(name, of) {&name, of, sizeof(*(of)), sizeof(of) / sizeof(*(of))}

/* The value; who includes this may look at it, or find it where it is no array's. */
static void *fake_lookup(void *map, const void *key, void *value);
static const struct fake_map *fake_maps(int *n);

UNWATCHED void *bpf_map_lookup_elem(void *map, const void *key)
{
	int n;
	const struct fake_map *m = fake_maps(&n);

	for (int i = 0; i < n; i++) {
		__u32 at = *(const __u32 *)key;

		if (m[i].map == map)
			return fake_lookup(map, key, at < m[i].n ? (char *)m[i].base + m[i].size * at : NULL);
	}
	return fake_lookup(map, key, NULL);
}

/* ---- the frame -------------------------------------------------------------------------------- */

static __u8 *frame_begin(struct xdp_md *ctx)
{
	return (void *)(long)ctx->data;
}

static __u32 frame_len(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

static void room_make(void)
{
	size_t page = 4096;
	__u8 *room = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	require(room != MAP_FAILED && !mprotect(room + ROOM, page, PROT_NONE));
	room_end = room + ROOM;
}

static void room_place(struct xdp_md *ctx, int len)
{
	ctx->data = (__u32)(long)(room_end - len);
	ctx->data_end = (__u32)(long)room_end;
	memset(frame_begin(ctx) - BEFORE, PATTERN, BEFORE);
}

UNWATCHED static bool room_untouched(struct xdp_md *ctx)
{
	for (int i = 1; i <= BEFORE; i++)
		if (frame_begin(ctx)[-i] != PATTERN)
			return false;
	return true;
}

/* The frame becomes `len` bytes long, its end where the room ends. `shift`: how far its bytes move
 * towards the end of the frame; new ones are rubbish at the head, zero at the tail. */
static void relocate(struct xdp_md *ctx, int len, int shift)
{
	static __u8 copy[ROOM];
	int old = frame_len(ctx), from = shift < 0 ? -shift : 0, to = shift < 0 ? 0 : shift;
	int n = old - from < len - to ? old - from : len - to;

	require(room_untouched(ctx));
	memcpy(copy, frame_begin(ctx), old);
	room_place(ctx, len);
	memset(frame_begin(ctx), 0, len);
	memset(frame_begin(ctx), 0xa5, to);
	memcpy(frame_begin(ctx) + to, copy + from, n);
}

long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta)
{
	if (-delta > head_room || (int)frame_len(ctx) - delta < ETH_HLEN)
		return -1;
	head_room += delta;
	relocate(ctx, frame_len(ctx) - delta, -delta);
	return 0;
}

long bpf_xdp_adjust_tail(struct xdp_md *ctx, int delta)
{
	if (delta > tail_room || (int)frame_len(ctx) + delta < ETH_HLEN)
		return -1;
	tail_room -= delta;
	relocate(ctx, frame_len(ctx) + delta, 0);
	return 0;
}

__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx)
{
	return frame_len(ctx);
}

long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 off, void *to, __u32 len)
{
	require(len);
	if (off > 0xffff || len > 0xffff || off + len > frame_len(ctx))
		return -1;
	memcpy(to, frame_begin(ctx) + off, len);
	return 0;
}

long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 off, void *from, __u32 len)
{
	require(len);
	if (off > 0xffff || len > 0xffff || off + len > frame_len(ctx))
		return -1;
	memcpy(frame_begin(ctx) + off, from, len);
	return 0;
}

/* ---- other helpers ---------------------------------------------------------------------------- */

long bpf_csum_diff(__be32 *from, __u32 from_len, __be32 *to, __u32 to_len, __u32 seed)
{
	__u64 sum = seed;

	require(!from_len && to_len % 4 == 0 && to_len <= 512);
	for (__u32 i = 0; i < to_len / 4; i++)
		sum += to[i];
	while (sum >> 32)
		sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

__u64 bpf_ktime_get_coarse_ns(void)
{
	return fake_now;
}

__u64 bpf_ktime_get_ns(void)
{
	return fake_now;
}

long bpf_loop(__u32 n, void *step, void *arg, __u64 flags)
{
	__u32 i = 0;

	while (i < n && !((long (*)(__u32, void *))step)(i, arg))
		i++;
	return i;
}

__u64 bpf_jiffies64(void)
{
	return fake_now / 10000000;
}

__u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

__u32 bpf_get_prandom_u32(void)
{
	return 0x2545f491; /* the same in each run */
}

static long fake_fib(__u32 from, struct bpf_fib_lookup *f);

long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *f, int len, __u32 flags)
{
	__u32 from = ((struct xdp_md *)ctx)->ingress_ifindex;

	require(len == sizeof(*f) && !flags && f->ifindex == from);
	return fake_fib(from, f);
}

long bpf_redirect(__u32 ifindex, __u64 flags)
{
	require(!flags && redirected < 0);
	redirected = ifindex;
	return XDP_REDIRECT;
}

/* The program's constants: the kernel's loader writes them, too, before they are constant. */
static void fake_rodata(const struct weir_config *config)
{
	void *volatile to = (void *)&cfg;
	size_t page = 4096;
	__u8 *first = (__u8 *)((unsigned long)to & ~(page - 1));

	require(!mprotect(first, (__u8 *)to + sizeof(cfg) - first, PROT_READ | PROT_WRITE));
	memcpy(to, config, sizeof(*config));
}

#endif
