/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The configuration: what is understood, and every fault with its line, field and words. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_text.h"
#include "weir/reason.h"

#define MIB	(1ULL << 20)
#define SECOND	1000000000ULL
#define TTL_DAY (86400 * SECOND)

/* ---- single values ---------------------------------------------------------------------------- */

struct value_row {
	const char *text;
	int err;
	__u64 want;
};

static void check_values(const struct value_row *rows, size_t n, int (*parse)(const char *, __u64 *))
{
	for (size_t i = 0; i < n; i++) {
		__u64 got = 0;

		if (!CHECK_INT(parse(rows[i].text, &got), rows[i].err) ||
		    (!rows[i].err && !CHECK_INT(got, rows[i].want)))
			printf("#   text: \"%s\"\n", rows[i].text);
	}
}

static void test_duration(void)
{
	static const struct value_row rows[] = {
		{ "5m", 0, 300 * SECOND },
		{ "90s", 0, 90 * SECOND },
		{ "1h30m", 0, 5400 * SECOND },
		{ "500ms", 0, SECOND / 2 },
		{ "1ms", 0, 1000000 },
		{ "2d", 0, 2 * TTL_DAY },
		{ "1d2h3m4s5ms", 0, (86400 + 7200 + 180 + 4) * SECOND + 5000000 },
		{ "1h90m", 0, 9000 * SECOND },
		{ "007s", 0, 7 * SECOND },
		{ "0", 0, WEIR_NEVER },
		{ "never", 0, WEIR_NEVER },
		{ "1m0s", 0, 60 * SECOND },
		{ "106751d", 0, 106751 * TTL_DAY },
		{ "106752d", -ERANGE, 0 }, /* 2^63 ns are 106,751.99 days */
		{ "9223372036854ms", 0, 9223372036854000000ULL },
		{ "9223372036855ms", -ERANGE, 0 },
		{ "213504d", -ERANGE, 0 }, /* beyond 2^64 */
		{ "18446744073709551615d", -ERANGE, 0 },
		{ "18446744073709551616s", -ERANGE, 0 },
		{ "99999999999999999999999999s", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "5", -EINVAL, 0 },
		{ "m", -EINVAL, 0 },
		{ "5 m", -EINVAL, 0 },
		{ " 5m", -EINVAL, 0 },
		{ "5m ", -EINVAL, 0 },
		{ "-5m", -EINVAL, 0 },
		{ "+5m", -EINVAL, 0 },
		{ "1.5h", -EINVAL, 0 },
		{ "5M", -EINVAL, 0 },
		{ "5min", -EINVAL, 0 },
		{ "5sm", -EINVAL, 0 },
		{ "5us", 0, 5000 },
		{ "1ms500us", 0, 1500000 },
		{ "5su", -EINVAL, 0 },
		{ "5u", -EINVAL, 0 },
		{ "1us1ms", -EINVAL, 0 },
		{ "30m1h", -EINVAL, 0 },
		{ "5m5m", -EINVAL, 0 },
		{ "1h30", -EINVAL, 0 },
		{ "0s", -EINVAL, 0 },
		{ "00", -EINVAL, 0 },
		{ "0x10s", -EINVAL, 0 },
		{ "Never", -EINVAL, 0 },
		{ "nevers", -EINVAL, 0 },
	};

	test_begin("durations: units from large to small, 'never', and nothing beyond 2^63 ns");
	check_values(rows, sizeof(rows) / sizeof(*rows), parse_duration);
	test_end();
}

static void test_size(void)
{
	static const struct value_row rows[] = {
		{ "0", 0, 0 },
		{ "1", 0, 1 },
		{ "65536", 0, 65536 },
		{ "10B", 0, 10 },
		{ "512K", 0, 512 << 10 },
		{ "512k", 0, 512 << 10 },
		{ "512KiB", 0, 512 << 10 },
		{ "64M", 0, 64 * MIB },
		{ "1G", 0, 1024 * MIB },
		{ "2TiB", 0, 2 * MIB * MIB },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "16777215T", 0, 16777215ULL << 40 },
		{ "16777216T", -ERANGE, 0 },
		{ "18014398509481984K", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 M", -EINVAL, 0 },
		{ "1MB", -EINVAL, 0 }, /* a power of 1000 elsewhere */
		{ "1Mi", -EINVAL, 0 },
		{ "1MiBs", -EINVAL, 0 },
		{ "1P", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1BB", -EINVAL, 0 },
		{ "99999999999999999999X", -EINVAL, 0 },
	};

	test_begin("sizes: powers of 1024, and nothing beyond 2^64");
	check_values(rows, sizeof(rows) / sizeof(*rows), parse_size);
	test_end();
}

static void test_net(void)
{
	static const struct {
		const char *text;
		int err, family;
		const char *want; /* the network, also after -EDOM */
	} rows[] = {
		{ "10.0.0.0/8", 0, 4, "10.0.0.0/8" },
		{ "10.0.0.1", 0, 4, "10.0.0.1/32" },
		{ "0.0.0.0/0", 0, 4, "0.0.0.0/0" },
		{ "128.0.0.0/1", 0, 4, "128.0.0.0/1" },
		{ "10.1.2.254/31", 0, 4, "10.1.2.254/31" },
		{ "255.255.255.255/32", 0, 4, "255.255.255.255/32" },
		{ "fd00::/16", 0, 6, "fd00::/16" },
		{ "::/0", 0, 6, "::/0" },
		{ "fd00::1", 0, 6, "fd00::1/128" },
		{ "fd00:1:2:3::/64", 0, 6, "fd00:1:2:3::/64" },
		{ "fd00:0:8000::/33", 0, 6, "fd00:0:8000::/33" },
		{ "fd00::fffe/127", 0, 6, "fd00::fffe/127" },
		{ "10.0.0.1/8", -EDOM, 4, "10.0.0.0/8" },
		{ "10.1.2.255/31", -EDOM, 4, "10.1.2.254/31" },
		{ "1.2.3.4/0", -EDOM, 4, "0.0.0.0/0" },
		{ "fd00::1/127", -EDOM, 6, "fd00::/127" },
		{ "fd00:0:8000::/32", -EDOM, 6, "fd00::/32" },
		{ "", -EINVAL, 0, NULL },
		{ "/8", -EINVAL, 0, NULL },
		{ "10.0.0.0/", -EINVAL, 0, NULL },
		{ "10.0.0.0/33", -EINVAL, 0, NULL },
		{ "10.0.0.0/08", -EINVAL, 0, NULL },
		{ "10.0.0.0/-1", -EINVAL, 0, NULL },
		{ "10.0.0.0/8 ", -EINVAL, 0, NULL },
		{ "10.0.0.0/8/8", -EINVAL, 0, NULL },
		{ "10.0.0.0/255.0.0.0", -EINVAL, 0, NULL },
		{ "10.0.0/8", -EINVAL, 0, NULL },
		{ "010.0.0.0/8", -EINVAL, 0, NULL },
		{ "256.0.0.0/8", -EINVAL, 0, NULL },
		{ "fd00::/129", -EINVAL, 0, NULL },
		{ "[fd00::]/16", -EINVAL, 0, NULL },
		{ "fe80::1%eth0", -EINVAL, 0, NULL },
		{ "localhost", -EINVAL, 0, NULL },
		{ "0000:0000:0000:0000:0000:ffff:255.255.255.2555/8", -EINVAL, 0, NULL },
	};

	test_begin("networks: prefixes 0 to 32 and 128, host bits told apart, names refused");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct weir_net net;
		char text[64] = "";
		int family = 0;

		if (!CHECK_INT(parse_net(rows[i].text, &net, &family), rows[i].err) ||
		    !CHECK_INT(family, rows[i].family))
			printf("#   text: \"%s\"\n", rows[i].text);
		if (!rows[i].want)
			continue;
		format_net(&net, family, text, sizeof(text));
		CHECK_STR(text, rows[i].want);
	}
	test_end();
}

