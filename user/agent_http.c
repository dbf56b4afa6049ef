// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * libmicrohttpd has no listening socket and no thread: connections are accepted here, so that one that cannot be
 * (no descriptor is left) does not make the loop spin, and the loop runs it when its epoll descriptor or its
 * time-out says so. It is loaded by an agent that listens, not with the program.
 */
#include "agent_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_listen.h"
#include "agent_post.h"
#include "agent_work.h"
#include "hotset.h"
#include "lazy_lib.h"
#include "out.h"

#define CONNECTIONS_MAX 64
#define OF_ONE_ADDRESS	32
#define IDLE_S		10 /* without a byte */
#define REQUEST_S	30 /* from its begin to the reply's last byte */
#define REQUEST_BYTES	(16 << 10) /* line, header and query, and what libmicrohttpd needs beside them */
#define ACCEPTS_AT_ONCE 16
#define FDS_OF_OTHERS	96 /* that are the rest's when there are few */

#define MHD_FUNCTIONS(X) \
	X(MHD_add_connection) X(MHD_add_response_header) X(MHD_create_response_from_buffer) \
	X(MHD_destroy_response) X(MHD_get_connection_info) X(MHD_get_connection_values_n) \
	X(MHD_get_daemon_info) X(MHD_get_timeout) X(MHD_lookup_connection_value) X(MHD_queue_response) \
	X(MHD_run) X(MHD_start_daemon) X(MHD_stop_daemon)
LAZY_LIB(libmicrohttpd, "libmicrohttpd.so.12", "libmicrohttpd12", MHD_FUNCTIONS);

struct connection {
	int fd; /* -1: the place is free */
	__u64 since_ns; /* its request's begin, or the end of the one before */
	bool asked;	/* a whole request is there, and not yet answered */
};

struct agent_http {
	struct agent_listen at;
	sd_event_source *accepts[AGENT_LISTEN_MAX], *io, *timer, *second;
	bool paused; /* no descriptor was left: nothing is accepted until the next second */
	struct MHD_Daemon *daemon;
	struct agent_view *view;
	struct connection connections[CONNECTIONS_MAX];
	struct agent_work work;
};

/* ---- replies ---------------------------------------------------------------------------------- */

static enum MHD_Result reply(struct agent_http *h, struct MHD_Connection *c, int status,
			     struct MHD_Response *response)
{
	h->view->metrics.http_requests++;
	h->view->metrics.http_errors += status >= 400 && status != 503;
	return sym_MHD_queue_response(c, status, response);
}

/* Takes the body. */
static struct MHD_Response *response_of(struct page *p)
{
	struct MHD_Response *r = sym_MHD_create_response_from_buffer(p->len, p->body, MHD_RESPMEM_MUST_FREE);

	if (!r) {
		free(p->body);
		return NULL;
	}
	sym_MHD_add_response_header(r, "Content-Type", p->type);
	sym_MHD_add_response_header(r, "Cache-Control", "no-store");
	sym_MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (p->status == 405)
		sym_MHD_add_response_header(r, "Allow", p->allow ?: "GET, HEAD");
	if (p->status == 401)
		sym_MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
	return r;
}

static enum MHD_Result send_page(struct agent_http *h, struct MHD_Connection *c, struct page *p)
{
	struct MHD_Response *r = response_of(p);
	enum MHD_Result result;

	if (!r)
		return MHD_NO;
	result = reply(h, c, p->status, r);
	sym_MHD_destroy_response(r);
	return result;
}

static enum MHD_Result refuse(struct agent_http *h, struct MHD_Connection *c, const struct page_ask *ask,
			      int status, const char *why)
{
	struct page p = {};

	return page_error(ask, &p, status, "%s", why) ? MHD_NO : send_page(h, c, &p);
}

/* So many are asked for at once, or so much, that the agent's own work would suffer. */
static enum MHD_Result too_busy(struct agent_http *h, struct MHD_Connection *c, const struct page_ask *ask)
{
	struct page p = {};
	struct MHD_Response *r;
	enum MHD_Result result;

