/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any bytes are a list. The first byte chooses the format (or leaves it to be recognised); whatever
 * is read must keep the promises of list.h.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"

struct seen {
	unsigned long line, lines;
	__u64 done;
};

static volatile unsigned char touched;

static void require(int held)
{
	if (!held)
		abort();
}

static void touch(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		touched ^= ((const unsigned char *)p)[i];
}

/* Every line begins at most one entry or fault, and they come in order. */
static void next_line(struct seen *s, unsigned long line)
{
	require(line > s->line && line <= s->lines);
	s->line = line;
}

static int on_entry(const struct list_entry *e, void *arg)
{
	next_line(arg, e->line);
	require(e->key_len >= 1 && e->key_len <= WEIR_KEY_MAX);
	for (size_t i = 0; i < e->key_len; i++)
		require((unsigned char)e->key[i] > 0x20 && e->key[i] != 0x7f);
	require(e->value || !e->value_len);
	touch(e->value, e->value_len);
	return 0;
}

static int on_bad(unsigned long line, const char *why, void *arg)
{
	next_line(arg, line);
	require(*why);
	for (; *why; why++)
		require((unsigned char)*why >= 0x20 && *why != 0x7f);
	return 0;
}

static void on_progress(__u64 done, __u64 total, void *arg)
{
	struct seen *s = arg;

	require(done >= s->done && done <= total);
	s->done = done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen s = {.lines = ~0UL};
	struct list_sink sink = {on_entry, on_bad, on_progress, &s};
	struct list *l;

	if (!size || list_open_mem(&l, "fuzz", data + 1, size - 1))
		return 0;
	list_set_format(l, data[0] % 5);
	if (!(size > 3 && data[1] == 0x1f && data[2] == 0x8b)) {
		s.lines = 1;
		for (size_t i = 1; i < size; i++)
			s.lines += data[i] == '\n';
	}
	require(list_read(l, &sink) == 0);
	list_close(l);
	return 0;
}
