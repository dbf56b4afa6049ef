// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What ends a hot copy's life: writes seen on the way in, their replies on the way out, the TTL, the
 * control plane's lease. After each write a lookup of its key must be left to the origin.
 */
#include "scene.h"

static struct scene scene;

enum reach { NONE, KEY, ALL }; /* what a datagram fences */

struct write {
	const char *says, *request;
	int reason;
	enum reach reach;
};

static const struct item items[] = {
	{.key = "foo", .value = "1", .flags = WEIR_SLOT_CAS, .cas = 1},
	{.key = "bystander", .value = "2", .flags = WEIR_SLOT_CAS, .cas = 2},
};

#define W(says, request)                         \
	{                                        \
		says, request, WEIR_R_WRITE, KEY \
	}
#define W_ALL(says, request)                         \
	{                                            \
		says, request, WEIR_R_WRITE_ALL, ALL \
	}
#define W_UNKNOWN(says, request)                   \
	{                                          \
		says, request, WEIR_R_UNKNOWN, ALL \
	}
#define W_NONE(says, request, r)                \
	{                                       \
		says, request, WEIR_R_##r, NONE \
	}

static const struct write writes[] = {
	W("set", "set foo 0 0 1\r\nx\r\n"),
	W("set with everything", "set foo 4294967295 2147483647 3 noreply\r\nxyz\r\n"),
	W("set that expires at once", "set foo 0 -1 1\r\nx\r\n"),
	W("set of an empty value", "set foo 0 0 0\r\n\r\n"),
	W("set with a bare newline behind the line", "set foo 0 0 1\nx\r\n"),
	W("set of a value with newlines", "set foo 0 0 9\r\nget foo\r\n\r\n"),
	W("add", "add foo 0 0 1\r\nx\r\n"),
	W("replace", "replace foo 0 0 1\r\nx\r\n"),
	W("append", "append foo 0 0 1\r\nx\r\n"),
	W("prepend", "prepend foo 0 0 1\r\nx\r\n"),
	W("cas", "cas foo 0 0 1 17\r\nx\r\n"),
	W("cas with noreply", "cas foo 0 0 1 17 noreply\r\nx\r\n"),
	W("delete", "delete foo\r\n"),
	W("delete with noreply", "delete foo noreply\r\n"),
	W("delete with the old time of 0", "delete foo 0\r\n"),
	W("incr", "incr foo 1\r\n"),
	W("decr", "decr foo 1\r\n"),
	W("decr with noreply", "decr foo 1 noreply\r\n"),
	W("touch", "touch foo 10\r\n"),
	W("gat", "gat 10 foo\r\n"),
	W("gats", "gats 10 foo\r\n"),
	W("ms", "ms foo 1\r\nx\r\n"),
	W("ms with flags", "ms foo 3 T90 F5 c q O123 k\r\nxyz\r\n"),
	W("ms with the key in base64", "ms Zm9v 1 b\r\nx\r\n"),
	W("ms with the key in base64, the flag last", "ms Zm9v 1 T90 c b\r\nx\r\n"),
	W("ms in append mode", "ms foo 1 MA\r\nx\r\n"),
	W("md", "md foo\r\n"),
	{"the shortest write there is", "md k\n", WEIR_R_WRITE, NONE},
	W("md that marks stale", "md foo I T30\r\n"),
	W("md with the key in base64", "md Zm9v b q\r\n"),
	W("ma", "ma foo\r\n"),
	W("ma with flags", "ma foo N0 J13 D2 v t\r\n"),
	W("ma with the key in base64", "ma Zm9v b\r\n"),
	W("mg that touches", "mg foo T30 v\r\n"),
	W("mg that creates", "mg foo N30 v\r\n"),
	W("mg that recaches", "mg foo R30 v\r\n"),
	W("mg that touches a key in base64", "mg Zm9v b T30 v\r\n"),
	W_ALL("flush_all", "flush_all\r\n"),
	W_ALL("flush_all with noreply", "flush_all noreply\r\n"),
	W_ALL("flush_all with a bare newline", "flush_all\n"),
	W_ALL("flush_all at once", "flush_all 0\r\n"),
	W_UNKNOWN("an unknown command", "frobnicate foo\r\n"),
	W_UNKNOWN("a write in capitals", "SET foo 0 0 1\r\nx\r\n"),
	W_UNKNOWN("a write behind a space", " set foo 0 0 1\r\nx\r\n"),
	W_UNKNOWN("set with two spaces", "set  foo 0 0 1\r\nx\r\n"),
	W_UNKNOWN("set with two spaces further on", "set foo 0  0 1\r\nx\r\n"),
	W_UNKNOWN("set with a tab", "set\tfoo 0 0 1\r\nx\r\n"),
	W_UNKNOWN("set with bytes that are no number", "set foo 0 0 z\r\nx\r\n"),
	W_UNKNOWN("set with a negative length: its data is the next command",
		  "set foo 0 0 -1\r\nflush_all\r\n"),
	W_UNKNOWN("set with flags beyond 32 bits", "set foo 4294967296 0 1\r\nx\r\n"),
	W_UNKNOWN("set without flags: its data is the next command", "set foo\r\nflush_all\r\n"),
	W_UNKNOWN("set with less data than it says: the next datagram completes it",
		  "set foo 0 0 9\r\nx\r\n"),
	W_UNKNOWN("set with more data than it says", "set foo 0 0 1\r\nxyz\r\n"),
	W_UNKNOWN("set with a second command behind", "set bystander 0 0 1\r\nx\r\ndelete foo\r\n"),
	W_UNKNOWN("set whose data lacks its line end", "set foo 0 0 1\r\nx"),
	W_UNKNOWN("a bare newline behind the data", "set foo 0 0 1\r\nx\n"),
	W_UNKNOWN("a get, then a write", "get bystander\r\nset foo 0 0 1\r\nx\r\n"),
	W_UNKNOWN("a meta get, then a write", "mg bystander v\r\nmd foo\r\n"),
	W_UNKNOWN("an mn, then a write", "mn\r\ndelete foo\r\n"),
	W_UNKNOWN("a version, then a write", "version\r\ndelete foo\r\n"),
	W_UNKNOWN("a stats, then a write", "stats\r\ndelete foo\r\n"),
	W_UNKNOWN("a get of many keys, then a write", "get a b c\r\ndelete foo\r\n"),
	W_UNKNOWN("an empty line, then a write", "\r\ndelete foo\r\n"),
	W_UNKNOWN("two deletes", "delete bystander\r\ndelete foo\r\n"),
	W_UNKNOWN("two touches", "touch bystander 1\r\ntouch foo 1\r\n"),
	W_UNKNOWN("two flushes", "flush_all 10\r\nflush_all\r\n"),
	W_UNKNOWN("gat of two keys", "gat 10 bystander foo\r\n"),
	W_UNKNOWN("gat with two spaces", "gat 10  foo\r\n"),
	W_UNKNOWN("gat, then a write", "gat 10 bystander\r\ndelete foo\r\n"),
	W_UNKNOWN("delete with two spaces", "delete  foo\r\n"),
	W_UNKNOWN("incr with two spaces", "incr  foo 1\r\n"),
	W_UNKNOWN("touch with two spaces", "touch  foo 1\r\n"),
	W_UNKNOWN("md with two spaces", "md  foo\r\n"),
	W_UNKNOWN("ms with two spaces", "ms  foo 1\r\nx\r\n"),
	W_UNKNOWN("mg that touches, with two spaces", "mg  foo T30\r\n"),
	W_UNKNOWN("mg that touches a key with a broken base64", "mg Zm9vYg b T30\r\n"),
	W_UNKNOWN("md with a broken base64", "md Zm9vYg b\r\n"),
	W_UNKNOWN("md with a foreign character in its base64, which memcached skips", "md Zm 9v b\r\n"),
	W_UNKNOWN("md with base64 that holds a foreign character, which memcached skips", "md Zm*9v b\r\n"),
	W_UNKNOWN("md with a control byte among its flags", "md foo q\x01\x62\r\n"),
	W_UNKNOWN("md with more flags than memcached takes",
		  "md Zm9v q q q q q q q q q q q q q q q q q b\r\n"),
	W_UNKNOWN("ms with less data than it says", "ms foo 9\r\nx\r\n"),
	W_UNKNOWN("ms in the form before 1.6", "ms foo S1\r\nx\r\n"),
	W_UNKNOWN("cache_memlimit", "cache_memlimit 64\r\n"),
	W_UNKNOWN("slabs reassign", "slabs reassign 1 2\r\n"),
	W_UNKNOWN("shutdown", "shutdown\r\n"),
	W_NONE("a delete without its line end: memcached waits in vain", "delete foo", BAD_REQUEST),
	W_NONE("a flush without its line end", "flush_all", BAD_REQUEST),
	W_NONE("a set without its line end", "set foo 0 0 1", BAD_REQUEST),
	W_NONE("get", "get foo\r\n", HIT),
	W_NONE("gets", "gets foo\r\n", HIT),
	W_NONE("get of two keys", "get foo bystander\r\n", MULTI_KEY),
	W_NONE("mg", "mg foo v\r\n", HIT),
	W_NONE("mg with a flag that is the origin's", "mg foo h v\r\n", FLAG),
	W_NONE("mn", "mn    \r\n", READ_OTHER),
	W_NONE("me", "me foo\r\n", READ_OTHER),
	W_NONE("version", "version\r\n", READ_OTHER),
	W_NONE("stats", "stats items\r\n", READ_OTHER),
};

