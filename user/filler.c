// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "filler_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"

#define SETTLE_NS 2000000000ULL /* how long a write may take to reach the origin */

static const char *const whys[] = {
#define WHY(sym, name) name,
	FILL_WHYS(WHY)
};

static const char *const results[] = {
#define RESULT(sym, name) name,
	FILL_RESULTS(RESULT)
};

const char *fill_why_name(enum fill_why w)
{
	return whys[w];
}

const char *fill_result_name(enum fill_result r)
{
	return results[r];
}

/* ---- fills ------------------------------------------------------------------------------------ */

static struct fill **chain_of(struct filler *f, __u8 svc, const char *key, size_t key_len)
{
	return &f->table[hot_hash(0, svc, key, key_len) & (FILL_TABLE - 1)];
}

static struct fill *find(struct filler *f, __u8 svc, const char *key, size_t key_len)
{
	struct fill *i = *chain_of(f, svc, key, key_len);

	while (i && (i->item.svc != svc || i->item.key_len != key_len || memcmp(i->key, key, key_len)))
		i = i->chain;
	return i;
}

static void list(struct fill *fill)
{
	struct fill **chain = chain_of(fill->f, fill->item.svc, fill->key, fill->item.key_len);

	fill->chain = *chain;
	*chain = fill;
	fill->listed = true;
}

static void unlist(struct fill *fill)
{
	struct fill **i = chain_of(fill->f, fill->item.svc, fill->key, fill->item.key_len);

	if (!fill->listed)
		return;
	while (*i != fill)
		i = &(*i)->chain;
	*i = fill->chain;
	fill->listed = false;
}

static struct fills *list_of(const struct fill *fill)
{
	struct filler *f = fill->f;

	switch (fill->stage) {
	case STAGE_TODO:
		return &f->svc[fill->item.svc].todo;
	case STAGE_LATER:
		return &f->later;
	case STAGE_ASKED:
		return &f->asked;
	case STAGE_READY:
		break;
	}
	return &f->ready;
}

static void enter(struct fill *fill, enum fill_stage to)
{
	fill->stage = to;
	fill->f->nready += to == STAGE_READY;
	TAILQ_INSERT_TAIL(list_of(fill), fill, in);
}

static void leave(struct fill *fill)
{
	TAILQ_REMOVE(list_of(fill), fill, in);
	fill->f->nready -= fill->stage == STAGE_READY;
}

void fill_move(struct fill *fill, enum fill_stage to)
{
	leave(fill);
	enter(fill, to);
}

static void tell(struct fill *fill, const struct fill_waiter *w, enum fill_result r)
{
	fill->f->counts.by[w->why][r]++;
	if (w->fn)
		w->fn(fill->item.svc, fill->key, fill->item.key_len, r, w->arg);
}

void fill_finish(struct fill *fill, enum fill_result r)
{
	struct fill_waiter *w;

	leave(fill);
	unlist(fill); /* who asks for the key from now on, asks anew */
	fill->f->counts.waiting--;
	if (!fill->removal)
		tell(fill, &fill->first, r);
	while ((w = fill->more)) {
		fill->more = w->next;
		tell(fill, w, r);
		free(w);
	}
	free((void *)fill->item.value);
	free(fill);
}

static int new_fill(struct filler *f, __u8 svc, const char *key, size_t key_len, struct fill **out)
{
	struct fill *fill;

	if (!f->dp)
		return -ENODEV;
	if (!hotset_key_ok(key, key_len) || svc >= WEIR_SERVICES_MAX || !*f->svc[svc].name)
		return -EINVAL;
	if (f->counts.waiting >= FILLS_MAX) {
		f->counts.refused++;
		return -EAGAIN;
	}
	fill = malloc(sizeof(*fill) + key_len);
	if (!fill)
		return -ENOMEM;
	memset(fill, 0, sizeof(*fill));
	fill->f = f;
	fill->item.svc = svc;
	fill->item.key_len = key_len;
	fill->item.key = fill->key;
	memcpy(fill->key, key, key_len);
	f->counts.waiting++;
	*out = fill;
	return 0;
}

/* ---- who asks --------------------------------------------------------------------------------- */

static int join(struct fill *fill, const struct fill_waiter *who)
{
	struct fill_waiter *w = malloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = *who;
	w->next = fill->more;
	fill->more = w;
	fill->f->counts.joined++;
	return 0;
}

