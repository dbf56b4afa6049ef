/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any bytes are a frame, a datagram, or a request: the receive program, compiled for the host, does
 * with it what it promises.
 *
 * - What it does not answer leaves as it came.
 * - What it answers is a lookup of a client, and the reply is what a small memcached of this file's
 *   own says, in a frame with right checksums.
 * - What that memcached would take for a write raises a fence: of the key, or of the service.
 * - All of it is the same where steering is on, and none of these services has a pool.
 */
#include "../bpf/packet.c"

#include <stdarg.h>
#include <stdio.h>

/* The program under test. Its names are its own. */
#include "../../bpf/weir_rx.bpf.c"

#include "hotset.h"

#include "kernel.h"

#define BUCKETS    64
#define SLABS      4
#define ENTRIES    64
#define NOW        1000000000000ULL
#define FENCES_MAX 16

static struct weir_ctl the_ctl;
static struct weir_bucket the_index[BUCKETS];
static struct weir_slab the_slabs[SLABS] __attribute__((aligned(64)));
static __u64 the_hits[ENTRIES];
static struct weir_fence the_fences[WEIR_FENCE_STRIPES];
static struct weir_svc_fence the_svc_fences[WEIR_SERVICES_MAX];
static __u64 the_pending[WEIR_PENDING];
static struct weir_count the_stats[(WEIR_SERVICES_MAX + 1) * WEIR_REASON_MAX];
static struct weir_work the_work;
static struct weir_flow_rec the_recs[4];
static struct weir_histogram the_latency[WEIR_LAT_PATHS];

/* The fences that the program looked at, as they were. */
static struct seen_fence {
	__u64 *count, before;
} seen_fences[FENCES_MAX];
static int nfences;

/* ---- the kernel's part ------------------------------------------------------------------------ */

static const struct fake_map *fake_maps(int *n)
{
	static const struct fake_map all[] = {
		{&ctl, &the_ctl, sizeof(the_ctl), 1},
		MAP(hot_index, the_index),
		MAP(hot_slabs, the_slabs),
		MAP(hot_hits, the_hits),
		MAP(hot_fence, the_fences),
		MAP(svc_fence, the_svc_fences),
		MAP(pending, the_pending),
		MAP(stats, the_stats),
		MAP(flow_recs, the_recs),
		MAP(latency, the_latency),
		{&work, &the_work, sizeof(the_work), 1},
	};

	*n = sizeof(all) / sizeof(*all);
	return all;
}

static void *fake_lookup(void *map, const void *key, void *value)
{
	if ((map == &hot_fence || map == &svc_fence) && value) {
		require(nfences < FENCES_MAX);
		seen_fences[nfences++] = (struct seen_fence){value, *(__u64 *)value};
	}
	return value;
}

/* No service here has a pool: nothing leaves by a route. */
static long fake_fib(__u32 from, struct bpf_fib_lookup *f)
{
	require(!"reached");
	return 0;
}

/* ---- a small memcached ------------------------------------------------------------------------ */

struct thing {
	const char *key, *value;
	__u32 flags;
	__u64 cas; /* 0: not known */
	bool immortal, b64, dead;
};

static char long_key[251], long_value[1360];
static const struct thing things[] = {
	{"foo", "bar", 5, 17, true, false, false},
	{"a", "", 0, 1, true, false, false},
	{"nocas", "some value", 4294967295U, 0, true, false, false},
	{"mortal", "x", 0, 18446744073709551615ULL, false, false, false},
	{"b64", "binary", 1, 2, true, true, false},
	{"dead", "old", 0, 3, true, false, true},
	{"sixteen-bytes-16", "END\r\nVALUE foo 0 3\r\n", 0, 4, true, false, false},
	{long_key, "v", 0, 5, true, false, false},
	{"big", long_value, 0, 6, true, false, false},
};

struct word {
	const char *p;
	size_t len;
};

struct text {
	char p[4096];
	size_t len;
};

