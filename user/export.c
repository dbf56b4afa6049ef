// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "export.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "slot_copy.h"
#include "weir/reason.h"

#define PORTION 4096 /* buckets, until the clock is looked at */

struct held {
	const struct weir_slot *slot;
	__u64 hits;
};

struct collect {
	const struct session *s;
	const struct export_opts *o;
	__u64 now;
	struct held *rows;
	size_t n, room;
};

/* ---- what is held ----------------------------------------------------------------------------- */

static int by_hits(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	return x->hits < y->hits ? 1 : x->hits > y->hits ? -1 : x->slot < y->slot ? -1 : x->slot > y->slot;
}

static void sort(struct collect *c)
{
	if (c->n)
		qsort(c->rows, c->n, sizeof(*c->rows), by_hits);
}

/* Of a hot set of millions, no more is kept than a few times what is asked for. */
static int make_room(struct collect *c)
{
	size_t keep = c->o->top * 2, room = c->room ? 2 * c->room : 1024;
	struct held *rows;

	if (keep && c->room > 2 * keep) {
		sort(c);
		c->n = keep;
		return 0;
	}
	rows = realloc(c->rows, room * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	c->rows = rows;
	c->room = room;
	return 0;
}

/* What is written is looked at again. */
static int add_slot(const struct weir_slot *slot, void *arg)
{
	struct collect *c = arg;
	struct key_copy k;

	if (slot->svc != c->o->svc || !copy_key(&k, dp_hotset_mem(c->s->dp), slot) || k.slot.svc != c->o->svc ||
	    hotset_state(c->s->hot, &k.slot, c->now) != WEIR_R_HIT)
		return 0;
	if (c->n == c->room && make_room(c))
		return -ENOMEM;
	c->rows[c->n++] = (struct held){ slot, hotset_hits(c->s->hot, &k.slot) };
	return 0;
}

static int look(struct collect *c)
{
	__u32 buckets = c->s->ctl->index_buckets;
	static __u32 first;
	int err = 0;

	if (!c->o->limit_ns)
		return hotset_each(c->s->hot, add_slot, c);
	first = first < buckets ? first / PORTION * PORTION : 0;
	for (__u32 seen = 0; !err && seen < buckets && monotonic_ns() - c->now < c->o->limit_ns; ) {
		__u32 n = buckets - first < PORTION ? buckets - first : PORTION;

		err = hotset_each_in(c->s->hot, first, n, add_slot, c);
		seen += n;
		first = first + n < buckets ? first + n : 0;
	}
	return err;
}

/* ---- as text ---------------------------------------------------------------------------------- */

static char *base64(const void *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const __u8 *d = data;
	char *text = malloc((len + 2) / 3 * 4 + 1), *t = text;

	for (size_t i = 0; text && i < len; i += 3) {
		__u32 v = d[i] << 16 | (i + 1 < len ? d[i + 1] << 8 : 0) | (i + 2 < len ? d[i + 2] : 0);

		*t++ = digits[v >> 18];
		*t++ = digits[v >> 12 & 63];
		*t++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*t++ = i + 2 < len ? digits[v & 63] : '=';
	}
	if (text)
		*t = 0;
	return text;
}

static void add_value(json_t *doc, const struct weir_slot *s, __u64 now)
{
	char *text = base64(slot_value(s), s->value_len);
	__u64 left = s->expires_ns == WEIR_NEVER || s->expires_ns < now ? 0 : (s->expires_ns - now) / 1000000000;

	json_object_set_new(doc, "value_base64", text ? json_string(text) : NULL);
	json_object_set_new(doc, "flags", json_integer(s->client_flags));
	json_object_set_new(doc, "ttl", s->expires_ns == WEIR_NEVER ? json_string("never") : json_integer(left ?: 1));
	free(text);
}

/* 0: written; 1: it is another one by now; 2: it cannot stand in a list. */
static int write_row(const struct collect *c, const struct held *h, FILE *to)
{
	struct copy copy, again;
	const struct weir_slot *s = &again.slot;
	json_t *doc;
	int err;

	if (!copy_slot(&copy, h->slot) || copy.slot.svc != c->o->svc ||
	    !copy_of_key(&again, c->s->hot, c->o->svc, slot_key(&copy.slot), copy.slot.key_len) ||
	    hotset_state(c->s->hot, s, c->now) != WEIR_R_HIT)
		return 1;
	doc = json_pack("{s:s%}", "key", slot_key(s), (size_t)s->key_len);
	if (!doc)
		return 2;
	if (c->o->values)
		add_value(doc, s, c->now);
	if (c->o->values && !json_object_get(doc, "value_base64"))
		err = -ENOMEM;
	else
		err = json_dumpf(doc, to, JSON_COMPACT) || putc('\n', to) < 0 ? -EIO : 0;
	json_decref(doc);
	return err;
}

int export_keys(const struct session *s, const struct export_opts *o, FILE *to, __u32 *left_out)
{
	struct collect c = { .s = s, .o = o, .now = monotonic_ns() };
	int n = 0, err = look(&c);
	__u32 bad = 0;

	sort(&c);
	for (size_t i = 0; err >= 0 && i < c.n && (!o->top || n < (int)o->top); i++) {
		err = write_row(&c, &c.rows[i], to);
		n += !err;
		bad += err == 2;
	}
	free(c.rows);
	if (left_out)
		*left_out = bad;
	return err < 0 ? err : n;
}
