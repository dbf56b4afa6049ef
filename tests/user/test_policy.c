/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Runs of policies, their limits and their lives, with a filler that keeps what it is asked until it is told what
 * became of it, a hot set that holds as many keys as wanted, and a peer in the same loop.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policy_parts.h"
#include "test.h"
#include "weir/reason.h"

/* ---- what policies stand on ------------------------------------------------------------------- */

#define ASKS_MAX 4096

static struct {
	char key[WEIR_KEY_MAX + 1];
	fill_fn fn;
	void *arg;
} asks[ASKS_MAX];
static unsigned nasks, refused;
static int ask_error;
static enum fill_why asked_why;
static struct filler_counts counts;
static __u64 held;
static struct policies *all;
static sd_event *event;

int fill_ask(struct filler *f, __u8 svc, const char *key, size_t len, enum fill_why why, fill_fn fn, void *arg)
{
	if (ask_error) {
		refused++;
		return ask_error;
	}
	CHECK(nasks < ASKS_MAX);
	snprintf(asks[nasks].key, sizeof(asks[0].key), "%.*s", (int)len, key);
	asks[nasks].fn = fn;
	asks[nasks++].arg = arg;
	asked_why = why;
	return 0;
}

const struct filler_counts *filler_counts(const struct filler *f)
{
	return &counts;
}

const char *fill_result_name(enum fill_result r)
{
	static const char *const names[] = {
#define NAME(sym, name) name,
		FILL_RESULTS(NAME)
	};

	return names[r];
}

__u32 promote_known(const struct promote *p, unsigned svc)
{
	return 0;
}

void promote_hottest(struct promote *p, unsigned svc, sketch_fn fn, void *arg)
{
}

void bus_on_event(struct bus *b, bus_event_fn fn, void *arg)
{
	CHECK(fn == policy_event);
}

int dp_service(struct dataplane *dp, const char *name)
{
	return strcmp(name, "sessions") ? -ENOENT : 2;
}

int dp_counts(struct dataplane *dp, unsigned svc, struct weir_count *c)
{
	return -EIO;
}

const struct hotset_mem *dp_hotset_mem(struct dataplane *dp)
{
	static const struct hotset_mem none;

	return &none;
}

int hotset_open(struct hotset **out, const struct hotset_mem *mem)
{
	*out = NULL;
	return 0;
}

int hotset_close(struct hotset *h)
{
	return 0;
}

int hotset_each(struct hotset *h, int (*fn)(const struct weir_slot *, void *), void *arg)
{
	struct weir_slot slot = { .svc = 2 };
	int r = 0;

	for (__u64 i = 0; i < held && !r; i++)
		r = fn(&slot, arg);
	return r;
}

bool hotset_key_ok(const char *key, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)key[i] <= ' ' || key[i] == 0x7f)
			return false;
	}
	return len && len <= WEIR_KEY_MAX;
}

__u64 hot_hash(__u64 seed, __u8 svc, const char *key, size_t len)
{
	__u64 h = seed;

	for (size_t i = 0; i < len; i++)
		h = h * 31 + (unsigned char)key[i];
	return h;
}

__u64 monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

const char *addr_text(const struct weir_addr *a, int family, __be16 port)
{
	return "127.0.0.1:1";
}

const char *const policy_on_names[] = { "start", "surge", "peer", "event", NULL };

/* ---- words ------------------------------------------------------------------------------------ */

static struct config_service services[] = { { .name = "sessions" }, { .name = "elsewhere" } };
static struct config_policy policy;
static struct config config = { .services = services, .nservices = 2, .policies = &policy, .npolicies = 1 };
static struct dataplane *const dp = (void *)8, *const other = (void *)16;
static char list_path[] = "/tmp/weir-test-XXXXXX";

static void write_list(const char *text)
{
	FILE *f = fopen(list_path, "w");

	fputs(text, f);
	fclose(f);
}

