/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How metrics.c and metrics_traffic.c make the list: the table of all families, and words to add samples. */
#ifndef WEIR_METRICS_BUILD_H
#define WEIR_METRICS_BUILD_H

#include "metrics.h"

/* X(id, name, type, unit, help), in the order of writing. docs/metrics.md has the same, for people. */
#define METRIC_FAMILIES(X) \
	X(UP, "weir_up", GAUGE, "", "Whether Weir is loaded: 1 or 0.") \
	X(BUILD, "weir_build", INFO, "", "The version of weir, and of the ABI of its maps.") \
	X(LOADED_AT, "weir_loaded_timestamp_seconds", GAUGE, "seconds", \
	  "When it was loaded: counters start then.") \
	X(GENERATION, "weir_generation", GAUGE, "", "Loads and reloads so far.") \
	X(CONFIG_DRIFT, "weir_config_drift", GAUGE, "", \
	  "Services, pools and backends that commands changed, so that they differ from the configuration.") \
	X(IFACE, "weir_interface", INFO, "", "How the program runs on the interface: mode, dispatcher.") \
	X(IFACE_ATTACHED, "weir_interface_attached", GAUGE, "", \
	  "Whether the program is on the interface: 1 or 0.") \
	X(IFACE_SPEED, "weir_interface_speed_bytes", GAUGE, "bytes", "Speed of the link, bytes a second.") \
	X(IFACE_RX_BYTES, "weir_interface_receive_bytes", COUNTER, "bytes", \
	  "Bytes that the interface received, as its driver counts.") \
	X(IFACE_TX_BYTES, "weir_interface_transmit_bytes", COUNTER, "bytes", \
	  "Bytes that the interface sent, as its driver counts.") \
	X(IFACE_RX_PACKETS, "weir_interface_receive_packets", COUNTER, "", \
	  "Packets that the interface received, as its driver counts.") \
	X(IFACE_TX_PACKETS, "weir_interface_transmit_packets", COUNTER, "", \
	  "Packets that the interface sent, as its driver counts.") \
	X(LEASE_VALID, "weir_lease_valid", GAUGE, "", "Whether lookups may be answered: 1 or 0.") \
	X(LEASE_AGE, "weir_lease_age_seconds", GAUGE, "seconds", "Time since the agent last extended the lease.") \
	X(LEASE_LEFT, "weir_lease_remaining_seconds", GAUGE, "seconds", "Time until the lease ends.") \
	X(AGENT_UP, "weir_agent_up", GAUGE, "", "Whether the agent runs: it was seen within ten seconds.") \
	X(AGENT_SEEN, "weir_agent_last_seen_seconds", GAUGE, "seconds", "Time since the agent was last seen.") \
	X(AGENT_START, "weir_agent_start_timestamp_seconds", GAUGE, "seconds", "When the agent started.") \
	X(AGENT_RELOADS, "weir_agent_reloads", COUNTER, "", "Reloads by the agent, by result.") \
	X(AGENT_CHECKS, "weir_agent_checks", COUNTER, "", "Health checks by the agent, by result.") \
	X(AGENT_SLOW, "weir_agent_slow_flows", COUNTER, "", "Flows with a request slower than latency.slow.") \
	X(AGENT_REQUESTS, "weir_agent_http_requests", COUNTER, "", "HTTP requests to the agent.") \
	X(AGENT_ERRORS, "weir_agent_http_errors", COUNTER, "", \
	  "HTTP requests that the agent answered with an error.") \
	X(PACKETS, "weir_packets", COUNTER, "", "Packets, by the one reason that each left Weir with.") \
	X(BYTES, "weir_bytes", COUNTER, "bytes", "Bytes of packets, by the reason that these left Weir with.") \
	X(HITS, "weir_cache_hits", COUNTER, "", "Lookups answered from the hot set.") \
	X(MISSES, "weir_cache_misses", COUNTER, "", "Lookups that a warmer hot set would have answered.") \
	X(CACHE_ENTRIES, "weir_cache_entries", GAUGE, "", "Keys in the hot set.") \
	X(CACHE_CAPACITY, "weir_cache_capacity_entries", GAUGE, "", "Keys that the hot set has room for.") \
	X(CACHE_MEMORY, "weir_cache_memory_bytes", GAUGE, "bytes", "Memory for the slots of the hot set.") \
	X(CACHE_USED, "weir_cache_memory_used_bytes", GAUGE, "bytes", "Memory in the slots of keys.") \
	X(FILLS, "weir_fills", COUNTER, "", "Keys that the agent fetched for the hot set, by who asked and what became of it.") \
	X(FILLS_WAITING, "weir_fills_waiting", GAUGE, "", "Keys that wait to be fetched, or to be published.") \
	X(FILL_BYTES, "weir_fill_value_bytes", COUNTER, "bytes", "Bytes of values that the agent fetched.") \
	X(FILL_SWEPT, "weir_fill_swept", COUNTER, "", "Keys that the agent took out: dead for a minute, and not hot.") \
	X(MISS_SAMPLES, "weir_miss_samples", COUNTER, "", "Sampled misses that the agent read, or came too late for.") \
	X(PROMOTED, "weir_promotions", COUNTER, "", "Keys that promotion brought into the hot set.") \
	X(DEMOTED, "weir_demotions", COUNTER, "", "Keys that promotion took out again, by reason.") \
	X(REFUSED, "weir_promotion_refusals", COUNTER, "", \
	  "Keys that stayed out though they were asked for enough, by reason; denied ones by samples.") \
	X(PROMOTED_KEYS, "weir_promoted_keys", GAUGE, "", "Keys that promotion holds.") \
	X(SKETCH_SAMPLES, "weir_sketch_samples", COUNTER, "", "Sampled misses that were counted by key.") \
	X(SKETCH_KEYS, "weir_sketch_keys", GAUGE, "", "Keys whose misses are counted.") \
	X(SKETCH_LEAST, "weir_sketch_least", GAUGE, "", \
	  "The least counter of samples: a key that is not counted may have had as many; 0 while there is room.") \
	X(SKETCH_BYTES, "weir_sketch_bytes", GAUGE, "bytes", "Memory of these counters.") \
	X(POLICY_RUNS, "weir_policy_runs", COUNTER, "", "Runs of a warming policy, by result.") \
	X(POLICY_KEYS, "weir_policy_keys", COUNTER, "", "Keys of a warming policy's runs, by what became of them.") \
	X(POLICY_LAST, "weir_policy_last_run_timestamp_seconds", GAUGE, "seconds", \
	  "When the last run of a warming policy began.") \
	X(POLICY_TOOK, "weir_policy_last_run_seconds", GAUGE, "seconds", \
	  "How long the last run of a warming policy took.") \
	X(INVALIDATIONS, "weir_invalidations", COUNTER, "", \
	  "Invalidations from the origin's side, by the way they came, by level and by reason.") \
	X(BUS_UP, "weir_bus_up", GAUGE, "", "Whether the bus is connected: 1 or 0.") \
	X(BUS_LAG, "weir_bus_lag_seconds", GAUGE, "seconds", \
	  "Time since a moment up to which all entries of the bus have been applied.") \
	X(BUS_ENTRIES, "weir_bus_entries", COUNTER, "", "Entries of the bus, by what they hold.") \
	X(BUS_REPLAYS, "weir_bus_replays", COUNTER, "", "Times that missed entries of the bus were made up for.") \
	X(BUS_RESETS, "weir_bus_resets", COUNTER, "", \
	  "Times that entries of the bus were lost, so that all services were fenced.") \
	X(BUS_CONNECTS, "weir_bus_connections", COUNTER, "", "Connections to the bus, by result.") \
	X(FLOWS, "weir_flows", GAUGE, "", "Flows in the flow table, by state.") \
	X(FLOWS_CAPACITY, "weir_flows_capacity", GAUGE, "", "Flows that the flow table has places for.") \
	X(FLOW_DRIFT, "weir_flow_drift_connections", COUNTER, "", \
	  "Connections by which counts of active ones were wrong, found and corrected by recounts.") \
	X(B_ACTIVE, "weir_backend_active_connections", GAUGE, "", "Connections that count for its load.") \
	X(B_CAPACITY, "weir_backend_capacity", GAUGE, "", "Capacity of a backend, as configured.") \
	X(B_UP, "weir_backend_up", GAUGE, "", "0 when health checks found the backend down, otherwise 1.") \
	X(B_ADMIN, "weir_backend_admin", GAUGE, "", "1 for the state that it was put into, 0 for others.") \
	X(B_PACKETS, "weir_backend_packets", COUNTER, "", "Packets sent to a backend.") \
	X(B_BYTES, "weir_backend_bytes", COUNTER, "bytes", "Bytes of packets sent to a backend.") \
	X(B_CHECKS, "weir_backend_checks", COUNTER, "", "Health checks of a backend, by result.") \
	X(B_LATENCY, "weir_backend_latency_seconds", GAUGE, "seconds", \
	  "Smoothed latency of a backend, as the choice among equally loaded ones has it.") \
	X(B_REQUEST, "weir_backend_request_seconds", HISTOGRAM, "seconds", \
	  "Time from a request to the first byte of a backend's reply (DSR: to the client's acknowledgement).") \
	X(B_CONNECT, "weir_backend_connect_seconds", HISTOGRAM, "seconds", \
	  "Time from SYN to a backend's SYN-ACK (DSR: to the client's ACK).") \
	X(LATENCY, "weir_latency_seconds", HISTOGRAM, "seconds", "Latencies of a service, by what was measured.") \
	X(LOST, "weir_requests_lost", COUNTER, "", "Measured requests without a reply for latency.timeout.") \
	X(FAILED, "weir_requests_failed", COUNTER, "", "Measured requests that the server reset.") \
	X(MEASURED, "weir_measured_flows", GAUGE, "", "Flows whose latency is measured.") \
	X(MEASURED_CAPACITY, "weir_measured_flows_capacity", GAUGE, "", "Flows that can be measured at once.") \
	X(INTERVAL, "weir_latency_sample_interval_seconds", GAUGE, "seconds", \
	  "The least time between two samples of a flow.")

