/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's origin client, against origins inside the same loop that do as they are told, and a real
 * memcached. Each get has exactly one callback, whatever happens; what it got is noted by the number of the
 * get.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fake_origin.h"
#include "origin_parse.h"
#include "origins.h"

#define GETS_MAX 20000

static sd_event *event;

/* What each get was told. */
struct told {
	unsigned calls;
	enum origin_status status;
	size_t value_len;
	bool kept;
	char value[64];
	char why[160];
	struct origin_reply r;
};

static struct told told[GETS_MAX];
static unsigned answered;
static struct origins *again; /* asked from within a callback */

static void on_reply(const struct origin_reply *r, void *arg)
{
	struct told *t = arg;

	t->calls++;
	t->status = r->status;
	t->value_len = r->value_len;
	t->kept = r->value;
	t->r = *r;
	if (r->value)
		snprintf(t->value, sizeof(t->value), "%.*s", (int)(r->value_len < 60 ? r->value_len : 60),
			 (const char *)r->value);
	snprintf(t->why, sizeof(t->why), "%s", r->why ?: "");
	answered++;
	if (again) {
		struct origins *o = again;

		again = NULL;
		CHECK_INT(origins_get(o, "again", 5, on_reply, &told[GETS_MAX - 1]), 0);
	}
}

static void begin(const char *sentence)
{
	test_begin(sentence);
	memset(told, 0, sizeof(told));
	answered = 0;
	again = NULL;
}

static void ask(struct origins *o, unsigned i, const char *key)
{
	CHECK_INT(origins_get(o, key, strlen(key), on_reply, &told[i]), 0);
}

static void wait_answers(unsigned n)
{
	CHECK(run_until(event, &answered, n, 5000));
	run_for(event, 20);
	CHECK_INT(answered, n);
}

static struct origins *open_to(const char *a, const char *b, const struct origins_opts *opts)
{
	const char *const at[] = { a, b };
	struct origins *o = NULL;

	CHECK_INT(origins_new(&o, event, at, b ? 2 : 1, opts), 0);
	return o;
}

static const struct origins_opts quick = { .connect_ms = 200, .reply_ms = 150, .backoff_ms = 100 };

/* ---- replies ---------------------------------------------------------------------------------- */

static void test_replies(enum fake_manner manner, const char *sentence)
{
	struct fake f = { .manner = manner };
	struct origins *o;

	begin(sentence);
	fake_start(&f, event, "a");
	o = open_to(f.endpoint, NULL, NULL);
	ask(o, 0, "plain");
	ask(o, 1, "missing");
	ask(o, 2, "stale");
	ask(o, 3, "error");
	ask(o, 4, "ttl-1");
	ask(o, 5, "len0");
	ask(o, 6, "len1300");
	ask(o, 7, "len3000");
	ask(o, 8, "b64-key");
	ask(o, 9, "after");
	CHECK_INT(answered, 0); /* never from within */
	wait_answers(10);
	CHECK_STR(told[0].value, "a:plain");
	CHECK_INT(told[0].r.client_flags, 7);
	CHECK_INT(told[0].r.cas, 42);
	CHECK_INT(told[0].r.ttl_s, 100);
	CHECK_INT(told[1].status, ORIGIN_MISSING);
	CHECK_INT(told[2].status, ORIGIN_STALE);
	CHECK_INT(told[3].status, ORIGIN_ERROR);
	CHECK_STR(told[3].why, "CLIENT_ERROR no");
	CHECK_INT(told[4].r.ttl_s, -1);
	CHECK(told[5].kept && !told[5].value_len);
	CHECK(told[6].kept && told[6].value_len == 1300);
	CHECK(!told[7].kept && told[7].value_len == 3000 && told[7].status == ORIGIN_FOUND);
	CHECK_INT(told[8].r.key_b64, 1);
	CHECK_STR(told[9].value, "a:after");
	CHECK_INT(f.accepted, 1);
	CHECK_INT(origins_pending(o), 0);
	origins_free(o);
	fake_stop(&f);
	test_end();
}

