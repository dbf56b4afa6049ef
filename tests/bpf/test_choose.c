// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which backend a new flow goes to: by load, by latency, by consistent hashing, by a key, by a QUIC connection id.
 */
#include <time.h>

#include "flow_scene.h"

static struct text yaml;
static struct flow_scene s;

/* What is a constant of the programs is the same wherever it does not matter: see rx_fixture_reuse. */
#define FLOWS 65536
#define BOTH  "    protocol: both\n"
#define L2    "    delivery: l2\n"
#define EXACT L2 "    quantum: 0%\n"

static void open_yaml(void)
{
	flow_scene_open(&s, &yaml);
	use_cpus(1);
}

/* With other seeds than the one before. */
static void open_other_host(void)
{
	rx_fixture_reuse = false;
	open_yaml();
	rx_fixture_reuse = true;
}

/* ---- the fixture itself ----------------------------------------------------------------------- */

/* Its size in memory, for all CPUs; 0: a hash map. */
static size_t element_size(int fd, struct bpf_map_info *info)
{
	__u32 len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (!CHECK_INT(bpf_obj_get_info_by_fd(fd, info, &len), 0) || info->type == BPF_MAP_TYPE_HASH)
		return 0;
	return ((info->value_size + 7) & ~7U) *
	       (info->type == BPF_MAP_TYPE_PERCPU_ARRAY ? libbpf_num_possible_cpus() : 1);
}

/* The first and the last element of an array are all ones; a hash map has one more element. */
static void dirty(int fd)
{
	struct bpf_map_info info;
	size_t size = element_size(fd, &info);
	__u8 value[size + info.value_size], key[info.key_size];

	memset(value, 0xff, sizeof(value));
	memset(key, 0xff, sizeof(key));
	for (__u32 i = 0; size && i < info.max_entries; i += info.max_entries > 1 ? info.max_entries - 1 : 1)
		CHECK_INT(bpf_map_update_elem(fd, &i, value, BPF_ANY), 0);
	if (!size)
		CHECK_INT(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
}

/* All elements of an array that is not mapped, to be freed. */
static void *elements(int fd, size_t *len)
{
	struct bpf_map_info info;
	size_t size = element_size(fd, &info);
	__u32 n = info.max_entries, next, *keys = calloc(n, sizeof(*keys));
	void *all = calloc(n, size);

	CHECK(!bpf_map_lookup_batch(fd, NULL, &next, keys, all, &n, NULL) || errno == ENOENT);
	CHECK_INT(n, info.max_entries);
	free(keys);
	*len = n * size;
	return all;
}

static bool same_content(struct maps *a, struct maps *b, int id)
{
	size_t len[2];
	void *all[2];
	bool same;

	if (id == MAP_NAT_BACK) {
		__u8 key[sizeof(struct weir_nat_key)];

		return bpf_map_get_next_key(a->fd[id], NULL, key) && bpf_map_get_next_key(b->fd[id], NULL, key);
	}
	if (a->at[id])
		return a->len[id] == b->len[id] && !memcmp(a->at[id], b->at[id], a->len[id]);
	all[0] = elements(a->fd[id], &len[0]);
	all[1] = elements(b->fd[id], &len[1]);
	same = len[0] == len[1] && !memcmp(all[0], all[1], len[0]);
	free(all[0]);
	free(all[1]);
	return same;
}

/* What is drawn anew for each load, and when that was. */
static void copy_seeds(struct maps *to, struct maps *from)
{
	struct weir_ctl *ctl = maps_ctl(to);

	ctl->hash_seed = maps_ctl(from)->hash_seed;
	ctl->flow_seed = maps_ctl(from)->flow_seed;
	ctl->loaded_at = maps_ctl(from)->loaded_at;
	ctl->loaded_s = maps_ctl(from)->loaded_s;
	for (int b = 0; b < WEIR_BACKENDS_MAX; b++)
		to->pools.backend_ctl[b].since = from->pools.backend_ctl[b].since;
}

static void test_used_again(void)
{
	struct config *c = NULL;
	struct maps *m, fresh;
	int fd;

	test_begin("a fixture that is used again has all maps as a new one's");
	plain_yaml(&yaml, FLOWS, 16, EXACT);
	open_yaml();
	fd = s.fd;
	m = rx_fixture_maps(s.fx);
	for (int id = 0; id < MAP_COUNT; id++)
		if (id != MAP_CTL)
			dirty(m->fd[id]);
	maps_ctl(m)->drift = maps_ctl(m)->lease_deadline_ns = maps_ctl(m)->agent_ns = 7;
	flow_scene_close(&s);
	CHECK_INT(rx_fixture_open_yaml(&s.fx, yaml.s, 1500), 0);
	CHECK_INT(bpf_program__fd(rx_fixture_prog(s.fx)), fd); /* it is that one */
	m = rx_fixture_maps(s.fx);
	CHECK_INT(config_parse(&c, "fresh", yaml.s, yaml.len, stderr) ?: maps_create(&fresh, c), 0);
	strcpy(maps_ctl(&fresh)->services[0].name, "web");
	CHECK_INT(pools_apply(&fresh.pools, c, false, NULL, NULL), 0);
	copy_seeds(&fresh, m);
	for (int id = 0; id < MAP_COUNT; id++)
		if (!CHECK(same_content(m, &fresh, id)))
			printf("# in %s\n", map_name(id));
	maps_close(&fresh);
	config_free(c);
	flow_scene_close(&s);
	test_end();
}

/* ---- by load ---------------------------------------------------------------------------------- */

/* New connections; `got` counts them by backend. How many went elsewhere. */
static unsigned connect_many(unsigned from, unsigned n, unsigned *got)
{
	unsigned lost = 0;

	for (unsigned i = from; i < from + n; i++) {
		int b = connect_tcp(&s, client(i));

		if (b < 0)
			lost++;
		else
			got[b]++;
		if (i % 500 == 0) {
			struct timespec now;

			/* As the agent does each second. */
			clock_gettime(CLOCK_MONOTONIC, &now);
			pools_fade(s.m, now.tv_sec * 1000000000ULL + now.tv_nsec);
			know_hops(&s);
		}
	}
	return lost;
}

struct range {
	unsigned least, most, sum;
};

static struct range range_of(const unsigned *got, unsigned from, unsigned n)
{
	struct range r = {got[from], got[from], 0};

	for (unsigned i = from; i < from + n; i++) {
		r.least = got[i] < r.least ? got[i] : r.least;
		r.most = got[i] > r.most ? got[i] : r.most;
		r.sum += got[i];
	}
	return r;
}

static void test_equal(void)
{
	unsigned got[WEIR_BACKENDS_MAX] = {};
	struct range r;

	test_begin("10,000 connections spread evenly over 16 equal backends, to one connection");
	plain_yaml(&yaml, FLOWS, 16, EXACT);
	open_yaml();
	CHECK_INT(connect_many(0, 10000, got), 0);
	r = range_of(got, 0, 16);
	CHECK_INT(r.sum, 10000);
	CHECK(r.most - r.least <= 1);
	CHECK(counts_hold(&s));
	CHECK_INT(total_active(&s), 10000);
	flow_scene_close(&s);
	test_end();
}

static void test_quantum(void)
{
	unsigned got[WEIR_BACKENDS_MAX] = {};
	struct range r;

	test_begin("and to the quantum, where there is one");
	plain_yaml(&yaml, FLOWS, 16, L2 "    quantum: 2%\n");
	open_yaml();
	CHECK_INT(connect_many(0, 10000, got), 0);
	r = range_of(got, 0, 16);
	CHECK(r.most - r.least <= 625 * 2 / 100 + 1);
	flow_scene_close(&s);
	test_end();
}

static void test_unequal(void)
{
	unsigned got[WEIR_BACKENDS_MAX] = {}, capacity = 0;

	test_begin("connections follow capacities to 1%");
	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "web", EXACT);
	for (int i = 0; i < 16; i++) {
		char more[40];

		snprintf(more, sizeof(more), ", capacity: %d", 37 + 61 * i);
		add_backend(&yaml, i, more);
		capacity += 37 + 61 * i;
	}
	add_service(&yaml, "web", BOTH);
	open_yaml();
	CHECK_INT(connect_many(0, 10000, got), 0);
	for (int i = 0; i < 16; i++) {
		double want = 10000.0 * (37 + 61 * i) / capacity, off = got[i] - want;

		if (!CHECK(off <= want / 100 + 1 && off >= -want / 100 - 1))
			printf("# backend %d: %u, wanted %.1f\n", i, got[i], want);
	}
	flow_scene_close(&s);
	test_end();
}

