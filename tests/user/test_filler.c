/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's filler over plain memory, with origins in the same loop: what is published, and above all what is
 * not. A write that passes is a fence raised here, at each moment at which it could be.
 */
#include "fake_origin.h"
#include "filler.h"
#include "filler_parts.h"
#include "hot_fixture.h"

#define SETTLE_MS 400

static sd_event *event;
static struct dataplane dp;
static struct fake origin, replica;
static struct writer *w;
static struct filler *f;
static struct config_service service;
static struct config config = { .services = &service, .nservices = 1 };

/* What callbacks said. */
static unsigned calls, by[FILL_RESULT_COUNT];
static enum fill_result last;
static const char *ask_again; /* from within the next callback */

static void on_fill(__u8 svc, const char *key, size_t key_len, enum fill_result r, void *arg)
{
	calls++;
	by[r]++;
	last = r;
	CHECK_INT(svc, SVC);
	if (arg)
		CHECK(strlen(arg) == key_len && !memcmp(arg, key, key_len));
	if (ask_again) {
		const char *again = ask_again;

		ask_again = NULL;
		CHECK_INT(fill_ask(f, SVC, again, strlen(again), FILL_PROMOTE, on_fill, NULL),
			  f->dp ? 0 : -ENODEV);
	}
}

static void begin_sized(const char *sentence, __u32 buckets, __u32 slabs, __u32 entries)
{
	test_begin(sentence);
	dp_setup(&dp, buckets, slabs, entries);
	memset(&origin, 0, sizeof(origin));
	memset(&replica, 0, sizeof(replica));
	memset(by, 0, sizeof(by));
	calls = 0;
	fake_start(&origin, event, "a");
	fake_start(&replica, event, "b");
	strcpy(dp.ctl.services[SVC].origin, origin.endpoint);
	memset(&service, 0, sizeof(service));
	strcpy(service.name, "sessions");
	strcpy(service.origin, origin.endpoint);
	CHECK_INT(writer_new(&w, event), 0);
	CHECK_INT(filler_new(&f, event, w), 0);
	filler_settle(f, SETTLE_MS);
	CHECK_INT(filler_begin(f, &dp, &config), 0);
}

static void begin(const char *sentence)
{
	begin_sized(sentence, 256, 8, 1000);
}

static void end(void)
{
	CHECK_INT(f->counts.waiting, 0);
	CHECK_INT(f->nready, 0);
	filler_free(f);
	writer_free(w);
	fake_stop(&origin);
	fake_stop(&replica);
	dp_teardown(&dp);
	test_end();
}

static void ask(const char *key)
{
	CHECK_INT(fill_ask(f, SVC, key, strlen(key), FILL_START, on_fill, (void *)key), 0);
}

static void wait_calls(unsigned n)
{
	CHECK(run_until(event, &calls, n, 5000));
	run_for(event, 30);
	CHECK_INT(calls, n);
}

static void fill(const char *key, enum fill_result want)
{
	unsigned before = calls;

	ask(key);
	CHECK(run_until(event, &calls, before + 1, 5000));
	CHECK_STR(fill_result_name(last), fill_result_name(want));
}

/* ---- what is published ------------------------------------------------------------------------ */

