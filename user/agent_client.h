/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For commands: one document of the agent's, by HTTP. Waits, for two seconds at most. */
#ifndef WEIR_AGENT_CLIENT_H
#define WEIR_AGENT_CLIENT_H

#include <jansson.h>

#include "config.h"

/* Where the agent of what is loaded answers: as its configuration file says now. Family 0: nowhere. */
void agent_where(const struct weir_ctl *ctl, struct config_vip *at);
/* The document of a path, or NULL and why in words: "nobody answers at 127.0.0.1:9844". */
json_t *agent_get(const struct config_vip *at, const char *path, char *why, size_t len);
/* As a parameter in a path: to[] has 3 * len + 1 bytes. */
void agent_quote(char *to, const char *text, size_t len);

#endif
