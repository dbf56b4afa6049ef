/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Latencies in the configuration: how many flows are measured, how often, and which are slow. */
#include <string.h>

#include "config_build.h"

#define RECS_DFLT (1 << 15)
#define RECS_MIN  (1 << 10)

const cyaml_schema_field_t latency_fields[] = {
	TEXT(raw_latency, flows, OPTIONAL),
	TEXT(raw_latency, interval, OPTIONAL),
	TEXT(raw_latency, timeout, OPTIONAL),
	TEXT(raw_latency, slow, OPTIONAL),
	CYAML_FIELD_END,
};

static __u32 build_recs(struct source *s, const char *text)
{
	if (text && !strcmp(text, "0"))
		return 0;
	return build_flow_count(s, "latency.flows", text, RECS_MIN, WEIR_RECS_MAX, RECS_DFLT,
				"flows from 1024 to 4M, as in 100000 or 32K, or 0 for no latencies");
}

/* 0 is a sample of each request: to parse_duration() it is never. */
static __u64 build_interval(struct source *s, const char *text)
{
	return text && !strcmp(text, "0") ? 0 : build_time(s, "latency.interval", text, "1ms", "10s", "4ms");
}

static __u64 build_slow(struct source *s, const char *text)
{
	return !text || !strcmp(text, "never") ? WEIR_NEVER
					       : build_time(s, "latency.slow", text, "100us", "10m", "1s");
}

void build_latency(struct source *s, const struct raw *raw, struct config *c)
{
	static const struct raw_latency no_latency;
	const struct raw_latency *latency = raw->latency ? raw->latency : &no_latency;

	c->flow_recs = build_recs(s, latency->flows);
	c->rec_interval_ns = build_interval(s, latency->interval);
	c->rec_timeout_ns = build_time(s, "latency.timeout", latency->timeout, "10ms", "10m", "1s");
	c->slow_ns = build_slow(s, latency->slow);
	if (!c->flow_recs && c->slow_ns != WEIR_NEVER)
		fault(s, "latency.slow",
		      "there are no slow flows where none is measured: latency.flows is 0");
}
