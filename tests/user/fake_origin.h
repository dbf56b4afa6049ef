/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An origin inside the test's own loop, that does as it is told. What it answers to a get, the key's name asks
 * for:
 *	missing*, stale*, error*	that
 *	server*				SERVER_ERROR
 *	ttlN*				an item with N seconds left
 *	lenN*				a value of N bytes
 *	b64*				one whose key is binary
 *	anything else			"NAME:KEY", flags 7, CAS `cas`, 100 seconds
 */
#ifndef WEIR_FAKE_ORIGIN_H
#define WEIR_FAKE_ORIGIN_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "hotset.h"
#include "test.h"

#define FAKE_CONNS 16

enum fake_manner {
	FAKE_ANSWERS,
	FAKE_HANGS,    /* reads, and says nothing */
	FAKE_CLOSES,   /* when it is asked something */
	FAKE_GARBAGE,  /* "HTTP/1.1 400" */
	FAKE_BYTEWISE, /* a byte at a time */
	FAKE_GREETS,   /* "ERROR Too many open connections", and hangs up */
};

struct fake;

struct fake_conn {
	struct fake *f;
	int fd;
	sd_event_source *io;
	char got[1 << 16];
	size_t got_len;
};

struct fake {
	const char *name;
	sd_event *event;
	int listener;
	sd_event_source *io;
	char endpoint[64];
	enum fake_manner manner;
	__u64 cas;
	unsigned accepted, open, asked;
	void (*on_ask)(struct fake *f, const char *key); /* before it answers; may be NULL */
	char *held;					 /* replies that wait for fake_release() */
	size_t held_len;
	bool holds;
	struct fake_conn *held_for;
	struct fake_conn *conns[FAKE_CONNS];
};

static inline void fake_hang_up(struct fake_conn *c)
{
	for (unsigned i = 0; i < FAKE_CONNS; i++) {
		if (c->f->conns[i] == c)
			c->f->conns[i] = NULL;
	}
	if (c->f->held_for == c)
		c->f->held_for = NULL;
	c->f->open--;
	sd_event_source_disable_unref(c->io);
	close(c->fd);
	free(c);
}

/* Base64 of up to 60 bytes, the slow way. */
static inline void fake_base64(const char *in, char *to)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strlen(in);
	unsigned bits = 0, have = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | (unsigned char)in[i];
		for (have += 8; have >= 6; have -= 6)
			*to++ = set[bits >> (have - 6) & 63];
	}
	if (have)
		*to++ = set[bits << (6 - have) & 63];
	for (; n % 3; n++)
		*to++ = '=';
	*to = '\0';
}

static inline size_t fake_reply(struct fake *f, const char *key, char *to)
{
	char coded[400], value[4096];
	size_t len = snprintf(value, sizeof(value), "%s:%s", f->name, key);
	long ttl = 100;

	if (!strncmp(key, "missing", 7))
		return sprintf(to, "EN\r\n");
	if (!strncmp(key, "error", 5))
		return sprintf(to, "CLIENT_ERROR no\r\n");
	if (!strncmp(key, "server", 6))
		return sprintf(to, "SERVER_ERROR out of memory\r\n");
	if (!strncmp(key, "ttl", 3))
		ttl = atol(key + 3);
	if (!strncmp(key, "len", 3)) {
		len = atol(key + 3);
		memset(value, 'x', len < sizeof(value) ? len : sizeof(value));
	}
	if (!strncmp(key, "b64", 3))
		fake_base64(key, coded);
	to += sprintf(to, "VA %zu f7 t%ld c%llu k%s%s%s\r\n", len, ttl, f->cas,
		      strncmp(key, "b64", 3) ? key : coded, strncmp(key, "b64", 3) ? "" : " b",
		      strncmp(key, "stale", 5) ? "" : " W");
	for (size_t i = 0; i < len; i++)
		to[i] = len < sizeof(value) ? value[i] : 'x';
	memcpy(to + len, "\r\n", 3);
	return 0;
}

static inline void fake_send(struct fake_conn *c, const char *text, size_t len)
{
	size_t step = c->f->manner == FAKE_BYTEWISE ? 1 : len;

	for (size_t at = 0; at < len; at += step)
		CHECK_INT(send(c->fd, text + at, step, MSG_NOSIGNAL), step);
}

static inline void fake_say(struct fake_conn *c, const char *text, size_t len)
{
	struct fake *f = c->f;

	if (!f->holds) {
		fake_send(c, text, len);
		return;
	}
	f->held = realloc(f->held, f->held_len + len);
	memcpy(f->held + f->held_len, text, len);
	f->held_len += len;
	f->held_for = c;
}

