/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * weir doctor: what this host lacks to run Weir, and the fix. Changes nothing: programs and maps that
 * are loaded to see whether they can be are attached nowhere, and gone when the command ends.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "attach.h"
#include "cmd.h"
#include "nic.h"
#include "rx.h"

#define KERNEL_MAJOR      6
#define KERNEL_MINOR      1
#define DISPATCHER_NAME   "xdp_dispatcher"

/* Capability numbers, linux/capability.h; there is no header for reading them without libcap. */
#define CAP_NET_ADMIN_NR 12
#define CAP_NET_RAW_NR   13
#define CAP_SYS_ADMIN_NR 21
#define CAP_PERFMON_NR   38
#define CAP_BPF_NR       39

enum verdict { OK, INFO, WARNING, UNKNOWN, MISSING, VERDICTS };
static const char *const verdict_names[] = { "ok", "info", "warning", "unknown", "missing" };

struct doctor {
	const char *section; /* the interface that checks are about; NULL: the host */
	const char *heading; /* what was printed last */
	bool capable;        /* has what loading takes: what is refused is refused by the kernel itself */
	bool alone;          /* this kernel lets no program of ours run under libxdp's dispatcher */
	int jited;           /* whether the trial program was compiled: 1, 0, or -1 not known */
	unsigned count[VERDICTS];
	json_t *checks; /* with --json */
};

/* Text into one of a few buffers, for messages and fixes. */
static const char *say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *say(const char *fmt, ...)
{
	static char buffers[8][512];
	static unsigned next;
	char *text = buffers[next++ % 8];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(buffers[0]), fmt, ap);
	va_end(ap);
	return text;
}

/* The outcome of one check. `fix` is a command or a sentence, or NULL. */
static void report(struct doctor *d, const char *name, enum verdict v, const char *message, const char *fix)
{
	const char *heading = d->section ? d->section : "host";

	d->count[v]++;
	if (out_json) {
		json_array_append_new(d->checks, json_pack("{s:s, s:s?, s:s, s:s, s:s?}", "name", name,
							   "interface", d->section, "verdict",
							   verdict_names[v], "message", message, "fix", fix));
		return;
	}
	if (heading != d->heading)
		printf("%s%s\n", d->heading ? "\n" : "", heading);
	d->heading = heading;
	printf("  %-8s %-17s %s\n", verdict_names[v], name, message);
	if (fix)
		printf("  %-8s %-17s fix: %s\n", "", "", fix);
}

/* The first line of a small file; -errno. */
static int read_line(const char *path, char *text, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = read(fd, text, len - 1);
	err = n < 0 ? -errno : 0;
	close(fd);
	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return err;
}

/* Refused: for want of privileges, or by the kernel itself? */
static enum verdict refused(const struct doctor *d, int err, enum verdict otherwise)
{
	return (err == -EPERM || err == -EACCES) && !d->capable ? UNKNOWN : otherwise;
}

/* ---- the kernel ------------------------------------------------------------------------------- */

static void check_kernel(struct doctor *d)
{
	unsigned major = 0, minor = 0;
	struct utsname u;
	bool old;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	old = major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR);
	report(d, "kernel", old ? MISSING : OK,
	       old ? say("Linux %s; %d.%d or later is needed", u.release, KERNEL_MAJOR, KERNEL_MINOR) :
		     say("Linux %s", u.release),
	       old ? "boot a newer kernel, such as Debian 12's linux-image-amd64" : NULL);
	/* From 5.11 on BPF memory is charged to the cgroup. */
	if (!old)
		report(d, "memlock", OK, "RLIMIT_MEMLOCK does not bound maps on this kernel", NULL);
}

static void check_btf(struct doctor *d)
{
	bool there = !access("/sys/kernel/btf/vmlinux", R_OK);

	report(d, "btf", there ? OK : WARNING,
	       there ? "/sys/kernel/btf/vmlinux" :
		       "no /sys/kernel/btf/vmlinux: libxdp's dispatcher cannot run",
	       there ? NULL : "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y");
}

