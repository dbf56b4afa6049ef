// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is sent goes by raw sockets, whose headers are ours; what answers is taken from packet sockets, since
 * the host's own stack knows nothing of these connections, and drops packets from an address that is its own.
 * Where that does not drop the SYN-ACK, it resets the connection before we do.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "neighbour.h"
#include "out.h"
#include "route.h"

#define AT_ONCE       64    /* packets that are looked at before others have their turn */
#define RETRY_US      20000 /* of a neighbour that is being resolved */
#define RESOLVER_PORT 9     /* discard */

struct ear {
	struct probes *all;
	int family, fd;
	sd_event_source *io;
};

struct probe {
	struct probes *all;
	struct probe_ask ask;
	struct probe_packet packet; /* the SYN */
	struct neighbour neighbour; /* of L2 */
	bool sent, refused;
	__u64 sent_ns;
	sd_event_source *retry;
	probe_done_fn done;
	void *arg;
};

struct probes {
	sd_event *event;
	int out4, out6, frames;
	struct ear ears[2];
	struct weir_addr avoid[2][WEIR_VIPS_MAX]; /* IPv4, IPv6 */
	unsigned navoid[2];
	bool said[2];
	struct probe *by_port[PROBE_PORTS];
};

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* "192.0.2.1:80", "[2001:db8::1]:80" */
static const char *vip_text(const struct config_vip *vip)
{
	static char text[INET6_ADDRSTRLEN + 10];
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(vip->family == 4 ? AF_INET : AF_INET6, &vip->addr, ip, sizeof(ip));
	snprintf(text, sizeof(text), vip->family == 4 ? "%s:%u" : "[%s]:%u", ip, ntohs(vip->port));
	return text;
}

static const char *through(const struct probe *k)
{
	return k->ask.via == WEIR_VIA_TUNNEL ? "the tunnel" : "l2";
}

/* ---- sending ---------------------------------------------------------------------------------- */

static int send_to(int fd, const __u8 *packet, size_t len, const void *to, socklen_t to_len)
{
	return sendto(fd, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL, to, to_len) < 0 ? -errno : 0;
}

static socklen_t put_address(struct sockaddr_storage *ss, const struct weir_addr *a, int family, __be16 port)
{
	struct sockaddr_in6 *v6 = (void *)ss;
	struct sockaddr_in *v4 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (family == 4) {
		*v4 = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = a->w[0]};
		return sizeof(*v4);
	}
	*v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
	memcpy(&v6->sin6_addr, a, sizeof(*a));
	return sizeof(*v6);
}

static int send_frame(struct probe *k, const __u8 *packet, size_t len)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(k->ask.vip.family == 4 ? ETH_P_IP : ETH_P_IPV6),
		.sll_ifindex = k->neighbour.ifindex,
		.sll_halen = sizeof(k->neighbour.mac),
	};

	memcpy(to.sll_addr, k->neighbour.mac, sizeof(k->neighbour.mac));
	return send_to(k->all->frames, packet, len, &to, sizeof(to));
}

static int send_packet(struct probe *k, const struct probe_packet *p)
{
	__u8 packet[PROBE_PACKET_MAX];
	size_t len = probe_packet(&k->ask, p, packet);
	struct sockaddr_storage to;

	if (k->ask.via == WEIR_VIA_L2)
		return send_frame(k, packet, len);
	return send_to(k->ask.family == 4 ? k->all->out4 : k->all->out6, packet, len, &to,
		       put_address(&to, &k->ask.backend, k->ask.family, 0));
}

/* An empty datagram: the kernel finds the neighbour to send it to. */
static void have_resolved(const struct probe *k)
{
	int fd = socket(k->ask.family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage to;
	socklen_t len = put_address(&to, &k->ask.backend, k->ask.family, htons(RESOLVER_PORT));

	if (fd < 0)
		return;
	send_to(fd, (const __u8 *)"", 0, &to, len);
	close(fd);
}

static int send_syn(struct probe *k)
{
	int err =
		k->ask.via == WEIR_VIA_L2 ? neighbour_find(&k->ask.backend, k->ask.family, &k->neighbour) : 0;

	k->sent_ns = now_ns();
	if (!err)
		err = send_packet(k, &k->packet);
	k->sent = !err;
	return err;
}

static void finish(struct probe *k, const char *why, __u64 latency_ns)
{
	if (k->retry)
		sd_event_source_set_enabled(k->retry, SD_EVENT_OFF);
	k->done(why, latency_ns, k->arg);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *arg)
{
	struct probe *k = arg;
	int err = send_syn(k);
	char why[80];

	if (err == -EAGAIN) {
		sd_event_source_set_time_relative(s, RETRY_US);
		sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	} else if (err) {
		snprintf(why, sizeof(why), "probe: %s", strerror(-err));
		finish(k, why, 0);
	}
	return 0;
}

/* ---- from where ------------------------------------------------------------------------------- */

static bool is_avoided(const struct probes *p, const struct weir_addr *a, int family)
{
	int at = family == 6;

	for (unsigned i = 0; i < p->navoid[at]; i++) {
		if (!memcmp(&p->avoid[at][i], a, sizeof(*a)))
			return true;
	}
	return false;
}

/* What an interface has, where other hosts can answer it. */
static bool usable(const struct ifaddrs *i, int family, struct weir_addr *a)
{
	const struct sockaddr_in6 *v6 = (void *)i->ifa_addr;
	const struct sockaddr_in *v4 = (void *)i->ifa_addr;

	memset(a, 0, sizeof(*a));
	if (!v4 || v4->sin_family != (family == 4 ? AF_INET : AF_INET6) || !(i->ifa_flags & IFF_UP))
		return false;
	if (family == 4)
		memcpy(a, &v4->sin_addr, 4);
	else
		memcpy(a, &v6->sin6_addr, 16);
	return !config_not_host(a, family) && (family == 4 || !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr));
}

