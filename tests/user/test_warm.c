/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Warming over plain memory, from lists in memory and an origin that is a thread here. What the
 * origin says to a key, the key's name asks for:
 *	missing*, stale*, error*, long*	that
 *	ttlN*				an item with N seconds left
 *	never*				one that does not expire
 *	b64*				one whose key is binary
 *	race*				a write passes while the value is fetched, the first time
 *	flush*				a flush_all with a date strikes while it is fetched
 *	anything else			"hello", flags 7, CAS 42, 100 seconds
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"
#include "warm.h"
#include "weir/hash.h"
#include "weir/reason.h"

#define NSEC 1000000000ULL
#define SVC  2

/* ---- the hot set, as memory ------------------------------------------------------------------- */

static struct weir_ctl ctl;
static struct hotset_mem mem;
static struct weir_fence *fences;
static struct weir_svc_fence *svc_fences;
static unsigned graces;

static int on_grace(void *arg)
{
	graces++;
	return 0;
}

static void setup(__u32 buckets, __u32 slabs, __u32 entries)
{
	memset(&ctl, 0, sizeof(ctl));
	ctl.hash_seed = 77;
	ctl.index_buckets = buckets;
	ctl.slabs = slabs;
	ctl.entries = entries;
	ctl.ncpu = 1;
	strcpy(ctl.services[SVC].name, "sessions");
	fences = calloc(WEIR_FENCE_STRIPES, sizeof(*fences));
	svc_fences = calloc(WEIR_SERVICES_MAX, sizeof(*svc_fences));
	mem = (struct hotset_mem){
		.ctl = &ctl,
		.index = calloc(buckets, sizeof(struct weir_bucket)),
		.slabs = calloc(slabs, sizeof(struct weir_slab)),
		.fences = fences,
		.svc_fences = svc_fences,
		.grace = on_grace,
	};
}

static void teardown(void)
{
	free(fences);
	free(svc_fences);
	free(mem.index);
	free(mem.slabs);
}

static struct weir_fence *fence_of(const char *key, size_t len)
{
	return &fences[weir_stripe(hot_hash(ctl.hash_seed, SVC, key, len))];
}

/* What a packet would find: the reason, or WEIR_R_MISS. */
static int look(const char *key, struct weir_slot *slot, char *value)
{
	struct hotset_mem reader = mem;
	const struct weir_slot *s;
	struct hotset *h;
	int state = WEIR_R_MISS;

	reader.grace = NULL;
	if (!CHECK_INT(hotset_open(&h, &reader), 0))
		return -1;
	s = hotset_find(h, SVC, key, strlen(key));
	if (s) {
		state = hotset_state(h, s, monotonic_ns());
		*slot = *s;
		memcpy(value, slot_value(s), s->value_len);
		value[s->value_len] = 0;
	}
	hotset_close(h);
	return state;
}

static struct weir_slot got;
static char got_value[2048];

static void check_key(const char *key, const char *value, __u32 flags)
{
	if (!CHECK_INT(look(key, &got, got_value), WEIR_R_HIT))
		printf("#   (key %s)\n", key);
	else if (CHECK_STR(got_value, value))
		CHECK_INT(got.client_flags, flags);
}

static void check_absent(const char *key)
{
	if (!CHECK_INT(look(key, &got, got_value), WEIR_R_MISS))
		printf("#   (key %s)\n", key);
}

/* What is left of a key's time, in seconds; -1: no end. */
static double left(const char *key)
{
	__u64 now = monotonic_ns();

	if (look(key, &got, got_value) == WEIR_R_MISS)
		return -2;
	return got.expires_ns == WEIR_NEVER ? -1 : ((double)got.expires_ns - (double)now) / 1e9;
}

static void check_left(const char *key, double want)
{
	double is = left(key);

	if (!CHECK(is <= want && is > want - 0.9))
		printf("#   (%s: %.3f s left, wanted %.1f)\n", key, is, want);
}

/* A write passes: as the program does it. */
static void write_passes(const char *key, size_t len)
{
	struct weir_fence *f = fence_of(key, len);

	f->last_ns = monotonic_ns();
	__atomic_add_fetch(&f->count, 1, __ATOMIC_SEQ_CST);
}

/* ---- the origin ------------------------------------------------------------------------------- */

static char endpoint[64];
static int listener;
static unsigned asked, races; /* gets; writes that race* may still bring about */
static bool hang_up;