static void test_results(void)
{
	struct weir_slot s;

	begin("each result, and what becomes of a copy that was held");
	by_hand(&dp, "missing", "old");
	by_hand(&dp, "stale", "old");
	by_hand(&dp, "len3000", "old");
	by_hand(&dp, "error", "old");
	by_hand(&dp, "ttl1", "old");
	fill("k", FILL_ADDED);
	CHECK_STR(look(&dp, "k"), "a:k");
	fill("k", FILL_UNCHANGED);
	origin.cas = 43;
	fill("k", FILL_REPLACED);
	fill("missing", FILL_MISSING);
	CHECK_STR(look(&dp, "missing"), "miss");
	fill("missing", FILL_MISSING);
	fill("stale", FILL_STALE);
	CHECK_STR(look(&dp, "stale"), "miss");
	fill("len3000", FILL_TOO_LONG);
	CHECK_STR(look(&dp, "len3000"), "miss");
	fill("error", FILL_ORIGIN);
	CHECK_STR(look(&dp, "error"), "old");
	fill("ttl1", FILL_EXPIRING);
	CHECK_STR(look(&dp, "ttl1"), "old");
	dp.ctl.services[SVC].value_max = 10;
	fill("len11", FILL_TOO_LONG);
	fill("len10", FILL_ADDED);
	CHECK(slot_of(&dp, "len10", &s) && s.flags == WEIR_SLOT_CAS && s.cas == 43 && s.client_flags == 7);
	CHECK_INT(filler_counts(f)->by[FILL_START][FILL_MISSING], 2);
	CHECK_INT(filler_counts(f)->asked[FILL_START], 11);
	end();
}

static void test_expiry(void)
{
	__u64 now, sec = 1000000000ULL;
	struct weir_slot s;

	begin("a copy ends with its TTL, and a second before the item, counted from the question");
	now = monotonic_ns();
	fill("k", FILL_ADDED); /* 100 s at the origin, 60 s here */
	CHECK(slot_of(&dp, "k", &s) && s.expires_ns >= now + 60 * sec && s.expires_ns < now + 61 * sec);
	fill("ttl10", FILL_ADDED);
	CHECK(slot_of(&dp, "ttl10", &s) && s.expires_ns >= now + 9 * sec && s.expires_ns < now + 10 * sec);
	CHECK(!(s.flags & WEIR_SLOT_IMMORTAL));
	fill("ttl-1", FILL_ADDED);
	CHECK(slot_of(&dp, "ttl-1", &s) && s.expires_ns >= now + 60 * sec && s.flags & WEIR_SLOT_IMMORTAL);
	dp.ctl.services[SVC].ttl_ns = WEIR_NEVER;
	fill("ttl-1x", FILL_ADDED);
	CHECK(slot_of(&dp, "ttl-1x", &s) && s.expires_ns == WEIR_NEVER);
	dp.svc_fences[SVC].flush_at_ns = monotonic_ns() + 30 * sec;
	fill("capped", FILL_ADDED);
	CHECK(slot_of(&dp, "capped", &s) && s.expires_ns == dp.svc_fences[SVC].flush_at_ns - 2 * sec);
	dp.svc_fences[SVC].flush_at_ns = monotonic_ns() + sec;
	fill("now", FILL_FLUSH);
	dp.svc_fences[SVC].flush_at_ns = WEIR_NEVER;
	fill("unknown", FILL_FLUSH);
	CHECK_STR(look(&dp, "unknown"), "miss");
	end();
}

/* Of what was asked for by now, a flush_all with a date has struck. */
static void flush_strikes(void)
{
	dp.svc_fences[SVC].flush_at_ns = monotonic_ns() - 2 * 1000000000ULL;
}

static void on_ask_flush(struct fake *o, const char *key)
{
	flush_strikes();
}

static void test_flush_strikes(void)
{
	struct hot_item it = item_of("given", "old");
	int lock;

	begin("a flush_all with a date strikes after the question: not published, however late");
	origin.on_ask = on_ask_flush;
	fill("k", FILL_FLUSH);
	origin.on_ask = NULL;
	dp.svc_fences[SVC].flush_at_ns = 0;
	lock = dp_lock_now(&dp);
	ask("l");
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, "given"), 0);
	RUN_UNTIL(event, f->nready == 2);
	flush_strikes();
	close(lock);
	wait_calls(3);
	CHECK_INT(by[FILL_FLUSH], 3);
	CHECK_STR(look(&dp, "l"), "miss");
	fill("l", FILL_ADDED);
	end();
}

