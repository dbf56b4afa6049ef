/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A command that changes one backend: from finding it to the one line, or document, of what was done. */
#ifndef WEIR_CHANGE_H
#define WEIR_CHANGE_H

#include "backends.h"
#include "cmd.h"

struct change {
	struct session s;
	char what[32]; /* "backend drain" */
	const struct pools_mem *m;
	unsigned pool, backend;
	char name[80];  /* "web/b1" */
	json_t *looked; /* the backend, before it is gone */
	json_t *doc;    /* what change_end() prints */
};

/* Opens for writing, and finds pool and backend (name NULL: only the pool). 0, or the exit status. */
int change_start(struct change *c, const struct cmd *cmd, char **values, const char *name);
/* Keeps how the backend looks now, for change_done(). */
void change_look(struct change *c);
/* `result` for scripts: "added", "changed", "unchanged", "removed"; the line for people. */
void change_done(struct change *c, const char *result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int change_failed(const struct change *c, int err);
/* Closes; the status to exit with. */
int change_end(struct change *c, int status);

/* "1 connection", "12 connections"; a static ring. */
const char *connections(__u32 n);

#endif
