/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hot set's writer over plain memory. What a slot says is compared with a reply built here and
 * with a checksum computed the slow way; a slot that a reader may hold must not change before the
 * grace period, which every grace of these tests checks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "hotset.h"
#include "test.h"
#include "weir/hash.h"
#include "weir/reason.h"

#define WATCHED 70000
#define NCPU    3

/* A slot that readers may hold, and what it was. */
struct watch {
	const struct weir_slot *slot;
	__u8 *was;
	size_t len;
};

struct fixture {
	struct weir_ctl ctl;
	struct hotset_mem mem;
	struct weir_fence *fences;
	struct weir_svc_fence *svc_fences;
	struct watch *watch;
	unsigned nwatch, graces, changed;
	int grace_err;
};

static int on_grace(void *arg)
{
	struct fixture *f = arg;

	f->graces++;
	if (f->grace_err)
		return f->grace_err;
	for (unsigned i = 0; i < f->nwatch; i++) {
		f->changed += memcmp(f->watch[i].slot, f->watch[i].was, f->watch[i].len) != 0;
		free(f->watch[i].was);
	}
	f->nwatch = 0;
	return 0;
}

static void setup(struct fixture *f, __u32 buckets, __u32 slabs, __u32 entries)
{
	memset(f, 0, sizeof(*f));
	f->ctl.hash_seed = 0x0123456789abcdefULL;
	f->ctl.index_buckets = buckets;
	f->ctl.slabs = slabs;
	f->ctl.entries = f->ctl.hit_entries = entries;
	f->ctl.ncpu = NCPU;
	f->fences = calloc(WEIR_FENCE_STRIPES, sizeof(*f->fences));
	f->svc_fences = calloc(WEIR_SERVICES_MAX, sizeof(*f->svc_fences));
	f->watch = calloc(WATCHED, sizeof(*f->watch));
	f->mem = (struct hotset_mem){
		.ctl = &f->ctl,
		.index = calloc(buckets, sizeof(struct weir_bucket)),
		.slabs = calloc(slabs, sizeof(struct weir_slab)),
		.hits = calloc((size_t)entries * NCPU, sizeof(__u64)),
		.fences = f->fences,
		.svc_fences = f->svc_fences,
		.grace = on_grace,
		.grace_arg = f,
	};
}

static void teardown(struct fixture *f)
{
	for (unsigned i = 0; i < f->nwatch; i++)
		free(f->watch[i].was);
	free(f->watch);
	free(f->fences);
	free(f->svc_fences);
	free(f->mem.index);
	free(f->mem.slabs);
	free(f->mem.hits);
}

/* A reader takes the slot now, and holds it until the next grace period. */
static void watch(struct fixture *f, const struct weir_slot *s)
{
	size_t len = s->lines * WEIR_LINE;
	struct watch *w = &f->watch[f->nwatch];

	if (f->nwatch == WATCHED)
		return;
	*w = (struct watch){s, malloc(len), len};
	memcpy(w->was, s, len);
	f->nwatch++;
}

static struct hotset *open_or_die(const struct hotset_mem *mem)
{
	struct hotset *h = NULL;

	if (!CHECK_INT(hotset_open(&h, mem), 0))
		exit(1);
	return h;
}

/* An item of service 3, client flags 7, that does not expire. */
static struct hot_item item(const char *key, const char *value)
{
	return (struct hot_item){.key = key,
				 .key_len = strlen(key),
				 .value = value,
				 .value_len = strlen(value),
				 .svc = 3,
				 .client_flags = 7,
				 .expires_ns = WEIR_NEVER};
}

static struct hot_item filled(char *key, const char *fmt, unsigned n, const char *value, size_t value_len)
{
	struct hot_item it = item("", "");

	it.key = key;
	it.key_len = sprintf(key, fmt, n);
	it.value = value;
	it.value_len = value_len;
	return it;
}

/* ---- what a slot says ------------------------------------------------------------------------- */

/* RFC 1071, byte by byte as on the wire. */
static __u16 slow_csum(const __u8 *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : p[i] << 8;
	while (sum > 0xffff)
		sum = (sum >> 16) + (sum & 0xffff);
	return htons(sum);
}