static void fill(void)
{
	for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++)
		CHECK(scene_put(&scene, &items[i]) >= 0);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	CHECK_REASON(reason_of_get(&scene, "bystander"), WEIR_R_HIT);
}

static void check_reach(enum reach reach)
{
	CHECK_REASON(reason_of_get(&scene, "foo"), reach == NONE ? WEIR_R_HIT : WEIR_R_FENCED);
	CHECK_REASON(reason_of_get(&scene, "bystander"), reach == ALL ? WEIR_R_FENCED : WEIR_R_HIT);
}

static void test_datagram(const struct msg *m, int reason, enum reach reach)
{
	struct flow flow[] = {CLIENT4, CLIENT6};
	struct frame f;
	struct outcome o;

	for (int i = 0; i < 2; i++) {
		fill();
		frame_udp(&f, &flow[i], m->b, m->len);
		if (reason == WEIR_R_HIT) {
			scene_run(&scene, &f, &o);
			CHECK_REASON(o.reason, reason);
		} else {
			expect_untouched(&scene, &f, reason);
		}
		check_reach(reach);
	}
}

static void test_writes(void)
{
	struct msg m;

	for (size_t i = 0; i < sizeof(writes) / sizeof(*writes); i++) {
		test_begin(writes[i].says);
		msg_text(&m, 7, writes[i].request);
		test_datagram(&m, writes[i].reason, writes[i].reach);
		test_end();
	}
}