	if (page_error(ask, &p, 503, "busy: too much is asked for; try again in a second"))
		return MHD_NO;
	r = response_of(&p);
	if (!r)
		return MHD_NO;
	sym_MHD_add_response_header(r, "Retry-After", "1");
	h->view->metrics.http_errors++;
	result = reply(h, c, 503, r);
	sym_MHD_destroy_response(r);
	return result;
}

/* Takes the key. */
static enum MHD_Result make_page(struct agent_http *h, struct MHD_Connection *c, const struct page_ask *ask,
				 char *key)
{
	__u64 begin = monotonic_ns(), took;
	struct MHD_Response *r;
	struct page p;

	if (h->view->dp)
		agent_extend_lease(dp_ctl(h->view->dp));
	if (page_make(h->view, ask, &p)) {
		free(key);
		return MHD_NO;
	}
	took = monotonic_ns() - begin;
	work_done(&h->work, took, p.len);
	if (!p.keep) {
		free(key);
		return send_page(h, c, &p);
	}
	r = response_of(&p);
	if (!r) {
		free(key);
		return MHD_NO;
	}
	work_keep(&h->work, key, r, p.status, took);
	return reply(h, c, p.status, r);
}

/* ---- requests --------------------------------------------------------------------------------- */

struct reading {
	struct page_ask *ask;
	const char *fault;
};

static enum MHD_Result on_param(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len,
				const char *value, size_t value_len)
{
	struct reading *r = arg;

	if ((name && strlen(name) != name_len) || (value && strlen(value) != value_len)) {
		r->fault = "the query holds a NUL";
		return MHD_NO;
	}
	if (r->ask->nparams == PAGE_PARAMS_MAX) {
		r->fault = "the query has too many parameters";
		return MHD_NO;
	}
	r->ask->params[r->ask->nparams++] = (struct page_param){ name ?: "", value ?: "" };
	return MHD_YES;
}

