// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One table of keys for all panes; the present pane's counters are a heap of those keys that have one, least
 * first. With a new pane the heap begins empty, and keys that have no counter in any pane are forgotten.
 */
#include "sketch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "key_index.h"
#include "panes.h"

#define KEYS_KEPT 3  /* times the counters: so many keys a pane begins with at most */
#define DOOR_BITS 64 /* of each half of the doorkeeper, for each counter */
#define DOOR_FULL 4  /* it is full when one of so many bits is set */

struct key {
	__u64 hash;
	char *key;
	__u32 heap;            /* its place, KEY_NONE: no counter in this pane; of a free one the next */
	__u32 n[PANE_SLOTS];   /* seen while it had a counter */
	__u32 err[PANE_SLOTS]; /* what it began with */
	__u8 len;              /* 0: free */
};

/*
 * Two halves, the older of which is emptied, and becomes the new one, with each pane or when the new one is
 * full.
 */
struct door {
	__u64 *bits[2];
	__u32 mask, set;
	int now;
};

struct sketch {
	struct panes panes;
	struct key_index index;
	struct key *keys;
	__u32 nkeys, room, free; /* ever used, and a list of free ones */
	__u32 *heap, nheap, counters;
	__u32 floor[PANE_SLOTS]; /* what a key without a counter may have had at most */
	__u32 shut[PANE_SLOTS];  /* how often one key may have been kept out */
	struct door door;
	__u64 key_bytes, seen, kept_out;
};

/* ---- keys ------------------------------------------------------------------------------------- */

static __u32 find(const struct sketch *s, __u64 hash, const char *key, size_t len)
{
	__u32 at = hash >> 32, id;

	while ((id = key_index_next(&s->index, hash, &at)) != KEY_NONE) {
		const struct key *k = &s->keys[id];

		if (k->hash == hash && k->len == len && !memcmp(k->key, key, len))
			break;
	}
	return id;
}

