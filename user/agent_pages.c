// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_pages.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent_post.h"
#include "agent_ready.h"
#include "export.h"
#include "policy.h"
#include "promote.h"
#include "shows.h"
#include "why.h"

#define FLOWS_DFLT 100
#define HOT_DFLT   1000
#define FLOWS_MAX  1000
#define HOT_LIMIT_NS 100000000ULL /* the loop waits meanwhile */

#define TEXT	    "text/plain; charset=utf-8"
#define JSON	    "application/json"
#define JSON_LINES  "application/x-ndjson"
#define PROMETHEUS  "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* ---- bodies ----------------------------------------------------------------------------------- */

/* Writes a body to a stream, in one of both ways. Its status goes to p. */
typedef int (*write_fn)(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p);

static int make(const struct agent_view *v, const struct page_ask *ask, struct page *p, write_fn write)
{
	FILE *f = open_memstream(&p->body, &p->len);
	int err;

	if (!f)
		return -ENOMEM;
	err = write(f, v, ask, p);
	if (fclose(f) && !err)
		err = -ENOMEM;
	if (!err)
		return 0;
	free(p->body);
	p->body = NULL;
	return err;
}

static bool is_api(const struct page_ask *ask)
{
	return !strncmp(ask->path, "/api/", 5);
}

static void write_document(FILE *f, const char *kind, json_t *body)
{
	json_t *doc = out_whole(kind, body);

	json_dumpf(doc, f, OUT_REALS | JSON_INDENT(2));
	putc('\n', f);
	json_decref(doc);
}

static void write_error(FILE *f, const struct page_ask *ask, struct page *p, const char *text)
{
	const char *shown = printable(text, strlen(text));

	p->keep = false;
	p->type = is_api(ask) ? JSON : TEXT;
	if (is_api(ask))
		write_document(f, "error", json_pack("{s:s, s:i}", "error", shown, "status", p->status));
	else
		fprintf(f, "%s\n", shown);
}

int page_error(const struct page_ask *ask, struct page *p, int status, const char *fmt, ...)
{
	FILE *f = open_memstream(&p->body, &p->len);
	char text[640];
	va_list ap;

	if (!f)
		return -ENOMEM;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->status = status;
	write_error(f, ask, p, text);
	return fclose(f) ? -ENOMEM : 0;
}

static const char *param(const struct page_ask *ask, const char *name)
{
	for (unsigned i = 0; i < ask->nparams; i++) {
		if (!strcmp(ask->params[i].name, name))
			return ask->params[i].value;
	}
	return NULL;
}

/* ---- the agent's own -------------------------------------------------------------------------- */

static int write_metrics(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p)
{
	bool open = strstr(ask->accept, "application/openmetrics-text");
	struct metrics *ms;
	int err = metrics_collect(&ms, v->dp, &v->metrics);

	if (err) {
		p->status = 503;
		write_error(f, ask, p, "the metrics cannot be collected");
		return 0;
	}
	p->type = open ? OPENMETRICS : PROMETHEUS;
	err = metrics_prometheus(f, ms, open);
	metrics_free(ms);
	return err;
}

static int write_alive(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p)
{
	fputs("ok\n", f);
	p->keep = false;
	return 0;
}

static int write_ready(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p)
{
	json_t *reasons = agent_not_ready(v), *reason;
	size_t i;

	p->status = json_array_size(reasons) ? 503 : 200;
	p->keep = false;
	if (strstr(ask->accept, "application/json")) {
		p->type = JSON;
		write_document(f, "ready",
			       json_pack("{s:b, s:o}", "ready", p->status == 200, "reasons", reasons));
		return 0;
	}
	if (p->status == 200)
		fputs("ready\n", f);
	json_array_foreach(reasons, i, reason)
		fprintf(f, "%s\n", json_string_value(reason));
	json_decref(reasons);
	return 0;
}

/* ---- commands' documents ---------------------------------------------------------------------- */

typedef int (*show_fn)(const struct session *s, const struct agent_view *v, const struct page_ask *ask);

static int of_status(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	return show_status(s);
}

static int of_stats(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	return show_stats(s, param(ask, "service"));
}

static int of_backends(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	return show_backends(s, param(ask, "pool"), param(ask, "name"));
}

static int of_services(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	return show_services(s, v->constants, param(ask, "name"));
}

static int of_latency(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	return show_latency(s, param(ask, "service"), param(ask, "path"), param(ask, "backends"));
}

/* As the file is now, whether or not it was loaded since it changed. The loop waits for no pipe. */
static int of_check(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	struct stat st;
	int status;

	if (!stat(v->path, &st) && !S_ISREG(st.st_mode))
		return fail(EXIT_FAILED, "%s is no file", v->path);
	status = show_check(v->path);
	malloc_trim(0); /* a file takes many times its size while it is read */
	return status;
}

