/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir latency show: quantiles of services' paths and of backends, or the histogram of one path. */
#include <string.h>

#include "backends.h"
#include "cmd.h"
#include "latency_out.h"
#include "shows.h"
#include "table.h"

#define ROWS 20 /* of a drawn histogram, about */
#define BAR  48

struct latency {
	struct session s;
	const struct maps *m;
	const char *service, *path; /* NULL: all */
	int svc, at;                /* numbers of these; -1: all */
	bool backends, failed;
	bool shown[WEIR_LAT_PATHS];
	struct table table;
	json_t *list;
};

static const char *const backend_paths[WEIR_BACKEND_PATHS] = {
	[WEIR_BACKEND_REQUEST] = "request",
	[WEIR_BACKEND_CONNECT] = "connect",
};

/* ---- rows ------------------------------------------------------------------------------------- */

static bool is_empty(const struct weir_histogram *h)
{
	return !latency_count(h) && !h->lost && !h->failed;
}

static void head(struct latency *l, const char *who)
{
	static const char *const names[] = {"path",  "count", "p50",  "p95",   "p99",
					    "p99.9", "mean",  "lost", "failed"};

	l->table.columns = "llrrrrrrrr";
	table_cell(&l->table, "%s", who);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		table_cell(&l->table, "%s", names[i]);
}

static void add_row(struct latency *l, const char *who, const char *path, const struct weir_histogram *h)
{
	struct table *t = &l->table;

	table_cell(t, "%s", who);
	table_cell(t, "%s", path);
	table_cell(t, "%s", human_count(latency_count(h)));
	table_cell(t, "%s", human_latency(latency_quantile(h, 0.5)));
	table_cell(t, "%s", human_latency(latency_quantile(h, 0.95)));
	table_cell(t, "%s", human_latency(latency_quantile(h, 0.99)));
	table_cell(t, "%s", human_latency(latency_quantile(h, 0.999)));
	table_cell(t, "%s", human_latency(latency_mean(h)));
	table_cell(t, "%s", human_count(h->lost));
	table_cell(t, "%s", human_count(h->failed));
}

/* Adds the histogram's fields to who it is of. */
static void add_document(struct latency *l, json_t *doc, const char *path, const struct weir_histogram *h)
{
	json_t *fields = json_histogram(h);

	json_object_set_new(doc, "path", json_string(path));
	json_object_update(doc, fields);
	json_decref(fields);
	if (l->path)
		json_object_set_new(doc, "buckets", json_buckets(h));
	json_array_append_new(l->list, doc);
}

static void unreadable(struct latency *l, int err)
{
	if (!l->failed)
		fail(exit_of(err), "%s: the histograms cannot be read: %s", l->s.what, strerror(-err));
	l->failed = true;
}

/* ---- services --------------------------------------------------------------------------------- */

static void look_at_path(struct latency *l, unsigned svc, unsigned path)
{
	const char *name = l->s.ctl->services[svc].name;
	struct weir_histogram h;
	int err = latency_of_service(l->m, svc, path, &h);

	if (err)
		return unreadable(l, err);
	if (is_empty(&h) && !l->path)
		return;
	l->shown[path] = true;
	if (out_json)
		add_document(l, json_pack("{s:s}", "service", name), latency_path(path), &h);
	else
		add_row(l, name, latency_path(path), &h);
}

static void look_at_services(struct latency *l)
{
	if (!out_json)
		head(l, "service");
	for (int svc = 0; svc < WEIR_SERVICES_MAX; svc++) {
		if (!l->s.ctl->services[svc].name[0] || (l->svc >= 0 && svc != l->svc))
			continue;
		for (int path = 0; path < WEIR_LAT_PATHS; path++) {
			if (l->at < 0 || path == l->at)
				look_at_path(l, svc, path);
		}
	}
}

static void print_paths(const struct latency *l)
{
	for (int path = 0; path < WEIR_LAT_PATHS; path++) {
		if (l->shown[path])
			printf("%s: %s\n", latency_path(path), latency_path_help(path));
	}
}

/* ---- backends --------------------------------------------------------------------------------- */

static void look_at_backend(struct latency *l, unsigned backend)
{
	const struct pools_mem *m = &l->m->pools;

	for (unsigned path = 0; path < WEIR_BACKEND_PATHS; path++) {
		struct weir_histogram h;
		int err = latency_of_backend(l->m, backend, path, &h);

		if (err)
			return unreadable(l, err);
		if (is_empty(&h))
			continue;
		if (out_json)
			add_document(l,
				     json_pack("{s:s, s:s}", "pool", pool_name(m, pools_of(m, backend)),
					       "backend", m->backend_ctl[backend].name),
				     backend_paths[path], &h);
		else
			add_row(l, backend_name(m, backend), backend_paths[path], &h);
	}
}

static void look_at_backends(struct latency *l)
{
	const struct pools_mem *m = &l->m->pools;

	if (!out_json)
		head(l, "backend");
	if (!m->latency)
		return;
	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		if (l->svc >= 0 && m->pools[p].svc != (unsigned)l->svc)
			continue;
		for (int b = next_backend(m, p, -1); b >= 0; b = next_backend(m, p, b))
			look_at_backend(l, b);
	}
}

