/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What weir_rx costs for one request to a cache: see rounds.h for how it is measured. When a single packet
 * left another way than the row says, by weir_rx's own counters, the row is an error.
 */
#include <math.h>

#include "hotset.h"
#include "packet.h"
#include "rounds.h"
#include "weir/reason.h"

#define MANY       (1u << 20) /* "1M" keys */
#define MISSING    (MANY + 1) /* the number of a key that is never filled */
#define MANY_LESS  4          /* rows on many keys take fewer repeats: they are slow */
#define DATA_MAX   320
#define REPLY_MAX  2048

enum form { TEXT, META, BINARY, OTHER_PORT, OTHER_TCP, SERVICE_TCP, REPLY_TCP };

struct row {
	const char *name;
	enum form form;
	int family; /* 4 or 6 */
	unsigned key_len, value_len;
	bool many;  /* a random one of MANY keys each time */
	int cpus;   /* at the same time, on the same key */
	int reason; /* how every packet must leave */
	const char *target;
};

/* Rows on many keys stand last: each has a hot set of its own. */
static const struct row rows[] = {
	{"hit/k16/v32", TEXT, 4, 16, 32, false, 1, WEIR_R_HIT, "<= 70"},
	{"hit/k16/v100", TEXT, 4, 16, 100, false, 1, WEIR_R_HIT, "<= 75"},
	{"hit/k16/v256", TEXT, 4, 16, 256, false, 1, WEIR_R_HIT, ""},
	{"hit/k16/v1000", TEXT, 4, 16, 1000, false, 1, WEIR_R_HIT, "<= 90"},
	{"hit/k64/v32", TEXT, 4, 64, 32, false, 1, WEIR_R_HIT, "<= 85"},
	{"hit/k16/v32/ipv6", TEXT, 6, 16, 32, false, 1, WEIR_R_HIT, ""},
	{"mg/k16/v32", META, 4, 16, 32, false, 1, WEIR_R_HIT, ""},
	{"binary/k16/v32", BINARY, 4, 16, 32, false, 1, WEIR_R_HIT, ""},
	{"miss/k16", TEXT, 4, 16, 0, false, 1, WEIR_R_MISS, "<= 40"},
	{"miss/k64", TEXT, 4, 64, 0, false, 1, WEIR_R_MISS, ""},
	{"pass/other", OTHER_PORT, 4, 16, 0, false, 1, WEIR_R_OTHER, "<= 10"},
	{"pass/other/tcp", OTHER_TCP, 4, 16, 0, false, 1, WEIR_R_OTHER, "<= 10"},
	{"hit/k16/v32/2cpu", TEXT, 4, 16, 32, false, 2, WEIR_R_HIT, ""},
	{"hit/k16/v32/1M", TEXT, 4, 16, 32, true, 1, WEIR_R_HIT, "<= 70"},
	{"hit/k16/v100/1M", TEXT, 4, 16, 100, true, 1, WEIR_R_HIT, "<= 75"},
};

/* ---- requests ------------------------------------------------------------------------------- */

/* "bench:kkk...kaaaaaaaa": the last eight bytes are the number. */
static void make_key(char *key, unsigned len, __u32 number)
{
	__u64 letters = bench_letters(number);

	memset(key, 'k', len);
	memcpy(key, "bench:", 6);
	memcpy(key + len - 8, &letters, 8);
}

static size_t make_data(unsigned char *out, enum form form, const char *key, unsigned key_len)
{
	static const unsigned char frame[WEIR_FRAME_HDR] = {0x12, 0x34, 0, 0, 0, 1, 0, 0};
	char *body = (char *)out + sizeof(frame);

	memcpy(out, frame, sizeof(frame));
	if (form == META)
		return sizeof(frame) + sprintf(body, "mg %.*s v\r\n", key_len, key);
	if (form != BINARY)
		return sizeof(frame) + sprintf(body, "get %.*s\r\n", key_len, key);
	memset(body, 0, 24);
	body[0] = (char)0x80;
	body[3] = (char)key_len;
	body[11] = (char)key_len;
	memcpy(body + 24, key, key_len);
	return sizeof(frame) + 24 + key_len;
}

static size_t key_offset(enum form form)
{
	return WEIR_FRAME_HDR + (form == META ? 3 : form == BINARY ? 24 : 4);
}

