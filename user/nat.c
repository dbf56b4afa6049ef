// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "nat.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "running.h"
#include "weir/hash.h"

#define PROTOS 2
static const struct {
	__u8 number;
	__u32 flag; /* of the services that have it */
} protos[PROTOS] = { { IPPROTO_TCP, WEIR_SVC_TCP }, { IPPROTO_UDP, WEIR_SVC_UDP } };

static struct weir_vip vip_of(const struct config_vip *v, unsigned svc)
{
	return (struct weir_vip){
		.addr = v->addr,
		.port = v->port,
		.family = v->family,
		.svc = svc,
		.salt = weir_vip_salt(&v->addr, v->port),
	};
}

static struct weir_nat_key key_of(const struct weir_backend *b, const struct weir_vip *vip, __u8 proto)
{
	return (struct weir_nat_key){
		.addr = b->addr,
		.port = b->port ?: vip->port,
		.family = b->family,
		.proto = proto,
	};
}

static int put_one(const struct pools_mem *m, unsigned backend, const struct weir_vip *vip, __u32 svc_flags,
		   __u64 how)
{
	const struct weir_backend *b = &m->backends[backend];
	struct weir_nat_back value = { vip->addr, vip->port, vip->svc, 0, vip->salt, backend };

	if (b->via != WEIR_VIA_NAT || b->family != vip->family)
		return 0;
	for (int i = 0; i < PROTOS; i++) {
		struct weir_nat_key key = key_of(b, vip, protos[i].number);

		if (svc_flags & protos[i].flag && bpf_map_update_elem(m->nat_back, &key, &value, how))
			return -errno;
	}
	return 0;
}

/* Of several addresses of a service that are one key of a backend's, the first stands for all: see bpf/nat.bpf.h. */
static bool same_key(const struct weir_backend *b, const struct weir_vip *x, const struct weir_vip *y)
{
	return x->svc == y->svc && x->family == y->family && (b->port || x->port == y->port);
}

/* ---- of a configuration ----------------------------------------------------------------------- */

static int number_of(const struct pools_mem *m, const char *service)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (same_name(m->ctl->services[i].name, service))
			return i;
	}
	return -ENOENT;
}

static bool goes_to(const struct pools_mem *m, const struct config *c, const struct config_service *s,
		    unsigned pool)
{
	const int pools[] = { s->pool, s->migrate_pool, s->fallback };

	for (int i = 0; i < 3; i++) {
		if (pools[i] != CONFIG_NO_POOL && same_name(c->pools[pools[i]].name, m->pool_ctl[pool].name))
			return true;
	}
	return false;
}

/* An earlier address of the service has the entry. */
static bool stood_for(const struct weir_backend *b, const struct config_service *s, unsigned v)
{
	const struct weir_vip vip = vip_of(&s->vips[v], 0);

	for (unsigned k = 0; k < v; k++) {
		const struct weir_vip first = vip_of(&s->vips[k], 0);

		if (same_key(b, &first, &vip))
			return true;
	}
	return false;
}

static int put_service(const struct pools_mem *m, const struct config *c, const struct config_service *s,
		       bool new_only)
{
	int svc = number_of(m, s->name);

	for (unsigned b = 0; b < WEIR_BACKENDS_MAX && svc >= 0; b++) {
		if (!pools_used(m, b) || m->backends[b].via != WEIR_VIA_NAT || !goes_to(m, c, s, pools_of(m, b)))
			continue;
		for (unsigned v = 0; v < s->nvips; v++) {
			struct weir_vip vip = vip_of(&s->vips[v], svc);
			int err = 0;

			if (!stood_for(&m->backends[b], s, v))
				err = put_one(m, b, &vip, s->flags, new_only ? BPF_NOEXIST : BPF_ANY);
			if (err && !(new_only && err == -EEXIST))
				return err;
		}
	}
	return svc < 0 ? svc : 0;
}

int nat_put(const struct pools_mem *m, const struct config *c, bool new_only)
{
	int err = 0;

	for (unsigned i = 0; i < c->nservices && m->nat_back >= 0 && !err; i++)
		err = put_service(m, c, &c->services[i], new_only);
	return err;
}

/* ---- taking out ------------------------------------------------------------------------------- */

typedef bool (*doomed_fn)(const struct pools_mem *m, const struct weir_nat_key *key,
			  const struct weir_nat_back *value, const void *arg);

/* All keys; *n of them. NULL: no memory. */
static struct weir_nat_key *list_keys(const struct pools_mem *m, unsigned *n)
{
	struct weir_nat_key *keys = calloc(2 * WEIR_BACKENDS_MAX, sizeof(*keys)), *last = NULL;

