// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every form of a lookup: what is answered, byte by byte, and what is left to the origin untouched. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>

#include "scene.h"

#define REQUEST_ID 0x1234
#define SHORTEST   (8 + 1) /* a frame header and a byte: memcached looks at nothing less */

static struct scene scene;

static const struct item items[] = {
	{.key = "foo",
	 .value = "bar",
	 .client_flags = 5,
	 .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL,
	 .cas = 17},
	{.key = "other", .value = "second", .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 18},
	{.key = "nocas", .value = "x", .flags = WEIR_SLOT_IMMORTAL},
	{.key = "mortal", .value = "y", .flags = WEIR_SLOT_CAS, .cas = 2},
	{.key = "empty", .value = "", .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 1},
	{.key = "most",
	 .value = "ab",
	 .client_flags = 4294967295U,
	 .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL,
	 .cas = 18446744073709551615ULL},
	{.key = "b64",
	 .value = "z",
	 .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL | WEIR_SLOT_KEY_B64,
	 .cas = 3},
	{.key = "lines", .value = "END\r\nVALUE a", .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 4},
	{.key = "get", .value = "verb", .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 5},
	{.key = "\xc3\xbc\x80\xff", .value = "utf", .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 6},
};

#define OPAQUE31 "1234567890123456789012345678901"
#define OPAQUE32 OPAQUE31 "2"

struct row {
	const char *says, *request;
	int reason;
	const char *reply;
};

#define HIT(says, request, reply)                \
	{                                        \
		says, request, WEIR_R_HIT, reply \
	}
#define NOT(reason, says, request)                   \
	{                                            \
		says, request, WEIR_R_##reason, NULL \
	}

static const struct row text_rows[] = {
	HIT("get", "get foo\r\n", "VALUE foo 5 3\r\nbar\r\nEND\r\n"),
	HIT("get with a bare newline", "get foo\n", "VALUE foo 5 3\r\nbar\r\nEND\r\n"),
	HIT("get of an empty value", "get empty\r\n", "VALUE empty 0 0\r\n\r\nEND\r\n"),
	HIT("get without CAS and of no time limit", "get nocas\r\n", "VALUE nocas 0 1\r\nx\r\nEND\r\n"),
	HIT("get of an item that expires at the origin", "get mortal\r\n",
	    "VALUE mortal 0 1\r\ny\r\nEND\r\n"),
	HIT("get with the largest client flags", "get most\r\n", "VALUE most 4294967295 2\r\nab\r\nEND\r\n"),
	HIT("get of a value that looks like a reply", "get lines\r\n",
	    "VALUE lines 0 12\r\nEND\r\nVALUE a\r\nEND\r\n"),
	HIT("get of a key that looks like a verb", "get get\r\n", "VALUE get 0 4\r\nverb\r\nEND\r\n"),
	HIT("get of a key with bytes above 127", "get \xc3\xbc\x80\xff\r\n",
	    "VALUE \xc3\xbc\x80\xff 0 3\r\nutf\r\nEND\r\n"),
	HIT("get of a key that the origin holds as binary", "get b64\r\n", "VALUE b64 0 1\r\nz\r\nEND\r\n"),
	HIT("gets", "gets foo\r\n", "VALUE foo 5 3 17\r\nbar\r\nEND\r\n"),
	HIT("gets with a bare newline", "gets foo\n", "VALUE foo 5 3 17\r\nbar\r\nEND\r\n"),
	HIT("gets of an empty value", "gets empty\r\n", "VALUE empty 0 0 1\r\n\r\nEND\r\n"),
	HIT("gets with the largest numbers", "gets most\r\n",
	    "VALUE most 4294967295 2 18446744073709551615\r\nab\r\nEND\r\n"),
	NOT(CAS_UNKNOWN, "gets without a known CAS", "gets nocas\r\n"),
	NOT(MISS, "get of a key that is not hot", "get none\r\n"),
	NOT(MISS, "gets of a key that is not hot", "gets none\r\n"),
	NOT(MISS, "get of a prefix of a hot key", "get fo\r\n"),
	NOT(MISS, "get of a hot key and one byte more", "get foo1\r\n"),
	NOT(MISS, "keys are case sensitive", "get Foo\r\n"),
	NOT(MULTI_KEY, "get of two hot keys: memcached sends one datagram an item", "get foo other\r\n"),
	NOT(MULTI_KEY, "get of a hot and a cold key", "get foo none\r\n"),
	NOT(MULTI_KEY, "gets of two keys", "gets foo other\r\n"),
	NOT(MULTI_KEY, "two spaces before the key are left to memcached", "get  foo\r\n"),
	NOT(MULTI_KEY, "a space behind the key is left to memcached", "get foo \r\n"),
	NOT(MULTI_KEY, "a control byte behind the key", "get foo\x01\r\n"),
	NOT(MULTI_KEY, "a tab between keys is part of a key", "get foo\tother\r\n"),
	NOT(MULTI_KEY, "a carriage return inside the line", "get foo\rx\r\n"),
	NOT(MULTI_KEY, "two carriage returns", "get foo\r\r\n"),
	NOT(MULTI_KEY, "get without a key", "get\r\n"),
	NOT(MULTI_KEY, "get with an empty key", "get \r\n"),
	NOT(BAD_REQUEST, "get without a newline", "get foo"),
	NOT(BAD_REQUEST, "get with half a line end", "get foo\r"),
	NOT(UNKNOWN, "verbs are case sensitive", "GET foo\r\n"),
	NOT(UNKNOWN, "a space before the verb", " get foo\r\n"),
	NOT(MULTI_KEY, "a tab behind the verb", "get\tfoo\r\n"),
	NOT(UNKNOWN, "two lookups in one datagram", "get foo\r\nget foo\r\n"),
	NOT(UNKNOWN, "one byte behind a lookup", "get foo\r\nx"),
	NOT(UNKNOWN, "an empty line behind a lookup", "get foo\r\n\r\n"),
	NOT(UNKNOWN, "an empty line", "\r\n"),
	NOT(UNKNOWN, "getx", "getx foo\r\n"),
	NOT(UNKNOWN, "getsx", "getsx foo\r\n"),
	NOT(READ_OTHER, "stats", "stats\r\n"),
	NOT(READ_OTHER, "version", "version\r\n"),
	NOT(READ_OTHER, "verbosity", "verbosity 1\r\n"),
	NOT(READ_OTHER, "lru_crawler", "lru_crawler metadump all\r\n"),
	NOT(UNKNOWN, "lru_crawled", "lru_crawled metadump all\r\n"),
	NOT(READ_OTHER, "mn", "mn\r\n"),
	NOT(READ_OTHER, "quit", "quit\r\n"),
	NOT(READ_OTHER, "me", "me foo\r\n"),
};