static void test_many(void)
{
	struct fake f = {};
	struct origins_opts opts = { .queue = 10000 };
	struct origins *o;
	char key[32];
	unsigned wrong = 0;

	begin("10,000 gets at once: each has its own answer, over two connections, and no more are taken");
	fake_start(&f, event, "a");
	o = open_to(f.endpoint, NULL, &opts);
	for (unsigned i = 0; i < 10000; i++) {
		sprintf(key, i % 3 ? "k%u" : "missing%u", i);
		ask(o, i, key);
	}
	CHECK_INT(origins_get(o, "one more", 3, on_reply, &told[10000]), -EAGAIN);
	wait_answers(10000);
	for (unsigned i = 0; i < 10000; i++) {
		sprintf(key, "a:k%u", i);
		wrong += told[i].calls != 1;
		wrong += i % 3 ? strcmp(told[i].value, key) != 0 : told[i].status != ORIGIN_MISSING;
	}
	CHECK_INT(wrong, 0);
	CHECK_INT(f.accepted, 2);
	CHECK_INT(origins_counts(o)->failed + origins_counts(o)->retried, 0);
	origins_free(o);
	fake_stop(&f);
	test_end();
}

static void test_keys(void)
{
	struct fake f = {};
	struct origins *o;
	char longest[252];

	begin("what is no key is refused, and a callback may ask");
	fake_start(&f, event, "a");
	o = open_to(f.endpoint, NULL, NULL);
	memset(longest, 'k', sizeof(longest));
	CHECK_INT(origins_get(o, "", 0, on_reply, NULL), -EINVAL);
	CHECK_INT(origins_get(o, "a b", 3, on_reply, NULL), -EINVAL);
	CHECK_INT(origins_get(o, "a\r\n", 3, on_reply, NULL), -EINVAL);
	CHECK_INT(origins_get(o, longest, 251, on_reply, NULL), -EINVAL);
	CHECK_INT(origins_get(o, longest, 250, on_reply, &told[0]), 0);
	again = o;
	wait_answers(2);
	CHECK_INT(told[0].status, ORIGIN_FOUND);
	CHECK_STR(told[GETS_MAX - 1].value, "a:again");
	origins_free(o);
	fake_stop(&f);
	test_end();
}

/* ---- failures --------------------------------------------------------------------------------- */

/* The first endpoint fails in some manner: all that it was asked is answered by the second. */
static void test_fallback(enum fake_manner manner, bool listens, const char *sentence)
{
	struct fake a = { .manner = manner }, b = {};
	struct origins *o;
	__u64 began;
	char key[16], want[16];
	unsigned wrong = 0;

	begin(sentence);
	fake_start(&a, event, "a");
	fake_start(&b, event, "b");
	if (!listens)
		fake_stop(&a);
	o = open_to(a.endpoint, b.endpoint, &quick);
	began = monotonic_ns();
	for (unsigned i = 0; i < 300; i++) {
		sprintf(key, "k%u", i);
		ask(o, i, key);
	}
	wait_answers(300);
	CHECK(monotonic_ns() - began < 3000000000ULL);
	for (unsigned i = 0; i < 300; i++) {
		sprintf(want, "b:k%u", i);
		wrong += told[i].calls != 1 || strcmp(told[i].value, want);
	}
	CHECK_INT(wrong, 0);
	CHECK(!origins_up(o, 0) && origins_up(o, 1));
	CHECK_INT(origins_counts(o)->failed, 0);
	origins_free(o);
	fake_stop(&a);
	fake_stop(&b);
	test_end();
}