	*n = 0;
	while (keys && *n < 2 * WEIR_BACKENDS_MAX && !bpf_map_get_next_key(m->nat_back, last, &keys[*n]))
		last = &keys[(*n)++];
	return keys;
}

static int drop_if(const struct pools_mem *m, doomed_fn doomed, const void *arg)
{
	struct weir_nat_back value;
	struct weir_nat_key *keys;
	unsigned n;

	if (m->nat_back < 0)
		return 0;
	keys = list_keys(m, &n);
	if (!keys)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		if (!bpf_map_lookup_elem(m->nat_back, &keys[i], &value) && doomed(m, &keys[i], &value, arg))
			bpf_map_delete_elem(m->nat_back, &keys[i]);
	}
	free(keys);
	return 0;
}

static bool of_gone(const struct pools_mem *m, const struct weir_nat_key *key, const struct weir_nat_back *value,
		    const void *arg)
{
	return value->backend < WEIR_BACKENDS_MAX && set_has(arg, value->backend);
}

void nat_forget(const struct pools_mem *m, const struct backend_set *gone)
{
	drop_if(m, of_gone, gone);
}

static bool has_vip(const struct config_service *s, const struct weir_backend *b, const struct weir_nat_key *key,
		    const struct weir_nat_back *value)
{
	for (unsigned v = 0; v < s->nvips; v++) {
		struct weir_vip vip = vip_of(&s->vips[v], value->svc);
		struct weir_nat_key k = key_of(b, &vip, key->proto);

		if (vip.family == b->family && vip.port == value->port && !memcmp(&k, key, sizeof(k)) &&
		    !memcmp(&vip.addr, &value->vip, sizeof(vip.addr)))
			return true;
	}
	return false;
}

/* Not one that nat_put() would put. */
static bool unwanted(const struct pools_mem *m, const struct weir_nat_key *key, const struct weir_nat_back *value,
		     const void *arg)
{
	const struct weir_backend *b = &m->backends[value->backend % WEIR_BACKENDS_MAX];
	const struct config *c = arg;

	for (unsigned i = 0; i < c->nservices && value->backend < WEIR_BACKENDS_MAX; i++) {
		const struct config_service *s = &c->services[i];
		__u32 flag = key->proto == IPPROTO_TCP ? WEIR_SVC_TCP : WEIR_SVC_UDP;

		if (number_of(m, s->name) == value->svc && s->flags & flag && pools_used(m, value->backend) &&
		    b->via == WEIR_VIA_NAT && goes_to(m, c, s, pools_of(m, value->backend)))
			return !has_vip(s, b, key, value);
	}
	return true;
}

int nat_keep(const struct pools_mem *m, const struct config *c)
{
	return drop_if(m, unwanted, c);
}

/* ---- of the running programs ------------------------------------------------------------------ */

static bool serves(const struct weir_service *s, unsigned pool)
{
	unsigned shards = 1 << s->shard_bits;

	/* WEIR_POOL_NONE is beyond all places. */
	return (pool >= s->pool && pool < s->pool + shards) ||
	       (pool >= s->migrate_pool && pool < s->migrate_pool + shards) || pool == s->fallback;
}

static bool stood_for_as_running(const struct weir_backend *b, const struct weir_config *cfg, __u32 v)
{
	for (__u32 k = 0; k < v; k++) {
		if (same_key(b, &cfg->vips[k], &cfg->vips[v]))
			return true;
	}
	return false;
}

static int add_as_running(const struct pools_mem *m, const struct weir_config *cfg, unsigned pool, unsigned backend)
{
	bool served = false, family = false;
	int err = 0;

	for (__u32 i = 0; i < cfg->nvips && i < WEIR_VIPS_MAX && !err; i++) {
		const struct weir_vip *vip = &cfg->vips[i];
		const struct weir_service *s = &cfg->services[vip->svc % WEIR_SERVICES_MAX];

		if (!serves(s, pool))
			continue;
		served = true;
		family |= vip->family == m->backends[backend].family;
		if (!stood_for_as_running(&m->backends[backend], cfg, i))
			err = put_one(m, backend, vip, s->flags, BPF_NOEXIST);
	}
	if (err)
		return err;
	return !served ? 0 : !cfg->nat ? -ENOTSUP : !family ? -EAFNOSUPPORT : 0;
}

int nat_add(const struct pools_mem *m, unsigned pool, unsigned backend)
{
	struct weir_config *cfg;
	int err;

	if (m->nat_back < 0 || m->backends[backend].via != WEIR_VIA_NAT)
		return 0;
	cfg = malloc(sizeof(*cfg));
	if (!cfg)
		return -ENOMEM;
	err = running_config(m->ctl, cfg);
	if (!err)
		err = add_as_running(m, cfg, pool, backend);
	free(cfg);
	return err;
}
