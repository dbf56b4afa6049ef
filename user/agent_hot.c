// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The order matters in two places: what asks the filler begins after it and ends before it, and the writer lets
 * go of a data plane last.
 */
#include "agent_hot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "journal.h"
#include "maps.h"
#include "policy.h"
#include "promote.h"

static int make_parts(struct agent_hot *h, sd_event *event)
{
	int err = maps_prepare_grace();

	if (!err)
		err = writer_new(&h->writer, event);
	if (!err)
		err = filler_new(&h->filler, event, h->writer);
	if (!err)
		err = refresh_new(&h->refresh, event, h->filler);
	if (!err)
		err = promote_new(&h->promote, event, h->filler);
	if (!err)
		err = invalidate_new(&h->invalidate, h->filler, h->writer);
	if (!err)
		err = bus_new(&h->bus, event, h->invalidate);
	if (!err)
		err = policies_new(&h->policies, event, h->filler, h->promote, h->bus);
	return err;
}

int agent_hot_new(struct agent_hot **out, sd_event *event)
{
	struct agent_hot *h = calloc(1, sizeof(*h));
	int err = h ? make_parts(h, event) : -ENOMEM;

	if (err)
		agent_hot_free(h);
	else
		*out = h;
	return err;
}

void agent_hot_free(struct agent_hot *h)
{
	if (!h)
		return;
	bus_free(h->bus);
	policies_free(h->policies);
	invalidate_free(h->invalidate);
	promote_free(h->promote);
	refresh_free(h->refresh);
	filler_free(h->filler);
	writer_free(h->writer);
	free(h);
}

static void begin_failed(const char *what, int err)
{
	if (err)
		say(LOG_ERR, "the hot set is not %s: %s", what, strerror(-err));
}

void agent_hot_begin(struct agent_hot *h, struct dataplane *dp, const struct config *c)
{
	begin_failed("filled", filler_begin(h->filler, dp, c));
	begin_failed("refreshed", refresh_begin(h->refresh, dp, c));
	begin_failed("promoted to", promote_begin(h->promote, dp, c));
	begin_failed("invalidated", invalidate_begin(h->invalidate, dp, c) ?: bus_begin(h->bus, c));
	begin_failed("warmed", policies_begin(h->policies, dp, c));
}

void agent_hot_stop(struct agent_hot *h)
{
	if (!h)
		return;
	bus_stop(h->bus);
	policies_stop(h->policies);
	invalidate_stop(h->invalidate);
	promote_stop(h->promote);
	refresh_stop(h->refresh);
	filler_stop(h->filler);
	writer_forget(h->writer);
}

void agent_hot_second(struct agent_hot *h, struct dataplane *dp)
{
	policies_second(h->policies, dp);
}
