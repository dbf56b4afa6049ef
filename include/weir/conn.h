/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections to cached services: their clients' streams are followed, in order, so that no write over TCP goes
 * unseen. What of a stream has been read is told by `pos`, the sequence number of the first byte that belongs to no
 * command, nor to its data, so far: what ends before it needs no look (data, or sent again); what begins behind it
 * leaves a gap, and was harmless if `pos` has passed it once the gap is closed. Whoever cannot be followed any more
 * is LOST: each of its segments fences the service.
 */
#ifndef WEIR_CONN_H
#define WEIR_CONN_H

#include <linux/types.h>

#include "limits.h"

/* weir_conn.state */
#define WEIR_CONN_FREE	 0
#define WEIR_CONN_TEXT	 1 /* commands of text or meta; also before the first byte */
#define WEIR_CONN_BINARY 2
#define WEIR_CONN_SKIP	 3 /* in a line that reads only, and is longer than WEIR_CONN_LINE */
#define WEIR_CONN_LOST	 4
#define WEIR_CONN_CLOSED 5 /* FIN or RST was seen; what comes yet is LOST's */

/* weir_conn.flags */
#define WEIR_CONN_FIRST	  (1 << 0) /* no byte was read yet: the first one tells text from binary */
#define WEIR_CONN_HEARD	  (1 << 1) /* the server's segments are seen, and acknowledge what was */
#define WEIR_CONN_GAP	  (1 << 2) /* a segment is missing in front of `high` */
#define WEIR_CONN_AGAIN	  (1 << 3) /* a SYN came though the connection is open: `syn` */
#define WEIR_CONN_CROWDED (1 << 4) /* more writes than there are places in `pend`, or flush_all: `crowded` */
#define WEIR_CONN_PIPED	  (1 << 5) /* commands were sent before the reply to the one before */
#define WEIR_CONN_OVER	  (1 << 6) /* LOST, and ended */
#define WEIR_CONN_CROWDING (1 << 7) /* CROWDED by commands that end behind `mark`, too: `crowding` */

/* Units of time in here: CLOCK_MONOTONIC (coarse) >> that, of 134 ms. */
#define WEIR_CONN_TIME	  27
#define WEIR_CONN_IDLE	  2235 /* five minutes: another connection may have the place */

/* A word of `pend`: a stripe, and above it when it was last raised. */
#define WEIR_CONN_STRIPE  18
_Static_assert(WEIR_FENCE_STRIPES == 1 << WEIR_CONN_STRIPE, "a stripe fits");

/* Why a connection was lost, or the service fenced for one: elements of `track`. X(symbol, name, help) */
#define WEIR_TRACKS(X)                                                                                    \
	X(GAP, "gap", "a segment that was missing held commands, and so did those behind it")               \
	X(UNSEEN, "unseen", "the connection was open before Weir was loaded, or forgotten since")           \
	X(FULL, "full", "no place in the table of connections")                                             \
	X(COMMAND, "command", "a command that is not known, or TLS")                                        \
	X(LINE, "line", "a command longer than can be kept until it is whole")                              \
	X(MANY, "many", "more commands in a segment than are read")                                         \
	X(BUSY, "busy", "two CPUs had segments of the connection at the same time")                         \
	X(FLUSH, "flush", "flush_all")                                                                      \
	X(FRAGMENT, "fragment", "a fragment of IP, or behind headers that are not read")                    \
	X(RANGE, "range", "sequence numbers, or the server's acknowledgement, are not those of the stream")

#define WEIR_TRACK_ENUM(sym, name, help) WEIR_TRACK_##sym,
enum weir_track { WEIR_TRACKS(WEIR_TRACK_ENUM) WEIR_TRACK_COUNT };
#define WEIR_TRACK_MAX 16 /* places for each service */

struct weir_conn {
	__u32 tag;     /* of the hash of client and VIP; lowest bit 1; 0: free */
	__u32 busy;    /* a CPU works on it */
	__u32 missed;  /* a segment passed while another CPU did for too long */
	__u32 pos;
	__u32 floor;   /* what begins before it is not of this stream */
	__u32 high;    /* the highest end of any segment */
	__u32 syn;     /* where the stream begins that a SYN announced; with WEIR_CONN_AGAIN */
	__u32 seen;    /* when the last segment with payload, SYN, FIN or RST was */
	__u32 replied; /* when the server's last segment with payload was */
	__u32 crowded; /* when the first write without a place in `pend` was raised, as in `pend` */
	__u8 state;
	__u8 svc;
	__u8 flags;    /* WEIR_CONN_FIRST ... */
	__u8 cause;    /* WEIR_TRACK_*, where LOST */
	__u8 asked;    /* whether a command came since the server's last segment */
	__u8 first;    /* of `pend`, a ring, */
	__u8 npend;    /* and how many it has */
	__u8 old;      /* so many of the oldest end at `mark` or before it */
	__u16 saved;   /* bytes in `line`; `pos` counts them */
	__u16 pad;
	__u32 mark;    /* what `pos` was when a reply passed: a later one tells by it what the server has whole */
	__u32 flowing; /* since when the server's segments with payload follow each other closely */
	__u32 crowding; /* as `crowded`, for commands behind `mark` */
	__u32 pend[WEIR_CONN_PEND]; /* stripes of writes whose replies may not have passed yet */
	__u8 line[WEIR_CONN_LINE];
};
_Static_assert(sizeof(struct weir_conn) == 64 + 4 * WEIR_CONN_PEND + WEIR_CONN_LINE, "weir_conn");
_Static_assert(!(WEIR_CONN_PEND & (WEIR_CONN_PEND - 1)), "a ring");

#endif