static const struct row meta_rows[] = {
	HIT("mg", "mg foo\r\n", "HD\r\n"),
	HIT("mg with a bare newline", "mg foo\n", "HD\r\n"),
	HIT("mg v", "mg foo v\r\n", "VA 3\r\nbar\r\n"),
	HIT("mg v of an empty value", "mg empty v\r\n", "VA 0\r\n\r\n"),
	HIT("mg k", "mg foo k\r\n", "HD kfoo\r\n"),
	HIT("mg s", "mg foo s\r\n", "HD s3\r\n"),
	HIT("mg f", "mg foo f\r\n", "HD f5\r\n"),
	HIT("mg f of no flags", "mg other f\r\n", "HD f0\r\n"),
	HIT("mg f of the largest", "mg most f\r\n", "HD f4294967295\r\n"),
	HIT("mg t of an item that never expires", "mg foo t\r\n", "HD t-1\r\n"),
	HIT("mg c", "mg foo c\r\n", "HD c17\r\n"),
	HIT("mg c of the largest", "mg most c v\r\n", "VA 2 c18446744073709551615\r\nab\r\n"),
	HIT("mg O", "mg foo O123\r\n", "HD O123\r\n"),
	HIT("mg with an empty opaque", "mg foo O v\r\n", "VA 3 O\r\nbar\r\n"),
	HIT("mg with an opaque of 32 bytes", "mg foo O" OPAQUE31 " v\r\n", "VA 3 O" OPAQUE31 "\r\nbar\r\n"),
	HIT("mg q, which hides only misses", "mg foo q\r\n", "HD\r\n"),
	HIT("mg u", "mg foo u v\r\n", "VA 3\r\nbar\r\n"),
	HIT("mg with a base64 key", "mg Zm9v b v\r\n", "VA 3\r\nbar\r\n"),
	HIT("mg with a base64 key, returned as text", "mg Zm9v b k v\r\n", "VA 3 kfoo\r\nbar\r\n"),
	HIT("mg with a base64 key padded by two", "mg bW9zdA== v b\r\n", "VA 2\r\nab\r\n"),
	HIT("mg with a base64 key padded by one", "mg bm9jYXM= v b\r\n", "VA 1\r\nx\r\n"),
	HIT("mg with the base64 key of bytes above 127", "mg w7yA/w== b v\r\n", "VA 3\r\nutf\r\n"),
	HIT("mg with everything, in the request's order", "mg foo k v s f t c O123 q u\r\n",
	    "VA 3 kfoo s3 f5 t-1 c17 O123\r\nbar\r\n"),
	HIT("the same in reverse", "mg foo u q O123 c t f s v k\r\n",
	    "VA 3 O123 c17 t-1 f5 s3 kfoo\r\nbar\r\n"),
	HIT("a third order, without the value", "mg foo t s k c\r\n", "HD t-1 s3 kfoo c17\r\n"),
	HIT("spaces between flags do not count", "mg foo  v  s \r\n", "VA 3 s3\r\nbar\r\n"),
	HIT("mg of a key that the origin holds as binary", "mg b64 v s\r\n", "VA 1 s1\r\nz\r\n"),
	NOT(INEXACT, "mg k of a key that the origin holds as binary", "mg b64 k\r\n"),
	NOT(INEXACT, "mg t of an item that expires: the origin's clock knows", "mg mortal t\r\n"),
	NOT(CAS_UNKNOWN, "mg c without a known CAS", "mg nocas c v\r\n"),
	NOT(MISS, "mg of a key that is not hot", "mg none v\r\n"),
	NOT(MISS, "a quiet miss", "mg none v q\r\n"),
	NOT(MISS, "a miss with a base64 key", "mg bm9uZQ== b v\r\n"),
	NOT(MISS, "base64 without b is a key like any other", "mg Zm9v v\r\n"),
	NOT(FLAG, "an opaque of 33 bytes", "mg foo O" OPAQUE32 " v\r\n"),
	NOT(FLAG, "mg h: whether it was fetched", "mg foo h v\r\n"),
	NOT(FLAG, "mg l: when it was fetched", "mg foo l v\r\n"),
	NOT(FLAG, "a flag of other commands", "mg foo I v\r\n"),
	NOT(FLAG, "an argument to v", "mg foo v9\r\n"),
	NOT(FLAG, "an argument to k", "mg foo k1\r\n"),
	NOT(FLAG, "a flag written together with another", "mg foo vk\r\n"),
	NOT(FLAG, "E", "mg foo E1 v\r\n"),
	NOT(FLAG, "a base64 key of a length that base64 has not", "mg Zm9vYg b v\r\n"),
	NOT(FLAG, "a base64 key with a foreign character", "mg Zm*v b v\r\n"),
	NOT(FLAG, "a base64 key with padding in the middle", "mg Zg==Zm9v b v\r\n"),
	NOT(BAD_REQUEST, "a flag given twice", "mg foo v v\r\n"),
	NOT(BAD_REQUEST, "opaques given twice", "mg foo O1 O2\r\n"),
	NOT(BAD_REQUEST, "a digit as a flag", "mg foo 5 v\r\n"),
	NOT(BAD_REQUEST, "mg without a newline", "mg foo v"),
	NOT(UNKNOWN, "a tab between flags", "mg foo v\tk\r\n"),
	NOT(UNKNOWN, "a control byte behind the verb is part of it",
	    "mg\x1b"
	    "foo v\r\n"),
	NOT(UNKNOWN, "a tab behind the verb", "mg\tfoo v\r\n"),
	NOT(UNKNOWN, "two meta lookups in one datagram", "mg foo v\r\nmg foo v\r\n"),
	NOT(UNKNOWN, "more flags than memcached takes",
	    "mg foo a d e g i j l m n o p r w x y z A B C D E F G H\r\n"),
	NOT(WRITE, "mg N may create the item", "mg foo N30 v\r\n"),
	NOT(WRITE, "mg R may hand out a token", "mg foo R30 v\r\n"),
	NOT(WRITE, "mg T changes the TTL", "mg foo T30 v\r\n"),
	NOT(WRITE, "mg T with a base64 key", "mg Zm9v b T30 v\r\n"),
	NOT(UNKNOWN, "mg T with a base64 key that is not understood", "mg Zm9vYg b T30 v\r\n"),
	NOT(UNKNOWN, "mg T behind two spaces: memcached skips them", "mg  foo T30 v\r\n"),
	NOT(UNKNOWN, "mg T behind two spaces, where a key looks like a flag given twice",
	    "mg  foo f T30\r\n"),
	NOT(UNKNOWN, "mg T behind two spaces, where a key looks like no flag", "mg  9foo T30\r\n"),
};

