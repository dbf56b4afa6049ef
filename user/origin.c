/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pipelined meta gets. The window bounds what is under way, so that the output buffer has a fixed
 * size; replies are read whenever there are any, also while requests wait to be written, so that
 * the two sides can never block each other.
 */
#include "origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW      512        /* gets under way, a power of two */
#define WRITE_AT    (16 << 10) /* bytes waiting that are worth a system call */
#define IN_START    (64 << 10)
#define REPLY_MAX   2048       /* a reply's first line; memcached's are under 600 bytes */
#define VALUE_HELD  (2 << 20)  /* longer values are read past, not held */
#define VALUE_MAX   (1U << 30) /* memcached's own upper limit for an item */
#define REQUEST_MAX (sizeof("mg  v f t c k\r\n") + WEIR_KEY_MAX)
#define BASE64_MAX  ((WEIR_KEY_MAX + 2) / 3 * 4)
#define NSEC        1000000000ULL

struct pending {
	void *cookie;
	__u64 sent_ns;
	__u64 end; /* of the request, in bytes since the connection began */
	__u8 key_len;
	char key[WEIR_KEY_MAX];
};

struct origin {
	int fd;
	int timeout_ms;
	origin_fn fn;
	void *arg;
	int stopped;  /* what every later call returns */
	bool in_call; /* the callback runs */
	bool closing; /* mn is queued and not yet answered */

	struct pending pending[WINDOW];
	unsigned oldest, npending;

	char out[WINDOW * REQUEST_MAX + sizeof("mn\r\n")];
	size_t out_at, out_len;
	__u64 written; /* bytes since the connection began */

	char *in;
	size_t in_at, in_len, in_cap;
	size_t skip;   /* bytes of a value that is not held */
	bool skip_end; /* and then its line end */
	char why[256];
};

/* A reply's first line, in words. */
struct words {
	char *at, *end;
};

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static int parse_port(const char *s, __be16 *port)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (*s < '0' || *s > '9' || *end || n < 1 || n > 65535)
		return -EINVAL;
	*port = htons(n);
	return 0;
}

/* "10.0.0.1:11211", "[fd00::1]:11211". */
static int parse_address(const char *s, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in6 *v6 = (void *)ss;
	struct sockaddr_in *v4 = (void *)ss;
	const char *colon = strrchr(s, ':');
	bool bracket = *s == '[';
	char host[INET6_ADDRSTRLEN];
	size_t n;

	memset(ss, 0, sizeof(*ss));
	if (!colon || (bracket && (colon - s < 2 || colon[-1] != ']')))
		return -EINVAL;
	n = colon - s - 2 * bracket;
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, s + bracket, n);
	host[n] = 0;
	ss->ss_family = bracket ? AF_INET6 : AF_INET;
	*len = bracket ? sizeof(*v6) : sizeof(*v4);
	if (inet_pton(ss->ss_family, host, bracket ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr) != 1)
		return -EINVAL;
	return parse_port(colon + 1, bracket ? &v6->sin6_port : &v4->sin_port);
}

/* Waits for events until something happens; what, or -ETIMEDOUT. */
static int wait_for(const struct origin *o, short events)
{
	struct pollfd p = {.fd = o->fd, .events = events};
	__u64 until = now_ns() + o->timeout_ms * (NSEC / 1000);
	int left = o->timeout_ms, rc;

	for (;;) {
		rc = poll(&p, 1, left);
		if (rc > 0)
			return p.revents;
		if (rc == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
		left = (long long)(until - now_ns()) / (long long)(NSEC / 1000);
		left = left > 0 ? left : 0;
	}
}

static int connect_to(struct origin *o, const char *endpoint)
{
	struct sockaddr_storage ss;
	socklen_t len, size = sizeof(int);
	int one = 1, err = parse_address(endpoint, &ss, &len);

	if (err)
		return err;
	o->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (o->fd < 0)
		return -errno;
	setsockopt(o->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!connect(o->fd, (struct sockaddr *)&ss, len))
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return -errno;
	err = wait_for(o, POLLOUT);
	if (err < 0)
		return err;
	if (getsockopt(o->fd, SOL_SOCKET, SO_ERROR, &err, &size))
		return -errno;
	return -err;
}

int origin_open(struct origin **out, const char *endpoint, unsigned timeout_ms, origin_fn fn, void *arg)
{
	struct origin *o;
	int err;

	if (!timeout_ms)
		return -EINVAL;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->fd = -1;
	o->timeout_ms = timeout_ms > INT_MAX ? INT_MAX : timeout_ms;
	o->fn = fn;
	o->arg = arg;
	o->in_cap = IN_START;
	o->in = malloc(o->in_cap);
	err = o->in ? connect_to(o, endpoint) : -ENOMEM;
	if (err)
		origin_close(o);
	else
		*out = o;
	return err;
}

void origin_close(struct origin *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	free(o->in);
	free(o);
}

/* ---- words of a reply ------------------------------------------------------------------------ */

static bool next_word(struct words *w, char **word, size_t *len)
{
	char *stop;

	while (w->at < w->end && *w->at == ' ')
		w->at++;
	if (w->at == w->end)
		return false;
	stop = memchr(w->at, ' ', w->end - w->at);
	*word = w->at;
	w->at = stop ? stop : w->end;
	*len = w->at - *word;
	return true;
}

/* All of a word as a number of at most `max`. */
static int number(const char *p, size_t len, __u64 max, __u64 *n)
{
	*n = 0;
	if (!len)
		return -EPROTO;
	for (; len; p++, len--) {
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(*n, 10, n) ||
		    __builtin_add_overflow(*n, (__u64)(*p - '0'), n))
			return -EPROTO;
	}
	return *n <= max ? 0 : -EPROTO;
}

