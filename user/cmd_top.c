/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir top: what happens right now, on the whole screen; or once, from two samples. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "config.h"
#include "top.h"

#define DELAY_DFLT  1000000000ULL
#define DELAY_MIN   100000000ULL
#define DELAY_MAX   3600000000000ULL
#define PLAIN_WIDTH 160 /* where there is no terminal */

static int take(struct top_sample *s, const struct top_state *t)
{
	char why[TOP_WHY];
	int err = top_take(s, t, true, out_json, why);

	return err ? fail(exit_of(err), "top: %s", why) : EXIT_OK;
}

static int width(void)
{
	struct winsize ws;

	if (!isatty(STDOUT_FILENO))
		return PLAIN_WIDTH;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col ? 80 : ws.ws_col;
}

static int once(__u64 delay_ns)
{
	struct timespec ts = {delay_ns / 1000000000, delay_ns % 1000000000};
	struct top_sample *s = calloc(2, sizeof(*s));
	struct top_state t;
	int status;

	if (!s)
		return fail(EXIT_FAILED, "top: out of memory");
	top_start(&t);
	status = take(&s[0], &t);
	while (!status && nanosleep(&ts, &ts) && errno == EINTR)
		;
	if (!status)
		status = take(&s[1], &t);
	if (!status && out_json)
		out_document("top", top_document(&s[1], &s[0]));
	else if (!status)
		top_print(&s[1], &s[0], width());
	top_sample_free(&s[0]);
	top_sample_free(&s[1]);
	free(s);
	return status;
}

int cmd_top(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *text = opt_value(cmd, values, "delay");
	__u64 delay = DELAY_DFLT;

	if (text && (parse_duration(text, &delay) || delay < DELAY_MIN || delay > DELAY_MAX))
		return fail(EXIT_USAGE, "top: --delay is a time from 100ms to 1h, not '%.60s'", text);
	if (opt_value(cmd, values, "once"))
		return once(delay);
	if (out_json)
		return fail(EXIT_USAGE, "top: --json goes with --once");
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return fail(EXIT_USAGE, "top: standard %s is no terminal: use --once",
			    isatty(STDOUT_FILENO) ? "input" : "output");
	return top_live(delay);
}
