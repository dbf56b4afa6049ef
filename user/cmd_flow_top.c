/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir flow top: the flows that are measured, the slowest or the busiest first. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "cmd.h"
#include "filter.h"
#include "latency_out.h"
#include "options.h"
#include "table.h"

#define LIMIT_DFLT 20

enum order { BY_LATENCY, BY_BYTES, BY_PACKETS };
static const char *const orders[] = {"latency", "bytes", "packets", NULL};

struct top {
	struct session s;
	const struct pools_mem *pools;
	struct filter filter;
	bool filtered;
	__u64 limit; /* 0: none */
	__u64 matched;
	enum order by;
	struct latency_flow *flows; /* of those matched the first, and some more, not in order */
	size_t n, room;
};

/* ---- which flows ------------------------------------------------------------------------------ */

static __u64 rank(const struct latency_flow *f, enum order by)
{
	return by == BY_LATENCY ? f->rec.request.smooth : by == BY_BYTES ? f->rec.bytes : f->rec.packets;
}

/* The highest rank first; of equal ones the one that was active last. */
static int compare(const void *a, const void *b, void *arg)
{
	const struct latency_flow *f = a, *g = b;
	__u64 x = rank(f, *(enum order *)arg), y = rank(g, *(enum order *)arg);

	if (x != y)
		return x > y ? -1 : 1;
	return f->flow.idle_ns < g->flow.idle_ns ? -1 : f->flow.idle_ns > g->flow.idle_ns;
}

static void sort(struct top *t)
{
	qsort_r(t->flows, t->n, sizeof(t->flows[0]), compare, &t->by);
	if (t->limit && t->n > t->limit)
		t->n = t->limit;
}

/* Of many flows only so many are kept as are shown, and as many again, so that they are sorted rarely. */
static int make_room(struct top *t)
{
	struct latency_flow *flows;
	size_t room = t->room ? 2 * t->room : 256;

	if (t->limit && t->n >= 2 * t->limit) {
		sort(t);
		return 0;
	}
	flows = reallocarray(t->flows, room, sizeof(*flows));
	if (!flows)
		return -ENOMEM;
	t->flows = flows;
	t->room = room;
	return 0;
}

static int on_flow(const struct latency_flow *f, void *arg)
{
	struct top *t = arg;
	int err = 0;

	if (!filter_match(&t->filter, &f->flow))
		return 0;
	t->matched++;
	if (t->n == t->room || (t->limit && t->n >= 2 * t->limit))
		err = make_room(t);
	if (!err)
		t->flows[t->n++] = *f;
	return err;
}

/* ---- words ------------------------------------------------------------------------------------ */

static const char *service_of(const struct top *t, const struct latency_flow *f)
{
	return f->flow.svc < WEIR_SERVICES_MAX ? t->s.ctl->services[f->flow.svc].name : "";
}

static bool is_local(const struct top *t, const struct latency_flow *f)
{
	return !backend_known(t->pools, f->rec.backend);
}

static const char *us(__u32 n)
{
	return human_latency(n * 1000ULL);
}

static void add_row(const struct top *t, struct table *table, const struct latency_flow *f)
{
	const struct weir_flow_rec *r = &f->rec;
	const char *service = service_of(t, f);
	char client[64];

	table_cell(table, "%s", flow_client_port(&f->flow, client, sizeof(client)));
	table_cell(table, "%s", *service ? service : "-");
	table_cell(table, "%s", is_local(t, f) ? "-" : backend_name(t->pools, r->backend));
	table_cell(table, "%s", flow_state_name(f->flow.state));
	table_cell(table, "%s", human_count(r->packets));
	table_cell(table, "%s", human_bytes(r->bytes));
	table_cell(table, "%s", us(r->request.smooth));
	table_cell(table, "%s", us(r->request.latest));
	table_cell(table, "%s", us(r->request.min));
	table_cell(table, "%s", us(r->rtt_smooth[0]));
	table_cell(table, "%s", us(r->rtt_smooth[1]));
	table_cell(table, "%s%s", us(r->connect_us), r->connect_us && r->flags & WEIR_REC_ONEWAY ? "*" : "");
	table_cell(table, "%s", human_duration(f->age_ns));
}