static void test_extremes(void)
{
	unsigned got[WEIR_BACKENDS_MAX] = {};

	test_begin("capacities 1 and 65,536 side by side");
	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "web", EXACT);
	add_backend(&yaml, 0, ", capacity: 1");
	add_backend(&yaml, 1, ", capacity: 65536");
	add_service(&yaml, "web", BOTH);
	open_yaml();
	CHECK_INT(connect_many(0, 10000, got), 0);
	CHECK(got[0] <= 2);
	flow_scene_close(&s);
	test_end();
}

static void test_latency(void)
{
	unsigned got[WEIR_BACKENDS_MAX] = {};

	test_begin("within the quantum a faster backend is preferred, and not beyond it");
	plain_yaml(&yaml, FLOWS, 8, L2 "    quantum: 10%\n");
	open_yaml();
	for (int b = 0; b < 8; b++)
		pools_latency(s.m, b, b == 5 ? 100000 : 10000000);
	CHECK_INT(connect_many(0, 8000, got), 0);
	for (int b = 0; b < 8; b++) {
		if (b == 5)
			continue;
		if (!CHECK(got[5] >= got[b] && got[5] - got[b] <= 8000 / 8 / 10 + 1))
			printf("# backend %d: %u, the fast one %u\n", b, got[b], got[5]);
	}
	CHECK(got[5] > 1000 + 8);
	flow_scene_close(&s);
	test_end();
}

/* SYNs weigh nothing: all backends are equal for all of them. */
static void test_ties(void)
{
	static const int sizes[] = {2, 3, 5, 7, 12, 16, 33, 63, 64};

	test_begin("of equally loaded backends each gets its part");
	for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
		unsigned got[WEIR_BACKENDS_MAX] = {}, n = sizes[k], each = 200;
		struct range r;

		plain_yaml(&yaml, FLOWS, n, EXACT);
		open_yaml();
		for (unsigned i = 0; i < n * each; i++) {
			int b = send_tcp(&s, client(i), SYN);

			if (CHECK(b >= 0))
				got[b]++;
		}
		r = range_of(got, 0, n);
		/* Chance has a deviation of 14; in one run in 200 one of all these counts is 60 off. */
		if (!CHECK(r.least > each * 6 / 10 && r.most < each * 14 / 10))
			printf("# of %u backends one gets %u, one %u of %u\n", n, r.least, r.most, n * each);
		flow_scene_close(&s);
	}
	test_end();
}

