/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any sequence of packets, of changes by the control plane and of seconds that pass: the receive program,
 * compiled for the host, steers as it promises. An input is a row of steps, see struct step.
 *
 * - What passes, or is dropped, is as it came. Nothing leaves half-written.
 * - What leaves is what steer_check.h says: for a backend, a client, or an answer to the sender.
 * - After each packet `active` of each backend is the number of its flows that count, and no flow stands in
 *   the table twice.
 * - A flow in the table stays with its backend while that lives; fragments follow the first.
 * - What is counted of latencies changes nothing of that, and no sample is longer than since the beginning.
 */
#include "../bpf/packet.c"

/* The program under test. Its names are its own. */
#include "../../bpf/weir_rx.bpf.c"

#include <stdint.h>

#include "flows.h"
#include "kernel.h"
#include "maps.h"
#include "steer_check.h"

#define BUCKETS 4  /* 32 flows: most steps meet a full table */
#define RECS	8  /* and half of them another's record */
#define USED_MAX 128
#define START	(1000 * 1000000000ULL)
#define MAC	"\x02\0\0\0\x5e\x47"

static struct weir_ctl the_ctl;
static struct weir_pool the_pools[WEIR_POOLS_MAX];
static struct weir_maglev the_maglev[WEIR_POOLS_MAX];
static struct weir_ctl_pool the_pool_ctl[WEIR_POOLS_MAX];
static struct weir_backend the_backends[WEIR_BACKENDS_MAX];
static struct weir_ctl_backend the_backend_ctl[WEIR_BACKENDS_MAX];
static struct weir_flow_bucket the_flows[BUCKETS] __attribute__((aligned(64)));
static __u64 the_frags[WEIR_FRAGS];
static struct weir_hop the_hops[WEIR_BACKENDS_MAX];
static struct weir_bucket the_index[64];
static struct weir_slab the_slabs[1];
static struct weir_fence the_fences[WEIR_FENCE_STRIPES];
static struct weir_svc_fence the_svc_fences[WEIR_SERVICES_MAX];
static __u64 the_pending[WEIR_PENDING];
static struct weir_count the_stats[(WEIR_SERVICES_MAX + 1) * WEIR_REASON_MAX];
static struct weir_work the_work;
static struct weir_flow_rec the_recs[RECS];
static struct weir_histogram the_latency[WEIR_SERVICES_MAX * WEIR_LAT_PATHS];
static struct weir_histogram the_backend_latency[WEIR_BACKENDS_MAX * WEIR_BACKEND_PATHS];

static int no_grace(void *arg)
{
	return 0;
}

static const struct pools_mem mem = {
	.ctl = &the_ctl,
	.pools = the_pools,
	.maglev = the_maglev,
	.pool_ctl = the_pool_ctl,
	.backends = the_backends,
	.backend_ctl = the_backend_ctl,
	.flows = the_flows,
	.nat_back = -1,
	.hops_fd = -1,
	.grace = no_grace,
};

/* nat_back */
#define ENDS_MAX 64
static struct nat_end {
	struct weir_nat_key key;
	struct weir_nat_back back;
} ends[ENDS_MAX];
static unsigned nends;

/* The numbers that the configuration gives to backends, and the places of its pools. */
static __u16 used[USED_MAX];
static unsigned nused;
static bool given[WEIR_POOLS_MAX];

/* ---- the host --------------------------------------------------------------------------------- */

static const char config_text[] =
	"interfaces: [{name: eth0}]\n"
	"cache: {capacity: 64, memory: 64K}\n"
	"latency: {interval: 0, timeout: 300ms}\n"
	"flows: {capacity: 1024, idle: {tcp: 1h, udp: 30s, half_open: 5s, closing: 60s, closed: 10s}}\n"
	"pools:\n"
	"- name: tun\n"
	"  delivery: tunnel\n"
	"  backends:\n"
	"  - {name: b1, address: 10.8.0.1}\n"
	"  - {name: b2, address: 'fd00:8::2'}\n"
	"  - {name: b3, address: 10.8.0.3, capacity: 200}\n"
	"  - {name: b4, address: 'fd00:8::4', backup: true}\n"
	"  - {name: b5, address: 10.8.0.5, delivery: l2}\n"
	"- name: seg\n"
	"  scheduler: maglev\n"
	"  delivery: l2\n"
	"  fail: reset\n"
	"  backends:\n"
	"  - {name: b1, address: 10.8.1.1}\n"
	"  - {name: b2, address: 'fd00:8:1::2'}\n"
	"- name: nat4\n"
	"  delivery: nat\n"
	"  backends:\n"
	"  - {name: b1, address: '10.8.2.1:8080'}\n"
	"  - {name: b2, address: 10.8.2.2}\n"
	"  - {name: b3, address: '10.8.2.3:65535'}\n"
	"- name: nat6\n"
	"  delivery: nat\n"
	"  fail: reset\n"
	"  backends: [{name: b1, address: '[fd00:8:3::1]:8080'}, {name: b2, address: 'fd00:8:3::2'}]\n"
	"- name: quic\n"
	"  scheduler: maglev-bounded\n"
	"  delivery: tunnel\n"
	"  backends:\n"
	"  - {name: b1, address: 10.8.4.1, quic_id: 1}\n"
	"  - {name: b2, address: 'fd00:8:4::2', quic_id: 2}\n"
	"  - {name: b3, address: 10.8.4.3, quic_id: 65535}\n"
	"- name: users\n"
	"  delivery: nat\n"
	"  shards: 2\n"
	"  backends: [{name: b1, address: 10.8.5.1, shard: 0}, {name: b2, address: 10.8.5.2, shard: 1}]\n"
	"- name: users-new\n"
	"  delivery: nat\n"
	"  shards: 2\n"
	"  backends: [{name: b1, address: 10.8.6.1, shard: 0}, {name: b2, address: 10.8.6.2, shard: 1}]\n"
	"- {name: any, delivery: nat, backends: [{name: b1, address: 10.8.7.1}]}\n"
	"- name: keys\n"
	"  delivery: nat\n"
	"  shards: 2\n"
	"  backends: [{name: b1, address: 10.8.8.1, shard: 0}, {name: b2, address: 10.8.8.2, shard: 1}]\n"
	"services:\n"
	"- {name: tun, vips: ['192.0.2.1:80', '[2001:db8::1]:80'], pool: tun, protocol: both}\n"
	"- name: seg\n"
	"  vips: ['192.0.2.2:80', '[2001:db8::2]:80']\n"
	"  clients: [198.51.100.0/24, '2001:db8:c::/48']\n"
	"  fragments: drop\n"
	"  pool: seg\n"
	"  protocol: both\n"
	"- {name: nat4, vips: ['192.0.2.3:80', '192.0.2.8:80', '192.0.2.3:81'], pool: nat4, protocol: both}\n"
	"- {name: nat6, vips: ['[2001:db8::3]:80', '[2001:db8::5]:80'], pool: nat6, protocol: both}\n"
	"- name: quic\n"
	"  vips: ['192.0.2.4:443', '[2001:db8::4]:443']\n"
	"  pool: quic\n"
	"  protocol: both\n"
	"  quic: {offset: 1, length: 2}\n"
	"- name: users\n"
	"  vips: ['192.0.2.5:11211']\n"
	"  clients: [198.51.100.0/24]\n"
	"  cache: true\n"
	"  ttl: 1m\n"
	"  pool: users\n"
	"  protocol: both\n"
	"  migrate: {to: users-new, percent: 50}\n"
	"  fallback: any\n"
	"- name: keys\n"
	"  vips: ['192.0.2.6:11211']\n"
	"  clients: [198.51.100.0/24]\n"
	"  strangers: pass\n"
	"  cache: true\n"
	"  ttl: 1m\n"
	"  pool: keys\n"
	"- {name: plain, vips: ['192.0.2.1:11211'], clients: [198.51.100.0/24], ttl: 1m}\n"
	"- {name: big, vips: ['192.0.2.7:80'], pool: big}\n"
	"  \n";

