/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir status: what is loaded where, whether it answers, and what bounds the staleness of an answer. */
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends.h"
#include "cmd.h"
#include "nic.h"
#include "shows.h"


struct status {
	struct session s;
	bool elsewhere; /* loaded in another network namespace: its interfaces cannot be seen */
	unsigned nifaces, nattached;
	struct weir_ctl_iface ci[WEIR_IFACES_MAX];
	struct dp_iface_state st[WEIR_IFACES_MAX];
	struct hotset_usage usage;
	struct config_memory memory;
	bool answering, egress, cached; /* some service has a cache */
	__u64 lease_left; /* WEIR_NEVER: never ends */
	__u64 staleness;  /* WEIR_NEVER: not bounded */
	bool blind;	  /* not permitted to see what is attached */
	unsigned by_hand; /* backends and pools that commands changed */
	__u64 agent_ago;  /* ns since the agent was last seen; WEIR_NEVER: it never was */
	char *warnings[4 * WEIR_IFACES_MAX + WEIR_SERVICES_MAX + 8];
	unsigned nwarnings;
};

static void add_warning(struct status *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_warning(struct status *t, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	t->warnings[t->nwarnings++] = strdup(text);
}

static const char *iface_text(const struct weir_ctl_iface *ci)
{
	return printable(ci->name, strnlen(ci->name, sizeof(ci->name)));
}

static const char *state_name(unsigned state)
{
	static const char *const names[] = {
		[WEIR_STATE_LOADING] = "loading",
		[WEIR_STATE_READY] = "ready",
		[WEIR_STATE_RELOADING] = "reloading",
		[WEIR_STATE_UNLOADING] = "unloading",
	};

	return state >= WEIR_STATE_LOADING && state <= WEIR_STATE_UNLOADING ? names[state] : "unknown";
}

/* ---- looking ---------------------------------------------------------------------------------- */

static void judge_mode(struct status *t, const struct weir_ctl_iface *ci, const struct dp_iface_state *st)
{
	unsigned mode = st->mode ? st->mode : ci->mode;

	if (mode != ci->mode)
		add_warning(t, "%s: the program runs in %s mode, loaded was %s", iface_text(ci),
			    mode_name(mode), mode_name(ci->mode));
	else if (mode == WEIR_MODE_GENERIC && ci->flags & WEIR_IF_FALLBACK)
		add_warning(t, "%s: generic mode, since the driver cannot run XDP natively: hits cost more",
			    iface_text(ci));
	if (!st->dispatcher && ci->flags & WEIR_IF_DISPATCHER)
		add_warning(t, "%s: the libxdp dispatcher is gone", iface_text(ci));
}

static void judge_iface(struct status *t, const struct weir_ctl_iface *ci, const struct dp_iface_state *st)
{
	if (!st->present) {
		add_warning(t, "%s: the interface is gone: `weir reload` forgets or finds it",
			    iface_text(ci));
		return;
	}
	if (!st->attached)
		add_warning(t,
			    "%s: the program was taken off or replaced: nothing is answered there, and "
			    "writes are not "
			    "seen; `weir reload` puts it back",
			    iface_text(ci));
	else
		judge_mode(t, ci, st);
	if (!st->egress)
		add_warning(t,
			    "%s: the egress program is not there: replies to writes are not seen; `weir "
			    "reload` puts "
			    "it back",
			    iface_text(ci));
	if (st->mtu != ci->mtu)
		add_warning(t, "%s: the MTU was %u when loaded and is %u now: %s`weir reload` adapts", iface_text(ci),
			    ci->mtu, st->mtu,
			    st->mtu > ONE_BUFFER_MTU && st->mode == WEIR_MODE_NATIVE && !(ci->flags & WEIR_IF_FRAGS) ?
				    "longer frames are LOST in the driver until " : "");
}

static void look_at_ifaces(struct status *t)
{
	const struct weir_ctl *ctl = t->s.ctl;

	t->egress = true;
	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		struct dp_iface_state *st = &t->st[t->nifaces];

		if (!ctl->ifaces[i].ifindex)
			continue;
		t->ci[t->nifaces++] = ctl->ifaces[i];
		if (t->elsewhere)
			continue;
		if (dp_iface_state(t->s.dp, &ctl->ifaces[i], st)) {
			t->blind = true;
			add_warning(t, "%s", dp_error());
		} else {
			judge_iface(t, &ctl->ifaces[i], st);
		}
		t->nattached += st->attached;
		t->egress &= st->egress;
	}
	if (!t->nifaces)
		add_warning(t, "no interface is attached");
}