static void test_sizes(void)
{
	static const int sizes[] = {1, 2, 3, 5, 63, 64, 65, 100, 128, 129, 200, 256};

	test_begin("pools of 1 to 64 backends are exact, larger ones even");
	for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
		unsigned got[WEIR_BACKENDS_MAX] = {}, n = sizes[k], each = 50;
		struct range r;

		plain_yaml(&yaml, FLOWS, n, EXACT);
		open_yaml();
		CHECK_INT(connect_many(0, n * each, got), 0);
		r = range_of(got, 0, n);
		CHECK_INT(r.sum, n * each);
		if (!CHECK(n > 64 ? r.most < each * 3 / 2 && r.least > each / 2 : r.most - r.least <= 1))
			printf("# of %u backends one has %u, one %u\n", n, r.least, r.most);
		CHECK(counts_hold(&s));
		flow_scene_close(&s);
	}
	test_end();
}

/* ---- backups, and who is not to be chosen ----------------------------------------------------- */

/* n connections, all of which go to backends from..to-1. */
static void expect_among(unsigned first, unsigned n, int from, int to)
{
	unsigned astray = 0;

	for (unsigned i = first; i < first + n; i++) {
		int b = connect_tcp(&s, client(i));

		astray += b < from || b >= to;
	}
	CHECK_INT(astray, 0);
}

static void health(int from, int to, __u32 health)
{
	for (int b = from; b < to; b++)
		pools_health(s.m, b, health, NULL);
}

static void open_backups(int primaries, int backups)
{
	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "web", EXACT);
	for (int i = 0; i < primaries + backups; i++)
		add_backend(&yaml, i, i < primaries ? "" : ", backup: true");
	add_service(&yaml, "web", BOTH);
	open_yaml();
}

static void test_backups(void)
{
	static const int sizes[][2] = {{3, 2}, {60, 4}, {60, 60}, {2, 150}};

	test_begin("backups take flows when no primary is left, and only then");
	for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
		int n = sizes[k][0], all = n + sizes[k][1];

		printf("# %d primaries, %d backups\n", n, all - n);
		open_backups(n, all - n);
		expect_among(0, 2000, 0, n);
		health(0, n - 1, WEIR_HEALTH_DOWN);
		expect_among(2000, 1000, n - 1, n);
		health(n - 1, n, WEIR_HEALTH_DOWN);
		expect_among(3000, 1000, n, all);
		health(1, 2, WEIR_HEALTH_UP);
		expect_among(4000, 1000, 1, 2);
		health(1, 2, WEIR_HEALTH_DOWN);
		health(n, all, WEIR_HEALTH_DOWN);
		CHECK_INT(send_tcp(&s, client(9000), SYN), TO_NOBODY);
		flow_scene_close(&s);
	}
	test_end();
}

static void test_few_left(void)
{
	test_begin("of many backends the few that are up are found");
	plain_yaml(&yaml, FLOWS, 250, EXACT);
	open_yaml();
	health(0, 200, WEIR_HEALTH_DOWN);
	health(203, 250, WEIR_HEALTH_DOWN);
	expect_among(0, 3000, 200, 203);
	CHECK(active_of(&s, 200) > 900 && active_of(&s, 201) > 900 && active_of(&s, 202) > 900);
	pools_admin(s.m, 200, WEIR_ADMIN_DRAIN);
	expect_among(3000, 1000, 201, 203);
	flow_scene_close(&s);
	test_end();
}

/* ---- one flow --------------------------------------------------------------------------------- */