static void check_slot(const struct weir_slot *s, const struct hot_item *it)
{
	char want[2048], cas[32] = "", number[32];
	int head = sprintf(want, "VALUE %.*s %u %zu\r\n", (int)it->key_len, it->key, it->client_flags,
			   it->value_len);
	size_t text = head;

	if (!CHECK(s != NULL))
		return;
	if (it->value_len)
		memcpy(want + text, it->value, it->value_len);
	text += it->value_len;
	memcpy(want + text, "\r\nEND\r\n", 7);
	text += 7;
	if (it->flags & WEIR_SLOT_CAS)
		sprintf(cas, "%llu", it->cas);
	strcpy(want + text, cas);
	CHECK_MEM(s->text, text + strlen(cas), want, text + strlen(cas));
	CHECK_INT(s->head_len, head);
	CHECK_INT(s->value_len, it->value_len);
	CHECK_INT(s->key_len, it->key_len);
	CHECK_INT(s->svc, it->svc);
	CHECK_INT(s->flags, it->flags);
	CHECK_INT(s->client_flags, it->client_flags);
	CHECK_INT(s->cas_digits, strlen(cas));
	CHECK_INT(s->len_digits, sprintf(number, "%zu", it->value_len));
	CHECK_INT(s->flags_digits, sprintf(number, "%u", it->client_flags));
	CHECK(s->expires_ns == it->expires_ns);
	CHECK(s->fence == it->fence.key && s->svc_fence == it->fence.svc);
	CHECK_INT(s->csum_text, slow_csum(s->text, text));
	CHECK_INT(s->csum_value, slow_csum(s->text + head, it->value_len));
	CHECK((size_t)s->lines * WEIR_LINE >= WEIR_SLOT_HDR + text + strlen(cas));
}

static void put_and_check(struct hotset *h, const struct hot_item *it, int want)
{
	CHECK_INT(hotset_put(h, it), want);
	check_slot(hotset_find(h, it->svc, it->key, it->key_len), it);
}

static void test_forms(void)
{
	static const struct {
		const char *sentence;
		size_t key_len, value_len;
		__u32 client_flags;
		int flags;
		__u64 cas;
		int lines; /* or -errno */
	} rows[] = {
		{"a key of one byte, an empty value", 1, 0, 0, 0, 0, 2},
		{"a key of 7 bytes", 7, 32, 1, 0, 0, 2},
		{"a key of 8 bytes", 8, 32, 1, 0, 0, 2},
		{"a key of 9 bytes", 9, 33, 4294967295U, 0, 0, 3},
		{"a key of 16 bytes, a value of odd length", 16, 101, 99, 0, 0, 4},
		{"a key of 250 bytes", 250, 100, 0, 0, 0, 7},
		{"a key of 251 bytes is refused", 251, 1, 0, 0, 0, -EINVAL},
		{"an empty key is refused", 0, 1, 0, 0, 0, -EINVAL},
		{"a CAS of one digit", 5, 5, 0, WEIR_SLOT_CAS, 0, 2},
		{"a CAS of 19 digits", 5, 5, 0, WEIR_SLOT_CAS, 9999999999999999999ULL / 10, 2},
		{"a CAS of 20 digits", 5, 5, 0, WEIR_SLOT_CAS, ~0ULL, 2},
		{"a CAS that needs one more line", 5, 36, 0, WEIR_SLOT_CAS, 1000, 3},
		{"a CAS that is not the origin's takes no room", 5, 36, 0, 0, 1000, 2},
		{"all flags of a slot", 5, 5, 0, WEIR_SLOT_CAS | WEIR_SLOT_KEY_B64 | WEIR_SLOT_IMMORTAL, 5,
		 2},
		/* VALUE k 0 1370 = 6 + 1 + 1 + 1 + 1 + 4 + 2 = 16, END 7: 1,369 left of 1,392 */
		{"a reply that just fits a datagram", 1, 1369, 0, 0, 0, 23},
		{"and with a CAS of 20 digits", 1, 1369, 0, WEIR_SLOT_CAS, ~0ULL, 24},
		{"a reply that is one byte longer is refused", 1, 1370, 0, 0, 0, -EMSGSIZE},
		{"a value of more than any datagram is refused", 1, 1 << 20, 0, 0, 0, -EMSGSIZE},
	};
	static char key[300], value[1 << 20];
	struct fixture f;
	struct hotset *h;

	setup(&f, 64, 16, 100);
	h = open_or_die(&f.mem);
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = '!' + i % 90;
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = i * 7 + i / 256;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hot_item it = {.key = key,
				      .key_len = rows[i].key_len,
				      .value = value,
				      .value_len = rows[i].value_len,
				      .client_flags = rows[i].client_flags,
				      .flags = rows[i].flags,
				      .cas = rows[i].cas,
				      .svc = i,
				      .expires_ns = 1000 + i,
				      .fence = {i, 2 * i}};

		test_begin(rows[i].sentence);
		CHECK_INT(hotset_lines(&it), rows[i].lines);
		if (rows[i].lines < 0) {
			CHECK_INT(hotset_put(h, &it), rows[i].lines);
			CHECK(!hotset_find(h, it.svc, it.key, it.key_len));
		} else {
			put_and_check(h, &it, HOT_ADDED);
		}
		test_end();
	}
	CHECK_INT(hotset_close(h), 0);
	teardown(&f);
}

