/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Probes: a TCP SYN to a service's address that goes to one backend the way clients' packets do, by the tunnel
 * or in a frame to its MAC address, inside an sd-event loop. A backend that cannot take such packets, does not
 * have the address or does not listen there does not answer as one that can.
 */
#ifndef WEIR_PROBE_H
#define WEIR_PROBE_H

#include <systemd/sd-event.h>

#include "probe_packet.h"

struct probes; /* all probes of one loop */
struct probe;  /* one of them */

/* Once per probe that was not stopped. why: NULL when a SYN-ACK came, after this time. */
typedef void (*probe_done_fn)(const char *why, __u64 latency_ns, void *arg);

/* Raw sockets: -EPERM without CAP_NET_RAW. */
int probes_new(struct probes **out, sd_event *event);
void probes_free(struct probes *p); /* no probe is under way any more */
/* Whose addresses probes are not sent from: backends have them as well. */
void probes_avoid(struct probes *p, const struct config *c);

/*
 * No time limit: stop it. 0 or -errno; then done is not called. -EADDRNOTAVAIL: this host has no address of the
 * VIP's family to ask from, which was said; the backend cannot be asked in this way.
 */
int probe_start(struct probes *p, const struct probe_ask *ask, probe_done_fn done, void *arg,
		struct probe **out);
/* What it means that nothing has come so far; valid until the next call. */
const char *probe_silence(const struct probe *k);
/* Also frees one that is done; before it returns from done at the earliest. Resets what it opened. */
void probe_stop(struct probe *k);

#endif
