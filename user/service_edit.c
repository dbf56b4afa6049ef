/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "service_edit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "running.h"

#define TRIES 20 /* while other commands change services as well */

struct edit {
	const struct service_edit *e;
	const char *what;
	struct session s;
	const struct pools_mem *m;
	struct weir_config cfg;
	FILE *f;
};

/* ---- what runs, as a configuration ------------------------------------------------------------ */

/* In double quotes, whatever it is. */
static void put_text(FILE *f, const char *text, size_t len)
{
	putc('"', f);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = text[i];

		if (c < ' ' || c == '"' || c == '\\' || c > '~')
			fprintf(f, "\\x%02x", c);
		else
			putc(c, f);
	}
	putc('"', f);
}

static void put(FILE *f, const char *key, const char *text)
{
	fprintf(f, "    %s: ", key);
	put_text(f, text, strlen(text));
	putc('\n', f);
}

/* "a,b" */
static void put_list(FILE *f, const char *key, const char *texts)
{
	fprintf(f, "    %s: [", key);
	for (;;) {
		size_t len = strcspn(texts, ",");

		put_text(f, texts, len);
		if (!texts[len])
			break;
		putc(',', f);
		texts += len + 1;
	}
	fprintf(f, "]\n");
}

static void put_head(const struct edit *ed)
{
	const struct weir_ctl *ctl = ed->s.ctl;

	fprintf(ed->f, "interfaces:\n");
	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (ctl->ifaces[i].ifindex) {
			fprintf(ed->f, "  - name: ");
			put_text(ed->f, ctl->ifaces[i].name,
				 strnlen(ctl->ifaces[i].name, sizeof(ctl->ifaces[i].name)));
			putc('\n', ed->f);
		}
	}
	fprintf(ed->f, "cache: {capacity: %u, memory: %llu, hit_counters: %s, connections: %u, sample: %u}\n", ctl->entries,
		(__u64)ctl->slabs * WEIR_SLAB_LINES * WEIR_LINE, ctl->hit_entries ? "true" : "false",
		ctl->conn_buckets * WEIR_CONN_WAYS, ctl->sample);
}

static void put_backend(const struct edit *ed, unsigned backend)
{
	const struct weir_backend *b = &ed->m->backends[backend];

	fprintf(ed->f, "      - {name: %.31s, address: \"%s\", delivery: %s",
		ed->m->backend_ctl[backend].name, backend_address(b), via_name(b->via));
	if (ed->m->pool_ctl[pools_of(ed->m, backend)].shards > 1)
		fprintf(ed->f, ", shard: %u", backend_shard(ed->m, backend));
	if (b->quic_id != CONFIG_NO_QUIC_ID)
		fprintf(ed->f, ", quic_id: %u", b->quic_id);
	fprintf(ed->f, "}\n");
}

/*
 * Commands may have taken the last backend of a shard out, which no configuration may: one that does not exist
 * takes its place. It goes no further than the check.
 */
static void put_stand_ins(const struct edit *ed, unsigned pool)
{
	unsigned shards = ed->m->pool_ctl[pool].shards, family = 4;
	bool has[WEIR_POOLS_MAX] = {};

	for (int b = pools_next(ed->m, pool, -1); b >= 0; b = pools_next(ed->m, pool, b)) {
		has[backend_shard(ed->m, b)] = true;
		family = ed->m->backends[b].family;
	}
	for (unsigned i = 0; i < (shards ? shards : 1); i++) {
		if (has[i])
			continue;
		fprintf(ed->f, "      - {name: 0-%u, address: \"", i);
		fprintf(ed->f, family == 4 ? "240.0.%u.%u\"" : "100::%u:%u\"", pool, i + 1);
		fprintf(ed->f, shards > 1 ? ", shard: %u}\n" : ", quic_id: %u}\n", i);
	}
}

