/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics as text, by lists made here: every format, its limits, and labels that are no friend of any. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "latency.h"
#include "metrics.h"
#include "metrics_build.h"
#include "test.h"

#define SAMPLES_MAX 300

/* ---- lists ------------------------------------------------------------------------------------ */

struct list {
	struct metrics ms;
	struct metric_family f[8];
	struct metric_sample s[8][SAMPLES_MAX];
};

static struct list *new_list(void)
{
	struct list *l = calloc(1, sizeof(*l));

	l->ms.families = l->f;
	return l;
}

static struct metric_family *family(struct list *l, const char *name, enum metric_type type, const char *unit)
{
	struct metric_family *f = &l->f[l->ms.n];

	*f = (struct metric_family){
		.name = name, .help = "Help.", .unit = unit, .type = type, .samples = l->s[l->ms.n]};
	l->ms.n++;
	return f;
}

/* label NULL: none. */
static struct metric_sample *sample(struct metric_family *f, const char *label, const char *text, double value)
{
	struct metric_sample *s = &f->samples[f->n++];

	s->value = value;
	if (label) {
		s->labels[0] = (struct metric_label){label, text};
		s->nlabels = 1;
	}
	return s;
}

static void label(struct metric_sample *s, const char *name, const char *value)
{
	s->labels[s->nlabels++] = (struct metric_label){name, value};
}

static char *written;
static size_t written_len;

/* What a writer writes to f; to be freed. */
#define TEXT_OF(call)                                                   \
	({                                                              \
		FILE *f = open_memstream(&written, &written_len);       \
		CHECK_INT(call, 0);                                     \
		fclose(f);                                              \
		written;                                                \
	})

static void check_text(char *got, const char *want)
{
	CHECK_STR(got, want);
	free(got);
}

/* One of each kind, with labels that must be escaped. */
static struct list *some(void)
{
	struct list *l = new_list();
	struct metric_family *f = family(l, "weir_up", METRIC_GAUGE, "");

	sample(f, NULL, NULL, 1);
	f = family(l, "weir_build", METRIC_INFO, "");
	sample(f, "version", "a\\b\"c\nd", 1);
	f = family(l, "weir_nothing", METRIC_GAUGE, "");
	f = family(l, "weir_bytes", METRIC_COUNTER, "bytes");
	f->help = "A \"b\" \\ c\nd.";
	sample(f, "service", "", 12345678901234567.0);
	label(sample(f, "service", "web", 0), "reason", "hit");
	f = family(l, "weir_age_seconds", METRIC_GAUGE, "seconds");
	sample(f, NULL, NULL, 0.1);
	return l;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

/* By trying all lengths. */
static const char *shortest(double value)
{
	static char text[40];

	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	if (value == rint(value) && fabs(value) < 1e17)
		snprintf(text, sizeof(text), "%.0f", value + 0.0);
	return strcmp(text, "-0") ? text : "0";
}

static void test_numbers(void)
{
	static const struct {
		double value;
		const char *text;
	} rows[] = {
		{0, "0"}, {-0.0, "0"}, {1, "1"}, {-7, "-7"}, {0.5, "0.5"}, {0.1, "0.1"}, {1e-9, "1e-09"},
		{1024 / 1e9, "1.024e-06"}, {68719476736.0 / 1e9, "68.719476736"}, {1e15, "1000000000000000"},
		{9007199254740993.0, "9007199254740992"}, {1e17, "1e+17"}, {18446744073709551615.0, "1.8446744073709552e+19"},
		{INFINITY, "+Inf"}, {-INFINITY, "-Inf"}, {NAN, "NaN"}, {5e-324, "5e-324"}, {1 / 3.0, "0.3333333333333333"},
	};
	char text[32];

	test_begin("numbers are as short as they can be");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_STR(metrics_number(rows[i].value, text), rows[i].text);
	test_end();
	test_begin("  and read back the same, whatever their bits");
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		__u64 bits = (__u64)random() << 42 ^ (__u64)random() << 21 ^ random();
		double value;

		memcpy(&value, &bits, sizeof(value));
		if (isfinite(value) && strtod(metrics_number(value, text), NULL) != value)
			CHECK_STR(text, "the same");
	}
	test_end();
	test_begin("  nothing shorter does: nanoseconds in seconds, thirds, what is hardly a number");
	for (int i = 0; i < 20000; i++) {
		__u64 ns = ((__u64)random() << 31 | random()) >> i % 62;

		CHECK_STR(metrics_number(ns / 1e9, text), shortest(ns / 1e9));
		CHECK_STR(metrics_number(ns / 3.0, text), shortest(ns / 3.0));
		CHECK_STR(metrics_number(-(ns * 5e-324), text), shortest(-(ns * 5e-324)));
	}
	test_end();
}

