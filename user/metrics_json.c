/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics as one JSON document, and as lines of CloudWatch's embedded metric format (EMF). */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "latency.h"
#include "metrics.h"
#include "out.h"

#define EMF_METRICS_MAX 100 /* of one object */
#define EXACT		9007199254740992.0 /* from 2^53 on a double has no ones */

/* A number as JSON has it: there is no infinity. */
static json_t *json_number_of(double value)
{
	if (!isfinite(value))
		return json_null();
	return value == rint(value) && fabs(value) <= EXACT ? json_integer(value) : json_real(value);
}

/* ---- the document ----------------------------------------------------------------------------- */

static json_t *json_labels(const struct metric_sample *s)
{
	json_t *doc = json_object();

	for (unsigned i = 0; i < s->nlabels; i++)
		json_object_set_new(doc, s->labels[i].name, json_string(s->labels[i].value));
	return doc;
}

/* As `weir latency show` has them: only those that hold something, [from, to, count]. */
static json_t *json_buckets(const struct weir_histogram *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < WEIR_LAT_BUCKETS; i++) {
		if (!h->n[i])
			continue;
		json_array_append_new(list, json_pack("[f, o, I]", weir_lat_bound(i) / 1e9,
						      i + 1 < WEIR_LAT_BUCKETS ?
							      json_real(weir_lat_bound(i + 1) / 1e9) :
							      json_null(),
						      (json_int_t)h->n[i]));
	}
	return list;
}

static json_t *json_quantile(const struct weir_histogram *h, double q)
{
	return latency_count(h) ? json_real(latency_quantile(h, q) / 1e9) : json_null();
}

static json_t *json_sample(const struct metric_sample *s)
{
	json_t *doc = json_pack("{s:o}", "labels", json_labels(s));
	char name[16];

	if (!s->hist) {
		json_object_set_new(doc, "value", json_number_of(s->value));
		return doc;
	}
	json_object_set_new(doc, "count", json_integer(latency_count(s->hist)));
	json_object_set_new(doc, "sum_seconds", json_real(s->hist->sum_ns / 1e9));
	for (unsigned i = 0; i < METRICS_QUANTILES; i++) {
		snprintf(name, sizeof(name), "%s_seconds", metrics_quantiles[i].name);
		json_object_set_new(doc, name, json_quantile(s->hist, metrics_quantiles[i].q));
	}
	json_object_set_new(doc, "buckets", json_buckets(s->hist));
	return doc;
}

