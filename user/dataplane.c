// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Load, reload, unload. Pins: WEIR_PIN_DIR/maps holds the maps; WEIR_PIN_DIR/next those of a reload
 * that changes the capacity, until the two directories change places. The directory itself is the
 * writers' lock. Programs are attached last and detached first; what a killed command left behind is
 * found by the maps it uses.
 */
#include "dataplane.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "attach.h"
#include "flows.h"
#include "invalidate.h"
#include "nic.h"
#include "weir/reason.h"

#define MAPS_DIR WEIR_PIN_DIR "/maps"
#define NEXT_DIR WEIR_PIN_DIR "/next"
#define LOCK_WAIT_S 10

struct dataplane {
	struct maps maps;
	__u32 ctl_id, stats_id;
	int lock;
};

/* ---- words ------------------------------------------------------------------------------------ */

static char error_text[512];

const char *dp_error(void)
{
	return error_text;
}

static int __attribute__((format(printf, 2, 3))) error(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error_text, sizeof(error_text), fmt, ap);
	va_end(ap);
	return err;
}

static int bpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return getenv("WEIR_DEBUG") ? vfprintf(stderr, fmt, ap) : 0;
}

static int xdp_print(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	return getenv("WEIR_DEBUG") ? vfprintf(stderr, fmt, ap) : 0;
}

static void quieten(void)
{
	libbpf_set_print(bpf_print);
	libxdp_set_print(xdp_print);
}

static int not_permitted(int err)
{
	return error(err, "not permitted: this needs root, or CAP_SYS_ADMIN (to find programs by number), CAP_BPF, "
			  "CAP_NET_ADMIN and CAP_PERFMON");
}

/* Finding our programs again, to report or to remove them, takes CAP_SYS_ADMIN: ask before anything is
 * attached. */
static bool may_find_programs(void)
{
	__u32 id;

	return !bpf_prog_get_next_id(0, &id) || errno != EPERM;
}

/* ---- the lock --------------------------------------------------------------------------------- */

static int check_bpffs(void)
{
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs) || (unsigned)fs.f_type != BPF_FS_MAGIC)
		return error(-ENOTSUP, "no BPF file system at /sys/fs/bpf: `mount -t bpf bpf /sys/fs/bpf` (under "
				       "`ip netns exec` it is hidden: use `nsenter --net=/run/netns/NAME` instead)");
	return 0;
}

static int wait_lock(int fd)
{
	struct timespec tick = { .tv_nsec = 50000000 };

	for (int i = 0; i < LOCK_WAIT_S * 20; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		nanosleep(&tick, NULL);
	}
	return error(-EBUSY, "another weir command is changing the data plane (waited %d s)", LOCK_WAIT_S);
}

/* The lock of agents is the directory above: it is there before a load and after an unload, belongs to the
 * same file system as the pins, and leaves nothing behind. */
