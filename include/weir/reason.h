/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a packet left Weir the way it did. Each packet ends with exactly one reason; the reason alone
 * decides the action, and is what `weir stats`, the metrics and the tests name.
 *
 * Numbers are ABI: append, never reorder. X(symbol, name, action, class, help).
 *   action  what the exit does with the frame: PASS, TX, DROP or ABORTED.
 *   class   what it counts as: NONE, HIT, MISS (a lookup that a warmer hot set would have answered),
 *           READ (a read that Weir leaves to the origin), WRITE (bumped a fence), REFUSED.
 */
#ifndef WEIR_REASON_H
#define WEIR_REASON_H

#define WEIR_REASONS(X)                                                                                  \
	X(OTHER, "other", PASS, NONE, "not addressed to a service")                                      \
	X(MALFORMED, "malformed", PASS, NONE, "a header contradicts itself or the frame")                \
	X(FRAGMENT, "fragment", PASS, WRITE, "an IP fragment to a service; fences the service")          \
	X(OPTIONS, "options", PASS, READ, "a read with IP options or IPv6 extension headers")            \
	X(TCP, "tcp", PASS, NONE, "TCP to a service; passes untouched")                                 \
	X(STRANGER_PASS, "stranger_pass", PASS, REFUSED, "not in clients: passed to the origin")         \
	X(STRANGER_DROP, "stranger_drop", DROP, REFUSED, "not in clients: dropped")                      \
	X(BAD_SOURCE, "bad_source", PASS, REFUSED, "a source that must never be answered")               \
	X(BAD_FRAME, "bad_frame", PASS, NONE, "memcached frame header short, or not one datagram")       \
	X(BAD_REQUEST, "bad_request", PASS, NONE, "a request that memcached itself refuses")             \
	X(READ_OTHER, "read_other", PASS, READ, "a read-only command that is not a lookup")              \
	X(MULTI_KEY, "multi_key", PASS, READ, "more than one key in a get")                              \
	X(FLAG, "flag", PASS, READ, "a flag that only the origin can answer")                            \
	X(WRITE, "write", PASS, WRITE, "a write to one key; fences the key")                             \
	X(WRITE_ALL, "write_all", PASS, WRITE, "flush_all; fences the service")                          \
	X(UNKNOWN, "unknown", PASS, WRITE, "not understood, could be a write; fences the service")       \
	X(HIT, "hit", TX, HIT, "answered from the hot set")                                              \
	X(MISS, "miss", PASS, MISS, "key not in the hot set")                                            \
	X(EXPIRED, "expired", PASS, MISS, "the hot copy's TTL is over")                                  \
	X(FENCED, "fenced", PASS, MISS, "the hot copy is older than a write")                            \
	X(LEASE_OVER, "lease_over", PASS, MISS, "the control plane's lease is over: not answering")      \
	X(CAS_UNKNOWN, "cas_unknown", PASS, MISS, "the reply carries a CAS that the list did not give")  \
	X(INEXACT, "inexact", PASS, MISS, "only the origin knows the exact reply")                       \
	X(TOO_LONG, "too_long", PASS, MISS, "the reply exceeds one datagram or the MTU")                 \
	X(NO_ROOM, "no_room", PASS, MISS, "the frame cannot grow to hold the reply")                     \
	X(ABORTED, "aborted", ABORTED, NONE, "internal: a half-written frame, never sent")               \
	/* seen on the way out, by the program on tc egress */                                           \
	X(REPLY, "reply", PASS, NONE, "egress: a reply of the origin")                                   \
	X(REPLY_WRITE, "reply_write", PASS, NONE, "egress: the reply to a write; fences the key again")  \
	X(REPLY_LOST, "reply_lost", PASS, NONE, "egress: perhaps a write's reply; fences the service") \
	/* appended later */                                                                             \
	X(OTHER_HOST, "other_host", PASS, REFUSED, "a lookup in a frame to another MAC address")         \
	/* steering; TX also stands for another interface */                                             \
	X(STEERED, "steered", TX, NONE, "sent to a backend")                                             \
	X(ICMP_ERROR, "icmp_error", TX, NONE, "an ICMP error about a flow: sent to its backend")         \
	X(TRANSLATED, "translated", TX, NONE, "a backend's reply: sent to the client as the service's")  \
	X(NO_BACKEND, "no_backend", DROP, NONE, "no backend is left in the pool")                        \
	X(RESET, "reset", TX, NONE, "answered with a TCP reset: the backend is gone, or none is left")   \
	X(NO_ROUTE, "no_route", DROP, NONE, "the backend's next hop is not known")                       \
	X(TTL, "ttl", TX, NONE, "answered: TTL or hop limit used up")                                    \
	X(TOO_BIG, "too_big", TX, NONE, "answered: the way to the backend has a smaller MTU")            \
	X(ICMP_LIMIT, "icmp_limit", DROP, NONE, "not answered: too many ICMP errors or resets")          \
	X(FRAGMENT_DROP, "fragment_drop", DROP, NONE, "a fragment whose first was not seen, or none are taken") \
	/* TCP to a cached service, followed: see conn.h */                                                \
	X(TCP_WRITE, "tcp_write", PASS, WRITE, "a TCP segment with writes to keys; fences them")         \
	X(TCP_WRITE_ALL, "tcp_write_all", PASS, WRITE, "TCP: flush_all; fences the service")             \
	X(TCP_UNSURE, "tcp_unsure", PASS, WRITE, "TCP: might write, and is not understood; fences the service")

#define WEIR_REASON_ENUM(sym, name, action, class, help) WEIR_R_##sym,
enum weir_reason {
	WEIR_NEXT = -1, /* no verdict yet: go on to the next stage */
	WEIR_REASONS(WEIR_REASON_ENUM) WEIR_R_COUNT
};
#define WEIR_REASON_MAX 64 /* places in the counter map for each service */

enum weir_action { WEIR_ACT_PASS, WEIR_ACT_TX, WEIR_ACT_DROP, WEIR_ACT_ABORTED };
enum weir_class {
	WEIR_CLS_NONE,
	WEIR_CLS_HIT,
	WEIR_CLS_MISS,
	WEIR_CLS_READ,
	WEIR_CLS_WRITE,
	WEIR_CLS_REFUSED
};

#endif
