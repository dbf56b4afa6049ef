// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "service_diff.h"

#include <stdio.h>
#include <string.h>

#define PARTS_MAX 12

/* What differs, by the names that the configuration has for it. */
struct parts {
	const char *name[PARTS_MAX];
	unsigned n;
};

static void differs(struct parts *parts, bool differs, const char *name)
{
	if (differs && parts->n < PARTS_MAX)
		parts->name[parts->n++] = name;
}

static bool has_vip(const struct weir_config *now, unsigned svc, const struct config_vip *v)
{
	for (__u32 i = 0; i < now->nvips && i < WEIR_VIPS_MAX; i++) {
		const struct weir_vip *old = &now->vips[i];

		if (old->svc == svc && old->family == v->family && old->port == v->port &&
		    !memcmp(&old->addr, &v->addr, sizeof(v->addr)))
			return true;
	}
	return false;
}

static bool vips_differ(const struct weir_config *now, unsigned svc, const struct config_service *s)
{
	unsigned old = 0;

	for (__u32 i = 0; i < now->nvips && i < WEIR_VIPS_MAX; i++)
		old += now->vips[i].svc == svc;
	for (unsigned v = 0; v < s->nvips; v++) {
		if (!has_vip(now, svc, &s->vips[v]))
			return true;
	}
	return old != s->nvips;
}

static bool clients_differ(const struct weir_service *a, const struct weir_service *b)
{
	return a->nclients4 != b->nclients4 || a->nclients6 != b->nclients6 ||
	       memcmp(a->clients4, b->clients4, sizeof(a->clients4)) ||
	       memcmp(a->clients6, b->clients6, sizeof(a->clients6));
}

static void compare(struct parts *parts, const struct weir_ctl_svc *ctl, const struct weir_service *a,
		    const struct weir_service *b, const struct config_service *s)
{
	__u8 flags = a->flags ^ b->flags;

	differs(parts, flags & WEIR_SVC_CACHE, "cache");
	differs(parts, clients_differ(a, b) || flags & WEIR_SVC_ANY_CLIENT, "clients");
	differs(parts, flags & WEIR_SVC_STRANGERS_PASS, "strangers");
	differs(parts, flags & WEIR_SVC_NO_CSUM4, "udp_checksum");
	differs(parts, flags & (WEIR_SVC_TCP | WEIR_SVC_UDP), "protocol");
	differs(parts, flags & WEIR_SVC_FRAGMENTS, "fragments");
	differs(parts, a->pool != b->pool, "pool");
	differs(parts, a->migrate != b->migrate || a->migrate_pool != b->migrate_pool, "migrate");
	differs(parts, a->fallback != b->fallback, "fallback");
	differs(parts, a->quic_at != b->quic_at || a->quic_len != b->quic_len, "quic");
	differs(parts, strcmp(ctl->origin, s->origin), "origin");
	differs(parts, ctl->ttl_ns != s->ttl_ns || ctl->value_max != s->value_max, "limits of hot copies");
}

static void tell(const struct parts *parts, const char *service, pools_change_fn fn, void *arg)
{
	char line[256];
	int at = snprintf(line, sizeof(line), "service %.31s: ", service);

	for (unsigned i = 0; i < parts->n; i++)
		at += snprintf(line + at, sizeof(line) - at, "%s%s", parts->name[i],
			       i + 2 == parts->n ? " and " : i + 1 < parts->n ? ", " : "");
	snprintf(line + at, sizeof(line) - at, " changed");
	if (parts->n)
		fn(line, arg);
}

static void tell_whole(const char *service, const char *what, pools_change_fn fn, void *arg)
{
	char line[80];

	snprintf(line, sizeof(line), "service %.31s %s", service, what);
	fn(line, arg);
}

static int number_of(const struct weir_ctl *ctl, const char *name)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (*name && !strncmp(ctl->services[i].name, name, WEIR_NAME_MAX))
			return i;
	}
	return -1;
}

static bool is_configured(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		if (!strncmp(c->services[i].name, name, WEIR_NAME_MAX))
			return true;
	}
	return false;
}

void services_diff(const struct weir_ctl *ctl, const struct pools_mem *pools, const struct weir_config *now,
		   const struct config *c, pools_change_fn fn, void *arg)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		const struct config_service *s = &c->services[i];
		int svc = number_of(ctl, s->name);
		struct weir_service want = {};
		struct parts parts = {};

		if (svc < 0) {
			tell_whole(s->name, "added", fn, arg);
			continue;
		}
		maps_service(&want, s, c, pools);
		differs(&parts, vips_differ(now, svc, s), "vips");
		compare(&parts, &ctl->services[svc], &now->services[svc], &want, s);
		tell(&parts, s->name, fn, arg);
	}
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (*ctl->services[i].name && !is_configured(c, ctl->services[i].name))
			tell_whole(ctl->services[i].name, "removed", fn, arg);
	}
}