static void run_for(unsigned ms)
{
	__u64 end = monotonic_ns() + ms * 1000000ULL;

	while (monotonic_ns() < end)
		sd_event_run(event, 5000);
}

static void tell(enum fill_result r)
{
	unsigned n = nasks;

	nasks = 0;
	for (unsigned i = 0; i < n; i++)
		asks[i].fn(2, asks[i].key, strlen(asks[i].key), r, asks[i].arg);
}

static void begin(const char *sentence, enum policy_on on)
{
	test_begin(sentence);
	nasks = refused = ask_error = held = 0;
	policy = (struct config_policy){ .name = "p", .on = on, .max = 100, .rate = 10000, .top = 10,
					 .cooldown_ns = 1000000000, .list = list_path };
	if (on == POLICY_EVENT || on == POLICY_PEER)
		policy.list = NULL;
	if (on == POLICY_EVENT) {
		policy.event = "login";
		policy.template = "user:{id}";
	}
	CHECK_INT(policies_new(&all, event, NULL, NULL, NULL), 0);
}

static void end(void)
{
	policies_free(all);
	all = NULL;
	tell(FILL_GONE);
	test_end();
}

static void begin_policies(struct dataplane *with)
{
	CHECK_INT(policies_begin(all, with, &config), 0);
}

static struct policy *first(void)
{
	return all->by[0];
}

static void send_event(int svc, const char *name, const char *field, const char *value, size_t len)
{
	struct bus_field fields[] = { { "event", name, 5, strlen(name) }, { field, value, strlen(field), len } };
	struct bus_event e = { .svc = svc, .name = name, .fields = fields, .nfields = 2 };

	policy_event(&e, all);
}

