/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir cache drop: keys that were changed at the origin, or are not wanted any more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "invalidate.h"
#include "session.h"

struct key {
	const char *text;
	size_t len;
	bool named; /* on the command line: that it is not there is told */
};

struct drop {
	struct session s;
	struct inval by;
	unsigned svc;
	bool dry;
	struct key *keys;
	size_t n, room;
	struct inval_prefix prefix; /* text NULL: none */
	size_t dropped, missing, named_missing;
	__u64 of_prefix;
};

/* ---- what is asked for ------------------------------------------------------------------------ */

/* `text` is kept. 0 or -ENOMEM. */
static int add_key(struct drop *d, const char *text, size_t len, bool named)
{
	if (d->n == d->room) {
		size_t room = d->room ? 2 * d->room : 64;
		struct key *keys = realloc(d->keys, room * sizeof(*keys));

		if (!keys)
			return -ENOMEM;
		d->keys = keys;
		d->room = room;
	}
	d->keys[d->n++] = (struct key){ text, len, named };
	return 0;
}

/* All lines are looked at before anything is done. */
static int read_lines(struct drop *d, FILE *f, const char *name)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	int faults = 0, err = 0;

	for (unsigned at = 1; !err && (len = getline(&line, &room, f)) >= 0; at++) {
		while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
			len--;
		if (!len)
			continue;
		if (!hotset_key_ok(line, len)) {
			fail(EXIT_FAILED, "cache drop: %s:%u: '%.60s' cannot be a key", name, at,
			     printable(line, len));
			faults++;
			continue;
		}
		err = add_key(d, line, len, false);
		line = NULL; /* it stays as the key */
		room = 0;
	}
	free(line);
	if (err || ferror(f))
		return fail(EXIT_FAILED, "cache drop: %s: %s", name, err ? strerror(-err) : "cannot be read");
	return faults ? fail(EXIT_FAILED, "cache drop: %s: nothing was dropped", name) : EXIT_OK;
}

static int read_file(struct drop *d, const char *name)
{
	bool std = !strcmp(name, "-");
	FILE *f = std ? stdin : fopen(name, "re");
	int status;

	if (!f)
		return fail(EXIT_FAILED, "cache drop: %s: %s", name, strerror(errno));
	status = read_lines(d, f, std ? "standard input" : name);
	if (!std)
		fclose(f);
	return status;
}

static int read_options(struct drop *d, const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *reason = opt_value(cmd, values, "reason"), *prefix = opt_value(cmd, values, "prefix");
	const char *file = opt_value(cmd, values, "file");

	d->by = (struct inval){ WEIR_INVAL_CLI, reason };
	d->dry = opt_value(cmd, values, "dry-run");
	if (reason && !inval_reason_ok(reason, strlen(reason)))
		return fail(EXIT_USAGE, "cache drop: a reason is a word of 1 to %d bytes, not '%s'",
			    WEIR_INVAL_REASON_MAX, reason);
	if (prefix && !hotset_key_ok(prefix, strlen(prefix)))
		return fail(EXIT_USAGE, "cache drop: no key begins with '%s'", prefix);
	if (prefix)
		d->prefix = (struct inval_prefix){ prefix, strlen(prefix) };
	if (!argc && !prefix && !file)
		return fail(EXIT_USAGE, "cache drop: what? Keys, --prefix or --file");
	for (int i = 0; i < argc; i++) {
		if (add_key(d, argv[i], strlen(argv[i]), true))
			return fail(EXIT_FAILED, "cache drop: out of memory");
	}
	return file ? read_file(d, file) : EXIT_OK;
}

/* ---- doing it --------------------------------------------------------------------------------- */

/* Also of a key that is not there: it may be on its way. */
static bool drop_key(struct drop *d, const struct key *k)
{
	if (!hotset_key_ok(k->text, k->len))
		return false;
	if (d->dry)
		return hotset_find(d->s.hot, d->svc, k->text, k->len);
	inval_key(dp_hotset_mem(d->s.dp), &d->by, d->svc, k->text, k->len);
	return !hotset_drop(d->s.hot, d->svc, k->text, k->len);
}