static bool starts(const char *key, const char *with)
{
	return !strncmp(key, with, strlen(with));
}

static void answer(FILE *to, const char *key)
{
	int ttl = 100;

	asked++;
	if (starts(key, "missing")) {
		fprintf(to, "EN\r\n");
		return;
	}
	if (starts(key, "error")) {
		fprintf(to, "SERVER_ERROR out of memory\r\n");
		return;
	}
	if (starts(key, "long")) {
		fprintf(to, "VA 1500 f0 t-1 c1 k%s\r\n%1500s\r\n", key, "");
		return;
	}
	if (starts(key, "b64")) {
		fprintf(to, "VA 5 f7 t100 c42 kYjY0 b\r\nhello\r\n"); /* "b64" */
		return;
	}
	if (starts(key, "race") && races) {
		races--;
		write_passes(key, strlen(key));
	}
	if (starts(key, "flush")) /* two seconds are the clocks' */
		svc_fences[SVC].flush_at_ns = monotonic_ns() - 2 * NSEC;
	if (starts(key, "never"))
		ttl = -1;
	else if (starts(key, "ttl"))
		ttl = atoi(key + 3);
	fprintf(to, "VA 5 f7 t%d c42 k%s%s\r\nhello\r\n", ttl, key, starts(key, "stale") ? " X" : "");
}

static void serve(int fd)
{
	FILE *from = fdopen(fd, "r"), *to = fdopen(dup(fd), "w");
	char line[512], key[300];

	while (fgets(line, sizeof(line), from)) {
		if (hang_up)
			break;
		if (sscanf(line, "mg %299s v f t c k", key) == 1)
			answer(to, key);
		else
			fprintf(to, "MN\r\n");
		fflush(to);
	}
	fclose(from);
	fclose(to);
}

static void *origin_thread(void *arg)
{
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0)
		serve(fd);
	return NULL;
}

static void start_origin(pthread_t *thread)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (void *)&a, len) || listen(listener, 5) || getsockname(listener, (void *)&a, &len))
		exit(1);
	snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", ntohs(a.sin_port));
	pthread_create(thread, NULL, origin_thread, NULL);
}

/* ---- warming ---------------------------------------------------------------------------------- */

static struct warm_report report;
static char faults[4096];

static void on_fault(const char *list, unsigned long line, const char *why, void *arg)
{
	size_t at = strlen(faults);

	snprintf(faults + at, sizeof(faults) - at, "%s:%lu: %s\n", list, line, why);
}

static struct warm_opts opts(void)
{
	return (struct warm_opts){.svc = SVC,
				  .ttl_ns = 300 * NSEC,
				  .value_max = WEIR_TEXT_MAX,
				  .origin = endpoint,
				  .settle_ms = 100,
				  .timeout_ms = 3000,
				  .fault = on_fault};
}

static int warm_over(const struct hotset_mem *over, struct warm_opts o, const char *a, const char *b)
{
	const char *texts[] = {a, b};
	const char *names[] = {"a", "b"};
	struct list *lists[2];
	unsigned n = 0;
	int err;

	for (int i = 0; i < 2; i++) {
		if (texts[i] && CHECK_INT(list_open_mem(&lists[n], names[i], texts[i], strlen(texts[i])), 0))
			n++;
	}
	faults[0] = 0;
	warm_report_free(&report);
	err = warm_run(over, lists, n, &o, &report);
	while (n)
		list_close(lists[--n]);
	return err;
}

static int warm(struct warm_opts o, const char *a, const char *b)
{
	return warm_over(&mem, o, a, b);
}

static void check_counts(__u64 lines, __u64 added, __u64 replaced, __u64 unchanged, __u64 removed)
{
	__u64 sum = report.added + report.replaced + report.unchanged;

	for (int i = 0; i < WARM_SKIP_COUNT; i++)
		sum += report.skipped[i];
	CHECK_INT(report.lines, lines);
	CHECK_INT(report.added, added);
	CHECK_INT(report.replaced, replaced);
	CHECK_INT(report.unchanged, unchanged);
	CHECK_INT(report.removed, removed);
	CHECK_INT(sum, lines);
}

