/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the agent says while it runs: lines on stderr, with a priority where the journal reads them. It never waits
 * for who reads: what cannot be written at once is lost, and how much that was is said later.
 */
#ifndef WEIR_JOURNAL_H
#define WEIR_JOURNAL_H

#include <stdbool.h>
#include <syslog.h>

/* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO (not with -q). */
void say(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct say_field {
	const char *name, *value; /* "WEIR_SERVICE"; the value is one line */
};
/* The same, with fields for journalctl where the journal reads it; the last one's name is NULL. */
void say_with(int level, const struct say_field *fields, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether a line can be written to this descriptor without waiting for its reader. */
bool can_write(int fd);

#endif
