/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Warming lists. Each row is a list and the transcript of reading it: a line for each entry,
 *	LINE:key=value ttl=NS flags=N		(value: a dash without "=" when it is to be fetched)
 * and for each bad line
 *	LINE!why
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zlib.h>

#include "list.h"
#include "test.h"

#define MIB     (1 << 20)
#define S(text) text, sizeof(text) - 1

struct transcript {
	char *text;
	size_t len;
	FILE *f;
	unsigned long entries, bad;
	__u64 done, total;
	unsigned long told;
	int stop_at; /* entries and bad lines until the callback stops the reading */
};

static void print_bytes(FILE *f, const void *p, size_t len)
{
	const unsigned char *b = p;

	if (len > 40) {
		fprintf(f, "<%zu>", len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		fprintf(f, b[i] < 0x20 || b[i] > 0x7e ? "\\x%02x" : "%c", b[i]);
}

static int stop_now(const struct transcript *t)
{
	return t->stop_at && t->entries + t->bad == (unsigned long)t->stop_at ? -ECANCELED : 0;
}

static int on_entry(const struct list_entry *e, void *arg)
{
	struct transcript *t = arg;

	t->entries++;
	fprintf(t->f, "%lu:", e->line);
	print_bytes(t->f, e->key, e->key_len);
	fputc(e->value ? '=' : '-', t->f);
	print_bytes(t->f, e->value, e->value_len);
	if (e->ttl_ns == WEIR_NEVER)
		fprintf(t->f, " ttl=never");
	else if (e->ttl_ns)
		fprintf(t->f, " ttl=%llu", e->ttl_ns);
	if (e->client_flags)
		fprintf(t->f, " flags=%u", e->client_flags);
	fputc('\n', t->f);
	return stop_now(t);
}

static int on_bad(unsigned long line, const char *why, void *arg)
{
	struct transcript *t = arg;

	t->bad++;
	fprintf(t->f, "%lu!%s\n", line, why);
	return stop_now(t);
}

static void on_progress(__u64 done, __u64 total, void *arg)
{
	struct transcript *t = arg;

	CHECK(done >= t->done && done <= total);
	t->done = done;
	t->total = total;
	t->told++;
}

static int transcribe(struct list *l, struct transcript *t)
{
	struct list_sink sink = {on_entry, on_bad, on_progress, t};
	int rc;

	t->f = open_memstream(&t->text, &t->len);
	rc = list_read(l, &sink);
	fclose(t->f);
	return rc;
}

static void check_list(struct list *l, const char *want)
{
	struct transcript t = {0};

	CHECK_INT(transcribe(l, &t), 0);
	CHECK_STR(t.text, want);
	CHECK_INT(t.done, t.total);
	free(t.text);
}

/* From memory of the exact size, so that a sanitizer sees a read past the end. */
static void check_mem(const void *text, size_t len, enum list_format as, const char *want)
{
	char *exact = malloc(len ? len : 1);
	struct list *l;

	memcpy(exact, text, len);
	if (CHECK_INT(list_open_mem(&l, "test", exact, len), 0)) {
		if (as)
			list_set_format(l, as);
		check_list(l, want);
		list_close(l);
	}
	free(exact);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static const struct row {
	const char *sentence;
	enum list_format as;
	const char *text;
	size_t len;
	const char *want;
} rows[] = {
	{"keys: one a line, LF and CRLF, the last without a line end", LIST_KEYS, S("a\nb\r\nc"),
	 "1:a-\n2:b-\n3:c-\n"},
	{"keys: empty lines and comments are skipped and counted", LIST_KEYS, S("\n# a b c\n\r\nk\n\n#\n"),
	 "4:k-\n"},
	{"keys: a list that is empty, or only line ends", LIST_KEYS, S(""), ""},
	{"keys: only line ends", LIST_KEYS, S("\n\r\n\n"), ""},
	{"keys: a space, a tab, DEL and a lone CR are bad; the next line is not lost", LIST_KEYS,
	 S("a b\nok1\na\tb\na\x7f\na\rb\n \nok2\n"),
	 "1!key contains a space or control byte\n2:ok1-\n3!key contains a space or control byte\n"
	 "4!key contains a space or control byte\n5!key contains a space or control byte\n"
	 "6!key contains a space or control byte\n7:ok2-\n"},
	{"keys: a NUL byte is bad", LIST_KEYS, S("a\0b\nok\n\0\n"),
	 "1!line contains a NUL byte\n2:ok-\n3!line contains a NUL byte\n"},
	{"keys: bytes from 0x80 on are part of a key", LIST_KEYS, S("\xc3\xa4\n\xff\x80\n"),
	 "1:\\xc3\\xa4-\n2:\\xff\\x80-\n"},
	{"keys: a byte order mark is not part of the first key", LIST_KEYS,
	 S("\xef\xbb\xbf"
	   "a\nb\n"),
	 "1:a-\n2:b-\n"},
	{"keys: commas and = belong to a key", LIST_KEYS, S("a,b\nc=d\n"), "1:a,b-\n2:c=d-\n"},

	{"csv: value, ttl and flags", LIST_CSV, S("a,1\nb,2,30\nc,3,5m,7\nd,4,,4294967295\ne,5,,\n"),
	 "1:a=1\n2:b=2 ttl=30000000000\n3:c=3 ttl=300000000000 flags=7\n4:d=4 flags=4294967295\n5:e=5\n"},
	{"csv: an empty value is a value", LIST_CSV, S("a,\nb,\"\"\nc,,\r\n"), "1:a=\n2:b=\n3:c=\n"},
	{"csv: every form of ttl", LIST_CSV,
	 S("a,,0\na,,never\na,,1\na,,500ms\na,,1h30m\na,,2d\na,,1d1h1m1s1ms\na,,9223372036\n"),
	 "1:a= ttl=never\n2:a= ttl=never\n3:a= ttl=1000000000\n4:a= ttl=500000000\n5:a= ttl=5400000000000\n"
	 "6:a= ttl=172800000000000\n7:a= ttl=90061001000000\n8:a= ttl=9223372036000000000\n"},
	{"csv: what is not a ttl", LIST_CSV,
	 S("a,,x\na,,-1\na,,5 m\na,,1m1h\na,,1m1m\na,,1h30\na,,m\na,,0s\na,,1.5\na,,Never\nok,1\n"),
	 "1!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "2!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "3!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "4!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "5!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "6!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "7!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "8!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "9!ttl is not a duration such as 30, 90s, 1h30m or never\n"
	 "10!ttl is not a duration such as 30, 90s, 1h30m or never\n11:ok=1\n"},
	{"csv: a ttl that does not fit", LIST_CSV,
	 S("a,,9223372037\na,,99999999999999999999\na,,106752d\na,,18446744073709551617s\na,,106751d24h\n"),
	 "1!ttl is too long\n2!ttl is too long\n3!ttl is too long\n4!ttl is too long\n5!ttl is too long\n"},
	{"csv: flags are 32 bits", LIST_CSV, S("a,1,,4294967296\na,1,,-1\na,1,,0x1\na,1,,1 \na,1,,0\n"),
	 "1!flags is not a whole number from 0 to 4294967295\n"
	 "2!flags is not a whole number from 0 to 4294967295\n"
	 "3!flags is not a whole number from 0 to 4294967295\n"
	 "4!flags is not a whole number from 0 to 4294967295\n5:a=1\n"},
	{"csv: too few and too many columns", LIST_CSV, S("a\nb,1,2,3,4\n\"c\"\nd,1,,,\nok,1\n"),
	 "1!value is missing: there is no comma\n2!more than 4 columns\n"
	 "3!value is missing: there is no comma\n4!more than 4 columns\n5:ok=1\n"},
	{"csv: quoted commas, doubled quotes, line ends", LIST_CSV,
	 S("a,\"x,y\"\n\"b\",\"say "
	   "\"\"hi\"\"\",5m,1\nc,\"two\nlines\"\r\nd,\"\"\"\"\n\"e,\"\"f\",\"\r\n\n\"\ng,1"),
	 "1:a=x,y\n2:b=say \"hi\" ttl=300000000000 flags=1\n3:c=two\\x0alines\n5:d=\"\n"
	 "6:e,\"f=\\x0d\\x0a\\x0a\n9:g=1\n"},
	{"csv: quoted ttl and flags", LIST_CSV, S("a,b,\"5m\",\"7\"\n"), "1:a=b ttl=300000000000 flags=7\n"},
	{"csv: a line that begins with # inside a quoted value is no comment", LIST_CSV,
	 S("a,\"x\n# y\n\nz\"\n#c,d\n\"#e\",f\n"), "1:a=x\\x0a# y\\x0a\\x0az\n6:#e=f\n"},
	{"csv: an unterminated quote is reported where it began, the next line is read", LIST_CSV,
	 S("a,1\nb,\"open\nc,3\nd,4\n"), "1:a=1\n2!quote is never closed\n3:c=3\n4:d=4\n"},
	{"csv: a quote that the next one closes costs only its own line", LIST_CSV,
	 S("a,\"open\nb,\"2\"\nc,3\n"), "1!text after a closing quote\n2:b=2\n3:c=3\n"},
	{"csv: a quote is never closed at the very end", LIST_CSV, S("a,1\nb,\""),
	 "1:a=1\n2!quote is never closed\n"},
	{"csv: text after a closing quote, a quote within a plain column", LIST_CSV,
	 S("a,\"x\"y\nb,x\"y\"\nc, \"x\"\nd,4\n"),
	 "1!text after a closing quote\n2!quote inside a column that does not begin with one\n"
	 "3!quote inside a column that does not begin with one\n4:d=4\n"},
	{"csv: key faults", LIST_CSV, S(",1\na b,2\n\"\",3\n\"a\nb\",4\nok,1\n"),
	 "1!key is empty\n2!key contains a space or control byte\n3!key is empty\n"
	 "4!key contains a space or control byte\n6:ok=1\n"},
	{"csv: a NUL byte in a value is bad, over several lines too", LIST_CSV,
	 S("a,x\0y\nb,\"x\n\0\"\nc,3\n"), "1!line contains a NUL byte\n2!line contains a NUL byte\n4:c=3\n"},
	{"csv: a header line is skipped, whatever its case, but only as the first", LIST_CSV,
	 S("# list\nKey,Value,TTL\na,1\nkey,value\n"), "3:a=1\n4:key=value\n"},
	{"csv: a header line alone", LIST_CSV, S("key,value,ttl,flags\n"), ""},
	{"csv: spaces belong to a value", LIST_CSV, S("a, x y \n"), "1:a= x y \n"},
	{"csv: CR at the end of a list without a line end", LIST_CSV, S("a,\"x\"\r"), "1:a=x\n"},

	{"jsonl: every field", LIST_JSONL,
	 S("{\"key\":\"a\",\"value\":\"1\",\"ttl\":30,\"flags\":7}\n\n  {\"flags\":4294967295, "
	   "\"key\":\"b\"}\r\n"
	   "{\"key\":\"c\",\"value_base64\":\"AAEC/w==\",\"ttl\":\"1h\"}"),
	 "1:a=1 ttl=30000000000 flags=7\n3:b- flags=4294967295\n4:c=\\x00\\x01\\x02\\xff "
	 "ttl=3600000000000\n"},
	{"jsonl: escapes, and NUL in a value", LIST_JSONL,
	 S("{\"key\":\"\\u00e4\",\"value\":\"x\\u0000y\\n\"}\n{\"key\":\"a\\u0000\",\"value\":\"\"}\n"),
	 "1:\\xc3\\xa4=x\\x00y\\x0a\n2!key contains a space or control byte\n"},
	{"jsonl: an empty value is a value", LIST_JSONL,
	 S("{\"key\":\"a\",\"value\":\"\"}\n{\"key\":\"b\",\"value_base64\":\"\"}\n"), "1:a=\n2:b=\n"},
	{"jsonl: base64 of every length, and what is not", LIST_JSONL,
	 S("{\"key\":\"a\",\"value_base64\":\"Zg==\"}\n{\"key\":\"a\",\"value_base64\":\"Zm8=\"}\n"
	   "{\"key\":\"a\",\"value_base64\":\"Zm9v+/8=\"}\n{\"key\":\"a\",\"value_base64\":\"Zg\"}\n"
	   "{\"key\":\"a\",\"value_base64\":\"Zh==\"}\n{\"key\":\"a\",\"value_base64\":\"Zg==Zg==\"}\n"
	   "{\"key\":\"a\",\"value_base64\":\"Z===\"}\n{\"key\":\"a\",\"value_base64\":\"Zm 9\"}\n"
	   "{\"key\":\"a\",\"value_base64\":7}\n"),
	 "1:a=f\n2:a=fo\n3:a=foo\\xfb\\xff\n4!value_base64 is not base64 (RFC 4648, padded)\n"
	 "5!value_base64 is not base64 (RFC 4648, padded)\n6!value_base64 is not base64 (RFC 4648, padded)\n"
	 "7!value_base64 is not base64 (RFC 4648, padded)\n8!value_base64 is not base64 (RFC 4648, padded)\n"
	 "9!value_base64 is not base64 (RFC 4648, padded)\n"},
	{"jsonl: both values, an unknown field, no key, wrong types", LIST_JSONL,
	 S("{\"key\":\"a\",\"value\":\"1\",\"value_base64\":\"Zg==\"}\n"
	   "{\"key\":\"a\",\"value_base64\":\"Zg==\",\"value\":\"1\"}\n"
	   "{\"key\":\"a\",\"valu\":\"1\"}\n{\"value\":\"1\"}\n{}\n{\"key\":1}\n{\"key\":\"a\",\"value\":1}\n"
	   "{\"key\":\"a\",\"value\":null}\n[\"a\"]\n{\"key\":\"a\",\"\\u001b[2J\":1}\n{\"key\":\"\"}\n"),
	 "1!value and value_base64 are both given\n2!value and value_base64 are both given\n"
	 "3!field \"valu\" is not known\n4!key is missing\n5!key is missing\n6!key is not a string\n"
	 "7!value is not a string\n8!value is not a string\n9!not a JSON object\n"
	 "10!field \"?[2J\" is not known\n11!key is empty\n"},
	{"jsonl: ttl as a number", LIST_JSONL,
	 S("{\"key\":\"a\",\"ttl\":0}\n{\"key\":\"a\",\"ttl\":0.5}\n{\"key\":\"a\",\"ttl\":-1}\n"
	   "{\"key\":\"a\",\"ttl\":9223372036}\n{\"key\":\"a\",\"ttl\":9223372037}\n{\"key\":\"a\",\"ttl\":"
	   "1e300}\n"
	   "{\"key\":\"a\",\"ttl\":1e-12}\n{\"key\":\"a\",\"ttl\":\"never\"}\n{\"key\":\"a\",\"ttl\":\"\"}\n"
	   "{\"key\":\"a\",\"ttl\":true}\n{\"key\":\"a\",\"ttl\":9223372036.854775}\n"),
	 "1:a- ttl=never\n2:a- ttl=500000000\n3!ttl is negative\n4:a- ttl=9223372036000000000\n"
	 "5!ttl is too long\n6!ttl is too long\n7!ttl is less than a nanosecond\n8:a- ttl=never\n"
	 "9!ttl is not a number of seconds or a duration\n10!ttl is not a number of seconds or a duration\n"
	 "11!ttl is too long\n"},
	{"jsonl: flags as a number", LIST_JSONL,
	 S("{\"key\":\"a\",\"flags\":4294967296}\n{\"key\":\"a\",\"flags\":-1}\n{\"key\":\"a\",\"flags\":1.0}"
	   "\n"
	   "{\"key\":\"a\",\"flags\":\"1\"}\n{\"key\":\"a\",\"flags\":0}\n"),
	 "1!flags is not a whole number from 0 to 4294967295\n"
	 "2!flags is not a whole number from 0 to 4294967295\n"
	 "3!flags is not a whole number from 0 to 4294967295\n"
	 "4!flags is not a whole number from 0 to 4294967295\n5:a-\n"},
	{"jsonl: a NUL byte in the line", LIST_JSONL,
	 S("{\"key\":\"a\"}\n{\"key\":\"b\0\"}\n{\"key\":\"c\"}\n"),
	 "1:a-\n2!line contains a NUL byte\n3:c-\n"},

	{"metadump: as memcached 1.6.18 prints it", LIST_METADUMP,
	 S("key=foo exp=-1 la=1795613575 cas=1 fetch=no cls=1 size=69\n"
	   "key=a%25%2C%3Db exp=99999999999 la=1795613575 cas=2 fetch=no cls=1 size=65\n"
	   "key=exp exp=1795613 la=1795613575 cas=3 fetch=no cls=1 size=63\nEND\r\n"),
	 "1:foo-\n2:a%,=b-\n3!expired\n"},
	{"metadump: a broken escape, no exp, an exp that is no time, a line of something else", LIST_METADUMP,
	 S("key=a exp=-1\nkey=%2 exp=-1\nkey=%zz exp=-1\nkey=b la=1\nkey=c exp=x\nkey=d exp=-2\nBUSY "
	   "now\nkey=e exp=-1\n"
	   "key=%c3%A4 exp=-1\nkey=f exp=-1\nkey=g exp=-1\nkey=h"),
	 "1:a-\n2!key has a broken %XX escape\n3!key has a broken %XX escape\n4!exp= is missing\n"
	 "5!exp is not -1 or a unix time\n6!exp is not -1 or a unix time\n7!line does not begin with key=\n"
	 "8:e-\n9:\\xc3\\xa4-\n10:f-\n11:g-\n12!exp= is missing\n"},
	{"metadump: key faults after decoding", LIST_METADUMP,
	 S("key= exp=-1\nkey=a%20b exp=-1\nkey=a%00 exp=-1\nkey=ok exp=-1 la=1\nkey=\0 exp=-1\n"),
	 "1!key is empty\n2!key contains a space or control byte\n3!key contains a space or control byte\n"
	 "4:ok-\n5!line contains a NUL byte\n"},
};

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		test_begin(rows[i].sentence);
		check_mem(rows[i].text, rows[i].len, rows[i].as, rows[i].want);
		test_end();
	}
}

/* ---- recognition ----------------------------------------------------------------------------- */

static const struct {
	const char *sentence;
	enum list_format want;
	const char *text;
	size_t len;
} recognitions[] = {
	{"nothing is keys", LIST_KEYS, S("")},
	{"comments alone are keys", LIST_KEYS, S("# a,b\n#{\n")},
	{"one key a line is keys", LIST_KEYS, S("a\nb\nc\n")},
	{"some keys with commas are still keys", LIST_KEYS, S("geo:1,2\nb\nc\ngeo:3,4\n")},
	{"half and half is keys: a wrong value is worse than none", LIST_KEYS, S("a,1\nb\n")},
	{"keys with = are keys", LIST_KEYS, S("key=a\nkey=b\nx=y\n")},
	{"keys that begin with a brace are keys", LIST_KEYS, S("{user}:1\n{user}:2\n")},
	{"key,value is csv", LIST_CSV, S("a,1\nb,2\n")},
	{"comments before it do not count", LIST_CSV, S("# one\n# two\n# three\na,1\n")},
	{"one bad line in a csv leaves it csv", LIST_CSV, S("a,1\nb\nc,3\n")},
	{"a comma only inside quotes is not csv", LIST_KEYS, S("\"a,b\"\n\"c,d\"\n")},
	{"values over several lines count once", LIST_CSV, S("a,\"1\n2\n3\n4\n5\n6\"\nb,2\n")},
	{"JSON Lines, indented or not", LIST_JSONL, S("{\"key\":\"a\"}\n\t { \"key\": \"b,c\"}\n")},
	{"JSON Lines after a byte order mark", LIST_JSONL, S("\xef\xbb\xbf{\"key\":\"a\"}\n")},
	{"JSON Lines of which one is damaged", LIST_JSONL, S("oops\n{\"key\":\"a\"}\n{\"key\":\"b\"}\n")},
	{"a metadump", LIST_METADUMP, S("key=a exp=-1 la=1 cas=1\nkey=b,c exp=-1 la=2\nEND\r\n")},
	{"a metadump of one key", LIST_METADUMP, S("key=a exp=-1 la=1 cas=1\nEND\r\n")},
	{"a metadump of nothing", LIST_METADUMP, S("END\r\n")},
	{"a metadump whose first line was cut", LIST_METADUMP, S("o exp=-1\nkey=b exp=-1\nkey=c exp=-1\n")},
};

static void test_recognition(void)
{
	struct list *l;

	for (size_t i = 0; i < sizeof(recognitions) / sizeof(*recognitions); i++) {
		test_begin(recognitions[i].sentence);
		CHECK_INT(list_open_mem(&l, "test", recognitions[i].text, recognitions[i].len), 0);
		CHECK_STR(list_format_name(list_format(l)), list_format_name(recognitions[i].want));
		list_close(l);
		test_end();
	}
}

static void test_sample(void)
{
	char text[400] = "";
	struct list *l;

	test_begin("only the first 20 lines speak for a format");
	for (int i = 0; i < 20; i++)
		strcat(text, i < 9 ? "k\n" : "k,v\n");
	for (int i = 0; i < 50; i++)
		strcat(text, "k\n");
	CHECK_INT(list_open_mem(&l, "test", text, strlen(text)), 0);
	CHECK_STR(list_format_name(list_format(l)), "csv");
	list_set_format(l, LIST_KEYS);
	CHECK_STR(list_format_name(list_format(l)), "keys");
	list_set_format(l, LIST_AUTO);
	CHECK_STR(list_format_name(list_format(l)), "csv");
	list_close(l);
	test_end();
}

static void test_not_json(void)
{
	struct transcript t = {0};
	struct list *l;

	test_begin("jsonl: lines that are not JSON say so, and cost only themselves");
	CHECK_INT(list_open_mem(&l, "test",
				S("{\"key\":\"a\"}\n{\"key\":\n{\"key\":\"b\"} x\n{\"key\":\"\xff\"}\n"
				  "{\"key\":\"c\",\"key\":\"d\"}\n\x01\n{\"key\":\"e\"}\n")),
		  0);
	CHECK_INT(transcribe(l, &t), 0);
	CHECK_INT(t.entries, 2);
	CHECK_INT(t.bad, 5);
	for (int line = 2; line <= 6; line++) {
		char want[32];

		snprintf(want, sizeof(want), "\n%d!not JSON: ", line);
		CHECK(strstr(t.text, want) != NULL);
	}
	CHECK(strstr(t.text, "\n7:e-\n") != NULL);
	CHECK(!strchr(t.text, 1));
	free(t.text);
	list_close(l);
	test_end();
}

/* ---- limits ---------------------------------------------------------------------------------- */

static char *fill(char *p, char c, size_t n)
{
	memset(p, c, n);
	return p + n;
}

static void test_key_length(void)
{
	char text[2000], *p = text;

	test_begin("a key of 250 bytes is taken, one of 251 is not");
	p = fill(p, 'a', 250);
	*p++ = '\n';
	p = fill(p, 'b', 251);
	*p++ = '\n';
	check_mem(text, p - text, LIST_KEYS, "1:<250>-\n2!key is 251 bytes, the limit is 250\n");
	test_end();

	test_begin("metadump: the key's length counts after decoding");
	p = text;
	p += sprintf(p, "key=");
	for (int i = 0; i < 250; i++)
		p += sprintf(p, "%%61");
	p += sprintf(p, " exp=-1\nkey=b exp=-1\n");
	check_mem(text, p - text, LIST_AUTO, "1:<250>-\n2:b-\n");
	test_end();
}

static void test_long_lines(void)
{
	char *text = malloc(4 * MIB), *p = text;

	test_begin("a line of 1 MiB is taken, a longer one is bad; the next is read");
	p += sprintf(p, "a,");
	p = fill(p, 'x', MIB - 2);
	p += sprintf(p, "\nb,");
	p = fill(p, 'y', MIB - 1);
	p += sprintf(p, "\nc,3\n");
	check_mem(text, p - text, LIST_AUTO, "1:a=<1048574>\n2!line is longer than 1 MiB\n3:c=3\n");
	check_mem(text, p - text, LIST_KEYS,
		  "1!key is 1048576 bytes, the limit is 250\n2!line is longer than 1 MiB\n3:c,3-\n");
	test_end();

	test_begin("csv: a quote that is open for 1 MiB is bad where it began");
	p = text + sprintf(text, "a,1\nb,\"open\n");
	for (int i = 0; i < MIB / 2 + 10; i++)
		p = fill(p, '\n', 2);
	p += sprintf(p, "c,\"3\"\n");
	check_mem(text, p - text, LIST_AUTO,
		  "1:a=1\n2!record is longer than 1 MiB, or a quote is never closed\n1048599:c=3\n");
	test_end();
	free(text);
}

static void test_stop(void)
{
	struct transcript t = {.stop_at = 2};
	struct list *l;

	test_begin("a callback stops the reading, at an entry and at a bad line; a list is read again");
	CHECK_INT(list_open_mem(&l, "name", S("a\nb c\nd\n")), 0);
	CHECK_STR(list_name(l), "name");
	CHECK_INT(transcribe(l, &t), -ECANCELED);
	CHECK_STR(t.text, "1:a-\n2!key contains a space or control byte\n");
	free(t.text);
	t = (struct transcript){.stop_at = 1};
	CHECK_INT(transcribe(l, &t), -ECANCELED);
	CHECK_STR(t.text, "1:a-\n");
	free(t.text);
	check_list(l, "1:a-\n2!key contains a space or control byte\n3:d-\n");
	list_close(l);
	test_end();
}

/* ---- files ----------------------------------------------------------------------------------- */

static char dir[] = "/tmp/weir-test-list.XXXXXX";

static const char *write_file(const void *data, size_t len)
{
	static char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/list", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK_INT(write(fd, data, len), len);
	close(fd);
	return path;
}

static size_t gzip(const void *in, size_t len, void *out, size_t room)
{
	z_stream z = {.next_in = (Bytef *)in, .avail_in = len, .next_out = out, .avail_out = room};

	deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
	CHECK_INT(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return room - z.avail_out;
}

static void check_file(const void *data, size_t len, const char *want)
{
	struct list *l;

	if (!CHECK_INT(list_open(&l, write_file(data, len)), 0))
		return;
	check_list(l, want);
	list_close(l);
}

static int try_mem(const void *data, size_t len)
{
	struct list *l = NULL;
	int rc = list_open_mem(&l, "test", data, len);

	if (!rc)
		list_close(l);
	return rc;
}

static void test_files(void)
{
	struct list *l;

	test_begin("a plain file, an empty one, one whose size is a page");
	check_file(S("a,1\nb,2\n"), "1:a=1\n2:b=2\n");
	check_file("", 0, "");
	{
		char page[4096];

		memset(page, 'k', sizeof(page));
		memcpy(page + 4090, "\nz\nabc", 6);
		check_file(page, sizeof(page), "1!key is 4090 bytes, the limit is 250\n2:z-\n3:abc-\n");
	}
	test_end();

	test_begin("no file, and a directory");
	CHECK_INT(list_open(&l, "/nonexistent/list"), -ENOENT);
	CHECK_INT(list_open(&l, dir), -EISDIR);
	test_end();
}

static void test_stdin(void)
{
	static const char text[] = "a\nb\n";
	int fds[2], saved = dup(0);
	struct list *l;

	test_begin("\"-\" reads standard input to its end, gzip too");
	for (int packed = 0; packed < 2; packed++) {
		char gz[100];
		size_t n = packed ? gzip(text, 4, gz, sizeof(gz)) : 4;

		CHECK_INT(pipe(fds), 0);
		dup2(fds[0], 0);
		close(fds[0]);
		CHECK_INT(write(fds[1], packed ? gz : text, n), n);
		close(fds[1]);
		if (CHECK_INT(list_open(&l, "-"), 0)) {
			CHECK_STR(list_name(l), "(standard input)");
			check_list(l, "1:a-\n2:b-\n");
			list_close(l);
		}
	}
	dup2(saved, 0);
	close(saved);
	test_end();
}

static void test_gzip(void)
{
	char gz[400], copy[400];
	size_t one = gzip(S("\xef\xbb\xbf"
			    "a,1\n"),
			  gz, sizeof(gz));
	size_t both = one + gzip(S("b,2\n"), gz + one, sizeof(gz) - one);

	test_begin("gzip: one member, from a file");
	check_file(gz, one, "1:a=1\n");
	test_end();

	test_begin("gzip: several members, and zeros behind them");
	check_mem(gz, both, LIST_AUTO, "1:a=1\n2:b=2\n");
	memset(gz + both, 0, 50);
	check_mem(gz, both + 50, LIST_AUTO, "1:a=1\n2:b=2\n");
	test_end();

	test_begin("gzip: cut anywhere it is damaged, except between members");
	for (size_t n = 2; n < both; n++)
		if (n != one)
			CHECK_INT(try_mem(gz, n), -EBADMSG);
	CHECK_INT(try_mem(gz, one), 0);
	test_end();

	test_begin("gzip: a wrong checksum, a wrong length, something behind the end");
	memcpy(copy, gz, sizeof(copy));
	copy[one - 8] ^= 1;
	CHECK_INT(try_mem(copy, one), -EBADMSG);
	memcpy(copy, gz, sizeof(copy));
	copy[one - 1] ^= 1;
	CHECK_INT(try_mem(copy, one), -EBADMSG);
	memcpy(copy, gz, sizeof(copy));
	copy[one] = 'x';
	CHECK_INT(try_mem(copy, one + 1), -EBADMSG);
	test_end();
}

static void test_gzip_big(void)
{
	size_t len = 3 * MIB, room = 4 * MIB;
	char *text = malloc(len), *gz = malloc(room);
	struct transcript t = {0};
	struct list *l;

	test_begin("gzip: a list that unpacks to many times its size");
	for (size_t i = 0; i < len; i += 8)
		memcpy(text + i, "key:abc\n", 8);
	CHECK_INT(list_open_mem(&l, "test", gz, gzip(text, len, gz, room)), 0);
	CHECK_INT(transcribe(l, &t), 0);
	CHECK_INT(t.entries, len / 8);
	CHECK_INT(t.bad, 0);
	CHECK_INT(t.total, len);
	CHECK(t.told >= len / (64 << 10) && t.told < len / (64 << 10) + 100);
	list_close(l);
	free(t.text);
	free(text);
	free(gz);
	test_end();
}

/* ---- many ------------------------------------------------------------------------------------ */

struct many {
	unsigned long entries, bad, wrong;
};

static int many_entry(const struct list_entry *e, void *arg)
{
	struct many *m = arg;
	char key[32];

	m->entries++;
	snprintf(key, sizeof(key), "user:%08lu", m->entries);
	if (e->key_len != 13 || memcmp(e->key, key, 13) || e->value_len != 100 || e->line != m->entries)
		m->wrong++;
	return 0;
}

static int many_bad(unsigned long line, const char *why, void *arg)
{
	((struct many *)arg)->bad++;
	return 0;
}

static void test_million(void)
{
	const unsigned long n = 1000000;
	char *text = malloc(n * 116 + 1), *p = text, value[101];
	struct many m = {0};
	struct list_sink sink = {many_entry, many_bad, NULL, &m};
	struct list *l;

	test_begin("a million lines, each as it stands, without a progress callback");
	memset(value, 'v', 100);
	value[100] = 0;
	for (unsigned long i = 1; i <= n; i++)
		p += sprintf(p, "user:%08lu,%s\n", i, value);
	CHECK_INT(list_open_mem(&l, "test", text, p - text), 0);
	CHECK_INT(list_read(l, &sink), 0);
	CHECK_INT(m.entries, n);
	CHECK_INT(m.bad, 0);
	CHECK_INT(m.wrong, 0);
	list_close(l);
	free(text);
	test_end();
}

int main(void)
{
	char path[64];

	if (!mkdtemp(dir))
		return 1;
	test_rows();
	test_recognition();
	test_sample();
	test_not_json();
	test_key_length();
	test_long_lines();
	test_stop();
	test_files();
	test_stdin();
	test_gzip();
	test_gzip_big();
	test_million();
	snprintf(path, sizeof(path), "%s/list", dir);
	unlink(path);
	rmdir(dir);
	return test_done();
}