static void look_at_netns(struct status *t)
{
	t->elsewhere = dp_elsewhere(t->s.dp);
	if (t->elsewhere)
		add_warning(t,
			    "loaded in another network namespace (inode %llu): its interfaces cannot be seen "
			    "from here; "
			    "run this there with `nsenter --net=`",
			    t->s.ctl->netns);
}

/* It extends the lease each second: seen since, it does not want to. */
#define AGENT_SEEN_NS 2000000000ULL

static void look_at_lease(struct status *t)
{
	__u64 deadline = t->s.ctl->lease_deadline_ns, now = monotonic_ns();

	t->lease_left = deadline == WEIR_NEVER ? WEIR_NEVER : deadline > now ? deadline - now : 0;
	if (!t->lease_left && now - t->s.ctl->agent_ns < AGENT_SEEN_NS)
		add_warning(t, "the lease is over: nothing is answered; the agent, which runs, says why at /readyz");
	else if (!t->lease_left)
		add_warning(t, "the lease is over: nothing is answered until the agent extends it");
}

static void look_at_services(struct status *t)
{
	const struct weir_ctl *ctl = t->s.ctl;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		const struct weir_ctl_svc *cs = &ctl->services[i];
		const struct weir_svc_fence *f = &dp_hotset_mem(t->s.dp)->svc_fences[i];

		if (!*cs->name)
			continue;
		if (!(cs->flags & WEIR_SVC_CACHE))
			continue;
		t->cached = true;
		t->staleness = cs->ttl_ns > t->staleness ? cs->ttl_ns : t->staleness;
		if (f->flush_at_ns == WEIR_NEVER || f->flush_at_ns > monotonic_ns())
			add_warning(t,
				    "service %.31s: a flush_all with a date is pending: nothing can be kept "
				    "beyond it; "
				    "`weir cache flush` clears it",
				    cs->name);
	}
}

/* What the loaded sizes cost, by the formula that was used for them. */
static void look_at_memory(struct status *t)
{
	const struct weir_ctl *ctl = t->s.ctl;
	struct config c = {.capacity = ctl->entries,
			   .flow_buckets = ctl->flow_buckets,
			   .flow_recs = ctl->flow_recs,
			   .conns = ctl->conn_buckets * WEIR_CONN_WAYS,
			   .sample = ctl->sample_ring != 0,
			   .hit_counters = ctl->hit_entries != 0,
			   .nifaces = t->nifaces,
			   .memory = (__u64)ctl->slabs * WEIR_SLAB_LINES * WEIR_LINE};

	config_memory(&c, ctl->ncpu, &t->memory);
	t->usage = hotset_usage(t->s.hot);
}

/* What steering depends on: backends that take connections, and an agent that checks them. */
static void look_at_pools(struct status *t)
{
	const struct pools_mem *m = dp_pools(t->s.dp);
	__u64 seen = t->s.ctl->agent_ns, now = monotonic_ns();
	bool any = false;

	t->agent_ago = !seen ? WEIR_NEVER : now > seen ? now - seen : 0;
	t->by_hand = count_by_hand(m);
	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		any = true;
		if (!count_up(m, p))
			add_warning(t, "pool %s: no backend takes connections", pool_name(m, p));
	}
	if (any && t->agent_ago > AGENT_LOST_NS)
		add_warning(t, "the agent (`weir run`) %s: backends are not checked, and idle connections stay",
			    seen ? "is gone" : "does not run");
	if (t->by_hand)
		add_warning(t, "%u change%s by hand: `weir reload --dry-run` tells which, `weir reload` goes back",
			    t->by_hand, t->by_hand == 1 ? "" : "s");
}

static void look(struct status *t)
{
	unsigned state = t->s.ctl->state;

	look_at_netns(t);
	look_at_ifaces(t);
	look_at_lease(t);
	look_at_services(t);
	look_at_pools(t);
	look_at_memory(t);
	if (state != WEIR_STATE_READY)
		add_warning(t,
			    "a command is %s, or was interrupted while it did: `weir reload` or `weir "
			    "unload` cleans up",
			    state_name(state));
	/* Programs go on answering during a reload. */
	t->answering = (state == WEIR_STATE_READY || state == WEIR_STATE_RELOADING) && t->lease_left &&
		       (t->elsewhere || t->blind ? t->nifaces : t->nattached);
}

/* ---- for people ------------------------------------------------------------------------------- */

static void print_iface(const struct status *t, unsigned i)
{
	const struct dp_iface_state *st = &t->st[i];
	const struct weir_ctl_iface *ci = &t->ci[i];

	printf("  %-15s ", iface_text(ci));
	if (t->elsewhere || t->blind)
		printf("%s, %s\n", mode_name(ci->mode),
		       t->elsewhere ? "in another network namespace" : "as loaded; not permitted to look");
	else if (!st->present)
		printf("gone\n");
	else if (!st->attached)
		printf("not attached\n");
	else
		printf("%s, %s, %s, MTU %u%s\n", mode_name(st->mode ? st->mode : ci->mode),
		       st->dispatcher ? "under the libxdp dispatcher" : "bare program, no dispatcher",
		       st->egress ? "egress program on" : "no egress program", st->mtu,
		       ci->flags & WEIR_IF_FRAGS ? ", frames in several buffers" : "");
}

