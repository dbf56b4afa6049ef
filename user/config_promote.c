// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Promotion in the configuration: which keys the agent takes into the hot set by itself, and which never. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_build.h"
#include "hotset.h"

#define WINDOW_DFLT   "24h"
#define WINDOW_MIN    "10s"
#define WINDOW_MAX    "30d"
#define MIN_HITS_DFLT 100
#define MIN_HITS_MAX  1000000000
#define TOP_DFLT      1000
#define STAY_OUT_DFLT "10m"

const char *const promote_evict_names[] = {"promoted", "all", NULL};

const cyaml_schema_field_t promote_fields[] = {
	TEXT(raw_promote, min_hits, OPTIONAL),
	TEXT(raw_promote, window, OPTIONAL),
	TEXT(raw_promote, top, OPTIONAL),
	LIST(raw_promote, "deny", OPTIONAL, deny, &text_entry, CONFIG_DENY_MAX),
	TEXT(raw_promote, evict, OPTIONAL),
	TEXT(raw_promote, stay_out, OPTIONAL),
	CYAML_FIELD_END,
};

static int build_deny(struct source *s, const struct raw_promote *r, unsigned i, struct config_promote *p)
{
	p->deny = r->deny_count ? calloc(r->deny_count, sizeof(*p->deny)) : NULL;
	if (r->deny_count && !p->deny)
		return -ENOMEM;
	for (unsigned j = 0; j < r->deny_count; j++) {
		const char *prefix = r->deny[j];

		if (!hotset_key_ok(prefix, strlen(prefix)))
			fault(s, at(s, "services[%u].promote.deny[%u]", i, j),
			      "is no beginning of a key: 1 to %d bytes, and no space or control character",
			      WEIR_KEY_MAX);
		p->deny[j] = strdup(prefix);
		if (!p->deny[j])
			return -ENOMEM;
		p->ndeny++;
	}
	return 0;
}

/* What it cannot do without. */
static void check_needs(struct source *s, unsigned i, const struct config *c)
{
	const struct config_service *svc = &c->services[i];
	const char *needs = !(svc->flags & WEIR_SVC_CACHE) ? "is of a cache, and this service has none"
			    : !*svc->origin                ? "needs an origin to fetch keys from"
			    : !c->sample                   ? "needs samples of misses: cache.sample is 0"
			    : !c->hit_counters             ? "needs to know hits: cache.hit_counters is false"
							   : NULL;

	if (needs)
		fault(s, at(s, "services[%u].promote", i), "%s", needs);
}

int build_promote(struct source *s, const struct raw_promote *r, unsigned i, struct config *c)
{
	struct config_promote *p = &c->services[i].promote;

	if (!r)
		return 0;
	p->on = true;
	check_needs(s, i, c);
	p->min_hits = build_number(s, at(s, "services[%u].promote.min_hits", i), r->min_hits, 1, MIN_HITS_MAX,
				   MIN_HITS_DFLT);
	p->window_ns = build_time(s, at(s, "services[%u].promote.window", i), r->window, WINDOW_MIN,
				  WINDOW_MAX, WINDOW_DFLT);
	p->top = build_number(s, at(s, "services[%u].promote.top", i), r->top, 1, CONFIG_TOP_MAX, TOP_DFLT);
	p->evict_all =
		build_choice(s, at(s, "services[%u].promote.evict", i), r->evict, promote_evict_names, 0);
	p->stay_out_ns = build_time(s, at(s, "services[%u].promote.stay_out", i), r->stay_out, "1s", "7d",
				    STAY_OUT_DFLT);
	return build_deny(s, r, i, p);
}

void free_promote(struct config_service *svc)
{
	for (unsigned j = 0; j < svc->promote.ndeny; j++)
		free(svc->promote.deny[j]);
	free(svc->promote.deny);
}
