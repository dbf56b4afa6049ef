/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir load, unload, reload: puts the data plane in place, takes it away, changes it. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends.h"
#include "cmd.h"
#include "nic.h"
#include "running.h"
#include "service_diff.h"
#include "session.h"

/* A load or a reload: they differ in three places. */
struct job {
	const char *kind; /* "load", "reload" */
	bool reload, dry_run;
	const char *path;
	struct config *c;
	struct config_memory memory;
	const char *iface; /* -i */
	json_t *warnings, *ifaces;
	json_t *changes, *by_hand; /* of a dry reload that could look: what would change, what commands did */
};

static void degraded(struct job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void degraded(struct job *j, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	warn("%s", text);
	json_array_append_new(j->warnings, json_string(printable(text, strlen(text))));
}

static const char *iface_text(const char *name)
{
	return printable(name, strnlen(name, IFNAMSIZ));
}

/* ---- before ----------------------------------------------------------------------------------- */

static int read_config(struct job *j)
{
	if (!j->path)
		return fail(EXIT_USAGE, "%s: name the configuration with -c FILE", j->kind);
	if (config_load(&j->c, j->path, stderr))
		return fail(EXIT_FAILED, "%s: %s cannot be used; nothing was changed", j->kind, j->path);
	config_memory(j->c, libbpf_num_possible_cpus(), &j->memory);
	return EXIT_OK;
}

static void print_memory(const struct job *j)
{
	const struct config_memory *m = &j->memory;

	if (out_json || out_quiet)
		return;
	printf("memory for %s keys: %s\n", human_count(j->c->capacity), human_bytes(m->total));
	printf("  index %s, slots %s, hit counters %s, fences %s, flows %s, latency %s, "
	       "connections %s, other %s\n", human_bytes(m->index),
	       human_bytes(m->slabs), human_bytes(m->hits), human_bytes(m->fences), human_bytes(m->flows),
	       human_bytes(m->latency), human_bytes(m->conns), human_bytes(m->other));
}

/* A reload takes new memory only when sizes change; the old is free when it is done. */
static bool takes_memory(const struct job *j)
{
	const struct weir_ctl *ctl;
	struct dataplane *dp;
	bool same;

	if (!j->reload || dp_open(&dp, DP_READ))
		return true;
	ctl = dp_ctl(dp);
	same = ctl->index_buckets == j->memory.index_buckets && ctl->slabs == j->memory.nslabs &&
	       ctl->entries == j->c->capacity && !ctl->hit_entries == !j->c->hit_counters &&
	       ctl->flow_recs == j->c->flow_recs && ctl->conn_buckets * WEIR_CONN_WAYS == j->c->conns &&
	       !ctl->sample_ring == !j->c->sample;
	dp_close(dp);
	return !same;
}

static int check_memory(struct job *j)
{
	char why[160];

	if (!takes_memory(j) || !config_fits(&j->memory, why, sizeof(why)))
		return EXIT_OK;
	return fail(EXIT_FAILED, "%s: %s; lower cache.capacity or cache.memory in %s", j->kind, why, j->path);
}

static int read_mode(const char *text, unsigned *mode)
{
	for (*mode = 0; *mode <= WEIR_MODE_GENERIC; ++*mode) {
		if (!strcmp(text, mode_name(*mode)))
			return EXIT_OK;
	}
	return fail(EXIT_USAGE, "load: --mode is auto, native or generic, not '%s'", text);
}

/* Brings -i and --mode into the configuration: one interface, other modes. */
static int apply_options(struct job *j, const char *iface, const char *mode_text)
{
	struct config *c = j->c;
	unsigned mode, found = 0;

	if (mode_text && read_mode(mode_text, &mode))
		return EXIT_USAGE;
	for (unsigned i = 0; mode_text && i < c->nifaces; i++)
		c->ifaces[i].mode = mode;
	if (!iface)
		return EXIT_OK;
	while (found < c->nifaces && strcmp(c->ifaces[found].name, iface))
		found++;
	if (found == c->nifaces)
		return fail(EXIT_FAILED, "%s: interface '%s' is not one of those in %s", j->kind, iface,
			    j->path);
	c->ifaces[0] = c->ifaces[found];
	c->nifaces = 1;
	j->iface = c->ifaces[0].name;
	return EXIT_OK;
}

/* ---- the document ----------------------------------------------------------------------------- */

static void print_document(struct job *j, bool ok, const struct weir_ctl *ctl)
{
	json_t *services = json_array();

	json_t *doc;

	for (unsigned i = 0; i < j->c->nservices; i++)
		json_array_append_new(services, json_string(j->c->services[i].name));
	doc = json_pack("{s:b, s:b, s:s, s:o, s:O, s:o, s:o, s:O}", "ok", ok, "dry_run", j->dry_run, "file",
			printable(j->path, strlen(j->path)), "generation",
			ctl ? json_integer(ctl->generation) : json_null(), "interfaces", j->ifaces, "services",
			services, "memory_bytes", json_memory(&j->memory), "warnings", j->warnings);
	if (j->dry_run && j->reload) {
		json_object_set_new(doc, "changes", j->changes ? json_incref(j->changes) : json_null());
		json_object_set_new(doc, "by_hand", j->by_hand ? json_incref(j->by_hand) : json_null());
	}
	out_document(j->kind, doc);
}

/* ---- --dry-run -------------------------------------------------------------------------------- */

static bool dry_iface(struct job *j, const struct config_iface *iface)
{
	__u32 mtu = 0;
	bool there = !nic_mtu(iface->name, &mtu);
	json_t *doc =
		json_pack("{s:s, s:s}", "name", iface_text(iface->name), "mode", mode_name(iface->mode));

	json_object_set_new(doc, "mtu", there ? json_integer(mtu) : json_null());
	json_array_append_new(j->ifaces, doc);
	if (!there) {
		fail(EXIT_FAILED, "%s: there is no interface '%s' here", j->kind, iface->name);
		return false;
	}
	if (!out_json)
		printf("would attach to %s: %s, MTU %d\n", iface_text(iface->name), mode_name(iface->mode),
		       mtu);
	return true;
}

static void add_change(const char *line, void *arg)
{
	struct job *j = arg;

	json_array_append_new(j->changes, json_string(line));
	if (!out_json)
		printf("would change: %s\n", line);
}

static void add_by_hand(struct job *j, const char *what, const char *drift)
{
	char text[120];

	snprintf(text, sizeof(text), "%.80s was %s by hand", what, drift);
	json_array_append_new(j->by_hand, json_string(text));
	if (!out_json)
		printf("goes back: %s\n", text);
}

/* Against what runs, where that may be read. */
static void dry_services(struct job *j, struct dataplane *dp)
{
	struct weir_config *now = malloc(sizeof(*now));

	if (now && !running_config(dp_ctl(dp), now))
		services_diff(dp_ctl(dp), dp_pools(dp), now, j->c, add_change, j);
	free(now);
}

/* What the services and pools would change, and which of it takes back what commands did. */
static bool dry_changes(struct job *j, struct dataplane *dp)
{
	const struct pools_mem *m = dp_pools(dp);
	int err;

	j->changes = json_array();
	j->by_hand = json_array();
	dry_services(j, dp);
	err = pools_apply(m, j->c, true, add_change, j);
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		__u32 flags = m->ctl->services[i].flags;

		if (flags & WEIR_SVC_BY_HAND)
			add_by_hand(j, m->ctl->services[i].name, flags & WEIR_SVC_ADDED ? "added" : "changed");
	}
	for (unsigned i = 0; m->ctl->services_gone && i < j->c->nservices; i++) {
		if (dp_service(dp, j->c->services[i].name) < 0)
			add_by_hand(j, j->c->services[i].name, "removed");
	}
	for (int p = next_pool(m, -1); p >= 0; p = next_pool(m, p)) {
		if (m->pool_ctl[p].flags & WEIR_POOL_BY_HAND)
			add_by_hand(j, pool_name(m, p), "changed");
		for (int b = next_backend(m, p, -1); b >= 0; b = next_backend(m, p, b)) {
			if (backend_drift(m, b))
				add_by_hand(j, backend_name(m, b), backend_drift(m, b));
		}
	}
	if (err)
		fail(exit_of(err), "reload: the pools cannot be changed so: %s",
		     json_string_value(json_array_get(j->changes, json_array_size(j->changes) - 1)) ?: strerror(-err));
	return !err;
}

