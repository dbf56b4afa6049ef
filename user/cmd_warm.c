/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir cache warm: opens the lists and the hot set, shows how it goes, and reports. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "session.h"
#include "warm.h"

#define FAULTS_TEXT  10
#define FAULTS_JSON  100
#define SETTLE_MS    2000
#define ORIGIN_MS    5000
#define BAR_EVERY_NS 100000000ULL
#define WHAT         "cache warm"

/* One run: what is asked for, and what goes to the terminal on the way. */
struct run {
	struct warm_opts opts;
	struct warm_report report;
	const char *service;
	enum list_format format;
	struct list **lists;
	unsigned nlists;
	struct dataplane *dp; /* NULL: a dry run that cannot look */
	json_t *faults;
	__u64 nfaults;
	bool bar, bar_shown;
	__u64 bar_at, started;
};

/* ---- on the way ------------------------------------------------------------------------------- */

static void clear_bar(struct run *run)
{
	if (run->bar_shown)
		fprintf(stderr, "\r\033[K");
	run->bar_shown = false;
}

static void on_progress(unsigned list, __u64 done, __u64 total, void *arg)
{
	static const char full[] = "########################################";
	struct run *run = arg;
	__u64 now = monotonic_ns();
	double part = total ? (double)done / total : 1;

	if (!run->bar || now < run->bar_at + BAR_EVERY_NS)
		return;
	run->bar_at = now;
	run->bar_shown = true;
	fprintf(stderr, "\r[%-40.*s] %3d%%  list %u of %u, %s lines\033[K", (int)(part * 40), full,
		(int)(part * 100), list + 1, run->nlists, human_count(run->report.lines));
}

static void on_fault(const char *list, unsigned long line, const char *why, void *arg)
{
	struct run *run = arg;

	run->nfaults++;
	if (run->nfaults <= FAULTS_TEXT) {
		clear_bar(run);
		fprintf(stderr, "%s:%lu: %s\n", printable(list, strlen(list)), line,
			printable(why, strlen(why)));
	}
	if (out_json && run->nfaults <= FAULTS_JSON)
		json_array_append_new(run->faults,
				      json_pack("{s:s, s:I, s:s}", "list", printable(list, strlen(list)),
						"line", (json_int_t)line, "reason",
						printable(why, strlen(why))));
}

/* ---- the report ------------------------------------------------------------------------------- */

static void print_skipped(const struct warm_report *r)
{
	__u64 n = 0;

	for (int i = 0; i < WARM_SKIP_COUNT; i++)
		n += r->skipped[i];
	printf("skipped    %s\n", human_count(n));
	for (int i = 0; i < WARM_SKIP_COUNT; i++) {
		if (r->skipped[i])
			printf("  %-16s %s\n", warm_skip_name(i), human_count(r->skipped[i]));
	}
}

static void print_report(const struct run *run, double seconds)
{
	const struct warm_report *r = &run->report;
	bool dry = run->opts.dry_run;

	printf("lines      %s\n", human_count(r->lines));
	if (!dry || run->dp)
		printf("%s %s (%s new, %s replaced)\n", dry ? "would warm" : "warmed    ",
		       human_count(r->added + r->replaced), human_count(r->added), human_count(r->replaced));
	else
		printf("with value %s\n", human_count(r->added));
	printf("unchanged  %s\n", human_count(r->unchanged));
	if (run->opts.replace)
		printf("removed    %s\n", human_count(r->removed));
	print_skipped(r);
	printf("values     %s in %.2f seconds\n", human_bytes(r->value_bytes), seconds);
	if (r->usage.capacity)
		printf("hot set    %s\n", usage_text(&r->usage));
}

static json_t *json_lists(const struct run *run)
{
	json_t *lists = json_array();

	for (unsigned i = 0; i < run->nlists; i++) {
		const char *name = list_name(run->lists[i]);

		json_array_append_new(lists,
				      json_pack("{s:s, s:s, s:I}", "name", printable(name, strlen(name)),
						"format", list_format_name(list_format(run->lists[i])),
						"lines", (json_int_t)run->report.list_lines[i]));
	}
	return lists;
}

static void print_document(const struct run *run, bool ok, double seconds)
{
	const struct warm_report *r = &run->report;
	json_t *skipped = json_object(), *doc;

	for (int i = 0; i < WARM_SKIP_COUNT; i++) {
		if (r->skipped[i])
			json_object_set_new(skipped, warm_skip_name(i), json_integer(r->skipped[i]));
	}
	doc = json_pack(
		"{s:b, s:s?, s:b, s:b, s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O, s:I, s:f, s:o}",
		"ok", ok, "service", run->service, "dry_run", run->opts.dry_run, "replace", run->opts.replace,
		"strict", run->opts.strict, "lists", json_lists(run), "lines", (json_int_t)r->lines, "warmed",
		(json_int_t)(r->added + r->replaced), "added", (json_int_t)r->added, "replaced",
		(json_int_t)r->replaced, "unchanged", (json_int_t)r->unchanged, "removed",
		(json_int_t)r->removed, "skipped", skipped, "faults", run->faults, "value_bytes",
		(json_int_t)r->value_bytes, "seconds", seconds, "cache",
		r->usage.capacity ? json_usage(&r->usage) : json_null());
	out_document("cache.warm", doc);
}

