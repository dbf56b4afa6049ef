/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * weir metrics: what monitoring gets, on standard output, into a file of node_exporter's, or to a StatsD server;
 * once, or again and again.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "metrics.h"
#include "options.h"

#define SECOND_NS      1000000000ULL
#define INTERVAL_MAX   (86400 * SECOND_NS)
#define DATAGRAM_MAX   1432 /* with IPv6's and UDP's headers an Ethernet frame, with some room for a tunnel */
#define NAME_SPACE_MAX 255  /* CloudWatch's limit */
#define PREFIX_MAX     100

enum format { PROMETHEUS, OPENMETRICS, JSON, EMF, STATSD };
static const char *const formats[] = {"prometheus", "openmetrics", "json", "emf", "statsd", NULL};

struct job {
	int format;
	const char *textfile, *server; /* NULL: standard output */
	const char *name;	       /* of EMF's name space, or before all names of StatsD */
	__u64 interval;		       /* 0: once */
	struct metrics *before;	       /* what was last sent */
	int err;		       /* why nothing could be opened, as it was last said */
};

/* ---- standard output -------------------------------------------------------------------------- */

static __u64 wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* Counters are what was added since the last time; the first time of several there is nothing yet. */
static const struct metrics *before(const struct job *j, const struct metrics *ms)
{
	return j->before ? j->before : j->interval ? ms : NULL;
}

static int print(const struct job *j, const struct metrics *ms)
{
	int err = 0;

	switch (j->format) {
	case PROMETHEUS:
	case OPENMETRICS:
		err = metrics_prometheus(stdout, ms, j->format == OPENMETRICS);
		break;
	case JSON:
		out_document("metrics", metrics_document(ms));
		break;
	case EMF:
		err = metrics_emf(stdout, ms, before(j, ms), j->name, wall_ms());
		break;
	case STATSD:
		err = metrics_statsd(stdout, ms, before(j, ms), j->name, DATAGRAM_MAX);
		break;
	}
	if (!err && j->interval && fflush(stdout))
		return EXIT_FAILED; /* out_finish() says why */
	return err && !ferror(stdout) ? fail(EXIT_FAILED, "metrics: %s", strerror(-err)) : EXIT_OK;
}

/* ---- a file ----------------------------------------------------------------------------------- */

/* A new file of ours: whoever may write to the directory cannot have it point elsewhere. */
static int write_new(const char *path, const struct metrics *ms)
{
	FILE *f;
	int fd, err;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	f = fdopen(fd, "w");
	if (!f) {
		err = -errno;
		close(fd);
		return err;
	}
	err = metrics_prometheus(f, ms, false);
	if (!err && (fflush(f) || fchmod(fd, 0644) || fsync(fd)))
		err = -errno;
	if (fclose(f) && !err)
		err = -errno;
	return err;
}

/* Readers find the whole old file or the whole new one. */
static int put_file(const struct job *j, const struct metrics *ms)
{
	char *path;
	int err;

	if (asprintf(&path, "%s.tmp", j->textfile) < 0)
		return fail(EXIT_FAILED, "metrics: out of memory");
	err = write_new(path, ms);
	if (!err && rename(path, j->textfile))
		err = -errno;
	if (err)
		unlink(path);
	free(path);
	return err ? fail(exit_of(err), "metrics: %s: %s", j->textfile, strerror(-err)) : EXIT_OK;
}

/* ---- StatsD ----------------------------------------------------------------------------------- */

/* "host:8125", "[fd00::1]:8125", cut into two. */
static bool split_server(char *text, char **host, char **port)
{
	char *colon = strrchr(text, ':');
	size_t len = colon ? colon - text : 0;

	if (!len || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) || atol(colon + 1) < 1 ||
	    atol(colon + 1) > 65535)
		return false;
	*colon = 0;
	*port = colon + 1;
	*host = text;
	if (*text == '[' && len > 2 && text[len - 1] == ']') {
		text[len - 1] = 0;
		*host = text + 1;
		return true;
	}
	return !strchr(text, ':') && !strpbrk(text, "[]");
}