/* ---- Prometheus ------------------------------------------------------------------------------- */

static void test_text(void)
{
	struct list *l = some();

	test_begin("Prometheus text: heads, escapes, suffixes; no family without samples");
	check_text(TEXT_OF(metrics_prometheus(f, &l->ms, false)),
		   "# HELP weir_up Help.\n# TYPE weir_up gauge\nweir_up 1\n"
		   "# HELP weir_build_info Help.\n# TYPE weir_build_info gauge\n"
		   "weir_build_info{version=\"a\\\\b\\\"c\\nd\"} 1\n"
		   "# HELP weir_bytes_total A \"b\" \\\\ c\\nd.\n# TYPE weir_bytes_total counter\n"
		   "weir_bytes_total{service=\"\"} 12345678901234568\n"
		   "weir_bytes_total{service=\"web\",reason=\"hit\"} 0\n"
		   "# HELP weir_age_seconds Help.\n# TYPE weir_age_seconds gauge\nweir_age_seconds 0.1\n");
	test_end();
	test_begin("OpenMetrics: names of families without suffixes, units, info, and an end");
	check_text(TEXT_OF(metrics_prometheus(f, &l->ms, true)),
		   "# HELP weir_up Help.\n# TYPE weir_up gauge\nweir_up 1\n"
		   "# HELP weir_build Help.\n# TYPE weir_build info\n"
		   "weir_build_info{version=\"a\\\\b\\\"c\\nd\"} 1\n"
		   "# HELP weir_bytes A \\\"b\\\" \\\\ c\\nd.\n# TYPE weir_bytes counter\n# UNIT weir_bytes bytes\n"
		   "weir_bytes_total{service=\"\"} 12345678901234568\n"
		   "weir_bytes_total{service=\"web\",reason=\"hit\"} 0\n"
		   "# HELP weir_age_seconds Help.\n# TYPE weir_age_seconds gauge\n# UNIT weir_age_seconds seconds\n"
		   "weir_age_seconds 0.1\n# EOF\n");
	test_end();
	free(l);
}

/* A value in every bucket, more of them in each. */
static struct list *with_histogram(struct weir_histogram *h)
{
	struct list *l = new_list();
	struct metric_family *f = family(l, "weir_latency_seconds", METRIC_HISTOGRAM, "seconds");
	struct metric_sample *s = sample(f, "service", "web", 0);

	memset(h, 0, sizeof(*h));
	for (unsigned i = 0; i < WEIR_LAT_BUCKETS; i++)
		h->n[i] = i + 1;
	h->sum_ns = 1500000000;
	label(s, "path", "hit");
	s->hist = h;
	return l;
}

/* How many of the histogram's values are below a bound. */
static __u64 below(const struct weir_histogram *h, __u64 ns)
{
	__u64 n = 0;

	for (unsigned i = 0; i < WEIR_LAT_BUCKETS && weir_lat_bound(i) < ns; i++)
		n += h->n[i];
	return n;
}

