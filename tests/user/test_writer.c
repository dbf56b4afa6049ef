/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The agent's hand on the hot set, over plain memory, beside other writers; the loop must never wait. */
#include "fake_origin.h"
#include "hot_fixture.h"
#include "writer.h"

static sd_event *event;
static struct dataplane dp;
static struct writer *w;
static __u64 longest_ns; /* that a call took */

static void begin(const char *sentence, __u32 slabs)
{
	test_begin(sentence);
	dp_setup(&dp, 64, slabs, 200);
	CHECK_INT(writer_new(&w, event), 0);
	longest_ns = 0;
}

static void end(void)
{
	writer_free(w);
	dp_teardown(&dp);
	test_end();
}

static void took(__u64 since)
{
	__u64 ns = monotonic_ns() - since;

	longest_ns = ns > longest_ns ? ns : longest_ns;
}

/* Until it begins, as the loop goes on; false: it did not within a second. */
static bool begin_soon(void)
{
	for (int i = 0; i < 100; i++) {
		__u64 since = monotonic_ns();
		int err = writer_begin(w, &dp);

		took(since);
		if (!err)
			return true;
		if (err != -EBUSY && !CHECK_INT(err, 0))
			return false;
		run_for(event, 10);
	}
	return CHECK(false);
}

static void finish(void)
{
	__u64 since = monotonic_ns();

	writer_end(w);
	took(since);
}

static int put(const char *key, const char *value)
{
	struct hot_item it = item_of(key, value);

	return hotset_put(writer_hotset(w), &it);
}

static void put_once(const char *key, const char *value, int want)
{
	if (begin_soon()) {
		CHECK_INT(put(key, value), want);
		finish();
	}
}

static bool is_locked(void)
{
	int fd = dp_lock_now(&dp);

	if (fd >= 0)
		close(fd);
	return fd < 0;
}

static void test_uses(void)
{
	begin("adds need no readers to be waited for, and one scan does for all of them", 8);
	put_once("a", "1", HOT_ADDED);
	CHECK(!is_locked());
	put_once("b", "2", HOT_ADDED);
	put_once("a", "1", HOT_UNCHANGED);
	CHECK_STR(look(&dp, "a"), "1");
	CHECK_STR(look(&dp, "b"), "2");
	CHECK_INT(writer_counts(w)->scans, 1);
	CHECK_INT(writer_counts(w)->uses, 3);
	CHECK_INT(dp.graces, 0);
	CHECK_INT(dp.ctl.writers, 1);
	end();
}

static void test_grace(void)
{
	begin("a replaced value is waited for beside the loop, with the lock", 8);
	dp.grace_ms = 400;
	put_once("a", "1", HOT_ADDED);
	put_once("a", "2", HOT_REPLACED);
	CHECK_STR(look(&dp, "a"), "2");
	CHECK_INT(dp.ctl.dirty, 1);
	CHECK(is_locked());
	CHECK_INT(writer_begin(w, &dp), -EBUSY);
	CHECK_INT(dp.graces, 0);
	put_once("b", "3", HOT_ADDED);
	CHECK_INT(dp.graces, 1);
	CHECK_INT(dp.ctl.dirty, 0);
	CHECK(longest_ns < dp.grace_ms * 1000000ULL);
	CHECK_INT(writer_counts(w)->graces, 1);
	CHECK(writer_counts(w)->grace_ns > 300000000);
	end();
}

static void test_fair(void)
{
	__u64 given_back;

	begin("the lock is left free as long as it was held", 8);
	dp.grace_ms = 80;
	put_once("a", "1", HOT_ADDED);
	put_once("a", "2", HOT_REPLACED);
	RUN_UNTIL(event, !is_locked());
	given_back = monotonic_ns();
	CHECK_INT(writer_begin(w, &dp), -EBUSY);
	CHECK(!is_locked());
	put_once("a", "3", HOT_REPLACED);
	CHECK(monotonic_ns() - given_back > 50000000); /* of 80, as far as we noticed at once */
	end();
}

static void test_locked(void)
{
	int fd, err = 0;

	begin("while another one has the lock it is busy, at once", 8);
	fd = dp_lock_now(&dp);
	CHECK_INT(writer_begin(w, &dp), -EBUSY);
	close(fd);
	put_once("a", "1", HOT_ADDED);
	dp.gone = -ESTALE;
	RUN_UNTIL(event, (err = writer_begin(w, &dp)) != -EBUSY); /* it leaves the lock to others for a moment */
	CHECK_INT(err, -ESTALE);
	dp.gone = -ENOENT;
	CHECK_INT(writer_begin(w, &dp), -ENOENT);
	dp.gone = 0;
	put_once("b", "1", HOT_ADDED);
	end();
}