static json_t *json_family(const struct metric_family *m)
{
	static const char *const types[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_INFO] = "info",
		[METRIC_HISTOGRAM] = "histogram",
	};
	json_t *samples = json_array();

	for (unsigned i = 0; i < m->n; i++)
		json_array_append_new(samples, json_sample(&m->samples[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", metrics_full_name(m), "type", types[m->type], "unit",
			 m->unit, "help", m->help, "samples", samples);
}

json_t *metrics_document(const struct metrics *ms)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ms->n; i++) {
		if (ms->families[i].n && json_array_append_new(list, json_family(&ms->families[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:o}", "families", list);
}

/* Writes a line and releases doc. */
static int put_line(FILE *f, json_t *doc)
{
	int err = doc ? 0 : -ENOMEM;

	errno = 0;
	if (!err && (json_dumpf(doc, f, JSON_COMPACT | OUT_REALS) || putc('\n', f) == EOF))
		err = -(errno ?: EIO);
	json_decref(doc);
	return err;
}

int metrics_json(FILE *f, const struct metrics *ms)
{
	return put_line(f, out_whole("metrics", metrics_document(ms)));
}

/* ---- EMF -------------------------------------------------------------------------------------- */

/*
 * One object for each set of labels, with all the metrics that have it. The set is also the key that it is found
 * by. "host" is a dimension, too, or hosts of one account would overwrite each other.
 */
struct emf {
	FILE *f;
	const struct metrics *ms, *before;
	const char *name_space;
	__u64 now_ms;
	char host[256];
	json_t *open; /* by set: {"dimensions": [..], "metrics": [..], "values": {..}} */
	int err;
};

/* Dimensions with an empty value are none to CloudWatch. */
static bool is_dimension(const struct metric_label *l)
{
	return *l->value;
}

static json_t *new_set(const struct emf *e, const struct metric_sample *s)
{
	json_t *names = json_array(), *values = json_object();

	json_array_append_new(names, json_string("host"));
	json_object_set_new(values, "host", json_string(e->host));
	for (unsigned i = 0; i < s->nlabels; i++) {
		if (!is_dimension(&s->labels[i]))
			continue;
		json_array_append_new(names, json_string(s->labels[i].name));
		json_object_set_new(values, s->labels[i].name, json_string(s->labels[i].value));
	}
	return json_pack("{s:o, s:o, s:o}", "dimensions", names, "metrics", json_array(), "values", values);
}

static json_t *set_of(struct emf *e, const struct metric_sample *s)
{
	char key[1024] = "";
	size_t at = 0;
	json_t *set;

	for (unsigned i = 0; i < s->nlabels && at < sizeof(key); i++) {
		if (is_dimension(&s->labels[i]))
			at += snprintf(key + at, sizeof(key) - at, "%s=%s\n", s->labels[i].name, s->labels[i].value);
	}
	set = json_object_get(e->open, key);
	if (!set) {
		set = new_set(e, s);
		if (!set || json_object_set_new(e->open, key, set))
			e->err = e->err ?: -ENOMEM;
	}
	return e->err ? NULL : set;
}

/* Writes an object out; the set stays, without metrics. */
static void flush_set(struct emf *e, json_t *set)
{
	json_t *line, *metrics = json_object_get(set, "metrics"), *values = json_object_get(set, "values"), *m;
	size_t i;

	if (e->err || !json_array_size(metrics))
		return;
	line = json_pack("{s:{s:I, s:[{s:s, s:[O], s:O}]}}", "_aws", "Timestamp", (json_int_t)e->now_ms,
			 "CloudWatchMetrics", "Namespace", e->name_space, "Dimensions",
			 json_object_get(set, "dimensions"), "Metrics", metrics);
	if (line && json_object_update(line, values)) {
		json_decref(line);
		line = NULL;
	}
	e->err = put_line(e->f, line);
	json_array_foreach(metrics, i, m)
		json_object_del(values, json_string_value(json_object_get(m, "Name")));
	json_array_clear(metrics);
}

static void emf_add(struct emf *e, const struct metric_sample *s, const char *name, const char *unit, double value)
{
	json_t *set = isfinite(value) ? set_of(e, s) : NULL, *metrics;

	if (!set)
		return;
	metrics = json_object_get(set, "metrics");
	if (json_array_size(metrics) == EMF_METRICS_MAX)
		flush_set(e, set);
	if (json_array_append_new(metrics, json_pack("{s:s, s:s}", "Name", name, "Unit", unit)) ||
	    json_object_set_new(json_object_get(set, "values"), name, json_number_of(value)))
		e->err = e->err ?: -ENOMEM;
}

static void emf_histogram(struct emf *e, const struct metric_sample *s, const char *name,
			  const struct weir_histogram *h)
{
	char full[160];

	for (unsigned i = 0; i < METRICS_QUANTILES && latency_count(h); i++) {
		snprintf(full, sizeof(full), "%s_%s", name, metrics_quantiles[i].name);
		emf_add(e, s, full, "Seconds", latency_quantile(h, metrics_quantiles[i].q) / 1e9);
	}
	snprintf(full, sizeof(full), "%s_sum", name);
	emf_add(e, s, full, "Seconds", h->sum_ns / 1e9);
	snprintf(full, sizeof(full), "%s_count", name);
	emf_add(e, s, full, "Count", latency_count(h));
}

static void emf_sample(struct emf *e, const struct metric_family *m, unsigned place, const char *unit)
{
	const struct metric_sample *s = &m->samples[place];
	struct weir_histogram h;
	double value = s->value;

	if (m->type == METRIC_HISTOGRAM) {
		metrics_added_hist(e->ms, e->before, m, place, &h);
		emf_histogram(e, s, m->name, &h);
		return;
	}
	if (m->type == METRIC_COUNTER)
		value = metrics_added(e->ms, e->before, m, place);
	emf_add(e, s, metrics_full_name(m), unit, value);
}

static void emf_family(struct emf *e, const struct metric_family *m)
{
	const char *unit = !strcmp(m->unit, "seconds") ? "Seconds" :
			   !strcmp(m->unit, "bytes")   ? "Bytes" :
			   m->type == METRIC_COUNTER   ? "Count" :
							 "None";

	for (unsigned i = 0; i < m->n && !e->err; i++)
		emf_sample(e, m, i, unit);
}

static void read_host(char host[256])
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) || !*name)
		strcpy(name, "localhost");
	snprintf(host, 256, "%s", printable(name, strlen(name)));
}

int metrics_emf(FILE *f, const struct metrics *ms, const struct metrics *before, const char *name_space,
		__u64 now_ms)
{
	struct emf e = {.f = f,
			.ms = ms,
			.before = before,
			.name_space = name_space,
			.now_ms = now_ms,
			.open = json_object()};
	const char *key;
	json_t *set;

	if (!e.open)
		return -ENOMEM;
	read_host(e.host);
	for (unsigned i = 0; i < ms->n && !e.err; i++) {
		if (ms->families[i].type != METRIC_INFO)
			emf_family(&e, &ms->families[i]);
	}
	json_object_foreach(e.open, key, set)
		flush_set(&e, set);
	json_decref(e.open);
	return e.err;
}