static void test_net_layout(void)
{
	struct weir_net net, want = { 0 };
	int family;

	test_begin("a network stands in wire order, and an IPv4 one in the first word alone");
	CHECK_INT(parse_net("10.128.0.0/9", &net, &family), 0);
	want.addr.w[0] = htonl(0x0a800000);
	want.mask.w[0] = htonl(0xff800000);
	CHECK_MEM(&net, sizeof(net), &want, sizeof(want));
	CHECK_INT(parse_net("fd00:0:8000::/33", &net, &family), 0);
	want.addr = (struct weir_addr){ { htonl(0xfd000000), htonl(0x80000000), 0, 0 } };
	want.mask = (struct weir_addr){ { 0xffffffff, htonl(0x80000000), 0, 0 } };
	CHECK_MEM(&net, sizeof(net), &want, sizeof(want));
	test_end();
}

static void test_endpoint(void)
{
	static const struct {
		const char *text;
		int err, family, port;
		__u32 first, last; /* words of the address */
	} rows[] = {
		{ "10.0.0.1:11211", 0, 4, 11211, 0x0a000001, 0 },
		{ "0.0.0.0:1", 0, 4, 1, 0, 0 },
		{ "255.255.255.255:65535", 0, 4, 65535, 0xffffffff, 0 },
		{ "[fd00::1]:11211", 0, 6, 11211, 0xfd000000, 1 },
		{ "[::]:80", 0, 6, 80, 0, 0 },
		{ "", -EINVAL, 0, 0, 0, 0 },
		{ ":", -EINVAL, 0, 0, 0, 0 },
		{ "[", -EINVAL, 0, 0, 0, 0 },
		{ "[:1", -EINVAL, 0, 0, 0, 0 },
		{ "[]:1", -EINVAL, 0, 0, 0, 0 },
		{ "]:1", -EINVAL, 0, 0, 0, 0 },
		{ ":11211", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:0", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:65536", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:011211", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:+80", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:80 ", -EINVAL, 0, 0, 0, 0 },
		{ "10.0.0.1:18446744073709551696", -EINVAL, 0, 0, 0, 0 },
		{ "[10.0.0.1]:80", -EINVAL, 0, 0, 0, 0 },
		{ "fd00::1:11211", -EINVAL, 0, 0, 0, 0 },
		{ "[fd00::1]11211", -EINVAL, 0, 0, 0, 0 },
		{ "[fd00::1:11211", -EINVAL, 0, 0, 0, 0 },
		{ "[fe80::1%eth0]:80", -EINVAL, 0, 0, 0, 0 },
		{ "cache.example.org:11211", -EINVAL, 0, 0, 0, 0 },
	};

	test_begin("endpoints: a literal address, brackets around IPv6, port 1 to 65535");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct config_vip vip = { 0 };

		if (!CHECK_INT(parse_endpoint(rows[i].text, &vip), rows[i].err))
			printf("#   text: \"%s\"\n", rows[i].text);
		if (rows[i].err)
			continue;
		CHECK_INT(vip.family, rows[i].family);
		CHECK_INT(ntohs(vip.port), rows[i].port);
		CHECK_INT(ntohl(vip.addr.w[0]), rows[i].first);
		CHECK_INT(ntohl(vip.addr.w[3]), rows[i].last);
	}
	test_end();
}

/* ---- good files ------------------------------------------------------------------------------- */

#define IFACES "interfaces: [{name: eth0}]\n"
#define SVC    "services:\n- name: a\n  vips: [10.0.0.1:11211]\n  clients: [10.0.0.0/8]\n"