/* Such a copy has no number of the origin's: each that was fetched has. */
static bool held_by_hand(const struct fill *fill)
{
	const struct hot_item *it = &fill->item;
	const struct weir_slot *s = hotset_find(fill->f->h, it->svc, it->key, it->key_len);

	return s && !(s->flags & WEIR_SLOT_CAS);
}

int fill_ask(struct filler *f, __u8 svc, const char *key, size_t key_len, enum fill_why why, fill_fn fn, void *arg)
{
	struct fill_waiter who = { .fn = fn, .arg = arg, .why = why };
	struct fill *fill = find(f, svc, key, key_len);
	int err;

	if (fill) {
		err = join(fill, &who);
	} else {
		err = new_fill(f, svc, key, key_len, &fill);
		if (!err) {
			fill->first = who;
			fill->by_hand = held_by_hand(fill);
			list(fill);
			enter(fill, STAGE_TODO);
			fetch_soon(f);
		}
	}
	f->counts.asked[why] += !err;
	return err;
}

static int queue_drop(struct filler *f, __u8 svc, const char *key, size_t key_len, bool dead)
{
	struct fill *old = find(f, svc, key, key_len), *fill;
	int err = new_fill(f, svc, key, key_len, &fill);

	if (old) { /* also when there is no memory */
		old->spoiled = true;
		unlist(old);
	}
	if (err)
		return err;
	f->counts.drops++;
	fill->removal = fill->drops = true;
	fill->dead = dead;
	enter(fill, STAGE_READY);
	publish_soon(fill);
	return 0;
}

int fill_drop(struct filler *f, __u8 svc, const char *key, size_t key_len)
{
	return queue_drop(f, svc, key, key_len, false);
}

int fill_drop_dead(struct filler *f, __u8 svc, const char *key, size_t key_len)
{
	return queue_drop(f, svc, key, key_len, true);
}

struct hot_fence fill_fence(const struct filler *f, __u8 svc, const char *key, size_t key_len)
{
	return f->h ? hotset_fence(f->h, svc, key, key_len) : (struct hot_fence){};
}

int fill_put(struct filler *f, const struct hot_item *it, enum fill_why why, fill_fn fn, void *arg)
{
	struct fill *fill;
	int err;

	if (f->dp && it->svc < WEIR_SERVICES_MAX &&
	    (hotset_lines(it) == -EMSGSIZE || it->value_len > f->mem->ctl->services[it->svc].value_max))
		return -EMSGSIZE;
	err = new_fill(f, it->svc, it->key, it->key_len, &fill);
	if (err)
		return err;
	fill->item = *it;
	fill->item.key = fill->key;
	fill->item.value = malloc(it->value_len ?: 1);
	if (!fill->item.value) {
		f->counts.waiting--;
		free(fill);
		return -ENOMEM;
	}
	if (it->value_len)
		memcpy((void *)fill->item.value, it->value, it->value_len);
	fill->first = (struct fill_waiter){ .fn = fn, .arg = arg, .why = why };
	fill->given = true;
	fill->sent_ns = monotonic_ns();
	f->counts.asked[why]++;
	enter(fill, STAGE_READY);
	publish_soon(fill);
	return 0;
}

unsigned filler_waiting(const struct filler *f)
{
	return f->counts.waiting;
}

const struct filler_counts *filler_counts(const struct filler *f)
{
	return &f->counts;
}

struct origins *filler_origins(const struct filler *f, __u8 svc)
{
	return f->svc[svc].origins;
}

/* ---- services and their origins --------------------------------------------------------------- */

/* The endpoints that a service is to have: the control block has the first, the configuration the others. */
static unsigned endpoints_of(const struct weir_ctl_svc *cs, const struct config *c, char at[][WEIR_ORIGIN_MAX])
{
	unsigned n = 1;

	memset(at, 0, ORIGINS_MAX * sizeof(*at));
	if (!*cs->origin)
		return 0;
	memcpy(at[0], cs->origin, WEIR_ORIGIN_MAX);
	for (unsigned i = 0; c && i < c->nservices; i++) {
		const struct config_service *s = &c->services[i];

		if (strncmp(s->name, cs->name, WEIR_NAME_MAX) || strcmp(s->origin, at[0]))
			continue;
		for (unsigned k = 0; k < s->nreplicas && n < ORIGINS_MAX; k++)
			memcpy(at[n++], s->replicas[k], WEIR_ORIGIN_MAX);
	}
	return n;
}

static void leave_origin(struct filler *f, unsigned svc)
{
	struct fill_service *s = &f->svc[svc];

	fetch_take_back(f, svc);
	origins_free(s->origins);
	s->origins = NULL;
	memset(s->at, 0, sizeof(s->at));
}