static void test_keys(void)
{
	static const struct {
		const char *key;
		size_t len;
		bool ok;
	} rows[] = {
		{"a", 1, true},        {"", 0, false},     {"a b", 3, false},
		{"a\tb", 3, false},    {"a\0b", 3, false}, {"a\x7f", 2, false},
		{"\x80\xff", 2, true}, {"a\n", 2, false},  {"key=1,2", 7, true},
	};

	test_begin("memcached's rules for keys: no space, no control character");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_INT(hotset_key_ok(rows[i].key, rows[i].len), rows[i].ok);
	test_end();
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static void test_verbs(void)
{
	struct fixture f;
	struct hotset *h;
	struct hot_item it = item("user:1", "one");
	const struct weir_slot *s;
	__u32 entry;

	setup(&f, 64, 4, 100);
	h = open_or_die(&f.mem);

	test_begin("a new key is added, for its service alone");
	put_and_check(h, &it, HOT_ADDED);
	CHECK(!hotset_find(h, 4, it.key, it.key_len));
	CHECK(!hotset_find(h, 3, it.key, it.key_len - 1));
	CHECK_INT(f.ctl.dirty, 0);
	test_end();

	test_begin("the same again is unchanged, and takes the new expiry in place");
	s = hotset_find(h, 3, it.key, it.key_len);
	it.expires_ns = 5;
	put_and_check(h, &it, HOT_UNCHANGED);
	CHECK(hotset_find(h, 3, it.key, it.key_len) == s);
	CHECK_INT(f.ctl.dirty, 0);
	test_end();

	test_begin("another value goes into a fresh slot, and keeps its hits");
	entry = s->entry;
	f.mem.hits[entry] = 5;
	f.mem.hits[2 * 100 + entry] = 6;
	watch(&f, s);
	it.value = "two";
	put_and_check(h, &it, HOT_REPLACED);
	CHECK(hotset_find(h, 3, it.key, it.key_len) != s);
	CHECK_INT(hotset_hits(h, hotset_find(h, 3, it.key, it.key_len)), 11);
	CHECK_INT(f.ctl.dirty, 1);
	test_end();

	test_begin("each of flags, CAS and fence alone makes a new value");
	it.client_flags++;
	put_and_check(h, &it, HOT_REPLACED);
	it.flags = WEIR_SLOT_CAS;
	it.cas = 8;
	put_and_check(h, &it, HOT_REPLACED);
	it.cas = 9;
	put_and_check(h, &it, HOT_REPLACED);
	it.fence.key++;
	put_and_check(h, &it, HOT_REPLACED);
	it.fence.svc++;
	put_and_check(h, &it, HOT_REPLACED);
	test_end();

	test_begin("a dropped key is gone, a second drop finds nothing");
	CHECK_INT(hotset_drop(h, 3, it.key, it.key_len), 0);
	CHECK(!hotset_find(h, 3, it.key, it.key_len));
	CHECK_INT(hotset_drop(h, 3, it.key, it.key_len), -ENOENT);
	CHECK_INT(hotset_usage(h).keys, 0);
	test_end();

	test_begin("closing waits once for the readers of all that, and is clean then");
	CHECK_INT(f.graces, 0);
	CHECK_INT(hotset_close(h), 0);
	CHECK_INT(f.graces, 1);
	CHECK_INT(f.changed, 0);
	CHECK_INT(f.ctl.dirty, 0);
	test_end();
	teardown(&f);
}

static void test_hits_begin_at_zero(void)
{
	struct fixture f;
	struct hotset *h;
	struct hot_item a = item("a", "1"), b = item("b", "1");

	setup(&f, 64, 4, 1);
	h = open_or_die(&f.mem);
	test_begin("a hit counter that another key had begins at zero on every CPU");
	put_and_check(h, &a, HOT_ADDED);
	for (int cpu = 0; cpu < NCPU; cpu++)
		f.mem.hits[cpu] = 9;
	CHECK_INT(hotset_drop(h, 3, "a", 1), 0);
	put_and_check(h, &b, HOT_ADDED);
	CHECK_INT(hotset_hits(h, hotset_find(h, 3, "b", 1)), 0);
	CHECK_INT(f.graces, 1);
	test_end();
	hotset_close(h);
	teardown(&f);
}

static void test_state(void)
{
	struct fixture f;
	struct hotset *h;
	struct hot_item it = item("k", "v");
	const struct weir_slot *s;
	__u32 stripe;

	setup(&f, 64, 4, 100);
	h = open_or_die(&f.mem);
	stripe = weir_stripe(hot_hash(f.ctl.hash_seed, 3, "k", 1));
	f.fences[stripe] = (struct weir_fence){10, 500};
	f.svc_fences[3] = (struct weir_svc_fence){.count = 20, .last_ns = 400};
	test_begin("fences and expiry decide as the program does: fenced first, then expired");
	it.fence = hotset_fence(h, 3, "k", 1);
	CHECK_INT(it.fence.key, 10);
	CHECK_INT(it.fence.svc, 20);
	CHECK_INT(hotset_last_write(h, 3, "k", 1), 500);
	it.expires_ns = 1000;
	put_and_check(h, &it, HOT_ADDED);
	s = hotset_find(h, 3, "k", 1);
	CHECK_INT(hotset_state(h, s, 999), WEIR_R_HIT);
	CHECK_INT(hotset_state(h, s, 1000), WEIR_R_EXPIRED);
	f.fences[stripe].count++;
	CHECK_INT(hotset_state(h, s, 1000), WEIR_R_FENCED);
	f.fences[stripe].count--;
	f.svc_fences[3].count++;
	f.svc_fences[3].last_ns = 600;
	CHECK_INT(hotset_state(h, s, 0), WEIR_R_FENCED);
	CHECK_INT(hotset_last_write(h, 3, "k", 1), 600);
	test_end();
	hotset_close(h);
	teardown(&f);
}

/* ---- full ------------------------------------------------------------------------------------- */

static const char zeroes[2048];

/* Puts n keys that fit, then one that does not; all n must still be there, and no more. */
static void fill_up(struct fixture *f, size_t value_len, unsigned n, int want)
{
	struct hotset *h = open_or_die(&f->mem);
	char key[32];

	for (unsigned i = 0; i <= n; i++) {
		struct hot_item it = filled(key, "key-%04u", i, zeroes, value_len);

		CHECK_INT(hotset_put(h, &it), i < n ? HOT_ADDED : want);
	}
	for (unsigned i = 0; i <= n; i++) {
		struct hot_item it = filled(key, "key-%04u", i, zeroes, value_len);
		const struct weir_slot *s = hotset_find(h, 3, it.key, it.key_len);

		if (i < n)
			check_slot(s, &it);
		else
			CHECK(!s);
	}
	CHECK_INT(hotset_usage(h).keys, n);
	CHECK_INT(f->graces, 0);
	CHECK_INT(hotset_close(h), 0);
}

static void test_full(void)
{
	struct fixture f;

	test_begin("no slot left: the key is refused, the rest is undisturbed");
	setup(&f, 64, 1, 1000);
	fill_up(&f, 1340, WEIR_SLAB_LINES / 23, -ENOSPC);
	teardown(&f);
	test_end();

	test_begin("no entry left: the same");
	setup(&f, 64, 8, 10);
	fill_up(&f, 10, 10, -ENOSPC);
	teardown(&f);
	test_end();

	test_begin("both buckets full: the same");
	setup(&f, 1, 8, 100);
	fill_up(&f, 10, WEIR_BUCKET_WORDS, -EXFULL);
	teardown(&f);
	test_end();
}

static void test_full_replace(void)
{
	struct fixture f;
	struct hotset *h;
	char key[32], other[1340];

	setup(&f, 64, 1, 1000);
	h = open_or_die(&f.mem);
	memset(other, 'x', sizeof(other));
	test_begin("with no slot left a value cannot change, and stays as it was");
	for (unsigned i = 0; i < WEIR_SLAB_LINES / 23; i++) {
		struct hot_item it = filled(key, "key-%04u", i, zeroes, sizeof(other));

		CHECK_INT(hotset_put(h, &it), HOT_ADDED);
	}
	struct hot_item first = filled(key, "key-%04u", 0, other, sizeof(other));

	CHECK_INT(hotset_put(h, &first), -ENOSPC);
	first.value = zeroes;
	check_slot(hotset_find(h, 3, key, first.key_len), &first);
	test_end();

	test_begin("a dropped key's slot is taken after one grace period");
	watch(&f, hotset_find(h, 3, "key-0001", 8));
	CHECK_INT(hotset_drop(h, 3, "key-0001", 8), 0);
	CHECK_INT(f.graces, 0);
	first.value = other;
	put_and_check(h, &first, HOT_REPLACED);
	CHECK_INT(f.graces, 1);
	CHECK_INT(f.changed, 0);
	test_end();
	hotset_close(h);
	teardown(&f);
}

static void test_classes(void)
{
	struct fixture f;
	struct hotset *h;
	char key[32];
	unsigned spilled = 0, n;

	setup(&f, 1024, 2, 4096);
	h = open_or_die(&f.mem);
	test_begin("when no slab is free, longer slots are taken");
	struct hot_item longer = item("longer", "");

	longer.value = zeroes;
	longer.value_len = 900;
	put_and_check(h, &longer, HOT_ADDED);
	for (n = 0;; n++) {
		struct hot_item it = filled(key, "k%u", n, zeroes, 10);
		int r = hotset_put(h, &it);

		if (r < 0) {
			CHECK_INT(r, -ENOSPC);
			break;
		}
		check_slot(hotset_find(h, 3, key, it.key_len), &it);
		spilled += hotset_find(h, 3, key, it.key_len)->lines > 2;
	}
	CHECK_INT(hotset_lines(&longer), 16);
	CHECK_INT(spilled, WEIR_SLAB_LINES / 16 - 1);
	CHECK_INT(n, WEIR_SLAB_LINES / 2 + spilled);
	CHECK_INT(hotset_usage(h).lines, 2 * WEIR_SLAB_LINES);
	check_slot(hotset_find(h, 3, "longer", 6), &longer);
	test_end();

	test_begin("reopened, slots that spilled are counted as what they take");
	CHECK_INT(hotset_close(h), 0);
	h = open_or_die(&f.mem);
	CHECK_INT(hotset_usage(h).keys, n + 1);
	CHECK_INT(hotset_usage(h).lines, 2 * WEIR_SLAB_LINES);
	struct hot_item extra = item("extra", "x");

	CHECK_INT(hotset_put(h, &extra), -ENOSPC);
	test_end();

	test_begin("an emptied slab serves another class");
	for (unsigned i = 0; i < n; i++) {
		struct hot_item it = filled(key, "k%u", i, "", 0);

		CHECK_INT(hotset_drop(h, 3, key, it.key_len), 0);
	}
	for (unsigned i = 0; i < WEIR_SLAB_LINES / 23; i++) {
		struct hot_item it = filled(key, "big%03u", i, zeroes, 1345);

		put_and_check(h, &it, HOT_ADDED);
	}
	CHECK_INT(f.graces, 1);
	CHECK_INT(hotset_usage(h).lines, 16 + 23 * (WEIR_SLAB_LINES / 23));
	check_slot(hotset_find(h, 3, "longer", 6), &longer);
	test_end();
	hotset_close(h);
	teardown(&f);
}

/* ---- readers and killed writers --------------------------------------------------------------- */

static struct hotset *killed[512]; /* writers that never closed */
static unsigned nkilled;

static void test_grace_fails(void)
{
	struct fixture f;
	struct hotset *h;
	char key[32];
	unsigned n = WEIR_SLAB_LINES / 23;

	setup(&f, 64, 1, 1000);
	h = open_or_die(&f.mem);
	for (unsigned i = 0; i < n; i++) {
		struct hot_item it = filled(key, "key-%04u", i, zeroes, 1340);

		hotset_put(h, &it);
	}
	test_begin("while readers cannot be waited for, no slot is reused");
	f.grace_err = -EINTR;
	watch(&f, hotset_find(h, 3, "key-0001", 8));
	CHECK_INT(hotset_drop(h, 3, "key-0001", 8), 0);
	struct hot_item it = filled(key, "new-%04u", 1, zeroes, 1340);

	CHECK_INT(hotset_put(h, &it), -ENOSPC);
	CHECK(f.graces > 0);
	test_end();

	test_begin("they can be waited for again later");
	f.grace_err = 0;
	put_and_check(h, &it, HOT_ADDED);
	CHECK_INT(f.changed, 0);
	test_end();

	test_begin("closing passes the failure on and stays dirty; opening then waits, or fails as well");
	CHECK_INT(hotset_drop(h, 3, "key-0002", 8), 0);
	f.grace_err = -EINTR;
	CHECK_INT(hotset_close(h), -EINTR);
	CHECK_INT(f.ctl.dirty, 1);
	h = NULL;
	CHECK_INT(hotset_open(&h, &f.mem), -EINTR);
	CHECK(!h);
	CHECK_INT(f.ctl.dirty, 1);
	f.grace_err = 0;
	h = open_or_die(&f.mem);
	CHECK_INT(f.ctl.dirty, 0);
	CHECK_INT(hotset_usage(h).keys, n - 1);
	test_end();
	hotset_close(h);
	teardown(&f);
}

static void test_killed(void)
{
	struct fixture f;
	struct hotset *h;
	struct hot_item a = item("a", "1"), b = item("b", "1");
	unsigned graces;

	setup(&f, 64, 2, 2);
	h = open_or_die(&f.mem);
	test_begin("after a killed writer the next one waits for readers, and has all that was free");
	put_and_check(h, &a, HOT_ADDED);
	put_and_check(h, &b, HOT_ADDED);
	watch(&f, hotset_find(h, 3, "a", 1));
	a.value = "2";
	put_and_check(h, &a, HOT_REPLACED);
	CHECK_INT(hotset_drop(h, 3, "b", 1), 0);
	killed[nkilled++] = h;
	graces = f.graces;
	h = open_or_die(&f.mem);
	CHECK_INT(f.graces, graces + 1);
	CHECK_INT(f.changed, 0);
	CHECK_INT(hotset_usage(h).keys, 1);
	CHECK_INT(hotset_usage(h).lines, 2);
	check_slot(hotset_find(h, 3, "a", 1), &a);
	put_and_check(h, &b, HOT_ADDED); /* the second and last entry is free again */
	test_end();
	CHECK_INT(hotset_close(h), 0);

	test_begin("a word that points nowhere sensible is taken out of the index");
	f.mem.index[5].word[3] = (__u64)0xdeadbeef << 32 | 0xfffff << 10;
	f.mem.index[6].word[0] = (__u64)0xdeadbeef << 32 | 1 << 10; /* a slab that holds nothing */
	h = open_or_die(&f.mem);
	CHECK_INT(hotset_usage(h).keys, 2);
	CHECK(!f.mem.index[5].word[3]);
	CHECK(!f.mem.index[6].word[0]);
	test_end();
	hotset_close(h);
	teardown(&f);
}

static void test_many_retired(void)
{
	struct fixture f;
	struct hotset *h;
	struct hot_item it = item("k", "");
	char value[16];

	setup(&f, 64, 200, 10);
	h = open_or_die(&f.mem);
	test_begin("a key that changes 200,000 times needs few grace periods and no more than its room");
	for (unsigned i = 0; i < 200000; i++) {
		it.value = value;
		it.value_len = sprintf(value, "%u", i);
		if (hotset_put(h, &it) != (i ? HOT_REPLACED : HOT_ADDED))
			CHECK(!"put");
	}
	check_slot(hotset_find(h, 3, "k", 1), &it);
	CHECK(f.graces <= 5);
	CHECK_INT(hotset_close(h), 0);
	h = open_or_die(&f.mem);
	CHECK_INT(hotset_usage(h).lines, 2);
	test_end();
	hotset_close(h);
	teardown(&f);
}

static int stop_at_three(const struct weir_slot *s, void *arg)
{
	return ++*(int *)arg == 3 ? -ECANCELED : 0;
}

static bool odd(const struct weir_slot *s, void *arg)
{
	return slot_key(s)[s->key_len - 1] % 2;
}

static void test_each(void)
{
	struct fixture f;
	struct hotset *h, *reader;
	struct hotset_mem mem;
	char key[32];
	int n = 0;

	setup(&f, 64, 4, 100);
	h = open_or_die(&f.mem);
	for (unsigned i = 0; i < 50; i++) {
		struct hot_item it = filled(key, "%u", i, zeroes, 10);

		hotset_put(h, &it);
	}
	test_begin("going through stops where it is told to; dropping by a rule counts");
	CHECK_INT(hotset_each(h, stop_at_three, &n), -ECANCELED);
	CHECK_INT(n, 3);
	CHECK_INT(hotset_drop_if(h, odd, NULL), 25);
	CHECK_INT(hotset_usage(h).keys, 25);
	CHECK(!hotset_find(h, 3, "1", 1));
	CHECK(hotset_find(h, 3, "2", 1));
	test_end();

	test_begin("a reader counts what is published, and waits for nobody");
	mem = f.mem;
	mem.grace = NULL;
	reader = open_or_die(&mem);
	CHECK_INT(hotset_usage(reader).keys, 25);
	CHECK_INT(hotset_usage(reader).lines, 50);
	CHECK_INT(hotset_close(reader), 0);
	CHECK_INT(f.ctl.dirty, 1);
	CHECK_INT(f.graces, 0);
	test_end();
	hotset_close(h);
	teardown(&f);
}

/* ---- hashes ----------------------------------------------------------------------------------- */

static void test_hash(void)
{
	const char *key = "0123456789abcdef0";
	__u64 word, h;

	test_begin("a hash reads eight bytes at a time, the last ones padded with zeroes, and the length");
	for (size_t len = 1; len <= 17; len++) {
		h = weir_hash_start(99, 3);
		for (size_t i = 0; i < len / 8 * 8; i += 8) {
			memcpy(&word, key + i, 8);
			h = weir_hash_word(h, word);
		}
		word = 0;
		memcpy(&word, key + len / 8 * 8, len % 8);
		h = weir_hash_end(weir_hash_word(h, word), len);
		CHECK(hot_hash(99, 3, key, len) == h);
	}
	CHECK(hot_hash(1, 3, "a", 1) != hot_hash(2, 3, "a", 1));
	CHECK(hot_hash(1, 3, "a", 1) != hot_hash(1, 4, "a", 1));
	test_end();
}

/* ---- against a model -------------------------------------------------------------------------- */

#define MODEL_KEYS 600
#define MODEL_OPS  100000

struct model {
	bool there;
	struct hot_item it;
	char key[32];
	char value[1400];
};

static uint64_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (rnd_state >> 33) % n;
}

