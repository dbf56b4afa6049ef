// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_loader.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_config.h"
#include "caps.h"
#include "dataplane.h"
#include "journal.h"
#include "out.h"
#include "running.h"

struct loader {
	int fd;
	pid_t pid;
	bool under_way[LOADER_JOBS], wanted[LOADER_JOBS];
	sd_event_source *io;
	const struct loader_ops *ops;
	void *arg;
	struct weir_config cfg;
};

/* What the loader says of a job: this, and for LOADER_CONSTANTS with status 0 the constants. */
struct answer {
	__u32 job;
	__s32 status;
	char why[160]; /* of a reload that failed */
};

/* ---- in the loader ---------------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t len)
{
	return write(fd, bytes, len) == (ssize_t)len ? 0 : -EIO;
}

/* fd: for why it failed. */
static int reload(const char *path, int fd)
{
	struct config *c;

	if (agent_config_load(&c, path)) {
		say(LOG_ERR, "reload: %s cannot be used; nothing was changed", path);
		write_all(fd, agent_config_fault(), strlen(agent_config_fault()));
		return EXIT_FAILED;
	}
	if (dp_reload(c)) {
		say(LOG_ERR, "reload: %s", dp_error());
		write_all(fd, dp_error(), strlen(dp_error()));
		return EXIT_FAILED;
	}
	say(LOG_NOTICE, "reloaded from %s", path);
	return EXIT_OK;
}

static int unload(void)
{
	int err = dp_unload();

	if (err && err != -ENOENT) {
		say(LOG_ERR, "unload: %s", dp_error());
		return exit_of(err);
	}
	say(LOG_NOTICE, "unloaded");
	return EXIT_OK;
}

/* Through a pipe, since the answer is the loader's. */
static int send_constants(int fd)
{
	static struct weir_config cfg;
	struct dataplane *dp;
	int err = dp_open(&dp, DP_READ);

	if (err)
		return EXIT_FAILED;
	err = running_config(dp_ctl(dp), &cfg);
	dp_close(dp);
	return err || write_all(fd, &cfg, sizeof(cfg)) ? EXIT_FAILED : EXIT_OK;
}

static int do_job(enum loader_job job, const char *path, int fd)
{
	switch (job) {
	case LOADER_RELOAD:
		return reload(path, fd);
	case LOADER_UNLOAD:
		return unload();
	case LOADER_CONSTANTS:
		return send_constants(fd);
	default:
		return EXIT_FAILED;
	}
}

/* More than fits into the pipe comes while the child runs. */
static size_t read_all(int fd, void *bytes, size_t len)
{
	size_t at = 0;
	ssize_t n;

	while (at < len && (n = read(fd, (char *)bytes + at, len - at)) > 0)
		at += n;
	return at;
}

