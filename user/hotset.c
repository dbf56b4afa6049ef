// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The hot set's writer. A slab is 1024 lines, given to slots of one length (its class) while it holds
 * any; what is free is known from a scan of the index at open.
 */
#include "hotset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "weir/hash.h"
#include "weir/reason.h"

#define NONE		 (~0U)
#define CLASSES		 (WEIR_SLOT_LINES_MAX + 1)
#define RETIRED_MAX	 65536 /* slots that wait for one grace period */
#define SLAB_MAP_WORDS	 (WEIR_SLAB_LINES / 64)

struct slab {
	__u64 used[SLAB_MAP_WORDS]; /* a bit a slot */
	__u32 next, prev;	    /* in its class's list of slabs with room, or the free list */
	__u16 nused;
	__u8 lines;		    /* of its slots; 0: free */
	bool listed;
};

struct retired {
	__u32 place; /* low half of the index word */
	__u32 entry; /* NONE: still in use by the key's new slot */
};

struct hotset {
	struct hotset_mem m;
	__u32 mask;
	__u64 keys, lines;
	struct slab *slabs;
	__u32 room[CLASSES]; /* first slab of the class with room */
	__u32 free_slab;     /* first free slab */
	__u32 *entries;	     /* stack of free hit counters */
	__u32 nentries;
	struct retired *retired;
	__u32 nretired;
	bool never_wait;
};

/* ---- slabs ------------------------------------------------------------------------------------ */

static __u32 slots_of(const struct slab *s)
{
	return WEIR_SLAB_LINES / s->lines;
}

static void unlink_slab(struct hotset *h, __u32 *head, __u32 i)
{
	struct slab *s = &h->slabs[i];

	if (s->prev != NONE)
		h->slabs[s->prev].next = s->next;
	else
		*head = s->next;
	if (s->next != NONE)
		h->slabs[s->next].prev = s->prev;
	s->listed = false;
}

static void link_slab(struct hotset *h, __u32 *head, __u32 i)
{
	struct slab *s = &h->slabs[i];

	s->prev = NONE;
	s->next = *head;
	if (*head != NONE)
		h->slabs[*head].prev = i;
	*head = i;
	s->listed = true;
}

static __u32 take_bit(struct slab *s)
{
	for (__u32 w = 0; w < SLAB_MAP_WORDS; w++) {
		if (s->used[w] != ~0ULL) {
			__u32 bit = __builtin_ctzll(~s->used[w]);

			s->used[w] |= 1ULL << bit;
			return w * 64 + bit;
		}
	}
	return NONE;
}

/* A slot in slab i, which has room. */
static __u32 take_slot(struct hotset *h, __u32 i)
{
	struct slab *s = &h->slabs[i];
	__u32 slot = take_bit(s);

	h->lines += s->lines;
	if (++s->nused == slots_of(s))
		unlink_slab(h, &h->room[s->lines], i);
	return i << 10 | slot * s->lines;
}

/* Index word's low half of a slot of at least `lines` lines, or NONE. Longer slots are taken only
 * when no slab is free. */
static __u32 alloc_slot(struct hotset *h, __u32 lines)
{
	__u32 i = h->free_slab;

	if (h->room[lines] != NONE)
		return take_slot(h, h->room[lines]);
	if (i != NONE) {
		unlink_slab(h, &h->free_slab, i);
		h->slabs[i].lines = lines;
		link_slab(h, &h->room[lines], i);
		return take_slot(h, i);
	}
	for (__u32 c = lines + 1; c < CLASSES; c++) {
		if (h->room[c] != NONE)
			return take_slot(h, h->room[c]);
	}
	return NONE;
}

static void free_slot(struct hotset *h, __u32 place)
{
	__u32 i = place >> 10, slot;
	struct slab *s = &h->slabs[i];

	slot = (place & (WEIR_SLAB_LINES - 1)) / s->lines;
	s->used[slot / 64] &= ~(1ULL << slot % 64);
	h->lines -= s->lines;
	if (!s->listed)
		link_slab(h, &h->room[s->lines], i);
	if (--s->nused)
		return;
	unlink_slab(h, &h->room[s->lines], i);
	s->lines = 0;
	link_slab(h, &h->free_slab, i);
}