/* Another address of the host: of the interface that has `beside`, or else of any. */
static bool other_address(const struct probes *p, const struct weir_addr *beside, int beside_family,
			  int family, struct weir_addr *from)
{
	struct ifaddrs *all = NULL;
	const char *dev = "";
	struct weir_addr a;
	bool found = false, best = false;

	if (getifaddrs(&all))
		return false;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (usable(i, beside_family, &a) && !memcmp(&a, beside, sizeof(a)))
			dev = i->ifa_name;
	}
	for (struct ifaddrs *i = all; i && !best; i = i->ifa_next) {
		if (!usable(i, family, &a) || is_avoided(p, &a, family) ||
		    (found && strcmp(i->ifa_name, dev)))
			continue;
		*from = a;
		found = true;
		best = !strcmp(i->ifa_name, dev);
	}
	freeifaddrs(all);
	return found;
}

/* The backend answers it directly, so this host must be the only one that has it. */
static int find_from(struct probe *k)
{
	struct probes *p = k->all;
	int family = k->ask.vip.family, err;
	struct weir_addr near;

	err = route_source(&k->ask.backend, k->ask.family, &near);
	if (err)
		return err;
	if (!memcmp(&k->ask.source, &(struct weir_addr){}, sizeof(near)))
		k->ask.source = near;
	k->packet.from = near;
	if (k->ask.family == family && !is_avoided(p, &near, family))
		return 0;
	if (other_address(p, &near, k->ask.family, family, &k->packet.from))
		return 0;
	if (!p->said[family == 6])
		say(LOG_WARNING,
		    "this host has no IPv%d address of its own to ask %s from through backends' delivery: "
		    "they are not asked there",
		    family, vip_text(&k->ask.vip));
	p->said[family == 6] = true;
	return -EADDRNOTAVAIL;
}

void probes_avoid(struct probes *p, const struct config *c)
{
	memset(p->navoid, 0, sizeof(p->navoid));
	memset(p->said, 0, sizeof(p->said));
	for (unsigned i = 0; i < c->nservices; i++) {
		for (unsigned v = 0; v < c->services[i].nvips; v++) {
			int at = c->services[i].vips[v].family == 6;

			if (p->navoid[at] < WEIR_VIPS_MAX)
				p->avoid[at][p->navoid[at]++] = c->services[i].vips[v].addr;
		}
	}
}

/* ---- hearing ---------------------------------------------------------------------------------- */

static struct probe *asked_by(const struct probes *p, const struct probe_answer *a)
{
	struct probe *k = p->by_port[a->port - PROBE_PORT_MIN];

	if (!k || !k->sent || a->ack != k->packet.seq + 1 || a->from.family != k->ask.vip.family ||
	    a->from.port != k->ask.vip.port)
		return NULL;
	if (memcmp(&a->from.addr, &k->ask.vip.addr, sizeof(a->to)) ||
	    memcmp(&a->to, &k->packet.from, sizeof(a->to)))
		return NULL;
	return k;
}

static void take_answer(struct probe *k, const struct probe_answer *a)
{
	char why[120];

	if (a->flags & PROBE_SYN) {
		finish(k, NULL, now_ns() - k->sent_ns);
		return;
	}
	k->refused = true;
	snprintf(why, sizeof(why), "connection refused through %s by %s", through(k), vip_text(&k->ask.vip));
	finish(k, why, 0);
}

