/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the flood's programs and the program that loads them share. */
#ifndef WEIR_BENCH_FLOOD_H
#define WEIR_BENCH_FLOOD_H

#include <linux/types.h>

#define FLOOD_FRAME_MAX 128
#define FLOOD_EXCESS    1  /* bytes that flood_send is handed in excess of the frame, and cuts off */
#define FLOOD_BURST     16 /* requests at once when paced, as interrupt moderation makes them */

/* Constant for a target: set before load. */
struct flood_config {
	__u32 ifindex;  /* where requests go out and replies come in */
	__u32 len;      /* of the request's frame */
	__u32 num_at;   /* where the number of the key stands in it */
	__u32 num_mask; /* numbers are 0 to this, drawn at random */
	__u16 port;     /* the server's, in host order */
	__u8 pad[6];
	__u8 frame[FLOOD_FRAME_MAX];
};

struct flood_counts {
	__u64 sent;
	__u64 answered; /* replies with a value */
	__u64 other;    /* any other datagram of the server's port */
};

#endif
