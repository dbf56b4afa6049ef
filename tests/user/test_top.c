/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top without a terminal: samples become rows, rows lines, and keys change what is shown. */
#include <math.h>
#include <stdlib.h>

#include "top.h"
#include "test.h"

#define SECOND 1000000000ULL
#define MS     1000000ULL

static struct top_sample was, now;
static struct top_rows rows;

/* ---- samples ---------------------------------------------------------------------------------- */

static void service(struct top_sample *s, unsigned svc, const char *name, bool cache)
{
	s->svcs[svc].used = true;
	s->svcs[svc].cache = cache;
	strcpy(s->svcs[svc].name, name);
}

static void backend(struct top_sample *s, unsigned place, const char *pool, const char *name, __u64 packets)
{
	struct top_backend *b;

	if (!s->backends)
		s->backends = calloc(64, sizeof(*s->backends));
	b = &s->backends[s->nbackends++];
	b->place = place;
	b->svc = 1;
	strcpy(b->pool, pool);
	strcpy(b->name, name);
	strcpy(b->state, "up");
	strcpy(b->health, "up");
	b->active = 10 + place;
	b->load = place == 2 ? -1 : 1;
	b->sent.packets = packets;
	b->sent.bytes = 1000 * packets;
}

static void key(struct top_sample *s, const char *text, size_t len, __u64 hits)
{
	struct top_key *k;

	if (!s->keys)
		s->keys = calloc(2 * TOP_LIST, sizeof(*s->keys));
	k = &s->keys[s->nkeys++];
	memcpy(k->key, text, len);
	k->key_len = len;
	k->counted = true;
	k->hits = hits;
	k->left_ns = WEIR_NEVER;
	k->state = "hit";
	s->keys_ns = s->ns;
	s->keys_matched++;
}

static void count(struct top_sample *s, unsigned svc, unsigned reason, __u64 packets)
{
	s->svcs[svc].counts[reason].packets = packets;
	s->svcs[svc].counts[reason].bytes = 100 * packets;
}

static void measured(struct top_sample *s, unsigned svc, unsigned path, __u64 ns, __u64 n)
{
	s->svcs[svc].lat[path].n[weir_lat_bucket(ns)] += n;
}

/* "cache", which answers lookups, and "web" with three backends, two seconds apart. */
static void setup(void)
{
	top_sample_free(&was);
	top_sample_free(&now);
	was.ns = 100 * SECOND;
	now.ns = 102 * SECOND;
	was.at = 1000000;
	now.at = 1000002;
	was.loaded_at = now.loaded_at = 999900;
	was.generation = now.generation = 3;
	was.answering = now.answering = was.latency = now.latency = true;
	for (struct top_sample *s = &was; s; s = s == &was ? &now : NULL) {
		service(s, 0, "cache", true);
		service(s, 1, "web", false);
		service(s, WEIR_SVC_NONE, "", false);
		backend(s, 0, "pool", "b1", s == &was ? 50 : 250);
		backend(s, 1, "pool", "b2", s == &was ? 50 : 1050);
		backend(s, 2, "pool", "b3", 50);
	}
	count(&was, 0, WEIR_R_HIT, 1000);
	count(&now, 0, WEIR_R_HIT, 1900);
	count(&was, 0, WEIR_R_MISS, 500);
	count(&now, 0, WEIR_R_MISS, 600);
	count(&was, 0, WEIR_R_WRITE, 5);
	count(&now, 0, WEIR_R_WRITE, 7);
	count(&was, 1, WEIR_R_STEERED, 10000);
	count(&now, 1, WEIR_R_STEERED, 30000);
	count(&was, WEIR_SVC_NONE, WEIR_R_OTHER, 10);
	count(&now, WEIR_SVC_NONE, WEIR_R_OTHER, 16);
	measured(&was, 1, WEIR_LAT_REQUEST, 500 * MS, 1000);
	measured(&now, 1, WEIR_LAT_REQUEST, 500 * MS, 1000);
	measured(&now, 1, WEIR_LAT_REQUEST, 1 * MS, 98);
	measured(&now, 1, WEIR_LAT_REQUEST_ACKED, 80 * MS, 2);
	measured(&now, 1, WEIR_LAT_RTT_CLIENT, 300 * MS, 500);
	measured(&now, 0, WEIR_LAT_HIT, 2000, 50);
}

static double value(unsigned row, unsigned column)
{
	return row < rows.n ? rows.list[row].cell[column].n : -1;
}