static void test_syn_again(void)
{
	struct peer c = client(1);
	int b, others = 0;

	test_begin("a SYN sent again, or to a flow in use, goes where that goes; one on an old tuple begins anew");
	plain_yaml(&yaml, FLOWS, 8, EXACT);
	open_yaml();
	b = send_tcp(&s, c, SYN);
	/* Others take its backend meanwhile, so that it is not the least loaded. */
	health(0, 8, WEIR_HEALTH_DOWN);
	health(b, b + 1, WEIR_HEALTH_UP);
	expect_among(100, 10, b, b + 1);
	health(0, 8, WEIR_HEALTH_UP);
	for (int i = 0; i < 20; i++) {
		CHECK_INT(send_tcp(&s, c, SYN), b);
		others += connect_tcp(&s, client(200 + i)) != b;
	}
	CHECK_INT(others, 20);
	CHECK_INT(active_of(&s, b), 10);
	CHECK_INT(send_tcp(&s, c, ACK), b);
	CHECK_INT(active_of(&s, b), 11);
	CHECK_INT(state_of(&s, c, true), WEIR_FLOW_TCP);
	CHECK_INT(send_tcp(&s, c, SYN), b); /* late or forged: the backend answers it as RFC 5961 says */
	CHECK_INT(state_of(&s, c, true), WEIR_FLOW_TCP);
	CHECK_INT(active_of(&s, b), 11);
	age(&s, 61);
	others = send_tcp(&s, c, SYN);
	CHECK(others >= 0 && others != b);
	CHECK_INT(state_of(&s, c, true), WEIR_FLOW_SYN);
	CHECK_INT(active_of(&s, b), 10);
	CHECK_INT(total_active(&s), 30);
	CHECK_INT(send_tcp(&s, c, ACK), others);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

static void test_drain(void)
{
	struct peer open = client(1), half = client(2), over = client(3), dgram = client(4);
	int b;

	test_begin("a drained backend keeps its flows, gets no new ones, and no stale entry leads there");
	plain_yaml(&yaml, FLOWS, 2, EXACT);
	open_yaml();
	pools_health(s.m, 1, WEIR_HEALTH_DOWN, "test");
	b = connect_tcp(&s, open);
	CHECK_INT(b, 0);
	CHECK_INT(send_tcp(&s, half, SYN), 0);
	CHECK_INT(connect_tcp(&s, over), 0);
	CHECK_INT(send_tcp(&s, over, FIN | ACK), 0);
	CHECK_INT(send_udp(&s, dgram, "12345678", 8), 0);
	pools_health(s.m, 1, WEIR_HEALTH_UP, NULL);
	pools_admin(s.m, 0, WEIR_ADMIN_DRAIN);
	CHECK_INT(send_tcp(&s, open, ACK), 0);
	CHECK_INT(send_udp(&s, dgram, "12345678", 8), 0);
	CHECK_INT(send_tcp(&s, over, ACK), 0);
	CHECK_INT(send_tcp(&s, over, SYN), 1); /* stale */
	CHECK_INT(send_tcp(&s, half, SYN), 1); /* half-open only: it may as well go elsewhere */
	expect_among(100, 50, 1, 2);
	CHECK_INT(send_tcp(&s, open, ACK), 0);
	CHECK_INT(send_tcp(&s, open, SYN), 1);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

static void test_dead(void)
{
	struct peer open = client(1), half = client(2), dgram = client(3);

	test_begin(
		"a dead backend: SYNs and UDP flows move at once and their counts with them, TCP is reset");
	plain_yaml(&yaml, FLOWS, 2, EXACT);
	open_yaml();
	pools_health(s.m, 1, WEIR_HEALTH_DOWN, "test");
	CHECK_INT(connect_tcp(&s, open), 0);
	CHECK_INT(send_tcp(&s, half, SYN), 0);
	CHECK_INT(send_udp(&s, dgram, "12345678", 8), 0);
	CHECK_INT(active_of(&s, 0), 2);
	pools_health(s.m, 1, WEIR_HEALTH_UP, NULL);
	pools_health(s.m, 0, WEIR_HEALTH_DOWN, "test");
	CHECK_INT(active_of(&s, 0), 1); /* the open connection rests */
	CHECK_INT(state_of(&s, open, true), WEIR_FLOW_RESTING);
	CHECK_INT(send_udp(&s, dgram, "12345678", 8), 1);
	CHECK_INT(active_of(&s, 0), 0);
	CHECK_INT(active_of(&s, 1), 1);
	CHECK_INT(send_tcp(&s, half, SYN), 1);
	CHECK_INT(send_tcp(&s, half, ACK), 1);
	CHECK_INT(active_of(&s, 1), 2);
	CHECK_INT(send_tcp(&s, open, ACK), TO_SENDER);
	CHECK_INT(active_of(&s, 0), 0);
	CHECK_INT(state_of(&s, open, true), 0);
	CHECK_INT(connect_tcp(&s, open), 1);
	/* Alive again: what moved stays. */
	pools_health(s.m, 0, WEIR_HEALTH_UP, NULL);
	CHECK_INT(send_udp(&s, dgram, "12345678", 8), 1);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

static void test_none_left(void)
{
	test_begin("where no backend is left nothing goes out: silence, or a reset for TCP");
	for (int reset = 0; reset < 2; reset++) {
		plain_yaml(&yaml, FLOWS, 2, reset ? EXACT "    fail: reset\n" : EXACT);
		open_yaml();
		health(0, 2, WEIR_HEALTH_DOWN);
		CHECK_INT(send_tcp(&s, client(1), SYN), reset ? TO_SENDER : TO_NOBODY);
		CHECK_INT(send_tcp(&s, client(2), ACK), reset ? TO_SENDER : TO_NOBODY);
		CHECK_INT(send_tcp(&s, client(3), RST), TO_NOBODY);
		CHECK_INT(send_udp(&s, client(4), "12345678", 8), TO_NOBODY);
		CHECK_INT(total_active(&s), 0);
		health(0, 2, WEIR_HEALTH_UP);
		CHECK(connect_tcp(&s, client(1)) >= 0);
		flow_scene_close(&s);
	}
	test_end();
}

/* ---- consistent hashing ----------------------------------------------------------------------- */

#define HASHED 4000

/* Addresses, since numbers differ from host to host. */
static void where_all_go(__u32 *addr, __u8 flags)
{
	for (unsigned i = 0; i < HASHED; i++) {
		int b = flags ? send_tcp(&s, client(i), flags) : send_udp(&s, client(i), "12345678", 8);

		addr[i] = b < 0 ? 0 : ntohl(s.m->backends[b].addr.w[0]);
	}
}

static unsigned differing(const __u32 *a, const __u32 *b)
{
	unsigned n = 0;

	for (int i = 0; i < HASHED; i++)
		n += a[i] != b[i];
	return n;
}

static void maglev_yaml(int n, bool backwards, const char *how)
{
	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "web", how);
	for (int i = 0; i < n; i++)
		add_backend(&yaml, backwards ? n - 1 - i : i, "");
	add_service(&yaml, "web", BOTH);
}

static void test_maglev(void)
{
	__u32 here[HASHED], there[HASHED], ack[HASHED], udp[HASHED], lost[HASHED], less[HASHED];
	unsigned per[7] = {}, moved = 0;
	struct range r;

	test_begin("maglev: a flow has the same backend on each edge host, and after its table was lost");
	maglev_yaml(7, false, L2 "    scheduler: maglev\n");
	open_yaml();
	where_all_go(here, SYN);
	where_all_go(ack, ACK);
	CHECK_INT(differing(here, ack), 0);
	where_all_go(udp, 0);
	forget_all(&s);
	where_all_go(lost, ACK);
	CHECK_INT(differing(here, lost), 0);
	for (int i = 0; i < HASHED; i++)
		per[here[i] - BACKENDS]++;
	r = range_of(per, 0, 7);
	CHECK(r.least > HASHED / 7 * 8 / 10 && r.most < HASHED / 7 * 12 / 10);
	/* One down: only its flows go elsewhere. */
	forget_all(&s);
	pools_health(s.m, 3, WEIR_HEALTH_DOWN, "test");
	where_all_go(less, SYN);
	for (int i = 0; i < HASHED; i++)
		moved += less[i] != here[i] && here[i] != BACKENDS + 3;
	CHECK_INT(moved, 0);
	flow_scene_close(&s);
	/* Another host: other seeds, and its file names the backends in another order. */
	maglev_yaml(7, true, L2 "    scheduler: maglev\n");
	open_other_host();
	where_all_go(there, SYN);
	CHECK_INT(differing(here, there), 0);
	where_all_go(there, 0);
	CHECK_INT(differing(udp, there), 0);
	flow_scene_close(&s);
	test_end();
}

static void test_maglev_many(void)
{
	__u32 here[HASHED], there[HASHED];
	unsigned none = 0;

	test_begin("maglev over a pool of several places");
	maglev_yaml(200, false, L2 "    scheduler: maglev\n");
	open_yaml();
	where_all_go(here, SYN);
	for (int i = 0; i < HASHED; i++)
		none += !here[i];
	CHECK_INT(none, 0);
	flow_scene_close(&s);
	maglev_yaml(200, true, L2 "    scheduler: maglev\n");
	open_other_host();
	where_all_go(there, ACK);
	CHECK_INT(differing(here, there), 0);
	flow_scene_close(&s);
	test_end();
}

static void test_lost_state(void)
{
	__u32 here[HASHED], there[HASHED];

	test_begin("flows of which nothing is known: every host guesses the same backend, whatever the "
		   "scheduler");
	maglev_yaml(9, false, EXACT);
	open_yaml();
	where_all_go(here, ACK);
	flow_scene_close(&s);
	maglev_yaml(9, true, L2 "    scheduler: maglev\n");
	open_other_host();
	where_all_go(there, SYN);
	CHECK_INT(differing(here, there), 0);
	flow_scene_close(&s);
	test_end();
}

/* At each moment, and with what was added to it a connection ago. */
static void check_bounded(int n, unsigned conns)
{
	unsigned got[WEIR_BACKENDS_MAX] = {}, most = 0, over = 0, first = 0;
	__u32 home[WEIR_BACKENDS_MAX] = {};

	maglev_yaml(n, false, L2 "    scheduler: maglev-bounded\n    bound: 25%\n");
	open_yaml();
	for (unsigned i = 1; i <= conns; i++) {
		int b = connect_tcp(&s, client(i));

		if (!CHECK(b >= 0))
			break;
		most = ++got[b] > most ? got[b] : most;
		over += most > 1.25 * i / n + 1;
	}
	if (!CHECK_INT(over, 0))
		printf("# %d backends, %u connections: one has %u, the mean is %.1f\n", n, conns, most,
		       (double)conns / n);
	/* Most are where plain Maglev would have sent them. */
	forget_all(&s);
	for (unsigned i = 1; i <= conns; i++)
		home[send_tcp(&s, client(i), ACK)]++;
	for (int b = 0; b < n; b++)
		first += home[b] < got[b] ? home[b] : got[b];
	printf("# %d backends: %u of %u\n", n, first, conns);
	CHECK(first > conns * 7 / 10);
	flow_scene_close(&s);
}

static void test_bounded(void)
{
	test_begin("maglev-bounded: no backend has more than the bound and one connection");
	check_bounded(2, 400);
	check_bounded(8, 1600);
	check_bounded(64, 3200);
	check_bounded(150, 3000);
	test_end();
}

/* ---- IPv6 ------------------------------------------------------------------------------------- */

static int send6(unsigned i)
{
	static const char *const forms[] = {"fd%02x:2::9", "fd00:2:%x::9", "fd00:2::%x:0:0:9", "fd00:2::%x:9",
					    "fd00:2::%x"};
	char src[64];
	struct flow flow = {.src = src, .dst = "fd00::1", .sport = 5000, .dport = 80};
	struct wire w;
	struct frame f;

	snprintf(src, sizeof(src), forms[i % 5], i / 5 + 10);
	frame_udp(&f, &flow, "12345678", 8);
	memcpy(w.b, f.b, f.len);
	w.len = f.len;
	return send_wire(&s, &w);
}

/* Each part of an address tells flows apart. */
static void test_v6(void)
{
	enum { N = 500 };
	int first[N];
	unsigned moved = 0;

	test_begin("IPv6 clients, whatever part of the address they differ in, have flows of their own");
	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "web", EXACT);
	for (int i = 0; i < 5; i++)
		add_backend(&yaml, i, "");
	add(&yaml, "services:\n  - {name: web, vips: ['[fd00::1]:80'], pool: web, protocol: udp}\n");
	open_yaml();
	for (int i = 0; i < N; i++)
		CHECK((first[i] = send6(i)) >= 0);
	CHECK_INT(total_active(&s), N);
	for (int b = 0; b < 5; b++)
		CHECK_INT(active_of(&s, b), N / 5);
	for (int i = 0; i < N; i++)
		moved += send6(i) != first[i];
	CHECK_INT(moved, 0);
	CHECK_INT(total_active(&s), N);
	flow_scene_close(&s);
	test_end();
}

/* ---- by key ----------------------------------------------------------------------------------- */

/* Backends 0..7: two for each of four shards; 8..15: those that some keys move to; 16: what has no key. */
static void open_shards(int percent, void (*open)(void))
{
	char more[40];

	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "users", "    delivery: nat\n    shards: 4\n");
	for (int i = 0; i < 8; i++) {
		snprintf(more, sizeof(more), ", shard: %d", i / 2);
		add_backend(&yaml, i, more);
	}
	add_pool(&yaml, "users-new", "    delivery: nat\n    shards: 4\n");
	for (int i = 8; i < 16; i++) {
		snprintf(more, sizeof(more), ", shard: %d", (i - 8) / 2);
		add_backend(&yaml, i, more);
	}
	add_pool(&yaml, "any", "    delivery: nat\n");
	add_backend(&yaml, 16, "");
	add_service(&yaml, "users",
		    "    cache: true\n    protocol: udp\n    clients: [10.0.0.0/8]\n"
		    "    strangers: pass\n    fallback: any\n");
	if (percent)
		add(&yaml, "    migrate: {to: users-new, percent: %d}\n", percent);
	open();
}