/* The switch is visible in the first network namespace only; elsewhere the trial program tells. */
static void check_jit(struct doctor *d)
{
	const char *path = "/proc/sys/net/core/bpf_jit_enable";
	char text[16];
	int err = read_line(path, text, sizeof(text));

	if (!err)
		d->jited = *text != '0';
	if (d->jited < 0)
		report(d, "jit", UNKNOWN, say("%s: %s", path, strerror(-err)), "run weir doctor as root");
	else
		report(d, "jit", d->jited ? OK : WARNING,
		       d->jited ? "programs are compiled" : "programs are interpreted: many times slower",
		       d->jited ? NULL : "sysctl -w net.core.bpf_jit_enable=1");
}

static void check_unprivileged(struct doctor *d)
{
	char text[16];

	if (read_line("/proc/sys/kernel/unprivileged_bpf_disabled", text, sizeof(text)))
		return;
	report(d, "unprivileged_bpf", INFO,
	       *text == '0' ?
		       "any user may load some BPF programs (kernel.unprivileged_bpf_disabled=0); "
		       "weir does not need that" :
		       say("only privileged users may use BPF (kernel.unprivileged_bpf_disabled=%s)", text),
	       NULL);
}

/* ---- the BPF file system ---------------------------------------------------------------------- */

/* The name under /run/netns of the namespace we are in, or NULL. */
static const char *netns_name(void)
{
	DIR *dir = opendir("/run/netns");
	const char *name = NULL;
	struct stat self, st;
	struct dirent *e;

	if (!dir)
		return NULL;
	if (stat("/proc/self/ns/net", &self))
		self.st_ino = 0;
	while (!name && (e = readdir(dir))) {
		if (!fstatat(dirfd(dir), e->d_name, &st, 0) && st.st_ino == self.st_ino &&
		    st.st_dev == self.st_dev)
			name = say("%s", e->d_name);
	}
	closedir(dir);
	return name;
}

/* `ip netns exec` gives each command its own /sys: pins do not show there, and would die with it. */
static void check_bpffs(struct doctor *d)
{
	const char *path = "/sys/fs/bpf", *netns;
	struct statfs fs;

	if (!statfs(path, &fs) && (unsigned)fs.f_type == BPF_FS_MAGIC) {
		if (!geteuid() && access(path, W_OK))
			report(d, "bpffs", MISSING, say("%s cannot be written: %s", path, strerror(errno)),
			       say("mount -o remount,rw %s", path));
		else
			report(d, "bpffs", OK, path, NULL);
		return;
	}
	netns = netns_name();
	if (netns)
		report(d, "bpffs", MISSING,
		       say("no BPF file system on %s: `ip netns exec` gives its commands a /sys of their own",
			   path),
		       say("nsenter --net=/run/netns/%s weir ...", netns));
	else
		report(d, "bpffs", MISSING, say("no BPF file system on %s", path),
		       say("mount -t bpf bpf %s", path));
}

/* ---- privileges ------------------------------------------------------------------------------- */

static __u64 effective_capabilities(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long caps = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	}
	if (f)
		fclose(f);
	return caps;
}

/* Capabilities in a user namespace hold for what belongs to it, and BPF does not. */
static bool in_user_namespace(void)
{
	unsigned inside = 0, outside = 0, n = 0;
	char text[64];

	if (read_line("/proc/self/uid_map", text, sizeof(text)))
		return false;
	return sscanf(text, "%u %u %u", &inside, &outside, &n) != 3 || inside || outside || n != ~0U;
}

static void check_capabilities(struct doctor *d)
{
	static const struct {
		int nr, or_nr;
		const char *name;
	} needed[] = { { CAP_SYS_ADMIN_NR, CAP_SYS_ADMIN_NR, "CAP_SYS_ADMIN" }, /* programs by number */
		       { CAP_BPF_NR, CAP_SYS_ADMIN_NR, "CAP_BPF" },
		       { CAP_NET_ADMIN_NR, CAP_NET_ADMIN_NR, "CAP_NET_ADMIN" },
		       { CAP_PERFMON_NR, CAP_SYS_ADMIN_NR, "CAP_PERFMON" } };
	__u64 caps = effective_capabilities();
	char lacks[80] = "";

	for (int i = 0; i < 4; i++) {
		if (!(caps & (1ULL << needed[i].nr | 1ULL << needed[i].or_nr)))
			sprintf(lacks + strlen(lacks), " %s", needed[i].name);
	}
	d->capable = !*lacks && !in_user_namespace();
	if (d->capable)
		report(d, "capabilities", OK, "CAP_SYS_ADMIN, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON", NULL);
	else if (!*lacks)
		report(d, "capabilities", MISSING,
		       "this is a user namespace: its capabilities do not reach BPF",
		       "run weir outside of it");
	else if (geteuid())
		report(d, "capabilities", UNKNOWN, say("this user lacks%s: not all can be checked", lacks),
		       "run weir doctor as root");
	else
		report(d, "capabilities", MISSING, say("root without%s: a container?", lacks),
		       "give the container CAP_SYS_ADMIN, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (--cap-add)");
}

