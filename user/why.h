/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a key is in the hot set or not, and what must happen for it to be: what the maps tell, and what the agent
 * knows.
 */
#ifndef WEIR_WHY_H
#define WEIR_WHY_H

#include "admit.h"
#include "session.h"

/* The agent's part, as the document has it under "promotion". */
json_t *why_promotion(const struct config_promote *how, const struct admit_why *w, __u32 sample,
		      __u64 now_ns);
/*
 * Prints all. promotion: of why_promotion(), or null: the service has none; released. NULL: it is not known, and
 * `unknown` says why. The exit status.
 */
int show_why(const struct session *s, unsigned svc, const char *key, json_t *promotion, const char *unknown);

#endif
