/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libFuzzer target: any bytes as a configuration. Either it is refused with at least one fault that a
 * terminal can show, or what was understood keeps every promise of config.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

static void check_text(const char *s)
{
	for (; *s; s++)
		assert(*s >= ' ' && *s <= '~');
}

static void on_fault(const struct config_fault *f, void *arg)
{
	unsigned *faults = arg;

	assert(!strcmp(f->file, "fuzz.yaml") && *f->message);
	check_text(f->field);
	check_text(f->message);
	(*faults)++;
}

static void check_backend(const struct config_pool *p, const struct config_backend *b)
{
	assert(config_name_ok(b->name));
	assert(b->at.family == 4 || b->at.family == 6);
	assert(!config_not_host(&b->at.addr, b->at.family));
	assert(b->via >= WEIR_VIA_L2 && b->via <= WEIR_VIA_NAT && b->admin <= WEIR_ADMIN_DISABLED);
	assert(b->capacity && b->capacity <= CONFIG_CAPACITY_MAX && b->shard < p->shards);
}

/* How many places it takes. */
static unsigned check_pool(const struct config_pool *p)
{
	const struct config_check *check = &p->check;

	assert(config_name_ok(p->name) && p->nbackends);
	assert(p->shards && !(p->shards & (p->shards - 1)));
	assert(p->scheduler <= WEIR_SCHED_MAGLEV_BOUNDED && p->fail <= WEIR_FAIL_RESET);
	assert(p->quantum <= 50 && p->bound && p->bound <= 1000);
	assert(check->kind <= CHECK_COMMAND && check->rise && check->fall && check->jitter <= 50);
	assert(check->timeout_ns && check->timeout_ns <= check->interval_ns);
	assert(check->status_min <= check->status_max);
	assert((check->kind == CHECK_HTTP || check->kind == CHECK_HTTPS) == !!check->path);
	assert((check->kind == CHECK_COMMAND) == !!check->command);
	for (unsigned b = 0; b < p->nbackends; b++)
		check_backend(p, &p->backends[b]);
	return p->shards > 1 ? p->shards : (p->nbackends + WEIR_POOL_BACKENDS - 1) / WEIR_POOL_BACKENDS;
}

static void check_steering(const struct config *c, const struct config_service *s)
{
	const struct config_pool *p = s->pool < 0 ? NULL : &c->pools[s->pool];

	assert(s->pool < (int)c->npools && s->migrate_pool < (int)c->npools && s->fallback < (int)c->npools);
	if (!p) {
		assert(s->flags & WEIR_SVC_CACHE && s->migrate_pool < 0 && s->fallback < 0 && !s->quic_len);
		return;
	}
	assert(c->flow_buckets && s->flags & (WEIR_SVC_TCP | WEIR_SVC_UDP));
	assert(s->flags & WEIR_SVC_CACHE || p->shards == 1);
	for (unsigned b = 0; b < p->nbackends; b++) {
		assert(!(s->flags & WEIR_SVC_CACHE) || p->backends[b].via == WEIR_VIA_NAT);
		if (p->backends[b].via == WEIR_VIA_NAT)
			assert(s->nvips == 1 && p->backends[b].at.family == s->vips[0].family);
		assert(!s->quic_len || p->backends[b].quic_id >> (8 * s->quic_len - 1) <= 1);
	}
	assert(s->migrate_pool < 0 || c->pools[s->migrate_pool].shards == p->shards);
	assert(s->migrate_percent >= 0 && s->migrate_percent <= 100);
}

static unsigned check_service(const struct config_service *s)
{
	bool v4 = false, v6 = false, cache = s->flags & WEIR_SVC_CACHE;

	assert(*s->name && strlen(s->name) < sizeof(s->name));
	assert(s->nvips && !(s->nclients4 + s->nclients6) == !!(s->flags & WEIR_SVC_ANY_CLIENT));
	assert(s->nclients4 <= WEIR_CLIENTS_MAX && s->nclients6 <= WEIR_CLIENTS_MAX);
	assert(!cache || (s->ttl_ns && s->value_max && s->value_max <= WEIR_TEXT_MAX));
	assert(!cache || !(s->flags & WEIR_SVC_ANY_CLIENT));
	for (unsigned i = 0; i < s->nvips; i++) {
		assert(s->vips[i].family == 4 || s->vips[i].family == 6);
		assert(s->vips[i].port);
		v4 |= s->vips[i].family == 4;
		v6 |= s->vips[i].family == 6;
	}
	assert(s->flags & WEIR_SVC_ANY_CLIENT || ((!v4 || s->nclients4) && (!v6 || s->nclients6)));
	for (unsigned i = 0; cache && i < s->nclients4; i++)
		assert(s->clients4[i].mask.w[0]);
	return s->nvips;
}

static void check_config(const struct config *c)
{
	struct config_memory m;
	unsigned vips = 0, places = 0;

	assert(c->nifaces && c->nifaces <= WEIR_IFACES_MAX);
	assert(c->nservices && c->nservices <= WEIR_SERVICES_MAX);
	assert(c->capacity && c->capacity <= WEIR_ENTRIES_MAX);
	for (unsigned i = 0; i < c->nifaces; i++)
		assert(*c->ifaces[i].name && c->ifaces[i].mode <= WEIR_MODE_GENERIC);
	for (unsigned i = 0; i < c->nservices; i++)
		vips += check_service(&c->services[i]);
	assert(vips <= WEIR_VIPS_MAX);
	for (unsigned i = 0; i < c->npools; i++)
		places += check_pool(&c->pools[i]);
	assert(places <= WEIR_POOLS_MAX);
	for (unsigned i = 0; i < c->nservices; i++)
		check_steering(c, &c->services[i]);
	assert(!(c->flow_buckets & (c->flow_buckets - 1)));
	config_memory(c, 4, &m);
	assert(m.nslabs && m.nslabs <= WEIR_SLABS_MAX);
	assert(!(m.index_buckets & (m.index_buckets - 1)));
	assert((__u64)m.index_buckets * WEIR_BUCKET_WORDS >= 2ULL * c->capacity);
	assert(m.total > m.slabs + m.index);
}

/* The parsers of single values take strings: the same bytes again, terminated. */
static void check_values(const uint8_t *data, size_t size)
{
	char *s = strndup((const char *)data, size);
	struct config_vip vip;
	struct weir_net net;
	int family = 0, err;
	__u64 n;

	if (!s)
		return;
	if (!parse_duration(s, &n))
		assert(n == WEIR_NEVER || (n && n <= INT64_MAX));
	parse_size(s, &n);
	err = parse_net(s, &net, &family);
	assert(err == -EINVAL || family == 4 || family == 6);
	if (!parse_endpoint(s, &vip))
		assert(vip.port && (vip.family == 4 || vip.family == 6));
	if (!parse_address(s, &vip))
		assert(vip.family == 4 || vip.family == 6);
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c = (void *)1;
	unsigned faults = 0;
	int err = config_parse_each(&c, "fuzz.yaml", data, size, on_fault, &faults);

	assert(!err == !faults && !err == !!c);
	if (c)
		check_config(c);
	config_free(c);
	check_values(data, size);
	return 0;
}
