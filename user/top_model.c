/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top: two samples become rows of tables, and these are sorted. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "latency.h"
#include "top.h"

const struct top_table top_tables[TOP_VIEWS + 1] = {
	[TOP_OVERVIEW] = {"overview", 8, 1, {{"service", TOP_TEXT, 0}, {"packets/s", TOP_NUMBER, 0},
		{"requests/s", TOP_NUMBER, 2}, {"hits", TOP_PERCENT, 1}, {"misses/s", TOP_NUMBER, 3},
		{"timed/s", TOP_NUMBER, 5}, {"p50", TOP_LATENCY, 4}, {"p99", TOP_LATENCY, 0}}},
	[TOP_BACKENDS] = {"backends", 11, 4, {{"pool", TOP_TEXT, 4}, {"backend", TOP_TEXT, 0},
		{"state", TOP_TEXT, 0}, {"health", TOP_TEXT, 6}, {"active", TOP_NUMBER, 0},
		{"load", TOP_LOAD, 2}, {"latency", TOP_LATENCY, 5}, {"p50", TOP_LATENCY, 7},
		{"p99", TOP_LATENCY, 3}, {"packets/s", TOP_NUMBER, 1}, {"bytes/s", TOP_BYTES, 8}}},
	[TOP_KEYS] = {"keys", 7, 0, {{"hits", TOP_NUMBER, 0}, {"hits/s", TOP_NUMBER, 1},
		{"bytes", TOP_NUMBER, 4}, {"ttl left", TOP_TIME, 3}, {"state", TOP_TEXT, 2},
		{"service", TOP_TEXT, 5}, {"key", TOP_REST, 0}}},
	[TOP_REASONS] = {"reasons", 7, 1, {{"reason", TOP_TEXT, 0}, {"packets/s", TOP_NUMBER, 0},
		{"bytes/s", TOP_BYTES, 2}, {"share", TOP_PERCENT, 1}, {"packets", TOP_NUMBER, 3},
		{"class", TOP_TEXT, 4}, {"", TOP_REST, 5}}},
	[TOP_FLOWS] = {"flows", 11, 4, {{"client", TOP_TEXT, 0}, {"service", TOP_TEXT, 3},
		{"backend", TOP_TEXT, 2}, {"state", TOP_TEXT, 6}, {"latency", TOP_LATENCY, 0},
		{"latest", TOP_LATENCY, 5}, {"rtt-srv", TOP_LATENCY, 7}, {"rtt-cl", TOP_LATENCY, 8},
		{"packets", TOP_NUMBER, 1}, {"bytes", TOP_BYTES, 4}, {"age", TOP_TIME, 9}}},
	[TOP_PATHS] = {"latencies", 7, 0, {{"path", TOP_TEXT, 0}, {"timed/s", TOP_NUMBER, 1},
		{"p50", TOP_LATENCY, 0}, {"p99", TOP_LATENCY, 0}, {"all", TOP_NUMBER, 2},
		{"p50 of all", TOP_LATENCY, 3}, {"p99 of all", TOP_LATENCY, 3}}},
};

/* ---- two samples ------------------------------------------------------------------------------ */

/* Counters only grow: what is less has begun anew. */
double top_rate(__u64 now, __u64 before, double seconds)
{
	return seconds > 0 && now >= before ? (now - before) / seconds : NAN;
}

static bool same_load(const struct top_sample *now, const struct top_sample *before)
{
	return before && before->ns && before->loaded_at == now->loaded_at && before->ns < now->ns;
}

double top_seconds(const struct top_sample *now, const struct top_sample *before)
{
	return same_load(now, before) ? (now->ns - before->ns) / 1e9 : 0;
}

int top_service_number(const struct top_sample *s, const char *name)
{
	for (int svc = 0; svc < WEIR_SERVICES_MAX; svc++) {
		if (s->svcs[svc].used && !strcmp(s->svcs[svc].name, name))
			return svc;
	}
	return -1;
}

const struct top_service *top_service_before(const struct top_sample *now, const struct top_sample *before,
					     unsigned svc)
{
	const struct top_service *then = same_load(now, before) ? &before->svcs[svc] : NULL;

	return then && then->used && !strcmp(then->name, now->svcs[svc].name) ? then : NULL;
}

const struct top_backend *top_backend_before(const struct top_sample *now, const struct top_sample *before,
					     unsigned i)
{
	const struct top_backend *b = &now->backends[i];

	/* Nearly always in the same place of the list. */
	for (unsigned k = 0; same_load(now, before) && k < before->nbackends; k++) {
		const struct top_backend *then = &before->backends[(i + k) % before->nbackends];

		if (then->place == b->place)
			return strcmp(then->name, b->name) || strcmp(then->pool, b->pool) ? NULL : then;
	}
	return NULL;
}

