// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_config.h"

#include <string.h>

#include "journal.h"

static char first_fault[160];

static void say_fault(const struct config_fault *f, void *arg)
{
	char line[16] = "", text[512];

	if (f->line)
		snprintf(line, sizeof(line), ":%u", f->line);
	snprintf(text, sizeof(text), "%s%s: %s%s%s", f->file, line, f->field, *f->field ? ": " : "", f->message);
	say(LOG_ERR, "%s", text);
	if (!*first_fault)
		snprintf(first_fault, sizeof(first_fault), "%.159s", text);
}

int agent_config_load(struct config **out, const char *path)
{
	*first_fault = '\0';
	return config_load_each(out, path, say_fault, NULL);
}

const char *agent_config_fault(void)
{
	return first_fault;
}

const struct config_pool *configured_pool(const struct config *c, const char *name)
{
	for (unsigned i = 0; c && i < c->npools; i++) {
		if (!strncmp(c->pools[i].name, name, WEIR_NAME_MAX))
			return &c->pools[i];
	}
	return NULL;
}

static bool uses(const struct config_service *s, int pool)
{
	return s->pool == pool || s->migrate_pool == pool || s->fallback == pool;
}

__be16 pool_service_port(const struct config *c, const struct config_pool *pool)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		if (uses(&c->services[i], pool - c->pools) && c->services[i].nvips)
			return c->services[i].vips[0].port;
	}
	return 0;
}

unsigned pool_probed_vips(const struct config *c, const struct config_pool *pool, struct config_vip vips[WEIR_VIPS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nservices; i++) {
		const struct config_service *s = &c->services[i];

		if (!(s->flags & WEIR_SVC_TCP) || !uses(s, pool - c->pools))
			continue;
		for (unsigned v = 0; v < s->nvips && n < WEIR_VIPS_MAX; v++)
			vips[n++] = s->vips[v];
	}
	return n;
}
