// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "bus_position.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends.h"

#define LINE_MAX_BYTES 384

/* What the position is one in: "10.0.0.5:6379 0 weir". */
static void where(char *text, size_t len, const struct config_bus *c)
{
	const char *at = addr_text(&c->redis.addr, c->redis.family, c->redis.port);

	snprintf(text, len, "%s %u %s", at, c->db, c->stream);
}

static int read_line(const char *path, char line[LINE_MAX_BYTES])
{
	FILE *f = fopen(path, "re");
	bool whole;

	if (!f)
		return -errno;
	whole = fgets(line, LINE_MAX_BYTES, f) && strchr(line, '\n');
	fclose(f);
	if (whole)
		line[strcspn(line, "\n")] = 0;
	return whole ? 0 : -EINVAL;
}

/* "ID ADDED WHERE\n" */
int bus_position_read(struct bus_position *p, const char *path, const struct config_bus *c)
{
	char line[LINE_MAX_BYTES], is[LINE_MAX_BYTES], id[48];
	int err = read_line(path, line), at = 0;

	if (err)
		return err;
	if (sscanf(line, "%47s %llu %n", id, &p->added, &at) != 2 || !at || stream_id_parse(&p->id, id))
		return -EINVAL;
	where(is, sizeof(is), c);
	return strcmp(line + at, is) ? -ENOENT : 0;
}

static int write_line(int fd, const struct bus_position *p, const struct config_bus *c)
{
	char is[LINE_MAX_BYTES];

	where(is, sizeof(is), c);
	return dprintf(fd, "%llu-%llu %llu %s\n", p->id.ms, p->id.seq, p->added, is) < 0 ? -errno : 0;
}

int bus_position_write(const struct bus_position *p, const char *path, const struct config_bus *c)
{
	char tmp[256];
	int fd, err;

	if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	if (!strncmp(path, BUS_POSITION_DIR "/", sizeof(BUS_POSITION_DIR)))
		mkdir(BUS_POSITION_DIR, 0700);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = write_line(fd, p, c);
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(tmp, path))
		err = -errno;
	if (err)
		unlink(tmp);
	return err;
}