/* As far as services depend on it. */
static void put_pools(const struct edit *ed)
{
	int first = next_pool(ed->m, -1);

	if (first >= 0)
		fprintf(ed->f, "pools:\n");
	for (int p = first; p >= 0; p = next_pool(ed->m, p)) {
		const struct weir_ctl_pool *ctl = &ed->m->pool_ctl[p];

		fprintf(ed->f, "  - name: %.31s\n    shards: %u\n    delivery: %s\n    backends:\n",
			ctl->name, ctl->shards ? ctl->shards : 1, via_name(ctl->delivery));
		for (int b = pools_next(ed->m, p, -1); b >= 0; b = pools_next(ed->m, p, b))
			put_backend(ed, b);
		put_stand_ins(ed, p);
	}
}

static void put_vips(const struct edit *ed, unsigned svc)
{
	const char *gap = "";

	fprintf(ed->f, "    vips: [");
	for (__u32 i = 0; i < ed->cfg.nvips; i++) {
		const struct weir_vip *vip = &ed->cfg.vips[i];

		if (vip->svc != svc)
			continue;
		fprintf(ed->f, "%s\"%s\"", gap, addr_text(&vip->addr, vip->family, vip->port));
		gap = ", ";
	}
	fprintf(ed->f, "]\n");
}

static void put_clients(const struct edit *ed, const struct weir_service *s)
{
	char text[64];

	if (s->flags & WEIR_SVC_ANY_CLIENT)
		return;
	fprintf(ed->f, "    clients: [");
	for (int i = 0; i < s->nclients4 + s->nclients6; i++) {
		bool four = i < s->nclients4;

		format_net(four ? &s->clients4[i] : &s->clients6[i - s->nclients4], four ? 4 : 6, text,
			   sizeof(text));
		fprintf(ed->f, "%s\"%s\"", i ? ", " : "", text);
	}
	fprintf(ed->f, "]\n    strangers: %s\n", s->flags & WEIR_SVC_STRANGERS_PASS ? "pass" : "drop");
}

static void put_cache(const struct edit *ed, const struct weir_ctl_svc *ctl, const struct service_edit *e)
{
	FILE *f = ed->f;

	if (e && e->origin)
		put(f, "origin", e->origin);
	else if (*ctl->origin)
		put(f, "origin", ctl->origin);
	if (e && e->ttl)
		put(f, "ttl", e->ttl);
	else if (ctl->ttl_ns == WEIR_NEVER)
		fprintf(f, "    ttl: never\n");
	else
		fprintf(f, "    ttl: %llums\n", ctl->ttl_ns / 1000000);
	fprintf(f, "    value_max: %u\n    udp_checksum: %s\n", ctl->value_max,
		ctl->flags & WEIR_SVC_NO_CSUM4 ? "false" : "true");
}

double migrate_percent(__u16 migrate)
{
	/* Back to three digits, as it was configured: see maps_config(). */
	__u32 thousandths = (migrate + 0.5) / 0.65536 + 0.5;

	return !migrate ? 0 : migrate == WEIR_MIGRATE_ALL ? 100 : thousandths / 1000.0;
}

static void put_migrate(const struct edit *ed, const struct weir_service *s, const char *migrate)
{
	const char *percent = migrate ? strchr(migrate, '=') : NULL;

	if (!migrate && s->migrate_pool != WEIR_POOL_NONE)
		fprintf(ed->f, "    migrate: {to: %s, percent: %.3f}\n", pool_name(ed->m, s->migrate_pool),
			migrate_percent(s->migrate));
	if (!migrate || !strcmp(migrate, "none"))
		return;
	fprintf(ed->f, "    migrate: {to: ");
	put_text(ed->f, migrate, percent ? (size_t)(percent - migrate) : strlen(migrate));
	fprintf(ed->f, ", percent: ");
	put_text(ed->f, percent ? percent + 1 : "", percent ? strlen(percent + 1) : 0);
	fprintf(ed->f, "}\n");
}

