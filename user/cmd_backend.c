/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir backend show, set, drain, enable, disable, del: pools, backend by backend, while packets pass. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "change.h"
#include "options.h"
#include "shows.h"
#include "table.h"

#define LOOK_NS 300000000 /* between two looks at a backend that is waited for */
#define RETRIES 30        /* looks that a reload may take */

/* ---- show ------------------------------------------------------------------------------------- */

static void add_heading(struct table *t)
{
	static const char *const names[] = {"pool",   "backend", "address", "via",     "state", "capacity",
					    "active", "load",    "latency", "packets", "bytes", ""};

	t->columns = "lllllrrrrrrl";
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		table_cell(t, "%s", names[i]);
}

/* What is rare stands behind the columns. */
static void add_remarks(struct table *t, const struct pools_mem *m, unsigned backend)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];
	const char *drift = backend_drift(m, backend);
	char text[160] = "", *at = text, *end = text + sizeof(text);

	if (m->pool_ctl[pools_of(m, backend)].shards > 1)
		at += snprintf(at, end - at, "shard %u", backend_shard(m, backend));
	if (b->flags & WEIR_BACKEND_BACKUP)
		at += snprintf(at, end - at, "%sbackup", at > text ? ", " : "");
	if (drift)
		at += snprintf(at, end - at, "%s%s by hand", at > text ? ", " : "", drift);
	if (b->health == WEIR_HEALTH_DOWN && *b->why)
		snprintf(at, end - at, "%s%s", at > text ? ", " : "",
			 printable(b->why, strnlen(b->why, sizeof(b->why))));
	table_cell(t, "%s", text);
}

static void add_row(struct table *t, const struct session *s, unsigned backend)
{
	const struct pools_mem *m = dp_pools(s->dp);
	const struct weir_ctl_backend *ctl = &m->backend_ctl[backend];
	const struct weir_backend *b = &m->backends[backend];
	double load = backend_load(m, backend);
	struct weir_count sent;

	dp_sent(s->dp, backend, &sent);
	if (!t->n)
		add_heading(t);
	table_cell(t, "%s", pool_name(m, pools_of(m, backend)));
	table_cell(t, "%.31s", ctl->name);
	table_cell(t, "%s", backend_address(b));
	table_cell(t, "%s", b->family ? via_name(b->via) : "-");
	table_cell(t, "%s", backend_state(m, backend));
	table_cell(t, "%u", b->capacity);
	table_cell(t, "%s", human_count(backend_active(m, backend)));
	if (load < 0)
		table_cell(t, "-");
	else
		table_cell(t, "%.2f", load);
	table_cell(t, "%s", ctl->latency_ns ? human_duration(ctl->latency_ns) : "-");
	table_cell(t, "%s", human_count(sent.packets));
	table_cell(t, "%s", human_bytes(sent.bytes));
	add_remarks(t, m, backend);
}

struct shown {
	const struct session *s;
	const char *name; /* NULL: all */
	struct table table;
	json_t *list;
	unsigned n;
};

static void show_pool(struct shown *w, unsigned pool)
{
	const struct pools_mem *m = dp_pools(w->s->dp);

	for (int b = next_backend(m, pool, -1); b >= 0; b = next_backend(m, pool, b)) {
		if (w->name && strcmp(m->backend_ctl[b].name, w->name))
			continue;
		if (out_json)
			json_array_append_new(w->list, json_backend(w->s, b));
		else
			add_row(&w->table, w->s, b);
		w->n++;
	}
}

static void print_shown(struct shown *w, const char *pool)
{
	if (out_json)
		out_document("backend.show", json_pack("{s:s?, s:s?, s:O}", "pool", pool, "name", w->name,
						       "backends", w->list));
	else if (w->n)
		table_print(&w->table);
	if (!w->n && !w->name)
		note("no backend%s",
		     next_pool(dp_pools(w->s->dp), -1) < 0 ? ": the configuration has no pool" : "");
}

int show_backends(const struct session *s, const char *pool, const char *name)
{
	const struct pools_mem *m = dp_pools(s->dp);
	struct shown w = {.s = s, .name = name, .list = json_array()};
	unsigned only;
	int status = pool ? find_pool(s, pool, &only) : EXIT_OK;

	if (!status && pool)
		show_pool(&w, only);
	for (int p = next_pool(m, -1); !status && !pool && p >= 0; p = next_pool(m, p))
		show_pool(&w, p);
	if (!status && name && !w.n)
		status = fail(EXIT_FAILED, "backend show: no backend '%s'%s%s", name, pool ? " in pool " : "",
			      pool ? pool : "");
	if (!status)
		print_shown(&w, pool);
	json_decref(w.list);
	return status;
}