/* The only endpoint fails: the asker is told soon, and asked it is again after the back-off. */
static void test_alone(enum fake_manner manner, bool listens, const char *why, const char *sentence)
{
	struct fake a = { .manner = manner };
	struct origins *o;
	char want[160];
	unsigned asked;

	begin(sentence);
	fake_start(&a, event, "a");
	if (!listens)
		fake_stop(&a);
	o = open_to(a.endpoint, NULL, &quick);
	ask(o, 0, "x");
	ask(o, 1, "y");
	wait_answers(2);
	snprintf(want, sizeof(want), "%s: %s", a.endpoint, why);
	CHECK_INT(told[0].status, ORIGIN_ERROR);
	CHECK_STR(told[0].why, want);
	CHECK_INT(told[1].status, ORIGIN_ERROR);
	asked = a.accepted;
	ask(o, 2, "z"); /* at once: nobody is asked */
	wait_answers(3);
	CHECK_INT(told[2].status, ORIGIN_ERROR);
	CHECK_INT(a.accepted, asked);
	a.manner = FAKE_ANSWERS;
	if (!listens)
		fake_start(&a, event, "a");
	run_for(event, 450); /* two failures in a row may have been counted */
	ask(o, 3, "w");
	ask(o, 4, "v");
	wait_answers(5);
	CHECK_STR(told[3].value, "a:w");
	CHECK_STR(told[4].value, "a:v");
	CHECK(origins_up(o, 0));
	origins_free(o);
	fake_stop(&a);
	test_end();
}

static void test_restart(void)
{
	struct fake a = {};
	struct origins *o;

	begin("an origin that was started again between two gets is asked at once");
	fake_start(&a, event, "a");
	o = open_to(a.endpoint, NULL, NULL);
	ask(o, 0, "x");
	wait_answers(1);
	fake_stop(&a);
	run_for(event, 20);
	fake_start(&a, event, "a");
	ask(o, 1, "y");
	wait_answers(2);
	CHECK_STR(told[1].value, "a:y");
	a.manner = FAKE_CLOSES; /* now with a get under way, and each time */
	ask(o, 2, "z");
	wait_answers(3);
	CHECK_INT(told[2].status, ORIGIN_ERROR);
	origins_free(o);
	fake_stop(&a);
	test_end();
}

static void test_server_error(void)
{
	struct fake a = {}, b = {};
	struct origins *o;

	begin("SERVER_ERROR is asked of the next one, and is the answer when all say so");
	fake_start(&a, event, "a");
	fake_start(&b, event, "b");
	o = open_to(a.endpoint, b.endpoint, NULL);
	ask(o, 0, "server");
	ask(o, 1, "x");
	wait_answers(2);
	CHECK_STR(told[0].why, "SERVER_ERROR out of memory");
	CHECK_STR(told[1].value, "a:x");
	CHECK_INT(b.asked, 1);
	CHECK(origins_up(o, 0) && origins_up(o, 1));
	origins_free(o);
	fake_stop(&a);
	fake_stop(&b);
	test_end();
}

static void test_return(void)
{
	struct fake a = { .manner = FAKE_HANGS }, b = {};
	struct origins *o;

	begin("the first endpoint is preferred again when it answers, and tried with one get only");
	fake_start(&a, event, "a");
	fake_start(&b, event, "b");
	o = open_to(a.endpoint, b.endpoint, &quick);
	ask(o, 0, "x");
	wait_answers(1);
	CHECK_STR(told[0].value, "b:x");
	run_for(event, 150); /* still hangs when the back-off is over */
	a.asked = 0;
	for (unsigned i = 1; i < 50; i++)
		ask(o, i, "y");
	CHECK(run_until(event, &answered, 49, 5000)); /* all but the one that tries, or all */
	CHECK_INT(a.asked, 1);
	wait_answers(50);
	a.manner = FAKE_ANSWERS;
	run_for(event, 500);
	ask(o, 50, "z");
	wait_answers(51);
	CHECK_STR(told[50].value, "a:z");
	ask(o, 51, "z");
	wait_answers(52);
	CHECK_STR(told[51].value, "a:z");
	origins_free(o);
	fake_stop(&a);
	fake_stop(&b);
	test_end();
}