static size_t base64(const char *in, size_t len, char *to)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const void *)in;
	char *at = to;

	for (size_t i = 0; i < len; i += 3) {
		unsigned left = len - i;
		unsigned bits = p[i] << 16 | (left > 1 ? p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);

		*at++ = set[bits >> 18];
		*at++ = set[bits >> 12 & 63];
		*at++ = left > 1 ? set[bits >> 6 & 63] : '=';
		*at++ = left > 2 ? set[bits & 63] : '=';
	}
	return at - to;
}

/* The reply must be for the key that was asked for: anything else means that we lost our place. */
static bool same_key(const struct pending *p, const char *got, size_t len, bool b64)
{
	char coded[BASE64_MAX];
	size_t n = p->key_len;

	if (b64)
		n = base64(p->key, p->key_len, coded);
	return n == len && !memcmp(b64 ? coded : p->key, got, len);
}

/* ---- replies --------------------------------------------------------------------------------- */

/* What the words after "VA <len>" or "EN" say. */
struct said {
	const char *key;
	size_t key_len;
	bool flags, ttl, b64, stale;
};

static int take_word(const char *word, size_t len, struct said *s, struct origin_reply *r)
{
	const char *p = word + 1;
	__u64 n = 0;
	int err = 0;

	len--;
	switch (*word) {
	case 'f':
		err = number(p, len, 0xffffffff, &n);
		r->client_flags = n;
		s->flags = true;
		break;
	case 't':
		if (len != 2 || memcmp(p, "-1", 2))
			err = number(p, len, LONG_MAX, &n);
		r->ttl_s = len == 2 && *p == '-' ? -1 : (long)n;
		s->ttl = true;
		break;
	case 'c':
		err = number(p, len, ~0ULL, &r->cas);
		r->cas_known = 1;
		break;
	case 'k':
		s->key = p;
		s->key_len = len;
		break;
	case 'b':
		s->b64 = true;
		break;
	case 'W':
	case 'X':
	case 'Z':
		s->stale = true;
		break;
	}
	return err;
}

static int take_words(struct words *w, struct said *s, struct origin_reply *r)
{
	char *word;
	size_t len;
	int err = 0;

	while (!err && next_word(w, &word, &len))
		err = take_word(word, len, s, r);
	return err;
}

/* Hands the reply for the oldest get to the caller. */
static int answer(struct origin *o, struct origin_reply *r)
{
	struct pending *p = &o->pending[o->oldest % WINDOW];
	int rc;

	r->sent_ns = p->sent_ns;
	o->oldest++;
	o->npending--;
	o->in_call = true;
	rc = o->fn(r, p->cookie, o->arg);
	o->in_call = false;
	return rc;
}

static int refuse(struct origin *o, const char *why, size_t len)
{
	struct origin_reply r = {.status = ORIGIN_ERROR, .why = o->why};
	int n = len < sizeof(o->why) ? len : sizeof(o->why) - 1;

	for (int i = 0; i < n; i++)
		o->why[i] = (unsigned char)why[i] < 0x20 || why[i] == 0x7f ? '?' : why[i];
	o->why[n] = 0;
	return answer(o, &r);
}

static int too_long(struct origin *o, size_t len)
{
	char why[80];
	int n = snprintf(why, sizeof(why), "value is %zu bytes, too long to be held", len);

	o->skip = len;
	o->skip_end = true;
	return refuse(o, why, n);
}