static void put_items(void)
{
	for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++)
		CHECK(scene_put(&scene, &items[i]) >= 0);
}

static void request_row(const struct flow *flow, const struct msg *m, int reason, const void *reply,
			size_t len)
{
	struct frame f;

	frame_udp(&f, flow, m->b, m->len);
	if (reason == WEIR_R_HIT)
		expect_reply(&scene, &f, reply, len);
	else
		expect_untouched(&scene, &f, reason);
}

static void test_row(const struct row *r)
{
	struct flow flow4 = CLIENT4, flow6 = CLIENT6;
	struct msg m, reply = {};

	test_begin(r->says);
	put_items(); /* fresh fences: rows above may have raised them */
	msg_text(&m, REQUEST_ID, r->request);
	if (r->reply)
		msg_text(&reply, REQUEST_ID, r->reply);
	request_row(&flow4, &m, r->reason, reply.b, reply.len);
	put_items();
	request_row(&flow6, &m, r->reason, reply.b, reply.len);
	test_end();
}

static void test_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		test_row(&rows[i]);
}

/* ---- binary ----------------------------------------------------------------------------------- */

struct bin_row {
	const char *says;
	struct bin request;
	const char *trailer; /* behind it */
	int reason;
	struct bin reply;
};

static const __be32 flags5 = 0x05000000, flags0, flags_max = 0xffffffff;

