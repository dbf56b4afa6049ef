/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ABI of latency counting: a record for each measured flow, histograms by service, path and backend. Times
 * are CLOCK_MONOTONIC. What is waited for stands in the flow's record, so that no map of its own is needed.
 */
#ifndef WEIR_LATENCY_H
#define WEIR_LATENCY_H

#include <linux/types.h>

#include "limits.h"

/* ---- what is measured ------------------------------------------------------------------------- */

/* Paths: a histogram each, of every service. */
#define WEIR_LAT_HIT		0 /* answered here: from the packet's arrival in the program to the answer */
#define WEIR_LAT_MISS		1 /* a cached service's request over UDP, to the reply with its request id */
#define WEIR_LAT_REQUEST	2 /* any other: the client's first byte after a reply, to the first byte of the reply */
#define WEIR_LAT_REQUEST_ACKED	3 /* DSR: .. to the client's acknowledgement of that, its network included */
#define WEIR_LAT_CONNECT_SERVER 4 /* SYN to SYN-ACK */
#define WEIR_LAT_CONNECT_CLIENT 5 /* SYN-ACK to ACK: a round trip to the client */
#define WEIR_LAT_CONNECT	6 /* DSR: SYN to ACK, both halves */
#define WEIR_LAT_RTT_SERVER	7 /* TCP time stamps: the client's, till the server echoes it */
#define WEIR_LAT_RTT_CLIENT	8 /* the server's, till the client does */
#define WEIR_LAT_PATHS		9

/* Of every backend: requests (whichever of the three), and connects (WEIR_LAT_CONNECT or _SERVER). */
#define WEIR_BACKEND_REQUEST 0
#define WEIR_BACKEND_CONNECT 1
#define WEIR_BACKEND_PATHS   2

/* A CPU begins no more samples in a tick of its coarse clock, unless each request is measured. */
#define WEIR_LAT_TICK 64

/* ---- histograms ------------------------------------------------------------------------------- */

/*
 * Log-linear: eight buckets of equal width in each octave from 2^10 ns (1.02 us) to 2^36 ns (68.7 s), one below
 * and one above. A value lies within 12.5% of its bucket's lower bound; who takes the middle of a bucket is
 * wrong by 6.25% at most.
 */
#define WEIR_LAT_FIRST	 10 /* log2 of the lowest bound, ns */
#define WEIR_LAT_LAST	 36 /* of the highest */
#define WEIR_LAT_BUCKETS (2 + 8 * (WEIR_LAT_LAST - WEIR_LAT_FIRST))

/*
 * latency: per-CPU array, element service * WEIR_LAT_PATHS + path. backend_latency: array (all CPUs, atomic),
 * element backend * WEIR_BACKEND_PATHS + WEIR_BACKEND_*.
 */
struct weir_histogram {
	__u64 sum_ns;
	__u64 lost;   /* requests without a reply for latency.timeout, when the next one was measured */
	__u64 failed; /* the server's reset came instead of a reply; only where its packets are seen */
	__u64 pad;
	__u64 n[WEIR_LAT_BUCKETS];
};
_Static_assert(sizeof(struct weir_histogram) == 32 + 8 * WEIR_LAT_BUCKETS, "weir_histogram");

/* log2, rounded down; x > 0. Without branches and loops, which the verifier would follow. */
static inline __attribute__((always_inline)) __u32 weir_log2(__u64 x)
{
	__u32 r = (x > 0xffffffff) << 5, s;

	x >>= r;
	s = (x > 0xffff) << 4;
	x >>= s;
	r |= s;
	s = (x > 0xff) << 3;
	x >>= s;
	r |= s;
	s = (x > 0xf) << 2;
	x >>= s;
	r |= s;
	s = (x > 3) << 1;
	x >>= s;
	r |= s;
	return r | (x >> 1 & 1);
}

