/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the commands say of latencies, in words and in JSON. */
#ifndef WEIR_LATENCY_OUT_H
#define WEIR_LATENCY_OUT_H

#include "latency.h"
#include "session.h"

/* Fails where latencies are not measured: 0, or the exit status after it was told. */
int latency_must_be_on(const struct session *s);

/* "sampled: each flow at most every 4ms; ..." and what quantiles are worth; a line each. */
void print_sampling(const struct session *s);
json_t *json_sampling(const struct session *s);

/* latency_text() into a static ring; "-" of 0. */
const char *human_latency(__u64 ns);
/* count, p50_seconds .. p999_seconds, mean_seconds (null: no values), lost, failed. */
json_t *json_histogram(const struct weir_histogram *h);
/* Its buckets that are not empty: [[low, high, count], ..], seconds; high of the last is null. */
json_t *json_buckets(const struct weir_histogram *h);
/* The mean in ns; 0: no values. */
__u64 latency_mean(const struct weir_histogram *h);

#endif