const struct top_key *top_key_before(const struct top_sample *now, const struct top_sample *before, unsigned i)
{
	const struct top_key *key = &now->keys[i];

	if (!same_load(now, before) || !before->keys_ns || before->keys_ns >= now->keys_ns)
		return NULL;
	for (unsigned k = 0; k < before->nkeys; k++) {
		const struct top_key *then = &before->keys[(i + k) % before->nkeys];

		if (then->svc == key->svc && then->key_len == key->key_len &&
		    !memcmp(then->key, key->key, key->key_len))
			return then;
	}
	return NULL;
}

bool top_is_request(unsigned path)
{
	return path == WEIR_LAT_MISS || path == WEIR_LAT_REQUEST || path == WEIR_LAT_REQUEST_ACKED;
}

void top_requests(struct weir_histogram *h, const struct top_service *now, const struct top_service *before)
{
	memset(h, 0, sizeof(*h));
	for (unsigned path = 0; before && path < WEIR_LAT_PATHS; path++) {
		struct weir_histogram since = now->lat[path];

		if (!top_is_request(path))
			continue;
		latency_since(&since, &before->lat[path]);
		latency_add(h, &since);
	}
}

/* ---- cells ------------------------------------------------------------------------------------ */

static struct top_row *add_row(struct top_rows *rows)
{
	struct top_row *list;

	if (rows->n == rows->room) {
		unsigned room = rows->room ? 2 * rows->room : 64;

		list = reallocarray(rows->list, room, sizeof(*list));
		if (!list) {
			rows->err = -ENOMEM;
			return NULL;
		}
		rows->list = list;
		rows->room = room;
	}
	memset(&rows->list[rows->n], 0, sizeof(*rows->list));
	rows->list[rows->n].place = rows->n;
	rows->list[rows->n].svc = -1;
	return &rows->list[rows->n++];
}

static struct top_cell text_cell(const char *text)
{
	return (struct top_cell){.text = text};
}

static struct top_cell number(double n)
{
	return (struct top_cell){.n = n};
}

/* Of values where 0 is none. */
static struct top_cell some(__u64 n)
{
	return number(n ? n : NAN);
}

static struct top_cell quantile(const struct weir_histogram *h, double q)
{
	return latency_count(h) ? number(latency_quantile(h, q)) : number(NAN);
}

static __u64 all_packets(const struct weir_count *counts)
{
	__u64 n = 0;

	for (int r = 0; r < WEIR_R_COUNT; r++)
		n += counts[r].packets;
	return n;
}

/* ---- services --------------------------------------------------------------------------------- */

static __u64 requests(const struct weir_count *c)
{
	return class_packets(c, WEIR_CLS_HIT) + class_packets(c, WEIR_CLS_MISS) +
	       class_packets(c, WEIR_CLS_READ) + class_packets(c, WEIR_CLS_WRITE);
}

/* What lookups of a service's cache were, since the sample before. */
static void add_lookups(struct top_row *row, const struct weir_count *c, const struct weir_count *was,
			double seconds)
{
	double hits = top_rate(class_packets(c, WEIR_CLS_HIT), class_packets(was, WEIR_CLS_HIT), seconds);
	double misses = top_rate(class_packets(c, WEIR_CLS_MISS), class_packets(was, WEIR_CLS_MISS), seconds);

	row->cell[2] = number(top_rate(requests(c), requests(was), seconds));
	row->cell[3] = number(hits + misses > 0 ? 100 * hits / (hits + misses) : NAN);
	row->cell[4] = number(misses);
}

static void add_service(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
			unsigned svc)
{
	const struct top_service *s = &now->svcs[svc], *then = top_service_before(now, before, svc);
	struct top_row *row = add_row(rows);
	double seconds = then ? top_seconds(now, before) : 0;
	struct weir_histogram h;

	if (!row)
		return;
	row->svc = svc;
	row->cell[0] = text_cell(svc == WEIR_SVC_NONE ? "(no service)" : s->name);
	row->cell[1] = number(then ? top_rate(all_packets(s->counts), all_packets(then->counts), seconds) : NAN);
	for (int i = 2; i < 8; i++)
		row->cell[i] = number(NAN);
	if (s->cache && then)
		add_lookups(row, s->counts, then->counts, seconds);
	if (svc == WEIR_SVC_NONE || !now->latency || !then)
		return;
	top_requests(&h, s, then);
	row->cell[5] = number(latency_count(&h) / seconds);
	row->cell[6] = quantile(&h, 0.5);
	row->cell[7] = quantile(&h, 0.99);
}