/* Whatever the other one took or freed must be known: 150 keys of each, of 200, none over another. */
static void test_others(void)
{
	char key[16];
	unsigned wrong = 0;

	begin("after another writer the index is looked at again", 1);
	for (unsigned i = 0; i < 90; i++) {
		sprintf(key, "w%u", i);
		put_once(key, key, HOT_ADDED);
		sprintf(key, "h%u", i);
		by_hand(&dp, key, key);
		if (i % 3)
			by_hand(&dp, key, NULL);
	}
	for (unsigned i = 0; i < 90; i++) {
		sprintf(key, "w%u", i);
		wrong += strcmp(look(&dp, key), key) != 0;
		sprintf(key, "h%u", i);
		wrong += strcmp(look(&dp, key), i % 3 ? "miss" : key) != 0;
	}
	CHECK_INT(wrong, 0);
	CHECK_INT(writer_counts(w)->scans, 90);
	CHECK_INT(dp.ctl.writers, 90 + 90 + 60);
	end();
}

static void test_kept(void)
{
	begin("after a scan the lock is kept for who asked, and given back when he does not come", 8);
	CHECK_INT(writer_begin(w, &dp), -EBUSY);
	RUN_UNTIL(event, writer_counts(w)->scans == 1);
	CHECK(is_locked());
	CHECK_INT(writer_begin(w, &dp), 0);
	CHECK_INT(put("a", "1"), HOT_ADDED);
	finish();
	CHECK(!is_locked());
	by_hand(&dp, "b", "2");
	RUN_UNTIL(event, writer_begin(w, &dp) == -EBUSY && is_locked());
	RUN_UNTIL(event, writer_counts(w)->scans == 2);
	CHECK(is_locked());
	RUN_UNTIL(event, !is_locked());
	put_once("c", "3", HOT_ADDED);
	by_hand(&dp, "d", "4");
	RUN_UNTIL(event, writer_begin(w, &dp) == -EBUSY && is_locked());
	RUN_UNTIL(event, writer_counts(w)->scans == 3);
	writer_forget(w);
	CHECK(!is_locked());
	end();
}

static void test_failed_grace(void)
{
	begin("readers that cannot be waited for: nothing is reused, and it is tried again", 8);
	put_once("a", "1", HOT_ADDED);
	dp.grace_err = -EPERM;
	put_once("a", "2", HOT_REPLACED);
	RUN_UNTIL(event, !is_locked());
	CHECK_INT(dp.ctl.dirty, 1);
	for (int i = 0; i < 20; i++) { /* each begins another wait */
		CHECK_INT(writer_begin(w, &dp), -EBUSY);
		run_for(event, 10);
	}
	CHECK(dp.graces >= 3);
	dp.grace_err = 0;
	put_once("a", "3", HOT_REPLACED);
	RUN_UNTIL(event, !dp.ctl.dirty);
	CHECK_STR(look(&dp, "a"), "3");
	end();
}

static void test_forget(void)
{
	begin("let go of in the middle of a wait, or of a scan", 8);
	dp.grace_ms = 100;
	put_once("a", "1", HOT_ADDED);
	put_once("a", "2", HOT_REPLACED);
	writer_forget(w);
	CHECK_INT(dp.ctl.dirty, 0);
	CHECK(!is_locked());
	dp.ctl.dirty = 1; /* as after a writer that was killed: the scan waits first */
	CHECK_INT(writer_begin(w, &dp), -EBUSY);
	writer_forget(w);
	CHECK_INT(dp.ctl.dirty, 0);
	CHECK(!is_locked());
	put_once("b", "1", HOT_ADDED);
	CHECK_STR(look(&dp, "a"), "2");
	end();
}

static void test_full(void)
{
	char key[16], text[1200];
	int n = 0, r;

	begin("full: a put does not wait for readers, it says that there will be room", 1);
	dp.grace_ms = 400;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	CHECK(begin_soon());
	do
		sprintf(key, "k%d", n++);
	while ((r = put(key, text)) == HOT_ADDED);
	CHECK_INT(r, -ENOSPC);
	CHECK(n > 40);
	CHECK_INT(hotset_drop(writer_hotset(w), SVC, "k0", 2), 0);
	CHECK_INT(put("k1000", text), -EAGAIN);
	finish();
	put_once("k1000", text, HOT_ADDED);
	put_once("k1001", text, -ENOSPC);
	CHECK(longest_ns < dp.grace_ms * 1000000ULL);
	end();
}

int main(void)
{
	CHECK(sd_event_new(&event) >= 0);
	test_uses();
	test_grace();
	test_fair();
	test_locked();
	test_others();
	test_kept();
	test_failed_grace();
	test_forget();
	test_full();
	sd_event_unref(event);
	return test_done();
}
