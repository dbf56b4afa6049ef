// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The hot set of another host: its agent names keys, the own origin has their values. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "policy_parts.h"

#define LIMIT_NS  10000000000ULL
#define RETRY_NS  60000000000ULL /* after a failure */
#define LINE_MEAN 320	       /* bytes of a key in a reply, in the mean at most */
#define LINE_MOST (64 << 10)

static size_t reply_max(const struct policy *p)
{
	return LINE_MOST + (size_t)p->c.top * LINE_MEAN;
}

/* A peer may send more than it was asked for: not more than top is taken. */
static int take_lines(struct policy *p, size_t len)
{
	int err = 0;

	if (len && p->found.n < p->c.top)
		err = keys_parse(&p->found, &p->run.left_out, p->c.top, p->run.from, p->rest, len);
	if (err)
		policy_run_failed(p, "%s: %s", p->run.from,
				  err == -EBADMSG ? "the reply is no list of keys" : strerror(-err));
	p->rest_len -= len;
	if (p->rest_len)
		memmove(p->rest, p->rest + len, p->rest_len);
	return err;
}

/* Lines are read as they come: a whole reply would hold the loop for a second. */
static int on_body(const void *data, size_t len, void *arg)
{
	const char *end = memrchr(data, '\n', len);
	struct policy *p = arg;
	char *rest;

	p->reply_len += len;
	if (p->reply_len > reply_max(p) || (!end && p->rest_len + len > LINE_MOST)) {
		policy_run_failed(p, "%s: the reply is longer than %u keys may be", p->run.from, p->c.top);
		return -EFBIG;
	}
	rest = realloc(p->rest, p->rest_len + len);
	if (!rest)
		return -ENOMEM;
	p->rest = rest;
	memcpy(rest + p->rest_len, data, len);
	p->rest_len += len;
	return end ? take_lines(p, p->rest_len - len + (end + 1 - (const char *)data)) : 0;
}

void policy_peer_stop(struct policy *p)
{
	http_stop(p->get);
	p->get = NULL;
	keys_free(&p->found);
	free(p->rest);
	p->rest = NULL;
	p->rest_len = p->reply_len = 0;
}

static void failed(struct policy *p, const char *why)
{
	__u64 again = monotonic_ns() + RETRY_NS;

	policy_run_failed(p, "%s: %s", p->run.from, why);
	if (!p->due_ns || p->due_ns > again)
		p->due_ns = again;
}

static void take_found(struct policy *p)
{
	size_t at = 0, len;
	const char *key;

	while ((key = keys_next(&p->found, &at, &len)))
		policy_run_add(p, key, len);
}

static void on_peer(const char *why, __u64 first_ns, void *arg)
{
	struct policy *p = arg;

	if (!why && take_lines(p, p->rest_len))
		why = "";
	if (why)
		failed(p, why);
	else
		take_found(p);
	policy_peer_stop(p);
	policy_wake(p->of);
}

void policy_peer_ask(struct policy *p)
{
	char from[96], path[128];
	struct http_ask ask = {
		.at = &p->c.peer,
		.path = path,
		.status_min = 200,
		.status_max = 200,
		.on_body = on_body,
	};
	int err;

	snprintf(from, sizeof(from), "http://%s", addr_text(&p->c.peer.addr, p->c.peer.family, p->c.peer.port));
	snprintf(path, sizeof(path), "/api/v1/cache/hot?service=%s&top=%u", p->service, p->c.top);
	p->due_ns = p->c.every_ns ? monotonic_ns() + p->c.every_ns : 0;
	if (!policy_run_begin(p, from))
		return;
	err = http_start(p->of->http, &ask, on_peer, p, &p->get);
	if (err)
		failed(p, strerror(-err));
}

void policy_peer_second(struct policy *p, __u64 now)
{
	if (p->get && now - p->last_ns > LIMIT_NS)
		on_peer("no whole reply within 10 s", 0, p);
	if (!p->active && p->due_ns && now >= p->due_ns)
		policy_peer_ask(p);
}