static void test_values(void)
{
	test_begin("listed values: the list's TTL beats the option's, both beat nothing at all");
	setup(64, 4, 100);
	CHECK_INT(warm(opts(), "a,one\nb,two,50\nc,three,never,9\n", NULL), 0);
	check_counts(3, 3, 0, 0, 0);
	check_key("a", "one", 0);
	check_key("c", "three", 9);
	check_left("a", 300);
	check_left("b", 50);
	CHECK_INT(left("c"), -1);
	CHECK_INT(got.flags, 0);
	CHECK(warm_ok(&report));
	CHECK_INT(report.value_bytes, 11);
	CHECK_INT(report.usage.keys, 3);
	CHECK_INT(report.usage.lines, 6);
	test_end();

	test_begin("again: unchanged, with a new expiry; a changed value is replaced");
	CHECK_INT(warm(opts(), "a,one,20\nb,2\n", "c,three,never,9\n"), 0);
	check_counts(3, 0, 1, 2, 0);
	check_left("a", 20);
	check_left("b", 300);
	CHECK_INT(report.list_lines[0], 2);
	CHECK_INT(report.list_lines[1], 1);
	CHECK_INT(report.usage.keys, 3);
	test_end();

	test_begin("a listed value answers under the fence as it is now");
	write_passes("a", 1);
	CHECK_INT(look("a", &got, got_value), WEIR_R_FENCED);
	CHECK_INT(warm(opts(), "a,one\nb,2\n", NULL), 0);
	check_key("a", "one", 0);
	test_end();
	teardown();
}

static void test_bad_lines(void)
{
	struct warm_opts o = opts();
	char text[2000];

	test_begin("a bad line is named, the rest is loaded");
	setup(64, 4, 100);
	o.value_max = 10;
	snprintf(text, sizeof(text), "a,1\nb,2,soon\nc,%011d\nd,4\n", 5);
	CHECK_INT(warm(o, text, NULL), 0);
	check_counts(4, 2, 0, 0, 0);
	CHECK_INT(report.skipped[WARM_BAD_LINE], 1);
	CHECK_INT(report.skipped[WARM_TOO_LONG], 1);
	CHECK(strstr(faults, "a:2: "));
	CHECK(strstr(faults, "a:3: c: the value has 11 bytes, value_max is 10\n"));
	CHECK(!warm_ok(&report));
	check_key("d", "4", 0);
	test_end();

	test_begin("a value that no datagram holds is too long whatever value_max says");
	snprintf(text, sizeof(text), "e,%01380d\nf,6\n", 5);
	CHECK_INT(warm(opts(), text, NULL), 0);
	check_counts(2, 1, 0, 0, 0);
	CHECK_INT(report.skipped[WARM_TOO_LONG], 1);
	test_end();
	teardown();
}

static void test_full(void)
{
	test_begin("full means full: counted, and nothing else is disturbed");
	setup(64, 4, 3);
	CHECK_INT(warm(opts(), "a,1\nb,2\nc,3\nd,4\ne,5\na,6\n", NULL), 0);
	check_counts(6, 3, 1, 0, 0);
	CHECK_INT(report.skipped[WARM_FULL], 2);
	CHECK(strstr(faults, "a:4: d: does not fit: the hot set is full\n"));
	check_key("a", "6", 0);
	check_key("b", "2", 0);
	check_absent("d");
	CHECK(!warm_ok(&report));
	test_end();
	teardown();
}

