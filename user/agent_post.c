// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Browsers are kept out in three ways, so that no page that somebody opens on this host can empty its hot set,
 * also under a name of its own that leads here: they send Origin with a POST; a type that is no form's makes
 * them ask first (OPTIONS), which is refused; and they know no token.
 */
#include "agent_post.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "invalidate_agent.h"
#include "out.h"

#define POSTS_AT_ONCE 8 /* each may take 1 MiB */
#define TOKEN_MIN     16
#define TOKEN_MAX     512

struct post {
	char *body;
	size_t len, room;
	int status; /* of a body that cannot be taken; 0: all is well */
};

static unsigned posts;

/* ---- who may ---------------------------------------------------------------------------------- */

/* The first line. 0 or -errno: -EINVAL, it is no token. */
static int read_token(const char *path, char token[TOKEN_MAX + 2])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, token, TOKEN_MAX + 1);
	int err = n < 0 ? -errno : 0;
	size_t len;

	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	token[n] = 0;
	len = strcspn(token, "\r\n");
	token[len] = 0;
	for (size_t i = 0; i < len; i++) {
		if (token[i] <= ' ' || token[i] > '~')
			return -EINVAL;
	}
	return len < TOKEN_MIN || len > TOKEN_MAX ? -EINVAL : 0;
}

int post_token_ok(const char *path, char *why, size_t len)
{
	char token[TOKEN_MAX + 2];
	int err = read_token(path, token);

	explicit_bzero(token, sizeof(token));
	if (err == -EINVAL)
		snprintf(why, len, "its first line is no token of %d to %d letters, digits and signs", TOKEN_MIN,
			 TOKEN_MAX);
	else if (err)
		snprintf(why, len, "%s", strerror(-err));
	return err;
}

/* In a time that tells nothing of where they differ. */
static bool same_secret(const char *given, const char *token)
{
	size_t given_len = strlen(given), len = strlen(token);
	unsigned char diff = given_len != len;

	for (size_t i = 0; i < len; i++)
		diff |= token[i] ^ (i < given_len ? given[i] : 0);
	return !diff;
}

static bool is_local(const struct sockaddr *from)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;

	if (!from)
		return false;
	switch (from->sa_family) {
	case AF_UNIX:
		return true;
	case AF_INET:
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
	}
	return false;
}

static int check_token(const char *path, const char *authorization, const char **why)
{
	char token[TOKEN_MAX + 2];
	bool same;

	if (read_token(path, token)) {
		*why = "the agent's token cannot be read: nobody may invalidate by HTTP until it can";
		return 503;
	}
	same = authorization && !strncasecmp(authorization, "Bearer ", 7) && same_secret(authorization + 7, token);
	explicit_bzero(token, sizeof(token));
	*why = authorization ? "the token is not the agent's" : "a token is needed: Authorization: Bearer ...";
	return same ? 0 : 401;
}

static bool is_json(const char *type)
{
	static const char json[] = "application/json";
	size_t len = sizeof(json) - 1;

	return type && !strncasecmp(type, json, len) && (!type[len] || strchr("; \t", type[len]));
}

static int check_head(const struct agent_view *v, const struct post_head *head, const char **why)
{
	const char *token_file = v->config->token_file;
	int status = 0;

	if (head->origin) {
		*why = "browsers may not ask for this";
		return 403;
	}
	if (token_file)
		status = check_token(token_file, head->authorization, why);
	if (status)
		return status;
	if (!token_file && !is_local(head->from)) {
		*why = "agent.token_file is not configured: only this host may ask for this";
		return 403;
	}
	if (!is_json(head->type)) {
		*why = "Content-Type is to be application/json";
		return 415;
	}
	*why = "the body is longer than 1 MiB";
	return head->length && strtoull(head->length, NULL, 10) > POST_BYTES_MAX ? 413 : 0;
}

/* ---- the body --------------------------------------------------------------------------------- */