static void test_connect_timeout(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0), full[2];
	char endpoint[64];
	struct origins *o;

	begin("nobody accepts: given up in time, and the loop went on");
	CHECK(!bind(listener, (void *)&sa, len) && !listen(listener, 0));
	CHECK(!getsockname(listener, (void *)&sa, &len));
	for (int i = 0; i < 2; i++) {
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(full[i], (void *)&sa, len);
	}
	snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", ntohs(sa.sin_port));
	o = open_to(endpoint, NULL, &quick);
	ask(o, 0, "x");
	run_for(event, 100);
	CHECK_INT(answered, 0);
	wait_answers(1);
	CHECK(strstr(told[0].why, "timed out") != NULL);
	CHECK_INT(origins_counts(o)->timeouts, 1);
	origins_free(o);
	close(full[0]);
	close(full[1]);
	close(listener);
	test_end();
}

static void test_free(void)
{
	struct fake a = { .manner = FAKE_HANGS };
	const char *const bad[] = { "127.0.0.1", "nowhere:1", "127.0.0.1:0" };
	const char *const many[ORIGINS_MAX + 1] = { "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4",
						    "127.0.0.1:5" };
	struct origins *o;

	begin("freed with gets under way: no callback; endpoints that are none are refused");
	fake_start(&a, event, "a");
	o = open_to(a.endpoint, NULL, NULL);
	for (unsigned i = 0; i < 1000; i++)
		ask(o, i, "x");
	run_for(event, 30);
	ask(o, 1000, "y");
	origins_free(o);
	run_for(event, 20);
	CHECK_INT(answered, 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(origins_new(&o, event, &bad[i], 1, NULL), -EINVAL);
	CHECK_INT(origins_new(&o, event, many, ORIGINS_MAX + 1, NULL), -EINVAL);
	CHECK_INT(origins_new(&o, event, many, 0, NULL), -EINVAL);
	fake_stop(&a);
	test_end();
}

/* ---- the parser ------------------------------------------------------------------------------- */

/*
 * Replies cut anywhere, and changed at random: no read beyond what is there (ASan sees), each end is one of
 * three.
 */
static void test_parser(void)
{
	static const char *const lines[] = {
		"VA 5 f7 t100 c42 kabc\r\n", "VA 0 f0 t-1 c1 kYWJj b\r\n", "EN\r\n", "MN\r\n", "ERROR\r\n",
		"VA 3 f1 t2 c3 kabc W Z\r\n", "SERVER_ERROR out\r\n", "VA 99999999999999999999 f1 t1 c1 kabc\r\n",
		"VA 5 f4294967296 t1 c1 kabc\r\n", "VA\r\n", "VA 5 t1 c1 kabc\r\n", " \r\n", "\r\n", "EN kabd\r\n",
	};
	unsigned seed = 1, ends[3] = {};
	struct meta_line m;

	begin("a million lines cut and changed at random");
	for (unsigned i = 0; i < 1000000; i++) {
		const char *line = lines[rand_r(&seed) % (sizeof(lines) / sizeof(*lines))];
		size_t len = strlen(line), cut = rand_r(&seed) % 2 ? len : rand_r(&seed) % (len + 1);
		char *at = malloc(cut ?: 1);
		int r;

		memcpy(at, line, cut);
		for (unsigned k = rand_r(&seed) % 3; k && cut; k--)
			at[rand_r(&seed) % cut] = rand_r(&seed);
		r = meta_line(at, cut, &m);
		ends[r == 0 ? 0 : r == -EAGAIN ? 1 : 2]++;
		CHECK(r == 0 || r == -EAGAIN || r == -EPROTO);
		if (!r) {
			CHECK(m.used <= cut && m.len + 2 == m.used);
			CHECK(!m.key || (m.key >= at && m.key + m.key_len <= at + cut));
			meta_is_for(&m, "abc", 3);
		}
		free(at);
	}
	CHECK(ends[0] > 10000 && ends[1] > 10000 && ends[2] > 10000);
	test_end();
}

static void test_parser_rows(void)
{
	struct meta_line m;

	begin("a line is for the key that it names, in base64 too; one that never ends is not waited for");
	CHECK_INT(meta_line("VA 5 f7 t100 c42 kabc\r\nhello", 28, &m), 0);
	CHECK(meta_is_for(&m, "abc", 3) && !meta_is_for(&m, "abd", 3) && !meta_is_for(&m, "ab", 2));
	CHECK_INT(m.used, 23);
	CHECK_INT(meta_line("VA 5 f7 t100 c42 kYWJj b\r\n", 26, &m), 0);
	CHECK(meta_is_for(&m, "abc", 3) && !meta_is_for(&m, "YWJj", 4));
	CHECK_INT(meta_line("EN\r\n", 4, &m), 0);
	CHECK(meta_is_for(&m, "whatever", 8));
	for (unsigned i = 0; i < 2; i++) {
		size_t len = META_LINE_MAX - 1 + i;
		char *at = malloc(len);

		memset(at, 'x', len);
		CHECK_INT(meta_line(at, len, &m), i ? -EPROTO : -EAGAIN);
		free(at);
	}
	CHECK_INT(meta_line("EN\n", 3, &m), -EPROTO);
	CHECK_INT(meta_line("\n", 1, &m), -EPROTO);
	test_end();
}

/* ---- the real one ----------------------------------------------------------------------------- */

static void run_memcached(const char *port, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		execlp("memcached", "memcached", "-u", "root", "-l", "127.0.0.1", "-U", "0", "-t", "1", "-p", port,
		       (char *)NULL);
	_exit(127);
}

static void test_memcached(void)
{
	struct origins_opts opts = { .backoff_ms = 50, .queue = GETS_MAX };
	pid_t parent = getpid(), pid;
	struct fake f = {};
	struct origins *o;
	unsigned missing = 0;
	char key[32];

	begin("memcached: 10,000 gets, killed in the middle: each is answered once");
	fake_start(&f, event, "a");
	fake_stop(&f); /* a port that is free */
	pid = fork();
	if (!pid)
		run_memcached(strchr(f.endpoint, ':') + 1, parent);
	o = open_to(f.endpoint, NULL, &opts);
	for (unsigned i = 0; i < 100 && told[0].status != ORIGIN_MISSING; i++) {
		memset(&told[0], 0, sizeof(told[0]));
		ask(o, 0, "x");
		run_until(event, &told[0].calls, 1, 1000);
		run_for(event, 60);
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			test_skip("memcached", "it is not installed or does not start");
			origins_free(o);
			return;
		}
	}
	CHECK_INT(told[0].status, ORIGIN_MISSING);
	for (unsigned i = 1; i < 10000; i++) {
		sprintf(key, "k%u", i);
		ask(o, i, key);
	}
	answered = 0;
	run_until(event, &answered, 3000, 2000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	wait_answers(9999);
	for (unsigned i = 1; i < 10000; i++) {
		CHECK_INT(told[i].calls, 1);
		missing += told[i].status == ORIGIN_MISSING;
	}
	CHECK(missing >= 3000);
	origins_free(o);
	test_end();
}

int main(void)
{
	CHECK(sd_event_new(&event) >= 0);
	test_replies(FAKE_ANSWERS, "values, misses, errors, lengths, binary keys");
	test_replies(FAKE_BYTEWISE, "the same, a byte at a time");
	test_many();
	test_keys();
	test_fallback(FAKE_HANGS, true, "the first endpoint hangs: the second answers");
	test_fallback(FAKE_CLOSES, true, "it closes when asked");
	test_fallback(FAKE_GARBAGE, true, "it says what is no reply");
	test_fallback(FAKE_GREETS, true, "it has too many connections");
	test_fallback(FAKE_ANSWERS, false, "nobody listens there");
	test_alone(FAKE_HANGS, true, "Connection timed out", "alone and hanging");
	test_alone(FAKE_GARBAGE, true, "Protocol error", "alone and confused");
	test_alone(FAKE_ANSWERS, false, "Connection refused", "alone and not there");
	test_restart();
	test_server_error();
	test_return();
	test_connect_timeout();
	test_free();
	test_parser_rows();
	test_parser();
	test_memcached();
	sd_event_unref(event);
	return test_done();
}
