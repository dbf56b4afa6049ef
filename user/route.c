/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANY_PORT 9 /* discard: nothing is sent */

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t put(union address *a, const struct weir_addr *from, int family)
{
	memset(a, 0, sizeof(*a));
	if (family == 4) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons(ANY_PORT);
		memcpy(&a->in.sin_addr, from, sizeof(a->in.sin_addr));
		return sizeof(a->in);
	}
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_port = htons(ANY_PORT);
	memcpy(&a->in6.sin6_addr, from, sizeof(a->in6.sin6_addr));
	return sizeof(a->in6);
}

/* A connected UDP socket has been routed, and so has an address, without a packet. */
int route_source(const struct weir_addr *to, int family, struct weir_addr *source)
{
	int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	union address a;
	socklen_t len = put(&a, to, family);

	if (fd < 0)
		return -errno;
	if (connect(fd, &a.sa, len) || getsockname(fd, &a.sa, &len))
		err = -errno;
	close(fd);
	if (err)
		return err;
	memset(source, 0, sizeof(*source));
	if (family == 4)
		memcpy(source, &a.in.sin_addr, sizeof(a.in.sin_addr));
	else
		memcpy(source, &a.in6.sin6_addr, sizeof(a.in6.sin6_addr));
	return 0;
}
