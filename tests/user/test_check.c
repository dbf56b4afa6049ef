/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Health checks against servers in threads that do as a row says. What came of them is a transcript of
 * the first results, "+" or the reason, and the lines of the changes.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "test.h"

#define MS	   1000000ULL
#define TIMEOUT_MS 400 /* of what is to time out, */
#define ENOUGH_MS  5000 /* and of what is not, however slow the machine */

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* ---- servers ---------------------------------------------------------------------------------- */

enum manner {
	SAY,	/* its reply, once it has heard something */
	BYTES,	/* the same, byte by byte */
	DRIP,	/* its reply again and again, slowly, for ever */
	FLOOD,	/* the same as fast as it can */
	CLOSE,	/* nothing: accepts and closes */
	RESET,
	SILENT, /* accepts, and says nothing */
	DEAF,	/* the port is there, nobody listens */
	FULL,	/* does not accept: the handshake gets no answer */
};

struct server {
	int fd, family, type;
	__be16 port;
	enum manner manner;
	const char *reply;
	size_t reply_len;
	int wrong; /* UDP: that many datagrams with other request ids first */
	pthread_t thread;
	char heard[2048];
	size_t heard_len;
	unsigned conns, open, most; /* atomic */
	int filler[4];
};

struct conn {
	struct server *s;
	int fd;
};

static void hear(struct server *s, int fd)
{
	ssize_t n = recv(fd, s->heard, sizeof(s->heard) - 1, 0);

	s->heard_len = n > 0 ? n : 0;
	s->heard[s->heard_len] = 0;
}

static void say(struct server *s, int fd)
{
	size_t step = s->manner == BYTES ? 1 : s->reply_len;

	for (size_t i = 0; i < s->reply_len; i += step) {
		if (send(fd, s->reply + i, step, MSG_NOSIGNAL) < 0)
			return;
		if (step == 1)
			usleep(2000);
	}
}

static void *converse(void *arg)
{
	struct conn c = *(struct conn *)arg;
	struct linger now = { 1, 0 };
	char rest[256];

	free(arg);
	if (c.s->manner != CLOSE && c.s->manner != RESET && c.s->manner != SILENT) {
		hear(c.s, c.fd);
		say(c.s, c.fd);
	}
	while ((c.s->manner == DRIP || c.s->manner == FLOOD) &&
	       send(c.fd, c.s->reply, c.s->reply_len, MSG_NOSIGNAL) > 0)
		usleep(c.s->manner == DRIP ? 20000 : 0);
	if (c.s->manner == RESET)
		setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	/* HTTP without a length ends with the connection. */
	if (c.s->manner == SAY || c.s->manner == BYTES)
		shutdown(c.fd, SHUT_WR);
	while (c.s->manner != CLOSE && c.s->manner != RESET && recv(c.fd, rest, sizeof(rest), 0) > 0)
		;
	__atomic_sub_fetch(&c.s->open, 1, __ATOMIC_SEQ_CST);
	close(c.fd);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct server *s = arg;

	for (;;) {
		int fd = accept(s->fd, NULL, NULL);
		struct conn *c;
		unsigned open;
		pthread_t t;

		if (fd < 0)
			return NULL;
		__atomic_add_fetch(&s->conns, 1, __ATOMIC_SEQ_CST);
		open = __atomic_add_fetch(&s->open, 1, __ATOMIC_SEQ_CST);
		if (open > s->most)
			s->most = open;
		c = malloc(sizeof(*c));
		*c = (struct conn){ s, fd };
		if (s->manner == CLOSE)
			converse(c);
		else if (!pthread_create(&t, NULL, converse, c))
			pthread_detach(t);
	}
}

/* A memcached by UDP: the request's header, its id changed as often as it is to be wrong, and the reply. */
static void *answer_all(void *arg)
{
	struct server *s = arg;
	unsigned char in[2048], out[2048];
	struct sockaddr_storage from;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(s->fd, in, sizeof(in), 0, (void *)&from, &len);

		if (n <= 0)
			return NULL;
		s->heard_len = n;
		memcpy(s->heard, in, n);
		__atomic_add_fetch(&s->conns, 1, __ATOMIC_SEQ_CST);
		if (s->manner == SILENT)
			continue;
		memcpy(out, in, 8);
		memcpy(out + 8, s->reply, s->reply_len);
		for (int i = 0; i < s->wrong; i++) {
			out[1] = in[1] + 1 + i % 200;
			sendto(s->fd, out, 8 + s->reply_len, 0, (void *)&from, len);
			sendto(s->fd, out, 3, 0, (void *)&from, len);
		}
		out[1] = in[1];
		if (s->manner == BYTES && !memcmp(in + 8, "mn", 2)) { /* an old one: no meta commands */
			memcpy(out + 8, "ERROR\r\n", 7);
			sendto(s->fd, out, 15, 0, (void *)&from, len);
		} else {
			sendto(s->fd, out, 8 + s->reply_len, 0, (void *)&from, len);
		}
	}
}