/* Why it cannot be answered, or NULL. */
static const char *read_request(struct MHD_Connection *c, struct page_ask *ask)
{
	const char *length = sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
	struct reading r = { .ask = ask };

	if ((length && strcmp(length, "0")) ||
	    sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding"))
		return "a request is to have no body";
	sym_MHD_get_connection_values_n(c, MHD_GET_ARGUMENT_KIND, on_param, &r);
	return r.fault;
}

/* What is asked, in one line: the same for the same reply. NULL: no memory. */
static char *key_of(const struct page_ask *ask)
{
	size_t len;
	char *key;
	FILE *f = open_memstream(&key, &len);

	if (!f)
		return NULL;
	fprintf(f, "%s %s", ask->path, strstr(ask->accept, "openmetrics") ? "openmetrics" : "");
	for (unsigned i = 0; i < ask->nparams; i++)
		fprintf(f, "\n%s=%s", ask->params[i].name, ask->params[i].value);
	return fclose(f) ? NULL : key;
}

static enum MHD_Result answer(struct agent_http *h, struct MHD_Connection *c, const struct page_ask *ask)
{
	char *key = key_of(ask);
	const struct kept *k = key ? work_find(&h->work, key) : NULL;

	if (k) {
		free(key);
		return reply(h, c, k->status, k->response);
	}
	if (key && work_allowed(&h->work))
		return make_page(h, c, ask, key);
	free(key);
	return too_busy(h, c, ask);
}

static void mark_asked(struct MHD_Connection *c, bool asked)
{
	const union MHD_ConnectionInfo *info = sym_MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *k = info ? info->socket_context : NULL;

	if (!k)
		return;
	k->asked = asked;
	if (!asked)
		k->since_ns = monotonic_ns();
}

/* Who asks is known before the body comes, and refused then. */
static enum MHD_Result begin_post(struct agent_http *h, struct MHD_Connection *c, const struct page_ask *ask,
				  void **state)
{
	const union MHD_ConnectionInfo *info = sym_MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct post_head head = {
		.type = sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Type"),
		.authorization = sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
		.origin = sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Origin"),
		.length = sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length"),
		.from = info ? info->client_addr : NULL,
	};
	struct post *p = NULL;
	const char *why;
	int status = post_begin(&p, h->view, &head, &why);

	if (status)
		return refuse(h, c, ask, status, why);
	*state = p;
	return MHD_YES;
}

/* It is paid for by others: who asks for pages waits, invalidations do not. */
static enum MHD_Result end_post(struct agent_http *h, struct MHD_Connection *c, struct post *p)
{
	__u64 begin = monotonic_ns();
	struct page page;

	if (h->view->dp)
		agent_extend_lease(dp_ctl(h->view->dp));
	if (post_end(p, h->view, &page))
		return MHD_NO;
	work_done(&h->work, monotonic_ns() - begin, POST_BYTES_MAX);
	return send_page(h, c, &page);
}

static enum MHD_Result on_post(struct agent_http *h, struct MHD_Connection *c, const struct page_ask *ask,
			       const char *data, size_t *data_len, void **state)
{
	if (!*state)
		return begin_post(h, c, ask, state);
	if (!*data_len)
		return end_post(h, c, *state);
	post_data(*state, data, *data_len);
	*data_len = 0;
	return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *data, size_t *data_len, void **state)
{
	struct agent_http *h = arg;
	struct page_ask ask = {
		.path = url,
		.accept = sym_MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept") ?: "",
	};
	const char *fault;

	if (!strcmp(method, "POST") && !strcmp(url, POST_PATH)) {
		if (*state && !*data_len)
			mark_asked(c, true);
		return on_post(h, c, &ask, data, data_len, state);
	}
	mark_asked(c, true);
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return refuse(h, c, &ask, 405, "only GET and HEAD are answered");
	fault = read_request(c, &ask);
	if (fault)
		return refuse(h, c, &ask, 400, fault);
	if (*state) /* all of it is there: what is answered before ends the connection */
		return answer(h, c, &ask);
	*state = h;
	return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode how)
{
	struct agent_http *h = arg;

	if (*state && *state != h)
		post_free(*state);
	*state = NULL;
	mark_asked(c, false);
}

/* ---- connections ------------------------------------------------------------------------------ */

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info = sym_MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct agent_http *h = arg;
	struct connection *k = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (k)
			k->fd = -1;
		return;
	}
	for (unsigned i = 0; i < CONNECTIONS_MAX && info; i++) {
		if (h->connections[i].fd >= 0)
			continue;
		h->connections[i] = (struct connection){ info->connect_fd, monotonic_ns(), false };
		*context = &h->connections[i];
		return;
	}
}

/* libmicrohttpd's own limit is of silence only: who sends a byte now and then would stay for good. */
static void end_slow_ones(struct agent_http *h)
{
	__u64 now = monotonic_ns();

	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *k = &h->connections[i];

		if (k->fd >= 0 && now - k->since_ns > REQUEST_S * 1000000000ULL)
			shutdown(k->fd, SHUT_RDWR);
	}
}

/* The other side has sent its last, and that was no request. libmicrohttpd does not see an end that comes with the
 * last bytes, and would wait for its time-out. */
static void end_closed_ones(struct agent_http *h)
{
	char byte;

	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *k = &h->connections[i];

		if (k->fd >= 0 && !k->asked && !recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT))
			shutdown(k->fd, SHUT_RDWR);
	}
}

