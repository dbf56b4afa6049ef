// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The loop. It holds no lock: commands take that. Each second it looks whether what it has mapped is still
 * what is loaded, and opens it again if not. What needs privileges the loader does, see agent_loader.h, so that
 * neither the lease nor a check waits for the lock, or for the verifier.
 */
#include "agent.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "agent_config.h"
#include "agent_hot.h"
#include "agent_http.h"
#include "agent_loader.h"
#include "agent_post.h"
#include "agent_slow.h"
#include "agent_traffic.h"
#include "bus.h"
#include "caps.h"
#include "flows.h"
#include "journal.h"
#include "out.h"

#define SECOND_NS	1000000000ULL
#define SWEEP_US	4000000 /* the whole table in this time, */
#define SWEEP_BUCKETS	(1 << 14) /* in steps of no more than 1 MiB of it */
#define SWEEP_STEPS	4 /* and no fewer than these */
#define RECOUNT_S	10
#define NEIGHBOUR_S	10
#define NEIGHBOUR_PORT	9 /* discard */
#define CHECKS_AT_ONCE	256
#define FDS_OF_OTHERS	64

struct agent {
	const struct agent_opts *o;
	char *path; /* the configuration's, from the root */
	int lock;   /* dp_agent_lock() */
	sd_event *event;
	struct checks *checks;
	struct probes *probes;
	bool probes_tried;

	struct dataplane *dp; /* NULL: nothing is loaded */
	struct weir_ctl *ctl;
	const struct pools_mem *m;
	__u32 generation; /* that the configuration was read for */
	bool whole;	  /* no reload was under way meanwhile, which may have been undone since */
	struct config *config;

	sd_event_source *sweep;
	__u32 sweep_at, sweep_step;
	struct flows_swept swept;
	__u64 ticks;
	__s64 recounted[WEIR_BACKENDS_MAX];

	int udp4, udp6;
	__u8 resolve_in[WEIR_BACKENDS_MAX]; /* seconds until its next hop is resolved again */

	struct agent_view view; /* what the parts that only look are shown */
	struct traffic *traffic;
	struct slow *slow;
	struct agent_hot *hot;
	struct agent_http *http; /* NULL: none */
	struct loader *loader;
	bool loader_gone;
	char reload_failed[200]; /* why, until another one succeeds */
	char status[400];
};

/* ---- the configuration ------------------------------------------------------------------------ */

/* Where the file is that ctl names. A path without a root is a command's, from wherever that was. */
static const char *loaded_path(const struct agent *a)
{
	const char *path = a->ctl->config;

	if (!*path || !strncmp(path, a->o->path, sizeof(a->ctl->config) - 1) ||
	    !strncmp(path, a->path, sizeof(a->ctl->config) - 1))
		return a->path;
	return path;
}

static bool same_http(const struct config *x, const struct config *y)
{
	return !memcmp(&x->http.addr, &y->http.addr, sizeof(x->http.addr)) && x->http.port == y->http.port &&
	       x->http.family == y->http.family;
}

/* For the checks. A file that has become faulty since leaves them as they are. */
static void read_config(struct agent *a)
{
	const char *path = loaded_path(a);
	struct config *c;

	if (path != a->path)
		say(LOG_WARNING, "loaded from %s, not from %s: health checks are as in the former", path, a->path);
	if (agent_config_load(&c, path)) {
		say(LOG_ERR, "%s cannot be used: health checks stay as they were", path);
		return;
	}
	if (!same_http(c, a->config) && !a->o->http)
		say(LOG_NOTICE, "agent.http changed: that takes effect when the agent is started again");
	config_free(a->config);
	a->config = c;
	a->view.config = c;
	malloc_trim(0); /* a file takes many times its size while it is read */
	if (a->probes)
		probes_avoid(a->probes, c);
}

/* ---- health ----------------------------------------------------------------------------------- */

/* A command may have given the place to another meanwhile. */
static bool is_still(const struct agent *a, const struct check_target *t)
{
	const struct weir_backend *b;

	if (!a->dp)
		return false;
	b = &a->m->backends[t->backend];
	return b->family == t->at.family && !memcmp(&b->addr, &t->at.addr, sizeof(b->addr)) &&
	       !strncmp(a->m->backend_ctl[t->backend].name, t->name, WEIR_NAME_MAX);
}

