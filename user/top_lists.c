/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top: the first keys and flows of all that there are. No more than twice TOP_LIST are held meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "filter.h"
#include "latency.h"
#include "top.h"

/* ---- keys ------------------------------------------------------------------------------------- */

struct keys {
	const struct session *session;
	struct top_sample *s;
	int svc; /* -1: all */
	__u64 now;
};

/* As `weir cache show` sorts them. */
static int by_hits(const void *a, const void *b)
{
	const struct top_key *x = a, *y = b;
	size_t len = x->key_len < y->key_len ? x->key_len : y->key_len;
	int order;

	if (x->hits != y->hits)
		return x->hits < y->hits ? 1 : -1;
	order = memcmp(x->key, y->key, len);
	return order ? order : x->key_len - y->key_len;
}

static void keep_keys(struct top_sample *s)
{
	qsort(s->keys, s->nkeys, sizeof(*s->keys), by_hits);
	if (s->nkeys > TOP_LIST)
		s->nkeys = TOP_LIST;
}

/* No lock is held: a slot may be reused under our eyes, so that only a copy is looked at, and not trusted. */
static int on_slot(const struct weir_slot *slot, void *arg)
{
	struct keys *k = arg;
	struct weir_slot copy = *slot;
	struct top_key *key = &k->s->keys[k->s->nkeys];

	if (!copy.key_len || copy.key_len > WEIR_KEY_MAX || copy.svc >= WEIR_SERVICES_MAX ||
	    !k->s->svcs[copy.svc].used || (k->svc >= 0 && copy.svc != k->svc))
		return 0;
	*key = (struct top_key){.svc = copy.svc, .key_len = copy.key_len, .bytes = copy.value_len};
	memcpy(key->key, slot_key(slot), copy.key_len);
	key->counted = copy.entry < k->session->ctl->hit_entries;
	key->hits = key->counted ? hotset_hits(k->session->hot, &copy) : 0;
	key->left_ns = copy.expires_ns == WEIR_NEVER ? WEIR_NEVER :
		       copy.expires_ns > k->now ? copy.expires_ns - k->now : 0;
	key->state = hotset_state_name(hotset_state(k->session->hot, slot, k->now));
	k->s->keys_matched++;
	if (++k->s->nkeys == 2 * TOP_LIST)
		keep_keys(k->s);
	return 0;
}

int top_read_keys(struct top_sample *s, const struct session *session, int svc)
{
	struct keys k = {.session = session, .s = s, .svc = svc, .now = monotonic_ns()};

	if (!s->keys)
		s->keys = calloc(2 * TOP_LIST, sizeof(*s->keys));
	if (!s->keys)
		return -ENOMEM;
	s->nkeys = 0;
	s->keys_matched = 0;
	s->keys_ns = k.now;
	hotset_each(session->hot, on_slot, &k);
	keep_keys(s);
	return 0;
}

/* ---- flows ------------------------------------------------------------------------------------ */

struct flows {
	const struct pools_mem *pools;
	struct top_sample *s;
	int svc; /* -1: all */
	unsigned by;
	bool least;
};

static __u64 rank(const struct top_flow *f, unsigned by)
{
	switch (by) {
	case TOP_FLOW_LATEST:
		return f->latest_ns;
	case TOP_FLOW_RTT_SERVER:
		return f->rtt_server_ns;
	case TOP_FLOW_RTT_CLIENT:
		return f->rtt_client_ns;
	case TOP_FLOW_PACKETS:
		return f->packets;
	case TOP_FLOW_BYTES:
		return f->bytes;
	case TOP_FLOW_AGE:
		return f->age_ns;
	}
	return f->latency_ns;
}

/* 0 is not known, and last in either order; by names the slowest are first. */
static int by_rank(const void *a, const void *b, void *arg)
{
	const struct flows *w = arg;
	__u64 x = rank(a, w->by), y = rank(b, w->by);
	bool least = w->least && w->by >= TOP_FLOW_LATENCY;

	if (x == y)
		return 0;
	if (!x || !y)
		return x ? -1 : 1;
	return (x > y) == least ? 1 : -1;
}

static void keep_flows(struct flows *w)
{
	qsort_r(w->s->flows, w->s->nflows, sizeof(*w->s->flows), by_rank, w);
	if (w->s->nflows > TOP_LIST)
		w->s->nflows = TOP_LIST;
}

static void describe(struct top_flow *to, const struct flows *w, const struct latency_flow *f)
{
	const struct weir_flow_rec *r = &f->rec;

	*to = (struct top_flow){.svc = f->flow.svc,
				.tcp = f->flow.tcp,
				.state = flow_state_name(f->flow.state),
				.latency_ns = r->request.smooth * 1000ULL,
				.latest_ns = r->request.latest * 1000ULL,
				.rtt_server_ns = r->rtt_smooth[0] * 1000ULL,
				.rtt_client_ns = r->rtt_smooth[1] * 1000ULL,
				.packets = r->packets,
				.bytes = r->bytes,
				.age_ns = f->age_ns};
	flow_client_port(&f->flow, to->client, sizeof(to->client));
	if (backend_known(w->pools, r->backend))
		snprintf(to->backend, sizeof(to->backend), "%s", backend_name(w->pools, r->backend));
}

static int on_flow(const struct latency_flow *f, void *arg)
{
	struct flows *w = arg;

	if (w->svc >= 0 && f->flow.svc != (unsigned)w->svc)
		return 0;
	describe(&w->s->flows[w->s->nflows], w, f);
	w->s->flows_matched++;
	if (++w->s->nflows == 2 * TOP_LIST)
		keep_flows(w);
	return 0;
}

int top_read_flows(struct top_sample *s, const struct session *session, int svc, unsigned by, bool least)
{
	struct flows w = {.pools = dp_pools(session->dp), .s = s, .svc = svc, .by = by, .least = least};

	if (!s->flows)
		s->flows = calloc(2 * TOP_LIST, sizeof(*s->flows));
	if (!s->flows)
		return -ENOMEM;
	s->nflows = 0;
	s->flows_matched = 0;
	latency_flows(dp_maps(session->dp), on_flow, &w);
	keep_flows(&w);
	return 0;
}
