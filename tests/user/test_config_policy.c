/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Warming policies in the configuration. */
#include <arpa/inet.h>

#include "config_text.h"

#define HEAD "interfaces: [{name: eth0}]\ncache: {sample: 1}\nbus: {redis: '10.0.0.5:6379'}\n"
#define CACHE(name, ip) \
	"- {name: " name ", vips: ['" ip ":1'], clients: [10.0.0.1], origin: '10.0.0.2:1', promote: {}}\n"
#define ONE	     HEAD "services:\n" CACHE("a", "192.0.2.1")
#define TWO	     ONE CACHE("b", "192.0.2.2")
#define POLICY(keys) ONE "policies:\n- {name: p, " keys "}\n"
/* As the faults of it begin. */
#define AT	     "w:7: policies[0]"

static void test_defaults(void)
{
	struct config *c;

	test_begin("without a word about them there are none");
	c = parse_good(ONE);
	if (CHECK(c))
		CHECK_INT(c->npolicies, 0);
	config_free(c);
	test_end();

	test_begin("one of each, with defaults");
	c = parse_good(ONE "policies:\n"
		       "- {name: boot, on: start, list: /etc/weir/boot.txt}\n"
		       "- {name: rush, on: surge}\n"
		       "- {name: copy, on: peer, peer: 'http://10.0.0.7:9844'}\n"
		       "- {name: login, on: event, event: login, template: 'user:{id}'}\n");
	if (CHECK(c) && CHECK_INT(c->npolicies, 4)) {
		const struct config_policy *p = c->policies;

		CHECK_STR(p[0].name, "boot");
		CHECK_STR(p[0].list, "/etc/weir/boot.txt");
		CHECK(p[0].on == POLICY_START && p[1].on == POLICY_SURGE && p[2].on == POLICY_PEER &&
		      p[3].on == POLICY_EVENT);
		CHECK(p[0].rate == 10000 && p[0].max == 100000);
		CHECK(p[1].above == 50 && p[1].top == 1000 && p[1].cooldown_ns == 300000000000);
		CHECK(p[2].peer.family == 4 && ntohs(p[2].peer.port) == 9844 && !p[2].every_ns);
		CHECK(!p[3].list && p[3].cooldown_ns == 1000000000);
		CHECK_STR(p[3].template, "user:{id}");
	}
	config_free(c);
	test_end();
}

static void test_all(void)
{
	struct config *c;

	test_begin("every key is understood, the service is found by its name");
	c = parse_good(TWO "policies:\n"
		       "- {name: boot, service: b, on: start, list: /l, rate: 1, max: 1}\n"
		       "- {name: rush, service: a, on: surge, above: 10000%, top: 100000, cooldown: 7d}\n"
		       "- {name: rise, service: a, on: surge, above: 1}\n"
		       "- {name: copy, service: b, on: peer, peer: 'http://[fd00::7]:1/', top: 1, every: 10s, rate: 100000,\n"
		       "   max: 1000000}\n"
		       "- {name: login, service: b, on: event, event: 'user.Login:2_-', template: '*{a}/{b-c}*', list: /l}\n");
	if (CHECK(c) && CHECK_INT(c->npolicies, 5)) {
		const struct config_policy *p = c->policies;

		CHECK(p[0].service == 1 && p[0].rate == 1 && p[0].max == 1);
		CHECK(p[1].service == 0 && p[1].above == 10000 && p[1].top == 100000);
		CHECK_INT(p[1].cooldown_ns, 604800000000000);
		CHECK_INT(p[2].above, 1);
		CHECK(p[3].peer.family == 6 && p[3].top == 1 && p[3].every_ns == 10000000000);
		CHECK(p[3].rate == 100000 && p[3].max == 1000000);
		CHECK_STR(p[4].event, "user.Login:2_-");
	}
	config_free(c);
	test_end();

	test_begin("64 policies are possible");
	char text[8192] = ONE "policies:\n";
	for (int i = 0; i < 64; i++)
		snprintf(text + strlen(text), 64, "- {name: p%d, on: surge}\n", i);
	c = parse_good(text);
	if (CHECK(c))
		CHECK_INT(c->npolicies, 64);
	config_free(c);
	test_end();
}

