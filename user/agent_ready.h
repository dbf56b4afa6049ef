/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether this host can take traffic: for load balancers, and for who waits for a start. */
#ifndef WEIR_AGENT_READY_H
#define WEIR_AGENT_READY_H

#include "agent_view.h"

/* The array of reasons why not, empty when ready; the caller's to json_decref(). Looks at most once a second. */
json_t *agent_not_ready(const struct agent_view *v);

#endif
