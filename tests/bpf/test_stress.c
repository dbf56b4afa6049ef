// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One key is rewritten as fast as the writer can, while packets ask for it: every reply must be one
 * version as a whole. A value proves itself: its length and each of its bytes follow from the
 * version number in front.
 *
 * vm: --cpus 2
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "emulated.h"
#include "scene.h"

#define READERS   2
#define SECONDS   20
#define VALUE_MIN 24
#define VALUE_MAX 1000

static struct scene scene;
static atomic_bool stop;
static atomic_ulong written; /* the newest version that may be published */

struct reader {
	pthread_t thread;
	bool v6;
	unsigned long replies, misses, bad, versions;
	unsigned long newest;
	char why[160];
};

static __u64 mix(__u64 x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ULL;
	return x ^ x >> 29;
}

static size_t length_of(__u64 version)
{
	return VALUE_MIN + mix(version) % (VALUE_MAX - VALUE_MIN + 1);
}

/* Sixteen hexadecimal digits of the version, then bytes that follow from it. */
static size_t make_value(char *out, __u64 version)
{
	size_t len = length_of(version), i;
	__u64 word;

	for (i = 0; i < 16; i++)
		out[i] = "0123456789abcdef"[version >> (60 - 4 * i) & 15];
	for (; i < len; i += 8) {
		word = (mix(version * 131 + i) & 0x0f0f0f0f0f0f0f0f) + 0x6161616161616161;
		memcpy(out + i, &word, len - i < 8 ? len - i : 8);
	}
	return len;
}

static bool parse_version(const char *p, __u64 *version)
{
	*version = 0;
	for (int i = 0; i < 16; i++) {
		const char *digit = memchr("0123456789abcdef", p[i], 16);

		if (!digit)
			return false;
		*version = *version << 4 | (digit - "0123456789abcdef");
	}
	return true;
}

static bool complain(struct reader *r, const char *what, __u64 version)
{
	if (!r->bad++)
		snprintf(r->why, sizeof(r->why), "%s (version %llu)", what, (unsigned long long)version);
	return false;
}

/* The whole reply, from the Ethernet header on, against the version that it names. */
static bool check_reply(struct reader *r, const struct frame *request, const struct outcome *o)
{
	static __thread struct frame want;
	char head[64], value[VALUE_MAX];
	size_t data = request->data + WEIR_FRAME_HDR, len;
	const char *at;
	struct msg m;
	__u64 version;

	/* Headers may contain a line end by chance. */
	at = o->len > data ? memmem(o->b + data, o->len - data, "\r\n", 2) : NULL;
	if (!at || at + 2 + 16 > (const char *)o->b + o->len || !parse_version(at + 2, &version))
		return complain(r, "no version in the reply", 0);
	if (version > atomic_load(&written))
		return complain(r, "a version that is not yet written", version);
	len = make_value(value, version);
	msg_frame(&m, 5, 0, 1);
	msg_add(&m, head, snprintf(head, sizeof(head), "VALUE hot %u %zu\r\n", (__u32)version, len));
	msg_add(&m, value, len);
	msg_add(&m, "\r\nEND\r\n", 7);
	frame_reply(&want, request, m.b, m.len, true);
	if (o->len != want.len || memcmp(o->b, want.b, want.len))
		return complain(r, "a mixed reply", version);
	r->versions += version != r->newest;
	r->newest = version;
	return true;
}

static void *read_on(void *arg)
{
	struct reader *r = arg;
	struct flow flow = r->v6 ? CLIENT6 : CLIENT4;
	struct outcome o;
	struct frame f;
	struct msg m;

	msg_text(&m, 5, "get hot\r\n");
	frame_udp(&f, &flow, m.b, m.len);
	while (!atomic_load(&stop)) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.b, .data_size_in = f.len, .data_out = o.b,
			    .data_size_out = sizeof(o.b), .repeat = 1);

		if (bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_prog(scene.fx)), &opts)) {
			complain(r, "the packet could not be run", 0);
			break;
		}
		o.len = opts.data_size_out;
		if (opts.retval != XDP_TX) {
			r->misses++;
			continue;
		}
		r->replies++;
		check_reply(r, &f, &o);
	}
	return NULL;
}

