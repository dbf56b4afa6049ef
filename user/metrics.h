/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What monitoring gets: one list of metric families, made from the maps, which writers render as Prometheus text,
 * OpenMetrics, JSON, CloudWatch EMF or StatsD. The names are an interface: docs/metrics.md has them all.
 *
 * Labels are service, backend (with pool), policy, reason, interface, path: never flows, clients or keys. So the number of
 * series is bounded by the configuration.
 */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "dataplane.h"
#include "flows.h"
#include "weir/latency.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_INFO, METRIC_HISTOGRAM };

#define METRIC_LABELS_MAX 3

struct metric_label {
	const char *name, *value; /* the value is the list's, or lives for ever; printable ASCII */
};

struct metric_sample {
	struct metric_label labels[METRIC_LABELS_MAX];
	unsigned nlabels;
	double value;			   /* not of a histogram */
	const struct weir_histogram *hist; /* of one: owned by the list */
};

struct metric_family {
	const char *name; /* "weir_packets": without _total and _info, which writers add; unique */
	const char *help, *unit; /* unit: "seconds", "bytes", "" */
	enum metric_type type;
	bool halves;  /* a histogram's: text has two bounds an octave, not one */
	bool foreign; /* a counter's: of the kernel's, and not since load */
	struct metric_sample *samples;
	unsigned n, room;
};

/* Families without samples are left out by writers. */
struct metrics {
	struct metric_family *families;
	unsigned n;
	char **strings; /* labels' values */
	unsigned nstrings, strings_room;
	struct weir_histogram **hists;
	unsigned nhists, hists_room;
};

/* What the agent knows of itself, beside the maps; NULL: nobody runs here, as `weir metrics` sees it. */
struct metrics_agent {
	double up_since;	 /* seconds since 1970 */
	__u64 checks_ok, checks_failed, reloads, reload_failures;
	__u64 slow_flows;	 /* flows above the threshold, logged or not */
	__u64 http_requests, http_errors;
	const struct agent_hot *hot;  /* NULL: it has not begun */
	const struct flows_swept *flows; /* what its last whole sweep found; NULL: the table is counted now */
};

/*
 * dp NULL: nothing is loaded; then weir_up is 0, and there is little else. 0 or -errno. Takes some milliseconds;
 * with the largest tables 0.2 s: a hot set of millions is not counted but estimated, to 0.2%.
 */
int metrics_collect(struct metrics **out, struct dataplane *dp, const struct metrics_agent *agent);
void metrics_free(struct metrics *ms);

/* "weir_packets_total", "weir_build_info"; a static buffer. */
const char *metrics_full_name(const struct metric_family *f);
/* A number as all texts have it: "12", "0.001024", "+Inf": the shortest that reads back the same. */
const char *metrics_number(double value, char text[32]);

/* ---- writers: 0 or -errno of the stream ------------------------------------------------------ */

/* Prometheus text 0.0.4, or OpenMetrics 1.0.0 with `# EOF`. */
int metrics_prometheus(FILE *f, const struct metrics *ms, bool openmetrics);
int metrics_json(FILE *f, const struct metrics *ms);
/* The same document without "version" and "kind", for out_document("metrics", ..). NULL: no memory. */
json_t *metrics_document(const struct metrics *ms);
/*
 * These two are for receivers that add up what they are sent: counters and histograms are what was added since
 * `before` (NULL: since load; also when there was a load in between).
 * CloudWatch embedded metric format: a JSON object on each line.
 */
int metrics_emf(FILE *f, const struct metrics *ms, const struct metrics *before, const char *name_space,
		__u64 now_ms);
/* StatsD lines, in datagrams of at most `mtu` bytes that are separated by an empty line. */
int metrics_statsd(FILE *f, const struct metrics *ms, const struct metrics *before, const char *prefix,
		   unsigned mtu);

/* ---- differences, for writers ---------------------------------------------------------------- */

/*
 * What the sample of ms' family f has more than the same one in `before`; if less, it has begun anew. All of it
 * when `before` is NULL or of another load, whose counters are others. Of a foreign counter that was not there
 * before: nothing, as most of it is older.
 */