/* ---- readers' grace --------------------------------------------------------------------------- */

static void free_retired(struct hotset *h)
{
	for (__u32 i = 0; i < h->nretired; i++) {
		free_slot(h, h->retired[i].place);
		if (h->retired[i].entry != NONE)
			h->entries[h->nentries++] = h->retired[i].entry;
	}
	h->nretired = 0;
}

/* Waits until no program holds a retired slot, then frees them all. */
static int recycle(struct hotset *h)
{
	int err = h->nretired ? h->m.grace(h->m.grace_arg) : 0;

	if (!err)
		free_retired(h);
	return err;
}

/* Before a slot goes out of the index: were it after, a writer killed in between would leave a slot that
 * looks free to the next one while readers may hold it. */
static void mark_dirty(struct hotset *h)
{
	__atomic_store_n(&h->m.ctl->dirty, 1, __ATOMIC_SEQ_CST);
}

static void retire(struct hotset *h, __u32 place, __u32 entry)
{
	/* When the wait fails the slots stay retired: that loses room, not soundness. */
	if (h->nretired == RETIRED_MAX && recycle(h))
		return;
	h->retired[h->nretired++] = (struct retired){ place, entry };
}

/* ---- slots ------------------------------------------------------------------------------------ */

static struct weir_slot *slot_at(const struct hotset_mem *m, __u32 place)
{
	__u8 *slab = m->slabs[place >> 10].bytes;

	return (struct weir_slot *)(slab + (place & (WEIR_SLAB_LINES - 1)) * WEIR_LINE);
}

static unsigned digits(__u64 n)
{
	unsigned d = 1;

	while (n >= 10) {
		n /= 10;
		d++;
	}
	return d;
}

static __u8 *put_number(__u8 *p, __u64 n, unsigned d)
{
	for (unsigned i = d; i-- > 0; n /= 10)
		p[i] = '0' + n % 10;
	return p + d;
}

static __u8 *put_bytes(__u8 *p, const void *src, size_t len)
{
	if (len) /* an empty value may stand nowhere */
		memcpy(p, src, len);
	return p + len;
}

