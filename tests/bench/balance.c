/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How evenly connections are spread. One recorded workload (workload.h) is played to simulated backends
 * (servers.h) again and again, each time another scheduler chooses for each connection as it arrives. Weir is
 * the real program: an arrival is a SYN and an ACK through weir_rx, an end is a FIN, and the backend is read off
 * the tunnel's header. The others are a few lines each, below.
 *
 * The recording is played in three parts, each a sample. Arrivals are stretched so that a part's work is 0.75 of
 * what the backends could do in its time. What is seen of a part's first tenth does not count.
 *
 * When a packet is not steered, is steered elsewhere than its connection's SYN, or Weir's count of a backend's
 * active connections is not the real one at the end, the row is an error.
 */
#include <getopt.h>

#include "flows.h"
#include "hops.h"
#include "maglev.h"
#include "packet.h"
#include "report.h"
#include "rx_fixture.h"
#include "servers.h"
#include "weir/reason.h"
#include "workload.h"

#define PARTS	     3
#define CONNECTIONS  (PARTS * 80000)
#define LOAD	     0.75
#define CPUS	     4 /* of a backend, in the mean */
#define BACKENDS_MAX (4 * WEIR_POOL_BACKENDS) /* of one pool */
#define SECOND	     1e6		      /* us */

/* What the agent's check measures: two round trips, and a small request that is a connection among the others. */
#define CHECK_EVERY   (SECOND / 2)
#define CHECK_TRIP    200.0
#define CHECK_WORK    1000.0
#define CHECKS_BEFORE 16 /* of each backend, while it has nothing to do */

#define FIN 0x01
#define SYN 0x02
#define ACK 0x10

struct scene {
	const char *name, *what;
	double slower; /* by how much one backend is */
	bool sized;    /* capacities 1:2:4 in turn, else all the same */
};

static const struct scene scenes[] = {
	{"equal", "equal backends", 1, false},
	{"slow", "one is three times slower, unknown to all", 3, false},
	{"sized", "capacities 1:2:4, known", 1, true},
};

static const unsigned sizes[] = {16, 256};
#define SIZES 2

/* weir_rx with a pool, and one frame to send. */
struct weir {
	struct rx_fixture *fx;
	unsigned id[BACKENDS_MAX]; /* of each backend in the pool */
	unsigned pool;
	__u64 packets;
	unsigned char frame[256];
	unsigned len;
};

/* One part played to one pool. */
struct run {
	const struct scheduler *by;
	struct weir *weir;
	struct server *s;
	double *due; /* server_due() of each */
	unsigned n;
	const struct arrival *a;
	unsigned conns;
	double stretch;
	unsigned *where; /* backend of each connection */
	double *took;	 /* us, until it was over */
	double next_second, *next_check;
	__u64 random;
	double *turn;	 /* of by_turn() */
	struct weir_maglev *table;
	const char *why; /* it cannot go on */
};

struct scheduler {
	const char *name;
	int (*choose)(struct run *r, unsigned conn); /* a backend, or -errno */
	__u32 weir; /* WEIR_SCHED_* */
	bool checked; /* the agent measures latencies */
};

/* ---- Weir ----------------------------------------------------------------------------------- */

static int weir_open(struct weir *w, unsigned n)
{
	static char yaml[1 << 15];
	size_t at = 0;
	int err;

	at += snprintf(yaml + at, sizeof(yaml) - at,
		       "interfaces: [{name: eth0}]\n"
		       "cache: {capacity: 64, memory: 64K}\n"
		       "flows: {capacity: 64K}\n"
		       "services: [{name: test, vips: [\"192.0.2.1:80\"], protocol: tcp, pool: p}]\n"
		       "pools:\n  - name: p\n    delivery: tunnel\n    backends:\n");
	for (unsigned i = 0; i < n; i++)
		at += snprintf(yaml + at, sizeof(yaml) - at, "      - {name: b%u, address: \"10.1.%u.%u\"}\n", i, i >> 7,
			       (i & 127) + 1);
	err = rx_fixture_open_yaml(&w->fx, yaml, 1500);
	w->pool = err ? 0 : pools_find(&rx_fixture_maps(w->fx)->pools, "p");
	for (unsigned i = 0; i < n && !err; i++) {
		char name[16];

		snprintf(name, sizeof(name), "b%u", i);
		w->id[i] = pools_backend(&rx_fixture_maps(w->fx)->pools, w->pool, name);
	}
	return err;
}

