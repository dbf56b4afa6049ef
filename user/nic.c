// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "nic.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

int nic_ioctl(const char *name, unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	err = ioctl(fd, request, ifr) ? -errno : 0;
	close(fd);
	return err;
}

int nic_mtu(const char *name, __u32 *mtu)
{
	struct ifreq ifr = {};
	int err = nic_ioctl(name, SIOCGIFMTU, &ifr);

	if (!err)
		*mtu = ifr.ifr_mtu;
	return err;
}

__u64 nic_mac(const char *name)
{
	struct ifreq ifr = {};
	__u64 mac = 0;

	if (!nic_ioctl(name, SIOCGIFHWADDR, &ifr) && ifr.ifr_hwaddr.sa_family == ARPHRD_ETHER)
		memcpy(&mac, ifr.ifr_hwaddr.sa_data, 6);
	return mac;
}

int nic_driver(const char *name, char *driver, size_t len)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { .ifr_data = (void *)&info };
	int err = nic_ioctl(name, SIOCETHTOOL, &ifr);

	snprintf(driver, len, "%.*s", (int)sizeof(info.driver), err ? "" : info.driver);
	return err;
}

static bool is_virtio(const char *name)
{
	char driver[64];

	return !nic_driver(name, driver, sizeof(driver)) && !strcmp(driver, "virtio_net");
}

bool nic_splits_frames(const char *name)
{
	int major = 0, minor = 0;
	struct utsname u;

	if (!is_virtio(name))
		return true;
	if (uname(&u) || sscanf(u.release, "%d.%d", &major, &minor) != 2)
		return false;
	return major > 6 || (major == 6 && minor >= 3);
}

static bool runs_xdp(const char *name)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	return !bpf_xdp_query(if_nametoindex(name), 0, &q) && q.drv_prog_id;
}

int nic_queues(const char *name, struct nic_queues *q)
{
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq ifr = { .ifr_data = (void *)&ch };
	int err;

	if (!is_virtio(name))
		return -EOPNOTSUPP;
	err = nic_ioctl(name, SIOCETHTOOL, &ifr);
	if (err)
		return err;
	q->used = ch.combined_count;
	q->max = ch.max_combined;
	q->cpus = libbpf_num_possible_cpus();
	/* Those of XDP's own are counted in, as soon as it has some. (/sys tells them apart, but it may be
	 * another network namespace's.) */
	if (q->used > q->cpus && runs_xdp(name))
		q->used -= q->cpus;
	return 0;
}

bool nic_queues_crash(const struct nic_queues *q)
{
	return q->used > q->cpus && q->used + q->cpus > q->max;
}

bool nic_send_crashes(const char *name)
{
	struct nic_queues q;

	return !nic_queues(name, &q) && nic_queues_crash(&q);
}

/* RTM_GETSTATS: 64 bits, which not each other way has, and nothing else of the link. */
static int converse(int fd, __u32 ifindex, struct rtnl_link_stats64 *stats)
{
	struct {
		struct nlmsghdr n;
		struct if_stats_msg about;
	} ask = {
		.n = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETSTATS, .nlmsg_flags = NLM_F_REQUEST },
		.about = { .ifindex = ifindex, .filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64) },
	};
	union {
		struct nlmsghdr n;
		char bytes[4096];
	} r;
	ssize_t len = send(fd, &ask, sizeof(ask), 0) < 0 ? -1 : recv(fd, &r, sizeof(r), 0);
	struct rtattr *a = (void *)((char *)NLMSG_DATA(&r.n) + NLMSG_ALIGN(sizeof(struct if_stats_msg)));
	int left;

	if (len < 0)
		return -errno;
	if (!NLMSG_OK(&r.n, len))
		return -EPROTO;
	if (r.n.nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(&r.n))->error ?: -EPROTO;
	left = NLMSG_PAYLOAD(&r.n, sizeof(struct if_stats_msg));
	if (!RTA_OK(a, left) || a->rta_type != IFLA_STATS_LINK_64)
		return -EPROTO;
	/* An older kernel's is shorter, a newer one's longer. */
	memset(stats, 0, sizeof(*stats));
	memcpy(stats, RTA_DATA(a), RTA_PAYLOAD(a) < sizeof(*stats) ? RTA_PAYLOAD(a) : sizeof(*stats));
	return 0;
}

int nic_traffic(__u32 ifindex, struct nic_traffic *t)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), err;
	struct rtnl_link_stats64 s;

	if (fd < 0)
		return -errno;
	err = converse(fd, ifindex, &s);
	if (!err)
		*t = (struct nic_traffic){ s.rx_packets, s.tx_packets, s.rx_bytes, s.tx_bytes };
	close(fd);
	return err;
}

bool nic_forwards(const char *name, int family)
{
	char path[96], first = '1';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv%d/conf/%.15s/forwarding", family, name);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (fread(&first, 1, 1, f) != 1)
		first = '1';
	fclose(f);
	return first != '0';
}
