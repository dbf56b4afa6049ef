/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics of invalidations, and of the bus that some of them come by. */
#include "agent_hot.h"
#include "bus.h"
#include "metrics_build.h"

static void collect_reason(struct build *b, const struct weir_invalidation *i)
{
	const char *reason = build_text(b, i->reason, sizeof(i->reason));

	for (int s = 0; s < WEIR_INVAL_SOURCES; s++) {
		for (int l = 0; l < WEIR_INVAL_LEVELS; l++) {
			__u64 n = __atomic_load_n(&i->n[s][l], __ATOMIC_RELAXED);

			if (n)
				build_add(b, FAMILY_INVALIDATIONS, n, "source", inval_sources[s], "level",
					  inval_levels[l], "reason", reason, NULL);
		}
	}
}

void collect_invalidations(struct build *b)
{
	const struct weir_invalidation *table = dp_hotset_mem(b->dp)->invalidations;

	for (unsigned i = 0; table && i <= WEIR_INVAL_REASONS; i++) {
		if (__atomic_load_n(&table[i].reason[0], __ATOMIC_ACQUIRE))
			collect_reason(b, &table[i]);
	}
}

void collect_bus(struct build *b)
{
	const struct bus_counts *c = b->agent->hot ? bus_counts(b->agent->hot->bus) : NULL;

	if (!c)
		return;
	build_add(b, FAMILY_BUS_UP, c->up, NULL);
	if (c->fresh_ns)
		build_add(b, FAMILY_BUS_LAG, b->now > c->fresh_ns ? (b->now - c->fresh_ns) / 1e9 : 0, NULL);
	build_add(b, FAMILY_BUS_ENTRIES, c->keys, "kind", "key", NULL);
	build_add(b, FAMILY_BUS_ENTRIES, c->prefixes, "kind", "prefix", NULL);
	build_add(b, FAMILY_BUS_ENTRIES, c->services, "kind", "service", NULL);
	build_add(b, FAMILY_BUS_ENTRIES, c->events, "kind", "event", NULL);
	build_add(b, FAMILY_BUS_ENTRIES, c->elsewhere, "kind", "elsewhere", NULL);
	build_add(b, FAMILY_BUS_ENTRIES, c->malformed, "kind", "malformed", NULL);
	build_add(b, FAMILY_BUS_REPLAYS, c->replays, NULL);
	build_add(b, FAMILY_BUS_RESETS, c->resets, NULL);
	build_add(b, FAMILY_BUS_CONNECTS, c->connects, "result", "ok", NULL);
	build_add(b, FAMILY_BUS_CONNECTS, c->failures, "result", "failed", NULL);
}
