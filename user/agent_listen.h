/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sockets that the agent's HTTP is asked on. */
#ifndef WEIR_AGENT_LISTEN_H
#define WEIR_AGENT_LISTEN_H

#include "config.h"

#define AGENT_LISTEN_MAX 4

struct agent_listen {
	int fds[AGENT_LISTEN_MAX]; /* do not block */
	unsigned n;
	char where[80]; /* "127.0.0.1:9844", "a socket of systemd's" */
};

/* Those that systemd gives, else one at this address; family 0: none. 0 or -errno after it was told. */
int agent_listen(struct agent_listen *l, const struct config_vip *at);
void agent_listen_end(struct agent_listen *l);

#endif
