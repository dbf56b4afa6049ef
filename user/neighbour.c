// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Two questions over rtnetlink(7): the route, and who is at its end. */
#include "neighbour.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define USABLE (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

struct ask {
	struct nlmsghdr n;
	union {
		struct rtmsg route;
		struct ndmsg neighbour;
	};
	struct rtattr attr; /* the address; the last, as the length counts */
	struct weir_addr addr;
};
_Static_assert(sizeof(struct rtmsg) == sizeof(struct ndmsg), "both headers have room");

union reply {
	struct nlmsghdr n;
	char bytes[4096];
};

/* The attributes by type, those of the kernel's that are below `max`. */
static void sort(const struct nlmsghdr *n, struct rtattr **by, int max)
{
	struct rtattr *a = (void *)((char *)NLMSG_DATA(n) + NLMSG_ALIGN(sizeof(struct rtmsg)));
	int len = NLMSG_PAYLOAD(n, sizeof(struct rtmsg));

	memset(by, 0, max * sizeof(*by));
	for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		if (a->rta_type < max)
			by[a->rta_type] = a;
	}
}

static int put_family(int family)
{
	return family == 4 ? AF_INET : AF_INET6;
}

static void put_addr(struct ask *q, int type, const struct weir_addr *addr, int family)
{
	int len = family == 4 ? 4 : 16;

	q->attr.rta_type = type;
	q->attr.rta_len = RTA_LENGTH(len);
	memcpy(&q->addr, addr, len);
	q->n.nlmsg_len = sizeof(*q) - sizeof(q->addr) + len;
	q->n.nlmsg_flags = NLM_F_REQUEST;
}

static int converse(int fd, const struct ask *q, int want, union reply *r)
{
	ssize_t n;

	if (send(fd, q, q->n.nlmsg_len, 0) != q->n.nlmsg_len)
		return -errno;
	n = recv(fd, r, sizeof(*r), 0);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(&r->n, n))
		return -EPROTO;
	if (r->n.nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(&r->n))->error ?: -EPROTO;
	return r->n.nlmsg_type == want ? 0 : -EPROTO;
}

/* The interface, and the next hop: a gateway's address, which may be of the other family, or `to` itself. */
static int find_route(int fd, const struct weir_addr *to, int family, __u32 *ifindex, struct weir_addr *hop,
		      int *hop_family)
{
	struct ask q = {.n.nlmsg_type = RTM_GETROUTE,
			.route = {.rtm_family = put_family(family), .rtm_dst_len = family == 4 ? 32 : 128}};
	struct rtattr *by[RTA_MAX + 1], *gateway;
	union reply r;
	int err;

	put_addr(&q, RTA_DST, to, family);
	err = converse(fd, &q, RTM_NEWROUTE, &r);
	if (err)
		return err;
	sort(&r.n, by, RTA_MAX + 1);
	if (!by[RTA_OIF])
		return -ENETUNREACH;
	memcpy(ifindex, RTA_DATA(by[RTA_OIF]), sizeof(*ifindex));
	*hop = *to;
	*hop_family = family;
	gateway = by[RTA_GATEWAY];
	if (gateway && RTA_PAYLOAD(gateway) <= sizeof(*hop)) {
		memcpy(hop, RTA_DATA(gateway), RTA_PAYLOAD(gateway));
	} else if (by[RTA_VIA] && RTA_PAYLOAD(by[RTA_VIA]) == 2 + sizeof(*hop)) {
		*hop_family = 6;
		memcpy(hop, (char *)RTA_DATA(by[RTA_VIA]) + 2, sizeof(*hop));
	}
	return 0;
}

static int find_mac(int fd, __u32 ifindex, const struct weir_addr *hop, int family, __u8 *mac)
{
	struct ask q = {.n.nlmsg_type = RTM_GETNEIGH,
			.neighbour = {.ndm_family = put_family(family), .ndm_ifindex = ifindex}};
	struct rtattr *by[NDA_MAX + 1];
	union reply r;
	int err;

	put_addr(&q, NDA_DST, hop, family);
	err = converse(fd, &q, RTM_NEWNEIGH, &r);
	if (err)
		return err == -ENOENT ? -EAGAIN : err;
	sort(&r.n, by, NDA_MAX + 1);
	if (!(((struct ndmsg *)NLMSG_DATA(&r.n))->ndm_state & USABLE) || !by[NDA_LLADDR] ||
	    RTA_PAYLOAD(by[NDA_LLADDR]) != 6)
		return -EAGAIN;
	memcpy(mac, RTA_DATA(by[NDA_LLADDR]), 6);
	return 0;
}

int neighbour_find(const struct weir_addr *to, int family, struct neighbour *n)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), hop_family, err;
	struct weir_addr hop;

	if (fd < 0)
		return -errno;
	memset(n, 0, sizeof(*n));
	err = find_route(fd, to, family, &n->ifindex, &hop, &hop_family);
	if (!err)
		err = find_mac(fd, n->ifindex, &hop, hop_family, n->mac);
	close(fd);
	return err;
}