static struct packet_flow make_flow(const struct row *r)
{
	bool other = r->form == OTHER_PORT || r->form == OTHER_TCP;
	struct packet_flow f = {.family = r->family == 6 ? AF_INET6 : AF_INET,
				.proto = r->form >= OTHER_TCP ? IPPROTO_TCP : IPPROTO_UDP,
				.src_mac = {2, 0, 0, 0, 0, 2},
				.dst_mac = {2, 0, 0, 0, 0, 1},
				.sport = 40000,
				.dport = other ? 8080 : 11211};

	inet_pton(f.family, r->family == 6 ? "fd00::2" : "10.0.0.2", f.src);
	inet_pton(f.family, r->family == 6 ? "fd00::1" : "10.0.0.1", f.dst);
	return f;
}

/* What the driver restores before each repeat on one CPU. */
static void make_state(struct bench_state *s, const struct row *r, unsigned cpu)
{
	struct packet_flow flow = make_flow(r);
	unsigned char data[DATA_MAX];
	char key[WEIR_KEY_MAX];
	size_t len;

	make_key(key, r->key_len, r->reason == WEIR_R_HIT ? 0 : MISSING);
	len = make_data(data, r->form, key, r->key_len);
	memset(s, 0, sizeof(*s));
	s->len = packet_build(s->frame, sizeof(s->frame), &flow, data, len);
	s->random = 0x9e3779b97f4a7c15ULL + cpu;
	if (!r->many)
		return;
	s->num_at = packet_data_at(&flow) + key_offset(r->form) + r->key_len - 8;
	s->num_mask = MANY - 1;
}

/* ---- the subject ---------------------------------------------------------------------------- */

static int fill_keys(struct hotset *h, const struct row *r)
{
	char key[WEIR_KEY_MAX], value[WEIR_TEXT_MAX];
	struct hot_item item = {.key = key,
				.value = value,
				.key_len = r->key_len,
				.value_len = r->value_len,
				.flags = WEIR_SLOT_CAS,
				.cas = 12345,
				.expires_ns = WEIR_NEVER};
	int err;

	memset(value, 'v', sizeof(value));
	for (__u32 n = 0; n < (r->many ? MANY : 1); n++) {
		make_key(key, r->key_len, n);
		item.fence = hotset_fence(h, 0, key, r->key_len);
		err = hotset_put(h, &item);
		if (err < 0)
			return err;
	}
	return 0;
}

static int fill(struct rx_fixture *fx, const struct row *r)
{
	struct hotset *h;
	int err;

	if (r->reason != WEIR_R_HIT)
		return 0;
	err = hotset_open(&h, rx_fixture_mem(fx));
	if (err)
		return err;
	err = fill_keys(h, r);
	return hotset_close(h) ?: err;
}

static int open_subject(struct subject *s, const struct row *r)
{
	__u32 capacity = r->many ? MANY + MANY / 8 : 1024;
	__u64 memory = r->many ? (__u64)MANY * (r->value_len + 224) : 8 << 20;

	return rx_fixture_open(&s->fx, capacity, memory) ?: add_driver(s);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* One repeat's reply and the thousandth's must be the same bytes, and hold the value. */
static const char *check_reply(const struct subject *s, const struct row *r, unsigned cpu)
{
	struct bench_state *st = &s->states[cpu];
	int fd = bpf_program__fd(s->driver->progs.bench_driver);
	unsigned char reply[2][REPLY_MAX] = {0}, value[WEIR_TEXT_MAX];
	__u32 len[2];

	memset(value, 'v', sizeof(value));
	st->slot = BENCH_SUBJECT;
	for (int i = 0; i < 2; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = st->frame, .data_size_in = st->len,
			    .data_out = reply[i], .data_size_out = REPLY_MAX, .repeat = i ? 1000 : 1);

		st->home = 0;
		if (bpf_prog_test_run_opts(fd, &o) || st->errors)
			return "the test run failed";
		if ((o.retval == XDP_TX) != (r->reason == WEIR_R_HIT))
			return "the program's verdict is not the row's";
		len[i] = o.data_size_out;
	}
	if (!r->many && (len[0] != len[1] || memcmp(reply[0], reply[1], len[0])))
		return "the packet is not restored between repeats";
	if (r->reason == WEIR_R_HIT && !memmem(reply[1], len[1], value, r->value_len))
		return "the reply does not hold the value";
	return NULL;
}

