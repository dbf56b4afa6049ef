// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From the question to the answer. The fence is noted before the get is queued, hence before it is written: a
 * write that passes after that moves it, wherever the get is by then, and at whichever endpoint it ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filler_parts.h"

#define NSEC 1000000000ULL

void fetch_soon(struct filler *f)
{
	sd_event_source_set_enabled(f->fetch, SD_EVENT_ONESHOT);
}

/* ---- writes that are too near ----------------------------------------------------------------- */

bool fill_fence_moved(const struct fill *fill)
{
	return !fill->f->h ||
	       hotset_fence_moved(fill->f->h, fill->item.svc, fill->key, fill->item.key_len, &fill->item.fence);
}

static bool settling(const struct fill *fill)
{
	__u64 last = hotset_last_write(fill->f->h, fill->item.svc, fill->key, fill->item.key_len);

	return last && monotonic_ns() < last + fill->f->settle_ns;
}

/* In the order of their time, since each waits equally long. */
static void put_off(struct fill *fill)
{
	struct filler *f = fill->f;

	fill->due_ns = monotonic_ns() + f->settle_ns;
	f->counts.deferred++;
	if (TAILQ_EMPTY(&f->later)) {
		sd_event_source_set_time(f->later_timer, fill->due_ns / 1000 + 1);
		sd_event_source_set_enabled(f->later_timer, SD_EVENT_ONESHOT);
	}
	fill_move(fill, STAGE_LATER);
}

void fill_again(struct fill *fill)
{
	free((void *)fill->item.value);
	fill->item.value = NULL;
	if (fill->spoiled)
		fill_finish(fill, FILL_DROPPED);
	else if (fill->given || fill->rounds++ == FILL_ROUNDS)
		fill_finish(fill, FILL_WRITING);
	else
		put_off(fill);
}

static int on_later(sd_event_source *s, uint64_t usec, void *arg)
{
	struct filler *f = arg;
	__u64 now = monotonic_ns();
	struct fill *i;

	while ((i = TAILQ_FIRST(&f->later)) && i->due_ns <= now)
		fill_move(i, STAGE_TODO);
	if (i) {
		sd_event_source_set_time(s, i->due_ns / 1000 + 1);
		sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	}
	fetch_soon(f);
	return 0;
}

/* ---- replies ---------------------------------------------------------------------------------- */

/* A copy that is held is to go. */
static void take_out(struct fill *fill, enum fill_result r)
{
	const struct hot_item *it = &fill->item;

	if (!hotset_find(fill->f->h, it->svc, it->key, it->key_len)) {
		fill_finish(fill, r);
		return;
	}
	fill->drops = true;
	fill->result = r;
	fill_move(fill, STAGE_READY);
	publish_soon(fill);
}

/* When the copy ends: a second before the item does. False: that is now. */
static bool set_expiry(struct hot_item *it, const struct origin_reply *r, __u64 ttl_ns)
{
	__u64 end;

	it->expires_ns = ttl_ns == WEIR_NEVER ? WEIR_NEVER : r->sent_ns + ttl_ns;
	if (r->ttl_s < 0)
		it->flags |= WEIR_SLOT_IMMORTAL;
	else if (r->ttl_s <= 1)
		return false;
	if (r->ttl_s < 0 || (__u64)r->ttl_s >= WEIR_NEVER / 2 / NSEC)
		return true;
	end = r->sent_ns + (r->ttl_s - 1) * NSEC;
	it->expires_ns = end < it->expires_ns ? end : it->expires_ns;
	return true;
}

static void take_value(struct fill *fill, const struct origin_reply *r)
{
	const struct weir_ctl_svc *cs = &fill->f->mem->ctl->services[fill->item.svc];
	struct hot_item *it = &fill->item;

	it->value_len = r->value_len;
	it->client_flags = r->client_flags;
	it->cas = r->cas_known ? r->cas : 0;
	it->flags = (r->cas_known ? WEIR_SLOT_CAS : 0) | (r->key_b64 ? WEIR_SLOT_KEY_B64 : 0);
	fill->f->counts.value_bytes += r->value ? r->value_len : 0;
	if (!r->value || r->value_len > cs->value_max || hotset_lines(it) < 0) {
		take_out(fill, FILL_TOO_LONG);
		return;
	}
	if (!set_expiry(it, r, cs->ttl_ns)) {
		fill_finish(fill, FILL_EXPIRING);
		return;
	}
	it->value = malloc(r->value_len ?: 1);
	if (!it->value) {
		fill_finish(fill, FILL_FULL);
		return;
	}
	memcpy((void *)it->value, r->value, r->value_len);
	fill->sent_ns = r->sent_ns;
	fill_move(fill, STAGE_READY);
	publish_soon(fill);
}

static void on_reply(const struct origin_reply *r, void *arg)
{
	struct fill *fill = arg;
	struct filler *f = fill->f;

	if (fill->spoiled)
		fill_finish(fill, FILL_DROPPED);
	else if (r->status == ORIGIN_FOUND && fill_fence_moved(fill))
		fill_again(fill);
	else if (r->status == ORIGIN_FOUND)
		take_value(fill, r);
	else if (r->status == ORIGIN_ERROR)
		fill_finish(fill, FILL_ORIGIN);
	else
		take_out(fill, r->status == ORIGIN_MISSING ? FILL_MISSING : FILL_STALE);
	fetch_soon(f);
}

/* ---- asking ----------------------------------------------------------------------------------- */

/* False: the origin's queue is full. */
static bool ask(struct fill *fill)
{
	struct fill_service *s = &fill->f->svc[fill->item.svc];
	struct hot_item *it = &fill->item;
	int err;

	if (fill->spoiled) {
		fill_finish(fill, FILL_DROPPED);
		return true;
	}
	if (!s->origins) {
		fill_finish(fill, FILL_NO_ORIGIN);
		return true;
	}
	it->fence = hotset_fence(fill->f->h, it->svc, it->key, it->key_len);
	if (settling(fill)) {
		fill_again(fill);
		return true;
	}
	err = origins_get(s->origins, it->key, it->key_len, on_reply, fill);
	if (!err)
		fill_move(fill, STAGE_ASKED);
	else if (err != -EAGAIN)
		fill_finish(fill, FILL_ORIGIN);
	return err != -EAGAIN;
}

/* What waits for the lock is not to take more memory than that. */
static int on_fetch(sd_event_source *s, void *arg)
{
	struct filler *f = arg;
	unsigned left = READY_MAX;

	for (unsigned i = 0; f->dp && i < WEIR_SERVICES_MAX; i++) {
		struct fill *fill;

		while (left && f->nready < READY_MAX && (fill = TAILQ_FIRST(&f->svc[i].todo)) && ask(fill))
			left--;
	}
	if (!left && f->dp)
		fetch_soon(f);
	return 0;
}

void fetch_take_back(struct filler *f, unsigned svc)
{
	struct fill *i, *next;

	for (i = TAILQ_FIRST(&f->asked); i; i = next) {
		next = TAILQ_NEXT(i, in);
		if (i->item.svc == svc)
			fill_move(i, STAGE_TODO);
	}
}

int fetch_new(struct filler *f)
{
	int err = sd_event_add_defer(f->event, &f->fetch, on_fetch, f);

	if (err >= 0)
		err = sd_event_source_set_enabled(f->fetch, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_time(f->event, &f->later_timer, CLOCK_MONOTONIC, 0, 10000, on_later, f);
	if (err >= 0)
		err = sd_event_source_set_enabled(f->later_timer, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}