/* Parses; what was said is in *said, to be freed. */
static const char full[] = "interfaces:\n"
			   "  - name: eth0\n"
			   "  - name: bond0.100\n"
			   "    mode: native\n"
			   "  - {name: fifteen-letters, mode: generic}\n"
			   "cache:\n"
			   "  capacity: 1000000\n"
			   "  memory: 64M\n"
			   "  hit_counters: false\n"
			   "services:\n"
			   "  - name: sessions\n"
			   "    vips:\n"
			   "      - 10.0.0.1:11211\n"
			   "      - \"[fd00::1]:11211\"\n"
			   "    clients:\n"
			   "      - 10.0.0.0/8\n"
			   "      - fd00::/16\n"
			   "      - 192.0.2.7\n"
			   "    strangers: pass\n"
			   "    origin: \"[::1]:11212\"\n"
			   "    ttl: never\n"
			   "    value_max: 1\n"
			   "    udp_checksum: false\n"
			   "  - name: 0_a-z\n"
			   "    vips: [10.0.0.1:11212]\n"
			   "    clients: [10.0.0.0/8]\n";

static void check_full_service(const struct config_service *s)
{
	CHECK_STR(s->name, "sessions");
	CHECK_INT(s->nvips, 2);
	CHECK_INT(s->vips[0].family, 4);
	CHECK_INT(s->vips[0].addr.w[0], htonl(0x0a000001));
	CHECK_INT(s->vips[1].family, 6);
	CHECK_INT(s->vips[1].port, htons(11211));
	CHECK_INT(s->nclients4, 2);
	CHECK_INT(s->nclients6, 1);
	CHECK_INT(s->clients4[1].addr.w[0], htonl(0xc0000207));
	CHECK_INT(s->clients4[1].mask.w[0], 0xffffffff);
	CHECK_INT(s->clients6[0].mask.w[0], htonl(0xffff0000));
	CHECK_STR(s->origin, "[::1]:11212");
	CHECK(s->ttl_ns == WEIR_NEVER);
	CHECK_INT(s->value_max, 1);
	CHECK_INT(s->flags, WEIR_SVC_CACHE | WEIR_SVC_STRANGERS_PASS | WEIR_SVC_NO_CSUM4);
}

static void test_full(void)
{
	struct config *c;

	test_begin("a file with every key is understood");
	c = parse_good(full);
	if (CHECK(c)) {
		CHECK_STR(c->path, "w");
		CHECK_INT(c->nifaces, 3);
		CHECK_STR(c->ifaces[0].name, "eth0");
		CHECK_INT(c->ifaces[0].mode, 0);
		CHECK_INT(c->ifaces[1].mode, WEIR_MODE_NATIVE);
		CHECK_STR(c->ifaces[2].name, "fifteen-letters");
		CHECK_INT(c->ifaces[2].mode, WEIR_MODE_GENERIC);
		CHECK_INT(c->capacity, 1000000);
		CHECK_INT(c->memory, 64 * MIB);
		CHECK_INT(c->hit_counters, 0);
		CHECK_INT(c->nservices, 2);
		check_full_service(&c->services[0]);
		CHECK_STR(c->services[1].name, "0_a-z");
	}
	config_free(c);
	test_end();
}

static void test_defaults(void)
{
	struct config *c;

	test_begin("what is left out has its default");
	c = parse_good(IFACES SVC);
	if (CHECK(c)) {
		const struct config_service *s = &c->services[0];

		CHECK_INT(c->ifaces[0].mode, 0);
		CHECK_INT(c->capacity, 100000);
		CHECK_INT(c->memory, 391 * 65536); /* 25.6 MB, rounded up to whole slabs */
		CHECK_INT(c->hit_counters, 1);
		CHECK_INT(c->conns, 16384);
		CHECK_INT(c->sample, 16);
		CHECK_STR(s->origin, "");
		CHECK_INT(s->ttl_ns, 300 * SECOND);
		CHECK_INT(s->value_max, 1392);
		CHECK_INT(s->flags, WEIR_SVC_CACHE);
	}
	config_free(c);
	test_end();
}

static void check_cache(const char *cache, __u32 capacity, __u64 memory)
{
	struct config *c;
	char text[512];

	snprintf(text, sizeof(text), IFACES "cache: {%s}\n" SVC, cache);
	c = parse_good(text);
	if (CHECK(c)) {
		CHECK_INT(c->capacity, capacity);
		CHECK_INT(c->memory, memory);
	}
	config_free(c);
}

static void test_cache(void)
{
	test_begin("cache memory follows the capacity, is at least 4 MiB by default, and whole slabs");
	check_cache("capacity: 1", 1, 4 * MIB);
	check_cache("capacity: 16384", 16384, 4 * MIB);
	check_cache("capacity: 16385", 16385, 4 * MIB + 65536);
	check_cache("capacity: 67108864", 1 << 26, 16384 * MIB);
	check_cache("memory: 1", 100000, 65536);
	check_cache("memory: 65537", 100000, 131072);
	check_cache("memory: 64G", 100000, 65536 * MIB);
	test_end();
}

static void test_forms(void)
{
	static const char bom[] = "\xef\xbb\xbf" IFACES SVC;
	static const char crlf[] = "interfaces: [{name: eth0}]\r\nservices:\r\n- name: a\r\n"
				   "  vips: [10.0.0.1:11211]\r\n  clients: [10.0.0.0/8]\r\n";
	static const char json[] = "{\"interfaces\": [{\"name\": \"eth0\"}], \"services\": [{\"name\": \"a\","
				   "\"vips\": [\"10.0.0.1:11211\"], \"clients\": [\"10.0.0.0/8\"]}]}";

	test_begin("a byte order mark, CRLF, JSON, an explicit document and comments are all YAML");
	config_free(parse_good(bom));
	config_free(parse_good(crlf));
	config_free(parse_good(json));
	config_free(parse_good("%YAML 1.1\n---\n# h\u00e9\n" IFACES SVC "...\n# end\n"));
	test_end();
}

/* ---- faults ----------------------------------------------------------------------------------- */

/* A service on lines 2 to 5, and one more line. */
#define WITH(line) IFACES SVC line "\n"
#define VIPS(list) IFACES "services:\n- name: a\n  vips: " list "\n  clients: [10.0.0.0/8, fd00::/8]\n"
#define CLIENTS(list) IFACES "services:\n- name: a\n  vips: [10.0.0.1:11211]\n  clients: " list "\n"
#define NAMES "a-z, 0-9, '_' and '-', a letter or digit first"
#define AMPLIFIER                                                                     \
	"would answer anyone, and UDP memcached that answers anyone amplifies attacks " \
	"from forged sources: name the clients' networks"