/* A socket that sends there; or -1 after *why was told. */
static int connect_to(const char *host, const char *port, const char **why)
{
	struct addrinfo want = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *list;
	int err = getaddrinfo(host, port, &want, &list), fd = -1;

	*why = err ? gai_strerror(err) : "no address";
	if (err)
		return -1;
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
			break;
		*why = strerror(errno);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

/* Datagrams that are separated by empty lines. 0 or -errno; that nobody listens is known later or never. */
static int send_all(int fd, const char *text)
{
	int refused = 0;

	for (const char *end; *text; text = end) {
		size_t len;

		end = strstr(text, "\n\n");
		len = end ? (size_t)(end - text) : strlen(text) - 1;
		end = end ? end + 2 : text + len + 1;
		if (send(fd, text, len, 0) < 0)
			return -errno;
	}
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &refused, &(socklen_t){sizeof(refused)});
	return -refused;
}

static char *statsd_text(const struct job *j, const struct metrics *ms, int *err)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	*err = -ENOMEM;
	if (!f)
		return NULL;
	*err = metrics_statsd(f, ms, j->before ?: ms, j->name, DATAGRAM_MAX);
	if (fclose(f) && !*err)
		*err = -errno;
	return text;
}

static int put_server(const struct job *j, const struct metrics *ms)
{
	char *server = strdup(j->server), *host, *port, *text;
	const char *why = "out of memory";
	int fd = -1, err;

	text = statsd_text(j, ms, &err);
	if (err)
		why = strerror(-err);
	else if (server && split_server(server, &host, &port))
		fd = connect_to(host, port, &why);
	if (fd >= 0) {
		err = send_all(fd, text);
		why = err == -ECONNREFUSED ? "nobody listens there" : err ? strerror(-err) : NULL;
		close(fd);
	}
	free(server);
	free(text);
	return why ? fail(EXIT_FAILED, "metrics: %s: %s", j->server, why) : EXIT_OK;
}

/* ---- one time --------------------------------------------------------------------------------- */

/*
 * The list as it is now. Nothing loaded is an answer; what is there but cannot be read, left by an interrupted
 * load or by another version, is one, too, but degraded. 0, or the exit status.
 */
static int collect(struct job *j, struct metrics **ms)
{
	struct dataplane *dp = NULL;
	int err = dp_open(&dp, DP_READ), status = EXIT_OK;

	if (err && err != -ENOENT && err != -ESTALE && err != -EPROTO)
		return fail(exit_of(err), "metrics: %s", dp_error());
	if (err == -ESTALE || err == -EPROTO) {
		status = EXIT_DEGRADED;
		if (err != j->err)
			warn("%s", dp_error());
	}
	j->err = err;
	err = metrics_collect(ms, err ? NULL : dp, NULL);
	dp_close(dp);
	return err ? fail(exit_of(err), "metrics: they cannot be read: %s", strerror(-err)) : status;
}

/* 0, or the exit status. What could not be sent is sent the next time. */
static int once(struct job *j)
{
	struct metrics *ms = NULL;
	int status = collect(j, &ms), put;

	if (!ms)
		return status;
	put = j->textfile ? put_file(j, ms) : j->server ? put_server(j, ms) : print(j, ms);
	if (put) {
		metrics_free(ms);
		return put;
	}
	metrics_free(j->before);
	j->before = ms;
	return status;
}

/* ---- many times ------------------------------------------------------------------------------- */

/* Sleeps until `due`. Whether Ctrl-C (or an end in another way) was asked for instead. */
static bool stopped(const sigset_t *ends, __u64 due)
{
	__u64 now = monotonic_ns();
	int sig;

	do {
		__u64 left = due > now ? due - now : 0;
		struct timespec ts = {left / SECOND_NS, left % SECOND_NS};

		sig = sigtimedwait(ends, NULL, &ts);
		now = monotonic_ns();
	} while (sig < 0 && errno == EINTR && now < due);
	return sig > 0;
}

/* What fails at first is a mistake, and the end; what fails later may pass. */
static int repeat(struct job *j)
{
	__u64 due = monotonic_ns();
	sigset_t ends;
	int status;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	out_lines = true;
	status = once(j);
	if (status && status != EXIT_DEGRADED)
		return status;
	for (due += j->interval; !stopped(&ends, due); due += j->interval) {
		status = once(j);
		if (ferror(stdout))
			return status;
		if (due + j->interval < monotonic_ns())
			due = monotonic_ns(); /* it was suspended: what was missed is not made up for */
	}
	return EXIT_OK;
}

