// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "origin_parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define BASE64_MAX ((WEIR_KEY_MAX + 2) / 3 * 4)

/* A line, in words. */
struct words {
	const char *at, *end;
};

/* ---- words ------------------------------------------------------------------------------------ */

static bool next_word(struct words *w, const char **word, size_t *len)
{
	const char *stop;

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

static bool is(const char *word, size_t len, const char *want)
{
	return len == strlen(want) && !memcmp(word, want, len);
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

/* ---- replies ---------------------------------------------------------------------------------- */

/* What a line must say of a value. */
struct said {
	bool flags, ttl;
};

static int take_word(const char *word, size_t len, struct meta_line *m, struct said *said)
{
	struct origin_reply *r = &m->reply;
	const char *p = word + 1;
	__u64 n = 0;
	int err = 0;

	len--;
	switch (*word) {
	case 'f':
		err = number(p, len, 0xffffffff, &n);
		r->client_flags = n;
		said->flags = true;
		break;
	case 't':
		if (!is(p, len, "-1"))
			err = number(p, len, LONG_MAX, &n);
		r->ttl_s = is(p, len, "-1") ? -1 : (long)n;
		said->ttl = true;
		break;
	case 'c':
		err = number(p, len, ~0ULL, &r->cas);
		r->cas_known = 1;
		break;
	case 'k':
		m->key = p;
		m->key_len = len;
		break;
	case 'b':
		r->key_b64 = 1;
		break;
	case 'W':
	case 'X':
	case 'Z':
		r->status = ORIGIN_STALE;
		break;
	}
	return err;
}

static int take_words(struct words *w, struct meta_line *m, struct said *said)
{
	const char *word;
	size_t len;
	int err = 0;

	while (!err && next_word(w, &word, &len))
		err = take_word(word, len, m, said);
	return err;
}

/* "VA <len> f<flags> t<ttl> c<cas> k<key> ..." */
static int read_value(struct words *w, struct meta_line *m)
{
	struct said said = { 0 };
	const char *word;
	size_t len;
	int err;

	m->kind = META_VALUE;
	m->reply.status = ORIGIN_FOUND;
	if (!next_word(w, &word, &len))
		return -EPROTO;
	err = number(word, len, META_VALUE_MAX, &m->value_len) ?: take_words(w, m, &said);
	return err ?: said.flags && said.ttl && m->key ? 0 : -EPROTO;
}

static int read_none(struct words *w, struct meta_line *m)
{
	struct said said;
	int err = take_words(w, m, &said);

	m->kind = META_NONE;
	m->reply.status = ORIGIN_MISSING;
	return err;
}

static int read_words(struct words w, struct meta_line *m)
{
	const char *word;
	size_t len;

	if (!next_word(&w, &word, &len))
		return -EPROTO;
	if (is(word, len, "VA"))
		return read_value(&w, m);
	if (is(word, len, "EN"))
		return read_none(&w, m);
	m->kind = is(word, len, "MN") ? META_END : META_ERROR;
	m->reply.status = ORIGIN_ERROR;
	if (m->kind == META_END || is(word, len, "CLIENT_ERROR") || is(word, len, "SERVER_ERROR") ||
	    is(word, len, "ERROR"))
		return 0;
	return -EPROTO;
}

int meta_line(const char *in, size_t len, struct meta_line *m)
{
	const char *nl = memchr(in, '\n', len < META_LINE_MAX ? len : META_LINE_MAX);

	memset(m, 0, sizeof(*m));
	if (!nl)
		return len < META_LINE_MAX ? -EAGAIN : -EPROTO;
	if (nl == in || nl[-1] != '\r')
		return -EPROTO;
	m->text = in;
	m->len = nl - 1 - in;
	m->used = nl + 1 - in;
	return read_words((struct words){ in, in + m->len }, m);
}

/* Anything else means that we lost our place in the stream. */
bool meta_is_for(const struct meta_line *m, const char *key, size_t key_len)
{
	char coded[BASE64_MAX];

	if (!m->key)
		return m->kind != META_VALUE;
	if (m->reply.key_b64) {
		key_len = base64(key, key_len, coded);
		key = coded;
	}
	return key_len == m->key_len && !memcmp(key, m->key, key_len);
}

/* ---- addresses -------------------------------------------------------------------------------- */

static int parse_port(const char *s, __be16 *port)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (*s < '0' || *s > '9' || *end || n < 1 || n > 65535)
		return -EINVAL;
	*port = htons(n);
	return 0;
}

int origin_address(const char *s, struct sockaddr_storage *ss, socklen_t *len)
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

/* ---- requests --------------------------------------------------------------------------------- */

bool meta_key_ok(const char *key, size_t len)
{
	unsigned bad = !len || len > WEIR_KEY_MAX;

	for (size_t i = 0; i < len && !bad; i++)
		bad = (unsigned char)key[i] <= 0x20 || key[i] == 0x7f;
	return !bad;
}

size_t meta_request(char *to, const char *key, size_t key_len)
{
	memcpy(to, "mg ", 3);
	memcpy(to + 3, key, key_len);
	memcpy(to + 3 + key_len, " v f t c k\r\n", 12);
	return key_len + 15;
}
