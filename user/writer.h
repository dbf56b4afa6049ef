/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's hand on the hot set. It takes the writers' lock without ever waiting for it, and keeps what it
 * knows of free room between uses, as long as no other writer was at work. What takes time (waiting for
 * readers, the first look at the index) is done by a thread, while the lock is held and the loop goes on.
 */
#ifndef WEIR_WRITER_H
#define WEIR_WRITER_H

#include <systemd/sd-event.h>

#include "dataplane.h"

struct writer;

struct writer_counts {
	__u64 uses;	/* begun */
	__u64 busy;	/* not begun: another one has the lock, or we still wait for readers */
	__u64 scans;	/* of the index */
	__u64 graces;	/* grace periods that were waited for, */
	__u64 grace_ns; /* and all of that time */
};

/* 0 or -errno. Without capabilities a grace period works only after maps_prepare_grace(). */
int writer_new(struct writer **out, sd_event *event);
void writer_free(struct writer *w);
/*
 * 0: the lock is held, writer_hotset() may be changed until writer_end(), in the same callback of the loop.
 * -EBUSY: not now; try again in 20 ms or so. -ENOENT, -ESTALE: dp is not what is loaded. Else -errno.
 */
int writer_begin(struct writer *w, struct dataplane *dp);
struct hotset *writer_hotset(struct writer *w);
/* The lock is ours now, be it of the thread: no command is at work on the hot set. */
bool writer_locked(const struct writer *w);
/* What was retired is free, and the lock given back, once no reader can hold it: soon after the return. */
void writer_end(struct writer *w);
/* Before dp is closed. Waits for the thread. */
void writer_forget(struct writer *w);
const struct writer_counts *writer_counts(const struct writer *w);

#endif