#define BIN_HIT(says_, op_, key_, ret_key, flags_, value_, cas_)                          \
	{                                                                                 \
		.says = says_, .request = {.op = op_, .key = key_, .opaque = 0xdeadbeef}, \
		.reason = WEIR_R_HIT, .reply = {                                          \
			.magic = 0x81,                                                    \
			.op = op_,                                                        \
			.key = ret_key,                                                   \
			.ext = &flags_,                                                   \
			.ext_len = 4,                                                     \
			.value = value_,                                                  \
			.value_len = sizeof(value_) - 1,                                  \
			.opaque = 0xdeadbeef,                                             \
			.cas = cas_                                                       \
		}                                                                         \
	}
#define BIN_NOT(reason_, says_, ...)                                                \
	{                                                                           \
		.says = says_, .request = {__VA_ARGS__}, .reason = WEIR_R_##reason_ \
	}

static const struct bin_row bin_rows[] = {
	BIN_HIT("binary GET", 0x00, "foo", NULL, flags5, "bar", 17),
	BIN_HIT("binary GETQ", 0x09, "foo", NULL, flags5, "bar", 17),
	BIN_HIT("binary GETK", 0x0c, "foo", "foo", flags5, "bar", 17),
	BIN_HIT("binary GETKQ", 0x0d, "foo", "foo", flags5, "bar", 17),
	BIN_HIT("binary GET of an empty value", 0x00, "empty", NULL, flags0, "", 1),
	BIN_HIT("binary GETK of an empty value", 0x0c, "empty", "empty", flags0, "", 1),
	BIN_HIT("binary GETK of the largest numbers", 0x0c, "most", "most", flags_max, "ab", ~0ULL),
	{.says = "binary GET with a CAS, a vbucket: memcached ignores them",
	 .request = {.op = 0, .key = "foo", .cas = 99, .status = 3},
	 .reason = WEIR_R_HIT,
	 .reply = {.magic = 0x81, .ext = &flags5, .ext_len = 4, .value = "bar", .value_len = 3, .cas = 17}},
	BIN_NOT(CAS_UNKNOWN, "binary GET without a known CAS", .op = 0, .key = "nocas"),
	BIN_NOT(MISS, "binary GET of a key that is not hot", .op = 0, .key = "none"),
	BIN_NOT(MISS, "binary GETQ of a key that is not hot", .op = 9, .key = "none"),
	BIN_NOT(MISS, "binary GET of a key with a space", .op = 0, .key = "fo o"),
	BIN_NOT(MISS, "binary GET of a key with a zero byte", .op = 0, .key = "foo\0", .key_len = 4),
	BIN_NOT(UNKNOWN, "binary GET without a key", .op = 0),
	BIN_NOT(UNKNOWN, "binary GET with extras", .op = 0, .key = "foo", .ext = "1234", .ext_len = 4),
	BIN_NOT(UNKNOWN, "binary GET with a value", .op = 0, .key = "foo", .value = "v", .value_len = 1),
	BIN_NOT(BAD_REQUEST, "a reply's magic: to memcached a line without an end", .magic = 0x81, .op = 0,
		.key = "foo"),
	BIN_NOT(UNKNOWN, "an opcode beyond all", .op = 0xff, .key = "foo"),
	BIN_NOT(UNKNOWN, "an opcode that is 0 in its low six bits", .op = 0x40, .key = "foo"),
	BIN_NOT(READ_OTHER, "binary NOOP", .op = 0x0a),
	BIN_NOT(READ_OTHER, "binary VERSION", .op = 0x0b),
	BIN_NOT(READ_OTHER, "binary STAT", .op = 0x10),
	BIN_NOT(READ_OTHER, "binary QUIT", .op = 0x07),
	{.says = "bytes behind a binary GET",
	 .request = {.op = 0, .key = "foo"},
	 .trailer = "x",
	 .reason = WEIR_R_UNKNOWN},
	{.says = "a line behind a binary GET",
	 .request = {.op = 0, .key = "foo"},
	 .trailer = "get foo\r\n",
	 .reason = WEIR_R_UNKNOWN},
};

static void test_bin_row(const struct bin_row *r)
{
	struct flow flow4 = CLIENT4, flow6 = CLIENT6;
	struct msg m, reply;

	test_begin(r->says);
	put_items();
	msg_bin(&m, REQUEST_ID, &r->request);
	msg_add(&m, r->trailer, r->trailer ? strlen(r->trailer) : 0);
	msg_bin(&reply, REQUEST_ID, &r->reply);
	request_row(&flow4, &m, r->reason, reply.b, reply.len);
	put_items();
	request_row(&flow6, &m, r->reason, reply.b, reply.len);
	test_end();
}