static int of_why(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	const char *key = param(ask, "key");
	struct admit_why why;
	json_t *promotion;
	int svc;

	if (!key || !hotset_key_ok(key, strlen(key)))
		return fail(EXIT_USAGE, "key: it has 1 to %d bytes, and no space or control character", WEIR_KEY_MAX);
	svc = session_service(s, param(ask, "service"));
	if (svc < 0)
		return param(ask, "service") ? EXIT_FAILED : EXIT_USAGE;
	if (promote_explain(v->hot->promote, svc, key, strlen(key), &why))
		promotion = json_null();
	else
		promotion = why_promotion(promote_config(v->hot->promote, svc), &why, s->ctl->sample, monotonic_ns());
	return show_why(s, svc, key, promotion, "");
}

/* What is held, for another host that begins: keys alone. */
static int of_hot(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	struct export_opts o = {
		.svc = session_service(s, param(ask, "service")),
		.top = HOT_DFLT,
		.limit_ns = HOT_LIMIT_NS,
	};
	const char *text = param(ask, "top");

	if (o.svc < 0)
		return param(ask, "service") ? EXIT_FAILED : EXIT_USAGE;
	if (text) {
		bool number = strspn(text, "0123456789") == strlen(text) && strlen(text) < 7;

		o.top = number ? strtoul(text, NULL, 10) : 0;
		if (!o.top || o.top > CONFIG_TOP_MAX)
			return fail(EXIT_USAGE, "top: it is a number from 1 to %d", CONFIG_TOP_MAX);
	}
	return export_keys(s, &o, out_file(), NULL) < 0 ? fail(EXIT_FAILED, "out of memory") : EXIT_OK;
}

static int of_policies(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	out_document("cache.policy.show", json_pack("{s:o}", "policies", policies_json(v->hot->policies)));
	return EXIT_OK;
}

/* "idle_above=5m" is the filter "idle>5m", others are as they are. 0, or EXIT_USAGE after it was told. */
static int read_filters(const struct page_ask *ask, struct filter *filter, char words[][80])
{
	char why[256];

	filter_init(filter);
	for (unsigned i = 0; i < ask->nparams; i++) {
		const char *name = ask->params[i].name, *value = ask->params[i].value;
		const char *join = "=";

		if (!strcmp(name, "limit") || !strcmp(name, "count"))
			continue;
		if (!strncmp(name, "idle_", 5)) {
			join = !strcmp(name, "idle_above") ? ">" : "<";
			name = "idle";
		}
		if (snprintf(words[i], 80, "%s%s%s", name, join, value) >= 80)
			return fail(EXIT_USAGE, "%s: the value is too long", ask->params[i].name);
		if (filter_add(filter, words[i], why, sizeof(why)))
			return fail(EXIT_USAGE, "%s: %s", ask->params[i].name, why);
	}
	return EXIT_OK;
}

static int of_flows(const struct session *s, const struct agent_view *v, const struct page_ask *ask)
{
	char words[PAGE_PARAMS_MAX][80];
	const char *text = param(ask, "limit");
	unsigned long limit = FLOWS_DFLT;
	struct filter filter;

	if (text) {
		bool number = strspn(text, "0123456789") == strlen(text) && strlen(text) < 6;

		limit = number ? strtoul(text, NULL, 10) : 0;
		if (!limit || limit > FLOWS_MAX)
			return fail(EXIT_USAGE, "limit: it is a number from 1 to %d", FLOWS_MAX);
	}
	return read_filters(ask, &filter, words) ?: show_flows(s, &filter, limit, param(ask, "count"));
}

/* The hot set, to read it without the lock: as of a reader, it needs no grace period. */
static int open_session(struct session *s, const struct agent_view *v, const char *what)
{
	struct hotset_mem mem = *dp_hotset_mem(v->dp);

	mem.grace = NULL;
	*s = (struct session){ .what = what, .dp = v->dp, .ctl = dp_ctl(v->dp) };
	return hotset_open(&s->hot, &mem);
}

static int show(const struct agent_view *v, const struct page_ask *ask, show_fn fn)
{
	struct session s;
	int status;

	if (fn == of_check)
		return of_check(NULL, v, ask);
	if (!v->dp && fn == of_status)
		return show_not_open(v->open_error);
	if (!v->dp)
		return fail(EXIT_DEGRADED, "%s", v->open_words);
	if (open_session(&s, v, "api"))
		return fail(EXIT_DEGRADED, "the hot set cannot be opened");
	status = fn(&s, v, ask);
	hotset_close(s.hot);
	return status;
}

/* What a command failed with, as HTTP says it: who names what is not there is told so. */
static int http_status(const struct page_ask *ask, int status)
{
	if (status == EXIT_USAGE)
		return 400;
	return status == EXIT_FAILED && ask->nparams ? 404 : 503;
}

