// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * libcurl says which sockets and which time it waits for; sd-event waits. A request goes to the address
 * given and nowhere else: no redirects, no proxies of the environment, no names looked up.
 */
#include "http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lazy_lib.h"

#define BODY_MAX    (64 << 10) /* more of a reply is not waited for */
#define HEADERS_MAX (64 << 10)

#define CURL_FUNCTIONS(X) \
	X(curl_easy_cleanup) X(curl_easy_getinfo) X(curl_easy_init) X(curl_easy_setopt) \
	X(curl_easy_strerror) X(curl_global_init) X(curl_multi_add_handle) X(curl_multi_assign) \
	X(curl_multi_cleanup) X(curl_multi_info_read) X(curl_multi_init) X(curl_multi_remove_handle) \
	X(curl_multi_setopt) X(curl_multi_socket_action) X(curl_slist_append) X(curl_slist_free_all)
LAZY_LIB(libcurl, "libcurl.so.4", "libcurl4", CURL_FUNCTIONS);

/* The header checks types by macros that call the name which they stand for; in here that is the pointer's. */
#define easy_setopt(curl, option, value) ({ \
	typeof(curl_easy_setopt) *curl_easy_setopt = sym_curl_easy_setopt; \
	curl_easy_setopt(curl, option, value); })
#define easy_getinfo(curl, info, to) ({ \
	typeof(curl_easy_getinfo) *curl_easy_getinfo = sym_curl_easy_getinfo; \
	curl_easy_getinfo(curl, info, to); })

struct http {
	sd_event *event;
	sd_event_source *timer;
	CURLM *multi;
};

struct http_get {
	struct http *http;
	CURL *curl;
	struct curl_slist *headers, *connect_to;
	unsigned status_min, status_max;
	size_t header_len, body_len;
	char error[CURL_ERROR_SIZE];
	int (*on_body)(const void *data, size_t len, void *arg);
	http_done_fn done;
	void *arg;
};

/* ---- what came of it -------------------------------------------------------------------------- */

static bool was_cut(const struct http_get *g, CURLcode code)
{
	return code == CURLE_WRITE_ERROR && g->body_len > BODY_MAX;
}

static void tell(struct http_get *g, CURLcode code)
{
	curl_off_t first_us = 0;
	long status = 0;
	char why[CURL_ERROR_SIZE + 32];

	easy_getinfo(g->curl, CURLINFO_RESPONSE_CODE, &status);
	easy_getinfo(g->curl, CURLINFO_STARTTRANSFER_TIME_T, &first_us);
	if (g->header_len > HEADERS_MAX)
		snprintf(why, sizeof(why), "http: the headers are longer than 64 KiB");
	else if (code && !was_cut(g, code))
		snprintf(why, sizeof(why), "http: %s", *g->error ? g->error : sym_curl_easy_strerror(code));
	else if (status < g->status_min || status > g->status_max)
		snprintf(why, sizeof(why), "http: status %ld", status);
	else
		*why = 0;
	g->done(*why ? why : NULL, first_us * 1000ULL, g->arg);
}

static void finish_those_done(struct http *h)
{
	CURLMsg *msg;
	int left;

	while ((msg = sym_curl_multi_info_read(h->multi, &left))) {
		struct http_get *g;

		if (msg->msg != CURLMSG_DONE)
			continue;
		easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &g);
		tell(g, msg->data.result);
	}
}

/* ---- libcurl's waiting ------------------------------------------------------------------------ */

static void act(struct http *h, curl_socket_t fd, int what)
{
	int running;

	sym_curl_multi_socket_action(h->multi, fd, what, &running);
	finish_those_done(h);
}

static int on_socket(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	int what = 0;

	if (revents & (EPOLLIN | EPOLLHUP))
		what |= CURL_CSELECT_IN;
	if (revents & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (revents & EPOLLERR)
		what |= CURL_CSELECT_ERR;
	act(arg, fd, what);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
	return 0;
}

static int want_socket(CURL *curl, curl_socket_t fd, int what, void *arg, void *source)
{
	sd_event_source *s = source;
	struct http *h = arg;
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);

	if (what == CURL_POLL_REMOVE)
		s = sd_event_source_disable_unref(s);
	else if (s)
		sd_event_source_set_io_events(s, events);
	else if (sd_event_add_io(h->event, &s, fd, events, on_socket, h))
		return -1;
	sym_curl_multi_assign(h->multi, fd, s);
	return 0;
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
	struct http *h = arg;

	if (ms < 0)
		return sd_event_source_set_enabled(h->timer, SD_EVENT_OFF) ? -1 : 0;
	if (sd_event_source_set_time_relative(h->timer, ms * 1000ULL))
		return -1;
	return sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT) ? -1 : 0;
}

/* ---- life ------------------------------------------------------------------------------------- */

int http_load(char *why, size_t len)
{
	return lazy_load(&libcurl, why, len);
}