static const struct target {
	const char *addr;
	__u16 port;
} targets[] = {
	{"192.0.2.1", 80},     {"2001:db8::1", 80},  {"192.0.2.2", 80},     {"2001:db8::2", 80},
	{"192.0.2.3", 80},     {"2001:db8::3", 80},  {"192.0.2.4", 443},    {"2001:db8::4", 443},
	{"192.0.2.5", 11211},  {"192.0.2.6", 11211}, {"192.0.2.1", 11211},  {"192.0.2.7", 80},
	{"192.0.2.1", 9999},   {"10.8.2.1", 8080},   {"fd00:8:3::1", 8080}, {"203.0.113.1", 80},
	{"192.0.2.8", 80},     {"192.0.2.3", 81},    {"2001:db8::5", 80},
};
#define TARGETS (sizeof(targets) / sizeof(*targets))

static struct {
	__u16 mtu; /* of all ways to backends */
	int lost;  /* number of the backend whose neighbour is not known; -1: of none */
} host;

/* ---- the kernel's part ------------------------------------------------------------------------ */

static const struct fake_map *fake_maps(int *n)
{
	static const struct fake_map all[] = {
		{&ctl, &the_ctl, sizeof(the_ctl), 1},
		MAP(pools, the_pools),
		MAP(backends, the_backends),
		MAP(maglev, the_maglev),
		MAP(flows, the_flows),
		MAP(frags, the_frags),
		MAP(hops, the_hops),
		MAP(hot_index, the_index),
		MAP(hot_slabs, the_slabs),
		MAP(hot_fence, the_fences),
		MAP(svc_fence, the_svc_fences),
		MAP(pending, the_pending),
		MAP(stats, the_stats),
		MAP(flow_recs, the_recs),
		MAP(latency, the_latency),
		MAP(backend_latency, the_backend_latency),
		{&work, &the_work, sizeof(the_work), 1},
	};

	*n = sizeof(all) / sizeof(*all);
	return all;
}

/* Each packet is counted once. */
static struct weir_count *counted;

/* In which it was counted, too. */
static struct weir_histogram *histograms[8];
static unsigned nhistograms;

static bool in_use(unsigned backend)
{
	return backend < WEIR_BACKENDS_MAX && the_backends[backend].family;
}

UNWATCHED static void *fake_lookup(void *map, const void *key, void *value)
{
	if (map == &nat_back) {
		for (unsigned i = 0; i < nends; i++)
			if (!memcmp(&ends[i].key, key, sizeof(ends[i].key)) && in_use(ends[i].back.backend))
				return &ends[i].back;
		return NULL;
	}
	/* No place is looked at that belongs to nobody. */
	if (map == &pools || map == &maglev)
		require(value && given[*(const __u32 *)key]);
	if (map == &backends || map == &hops)
		require(value && given[*(const __u32 *)key / WEIR_POOL_BACKENDS]);
	if (map == &stats) {
		require(value && !counted);
		counted = value;
	}
	if (map == &latency) {
		require(value && nhistograms < sizeof(histograms) / sizeof(*histograms));
		histograms[nhistograms++] = value;
	}
	return value;
}

UNWATCHED static int backend_at(const void *addr, int family)
{
	for (unsigned i = 0; i < nused; i++) {
		const struct weir_backend *b = &the_backends[used[i]];

		if (b->family == (family == AF_INET ? 4 : 6) && !memcmp(&b->addr, addr, family == AF_INET ? 4 : 16))
			return used[i];
	}
	return -1;
}

static bool is_client_addr(const __u8 *a, int family)
{
	return !memcmp(a, family == AF_INET ? "\xc6\x33\x64" : "\x20\x01\x0d\xb8\x00\x0c", family == AF_INET ? 3 : 6);
}

static void hop_mac(__u8 *mac, unsigned backend)
{
	memcpy(mac, (const __u8[6]){0x06, 0x57, 0, 0, backend >> 8, backend}, 6);
}

/* Clients live behind the first interface, backends behind both. */
static long fake_fib(__u32 from, struct bpf_fib_lookup *f)
{
	const void *to = f->family == AF_INET ? (const void *)&f->ipv4_dst : f->ipv6_dst;
	int b = backend_at(to, f->family);

	require(f->family == AF_INET || f->family == AF_INET6);
	memset(f->dmac, 0xee, 6);
	memset(f->smac, 0xee, 6);
	f->ifindex = 99;
	if (b < 0 && !is_client_addr(to, f->family))
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	if (b >= 0 && b == host.lost)
		return BPF_FIB_LKUP_RET_NO_NEIGH;
	f->ifindex = b < 0 ? 1 : 1 + b % 2;
	f->mtu_result = f->family == AF_INET6 && host.mtu < 1280 ? 1280 : host.mtu;
	memcpy(f->smac, (const __u8[6]){0x02, 0, 0, 0, 0x5e, 0x46 + f->ifindex}, 6);
	if (b < 0)
		memcpy(f->dmac, client_side, 6);
	else
		hop_mac(f->dmac, b);
	return BPF_FIB_LKUP_RET_SUCCESS;
}

