/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir backend add: a backend more, by the rules that the configuration has for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "options.h"
#include "running.h"

#define POOL_MAX 256 /* backends of a pool without shards */

struct adding {
	struct change c;
	struct config_backend b;
	struct weir_config cfg; /* what the programs run with */
	const char *shard;      /* as given, or NULL */
};

/* ---- what is given ---------------------------------------------------------------------------- */

static int read_address(const char *text, struct config_vip *at)
{
	const char *why;

	if (parse_address(text, at))
		return fail(EXIT_USAGE,
			    "backend add: '%.60s' is no address, as in 10.0.0.1, 10.0.0.1:80, fd00::1 or "
			    "[fd00::1]:80",
			    text);
	why = config_not_host(&at->addr, at->family);
	return why ? fail(EXIT_USAGE, "backend add: '%.60s' %s", text, why) : EXIT_OK;
}

static int read_name(const char *text, char *name)
{
	if (!config_name_ok(text))
		return fail(EXIT_USAGE,
			    "backend add: '%.60s' is not a name: 1 to %d of a-z, 0-9, '_' and '-', a letter "
			    "or digit first",
			    text, WEIR_NAME_MAX - 1);
	strcpy(name, text);
	return EXIT_OK;
}

static int read_values(struct adding *a, const struct cmd *cmd, char **values, char **argv)
{
	__u64 capacity = CONFIG_CAPACITY, shard = 0, quic_id = CONFIG_NO_QUIC_ID;
	int via = -1, status = read_name(argv[0], a->b.name);

	if (!status)
		status = read_address(argv[1], &a->b.at);
	if (!status)
		status = option_number("backend add", "--capacity", opt_value(cmd, values, "capacity"), 1,
				       CONFIG_CAPACITY_MAX, &capacity);
	if (!status)
		status = option_choice("backend add", "--delivery", opt_value(cmd, values, "delivery"),
				       delivery_names, &via);
	a->shard = opt_value(cmd, values, "shard");
	if (!status)
		status = option_number("backend add", "--shard", a->shard, 0, WEIR_POOLS_MAX - 1, &shard);
	if (!status)
		status = option_number("backend add", "--quic-id", opt_value(cmd, values, "quic-id"), 0,
				       CONFIG_NO_QUIC_ID - 1, &quic_id);
	a->b.backup = opt_value(cmd, values, "backup");
	a->b.capacity = capacity;
	a->b.via = via + 1;
	a->b.shard = shard;
	a->b.quic_id = quic_id;
	return status;
}

/* ---- the rules -------------------------------------------------------------------------------- */

static int check_shard(const struct adding *a)
{
	unsigned shards = a->c.m->pool_ctl[a->c.pool].shards;
	const char *pool = pool_name(a->c.m, a->c.pool);

	if (shards > 1 && !a->shard)
		return fail(EXIT_USAGE, "backend add: pool %s has %u shards: say which with --shard", pool,
			    shards);
	if (shards <= 1 && a->shard)
		return fail(EXIT_FAILED, "backend add: pool %s has no shards", pool);
	if (a->b.shard >= (shards ? shards : 1))
		return fail(EXIT_FAILED, "backend add: the shards of pool %s are 0 to %u", pool, shards - 1);
	return EXIT_OK;
}

static bool same_address(const struct weir_backend *b, const struct config_vip *at)
{
	return b->family == at->family && b->port == at->port &&
	       !memcmp(&b->addr, &at->addr, sizeof(b->addr));
}

/* Two of one address would take twice their share. */
static int check_pool(const struct adding *a)
{
	const struct pools_mem *m = a->c.m;
	unsigned n = 1;

	for (int i = pools_next(m, a->c.pool, -1); i >= 0; i = pools_next(m, a->c.pool, i)) {
		const struct weir_backend *b = &m->backends[i];

		if (same_address(b, &a->b.at))
			return fail(EXIT_FAILED, "backend add: %s is already %s", backend_address(b),
				    backend_name(m, i));
		if (a->b.quic_id != CONFIG_NO_QUIC_ID && b->quic_id == a->b.quic_id)
			return fail(EXIT_FAILED, "backend add: the QUIC id %u is already that of %s",
				    b->quic_id, backend_name(m, i));
		n++;
	}
	if (m->pool_ctl[a->c.pool].shards <= 1 && n > POOL_MAX)
		return fail(EXIT_FAILED,
			    "backend add: pool %s already has %d backends, the most for one without shards",
			    pool_name(m, a->c.pool), POOL_MAX);
	return EXIT_OK;
}