static const char *name(unsigned row, unsigned column)
{
	return row < rows.n ? rows.list[row].cell[column].text : "";
}

static bool near(double got, double want)
{
	return fabs(got - want) <= 0.07 * fabs(want) + 1e-9;
}

/* ---- rows ------------------------------------------------------------------------------------- */

static void test_services(void)
{
	setup();
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	test_begin("rates are what was added since the sample before, for each second");
	CHECK_INT(rows.n, 3);
	CHECK_STR(name(0, 0), "cache");
	CHECK_INT(value(0, 1), 501);
	CHECK_INT(value(0, 2), 501);
	CHECK_INT(value(0, 3), 90);
	CHECK_INT(value(0, 4), 50);
	CHECK_INT(value(1, 1), 10000);
	CHECK_STR(name(2, 0), "(no service)");
	CHECK_INT(value(2, 1), 3);
	test_end();

	test_begin("quantiles are of requests that a server answered, since the sample before");
	CHECK_INT(value(1, 5), 50);
	CHECK(near(value(1, 6), 1 * MS));
	CHECK(near(value(1, 7), 80 * MS));
	CHECK_INT(value(0, 5), 0); /* hits are none */
	CHECK(isnan(value(0, 6)));
	test_end();

	test_begin("what does not apply is not known: requests of a service that has no cache");
	CHECK(isnan(value(1, 2)) && isnan(value(1, 3)) && isnan(value(1, 4)));
	CHECK(isnan(value(2, 5)) && isnan(value(2, 7)));
	test_end();

	test_begin("without requests in the time there are no quantiles and no ratio");
	was.svcs[1].lat[WEIR_LAT_REQUEST] = now.svcs[1].lat[WEIR_LAT_REQUEST];
	was.svcs[1].lat[WEIR_LAT_REQUEST_ACKED] = now.svcs[1].lat[WEIR_LAT_REQUEST_ACKED];
	was.svcs[0] = now.svcs[0];
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	CHECK(isnan(value(1, 6)) && isnan(value(0, 3)));
	CHECK_INT(value(0, 2), 0);
	test_end();
}

static void test_beginnings(void)
{
	setup();
	test_begin("the first sample has no rates");
	top_rows(&rows, TOP_OVERVIEW, &now, NULL, -1);
	CHECK_INT(rows.n, 3);
	CHECK(isnan(value(0, 1)) && isnan(value(1, 6)));
	was.ns = 0;
	top_rows(&rows, TOP_BACKENDS, &now, &was, -1);
	CHECK(isnan(value(0, 9)));
	top_rows(&rows, TOP_REASONS, &now, &was, -1);
	CHECK_INT(rows.n, 5);
	test_end();

	setup();
	test_begin("nor has one after another load");
	was.loaded_at--;
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	CHECK(isnan(value(0, 1)));
	test_end();

	setup();
	test_begin("a service or backend with another name in the same place is another one");
	strcpy(was.svcs[1].name, "old");
	strcpy(was.backends[1].name, "old");
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	CHECK_INT(value(0, 1), 501);
	CHECK(isnan(value(1, 1)) && isnan(value(1, 6)));
	top_rows(&rows, TOP_BACKENDS, &now, &was, -1);
	CHECK_INT(value(0, 9), 100);
	CHECK(isnan(value(1, 9)));
	test_end();

	setup();
	test_begin("backends are found where the list has changed before them");
	memmove(&was.backends[0], &was.backends[1], 2 * sizeof(was.backends[0]));
	was.nbackends = 2;
	top_rows(&rows, TOP_BACKENDS, &now, &was, -1);
	CHECK(isnan(value(0, 9)));
	CHECK_INT(value(1, 9), 500);
	CHECK_INT(value(2, 9), 0);
	test_end();

	setup();
	test_begin("a counter that became less has no rate; the same moment has none, either");
	now.svcs[0].counts[WEIR_R_HIT].packets = 1;
	now.svcs[0].counts[WEIR_R_MISS].packets = 1;
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	CHECK(isnan(value(0, 1)) && isnan(value(0, 3)) && isnan(value(0, 4)));
	now.ns = was.ns;
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	CHECK(isnan(value(1, 1)) && isnan(value(1, 5)));
	test_end();
}

