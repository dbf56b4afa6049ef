// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Prefixes: why this is sound. The agent's own fills are spoiled by inval_prefixes(), since they compare before
 * they publish, in this very loop. Those of a command are, too, but for one that has compared and is about to
 * publish while the index is looked through here. A command that fills has the writers' lock from its beginning
 * to its end. So if the lock is free, or the agent's own, no command is at work, and one that begins now asks
 * the origin after this. If it is not, the fence of the service is raised instead.
 */
#include "invalidate_agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slot_copy.h"

/* Looking through the index takes that part of the loop's time, and no more than this at once. */
#define SCAN_SHARE 5
#define PURSE_NS   200000000LL
#define HOT_HITS   2	   /* since it is held */
#define REWARM_MAX (1 << 15) /* in the filler: the rest of its room is for others */

struct invalidate {
	struct filler *filler;
	struct writer *writer;
	struct dataplane *dp; /* NULL: nothing is loaded */
	const struct hotset_mem *mem;
	struct hotset *h; /* as a reader */
	bool kept[WEIR_SERVICES_MAX]; /* the agent fetches hot copies again */
	__s64 purse_ns;		      /* looking through the index is paid from it */
	__u64 paid_ns;		      /* when it was last filled */
};

/* As refresh.c has it: a service that a command made is kept, too. */
static bool is_kept(const struct config *c, const struct weir_ctl_svc *cs)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		if (!strncmp(c->services[i].name, cs->name, WEIR_NAME_MAX))
			return c->services[i].refresh;
	}
	return *cs->origin;
}

int invalidate_begin(struct invalidate *v, struct dataplane *dp, const struct config *c)
{
	struct hotset_mem mem = *dp_hotset_mem(dp);
	int err;

	invalidate_stop(v);
	mem.grace = NULL;
	err = hotset_open(&v->h, &mem);
	if (err)
		return err;
	v->dp = dp;
	v->mem = dp_hotset_mem(dp);
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		v->kept[i] = v->mem->hits && is_kept(c, &v->mem->ctl->services[i]);
	return 0;
}

void invalidate_stop(struct invalidate *v)
{
	hotset_close(v->h);
	v->h = NULL;
	v->mem = NULL;
	v->dp = NULL;
}

struct dataplane *invalidate_dp(const struct invalidate *v)
{
	return v->dp;
}

int invalidate_next(const struct invalidate *v, int svc)
{
	for (int i = svc + 1; v->mem && i < WEIR_SERVICES_MAX; i++) {
		const struct weir_ctl_svc *cs = &v->mem->ctl->services[i];

		if (*cs->name && cs->flags & WEIR_SVC_CACHE)
			return i;
	}
	return -1;
}

int invalidate_named(const struct invalidate *v, const char *name, size_t len)
{
	for (int i = invalidate_next(v, -1); i >= 0; i = invalidate_next(v, i)) {
		const char *is = v->mem->ctl->services[i].name;

		if (strnlen(is, WEIR_NAME_MAX) == len && !memcmp(is, name, len))
			return i;
	}
	return -1;
}

/* Another writer may be at work on the slot: then it is dropped, which asks for the key again. */
static void leave_or_drop(struct invalidate *v, const struct weir_slot *s, const char *key, size_t len)
{
	/* As refresh.c has it: without the origin's number it was given by hand. */
	if (!v->kept[s->svc % WEIR_SERVICES_MAX] || !(s->flags & WEIR_SLOT_CAS))
		fill_drop_dead(v->filler, s->svc, key, len);
}

bool invalidate_key(struct invalidate *v, const struct inval *by, __u8 svc, const char *key, size_t len)
{
	const struct weir_slot *s;

	inval_key(v->mem, by, svc, key, len);
	s = hotset_find(v->h, svc, key, len);
	if (s)
		leave_or_drop(v, s, key, len);
	return s;
}

static bool commands_write(const struct invalidate *v)
{
	int fd;

	if (writer_locked(v->writer))
		return false;
	fd = dp_lock_now(v->dp);
	if (fd < 0)
		return true;
	close(fd);
	return false;
}

static bool can_scan(struct invalidate *v)
{
	__u64 now = monotonic_ns();

	v->purse_ns += (now - v->paid_ns) / SCAN_SHARE;
	v->purse_ns = v->purse_ns < PURSE_NS ? v->purse_ns : PURSE_NS;
	v->paid_ns = now;
	return v->purse_ns > 0 && v->mem->ctl->index_buckets <= INVAL_BUCKETS_MAX;
}

struct scan {
	struct invalidate *v;
	__u8 svc;
	const struct inval_prefix *prefixes;
	unsigned n;
	__s64 held;
};

static int scan_slot(const struct weir_slot *s, void *arg)
{
	struct scan *scan = arg;

	if (!inval_has_prefix(scan->v->mem, s, scan->svc, scan->prefixes, scan->n))
		return 0;
	leave_or_drop(scan->v, s, slot_key(s), s->key_len);
	scan->held++;
	return 0;
}

__s64 invalidate_prefixes(struct invalidate *v, const struct inval *by, __u8 svc,
			  const struct inval_prefix *prefixes, unsigned n)
{
	struct scan scan = { v, svc, prefixes, n, 0 };

	inval_prefixes(v->mem, by, svc, n);
	if (n > INVAL_PREFIXES_MAX || !can_scan(v) || commands_write(v)) {
		inval_fence_service(v->mem, svc);
		return -1;
	}
	hotset_each(v->h, scan_slot, &scan);
	v->purse_ns -= monotonic_ns() - v->paid_ns;
	return scan.held;
}

void invalidate_service(struct invalidate *v, const struct inval *by, __u8 svc)
{
	inval_service(v->mem, by, svc);
}

/* refresh.c fetches again what it saw to be hot. An agent that has just started has seen nothing yet. */
static int rewarm_slot(const struct weir_slot *at, void *arg)
{
	struct invalidate *v = arg;
	struct key_copy k;
	const struct weir_slot *s = &k.slot;

	if (!copy_key(&k, v->mem, at) || !v->kept[s->svc] || !(s->flags & WEIR_SLOT_CAS) ||
	    hotset_hits(v->h, s) < HOT_HITS)
		return 0;
	if (filler_waiting(v->filler) >= REWARM_MAX)
		return 1;
	fill_ask(v->filler, s->svc, slot_key(s), s->key_len, FILL_REWARM, NULL, NULL);
	return 0;
}

void invalidate_rewarm(struct invalidate *v)
{
	if (v->mem && v->mem->hits && v->mem->ctl->index_buckets <= INVAL_BUCKETS_MAX)
		hotset_each(v->h, rewarm_slot, v);
}

int invalidate_new(struct invalidate **out, struct filler *f, struct writer *w)
{
	struct invalidate *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->filler = f;
	v->writer = w;
	*out = v;
	return 0;
}

void invalidate_free(struct invalidate *v)
{
	if (!v)
		return;
	invalidate_stop(v);
	free(v);
}