static void report(const struct row *r, struct worker *w, FILE *json)
{
	struct samples both = {.n = 0}, ratio = {.n = 0};

	if (r->cpus == 1) {
		report_row(json, r->name, "ns", &w->together, r->target);
		return;
	}
	for (int i = 0; i < w->together.n; i++) {
		samples_add(&both, (w[0].together.v[i] + w[1].together.v[i]) / 2);
		samples_add(&ratio, both.v[i] / w[0].alone.v[i]);
	}
	report_row(json, r->name, "ns", &both, r->target);
	report_row(json, "hit/k16/v32/2cpu/ratio", "ratio", &ratio, "<= 1.1");
}

/* NULL, or why there is no number. */
static const char *measure(const struct subject *s, const struct row *r, FILE *json)
{
	struct worker w[2] = {{.subject = s, .cpu = first_cpu}, {.subject = s, .cpu = !first_cpu}};
	static char why[160];
	const char *bad;
	__u64 counted;
	int err;

	w[0].turn = w[1].turn = repeats / TURNS / (r->many ? MANY_LESS : 1);
	for (int i = 0; i < r->cpus; i++)
		make_state(&s->states[w[i].cpu], r, w[i].cpu);
	err = fill(s->fx, r);
	if (err) {
		snprintf(why, sizeof(why), "filling the hot set: %s", strerror(-err));
		return why;
	}
	bad = check_reply(s, r, first_cpu);
	if (bad)
		return bad;
	counted = rx_fixture_count(s->fx, r->reason);
	err = run_workers(w, r->cpus);
	counted = rx_fixture_count(s->fx, r->reason) - counted;
	if (err || counted != w[0].packets + w[1].packets) {
		snprintf(why, sizeof(why), "%llu of %llu packets left the intended way (%s)", counted,
			 w[0].packets + w[1].packets, strerror(-err));
		return why;
	}
	report(r, w, json);
	return NULL;
}

/* ---- what something costs more, beside the same without it ------------------------------------ */

#define WITHOUT(cache, more)                                     \
	"interfaces: [{name: eth0}]\n"                           \
	"cache: {capacity: 1024, memory: 8M" cache "}\n" more    \
	"services:\n"                                            \
	"  - name: test\n"                                       \
	"    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"      \
	"    clients: [10.0.0.0/8, 'fd00::/8']\n"

static const char unmeasured[] = WITHOUT("", "latency: {flows: 0}\n");
static const char unsampled[] = WITHOUT(", sample: 0", "");

/* What a hit, or a miss, costs more where latencies are counted, as they are in all other rows. */
static const struct row latency_rows[] = {
	{"latency/hit/k16/v32", TEXT, 4, 16, 32, false, 1, WEIR_R_HIT, "<= 5"},
	{"latency/miss/k16", TEXT, 4, 16, 0, false, 1, WEIR_R_MISS, "<= 40"},
	{"latency/pass/tcp", SERVICE_TCP, 4, 16, 0, false, 1, WEIR_R_TCP_UNSURE, "<= 40"},
	{"latency/reply/tcp", REPLY_TCP, 4, 16, 0, false, 1, WEIR_R_TCP, "<= 40"},
	{"latency/pass/other/tcp", OTHER_TCP, 4, 16, 0, false, 1, WEIR_R_OTHER, ""},
	{},
};

/* The same of sampling, at the default rate. */
static const struct row sample_rows[] = {
	{"sample/miss/k16", TEXT, 4, 16, 0, false, 1, WEIR_R_MISS, "<= 5"},
	{"sample/miss/k64", TEXT, 4, 64, 0, false, 1, WEIR_R_MISS, "<= 5"},
	{},
};