static void print_flows(const struct top *t)
{
	static const char *const names[] = {"client", "service", "backend", "state", "packets",
					    "bytes",  "latency", "latest",  "least", "rtt-srv",
					    "rtt-cl", "connect", "age"};
	struct table table = {.columns = "llllrrrrrrrrr"};
	bool oneway = false;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		table_cell(&table, "%s", names[i]);
	for (size_t i = 0; i < t->n; i++) {
		add_row(t, &table, &t->flows[i]);
		oneway |= t->flows[i].rec.flags & WEIR_REC_ONEWAY && t->flows[i].rec.connect_us;
	}
	table_print(&table);
	if (oneway)
		printf("* to the backend and to the client: only the client's packets are seen\n");
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static json_t *seconds(__u32 n)
{
	return n ? json_real(n / 1e6) : json_null();
}

static json_t *json_rtt(const struct weir_flow_rec *r, int side)
{
	return json_pack("{s:o, s:o}", "min_seconds", seconds(r->rtt_min[side]), "smoothed_seconds",
			 seconds(r->rtt_smooth[side]));
}

static json_t *json_request(const struct weir_flow_rec *r)
{
	return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I}", "smoothed_seconds", seconds(r->request.smooth),
			 "latest_seconds", seconds(r->request.latest), "min_seconds", seconds(r->request.min),
			 "samples", (json_int_t)r->request.n, "lost", (json_int_t)r->lost, "failed",
			 (json_int_t)r->failed);
}

static json_t *json_flow(const struct top *t, const struct latency_flow *f)
{
	const struct weir_flow_rec *r = &f->rec;
	const char *service = service_of(t, f);
	bool local = is_local(t, f);
	char client[64];
	json_t *doc = json_pack("{s:s, s:i, s:s, s:i, s:s, s:s?, s:s?, s:s?, s:I, s:I}", "protocol",
				f->flow.tcp ? "tcp" : "udp", "family", (int)f->flow.family, "client",
				flow_client_text(&f->flow, client, sizeof(client)), "port", ntohs(f->flow.port),
				"state", flow_state_name(f->flow.state), "service", *service ? service : NULL,
				"pool", local ? NULL : pool_name(t->pools, pools_of(t->pools, r->backend)),
				"backend", local ? NULL : t->pools->backend_ctl[r->backend].name, "packets",
				(json_int_t)r->packets, "bytes", (json_int_t)r->bytes);

	json_object_set_new(doc, "one_way", json_boolean(r->flags & WEIR_REC_ONEWAY));
	json_object_set_new(doc, "request", json_request(r));
	json_object_set_new(doc, "rtt_server", json_rtt(r, 0));
	json_object_set_new(doc, "rtt_client", json_rtt(r, 1));
	json_object_set_new(doc, "connect_seconds", seconds(r->connect_us));
	json_object_set_new(doc, "age_seconds", json_real(f->age_ns / 1e9));
	json_object_set_new(doc, "idle_seconds", json_real(f->flow.idle_ns / 1e9));
	return doc;
}

static void print_document(const struct top *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n; i++)
		json_array_append_new(list, json_flow(t, &t->flows[i]));
	out_document("flow.top",
		     json_pack("{s:s, s:I, s:I, s:o, s:o}", "by", orders[t->by], "matched",
			       (json_int_t)t->matched, "left_out", (json_int_t)(t->matched - t->n),
			       "sampling", json_sampling(&t->s), "flows", list));
}

/* ---- the command ------------------------------------------------------------------------------ */

static int show(struct top *t)
{
	static bool backends[WEIR_BACKENDS_MAX];
	int status = latency_must_be_on(&t->s) ?: filter_find(&t->filter, &t->s, backends), err;

	if (status)
		return status;
	t->pools = dp_pools(t->s.dp);
	err = latency_flows(dp_maps(t->s.dp), on_flow, t);
	if (err)
		return fail(exit_of(err), "flow top: the flows cannot be read: %s", strerror(-err));
	sort(t);
	if (out_json) {
		print_document(t);
		return EXIT_OK;
	}
	if (t->n)
		print_flows(t);
	if (t->matched > t->n)
		note("%s more: --limit 0 shows all", human_count(t->matched - t->n));
	if (!t->matched)
		note(t->filtered ? "no flow that is measured matches" : "no flow was measured yet");
	print_sampling(&t->s);
	return EXIT_OK;
}

int cmd_flow_top(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct top t = {.limit = LIMIT_DFLT, .filtered = argc > 0};
	int by = BY_LATENCY;
	const char *limit = opt_value(cmd, values, "limit");
	int status = option_choice("flow top", "--by", opt_value(cmd, values, "by"), orders, &by) ?:
		     option_number("flow top", "--limit", limit, 0, WEIR_RECS_MAX, &t.limit) ?:
		     filter_read(&t.filter, "flow top", argc, argv);

	t.by = by;
	if (!status)
		status = session_open(&t.s, "flow top", DP_READ) ?: session_close(&t.s, show(&t));
	free(t.flows);
	return status;
}
