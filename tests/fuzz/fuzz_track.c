/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any bytes are the stream of a TCP connection to a cache, in any segments: the receive program, compiled for the
 * host, follows it as it promises.
 *
 * - Each segment leaves as it came, with one reason.
 * - It makes no difference how a stream is cut into segments: the same fences are raised, and its end is the same.
 *   (Unless a line is longer than is kept, or a segment has more commands than are read.)
 * - Segments out of order, sent again, forged, of two connections to one bucket, and the server's: what stands in the
 *   table stays sound. Each segment with data of a connection that is lost fences the service.
 *
 * An input's first byte says which of the two last it is, and its second how the stream is cut.
 */
#include "../bpf/packet.c"

#include <stdio.h>

/* The program under test. Its names are its own. */
#include "../../bpf/weir_rx.bpf.c"

#include "hotset.h"
#include "kernel.h"
#include "maps.h"

#define BUCKETS	 2
#define CONNS	 (BUCKETS * WEIR_CONN_WAYS)
#define LOG_MAX	 4096
#define DATA_MAX_SEGMENT 1400

static struct weir_ctl the_ctl;
static struct weir_bucket the_index[64];
static struct weir_slab the_slabs[1] __attribute__((aligned(64)));
static struct weir_fence the_fences[WEIR_FENCE_STRIPES];
static struct weir_svc_fence the_svc_fences[WEIR_SERVICES_MAX];
static __u64 the_pending[WEIR_PENDING];
static struct weir_count the_stats[(WEIR_SERVICES_MAX + 1) * WEIR_REASON_MAX];
static struct weir_conn the_conns[CONNS];
static __u64 the_track[WEIR_SERVICES_MAX * WEIR_TRACK_MAX];
static struct weir_work the_work;

/* The stripes that were looked at. */
static __u32 seen_stripes[LOG_MAX];
static int nseen;
static int counted; /* how often something was, in `stats` */

/* ---- the kernel's part ------------------------------------------------------------------------ */

static const struct fake_map *fake_maps(int *n)
{
	static const struct fake_map all[] = {
		{&ctl, &the_ctl, sizeof(the_ctl), 1},
		MAP(hot_index, the_index),
		MAP(hot_slabs, the_slabs),
		MAP(hot_fence, the_fences),
		MAP(svc_fence, the_svc_fences),
		MAP(pending, the_pending),
		MAP(stats, the_stats),
		MAP(conns, the_conns),
		MAP(track, the_track),
		{&work, &the_work, sizeof(the_work), 1},
	};

	*n = sizeof(all) / sizeof(*all);
	return all;
}

static void *fake_lookup(void *map, const void *key, void *value)
{
	if (map == &hot_fence && value) {
		require(nseen < LOG_MAX);
		seen_stripes[nseen++] = *(const __u32 *)key;
	}
	counted += map == &stats;
	return value;
}

static long fake_fib(__u32 from, struct bpf_fib_lookup *f)
{
	return BPF_FIB_LKUP_RET_NOT_FWDED;
}

/* ---- set up ----------------------------------------------------------------------------------- */

static const char config_text[] = "interfaces: [{name: eth0}]\n"
				  "cache: {capacity: 64, memory: 64K}\n"
				  "latency: {flows: 0}\n"
				  "services: [{name: a, vips: ['10.0.0.1:11211'], clients: [10.0.0.0/8], ttl: 1m}]\n";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct maps maps = {.at[MAP_CTL] = &the_ctl};
	struct weir_config config;
	__u8 ids[WEIR_SERVICES_MAX] = {0};
	struct config *c;

	room_make();
	the_ctl.lease_deadline_ns = WEIR_NEVER;
	the_ctl.hash_seed = 0x1234567;
	the_ctl.flow_seed = 0x7654321;
	the_ctl.index_buckets = 64;
	the_ctl.slabs = the_ctl.entries = the_ctl.ncpu = 1;
	the_ctl.flow_buckets = 1;
	the_ctl.conn_buckets = BUCKETS;
	snprintf(the_ctl.services[0].name, WEIR_NAME_MAX, "a");
	require(!config_parse(&c, "fuzz.yaml", config_text, sizeof(config_text) - 1, stderr));
	require(!maps_config(&config, c, ids, &maps, 1500));
	config_free(c);
	fake_rodata(&config);
	return 0;
}

/* As it was: of the fences only those that were looked at can have changed. */
static void begin(void)
{
	while (nseen)
		the_fences[seen_stripes[--nseen]] = (struct weir_fence){0};
	memset(the_svc_fences, 0, sizeof(the_svc_fences));
	memset(the_conns, 0, sizeof(the_conns));
	memset(the_track, 0, sizeof(the_track));
	memset(&the_work, 0xa5, sizeof(the_work)); /* rubbish of other packets */
	the_work.zero = 0;
	the_work.now_jiffies = 0;
	fake_now = 1000 * 1000000000ULL;
}

