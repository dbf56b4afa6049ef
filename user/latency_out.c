/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "latency_out.h"

#define RING 16

int latency_must_be_on(const struct session *s)
{
	if (latency_on(dp_maps(s->dp)))
		return EXIT_OK;
	return fail(EXIT_FAILED, "%s: latencies are not measured: latency.flows is 0 in the configuration",
		    s->what);
}

/* ---- sampling --------------------------------------------------------------------------------- */

static __u64 of_units(__u32 units)
{
	return (__u64)units << WEIR_REC_TIME;
}

void print_sampling(const struct session *s)
{
	const struct weir_ctl *ctl = s->ctl;

	printf("sampled: ");
	if (ctl->rec_interval)
		printf("a request and a round trip of each flow at most every %s, %d in a clock tick and CPU",
		       human_latency(of_units(ctl->rec_interval)), WEIR_LAT_TICK);
	else
		printf("each request");
	printf("; hits one a clock tick and CPU;\n         %s of %s flow records are in use\n",
	       human_count(latency_records(dp_maps(s->dp))), human_count(ctl->flow_recs));
	printf("error:   quantiles are within %g%% of a measured value; the mean is exact\n",
	       LATENCY_ERROR * 100);
}

json_t *json_sampling(const struct session *s)
{
	const struct weir_ctl *ctl = s->ctl;

	return json_pack("{s:f, s:f, s:I, s:I, s:f}", "interval_seconds", of_units(ctl->rec_interval) / 1e9,
			 "timeout_seconds", of_units(ctl->rec_timeout) / 1e9, "flows",
			 (json_int_t)latency_records(dp_maps(s->dp)), "capacity", (json_int_t)ctl->flow_recs,
			 "quantile_error", LATENCY_ERROR);
}

/* ---- values ----------------------------------------------------------------------------------- */

const char *human_latency(__u64 ns)
{
	static char ring[RING][24];
	static unsigned at;

	return ns ? latency_text(ns, ring[at++ % RING], sizeof(ring[0])) : "-";
}

__u64 latency_mean(const struct weir_histogram *h)
{
	__u64 n = latency_count(h);

	return n ? h->sum_ns / n : 0;
}

static json_t *seconds(bool any, __u64 ns)
{
	return any ? json_real(ns / 1e9) : json_null();
}

json_t *json_histogram(const struct weir_histogram *h)
{
	__u64 n = latency_count(h);

	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "count", (json_int_t)n, "p50_seconds",
			 seconds(n, latency_quantile(h, 0.5)), "p95_seconds",
			 seconds(n, latency_quantile(h, 0.95)), "p99_seconds",
			 seconds(n, latency_quantile(h, 0.99)), "p999_seconds",
			 seconds(n, latency_quantile(h, 0.999)), "mean_seconds", seconds(n, latency_mean(h)),
			 "lost", (json_int_t)h->lost, "failed", (json_int_t)h->failed);
}

json_t *json_buckets(const struct weir_histogram *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < WEIR_LAT_BUCKETS; i++) {
		if (h->n[i])
			json_array_append_new(
				list, json_pack("[f, o, I]", weir_lat_bound(i) / 1e9,
						seconds(i < WEIR_LAT_BUCKETS - 1, weir_lat_bound(i + 1)),
						(json_int_t)h->n[i]));
	}
	return list;
}
