// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_work.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "hotset.h"

/* The purse fills by so much of the time, and is never fuller than this. */
#define WORK_SHARE 4 /* a quarter */
#define PURSE_NS   250000000LL
/* A page may be given again for so many times the time that it took to make, for at most so long. */
#define KEEP_TIMES  10
#define KEEP_MAX_NS 1000000000ULL
#define LARGE_BYTES (1 << 18)

void work_begin(struct agent_work *w, void (*destroy)(struct MHD_Response *response))
{
	w->destroy = destroy;
	w->paid_ns = monotonic_ns();
	w->purse_ns = PURSE_NS;
}

bool work_allowed(struct agent_work *w)
{
	__u64 now = monotonic_ns();

	w->purse_ns += (now - w->paid_ns) / WORK_SHARE;
	w->paid_ns = now;
	if (w->purse_ns > PURSE_NS)
		w->purse_ns = PURSE_NS;
	return w->purse_ns > 0;
}

void work_done(struct agent_work *w, __u64 took_ns, size_t len)
{
	w->purse_ns -= took_ns;
	w->large |= len >= LARGE_BYTES;
}

static void release(struct agent_work *w, struct kept *k)
{
	if (k->response)
		w->destroy(k->response);
	free(k->key);
	memset(k, 0, sizeof(*k));
}

const struct kept *work_find(const struct agent_work *w, const char *key)
{
	for (unsigned i = 0; i < KEPT_MAX; i++) {
		const struct kept *k = &w->kept[i];

		if (k->response && !strcmp(k->key, key))
			return k->until_ns > monotonic_ns() ? k : NULL;
	}
	return NULL;
}

/* In the place of the same, or a free one, or the oldest one's. */
void work_keep(struct agent_work *w, char *key, struct MHD_Response *response, int status, __u64 took_ns)
{
	__u64 keep_ns = KEEP_TIMES * took_ns;
	struct kept *to = &w->kept[0];

	for (unsigned i = 0; i < KEPT_MAX; i++) {
		struct kept *k = &w->kept[i];

		if (k->key && !strcmp(k->key, key)) {
			to = k;
			break;
		}
		if (k->until_ns < to->until_ns)
			to = k;
	}
	release(w, to);
	*to = (struct kept){ .key = key,
			     .response = response,
			     .status = status,
			     .until_ns = monotonic_ns() + (keep_ns < KEEP_MAX_NS ? keep_ns : KEEP_MAX_NS) };
}

void work_forget_old(struct agent_work *w)
{
	for (unsigned i = 0; i < KEPT_MAX; i++) {
		if (w->kept[i].until_ns <= monotonic_ns())
			release(w, &w->kept[i]);
	}
	if (w->large)
		malloc_trim(0);
	w->large = false;
}

void work_end(struct agent_work *w)
{
	for (unsigned i = 0; i < KEPT_MAX; i++)
		release(w, &w->kept[i]);
}
