// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "attach.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "nic.h"
#include "rx.h"
#include "tc.h"
#include "weir_tx.skel.h"

/* Ours on clsact egress: nobody else's, by convention of unlikely numbers ("we"). */
#define TC_HANDLE   0x7765
#define TC_PRIORITY 0x7765

/* ---- whose program ---------------------------------------------------------------------------- */

bool attach_uses_map(int prog_fd, __u32 map_id)
{
	__u32 ids[64], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = 64, .map_ids = (__u64)(unsigned long)ids };

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		return false;
	for (__u32 i = 0; i < info.nr_map_ids && i < 64; i++) {
		if (ids[i] == map_id)
			return true;
	}
	return false;
}

static bool id_uses_map(__u32 prog_id, __u32 map_id)
{
	int fd = bpf_prog_get_fd_by_id(prog_id);
	bool uses = fd >= 0 && attach_uses_map(fd, map_id);

	if (fd >= 0)
		close(fd);
	return uses;
}

static __u32 mode_of(enum xdp_attach_mode mode)
{
	return mode == XDP_MODE_SKB ? WEIR_MODE_GENERIC : mode == XDP_MODE_NATIVE ? WEIR_MODE_NATIVE : 0;
}

/* Ours among the programs of an interface, but for the first `skip`: *prog is NULL when it is not there. */
static void find_in(struct xdp_multiprog *mp, __u32 ctl_id, int skip, struct xdp_program **prog)
{
	struct xdp_program *p = NULL;

	*prog = NULL;
	if (xdp_multiprog__is_legacy(mp)) {
		p = xdp_multiprog__main_prog(mp);
		if (p && !skip && attach_uses_map(xdp_program__fd(p), ctl_id))
			*prog = p;
		return;
	}
	while ((p = xdp_multiprog__next_prog(p, mp))) {
		if (attach_uses_map(xdp_program__fd(p), ctl_id) && !skip--) {
			*prog = p;
			return;
		}
	}
}

/* The programs of an interface; NULL with *err 0: there are none. */
static struct xdp_multiprog *programs(int ifindex, int *err)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(ifindex);

	*err = libxdp_get_error(mp);
	if (!*err)
		return mp;
	if (*err == -ENOENT)
		*err = 0;
	return NULL;
}

static int find_nth(int ifindex, __u32 ctl_id, int skip, struct attached *out)
{
	struct xdp_multiprog *mp;
	struct xdp_program *p;
	int err;

	memset(out, 0, sizeof(*out));
	mp = programs(ifindex, &err);
	if (!mp)
		return err;
	find_in(mp, ctl_id, skip, &p);
	if (p) {
		out->prog_id = xdp_program__id(p);
		out->mode = mode_of(xdp_multiprog__attach_mode(mp));
		out->dispatcher = !xdp_multiprog__is_legacy(mp);
	}
	xdp_multiprog__close(mp);
	return 0;
}

int attach_find(int ifindex, __u32 ctl_id, struct attached *out)
{
	return find_nth(ifindex, ctl_id, 0, out);
}

/* ---- tc egress -------------------------------------------------------------------------------- */

static struct bpf_tc_hook egress_hook(int ifindex)
{
	return (struct bpf_tc_hook){
		.sz = sizeof(struct bpf_tc_hook),
		.ifindex = ifindex,
		.attach_point = BPF_TC_EGRESS,
	};
}

static bool egress_query(int ifindex, __u32 *prog_id)
{
	struct bpf_tc_hook hook = egress_hook(ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);

	*prog_id = 0;
	if (bpf_tc_query(&hook, &opts))
		return false;
	*prog_id = opts.prog_id;
	return true;
}

bool attach_egress(int ifindex, __u32 stats_id)
{
	__u32 prog_id;

	return egress_query(ifindex, &prog_id) && id_uses_map(prog_id, stats_id);
}

bool attach_egress_seen(int ifindex)
{
	__u32 prog_id;

	return egress_query(ifindex, &prog_id);
}

