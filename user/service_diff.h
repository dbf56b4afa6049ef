/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a reload would change in services: beside what pools_apply() says of pools. */
#ifndef WEIR_SERVICE_DIFF_H
#define WEIR_SERVICE_DIFF_H

#include "maps.h"

/*
 * One line for each service that is new, gone, or otherwise: "service web: vips and clients changed".
 * `now`: what the programs run with (running_config()).
 */
void services_diff(const struct weir_ctl *ctl, const struct pools_mem *pools, const struct weir_config *now,
		   const struct config *c, pools_change_fn fn, void *arg);

#endif