static void test_lists(void)
{
	setup();
	test_begin("backends: only of the service; what is down is marked");
	strcpy(now.backends[1].health, "down");
	now.backends[2].svc = 0;
	top_rows(&rows, TOP_BACKENDS, &now, &was, 1);
	CHECK_INT(rows.n, 2);
	CHECK(!rows.list[0].bad && rows.list[1].bad);
	CHECK_INT(value(1, 10), 500000);
	top_rows(&rows, TOP_BACKENDS, &now, &was, 0);
	CHECK_INT(rows.n, 1);
	CHECK(isnan(value(0, 5)));
	test_end();

	test_begin("reasons: sums over services, and shares of all packets");
	top_rows(&rows, TOP_REASONS, &now, &was, -1);
	top_sort(&rows, TOP_REASONS, 1, false);
	CHECK_STR(name(0, 0), "steered");
	CHECK_INT(value(0, 1), 10000);
	CHECK_INT(lround(value(0, 3) * 100), lround(10000.0 / 10504 * 10000));
	CHECK_INT(value(0, 4), 30000);
	top_rows(&rows, TOP_REASONS, &now, &was, 0);
	CHECK_INT(rows.n, 3);
	test_end();

	test_begin("keys: hits a second where the key was there before");
	key(&was, "a", 1, 10);
	key(&was, "b", 1, 500);
	key(&now, "b", 1, 700);
	key(&now, "new", 3, 20);
	key(&now, "a", 1, 10);
	top_rows(&rows, TOP_KEYS, &now, &was, -1);
	CHECK_INT(rows.n, 3);
	CHECK_INT(value(0, 1), 100);
	CHECK(isnan(value(1, 1)));
	CHECK_INT(value(2, 1), 0);
	CHECK_INT(value(1, 0), 20);
	test_end();

	test_begin("latencies of one service, path by path");
	top_rows(&rows, TOP_PATHS, &now, &was, 1);
	CHECK_INT(rows.n, 3);
	CHECK_STR(name(0, 0), "request");
	CHECK_INT(value(0, 1), 49);
	CHECK(near(value(0, 2), 1 * MS) && near(value(0, 5), 500 * MS));
	CHECK_INT(value(0, 4), 1098);
	test_end();
}

static void test_order(void)
{
	setup();
	test_begin("numbers from the greatest down, names from a to z; reversed");
	top_rows(&rows, TOP_BACKENDS, &now, &was, -1);
	top_sort(&rows, TOP_BACKENDS, 9, false);
	CHECK_STR(name(0, 1), "b2");
	CHECK_STR(name(2, 1), "b3");
	top_sort(&rows, TOP_BACKENDS, 9, true);
	CHECK_STR(name(0, 1), "b3");
	top_sort(&rows, TOP_BACKENDS, 1, false);
	CHECK_STR(name(0, 1), "b1");
	top_sort(&rows, TOP_BACKENDS, 1, true);
	CHECK_STR(name(0, 1), "b3");
	test_end();

	test_begin("what is not known comes last in either order; equal rows keep theirs");
	for (int reverse = 0; reverse < 2; reverse++) {
		top_rows(&rows, TOP_BACKENDS, &now, &was, -1);
		top_sort(&rows, TOP_BACKENDS, 5, reverse);
		CHECK_STR(name(0, 1), "b1");
		CHECK_STR(name(1, 1), "b2");
		CHECK_STR(name(2, 1), "b3");
	}
	test_end();

	test_begin("no rows are sorted, too");
	now.nbackends = 0;
	top_rows(&rows, TOP_BACKENDS, &now, &was, -1);
	top_sort(&rows, TOP_BACKENDS, 5, true);
	CHECK_INT(rows.n, 0);
	test_end();
}

/* ---- lines ------------------------------------------------------------------------------------ */

static void test_numbers(void)
{
	char text[16];

	test_begin("numbers in five characters");
	CHECK_STR(top_number(NAN, text), "-");
	CHECK_STR(top_number(0, text), "0");
	CHECK_STR(top_number(0.001, text), "0");
	CHECK_STR(top_number(0.5, text), "0.5");
	CHECK_STR(top_number(3, text), "3");
	CHECK_STR(top_number(9.96, text), "10");
	CHECK_STR(top_number(999.4, text), "999");
	CHECK_STR(top_number(999.5, text), "1.00k");
	CHECK_STR(top_number(9994, text), "9.99k");
	CHECK_STR(top_number(9995, text), "10.0k");
	CHECK_STR(top_number(123456, text), "123k");
	CHECK_STR(top_number(999500, text), "1.00M");
	CHECK_STR(top_number(18446744073709551615.0, text), "18.4E");
	test_end();
}