/* Of the agent alone, and only where backends answer clients themselves. */
static void check_raw_sockets(struct doctor *d)
{
	if (effective_capabilities() & 1ULL << CAP_NET_RAW_NR)
		report(d, "raw_sockets", OK, "CAP_NET_RAW: backends are checked through their delivery", NULL);
	else
		report(d, "raw_sockets", INFO,
		       "without CAP_NET_RAW the agent checks backends of l2 and tunnel pools at their own addresses only",
		       "give it CAP_NET_RAW as well");
}

/* ---- what the kernel lets us load ------------------------------------------------------------- */

#define INSN(c, src, value) ((struct bpf_insn){ .code = (c), .src_reg = (src), .imm = (value) })
#define RETURN_PASS         INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, XDP_PASS), RETURN
#define CALL_NEXT           INSN(BPF_JMP | BPF_CALL, BPF_PSEUDO_CALL, 1)
#define MOVE_0_TO_R2        ((struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2 })
#define CALL_ADJUST_TAIL    INSN(BPF_JMP | BPF_CALL, 0, BPF_FUNC_xdp_adjust_tail)
#define RETURN              INSN(BPF_JMP | BPF_EXIT, 0, 0)

static int was_jited(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -1;
	return info.jited_prog_len > 0;
}

static void check_program(struct doctor *d)
{
	struct bpf_insn insns[] = { RETURN_PASS };
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "weir_probe", "GPL", insns, 2, NULL);

	if (fd < 0) {
		report(d, "xdp_program", refused(d, fd, MISSING),
		       say("an XDP program cannot be loaded: %s", strerror(-fd)),
		       !d->capable  ? "run weir doctor as root" :
		       fd == -EPERM ? "look for lockdown, seccomp or an LSM that forbids bpf(2)" :
				      "boot a kernel built with CONFIG_BPF_SYSCALL=y");
		return;
	}
	d->jited = was_jited(fd);
	close(fd);
	report(d, "xdp_program", OK, "an XDP program can be loaded", NULL);
}

static void check_map(struct doctor *d)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_probe", 4, 64, 1, &opts);

	if (fd >= 0)
		close(fd);
	report(d, "mmapable_map", fd >= 0 ? OK : refused(d, fd, MISSING),
	       fd >= 0 ? "a mapped array can be made" :
			 say("a mapped array cannot be made: %s", strerror(-fd)),
	       fd >= 0    ? NULL :
	       d->capable ? "boot a newer kernel" :
			    "run weir doctor as root");
}

/* What the dispatcher trial loads: types that name two functions, `main` and `prog0`, and their places. */
struct trial {
	struct btf *btf;
	int btf_fd, target_fd, ext_fd, link_fd;
	__u32 main_id, prog0_id;
	bool resize_refused; /* a program that changes the packet's length may not take the place */
};

static int trial_types(struct trial *t)
{
	int integer, ctx, proto, err;
	const void *raw;
	__u32 size;

	t->btf = btf__new_empty();
	if (!t->btf)
		return -errno;
	integer = btf__add_int(t->btf, "int", 4, BTF_INT_SIGNED);
	ctx = btf__add_ptr(t->btf, btf__add_struct(t->btf, "xdp_md", sizeof(struct xdp_md)));
	proto = btf__add_func_proto(t->btf, integer);
	err = btf__add_func_param(t->btf, "ctx", ctx);
	t->main_id = btf__add_func(t->btf, "main", BTF_FUNC_GLOBAL, proto);
	t->prog0_id = btf__add_func(t->btf, "prog0", BTF_FUNC_GLOBAL, proto);
	raw = btf__raw_data(t->btf, &size);
	if (err || !raw)
		return -ENOMEM;
	t->btf_fd = bpf_btf_load(raw, size, NULL);
	return t->btf_fd < 0 ? t->btf_fd : 0;
}

