// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The window bounds what is under way, so that both buffers have fixed sizes: a value is kept only when it fits a
 * datagram, longer ones are read past.
 */
#include "origin_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hotset.h"
#include "origin_parse.h"

#define OUT_BYTES  (CONN_WINDOW * META_REQUEST_MAX)
#define IN_BYTES   (64 << 10) /* many replies at once; a whole one takes at most META_LINE_MAX + VALUE_HELD */
#define VALUE_HELD WEIR_TEXT_MAX

struct origin_conn {
	const struct origin_conn_ops *ops;
	void *arg;
	int fd;
	sd_event_source *io;
	bool connecting, worked, over;
	__u64 since_ns; /* that it has been connecting, or connected */
	struct origin_asks asks;

	__u64 written; /* bytes since the connection began */
	size_t out_at, out_len;
	size_t in_at, in_len;
	size_t skip;   /* bytes of a value that is not kept */
	bool skip_end; /* and then its line end */
	char out[OUT_BYTES];
	char in[IN_BYTES];
};

/* ---- queues ----------------------------------------------------------------------------------- */

void asks_init(struct origin_asks *q)
{
	q->first = NULL;
	q->end = &q->first;
	q->n = 0;
}

void asks_add(struct origin_asks *q, struct origin_ask *a)
{
	a->next = NULL;
	*q->end = a;
	q->end = &a->next;
	q->n++;
}

void asks_put_back(struct origin_asks *q, struct origin_ask *a)
{
	a->next = q->first;
	if (!q->first)
		q->end = &a->next;
	q->first = a;
	q->n++;
}

struct origin_ask *asks_take(struct origin_asks *q)
{
	struct origin_ask *a = q->first;

	if (!a)
		return NULL;
	q->first = a->next;
	if (!q->first)
		q->end = &q->first;
	q->n--;
	return a;
}

/* ---- replies ---------------------------------------------------------------------------------- */

static void answer(struct origin_conn *c, struct origin_reply *r)
{
	struct origin_ask *a = asks_take(&c->asks);

	c->worked = true;
	r->sent_ns = a->sent_ns;
	c->ops->answered(a, r, c->arg);
}

static void refuse(struct origin_conn *c, struct meta_line *m)
{
	char why[256];
	size_t n = m->len < sizeof(why) ? m->len : sizeof(why) - 1;

	for (size_t i = 0; i < n; i++)
		why[i] = (unsigned char)m->text[i] < 0x20 || m->text[i] == 0x7f ? '?' : m->text[i];
	why[n] = 0;
	m->reply.why = why;
	answer(c, &m->reply);
}

/* A value behind its line. Sets *used to 0 when it has not all arrived. */
static int take_value(struct origin_conn *c, struct meta_line *m, size_t *used)
{
	const char *value = c->in + c->in_at + m->used;
	size_t have = c->in_len - c->in_at - m->used, n = m->value_len;

	m->reply.value_len = n;
	if (n > VALUE_HELD) {
		c->skip = n;
		c->skip_end = true;
	} else if (have < n + 2) {
		*used = 0;
		return 0;
	} else if (memcmp(value + n, "\r\n", 2)) {
		return -EPROTO;
	} else {
		*used += n + 2;
		m->reply.value = value;
	}
	answer(c, &m->reply);
	return 0;
}

/* How memcached greets when it has too many connections: also when requests have been written by then. */
static bool is_refusal(const struct meta_line *m)
{
	static const char words[] = "ERROR Too many open connections";

	return m->len == sizeof(words) - 1 && !memcmp(m->text, words, m->len);
}

/* What comes before its request was written answers nothing. */
static int take_reply(struct origin_conn *c, struct meta_line *m, size_t *used)
{
	const struct origin_ask *a = c->asks.first;

	if (!a || a->end > c->written || is_refusal(m))
		return m->kind == META_ERROR ? -ECONNREFUSED : -EPROTO;
	if (m->kind == META_ERROR) {
		refuse(c, m);
		return 0;
	}
	if (m->kind == META_END || !meta_is_for(m, a->key, a->key_len))
		return -EPROTO;
	if (m->kind == META_VALUE)
		return take_value(c, m, used);
	answer(c, &m->reply);
	return 0;
}

static int skip_value(struct origin_conn *c)
{
	size_t have = c->in_len - c->in_at;
	size_t n = have < c->skip ? have : c->skip;

	c->in_at += n;
	c->skip -= n;
	if (c->skip || have - n < 2)
		return -EAGAIN;
	if (memcmp(c->in + c->in_at, "\r\n", 2))
		return -EPROTO;
	c->in_at += 2;
	c->skip_end = false;
	return 0;
}