static void test_lines(void)
{
	char text[TOP_WIDTH_MAX + 1];
	struct top_layout l;

	setup();
	top_rows(&rows, TOP_OVERVIEW, &now, &was, -1);
	test_begin("a wide line has all columns, the sorted one marked with its direction");
	top_lay_out(&l, TOP_OVERVIEW, &rows, 100);
	top_heading(&l, text, 1, false);
	CHECK_STR(text, "service       packets/sv   requests/s    hits   misses/s   timed/s     p50     p99");
	top_line(&l, text, &rows.list[0]);
	CHECK_STR(text, "cache                501          501   90.0%         50         0       -       -");
	top_heading(&l, text, 0, false);
	CHECK(!strncmp(text, "service^ ", 9));
	top_heading(&l, text, 1, true);
	CHECK(strstr(text, " packets/s^ ") != NULL);
	test_end();

	test_begin("in a narrow one those go that are missed least");
	top_lay_out(&l, TOP_OVERVIEW, &rows, 40);
	top_heading(&l, text, 1, false);
	CHECK_STR(text, "service       packets/sv    hits     p99");
	test_end();

	test_begin("no line of any table is longer than the width, however small that is");
	key(&now, "k\x01\xff\x1b[2J", 7, 5);
	for (int table = 0; table <= TOP_VIEWS; table++) {
		top_rows(&rows, table, &now, &was, table == TOP_PATHS ? 1 : -1);
		for (int width = 1; width <= 300; width++) {
			top_lay_out(&l, table, &rows, width);
			top_heading(&l, text, 0, false);
			CHECK((int)strlen(text) <= width);
			for (unsigned i = 0; i < rows.n; i++) {
				top_line(&l, text, &rows.list[i]);
				CHECK((int)strlen(text) <= width);
			}
		}
	}
	test_end();

	test_begin("a key cannot move the cursor, and gets the room that is left");
	top_rows(&rows, TOP_KEYS, &now, &was, -1);
	top_lay_out(&l, TOP_KEYS, &rows, 200);
	top_line(&l, text, &rows.list[0]);
	CHECK(strstr(text, "k\\x01\\xff\\x1b[2J") != NULL);
	top_lay_out(&l, TOP_KEYS, &rows, 24);
	top_line(&l, text, &rows.list[0]);
	CHECK(strstr(text, "k\\x01") != NULL);
	test_end();
}

/* ---- the screen ------------------------------------------------------------------------------- */

static struct top_screen screen;
static struct top_state state;

static bool shows(const char *text)
{
	for (int y = 0; y < screen.n; y++) {
		if (strstr(top_screen_line(&screen, y), text))
			return true;
	}
	return false;
}

/* The text of the line that is chosen. */
static const char *chosen(void)
{
	for (int y = 0; y < screen.n; y++) {
		if (screen.style[y] == TOP_CHOSEN)
			return top_screen_line(&screen, y);
	}
	return "";
}

static void press(int code)
{
	top_press(&state, code);
	top_draw(&screen, &state, &now, &was, "gone");
}

static void test_views(void)
{
	setup();
	top_start(&state);
	CHECK_INT(top_screen_size(&screen, 80, 24), 0);
	top_draw(&screen, &state, &now, &was, "");
	test_begin("the overview: totals, services by packets, backends below, keys at the foot");
	CHECK_INT(screen.n, 24);
	CHECK(shows("generation 3; answering; no agent"));
	CHECK(shows("packets/s 10.5k  hits/s 450  misses/s 50  hit ratio 90.0%  connections 33"));
	CHECK(!strncmp(chosen(), "web ", 4));
	CHECK(shows("b3") && shows("[1 overview]"));
	CHECK(!strncmp(top_screen_line(&screen, 23), "q quit  ? help  s sort: packets/s", 33));
	test_end();

	test_begin("numbers and Tab go through the views");
	press('4');
	CHECK(shows("[4 reasons]") && shows("steered") && shows("sent to a backend"));
	press(TOP_NEXT);
	CHECK(shows("[5 flows]") && shows("no flow was measured yet"));
	press(TOP_NEXT);
	CHECK(shows("[1 overview]"));
	press(TOP_PREVIOUS);
	CHECK(shows("[5 flows]"));
	press('3');
	CHECK(shows("no key is in the hot set"));
	press('6');
	CHECK(shows("[3 keys]"));
	test_end();

	test_begin("s sorts by the next column, r turns the order round, each view for itself");
	press('2');
	press('s');
	CHECK(shows("s sort: load"));
	for (int i = 0; i < 4; i++)
		press('s');
	CHECK(shows("s sort: packets/s"));
	CHECK(!strncmp(chosen(), "pool   b2", 9));
	press('r');
	CHECK(!strncmp(chosen(), "pool   b3", 9));
	press('1');
	CHECK(shows("s sort: packets/s") && !strncmp(chosen(), "web ", 4));
	test_end();
}

