/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2 /* blanks between columns */

/* Without memory a cell is empty: a table is for looking at. */
void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;

	if (t->n == t->room) {
		size_t room = t->room ? 2 * t->room : 256;
		char **cells = reallocarray(t->cells, room, sizeof(*cells));

		if (!cells)
			return;
		t->cells = cells;
		t->room = room;
	}
	va_start(ap, fmt);
	if (vasprintf(&t->cells[t->n], fmt, ap) < 0)
		t->cells[t->n] = NULL;
	va_end(ap);
	t->n++;
}

static const char *cell(const struct table *t, size_t i)
{
	return t->cells[i] ? t->cells[i] : "";
}

static int width(const struct table *t, size_t column, size_t columns)
{
	int widest = 0;

	for (size_t i = column; i < t->n; i += columns) {
		int len = strlen(cell(t, i));

		widest = len > widest ? len : widest;
	}
	return widest;
}

/* The cells of a row that are not empty; behind the last no blanks are printed. */
static size_t row_length(const struct table *t, size_t at, size_t columns)
{
	while (columns && !*cell(t, at + columns - 1))
		columns--;
	return columns;
}

void table_print(struct table *t)
{
	size_t columns = strlen(t->columns);
	int widths[columns];

	for (size_t c = 0; c < columns; c++)
		widths[c] = width(t, c, columns);
	for (size_t at = 0; at + columns <= t->n; at += columns) {
		size_t length = row_length(t, at, columns);

		for (size_t c = 0; c < length; c++) {
			int left = t->columns[c] == 'l', w = left && c + 1 == length ? 0 : widths[c];

			printf("%*s%*s", c ? GAP : 0, "", left ? -w : w, cell(t, at + c));
		}
		printf("\n");
	}
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){.columns = t->columns};
}