/* ---- set up ----------------------------------------------------------------------------------- */

/* What each input begins with. */
static struct initial {
	struct weir_pool pools[WEIR_POOLS_MAX];
	struct weir_maglev maglev[WEIR_POOLS_MAX];
	struct weir_backend backends[WEIR_BACKENDS_MAX];
	struct weir_ctl_backend backend_ctl[WEIR_BACKENDS_MAX];
} initial;

static void add_end(const struct weir_config *c, unsigned vip, unsigned b, __u8 proto)
{
	const struct weir_vip *v = &c->vips[vip];
	const struct weir_backend *to = &the_backends[b];

	require(nends < ENDS_MAX);
	ends[nends++] = (struct nat_end){
		.key = {.addr = to->addr, .port = to->port ?: v->port, .family = v->family, .proto = proto},
		.back = {.vip = v->addr, .port = v->port, .svc = v->svc, .salt = v->salt, .backend = b},
	};
}

static bool serves(const struct weir_service *s, unsigned place)
{
	unsigned n = 1 << s->shard_bits;

	return (place >= s->pool && place < s->pool + n) || (place >= s->migrate_pool && place < s->migrate_pool + n) ||
	       place == s->fallback;
}

/* As user/nat.c does it. */
static void make_ends(const struct weir_config *c)
{
	for (unsigned v = 0; v < c->nvips; v++) {
		const struct weir_service *s = &c->services[c->vips[v].svc];

		for (unsigned i = 0, b; i < nused; i++) {
			b = used[i];
			if (the_backends[b].family != c->vips[v].family || the_backends[b].via != WEIR_VIA_NAT ||
			    !serves(s, b / WEIR_POOL_BACKENDS))
				continue;
			if (s->flags & WEIR_SVC_TCP)
				add_end(c, v, b, IPPROTO_TCP);
			if (s->flags & WEIR_SVC_UDP)
				add_end(c, v, b, IPPROTO_UDP);
		}
	}
}

/* The pool of more than one place, in front of the services. */
static size_t whole_text(char *to, size_t size)
{
	const char *services = strstr(config_text, "services:");
	size_t n = services - config_text;

	memcpy(to, config_text, n);
	n += snprintf(to + n, size - n, "- name: big\n  delivery: tunnel\n  backends:\n");
	for (int i = 0; i < 70; i++)
		n += snprintf(to + n, size - n, "  - {name: b%d, address: 10.8.100.%d}\n", i, i + 1);
	n += snprintf(to + n, size - n, "%s", services);
	require(n < size);
	return n;
}

static void make_pools(const struct config *c)
{
	struct maps maps = {.pools = mem};
	struct weir_config config;
	__u8 ids[WEIR_SERVICES_MAX];

	for (unsigned i = 0; i < c->nservices; i++) {
		ids[i] = i;
		snprintf(the_ctl.services[i].name, WEIR_NAME_MAX, "%s", c->services[i].name);
	}
	require(!pools_apply(&mem, c, false, NULL, NULL));
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++)
		memset(given + p, 1, the_pool_ctl[p].places);
	for (unsigned b = 0; b < WEIR_BACKENDS_MAX; b++) {
		if (!the_backends[b].family)
			continue;
		require(nused < USED_MAX && given[b / WEIR_POOL_BACKENDS]);
		used[nused++] = b;
		/* Not what this host's routes say. */
		if (the_backends[b].family == 4)
			the_backends[b].source = (struct weir_addr){.w = {htonl(0x0a090000 | b)}};
		else
			the_backends[b].source = (struct weir_addr){.w = {htonl(0xfd000000 | b), 0, 0, htonl(1)}};
	}
	maps.at[MAP_CTL] = &the_ctl;
	require(!maps_config(&config, c, ids, &maps, 1500));
	memcpy(&config.mac, MAC, 6);
	make_ends(&config);
	fake_rodata(&config);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char text[16384];
	struct config *c;

	room_make();
	the_ctl.lease_deadline_ns = WEIR_NEVER;
	the_ctl.hash_seed = 0x1234567;
	the_ctl.flow_seed = 0x7654321;
	the_ctl.index_buckets = 64;
	the_ctl.slabs = the_ctl.entries = the_ctl.ncpu = 1;
	the_ctl.flow_buckets = BUCKETS;
	the_ctl.flow_recs = RECS;
	require(!config_parse(&c, "fuzz.yaml", text, whole_text(text, sizeof(text)), stderr));
	make_pools(c);
	for (int i = 0; i < WEIR_FLOW_STATES; i++)
		the_ctl.idle_ticks[i] = c->idle_ns[i] >> WEIR_TICK;
	config_free(c);
	memcpy(initial.pools, the_pools, sizeof(initial.pools));
	memcpy(initial.maglev, the_maglev, sizeof(initial.maglev));
	memcpy(initial.backends, the_backends, sizeof(initial.backends));
	memcpy(initial.backend_ctl, the_backend_ctl, sizeof(initial.backend_ctl));
	return 0;
}

static bool touched; /* by the control plane */

/* Where the last first fragment went, by the addresses and the protocol: the backend's number + 1, 0: not known. */
static __u16 first_went[16][TARGETS][2];
static bool bent; /* some packet: it may have been anybody's */

/* Of all packets of an input: what became of them. */
static struct totals {
	__u64 hash, packets;
} totals;

UNWATCHED static void begin(void)
{
	for (unsigned i = 0; i < nused; i++) {
		the_backends[used[i]] = initial.backends[used[i]];
		the_hops[used[i]] = (struct weir_hop){};
	}
	for (unsigned p = 0; p < WEIR_POOLS_MAX; p++)
		if (given[p])
			the_pools[p] = initial.pools[p];
	if (touched) {
		memcpy(the_maglev, initial.maglev, sizeof(initial.maglev));
		memcpy(the_backend_ctl, initial.backend_ctl, sizeof(initial.backend_ctl));
	}
	touched = bent = false;
	memset(the_flows, 0, sizeof(the_flows));
	memset(the_frags, 0, sizeof(the_frags));
	memset(the_pending, 0, sizeof(the_pending));
	memset(first_went, 0, sizeof(first_went));
	memset(&the_work, 0, sizeof(the_work));
	memset(the_recs, 0, sizeof(the_recs));
	memset(&totals, 0, sizeof(totals));
	fake_now = START;
	host.mtu = 1500;
	host.lost = -1;
}