static int check_service(const struct adding *a, const struct weir_service *svc, const char *name)
{
	const struct config_backend *b = &a->b;

	if (svc->flags & WEIR_SVC_CACHE && b->via != WEIR_VIA_NAT)
		return fail(EXIT_FAILED,
			    "backend add: service %.31s has a cache, which must see replies: only nat "
			    "delivery is possible",
			    name);
	if (!svc->quic_len)
		return EXIT_OK;
	if (b->quic_id == CONFIG_NO_QUIC_ID)
		return fail(
			EXIT_FAILED,
			"backend add: service %.31s routes by QUIC connection ids: name one with --quic-id",
			name);
	if (svc->quic_len < 4 && b->quic_id >> 8 * svc->quic_len)
		return fail(EXIT_FAILED,
			    "backend add: the QUIC id %u has no room in the %u byte%s of service %.31s",
			    b->quic_id, svc->quic_len, svc->quic_len == 1 ? "" : "s", name);
	return EXIT_OK;
}

static bool uses(const struct adding *a, const struct weir_service *svc)
{
	unsigned pool = a->c.pool;

	return svc->flags && (svc->pool == pool || svc->migrate_pool == pool || svc->fallback == pool);
}

static int check_services(const struct adding *a)
{
	int status = EXIT_OK;

	for (int i = 0; i < WEIR_SERVICES_MAX && !status; i++) {
		const struct weir_service *svc = &a->cfg.services[i];

		if (uses(a, svc))
			status = check_service(a, svc, a->c.s.ctl->services[i].name);
	}
	return status;
}

/* Replies of a NAT backend are those of one service, of which each address must be of the backend's family. */
static int check_nat(const struct adding *a)
{
	int svc = -1;

	for (__u32 i = 0; i < a->cfg.nvips; i++) {
		const struct weir_vip *vip = &a->cfg.vips[i];

		if (!uses(a, &a->cfg.services[vip->svc]))
			continue;
		if (svc >= 0 && svc != vip->svc)
			return fail(EXIT_FAILED,
				    "backend add: pool %s serves several services, and replies of a NAT backend "
				    "must be of just one",
				    pool_name(a->c.m, a->c.pool));
		svc = vip->svc;
		if (vip->family != a->b.at.family)
			return fail(EXIT_FAILED,
				    "backend add: NAT keeps the family: the service's address %s is IPv%u, the "
				    "backend's IPv%u",
				    addr_text(&vip->addr, vip->family, vip->port), vip->family, a->b.at.family);
	}
	if (svc < 0)
		return fail(EXIT_FAILED,
			    "backend add: no service uses pool %s, and replies of a NAT backend must be of one",
			    pool_name(a->c.m, a->c.pool));
	if (!a->cfg.nat)
		return fail(EXIT_FAILED, "backend add: the programs run without NAT, since no backend of the "
					 "configuration needs it: "
					 "add it to the file and `weir reload`");
	return EXIT_OK;
}

static int check(struct adding *a)
{
	int err = running_config(a->c.s.ctl, &a->cfg), status;

	if (err)
		return fail(exit_of(err), "backend add: what the programs run with cannot be read: %s",
			    strerror(-err));
	if (!a->b.via)
		a->b.via = a->c.m->pool_ctl[a->c.pool].delivery;
	status = check_shard(a);
	if (!status)
		status = check_pool(a);
	if (!status)
		status = check_services(a);
	return status || a->b.via != WEIR_VIA_NAT ? status : check_nat(a);
}

/* ---- the command ------------------------------------------------------------------------------ */

static int add_failed(const struct adding *a, int err)
{
	const char *pool = pool_name(a->c.m, a->c.pool);

	switch (err) {
	case -EEXIST:
		if (pools_backend(a->c.m, a->c.pool, a->b.name) >= 0)
			return fail(EXIT_FAILED, "backend add: pool %s already has a backend '%s'", pool,
				    a->b.name);
		return fail(EXIT_FAILED, "backend add: replies from %s are already those of another backend",
			    addr_text(&a->b.at.addr, a->b.at.family, a->b.at.port));
	case -ENOSPC:
		return fail(EXIT_FAILED,
			    "backend add: pool %s has no place left: add it to the configuration file and "
			    "`weir reload`",
			    pool);
	case -ENOTSUP:
		return fail(EXIT_FAILED,
			    "backend add: the programs do not translate for pool %s: add it to the "
			    "configuration file and `weir reload`",
			    pool);
	case -EAFNOSUPPORT:
		return fail(EXIT_FAILED, "backend add: the service of pool %s has no IPv%u address", pool,
			    a->b.at.family);
	}
	return change_failed(&a->c, err);
}

static int add(struct adding *a)
{
	struct change *c = &a->c;
	int err = check(a);

	if (err)
		return err;
	err = pools_add(c->m, c->pool, &a->b);
	if (err < 0)
		return add_failed(a, err);
	c->backend = err;
	change_done(c, "added", "added: %s, %s, capacity %u%s", backend_address(&c->m->backends[c->backend]),
		    via_name(a->b.via), a->b.capacity, a->b.backup ? ", backup" : "");
	return EXIT_OK;
}

int cmd_backend_add(const struct cmd *cmd, char **values, int argc, char **argv)
{
	static struct adding a;
	int status = read_values(&a, cmd, values, argv);

	if (!status)
		status = change_start(&a.c, cmd, values, NULL);
	return status ? status : change_end(&a.c, add(&a));
}
