/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir stats: every reason a packet left with, by service, and what backends got; once, or each second. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "backends.h"
#include "cmd.h"
#include "invalidate.h"
#include "reasons.h"
#include "shows.h"
#include "table.h"

#define RETRIES 10 /* seconds that a reload may take under --watch */

/* The counters of one service at one moment; name "": of packets for no service. */
struct svc_counts {
	bool used, cache;
	char name[WEIR_NAME_MAX];
	struct weir_count counts[WEIR_R_COUNT];
};

/* What was sent to a backend. */
struct sent {
	char pool[WEIR_NAME_MAX], name[WEIR_NAME_MAX]; /* "": the place is free */
	struct weir_count count;
};

struct sample {
	__u64 ns;  /* CLOCK_MONOTONIC */
	double at; /* seconds since 1970 */
	__u64 loaded_at;
	struct svc_counts svcs[WEIR_SERVICES_MAX + 1]; /* the last: WEIR_SVC_NONE */
	struct sent sent[WEIR_BACKENDS_MAX];
	struct weir_invalidation invalidations[WEIR_INVAL_REASONS + 1];
};

struct view {
	const char *service; /* NULL: all */
	bool all;
	int width;       /* of the terminal; 0: none */
	double interval; /* seconds between the two samples; 0: no rates */
};

/* ---- reading ---------------------------------------------------------------------------------- */

static int read_service(struct dataplane *dp, unsigned svc, struct svc_counts *to)
{
	const char *name = svc == WEIR_SVC_NONE ? "" : dp_ctl(dp)->services[svc].name;

	to->used = true;
	to->cache = svc != WEIR_SVC_NONE && dp_ctl(dp)->services[svc].flags & WEIR_SVC_CACHE;
	snprintf(to->name, sizeof(to->name), "%.*s", WEIR_NAME_MAX - 1, name);
	return dp_counts(dp, svc, to->counts);
}

/* svc -1: of all pools. */
static void read_sent(struct dataplane *dp, int svc, struct sent *sent)
{
	const struct pools_mem *m = dp_pools(dp);

	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		if (svc >= 0 && m->pools[p].svc != (unsigned)svc)
			continue;
		for (int b = pools_next(m, p, -1); b >= 0; b = pools_next(m, p, b)) {
			snprintf(sent[b].pool, WEIR_NAME_MAX, "%.31s", m->pool_ctl[p].name);
			snprintf(sent[b].name, WEIR_NAME_MAX, "%.31s", m->backend_ctl[b].name);
			dp_sent(dp, b, &sent[b].count);
		}
	}
}

/* They are of no service. */
static void read_invalidations(struct dataplane *dp, struct sample *s)
{
	const struct weir_invalidation *from = dp_hotset_mem(dp)->invalidations;

	if (from)
		memcpy(s->invalidations, from, sizeof(s->invalidations));
	for (unsigned i = 0; i <= WEIR_INVAL_REASONS; i++)
		s->invalidations[i].reason[WEIR_INVAL_REASON_MAX] = 0;
}

static int read_counts(struct dataplane *dp, const char *service, struct sample *s)
{
	const struct weir_ctl *ctl = dp_ctl(dp);
	int err = 0, svc;

	if (service) {
		svc = dp_service(dp, service);
		if (svc < 0)
			return svc;
		read_sent(dp, svc, s->sent);
		return read_service(dp, svc, &s->svcs[svc]);
	}
	read_sent(dp, -1, s->sent);
	read_invalidations(dp, s);
	for (svc = 0; svc < WEIR_SERVICES_MAX && !err; svc++) {
		if (*ctl->services[svc].name)
			err = read_service(dp, svc, &s->svcs[svc]);
	}
	return err ? err : read_service(dp, WEIR_SVC_NONE, &s->svcs[WEIR_SVC_NONE]);
}

