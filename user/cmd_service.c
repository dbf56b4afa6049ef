/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir service show, add, set, del: what is served where, and how its pool chooses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "cmd.h"
#include "options.h"
#include "reasons.h"
#include "running.h"
#include "service_edit.h"
#include "shows.h"

struct services {
	struct session s;
	const struct pools_mem *m;
	bool known; /* cfg could be read */
	struct weir_config cfg;
};

/* ---- looking ---------------------------------------------------------------------------------- */

static int class_counts(struct services *v, unsigned svc, __u64 *sums)
{
	struct weir_count counts[WEIR_R_COUNT];
	int err = dp_counts(v->s.dp, svc, counts);

	for (int c = 0; c < CLASSES; c++)
		sums[c] = err ? 0 : class_packets(counts, c);
	return err ? fail(exit_of(err), "service show: %s", dp_error()) : EXIT_OK;
}

static void look(struct services *v)
{
	int err = running_config(v->s.ctl, &v->cfg);

	v->m = dp_pools(v->s.dp);
	v->known = !err;
	if (err)
		warn("what the programs run with cannot be read: %s",
		     err == -ENOENT ? "none is attached" : strerror(-err));
}

/* NULL: none. */
static const char *pool_of(const struct services *v, unsigned place)
{
	return v->known && place < WEIR_POOLS_MAX && *v->m->pool_ctl[place].name ? pool_name(v->m, place)
										 : NULL;
}

static const char *protocol_name(__u32 flags)
{
	static const char *const names[] = {"none", "tcp", "udp", "both"};

	return names[!!(flags & WEIR_SVC_TCP) + 2 * !!(flags & WEIR_SVC_UDP)];
}

static unsigned bound_percent(const struct weir_pool *pool)
{
	return pool->bound > 256 ? ((pool->bound - 256) * 100 + 255) / 256 : 0;
}

/* ---- for people ------------------------------------------------------------------------------- */

static void print_pool(const struct services *v, unsigned place)
{
	const struct weir_ctl_pool *ctl = &v->m->pool_ctl[place];
	const struct weir_pool *pool = &v->m->pools[place];
	unsigned backends;
	__u64 active = pool_active(v->m, place, &backends);

	printf("  pool       %.31s: %s, fail %s, quantum %u%%", ctl->name, scheduler_name(pool->scheduler),
	       fail_name(pool->fail), ctl->quantum);
	if (pool->scheduler == WEIR_SCHED_MAGLEV_BOUNDED)
		printf(", bound %u%%", bound_percent(pool));
	printf("%s\n", ctl->flags & WEIR_POOL_BY_HAND ? ", changed by hand" : "");
	if (ctl->shards > 1)
		printf("  shards     %u\n", ctl->shards);
	printf("  backends   %u, %s active connection%s\n", backends, human_count(active),
	       active == 1 ? "" : "s");
}

static void print_steering(const struct services *v, const struct weir_service *svc)
{
	if (!pool_of(v, svc->pool)) {
		printf("  pool       none: goes to this host\n");
		return;
	}
	print_pool(v, svc->pool);
	if (pool_of(v, svc->migrate_pool))
		printf("  migrate    %g%% of the keys to %s\n", migrate_percent(svc->migrate),
		       pool_of(v, svc->migrate_pool));
	if (pool_of(v, svc->fallback))
		printf("  fallback   %s\n", pool_of(v, svc->fallback));
	if (svc->quic_len)
		printf("  quic       by bytes %u to %u of the connection id\n", svc->quic_at,
		       svc->quic_at + svc->quic_len - 1);
	printf("  fragments  %s\n", svc->flags & WEIR_SVC_FRAGMENTS ? "steer" : "drop");
}

