// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Keys by a template, from the fields of an event on the bus and the lines of a list. */
#include <string.h>

#include "policy_parts.h"

static const struct bus_field *field_of(const struct bus_event *e, const char *name, size_t len)
{
	for (unsigned i = 0; i < e->nfields; i++) {
		if (e->fields[i].name_len == len && !memcmp(e->fields[i].name, name, len))
			return &e->fields[i];
	}
	return NULL;
}

static bool put(char key[WEIR_KEY_MAX], int *len, const char *text, size_t n)
{
	if (n > (size_t)(WEIR_KEY_MAX - *len))
		return false;
	memcpy(key + *len, text, n);
	*len += n;
	return true;
}

/* The template with the event's fields in it, and the word for each `*`. -1: a field is missing, or it is too long. */
static int render(const char *t, const struct bus_event *e, const char *word, size_t word_len, char key[WEIR_KEY_MAX])
{
	int len = 0;

	while (*t) {
		size_t n = strcspn(t, "{*");
		const struct bus_field *f;

		if (!put(key, &len, t, n))
			return -1;
		t += n;
		if (*t == '*' && !put(key, &len, word, word_len))
			return -1;
		if (*t == '{') {
			n = strcspn(t, "}");
			f = field_of(e, t + 1, n - 1);
			if (!f || !put(key, &len, f->value, f->value_len))
				return -1;
			t += n;
		}
		t += !!*t;
	}
	return len;
}

static void add_rendered(struct policy *p, const struct bus_event *e, const char *word, size_t word_len)
{
	char key[WEIR_KEY_MAX];
	int len = render(p->c.template, e, word, word_len, key);

	policy_run_add(p, key, len < 0 ? 0 : len);
}

/* Whether the same keys were warmed within the cooldown. */
static bool seen_lately(struct policy *p, const char *key, int len, __u64 now)
{
	__u64 hash = hot_hash(1, p->svc, key, len);
	unsigned at = hash % POLICY_SEEN;

	if (p->seen[at].at_ns && p->seen[at].hash == hash && now - p->seen[at].at_ns < p->c.cooldown_ns)
		return true;
	p->seen[at].hash = hash;
	p->seen[at].at_ns = now;
	return false;
}

static void add_keys(struct policy *p, const struct bus_event *e)
{
	const struct keys *words = &p->file.keys;
	size_t at = 0, len;
	const char *word;
	__u32 done = 0;

	if (!p->c.list) {
		add_rendered(p, e, "", 0);
		return;
	}
	if (!policy_run_list(p))
		return;
	p->run.left_out += p->file.bad;
	while (p->run.lines < p->c.max && (word = keys_next(words, &at, &len))) {
		add_rendered(p, e, word, len);
		p->run.lines++;
		done++;
	}
	p->run.left_out += words->n - done;
}

/* False: whatever the line, the fields spoil the key. */
static bool gives_keys(const struct policy *p, const char *key, int len)
{
	return len + !!p->c.list <= WEIR_KEY_MAX && ((p->c.list && !len) || hotset_key_ok(key, len));
}

/* Events that come while a run is under way add their keys to it. One without the template's fields is not for us. */
static void on_one(struct policy *p, const struct bus_event *e)
{
	char key[WEIR_KEY_MAX];
	int len = render(p->c.template, e, "", 0, key);

	if (len < 0)
		return;
	if (!gives_keys(p, key, len)) {
		p->left_out++;
		return;
	}
	if (p->active && (p->keys.n >= p->c.max || p->run.lines >= p->c.max)) {
		p->run.left_out++;
		return;
	}
	if (seen_lately(p, key, len, monotonic_ns()))
		return;
	policy_run_begin(p, e->name);
	add_keys(p, e);
}

void policy_event(const struct bus_event *e, void *arg)
{
	struct policies *all = arg;

	for (unsigned i = 0; i < all->n; i++) {
		struct policy *p = all->by[i];

		if (p->c.on == POLICY_EVENT && !strcmp(p->c.event, e->name) && (e->svc < 0 || e->svc == p->svc))
			on_one(p, e);
	}
}