static void test_promoted(void)
{
	struct weir_slot s;

	begin("what promotion brings is marked, and stays so; what others brought is not marked by it");
	CHECK_INT(fill_ask(f, SVC, "p", 1, FILL_PROMOTE, on_fill, NULL), 0);
	ask("l");
	wait_calls(2);
	CHECK(slot_of(&dp, "p", &s) && s.flags & WEIR_SLOT_PROMOTED);
	CHECK(slot_of(&dp, "l", &s) && !(s.flags & WEIR_SLOT_PROMOTED));
	origin.cas++;
	CHECK_INT(fill_ask(f, SVC, "p", 1, FILL_REFRESH, on_fill, NULL), 0);
	CHECK_INT(fill_ask(f, SVC, "l", 1, FILL_PROMOTE, on_fill, NULL), 0);
	wait_calls(4);
	CHECK_INT(by[FILL_REPLACED], 2);
	CHECK(slot_of(&dp, "p", &s) && s.flags & WEIR_SLOT_PROMOTED);
	CHECK(slot_of(&dp, "l", &s) && !(s.flags & WEIR_SLOT_PROMOTED));
	end();
}

static void test_join(void)
{
	begin("a key is fetched once for all who ask, each under its own reason; a callback asks anew");
	ask("k");
	ask("k");
	CHECK_INT(fill_ask(f, SVC, "k", 1, FILL_EVENT, on_fill, NULL), 0);
	CHECK_INT(fill_ask(f, SVC, "k", 1, FILL_EVENT, NULL, NULL), 0);
	CHECK_INT(filler_waiting(f), 1);
	ask_again = "k";
	wait_calls(4);
	CHECK_INT(origin.asked, 2);
	CHECK_INT(by[FILL_ADDED], 3);
	CHECK_INT(by[FILL_UNCHANGED], 1);
	CHECK_INT(filler_counts(f)->by[FILL_START][FILL_ADDED], 2);
	CHECK_INT(filler_counts(f)->by[FILL_EVENT][FILL_ADDED], 2);
	CHECK_INT(filler_counts(f)->by[FILL_PROMOTE][FILL_UNCHANGED], 1);
	CHECK_INT(filler_counts(f)->joined, 3);
	end();
}

static void test_refused(void)
{
	begin("what is no key, no service, or a service without a cache or an origin");
	CHECK_INT(fill_ask(f, SVC, "a b", 3, FILL_START, on_fill, NULL), -EINVAL);
	CHECK_INT(fill_ask(f, SVC, "", 0, FILL_START, on_fill, NULL), -EINVAL);
	CHECK_INT(fill_ask(f, 0, "k", 1, FILL_START, on_fill, NULL), -EINVAL);
	CHECK_INT(fill_ask(f, 255, "k", 1, FILL_START, on_fill, NULL), -EINVAL);
	CHECK_INT(fill_drop(f, 0, "k", 1), -EINVAL);
	*dp.ctl.services[SVC].origin = 0;
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	fill("k", FILL_NO_ORIGIN);
	end();
}

/* ---- the fence rule --------------------------------------------------------------------------- */

static struct fake *writes_through;
static unsigned writes;

/* A write passes while the origin is about to answer with the old value. */
static void on_ask_write(struct fake *o, const char *key)
{
	if (!writes)
		return;
	writes--;
	raise_fence(&dp, key);
	writes_through = o;
}

static void test_overtaken(void)
{
	__u64 began = monotonic_ns();

	begin("a write while it is fetched: it is fetched again after the settle time");
	origin.on_ask = on_ask_write;
	writes = 1;
	fill("k", FILL_ADDED);
	CHECK_INT(origin.asked, 2);
	CHECK(monotonic_ns() - began > SETTLE_MS * 1000000ULL);
	CHECK_STR(look(&dp, "k"), "a:k");
	CHECK_INT(filler_counts(f)->deferred, 1);
	writes = 100;
	fill("l", FILL_WRITING);
	CHECK_INT(origin.asked, 2 + 4);
	CHECK_STR(look(&dp, "l"), "miss");
	writes = 0;
	end();
}