static const struct fault_row yaml_rows[] = {
	{ "an empty file", "", "w: holds no configuration: the file is empty\n" },
	{ "comments only", "# nothing\n\n", "w: holds no configuration: the file is empty\n" },
	{ "an empty document", "---\n", "w:2: must be a mapping: lines of 'key: value'\n" },
	{ "a lone word", "hello\n", "w:1: must be a mapping: lines of 'key: value'\n" },
	{ "a list", "\n- a\n", "w:2: must be a mapping: lines of 'key: value'\n" },
	{ "a tab for indentation", "interfaces:\n\t- name: eth0\n",
	  "w:2: not YAML: found character that cannot start any token (while scanning for the next token "
	  "from line 2)\n" },
	{ "an open bracket", IFACES "services: [\n",
	  "w:3: not YAML: did not find expected node content (while parsing a flow node from line 3)\n" },
	{ "an open quote", IFACES "services: \"\n",
	  "w:3: not YAML: found unexpected end of stream (while scanning a quoted scalar from line 2)\n" },
	{ "Latin-1", IFACES "# caf\xe9\n" SVC, "w:2: not UTF-8 text: invalid trailing UTF-8 octet\n" },
	{ "UTF-16", "\xff\xfe#", "w:1: not UTF-8 text: invalid leading UTF-8 octet\n" },
	{ "a control character", IFACES SVC "\n# \x01\n", "w:7: not UTF-8 text: control characters are not "
							   "allowed\n" },
	{ "an escaped NUL", "interfaces: [{name: \"eth0\\0x\"}]\n" SVC,
	  "w:1: a value contains a NUL character\n" },
	{ "an anchor", IFACES "\nservices: &all []\n",
	  "w:3: anchors and aliases (&name, *name) are not supported: write the value out\n" },
	{ "an alias", IFACES "services: *all\n",
	  "w:2: anchors and aliases (&name, *name) are not supported: write the value out\n" },
	{ "a second document", IFACES SVC "---\n" IFACES,
	  "w:6: a second document begins; there must be only one\n" },
	{ "a list as a key", IFACES "? [a]\n: b\n", "w:2: a key must be a word, not a list or a mapping\n" },
	{ "a mapping as a key", IFACES "? {a: b}\n: b\n",
	  "w:2: a key must be a word, not a list or a mapping\n" },
	{ "deep nesting", "a: [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]\n", "w:1: nested more than 16 deep\n" },
};

static const struct fault_row schema_rows[] = {
	{ "an unknown key at the top", IFACES SVC "\nlog: x\n", "w:7: log: unknown key\n" },
	{ "a misspelt key of a service", WITH("  client: 10.0.0.0/8"),
	  "w:6: services[0].client: unknown key\n" },
	{ "an unknown key of the second interface", "interfaces:\n- name: a\n- name: b\n  x: 1\n" SVC,
	  "w:4: interfaces[1].x: unknown key\n" },
	{ "an unknown key of the cache", "cache:\n  size: 1\n" IFACES SVC, "w:2: cache.size: unknown key\n" },
	{ "keys match exactly", "Interfaces: []\n" SVC, "w:1: Interfaces: unknown key\n" },
	{ "a merge key", WITH("  <<: {}"), "w:6: services[0].<<: unknown key\n" },
	{ "a key that would spoil a terminal", "\"a\\n\\e[31m\\xe9\": 1\n", "w:1: a??[31m??: unknown key\n" },
	{ "no interfaces", SVC, "w:1: interfaces: is required, and missing\n" },
	{ "no services", IFACES, "w:1: services: is required, and missing\n" },
	{ "no name", IFACES "services:\n- vips: [10.0.0.1:1]\n  clients: [10.0.0.1]\n",
	  "w:3: services[0].name: is required, and missing\n" },
	{ "no addresses", IFACES "services:\n- name: a\n  clients: [10.0.0.1]\n",
	  "w:3: services[0].vips: is required, and missing\n" },
	{ "no clients", IFACES "services:\n- name: a\n  vips: [10.0.0.1:1]\n",
	  "w:3: services[0].clients: is required, and missing\n" },
	{ "an interface that is nothing", "interfaces:\n- {}\n" SVC,
	  "w:2: interfaces[0].name: is required, and missing\n" },
	{ "a key twice", WITH("  ttl: 1m\n\n  ttl: 2m"), "w:8: services[0].ttl: is given twice\n" },
	{ "a section twice", IFACES SVC IFACES, "w:6: interfaces: is given twice\n" },
	{ "an empty list", IFACES "services: []\n", "w:2: services: needs at least one entry\n" },
	{ "an empty list of addresses", VIPS("[]"), "w:4: services[0].vips: needs at least one entry\n" },
	{ "an empty list of clients", CLIENTS("[]"),
	  "w:5: services[0].clients: needs at least one entry\n" },
	{ "17 interfaces", "interfaces: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}, {name: f},\n"
			   "{name: g}, {name: h}, {name: i}, {name: j}, {name: k}, {name: l}, {name: m},\n"
			   "{name: n}, {name: o}, {name: p}, {name: q}]\n" SVC,
	  "w:1: interfaces: has more than 16 entries\n" },
	{ "a word for a list", VIPS("10.0.0.1:11211"),
	  "w:4: services[0].vips: must be a list: lines that begin with '- '\n" },
	{ "nothing for a list", IFACES "services:\n",
	  "w:2: services: must be a list: lines that begin with '- '\n" },
	{ "a list for a word", "interfaces: [{name: [eth0]}]\n" SVC,
	  "w:1: interfaces[0].name: must be a single value\n" },
	{ "a mapping in a list of words", VIPS("[10.0.0.2:1, {a: b}]"),
	  "w:4: services[0].vips[1]: must be a single value\n" },
	{ "a word in a list of mappings", "interfaces:\n- name: a\n- eth0\n" SVC,
	  "w:3: interfaces[1]: must be a mapping: lines of 'key: value'\n" },
	{ "a cache without anything", "cache:\n" IFACES SVC,
	  "w:1: cache: must be a mapping: lines of 'key: value'\n" },
};