static void add_path(struct top_rows *rows, const struct top_service *now, const struct top_service *then,
		     unsigned path, double seconds)
{
	struct weir_histogram h = now->lat[path];
	struct top_row *row = latency_count(&h) ? add_row(rows) : NULL;

	if (!row)
		return;
	row->cell[0] = text_cell(latency_path(path));
	row->cell[4] = number(latency_count(&h));
	row->cell[5] = quantile(&h, 0.5);
	row->cell[6] = quantile(&h, 0.99);
	if (then)
		latency_since(&h, &then->lat[path]);
	else
		memset(&h, 0, sizeof(h));
	row->cell[1] = number(then ? latency_count(&h) / seconds : NAN);
	row->cell[2] = quantile(&h, 0.5);
	row->cell[3] = quantile(&h, 0.99);
}

/* ---- backends --------------------------------------------------------------------------------- */

static void add_backend(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
			unsigned i)
{
	const struct top_backend *b = &now->backends[i], *then = top_backend_before(now, before, i);
	struct weir_histogram h = b->request;
	double seconds = top_seconds(now, before);
	struct top_row *row = add_row(rows);

	if (!row)
		return;
	if (then)
		latency_since(&h, &then->request);
	else
		memset(&h, 0, sizeof(h));
	row->bad = !strcmp(b->health, "down");
	row->cell[0] = text_cell(b->pool);
	row->cell[1] = text_cell(b->name);
	row->cell[2] = text_cell(b->state);
	row->cell[3] = text_cell(b->health);
	row->cell[4] = number(b->active);
	row->cell[5] = number(b->load < 0 ? NAN : b->load);
	row->cell[6] = some(b->latency_ns);
	row->cell[7] = quantile(&h, 0.5);
	row->cell[8] = quantile(&h, 0.99);
	row->cell[9] = number(then ? top_rate(b->sent.packets, then->sent.packets, seconds) : NAN);
	row->cell[10] = number(then ? top_rate(b->sent.bytes, then->sent.bytes, seconds) : NAN);
}

/* ---- keys, flows ------------------------------------------------------------------------------ */

static void add_key(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
		    unsigned i)
{
	const struct top_key *key = &now->keys[i], *then = top_key_before(now, before, i);
	double seconds = then ? (now->keys_ns - before->keys_ns) / 1e9 : 0;
	struct top_row *row = add_row(rows);

	if (!row)
		return;
	row->cell[0] = number(key->counted ? key->hits : NAN);
	row->cell[1] = number(key->counted && then ? top_rate(key->hits, then->hits, seconds) : NAN);
	row->cell[2] = number(key->bytes);
	row->cell[3] = number(key->left_ns);
	row->cell[4] = text_cell(key->state);
	row->cell[5] = text_cell(now->svcs[key->svc].name);
	row->cell[6] = (struct top_cell){.n = key->key_len, .text = key->key};
}

static void add_flow(struct top_rows *rows, const struct top_sample *now, unsigned i)
{
	const struct top_flow *f = &now->flows[i];
	const char *service = now->svcs[f->svc].name; /* "": it is gone */
	struct top_row *row = add_row(rows);

	if (!row)
		return;
	row->cell[0] = text_cell(f->client);
	row->cell[1] = text_cell(*service ? service : "-");
	row->cell[2] = text_cell(*f->backend ? f->backend : "-");
	row->cell[3] = text_cell(f->state);
	row->cell[TOP_FLOW_LATENCY] = some(f->latency_ns);
	row->cell[TOP_FLOW_LATEST] = some(f->latest_ns);
	row->cell[TOP_FLOW_RTT_SERVER] = some(f->rtt_server_ns);
	row->cell[TOP_FLOW_RTT_CLIENT] = some(f->rtt_client_ns);
	row->cell[TOP_FLOW_PACKETS] = number(f->packets);
	row->cell[TOP_FLOW_BYTES] = number(f->bytes);
	row->cell[TOP_FLOW_AGE] = number(f->age_ns);
}

/* ---- reasons ---------------------------------------------------------------------------------- */

struct reason_sums {
	__u64 packets[WEIR_R_COUNT];
	double rate[WEIR_R_COUNT], bytes[WEIR_R_COUNT], all; /* a second */
};

/* Rates are added up, not counters: a service may have come or gone. */
static void sum_reasons(struct reason_sums *sums, const struct top_sample *now, const struct top_sample *before,
			int svc)
{
	double seconds = top_seconds(now, before);

	memset(sums, 0, sizeof(*sums));
	for (int s = 0; s <= WEIR_SVC_NONE; s++) {
		const struct top_service *then = top_service_before(now, before, s);

		if (!now->svcs[s].used || (svc >= 0 && s != svc))
			continue;
		for (int r = 0; r < WEIR_R_COUNT; r++) {
			const struct weir_count *c = &now->svcs[s].counts[r], *was = then ? &then->counts[r] : c;
			double rate = top_rate(c->packets, was->packets, seconds);

			sums->packets[r] += c->packets;
			sums->rate[r] += rate;
			sums->bytes[r] += top_rate(c->bytes, was->bytes, seconds);
			sums->all += rate;
		}
	}
}

