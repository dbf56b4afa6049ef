/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A table for people: cells are added row by row, the headings first, and columns get the room they need. */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include <stddef.h>

struct table {
	const char *columns; /* one letter each: l or r, the side that cells stand on */
	char **cells;
	size_t n, room;
};

void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints, and frees the cells. */
void table_print(struct table *t);

#endif