/* What is loaded now, when that may be known. False: the command would refuse. */
static bool dry_loaded(struct job *j)
{
	struct dataplane *dp;
	int err = dp_open(&dp, DP_READ);
	bool ok = true;

	if (!err) {
		ok = !j->reload || dry_changes(j, dp);
		dp_close(dp);
	}
	if (!err && !j->reload)
		fail(EXIT_FAILED, "load: already loaded: use `weir reload -c %s`, or `weir unload` first",
		     j->path);
	else if (err == -ENOENT && j->reload)
		fail(EXIT_FAILED, "reload: %s", dp_error());
	else
		return ok;
	return false;
}

static int dry_run(struct job *j)
{
	bool ok = dry_loaded(j);

	for (unsigned i = 0; i < j->c->nifaces; i++)
		ok &= dry_iface(j, &j->c->ifaces[i]);
	if (!out_json) {
		for (unsigned i = 0; i < j->c->nservices; i++)
			printf("would answer for service %s\n", j->c->services[i].name);
	} else {
		print_document(j, ok, NULL);
	}
	if (j->reload)
		note("what the agent alone heeds (promote, refresh, replicas, policies, bus) is not compared");
	if (ok)
		note("nothing was changed; whether the programs load and attach is only known by doing it");
	return ok ? EXIT_OK : EXIT_FAILED;
}

