/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps, and the programs' constant configuration. Sizes marked "at load" are set by the control
 * plane. docs/maps.md says the same for people.
 *
 * What only the control plane writes is not BPF_F_RDONLY_PROG: the kernel refuses to map such a map
 * for writing (bpf_map_mmap()), since the verifier may take its contents for constant.
 */
#ifndef WEIR_MAPS_BPF_H
#define WEIR_MAPS_BPF_H

#include "common.bpf.h"
#include "weir/abi.h"
#include "weir/conn.h"
#include "weir/latency.h"
#include "weir/sample.h"
#include "weir/steer.h"

/* Fixed before load: the verifier removes what a configuration does not need. */
const volatile struct weir_config cfg SEC(".rodata") = {};

/* Written by the control plane (mapped), read here: the lease. Never full. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_ctl);
} ctl SEC(".maps");

/* Written by the control plane (mapped), read here. Size at load. Full: the key is refused, and
 * the writer counts it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_bucket);
} hot_index SEC(".maps");

/* As hot_index: the slots that its words point to. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_slab);
} hot_slabs SEC(".maps");

/* Hits by CPU and entry: element cpu * cfg.entries + slot->entry. Written here, each CPU its own
 * part; read, and zeroed for a new key, by the control plane (mapped). Size at load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hot_hits SEC(".maps");

/* Raised here by writes to a key, atomically; read by the control plane (mapped). Never full:
 * keys share stripes, and a foreign write costs a refill. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEIR_FENCE_STRIPES);
	__type(key, __u32);
	__type(value, struct weir_fence);
} hot_fence SEC(".maps");

/* The same for whole services. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEIR_SERVICES_MAX);
	__type(key, __u32);
	__type(value, struct weir_svc_fence);
} svc_fence SEC(".maps");

/* Writes, and reads whose reply is no lookup's, that wait for their reply: element hash % size holds
 * bit 63, the hash's upper bits and a stripe (19 bits). Written by the receive program, cleared by the
 * egress program. Full: the older request is forgotten, and its reply fences the service. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_PENDING);
	__type(key, __u32);
	__type(value, __u64);
} pending SEC(".maps");

/* Connections to cached services: buckets of WEIR_CONN_WAYS. Written here; read by the control plane (mapped). Size
 * at load. Full of connections that are open: a new one is not followed, and its segments fence the service. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_conn);
} conns SEC(".maps");

/* How often connections were lost, or fenced their service, by service and cause. Written here, summed by the control
 * plane. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_SERVICES_MAX * WEIR_TRACK_MAX);
	__type(key, __u32);
	__type(value, __u64);
} track SEC(".maps");

/* Sampled misses, a ring for each CPU. Written here; read by the agent (mapped). Size at load. Full: the oldest are
 * overwritten. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_sample);
} samples SEC(".maps");

/* Packets and bytes by service and reason. Written here, summed by the control plane. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, (WEIR_SERVICES_MAX + 1) * WEIR_REASON_MAX);
	__type(key, __u32);
	__type(value, struct weir_count);
} stats SEC(".maps");

/* ---- latency ---- */

/* By service and path. Written here, summed by the control plane. One element where latencies are not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_histogram);
} latency SEC(".maps");

/* By backend. Written here, atomically; read by the control plane (mapped). (Per CPU it would take 14 MB of each;
 * a flow gives a sample now and then, so CPUs do not meet in it.) One element where no service has a pool. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_histogram);
} backend_latency SEC(".maps");

/* Written here; read by the control plane (mapped). Size at load. Full, or two flows of one element: the later one
 * is not measured. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_flow_rec);
} flow_recs SEC(".maps");

/* ---- steering ---- */

/* Written by the control plane (mapped); programs count `active` in it, atomically. Never full. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEIR_POOLS_MAX);
	__type(key, __u32);
	__type(value, struct weir_pool);
} pools SEC(".maps");

/* Written by the control plane (mapped), read here. Never full. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEIR_BACKENDS_MAX);
	__type(key, __u32);
	__type(value, struct weir_backend);
} backends SEC(".maps");

/* As backends: consistent hashing for each pool. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEIR_POOLS_MAX);
	__type(key, __u32);
	__type(value, struct weir_maglev);
} maglev SEC(".maps");

/* Written here and by the sweeper (mapped), by compare-and-exchange. Size at load. Full: a flow that is over,
 * half-open for a while, or of UDP and idle for longest gives way, and is settled; an open TCP connection does
 * not: a new one then goes where it can be found without a place. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_flow_bucket);
} flows SEC(".maps");

/* Where later fragments go: element hash % size. Full: the older packet's rest is dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_FRAGS);
	__type(key, __u32);
	__type(value, __u64);
} frags SEC(".maps");

/* Next hops, and what was sent, by backend. Written here, each CPU its own; summed by the control plane. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_BACKENDS_MAX);
	__type(key, __u32);
	__type(value, struct weir_hop);
} hops SEC(".maps");

/* Written by the control plane, read here for what comes back from backends. Full: refused there. (A
 * kernel hash map: it is small, and only replies of translated services and foreign packets pay for it.) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * WEIR_BACKENDS_MAX);
	__type(key, struct weir_nat_key);
	__type(value, struct weir_nat_back);
} nat_back SEC(".maps");

#endif