/* What was not clear from the counts. */
static void say_the_rest(const struct run *run)
{
	const struct warm_report *r = &run->report;

	if (run->nfaults > FAULTS_TEXT)
		fprintf(stderr, "and %s more\n", human_count(run->nfaults - FAULTS_TEXT));
	if (r->skipped[WARM_STRICT] || (run->opts.strict && !warm_ok(r)))
		fail(EXIT_FAILED,
		     WHAT ": --strict, and not every line is good and fits: nothing was changed");
	if (r->skipped[WARM_NOT_FETCHED])
		note("%s keys have no value in the lists: they would be fetched from the origin, which a dry "
		     "run "
		     "does not ask",
		     human_count(r->skipped[WARM_NOT_FETCHED]));
}

static int report(struct run *run, int err)
{
	double seconds = (monotonic_ns() - run->started) / 1e9;
	bool ok = !err && warm_ok(&run->report);

	clear_bar(run);
	if (err && !run->report.lines)
		return fail(exit_of(err), WHAT ": %s", run->report.error);
	say_the_rest(run);
	if (out_json)
		print_document(run, ok, seconds);
	else
		print_report(run, seconds);
	if (err)
		return fail(exit_of(err), WHAT ": %s", run->report.error);
	return ok ? EXIT_OK : EXIT_FAILED;
}

/* ---- what is asked for ------------------------------------------------------------------------ */

static int read_format(const char *text, enum list_format *format)
{
	*format = LIST_AUTO;
	if (!text || !strcmp(text, "auto"))
		return EXIT_OK;
	for (enum list_format f = LIST_KEYS; f <= LIST_METADUMP; f++) {
		if (!strcmp(text, list_format_name(f))) {
			*format = f;
			return EXIT_OK;
		}
	}
	return fail(EXIT_USAGE, WHAT ": --format is auto, keys, csv, jsonl or metadump, not '%s'", text);
}

static int read_options(struct run *run, const struct cmd *cmd, char **values)
{
	const char *ttl = opt_value(cmd, values, "ttl");

	run->service = opt_value(cmd, values, "service");
	run->opts = (struct warm_opts){
		.replace = opt_value(cmd, values, "replace"),
		.strict = opt_value(cmd, values, "strict"),
		.dry_run = opt_value(cmd, values, "dry-run"),
		.value_max = WEIR_TEXT_MAX,
		.ttl_ns = WEIR_NEVER,
		.origin = "",
		.settle_ms = SETTLE_MS,
		.timeout_ms = ORIGIN_MS,
		.fault = on_fault,
		.progress = on_progress,
		.arg = run,
	};
	if (ttl && parse_duration(ttl, &run->opts.ttl_ns))
		return fail(EXIT_USAGE, WHAT ": '%s' is not a TTL, as in 90s, 5m or never", ttl);
	return read_format(opt_value(cmd, values, "format"), &run->format);
}

static const char *list_error(int err)
{
	switch (err) {
	case -EBADMSG:
		return "damaged gzip";
	case -EFBIG:
		return "more than 4 GiB";
	}
	return strerror(-err);
}

static int open_lists(struct run *run, int argc, char **argv)
{
	run->lists = calloc(argc, sizeof(*run->lists));
	if (!run->lists)
		return fail(EXIT_FAILED, WHAT ": out of memory");
	for (int i = 0; i < argc; i++) {
		/* An unreadable list is no lack of privileges over the data plane. */
		int err = list_open(&run->lists[i], argv[i]);

		if (err)
			return fail(EXIT_FAILED, WHAT ": %s: %s", argv[i], list_error(err));
		run->nlists++;
		list_set_format(run->lists[i], run->format);
	}
	return EXIT_OK;
}

/* The service's part of what is asked for. */
static int use_service(struct run *run, bool ttl_given)
{
	struct session s = {.what = WHAT, .dp = run->dp, .ctl = dp_ctl(run->dp)};
	const struct weir_ctl_svc *cs;
	int svc = session_service(&s, run->service);

	if (svc < 0)
		return run->service ? EXIT_FAILED : EXIT_USAGE;
	cs = &s.ctl->services[svc];
	run->opts.svc = svc;
	run->opts.value_max = cs->value_max;
	run->opts.origin = cs->origin;
	run->service = cs->name;
	if (!ttl_given)
		run->opts.ttl_ns = cs->ttl_ns;
	return EXIT_OK;
}

/* A dry run looks at the hot set when it may; otherwise it reads the lists alone. */
static int open_dataplane(struct run *run, bool ttl_given)
{
	int err = dp_open(&run->dp, run->opts.dry_run ? DP_READ : DP_WRITE);

	if (!err)
		return use_service(run, ttl_given);
	run->dp = NULL;
	if (!run->opts.dry_run)
		return fail(exit_of(err), WHAT ": %s", dp_error());
	note("the hot set cannot be looked at (%s): lists are only read", dp_error());
	return EXIT_OK;
}

static int warm(struct run *run, const struct cmd *cmd, char **values, int argc, char **argv)
{
	int status = read_options(run, cmd, values);

	if (!status)
		status = open_lists(run, argc, argv);
	if (!status)
		status = open_dataplane(run, opt_value(cmd, values, "ttl"));
	if (status)
		return status;
	run->bar = isatty(STDERR_FILENO) && !out_quiet && !out_json;
	status = warm_run(run->dp ? dp_hotset_mem(run->dp) : NULL, run->lists, run->nlists, &run->opts,
			  &run->report);
	return report(run, status);
}

int cmd_cache_warm(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct run run = {.faults = json_array(), .started = monotonic_ns()};
	int status = warm(&run, cmd, values, argc, argv);

	for (unsigned i = 0; i < run.nlists; i++)
		list_close(run.lists[i]);
	free(run.lists);
	if (run.dp)
		dp_close(run.dp);
	warm_report_free(&run.report);
	json_decref(run.faults);
	return status;
}
