/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent knows, for its parts that look only: HTTP, readiness. agent.c keeps it true. */
#ifndef WEIR_AGENT_VIEW_H
#define WEIR_AGENT_VIEW_H

#include "agent_hot.h"
#include "agent_lease.h"
#include "metrics.h"

struct agent_view {
	struct dataplane *dp;	    /* NULL: nothing is loaded; */
	int open_error;		    /* then what dp_open() said, and */
	char open_words[512];	    /* dp_error() */
	const struct config *config; /* what is checked, and how */
	const char *path;	    /* of the file that the agent was started with */
	struct agent_hot *hot;	    /* what is done for the hot set */
	const struct weir_config *constants; /* what the programs run with; NULL: not known */
	struct metrics_agent metrics;
	struct flows_swept swept;   /* of the last whole sweep; metrics.flows points here when there was one */
};

#endif