/* ---- packets ---------------------------------------------------------------------------------- */

enum step_kind {
	STEP_TCP,
	STEP_UDP,
	STEP_FIRST, /* a first fragment, */
	STEP_LATER, /* and a later one */
	STEP_ICMP,  /* an error about a packet of the service */
	STEP_PING,
	STEP_BACK,  /* what a translated backend sends, */
	STEP_BACK_ICMP, /* and an error about what was sent to it */
	STEP_JUNK,  /* another protocol */
	STEP_RAW,   /* a frame of the input's bytes */
	STEP_CONTROL,
	STEP_TIME,
	STEP_KINDS,
};

#define HOW_TAG	   0x01
#define HOW_TAG2   0x02
#define HOW_DF	   0x04
#define HOW_OPTION 0x08
#define HOW_NOSUM  0x10
#define HOW_ETH1   0x20 /* comes from the other interface */
#define HOW_TIGHT  0x40 /* no room around the frame */
#define HOW_BENT   0x80 /* a byte is another one; the last bytes may be missing */

struct step {
	__u8 kind;   /* enum step_kind */
	__u8 client; /* address and port */
	__u8 target; /* of targets[], or number of a nat_end */
	__u8 flags;  /* of TCP; what the payload is; what the control plane does */
	__u8 how;
	__u8 ttl;    /* 1 to 4: one more than it is */
	__u8 len;    /* of the payload, in steps of 8 bytes */
	__u8 v;	     /* whatever else there is to choose */
	__u8 at[2];  /* which byte is bent; of TCP what seq and ack are */
	__u8 bend;   /* how, */
	__u8 chop;   /* and how many are missing */
};

static const char *const requests[] = {
	"get a\r\n",		"get b\r\n", "mg c v\r\n", "set d 0 0 1\r\nx\r\n",
	"get a b\r\n",		"mn\r\n",    "get e\r\n",	  "delete f\r\n",
};

static const char datagrams[][24] = {
	"\x40\x07\x00\x01 short, of b1", "\x40\x07\x00\x02 short, of b2", "\x40\x07\xff\xff short, of b3",
	"\xe0\x00\x00\x00\x01\x08\x07\x00\x01\x00\x00\x00\x00\x00 shake", "\xc0\x00\x00\x00\x01\x08\x07\x00\x01 initial",
	"\xe0\x00\x00\x00\x00\x08 negotiation", "\x40\x07\x12\x34 of nobody", "\x01",
};

static size_t payload(const struct step *s, __u8 *data, bool cache)
{
	size_t n = s->len * 8;

	memset(data, s->v, n);
	if (cache) {
		const char *r = requests[s->v % 8];

		memcpy(data, "\x42\x42\0\0\0\1\0\0", 8);
		memcpy(data + 8, r, strlen(r));
		return 8 + strlen(r);
	}
	if (n >= 40)
		memcpy(data, datagrams[s->v % 8], sizeof(*datagrams));
	return n;
}

static void flow_of(struct flow *f, char *src, const struct step *s, const char *dst, __u16 port)
{
	if (strchr(dst, ':'))
		snprintf(src, 64, "2001:db8:%s::%d", s->client & 0x80 ? "d" : "c", 1 + s->client % 8);
	else
		snprintf(src, 64, "198.51.%d.%d", s->client & 0x80 ? 101 : 100, 1 + s->client % 8);
	*f = (struct flow){.src = src, .dst = dst, .sport = 40000 + s->client / 8 % 16, .dport = port};
	f->tags = (s->how & HOW_TAG) + (s->how & HOW_TAG && s->how & HOW_TAG2);
	f->no_csum = s->how & HOW_NOSUM;
}

static void l4_packet(struct frame *f, const struct step *s, const struct flow *flow, bool tcp, __u8 flags)
{
	struct tcp t = {.seq = 1000 + s->v + s->at[0] * 8, .ack = 2000 + s->at[1] * 8, .flags = flags, .window = 512,
			.options = s->v % 4 * 4};
	static __u8 data[4096];
	size_t n = payload(s, data, !tcp && flow->dport == 11211);

	if (tcp)
		frame_tcp(f, flow, &t, data, n);
	else
		frame_udp(f, flow, data, n);
	if (tcp && t.options == 12) { /* a time stamp */
		memcpy(f->b + f->l4 + 20, (const __u8[12]){1, 1, 8, 10, 0, 0, 0, s->at[0], 0, 0, 0, s->at[1]}, 12);
		frame_fix_l4_csum(f);
	}
}

/* Turned about: what the other end of the flow would send. */
static struct flow turned(const struct flow *f)
{
	struct flow r = *f;

	r.src = f->dst;
	r.dst = f->src;
	r.sport = f->dport;
	r.dport = f->sport;
	return r;
}

/* An ICMP error from somebody to `flow`'s source, about a packet of that flow. */
static void icmp_error(struct frame *f, const struct step *s, const struct flow *flow, const char *from)
{
	bool v4 = !strchr(flow->dst, ':');
	static const __u8 types4[] = {3, 3, 11, 12}, types6[] = {1, 2, 3, 4};
	struct icmp icmp = {.type = (v4 ? types4 : types6)[s->v % 4], .code = v4 && s->v % 4 == 0 ? 4 : 0, .rest = 1280};
	struct flow to = {.src = from ?: flow->dst, .dst = flow->src, .tags = flow->tags};
	static struct frame q;
	size_t n;

	l4_packet(&q, s, flow, s->flags & 1, TCP_ACK);
	n = q.l4 - q.l3 + 8 + (s->flags >> 1) * 8;
	frame_icmp(f, &to, &icmp, q.b + q.l3, n < q.len - q.l3 ? n : q.len - q.l3);
}