static int print_service(struct services *v, unsigned svc)
{
	const struct weir_ctl_svc *ctl = &v->s.ctl->services[svc];
	__u64 sums[CLASSES];
	int status = class_counts(v, svc, sums);

	if (status)
		return status;
	printf("service %.31s%s\n  vips      ", ctl->name,
	       ctl->flags & WEIR_SVC_ADDED     ? ", added by hand"
	       : ctl->flags & WEIR_SVC_BY_HAND ? ", changed by hand"
					       : "");
	for (__u32 i = 0; v->known && i < v->cfg.nvips; i++) {
		if (v->cfg.vips[i].svc == svc)
			printf(" %s",
			       addr_text(&v->cfg.vips[i].addr, v->cfg.vips[i].family, v->cfg.vips[i].port));
	}
	printf("%s\n  cache      %s\n", v->known ? "" : " unknown",
	       ctl->flags & WEIR_SVC_CACHE ? "yes" : "no");
	if (ctl->flags & (WEIR_SVC_TCP | WEIR_SVC_UDP))
		printf("  protocol   %s\n", protocol_name(ctl->flags));
	if (v->known)
		print_steering(v, &v->cfg.services[svc]);
	printf("  packets   ");
	for (unsigned c = 0; c < CLASSES; c++)
		printf("%s %s %s", c ? "," : "", class_names[c], human_count(sums[c]));
	printf("\n");
	return EXIT_OK;
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static json_t *json_name(const char *name)
{
	return name ? json_string(name) : json_null();
}

static json_t *json_vips(const struct services *v, unsigned svc)
{
	json_t *list;

	if (!v->known)
		return json_null();
	list = json_array();
	for (__u32 i = 0; i < v->cfg.nvips; i++) {
		const struct weir_vip *vip = &v->cfg.vips[i];

		if (vip->svc == svc)
			json_array_append_new(list,
					      json_string(addr_text(&vip->addr, vip->family, vip->port)));
	}
	return list;
}

static json_t *json_pool(const struct pools_mem *m, unsigned place)
{
	const struct weir_ctl_pool *ctl = &m->pool_ctl[place];
	const struct weir_pool *pool = &m->pools[place];
	unsigned backends;
	__u64 active = pool_active(m, place, &backends);

	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:f, s:i, s:I, s:b}", "name", ctl->name,
			 "scheduler", scheduler_name(pool->scheduler), "fail", fail_name(pool->fail),
			 "quantum_percent", (int)ctl->quantum, "bound_percent", (int)bound_percent(pool),
			 "shards", (int)ctl->shards, "delivery", via_name(ctl->delivery),
			 "slow_start_seconds", ctl->slow_start_ns / 1e9, "backends", (int)backends, "active",
			 (json_int_t)active, "by_hand", !!(ctl->flags & WEIR_POOL_BY_HAND));
}

static void json_add_steering(const struct services *v, json_t *doc, const struct weir_service *svc)
{
	const char *migrate = pool_of(v, svc->migrate_pool);

	json_object_set_new(doc, "pool", pool_of(v, svc->pool) ? json_pool(v->m, svc->pool) : json_null());
	json_object_set_new(doc, "migrate",
			    migrate ? json_pack("{s:s, s:f}", "to", migrate, "percent",
						migrate_percent(svc->migrate))
				    : json_null());
	json_object_set_new(doc, "fallback", json_name(pool_of(v, svc->fallback)));
	json_object_set_new(doc, "quic",
			    v->known && svc->quic_len
				    ? json_pack("{s:i, s:i}", "offset", svc->quic_at, "length", svc->quic_len)
				    : json_null());
}

static json_t *json_service(struct services *v, unsigned svc, int *status)
{
	const struct weir_ctl_svc *ctl = &v->s.ctl->services[svc];
	bool steered = ctl->flags & (WEIR_SVC_TCP | WEIR_SVC_UDP);
	json_t *doc, *packets = json_object();
	__u64 sums[CLASSES];

	*status = class_counts(v, svc, sums);
	for (unsigned c = 0; c < CLASSES; c++)
		json_object_set_new(packets, class_names[c], json_integer(sums[c]));
	doc = json_pack("{s:s, s:b, s:o, s:b, s:s?, s:s?, s:o}", "name", ctl->name, "by_hand",
			!!(ctl->flags & WEIR_SVC_BY_HAND), "vips", json_vips(v, svc), "cache",
			!!(ctl->flags & WEIR_SVC_CACHE), "protocol",
			steered ? protocol_name(ctl->flags) : NULL, "fragments",
			!steered                          ? NULL
			: ctl->flags & WEIR_SVC_FRAGMENTS ? "steer"
							  : "drop",
			"packets", packets);
	json_add_steering(v, doc, &v->cfg.services[svc]);
	return doc;
}

/* ---- show ------------------------------------------------------------------------------------- */

static int show(struct services *v, const char *name)
{
	int only = name ? session_service(&v->s, name) : -1, status = EXIT_OK;
	json_t *list;

	if (name && only < 0)
		return EXIT_FAILED;
	list = json_array();
	for (int i = 0; i < WEIR_SERVICES_MAX && !status; i++) {
		if (!*v->s.ctl->services[i].name || (name && i != only))
			continue;
		if (out_json)
			json_array_append_new(list, json_service(v, i, &status));
		else
			status = print_service(v, i);
	}
	if (out_json && !status)
		out_document("service.show", json_pack("{s:s?, s:O}", "name", name, "services", list));
	json_decref(list);
	return status ? status : v->known ? EXIT_OK : EXIT_DEGRADED;
}