static void test_settling(void)
{
	__u64 began;

	begin("a key just written is not fetched before the settle time; the service's fence is one, too");
	raise_fence(&dp, "k");
	began = monotonic_ns();
	ask("k");
	ask("other");
	CHECK(run_until(event, &calls, 1, 5000));
	CHECK_INT(origin.asked, 1);
	CHECK_STR(look(&dp, "other"), "a:other");
	wait_calls(2);
	CHECK(monotonic_ns() - began > SETTLE_MS * 1000000ULL);
	CHECK_STR(look(&dp, "k"), "a:k");
	dp.svc_fences[SVC].count++;
	dp.svc_fences[SVC].last_ns = monotonic_ns();
	ask("all");
	run_for(event, SETTLE_MS / 2);
	CHECK_INT(origin.asked, 2);
	wait_calls(3);
	CHECK_STR(look(&dp, "all"), "a:all");
	end();
}

static void test_overtaken_late(void)
{
	int lock;

	begin("a write after the reply, while it waits to be published: not published, and fetched again");
	lock = dp_lock_now(&dp);
	ask("k");
	ask("other");
	RUN_UNTIL(event, f->nready == 2);
	raise_fence(&dp, "k");
	close(lock);
	CHECK(run_until(event, &calls, 1, 5000));
	CHECK_STR(look(&dp, "k"), "miss");
	CHECK_STR(look(&dp, "other"), "a:other");
	wait_calls(2);
	CHECK_INT(origin.asked, 3);
	CHECK_STR(look(&dp, "k"), "a:k");
	end();
}

static void test_given_since(void)
{
	int lock;

	begin("what a command gives while a fetch waits stays; what was given before is replaced");
	by_hand(&dp, "before", "old");
	by_hand(&dp, "missing", "old");
	fill("fetched", FILL_ADDED);
	origin.cas++;
	lock = dp_lock_now(&dp);
	ask("k");
	ask("before");
	ask("fetched");
	ask("dead");
	ask("missing");
	RUN_UNTIL(event, f->nready == 5);
	close(lock);
	by_hand(&dp, "k", "v2");
	by_hand(&dp, "fetched", "v2");
	by_hand(&dp, "dead", "v2");
	raise_fence(&dp, "dead"); /* by a write, so that it is fetched again */
	wait_calls(6);
	CHECK_STR(look(&dp, "k"), "v2");
	CHECK_STR(look(&dp, "fetched"), "v2");
	CHECK_STR(look(&dp, "before"), "a:before");
	CHECK_STR(look(&dp, "dead"), "a:dead");
	CHECK_STR(look(&dp, "missing"), "miss");
	CHECK_INT(by[FILL_DROPPED], 2);
	end();
}

static void test_missing_since(void)
{
	begin("nor is it taken out when the origin had no such key");
	origin.holds = true;
	ask("missing");
	CHECK(run_until(event, &origin.asked, 1, 5000));
	by_hand(&dp, "missing", "v1");
	fake_release(&origin);
	wait_calls(1);
	CHECK_INT(last, FILL_DROPPED);
	CHECK_STR(look(&dp, "missing"), "v1");
	end();
}

static void test_put(void)
{
	struct hot_item it = item_of("k", "given");
	char text[2000];

	begin("a value that is given: with its fence, or not at all");
	it.fence = fill_fence(f, SVC, "k", 1);
	it.flags = WEIR_SLOT_IMMORTAL;
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, "k"), 0);
	wait_calls(1);
	CHECK_STR(look(&dp, "k"), "given");
	CHECK_INT(last, FILL_ADDED);
	it.value = "newer";
	raise_fence(&dp, "k");
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, "k"), 0);
	wait_calls(2);
	CHECK_INT(last, FILL_WRITING);
	CHECK_STR(look(&dp, "k"), "fenced");
	CHECK_INT(origin.asked, 0);
	memset(text, 'x', sizeof(text));
	it.value = text;
	it.value_len = sizeof(text);
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, NULL), -EMSGSIZE);
	it.value_len = 0;
	it.key_len = 0;
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, NULL), -EINVAL);
	end();
}