double metrics_added(const struct metrics *ms, const struct metrics *before, const struct metric_family *f,
		     unsigned place);
void metrics_added_hist(const struct metrics *ms, const struct metrics *before, const struct metric_family *f,
			unsigned place, struct weir_histogram *out);

/* The quantiles that writers give: "p50", 0.5 .. */
struct metrics_quantile {
	const char *name;
	double q;
};
#define METRICS_QUANTILES 4
extern const struct metrics_quantile metrics_quantiles[METRICS_QUANTILES];

/*
 * The families (Prometheus names with their suffixes; s = service, p = pool, b = backend, i = interface):
 *
 *   weir_up                                      gauge: 1 loaded
 *   weir_build_info{version,abi}                 info
 *   weir_loaded_timestamp_seconds, weir_generation
 *   weir_interface_info{i,mode,dispatcher}       info; mode native|generic, dispatcher yes|no
 *   weir_interface_attached{i}                   1: our program is there; absent: cannot be told
 *   weir_interface_speed_bytes{i}                of the link, bytes a second; absent when unknown
 *   weir_interface_receive_bytes_total{i}, weir_interface_transmit_bytes_total{i}, .._packets_total{i}
 *                                                of the driver: since the interface was made, not since load
 *   weir_packets_total{s,reason}, weir_bytes_total{s,reason}    all reasons that were ever counted; s="" of none
 *   weir_cache_hits_total{s}, weir_cache_misses_total{s}
 *   weir_cache_entries, weir_cache_capacity_entries, weir_cache_memory_bytes, weir_cache_memory_used_bytes
 *   weir_lease_age_seconds, weir_lease_remaining_seconds (absent: never ends), weir_lease_valid
 *   weir_agent_up, weir_agent_last_seen_seconds
 *   weir_fills_total{why,result}, weir_fills_waiting, weir_fill_value_bytes_total, weir_fill_swept_total
 *                                                with an agent
 *   weir_miss_samples_total{result}, weir_promotions_total{s}, weir_demotions_total{s,reason},
 *   weir_promotion_refusals_total{s,reason}, weir_promoted_keys{s}, weir_sketch_samples_total{s}, weir_sketch_keys{s},
 *   weir_sketch_least{s}, weir_sketch_bytes{s}    with an agent, and of services with `promote` only
 *   weir_policy_runs_total{policy,result} (ok, failed), weir_policy_keys_total{policy,result},
 *   weir_policy_last_run_timestamp_seconds{policy}, weir_policy_last_run_seconds{policy}    with an agent
 *   weir_invalidations_total{source,level,reason}
 *   weir_bus_up, weir_bus_lag_seconds, weir_bus_entries_total{kind}, weir_bus_replays_total,
 *   weir_bus_resets_total, weir_bus_connections_total{result}     with an agent and a bus
 *   weir_flows{state}, weir_flows_capacity       the table; free places are no state
 *   weir_flow_drift_connections_total            corrected by recounts
 *   weir_config_drift                            backends, pools and services changed by hand
 *   weir_backend_active_connections{p,b}, weir_backend_capacity{p,b}, weir_backend_up{p,b},
 *   weir_backend_admin{p,b,state}                1 for the state it is in, 0 for others: up, drain, disabled
 *   weir_backend_packets_total{p,b}, weir_backend_bytes_total{p,b}
 *   weir_backend_checks_total{p,b,result}, weir_backend_latency_seconds{p,b} (smoothed, what the score has)
 *   weir_backend_request_seconds{p,b}, weir_backend_connect_seconds{p,b}          histograms
 *   weir_latency_seconds{s,path}                 histogram; le: 2^10 ns, 2^11 ns .. 2^36 ns, in seconds
 *   weir_requests_lost_total{s}, weir_requests_failed_total{s}    see struct weir_histogram
 *   weir_measured_flows, weir_measured_flows_capacity, weir_latency_sample_interval_seconds
 *   weir_agent_start_timestamp_seconds, weir_agent_reloads_total{result}, weir_agent_checks_total{result} (ok,
 *   failed), weir_agent_slow_flows_total,
 *   weir_agent_http_requests_total, weir_agent_http_errors_total   with an agent only
 */

#endif
