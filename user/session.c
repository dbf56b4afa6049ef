/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---------------------------------------------------------------------------------- */

int session_open(struct session *s, const char *what, enum dp_access access)
{
	int err;

	*s = (struct session){.what = what};
	err = dp_open(&s->dp, access);
	if (err)
		return fail(exit_of(err), "%s: %s", what, dp_error());
	s->ctl = dp_ctl(s->dp);
	err = hotset_open(&s->hot, dp_hotset_mem(s->dp));
	if (!err)
		return 0;
	dp_close(s->dp);
	return fail(exit_of(err), "%s: the hot set cannot be opened: %s", what, strerror(-err));
}

int session_close(struct session *s, int status)
{
	int err = hotset_close(s->hot);

	dp_close(s->dp);
	if (!err)
		return status;
	return fail(exit_of(err), "%s: done, but readers of what was replaced cannot be waited for: %s",
		    s->what, strerror(-err));
}

static void list_services(const struct weir_ctl *ctl, char *text, size_t len)
{
	size_t at = 0;

	*text = 0;
	for (int i = 0; i < WEIR_SERVICES_MAX && at < len; i++) {
		if (*ctl->services[i].name)
			at += snprintf(text + at, len - at, "%s%.31s", at ? ", " : "", ctl->services[i].name);
	}
}

int session_service(const struct session *s, const char *name)
{
	char names[WEIR_SERVICES_MAX * (WEIR_NAME_MAX + 2)];
	int svc = dp_service(s->dp, name);

	if (svc >= 0)
		return svc;
	list_services(s->ctl, names, sizeof(names));
	if (name)
		fail(EXIT_FAILED, "%s: no service '%s'; there is: %s", s->what, name, names);
	else
		fail(EXIT_USAGE, "%s: which service? Name one with --service: %s", s->what, names);
	return -1;
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static char *base64(const unsigned char *p, size_t len)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc((len + 2) / 3 * 4 + 1), *at = text;

	for (size_t i = 0; text && i < len; i += 3) {
		size_t left = len - i;
		unsigned bits = p[i] << 16 | (left > 1 ? p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);

		*at++ = set[bits >> 18];
		*at++ = set[bits >> 12 & 63];
		*at++ = left > 1 ? set[bits >> 6 & 63] : '=';
		*at++ = left > 2 ? set[bits & 63] : '=';
	}
	if (text)
		*at = 0;
	return text;
}

void json_set_bytes(json_t *doc, const char *name, const void *bytes, size_t len)
{
	json_t *text = memchr(bytes, 0, len) ? NULL : json_stringn(bytes, len);
	char field[32], *coded;

	if (text) {
		json_object_set_new(doc, name, text);
		return;
	}
	coded = base64(bytes, len);
	snprintf(field, sizeof(field), "%s_base64", name);
	json_object_set_new(doc, field, json_string(coded));
	free(coded);
}

json_t *json_seconds(__u64 ns)
{
	return ns == WEIR_NEVER ? json_null() : json_real(ns / 1e9);
}

double usage_fill(const struct hotset_usage *u)
{
	double keys = u->capacity ? (double)u->keys / u->capacity : 0;
	double lines = u->lines_total ? (double)u->lines / u->lines_total : 0;

	return keys > lines ? keys : lines;
}

json_t *json_usage(const struct hotset_usage *u)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:f}", "keys", (json_int_t)u->keys, "capacity",
			 (json_int_t)u->capacity, "used_bytes", (json_int_t)(u->lines * WEIR_LINE),
			 "total_bytes", (json_int_t)(u->lines_total * WEIR_LINE), "fill", usage_fill(u));
}

json_t *json_memory(const struct config_memory *m)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "index", (json_int_t)m->index, "slots",
			 (json_int_t)m->slabs, "hit_counters", (json_int_t)m->hits, "fences",
			 (json_int_t)m->fences, "flows", (json_int_t)m->flows, "latency",
			 (json_int_t)m->latency, "connections", (json_int_t)m->conns, "other", (json_int_t)m->other, "total",
			 (json_int_t)m->total);
}

/* ---- for people ------------------------------------------------------------------------------- */

static unsigned percent(__u64 part, __u64 whole)
{
	return whole ? 100.0 * part / whole : 0;
}

const char *usage_text(const struct hotset_usage *u)
{
	static char text[160];

	snprintf(text, sizeof(text), "%s of %s keys (%u%%), %s of %s in slots (%u%%)", human_count(u->keys),
		 human_count(u->capacity), percent(u->keys, u->capacity), human_bytes(u->lines * WEIR_LINE),
		 human_bytes(u->lines_total * WEIR_LINE), percent(u->lines, u->lines_total));
	return text;
}

const char *mode_name(unsigned mode)
{
	static const char *const names[] = {"auto", "native", "generic"};

	return mode < 3 ? names[mode] : "unknown";
}