static void on_result(const struct check_target *t, const char *why, __u64 latency_ns, void *arg)
{
	struct agent *a = arg;
	struct weir_ctl_backend *b;

	if (!is_still(a, t))
		return;
	b = &a->m->backend_ctl[t->backend];
	if (*why)
		b->checks_failed++;
	else
		b->checks_ok++;
	pools_health(a->m, t->backend, b->health, why);
	if (*why)
		a->view.metrics.checks_failed++;
	else
		a->view.metrics.checks_ok++;
	if (latency_ns && !traffic_measured(a->traffic, pools_of(a->m, t->backend)))
		pools_latency(a->m, t->backend, latency_ns);
}

static void print_change(const struct check_target *t, __u32 health, const char *why)
{
	out_document("run", json_pack("{s:s, s:s, s:s, s:s}", "pool", t->pool, "backend", t->name, "health",
				      health == WEIR_HEALTH_UP ? "up" : "down", "why", why));
}

static void on_changed(const struct check_target *t, __u32 health, const char *why, const char *line, void *arg)
{
	struct agent *a = arg;

	if (!is_still(a, t))
		return;
	pools_health(a->m, t->backend, health, why);
	say(health == WEIR_HEALTH_DOWN ? LOG_WARNING : LOG_NOTICE, "%s", line);
	if (out_json && can_write(STDOUT_FILENO)) /* the loop waits for nobody who reads */
		print_change(t, health, why);
}

/* Once, when there is something to probe. */
static void open_probes(struct agent *a)
{
	int err;

	if (a->probes_tried)
		return;
	a->probes_tried = true;
	err = probes_new(&a->probes, a->event);
	if (err < 0) {
		a->probes = NULL;
		say(LOG_WARNING,
		    "raw sockets cannot be opened (%s; CAP_NET_RAW is needed): backends with delivery l2 or tunnel "
		    "are checked at their own addresses only",
		    strerror(-err));
		return;
	}
	probes_avoid(a->probes, a->config);
	checks_probes(a->checks, a->probes);
}

/* A backend that answers clients itself is asked as they ask it. */
static void add_probes(struct agent *a, const struct config_pool *pool, struct check_target *t)
{
	const struct weir_backend *b = &a->m->backends[t->backend];
	struct config_vip vips[WEIR_VIPS_MAX];

	if (b->via == WEIR_VIA_NAT || pool->check.through != THROUGH_DELIVERY)
		return;
	t->nprobes = pool_probed_vips(a->config, pool, vips);
	for (unsigned i = 0; i < t->nprobes; i++)
		t->probes[i] = (struct probe_ask){ vips[i], b->via, b->family, b->addr, b->source };
	t->probes_only = t->nprobes && pool->check.kind == CHECK_TCP && !pool->check.port && !b->port;
	if (t->nprobes)
		open_probes(a);
}

static void check_backend(struct agent *a, const struct config_pool *pool, unsigned backend)
{
	const struct weir_backend *b = &a->m->backends[backend];
	struct probe_ask probes[WEIR_VIPS_MAX];
	struct check_target t = {
		.backend = backend,
		.probes = probes,
		.at = { .addr = b->addr, .family = b->family },
		.health = a->m->backend_ctl[backend].health,
		.how = &pool->check,
	};

	t.at.port = pool->check.port ?: b->port ?: pool_service_port(a->config, pool);
	snprintf(t.pool, sizeof(t.pool), "%s", pool->name);
	snprintf(t.name, sizeof(t.name), "%.31s", a->m->backend_ctl[backend].name);
	add_probes(a, pool, &t);
	if (t.at.port || pool->check.kind == CHECK_COMMAND)
		checks_add(a->checks, &t);
}

/* What is not checked counts as up: also what was down when it was. */
static void leave_unchecked(struct agent *a, const struct config_pool *pool, unsigned backend)
{
	struct weir_ctl_backend *b = &a->m->backend_ctl[backend];

	if (b->health == WEIR_HEALTH_UNKNOWN)
		return;
	say(LOG_NOTICE, "pool %s: backend %.31s is not checked any more", pool->name, b->name);
	pools_health(a->m, backend, WEIR_HEALTH_UNKNOWN, NULL);
}