static int set_origin(struct filler *f, unsigned svc, const struct config *c)
{
	const struct weir_ctl_svc *cs = &f->mem->ctl->services[svc];
	char at[ORIGINS_MAX][WEIR_ORIGIN_MAX];
	const char *endpoints[ORIGINS_MAX];
	unsigned n = endpoints_of(cs, c, at);
	struct fill_service *s = &f->svc[svc];
	int err;

	if (!memcmp(at, s->at, sizeof(at)))
		return 0;
	leave_origin(f, svc);
	for (unsigned i = 0; i < n; i++)
		endpoints[i] = at[i];
	err = n ? origins_new(&s->origins, f->event, endpoints, n, NULL) : 0;
	if (!err)
		memcpy(s->at, at, sizeof(at));
	return err;
}

static void each_gone(struct filler *f, struct fills *list, int svc)
{
	struct fill *i, *next;

	for (i = TAILQ_FIRST(list); i; i = next) {
		next = TAILQ_NEXT(i, in);
		if (svc < 0 || i->item.svc == svc)
			fill_finish(i, FILL_GONE);
	}
}

/* Of one service; or of all, svc -1. Callbacks may ask for more only where there is a service. */
static void all_gone(struct filler *f, int svc)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (svc < 0 || i == svc)
			each_gone(f, &f->svc[i].todo, -1);
	}
	each_gone(f, &f->later, svc);
	each_gone(f, &f->asked, svc);
	each_gone(f, &f->ready, svc);
}

static void end_service(struct filler *f, unsigned svc)
{
	leave_origin(f, svc);
	f->svc[svc].name[0] = '\0';
	all_gone(f, svc);
}

/* ---- life ------------------------------------------------------------------------------------- */

static int begin_service(struct filler *f, unsigned svc, const struct config *c)
{
	const struct weir_ctl_svc *cs = &f->mem->ctl->services[svc];
	struct fill_service *s = &f->svc[svc];
	int err;

	if (*s->name && (strncmp(s->name, cs->name, WEIR_NAME_MAX) || !(cs->flags & WEIR_SVC_CACHE)))
		end_service(f, svc);
	if (!*cs->name || !(cs->flags & WEIR_SVC_CACHE))
		return 0;
	memcpy(s->name, cs->name, WEIR_NAME_MAX);
	err = set_origin(f, svc, c);
	if (err)
		say(LOG_ERR, "service %.31s: its origin cannot be asked: %s", cs->name, strerror(-err));
	return err;
}

int filler_begin(struct filler *f, struct dataplane *dp, const struct config *c)
{
	struct hotset_mem mem = *dp_hotset_mem(dp);
	int err = 0;

	if (f->dp && f->dp != dp)
		filler_stop(f);
	if (!f->dp) {
		mem.grace = NULL;
		err = hotset_open(&f->h, &mem);
		if (err)
			return err;
		f->dp = dp;
		f->mem = dp_hotset_mem(dp);
	}
	f->generation = f->mem->ctl->generation;
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		err = begin_service(f, i, c) ?: err;
	fetch_soon(f);
	return err;
}

void filler_stop(struct filler *f)
{
	if (!f->dp)
		return;
	f->dp = NULL; /* whom a callback asks for more is told so */
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		leave_origin(f, i);
	all_gone(f, -1);
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		f->svc[i].name[0] = '\0';
	hotset_close(f->h);
	f->h = NULL;
	f->mem = NULL;
}

int filler_new(struct filler **out, sd_event *event, struct writer *w)
{
	struct filler *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->event = sd_event_ref(event);
	f->writer = w;
	f->settle_ns = SETTLE_NS;
	TAILQ_INIT(&f->later);
	TAILQ_INIT(&f->asked);
	TAILQ_INIT(&f->ready);
	for (unsigned i = 0; i < WEIR_SERVICES_MAX; i++)
		TAILQ_INIT(&f->svc[i].todo);
	err = fetch_new(f) ?: publish_new(f);
	if (err)
		filler_free(f);
	else
		*out = f;
	return err;
}

void filler_free(struct filler *f)
{
	if (!f)
		return;
	filler_stop(f);
	sd_event_source_disable_unref(f->fetch);
	sd_event_source_disable_unref(f->later_timer);
	sd_event_source_disable_unref(f->batch);
	sd_event_unref(f->event);
	free(f);
}

void filler_settle(struct filler *f, unsigned ms)
{
	f->settle_ns = ms * 1000000ULL;
}
