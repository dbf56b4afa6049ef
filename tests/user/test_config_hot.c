/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How the agent keeps hot copies, in the configuration: replicas of an origin, refreshing. */
#include "config_text.h"

#define REST(keys) \
	"interfaces: [{name: eth0}]\nservices:\n" \
	"- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1], " keys "}\n"
#define ORIGIN "origin: '127.0.0.1:1'"

static void check_refresh(const char *text, bool want)
{
	struct config *c = parse_good(text);

	if (CHECK(c))
		CHECK_INT(c->services[0].refresh, want);
	config_free(c);
}

static void test_good(void)
{
	struct config *c;

	test_begin("an origin's copies are refreshed, unless the file says no, or hits are not counted");
	check_refresh(REST("ttl: 1m"), false);
	check_refresh(REST(ORIGIN), true);
	check_refresh(REST(ORIGIN ", refresh: true"), true);
	check_refresh(REST(ORIGIN ", refresh: false"), false);
	check_refresh("cache: {hit_counters: false}\n" REST(ORIGIN), false);
	test_end();

	test_begin("replicas, in their order");
	c = parse_good(REST(ORIGIN ", replicas: ['10.0.0.2:11211', '[fd00::1]:2', '127.0.0.1:2']"));
	if (CHECK(c)) {
		CHECK_INT(c->services[0].nreplicas, 3);
		CHECK_STR(c->services[0].replicas[0], "10.0.0.2:11211");
		CHECK_STR(c->services[0].replicas[1], "[fd00::1]:2");
		CHECK_STR(c->services[0].replicas[2], "127.0.0.1:2");
	}
	config_free(c);
	test_end();
}

static const struct fault_row rows[] = {
	{ "replicas of nothing", REST("replicas: ['10.0.0.2:1']"),
	  "w:3: services[0].replicas: are those of an origin, and the service has none\n" },
	{ "a replica that is no endpoint", REST(ORIGIN ", replicas: ['10.0.0.2']"),
	  "w:3: services[0].replicas[0]: '10.0.0.2' is not ADDRESS:PORT, as in 127.0.0.1:11211 or [::1]:11211\n" },
	{ "a replica that is everybody", REST(ORIGIN ", replicas: ['0.0.0.0:1']"),
	  "w:3: services[0].replicas[0]: '0.0.0.0:1' stands for all addresses: name one\n" },
	{ "the origin itself", REST(ORIGIN ", replicas: ['10.0.0.2:1', '127.0.0.1:1']"),
	  "w:3: services[0].replicas[1]: '127.0.0.1:1' is listed twice, or the origin\n" },
	{ "twice the same, written differently", REST(ORIGIN ", replicas: ['[fd00::1]:2', '[fd00:0::1]:2']"),
	  "w:3: services[0].replicas[1]: '[fd00:0::1]:2' is listed twice, or the origin\n" },
	{ "a refresh from nowhere", REST("refresh: true"),
	  "w:3: services[0].refresh: is from the origin, and the service has none\n" },
	{ "a refresh of what is not known to be hot",
	  "cache: {hit_counters: false}\n" REST(ORIGIN ", refresh: true"),
	  "w:4: services[0].refresh: is for copies with hits, and cache.hit_counters is false\n" },
	{ "neither yes nor no", REST(ORIGIN ", refresh: maybe"),
	  "w:3: services[0].refresh: 'maybe' is not one of false, true\n" },
	{ "a service without a cache",
	  "interfaces: [{name: eth0}]\npools: [{name: p, backends: [{name: b, address: 10.0.0.9}]}]\nservices:\n"
	  "- {name: a, vips: ['192.0.2.1:1'], pool: p, refresh: true, replicas: ['10.0.0.2:1']}\n",
	  "w:4: services[0].replicas: is of a cache, and this service has none: cache: true gives it one\n"
	  "w:4: services[0].refresh: is of a cache, and this service has none: cache: true gives it one\n" },
};

int main(void)
{
	test_good();
	FAULTS("keeping", rows);
	return test_done();
}