int dp_agent_lock(void)
{
	int err = check_bpffs(), fd;

	if (err)
		return err;
	fd = open("/sys/fs/bpf", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error(-errno, "/sys/fs/bpf: %s", strerror(errno));
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	err = errno == EWOULDBLOCK ? error(-EBUSY, "another agent (`weir run`) is running") :
				     error(-errno, "/sys/fs/bpf: locking it: %s", strerror(errno));
	close(fd);
	return err;
}

/* The directory is locked, and still the one at its path: unload removes it. */
static int lock_dir(int *out)
{
	struct stat at, held;

	for (;;) {
		int fd = open(WEIR_PIN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

		if (fd < 0)
			return -errno;
		err = wait_lock(fd);
		if (!err && !stat(WEIR_PIN_DIR, &at) && !fstat(fd, &held) && at.st_ino == held.st_ino) {
			*out = fd;
			return 0;
		}
		close(fd);
		if (err)
			return err;
	}
}

static int lock_new_dir(int *out)
{
	if (!may_find_programs())
		return not_permitted(-EPERM);
	for (;;) {
		int err;

		if (mkdir(WEIR_PIN_DIR, 0700) && errno != EEXIST) {
			err = -errno;
			return err == -EACCES || err == -EPERM ? not_permitted(err) :
								 error(err, "%s: %s", WEIR_PIN_DIR, strerror(-err));
		}
		err = lock_dir(out);
		if (err == -EACCES || err == -EPERM)
			return not_permitted(err);
		if (err != -ENOENT)
			return err;
	}
}

/* ---- open ------------------------------------------------------------------------------------- */

static __u64 netns_inode(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) ? 0 : st.st_ino;
}

bool dp_elsewhere(struct dataplane *dp)
{
	__u64 here = netns_inode();

	return here && dp_ctl(dp)->netns && dp_ctl(dp)->netns != here;
}

static int open_error(int err)
{
	switch (err) {
	case -ENOENT:
		return error(err, "not loaded: `weir load -c FILE` loads the data plane");
	case -EPROTO:
		return error(err, "what is loaded belongs to another version of weir: `weir unload`, then load again");
	case -ESTALE:
		return error(err, "a load, reload or unload was interrupted: `weir unload` cleans up");
	case -EPERM:
	case -EACCES:
		return not_permitted(err);
	}
	return error(err, "%s: %s", MAPS_DIR, strerror(-err));
}

void dp_close(struct dataplane *dp)
{
	if (!dp)
		return;
	maps_close(&dp->maps);
	if (dp->lock >= 0)
		close(dp->lock);
	free(dp);
}

static int open_maps(struct dataplane *dp, bool write)
{
	int err = maps_open(&dp->maps, MAPS_DIR, write);

	if (err)
		return open_error(err);
	if (maps_ctl(&dp->maps)->state != WEIR_STATE_READY && maps_ctl(&dp->maps)->state != WEIR_STATE_RELOADING)
		return open_error(-ESTALE);
	dp->ctl_id = map_id(dp->maps.fd[MAP_CTL]);
	dp->stats_id = map_id(dp->maps.fd[MAP_STATS]);
	return 0;
}

int dp_open(struct dataplane **out, enum dp_access access)
{
	struct dataplane *dp;
	int err;

	quieten();
	err = check_bpffs();
	if (err)
		return err;
	dp = calloc(1, sizeof(*dp));
	if (!dp)
		return error(-ENOMEM, "out of memory");
	dp->lock = -1;
	for (int i = 0; i < MAP_COUNT; i++)
		dp->maps.fd[i] = -1;
	if (access == DP_WRITE) {
		err = lock_dir(&dp->lock);
		if (err == -ENOENT || err == -EACCES || err == -EPERM)
			err = open_error(err);
	}
	if (!err)
		err = open_maps(dp, access != DP_READ);
	if (!err && access == DP_AGENT && dp_ctl(dp)->netns != netns_inode())
		err = error(-EXDEV, "loaded in another network namespace: run this there, with `nsenter --net=`");
	if (err) {
		dp_close(dp);
		return err;
	}
	*out = dp;
	return 0;
}

struct weir_ctl *dp_ctl(struct dataplane *dp)
{
	return maps_ctl(&dp->maps);
}

const struct hotset_mem *dp_hotset_mem(struct dataplane *dp)
{
	return &dp->maps.mem;
}

struct maps *dp_maps(struct dataplane *dp)
{
	return &dp->maps;
}

const struct pools_mem *dp_pools(struct dataplane *dp)
{
	return &dp->maps.pools;
}

int dp_counts(struct dataplane *dp, unsigned svc, struct weir_count *counts)
{
	__u32 ncpu = dp_ctl(dp)->ncpu;
	struct weir_count per_cpu[ncpu];

	memset(counts, 0, WEIR_R_COUNT * sizeof(*counts));
	for (int r = 0; r < WEIR_R_COUNT; r++) {
		__u32 at = svc * WEIR_REASON_MAX + r;

		if (bpf_map_lookup_elem(dp->maps.fd[MAP_STATS], &at, per_cpu))
			return error(-errno, "reading the counters: %s", strerror(errno));
		for (__u32 i = 0; i < ncpu; i++) {
			counts[r].packets += per_cpu[i].packets;
			counts[r].bytes += per_cpu[i].bytes;
		}
	}
	return 0;
}

void dp_sent(struct dataplane *dp, unsigned backend, struct weir_count *sum)
{
	__u32 ncpu = dp_ctl(dp)->ncpu, at = backend;
	struct weir_hop per_cpu[ncpu];

	memset(sum, 0, sizeof(*sum));
	if (bpf_map_lookup_elem(dp->maps.fd[MAP_HOPS], &at, per_cpu))
		return;
	for (__u32 i = 0; i < ncpu; i++) {
		sum->packets += per_cpu[i].packets;
		sum->bytes += per_cpu[i].bytes;
	}
}

int dp_service(struct dataplane *dp, const char *name)
{
	const struct weir_ctl *ctl = dp_ctl(dp);
	int found = -ENOENT;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (!ctl->services[i].name[0])
			continue;
		if (name && !strcmp(ctl->services[i].name, name))
			return i;
		if (!name)
			found = found < 0 && found != -EINVAL ? i : -EINVAL;
	}
	if (found == -EINVAL)
		return error(found, "several services are loaded: name one with --service");
	return found >= 0 ? found : error(found, "no service \"%s\" is loaded", name ? name : "");
}

int dp_iface_state(struct dataplane *dp, const struct weir_ctl_iface *ci, struct dp_iface_state *st)
{
	char name[IF_NAMESIZE];
	struct attached a;
	int err;

	memset(st, 0, sizeof(*st));
	st->present = if_indextoname(ci->ifindex, name) && !strcmp(name, ci->name);
	if (!st->present)
		return 0;
	if (!may_find_programs()) {
		err = attach_seen(ci, dp->ctl_id, st);
		st->egress = attach_egress_seen(ci->ifindex);
		return err ? not_permitted(-EPERM) : nic_mtu(ci->name, &st->mtu);
	}
	err = attach_find(ci->ifindex, dp->ctl_id, &a);
	if (err)
		return error(err, "%s: reading its XDP program: %s", ci->name, strerror(-err));
	st->attached = a.prog_id;
	st->dispatcher = a.dispatcher;
	st->mode = a.mode;
	st->egress = attach_egress(ci->ifindex, dp->stats_id);
	return nic_mtu(ci->name, &st->mtu);
}

/* ---- taking away ------------------------------------------------------------------------------ */

/* virtio_net of Linux 6.1 lets no program go while the MTU is one that it would not have taken it with. */
static int cannot_take_off(const char *iface, int err)
{
	__u32 mtu = 0;

	if (err == -EINVAL && !nic_mtu(iface, &mtu) && mtu > ONE_BUFFER_MTU)
		return error(err, "%s: the driver does not let the XDP program go at an MTU of %u: `ip link set dev %s mtu 1500` first",
			     iface, mtu, iface);
	return error(err, "%s: taking the XDP program off: %s", iface, strerror(-err));
}

