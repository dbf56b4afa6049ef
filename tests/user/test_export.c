/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The hot set as a list: there and back through list.h, and what cannot stand in one. */
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "hot_fixture.h"
#include "list.h"
#include "policy_keys.h"

static struct dataplane dp;

static void put(const struct hot_item *it)
{
	struct hotset *h;

	if (!CHECK_INT(hotset_open(&h, &dp.mem), 0))
		return;
	CHECK_INT(hotset_put(h, it), HOT_ADDED);
	CHECK_INT(hotset_close(h), 0);
}

static void put_key(const char *key, const char *value)
{
	struct hot_item it = item_of(key, value);

	put(&it);
}

static struct hotset *reader(void)
{
	struct hotset_mem mem = dp.mem;
	struct hotset *h = NULL;

	mem.grace = NULL;
	CHECK_INT(hotset_open(&h, &mem), 0);
	return h;
}

/* What is exported, as text to free(). */
static char *exported(const struct export_opts *o, int want, __u32 *left_out)
{
	struct session s = { .what = "test", .dp = &dp, .ctl = &dp.ctl, .hot = reader() };
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	CHECK_INT(export_keys(&s, o, f, left_out), want);
	fclose(f);
	hotset_close(s.hot);
	return text;
}

static void begin(const char *sentence)
{
	test_begin(sentence);
	dp_setup(&dp, 64, 8, 256);
}

static void end(void)
{
	dp_teardown(&dp);
	test_end();
}

static void hit(const char *key, __u64 n)
{
	struct weir_slot slot;

	if (CHECK(slot_of(&dp, key, &slot)))
		dp.mem.hits[slot.entry] = n;
}

static const struct export_opts all = { .svc = SVC }, with_values = { .svc = SVC, .values = true };

static void test_keys(void)
{
	struct export_opts two = { .svc = SVC, .top = 2 }, other = { .svc = SVC + 1 };
	struct hot_item it;
	char *text;

	begin("an empty hot set is an empty list");
	text = exported(&all, 0, NULL);
	CHECK_STR(text, "");
	free(text);
	end();

	begin("keys, the most asked for first; so many as are wanted; of one service");
	put_key("b", "1");
	put_key("a\"\\", "2");
	put_key("c", "3");
	hit("b", 5);
	hit("a\"\\", 7);
	hit("c", 1);
	text = exported(&all, 3, NULL);
	CHECK_STR(text, "{\"key\":\"a\\\"\\\\\"}\n{\"key\":\"b\"}\n{\"key\":\"c\"}\n");
	free(text);
	text = exported(&two, 2, NULL);
	CHECK_STR(text, "{\"key\":\"a\\\"\\\\\"}\n{\"key\":\"b\"}\n");
	free(text);
	text = exported(&other, 0, NULL);
	CHECK_STR(text, "");
	free(text);
	end();

	begin("what has expired or is fenced is not there");
	it = item_of("gone", "x");
	it.expires_ns = monotonic_ns() - 1;
	put(&it);
	put_key("kept", "x");
	put_key("written", "x");
	raise_fence(&dp, "written");
	text = exported(&all, 1, NULL);
	CHECK_STR(text, "{\"key\":\"kept\"}\n");
	free(text);
	end();

	begin("keys that are no UTF-8 cannot stand in the list, and are counted");
	for (const char *const *k = (const char *const[]){ "\xff", "ab\xc3", "\xed\xa0\x80", "good\xc3\xa4", NULL }; *k; k++)
		put_key(*k, "x");
	__u32 left_out = 99;
	text = exported(&all, 1, &left_out);
	CHECK_INT(left_out, 3);
	CHECK_STR(text, "{\"key\":\"good\xc3\xa4\"}\n");
	free(text);
	end();
}

