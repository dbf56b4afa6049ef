// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Warming. A fetched value is published with the fence as it stood before the fetch, so a write
 * that overtakes it leaves a copy that never answers; such a key is asked for again.
 */
#include "warm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "origin.h"
#include "out.h"

#define NSEC     1000000000ULL
#define ROUNDS   3          /* how often a key that is being written is tried again */
#define FLUSH_NS (2 * NSEC) /* memcached's clock has whole seconds, and so has the date of a flush */

/* Where an entry came from. */
struct source {
	unsigned list;
	unsigned long line;
};

/* A key that the origin was, or is to be, asked for. */
struct ask {
	struct ask *next;
	struct source src;
	struct hot_fence fence; /* before it was asked for */
	__u64 ttl_ns;
	size_t key_len;
	char key[];
};

/* The origin answers in the order of the questions, so both kinds of asks stand in queues. */
struct queue {
	struct ask *first, **end;
};

/* --strict: an item that waits for all the others. */
struct held {
	struct held *next;
	struct source src;
	struct hot_item item;
	char bytes[]; /* key, value */
};

/* Hashes of keys; 0 is a free place. */
struct keyset {
	__u64 *at;
	size_t n, cap;
};

struct warm {
	const struct warm_opts *o;
	struct warm_report *r;
	const struct hotset_mem *mem;
	struct list *const *lists;
	unsigned nlists, list; /* the one that is read */
	struct hotset *h;      /* NULL: none */
	struct origin *origin;
	int origin_err; /* lost, or never there */
	struct queue asked, deferred;
	struct held *held, **held_end;
	struct keyset named; /* keys of good lines, for --replace */
	int err;             /* no memory, in a callback that can only count */
};

/* A private copy of the hot set, on which changes can be tried. */
struct trial {
	struct hotset_mem mem;
	struct weir_ctl ctl;
	size_t index_len, slabs_len;
};

static const struct {
	const char *name;
	bool fails;
} skips[] = {
#define SKIP(sym, name, fails) {name, fails},
	WARM_SKIPS(SKIP)};

const char *warm_skip_name(enum warm_skip s)
{
	return skips[s].name;
}

bool warm_ok(const struct warm_report *r)
{
	for (int i = 0; i < WARM_SKIP_COUNT; i++) {
		if (skips[i].fails && r->skipped[i])
			return false;
	}
	return true;
}

void warm_report_free(struct warm_report *r)
{
	free(r->list_lines);
	r->list_lines = NULL;
}

