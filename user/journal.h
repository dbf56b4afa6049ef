/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent says while it runs: lines on stderr, with a priority where the journal reads them. */
#ifndef WEIR_JOURNAL_H
#define WEIR_JOURNAL_H

#include <syslog.h>

/* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO (not with -q). */
void say(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
