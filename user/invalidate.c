// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "invalidate.h"

#include <string.h>

#include "weir/hash.h"

#define NO_REASON "unspecified"

const char *const inval_levels[] = {
#define NAME(sym, name) [WEIR_INVAL_##sym] = name,
	WEIR_INVAL_LEVEL_LIST(NAME) NULL
};
const char *const inval_sources[] = { WEIR_INVAL_SOURCE_LIST(NAME) NULL };

/* ---- counting --------------------------------------------------------------------------------- */

bool inval_reason_ok(const char *reason, size_t len)
{
	if (!len || len > WEIR_INVAL_REASON_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (reason[i] <= ' ' || reason[i] > '~')
			return false;
	}
	return true;
}

/* FNV-1a; never 0. */
static __u64 hash_of(const char *text)
{
	__u64 h = 0xcbf29ce484222325ULL;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3ULL;
	return h ?: 1;
}

static void write_name(struct weir_invalidation *to, const char *reason)
{
	size_t len = strlen(reason);

	if (__atomic_load_n(&to->reason[0], __ATOMIC_ACQUIRE))
		return;
	memcpy(to->reason + 1, reason + 1, len);
	__atomic_store_n(&to->reason[0], reason[0], __ATOMIC_RELEASE);
}

static struct weir_invalidation *place_of(struct weir_invalidation *table, const char *reason)
{
	struct weir_invalidation *other = &table[WEIR_INVAL_REASONS];
	__u64 hash = hash_of(reason);

	for (unsigned i = 0; i < WEIR_INVAL_REASONS && strcmp(reason, "other"); i++) {
		__u64 is = 0;

		if (__atomic_compare_exchange_n(&table[i].hash, &is, hash, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			is = hash;
		if (is != hash)
			continue;
		write_name(&table[i], reason);
		return &table[i];
	}
	write_name(other, "other");
	return other;
}

static void count(const struct hotset_mem *m, const struct inval *by, enum weir_inval_level level, unsigned n)
{
	struct weir_invalidation *to;

	if (!m->invalidations)
		return;
	to = place_of(m->invalidations, by->reason ?: NO_REASON);
	__atomic_fetch_add(&to->n[by->source][level], n, __ATOMIC_RELAXED);
}

/* ---- fences ----------------------------------------------------------------------------------- */

/*
 * The memory is mapped for writing where writers and the agent have it; `const` in hotset_mem keeps the rest of
 * the control plane from writing there. The time comes first, as in the programs: whoever sees the new count
 * settles.
 */
static void fence_stripe(const struct hotset_mem *m, __u8 svc, const char *key, size_t len)
{
	__u32 stripe = weir_stripe(hot_hash(m->ctl->hash_seed, svc, key, len));
	struct weir_fence *f = (struct weir_fence *)&m->fences[stripe];

	__atomic_store_n(&f->last_ns, monotonic_ns(), __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->count, 1, __ATOMIC_SEQ_CST);
}

void inval_fence_service(const struct hotset_mem *m, __u8 svc)
{
	struct weir_svc_fence *f = (struct weir_svc_fence *)&m->svc_fences[svc];

	__atomic_store_n(&f->last_ns, monotonic_ns(), __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->count, 1, __ATOMIC_SEQ_CST);
}

void inval_key(const struct hotset_mem *m, const struct inval *by, __u8 svc, const char *key, size_t len)
{
	fence_stripe(m, svc, key, len);
	count(m, by, WEIR_INVAL_KEY, 1);
}

void inval_service(const struct hotset_mem *m, const struct inval *by, __u8 svc)
{
	inval_fence_service(m, svc);
	count(m, by, WEIR_INVAL_SERVICE, 1);
}

void inval_prefixes(const struct hotset_mem *m, const struct inval *by, __u8 svc, unsigned n)
{
	struct weir_svc_fence *f = (struct weir_svc_fence *)&m->svc_fences[svc];

	__atomic_fetch_add(&f->fills, 1, __ATOMIC_SEQ_CST);
	count(m, by, WEIR_INVAL_PREFIX, n);
}

bool inval_has_prefix(const struct hotset_mem *m, const struct weir_slot *s, __u8 svc,
		      const struct inval_prefix *prefixes, unsigned n)
{
	const char *key = slot_key(s);

	if (s->svc != svc)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (prefixes[i].len > s->key_len || memcmp(key, prefixes[i].text, prefixes[i].len))
			continue;
		fence_stripe(m, svc, key, s->key_len);
		return true;
	}
	return false;
}