/* The backend, by its number in the file; TO_* else. */
static int ask_wire(const struct wire *w)
{
	struct sent to;

	run_wire(&s, w, &to);
	if (to.action != XDP_TX && to.action != XDP_REDIRECT)
		return to.action == XDP_DROP ? TO_NOBODY : to.action == XDP_PASS ? TO_HOST : TO_ERROR;
	return get32(to.out.b + 14 + 16) - BACKENDS;
}

static void put_request(struct wire *w, struct peer from, const void *request, size_t len)
{
	__u8 data[300] = {0, 1, 0, 0, 0, 1, 0, 0};

	memcpy(data + 8, request, len);
	put_udp(w, from, vip, data, 8 + len);
}

static int ask(unsigned from, const void *request, size_t len)
{
	struct wire w;

	put_request(&w, client(from), request, len);
	return ask_wire(&w);
}

static int ask_from(__u32 addr, const char *request)
{
	struct wire w;

	put_request(&w, (struct peer){addr, 5000}, request, strlen(request));
	return ask_wire(&w);
}

static int ask_with_options(const char *request)
{
	struct wire w;
	__u8 *ip = w.b + 14;

	put_request(&w, client(1), request, strlen(request));
	memmove(ip + 24, ip + 20, w.len - 34);
	memset(ip + 20, 1, 4);
	w.len += 4;
	ip[0] = 0x46;
	put16(ip + 2, w.len - 14);
	put16(ip + 10, 0);
	put16(ip + 10, rfc1071(ip, 24));
	return ask_wire(&w);
}

