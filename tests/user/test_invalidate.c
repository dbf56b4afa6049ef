/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Invalidations: fences, prefixes, how they are counted; entries of the bus, and the file of its position. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../test.h"
#include "bus_entry.h"
#include "bus_position.h"
#include "invalidate.h"
#include "weir/hash.h"

#define SVC 3

static struct weir_ctl ctl = { .hash_seed = 42, .index_buckets = 1 };
static struct weir_fence fences[WEIR_FENCE_STRIPES];
static struct weir_svc_fence svc_fences[WEIR_SERVICES_MAX];
static struct weir_invalidation table[WEIR_INVAL_REASONS + 1];
static const struct hotset_mem mem = {
	.ctl = &ctl, .fences = fences, .svc_fences = svc_fences, .invalidations = table
};
static const struct inval by_bus = { WEIR_INVAL_BUS, "edit" };

static void clear(void)
{
	memset(fences, 0, sizeof(fences));
	memset(svc_fences, 0, sizeof(svc_fences));
	memset(table, 0, sizeof(table));
}

static struct weir_fence *fence_of(const char *key)
{
	return &fences[weir_stripe(hot_hash(ctl.hash_seed, SVC, key, strlen(key)))];
}

/* ---- fences ----------------------------------------------------------------------------------- */

static void test_fences(void)
{
	struct hotset *h;
	struct hot_fence before;
	__u64 now = monotonic_ns();

	clear();
	CHECK(!hotset_open(&h, &mem));
	test_begin("a key raises the fence of its stripe, and nothing else");
	before = hotset_fence(h, SVC, "k", 1);
	CHECK(!hotset_fence_moved(h, SVC, "k", 1, &before));
	inval_key(&mem, &by_bus, SVC, "k", 1);
	CHECK_INT(fence_of("k")->count, 1);
	CHECK(fence_of("k")->last_ns >= now);
	CHECK_INT(svc_fences[SVC].count, 0);
	CHECK_INT(svc_fences[SVC].fills, 0);
	CHECK(hotset_fence_moved(h, SVC, "k", 1, &before));
	test_end();

	test_begin("who fills settles after it, as after a write");
	CHECK(hotset_last_write(h, SVC, "k", 1) >= now);
	test_end();

	test_begin("a service raises its own");
	before = hotset_fence(h, SVC, "other", 5);
	inval_service(&mem, &by_bus, SVC);
	CHECK_INT(svc_fences[SVC].count, 1);
	CHECK_INT(svc_fences[SVC + 1].count, 0);
	CHECK(svc_fences[SVC].last_ns >= now);
	CHECK(hotset_fence_moved(h, SVC, "other", 5, &before));
	test_end();

	test_begin("prefixes spoil what is being fetched, and fence no copy");
	before = hotset_fence(h, SVC, "other", 5);
	inval_prefixes(&mem, &by_bus, SVC, 2);
	CHECK_INT(svc_fences[SVC].count, 1);
	CHECK(hotset_fence_moved(h, SVC, "other", 5, &before));
	before = hotset_fence(h, SVC + 1, "other", 5);
	inval_prefixes(&mem, &by_bus, SVC, 1);
	CHECK(!hotset_fence_moved(h, SVC + 1, "other", 5, &before));
	test_end();
	hotset_close(h);
}

static struct weir_slot *slot_with(const char *key, __u8 svc)
{
	static union {
		struct weir_slot slot;
		__u8 bytes[512];
	} u;

	memset(&u, 0, sizeof(u));
	u.slot.svc = svc;
	u.slot.key_len = strlen(key);
	memcpy(u.slot.text + WEIR_KEY_AT, key, strlen(key));
	return &u.slot;
}

