/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words of `weir flow show`: what each takes and refuses, and which flows it lets through. */
#include <arpa/inet.h>
#include <errno.h>

#include "filter.h"
#include "test.h"

static char why[256];

static int add(struct filter *f, const char *word)
{
	*why = '\0';
	return filter_add(f, word, why, sizeof(why));
}

/* The flow of the tests: 10.7.0.2:40000, TCP, open, for 90 s without a packet. */
static struct flow_seen a_flow(void)
{
	return (struct flow_seen){.state = WEIR_FLOW_TCP,
				  .backend = 65,
				  .svc = 3,
				  .idle_ns = 90000000000ULL,
				  .client.w[0] = inet_addr("10.7.0.2"),
				  .port = htons(40000),
				  .family = 4,
				  .tcp = true};
}

/* The same from a client of which the table kept ..:1234:5678. */
static struct flow_seen a_flow6(void)
{
	struct flow_seen f = a_flow();

	f.family = 6;
	memset(&f.client, 0, sizeof(f.client));
	f.client.w[3] = htonl(0x12345678);
	return f;
}

static bool lets(const char *word, const struct flow_seen *flow)
{
	struct filter f;

	filter_init(&f);
	CHECK_INT(add(&f, word), 0);
	CHECK_STR(why, "");
	return filter_match(&f, flow);
}

/* ---- what is taken ---------------------------------------------------------------------------- */

static void test_words(void)
{
	struct flow_seen f = a_flow();
	const struct {
		const char *word;
		bool lets;
	} rows[] = {
		{"client=10.7.0.2", true},  {"client=10.7.0.3", false},   {"client=10.7.0.0/16", true},
		{"client=0.0.0.0/0", true}, {"client=11.0.0.0/8", false}, {"client=fd00::2", false},
		{"client=*:a07:2", false},  {"port=40000", true},         {"port=40001", false},
		{"state=open", true},       {"state=half-open", false},   {"state=closing", false},
		{"state=udp", false},       {"state=found", false},       {"family=4", true},
		{"family=6", false},        {"proto=tcp", true},          {"proto=udp", false},
		{"idle>89s", true},         {"idle>90s", false},          {"idle<91s", true},
		{"idle<1m30s", false},      {"idle>1500ms", true},
	};

	test_begin("each word lets through what it says, and nothing else");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (lets(rows[i].word, &f) != rows[i].lets)
			CHECK_STR(rows[i].word, rows[i].lets ? "to let it through" : "to keep it back");
	}
	test_end();
}

static void test_ipv6(void)
{
	struct flow_seen f = a_flow6();

	test_begin("of IPv6 clients the last 32 bits decide");
	CHECK(lets("client=*:1234:5678", &f));
	CHECK(lets("client=fd00::1234:5678", &f));
	CHECK(lets("client=2001:db8::1234:5678", &f));
	CHECK(lets("client=fd00::1234:0/112", &f));
	CHECK(lets("client=fd00::1200:0/104", &f));
	CHECK(!lets("client=fd00::1235:0/112", &f));
	CHECK(!lets("client=*:1234:5679", &f));
	CHECK(!lets("client=*:5678:1234", &f));
	CHECK(!lets("client=0.0.0.0/0", &f));
	CHECK(lets("family=6", &f));
	test_end();
}

static void test_states(void)
{
	const struct {
		const char *word;
		unsigned state;
	} rows[] = {
		{"state=half-open", WEIR_FLOW_SYN}, {"state=open", WEIR_FLOW_TCP},
		{"state=udp", WEIR_FLOW_UDP},       {"state=closing", WEIR_FLOW_FIN_C},
		{"state=closing", WEIR_FLOW_FIN_B}, {"state=closed", WEIR_FLOW_CLOSED},
		{"state=found", WEIR_FLOW_FOUND},   {"state=resting", WEIR_FLOW_RESTING},
		{"state=reset", WEIR_FLOW_RESET},
	};

	test_begin("every state of the table has a word, which lets through no other");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned state = 1; state < WEIR_FLOW_STATES; state++) {
			struct flow_seen f = a_flow();
			bool same = state == rows[i].state ||
				    (!strcmp(rows[i].word, "state=closing") &&
				     (state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_FIN_B));

			f.state = state;
			CHECK_INT(lets(rows[i].word, &f), same);
		}
		CHECK_STR(flow_state_name(rows[i].state), rows[i].word + strlen("state="));
	}
	CHECK_STR(flow_state_name(0), "unknown");
	CHECK_STR(flow_state_name(WEIR_FLOW_STATES), "unknown");
	CHECK_STR(flow_state_name(64), "unknown");
	test_end();
}

static void test_together(void)
{
	struct flow_seen flow = a_flow();
	struct filter f;

	test_begin("all words must hold; none lets everything through");
	filter_init(&f);
	CHECK(filter_match(&f, &flow));
	CHECK_INT(add(&f, "state=open"), 0);
	CHECK_INT(add(&f, "idle>1m"), 0);
	CHECK_INT(add(&f, "idle<2m"), 0);
	CHECK(filter_match(&f, &flow));
	CHECK_INT(add(&f, "port=1"), 0);
	CHECK(!filter_match(&f, &flow));
	test_end();
}

