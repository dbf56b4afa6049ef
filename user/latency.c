/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "latency.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- paths ------------------------------------------------------------------------------------ */

static const struct {
	const char *name, *help;
} paths[WEIR_LAT_PATHS] = {
	[WEIR_LAT_HIT] = {"hit",
			  "lookups answered here: from the packet's arrival in the program to the answer"},
	[WEIR_LAT_MISS] =
		{"miss", "lookups over UDP that passed to this host's server: from the request to its reply; "
			 "both directions are seen"},
	[WEIR_LAT_REQUEST] = {"request",
			      "from a request's first byte to the first byte of the server's answer; both "
			      "directions are seen"},
	[WEIR_LAT_REQUEST_ACKED] =
		{"request_acked",
		 "from a request's first byte to the client's acknowledgement of the answer, the "
		 "client's network included; only the client's packets are seen (the server "
		 "answers it directly)"},
	[WEIR_LAT_CONNECT_SERVER] =
		{"connect_server",
		 "from SYN to SYN-ACK: a round trip to the server; both directions are seen"},
	[WEIR_LAT_CONNECT_CLIENT] =
		{"connect_client",
		 "from SYN-ACK to the client's ACK: a round trip to the client; both directions "
		 "are seen"},
	[WEIR_LAT_CONNECT] = {"connect",
			      "from SYN to the client's ACK: round trips to server and client together; only "
			      "the client's packets are seen (the server answers it directly)"},
	[WEIR_LAT_RTT_SERVER] = {"rtt_server",
				 "round trip to the server: from a TCP time stamp of the client to its "
				 "echo; both directions are seen"},
	[WEIR_LAT_RTT_CLIENT] = {"rtt_client",
				 "round trip to the client: from a TCP time stamp of the server to its "
				 "echo; both directions are seen"},
};

const char *latency_path(unsigned path)
{
	return path < WEIR_LAT_PATHS ? paths[path].name : "unknown";
}

const char *latency_path_help(unsigned path)
{
	return path < WEIR_LAT_PATHS ? paths[path].help : "";
}

int latency_path_named(const char *name)
{
	for (int i = 0; i < WEIR_LAT_PATHS; i++) {
		if (!strcmp(name, paths[i].name))
			return i;
	}
	return -1;
}

/* ---- histograms ------------------------------------------------------------------------------- */

static const struct weir_ctl *ctl_of(const struct maps *m)
{
	return m->at[MAP_CTL];
}

bool latency_on(const struct maps *m)
{
	return ctl_of(m)->flow_recs != 0;
}

int latency_of_service(const struct maps *m, unsigned svc, unsigned path, struct weir_histogram *out)
{
	__u32 ncpu = ctl_of(m)->ncpu, at = svc * WEIR_LAT_PATHS + path;
	struct weir_histogram *each;
	int err = 0;

	memset(out, 0, sizeof(*out));
	if (!latency_on(m))
		return -ENODATA;
	if (svc >= WEIR_SERVICES_MAX || path >= WEIR_LAT_PATHS)
		return -EINVAL;
	each = calloc(ncpu, sizeof(*each));
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(m->fd[MAP_LATENCY], &at, each))
		err = -errno;
	for (__u32 i = 0; i < ncpu && !err; i++)
		latency_add(out, &each[i]);
	free(each);
	return err;
}

int latency_of_backend(const struct maps *m, unsigned backend, unsigned path, struct weir_histogram *out)
{
	const struct weir_histogram *all = m->pools.latency;

	memset(out, 0, sizeof(*out));
	if (!all)
		return -ENODATA;
	if (backend >= WEIR_BACKENDS_MAX || path >= WEIR_BACKEND_PATHS)
		return -EINVAL;
	*out = all[backend * WEIR_BACKEND_PATHS + path];
	return 0;
}

/* ---- arithmetic ------------------------------------------------------------------------------- */

__u64 latency_count(const struct weir_histogram *h)
{
	__u64 n = 0;

	for (unsigned i = 0; i < WEIR_LAT_BUCKETS; i++)
		n += h->n[i];
	return n;
}

static __u64 middle(unsigned bucket)
{
	__u64 low = weir_lat_bound(bucket);

	return bucket == WEIR_LAT_BUCKETS - 1 ? low : low + (weir_lat_bound(bucket + 1) - low) / 2;
}

