/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * weir top, in parts: two samples of what is loaded (top_sample.c, top_lists.c) become rows (top_model.c), these
 * lines of a given width (top_format.c) and a screen (top_screen.c), which a terminal shows (top_term.c).
 * Only samples and terminal need a data plane and a terminal; the rest is plain memory.
 */
#ifndef WEIR_TOP_H
#define WEIR_TOP_H

#include <jansson.h>
#include <stdbool.h>

#include "reasons.h"
#include "weir/latency.h"

struct session;

/* ---- samples ---------------------------------------------------------------------------------- */

/* Counters of one service; name "": of packets for no service. */
struct top_service {
	bool used, cache;
	char name[WEIR_NAME_MAX];
	struct weir_count counts[WEIR_R_COUNT];
	struct weir_histogram lat[WEIR_LAT_PATHS];
};

struct top_backend {
	unsigned place, svc;
	char pool[WEIR_NAME_MAX], name[WEIR_NAME_MAX];
	char state[12], health[8];
	__u32 active;
	double load; /* negative: none */
	__u64 latency_ns; /* smoothed, as the score has it; 0: not known */
	struct weir_count sent;
	struct weir_histogram request;
};

struct top_key {
	unsigned svc;
	char key[WEIR_KEY_MAX];
	unsigned char key_len;
	bool counted; /* hits are */
	__u64 hits, left_ns; /* left: WEIR_NEVER */
	unsigned bytes;
	const char *state; /* "hit", "expired", "fenced" */
};

/* A flow that is measured. Latencies in ns, 0: not measured. */
struct top_flow {
	unsigned svc;
	bool tcp;
	char client[56], backend[2 * WEIR_NAME_MAX]; /* "" : this host */
	const char *state;
	__u64 latency_ns, latest_ns, rtt_server_ns, rtt_client_ns;
	__u64 packets, bytes, age_ns;
};

#define TOP_LIST 500 /* keys and flows that are kept: the first of those that there are */

struct top_sample {
	__u64 ns;  /* CLOCK_MONOTONIC; 0: nothing was read */
	double at; /* seconds since 1970 */
	__u64 loaded_at;
	unsigned generation;
	bool answering, agent; /* lookups are; the agent was seen lately */
	bool latency;	       /* latencies are measured */
	struct top_service svcs[WEIR_SERVICES_MAX + 1]; /* the last: WEIR_SVC_NONE */
	struct top_backend *backends;
	unsigned nbackends, backends_room;
	__u64 keys_ns; /* when keys were read; 0: they were not */
	__u64 keys_matched, flows_matched;
	struct top_key *keys; /* TOP_LIST */
	struct top_flow *flows;
	unsigned nkeys, nflows;
};

/* All but keys and flows. 0 or -errno. */
int top_read(struct top_sample *s, const struct session *session);
/* Of service svc (-1: all) the most hit keys, as `weir cache show` has them first. */
int top_read_keys(struct top_sample *s, const struct session *session, int svc);
/* Of service svc (-1: all) the first flows by a column of the flows' table, the greatest or the least. */
int top_read_flows(struct top_sample *s, const struct session *session, int svc, unsigned by, bool least);
void top_sample_free(struct top_sample *s);

/* Of a service by its name, -1: there is none (any more). */
int top_service_number(const struct top_sample *s, const char *name);

/* ---- rows ------------------------------------------------------------------------------------- */

enum top_view { TOP_OVERVIEW, TOP_BACKENDS, TOP_KEYS, TOP_REASONS, TOP_FLOWS, TOP_VIEWS };
#define TOP_PATHS TOP_VIEWS /* the table of a service's latencies, in the overview of one */

enum top_kind { TOP_TEXT, TOP_REST, TOP_NUMBER, TOP_PERCENT, TOP_LATENCY, TOP_LOAD, TOP_TIME, TOP_BYTES };

#define TOP_COLUMNS 12
struct top_column {
	const char *name;
	enum top_kind kind; /* TOP_REST: a text that gets the room that is left; the last one */
	unsigned rank;	    /* the highest goes first when there is no room; 0 stays */
};
struct top_table {
	const char *name;
	unsigned n, sort; /* by that column as long as nobody wants another order */
	struct top_column columns[TOP_COLUMNS];
};
extern const struct top_table top_tables[TOP_VIEWS + 1];

/* Columns that others must know. */
enum {
	TOP_FLOW_LATENCY = 4, /* the first of numbers */
	TOP_FLOW_LATEST,
	TOP_FLOW_RTT_SERVER,
	TOP_FLOW_RTT_CLIENT,
	TOP_FLOW_PACKETS,
	TOP_FLOW_BYTES,
	TOP_FLOW_AGE
};