/* ---- one histogram, drawn --------------------------------------------------------------------- */

/* The row that a bucket belongs to, by its first bucket: the two open ones are rows of their own. */
static unsigned row_of(unsigned bucket, unsigned per_row)
{
	if (!bucket || bucket == WEIR_LAT_BUCKETS - 1)
		return bucket;
	return 1 + (bucket - 1) / per_row * per_row;
}

static unsigned row_end(unsigned row, unsigned per_row)
{
	if (!row || row == WEIR_LAT_BUCKETS - 1)
		return row + 1;
	return row + per_row < WEIR_LAT_BUCKETS - 1 ? row + per_row : WEIR_LAT_BUCKETS - 1;
}

static __u64 row_sum(const struct weir_histogram *h, unsigned row, unsigned end)
{
	__u64 n = 0;

	while (row < end)
		n += h->n[row++];
	return n;
}

static void draw_row(unsigned row, unsigned end, __u64 n, __u64 most, __u64 all)
{
	static const char bar[] = "################################################";
	char range[40];

	if (row == WEIR_LAT_BUCKETS - 1)
		snprintf(range, sizeof(range), "%s or more", human_latency(weir_lat_bound(row)));
	else if (!row)
		snprintf(range, sizeof(range), "below %s", human_latency(weir_lat_bound(1)));
	else
		snprintf(range, sizeof(range), "%s to %s", human_latency(weir_lat_bound(row)),
			 human_latency(weir_lat_bound(end)));
	printf("%18s %12s %5.1f%%", range, human_count(n), 100.0 * n / all);
	printf(n ? "  %.*s\n" : "\n", (int)((double)n * (BAR - 1) / most) + 1, bar);
}

static void draw(const struct weir_histogram *h)
{
	unsigned first = 0, last = WEIR_LAT_BUCKETS - 1, per_row = 1;
	__u64 most = 0, all = latency_count(h);

	if (!all)
		return;
	while (!h->n[first])
		first++;
	while (!h->n[last])
		last--;
	while ((last - first) / per_row >= ROWS)
		per_row *= 2;
	for (unsigned row = row_of(first, per_row), end; row <= last; row = end) {
		__u64 n;

		end = row_end(row, per_row);
		n = row_sum(h, row, end);
		most = n > most ? n : most;
	}
	for (unsigned row = row_of(first, per_row), end; row <= last; row = end) {
		end = row_end(row, per_row);
		draw_row(row, end, row_sum(h, row, end), most, all);
	}
	printf("\n");
}

static void draw_path(struct latency *l)
{
	struct weir_histogram h;
	int err = latency_of_service(l->m, l->svc, l->at, &h);

	if (err)
		return unreadable(l, err);
	draw(&h);
}

/* ---- the command ------------------------------------------------------------------------------ */

static void print_document(struct latency *l)
{
	out_document("latency.show", json_pack("{s:o, s:O}", "sampling", json_sampling(&l->s),
					       l->backends ? "backends" : "services", l->list));
}

static int show(struct latency *l)
{
	int status = latency_must_be_on(&l->s);

	if (status)
		return status;
	l->svc = l->service ? session_service(&l->s, l->service) : -1;
	if (l->service && l->svc < 0)
		return EXIT_FAILED;
	l->m = dp_maps(l->s.dp);
	if (l->backends)
		look_at_backends(l);
	else
		look_at_services(l);
	if (l->failed)
		return EXIT_FAILED;
	if (out_json) {
		print_document(l);
		return EXIT_OK;
	}
	if (l->svc >= 0 && l->at >= 0)
		draw_path(l);
	if (l->table.n > strlen(l->table.columns))
		table_print(&l->table);
	else
		note("nothing was measured yet%s",
		     l->backends && !l->m->pools.latency ? ": no service has a pool" : "");
	print_paths(l);
	print_sampling(&l->s);
	return l->failed ? EXIT_FAILED : EXIT_OK;
}

static int bad_path(const struct latency *l)
{
	char names[256];
	size_t at = 0;

	for (int i = 0; i < WEIR_LAT_PATHS; i++)
		at += snprintf(names + at, sizeof(names) - at, "%s%s", i ? ", " : "", latency_path(i));
	return fail(EXIT_USAGE, "latency show: no path '%s'; there is: %s", l->path, names);
}

static int check_arguments(struct latency *l)
{
	l->at = l->path ? latency_path_named(l->path) : -1;
	if (l->path && l->at < 0)
		return bad_path(l);
	if (l->path && l->backends)
		return fail(EXIT_USAGE,
			    "latency show: --path is of services, --backends shows both of theirs");
	return EXIT_OK;
}

int show_latency(const struct session *s, const char *service, const char *path, bool backends)
{
	struct latency l = {
		.s = *s, .service = service, .path = path, .backends = backends, .list = json_array()};
	int status = check_arguments(&l) ?: show(&l);

	json_decref(l.list);
	return status;
}

int cmd_latency_show(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct latency l = {.path = opt_value(cmd, values, "path"),
			    .backends = opt_value(cmd, values, "backends")};
	struct session s;
	int status = check_arguments(&l) ?: session_open(&s, "latency show", DP_READ);

	return status ?: session_close(&s, show_latency(&s, argc ? argv[0] : NULL, l.path, l.backends));
}
