/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every command says and how: exit statuses, errors, JSON, human units. */
#ifndef WEIR_OUT_H
#define WEIR_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "weir/abi.h"

enum weir_exit {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_UNSUPPORTED = 3,
	EXIT_NOT_PERMITTED = 4,
	EXIT_DEGRADED = 5,
};

#define WEIR_JSON_VERSION 1

extern bool out_json; /* --json was given */
extern bool out_quiet; /* -q: no notes */
extern bool out_lines; /* each document on one line: a stream of them follows */

/* "weir: ..." on stderr; with --json also the document "error" on stdout, once at exit, unless the command
 * printed one of its own. Returns `status`, so that a command can end with `return fail(EXIT_FAILED, ...)`. */
int fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* EPERM and EACCES are EXIT_NOT_PERMITTED, ENOTSUP, EOPNOTSUPP and ENOSYS EXIT_UNSUPPORTED, else EXIT_FAILED. */
int exit_of(int err);
/* "weir: warning: ..." and "weir: note: ..." on stderr. */
void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* {"version":1, "kind": kind, ...doc}; releases doc. NULL: no memory. */
json_t *out_whole(const char *kind, json_t *doc);
#define OUT_REALS JSON_REAL_PRECISION(15) /* for json_dump*() */
/* Prints that, and releases doc. */
void out_document(const char *kind, json_t *doc);
/*
 * Until out_restore() documents go to a stream, one a line where the command does so, and the first sentence of
 * fail() to `error`; other words go nowhere.
 */
struct out_capture {
	FILE *to;
	char error[512];
	bool json, lines; /* as they were */
};
void out_capture(struct out_capture *c, FILE *to);
void out_restore(struct out_capture *c);
/* Where documents go: for lines that are none. */
FILE *out_file(void);
/* Ends all output. The status to exit with: a standard output that could not be written is a failure. */
int out_finish(int status);

/* Human forms into a static ring of buffers: "1.5 MiB", "4m 10s" (from ns), "1,234,567". */
const char *human_bytes(__u64 bytes);
const char *human_duration(__u64 ns);
const char *human_count(__u64 n);
/* A key or value for a terminal: printable bytes as they are, others as \xNN; static ring. */
const char *printable(const void *bytes, size_t len);

#endif