/* A program that calls a function, as the dispatcher does. */
static int trial_target(struct trial *t)
{
	struct bpf_insn insns[] = { CALL_NEXT, RETURN, RETURN_PASS };
	struct bpf_func_info funcs[] = { { 0, t->main_id }, { 2, t->prog0_id } };
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = t->btf_fd, .func_info = funcs,
		    .func_info_cnt = 2, .func_info_rec_size = sizeof(funcs[0]));

	t->target_fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "weir_probe", "GPL", insns, 4, &opts);
	return t->target_fd < 0 ? t->target_fd : 0;
}

/* A program that takes that function's place, as each component does. */
static int load_extension(struct trial *t, const struct bpf_insn *insns, int n)
{
	struct bpf_func_info funcs[] = { { 0, t->prog0_id } };
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = t->btf_fd, .func_info = funcs,
		    .func_info_cnt = 1, .func_info_rec_size = sizeof(funcs[0]),
		    .attach_prog_fd = t->target_fd, .attach_btf_id = t->prog0_id);

	return bpf_prog_load(BPF_PROG_TYPE_EXT, "prog0", "GPL", insns, n, &opts);
}

/* As weir_rx does, the program that takes the place changes the packet's length; if just that is
 * refused, one that does nothing is tried. */
static int trial_replace(struct trial *t)
{
	const struct bpf_insn nothing[] = { RETURN_PASS };
	const struct bpf_insn resizes[] = { MOVE_0_TO_R2, CALL_ADJUST_TAIL, RETURN_PASS };

	t->ext_fd = load_extension(t, resizes, 4);
	if (t->ext_fd == -EINVAL) {
		t->ext_fd = load_extension(t, nothing, 2);
		t->resize_refused = t->ext_fd >= 0;
	}
	if (t->ext_fd < 0)
		return t->ext_fd;
	t->link_fd = bpf_link_create(t->ext_fd, 0, 0, NULL);
	return t->link_fd < 0 ? t->link_fd : 0;
}

