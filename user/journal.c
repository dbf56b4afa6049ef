// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "journal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "out.h"

/* systemd.exec(5): JOURNAL_STREAM names the device and inode of the stream, if stderr is still that. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && !fstat(2, &st) && st.st_dev == dev &&
	       st.st_ino == ino;
}

void say(int level, const char *fmt, ...)
{
	static int journal = -1;
	char text[1024];
	va_list ap;

	if (level >= LOG_INFO && out_quiet)
		return;
	if (journal < 0)
		journal = is_journal();
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (journal)
		fprintf(stderr, "<%d>%s\n", level, printable(text, strlen(text)));
	else
		fprintf(stderr, "weir: %s%s\n", level <= LOG_WARNING ? "warning: " : "",
			printable(text, strlen(text)));
}