static void use_all_cpus(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	sched_setaffinity(0, sizeof(set), &set);
}

static int put_version(__u64 version)
{
	char value[VALUE_MAX];
	struct item it = {.key = "hot", .value = value, .client_flags = version};

	it.value_len = make_value(value, version);
	atomic_store(&written, version);
	return scene_put(&scene, &it);
}

static double seconds_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - begin->tv_sec + (now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* Rewrites until there were enough, and time enough for readers. Returns how many, or -errno. */
static long rewrite_on(long enough, double at_least)
{
	struct timespec begin;
	__u64 version = atomic_load(&written), first = version;
	double seconds;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		r = put_version(++version);
		if (r != HOT_REPLACED)
			return r < 0 ? r : -EINVAL;
		seconds = seconds_since(&begin);
	} while (seconds < SECONDS && ((long)(version - first) < enough || seconds < at_least));
	printf("# %llu rewrites in %.1f s: %.0f a second\n", (unsigned long long)(version - first), seconds,
	       (version - first) / seconds);
	return version - first;
}

static void start_readers(struct reader *readers)
{
	atomic_store(&stop, false);
	for (int i = 0; i < READERS; i++) {
		readers[i].v6 = i & 1;
		pthread_create(&readers[i].thread, NULL, read_on, &readers[i]);
	}
}

/* Ends them, and checks what they saw: at least so many replies and versions, nothing wrong. */
static void stop_readers(struct reader *readers, unsigned long want_replies, unsigned long want_versions)
{
	unsigned long replies = 0, misses = 0, versions = 0;

	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		CHECK_INT(readers[i].bad, 0);
		if (readers[i].bad)
			printf("# reader %d: %s\n", i, readers[i].why);
		replies += readers[i].replies;
		misses += readers[i].misses;
		versions += readers[i].versions;
	}
	printf("# %lu replies of %lu different versions, %lu misses\n", replies, versions, misses);
	CHECK(replies > want_replies);
	CHECK(versions > want_versions);
	CHECK_INT(misses, 0);
}

static void open_scene(const char *memory)
{
	char yaml[512];

	snprintf(yaml, sizeof(yaml),
		 "interfaces: [{name: eth0}]\n"
		 "cache: {capacity: 64, memory: %s}\n"
		 "services:\n"
		 "  - name: test\n"
		 "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
		 "    clients: [10.0.0.0/8, 'fd00::/8']\n",
		 memory);
	scene_open(&scene, yaml, 1500);
	use_all_cpus();
	atomic_store(&written, 0);
}

static void test_rewrites(void)
{
	struct reader readers[READERS] = {};
	long enough = emulated() ? 100000 : 1000000;

	test_begin("a key that is rewritten a million times is always read as a whole");
	open_scene(emulated() ? "64M" : "256M");
	CHECK_INT(put_version(1), HOT_ADDED);
	start_readers(readers);
	CHECK(rewrite_on(enough, 2) >= enough);
	stop_readers(readers, enough / 100, enough / 1000);
	scene_close(&scene);
	test_end();
}

/* Other keys take all slots but two: each rewrite reuses the slot that the one before gave up. */
static void test_reuse(void)
{
	struct reader readers[READERS] = {};
	static char filler[1300];
	char key[32];
	int n = 0;

	test_begin("a slot that was given up is not reused while a packet may still read it");
	open_scene("64K");
	memset(filler, 'f', sizeof(filler) - 1);
	do {
		snprintf(key, sizeof(key), "filler%d", n++);
	} while (scene_put(&scene, &(struct item){.key = key, .value = filler}) == HOT_ADDED);
	for (int i = 1; i <= 2; i++) {
		snprintf(key, sizeof(key), "filler%d", n - 1 - i);
		CHECK_INT(hotset_drop(scene.h, 0, key, strlen(key)), 0);
	}
	CHECK_INT(put_version(1), HOT_ADDED);
	start_readers(readers);
	CHECK(rewrite_on(50, 3) >= 50);
	stop_readers(readers, 10000, 20);
	scene_close(&scene);
	test_end();
}

int main(void)
{
	test_rewrites();
	test_reuse();
	return test_done();
}