static void test_fetch(void)
{
	struct warm_opts o = opts();

	test_begin("values are fetched with flags, CAS and TTL, of which a second is kept off");
	setup(64, 4, 100);
	CHECK_INT(warm(o, "x\nttl50\nttl2\nnever\nb64\n", NULL), 0);
	check_counts(5, 5, 0, 0, 0);
	check_key("x", "hello", 7);
	CHECK_INT(got.flags, WEIR_SLOT_CAS);
	CHECK_INT(got.cas, 42);
	check_left("x", 99);
	check_left("ttl50", 49);
	check_left("ttl2", 1);
	check_left("never", 300);
	CHECK_INT(got.flags, WEIR_SLOT_CAS | WEIR_SLOT_IMMORTAL);
	check_key("b64", "hello", 7);
	CHECK_INT(got.flags, WEIR_SLOT_CAS | WEIR_SLOT_KEY_B64);
	test_end();

	test_begin("the smaller of the TTLs holds");
	o.ttl_ns = 30 * NSEC;
	CHECK_INT(warm(o, "ttl50\nttl20\nnever\n", NULL), 0);
	check_left("ttl50", 30);
	check_left("ttl20", 19);
	o.ttl_ns = WEIR_NEVER;
	CHECK_INT(warm(o, "ttl50\nnever\n", NULL), 0);
	check_left("ttl50", 49);
	CHECK_INT(left("never"), -1);
	test_end();

	test_begin("what the origin does not have, calls stale, refuses, or is about to forget is skipped");
	CHECK_INT(warm(opts(), "missing\nstale\nerror\nlong\nttl1\nttl0\nfine\n", NULL), 0);
	check_counts(7, 1, 0, 0, 0);
	CHECK_INT(report.skipped[WARM_MISSING], 1);
	CHECK_INT(report.skipped[WARM_STALE], 1);
	CHECK_INT(report.skipped[WARM_ORIGIN], 1);
	CHECK_INT(report.skipped[WARM_TOO_LONG], 1);
	CHECK_INT(report.skipped[WARM_EXPIRING], 2);
	CHECK(strstr(faults, "a:3: error: SERVER_ERROR out of memory\n"));
	check_key("fine", "hello", 7);
	test_end();

	test_begin("expired lines of a metadump, and expiring items, are no failure");
	CHECK_INT(warm(opts(),
		       "key=x exp=-1 la=1 cas=1 fetch=no cls=1 size=60\n"
		       "key=old exp=1000 la=1 cas=1 fetch=no cls=1 size=60\n"
		       "key=ttl1 exp=-1 la=1 cas=1 fetch=no cls=1 size=60\nEND\n",
		       NULL),
		  0);
	CHECK_INT(report.lines, 3);
	CHECK_INT(report.skipped[WARM_EXPIRED], 1);
	CHECK_INT(report.skipped[WARM_EXPIRING], 1);
	CHECK(warm_ok(&report));
	test_end();
	teardown();
}

static void test_many(void)
{
	static char text[20000 * 12];
	size_t at = 0;

	test_begin("20,000 keys are fetched through a window of gets, each its own value");
	setup(8192, 64, 20000);
	for (int i = 0; i < 20000; i++)
		at += sprintf(text + at, "%s%d\n", i % 10 ? "k" : "missing", i);
	CHECK_INT(warm(opts(), text, NULL), 0);
	check_counts(20000, 18000, 0, 0, 0);
	CHECK_INT(report.skipped[WARM_MISSING], 2000);
	CHECK_INT(report.usage.keys, 18000);
	check_key("k19999", "hello", 7);
	test_end();
	teardown();
}

static void test_no_origin(void)
{
	struct warm_opts o = opts();

	setup(64, 4, 100);
	test_begin("a list of keys for a service without origin is an error that names it");
	o.origin = "";
	CHECK_INT(warm(o, "a\nb\n", NULL), -ENODEV);
	CHECK_STR(report.error, "service sessions has no origin to fetch values from, and a list has none");
	CHECK_INT(report.lines, 0);
	test_end();

	test_begin("an origin that refuses is an error before anything is removed");
	CHECK_INT(warm(opts(), "old,1\n", NULL), 0);
	o = opts();
	o.replace = true;
	o.origin = "127.0.0.1:1";
	CHECK_INT(warm(o, "a\nb\n", NULL), -ECONNREFUSED);
	CHECK_STR(report.error, "origin 127.0.0.1:1: Connection refused");
	check_key("old", "1", 0);
	test_end();

	test_begin("an origin that hangs up: each key is accounted for");
	hang_up = true;
	CHECK(warm(opts(), "a\nb\nc\n", "v,1\n") < 0);
	hang_up = false;
	check_counts(4, 1, 0, 0, 0);
	CHECK_INT(report.skipped[WARM_ORIGIN], 3);
	check_key("v", "1", 0);
	test_end();
	teardown();
}

/* ---- writes meanwhile ------------------------------------------------------------------------- */

static void test_races(void)
{
	setup(64, 4, 100);
	test_begin("a write that passes during the fetch: fetched again, after it has settled");
	asked = 0;
	races = 1;
	CHECK_INT(warm(opts(), "race\nx\n", NULL), 0);
	check_counts(2, 2, 0, 0, 0);
	CHECK_INT(asked, 3);
	check_key("race", "hello", 7);
	test_end();

	test_begin("a write just before: not even asked for until it has settled");
	asked = 0;
	write_passes("late", 4);
	CHECK_INT(warm(opts(), "late\nx\n", NULL), 0);
	check_counts(2, 1, 0, 1, 0);
	CHECK(monotonic_ns() >= fence_of("late", 4)->last_ns + 100000000);
	check_key("late", "hello", 7);
	test_end();

	test_begin("a key that is written all the time is skipped after three rounds");
	asked = 0;
	races = 100;
	CHECK_INT(warm(opts(), "race\nx\n", NULL), 0);
	races = 0;
	CHECK_INT(report.skipped[WARM_WRITING], 1);
	CHECK(asked <= 6);
	CHECK(!warm_ok(&report));
	CHECK_INT(look("race", &got, got_value), WEIR_R_FENCED);
	test_end();
	teardown();
}