static void model_put(struct fixture *f, struct hotset *h, struct model *m)
{
	const struct weir_slot *old = hotset_find(h, m->it.svc, m->key, m->it.key_len);
	struct hot_item it = m->it;
	char value[1400];
	int r;

	it.value_len = rnd(8) ? rnd(200) : rnd(1340);
	memset(value, 'a' + rnd(26), it.value_len);
	it.value = value;
	it.client_flags = rnd(3) ? 0 : rnd(1 << 30);
	it.flags = rnd(2);
	it.cas = it.flags ? rnd(1 << 30) : 0;
	if (old)
		watch(f, old);
	r = hotset_put(h, &it);
	if (r == -ENOSPC || r == -EXFULL)
		return;
	CHECK(m->there ? r == HOT_REPLACED || r == HOT_UNCHANGED : r == HOT_ADDED);
	memcpy(m->value, value, it.value_len);
	m->it = it;
	m->it.value = m->value;
	m->there = true;
}

static void model_drop(struct fixture *f, struct hotset *h, struct model *m)
{
	const struct weir_slot *old = hotset_find(h, m->it.svc, m->key, m->it.key_len);

	if (old)
		watch(f, old);
	CHECK_INT(hotset_drop(h, m->it.svc, m->key, m->it.key_len), m->there ? 0 : -ENOENT);
	m->there = false;
}