static void put_steering(const struct edit *ed, const struct weir_service *s, const struct service_edit *e)
{
	static const char *const protocols[] = {"tcp", "tcp", "udp", "both"};
	FILE *f = ed->f;

	put(f, "pool", e && e->pool ? e->pool : pool_name(ed->m, s->pool));
	put(f, "protocol",
	    e && e->protocol ? e->protocol
			     : protocols[!!(s->flags & WEIR_SVC_TCP) + 2 * !!(s->flags & WEIR_SVC_UDP)]);
	put(f, "fragments",
	    e && e->fragments               ? e->fragments
	    : s->flags & WEIR_SVC_FRAGMENTS ? "steer"
					    : "drop");
	put_migrate(ed, s, e ? e->migrate : NULL);
	if (s->fallback != WEIR_POOL_NONE)
		put(f, "fallback", pool_name(ed->m, s->fallback));
	if (s->quic_len)
		fprintf(f, "    quic: {offset: %u, length: %u}\n", s->quic_at, s->quic_len);
}

/* e: the change, when it is of this service. */
static void put_known(const struct edit *ed, unsigned svc, const struct service_edit *e)
{
	const struct weir_ctl_svc *ctl = &ed->s.ctl->services[svc];
	const struct weir_service *s = &ed->cfg.services[svc];

	fprintf(ed->f, "  - name: %.31s\n", ctl->name);
	if (e && e->vips)
		put_list(ed->f, "vips", e->vips);
	else
		put_vips(ed, svc);
	if (e && e->clients)
		put_list(ed->f, "clients", e->clients);
	else
		put_clients(ed, s);
	fprintf(ed->f, "    cache: %s\n", ctl->flags & WEIR_SVC_CACHE ? "true" : "false");
	if (ctl->flags & WEIR_SVC_CACHE)
		put_cache(ed, ctl, e);
	if (s->pool != WEIR_POOL_NONE)
		put_steering(ed, s, e);
}

static void put_new(FILE *f, const struct service_edit *e)
{
	const struct {
		const char *key, *text;
	} fields[] = {{"pool", e->pool},   {"protocol", e->protocol}, {"fragments", e->fragments},
		      {"cache", e->cache}, {"origin", e->origin},     {"ttl", e->ttl}};

	fprintf(f, "  - name: ");
	put_text(f, e->name, strlen(e->name));
	putc('\n', f);
	put_list(f, "vips", e->vips);
	if (e->clients)
		put_list(f, "clients", e->clients);
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (fields[i].text)
			put(f, fields[i].key, fields[i].text);
	}
}

static char *write_down(struct edit *ed, size_t *len)
{
	char *text = NULL;

	ed->f = open_memstream(&text, len);
	if (!ed->f)
		return NULL;
	put_head(ed);
	put_pools(ed);
	fprintf(ed->f, "services:\n");
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		bool this = !strcmp(ed->s.ctl->services[i].name, ed->e->name);

		if (*ed->s.ctl->services[i].name && !(this && ed->e->del))
			put_known(ed, i, this ? ed->e : NULL);
	}
	if (ed->e->add)
		put_new(ed->f, ed->e);
	return fclose(ed->f) ? NULL : text;
}

/* ---- into the programs ------------------------------------------------------------------------ */

/* The name of the n-th service of the text. */
static const char *nth_name(const struct edit *ed, unsigned n)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		const char *name = ed->s.ctl->services[i].name;

		if (*name && !(ed->e->del && !strcmp(name, ed->e->name)) && !n--)
			return name;
	}
	return ed->e->name;
}

/* Nobody sees the text: "services[2].vips[0]: 'x' is already services[1]" becomes "vips[0]: 'x' is already www". */
static void on_fault(const struct config_fault *fault, void *arg)
{
	const struct edit *ed = arg;
	const char *dot = strncmp(fault->field, "services[", 9) ? NULL : strchr(fault->field, '.');
	const char *number = strstr(fault->message, " services["), *end = number ? strchr(number, ']') : NULL;
	char message[640];

	if (end)
		snprintf(message, sizeof(message), "%.*s %.31s%s", (int)(number - fault->message),
			 fault->message, nth_name(ed, strtoul(number + strlen(" services["), NULL, 10)),
			 end + 1);
	else
		snprintf(message, sizeof(message), "%s", fault->message);
	fail(EXIT_FAILED, "%s: %s: %s", ed->what,
	     dot             ? dot + 1
	     : *fault->field ? fault->field
			     : "services",
	     message);
}