static socklen_t loopback(struct sockaddr_storage *ss, int family)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	memset(ss, 0, sizeof(*ss));
	memcpy(ss, family == AF_INET6 ? (void *)&v6 : (void *)&v4, family == AF_INET6 ? sizeof(v6) : sizeof(v4));
	return family == AF_INET6 ? sizeof(v6) : sizeof(v4);
}

/* The accept queue of such a listener holds few: further handshakes get no answer. */
static void fill(struct server *s, struct sockaddr_storage *ss, socklen_t len)
{
	for (int i = 0; i < 4; i++) {
		s->filler[i] = socket(s->family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(s->filler[i], (void *)ss, len);
	}
	usleep(20000);
}

static bool server_start(struct server *s, int family, int type, enum manner manner, const char *reply)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, family);

	s->family = family;
	s->type = type;
	s->manner = manner;
	s->reply = reply ?: "";
	s->reply_len = strlen(s->reply);
	s->fd = socket(family, type, 0);
	if (s->fd < 0 || bind(s->fd, (void *)&ss, len) || getsockname(s->fd, (void *)&ss, &len))
		return false;
	s->port = ((struct sockaddr_in *)&ss)->sin_port;
	if (manner == DEAF) {
		if (type == SOCK_DGRAM) {
			close(s->fd);
			s->fd = -1;
		}
		return true;
	}
	if (type == SOCK_STREAM && listen(s->fd, manner == FULL ? 0 : 256))
		return false;
	if (manner == FULL)
		fill(s, &ss, len);
	else
		return !pthread_create(&s->thread, NULL, type == SOCK_DGRAM ? answer_all : accept_all, s);
	return true;
}

static void server_end(struct server *s)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, s->family);

	if (s->thread && s->type == SOCK_DGRAM) { /* an empty datagram ends it */
		int fd = socket(s->family, SOCK_DGRAM, 0);

		((struct sockaddr_in *)&ss)->sin_port = s->port;
		sendto(fd, "", 0, 0, (void *)&ss, len);
		close(fd);
	} else if (s->thread) {
		shutdown(s->fd, SHUT_RDWR);
	}
	if (s->thread)
		pthread_join(s->thread, NULL);
	for (int i = 0; i < 200 && __atomic_load_n(&s->open, __ATOMIC_SEQ_CST); i++)
		usleep(10000);
	for (int i = 0; i < 4 && s->manner == FULL; i++)
		close(s->filler[i]);
	if (s->fd >= 0)
		close(s->fd);
}

/* ---- a scene ---------------------------------------------------------------------------------- */

struct scene {
	sd_event *event;
	struct checks *checks;
	unsigned results, changes, fds_most;
	bool late;
	__u64 latency_ns;
	char said[4096]; /* results */
	char lines[4096];
	__u64 at_ns[256]; /* of results */
	unsigned by[WEIR_BACKENDS_MAX];
};

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", "..", itself */
}

static void on_result(const struct check_target *t, const char *why, __u64 latency_ns, void *arg)
{
	struct scene *s = arg;
	unsigned fds = open_fds();
	size_t at = strlen(s->said);

	snprintf(s->said + at, sizeof(s->said) - at, "%s\n", *why ? why : "+");
	s->latency_ns = latency_ns;
	if (s->results < 256)
		s->at_ns[s->results] = now_ns();
	s->by[t->backend]++;
	if (fds > s->fds_most)
		s->fds_most = fds;
	s->results++;
}

static void on_changed(const struct check_target *t, __u32 health, const char *why, const char *line, void *arg)
{
	struct scene *s = arg;
	size_t at = strlen(s->lines);

	s->changes++;
	snprintf(s->lines + at, sizeof(s->lines) - at, "%s\n", line);
}

static const struct check_ops ops = { on_result, on_changed };

static void scene_open(struct scene *s, unsigned at_once)
{
	memset(s, 0, sizeof(*s));
	CHECK(sd_event_new(&s->event) >= 0);
	CHECK_INT(checks_new(&s->checks, s->event, at_once, &ops, s), 0);
}

static int on_late(sd_event_source *src, uint64_t usec, void *arg)
{
	return *(bool *)arg = true;
}

/* Until there are `n` results in all; false when that takes longer. */
static bool scene_run(struct scene *s, unsigned n, unsigned ms)
{
	sd_event_source *late = NULL;

	s->late = false;
	sd_event_add_time_relative(s->event, &late, CLOCK_MONOTONIC, ms * 1000ULL, 1000, on_late, &s->late);
	while (s->results < n && !s->late && sd_event_run(s->event, UINT64_MAX) >= 0)
		;
	sd_event_source_disable_unref(late);
	return s->results >= n;
}

static void scene_close(struct scene *s)
{
	checks_free(s->checks);
	sd_event_unref(s->event);
}

static struct config_check how_of(enum check_kind kind)
{
	return (struct config_check){
		.kind = kind,
		.interval_ns = 50 * MS,
		.timeout_ns = ENOUGH_MS * MS,
		.rise = 2,
		.fall = 3,
		.jitter = 10,
		.path = "/",
		.status_min = 200,
		.status_max = 399,
	};
}

