/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What HTTP may cost the agent's loop: a part of the time, and no more. What was made is given again to who asks
 * for the same within a moment.
 */
#ifndef WEIR_AGENT_WORK_H
#define WEIR_AGENT_WORK_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define KEPT_MAX 8

struct MHD_Response;

struct kept {
	char *key;
	struct MHD_Response *response;
	int status;
	__u64 until_ns;
};

struct agent_work {
	struct kept kept[KEPT_MAX];
	__s64 purse_ns; /* work is paid from it */
	__u64 paid_ns;	/* when it was last filled */
	bool large;	/* a large page was made: its memory is to go back to the kernel */
	void (*destroy)(struct MHD_Response *response);
};

/* destroy: ends what is not kept any more. */
void work_begin(struct agent_work *w, void (*destroy)(struct MHD_Response *response));
/* Whether a page may be made now. */
bool work_allowed(struct agent_work *w);
/* A page of this length was made. */
void work_done(struct agent_work *w, __u64 took_ns, size_t len);
/* What was made for this key, NULL: nothing that can be given again. */
const struct kept *work_find(const struct agent_work *w, const char *key);
/* Keeps the response, which took so long, and the key. */
void work_keep(struct agent_work *w, char *key, struct MHD_Response *response, int status, __u64 took_ns);
/* Each second: a large response is not to be held for good. */
void work_forget_old(struct agent_work *w);
void work_end(struct agent_work *w);

#endif