static void test_drill(void)
{
	setup();
	top_start(&state);
	top_draw(&screen, &state, &now, &was, "");
	test_begin("Enter shows the chosen service alone, Backspace all again");
	press(TOP_ENTER);
	CHECK(shows("service web") && !shows("cache") && shows("rtt_client") && shows("steered"));
	press('4');
	CHECK(shows("sent to a backend") && !shows("key not in the hot set"));
	press(TOP_BACK);
	CHECK(shows("key not in the hot set") && !shows("service web"));
	press('1');
	CHECK(shows("cache"));
	test_end();

	test_begin("the chosen service stays chosen when the order changes");
	press(TOP_DOWN);
	CHECK(!strncmp(chosen(), "cache ", 6));
	press('r');
	CHECK(!strncmp(chosen(), "cache ", 6));
	now.svcs[0].counts[WEIR_R_HIT].packets += 1000000;
	press(0);
	CHECK(!strncmp(chosen(), "cache ", 6));
	test_end();

	test_begin("packets of no service cannot be entered");
	press(TOP_END);
	press('r');
	press(TOP_END);
	CHECK(!strncmp(chosen(), "(no service)", 12));
	press(TOP_ENTER);
	CHECK(shows("cache") && shows("web"));
	test_end();

	test_begin("a service that goes away meanwhile is said to be gone");
	press(TOP_UP);
	press(TOP_ENTER);
	CHECK_STR(state.service, "web");
	now.svcs[1].used = false;
	for (int view = '1'; view <= '5'; view++) {
		press(view);
		CHECK(shows("service web is gone"));
	}
	press(TOP_BACK);
	CHECK(!shows("gone"));
	test_end();

	test_begin("help, whose end does nothing else; q");
	setup();
	press('1');
	press('?');
	CHECK(shows("Backspace all again"));
	press('?');
	CHECK(!shows("Backspace all again") && shows("cache"));
	CHECK(!state.quit);
	press('q');
	CHECK(state.quit);
	test_end();
}

static void test_reads(void)
{
	top_start(&state);
	test_begin("what has to be read anew is said: another view, another service, another order of flows");
	CHECK(top_press(&state, '3'));
	CHECK(!top_press(&state, '3'));
	CHECK(!top_press(&state, 's'));
	CHECK(top_press(&state, '5'));
	CHECK(top_press(&state, 's') && top_press(&state, 'r'));
	CHECK(!top_press(&state, TOP_DOWN) && !top_press(&state, TOP_BACK));
	strcpy(state.chosen, "web");
	CHECK(!top_press(&state, TOP_ENTER));
	top_press(&state, '1');
	CHECK(top_press(&state, TOP_ENTER));
	CHECK(top_press(&state, TOP_BACK));
	test_end();
}

static void test_scroll(void)
{
	char text[16];

	setup();
	now.nbackends = 0;
	for (int i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "b%02d", i);
		backend(&now, i, "pool", text, i);
		now.backends[i].active = 100 - i;
	}
	top_start(&state);
	CHECK_INT(top_screen_size(&screen, 80, 24), 0);
	press('2');
	test_begin("rows scroll with the chosen one, and stop at both ends");
	CHECK(strstr(chosen(), "b00") != NULL);
	CHECK(shows("b18") && !shows("b19"));
	press(TOP_UP);
	CHECK(strstr(chosen(), "b00") != NULL);
	press(TOP_PAGE_DOWN);
	CHECK(strstr(chosen(), "b19") && shows("b01") && !shows("b00"));
	press(TOP_END);
	CHECK(strstr(chosen(), "b59") && shows("b41") && !shows("b40"));
	press(TOP_DOWN);
	press(TOP_DOWN);
	press(TOP_UP);
	CHECK(strstr(chosen(), "b58") != NULL);
	press(TOP_HOME);
	CHECK(strstr(chosen(), "b00") != NULL);
	test_end();

	test_begin("when there are less rows the last is chosen; none is nothing");
	press(TOP_END);
	now.nbackends = 3;
	press(0);
	CHECK(strstr(chosen(), "b02") && shows("b00"));
	now.nbackends = 0;
	press(0);
	CHECK(shows("no backend"));
	test_end();
}

