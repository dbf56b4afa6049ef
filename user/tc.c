// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A dump of tc filters over rtnetlink(7). */
#include "tc.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads one datagram of the dump: 1 there is a filter, 0 the end without one, -1 go on, -2 failed. */
static int read_part(int fd)
{
	char buf[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *n = (struct nlmsghdr *)buf;
	ssize_t got = recv(fd, buf, sizeof(buf), 0);
	unsigned len = got;

	if (got < 0)
		return -2;
	for (; NLMSG_OK(n, len); n = NLMSG_NEXT(n, len)) {
		if (n->nlmsg_type == RTM_NEWTFILTER)
			return 1;
		if (n->nlmsg_type == NLMSG_DONE)
			return 0;
		if (n->nlmsg_type == NLMSG_ERROR)
			return -2;
	}
	return -1;
}

static bool no_filters(int fd, int ifindex, __u32 parent)
{
	struct {
		struct nlmsghdr n;
		struct tcmsg t;
	} ask = {
		.n = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETTFILTER, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.t = { .tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = parent },
	};
	int part = -1;

	if (send(fd, &ask, sizeof(ask), 0) != sizeof(ask))
		return false;
	while (part == -1)
		part = read_part(fd);
	return part == 0;
}

bool tc_clsact_empty(int ifindex)
{
	static const __u32 parents[] = { TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
					 TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) };
	bool empty = true;

	for (int i = 0; i < 2 && empty; i++) {
		/* A socket each: the rest of a dump that was left early must not be read as the next. */
		int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

		empty = fd >= 0 && no_filters(fd, ifindex, parents[i]);
		if (fd >= 0)
			close(fd);
	}
	return empty;
}
