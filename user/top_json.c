/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top --once --json: the document "top". */
#include <math.h>

#include "latency.h"
#include "session.h"
#include "top.h"

#define LISTED 20 /* keys and flows */

static json_t *number(double n)
{
	return isnan(n) ? json_null() : json_real(n);
}

static json_t *latency(__u64 ns)
{
	return ns ? json_real(ns / 1e9) : json_null();
}

static json_t *quantile(const struct weir_histogram *h, double q)
{
	return latency(latency_count(h) ? latency_quantile(h, q) : 0);
}

/* Of a row's cell. */
static json_t *cell(const struct top_row *row, unsigned column)
{
	return number(row->cell[column].n);
}

static json_t *nanoseconds(const struct top_row *row, unsigned column)
{
	double n = row->cell[column].n;

	return isnan(n) ? json_null() : json_real(n / 1e9);
}

static json_t *json_services(const struct top_sample *now, const struct top_sample *before)
{
	struct top_rows rows = {};
	json_t *list = json_array();

	top_rows(&rows, TOP_OVERVIEW, now, before, -1);
	for (unsigned i = 0; i < rows.n; i++) {
		const struct top_row *row = &rows.list[i];
		double ratio = row->cell[3].n;

		if (row->svc == WEIR_SVC_NONE)
			continue;
		json_array_append_new(
			list, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", row->cell[0].text,
					"packets_per_second", cell(row, 1), "requests_per_second", cell(row, 2),
					"hit_ratio", number(ratio / 100), "misses_per_second", cell(row, 4),
					"timed_per_second", cell(row, 5), "p50_seconds", nanoseconds(row, 6),
					"p99_seconds", nanoseconds(row, 7)));
	}
	top_rows_free(&rows);
	return list;
}

static json_t *json_backends(const struct top_sample *now, const struct top_sample *before)
{
	struct top_rows rows = {};
	json_t *list = json_array();

	top_rows(&rows, TOP_BACKENDS, now, before, -1);
	for (unsigned i = 0; i < rows.n; i++) {
		const struct top_row *row = &rows.list[i];
		const struct top_backend *b = &now->backends[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "pool", b->pool,
					"name", b->name, "state", b->state, "health", b->health, "active",
					(json_int_t)b->active, "load", cell(row, 5), "latency_seconds",
					latency(b->latency_ns), "p50_seconds", nanoseconds(row, 7), "p99_seconds",
					nanoseconds(row, 8), "packets_per_second", cell(row, 9),
					"bytes_per_second", cell(row, 10)));
	}
	top_rows_free(&rows);
	return list;
}

static json_t *json_keys(const struct top_sample *now, const struct top_sample *before)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < now->nkeys && i < LISTED; i++) {
		const struct top_key *key = &now->keys[i], *then = top_key_before(now, before, i);
		double seconds = then ? (now->keys_ns - before->keys_ns) / 1e9 : 0;
		json_t *doc = json_pack("{s:s, s:o, s:o, s:I, s:o, s:s}", "service", now->svcs[key->svc].name,
					"hits", key->counted ? json_integer(key->hits) : json_null(),
					"hits_per_second",
					number(key->counted ? top_rate(key->hits, then ? then->hits : 0, seconds) :
							      NAN),
					"value_bytes", (json_int_t)key->bytes, "ttl_seconds",
					json_seconds(key->left_ns), "state", key->state);

		json_set_bytes(doc, "key", key->key, key->key_len);
		json_array_append_new(list, doc);
	}
	return list;
}

static json_t *json_reasons(const struct top_sample *now, const struct top_sample *before)
{
	bool rates = top_seconds(now, before) > 0;
	struct top_rows rows = {};
	json_t *list = json_array();

	top_rows(&rows, TOP_REASONS, now, before, -1);
	top_sort(&rows, TOP_REASONS, top_tables[TOP_REASONS].sort, false);
	for (unsigned i = 0; i < rows.n; i++) {
		const struct top_row *row = &rows.list[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:o, s:o}", "reason", row->cell[0].text,
						      "class", row->cell[5].text, "packets",
						      (json_int_t)row->cell[4].n, "packets_per_second",
						      rates ? cell(row, 1) : json_null(), "bytes_per_second",
						      rates ? cell(row, 2) : json_null()));
	}
	top_rows_free(&rows);
	return list;
}

static json_t *json_flows(const struct top_sample *now)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < now->nflows && i < LISTED; i++) {
		const struct top_flow *f = &now->flows[i];
		const char *service = now->svcs[f->svc].name;

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s?, s:s?, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:f}",
					"protocol", f->tcp ? "tcp" : "udp", "client", f->client, "service",
					*service ? service : NULL, "backend", *f->backend ? f->backend : NULL,
					"state", f->state, "latency_seconds", latency(f->latency_ns),
					"latest_seconds", latency(f->latest_ns), "rtt_server_seconds",
					latency(f->rtt_server_ns), "rtt_client_seconds", latency(f->rtt_client_ns),
					"packets", (json_int_t)f->packets, "bytes", (json_int_t)f->bytes,
					"age_seconds", f->age_ns / 1e9));
	}
	return list;
}

/* Paths of each service, over the time between the samples. */
static json_t *json_paths(const struct top_sample *now, const struct top_sample *before)
{
	json_t *list = json_array();

	for (unsigned svc = 0; svc < WEIR_SERVICES_MAX; svc++) {
		const struct top_service *then = top_service_before(now, before, svc);

		for (unsigned path = 0; then && path < WEIR_LAT_PATHS; path++) {
			struct weir_histogram h = now->svcs[svc].lat[path];

			latency_since(&h, &then->lat[path]);
			if (!latency_count(&h))
				continue;
			json_array_append_new(
				list, json_pack("{s:s, s:s, s:f, s:o, s:o}", "service", now->svcs[svc].name,
						"path", latency_path(path), "timed_per_second",
						latency_count(&h) / top_seconds(now, before), "p50_seconds",
						quantile(&h, 0.5), "p99_seconds", quantile(&h, 0.99)));
		}
	}
	return list;
}

json_t *top_document(const struct top_sample *now, const struct top_sample *before)
{
	double seconds = top_seconds(now, before);

	return json_pack("{s:f, s:I, s:I, s:o, s:b, s:b, s:o, s:o, s:o, s:I, s:o, s:o, s:I, s:o}", "at", now->at,
			 "loaded_at", (json_int_t)now->loaded_at, "generation", (json_int_t)now->generation,
			 "interval_seconds", seconds > 0 ? json_real(seconds) : json_null(), "answering",
			 now->answering, "agent", now->agent, "services", json_services(now, before), "latencies",
			 json_paths(now, before), "backends", json_backends(now, before), "keys_matched",
			 (json_int_t)now->keys_matched, "keys", json_keys(now, before), "reasons",
			 json_reasons(now, before), "flows_matched", (json_int_t)now->flows_matched, "flows",
			 json_flows(now));
}
