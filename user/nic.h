/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a NIC and its driver are like, and which of them a program must not be given to, though they
 * take it.
 */
#ifndef WEIR_NIC_H
#define WEIR_NIC_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

/* An ioctl on a network device. 0 or -errno. */
int nic_ioctl(const char *name, unsigned long request, struct ifreq *ifr);
int nic_mtu(const char *name, __u32 *mtu);
/* The Ethernet address as in weir_config.mac; 0 when there is none. */
__u64 nic_mac(const char *name);
/* What ethtool calls the driver; "" when it has no name. 0 or -errno. */
int nic_driver(const char *name, char *driver, size_t len);

/*
 * The largest MTU whose frames, with two VLAN tags, are sure to fit into one buffer: a page less head
 * room and skb_shared_info. virtio_net takes a program that reads one buffer only up to an MTU of 3,506
 * or 4,064 (its kernel's word), and then drops, without a word, every frame above 3,508 bytes.
 */
#define ONE_BUFFER_MTU 3486

/* Whether a program that says it reads frames of several buffers will be given them. virtio_net before
 * Linux 6.3 takes the program, as any other, and drops the frames. */
bool nic_splits_frames(const char *name);

/* Queue pairs of a virtio NIC. */
struct nic_queues {
	unsigned used; /* by the network stack; what XDP has of its own is not among them */
	unsigned max;
	unsigned cpus; /* possible ones: virtio_net wants a pair for each, for what XDP sends */
};

/* -EOPNOTSUPP: another driver. */
int nic_queues(const char *name, struct nic_queues *q);
/*
 * virtio_net without pairs to spare lets XDP share those of the stack, but looks for pairs of XDP's own
 * when more are used than there are CPUs (virtnet_xdp_get_sq() in Linux 6.1 to 6.18): the first frame
 * that a program sends is the end of the kernel.
 */
bool nic_queues_crash(const struct nic_queues *q);
/* The same of a NIC by name; false for other drivers. */
bool nic_send_crashes(const char *name);

struct nic_traffic {
	__u64 rx_packets, tx_packets, rx_bytes, tx_bytes;
};

/* What went through the interface since it was made, as its driver counts. 0 or -errno. */
int nic_traffic(__u32 ifindex, struct nic_traffic *t);

/*
 * Whether the interface forwards packets of the family (4, 6): the kernel tells programs next hops only then
 * (bpf_fib_lookup()). Also true where it cannot be read.
 */
bool nic_forwards(const char *name, int family);

#endif