/* RFC 1071, from an even offset, folded. */
static __u16 csum(const __u8 *p, size_t len)
{
	__u64 sum = 0;

	for (; len >= 4; p += 4, len -= 4) {
		__u32 w;

		memcpy(&w, p, 4);
		sum += w;
	}
	if (len) {
		__u32 w = 0;

		memcpy(&w, p, len);
		sum += w;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static size_t head_len(const struct hot_item *it)
{
	return WEIR_KEY_AT + it->key_len + 1 + digits(it->client_flags) + 1 + digits(it->value_len) + 2;
}

bool hotset_key_ok(const char *key, size_t key_len)
{
	if (!key_len || key_len > WEIR_KEY_MAX)
		return false;
	for (size_t i = 0; i < key_len; i++) {
		if ((unsigned char)key[i] <= ' ' || key[i] == 0x7f)
			return false;
	}
	return true;
}

int hotset_lines(const struct hot_item *it)
{
	size_t text, cas = it->flags & WEIR_SLOT_CAS ? digits(it->cas) : 0;

	if (!hotset_key_ok(it->key, it->key_len))
		return -EINVAL;
	if (it->value_len > WEIR_TEXT_MAX)
		return -EMSGSIZE;
	text = head_len(it) + it->value_len + WEIR_TAIL_LEN;
	if (text > WEIR_TEXT_MAX)
		return -EMSGSIZE;
	return (WEIR_SLOT_HDR + text + cas + WEIR_LINE - 1) / WEIR_LINE;
}

static void write_slot(struct weir_slot *s, const struct hot_item *it, __u32 entry, __u8 lines)
{
	__u8 *p = s->text, *value;

	memset(s, 0, sizeof(*s));
	s->flags_digits = digits(it->client_flags);
	s->len_digits = digits(it->value_len);
	s->cas_digits = it->flags & WEIR_SLOT_CAS ? digits(it->cas) : 0;
	p = put_bytes(p, "VALUE ", WEIR_KEY_AT);
	p = put_bytes(p, it->key, it->key_len);
	*p++ = ' ';
	p = put_number(p, it->client_flags, s->flags_digits);
	*p++ = ' ';
	p = put_number(p, it->value_len, s->len_digits);
	value = p = put_bytes(p, "\r\n", 2);
	p = put_bytes(p, it->value, it->value_len);
	p = put_bytes(p, "\r\nEND\r\n", WEIR_TAIL_LEN);
	s->head_len = value - s->text;
	s->value_len = it->value_len;
	s->csum_text = csum(s->text, p - s->text);
	s->csum_value = csum(value, it->value_len);
	if (s->cas_digits)
		put_number(p, it->cas, s->cas_digits);
	s->expires_ns = it->expires_ns;
	s->fence = it->fence.key;
	s->svc_fence = it->fence.svc;
	s->cas = it->cas;
	s->client_flags = it->client_flags;
	s->entry = entry;
	s->key_len = it->key_len;
	s->svc = it->svc;
	s->flags = it->flags;
	s->lines = lines;
}

static bool same_item(const struct weir_slot *s, const struct hot_item *it)
{
	return s->value_len == it->value_len && s->client_flags == it->client_flags && s->flags == it->flags &&
	       s->fence == it->fence.key && s->svc_fence == it->fence.svc &&
	       (!(it->flags & WEIR_SLOT_CAS) || s->cas == it->cas) &&
	       (!it->value_len || !memcmp(slot_value(s), it->value, it->value_len));
}

/* ---- the index -------------------------------------------------------------------------------- */

__u64 hot_hash(__u64 seed, __u8 svc, const char *key, size_t key_len)
{
	__u64 h = weir_hash_start(seed, svc), word;
	size_t i;

	for (i = 0; i + 8 <= key_len; i += 8) {
		memcpy(&word, key + i, 8);
		h = weir_hash_word(h, word);
	}
	word = 0;
	memcpy(&word, key + i, key_len - i);
	return weir_hash_end(weir_hash_word(h, word), key_len);
}

static __u64 *find_word(const struct hotset *h, __u64 hash, __u8 svc, const char *key, size_t key_len)
{
	__u32 buckets[2] = { weir_bucket1(hash, h->mask), weir_bucket2(hash, h->mask) };

	for (int b = 0; b < 2; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *w = &h->m.index[buckets[b]].word[i];
			struct weir_slot *s;

			if (*w >> 32 != weir_tag(hash))
				continue;
			s = slot_at(&h->m, (__u32)*w);
			if (s->svc == svc && s->key_len == key_len && !memcmp(slot_key(s), key, key_len))
				return w;
		}
	}
	return NULL;
}

/* A free word in the emptier of the two buckets, NULL: both are full. */
static __u64 *free_word(const struct hotset *h, __u64 hash)
{
	__u32 buckets[2] = { weir_bucket1(hash, h->mask), weir_bucket2(hash, h->mask) };
	__u64 *word = NULL;
	int most = 0;

	for (int b = 0; b < 2; b++) {
		__u64 *first = NULL;
		int nfree = 0;

		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *w = &h->m.index[buckets[b]].word[i];

			nfree += !*w;
			if (!*w && !first)
				first = w;
		}
		if (nfree > most) {
			most = nfree;
			word = first;
		}
	}
	return word;
}

static void publish(__u64 *word, __u64 hash, __u32 place)
{
	__atomic_store_n(word, (__u64)weir_tag(hash) << 32 | place, __ATOMIC_RELEASE);
}