/* Sends what was held, and holds no more. One connection's only. */
static inline void fake_release(struct fake *f)
{
	f->holds = false;
	if (f->held_for)
		fake_send(f->held_for, f->held, f->held_len);
	f->held_len = 0;
}

static inline void fake_asked(struct fake_conn *c, char *line)
{
	static char text[3 << 20];
	char *key = line + 3, *end = strchr(key, ' ');
	size_t n;

	if (!CHECK(!strncmp(line, "mg ", 3) && end) || !CHECK_STR(end, " v f t c k"))
		return;
	*end = '\0';
	c->f->asked++;
	if (c->f->on_ask)
		c->f->on_ask(c->f, key);
	if (c->f->manner == FAKE_HANGS)
		return;
	n = fake_reply(c->f, key, text);
	if (!n) { /* a value: its length is in its line */
		char *nl = strstr(text, "\r\n");

		n = nl + 2 - text + strtoul(text + 3, NULL, 10) + 2;
	}
	fake_say(c, text, n);
}

static inline int fake_read(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct fake_conn *c = arg;
	ssize_t n = recv(fd, c->got + c->got_len, sizeof(c->got) - c->got_len, MSG_DONTWAIT);
	char *nl, *at = c->got;

	if (n <= 0 || c->f->manner == FAKE_CLOSES) {
		fake_hang_up(c);
		return 0;
	}
	c->got_len += n;
	if (c->f->manner == FAKE_GARBAGE)
		fake_send(c, "HTTP/1.1 400\r\n", 14);
	while ((nl = memchr(at, '\n', c->got + c->got_len - at))) {
		nl[-1] = '\0';
		fake_asked(c, at);
		at = nl + 1;
	}
	c->got_len -= at - c->got;
	memmove(c->got, at, c->got_len);
	return 0;
}

static inline int fake_accept(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct fake *f = arg;
	struct fake_conn *c = calloc(1, sizeof(*c));

	c->f = f;
	c->fd = accept(fd, NULL, NULL);
	f->accepted++;
	f->open++;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	for (unsigned i = 0; i < FAKE_CONNS; i++) {
		if (!f->conns[i]) {
			f->conns[i] = c;
			break;
		}
	}
	CHECK(sd_event_add_io(f->event, &c->io, c->fd, EPOLLIN, fake_read, c) >= 0);
	if (f->manner == FAKE_GREETS) {
		fake_send(c, "ERROR Too many open connections\r\n", 33);
		fake_hang_up(c);
	}
	return 0;
}

/* Also again after fake_stop(), at the same endpoint. */
static inline void fake_start(struct fake *f, sd_event *event, const char *name)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);

	if (*f->endpoint)
		sa.sin_port = htons(atoi(strchr(f->endpoint, ':') + 1));
	f->event = event;
	f->name = name;
	f->cas = f->cas ?: 42;
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	CHECK(!bind(f->listener, (void *)&sa, len) && !listen(f->listener, 16) &&
	      !getsockname(f->listener, (void *)&sa, &len));
	snprintf(f->endpoint, sizeof(f->endpoint), "127.0.0.1:%u", ntohs(sa.sin_port));
	CHECK(sd_event_add_io(event, &f->io, f->listener, EPOLLIN, fake_accept, f) >= 0);
}

static inline void fake_hang_up_all(struct fake *f)
{
	for (unsigned i = 0; i < FAKE_CONNS; i++) {
		if (f->conns[i])
			fake_hang_up(f->conns[i]);
	}
}

static inline void fake_stop(struct fake *f)
{
	fake_hang_up_all(f);
	f->io = sd_event_source_disable_unref(f->io);
	if (f->listener >= 0)
		close(f->listener);
	f->listener = -1;
	free(f->held);
	f->held = NULL;
	f->held_len = 0;
}

/* Runs the loop until *n is at least `want`; false: it was not, after ms. */
static inline bool run_until(sd_event *event, const unsigned *n, unsigned want, unsigned ms)
{
	__u64 until = monotonic_ns() + ms * 1000000ULL;

	while (*n < want && monotonic_ns() < until)
		sd_event_run(event, 10000);
	return *n >= want;
}

/* Runs the loop until it is true, for at most five seconds. */
#define RUN_UNTIL(event, cond) \
	do { \
		__u64 until_ = monotonic_ns() + 5000000000ULL; \
		while (!(cond) && monotonic_ns() < until_) \
			sd_event_run(event, 5000); \
		CHECK(cond); \
	} while (0)

static inline void run_for(sd_event *event, unsigned ms)
{
	unsigned never = 0;

	run_until(event, &never, 1, ms);
}

#endif
