// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* When traffic rises above what is usual, what misses most is warmed. What is usual outlives the agent in a file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "policy_parts.h"
#include "state_file.h"
#include "weir/reason.h"

#define SAVE_NS 900000000000ULL

/* ---- what is usual ---------------------------------------------------------------------------- */

static void state_path(const struct policy *p, char path[128])
{
	snprintf(path, 128, STATE_DIR "/usual-%s", p->c.name);
}

void policy_traffic_begin(struct policy *p)
{
	char path[128], text[SURGE_TEXT_MAX];
	int err;

	surge_begin(&p->surge);
	state_path(p, path);
	p->saved_ns = monotonic_ns();
	err = state_read(path, text, sizeof(text));
	if (err && err != -ENOENT)
		say(LOG_WARNING, "policy %s: %s cannot be read: %s", p->c.name, path, strerror(-err));
	else if (!err && !surge_read(&p->surge, p->service, time(NULL), text))
		say(LOG_WARNING, "policy %s: %s is damaged, or of another service: what is usual is learned anew",
		    p->c.name, path);
}

void policy_traffic_save(struct policy *p)
{
	char path[128], text[SURGE_TEXT_MAX];
	size_t len;
	int err;

	if (p->c.on != POLICY_SURGE || !p->surge.seen)
		return;
	state_path(p, path);
	p->saved_ns = monotonic_ns();
	len = surge_write(&p->surge, p->service, time(NULL), text, sizeof(text));
	err = len ? state_write(path, text, len) : -EFBIG;
	if (err && !p->save_said)
		say(LOG_WARNING, "policy %s: %s cannot be written: %s: an agent that starts again will learn anew",
		    p->c.name, path, strerror(-err));
	p->save_said = err;
}

/* ---- what misses most ------------------------------------------------------------------------- */

struct hot_key {
	__u64 n;
	char key[WEIR_KEY_MAX];
	__u8 len;
};

struct top {
	struct hot_key *keys;
	__u32 n, room;
};

static int by_n(const void *a, const void *b)
{
	const struct hot_key *x = a, *y = b;

	return x->n < y->n ? 1 : x->n > y->n ? -1 : memcmp(x->key, y->key, x->len < y->len ? x->len : y->len);
}

static void take_hot(const char *key, size_t len, __u64 hash, __u64 n, void *arg)
{
	struct top *t = arg;
	struct hot_key *k;

	if (len > WEIR_KEY_MAX || t->n == t->room)
		return;
	k = &t->keys[t->n++];
	k->n = n;
	k->len = len;
	memcpy(k->key, key, len);
}

static void warm_hottest(struct policy *p)
{
	__u32 known = promote_known(p->of->promote, p->svc);
	struct top t = { .keys = malloc((known ?: 1) * sizeof(*t.keys)), .room = known };

	if (!t.keys || !policy_run_begin(p, "the keys that miss most"))
		goto out;
	promote_hottest(p->of->promote, p->svc, take_hot, &t);
	qsort(t.keys, t.n, sizeof(*t.keys), by_n);
	for (__u32 i = 0; i < t.n && i < p->c.top; i++)
		policy_run_add(p, t.keys[i].key, t.keys[i].len);
out:
	free(t.keys);
}

/* ---- each second ------------------------------------------------------------------------------ */

static int lookups_of(struct dataplane *dp, __u8 svc, __u64 *n)
{
	static const __u8 lookups[] = { WEIR_R_HIT, WEIR_R_MISS, WEIR_R_EXPIRED, WEIR_R_FENCED, WEIR_R_LEASE_OVER,
					WEIR_R_CAS_UNKNOWN, WEIR_R_INEXACT, WEIR_R_TOO_LONG, WEIR_R_NO_ROOM };
	struct weir_count counts[WEIR_R_COUNT];
	int err = dp_counts(dp, svc, counts);

	*n = 0;
	for (unsigned i = 0; !err && i < sizeof(lookups) / sizeof(*lookups); i++)
		*n += counts[lookups[i]].packets;
	return err;
}

/* A second in which the loop waited for something, or the host slept, was longer than others. */
static void count(struct policy *p, struct dataplane *dp, __u64 now)
{
	double seconds = (now - p->counted_ns) / 1e9;
	time_t wall = time(NULL);
	__u64 lookups;
	struct tm tm;

	if (lookups_of(dp, p->svc, &lookups)) {
		p->counted_ns = 0;
		return;
	}
	localtime_r(&wall, &tm);
	if (p->counted_ns && lookups >= p->lookups && seconds > 0.1)
		surge_second(&p->surge, (lookups - p->lookups) / seconds, tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
	p->lookups = lookups;
	p->counted_ns = now;
}

void policy_traffic_second(struct policy *p, struct dataplane *dp, __u64 now)
{
	count(p, dp, now);
	if (now - p->saved_ns >= SAVE_NS)
		policy_traffic_save(p);
	if (p->active || !surge_now(&p->surge, p->c.above) || (p->last_ns && now - p->last_ns < p->c.cooldown_ns))
		return;
	say(LOG_NOTICE, "policy %s: %.0f lookups a second, %.0f are usual", p->c.name, p->surge.rate,
	    surge_usual(&p->surge));
	warm_hottest(p);
}
