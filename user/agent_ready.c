// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_ready.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent_config.h"
#include "backends.h"
#include "bus.h"

#define LOOK_NS 1000000000ULL

static void add(json_t *reasons, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(json_t *reasons, const char *fmt, ...)
{
	char text[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(reasons, json_string(printable(text, strlen(text))));
}

static void look_at_iface(json_t *reasons, struct dataplane *dp, const struct weir_ctl_iface *ci)
{
	struct dp_iface_state st;

	if (dp_iface_state(dp, ci, &st))
		add(reasons, "%s", dp_error());
	else if (!st.present)
		add(reasons, "%.16s: the interface is gone", ci->name);
	else if (!st.attached)
		add(reasons, "%.16s: the program is not attached", ci->name);
	else if (!st.egress)
		add(reasons, "%.16s: the egress program is not attached", ci->name);
}

static void look_at_ifaces(json_t *reasons, struct dataplane *dp)
{
	const struct weir_ctl *ctl = dp_ctl(dp);
	bool any = false;

	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (!ctl->ifaces[i].ifindex)
			continue;
		any = true;
		look_at_iface(reasons, dp, &ctl->ifaces[i]);
	}
	if (!any)
		add(reasons, "no interface is attached");
}

static void look_at_lease(json_t *reasons, const struct weir_ctl *ctl)
{
	__u64 deadline = __atomic_load_n(&ctl->lease_deadline_ns, __ATOMIC_RELAXED);

	if (deadline != WEIR_NEVER && deadline <= monotonic_ns())
		add(reasons, "the lease is over: nothing is answered");
}

static bool is_checked(const struct config *c, const char *name)
{
	const struct config_pool *pool = configured_pool(c, name);

	return pool && pool->check.kind != CHECK_NONE;
}

static bool takes_connections(const struct pools_mem *m, unsigned backend)
{
	const struct weir_ctl_backend *b = &m->backend_ctl[backend];

	return b->admin == WEIR_ADMIN_UP && b->health != WEIR_HEALTH_DOWN;
}

/* Each shard needs a backend; and of those that are checked one whose check was good. */
static void look_at_shard(json_t *reasons, const struct agent_view *v, unsigned pool, unsigned shard)
{
	const struct pools_mem *m = dp_pools(v->dp);
	bool up = false, known = !is_checked(v->config, m->pool_ctl[pool].name);
	char where[32] = "";

	for (int b = pools_next(m, pool, -1); b >= 0; b = pools_next(m, pool, b)) {
		if (backend_shard(m, b) != shard || !takes_connections(m, b))
			continue;
		up = true;
		known |= m->backend_ctl[b].health == WEIR_HEALTH_UP;
	}
	if (m->pool_ctl[pool].shards > 1)
		snprintf(where, sizeof(where), ", shard %u", shard);
	if (!up)
		add(reasons, "pool %s%s: no backend takes connections", pool_name(m, pool), where);
	else if (!known)
		add(reasons, "pool %s%s: no backend was checked yet", pool_name(m, pool), where);
}

static void look_at_pools(json_t *reasons, const struct agent_view *v)
{
	const struct pools_mem *m = dp_pools(v->dp);

	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		unsigned shards = m->pool_ctl[p].shards ?: 1;

		for (unsigned shard = 0; shard < shards; shard++)
			look_at_shard(reasons, v, p, shard);
	}
}

static void look(json_t *reasons, const struct agent_view *v)
{
	int err;

	if (!v->dp) {
		add(reasons, "%s", v->open_words);
		return;
	}
	err = dp_current(v->dp);
	if (err) {
		add(reasons, err == -ENOENT ? "not loaded" : "what is loaded is being changed");
		return;
	}
	look_at_ifaces(reasons, v->dp);
	if (bus_not_ready(v->hot->bus))
		add(reasons, "%s", bus_not_ready(v->hot->bus));
	look_at_lease(reasons, dp_ctl(v->dp));
	look_at_pools(reasons, v);
}

json_t *agent_not_ready(const struct agent_view *v)
{
	static json_t *reasons;
	static __u64 looked_ns;
	__u64 now = monotonic_ns();

	if (!reasons || now - looked_ns >= LOOK_NS) {
		json_decref(reasons);
		reasons = json_array();
		looked_ns = now;
		look(reasons, v);
	}
	return json_incref(reasons);
}