/* Takes our programs off every interface of this namespace. */
static int detach_all(__u32 ctl_id, __u32 stats_id, const struct weir_ctl *ctl)
{
	struct if_nameindex *ifs = if_nameindex();
	int err = 0;

	for (struct if_nameindex *i = ifs; i && i->if_index; i++) {
		bool clsact = false;
		int e = attach_remove(i->if_index, ctl_id);

		if (e) { /* it goes on, and needs the egress program */
			err = err ?: cannot_take_off(i->if_name, e);
			continue;
		}
		for (int k = 0; ctl && k < WEIR_IFACES_MAX; k++)
			clsact |= ctl->ifaces[k].ifindex == i->if_index && ctl->ifaces[k].flags & WEIR_IF_CLSACT;
		attach_remove_egress(i->if_index, clsact, stats_id);
	}
	if_freenameindex(ifs);
	return err;
}

/* A program that ctl names still exists: it is attached in the namespace where it was loaded. */
static bool alive_elsewhere(const struct weir_ctl *ctl)
{
	if (ctl->netns == netns_inode())
		return false;
	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		int fd = ctl->ifaces[i].prog_id ? bpf_prog_get_fd_by_id(ctl->ifaces[i].prog_id) : -1;

		if (fd >= 0) {
			close(fd);
			return true;
		}
	}
	return false;
}

static int open_pin(const char *dir, enum map_id id)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, map_name(id));
	return bpf_obj_get(path);
}

static __u32 id_of_pin(const char *dir, enum map_id id)
{
	int fd = open_pin(dir, id);
	__u32 n = fd < 0 ? 0 : map_id(fd);

	if (fd >= 0)
		close(fd);
	return n;
}

int dp_current(struct dataplane *dp)
{
	__u32 id = id_of_pin(MAPS_DIR, MAP_CTL), state = dp_ctl(dp)->state;

	if (!id || (id == dp->ctl_id && state == WEIR_STATE_UNLOADING))
		return -ENOENT;
	return id == dp->ctl_id && (state == WEIR_STATE_READY || state == WEIR_STATE_RELOADING) ? 0 : -ESTALE;
}

