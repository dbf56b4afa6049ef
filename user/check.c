// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One timer per backend: it starts a check, and ends one that takes too long. First come probes through the
 * delivery, one after the other, then what asks the address, by kind; each way ends in finish(), once per
 * check. A check that may not begin since too many are under way waits in a queue, and a moment of rest in the
 * loop begins it: so nothing here calls itself.
 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "out.h"

#define FIRST_WITHIN_NS 500000000ULL /* of a new backend: the first check is soon, but not all at once */
#define ACCURACY_US	1000
#define WHY_MAX		160
#define IGNORED_MAX	64
/* After sockets: a reply that is there when the loop comes back late is not too late. */
#define TIMER_PRIORITY	(SD_EVENT_PRIORITY_NORMAL + 10)

struct check {
	struct checks *all;
	struct check_target t;
	struct config_check how; /* with strings of its own */
	struct check_state state;
	bool seen; /* checks_add() named it */

	sd_event_source *timer; /* the next start; while running, the time-out */
	bool running, waiting;
	struct check *next_waiting;
	__u64 begun_ns;

	unsigned turn; /* whose probes begin a check, */
	unsigned probed; /* and how many of this one are over, */
	unsigned skipped; /* and could not be asked */
	__u64 probed_ns; /* the longest of their times */
	struct probe *probe;

	__u64 asked_ns; /* when the address was */
	int fd; /* of a socket, -1: none */
	sd_event_source *io;
	bool connected, asked_version;
	__u16 request; /* memcached-udp: its id */
	char reply[64];
	size_t reply_len;
	unsigned ignored; /* datagrams */
	struct http_get *get;
	pid_t pid; /* of a command that has not been waited for */
	bool spawned; /* by this check */
	sd_event_source *child;
};

struct checks {
	sd_event *event;
	struct http *http;
	struct probes *probes; /* NULL: cannot be made */
	struct check_ops ops;
	void *arg;
	unsigned at_once, running, count;
	struct check *waiting, **waiting_end;
	sd_event_source *rest; /* begins those that wait */
	struct check *of[WEIR_BACKENDS_MAX];
};