/* Lengths in a binary header that disagree with the datagram. */
static void test_bin_lies(void)
{
	struct flow flow = CLIENT4;
	static const struct {
		int at;
		__u8 byte;
		int reason;
	} lies[] = {
		{3, 2, WEIR_R_UNKNOWN},                             /* key shorter than the body */
		{3, 4, WEIR_R_UNKNOWN},                             /* longer */
		{2, 1, WEIR_R_UNKNOWN},                             /* by 256 */
		{4, 1, WEIR_R_UNKNOWN},                             /* one byte of extras */
		{4, 255, WEIR_R_UNKNOWN}, {8, 255, WEIR_R_UNKNOWN}, /* a body of 4 GiB */
		{11, 2, WEIR_R_UNKNOWN},  {11, 4, WEIR_R_UNKNOWN},
		{5, 1, WEIR_R_HIT}, /* the data type: memcached ignores it */
	};
	struct bin get = {.op = 0, .key = "foo"};
	struct msg m, reply;

	test_begin("lengths in a binary header that disagree with the datagram");
	msg_bin(&reply, REQUEST_ID,
		&(struct bin){.magic = 0x81,
			      .ext = &flags5,
			      .ext_len = 4,
			      .value = "bar",
			      .value_len = 3,
			      .cas = 17});
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		put_items();
		msg_bin(&m, REQUEST_ID, &get);
		m.b[8 + lies[i].at] = lies[i].byte;
		request_row(&flow, &m, lies[i].reason, reply.b, reply.len);
	}
	test_end();
}

/* ---- memcached's frame header ----------------------------------------------------------------- */

static void test_frame_header(void)
{
	static const struct {
		__u16 seq, count;
		int reason;
	} rows[] = {
		{0, 0, WEIR_R_BAD_FRAME}, {0, 2, WEIR_R_BAD_FRAME},     {0, 256, WEIR_R_BAD_FRAME},
		{1, 2, WEIR_R_BAD_FRAME}, {0, 65535, WEIR_R_BAD_FRAME}, {3, 1, WEIR_R_HIT},
	};
	struct flow flow = CLIENT4;
	struct msg m, reply;

	test_begin("only a frame header of one datagram is answered, whatever its sequence number");
	put_items();
	msg_text(&reply, 0xfffe, "VALUE foo 5 3\r\nbar\r\nEND\r\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		msg_frame(&m, 0xfffe, rows[i].seq, rows[i].count);
		msg_add(&m, "get foo\r\n", 9);
		request_row(&flow, &m, rows[i].reason, reply.b, reply.len);
	}
	test_end();
	test_begin("the reserved field is not echoed");
	msg_text(&m, 0xfffe, "get foo\r\n");
	m.b[6] = 0x12;
	m.b[7] = 0x34;
	request_row(&flow, &m, WEIR_R_HIT, reply.b, reply.len);
	test_end();
}

/* A request cut off, with the whole request left in the work area by the one before. */
static void test_cut(const char *says, const struct msg *whole)
{
	struct flow flow = CLIENT4;
	struct msg m = *whole;
	struct outcome o;
	struct frame f;

	test_begin(says);
	put_items();
	for (m.len = 0; m.len < whole->len; m.len++) {
		frame_udp(&f, &flow, whole->b, whole->len);
		scene_run(&scene, &f, &o);
		CHECK_REASON(o.reason, WEIR_R_HIT);
		frame_udp(&f, &flow, m.b, m.len);
		expect_untouched(&scene, &f, m.len < SHORTEST ? WEIR_R_BAD_FRAME : WEIR_R_BAD_REQUEST);
	}
	test_end();
}

/* The frame itself cut off, behind headers that promise more. */
static void test_cut_frame(const struct flow *flow, const char *says)
{
	struct frame f;
	struct msg m;

	test_begin(says);
	put_items();
	msg_text(&m, REQUEST_ID, "get foo\r\n");
	frame_udp(&f, flow, m.b, m.len);
	while (--f.len >= ETH_LEN)
		expect_untouched(&scene, &f, WEIR_R_MALFORMED);
	test_end();
}

static void test_cuts(void)
{
	struct flow flow4 = CLIENT4, flow6 = CLIENT6, tagged = CLIENT4;
	struct msg m;

	tagged.tags = 2;
	msg_text(&m, REQUEST_ID, "gets foo\n");
	test_cut("gets cut off at every byte", &m);
	msg_text(&m, REQUEST_ID, "mg foo k v s f t c O123\n");
	test_cut("mg cut off at every byte", &m);
	msg_bin(&m, REQUEST_ID, &(struct bin){.op = 0x0c, .key = "f", .opaque = 1});
	m.b[8 + 3] = 3;
	m.b[8 + 11] = 3;
	msg_add(&m, "oo", 2);
	m.len -= 3; /* the header alone: the rest is BAD_REQUEST no longer */
	test_begin("a binary header cut off at every byte");
	for (size_t len = m.len - 1; len > 8; len--) {
		struct frame f;

		frame_udp(&f, &flow4, m.b, len);
		expect_untouched(&scene, &f, len < SHORTEST ? WEIR_R_BAD_FRAME : WEIR_R_BAD_REQUEST);
	}
	test_end();
	test_cut_frame(&flow4, "an IPv4 frame cut off at every byte");
	test_cut_frame(&flow6, "an IPv6 frame cut off at every byte");
	test_cut_frame(&tagged, "a frame with two VLAN tags cut off at every byte");
}