static int on_packet(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct ear *e = arg;

	for (int i = 0; i < AT_ONCE; i++) {
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		struct probe_answer a;
		struct probe *k;
		__u8 head[128];
		ssize_t n = recvfrom(fd, head, sizeof(head), MSG_DONTWAIT, (void *)&from, &from_len);

		if (n < 0)
			break;
		if (from.sll_pkttype != PACKET_HOST || !probe_parse(head, n, e->family, &a))
			continue;
		k = asked_by(e->all, &a);
		if (k)
			take_answer(k, &a);
	}
	return 0;
}

/* The filter is there before the first packet is. */
static int open_ear(struct probes *p, struct ear *e, int family)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(family == 4 ? ETH_P_IP : ETH_P_IPV6)};
	struct sock_fprog filter = probe_filter(family);

	e->all = p;
	e->family = family;
	e->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->fd < 0 || setsockopt(e->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ||
	    bind(e->fd, (void *)&at, sizeof(at)))
		return -errno;
	return sd_event_add_io(p->event, &e->io, e->fd, EPOLLIN, on_packet, e);
}

/* ---- life ------------------------------------------------------------------------------------- */

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void probes_free(struct probes *p)
{
	if (!p)
		return;
	for (int i = 0; i < 2; i++) {
		sd_event_source_disable_unref(p->ears[i].io);
		close_fd(p->ears[i].fd);
	}
	close_fd(p->out4);
	close_fd(p->out6);
	close_fd(p->frames);
	sd_event_unref(p->event);
	free(p);
}

static int open_sockets(struct probes *p)
{
	int one = 1;

	p->out4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	p->frames = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p->out4 < 0 || p->frames < 0 || setsockopt(p->out4, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one)))
		return -errno;
	p->out6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (p->out6 < 0 && errno != EAFNOSUPPORT)
		return -errno;
	if (p->out6 >= 0 && setsockopt(p->out6, IPPROTO_IPV6, IPV6_HDRINCL, &one, sizeof(one)))
		return -errno;
	return open_ear(p, &p->ears[0], 4) ?: open_ear(p, &p->ears[1], 6);
}

int probes_new(struct probes **out, sd_event *event)
{
	struct probes *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->event = sd_event_ref(event);
	p->out4 = p->out6 = p->frames = p->ears[0].fd = p->ears[1].fd = -1;
	err = open_sockets(p);
	if (err < 0) {
		probes_free(p);
		return err;
	}
	*out = p;
	return 0;
}

/* ---- one probe -------------------------------------------------------------------------------- */

/* A port that no other probe has, and a sequence number that nobody guesses. */
static int take_port(struct probe *k)
{
	__u32 random[2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	k->packet.seq = random[0];
	for (__u32 i = 0; i < PROBE_PORTS; i++) {
		__u32 at = (random[1] + i) % PROBE_PORTS;

		if (k->all->by_port[at])
			continue;
		k->all->by_port[at] = k;
		k->packet.port = PROBE_PORT_MIN + at;
		return 0;
	}
	return -EADDRINUSE;
}

/* Its answer would keep half a connection open at the backend. */
static void reset(struct probe *k)
{
	struct probe_packet p = k->packet;

	p.seq++;
	p.flags = PROBE_RST;
	send_packet(k, &p);
}

void probe_stop(struct probe *k)
{
	if (!k)
		return;
	if (k->sent && !k->refused)
		reset(k);
	if (k->packet.port)
		k->all->by_port[k->packet.port - PROBE_PORT_MIN] = NULL;
	sd_event_source_disable_unref(k->retry);
	free(k);
}

static int start(struct probe *k)
{
	int err = find_from(k) ?: take_port(k);

	if (err)
		return err;
	err = send_syn(k);
	if (err != -EAGAIN || k->ask.via != WEIR_VIA_L2)
		return err;
	have_resolved(k);
	err = sd_event_add_time_relative(k->all->event, &k->retry, CLOCK_MONOTONIC, RETRY_US, 1000, on_retry,
					 k);
	return err < 0 ? err : 0;
}

int probe_start(struct probes *p, const struct probe_ask *ask, probe_done_fn done, void *arg,
		struct probe **out)
{
	struct probe *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	*k = (struct probe){.all = p, .ask = *ask, .packet.flags = PROBE_SYN, .done = done, .arg = arg};
	err = start(k);
	if (err)
		probe_stop(k);
	else
		*out = k;
	return err;
}

const char *probe_silence(const struct probe *k)
{
	static char text[120];
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(k->ask.family == 4 ? AF_INET : AF_INET6, &k->ask.backend, ip, sizeof(ip));
	if (k->sent)
		snprintf(text, sizeof(text), "no answer through %s from %s", through(k),
			 vip_text(&k->ask.vip));
	else
		snprintf(text, sizeof(text), "no answer through l2: nobody has %s", ip);
	return text;
}