struct top_cell {
	double n; /* NAN: not known */
	const char *text;
};
struct top_row {
	struct top_cell cell[TOP_COLUMNS];
	unsigned place; /* among rows that are not sorted */
	int svc;	/* of the overview: the service's number */
	bool bad;	/* something is wrong with it */
};
struct top_rows {
	struct top_row *list;
	unsigned n, room;
	int err; /* -ENOMEM: rows are missing */
};

/*
 * The rows of a view, not sorted; texts are those of `now`, or static. before NULL, or of another load: rates are
 * not known. svc -1: of all services.
 */
void top_rows(struct top_rows *rows, unsigned table, const struct top_sample *now,
	      const struct top_sample *before, int svc);
void top_sort(struct top_rows *rows, unsigned table, unsigned column, bool reverse);
void top_rows_free(struct top_rows *rows);

/* A second, since the sample before; NAN: not known. */
double top_rate(__u64 now, __u64 before, double seconds);
double top_seconds(const struct top_sample *now, const struct top_sample *before);
/* The same service, backend or key in the sample before; NULL: there was none. */
const struct top_service *top_service_before(const struct top_sample *now, const struct top_sample *before,
					     unsigned svc);
const struct top_backend *top_backend_before(const struct top_sample *now, const struct top_sample *before,
					     unsigned i);
const struct top_key *top_key_before(const struct top_sample *now, const struct top_sample *before, unsigned i);
/* Requests that a server answered, over all paths of those: since `before`, NULL: nothing is known. */
void top_requests(struct weir_histogram *h, const struct top_service *now, const struct top_service *before);
/* Whether a path is one of requests that a server answered. */
bool top_is_request(unsigned path);

/* ---- lines ------------------------------------------------------------------------------------ */

/* "0", "0.5", "12", "1.23k", "45.6M"; "-" of NAN. */
const char *top_number(double n, char text[16]);

struct top_layout {
	unsigned table;
	int width[TOP_COLUMNS]; /* 0: the column is left out */
	int line;		/* of a line */
};
/* Gives columns their widths, so that a line has at most `width` characters where that is possible. */
void top_lay_out(struct top_layout *l, unsigned table, const struct top_rows *rows, int width);
/* Into text[l->line + 1]; blanks at the end are left out. The sorted column's heading has v or ^. */
void top_heading(const struct top_layout *l, char *text, int sort, bool reverse);
void top_line(const struct top_layout *l, char *text, const struct top_row *row);

/* ---- the screen ------------------------------------------------------------------------------- */

/* What keys changed. */
struct top_state {
	enum top_view view;
	unsigned sort[TOP_VIEWS];
	bool reverse[TOP_VIEWS];
	unsigned row[TOP_VIEWS], from[TOP_VIEWS]; /* the chosen row; the first that is shown */
	char chosen[WEIR_NAME_MAX];  /* service in the chosen row of the overview */
	char service[WEIR_NAME_MAX]; /* "": all */
	bool help, quit;
	unsigned page; /* rows that were shown last */
};

enum top_key_code { TOP_UP = 256, TOP_DOWN, TOP_PAGE_UP, TOP_PAGE_DOWN, TOP_HOME, TOP_END, TOP_BACK,
	TOP_ENTER, TOP_NEXT, TOP_PREVIOUS };

void top_start(struct top_state *t);
/* A character, or one of the above. Whether it changed what is to be read. */
bool top_press(struct top_state *t, int key);

enum top_style { TOP_PLAIN, TOP_TITLE, TOP_TAB, TOP_HEAD, TOP_CHOSEN, TOP_BAD, TOP_DIM };
#define TOP_WIDTH_MAX  1000
#define TOP_HEIGHT_MAX 1000

struct top_screen {
	int width, height;
	int n;		       /* lines that are there: `height` at most */
	enum top_style *style; /* [height] */
	char *text;	       /* [height][width + 1] */
};
/* 0 or -ENOMEM; frees what was there. */
int top_screen_size(struct top_screen *s, int width, int height);
void top_screen_free(struct top_screen *s);
const char *top_screen_line(const struct top_screen *s, int y);
/* Draws. now->ns 0: nothing is loaded, and `why` says so. */
void top_draw(struct top_screen *s, struct top_state *t, const struct top_sample *now,
	      const struct top_sample *before, const char *why);

/* ---- once ------------------------------------------------------------------------------------- */

json_t *top_document(const struct top_sample *now, const struct top_sample *before);
/* The overview, as lines on standard output. */
void top_print(const struct top_sample *now, const struct top_sample *before, int width);

/* ---- what is loaded ---------------------------------------------------------------------------- */

#define TOP_WHY 256
/*
 * Opens it and reads the counters, if asked to, and the lists that the view needs, or all. 0; else -errno as
 * dp_open() has it, or of what cannot be read, and a sentence in why[TOP_WHY].
 */
int top_take(struct top_sample *s, const struct top_state *t, bool counters, bool all, char *why);

/* ---- the terminal ----------------------------------------------------------------------------- */

/* Until it is asked to end: an exit status. */
int top_live(__u64 delay_ns);

#endif
