/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Warming policies in the configuration: what is warmed when, and from where its keys are known. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_build.h"
#include "hotset.h"

#define TOP_DFLT      1000
#define ABOVE_DFLT    50
#define ABOVE_MAX     10000
#define RATE_DFLT     10000
#define RATE_MAX      100000
#define MAX_DFLT      100000
#define MAX_MAX	      1000000 /* they are gathered in one go, and the loop waits */
#define EVENT_MAX     64
#define COOLDOWN_DFLT "5m"

const char *const policy_on_names[] = { "start", "surge", "peer", "event", NULL };

const cyaml_schema_field_t policy_fields[] = {
	TEXT(raw_policy, name, REQUIRED),
	TEXT(raw_policy, service, OPTIONAL),
	TEXT(raw_policy, on, REQUIRED),
	TEXT(raw_policy, list, OPTIONAL),
	TEXT(raw_policy, above, OPTIONAL),
	TEXT(raw_policy, top, OPTIONAL),
	TEXT(raw_policy, peer, OPTIONAL),
	TEXT(raw_policy, every, OPTIONAL),
	TEXT(raw_policy, event, OPTIONAL),
	TEXT(raw_policy, template, OPTIONAL),
	TEXT(raw_policy, cooldown, OPTIONAL),
	TEXT(raw_policy, rate, OPTIONAL),
	TEXT(raw_policy, max, OPTIONAL),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t policy_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_policy, policy_fields),
};

struct builder {
	struct source *s;
	const struct raw_policy *r;
	unsigned i;
	struct config *c;
	struct config_policy *p;
};

static const char *field(const struct builder *b, const char *name)
{
	return at(b->s, "policies[%u].%s", b->i, name);
}

/* What each kind takes beside name, service, on, rate and max. `!`: it needs it. */
static const struct {
	const char *key;
	size_t offset;
	const char *of[4];
} keys[] = {
	{ "list", offsetof(struct raw_policy, list), { "!", NULL, NULL, "" } },
	{ "above", offsetof(struct raw_policy, above), { NULL, "", NULL, NULL } },
	{ "top", offsetof(struct raw_policy, top), { NULL, "", "", NULL } },
	{ "peer", offsetof(struct raw_policy, peer), { NULL, NULL, "!", NULL } },
	{ "every", offsetof(struct raw_policy, every), { NULL, NULL, "", NULL } },
	{ "event", offsetof(struct raw_policy, event), { NULL, NULL, NULL, "!" } },
	{ "template", offsetof(struct raw_policy, template), { NULL, NULL, NULL, "!" } },
	{ "cooldown", offsetof(struct raw_policy, cooldown), { NULL, "", NULL, "" } },
};

static void check_keys(const struct builder *b)
{
	for (unsigned k = 0; k < sizeof(keys) / sizeof(*keys); k++) {
		const char *text = *(char *const *)((const char *)b->r + keys[k].offset);
		const char *how = keys[k].of[b->p->on];

		if (text && !how)
			fault(b->s, field(b, keys[k].key), "is not of a policy on %s", policy_on_names[b->p->on]);
		if (!text && how && *how)
			fault(b->s, at(b->s, "policies[%u]", b->i), "on %s needs %s", policy_on_names[b->p->on],
			      keys[k].key);
	}
}

static void build_name_of(const struct builder *b)
{
	if (!build_name(b->s, field(b, "name"), b->r->name, b->p->name))
		return;
	for (unsigned j = 0; j < b->i; j++) {
		if (!strcmp(b->p->name, b->c->policies[j].name))
			fault(b->s, field(b, "name"), "'%s' is already policies[%u]", b->p->name, j);
	}
}

/* The one that is named, or the only one with a cache. */
static void build_service_of(const struct builder *b)
{
	unsigned n = 0;

	b->p->service = 0;
	for (unsigned j = 0; j < b->c->nservices; j++) {
		const struct config_service *svc = &b->c->services[j];

		if (b->r->service ? strcmp(b->r->service, svc->name) : !(svc->flags & WEIR_SVC_CACHE))
			continue;
		b->p->service = j;
		n++;
	}
	if (!n && b->r->service)
		fault(b->s, field(b, "service"), "there is no service '%.60s'", b->r->service);
	else if (!n || !(b->c->services[b->p->service].flags & WEIR_SVC_CACHE))
		fault(b->s, at(b->s, "policies[%u]", b->i), "is for a service with a cache");
	else if (n > 1)
		fault(b->s, at(b->s, "policies[%u]", b->i), "needs service: there are several with a cache");
	else if (!*b->c->services[b->p->service].origin)
		fault(b->s, at(b->s, "policies[%u]", b->i), "fetches keys, and service '%s' has no origin",
		      b->c->services[b->p->service].name);
}

static unsigned build_percent(const struct builder *b)
{
	char digits[16];
	size_t len = b->r->above ? strlen(b->r->above) : 0;
	__u64 n = ABOVE_DFLT;

	if (len && b->r->above[len - 1] == '%')
		len--;
	if (!b->r->above)
		return ABOVE_DFLT;
	snprintf(digits, sizeof(digits), "%.*s", (int)len, b->r->above);
	if (len >= sizeof(digits) || parse_number(digits, 1, ABOVE_MAX, &n))
		fault(b->s, field(b, "above"), "'%.60s' is not from 1%% to %u%%", b->r->above, ABOVE_MAX);
	return n;
}