static void add(struct text *t, const void *p, size_t len)
{
	require(t->len + len <= sizeof(t->p));
	memcpy(t->p + t->len, p, len);
	t->len += len;
}

static void addf(struct text *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	t->len += vsnprintf(t->p + t->len, sizeof(t->p) - t->len, fmt, args);
	va_end(args);
}

static bool is(struct word w, const char *s)
{
	return w.len == strlen(s) && !memcmp(w.p, s, w.len);
}

static bool starts(struct word w, const char *letters)
{
	return w.len && strchr(letters, *w.p);
}

/* Words between spaces. A NUL ends the line, as it does memcached's strings. */
static int split(const char *p, size_t len, struct word *w, int max)
{
	int n = 0;

	len = strnlen(p, len);
	for (size_t i = 0; i < len && n < max;) {
		size_t end = i;

		while (end < len && p[end] != ' ')
			end++;
		if (end > i)
			w[n++] = (struct word){p + i, end - i};
		i = end + 1;
	}
	return n;
}

static const struct thing *find(struct word key)
{
	for (size_t i = 0; i < sizeof(things) / sizeof(*things); i++) {
		if (is(key, things[i].key))
			return things[i].dead ? NULL : &things[i];
	}
	return NULL;
}

static int sextet(char c)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? at - alphabet : -1;
}

static bool decode(struct word *w)
{
	static char out[256];
	size_t n = 0, len = w->len;
	__u32 bits = 0, have = 0;

	while (len && w->p[len - 1] == '=' && w->len - len < 2)
		len--;
	for (size_t i = 0; i < len; i++) {
		int s = sextet(w->p[i]);

		if (s < 0)
			return false;
		bits = bits << 6 | s;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = bits >> have;
			bits &= (1U << have) - 1;
		}
	}
	*w = (struct word){out, n};
	return n && (w->len == n);
}

static bool model_get(const struct word *w, int n, struct text *out)
{
	bool cas = is(w[0], "gets");
	const struct thing *t = n == 2 && w[1].len <= 250 ? find(w[1]) : NULL;

	if (!t || (cas && !t->cas))
		return false;
	addf(out, "VALUE %s %u %zu", t->key, t->flags, strlen(t->value));
	if (cas)
		addf(out, " %llu", (unsigned long long)t->cas);
	addf(out, "\r\n%s\r\nEND\r\n", t->value);
	return true;
}

/* One flag's answer, false: only the real one knows. */
static bool model_flag(struct word f, const struct thing *t, struct text *out)
{
	if (*f.p == 'O') {
		add(out, " ", 1);
		add(out, f.p, f.len);
		return f.len <= 32;
	}
	if (f.len != 1)
		return false;
	switch (*f.p) {
	case 'k':
		addf(out, " k%s", t->key);
		return !t->b64;
	case 's':
		addf(out, " s%zu", strlen(t->value));
		return true;
	case 'f':
		addf(out, " f%u", t->flags);
		return true;
	case 'c':
		addf(out, " c%llu", (unsigned long long)t->cas);
		return t->cas;
	case 't':
		addf(out, " t-1");
		return t->immortal;
	}
	return strchr("bquv", *f.p);
}

static bool model_mg(struct word *w, int n, struct text *out)
{
	bool value = false, b64 = false, seen[256] = {};
	const struct thing *t;

	for (int i = 2; i < n; i++) {
		value |= *w[i].p == 'v';
		b64 |= *w[i].p == 'b';
		if (seen[(__u8)*w[i].p])
			return false;
		seen[(__u8)*w[i].p] = true;
	}
	if (n < 2 || w[1].len > 250 || (b64 && !decode(&w[1])))
		return false;
	t = find(w[1]);
	if (!t)
		return false;
	if (value)
		addf(out, "VA %zu", strlen(t->value));
	else
		addf(out, "HD");
	for (int i = 2; i < n; i++) {
		if (!model_flag(w[i], t, out))
			return false;
	}
	addf(out, "\r\n");
	if (value)
		addf(out, "%s\r\n", t->value);
	return true;
}