static void run_daemon(struct agent_http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;

	sym_MHD_run(h->daemon);
	if (sym_MHD_get_timeout(h->daemon, &ms) != MHD_YES) {
		sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time_relative(h->timer, ms * 1000);
	sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static int on_ready(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	run_daemon(arg);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	run_daemon(arg);
	return 0;
}

static void pause_accepts(struct agent_http *h, bool pause)
{
	h->paused = pause;
	for (unsigned i = 0; i < h->at.n; i++)
		sd_event_source_set_enabled(h->accepts[i], pause ? SD_EVENT_OFF : SD_EVENT_ON);
}

static int on_second(sd_event_source *s, uint64_t usec, void *arg)
{
	struct agent_http *h = arg;

	end_slow_ones(h);
	end_closed_ones(h);
	work_forget_old(&h->work);
	if (h->paused)
		pause_accepts(h, false);
	sd_event_source_set_time_relative(s, 1000000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static bool went_away(int err)
{
	return err == ECONNABORTED || err == EINTR || err == EPROTO || err == ENETDOWN || err == EHOSTUNREACH ||
	       err == ENETUNREACH || err == EPERM;
}

static int on_accept(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct agent_http *h = arg;
	struct sockaddr_storage from;

	end_closed_ones(h);
	run_daemon(h);
	for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		socklen_t len = sizeof(from);
		int c = accept4(fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (c < 0 && went_away(errno))
			continue;
		if (c < 0 && errno != EAGAIN)
			pause_accepts(h, true);
		if (c < 0)
			break;
		sym_MHD_add_connection(h->daemon, c, (struct sockaddr *)&from, len); /* closes it when it fails */
	}
	run_daemon(h);
	return 0;
}

/* ---- begin and end ---------------------------------------------------------------------------- */

/* Checks come first where descriptors are few. */
static unsigned connections_max(void)
{
	struct rlimit limit;
	rlim_t n = getrlimit(RLIMIT_NOFILE, &limit) ? 256 : limit.rlim_cur;

	n = n > FDS_OF_OTHERS + 4 ? (n - FDS_OF_OTHERS) / 4 : 1;
	return n < CONNECTIONS_MAX ? n : CONNECTIONS_MAX;
}

static int start_daemon(struct agent_http *h)
{
	struct MHD_OptionItem limits[] = {
		{ MHD_OPTION_CONNECTION_LIMIT, connections_max(), NULL },
		{ MHD_OPTION_PER_IP_CONNECTION_LIMIT, OF_ONE_ADDRESS, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_BYTES, NULL },
		{ MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	h->daemon = sym_MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, h,
					 MHD_OPTION_ARRAY, limits, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
					 MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
	return h->daemon ? 0 : -ENOMEM;
}

int agent_http_start(struct agent_http *h, sd_event *event, struct agent_view *v)
{
	const union MHD_DaemonInfo *info;
	int err = start_daemon(h);

	if (err)
		return err;
	h->view = v;
	work_begin(&h->work, sym_MHD_destroy_response);
	info = sym_MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	err = sd_event_add_io(event, &h->io, info->epoll_fd, EPOLLIN, on_ready, h);
	if (err >= 0)
		err = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, h);
	if (err >= 0)
		err = sd_event_add_time_relative(event, &h->second, CLOCK_MONOTONIC, 1000000, 100000, on_second,
						 h);
	for (unsigned i = 0; i < h->at.n && err >= 0; i++) {
		err = sd_event_add_io(event, &h->accepts[i], h->at.fds[i], EPOLLIN, on_accept, h);
		if (err >= 0) /* the rest of the loop comes first */
			sd_event_source_set_priority(h->accepts[i], SD_EVENT_PRIORITY_IDLE);
	}
	if (err >= 0)
		err = sd_event_source_set_priority(h->io, SD_EVENT_PRIORITY_IDLE);
	return err < 0 ? err : 0;
}

void agent_http_free(struct agent_http *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->at.n; i++)
		sd_event_source_disable_unref(h->accepts[i]);
	agent_listen_end(&h->at);
	sd_event_source_disable_unref(h->io);
	sd_event_source_disable_unref(h->timer);
	sd_event_source_disable_unref(h->second);
	if (h->daemon)
		sym_MHD_stop_daemon(h->daemon);
	work_end(&h->work);
	free(h);
}

const char *agent_http_where(const struct agent_http *h)
{
	return h->at.where;
}

static int load_library(void)
{
	char why[256];
	int err = lazy_load(&libmicrohttpd, why, sizeof(why));

	if (err)
		fail(EXIT_FAILED, "run: HTTP %s (agent.http, or --http, with none does without)", why);
	return err;
}

int agent_http_new(struct agent_http **out, const struct config_vip *at)
{
	struct agent_http *h = calloc(1, sizeof(*h));
	int err;

	*out = NULL;
	if (!h) {
		fail(EXIT_FAILED, "run: out of memory");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		h->connections[i].fd = -1;
	err = agent_listen(&h->at, at);
	if (!err && h->at.n)
		err = load_library();
	if (!err && h->at.n)
		*out = h;
	else
		agent_http_free(h);
	return err;
}