/* ---- binary ----------------------------------------------------------------------------------- */

struct bin_write {
	const char *says;
	__u8 op;
	int ext; /* bytes of extras that memcached wants */
	bool value;
};

static const struct bin_write bin_writes[] = {
	{"binary SET", 0x01, 8, true},          {"binary ADD", 0x02, 8, true},
	{"binary REPLACE", 0x03, 8, true},      {"binary DELETE", 0x04, 0, false},
	{"binary INCREMENT", 0x05, 20, false},  {"binary DECREMENT", 0x06, 20, false},
	{"binary APPEND", 0x0e, 0, true},       {"binary PREPEND", 0x0f, 0, true},
	{"binary SETQ", 0x11, 8, true},         {"binary ADDQ", 0x12, 8, true},
	{"binary REPLACEQ", 0x13, 8, true},     {"binary DELETEQ", 0x14, 0, false},
	{"binary INCREMENTQ", 0x15, 20, false}, {"binary DECREMENTQ", 0x16, 20, false},
	{"binary APPENDQ", 0x19, 0, true},      {"binary PREPENDQ", 0x1a, 0, true},
	{"binary TOUCH", 0x1c, 4, false},       {"binary GAT", 0x1d, 4, false},
	{"binary GATQ", 0x1e, 4, false},        {"binary GATK", 0x23, 4, false},
	{"binary GATKQ", 0x24, 4, false},
};