int post_begin(struct post **out, const struct agent_view *v, const struct post_head *head, const char **why)
{
	int status = check_head(v, head, why);
	struct post *p;

	if (status)
		return status;
	p = posts < POSTS_AT_ONCE ? calloc(1, sizeof(*p)) : NULL;
	*why = "busy: try again in a second";
	if (!p)
		return 503;
	posts++;
	*out = p;
	return 0;
}

void post_data(struct post *p, const char *data, size_t len)
{
	size_t room = p->room ?: 4096;
	char *body;

	if (p->status)
		return;
	if (p->len + len > POST_BYTES_MAX) {
		p->status = 413;
		return;
	}
	while (room < p->len + len)
		room *= 2;
	body = room == p->room ? p->body : realloc(p->body, room);
	if (!body) {
		p->status = 503;
		return;
	}
	p->body = body;
	p->room = room;
	memcpy(body + p->len, data, len);
	p->len += len;
}

void post_free(struct post *p)
{
	if (!p)
		return;
	posts--;
	free(p->body);
	free(p);
}

/* ---- what is asked ---------------------------------------------------------------------------- */

struct asked {
	const char *service, *reason; /* NULL: not given */
	json_t *keys, *prefixes;      /* arrays, or NULL */
	bool all;
	char fault[160]; /* "": none */
};

#define FAULT(a, ...) snprintf((a)->fault, sizeof((a)->fault), __VA_ARGS__)

static void read_texts(struct asked *a, const char *name, json_t *list, size_t max)
{
	size_t i;
	json_t *text;

	if (!json_is_array(list) || json_array_size(list) > max) {
		FAULT(a, "%s: it is to be a list of at most %zu", name, max);
		return;
	}
	json_array_foreach(list, i, text) {
		if (!json_is_string(text) || !hotset_key_ok(json_string_value(text), json_string_length(text))) {
			FAULT(a, "%s[%zu]: it is no string that a key can be: 1 to %d bytes, no space or control "
			      "character", name, i, WEIR_KEY_MAX);
			return;
		}
	}
}

static void read_member(struct asked *a, const char *name, json_t *value)
{
	const char *text = json_string_value(value);

	if (!strcmp(name, "keys")) {
		read_texts(a, name, a->keys = value, POST_KEYS_MAX);
	} else if (!strcmp(name, "prefixes")) {
		read_texts(a, name, a->prefixes = value, INVAL_PREFIXES_MAX);
	} else if (!strcmp(name, "all")) {
		a->all = json_is_true(value);
		if (!json_is_boolean(value))
			FAULT(a, "all: it is to be true or false");
	} else if (!strcmp(name, "service")) {
		a->service = text;
		if (!text)
			FAULT(a, "service: it is to be a string");
	} else if (!strcmp(name, "reason")) {
		a->reason = text;
		if (!text || !inval_reason_ok(text, json_string_length(value)))
			FAULT(a, "reason: it is to be a word of 1 to %d bytes of ASCII", WEIR_INVAL_REASON_MAX);
	} else {
		FAULT(a, "%.40s: there is no such member; service, keys, prefixes, all and reason are", name);
	}
}

static void read_asked(struct asked *a, json_t *doc)
{
	const char *name;
	json_t *value;

	*a = (struct asked){};
	if (!json_is_object(doc)) {
		FAULT(a, "the body is to be an object");
		return;
	}
	json_object_foreach(doc, name, value) {
		read_member(a, name, value);
		if (*a->fault)
			return;
	}
	if (!a->all && !json_array_size(a->keys) && !json_array_size(a->prefixes))
		FAULT(a, "nothing is asked for: keys, prefixes or all");
}