static void test_prefixes(void)
{
	static const struct inval_prefix two[] = { { "user:", 5 }, { "x", 1 } };

	clear();
	test_begin("a slot with one of the prefixes is fenced; a prefix may be the whole key, and not longer");
	CHECK(inval_has_prefix(&mem, slot_with("user:1", SVC), SVC, two, 2));
	CHECK_INT(fence_of("user:1")->count, 1);
	CHECK(inval_has_prefix(&mem, slot_with("user:", SVC), SVC, two, 2));
	CHECK(inval_has_prefix(&mem, slot_with("x", SVC), SVC, two, 2));
	CHECK(!inval_has_prefix(&mem, slot_with("user", SVC), SVC, two, 2));
	CHECK(!inval_has_prefix(&mem, slot_with("ax", SVC), SVC, two, 2));
	CHECK(!inval_has_prefix(&mem, slot_with("user:1", SVC), SVC, two, 0));
	CHECK_INT(fence_of("user")->count + fence_of("ax")->count, 0);
	test_end();

	test_begin("of another service it is not");
	CHECK(!inval_has_prefix(&mem, slot_with("user:2", SVC + 1), SVC, two, 2));
	test_end();
}

/* ---- counting --------------------------------------------------------------------------------- */

static const struct weir_invalidation *row(const char *reason)
{
	for (int i = 0; i <= WEIR_INVAL_REASONS; i++) {
		if (!strcmp(table[i].reason, reason))
			return &table[i];
	}
	return NULL;
}

static void test_reasons(void)
{
	test_begin("a reason is a word of 1 to 32 bytes that print");
	CHECK(inval_reason_ok("a", 1));
	CHECK(inval_reason_ok("import-42/x", 11));
	CHECK(inval_reason_ok("12345678901234567890123456789012", 32));
	CHECK(!inval_reason_ok("123456789012345678901234567890123", 33));
	CHECK(!inval_reason_ok("", 0));
	CHECK(!inval_reason_ok("two words", 9));
	CHECK(!inval_reason_ok("a\n", 2));
	CHECK(!inval_reason_ok("a\0", 2));
	CHECK(!inval_reason_ok("\xc3\xa9", 2));
	CHECK(!inval_reason_ok("\x7f", 1));
	test_end();
}

static void test_counts(void)
{
	struct inval by = { WEIR_INVAL_CLI, NULL };
	char name[40];

	clear();
	test_begin("counted by reason, source and level");
	inval_key(&mem, &by_bus, SVC, "k", 1);
	inval_key(&mem, &by_bus, SVC, "k", 1);
	inval_key(&mem, &by, SVC, "k", 1);
	inval_prefixes(&mem, &by_bus, SVC, 3);
	inval_service(&mem, &by_bus, SVC);
	inval_fence_service(&mem, SVC);
	if (CHECK(row("edit")) && CHECK(row("unspecified"))) {
		CHECK_INT(row("edit")->n[WEIR_INVAL_BUS][WEIR_INVAL_KEY], 2);
		CHECK_INT(row("edit")->n[WEIR_INVAL_BUS][WEIR_INVAL_PREFIX], 3);
		CHECK_INT(row("edit")->n[WEIR_INVAL_BUS][WEIR_INVAL_SERVICE], 1);
		CHECK_INT(row("edit")->n[WEIR_INVAL_CLI][WEIR_INVAL_KEY], 0);
		CHECK_INT(row("unspecified")->n[WEIR_INVAL_CLI][WEIR_INVAL_KEY], 1);
	}
	test_end();

	test_begin("64 reasons are told apart, also the longest; others are \"other\", as is one of that name");
	clear();
	for (int i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "%032d", i);
		by.reason = name;
		inval_key(&mem, &by, SVC, "k", 1);
	}
	by.reason = "other";
	inval_key(&mem, &by, SVC, "k", 1);
	CHECK(row("00000000000000000000000000000063"));
	CHECK(!row("00000000000000000000000000000064"));
	CHECK_STR(table[WEIR_INVAL_REASONS].reason, "other");
	CHECK_INT(table[WEIR_INVAL_REASONS].n[WEIR_INVAL_CLI][WEIR_INVAL_KEY], 7);
	test_end();

	test_begin("one who was killed before the name was written: the next one writes it");
	clear();
	by.reason = "late";
	inval_key(&mem, &by, SVC, "k", 1);
	memset(table[0].reason, 0, sizeof(table[0].reason));
	inval_key(&mem, &by, SVC, "k", 1);
	CHECK_STR(table[0].reason, "late");
	CHECK_INT(table[0].n[WEIR_INVAL_CLI][WEIR_INVAL_KEY], 2);
	test_end();

	test_begin("where nothing can be counted the fence is raised all the same");
	clear();
	inval_key(&(struct hotset_mem){ .ctl = &ctl, .fences = fences, .svc_fences = svc_fences }, &by, SVC, "k",
		  1);
	CHECK_INT(fence_of("k")->count, 1);
	test_end();
}

