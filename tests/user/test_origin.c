/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The origin's client: against a server in a thread that says what a row tells it to, in the way it
 * tells it to, and against a real memcached. What the callbacks got is compared as a transcript:
 *	COOKIE:found "value" f=FLAGS c=CAS t=TTL [b64]
 *	COOKIE:missing | COOKIE:stale ... | COOKIE:error why
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "origin.h"
#include "test.h"

#define S(text) text, sizeof(text) - 1
#define TIMEOUT 5000

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* ---- transcript ------------------------------------------------------------------------------ */

struct transcript {
	char *text;
	size_t len;
	FILE *f;
	unsigned long calls, found;
	__u64 sent_ns; /* of the latest */
	size_t value_len;
	int stop_at;
	struct origin *again; /* asked from within the callback */
	int again_rc;
};

static void start(struct transcript *t)
{
	memset(t, 0, sizeof(*t));
	t->f = open_memstream(&t->text, &t->len);
}

static void check_transcript(struct transcript *t, const char *want)
{
	fclose(t->f);
	CHECK_STR(t->text, want);
	free(t->text);
}

static void print_value(FILE *f, const char *p, size_t len)
{
	if (len > 40) {
		fprintf(f, "<%zu>", len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		fprintf(f, p[i] < 0x20 || p[i] == 0x7f ? "\\x%02x" : "%c", (unsigned char)p[i]);
}

static int on_reply(const struct origin_reply *r, void *cookie, void *arg)
{
	static const char *const names[] = {
		[ORIGIN_FOUND] = "found",
		[ORIGIN_MISSING] = "missing",
		[ORIGIN_STALE] = "stale",
		[ORIGIN_ERROR] = "error",
	};
	struct transcript *t = arg;

	t->calls++;
	t->found += r->status == ORIGIN_FOUND;
	t->sent_ns = r->sent_ns;
	t->value_len = r->value_len;
	fprintf(t->f, "%ld:%s", (long)cookie, names[r->status]);
	if (r->status == ORIGIN_FOUND || r->status == ORIGIN_STALE) {
		fprintf(t->f, " \"");
		print_value(t->f, r->value, r->value_len);
		fprintf(t->f, "\" f=%u", r->client_flags);
		if (r->cas_known)
			fprintf(t->f, " c=%llu", r->cas);
		fprintf(t->f, " t=%ld%s", r->ttl_s, r->key_b64 ? " b64" : "");
	}
	if (r->status == ORIGIN_ERROR)
		fprintf(t->f, " %s", r->why);
	fputc('\n', t->f);
	if (t->again)
		t->again_rc = origin_get(t->again, "x", 1, NULL);
	return t->stop_at && t->calls == (unsigned long)t->stop_at ? -ECANCELED : 0;
}

/* ---- a server that does as it is told -------------------------------------------------------- */

enum manner { WHOLE, BYTEWISE, DRIP, EARLY, CLOSE, RESET };

struct fake {
	int listener;
	char endpoint[64];
	enum manner manner;
	const char *reply;
	size_t len;
	pthread_t thread;
	sem_t said;
	char got[4096];
	size_t got_len;
	__u64 first_byte_ns;
};

static int listen_on(int family, int backlog, char *endpoint, size_t room)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *sa = family == AF_INET6 ? (void *)&v6 : (void *)&v4;
	socklen_t len = family == AF_INET6 ? sizeof(v6) : sizeof(v4);
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, sa, len) || listen(fd, backlog) || getsockname(fd, sa, &len)) {
		close(fd);
		return -1;
	}
	if (family == AF_INET6)
		snprintf(endpoint, room, "[::1]:%u", ntohs(v6.sin6_port));
	else
		snprintf(endpoint, room, "127.0.0.1:%u", ntohs(v4.sin_port));
	return fd;
}

/* Until mn, or the client hangs up. */
static void hear(struct fake *f, int fd)
{
	ssize_t n;

	while (f->got_len < sizeof(f->got)) {
		n = recv(fd, f->got + f->got_len, sizeof(f->got) - f->got_len, 0);
		if (n <= 0)
			return;
		if (!f->got_len)
			f->first_byte_ns = now_ns();
		f->got_len += n;
		if (f->got_len >= 4 && !memcmp(f->got + f->got_len - 4, "mn\r\n", 4))
			return;
	}
}