int cmd_backend_show(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct session s;
	int status = session_open(&s, "backend show", DP_READ);

	if (status)
		return status;
	return session_close(&s, show_backends(&s, opt_value(cmd, values, "pool"), argc ? argv[0] : NULL));
}

/* ---- set -------------------------------------------------------------------------------------- */

static int set(struct change *c, __u32 capacity, int backup)
{
	bool was_backup = c->m->backend_ctl[c->backend].flags & WEIR_BACKEND_BACKUP;
	__u32 was = c->m->backends[c->backend].capacity;
	char text[80] = "";
	int err;

	capacity = capacity == was ? 0 : capacity;
	backup = backup == was_backup ? -1 : backup;
	if (!capacity && backup < 0) {
		change_done(c, "unchanged", "unchanged: capacity %u, %s", was,
			    was_backup ? "backup" : "no backup");
		return EXIT_OK;
	}
	err = pools_set(c->m, c->backend, capacity, backup);
	if (err)
		return change_failed(c, err);
	if (capacity)
		snprintf(text, sizeof(text), "capacity %u, was %u%s", capacity, was, backup < 0 ? "" : "; ");
	change_done(c, "changed", "%s%s", text, backup < 0 ? "" : backup ? "now backup" : "no longer backup");
	return EXIT_OK;
}

static const char *const no_yes[] = {"no", "yes", NULL};

int cmd_backend_set(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *capacity = opt_value(cmd, values, "capacity"), *backup = opt_value(cmd, values, "backup");
	struct change c;
	__u64 n = 0;
	int yes = -1, status;

	if (!capacity && !backup)
		return fail(EXIT_USAGE, "backend set: say what, with --capacity or --backup");
	status = option_number("backend set", "--capacity", capacity, 1, CONFIG_CAPACITY_MAX, &n);
	if (!status)
		status = option_choice("backend set", "--backup", backup, no_yes, &yes);
	if (!status)
		status = change_start(&c, cmd, values, argv[0]);
	return status ? status : change_end(&c, set(&c, n, yes));
}

/* ---- drain, enable, disable ------------------------------------------------------------------- */

static int admin(struct change *c, __u32 to)
{
	static const char *const words[] = {"up", "draining", "disabled"};
	__u32 was = c->m->backend_ctl[c->backend].admin, active = backend_active(c->m, c->backend);
	int err = was == to ? 0 : pools_admin(c->m, c->backend, to);

	if (err)
		return change_failed(c, err);
	if (was == to)
		change_done(c, "unchanged", "already %s%s%s", words[to],
			    to == WEIR_ADMIN_DRAIN ? ", with " : "",
			    to == WEIR_ADMIN_DRAIN ? connections(active) : "");
	else if (to == WEIR_ADMIN_DRAIN)
		change_done(c, "changed", "draining: takes no new connections, %s left", connections(active));
	else if (to == WEIR_ADMIN_DISABLED)
		change_done(c, "changed", "disabled, %s moved away", connections(active));
	else
		change_done(c, "changed", "up, was %s", words[was <= WEIR_ADMIN_DISABLED ? was : 0]);
	return EXIT_OK;
}

static int cmd_admin(const struct cmd *cmd, char **values, char **argv, __u32 to)
{
	struct change c;
	int status = change_start(&c, cmd, values, argv[0]);

	return status ? status : change_end(&c, admin(&c, to));
}

int cmd_backend_enable(const struct cmd *cmd, char **values, int argc, char **argv)
{
	return cmd_admin(cmd, values, argv, WEIR_ADMIN_UP);
}

int cmd_backend_disable(const struct cmd *cmd, char **values, int argc, char **argv)
{
	return cmd_admin(cmd, values, argv, WEIR_ADMIN_DISABLED);
}

struct wait {
	char pool[WEIR_NAME_MAX], name[WEIR_NAME_MAX];
	__u64 until_ns;
	__u32 left; /* connections, at the last look */
};

/*
 * One look at the backend. 0: go on waiting; 1: no connection is left; else -errno. The lock is not held, so
 * that others can go on, and all is opened anew each time, since a reload may have put other maps in place.
 */