int dp_lock_now(struct dataplane *dp)
{
	int fd = open(WEIR_PIN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	struct stat at, held;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	else if (stat(WEIR_PIN_DIR, &at) || fstat(fd, &held) || at.st_ino != held.st_ino)
		err = -ESTALE; /* unloaded, and perhaps loaded again */
	else
		err = dp_current(dp);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* The control block as far as it can be read; NULL when it is of another version or gone. */
static struct weir_ctl *peek_ctl(const char *dir)
{
	struct weir_ctl *ctl = calloc(4, sizeof(*ctl)); /* another version's may be longer */
	int fd = open_pin(dir, MAP_CTL);

	if (ctl && (fd < 0 || bpf_map_lookup_elem(fd, &(__u32){ 0 }, ctl) || ctl->magic != WEIR_MAGIC ||
		    ctl->abi_version != WEIR_ABI_VERSION)) {
		free(ctl);
		ctl = NULL;
	}
	if (fd >= 0)
		close(fd);
	return ctl;
}

static int remove_pins(const char *dir)
{
	maps_unpin(dir);
	return rmdir(dir) && errno != ENOENT ? -errno : 0;
}

/* Detaches and unpins what stands in one directory. */
static int clear_dir(const char *dir)
{
	struct weir_ctl *ctl = peek_ctl(dir);
	__u32 id = id_of_pin(dir, MAP_CTL);
	int err = 0;

	if (ctl && alive_elsewhere(ctl))
		err = error(-EXDEV,
			    "loaded in another network namespace (inode %llu), where the programs are attached: "
			    "run this there, with `nsenter --net=`",
			    ctl->netns);
	if (!err && id)
		err = detach_all(id, id_of_pin(dir, MAP_STATS), ctl);
	if (!err && id)
		attach_remove_orphans(id);
	if (!err)
		err = remove_pins(dir);
	free(ctl);
	return err;
}

static void mark(struct maps *m, __u32 state)
{
	__atomic_store_n(&maps_ctl(m)->state, state, __ATOMIC_SEQ_CST);
}

static int clear_all(void)
{
	struct maps m;
	__u32 state = 0;
	int err;

	if (!maps_open(&m, MAPS_DIR, true)) {
		if (!alive_elsewhere(maps_ctl(&m))) {
			state = maps_ctl(&m)->state;
			mark(&m, WEIR_STATE_UNLOADING);
		}
		maps_close(&m);
	}
	err = clear_dir(NEXT_DIR);
	if (!err)
		err = clear_dir(MAPS_DIR);
	/* What could not be taken off goes on answering: status shall say of it what is true. */
	if (err && state && !maps_open(&m, MAPS_DIR, true)) {
		mark(&m, state);
		maps_close(&m);
	}
	rmdir("/sys/fs/bpf/xdp"); /* libxdp's, which stays when others use it: it is not empty then */
	if (!err && rmdir(WEIR_PIN_DIR) && errno != ENOENT)
		err = error(-errno, "%s: %s", WEIR_PIN_DIR, strerror(errno));
	return err;
}

int dp_unload(void)
{
	int lock, err;

	quieten();
	err = check_bpffs();
	if (!err && !may_find_programs())
		err = not_permitted(-EPERM);
	if (err)
		return err;
	err = lock_dir(&lock);
	if (err)
		return err == -EBUSY ? err : open_error(err);
	err = clear_all();
	close(lock);
	return err;
}

/* ---- load ------------------------------------------------------------------------------------- */

static void put_ctl_service(struct weir_ctl_svc *to, const struct config_service *s)
{
	snprintf(to->name, sizeof(to->name), "%s", s->name);
	snprintf(to->origin, sizeof(to->origin), "%s", s->origin);
	to->ttl_ns = s->ttl_ns;
	to->value_max = s->value_max;
	to->flags = s->flags;
}

/* Numbers for c's services: a name keeps its own, a new one takes a free one. */
static void number_services(const struct weir_ctl *ctl, const struct config *c, __u8 *ids)
{
	bool used[WEIR_SERVICES_MAX] = {};

	for (unsigned i = 0; i < c->nservices; i++) {
		ids[i] = WEIR_SERVICES_MAX;
		for (int k = 0; k < WEIR_SERVICES_MAX; k++) {
			if (!strcmp(ctl->services[k].name, c->services[i].name))
				ids[i] = k;
		}
	}
	for (int k = 0; k < WEIR_SERVICES_MAX; k++)
		used[k] = ctl->services[k].name[0];
	for (unsigned i = 0; i < c->nservices; i++) {
		for (int k = 0; k < WEIR_SERVICES_MAX && ids[i] == WEIR_SERVICES_MAX; k++) {
			if (!used[k]) {
				used[k] = true;
				ids[i] = k;
			}
		}
	}
}

static int pin_into(struct maps *m, const char *dir)
{
	int err;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return error(-errno, "%s: %s", dir, strerror(errno));
	err = maps_pin(m, dir);
	return err ? error(err, "%s: pinning the maps: %s", dir, strerror(-err)) : 0;
}

static int find_iface(const char *name, __u32 mode, struct weir_ctl_iface *ci)
{
	memset(ci, 0, sizeof(*ci));
	ci->ifindex = if_nametoindex(name);
	if (!ci->ifindex)
		return error(-ENODEV, "interface %s: there is none of this name in this network namespace", name);
	ci->mode = mode;
	snprintf(ci->name, sizeof(ci->name), "%s", name);
	return nic_mtu(name, &ci->mtu) ? error(-ENODEV, "interface %s: its MTU cannot be read", name) : 0;
}

/* The interfaces to attach to, in the order of the configuration. */
static int find_ifaces(const struct config *c, const struct dp_load_opts *o, struct weir_ctl_iface *out)
{
	if (o->iface)
		return find_iface(o->iface, o->mode, &out[0]);
	for (unsigned i = 0; i < c->nifaces; i++) {
		int err = find_iface(c->ifaces[i].name, o->mode ?: c->ifaces[i].mode, &out[i]);

		if (err)
			return err;
	}
	return 0;
}

/* Attaches to one interface; the place in ctl is taken first, so that a killed load is found. */
static int attach_one(struct maps *m, const struct config *c, const __u8 *ids, struct weir_ctl_iface *ci,
		      __u32 replace_id)
{
	struct weir_config *cfg = malloc(sizeof(*cfg));
	const char *why = "";
	int err = cfg ? maps_config(cfg, c, ids, m, ci->mtu) : -ENOMEM;

	if (err) {
		error(err, "preparing the programs: %s", strerror(-err));
	} else {
		cfg->mac = nic_mac(ci->name);
		err = attach_iface(m, cfg, ci, replace_id, &why);
	}
	if (err && *why)
		error(err, "%s: %s: %s", ci->name, why, strerror(-err));
	free(cfg);
	return err;
}

static int check_free(void)
{
	struct maps m;
	int err = maps_open(&m, MAPS_DIR, false);
	bool ready;

	if (err == -ENOENT || err == -ESTALE)
		return 0;
	if (err)
		return open_error(err);
	ready = maps_ctl(&m)->state == WEIR_STATE_READY || maps_ctl(&m)->state == WEIR_STATE_RELOADING;
	maps_close(&m);
	if (!ready)
		return 0;
	return error(-EEXIST, "already loaded: `weir reload -c FILE` changes the configuration and keeps the hot set, "
			      "`weir unload` takes it away");
}

/* What pools_apply() says last is why it failed. */
static void keep_words(const char *line, void *arg)
{
	error(0, "%s", line);
}

/* Where the configuration is, from the root: others that look for it stand elsewhere. */
static int config_path(const struct config *c, char *to, size_t size)
{
	char *path = c->path ? realpath(c->path, NULL) : NULL;
	int err = c->path && !path ? -errno : 0;
	size_t len = path ? strlen(path) : 0;

	if (err)
		error(err, "%s: %s", c->path, strerror(-err));
	else if (len >= size)
		err = error(-ENAMETOOLONG, "%s: the path is longer than %zu bytes: put the file elsewhere", path, size - 1);
	else
		snprintf(to, size, "%s", path ?: "");
	free(path);
	return err;
}

static int load_into(struct maps *m, const struct config *c, const struct dp_load_opts *o)
{
	struct weir_ctl_iface ifaces[WEIR_IFACES_MAX] = {};
	struct weir_ctl *ctl = maps_ctl(m);
	__u8 ids[WEIR_SERVICES_MAX];
	int err = config_path(c, ctl->config, sizeof(ctl->config)) ?: find_ifaces(c, o, ifaces);

	if (err)
		return err;
	number_services(ctl, c, ids);
	for (unsigned i = 0; i < c->nservices; i++)
		put_ctl_service(&ctl->services[ids[i]], &c->services[i]);
	ctl->netns = netns_inode();
	ctl->iface_given = !!o->iface;
	ctl->generation = 1;
	memcpy(ctl->ifaces, ifaces, sizeof(ifaces));
	err = pools_apply(&m->pools, c, false, keep_words, NULL) ?: pin_into(m, MAPS_DIR);
	for (int i = 0; i < WEIR_IFACES_MAX && !err; i++) {
		if (ctl->ifaces[i].ifindex)
			err = attach_one(m, c, ids, &ctl->ifaces[i], 0);
	}
	if (!err)
		mark(m, WEIR_STATE_READY);
	return err;
}

/* Keeps the words of the first failure while cleaning up. */
static int undo(int err)
{
	char words[sizeof(error_text)];

	memcpy(words, error_text, sizeof(words));
	clear_all();
	memcpy(error_text, words, sizeof(words));
	return err;
}

int dp_load(const struct config *c, const struct dp_load_opts *o)
{
	struct maps m;
	int lock, err;

	quieten();
	err = check_bpffs();
	if (!err)
		err = lock_new_dir(&lock);
	if (err)
		return err;
	err = check_free();
	if (err)
		goto unlock;
	err = clear_dir(NEXT_DIR) ?: clear_dir(MAPS_DIR); /* of an interrupted load or unload */
	if (err)
		goto unlock;
	err = maps_create(&m, c);
	if (err) {
		err = undo(err == -EPERM ? not_permitted(err) : error(err, "creating the maps: %s", strerror(-err)));
		goto unlock;
	}
	err = load_into(&m, c, o);
	if (err)
		undo(err);
	maps_close(&m);
unlock:
	close(lock);
	return err;
}

/* ---- reload ----------------------------------------------------------------------------------- */

struct copy {
	struct hotset *from, *to;
	__u64 lost;
};

/* One slot into the new hot set, with the fences it was filled under. */
static int copy_slot(const struct weir_slot *s, void *arg)
{
	struct copy *c = arg;
	struct hot_item it = {
		.key = slot_key(s),
		.key_len = s->key_len,
		.value = slot_value(s),
		.value_len = s->value_len,
		.client_flags = s->client_flags,
		.svc = s->svc,
		.flags = s->flags,
		.cas = s->cas,
		.expires_ns = s->expires_ns,
		.fence = { .key = s->fence, .svc = s->svc_fence },
	};

	if (hotset_put(c->to, &it) < 0)
		c->lost++;
	return 0;
}

static int copy_hotset(struct maps *old, struct maps *new)
{
	struct hotset_mem from = old->mem;
	struct copy c = {};
	int err;

	from.grace = NULL;
	err = hotset_open(&c.from, &from);
	if (!err)
		err = hotset_open(&c.to, &new->mem);
	if (!err)
		hotset_each(c.from, copy_slot, &c);
	if (c.lost && !err)
		err = error(-ENOSPC, "%llu hot keys would not fit into the new capacity: nothing was changed", c.lost);
	hotset_close(c.to);
	hotset_close(c.from);
	return err;
}

struct hits {
	struct hotset *to;
	const struct hotset_mem *old, *new;
};

/* Adds to a counter that a program on its CPU may be raising, not atomically: seen at once when lost. */
static void add_count(__u64 *to, __u64 n)
{
	__u64 before;

	do {
		before = __atomic_load_n(to, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(to, n, __ATOMIC_SEQ_CST);
	} while (__atomic_load_n(to, __ATOMIC_SEQ_CST) < before + n);
}

static int add_hits(const struct weir_slot *s, void *arg)
{
	const struct hits *h = arg;
	const struct weir_slot *n = hotset_find(h->to, s->svc, slot_key(s), s->key_len);

	for (__u32 cpu = 0; n && cpu < h->new->ctl->ncpu; cpu++)
		add_count(&h->new->hits[(size_t)cpu * h->new->ctl->hit_entries + n->entry],
			  h->old->hits[(size_t)cpu * h->old->ctl->hit_entries + s->entry]);
	return 0;
}

/* The keys' hit counts, once the old programs count no more. */
static int carry_hits(struct maps *old, struct maps *new)
{
	struct hotset_mem from = old->mem, to = new->mem;
	struct hits h = { .old = &old->mem, .new = &new->mem };
	struct hotset *f;
	int err = new->mem.grace(new->mem.grace_arg);

	if (err || !from.hits || !to.hits)
		return err;
	from.grace = to.grace = NULL;
	err = hotset_open(&f, &from);
	if (err)
		return err;
	err = hotset_open(&h.to, &to);
	if (!err) {
		hotset_each(f, add_hits, &h);
		hotset_close(h.to);
	}
	hotset_close(f);
	return err;
}

/* Until now no service had a pool: there is no flow to lose. */
static bool steering_begins(const struct weir_ctl *ctl, const struct config *c)
{
	return ctl->flow_buckets == 1 && c->flow_buckets > 1;
}

/* Flows are found by where they stand: another capacity would lose them all. Without pools the old one stays. */
static int check_flows(const struct weir_ctl *ctl, const struct config *c)
{
	if (!c->flow_buckets || c->flow_buckets == ctl->flow_buckets || steering_begins(ctl, c))
		return 0;
	return error(-EINVAL,
		     "flows.capacity changes from %llu to %llu, and all connections would be lost: leave it, or "
		     "`weir unload` and load again",
		     (__u64)ctl->flow_buckets * WEIR_BUCKET_WORDS, (__u64)c->flow_buckets * WEIR_BUCKET_WORDS);
}

/* What was measured, and connections that are followed, live on where they keep their size. */
static int share_sized(struct maps *new, struct maps *old)
{
	static const int sized[] = { MAP_LATENCY, MAP_BACKEND_LAT, MAP_FLOW_RECS, MAP_CONNS, MAP_SAMPLES };
	int err = 0;

	for (unsigned i = 0; i < sizeof(sized) / sizeof(sized[0]) && !err; i++) {
		if (map_entries(maps_ctl(new), sized[i]) == map_entries(maps_ctl(old), sized[i]))
			err = maps_share(new, old, &sized[i], 1);
	}
	return err;
}

/* Counters, fences, pools and flows are the same maps. */
static int share(struct maps *new, struct maps *old, bool flows)
{
	static const int keep[] = { MAP_FENCE, MAP_SVC_FENCE, MAP_PENDING,  MAP_STATS,
				    MAP_POOLS, MAP_BACKENDS,  MAP_MAGLEV,   MAP_FRAGS,
				    MAP_HOPS,  MAP_NAT_BACK,  MAP_POOL_CTL, MAP_BACKEND_CTL, MAP_TRACK,
				    MAP_INVALIDATIONS };
	static const int keep_flows[] = { MAP_FLOWS };
	int err = maps_share(new, old, keep, sizeof(keep) / sizeof(keep[0])) ?: share_sized(new, old);

	return err || !flows ? err : maps_share(new, old, keep_flows, sizeof(keep_flows) / sizeof(keep_flows[0]));
}

/* New maps of another size, with everything of the old ones that lives on. */
static int resize(struct maps *old, struct maps *new, const struct config *c)
{
	bool begins = steering_begins(maps_ctl(old), c);
	struct config wanted = *c;
	struct weir_ctl sized;
	int err;

	if (!begins)
		wanted.flow_buckets = maps_ctl(old)->flow_buckets > 1 ? 2 : 0; /* it keeps its table: no second one */
	err = maps_create(new, &wanted);
	if (err)
		return error(err, "creating the maps: %s", strerror(-err));
	sized = *maps_ctl(new);
	*maps_ctl(new) = *maps_ctl(old);
	if (begins)
		maps_ctl(new)->flow_buckets = sized.flow_buckets;
	maps_ctl(new)->index_buckets = sized.index_buckets;
	maps_ctl(new)->slabs = sized.slabs;
	maps_ctl(new)->entries = sized.entries;
	maps_ctl(new)->hit_entries = sized.hit_entries;
	maps_ctl(new)->flow_recs = sized.flow_recs;
	maps_ctl(new)->conn_buckets = sized.conn_buckets;
	maps_ctl(new)->sample_ring = sized.sample_ring;
	maps_ctl(new)->dirty = 0;
	err = share(new, old, !begins);
	if (!err)
		err = copy_hotset(old, new);
	if (!err)
		err = pin_into(new, NEXT_DIR);
	if (err)
		maps_close(new);
	return err;
}

static bool same_size(const struct weir_ctl *ctl, const struct config *c)
{
	struct config_memory need;

	config_memory(c, ctl->ncpu, &need);
	return ctl->index_buckets == need.index_buckets && ctl->slabs == need.nslabs && ctl->entries == c->capacity &&
	       !ctl->hit_entries == !c->hit_counters && ctl->flow_recs == c->flow_recs &&
	       ctl->conn_buckets * WEIR_CONN_WAYS == c->conns && !ctl->sample_ring == !c->sample && !steering_begins(ctl, c);
}

static bool of_service(const struct weir_slot *s, void *arg)
{
	return s->svc == *(__u8 *)arg;
}

static void zero_counts(struct maps *m, __u32 svc)
{
	struct weir_count zero[maps_ctl(m)->ncpu];

	memset(zero, 0, sizeof(zero));
	for (__u32 r = 0; r < WEIR_REASON_MAX; r++)
		bpf_map_update_elem(m->fd[MAP_STATS], &(__u32){ svc * WEIR_REASON_MAX + r }, zero, BPF_ANY);
}

static void zero_latency(struct maps *m, __u32 svc)
{
	struct weir_histogram *zero = calloc(maps_ctl(m)->ncpu, sizeof(*zero));

	for (__u32 path = 0; zero && maps_ctl(m)->flow_recs && path < WEIR_LAT_PATHS; path++)
		bpf_map_update_elem(m->fd[MAP_LATENCY], &(__u32){ svc * WEIR_LAT_PATHS + path }, zero, BPF_ANY);
	free(zero);
}

/* Services that the configuration no longer has: their keys and counters go, their numbers are free. */
static int drop_services(struct maps *m, const struct config *c, const __u8 *ids)
{
	struct weir_ctl *ctl = maps_ctl(m);
	struct hotset *h;
	int err = hotset_open(&h, &m->mem);

	if (err)
		return err;
	for (__u8 k = 0; k < WEIR_SERVICES_MAX; k++) {
		bool kept = !ctl->services[k].name[0];

		for (unsigned i = 0; i < c->nservices; i++)
			kept |= ids[i] == k;
		if (kept)
			continue;
		hotset_drop_if(h, of_service, &k);
		zero_counts(m, k);
		zero_latency(m, k);
		memset(&ctl->services[k], 0, sizeof(ctl->services[k]));
	}
	return hotset_close(h);
}

static struct weir_ctl_iface *iface_place(struct weir_ctl *ctl, __u32 ifindex)
{
	struct weir_ctl_iface *free_place = NULL;

	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (ctl->ifaces[i].ifindex == ifindex)
			return &ctl->ifaces[i];
		if (!ctl->ifaces[i].ifindex && !free_place)
			free_place = &ctl->ifaces[i];
	}
	return free_place;
}

/* Interfaces that the configuration no longer has. */
static void drop_ifaces(struct weir_ctl *ctl, const struct weir_ctl_iface *wanted, const struct dataplane *dp)
{
	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		struct weir_ctl_iface *ci = &ctl->ifaces[i];
		bool kept = !ci->ifindex;

		for (int k = 0; k < WEIR_IFACES_MAX; k++)
			kept |= wanted[k].ifindex == ci->ifindex;
		if (kept)
			continue;
		attach_remove(ci->ifindex, dp->ctl_id);
		attach_remove_egress(ci->ifindex, ci->flags & WEIR_IF_CLSACT, dp->stats_id);
		memset(ci, 0, sizeof(*ci));
	}
}

/* Nobody saw writes for a while: no hot copy filled before may answer. */
static void fence_all(struct maps *m)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		inval_fence_service(&m->mem, i);
}

