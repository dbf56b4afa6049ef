// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "bus_entry.h"

#include <string.h>

#define EVENT_MAX 64

static bool is(const struct bus_field *f, const char *name)
{
	return f->name_len == strlen(name) && !memcmp(f->name, name, f->name_len);
}

bool bus_is_key(const struct bus_field *f)
{
	return is(f, "key") && hotset_key_ok(f->value, f->value_len);
}

bool bus_is_prefix(const struct bus_field *f)
{
	return is(f, "prefix") && hotset_key_ok(f->value, f->value_len);
}

static bool one_of(const struct bus_field *f, const char *a, const char *b, const char *c)
{
	const char *words[] = { a, b, c };

	for (int i = 0; i < 3; i++) {
		if (f->value_len == strlen(words[i]) && !memcmp(f->value, words[i], f->value_len))
			return true;
	}
	return false;
}

static void read_all(struct bus_entry *e, const struct bus_field *f)
{
	if (one_of(f, "1", "true", "yes"))
		e->all = true;
	else if (!one_of(f, "0", "false", "no"))
		e->fault = "all is neither true nor false";
}

static void read_reason(struct bus_entry *e, const struct bus_field *f)
{
	if (*e->reason || !inval_reason_ok(f->value, f->value_len)) {
		e->fault = "the reason is no word of 1 to 32 bytes, or there twice";
		return;
	}
	memcpy(e->reason, f->value, f->value_len);
	e->reason[f->value_len] = 0;
}

static bool is_event(const struct bus_field *f)
{
	if (!f->value_len || f->value_len > EVENT_MAX)
		return false;
	for (size_t i = 0; i < f->value_len; i++) {
		if (f->value[i] <= ' ' || f->value[i] > '~')
			return false;
	}
	return true;
}

static void read_field(struct bus_entry *e, const struct bus_field *f)
{
	if (is(f, "service"))
		e->service = f;
	else if (is(f, "event") && (e->event || !is_event(f)))
		e->fault = "the event is no word of 1 to 64 bytes, or there twice";
	else if (is(f, "event"))
		e->event = f;
	else if (is(f, "reason"))
		read_reason(e, f);
	else if (is(f, "all"))
		read_all(e, f);
	else if (bus_is_key(f))
		e->nkeys++;
	else if (bus_is_prefix(f))
		e->nprefixes++;
	else if (is(f, "key") || is(f, "prefix"))
		e->fault = "a key or prefix has no byte, more than 250, or one that no key has";
}

/* Which of two services is meant, nobody knows: then it is none. Other faults concern their field alone. */
bool bus_entry_read(struct bus_entry *e, const struct bus_field *fields, unsigned n)
{
	*e = (struct bus_entry){};
	for (unsigned i = 0; i < n; i++) {
		if (e->service && is(&fields[i], "service")) {
			e->fault = "service is there twice";
			return false;
		}
		read_field(e, &fields[i]);
	}
	if (e->all || e->nkeys || e->nprefixes || e->event)
		return true;
	if (!e->fault)
		e->fault = "it has none of key, prefix, all and event";
	return false;
}