static void test_bin_write(const struct bin_write *w)
{
	static const __u8 ext[24];
	struct bin b = {.op = w->op,
			.key = "foo",
			.ext = ext,
			.ext_len = w->ext,
			.value = "xyz",
			.value_len = w->value ? 3 : 0};
	struct msg m;

	test_begin(w->says);
	msg_bin(&m, 7, &b);
	test_datagram(&m, WEIR_R_WRITE, KEY);
	/* An empty value is one too. */
	b.value_len = 0;
	msg_bin(&m, 7, &b);
	test_datagram(&m, WEIR_R_WRITE, KEY);
	/* Lengths that are not its own, or more behind it: could be anything. */
	b.ext_len = w->ext ? w->ext - 1 : 1;
	msg_bin(&m, 7, &b);
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	b.ext_len = w->ext;
	msg_bin(&m, 7, &b);
	msg_add(&m, "x", 1);
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	b.key = "bystander";
	msg_bin(&m, 7, &b);
	msg_add_bin(&m, &(struct bin){.op = 0x04, .key = "foo"});
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	/* Cut off: memcached would wait for a value, and take it from the next datagram. */
	b.value_len = w->value ? 3 : 0;
	msg_bin(&m, 7, &b);
	m.len--;
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	test_end();
}

static void test_bin_others(void)
{
	static const __u8 ten[4] = {0, 0, 0, 10};
	struct msg m;

	test_begin("binary FLUSH and FLUSHQ, at once and delayed");
	for (int i = 0; i < 4; i++) {
		msg_bin(&m, 7,
			&(struct bin){.op = i & 1 ? 0x18 : 0x08, .ext = ten, .ext_len = i & 2 ? 4 : 0});
		test_datagram(&m, WEIR_R_WRITE_ALL, ALL);
	}
	test_end();
	test_begin("binary opcodes that nobody knows");
	for (int op = 0x25; op < 256; op += 0x11) {
		msg_bin(&m, 7, &(struct bin){.op = op, .key = "foo"});
		test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	}
	test_end();
	test_begin("a quiet get, then a binary write");
	msg_bin(&m, 7, &(struct bin){.op = 0x09, .key = "bystander"});
	msg_add_bin(&m, &(struct bin){.op = 0x04, .key = "foo"});
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	test_end();
	test_begin("binary reads fence nothing");
	for (int i = 0; i < 4; i++) {
		msg_bin(&m, 7, &(struct bin){.op = "\x00\x09\x0c\x0d"[i], .key = "foo"});
		test_datagram(&m, WEIR_R_HIT, NONE);
	}
	msg_bin(&m, 7, &(struct bin){.op = 0x0a});
	test_datagram(&m, WEIR_R_READ_OTHER, NONE);
	test_end();
}

/* ---- long writes ------------------------------------------------------------------------------ */

