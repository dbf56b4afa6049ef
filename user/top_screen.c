/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top: what keys change, and the screen as lines with a style each. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "out.h"
#include "top.h"

#define BELOW_MIN 4 /* lines that are left for a second table, at least */

/* ---- keys ------------------------------------------------------------------------------------- */

void top_start(struct top_state *t)
{
	*t = (struct top_state){.page = 1};
	for (unsigned v = 0; v < TOP_VIEWS; v++)
		t->sort[v] = top_tables[v].sort;
}

static bool change_view(struct top_state *t, unsigned view)
{
	bool other = t->view != view;

	t->view = view;
	return other;
}

/* Rows of what was chosen before mean nothing now. */
static bool choose(struct top_state *t, const char *service)
{
	bool other = strcmp(t->service, service);

	snprintf(t->service, sizeof(t->service), "%s", service);
	for (unsigned v = TOP_BACKENDS; v < TOP_VIEWS; v++)
		t->row[v] = t->from[v] = 0;
	return other;
}

/* Saturates: top_draw() knows how many rows there are. */
static void move(struct top_state *t, long by)
{
	long row = t->row[t->view] + by;

	t->row[t->view] = row < 0 ? 0 : row > 1 << 30 ? 1 << 30 : row;
	*t->chosen = 0;
}

static bool press_move(struct top_state *t, int key)
{
	switch (key) {
	case TOP_UP:
		move(t, -1);
		return true;
	case TOP_DOWN:
		move(t, 1);
		return true;
	case TOP_PAGE_UP:
		move(t, -(long)t->page);
		return true;
	case TOP_PAGE_DOWN:
		move(t, t->page);
		return true;
	case TOP_HOME:
		move(t, -(1L << 30));
		return true;
	case TOP_END:
		move(t, 1L << 30);
		return true;
	}
	return false;
}

static bool press_order(struct top_state *t, int key)
{
	if (key == 's')
		t->sort[t->view] = (t->sort[t->view] + 1) % top_tables[t->view].n;
	else
		t->reverse[t->view] = !t->reverse[t->view];
	if (key == 's' && t->view == TOP_REASONS && !*top_tables[t->view].columns[t->sort[t->view]].name)
		t->sort[t->view] = 0;
	return t->view == TOP_FLOWS; /* others are read now */
}

bool top_press(struct top_state *t, int key)
{
	bool help = t->help;

	t->help = key == '?' && !help;
	if (key == 'q')
		t->quit = true;
	else if (key >= '1' && key < '1' + TOP_VIEWS)
		return change_view(t, key - '1');
	else if (key == TOP_NEXT)
		return change_view(t, (t->view + 1) % TOP_VIEWS);
	else if (key == TOP_PREVIOUS)
		return change_view(t, (t->view + TOP_VIEWS - 1) % TOP_VIEWS);
	else if (key == 's' || key == 'r')
		return press_order(t, key);
	else if (key == TOP_BACK)
		return !help && choose(t, "");
	else if (key == TOP_ENTER)
		return t->view == TOP_OVERVIEW && *t->chosen && choose(t, t->chosen);
	else
		press_move(t, key);
	return false;
}

/* ---- lines ------------------------------------------------------------------------------------ */

void top_screen_free(struct top_screen *s)
{
	free(s->style);
	free(s->text);
	*s = (struct top_screen){};
}

int top_screen_size(struct top_screen *s, int width, int height)
{
	width = width < 1 ? 1 : width > TOP_WIDTH_MAX ? TOP_WIDTH_MAX : width;
	height = height < 1 ? 1 : height > TOP_HEIGHT_MAX ? TOP_HEIGHT_MAX : height;
	top_screen_free(s);
	s->text = calloc(height, width + 1);
	s->style = calloc(height, sizeof(*s->style));
	if (!s->text || !s->style) {
		top_screen_free(s);
		return -ENOMEM;
	}
	s->width = width;
	s->height = height;
	return 0;
}

const char *top_screen_line(const struct top_screen *s, int y)
{
	return y < s->n ? s->text + (size_t)y * (s->width + 1) : "";
}

