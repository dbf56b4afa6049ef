/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packets of probes: as they leave, wrapped as the data plane wraps clients' packets, and what answers. */
#ifndef WEIR_PROBE_PACKET_H
#define WEIR_PROBE_PACKET_H

#include <linux/filter.h>

#include "config.h"

/* Source ports: above those that Linux gives out by itself. */
#define PROBE_PORT_MIN 61000
#define PROBE_PORTS    (65536 - PROBE_PORT_MIN)

#define PROBE_SYN 0x02
#define PROBE_RST 0x04
#define PROBE_ACK 0x10

struct probe_ask {
	struct config_vip vip;
	__u8 via;    /* WEIR_VIA_TUNNEL or _L2 */
	__u8 family; /* of the two below */
	struct weir_addr backend;
	struct weir_addr source; /* the tunnel's near end */
};

/* A packet from `from`, of the VIP's family, and a port; family: that of the packet's own header. */
struct probe_packet {
	struct weir_addr from;
	__u16 port;
	__u32 seq;
	__u8 flags;
};
#define PROBE_PACKET_MAX 100
size_t probe_packet(const struct probe_ask *ask, const struct probe_packet *p, __u8 *to);

/* Of what a socket for one family hears: the first packets of answers to our ports. */
struct sock_fprog probe_filter(int family);

struct probe_answer {
	struct config_vip from; /* port included */
	struct weir_addr to;
	__u16 port;
	__u32 ack;
	__u8 flags;
};
/* A packet that begins with its IP header; false: it is cut, or none that passes the filter. */
bool probe_parse(const __u8 *d, size_t len, int family, struct probe_answer *a);

#endif