static void test_long_writes(void)
{
	char key[251], line[2900];
	struct msg m;
	size_t n;

	test_begin("a set with a long value, over one datagram that can be understood");
	for (size_t len = 1; len <= 2000; len += 333) {
		n = snprintf(line, sizeof(line), "set foo 0 0 %zu\r\n", len);
		memset(line + n, 'v', len);
		strcpy(line + n + len, "\r\n");
		msg_text(&m, 7, line);
		test_datagram(&m, WEIR_R_WRITE, KEY);
	}
	test_end();
	test_begin("a request of no end in sight");
	memset(line, 'g', 1600);
	strcpy(line + 1600, "\r\ndelete foo\r\n");
	msg_text(&m, 7, line);
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	test_end();
	test_begin("writes of keys of 250 and of 251 bytes");
	memset(key, 'k', 250);
	key[250] = '\0';
	snprintf(line, sizeof(line), "delete %s\r\n", key);
	msg_text(&m, 7, line);
	test_datagram(&m, WEIR_R_WRITE, NONE); /* neither of the two keys */
	snprintf(line, sizeof(line), "delete %s1\r\n", key);
	msg_text(&m, 7, line);
	test_datagram(&m, WEIR_R_UNKNOWN, ALL);
	test_end();
}

/* Writes cut off at every byte: never taken for something harmless once memcached can act on them. */
static void test_cut_writes(void)
{
	static const char *const whole[] = {"set foo 0 0 1\r\nx\r\n", "cas foo 0 0 1 17 noreply\r\nx\r\n",
					    "ms Zm9v 1 b\r\nx\r\n", "delete foo\r\n", "gat 10 foo\r\n"};
	struct flow flow = CLIENT4;
	struct outcome o;
	struct frame f;
	struct msg m;

	test_begin("writes cut off at every byte fence, or lack the end of their line");
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
		for (size_t len = 1; len < strlen(whole[i]); len++) {
			bool has_line = memchr(whole[i], '\n', len);

			fill();
			msg_frame(&m, 7, 0, 1);
			msg_add(&m, whole[i], len);
			frame_udp(&f, &flow, m.b, m.len);
			scene_run(&scene, &f, &o);
			CHECK_REASON(o.reason, has_line ? WEIR_R_UNKNOWN : WEIR_R_BAD_REQUEST);
			check_reach(has_line ? ALL : NONE);
		}
	}
	test_end();
}

/* ---- delayed flush ---------------------------------------------------------------------------- */

static void test_delayed_flush(void)
{
	static const __u8 delay[4] = {0, 0, 0, 10};
	static const struct {
		const char *request;
		__u64 seconds; /* 0: unknown when */
	} rows[] = {
		{"flush_all 10\r\n", 10},
		{"flush_all 10 noreply\r\n", 10},
		{"flush_all 2592000\r\n", 2592000},
		{"flush_all 1893456000\r\n", 0},
		{"flush_all -1\r\n", 0},
		{"flush_all x\r\n", 0},
		{NULL, 10},
	};
	struct maps *maps = rx_fixture_maps(scene.fx);
	struct weir_svc_fence *fence = maps->at[MAP_SVC_FENCE];
	struct msg m;

	test_begin("a delayed flush_all notes when it strikes");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		__u64 now = monotonic_ns(), at;

		fence->flush_at_ns = 0;
		if (rows[i].request)
			msg_text(&m, 7, rows[i].request);
		else
			msg_bin(&m, 7, &(struct bin){.op = 0x08, .ext = delay, .ext_len = 4});
		test_datagram(&m, WEIR_R_WRITE_ALL, ALL);
		at = fence->flush_at_ns;
		if (!rows[i].seconds)
			CHECK(at == WEIR_NEVER);
		else
			CHECK(at + 100000000 >= now + rows[i].seconds * 1000000000 &&
			      at <= monotonic_ns() + rows[i].seconds * 1000000000);
	}
	fence->flush_at_ns = 0;
	test_end();
	test_begin("an immediate flush_all notes nothing");
	msg_text(&m, 7, "flush_all\r\n");
	test_datagram(&m, WEIR_R_WRITE_ALL, ALL);
	CHECK_INT(fence->flush_at_ns, 0);
	test_end();
}

#define CLOCK_TICK 50000000 /* the programs read the coarse clock, which lags by up to a tick */