static int reply_missing(struct origin *o, struct words w)
{
	struct pending *p = &o->pending[o->oldest % WINDOW];
	struct origin_reply r = {.status = ORIGIN_MISSING};
	struct said s = {0};
	int err = take_words(&w, &s, &r);

	if (err || (s.key && !same_key(p, s.key, s.key_len, s.b64)))
		return -EPROTO;
	return answer(o, &r);
}

/*
 * "VA <len> f<flags> t<ttl> c<cas> k<key> ...", of which `next` is what follows its line end.
 * Sets *used to what the whole reply takes, or to 0 when the value has not all arrived.
 */
static int reply_value(struct origin *o, struct words w, char *next, size_t *used)
{
	struct pending *p = &o->pending[o->oldest % WINDOW];
	size_t line = *used, have = o->in_len - o->in_at - line, len;
	struct origin_reply r = {.status = ORIGIN_FOUND, .value = next};
	struct said s = {0};
	char *word;
	__u64 n;

	if (!next_word(&w, &word, &len) || number(word, len, VALUE_MAX, &n))
		return -EPROTO;
	if (n <= VALUE_HELD && have < n + 2) {
		*used = 0;
		return 0;
	}
	if (take_words(&w, &s, &r) || !s.flags || !s.ttl || !s.key || !same_key(p, s.key, s.key_len, s.b64))
		return -EPROTO;
	if (n > VALUE_HELD)
		return too_long(o, n);
	if (memcmp(next + n, "\r\n", 2))
		return -EPROTO;
	*used += n + 2;
	r.value_len = n;
	r.key_b64 = s.b64;
	r.status = s.stale ? ORIGIN_STALE : ORIGIN_FOUND;
	return answer(o, &r);
}

static bool is(const char *word, size_t len, const char *want)
{
	return len == strlen(want) && !memcmp(word, want, len);
}

static bool is_error(const char *word, size_t len)
{
	return is(word, len, "CLIENT_ERROR") || is(word, len, "SERVER_ERROR") || is(word, len, "ERROR");
}

/* A line while no get is under way: the answer to mn, or nothing that we asked for. */
static int reply_closing(struct origin *o, const char *word, size_t len)
{
	if (!o->closing || o->out_at < o->out_len)
		return -EPROTO;
	if (is_error(word, len))
		return -EPROTONOSUPPORT;
	if (!is(word, len, "MN"))
		return -EPROTO;
	o->closing = false;
	return 0;
}

/*
 * What comes before its request is written answers nothing (and would break the window's bound on
 * the output). memcached greets so when it has too many connections.
 */
static int reply(struct origin *o, char *line, size_t len, size_t *used)
{
	struct words w = {line, line + len};
	char *word;
	size_t n;

	if (!next_word(&w, &word, &n))
		return -EPROTO;
	if (!o->npending)
		return reply_closing(o, word, n);
	if (o->pending[o->oldest % WINDOW].end > o->written)
		return is_error(word, n) ? -ECONNREFUSED : -EPROTO;
	if (is(word, n, "VA"))
		return reply_value(o, w, line + len + 2, used);
	if (is(word, n, "EN"))
		return reply_missing(o, w);
	if (is_error(word, n))
		return refuse(o, line, len);
	return -EPROTO;
}

/* Reads past a value that is not held. True when more input is needed. */
static int skip_value(struct origin *o, bool *more)
{
	size_t have = o->in_len - o->in_at;
	size_t n = have < o->skip ? have : o->skip;

	o->in_at += n;
	o->skip -= n;
	*more = o->skip || have - n < 2;
	if (*more)
		return 0;
	if (memcmp(o->in + o->in_at, "\r\n", 2))
		return -EPROTO;
	o->in_at += 2;
	o->skip_end = false;
	return 0;
}

/* One reply out of the input. Sets *more when it has not all arrived. */
static int parse_one(struct origin *o, bool *more)
{
	char *from = o->in + o->in_at, *nl;
	size_t have = o->in_len - o->in_at, used;
	int rc;

	if (o->skip_end)
		return skip_value(o, more);
	nl = memchr(from, '\n', have < REPLY_MAX ? have : REPLY_MAX);
	*more = !nl;
	if (!nl)
		return have < REPLY_MAX ? 0 : -EPROTO;
	if (nl == from || nl[-1] != '\r')
		return -EPROTO;
	used = nl + 1 - from;
	rc = reply(o, from, used - 2, &used);
	*more = !used;
	o->in_at += used;
	return rc;
}