static const struct fault_row iface_rows[] = {
	{ "an interface's name of 16", "interfaces:\n- name: sixteen-letters-\n" SVC,
	  "w:2: interfaces[0].name: 'sixteen-letters-' cannot be an interface's name\n" },
	{ "an empty one", "interfaces:\n- name:\n" SVC,
	  "w:2: interfaces[0].name: '' cannot be an interface's name\n" },
	{ "a path", "interfaces:\n- name: ../x\n" SVC,
	  "w:2: interfaces[0].name: '../x' cannot be an interface's name\n" },
	{ "dots", "interfaces:\n- name: .\n- name: ..\n" SVC,
	  "w:2: interfaces[0].name: '.' cannot be an interface's name\n"
	  "w:3: interfaces[1].name: '..' cannot be an interface's name\n" },
	{ "an alias label", "interfaces:\n- name: eth0:1\n" SVC,
	  "w:2: interfaces[0].name: 'eth0:1' cannot be an interface's name\n" },
	{ "two words", "interfaces:\n- name: eth0 eth1\n" SVC,
	  "w:2: interfaces[0].name: 'eth0 eth1' cannot be an interface's name\n" },
	{ "the same interface twice", "interfaces:\n- name: a\n- name: b\n- name: a\n" SVC,
	  "w:4: interfaces[2].name: 'a' is already interfaces[0]\n" },
	{ "an unknown mode", "interfaces:\n- name: a\n  mode: skb\n" SVC,
	  "w:3: interfaces[0].mode: 'skb' is not one of auto, native, generic\n" },
	{ "an empty mode", "interfaces:\n- name: a\n  mode:\n" SVC,
	  "w:3: interfaces[0].mode: '' is not one of auto, native, generic\n" },
};

#define CACHE(line) IFACES "cache:\n  " line "\n" SVC

static const struct fault_row cache_rows[] = {
	{ "no keys", CACHE("capacity: 0"),
	  "w:3: cache.capacity: '0' is not a number from 1 to 67108864\n" },
	{ "a key too many", CACHE("capacity: 67108865"),
	  "w:3: cache.capacity: '67108865' is not a number from 1 to 67108864\n" },
	{ "a capacity that is negative", CACHE("capacity: -1"),
	  "w:3: cache.capacity: '-1' is not a number from 1 to 67108864\n" },
	{ "a capacity with a unit", CACHE("capacity: 10k"),
	  "w:3: cache.capacity: '10k' is not a number from 1 to 67108864\n" },
	{ "a capacity that could be octal", CACHE("capacity: 0100"),
	  "w:3: cache.capacity: '0100' is not a number from 1 to 67108864\n" },
	{ "a capacity beyond 64 bits", CACHE("capacity: 18446744073709551617"),
	  "w:3: cache.capacity: '18446744073709551617' is not a number from 1 to 67108864\n" },
	{ "memory in no unit we know", CACHE("memory: 64MB"),
	  "w:3: cache.memory: '64MB' is not a size, as in 512K, 64M or 1G\n" },
	{ "no memory", CACHE("memory: 0"), "w:3: cache.memory: '0' is not from 1 byte to 64G\n" },
	{ "memory of a byte too many", CACHE("memory: 68719476737"),
	  "w:3: cache.memory: '68719476737' is not from 1 byte to 64G\n" },
	{ "memory beyond 64 bits", CACHE("memory: 99999999T"),
	  "w:3: cache.memory: '99999999T' is not from 1 byte to 64G\n" },
	{ "too few connections", CACHE("connections: 255"),
	  "w:3: cache.connections: '255' is not a number of connections from 256 to 1M, as in 5000 or 16K, or 0: TCP is "
	  "not followed\n" },
	{ "too many connections", CACHE("connections: 1048577"),
	  "w:3: cache.connections: '1048577' is not a number of connections from 256 to 1M, as in 5000 or 16K, or 0: TCP "
	  "is not followed\n" },
	{ "a sample of a million and one", CACHE("sample: 1000001"),
	  "w:3: cache.sample: '1000001' is not a number from 0 to 1000000\n" },
	{ "a boolean that is neither", CACHE("hit_counters: maybe"),
	  "w:3: cache.hit_counters: 'maybe' is not one of false, true\n" },
};

static const struct fault_row service_rows[] = {
	{ "a name in capitals", IFACES "services:\n- name: A\n  vips: [10.0.0.1:1]\n  clients: [10.0.0.1]\n",
	  "w:3: services[0].name: 'A' is not a name: 1 to 31 of " NAMES "\n" },
	{ "an empty name", IFACES "services:\n- name:\n  vips: [10.0.0.1:1]\n  clients: [10.0.0.1]\n",
	  "w:3: services[0].name: '' is not a name: 1 to 31 of " NAMES "\n" },
	{ "a name that looks like an option",
	  IFACES "services:\n- name: -a\n  vips: [10.0.0.1:1]\n  clients: [10.0.0.1]\n",
	  "w:3: services[0].name: '-a' is not a name: 1 to 31 of " NAMES "\n" },
	{ "a name of 32",
	  IFACES "services:\n- name: abcdefghijklmnopqrstuvwxyz012345\n  vips: [10.0.0.1:1]\n"
		 "  clients: [10.0.0.1]\n",
	  "w:3: services[0].name: 'abcdefghijklmnopqrstuvwxyz012345' is not a name: 1 to 31 of " NAMES "\n" },
	{ "two services of one name", WITH("- name: a\n  vips: [10.0.0.2:1]\n  clients: [10.0.0.1]"),
	  "w:6: services[1].name: 'a' is already services[0]\n" },
	{ "strangers that are neither", WITH("  strangers: refuse"),
	  "w:6: services[0].strangers: 'refuse' is not one of drop, pass\n" },
	{ "an origin by name", WITH("  origin: localhost:11211"),
	  "w:6: services[0].origin: 'localhost:11211' is not ADDRESS:PORT, as in 127.0.0.1:11211 or "
	  "[::1]:11211\n" },
	{ "an origin everywhere", WITH("  origin: 0.0.0.0:11211"),
	  "w:6: services[0].origin: '0.0.0.0:11211' stands for all addresses: name one\n" },
	{ "an origin in IPv4-mapped form", WITH("  origin: '[::ffff:10.0.0.1]:11211'"),
	  "w:6: services[0].origin: '[::ffff:10.0.0.1]:11211' is an IPv4 address in IPv6 form: write it as "
	  "IPv4\n" },
	{ "a TTL without a unit", WITH("  ttl: 300"),
	  "w:6: services[0].ttl: '300' is not a duration, as in 90s, 5m, 1h30m or never\n" },
	{ "a TTL of centuries", WITH("  ttl: 106752d"),
	  "w:6: services[0].ttl: '106752d' is more than 292 years: write never\n" },
	{ "values of 0 bytes", WITH("  value_max: 0"),
	  "w:6: services[0].value_max: '0' is not a number from 1 to 1392\n" },
	{ "values beyond a datagram", WITH("  value_max: 1393"),
	  "w:6: services[0].value_max: '1393' is not a number from 1 to 1392\n" },
	{ "a checksum that is neither", WITH("  udp_checksum: no"),
	  "w:6: services[0].udp_checksum: 'no' is not one of false, true\n" },
};