/* ---- time ------------------------------------------------------------------------------------- */

static void test_ttl(void)
{
	struct item it = items[0];

	test_begin("an expired copy is a miss, one that expires later is a hit");
	it.expires_ns = monotonic_ns() - CLOCK_TICK;
	scene_put(&scene, &it);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_EXPIRED);
	it.expires_ns = 1;
	scene_put(&scene, &it);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_EXPIRED);
	it.expires_ns = monotonic_ns() + 60000000000ULL;
	scene_put(&scene, &it);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	test_end();
}

static void test_lease(void)
{
	struct weir_ctl *ctl = maps_ctl(rx_fixture_maps(scene.fx));

	test_begin("once the lease is over nothing is answered, until it is renewed");
	fill();
	ctl->lease_deadline_ns = 0;
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_LEASE_OVER);
	ctl->lease_deadline_ns = monotonic_ns() - CLOCK_TICK;
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_LEASE_OVER);
	CHECK_REASON(reason_of_get(&scene, "none"), WEIR_R_MISS);
	ctl->lease_deadline_ns = monotonic_ns() + 5000000000ULL;
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	ctl->lease_deadline_ns = 0;
	{
		struct flow flow = CLIENT4;
		struct frame f;
		struct msg m;

		msg_text(&m, 7, "delete foo\r\n");
		frame_udp(&f, &flow, m.b, m.len);
		expect_untouched(&scene, &f, WEIR_R_WRITE);
	}
	ctl->lease_deadline_ns = WEIR_NEVER;
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
	CHECK_REASON(reason_of_get(&scene, "bystander"), WEIR_R_HIT);
	test_end();
}

/* A value fetched before a write may not be published behind it. */
static void test_racing_fill(void)
{
	struct hot_item it = {.key = "foo",
			      .key_len = 3,
			      .value = "old",
			      .value_len = 3,
			      .expires_ns = WEIR_NEVER,
			      .fence = hotset_fence(scene.h, 0, "foo", 3)};
	struct flow flow = CLIENT4;
	struct frame f;
	struct msg m;

	test_begin("a value fetched before a write and put in after it never answers");
	msg_text(&m, 7, "set foo 0 0 3\r\nnew\r\n");
	frame_udp(&f, &flow, m.b, m.len);
	expect_untouched(&scene, &f, WEIR_R_WRITE);
	CHECK(hotset_put(scene.h, &it) >= 0);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_FENCED);
	test_end();
}

/* ---- replies ---------------------------------------------------------------------------------- */

/* One datagram of the origin's answer to the flow's client, through weir_tx. */
static void reply_part(struct flow flow, __u16 id, __u16 seq, const void *text, size_t len, int reason)
{
	struct frame q, f;
	struct outcome o;
	struct msg m;

	msg_frame(&m, id, seq, seq + 1);
	msg_add(&m, text, len);
	frame_udp(&q, &flow, "", 0);
	frame_reply(&f, &q, m.b, m.len, true);
	scene_run_tx(&scene, &f, &o);
	CHECK_REASON(o.reason, reason);
}

static void reply(struct flow flow, __u16 id, const void *text, size_t len, int reason)
{
	reply_part(flow, id, 0, text, len, reason);
}

static void request(struct flow flow, __u16 id, const char *text, int reason)
{
	struct frame f;
	struct msg m;

	msg_text(&m, id, text);
	frame_udp(&f, &flow, m.b, m.len);
	expect_untouched(&scene, &f, reason);
}