static int write_show(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p, show_fn fn)
{
	struct out_capture c;
	long before;
	int status;

	p->type = (fn == of_flows && !param(ask, "count")) || fn == of_hot ? JSON_LINES : JSON;
	before = ftell(f);
	out_capture(&c, f);
	status = show(v, ask, fn);
	out_restore(&c);
	if (fflush(f))
		return -ENOMEM;
	if (ftell(f) > before || (fn == of_hot && status == EXIT_OK)) /* none is held: nothing is said */
		return 0;
	p->status = http_status(ask, status);
	write_error(f, ask, p, *c.error ? c.error : "there is nothing to tell");
	return 0;
}

#define SHOW(name)                                                                                               \
	static int write_##name(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p) \
	{                                                                                                        \
		return write_show(f, v, ask, p, of_##name);                                                      \
	}
SHOW(status)
SHOW(stats)
SHOW(backends)
SHOW(services)
SHOW(flows)
SHOW(latency)
SHOW(why)
SHOW(hot)
SHOW(policies)
SHOW(check)

/* ---- paths ------------------------------------------------------------------------------------ */

static int write_index(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p);

static int write_post_only(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p)
{
	p->status = 405;
	p->allow = "POST";
	write_error(f, ask, p, "only POST is answered here");
	return 0;
}

static const struct {
	const char *path;
	write_fn write;
	const char *params; /* each between commas */
	const char *help;
} pages[] = {
	{ "/", write_index, "", "this list" },
	{ "/metrics", write_metrics, "", "for Prometheus; OpenMetrics to who accepts it" },
	{ "/healthz", write_alive, "", "200: the agent runs" },
	{ "/readyz", write_ready, "", "200: this host can take traffic; 503 with the reasons why not" },
	{ "/api/v1/status", write_status, "", "as `weir status --json`" },
	{ "/api/v1/stats", write_stats, ",service,", "as `weir stats --json`" },
	{ "/api/v1/backends", write_backends, ",pool,name,", "as `weir backend show --json`" },
	{ "/api/v1/services", write_services, ",name,", "as `weir service show --json`" },
	{ "/api/v1/flows", write_flows,
	  ",limit,count,backend,pool,service,client,port,state,family,proto,idle_above,idle_below,",
	  "as `weir flow show --json`, a document a line" },
	{ "/api/v1/latency", write_latency, ",service,path,backends,", "as `weir latency show --json`" },
	{ "/api/v1/cache/why", write_why, ",service,key,", "as `weir cache why --json`" },
	{ "/api/v1/cache/hot", write_hot, ",service,top,", "hot keys of a service, the most hit first, one a line" },
	{ "/api/v1/cache/policies", write_policies, "", "as `weir cache policy show --json`" },
	{ POST_PATH, write_post_only, "", "by POST: values changed at the origin" },
	{ "/api/v1/check", write_check, "", "as `weir check --json`, of the agent's file as it is now" },
};
#define PAGES (sizeof(pages) / sizeof(pages[0]))

static int write_index(FILE *f, const struct agent_view *v, const struct page_ask *ask, struct page *p)
{
	for (unsigned i = 0; i < PAGES; i++) {
		char params[128];
		size_t len = strlen(pages[i].params);

		snprintf(params, sizeof(params), "%.*s", len ? (int)len - 2 : 0, len ? pages[i].params + 1 : "");
		fprintf(f, "%-17s %s%s%s\n", pages[i].path, pages[i].help, *params ? "; may be given: " : "",
			params);
	}
	return 0;
}

/* The parameter that the page does not know, or that is there twice; NULL: all is well. */
static const char *bad_param(const struct page_ask *ask, const char *known)
{
	char word[40];

	for (unsigned i = 0; i < ask->nparams; i++) {
		const char *name = ask->params[i].name;
		int len = snprintf(word, sizeof(word), ",%s,", name);

		if (!*name || strchr(name, ',') || len >= (int)sizeof(word) || !strstr(known, word))
			return name;
		for (unsigned k = 0; k < i; k++) {
			if (!strcmp(name, ask->params[k].name))
				return name;
		}
	}
	return NULL;
}

int page_make(const struct agent_view *v, const struct page_ask *ask, struct page *p)
{
	unsigned i = 0;
	const char *bad;

	*p = (struct page){ .status = 200, .type = TEXT, .keep = true };
	while (i < PAGES && strcmp(pages[i].path, ask->path))
		i++;
	if (i == PAGES)
		return page_error(ask, p, 404, "there is no such path; / lists those that there are");
	bad = bad_param(ask, pages[i].params);
	if (bad)
		return page_error(ask, p, 400, "%s: no parameter of this path, or there twice",
				  *bad ? bad : "(empty)");
	return make(v, ask, p, pages[i].write);
}
