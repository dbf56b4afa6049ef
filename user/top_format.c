/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top: rows become lines. Everything in them is printable ASCII, so that bytes are columns. */
#include <math.h>
#include <string.h>

#include "latency.h"
#include "out.h"
#include "top.h"

#define GAP	 2
#define TEXT_MAX 40 /* of a name, an address */
#define REST_MIN 10

const char *top_number(double n, char text[16])
{
	static const char units[] = " kMGTPE";
	unsigned u = 0;

	if (isnan(n))
		return "-";
	while (u < 6 && n >= 999.5) {
		n /= 1000;
		u++;
	}
	if (!u)
		snprintf(text, 16, n > 0.04 && n < 9.95 && n != rint(n) ? "%.1f" : "%.0f", n);
	else
		snprintf(text, 16, "%.*f%c", n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2, n, units[u]);
	return text;
}

/* ---- cells ------------------------------------------------------------------------------------ */

static bool is_text(enum top_kind kind)
{
	return kind == TOP_TEXT || kind == TOP_REST;
}

/* The cell's words, in text or where they are. */
static const char *words(const struct top_cell *c, enum top_kind kind, char text[48])
{
	if (kind == TOP_TEXT)
		return c->text;
	if (kind == TOP_REST)
		return printable(c->text, c->n);
	if (isnan(c->n))
		return "-";
	if (kind == TOP_LATENCY)
		return latency_text(c->n, text, 48);
	if (kind == TOP_TIME)
		return c->n >= 1.8e19 ? "never" : human_duration(c->n);
	if (kind == TOP_BYTES)
		return human_bytes(c->n);
	if (kind == TOP_NUMBER)
		return top_number(c->n, text);
	snprintf(text, 48, kind == TOP_PERCENT ? "%.1f%%" : "%.2f", c->n);
	return text;
}

/* Numbers have a width of their own, so that columns do not move each second. */
static int usual_width(enum top_kind kind)
{
	switch (kind) {
	case TOP_LATENCY:
	case TOP_PERCENT:
		return 6;
	case TOP_BYTES:
		return 9;
	case TOP_TIME:
		return 7;
	case TOP_LOAD:
	case TOP_NUMBER:
		return 5;
	default:
		return 0;
	}
}

static int column_width(const struct top_column *c, const struct top_rows *rows, unsigned column)
{
	int width = usual_width(c->kind), heading = strlen(c->name) + 1;
	char text[48];

	width = width > heading ? width : heading;
	if (c->kind == TOP_REST)
		return width > REST_MIN ? width : REST_MIN;
	for (unsigned i = 0; i < rows->n; i++) {
		int len = strlen(words(&rows->list[i].cell[column], c->kind, text));

		width = len > width ? len : width;
	}
	return is_text(c->kind) && width > TEXT_MAX ? TEXT_MAX : width;
}

/* ---- lines ------------------------------------------------------------------------------------ */

static int line_width(const struct top_layout *l)
{
	int sum = 0;

	for (unsigned i = 0; i < top_tables[l->table].n; i++)
		sum += l->width[i] ? l->width[i] + (sum ? GAP : 0) : 0;
	return sum;
}

/* Takes out the column that is missed least. Whether there was one. */
static bool leave_out(struct top_layout *l)
{
	const struct top_table *t = &top_tables[l->table];
	unsigned rank = 0;

	for (unsigned i = 0; i < t->n; i++) {
		if (l->width[i] && t->columns[i].rank > rank)
			rank = t->columns[i].rank;
	}
	for (unsigned i = 0; rank && i < t->n; i++) {
		if (t->columns[i].rank == rank)
			l->width[i] = 0;
	}
	return rank > 0;
}

void top_lay_out(struct top_layout *l, unsigned table, const struct top_rows *rows, int width)
{
	const struct top_table *t = &top_tables[table];
	unsigned last = t->n - 1;

	*l = (struct top_layout){.table = table};
	for (unsigned i = 0; i < t->n; i++)
		l->width[i] = column_width(&t->columns[i], rows, i);
	while (line_width(l) > width && leave_out(l))
		;
	if (l->width[last] && t->columns[last].kind == TOP_REST && line_width(l) < width)
		l->width[last] += width - line_width(l);
	l->line = width;
}

struct line {
	char *text;
	int at, room;
};

static void put(struct line *line, const char *text, int width, bool left)
{
	int len = strlen(text), blanks;

	len = len > width ? width : len;
	blanks = (line->at ? GAP : 0) + (left ? 0 : width - len);
	for (int end = line->at + blanks; line->at < end && line->at < line->room; line->at++)
		line->text[line->at] = ' ';
	for (int i = 0; i < len && line->at < line->room; i++)
		line->text[line->at++] = text[i];
	for (int i = len; left && i < width && line->at < line->room; i++)
		line->text[line->at++] = ' ';
}

static void end(struct line *line)
{
	while (line->at && line->text[line->at - 1] == ' ')
		line->at--;
	line->text[line->at] = 0;
}

void top_heading(const struct top_layout *l, char *text, int sort, bool reverse)
{
	const struct top_table *t = &top_tables[l->table];
	struct line line = {.text = text, .room = l->line};
	char name[32];

	for (int i = 0; i < (int)t->n; i++) {
		bool left = is_text(t->columns[i].kind);

		snprintf(name, sizeof(name), "%s%s", t->columns[i].name,
			 i != sort || !*t->columns[i].name ? "" : left == reverse ? "v" : "^");
		if (l->width[i])
			put(&line, name, l->width[i], left);
	}
	end(&line);
}

void top_line(const struct top_layout *l, char *text, const struct top_row *row)
{
	const struct top_table *t = &top_tables[l->table];
	struct line line = {.text = text, .room = l->line};
	char number[48];

	for (unsigned i = 0; i < t->n; i++) {
		enum top_kind kind = t->columns[i].kind;

		if (l->width[i])
			put(&line, words(&row->cell[i], kind, number), l->width[i], is_text(kind));
	}
	end(&line);
}
