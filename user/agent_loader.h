/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's loader: a process of its own that keeps the privileges which the agent gives up, and does what needs
 * them: a reload, an unload, a look at what the programs run with. It takes words from the agent only, and does
 * nothing else; each job runs in a child of it, so that none leaves anything behind.
 */
#ifndef WEIR_AGENT_LOADER_H
#define WEIR_AGENT_LOADER_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "weir/abi.h"

enum loader_job { LOADER_RELOAD, LOADER_CONSTANTS, LOADER_UNLOAD, LOADER_JOBS };

struct loader;

struct loader_ops {
	/* status: an exit status, or -(number of the signal that ended it). why: what was wrong, or "". */
	void (*reloaded)(int status, const char *why, void *arg);
	/* NULL: cannot be had. Valid until the next. */
	void (*constants)(const struct weir_config *cfg, void *arg);
	void (*gone)(void *arg); /* the loader itself: no job can be done any more */
};

/* Starts it, with the capabilities that it needs of those that this process has, and no descriptor but the
 * standard ones; path: the configuration. 0 or -errno. */
int loader_start(struct loader **out, const char *path);
/* Answers come in the loop from now on. */
int loader_attach(struct loader *l, sd_event *event, const struct loader_ops *ops, void *arg);
/* Whether that job is under way, or waits for its turn. */
bool loader_busy(const struct loader *l, enum loader_job job);
/* Asked for while one like it is under way, another one follows. */
void loader_ask(struct loader *l, enum loader_job job);
/* Outside of the loop, waits for what is under way, then does it: its exit status. */
int loader_unload(struct loader *l);
/* Waits for what is under way; what waits for its turn is not done. l may be NULL. */
void loader_wait(struct loader *l);
void loader_free(struct loader *l);

#endif