/* ---- after ------------------------------------------------------------------------------------ */

static bool wanted_auto(const struct job *j, const char *name)
{
	for (unsigned i = 0; i < j->c->nifaces; i++) {
		if (!strcmp(j->c->ifaces[i].name, name))
			return !j->c->ifaces[i].mode;
	}
	return false;
}

static bool has_backends(const struct config *c, int family)
{
	for (unsigned i = 0; i < c->npools; i++) {
		for (unsigned k = 0; k < c->pools[i].nbackends; k++)
			if (c->pools[i].backends[k].at.family == family)
				return true;
	}
	return false;
}

/* Without it the kernel tells no next hops, and everything for a backend is dropped. */
static void report_forwarding(struct job *j, const char *iface)
{
	for (int family = 4; family <= 6; family += 2) {
		if (has_backends(j->c, family) && !nic_forwards(iface, family))
			degraded(j, "%s: IPv%d forwarding is off, so the kernel tells no way to backends: "
				    "`sysctl -w net.ipv%d.conf.%s.forwarding=1`", iface, family, family, iface);
	}
}

static void report_iface(struct job *j, struct dataplane *dp, const struct weir_ctl_iface *ci)
{
	const char *name = iface_text(ci->name);
	struct dp_iface_state st;

	if (dp_iface_state(dp, ci, &st)) {
		degraded(j, "%s", dp_error());
		return;
	}
	json_array_append_new(j->ifaces, json_pack("{s:s, s:s, s:I, s:b, s:b, s:I, s:b}", "name", name, "mode",
						   mode_name(st.mode ? st.mode : ci->mode), "ifindex",
						   (json_int_t)ci->ifindex, "dispatcher", st.dispatcher,
						   "egress", st.egress, "mtu", (json_int_t)st.mtu,
						   "frags", !!(ci->flags & WEIR_IF_FRAGS)));
	if (!out_json)
		printf("%s: attached, %s%s, MTU %u%s\n", name, mode_name(st.mode ? st.mode : ci->mode),
		       st.dispatcher ? ", under the libxdp dispatcher" : ", alone", st.mtu,
		       ci->flags & WEIR_IF_FRAGS ? ", frames in several buffers" : "");
	if (!st.attached)
		degraded(j, "%s: the program is not on the interface", name);
	else if (st.mode == WEIR_MODE_GENERIC && wanted_auto(j, ci->name))
		degraded(j,
			 "%s: GENERIC MODE: the driver cannot run XDP natively%s, so packets pass through the "
			 "network stack first and hits cost several times as much (`weir doctor -i %s` says "
			 "more; --mode native refuses instead)",
			 name,
			 nic_send_crashes(name)	     ? " with its queues as they are" :
			 st.mtu > ONE_BUFFER_MTU     ? " with so large an MTU" :
						       "",
			 name);
	if (st.attached && !st.dispatcher)
		note("%s: this kernel cannot run libxdp's dispatcher here: no other XDP program can join on "
		     "it",
		     name);
	if (!st.egress)
		degraded(j, "%s: the egress program is not there: replies to writes are not seen", name);
	report_forwarding(j, ci->name);
}