static struct check_target target(unsigned backend, const struct config_check *how, int family, __be16 port)
{
	struct check_target t = { .backend = backend, .how = how, .pool = "web" };

	snprintf(t.name, sizeof(t.name), "b%u", backend);
	t.at.family = family == AF_INET6 ? 6 : 4;
	t.at.port = port;
	if (family == AF_INET6)
		t.at.addr.w[3] = htonl(1);
	else
		t.at.addr.w[0] = htonl(INADDR_LOOPBACK);
	return t;
}

static void only(struct scene *s, const struct check_target *t)
{
	checks_begin(s->checks);
	CHECK_INT(checks_add(s->checks, t), 0);
	checks_end(s->checks);
}

/* ---- rules ------------------------------------------------------------------------------------ */

static const struct rule_row {
	const char *sentence;
	unsigned rise, fall;
	char start;
	const char *results, *states; /* + - ; ? U D */
} rule_rows[] = {
	{ "one success makes up of unknown", 3, 3, '?', "+", "U" },
	{ "failures make down of unknown only after fall of them", 2, 3, '?', "---", "??D" },
	{ "a success between failures starts the count anew", 2, 3, 'U', "--+---", "UUUUUD" },
	{ "rise successes in a row make up of down", 3, 1, 'D', "++-+++", "DDDDDU" },
	{ "rise and fall of 1 follow each result", 1, 1, '?', "-+-+", "DUDU" },
	{ "an unknown one that failed is up at its first success", 5, 3, '?', "--+", "??U" },
	{ "counts do not carry over a change", 2, 2, 'U', "--+-++--", "UDDDDUUD" },
	{ "more of the same changes nothing", 2, 2, 'D', "------", "DDDDDD" },
};

static void test_rules(void)
{
	for (size_t i = 0; i < sizeof(rule_rows) / sizeof(rule_rows[0]); i++) {
		const struct rule_row *r = &rule_rows[i];
		struct config_check how = { .rise = r->rise, .fall = r->fall };
		struct check_state st = { .health = strchr("?UD", r->start) - "?UD" };
		char got[32] = "";

		test_begin(r->sentence);
		for (size_t k = 0; r->results[k]; k++) {
			__u32 before = st.health;
			bool changed = check_rule(&st, &how, r->results[k] == '+');

			CHECK_INT(changed, st.health != before);
			got[k] = "?UD"[st.health];
		}
		CHECK_STR(got, r->states);
		test_end();
	}
}

static void test_delay(void)
{
	struct config_check how = { .interval_ns = 1000 * MS, .jitter = 20 };
	__u64 least = ~0ULL, most = 0;

	test_begin("the jitter spreads a delay over its bounds, and not beyond");
	CHECK_INT(check_delay(&how, 0), 800 * MS);
	CHECK_INT(check_delay(&how, ~0U), 1200 * MS);
	for (__u32 i = 0; i < 100000; i++) {
		__u64 d = check_delay(&how, i * 2654435761U);

		least = d < least ? d : least;
		most = d > most ? d : most;
	}
	CHECK(least >= 800 * MS && least < 801 * MS);
	CHECK(most <= 1200 * MS && most > 1199 * MS);
	how.jitter = 0;
	CHECK_INT(check_delay(&how, 0), 1000 * MS);
	CHECK_INT(check_delay(&how, ~0U), 1000 * MS);
	how.jitter = 100;
	CHECK_INT(check_delay(&how, 0), 0);
	CHECK_INT(check_delay(&how, ~0U), 2000 * MS);
	test_end();
}