static void print_service(const struct weir_ctl_svc *cs)
{
	if (!(cs->flags & WEIR_SVC_CACHE)) {
		printf("  %-15.31s steered, no cache\n", cs->name);
		return;
	}
	printf("  %-15.31s origin %.95s, ttl %s, values up to %u bytes, strangers: %s%s\n", cs->name,
	       *cs->origin ? cs->origin : "none", human_duration(cs->ttl_ns), cs->value_max,
	       cs->flags & WEIR_SVC_STRANGERS_PASS ? "pass" : "drop",
	       cs->flags & WEIR_SVC_NO_CSUM4 ? ", no UDP checksum over IPv4" : "");
}

static void print_pools(const struct status *t)
{
	const struct pools_mem *m = dp_pools(t->s.dp);
	int first = next_pool(m, -1);

	if (first < 0)
		return;
	printf("pools\n");
	for (int p = first; p >= 0; p = next_pool(m, p)) {
		unsigned backends;
		__u64 active = pool_active(m, p, &backends);

		printf("  %-15s %u of %u backends take connections, %s active\n", pool_name(m, p),
		       count_up(m, p), backends, human_count(active));
	}
	printf("agent      %s", t->agent_ago == WEIR_NEVER ? "not running" : human_duration(t->agent_ago));
	printf("%s\n", t->agent_ago == WEIR_NEVER ? "" : " ago");
	printf("drift      %s counted wrong and corrected, %u change%s by hand\n", human_count(t->s.ctl->drift),
	       t->by_hand, t->by_hand == 1 ? "" : "s");
}

static bool udp_seen(const struct status *t)
{
	return t->nifaces && t->egress;
}

static bool tcp_seen(const struct status *t)
{
	return udp_seen(t) && t->s.ctl->conn_buckets;
}

static void print_coherence(const struct status *t)
{
	bool udp = udp_seen(t), tcp = tcp_seen(t);

	if (udp == tcp)
		printf("coherence  writes over UDP and TCP are %s\n", udp ? "seen" : "not all seen");
	else
		printf("coherence  writes over UDP are seen, over TCP not: cache.connections is 0\n");
	if (t->staleness == WEIR_NEVER)
		printf("           a service has no TTL: nothing bounds how stale an answer is after one that is not\n");
	else
		printf("           after one that is not, an answer can be stale for up to %s, the TTL\n",
		       human_duration(t->staleness));
}

static void print_text(const struct status *t)
{
	const struct weir_ctl *ctl = t->s.ctl;
	__u64 now = time(NULL), age = now > ctl->loaded_at ? now - ctl->loaded_at : 0;

	printf("weir is %s\n", t->answering ? "answering" : "NOT answering");
	printf("loaded     %s ago from %.255s, generation %u, %s\n", human_duration(age * 1000000000ULL),
	       ctl->config, ctl->generation, state_name(ctl->state));
	printf("lease      %s\n", t->lease_left == WEIR_NEVER ? "never ends: there is no agent"
				  : t->lease_left             ? human_duration(t->lease_left)
							      : "over");
	printf("interfaces\n");
	for (unsigned i = 0; i < t->nifaces; i++)
		print_iface(t, i);
	printf("services\n");
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (*ctl->services[i].name)
			print_service(&ctl->services[i]);
	}
	print_pools(t);
	printf("hot set    %s\n", usage_text(&t->usage));
	printf("memory     %s\n", human_bytes(t->memory.total));
	if (t->cached)
		print_coherence(t);
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static json_t *json_iface(const struct status *t, unsigned i)
{
	const struct dp_iface_state *st = &t->st[i];
	const struct weir_ctl_iface *ci = &t->ci[i];
	json_t *doc = json_pack("{s:s, s:I}", "name", iface_text(ci), "ifindex", (json_int_t)ci->ifindex);
	bool known = !t->elsewhere && !t->blind;

	json_object_set_new(doc, "present", known ? json_boolean(st->present) : json_null());
	json_object_set_new(doc, "attached", known ? json_boolean(st->attached) : json_null());
	json_object_set_new(doc, "mode", known && st->mode ? json_string(mode_name(st->mode)) : json_null());
	json_object_set_new(doc, "dispatcher", known ? json_boolean(st->dispatcher) : json_null());
	json_object_set_new(doc, "egress", known ? json_boolean(st->egress) : json_null());
	json_object_set_new(doc, "mtu", json_integer(known && st->present ? st->mtu : ci->mtu));
	json_object_set_new(doc, "frags", json_boolean(ci->flags & WEIR_IF_FRAGS));
	return doc;
}

