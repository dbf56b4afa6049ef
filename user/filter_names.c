/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A filter's names, looked for in what is loaded. */
#include <string.h>

#include "backends.h"
#include "filter.h"

static int no_such(const struct session *s, const char *what, const char *name)
{
	return fail(EXIT_FAILED, "%s: no %s '%s' is loaded", s->what, what, name);
}

static int find_service(struct filter *f, const struct session *s)
{
	if (!f->service)
		return EXIT_OK;
	f->svc = dp_service(s->dp, f->service);
	return f->svc < 0 ? no_such(s, "service", f->service) : EXIT_OK;
}

/* Marks the backends of one pool: all, or that of the name. */
static bool mark_backends(const struct filter *f, const struct pools_mem *m, unsigned pool, bool *backends)
{
	bool any = false;

	for (int b = next_backend(m, pool, -1); b >= 0; b = next_backend(m, pool, b)) {
		if (!f->backend || !strcmp(m->backend_ctl[b].name, f->backend))
			backends[b] = any = true;
	}
	return any;
}

static int find_backends(struct filter *f, const struct session *s, bool *backends)
{
	const struct pools_mem *m = dp_pools(s->dp);
	bool there = false, any = false;

	if (!f->pool && !f->backend)
		return EXIT_OK;
	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		if (f->pool && strcmp(m->pool_ctl[p].name, f->pool))
			continue;
		there = true;
		any |= mark_backends(f, m, p, backends);
	}
	f->backends = backends;
	if (f->pool && !there)
		return no_such(s, "pool", f->pool);
	return f->backend && !any ? no_such(s, "backend", f->backend) : EXIT_OK;
}

int filter_find(struct filter *f, const struct session *s, bool *backends)
{
	return find_service(f, s) ?: find_backends(f, s, backends);
}

int filter_read(struct filter *f, const char *what, int argc, char **argv)
{
	char why[256];

	filter_init(f);
	for (int i = 0; i < argc; i++) {
		if (filter_add(f, argv[i], why, sizeof(why)))
			return fail(EXIT_USAGE, "%s: '%s': %s", what, argv[i], why);
	}
	return EXIT_OK;
}