/* ---- segments --------------------------------------------------------------------------------- */

static struct flow client(unsigned i)
{
	return (struct flow){.src = "10.0.0.2", .dst = "10.0.0.1", .sport = 40000 + i, .dport = 11211};
}

/* The frame in the room; its context. */
static struct xdp_md *place(const struct frame *f)
{
	static struct xdp_md ctx;

	room_place(&ctx, f->len);
	memcpy(frame_begin(&ctx), f->b, f->len);
	head_room = tail_room = 0;
	redirected = -1;
	return &ctx;
}

static bool is_lost(unsigned i)
{
	struct weir_pkt p = {.family = 4, .proto = IPPROTO_TCP, .sport = htons(40000 + i)};
	__u32 at;

	p.saddr.w[0] = htonl(0x0a000002);
	p.salt = cfg.vips[0].salt;
	at = conn_find(flow_hash(&p.saddr, p.sport, &p));
	return at != CONN_NONE && the_conns[at].state == WEIR_CONN_LOST;
}

/* A client's segment through the program. */
static void segment(unsigned i, __u32 seq, __u8 flags, const void *data, size_t len)
{
	struct flow flow = client(i);
	struct tcp t = {.seq = seq, .ack = flags & TCP_ACK ? 1 : 0, .flags = flags, .window = 502};
	unsigned long long fences = the_svc_fences[0].count;
	struct frame f;
	struct xdp_md *ctx;

	frame_tcp(&f, &flow, &t, data, len);
	ctx = place(&f);
	counted = 0;
	require(weir_rx(ctx) == XDP_PASS);
	require(frame_len(ctx) == f.len && !memcmp(frame_begin(ctx), f.b, f.len) && room_untouched(ctx));
	require(counted == 1);
	if (len && !(flags & TCP_RST) && flags != (TCP_SYN | TCP_ACK) && is_lost(i))
		require(the_svc_fences[0].count > fences);
}

/* A server's. */
static void server_says(unsigned i, __u32 ack, __u8 flags, size_t len)
{
	static const __u8 zero[256];
	struct flow c = client(i), flow = {.src = c.dst, .dst = c.src, .sport = c.dport, .dport = c.sport};
	struct tcp t = {.seq = 1, .ack = ack, .flags = flags, .window = 502};
	struct weir_pkt p = {};
	struct xdp_md *ctx;
	struct frame f;

	frame_tcp(&f, &flow, &t, zero, len);
	ctx = place(&f);
	require(parse(ctx, &p) == WEIR_NEXT);
	p.salt = cfg.vips[0].salt;
	track_reply(ctx, &p, 0);
}

static void check_table(void)
{
	for (int i = 0; i < CONNS; i++) {
		struct weir_conn *c = &the_conns[i];

		require(!c->busy && c->saved <= WEIR_CONN_LINE && c->npend <= WEIR_CONN_PEND);
		require(c->state <= WEIR_CONN_CLOSED && (c->tag || !c->state));
		require(c->high - c->floor <= 2 * CONN_WINDOW + 0x10000);
		require(c->old <= c->npend && (__s32)(c->mark - c->floor) >= 0);
		require(c->flags & WEIR_CONN_CROWDED || !(c->flags & WEIR_CONN_CROWDING));
		for (int k = 0; k < i; k++)
			require(!c->tag || the_conns[k].tag != c->tag || (i ^ k) / WEIR_CONN_WAYS);
	}
}

/* ---- one stream, cut in two ways -------------------------------------------------------------- */

struct outcome {
	struct weir_conn conn;
	__u64 flushes, raised, sum; /* of all stripes */
};

static bool is_limit(const struct outcome *o)
{
	return o->conn.state == WEIR_CONN_LOST &&
	       (o->conn.cause == WEIR_TRACK_LINE || o->conn.cause == WEIR_TRACK_MANY);
}

/* How much all stripes were raised, and which. */
static void sum_up(struct outcome *o)
{
	for (int i = 0; i < nseen; i++) {
		struct weir_fence *f = &the_fences[seen_stripes[i]];

		o->raised += f->count;
		o->sum += f->count * (seen_stripes[i] * 2654435761U);
		f->count = 0; /* once */
	}
}

static void play_stream(struct outcome *o, const __u8 *data, size_t size, unsigned cut)
{
	__u32 seq = -(__u32)(size / 2), random = cut;

	begin();
	memset(o, 0, sizeof(*o));
	segment(0, seq - 1, TCP_SYN, NULL, 0);
	server_says(0, seq, TCP_SYN | TCP_ACK, 0);
	for (size_t at = 0, len; at < size; at += len) {
		random = random * 1103515245 + 12345;
		len = cut ? 1 + (random >> 16) % (random >> 24 & 1 ? 4 : 64) : DATA_MAX_SEGMENT;
		len = len < size - at ? len : size - at;
		segment(0, seq + at, TCP_ACK, data + at, len);
		check_table();
	}
	for (int i = 0; i < CONNS; i++)
		if (the_conns[i].tag)
			o->conn = the_conns[i];
	o->flushes = the_track[WEIR_TRACK_FLUSH];
	sum_up(o);
}