/* The next line's text; NULL: the screen is full. */
static char *next_line(struct top_screen *s, enum top_style style)
{
	if (s->n >= s->height)
		return NULL;
	s->style[s->n] = style;
	return s->text + (size_t)s->n++ * (s->width + 1);
}

static void add(struct top_screen *s, enum top_style style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add(struct top_screen *s, enum top_style style, const char *fmt, ...)
{
	char *text = next_line(s, style);
	va_list ap;

	if (!text)
		return;
	va_start(ap, fmt);
	vsnprintf(text, s->width + 1, fmt, ap);
	va_end(ap);
}

/* ---- tables ----------------------------------------------------------------------------------- */

/* Keeps the chosen row among those that there are, and those shown around it. */
static void scroll(struct top_state *t, unsigned rows, unsigned room)
{
	unsigned *row = &t->row[t->view], *from = &t->from[t->view];

	*row = rows && *row >= rows ? rows - 1 : rows ? *row : 0;
	if (*from > *row)
		*from = *row;
	if (*row >= *from + room)
		*from = *row - room + 1;
	if (*from + room > rows)
		*from = rows > room ? rows - room : 0;
	t->page = room;
}

static void draw_rows(struct top_screen *s, const struct top_layout *l, const struct top_rows *rows,
		      unsigned from, int room, int chosen)
{
	for (unsigned i = from; i < rows->n && room-- > 0; i++) {
		enum top_style style = (int)i == chosen ? TOP_CHOSEN : rows->list[i].bad ? TOP_BAD : TOP_PLAIN;
		char *text = next_line(s, style);

		if (text)
			top_line(l, text, &rows->list[i]);
	}
}

static void draw_heading(struct top_screen *s, const struct top_layout *l, int sort, bool reverse)
{
	char *text = next_line(s, TOP_HEAD);

	if (text)
		top_heading(l, text, sort, reverse);
}

/* A second table below: as it is sorted by default, up to `room` lines with its heading. */
static void draw_below(struct top_screen *s, unsigned table, const struct top_sample *now,
		       const struct top_sample *before, int svc, int room)
{
	const struct top_table *tt = &top_tables[table];
	struct top_rows rows = {};
	struct top_layout l;

	top_rows(&rows, table, now, before, svc);
	if (rows.n && room >= BELOW_MIN) {
		top_sort(&rows, table, tt->sort, false);
		top_lay_out(&l, table, &rows, s->width);
		add(s, TOP_PLAIN, "%s", "");
		draw_heading(s, &l, -1, false);
		draw_rows(s, &l, &rows, 0, room - 2, -1);
	}
	top_rows_free(&rows);
}

/* The row of the service that was chosen by name wherever sorting has put it. */
static void follow(struct top_state *t, const struct top_sample *now, const struct top_rows *rows)
{
	for (unsigned i = 0; i < rows->n && *t->chosen; i++) {
		if (!strcmp(now->svcs[rows->list[i].svc].name, t->chosen))
			t->row[TOP_OVERVIEW] = i;
	}
}

static const char *nothing(const struct top_state *t, const struct top_sample *now)
{
	switch (t->view) {
	case TOP_BACKENDS:
		return *t->service ? "no pool is this service's" : "no backend: the configuration has no pool";
	case TOP_KEYS:
		return "no key is in the hot set";
	case TOP_FLOWS:
		return now->latency ? "no flow was measured yet" :
				      "flows are not measured: latency.flows is 0 in the configuration";
	default:
		return "no packets yet";
	}
}

static void draw_table(struct top_screen *s, struct top_state *t, const struct top_sample *now,
		       const struct top_sample *before, int svc)
{
	unsigned view = t->view;
	struct top_rows rows = {};
	struct top_layout l;
	int room = s->height - s->n - 2;

	top_rows(&rows, view, now, before, svc);
	top_sort(&rows, view, t->sort[view], t->reverse[view]);
	if (view == TOP_OVERVIEW)
		follow(t, now, &rows);
	scroll(t, rows.n, room < 1 ? 1 : room);
	if (view == TOP_OVERVIEW && rows.n) /* what is of no service has no name, and cannot be entered */
		snprintf(t->chosen, sizeof(t->chosen), "%s", now->svcs[rows.list[t->row[view]].svc].name);
	top_lay_out(&l, view, &rows, s->width);
	draw_heading(s, &l, t->sort[view], t->reverse[view]);
	draw_rows(s, &l, &rows, t->from[view], room, t->row[view]);
	if (!rows.n)
		add(s, TOP_DIM, "%s", nothing(t, now));
	room -= rows.n;
	top_rows_free(&rows);
	if (view != TOP_OVERVIEW)
		return;
	draw_below(s, *t->service ? TOP_PATHS : TOP_BACKENDS, now, before, *t->service ? svc : -1, room);
	if (*t->service)
		draw_below(s, TOP_REASONS, now, before, svc, s->height - 1 - s->n);
}

/* ---- the head --------------------------------------------------------------------------------- */

struct totals {
	double packets, hits, misses;
	__u64 active;
};

static double known(double n)
{
	return isnan(n) ? 0 : n;
}

static void sum_up(struct totals *t, const struct top_sample *now, const struct top_sample *before)
{
	double seconds = top_seconds(now, before);

	*t = (struct totals){};
	for (unsigned s = 0; s <= WEIR_SVC_NONE; s++) {
		const struct weir_count *c = now->svcs[s].counts;
		const struct top_service *b = top_service_before(now, before, s);

		for (int r = 0; b && r < WEIR_R_COUNT; r++)
			t->packets += known(top_rate(c[r].packets, b->counts[r].packets, seconds));
		if (!b || !now->svcs[s].cache)
			continue;
		t->hits += known(top_rate(class_packets(c, WEIR_CLS_HIT), class_packets(b->counts, WEIR_CLS_HIT),
					  seconds));
		t->misses += known(top_rate(class_packets(c, WEIR_CLS_MISS),
					    class_packets(b->counts, WEIR_CLS_MISS), seconds));
	}
	for (unsigned i = 0; i < now->nbackends; i++)
		t->active += now->backends[i].active;
}

static void draw_totals(struct top_screen *s, const struct top_sample *now, const struct top_sample *before)
{
	char packets[16], hits[16], misses[16], ratio[16] = "-";
	struct totals t;
	bool rates = top_seconds(now, before) > 0;

	sum_up(&t, now, before);
	if (t.hits + t.misses > 0)
		snprintf(ratio, sizeof(ratio), "%.1f%%", 100 * t.hits / (t.hits + t.misses));
	add(s, TOP_PLAIN, "packets/s %s  hits/s %s  misses/s %s  hit ratio %s  connections %s",
	    top_number(rates ? t.packets : NAN, packets), top_number(rates ? t.hits : NAN, hits),
	    top_number(rates ? t.misses : NAN, misses), ratio, human_count(t.active));
}

static void draw_title(struct top_screen *s, const struct top_sample *now)
{
	time_t at = now->at, since = now->at > now->loaded_at ? now->at - now->loaded_at : 0;
	char clock[16] = "";
	struct tm tm;

	if (localtime_r(&at, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	add(s, TOP_TITLE, "weir top  %s  loaded %s ago, generation %u; %s; %s", clock,
	    human_duration(since * 1000000000ULL), now->generation,
	    now->answering ? "answering" : "NOT answering: the lease is over",
	    now->agent ? "agent is up" : "no agent");
}

static void draw_tabs(struct top_screen *s, const struct top_state *t)
{
	char text[160] = "";
	size_t at = 0;

	for (unsigned v = 0; v < TOP_VIEWS; v++)
		at += snprintf(text + at, sizeof(text) - at, v == t->view ? "[%u %s] " : " %u %s  ", v + 1,
			       top_tables[v].name);
	if (*t->service)
		snprintf(text + at, sizeof(text) - at, "  service %s", t->service);
	add(s, TOP_TAB, "%s", text);
}

/* How many there are, where not all are shown. */
static void draw_foot(struct top_screen *s, const struct top_state *t, const struct top_sample *now)
{
	__u64 all = t->view == TOP_KEYS ? now->keys_matched : t->view == TOP_FLOWS ? now->flows_matched : 0;
	const char *column = top_tables[t->view].columns[t->sort[t->view]].name;
	char more[64] = "";

	s->n = s->n < s->height ? s->n : s->height - 1; /* it is always there */
	while (s->n < s->height - 1)
		add(s, TOP_PLAIN, "%s", "");
	if (all)
		snprintf(more, sizeof(more), "   %s %s", human_count(all), top_tables[t->view].name);
	add(s, TOP_DIM, "q quit  ? help  s sort: %s  r reverse%s%s%s", column,
	    t->view == TOP_OVERVIEW && !*t->service ? "  Enter service" : "",
	    *t->service ? "  Backspace all services" : "", more);
}

static void draw_help(struct top_screen *s)
{
	static const char *const lines[] = {
		"1 to 5   overview, backends, keys, reasons, flows; Tab, Shift-Tab next, last",
		"Enter    in the overview: the chosen service alone; Backspace all again",
		"s, r     sort by the next column; reverse the order",
		"arrows   another row; also j, k, Page Up, Page Down, Home, End",
		"space    refresh now",
		"q        quit, as Ctrl-C",
		"",
		"Rates, hits (the ratio), p50 and p99 are of the time since the last refresh.",
		"requests/s are those that Weir reads: of services with a cache.",
		"timed/s are requests that a server answered and that were measured;",
		"p50 and p99 are of these.",
		"latency of a backend is smoothed; load 1.00 is the mean of its pool.",
		"Keys are the 500 most hit. Flows are those measured, the first 500.",
	};

	add(s, TOP_HEAD, "keys");
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		add(s, TOP_PLAIN, "%s", lines[i]);
}

void top_draw(struct top_screen *s, struct top_state *t, const struct top_sample *now,
	      const struct top_sample *before, const char *why)
{
	int svc = -1;

	s->n = 0;
	if (!now->ns) {
		add(s, TOP_TITLE, "weir top");
		add(s, TOP_BAD, "%s", why);
		add(s, TOP_DIM, "waiting; q quits");
		if (t->help)
			draw_help(s);
		return;
	}
	draw_title(s, now);
	draw_totals(s, now, before);
	draw_tabs(s, t);
	svc = *t->service ? top_service_number(now, t->service) : -1;
	if (t->help)
		draw_help(s);
	else if (*t->service && svc < 0)
		add(s, TOP_BAD, "service %s is gone; Backspace shows all", t->service);
	else
		draw_table(s, t, now, before, svc);
	draw_foot(s, t, now);
}

/* ---- once ------------------------------------------------------------------------------------- */

static void print_table(unsigned table, const struct top_sample *now, const struct top_sample *before, int width)
{
	struct top_rows rows = {};
	struct top_layout l;
	char text[TOP_WIDTH_MAX + 1];

	top_rows(&rows, table, now, before, -1);
	top_sort(&rows, table, top_tables[table].sort, false);
	top_lay_out(&l, table, &rows, width);
	if (rows.n) {
		top_heading(&l, text, -1, false);
		printf("\n%s\n", text);
	}
	for (unsigned i = 0; i < rows.n; i++) {
		top_line(&l, text, &rows.list[i]);
		printf("%s\n", text);
	}
	top_rows_free(&rows);
}

void top_print(const struct top_sample *now, const struct top_sample *before, int width)
{
	struct top_screen s = {};

	width = width < 1 ? 1 : width > TOP_WIDTH_MAX ? TOP_WIDTH_MAX : width;
	if (top_screen_size(&s, width, 2))
		return;
	draw_title(&s, now);
	draw_totals(&s, now, before);
	for (int y = 0; y < s.n; y++)
		printf("%s\n", top_screen_line(&s, y));
	top_screen_free(&s);
	print_table(TOP_OVERVIEW, now, before, width);
	print_table(TOP_BACKENDS, now, before, width);
	print_table(TOP_REASONS, now, before, width);
}