/* What a killed reload left in NEXT_DIR: programs over its maps are taken off for a moment. */
static int clear_next(struct dataplane *dp)
{
	int err;

	if (access(NEXT_DIR, F_OK))
		return 0;
	err = clear_dir(NEXT_DIR);
	if (!err)
		fence_all(&dp->maps);
	return err;
}

/*
 * Where a cache begins, writes have raised no fence until now: what it had before it was turned off answers no more.
 * That it has begun is told once the programs know (begin_caches()), so that after a reload that was cut short the next
 * one does this again.
 */
static void put_services(struct maps *m, const struct config *c, const __u8 *ids)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		struct weir_ctl_svc *to = &maps_ctl(m)->services[ids[i]];
		bool begins = c->services[i].flags & ~to->flags & WEIR_SVC_CACHE;

		put_ctl_service(to, &c->services[i]);
		if (!begins)
			continue;
		to->flags &= ~WEIR_SVC_CACHE;
		inval_fence_service(&m->mem, ids[i]);
	}
}

/* Fenced once more: who fills is to wait until writes that the old programs let pass unseen are at the origin. */
static void begin_caches(struct maps *m, const struct config *c, const __u8 *ids)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		struct weir_ctl_svc *to = &maps_ctl(m)->services[ids[i]];

		if (to->flags == c->services[i].flags)
			continue;
		to->flags = c->services[i].flags;
		inval_fence_service(&m->mem, ids[i]);
	}
}

