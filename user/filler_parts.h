/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the three parts of the filler share, and nobody else: filler.c (who asks, and life), filler_fetch.c (to the
 * origin and back), filler_publish.c (into the hot set).
 *
 *	todo -> asked -> ready -> done		later: a write was too near, todo again after the settle time
 *
 * A fill stands in one of these; todo is a list for each service, so that none waits for another's origin.
 */
#ifndef WEIR_FILLER_PARTS_H
#define WEIR_FILLER_PARTS_H

#include <sys/queue.h>

#include "filler.h"
#include "origins.h"

#define FILLS_MAX   (1 << 16) /* keys in all stages */
#define FILL_TABLE  (1 << 14)
#define FILL_ROUNDS 3	      /* how often a key that is being written is tried again */
#define READY_MAX   4096      /* no more is fetched while so much waits for the lock */
#define BATCH_MAX   2048      /* published at once */
#define BATCH_US    20000     /* from one batch to the next, at least */

enum fill_stage { STAGE_TODO, STAGE_LATER, STAGE_ASKED, STAGE_READY };

/* Who waits for a fill. */
struct fill_waiter {
	struct fill_waiter *next;
	fill_fn fn;
	void *arg;
	enum fill_why why;
};

struct fill {
	TAILQ_ENTRY(fill) in; /* the list of its stage */
	struct fill *chain;   /* of the table */
	struct filler *f;
	enum fill_stage stage;
	bool listed;	      /* others can join it: it is in the table */
	bool spoiled;	      /* fill_drop() came: it publishes nothing */
	bool drops;	      /* READY: takes the key out, with `result`; else puts the item */
	bool removal;	      /* of fill_drop(): nobody waits for it */
	bool dead;	      /* of fill_drop_dead(): what answers by then stays */
	bool given;	      /* of fill_put(): it is not at an origin */
	bool moved;	      /* its fence has, when it was to be published */
	unsigned rounds;
	bool by_hand;	      /* given by hand was what was held when it was asked for: its place may be taken */
	__u64 due_ns;	      /* LATER */
	__u64 sent_ns;	      /* READY: when the value was asked for */
	enum fill_result result;
	struct fill_waiter first, *more;
	struct hot_item item; /* its key is here, its value malloc'ed */
	char key[];
};

TAILQ_HEAD(fills, fill);

struct fill_service {
	char name[WEIR_NAME_MAX]; /* "": no cache */
	struct origins *origins;  /* NULL: none */
	char at[ORIGINS_MAX][WEIR_ORIGIN_MAX];
	struct fills todo;
};

struct filler {
	sd_event *event;
	sd_event_source *fetch, *later_timer, *batch;
	struct writer *writer;
	struct dataplane *dp; /* NULL: nothing is loaded */
	const struct hotset_mem *mem;
	struct hotset *h;     /* as a reader */
	__u32 generation;     /* whose services these are */
	struct fill_service svc[WEIR_SERVICES_MAX];
	struct fills later, asked, ready;
	unsigned nready;
	struct fill *table[FILL_TABLE];
	__u64 settle_ns;
	struct filler_counts counts;
};

/* ---- filler.c --------------------------------------------------------------------------------- */

/* Tells who waits, and frees it. It stands in the list of its stage. */
void fill_finish(struct fill *fill, enum fill_result r);
/* Into the list of another stage. */
void fill_move(struct fill *fill, enum fill_stage to);

/* ---- filler_fetch.c --------------------------------------------------------------------------- */

/* Asks origins for what is to do, in a round of the loop of its own. */
void fetch_soon(struct filler *f);
/* What was asked for is taken back: its origin goes. */
void fetch_take_back(struct filler *f, unsigned svc);
/* Its fence moved while it was fetched: later again, or never. */
void fill_again(struct fill *fill);
bool fill_fence_moved(const struct fill *fill);
int fetch_new(struct filler *f);

/* ---- filler_publish.c ------------------------------------------------------------------------- */

/* The fill is ready: the next batch takes it. */
void publish_soon(struct fill *fill);
int publish_new(struct filler *f);

#endif