static void test_stream(const __u8 *data, size_t size, unsigned cut)
{
	struct outcome whole, parts;

	play_stream(&whole, data, size, 0);
	play_stream(&parts, data, size, cut + 1);
	if (is_limit(&whole) || is_limit(&parts))
		return;
	require(whole.conn.state == parts.conn.state && whole.flushes == parts.flushes);
	require(whole.raised == parts.raised && whole.sum == parts.sum);
	if (whole.conn.state == WEIR_CONN_LOST)
		return;
	require(whole.conn.pos == parts.conn.pos && whole.conn.saved == parts.conn.saved);
	require(!memcmp(whole.conn.line, parts.conn.line, whole.conn.saved));
}

/* ---- any segments ----------------------------------------------------------------------------- */

struct step {
	__u8 kind, conn, flags, len;
	__s16 at; /* of the stream, from where it should go on */
};

static void play_steps(const __u8 *data, size_t size)
{
	static const __u8 flags[] = {TCP_ACK, TCP_ACK, TCP_ACK, TCP_ACK | TCP_FIN, TCP_SYN, TCP_RST,
				     TCP_SYN | TCP_ACK, 0};
	__u32 next[16] = {0};

	begin();
	while (size >= sizeof(struct step)) {
		struct step s;
		unsigned i;
		__u32 seq;

		memcpy(&s, data, sizeof(s));
		data += sizeof(s);
		size -= sizeof(s);
		i = s.conn % 16;
		seq = next[i] + (__u32)s.at * (s.kind & 0x80 ? 70000 : 1);
		if (s.kind % 4 == 3) {
			fake_now += (__u64)s.len * s.len * 10000000;
		} else if (s.kind % 4 == 2) {
			server_says(i, seq, flags[s.flags % 8], s.len);
		} else {
			size_t len = s.len < size ? s.len : size;

			segment(i, seq, flags[s.flags % 8], data, len);
			next[i] = seq + len + !!(flags[s.flags % 8] & TCP_SYN);
			data += len;
			size -= len;
		}
		check_table();
	}
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	if (size < 2 || size > 4000)
		return 0;
	if (data[0] & 1)
		test_stream(data + 2, size - 2, data[1]);
	else
		play_steps(data + 2, size - 2);
	return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------ */

static const char *const seeds[] = {
	"set foo 0 0 5\r\nhello\r\n", "set f 1 2 3 noreply\r\nabc\r\n", "get a b c\r\n", "get k\r\n",
	"delete foo\r\n", "gat 10 a bb ccc\r\n", "ms foo 3 T9 b\r\nabc\r\n", "mg foo v N30\r\n", "md foo b q\r\n", "flush_all 10\r\n",
	"cas a 0 -1 2 17\r\nxy\r\n", "incr a 1\r\n", "version\r\n", "mn\r\n", "\r\n", "touch a 1\n",
	"ma foo N0 J13\r\n", "gets a", "stats\r\n", "verbosity 1\r\n", "append a 0 0 10\r\n0123456789\r\n",
};

static const struct bin bins[] = {
	{.op = 0x01, .ext = "\0\0\0\0\0\0\0", .ext_len = 8, .key = "foo", .value = "abc", .value_len = 3},
	{.op = 0x00, .key = "foo"}, {.op = 0x14, .key = "foo"}, {.op = 0x0a, .key = ""}, {.op = 0x08, .key = ""},
	{.op = 0x1d, .ext = "\0\0\0", .ext_len = 4, .key = "foo"},
};

size_t LLVMFuzzerMutate(__u8 *data, size_t size, size_t max);

/* Whole commands at the end, or bytes of anything anywhere. */
size_t LLVMFuzzerCustomMutator(__u8 *data, size_t size, size_t max, unsigned int random)
{
	struct msg m = {.len = 0};
	const char *text = seeds[random / 16 % (sizeof(seeds) / sizeof(*seeds))];

	if (random % 16 > 8 || size < 2)
		return LLVMFuzzerMutate(data, size, max);
	if (random % 16 > 5)
		msg_add_bin(&m, &bins[random / 16 % (sizeof(bins) / sizeof(*bins))]);
	else
		msg_add(&m, text, strlen(text));
	if (size + m.len > max)
		return LLVMFuzzerMutate(data, size, max);
	memcpy(data + size, m.b, m.len);
	return size + m.len;
}