static void test_flush_pending(void)
{
	setup(64, 4, 100);
	test_begin("a flush_all in 60 seconds caps every TTL two seconds before it");
	svc_fences[SVC].flush_at_ns = monotonic_ns() + 60 * NSEC;
	CHECK_INT(warm(opts(), "a,1\nb,2,10\n", "x\n"), 0);
	check_counts(3, 3, 0, 0, 0);
	check_left("a", 58);
	check_left("b", 10);
	check_left("x", 58);
	test_end();

	test_begin("one that is about to strike, or just has: skipped");
	svc_fences[SVC].flush_at_ns = monotonic_ns() + NSEC;
	CHECK_INT(warm(opts(), "c,1\n", NULL), 0);
	CHECK_INT(report.skipped[WARM_FLUSH], 1);
	svc_fences[SVC].flush_at_ns = monotonic_ns() - NSEC;
	CHECK_INT(warm(opts(), "c,1\n", NULL), 0);
	CHECK_INT(report.skipped[WARM_FLUSH], 1);
	check_absent("c");
	svc_fences[SVC].flush_at_ns = monotonic_ns() - 3 * NSEC;
	CHECK_INT(warm(opts(), "c,1\n", NULL), 0);
	check_key("c", "1", 0);
	test_end();

	test_begin("one that strikes after the origin was asked: what it answered is skipped");
	CHECK_INT(warm(opts(), "flush\n", NULL), 0);
	CHECK_INT(report.skipped[WARM_FLUSH], 1);
	check_absent("flush");
	test_end();

	test_begin("one whose date is unknown refuses the whole, naming the service");
	svc_fences[SVC].flush_at_ns = WEIR_NEVER;
	CHECK_INT(warm(opts(), "d,1\n", NULL), -EBUSY);
	CHECK_STR(report.error,
		  "service sessions: a flush_all with a date is pending; `weir cache flush` clears it");
	check_absent("d");
	test_end();
	teardown();
}

/* ---- --replace, --strict, --dry-run ----------------------------------------------------------- */

static void put_foreign(void)
{
	struct hot_item it = {.key = "foreign",
			      .key_len = 7,
			      .value = "f",
			      .value_len = 1,
			      .svc = SVC + 1,
			      .expires_ns = WEIR_NEVER};
	struct hotset *h;

	hotset_open(&h, &mem);
	CHECK_INT(hotset_put(h, &it), HOT_ADDED);
	hotset_close(h);
}

static void test_replace(void)
{
	struct warm_opts o = opts();

	setup(64, 4, 100);
	o.replace = true;
	test_begin("with replace, only what the lists name stays; other services are not touched");
	put_foreign();
	CHECK_INT(warm(opts(), "a,1\nb,2\nc,3\nmissing,4\n", NULL), 0);
	CHECK_INT(warm(o, "b,2\nd,4\n", "c,33\nbad,1,1,1,1,1\n"), 0);
	check_counts(4, 1, 1, 1, 2);
	check_absent("a");
	check_key("b", "2", 0);
	check_key("c", "33", 0);
	CHECK_INT(report.usage.keys, 4);
	test_end();

	test_begin("a named key that the origin does not have goes, too");
	CHECK_INT(warm(opts(), "missing,4\n", NULL), 0);
	CHECK_INT(warm(o, "missing\nb\n", NULL), 0);
	CHECK_INT(report.removed, 3);
	check_absent("missing");
	check_key("b", "hello", 7);
	test_end();

	test_begin("lists that name nothing empty nothing");
	CHECK_INT(warm(o, "# nothing\n", NULL), -ENODATA);
	check_key("b", "hello", 7);
	test_end();
	teardown();

	test_begin("what goes makes room for what comes, also when it was full");
	setup(64, 4, 3);
	CHECK_INT(warm(opts(), "a,1\nb,2\nc,3\n", NULL), 0);
	CHECK_INT(warm(o, "c,3\nd,4\ne,5\n", NULL), 0);
	check_counts(3, 2, 0, 1, 2);
	check_key("e", "5", 0);
	test_end();
	teardown();
}