#define BUCKET "weir_latency_seconds_bucket{service=\"web\",path=\"hit\",le=\""

/* The bounds of a list's histogram, in ns, and the counts below them, without +Inf. How many there are. */
static unsigned read_bounds(const struct metrics *ms, __u64 ns[64], __u64 n[64])
{
	char *text = TEXT_OF(metrics_prometheus(f, ms, false)), *line, *save, *end;
	unsigned found = 0;

	for (line = strtok_r(text, "\n", &save); line && found < 64; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, BUCKET, strlen(BUCKET)) || strstr(line, "+Inf"))
			continue;
		ns[found] = llround(strtod(line + strlen(BUCKET), &end) * 1e9);
		CHECK(!strncmp(end, "\"} ", 3));
		n[found++] = strtoull(end + 3, NULL, 10);
	}
	free(text);
	return found;
}

static void test_bounds(void)
{
	struct weir_histogram h;
	struct list *l = with_histogram(&h);
	__u64 ns[64], n[64];

	test_begin("a histogram is cumulative, with bounds that are bounds of buckets: 2^10 ns to 2^36 ns");
	CHECK_INT(read_bounds(&l->ms, ns, n), 27);
	for (unsigned i = 0; i < 27; i++) {
		CHECK_INT(ns[i], 1ULL << (WEIR_LAT_FIRST + i));
		CHECK_INT(weir_lat_bound(weir_lat_bucket(ns[i])), ns[i]);
		CHECK_INT(n[i], below(&h, ns[i]));
	}
	test_end();
	test_begin("  or two in each octave, these and half as much again");
	l->f[0].halves = true;
	CHECK_INT(read_bounds(&l->ms, ns, n), 53);
	for (unsigned i = 0; i < 53; i++) {
		CHECK_INT(ns[i], (2ULL + i % 2) << (WEIR_LAT_FIRST - 1 + i / 2));
		CHECK_INT(weir_lat_bound(weir_lat_bucket(ns[i])), ns[i]);
		CHECK_INT(n[i], below(&h, ns[i]));
	}
	free(l);
	test_end();
}

/* As histogram_quantile() has it, of what lies between the bounds. */
static double line_drawn(const __u64 *ns, const __u64 *n, double rank)
{
	unsigned i = 0;
	__u64 below;

	while (n[i] < rank)
		i++;
	below = i ? n[i - 1] : 0;
	return (i ? ns[i - 1] : 0) + (ns[i] - (i ? ns[i - 1] : 0)) * (rank - below) / (n[i] - below);
}