static void trial_end(struct trial *t)
{
	int fds[] = { t->link_fd, t->ext_fd, t->target_fd, t->btf_fd };

	for (int i = 0; i < 4; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	btf__free(t->btf);
}

/* Whether one program can replace a function of another: what libxdp's dispatcher is made of. */
static int try_replace(bool *resize_refused)
{
	struct trial t = { NULL, -1, -1, -1, -1, 0, 0, false };
	int err = trial_types(&t);

	if (!err)
		err = trial_target(&t);
	if (!err)
		err = trial_replace(&t);
	*resize_refused = t.resize_refused;
	trial_end(&t);
	return err;
}

static bool dispatcher_installed(void)
{
	struct xdp_program *p = xdp_program__find_file("xdp-dispatcher.o", NULL, NULL);

	if (libxdp_get_error(p))
		return false;
	xdp_program__close(p);
	return true;
}

static void check_dispatcher(struct doctor *d)
{
	bool resize_refused;
	int err = try_replace(&resize_refused);

	d->alone = !err && resize_refused;
	if (refused(d, err, OK) == UNKNOWN)
		report(d, "dispatcher", UNKNOWN, "whether libxdp's dispatcher can run was not found out",
		       "run weir doctor as root");
	else if (err)
		report(d, "dispatcher", WARNING,
		       say("the kernel lets no program replace a function (%s): libxdp falls back to the "
			   "bare program, only one XDP program on the NIC", strerror(-err)),
		       err == -EPERM ?
			       "where a NIC must be shared, allow BPF_PROG_TYPE_EXT in the security policy" :
			       "boot a kernel with CONFIG_DEBUG_INFO_BTF=y and the BPF JIT on");
	else if (resize_refused)
		report(d, "dispatcher", WARNING,
		       "this kernel lets no program that changes a packet's length, as Weir's does, run under the "
		       "dispatcher of Debian 12's libxdp: Weir runs alone on its NIC",
		       "where a NIC must be shared, run Linux 6.1");
	else if (!dispatcher_installed())
		report(d, "dispatcher", WARNING,
		       "libxdp's xdp-dispatcher.o is not installed: only one XDP program on the NIC",
		       "apt-get install libxdp1");
	else
		report(d, "dispatcher", OK, "XDP programs can share a NIC", NULL);
}

/* ---- interfaces ------------------------------------------------------------------------------- */

/* Drivers that run XDP natively on a 6.1 kernel. Being absent proves nothing: the attach decides. */
static const char *const native_drivers[] = {
	"atlantic",      "bnxt_en",   "bonding",      "cpsw",        "ena",        "fec",
	"fsl_dpaa2_eth", "fsl_enetc", "fsl_enetc_vf", "gve",         "hv_netvsc",  "i40e",
	"ice",           "igb",       "igc",          "ixgbe",       "ixgbevf",    "lan966x-switch",
	"mana",          "mlx4_en",   "mlx5_core",    "mtk_soc_eth", "mvneta",     "mvpp2",
	"netsec",        "nfp",       "qede",         "sfc",         "st_gmac",    "thunder-nicvf",
	"tsnep",         "tun",       "veth",         "vif",         "virtio_net",
};

static bool is_native(const char *driver)
{
	for (size_t i = 0; i < sizeof(native_drivers) / sizeof(native_drivers[0]); i++) {
		if (!strcmp(native_drivers[i], driver))
			return true;
	}
	return false;
}

static void check_driver(struct doctor *d, const char *driver)
{
	const char *shown = printable(driver, strlen(driver));

	if (!*driver)
		report(d, "driver", INFO, "the driver does not say its name: native XDP is unlikely", NULL);
	else if (is_native(driver))
		report(d, "driver", OK, say("%s runs XDP natively", shown), NULL);
	else
		report(d, "driver", INFO,
		       say("%s is not known to run XDP natively; generic XDP is slower", shown), NULL);
	if (!strcmp(driver, "veth"))
		report(d, "veth", INFO,
		       "its peer takes what XDP sends only with a native XDP program of its own; "
		       "senders must fill in checksums",
		       "ethtool -K PEER tx off, for each sender behind it");
}

/* For steering only: the FIB tells next hops to programs on interfaces that forward. */
static void check_forwarding(struct doctor *d, const char *iface)
{
	bool four = nic_forwards(iface, 4), six = nic_forwards(iface, 6);

	if (four && six)
		report(d, "forwarding", OK, "forwards IPv4 and IPv6", NULL);
	else
		report(d, "forwarding", INFO,
		       say("does not forward %s: a service with a pool needs that", four ? "IPv6" : six ? "IPv4" : "packets"),
		       say("sysctl -w net.ipv%d.conf.%s.forwarding=1", four ? 6 : 4, iface));
}

static void check_mtu(struct doctor *d, const char *iface)
{
	__u32 mtu;
	int err = nic_mtu(iface, &mtu);

	if (err)
		report(d, "mtu", UNKNOWN, say("the MTU cannot be read: %s", strerror(-err)), NULL);
	else if (mtu > ONE_BUFFER_MTU)
		report(d, "mtu", INFO,
		       say("MTU %u: beyond %d, native XDP needs a driver that takes frames in several buffers", mtu,
			   ONE_BUFFER_MTU),
		       say("if `weir load` falls back to generic mode: ip link set dev %s mtu %d", iface,
			   ONE_BUFFER_MTU));
	else
		report(d, "mtu", OK, say("MTU %u", mtu), NULL);
}

/* virtio_net gives each CPU a queue of its own for what XDP sends, if it has as many to spare
 * (virtnet_xdp_set() in Linux); else they share, with a lock. */
static void check_queues(struct doctor *d, const char *iface)
{
	struct nic_queues q;
	const char *fix;

	if (nic_queues(iface, &q))
		return;
	fix = q.max > q.cpus ? say("ethtool -L %s combined %u", iface, q.max - q.cpus) :
			       say("give the virtual NIC %u queue pairs", 2 * q.cpus);
	if (nic_queues_crash(&q))
		report(d, "queues", WARNING,
		       say("%u of %u pairs in use, more than there are CPUs and none to spare: Linux would crash with "
			   "the first frame that a native program sends, so Weir does not run natively", q.used, q.max),
		       fix);
	else if (q.used + q.cpus > q.max)
		report(d, "queues", INFO,
		       say("%u of %u pairs in use: %u CPUs share them for what XDP sends, with locks, which is slower",
			   q.used, q.max, q.cpus), fix);
	else
		report(d, "queues", OK, say("%u of %u pairs in use, enough to spare for XDP", q.used, q.max), NULL);
}

/* Whether `vlan` is a VLAN device on `iface`. Asked of VLAN drivers only: the ioctl loads a module. */
static bool is_vlan_on(const char *vlan, const char *iface)
{
	struct vlan_ioctl_args args = { .cmd = GET_VLAN_REALDEV_NAME_CMD };
	char driver[64];
	int fd, err;

	if (nic_driver(vlan, driver, sizeof(driver)) || strcmp(driver, "802.1Q VLAN Support"))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	snprintf(args.device1, sizeof(args.device1), "%s", vlan);
	err = ioctl(fd, SIOCGIFVLAN, &args);
	close(fd);
	return !err && !strcmp(args.u.device2, iface);
}

static void check_vlan(struct doctor *d, const char *iface)
{
	struct if_nameindex *all = if_nameindex();
	struct ethtool_value flags = { .cmd = ETHTOOL_GFLAGS };
	struct ifreq ifr = { .ifr_data = (void *)&flags };
	char names[256] = "";

	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		if (strlen(names) < sizeof(names) - IFNAMSIZ - 2 && is_vlan_on(i->if_name, iface))
			sprintf(names + strlen(names), " %s", i->if_name);
	}
	if_freenameindex(all);
	if (!*names)
		return;
	if (nic_ioctl(iface, SIOCETHTOOL, &ifr))
		report(d, "vlan", INFO, say("VLANs on top:%s; whether tags are stripped is not known", names),
		       NULL);
	else if (flags.data & ETH_FLAG_RXVLAN)
		report(d, "vlan", WARNING,
		       say("VLANs on top (%s), and the NIC strips their tags before XDP sees them",
			   names + 1),
		       say("ethtool -K %s rxvlan off", iface));
	else
		report(d, "vlan", OK, say("VLANs on top (%s), tags left in place", names + 1), NULL);
}

