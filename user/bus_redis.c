// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* hiredis frees its context by itself when a connection ends: `ac` is NULL from then on, by `cleanup`. */
#include "bus_redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/async.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lazy_lib.h"

#define BATCH	     "500" /* entries in a reply */
#define BATCH_N	     500
#define BLOCK_MS     "1000"
#define PASSWORD_MAX 512

#define REDIS_FUNCTIONS(X) \
	X(redisAsyncConnect) X(redisAsyncFree) X(redisAsyncHandleRead) X(redisAsyncHandleWrite) \
	X(redisAsyncSetConnectCallback) X(redisAsyncSetDisconnectCallback) X(redisAsyncCommandArgv)
LAZY_LIB(hiredis, "libhiredis.so.0.14", "libhiredis0.14", REDIS_FUNCTIONS);

struct redis_link {
	redisAsyncContext *ac; /* NULL: ended */
	sd_event *event;
	sd_event_source *io;
	uint32_t events;
	const struct redis_ops *ops; /* NULL: nobody listens any more */
	void *arg;
	char stream[CONFIG_BUS_STREAM_MAX];
	char db[12];
	__u64 heard_ns, asked_ns;
	unsigned depth; /* of our functions that hiredis is inside of: it is freed after the last */
	bool failed;	/* to connect: then hiredis frees its context, and nobody else may */
};

int redis_library(char *why, size_t len)
{
	return lazy_load(&hiredis, why, len);
}

int stream_id_parse(struct stream_id *id, const char *text)
{
	char *end;

	errno = 0;
	id->ms = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '-' || end[1] < '0' || end[1] > '9')
		return -EINVAL;
	id->seq = strtoull(end + 1, &end, 10);
	return *end || errno ? -EINVAL : 0;
}

/* ---- the loop --------------------------------------------------------------------------------- */

static void listen_for(struct redis_link *l, uint32_t add, uint32_t del)
{
	l->events = (l->events | add) & ~del;
	if (l->io)
		sd_event_source_set_io_events(l->io, l->events);
}

static void add_read(void *arg)
{
	listen_for(arg, EPOLLIN, 0);
}

static void del_read(void *arg)
{
	listen_for(arg, 0, EPOLLIN);
}

static void add_write(void *arg)
{
	listen_for(arg, EPOLLOUT, 0);
}

static void del_write(void *arg)
{
	listen_for(arg, 0, EPOLLOUT);
}