static const struct fault_row vip_rows[] = {
	{ "an address without a port", VIPS("\n  - 10.0.0.2:1\n  - 10.0.0.1"),
	  "w:6: services[0].vips[1]: '10.0.0.1' is not ADDRESS:PORT, as in 10.0.0.1:11211 or "
	  "[fd00::1]:11211\n" },
	{ "an address for all", VIPS("[0.0.0.0:1]"),
	  "w:4: services[0].vips[0]: '0.0.0.0:1' stands for all addresses: name one\n" },
	{ "an address for all of IPv6", VIPS("['[::]:1']"),
	  "w:4: services[0].vips[0]: '[::]:1' stands for all addresses: name one\n" },
	{ "a multicast address", VIPS("[239.255.255.255:1]"),
	  "w:4: services[0].vips[0]: '239.255.255.255:1' is a multicast address: a unicast one is needed\n" },
	{ "a multicast address of IPv6", VIPS("['[ff02::1]:1']"),
	  "w:4: services[0].vips[0]: '[ff02::1]:1' is a multicast address: a unicast one is needed\n" },
	{ "the broadcast address", VIPS("[255.255.255.255:1]"),
	  "w:4: services[0].vips[0]: '255.255.255.255:1' is the broadcast address: a unicast one is "
	  "needed\n" },
	{ "an address of no host", VIPS("[0.0.0.1:1]"),
	  "w:4: services[0].vips[0]: '0.0.0.1:1' is in 0.0.0.0/8, which no host has\n" },
	{ "a loopback address", VIPS("[127.1.2.3:1]"),
	  "w:4: services[0].vips[0]: '127.1.2.3:1' is a loopback address, which no NIC sees\n" },
	{ "a loopback address of IPv6", VIPS("['[::1]:1']"),
	  "w:4: services[0].vips[0]: '[::1]:1' is a loopback address, which no NIC sees\n" },
	{ "an address twice in a service", VIPS("\n  - 10.0.0.1:1\n  - 10.0.0.1:2\n  - 10.0.0.1:1"),
	  "w:7: services[0].vips[2]: '10.0.0.1:1' is already services[0].vips[0]\n" },
	{ "an address twice in another spelling", VIPS("['[fd00::1]:1', '[fd00:0::0001]:1']"),
	  "w:4: services[0].vips[1]: '[fd00:0::0001]:1' is already services[0].vips[0]\n" },
	{ "an address in two services", WITH("- name: b\n  vips:\n  - 10.0.0.1:11211\n  clients: [10.0.0.1]"),
	  "w:8: services[1].vips[0]: '10.0.0.1:11211' is already services[0].vips[0]\n" },
};

static const struct fault_row client_rows[] = {
	{ "no network at all", CLIENTS("[anyone]"),
	  "w:5: services[0].clients[0]: 'anyone' is not a network, as in 10.0.0.0/8, fd00::/16 or "
	  "10.0.0.1\n" },
	{ "host bits", CLIENTS("\n  - 10.9.0.0/16\n  - 10.0.0.1/8"),
	  "w:7: services[0].clients[1]: '10.0.0.1/8' has bits set behind its prefix: the network is "
	  "10.0.0.0/8\n" },
	{ "host bits of IPv6", CLIENTS("[10.0.0.0/8, 'fd00::1/64']"),
	  "w:5: services[0].clients[1]: 'fd00::1/64' has bits set behind its prefix: the network is "
	  "fd00::/64\n" },
	{ "everybody", CLIENTS("[0.0.0.0/0]"), "w:5: services[0].clients[0]: '0.0.0.0/0' " AMPLIFIER "\n" },
	{ "everybody in IPv6", CLIENTS("[10.0.0.0/8, '::/0']"),
	  "w:5: services[0].clients[1]: '::/0' " AMPLIFIER "\n" },
	{ "a multicast network", CLIENTS("[224.0.0.0/4]"),
	  "w:5: services[0].clients[0]: '224.0.0.0/4' is multicast, which no client sends from\n" },
	{ "a multicast network of IPv6", CLIENTS("[10.0.0.0/8, 'ff00::/8']"),
	  "w:5: services[0].clients[1]: 'ff00::/8' is multicast, which no client sends from\n" },
	{ "the unspecified address", CLIENTS("[0.0.0.0]"),
	  "w:5: services[0].clients[0]: '0.0.0.0' is not an address that a client sends from\n" },
	{ "a network twice", CLIENTS("[10.0.0.1, 10.0.0.1/32]"),
	  "w:5: services[0].clients[1]: '10.0.0.1/32' is listed twice\n" },
	{ "17 networks of a family",
	  CLIENTS("[10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6, 10.0.0.7, 10.0.0.8,\n"
		  " 10.0.0.9,10.0.1.1, 10.0.1.2, 10.0.1.3, 10.0.1.4, 10.0.1.5, 10.0.1.6, 10.0.1.7,10.0.1.8]"),
	  "w:6: services[0].clients[16]: more than 16 IPv4 networks\n" },
	{ "a family without clients",
	  IFACES "services:\n- name: a\n  vips: [10.0.0.1:1, '[fd00::1]:1']\n  clients:\n  - 10.0.0.0/8\n",
	  "w:5: services[0].clients: no IPv6 network: nobody would be answered at [fd00::1]:1\n" },
	{ "clients of the other family only", CLIENTS("['fd00::/8']"),
	  "w:5: services[0].clients: no IPv4 network: nobody would be answered at 10.0.0.1:11211\n" },
};