static const char *compare(struct subject *s, const struct row *r, FILE *json)
{
	struct worker w[2] = {{.subject = &s[0], .cpu = first_cpu}, {.subject = &s[1], .cpu = first_cpu}};
	time_t end = time(NULL) + row_seconds;
	struct samples between = {.n = 0};
	const char *bad;

	for (int i = 0; i < 2; i++) {
		w[i].turn = repeats / TURNS;
		make_state(&s[i].states[first_cpu], r, first_cpu);
		bad = fill(s[i].fx, r) ? "filling the hot set failed" : check_reply(&s[i], r, first_cpu);
		if (bad)
			return bad;
	}
	for (unsigned i = 0; i < rounds && (i < ROUNDS_MIN || time(NULL) < end); i++)
		round_between(&w[0], &w[1], &between);
	if (w[0].err || w[1].err)
		return strerror(-(w[0].err ?: w[1].err));
	for (int i = 0; i < 2; i++) /* and those of check_reply() */
		if (rx_fixture_count(s[i].fx, r->reason) != w[i].packets + 1001)
			return "not all packets left as they should";
	report_row(json, r->name, "ns", &between, r->target);
	return NULL;
}

/* ns of weir_tx for one of n replies of this host, TCP; what the kernel does for a test run included. */
static double run_reply(struct subject *s, unsigned n, int *err)
{
	struct packet_flow f = {.family = AF_INET, .proto = IPPROTO_TCP, .sport = 11211, .dport = 40000};
	unsigned char frame[256];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .repeat = n);
	double start;

	inet_pton(AF_INET, "10.0.0.1", f.src);
	inet_pton(AF_INET, "10.0.0.2", f.dst);
	o.data_size_in = packet_build(frame, sizeof(frame), &f, "VALUE a 0 1\r\nx\r\nEND\r\n", 23);
	start = thread_ns();
	if (bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_tx_prog(s->fx)), &o) || o.retval)
		*err = -EIO;
	return (thread_ns() - start) / n;
}

/* The client's packet before them makes the record. */
static const char *compare_replies(struct subject *s, const struct row *r, FILE *json)
{
	struct samples between = {.n = 0}, turns;
	struct worker w = {.subject = &s[0], .cpu = first_cpu};
	int err = 0;

	make_state(&s[0].states[first_cpu], r, first_cpu);
	run(&w, BENCH_SUBJECT, 1);
	for (unsigned i = 0; i < rounds; i++) {
		turns.n = 0;
		for (int k = 0; k < TURNS; k++) {
			double less = run_reply(&s[1], repeats / TURNS, &err);

			samples_add(&turns, run_reply(&s[0], repeats / TURNS, &err) - less);
		}
		samples_add(&between, samples_median(&turns));
	}
	if (err || w.err)
		return strerror(-(err ?: w.err));
	report_row(json, r->name, "ns", &between, r->target);
	return NULL;
}

static int run_beside(const struct row *r, const char *without, char **prefixes, FILE *json)
{
	int failed = 0;

	for (; r->name; r++) {
		struct subject s[2] = {{0}};
		const char *why;
		int err;

		if (!selected(r->name, prefixes))
			continue;
		err = open_subject(&s[0], r);
		err = err ?: rx_fixture_open_yaml(&s[1].fx, without, 1500) ?: add_driver(&s[1]);
		why = err			? strerror(-err) :
		      r->form == REPLY_TCP	? compare_replies(s, r, json) :
						  compare(s, r, json);
		if (why)
			report_error(r->name, why);
		failed += why != NULL;
		close_subject(&s[0]);
		close_subject(&s[1]);
	}
	return failed;
}

static int run_rows(char **prefixes, FILE *json)
{
	struct subject s = {0};
	int failed = 0;

	for (const struct row *r = rows; r < rows + sizeof(rows) / sizeof(rows[0]); r++) {
		const char *why = NULL;
		int err = 0;

		if (!selected(r->name, prefixes))
			continue;
		if (r->cpus > sysconf(_SC_NPROCESSORS_ONLN)) {
			report_error(r->name, "not enough CPUs");
			continue;
		}
		if (r->many)
			close_subject(&s);
		if (!s.fx)
			err = open_subject(&s, r);
		why = err ? strerror(-err) : measure(&s, r, json);
		if (why)
			report_error(r->name, why);
		failed += why != NULL;
	}
	close_subject(&s);
	return failed;
}

int main(int argc, char **argv)
{
	FILE *json = bench_options("micro", argc, argv);
	int failed;

	report_head();
	failed = run_rows(argv + optind, json) + run_beside(latency_rows, unmeasured, argv + optind, json) +
		 run_beside(sample_rows, unsampled, argv + optind, json);
	if (json && fclose(json))
		return perror("writing results"), 1;
	return failed ? 1 : 0;
}
