/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Latencies from the control plane's side: histograms summed over CPUs, quantiles of them, and the records of
 * measured flows. See include/weir/latency.h for what the programs count.
 */
#ifndef WEIR_USER_LATENCY_H
#define WEIR_USER_LATENCY_H

#include <stdbool.h>

#include "flows.h"
#include "maps.h"
#include "weir/latency.h"

/* A path's name, as commands and metrics have it: "hit", "miss", "request", "request_acked", "connect_server",
 * "connect_client", "connect", "rtt_server", "rtt_client". */
const char *latency_path(unsigned path);
/* What it measures, a sentence for people. */
const char *latency_path_help(unsigned path);
/* Its number, or -1. */
int latency_path_named(const char *name);

/* Whether the loaded programs count latencies at all. */
bool latency_on(const struct maps *m);

/* Of a service's path, or of a backend (WEIR_BACKEND_REQUEST, _CONNECT), since load. 0 or -errno; -ENODATA: not
 * counted. */
int latency_of_service(const struct maps *m, unsigned svc, unsigned path, struct weir_histogram *out);
int latency_of_backend(const struct maps *m, unsigned backend, unsigned path, struct weir_histogram *out);

/* ---- arithmetic: no maps --------------------------------------------------------------------- */

__u64 latency_count(const struct weir_histogram *h);
/*
 * The q-quantile, 0 < q <= 1, in ns: of the value with rank ceil(q * count) the middle of its bucket, so wrong by
 * LATENCY_ERROR at most; of those below 2^10 ns half of that, above 2^36 ns 2^36. 0: there are no values.
 */
#define LATENCY_ERROR 0.07
__u64 latency_quantile(const struct weir_histogram *h, double q);
/* Adds b to a; a becomes what it has more than b (of the same counters, earlier). */
void latency_add(struct weir_histogram *a, const struct weir_histogram *b);
void latency_since(struct weir_histogram *a, const struct weir_histogram *earlier);

/* "850ns", "1.21ms", "12.3ms", "1.05s": three digits. Returns text. */
const char *latency_text(__u64 ns, char *text, size_t len);

/* ---- flow records ----------------------------------------------------------------------------- */

struct latency_flow {
	struct weir_flow_rec rec; /* a copy */
	struct flow_seen flow;	  /* its state WEIR_FLOW_SYN, _TCP, _UDP or _CLOSED; idle to a millisecond */
	__u64 age_ns;		  /* since its first packet, to a millisecond */
};
/*
 * Calls fn for each flow that is measured, until it returns non-zero, which is returned. Those that are over are
 * among them as long as flows.idle keeps them in the flow table.
 */
int latency_flows(const struct maps *m, int (*fn)(const struct latency_flow *f, void *arg), void *arg);
/* How many there are. */
__u64 latency_records(const struct maps *m);

#endif