static double wall_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* 0, or the exit status after it was told. */
static int take_from(struct dataplane *dp, const struct view *v, struct sample *s)
{
	int err;

	memset(s, 0, sizeof(*s));
	err = read_counts(dp, v->service, s);
	s->ns = now_ns();
	s->at = wall_clock();
	s->loaded_at = dp_ctl(dp)->loaded_at;
	if (err == -ENOENT && v->service)
		return fail(EXIT_FAILED, "stats: no service '%s'", v->service);
	if (err)
		return fail(exit_of(err), "stats: the counters cannot be read: %s", strerror(-err));
	return 0;
}

/* -errno as dp_open() has it; anything else was reported, and is the exit status. */
static int take(const struct view *v, struct sample *s)
{
	struct dataplane *dp;
	int err = dp_open(&dp, DP_READ);

	if (err)
		return err;
	err = take_from(dp, v, s);
	dp_close(dp);
	return err;
}

/* ---- arithmetic ------------------------------------------------------------------------------- */

static __u64 all_packets(const struct weir_count *counts)
{
	__u64 n = 0;

	for (int r = 0; r < WEIR_R_COUNT; r++)
		n += counts[r].packets;
	return n;
}

/* Counters only grow; where one is smaller, or the service is another, this is a new beginning. */
static double rate(const struct view *v, __u64 now, __u64 before)
{
	return v->interval > 0 && now >= before ? (now - before) / v->interval : 0;
}

static void sum_up(const struct sample *s, struct weir_count *total)
{
	memset(total, 0, WEIR_R_COUNT * sizeof(*total));
	for (unsigned svc = 0; svc <= WEIR_SVC_NONE; svc++) {
		for (int r = 0; r < WEIR_R_COUNT; r++) {
			total[r].packets += s->svcs[svc].counts[r].packets;
			total[r].bytes += s->svcs[svc].counts[r].bytes;
		}
	}
}

/* The same service in the sample before, or itself when there was none: no rates then. */
static const struct weir_count *counts_before(const struct sample *s, const struct sample *before,
					      unsigned svc)
{
	const struct svc_counts *b = before ? &before->svcs[svc] : NULL;

	if (!b || !b->used || strcmp(b->name, s->svcs[svc].name) || before->loaded_at != s->loaded_at)
		return s->svcs[svc].counts;
	return b->counts;
}

static const struct sent *sent_before(const struct sample *s, const struct sample *before, unsigned b)
{
	const struct sent *now = &s->sent[b], *then = before ? &before->sent[b] : now;

	if (strcmp(then->name, now->name) || strcmp(then->pool, now->pool))
		return now;
	return before && before->loaded_at != s->loaded_at ? now : then;
}

/* ---- for people ------------------------------------------------------------------------------- */

static void print_summary(const struct view *v, const struct weir_count *now, const struct weir_count *before)
{
	__u64 hits = class_packets(now, WEIR_CLS_HIT), misses = class_packets(now, WEIR_CLS_MISS);
	__u64 hits0 = class_packets(before, WEIR_CLS_HIT), misses0 = class_packets(before, WEIR_CLS_MISS);

	printf("lookups %s, hits %s, misses %s, hit ratio ", human_count(hits + misses), human_count(hits),
	       human_count(misses));
	if (hits + misses)
		printf("%.1f%%", 100.0 * hits / (hits + misses));
	else
		printf("-");
	if (v->interval > 0)
		printf("; a second: hits %s, misses %s", human_count(rate(v, hits, hits0)),
		       human_count(rate(v, misses, misses0)));
	printf("\n");
}

static void print_row(const struct view *v, int r, const struct weir_count *now,
		      const struct weir_count *before, __u64 packets)
{
	const char *bytes = human_bytes(now->bytes);
	double share = packets ? 100.0 * now->packets / packets : 0;
	int at = 0, room;

	at += printf("  %-13s %15s %10s %6.1f%%", reasons[r].name, human_count(now->packets), bytes, share);
	if (v->interval > 0)
		at += printf(" %11s", human_count(rate(v, now->packets, before->packets)));
	room = v->width ? v->width - at - 3 : 200;
	printf("  %.*s\n", room > 0 ? room : 0, reasons[r].help);
}

