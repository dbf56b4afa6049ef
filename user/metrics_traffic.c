/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics of services, pools and backends, the flow table, and latencies. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "filter.h"
#include "latency.h"
#include "metrics_build.h"
#include "reasons.h"

/* ---- services --------------------------------------------------------------------------------- */

struct services {
	const char *names[WEIR_SERVICES_MAX + 1]; /* NULL: the place is free; the last: of no service, "" */
	struct weir_count counts[WEIR_SERVICES_MAX + 1][WEIR_R_COUNT];
};

static void read_services(struct build *b, struct services *v)
{
	int err = 0;

	for (int s = 0; s <= WEIR_SVC_NONE && !err; s++) {
		const char *name = s == WEIR_SVC_NONE ? "" : b->ctl->services[s].name;

		if (s != WEIR_SVC_NONE && !*name)
			continue;
		v->names[s] = build_text(b, name, WEIR_NAME_MAX - 1);
		err = dp_counts(b->dp, s, v->counts[s]);
	}
	if (err && !b->err)
		b->err = err;
}

static bool ever_counted(const struct services *v, int reason)
{
	for (int s = 0; s <= WEIR_SVC_NONE; s++) {
		if (v->counts[s][reason].packets)
			return true;
	}
	return false;
}

/* A reason appears for all services as soon as one had it: rates of the others do not begin with a gap then. */
static void collect_reasons(struct build *b, const struct services *v)
{
	for (int r = 0; r < WEIR_R_COUNT; r++) {
		if (!ever_counted(v, r))
			continue;
		for (int s = 0; s <= WEIR_SVC_NONE; s++) {
			if (!v->names[s])
				continue;
			build_add(b, FAMILY_PACKETS, v->counts[s][r].packets, "service", v->names[s], "reason",
				  reasons[r].name, NULL);
			build_add(b, FAMILY_BYTES, v->counts[s][r].bytes, "service", v->names[s], "reason",
				  reasons[r].name, NULL);
		}
	}
}

static void collect_hits(struct build *b, const struct services *v)
{
	for (int s = 0; s < WEIR_SERVICES_MAX; s++) {
		if (!v->names[s] || !(b->ctl->services[s].flags & WEIR_SVC_CACHE))
			continue;
		build_add(b, FAMILY_HITS, class_packets(v->counts[s], WEIR_CLS_HIT), "service", v->names[s], NULL);
		build_add(b, FAMILY_MISSES, class_packets(v->counts[s], WEIR_CLS_MISS), "service", v->names[s], NULL);
	}
}

/* ---- latencies -------------------------------------------------------------------------------- */

static void collect_latency(struct build *b, const char *name, unsigned svc)
{
	__u64 lost = 0, failed = 0;

	for (unsigned path = 0; path < WEIR_LAT_PATHS; path++) {
		struct weir_histogram h;
		int err = latency_of_service(dp_maps(b->dp), svc, path, &h);

		if (err) {
			b->err = b->err ?: err;
			return;
		}
		lost += h.lost;
		failed += h.failed;
		if (latency_count(&h))
			build_add_hist(b, FAMILY_LATENCY, &h, "service", name, "path", latency_path(path), NULL);
	}
	build_add(b, FAMILY_LOST, lost, "service", name, NULL);
	build_add(b, FAMILY_FAILED, failed, "service", name, NULL);
}

static void collect_latencies(struct build *b, const struct services *v)
{
	if (!latency_on(dp_maps(b->dp)))
		return;
	for (int s = 0; s < WEIR_SERVICES_MAX && !b->err; s++) {
		if (v->names[s])
			collect_latency(b, v->names[s], s);
	}
	build_add(b, FAMILY_MEASURED, latency_records(dp_maps(b->dp)), NULL);
	build_add(b, FAMILY_MEASURED_CAPACITY, b->ctl->flow_recs, NULL);
	build_add(b, FAMILY_INTERVAL, ((__u64)b->ctl->rec_interval << WEIR_REC_TIME) / 1e9, NULL);
}

/* ---- backends --------------------------------------------------------------------------------- */

struct who {
	unsigned n;
	const char *pool, *name;
};
#define WHO(w) "pool", (w)->pool, "backend", (w)->name