/* Of thousands with different hits, the right ones, whatever was thrown away meanwhile. */
static void test_top(void)
{
	struct export_opts ten = { .svc = SVC, .top = 10 }, quick = { .svc = SVC, .top = 10, .limit_ns = 1 };
	char key[32], want[512] = "", *text;
	struct hotset *h;

	test_begin("the ten most asked for of five thousand");
	dp_setup(&dp, 4096, 64, 8192);
	CHECK_INT(hotset_open(&h, &dp.mem), 0);
	for (int i = 0; i < 5000; i++) {
		struct hot_item it;

		snprintf(key, sizeof(key), "key%d", i);
		it = item_of(key, "x");
		CHECK_INT(hotset_put(h, &it), HOT_ADDED);
	}
	hotset_close(h);
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		hit(key, i * 7919 % 5000); /* a permutation */
	}
	for (int rank = 4999; rank > 4989; rank--) {
		for (int i = 0; i < 5000; i++) {
			if (i * 7919 % 5000 == rank)
				snprintf(want + strlen(want), 32, "{\"key\":\"key%d\"}\n", i);
		}
	}
	text = exported(&ten, 10, NULL);
	CHECK_STR(text, want);
	free(text);
	test_end();

	test_begin("with no time at all nothing is looked at; with a long time, all");
	text = exported(&quick, 0, NULL);
	CHECK_STR(text, "");
	free(text);
	quick.limit_ns = 1000000000000;
	text = exported(&quick, 10, NULL);
	CHECK_STR(text, want);
	free(text);
	end();
}

struct seen {
	unsigned n;
	char key[8][WEIR_KEY_MAX + 1];
	char value[8][WEIR_TEXT_MAX];
	size_t len[8];
	__u32 flags[8];
	__u64 ttl_ns[8];
};

static int see(const struct list_entry *e, void *arg)
{
	struct seen *s = arg;

	if (!CHECK(s->n < 8 && e->value && e->value_len <= WEIR_TEXT_MAX))
		return -1;
	snprintf(s->key[s->n], sizeof(s->key[0]), "%.*s", (int)e->key_len, e->key);
	memcpy(s->value[s->n], e->value, e->value_len);
	s->len[s->n] = e->value_len;
	s->flags[s->n] = e->client_flags;
	s->ttl_ns[s->n++] = e->ttl_ns;
	return 0;
}

static int see_bad(unsigned long line, const char *why, void *arg)
{
	printf("# line %lu: %s\n", line, why);
	return -EINVAL;
}

static void read_back(const char *text, struct seen *seen)
{
	const struct list_sink sink = { .entry = see, .bad = see_bad, .arg = seen };
	struct list *l;

	if (!CHECK_INT(list_open_mem(&l, "back", text, strlen(text)), 0))
		return;
	CHECK_INT(list_format(l), LIST_JSONL);
	CHECK_INT(list_read(l, &sink), 0);
	list_close(l);
}

static void test_values(void)
{
	static const char zeros[] = "a\0b\r\n\xff\0";
	static char long_value[1000];
	struct hot_item it;
	static struct seen seen;
	char *text;

	begin("values of any bytes and lengths, flags and the time left come back through a list");
	memset(long_value, 0x80, sizeof(long_value));
	it = item_of("zeros", "");
	it.value = zeros;
	it.value_len = 8;
	it.client_flags = 0xffffffff;
	put(&it);
	it = item_of("empty", "");
	it.expires_ns = monotonic_ns() + 90500000000;
	put(&it);
	it = item_of("long", "");
	it.value = long_value;
	it.value_len = sizeof(long_value);
	it.expires_ns = monotonic_ns() + 900000000;
	put(&it);
	hit("zeros", 9);
	hit("empty", 8);
	for (size_t n = 1; n <= 3; n++) {
		char key[8];

		snprintf(key, sizeof(key), "n%zu", n);
		it = item_of(key, "");
		it.value = "xyz";
		it.value_len = n;
		put(&it);
		hit(key, n);
	}
	text = exported(&with_values, 6, NULL);
	read_back(text, &seen);
	free(text);
	if (!CHECK_INT(seen.n, 6))
		return end();
	CHECK_STR(seen.key[0], "zeros");
	CHECK(seen.len[0] == 8 && !memcmp(seen.value[0], zeros, 8));
	CHECK_INT(seen.flags[0], 0xffffffff);
	CHECK(seen.ttl_ns[0] == WEIR_NEVER);
	CHECK(!strcmp(seen.key[1], "empty") && !seen.len[1] && !seen.flags[1]);
	CHECK_INT(seen.ttl_ns[1], 90000000000);
	for (unsigned i = 2; i < 5; i++)
		CHECK(seen.len[i] == 5 - i && !memcmp(seen.value[i], "xyz", 5 - i));
	CHECK_STR(seen.key[5], "long");
	CHECK(seen.len[5] == sizeof(long_value) && !memcmp(seen.value[5], long_value, sizeof(long_value)));
	CHECK_INT(seen.ttl_ns[5], 1000000000); /* less than a second is one */
	end();
}

