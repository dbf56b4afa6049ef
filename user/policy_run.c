// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A run is a list of keys that goes through the filler at the policy's rate. Its keys are gathered first, all at once:
 * they come from a file, a sketch or a reply, and are no more than `max`.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "journal.h"
#include "out.h"
#include "policy_parts.h"

#define STEP_US	    50000 /* keys are asked for in portions */
#define WAITING_MAX 5000  /* keys of a run that the filler has at a time */

/* ---- beginning and end ------------------------------------------------------------------------ */

static void text(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", printable(from, strlen(from)));
}

bool policy_run_begin(struct policy *p, const char *from)
{
	if (p->active)
		return false;
	p->active = true;
	p->last_ns = monotonic_ns();
	p->run = (struct run){
		.began = time(NULL),
		.began_ns = p->last_ns,
		.bytes = filler_counts(p->of->filler)->value_bytes,
	};
	text(p->run.from, sizeof(p->run.from), from);
	p->purse = 0;
	p->at = 0;
	keys_free(&p->keys);
	policy_wake(p->of);
	return true;
}

/* The first is told. */
void policy_run_failed(struct policy *p, const char *fmt, ...)
{
	char why[512];
	va_list ap;

	if (*p->run.error)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	text(p->run.error, sizeof(p->run.error), why);
}

static __u32 came(const struct run *r)
{
	return r->by[FILL_ADDED] + r->by[FILL_REPLACED] + r->by[FILL_UNCHANGED];
}

static void say_run(const struct policy *p)
{
	const struct run *r = &p->run;

	if (*r->error)
		say(LOG_WARNING, "policy %s: %s", p->c.name, r->error);
	else
		say(LOG_INFO, "policy %s: warmed %u of %u keys from %s in %.1f s (%u added, %u missing)", p->c.name,
		    came(r), r->keys, r->from, r->took_ns / 1e9, r->by[FILL_ADDED], r->by[FILL_MISSING]);
}

void policy_run_end(struct policy *p)
{
	struct run *r = &p->run;

	r->took_ns = monotonic_ns() - r->began_ns;
	r->bytes = filler_counts(p->of->filler)->value_bytes - r->bytes;
	memmove(&p->runs[1], &p->runs[0], (POLICY_RUNS_KEPT - 1) * sizeof(*r));
	p->runs[0] = *r;
	p->nruns += p->nruns < POLICY_RUNS_KEPT;
	p->runs_ok += !*r->error;
	p->runs_failed += !!*r->error;
	p->left_out += r->left_out;
	for (int i = 0; i < FILL_RESULT_COUNT; i++)
		p->by[i] += r->by[i];
	p->active = false;
	keys_free(&p->keys);
	say_run(p);
}

/* ---- keys ------------------------------------------------------------------------------------- */

int policy_run_add(struct policy *p, const char *key, size_t len)
{
	int err = keys_add(&p->keys, key, len, p->c.max);

	p->run.keys = p->keys.n;
	p->run.left_out += !!err;
	return err;
}

bool policy_run_list(struct policy *p)
{
	int err = keys_file_read(&p->file, p->c.list, p->c.max);

	if (err)
		policy_run_failed(p, "%.120s: %s", p->c.list, strerror(-err));
	return !err;
}

static void on_filled(__u8 svc, const char *key, size_t len, enum fill_result result, void *arg)
{
	struct policy *p = arg;

	p->pending--;
	p->run.by[result]++;
	if (p->gone && !p->pending)
		policy_free(p);
}

static const enum fill_why why_of[] = {
	[POLICY_START] = FILL_START,
	[POLICY_SURGE] = FILL_SURGE,
	[POLICY_PEER] = FILL_PEER,
	[POLICY_EVENT] = FILL_EVENT,
};

/* As many as the rate allows now. */
static void ask_some(struct policy *p)
{
	p->purse += p->c.rate * (STEP_US / 1e6);
	if (p->purse > p->c.rate)
		p->purse = p->c.rate;
	while (p->purse >= 1 && p->pending < WAITING_MAX) {
		size_t at = p->at, len;
		const char *key = keys_next(&p->keys, &at, &len);
		int err = key ? fill_ask(p->of->filler, p->svc, key, len, why_of[p->c.on], on_filled, p) : 0;

		if (!key || err == -EAGAIN)
			return;
		p->pending += !err;
		p->run.asked += !err;
		p->run.left_out += !!err;
		p->at = at;
		p->purse--;
	}
}

/* ---- in the loop ------------------------------------------------------------------------------ */

void policy_wake(struct policies *all)
{
	int on = SD_EVENT_OFF;

	if (sd_event_source_get_enabled(all->step, &on) > 0 && on != SD_EVENT_OFF)
		return;
	sd_event_source_set_time_relative(all->step, STEP_US);
	sd_event_source_set_enabled(all->step, SD_EVENT_ONESHOT);
}

int policy_step(sd_event_source *s, uint64_t usec, void *arg)
{
	struct policies *all = arg;
	bool more = false;

	for (unsigned i = 0; i < all->n; i++) {
		struct policy *p = all->by[i];

		if (!p->active || p->get)
			continue;
		ask_some(p);
		if (p->at >= p->keys.len && !p->pending)
			policy_run_end(p);
		more |= p->active;
	}
	if (more)
		policy_wake(all);
	return 0;
}