static void follow_backends(struct agent *a)
{
	checks_begin(a->checks);
	for (unsigned p = 0; a->dp && p < WEIR_POOLS_MAX; p++) {
		const struct config_pool *pool;

		if (!*a->m->pool_ctl[p].name)
			continue;
		pool = configured_pool(a->config, a->m->pool_ctl[p].name);
		for (int b = pools_next(a->m, p, -1); pool && b >= 0; b = pools_next(a->m, p, b)) {
			if (pool->check.kind != CHECK_NONE)
				check_backend(a, pool, b);
			else
				leave_unchecked(a, pool, b);
		}
	}
	checks_end(a->checks);
}

/* ---- next hops -------------------------------------------------------------------------------- */

/* A check sends packets by itself, mostly; one of these has the kernel find the neighbour. Probes by L2 do not. */
static bool is_resolved(const struct config_pool *pool)
{
	if (pool && pool->check.kind == CHECK_TCP && pool->check.through == THROUGH_DELIVERY)
		return false;
	return pool && pool->check.kind != CHECK_NONE && pool->check.kind != CHECK_COMMAND &&
	       pool->check.interval_ns <= NEIGHBOUR_S * SECOND_NS;
}

static void resolve(struct agent *a, unsigned backend)
{
	const struct weir_backend *b = &a->m->backends[backend];
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(NEIGHBOUR_PORT) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(NEIGHBOUR_PORT) };

	if (a->resolve_in[backend] && --a->resolve_in[backend])
		return;
	a->resolve_in[backend] = NEIGHBOUR_S;
	v4.sin_addr.s_addr = b->addr.w[0];
	memcpy(&v6.sin6_addr, &b->addr, sizeof(v6.sin6_addr));
	if (b->family == 6)
		sendto(a->udp6, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, (void *)&v6, sizeof(v6));
	else
		sendto(a->udp4, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, (void *)&v4, sizeof(v4));
}

/* XDP cannot ask who has an address; the kernel does so for whatever it sends itself. */
static void resolve_neighbours(struct agent *a)
{
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		const char *name = a->m->pool_ctl[p].name;

		if (!*name || is_resolved(configured_pool(a->config, name)))
			continue;
		for (int b = pools_next(a->m, p, -1); b >= 0; b = pools_next(a->m, p, b))
			resolve(a, b);
	}
}

/* ---- the flow table --------------------------------------------------------------------------- */