enum family_id {
#define METRIC_FAMILY_ID(id, ...) FAMILY_##id,
	METRIC_FAMILIES(METRIC_FAMILY_ID) FAMILY_COUNT
};

struct build {
	struct metrics *ms;
	struct dataplane *dp;
	struct weir_ctl *ctl;
	const struct metrics_agent *agent;
	__u64 now; /* CLOCK_MONOTONIC */
	int err;   /* the first error: what is added after it is not */
};

/* Text for a label: the list keeps it, bytes that cannot be printed as \xNN. */
const char *build_text(struct build *b, const char *text, size_t len);
/* A sample; its labels follow as names and values, then NULL. */
void build_add(struct build *b, enum family_id id, double value, ...) __attribute__((sentinel));
/* The same of a histogram, which is copied. */
void build_add_hist(struct build *b, enum family_id id, const struct weir_histogram *h, ...)
	__attribute__((sentinel));

struct agent_hot;
/* metrics_fill.c. */
void collect_fills(struct build *b, const struct agent_hot *hot);
/* metrics_promote.c; of an agent that is at work. */
void collect_promotion(struct build *b);
/* metrics_policy.c; as well. */
void collect_policies(struct build *b);
/* metrics_invalidate.c; the bus's of an agent only. */
void collect_invalidations(struct build *b);
void collect_bus(struct build *b);
/* Packets, hits, backends, flows, latencies: metrics_traffic.c. */
void collect_traffic(struct build *b);

#endif