/* What the child writes: constants, or words. */
static int run_job(enum loader_job job, const char *path, struct weir_config *cfg, struct answer *a)
{
	bool constants = job == LOADER_CONSTANTS;
	void *to = constants ? (void *)cfg : a->why;
	size_t len = constants ? sizeof(*cfg) : sizeof(a->why) - 1, got = 0;
	int ends[2], status;
	pid_t pid;

	if (pipe(ends))
		return EXIT_FAILED;
	pid = fork();
	if (!pid)
		_exit(do_job(job, path, ends[1]));
	close(ends[1]);
	if (pid > 0)
		got = read_all(ends[0], to, len);
	close(ends[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return EXIT_FAILED;
	if (WIFSIGNALED(status))
		return -WTERMSIG(status);
	return constants && got < len ? EXIT_FAILED : WEXITSTATUS(status);
}

/* Until the agent is gone. A signal to all of the terminal's processes is the agent's business. */
static void serve(int fd, const char *path)
{
	static struct weir_config cfg;
	__u8 job;

	while (read(fd, &job, 1) == 1) {
		struct answer a = { .job = job };
		struct iovec parts[] = { { &a, sizeof(a) }, { &cfg, sizeof(cfg) } };
		struct msghdr m = { .msg_iov = parts };

		a.status = run_job(job, path, &cfg, &a);
		m.msg_iovlen = 1 + (job == LOADER_CONSTANTS && !a.status);
		if (sendmsg(fd, &m, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void be_loader(int fd, const char *path)
{
	/* The last one includes CAP_BPF and CAP_PERFMON. */
	static const cap_value_t keep[] = { CAP_NET_ADMIN, CAP_SYS_ADMIN };
	sigset_t set;
	int err = caps_keep(keep, sizeof(keep) / sizeof(keep[0]));

	if (err)
		say(LOG_WARNING, "loader: capabilities cannot be given up: %s", strerror(-err));
	prctl(PR_SET_NAME, "weir-loader");
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	unsetenv("NOTIFY_SOCKET"); /* it speaks for nobody */
	serve(fd, path);
}

/* ---- in the agent ----------------------------------------------------------------------------- */

int loader_start(struct loader **out, const char *path)
{
	struct loader *l = calloc(1, sizeof(*l));
	int ends[2];

	if (!l)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		free(l);
		return -errno;
	}
	l->pid = fork();
	if (!l->pid) {
		/* The agent's locks and sockets are to be free when it is gone. */
		if (dup2(ends[1], 3) == 3 && !close_range(4, ~0U, 0))
			be_loader(3, path);
		_exit(0);
	}
	close(ends[1]);
	l->fd = ends[0];
	if (l->pid > 0) {
		*out = l;
		return 0;
	}
	close(l->fd);
	free(l);
	return -EAGAIN;
}

bool loader_busy(const struct loader *l, enum loader_job job)
{
	return l->under_way[job] || l->wanted[job];
}

static bool any_under_way(const struct loader *l)
{
	for (int i = 0; i < LOADER_JOBS; i++) {
		if (l->under_way[i])
			return true;
	}
	return false;
}

/* One at a time. */
static void next_job(struct loader *l)
{
	for (__u8 job = 0; job < LOADER_JOBS && !any_under_way(l); job++) {
		if (!l->wanted[job])
			continue;
		l->wanted[job] = false;
		l->under_way[job] = send(l->fd, &job, 1, MSG_NOSIGNAL) == 1;
	}
}

void loader_ask(struct loader *l, enum loader_job job)
{
	l->wanted[job] = true;
	next_job(l);
}

/* -errno; 0 at its end; else a is filled. */
static ssize_t receive(struct loader *l, struct answer *a)
{
	struct iovec parts[] = { { a, sizeof(*a) }, { &l->cfg, sizeof(l->cfg) } };
	struct msghdr m = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n = recvmsg(l->fd, &m, 0);

	if (n >= (ssize_t)sizeof(*a) && a->job < LOADER_JOBS)
		l->under_way[a->job] = false;
	return n;
}

static int on_answer(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct loader *l = arg;
	struct answer a;
	ssize_t n = receive(l, &a);

	if (n < (ssize_t)sizeof(a)) {
		sd_event_source_set_enabled(s, SD_EVENT_OFF);
		memset(l->under_way, 0, sizeof(l->under_way));
		l->ops->gone(l->arg);
		return 0;
	}
	next_job(l);
	if (a.job == LOADER_RELOAD)
		l->ops->reloaded(a.status, a.why, l->arg);
	else if (a.job == LOADER_CONSTANTS)
		l->ops->constants(a.status ? NULL : &l->cfg, l->arg);
	return 0;
}

int loader_attach(struct loader *l, sd_event *event, const struct loader_ops *ops, void *arg)
{
	l->ops = ops;
	l->arg = arg;
	return sd_event_add_io(event, &l->io, l->fd, EPOLLIN, on_answer, l);
}

void loader_wait(struct loader *l)
{
	struct answer a;

	if (!l)
		return;
	memset(l->wanted, 0, sizeof(l->wanted));
	while (any_under_way(l) && receive(l, &a) >= (ssize_t)sizeof(a))
		;
}

int loader_unload(struct loader *l)
{
	__u8 job = LOADER_UNLOAD;
	struct answer a;

	loader_wait(l);
	if (send(l->fd, &job, 1, MSG_NOSIGNAL) != 1 || receive(l, &a) < (ssize_t)sizeof(a))
		return EXIT_FAILED;
	return a.status < 0 ? EXIT_FAILED : a.status;
}

void loader_free(struct loader *l)
{
	if (!l)
		return;
	loader_wait(l);
	sd_event_source_disable_unref(l->io);
	close(l->fd);
	waitpid(l->pid, NULL, 0);
	free(l);
}