static void test_names(void)
{
	static bool backends[WEIR_BACKENDS_MAX];
	struct flow_seen flow = a_flow();
	struct filter f;

	test_begin("names are kept for the caller, whose numbers then decide");
	filter_init(&f);
	CHECK_INT(add(&f, "backend=b1"), 0);
	CHECK_INT(add(&f, "pool=web"), 0);
	CHECK_INT(add(&f, "service=www"), 0);
	CHECK_STR(f.backend, "b1");
	CHECK_STR(f.pool, "web");
	CHECK_STR(f.service, "www");
	CHECK(filter_match(&f, &flow));
	f.backends = backends;
	CHECK(!filter_match(&f, &flow));
	backends[65] = true;
	CHECK(filter_match(&f, &flow));
	flow.backend = WEIR_BACKEND_NONE;
	CHECK(!filter_match(&f, &flow));
	flow.backend = 65;
	f.svc = 4;
	CHECK(!filter_match(&f, &flow));
	f.svc = 3;
	CHECK(filter_match(&f, &flow));
	test_end();
}

/* ---- what is refused -------------------------------------------------------------------------- */

static void test_refused(void)
{
	static const char *const words[] = {
		"",
		"b1",
		"state",
		"state=",
		"state=Open",
		"state=open,udp",
		"backend=",
		"pool=",
		"service=",
		"port=",
		"port=0",
		"port=65536",
		"port=-1",
		"port=1x",
		"port=099999",
		"client=",
		"client=10.7.0",
		"client=10.7.0.1/33",
		"client=*",
		"client=*:1",
		"client=*:12345:1",
		"client=*:1:",
		"client=*:1:2:3",
		"client=*:x:1",
		"client=::1/64x",
		"family=",
		"family=5",
		"family=44",
		"proto=icmp",
		"proto=TCP",
		"idle>",
		"idle>5",
		"idle>never",
		"idle>0",
		"idle=5s",
		"idle>=5s",
		"idle<-5s",
		"idle>99999999d",
		"IDLE>5s",
		" state=open",
		"backend==",
	};
	struct filter f;

	test_begin("what is no filter is refused with a sentence");
	for (unsigned i = 0; i + 1 < sizeof(words) / sizeof(words[0]); i++) {
		filter_init(&f);
		if (add(&f, words[i]) != -EINVAL || !*why)
			CHECK_STR(words[i], "to be refused");
	}
	test_end();
}

static void test_sentences(void)
{
	struct filter f;

	test_begin("the sentence says what would be right");
	filter_init(&f);
	add(&f, "client=10.7.0.1/16");
	CHECK_STR(why, "it is an address in 10.7.0.0/16, not a network");
	add(&f, "client=fd00::/64");
	CHECK_STR(why, "of IPv6 clients only the last 32 bits are known, which this network leaves open");
	filter_init(&f);
	add(&f, "port=x");
	CHECK_STR(why, "a port is 1 to 65535");
	add(&f, "state=x");
	CHECK_STR(why, "a state is open, half-open, closing, closed, udp, found, resting or reset");
	test_end();
}

static void test_twice(void)
{
	static const char *const words[] = {"backend=a", "pool=a",    "service=a", "client=10.0.0.1",
					    "port=1",    "state=udp", "family=4",  "proto=udp",
					    "idle>5s",   "idle<9s"};

	test_begin("a word that is there twice is refused, whatever it says");
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct filter f;
		char want[32];

		filter_init(&f);
		CHECK_INT(add(&f, words[i]), 0);
		CHECK_INT(add(&f, words[i]), -EINVAL);
		snprintf(want, sizeof(want), "%.*s is there twice", (int)strcspn(words[i], "=<>"), words[i]);
		CHECK_STR(why, want);
	}
	test_end();
}

static void test_long(void)
{
	char word[4096], small[8];
	struct filter f;

	test_begin("a word of any length is refused in the room that there is");
	filter_init(&f);
	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	memcpy(word, "client=", 7);
	CHECK_INT(filter_add(&f, word, small, sizeof(small)), -EINVAL);
	CHECK_INT(strlen(small), sizeof(small) - 1);
	filter_init(&f);
	memcpy(word, "port=111", 8);
	CHECK_INT(filter_add(&f, word, small, sizeof(small)), -EINVAL);
	test_end();
}

/* ---- the client as text ----------------------------------------------------------------------- */

static void test_client_text(void)
{
	struct flow_seen f = a_flow();
	char text[64], word[80];

	test_begin("clients are shown as filters take them");
	CHECK_STR(flow_client_text(&f, text, sizeof(text)), "10.7.0.2");
	f = a_flow6();
	CHECK_STR(flow_client_text(&f, text, sizeof(text)), "*:1234:5678");
	f.client.w[3] = htonl(0x1);
	CHECK_STR(flow_client_text(&f, text, sizeof(text)), "*:0:1");
	snprintf(word, sizeof(word), "client=%s", text);
	CHECK(lets(word, &f));
	test_end();
}

int main(void)
{
	test_words();
	test_ipv6();
	test_states();
	test_together();
	test_names();
	test_refused();
	test_sentences();
	test_twice();
	test_long();
	test_client_text();
	return test_done();
}