static void add_reasons(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
			int svc)
{
	struct reason_sums sums;

	sum_reasons(&sums, now, before, svc);
	for (int r = 0; r < WEIR_R_COUNT; r++) {
		struct top_row *row = sums.packets[r] ? add_row(rows) : NULL;

		if (!row)
			continue;
		row->cell[0] = text_cell(reasons[r].name);
		row->cell[1] = number(sums.rate[r]);
		row->cell[2] = number(sums.bytes[r]);
		row->cell[3] = number(sums.all > 0 ? 100 * sums.rate[r] / sums.all : NAN);
		row->cell[4] = number(sums.packets[r]);
		row->cell[5] = text_cell(class_names[reasons[r].class]);
		row->cell[6] = (struct top_cell){.n = strlen(reasons[r].help), .text = reasons[r].help};
	}
}

/* ---- all -------------------------------------------------------------------------------------- */

static void add_services(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
			 int svc)
{
	for (int s = 0; s <= WEIR_SVC_NONE; s++) {
		if (now->svcs[s].used && (svc < 0 || s == svc))
			add_service(rows, now, before, s);
	}
}

static void add_paths(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
		      int svc)
{
	for (unsigned path = 0; svc >= 0 && path < WEIR_LAT_PATHS; path++)
		add_path(rows, &now->svcs[svc], top_service_before(now, before, svc), path,
			 top_seconds(now, before));
}

static void add_backends(struct top_rows *rows, const struct top_sample *now, const struct top_sample *before,
			 int svc)
{
	for (unsigned i = 0; i < now->nbackends; i++) {
		if (svc < 0 || now->backends[i].svc == (unsigned)svc)
			add_backend(rows, now, before, i);
	}
}

void top_rows(struct top_rows *rows, unsigned table, const struct top_sample *now,
	      const struct top_sample *before, int svc)
{
	rows->n = 0;
	rows->err = 0;
	if (table == TOP_OVERVIEW)
		add_services(rows, now, before, svc);
	else if (table == TOP_PATHS)
		add_paths(rows, now, before, svc);
	else if (table == TOP_BACKENDS)
		add_backends(rows, now, before, svc);
	else if (table == TOP_REASONS)
		add_reasons(rows, now, before, svc);
	for (unsigned i = 0; table == TOP_KEYS && i < now->nkeys; i++) {
		if (svc < 0 || now->keys[i].svc == (unsigned)svc)
			add_key(rows, now, before, i);
	}
	for (unsigned i = 0; table == TOP_FLOWS && i < now->nflows; i++) {
		if (svc < 0 || now->flows[i].svc == (unsigned)svc)
			add_flow(rows, now, i);
	}
}

void top_rows_free(struct top_rows *rows)
{
	free(rows->list);
	*rows = (struct top_rows){};
}

/* ---- order ------------------------------------------------------------------------------------ */

struct order {
	unsigned column;
	enum top_kind kind;
	bool reverse;
};

/* Names from a to z, numbers from the greatest down. */
static int compare_cells(const struct top_cell *a, const struct top_cell *b, enum top_kind kind)
{
	if (kind == TOP_TEXT)
		return strcmp(a->text, b->text);
	if (kind == TOP_REST) {
		size_t shorter = a->n < b->n ? a->n : b->n;
		int order = memcmp(a->text, b->text, shorter);

		return order ? order : (a->n > b->n) - (a->n < b->n);
	}
	return (a->n < b->n) - (a->n > b->n);
}

/* What is not known comes last in either order, and equal rows stay as they are. */
static int compare(const void *a, const void *b, void *arg)
{
	const struct top_row *x = a, *y = b;
	const struct order *o = arg;
	const struct top_cell *p = &x->cell[o->column], *q = &y->cell[o->column];
	bool known = o->kind == TOP_TEXT || o->kind == TOP_REST;
	int order;

	if (!known && isnan(p->n) != isnan(q->n))
		return isnan(p->n) ? 1 : -1;
	order = !known && isnan(p->n) ? 0 : compare_cells(p, q, o->kind);
	if (order)
		return o->reverse ? -order : order;
	return x->place < y->place ? -1 : x->place > y->place;
}

void top_sort(struct top_rows *rows, unsigned table, unsigned column, bool reverse)
{
	struct order o = {column, top_tables[table].columns[column].kind, reverse};

	if (rows->n)
		qsort_r(rows->list, rows->n, sizeof(*rows->list), compare, &o);
}