static int ask_text(unsigned from, const char *request)
{
	return ask(from, request, strlen(request));
}

static int get(unsigned from, const char *key)
{
	char text[300];

	snprintf(text, sizeof(text), "get %s\r\n", key);
	return ask_text(from, text);
}

/* Computed apart from this code, from what include/weir/hash.h says, without a seed. */
static const struct {
	const char *key;
	int shard;
} vector[] = {{"a", 3}, {"foo", 2}, {"key1", 1}, {"key12345", 2}, {"user:1000:profile", 2}};

static void test_shards(void)
{
	unsigned per[4] = {}, astray = 0;
	struct range r;

	test_begin("a key's shard is the same on each host and after each load, and each shard has its part");
	for (int load = 0; load < 2; load++) {
		open_shards(0, load ? open_other_host : open_yaml);
		for (unsigned i = 0; i < sizeof(vector) / sizeof(*vector); i++)
			for (unsigned from = 0; from < 20; from++)
				if (!CHECK_INT(get(from, vector[i].key) / 2, vector[i].shard))
					printf("# %s\n", vector[i].key);
		for (unsigned i = 0; i < 8000; i++) {
			char key[40];
			int b;

			snprintf(key, sizeof(key), "user:%u", i);
			b = get(i, key);
			astray += b < 0 || b >= 8;
			per[b / 2 & 3]++;
			astray += get(i + 10000, key) / 2 != b / 2;
		}
		CHECK_INT(astray, 0);
		CHECK(counts_hold(&s));
		flow_scene_close(&s);
	}
	r = range_of(per, 0, 4);
	CHECK(r.least > 3600 && r.most < 4400);
	test_end();
}