static __u32 be(const __u8 *p, int bytes)
{
	__u32 v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static bool model_binary(const __u8 *p, size_t len, struct text *out)
{
	const struct thing *t;
	size_t key_len, ret_len;
	__u8 head[28] = {0x81};

	if (len < 24 || !memchr("\x00\x09\x0c\x0d", p[1], 4) || p[4] || be(p + 8, 4) != be(p + 2, 2) ||
	    len != 24 + be(p + 8, 4))
		return false;
	key_len = be(p + 2, 2);
	t = key_len <= 250 ? find((struct word){(const char *)p + 24, key_len}) : NULL;
	if (!t || !t->cas)
		return false;
	ret_len = p[1] >= 0x0c ? key_len : 0;
	head[1] = p[1];
	head[3] = ret_len;
	head[4] = 4;
	frame_put16((struct frame *)head, 10, 4 + ret_len + strlen(t->value));
	memcpy(head + 12, p + 12, 4);
	for (int i = 0; i < 8; i++)
		head[16 + i] = t->cas >> (56 - 8 * i);
	for (int i = 0; i < 4; i++)
		head[24 + i] = t->flags >> (24 - 8 * i);
	add(out, head, 28);
	add(out, t->key, ret_len);
	add(out, t->value, strlen(t->value));
	return true;
}

/* What memcached answers to this payload, behind the frame header. False: not for us to say. */
static bool model(const __u8 *p, size_t len, struct text *out)
{
	const char *nl = memchr(p, '\n', len);
	struct word w[40];
	size_t line;
	int n;

	out->len = 0;
	if (len && *p == 0x80)
		return model_binary(p, len, out);
	if (!nl || nl + 1 != (const char *)p + len)
		return false;
	line = len - 1;
	if (line && p[line - 1] == '\r')
		line--;
	if (memchr(p, '\0', line))
		return false;
	n = split((const char *)p, line, w, 40);
	if (n && (is(w[0], "get") || is(w[0], "gets")))
		return model_get(w, n, out);
	return n && n < 20 && is(w[0], "mg") && model_mg(w, n, out);
}

/* ---- writes ----------------------------------------------------------------------------------- */

static const char *const verbs[] = {"set",    "add",  "replace", "append",   "prepend", "cas",
				    "delete", "incr", "decr",    "touch",    "gat",     "gats",
				    "ms",     "md",   "ma",      "flush_all"};

/* mg writes with N, R or T, unless memcached refuses the line. */
static bool mg_writes(const struct word *w, int n)
{
	bool seen[256] = {}, writes = false;

	if (n < 3 || n > 20 || w[1].len > 250)
		return false;
	for (int i = 2; i < n; i++) {
		if (!starts(w[i], "bNTRlOPLksctfvhuqFSCIJDMEW") || seen[(__u8)*w[i].p])
			return false;
		seen[(__u8)*w[i].p] = true;
		writes |= starts(w[i], "NRT");
	}
	return writes;
}

/* Whether a line is a write; *key is then its key, where that stands plainly. */
static bool line_writes(const char *p, size_t len, struct word *key)
{
	struct word w[40];
	int n;

	if (len && p[len - 1] == '\r')
		len--;
	n = split(p, len, w, 40);
	key->len = 0;
	if (!n)
		return false;
	if (n > 1)
		*key = w[1];
	if (is(w[0], "mg")) {
		key->len = 0; /* it may be in base64 */
		return mg_writes(w, n);
	}
	if (n < 2 && !is(w[0], "flush_all"))
		return false;
	if (is(w[0], "gat") || is(w[0], "gats")) {
		if (n < 3)
			return false;
		*key = w[2];
	}
	if (is(w[0], "ms") || is(w[0], "md") || is(w[0], "ma") || is(w[0], "flush_all"))
		key->len = 0;
	for (size_t i = 0; i < key->len; i++) {
		if ((__u8)key->p[i] < ' ') { /* such a key is never hot: any fence will do */
			key->len = 0;
			break;
		}
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (is(w[0], verbs[i]))
			return true;
	}
	return false;
}

static bool text_writes(const char *p, size_t len, struct word *key)
{
	bool writes = false;
	int lines = 0;

	while (len) {
		const char *nl = memchr(p, '\n', len);
		struct word k;

		if (!nl)
			break;
		if (line_writes(p, nl - p, &k)) {
			writes = true;
			*key = lines ? (struct word){NULL, 0} : k;
		}
		len -= nl + 1 - p;
		p = nl + 1;
		lines++;
	}
	return writes;
}

static bool binary_writes(const __u8 *p, size_t len)
{
	static const __u8 ops[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0e, 0x0f, 0x11, 0x12, 0x13,
				   0x14, 0x15, 0x16, 0x18, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x23, 0x24};

	while (len >= 24 && *p == 0x80) {
		size_t n = 24 + (size_t)be(p + 8, 4);

		if (memchr(ops, p[1], sizeof(ops)))
			return true;
		if (n > len)
			return false;
		p += n;
		len -= n;
	}
	return false;
}

/* ---- the frame, read once more ---------------------------------------------------------------- */

/* Whether the frame is a whole datagram of a client to the service, plain enough to be answered. */
static bool from_client(struct frame *f)
{
	__u8 *ip;
	size_t l4_len;
	int tags = 0;

	f->l3 = 14;
	while (tags < 2 && f->len >= f->l3 &&
	       (be(f->b + f->l3 - 2, 2) == 0x8100 || be(f->b + f->l3 - 2, 2) == 0x88a8)) {
		f->l3 += 4;
		tags++;
	}
	if (f->len < f->l3 + 28)
		return false;
	ip = f->b + f->l3;
	if (be(ip - 2, 2) == 0x0800) {
		static const __u8 vip[4] = {10, 0, 0, 1};

		f->family = 4;
		f->l4 = f->l3 + 20;
		if (ip[0] != 0x45 || rfc1071(ip, 20) || be(ip + 2, 2) < 28 ||
		    f->l3 + be(ip + 2, 2) > f->len || be(ip + 6, 2) & 0x3fff || ip[9] != 17 ||
		    memcmp(ip + 16, vip, 4) || ip[12] != 10 || !memcmp(ip + 12, vip, 4))
			return false;
		l4_len = be(ip + 2, 2) - 20;
	} else {
		static const __u8 vip[16] = {0xfd, [15] = 1};

		f->family = 6;
		f->l4 = f->l3 + 40;
		if (be(ip - 2, 2) != 0x86dd || f->len < f->l4 + 8 || ip[0] >> 4 != 6 ||
		    f->l4 + be(ip + 4, 2) > f->len || be(ip + 4, 2) < 8 || ip[6] != 17 ||
		    memcmp(ip + 24, vip, 16) || ip[8] != 0xfd || !memcmp(ip + 8, vip, 16) ||
		    !be(f->b + f->l4 + 6, 2))
			return false;
		l4_len = be(ip + 4, 2);
	}
	f->data = f->l4 + 8;
	if (f->family == 6 && !be(f->b + f->l4 + 4, 2) && l4_len >= 8)
		frame_put16(f, f->l4 + 4, l4_len);
	return be(f->b + f->l4 + 2, 2) == 11211 && be(f->b + f->l4, 2) && be(f->b + f->l4, 2) != 11211 &&
	       be(f->b + f->l4 + 4, 2) >= 8 && be(f->b + f->l4 + 4, 2) <= l4_len;
}

static void check_reply(const struct frame *q, const struct frame *r, const struct text *want)
{
	size_t l3 = q->l3, addr = q->family == 4 ? 4 : 16, src = q->family == 4 ? 12 : 8;
	size_t ip_len = r->family == 4 ? be(r->b + l3 + 2, 2) : 40 + be(r->b + l3 + 4, 2);
	size_t len = be(r->b + r->l4 + 4, 2);

	require(!memcmp(r->b, q->b + 6, 6) && !memcmp(r->b + 6, q->b, 6) &&
		!memcmp(r->b + 12, q->b + 12, l3 - 12));
	require(!memcmp(r->b + l3 + src, q->b + l3 + src + addr, addr));
	require(!memcmp(r->b + l3 + src + addr, q->b + l3 + src, addr));
	require(!memcmp(r->b + r->l4, q->b + q->l4 + 2, 2) && !memcmp(r->b + r->l4 + 2, q->b + q->l4, 2));
	require(r->b[l3 + (r->family == 4 ? 8 : 7)] == 64 && r->b[l3 + (r->family == 4 ? 9 : 6)] == 17);
	require(l3 + ip_len <= r->len && (l3 + ip_len == r->len || r->len == 60));
	require(r->l4 + len == l3 + ip_len && len - 8 <= 1400 && ip_len <= 1500);
	require(frame_csums_ok(r));
	require(!memcmp(r->b + r->data, q->b + q->data, 2) && be(r->b + r->data + 2, 2) == 0 &&
		be(r->b + r->data + 4, 2) == 1 && be(r->b + r->data + 6, 2) == 0);
	require(len - 16 == want->len && !memcmp(r->b + r->data + 8, want->p, want->len));
}

/* ---- the run ---------------------------------------------------------------------------------- */

static int no_grace(void *arg)
{
	return 0;
}

static void put_things(void)
{
	struct hotset_mem mem = {.ctl = &the_ctl,
				 .index = the_index,
				 .slabs = the_slabs,
				 .hits = the_hits,
				 .fences = the_fences,
				 .svc_fences = the_svc_fences,
				 .grace = no_grace};
	struct hotset *h;

	require(!hotset_open(&h, &mem));
	for (size_t i = 0; i < sizeof(things) / sizeof(*things); i++) {
		const struct thing *t = &things[i];
		struct hot_item it = {
			.key = t->key,
			.key_len = strlen(t->key),
			.value = t->value,
			.value_len = strlen(t->value),
			.client_flags = t->flags,
			.cas = t->cas,
			.expires_ns = t->dead ? NOW : WEIR_NEVER,
			.flags = (t->cas ? WEIR_SLOT_CAS : 0) | (t->b64 ? WEIR_SLOT_KEY_B64 : 0) |
				 (t->immortal ? WEIR_SLOT_IMMORTAL : 0),
		};

		require(hotset_put(h, &it) == HOT_ADDED);
	}
	require(!hotset_close(h));
}

static void net(struct weir_net *n, __u32 addr, __u32 mask)
{
	n->addr.w[0] = htonl(addr);
	n->mask.w[0] = htonl(mask);
}

static void configure(struct weir_config *c)
{
	c->hash_seed = the_ctl.hash_seed;
	c->index_mask = BUCKETS - 1;
	c->entries = ENTRIES;
	c->mtu = 1500;
	c->latency = 1;
	c->rec_mask = sizeof(the_recs) / sizeof(*the_recs) - 1;
	c->nvips = 2;
	c->vips[0] = (struct weir_vip){.addr.w = {htonl(0x0a000001)}, .port = htons(11211), .family = 4};
	c->vips[1] = (struct weir_vip){
		.addr.w = {htonl(0xfd000000), 0, 0, htonl(1)}, .port = htons(11211), .family = 6};
	c->services[0].flags = WEIR_SVC_CACHE;
	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		c->services[i].pool = c->services[i].migrate_pool = c->services[i].fallback = WEIR_POOL_NONE;
	c->services[0].nclients4 = c->services[0].nclients6 = 1;
	net(&c->services[0].clients4[0], 0x0a000000, 0xff000000);
	net(&c->services[0].clients6[0], 0xfd000000, 0xff000000);
	for (int i = 0; i < 2; i++) {
		__u8 *place = &c->vip_index[weir_vip_hash(c->vip_seed, &c->vips[i].addr, c->vips[i].port)];

		require(!*place); /* with this seed there is no collision */
		*place = i + 1;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct weir_config config;

	room_make();
	fake_now = NOW;
	the_ctl = (struct weir_ctl){.lease_deadline_ns = WEIR_NEVER,
				    .hash_seed = 0x1234567,
				    .index_buckets = BUCKETS,
				    .slabs = SLABS,
				    .entries = ENTRIES,
				    .hit_entries = ENTRIES,
				    .ncpu = 1};
	memset(long_key, 'k', 250);
	memset(long_value, 'v', sizeof(long_value) - 1);
	put_things();
	configure(&config);
	fake_rodata(&config);
	return 0;
}

/* Which fences were raised; they are put back, so that hot copies answer the next packet. */
static bool lower_fences(struct word key)
{
	__u64 *service = &the_svc_fences[0].count, *stripe = NULL;
	bool any = false, right = !key.len;

	if (key.len)
		stripe = &the_fences[weir_stripe(hot_hash(the_ctl.hash_seed, 0, key.p, key.len))].count;
	for (int i = 0; i < nfences; i++) {
		if (*seen_fences[i].count == seen_fences[i].before)
			continue;
		any = true;
		right |= seen_fences[i].count == service || seen_fences[i].count == stripe;
		*seen_fences[i].count = seen_fences[i].before;
	}
	return any && right;
}

/* From the input's first byte: what the rest is. */
static bool make_frame(struct frame *f, const __u8 *data, size_t size)
{
	struct flow flow = {.src = "10.0.0.2", .dst = "10.0.0.1", .sport = 40000, .dport = 11211};
	struct msg m;
	__u8 how;

	if (size < 2 || size > 1500)
		return false;
	how = *data++;
	size--;
	*(volatile __u32 *)&cfg.steer = *(volatile __u32 *)&cfg.nat = how >> 7;
	head_room = how & 0x10 ? 256 : 0;
	tail_room = how & 0x20 ? 1700 : how & 0x40 ? 64 : 0;
	if ((how & 3) == 0) {
		if (size < ETH_HLEN)
			return false;
		memset(f, 0, sizeof(*f));
		memcpy(f->b, data, size);
		f->len = size;
		return true;
	}
	if (how & 4) {
		flow.src = "fd00::2";
		flow.dst = "fd00::1";
	}
	flow.tags = how >> 3 & 1;
	m.len = 0;
	if ((how & 3) != 1)
		msg_frame(&m, 0x4242, 0, 1);
	msg_add(&m, data, size);
	frame_udp(f, &flow, m.b, m.len);
	return true;
}

static int run(const struct frame *in, struct frame *out)
{
	struct xdp_md ctx = {};
	int action;

	room_place(&ctx, in->len);
	redirected = -1;
	memcpy(frame_begin(&ctx), in->b, in->len);
	nfences = 0;
	action = weir_rx(&ctx);
	require(room_untouched(&ctx));
	*out = *in;
	out->len = frame_len(&ctx);
	require(out->len <= sizeof(out->b));
	memcpy(out->b, frame_begin(&ctx), out->len);
	return action;
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	static struct frame in, out, q;
	static struct text want;
	struct word key = {NULL, 0};
	bool client, writes = false;
	const __u8 *p;
	size_t len;
	int action;

	if (!make_frame(&in, data, size))
		return 0;
	q = in;
	client = from_client(&q);
	action = run(&in, &out);
	require(action == XDP_PASS || action == XDP_DROP || action == XDP_TX);
	p = q.b + q.data + 8;
	len = client ? be(q.b + q.l4 + 4, 2) - 8 : 0;
	if (client && len > 8 && be(q.b + q.data + 4, 2) == 1)
		writes = *p == 0x80 ? binary_writes(p, len - 8) : text_writes((const char *)p, len - 8, &key);
	if (writes)
		require(action == XDP_PASS && lower_fences(key));
	else
		lower_fences(key);
	if (action != XDP_TX) {
		require(out.len == in.len && !memcmp(out.b, in.b, in.len));
		return 0;
	}
	require(client && len > 8 && be(q.b + q.data + 4, 2) == 1);
	require(model(p, len - 8, &want));
	out.l3 = q.l3;
	out.l4 = q.l4;
	out.data = q.data;
	out.family = q.family;
	check_reply(&q, &out, &want);
	return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------ */

#define HEAD_TAIL 0x30 /* room at both ends */
#define REQUEST4  (HEAD_TAIL | 2)
#define REQUEST6  (HEAD_TAIL | 2 | 4)
#define TAGGED    (HEAD_TAIL | 2 | 8)

static const struct seed {
	__u8 how;
	const char *request;
	size_t len; /* 0: strlen */
} seeds[] = {
	{REQUEST4, "get foo\r\n", 0},
	{REQUEST6, "gets sixteen-bytes-16\r\n", 0},
	{TAGGED, "get a\n", 0},
	{REQUEST4, "get big\r\n", 0},
	{REQUEST6, "gets foo a\r\n", 0},
	{2, "get foo\r\n", 0},
	{REQUEST4, "mg foo k v s f t c O123 q u\r\n", 0},
	{REQUEST6, "mg Zm9v b k v\r\n", 0},
	{REQUEST4, "mg mortal c s\r\n", 0},
	{REQUEST4, "mg foo N30 R3 T30\r\n", 0},
	{TAGGED, "mg big v O1 k s\r\n", 0},
	{REQUEST4, "set foo 1 0 3\r\nxyz\r\n", 0},
	{REQUEST4, "cas foo 1 0 1 17 noreply\r\nx\r\n", 0},
	{REQUEST4, "delete foo\r\n", 0},
	{REQUEST4, "incr foo 1\r\n", 0},
	{REQUEST4, "touch foo 10\r\n", 0},
	{REQUEST4, "gat 10 foo\r\n", 0},
	{REQUEST4, "flush_all 10\r\n", 0},
	{REQUEST4, "ms Zm9v 1 b T3\r\nx\r\n", 0},
	{REQUEST4, "md foo q\r\n", 0},
	{REQUEST4, "ma foo N0 J5 v\r\n", 0},
	{REQUEST4, "mn\r\n", 0},
	{REQUEST4, "get foo\r\nset a 0 0 1\r\nx\r\n", 0},
	{REQUEST4,
	 "\x80\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03"
	 "abcd\x00\x00\x00\x00\x00\x00\x00\x00"
	 "foo",
	 27},
	{REQUEST6,
	 "\x80\x0d\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03"
	 "abcd\x00\x00\x00\x00\x00\x00\x00\x00"
	 "big",
	 27},
	{REQUEST4,
	 "\x80\x04\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03"
	 "abcd\x00\x00\x00\x00\x00\x00\x00\x00"
	 "foo",
	 27},
	{HEAD_TAIL | 1, "\x12\x34\x00\x00\x00\x01\x00\x00get foo\r\n", 17},
};

size_t LLVMFuzzerMutate(__u8 *data, size_t size, size_t max);

/* A seed as it is; or as a whole frame, so that its headers are bent as well. */
static size_t plant(__u8 *data, size_t max, unsigned int random)
{
	const struct seed *s = &seeds[random % (sizeof(seeds) / sizeof(*seeds))];
	size_t len = s->len ?: strlen(s->request);
	static __u8 input[64];
	static struct frame f;

	input[0] = s->how;
	memcpy(input + 1, s->request, len);
	if (!(random & 0x10000)) {
		len = len + 1 < max ? len + 1 : max;
		memcpy(data, input, len);
		return len;
	}
	require(make_frame(&f, input, len + 1));
	len = f.len + 1 < max ? f.len + 1 : max;
	data[0] = HEAD_TAIL;
	memcpy(data + 1, f.b, len - 1);
	return len;
}

size_t LLVMFuzzerCustomMutator(__u8 *data, size_t size, size_t max, unsigned int random)
{
	if (max > 64 && (random >> 20) % 16 == 0)
		size = plant(data, max, random);
	/* Half of the seeds stay whole. */
	return size && (random >> 20) % 32 == 0 ? size : LLVMFuzzerMutate(data, size, max);
}