static void print_service(const struct view *v, const struct svc_counts *s, const struct weir_count *before)
{
	__u64 packets = all_packets(s->counts);

	if (*s->name)
		printf("service %s\n", s->name);
	else
		printf("no service\n");
	if (packets || v->all)
		printf("  %-13s %15s %10s %7s%s\n", "reason", "packets", "bytes", "share",
		       v->interval > 0 ? "    a second" : "");
	else
		printf("  no packets yet\n");
	for (int r = 0; r < WEIR_R_COUNT; r++) {
		if (s->counts[r].packets || v->all)
			print_row(v, r, &s->counts[r], &before[r], packets);
	}
	if (s->cache) {
		printf("  ");
		print_summary(v, s->counts, before);
	}
	printf("\n");
}

static bool any_sent(const struct sample *s)
{
	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (*s->sent[b].name)
			return true;
	}
	return false;
}

static void print_sent(const struct view *v, const struct sample *s, const struct sample *before)
{
	struct table t = { .columns = v->interval > 0 ? "lrrr" : "lrr" };

	if (!any_sent(s))
		return;
	table_cell(&t, "sent to");
	table_cell(&t, "packets");
	table_cell(&t, "bytes");
	if (v->interval > 0)
		table_cell(&t, "a second");
	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		const struct sent *now = &s->sent[b], *then = sent_before(s, before, b);

		if (!*now->name)
			continue;
		table_cell(&t, "%s/%s", now->pool, now->name);
		table_cell(&t, "%s", human_count(now->count.packets));
		table_cell(&t, "%s", human_bytes(now->count.bytes));
		if (v->interval > 0)
			table_cell(&t, "%s", human_count(rate(v, now->count.packets, then->count.packets)));
	}
	table_print(&t);
	printf("\n");
}

static bool any_invalidation(const struct sample *s)
{
	for (unsigned i = 0; i <= WEIR_INVAL_REASONS; i++) {
		if (*s->invalidations[i].reason)
			return true;
	}
	return false;
}

static void print_invalidations(const struct sample *s)
{
	struct table t = { .columns = "lllr" };

	if (!any_invalidation(s))
		return;
	table_cell(&t, "invalidated");
	table_cell(&t, "by");
	table_cell(&t, "level");
	table_cell(&t, "times");
	for (unsigned i = 0; i < (WEIR_INVAL_REASONS + 1) * WEIR_INVAL_SOURCES * WEIR_INVAL_LEVELS; i++) {
		unsigned level = i % WEIR_INVAL_LEVELS, source = i / WEIR_INVAL_LEVELS % WEIR_INVAL_SOURCES;
		const struct weir_invalidation *of = &s->invalidations[i / WEIR_INVAL_LEVELS / WEIR_INVAL_SOURCES];

		if (!*of->reason || !of->n[source][level])
			continue;
		table_cell(&t, "%s", printable(of->reason, strlen(of->reason)));
		table_cell(&t, "%s", inval_sources[source]);
		table_cell(&t, "%s", inval_levels[level]);
		table_cell(&t, "%s", human_count(of->n[source][level]));
	}
	table_print(&t);
	printf("\n");
}