static struct weir_member *member(struct weir *w, unsigned backend)
{
	unsigned id = w->id[backend];

	return &rx_fixture_maps(w->fx)->pools.pools[id / WEIR_POOL_BACKENDS].member[id % WEIR_POOL_BACKENDS];
}

/* As after a load: no flows, no latencies. */
static int weir_reset(struct run *r)
{
	struct weir *w = r->weir;
	struct pools_mem *m = &rx_fixture_maps(w->fx)->pools;
	int err = hops_fill(w->fx, w->id[r->n - 1] + 1);

	memset(m->flows, 0, (size_t)m->ctl->flow_buckets * sizeof(*m->flows));
	m->pools[w->pool].scheduler = r->by->weir;
	for (unsigned i = 0; i < r->n && !err; i++) {
		__u32 capacity = r->s[i].capacity;

		member(w, i)->active = 0;
		m->backend_ctl[w->id[i]].latency_ns = 0;
		if (m->backends[w->id[i]].capacity != capacity)
			err = pools_set(m, w->id[i], capacity, -1);
	}
	return err;
}

/* A frame's address is the connection's number. */
static void make_frame(struct weir *w, unsigned conn, __u8 flags)
{
	struct packet_flow f = {.family = AF_INET, .proto = IPPROTO_TCP, .sport = 40000, .dport = 80,
				.dst = {192, 0, 2, 1}};
	__be32 client = htonl(0x0a800000 + conn);

	memcpy(f.src, &client, sizeof(client));
	w->len = packet_build(w->frame, sizeof(w->frame), &f, "", 0);
	w->frame[sizeof(struct ethhdr) + sizeof(struct iphdr) + 13] = flags;
}

/* One packet of a connection; the backend that it went to, or -errno. */
static int weir_send(struct weir *w, unsigned conn, __u8 flags)
{
	unsigned char out[256] = {};
	const struct iphdr *outer = (void *)(out + sizeof(struct ethhdr));
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = w->frame, .data_out = out, .data_size_out = sizeof(out),
		    .repeat = 1);
	__u32 to;

	make_frame(w, conn, flags);
	o.data_size_in = w->len;
	if (bpf_prog_test_run_opts(bpf_program__fd(rx_fixture_prog(w->fx)), &o))
		return -errno;
	w->packets++;
	to = ntohl(outer->daddr);
	if ((o.retval != XDP_TX && o.retval != XDP_REDIRECT) || outer->protocol != IPPROTO_IPIP || to >> 16 != 0x0a01)
		return -ENOENT;
	return (to >> 8 & 0xff) << 7 | ((to & 0xff) - 1);
}

static int by_weir(struct run *r, unsigned conn)
{
	int backend = weir_send(r->weir, conn, SYN);

	if (backend >= 0 && weir_send(r->weir, conn, ACK) != backend)
		return -EXDEV;
	return backend;
}

static double check_us(const struct server *s)
{
	return CHECK_TRIP + CHECK_WORK * fmax(1, (s->n + 1) / s->cpus) / s->speed;
}

static void check(struct run *r, unsigned backend)
{
	pools_latency(&rx_fixture_maps(r->weir->fx)->pools, r->weir->id[backend], check_us(&r->s[backend]) * 1000);
}

/* What the agent does each second, and its checks. Its clock is the real one: none of these runs lasts. */
static void agent(struct run *r, double now)
{
	struct timespec t;

	for (unsigned i = 0; r->by->checked && i < r->n; i++) {
		for (; r->next_check[i] <= now; r->next_check[i] += CHECK_EVERY)
			check(r, i);
	}
	if (now < r->next_second)
		return;
	clock_gettime(CLOCK_MONOTONIC, &t);
	pools_fade(&rx_fixture_maps(r->weir->fx)->pools, t.tv_sec * 1000000000ULL + t.tv_nsec);
	r->next_second = floor(now / SECOND) * SECOND + SECOND;
}

static void agent_begin(struct run *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		r->next_check[i] = CHECK_EVERY * i / r->n;
		for (int k = 0; r->by->checked && k < CHECKS_BEFORE; k++)
			check(r, i);
	}
	r->next_second = 0;
	agent(r, 0);
}

