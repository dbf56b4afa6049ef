/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the benchmark's driver program and the program that runs it share. */
#ifndef WEIR_BENCH_DRIVER_H
#define WEIR_BENCH_DRIVER_H

#include <linux/types.h>

#define BENCH_FRAME_MAX 512 /* bytes of a request's frame, a power of two */
#define BENCH_CPUS      128
#define BENCH_REPLY_DATA 16 /* bytes of data in the frames that take turns */

enum bench_slot { BENCH_EMPTY, BENCH_SUBJECT, BENCH_SLOTS };

/* One CPU's state: reset before each run, written by the driver during it. */
struct bench_state {
	__u64 home;  /* where the packet began in the first repeat */
	__u64 begin; /* where the last repeat left it */
	__u64 end;
	__u64 random;   /* state of the number generator */
	__u64 drained;  /* counts repeats */
	__u64 errors;   /* repeats whose packet could not be restored */
	__u32 slot;     /* enum bench_slot */
	__u32 len;      /* of the frame */
	__u32 num_at;   /* where the number stands in the frame; 0: none */
	__u32 num_mask; /* numbers are 0 to this */
	__u32 flow_at;	 /* where the source's last four bytes stand, instead; 0: not changed */
	__u32 check_at;	 /* IPv4: where the header's checksum stands */
	__u32 check_sum; /* of that header without the source, as 16-bit words */
	__u32 next;	 /* not 0: numbers are not drawn, but follow each other from here */
	__u32 ack_at;	 /* where the frame's TCP acknowledgement stands; 0: not changed */
	__u32 reply_len; /* of the frame that takes turns with this one; 0: none does */
	__u32 seq_at;	 /* and where its sequence number stands */
	__u32 seq;	 /* what both are: of each pair that much more */
	__u32 turn;	 /* odd: it is the reply's */
	__u32 next_at;	 /* where the frame's own sequence number stands; 0: not changed */
	__u8 frame[BENCH_FRAME_MAX];
	__u8 reply[BENCH_FRAME_MAX];
	__u32 next_seq;	 /* what it is: for each packet through the subject that much more, */
	__u32 next_step; /* as its payload is long */
	__u64 pad[2];
};
_Static_assert(sizeof(struct bench_state) % 64 == 0, "bench_state");

/* A number as eight letters `a` to `p`, the lowest nibble first. */
static inline __attribute__((always_inline)) __u64 bench_letters(__u32 n)
{
	__u64 x = n;

	x = (x | x << 16) & 0x0000ffff0000ffffULL;
	x = (x | x << 8) & 0x00ff00ff00ff00ffULL;
	x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fULL;
	return x + 0x6161616161616161ULL;
}

/* xorshift64 (Marsaglia): never zero when started with another number. */
static inline __attribute__((always_inline)) __u64 bench_random(__u64 x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

#endif
