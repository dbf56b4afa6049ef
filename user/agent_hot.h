/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the agent does for the hot set: the parts, and when each of them is called. agent.c calls the functions
 * here; who adds a part adds its calls in agent_hot.c.
 */
#ifndef WEIR_AGENT_HOT_H
#define WEIR_AGENT_HOT_H

#include "filler.h"
#include "refresh.h"

struct bus;
struct promote;
struct invalidate;
struct policies;

struct agent_hot {
	struct writer *writer;
	struct filler *filler;
	struct refresh *refresh;
	struct promote *promote;
	struct invalidate *invalidate;
	struct bus *bus;
	struct policies *policies;
};

/* While the agent still has its capabilities. 0 or -errno. */
int agent_hot_new(struct agent_hot **out, sd_event *event);
void agent_hot_free(struct agent_hot *h);
/* A data plane was taken up, or its configuration (c) has changed. */
void agent_hot_begin(struct agent_hot *h, struct dataplane *dp, const struct config *c);
/* Before dp is closed. */
void agent_hot_stop(struct agent_hot *h);
/* With a data plane. */
void agent_hot_second(struct agent_hot *h, struct dataplane *dp);

#endif