/* Its number; or -1 after the fault was told. */
static int service_of(struct asked *a, const struct invalidate *v)
{
	int svc = invalidate_next(v, -1);

	if (a->service)
		svc = invalidate_named(v, a->service, strlen(a->service));
	else if (svc >= 0 && invalidate_next(v, svc) >= 0)
		svc = -1;
	if (svc < 0 && a->service)
		FAULT(a, "service: there is no '%.40s' with a cache", a->service);
	else if (svc < 0)
		FAULT(a, "service: which? There is not just one with a cache");
	return svc;
}

/* ---- doing it --------------------------------------------------------------------------------- */

static __s64 apply_prefixes(struct invalidate *v, const struct inval *by, int svc, json_t *list)
{
	struct inval_prefix prefixes[INVAL_PREFIXES_MAX];
	size_t i;
	json_t *text;

	json_array_foreach(list, i, text)
		prefixes[i] = (struct inval_prefix){ json_string_value(text), json_string_length(text) };
	return i ? invalidate_prefixes(v, by, svc, prefixes, i) : 0;
}

/* How many keys were held; -1: the service is fenced, and nobody counted. */
static __s64 apply(struct invalidate *v, const struct asked *a, int svc)
{
	struct inval by = { WEIR_INVAL_HTTP, a->reason };
	__s64 held = 0, more;
	size_t i;
	json_t *text;

	if (a->all)
		invalidate_service(v, &by, svc);
	json_array_foreach(a->keys, i, text)
		held += invalidate_key(v, &by, svc, json_string_value(text), json_string_length(text));
	more = apply_prefixes(v, &by, svc, a->prefixes);
	return a->all || more < 0 ? -1 : held + more;
}

static int write_result(struct page *page, const struct asked *a, const char *service, __s64 held)
{
	json_t *doc = json_pack("{s:s, s:s?, s:I, s:I, s:b, s:o, s:b}", "service", service, "reason", a->reason,
				"keys", (json_int_t)json_array_size(a->keys), "prefixes",
				(json_int_t)json_array_size(a->prefixes), "all", a->all, "dropped",
				held < 0 ? json_null() : json_integer(held), "service_fenced", held < 0);

	doc = out_whole("invalidate", doc);
	page->body = doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
	json_decref(doc);
	if (!page->body)
		return -ENOMEM;
	page->status = 200;
	page->type = "application/json";
	page->len = strlen(page->body);
	return 0;
}

static int apply_document(json_t *doc, const struct agent_view *v, struct page *page)
{
	static const struct page_ask ask = { .path = POST_PATH };
	struct invalidate *to = v->hot->invalidate;
	struct asked a;
	int svc = -1;

	read_asked(&a, doc);
	if (*a.fault)
		return page_error(&ask, page, 400, "%s", a.fault);
	if (!invalidate_dp(to))
		return page_error(&ask, page, 503, "%s", v->dp ? "the hot set cannot be opened" : v->open_words);
	/* The agent notices within a second: the new hot set would not hear of it. */
	if (dp_current(invalidate_dp(to)))
		return page_error(&ask, page, 503, "what was loaded has just been replaced: try again in a second");
	svc = service_of(&a, to);
	if (svc < 0)
		return page_error(&ask, page, a.service ? 404 : 400, "%s", a.fault);
	return write_result(page, &a, dp_ctl(invalidate_dp(to))->services[svc].name, apply(to, &a, svc));
}

int post_end(struct post *p, const struct agent_view *v, struct page *page)
{
	static const struct page_ask ask = { .path = POST_PATH };
	json_error_t why;
	json_t *doc;
	int err;

	*page = (struct page){};
	if (p->status == 413)
		return page_error(&ask, page, 413, "the body is longer than 1 MiB");
	if (p->status)
		return page_error(&ask, page, p->status, "out of memory");
	doc = json_loadb(p->body ?: "", p->len, JSON_REJECT_DUPLICATES, &why);
	if (!doc)
		return page_error(&ask, page, 400, "the body is no JSON: line %d: %s", why.line, why.text);
	err = apply_document(doc, v, page);
	json_decref(doc);
	return err;
}