static int by_size(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The largest factor between a quantile as Prometheus tells it and the value that it is. */
static double worst_quantile(struct list *l, struct weir_histogram *h, bool halves)
{
	__u64 values[100], ns[64], n[64];
	double worst = 1;

	l->f[0].halves = halves;
	for (int round = 0; round < 100; round++) {
		unsigned wide = 1 + random() % 24;

		memset(h->n, 0, sizeof(h->n));
		for (int i = 0; i < 100; i++) {
			values[i] = (1ULL << WEIR_LAT_FIRST) * exp2(1 + wide * drand48());
			h->n[weir_lat_bucket(values[i])]++;
		}
		qsort(values, 100, sizeof(values[0]), by_size);
		read_bounds(&l->ms, ns, n);
		for (int rank = 1; rank <= 100; rank++) {
			double off = line_drawn(ns, n, rank) / values[rank - 1];

			worst = fmax(worst, fmax(off, 1 / off));
		}
	}
	return worst;
}

static void test_quantiles(void)
{
	struct weir_histogram h;
	struct list *l = with_histogram(&h);
	double one, two;

	test_begin("histogram_quantile() is wrong by half at most with two bounds an octave, by twice with one");
	one = worst_quantile(l, &h, false);
	two = worst_quantile(l, &h, true);
	CHECK(two <= 1.5 && two > 1.2);
	CHECK(one <= 2 && one > two);
	free(l);
	test_end();
}

static void test_histogram(void)
{
	struct weir_histogram h;
	struct list *l = with_histogram(&h);
	char *text, want[128];

	test_begin("  and everything is below +Inf");
	text = TEXT_OF(metrics_prometheus(f, &l->ms, true));
	snprintf(want, sizeof(want), "le=\"+Inf\"} %llu\n", latency_count(&h));
	CHECK(strstr(text, want));
	snprintf(want, sizeof(want), "weir_latency_seconds_count{service=\"web\",path=\"hit\"} %llu\n",
		 latency_count(&h));
	CHECK(strstr(text, want));
	CHECK(strstr(text, "weir_latency_seconds_sum{service=\"web\",path=\"hit\"} 1.5\n"));
	free(text);
	free(l);
	test_end();
}

/* The last word is promtool's. */
static int promtool(const struct metrics *ms)
{
	FILE *p = popen("promtool check metrics", "w");

	if (!p || metrics_prometheus(p, ms, false))
		return -1;
	return pclose(p);
}

static void test_promtool(void)
{
	const char *sentence = "promtool finds nothing wrong with any of it";
	struct metrics *ms;
	struct weir_histogram h;
	struct list *l;

	if (system("promtool --version >/dev/null 2>&1")) {
		test_skip(sentence, "no promtool");
		return;
	}
	test_begin(sentence);
	l = some();
	CHECK_INT(promtool(&l->ms), 0);
	free(l);
	l = with_histogram(&h);
	CHECK_INT(promtool(&l->ms), 0);
	free(l);
	if (CHECK_INT(metrics_collect(&ms, NULL, NULL), 0)) {
		CHECK_INT(promtool(ms), 0);
		metrics_free(ms);
	}
	test_end();
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static void test_json(void)
{
	struct weir_histogram h;
	struct list *l = with_histogram(&h);
	char *text = TEXT_OF(metrics_json(f, &l->ms));
	json_t *doc, *s, *buckets;

	test_begin("JSON: a document with quantiles, and buckets in full");
	sample(family(l, "weir_x", METRIC_COUNTER, ""), NULL, NULL, 4294967296.0);
	sample(family(l, "weir_y", METRIC_GAUGE, ""), NULL, NULL, INFINITY);
	free(text);
	text = TEXT_OF(metrics_json(f, &l->ms));
	doc = json_loads(text, 0, NULL);
	CHECK_STR(json_string_value(json_object_get(doc, "kind")), "metrics");
	s = json_array_get(json_object_get(json_array_get(json_object_get(doc, "families"), 0), "samples"), 0);
	CHECK_STR(json_string_value(json_object_get(json_object_get(s, "labels"), "path")), "hit");
	CHECK_INT(json_integer_value(json_object_get(s, "count")), latency_count(&h));
	CHECK(json_real_value(json_object_get(s, "p95_seconds")) == latency_quantile(&h, 0.95) / 1e9);
	buckets = json_object_get(s, "buckets");
	CHECK_INT(json_array_size(buckets), WEIR_LAT_BUCKETS);
	CHECK(json_is_null(json_array_get(json_array_get(buckets, WEIR_LAT_BUCKETS - 1), 1)));
	CHECK(strstr(text, "{\"name\":\"weir_x_total\",\"type\":\"counter\",\"unit\":\"\",\"help\":\"Help.\","
			   "\"samples\":[{\"labels\":{},\"value\":4294967296}]}"));
	CHECK_INT(json_integer_value(json_array_get(json_array_get(buckets, 2), 2)), 3);
	CHECK(strstr(text, "[{\"labels\":{},\"value\":null}]"));
	json_decref(doc);
	free(text);
	free(l);
	test_end();
}

/* ---- EMF -------------------------------------------------------------------------------------- */

/* What the specification asks of one line. How many metrics are in it. */
static size_t check_emf_line(const char *line)
{
	json_t *doc = json_loads(line, 0, NULL), *aws, *directive, *metrics, *dims, *m, *d;
	size_t i, n;

	if (!CHECK(doc != NULL))
		return 0;
	aws = json_object_get(doc, "_aws");
	CHECK_INT(json_integer_value(json_object_get(aws, "Timestamp")), 1700000000123);
	CHECK_INT(json_array_size(json_object_get(aws, "CloudWatchMetrics")), 1);
	directive = json_array_get(json_object_get(aws, "CloudWatchMetrics"), 0);
	CHECK_STR(json_string_value(json_object_get(directive, "Namespace")), "Name/Space");
	metrics = json_object_get(directive, "Metrics");
	n = json_array_size(metrics);
	CHECK(n >= 1 && n <= 100);
	json_array_foreach(metrics, i, m)
		CHECK(json_is_number(json_object_get(doc, json_string_value(json_object_get(m, "Name")))));
	CHECK_INT(json_array_size(json_object_get(directive, "Dimensions")), 1);
	dims = json_array_get(json_object_get(directive, "Dimensions"), 0);
	CHECK(json_array_size(dims) <= 30);
	json_array_foreach(dims, i, d)
		CHECK(json_string_length(json_object_get(doc, json_string_value(d))) > 0);
	/* Nothing else: what is no metric and no dimension costs, and says nothing. */
	CHECK_INT(json_object_size(doc), 1 + n + json_array_size(dims));
	json_decref(doc);
	return n;
}

static size_t emf_lines(const struct metrics *ms, const struct metrics *before, size_t *metrics, char **all)
{
	char *text = TEXT_OF(metrics_emf(f, ms, before, "Name/Space", 1700000000123)), *line, *save;
	size_t lines = 0;

	*metrics = 0;
	if (all)
		*all = strdup(text);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		*metrics += check_emf_line(line);
		lines++;
	}
	free(text);
	return lines;
}

static void test_emf(void)
{
	static struct metric_family many[250];
	static struct metric_sample values[250];
	static char names[250][32];
	struct weir_histogram h;
	struct list *l = some();
	size_t metrics;
	char *text;

	test_begin("EMF: a line for each set of labels; no info, and no dimension without a value");
	CHECK_INT(emf_lines(&l->ms, NULL, &metrics, &text), 2);
	CHECK_INT(metrics, 4); /* up, bytes of "", age; bytes of web */
	CHECK(strstr(text, "\"Metrics\":[{\"Name\":\"weir_up\",\"Unit\":\"None\"},{\"Name\":\"weir_bytes_total\","
			   "\"Unit\":\"Bytes\"},{\"Name\":\"weir_age_seconds\",\"Unit\":\"Seconds\"}]"));
	CHECK(strstr(text, "\"Dimensions\":[[\"host\",\"service\",\"reason\"]]"));
	free(text);
	free(l);
	test_end();

	test_begin("EMF: quantiles of a histogram; what is not finite is left out");
	l = with_histogram(&h);
	sample(family(l, "weir_x", METRIC_GAUGE, ""), NULL, NULL, NAN);
	CHECK_INT(emf_lines(&l->ms, NULL, &metrics, &text), 1);
	CHECK_INT(metrics, METRICS_QUANTILES + 2);
	CHECK(strstr(text, "{\"Name\":\"weir_latency_seconds_p99\",\"Unit\":\"Seconds\"}"));
	CHECK(strstr(text, "\"weir_latency_seconds_count\":22155"));
	free(text);
	test_end();

	test_begin("EMF: what was added since before; of an interval without values no quantile");
	CHECK_INT(emf_lines(&l->ms, &l->ms, &metrics, &text), 1);
	CHECK_INT(metrics, 2);
	CHECK(strstr(text, "\"weir_latency_seconds_count\":0"));
	free(text);
	free(l);
	test_end();

	test_begin("EMF: more than 100 metrics of the same labels take several objects");
	for (int i = 0; i < 250; i++) {
		snprintf(names[i], sizeof(names[i]), "weir_many_%d", i);
		values[i] = (struct metric_sample){.value = i};
		many[i] = (struct metric_family){
			.name = names[i], .unit = "", .type = METRIC_GAUGE, .samples = &values[i], .n = 1};
	}
	CHECK_INT(emf_lines(&(struct metrics){.families = many, .n = 250}, NULL, &metrics, NULL), 3);
	CHECK_INT(metrics, 250);
	test_end();
}

/* ---- StatsD ----------------------------------------------------------------------------------- */

static void test_statsd(void)
{
	struct list *l = some();

	test_begin("StatsD: labels in names, made harmless; no info, no zeroes");
	label(sample(&l->f[3], "service", "a.b:c|d e/\xc3\xa4", 5), "reason", "-x_");
	check_text(TEXT_OF(metrics_statsd(f, &l->ms, NULL, "weir", 1432)),
		   "weir.up:1|g\nweir.bytes._none:12345678901234568|c\nweir.bytes.a_b_c_d_e___.-x_:5|c\n"
		   "weir.age_seconds:0.1|g\n");
	test_end();

	test_begin("StatsD: small numbers have no exponent");
	l->f[4].samples[0].value = 1024 / 1e9;
	l->f[0].samples[0].value = 3e-10;
	l->f[3].n = 0;
	check_text(TEXT_OF(metrics_statsd(f, &l->ms, NULL, "weir", 1432)),
		   "weir.up:0|g\nweir.age_seconds:0.000001024|g\n");
	free(l);
	test_end();
}

static void test_statsd_since(void)
{
	struct list *now = new_list(), *then = new_list();
	struct metric_family *f;

	test_begin("StatsD: counters are what was added, wherever they stood before");
	sample(family(now, "weir_loaded_timestamp_seconds", METRIC_GAUGE, ""), NULL, NULL, 10);
	sample(family(then, "weir_loaded_timestamp_seconds", METRIC_GAUGE, ""), NULL, NULL, 10);
	f = family(then, "weir_packets", METRIC_COUNTER, "");
	sample(f, "service", "gone", 7);
	sample(f, "service", "web", 100);
	sample(f, "service", "back", 100);
	f = family(now, "weir_packets", METRIC_COUNTER, "");
	sample(f, "service", "web", 130);
	sample(f, "service", "new", 4);
	sample(f, "service", "back", 60); /* taken out, and made again */
	check_text(TEXT_OF(metrics_statsd(f, &now->ms, &then->ms, "p", 1432)),
		   "p.loaded_timestamp_seconds:10|g\np.packets.web:30|c\np.packets.new:4|c\np.packets.back:60|c\n");
	test_end();
	test_begin("  and after another load all of them");
	then->f[0].samples[0].value = 9;
	check_text(TEXT_OF(metrics_statsd(f, &now->ms, &then->ms, "p", 1432)),
		   "p.loaded_timestamp_seconds:10|g\np.packets.web:130|c\np.packets.new:4|c\np.packets.back:60|c\n");
	free(now);
	free(then);
	test_end();
}

/* Of an interface: it counted long before any load, and goes on through one. */
static void test_foreign(void)
{
	struct list *now = new_list(), *then = new_list();
	struct metric_family *f;

	test_begin("StatsD: what the kernel counts goes on through a load; what was not there before adds nothing");
	sample(family(now, "weir_loaded_timestamp_seconds", METRIC_GAUGE, ""), NULL, NULL, 10);
	sample(family(then, "weir_loaded_timestamp_seconds", METRIC_GAUGE, ""), NULL, NULL, 9);
	f = family(then, "weir_interface_receive_bytes", METRIC_COUNTER, "bytes");
	sample(f, "interface", "eth0", 1000);
	sample(f, "interface", "made_anew", 1000);
	f = family(now, "weir_interface_receive_bytes", METRIC_COUNTER, "bytes");
	f->foreign = true;
	sample(f, "interface", "eth0", 1030);
	sample(f, "interface", "eth1", 5000000);
	sample(f, "interface", "made_anew", 7);
	check_text(TEXT_OF(metrics_statsd(f, &now->ms, &then->ms, "p", 1432)),
		   "p.loaded_timestamp_seconds:10|g\np.interface_receive_bytes.eth0:30|c\n"
		   "p.interface_receive_bytes.made_anew:7|c\n");
	free(now);
	free(then);
	test_end();
}

static void test_statsd_histogram(void)
{
	struct weir_histogram now, then;
	struct list *l = with_histogram(&now), *before = with_histogram(&then);
	char *text;

	test_begin("StatsD: quantiles are of the interval");
	now.n[weir_lat_bucket(100000000)] += 50;
	text = TEXT_OF(metrics_statsd(f, &l->ms, &before->ms, "weir", 1432));
	CHECK(strstr(text, "weir.latency_seconds.web.hit.count:50|c\n"));
	for (unsigned i = 0; i < METRICS_QUANTILES; i++) {
		char head[64], *at;

		snprintf(head, sizeof(head), "web.hit.%s:", metrics_quantiles[i].name);
		at = strstr(text, head);
		CHECK(at && fabs(strtod(at + strlen(head), NULL) - 0.1) <= 0.1 * LATENCY_ERROR);
	}
	free(text);
	test_end();
	test_begin("  and there are none when nothing came");
	check_text(TEXT_OF(metrics_statsd(f, &l->ms, &l->ms, "weir", 1432)), "");
	free(l);
	free(before);
	test_end();
}

static void test_datagrams(void)
{
	struct list *l = new_list();
	struct metric_family *fam = family(l, "weir_packets", METRIC_COUNTER, "");
	char names[SAMPLES_MAX][16], *text, *at;
	unsigned lines = 0, datagrams = 0;
	FILE *f;

	test_begin("StatsD: datagrams are full, and no longer than they may be");
	for (int i = 0; i < SAMPLES_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i);
		sample(fam, "service", names[i], 1 + i);
	}
	text = TEXT_OF(metrics_statsd(f, &l->ms, NULL, "weir", 512));
	for (at = text; *at; datagrams++) {
		char *end = strstr(at, "\n\n");
		size_t len = end ? (size_t)(end + 1 - at) : strlen(at);

		CHECK(len <= 512);
		CHECK(!end || len + strlen("weir.packets.s299:300|c\n") > 512);
		for (size_t i = 0; i < len; i++)
			lines += at[i] == '\n';
		at += len + !!end;
	}
	CHECK_INT(lines, SAMPLES_MAX);
	CHECK_INT(datagrams, (strlen(text) + 511) / 512);
	free(text);
	f = fopen("/dev/null", "w");
	CHECK_INT(metrics_statsd(f, &l->ms, NULL, "weir", 10), -EMSGSIZE);
	fclose(f);
	free(l);
	test_end();
}