/* The bucket of a value, 0 .. WEIR_LAT_BUCKETS - 1. */
static inline __attribute__((always_inline)) __u32 weir_lat_bucket(__u64 ns)
{
	__u32 octave;

	if (ns < 1ULL << WEIR_LAT_FIRST)
		return 0;
	if (ns >= 1ULL << WEIR_LAT_LAST)
		return WEIR_LAT_BUCKETS - 1;
	octave = weir_log2(ns);
	return 1 + 8 * (octave - WEIR_LAT_FIRST) + (ns >> (octave - 3) & 7);
}

/* A bucket's lowest value, ns. (That of WEIR_LAT_BUCKETS would be infinite.) */
static inline __u64 weir_lat_bound(__u32 bucket)
{
	return bucket ? (8ULL + (bucket - 1) % 8) << (WEIR_LAT_FIRST - 3 + (bucket - 1) / 8) : 0;
}

/* ---- flow records ----------------------------------------------------------------------------- */

/*
 * flow_recs: array, element (hash >> 20) & mask. A flow whose element is another flow's is not measured: a
 * record is taken over when its flow is over or has been idle for WEIR_REC_IDLE. Written by the programs
 * without locks: a flow's packets come by one queue as a rule; where they do not (or by both directions at once)
 * a count can be lost, and a sample be missing, never wrong: who takes sent_ns does so by exchange.
 */
#define WEIR_REC_TIME 20  /* small times are in units of 2^20 ns, 1.05 ms; they wrap after 52 days */
#define WEIR_REC_IDLE 4096 /* of these: 4.3 s */

#define WEIR_REC_OPEN	1 /* state: a connection, or UDP */
#define WEIR_REC_SYN	2 /* the client's SYN was seen */
#define WEIR_REC_SYNACK 3 /* and the server's */
#define WEIR_REC_OVER	4 /* FIN or RST */

#define WEIR_REC_AGAIN	(1 << 0) /* the SYN was sent again: which one is answered cannot be told (Karn) */
#define WEIR_REC_ONEWAY (1 << 1) /* only the client's packets are seen (DSR) */
#define WEIR_REC_LOOK_C (1 << 2) /* the client's next packets are looked at closely: one may end a sample */
#define WEIR_REC_LOOK_S (1 << 3) /* the server's are */

#define WEIR_REC_LOOKING 1 /* echo_ns: the first packet with a later time stamp is looked for */

/* Of one kind of latency of the flow, in microseconds. */
struct weir_rec_lat {
	__u32 latest;
	__u32 min;    /* 0: none yet */
	__u32 smooth; /* an eighth of the difference each time (RFC 6298) */
	__u32 n;
};
_Static_assert(sizeof(struct weir_rec_lat) == 16, "weir_rec_lat");

struct weir_flow_rec {
	__u64 hash;	/* of the flow; 0: free */
	__u64 info;	/* who: see struct weir_flow_bucket */
	__u64 packets;	/* of the client */
	__u64 bytes;	/* of its IP packets */
	__u64 sent_ns;	/* a request or SYN waits for its answer since then; 0: none does */
	__u32 match;	/* TCP: the first byte of the answer, a sequence number; a cached service's UDP: request id */
	__u32 seen;	/* last packet, in WEIR_REC_TIME */
	__u32 next;	/* no sample is begun before, in WEIR_REC_TIME */
	__u16 backend;	/* WEIR_BACKEND_NONE: this host */
	__u8 state;	/* WEIR_REC_* */
	__u8 flags;
	__u32 first;	/* first packet, in WEIR_REC_TIME */
	__u32 connect_us; /* the server's half, or with ONEWAY both; 0: not seen */
	/* the second line */
	__u64 echo_ns[2]; /* [0] the client's, [1] the server's time stamp waits for its echo since then; 0: none */
	__u32 echo[2];	/* the time stamp last taken */
	struct weir_rec_lat request;
	__u32 rtt_min[2], rtt_smooth[2]; /* to the server [0], to the client [1]; microseconds, 0: none yet */
	__u32 seq;	    /* TCP: where the request that waits began */
	__u16 lost, failed; /* as in struct weir_histogram; 65,535: or more */
};
_Static_assert(sizeof(struct weir_flow_rec) == 128, "weir_flow_rec");

#endif
