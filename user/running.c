/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "running.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weir_rx.skel.h"

#define MAPS_OF_PROGRAM 64
#define CFG_AT          offsetof(__typeof__(*((struct weir_rx *)0)->rodata), cfg)

static int read_constants(int fd, __u32 size, struct weir_config *out)
{
	char *value = malloc(size);
	int err = 0;

	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &(__u32){0}, value))
		err = -errno;
	else
		memcpy(out, value + CFG_AT, sizeof(*out));
	free(value);
	return err;
}

/* -ENOENT when the map is another one. */
static int try_map(__u32 id, struct weir_config *out)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int fd = bpf_map_get_fd_by_id(id), err = -ENOENT;
	const char *dot;

	if (fd < 0)
		return -errno;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len)) {
		dot = strrchr(info.name, '.');
		if (dot && !strcmp(dot, ".rodata") && info.value_size >= CFG_AT + sizeof(*out))
			err = read_constants(fd, info.value_size, out);
	}
	close(fd);
	return err;
}

static int try_program(__u32 id, struct weir_config *out)
{
	__u32 ids[MAPS_OF_PROGRAM], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_OF_PROGRAM, .map_ids = (__u64)(unsigned long)ids};
	int fd = bpf_prog_get_fd_by_id(id), err;

	if (fd < 0)
		return -errno;
	err = bpf_obj_get_info_by_fd(fd, &info, &len) ? -errno : -ENOENT;
	for (__u32 i = 0; err == -ENOENT && i < info.nr_map_ids && i < MAPS_OF_PROGRAM; i++)
		err = try_map(ids[i], out);
	close(fd);
	return err;
}

int running_config(const struct weir_ctl *ctl, struct weir_config *out)
{
	int err = -ENOENT;

	for (int i = 0; i < WEIR_IFACES_MAX && err == -ENOENT; i++) {
		if (ctl->ifaces[i].prog_id)
			err = try_program(ctl->ifaces[i].prog_id, out);
	}
	return err;
}