/* ---- each kind, one result -------------------------------------------------------------------- */

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static const struct kind_row {
	const char *sentence;
	enum check_kind kind;
	int family;
	enum manner manner;
	const char *reply;
	const char *want; /* "+", or what the reason begins with */
} kind_rows[] = {
	{ "tcp: who accepts is up", CHECK_TCP, AF_INET, SILENT, "", "+" },
	{ "tcp: who closes at once has accepted", CHECK_TCP, AF_INET, CLOSE, "", "+" },
	{ "tcp: nobody listens", CHECK_TCP, AF_INET, DEAF, "", "connect: Connection refused" },
	{ "tcp: no answer", CHECK_TCP, AF_INET, FULL, "", "connect: no answer in 400ms" },
	{ "tcp: IPv6", CHECK_TCP, AF_INET6, SILENT, "", "+" },
	{ "tcp: IPv6, nobody listens", CHECK_TCP, AF_INET6, DEAF, "", "connect: Connection refused" },

	{ "memcached: mn", CHECK_MEMCACHED, AF_INET, SAY, "MN\r\n", "+" },
	{ "memcached: mn, byte by byte, IPv6", CHECK_MEMCACHED, AF_INET6, BYTES, "MN\r\n", "+" },
	{ "memcached: another protocol", CHECK_MEMCACHED, AF_INET, SAY, "HTTP/1.1 400 Bad Request\r\n",
	  "reply: unexpected: HTTP/1.1 400 Bad Request" },
	{ "memcached: garbage is shown, not sent to the terminal", CHECK_MEMCACHED, AF_INET, SAY, "\x1b[2J\x80\n",
	  "reply: unexpected: \\x1b[2J\\x80\\x0a" },
	{ "memcached: a line without an end", CHECK_MEMCACHED, AF_INET, SAY,
	  "MNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMNMN", "reply: unexpected: MNMN" },
	{ "memcached: more than was asked for", CHECK_MEMCACHED, AF_INET, SAY, "MN\r\nMN\r\n",
	  "reply: unexpected: MN" },
	{ "memcached: out of connections", CHECK_MEMCACHED, AF_INET, SAY, "ERROR Too many open connections\r\n",
	  "reply: unexpected: ERROR Too many" },
	{ "memcached: half a reply", CHECK_MEMCACHED, AF_INET, SAY, "MN",
	  "reply: the connection was closed in its midst" },
	{ "memcached: closes", CHECK_MEMCACHED, AF_INET, CLOSE, "", "reply: " },
	{ "memcached: silence", CHECK_MEMCACHED, AF_INET, SILENT, "", "reply: none in 400ms" },
	{ "memcached: a byte now and then does not prolong it", CHECK_MEMCACHED, AF_INET, DRIP, "M",
	  "reply: none in 400ms" },
	{ "memcached: nobody listens", CHECK_MEMCACHED, AF_INET, DEAF, "", "connect: Connection refused" },

	{ "memcached-udp: mn", CHECK_MEMCACHED_UDP, AF_INET, SAY, "MN\r\n", "+" },
	{ "memcached-udp: mn, IPv6", CHECK_MEMCACHED_UDP, AF_INET6, SAY, "MN\r\n", "+" },
	{ "memcached-udp: an old one is asked for its version", CHECK_MEMCACHED_UDP, AF_INET, BYTES,
	  "VERSION 1.4.2\r\n", "+" },
	{ "memcached-udp: garbage", CHECK_MEMCACHED_UDP, AF_INET, SAY, "SERVER_ERROR x\r\n",
	  "reply: unexpected: SERVER_ERROR x" },
	{ "memcached-udp: an empty reply", CHECK_MEMCACHED_UDP, AF_INET, SAY, "", "reply: unexpected: " },
	{ "memcached-udp: silence", CHECK_MEMCACHED_UDP, AF_INET, SILENT, "", "reply: none in 400ms" },
	{ "memcached-udp: nobody there", CHECK_MEMCACHED_UDP, AF_INET, DEAF, "", "reply: Connection refused" },

	{ "http: 200", CHECK_HTTP, AF_INET, SAY, OK_HEAD, "+" },
	{ "http: 200, byte by byte, IPv6", CHECK_HTTP, AF_INET6, BYTES, OK_HEAD, "+" },
	{ "http: no content, in HTTP/1.0", CHECK_HTTP, AF_INET, SAY, "HTTP/1.0 204 No Content\r\n\r\n", "+" },
	{ "http: a redirect is an answer, and not followed", CHECK_HTTP, AF_INET, SAY,
	  "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "+" },
	{ "http: 404", CHECK_HTTP, AF_INET, SAY, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
	  "http: status 404" },
	{ "http: 503", CHECK_HTTP, AF_INET, SAY, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
	  "http: status 503" },
	{ "http: another protocol", CHECK_HTTP, AF_INET, SAY, "ERROR\r\n", "http: Received HTTP/0.9" },
	{ "http: half a status line", CHECK_HTTP, AF_INET, SAY, "HTTP/1.1 20", "http: " },
	{ "http: a body cut short", CHECK_HTTP, AF_INET, SAY, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
	  "http: " },
	{ "http: closes", CHECK_HTTP, AF_INET, CLOSE, "", "http: " },
	{ "http: resets", CHECK_HTTP, AF_INET, RESET, "", "http: " },
	{ "http: silence", CHECK_HTTP, AF_INET, SILENT, "", "http: not done in 400ms" },
	{ "http: headers that drip for ever end at the time-out", CHECK_HTTP, AF_INET, DRIP,
	  "HTTP/1.1 100 Continue\r\n\r\n", "http: not done in 400ms" },
	{ "http: headers without end are not collected", CHECK_HTTP, AF_INET, FLOOD,
	  "HTTP/1.1 100 Continue\r\nX-Much: 0123456789012345678901234567890123456789\r\n\r\n",
	  "http: the headers are longer than 64 KiB" },
	{ "http: nobody listens", CHECK_HTTP, AF_INET, DEAF, "", "http: Failed to connect" },
	{ "https: no TLS there", CHECK_HTTPS, AF_INET, SAY, OK_HEAD, "http: " },
};

static bool has_ipv6(void)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, AF_INET6);
	int fd = socket(AF_INET6, SOCK_STREAM, 0), rc = fd < 0 ? -1 : bind(fd, (void *)&ss, len);

	close(fd);
	return !rc;
}

