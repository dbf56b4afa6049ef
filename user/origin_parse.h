/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words of meta gets: requests, and the first lines of replies. Both clients of the origin speak by it. */
#ifndef WEIR_ORIGIN_PARSE_H
#define WEIR_ORIGIN_PARSE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "origin.h"

#define META_REQUEST_MAX (sizeof("mg  v f t c k\r\n") + WEIR_KEY_MAX)
#define META_LINE_MAX	 2048	    /* a reply's first line; memcached's are under 600 bytes */
#define META_VALUE_MAX	 (1U << 30) /* memcached's own upper limit for an item */

enum meta_kind {
	META_VALUE, /* VA: value_len bytes and a line end follow */
	META_NONE,  /* EN */
	META_END,   /* MN, the answer to mn */
	META_ERROR, /* the origin refuses what it was asked */
};

struct meta_line {
	enum meta_kind kind;
	const char *text; /* the line, */
	size_t len;	  /* without its end, */
	size_t used;	  /* and with it */
	__u64 value_len;
	const char *key; /* NULL: the line has none */
	size_t key_len;
	struct origin_reply reply; /* status, client_flags, cas, cas_known, key_b64, ttl_s */
};

/* Reads the line that begins at `in`. 0; -EAGAIN: it has not all arrived; -EPROTO: it is no such line. */
int meta_line(const char *in, size_t len, struct meta_line *m);
/* Whether it may answer a get of this key: VA must name it, EN need not. */
bool meta_is_for(const struct meta_line *m, const char *key, size_t key_len);
/* "10.0.0.1:11211", "[fd00::1]:11211". 0 or -EINVAL. */
int origin_address(const char *s, struct sockaddr_storage *ss, socklen_t *len);
/* Whether a key can stand in a request. */
bool meta_key_ok(const char *key, size_t key_len);
/* Writes a get, of META_REQUEST_MAX bytes at most; how many. */
size_t meta_request(char *to, const char *key, size_t key_len);

#endif
