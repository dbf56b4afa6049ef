/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a TCP segment to a cache costs more when its connection is followed: the same through two weir_rx (or
 * weir_tx), in turns, of which one follows none. See rounds.h for how it is measured. The segments of a row are one
 * stream: each follows the one before. When a single one left another way than the row says, the row is an error.
 */
#include "hotset.h"
#include "packet.h"
#include "rounds.h"
#include "weir/reason.h"

#define SYN 0x02
#define ACK 0x10

enum form { STREAM, VALUE, PURE_ACK, OTHER, UDP_HIT, REPLY };

struct row {
	const char *name;
	enum form form;
	int reason;
	const char *text; /* each segment's payload; %s: a key of 16 bytes */
	unsigned more;	  /* bytes of data behind it */
	const char *target;
};

#define GET "get %s\r\n"
#define SET "set %s 0 0 100\r\n"

static const struct row rows[] = {
	{"track/get", STREAM, WEIR_R_TCP, GET, 0, "<= 60"},
	{"track/mg", STREAM, WEIR_R_TCP, "mg %s v\r\n", 0, "<= 60"},
	{"track/get/10", STREAM, WEIR_R_TCP, GET GET GET GET GET GET GET GET GET GET, 0, ""},
	{"track/set/v100", STREAM, WEIR_R_TCP_WRITE, SET, 102, "<= 60"},
	{"track/delete", STREAM, WEIR_R_TCP_WRITE, "delete %s\r\n", 0, "<= 60"},
	{"track/value", VALUE, WEIR_R_TCP, "", 400, "<= 60"},
	{"track/ack", PURE_ACK, WEIR_R_TCP, "", 0, ""},
	{"track/lost", STREAM, WEIR_R_TCP_UNSURE, "frobnicate\r\n", 0, ""},
	{"track/reply", REPLY, WEIR_R_TCP, GET, 0, "<= 60"},
	{"track/reply/write", REPLY, WEIR_R_TCP_WRITE, "delete %s\r\n", 0, "<= 60"},
	{"track/other/tcp", OTHER, WEIR_R_OTHER, GET, 0, "0"},
	{"track/hit/k16/v32", UDP_HIT, WEIR_R_HIT, GET, 0, "0"},
};

/* ---- frames ----------------------------------------------------------------------------------- */

#define KEY	"bench:kkaaaaaaaa"
#define L4_AT	(sizeof(struct ethhdr) + sizeof(struct iphdr))
#define FRAME	512

static const char yaml[] = "interfaces: [{name: eth0}]\n"
			   "cache: {capacity: 1024, memory: 8M%s}\n"
			   "services:\n"
			   "  - name: test\n"
			   "    vips: ['10.0.0.1:11211']\n"
			   "    clients: [10.0.0.0/8]\n";

static struct packet_flow flow_of(const struct row *r)
{
	struct packet_flow f = {.family = AF_INET,
				.proto = r->form == UDP_HIT ? IPPROTO_UDP : IPPROTO_TCP,
				.src_mac = {2, 0, 0, 0, 0, 2},
				.dst_mac = {2, 0, 0, 0, 0, 1},
				.sport = 40000,
				.dport = r->form == OTHER ? 8080 : 11211};

	inet_pton(AF_INET, "10.0.0.2", f.src);
	inet_pton(AF_INET, "10.0.0.1", f.dst);
	return f;
}

static size_t payload(unsigned char *out, const struct row *r)
{
	static const unsigned char udp[WEIR_FRAME_HDR] = {0x12, 0x34, 0, 0, 0, 1, 0, 0};
	size_t n = r->form == UDP_HIT ? sizeof(udp) : 0;

	memcpy(out, udp, n);
	n += sprintf((char *)out + n, r->text, KEY, KEY, KEY, KEY, KEY, KEY, KEY, KEY, KEY, KEY);
	memset(out + n, 'v', r->more);
	if (r->more)
		memcpy(out + n + r->more - 2, "\r\n", 2);
	return n + r->more;
}

static void make_state(struct bench_state *s, const struct row *r)
{
	struct packet_flow flow = flow_of(r);
	unsigned char data[FRAME];
	size_t len = payload(data, r);

	memset(s, 0, sizeof(*s));
	s->len = packet_build(s->frame, sizeof(s->frame), &flow, data, len);
	if (r->form == UDP_HIT)
		return;
	s->frame[L4_AT + 13] = ACK;
	s->next_at = L4_AT + 4;
	s->next_seq = 1;
	s->next_step = len;
}

/* One segment of the row's connection through a program. 0 or -errno. */
static int send_one(const struct bpf_program *prog, struct packet_flow flow, __u32 seq, __u32 ack, __u8 flags,
		    const char *text)
{
	unsigned char frame[FRAME];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .repeat = 1);

	o.data_size_in = packet_build(frame, sizeof(frame), &flow, text, strlen(text));
	*(__u32 *)(frame + L4_AT + 4) = htonl(seq);
	*(__u32 *)(frame + L4_AT + 8) = htonl(ack);
	frame[L4_AT + 13] = flags;
	return bpf_prog_test_run_opts(bpf_program__fd(prog), &o) ? -errno : 0;
}

static struct packet_flow back(struct packet_flow f)
{
	struct packet_flow b = f;

	memcpy(b.src, f.dst, sizeof(b.src));
	memcpy(b.dst, f.src, sizeof(b.dst));
	b.sport = f.dport;
	b.dport = f.sport;
	return b;
}

