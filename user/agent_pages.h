/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent answers over HTTP: from a path and a query to a document. Knows nothing of sockets. */
#ifndef WEIR_AGENT_PAGES_H
#define WEIR_AGENT_PAGES_H

#include "agent_view.h"

#define PAGE_PARAMS_MAX 16

struct page_param {
	const char *name, *value; /* "" where there is none */
};

struct page_ask {
	const char *path;
	const char *accept; /* "": anything will do */
	struct page_param params[PAGE_PARAMS_MAX];
	unsigned nparams;
};

struct page {
	int status; /* 200, 400, 404, 503; of a POST others, too */
	const char *allow; /* with 405: the methods that there are; NULL: GET and HEAD */
	const char *type;
	char *body; /* freed by who asked */
	size_t len;
	bool keep; /* it may be given to others who ask the same at this moment */
};

/* 0, or -ENOMEM. */
int page_make(const struct agent_view *v, const struct page_ask *ask, struct page *p);
/* A sentence as it fits the path: text, or below /api/ the document "error". */
int page_error(const struct page_ask *ask, struct page *p, int status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