__u64 latency_quantile(const struct weir_histogram *h, double q)
{
	__u64 count = latency_count(h), seen = 0, rank;
	unsigned i = 0;

	if (!count)
		return 0;
	rank = ceil(q * count * (1 - 1e-12)); /* 0.07 * 100 is a little more than 7 */
	rank = rank < 1 ? 1 : rank > count ? count : rank;
	while (i < WEIR_LAT_BUCKETS - 1 && seen + h->n[i] < rank)
		seen += h->n[i++];
	return middle(i);
}

void latency_add(struct weir_histogram *a, const struct weir_histogram *b)
{
	a->sum_ns += b->sum_ns;
	a->lost += b->lost;
	a->failed += b->failed;
	for (unsigned i = 0; i < WEIR_LAT_BUCKETS; i++)
		a->n[i] += b->n[i];
}

/* What became less began anew meanwhile: all of it is since then. */
static void since(__u64 *a, __u64 earlier)
{
	*a -= earlier <= *a ? earlier : 0;
}

void latency_since(struct weir_histogram *a, const struct weir_histogram *earlier)
{
	since(&a->sum_ns, earlier->sum_ns);
	since(&a->lost, earlier->lost);
	since(&a->failed, earlier->failed);
	for (unsigned i = 0; i < WEIR_LAT_BUCKETS; i++)
		since(&a->n[i], earlier->n[i]);
}

const char *latency_text(__u64 ns, char *text, size_t len)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	double value = ns;
	unsigned u = 0;

	while (u < 3 && value >= 999.5) {
		value /= 1000;
		u++;
	}
	snprintf(text, len, "%.*f%s", !u || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, value, units[u]);
	return text;
}

/* ---- flow records ----------------------------------------------------------------------------- */

/* A copy of one flow's record: not of two, when another flow takes it over meanwhile. */
static bool read_rec(const struct weir_flow_rec *rec, struct weir_flow_rec *copy)
{
	for (int i = 0; i < 8; i++) {
		__u64 hash = __atomic_load_n(&rec->hash, __ATOMIC_ACQUIRE);

		if (!hash)
			return false;
		*copy = *rec;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (copy->hash == hash && __atomic_load_n(&rec->hash, __ATOMIC_RELAXED) == hash)
			return true;
	}
	return false;
}

/* Since then; a packet that came after `now` was read is no idle time. */
static __u64 ago(__u32 now, __u32 then)
{
	__u32 units = now - then;

	return units > ~0U - WEIR_REC_IDLE ? 0 : (__u64)units << WEIR_REC_TIME;
}

static unsigned flow_state(const struct latency_flow *f)
{
	switch (f->rec.state) {
	case WEIR_REC_SYN:
	case WEIR_REC_SYNACK:
		return WEIR_FLOW_SYN;
	case WEIR_REC_OVER:
		return WEIR_FLOW_CLOSED;
	}
	return f->flow.tcp ? WEIR_FLOW_TCP : WEIR_FLOW_UDP;
}

static void describe(struct latency_flow *f, __u32 now)
{
	flow_who(&f->flow, f->rec.info);
	f->flow.backend = f->rec.backend;
	f->flow.idle_ns = ago(now, f->rec.seen);
	f->flow.state = flow_state(f);
	f->age_ns = ago(now, f->rec.first);
}

/* A record stays until another flow takes it over. Those that the flow table would have forgotten are none. */
static bool forgotten(const struct weir_ctl *ctl, const struct latency_flow *f)
{
	__u64 limit = (__u64)ctl->idle_ticks[f->flow.state] << WEIR_TICK;

	return limit && f->flow.idle_ns > limit;
}

int latency_flows(const struct maps *m, int (*fn)(const struct latency_flow *f, void *arg), void *arg)
{
	const struct weir_ctl *ctl = ctl_of(m);
	const struct weir_flow_rec *recs = m->at[MAP_FLOW_RECS];
	__u32 now = monotonic_ns() >> WEIR_REC_TIME;
	struct latency_flow f;
	int stop = 0;

	for (__u32 i = 0; i < ctl->flow_recs && !stop; i++) {
		if (!read_rec(&recs[i], &f.rec))
			continue;
		describe(&f, now);
		if (!forgotten(ctl, &f))
			stop = fn(&f, arg);
	}
	return stop;
}

static int count_flow(const struct latency_flow *f, void *arg)
{
	++*(__u64 *)arg;
	return 0;
}

__u64 latency_records(const struct maps *m)
{
	__u64 n = 0;

	latency_flows(m, count_flow, &n);
	return n;
}
