/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fixed sizes that the data plane and the control plane agree on. Changing one changes the ABI:
 * raise WEIR_ABI_VERSION in abi.h with it.
 */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#define WEIR_KEY_MAX		250	/* memcached KEY_MAX_LENGTH, bytes */
#define WEIR_OPAQUE_MAX		32	/* memcached MFLAG_MAX_OPAQUE_LENGTH, with the 'O' */
#define WEIR_DGRAM_MAX		1400	/* memcached UDP_MAX_PAYLOAD_SIZE: frame header and data */
#define WEIR_FRAME_HDR		8	/* memcached's UDP frame header */
#define WEIR_TEXT_MAX		(WEIR_DGRAM_MAX - WEIR_FRAME_HDR)

#define WEIR_SERVICES_MAX	64
#define WEIR_VIPS_MAX		128	/* addresses of all services together */
#define WEIR_VIP_INDEX		1024	/* perfect hash of (address, port), a power of two */
#define WEIR_CLIENTS_MAX	16	/* client networks of a service */
#define WEIR_IFACES_MAX		16
#define WEIR_NAME_MAX		32	/* a service's name, with the NUL */
#define WEIR_ORIGIN_MAX		96	/* "address:port", with the NUL */

/* Steering: see steer.h. */
#define WEIR_POOLS_MAX		64
#define WEIR_POOL_BACKENDS	64	/* in one place of a pool */
#define WEIR_BACKENDS_MAX	(WEIR_POOLS_MAX * WEIR_POOL_BACKENDS)
#define WEIR_POOL_NONE		0xff
#define WEIR_FLOW_STATES	10	/* WEIR_FLOW_*, and 0: free */
#define WEIR_FLOWS_MIN		(1 << 10)
#define WEIR_FLOWS_MAX		(1 << 24)
#define WEIR_RECS_MAX		(1 << 22)	/* flows whose latency is measured */

/* The hot set: see docs/maps.md. */
#define WEIR_BUCKET_WORDS	8	/* one cache line */
#define WEIR_LINE		64	/* slots are runs of whole lines */
#define WEIR_SLAB_LINES		1024	/* a slab's lines: 64 KiB */
#define WEIR_SLOT_HDR		64
#define WEIR_SLOT_LINES_MAX	24	/* header, WEIR_TEXT_MAX and a CAS of 20 digits, in lines */
#define WEIR_SLAB_SIZE		((WEIR_SLAB_LINES + 32) * WEIR_LINE) /* 32 lines no slot begins in */
#define WEIR_SLABS_MAX		(1 << 20)
#define WEIR_ENTRIES_MAX	(1 << 26)
#define WEIR_FENCE_STRIPES	(1 << 18)
#define WEIR_PENDING		(1 << 13)

/* TCP to cached services: see conn.h. */
#define WEIR_CONNS_MIN		(1 << 8)
#define WEIR_CONNS_MAX		(1 << 20)
#define WEIR_CONN_WAYS		4	/* connections in a bucket */
#define WEIR_CONN_LINE		320	/* of a command that is not yet whole, bytes */
#define WEIR_CONN_PEND		16	/* stripes that wait for replies */

/* Sampled misses: see sample.h. */
#define WEIR_SAMPLES		(1 << 12) /* places in a CPU's ring */

#endif