static void login(const char *id)
{
	send_event(-1, "login", "id", id, strlen(id));
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_start(void)
{
	struct policy_counts c;

	write_list("a\nb\nnot a key\nc\n");
	begin("on start: the list, when nothing is held; its results are counted", POLICY_START);
	begin_policies(dp);
	run_for(120);
	CHECK_INT(nasks, 3);
	CHECK_INT(asked_why, FILL_START);
	CHECK_STR(asks[2].key, "c");
	CHECK(first()->active);
	tell(FILL_ADDED);
	run_for(120);
	CHECK(!first()->active && first()->runs[0].by[FILL_ADDED] == 3 && first()->runs[0].left_out == 1);
	CHECK(policies_counts(all, 0, &c) && c.runs_ok == 1 && c.by[FILL_ADDED] == 3 && c.left_out == 1 && c.last);
	CHECK(!policies_counts(all, 1, &c));
	begin_policies(dp);
	run_for(60);
	CHECK_INT(nasks, 0);
	end();

	begin("  not when a key is held", POLICY_START);
	held = 1;
	begin_policies(dp);
	run_for(120);
	CHECK_INT(nasks, 0);
	end();

	begin("  no more than max, at the rate", POLICY_START);
	policy.max = 2;
	policy.rate = 10;
	begin_policies(dp);
	run_for(80);
	CHECK_INT(nasks, 0);
	run_for(80);
	CHECK_INT(nasks, 1);
	run_for(100);
	CHECK_INT(nasks, 2);
	run_for(150);
	CHECK_INT(nasks, 2);
	CHECK_INT(first()->run.left_out, 2);
	end();

	begin("  a list that is not there is an error, and the run has ended", POLICY_START);
	policy.list = "/nonexistent/\xff list";
	begin_policies(dp);
	run_for(80);
	CHECK(!first()->active && first()->runs_failed == 1);
	CHECK_STR(first()->runs[0].error, "/nonexistent/\\xff list: No such file or directory");
	json_t *doc = policies_json(all);
	CHECK_INT(json_array_size(json_object_get(json_array_get(doc, 0), "runs")), 1);
	json_decref(doc);
	end();

	begin("  of a service that is not loaded there is no policy", POLICY_START);
	policy.service = 1;
	begin_policies(dp);
	CHECK_INT(all->n, 0);
	end();
}

static void test_filler(void)
{
	write_list("a\nb\nc\n");
	begin("a filler that is full is asked again, and nothing is left out", POLICY_START);
	ask_error = -EAGAIN;
	begin_policies(dp);
	run_for(120);
	CHECK(refused > 0 && first()->active && !first()->run.left_out);
	ask_error = 0;
	run_for(120);
	CHECK_INT(nasks, 3);
	end();

	begin("one that refuses leaves keys out", POLICY_START);
	ask_error = -ENODEV;
	begin_policies(dp);
	run_for(120);
	CHECK(!first()->active && first()->runs[0].left_out == 3);
	end();
}

static void test_lives(void)
{
	write_list("a\nb\nc\n");
	begin("a policy that did not change goes on through a reload", POLICY_START);
	begin_policies(dp);
	run_for(80);
	struct policy *was = first();
	begin_policies(dp);
	CHECK(first() == was && was->pending == 3);
	end();

	begin("one that did, or went, lives until the filler has told of its keys", POLICY_START);
	begin_policies(dp);
	run_for(80);
	was = first();
	policy.rate = 9999;
	held = 1;
	begin_policies(dp);
	CHECK(first() != was && was->gone);
	config.npolicies = 0;
	begin_policies(dp);
	CHECK_INT(all->n, 0);
	config.npolicies = 1;
	CHECK_INT(nasks, 3);
	tell(FILL_ADDED); /* it is freed with the last */
	end();

	begin("when the data plane goes, the run ends; with the next one there is another", POLICY_START);
	policy.rate = 40;
	begin_policies(dp);
	run_for(60);
	CHECK(nasks && nasks < 3);
	policies_stop(all);
	tell(FILL_GONE);
	begin_policies(other);
	CHECK(first()->runs_failed == 1 && first()->active);
	run_for(160);
	CHECK_INT(nasks, 3);
	end();

	begin("what is under way when all is freed is told of afterwards", POLICY_START);
	begin_policies(dp);
	run_for(80);
	CHECK_INT(nasks, 3);
	end();
}

static void test_events(void)
{
	char longest[WEIR_KEY_MAX + 1];

	begin("an event: the template with its fields; not another event, service, or one without the field",
	      POLICY_EVENT);
	begin_policies(dp);
	send_event(-1, "logout", "id", "1", 1);
	send_event(1, "login", "id", "2", 1);
	send_event(-1, "login", "nr", "3", 1);
	CHECK(!first()->active);
	send_event(2, "login", "id", "4", 1);
	login("5");
	run_for(80);
	CHECK_INT(nasks, 2);
	CHECK_STR(asks[0].key, "user:4");
	CHECK_STR(asks[1].key, "user:5");
	CHECK_INT(asked_why, FILL_EVENT);
	end();

	begin("the same within the cooldown is not warmed again, later it is", POLICY_EVENT);
	policy.cooldown_ns = 150000000;
	begin_policies(dp);
	login("1");
	login("1");
	run_for(80);
	CHECK_INT(nasks, 1);
	tell(FILL_ADDED);
	run_for(200);
	login("1");
	run_for(80);
	CHECK_INT(nasks, 1);
	CHECK_INT(first()->runs_ok, 1);
	end();

	begin("values that give no keys are left out; too long ones are not for us", POLICY_EVENT);
	begin_policies(dp);
	memset(longest, 'x', sizeof(longest));
	send_event(-1, "login", "id", longest, WEIR_KEY_MAX - 5);
	send_event(-1, "login", "id", longest, WEIR_KEY_MAX - 4);
	send_event(-1, "login", "id", "a b", 3);
	send_event(-1, "login", "id", "a\0b", 3);
	run_for(80);
	CHECK_INT(nasks, 1);
	CHECK_INT(strlen(asks[0].key), WEIR_KEY_MAX);
	CHECK_INT(first()->left_out, 2);
	end();

	write_list("name\ncart\n");
	begin("a list: a key for each line, as the file is now; up to max, however many events come", POLICY_EVENT);
	policy.list = list_path;
	policy.template = "*:{id}:*";
	policy.max = 5;
	begin_policies(dp);
	login("1");
	login("2");
	write_list("other\nlines\nhere\n");
	login("3");
	for (int i = 0; i < 100; i++)
		login("4");
	run_for(80);
	CHECK_INT(nasks, 5);
	CHECK_STR(asks[1].key, "cart:1:cart");
	CHECK_STR(asks[4].key, "other:3:other");
	CHECK_INT(first()->run.left_out, 102);
	end();

	write_list("name\nlonger-than-one\n");
	begin("with a list, an event that spoils every key begins no run, and no run has more lines than max",
	      POLICY_EVENT);
	policy.list = list_path;
	policy.template = "{id}*";
	policy.max = 3;
	begin_policies(dp);
	login("a b");
	send_event(-1, "login", "id", longest, WEIR_KEY_MAX);
	CHECK(!first()->active);
	CHECK_INT(first()->left_out, 2);
	send_event(-1, "login", "id", longest, WEIR_KEY_MAX - 1);
	CHECK_INT(first()->run.left_out, 2);
	send_event(-1, "login", "id", longest, WEIR_KEY_MAX - 2);
	CHECK_INT(first()->run.left_out, 4);
	CHECK_INT(first()->run.lines, 3);
	login("1");
	CHECK_INT(first()->run.left_out, 5);
	CHECK_INT(first()->keys.n, 0);
	end();
}

/* ---- a peer ----------------------------------------------------------------------------------- */

static const char *reply; /* NULL: it says nothing */
static int listener, said_nothing = -1;
static char request[4096];

static int on_request(sd_event_source *s, int c, uint32_t revents, void *arg)
{
	ssize_t n = read(c, request, sizeof(request) - 1);

	sd_event_source_disable_unref(s);
	request[n > 0 ? n : 0] = 0;
	if (!reply) {
		said_nothing = c;
		return 0;
	}
	for (size_t at = 0, len = strlen(reply); at < len; at += n) {
		n = send(c, reply + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			break;
	}
	close(c);
	return 0;
}

static int on_accept(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	sd_event_source *io = NULL;

	return sd_event_add_io(event, &io, accept(fd, NULL, NULL), EPOLLIN, on_request, NULL);
}

static void begin_peer(const char *sentence, const char *says)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	begin(sentence, POLICY_PEER);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!bind(listener, (void *)&at, len) && !listen(listener, 5) &&
	      !getsockname(listener, (void *)&at, &len));
	policy.peer.family = 4;
	policy.peer.port = at.sin_port;
	memcpy(&policy.peer.addr, &at.sin_addr, 4);
	reply = says;
}