/* ---- removals --------------------------------------------------------------------------------- */

static void drop(const char *key)
{
	CHECK_INT(fill_drop(f, SVC, key, strlen(key)), 0);
}

static void test_drop(void)
{
	begin("a removal: of what is held, fetched, or about to be published; who asks after it gets it anew");
	by_hand(&dp, "held", "old");
	drop("held");
	drop("nobody");
	RUN_UNTIL(event, !filler_waiting(f));
	CHECK_STR(look(&dp, "held"), "miss");
	CHECK_INT(filler_counts(f)->drops, 2);
	CHECK_INT(filler_counts(f)->dropped, 1);
	origin.holds = true;
	ask("k");
	CHECK(run_until(event, &origin.asked, 1, 5000));
	drop("k");
	ask("k"); /* another fetch */
	CHECK(run_until(event, &origin.asked, 2, 5000));
	RUN_UNTIL(event, !f->nready);
	fake_release(&origin);
	wait_calls(2);
	CHECK_INT(by[FILL_DROPPED], 1);
	CHECK_INT(by[FILL_ADDED], 1);
	CHECK_STR(look(&dp, "k"), "a:k");
	ask("m");
	drop("m"); /* before it was asked for */
	wait_calls(3);
	CHECK_INT(by[FILL_DROPPED], 2);
	CHECK_STR(look(&dp, "m"), "miss");
	end();
}

static void test_drop_ready(void)
{
	struct hot_item it = item_of("p", "given");
	int lock;

	begin("a removal of what waits for the lock, in the order in which all of it came");
	it.fence = fill_fence(f, SVC, "p", 1);
	lock = dp_lock_now(&dp);
	ask("k");
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, NULL), 0);
	RUN_UNTIL(event, f->nready == 2);
	drop("k");
	drop("p");
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, NULL), 0);
	drop("q");
	it = item_of("q", "given");
	CHECK_INT(fill_put(f, &it, FILL_PEER, on_fill, NULL), 0);
	close(lock);
	wait_calls(4);
	CHECK_STR(look(&dp, "k"), "miss");
	CHECK_STR(look(&dp, "p"), "given");
	CHECK_STR(look(&dp, "q"), "given");
	CHECK_INT(by[FILL_DROPPED], 1);
	CHECK_INT(by[FILL_ADDED], 3); /* p twice: it was out in between */
	end();
}

static void drop_dead(const char *key)
{
	CHECK_INT(fill_drop_dead(f, SVC, key, strlen(key)), 0);
}

static void test_drop_dead(void)
{
	begin("a removal of what answers no more: what was put since by a command stays");
	by_hand(&dp, "fenced", "old");
	raise_fence(&dp, "fenced");
	by_hand(&dp, "put", "old");
	raise_fence(&dp, "put");
	drop_dead("fenced");
	drop_dead("put");
	by_hand(&dp, "put", "new");
	RUN_UNTIL(event, !filler_waiting(f));
	CHECK_STR(look(&dp, "fenced"), "miss");
	CHECK_STR(look(&dp, "put"), "new");
	CHECK_INT(filler_counts(f)->dropped, 1);
	end();
}

/* ---- trouble ---------------------------------------------------------------------------------- */