static bool counts_agree(const struct run *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (member(r->weir, i)->active != r->s[i].n)
			return false;
	}
	return true;
}

/* ---- the others: all know the capacities ---------------------------------------------------- */

static int by_random(struct run *r, unsigned conn)
{
	double sum = 0, at;

	for (unsigned i = 0; i < r->n; i++)
		sum += r->s[i].capacity;
	at = workload_draw(&r->random) * sum;
	for (unsigned i = 0; i + 1 < r->n; i++) {
		at -= r->s[i].capacity;
		if (at < 0)
			return i;
	}
	return r->n - 1;
}

/* Weighted, and smooth: whose turn is most overdue. */
static int by_turn(struct run *r, unsigned conn)
{
	unsigned most = 0;
	double sum = 0;

	for (unsigned i = 0; i < r->n; i++) {
		sum += r->s[i].capacity;
		r->turn[i] += r->s[i].capacity;
		if (r->turn[i] > r->turn[most])
			most = i;
	}
	r->turn[most] -= sum;
	return most;
}

static int by_two(struct run *r, unsigned conn)
{
	const struct server *a = &r->s[by_random(r, conn)], *b = &r->s[by_random(r, conn)];

	return (b->n / b->capacity < a->n / a->capacity ? b : a) - r->s;
}

static int by_maglev(struct run *r, unsigned conn)
{
	return r->table->place[(__u64)(workload_draw(&r->random) * WEIR_MAGLEV)];
}

static void fill_maglev(struct run *r)
{
	struct maglev_entry e[BACKENDS_MAX];
	char name[BACKENDS_MAX][16];

	for (unsigned i = 0; i < r->n; i++) {
		snprintf(name[i], sizeof(name[i]), "b%u", i);
		e[i] = (struct maglev_entry){name[i], r->s[i].capacity, i};
	}
	maglev_fill(r->table, "p", e, r->n);
}

static const struct scheduler schedulers[] = {
	{"random", by_random, 0, false},
	{"round-robin", by_turn, 0, false},
	{"maglev", by_maglev, 0, false},
	{"two-choices", by_two, 0, false},
	{"weir-maglev", by_weir, WEIR_SCHED_MAGLEV, false},
	{"weir-bounded", by_weir, WEIR_SCHED_MAGLEV_BOUNDED, false},
	{"weir", by_weir, WEIR_SCHED_LEAST_LOADED, false},
	{"weir-checked", by_weir, WEIR_SCHED_LEAST_LOADED, true},
};

/* ---- a run ---------------------------------------------------------------------------------- */

struct result {
	struct samples over_time, at_end, p99;
};

static void *grow(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		exit(fprintf(stderr, "balance: out of memory\n"));
	return p;
}

/* CPUs in proportion to the capacities. */
static void run_open(struct run *r, const struct scene *scene)
{
	double sum = 0;

	r->s = grow(r->n, sizeof(*r->s));
	r->due = grow(r->n, sizeof(*r->due));
	r->turn = grow(r->n, sizeof(*r->turn));
	r->next_check = grow(r->n, sizeof(*r->next_check));
	r->where = grow(r->conns, sizeof(*r->where));
	r->took = grow(r->conns, sizeof(*r->took));
	r->table = grow(1, sizeof(*r->table));
	r->random = 0x2545f4914f6cdd1dULL;
	for (unsigned i = 0; i < r->n; i++) {
		r->s[i].capacity = scene->sized ? 100 << i % 3 : 100;
		r->due[i] = INFINITY;
		sum += r->s[i].capacity;
	}
	for (unsigned i = 0; i < r->n; i++) {
		r->s[i].cpus = CPUS * r->s[i].capacity * r->n / sum;
		r->s[i].speed = 1;
	}
	r->s[r->n / 2].speed /= scene->slower;
}

static void run_close(struct run *r)
{
	for (unsigned i = 0; i < r->n; i++)
		free(r->s[i].heap);
	free(r->s);
	free(r->due);
	free(r->turn);
	free(r->next_check);
	free(r->where);
	free(r->took);
	free(r->table);
}

static double arrives(const struct run *r, unsigned conn)
{
	return (r->a[conn].at - r->a[0].at) * r->stretch;
}

