/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Health checks: asks each backend again and again, inside an sd-event loop, and says when its state
 * changes. Knows no maps: whom to check comes in, what came of it goes out by callbacks.
 */
#ifndef WEIR_CHECK_H
#define WEIR_CHECK_H

#include <systemd/sd-event.h>

#include "config.h"
#include "probe.h"

struct checks;

#define CHECK_PROBES 2 /* in one check: as many as most services have addresses, one of each family */

struct check_target {
	unsigned backend; /* its number */
	char pool[WEIR_NAME_MAX], name[WEIR_NAME_MAX];
	struct config_vip at;	       /* where it is checked, port included */
	__u32 health;		       /* WEIR_HEALTH_*, as it is known now */
	const struct config_check *how; /* copied */
	/*
	 * Asked first through the delivery of clients' packets; each must answer. Of many some in each check, by turns:
	 * the next ones after these have answered. So who fails is asked until it does not. Copied.
	 */
	struct probe_ask *probes;
	unsigned nprobes;
	bool probes_only; /* and that is all, when they can be made */
};

struct check_ops {
	/* Each check's result; why: "" of a success, latency_ns: 0 of a failure, and where it says nothing. */
	void (*result)(const struct check_target *t, const char *why, __u64 latency_ns, void *arg);
	/* The state changed; then `line` is what to say: "pool web: backend b1 up (1 check)". */
	void (*changed)(const struct check_target *t, __u32 health, const char *why, const char *line, void *arg);
};

/* At most `at_once` checks are under way at any time. Blocks SIGCHLD in this thread. */
int checks_new(struct checks **out, sd_event *event, unsigned at_once, const struct check_ops *ops, void *arg);
void checks_free(struct checks *c);
/* Without, as at first, no probe is made. */
void checks_probes(struct checks *c, struct probes *probes);

/*
 * Whom to check: begin, add each, end. A target as before goes on where it was; one that is new, or
 * otherwise, begins anew; those not added again end.
 */
void checks_begin(struct checks *c);
int checks_add(struct checks *c, const struct check_target *t);
void checks_end(struct checks *c);
unsigned checks_count(const struct checks *c);

/* ---- the rules, for tests as well ---- */

struct check_state {
	__u32 health;	 /* WEIR_HEALTH_* */
	unsigned streak; /* results in a row that speak against it */
};
/*
 * One result more; whether the state changed. `rise` successes in a row make up of down, `fall` failures
 * in a row down of up or unknown; one success makes up of unknown.
 */
bool check_rule(struct check_state *s, const struct config_check *how, bool ok);
/* From the start of a check to the next one's: the interval, give or take the jitter. `random`: any number. */
__u64 check_delay(const struct config_check *how, __u32 random);

#endif
