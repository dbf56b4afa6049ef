// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Writes over TCP: each segment of a client passes weir_rx, and what it fences is looked up. After each command that
 * is certain, the next one is still understood: a delete of "sentinel" fences that key, and nothing else does.
 */
#include "emulated.h"
#include "track_scene.h"

static char some_value[DATA_BYTES]; /* zeroes */

enum reach { NONE, KEY, ALL, LOST }; /* ALL: and the stream goes on; LOST: it does not */

struct command {
	const char *says, *bytes;
	enum reach reach;
	size_t len;
};

#define C(says, bytes, reach) {says, bytes, reach, sizeof(bytes) - 1}

static const struct command commands[] = {
	C("set", "set foo 0 0 1\r\nx\r\n", KEY),
	C("set with everything", "set foo 4294967295 2147483647 3 noreply\r\nxyz\r\n", KEY),
	C("set with flags and a time of many digits", "set foo 32768 3600 12\r\nabcdefghijkl\r\n", KEY),
	C("set with the longest numbers that are read at once", "set foo 9999999 1234567 0000003\r\nabc\r\n", KEY),
	C("set with one digit more each", "set foo 99999999 12345678 00000003\r\nabc\r\n", KEY),
	C("set of an empty value", "set foo 0 0 0\r\n\r\n", KEY),
	C("set that expires at once, with a bare newline", "set foo 0 -1 1\nx\r\n", KEY),
	C("set of a value that reads like commands",
	  "set foo 0 0 33\r\nflush_all\r\ndelete bystander\r\nget\r\r\r\n", KEY),
	C("set of a value of newlines", "set foo 0 0 6\r\n\r\n\r\n\r\n\r\n", KEY),
	C("set whose value does not end as it should", "set foo 0 0 1\r\nxyz", KEY),
	C("set of a value with a zero byte", "set foo 0 0 3\r\na\0b\r\n", KEY),
	C("add", "add foo 0 0 1\r\nx\r\n", KEY),
	C("replace", "replace foo 0 0 1\r\nx\r\n", KEY),
	C("append", "append foo 0 0 1\r\nx\r\n", KEY),
	C("prepend", "prepend foo 0 0 1 noreply\r\nx\r\n", KEY),
	C("cas", "cas foo 0 0 1 17\r\nx\r\n", KEY),
	C("cas with noreply", "cas foo 0 0 1 17 noreply\r\nx\r\n", KEY),
	C("delete", "delete foo\r\n", KEY),
	C("delete with a bare newline", "delete foo\n", KEY),
	C("delete with noreply and a bare newline", "delete foo noreply\n", KEY),
	C("incr", "incr foo 1\r\n", KEY),
	C("decr", "decr foo 1 noreply\r\n", KEY),
	C("touch", "touch foo 10\r\n", KEY),
	C("gat", "gat 10 foo\r\n", KEY),
	C("gats of several keys", "gats 10 a foo b\r\n", KEY),
	C("gat of several keys, the last one", "gat 10 a  bb ccc foo\r\n", KEY),
	C("gat of 33 keys", "gat 10 a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a foo\r\n", KEY),
	C("ms", "ms foo 1\r\nx\r\n", KEY),
	C("ms with flags", "ms foo 3 T90 F5 c q O123 k\r\nxyz\r\n", KEY),
	C("ms of an empty value", "ms foo 0\r\n\r\n", KEY),
	C("ms with the key in base64", "ms Zm9v 1 T90 b\r\nx\r\n", KEY),
	C("md", "md foo q\r\n", KEY),
	C("md with the key in base64", "md Zm9v b\r\n", KEY),
	C("ma", "ma foo N0 J13 D2 v t\r\n", KEY),
	C("mg that touches", "mg foo T30 v\r\n", KEY),
	C("mg that creates", "mg foo N30 v\r\n", KEY),
	C("mg that touches, with its flag at the end", "mg foo v k q O12345678901234567890 s T30\r\n", KEY),
	C("mg that touches, behind many flags", "mg foo v k q O12345678901234567890123456789012 s T30\n", KEY),
	C("mg that recaches a key in base64", "mg Zm9v b R30 v\r\n", KEY),
	C("get", "get foo\r\n", NONE),
	C("get with a bare newline", "get foo\n", NONE),
	C("gets of several keys", "gets foo bystander foo\r\n", NONE),
	C("get that memcached refuses", "get\r\n", NONE),
	C("mg", "mg foo v t s\r\n", NONE),
	C("mg with flags of the origin's", "mg foo h l t v\r\n", NONE),
	C("mg without flags", "mg bystander\n", NONE),
	C("mg of a key that has its flags' letters", "mg NRT v\r\n", NONE),
	C("mg with an opaque that has them", "mg bystander ONRT v\r\n", NONE),
	C("mg of a long key", "mg bystander:0123456789012345678901234567890123456789 v t f c k s q\r\n", NONE),
	C("mg with a flag twice", "mg foo v v\r\n", NONE),
	C("mn", "mn\r\n", NONE),
	C("me", "me foo\r\n", NONE),
	C("version", "version\r\n", NONE),
	C("verbosity", "verbosity 1\r\n", NONE),
	C("lru_crawler", "lru_crawler metadump all\r\n", NONE),
	C("stats", "stats items\r\n", NONE),
	C("an empty line", "\r\n", NONE),
	C("a bare newline", "\n", NONE),
	C("flush_all", "flush_all\r\n", ALL),
	C("flush_all with noreply", "flush_all noreply\r\n", ALL),
	C("flush_all at once", "flush_all 0\r\n", ALL),
	C("an unknown command", "frobnicate foo\r\n", LOST),
	C("a command in capitals", "SET foo 0 0 1\r\nx\r\n", LOST),
	C("a space in front", " set foo 0 0 1\r\nx\r\n", LOST),
	C("set with two spaces", "set  foo 0 0 1\r\nx\r\n", LOST),
	C("set with two spaces behind the flags", "set foo 0  0 1\r\nx\r\n", LOST),
	C("set with a letter for flags", "set foo x 0 1\r\nx\r\n", LOST),
	C("set without a length", "set foo 0 0\r\n", LOST),
	C("set with a length that is none", "set foo 0 0 z\r\nx\r\n", LOST),
	C("set with a negative length", "set foo 0 0 -1\r\nflush_all\r\n", LOST),
	C("set with a length beyond 31 bits, which memcached cuts to 1", "set foo 0 0 4294967297\r\nx\r\n", LOST),
	C("set of over a gigabyte", "set foo 0 0 1073741900\r\nx", LOST),
	C("ms in the form before 1.6", "ms foo S1\r\nx\r\n", LOST),
	C("ms without a length", "ms foo\r\n", LOST),
	C("md with a broken base64", "md Zm9vYg b\r\n", LOST),
	C("md with more flags than memcached takes", "md Zm9v q q q q q q q q q q q q q q q q q b\r\n", LOST),
	C("ms with more flags than memcached takes behind b", "ms Zm9v 1 b q q q q q q q q q q q q q q q q q\r\nx\r\n",
	  LOST),
	C("gat of more keys than are read", "gat 10 a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a\r\n",
	  LOST),
	C("gat with a control byte between keys", "gat 10 a\x01"
						"foo\r\n", LOST),
	C("cache_memlimit", "cache_memlimit 64\r\n", LOST),
	C("shutdown", "shutdown\r\n", LOST),
	C("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", LOST),
	C("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", LOST),
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

/* ---- what was fenced -------------------------------------------------------------------------- */

struct fences {
	unsigned long long foo, bystander, sentinel, all;
};

static struct fences now(void)
{
	return (struct fences){key_fences("foo", 3), key_fences("bystander", 9), key_fences("sentinel", 8),
			       service_fences()};
}

static void check_reach(struct fences was, enum reach reach)
{
	struct fences is = now();

	CHECK_INT(is.foo - was.foo, reach == KEY);
	CHECK_INT(is.bystander - was.bystander, 0);
	CHECK_INT(is.sentinel - was.sentinel, 0);
	if (reach >= ALL)
		CHECK(is.all > was.all);
	else
		CHECK_INT(is.all - was.all, 0);
}

/* The stream is still understood. */
static void check_goes_on(struct conn *c, bool lost)
{
	struct fences was = now(), is;

	CHECK_REASON(says(c, "delete sentinel\r\n"), lost ? WEIR_R_TCP_UNSURE : WEIR_R_TCP_WRITE);
	is = now();
	CHECK_INT(is.sentinel - was.sentinel, !lost);
	CHECK_INT(is.all - was.all, lost);
}

static int reason_for(enum reach reach)
{
	return reach == NONE ? WEIR_R_TCP : reach == KEY ? WEIR_R_TCP_WRITE : reach == ALL ? WEIR_R_TCP_WRITE_ALL :
											     WEIR_R_TCP_UNSURE;
}

/* ---- commands --------------------------------------------------------------------------------- */

static void test_whole(const struct command *cmd)
{
	struct conn c = conn_open();
	unsigned long long causes = all_causes();
	struct fences was = now();

	test_begin(cmd->says);
	CHECK_REASON(say(&c, cmd->bytes, cmd->len), reason_for(cmd->reach));
	check_reach(was, cmd->reach);
	CHECK_INT(all_causes() - causes, cmd->reach >= ALL);
	check_goes_on(&c, cmd->reach == LOST);
	conn_end(&c);
	test_end();
}

/* Cut into two at every byte: whichever half, the key is fenced once, and all is as if it had been whole. */
static void test_halves(const struct command *cmd)
{
	size_t len = cmd->len;

	for (size_t cut = 1; cut < len; cut += emulated() ? 3 : 1) {
		struct conn c = conn_open();
		struct fences was = now();

		say(&c, cmd->bytes, cut);
		say(&c, cmd->bytes + cut, len - cut);
		check_reach(was, cmd->reach);
		check_goes_on(&c, cmd->reach == LOST);
		conn_end(&c);
	}
}

static void test_thirds(const struct command *cmd)
{
	size_t len = cmd->len, step = 1 + len / (emulated() ? 6 : 16);

	for (size_t a = 1; a < len - 1; a += step) {
		for (size_t b = a + 1; b < len; b += step) {
			struct conn c = conn_open();
			struct fences was = now();

			segment_pass(&c, c.seq, TCP_ACK, cmd->bytes, a);
			segment_pass(&c, c.seq + a, TCP_ACK, cmd->bytes + a, b - a);
			segment_pass(&c, c.seq + b, TCP_ACK, cmd->bytes + b, len - b);
			c.seq += len;
			check_reach(was, cmd->reach);
			check_goes_on(&c, cmd->reach == LOST);
			conn_end(&c);
		}
	}
}

static void test_commands(void)
{
	for (size_t i = 0; i < COMMANDS; i++)
		test_whole(&commands[i]);
	test_begin("each of them, cut in two at every byte");
	for (size_t i = 0; i < COMMANDS; i++)
		test_halves(&commands[i]);
	test_end();
	test_begin("and in three");
	for (size_t i = 0; i < COMMANDS; i++)
		test_thirds(&commands[i]);
	test_end();
}

/* All that are certain, one behind the other, in segments of any size: each is understood, none fences more. */
static void test_pipeline(void)
{
	static char stream[8192];
	size_t len = 0, keys = 0;

	for (size_t i = 0; i < COMMANDS; i++) {
		if (commands[i].reach > KEY)
			continue;
		memcpy(stream + len, commands[i].bytes, commands[i].len);
		len += commands[i].len;
		keys += commands[i].reach == KEY;
	}
	test_begin("all of them in a pipeline, in segments of 1 to 1400 bytes");
	for (size_t size = 1; size <= DATA_BYTES; size += 1 + size / 7) {
		struct conn c = conn_open();
		struct fences was = now();

		for (size_t at = 0; at < len; at += size) {
			size_t n = len - at < size ? len - at : size;

			segment_pass(&c, c.seq, TCP_ACK, stream + at, n);
			c.seq += n;
		}
		CHECK_INT(now().foo - was.foo, keys);
		CHECK_INT(now().all - was.all, 0);
		check_goes_on(&c, false);
		conn_end(&c);
	}
	test_end();
}

/* ---- binary ----------------------------------------------------------------------------------- */

static void bin_msg(struct msg *m, const struct bin *b)
{
	m->len = 0;
	msg_add_bin(m, b);
}

/* The message in two segments, cut anywhere, and what it should fence; then a binary delete of "sentinel". */
static void test_bin(const struct msg *m, enum reach reach)
{
	struct msg next;

	bin_msg(&next, &(struct bin){.op = 0x04, .key = "sentinel"});
	for (size_t cut = 0; cut < m->len; cut += 1 + cut / 40) {
		struct conn c = conn_open();
		struct fences was = now(), is;

		if (cut)
			say(&c, m->b, cut);
		say(&c, m->b + cut, m->len - cut);
		check_reach(was, reach);
		was = now();
		say(&c, next.b, next.len);
		is = now();
		CHECK_INT(is.sentinel - was.sentinel, reach != LOST);
		CHECK_INT(is.all - was.all, reach == LOST);
		conn_end(&c);
	}
}

struct bin_write {
	const char *says;
	__u8 op;
	int ext;
	bool value;
};

static const struct bin_write bin_writes[] = {
	{"binary SET", 0x01, 8, true},	       {"binary ADD", 0x02, 8, true},
	{"binary REPLACE", 0x03, 8, true},     {"binary DELETE", 0x04, 0, false},
	{"binary INCREMENT", 0x05, 20, false}, {"binary DECREMENT", 0x06, 20, false},
	{"binary APPEND", 0x0e, 0, true},      {"binary PREPEND", 0x0f, 0, true},
	{"binary SETQ", 0x11, 8, true},	       {"binary ADDQ", 0x12, 8, true},
	{"binary REPLACEQ", 0x13, 8, true},    {"binary DELETEQ", 0x14, 0, false},
	{"binary INCREMENTQ", 0x15, 20, false}, {"binary DECREMENTQ", 0x16, 20, false},
	{"binary APPENDQ", 0x19, 0, true},     {"binary PREPENDQ", 0x1a, 0, true},
	{"binary TOUCH", 0x1c, 4, false},      {"binary GAT", 0x1d, 4, false},
	{"binary GATQ", 0x1e, 4, false},       {"binary GATK", 0x23, 4, false},
	{"binary GATKQ", 0x24, 4, false},
};

static void test_bin_writes(void)
{
	static const __u8 ext[24];
	static char value[300];
	struct msg m;

	for (size_t i = 0; i < sizeof(bin_writes) / sizeof(*bin_writes); i++) {
		const struct bin_write *w = &bin_writes[i];
		struct bin b = {.op = w->op, .key = "foo", .ext = ext, .ext_len = w->ext, .value = value};

		test_begin(w->says);
		memset(value, '\x80', sizeof(value)); /* reads like requests */
		b.value_len = w->value ? sizeof(value) : 0;
		bin_msg(&m, &b);
		test_bin(&m, KEY);
		b.value_len = 0;
		bin_msg(&m, &b);
		test_bin(&m, KEY);
		b.ext_len = w->ext ? w->ext - 1 : 1;
		bin_msg(&m, &b);
		test_bin(&m, LOST);
		test_end();
	}
}

static void test_bin_others(void)
{
	static const __u8 ten[4] = {0, 0, 0, 10};
	static char key[300];
	struct msg m;

	test_begin("binary reads fence nothing");
	for (int i = 0; i < 11; i++) {
		__u8 op = "\x00\x09\x0c\x0d\x0a\x0b\x10\x07\x17\x20\x1b"[i];

		bin_msg(&m, &(struct bin){.op = op, .key = i < 4 ? "foo" : ""});
		test_bin(&m, NONE);
	}
	bin_msg(&m, &(struct bin){.op = 0x10, .key = "items"}); /* STAT */
	test_bin(&m, NONE);
	bin_msg(&m, &(struct bin){.op = 0x21, .key = "PLAIN", .value = "\0a\0b", .value_len = 4});
	test_bin(&m, NONE);
	test_end();
	test_begin("binary FLUSH and FLUSHQ fence the service");
	for (int i = 0; i < 4; i++) {
		bin_msg(&m, &(struct bin){.op = i & 1 ? 0x18 : 0x08, .ext = ten, .ext_len = i & 2 ? 4 : 0});
		test_bin(&m, ALL);
	}
	test_end();
	test_begin("binary requests behind which memcached may read on elsewhere");
	for (int op = 0x25; op < 256; op += 0x11) {
		bin_msg(&m, &(struct bin){.op = op, .key = "foo"});
		test_bin(&m, LOST);
	}
	bin_msg(&m, &(struct bin){.op = 0x0a, .value = "x", .value_len = 1}); /* NOOP with a body */
	test_bin(&m, LOST);
	bin_msg(&m, &(struct bin){.op = 0x00, .key = "foo", .value = "x", .value_len = 1});
	test_bin(&m, LOST);
	bin_msg(&m, &(struct bin){.op = 0x0a});
	msg_add_bin(&m, &(struct bin){.magic = 0x81, .op = 0x04, .key = "foo"});
	test_bin(&m, LOST);
	memset(key, 'k', sizeof(key));
	bin_msg(&m, &(struct bin){.op = 0x04, .key = key, .key_len = 251});
	test_bin(&m, LOST);
	bin_msg(&m, &(struct bin){.op = 0x04, .key = "foo"});
	m.b[8] = 0x7f; /* the body's length: two gigabytes */
	test_bin(&m, LOST);
	bin_msg(&m, &(struct bin){.op = 0x0a});
	m.b[4] = 47; /* extras beyond the body */
	test_bin(&m, LOST);
	bin_msg(&m, &(struct bin){.op = 0x0a});
	m.b[3] = 1; /* a key beyond it */
	test_bin(&m, LOST);
	bin_msg(&m, &(struct bin){.op = 0x10, .key = "items"});
	m.b[11]--;
	test_bin(&m, LOST);
	test_end();
	test_begin("binary behind binary is none");
	{
		struct conn c = conn_open();
		struct fences was;

		bin_msg(&m, &(struct bin){.op = 0x00, .key = "a"});
		CHECK_REASON(say(&c, m.b, m.len), WEIR_R_TCP);
		was = now();
		CHECK_REASON(says(&c, "delete foo and twenty bytes more\r\n"), WEIR_R_TCP_UNSURE);
		check_reach(was, LOST);
		conn_end(&c);
	}
	test_end();
}

/* ---- long ones -------------------------------------------------------------------------------- */

/* In segments of `size` bytes; the reasons' highest. */
static int say_in(struct conn *c, const char *text, size_t len, size_t size)
{
	int worst = 0;

	for (size_t at = 0; at < len; at += size) {
		int r = say(c, text + at, len - at < size ? len - at : size);

		worst = r > worst ? r : worst;
	}
	return worst;
}

static void test_long_values(void)
{
	static char text[40000];

	test_begin("values of many segments, of commands");
	for (size_t value = 100; value < 30000; value = value * 2 + 77) {
		struct conn c = conn_open();
		struct fences was = now();
		size_t n = sprintf(text, "set foo 0 0 %zu\r\n", value), end = n + value;

		while (n < end)
			n += sprintf(text + n, "delete bystander\r\n");
		strcpy(text + end, "\r\n");
		CHECK_REASON(say_in(&c, text, end + 2, DATA_BYTES), WEIR_R_TCP_WRITE);
		CHECK_INT(now().foo - was.foo, 1);
		CHECK_INT(now().bystander - was.bystander, 0);
		CHECK_INT(now().all - was.all, 0);
		check_goes_on(&c, false);
		conn_end(&c);
	}
	test_end();
}

static void test_long_lines(void)
{
	static char text[20000];
	size_t n = 4;

	memcpy(text, "get ", n);
	while (n < 15000)
		n += sprintf(text + n, "key-number-%zu ", n);
	strcpy(text + n, "\r\n");
	test_begin("a get of 15,000 bytes, in segments of any size");
	for (size_t size = 5; size <= DATA_BYTES; size += 1 + size / 2) {
		struct conn c = conn_open();
		struct fences was = now();

		CHECK_REASON(say_in(&c, text, n + 2, size), WEIR_R_TCP);
		check_reach(was, NONE);
		check_goes_on(&c, false);
		conn_end(&c);
	}
	test_end();
	test_begin("other lines of no end are lost: their cause is line");
	memcpy(text, "mg  ", 4);
	for (size_t size = 5; size <= DATA_BYTES; size += 1 + size / 2) {
		unsigned long long was = track_causes(WEIR_TRACK_LINE);
		struct conn c = conn_open();

		CHECK_REASON(say_in(&c, text, n + 2, size), WEIR_R_TCP_UNSURE);
		CHECK_INT(track_causes(WEIR_TRACK_LINE) - was, 1);
		check_goes_on(&c, true);
		conn_end(&c);
	}
	test_end();
	test_begin("keys of 250 bytes; one more, and the line is lost");
	for (int len = 250; len <= 251; len++) {
		struct conn c = conn_open();
		char key[300], line[400];
		unsigned long long was;

		memset(key, 'k', len);
		key[len] = '\0';
		was = key_fences(key, len);
		snprintf(line, sizeof(line), "set %s 4294967295 2147483647 5 noreply\r\nhello\r\n", key);
		CHECK_REASON(say_in(&c, line, strlen(line), 100), len > 250 ? WEIR_R_TCP_UNSURE : WEIR_R_TCP_WRITE);
		CHECK_INT(key_fences(key, len) - was, len == 250);
		check_goes_on(&c, len > 250);
		conn_end(&c);
	}
	test_end();
}

static void test_many(void)
{
	static char text[3000];
	unsigned long long was = track_causes(WEIR_TRACK_MANY);
	struct conn c = conn_open();
	struct fences before;
	size_t n = 0;

	test_begin("as many short commands as a segment holds");
	while (n + 12 <= DATA_BYTES)
		n += sprintf(text + n, "delete foo\r\n");
	before = now();
	CHECK_REASON(say(&c, text, n), WEIR_R_TCP_WRITE);
	CHECK_INT(now().foo - before.foo, n / 12);
	CHECK_INT(now().all - before.all, 0);
	check_goes_on(&c, false);
	test_end();
	test_begin("more than are read: lost, and the cause is many");
	for (n = 0; n < 2800;) /* frames of test runs are no longer */
		n += sprintf(text + n, "mn\r\n");
	CHECK_REASON(say(&c, text, n), WEIR_R_TCP_UNSURE);
	CHECK_INT(track_causes(WEIR_TRACK_MANY) - was, 1);
	check_goes_on(&c, true);
	CHECK_INT(track_causes(WEIR_TRACK_MANY) - was, 1);
	conn_end(&c);
	test_end();
}

/* ---- out of order ----------------------------------------------------------------------------- */

static void test_retransmitted(void)
{
	struct conn c = conn_open(), other;
	struct fences was;

	test_begin("sent again, whole or in part: the write is fenced, and the stream goes on");
	says(&c, "set foo 0 0 4\r\nabcd\r\n");
	was = now();
	segment(&c, c.seq - 21, TCP_ACK, "set foo 0 0 4\r\nabcd\r\n", 21);
	segment(&c, c.seq - 10, TCP_ACK, "\n", 1);
	CHECK_INT(now().all - was.all, 0);
	check_goes_on(&c, false);
	/* Old bytes in front of new ones. */
	was = now();
	c.seq -= 7;
	CHECK_REASON(says(&c, "tinel\r\ndelete foo\r\ndel"), WEIR_R_TCP_WRITE);
	CHECK_INT(now().foo - was.foo, 1);
	c.seq -= 3;
	CHECK_REASON(says(&c, "delete foo\r"), WEIR_R_TCP);
	c.seq -= 1;
	CHECK_REASON(says(&c, "\r\n"), WEIR_R_TCP_WRITE);
	CHECK_INT(now().foo - was.foo, 2);
	CHECK_INT(now().sentinel - was.sentinel, 0);
	check_goes_on(&c, false);
	conn_end(&c);
	test_end();
	test_begin("a write that is sent again much later is fenced again");
	c = conn_open();
	says(&c, "delete foo\r\n");
	was = now();
	usleep(1100000);
	CHECK_REASON(segment(&c, c.seq - 12, TCP_ACK, "delete foo\r\n", 12), WEIR_R_TCP_WRITE);
	CHECK_INT(now().foo - was.foo, 1);
	conn_end(&c);
	test_end();
	test_begin("so are all in a segment that also has new bytes, and flush_all");
	c = conn_open();
	other = conn_open();
	says(&c, "delete foo\r\ndelete sentinel\r\nget a");
	says(&other, "flush_all\r\n");
	was = now();
	usleep(1100000);
	CHECK_REASON(segment(&other, other.seq - 11, TCP_ACK, "flush_all\r\n", 11), WEIR_R_TCP_WRITE);
	CHECK_INT(now().all - was.all, 1);
	segment(&c, c.seq - 34, TCP_ACK, "delete foo\r\ndelete sentinel\r\nget a b", 36);
	CHECK_INT(now().foo - was.foo, 1);
	CHECK_INT(now().sentinel - was.sentinel, 1);
	conn_end(&c);
	conn_end(&other);
	test_end();
}

static void test_gaps(void)
{
	unsigned long long causes;
	struct conn c = conn_open();
	struct fences was = now();
	__u32 at = c.seq;

	test_begin("a value's segments in any order are no gap");
	says(&c, "set foo 0 0 300\r\n");
	segment(&c, at + 217, TCP_ACK, some_value, 100);
	segment(&c, at + 117, TCP_ACK, some_value, 100);
	CHECK_REASON(segment(&c, at + 317, TCP_ACK, "\r\n", 2), WEIR_R_TCP);
	c.seq = at + 319;
	segment(&c, at + 17, TCP_ACK, some_value, 100);
	CHECK_INT(now().all - was.all, 0);
	check_goes_on(&c, false);
	test_end();

	test_begin("the line of a set comes behind its value: all is certain again");
	at = c.seq;
	was = now();
	CHECK_REASON(segment(&c, at + 17, TCP_ACK, some_value, 300), WEIR_R_TCP);
	CHECK_REASON(segment(&c, at + 317, TCP_ACK, "\r\n", 2), WEIR_R_TCP);
	CHECK_REASON(says(&c, "set foo 0 0 300\r\n"), WEIR_R_TCP_WRITE);
	c.seq = at + 319;
	CHECK_INT(now().foo - was.foo, 1);
	CHECK_INT(now().all - was.all, 0);
	check_goes_on(&c, false);
	test_end();

	test_begin("commands behind a gap: lost when it is closed, not before");
	at = c.seq;
	was = now();
	causes = track_causes(WEIR_TRACK_GAP);
	CHECK_REASON(segment(&c, at + 9, TCP_ACK, "delete foo\r\n", 12), WEIR_R_TCP);
	CHECK_INT(now().all - was.all, 0);
	CHECK_REASON(says(&c, "get abc\r\n"), WEIR_R_TCP_UNSURE);
	CHECK_INT(now().all - was.all, 1);
	CHECK_INT(track_causes(WEIR_TRACK_GAP) - causes, 1);
	c.seq = at + 21;
	check_goes_on(&c, true);
	CHECK_INT(track_causes(WEIR_TRACK_GAP) - causes, 1);
	conn_end(&c);
	test_end();

	test_begin("a gap that was sent together with what is behind it is none");
	c = conn_open();
	was = now();
	segment(&c, c.seq + 9, TCP_ACK, "delete foo\r\n", 12);
	CHECK_REASON(says(&c, "get abc\r\ndelete foo\r\n"), WEIR_R_TCP_WRITE);
	CHECK_INT(now().foo - was.foo, 1);
	check_goes_on(&c, false);
	conn_end(&c);
	test_end();
}

static void test_unseen_segments(void)
{
	struct conn c = conn_open();
	unsigned long long causes = track_causes(WEIR_TRACK_RANGE);
	struct fences was = now();

	test_begin("the server acknowledges what was not seen: lost with that");
	c.seq += 12; /* a delete that took another way */
	server_segment(&c, c.seq, TCP_ACK, 0);
	CHECK_INT(now().all - was.all, 1);
	CHECK_INT(track_causes(WEIR_TRACK_RANGE) - causes, 1);
	check_goes_on(&c, true);
	conn_end(&c);
	test_end();
	test_begin("also behind a gap");
	c = conn_open();
	was = now();
	segment(&c, c.seq + 12, TCP_ACK, "get abc\r\n", 9);
	server_segment(&c, c.seq, TCP_ACK, 0);
	CHECK_INT(now().all - was.all, 0);
	c.seq += 21;
	server_segment(&c, c.seq, TCP_ACK, 0);
	CHECK_INT(now().all - was.all, 1);
	check_goes_on(&c, true);
	conn_end(&c);
	test_end();
	test_begin("where the server's segments are not seen, a gap is lost at once");
	c = conn_of(CLIENT4);
	c.deaf = true;
	shake_hands(&c);
	check_goes_on(&c, false);
	CHECK_REASON(segment(&c, c.seq + 12, TCP_ACK, "get abc\r\n", 9), WEIR_R_TCP_UNSURE);
	check_goes_on(&c, true);
	conn_end(&c);
	test_end();
}

static void test_range(void)
{
	static const __u32 far[] = {1u << 25, 1u << 30, 1u << 31, (1u << 31) + 1, 3u << 30, -(1u << 20), -20u};
	struct fences was;

	for (size_t i = 0; i < sizeof(far) / sizeof(*far); i++) {
		struct conn c = conn_open();

		test_begin("a segment from far away fences the service, and does not move the stream");
		was = now();
		CHECK_REASON(segment(&c, c.seq + far[i], TCP_ACK, "get abc\r\n", 9), WEIR_R_TCP_UNSURE);
		CHECK_INT(now().all - was.all, 1);
		check_goes_on(&c, true);
		conn_end(&c);
		test_end();
	}
	test_begin("sequence numbers begin anew at 2^32, in any command");
	for (__u32 before = 0; before < 40; before++) {
		struct conn c = conn_of(CLIENT4);

		c.seq = -before - 2;
		shake_hands(&c);
		was = now();
		CHECK_REASON(says(&c, "set foo 0 0 9\r\ndelete a\n\r\n"), WEIR_R_TCP_WRITE);
		CHECK_REASON(says(&c, "get a"), WEIR_R_TCP);
		CHECK_REASON(says(&c, "b\r\n"), WEIR_R_TCP);
		check_reach(was, KEY);
		reply(&c);
		check_goes_on(&c, false);
		conn_end(&c);
	}
	test_end();
}

/* ---- connections ------------------------------------------------------------------------------ */

static void test_unseen(void)
{
	unsigned long long causes = track_causes(WEIR_TRACK_UNSEEN);
	struct conn c = conn_of(CLIENT4);

	test_begin("a connection from before: each of its segments fences, and it is counted once");
	CHECK_REASON(segment(&c, c.seq, TCP_ACK, NULL, 0), WEIR_R_TCP);
	check_goes_on(&c, true);
	check_goes_on(&c, true);
	CHECK_INT(track_causes(WEIR_TRACK_UNSEEN) - causes, 1);
	conn_end(&c);
	test_end();
	test_begin("the port's next connection is followed");
	c.seq = 77777;
	shake_hands(&c);
	check_goes_on(&c, false);
	conn_end(&c);
	test_end();
	test_begin("data behind the end is not believed");
	check_goes_on(&c, true);
	test_end();
}

static void test_reuse(void)
{
	struct conn c = conn_open(), new;

	test_begin("a port is used again, with the old connection open: when the server says so");
	check_goes_on(&c, false);
	new = c;
	new.seq += 1000000;
	segment_pass(&new, new.seq, TCP_SYN, NULL, 0);
	check_goes_on(&c, false); /* the old one goes on as it did */
	new.seq++;
	server_segment(&new, new.seq, TCP_SYN | TCP_ACK, 0);
	check_goes_on(&new, false);
	test_end();
	test_begin("a SYN that the server does not answer changes nothing, nor does data behind it");
	c = new;
	new.seq = 5;
	segment_pass(&new, new.seq, TCP_SYN, NULL, 0);
	new.seq++;
	check_goes_on(&c, false);
	CHECK_REASON(says(&new, "get a\r\n"), WEIR_R_TCP_UNSURE); /* nobody knows now */
	check_goes_on(&c, true);
	conn_end(&c);
	test_end();
	test_begin("a SYN that is sent again is the same");
	c = conn_of(CLIENT4);
	segment_pass(&c, c.seq, TCP_SYN, NULL, 0);
	shake_hands(&c);
	check_goes_on(&c, false);
	segment_pass(&c, 0x12345678, TCP_SYN, NULL, 0);
	check_goes_on(&c, false);
	conn_end(&c);
	test_end();
	test_begin("without the server's segments the new connection's data says so");
	c = conn_of(CLIENT4);
	c.deaf = true;
	shake_hands(&c);
	check_goes_on(&c, false);
	c.seq = 99999999;
	shake_hands(&c);
	check_goes_on(&c, false);
	conn_end(&c);
	test_end();
	test_begin("data with the SYN (Fast Open) is read, also when it is sent again");
	c = conn_of(CLIENT4);
	{
		struct fences was = now();

		CHECK_REASON(segment(&c, c.seq, TCP_SYN, "delete foo\r\nget", 15), WEIR_R_TCP_WRITE);
		c.seq++;
		server_segment(&c, c.seq, TCP_SYN | TCP_ACK, 0);
		c.server++;
		CHECK_REASON(says(&c, "delete foo\r\nget"), WEIR_R_TCP_WRITE);
		CHECK_REASON(says(&c, " a\r\n"), WEIR_R_TCP);
		check_reach(was, KEY);
		check_goes_on(&c, false);
	}
	conn_end(&c);
	test_end();
}

static void test_urgent(void)
{
	struct conn c = conn_open();

	test_begin("urgent data, of which the server takes a byte out: lost");
	CHECK_REASON(segment(&c, c.seq, TCP_ACK | 0x20, "get a\r\n", 7), WEIR_R_TCP_UNSURE);
	c.seq += 7;
	check_goes_on(&c, true);
	conn_end(&c);
	test_end();
}

static void test_ends(void)
{
	struct conn c = conn_open();
	struct fences was = now();

	test_begin("data with a FIN is read");
	CHECK_REASON(segment(&c, c.seq, TCP_ACK | TCP_FIN, "delete foo\r\n", 12), WEIR_R_TCP_WRITE);
	check_reach(was, KEY);
	c.seq += 13;
	server_segment(&c, c.seq, TCP_ACK, 0);
	CHECK_INT(now().foo - was.foo, 1);
	test_end();
	test_begin("and its reply fences it again");
	server_segment(&c, c.seq, TCP_ACK | TCP_FIN, 9);
	CHECK_INT(now().foo - was.foo, 2);
	CHECK_INT(now().all - was.all, 0);
	test_end();
	test_begin("a reset ends it; from far away it does not");
	c = conn_open();
	segment_pass(&c, c.seq + (1 << 30), TCP_RST, NULL, 0);
	check_goes_on(&c, false);
	segment_pass(&c, c.seq, TCP_RST, "delete bystander\r\n", 18);
	CHECK_INT(now().bystander - was.bystander, 0);
	check_goes_on(&c, true);
	test_end();
	test_begin("a forged FIN ends nothing for the client: what it says fences the service");
	c = conn_open();
	segment_pass(&c, c.seq, TCP_FIN | TCP_ACK, NULL, 0);
	check_goes_on(&c, true);
	test_end();
}

static bool is_free(int i)
{
	return table[i].state == WEIR_CONN_CLOSED || !table[i].tag || table[i].flags & WEIR_CONN_OVER;
}

static void test_full(void)
{
	static struct conn open[4 * CONNS];
	unsigned long long causes = track_causes(WEIR_TRACK_FULL);
	int n = 0, followed = 0, used = 0, before = 0;

	for (int i = 0; i < CONNS; i++)
		before += !is_free(i);
	test_begin("a full table: whoever has no place fences the service, the others are followed");
	while (track_causes(WEIR_TRACK_FULL) - causes < 40 && n < 4 * CONNS)
		open[n++] = conn_open();
	for (int i = 0; i < CONNS; i++)
		used += !is_free(i);
	for (int i = 0; i < n; i++) {
		struct fences was = now();
		int r = says(&open[i], "delete foo\r\n");

		followed += r == WEIR_R_TCP_WRITE;
		CHECK_INT(now().all - was.all, r != WEIR_R_TCP_WRITE);
		CHECK_INT(now().foo - was.foo, r == WEIR_R_TCP_WRITE);
	}
	CHECK_INT(followed, n - 40);
	CHECK_INT(used - before, followed);
	CHECK(followed > CONNS / 2);
	test_end();
	test_begin("who ends makes room, and who was lost and ends does");
	for (int i = 0; i < n; i++) {
		if (i & 1)
			says(&open[i], "frobnicate\r\n");
		conn_end(&open[i]);
	}
	for (int i = used = 0; i < CONNS; i++)
		used += !is_free(i);
	CHECK_INT(used, before);
	open[0] = conn_open();
	check_goes_on(&open[0], false);
	conn_end(&open[0]);
	test_end();
}

/* ---- packets ---------------------------------------------------------------------------------- */

static void test_packets(void)
{
	static const struct {
		const char *says;
		bool six;
		int tags;
		size_t options;
		const char *ip;
		size_t ip_len;
		int first;
	} ways[] = {
		{"IPv6", true, 0, 0, NULL, 0, 0},
		{"a VLAN tag", false, 1, 0, NULL, 0, 0},
		{"two VLAN tags, IPv6", true, 2, 0, NULL, 0, 0},
		{"TCP options", false, 0, 40, NULL, 0, 0},
		{"IPv4 options", false, 0, 12, "\1\1\1\1\1\1\1\0", 8, 0},
		{"IPv6 extension headers", true, 0, 12, "\6\0\1\4\0\0\0\0", 8, 60},
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct conn c = conn_of(ways[i].six ? CLIENT6 : CLIENT4);
		struct fences was;

		test_begin(ways[i].says);
		c.flow.tags = ways[i].tags;
		c.options = ways[i].options;
		c.ip_options = ways[i].ip;
		c.ip_options_len = ways[i].ip_len;
		c.ip_first = ways[i].first;
		shake_hands(&c);
		was = now();
		CHECK_REASON(says(&c, "set foo 0 0 4\r\nxy"), WEIR_R_TCP_WRITE);
		CHECK_REASON(says(&c, "yx\r\nge"), WEIR_R_TCP);
		CHECK_REASON(says(&c, "t a\r\n"), WEIR_R_TCP);
		check_reach(was, KEY);
		check_goes_on(&c, false);
		conn_end(&c);
		test_end();
	}
	test_begin("bytes behind the packet are not read");
	{
		struct conn c = conn_open();
		struct fences was = now();
		struct frame f;

		build(&f, &c, c.seq, TCP_ACK, "get a\r\n", 7);
		frame_pad(&f, 40, 'x');
		expect_untouched(&scene, &f, WEIR_R_TCP);
		c.seq += 7;
		check_reach(was, NONE);
		check_goes_on(&c, false);
		conn_end(&c);
	}
	test_end();
}

/* Without a pool what strangers send over TCP passes, all of it. */
static void test_strangers_fragments(void)
{
	struct conn c = conn_of(CLIENT4);
	struct frame whole, f;
	struct fences was;

	test_begin("the later fragments of a stranger fence the service, too");
	c.flow.src = "203.0.113.9";
	build(&whole, &c, c.seq, TCP_ACK, some_value, 100);
	was = now();
	frame_fragment(&f, &whole, 40, 40, false);
	expect_untouched(&scene, &f, WEIR_R_FRAGMENT);
	CHECK_INT(now().all - was.all, 1);
	test_end();
}

static void test_fragments(void)
{
	struct flow flows[] = {CLIENT4, CLIENT6};

	for (int i = 0; i < 2; i++) {
		struct conn c = conn_of(flows[i]);
		unsigned long long causes = track_causes(WEIR_TRACK_FRAGMENT);
		struct fences was;
		struct frame whole, f;

		test_begin(i ? "fragments of IPv6 fence the service, and the connection is lost" :
			       "fragments of IPv4 fence the service, and the connection is lost");
		shake_hands(&c);
		build(&whole, &c, c.seq, TCP_ACK,
		      "set foo 0 0 60\r\n012345678901234567890123456789012345678901234567890123456789\r\n", 78);
		c.seq += 78;
		was = now();
		frame_fragment(&f, &whole, 0, 40, true);
		expect_untouched(&scene, &f, WEIR_R_TCP_UNSURE);
		CHECK_INT(now().all - was.all, 1);
		frame_fragment(&f, &whole, 40, 58, false);
		expect_untouched(&scene, &f, WEIR_R_FRAGMENT);
		CHECK_INT(now().all - was.all, 2);
		CHECK_INT(track_causes(WEIR_TRACK_FRAGMENT) - causes, 1);
		check_goes_on(&c, true);
		conn_end(&c);
		test_end();
	}
}

static void test_headers_that_lie(void)
{
	struct conn c = conn_open();
	struct fences was = now();
	struct frame f;

	test_begin("a TCP header that is longer than its packet, or shorter than a header: dropped by the host");
	for (int words = 0; words < 16; words++) {
		if (words >= 5 && words < 8)
			continue;
		build(&f, &c, c.seq, TCP_ACK, "delete foo\r\n", 12);
		f.b[f.l4 + 12] = words << 4;
		frame_fix_l4_csum(&f);
		expect_untouched(&scene, &f, WEIR_R_TCP);
	}
	check_reach(was, NONE);
	check_goes_on(&c, false);
	conn_end(&c);
	test_end();
}

/* ---- replies ---------------------------------------------------------------------------------- */

static void test_replies(void)
{
	struct conn c = conn_open();
	struct fences was = now();

	test_begin("the reply to a write fences it again, once");
	says(&c, "delete foo\r\n");
	CHECK_INT(now().foo - was.foo, 1);
	server_segment(&c, c.seq, TCP_ACK, 0); /* no reply yet */
	CHECK_INT(now().foo - was.foo, 1);
	reply(&c);
	CHECK_INT(now().foo - was.foo, 2);
	reply(&c);
	CHECK_INT(now().foo - was.foo, 2);
	says(&c, "get foo\r\n");
	reply(&c);
	CHECK_INT(now().foo - was.foo, 2);
	CHECK_INT(now().all - was.all, 0);
	test_end();
	test_begin("a reply from before the command was whole is another's");
	says(&c, "set foo 0 0 1\r\n");
	reply(&c);
	says(&c, "x\r\n");
	CHECK_INT(now().foo - was.foo, 3);
	reply(&c);
	CHECK_INT(now().foo - was.foo, 4);
	test_end();
	conn_end(&c);

	test_begin("flush_all's reply fences the service again");
	c = conn_open();
	was = now();
	says(&c, "flush_all\r\n");
	reply(&c);
	CHECK_INT(now().all - was.all, 2);
	test_end();
	conn_end(&c);

	test_begin("in a pipeline, replies that come late fence each write again, those soon none");
	c = conn_open();
	was = now();
	says(&c, "delete foo\r\ndelete bystander\r\ndelete foo\r\n");
	reply(&c);
	CHECK_INT(now().foo - was.foo, 2);
	usleep(1800000);
	reply(&c);
	CHECK_INT(now().foo - was.foo, 3); /* once for both */
	CHECK_INT(now().bystander - was.bystander, 2);
	CHECK_INT(now().all - was.all, 0);
	reply(&c);
	CHECK_INT(now().foo - was.foo, 3);
	test_end();
	conn_end(&c);

	test_begin("more writes than are remembered: a late reply fences the service, one that is soon does not");
	c = conn_open();
	was = now();
	for (int late = 0; late < 2; late++) {
		char text[600];
		size_t n = 0;

		for (int i = 0; i < 40; i++)
			n += sprintf(text + n, "delete k%d\r\n", i);
		says(&c, text);
		if (late)
			usleep(1800000);
		reply(&c);
		CHECK_INT(now().all - was.all, late);
	}
	test_end();
	conn_end(&c);
}

/* Replies that pass while what they might be for is not whole at the server: its own is yet to come. */
static void test_early_replies(void)
{
	struct conn value = conn_open(), crowd = conn_open(), gaps = conn_open();
	char text[600] = "get a\r\n";
	struct fences was;
	size_t n = 7;

	for (int i = 0; i < 40; i++)
		n += sprintf(text + n, "delete k%d\r\n", i);
	says(&value, "get a\r\nset foo 0 0 2000\r\n");
	say(&crowd, text, n);
	says(&gaps, "get a\r\ndelete bystander\r\n");
	was = now();
	server_segment(&crowd, crowd.seq - n + 7, TCP_ACK, 8);
	usleep(1500000);
	reply(&gaps);
	usleep(300000);
	reply(&gaps);
	test_begin("in a pipeline, a late reply fences a write again though another one came shortly before");
	CHECK_INT(now().bystander - was.bystander, 1);
	test_end();
	server_segment(&value, value.seq, TCP_ACK, 8);
	CHECK_INT(now().foo - was.foo, 1);
	usleep(1100000);
	test_begin("a late reply does not make a write forgotten whose value is still to come");
	say(&value, some_value, 300);
	CHECK_INT(now().foo - was.foo, 2);
	test_end();
	test_begin("nor more writes than are remembered, which the server does not have yet");
	CHECK_INT(now().all - was.all, 0);
	segment(&crowd, crowd.seq - n, TCP_ACK, text, n);
	CHECK_INT(now().all - was.all, 1);
	segment(&crowd, crowd.seq - n, TCP_ACK, text, n);
	CHECK_INT(now().all - was.all, 1);
	reply(&crowd);
	segment(&crowd, crowd.seq - n, TCP_ACK, text, n);
	CHECK_INT(now().all - was.all, 1);
	test_end();
	conn_end(&value);
	conn_end(&crowd);
	conn_end(&gaps);
}

static void test_replies_of_lost(void)
{
	struct conn c = conn_open(), other = conn_of(CLIENT4);
	struct fences was;

	test_begin("replies of a lost connection fence the service again, unless it just was");
	says(&c, "frobnicate\r\n");
	was = now();
	reply(&c);
	CHECK_INT(now().all - was.all, 0);
	usleep(1100000);
	reply(&c);
	CHECK_INT(now().all - was.all, 1);
	test_end();
	conn_end(&c);
	test_begin("and so do those of one without a place in the table");
	reply(&other);
	CHECK_INT(now().all - was.all, 1);
	usleep(1100000);
	server_segment(&other, other.seq, TCP_ACK, 0);
	CHECK_INT(now().all - was.all, 1);
	reply(&other);
	CHECK_INT(now().all - was.all, 2);
	test_end();
}

static void test_slow_value(void)
{
	struct conn c = conn_open();
	struct fences was;

	test_begin("a value that takes its time fences the key as it comes");
	says(&c, "set foo 0 0 2000\r\n");
	was = now();
	usleep(1100000);
	say(&c, some_value, 300);
	CHECK_INT(now().foo - was.foo, 1);
	say(&c, some_value, 300);
	CHECK_INT(now().foo - was.foo, 1);
	test_end();
	conn_end(&c);
}

/* ---- frames of several buffers ---------------------------------------------------------------- */

/* Each command where a test run's first buffer ends, at every byte of it; behind as much as a get holds. */
static void test_at_seam(const struct command *cmd, size_t seam)
{
	static char text[8000];

	for (size_t at = seam - cmd->len - 1; at <= seam + 1; at++) {
		struct conn c = conn_open();
		struct fences was = now();

		memset(text, 'k', at);
		memcpy(text, "get ", 4);
		memcpy(text + at - 2, "\r\n", 2);
		memcpy(text + at, cmd->bytes, cmd->len);
		segment_pass(&c, c.seq, TCP_ACK, text, at + cmd->len);
		c.seq += at + cmd->len;
		check_reach(was, cmd->reach);
		check_goes_on(&c, cmd->reach == LOST);
		conn_end(&c);
	}
}

static void test_jumbos(void)
{
	static char text[8000];
	size_t n = 0;

	track_open(9000);
	test_begin("frames of several buffers: commands at the seam");
	for (size_t i = 0; i < COMMANDS; i += 3)
		test_at_seam(&commands[i], 4096 - 256 - 320 - 54);
	test_end();
	test_begin("a long one, with all there is");
	{
		struct conn c = conn_open();
		struct fences was = now();
		size_t keys = 0;

		for (size_t i = 0; n < 7000; i = (i + 1) % COMMANDS) {
			if (commands[i].reach > KEY)
				continue;
			memcpy(text + n, commands[i].bytes, commands[i].len);
			n += commands[i].len;
			keys += commands[i].reach == KEY;
		}
		CHECK_REASON(say(&c, text, n), WEIR_R_TCP_WRITE);
		CHECK_INT(now().foo - was.foo, keys);
		CHECK_INT(now().all - was.all, 0);
		check_goes_on(&c, false);
		conn_end(&c);
	}
	test_end();
	track_close();
}

/* ---- off -------------------------------------------------------------------------------------- */

static void test_off(void)
{
	static const char yaml[] = "interfaces: [{name: eth0}]\n"
				   "cache: {capacity: 1024, memory: 4M, connections: 0}\n"
				   "services:\n"
				   "  - name: test\n"
				   "    vips: ['10.0.0.1:11211']\n"
				   "    clients: [10.0.0.0/8]\n";
	struct conn c = conn_of(CLIENT4);
	struct fences was;
	struct frame f, whole;

	scene_open(&scene, yaml, 1500);
	test_begin("connections: 0: nothing of TCP is looked at");
	was = now();
	shake_hands(&c);
	CHECK_REASON(says(&c, "delete foo\r\n"), WEIR_R_TCP);
	build(&whole, &c, c.seq, TCP_ACK, some_value, 100);
	frame_fragment(&f, &whole, 40, 40, false);
	expect_untouched(&scene, &f, WEIR_R_OTHER);
	check_reach(was, NONE);
	test_end();
	scene_close(&scene);
}

int main(void)
{
	track_open(1500);
	test_commands();
	test_pipeline();
	test_bin_writes();
	test_bin_others();
	test_long_values();
	test_long_lines();
	test_many();
	test_retransmitted();
	test_gaps();
	test_unseen_segments();
	test_range();
	test_unseen();
	test_reuse();
	test_urgent();
	test_ends();
	test_full();
	test_packets();
	test_fragments();
	test_strangers_fragments();
	test_headers_that_lie();
	test_replies();
	test_early_replies();
	test_replies_of_lost();
	test_slow_value();
	track_close();
	test_jumbos();
	test_off();
	return test_done();
}
