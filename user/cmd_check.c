/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir check: reads a configuration, says what was understood and what it costs. No privileges. */
#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "cmd.h"
#include "config.h"
#include "session.h"

static const char *const mode_names[] = { "auto", "native", "generic" };

/* Faults go to stderr as they come, or into the document's "errors". */
struct faults {
	unsigned n;
	json_t *errors;
};

static json_t *json_fault(const struct config_fault *f)
{
	return json_pack("{s:s, s:o, s:s, s:s}", "file", printable(f->file, strlen(f->file)), "line",
			 f->line ? json_integer(f->line) : json_null(), "field", f->field, "message",
			 f->message);
}

static void on_fault(const struct config_fault *f, void *arg)
{
	struct faults *faults = arg;

	faults->n++;
	if (out_json)
		json_array_append_new(faults->errors, json_fault(f));
	else
		config_print_fault(f, stderr);
}

/* ---- values as text --------------------------------------------------------------------------- */

/* The kernel takes any byte in a name. */
static const char *iface_text(const struct config_iface *iface)
{
	return printable(iface->name, strlen(iface->name));
}

static const char *vip_text(const struct config_vip *vip, char *text, size_t len)
{
	char addr[INET6_ADDRSTRLEN] = "";

	inet_ntop(vip->family == 4 ? AF_INET : AF_INET6, &vip->addr, addr, sizeof(addr));
	snprintf(text, len, vip->family == 4 ? "%s:%u" : "[%s]:%u", addr, ntohs(vip->port));
	return text;
}

static const char *ttl_text(__u64 ttl_ns)
{
	return ttl_ns == WEIR_NEVER ? "never" : human_duration(ttl_ns);
}

static const char *strangers_text(const struct config_service *s)
{
	return s->flags & WEIR_SVC_STRANGERS_PASS ? "pass" : "drop";
}

/* Network k of a service: those of IPv4, then those of IPv6. */
static const char *client_text(const struct config_service *s, unsigned k, char *text, size_t len)
{
	if (k < s->nclients4)
		format_net(&s->clients4[k], 4, text, len);
	else
		format_net(&s->clients6[k - s->nclients4], 6, text, len);
	return text;
}

/* ---- for people ------------------------------------------------------------------------------- */

static void print_service(const struct config_service *s)
{
	char text[64];

	printf("service %s\n  vips      ", s->name);
	for (unsigned i = 0; i < s->nvips; i++)
		printf(" %s", vip_text(&s->vips[i], text, sizeof(text)));
	printf("\n  clients   ");
	for (unsigned i = 0; i < s->nclients4 + s->nclients6; i++)
		printf(" %s", client_text(s, i, text, sizeof(text)));
	printf("\n  strangers  %s\n", strangers_text(s));
	printf("  origin     %s\n", *s->origin ? s->origin : "none: lists must carry the values");
	printf("  ttl        %s\n", ttl_text(s->ttl_ns));
	printf("  value_max  %u bytes\n", s->value_max);
	if (s->flags & WEIR_SVC_NO_CSUM4)
		printf("  checksum   none over IPv4\n");
}

static void print_memory(const struct config *c, const struct config_memory *m)
{
	printf("memory, for %s keys\n", human_count(c->capacity));
	printf("  %-12s %10s\n", "index", human_bytes(m->index));
	printf("  %-12s %10s\n", "slots", human_bytes(m->slabs));
	printf("  %-12s %10s\n", "hit counters", human_bytes(m->hits));
	printf("  %-12s %10s\n", "fences", human_bytes(m->fences));
	printf("  %-12s %10s\n", "other", human_bytes(m->other));
	printf("  %-12s %10s\n", "total", human_bytes(m->total));
}

static void print_config(const struct config *c, const struct config_memory *m)
{
	printf("interfaces ");
	for (unsigned i = 0; i < c->nifaces; i++)
		printf(" %s (%s)", iface_text(&c->ifaces[i]), mode_names[c->ifaces[i].mode]);
	printf("\n");
	for (unsigned i = 0; i < c->nservices; i++)
		print_service(&c->services[i]);
	print_memory(c, m);
}

/* ---- for scripts ------------------------------------------------------------------------------ */

static json_t *json_interfaces(const struct config *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < c->nifaces; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name",
						      iface_text(&c->ifaces[i]), "mode",
						      mode_names[c->ifaces[i].mode]));
	return list;
}

static json_t *json_service(const struct config_service *s)
{
	json_t *vips = json_array(), *clients = json_array();
	char text[64];

	for (unsigned i = 0; i < s->nvips; i++)
		json_array_append_new(vips, json_string(vip_text(&s->vips[i], text, sizeof(text))));
	for (unsigned i = 0; i < s->nclients4 + s->nclients6; i++)
		json_array_append_new(clients, json_string(client_text(s, i, text, sizeof(text))));
	return json_pack("{s:s, s:o, s:o, s:s, s:s?, s:o, s:I, s:b}", "name", s->name, "vips", vips,
			 "clients", clients, "strangers", strangers_text(s), "origin",
			 *s->origin ? s->origin : NULL,
			 "ttl_seconds", s->ttl_ns == WEIR_NEVER ? json_null() : json_real(s->ttl_ns / 1e9),
			 "value_max", (json_int_t)s->value_max, "udp_checksum",
			 !(s->flags & WEIR_SVC_NO_CSUM4));
}

static json_t *json_config(const struct config *c, const struct config_memory *m)
{
	json_t *services = json_array();

	for (unsigned i = 0; i < c->nservices; i++)
		json_array_append_new(services, json_service(&c->services[i]));
	return json_pack("{s:o, s:{s:I, s:I, s:b}, s:o, s:o}", "interfaces", json_interfaces(c), "cache",
			 "capacity", (json_int_t)c->capacity, "memory", (json_int_t)c->memory, "hit_counters",
			 c->hit_counters, "services", services, "memory_bytes", json_memory(m));
}

/* ---- the command ------------------------------------------------------------------------------ */

static void print_document(const char *path, const struct config *c, const struct config_memory *m,
			   const struct faults *faults)
{
	json_t *doc = json_pack("{s:b, s:s, s:O}", "ok", !faults->n, "file", printable(path, strlen(path)),
				"errors", faults->errors);

	if (c) {
		json_t *config = json_config(c, m);

		json_object_update(doc, config);
		json_decref(config);
	}
	out_document("check", doc);
}

/* What is understood is printed also when it does not fit: the table shows what to cut. */
static int check(const char *path, struct faults *faults)
{
	struct config_memory m = { 0 };
	struct config *c = NULL;
	char why[160];

	if (!config_load_each(&c, path, on_fault, faults)) {
		config_memory(c, libbpf_num_possible_cpus(), &m);
		if (!out_json)
			print_config(c, &m);
		if (config_fits(&m, why, sizeof(why)))
			on_fault(&(struct config_fault){ path, 0, "cache", why }, faults);
	}
	if (out_json)
		print_document(path, c, &m, faults);
	config_free(c);
	if (!faults->n)
		return EXIT_OK;
	if (out_json)
		return EXIT_FAILED;
	return fail(EXIT_FAILED, "%s: %u fault%s", path, faults->n, faults->n == 1 ? "" : "s");
}

int cmd_check(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *path = opt_value(cmd, values, "config");
	struct faults faults = { .errors = json_array() };
	int status;

	if (path)
		status = check(path, &faults);
	else
		status = fail(EXIT_USAGE, "check: name the configuration with -c FILE");
	json_decref(faults.errors);
	return status;
}