static void unpublish(struct hotset *h, __u64 *word)
{
	__u32 place = *word;

	mark_dirty(h);
	__atomic_store_n(word, 0, __ATOMIC_RELEASE);
	h->keys--;
	retire(h, place, slot_at(&h->m, place)->entry);
}

/* ---- open and close --------------------------------------------------------------------------- */

/* Takes a published slot into account. False: the word points nowhere sensible. */
static bool adopt(struct hotset *h, __u32 place, __u64 *used_entries)
{
	__u32 i = place >> 10, line = place & (WEIR_SLAB_LINES - 1);
	struct weir_slot *s;
	struct slab *slab;

	if (i >= h->m.ctl->slabs)
		return false;
	s = slot_at(&h->m, place);
	slab = &h->slabs[i];
	if (!s->lines || s->lines >= CLASSES || line % s->lines || (slab->lines && slab->lines != s->lines) ||
	    s->entry >= h->m.ctl->entries)
		return false;
	slab->lines = s->lines;
	slab->used[line / s->lines / 64] |= 1ULL << (line / s->lines) % 64;
	slab->nused++;
	h->lines += s->lines;
	h->keys++;
	used_entries[s->entry / 64] |= 1ULL << s->entry % 64;
	return true;
}

static void list_slabs(struct hotset *h)
{
	for (__u32 i = h->m.ctl->slabs; i-- > 0;) {
		struct slab *s = &h->slabs[i];

		if (!s->lines)
			link_slab(h, &h->free_slab, i);
		else if (s->nused < slots_of(s))
			link_slab(h, &h->room[s->lines], i);
	}
}

static int scan(struct hotset *h)
{
	__u64 *used = calloc(h->m.ctl->entries / 64 + 1, sizeof(*used));

	if (!used)
		return -ENOMEM;
	for (__u32 b = 0; b <= h->mask; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *w = &h->m.index[b].word[i];

			if (*w && !adopt(h, *w, used))
				__atomic_store_n(w, 0, __ATOMIC_RELEASE);
		}
	}
	list_slabs(h);
	for (__u32 e = h->m.ctl->entries; e-- > 0;) {
		if (!(used[e / 64] >> e % 64 & 1))
			h->entries[h->nentries++] = e;
	}
	free(used);
	return 0;
}

static void free_all(struct hotset *h)
{
	if (!h)
		return;
	free(h->slabs);
	free(h->entries);
	free(h->retired);
	free(h);
}

int hotset_open(struct hotset **out, const struct hotset_mem *mem)
{
	struct hotset *h = calloc(1, sizeof(*h));
	int err = -ENOMEM;

	if (!h)
		return -ENOMEM;
	h->m = *mem;
	h->mask = mem->ctl->index_buckets - 1;
	h->free_slab = NONE;
	for (int c = 0; c < CLASSES; c++)
		h->room[c] = NONE;
	if (!mem->grace)
		goto done;
	__atomic_add_fetch(&mem->ctl->writers, 1, __ATOMIC_SEQ_CST); /* whoever kept a handle looks again */
	h->slabs = calloc(mem->ctl->slabs, sizeof(*h->slabs));
	h->entries = malloc((size_t)mem->ctl->entries * sizeof(*h->entries));
	h->retired = malloc(RETIRED_MAX * sizeof(*h->retired));
	if (!h->slabs || !h->entries || !h->retired)
		goto fail;
	if (mem->ctl->dirty) { /* a writer was killed: its retired slots may still be read */
		err = mem->grace(mem->grace_arg);
		if (err)
			goto fail;
		mem->ctl->dirty = 0;
	}
	err = scan(h);
	if (err)
		goto fail;
done:
	*out = h;
	return 0;
fail:
	free_all(h);
	return err;
}

int hotset_close(struct hotset *h)
{
	int err = 0;

	if (!h)
		return 0;
	if (h->m.grace) {
		err = recycle(h);
		if (!err)
			__atomic_store_n(&h->m.ctl->dirty, 0, __ATOMIC_SEQ_CST);
	}
	free_all(h);
	return err;
}