static void stretch(struct run *r)
{
	double work = 0;

	for (unsigned i = 0; i < r->conns; i++)
		work += r->a[i].work;
	r->stretch = 1;
	r->stretch = work / (r->n * CPUS) / LOAD / arrives(r, r->conns - 1);
}

static void begin(struct run *r, unsigned conn)
{
	int backend = r->by->choose(r, conn);

	if (backend < 0 || backend >= (int)r->n) {
		r->why = backend == -EXDEV ? "an ACK went another way than its SYN" : "a connection was not steered";
		return;
	}
	r->where[conn] = backend;
	if (server_begin(&r->s[backend], arrives(r, conn), r->a[conn].work, conn))
		r->why = "out of memory";
	r->due[backend] = server_due(&r->s[backend]);
}

static void end(struct run *r, unsigned backend)
{
	double now = r->due[backend];
	unsigned conn = server_end(&r->s[backend], now);

	r->took[conn] = now - arrives(r, conn);
	r->due[backend] = server_due(&r->s[backend]);
	if (r->weir && weir_send(r->weir, conn, FIN | ACK) != (int)backend)
		r->why = "a FIN went another way than its SYN";
}

static unsigned soonest(const struct run *r)
{
	unsigned first = 0;

	for (unsigned i = 1; i < r->n; i++)
		first = r->due[i] < r->due[first] ? i : first;
	return first;
}

/* From now on, or so far. */
static void watch(struct run *r, double now, struct result *out)
{
	double busy = 0, capacity = 0, n = 0, most = 0, most_n = 0;

	for (unsigned i = 0; i < r->n; i++) {
		struct server *s = &r->s[i];

		server_advance(s, now);
		busy += s->busy;
		n += s->n;
		capacity += s->capacity;
		most = fmax(most, s->busy / s->capacity);
		most_n = fmax(most_n, s->n / s->capacity);
		s->busy = 0;
	}
	if (!out)
		return;
	samples_add(&out->over_time, most / (busy / capacity));
	samples_add(&out->at_end, most_n / (n / capacity));
}

static void add_p99(const struct run *r, struct result *out)
{
	unsigned from = r->conns / 10, n = r->conns - from;

	qsort(r->took + from, n, sizeof(*r->took), samples_order);
	samples_add(&out->p99, r->took[from + (n - 1) * 99ULL / 100] / 1000);
}

/* All connections, then until the last is over. */
static void play(struct run *r, struct result *out)
{
	for (unsigned conn = 0; !r->why;) {
		unsigned who = soonest(r);
		double at = conn < r->conns ? arrives(r, conn) : INFINITY;

		if (fmin(at, r->due[who]) == INFINITY)
			break;
		if (r->weir)
			agent(r, fmin(at, r->due[who]));
		if (r->due[who] <= at) {
			end(r, who);
			continue;
		}
		begin(r, conn++);
		if (conn == r->conns / 10 || conn == r->conns)
			watch(r, at, conn == r->conns ? out : NULL);
		if (conn == r->conns && r->weir && !counts_agree(r))
			r->why = "the counts of active connections are wrong";
	}
	if (!r->why && r->weir && !counts_agree(r))
		r->why = "connections are counted that are over";
}