/* Until the request has come to its end. */
static void pull(void)
{
	sd_event_source *s = NULL;

	sd_event_add_io(event, &s, listener, EPOLLIN, on_accept, NULL);
	begin_policies(dp);
	for (int i = 0; i < 100 && all->n && (first()->get || first()->active) && !nasks && said_nothing < 0; i++)
		run_for(20);
	sd_event_source_disable_unref(s);
}

static void end_peer(void)
{
	close(listener);
	if (said_nothing >= 0)
		close(said_nothing);
	said_nothing = -1;
	end();
}

#define OK "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

static void test_peer(void)
{
	static char big[1 << 20];
	__u64 now;

	begin_peer("a peer's keys are asked for, of top no more", OK "{\"key\":\"a\"}\n{\"key\":\"b c\"}\nrubbish\n"
		   "{\"key\":\"d\",\"value\":\"evil\",\"ttl\":\"never\"}\n{\"key\":\"e\"}\n");
	policy.top = 2;
	pull();
	CHECK_INT(nasks, 2);
	CHECK_STR(asks[1].key, "d");
	CHECK_INT(asked_why, FILL_PEER);
	CHECK(!strncmp(request, "GET /api/v1/cache/hot?service=sessions&top=2 HTTP/1.1\r\n", 55));
	CHECK(!first()->due_ns && !*first()->run.error && first()->run.left_out == 3);
	end_peer();

	begin_peer("one that holds nothing is no failure", OK);
	pull();
	CHECK(first()->runs_ok == 1 && !first()->due_ns);
	end_peer();

	begin_peer("one that is not well is asked again after a minute", "HTTP/1.1 503 No\r\nConnection: close\r\n\r\n");
	pull();
	now = monotonic_ns();
	CHECK(first()->runs_failed == 1 && strstr(first()->runs[0].error, "status 503"));
	CHECK(first()->due_ns > now + 50000000000 && first()->due_ns < now + 61000000000);
	end_peer();

	begin_peer("so is one that says too much, of which nothing is taken", big);
	memset(big, 'x', sizeof(big) - 1);
	memcpy(big, OK "{\"key\":\"a\"}\n", strlen(OK "{\"key\":\"a\"}\n"));
	pull();
	CHECK(!nasks && first()->runs_failed == 1 && first()->due_ns && !first()->rest);
	CHECK(strstr(first()->runs[0].error, "longer than 10 keys may be"));
	end_peer();

	begin_peer("so is one whose reply is no list", big);
	memcpy(big, OK, strlen(OK));
	for (size_t at = strlen(OK); at < strlen(OK) + 2002; at += 2)
		memcpy(big + at, "x\n", 3);
	pull();
	CHECK(!nasks && first()->runs[0].left_out == 1001 && strstr(first()->runs[0].error, "is no list of keys"));
	end_peer();

	begin_peer("  or is packed, and could be unpacked without end", OK "\x1f\x8b\x08\n{\"key\":\"a\"}\n");
	pull();
	CHECK(!nasks && first()->due_ns && strstr(first()->runs[0].error, "is no list of keys"));
	end_peer();

	begin_peer("lines come in pieces, and the last need not end", big);
	size_t at = sprintf(big, OK);
	for (int i = 0; i < 4000; i++)
		at += sprintf(big + at, "%s{\"key\":\"user:%d\"}", i ? "\n" : "", i);
	policy.top = 4000;
	policy.max = 4000;
	policy.rate = 100000;
	pull();
	run_for(120);
	CHECK_INT(nasks, 4000);
	CHECK_STR(asks[3999].key, "user:3999");
	CHECK(!first()->run.left_out && !*first()->run.error);
	end_peer();

	begin_peer("one that says nothing is left after ten seconds, and asked again", NULL);
	pull();
	CHECK(first()->get);
	policy_peer_second(first(), monotonic_ns() + 9000000000);
	CHECK(first()->get);
	policy_peer_second(first(), monotonic_ns() + 11000000000);
	CHECK(!first()->get && first()->due_ns);
	run_for(80);
	CHECK(first()->runs_failed == 1 && strstr(first()->runs[0].error, "within 10 s"));
	end_peer();

	begin_peer("one that is asked when all ends", NULL);
	pull();
	CHECK(first()->get);
	policies_stop(all);
	CHECK(!first()->get);
	begin_policies(other);
	CHECK(first()->get && first()->runs_failed == 1);
	end_peer();

	begin_peer("with half of top held none is asked, until it is time", NULL);
	held = 6;
	policy.every_ns = 60000000000;
	begin_policies(dp);
	CHECK(!first()->get && first()->due_ns);
	policy_peer_second(first(), monotonic_ns());
	CHECK(!first()->get);
	policy_peer_second(first(), first()->due_ns);
	CHECK(first()->get);
	end_peer();
}

int main(void)
{
	CHECK(sd_event_new(&event) >= 0);
	close(mkstemp(list_path));
	test_start();
	test_filler();
	test_lives();
	test_events();
	test_peer();
	unlink(list_path);
	sd_event_unref(event);
	return test_done();
}
