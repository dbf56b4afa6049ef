// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is attached, as it can be seen without CAP_SYS_ADMIN, which the agent gives up: the kernel says to everyone
 * the number of an interface's program; those under the dispatcher are pinned, and a pin can be opened.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "nic.h"

static __u32 prog_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

/* Ours is among the pins of this dispatcher. */
static int find_pinned(int ifindex, __u32 dispatcher, __u32 ctl_id, bool *found)
{
	char path[96];

	for (int i = 0; i < DISPATCHER_PROGRAMS && !*found; i++) {
		int fd;

		snprintf(path, sizeof(path), XDP_PINS "/dispatch-%d-%u/prog%d-prog", ifindex, dispatcher, i);
		fd = bpf_obj_get(path);
		if (fd < 0 && (errno == EACCES || errno == EPERM))
			return -EPERM;
		*found = fd >= 0 && prog_id(fd) && attach_uses_map(fd, ctl_id);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

int attach_seen(const struct weir_ctl_iface *ci, __u32 ctl_id, struct dp_iface_state *st)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	int err = bpf_xdp_query(ci->ifindex, 0, &q);
	__u32 id = q.drv_prog_id ?: q.skb_prog_id;

	if (err)
		return err;
	st->attached = id && id == ci->prog_id;
	if (id && !st->attached) {
		err = find_pinned(ci->ifindex, id, ctl_id, &st->dispatcher);
		st->attached = st->dispatcher;
	}
	if (st->attached)
		st->mode = q.drv_prog_id ? WEIR_MODE_NATIVE : WEIR_MODE_GENERIC;
	return err;
}
