/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the commands that look into the loaded data plane share: opening it, and saying what went wrong. */
#ifndef WEIR_SESSION_H
#define WEIR_SESSION_H

#include "dataplane.h"
#include "out.h"

struct session {
	const char *what; /* the command, in its messages */
	struct dataplane *dp;
	struct weir_ctl *ctl;
	struct hotset *hot;
};

/* 0, or the exit status after the reason was told. */
int session_open(struct session *s, const char *what, enum dp_access access);
/* Closes; the status to exit with: that given, unless closing itself failed. */
int session_close(struct session *s, int status);
/* Number of the service named (NULL: the only one), or -1 after the reason was told. */
int session_service(const struct session *s, const char *name);

/* "user:1" as "key", or as "key_base64" when it is no text; the same for values. */
void json_set_bytes(json_t *doc, const char *name, const void *bytes, size_t len);
/* Seconds, or null for WEIR_NEVER. */
json_t *json_seconds(__u64 ns);
json_t *json_usage(const struct hotset_usage *u);
json_t *json_memory(const struct config_memory *m);
/* 0 to 1: the fuller of keys and lines. */
double usage_fill(const struct hotset_usage *u);
/* "12,000 of 100,000 keys (12%), 2.9 MiB of 64.0 MiB in slots (5%)"; a static buffer. */
const char *usage_text(const struct hotset_usage *u);
const char *mode_name(unsigned mode);

#endif