#define EVENT(template) "on: event, event: e, template: '" template "'"
#define LISTED(template) EVENT(template) ", list: /l"
#define NOT_OF(key, on) AT "." key ": is not of a policy on " on "\n"
#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct fault_row rows[] = {
	{ "no name", ONE "policies: [{on: surge}]\n", "w:6: policies[0].name: is required, and missing\n" },
	{ "no word when", ONE "policies: [{name: p}]\n", "w:6: policies[0].on: is required, and missing\n" },
	{ "a key that there is not", POLICY("on: surge, when: now"), AT ".when: unknown key\n" },
	{ "another time", POLICY("on: full-moon"),
	  AT ".on: 'full-moon' is not one of start, surge, peer, event\n" },
	{ "a name twice", ONE "policies:\n- {name: p, on: surge}\n- {name: p, on: surge}\n",
	  "w:8: policies[1].name: 'p' is already policies[0]\n" },
	{ "a service that there is not", POLICY("on: surge, service: c"), AT ".service: there is no service 'c'\n" },
	{ "which service", TWO "policies:\n- {name: p, on: surge}\n",
	  "w:8: policies[0]: needs service: there are several with a cache\n" },
	{ "no list", POLICY("on: start"), AT ": on start needs list\n" },
	{ "no peer", POLICY("on: peer"), AT ": on peer needs peer\n" },
	{ "no event, no template", POLICY("on: event"),
	  AT ": on event needs event\n" AT ": on event needs template\n" },
	{ "a list that is no path", POLICY("on: start, list: boot.txt"),
	  AT ".list: 'boot.txt' is no path from the root\n" },
	{ "what another has: a list", POLICY("on: surge, list: /l"), NOT_OF("list", "surge") },
	{ "above", POLICY("on: start, list: /l, above: 5%"), NOT_OF("above", "start") },
	{ "top", POLICY("on: start, list: /l, top: 5"), NOT_OF("top", "start") },
	{ "a peer", POLICY("on: surge, peer: 'http://10.0.0.7:1'"), NOT_OF("peer", "surge") },
	{ "every", POLICY("on: surge, every: 1m"), NOT_OF("every", "surge") },
	{ "an event", POLICY("on: surge, event: e"), NOT_OF("event", "surge") },
	{ "a template", POLICY("on: surge, template: t"), NOT_OF("template", "surge") },
	{ "a cooldown", POLICY("on: start, list: /l, cooldown: 1m"), NOT_OF("cooldown", "start") },
	{ "above nothing", POLICY("on: surge, above: 0"), AT ".above: '0' is not from 1% to 10000%\n" },
	{ "above too much", POLICY("on: surge, above: 10001%"), AT ".above: '10001%' is not from 1% to 10000%\n" },
	{ "above a sign alone", POLICY("on: surge, above: '%'"), AT ".above: '%' is not from 1% to 10000%\n" },
	{ "above a factor", POLICY("on: surge, above: 1.5"), AT ".above: '1.5' is not from 1% to 10000%\n" },
	{ "above a long number", POLICY("on: surge, above: '000000000000000000050%'"),
	  AT ".above: '000000000000000000050%' is not from 1% to 10000%\n" },
	{ "top 0", POLICY("on: surge, top: 0"), AT ".top: '0' is not a number from 1 to 100000\n" },
	{ "too large a top", POLICY("on: surge, top: 100001"), AT ".top: '100001' is not a number from 1 to 100000\n" },
	{ "no rate", POLICY("on: surge, rate: 0"), AT ".rate: '0' is not a number from 1 to 100000\n" },
	{ "too high a rate", POLICY("on: surge, rate: 100001"),
	  AT ".rate: '100001' is not a number from 1 to 100000\n" },
	{ "no keys at all", POLICY("on: surge, max: 0"), AT ".max: '0' is not a number from 1 to 1000000\n" },
	{ "too many keys", POLICY("on: surge, max: 1000001"), AT ".max: '1000001' is not a number from 1 to 1000000\n" },
	{ "a cooldown of no time", POLICY("on: surge, cooldown: 999ms"), AT ".cooldown: '999ms' is not from 1s to 7d\n" },
	{ "a cooldown without end", POLICY("on: surge, cooldown: never"),
	  AT ".cooldown: 'never' is not from 1s to 7d\n" },
	{ "too often", POLICY("on: peer, peer: 'http://10.0.0.7:1', every: 9s"), AT ".every: '9s' is not from 10s to 7d\n" },
	{ "a peer's name", POLICY("on: peer, peer: 'http://edge2:9844'"),
	  AT ".peer: 'http://edge2:9844' is not http://ADDRESS:PORT, as in http://10.0.0.7:9844\n" },
	{ "a peer without a port", POLICY("on: peer, peer: 'http://10.0.0.7'"),
	  AT ".peer: 'http://10.0.0.7' is not http://ADDRESS:PORT, as in http://10.0.0.7:9844\n" },
	{ "a peer by https", POLICY("on: peer, peer: 'https://10.0.0.7:9844'"),
	  AT ".peer: 'https://10.0.0.7:9844' is not http://ADDRESS:PORT, as in http://10.0.0.7:9844\n" },
	{ "a peer with a path", POLICY("on: peer, peer: 'http://10.0.0.7:9844/api'"),
	  AT ".peer: 'http://10.0.0.7:9844/api' is not http://ADDRESS:PORT, as in http://10.0.0.7:9844\n" },
	{ "an event with a space", POLICY("on: event, event: 'a b', template: t"),
	  AT ".event: is not 1 to 64 of letters, digits, '_', '.', ':' and '-'\n" },
	{ "an event without a name", POLICY("on: event, event: '', template: t"),
	  AT ".event: is not 1 to 64 of letters, digits, '_', '.', ':' and '-'\n" },
	{ "an event of 65 bytes", POLICY("on: event, event: " X50 "xxxxxxxxxxxxxxx, template: t"),
	  AT ".event: is not 1 to 64 of letters, digits, '_', '.', ':' and '-'\n" },
	{ "a template with a space", POLICY(EVENT("a b")),
	  AT ".template: gives no keys: 1 to 250 bytes, and no space or control character\n" },
	{ "a template of nothing", POLICY(EVENT("")),
	  AT ".template: gives no keys: 1 to 250 bytes, and no space or control character\n" },
	{ "a template of 251 bytes", POLICY(EVENT(X50 X50 X50 X50 X50 "x")),
	  AT ".template: gives no keys: 1 to 250 bytes, and no space or control character\n" },
	{ "a star without a list", POLICY(EVENT("u:*")),
	  AT ".template: has a '*', for lines of a list, and there is no list\n" },
	{ "a list without a star", POLICY(LISTED("u:{id}")), AT ".template: has no '*' for the lines of the list\n" },
	{ "a field without an end", POLICY(EVENT("u:{id")), AT ".template: '{id': a field of the event is {NAME}\n" },
	{ "a field without a name", POLICY(EVENT("u:{}")), AT ".template: '{}': a field of the event is {NAME}\n" },
	{ "a field in a field", POLICY(EVENT("u:{a{b}}")), AT ".template: '{a{b}}': a field of the event is {NAME}\n" },
	{ "a star in a field", POLICY(LISTED("u:{a*}")), AT ".template: '{a*}': a field of the event is {NAME}\n" },
	{ "an event and no bus",
	  "interfaces: [{name: eth0}]\nservices:\n" CACHE("a", "192.0.2.1") "policies:\n- {name: p, " EVENT("t") "}\n",
	  "w:5: policies[0].event: comes by the bus, and there is none: see bus\n" },
	{ "no origin",
	  "interfaces: [{name: eth0}]\nservices:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n"
	  "policies:\n- {name: p, on: start, list: /l}\n",
	  "w:5: policies[0]: fetches keys, and service 'a' has no origin\n" },
	{ "no promotion",
	  "interfaces: [{name: eth0}]\nservices:\n"
	  "- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1], origin: '10.0.0.2:1'}\n"
	  "policies:\n- {name: p, on: surge}\n",
	  "w:5: policies[0]: on surge needs promote of service 'a': it knows the top keys\n" },
	{ "no service with a cache",
	  "interfaces: [{name: eth0}]\npools: [{name: q, backends: [{name: b, address: 192.0.2.2}]}]\n"
	  "services: [{name: a, vips: ['192.0.2.1:1'], pool: q}]\npolicies:\n- {name: p, on: start, list: /l}\n",
	  "w:5: policies[0]: is for a service with a cache\n" },
	{ "a service without a cache",
	  "interfaces: [{name: eth0}]\npools: [{name: q, backends: [{name: b, address: 192.0.2.2}]}]\n"
	  "services: [{name: a, vips: ['192.0.2.1:1'], pool: q}]\n"
	  "policies:\n- {name: p, service: a, on: start, list: /l}\n",
	  "w:5: policies[0]: is for a service with a cache\n" },
};

int main(void)
{
	test_defaults();
	test_all();
	FAULTS("policies", rows);
	return test_done();
}
