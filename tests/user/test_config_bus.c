/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The bus, and the agent's token, in the configuration. */
#include <arpa/inet.h>

#include "config_text.h"

#define REST \
	"interfaces: [{name: eth0}]\nservices:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n"
#define BUS(keys) "bus: {redis: '10.0.0.5:6379'" keys "}\n" REST

static void test_defaults(void)
{
	struct config *c;

	test_begin("without a word about it there is no bus, and no token");
	c = parse_good(REST);
	if (CHECK(c)) {
		CHECK_INT(c->bus.redis.family, 0);
		CHECK(!c->token_file);
	}
	config_free(c);
	test_end();

	test_begin("an address is enough: the stream is weir, five seconds, and then lookups pass");
	c = parse_good(BUS(""));
	if (CHECK(c)) {
		CHECK_INT(c->bus.redis.family, 4);
		CHECK_INT(ntohs(c->bus.redis.port), 6379);
		CHECK_STR(c->bus.stream, "weir");
		CHECK_INT(c->bus.db, 0);
		CHECK_INT(c->bus.stale_ns, 5000000000);
		CHECK_INT(c->bus.fail, BUS_PASS);
		CHECK(!c->bus.user && !c->bus.password_file);
	}
	config_free(c);
	test_end();
}

static void test_all(void)
{
	struct config *c;

	test_begin("every key is understood");
	c = parse_good("agent: {token_file: /etc/weir/token}\n"
		       "bus: {redis: '[fd00::5]:7000', stream: 'edge:{1}', user: weir,\n"
		       "      password_file: /etc/weir/redis, db: 3, tls: false, stale_after: 1m,\n"
		       "      fail: serve}\n" REST);
	if (CHECK(c)) {
		CHECK_STR(c->token_file, "/etc/weir/token");
		CHECK_INT(c->bus.redis.family, 6);
		CHECK_STR(c->bus.stream, "edge:{1}");
		CHECK_STR(c->bus.user, "weir");
		CHECK_STR(c->bus.password_file, "/etc/weir/redis");
		CHECK_INT(c->bus.db, 3);
		CHECK_INT(c->bus.stale_ns, 60000000000);
		CHECK_INT(c->bus.fail, BUS_SERVE);
	}
	config_free(c);
	test_end();

	test_begin("the longest stream, the shortest and the longest time");
	c = parse_good("bus: {redis: '10.0.0.5:1', stale_after: 3s, db: 65535, stream: "
		       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\n" REST);
	if (CHECK(c))
		CHECK_INT(strlen(c->bus.stream), 127);
	config_free(c);
	c = parse_good(BUS(", stale_after: 1h"));
	config_free(c);
	test_end();
}

#define NO_WORD(n) "is not 1 to " #n " bytes of ASCII that print, without spaces\n"
static const struct fault_row rows[] = {
	{"no address", "bus: {stream: x}\n" REST, "w:1: bus.redis: is required, and missing\n"},
	{"a name in its place", "bus: {redis: 'redis.example:6379'}\n" REST,
	 "w:1: bus.redis: 'redis.example:6379' is not ADDRESS:PORT, as in 10.0.0.5:6379 or \"[fd00::5]:6379\"\n"},
	{"no port", "bus: {redis: 10.0.0.5}\n" REST,
	 "w:1: bus.redis: '10.0.0.5' is not ADDRESS:PORT, as in 10.0.0.5:6379 or \"[fd00::5]:6379\"\n"},
	{"a stream with a space", BUS(", stream: 'a b'"), "w:1: bus.stream: " NO_WORD(127)},
	{"an empty stream", BUS(", stream: ''"), "w:1: bus.stream: " NO_WORD(127)},
	{"TLS", BUS(", tls: true"),
	 "w:1: bus.tls: is not there in this version: reach Redis through a tunnel, as of stunnel\n"},
	{"a database that is none", BUS(", db: 65536"), "w:1: bus.db: '65536' is not a number from 0 to 65535\n"},
	{"too short a time", BUS(", stale_after: 2s"), "w:1: bus.stale_after: '2s' is not from 3s to 1h\n"},
	{"no end", BUS(", stale_after: never"), "w:1: bus.stale_after: 'never' is not from 3s to 1h\n"},
	{"what else to do", BUS(", fail: open"), "w:1: bus.fail: 'open' is not one of pass, serve\n"},
	{"a user without a password", BUS(", user: x"),
	 "w:1: bus.user: has no password: bus.password_file names the file that holds it\n"},
	{"a user with a space", BUS(", user: 'x y', password_file: /p"), "w:1: bus.user: " NO_WORD(128)},
	{"a password file that is no path", BUS(", password_file: secret"),
	 "w:1: bus.password_file: 'secret' is no path from the root\n"},
	{"a key that there is not", BUS(", password: secret"), "w:1: bus.password: unknown key\n"},
	{"a token file that is no path", "agent: {token_file: token}\n" REST,
	 "w:1: agent.token_file: 'token' is no path from the root\n"},
	{"no service with a cache",
	 "bus: {redis: '10.0.0.5:6379'}\ninterfaces: [{name: eth0}]\n"
	 "pools: [{name: p, backends: [{name: b, address: 192.0.2.2}]}]\n"
	 "services: [{name: a, vips: ['192.0.2.1:1'], pool: p}]\n",
	 "w:1: bus: is for services with a cache, and there is none\n"},
};

int main(void)
{
	test_defaults();
	test_all();
	FAULTS("bus", rows);
	return test_done();
}