static void say(struct fake *f, int fd)
{
	size_t step = f->manner == BYTEWISE || f->manner == DRIP ? 1 : f->len;
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
	for (size_t i = 0; i < f->len; i += step) {
		if (send(fd, f->reply + i, step, MSG_NOSIGNAL) < 0)
			return;
		if (step == 1)
			usleep(f->manner == DRIP ? 60000 : 200);
	}
}

static void *serve(void *arg)
{
	struct linger now = {1, 0};
	struct fake *f = arg;
	int fd = accept(f->listener, NULL, NULL);
	char rest[64];

	if (f->manner != EARLY)
		hear(f, fd);
	say(f, fd);
	sem_post(&f->said);
	if (f->manner == RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	while (f->manner != CLOSE && f->manner != RESET && recv(fd, rest, sizeof(rest), 0) > 0)
		;
	close(fd);
	return NULL;
}

static bool fake_start(struct fake *f, int family, enum manner manner, const char *reply, size_t len)
{
	memset(f, 0, sizeof(*f));
	f->manner = manner;
	f->reply = reply;
	f->len = len;
	f->listener = listen_on(family, 1, f->endpoint, sizeof(f->endpoint));
	sem_init(&f->said, 0, 0);
	return f->listener >= 0 && !pthread_create(&f->thread, NULL, serve, f);
}

static void fake_end(struct fake *f)
{
	pthread_join(f->thread, NULL);
	close(f->listener);
	sem_destroy(&f->said);
}

/* Gets every key of a list with blanks, the cookies counting from 1, and flushes. */
static int ask(struct origin *o, const char *keys)
{
	long cookie = 0;
	size_t n;
	int rc = 0;

	for (; !rc && *keys; keys += n + (keys[n] == ' ')) {
		n = strcspn(keys, " ");
		rc = origin_get(o, keys, n, (void *)++cookie);
	}
	return rc ? rc : origin_flush(o);
}

/* ---- what an origin may say ------------------------------------------------------------------ */

static const struct row {
	const char *sentence;
	const char *keys;
	enum manner manner;
	const char *reply;
	size_t len;
	int rc;
	const char *want;
} rows[] = {
	{"a value with flags, cas and ttl", "a", WHOLE, S("VA 3 f5 t100 c7 ka\r\nbar\r\nMN\r\n"), 0,
	 "1:found \"bar\" f=5 c=7 t=100\n"},
	{"a value that never expires, at the widest numbers", "a", WHOLE,
	 S("VA 0 f4294967295 t-1 c18446744073709551615 ka\r\n\r\nMN\r\n"), 0,
	 "1:found \"\" f=4294967295 c=18446744073709551615 t=-1\n"},
	{"a value that looks like replies", "a b", WHOLE,
	 S("VA 12 f0 t-1 c1 ka\r\nMN\r\nEN\r\n\0\r\n\r\r\nEN\r\nMN\r\n"), 0,
	 "1:found \"MN\\x0d\\x0aEN\\x0d\\x0a\\x00\\x0d\\x0a\\x0d\" f=0 c=1 t=-1\n2:missing\n"},
	{"missing, with and without the key", "a b", WHOLE, S("EN ka\r\nEN\r\nMN\r\n"), 0,
	 "1:missing\n2:missing\n"},
	{"byte by byte", "a bb c", BYTEWISE,
	 S("VA 3 f5 t9 c7 ka\r\nb\r\n\r\nEN kbb\r\nVA 0 f0 t-1 c1 kc\r\n\r\nMN\r\n"), 0,
	 "1:found \"b\\x0d\\x0a\" f=5 c=7 t=9\n2:missing\n3:found \"\" f=0 c=1 t=-1\n"},
	{"stale, already won, and winning are not to be held", "a b c", WHOLE,
	 S("VA 1 f0 t-1 c1 ka X W\r\nx\r\nVA 1 f0 t-1 c1 kb Z X\r\nx\r\nVA 1 f0 t-1 c1 kc W\r\nx\r\nMN\r\n"),
	 0, "1:stale \"x\" f=0 c=1 t=-1\n2:stale \"x\" f=0 c=1 t=-1\n3:stale \"x\" f=0 c=1 t=-1\n"},
	{"an origin without cas", "a", WHOLE, S("VA 1 f0 t-1 ka\r\nx\r\nMN\r\n"), 0,
	 "1:found \"x\" f=0 t=-1\n"},
	{"a key in base64 of every length", "a ab abc", WHOLE,
	 S("VA 1 f0 t-1 c1 kYQ== b\r\nx\r\nVA 1 f0 t-1 c1 kYWI= b\r\nx\r\nEN kYWJj b\r\nMN\r\n"), 0,
	 "1:found \"x\" f=0 c=1 t=-1 b64\n2:found \"x\" f=0 c=1 t=-1 b64\n3:missing\n"},
	{"an error is that key's alone, and says why without control bytes", "a b c d", WHOLE,
	 S("CLIENT_ERROR bad\x1b[2J line\r\nSERVER_ERROR out of memory\r\nERROR\r\nEN kd\r\nMN\r\n"), 0,
	 "1:error CLIENT_ERROR bad?[2J line\n2:error SERVER_ERROR out of memory\n3:error ERROR\n4:missing\n"},
	{"an origin without meta commands", "a b", WHOLE, S("ERROR\r\nERROR\r\nERROR\r\n"), -EPROTONOSUPPORT,
	 "1:error ERROR\n2:error ERROR\n"},

	{"another key's value", "a b", WHOLE, S("VA 1 f0 t-1 c1 kb\r\nx\r\nEN ka\r\nMN\r\n"), -EPROTO, ""},
	{"a key that only begins alike", "ab", WHOLE, S("VA 1 f0 t-1 c1 ka\r\nx\r\nMN\r\n"), -EPROTO, ""},
	{"another key's base64", "a", WHOLE, S("VA 1 f0 t-1 c1 kYg== b\r\nx\r\nMN\r\n"), -EPROTO, ""},
	{"another key is missing", "a", WHOLE, S("EN kb\r\nMN\r\n"), -EPROTO, ""},
	{"a value without its key, flags or ttl: no key", "a", WHOLE, S("VA 1 f0 t-1 c1\r\nx\r\nMN\r\n"),
	 -EPROTO, ""},
	{"no flags", "a", WHOLE, S("VA 1 t-1 c1 ka\r\nx\r\nMN\r\n"), -EPROTO, ""},
	{"no ttl", "a", WHOLE, S("VA 1 f0 c1 ka\r\nx\r\nMN\r\n"), -EPROTO, ""},
	{"flags that do not fit", "a", WHOLE, S("VA 1 f4294967296 t-1 c1 ka\r\nx\r\n"), -EPROTO, ""},
	{"a cas that does not fit", "a", WHOLE, S("VA 1 f0 t-1 c18446744073709551616 ka\r\nx\r\n"), -EPROTO,
	 ""},
	{"a ttl that is none", "a", WHOLE, S("VA 1 f0 t-2 c1 ka\r\nx\r\n"), -EPROTO, ""},
	{"a length that is none", "a", WHOLE, S("VA -1 f0 t-1 c1 ka\r\nx\r\n"), -EPROTO, ""},
	{"no length", "a", WHOLE, S("VA\r\n"), -EPROTO, ""},
	{"a length above memcached's limit", "a", WHOLE, S("VA 1073741825 f0 t-1 c1 ka\r\nx\r\n"), -EPROTO,
	 ""},
	{"a length that overflows", "a", WHOLE, S("VA 18446744073709551617 f0 t-1 c1 ka\r\nx\r\n"), -EPROTO,
	 ""},
	{"a value longer than it says", "a", WHOLE, S("VA 1 f0 t-1 c1 ka\r\nxyz\r\nMN\r\n"), -EPROTO, ""},
	{"HD for a get with v", "a", WHOLE, S("HD f0 t-1 c1 ka\r\nMN\r\n"), -EPROTO, ""},
	{"a reply of another protocol", "a", WHOLE, S("HTTP/1.1 400 Bad Request\r\n"), -EPROTO, ""},
	{"a bare LF", "a", WHOLE, S("EN ka\nMN\r\n"), -EPROTO, ""},
	{"an empty line", "a", WHOLE, S("\r\n"), -EPROTO, ""},
	{"MN before all is answered", "a b", WHOLE, S("EN ka\r\nMN\r\n"), -EPROTO, "1:missing\n"},
	{"a reply too many", "a", WHOLE, S("EN ka\r\nEN ka\r\nMN\r\n"), -EPROTO, "1:missing\n"},

	{"closed without a word", "a", CLOSE, S(""), -ECONNRESET, ""},
	{"closed within a line", "a b", CLOSE, S("EN ka\r\nEN"), -ECONNRESET, "1:missing\n"},
	{"closed within a value", "a", CLOSE, S("VA 5 f0 t-1 c1 ka\r\nxx"), -ECONNRESET, ""},
	{"closed before MN", "a", CLOSE, S("EN ka\r\n"), -ECONNRESET, "1:missing\n"},
	{"reset", "a", RESET, S(""), -ECONNRESET, ""},
	{"an answer before the question", "a", EARLY, S("EN ka\r\nMN\r\n"), -EPROTO, ""},
	{"too many connections", "a", EARLY, S("ERROR Too many open connections\r\n"), -ECONNREFUSED, ""},
	{"a byte now and then is progress", "a", DRIP, S("EN ka\r\nMN\r\n"), 0, "1:missing\n"},
	{"a stall", "a b", WHOLE, S("EN ka\r\nVA 5 f0 t-1 c1 kb\r\nxx"), -ETIMEDOUT, "1:missing\n"},
};

static void run_row(const struct row *row)
{
	bool slow = row->manner == DRIP || row->rc == -ETIMEDOUT;
	struct transcript t;
	struct origin *o;
	struct fake f;

	start(&t);
	if (!CHECK(fake_start(&f, AF_INET, row->manner, row->reply, row->len)))
		return;
	if (CHECK_INT(origin_open(&o, f.endpoint, slow ? 500 : TIMEOUT, on_reply, &t), 0)) {
		if (row->manner == EARLY) {
			sem_wait(&f.said);
			usleep(20000);
		}
		CHECK_INT(ask(o, row->keys), row->rc);
		CHECK_INT(origin_get(o, "z", 1, NULL), row->rc);
		CHECK_INT(row->rc ? origin_flush(o) : 0, row->rc);
		origin_close(o);
	}
	fake_end(&f);
	check_transcript(&t, row->want);
}

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		test_begin(rows[i].sentence);
		run_row(&rows[i]);
		test_end();
	}
}