static int add_egress(struct weir_ctl_iface *ci, int prog_fd)
{
	struct bpf_tc_hook hook = egress_hook(ci->ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY, .prog_fd = prog_fd,
		    .flags = BPF_TC_F_REPLACE);
	__u32 before = ci->flags;
	int err;

	/* Noted first: who is killed here leaves a note too many, and an empty qdisc is nobody's. */
	ci->flags |= WEIR_IF_CLSACT;
	err = bpf_tc_hook_create(&hook);
	if (err)
		ci->flags = before;
	if (err && err != -EEXIST)
		return err;
	ci->tc_handle = TC_HANDLE;
	ci->tc_priority = TC_PRIORITY;
	return bpf_tc_attach(&hook, &opts);
}

void attach_remove_egress(int ifindex, bool clsact, __u32 stats_id)
{
	struct bpf_tc_hook hook = egress_hook(ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);

	if (attach_egress(ifindex, stats_id))
		bpf_tc_detach(&hook, &opts);
	if (!clsact || !tc_clsact_empty(ifindex))
		return;
	/* Removes the qdisc itself. */
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&hook);
}

/* ---- XDP -------------------------------------------------------------------------------------- */

static int load_tx(struct maps *m, const struct weir_config *cfg, struct weir_tx **out)
{
	struct weir_tx *tx = weir_tx__open();
	int err;

	if (!tx)
		return -errno;
	memcpy((void *)&tx->rodata->cfg, cfg, sizeof(*cfg));
	err = maps_give(m, tx->obj);
	if (!err)
		err = weir_tx__load(tx);
	if (err) {
		weir_tx__destroy(tx);
		return err;
	}
	*out = tx;
	return 0;
}

static int open_rx(struct maps *m, const struct weir_config *cfg, struct weir_rx **out)
{
	struct weir_rx *rx = weir_rx__open();
	struct bpf_program *prog;
	int err;

	if (!rx)
		return -errno;
	memcpy((void *)&rx->rodata->cfg, cfg, sizeof(*cfg));
	prog = rx_choose(rx);
	if (cfg->frags)
		bpf_program__set_flags(prog, BPF_F_XDP_HAS_FRAGS);
	err = maps_give(m, rx->obj);
	if (err) {
		weir_rx__destroy(rx);
		return err;
	}
	*out = rx;
	return 0;
}

/* Where no dispatcher runs: the kernel swaps the one program for the other, or takes ours alone. */
static int attach_bare(struct weir_rx *rx, const struct weir_ctl_iface *ci, const struct attached *old, __u32 mode)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts, .old_prog_fd = -1);
	__u32 flags = mode == WEIR_MODE_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	int err = weir_rx__load(rx), fd;

	if (err)
		return err;
	fd = bpf_program__fd(rx_program(rx));
	if (old->prog_id)
		opts.old_prog_fd = bpf_prog_get_fd_by_id(old->prog_id);
	if (opts.old_prog_fd >= 0)
		err = bpf_xdp_attach(ci->ifindex, fd, flags | XDP_FLAGS_REPLACE, &opts);
	else
		err = bpf_xdp_attach(ci->ifindex, fd, flags | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL);
	if (opts.old_prog_fd >= 0)
		close(opts.old_prog_fd);
	return err;
}

static int attach_fresh(struct weir_rx *rx, const struct weir_ctl_iface *ci, enum xdp_attach_mode mode, bool frags)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .obj = rx->obj,
			    .prog_name = bpf_program__name(rx_program(rx)));
	struct xdp_program *p = xdp_program__create(&opts);
	int err = libxdp_get_error(p);

	if (err)
		return err;
	err = xdp_program__set_xdp_frags_support(p, frags);
	if (!err)
		err = xdp_program__attach(p, ci->ifindex, mode, 0);
	xdp_program__close(p);
	return err;
}

static int take_off(int ifindex, __u32 prog_id)
{
	struct xdp_program *p = xdp_program__from_id(prog_id);
	struct xdp_multiprog *mp;
	int err = libxdp_get_error(p);

	if (err)
		return err;
	mp = programs(ifindex, &err);
	if (mp) {
		err = xdp_program__detach(p, ifindex, xdp_multiprog__attach_mode(mp), 0);
		xdp_multiprog__close(mp);
	}
	xdp_program__close(p);
	return err;
}

/* All of ours but the first `keep`: a reload that was killed before the old one left has left two. */
static int remove_from(int ifindex, __u32 ctl_id, int keep)
{
	struct attached a;
	int err = 0;

	for (int i = 0; i < DISPATCHER_PROGRAMS && !err; i++) {
		err = find_nth(ifindex, ctl_id, keep, &a);
		if (err || !a.prog_id)
			return err;
		err = take_off(ifindex, a.prog_id);
		if (err == -ENOENT) /* it went by itself, or a pin of libxdp's did */
			err = 0;
	}
	return err;
}