/* The name of a program; "" when we may not look. */
static void program_name(__u32 id, char *name, size_t len)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	*name = 0;
	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &size))
		snprintf(name, len, "%s", info.name);
	close(fd);
}

static int programs_under_dispatcher(int ifindex)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(ifindex);
	int n;

	if (libxdp_get_error(mp))
		return 0;
	n = xdp_multiprog__program_count(mp);
	xdp_multiprog__close(mp);
	return n;
}

static void report_dispatcher(struct doctor *d, const char *iface, const char *what)
{
	if (d->alone)
		report(d, "xdp_attached", WARNING,
		       say("libxdp's dispatcher with programs of others (%s): on this kernel Weir's cannot join them", what),
		       say("xdp-loader unload %s --all", iface));
	else if (programs_under_dispatcher(if_nametoindex(iface)) >= DISPATCHER_PROGRAMS)
		report(d, "xdp_attached", WARNING, say("libxdp's dispatcher (%s), which takes no more programs", what),
		       say("xdp-loader status %s", iface));
	else
		report(d, "xdp_attached", OK, say("libxdp's dispatcher (%s): there is room for more", what), NULL);
}

static void report_attached(struct doctor *d, const char *iface, __u32 id, const char *mode)
{
	char name[BPF_OBJ_NAME_LEN];
	const char *what;

	program_name(id, name, sizeof(name));
	what = say("%s, program %u, %s mode", *name ? name : "name not known", id, mode);
	if (!strcmp(name, DISPATCHER_NAME))
		report_dispatcher(d, iface, what);
	else if (!strncmp(name, RX_NAME, strlen(RX_NAME)))
		report(d, "xdp_attached", INFO, say("weir itself, without dispatcher (%s)", what), NULL);
	else if (!*name)
		report(d, "xdp_attached", UNKNOWN, say("an XDP program is attached (%s)", what),
		       "run weir doctor as root");
	else
		report(d, "xdp_attached", WARNING,
		       say("another XDP program has the NIC to itself (%s): weir cannot be loaded here",
			   what),
		       d->alone ? say("ip link set dev %s xdp off", iface) :
				  say("ip link set dev %s xdp off, and load that program with xdp-loader", iface));
}

