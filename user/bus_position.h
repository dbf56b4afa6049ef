/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How far a stream has been applied, in a file under /run: it outlives the agent, not the machine's next start,
 * after which there is no hot set either.
 */
#ifndef WEIR_BUS_POSITION_H
#define WEIR_BUS_POSITION_H

#include "bus_redis.h"

#define BUS_POSITION_DIR  "/run/weir"
#define BUS_POSITION_FILE BUS_POSITION_DIR "/bus"

struct bus_position {
	struct stream_id id; /* of the last entry that was applied */
	__u64 added;	     /* entries that were ever added, up to this one: so that a lost one shows */
};

/* 0; -ENOENT: there is none, or of another stream than c's; else -errno: -EINVAL, it is damaged. */
int bus_position_read(struct bus_position *p, const char *path, const struct config_bus *c);
/* In one step, and the directory where it is missing. 0 or -errno. */
int bus_position_write(const struct bus_position *p, const char *path, const struct config_bus *c);

#endif