/* Both backends of a shard take clients, and a client stays with one. */
static void test_replicas(void)
{
	unsigned per[8] = {}, moved = 0;

	test_begin("of a shard's backends each takes clients, and a client stays with one for each shard");
	open_shards(0, open_yaml);
	for (unsigned i = 0; i < 200; i++) {
		int foo = get(i, "foo"), one = get(i, "key1");

		if (foo < 0 || one < 0)
			break;
		per[foo]++;
		per[one]++;
		moved += get(i, "key12345") != foo;
		moved += get(i, "foo") != foo || get(i, "key1") != one;
	}
	CHECK_INT(moved, 0);
	CHECK_INT(per[4] + per[5], 200);
	CHECK_INT(per[2] + per[3], 200);
	CHECK(per[4] >= 90 && per[4] <= 110 && per[2] >= 90 && per[2] <= 110);
	CHECK_INT(total_active(&s), 400);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

static size_t binary(__u8 *out, __u8 op, const char *key, size_t extra)
{
	size_t len = strlen(key);

	memset(out, 0, 24 + extra);
	out[0] = 0x80;
	out[1] = op;
	put16(out + 2, len);
	out[4] = extra;
	put32(out + 8, extra + len);
	memcpy(out + 24 + extra, key, len);
	return 24 + extra + len;
}

/* All of "foo", which is of shard 2. */
static const char *const of_foo[] = {
	"get foo\r\n",
	"gets foo\r\n",
	"get foo\n",
	"gat 10 foo\r\n",
	"gats 10 foo\r\n",
	"touch foo 10\r\n",
	"set foo 0 0 1\r\nx\r\n",
	"add foo 0 0 1\r\nx\r\n",
	"replace foo 0 0 1\r\nx\r\n",
	"append foo 0 0 1\r\nx\r\n",
	"prepend foo 0 0 1\r\nx\r\n",
	"cas foo 0 0 1 7\r\nx\r\n",
	"delete foo\r\n",
	"incr foo 1\r\n",
	"decr foo 1\r\n",
	"set foo 0 0 1 noreply\r\nx\r\n",
	"mg foo v\r\n",
	"mg foo\r\n",
	"mg foo v t\r\n",
	"mg foo s v N30\r\n",
	"mg Zm9v b v\r\n",
	"md foo\r\n",
	"ms foo 1\r\nx\r\n",
	"ma foo\r\n",
	"mg foo v k O123\r\n",
	"mg foo v h l t\r\n",
	"mg foo v q\r\n",
};
static const char *const of_none[] = {
	"get foo key1\r\n", "gets foo key1\r\n", "get foo foo\r\n", "flush_all\r\n",
	"stats\r\n",        "version\r\n",       "me foo\r\n", /* for people, about one server */
	"mn\r\n",           "no such thing\r\n", "get\r\n",         "get foo\r\nget foo\r\n",
};

static void test_requests(void)
{
	__u8 b[100];

	test_begin("all requests of one key go to its shard, those of several or none to the fallback");
	open_shards(0, open_yaml);
	for (unsigned i = 0; i < sizeof(of_foo) / sizeof(*of_foo); i++)
		if (!CHECK_INT(ask_text(1, of_foo[i]) / 2, 2))
			printf("# %s", of_foo[i]);
	for (unsigned i = 0; i < sizeof(of_none) / sizeof(*of_none); i++)
		if (!CHECK_INT(ask_text(1, of_none[i]), 16))
			printf("# %s", of_none[i]);
	/* Lookups that are refused an answer from the cache: with IP options, of a stranger. */
	CHECK_INT(ask_with_options("get foo\r\n") / 2, 2);
	CHECK_INT(ask_from(0xc6336401, "get foo\r\n") / 2, 2);
	CHECK_INT(ask_from(0xc6336401, "get foo key1\r\n"), 16);
	CHECK_INT(ask(1, b, binary(b, 0x00, "foo", 0)) / 2, 2);  /* get */
	CHECK_INT(ask(1, b, binary(b, 0x0c, "foo", 0)) / 2, 2);  /* getk */
	CHECK_INT(ask(1, b, binary(b, 0x01, "foo", 8)) / 2, 2);  /* set */
	CHECK_INT(ask(1, b, binary(b, 0x04, "foo", 0)) / 2, 2);  /* delete */
	CHECK_INT(ask(1, b, binary(b, 0x05, "foo", 20)) / 2, 2); /* increment */
	CHECK_INT(ask(1, b, binary(b, 0x1c, "foo", 4)) / 2, 2);  /* touch */
	CHECK_INT(ask(1, b, binary(b, 0x08, "", 0)), 16);        /* flush */
	CHECK_INT(ask(1, b, binary(b, 0x0b, "", 0)), 16);        /* version */
	flow_scene_close(&s);
	test_end();
}

#define KEYS 10000

static void where_keys_go(int percent, void (*open)(void), int *to)
{
	char key[40];

	open_shards(percent, open);
	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "item:%u", i);
		to[i] = get(i % 1000, key);
		if (i % 2000 == 0)
			know_hops(&s);
	}
	flow_scene_close(&s);
}

static void test_migrate(void)
{
	static int none[KEYS], some[KEYS], again[KEYS], more[KEYS], all[KEYS];
	unsigned moved = 0, differ = 0, back = 0, shard = 0, stayed = 0;

	test_begin("migrate moves that part of the keys, always the same, each to the same shard");
	where_keys_go(0, open_yaml, none);
	where_keys_go(10, open_yaml, some);
	where_keys_go(10, open_other_host, again);
	where_keys_go(30, open_yaml, more);
	where_keys_go(100, open_yaml, all);
	for (int i = 0; i < KEYS; i++) {
		moved += some[i] >= 8;
		differ += (some[i] >= 8) != (again[i] >= 8);
		back += some[i] >= 8 && more[i] < 8;
		shard += some[i] / 2 % 4 != none[i] / 2 || more[i] / 2 % 4 != none[i] / 2;
		shard += none[i] < 0 || none[i] >= 8;
		stayed += all[i] < 8;
	}
	printf("# %u of %d keys\n", moved, KEYS);
	CHECK(moved >= KEYS / 10 - KEYS / 100 && moved <= KEYS / 10 + KEYS / 100);
	CHECK_INT(differ, 0);
	CHECK_INT(back, 0);
	CHECK_INT(shard, 0);
	CHECK_INT(stayed, 0);
	test_end();
}

/* ---- by QUIC connection id -------------------------------------------------------------------- */

static void open_quic(void)
{
	char more[40];

	begin_yaml(&yaml, FLOWS);
	add_pool(&yaml, "web", EXACT);
	for (int i = 0; i < 6; i++) {
		snprintf(more, sizeof(more), ", quic_id: %d", 1000 + i);
		add_backend(&yaml, i, more);
	}
	add_service(&yaml, "web", "    protocol: udp\n    quic: {offset: 1, length: 2}\n");
	open_yaml();
}

/* A short header (RFC 9000, 17.3), and the id of a server. */
static size_t short_packet(__u8 *d, __u16 id)
{
	memset(d, 0xaa, 40);
	d[0] = 0x40;
	put16(d + 2, id);
	return 40;
}

/* A long header (17.2) of a type, with a connection id of 8 bytes. */
static size_t long_packet(__u8 *d, int type, __u32 version, __u16 id)
{
	memset(d, 0xaa, 40);
	d[0] = 0xc0 | type << 4;
	put32(d + 1, version);
	d[5] = 8;
	put16(d + 7, id);
	return 40;
}