/* ---- the command ------------------------------------------------------------------------------ */

/* Where it goes says which format, where there is only one. */
static int read_format(struct job *j, const char *format)
{
	int only = j->textfile ? PROMETHEUS : STATSD, status; /* where one of the two is given */

	j->format = out_json ? JSON : j->server ? STATSD : PROMETHEUS;
	status = option_choice("metrics", "--format", format, formats, &j->format);
	if (status)
		return status;
	if (out_json && j->format != JSON)
		return fail(EXIT_USAGE, "metrics: --json and --format %s contradict each other", format);
	if (j->textfile && j->server)
		return fail(EXIT_USAGE, "metrics: --textfile and --statsd: one of them");
	if ((j->textfile || j->server) && j->format != only)
		return fail(EXIT_USAGE, "metrics: %s takes the format %s only", j->textfile ? "--textfile" : "--statsd",
			    formats[only]);
	return EXIT_OK;
}

static int read_interval(struct job *j, const char *text)
{
	if (!text)
		return EXIT_OK;
	if (parse_duration(text, &j->interval) || j->interval < SECOND_NS || j->interval > INTERVAL_MAX)
		return fail(EXIT_USAGE, "metrics: --interval is a time from 1s to 1d, not '%.60s'", text);
	if (!j->textfile && j->format <= OPENMETRICS)
		return fail(EXIT_USAGE, "metrics: --interval: the format %s has no place for a second document",
			    formats[j->format]);
	return EXIT_OK;
}

static bool name_ok(const char *name, const char *more, size_t max)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr(more, name[i]))
			return false;
	}
	return len && len <= max;
}

static int read_name(struct job *j, const char *name)
{
	j->name = name ?: j->format == EMF ? "Weir" : "weir";
	if (name && j->format != EMF && j->format != STATSD)
		return fail(EXIT_USAGE, "metrics: --namespace is of the formats emf and statsd");
	if (j->format == EMF && (!name_ok(j->name, "._-/#:", NAME_SPACE_MAX) || !strncmp(j->name, "AWS/", 4)))
		return fail(EXIT_USAGE, "metrics: --namespace is 1 to %d of a-z, A-Z, 0-9, . _ - / # :, and does not "
			    "begin with AWS/", NAME_SPACE_MAX);
	if (j->format == STATSD && !name_ok(j->name, "._-", PREFIX_MAX))
		return fail(EXIT_USAGE, "metrics: --namespace is 1 to %d of a-z, A-Z, 0-9, . _ -", PREFIX_MAX);
	return EXIT_OK;
}

static int read_places(struct job *j)
{
	char *copy = j->server ? strdup(j->server) : NULL, *host, *port;
	bool ok = !copy || split_server(copy, &host, &port);
	size_t len = j->textfile ? strlen(j->textfile) : 0;

	free(copy);
	if (!ok)
		return fail(EXIT_USAGE, "metrics: --statsd is HOST:PORT or [ADDRESS]:PORT, not '%.100s'", j->server);
	if (j->textfile && (!len || j->textfile[len - 1] == '/'))
		return fail(EXIT_USAGE, "metrics: --textfile takes the name of a file, not '%.100s'", j->textfile);
	if (j->textfile && (len < 5 || strcmp(j->textfile + len - 5, ".prom")))
		note("%s: node_exporter reads files that end in .prom only", j->textfile);
	return EXIT_OK;
}

int cmd_metrics(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct job j = {.textfile = opt_value(cmd, values, "textfile"), .server = opt_value(cmd, values, "statsd")};
	int status = read_format(&j, opt_value(cmd, values, "format"));

	if (!status)
		status = read_interval(&j, opt_value(cmd, values, "interval"));
	if (!status)
		status = read_name(&j, opt_value(cmd, values, "namespace"));
	if (!status)
		status = read_places(&j);
	if (!status)
		status = j.interval ? repeat(&j) : once(&j);
	metrics_free(j.before);
	return status;
}