static void say_limits(const struct job *j, const struct weir_ctl *ctl)
{
	__u64 longest = 0;
	bool cache = false;

	for (unsigned i = 0; i < j->c->nservices; i++) {
		longest = j->c->services[i].ttl_ns > longest ? j->c->services[i].ttl_ns : longest;
		cache |= j->c->services[i].flags & WEIR_SVC_CACHE;
	}
	if (!cache)
		return;
	if (ctl->lease_deadline_ns == WEIR_NEVER)
		note("no agent: the lease never ends; nothing stops answering if this host's control plane "
		     "is forgotten");
	if (!ctl->conn_buckets)
		note("cache.connections is 0: writes over TCP are not seen");
	if (longest == WEIR_NEVER)
		note("ttl: never: nothing bounds how stale an answer is after a write that is not seen");
}

static int report(struct job *j)
{
	const struct weir_ctl *ctl;
	struct dataplane *dp;
	int err = dp_open(&dp, DP_READ);

	if (err)
		return fail(exit_of(err), "%s: done, but it cannot be looked at: %s", j->kind, dp_error());
	ctl = dp_ctl(dp);
	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (ctl->ifaces[i].ifindex)
			report_iface(j, dp, &ctl->ifaces[i]);
	}
	if (out_json)
		print_document(j, true, ctl);
	else
		printf("%sed: %u service%s, generation %u\n", j->kind, j->c->nservices,
		       j->c->nservices == 1 ? "" : "s", ctl->generation);
	say_limits(j, ctl);
	dp_close(dp);
	return json_array_size(j->warnings) ? EXIT_DEGRADED : EXIT_OK;
}

/* ---- the commands ----------------------------------------------------------------------------- */

/* Why it did not work. Of a second load: what is there, and what to do. */
static int failed(const struct job *j, int err)
{
	char why[512];
	struct dataplane *dp;

	snprintf(why, sizeof(why), "%s", dp_error());
	if (err != -EEXIST || dp_open(&dp, DP_READ))
		return fail(exit_of(err), "%s: %s", j->kind, why);
	fail(EXIT_FAILED,
	     "load: already loaded from %.255s (generation %u); nothing was changed. "
	     "`weir reload -c %s` changes it while packets flow, `weir unload` takes it away",
	     dp_ctl(dp)->config, dp_ctl(dp)->generation, j->path);
	dp_close(dp);
	return EXIT_FAILED;
}

static int change(struct job *j)
{
	struct dp_load_opts opts = {.iface = j->iface, .mode = j->iface ? j->c->ifaces[0].mode : 0};
	int err = j->reload ? dp_reload(j->c) : dp_load(j->c, &opts);

	return err ? failed(j, err) : report(j);
}

static int run(struct job *j, const char *iface, const char *mode)
{
	int status = read_config(j);

	if (!status)
		status = apply_options(j, iface, mode);
	if (status)
		return status;
	print_memory(j);
	status = check_memory(j);
	if (status)
		return status;
	return j->dry_run ? dry_run(j) : change(j);
}

static int load_or_reload(struct job *j, const char *iface, const char *mode)
{
	int status;

	j->warnings = json_array();
	j->ifaces = json_array();
	status = run(j, iface, mode);
	json_decref(j->warnings);
	json_decref(j->ifaces);
	json_decref(j->changes);
	json_decref(j->by_hand);
	config_free(j->c);
	return status;
}

int cmd_load(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct job j = {.kind = "load",
			.path = opt_value(cmd, values, "config"),
			.dry_run = opt_value(cmd, values, "dry-run")};

	return load_or_reload(&j, opt_value(cmd, values, "iface"), opt_value(cmd, values, "mode"));
}

int cmd_reload(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct job j = {.kind = "reload",
			.reload = true,
			.path = opt_value(cmd, values, "config"),
			.dry_run = opt_value(cmd, values, "dry-run")};

	return load_or_reload(&j, NULL, NULL);
}

int cmd_unload(const struct cmd *cmd, char **values, int argc, char **argv)
{
	int err = dp_unload();

	if (err && err != -ENOENT)
		return fail(exit_of(err), "unload: %s", dp_error());
	if (out_json)
		out_document("unload", json_pack("{s:b}", "unloaded", !err));
	else
		printf(err ? "nothing is loaded\n" : "unloaded\n");
	return EXIT_OK;
}