static void model_check(struct hotset *h, struct model *m)
{
	const struct weir_slot *s = hotset_find(h, m->it.svc, m->key, m->it.key_len);

	if (m->there)
		check_slot(s, &m->it);
	else
		CHECK(!s);
}

/* Published slots, by the hit counter and by the room they take. */
struct census {
	bool entry[MODEL_KEYS];
	__u64 lines;
};

static int take_census(const struct weir_slot *s, void *arg)
{
	struct census *c = arg;

	CHECK(s->entry < MODEL_KEYS && !c->entry[s->entry]);
	c->entry[s->entry] = true;
	c->lines += s->lines;
	return 0;
}

static void check_census(struct fixture *f, __u64 keys)
{
	struct hotset *h = open_or_die(&f->mem);
	struct census c = {.lines = 0};

	CHECK_INT(hotset_each(h, take_census, &c), 0);
	CHECK_INT(hotset_usage(h).keys, keys);
	CHECK_INT(hotset_usage(h).lines, c.lines);
	CHECK_INT(hotset_close(h), 0);
}

static struct hotset *model_reopen(struct fixture *f, struct hotset *h, bool kill)
{
	if (kill && nkilled < sizeof(killed) / sizeof(killed[0]))
		killed[nkilled++] = h;
	else
		CHECK_INT(hotset_close(h), 0);
	return open_or_die(&f->mem);
}

