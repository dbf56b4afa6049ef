// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Policies come and go with configurations. One that is not configured any more is freed when the filler has told of
 * the last key that it asked for.
 */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy_parts.h"

/* ---- one policy ------------------------------------------------------------------------------- */

void policy_free(struct policy *p)
{
	keys_free(&p->keys);
	keys_file_free(&p->file);
	free(p->rest);
	keys_free(&p->found);
	free(p->c.list);
	free(p->c.event);
	free(p->c.template);
	free(p);
}

static struct policy *make_policy(struct policies *all, const struct config_policy *c, const char *service, int svc)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->of = all;
	p->c = *c;
	p->svc = svc;
	snprintf(p->service, sizeof(p->service), "%s", service);
	p->c.list = c->list ? strdup(c->list) : NULL;
	p->c.event = c->event ? strdup(c->event) : NULL;
	p->c.template = c->template ? strdup(c->template) : NULL;
	if ((c->list && !p->c.list) || (c->event && !p->c.event) || (c->template && !p->c.template)) {
		policy_free(p);
		return NULL;
	}
	if (c->on == POLICY_SURGE)
		policy_traffic_begin(p);
	return p;
}

static void let_go(struct policy *p)
{
	policy_peer_stop(p);
	p->gone = true;
	if (!p->pending)
		policy_free(p);
}

static bool same_text(const char *x, const char *y)
{
	return x == y || (x && y && !strcmp(x, y));
}

static bool same_peer(const struct config_vip *x, const struct config_vip *y)
{
	return x->family == y->family && x->port == y->port && !memcmp(&x->addr, &y->addr, sizeof(x->addr));
}

static bool same_policy(const struct policy *p, const struct config_policy *c, const char *service, int svc)
{
	return !strcmp(p->c.name, c->name) && p->c.on == c->on && !strcmp(p->service, service) && p->svc == svc &&
	       p->c.above == c->above && p->c.top == c->top && p->c.max == c->max && p->c.rate == c->rate &&
	       same_peer(&p->c.peer, &c->peer) && p->c.every_ns == c->every_ns &&
	       p->c.cooldown_ns == c->cooldown_ns && same_text(p->c.list, c->list) &&
	       same_text(p->c.event, c->event) && same_text(p->c.template, c->template);
}

/* ---- what is done first ----------------------------------------------------------------------- */

struct tally {
	__u8 svc;
	__u64 n, enough;
};

static int count_slot(const struct weir_slot *s, void *arg)
{
	struct tally *t = arg;

	t->n += s->svc == t->svc;
	return t->n >= t->enough;
}

/* How many keys of the service are held, at most `enough`. */
static __u64 held_keys(struct policies *all, __u8 svc, __u64 enough)
{
	struct hotset_mem mem = *dp_hotset_mem(all->dp);
	struct tally t = { .svc = svc, .enough = enough };
	struct hotset *h;

	mem.grace = NULL;
	if (hotset_open(&h, &mem))
		return 0;
	hotset_each(h, count_slot, &t);
	hotset_close(h);
	return t.n;
}

static void run_start(struct policy *p)
{
	size_t at = 0, len;
	const char *key;

	if (!policy_run_begin(p, p->c.list))
		return;
	if (policy_run_list(p)) {
		p->run.left_out += p->file.bad;
		while ((key = keys_next(&p->file.keys, &at, &len)))
			policy_run_add(p, key, len);
	}
	keys_file_free(&p->file);
}

/* What a policy does when the hot set is taken up, or when it is new. */
static void first(struct policy *p)
{
	if (p->c.on == POLICY_START && !held_keys(p->of, p->svc, 1))
		run_start(p);
	if (p->c.on != POLICY_PEER)
		return;
	if (held_keys(p->of, p->svc, p->c.top / 2 + 1) < p->c.top / 2 + 1)
		policy_peer_ask(p);
	else if (p->c.every_ns)
		p->due_ns = monotonic_ns() + p->c.every_ns;
}

/* ---- all of them ------------------------------------------------------------------------------ */

