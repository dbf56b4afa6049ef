// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "journal.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "out.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define LINE_MAX_LEN   4000 /* a pipe that can be written takes PIPE_BUF, 4096 bytes, at once */

/* systemd.exec(5): JOURNAL_STREAM names the device and inode of the stream, if stderr is still that. */
static bool is_journal(void)
{
	static int journal = -1;
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (journal < 0)
		journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && !fstat(2, &st) &&
			  st.st_dev == dev && st.st_ino == ino;
	return journal;
}

bool can_write(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

static void write_line(int level, const char *text)
{
	char line[LINE_MAX_LEN];
	int n;

	if (is_journal())
		n = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
	else
		n = snprintf(line, sizeof(line), "weir: %s%s\n", level <= LOG_WARNING ? "warning: " : "", text);
	if (n >= (int)sizeof(line)) {
		n = sizeof(line);
		line[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nobody reads any more: there is nobody to tell */
}

/* One write a line, and only where it does not wait. */
static void put(int level, const char *text)
{
	static unsigned long lost;
	char words[80];

	if (!can_write(STDERR_FILENO)) {
		lost++;
		return;
	}
	if (lost) {
		snprintf(words, sizeof(words), "%lu line%s could not be written here, and went lost", lost,
			 lost == 1 ? "" : "s");
		lost = 0;
		write_line(LOG_WARNING, words);
		return put(level, text);
	}
	write_line(level, text);
}

static const char *safe(const char *text)
{
	return printable(text, strlen(text));
}

void say(int level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (level >= LOG_INFO && out_quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(level, safe(text));
}

/* The journal's own protocol: a datagram with a field on each line. False: nobody takes it. */
static bool send_fields(int level, const struct say_field *fields, const char *text)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), n;
	char all[LINE_MAX_LEN];
	bool sent;

	n = snprintf(all, sizeof(all), "PRIORITY=%d\nSYSLOG_IDENTIFIER=weir\nMESSAGE=%s\n", level, text);
	for (; fields->name && n < (int)sizeof(all); fields++)
		n += snprintf(all + n, sizeof(all) - n, "%s=%s\n", fields->name, safe(fields->value));
	sent = fd >= 0 && n < (int)sizeof(all) &&
	       sendto(fd, all, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&at, sizeof(at)) == n;
	if (fd >= 0)
		close(fd);
	return sent;
}

void say_with(int level, const struct say_field *fields, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!is_journal() || !send_fields(level, fields, safe(text)))
		put(level, safe(text));
}