/* ---- all of them ------------------------------------------------------------------------------ */

static void test_full(void)
{
	struct list *l = some();
	FILE *f = fopen("/dev/full", "w");

	test_begin("a full disk is an error in every format");
	setvbuf(f, NULL, _IONBF, 0);
	CHECK_INT(metrics_prometheus(f, &l->ms, false), -ENOSPC);
	clearerr(f);
	CHECK_INT(metrics_json(f, &l->ms), -ENOSPC);
	clearerr(f);
	CHECK_INT(metrics_emf(f, &l->ms, NULL, "N", 0), -ENOSPC);
	clearerr(f);
	CHECK_INT(metrics_statsd(f, &l->ms, NULL, "weir", 1432), -ENOSPC);
	fclose(f);
	free(l);
	test_end();
}

static void test_not_loaded(void)
{
	static const struct flows_swept swept;
	const struct metrics_agent agent = {
		.up_since = 1700000000.5, .reloads = 3, .reload_failures = 1, .flows = &swept};
	struct metrics *ms = NULL;
	char *text;

	test_begin("nothing loaded: weir_up is 0, and the version is known");
	CHECK_INT(metrics_collect(&ms, NULL, NULL), 0);
	text = TEXT_OF(metrics_prometheus(f, ms, false));
	CHECK(strstr(text, "\nweir_up 0\n"));
	CHECK(strstr(text, "\nweir_build_info{version=\""));
	CHECK(!strstr(text, "weir_agent"));
	free(text);
	metrics_free(ms);
	test_end();
	test_begin("  and an agent that waits is up");
	CHECK_INT(metrics_collect(&ms, NULL, &agent), 0);
	text = TEXT_OF(metrics_prometheus(f, ms, false));
	CHECK(strstr(text, "\nweir_up 0\n"));
	CHECK(strstr(text, "\nweir_agent_up 1\n"));
	CHECK(strstr(text, "\nweir_agent_start_timestamp_seconds 1700000000.5\n"));
	CHECK(strstr(text, "\nweir_agent_reloads_total{result=\"ok\"} 3\n"
			   "weir_agent_reloads_total{result=\"failed\"} 1\n"));
	free(text);
	metrics_free(ms);
	test_end();
}

