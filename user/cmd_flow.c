/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir flow show: the connections in the flow table, or how many there are. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "backends.h"
#include "cmd.h"
#include "filter.h"
#include "options.h"
#include "shows.h"
#include "table.h"

#define LIMIT_DFLT 1000

struct flows {
	struct session s;
	const struct pools_mem *m;
	struct filter filter;
	__u64 limit;    /* 0: none */
	__u64 matched, shown;
	__u64 (*counts)
		[WEIR_FLOW_STATES]; /* by backend, WEIR_BACKENDS_MAX: of places that are free; NULL: not asked for */
};

/* ---- one flow --------------------------------------------------------------------------------- */

static const char *flow_backend(const struct flows *f, const struct flow_seen *flow)
{
	return backend_known(f->m, flow->backend) ? backend_name(f->m, flow->backend) : "-";
}

static const char *flow_service(const struct flows *f, const struct flow_seen *flow)
{
	const char *name = flow->svc < WEIR_SERVICES_MAX ? f->s.ctl->services[flow->svc].name : "";

	return *name ? name : "-";
}

static json_t *name_or_null(const char *name)
{
	return *name ? json_string(name) : json_null();
}

static void document_flow(const struct flows *f, const struct flow_seen *flow)
{
	bool nobody = !backend_known(f->m, flow->backend);
	char client[64];
	const char *service = flow_service(f, flow);
	json_t *doc = json_pack("{s:s, s:i, s:s, s:i, s:s, s:f}", "protocol", flow->tcp ? "tcp" : "udp",
				"family", (int)flow->family, "client",
				flow_client_text(flow, client, sizeof(client)), "port", ntohs(flow->port),
				"state", flow_state_name(flow->state), "idle_seconds", flow->idle_ns / 1e9);

	json_object_set_new(doc, "service", name_or_null(*service == '-' ? "" : service));
	json_object_set_new(doc, "pool",
			    nobody ? json_null()
				   : json_string(pool_name(f->m, pools_of(f->m, flow->backend))));
	json_object_set_new(doc, "backend",
			    nobody ? json_null() : json_string(f->m->backend_ctl[flow->backend].name));
	out_document("flow.show", json_pack("{s:o}", "flow", doc));
}

static void print_flow(struct flows *f, const struct flow_seen *flow)
{
	char client[64];

	if (!f->shown && !out_json)
		printf("%-5s %-15s %5s  %-15s %-20s %-9s %s\n", "proto", "client", "port", "service",
		       "backend", "state", "idle");
	if (out_json)
		document_flow(f, flow);
	else
		printf("%-5s %-15s %5u  %-15.31s %-20s %-9s %s\n", flow->tcp ? "tcp" : "udp",
		       flow_client_text(flow, client, sizeof(client)), ntohs(flow->port),
		       flow_service(f, flow), flow_backend(f, flow), flow_state_name(flow->state),
		       human_duration(flow->idle_ns));
	f->shown++;
}

static int on_flow(const struct flow_seen *flow, void *arg)
{
	struct flows *f = arg;

	if (!filter_match(&f->filter, flow))
		return 0;
	f->matched++;
	if (f->counts)
		f->counts[backend_known(f->m, flow->backend) ? flow->backend : WEIR_BACKENDS_MAX]
			 [flow->state % WEIR_FLOW_STATES]++;
	else if (!f->limit || f->shown < f->limit)
		print_flow(f, flow);
	return ferror(stdout) ? -EPIPE : 0;
}

/* ---- --count ---------------------------------------------------------------------------------- */