static void test_write_reply(void)
{
	static const struct {
		const char *request, *reply;
		int reason;
		enum reach reach;
	} rows[] = {
		{"set foo 0 0 1\r\nx\r\n", "STORED\r\n", WEIR_R_WRITE, KEY},
		{"delete foo\r\n", "DELETED\r\n", WEIR_R_WRITE, KEY},
		{"incr foo 1\r\n", "2\r\n", WEIR_R_WRITE, KEY},
		{"gat 10 foo\r\n", "VALUE foo 0 1\r\n1\r\nEND\r\n", WEIR_R_WRITE, KEY},
		{"ms foo 1\r\nx\r\n", "HD\r\n", WEIR_R_WRITE, KEY},
		{"ma foo v\r\n", "VA 1\r\n2\r\n", WEIR_R_WRITE, KEY},
		{"flush_all\r\n", "OK\r\n", WEIR_R_WRITE_ALL, ALL},
		{"gat 10 foo bystander\r\n", "VALUE foo 0 1\r\n1\r\n", WEIR_R_UNKNOWN, ALL},
	};
	struct flow flow[] = {CLIENT4, CLIENT6};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		test_begin(rows[i].request[0] == 'f'
				   ? "the reply to flush_all fences the service again"
				   : "the reply to a write fences again what the write did");
		for (int v = 0; v < 2; v++) {
			request(flow[v], 100 + i, rows[i].request, rows[i].reason);
			fill(); /* fetched between the request and the reply */
			reply(flow[v], 100 + i, rows[i].reply, strlen(rows[i].reply), WEIR_R_REPLY_WRITE);
			check_reach(rows[i].reach);
		}
		test_end();
	}
}

static void test_other_replies(void)
{
	/* HD and VA may also answer ms, md and ma: all of them are known by their request only. */
	static const char *const reads[] = {"VALUE foo 0 1\r\nx\r\nEND\r\n", "END\r\n", "EN\r\n"};
	static const char *const lost[] = {"STORED\r\n", "NOT_STORED\r\n", "DELETED\r\n", "TOUCHED\r\n",
					   "OK\r\n",     "2\r\n",          "NF\r\n",      "NS\r\n",
					   "EX\r\n",     "ERROR\r\n",      "HD s3\r\n", "VA 1\r\nx\r\n"};
	static const struct {
		const char *request, *reply;
		int reason;
	} harmless[] = {
		{"version\r\n", "VERSION 1.6.18\r\n", WEIR_R_READ_OTHER},
		{"mn\r\n", "MN\r\n", WEIR_R_READ_OTHER},
		{"stats\r\n", "STAT pid 1\r\n", WEIR_R_READ_OTHER},
		{"mg foo v v\r\n", "CLIENT_ERROR duplicate flag\r\n", WEIR_R_BAD_REQUEST},
		{"mg foo h v\r\n", "VA 1 h1\r\nx\r\n", WEIR_R_FLAG},
		{"mg missing k\r\n", "HD kmissing\r\n", WEIR_R_MISS},
	};
	struct flow flow = CLIENT4, other = CLIENT4;

	test_begin("the replies to requests that write nothing fence nothing, whatever they say");
	fill();
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++) {
		request(flow, 50 + i, harmless[i].request, harmless[i].reason);
		reply(flow, 50 + i, harmless[i].reply, strlen(harmless[i].reply), WEIR_R_REPLY);
	}
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	CHECK_REASON(reason_of_get(&scene, "bystander"), WEIR_R_HIT);
	test_end();

	test_begin("the replies to lookups fence nothing");
	fill();
	for (size_t i = 0; i < sizeof(reads) / sizeof(*reads); i++)
		reply(flow, 1, reads[i], strlen(reads[i]), WEIR_R_REPLY);
	for (int i = 0; i < 4; i++) {
		struct msg m = {};

		msg_add_bin(&m,
			    &(struct bin){
				    .magic = 0x81, .op = "\x00\x09\x0c\x0d"[i], .ext = "1234", .ext_len = 4});
		reply(flow, 1, m.b, m.len, WEIR_R_REPLY);
	}
	check_reach(NONE);
	test_end();
	test_begin("a write's reply whose request was not seen fences the service");
	for (size_t i = 0; i < sizeof(lost) / sizeof(*lost); i++) {
		fill();
		reply(flow, 1, lost[i], strlen(lost[i]), WEIR_R_REPLY_LOST);
		check_reach(ALL);
	}
	for (int i = 0; i < (int)(sizeof(bin_writes) / sizeof(*bin_writes)); i++) {
		struct msg m = {};

		msg_add_bin(&m, &(struct bin){.magic = 0x81, .op = bin_writes[i].op});
		fill();
		reply(flow, 1, m.b, m.len, WEIR_R_REPLY_LOST);
		check_reach(ALL);
	}
	test_end();
	test_begin("a pending write is its client's, port's and request's alone, and taken once");
	request(flow, 500, "delete foo\r\n", WEIR_R_WRITE);
	fill();
	other.src = "10.0.0.3";
	reply(other, 500, "END\r\n", 5, WEIR_R_REPLY);
	other = flow;
	other.sport = 40001;
	reply(other, 500, "END\r\n", 5, WEIR_R_REPLY);
	reply(flow, 501, "END\r\n", 5, WEIR_R_REPLY);
	check_reach(NONE);
	reply(flow, 500, "END\r\n", 5, WEIR_R_REPLY_WRITE);
	check_reach(KEY);
	fill();
	reply(flow, 500, "END\r\n", 5, WEIR_R_REPLY);
	check_reach(NONE);
	test_end();
	test_begin("further datagrams of a long reply fence nothing");
	fill();
	reply_part(flow, 10, 0, "VALUE foo 0 3000\r\nxxx", 21, WEIR_R_REPLY);
	reply_part(flow, 10, 1, "STORED\r\n", 8, WEIR_R_REPLY);
	reply_part(flow, 10, 0x100, "xxx\r\nEND\r\n", 10, WEIR_R_REPLY);
	check_reach(NONE);
	test_end();
	test_begin("a datagram of nothing but a frame header fences nothing (a quiet miss)");
	fill();
	reply(flow, 9, "", 0, WEIR_R_REPLY);
	check_reach(NONE);
	test_end();
}