static void run_model(__u64 seed, __u32 buckets, __u32 slabs, __u32 entries)
{
	static struct model models[MODEL_KEYS];
	struct fixture f;
	struct hotset *h;
	unsigned n = 0;

	memset(models, 0, sizeof(models));
	setup(&f, buckets, slabs, entries);
	f.ctl.hash_seed = rnd_state = seed;
	h = open_or_die(&f.mem);
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		struct model *m = &models[i];

		m->it = filled(m->key, i % 3 ? "k%u" : "a-longer-key-%u", i, "", 0);
		m->it.svc = i % 4;
	}
	for (unsigned op = 0; op < MODEL_OPS && !test_bad; op++) {
		struct model *m = &models[rnd(MODEL_KEYS)];
		uint32_t what = rnd(1000);

		if (what < 3)
			h = model_reopen(&f, h, what == 0);
		else if (what < 500)
			model_put(&f, h, m);
		else if (what < 700)
			model_drop(&f, h, m);
		else
			model_check(h, m);
	}
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		model_check(h, &models[i]);
		n += models[i].there;
	}
	CHECK_INT(hotset_usage(h).keys, n);
	CHECK_INT(hotset_close(h), 0);
	check_census(&f, n);
	CHECK_INT(f.changed, 0);
	CHECK(f.graces > 0);
	teardown(&f);
}

static void test_model(void)
{
	test_begin("100,000 random operations end as in a dictionary; room is plenty");
	run_model(1, 256, 40, MODEL_KEYS);
	test_end();
	test_begin("the same with too few slabs, entries and buckets, and another seed");
	run_model(0xfeedfacecafebeefULL, 64, 3, 500);
	test_end();
	test_begin("the same with seed 0 and hardly any room");
	run_model(0, 8, 2, 50);
	test_end();
}

int main(void)
{
	test_forms();
	test_keys();
	test_verbs();
	test_hits_begin_at_zero();
	test_state();
	test_full();
	test_full_replace();
	test_classes();
	test_grace_fails();
	test_killed();
	test_many_retired();
	test_each();
	test_hash();
	test_model();
	return test_done();
}
