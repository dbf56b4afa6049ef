/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the rings of sampled misses inside an sd-event loop: often while much comes, seldom while nothing does.
 * What a program wrote over before it was read is counted as lost.
 */
#ifndef WEIR_SAMPLES_H
#define WEIR_SAMPLES_H

#include <stddef.h>
#include <systemd/sd-event.h>

#include "weir/sample.h"

struct samples;

struct samples_counts {
	__u64 read, lost;
	__u64 unfit;      /* of those read: no key that the hot set can hold, and given to nobody */
	unsigned poll_ms; /* at present */
};

/* The key is valid during the call, and one that the hot set can hold. */
typedef void (*sample_fn)(__u8 svc, const char *key, size_t key_len, __u8 reason, void *arg);

int samples_new(struct samples **out, sd_event *event, sample_fn fn, void *arg);
void samples_free(struct samples *s);
/* ncpu rings, from what is written next on. `rings` stays mapped until samples_stop(). 0 or -ENOMEM. */
int samples_begin(struct samples *s, const struct weir_sample *rings, __u32 ncpu);
void samples_stop(struct samples *s);
/* Reads what is there now, at most about 16,000; how many. */
unsigned samples_poll(struct samples *s);
const struct samples_counts *samples_counts(const struct samples *s);

#endif