static int on_sweep(sd_event_source *s, uint64_t usec, void *arg)
{
	struct agent *a = arg;
	__u32 steps;

	if (!a->dp)
		return sd_event_source_set_enabled(s, SD_EVENT_OFF);
	flows_sweep(a->m, a->sweep_at, a->sweep_step, &a->swept);
	a->sweep_at += a->sweep_step;
	if (a->sweep_at >= a->ctl->flow_buckets) {
		a->sweep_at = 0;
		a->view.swept = a->swept;
		a->view.metrics.flows = &a->view.swept;
		memset(&a->swept, 0, sizeof(a->swept));
	}
	steps = (a->ctl->flow_buckets + a->sweep_step - 1) / a->sweep_step;
	sd_event_source_set_time_relative(s, SWEEP_US / (steps ?: 1));
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static bool has_flows(const struct agent *a)
{
	return a->ctl->flow_buckets >= WEIR_FLOWS_MIN / WEIR_BUCKET_WORDS;
}

static void start_sweep(struct agent *a)
{
	__u32 step = a->ctl->flow_buckets / SWEEP_STEPS;

	a->sweep_at = 0;
	a->sweep_step = step > SWEEP_BUCKETS ? SWEEP_BUCKETS : step ?: 1;
	memset(&a->swept, 0, sizeof(a->swept));
	memset(a->recounted, 0, sizeof(a->recounted));
	sd_event_source_set_time_relative(a->sweep, 0);
	sd_event_source_set_enabled(a->sweep, has_flows(a) ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void recount(struct agent *a)
{
	__u64 n = has_flows(a) ? flows_recount(a->m, a->recounted) : 0;

	if (n)
		say(LOG_NOTICE, "the recount corrected %llu connection%s (%llu in all)", n, n == 1 ? "" : "s",
		    a->ctl->drift);
}

/* ---- the data plane --------------------------------------------------------------------------- */

static void let_go(struct agent *a)
{
	a->view.dp = NULL;
	a->view.metrics.flows = NULL;
	a->view.constants = NULL;
	agent_hot_stop(a->hot);
	dp_close(a->dp);
	a->dp = NULL;
	a->ctl = NULL;
	a->m = NULL;
	sd_event_source_set_enabled(a->sweep, SD_EVENT_OFF);
}

/* 0, or -errno, told once. */
static int take_up(struct agent *a)
{
	int err = dp_open(&a->dp, DP_AGENT);

	if (err) {
		a->dp = NULL;
		if (err != a->view.open_error)
			say(LOG_WARNING, "waiting: %s", dp_error());
		a->view.open_error = err;
		snprintf(a->view.open_words, sizeof(a->view.open_words), "%s", dp_error());
		return err;
	}
	a->view.open_error = 0;
	a->view.dp = a->dp;
	a->ctl = dp_ctl(a->dp);
	a->m = dp_pools(a->dp);
	a->generation = 0;
	a->whole = false;
	memset(a->resolve_in, 0, sizeof(a->resolve_in));
	traffic_begin(a->traffic);
	slow_begin(a->slow);
	start_sweep(a);
	agent_extend_lease(a->ctl);
	return 0;
}

static bool is_ready(const struct agent *a)
{
	return __atomic_load_n(&a->ctl->state, __ATOMIC_SEQ_CST) == WEIR_STATE_READY;
}

/* A reload changes the services in place; undone, it puts them back, and the generation stays. */
static void read_loaded(struct agent *a)
{
	bool ready = is_ready(a);

	a->generation = a->ctl->generation;
	a->view.constants = NULL;
	loader_ask(a->loader, LOADER_CONSTANTS);
	read_config(a);
	agent_hot_begin(a->hot, a->dp, a->config);
	a->whole = ready && is_ready(a);
}

/* Whatever commands did since the last second. */
static void follow_dataplane(struct agent *a)
{
	int err = a->dp ? dp_current(a->dp) : 0;
	bool changed;

	if (err) {
		say(LOG_NOTICE, err == -ENOENT ? "unloaded" : "what was loaded has been replaced");
		let_go(a);
	}
	if (!a->dp && take_up(a))
		return;
	changed = a->generation != a->ctl->generation;
	if (!changed && (a->whole || !is_ready(a)))
		return;
	if (changed)
		*a->reload_failed = '\0';
	read_loaded(a);
	say(LOG_INFO, "at work on %.255s, generation %u", a->ctl->config, a->generation);
}

/* ---- each second ------------------------------------------------------------------------------ */

static void count_down(const struct agent *a, unsigned *down)
{
	*down = 0;
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++) {
		if (!*a->m->pool_ctl[p].name)
			continue;
		for (int b = pools_next(a->m, p, -1); b >= 0; b = pools_next(a->m, p, b))
			*down += a->m->backend_ctl[b].health == WEIR_HEALTH_DOWN;
	}
}

static void tell_status(struct agent *a)
{
	char text[sizeof(a->status)] = "STATUS=waiting: nothing is loaded";
	unsigned down;

	if (a->dp) {
		count_down(a, &down);
		snprintf(text, sizeof(text), "STATUS=generation %u; %u backends checked, %u down%s%s",
			 a->generation, checks_count(a->checks), down,
			 *a->reload_failed ? "; reload failed: " : "", a->reload_failed);
	}
	if (!strcmp(text, a->status))
		return;
	strcpy(a->status, text);
	sd_notify(false, text);
}

static void each_second(struct agent *a)
{
	follow_dataplane(a);
	follow_backends(a);
	if (a->dp) {
		agent_extend_lease(a->ctl);
		resolve_neighbours(a);
		if (++a->ticks % RECOUNT_S == 0) {
			pools_sources(a->m);
			recount(a);
		}
		traffic_look(a->traffic, a->m);
		pools_fade(a->m, monotonic_ns());
		agent_hot_second(a->hot, a->dp);
		a->view.metrics.slow_flows += slow_look(a->slow, a->dp, a->config->slow_ns);
	}
	tell_status(a);
}

static int on_second(sd_event_source *s, uint64_t usec, void *arg)
{
	each_second(arg);
	sd_event_source_set_time_relative(s, 1000000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- reload ----------------------------------------------------------------------------------- */

static void reload_fails(struct agent *a, const char *why)
{
	a->view.metrics.reload_failures++;
	snprintf(a->reload_failed, sizeof(a->reload_failed), "%s", printable(why, strlen(why)));
}

static void on_reloaded(int status, const char *why, void *arg)
{
	struct agent *a = arg;

	if (status < 0)
		say(LOG_ERR, "reload: ended by signal %d", -status);
	if (status)
		reload_fails(a, status < 0 ? "ended by a signal" : why);
	else
		a->view.metrics.reloads++;
	each_second(a);
	if (!loader_busy(a->loader, LOADER_RELOAD))
		sd_notify(false, "READY=1");
}

static void on_constants(const struct weir_config *cfg, void *arg)
{
	struct agent *a = arg;

	/* Those of a reload that came meanwhile are asked for again. */
	if (a->dp && a->generation == a->ctl->generation)
		a->view.constants = cfg;
}

static void on_loader_gone(void *arg)
{
	struct agent *a = arg;

	a->loader_gone = true;
	say(LOG_ERR, "the loader, which reloads, is gone: start the agent again to be able to reload");
	sd_notify(false, "READY=1");
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	struct agent *a = arg;

	if (a->loader_gone) {
		say(LOG_ERR, "reload: the loader is gone: start the agent again");
		reload_fails(a, "the loader is gone: start the agent again");
		return 0;
	}
	sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%llu", monotonic_ns() / 1000);
	loader_ask(a->loader, LOADER_RELOAD);
	return 0;
}

/* ---- beginning and end ------------------------------------------------------------------------ */

/* So that none of them ends it halfway: the loop takes them, from its first round on. */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int load(struct agent *a)
{
	struct config_memory need;
	char why[160];
	int err;

	config_memory(a->config, libbpf_num_possible_cpus(), &need);
	if (config_fits(&need, why, sizeof(why)))
		return fail(EXIT_FAILED, "run: %s; lower cache.capacity or cache.memory in %s", why, a->path);
	err = dp_load(a->config, &(struct dp_load_opts){});
	if (err == -EEXIST) /* a command was faster */
		return EXIT_OK;
	if (err)
		return fail(exit_of(err), "run: %s", dp_error());
	say(LOG_NOTICE, "loaded from %s", a->path);
	return EXIT_OK;
}

/* Takes up what is loaded; or loads; or, told not to, waits. */
static int begin(struct agent *a)
{
	struct dataplane *dp;
	int err = dp_open(&dp, DP_AGENT);

	if (!err) {
		say(LOG_INFO, "already loaded from %.255s (generation %u): kept as it is", dp_ctl(dp)->config,
		    dp_ctl(dp)->generation);
		dp_close(dp);
		return EXIT_OK;
	}
	if (err != -ENOENT && err != -ESTALE)
		return fail(exit_of(err), "run: %s", dp_error());
	return a->o->load ? load(a) : EXIT_OK;
}

/* Half of the descriptors that may be open, at most. */
static unsigned checks_at_once(void)
{
	struct rlimit limit;
	rlim_t n = getrlimit(RLIMIT_NOFILE, &limit) ? 256 : limit.rlim_cur;

	n = n > FDS_OF_OTHERS + 2 ? (n - FDS_OF_OTHERS) / 2 : 1;
	return n > CHECKS_AT_ONCE ? CHECKS_AT_ONCE : n;
}

static int set_up(struct agent *a)
{
	static const struct check_ops ops = { on_result, on_changed };
	static const struct loader_ops loader_ops = { on_reloaded, on_constants, on_loader_gone };
	int err = sd_event_new(&a->event);

	a->udp4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	a->udp6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (err >= 0)
		err = sd_event_add_signal(a->event, NULL, SIGTERM, NULL, NULL);
	if (err >= 0)
		err = sd_event_add_signal(a->event, NULL, SIGINT, NULL, NULL);
	if (err >= 0)
		err = sd_event_add_signal(a->event, NULL, SIGHUP, on_hangup, a);
	if (err >= 0)
		err = sd_event_add_time(a->event, NULL, CLOCK_MONOTONIC, 0, 10000, on_second, a);
	if (err >= 0)
		err = sd_event_add_time(a->event, &a->sweep, CLOCK_MONOTONIC, 0, 10000, on_sweep, a);
	if (err >= 0)
		err = sd_event_source_set_enabled(a->sweep, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_set_watchdog(a->event, true);
	if (err >= 0)
		err = checks_new(&a->checks, a->event, checks_at_once(), &ops, a);
	if (err >= 0)
		err = agent_hot_new(&a->hot, a->event);
	a->view.hot = a->hot;
	a->view.metrics.hot = a->hot;
	if (err >= 0)
		err = loader_attach(a->loader, a->event, &loader_ops, a);
	if (err >= 0 && a->http)
		err = agent_http_start(a->http, a->event, &a->view);
	return err < 0 ? err : 0;
}

/* The data plane goes on without us, as far as nobody needs to listen for it: no lease ends it then. */
static void leave(struct agent *a, bool clean)
{
	loader_wait(a->loader);
	checks_free(a->checks);
	a->checks = NULL;
	probes_free(a->probes);
	a->probes = NULL;
	if (clean && a->dp && dp_current(a->dp)) {
		let_go(a);
		take_up(a);
	}
	if (clean && a->dp)
		agent_leave_lease(a->ctl);
	if (a->dp)
		let_go(a);
}

static void clean_up(struct agent *a)
{
	checks_free(a->checks);
	probes_free(a->probes);
	agent_http_free(a->http);
	loader_free(a->loader);
	agent_hot_free(a->hot);
	traffic_free(a->traffic);
	slow_free(a->slow);
	sd_event_source_unref(a->sweep);
	sd_event_unref(a->event);
	if (a->udp4 >= 0)
		close(a->udp4);
	if (a->udp6 >= 0)
		close(a->udp6);
	if (a->lock >= 0)
		close(a->lock);
	config_free(a->config);
	free(a->path);
	free(a);
}

/* For reloads and unloads there is the loader. Probes may need raw sockets at any time. */
static void drop_privileges(void)
{
	static const cap_value_t keep[] = { CAP_NET_RAW };
	int err = caps_keep(keep, 1);

	if (err)
		say(LOG_WARNING, "capabilities cannot be given up: %s", strerror(-err));
}

static int run(struct agent *a)
{
	int err, status = begin(a);

	if (status)
		return status;
	err = loader_start(&a->loader, a->path);
	if (!err)
		err = set_up(a);
	if (err)
		return fail(EXIT_FAILED, "run: %s", strerror(-err));
	drop_privileges();
	each_second(a);
	if (a->http)
		say(LOG_INFO, "HTTP is answered at %s%s", agent_http_where(a->http),
		    a->config->token_file ? "" : "; without agent.token_file only this host may invalidate by it");
	sd_notify(false, "READY=1");
	err = sd_event_loop(a->event);
	sd_notify(false, "STOPPING=1\nSTATUS=");
	leave(a, err >= 0);
	if (err < 0)
		return fail(EXIT_FAILED, "run: %s", strerror(-err));
	return a->o->unload_on_exit ? loader_unload(a->loader) : EXIT_OK;
}

static int check_token(const char *path)
{
	char why[160];

	if (!path || !post_token_ok(path, why, sizeof(why)))
		return EXIT_OK;
	return fail(EXIT_FAILED, "run: agent.token_file %s: %s", path, why);
}

static int start(struct agent *a)
{
	a->lock = dp_agent_lock();
	hold_signals();
	a->path = realpath(a->o->path, NULL) ?: strdup(a->o->path);
	if (a->lock < 0)
		return fail(exit_of(a->lock), "run: %s", dp_error());
	if (!a->path || config_load(&a->config, a->path, stderr))
		return fail(EXIT_FAILED, "run: %s cannot be used; nothing was changed", a->o->path);
	a->view.config = a->config;
	a->view.path = a->path;
	agent_limit_lease(bus_first_lease(a->config));
	if (check_token(a->config->token_file))
		return EXIT_FAILED;
	if (agent_http_new(&a->http, a->o->http ?: &a->config->http))
		return EXIT_FAILED;
	caps_no_new();
	return run(a);
}

int agent_run(const struct agent_opts *o)
{
	struct agent *a = calloc(1, sizeof(*a));
	int status;

	if (!a)
		return fail(EXIT_FAILED, "run: out of memory");
	a->o = o;
	a->udp4 = a->udp6 = a->lock = -1;
	a->view.metrics.up_since = time(NULL);
	a->traffic = traffic_new();
	a->slow = slow_new();
	status = a->traffic && a->slow ? start(a) : fail(EXIT_FAILED, "run: out of memory");
	clean_up(a);
	return status;
}