/* ---- boundaries ------------------------------------------------------------------------------- */

static void fill(char *p, size_t len, int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = 'a' + (i * 7 + seed) % 26;
	p[len] = '\0';
}

/* A key of a given length, and two that differ from it in their last byte and their first. */
static void test_key(size_t len)
{
	char key[300], near[300], says[80], line[700];
	struct item it = {.key = key, .value = "v", .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 9};
	struct flow flow = CLIENT4;
	struct msg m, reply;

	snprintf(says, sizeof(says), "a key of %zu bytes", len);
	test_begin(says);
	fill(key, len, len);
	CHECK_INT(scene_put(&scene, &it), HOT_ADDED);
	for (int form = 0; form < 3; form++) {
		const char *verb[] = {"get %s\r\n", "gets %s\r\n", "mg %s k v\r\n"};
		const char *answer[] = {"VALUE %s 0 1\r\nv\r\nEND\r\n", "VALUE %s 0 1 9\r\nv\r\nEND\r\n",
					"VA 1 k%s\r\nv\r\n"};

		snprintf(line, sizeof(line), verb[form], key);
		msg_text(&m, 1, line);
		snprintf(line, sizeof(line), answer[form], key);
		msg_text(&reply, 1, line);
		request_row(&flow, &m, WEIR_R_HIT, reply.b, reply.len);
		strcpy(near, key);
		near[len - 1] = '!';
		snprintf(line, sizeof(line), verb[form], near);
		msg_text(&m, 1, line);
		request_row(&flow, &m, WEIR_R_MISS, NULL, 0);
		strcpy(near, key);
		near[0] = '!';
		snprintf(line, sizeof(line), verb[form], near);
		msg_text(&m, 1, line);
		request_row(&flow, &m, WEIR_R_MISS, NULL, 0);
	}
	msg_bin(&m, 1, &(struct bin){.op = 0x0c, .key = key});
	msg_bin(&reply, 1,
		&(struct bin){.magic = 0x81,
			      .op = 0x0c,
			      .key = key,
			      .ext = &flags0,
			      .ext_len = 4,
			      .value = "v",
			      .value_len = 1,
			      .cas = 9});
	request_row(&flow, &m, WEIR_R_HIT, reply.b, reply.len);
	CHECK_INT(hotset_drop(scene.h, 0, key, len), 0);
	test_end();
}

static void test_long_key(void)
{
	char key[300], line[400];
	struct flow flow = CLIENT4;
	struct msg m;

	test_begin("a key of 251 bytes is left to memcached, which refuses it");
	fill(key, 251, 1);
	CHECK_INT(scene_put(&scene, &(struct item){.key = key, .value = "v"}), -EINVAL);
	snprintf(line, sizeof(line), "get %s\r\n", key);
	msg_text(&m, 1, line);
	request_row(&flow, &m, WEIR_R_MULTI_KEY, NULL, 0);
	snprintf(line, sizeof(line), "mg %s v\r\n", key);
	msg_text(&m, 1, line);
	request_row(&flow, &m, WEIR_R_BAD_REQUEST, NULL, 0);
	msg_bin(&m, 1, &(struct bin){.op = 0, .key = key});
	request_row(&flow, &m, WEIR_R_UNKNOWN, NULL, 0);
	test_end();
	test_begin("a base64 key of 250 decoded bytes is too long for a line, one of 186 is not");
	fill(key, 300 - 1, 1);
	for (int len = 248; len <= 252; len += 4) {
		snprintf(line, sizeof(line), "mg %.*s b v\r\n", len, key);
		msg_text(&m, 1, line);
		request_row(&flow, &m, len == 248 ? WEIR_R_MISS : WEIR_R_BAD_REQUEST, NULL, 0);
	}
	test_end();
}

/* The value of `v` whose `get` reply fills a datagram to `len` bytes, the frame header included. */
static size_t value_for(size_t len, const char *key, int more)
{
	char head[64];

	for (size_t n = len;; n--) {
		size_t h = snprintf(head, sizeof(head), "VALUE %s 0 %zu\r\n", key, n);

		if (8 + h + n + 7 + more <= len)
			return n;
	}
}

struct sized {
	char value[1600], line[1800];
	struct msg request, reply;
};

static void sized_reply(struct sized *s, const char *verb, const char *head, const char *tail)
{
	char line[64];

	snprintf(line, sizeof(line), "%s\r\n", verb);
	msg_text(&s->request, 1, line);
	snprintf(s->line, sizeof(s->line), "%s%s%s", head, s->value, tail);
	msg_text(&s->reply, 1, s->line);
}

