/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What weir_rx costs for one packet that is steered: see rounds.h for how it is measured. IPIP to one of 64
 * backends (16 where the name says so), a random one of so many flows for each packet. When a single packet
 * left another way, by weir_rx's own counters, the row is an error.
 *
 * And what it costs more with latencies counted, against the same without, in turns. The others are without. And
 * what one random read of memory costs the machine: less than that no packet of many flows can.
 */
#include <net/if.h>

#include "hops.h"
#include "packet.h"
#include "rounds.h"
#include "weir/reason.h"

#define FIN 0x01
#define SYN 0x02
#define ACK 0x10

struct row {
	const char *name;
	int family, proto;
	unsigned flows;	   /* a power of two; 0: a new one each time */
	unsigned backends; /* 16 or 64 */
	const char *scheduler;
	bool full;	   /* new flows: each has to take another's place */
	const char *target;
	const char *latency; /* YAML: what is counted in one of the two; NULL: a plain row */
	enum traffic { SAME, REQUESTS, PAIRS } traffic;
};

#define EST(n, fam, pro, fl, t) {n, fam, pro, fl, 64, "least-loaded", false, t, NULL, SAME}
#define NEW(n, be, sch, full, t) {n, 4, IPPROTO_TCP, 0, be, sch, full, t, NULL, SAME}
#define LAT(n, fl, be, latency, traffic, t) \
	{n, 4, IPPROTO_TCP, fl, be, "least-loaded", false, t, latency, traffic}

#define DEFAULT	     "flows: 32K" /* every 4 ms, and no more than so many in a tick */
#define MORE_FLOWS   "flows: 256K"
#define EACH_REQUEST "flows: 32K, interval: 0"

static const struct row rows[] = {
	EST("steer/tcp4/1", 4, IPPROTO_TCP, 1, "<= 65"),
	EST("steer/tcp4/1k", 4, IPPROTO_TCP, 1 << 10, "<= 75"),
	EST("steer/tcp4/131k", 4, IPPROTO_TCP, 1 << 17, "<= 160"),
	EST("steer/tcp4/1M", 4, IPPROTO_TCP, 1 << 20, "<= 200"),
	EST("steer/udp4/1k", 4, IPPROTO_UDP, 1 << 10, ""),
	EST("steer/udp4/1M", 4, IPPROTO_UDP, 1 << 20, ""),
	EST("steer/tcp6/1k", 6, IPPROTO_TCP, 1 << 10, ""),
	EST("steer/tcp6/1M", 6, IPPROTO_TCP, 1 << 20, ""),
	NEW("steer/new/16", 16, "least-loaded", false, "<= 250"),
	NEW("steer/new/64", 64, "least-loaded", false, ""),
	NEW("steer/new/16/maglev", 16, "maglev", false, ""),
	NEW("steer/new/16/maglev-bounded", 16, "maglev-bounded", false, ""),
	NEW("steer/new/16/full", 16, "least-loaded", true, "<= new/16"),
	LAT("latency/bulk/1", 1, 64, DEFAULT, SAME, "<= 40"),
	LAT("latency/bulk/1k", 1 << 10, 64, DEFAULT, SAME, "<= 40"),
	LAT("latency/bulk/131k", 1 << 17, 64, DEFAULT, SAME, "<= 40"),
	LAT("latency/bulk/131k/more", 1 << 17, 64, MORE_FLOWS, SAME, ""),
	LAT("latency/requests/1", 1, 64, DEFAULT, REQUESTS, "<= 40"),
	LAT("latency/requests/1/each", 1, 64, EACH_REQUEST, REQUESTS, ""),
	LAT("latency/requests/131k", 1 << 17, 64, DEFAULT, REQUESTS, "<= 40"),
	LAT("latency/requests/131k/more", 1 << 17, 64, MORE_FLOWS, REQUESTS, ""),
	LAT("latency/pairs/1", 1, 1, DEFAULT, PAIRS, "<= 40"),
	LAT("latency/pairs/1/each", 1, 1, EACH_REQUEST, PAIRS, ""),
	LAT("latency/new/16", 0, 16, DEFAULT, SAME, "<= 40"),
};