/* An interface that we were on, and from which somebody took the program. */
static bool was_taken_off(const struct weir_ctl_iface *ci, __u32 ctl_id)
{
	struct attached a;

	return ci->prog_id && !attach_find(ci->ifindex, ctl_id, &a) && !a.prog_id;
}

/* Puts a program with the new constants, over `m`, on one interface: in the place of the old, if any. */
static int swap_program(struct maps *m, const struct config *c, const __u8 *ids, const struct weir_ctl_iface *wanted,
			__u32 old_id)
{
	struct weir_ctl_iface *ci = iface_place(maps_ctl(m), wanted->ifindex);
	bool taken_off;
	int err;

	if (!ci)
		return error(-ENOSPC, "more than %d interfaces while reloading", WEIR_IFACES_MAX);
	if (!ci->ifindex)
		*ci = *wanted;
	taken_off = was_taken_off(ci, old_id);
	ci->mtu = wanted->mtu;
	err = attach_one(m, c, ids, ci, old_id);
	if (!err && taken_off)
		fence_all(m);
	return err;
}

static bool is_new(const struct weir_ctl *before, const struct weir_ctl_iface *wanted)
{
	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (before->ifaces[i].ifindex == wanted->ifindex)
			return false;
	}
	return true;
}

/* Takes the programs off interfaces that had none, and forgets what was to be. */
static void undo_swaps(struct dataplane *dp, struct maps *m, const struct weir_ctl *before)
{
	struct weir_ctl *ctl = maps_ctl(m);

	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		const struct weir_ctl_iface *ci = &ctl->ifaces[i];

		if (!ci->ifindex || !is_new(before, ci))
			continue;
		attach_remove(ci->ifindex, map_id(m->fd[MAP_CTL]));
		attach_remove_egress(ci->ifindex, ci->flags & WEIR_IF_CLSACT, map_id(m->fd[MAP_STATS]));
	}
	memcpy(ctl->ifaces, before->ifaces, sizeof(ctl->ifaces));
	memcpy(ctl->services, before->services, sizeof(ctl->services));
	memcpy(ctl->config, before->config, sizeof(ctl->config));
	if (m != &dp->maps)
		remove_pins(NEXT_DIR);
	mark(&dp->maps, WEIR_STATE_READY);
}