static void test_value(size_t n)
{
	static struct sized s;
	struct item it = {
		.key = "v", .value = s.value, .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 7};
	struct flow flow4 = CLIENT4, flow6 = CLIENT6;
	static __u32 no_flags;
	char says[64], head[64];
	int get_fits, gets_fits;

	snprintf(says, sizeof(says), "a value of %zu bytes, over IPv4 and IPv6", n);
	test_begin(says);
	fill(s.value, n, n);
	CHECK(scene_put(&scene, &it) >= 0);
	snprintf(head, sizeof(head), "VALUE v 0 %zu\r\n", n);
	sized_reply(&s, "get v", head, "\r\nEND\r\n");
	get_fits = s.reply.len <= 1400;
	CHECK(get_fits);
	request_row(&flow4, &s.request, WEIR_R_HIT, s.reply.b, s.reply.len);
	request_row(&flow6, &s.request, WEIR_R_HIT, s.reply.b, s.reply.len);
	snprintf(head, sizeof(head), "VALUE v 0 %zu 7\r\n", n);
	sized_reply(&s, "gets v", head, "\r\nEND\r\n");
	gets_fits = s.reply.len <= 1400;
	request_row(&flow4, &s.request, gets_fits ? WEIR_R_HIT : WEIR_R_TOO_LONG, s.reply.b, s.reply.len);
	request_row(&flow6, &s.request, gets_fits ? WEIR_R_HIT : WEIR_R_TOO_LONG, s.reply.b, s.reply.len);
	snprintf(head, sizeof(head), "VA %zu Oab s%zu\r\n", n, n);
	sized_reply(&s, "mg v v Oab s", head, "\r\n");
	request_row(&flow4, &s.request, s.reply.len <= 1400 ? WEIR_R_HIT : WEIR_R_TOO_LONG, s.reply.b,
		    s.reply.len);
	msg_bin(&s.request, 1, &(struct bin){.op = 0x0d, .key = "v"});
	msg_bin(&s.reply, 1,
		&(struct bin){.magic = 0x81,
			      .op = 0x0d,
			      .key = "v",
			      .ext = &no_flags,
			      .ext_len = 4,
			      .value = s.value,
			      .value_len = n,
			      .cas = 7});
	request_row(&flow6, &s.request, s.reply.len <= 1400 ? WEIR_R_HIT : WEIR_R_TOO_LONG, s.reply.b,
		    s.reply.len);
	test_end();
}

/* Meta and gets replies of exactly one datagram and one byte more, by the length of the opaque. */
static void test_exact_datagram(void)
{
	static struct sized s;
	struct item it = {
		.key = "v", .value = s.value, .flags = WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL, .cas = 7};
	struct flow flow = CLIENT4;
	char head[64], verb[64];

	test_begin("a meta reply of 1400 bytes is answered, one of 1401 is not");
	fill(s.value, value_for(1400, "v", 0), 3);
	CHECK(scene_put(&scene, &it) >= 0);
	for (int opaque = 0; opaque < 31; opaque++) {
		snprintf(verb, sizeof(verb), "mg v v O%.*s", opaque, OPAQUE31);
		snprintf(head, sizeof(head), "VA %zu O%.*s\r\n", strlen(s.value), opaque, OPAQUE31);
		sized_reply(&s, verb, head, "\r\n");
		request_row(&flow, &s.request, s.reply.len <= 1400 ? WEIR_R_HIT : WEIR_R_TOO_LONG, s.reply.b,
			    s.reply.len);
	}
	test_end();
	test_begin("a value whose get exceeds one datagram is not taken into the hot set");
	fill(s.value, value_for(1400, "v", 0) + 1, 3);
	CHECK_INT(scene_put(&scene, &it), -EMSGSIZE);
	CHECK_INT(hotset_drop(scene.h, 0, "v", 1), 0);
	test_end();
}

static const char *config_text(const char *more)
{
	static char yaml[512];

	snprintf(yaml, sizeof(yaml),
		 "interfaces: [{name: eth0}]\n"
		 "cache: {capacity: 64, memory: 4M}\n"
		 "services:\n"
		 "  - name: test\n"
		 "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
		 "    clients: [10.0.0.0/8, 'fd00::/8']\n"
		 "%s",
		 more);
	return yaml;
}