static void one_kind(const struct kind_row *r)
{
	int type = r->kind == CHECK_MEMCACHED_UDP ? SOCK_DGRAM : SOCK_STREAM;
	struct config_check how = how_of(r->kind);
	struct server server = {};
	struct check_target t;
	struct scene s;
	__u64 start = now_ns(), took;

	test_begin(r->sentence);
	if (strstr(r->want, "in 400ms"))
		how.timeout_ns = TIMEOUT_MS * MS;
	scene_open(&s, 16);
	CHECK(server_start(&server, r->family, type, r->manner, r->reply));
	t = target(1, &how, r->family, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 1, 2 * ENOUGH_MS));
	took = now_ns() - start;
	if (!CHECK(!strncmp(s.said, r->want, strlen(r->want))))
		printf("# it said: %s", s.said);
	CHECK_INT(!!s.latency_ns, *r->want == '+');
	CHECK(s.latency_ns < took);
	if (strstr(r->want, "in 400ms"))
		CHECK(took >= TIMEOUT_MS * MS && took < (TIMEOUT_MS + 500 + 1000) * MS);
	CHECK_STR(s.lines, *r->want == '+' ? "pool web: backend b1 up (1 check)\n" : "");
	scene_close(&s);
	server_end(&server);
	test_end();
}

static void test_kinds(void)
{
	bool ipv6 = has_ipv6();

	for (size_t i = 0; i < sizeof(kind_rows) / sizeof(kind_rows[0]); i++) {
		if (kind_rows[i].family == AF_INET6 && !ipv6)
			test_skip(kind_rows[i].sentence, "no IPv6 here");
		else
			one_kind(&kind_rows[i]);
	}
}

/* ---- what is asked ---------------------------------------------------------------------------- */

static void test_memcached_request(void)
{
	struct config_check how = how_of(CHECK_MEMCACHED_UDP);
	struct server server = { .wrong = 20 };
	struct check_target t;
	struct scene s;

	test_begin("memcached-udp: replies to other requests, and datagrams too short, are passed over");
	scene_open(&s, 16);
	CHECK(server_start(&server, AF_INET, SOCK_DGRAM, SAY, "MN\r\n"));
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 2, 3000));
	CHECK_STR(s.said, "+\n+\n");
	CHECK_MEM(server.heard + 2, server.heard_len - 2, "\0\0\0\1\0\0mn\r\n", 10);
	test_end();

	test_begin("memcached-udp: but not without end");
	server.wrong = 2000;
	s.said[0] = 0;
	CHECK(scene_run(&s, s.results + 1, 2 * ENOUGH_MS));
	CHECK_STR(s.said, "reply: too much that answers nothing\n");
	scene_close(&s);
	server_end(&server);
	test_end();
}

static void test_http_request(void)
{
	struct config_check how = how_of(CHECK_HTTP);
	struct server server = {};
	struct check_target t;
	struct scene s;
	char want[128];

	test_begin("http: path and host as configured, straight to the backend whatever the environment says");
	setenv("http_proxy", "http://127.0.0.1:1/", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1/", 1);
	how.path = "/a/../health?x=1";
	how.host = "www.example.com";
	scene_open(&s, 16);
	CHECK(server_start(&server, AF_INET, SOCK_STREAM, SAY, OK_HEAD));
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 1, 2 * ENOUGH_MS));
	CHECK_STR(s.said, "+\n");
	CHECK_STR(strtok(server.heard, "\r\n"), "GET /a/../health?x=1 HTTP/1.1");
	CHECK_STR(strtok(NULL, "\r\n"), "Host: www.example.com");
	test_end();

	test_begin("http: without a host, the address");
	how.host = NULL;
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	s.said[0] = 0;
	CHECK(scene_run(&s, s.results + 1, 2 * ENOUGH_MS));
	CHECK_STR(s.said, "+\n");
	CHECK_STR(strtok(server.heard, "\r\n"), "GET /a/../health?x=1 HTTP/1.1");
	snprintf(want, sizeof(want), "Host: 127.0.0.1:%u", ntohs(server.port));
	CHECK_STR(strtok(NULL, "\r\n"), want);
	scene_close(&s);
	server_end(&server);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	test_end();
}

static void test_http_limits(void)
{
	struct config_check how = how_of(CHECK_HTTP);
	struct server server = {};
	char *body = malloc(1 << 20);
	struct check_target t;
	struct scene s;

	test_begin("http: of a body without end 64 KiB are enough");
	memset(body, 'x', (1 << 20) - 1);
	body[(1 << 20) - 1] = 0;
	memcpy(body, "HTTP/1.1 200 OK\r\n\r\n", 19);
	scene_open(&s, 16);
	CHECK(server_start(&server, AF_INET, SOCK_STREAM, FLOOD, body));
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 1, 2 * ENOUGH_MS));
	CHECK_STR(s.said, "+\n");
	test_end();

	test_begin("http: the status is looked at all the same");
	how.status_min = how.status_max = 204;
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	s.said[0] = 0;
	CHECK(scene_run(&s, s.results + 1, 2 * ENOUGH_MS));
	CHECK_STR(s.said, "http: status 200\n");
	scene_close(&s);
	server_end(&server);
	free(body);
	test_end();
}