/*
 * New interfaces come first: what fails as a rule fails there, and is undone. *swapped: a program was
 * put in the place of an old one, so that nothing can be undone.
 */
static int swap_programs(struct maps *m, const struct config *c, const __u8 *ids, const struct weir_ctl *before,
			 const struct weir_ctl_iface *wanted, __u32 old_id, bool *swapped)
{
	int err = 0;

	for (int i = 0; i < WEIR_IFACES_MAX && !err; i++) {
		if (wanted[i].ifindex && is_new(before, &wanted[i]))
			err = swap_program(m, c, ids, &wanted[i], old_id);
	}
	for (int i = 0; i < WEIR_IFACES_MAX && !err; i++) {
		if (!wanted[i].ifindex || is_new(before, &wanted[i]))
			continue;
		err = swap_program(m, c, ids, &wanted[i], old_id);
		*swapped |= !err;
	}
	return err;
}

static int exchange_pins(void)
{
	if (renameat2(AT_FDCWD, NEXT_DIR, AT_FDCWD, MAPS_DIR, RENAME_EXCHANGE))
		return error(-errno, "%s: %s", NEXT_DIR, strerror(errno));
	return 0;
}

static int check_numbers(const struct config *c, const __u8 *ids)
{
	for (unsigned i = 0; i < c->nservices; i++) {
		if (ids[i] == WEIR_SERVICES_MAX)
			return error(-ENOSPC, "services come and go at once beyond %d: reload in two steps",
				     WEIR_SERVICES_MAX);
	}
	return 0;
}