static int parse_all(struct origin *o)
{
	bool more = false;
	int rc = 0;

	while (!rc && !more && o->in_at < o->in_len)
		rc = parse_one(o, &more);
	return rc;
}

/* ---- moving bytes ---------------------------------------------------------------------------- */

/* Makes room behind the input: by moving what is left, then by growing. */
static int make_room(struct origin *o)
{
	char *p;

	if (o->in_at == o->in_len)
		o->in_at = o->in_len = 0;
	if (o->in_cap - o->in_len >= o->in_cap / 4)
		return 0;
	memmove(o->in, o->in + o->in_at, o->in_len - o->in_at);
	o->in_len -= o->in_at;
	o->in_at = 0;
	if (o->in_len < o->in_cap / 2)
		return 0;
	p = realloc(o->in, o->in_cap * 2);
	if (!p)
		return -ENOMEM;
	o->in = p;
	o->in_cap *= 2;
	return 0;
}

static int read_some(struct origin *o)
{
	int err = make_room(o);
	ssize_t n;

	if (err)
		return err;
	n = recv(o->fd, o->in + o->in_len, o->in_cap - o->in_len, 0);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	o->in_len += n;
	return parse_all(o);
}

static int write_some(struct origin *o)
{
	ssize_t n;

	if (o->out_at == o->out_len)
		return 0;
	n = send(o->fd, o->out + o->out_at, o->out_len - o->out_at, MSG_NOSIGNAL);
	if (n < 0 && errno == EPIPE)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	o->out_at += n;
	o->written += n;
	if (o->out_at == o->out_len)
		o->out_at = o->out_len = 0;
	return 0;
}

/* Waits, then moves what can be moved. Reads first: an origin that hangs up may have said why. */
static int step(struct origin *o)
{
	int ready = wait_for(o, o->out_at < o->out_len ? POLLIN | POLLOUT : POLLIN);
	int rc = 0;

	if (ready < 0)
		return ready;
	if (ready & ~POLLOUT)
		rc = read_some(o);
	if (!rc && ready & POLLOUT)
		rc = write_some(o);
	return rc;
}

static int stop(struct origin *o, int rc)
{
	o->stopped = rc;
	return rc;
}

/* Until at most `left` gets, and no mn, are under way. */
static int drain(struct origin *o, unsigned left)
{
	int rc = 0;

	while (!rc && (o->npending > left || o->closing))
		rc = step(o);
	return stop(o, rc);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool key_ok(const char *key, size_t len)
{
	unsigned bad = !len || len > WEIR_KEY_MAX;

	for (size_t i = 0; i < len && !bad; i++)
		bad = (unsigned char)key[i] <= 0x20 || key[i] == 0x7f;
	return !bad;
}

/* Written bytes make way; the window sees to it that there is room then. */
static void queue(struct origin *o, const char *text, size_t len)
{
	if (o->out_len + len > sizeof(o->out)) {
		memmove(o->out, o->out + o->out_at, o->out_len - o->out_at);
		o->out_len -= o->out_at;
		o->out_at = 0;
	}
	memcpy(o->out + o->out_len, text, len);
	o->out_len += len;
}

static void queue_get(struct origin *o, const char *key, size_t len, void *cookie)
{
	struct pending *p = &o->pending[(o->oldest + o->npending++) % WINDOW];

	p->cookie = cookie;
	p->key_len = len;
	memcpy(p->key, key, len);
	p->sent_ns = now_ns();
	queue(o, "mg ", 3);
	queue(o, key, len);
	queue(o, " v f t c k\r\n", 12);
	p->end = o->written + o->out_len - o->out_at;
}

/* Half a window is drained at a time, so that there is work at both ends meanwhile. */
int origin_get(struct origin *o, const char *key, size_t key_len, void *cookie)
{
	int rc;

	if (o->in_call)
		return -EDEADLK;
	if (o->stopped)
		return o->stopped;
	if (!key_ok(key, key_len))
		return -EINVAL;
	rc = o->npending == WINDOW ? drain(o, WINDOW / 2) : 0;
	if (rc)
		return rc;
	queue_get(o, key, key_len, cookie);
	return o->out_len - o->out_at >= WRITE_AT ? stop(o, write_some(o)) : 0;
}

int origin_flush(struct origin *o)
{
	if (o->in_call)
		return -EDEADLK;
	if (o->stopped || !o->npending)
		return o->stopped;
	queue(o, "mn\r\n", 4);
	o->closing = true;
	return drain(o, 0);
}