int show_services(const struct session *s, const struct weir_config *cfg, const char *name)
{
	static struct services v;

	v = (struct services){.s = *s, .m = dp_pools(s->dp), .known = cfg};
	if (cfg)
		v.cfg = *cfg;
	return show(&v, name);
}

int cmd_service_show(const struct cmd *cmd, char **values, int argc, char **argv)
{
	static struct services v;
	int status = session_open(&v.s, "service show", DP_READ);

	if (status)
		return status;
	look(&v);
	return session_close(&v.s, show(&v, argc ? argv[0] : NULL));
}

/* ---- set -------------------------------------------------------------------------------------- */

#define LEAVE (-1)

struct settings {
	int scheduler, fail, quantum, bound; /* LEAVE: as it is */
};

/* "5" or "5%". */
static int option_percent(const char *option, char *text, __u64 min, __u64 max, int *to)
{
	size_t len = text ? strlen(text) : 0;
	__u64 n = 0;

	if (len && text[len - 1] == '%')
		text[len - 1] = '\0';
	if (option_number("service set", option, text, min, max, &n))
		return EXIT_USAGE;
	*to = text ? (int)n : LEAVE;
	return EXIT_OK;
}

static int read_settings(struct settings *to, const struct cmd *cmd, char **values)
{
	static const char *const ways[] = {"drop", "reset", NULL};

	*to = (struct settings){LEAVE, LEAVE, LEAVE, LEAVE};
	if (option_choice("service set", "--scheduler", opt_value(cmd, values, "scheduler"), scheduler_names,
			  &to->scheduler) ||
	    option_choice("service set", "--fail", opt_value(cmd, values, "fail"), ways, &to->fail) ||
	    option_percent("--quantum", (char *)opt_value(cmd, values, "quantum"), 0, 50, &to->quantum) ||
	    option_percent("--bound", (char *)opt_value(cmd, values, "bound"), 1, 1000, &to->bound))
		return EXIT_USAGE;
	return EXIT_OK;
}

/* Whether anything changes: what is the same already is left out. */
static bool differs(struct settings *to, const struct weir_pool *pool, const struct weir_ctl_pool *ctl)
{
	if (to->scheduler == (int)pool->scheduler)
		to->scheduler = LEAVE;
	if (to->fail == (int)pool->fail)
		to->fail = LEAVE;
	if (to->quantum == (int)ctl->quantum)
		to->quantum = LEAVE;
	if (to->bound == (int)bound_percent(pool))
		to->bound = LEAVE;
	return to->scheduler != LEAVE || to->fail != LEAVE || to->quantum != LEAVE || to->bound != LEAVE;
}

/* In all places of the pool. The agent makes a mask of the quantum, within a second. */
static void tune(const struct pools_mem *m, unsigned place, const struct settings *to)
{
	struct weir_ctl_pool *ctl = &m->pool_ctl[place];

	for (unsigned i = 0; i < ctl->places; i++) {
		struct weir_pool *pool = &m->pools[place + i];

		if (to->scheduler != LEAVE)
			__atomic_store_n(&pool->scheduler, to->scheduler, __ATOMIC_RELAXED);
		if (to->fail != LEAVE)
			__atomic_store_n(&pool->fail, to->fail, __ATOMIC_RELAXED);
		if (to->bound != LEAVE)
			__atomic_store_n(&pool->bound, 256 + 256 * to->bound / 100, __ATOMIC_RELAXED);
	}
	if (to->quantum != LEAVE)
		__atomic_store_n(&ctl->quantum, to->quantum, __ATOMIC_RELAXED);
	ctl->flags |= WEIR_POOL_BY_HAND;
}

static void print_change(struct services *v, const char *service, const char *result, unsigned place)
{
	const struct weir_pool *pool = &v->m->pools[place];
	bool steered = pool_of(v, place);
	char kind[32];

	snprintf(kind, sizeof(kind), "%s", v->s.what);
	*strchr(kind, ' ') = '.';
	if (out_json)
		out_document(kind, json_pack("{s:s, s:s, s:o}", "result", result, "service", service, "pool",
					     steered ? json_pool(v->m, place) : json_null()));
	else if (steered)
		printf("%s: %s: pool %s, %s, fail %s, quantum %u%%, bound %u%%\n", service, result,
		       pool_name(v->m, place), scheduler_name(pool->scheduler), fail_name(pool->fail),
		       v->m->pool_ctl[place].quantum, bound_percent(pool));
	else
		printf("%s: %s\n", service, result);
	if (strcmp(result, "unchanged"))
		note("`weir reload` goes back to what the configuration says");
}

