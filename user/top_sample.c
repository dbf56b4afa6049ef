/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top: one sample of what is loaded. Counters are read each time, keys and flows when they are looked at. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends.h"
#include "latency.h"
#include "top.h"

/* ---- services --------------------------------------------------------------------------------- */

static int read_service(struct top_sample *s, const struct session *session, unsigned svc)
{
	struct top_service *to = &s->svcs[svc];
	int err = dp_counts(session->dp, svc, to->counts);

	to->used = true;
	if (svc == WEIR_SVC_NONE)
		return err;
	to->cache = session->ctl->services[svc].flags & WEIR_SVC_CACHE;
	snprintf(to->name, sizeof(to->name), "%.31s", session->ctl->services[svc].name);
	for (unsigned path = 0; s->latency && !err && path < WEIR_LAT_PATHS; path++)
		err = latency_of_service(dp_maps(session->dp), svc, path, &to->lat[path]);
	return err;
}

static int read_services(struct top_sample *s, const struct session *session)
{
	int err = 0;

	memset(s->svcs, 0, sizeof(s->svcs));
	for (unsigned svc = 0; svc <= WEIR_SVC_NONE && !err; svc++) {
		if (svc == WEIR_SVC_NONE || *session->ctl->services[svc].name)
			err = read_service(s, session, svc);
	}
	return err;
}

/* ---- backends --------------------------------------------------------------------------------- */

static struct top_backend *new_backend(struct top_sample *s)
{
	if (s->nbackends == s->backends_room) {
		unsigned room = s->backends_room ? 2 * s->backends_room : 16;
		struct top_backend *list = reallocarray(s->backends, room, sizeof(*list));

		if (!list)
			return NULL;
		s->backends = list;
		s->backends_room = room;
	}
	return memset(&s->backends[s->nbackends++], 0, sizeof(*s->backends));
}

static int read_backend(struct top_sample *s, const struct session *session, unsigned place)
{
	const struct pools_mem *m = dp_pools(session->dp);
	struct top_backend *b = new_backend(s);
	unsigned pool = pools_of(m, place);
	int err;

	if (!b)
		return -ENOMEM;
	b->place = place;
	b->svc = m->pools[pool].svc;
	snprintf(b->pool, sizeof(b->pool), "%.31s", m->pool_ctl[pool].name);
	snprintf(b->name, sizeof(b->name), "%.31s", m->backend_ctl[place].name);
	snprintf(b->state, sizeof(b->state), "%s", backend_state(m, place));
	snprintf(b->health, sizeof(b->health), "%s", health_name(m->backend_ctl[place].health));
	b->active = backend_active(m, place);
	b->load = backend_load(m, place);
	b->latency_ns = m->backend_ctl[place].latency_ns;
	dp_sent(session->dp, place, &b->sent);
	err = latency_of_backend(dp_maps(session->dp), place, WEIR_BACKEND_REQUEST, &b->request);
	return err == -ENODATA ? 0 : err;
}

static int read_backends(struct top_sample *s, const struct session *session)
{
	const struct pools_mem *m = dp_pools(session->dp);
	int err = 0;

	s->nbackends = 0;
	for (int p = next_pool(m, -1); p >= 0 && !err; p = next_pool(m, p)) {
		for (int b = next_backend(m, p, -1); b >= 0 && !err; b = next_backend(m, p, b))
			err = read_backend(s, session, b);
	}
	return err;
}

/* ---- all -------------------------------------------------------------------------------------- */

static void read_state(struct top_sample *s, const struct weir_ctl *ctl)
{
	__u64 now = monotonic_ns(), deadline = __atomic_load_n(&ctl->lease_deadline_ns, __ATOMIC_RELAXED);
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	s->ns = now;
	s->at = ts.tv_sec + ts.tv_nsec / 1e9;
	s->loaded_at = ctl->loaded_at;
	s->generation = ctl->generation;
	s->answering = deadline > now;
	s->agent = agent_is_here(ctl);
}

int top_read(struct top_sample *s, const struct session *session)
{
	int err;

	s->nkeys = s->nflows = 0;
	s->keys_matched = s->flows_matched = s->keys_ns = 0;
	s->latency = latency_on(dp_maps(session->dp));
	err = read_services(s, session);
	if (!err)
		err = read_backends(s, session);
	read_state(s, session->ctl);
	if (err)
		s->ns = 0;
	return err;
}

void top_sample_free(struct top_sample *s)
{
	free(s->backends);
	free(s->keys);
	free(s->flows);
	*s = (struct top_sample){};
}

/* What a view lists, of the service that was chosen. */
static int read_lists(struct top_sample *s, struct session *session, const struct top_state *t, bool all)
{
	int svc = *t->service ? top_service_number(s, t->service) : -1, err = 0;

	if (all || t->view == TOP_KEYS) {
		err = hotset_open(&session->hot, dp_hotset_mem(session->dp));
		if (!err)
			err = top_read_keys(s, session, svc);
		hotset_close(session->hot);
	}
	if (!err && s->latency && (all || t->view == TOP_FLOWS))
		err = top_read_flows(s, session, svc, t->sort[TOP_FLOWS], t->reverse[TOP_FLOWS]);
	return err;
}

int top_take(struct top_sample *s, const struct top_state *t, bool counters, bool all, char *why)
{
	struct session session = {.what = "top"};
	int err = dp_open(&session.dp, DP_READ);

	if (err) {
		snprintf(why, TOP_WHY, "%s", dp_error());
		return err;
	}
	session.ctl = dp_ctl(session.dp);
	if (counters)
		err = top_read(s, &session);
	if (!err)
		err = read_lists(s, &session, t, all);
	if (err)
		snprintf(why, TOP_WHY, "what is loaded cannot be read: %s", strerror(-err));
	dp_close(session.dp);
	return err;
}