/* The reply's IP packet against the MTU: 576 bytes, and one more. */
static void test_mtu(void)
{
	static struct sized s;
	struct item it = {.key = "v", .value = s.value};
	struct flow flow[] = {CLIENT4, CLIENT6};
	char head[64];

	scene_open(&scene, config_text(""), 576);
	for (int i = 0; i < 2; i++) {
		int headers = i ? 48 : 28;

		test_begin(i ? "IPv6: a reply of exactly the MTU is answered, one byte more is not"
			     : "IPv4: a reply of exactly the MTU is answered, one byte more is not");
		for (int over = 0; over < 2; over++) {
			fill(s.value, value_for(576 - headers, "v", 0) + over, 1);
			CHECK(scene_put(&scene, &it) >= 0);
			snprintf(head, sizeof(head), "VALUE v 0 %zu\r\n", strlen(s.value));
			sized_reply(&s, "get v", head, "\r\nEND\r\n");
			CHECK_INT(s.reply.len, 576 - headers + over);
			request_row(&flow[i], &s.request, over ? WEIR_R_TOO_LONG : WEIR_R_HIT, s.reply.b,
				    s.reply.len);
		}
		test_end();
	}
	scene_close(&scene);
}

/* With udp_checksum: false. */
static void test_no_checksum(void)
{
	struct flow flow = CLIENT4, flow6 = CLIENT6;
	struct frame f, want;
	struct outcome o;
	struct msg m, reply;

	test_begin("udp_checksum: false leaves the UDP checksum 0 over IPv4, and never over IPv6");
	scene_open(&scene, config_text("    udp_checksum: false\n"), 1500);
	put_items();
	msg_text(&m, 1, "get foo\r\n");
	msg_text(&reply, 1, "VALUE foo 5 3\r\nbar\r\nEND\r\n");
	frame_udp(&f, &flow, m.b, m.len);
	frame_reply(&want, &f, reply.b, reply.len, false);
	scene_run(&scene, &f, &o);
	CHECK_INT(o.action, XDP_TX);
	CHECK_MEM(o.b, o.len, want.b, want.len);
	frame_udp(&f, &flow6, m.b, m.len);
	expect_reply(&scene, &f, reply.b, reply.len);
	test_end();
	scene_close(&scene);
}

/* A reply whose checksum comes out as 0 is sent as 0xffff: found by trying request ids. */
static void test_zero_checksum(void)
{
	struct flow flow[] = {CLIENT4, CLIENT6};
	struct frame f, reply;
	struct msg m, r;

	test_begin("a UDP checksum that comes out as 0 is sent as 0xffff");
	put_items();
	for (int i = 0; i < 2; i++) {
		for (int id = 0; id < 65536; id++) {
			msg_text(&m, id, "get foo\r\n");
			msg_text(&r, id, "VALUE foo 5 3\r\nbar\r\nEND\r\n");
			frame_udp(&f, &flow[i], m.b, m.len);
			frame_reply(&reply, &f, r.b, r.len, true);
			if (frame_get16(&reply, reply.l4 + 6) == 0xffff)
				break;
		}
		CHECK_INT(frame_get16(&reply, reply.l4 + 6), 0xffff);
		expect_reply(&scene, &f, r.b, r.len);
	}
	test_end();
}

static void test_counters(void)
{
	unsigned long long hits = rx_fixture_count(scene.fx, WEIR_R_HIT);
	const struct weir_slot *foo, *other;
	__u64 n;

	test_begin("a hit counts once, for its key and for its service");
	put_items();
	foo = hotset_find(scene.h, 0, "foo", 3);
	other = hotset_find(scene.h, 0, "other", 5);
	n = hotset_hits(scene.h, other);
	for (int i = 0; i < 5; i++)
		CHECK_REASON(reason_of_get(&scene, "other"), WEIR_R_HIT);
	CHECK_REASON(reason_of_get(&scene, "none"), WEIR_R_MISS);
	CHECK_INT(hotset_hits(scene.h, other), n + 5);
	n = hotset_hits(scene.h, foo);
	CHECK_REASON(reason_of_get(&scene, "foo"), WEIR_R_HIT);
	CHECK_INT(hotset_hits(scene.h, foo), n + 1);
	CHECK_INT(rx_fixture_count(scene.fx, WEIR_R_HIT), hits + 6);
	test_end();
}

int main(void)
{
	static const size_t keys[] = {1,  7,  8,  9,   15,  16,  17,  31,  32,
				      63, 64, 65, 127, 128, 247, 248, 249, 250};
	static const size_t values[] = {0, 1, 2, 3, 31, 32, 99, 100, 255, 256, 257, 999, 1000, 1024};
	struct scene first;

	scene_open(&scene, NULL, 0);
	test_rows(text_rows, sizeof(text_rows) / sizeof(*text_rows));
	test_rows(meta_rows, sizeof(meta_rows) / sizeof(*meta_rows));
	for (size_t i = 0; i < sizeof(bin_rows) / sizeof(*bin_rows); i++)
		test_bin_row(&bin_rows[i]);
	test_bin_lies();
	test_frame_header();
	test_cuts();
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		test_key(keys[i]);
	test_long_key();
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		test_value(values[i]);
	for (int less = 6; less >= 0; less--)
		test_value(value_for(1400, "v", 0) - less);
	test_exact_datagram();
	test_zero_checksum();
	test_counters();
	first = scene;
	test_mtu();
	test_no_checksum();
	scene_close(&first);
	return test_done();
}
