/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir cache policy show, export, import: what warms the hot set by itself, and the hot set as a list. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "agent_client.h"
#include "cmd.h"
#include "export.h"
#include "options.h"
#include "session.h"

/* ---- policies --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name)) ?: "";
}

static double number_of(const json_t *o, const char *name)
{
	return json_number_value(json_object_get(o, name));
}

static void print_run(const json_t *r)
{
	time_t began = number_of(r, "began");
	char when[32];
	struct tm tm;
	const char *name;
	json_t *n;

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&began, &tm));
	printf("  %s  %.0f of %.0f keys in %.1f s from %s, %s fetched", when, number_of(r, "warmed"), number_of(r, "keys"),
	       number_of(r, "seconds"), text_of(r, "from"), human_bytes(number_of(r, "fetched_bytes")));
	json_object_foreach(json_object_get(r, "results"), name, n)
		printf(", %s %.0f", name, json_number_value(n));
	if (number_of(r, "left_out"))
		printf(", %.0f left out", number_of(r, "left_out"));
	printf("\n");
	if (*text_of(r, "error"))
		printf("    %s\n", text_of(r, "error"));
}

static void print_rate(const json_t *p)
{
	const json_t *usual = json_object_get(p, "usual_rate");

	printf(", %.0f lookups a second, ", number_of(p, "rate"));
	if (json_is_number(usual))
		printf("%.0f are usual", json_number_value(usual));
	else
		printf("what is usual is not known yet");
}

static void print_policy(const json_t *p)
{
	const json_t *next = json_object_get(p, "next_seconds");
	json_t *run;
	size_t i;

	printf("%s: on %s, service %s, %.0f runs", text_of(p, "name"), text_of(p, "on"), text_of(p, "service"),
	       number_of(p, "runs_total"));
	if (json_object_get(p, "rate"))
		print_rate(p);
	if (next)
		printf(", next in %.0f s", json_number_value(next));
	printf("%s\n", json_is_true(json_object_get(p, "active")) ? ", at work" : "");
	json_array_foreach(json_object_get(p, "runs"), i, run)
		print_run(run);
}

/* Those of the name, or all; taken over. */
static json_t *pick(json_t *all, const char *name)
{
	json_t *found = json_array(), *p;
	size_t i;

	json_array_foreach(all, i, p) {
		if (!name || !strcmp(text_of(p, "name"), name))
			json_array_append(found, p);
	}
	return found;
}

static int print_policies(json_t *policies, const char *name)
{
	json_t *p;
	size_t i;

	if (name && !json_array_size(policies)) {
		json_decref(policies);
		return fail(EXIT_FAILED, "cache policy: there is no policy '%.60s'", name);
	}
	if (out_json) {
		out_document("cache.policy.show", json_pack("{s:o}", "policies", policies));
		return EXIT_OK;
	}
	json_array_foreach(policies, i, p)
		print_policy(p);
	if (!json_array_size(policies))
		note("the agent has no policies");
	json_decref(policies);
	return EXIT_OK;
}

static int show_policies(const struct session *s, const char *http, const char *name)
{
	struct config_vip at;
	char why[320] = "no agent runs";
	json_t *doc = NULL, *policies;

	if (http)
		parse_http(http, &at);
	else
		agent_where(s->ctl, &at);
	if (agent_is_here(s->ctl))
		doc = agent_get(&at, "/api/v1/cache/policies", why, sizeof(why));
	if (!doc)
		return fail(EXIT_FAILED, "cache policy: %s: only the agent knows", why);
	policies = pick(json_object_get(doc, "policies"), name);
	json_decref(doc);
	return print_policies(policies, name);
}

int cmd_cache_policy(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *http = opt_value(cmd, values, "http");
	struct config_vip at;
	struct session s;
	int status;

	if (strcmp(argv[0], "show"))
		return fail(EXIT_USAGE, "cache policy: there is only `show`, not '%.60s'", argv[0]);
	if (http && parse_http(http, &at))
		return fail(EXIT_USAGE, "cache policy: --http takes ADDRESS:PORT, not '%.60s'", http);
	status = session_open(&s, "cache policy", DP_READ);
	if (status)
		return status;
	return session_close(&s, show_policies(&s, http, argc > 1 ? argv[1] : NULL));
}

/* ---- export ----------------------------------------------------------------------------------- */

static int write_list(const struct session *s, const struct export_opts *o, const char *path)
{
	char tmp[4096];
	FILE *f = stdout;
	__u32 left_out;
	int n;

	if (path && snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int)sizeof(tmp))
		return fail(EXIT_USAGE, "cache export: %.60s...: the path is too long", path);
	if (path)
		f = fopen(tmp, "we");
	if (!f)
		return fail(EXIT_FAILED, "cache export: %s: %s", tmp, strerror(errno));
	n = export_keys(s, o, f, &left_out);
	if (fflush(f) && n >= 0)
		n = -errno;
	if (path && (fclose(f) || (n >= 0 && rename(tmp, path))) && n >= 0)
		n = -errno;
	if (n < 0) {
		if (path)
			remove(tmp);
		return fail(EXIT_FAILED, "cache export: %s: %s", path ?: "standard output", strerror(-n));
	}
	if (path)
		note("%s keys in %s", human_count(n), path);
	if (left_out)
		note("%s keys are left out: they are no UTF-8", human_count(left_out));
	return EXIT_OK;
}

int cmd_cache_export(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *service = opt_value(cmd, values, "service"), *top = opt_value(cmd, values, "top");
	struct export_opts o = { .values = opt_value(cmd, values, "values") };
	struct session s;
	__u64 n = 0;
	int status = top ? option_number("cache export", "--top", top, 1, WEIR_ENTRIES_MAX, &n) : EXIT_OK;

	if (!status)
		status = session_open(&s, "cache export", DP_READ);
	if (status)
		return status;
	o.top = n;
	o.svc = session_service(&s, service);
	if (o.svc < 0)
		return session_close(&s, service ? EXIT_FAILED : EXIT_USAGE);
	return session_close(&s, write_list(&s, &o, opt_value(cmd, values, "output")));
}