static int give_up(struct warm *w, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int give_up(struct warm *w, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->r->error, sizeof(w->r->error), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- counting --------------------------------------------------------------------------------- */

static void skip(struct warm *w, enum warm_skip s, const struct source *src, const char *why)
{
	w->r->skipped[s]++;
	if (w->o->fault)
		w->o->fault(list_name(w->lists[src->list]), src->line, why, w->o->arg);
}

/* The same, with the key before the reason. */
static void skip_key(struct warm *w, enum warm_skip s, const struct source *src, const char *key,
		     size_t key_len, const char *why)
{
	char text[400];

	if (!w->o->fault) {
		w->r->skipped[s]++;
		return;
	}
	snprintf(text, sizeof(text), "%.250s: %s", printable(key, key_len), why);
	skip(w, s, src, text);
}

static void drop_key(struct warm *w, const char *key, size_t key_len)
{
	if (w->o->replace && !w->o->strict && w->h && !hotset_drop(w->h, w->o->svc, key, key_len))
		w->r->removed++;
}

/* ---- hashes of keys --------------------------------------------------------------------------- */

static size_t keyset_place(const struct keyset *k, __u64 hash)
{
	size_t i = hash & (k->cap - 1);

	while (k->at[i] && k->at[i] != hash)
		i = (i + 1) & (k->cap - 1);
	return i;
}

static int keyset_grow(struct keyset *k)
{
	struct keyset wide = {.cap = k->cap ? k->cap * 2 : 1024, .n = k->n};

	wide.at = calloc(wide.cap, sizeof(*wide.at));
	if (!wide.at)
		return -ENOMEM;
	for (size_t i = 0; i < k->cap; i++) {
		if (k->at[i])
			wide.at[keyset_place(&wide, k->at[i])] = k->at[i];
	}
	free(k->at);
	*k = wide;
	return 0;
}

static int keyset_add(struct keyset *k, __u64 hash)
{
	size_t i;

	hash += !hash;
	if (k->n * 3 >= k->cap * 2 && keyset_grow(k))
		return -ENOMEM;
	i = keyset_place(k, hash);
	k->n += !k->at[i];
	k->at[i] = hash;
	return 0;
}

static bool keyset_has(const struct keyset *k, __u64 hash)
{
	hash += !hash;
	return k->cap && k->at[keyset_place(k, hash)] == hash;
}

/* ---- putting ---------------------------------------------------------------------------------- */

int warm_flush_cap(const struct hotset_mem *mem, __u8 svc, __u64 asked_ns, __u64 *cap_ns)
{
	__u64 at = __atomic_load_n(&mem->svc_fences[svc].flush_at_ns, __ATOMIC_ACQUIRE);

	*cap_ns = WEIR_NEVER;
	if (at == WEIR_NEVER)
		return -EBUSY;
	if (at && asked_ns < at + FLUSH_NS)
		*cap_ns = at - FLUSH_NS > asked_ns && at > FLUSH_NS ? at - FLUSH_NS : 0;
	return 0;
}

/* False: skipped, a flush is too near, or has struck since the value was asked for. */
static bool cap_expiry(struct warm *w, struct hot_item *it, __u64 asked_ns, const struct source *src)
{
	__u64 cap;

	if (!warm_flush_cap(w->mem, it->svc, asked_ns, &cap) && cap > monotonic_ns()) {
		if (it->expires_ns > cap)
			it->expires_ns = cap;
		return true;
	}
	skip_key(w, WARM_FLUSH, src, it->key, it->key_len, "a flush_all with a date is about to strike");
	return false;
}

static int hold(struct warm *w, const struct hot_item *it, const struct source *src)
{
	struct held *held = malloc(sizeof(*held) + it->key_len + it->value_len);

	if (!held)
		return -ENOMEM;
	*held = (struct held){.src = *src, .item = *it};
	memcpy(held->bytes, it->key, it->key_len);
	if (it->value_len)
		memcpy(held->bytes + it->key_len, it->value, it->value_len);
	held->item.key = held->bytes;
	held->item.value = held->bytes + it->key_len;
	*w->held_end = held;
	w->held_end = &held->next;
	return 0;
}

static void count_put(struct warm *w, const struct hot_item *it, const struct source *src, int result)
{
	switch (result) {
	case HOT_UNCHANGED:
		w->r->unchanged++;
		return;
	case HOT_ADDED:
		w->r->added++;
		w->r->value_bytes += it->value_len;
		return;
	case HOT_REPLACED:
		w->r->replaced++;
		w->r->value_bytes += it->value_len;
		return;
	case -EXFULL:
		skip_key(w, WARM_FULL, src, it->key, it->key_len, "does not fit: both its buckets are full");
		return;
	case -ENOSPC:
		skip_key(w, WARM_FULL, src, it->key, it->key_len, "does not fit: the hot set is full");
		return;
	case -EINVAL:
		skip_key(w, WARM_BAD_LINE, src, it->key, it->key_len, "not a memcached key");
		return;
	}
	skip_key(w, WARM_TOO_LONG, src, it->key, it->key_len, "the reply would be longer than one datagram");
}

static int put(struct warm *w, struct hot_item *it, __u64 asked_ns, const struct source *src)
{
	int lines = hotset_lines(it);
	char why[80];

	if (it->value_len > w->o->value_max) {
		snprintf(why, sizeof(why), "the value has %zu bytes, value_max is %u", it->value_len,
			 w->o->value_max);
		skip_key(w, WARM_TOO_LONG, src, it->key, it->key_len, why);
		drop_key(w, it->key, it->key_len);
		return 0;
	}
	if (lines < 0 || !w->h) {
		count_put(w, it, src, lines < 0 ? lines : HOT_ADDED);
		if (lines == -EMSGSIZE)
			drop_key(w, it->key, it->key_len);
		return 0;
	}
	if (!cap_expiry(w, it, asked_ns, src))
		return 0;
	if (w->o->strict)
		return hold(w, it, src);
	count_put(w, it, src, hotset_put(w->h, it));
	return 0;
}

static __u64 expiry(__u64 from_ns, __u64 ttl_ns)
{
	return ttl_ns == WEIR_NEVER ? WEIR_NEVER : from_ns + ttl_ns;
}

/* ---- fetching --------------------------------------------------------------------------------- */

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->end = &q->first;
}

static void queue_add(struct queue *q, struct ask *a)
{
	a->next = NULL;
	*q->end = a;
	q->end = &a->next;
}

static struct ask *queue_take(struct queue *q)
{
	struct ask *a = q->first;

	if (!a)
		return NULL;
	q->first = a->next;
	if (!q->first)
		q->end = &q->first;
	return a;
}

static bool fence_moved(const struct warm *w, const struct ask *a)
{
	return hotset_fence_moved(w->h, w->o->svc, a->key, a->key_len, &a->fence);
}

static int put_fetched(struct warm *w, struct ask *a, const struct origin_reply *r)
{
	struct hot_item it = {
		.key = a->key,
		.key_len = a->key_len,
		.value = r->value,
		.value_len = r->value_len,
		.client_flags = r->client_flags,
		.svc = w->o->svc,
		.cas = r->cas_known ? r->cas : 0,
		.fence = a->fence,
		.expires_ns = expiry(r->sent_ns, a->ttl_ns),
	};

	if (r->cas_known)
		it.flags |= WEIR_SLOT_CAS;
	if (r->key_b64)
		it.flags |= WEIR_SLOT_KEY_B64;
	if (r->ttl_s < 0) {
		it.flags |= WEIR_SLOT_IMMORTAL;
	} else if (r->ttl_s <= 1) {
		skip_key(w, WARM_EXPIRING, &a->src, a->key, a->key_len,
			 "expires at the origin within a second");
		return 0;
	} else if ((__u64)r->ttl_s < WEIR_NEVER / 2 / NSEC) {
		__u64 end = r->sent_ns + (r->ttl_s - 1) * NSEC;

		it.expires_ns = end < it.expires_ns ? end : it.expires_ns;
	}
	return put(w, &it, r->sent_ns, &a->src);
}

static int on_reply(const struct origin_reply *r, void *cookie, void *arg)
{
	struct warm *w = arg;
	struct ask *a = queue_take(&w->asked);
	int err = 0;

	if (r->status == ORIGIN_FOUND && fence_moved(w, a)) {
		queue_add(&w->deferred, a);
		return 0;
	}
	switch (r->status) {
	case ORIGIN_FOUND:
		err = put_fetched(w, a, r);
		break;
	case ORIGIN_MISSING:
		skip_key(w, WARM_MISSING, &a->src, a->key, a->key_len, "not at the origin");
		drop_key(w, a->key, a->key_len);
		break;
	case ORIGIN_STALE:
		skip_key(w, WARM_STALE, &a->src, a->key, a->key_len, "the origin calls it stale");
		drop_key(w, a->key, a->key_len);
		break;
	case ORIGIN_ERROR:
		skip_key(w, WARM_ORIGIN, &a->src, a->key, a->key_len, r->why);
		break;
	}
	free(a);
	w->err = w->err ? w->err : err;
	return err;
}

/* The origin is lost: what it was asked for, and all that would be, is skipped. */
static void lose_origin(struct warm *w, int err)
{
	struct ask *a;

	w->origin_err = err;
	give_up(w, err, "origin %s: %s", w->o->origin, strerror(-err));
	while ((a = queue_take(&w->asked))) {
		skip_key(w, WARM_ORIGIN, &a->src, a->key, a->key_len, "the origin was lost");
		free(a);
	}
}

static bool have_origin(struct warm *w)
{
	int err;

	if (w->origin || w->origin_err)
		return !w->origin_err;
	err = origin_open(&w->origin, w->o->origin, w->o->timeout_ms, on_reply, w);
	if (err)
		lose_origin(w, err);
	return !err;
}

/* Whether a write may be on its way to the origin that a fetch would overtake. */
static bool settling(const struct warm *w, const struct ask *a)
{
	__u64 last = hotset_last_write(w->h, w->o->svc, a->key, a->key_len);

	return last && monotonic_ns() < last + w->o->settle_ms * (NSEC / 1000);
}

/* Takes `a` over. */
static int fetch(struct warm *w, struct ask *a)
{
	int err;

	if (!have_origin(w)) {
		skip_key(w, WARM_ORIGIN, &a->src, a->key, a->key_len, "the origin was lost");
		free(a);
		return 0;
	}
	a->fence = hotset_fence(w->h, w->o->svc, a->key, a->key_len);
	if (settling(w, a)) {
		queue_add(&w->deferred, a);
		return 0;
	}
	queue_add(&w->asked, a);
	err = origin_get(w->origin, a->key, a->key_len, a);
	if (err && !w->err)
		lose_origin(w, err);
	return w->err;
}

static int fetch_entry(struct warm *w, const struct list_entry *e, const struct source *src)
{
	struct ask *a;

	if (w->o->dry_run) {
		w->r->skipped[WARM_NOT_FETCHED]++;
		return 0;
	}
	if (!*w->o->origin) {
		skip_key(w, WARM_NO_ORIGIN, src, e->key, e->key_len,
			 "no value, and the service has no origin");
		return 0;
	}
	if (!hotset_key_ok(e->key, e->key_len)) {
		skip_key(w, WARM_BAD_LINE, src, e->key, e->key_len, "not a memcached key");
		return 0;
	}
	a = malloc(sizeof(*a) + e->key_len);
	if (!a)
		return -ENOMEM;
	*a = (struct ask){.src = *src, .key_len = e->key_len, .ttl_ns = e->ttl_ns ? e->ttl_ns : w->o->ttl_ns};
	memcpy(a->key, e->key, e->key_len);
	return fetch(w, a);
}

static int wait_for_origin(struct warm *w)
{
	int err = w->origin && !w->origin_err ? origin_flush(w->origin) : 0;

	if (err && !w->err)
		lose_origin(w, err);
	return w->err;
}

static void nap(unsigned ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* Asks again for the keys that were being written. */
static int fetch_deferred(struct warm *w)
{
	struct ask *a;
	int err = wait_for_origin(w);

	for (int round = 0; !err && round < ROUNDS && w->deferred.first; round++) {
		struct queue now = w->deferred;

		queue_init(&w->deferred);
		nap(w->o->settle_ms);
		while (!err && (a = queue_take(&now)))
			err = fetch(w, a);
		while ((a = queue_take(&now)))
			free(a);
		if (!err)
			err = wait_for_origin(w);
	}
	while ((a = queue_take(&w->deferred))) {
		skip_key(w, WARM_WRITING, &a->src, a->key, a->key_len, "a write to it is in flight");
		free(a);
	}
	return err;
}

/* ---- reading the lists ------------------------------------------------------------------------ */

static int on_entry(const struct list_entry *e, void *arg)
{
	struct warm *w = arg;
	struct source src = {w->list, e->line};
	__u64 now = monotonic_ns();
	struct hot_item it = {
		.key = e->key,
		.key_len = e->key_len,
		.value = e->value,
		.value_len = e->value_len,
		.client_flags = e->client_flags,
		.svc = w->o->svc,
	};

	w->r->lines++;
	w->r->list_lines[w->list]++;
	if (!e->value)
		return fetch_entry(w, e, &src);
	it.expires_ns = expiry(now, e->ttl_ns ? e->ttl_ns : w->o->ttl_ns);
	if (w->h)
		it.fence = hotset_fence(w->h, w->o->svc, e->key, e->key_len);
	return put(w, &it, now, &src);
}

static int on_bad(unsigned long line, const char *why, void *arg)
{
	struct warm *w = arg;
	struct source src = {w->list, line};
	bool expired = list_format(w->lists[w->list]) == LIST_METADUMP && !strcmp(why, "expired");

	w->r->lines++;
	w->r->list_lines[w->list]++;
	if (expired)
		w->r->skipped[WARM_EXPIRED]++;
	else
		skip(w, WARM_BAD_LINE, &src, why);
	return 0;
}

static void on_progress(__u64 done, __u64 total, void *arg)
{
	struct warm *w = arg;

	if (w->o->progress)
		w->o->progress(w->list, done, total, w->o->arg);
}

static int read_lists(struct warm *w, const struct list_sink *sink)
{
	int err = 0;

	for (w->list = 0; w->list < w->nlists && !err; w->list++) {
		err = list_read(w->lists[w->list], sink);
		if (err)
			return give_up(w, err, "%s: %s", list_name(w->lists[w->list]), strerror(-err));
	}
	return 0;
}

/* ---- --replace -------------------------------------------------------------------------------- */

static int name_entry(const struct list_entry *e, void *arg)
{
	struct warm *w = arg;

	return keyset_add(&w->named, hot_hash(w->mem->ctl->hash_seed, w->o->svc, e->key, e->key_len));
}

static int name_bad(unsigned long line, const char *why, void *arg)
{
	return 0;
}

static bool unnamed(const struct weir_slot *s, void *arg)
{
	struct warm *w = arg;

	return s->svc == w->o->svc &&
	       !keyset_has(&w->named, hot_hash(w->mem->ctl->hash_seed, s->svc, slot_key(s), s->key_len));
}

/* Lists that name nothing are a mistake somewhere before us more often than a wish for emptiness. */
static int read_names(struct warm *w)
{
	struct list_sink sink = {.entry = name_entry, .bad = name_bad, .arg = w};
	int err = read_lists(w, &sink);

	if (!err && !w->named.n)
		return give_up(w, -ENODATA,
			       "no list names a key: to empty the hot set, use `weir cache flush`");
	return err;
}

/* ---- trying first ----------------------------------------------------------------------------- */

static int no_wait(void *arg)
{
	return 0;
}

static void copy_slots(struct trial *t, const struct hotset_mem *mem)
{
	for (__u32 b = 0; b < t->ctl.index_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u32 place = t->mem.index[b].word[i], slab = place >> 10;
			size_t at = (place & (WEIR_SLAB_LINES - 1)) * WEIR_LINE;
			const struct weir_slot *s;

			if (!t->mem.index[b].word[i] || slab >= t->ctl.slabs)
				continue;
			s = (const void *)(mem->slabs[slab].bytes + at);
			if (s->lines && s->lines <= WEIR_SLOT_LINES_MAX)
				memcpy(t->mem.slabs[slab].bytes + at, s, s->lines * WEIR_LINE);
		}
	}
}

static void trial_end(struct trial *t)
{
	free(t->mem.index);
	if (t->mem.slabs)
		munmap(t->mem.slabs, t->slabs_len);
}

/* Only pages that hold a slot take memory. */
static int trial_start(struct trial *t, const struct hotset_mem *mem)
{
	void *slabs;

	t->ctl = *mem->ctl;
	t->ctl.dirty = 0;
	t->ctl.hit_entries = 0;
	t->index_len = (size_t)t->ctl.index_buckets * sizeof(*mem->index);
	t->slabs_len = (size_t)t->ctl.slabs * sizeof(*mem->slabs);
	t->mem = (struct hotset_mem){
		.ctl = &t->ctl, .fences = mem->fences, .svc_fences = mem->svc_fences, .grace = no_wait};
	t->mem.index = aligned_alloc(WEIR_LINE, t->index_len);
	slabs = mmap(NULL, t->slabs_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		     -1, 0);
	t->mem.slabs = slabs == MAP_FAILED ? NULL : slabs;
	if (!t->mem.index || !t->mem.slabs) {
		trial_end(t);
		return -ENOMEM;
	}
	memcpy(t->mem.index, mem->index, t->index_len);
	copy_slots(t, mem);
	return 0;
}

/* ---- --strict --------------------------------------------------------------------------------- */

static void put_held(struct warm *w)
{
	if (w->o->replace)
		w->r->removed += hotset_drop_if(w->h, unnamed, w);
	for (struct held *i = w->held; i; i = i->next)
		count_put(w, &i->item, &i->src, hotset_put(w->h, &i->item));
}

/* Nothing is changed, so nothing was done. */
static void withdraw(struct warm_report *r)
{
	r->skipped[WARM_STRICT] += r->added + r->replaced + r->unchanged;
	r->added = r->replaced = r->unchanged = r->removed = r->value_bytes = 0;
}

static __u64 count_held(const struct warm *w)
{
	__u64 n = 0;

	for (const struct held *i = w->held; i; i = i->next)
		n++;
	return n;
}

/* Puts what is held into a copy; into the hot set only when all of it fits there. */
static int finish_strict(struct warm *w)
{
	struct warm_report before = *w->r;
	struct hotset *real = w->h;
	struct trial t;
	int err;

	if (!warm_ok(w->r)) {
		w->r->skipped[WARM_STRICT] += count_held(w);
		return 0;
	}
	err = trial_start(&t, w->mem);
	if (err)
		return err;
	err = hotset_open(&w->h, &t.mem);
	if (!err) {
		put_held(w);
		if (w->o->dry_run)
			w->r->usage = hotset_usage(w->h);
		hotset_close(w->h);
	}
	trial_end(&t);
	w->h = real;
	if (err)
		return err;
	if (!warm_ok(w->r)) {
		withdraw(w->r);
		return 0;
	}
	if (w->o->dry_run)
		return 0;
	*w->r = before;
	put_held(w);
	return 0;
}

/* ---- the whole -------------------------------------------------------------------------------- */

static bool lists_want_origin(const struct warm *w)
{
	for (unsigned i = 0; i < w->nlists; i++) {
		enum list_format f = list_format(w->lists[i]);

		if (f == LIST_KEYS || f == LIST_METADUMP)
			return true;
	}
	return false;
}

/* All that can fail for the whole fails here, before anything is changed. */
static int prepare(struct warm *w)
{
	__u64 cap;

	if (warm_flush_cap(w->mem, w->o->svc, monotonic_ns(), &cap))
		return give_up(w, -EBUSY,
			       "service %.31s: a flush_all with a date is pending; `weir cache flush` "
			       "clears it",
			       w->mem->ctl->services[w->o->svc].name);
	if (w->o->dry_run || !lists_want_origin(w))
		return 0;
	if (!*w->o->origin)
		return give_up(w, -ENODEV,
			       "service %.31s has no origin to fetch values from, and a list has none",
			       w->mem->ctl->services[w->o->svc].name);
	return have_origin(w) ? 0 : w->origin_err;
}

static int fill(struct warm *w)
{
	struct list_sink sink = {.entry = on_entry, .bad = on_bad, .progress = on_progress, .arg = w};
	int err = w->mem ? prepare(w) : 0;

	if (!err && w->o->replace && w->mem)
		err = read_names(w);
	if (err)
		return err;
	if (w->o->replace && !w->o->strict && w->h)
		w->r->removed += hotset_drop_if(w->h, unnamed, w);
	err = read_lists(w, &sink);
	if (!err && w->h)
		err = fetch_deferred(w);
	if (!err && w->o->strict && w->h)
		err = finish_strict(w);
	return err ? err : w->origin_err;
}

static void release(struct warm *w)
{
	struct held *held;
	struct ask *a;

	while ((a = queue_take(&w->asked)) || (a = queue_take(&w->deferred)))
		free(a);
	while ((held = w->held)) {
		w->held = held->next;
		free(held);
	}
	free(w->named.at);
	origin_close(w->origin);
}

/* How full it is once retired slots are free again. */
static void take_usage(struct warm *w, const struct hotset_mem *mem)
{
	struct hotset_mem reader = *mem;
	struct hotset *h;

	reader.grace = NULL;
	if (!hotset_open(&h, &reader)) {
		w->r->usage = hotset_usage(h);
		hotset_close(h);
	}
}

static int fill_mem(struct warm *w, const struct hotset_mem *mem)
{
	int err, late;

	w->mem = mem;
	err = hotset_open(&w->h, mem);
	if (err)
		return give_up(w, err, "the hot set cannot be opened: %s", strerror(-err));
	err = fill(w);
	late = hotset_close(w->h);
	w->h = NULL;
	if (!w->r->usage.capacity)
		take_usage(w, mem);
	if (late && !err)
		return give_up(w, late, "readers of replaced values cannot be waited for: %s",
			       strerror(-late));
	return err;
}

static int fill_copy(struct warm *w, const struct hotset_mem *mem)
{
	struct trial t;
	int err = trial_start(&t, mem);

	if (err)
		return err;
	err = fill_mem(w, &t.mem);
	trial_end(&t);
	return err;
}

int warm_run(const struct hotset_mem *mem, struct list *const *lists, unsigned nlists,
	     const struct warm_opts *o, struct warm_report *r)
{
	struct warm w = {.o = o, .r = r, .lists = lists, .nlists = nlists};
	int err;

	memset(r, 0, sizeof(*r));
	queue_init(&w.asked);
	queue_init(&w.deferred);
	w.held_end = &w.held;
	r->list_lines = calloc(nlists ? nlists : 1, sizeof(*r->list_lines));
	if (!r->list_lines)
		err = -ENOMEM;
	else if (!mem)
		err = o->dry_run ? fill(&w) : -EINVAL;
	else
		err = o->dry_run ? fill_copy(&w, mem) : fill_mem(&w, mem);
	if (err && !*r->error)
		snprintf(r->error, sizeof(r->error), "%s", strerror(-err));
	release(&w);
	return err;
}
