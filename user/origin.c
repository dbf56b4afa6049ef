/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pipelined meta gets. The window bounds what is under way, so that the output buffer has a fixed
 * size; replies are read whenever there are any, also while requests wait to be written, so that
 * the two sides can never block each other.
 */
#include "origin_parse.h"

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
#define VALUE_HELD  (2 << 20)  /* longer values are read past, not held */
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

	char out[WINDOW * META_REQUEST_MAX + sizeof("mn\r\n")];
	size_t out_at, out_len;
	__u64 written; /* bytes since the connection began */

	char *in;
	size_t in_at, in_len, in_cap;
	size_t skip;   /* bytes of a value that is not held */
	bool skip_end; /* and then its line end */
	char why[256];
};

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

/* ---- connecting ------------------------------------------------------------------------------ */

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
	int one = 1, err = origin_address(endpoint, &ss, &len);

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

/* ---- replies --------------------------------------------------------------------------------- */

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

/* A value of which `next` is what follows its line. Sets *used to 0 when it has not all arrived. */
static int reply_value(struct origin *o, struct meta_line *m, char *next, size_t *used)
{
	size_t have = o->in_len - o->in_at - m->used, n = m->value_len;

	if (n > VALUE_HELD)
		return too_long(o, n);
	if (have < n + 2) {
		*used = 0;
		return 0;
	}
	if (memcmp(next + n, "\r\n", 2))
		return -EPROTO;
	*used += n + 2;
	m->reply.value = next;
	m->reply.value_len = n;
	return answer(o, &m->reply);
}

/* A line while no get is under way: the answer to mn, or nothing that we asked for. */
static int reply_closing(struct origin *o, const struct meta_line *m)
{
	if (!o->closing || o->out_at < o->out_len)
		return -EPROTO;
	if (m->kind == META_ERROR)
		return -EPROTONOSUPPORT;
	if (m->kind != META_END)
		return -EPROTO;
	o->closing = false;
	return 0;
}

/*
 * What comes before its request is written answers nothing (and would break the window's bound on
 * the output). memcached greets so when it has too many connections.
 */
static int reply(struct origin *o, struct meta_line *m, size_t *used)
{
	const struct pending *p = &o->pending[o->oldest % WINDOW];

	if (!o->npending)
		return reply_closing(o, m);
	if (p->end > o->written)
		return m->kind == META_ERROR ? -ECONNREFUSED : -EPROTO;
	if (m->kind == META_ERROR)
		return refuse(o, m->text, m->len);
	if (m->kind == META_END || !meta_is_for(m, p->key, p->key_len))
		return -EPROTO;
	if (m->kind == META_NONE)
		return answer(o, &m->reply);
	return reply_value(o, m, o->in + o->in_at + m->used, used);
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
	struct meta_line m;
	size_t used;
	int rc;

	if (o->skip_end)
		return skip_value(o, more);
	rc = meta_line(o->in + o->in_at, o->in_len - o->in_at, &m);
	*more = rc == -EAGAIN;
	if (rc)
		return *more ? 0 : rc;
	used = m.used;
	rc = reply(o, &m, &used);
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
	char request[META_REQUEST_MAX];

	p->cookie = cookie;
	p->key_len = len;
	memcpy(p->key, key, len);
	p->sent_ns = now_ns();
	queue(o, request, meta_request(request, key, len));
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
	if (!meta_key_ok(key, key_len))
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
