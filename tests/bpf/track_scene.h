/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP connections of clients to the fixture's cache: their segments through weir_rx, the server's through weir_tx,
 * and what was fenced. In a header, as scene.h.
 */
#ifndef WEIR_TEST_TRACK_SCENE_H
#define WEIR_TEST_TRACK_SCENE_H

#include <sys/mman.h>
#include <unistd.h>

#include "hotset.h"
#include "scene.h"
#include "weir/conn.h"

#define CONNS	   256
#define DATA_BYTES 1400 /* in a segment */

static const char track_yaml[] = "interfaces: [{name: eth0}]\n"
				 "cache: {capacity: 1024, memory: 4M, connections: 256}\n"
				 "services:\n"
				 "  - name: test\n"
				 "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
				 "    clients: [10.0.0.0/8, 'fd00::/8']\n";

static struct scene scene;
static volatile struct weir_conn *table;

/* A connection as its client sees it. */
struct conn {
	struct flow flow;
	__u32 seq; /* of the next byte */
	__u32 server;
	bool deaf; /* the server's segments go another way */
	size_t options; /* of TCP */
	const char *ip_options;
	size_t ip_options_len;
	int ip_first; /* type of the first IPv6 extension header */
};

static inline void track_open(unsigned mtu)
{
	rx_fixture_frags = mtu > 1500;
	scene_open(&scene, track_yaml, mtu);
	rx_fixture_frags = false;
	table = mmap(NULL, CONNS * sizeof(*table), PROT_READ, MAP_SHARED,
		     rx_fixture_maps(scene.fx)->fd[MAP_CONNS], 0);
	if (table == MAP_FAILED) {
		printf("Bail out! cannot map conns: %s\n", strerror(errno));
		exit(1);
	}
}

static inline void track_close(void)
{
	munmap((void *)table, CONNS * sizeof(*table));
	scene_close(&scene);
}

/* ---- what was fenced -------------------------------------------------------------------------- */

static inline unsigned long long key_fences(const char *key, size_t len)
{
	return hotset_fence(scene.h, 0, key, len).key;
}

static inline unsigned long long service_fences(void)
{
	return hotset_fence(scene.h, 0, "", 0).svc;
}

static inline unsigned long long track_causes(int cause)
{
	struct maps *m = rx_fixture_maps(scene.fx);
	__u64 per_cpu[maps_ctl(m)->ncpu];
	unsigned long long n = 0;
	__u32 at = cause;

	if (bpf_map_lookup_elem(m->fd[MAP_TRACK], &at, per_cpu))
		return 0;
	for (__u32 i = 0; i < maps_ctl(m)->ncpu; i++)
		n += per_cpu[i];
	return n;
}

static inline unsigned long long all_causes(void)
{
	unsigned long long n = 0;

	for (int i = 0; i < WEIR_TRACK_COUNT; i++)
		n += track_causes(i);
	return n;
}

/* ---- segments --------------------------------------------------------------------------------- */

static inline void build(struct frame *f, const struct conn *c, __u32 seq, __u8 flags, const void *data, size_t len)
{
	struct tcp t = {.seq = seq,
			.ack = flags & TCP_ACK ? c->server : 0,
			.flags = flags,
			.window = 502,
			.options = c->options};

	frame_tcp(f, &c->flow, &t, data, len);
	if (c->ip_options)
		frame_options(f, c->ip_options, c->ip_options_len, c->ip_first);
}

/* A frame through a program, without a look at counters: its verdict. */
static inline int pass(const struct bpf_program *prog, const struct frame *f)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->b, .data_size_in = f->len, .repeat = 1);

	return bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) ? -errno : (int)opts.retval;
}

/* Any segment of the client; its reason. */
static inline int segment(const struct conn *c, __u32 seq, __u8 flags, const void *data, size_t len)
{
	struct outcome o;
	struct frame f;

	build(&f, c, seq, flags, data, len);
	scene_run(&scene, &f, &o);
	CHECK_INT(o.action, XDP_PASS);
	CHECK_MEM(o.b, o.len, f.b, f.len);
	return o.reason;
}

/* The same, fast. */
static inline void segment_pass(const struct conn *c, __u32 seq, __u8 flags, const void *data, size_t len)
{
	struct frame f;

	build(&f, c, seq, flags, data, len);
	CHECK_INT(pass(rx_fixture_prog(scene.fx), &f), XDP_PASS);
}

/* Any segment of the server. */
static inline void server_segment(const struct conn *c, __u32 ack, __u8 flags, size_t len)
{
	static const __u8 zero[64];
	struct flow back = {.src = c->flow.dst,
			    .dst = c->flow.src,
			    .sport = c->flow.dport,
			    .dport = c->flow.sport,
			    .tags = c->flow.tags};
	struct tcp t = {.seq = c->server, .ack = ack, .flags = flags, .window = 502};
	struct frame f;

	frame_tcp(&f, &back, &t, zero, len);
	CHECK_INT(pass(rx_fixture_tx_prog(scene.fx), &f), 0);
}

/* ---- connections ------------------------------------------------------------------------------ */

/* A port that was not used yet. */
static inline struct conn conn_of(struct flow flow)
{
	static __u16 port = 20000;
	struct conn c = {.flow = flow, .seq = 0x12345678, .server = 0x87654321};

	c.flow.sport = port++;
	return c;
}

static inline void shake_hands(struct conn *c)
{
	segment_pass(c, c->seq, TCP_SYN, NULL, 0);
	c->seq++;
	if (!c->deaf)
		server_segment(c, c->seq, TCP_SYN | TCP_ACK, 0);
	c->server++;
	segment_pass(c, c->seq, TCP_ACK, NULL, 0);
}

static inline struct conn conn_open(void)
{
	struct conn c = conn_of(CLIENT4);

	shake_hands(&c);
	return c;
}

/* The next bytes of the stream; the segment's reason. */
static inline int say(struct conn *c, const void *data, size_t len)
{
	__u32 seq = c->seq;

	c->seq += len;
	return segment(c, seq, TCP_ACK | TCP_PSH, data, len);
}

static inline int says(struct conn *c, const char *text)
{
	return say(c, text, strlen(text));
}

/* The server answers what was said. */
static inline void reply(struct conn *c)
{
	if (c->deaf)
		return;
	server_segment(c, c->seq, TCP_ACK | TCP_PSH, 8);
	c->server += 8;
}

static inline void conn_end(struct conn *c)
{
	segment_pass(c, c->seq, TCP_ACK | TCP_FIN, NULL, 0);
	c->seq++;
}

#endif