/* ---- HTTPS ------------------------------------------------------------------------------------ */

static __be16 free_port(void)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, AF_INET);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (void *)&ss, len) || getsockname(fd, (void *)&ss, &len))
		return 0;
	close(fd);
	return ((struct sockaddr_in *)&ss)->sin_port;
}

static pid_t start_https(__be16 port, const char *dir)
{
	char script[512];
	char *argv[] = { "sh", "-c", script, NULL };
	pid_t pid;

	snprintf(script, sizeof(script),
		 "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -days 1 -subj "
		 "/CN=elsewhere.example 2>/dev/null && exec openssl s_server -quiet -www -accept 127.0.0.1:%u "
		 "-key key -cert crt </dev/null >/dev/null 2>&1",
		 dir, ntohs(port));
	return posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) ? 0 : pid;
}

static void test_https(void)
{
	const char *sentence = "https: any certificate will do; down again when the server is gone";
	struct config_check how = how_of(CHECK_HTTPS);
	char dir[] = "/tmp/weir-check-XXXXXX", remove[64];
	__be16 port = free_port();
	struct check_target t;
	struct scene s;
	pid_t pid;

	if (system("command -v openssl >/dev/null")) {
		test_skip(sentence, "no openssl");
		return;
	}
	test_begin(sentence);
	how.host = "www.example.com";
	scene_open(&s, 16);
	CHECK(mkdtemp(dir));
	pid = start_https(port, dir);
	t = target(1, &how, AF_INET, port);
	t.health = WEIR_HEALTH_DOWN;
	only(&s, &t);
	while (!s.changes && scene_run(&s, s.results + 1, 20000))
		;
	CHECK_STR(s.lines, "pool web: backend b1 up (2 checks in a row)\n");
	CHECK(s.latency_ns > 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	while (s.changes == 1 && scene_run(&s, s.results + 1, 5000))
		;
	CHECK(strstr(s.lines, "backend b1 down: http: "));
	scene_close(&s);
	snprintf(remove, sizeof(remove), "rm -r %s", dir);
	CHECK(!system(remove));
	test_end();
}

/* ---- commands --------------------------------------------------------------------------------- */

static const struct command_row {
	const char *sentence, *command, *want;
} command_rows[] = {
	{ "command: exit status 0", "exit 0", "+" },
	{ "command: another exit status", "exit 3", "command: exit status 3" },
	{ "command: not found", "/nonexistent/check", "command: exit status 127" },
	{ "command: ended by a signal", "kill -9 $$", "command: signal 9" },
	{ "command: it is told whom to check",
	  "[ \"$WEIR_POOL $WEIR_BACKEND $WEIR_ADDRESS $WEIR_PORT\" = 'web b1 127.0.0.1 80' ]", "+" },
	{ "command: it inherits no descriptors",
	  "for f in 3 4 5 6 7 8 9 11 12; do [ ! -e /proc/$$/fd/$f ] || exit $f; done", "+" },
	{ "command: nor blocked or ignored signals",
	  /* 32 and 33 are libc's; no fork, around which the shell blocks signals */
	  "while read k v; do [ $k != SigBlk: ] || [ $v = 0000000000000000 ] || exit 4;"
	  "[ $k != SigIgn: ] || [ $((0x$v & 0x7fffffff)) = 0 ] || exit 5; done </proc/$$/status", "+" },
	{ "command: what it writes goes nowhere", "echo out; echo err >&2; read x; [ $? = 1 ]", "+" },
	{ "command: hangs", "sleep 1000", "command: not done in 400ms" },
	{ "command: hangs and takes no signals", "trap '' TERM INT HUP; sleep 1000; sleep 1000",
	  "command: not done in 400ms" },
};

static void test_commands(void)
{
	signal(SIGPIPE, SIG_IGN);
	setenv("WEIR_POOL", "another", 1);
	for (size_t i = 0; i < sizeof(command_rows) / sizeof(command_rows[0]); i++) {
		const struct command_row *r = &command_rows[i];
		struct config_check how = how_of(CHECK_COMMAND);
		struct check_target t;
		struct scene s;

		test_begin(r->sentence);
		how.command = (char *)r->command;
		if (strstr(r->want, "in 400ms"))
			how.timeout_ns = TIMEOUT_MS * MS;
		scene_open(&s, 16);
		t = target(1, &how, AF_INET, htons(80));
		only(&s, &t);
		CHECK(scene_run(&s, 1, 2 * ENOUGH_MS));
		if (!CHECK(!strncmp(s.said, r->want, strlen(r->want))))
			printf("# it said: %s", s.said);
		scene_close(&s);
		test_end();
	}
	unsetenv("WEIR_POOL");
}

/* Gone, or dead and only not waited for by whom it fell to. */
static bool is_gone(pid_t pid)
{
	char path[64], text[256] = "", *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return true;
	if (!fgets(text, sizeof(text), f))
		*text = 0;
	fclose(f);
	at = strrchr(text, ')');
	return !at || at[2] == 'Z' || at[2] == 'X';
}

static unsigned read_pids(const char *path, pid_t *pids, unsigned max)
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;

	while (f && n < max && fscanf(f, "%d", &pids[n]) == 1)
		n++;
	if (f)
		fclose(f);
	return n;
}