static const char *run_part(struct run *r, const struct scene *scene, struct result *out)
{
	__u64 steered = r->weir ? rx_fixture_count(r->weir->fx, WEIR_R_STEERED) - r->weir->packets : 0;

	run_open(r, scene);
	stretch(r);
	fill_maglev(r);
	if (r->weir && weir_reset(r))
		r->why = "the pool cannot be set up";
	if (r->weir)
		agent_begin(r);
	play(r, out);
	if (!r->why && r->weir && rx_fixture_count(r->weir->fx, WEIR_R_STEERED) - r->weir->packets != steered)
		r->why = "not every packet was counted as steered";
	if (!r->why)
		add_p99(r, out);
	run_close(r);
	return r->why;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void report(FILE *json, const char *name, struct result *x)
{
	const struct {
		const char *name, *unit;
		struct samples *s;
		int digits;
	} rows[] = {{"active", "ratio", &x->over_time, 2}, {"end", "ratio", &x->at_end, 2}, {"p99", "ms", &x->p99, 1}};

	for (int i = 0; i < 3; i++) {
		char full[96];

		snprintf(full, sizeof(full), "%s/%s", name, rows[i].name);
		report_json(json, full, rows[i].unit, rows[i].s);
		printf(" %9.*f", rows[i].digits, samples_median(rows[i].s));
	}
	fflush(stdout);
}

/* One scheduler, one scene, one number of backends. */
static int row(const struct workload *w, const struct scene *scene, const struct scheduler *by, struct weir *weir,
	       unsigned n, FILE *json)
{
	struct result x = {};
	char name[64];

	snprintf(name, sizeof(name), "balance/%s/%u/%s", scene->name, n, by->name);
	for (unsigned i = 0; i < PARTS; i++) {
		struct run r = {.by = by, .weir = by->choose == by_weir ? weir : NULL, .n = n};
		const char *why;

		r.a = w->a + (__u64)w->n * i / PARTS;
		r.conns = w->n / PARTS;
		why = run_part(&r, scene, &x);
		if (!why)
			continue;
		printf("\n");
		report_error(name, why);
		return 1;
	}
	report(json, name, &x);
	return 0;
}

static void head(const struct scene *scene)
{
	printf("\n%-42s%u backends", scene->what, sizes[0]);
	for (int i = 1; i < SIZES; i++)
		printf("%18u backends", sizes[i]);
	printf("\n  %-22s", "");
	for (int i = 0; i < SIZES; i++)
		printf(" %9s %9s %9s", "over time", "at end", "p99 ms");
	printf("\n");
}

static int all(const struct workload *w, struct weir *weirs, const char *only, FILE *json)
{
	int failed = 0;

	for (const struct scene *s = scenes; s < scenes + sizeof(scenes) / sizeof(*scenes); s++) {
		if (only && strcmp(only, s->name))
			continue;
		head(s);
		for (const struct scheduler *by = schedulers; by < schedulers + sizeof(schedulers) / sizeof(*by); by++) {
			if (by->checked && s->slower == 1)
				continue; /* nothing to be told */
			printf("  %-22s", by->name);
			for (int i = 0; i < SIZES; i++)
				failed += row(w, s, by, &weirs[i], sizes[i], json);
			printf("\n");
		}
	}
	return failed;
}

/* What is played: a file's recording, or one that is made here and, with `out`, written to a file. */
static int get_workload(struct workload *w, const char *in, const char *out, unsigned n)
{
	int err = in ? workload_read(w, in) : workload_make(w, n, 1000);

	if (!err && w->n < PARTS * 1000)
		return fprintf(stderr, "balance: fewer than %d connections\n", PARTS * 1000), -EINVAL;
	if (!err && w->a[w->n / PARTS - 1].at <= w->a[0].at)
		return fprintf(stderr, "balance: all arrive at once\n"), -EINVAL;
	err = err ?: !in && out ? workload_write(w, out) : 0;
	if (err)
		fprintf(stderr, "balance: %s: %s\n", in ?: out ?: "workload", strerror(-err));
	return err;
}

int main(int argc, char **argv)
{
	const char *in = NULL, *out = NULL;
	struct weir weirs[SIZES] = {};
	unsigned n = CONNECTIONS;
	struct workload w = {};
	FILE *json = NULL;
	int c, err, failed;

	while ((c = getopt(argc, argv, "r:w:n:o:")) != -1) {
		if (c == 'r')
			in = optarg;
		else if (c == 'w')
			out = optarg;
		else if (c == 'n')
			n = atoi(optarg);
		else if (c == 'o')
			json = fopen(optarg, "w");
		if (c == '?' || (c == 'o' && !json) || n > 1 << 22)
			return fprintf(stderr, "usage: balance [-r WORKLOAD | -w WORKLOAD] [-n CONNECTIONS] [-o JSON_LINES] "
					       "[equal|slow|sized]\n"), 2;
	}
	if (get_workload(&w, in, out, n))
		return 1;
	for (int i = 0; i < SIZES; i++) {
		err = weir_open(&weirs[i], sizes[i]);
		if (err)
			return fprintf(stderr, "balance: loading weir_rx: %s\n", strerror(-err)), 1;
	}
	failed = all(&w, weirs, argv[optind], json);
	for (int i = 0; i < SIZES; i++)
		rx_fixture_close(weirs[i].fx);
	free(w.a);
	return (json && fclose(json)) || failed ? 1 : 0;
}