static int look(struct wait *w)
{
	const struct pools_mem *m;
	struct dataplane *dp;
	int err = dp_open(&dp, DP_READ), pool, backend;

	if (err)
		return err;
	m = dp_pools(dp);
	pool = pools_find(m, w->pool);
	backend = pool < 0 ? pool : pools_backend(m, pool, w->name);
	if (backend < 0)
		err = -EIDRM;
	else if (m->backend_ctl[backend].admin != WEIR_ADMIN_DRAIN)
		err = -ECANCELED;
	else
		w->left = backend_active(m, backend);
	dp_close(dp);
	return err ? err : !w->left;
}

static int wait_failed(const struct wait *w, int err)
{
	switch (err) {
	case -ETIMEDOUT:
		return fail(EXIT_FAILED, "backend drain: the time is over, %s left", connections(w->left));
	case -ECANCELED:
		return fail(EXIT_FAILED, "backend drain: another command ended the draining of %s", w->name);
	case -EIDRM:
		return fail(EXIT_FAILED, "backend drain: %s was removed meanwhile", w->name);
	}
	return fail(exit_of(err), "backend drain: %s", dp_error());
}

static int wait_empty(struct wait *w)
{
	struct timespec pause = {.tv_nsec = LOOK_NS};
	int err, tries = 0;

	while ((err = look(w)) != 1) {
		tries = err ? tries + 1 : 0;
		if (err && (err != -ESTALE || tries > RETRIES))
			return wait_failed(w, err);
		if (monotonic_ns() >= w->until_ns)
			return wait_failed(w, -ETIMEDOUT);
		nanosleep(&pause, NULL);
	}
	if (!out_json)
		printf("%s/%s: no connection is left\n", w->pool, w->name);
	return EXIT_OK;
}

static int read_wait(const char *text, __u64 *until_ns)
{
	__u64 ns = WEIR_NEVER;

	if (*text && parse_duration(text, &ns))
		return fail(EXIT_USAGE, "backend drain: '%s' is no duration, as in 90s, 5m, 1h30m", text);
	*until_ns = ns == WEIR_NEVER ? WEIR_NEVER : monotonic_ns() + ns;
	return EXIT_OK;
}

/* Waits with the data plane closed, so that others can change it, and only then gives its document. */
static int drain(struct change *c, struct wait *w, bool wait)
{
	json_t *doc;
	int status = admin(c, WEIR_ADMIN_DRAIN);

	w->left = backend_active(c->m, c->backend);
	snprintf(w->pool, sizeof(w->pool), "%s", pool_name(c->m, c->pool));
	snprintf(w->name, sizeof(w->name), "%.31s", c->m->backend_ctl[c->backend].name);
	doc = c->doc;
	c->doc = NULL;
	status = change_end(c, status);
	if (!status && wait) {
		fflush(stdout);
		status = wait_empty(w);
	}
	if (doc) {
		json_object_set_new(doc, "connections", json_integer(w->left));
		out_document("backend.drain", doc);
	}
	return status;
}

int cmd_backend_drain(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *wait = opt_value(cmd, values, "wait");
	struct wait w = {};
	struct change c;
	int status = wait ? read_wait(wait, &w.until_ns) : EXIT_OK;

	if (!status)
		status = change_start(&c, cmd, values, argv[0]);
	return status ? status : drain(&c, &w, wait);
}

/* ---- del -------------------------------------------------------------------------------------- */

/* A service whose last backend goes is told what that means. */
static void warn_if_last(const struct change *c, unsigned shard)
{
	for (int b = pools_next(c->m, c->pool, -1); b >= 0; b = pools_next(c->m, c->pool, b)) {
		if (backend_shard(c->m, b) == shard)
			return;
	}
	if (c->m->pool_ctl[c->pool].shards > 1)
		warn("shard %u of pool %s has no backend left", shard, pool_name(c->m, c->pool));
	else
		warn("pool %s has no backend left", pool_name(c->m, c->pool));
}

static int del(struct change *c, bool force)
{
	__u32 active = backend_active(c->m, c->backend);
	unsigned shard = backend_shard(c->m, c->backend);
	int err;

	if (active && !force)
		return fail(
			EXIT_FAILED,
			"backend del: %s has %s: `weir backend drain --wait` lets them end, --force does not",
			backend_name(c->m, c->backend), connections(active));
	change_look(c);
	err = pools_del(c->m, c->backend);
	if (err)
		return change_failed(c, err);
	change_done(c, "removed", active ? "removed, %s moved away" : "removed", connections(active));
	warn_if_last(c, shard);
	return EXIT_OK;
}

int cmd_backend_del(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct change c;
	int status = change_start(&c, cmd, values, argv[0]);

	return status ? status : change_end(&c, del(&c, opt_value(cmd, values, "force")));
}