/* The connection is opened. */
static int shake_hands(const struct subject *s, const struct row *r)
{
	struct packet_flow flow = flow_of(r);

	if (r->form == UDP_HIT)
		return 0;
	return send_one(rx_fixture_prog(s->fx), flow, 0, 0, SYN, "") ?:
	       send_one(rx_fixture_tx_prog(s->fx), back(flow), 0, 1, SYN | ACK, "");
}

/* ---- rows ------------------------------------------------------------------------------------- */

static int fill(struct subject *s)
{
	char value[32];
	struct hot_item item = {.key = KEY,
				.value = value,
				.key_len = 16,
				.value_len = 32,
				.flags = WEIR_SLOT_CAS,
				.cas = 12345,
				.expires_ns = WEIR_NEVER};
	struct hotset *h;
	int err = hotset_open(&h, rx_fixture_mem(s->fx));

	if (err)
		return err;
	memset(value, 'v', sizeof(value));
	item.fence = hotset_fence(h, 0, KEY, 16);
	err = hotset_put(h, &item);
	return hotset_close(h) ?: err < 0 ? err : 0;
}

static int open_subject(struct subject *s, const struct row *r, bool follow)
{
	char text[512];
	int err;

	snprintf(text, sizeof(text), yaml, follow ? "" : ", connections: 0");
	err = rx_fixture_open_yaml(&s->fx, text, 1500) ?: add_driver(s) ?: shake_hands(s, r);
	if (!err)
		make_state(&s->states[first_cpu], r);
	return err ?: r->form == UDP_HIT ? fill(s) : 0;
}

/* ns of one of n segments. Of a value: n segments are one. */
static double run_turn(struct worker *w, const struct row *r)
{
	struct bench_state *st = &w->subject->states[w->cpu];
	char set[64];

	if (r->form == VALUE) {
		snprintf(set, sizeof(set), "set %s 0 0 %u\r\n", KEY, w->turn * r->more - 2);
		w->err = w->err ?: send_one(rx_fixture_prog(w->subject->fx), flow_of(r), st->next_seq, 1, ACK, set);
		st->next_seq += strlen(set);
	}
	return run(w, BENCH_SUBJECT, w->turn);
}

/* ns of weir_tx for one of n replies to the same command; what the kernel does for a test run included. */
static double run_reply(struct worker *w, const struct row *r)
{
	struct bench_state *st = &w->subject->states[w->cpu];
	struct packet_flow f = back(flow_of(r));
	static const char text[] = "VALUE a 0 1\r\nx\r\nEND\r\n";
	unsigned char frame[FRAME];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .repeat = w->turn);
	double start;

	run(w, BENCH_SUBJECT, 1);
	o.data_size_in = packet_build(frame, sizeof(frame), &f, text, strlen(text));
	*(__u32 *)(frame + L4_AT + 8) = htonl(st->next_seq);
	start = thread_ns();
	if (bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_tx_prog(w->subject->fx)), &o) || o.retval)
		w->err = -EIO;
	return (thread_ns() - start) / w->turn;
}

static double turn_of(struct worker *w, const struct row *r)
{
	return r->form == REPLY ? run_reply(w, r) : run_turn(w, r);
}

static void round_of(struct worker *w, const struct row *r, struct samples *between)
{
	struct samples turns = {.n = 0};
	double before = turn_of(&w[1], r), more, after;

	for (int i = 0; i < TURNS; i++) {
		more = turn_of(&w[0], r);
		after = turn_of(&w[1], r);
		samples_add(&turns, more - (before + after) / 2);
		before = after;
	}
	samples_add(between, samples_median(&turns));
}

/* NULL, or why there is no number. */
static const char *measure(struct subject *s, const struct row *r, FILE *json)
{
	struct worker w[2] = {{.subject = &s[0], .cpu = first_cpu}, {.subject = &s[1], .cpu = first_cpu}};
	int plain = r->form == OTHER || r->form == UDP_HIT ? r->reason : WEIR_R_TCP;
	time_t end = time(NULL) + row_seconds;
	struct samples between = {.n = 0};
	unsigned long long was[2], is;

	for (int i = 0; i < 2; i++) {
		w[i].turn = repeats / TURNS;
		was[i] = rx_fixture_count(s[i].fx, i ? plain : r->reason);
	}
	for (unsigned i = 0; i < rounds && (i < ROUNDS_MIN || time(NULL) < end); i++)
		round_of(w, r, &between);
	for (int i = 0; i < 2; i++) {
		is = rx_fixture_count(s[i].fx, i ? plain : r->reason) - was[i];
		if (w[i].err)
			return strerror(-w[i].err);
		if (r->form == VALUE && i) /* the sets are counted as the rest */
			continue;
		if (is != w[i].packets)
			return "not all segments left as they should";
	}
	report_row(json, r->name, "ns", &between, r->target);
	return NULL;
}

int main(int argc, char **argv)
{
	FILE *json = bench_options("track", argc, argv);
	int failed = 0;

	report_head();
	for (const struct row *r = rows; r < rows + sizeof(rows) / sizeof(*rows); r++) {
		struct subject s[2] = {{0}};
		const char *why;
		int err;

		if (!selected(r->name, argv + optind))
			continue;
		err = open_subject(&s[0], r, true) ?: open_subject(&s[1], r, false);
		why = err ? strerror(-err) : measure(s, r, json);
		if (why)
			report_error(r->name, why);
		failed += why != NULL;
		close_subject(&s[0]);
		close_subject(&s[1]);
	}
	if (json && fclose(json))
		return perror("writing results"), 1;
	return failed ? 1 : 0;
}