/* Services that are not among those numbered, and that the configuration has. */
static unsigned count_gone(const struct weir_ctl *ctl, const __u8 *ids, unsigned n)
{
	unsigned gone = 0;

	for (int k = 0; k < WEIR_SERVICES_MAX; k++) {
		bool kept = !ctl->services[k].name[0] || ctl->services[k].flags & WEIR_SVC_ADDED;

		for (unsigned i = 0; i < n; i++)
			kept |= ids[i] == k;
		gone += !kept;
	}
	return gone;
}

/* After the programs: pools, time-outs and what services no longer are there. */
static int settle(struct maps *m, const struct config *c, const __u8 *ids, bool services_only)
{
	struct weir_ctl *ctl = maps_ctl(m);
	int err;

	if (services_only) {
		ctl->services_gone += count_gone(ctl, ids, c->nservices);
		err = pools_services(&m->pools, c);
		if (err)
			return error(err, "entering the translated backends: %s", strerror(-err));
		return drop_services(m, c, ids);
	}
	ctl->services_gone = 0;
	for (int i = 0; i < WEIR_FLOW_STATES; i++)
		ctl->idle_ticks[i] = flows_ticks(c->idle_ns[i]);
	maps_set_latency(ctl, c);
	ctl->sample = c->sample;
	return pools_apply(&m->pools, c, false, keep_words, NULL) ?: drop_services(m, c, ids);
}

static int reload_with(struct dataplane *dp, struct maps *m, const struct config *c,
		       const struct weir_ctl_iface *wanted, bool services_only)
{
	struct weir_ctl *ctl = maps_ctl(m), before = *ctl;
	__u8 ids[WEIR_SERVICES_MAX];
	bool swapped = false;
	__u64 made = 0;
	int err;

	number_services(ctl, c, ids);
	err = check_numbers(c, ids);
	if (!err) {
		put_services(m, c, ids);
		if (!services_only) {
			err = config_path(c, ctl->config, sizeof(ctl->config)) ?:
			      pools_prepare(&m->pools, c, &made, keep_words, NULL);
		}
	}
	if (!err)
		err = swap_programs(m, c, ids, &before, wanted, dp->ctl_id, &swapped);
	if (err && !swapped) {
		undo_swaps(dp, m, &before);
		pools_undo(&m->pools, made);
	}
	if (err)
		return err;
	begin_caches(m, c, ids);
	if (m != &dp->maps) {
		err = exchange_pins();
		if (err)
			return err;
	}
	drop_ifaces(ctl, wanted, dp);
	if (m != &dp->maps) { /* the old ones, now in NEXT_DIR: last, as they tell whose programs to take off */
		attach_remove_orphans(dp->ctl_id);
		remove_pins(NEXT_DIR);
	}
	err = settle(m, c, ids, services_only);
	ctl->generation++;
	mark(m, WEIR_STATE_READY);
	return err;
}

static void loaded_ifaces(const struct weir_ctl *ctl, struct weir_ctl_iface *out)
{
	int n = 0;

	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (ctl->ifaces[i].ifindex && !nic_mtu(ctl->ifaces[i].name, &(__u32){ 0 })) {
			out[n] = ctl->ifaces[i];
			nic_mtu(out[n].name, &out[n].mtu);
			n++;
		}
	}
}

/* generation: that of which c's services were made, 0: c is a whole configuration. */
static int reload(const struct config *c, __u32 generation)
{
	bool services_only = generation != 0;
	struct weir_ctl_iface wanted[WEIR_IFACES_MAX] = {};
	struct dataplane *dp;
	struct maps new;
	int err = may_find_programs() ? dp_open(&dp, DP_WRITE) : not_permitted(-EPERM);

	if (err)
		return err;
	if (dp_ctl(dp)->netns != netns_inode())
		err = error(-EXDEV, "loaded in another network namespace: run this there, with `nsenter --net=`");
	else if (services_only && dp_ctl(dp)->generation != generation)
		err = error(-EAGAIN, "other commands change the services all the time: nothing was changed");
	else if (dp_ctl(dp)->iface_given || services_only)
		loaded_ifaces(dp_ctl(dp), wanted);
	else
		err = find_ifaces(c, &(struct dp_load_opts){}, wanted);
	if (!err)
		err = check_flows(dp_ctl(dp), c);
	if (!err)
		err = clear_next(dp);
	if (err)
		goto out;
	mark(&dp->maps, WEIR_STATE_RELOADING);
	if (same_size(dp_ctl(dp), c)) {
		err = reload_with(dp, &dp->maps, c, wanted, services_only);
	} else {
		err = resize(&dp->maps, &new, c);
		if (!err) {
			err = reload_with(dp, &new, c, wanted, services_only);
			if (!err)
				carry_hits(&dp->maps, &new); /* the reload stands without them */
			maps_close(&new);
		} else {
			remove_pins(NEXT_DIR);
			mark(&dp->maps, WEIR_STATE_READY);
		}
	}
out:
	dp_close(dp);
	return err;
}

int dp_reload(const struct config *c)
{
	return reload(c, 0);
}

int dp_reload_services(const struct config *c, __u32 generation)
{
	return reload(c, generation);
}