/* "http://10.0.0.7:9844" */
static void build_peer(const struct builder *b)
{
	static const char scheme[] = "http://";
	char text[WEIR_ORIGIN_MAX];
	const char *rest = b->r->peer;
	size_t len;

	if (!rest)
		return;
	rest += strncmp(rest, scheme, strlen(scheme)) ? 0 : strlen(scheme);
	len = strcspn(rest, "/");
	if (rest == b->r->peer || len >= sizeof(text) || rest[len + !!rest[len]])
		len = 0;
	snprintf(text, sizeof(text), "%.*s", (int)len, rest);
	if (!len || parse_endpoint(text, &b->p->peer))
		fault(b->s, field(b, "peer"), "'%.60s' is not http://ADDRESS:PORT, as in http://10.0.0.7:9844", b->r->peer);
}

/* A key with `{NAME}` for the event's fields, and `*` for a line of the list. */
static void check_template(const struct builder *b)
{
	const char *t = b->r->template, *field_name = field(b, "template");
	bool stars = t && strchr(t, '*');

	if (!t)
		return;
	if (!hotset_key_ok(t, strlen(t)))
		fault(b->s, field_name, "gives no keys: 1 to %d bytes, and no space or control character", WEIR_KEY_MAX);
	else if (stars && !b->r->list)
		fault(b->s, field_name, "has a '*', for lines of a list, and there is no list");
	else if (!stars && b->r->list)
		fault(b->s, field_name, "has no '*' for the lines of the list");
	for (const char *open = strchr(t, '{'); open; open = strchr(open + 1, '{')) {
		if (strcspn(open + 1, "{}*") == 0 || open[1 + strcspn(open + 1, "{}*")] != '}')
			return fault(b->s, field(b, "template"), "'%.60s': a field of the event is {NAME}", open);
	}
}

static int copy(char **to, const char *text)
{
	*to = text ? strdup(text) : NULL;
	return text && !*to ? -ENOMEM : 0;
}

static int build_texts(const struct builder *b)
{
	const char *event = b->r->event;

	if (b->r->list && *b->r->list != '/')
		fault(b->s, field(b, "list"), "'%.60s' is no path from the root", b->r->list);
	if (event && (!*event || strlen(event) > EVENT_MAX || event[strspn(event, "abcdefghijklmnopqrstuvwxyz"
							"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-")]))
		fault(b->s, field(b, "event"), "is not 1 to %d of letters, digits, '_', '.', ':' and '-'", EVENT_MAX);
	if (event && !b->c->bus.redis.family)
		fault(b->s, field(b, "event"), "comes by the bus, and there is none: see bus");
	return copy(&b->p->list, b->r->list) ?: copy(&b->p->event, event) ?: copy(&b->p->template, b->r->template);
}

static int build_policy(const struct builder *b)
{
	struct config_policy *p = b->p;

	build_name_of(b);
	p->on = build_choice(b->s, field(b, "on"), b->r->on, policy_on_names, POLICY_START);
	build_service_of(b);
	if (!strcmp(b->r->on, policy_on_names[p->on]))
		check_keys(b);
	p->above = build_percent(b);
	p->top = build_number(b->s, field(b, "top"), b->r->top, 1, CONFIG_TOP_MAX, TOP_DFLT);
	p->rate = build_number(b->s, field(b, "rate"), b->r->rate, 1, RATE_MAX, RATE_DFLT);
	p->max = build_number(b->s, field(b, "max"), b->r->max, 1, MAX_MAX, MAX_DFLT);
	if (b->r->every)
		p->every_ns = build_time(b->s, field(b, "every"), b->r->every, "10s", "7d", "1h");
	p->cooldown_ns = build_time(b->s, field(b, "cooldown"), b->r->cooldown, "1s", "7d",
				    p->on == POLICY_EVENT ? "1s" : COOLDOWN_DFLT);
	if (p->on == POLICY_SURGE && b->c->nservices && !b->c->services[p->service].promote.on)
		fault(b->s, at(b->s, "policies[%u]", b->i), "on surge needs promote of service '%s': it knows the top keys",
		      b->c->services[p->service].name);
	build_peer(b);
	check_template(b);
	return build_texts(b);
}

int build_policies(struct source *s, const struct raw *raw, struct config *c)
{
	int err = 0;

	c->policies = raw->policies_count ? calloc(raw->policies_count, sizeof(*c->policies)) : NULL;
	if (raw->policies_count && !c->policies)
		return -ENOMEM;
	for (unsigned i = 0; !err && i < raw->policies_count; i++) {
		c->npolicies++;
		err = build_policy(&(struct builder){ s, &raw->policies[i], i, c, &c->policies[i] });
	}
	return err;
}

void free_policies(struct config *c)
{
	for (unsigned i = 0; i < c->npolicies; i++) {
		free(c->policies[i].list);
		free(c->policies[i].event);
		free(c->policies[i].template);
	}
	free(c->policies);
}