static void check_gone(const char *path, unsigned wanted)
{
	pid_t pids[16];
	unsigned n = read_pids(path, pids, 16);

	CHECK_INT(n, wanted);
	for (unsigned i = 0; i < n; i++) {
		for (int k = 0; k < 100 && !is_gone(pids[i]); k++)
			usleep(10000);
		CHECK(is_gone(pids[i]));
	}
}

static void test_command_children(void)
{
	char path[] = "/tmp/weir-check-XXXXXX", command[256];
	struct config_check how = how_of(CHECK_COMMAND);
	int fd = mkstemp(path);
	struct check_target t;
	struct scene s;

	while (waitpid(-1, NULL, 0) > 0) /* of scenes that ended in the midst of a command, and killed it */
		;
	test_begin("command: its children are killed with it at the time-out, and the next one runs");
	how.command = command;
	how.timeout_ns = TIMEOUT_MS * MS;
	snprintf(command, sizeof(command),
		 "sleep 1000 & (sleep 1000 & echo $! >>%s; wait) & echo $$ $! >>%s; wait", path, path);
	scene_open(&s, 16);
	t = target(1, &how, AF_INET, htons(80));
	only(&s, &t);
	CHECK(scene_run(&s, 2, 4000));
	CHECK_STR(s.said, "command: not done in 400ms\ncommand: not done in 400ms\n");
	checks_begin(s.checks);
	checks_end(s.checks);
	check_gone(path, 6);
	test_end();

	test_begin("command: what it leaves running ends with it");
	CHECK(!ftruncate(fd, 0));
	s.said[0] = 0;
	snprintf(command, sizeof(command), "sleep 1000 & echo $! >>%s", path);
	only(&s, &t);
	CHECK(scene_run(&s, s.results + 1, 2 * ENOUGH_MS));
	CHECK_STR(s.said, "+\n");
	checks_begin(s.checks);
	checks_end(s.checks);
	check_gone(path, 1);
	test_end();

	test_begin("command: ends when its backend is no longer checked");
	CHECK(!ftruncate(fd, 0));
	snprintf(command, sizeof(command), "echo $$ >>%s; sleep 1000; :", path);
	only(&s, &t);
	for (int i = 0; i < 100 && !read_pids(path, &(pid_t){ 0 }, 1); i++)
		sd_event_run(s.event, 20000);
	checks_begin(s.checks);
	checks_end(s.checks);
	CHECK_INT(checks_count(s.checks), 0);
	check_gone(path, 1);
	for (int i = 0; i < 5; i++)
		sd_event_run(s.event, 20000);
	CHECK_INT(waitpid(-1, NULL, WNOHANG), -1); /* it was waited for */
	scene_close(&s);
	close(fd);
	unlink(path);
	test_end();
}

/* ---- over time -------------------------------------------------------------------------------- */

static void test_up_and_down(void)
{
	struct config_check how = how_of(CHECK_MEMCACHED);
	struct server server = {};
	struct check_target t;
	struct scene s;

	test_begin("up, down after fall failures, up after rise successes; each said once");
	scene_open(&s, 16);
	CHECK(server_start(&server, AF_INET, SOCK_STREAM, SAY, "MN\r\n"));
	t = target(7, &how, AF_INET, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 3, 3000));
	server.reply = "NO\r\n";
	CHECK(scene_run(&s, 8, 3000));
	server.reply = "MN\r\n";
	CHECK(scene_run(&s, 13, 3000));
	CHECK_STR(s.lines, "pool web: backend b7 up (1 check)\n"
			   "pool web: backend b7 down: reply: unexpected: NO\\x0d\\x0a (3 checks in a row)\n"
			   "pool web: backend b7 up (2 checks in a row)\n");
	test_end();

	test_begin("a target as before goes on; the state that is known is kept, and a new one begins with it");
	t.health = WEIR_HEALTH_UP;
	only(&s, &t);
	CHECK(scene_run(&s, 14, 3000));
	CHECK_INT(s.changes, 3);
	t.health = WEIR_HEALTH_UNKNOWN; /* another one in its place */
	only(&s, &t);
	CHECK(scene_run(&s, 15, 3000));
	CHECK_INT(s.changes, 4);
	scene_close(&s);
	server_end(&server);
	test_end();
}

static void test_interval(void)
{
	struct config_check how = how_of(CHECK_TCP);
	struct server server = {};
	struct check_target t;
	struct scene s;
	double mean;

	test_begin("the interval is kept on average, its jitter bounds each");
	how.interval_ns = 40 * MS;
	how.jitter = 25;
	scene_open(&s, 16);
	CHECK(server_start(&server, AF_INET, SOCK_STREAM, CLOSE, ""));
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 41, 8000));
	mean = (s.at_ns[40] - s.at_ns[0]) / 40.0 / MS;
	CHECK(mean > 34 && mean < 60);
	for (int i = 1; i <= 40; i++)
		CHECK(s.at_ns[i] - s.at_ns[i - 1] > 15 * MS); /* 30 from start to start */
	scene_close(&s);
	server_end(&server);
	test_end();
}