static void no_more(const struct keys *k, size_t at)
{
	size_t len;

	CHECK(!keys_next(k, &at, &len));
}

static void test_policy_keys(void)
{
	char path[] = "/tmp/weir-test-XXXXXX", longest[WEIR_KEY_MAX + 2];
	struct keys k = {};
	struct keys_file f = {};
	size_t at = 0, len;
	__u32 bad = 0;
	FILE *file;

	test_begin("keys of a run: the longest, one that is too long, none, one too many");
	memset(longest, 'x', sizeof(longest));
	CHECK_INT(keys_add(&k, longest, WEIR_KEY_MAX, 2), 0);
	CHECK_INT(keys_add(&k, longest, WEIR_KEY_MAX + 1, 2), -EMSGSIZE);
	CHECK_INT(keys_add(&k, "", 0, 2), -EMSGSIZE);
	CHECK_INT(keys_add(&k, "a", 1, 2), 0);
	CHECK_INT(keys_add(&k, "b", 1, 2), -ENOSPC);
	CHECK(!memcmp(keys_next(&k, &at, &len), longest, WEIR_KEY_MAX) && len == WEIR_KEY_MAX);
	CHECK(*keys_next(&k, &at, &len) == 'a' && len == 1);
	no_more(&k, at);
	keys_free(&k);
	no_more(&k, 0);
	test_end();

	test_begin("a reply: what is no key is counted, what is over the limit left");
	static const char reply[] = "{\"key\":\"a\"}\n{\"key\":\"a b\"}\nrubbish\n{\"key\":\"b\"}\n{\"key\":\"c\"}\n";
	CHECK_INT(keys_parse(&k, &bad, 2, "peer", reply, strlen(reply)), 0);
	CHECK_INT(k.n, 2);
	CHECK_INT(bad, 3);
	CHECK_INT(keys_parse(&k, &bad, 2, "peer", NULL, 0), 0);
	keys_free(&k);
	bad = 0;
	CHECK_INT(keys_parse(&k, &bad, 9, "peer", "\0\xff{{{{", 6), 0);
	CHECK_INT(k.n, 0);
	keys_free(&k);
	test_end();

	test_begin("a file is read again when it has changed, and no pipe or directory is");
	close(mkstemp(path));
	CHECK_INT(keys_file_read(&f, path, 10), 0);
	CHECK_INT(f.keys.n, 0);
	file = fopen(path, "w");
	fputs("a\nb\nnot a key\n", file);
	fclose(file);
	CHECK_INT(keys_file_read(&f, path, 10), 0);
	CHECK(f.keys.n == 2 && f.bad == 1);
	char *was = f.keys.bytes;
	CHECK_INT(keys_file_read(&f, path, 10), 0);
	CHECK(f.keys.bytes == was);
	unlink(path);
	CHECK_INT(keys_file_read(&f, path, 10), -ENOENT);
	CHECK_INT(f.keys.n, 0);
	CHECK_INT(keys_file_read(&f, "/tmp", 10), -EINVAL);
	CHECK_INT(keys_file_read(&f, "/dev/zero", 10), -EINVAL);
	keys_file_free(&f);
	test_end();
}

int main(void)
{
	test_keys();
	test_top();
	test_values();
	test_policy_keys();
	return test_done();
}