static bool any_setting(const struct settings *to)
{
	return to->scheduler != LEAVE || to->fail != LEAVE || to->quantum != LEAVE || to->bound != LEAVE;
}

/* `edited`: the service itself was changed already. */
static int set(struct services *v, const char *name, struct settings *to, bool edited)
{
	int svc = session_service(&v->s, name);
	bool changes = false;
	unsigned place;

	if (svc < 0)
		return EXIT_FAILED;
	look(v);
	if (!v->known)
		return fail(EXIT_FAILED, "%s: nothing was changed", v->s.what);
	place = v->cfg.services[svc].pool;
	if (any_setting(to)) {
		if (!pool_of(v, place))
			return fail(EXIT_FAILED, "%s: service %s has no pool", v->s.what, name);
		changes = differs(to, &v->m->pools[place], &v->m->pool_ctl[place]);
		if (changes)
			tune(v->m, place, to);
	}
	print_change(v, name, changes || edited ? "changed" : "unchanged",
		     place < WEIR_POOLS_MAX ? place : 0);
	return EXIT_OK;
}

static bool any_edit(const struct service_edit *e)
{
	return e->vips || e->clients || e->pool || e->protocol || e->fragments || e->origin || e->ttl ||
	       e->migrate;
}

int cmd_service_set(const struct cmd *cmd, char **values, int argc, char **argv)
{
	static struct services v;
	struct service_edit e = {.name = argv[0],
				 .vips = opt_value(cmd, values, "vips"),
				 .clients = opt_value(cmd, values, "clients"),
				 .pool = opt_value(cmd, values, "pool"),
				 .protocol = opt_value(cmd, values, "protocol"),
				 .fragments = opt_value(cmd, values, "fragments"),
				 .origin = opt_value(cmd, values, "origin"),
				 .ttl = opt_value(cmd, values, "ttl"),
				 .migrate = opt_value(cmd, values, "migrate")};
	struct settings to;
	int status = read_settings(&to, cmd, values);

	if (!status && !any_setting(&to) && !any_edit(&e))
		status = fail(EXIT_USAGE, "service set: say what: `weir service set -h` lists it");
	if (!status && any_edit(&e))
		status = service_edit("service set", &e);
	if (!status)
		status = session_open(&v.s, "service set", DP_WRITE);
	return status ? status : session_close(&v.s, set(&v, argv[0], &to, any_edit(&e)));
}

/* ---- add and del ------------------------------------------------------------------------------ */

/* "a" and "b" as "a,b"; NULL: no memory. */
static char *join(int n, char **texts)
{
	char *all = NULL, *longer;

	for (int i = 0; i < n; i++) {
		if (asprintf(&longer, "%s%s%s", all ? all : "", all ? "," : "", texts[i]) < 0)
			longer = NULL;
		free(all);
		all = longer;
		if (!all)
			return NULL;
	}
	return all;
}

static int tell_added(const char *name)
{
	static struct services v;
	int status = session_open(&v.s, "service add", DP_READ), svc;

	if (status)
		return status;
	svc = session_service(&v.s, name);
	look(&v);
	if (svc >= 0)
		print_change(&v, name, "added", v.cfg.services[svc].pool);
	return session_close(&v.s, svc < 0 ? EXIT_FAILED : EXIT_OK);
}

int cmd_service_add(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct service_edit e = {.name = argv[0],
				 .add = true,
				 .clients = opt_value(cmd, values, "clients"),
				 .pool = opt_value(cmd, values, "pool"),
				 .protocol = opt_value(cmd, values, "protocol"),
				 .fragments = opt_value(cmd, values, "fragments"),
				 .cache = opt_value(cmd, values, "cache") ? "true" : NULL,
				 .origin = opt_value(cmd, values, "origin"),
				 .ttl = opt_value(cmd, values, "ttl")};
	char *vips = join(argc - 1, argv + 1);
	int status = EXIT_FAILED;

	e.vips = vips;
	if (vips)
		status = service_edit("service add", &e);
	free(vips);
	return status ? status : tell_added(argv[0]);
}

int cmd_service_del(const struct cmd *cmd, char **values, int argc, char **argv)
{
	int status = service_edit("service del", &(struct service_edit){.name = argv[0], .del = true});

	if (status)
		return status;
	if (out_json)
		out_document("service.del",
			     json_pack("{s:s, s:s, s:n}", "result", "removed", "service", argv[0], "pool"));
	else
		printf("%s: removed\n", argv[0]);
	note("`weir reload` goes back to what the configuration says");
	return EXIT_OK;
}