static void test_all_faults(void)
{
	static const char text[] = "interfaces:\n"
				   "  - name: eth0/1\n"
				   "cache:\n"
				   "  capacity: lots\n"
				   "  memory: 0\n"
				   "services:\n"
				   "  - name: Sessions\n"
				   "    vips:\n"
				   "      - 127.0.0.1:11211\n"
				   "    clients:\n"
				   "      - 0.0.0.0/0\n"
				   "      - 10.0.0.1/8\n"
				   "    ttl: 5\n"
				   "  - name: b\n"
				   "    vips: [10.0.0.1]\n"
				   "    clients: [10.0.0.0/8]\n"
				   "    value_max: 9000\n";
	static const struct fault_row row = {
		"interface, cache and services", text,
		"w:2: interfaces[0].name: 'eth0/1' cannot be an interface's name\n"
		"w:4: cache.capacity: 'lots' is not a number from 1 to 67108864\n"
		"w:5: cache.memory: '0' is not from 1 byte to 64G\n"
		"w:7: services[0].name: 'Sessions' is not a name: 1 to 31 of " NAMES "\n"
		"w:9: services[0].vips[0]: '127.0.0.1:11211' is a loopback address, which no NIC sees\n"
		"w:11: services[0].clients[0]: '0.0.0.0/0' " AMPLIFIER "\n"
		"w:12: services[0].clients[1]: '10.0.0.1/8' has bits set behind its prefix: the network "
		"is 10.0.0.0/8\n"
		"w:13: services[0].ttl: '5' is not a duration, as in 90s, 5m, 1h30m or never\n"
		"w:15: services[1].vips[0]: '10.0.0.1' is not ADDRESS:PORT, as in 10.0.0.1:11211 or "
		"[fd00::1]:11211\n"
		"w:17: services[1].value_max: '9000' is not a number from 1 to 1392\n"
	};

	test_faults("all faults of one file are reported", &row, 1);
}

/* n services of `vips` addresses each, all different. */
static char *many_services(unsigned n, unsigned vips, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	fputs(IFACES "services:\n", f);
	for (unsigned i = 0; i < n; i++) {
		fprintf(f, "- name: s%u\n  clients: [10.0.0.0/8]\n  vips:\n", i);
		for (unsigned j = 0; j < vips; j++)
			fprintf(f, "  - 10.0.%u.%u:11211\n", i, j);
	}
	fclose(f);
	return text;
}

static void test_limit(unsigned n, unsigned vips, const char *want)
{
	struct config *c = NULL;
	char *said = NULL;
	size_t len = 0;
	char *text = many_services(n, vips, &len);

	CHECK_INT(parse(&c, text, len, &said), *want ? -EINVAL : 0);
	CHECK_STR(said, want);
	config_free(c);
	free(said);
	free(text);
}

static void test_limits(void)
{
	test_begin("64 services and 128 addresses are accepted, one more is not");
	test_limit(64, 2, "");
	test_limit(1, 128, "");
	test_limit(65, 1, "w:2: services: has more than 64 entries\n");
	test_limit(1, 129, "w:5: services[0].vips: has more than 128 entries\n");
	/* line 2: services; 63 services of 5 lines; in the last, its third vip */
	test_limit(43, 3, "w:260: services[42].vips[2]: more than 128 addresses in all services\n");
	test_end();
}

static void test_binary(void)
{
	static const char nul[] = IFACES "\0" SVC;
	struct config *c = NULL;
	char *said = NULL;

	test_begin("a NUL byte in the text is refused, not taken for its end");
	CHECK_INT(parse(&c, nul, sizeof(nul) - 1, &said), -EINVAL);
	CHECK_STR(said, "w:2: not UTF-8 text: control characters are not allowed\n");
	free(said);
	test_end();
}

static void test_truncated(void)
{
	size_t len = strlen(full), bad = 0;

	test_begin("a file cut off anywhere before its services end is refused or whole, never half read");
	for (size_t n = 0; n < len; n++) {
		struct config *c = NULL;
		char *said = NULL;
		int err = parse(&c, full, n, &said);

		bad += !err != !!c || !err != !*said;
		if (!err && c->services[0].nvips != 2)
			bad++;
		config_free(c);
		free(said);
	}
	CHECK_INT(bad, 0);
	test_end();
}

/* ---- files ------------------------------------------------------------------------------------ */

static void check_load(const char *path, int want_err, const char *want)
{
	struct config *c = NULL;
	char *said = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&said, &n);
	int err = config_load(&c, path, f);

	fclose(f);
	CHECK_INT(err, want_err);
	CHECK_INT(!err, !!c);
	CHECK_STR(said, want);
	config_free(c);
	free(said);
}

static void write_file(const char *path, const char *text, size_t pad)
{
	FILE *f = fopen(path, "w");

	if (!CHECK(f))
		return;
	fputs(text, f);
	for (size_t i = strlen(text); i < pad; i++)
		fputc(i % 64 == 63 ? '\n' : '#', f);
	fclose(f);
}