#define QUIC1 1
#define QUIC2 0x6b3343cf

/* By its tuple: it is an open flow to `home` already. */
static void expect_by_tuple(struct peer from, int home, const __u8 *d, size_t len, const char *what)
{
	if (!CHECK_INT(send_udp(&s, from, d, len), home))
		printf("# %s\n", what);
}

/* Whoever gets this client's flows. Then it is not one that an id in these tests leads to. */
static int settle_client(struct peer from, int not )
{
	int home = TO_ERROR;
	__u8 d[40];

	for (int i = 0; i < 6; i++)
		pools_health(s.m, i, i == not ? WEIR_HEALTH_DOWN : WEIR_HEALTH_UP, "test");
	memset(d, 0, sizeof(d));
	d[0] = 0xc0; /* Initial */
	put32(d + 1, QUIC1);
	home = send_udp(&s, from, d, sizeof(d));
	pools_health(s.m, not, WEIR_HEALTH_UP, NULL);
	CHECK(home >= 0 && home != not );
	return home;
}

static void test_quic(void)
{
	__u8 d[64];

	test_begin("QUIC: a short header's or a handshake's server id leads to its backend, from any client");
	open_quic();
	for (int b = 0; b < 6; b++) {
		for (unsigned i = 0; i < 30; i++) {
			struct peer from = client(100 * b + i);

			CHECK_INT(send_udp(&s, from, d, short_packet(d, 1000 + b)), b);
			CHECK_INT(send_udp(&s, from, d, short_packet(d, 1000 + b)), b);
		}
		CHECK_INT(send_udp(&s, client(5000 + b), d, long_packet(d, 2, QUIC1, 1000 + b)), b);
		CHECK_INT(send_udp(&s, client(5000 + b), d, long_packet(d, 3, QUIC2, 1000 + b)), b);
	}
	CHECK(counts_hold(&s));
	CHECK_INT(total_active(&s), 186);
	/* Another id from the same tuple: the flow follows, its count too. */
	CHECK_INT(send_udp(&s, client(1), d, short_packet(d, 1005)), 5);
	CHECK_INT(active_of(&s, 5), 32);
	CHECK_INT(active_of(&s, 0), 30);
	CHECK_INT(total_active(&s), 186);
	flow_scene_close(&s);
	test_end();
}

static void test_quic_by_tuple(void)
{
	struct peer from = client(1);
	__u8 d[64];
	int home;

	test_begin("QUIC: packets whose id the server has not made, or nobody has, go by their tuple");
	open_quic();
	home = settle_client(from, 3);
	expect_by_tuple(from, home, d, long_packet(d, 0, QUIC1, 1003), "Initial");
	expect_by_tuple(from, home, d, long_packet(d, 1, QUIC1, 1003), "0-RTT");
	expect_by_tuple(from, home, d, long_packet(d, 3, QUIC1, 1003), "Retry");
	expect_by_tuple(from, home, d, long_packet(d, 2, 0, 1003), "version negotiation");
	expect_by_tuple(from, home, d, long_packet(d, 2, QUIC2, 1003), "0-RTT of version 2");
	expect_by_tuple(from, home, d, short_packet(d, 999), "unknown id");
	expect_by_tuple(from, home, d, short_packet(d, 0), "id 0");
	expect_by_tuple(from, home, d, short_packet(d, 0xffff), "id 65535");
	long_packet(d, 2, QUIC1, 1003);
	d[5] = 2; /* shorter than offset and length */
	expect_by_tuple(from, home, d, 40, "short connection id");
	d[5] = 21;
	expect_by_tuple(from, home, d, 40, "long connection id");
	/* A dead backend's id. */
	pools_health(s.m, 3, WEIR_HEALTH_DOWN, "test");
	expect_by_tuple(from, home, d, short_packet(d, 1003), "id of a dead backend");
	pools_health(s.m, 3, WEIR_HEALTH_UP, NULL);
	/* One that is drained keeps its connections. */
	pools_admin(s.m, 3, WEIR_ADMIN_DRAIN);
	CHECK_INT(send_udp(&s, client(2), d, short_packet(d, 1003)), 3);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

static void test_quic_cut(void)
{
	struct peer from = client(1);
	__u8 d[64];
	int home;

	test_begin("QUIC: cut at any length a datagram does no harm");
	open_quic();
	home = settle_client(from, 3);
	for (size_t len = 0; len <= 40; len++) {
		int to;

		short_packet(d, 1003);
		to = send_udp(&s, from, d, len);
		if (!CHECK(to == home || (to == 3 && len >= 8)))
			printf("# %zu bytes: to %d\n", len, to);
		if (to == 3)
			from.port++, home = settle_client(from, 3);
		long_packet(d, 2, QUIC1, 1003);
		to = send_udp(&s, from, d, len);
		if (!CHECK(to == home || (to == 3 && len >= 9)))
			printf("# %zu bytes of a long header: to %d\n", len, to);
		if (to == 3)
			from.port++, home = settle_client(from, 3);
	}
	CHECK_INT(send_udp(&s, from, d, short_packet(d, 1003)), 3);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

int main(void)
{
	rx_fixture_reuse = true;
	test_used_again();
	test_equal();
	test_quantum();
	test_unequal();
	test_extremes();
	test_latency();
	test_ties();
	test_sizes();
	test_backups();
	test_few_left();
	test_syn_again();
	test_drain();
	test_dead();
	test_none_left();
	test_maglev();
	test_maglev_many();
	test_lost_state();
	test_bounded();
	test_v6();
	test_shards();
	test_replicas();
	test_requests();
	test_migrate();
	test_quic();
	test_quic_by_tuple();
	test_quic_cut();
	return test_done();
}