/* As columns: two states of the table are one word. */
static const struct {
	const char *name, *field;
	unsigned states[2];
} columns[] = {
	{"open", "open", {WEIR_FLOW_TCP}},
	{"udp", "udp", {WEIR_FLOW_UDP}},
	{"closing", "closing", {WEIR_FLOW_FIN_C, WEIR_FLOW_FIN_B}},
	{"half-open", "half_open", {WEIR_FLOW_SYN}},
	{"closed", "closed", {WEIR_FLOW_CLOSED}},
	{"found", "found", {WEIR_FLOW_FOUND}},
	{"resting", "resting", {WEIR_FLOW_RESTING}},
	{"reset", "reset", {WEIR_FLOW_RESET}},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* State 0 is never counted. */
static __u64 column_count(const __u64 *counts, unsigned column)
{
	return counts[columns[column].states[0]] +
	       (columns[column].states[1] ? counts[columns[column].states[1]] : 0);
}

static __u64 row_total(const __u64 *counts)
{
	__u64 n = 0;

	for (unsigned c = 0; c < COLUMNS; c++)
		n += column_count(counts, c);
	return n;
}

static void print_counts(const struct flows *f)
{
	struct table t = {.columns = "lrrrrrrrr"};

	table_cell(&t, "backend");
	for (unsigned c = 0; c < COLUMNS; c++)
		table_cell(&t, "%s", columns[c].name);
	table_cell(&t, "flows");
	for (unsigned b = 0; b <= WEIR_BACKENDS_MAX; b++) {
		if (!row_total(f->counts[b]))
			continue;
		table_cell(&t, "%s", backend_known(f->m, b) ? backend_name(f->m, b) : "-");
		for (unsigned c = 0; c < COLUMNS; c++)
			table_cell(&t, "%s", human_count(column_count(f->counts[b], c)));
		table_cell(&t, "%s", human_count(row_total(f->counts[b])));
	}
	table_print(&t);
}

static json_t *json_counts(const struct flows *f, unsigned b)
{
	json_t *doc = json_object();

	json_object_set_new(doc, "pool",
			    backend_known(f->m, b) ? json_string(pool_name(f->m, pools_of(f->m, b))) : json_null());
	json_object_set_new(doc, "backend",
			    backend_known(f->m, b) ? json_string(f->m->backend_ctl[b].name) : json_null());
	for (unsigned c = 0; c < COLUMNS; c++)
		json_object_set_new(doc, columns[c].field, json_integer(column_count(f->counts[b], c)));
	json_object_set_new(doc, "flows", json_integer(row_total(f->counts[b])));
	return doc;
}

static void document_counts(const struct flows *f)
{
	json_t *list = json_array();

	for (unsigned b = 0; b <= WEIR_BACKENDS_MAX; b++) {
		if (row_total(f->counts[b]))
			json_array_append_new(list, json_counts(f, b));
	}
	out_document("flow.show", json_pack("{s:I, s:o}", "matched", (json_int_t)f->matched, "counts", list));
}

/* ---- the command ------------------------------------------------------------------------------ */

static void finish(const struct flows *f)
{
	__u64 left = f->matched - f->shown;

	if (f->counts && out_json)
		document_counts(f);
	else if (f->counts && f->matched)
		print_counts(f);
	else if (out_json)
		out_document("flow.show",
			     json_pack("{s:n, s:I, s:I, s:I}", "flow", "matched", (json_int_t)f->matched,
				       "shown", (json_int_t)f->shown, "left_out", (json_int_t)left));
	else if (f->shown && left)
		note("%s more: --limit 0 shows all", human_count(left));
	if (!f->matched && !out_json)
		note("no flow%s", f->s.ctl->flow_buckets ? " matches" : ": no service has a pool");
}

static int show(struct flows *f)
{
	static bool backends[WEIR_BACKENDS_MAX];
	int status, err;

	memset(backends, 0, sizeof(backends));
	status = filter_find(&f->filter, &f->s, backends);
	if (status)
		return status;
	f->m = dp_pools(f->s.dp);
	out_lines = !f->counts;
	err = flows_each(f->m, on_flow, f);
	if (err && err != -EPIPE)
		return fail(exit_of(err), "flow show: the flow table cannot be read: %s", strerror(-err));
	finish(f);
	return EXIT_OK;
}

int show_flows(const struct session *s, const struct filter *filter, __u64 limit, bool count)
{
	static __u64 counts[WEIR_BACKENDS_MAX + 1][WEIR_FLOW_STATES];
	struct flows f = {.s = *s, .filter = *filter, .limit = limit, .counts = count ? counts : NULL};

	memset(counts, 0, sizeof(counts));
	return show(&f);
}

int cmd_flow_show(const struct cmd *cmd, char **values, int argc, char **argv)
{
	__u64 limit = LIMIT_DFLT;
	struct filter filter;
	struct session s;
	int status = option_number("flow show", "--limit", opt_value(cmd, values, "limit"), 0, ~0ULL, &limit);

	if (!status)
		status = filter_read(&filter, "flow show", argc, argv);
	if (!status)
		status = session_open(&s, "flow show", DP_READ);
	if (status)
		return status;
	return session_close(&s, show_flows(&s, &filter, limit, opt_value(cmd, values, "count")));
}