/* Packets on the way out that are none of the service's replies. */
static void test_foreign_replies(void)
{
	struct flow flow = CLIENT4, rows[3];
	struct frame q, f;
	struct outcome o;
	struct msg m;

	test_begin("what leaves from elsewhere is not looked at");
	rows[0] = rows[1] = rows[2] = flow;
	rows[0].dst = "10.0.0.9";
	rows[1].dport = 11212;
	rows[2].dport = 53;
	fill();
	msg_text(&m, 7, "STORED\r\n");
	for (int i = 0; i < 3; i++) {
		frame_udp(&q, &rows[i], "", 0);
		frame_reply(&f, &q, m.b, m.len, true);
		scene_run_tx(&scene, &f, &o);
		CHECK_INT(o.reason, -1);
	}
	/* From the service, but TCP; and cut off by lies. */
	frame_udp(&q, &flow, "", 0);
	frame_reply(&f, &q, m.b, m.len, true);
	f.b[f.l3 + 9] = 6;
	frame_fix_ip_csum(&f);
	scene_run_tx(&scene, &f, &o);
	CHECK_INT(o.reason, -1);
	for (size_t len = ETH_LEN + 20; len < f.len; len++) {
		frame_reply(&f, &q, m.b, m.len, true);
		f.len = len;
		scene_run_tx(&scene, &f, &o);
		CHECK_INT(o.reason, -1);
		frame_reply(&f, &q, m.b, m.len, true);
	}
	check_reach(NONE);
	test_end();
}

int main(void)
{
	scene_open(&scene, NULL, 0);
	test_writes();
	for (size_t i = 0; i < sizeof(bin_writes) / sizeof(*bin_writes); i++)
		test_bin_write(&bin_writes[i]);
	test_bin_others();
	test_long_writes();
	test_cut_writes();
	test_delayed_flush();
	test_ttl();
	test_lease();
	test_racing_fill();
	test_write_reply();
	test_other_replies();
	test_foreign_replies();
	scene_close(&scene);
	return test_done();
}
