/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the commands that look say of an open data plane. The agent gives the same documents over HTTP, with
 * out_capture(). Each returns the command's exit status.
 */
#ifndef WEIR_SHOWS_H
#define WEIR_SHOWS_H

#include "filter.h"
#include "session.h"

/* Of a file, whatever is loaded; without the commands of checks. */
int show_check(const char *path);
/* NULL: all, everywhere. */
int show_status(const struct session *s);
/* Nothing could be opened (err: dp_open()'s): that is an answer, too, unless it was not permitted. */
int show_not_open(int err);
int show_stats(const struct session *s, const char *service);
int show_backends(const struct session *s, const char *pool, const char *name);
/* cfg: what the programs run with, see running.h; NULL: not known. */
int show_services(const struct session *s, const struct weir_config *cfg, const char *name);
/* limit 0: none; count: only how many. */
int show_flows(const struct session *s, const struct filter *filter, __u64 limit, bool count);
int show_latency(const struct session *s, const char *service, const char *path, bool backends);

#endif