static void junk(struct frame *f, const struct step *s, const struct flow *flow)
{
	static const __u8 protos[] = {47, 4, 41, 1, 58, 132, 50, 0};

	frame_udp(f, flow, "junk of a protocol that has no ports", 36);
	f->b[f->l3 + (f->family == 4 ? 9 : 6)] = protos[s->v % 8];
	if (f->family == 4)
		frame_fix_ip_csum(f);
}

static void fragment(struct frame *f, const struct step *s, const struct flow *flow)
{
	static struct frame whole;
	size_t cut = 32, all;

	l4_packet(&whole, s, flow, s->flags & 1, TCP_ACK);
	all = whole.len - whole.l4;
	cut = all < 40 ? all & ~7U : cut;
	if (s->kind == STEP_FIRST)
		frame_fragment(f, &whole, 0, cut, true);
	else
		frame_fragment(f, &whole, cut, all - cut, false);
}

static void back(struct frame *f, const struct step *s)
{
	const struct nat_end *e = &ends[s->target % nends];
	char src[64], dst[64];
	struct flow flow, reply;

	inet_ntop(e->key.family == 4 ? AF_INET : AF_INET6, &e->key.addr, dst, sizeof(dst));
	flow_of(&flow, src, s, dst, ntohs(e->key.port));
	reply = turned(&flow);
	if (s->kind == STEP_BACK)
		l4_packet(f, s, &reply, e->key.proto == IPPROTO_TCP, s->flags);
	else
		icmp_error(f, s, &flow, !(s->v & 8) ? NULL : e->key.family == 4 ? "10.99.0.1" : "fd00:99::1");
}

static void build(struct frame *f, const struct step *s)
{
	const struct target *t = &targets[s->target % TARGETS];
	struct flow flow, reply;
	char src[64];

	flow_of(&flow, src, s, t->addr, t->port);
	reply = turned(&flow);
	switch (s->kind) {
	case STEP_TCP:
	case STEP_UDP:
		l4_packet(f, s, &flow, s->kind == STEP_TCP, s->flags);
		return;
	case STEP_FIRST:
	case STEP_LATER:
		fragment(f, s, &flow);
		return;
	case STEP_ICMP:
		icmp_error(f, s, &reply, !(s->v & 8) ? NULL : strchr(t->addr, ':') ? "2001:db8:c::99" : "198.51.100.99");
		return;
	case STEP_PING:
		frame_icmp(f, &flow, &(struct icmp){strchr(t->addr, ':') ? 128 : 8, 0, 1}, "ping", 4);
		return;
	case STEP_BACK:
	case STEP_BACK_ICMP:
		back(f, s);
		return;
	}
	junk(f, s, &flow);
}

static void vary(struct frame *f, const struct step *s)
{
	static const __u8 nops[8] = {1, 1, 1, 1, 1, 1, 1, 1}, ext[8] = {IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0};

	if (s->how & HOW_OPTION && s->kind == STEP_UDP)
		frame_options(f, f->family == 4 ? nops : ext, 8, IPPROTO_DSTOPTS);
	if (s->ttl >= 1 && s->ttl <= 4)
		frame_set_ttl(f, s->ttl - 1);
	if (s->how & HOW_DF && s->kind != STEP_FIRST && s->kind != STEP_LATER)
		frame_set_df(f, true);
	if (s->v & 0x40)
		frame_set_tos(f, s->v);
	if (s->v & 0x80)
		frame_pad(f, 64, 0xdd);
	if (s->how & HOW_BENT) {
		f->b[be(s->at, 2) % f->len] ^= s->bend;
		f->len -= s->chop % (f->len - 13);
	}
}

/* ---- the table -------------------------------------------------------------------------------- */

UNWATCHED static void check_table(void)
{
	static __u32 count[WEIR_BACKENDS_MAX];
	__u64 *w = the_flows[0].word;

	for (unsigned i = 0; i < nused; i++)
		count[used[i]] = 0;
	for (int i = 0; i < BUCKETS; i++) {
		for (int k = 0; k < WEIR_BUCKET_WORDS; k++) {
			__u64 v = the_flows[i].word[k];

			if (!v)
				continue;
			require(v >> 63 && weir_flow_state(v) && weir_flow_state(v) < WEIR_FLOW_STATES);
			require(in_use(weir_flow_backend(v)));
			count[weir_flow_backend(v)] += weir_flow_counts(weir_flow_state(v));
			for (int m = 0; m < i * WEIR_BUCKET_WORDS + k; m++) {
				w = &the_flows[m / WEIR_BUCKET_WORDS].word[m % WEIR_BUCKET_WORDS];
				require((*w ^ v) >> WEIR_FLOW_TAG);
			}
		}
	}
	for (unsigned i = 0; i < nused; i++)
		require(count[used[i]] == member_of(used[i])->active);
}

