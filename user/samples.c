// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hotset.h"

#define POLL_MIN_MS 10
#define POLL_MAX_MS 200
#define AT_ONCE     (1 << 14)           /* samples; then others have their turn */
#define BUSY        (WEIR_SAMPLES / 8)  /* so many in a ring: look sooner; */
#define QUIET       (WEIR_SAMPLES / 64) /* no more than so many: later */

struct samples {
	sd_event_source *timer;
	const struct weir_sample *rings; /* NULL: none */
	__u32 ncpu, next;                /* the ring to begin with */
	__u64 *taken;                    /* of each ring: the number of the last sample that was dealt with */
	sample_fn fn;
	void *arg;
	struct samples_counts counts;
};

static const struct weir_sample *ring_of(const struct samples *s, __u32 cpu)
{
	return s->rings + (size_t)cpu * WEIR_SAMPLES;
}

static __u64 head_of(const struct samples *s, __u32 cpu)
{
	return __atomic_load_n(&ring_of(s, cpu)->head, __ATOMIC_ACQUIRE);
}

/* Copies sample n. False: it has been written over, or is being. */
static bool copy(const struct weir_sample *from, __u64 n, struct weir_sample *to)
{
	if (__atomic_load_n(&from->seq, __ATOMIC_ACQUIRE) != n)
		return false;
	memcpy(to, from, sizeof(*to));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&from->seq, __ATOMIC_RELAXED) == n;
}

static void take(struct samples *s, const struct weir_sample *from, __u64 n)
{
	struct weir_sample c;

	if (!copy(from, n, &c)) {
		s->counts.lost++;
		return;
	}
	s->counts.read++;
	if (c.svc >= WEIR_SERVICES_MAX || !hotset_key_ok((const char *)c.key, c.key_len))
		s->counts.unfit++;
	else
		s->fn(c.svc, (const char *)c.key, c.key_len, c.reason, s->arg);
}

/* How many were waiting in the ring. */
static __u64 read_ring(struct samples *s, __u32 cpu, unsigned *left)
{
	__u64 head = head_of(s, cpu), waiting = head - s->taken[cpu];
	const struct weir_sample *ring = ring_of(s, cpu);

	if (waiting > WEIR_SAMPLES) {
		s->counts.lost += waiting - WEIR_SAMPLES;
		s->taken[cpu] = head - WEIR_SAMPLES;
	}
	while (s->rings && s->taken[cpu] < head && *left) {
		__u64 n = ++s->taken[cpu];

		take(s, &ring[weir_sample_at(n)], n);
		--*left;
	}
	return waiting;
}

static unsigned read_all(struct samples *s, __u64 *most)
{
	unsigned left = AT_ONCE;
	__u32 first = s->next;

	*most = 0;
	for (__u32 i = 0; s->rings && i < s->ncpu && left; i++) {
		__u32 cpu = (first + i) % s->ncpu;
		__u64 waiting = read_ring(s, cpu, &left);

		s->next = cpu;
		*most = waiting > *most ? waiting : *most;
	}
	return AT_ONCE - left;
}

unsigned samples_poll(struct samples *s)
{
	__u64 most;

	return read_all(s, &most);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct samples *s = arg;
	unsigned ms = s->counts.poll_ms;
	__u64 most;
	bool more = read_all(s, &most) == AT_ONCE;

	if (most >= BUSY)
		ms /= 2;
	else if (most <= QUIET)
		ms += ms / 2;
	s->counts.poll_ms = ms < POLL_MIN_MS ? POLL_MIN_MS : ms > POLL_MAX_MS ? POLL_MAX_MS : ms;
	if (!s->rings)
		return 0;
	sd_event_source_set_time_relative(source, more ? 0 : s->counts.poll_ms * 1000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int samples_new(struct samples **out, sd_event *event, sample_fn fn, void *arg)
{
	struct samples *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->fn = fn;
	s->arg = arg;
	s->counts.poll_ms = POLL_MIN_MS;
	err = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, s);
	if (err >= 0)
		err = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	if (err < 0) {
		samples_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void samples_free(struct samples *s)
{
	if (!s)
		return;
	sd_event_source_unref(s->timer);
	free(s->taken);
	free(s);
}

int samples_begin(struct samples *s, const struct weir_sample *rings, __u32 ncpu)
{
	__u64 *taken = calloc(ncpu, sizeof(*taken));

	samples_stop(s);
	if (!taken)
		return -ENOMEM;
	free(s->taken);
	s->taken = taken;
	s->rings = rings;
	s->ncpu = ncpu;
	s->next = 0;
	for (__u32 cpu = 0; cpu < ncpu; cpu++)
		taken[cpu] = head_of(s, cpu);
	s->counts.poll_ms = POLL_MIN_MS;
	sd_event_source_set_time_relative(s->timer, POLL_MIN_MS * 1000);
	sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
	return 0;
}

void samples_stop(struct samples *s)
{
	s->rings = NULL;
	sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
}

const struct samples_counts *samples_counts(const struct samples *s)
{
	return &s->counts;
}