#define THREADS 4
#define ROUNDS	20000

static void *add_many(void *arg)
{
	char name[40];
	struct inval by = { WEIR_INVAL_HTTP, name };

	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "reason-%d", i % 48);
		inval_key(&mem, &by, SVC, "k", 1);
	}
	return NULL;
}

static void test_together(void)
{
	pthread_t threads[THREADS];
	__u64 sum = 0;
	int names = 0;

	clear();
	test_begin("several at once: nothing is lost, and no reason is there twice");
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, add_many, NULL));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i <= WEIR_INVAL_REASONS; i++) {
		sum += table[i].n[WEIR_INVAL_HTTP][WEIR_INVAL_KEY];
		names += *table[i].reason != 0;
	}
	CHECK_INT(sum, THREADS * ROUNDS);
	CHECK_INT(names, 48);
	CHECK_INT(fence_of("k")->count, THREADS * ROUNDS);
	test_end();
}

/* ---- entries of the bus ----------------------------------------------------------------------- */

#define F(name, value) { name, value, sizeof(name) - 1, sizeof(value) - 1 }

static struct bus_entry read_entry(const struct bus_field *fields, unsigned n, bool want)
{
	struct bus_entry e;

	CHECK_INT(bus_entry_read(&e, fields, n), want);
	return e;
}

#define READ(want, ...)                                                                        \
	({                                                                                     \
		static const struct bus_field f_[] = { __VA_ARGS__ };                          \
		read_entry(f_, sizeof(f_) / sizeof(*f_), want);                                \
	})

static char long_key[252];

static void test_entries(void)
{
	struct bus_entry e;

	test_begin("an entry with all that there is");
	e = READ(true, F("service", "cache"), F("key", "a"), F("key", "b"), F("prefix", "p:"), F("all", "1"),
		 F("reason", "edit"), F("event", "login"), F("id", "42"));
	CHECK(e.service && e.event && e.all && !e.fault);
	CHECK_INT(e.nkeys, 2);
	CHECK_INT(e.nprefixes, 1);
	CHECK_STR(e.reason, "edit");
	test_end();

	test_begin("one of key, prefix, all and event is enough");
	CHECK(!READ(true, F("key", "a")).fault);
	CHECK(!READ(true, F("prefix", "a")).fault);
	CHECK(!READ(true, F("all", "yes")).fault);
	CHECK(!READ(true, F("event", "e")).fault);
	CHECK(!READ(true, F("key", "a"), F("unknown", "x y")).fault);
	test_end();

	test_begin("none is too few");
	CHECK_STR(READ(false, F("service", "cache")).fault, "it has none of key, prefix, all and event");
	CHECK(READ(false, F("all", "no"), F("Key", "a"), F("keys", "a"), F("", "")).fault);
	CHECK(read_entry(NULL, 0, false).fault);
	test_end();

	test_begin("what is no key is left out and told, the rest stays");
	memset(long_key, 'x', 251);
	e = READ(true, F("key", "a b"), F("key", ""), F("key", "a\0b"), F("key", "good"), F("prefix", "\n"));
	CHECK(e.fault);
	CHECK_INT(e.nkeys, 1);
	CHECK_INT(e.nprefixes, 0);
	CHECK(read_entry(&(struct bus_field){ "key", long_key, 3, 251 }, 1, false).fault);
	CHECK(!read_entry(&(struct bus_field){ "key", long_key, 3, 250 }, 1, true).fault);
	test_end();

	test_begin("a reason that is none does not stop an invalidation");
	e = READ(true, F("key", "a"), F("reason", "two words"));
	CHECK(e.fault);
	CHECK_STR(e.reason, "");
	e = READ(true, F("key", "a"), F("reason", "first"), F("reason", "second"));
	CHECK(e.fault);
	CHECK_STR(e.reason, "first");
	test_end();

	test_begin("two services: which, nobody knows");
	CHECK(READ(false, F("service", "a"), F("service", "b"), F("key", "k")).fault);
	test_end();

	test_begin("all is true or false, and an event a word");
	CHECK(READ(false, F("all", "maybe")).fault);
	CHECK(READ(true, F("all", "2"), F("key", "a")).fault);
	CHECK(READ(false, F("event", "two words")).fault);
	CHECK(READ(false, F("event", "")).fault);
	test_end();
}

