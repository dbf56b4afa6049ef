/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs onto and off interfaces of this network namespace: weir_rx through libxdp, weir_tx through
 * tc. A program is known as ours by the maps it uses, whatever became of our records.
 */
#ifndef WEIR_ATTACH_H
#define WEIR_ATTACH_H

#include "dataplane.h"
#include "maps.h"

#define XDP_PINS "/sys/fs/bpf/xdp" /* libxdp's */
#define DISPATCHER_PROGRAMS 10 /* that libxdp's dispatcher holds at most */

/* Our receive program on an interface. */
struct attached {
	__u32 prog_id; /* 0: not there */
	__u32 mode;    /* WEIR_MODE_*, 0: unknown */
	bool dispatcher;
};

/* Finds the program on ifindex that uses the map `ctl_id`. 0 (also when there is none) or -errno. */
int attach_find(int ifindex, __u32 ctl_id, struct attached *out);
/* The same of who has no CAP_SYS_ADMIN: sets attached, dispatcher and mode of *st; -EPERM when not even that can be
 * seen. */
int attach_seen(const struct weir_ctl_iface *ci, __u32 ctl_id, struct dp_iface_state *st);
/* A program uses the map of this number. */
bool attach_uses_map(int prog_fd, __u32 map_id);
/*
 * Loads the programs for the interface in ci (ifindex, name, mtu; mode 0: native, else generic) with these
 * maps and constants (frags: set as the driver wants it), and attaches them, weir_rx last. Fills ci. What is
 * there already and uses the map `replace_id` is replaced, without a packet that finds no program. -errno
 * with words in *why.
 */
int attach_iface(struct maps *m, struct weir_config *cfg, struct weir_ctl_iface *ci, __u32 replace_id,
		 const char **why);
/* Takes off what uses the map ctl_id; fine when nothing does. */
int attach_remove(int ifindex, __u32 ctl_id);
/* Unpins what libxdp keeps of our program in its directory, once it is on no interface: a killed
 * detach leaves it there. */
void attach_remove_orphans(__u32 ctl_id);
/* The egress program of an interface uses the map stats_id (it has no use for ctl). */
bool attach_egress(int ifindex, __u32 stats_id);
/* Some program stands in its place, which nobody else uses. */
bool attach_egress_seen(int ifindex);
/* Removes the egress program, and the clsact qdisc when it was made for it and holds nothing else. */
void attach_remove_egress(int ifindex, bool clsact, __u32 stats_id);

/* A map's kernel-wide number, 0 when it cannot be had. */
__u32 map_id(int fd);

#endif