static void print_sample(const struct view *v, const struct sample *s, const struct sample *before)
{
	unsigned services = 0;

	for (unsigned svc = 0; svc <= WEIR_SVC_NONE; svc++) {
		if (!s->svcs[svc].used)
			continue;
		print_service(v, &s->svcs[svc], counts_before(s, before, svc));
		services += s->svcs[svc].cache;
	}
	print_sent(v, s, before);
	print_invalidations(s);
	if (services > 1) {
		struct weir_count now[WEIR_R_COUNT], then[WEIR_R_COUNT];

		sum_up(s, now);
		sum_up(before ? before : s, then);
		printf("all services with a cache\n  ");
		print_summary(v, now, then);
	}
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static json_t *json_reason(const struct view *v, int r, const struct weir_count *now,
			   const struct weir_count *before)
{
	const char *action = reasons[r].action;
	char lower[16] = "";
	json_t *doc;

	for (int i = 0; action[i] && i < 15; i++)
		lower[i] = action[i] | 0x20;
	doc = json_pack("{s:I, s:I, s:s, s:s, s:s}", "packets", (json_int_t)now->packets, "bytes",
			(json_int_t)now->bytes, "class", class_names[reasons[r].class], "action", lower,
			"help", reasons[r].help);
	if (v->interval > 0) {
		json_object_set_new(doc, "packets_per_second",
				    json_real(rate(v, now->packets, before->packets)));
		json_object_set_new(doc, "bytes_per_second", json_real(rate(v, now->bytes, before->bytes)));
	}
	return doc;
}

static json_t *json_lookups(const struct weir_count *counts)
{
	__u64 hits = class_packets(counts, WEIR_CLS_HIT), misses = class_packets(counts, WEIR_CLS_MISS);
	__u64 lookups = hits + misses;

	return json_pack("{s:I, s:I, s:I, s:o}", "lookups", (json_int_t)lookups, "hits", (json_int_t)hits,
			 "misses", (json_int_t)misses, "hit_ratio",
			 lookups ? json_real((double)hits / lookups) : json_null());
}

static json_t *json_summary(const struct view *v, const struct svc_counts *s, const struct weir_count *before)
{
	json_t *doc = json_object(), *list = json_object(), *lookups = json_lookups(s->counts);

	if (*s->name)
		json_object_set_new(doc, "name", json_string(s->name));
	json_object_update(doc, lookups);
	json_decref(lookups);
	json_object_set_new(doc, "reads", json_integer(class_packets(s->counts, WEIR_CLS_READ)));
	json_object_set_new(doc, "writes", json_integer(class_packets(s->counts, WEIR_CLS_WRITE)));
	json_object_set_new(doc, "refused", json_integer(class_packets(s->counts, WEIR_CLS_REFUSED)));
	for (int r = 0; r < WEIR_R_COUNT; r++)
		json_object_set_new(list, reasons[r].name, json_reason(v, r, &s->counts[r], &before[r]));
	json_object_set_new(doc, "reasons", list);
	return doc;
}

static json_t *json_sent(const struct view *v, const struct sample *s, const struct sample *before)
{
	json_t *list = json_array();

	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		const struct sent *now = &s->sent[b], *then = sent_before(s, before, b);
		json_t *doc;

		if (!*now->name)
			continue;
		doc = json_pack("{s:s, s:s, s:I, s:I}", "pool", now->pool, "name", now->name, "packets",
				(json_int_t)now->count.packets, "bytes", (json_int_t)now->count.bytes);
		if (v->interval > 0) {
			json_object_set_new(doc, "packets_per_second",
					    json_real(rate(v, now->count.packets, then->count.packets)));
			json_object_set_new(doc, "bytes_per_second",
					    json_real(rate(v, now->count.bytes, then->count.bytes)));
		}
		json_array_append_new(list, doc);
	}
	return list;
}

static json_t *json_invalidations(const struct sample *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < (WEIR_INVAL_REASONS + 1) * WEIR_INVAL_SOURCES * WEIR_INVAL_LEVELS; i++) {
		unsigned level = i % WEIR_INVAL_LEVELS, source = i / WEIR_INVAL_LEVELS % WEIR_INVAL_SOURCES;
		const struct weir_invalidation *of = &s->invalidations[i / WEIR_INVAL_LEVELS / WEIR_INVAL_SOURCES];

		if (*of->reason && of->n[source][level])
			json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I}", "reason",
							      printable(of->reason, strlen(of->reason)), "source",
							      inval_sources[source], "level", inval_levels[level],
							      "count", (json_int_t)of->n[source][level]));
	}
	return list;
}