void hotset_never_wait(struct hotset *h)
{
	h->never_wait = true;
}

unsigned hotset_retired(const struct hotset *h)
{
	return h->nretired;
}

void hotset_waited(struct hotset *h)
{
	free_retired(h);
	__atomic_store_n(&h->m.ctl->dirty, 0, __ATOMIC_SEQ_CST);
}

void hotset_abandon(struct hotset *h)
{
	free_all(h);
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static __u32 alloc_or_recycle(struct hotset *h, __u32 lines)
{
	__u32 place = alloc_slot(h, lines);

	if (place == NONE && h->nretired && !h->never_wait && !recycle(h))
		place = alloc_slot(h, lines);
	return place;
}

static int no_room(const struct hotset *h)
{
	return h->never_wait && h->nretired ? -EAGAIN : -ENOSPC;
}

static __u32 alloc_entry(struct hotset *h)
{
	__u32 e;

	if (!h->nentries && (!h->nretired || h->never_wait || recycle(h) || !h->nentries))
		return NONE;
	e = h->entries[--h->nentries];
	for (__u32 cpu = 0; h->m.hits && cpu < h->m.ctl->ncpu; cpu++)
		h->m.hits[(size_t)cpu * h->m.ctl->hit_entries + e] = 0;
	return e;
}

static int replace(struct hotset *h, __u64 *word, __u64 hash, const struct hot_item *it, int lines)
{
	__u32 old = *word, place;
	struct weir_slot *s = slot_at(&h->m, old);
	__u32 entry = s->entry;

	if (same_item(s, it)) {
		__atomic_store_n(&s->expires_ns, it->expires_ns, __ATOMIC_RELAXED);
		return HOT_UNCHANGED;
	}
	place = alloc_or_recycle(h, lines);
	if (place == NONE)
		return no_room(h);
	write_slot(slot_at(&h->m, place), it, entry, h->slabs[place >> 10].lines);
	mark_dirty(h);
	publish(word, hash, place);
	retire(h, old, NONE);
	return HOT_REPLACED;
}

static int add(struct hotset *h, __u64 hash, const struct hot_item *it, int lines)
{
	__u64 *word = free_word(h, hash);
	__u32 place, entry;

	if (!word)
		return -EXFULL;
	entry = alloc_entry(h);
	if (entry == NONE)
		return no_room(h);
	place = alloc_or_recycle(h, lines);
	if (place == NONE) {
		h->entries[h->nentries++] = entry;
		return no_room(h);
	}
	write_slot(slot_at(&h->m, place), it, entry, h->slabs[place >> 10].lines);
	publish(word, hash, place);
	h->keys++;
	return HOT_ADDED;
}

int hotset_put(struct hotset *h, const struct hot_item *it)
{
	int lines = hotset_lines(it);
	__u64 hash, *word;

	if (lines < 0)
		return lines;
	hash = hot_hash(h->m.ctl->hash_seed, it->svc, it->key, it->key_len);
	word = find_word(h, hash, it->svc, it->key, it->key_len);
	return word ? replace(h, word, hash, it, lines) : add(h, hash, it, lines);
}

int hotset_drop(struct hotset *h, __u8 svc, const char *key, size_t key_len)
{
	__u64 hash = hot_hash(h->m.ctl->hash_seed, svc, key, key_len);
	__u64 *word = find_word(h, hash, svc, key, key_len);

	if (!word)
		return -ENOENT;
	unpublish(h, word);
	return 0;
}

const struct weir_slot *hotset_find(const struct hotset *h, __u8 svc, const char *key, size_t key_len)
{
	__u64 *word = find_word(h, hot_hash(h->m.ctl->hash_seed, svc, key, key_len), svc, key, key_len);

	return word ? slot_at(&h->m, *word) : NULL;
}

static const struct weir_fence *fence_of(const struct hotset *h, __u8 svc, const char *key, size_t key_len)
{
	return &h->m.fences[weir_stripe(hot_hash(h->m.ctl->hash_seed, svc, key, key_len))];
}

struct hot_fence hotset_fence(const struct hotset *h, __u8 svc, const char *key, size_t key_len)
{
	struct hot_fence f = {
		.key = __atomic_load_n(&fence_of(h, svc, key, key_len)->count, __ATOMIC_ACQUIRE),
		.svc = __atomic_load_n(&h->m.svc_fences[svc].count, __ATOMIC_ACQUIRE),
		.fills = __atomic_load_n(&h->m.svc_fences[svc].fills, __ATOMIC_ACQUIRE),
	};

	return f;
}

bool hotset_fence_moved(const struct hotset *h, __u8 svc, const char *key, size_t key_len,
			const struct hot_fence *since)
{
	struct hot_fence now = hotset_fence(h, svc, key, key_len);

	return now.key != since->key || now.svc != since->svc || now.fills != since->fills;
}

__u64 hotset_last_write(const struct hotset *h, __u8 svc, const char *key, size_t key_len)
{
	__u64 key_ns = __atomic_load_n(&fence_of(h, svc, key, key_len)->last_ns, __ATOMIC_ACQUIRE);
	__u64 svc_ns = __atomic_load_n(&h->m.svc_fences[svc].last_ns, __ATOMIC_ACQUIRE);

	return key_ns > svc_ns ? key_ns : svc_ns;
}

int hotset_state(const struct hotset *h, const struct weir_slot *s, __u64 now_ns)
{
	struct hot_fence f = hotset_fence(h, s->svc, slot_key(s), s->key_len);

	if (s->fence != f.key || s->svc_fence != f.svc)
		return WEIR_R_FENCED;
	return now_ns >= s->expires_ns ? WEIR_R_EXPIRED : WEIR_R_HIT;
}

const char *hotset_state_name(int reason)
{
	return reason == WEIR_R_HIT ? "hit" : reason == WEIR_R_EXPIRED ? "expired" : "fenced";
}

__u64 hotset_hits(const struct hotset *h, const struct weir_slot *s)
{
	__u64 n = 0;

	for (__u32 cpu = 0; h->m.hits && cpu < h->m.ctl->ncpu; cpu++)
		n += h->m.hits[(size_t)cpu * h->m.ctl->hit_entries + s->entry];
	return n;
}

int hotset_each(struct hotset *h, int (*fn)(const struct weir_slot *, void *), void *arg)
{
	return hotset_each_in(h, 0, h->mask + 1, fn, arg);
}

int hotset_each_in(struct hotset *h, __u32 first, __u32 n, int (*fn)(const struct weir_slot *, void *), void *arg)
{
	for (__u32 b = first; b - first < n && b <= h->mask; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 word = __atomic_load_n(&h->m.index[b].word[i], __ATOMIC_ACQUIRE);
			int r = word ? fn(slot_at(&h->m, word), arg) : 0;

			if (r)
				return r;
		}
	}
	return 0;
}

__u64 hotset_drop_if(struct hotset *h, bool (*fn)(const struct weir_slot *, void *), void *arg)
{
	__u64 n = 0;

	for (__u32 b = 0; b <= h->mask; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 *word = &h->m.index[b].word[i];

			if (!*word || !fn(slot_at(&h->m, *word), arg))
				continue;
			unpublish(h, word);
			n++;
		}
	}
	return n;
}

struct count {
	__u64 keys, lines;
};

static int count_slot(const struct weir_slot *s, void *arg)
{
	struct count *c = arg;

	c->keys++;
	c->lines += s->lines;
	return 0;
}

struct hotset_usage hotset_usage(const struct hotset *h)
{
	struct count c = { h->keys, h->lines };
	struct hotset_usage u = {
		.capacity = h->m.ctl->entries,
		.lines_total = (__u64)h->m.ctl->slabs * WEIR_SLAB_LINES,
	};

	if (!h->m.grace)
		hotset_each((struct hotset *)h, count_slot, &c);
	u.keys = c.keys;
	u.lines = c.lines;
	return u;
}

__u64 monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}
