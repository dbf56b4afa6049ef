// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One thread at most, for one job, which touches nothing that the loop touches meanwhile: the loop leaves the
 * hot set alone until the thread has ended. So neither a grace period nor the scan of a large index delays the
 * lease.
 */
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "journal.h"

#define STACK_BYTES (256 << 10)
/* After each use the lock is free for as long as we had it, within this: commands look for it every 50 ms. */
#define FREE_MAX_NS 100000000ULL
#define KEEP_US	    100000 /* who was told -EBUSY has tried again by then */

enum job { JOB_NONE, JOB_OPEN, JOB_GRACE };

struct writer {
	sd_event_source *done;
	int done_fd;
	const struct hotset_mem *mem;
	struct hotset *h; /* NULL: not opened yet */
	__u64 writers;	  /* ctl->writers as we left it */
	int lock;
	bool failed; /* that it was said */

	bool kept; /* the lock is, for the use that the scan was made for: or commands could outdo us for ever */
	sd_event_source *keep;
	enum job job;
	pthread_t thread;
	int job_err;
	__u64 job_ns;
	struct hotset *opened;

	__u64 locked_ns, free_until_ns;
	struct writer_counts counts;
};

/* ---- the thread ------------------------------------------------------------------------------- */

static void *work(void *arg)
{
	struct writer *w = arg;
	__u64 begin = monotonic_ns();

	if (w->job == JOB_OPEN)
		w->job_err = hotset_open(&w->opened, w->mem);
	else
		w->job_err = w->mem->grace(w->mem->grace_arg);
	w->job_ns = monotonic_ns() - begin;
	while (write(w->done_fd, &(__u64){ 1 }, sizeof(__u64)) < 0 && errno == EINTR)
		;
	return NULL;
}

static int start(struct writer *w, enum job job)
{
	pthread_attr_t attr;
	int err;

	w->job = job;
	w->opened = NULL;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	err = -pthread_create(&w->thread, &attr, work, w);
	pthread_attr_destroy(&attr);
	if (err)
		w->job = JOB_NONE;
	return err;
}

/* ---- the lock --------------------------------------------------------------------------------- */

static void unlock(struct writer *w)
{
	__u64 now = monotonic_ns(), had = now - w->locked_ns;

	close(w->lock);
	w->lock = -1;
	w->free_until_ns = now + (had < FREE_MAX_NS ? had : FREE_MAX_NS);
}

static void end_keep(struct writer *w)
{
	w->kept = false;
	sd_event_source_set_enabled(w->keep, SD_EVENT_OFF);
}

/* Nobody came back for it. */
static int on_keep(sd_event_source *s, uint64_t usec, void *arg)
{
	struct writer *w = arg;

	if (w->kept)
		unlock(w);
	end_keep(w);
	return 0;
}

static void keep(struct writer *w)
{
	w->kept = true;
	sd_event_source_set_time_relative(w->keep, KEEP_US);
	sd_event_source_set_enabled(w->keep, SD_EVENT_ONESHOT);
}

static void take_result(struct writer *w)
{
	if (w->job_err && !w->failed)
		say(LOG_ERR, "%s: %s", w->job == JOB_OPEN ? "the hot set cannot be opened for writing" :
			"waiting for readers of the hot set", strerror(-w->job_err));
	w->failed = w->job_err;
	if (w->job == JOB_OPEN) {
		w->h = w->opened;
		if (w->h)
			hotset_never_wait(w->h);
		w->writers = w->mem->ctl->writers;
		w->counts.scans++;
	} else {
		w->counts.graces++;
		w->counts.grace_ns += w->job_ns;
		if (!w->job_err)
			hotset_waited(w->h);
	}
	if (w->job == JOB_OPEN && w->h)
		keep(w);
	else
		unlock(w);
	w->job = JOB_NONE;
}

static void join(struct writer *w)
{
	if (!w->job)
		return;
	pthread_join(w->thread, NULL);
	take_result(w);
}

static int on_done(sd_event_source *s, int fd, uint32_t events, void *arg)
{
	__u64 n;

	if (read(fd, &n, sizeof(n)) == sizeof(n))
		join(arg);
	return 0;
}

/* ---- uses ------------------------------------------------------------------------------------- */

/* What we know of free room is still true. */
static bool is_known(const struct writer *w)
{
	return w->h && w->writers == __atomic_load_n(&w->mem->ctl->writers, __ATOMIC_SEQ_CST);
}

static void forget_known(struct writer *w)
{
	hotset_abandon(w->h); /* should it hold slots as retired, the dirty flag tells the next writer */
	w->h = NULL;
}

/* 0: it is open, and nothing is retired. Else a thread sees to it, with the lock. */
static int make_ready(struct writer *w)
{
	int err;

	if (is_known(w) && !hotset_retired(w->h))
		return 0;
	if (is_known(w)) {
		err = start(w, JOB_GRACE);
	} else {
		forget_known(w);
		err = start(w, JOB_OPEN);
	}
	return err ?: -EBUSY;
}

int writer_begin(struct writer *w, struct dataplane *dp)
{
	int err;

	if (w->kept) {
		end_keep(w);
		w->counts.uses++;
		return 0;
	}
	if (w->job || w->lock >= 0 || monotonic_ns() < w->free_until_ns) {
		w->counts.busy++;
		return -EBUSY;
	}
	w->lock = dp_lock_now(dp);
	if (w->lock < 0) {
		err = w->lock;
		w->lock = -1;
		w->counts.busy += err == -EBUSY;
		return err;
	}
	w->locked_ns = monotonic_ns();
	w->mem = dp_hotset_mem(dp);
	err = make_ready(w);
	if (!err) {
		w->counts.uses++;
		return 0;
	}
	if (!w->job)
		unlock(w);
	w->counts.busy += err == -EBUSY;
	return err;
}

bool writer_locked(const struct writer *w)
{
	return w->lock >= 0;
}

struct hotset *writer_hotset(struct writer *w)
{
	return w->h;
}

void writer_end(struct writer *w)
{
	/* Without a thread the next use tries again; until then the slots are not used. */
	if (!hotset_retired(w->h) || start(w, JOB_GRACE))
		unlock(w);
}

void writer_forget(struct writer *w)
{
	join(w);
	if (w->kept)
		unlock(w);
	end_keep(w);
	forget_known(w);
	w->mem = NULL;
	w->free_until_ns = 0;
}

const struct writer_counts *writer_counts(const struct writer *w)
{
	return &w->counts;
}

/* ---- life ------------------------------------------------------------------------------------- */

int writer_new(struct writer **out, sd_event *event)
{
	struct writer *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->lock = -1;
	w->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = w->done_fd < 0 ? -errno : sd_event_add_io(event, &w->done, w->done_fd, EPOLLIN, on_done, w);
	if (err >= 0)
		err = sd_event_add_time(event, &w->keep, CLOCK_MONOTONIC, 0, 1000, on_keep, w);
	if (err >= 0)
		err = sd_event_source_set_enabled(w->keep, SD_EVENT_OFF);
	if (err < 0) {
		writer_free(w);
		return err;
	}
	*out = w;
	return 0;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	writer_forget(w);
	sd_event_source_disable_unref(w->done);
	sd_event_source_disable_unref(w->keep);
	if (w->done_fd >= 0)
		close(w->done_fd);
	free(w);
}
