/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent: keeps what is loaded in order while it runs. One loop does health checks, extends the lease,
 * sweeps and recounts the flow table, lets slow starts fade, has next hops resolved, and answers HTTP. Commands go
 * on working beside it; it notices what they do within a second.
 */
#ifndef WEIR_AGENT_H
#define WEIR_AGENT_H

#include "config.h"

struct agent_opts {
	const char *path;    /* the configuration */
	bool load;	     /* when nothing is loaded */
	bool unload_on_exit;
	const struct config_vip *http; /* instead of the configuration's; family 0: none. NULL: as configured */
};
/* Until SIGTERM or SIGINT. The exit status; what went wrong was said. */
int agent_run(const struct agent_opts *o);

#endif