static unsigned ctl_flags(const struct edit *ed, const char *name)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (!strcmp(ed->s.ctl->services[i].name, name))
			return ed->s.ctl->services[i].flags & (WEIR_SVC_BY_HAND | WEIR_SVC_ADDED);
	}
	return 0;
}

/* Marks what commands changed, now or before, and takes the sizes from what is loaded. */
static void adapt(const struct edit *ed, struct config *c)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		struct config_service *s = &c->services[i];

		s->flags |= ctl_flags(ed, s->name);
		if (!strcmp(s->name, ed->e->name))
			s->flags |= WEIR_SVC_BY_HAND | (ed->e->add ? WEIR_SVC_ADDED : 0);
	}
	c->flow_buckets = ed->s.ctl->flow_buckets;
	c->flow_recs = ed->s.ctl->flow_recs;
	c->conns = ed->s.ctl->conn_buckets * WEIR_CONN_WAYS;
	c->sample = ed->s.ctl->sample;
	c->rec_interval_ns = (__u64)ed->s.ctl->rec_interval << WEIR_REC_TIME;
	c->rec_timeout_ns = (__u64)ed->s.ctl->rec_timeout << WEIR_REC_TIME;
}

static int check_name(const struct edit *ed)
{
	bool there = false;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		there |= *ed->e->name && !strcmp(ed->s.ctl->services[i].name, ed->e->name);
	if (ed->e->add && there)
		return fail(EXIT_FAILED, "%s: there already is a service '%s'", ed->what, ed->e->name);
	if (!ed->e->add && session_service(&ed->s, ed->e->name) < 0)
		return EXIT_FAILED;
	return EXIT_OK;
}

/* Reads what runs, and makes the configuration that shall. */
static int prepare(struct edit *ed, struct config **c)
{
	int status = check_name(ed), err;
	size_t len = 0;
	char *text;

	if (status)
		return status;
	err = running_config(ed->s.ctl, &ed->cfg);
	if (err)
		return fail(exit_of(err), "%s: what the programs run with cannot be read: %s", ed->what,
			    strerror(-err));
	ed->m = dp_pools(ed->s.dp);
	text = write_down(ed, &len);
	err = text ? config_parse_each(c, "", text, len, on_fault, ed) : -ENOMEM;
	free(text);
	if (err)
		return err == -ENOMEM ? fail(EXIT_FAILED, "%s: out of memory", ed->what) : EXIT_FAILED;
	adapt(ed, *c);
	return EXIT_OK;
}

/* One try. *again: another command was faster. */
static int try_edit(const char *what, const struct service_edit *e, bool last, bool *again)
{
	static struct edit ed;
	struct config *c = NULL;
	__u32 generation;
	int status, err;

	*again = false;
	ed = (struct edit){.e = e, .what = what};
	/* With the lock: in the middle of another's reload, ctl and the programs do not agree. */
	status = session_open(&ed.s, what, DP_WRITE);
	if (status)
		return status;
	generation = ed.s.ctl->generation;
	status = session_close(&ed.s, prepare(&ed, &c));
	if (status)
		return status;
	err = dp_reload_services(c, generation);
	config_free(c);
	*again = err == -EAGAIN && !last;
	return err && !*again ? fail(exit_of(err), "%s: %s", what, dp_error()) : EXIT_OK;
}

int service_edit(const char *what, const struct service_edit *e)
{
	int status, tries = 0;
	bool again;

	do {
		status = try_edit(what, e, ++tries == TRIES, &again);
	} while (again);
	return status;
}