/* ---- frames --------------------------------------------------------------------------------- */

#define DATA "0123456789abcdef"
_Static_assert(sizeof(DATA) - 1 == BENCH_REPLY_DATA, "as the driver counts");

/* Each request acknowledges what it must to be one; with PAIRS a backend's reply follows. */
static void make_pair(struct bench_state *s, const struct row *r, size_t l4)
{
	struct packet_flow f = {.family = AF_INET, .proto = r->proto, .sport = 80, .dport = 40000};

	s->ack_at = l4 + 8;
	s->seq_at = l4 + 4;
	if (r->traffic != PAIRS)
		return;
	inet_pton(AF_INET, "10.1.0.1", f.src);
	inet_pton(AF_INET, "10.0.0.2", f.dst);
	s->reply_len = packet_build(s->reply, sizeof(s->reply), &f, DATA, BENCH_REPLY_DATA);
	s->reply[l4 + 13] = ACK;
	s->flow_at = 0;
}

static void make_state(struct bench_state *s, const struct row *r, __u8 tcp_flags)
{
	struct packet_flow f = {.family = r->family == 6 ? AF_INET6 : AF_INET, .proto = r->proto, .sport = 40000, .dport = 80};
	size_t l3 = sizeof(struct ethhdr), l4 = l3 + (r->family == 6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u64 random = s->random;
	__u16 words[10];

	inet_pton(f.family, r->family == 6 ? "fd00::2" : "10.0.0.2", f.src);
	inet_pton(f.family, r->family == 6 ? "fd00::1" : "192.0.2.1", f.dst);
	memset(s, 0, sizeof(*s));
	s->random = random ?: 0x9e3779b97f4a7c15ULL;
	s->len = packet_build(s->frame, sizeof(s->frame), &f, DATA, BENCH_REPLY_DATA);
	if (r->proto == IPPROTO_TCP)
		s->frame[l4 + 13] = tcp_flags;
	s->flow_at = r->family == 6 ? l3 + 20 : l3 + 12;
	s->num_mask = r->flows ? r->flows - 1 : (1 << 24) - 1;
	if (r->family == 6)
		return;
	s->check_at = l3 + 10;
	memcpy(words, s->frame + l3, sizeof(words));
	for (int i = 0; i < 10; i++)
		s->check_sum += i == 5 || i == 6 || i == 7 ? 0 : words[i]; /* not the checksum, nor the source */
	if (r->traffic != SAME && !(tcp_flags & SYN))
		make_pair(s, r, l4);
}

/* ---- the subject ---------------------------------------------------------------------------- */

/* A way to the client, in a name space of our own: replies look for it. Packets of test runs come from lo. */
static int make_way(void)
{
	return unshare(CLONE_NEWNET) ||
		       system("ip link set lo up && ip link add way type veth peer name far && "
			      "ip link set way up && ip link set far up && ip addr add 10.0.255.254/16 dev way && "
			      "ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev way nud permanent && "
			      "echo 1 >/proc/sys/net/ipv4/conf/all/forwarding") ?
		       -EIO :
		       0;
}

static int open_subject(struct subject *s, const struct row *r, const char *latency)
{
	static char yaml[1 << 14];
	size_t at = 0;

	at += snprintf(yaml + at, sizeof(yaml) - at,
		       "interfaces: [{name: eth0}]\n"
		       "cache: {capacity: 64, memory: 64K}\n"
		       "flows: {capacity: %s}\n"
		       "latency: {%s}\n"
		       "services: [{name: test, vips: [\"192.0.2.1:80\"%s], protocol: both, pool: p}]\n"
		       "pools:\n  - name: p\n    delivery: %s\n    scheduler: %s\n    backends:\n",
		       r->full ? "64K" : "4M", latency, r->traffic == PAIRS ? "" : ", \"[fd00::1]:80\"",
		       r->traffic == PAIRS ? "nat" : "tunnel", r->scheduler);
	for (unsigned i = 0; i < r->backends; i++)
		at += snprintf(yaml + at, sizeof(yaml) - at, "      - {name: b%u, address: \"10.1.0.%u\"}\n", i, i + 1);
	return rx_fixture_open_yaml(&s->fx, yaml, 1500) ?: add_driver(s);
}

static void empty_table(struct rx_fixture *fx)
{
	struct pools_mem *p = &rx_fixture_maps(fx)->pools;

	memset(p->flows, 0, (size_t)p->ctl->flow_buckets * sizeof(*p->flows));
	for (int i = 0; i < WEIR_POOL_BACKENDS; i++)
		p->pools[0].member[i].active = 0;
}

/* Every flow, or so many, once, in order. */
static int send_all(struct subject *s, const struct row *r, __u8 tcp_flags, unsigned n)
{
	struct worker w = {.subject = s, .cpu = first_cpu};
	struct bench_state *st = &s->states[first_cpu];

	make_state(st, r, tcp_flags);
	st->next = 1;
	run(&w, BENCH_SUBJECT, n);
	return w.err;
}

static int prepare(struct subject *s, const struct row *r)
{
	int err = hops_fill(s->fx, WEIR_POOL_BACKENDS);

	empty_table(s->fx);
	if (!err && r->flows)
		err = send_all(s, r, SYN, r->flows) ?: send_all(s, r, ACK, r->flows);
	if (!err && r->full)
		err = send_all(s, r, SYN, 1 << 18);
	make_state(&s->states[first_cpu], r, r->flows ? ACK : SYN);
	return err;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* New flows fill the table: it is emptied between the rounds. */
static int sample(struct subject *s, const struct row *r, struct worker *w)
{
	time_t end = time(NULL) + row_seconds;
	int err = 0;

	w->turn = r->flows ? repeats / TURNS : 1 << 15;
	run(w, BENCH_SUBJECT, w->turn);
	for (unsigned i = 0; i < rounds && !err && (i < ROUNDS_MIN || time(NULL) < end); i++) {
		round_once(w, &w->together, NULL);
		err = w->err;
		if (!r->flows && !r->full)
			empty_table(s->fx);
	}
	return err;
}

/* How many packets left as they should. */
static __u64 left(struct subject *s)
{
	return rx_fixture_count(s->fx, WEIR_R_STEERED) + rx_fixture_count(s->fx, WEIR_R_TRANSLATED);
}

static unsigned records(struct rx_fixture *fx)
{
	struct maps *m = rx_fixture_maps(fx);
	const struct weir_flow_rec *rec = m->at[MAP_FLOW_RECS];
	unsigned n = 0;

	for (__u32 i = 0; i < maps_ctl(m)->flow_recs; i++)
		n += rec[i].hash != 0;
	return n;
}

/* Until all are measured that can be: only so many are begun in a tick. */
static void settle(struct worker *w, const struct row *r)
{
	unsigned n = 0, before;

	do {
		before = n;
		for (int i = 0; i < 4; i++)
			run(w, BENCH_SUBJECT, repeats / 4);
		n = records(w->subject->fx);
	} while (r->flows > 1 && n > before + before / 50 && !w->err);
}

/* What one subject costs more than the other. New flows are a turn's; then tables are emptied. */
static int sample_between(struct subject *with, struct subject *without, const struct row *r, struct samples *out)
{
	struct worker a = {.subject = with, .cpu = first_cpu}, b = {.subject = without, .cpu = first_cpu};
	__u64 before = left(with) + left(without), more;
	time_t end;

	a.turn = b.turn = r->flows ? repeats / TURNS : 1 << 15;
	if (r->flows)
		settle(&a, r);
	end = time(NULL) + row_seconds;
	for (unsigned i = 0; i < rounds && !a.err && !b.err && (i < ROUNDS_MIN || time(NULL) < end); i++) {
		round_between(&a, &b, out);
		if (!r->flows) {
			empty_table(with->fx);
			empty_table(without->fx);
		}
	}
	more = left(with) + left(without) - before;
	return a.err ?: b.err ?: more == a.packets + b.packets ? 0 : -EBADMSG;
}

static const char *compare(struct subject *with, const struct row *r, FILE *json)
{
	struct samples between = {.n = 0};
	struct subject without = {0};
	int err = open_subject(&without, r, "flows: 0");

	err = err ?: prepare(with, r) ?: prepare(&without, r) ?: sample_between(with, &without, r, &between);
	close_subject(&without);
	if (err)
		return err == -EBADMSG ? "not all packets left as they should" : strerror(-err);
	report_row(json, r->name, "ns", &between, r->target);
	return NULL;
}

static const char *measure(struct subject *s, const struct row *r, FILE *json)
{
	struct worker w = {.subject = s, .cpu = first_cpu};
	static char why[160];
	__u64 counted;
	int err = prepare(s, r);

	counted = rx_fixture_count(s->fx, WEIR_R_STEERED);
	err = err ?: sample(s, r, &w);
	counted = rx_fixture_count(s->fx, WEIR_R_STEERED) - counted;
	if (err || counted != w.packets) {
		snprintf(why, sizeof(why), "%llu of %llu packets were steered (%s)", counted, w.packets, strerror(-err));
		return why;
	}
	report_row(json, r->name, "ns", &w.together, r->target);
	return NULL;
}

/* ---- memory ---------------------------------------------------------------------------------- */

#define MEMORY	    "memory/64M"
#define TABLE_BYTES (64U << 20) /* as the table of 4 million flows */
#define LINE_WORDS  8

/* ns for a random number, and (read) for a read of the table there, on which the next number depends. */
static double memory_run(const __u64 *table, bool read)
{
	__u64 at = 0x9e3779b97f4a7c15ULL;
	volatile __u64 end;
	double start = thread_ns();

	for (unsigned i = 0; i < repeats; i++) {
		at = bench_random(at);
		if (read)
			at ^= table[(at >> 20) % (TABLE_BYTES / sizeof(*table) / LINE_WORDS) * LINE_WORDS]; /* 0 */
	}
	end = at;
	(void)end;
	return (thread_ns() - start) / repeats;
}

/* What the machine itself takes for one read of as much memory: rows of many flows are no cheaper than that. */
static const char *measure_memory(const char *name, FILE *json)
{
	struct samples reads = {.n = 0};
	int err = pin(first_cpu);
	__u64 *table;

	if (err)
		return strerror(-err);
	table = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (table == MAP_FAILED)
		return strerror(errno);
	madvise(table, TABLE_BYTES, MADV_NOHUGEPAGE); /* a map of BPF has none */
	for (size_t i = 0; i < TABLE_BYTES / sizeof(*table); i += LINE_WORDS)
		*(volatile __u64 *)&table[i] = 0;
	for (unsigned i = 0; i < rounds; i++)
		samples_add(&reads, memory_run(table, true) - memory_run(table, false));
	munmap(table, TABLE_BYTES);
	report_row(json, name, "ns", &reads, "");
	return NULL;
}

int main(int argc, char **argv)
{
	FILE *json = bench_options("steer", argc, argv);
	int failed = 0;

	if (make_way())
		return fprintf(stderr, "cannot make a network name space: is it root, and is there ip?\n"), 1;
	report_head();
	for (const struct row *r = rows; r < rows + sizeof(rows) / sizeof(rows[0]); r++) {
		struct subject s = {0};
		const char *why;
		int err;

		if (!selected(r->name, argv + optind))
			continue;
		err = open_subject(&s, r, r->latency ?: "flows: 0");
		why = err ? strerror(-err) : r->latency ? compare(&s, r, json) : measure(&s, r, json);
		if (why)
			report_error(r->name, why);
		failed += why != NULL;
		close_subject(&s);
	}
	if (selected(MEMORY, argv + optind)) {
		const char *why = measure_memory(MEMORY, json);

		if (why)
			report_error(MEMORY, why);
		failed += why != NULL;
	}
	if (json && fclose(json))
		return perror("writing results"), 1;
	return failed ? 1 : 0;
}
