// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "held.h"

#include <string.h>

int held_init(struct held *h, __u64 window_ns, __u64 now_ns)
{
	memset(h, 0, sizeof(*h));
	panes_init(&h->panes, window_ns, now_ns);
	return key_index_init(&h->index, 64);
}

void held_clear(struct held *h)
{
	for (__u32 i = 0; i < h->nall; i++)
		free(h->all[i]);
	free(h->all);
	key_index_free(&h->index);
	memset(h, 0, sizeof(*h));
}

struct held_key *held_find(const struct held *h, __u64 hash, const char *key, size_t len)
{
	__u32 at = hash >> 32, id;

	while ((id = key_index_next(&h->index, hash, &at)) != KEY_NONE) {
		struct held_key *k = h->all[id];

		if (k->hash == hash && k->len == len && !memcmp(k->key, key, len))
			return k;
	}
	return NULL;
}

struct held_key *held_by_hash(const struct held *h, __u64 hash)
{
	__u32 at = hash >> 32, id;

	while ((id = key_index_next(&h->index, hash, &at)) != KEY_NONE) {
		if (h->all[id]->hash == hash)
			return h->all[id];
	}
	return NULL;
}

static int make_room(struct held *h)
{
	__u32 room = h->room ? 2 * h->room : 64;
	struct held_key **all = h->nall < h->room ? h->all : realloc(h->all, room * sizeof(*all));

	if (!all)
		return -ENOMEM;
	if (h->nall == h->room)
		h->room = room;
	h->all = all;
	return 0;
}

static __u32 free_place(struct held *h)
{
	while (h->full < h->nall && h->all[h->full])
		h->full++;
	return h->full;
}

struct held_key *held_add(struct held *h, __u64 hash, const char *key, size_t len, __u64 now_ns)
{
	struct held_key *k = calloc(1, sizeof(*k) + len);
	__u32 id;

	if (!k || make_room(h)) {
		free(k);
		return NULL;
	}
	id = free_place(h);
	if (key_index_add(&h->index, hash, id)) {
		free(k);
		return NULL;
	}
	k->hash = hash;
	k->since_ns = now_ns;
	k->id = id;
	k->len = len;
	memcpy(k->key, key, len);
	h->all[id] = k;
	h->nall += id == h->nall;
	h->n++;
	return k;
}

void held_remove(struct held *h, struct held_key *k)
{
	key_index_remove(&h->index, k->hash, k->id);
	h->all[k->id] = NULL;
	if (k->id < h->full)
		h->full = k->id;
	h->n--;
	h->nin -= k->in;
	free(k);
}

void held_set_in(struct held *h, struct held_key *k, __u64 now_ns)
{
	h->nin += !k->in;
	k->in = true;
	k->since_ns = now_ns;
}

void held_turn(struct held *h, __u64 now_ns)
{
	unsigned n = panes_turn(&h->panes, now_ns);

	for (unsigned back = 0; back < n; back++) {
		unsigned p = pane_slot(h->panes.number + PANE_SLOTS - back);

		for (__u32 i = 0; i < h->nall; i++)
			if (h->all[i])
				h->all[i]->hits[p] = h->all[i]->writes[p] = 0;
	}
}

static void add(__u32 *n, __u64 more)
{
	*n = *n + more < 0xffffffffULL ? *n + more : 0xffffffffU;
}

/* A write raises its fence when it comes, and when its reply does. A counter that is less is another one. */
void held_look(struct held *h, struct held_key *k, __u64 counter, __u64 fence, __u64 now_ns)
{
	unsigned p;

	held_turn(h, now_ns);
	p = pane_slot(h->panes.number);
	add(&k->hits[p], counter >= k->counter ? counter - k->counter : counter);
	add(&k->writes[p], fence >= k->fence ? (fence - k->fence + 1) / 2 : 0);
	k->counter = counter;
	k->fence = fence;
}

__u64 held_hits(const struct held *h, const struct held_key *k, __u64 now_ns)
{
	return panes_sum(&h->panes, k->hits, now_ns);
}

__u64 held_writes(const struct held *h, const struct held_key *k, __u64 now_ns)
{
	return panes_sum(&h->panes, k->writes, now_ns);
}

__u64 held_lately(const struct held *h, const __u32 *n)
{
	return (__u64)n[pane_slot(h->panes.number)] + n[pane_slot(h->panes.number + PANE_SLOTS - 1)];
}