static void test_full_queue(void)
{
	char key[16];
	unsigned n;

	begin("an origin that hangs: 64K keys wait, the next is refused; let go of, all are told");
	origin.manner = replica.manner = FAKE_HANGS;
	for (n = 0; n < FILLS_MAX; n++) {
		sprintf(key, "k%u", n);
		if (!CHECK_INT(fill_ask(f, SVC, key, strlen(key), FILL_START, on_fill, NULL), 0))
			break;
	}
	CHECK_INT(fill_ask(f, SVC, "more", 4, FILL_START, on_fill, NULL), -EAGAIN);
	CHECK_INT(fill_ask(f, SVC, "k7", 2, FILL_START, on_fill, NULL), 0); /* joins */
	CHECK_INT(fill_drop(f, SVC, "k8", 2), -EAGAIN);			    /* spoils it all the same */
	run_for(event, 30);
	ask_again = "again";
	filler_stop(f);
	CHECK_INT(calls, FILLS_MAX + 1);
	CHECK_INT(by[FILL_GONE], FILLS_MAX);
	CHECK_INT(by[FILL_DROPPED], 1);
	CHECK_INT(fill_ask(f, SVC, "k", 1, FILL_START, on_fill, NULL), -ENODEV);
	CHECK_INT(fill_drop(f, SVC, "k", 1), -ENODEV);
	run_for(event, 50);
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	origin.manner = FAKE_ANSWERS;
	fill("k", FILL_ADDED);
	end();
}

static void test_locked_long(void)
{
	unsigned n = 3 * READY_MAX;
	char key[16];
	int lock;

	begin_sized("while a command has the lock no more is fetched than may wait; then all is published",
		    8192, 200, 20000);
	lock = dp_lock_now(&dp);
	for (unsigned i = 0; i < n; i++) {
		sprintf(key, "k%u", i);
		CHECK_INT(fill_ask(f, SVC, key, strlen(key), FILL_START, on_fill, NULL), 0);
	}
	RUN_UNTIL(event, f->nready >= READY_MAX);
	run_for(event, 200);
	CHECK_INT(calls, 0);
	CHECK(f->nready >= READY_MAX && f->nready < 2 * READY_MAX + 10);
	close(lock);
	wait_calls(n);
	CHECK_INT(by[FILL_ADDED], n);
	CHECK(filler_counts(f)->batches < 200);
	end();
}

static void test_origin_changes(void)
{
	begin("another origin in the configuration: what the old one was asked, the new one answers");
	origin.manner = FAKE_HANGS;
	ask("k");
	CHECK(run_until(event, &origin.asked, 1, 5000));
	strcpy(dp.ctl.services[SVC].origin, replica.endpoint);
	strcpy(service.origin, replica.endpoint);
	dp.ctl.generation++;
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	wait_calls(1);
	CHECK_STR(look(&dp, "k"), "b:k");
	CHECK_INT(filler_begin(f, &dp, &config), 0); /* the same: connections stay */
	fill("l", FILL_ADDED);
	CHECK_INT(replica.accepted, 1);
	end();
}

static void test_replica(void)
{
	begin("the replica of the configuration is asked when the origin hangs; not that of another origin");
	strcpy(service.replicas[0], replica.endpoint);
	service.nreplicas = 1;
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	origin.manner = FAKE_HANGS;
	fill("k", FILL_ADDED);
	CHECK_STR(look(&dp, "k"), "b:k");
	strcpy(service.origin, "127.0.0.1:1"); /* the file has changed, what is loaded has not */
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	fill("l", FILL_ORIGIN);
	CHECK_INT(replica.asked, 1);
	end();
}

static void test_service_goes(void)
{
	int lock;

	begin("a service goes, and its number is another's: nothing of the old one is published");
	lock = dp_lock_now(&dp);
	ask("k");
	RUN_UNTIL(event, f->nready == 1);
	strcpy(dp.ctl.services[SVC].name, "others"); /* two reloads; the agent has not noticed yet */
	dp.ctl.generation += 2;
	close(lock);
	run_for(event, 100);
	CHECK_INT(calls, 0);
	CHECK_STR(look(&dp, "k"), "miss");
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	CHECK_INT(calls, 1);
	CHECK_INT(last, FILL_GONE);
	run_for(event, 100);
	CHECK_STR(look(&dp, "k"), "miss");
	fill("k", FILL_ADDED);
	end();
}

