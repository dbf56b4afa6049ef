/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Latencies in the configuration: defaults, bounds, what is rounded, and what it costs. */
#include "config_text.h"
#include "weir/latency.h"

#define REST \
	"interfaces: [{name: eth0}]\nservices:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n"
#define WITH(keys) "latency: {" keys "}\n" REST

static void test_defaults(void)
{
	struct config *c;

	test_begin("without a word about it 32K flows are measured, every 4 ms, and none is slow");
	c = parse_good(REST);
	if (CHECK(c)) {
		CHECK_INT(c->flow_recs, 32768);
		CHECK_INT(c->rec_interval_ns, 4000000);
		CHECK_INT(c->rec_timeout_ns, 1000000000);
		CHECK(c->slow_ns == WEIR_NEVER);
	}
	config_free(c);
	test_end();

	test_begin("every key of latency is understood");
	c = parse_good(WITH("flows: 100000, interval: 20ms, timeout: 1m30s, slow: 250us"));
	if (CHECK(c)) {
		CHECK_INT(c->flow_recs, 131072);
		CHECK_INT(c->rec_interval_ns, 20000000);
		CHECK_INT(c->rec_timeout_ns, 90000000000);
		CHECK_INT(c->slow_ns, 250000);
	}
	config_free(c);
	test_end();
}

static void check_flows(const char *flows, __u32 want)
{
	struct config *c;
	char text[512];

	snprintf(text, sizeof(text), "latency: {flows: %s}\n" REST, flows);
	c = parse_good(text);
	if (CHECK(c))
		CHECK_INT(c->flow_recs, want);
	config_free(c);
}

static void test_flows(void)
{
	test_begin("latency.flows is rounded up to a power of two; 0 is none");
	check_flows("0", 0);
	check_flows("1024", 1024);
	check_flows("1K", 1024);
	check_flows("1025", 2048);
	check_flows("32K", 32768);
	check_flows("3M", 1 << 22);
	check_flows("4M", 1 << 22);
	check_flows("4194304", 1 << 22);
	test_end();
}

static void check_times(const char *keys, __u64 interval, __u64 timeout, __u64 slow)
{
	struct config *c;
	char text[512];

	snprintf(text, sizeof(text), "latency: {%s}\n" REST, keys);
	c = parse_good(text);
	if (CHECK(c)) {
		CHECK_INT(c->rec_interval_ns, interval);
		CHECK_INT(c->rec_timeout_ns, timeout);
		CHECK_INT(c->slow_ns, slow);
	}
	config_free(c);
}

static void test_times(void)
{
	test_begin("the shortest and longest times; an interval of 0 is each request");
	check_times("interval: 0, timeout: 10ms, slow: 100us", 0, 10000000, 100000);
	check_times("interval: 1ms, timeout: 10m, slow: 10m", 1000000, 600000000000, 600000000000);
	check_times("interval: 10s, slow: never", 10000000000, 1000000000, WEIR_NEVER);
	test_end();
}

#define FLOWS_WORDS " is not a number of flows from 1024 to 4M, as in 100000 or 32K, or 0 for no latencies\n"
static const struct fault_row rows[] = {
	{"too few flows", WITH("flows: 1023"), "w:1: latency.flows: '1023'" FLOWS_WORDS},
	{"too many flows", WITH("flows: 4194305"), "w:1: latency.flows: '4194305'" FLOWS_WORDS},
	{"flows in gigas", WITH("flows: 1G"), "w:1: latency.flows: '1G'" FLOWS_WORDS},
	{"flows in bytes", WITH("flows: 32KiB"), "w:1: latency.flows: '32KiB'" FLOWS_WORDS},
	{"negative flows", WITH("flows: -1"), "w:1: latency.flows: '-1'" FLOWS_WORDS},
	{"flows that are a word", WITH("flows: off"), "w:1: latency.flows: 'off'" FLOWS_WORDS},
	{"an interval that is none", WITH("interval: 4"),
	 "w:1: latency.interval: '4' is not a duration, as in 500ms, 90s or 1h30m\n"},
	{"too short an interval", WITH("interval: 999us"),
	 "w:1: latency.interval: '999us' is not from 1ms to 10s\n"},
	{"too long an interval", WITH("interval: 11s"),
	 "w:1: latency.interval: '11s' is not from 1ms to 10s\n"},
	{"no interval at all", WITH("interval: never"),
	 "w:1: latency.interval: 'never' is not from 1ms to 10s\n"},
	{"too short a timeout", WITH("timeout: 9ms"),
	 "w:1: latency.timeout: '9ms' is not from 10ms to 10m\n"},
	{"too long a timeout", WITH("timeout: 11m"), "w:1: latency.timeout: '11m' is not from 10ms to 10m\n"},
	{"a timeout that never comes", WITH("timeout: 0"),
	 "w:1: latency.timeout: '0' is not from 10ms to 10m\n"},
	{"slow at once", WITH("slow: 0"), "w:1: latency.slow: '0' is not from 100us to 10m\n"},
	{"slow too soon", WITH("slow: 99us"), "w:1: latency.slow: '99us' is not from 100us to 10m\n"},
	{"slow too late", WITH("slow: 1h"), "w:1: latency.slow: '1h' is not from 100us to 10m\n"},
	{"slow flows of none", WITH("flows: 0, slow: 1s"),
	 "w:1: latency.slow: there are no slow flows where none is measured: latency.flows is 0\n"},
	{"two mistakes", WITH("flows: 5, slow: 1d"),
	 "w:1: latency.flows: '5'" FLOWS_WORDS "w:1: latency.slow: '1d' is not from 100us to 10m\n"},
};

static void test_memory(void)
{
	struct config c = {.capacity = 1, .memory = 65536}, with_pools;
	struct config_memory m, with;
	size_t histogram = sizeof(struct weir_histogram);

	test_begin("memory: nothing without latencies; 128 bytes a flow, and histograms");
	config_memory(&c, 2, &m);
	CHECK_INT(m.latency, 0);
	c.flow_recs = 32768;
	config_memory(&c, 2, &with);
	CHECK_INT(with.latency, 32768 * 128 + 64 * 9 * 2 * histogram + histogram);
	CHECK_INT(with.total, m.total + with.latency);
	with_pools = c;
	with_pools.flow_buckets = 128;
	config_memory(&with_pools, 2, &with);
	CHECK_INT(with.latency, 32768 * 128 + (64 * 9 * 2 + 4096 * 2) * histogram);
	test_end();
}

int main(void)
{
	test_defaults();
	test_flows();
	test_times();
	FAULTS("latency", rows);
	test_memory();
	return test_done();
}