/*
 * One try in one mode, each with an object of its own: libxdp loads it on attaching. Under the
 * dispatcher the new program joins the old one before that leaves: for that moment a passed packet is
 * counted by both, but none finds neither.
 */
static int try_mode(struct maps *m, const struct weir_config *cfg, const struct weir_ctl_iface *ci,
		    const struct attached *old, __u32 mode, bool bare)
{
	struct weir_rx *rx;
	int err = open_rx(m, cfg, &rx);

	if (err)
		return err;
	if (bare) {
		err = attach_bare(rx, ci, old, mode);
	} else {
		err = attach_fresh(rx, ci, mode == WEIR_MODE_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE, cfg->frags);
		if (!err && old->prog_id)
			err = take_off(ci->ifindex, old->prog_id);
	}
	weir_rx__destroy(rx);
	return err;
}

/*
 * Linux 6.13, and 6.12 since a fix, let no program that changes a packet's length take the place of
 * one that does not (EINVAL): ours cannot run under the dispatcher of xdp-tools before 1.5.5, only alone.
 */
static int attach_mode(struct maps *m, const struct weir_config *cfg, const struct weir_ctl_iface *ci,
		       const struct attached *old, __u32 mode)
{
	int err;

	if (old->prog_id && !old->dispatcher)
		return try_mode(m, cfg, ci, old, old->mode, true);
	err = try_mode(m, cfg, ci, old, mode, false);
	return err == -EINVAL && !old->prog_id ? try_mode(m, cfg, ci, old, mode, true) : err;
}

static bool joins_nothing(int err)
{
	return err == -EBUSY || err == -EEXIST || err == -E2BIG;
}

static int attach_native(struct maps *m, struct weir_config *cfg, struct weir_ctl_iface *ci,
			 const struct attached *old, bool frags)
{
	int err;

	cfg->frags = frags;
	err = attach_mode(m, cfg, ci, old, WEIR_MODE_NATIVE);
	ci->flags = (ci->flags & ~WEIR_IF_FRAGS) | (!err && frags ? WEIR_IF_FRAGS : 0);
	return err;
}

/*
 * Drivers that can put a frame into several buffers take, with a large MTU, only a program that says it
 * can read such frames. That costs each packet a call, so it is asked for where it must be. *why is set
 * for what the driver would take, and be wrong with.
 */
static int attach_for_mtu(struct maps *m, struct weir_config *cfg, struct weir_ctl_iface *ci,
			  const struct attached *old, const char **why)
{
	int err = -EINVAL, again;

	if (nic_send_crashes(ci->name)) {
		*why = "the first answer would crash the kernel: virtio_net has more queue pairs in use than there are "
		       "CPUs, and none to spare (`weir doctor`; ethtool -L)";
		return -EOPNOTSUPP;
	}
	if (ci->mtu <= ONE_BUFFER_MTU)
		err = attach_native(m, cfg, ci, old, false);
	if (!err || joins_nothing(err) || ci->mtu <= ETH_DATA_LEN || !nic_splits_frames(ci->name))
		return err;
	again = attach_native(m, cfg, ci, old, true);
	return !again || joins_nothing(again) ? again : err;
}

static int attach_generic(struct maps *m, struct weir_config *cfg, struct weir_ctl_iface *ci, const struct attached *old)
{
	ci->flags &= ~WEIR_IF_FRAGS;
	cfg->frags = 0;
	return attach_mode(m, cfg, ci, old, WEIR_MODE_GENERIC);
}

static const char *why_not(const struct weir_ctl_iface *ci)
{
	if (ci->mode != WEIR_MODE_NATIVE)
		return "attaching the XDP program failed (WEIR_DEBUG=1 shows libbpf's log)";
	if (ci->mtu > ETH_DATA_LEN)
		return "the driver takes no native XDP program at this MTU: lower it, or --mode generic";
	return "the driver takes no native XDP program (try --mode generic)";
}

