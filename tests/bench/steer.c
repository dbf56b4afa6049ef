/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What weir_rx costs for one packet that is steered: see rounds.h for how it is measured. IPIP to one of 64
 * backends (16 where the name says so), a random one of so many flows for each packet. When a single packet
 * left another way, by weir_rx's own counters, the row is an error.
 */
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
};

#define EST(n, fam, pro, fl, t) {n, fam, pro, fl, 64, "least-loaded", false, t}
#define NEW(n, be, sch, full, t) {n, 4, IPPROTO_TCP, 0, be, sch, full, t}

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
};

/* ---- frames --------------------------------------------------------------------------------- */

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
	s->len = packet_build(s->frame, sizeof(s->frame), &f, "0123456789abcdef", 16);
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
}

/* ---- the subject ---------------------------------------------------------------------------- */

static int open_subject(struct subject *s, const struct row *r)
{
	static char yaml[1 << 14];
	size_t at = 0;

	at += snprintf(yaml + at, sizeof(yaml) - at,
		       "interfaces: [{name: eth0}]\n"
		       "cache: {capacity: 64, memory: 64K}\n"
		       "flows: {capacity: %s}\n"
		       "services: [{name: test, vips: [\"192.0.2.1:80\", \"[fd00::1]:80\"], protocol: both, pool: p}]\n"
		       "pools:\n  - name: p\n    delivery: tunnel\n    scheduler: %s\n    backends:\n",
		       r->full ? "64K" : "4M", r->scheduler);
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

int main(int argc, char **argv)
{
	FILE *json = bench_options("steer", argc, argv);
	int failed = 0;

	report_head();
	for (const struct row *r = rows; r < rows + sizeof(rows) / sizeof(rows[0]); r++) {
		struct subject s = {0};
		const char *why;
		int err;

		if (!selected(r->name, argv + optind))
			continue;
		err = open_subject(&s, r);
		why = err ? strerror(-err) : measure(&s, r, json);
		if (why)
			report_error(r->name, why);
		failed += why != NULL;
		close_subject(&s);
	}
	if (json && fclose(json))
		return perror("writing results"), 1;
	return failed ? 1 : 0;
}
