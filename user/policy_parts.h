/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of policies share. policy_run.c has keys fetched at the policy's rate; policy_peer.c, policy_event.c
 * and policy_traffic.c say when and which; policy_show.c tells of it; policy.c has their lives.
 */
#ifndef WEIR_POLICY_PARTS_H
#define WEIR_POLICY_PARTS_H

#include <time.h>

#include "http.h"
#include "policy.h"
#include "policy_keys.h"
#include "policy_surge.h"

#define POLICY_RUNS_KEPT 16
#define POLICY_SEEN	 64 /* events that are not to come again within the cooldown */

struct run {
	time_t began;
	__u64 began_ns, took_ns;
	__u32 asked;
	__u32 lines; /* of lists, that were put into the template */
	__u32 keys, left_out; /* over max, no keys, or events that came while there was no room for theirs */
	__u32 by[FILL_RESULT_COUNT];
	__u64 bytes; /* that the filler fetched meanwhile, for others, too */
	char from[160]; /* printable ASCII, as is the error */
	char error[256]; /* "": none */
};

struct policy {
	struct policies *of;
	struct config_policy c; /* texts are its own */
	char service[WEIR_NAME_MAX];
	__u8 svc;
	bool gone; /* its configuration is: freed when the filler has told of all */
	bool active;
	__u32 pending; /* at the filler */
	struct keys keys;
	size_t at; /* of the key that is asked for next */
	struct run run, runs[POLICY_RUNS_KEPT]; /* the present one; the latest first */
	__u32 nruns;
	__u64 runs_ok, runs_failed, by[FILL_RESULT_COUNT], left_out;
	double purse; /* keys that may be asked for now */
	__u64 last_ns; /* when a run began; 0: none did */
	struct keys_file file;
	/* of a peer */
	__u64 due_ns; /* 0: not again */
	struct http_get *get;
	struct keys found; /* in its reply so far, */
	char *rest; /* of which this is a line that has not ended */
	size_t rest_len, reply_len;
	/* of traffic */
	struct surge surge;
	__u64 lookups, counted_ns; /* 0: not counted yet */
	__u64 saved_ns;
	bool save_said;
	/* of events */
	struct { __u64 hash, at_ns; } seen[POLICY_SEEN];
};

struct policies {
	struct filler *filler;
	struct promote *promote;
	struct bus *bus;
	struct http *http;
	sd_event_source *step;
	struct dataplane *dp;
	struct policy *by[CONFIG_POLICIES_MAX];
	unsigned n;
};

/* ---- policy.c ---- */

void policy_free(struct policy *p);

/* ---- policy_run.c ---- */

/* False: one is under way. from: as reports say it. */
bool policy_run_begin(struct policy *p, const char *from);
void policy_run_end(struct policy *p);
void policy_run_failed(struct policy *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A key for the present run, or one left out: -EMSGSIZE, -ENOSPC; -ENOMEM. */
int policy_run_add(struct policy *p, const char *key, size_t len);
/* The policy's list, as it is now, in p->file. False: the run has failed. */
bool policy_run_list(struct policy *p);
/* An sd-event handler: asks for what the rates allow. */
int policy_step(sd_event_source *s, uint64_t usec, void *arg);
void policy_wake(struct policies *all);

/* ---- policy_peer.c ---- */

void policy_peer_ask(struct policy *p);
void policy_peer_second(struct policy *p, __u64 now);
/* What was asked for is of no interest any more. */
void policy_peer_stop(struct policy *p);

/* ---- policy_event.c ---- */

/* A bus_event_fn; arg: the policies. */
void policy_event(const struct bus_event *e, void *arg);

/* ---- policy_traffic.c ---- */

void policy_traffic_begin(struct policy *p);
void policy_traffic_second(struct policy *p, struct dataplane *dp, __u64 now);
void policy_traffic_save(struct policy *p);

#endif
