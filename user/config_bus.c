/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The bus in the configuration: where writers elsewhere tell what they changed, and what if it is silent. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus_redis.h"
#include "config_build.h"

#define DB_MAX	 65535
#define USER_MAX 128

const char *const bus_fail_names[] = { "pass", "serve", NULL };

const cyaml_schema_field_t bus_fields[] = {
	TEXT(raw_bus, redis, REQUIRED),
	TEXT(raw_bus, stream, OPTIONAL),
	TEXT(raw_bus, user, OPTIONAL),
	TEXT(raw_bus, password_file, OPTIONAL),
	TEXT(raw_bus, db, OPTIONAL),
	TEXT(raw_bus, tls, OPTIONAL),
	TEXT(raw_bus, stale_after, OPTIONAL),
	TEXT(raw_bus, fail, OPTIONAL),
	CYAML_FIELD_END,
};

static bool is_word(const char *text, size_t max)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return len && len <= max;
}

static void build_redis(struct source *s, const struct raw_bus *r, struct config_bus *b)
{
	char why[256];

	if (parse_endpoint(r->redis, &b->redis)) {
		b->redis = (struct config_vip){};
		fault(s, "bus.redis", "'%.60s' is not ADDRESS:PORT, as in 10.0.0.5:6379 or \"[fd00::5]:6379\"",
		      r->redis);
	} else if (redis_library(why, sizeof(why))) {
		fault(s, "bus.redis", "%s", why);
	}
	if (build_choice(s, "bus.tls", r->tls, booleans, 0))
		fault(s, "bus.tls", "is not there in this version: reach Redis through a tunnel, as of stunnel");
}

static void build_stream(struct source *s, const struct raw_bus *r, struct config_bus *b)
{
	const char *stream = r->stream ?: "weir";

	if (is_word(stream, sizeof(b->stream) - 1))
		strcpy(b->stream, stream);
	else
		fault(s, "bus.stream", "is not 1 to %zu bytes of ASCII that print, without spaces",
		      sizeof(b->stream) - 1);
}

static int build_login(struct source *s, const struct raw_bus *r, struct config_bus *b)
{
	if (r->password_file && *r->password_file != '/')
		fault(s, "bus.password_file", "'%.60s' is no path from the root", r->password_file);
	if (r->user && !is_word(r->user, USER_MAX))
		fault(s, "bus.user", "is not 1 to %d bytes of ASCII that print, without spaces", USER_MAX);
	if (r->user && !r->password_file)
		fault(s, "bus.user", "has no password: bus.password_file names the file that holds it");
	b->password_file = r->password_file ? strdup(r->password_file) : NULL;
	b->user = r->user ? strdup(r->user) : NULL;
	return (r->password_file && !b->password_file) || (r->user && !b->user) ? -ENOMEM : 0;
}

static bool has_cache(const struct config *c)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		if (c->services[i].flags & WEIR_SVC_CACHE)
			return true;
	}
	return false;
}

int build_bus(struct source *s, const struct raw *raw, struct config *c)
{
	const struct raw_bus *r = raw->bus;

	if (!r)
		return 0;
	build_redis(s, r, &c->bus);
	build_stream(s, r, &c->bus);
	c->bus.db = build_number(s, "bus.db", r->db, 0, DB_MAX, 0);
	c->bus.stale_ns = build_time(s, "bus.stale_after", r->stale_after, "3s", "1h", "5s");
	c->bus.fail = build_choice(s, "bus.fail", r->fail, bus_fail_names, BUS_PASS);
	if (!has_cache(c))
		fault(s, "bus", "is for services with a cache, and there is none");
	return build_login(s, r, &c->bus);
}

void free_bus(struct config *c)
{
	free(c->bus.user);
	free(c->bus.password_file);
}
