/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The agent in the configuration: where it answers HTTP. */
#include <arpa/inet.h>

#include "config_text.h"

#define REST \
	"interfaces: [{name: eth0}]\nservices:\n- {name: a, vips: ['192.0.2.1:1'], clients: [10.0.0.1]}\n"
#define WITH(http) "agent: {http: " http "}\n" REST

static void check_http(const char *text, int family, const char *address, int port)
{
	struct config *c = parse_good(text);
	char shown[64] = "";

	if (CHECK(c)) {
		CHECK_INT(c->http.family, family);
		inet_ntop(family == 6 ? AF_INET6 : AF_INET, &c->http.addr, shown, sizeof(shown));
		CHECK_STR(shown, address);
		CHECK_INT(ntohs(c->http.port), port);
	}
	config_free(c);
}

static void test_good(void)
{
	test_begin("HTTP is answered on loopback, without a word about it");
	check_http(REST, 4, "127.0.0.1", 9844);
	check_http("agent: {}\n" REST, 4, "127.0.0.1", 9844);
	test_end();

	test_begin("or elsewhere, or not at all");
	check_http(WITH("192.0.2.9:80"), 4, "192.0.2.9", 80);
	check_http(WITH("'[::1]:8080'"), 6, "::1", 8080);
	check_http(WITH("none"), 0, "0.0.0.0", 0);
	test_end();
}

#define BAD(text) "w:1: agent.http: '" text "' is not ADDRESS:PORT, as in 127.0.0.1:9844 or \"[::1]:9844\", or none\n"

static void test_wrong(void)
{
	static const struct fault_row rows[] = {
		{ "no port", WITH("127.0.0.1"), BAD("127.0.0.1") },
		{ "port 0", WITH("'127.0.0.1:0'"), BAD("127.0.0.1:0") },
		{ "a port too high", WITH("'127.0.0.1:65536'"), BAD("127.0.0.1:65536") },
		{ "a name", WITH("'localhost:80'"), BAD("localhost:80") },
		{ "a port alone", WITH("':80'"), BAD(":80") },
		{ "IPv6 without brackets", WITH("'::1:80'"), BAD("::1:80") },
		{ "another word", WITH("off"), BAD("off") },
	};

	FAULTS("agent.http", rows);
}

int main(void)
{
	test_good();
	test_wrong();
	return test_done();
}
