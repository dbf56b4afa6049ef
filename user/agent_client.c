// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "agent_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "out.h"

#define WAIT_S    2
#define REPLY_MAX (1 << 22)

/* ---- where it is ------------------------------------------------------------------------------ */

static void no_fault(const struct config_fault *fault, void *arg)
{
}

void agent_where(const struct weir_ctl *ctl, struct config_vip *at)
{
	char path[sizeof(ctl->config) + 1] = "";
	struct config *c = NULL;

	memcpy(path, ctl->config, sizeof(ctl->config));
	if (!config_load_each(&c, path, no_fault, NULL))
		*at = c->http;
	else
		parse_http("127.0.0.1:9844", at); /* the default */
	config_free(c);
}

static const char *where(const struct config_vip *at)
{
	static char text[64];
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(at->family == 6 ? AF_INET6 : AF_INET, &at->addr, addr, sizeof(addr));
	snprintf(text, sizeof(text), at->family == 6 ? "[%s]:%u" : "%s:%u", addr, ntohs(at->port));
	return text;
}

/* ---- one exchange ----------------------------------------------------------------------------- */

static int connect_to(const struct config_vip *at)
{
	struct sockaddr_in v4 = {
		.sin_family = AF_INET, .sin_port = at->port, .sin_addr.s_addr = at->addr.w[0]};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = at->port};
	struct timeval wait = {.tv_sec = WAIT_S};
	bool six = at->family == 6;
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(&v6.sin6_addr, &at->addr, sizeof(v6.sin6_addr));
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (!connect(fd, six ? (void *)&v6 : (void *)&v4, six ? sizeof(v6) : sizeof(v4)))
		return fd;
	close(fd);
	return -errno;
}

/* All that comes until the other side closes, terminated; NULL: nothing, or too much. */
static char *read_all(int fd)
{
	char *text = NULL;
	size_t len = 0;

	for (;;) {
		char *more = len < REPLY_MAX ? realloc(text, len + 4097) : NULL;
		ssize_t n;

		if (!more)
			break;
		text = more;
		n = recv(fd, text + len, 4096, 0);
		if (n < 0)
			break;
		len += n;
		text[len] = 0;
		if (!n)
			return text;
	}
	free(text);
	return NULL;
}

static char *exchange(const struct config_vip *at, const char *path)
{
	int fd = connect_to(at), n;
	char *ask, *text = NULL;

	if (fd < 0)
		return NULL;
	n = asprintf(&ask, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, where(at));
	if (n >= 0 && send(fd, ask, n, MSG_NOSIGNAL) == n)
		text = read_all(fd);
	if (n >= 0)
		free(ask);
	close(fd);
	return text;
}

json_t *agent_get(const struct config_vip *at, const char *path, char *why, size_t len)
{
	char *text = at->family ? exchange(at, path) : NULL, *body;
	json_t *doc = NULL;
	int status = 0;

	if (!at->family) {
		snprintf(why, len, "it answers no HTTP");
		return NULL;
	}
	body = text ? strstr(text, "\r\n\r\n") : NULL;
	if (body && sscanf(text, "HTTP/%*d.%*d %d", &status) == 1)
		doc = json_loads(body + 4, 0, NULL);
	if (!text)
		snprintf(why, len, "nobody answers at %s", where(at));
	else if (!doc)
		snprintf(why, len, "what answers at %s is no agent", where(at));
	if (doc && status != 200) {
		const char *error = json_string_value(json_object_get(doc, "error"));

		snprintf(why, len, "the agent at %s says: %.200s", where(at), error ? error : "nothing");
		json_decref(doc);
		doc = NULL;
	}
	free(text);
	return doc;
}

void agent_quote(char *to, const char *text, size_t len)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	for (size_t i = 0; i < len; i++) {
		if (strchr(plain, text[i]) && text[i])
			*to++ = text[i];
		else
			to += sprintf(to, "%%%02X", (unsigned char)text[i]);
	}
	*to = 0;
}
