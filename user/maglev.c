// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "maglev.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "weir/hash.h"

/* A backend's order of preference: (at + i * step) % WEIR_MAGLEV. The size is a prime, so it names each place. */
struct turn {
	__u32 at, step;
	__u64 due; /* the round, times its weight, of its next turn */
};

static int by_name(const void *a, const void *b)
{
	return strncmp(((const struct maglev_entry *)a)->name, ((const struct maglev_entry *)b)->name, WEIR_NAME_MAX);
}

/* No seed: all hosts and all runs shall have the same. */
static __u64 hash_name(__u64 h, const char *name)
{
	__u64 words[WEIR_NAME_MAX / 8] = {};

	memcpy(words, name, strnlen(name, sizeof(words)));
	for (unsigned i = 0; i < sizeof(words) / 8; i++)
		h = weir_hash_word(h, le64toh(words[i]));
	return h;
}

static struct turn first_turn(const char *pool, const char *backend)
{
	__u64 h = hash_name(hash_name(weir_hash_start(0, 0), pool), backend);
	__u64 at = weir_hash_end(h, 1), step = weir_hash_end(weir_hash_word(h, 2), 2);

	return (struct turn){ .at = at % WEIR_MAGLEV, .step = step % (WEIR_MAGLEV - 1) + 1 };
}

/* Its best place that is still free. */
static __u32 take(struct turn *t, const __u16 *taken)
{
	__u32 at;

	do {
		at = t->at;
		t->at = (t->at + t->step) % WEIR_MAGLEV;
	} while (taken[at] != WEIR_BACKEND_NONE);
	return at;
}

/* In each round those take a turn whose part is due: all of the greatest weight, the others now and then. */
static void fill(__u16 *out, struct turn *turns, const struct maglev_entry *e, unsigned n)
{
	__u64 greatest = 0;
	unsigned filled = 0;

	for (unsigned i = 0; i < n; i++)
		greatest = e[i].weight > greatest ? e[i].weight : greatest;
	for (__u64 round = 1;; round++) {
		for (unsigned i = 0; i < n; i++) {
			if (round * e[i].weight < turns[i].due + greatest)
				continue;
			turns[i].due += greatest;
			out[take(&turns[i], out)] = e[i].place;
			if (++filled == WEIR_MAGLEV)
				return;
		}
	}
}

void maglev_fill(struct weir_maglev *table, const char *pool, struct maglev_entry *e, unsigned n)
{
	struct turn turns[n + 1];
	__u16 out[WEIR_MAGLEV];

	memset(out, 0xff, sizeof(out)); /* WEIR_BACKEND_NONE */
	qsort(e, n, sizeof(*e), by_name);
	for (unsigned i = 0; i < n; i++)
		turns[i] = first_turn(pool, e[i].name);
	if (n)
		fill(out, turns, e, n);
	for (int i = 0; i < WEIR_MAGLEV; i++) {
		if (table->place[i] != out[i])
			__atomic_store_n(&table->place[i], out[i], __ATOMIC_RELAXED);
	}
}