/* One reply out of the input. -EAGAIN: it has not all arrived. */
static int parse_one(struct origin_conn *c)
{
	struct meta_line m;
	size_t used;
	int err;

	if (c->skip_end)
		return skip_value(c);
	err = meta_line(c->in + c->in_at, c->in_len - c->in_at, &m);
	if (err)
		return err;
	used = m.used;
	err = take_reply(c, &m, &used);
	c->in_at += used;
	return err ?: used ? 0 : -EAGAIN;
}

static int parse_all(struct origin_conn *c)
{
	int err = 0;

	while (!err && c->in_at < c->in_len)
		err = parse_one(c);
	if (c->in_at) {
		memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
		c->in_len -= c->in_at;
		c->in_at = 0;
	}
	return err == -EAGAIN ? 0 : err;
}

/* ---- moving bytes ----------------------------------------------------------------------------- */

static int read_some(struct origin_conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->in_len += n;
	return parse_all(c);
}

static int write_some(struct origin_conn *c)
{
	ssize_t n;

	if (c->out_at == c->out_len)
		return 0;
	n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : errno == EPIPE ? -ECONNRESET : -errno;
	c->out_at += n;
	c->written += n;
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	return 0;
}

static int finish_connect(struct origin_conn *c)
{
	socklen_t len = sizeof(int);
	int err;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	c->connecting = false;
	c->since_ns = monotonic_ns();
	return -err;
}

static void want(struct origin_conn *c)
{
	bool writes = c->connecting || c->out_at < c->out_len;

	sd_event_source_set_io_events(c->io, writes ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void end(struct origin_conn *c, int err)
{
	c->over = true;
	sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
	c->ops->lost(c, err, c->arg);
}

/* Reads first: an origin that hangs up may have said why. */
static int on_io(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct origin_conn *c = arg;
	int err = c->connecting ? finish_connect(c) : 0;

	if (!err && events & ~EPOLLOUT)
		err = read_some(c);
	if (!err)
		err = write_some(c);
	if (err) {
		end(c, err);
		return 0;
	}
	want(c);
	c->ops->rested(c->arg);
	return 0;
}

void origin_conn_flush(struct origin_conn *c)
{
	int err = c->connecting || c->over ? 0 : write_some(c);

	if (err)
		end(c, err);
	else if (!c->over)
		want(c);
}

void origin_conn_ask(struct origin_conn *c, struct origin_ask *a)
{
	if (sizeof(c->out) - c->out_len < META_REQUEST_MAX) {
		memmove(c->out, c->out + c->out_at, c->out_len - c->out_at);
		c->out_len -= c->out_at;
		c->out_at = 0;
	}
	a->sent_ns = monotonic_ns();
	c->out_len += meta_request(c->out + c->out_len, a->key, a->key_len);
	a->end = c->written + c->out_len - c->out_at;
	asks_add(&c->asks, a);
}

/* ---- life ------------------------------------------------------------------------------------- */

static int begin_connect(struct origin_conn *c, sd_event *event, const char *endpoint)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int err = origin_address(endpoint, &ss, &len);

	if (err)
		return err;
	c->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (connect(c->fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS && errno != EINTR)
		return -errno;
	c->connecting = true;
	err = sd_event_add_io(event, &c->io, c->fd, EPOLLIN | EPOLLOUT, on_io, c);
	return err < 0 ? err : 0;
}

int origin_conn_open(struct origin_conn **out, sd_event *event, const char *endpoint,
		     const struct origin_conn_ops *ops, void *arg)
{
	struct origin_conn *c = malloc(sizeof(*c));
	struct origin_asks none;
	int err;

	if (!c)
		return -ENOMEM;
	memset(c, 0, offsetof(struct origin_conn, out));
	c->ops = ops;
	c->arg = arg;
	c->fd = -1;
	c->since_ns = monotonic_ns();
	asks_init(&c->asks);
	asks_init(&none);
	err = begin_connect(c, event, endpoint);
	if (err)
		origin_conn_close(c, &none);
	else
		*out = c;
	return err;
}

void origin_conn_close(struct origin_conn *c, struct origin_asks *left)
{
	struct origin_ask *a;

	if (!c)
		return;
	while ((a = asks_take(&c->asks)))
		asks_add(left, a);
	sd_event_source_disable_unref(c->io);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

unsigned origin_conn_pending(const struct origin_conn *c)
{
	return c->asks.n;
}

__u64 origin_conn_deadline(const struct origin_conn *c, __u64 connect_ns, __u64 reply_ns)
{
	const struct origin_ask *a = c->asks.first;

	if (c->connecting)
		return c->since_ns + connect_ns;
	if (!a)
		return WEIR_NEVER;
	return (a->sent_ns > c->since_ns ? a->sent_ns : c->since_ns) + reply_ns;
}

bool origin_conn_worked(const struct origin_conn *c)
{
	return c->worked;
}