static void test_files(void)
{
	char dir[] = "/tmp/weir-config-XXXXXX";

	test_begin("files: good, missing, a directory, empty, at 1 MiB and above");
	if (CHECK(mkdtemp(dir)) && CHECK(!chdir(dir))) {
		write_file("good.yaml", IFACES SVC, 0);
		check_load("good.yaml", 0, "");
		check_load("none.yaml", -ENOENT, "none.yaml: cannot be read: No such file or directory\n");
		check_load(".", -EISDIR, ".: cannot be read: Is a directory\n");
		check_load("/dev/null", -EINVAL, "/dev/null: holds no configuration: the file is empty\n");
		write_file("large", IFACES SVC "\n# ", 1 << 20);
		check_load("large", 0, "");
		write_file("large", IFACES SVC "\n# ", (1 << 20) + 1);
		check_load("large", -EFBIG, "large: is larger than 1 MiB: this is no configuration\n");
		check_load("/dev/zero", -EFBIG,
			   "/dev/zero: is larger than 1 MiB: this is no configuration\n");
		unlink("good.yaml");
		unlink("large");
		rmdir(dir);
	}
	test_end();
}

/* The example is where the sources are; the test may run anywhere. */
static void test_example(void)
{
	char path[512];
	const char *slash = strrchr(__FILE__, '/');

	snprintf(path, sizeof(path), "%.*s/../../docs/weir.example.yaml", (int)(slash ? slash - __FILE__ : 0),
		 __FILE__);
	if (access(path, R_OK)) {
		test_skip("the example in docs/ is a good file", "not found from here");
		return;
	}
	test_begin("the example in docs/ is a good file");
	check_load(path, 0, "");
	test_end();
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* The maps of steering: pools, maglev and pool_ctl; backends, backend_ctl, hops and nat_back; frags. */
static __u64 steering_bytes(unsigned ncpu)
{
	return 64 * (sizeof(struct weir_pool) + 32768 + sizeof(struct weir_ctl_pool)) +
	       4096 * (64 + sizeof(struct weir_ctl_backend) + 48 * ncpu + 240) + 8192 * 8;
}

static void test_memory(void)
{
	struct config c = { .capacity = 1, .memory = 65536, .hit_counters = 1 };
	struct config_memory m;

	test_begin("memory: the index holds twice the keys in a power of two of buckets, at least 64");
	config_memory(&c, 1, &m);
	CHECK_INT(m.index_buckets, 64);
	c.capacity = 256;
	config_memory(&c, 1, &m);
	CHECK_INT(m.index_buckets, 64);
	c.capacity = 257;
	config_memory(&c, 1, &m);
	CHECK_INT(m.index_buckets, 128);
	c.capacity = WEIR_ENTRIES_MAX;
	config_memory(&c, 1, &m);
	CHECK_INT(m.index_buckets, 1 << 24);
	CHECK_INT(m.index, 1024 * MIB);
	test_end();

	test_begin("memory: slabs, counters by CPU, and the sum");
	c = (struct config){ .capacity = 1000000, .memory = 65536 * 3 - 1, .hit_counters = 1 };
	config_memory(&c, 2, &m);
	CHECK_INT(m.nslabs, 3);
	CHECK_INT(m.slabs, 3 * WEIR_SLAB_SIZE);
	CHECK_INT(m.index, 262144 * 64);
	CHECK_INT(m.hits, 1000000 * 8 * 2);
	CHECK_INT(m.fences, 262144 * 16 + 64 * 32);
	CHECK_INT(m.other, 8192 * 8 + 65 * 64 * 16 * 2 + sizeof(struct weir_ctl) + 64 * 16 * 8 * 2 + 65 * 128 +
				   steering_bytes(2));
	CHECK_INT(m.flows, 0);
	CHECK_INT(m.conns, 0);
	CHECK_INT(m.total, m.index + m.slabs + m.hits + m.fences + m.other);
	c.conns = 1024;
	c.sample = 16;
	config_memory(&c, 2, &m);
	CHECK_INT(m.conns, 1024 * sizeof(struct weir_conn));
	CHECK_INT(m.other, 8192 * 8 + 65 * 64 * 16 * 2 + sizeof(struct weir_ctl) + 64 * 16 * 8 * 2 + 65 * 128 +
				   steering_bytes(2) + 4096 * 280 * 2);
	CHECK_INT(m.total, m.index + m.slabs + m.hits + m.fences + m.conns + m.other);
	c.conns = c.sample = 0;
	c.hit_counters = 0;
	c.nifaces = 2;
	config_memory(&c, 2, &m);
	CHECK_INT(m.hits, 0);
	CHECK_INT(m.other, 8192 * 8 + 65 * 64 * 16 * 2 + sizeof(struct weir_ctl) + 64 * 16 * 8 * 2 + 65 * 128 +
				   steering_bytes(2) + 2 * (2 * 2 * 3776 + 2 * sizeof(struct weir_config)));
	test_end();
}

static void test_fits(void)
{
	struct config_memory m = { .total = 1 };
	char why[160] = "x";

	test_begin("what exceeds this machine's memory does not fit, and says so");
	CHECK_INT(config_fits(&m, why, sizeof(why)), 0);
	CHECK_STR(why, "");
	m.total = 1ULL << 60;
	CHECK_INT(config_fits(&m, why, sizeof(why)), -ENOSPC);
	why[strlen("does not fit: 1099511627776 MiB needed")] = '\0';
	CHECK_STR(why, "does not fit: 1099511627776 MiB needed");
	test_end();
}

int main(void)
{
	test_duration();
	test_size();
	test_net();
	test_net_layout();
	test_endpoint();
	test_full();
	test_defaults();
	test_cache();
	test_forms();
	FAULTS("not our YAML", yaml_rows);
	FAULTS("structure", schema_rows);
	FAULTS("interfaces", iface_rows);
	FAULTS("cache", cache_rows);
	FAULTS("service", service_rows);
	FAULTS("vips", vip_rows);
	FAULTS("clients", client_rows);
	test_all_faults();
	test_limits();
	test_binary();
	test_truncated();
	test_example();
	test_files();
	test_memory();
	test_fits();
	return test_done();
}