static void check_untouched(const struct weir_bucket *before)
{
	CHECK(!memcmp(before, mem.index, ctl.index_buckets * sizeof(*before)));
}

static void test_strict(void)
{
	struct weir_bucket before[64];
	struct warm_opts o = opts();

	setup(64, 4, 4);
	o.strict = true;
	CHECK_INT(warm(opts(), "a,1\nb,2\n", NULL), 0);
	memcpy(before, mem.index, sizeof(before));

	test_begin("strict: one bad line, and nothing is changed");
	CHECK_INT(warm(o, "a,9\nc,3\nd,4,soon\n", NULL), 0);
	check_counts(3, 0, 0, 0, 0);
	CHECK_INT(report.skipped[WARM_BAD_LINE], 1);
	CHECK_INT(report.skipped[WARM_STRICT], 2);
	CHECK(!warm_ok(&report));
	check_untouched(before);
	test_end();

	test_begin("strict: one key that the origin does not have, and nothing is changed");
	CHECK_INT(warm(o, "a\nx\nmissing\n", NULL), 0);
	CHECK_INT(report.skipped[WARM_MISSING], 1);
	CHECK_INT(report.skipped[WARM_STRICT], 2);
	check_untouched(before);
	test_end();

	test_begin("strict: one key too many, and nothing is changed; the key is named");
	CHECK_INT(warm(o, "a,9\nc,3\nd,4\ne,5\n", NULL), 0);
	CHECK_INT(report.skipped[WARM_FULL], 1);
	CHECK_INT(report.skipped[WARM_STRICT], 3);
	CHECK_STR(faults, "a:4: e: does not fit: the hot set is full\n");
	CHECK_INT(report.usage.keys, 2);
	check_untouched(before);
	o.replace = true;
	CHECK_INT(warm(o, "b,2\nc,3\nd,4\ne,5\nf,6\n", NULL), 0);
	CHECK_INT(report.removed, 0);
	check_untouched(before);
	test_end();

	test_begin("strict: all is well, and all is done");
	o.replace = true;
	CHECK_INT(warm(o, "b,2\nc,3\nd,4\n", "x\n"), 0);
	check_counts(4, 3, 0, 1, 1);
	CHECK(warm_ok(&report));
	check_absent("a");
	check_key("x", "hello", 7);
	check_key("d", "4", 0);
	test_end();
	teardown();
}

static void test_dry_run(void)
{
	struct weir_bucket before[64];
	struct warm_opts o = opts();

	setup(64, 4, 3);
	CHECK_INT(warm(opts(), "a,1\nb,2\n", NULL), 0);
	memcpy(before, mem.index, sizeof(before));
	graces = 0;
	o.dry_run = true;

	test_begin("a dry run says what would be done, and does nothing");
	mem.grace = NULL; /* as a reader has it */
	CHECK_INT(warm(o, "a,1\nb,3\nc,4\nd,5\n", "x\n"), 0);
	check_counts(5, 1, 1, 1, 0);
	CHECK_INT(report.skipped[WARM_FULL], 1);
	CHECK_INT(report.skipped[WARM_NOT_FETCHED], 1);
	CHECK_INT(report.usage.keys, 3);
	CHECK_INT(ctl.dirty, 0);
	check_untouched(before);
	o.replace = true;
	o.strict = true;
	CHECK_INT(warm(o, "c,4\n", NULL), 0);
	check_counts(1, 1, 0, 0, 2);
	check_untouched(before);
	test_end();

	test_begin("without a hot set it reads and counts the lines");
	o = opts();
	o.dry_run = true;
	CHECK_INT(warm_over(NULL, o, "a,1\nb,2,soon\n", "x\n"), 0);
	CHECK_INT(report.lines, 3);
	CHECK_INT(report.added, 1);
	CHECK_INT(report.skipped[WARM_BAD_LINE], 1);
	CHECK_INT(report.skipped[WARM_NOT_FETCHED], 1);
	CHECK_INT(report.usage.capacity, 0);
	test_end();
	teardown();
}

int main(void)
{
	pthread_t thread;

	start_origin(&thread);
	test_values();
	test_bad_lines();
	test_full();
	test_fetch();
	test_many();
	test_no_origin();
	test_races();
	test_flush_pending();
	test_replace();
	test_strict();
	test_dry_run();
	warm_report_free(&report);
	shutdown(listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listener);
	return test_done();
}