static void test_request(void)
{
	static const char want[] = "mg a v f t c k\r\nmg bb v f t c k\r\nmn\r\n";
	struct transcript t;
	__u64 before = now_ns();
	struct origin *o;
	struct fake f;

	test_begin("the requests as they are written, and sent_ns is before they are read");
	start(&t);
	CHECK(fake_start(&f, AF_INET, WHOLE, S("EN\r\nEN\r\nMN\r\n")));
	CHECK_INT(origin_open(&o, f.endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(origin_flush(o), 0);
	CHECK_INT(ask(o, "a bb"), 0);
	origin_close(o);
	fake_end(&f);
	CHECK_MEM(f.got, f.got_len, want, sizeof(want) - 1);
	CHECK(t.sent_ns >= before && t.sent_ns <= f.first_byte_ns);
	check_transcript(&t, "1:missing\n2:missing\n");
	test_end();
}

static void test_ipv6(void)
{
	struct transcript t;
	struct origin *o;
	struct fake f;

	if (!fake_start(&f, AF_INET6, WHOLE, S("EN ka\r\nMN\r\n"))) {
		test_skip("an IPv6 origin", "no IPv6 loopback address");
		return;
	}
	test_begin("an IPv6 origin");
	start(&t);
	if (CHECK_INT(origin_open(&o, f.endpoint, TIMEOUT, on_reply, &t), 0)) {
		CHECK_INT(ask(o, "a"), 0);
		origin_close(o);
	}
	fake_end(&f);
	check_transcript(&t, "1:missing\n");
	test_end();
}

static void test_endless_line(void)
{
	char line[8192];
	struct transcript t;
	struct origin *o;
	struct fake f;

	test_begin("a line without an end is not waited for");
	memset(line, 'x', sizeof(line));
	start(&t);
	CHECK(fake_start(&f, AF_INET, WHOLE, line, sizeof(line)));
	CHECK_INT(origin_open(&o, f.endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(ask(o, "a"), -EPROTO);
	origin_close(o);
	fake_end(&f);
	check_transcript(&t, "");
	test_end();
}

/* A reply with a value of `len` bytes and the end of the conversation, on the heap. */
static char *value_reply(size_t len, const char *end, size_t *total)
{
	char *text = malloc(len + 200), *p = text;

	p += sprintf(p, "VA %zu f0 t-1 c1 ka\r\n", len);
	memset(p, 'v', len);
	p += len;
	p += sprintf(p, "%s", end);
	*total = p - text;
	return text;
}

static void run_value(size_t len, const char *end, int rc, const char *want)
{
	struct transcript t;
	struct origin *o;
	struct fake f;
	size_t total;
	char *reply = value_reply(len, end, &total);

	start(&t);
	CHECK(fake_start(&f, AF_INET, WHOLE, reply, total));
	CHECK_INT(origin_open(&o, f.endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(ask(o, "a b"), rc);
	origin_close(o);
	fake_end(&f);
	check_transcript(&t, want);
	free(reply);
}

static void test_big_values(void)
{
	test_begin("a value of 2 MiB is held, a longer one is read past");
	run_value(2 << 20, "\r\nEN kb\r\nMN\r\n", 0, "1:found \"<2097152>\" f=0 c=1 t=-1\n2:missing\n");
	run_value((2 << 20) + 1, "\r\nEN kb\r\nMN\r\n", 0,
		  "1:error value is 2097153 bytes, too long to be held\n2:missing\n");
	run_value(10 << 20, "\r\nEN kb\r\nMN\r\n", 0,
		  "1:error value is 10485760 bytes, too long to be held\n2:missing\n");
	run_value(10 << 20, "vv\r\nEN kb\r\nMN\r\n", -EPROTO,
		  "1:error value is 10485760 bytes, too long to be held\n");
	test_end();
}

static void test_callback(void)
{
	struct transcript t;
	struct origin *o;
	struct fake f;

	test_begin("a callback stops, and cannot ask for more");
	start(&t);
	t.stop_at = 2;
	CHECK(fake_start(&f, AF_INET, WHOLE, S("EN\r\nEN\r\nEN\r\nMN\r\n")));
	CHECK_INT(origin_open(&o, f.endpoint, TIMEOUT, on_reply, &t), 0);
	t.again = o;
	CHECK_INT(ask(o, "a b c"), -ECANCELED);
	CHECK_INT(t.again_rc, -EDEADLK);
	CHECK_INT(origin_flush(o), -ECANCELED);
	origin_close(o);
	fake_end(&f);
	check_transcript(&t, "1:missing\n2:missing\n");
	test_end();
}

static void test_keys(void)
{
	char key[300];
	struct transcript t;
	struct origin *o;
	struct fake f;

	test_begin("a key that cannot stand in a request is refused, and harms nothing");
	memset(key, 'k', sizeof(key));
	start(&t);
	CHECK(fake_start(&f, AF_INET, WHOLE, S("EN ka\r\nMN\r\n")));
	CHECK_INT(origin_open(&o, f.endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(origin_get(o, "", 0, NULL), -EINVAL);
	CHECK_INT(origin_get(o, key, 251, NULL), -EINVAL);
	CHECK_INT(origin_get(o, "a b", 3, NULL), -EINVAL);
	CHECK_INT(origin_get(o, "a\r\nflush_all\r\n", 14, NULL), -EINVAL);
	CHECK_INT(origin_get(o, "a\0", 2, NULL), -EINVAL);
	CHECK_INT(origin_get(o, "\x7f", 1, NULL), -EINVAL);
	CHECK_INT(ask(o, "a"), 0);
	origin_close(o);
	fake_end(&f);
	check_transcript(&t, "1:missing\n");
	test_end();
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void test_endpoints(void)
{
	static const char *const bad[] = {
		"",
		":",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:0",
		"127.0.0.1:65536",
		"127.0.0.1:-1",
		"127.0.0.1:1x",
		"127.0.0.1: 1",
		"127.1:1",
		"localhost:1",
		"::1:1",
		"[::1]",
		"[::1]1",
		"[]:1",
		"[127.0.0.1]:1",
		"[::1:1",
		"]:1",
		"[:1",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:11211",
	};
	struct origin *o;

	test_begin("what is not an endpoint");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!CHECK_INT(origin_open(&o, bad[i], TIMEOUT, on_reply, NULL), -EINVAL))
			printf("# endpoint \"%s\"\n", bad[i]);
	CHECK_INT(origin_open(&o, "127.0.0.1:1", 0, on_reply, NULL), -EINVAL);
	test_end();
}

static void test_connect(void)
{
	char endpoint[64];
	struct origin *o, *o2 = NULL;
	int fd, rc;
	__u64 t0;

	test_begin("nobody listens");
	fd = listen_on(AF_INET, 1, endpoint, sizeof(endpoint));
	close(fd);
	CHECK_INT(origin_open(&o, endpoint, TIMEOUT, on_reply, NULL), -ECONNREFUSED);
	test_end();

	test_begin("nobody accepts: the connection is given up in time");
	fd = listen_on(AF_INET, 0, endpoint, sizeof(endpoint));
	CHECK_INT(origin_open(&o, endpoint, TIMEOUT, on_reply, NULL), 0);
	t0 = now_ns();
	rc = origin_open(&o2, endpoint, 150, on_reply, NULL);
	CHECK_INT(rc, -ETIMEDOUT);
	CHECK(now_ns() - t0 >= 149000000ULL && now_ns() - t0 < 3000000000ULL);
	origin_close(o);
	if (!rc)
		origin_close(o2);
	close(fd);
	test_end();
}

/* ---- a real memcached ------------------------------------------------------------------------ */

struct memcached {
	pid_t pid;
	char endpoint[64];
	int fd; /* to talk to it past the module under test */
};

static int connect_plain(const char *endpoint)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sa.sin_port = htons(atoi(strchr(endpoint, ':') + 1));
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	close(fd);
	return -1;
}

static void run_memcached(const char *endpoint, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		execlp("memcached", "memcached", "-u", "root", "-l", "127.0.0.1", "-U", "0", "-t", "1", "-m",
		       "256", "-p", strchr(endpoint, ':') + 1, (char *)NULL);
	_exit(127);
}

/* False when there is none to be run. */
static bool memcached_start(struct memcached *m)
{
	pid_t parent = getpid();

	close(listen_on(AF_INET, 1, m->endpoint, sizeof(m->endpoint)));
	m->pid = fork();
	if (!m->pid)
		run_memcached(m->endpoint, parent);
	for (int i = 0; i < 500; i++) {
		m->fd = connect_plain(m->endpoint);
		if (m->fd >= 0)
			return true;
		if (waitpid(m->pid, NULL, WNOHANG) == m->pid)
			return false;
		usleep(10000);
	}
	kill(m->pid, SIGKILL);
	waitpid(m->pid, NULL, 0);
	return false;
}

static void memcached_end(struct memcached *m)
{
	close(m->fd);
	kill(m->pid, SIGTERM);
	waitpid(m->pid, NULL, 0);
}

/* Sends commands that are quiet, or whose replies are `want`, and waits for mn. */
static void tell(struct memcached *m, const char *text, size_t len, const char *want)
{
	char got[256];
	size_t n = 0;
	ssize_t r;

	CHECK_INT(send(m->fd, text, len, MSG_NOSIGNAL), len);
	CHECK_INT(send(m->fd, "mn\r\n", 4, MSG_NOSIGNAL), 4);
	while (n < sizeof(got) && (n < 4 || memcmp(got + n - 4, "MN\r\n", 4))) {
		r = recv(m->fd, got + n, sizeof(got) - n, 0);
		if (!CHECK(r > 0))
			return;
		n += r;
	}
	CHECK_MEM(got, n - 4, want, strlen(want));
}

static void real_items(struct memcached *m)
{
	struct transcript t;
	struct origin *o;

	test_begin("memcached: flags, cas, ttl, missing, binary keys");
	tell(m,
	     S("ms plain 3 F5 q\r\nbar\r\nms ttl 2 T1000 q\r\nxy\r\nms empty 0 q\r\n\r\n"
	       "ms Zm9v 3 b q\r\nbin\r\nms max 1 F4294967295 q\r\nm\r\nms a%,= 1 q\r\nc\r\n"),
	     "");
	start(&t);
	CHECK_INT(origin_open(&o, m->endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(ask(o, "plain ttl none empty foo max a%,="), 0);
	origin_close(o);
	fflush(t.f);
	CHECK(strstr(t.text, "2:found \"xy\" f=0 c=2 t=1000\n") ||
	      strstr(t.text, "2:found \"xy\" f=0 c=2 t=999\n"));
	CHECK(!strncmp(t.text, "1:found \"bar\" f=5 c=1 t=-1\n", 27));
	CHECK(strstr(t.text, "3:missing\n4:found \"\" f=0 c=") != NULL);
	CHECK(strstr(t.text, "5:found \"bin\" f=0 c=") != NULL);
	CHECK(strstr(t.text, " t=-1 b64\n6:found \"m\" f=4294967295 c=") != NULL);
	CHECK(strstr(t.text, "7:found \"c\" f=0 c=") != NULL);
	CHECK_INT(t.calls, 7);
	fclose(t.f);
	free(t.text);
	test_end();
}

static void real_stale(struct memcached *m)
{
	struct transcript t;
	struct origin *o;

	test_begin("memcached: an item marked stale, first and again");
	tell(m, S("ms old 3 q\r\nbar\r\nmd old I q\r\n"), "");
	start(&t);
	CHECK_INT(origin_open(&o, m->endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(ask(o, "old old"), 0);
	origin_close(o);
	fflush(t.f);
	CHECK(!strncmp(t.text, "1:stale \"bar\" f=0 c=", 20));
	CHECK(strstr(t.text, "\n2:stale \"bar\" f=0 c=") != NULL);
	fclose(t.f);
	free(t.text);
	test_end();
}

static void real_longest_key(struct memcached *m)
{
	char key[251], text[300];
	struct transcript t;
	struct origin *o;

	test_begin("memcached: a key of 250 bytes");
	memset(key, 'k', 250);
	key[250] = 0;
	tell(m, text, snprintf(text, sizeof(text), "ms %s 1 q\r\nx\r\n", key), "");
	start(&t);
	CHECK_INT(origin_open(&o, m->endpoint, TIMEOUT, on_reply, &t), 0);
	CHECK_INT(ask(o, key), 0);
	origin_close(o);
	CHECK_INT(t.found, 1);
	fclose(t.f);
	free(t.text);
	test_end();
}

/* Every cookie once, in order, each with its own value; odd ones are missing. */
struct many {
	long next, wrong;
	size_t value_len;
};

static int on_many(const struct origin_reply *r, void *cookie, void *arg)
{
	struct many *m = arg;
	char want[32];
	long i = (long)cookie;

	snprintf(want, sizeof(want), "%ld.", i);
	if (i != m->next++)
		m->wrong++;
	else if (i % 2)
		m->wrong += r->status != ORIGIN_MISSING;
	else
		m->wrong += r->status != ORIGIN_FOUND || r->value_len != m->value_len ||
			    memcmp(r->value, want, strlen(want)) != 0;
	return 0;
}

static void store_many(struct memcached *m, long n, size_t len)
{
	char *text = malloc(len + 100), *p;

	for (long i = 0; i < n; i += 2) {
		p = text + sprintf(text, "ms many%ld %zu q\r\n", i, len);
		memset(p, '.', len);
		*(p + sprintf(p, "%ld.", i)) = '.';
		memcpy(p + len, "\r\n", 2);
		p += len + 2;
		if (send(m->fd, text, p - text, MSG_NOSIGNAL) != p - text)
			CHECK(false);
	}
	tell(m, "", 0, "");
	free(text);
}

static void real_many(struct memcached *m, const char *sentence, long n, size_t len)
{
	struct many many = {.value_len = len};
	struct origin *o;
	char key[32];
	int rc = 0;

	test_begin(sentence);
	store_many(m, n, len);
	CHECK_INT(origin_open(&o, m->endpoint, TIMEOUT, on_many, &many), 0);
	for (long i = 0; i < n && !rc; i++)
		rc = origin_get(o, key, sprintf(key, "many%ld", i), (void *)i);
	CHECK_INT(rc, 0);
	CHECK_INT(origin_flush(o), 0);
	CHECK_INT(many.next, n);
	CHECK_INT(many.wrong, 0);
	CHECK_INT(origin_flush(o), 0);
	origin_close(o);
	tell(m, "flush_all\r\n", 11, "OK\r\n");
	test_end();
}

static void test_memcached(void)
{
	struct memcached m;

	if (!memcached_start(&m)) {
		test_skip("memcached", "it is not installed or does not start");
		return;
	}
	real_items(&m);
	real_stale(&m);
	real_longest_key(&m);
	real_many(&m, "memcached: 10,000 keys pipelined, every second one missing", 10000, 20);
	real_many(&m, "memcached: 1,000 values of 100,000 bytes, more than any socket buffer", 1000, 100000);
	real_many(&m, "memcached: values of nearly 1 MiB", 20, 1000000);
	memcached_end(&m);
}

int main(void)
{
	test_rows();
	test_request();
	test_ipv6();
	test_endless_line();
	test_big_values();
	test_callback();
	test_keys();
	test_endpoints();
	test_connect();
	test_memcached();
	return test_done();
}