static void check_attached(struct doctor *d, const char *iface, int ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	int err = bpf_xdp_query(ifindex, 0, &q);

	if (err) {
		report(d, "xdp_attached", UNKNOWN, say("what is attached cannot be read: %s", strerror(-err)),
		       NULL);
		return;
	}
	if (q.hw_prog_id)
		report_attached(d, iface, q.hw_prog_id, "hardware");
	if (q.drv_prog_id)
		report_attached(d, iface, q.drv_prog_id, "native");
	if (q.skb_prog_id)
		report_attached(d, iface, q.skb_prog_id, "generic");
	if (!q.hw_prog_id && !q.drv_prog_id && !q.skb_prog_id)
		report(d, "xdp_attached", OK, "no XDP program is attached", NULL);
}

static void check_iface(struct doctor *d, const char *iface)
{
	const char *shown = printable(iface, strlen(iface));
	int ifindex = if_nametoindex(iface);
	struct ifreq ifr = {};
	char driver[64];

	d->section = shown;
	if (!ifindex) {
		report(d, "interface", MISSING, "there is no interface of this name", "ip link show");
		return;
	}
	if (!nic_ioctl(iface, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP))
		report(d, "interface", WARNING, "down", say("ip link set dev %s up", shown));
	else
		report(d, "interface", OK, "up", NULL);
	nic_driver(iface, driver, sizeof(driver));
	check_driver(d, driver);
	check_mtu(d, iface);
	check_queues(d, iface);
	check_forwarding(d, iface);
	check_vlan(d, iface);
	check_attached(d, iface, ifindex);
}

static void check_all_ifaces(struct doctor *d)
{
	struct if_nameindex *all = if_nameindex();
	unsigned n = 0;

	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		struct ifreq ifr = {};

		if (nic_ioctl(i->if_name, SIOCGIFFLAGS, &ifr) || !(ifr.ifr_flags & IFF_UP) ||
		    (ifr.ifr_flags & IFF_LOOPBACK))
			continue;
		check_iface(d, i->if_name);
		n++;
	}
	if_freenameindex(all);
	if (!n)
		report(d, "interface", WARNING, "no interface is up, besides loopback",
		       "ip link set dev IFACE up");
}

/* ---- the command ------------------------------------------------------------------------------ */

static enum verdict worst(const struct doctor *d)
{
	if (d->count[MISSING])
		return MISSING;
	if (d->count[UNKNOWN])
		return UNKNOWN;
	return d->count[WARNING] ? WARNING : OK;
}

static int finish(struct doctor *d)
{
	static const int statuses[] = { [OK] = EXIT_OK,
					[WARNING] = EXIT_DEGRADED,
					[UNKNOWN] = EXIT_NOT_PERMITTED,
					[MISSING] = EXIT_UNSUPPORTED };
	enum verdict v = worst(d);

	if (out_json)
		out_document("doctor", json_pack("{s:b, s:s, s:o}", "ok", v == OK, "verdict",
						 verdict_names[v], "checks", d->checks));
	else if (v == OK)
		printf("\nWeir can run here.\n");
	else
		printf("\n%u missing, %u not known, %u warning%s.\n", d->count[MISSING], d->count[UNKNOWN],
		       d->count[WARNING], d->count[WARNING] == 1 ? "" : "s");
	return statuses[v];
}

static int no_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int no_xdp_print(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

int cmd_doctor(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct doctor d = { .jited = -1, .checks = out_json ? json_array() : NULL };
	const char *iface = opt_value(cmd, values, "iface");

	/* What a trial is refused for is said in our words. */
	libbpf_set_print(no_print);
	libxdp_set_print(no_xdp_print);
	check_kernel(&d);
	check_btf(&d);
	check_bpffs(&d);
	check_capabilities(&d);
	check_raw_sockets(&d);
	check_unprivileged(&d);
	check_program(&d);
	check_jit(&d);
	check_map(&d);
	check_dispatcher(&d);
	if (iface)
		check_iface(&d, iface);
	else
		check_all_ifaces(&d);
	return finish(&d);
}