static int attach_rx(struct maps *m, struct weir_config *cfg, struct weir_ctl_iface *ci, __u32 replace_id,
		     __u32 ctl_id, const char **why)
{
	struct attached old = {}, now;
	const char *refused = NULL;
	int err = replace_id ? remove_from(ci->ifindex, replace_id, 1) : 0;

	if (!err && replace_id)
		err = attach_find(ci->ifindex, replace_id, &old);
	if (!err)
		err = ci->mode == WEIR_MODE_GENERIC ? attach_generic(m, cfg, ci, &old) :
						      attach_for_mtu(m, cfg, ci, &old, &refused);
	if (err == -EBUSY || err == -EEXIST) {
		*why = "another XDP program is attached that ours cannot join: without the libxdp dispatcher, in "
		       "another mode, or, from Linux 6.12 on, by xdp-tools before 1.5.5 (see `xdp-loader status`)";
		return -EBUSY;
	}
	if (err == -E2BIG) {
		*why = "ten XDP programs share the interface already (`xdp-loader status`): the libxdp dispatcher takes no "
		       "more; or the program is too large for this kernel's verifier (WEIR_DEBUG=1 shows its log)";
		return err;
	}
	if (err && !ci->mode && !old.prog_id) {
		err = attach_generic(m, cfg, ci, &old);
		ci->flags |= WEIR_IF_FALLBACK;
	}
	if (err) {
		*why = refused ?: why_not(ci);
		return err;
	}
	err = attach_find(ci->ifindex, ctl_id, &now);
	if (!err && !now.prog_id)
		err = -ENOENT;
	if (err) {
		*why = "the attached XDP program is not found again";
		return err;
	}
	ci->prog_id = now.prog_id;
	ci->mode = now.mode;
	ci->flags = (ci->flags & ~WEIR_IF_DISPATCHER) | (now.dispatcher ? WEIR_IF_DISPATCHER : 0);
	return 0;
}

/* Ours by its program's pin, or by its link's: libxdp pins the link first, and removes it first. */
static bool pinned_ours(const char *prog, const char *link, __u32 ctl_id)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	int fd = bpf_obj_get(prog);
	bool ours;

	if (fd >= 0) {
		ours = attach_uses_map(fd, ctl_id);
	} else {
		fd = bpf_obj_get(link);
		ours = fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && id_uses_map(info.prog_id, ctl_id);
	}
	if (fd >= 0)
		close(fd);
	return ours;
}

/* Our places in one dispatcher's directory: progN-prog, and its link beside it. Others' stay. */
static void remove_pinned(const char *dir, __u32 ctl_id)
{
	char prog[512], link[512];

	for (int i = 0; i < DISPATCHER_PROGRAMS; i++) {
		snprintf(prog, sizeof(prog), "%s/prog%d-prog", dir, i);
		snprintf(link, sizeof(link), "%s/prog%d-link", dir, i);
		if (!pinned_ours(prog, link, ctl_id))
			continue;
		unlink(prog);
		unlink(link);
	}
	rmdir(dir); /* when nothing else is in it */
}

void attach_remove_orphans(__u32 ctl_id)
{
	DIR *dir = opendir(XDP_PINS);
	char path[300];
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, "dispatch-", 9))
			continue;
		snprintf(path, sizeof(path), "%s/%s", XDP_PINS, e->d_name);
		remove_pinned(path, ctl_id);
	}
	if (dir)
		closedir(dir);
}

__u32 map_id(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

int attach_iface(struct maps *m, struct weir_config *cfg, struct weir_ctl_iface *ci, __u32 replace_id,
		 const char **why)
{
	struct weir_tx *tx;
	int err = load_tx(m, cfg, &tx);

	*why = "loading the programs failed (WEIR_DEBUG=1 shows libbpf's log)";
	if (err)
		return err;
	err = add_egress(ci, bpf_program__fd(tx->progs.weir_tx));
	weir_tx__destroy(tx);
	if (err) {
		*why = "attaching to tc egress failed";
		return err;
	}
	err = attach_rx(m, cfg, ci, replace_id, map_id(m->fd[MAP_CTL]), why);
	if (err && !replace_id)
		attach_remove_egress(ci->ifindex, ci->flags & WEIR_IF_CLSACT, map_id(m->fd[MAP_STATS]));
	return err;
}

int attach_remove(int ifindex, __u32 ctl_id)
{
	return remove_from(ifindex, ctl_id, 0);
}