static void test_no_overlap(void)
{
	struct config_check how = how_of(CHECK_MEMCACHED);
	struct server server = {};
	struct check_target t;
	struct scene s;

	test_begin("never two checks of one backend at once, though the interval is shorter than the time-out");
	how.interval_ns = 10 * MS;
	how.timeout_ns = 100 * MS;
	scene_open(&s, 16);
	CHECK(server_start(&server, AF_INET, SOCK_STREAM, SILENT, ""));
	t = target(1, &how, AF_INET, server.port);
	only(&s, &t);
	CHECK(scene_run(&s, 6, 5000));
	CHECK(s.at_ns[5] - s.at_ns[0] >= 500 * MS);
	/* The server may see the end of one a little after the next one's begin. */
	CHECK(server.most <= 2);
	CHECK(server.conns <= 7);
	scene_close(&s);
	server_end(&server);
	test_end();
}

/* ---- many ------------------------------------------------------------------------------------- */

#define MANY 200
#define AT_ONCE 8

static void add_many(struct scene *s, const struct config_check *how, __be16 port, __be16 silent)
{
	checks_begin(s->checks);
	for (unsigned i = 0; i < MANY; i++) {
		struct check_target t = target(i * 20, how, AF_INET, i % 10 ? port : silent);

		CHECK_INT(checks_add(s->checks, &t), 0);
	}
	checks_end(s->checks);
}

static void test_many(void)
{
	struct config_check how = how_of(CHECK_MEMCACHED);
	struct server server = {}, silent = {};
	unsigned base, least = ~0U, most = 0;
	struct scene s;

	test_begin("200 backends, some of them silent, are checked in turn with few descriptors");
	how.interval_ns = 200 * MS;
	how.timeout_ns = 50 * MS;
	scene_open(&s, AT_ONCE);
	CHECK(server_start(&server, AF_INET, SOCK_STREAM, SAY, "MN\r\n"));
	CHECK(server_start(&silent, AF_INET, SOCK_STREAM, FULL, ""));
	add_many(&s, &how, server.port, silent.port);
	CHECK_INT(checks_count(s.checks), MANY);
	base = open_fds();
	CHECK(scene_run(&s, 5 * MANY, 20000));
	/* The server's ends are in this process, too: as many, and a few that are about to be closed. */
	CHECK(s.fds_most <= base + 2 * AT_ONCE + 8);
	for (unsigned i = 0; i < MANY; i++) {
		least = s.by[i * 20] < least ? s.by[i * 20] : least;
		most = s.by[i * 20] > most ? s.by[i * 20] : most;
	}
	CHECK(least >= 2 && most <= 12);
	test_end();

	test_begin("half of them go, while under way or waiting, and the others go on");
	checks_begin(s.checks);
	for (unsigned i = 0; i < MANY; i += 2) {
		struct check_target t = target(i * 20, &how, AF_INET, i % 10 ? server.port : silent.port);

		t.health = i % 10 ? WEIR_HEALTH_UP : WEIR_HEALTH_DOWN;
		CHECK_INT(checks_add(s.checks, &t), 0);
	}
	checks_end(s.checks);
	CHECK_INT(checks_count(s.checks), MANY / 2);
	memset(s.by, 0, sizeof(s.by));
	CHECK(scene_run(&s, s.results + 2 * MANY, 20000));
	for (unsigned i = 0; i < MANY; i++) {
		if (i % 2)
			CHECK_INT(s.by[i * 20], 0);
		else
			CHECK(s.by[i * 20] >= 1);
	}
	scene_close(&s);
	server_end(&server);
	server_end(&silent);
	test_end();
}

static void test_refusals(void)
{
	struct config_check how = how_of(CHECK_NONE);
	struct check_target t = target(1, &how, AF_INET, htons(80));
	unsigned base = open_fds();
	struct scene s;

	test_begin("what cannot be checked is refused; nothing stays open at the end");
	scene_open(&s, 16);
	CHECK_INT(checks_add(s.checks, &t), -EINVAL);
	how = how_of(CHECK_TCP);
	t.backend = WEIR_BACKENDS_MAX;
	CHECK_INT(checks_add(s.checks, &t), -EINVAL);
	CHECK_INT(checks_count(s.checks), 0);
	scene_close(&s);
	CHECK_INT(open_fds(), base);
	test_end();
}

int main(void)
{
	test_rules();
	test_delay();
	test_kinds();
	test_memcached_request();
	test_http_request();
	test_http_limits();
	test_commands();
	test_command_children();
	test_up_and_down();
	test_interval();
	test_no_overlap();
	test_many();
	test_refusals();
	test_https();
	return test_done();
}