static void test_sizes(void)
{
	setup();
	key(&now, "a", 1, 1);
	now.flows = calloc(2 * TOP_LIST, sizeof(*now.flows));
	now.nflows = now.flows_matched = 1;
	now.flows[0] = (struct top_flow){.svc = 1, .state = "open", .latency_ns = MS, .client = "10.0.0.1:99"};
	test_begin("any size: lines fit, there are as many as the screen has, and the last one is the keys'");
	for (int height = 1; height <= 60; height += height < 12 ? 1 : 7) {
		for (int width = 1; width <= 200; width += width < 20 ? 1 : 19) {
			top_start(&state);
			CHECK_INT(top_screen_size(&screen, width, height), 0);
			for (int view = '1'; view <= '5'; view++) {
				press(view);
				CHECK(screen.n == height);
				for (int y = 0; y < screen.n; y++)
					CHECK((int)strlen(top_screen_line(&screen, y)) <= width);
				press('?');
				CHECK(screen.n <= height);
				press('?');
			}
			if (height >= 4 && width >= 6)
				CHECK(!strncmp(top_screen_line(&screen, height - 1), "q quit", 6));
		}
	}
	CHECK_INT(top_screen_size(&screen, 0, -1), 0);
	CHECK_INT(screen.width * screen.height, 1);
	CHECK_INT(top_screen_size(&screen, 100000, 100000), 0);
	CHECK_INT(screen.width, TOP_WIDTH_MAX);
	press('1');
	test_end();

	test_begin("nothing loaded: the reason, and that it waits");
	now.ns = 0;
	top_screen_size(&screen, 80, 24);
	press('1');
	CHECK(shows("gone") && shows("waiting"));
	CHECK(!shows("cache"));
	test_end();
}

/* ---- the document ----------------------------------------------------------------------------- */

static void test_document(void)
{
	json_t *doc, *web;

	setup();
	key(&was, "a", 1, 10);
	key(&now, "a", 1, 30);
	key(&now, "\xff", 1, 5);
	doc = top_document(&now, &was);
	test_begin("the document has what the views have; not known is null");
	CHECK(doc != NULL);
	CHECK(json_number_value(json_object_get(doc, "interval_seconds")) == 2);
	CHECK_INT(json_array_size(json_object_get(doc, "services")), 2);
	web = json_array_get(json_object_get(doc, "services"), 1);
	CHECK_STR(json_string_value(json_object_get(web, "name")), "web");
	CHECK(json_number_value(json_object_get(web, "packets_per_second")) == 10000);
	CHECK(near(json_number_value(json_object_get(web, "p99_seconds")), 0.08));
	CHECK(json_is_null(json_object_get(web, "hit_ratio")));
	web = json_array_get(json_object_get(doc, "services"), 0);
	CHECK(near(json_number_value(json_object_get(web, "hit_ratio")), 0.9));
	web = json_array_get(json_object_get(doc, "keys"), 0);
	CHECK(json_number_value(json_object_get(web, "hits_per_second")) == 10);
	web = json_array_get(json_object_get(doc, "keys"), 1);
	CHECK_STR(json_string_value(json_object_get(web, "key_base64")), "/w==");
	CHECK(json_is_null(json_object_get(web, "hits_per_second")));
	web = json_array_get(json_object_get(doc, "backends"), 2);
	CHECK(json_is_null(json_object_get(web, "load")));
	CHECK_INT(json_array_size(json_object_get(doc, "reasons")), 5);
	CHECK_INT(json_array_size(json_object_get(doc, "latencies")), 4);
	json_decref(doc);
	test_end();

	test_begin("without a sample before there are no rates in it");
	doc = top_document(&now, NULL);
	CHECK(json_is_null(json_object_get(doc, "interval_seconds")));
	web = json_array_get(json_object_get(doc, "reasons"), 0);
	CHECK(json_is_null(json_object_get(web, "packets_per_second")));
	json_decref(doc);
	test_end();
}

int main(void)
{
	test_services();
	test_beginnings();
	test_lists();
	test_order();
	test_numbers();
	test_lines();
	test_views();
	test_drill();
	test_reads();
	test_scroll();
	test_sizes();
	test_document();
	top_rows_free(&rows);
	top_screen_free(&screen);
	top_sample_free(&was);
	top_sample_free(&now);
	return test_done();
}