static void test_gone(void)
{
	begin("what is loaded was replaced: it waits until it is let go of");
	dp.gone = -ESTALE;
	ask("k");
	run_for(event, 300);
	CHECK_INT(calls, 0);
	filler_stop(f);
	CHECK_INT(last, FILL_GONE);
	writer_forget(w);
	end();
}

static void test_full_set(void)
{
	char key[16];

	begin_sized("full: keys are refused, and values replaced while there is room to do so", 64, 1, 200);
	dp.grace_ms = 30;
	for (unsigned i = 0; i < 60; i++) {
		sprintf(key, "len1100-%u", i);
		CHECK_INT(fill_ask(f, SVC, key, strlen(key), FILL_START, on_fill, NULL), 0);
	}
	wait_calls(60);
	CHECK(by[FILL_ADDED] > 40 && by[FILL_FULL] > 2);
	CHECK_INT(by[FILL_ADDED] + by[FILL_FULL], 60);
	drop("len1100-0");
	drop("len1100-1");
	RUN_UNTIL(event, !filler_waiting(f));
	CHECK_INT(filler_counts(f)->dropped, 2);
	origin.cas++;
	calls = 0;
	/* Two slots are free: each replacement waits for readers of the one before. */
	for (unsigned i = 2; i < 22; i++) {
		sprintf(key, "len1100-%u", i);
		CHECK_INT(fill_ask(f, SVC, key, strlen(key), FILL_START, on_fill, NULL), 0);
	}
	wait_calls(20);
	CHECK_INT(by[FILL_REPLACED], 20);
	end();
}

static unsigned ticks;
static __u64 last_tick, longest;

static int on_tick(sd_event_source *s, uint64_t usec, void *arg)
{
	__u64 now = monotonic_ns();

	if (ticks++ && now - last_tick > longest)
		longest = now - last_tick;
	last_tick = now;
	sd_event_source_set_time_relative(s, 5000);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void test_loop(void)
{
	sd_event_source *timer = NULL;
	char key[16];

	begin_sized("the loop goes on while readers take long, the origin hangs, and others write", 4096, 100,
		    10000);
	dp.grace_ms = 800;
	CHECK(sd_event_add_time(event, &timer, CLOCK_MONOTONIC, 0, 1000, on_tick, NULL) >= 0);
	strcpy(service.replicas[0], replica.endpoint);
	service.nreplicas = 1;
	CHECK_INT(filler_begin(f, &dp, &config), 0);
	ticks = 0;
	longest = 0;
	for (unsigned round = 0; round < 3; round++) {
		origin.cas++;
		replica.cas = origin.cas;
		origin.manner = round == 1 ? FAKE_HANGS : FAKE_ANSWERS;
		calls = 0;
		for (unsigned i = 0; i < 1500; i++) {
			sprintf(key, "k%u", i);
			CHECK_INT(fill_ask(f, SVC, key, strlen(key), FILL_START, on_fill, NULL), 0);
		}
		CHECK(run_until(event, &calls, 1500, 20000));
	}
	CHECK_INT(by[FILL_ADDED] + by[FILL_REPLACED], 4500);
	CHECK(longest < 500000000); /* a grace period takes longer, the machine may be busy */
	printf("# the loop stood for %llu ms\n", longest / 1000000);
	sd_event_source_disable_unref(timer);
	end();
}

int main(void)
{
	CHECK(sd_event_new(&event) >= 0);
	test_results();
	test_expiry();
	test_flush_strikes();
	test_promoted();
	test_join();
	test_refused();
	test_overtaken();
	test_settling();
	test_overtaken_late();
	test_given_since();
	test_missing_since();
	test_put();
	test_drop();
	test_drop_ready();
	test_drop_dead();
	test_full_queue();
	test_locked_long();
	test_origin_changes();
	test_replica();
	test_service_goes();
	test_gone();
	test_full_set();
	test_loop();
	sd_event_unref(event);
	return test_done();
}
