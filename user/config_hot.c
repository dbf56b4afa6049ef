/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How the agent keeps a service's hot copies: whom it asks besides the origin, and whether it does so before
 * they expire.
 */
#include <string.h>

#include "config_build.h"

static bool is_listed(const struct config_service *svc, const struct config_vip *vip)
{
	struct config_vip other;

	if (!parse_endpoint(svc->origin, &other) && same_vip(&other, vip))
		return true;
	for (unsigned k = 0; k < svc->nreplicas; k++) {
		if (!parse_endpoint(svc->replicas[k], &other) && same_vip(&other, vip))
			return true;
	}
	return false;
}

static void build_replicas(struct source *s, const struct raw_service *r, unsigned i, struct config_service *svc)
{
	struct config_vip vip;
	char text[WEIR_ORIGIN_MAX];

	if (r->replicas && !r->origin)
		fault(s, at(s, "services[%u].replicas", i), "are those of an origin, and the service has none");
	for (unsigned k = 0; k < r->replicas_count; k++) {
		if (!build_endpoint(s, at(s, "services[%u].replicas[%u]", i, k), r->replicas[k], text))
			continue;
		parse_endpoint(text, &vip);
		if (is_listed(svc, &vip))
			fault(s, at(s, "services[%u].replicas[%u]", i, k),
			      "'%.60s' is listed twice, or the origin", text);
		else
			memcpy(svc->replicas[svc->nreplicas++], text, sizeof(text));
	}
}

void build_keep(struct source *s, const struct raw_service *r, unsigned i, const struct config *c,
		struct config_service *svc)
{
	bool can = r->origin && c->hit_counters;

	build_replicas(s, r, i, svc);
	svc->refresh = build_choice(s, at(s, "services[%u].refresh", i), r->refresh, booleans, can);
	if (svc->refresh && !r->origin)
		fault(s, at(s, "services[%u].refresh", i), "is from the origin, and the service has none");
	else if (svc->refresh && !can)
		fault(s, at(s, "services[%u].refresh", i),
		      "is for copies with hits, and cache.hit_counters is false");
}