static json_t *json_service(const struct weir_ctl_svc *cs)
{
	bool cached = cs->flags & WEIR_SVC_CACHE;

	return json_pack("{s:s, s:s?, s:o, s:I, s:s, s:b, s:b}", "name", cs->name, "origin",
			 *cs->origin ? cs->origin : NULL, "ttl_seconds",
			 json_seconds(cached ? cs->ttl_ns : WEIR_NEVER), "value_max", (json_int_t)cs->value_max, "strangers",
			 cs->flags & WEIR_SVC_STRANGERS_PASS ? "pass" : "drop", "udp_checksum",
			 !(cs->flags & WEIR_SVC_NO_CSUM4), "cache", cached);
}

static json_t *json_pools(const struct pools_mem *m)
{
	json_t *list = json_array();

	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		unsigned backends;
		__u64 active = pool_active(m, p, &backends);

		json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:I}", "name", pool_name(m, p), "backends",
						      (int)backends, "up", (int)count_up(m, p), "active",
						      (json_int_t)active));
	}
	return list;
}

static json_t *json_warnings(const struct status *t)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < t->nwarnings; i++)
		json_array_append_new(list, json_string(printable(t->warnings[i], strlen(t->warnings[i]))));
	return list;
}

static void print_document(const struct status *t)
{
	const struct weir_ctl *ctl = t->s.ctl;
	json_t *ifaces = json_array(), *services = json_array();
	json_t *steering = json_pack("{s:o, s:o, s:I, s:i}", "pools", json_pools(dp_pools(t->s.dp)),
				     "agent_age_seconds", json_seconds(t->agent_ago), "drift", (json_int_t)ctl->drift, "by_hand",
				     (int)t->by_hand);

	for (unsigned i = 0; i < t->nifaces; i++)
		json_array_append_new(ifaces, json_iface(t, i));
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (*ctl->services[i].name)
			json_array_append_new(services, json_service(&ctl->services[i]));
	}
	out_document("status",
		     json_pack("{s:b, s:s, s:b, s:I, s:I, s:s, s:{s:b, s:o}, s:o, s:o, s:o, s:o, s:o, s:{s:b, "
			       "s:b, s:o}, s:o}",
			       "loaded", true, "state", state_name(ctl->state), "answering", t->answering,
			       "generation", (json_int_t)ctl->generation, "loaded_at",
			       (json_int_t)ctl->loaded_at, "config",
			       printable(ctl->config, strnlen(ctl->config, sizeof(ctl->config))), "lease",
			       "agent", ctl->lease_deadline_ns != WEIR_NEVER, "remaining_seconds",
			       json_seconds(t->lease_left), "interfaces", ifaces, "services", services,
			       "steering", steering, "cache", json_usage(&t->usage), "memory_bytes",
			       json_memory(&t->memory),
			       "coherence", "udp_writes_seen", udp_seen(t), "tcp_writes_seen",
			       tcp_seen(t), "staleness_bound_seconds", json_seconds(t->staleness), "warnings",
			       json_warnings(t)));
}

/* ---- the command ------------------------------------------------------------------------------ */

/* Not loaded is an answer, too; not being allowed to look is none. */
int show_not_open(int err)
{
	if (out_json && exit_of(err) == EXIT_FAILED) {
		json_t *warnings = json_array();

		if (err != -ENOENT)
			json_array_append_new(warnings, json_string(dp_error()));
		out_document("status", json_pack("{s:b, s:o}", "loaded", false, "warnings", warnings));
	}
	return fail(exit_of(err), "status: %s", dp_error());
}

int show_status(const struct session *s)
{
	static struct status t;

	t = (struct status){ .s = *s };
	look(&t);
	if (out_json)
		print_document(&t);
	else
		print_text(&t);
	for (unsigned i = 0; i < t.nwarnings; i++) {
		warn("%s", t.warnings[i]);
		free(t.warnings[i]);
	}
	return t.nwarnings ? EXIT_DEGRADED : EXIT_OK;
}

int cmd_status(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct session s = { .what = "status" };
	int err = dp_open(&s.dp, DP_READ);

	if (err)
		return show_not_open(err);
	s.ctl = dp_ctl(s.dp);
	err = hotset_open(&s.hot, dp_hotset_mem(s.dp));
	if (!err)
		return session_close(&s, show_status(&s));
	dp_close(s.dp);
	return fail(exit_of(err), "status: the hot set cannot be opened: %s", strerror(-err));
}
