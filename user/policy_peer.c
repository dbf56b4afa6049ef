// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The hot set of another host: its agent names keys, the own origin has their values. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "policy_parts.h"

#define LIMIT_NS  10000000000ULL
#define RETRY_NS  60000000000ULL /* after a failure */
#define LINE_MAX_BYTES 320	 /* of a key in a reply, in the mean at most */

static size_t body_max(const struct policy *p)
{
	return (64 << 10) + (size_t)p->c.top * LINE_MAX_BYTES;
}

static int on_body(const void *data, size_t len, void *arg)
{
	struct policy *p = arg;
	char *body;

	if (p->body_len + len > body_max(p)) {
		policy_run_failed(p, "%s: the reply is longer than %u keys may be", p->run.from, p->c.top);
		return -EFBIG;
	}
	body = realloc(p->body, p->body_len + len + 1);
	if (!body)
		return -ENOMEM;
	p->body = body;
	memcpy(body + p->body_len, data, len);
	p->body_len += len;
	return 0;
}

void policy_peer_stop(struct policy *p)
{
	http_stop(p->get);
	p->get = NULL;
	free(p->body);
	p->body = NULL;
	p->body_len = 0;
}

static void failed(struct policy *p, const char *why)
{
	__u64 again = monotonic_ns() + RETRY_NS;

	policy_run_failed(p, "%s: %s", p->run.from, why);
	if (!p->due_ns || p->due_ns > again)
		p->due_ns = again;
}

/* A peer may send more than it was asked for: not more than top is taken. */
static void take_body(struct policy *p)
{
	struct keys found = {};
	size_t at = 0, len;
	const char *key;
	int err = keys_parse(&found, &p->run.left_out, p->c.top, p->run.from, p->body, p->body_len);

	while (!err && (key = keys_next(&found, &at, &len)))
		policy_run_add(p, key, len);
	keys_free(&found);
	if (err)
		failed(p, strerror(-err));
}

static void on_peer(const char *why, __u64 first_ns, void *arg)
{
	struct policy *p = arg;

	if (why)
		failed(p, why);
	else
		take_body(p);
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
