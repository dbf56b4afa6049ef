/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent asks of the configuration. */
#ifndef WEIR_AGENT_CONFIG_H
#define WEIR_AGENT_CONFIG_H

#include "check.h"

/* As config_load(), each fault said as the agent says things. */
int agent_config_load(struct config **out, const char *path);
/* The first fault that the last of these found. */
const char *agent_config_fault(void);
/* NULL: there is none of that name. c may be NULL. */
const struct config_pool *configured_pool(const struct config *c, const char *name);
/* The port of the first address of a service that uses the pool, or 0. */
__be16 pool_service_port(const struct config *c, const struct config_pool *pool);
/* The addresses that clients connect to and the pool serves; how many these are. */
unsigned pool_probed_vips(const struct config *c, const struct config_pool *pool, struct config_vip vips[WEIR_VIPS_MAX]);

#endif