static void print_document(const struct view *v, const struct sample *s, const struct sample *before)
{
	json_t *services = json_array(), *doc;
	struct weir_count total[WEIR_R_COUNT];

	for (unsigned svc = 0; svc < WEIR_SERVICES_MAX; svc++) {
		if (s->svcs[svc].used)
			json_array_append_new(services,
					      json_summary(v, &s->svcs[svc], counts_before(s, before, svc)));
	}
	sum_up(s, total);
	doc = json_pack("{s:f, s:I, s:o, s:o, s:o, s:o}", "at", s->at, "loaded_at", (json_int_t)s->loaded_at,
			"interval_seconds", v->interval > 0 ? json_real(v->interval) : json_null(),
			"services", services, "backends", json_sent(v, s, before), "total", json_lookups(total));
	if (s->svcs[WEIR_SVC_NONE].used)
		json_object_set_new(doc, "invalidations", json_invalidations(s));
	if (s->svcs[WEIR_SVC_NONE].used)
		json_object_set_new(doc, "no_service",
				    json_summary(v, &s->svcs[WEIR_SVC_NONE],
						 counts_before(s, before, WEIR_SVC_NONE)));
	out_document("stats", doc);
}

/* ---- the command ------------------------------------------------------------------------------ */

static int terminal_width(void)
{
	struct winsize ws;

	if (!isatty(STDOUT_FILENO))
		return 0;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col ? 80 : ws.ws_col;
}

static void show(struct view *v, const struct sample *s, const struct sample *before)
{
	v->interval = before ? (s->ns - before->ns) / 1e9 : 0;
	v->width = terminal_width();
	if (out_json)
		print_document(v, s, before);
	else
		print_sample(v, s, before);
}

/* 0 or the exit status, the reason told. */
static int take_or_fail(const struct view *v, struct sample *s)
{
	int err = take(v, s);

	return err < 0 ? fail(exit_of(err), "stats: %s", dp_error()) : err;
}

/* The next sample; a reload on its way (-ESTALE) is waited for. */
static int take_next(const struct view *v, struct sample *s, int *tries)
{
	int err = take(v, s);

	if (err == -ESTALE && (*tries)++ < RETRIES)
		return err;
	*tries = 0;
	return err < 0 ? fail(exit_of(err), "stats: %s", dp_error()) : err;
}

/* Sleeps until `due`. Whether Ctrl-C (or an end in another way) was asked for instead. */
static bool stopped(const sigset_t *ends, __u64 due)
{
	__u64 now = now_ns(), left = due > now ? due - now : 0;
	struct timespec ts = { left / 1000000000, left % 1000000000 };
	int sig;

	do {
		sig = sigtimedwait(ends, NULL, &ts);
	} while (sig < 0 && errno == EINTR && now_ns() < due);
	return sig > 0;
}

static int watch(struct view *v)
{
	static struct sample samples[2];
	const struct sample *before = NULL;
	int status, tries = 0, which = 0;
	__u64 due = now_ns();
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	out_lines = true;
	do {
		status = take_next(v, &samples[which], &tries);
		if (!status) {
			if (!out_json && terminal_width())
				printf("\033[H\033[2J");
			show(v, &samples[which], before);
			before = &samples[which];
			which = !which;
		}
		if (status > 0 || fflush(stdout))
			return status > 0 ? status : EXIT_FAILED;
		due += 1000000000;
	} while (!stopped(&ends, due));
	return EXIT_OK;
}

int show_stats(const struct session *s, const char *service)
{
	static struct sample sample;
	struct view v = { .service = service };
	int status = take_from(s->dp, &v, &sample);

	if (!status)
		show(&v, &sample, NULL);
	return status;
}

int cmd_stats(const struct cmd *cmd, char **values, int argc, char **argv)
{
	static struct sample sample;
	struct view v = { .service = opt_value(cmd, values, "service"),
			  .all = opt_value(cmd, values, "all") };
	int status;

	if (opt_value(cmd, values, "watch"))
		return watch(&v);
	status = take_or_fail(&v, &sample);
	if (!status)
		show(&v, &sample, NULL);
	return status;
}