static void collect_backend_state(struct build *b, const struct who *w)
{
	const struct pools_mem *m = dp_pools(b->dp);
	const struct weir_ctl_backend *c = &m->backend_ctl[w->n];

	build_add(b, FAMILY_B_ACTIVE, backend_active(m, w->n), WHO(w), NULL);
	build_add(b, FAMILY_B_CAPACITY, m->backends[w->n].capacity, WHO(w), NULL);
	build_add(b, FAMILY_B_UP, c->health != WEIR_HEALTH_DOWN, WHO(w), NULL);
	for (unsigned s = WEIR_ADMIN_UP; s <= WEIR_ADMIN_DISABLED; s++)
		build_add(b, FAMILY_B_ADMIN, c->admin == s, WHO(w), "state", admin_name(s), NULL);
	if (c->latency_ns)
		build_add(b, FAMILY_B_LATENCY, c->latency_ns / 1e9, WHO(w), NULL);
	build_add(b, FAMILY_B_CHECKS, c->checks_ok, WHO(w), "result", "ok", NULL);
	build_add(b, FAMILY_B_CHECKS, c->checks_failed, WHO(w), "result", "failed", NULL);
}

static void collect_backend_latency(struct build *b, const struct who *w)
{
	static const enum family_id ids[] = {
		[WEIR_BACKEND_REQUEST] = FAMILY_B_REQUEST,
		[WEIR_BACKEND_CONNECT] = FAMILY_B_CONNECT,
	};

	for (unsigned path = 0; path < WEIR_BACKEND_PATHS; path++) {
		struct weir_histogram h;
		int err = latency_of_backend(dp_maps(b->dp), w->n, path, &h);

		if (err)
			b->err = b->err ?: err;
		else if (latency_count(&h))
			build_add_hist(b, ids[path], &h, WHO(w), NULL);
	}
}

static void collect_backend(struct build *b, const struct who *w)
{
	struct weir_count sent;

	collect_backend_state(b, w);
	dp_sent(b->dp, w->n, &sent);
	build_add(b, FAMILY_B_PACKETS, sent.packets, WHO(w), NULL);
	build_add(b, FAMILY_B_BYTES, sent.bytes, WHO(w), NULL);
	if (latency_on(dp_maps(b->dp)))
		collect_backend_latency(b, w);
}

static void collect_pools(struct build *b)
{
	const struct pools_mem *m = dp_pools(b->dp);

	for (int p = next_pool(m, -1); p >= 0 && !b->err; p = next_pool(m, p)) {
		struct who w = {.pool = build_text(b, m->pool_ctl[p].name, WEIR_NAME_MAX - 1)};

		for (int n = pools_next(m, p, -1); n >= 0; n = pools_next(m, p, n)) {
			w.n = n;
			w.name = build_text(b, m->backend_ctl[n].name, WEIR_NAME_MAX - 1);
			collect_backend(b, &w);
		}
	}
}

/* ---- the flow table --------------------------------------------------------------------------- */

static void count_states(const struct pools_mem *m, __u64 by_state[WEIR_FLOW_STATES])
{
	for (__u32 i = 0; i < m->ctl->flow_buckets; i++) {
		for (int w = 0; w < WEIR_BUCKET_WORDS; w++) {
			__u64 word = __atomic_load_n(&m->flows[i].word[w], __ATOMIC_RELAXED);

			if (word)
				by_state[weir_flow_state(word) % WEIR_FLOW_STATES]++;
		}
	}
}

/* Some states of the table are one word to people. */
static void collect_flows(struct build *b)
{
	__u64 counted[WEIR_FLOW_STATES] = {};
	const __u64 *n = counted;

	if (b->agent && b->agent->flows)
		n = b->agent->flows->by_state;
	else
		count_states(dp_pools(b->dp), counted);
	for (unsigned s = WEIR_FLOW_SYN; s < WEIR_FLOW_STATES; s++) {
		__u64 sum = 0;
		bool told = false;

		for (unsigned t = WEIR_FLOW_SYN; t < WEIR_FLOW_STATES; t++) {
			if (strcmp(flow_state_name(t), flow_state_name(s)))
				continue;
			sum += n[t];
			told |= t < s;
		}
		if (!told)
			build_add(b, FAMILY_FLOWS, sum, "state", flow_state_name(s), NULL);
	}
	build_add(b, FAMILY_FLOWS_CAPACITY, (double)b->ctl->flow_buckets * WEIR_BUCKET_WORDS, NULL);
	build_add(b, FAMILY_FLOW_DRIFT, b->ctl->drift, NULL);
}

void collect_traffic(struct build *b)
{
	struct services *v = calloc(1, sizeof(*v));

	if (!v) {
		b->err = b->err ?: -ENOMEM;
		return;
	}
	read_services(b, v);
	collect_reasons(b, v);
	collect_hits(b, v);
	collect_latencies(b, v);
	collect_pools(b);
	if (next_pool(dp_pools(b->dp), -1) >= 0)
		collect_flows(b);
	free(v);
}
