// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "backends.h"

#define BACKLOG 64

/* Those of weir.socket. How many; -errno. */
static int take_systemd(struct agent_listen *l)
{
	int n = sd_listen_fds(true);

	if (n > AGENT_LISTEN_MAX) {
		fail(EXIT_FAILED, "run: systemd gives %d sockets, %d are the most", n, AGENT_LISTEN_MAX);
		return -E2BIG;
	}
	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
			fail(EXIT_FAILED, "run: systemd gives a descriptor, %d, that is no listening stream socket",
			     fd);
			return -EINVAL;
		}
		l->fds[l->n++] = fd;
	}
	snprintf(l->where, sizeof(l->where), "%s", n == 1 ? "a socket of systemd's" : "sockets of systemd's");
	return n;
}

static int bind_to(int fd, const struct config_vip *at)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = at->port, .sin_addr.s_addr = at->addr.w[0] };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = at->port };
	int one = 1;

	memcpy(&v6.sin6_addr, &at->addr, sizeof(v6.sin6_addr));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (at->family == 6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (at->family == 6 ? bind(fd, (void *)&v6, sizeof(v6)) : bind(fd, (void *)&v4, sizeof(v4)))
		return -errno;
	return listen(fd, BACKLOG) ? -errno : 0;
}

static int listen_at(struct agent_listen *l, const struct config_vip *at)
{
	int fd = socket(at->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = fd < 0 ? -errno : bind_to(fd, at);

	snprintf(l->where, sizeof(l->where), "%s", addr_text(&at->addr, at->family, at->port));
	if (fd >= 0)
		l->fds[l->n++] = fd;
	if (err)
		fail(EXIT_FAILED,
		     "run: HTTP cannot be answered at %s: %s (agent.http, or --http ADDRESS:PORT or none)", l->where,
		     strerror(-err));
	return err;
}

int agent_listen(struct agent_listen *l, const struct config_vip *at)
{
	int n;

	memset(l, 0, sizeof(*l));
	n = take_systemd(l);
	if (!n && at->family)
		n = listen_at(l, at);
	if (n < 0)
		agent_listen_end(l);
	return n < 0 ? n : 0;
}

void agent_listen_end(struct agent_listen *l)
{
	while (l->n)
		close(l->fds[--l->n]);
}