static struct policy *take_old(struct policies *all, const struct config_policy *c, const char *service, int svc)
{
	for (unsigned i = 0; i < all->n; i++) {
		struct policy *p = all->by[i];

		if (p && same_policy(p, c, service, svc)) {
			all->by[i] = NULL;
			return p;
		}
	}
	return NULL;
}

/* The policies of c, those that did not change taken over from before; how many. fresh: which are new. */
static unsigned choose(struct policies *all, const struct config *c, struct policy **by, bool *fresh, int *err)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->npolicies; i++) {
		const struct config_policy *cp = &c->policies[i];
		const char *service = c->services[cp->service].name;
		int svc = dp_service(all->dp, service);

		if (svc < 0)
			continue;
		by[n] = take_old(all, cp, service, svc);
		fresh[n] = !by[n];
		if (!by[n])
			by[n] = make_policy(all, cp, service, svc);
		if (by[n])
			n++;
		else
			*err = -ENOMEM;
	}
	return n;
}

/* With another data plane, what was asked for has come back as gone: that run is over. */
int policies_begin(struct policies *all, struct dataplane *dp, const struct config *c)
{
	struct policy *by[CONFIG_POLICIES_MAX];
	bool fresh[CONFIG_POLICIES_MAX], taken_up = all->dp != dp;
	unsigned n;
	int err = 0;

	all->dp = dp;
	for (unsigned i = 0; i < all->n; i++)
		policy_traffic_save(all->by[i]);
	n = choose(all, c, by, fresh, &err);
	for (unsigned i = 0; i < all->n; i++) {
		if (all->by[i])
			let_go(all->by[i]);
	}
	memcpy(all->by, by, n * sizeof(*by));
	all->n = n;
	for (unsigned i = 0; i < n; i++) {
		if (taken_up && by[i]->active && !by[i]->pending)
			policy_run_end(by[i]);
		if (taken_up || fresh[i])
			first(by[i]);
	}
	return err;
}

/* The filler tells of what is under way that it is gone. */
void policies_stop(struct policies *all)
{
	if (!all)
		return;
	for (unsigned i = 0; i < all->n; i++) {
		struct policy *p = all->by[i];

		policy_traffic_save(p);
		policy_peer_stop(p);
		if (p->active)
			policy_run_failed(p, "%s", "what was loaded is not there any more");
		p->at = p->keys.len;
		p->counted_ns = 0;
		p->due_ns = 0;
	}
	all->dp = NULL;
}

void policies_second(struct policies *all, struct dataplane *dp)
{
	__u64 now = monotonic_ns();

	for (unsigned i = 0; i < all->n; i++) {
		if (all->by[i]->c.on == POLICY_SURGE)
			policy_traffic_second(all->by[i], dp, now);
		if (all->by[i]->c.on == POLICY_PEER)
			policy_peer_second(all->by[i], now);
	}
}

/* ---- life ------------------------------------------------------------------------------------- */

int policies_new(struct policies **out, sd_event *event, struct filler *f, struct promote *promote, struct bus *b)
{
	struct policies *all = calloc(1, sizeof(*all));
	int err;

	if (!all)
		return -ENOMEM;
	all->filler = f;
	all->promote = promote;
	all->bus = b;
	err = http_new(&all->http, event);
	if (err >= 0)
		err = sd_event_add_time(event, &all->step, CLOCK_MONOTONIC, 0, 1000, policy_step, all);
	if (err >= 0)
		err = sd_event_source_set_enabled(all->step, SD_EVENT_OFF);
	if (err < 0) {
		policies_free(all);
		return err;
	}
	bus_on_event(b, policy_event, all);
	*out = all;
	return 0;
}

/* What the filler still has outlives this: see on_filled() of policy_run.c, which looks at the policy alone. */
void policies_free(struct policies *all)
{
	if (!all)
		return;
	for (unsigned i = 0; i < all->n; i++)
		let_go(all->by[i]);
	http_free(all->http);
	sd_event_source_disable_unref(all->step);
	free(all);
}