void http_free(struct http *h)
{
	if (!h)
		return;
	if (h->multi)
		sym_curl_multi_cleanup(h->multi);
	sd_event_source_disable_unref(h->timer);
	sd_event_unref(h->event);
	free(h);
}

int http_new(struct http **out, sd_event *event)
{
	struct http *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return -ENOMEM;
	h->event = sd_event_ref(event);
	err = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, h);
	if (err < 0) {
		http_free(h);
		return err;
	}
	sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
	*out = h;
	return 0;
}

/* With the first request: who makes none needs no libcurl. */
static int begin(struct http *h)
{
	char why[256];
	int err;

	if (h->multi)
		return 0;
	err = http_load(why, sizeof(why));
	if (err)
		return err;
	if (!sym_curl_global_init(CURL_GLOBAL_DEFAULT))
		h->multi = sym_curl_multi_init();
	if (!h->multi)
		return -ENOMEM;
	sym_curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	sym_curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	sym_curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	sym_curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	return 0;
}

void http_stop(struct http_get *g)
{
	if (!g)
		return;
	sym_curl_multi_remove_handle(g->http->multi, g->curl);
	sym_curl_easy_cleanup(g->curl);
	sym_curl_slist_free_all(g->headers);
	sym_curl_slist_free_all(g->connect_to);
	free(g);
}

/* ---- one request ------------------------------------------------------------------------------ */

/* A child that a check runs shall not have it. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t take_header(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_get *g = arg;

	g->header_len += size * n;
	return g->header_len > HEADERS_MAX ? 0 : size * n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_get *g = arg;

	if (g->on_body)
		return g->on_body(bytes, size * n, g->arg) ? 0 : size * n;
	g->body_len += size * n;
	return g->body_len > BODY_MAX ? 0 : size * n;
}

/* "10.0.0.1", "[fd00::1]" */
static void address_text(const struct config_vip *at, char *text, size_t len)
{
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(at->family == 6 ? AF_INET6 : AF_INET, &at->addr, ip, sizeof(ip));
	snprintf(text, len, at->family == 6 ? "[%s]" : "%s", ip);
}

/* The host alone: without the port that a Host header may have. */
static int host_len(const char *host)
{
	return *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
}

/* The URL has the name, for TLS; where it is found is said apart. */
static int set_target(struct http_get *g, const struct http_ask *ask)
{
	char ip[INET6_ADDRSTRLEN + 2], text[512];
	unsigned port = ntohs(ask->at->port);
	int len;

	address_text(ask->at, ip, sizeof(ip));
	snprintf(text, sizeof(text), "::%s:%u", ip, port);
	g->connect_to = sym_curl_slist_append(NULL, text);
	len = snprintf(text, sizeof(text), "http%s://%.*s:%u/", ask->tls ? "s" : "",
		       ask->host ? host_len(ask->host) : (int)sizeof(ip), ask->host ?: ip, port);
	if (len >= (int)sizeof(text))
		return -ENAMETOOLONG;
	if (easy_setopt(g->curl, CURLOPT_URL, text))
		return -ENOMEM;
	if (ask->host) {
		if (snprintf(text, sizeof(text), "Host: %s", ask->host) >= (int)sizeof(text))
			return -ENAMETOOLONG;
		g->headers = sym_curl_slist_append(NULL, text);
	}
	return g->connect_to && (g->headers || !ask->host) ? 0 : -ENOMEM;
}

static void set_options(struct http_get *g, const struct http_ask *ask)
{
	CURL *c = g->curl;

	easy_setopt(c, CURLOPT_CONNECT_TO, g->connect_to);
	easy_setopt(c, CURLOPT_HTTPHEADER, g->headers);
	easy_setopt(c, CURLOPT_REQUEST_TARGET, ask->path);
	easy_setopt(c, CURLOPT_USERAGENT, "weir");
	easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	easy_setopt(c, CURLOPT_PROXY, "");
	easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
	easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
	easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
	easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
	easy_setopt(c, CURLOPT_BUFFERSIZE, 16384L);
	easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
	easy_setopt(c, CURLOPT_HEADERDATA, g);
	easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
	easy_setopt(c, CURLOPT_WRITEDATA, g);
	easy_setopt(c, CURLOPT_ERRORBUFFER, g->error);
	easy_setopt(c, CURLOPT_PRIVATE, g);
}

int http_start(struct http *h, const struct http_ask *ask, http_done_fn done, void *arg, struct http_get **out)
{
	struct http_get *g;
	int err = begin(h);

	if (err)
		return err;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	*g = (struct http_get){
		.http = h,
		.curl = sym_curl_easy_init(),
		.status_min = ask->status_min,
		.status_max = ask->status_max,
		.on_body = ask->on_body,
		.done = done,
		.arg = arg,
	};
	err = g->curl ? set_target(g, ask) : -ENOMEM;
	if (!err) {
		set_options(g, ask);
		err = sym_curl_multi_add_handle(h->multi, g->curl) ? -ENOMEM : 0;
	}
	if (err) {
		http_stop(g);
		return err;
	}
	*out = g;
	return 0;
}