static void drop_keys(struct drop *d, json_t *list)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct key *k = &d->keys[i];
		bool there = drop_key(d, k);
		json_t *doc = list ? json_pack("{s:b}", "dropped", there) : NULL;

		if (doc)
			json_set_bytes(doc, "key", k->text, k->len);
		if (doc)
			json_array_append_new(list, doc);
		d->dropped += there;
		d->missing += !there;
		if (there || !k->named)
			continue;
		d->named_missing++;
		fail(EXIT_FAILED, "cache drop: no key '%s' in the hot set of %s", k->text,
		     d->s.ctl->services[d->svc].name);
	}
}

static bool has_prefix(const struct weir_slot *s, void *arg)
{
	struct drop *d = arg;

	return inval_has_prefix(dp_hotset_mem(d->s.dp), s, d->svc, &d->prefix, 1);
}

static int count_prefix(const struct weir_slot *s, void *arg)
{
	struct drop *d = arg;

	d->of_prefix += s->svc == d->svc && s->key_len >= d->prefix.len &&
			!memcmp(slot_key(s), d->prefix.text, d->prefix.len);
	return 0;
}

/* With the writers' lock: no command publishes meanwhile, and the agent compares before it does. */
static void drop_prefix(struct drop *d)
{
	if (!d->prefix.text)
		return;
	if (d->dry) {
		hotset_each(d->s.hot, count_prefix, d);
		return;
	}
	inval_prefixes(dp_hotset_mem(d->s.dp), &d->by, d->svc, 1);
	d->of_prefix = hotset_drop_if(d->s.hot, has_prefix, d);
}

static void print_result(const struct drop *d)
{
	const char *would = d->dry ? "would drop" : "dropped";

	if (d->n)
		printf("%s %zu of %zu key%s\n", would, d->dropped, d->n, d->n == 1 ? "" : "s");
	if (d->prefix.text)
		printf("%s %s key%s that begin%s with %s\n", would, human_count(d->of_prefix),
		       d->of_prefix == 1 ? "" : "s", d->of_prefix == 1 ? "s" : "", d->prefix.text);
}

static void print_document(const struct drop *d, json_t *keys)
{
	json_t *doc = json_pack("{s:s, s:I, s:I, s:b, s:s?, s:O}", "service", d->s.ctl->services[d->svc].name,
				"dropped", (json_int_t)(d->dropped + d->of_prefix), "missing",
				(json_int_t)d->missing, "dry_run", d->dry, "reason", d->by.reason, "keys", keys);

	if (d->prefix.text) {
		json_set_bytes(doc, "prefix", d->prefix.text, d->prefix.len);
		json_object_set_new(doc, "prefix_dropped", json_integer(d->of_prefix));
	}
	out_document("cache.drop", doc);
}

static int drop_all(struct drop *d)
{
	json_t *keys = out_json ? json_array() : NULL;

	drop_keys(d, keys);
	drop_prefix(d);
	if (out_json)
		print_document(d, keys);
	else
		print_result(d);
	json_decref(keys);
	return d->named_missing ? EXIT_FAILED : EXIT_OK;
}

static int drop(struct drop *d, const char *service)
{
	int status = session_open(&d->s, "cache drop", d->dry ? DP_READ : DP_WRITE), svc;

	if (status)
		return status;
	svc = session_service(&d->s, service);
	if (svc < 0)
		return session_close(&d->s, service ? EXIT_FAILED : EXIT_USAGE);
	d->svc = svc;
	return session_close(&d->s, drop_all(d));
}

int cmd_cache_drop(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct drop d = {};
	int status = read_options(&d, cmd, values, argc, argv);

	if (!status)
		status = drop(&d, opt_value(cmd, values, "service"));
	for (size_t i = 0; i < d.n; i++) {
		if (!d.keys[i].named)
			free((char *)d.keys[i].text);
	}
	free(d.keys);
	return status;
}
