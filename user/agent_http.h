/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's HTTP, by libmicrohttpd, inside an sd-event loop. Hostile clients cannot hold up the loop: what a
 * request may cost, in memory, descriptors and time, is bounded, and who wants more is refused.
 */
#ifndef WEIR_AGENT_HTTP_H
#define WEIR_AGENT_HTTP_H

#include <systemd/sd-event.h>

#include "agent_pages.h"

struct agent_http;

/*
 * Listens: on the sockets that systemd gives, else at this address; family 0: nowhere, and *out is NULL. 0 or
 * -errno after it was told. Connections are taken from agent_http_start() on.
 */
int agent_http_new(struct agent_http **out, const struct config_vip *at);
/* Counts requests in v->metrics. 0 or -errno. */
int agent_http_start(struct agent_http *h, sd_event *event, struct agent_view *v);
void agent_http_free(struct agent_http *h);
/* "127.0.0.1:9844", "a socket of systemd's". */
const char *agent_http_where(const struct agent_http *h);

#endif