static void cleanup(void *arg)
{
	struct redis_link *l = arg;

	l->io = sd_event_source_disable_unref(l->io);
	l->ac = NULL;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void enter(struct redis_link *l)
{
	l->depth++;
}

static void leave(struct redis_link *l)
{
	if (!--l->depth && !l->ops)
		free(l);
}

void redis_close(struct redis_link *l)
{
	if (!l)
		return;
	enter(l);
	l->ops = NULL;
	if (l->ac && !l->failed)
		sym_redisAsyncFree(l->ac); /* at once, or when its callback has returned */
	if (l->ac) {
		l->ac->ev.data = NULL;
		l->ac->ev.cleanup = NULL;
		l->ac->data = NULL;
		l->io = sd_event_source_disable_unref(l->io);
	}
	leave(l);
}

static void end(struct redis_link *l, const char *why)
{
	const struct redis_ops *ops = l->ops;

	if (ops)
		ops->down(why, l->arg);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	struct redis_link *l = arg;

	enter(l);
	if (events & EPOLLIN) /* a reply may take long to arrive: that is not silence */
		l->heard_ns = monotonic_ns();
	if (l->ac && events & ~EPOLLOUT)
		sym_redisAsyncHandleRead(l->ac);
	if (l->ac && l->ops && events & EPOLLOUT)
		sym_redisAsyncHandleWrite(l->ac);
	leave(l);
	return 0;
}

static void on_connected(const redisAsyncContext *ac, int status)
{
	struct redis_link *l = ac->data;

	if (!l || !l->ops)
		return;
	enter(l);
	l->failed = status != REDIS_OK;
	if (l->failed)
		end(l, ac->c.errstr);
	else
		l->heard_ns = monotonic_ns();
	leave(l);
}

static void on_disconnected(const redisAsyncContext *ac, int status)
{
	struct redis_link *l = ac->data;

	if (!l || !l->ops)
		return;
	enter(l);
	end(l, status == REDIS_OK || !*ac->errstr ? "it ended the connection" : ac->errstr);
	leave(l);
}

/* ---- commands --------------------------------------------------------------------------------- */

static void wait_for_entries(struct redis_link *l);
static void look(struct redis_link *l);

static void send_words(struct redis_link *l, redisCallbackFn *fn, int n, const char **words)
{
	if (l->ac)
		sym_redisAsyncCommandArgv(l->ac, fn, l, n, words, NULL);
}

#define SEND(l, fn, ...)                                                                \
	do {                                                                            \
		const char *words[] = { __VA_ARGS__ };                                  \
                                                                                        \
		send_words(l, fn, sizeof(words) / sizeof(*words), words);               \
	} while (0)

/* Whether somebody still listens, and it is a reply: else what is to be done was done. */
static bool is_heard(struct redis_link *l, const redisReply *r)
{
	if (!l->ops || !r)
		return false;
	l->heard_ns = monotonic_ns();
	if (r->type != REDIS_REPLY_ERROR)
		return true;
	end(l, r->str);
	return false;
}

/* A callback's frame: `l` stays until its end. */
#define CALLBACK(name)                                                                  \
	static void name##_heard(struct redis_link *l, const redisReply *r);            \
	static void name(redisAsyncContext *ac, void *reply, void *arg)                 \
	{                                                                               \
		struct redis_link *l = ac->data;                                        \
                                                                                        \
		if (!l)                                                                 \
			return;                                                         \
		enter(l);                                                               \
		if (is_heard(l, reply))                                                 \
			name##_heard(l, reply);                                         \
		leave(l);                                                               \
	}                                                                               \
	static void name##_heard(struct redis_link *l, const redisReply *r)

CALLBACK(on_ok)
{
}

static bool is_text(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;
}

static const redisReply *element(const redisReply *r, size_t i)
{
	return r && r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

/* [id, [name, value, ..]]. False: the stream is not what it should be. */
static bool give_entry(struct redis_link *l, const redisReply *r)
{
	const redisReply *id = element(r, 0), *pairs = element(r, 1);
	struct bus_field fields[64], *f = fields;
	struct stream_id at;
	size_t n;

	if (!id || !is_text(id) || stream_id_parse(&at, id->str))
		return false;
	n = pairs && pairs->type == REDIS_REPLY_ARRAY ? pairs->elements / 2 : 0; /* deleted meanwhile: none */
	if (n > sizeof(fields) / sizeof(*fields))
		f = calloc(n, sizeof(*f));
	if (!f)
		return false;
	for (size_t i = 0; i < n; i++) {
		const redisReply *name = pairs->element[2 * i], *value = pairs->element[2 * i + 1];

		f[i] = (struct bus_field){ name->str ?: "", value->str ?: "", name->str ? name->len : 0,
					   value->str ? value->len : 0 };
	}
	l->ops->entry(at, f, n, l->arg);
	if (f != fields)
		free(f);
	return true;
}

/* The reply to XREAD of one stream: nil, or [[stream, [entry ..]]]. How many; -1: something else. */
static int give_entries(struct redis_link *l, const redisReply *r)
{
	const redisReply *entries;

	if (r && r->type == REDIS_REPLY_NIL)
		return 0;
	entries = element(element(r, 0), 1);
	if (!entries || entries->type != REDIS_REPLY_ARRAY)
		return -1;
	for (size_t i = 0; i < entries->elements && l->ops; i++) {
		if (!give_entry(l, entries->element[i]))
			return -1;
	}
	return entries->elements;
}

/* ---- what the stream says of itself ----------------------------------------------------------- */

/* [name, value, ..]: the value of a name. */
static const redisReply *find(const redisReply *r, const char *name)
{
	for (size_t i = 0; element(r, i + 1); i += 2) {
		if (is_text(r->element[i]) && !strcmp(r->element[i]->str, name))
			return r->element[i + 1];
	}
	return NULL;
}

/* NULL, or what is wrong. */
static const char *read_info(const redisReply *r, struct redis_look *to)
{
	const redisReply *last = find(r, "last-generated-id"), *added = find(r, "entries-added");

	if (r && r->type == REDIS_REPLY_ERROR && strstr(r->str, "no such key"))
		return NULL; /* nobody has added to it yet */
	if (r && r->type == REDIS_REPLY_ERROR)
		return r->str;
	if (!added || added->type != REDIS_REPLY_INTEGER)
		return "XINFO STREAM tells no entries-added: Redis 7.0 or later is needed";
	if (!last || !is_text(last) || stream_id_parse(&to->last, last->str))
		return "XINFO STREAM tells no last-generated-id";
	to->added = added->integer;
	return NULL;
}

/* A replica whose link is down knows nothing of what is added meanwhile, and all of the above would agree. */
static const char *read_role(const redisReply *r)
{
	if (r && r->type == REDIS_REPLY_ERROR)
		return r->str;
	if (!r || !r->str || (!strstr(r->str, "role:master") && !strstr(r->str, "master_link_status:up")))
		return "it is a replica without a link to its master";
	return NULL;
}

CALLBACK(on_looked)
{
	struct redis_look look_ = { .asked_ns = l->asked_ns };
	const redisReply *entries = element(r, 0);
	const char *fault;
	int n;

	if (!entries || r->elements != 3) {
		end(l, "a transaction was given up");
		return;
	}
	fault = entries->type == REDIS_REPLY_ERROR ? entries->str : read_info(r->element[1], &look_);
	fault = fault ?: read_role(r->element[2]);
	if (fault) {
		end(l, fault);
		return;
	}
	n = give_entries(l, entries);
	if (n < 0)
		end(l, "the reply to XREAD cannot be read");
	if (n < 0 || !l->ops)
		return;
	look_.whole = n < BATCH_N;
	l->ops->looked(&look_, l->arg);
	if (!l->ops)
		return;
	if (look_.whole)
		wait_for_entries(l);
	else
		look(l);
}

static const char *position(const struct redis_link *l, char text[48])
{
	const struct stream_id *id = l->ops->position(l->arg);

	if (id)
		snprintf(text, 48, "%llu-%llu", id->ms, id->seq);
	return id ? text : "$";
}

static void look(struct redis_link *l)
{
	char from[48];
	const char *id = position(l, from);

	l->asked_ns = monotonic_ns();
	SEND(l, on_ok, "MULTI");
	SEND(l, on_ok, "XREAD", "COUNT", BATCH, "STREAMS", l->stream, id);
	SEND(l, on_ok, "XINFO", "STREAM", l->stream);
	SEND(l, on_ok, "INFO", "replication");
	SEND(l, on_looked, "EXEC");
}

CALLBACK(on_entries)
{
	if (give_entries(l, r) < 0)
		end(l, "the reply to XREAD cannot be read");
	else if (l->ops)
		look(l);
}

static void wait_for_entries(struct redis_link *l)
{
	char from[48];
	const char *id = position(l, from);

	SEND(l, on_entries, "XREAD", "COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS", l->stream, id);
}

/* ---- the beginning ---------------------------------------------------------------------------- */

CALLBACK(on_selected)
{
	l->ops->up(l->arg);
	if (l->ops)
		look(l);
}

/* Its first line. 0 or -errno. */
static int read_password(const char *path, char password[PASSWORD_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, password, PASSWORD_MAX - 1);
	int err = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	password[n] = 0;
	password[strcspn(password, "\r\n")] = 0;
	return *password ? 0 : -ENODATA;
}

static int log_in(struct redis_link *l, const struct config_bus *c, char why[160])
{
	char password[PASSWORD_MAX];
	int err;

	if (!c->password_file)
		return 0;
	err = read_password(c->password_file, password);
	if (err) {
		snprintf(why, 160, "bus.password_file %.80s: %s", c->password_file,
			 err == -ENODATA ? "its first line is empty" : strerror(-err));
		return err;
	}
	if (c->user)
		SEND(l, on_ok, "AUTH", c->user, password);
	else
		SEND(l, on_ok, "AUTH", password);
	explicit_bzero(password, sizeof(password));
	return 0;
}

static int attach(struct redis_link *l, const struct config_bus *c, char why[160])
{
	char address[INET6_ADDRSTRLEN];
	int err;

	inet_ntop(c->redis.family == 6 ? AF_INET6 : AF_INET, &c->redis.addr, address, sizeof(address));
	l->ac = sym_redisAsyncConnect(address, ntohs(c->redis.port));
	if (l->ac) { /* first: also one that has failed is freed, and is not to be touched after that */
		l->ac->ev.data = l;
		l->ac->ev.cleanup = cleanup;
	}
	if (!l->ac || l->ac->err) {
		snprintf(why, 160, "%.120s", l->ac ? l->ac->errstr : "out of memory");
		return -EIO;
	}
	fcntl(l->ac->c.fd, F_SETFD, FD_CLOEXEC);
	l->ac->data = l;
	err = sd_event_add_io(l->event, &l->io, l->ac->c.fd, 0, on_io, l);
	if (err < 0) {
		snprintf(why, 160, "%s", strerror(-err));
		return err;
	}
	l->ac->ev.addRead = add_read;
	l->ac->ev.delRead = del_read;
	l->ac->ev.addWrite = add_write;
	l->ac->ev.delWrite = del_write;
	sym_redisAsyncSetConnectCallback(l->ac, on_connected);
	sym_redisAsyncSetDisconnectCallback(l->ac, on_disconnected);
	return log_in(l, c, why);
}

int redis_connect(struct redis_link **out, sd_event *event, const struct config_bus *c,
		  const struct redis_ops *ops, void *arg, char why[160])
{
	struct redis_link *l = calloc(1, sizeof(*l));
	int err = -ENOMEM;

	snprintf(why, 160, "out of memory");
	if (!l)
		return err;
	l->event = event;
	l->ops = ops;
	l->arg = arg;
	l->heard_ns = monotonic_ns();
	memcpy(l->stream, c->stream, sizeof(l->stream));
	snprintf(l->db, sizeof(l->db), "%u", c->db);
	err = redis_library(why, 160);
	if (!err)
		err = attach(l, c, why);
	if (err) {
		redis_close(l);
		return err;
	}
	SEND(l, on_selected, "SELECT", l->db);
	*out = l;
	return 0;
}

__u64 redis_heard_ns(const struct redis_link *l)
{
	return l->heard_ns;
}