/* ---- the position ----------------------------------------------------------------------------- */

static void test_ids(void)
{
	static const char *const bad[] = { "", "1", "1-", "-1", "1-2-3", "a-1", "1-b", "+1-1", "1- 1", " 1-1",
					   "99999999999999999999-0" };
	struct stream_id id;

	test_begin("ids of a stream");
	CHECK(!stream_id_parse(&id, "1700000000000-7") && id.ms == 1700000000000 && id.seq == 7);
	CHECK(!stream_id_parse(&id, "0-0"));
	CHECK(!stream_id_parse(&id, "18446744073709551615-18446744073709551615"));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_INT(stream_id_parse(&id, bad[i]), -EINVAL);
	CHECK(stream_id_cmp((struct stream_id){ 1, 2 }, (struct stream_id){ 1, 3 }) < 0);
	CHECK(stream_id_cmp((struct stream_id){ 2, 0 }, (struct stream_id){ 1, 3 }) > 0);
	CHECK(!stream_id_cmp((struct stream_id){ 1, 2 }, (struct stream_id){ 1, 2 }));
	test_end();
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!CHECK(f))
		return;
	fputs(text, f);
	fclose(f);
}

static void test_position(void)
{
	static const char *const bad[] = { "", "x\n", "1-2\n", "1-2 3 ", "1-2 x 10.0.0.5:6379 0 weir\n",
					   "1-2 3 10.0.0.5:6379 0 weir" };
	struct config_bus c = { .redis = { .family = 4, .port = __builtin_bswap16(6379) }, .stream = "weir" };
	struct bus_position p = { { 1700000000000, 7 }, 12345 }, q;
	char dir[] = "/tmp/weir-test-XXXXXX", path[64];

	if (!CHECK(mkdtemp(dir)))
		return;
	snprintf(path, sizeof(path), "%s/bus", dir);
	memcpy(&c.redis.addr, (unsigned char[]){ 10, 0, 0, 5 }, 4);
	test_begin("no file: no position");
	CHECK_INT(bus_position_read(&q, path, &c), -ENOENT);
	test_end();

	test_begin("a position is read as it was written");
	CHECK(!bus_position_write(&p, path, &c));
	CHECK(!bus_position_read(&q, path, &c));
	CHECK(!stream_id_cmp(p.id, q.id) && q.added == 12345);
	p.id.seq++;
	CHECK(!bus_position_write(&p, path, &c));
	CHECK(!bus_position_read(&q, path, &c) && q.id.seq == 8);
	test_end();

	test_begin("one of another stream, database or Redis is none");
	strcpy(c.stream, "weir2");
	CHECK_INT(bus_position_read(&q, path, &c), -ENOENT);
	strcpy(c.stream, "weir");
	c.db = 1;
	CHECK_INT(bus_position_read(&q, path, &c), -ENOENT);
	c.db = 0;
	c.redis.port++;
	CHECK_INT(bus_position_read(&q, path, &c), -ENOENT);
	c.redis.port--;
	CHECK(!bus_position_read(&q, path, &c));
	test_end();

	test_begin("a damaged one is told");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_text(path, bad[i]);
		CHECK_INT(bus_position_read(&q, path, &c), -EINVAL);
	}
	test_end();

	test_begin("where it cannot be written nothing is left behind");
	snprintf(path, sizeof(path), "%s/none/bus", dir);
	CHECK_INT(bus_position_write(&p, path, &c), -ENOENT);
	test_end();
	snprintf(path, sizeof(path), "%s/bus", dir);
	unlink(path);
	CHECK(!rmdir(dir));
}

int main(void)
{
	test_fences();
	test_prefixes();
	test_reasons();
	test_counts();
	test_together();
	test_entries();
	test_ids();
	test_position();
	return test_done();
}
