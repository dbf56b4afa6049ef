/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Exit statuses, errors, JSON documents and human units: the one place that words come from. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "out.h"

#define RING          16
#define PRINTABLE_LEN 8192

bool out_json, out_quiet, out_lines;

static bool printed; /* a document is out */
static bool lost;    /* a document could not be made */
static char *error;  /* the first sentence that fail() was given */
static int error_status;
static struct out_capture *capture; /* NULL: none */

/* ---- messages on stderr ----------------------------------------------------------------------- */

/* Arguments come from anywhere: what could move a terminal's cursor is shown, not sent. */
static void put_safe(const char *s, FILE *f)
{
	for (; *s; s++) {
		unsigned char c = *s;

		if ((c < ' ' && c != '\n') || c == 0x7f)
			fprintf(f, "\\x%02x", c);
		else
			putc(c, f);
	}
}

static const char *vsay(const char *prefix, const char *fmt, va_list ap)
{
	static char text[4608]; /* a path and a sentence */

	vsnprintf(text, sizeof(text), fmt, ap);
	if (capture)
		return text;
	/* What went to stdout came first. */
	fflush(stdout);
	fprintf(stderr, "weir: %s", prefix);
	put_safe(text, stderr);
	putc('\n', stderr);
	return text;
}

int fail(int status, const char *fmt, ...)
{
	const char *text;
	va_list ap;

	va_start(ap, fmt);
	text = vsay("", fmt, ap);
	va_end(ap);
	if (capture && !*capture->error) {
		snprintf(capture->error, sizeof(capture->error), "%s", text);
	} else if (!capture && !error) {
		error = strdup(text);
		error_status = status;
	}
	return status;
}

int exit_of(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return EXIT_OK;
	case EPERM:
	case EACCES:
		return EXIT_NOT_PERMITTED;
	case ENOTSUP:
#if EOPNOTSUPP != ENOTSUP
	case EOPNOTSUPP:
#endif
	case ENOSYS:
		return EXIT_UNSUPPORTED;
	}
	return EXIT_FAILED;
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay("warning: ", fmt, ap);
	va_end(ap);
}

void note(const char *fmt, ...)
{
	va_list ap;

	if (out_quiet)
		return;
	va_start(ap, fmt);
	vsay("note: ", fmt, ap);
	va_end(ap);
}

/* ---- documents on stdout ---------------------------------------------------------------------- */

json_t *out_whole(const char *kind, json_t *doc)
{
	json_t *whole = json_pack("{s:i, s:s}", "version", WEIR_JSON_VERSION, "kind", kind);

	if (whole && (!doc || json_object_update(whole, doc))) {
		json_decref(whole);
		whole = NULL;
	}
	json_decref(doc);
	return whole;
}

void out_document(const char *kind, json_t *doc)
{
	FILE *to = capture ? capture->to : stdout;
	json_t *whole = out_whole(kind, doc);
	int err = whole ? 0 : -1;

	if (!err)
		err = json_dumpf(whole, to, OUT_REALS | (out_lines ? JSON_COMPACT : JSON_INDENT(2)));
	if (err && !ferror(to)) {
		lost |= !capture;
		fail(EXIT_FAILED, "%s: the JSON document could not be made", kind);
	} else {
		putc('\n', to);
		printed |= !capture;
	}
	if (out_lines)
		fflush(to);
	json_decref(whole);
}

void out_capture(struct out_capture *c, FILE *to)
{
	*c = (struct out_capture){ .to = to, .json = out_json, .lines = out_lines };
	out_json = true;
	out_lines = false;
	capture = c;
}

void out_restore(struct out_capture *c)
{
	out_json = c->json;
	out_lines = c->lines;
	capture = NULL;
}

FILE *out_file(void)
{
	return capture ? capture->to : stdout;
}

static void print_error(void)
{
	/* A name in the sentence may be no UTF-8, which no document can hold. */
	json_t *text = json_string(error);

	if (!text)
		text = json_string(printable(error, strlen(error)));
	out_document("error", json_pack("{s:o, s:i}", "error", text, "status", error_status));
}

/* `weir ... | head` ends this way; its user needs no message. */
static bool reader_gone(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int out_finish(int status)
{
	int err;

	if (out_json && error && (!printed || out_lines))
		print_error();
	free(error);
	error = NULL;
	errno = 0;
	err = fflush(stdout) ? errno : 0;
	if (err || ferror(stdout)) {
		if (!reader_gone())
			fprintf(stderr, "weir: standard output could not be written%s%s\n", err ? ": " : "",
				err ? strerror(err) : "");
		lost = true;
	}
	if (lost && (status == EXIT_OK || status == EXIT_DEGRADED))
		return EXIT_FAILED;
	return status;
}

/* ---- human units ------------------------------------------------------------------------------ */

static char *ring(void)
{
	static char buffers[RING][64];
	static unsigned next;

	return buffers[next++ % RING];
}

const char *human_bytes(__u64 bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = bytes;
	char *text = ring();
	unsigned u = 0;

	/* 1023.95 and more would be printed as 1024.0. */
	while (n >= (u ? 1023.95 : 1024)) {
		n /= 1024;
		u++;
	}
	snprintf(text, 64, u ? "%.1f %s" : "%.0f %s", n, units[u]);
	return text;
}

/* The two largest units. Below a minute: "1.5s", "250ms", "12us", "80ns". */
const char *human_duration(__u64 ns)
{
	static const struct {
		__u64 ns;
		const char *name;
	} units[] = { { 86400000000000ULL, "d" },
		      { 3600000000000ULL, "h" },
		      { 60000000000ULL, "m" },
		      { 1000000000ULL, "s" },
		      { 1000000ULL, "ms" },
		      { 1000ULL, "us" },
		      { 1ULL, "ns" } };
	char *text = ring();
	unsigned u = 0;
	__u64 rest;

	if (ns == WEIR_NEVER)
		return "never";
	while (u < 6 && ns < units[u].ns)
		u++;
	rest = ns % units[u].ns;
	if (u < 3 && rest >= units[u + 1].ns)
		snprintf(text, 64, "%llu%s %llu%s", ns / units[u].ns, units[u].name, rest / units[u + 1].ns,
			 units[u + 1].name);
	else if (u >= 3 && u < 6 && rest >= units[u].ns / 10)
		snprintf(text, 64, "%llu.%llu%s", ns / units[u].ns, rest / (units[u].ns / 10), units[u].name);
	else
		snprintf(text, 64, "%llu%s", ns / units[u].ns, units[u].name);
	return text;
}

const char *human_count(__u64 n)
{
	char *text = ring() + 63;
	unsigned digits = 0;

	*text = 0;
	do {
		if (digits && digits % 3 == 0)
			*--text = ',';
		*--text = '0' + n % 10;
		n /= 10;
		digits++;
	} while (n);
	return text;
}

const char *printable(const void *bytes, size_t len)
{
	static char buffers[8][PRINTABLE_LEN];
	static unsigned next;
	char *text = buffers[next++ % 8], *at = text, *end = text + PRINTABLE_LEN - 8;
	const unsigned char *b = bytes;
	size_t i;

	for (i = 0; i < len && at < end; i++) {
		if (b[i] >= ' ' && b[i] < 0x7f)
			*at++ = b[i];
		else
			at += sprintf(at, "\\x%02x", b[i]);
	}
	strcpy(at, i < len ? "..." : "");
	return text;
}
