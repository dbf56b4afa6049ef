// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Policies as reports and metrics have them. */
#include <string.h>

#include "policy_parts.h"

static json_t *json_run(const struct run *r)
{
	__u32 came = r->by[FILL_ADDED] + r->by[FILL_REPLACED] + r->by[FILL_UNCHANGED];
	json_t *results = json_object();

	for (int i = 0; results && i < FILL_RESULT_COUNT; i++) {
		if (r->by[i])
			json_object_set_new(results, fill_result_name(i), json_integer(r->by[i]));
	}
	return json_pack("{s:I, s:f, s:s, s:I, s:I, s:I, s:I, s:o, s:s?}", "began", (json_int_t)r->began, "seconds",
			 r->took_ns / 1e9, "from", r->from, "keys", (json_int_t)r->keys, "warmed", (json_int_t)came,
			 "left_out", (json_int_t)r->left_out, "fetched_bytes", (json_int_t)r->bytes, "results", results,
			 "error", *r->error ? r->error : NULL);
}

static void add_usual(json_t *doc, const struct surge *s)
{
	double usual = surge_usual(s);

	json_object_set_new(doc, "rate", json_real(s->rate));
	json_object_set_new(doc, "usual_rate", usual < 0 ? json_null() : json_real(usual));
}

static json_t *json_policy(const struct policy *p)
{
	json_t *runs = json_array(), *doc;
	__u64 now = monotonic_ns();

	for (__u32 i = 0; runs && i < p->nruns; i++)
		json_array_append_new(runs, json_run(&p->runs[i]));
	doc = json_pack("{s:s, s:s, s:s, s:b, s:I, s:o}", "name", p->c.name, "service", p->service, "on",
			policy_on_names[p->c.on], "active", p->active, "runs_total",
			(json_int_t)(p->runs_ok + p->runs_failed), "runs", runs);
	if (doc && p->due_ns)
		json_object_set_new(doc, "next_seconds", json_real(p->due_ns > now ? (p->due_ns - now) / 1e9 : 0));
	if (doc && p->c.on == POLICY_SURGE)
		add_usual(doc, &p->surge);
	return doc;
}

json_t *policies_json(const struct policies *all)
{
	json_t *doc = json_array();

	for (unsigned i = 0; doc && i < all->n; i++)
		json_array_append_new(doc, json_policy(all->by[i]));
	return doc;
}

bool policies_counts(const struct policies *all, unsigned i, struct policy_counts *c)
{
	const struct policy *p;

	if (i >= all->n)
		return false;
	p = all->by[i];
	*c = (struct policy_counts){
		.name = p->c.name,
		.runs_ok = p->runs_ok,
		.runs_failed = p->runs_failed,
		.left_out = p->left_out,
		.last = p->nruns ? p->runs[0].began : 0,
		.took_ns = p->nruns ? p->runs[0].took_ns : 0,
	};
	memcpy(c->by, p->by, sizeof(c->by));
	return true;
}
