/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * GET requests by libcurl, inside an sd-event loop: of health checks, which keep nothing of a reply, and of policies,
 * which read it. libcurl is loaded when a configuration has such, not with the program.
 */
#ifndef WEIR_HTTP_H
#define WEIR_HTTP_H

#include <systemd/sd-event.h>

#include "config.h"

struct http;	 /* all requests of one loop */
struct http_get; /* one of them */

struct http_ask {
	const struct config_vip *at; /* who is asked, whatever the host is called */
	bool tls;		     /* any certificate will do */
	const char *host;	     /* of the Host header, and of TLS's SNI; NULL: the address */
	const char *path;
	unsigned status_min, status_max;
	/* Is given the body as it comes, with done's arg; non-zero ends the request. NULL: it is of no interest. */
	int (*on_body)(const void *data, size_t len, void *arg);
};
/* Once per request that was not stopped. why: NULL when all is as asked for; first_ns: until the first byte. */
typedef void (*http_done_fn)(const char *why, __u64 first_ns, void *arg);

/* Whether requests can be made. Else -errno, and why in words: "needs the library of ...". */
int http_load(char *why, size_t len);
int http_new(struct http **out, sd_event *event);
void http_free(struct http *h); /* no request is under way any more */
/* No time limit: stop it. 0 or -errno; then done is not called. */
int http_start(struct http *h, const struct http_ask *ask, http_done_fn done, void *arg, struct http_get **out);
/* Also frees one that is done; before it returns from done at the earliest. */
void http_stop(struct http_get *g);

#endif