/* Where the table has a flow that must stay where it is, or -1. */
UNWATCHED static int must_go_to(const struct step *s)
{
	const struct target *t = &targets[s->target % TARGETS];
	struct weir_pkt p = {.proto = s->kind == STEP_TCP ? IPPROTO_TCP : IPPROTO_UDP};
	struct weir_addr from = {}, to = {};
	struct flow_ref r;
	struct flow flow;
	char src[64];
	__u32 svc;
	__u64 hash, v;

	flow_of(&flow, src, s, t->addr, t->port);
	p.family = strchr(t->addr, ':') ? 6 : 4;
	inet_pton(p.family == 4 ? AF_INET : AF_INET6, src, &from);
	inet_pton(p.family == 4 ? AF_INET : AF_INET6, t->addr, &to);
	svc = service_of(&to, htons(t->port), p.family, &p.salt);
	if (svc == WEIR_SVC_NONE || cfg.services[svc].shard_bits || cfg.services[svc].quic_len)
		return -1;
	hash = flow_hash(&from, htons(flow.sport), &p);
	r = flow_find(hash, false);
	if (!r.at)
		return -1;
	v = the_flows[r.bucket].word[r.at - 1];
	if (!backend_lives(weir_flow_backend(v)))
		return -1;
	if (p.proto == IPPROTO_TCP && (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
	    !syn_follows(v, fake_now >> WEIR_TICK & WEIR_TICK_MASK))
		return -1;
	return weir_flow_backend(v);
}

/* ---- latencies -------------------------------------------------------------------------------- */

/* The records hold together. */
UNWATCHED static void check_records(void)
{
	__u32 now = fake_now >> WEIR_REC_TIME;

	for (unsigned i = 0; i < RECS; i++) {
		const struct weir_flow_rec *r = &the_recs[i];

		if (!r->hash)
			continue;
		require(cfg.latency && (r->hash >> 20) % RECS == i && r->packets && r->bytes >= 20 * r->packets);
		require(r->state >= WEIR_REC_OPEN && r->state <= WEIR_REC_OVER && r->seen <= now && r->first <= r->seen);
		require(r->sent_ns <= fake_now && r->echo_ns[0] <= fake_now && r->echo_ns[1] <= fake_now);
		require(r->backend == WEIR_BACKEND_NONE || r->backend < WEIR_BACKENDS_MAX);
		require(!(r->flags & WEIR_REC_ONEWAY) || r->backend != WEIR_BACKEND_NONE);
		/* What waits is looked for: or its end would be missed. */
		if (r->info & 1 && r->state == WEIR_REC_OPEN && r->sent_ns)
			require(r->flags & (r->flags & WEIR_REC_ONEWAY ? WEIR_REC_LOOK_C : WEIR_REC_LOOK_S));
		if (r->info & 1 && r->echo_ns[0] > WEIR_REC_LOOKING)
			require(r->flags & WEIR_REC_LOOK_S);
		if (r->info & 1 && r->echo_ns[1] > WEIR_REC_LOOKING)
			require(r->flags & WEIR_REC_LOOK_C);
	}
}

/* One packet ends a request or half of a handshake, a round trip, and begins others: three samples at most. */
UNWATCHED static void check_samples(void)
{
	__u64 sum = 0, n = 0;

	while (nhistograms) {
		struct weir_histogram *h = histograms[--nhistograms];

		for (int b = 0; b < WEIR_LAT_BUCKETS; b++)
			n += h->n[b];
		n += h->lost + h->failed;
		sum += h->sum_ns;
		*h = (struct weir_histogram){};
	}
	require(n <= 4 && sum <= 4 * (fake_now - START));
	require(cfg.latency || !n);
}

/* ---- one packet ------------------------------------------------------------------------------- */

struct sent {
	struct frame in, out;
	int action, reason;
};

UNWATCHED static void total_up(const struct sent *s)
{
	totals.hash = weir_hash_word(totals.hash, (__u64)s->action << 32 | s->reason);
	for (size_t i = 0; i + 8 <= s->out.len; i += 8)
		totals.hash = weir_hash_word(totals.hash, *(const __u64 *)(s->out.b + i));
	totals.packets++;
}

static int reason_counted(void)
{
	int reason = counted ? (counted - the_stats) % WEIR_REASON_MAX : -1;

	require(counted && counted->packets == 1 && reason < WEIR_R_COUNT);
	*counted = (struct weir_count){};
	counted = NULL;
	return reason;
}

static void through(struct sent *s, __u8 how)
{
	struct xdp_md ctx = {.ingress_ifindex = how & HOW_ETH1 ? 2 : 1};

	head_room = how & HOW_TIGHT ? 0 : XDP_HEAD;
	tail_room = how & HOW_TIGHT ? 0 : 512;
	redirected = -1;
	room_place(&ctx, s->in.len);
	memcpy(frame_begin(&ctx), s->in.b, s->in.len);
	s->action = weir_rx_steer(&ctx);
	require(room_untouched(&ctx));
	s->out.len = frame_len(&ctx);
	memcpy(s->out.b, frame_begin(&ctx), s->out.len);
	s->reason = reason_counted();
	require((s->action == XDP_REDIRECT) == (redirected >= 0));
	if (redirected < 0)
		redirected = 0;
	else
		require(redirected == 1 || redirected == 2);
	redirected = s->action == XDP_REDIRECT ? redirected : -1;
}

/* The backend that the frame went to, by its next hop; -1: to none. */
static int went_to(const struct sent *s)
{
	if ((s->action != XDP_TX && s->action != XDP_REDIRECT) || memcmp(s->out.b, "\x06\x57\0\0", 4))
		return -1;
	return be(s->out.b + 4, 2);
}

/* What the packet's sender, a backend, is known by: of several addresses as `addr`, and `port` if that is not 0. */
static const struct nat_end *end_of(const struct view *v, const __u8 *addr, __be16 port)
{
	struct weir_nat_key key = {.family = v->family, .proto = v->proto};
	struct view q = *v;

	if (is_icmp_of(v)) {
		quoted(&q, v);
		key.proto = q.proto;
		memcpy(&key.addr, q.b + daddr_at(&q), addr_len(&q));
		memcpy(&key.port, q.b + q.l4 + 2, 2);
	} else {
		memcpy(&key.addr, v->b + saddr_at(v), addr_len(v));
		memcpy(&key.port, v->b + v->l4, 2);
	}
	for (unsigned i = 0; i < nends; i++)
		if (!memcmp(&key, &ends[i].key, sizeof(key)) && !memcmp(addr, &ends[i].back.vip, addr_len(v)) &&
		    (!port || port == ends[i].back.port))
			return &ends[i];
	return NULL;
}

/* The same of a translated packet, or of what it quotes. */
static const struct nat_end *translated_end(const struct view *in, const struct view *out)
{
	struct view q = *out;
	__be16 port;

	if (is_icmp_of(out)) {
		quoted(&q, out);
		memcpy(&port, q.b + q.l4 + 2, 2);
		return end_of(in, q.b + daddr_at(&q), port);
	}
	memcpy(&port, out->b + out->l4, 2);
	return end_of(in, out->b + saddr_at(out), port);
}

/* The service's own port, of a translated packet: that of its destination, or of what it quotes. */
static __be16 port_to(const struct view *v, const struct weir_backend *b)
{
	struct view q;
	__be16 port = b->port;

	if (port || v->later)
		return port;
	if (is_icmp_of(v)) {
		quoted(&q, v);
		memcpy(&port, v->b + q.l4, 2);
	} else {
		memcpy(&port, v->b + v->l4 + 2, 2);
	}
	return port;
}

static void check_left(const struct sent *s, __u8 how)
{
	__u32 from = how & HOW_ETH1 ? 2 : 1;
	const struct nat_end *e;
	struct view in, out;
	int b = went_to(s);

	require(view(&in, s->in.b, s->in.len) && view(&out, s->out.b, s->out.len));
	require(!memcmp(s->in.b, MAC, 6));
	require(in.options || !ip_residue(&in)); /* a router drops what has a wrong checksum */
	if (s->reason == WEIR_R_RESET) {
		check_reset(&in, &out);
	} else if (s->reason == WEIR_R_TTL || s->reason == WEIR_R_TOO_BIG) {
		e = in.later ? NULL : end_of(&in, out.b + saddr_at(&out), 0);
		check_icmp_answer(&in, &out, s->reason == WEIR_R_TOO_BIG, e && in_use(e->back.backend) ? &e->back.vip : NULL);
	} else if (s->reason == WEIR_R_TRANSLATED) {
		e = translated_end(&in, &out);
		require(e && in_use(e->back.backend));
		check_l2(&in, s->out.b, redirected < 0 ? from : (__u32)redirected);
		check_back(&in, &out, &e->back.vip, e->back.port);
	} else {
		require(in_use(b) && !(the_backends[b].flags & WEIR_BACKEND_DEAD));
		require((redirected < 0 ? from : (__u32)redirected) == 1U + b % 2);
		require(out.end - out.l3 <= the_hops[b].mtu);
		check_l2(&in, s->out.b, 1 + b % 2);
		check_forward(&in, &out, &the_backends[b], port_to(&in, &the_backends[b]));
	}
}

static void check_sent(const struct sent *s, const struct step *step, int must)
{
	require(s->action != XDP_ABORTED);
	if (s->action == XDP_TX || s->action == XDP_REDIRECT)
		check_left(s, step->how);
	else
		require(s->out.len == s->in.len && !memcmp(s->in.b, s->out.b, s->in.len));
	check_table();
	check_records();
	check_samples();
	total_up(s);
	if (must >= 0 && s->reason != WEIR_R_NO_ROOM) {
		int b = went_to(s);

		require(b == must || (b < 0 && s->reason != WEIR_R_NO_BACKEND && s->reason != WEIR_R_RESET));
	}
}

static __u16 *first_of(const struct step *s)
{
	unsigned t = 0;

	while (strcmp(targets[t].addr, targets[s->target % TARGETS].addr))
		t++;
	return &first_went[(s->client & 0x80) >> 4 | s->client % 8][t][s->flags & 1];
}

/* Later fragments go where the first one went; all of one client's have one id here. */
static void check_fragments(const struct sent *s, const struct step *step)
{
	__u16 *first = first_of(step);
	int b = went_to(s);

	if (step->kind == STEP_LATER && b >= 0 && *first)
		require(*first == b + 1);
	if (step->kind == STEP_FIRST)
		*first = b + 1;
}

static void packet(const struct step *s, const __u8 *raw, size_t len)
{
	static struct sent sent;
	bool whole = !(s->how & HOW_BENT) && (s->kind == STEP_TCP || s->kind == STEP_UDP);
	int must = whole ? must_go_to(s) : -1;

	if (s->kind == STEP_RAW) {
		memcpy(sent.in.b, raw, len);
		sent.in.len = len;
	} else {
		build(&sent.in, s);
		vary(&sent.in, s);
	}
	through(&sent, s->how);
	check_sent(&sent, s, must);
	bent |= s->kind == STEP_RAW || s->how & HOW_BENT;
	if (!bent)
		check_fragments(&sent, s);
}

/* ---- what else happens ------------------------------------------------------------------------ */

/* A backend that is still there. */
static unsigned pick(const struct step *s)
{
	unsigned i = s->target % nused;

	while (!in_use(used[i]))
		i = (i + 1) % nused;
	return used[i];
}

static void control(const struct step *s)
{
	unsigned b = pick(s);

	touched = true;
	switch (s->flags % 8) {
	case 0:
		pools_health(&mem, b, WEIR_HEALTH_DOWN, "fuzz");
		break;
	case 1:
		pools_health(&mem, b, WEIR_HEALTH_UP, NULL);
		break;
	case 2:
		pools_admin(&mem, b, s->v % 3);
		break;
	case 3: /* the last one stays */
		if (s->v == 0x77 && b != used[0])
			pools_del(&mem, b);
		break;
	case 4:
		flows_remove(&mem, b);
		break;
	case 5:
		pools_set(&mem, b, 1 + s->v, s->len & 1);
		break;
	case 6:
		pools_fade(&mem, fake_now);
		break;
	case 7:
		host.lost = s->v & 1 ? (int)b : -1;
		host.mtu = s->v & 2 ? 1400 : s->v & 4 ? 600 : 1500;
		break;
	}
	check_table();
}

/* As the sweeper does it. */
static void sweep(void)
{
	__u32 tick = fake_now >> WEIR_TICK & WEIR_TICK_MASK;

	for (int i = 0; i < BUCKETS * WEIR_BUCKET_WORDS; i++) {
		__u64 *word = &the_flows[i / WEIR_BUCKET_WORDS].word[i % WEIR_BUCKET_WORDS], v = *word;

		if (v && weir_flow_idle(v, tick) > the_ctl.idle_ticks[weir_flow_state(v)])
			require(flow_change(word, v, 0));
	}
	check_table();
}

static void play(const __u8 *data, size_t size, bool latency)
{
	const __u8 *end = data + size;

	begin();
	*(volatile __u32 *)&cfg.latency = latency;
	while (data + sizeof(struct step) <= end) {
		struct step s;
		size_t raw = 0;

		memcpy(&s, data, sizeof(s));
		data += sizeof(s);
		s.kind %= STEP_KINDS;
		if (s.kind == STEP_RAW) {
			raw = s.len < end - data ? s.len : end - data;
			if (raw < ETH_HLEN)
				continue;
		}
		if (s.kind == STEP_CONTROL)
			control(&s);
		else if (s.kind != STEP_TIME)
			packet(&s, data, raw);
		else
			fake_now += (__u64)s.v * s.len * 100000000;
		if (s.kind == STEP_TIME && s.flags & 1)
			sweep();
		data += raw;
	}
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	struct totals without;

	play(data, size, false);
	without = totals;
	play(data, size, true);
	require(!memcmp(&without, &totals, sizeof(without)));
	return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------ */

#define PKT(k, c, t, f, ...) {.kind = k, .client = c, .target = t, .flags = f, __VA_ARGS__}
#define TCP(target, flags, ...) PKT(STEP_TCP, 8, target, flags, __VA_ARGS__)

/* Whole stories, one after another: the life of connections. */
static const struct step stories[] = {
	TCP(0, TCP_SYN),
	TCP(0, TCP_ACK),
	TCP(0, TCP_ACK | TCP_PSH, .len = 20),
	TCP(0, TCP_ACK | TCP_FIN),
	TCP(0, TCP_ACK),
	TCP(1, TCP_SYN),
	TCP(1, TCP_ACK),
	TCP(1, TCP_RST),
	TCP(4, TCP_SYN, .v = 0x80),
	PKT(STEP_BACK, 8, 0, TCP_SYN | TCP_ACK),
	TCP(4, TCP_ACK),
	PKT(STEP_TIME, 0, 0, 0, .len = 1, .v = 1),
	TCP(4, TCP_ACK, .len = 2, .v = 3, .at = {1, 0}),
	TCP(4, TCP_ACK, .len = 2, .v = 3, .at = {2, 0}),
	PKT(STEP_BACK, 8, 0, TCP_ACK, .len = 200, .v = 3, .at = {200, 2}),
	PKT(STEP_BACK, 8, 0, TCP_ACK, .len = 200, .v = 3, .at = {201, 2}),
	TCP(4, TCP_ACK, .len = 2, .v = 3, .at = {3, 201}),
	TCP(4, TCP_ACK | TCP_FIN),
	PKT(STEP_BACK, 8, 0, TCP_FIN | TCP_ACK),
	PKT(STEP_BACK, 8, 2, TCP_FIN | TCP_ACK),
	PKT(STEP_BACK, 8, 1, 0, .len = 10),
	PKT(STEP_BACK_ICMP, 8, 0, 1),
	PKT(STEP_BACK_ICMP, 8, 0, 5, .v = 8),
	TCP(5, TCP_SYN),
	TCP(5, TCP_ACK, .len = 180),
	TCP(5, TCP_ACK, .ttl = 2),
	PKT(STEP_UDP, 9, 0, 0, .len = 4),
	PKT(STEP_UDP, 9, 1, 0, .len = 182),
	PKT(STEP_UDP, 9, 4, 0, .len = 9, .how = HOW_NOSUM),
	PKT(STEP_UDP, 9, 5, 0, .len = 9, .how = HOW_OPTION),
	PKT(STEP_UDP, 10, 6, 0, .len = 8, .v = 0),
	PKT(STEP_UDP, 10, 7, 0, .len = 8, .v = 1),
	PKT(STEP_UDP, 11, 6, 0, .len = 8, .v = 3),
	PKT(STEP_UDP, 12, 8, 0, .v = 0),
	PKT(STEP_UDP, 12, 8, 0, .v = 3),
	PKT(STEP_UDP, 12, 8, 0, .v = 4),
	PKT(STEP_UDP, 12, 9, 0, .v = 4),
	TCP(8, TCP_SYN),
	TCP(8, TCP_ACK),
	PKT(STEP_ICMP, 8, 0, 1),
	PKT(STEP_ICMP, 8, 1, 3, .v = 9),
	PKT(STEP_ICMP, 8, 4, 1, .v = 1),
	PKT(STEP_ICMP, 9, 5, 0, .v = 1),
	PKT(STEP_ICMP, 8, 0, 1, .how = HOW_BENT, .at = {0, 24}, .bend = 1), /* the IP header's checksum */
	PKT(STEP_LATER, 13, 0, 0, .len = 20, .how = HOW_BENT, .at = {0, 24}, .bend = 1),
	PKT(STEP_BACK, 8, 0, TCP_ACK, .how = HOW_BENT, .at = {0, 24}, .bend = 1),
	TCP(1, TCP_ACK, .len = 179, .v = 0), /* 1,492 bytes: in a tunnel beyond the MTU */
	TCP(0, TCP_ACK, .len = 182, .v = 0),
	PKT(STEP_FIRST, 13, 0, 0, .len = 20),
	PKT(STEP_LATER, 13, 0, 0, .len = 20),
	PKT(STEP_FIRST, 13, 1, 1, .len = 20),
	PKT(STEP_LATER, 13, 1, 1, .len = 20),
	PKT(STEP_FIRST, 13, 4, 0, .len = 20),
	PKT(STEP_LATER, 13, 4, 0, .len = 20),
	PKT(STEP_PING, 14, 0, 0),
	PKT(STEP_JUNK, 14, 0, 0, .v = 0),
	PKT(STEP_JUNK, 14, 1, 0, .v = 4),
	PKT(STEP_CONTROL, 0, 0, 0),
	PKT(STEP_CONTROL, 0, 64, 4),
	PKT(STEP_CONTROL, 0, 128, 2, .v = 1),
	PKT(STEP_CONTROL, 0, 1, 3, .v = 0x77),
	PKT(STEP_CONTROL, 0, 2, 7, .v = 3),
	PKT(STEP_CONTROL, 0, 0, 7, .v = 4),
	PKT(STEP_TIME, 0, 0, 1, .len = 10, .v = 10),
	PKT(STEP_TIME, 0, 0, 1, .len = 200, .v = 200),
	TCP(11, TCP_SYN),
	TCP(11, TCP_ACK),
	TCP(2, TCP_SYN, .how = HOW_TAG),
	TCP(3, TCP_SYN, .how = HOW_TAG | HOW_TAG2),
};
#define STORIES (sizeof(stories) / sizeof(*stories))

size_t LLVMFuzzerMutate(__u8 *data, size_t size, size_t max);

/* Part of the stories at a step's border; or one packet of it from many clients, so that the table fills. */
static size_t plant(__u8 *data, size_t size, size_t max, unsigned random)
{
	size_t n = 1 + random % 12, from = random / 16 % STORIES, at = size / sizeof(struct step);
	bool many = random >> 12 & 1;

	for (size_t i = 0; i < n && (at + 1) * sizeof(struct step) <= max; i++, at++) {
		struct step s = stories[many ? from : (from + i) % STORIES];

		s.client += many ? i * 8 : random >> 13 & 7;
		s.target += (random >> 16 & 3) == 3 ? random >> 18 & 15 : 0;
		memcpy(data + at * sizeof(s), &s, sizeof(s));
	}
	return at * sizeof(struct step);
}

size_t LLVMFuzzerCustomMutator(__u8 *data, size_t size, size_t max, unsigned int random)
{
	if (random >> 28 < 3)
		size = plant(data, size, max, random);
	return size && random >> 28 < 2 ? size : LLVMFuzzerMutate(data, size, max);
}