static int more_keys(struct sketch *s)
{
	__u32 room = s->room ? s->room * 2 : 1024;
	struct key *keys = realloc(s->keys, room * sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	s->keys = keys;
	s->room = room;
	return 0;
}

/* Number of a new key, KEY_NONE: no memory. */
static __u32 new_key(struct sketch *s, __u64 hash, const char *key, size_t len)
{
	__u32 id = s->free;
	char *copy;

	if (id == KEY_NONE && s->nkeys == s->room && more_keys(s))
		return KEY_NONE;
	copy = malloc(len);
	if (id == KEY_NONE)
		id = s->nkeys;
	if (!copy || key_index_add(&s->index, hash, id)) {
		free(copy);
		return KEY_NONE;
	}
	if (id == s->nkeys)
		s->nkeys++;
	else
		s->free = s->keys[id].heap;
	memcpy(copy, key, len);
	s->keys[id] = (struct key){.hash = hash, .key = copy, .len = len, .heap = KEY_NONE};
	s->key_bytes += len;
	return id;
}

static void forget(struct sketch *s, __u32 id)
{
	struct key *k = &s->keys[id];

	key_index_remove(&s->index, k->hash, id);
	s->key_bytes -= k->len;
	free(k->key);
	k->key = NULL;
	k->len = 0;
	k->heap = s->free;
	s->free = id;
}

static bool is_empty(const struct key *k)
{
	__u32 any = 0;

	for (int i = 0; i < PANE_SLOTS; i++)
		any |= k->n[i] | k->err[i];
	return !any;
}

/* ---- the heap --------------------------------------------------------------------------------- */

static __u32 counter(const struct sketch *s, __u32 id)
{
	unsigned p = pane_slot(s->panes.number);

	return s->keys[id].n[p] + s->keys[id].err[p];
}

static void put(struct sketch *s, __u32 place, __u32 id)
{
	s->heap[place] = id;
	s->keys[id].heap = place;
}

/* Its counter is more than it was. */
static void sink(struct sketch *s, __u32 place)
{
	__u32 id = s->heap[place], n = counter(s, id), child;

	while ((child = 2 * place + 1) < s->nheap) {
		if (child + 1 < s->nheap && counter(s, s->heap[child + 1]) < counter(s, s->heap[child]))
			child++;
		if (counter(s, s->heap[child]) >= n)
			break;
		put(s, place, s->heap[child]);
		place = child;
	}
	put(s, place, id);
}

/* A new counter, of 1: nothing is less. */
static void rise(struct sketch *s, __u32 id)
{
	__u32 place = s->nheap++;

	while (place && counter(s, s->heap[(place - 1) / 2]) > counter(s, id)) {
		put(s, place, s->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(s, place, id);
}

/* The key with the least counter gives it to another one, which begins with what it had. */
static void replace_least(struct sketch *s, __u32 id)
{
	unsigned p = pane_slot(s->panes.number);
	__u32 least = s->heap[0], had = counter(s, least);
	struct key *out = &s->keys[least];

	out->n[p] = out->err[p] = 0;
	out->heap = KEY_NONE;
	if (is_empty(out))
		forget(s, least);
	s->floor[p] = had;
	s->keys[id].err[p] = had;
	s->keys[id].n[p] = 1;
	put(s, 0, id);
	sink(s, 0);
}

/* ---- the doorkeeper --------------------------------------------------------------------------- */

static bool door_has(const struct door *d, int half, __u64 hash)
{
	__u32 a = hash & d->mask, b = hash >> 32 & d->mask;

	return d->bits[half][a / 64] >> a % 64 & d->bits[half][b / 64] >> b % 64 & 1;
}

static void door_mark(struct door *d, __u32 at)
{
	__u64 bit = 1ULL << at % 64, *word = &d->bits[d->now][at / 64];

	d->set += !(*word & bit);
	*word |= bit;
}

static void door_turn(struct sketch *s)
{
	struct door *d = &s->door;

	d->now = !d->now;
	memset(d->bits[d->now], 0, (d->mask + 1) / 8);
	d->set = 0;
	s->shut[pane_slot(s->panes.number)]++;
}

/* Whether it came before, not long ago. */
static bool door_knows(struct sketch *s, __u64 hash)
{
	struct door *d = &s->door;
	/* Other bits than those which the index takes. */
	__u64 h = hash * 0x9e3779b97f4a7c15ULL;

	h ^= h >> 32;
	if (door_has(d, d->now, h) || door_has(d, !d->now, h))
		return true;
	if (d->set > d->mask / DOOR_FULL)
		door_turn(s);
	door_mark(d, h & d->mask);
	door_mark(d, h >> 32 & d->mask);
	return false;
}

static int door_init(struct door *d, __u32 counters)
{
	__u32 bits = 1 << 12;

	while (bits < counters * DOOR_BITS)
		bits *= 2;
	d->mask = bits - 1;
	d->bits[0] = calloc(bits / 64, 8);
	d->bits[1] = calloc(bits / 64, 8);
	return d->bits[0] && d->bits[1] ? 0 : -ENOMEM;
}

/* ---- panes ------------------------------------------------------------------------------------ */

static __u32 whole(const struct key *k)
{
	__u64 n = 0;

	for (int i = 0; i < PANE_SLOTS; i++)
		n += k->n[i];
	return n < KEY_NONE ? n : KEY_NONE;
}

static int by_size(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return (x < y) - (x > y);
}

/* Of so many keys that are kept the least count; *ties: how many of just that are not. */
static __u32 least_kept(const struct sketch *s, __u32 keep, __u32 *ties)
{
	__u32 *all = malloc(s->index.n * sizeof(*all)), n = 0, least;

	*ties = 0;
	if (!all)
		return 0;
	for (__u32 i = 0; i < s->nkeys; i++)
		if (s->keys[i].len)
			all[n++] = whole(&s->keys[i]);
	qsort(all, n, sizeof(*all), by_size);
	least = all[keep - 1];
	while (keep < n && all[keep++] == least)
		++*ties;
	free(all);
	return least;
}

/* Those with the fewest go, as if they had never been: the floors say how many that were. */
static void prune(struct sketch *s)
{
	__u32 keep = KEYS_KEPT * s->counters, least, ties;

	if (s->index.n <= keep)
		return;
	least = least_kept(s, keep, &ties);
	for (__u32 i = 0; i < s->nkeys; i++) {
		struct key *k = &s->keys[i];

		if (!k->len || whole(k) > least || (whole(k) == least && !ties))
			continue;
		ties -= whole(k) == least;
		for (int p = 0; p < PANE_SLOTS; p++)
			if (k->n[p] + k->err[p] > s->floor[p])
				s->floor[p] = k->n[p] + k->err[p];
		forget(s, i);
	}
}

static void turn(struct sketch *s, __u64 now_ns)
{
	unsigned n = panes_turn(&s->panes, now_ns);

	if (!n)
		return;
	for (__u32 i = 0; i < s->nheap; i++)
		s->keys[s->heap[i]].heap = KEY_NONE;
	s->nheap = 0;
	for (unsigned back = 0; back < n; back++) {
		unsigned p = pane_slot(s->panes.number + PANE_SLOTS - back);

		for (__u32 i = 0; i < s->nkeys; i++)
			s->keys[i].n[p] = s->keys[i].err[p] = 0;
		s->floor[p] = s->shut[p] = 0;
	}
	for (__u32 i = 0; i < s->nkeys; i++)
		if (s->keys[i].len && is_empty(&s->keys[i]))
			forget(s, i);
	prune(s);
	door_turn(s);
}

/* ---- verbs ------------------------------------------------------------------------------------ */

int sketch_new(struct sketch **out, __u32 counters, __u64 window_ns, __u64 now_ns)
{
	struct sketch *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	panes_init(&s->panes, window_ns, now_ns);
	s->counters = counters;
	s->free = KEY_NONE;
	s->shut[pane_slot(s->panes.number)] = 1;
	s->heap = malloc(counters * sizeof(*s->heap));
	if (!s->heap || key_index_init(&s->index, 1024) || door_init(&s->door, counters)) {
		sketch_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

void sketch_free(struct sketch *s)
{
	if (!s)
		return;
	for (__u32 i = 0; i < s->nkeys; i++)
		free(s->keys[i].key);
	free(s->keys);
	free(s->heap);
	free(s->door.bits[0]);
	free(s->door.bits[1]);
	key_index_free(&s->index);
	free(s);
}

/* Without a counter in this pane: it gets one, if the doorkeeper knows it or there are some left. */
static void enter(struct sketch *s, __u32 id)
{
	if (s->nheap == s->counters) {
		replace_least(s, id);
		return;
	}
	s->keys[id].n[pane_slot(s->panes.number)] = 1;
	rise(s, id);
}

__u64 sketch_add(struct sketch *s, __u64 hash, const char *key, size_t len, __u64 now_ns)
{
	__u32 id;

	turn(s, now_ns);
	s->seen++;
	id = find(s, hash, key, len);
	if (id == KEY_NONE && s->nheap == s->counters && !door_knows(s, hash)) {
		__u32 *floor = &s->floor[pane_slot(s->panes.number)];

		if (!*floor) /* it would say that none was kept out */
			*floor = counter(s, s->heap[0]);
		s->kept_out++;
		return 0;
	}
	if (id == KEY_NONE)
		id = new_key(s, hash, key, len);
	if (id == KEY_NONE)
		return 0;
	if (s->keys[id].heap == KEY_NONE) {
		enter(s, id);
	} else {
		s->keys[id].n[pane_slot(s->panes.number)]++;
		sink(s, s->keys[id].heap);
	}
	return panes_sum(&s->panes, s->keys[id].n, now_ns);
}

/* What a key may have had more in each pane. */
static __u64 bound(const struct sketch *s, const struct key *k)
{
	__u64 over = 0;

	for (int p = 0; p < PANE_SLOTS; p++) {
		bool counted = k && (k->n[p] || k->err[p]);

		over += counted ? k->err[p] : s->floor[p];
		over += (counted ? k->err[p] : s->floor[p]) ? s->shut[p] : 0;
	}
	return over;
}

bool sketch_find(struct sketch *s, __u64 hash, const char *key, size_t len, __u64 now_ns,
		 struct sketch_count *c)
{
	__u32 id;

	turn(s, now_ns);
	id = find(s, hash, key, len);
	c->n = id == KEY_NONE ? 0 : panes_sum(&s->panes, s->keys[id].n, now_ns);
	c->over = bound(s, id == KEY_NONE ? NULL : &s->keys[id]);
	return id != KEY_NONE;
}

void sketch_each(struct sketch *s, __u64 now_ns, sketch_fn fn, void *arg)
{
	turn(s, now_ns);
	for (__u32 i = 0; i < s->nkeys; i++) {
		const struct key *k = &s->keys[i];

		if (k->len)
			fn(k->key, k->len, k->hash, panes_sum(&s->panes, k->n, now_ns), arg);
	}
}

void sketch_usage(const struct sketch *s, struct sketch_usage *u)
{
	*u = (struct sketch_usage){
		.counters = s->counters,
		.used = s->nheap,
		.keys = s->index.n,
		.least = s->nheap == s->counters ? counter(s, s->heap[0]) : 0,
		.bytes = s->room * sizeof(*s->keys) + s->counters * sizeof(*s->heap) + s->key_bytes +
			 (s->index.mask + 1ULL) * sizeof(*s->index.slots) + (s->door.mask + 1ULL) / 4,
		.seen = s->seen,
		.kept_out = s->kept_out,
	};
}