static void finish(struct check *k, __u64 latency_ns, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- the rules -------------------------------------------------------------------------------- */

/* How many results in a row change a state. */
static unsigned needed(const struct check_state *s, const struct config_check *how, bool ok)
{
	if (!ok)
		return how->fall;
	return s->health == WEIR_HEALTH_DOWN ? how->rise : 1;
}

bool check_rule(struct check_state *s, const struct config_check *how, bool ok)
{
	__u32 says = ok ? WEIR_HEALTH_UP : WEIR_HEALTH_DOWN;

	if (s->health == says) {
		s->streak = 0;
		return false;
	}
	if (++s->streak < needed(s, how, ok))
		return false;
	*s = (struct check_state){ .health = says };
	return true;
}

__u64 check_delay(const struct config_check *how, __u32 random)
{
	double share = random / 4294967295.0 * 2 - 1; /* -1 to 1 */

	return how->interval_ns + (__s64)(how->interval_ns / 100.0 * how->jitter * share);
}

static __u32 random_word(void)
{
	__u32 n = 0;

	return getrandom(&n, sizeof(n), GRND_NONBLOCK) == sizeof(n) ? n : (__u32)rand();
}

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* ---- ends of a check -------------------------------------------------------------------------- */

static void set_timer(struct check *k, __u64 ns)
{
	sd_event_source_set_time(k->timer, ns / 1000);
	sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

static void kill_command(struct check *k)
{
	if (k->pid)
		kill(-k->pid, SIGKILL);
}

/* Lets go of what a check used; of a killed command only its end is still to come. */
static void stop(struct check *k)
{
	k->io = sd_event_source_disable_unref(k->io);
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
	http_stop(k->get);
	k->get = NULL;
	probe_stop(k->probe);
	k->probe = NULL;
	kill_command(k);
	if (k->running)
		k->all->running--;
	k->running = false;
}

static void change(struct check *k, unsigned in_a_row, const char *why)
{
	bool up = k->state.health == WEIR_HEALTH_UP;
	char line[WHY_MAX + 2 * WEIR_NAME_MAX + 64];

	snprintf(line, sizeof(line), "pool %s: backend %s %s%s%s (%u check%s)", k->t.pool, k->t.name,
		 up ? "up" : "down", up ? "" : ": ", why, in_a_row, in_a_row == 1 ? "" : "s in a row");
	k->all->ops.changed(&k->t, k->state.health, why, line, k->all->arg);
}

/* The check is over. fmt: why it failed, NULL: it did not. */
static void finish(struct check *k, __u64 latency_ns, const char *fmt, ...)
{
	__u64 now = now_ns(), next = k->begun_ns + check_delay(&k->how, random_word());
	unsigned in_a_row = needed(&k->state, &k->how, !fmt);
	char why[WHY_MAX] = "";
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(why, sizeof(why), fmt, ap);
		va_end(ap);
	}
	stop(k);
	set_timer(k, next > now ? next : now);
	if (k->all->waiting)
		sd_event_source_set_enabled(k->all->rest, SD_EVENT_ONESHOT);
	k->all->ops.result(&k->t, why, latency_ns, k->all->arg);
	if (check_rule(&k->state, &k->how, !fmt))
		change(k, in_a_row, why);
}

/* ---- sockets ---------------------------------------------------------------------------------- */

static void ask_memcached(struct check *k)
{
	const char *what = k->asked_version ? "version\r\n" : "mn\r\n";
	char dgram[WEIR_FRAME_HDR + 16] = {};
	ssize_t len = strlen(what), at = 0;

	if (k->how.kind == CHECK_MEMCACHED_UDP) {
		k->request = random_word();
		dgram[0] = k->request >> 8;
		dgram[1] = k->request;
		dgram[5] = 1; /* datagrams in all */
		at = WEIR_FRAME_HDR;
	}
	memcpy(dgram + at, what, len);
	k->reply_len = 0;
	if (send(k->fd, dgram, at + len, MSG_NOSIGNAL | MSG_DONTWAIT) != at + len)
		finish(k, 0, "send: %s", strerror(errno));
	else
		sd_event_source_set_io_events(k->io, EPOLLIN);
}

static bool is_reply(const struct check *k, const char *text)
{
	size_t len = strlen(text);

	return k->reply_len >= len && !memcmp(k->reply, text, len);
}

/* What stands in k->reply so far. `whole`: nothing more will come. */
static void judge(struct check *k, bool whole)
{
	if (!whole && k->reply_len < sizeof(k->reply) && !memchr(k->reply, '\n', k->reply_len))
		return;
	if (k->asked_version ? is_reply(k, "VERSION ") : k->reply_len == 4 && is_reply(k, "MN\r\n")) {
		finish(k, now_ns() - k->asked_ns, NULL);
	} else if (!k->asked_version && k->reply_len == 7 && is_reply(k, "ERROR\r\n")) {
		k->asked_version = true; /* it knows no meta commands: older than 1.6 */
		ask_memcached(k);
	} else {
		finish(k, 0, "reply: unexpected: %s", printable(k->reply, k->reply_len < 32 ? k->reply_len : 32));
	}
}

static void hear_stream(struct check *k)
{
	ssize_t n = recv(k->fd, k->reply + k->reply_len, sizeof(k->reply) - k->reply_len, MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN)
		finish(k, 0, "reply: %s", strerror(errno));
	else if (!n)
		finish(k, 0, "reply: the connection was closed%s", k->reply_len ? " in its midst" : "");
	if (n <= 0)
		return;
	k->reply_len += n;
	judge(k, false);
}

/* Datagrams that answer another request, or none, are as if they had not come; up to a number. */
static void hear_datagram(struct check *k)
{
	unsigned char dgram[WEIR_DGRAM_MAX];
	ssize_t n = recv(k->fd, dgram, sizeof(dgram), MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN)
			finish(k, 0, "reply: %s", strerror(errno));
		return;
	}
	if (n < WEIR_FRAME_HDR || (dgram[0] << 8 | dgram[1]) != k->request || dgram[2] || dgram[3]) {
		if (++k->ignored > IGNORED_MAX)
			finish(k, 0, "reply: too much that answers nothing");
		return;
	}
	k->reply_len = n - WEIR_FRAME_HDR < (int)sizeof(k->reply) ? n - WEIR_FRAME_HDR : (int)sizeof(k->reply);
	memcpy(k->reply, dgram + WEIR_FRAME_HDR, k->reply_len);
	judge(k, true);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct check *k = arg;
	socklen_t len = sizeof(int);
	int err = 0;

	if (k->how.kind == CHECK_MEMCACHED_UDP) {
		hear_datagram(k);
		return 0;
	}
	if (k->connected) {
		hear_stream(k);
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	k->connected = !err;
	if (err)
		finish(k, 0, "connect: %s", strerror(err));
	else if (k->how.kind == CHECK_TCP)
		finish(k, now_ns() - k->asked_ns, NULL);
	else
		ask_memcached(k);
	return 0;
}

static socklen_t socket_address(const struct config_vip *at, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *v6 = (void *)ss;
	struct sockaddr_in *v4 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (at->family == 6) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = at->port;
		memcpy(&v6->sin6_addr, &at->addr, 16);
		return sizeof(*v6);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = at->port;
	v4->sin_addr.s_addr = at->addr.w[0];
	return sizeof(*v4);
}

static void start_socket(struct check *k)
{
	struct linger reset = { 1, 0 }; /* no TIME_WAIT for each check */
	bool udp = k->how.kind == CHECK_MEMCACHED_UDP;
	struct sockaddr_storage ss;
	socklen_t len = socket_address(&k->t.at, &ss);

	k->fd = socket(ss.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->fd < 0) {
		finish(k, 0, "socket: %s", strerror(errno));
		return;
	}
	if (!udp)
		setsockopt(k->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (connect(k->fd, (void *)&ss, len) && errno != EINPROGRESS)
		finish(k, 0, "connect: %s", strerror(errno));
	else if (sd_event_add_io(k->all->event, &k->io, k->fd, EPOLLOUT, on_io, k) < 0)
		finish(k, 0, "out of memory");
	else if (udp)
		ask_memcached(k);
}

/* ---- HTTP ------------------------------------------------------------------------------------- */

static void on_http(const char *why, __u64 first_ns, void *arg)
{
	struct check *k = arg;

	if (why)
		finish(k, 0, "%s", why);
	else
		finish(k, first_ns, NULL);
}

static void start_http(struct check *k)
{
	struct http_ask ask = {
		.at = &k->t.at,
		.tls = k->how.kind == CHECK_HTTPS,
		.host = k->how.host,
		.path = k->how.path ?: "/",
		.status_min = k->how.status_min,
		.status_max = k->how.status_max,
	};
	int err = http_start(k->all->http, &ask, on_http, k, &k->get);

	if (err)
		finish(k, 0, "http: %s", strerror(-err));
}

/* ---- commands --------------------------------------------------------------------------------- */

static void start_command(struct check *k);

/* The command has ended. Its group is killed while its number is still its own: what it left behind ends. */
static int on_child(sd_event_source *s, const siginfo_t *si, void *arg)
{
	struct check *k = arg;

	kill(-si->si_pid, SIGKILL);
	if (!k) { /* its backend is not checked any more */
		sd_event_source_set_floating(s, false);
		return 0;
	}
	k->pid = 0;
	k->child = sd_event_source_unref(s);
	if (!k->running)
		return 0; /* it was killed at the time-out */
	if (!k->spawned)
		start_command(k); /* waited for that one's end */
	else if (si->si_code != CLD_EXITED)
		finish(k, 0, "command: signal %d", si->si_status);
	else if (si->si_status)
		finish(k, 0, "command: exit status %d", si->si_status);
	else
		finish(k, now_ns() - k->asked_ns, NULL);
	return 0;
}

static bool is_ours(const char *variable)
{
	static const char *const names[] = { "WEIR_POOL=", "WEIR_BACKEND=", "WEIR_ADDRESS=", "WEIR_PORT=" };

	for (int i = 0; i < 4; i++) {
		if (!strncmp(variable, names[i], strlen(names[i])))
			return true;
	}
	return false;
}

/* This process's environment, and what the command is to know. `text` holds the latter. */
static char **environment(const struct check *k, char text[4][96])
{
	char ip[INET6_ADDRSTRLEN], **env;
	int n = 0;

	while (environ[n])
		n++;
	env = calloc(n + 5, sizeof(*env));
	if (!env)
		return NULL;
	inet_ntop(k->t.at.family == 6 ? AF_INET6 : AF_INET, &k->t.at.addr, ip, sizeof(ip));
	snprintf(text[0], sizeof(text[0]), "WEIR_POOL=%s", k->t.pool);
	snprintf(text[1], sizeof(text[1]), "WEIR_BACKEND=%s", k->t.name);
	snprintf(text[2], sizeof(text[2]), "WEIR_ADDRESS=%s", ip);
	snprintf(text[3], sizeof(text[3]), "WEIR_PORT=%u", ntohs(k->t.at.port));
	for (n = 0; n < 4; n++)
		env[n] = text[n];
	for (char **e = environ; *e; e++) {
		if (!is_ours(*e))
			env[n++] = *e;
	}
	return env;
}

/* In a process group of its own, with nothing of ours: signals as usual, no descriptors. */
static int spawn(pid_t *pid, const char *command, char **env)
{
	char *argv[] = { "sh", "-c", (char *)command, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t set;
	int err;

	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(&attr, &set);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	err = posix_spawn(pid, "/bin/sh", &files, &attr, argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return err;
}

static void start_command(struct check *k)
{
	char text[4][96], **env;
	int err;

	if (k->pid)
		return; /* the one before was killed and is not gone: on_child() comes here again */
	env = environment(k, text);
	err = env ? spawn(&k->pid, k->how.command, env) : ENOMEM;
	free(env);
	if (err) {
		k->pid = 0;
		finish(k, 0, "command: %s", strerror(err));
		return;
	}
	k->spawned = true;
	err = sd_event_add_child(k->all->event, &k->child, k->pid, WEXITED, on_child, k);
	if (err >= 0)
		return;
	kill_command(k);
	waitpid(k->pid, NULL, 0);
	k->pid = 0;
	finish(k, 0, "command: %s", strerror(-err));
}

/* ---- one backend's turn ----------------------------------------------------------------------- */

static void ask_address(struct check *k)
{
	k->asked_ns = now_ns();
	if (k->how.kind == CHECK_COMMAND)
		start_command(k);
	else if (k->how.kind == CHECK_HTTP || k->how.kind == CHECK_HTTPS)
		start_http(k);
	else
		start_socket(k);
}

static void on_probe(const char *why, __u64 latency_ns, void *arg);

/* How many probes a check has. */
static unsigned probes_of(const struct check *k)
{
	if (!k->all->probes)
		return 0;
	return k->t.nprobes < CHECK_PROBES ? k->t.nprobes : CHECK_PROBES;
}

/* The next probe; behind the last one the address. */
static void go_on(struct check *k)
{
	unsigned n = probes_of(k);

	while (k->probed < n && k->probed + k->skipped < k->t.nprobes) {
		const struct probe_ask *ask = &k->t.probes[(k->turn + k->probed + k->skipped) % k->t.nprobes];
		int err = probe_start(k->all->probes, ask, on_probe, k, &k->probe);

		if (!err)
			return;
		if (err != -EADDRNOTAVAIL) {
			finish(k, 0, "probe: %s", strerror(-err));
			return;
		}
		k->skipped++; /* not one that a backend can answer: it takes no other's turn */
	}
	if (n)
		k->turn = (k->turn + k->probed + k->skipped) % k->t.nprobes;
	if (k->t.probes_only && k->probed_ns)
		finish(k, k->probed_ns, NULL);
	else
		ask_address(k);
}

static void on_probe(const char *why, __u64 latency_ns, void *arg)
{
	struct check *k = arg;

	if (why) {
		finish(k, 0, "%s", why);
		return;
	}
	probe_stop(k->probe);
	k->probe = NULL;
	k->probed++;
	k->probed_ns = latency_ns > k->probed_ns ? latency_ns : k->probed_ns;
	go_on(k);
}

static void start(struct check *k)
{
	k->running = true;
	k->all->running++;
	k->begun_ns = now_ns();
	k->connected = k->asked_version = k->spawned = false;
	k->reply_len = k->ignored = k->probed = k->skipped = 0;
	k->probed_ns = 0;
	set_timer(k, k->begun_ns + k->how.timeout_ns);
	go_on(k);
}

static void wait_for_place(struct check *k)
{
	k->waiting = true;
	k->next_waiting = NULL;
	*k->all->waiting_end = k;
	k->all->waiting_end = &k->next_waiting;
}

static struct check *take_waiting(struct check **at)
{
	struct check *k = *at;

	*at = k->next_waiting;
	if (k->all->waiting_end == &k->next_waiting)
		k->all->waiting_end = at;
	k->waiting = false;
	return k;
}

static int on_rest(sd_event_source *s, void *arg)
{
	struct checks *c = arg;

	for (unsigned n = c->at_once; n && c->waiting && c->running < c->at_once; n--)
		start(take_waiting(&c->waiting));
	/* Those that failed at once have left room again. */
	if (c->waiting && c->running < c->at_once)
		sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

static void time_out(struct check *k)
{
	const char *limit = human_duration(k->how.timeout_ns);

	if (k->probe)
		finish(k, 0, "%s in %s", probe_silence(k->probe), limit);
	else if (k->how.kind == CHECK_COMMAND)
		finish(k, 0, "command: %s in %s", k->spawned ? "not done" : "the one before does not end", limit);
	else if (k->how.kind == CHECK_HTTP || k->how.kind == CHECK_HTTPS)
		finish(k, 0, "http: not done in %s", limit);
	else if (k->connected || k->how.kind == CHECK_MEMCACHED_UDP)
		finish(k, 0, "reply: none in %s", limit);
	else
		finish(k, 0, "connect: no answer in %s", limit);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	struct check *k = arg;

	if (k->running)
		time_out(k);
	else if (k->all->running < k->all->at_once && !k->all->waiting)
		start(k);
	else
		wait_for_place(k);
	return 0;
}

/* ---- whom to check ---------------------------------------------------------------------------- */

static void unwait(struct check *k)
{
	for (struct check **at = &k->all->waiting; *at; at = &(*at)->next_waiting) {
		if (*at == k) {
			take_waiting(at);
			return;
		}
	}
}

static void forget(struct check *k)
{
	struct checks *c = k->all;

	if (k->waiting)
		unwait(k);
	stop(k);
	if (k->child) { /* its end is waited for without us */
		sd_event_source_set_userdata(k->child, NULL);
		sd_event_source_set_floating(k->child, true);
		sd_event_source_unref(k->child);
	}
	sd_event_source_disable_unref(k->timer);
	free(k->how.path);
	free(k->how.host);
	free(k->how.command);
	free(k->t.probes);
	c->of[k->t.backend] = NULL;
	c->count--;
	free(k);
	if (c->waiting)
		sd_event_source_set_enabled(c->rest, SD_EVENT_ONESHOT);
}

static bool same_text(const char *a, const char *b)
{
	return !a || !b ? a == b : !strcmp(a, b);
}

static bool same_how(const struct config_check *a, const struct config_check *b)
{
	return a->kind == b->kind && a->through == b->through && a->interval_ns == b->interval_ns &&
	       a->timeout_ns == b->timeout_ns && a->rise == b->rise && a->fall == b->fall && a->jitter == b->jitter &&
	       a->status_min == b->status_min && a->status_max == b->status_max && same_text(a->path, b->path) &&
	       same_text(a->host, b->host) && same_text(a->command, b->command);
}

/* Where a tunnel begins may change, as routes do: it goes on. */
static bool same_probes(const struct check_target *a, const struct check_target *b)
{
	bool same = a->nprobes == b->nprobes && a->probes_only == b->probes_only;

	for (unsigned i = 0; same && i < a->nprobes; i++) {
		const struct probe_ask *p = &a->probes[i], *q = &b->probes[i];

		same = p->via == q->via && p->vip.family == q->vip.family && p->vip.port == q->vip.port &&
		       !memcmp(&p->vip.addr, &q->vip.addr, sizeof(p->vip.addr));
	}
	return same;
}

static bool same_target(const struct check *k, const struct check_target *t)
{
	return same_probes(&k->t, t) && !strcmp(k->t.pool, t->pool) && !strcmp(k->t.name, t->name) &&
	       k->t.at.family == t->at.family &&
	       k->t.at.port == t->at.port && !memcmp(&k->t.at.addr, &t->at.addr, sizeof(t->at.addr)) &&
	       same_how(&k->how, t->how);
}

static bool copy_how(struct check *k, const struct config_check *how)
{
	k->how = *how;
	k->how.path = how->path ? strdup(how->path) : NULL;
	k->how.host = how->host ? strdup(how->host) : NULL;
	k->how.command = how->command ? strdup(how->command) : NULL;
	k->t.how = &k->how;
	return !k->how.path == !how->path && !k->how.host == !how->host && !k->how.command == !how->command;
}

static bool copy_probes(struct check *k, const struct check_target *t)
{
	k->t.probes = t->nprobes ? malloc(t->nprobes * sizeof(*t->probes)) : NULL;
	if (k->t.probes)
		memcpy(k->t.probes, t->probes, t->nprobes * sizeof(*t->probes));
	return !k->t.probes == !t->nprobes;
}

static int create(struct checks *c, const struct check_target *t)
{
	struct check *k = calloc(1, sizeof(*k));
	__u64 within = t->how->interval_ns < FIRST_WITHIN_NS ? t->how->interval_ns : FIRST_WITHIN_NS;
	__u64 first_us = (now_ns() + (__u64)(random_word() / 4294967296.0 * within)) / 1000;
	bool how, probes;
	int err;

	if (!k)
		return -ENOMEM;
	k->all = c;
	k->t = *t;
	k->fd = -1;
	k->state.health = t->health;
	k->seen = true;
	how = copy_how(k, t->how);
	probes = copy_probes(k, t);
	err = how && probes ? 0 : -ENOMEM;
	c->of[t->backend] = k;
	c->count++;
	if (!err)
		err = sd_event_add_time(c->event, &k->timer, CLOCK_MONOTONIC, first_us, ACCURACY_US, on_timer, k);
	if (err < 0) {
		forget(k);
		return err;
	}
	sd_event_source_set_priority(k->timer, TIMER_PRIORITY);
	return 0;
}

void checks_begin(struct checks *c)
{
	for (unsigned i = 0; i < WEIR_BACKENDS_MAX; i++) {
		if (c->of[i])
			c->of[i]->seen = false;
	}
}

int checks_add(struct checks *c, const struct check_target *t)
{
	struct check *k;

	if (t->backend >= WEIR_BACKENDS_MAX || t->how->kind == CHECK_NONE)
		return -EINVAL;
	k = c->of[t->backend];
	if (k && !same_target(k, t)) {
		forget(k);
		k = NULL;
	}
	if (!k)
		return create(c, t);
	k->seen = true;
	if (t->nprobes)
		memcpy(k->t.probes, t->probes, t->nprobes * sizeof(*t->probes));
	if (k->state.health != t->health) /* another backend of the same name and address, in its place */
		k->state = (struct check_state){ .health = t->health };
	return 0;
}

void checks_end(struct checks *c)
{
	for (unsigned i = 0; i < WEIR_BACKENDS_MAX; i++) {
		if (c->of[i] && !c->of[i]->seen)
			forget(c->of[i]);
	}
}

unsigned checks_count(const struct checks *c)
{
	return c->count;
}

void checks_probes(struct checks *c, struct probes *probes)
{
	c->probes = probes;
}

void checks_free(struct checks *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < WEIR_BACKENDS_MAX; i++) {
		if (c->of[i])
			forget(c->of[i]);
	}
	http_free(c->http);
	sd_event_source_disable_unref(c->rest);
	sd_event_unref(c->event);
	free(c);
}

int checks_new(struct checks **out, sd_event *event, unsigned at_once, const struct check_ops *ops, void *arg)
{
	struct checks *c = calloc(1, sizeof(*c));
	sigset_t child;
	int err;

	if (!c)
		return -ENOMEM;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	c->event = sd_event_ref(event);
	c->ops = *ops;
	c->arg = arg;
	c->at_once = at_once;
	c->waiting_end = &c->waiting;
	err = http_new(&c->http, event);
	if (!err)
		err = sd_event_add_defer(event, &c->rest, on_rest, c);
	if (err < 0) {
		checks_free(c);
		return err;
	}
	sd_event_source_set_enabled(c->rest, SD_EVENT_OFF);
	*out = c;
	return 0;
}
