/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * weir top on a terminal. Signals are taken from a descriptor, so that nothing is interrupted halfway and the
 * terminal is always put back.
 */
#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "dataplane.h"
#include "out.h"
#include "top.h"

#include <term.h> /* last: it makes macros of words like `lines` */

struct live {
	__u64 delay, due;
	int signals; /* a descriptor */
	struct top_state state;
	struct top_sample samples[2];
	unsigned which; /* the later one */
	struct top_screen screen;
	int err; /* why nothing could be read */
	char why[TOP_WHY];
};

/* ---- drawing ---------------------------------------------------------------------------------- */

static chtype style_of(enum top_style style)
{
	switch (style) {
	case TOP_TITLE:
	case TOP_TAB:
		return A_BOLD;
	case TOP_HEAD:
		return COLOR_PAIR(1) | A_BOLD | A_UNDERLINE;
	case TOP_CHOSEN:
		return A_REVERSE;
	case TOP_BAD:
		return COLOR_PAIR(2) | A_BOLD;
	case TOP_DIM:
		return A_DIM;
	default:
		return A_NORMAL;
	}
}

/* Not yet on the terminal: which row is chosen is known then. */
static bool prepare(struct live *l)
{
	struct top_screen *s = &l->screen;

	if ((s->width != COLS || s->height != LINES) && top_screen_size(s, COLS, LINES))
		return false;
	top_draw(s, &l->state, &l->samples[l->which], &l->samples[!l->which], l->why);
	return true;
}

static void draw(struct live *l)
{
	struct top_screen *s = &l->screen;

	if (!prepare(l))
		return;
	erase();
	for (int y = 0; y < s->n; y++) {
		attrset(style_of(s->style[y]));
		mvaddnstr(y, 0, top_screen_line(s, y), COLS);
		/* The chosen row and the headings are bars. */
		if (s->style[y] == TOP_CHOSEN || s->style[y] == TOP_HEAD)
			mvchgat(y, 0, -1, style_of(s->style[y]), s->style[y] == TOP_HEAD, NULL);
	}
	attrset(A_NORMAL);
	refresh();
}

static void resize(struct live *l)
{
	struct winsize ws;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_row && ws.ws_col)
		resizeterm(ws.ws_row, ws.ws_col);
	clearok(curscr, TRUE);
	draw(l);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static void took(struct live *l, int err)
{
	l->err = err;
	if (err) /* what is loaded next is another matter */
		l->samples[0].ns = l->samples[1].ns = 0;
}

static void sample(struct live *l)
{
	l->which = !l->which;
	l->samples[l->which].ns = 0;
	took(l, top_take(&l->samples[l->which], &l->state, true, false, l->why));
	l->due = monotonic_ns() + l->delay;
}

/* Another view: its list at once, without another sample of counters, whose rates would be of no time at all. */
static void look(struct live *l)
{
	if (l->samples[l->which].ns)
		took(l, top_take(&l->samples[l->which], &l->state, false, false, l->why));
}

/* Whether waiting can help. */
static bool may_come(int err)
{
	return !err || err == -ENOENT || err == -ESTALE || err == -EPROTO;
}

/* ---- keys and signals ------------------------------------------------------------------------- */

static int key_of(int c)
{
	switch (c) {
	case KEY_UP:
	case 'k':
		return TOP_UP;
	case KEY_DOWN:
	case 'j':
		return TOP_DOWN;
	case KEY_PPAGE:
		return TOP_PAGE_UP;
	case KEY_NPAGE:
		return TOP_PAGE_DOWN;
	case KEY_HOME:
		return TOP_HOME;
	case KEY_END:
		return TOP_END;
	case KEY_BACKSPACE:
	case 8:
	case 127:
		return TOP_BACK;
	case KEY_ENTER:
	case '\r':
	case '\n':
		return TOP_ENTER;
	case '\t':
		return TOP_NEXT;
	case KEY_BTAB:
		return TOP_PREVIOUS;
	}
	return c < 256 ? c : 0;
}

/* Whether the terminal is still there. */
static bool on_keys(struct live *l)
{
	int c = getch();
	bool read = false;

	if (c == ERR)
		return false;
	for (; c != ERR && !l->state.quit; c = getch()) {
		if (c == ' ')
			l->due = 0;
		else if (c != KEY_RESIZE && prepare(l))
			read |= top_press(&l->state, key_of(c));
	}
	if (read)
		look(l);
	draw(l);
	return true;
}

/* Whether one of them ends it. */
static bool on_signals(struct live *l)
{
	struct signalfd_siginfo si;
	bool ends = false;

	while (read(l->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo != SIGWINCH)
			ends = true;
		else
			resize(l);
	}
	return ends;
}

/* Until the next sample is due. Whether to go on. */
static bool wait(struct live *l)
{
	struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = l->signals, .events = POLLIN}};

	for (;;) {
		__u64 now = monotonic_ns();
		int n;

		if (now >= l->due)
			return true;
		n = poll(fds, 2, (l->due - now) / 1000000 + 1);
		if (n < 0 && errno != EINTR)
			return false;
		if (n <= 0)
			continue;
		if ((fds[1].revents && on_signals(l)) || (fds[0].revents && !on_keys(l)) || l->state.quit)
			return false;
	}
}

/* ---- the terminal ----------------------------------------------------------------------------- */

static void colours(void)
{
	const char *no = getenv("NO_COLOR");

	if ((no && *no) || !has_colors() || start_color() == ERR)
		return;
	if (use_default_colors() == OK) {
		init_pair(1, COLOR_CYAN, -1);
		init_pair(2, COLOR_RED, -1);
	}
}

static int open_terminal(SCREEN **screen)
{
	const char *term = getenv("TERM");
	int err;

	if (setupterm(NULL, STDOUT_FILENO, &err) == ERR)
		return fail(EXIT_USAGE, "top: the terminal '%.60s' is not known: set TERM, or use --once",
			    term ? term : "");
	if (!cursor_address)
		return fail(EXIT_USAGE, "top: the terminal '%.60s' cannot move its cursor: use --once", term);
	*screen = newterm(NULL, stdout, stdin);
	if (!*screen)
		return fail(EXIT_FAILED, "top: the terminal '%.60s' cannot be used", term ? term : "");
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	colours();
	return EXIT_OK;
}

static int take_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run(struct live *l)
{
	SCREEN *screen;
	int status = open_terminal(&screen);

	if (status)
		return status;
	do {
		draw(l);
		if (!wait(l))
			break;
		sample(l);
	} while (may_come(l->err));
	endwin();
	delscreen(screen);
	return may_come(l->err) ? EXIT_OK : fail(exit_of(l->err), "top: %s", l->why);
}

int top_live(__u64 delay_ns)
{
	struct live *l = calloc(1, sizeof(*l));
	int status;

	if (!l)
		return fail(EXIT_FAILED, "top: out of memory");
	l->delay = delay_ns;
	top_start(&l->state);
	l->signals = take_signals();
	if (l->signals < 0) {
		status = fail(EXIT_FAILED, "top: signals cannot be waited for: %s", strerror(errno));
	} else {
		sample(l);
		status = may_come(l->err) ? run(l) : fail(exit_of(l->err), "top: %s", l->why);
		close(l->signals);
	}
	top_sample_free(&l->samples[0]);
	top_sample_free(&l->samples[1]);
	top_screen_free(&l->screen);
	free(l);
	return status;
}
