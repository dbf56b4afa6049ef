/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which flows are meant: "backend=b1 state=open idle>5m". All words must hold; each may be there once. */
#ifndef WEIR_FILTER_H
#define WEIR_FILTER_H

#include "flows.h"

struct filter {
	const char *backend, *pool, *service; /* names, not yet looked for; NULL: any */
	const bool *backends;                 /* by number: which are meant; NULL: all. The caller's to set */
	int svc;                              /* number of `service`; -1: any. The caller's to set */
	bool by_client;
	struct weir_net client; /* of IPv6 only the last word counts */
	int client_family;
	__be16 port;      /* of the client; 0: any */
	unsigned states;  /* bits 1 << WEIR_FLOW_*; 0: any */
	unsigned family;  /* 4, 6; 0: any */
	unsigned proto;   /* IPPROTO_*; 0: any */
	__u64 idle_above; /* ns; 0: any */
	__u64 idle_below; /* ns; 0: any */
};

void filter_init(struct filter *f);
/* Takes one word, which must live as long as f. 0 or -EINVAL, with a sentence in `why`. */
int filter_add(struct filter *f, const char *word, char *why, size_t len);
/* Takes a command's arguments, `what` being the command. 0, or EXIT_USAGE after it was told. */
int filter_read(struct filter *f, const char *what, int argc, char **argv);
/* Looks for its names, and marks the backends that are meant in `backends`, WEIR_BACKENDS_MAX long and all false.
 * 0, or the exit status after it was told. */
struct session;
int filter_find(struct filter *f, const struct session *s, bool *backends);
bool filter_match(const struct filter *f, const struct flow_seen *flow);

/* "open", "half-open", "closing", "closed", "udp", "found" (in its middle); "unknown" of others. */
const char *flow_state_name(unsigned state);
/* "10.7.0.2"; of IPv6 "*:1234:5678", since no more is known. */
const char *flow_client_text(const struct flow_seen *flow, char *text, size_t len);
/* "10.7.0.2:443", "[*:1234:5678]:443". */
const char *flow_client_port(const struct flow_seen *flow, char *text, size_t len);

#endif
