/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* POST /api/v1/invalidate: who may, what is asked, and doing it. Knows nothing of libmicrohttpd. */
#ifndef WEIR_AGENT_POST_H
#define WEIR_AGENT_POST_H

#include <sys/socket.h>

#include "agent_pages.h"

#define POST_PATH      "/api/v1/invalidate"
#define POST_BYTES_MAX (1 << 20)
#define POST_KEYS_MAX  10000

/* What stands before the body; NULL: it is not there. */
struct post_head {
	const char *type, *authorization, *origin, *length;
	const struct sockaddr *from;
};

struct post;

/* 0: its body is to be read. Else the status to refuse it with, and why. */
int post_begin(struct post **out, const struct agent_view *v, const struct post_head *head, const char **why);
/* More of the body. What is too much is counted, not kept. */
void post_data(struct post *p, const char *data, size_t len);
/* The body is whole: applies it, all of it or nothing. 0 or -ENOMEM. */
int post_end(struct post *p, const struct agent_view *v, struct page *page);
void post_free(struct post *p);

/* Whether a token can be read from the file: 0, or -errno and why in words. */
int post_token_ok(const char *path, char *why, size_t len);

#endif