static bool ends_in(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && !strcmp(s + strlen(s) - strlen(end), end);
}

static void test_families(void)
{
	struct metrics *ms = NULL;
	char line[512], name[160], *doc = NULL;
	size_t len = 0;
	FILE *f = fopen("docs/metrics.md", "r");

	test_begin("every family has a name of its own, by the rules, and help");
	CHECK_INT(metrics_collect(&ms, NULL, NULL), 0);
	for (unsigned i = 0; i < ms->n; i++) {
		const struct metric_family *m = &ms->families[i];

		CHECK(!strncmp(m->name, "weir_", 5) && strlen(m->name) < 64);
		CHECK(strspn(m->name, "abcdefghijklmnopqrstuvwxyz_") == strlen(m->name));
		CHECK(!ends_in(m->name, "_total") && !ends_in(m->name, "_info") && !ends_in(m->name, "_count"));
		snprintf(line, sizeof(line), "_%s", m->unit);
		CHECK(!*m->unit || ends_in(m->name, line));
		CHECK(*m->unit || !(ends_in(m->name, "_seconds") || ends_in(m->name, "_bytes")));
		CHECK(ends_in(m->help, "."));
		for (unsigned k = 0; k < i; k++)
			CHECK(strcmp(m->name, ms->families[k].name));
	}
	test_end();
	if (!f || getdelim(&doc, &len, 0, f) < 0) {
		test_skip("docs/metrics.md has them all", "not in the source tree");
	} else {
		test_begin("docs/metrics.md has them all");
		for (unsigned i = 0; i < ms->n; i++) {
			snprintf(name, sizeof(name), "| `%s` | %s |", metrics_full_name(&ms->families[i]),
				 ms->families[i].type == METRIC_HISTOGRAM ? "histogram" :
				 ms->families[i].type == METRIC_COUNTER	  ? "counter" :
				 ms->families[i].type == METRIC_INFO	  ? "info" :
									    "gauge");
			if (!strstr(doc, name))
				CHECK_STR("not there", name);
		}
		test_end();
	}
	if (f)
		fclose(f);
	free(doc);
	metrics_free(ms);
}

int main(void)
{
	test_numbers();
	test_text();
	test_bounds();
	test_histogram();
	test_quantiles();
	test_promtool();
	test_json();
	test_emf();
	test_statsd();
	test_statsd_since();
	test_foreign();
	test_statsd_histogram();
	test_datagrams();
	test_full();
	test_not_loaded();
	test_families();
	return test_done();
}
