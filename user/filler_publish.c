// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Into the hot set: what is ready, together, under one lock and with one grace period. */
#include <errno.h>
#include <string.h>

#include "filler_parts.h"
#include "warm.h"
#include "weir/reason.h"

#define BATCH_NS     3000000ULL /* of the loop, at once */
#define STEP	     16		/* keys between two looks at the clock */
#define WAIT_DP_US   200000	/* the agent notices within a second what became of the data plane */

/* ---- one key ---------------------------------------------------------------------------------- */

static enum fill_result result_of(int put)
{
	switch (put) {
	case HOT_ADDED:
		return FILL_ADDED;
	case HOT_REPLACED:
		return FILL_REPLACED;
	case HOT_UNCHANGED:
		return FILL_UNCHANGED;
	case -ENOSPC:
	case -EXFULL:
		return FILL_FULL;
	}
	return FILL_TOO_LONG;
}

/* Who brought it stays: what promotion did not bring is not promotion's to evict, and the other way round. */
static void mark_promoted(struct fill *fill, const struct hotset *h)
{
	struct hot_item *it = &fill->item;
	const struct weir_slot *old = hotset_find(h, it->svc, it->key, it->key_len);
	bool promoted = old ? old->flags & WEIR_SLOT_PROMOTED : fill->first.why == FILL_PROMOTE;

	it->flags &= ~WEIR_SLOT_PROMOTED;
	if (promoted)
		it->flags |= WEIR_SLOT_PROMOTED;
}

/* The copy that answers now; NULL: none does. */
static const struct weir_slot *answers(const struct fill *fill, const struct hotset *h)
{
	const struct hot_item *it = &fill->item;
	const struct weir_slot *s = hotset_find(h, it->svc, it->key, it->key_len);

	return s && hotset_state(h, s, monotonic_ns()) == WEIR_R_HIT ? s : NULL;
}

/* What a command has given since a fetch was asked for is newer, and moves no fence. */
static bool given_since(const struct fill *fill, const struct hotset *h)
{
	const struct weir_slot *s;

	if (fill->by_hand || fill->given || fill->removal)
		return false;
	s = answers(fill, h);
	return s && !(s->flags & WEIR_SLOT_CAS);
}

/* A result, or -EAGAIN: there will be room when readers were waited for; -ESTALE: its fence moved. */
static int put(struct fill *fill, struct hotset *h)
{
	struct hot_item *it = &fill->item;
	__u64 cap;
	int n;

	if (fill->spoiled)
		return FILL_DROPPED;
	if (fill_fence_moved(fill))
		return -ESTALE;
	if (given_since(fill, h))
		return FILL_DROPPED;
	/* It may have struck while this waited for the lock. */
	if (warm_flush_cap(fill->f->mem, it->svc, fill->sent_ns, &cap) || cap <= monotonic_ns())
		return FILL_FLUSH;
	it->expires_ns = it->expires_ns > cap ? cap : it->expires_ns;
	if (!fill->given)
		mark_promoted(fill, h);
	n = hotset_put(h, it);
	return n == -EAGAIN ? n : (int)result_of(n);
}

static int drop(struct fill *fill, struct hotset *h)
{
	const struct hot_item *it = &fill->item;

	if (fill->spoiled || (fill->dead && answers(fill, h)) || given_since(fill, h))
		return FILL_DROPPED;
	fill->f->counts.dropped += !hotset_drop(h, it->svc, it->key, it->key_len);
	return fill->result;
}

/* ---- a batch ---------------------------------------------------------------------------------- */

/* What was dealt with goes to `done`, with its result; those whose fence moved wait on. */
static void publish(struct filler *f, struct hotset *h, struct fills *done)
{
	__u64 until = monotonic_ns() + BATCH_NS;
	struct fill *i;

	for (unsigned n = 1; n <= BATCH_MAX && (i = TAILQ_FIRST(&f->ready)); n++) {
		int r = i->drops ? drop(i, h) : put(i, h);

		if (r == -EAGAIN)
			return;
		TAILQ_REMOVE(&f->ready, i, in);
		TAILQ_INSERT_TAIL(done, i, in);
		i->result = r == -ESTALE ? FILL_WRITING : r;
		i->moved = r == -ESTALE;
		if (n % STEP == 0 && monotonic_ns() > until)
			return;
	}
}

/* Callbacks come after the lock has been given back. */
static void settle(struct filler *f, struct fills *done)
{
	struct fill *i;

	/* Each stands in the list of its stage again, as the others expect. */
	while ((i = TAILQ_FIRST(done))) {
		TAILQ_REMOVE(done, i, in);
		TAILQ_INSERT_HEAD(&f->ready, i, in);
		if (i->moved)
			fill_again(i);
		else
			fill_finish(i, i->result);
	}
}

static void next_batch(struct filler *f, __u64 in_us)
{
	sd_event_source_set_time_relative(f->batch, in_us);
	sd_event_source_set_enabled(f->batch, SD_EVENT_ONESHOT);
}

static int on_batch(sd_event_source *s, uint64_t usec, void *arg)
{
	struct filler *f = arg;
	struct fills done;
	int err;

	TAILQ_INIT(&done);
	if (!f->dp || TAILQ_EMPTY(&f->ready))
		return 0;
	err = writer_begin(f->writer, f->dp);
	if (err) {
		next_batch(f, err == -EBUSY ? BATCH_US : WAIT_DP_US);
		return 0;
	}
	/* A reload may have given the number of a service to another. */
	if (f->mem->ctl->generation == f->generation) {
		publish(f, writer_hotset(f->writer), &done);
		f->counts.batches++;
	}
	writer_end(f->writer);
	settle(f, &done);
	if (!TAILQ_EMPTY(&f->ready))
		next_batch(f, f->mem->ctl->generation == f->generation ? BATCH_US : WAIT_DP_US);
	fetch_soon(f);
	return 0;
}

/* The first that is ready has others wait for, which come soon after. */
void publish_soon(struct fill *fill)
{
	int on = SD_EVENT_OFF;

	sd_event_source_get_enabled(fill->f->batch, &on);
	if (on == SD_EVENT_OFF)
		next_batch(fill->f, BATCH_US);
}

int publish_new(struct filler *f)
{
	int err = sd_event_add_time(f->event, &f->batch, CLOCK_MONOTONIC, 0, 1000, on_batch, f);

	if (err >= 0)
		err = sd_event_source_set_enabled(f->batch, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}
