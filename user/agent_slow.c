// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Records hold a flow's latest request only, and are many: they are looked at when the histograms say that some
 * request was slow. A flow's number of requests tells which one was logged already.
 */
#include "agent_slow.h"

#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "filter.h"
#include "journal.h"
#include "latency.h"
#include "out.h"

#define LINES_MAX 10   /* a second */
#define SEEN_SLOTS 8192
#define LATE_NS	   200000000ULL /* what is older than the last look by more was there then */

static const unsigned paths[] = { WEIR_LAT_MISS, WEIR_LAT_REQUEST, WEIR_LAT_REQUEST_ACKED };
#define PATHS (sizeof(paths) / sizeof(paths[0]))

struct seen {
	__u64 hash;
	__u32 n; /* of its requests, when it was logged */
};

struct slow {
	bool first; /* what is slow now was so before */
	__u64 counted; /* slow requests, in the histograms */
	__u64 slow_ns;
	__u64 looked_ns;
	struct seen seen[SEEN_SLOTS]; /* by hash; a flow that is pushed out is logged once more at worst */

	struct dataplane *dp;
	__u64 flows; /* at this look */
};

struct slow *slow_new(void)
{
	struct slow *s = calloc(1, sizeof(*s));

	if (s)
		slow_begin(s);
	return s;
}

void slow_free(struct slow *s)
{
	free(s);
}

void slow_begin(struct slow *s)
{
	memset(s, 0, sizeof(*s));
	s->first = true;
}

static __u64 count_slow(struct dataplane *dp, __u64 slow_ns)
{
	const struct weir_ctl *ctl = dp_ctl(dp);
	struct weir_histogram h;
	__u64 n = 0;

	for (unsigned svc = 0; svc < WEIR_SERVICES_MAX; svc++) {
		for (unsigned p = 0; *ctl->services[svc].name && p < PATHS; p++) {
			if (latency_of_service(dp_maps(dp), svc, paths[p], &h))
				continue;
			for (unsigned i = weir_lat_bucket(slow_ns); i < WEIR_LAT_BUCKETS; i++)
				n += h.n[i];
		}
	}
	return n;
}

static void tell(const struct slow *s, const struct latency_flow *f)
{
	const struct pools_mem *m = dp_pools(s->dp);
	bool steered = backend_known(m, f->rec.backend);
	const char *backend = steered ? backend_name(m, f->rec.backend) : "", *to = steered ? " to " : "";
	const char *service = f->flow.svc < WEIR_SERVICES_MAX ? dp_ctl(s->dp)->services[f->flow.svc].name : "";
	char client[80], usec[16];
	const struct say_field fields[] = {
		{ "WEIR_SERVICE", service }, { "WEIR_BACKEND", backend },   { "WEIR_CLIENT", client },
		{ "WEIR_LATENCY_USEC", usec }, { NULL, NULL },
	};

	flow_client_port(&f->flow, client, sizeof(client));
	snprintf(usec, sizeof(usec), "%u", f->rec.request.latest);
	say_with(LOG_NOTICE, fields, "slow: service %.31s, a request of %s%s%s took %s", service, client, to,
		 backend, human_duration(f->rec.request.latest * 1000ULL));
}

static int on_flow(const struct latency_flow *f, void *arg)
{
	struct slow *s = arg;
	struct seen *seen = &s->seen[(f->rec.hash >> 20) % SEEN_SLOTS];
	/* Idle is the client, which may have waited for all that time. */
	__u64 age = LATE_NS + (monotonic_ns() - s->looked_ns) + f->rec.request.latest * 1000ULL;

	if (f->rec.request.latest * 1000ULL < s->slow_ns || f->flow.idle_ns > age)
		return 0;
	if (seen->hash == f->rec.hash && seen->n == f->rec.request.n)
		return 0;
	*seen = (struct seen){ f->rec.hash, f->rec.request.n };
	if (s->first)
		return 0;
	if (s->flows++ < LINES_MAX)
		tell(s, f);
	return 0;
}

__u64 slow_look(struct slow *s, struct dataplane *dp, __u64 slow_ns)
{
	__u64 now = monotonic_ns(), n;

	if (slow_ns == WEIR_NEVER || !latency_on(dp_maps(dp))) {
		slow_begin(s);
		return 0;
	}
	n = count_slow(dp, slow_ns);
	s->flows = 0;
	if (s->slow_ns != slow_ns)
		s->first = true;
	if (s->first || n != s->counted) {
		s->slow_ns = slow_ns;
		s->dp = dp;
		latency_flows(dp_maps(dp), on_flow, s);
	}
	s->first = false;
	s->counted = n;
	s->looked_ns = now;
	if (s->flows > LINES_MAX)
		say(LOG_NOTICE, "slow: and %llu more", s->flows - LINES_MAX);
	return s->flows;
}
