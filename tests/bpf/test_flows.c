// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The flow table and the count of active connections: random packets and commands against a plain model, and
 * against a recount; floods; several CPUs at once.
 *
 * vm: --cpus 2
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>

#include "emulated.h"
#include "flow_scene.h"

#define MODEL_CLIENTS 250
#define CLIENTS_MAX   4000

#define BUDGET 8 /* seconds, of each run: a slow machine gets less far */

/* Tables: flows in places, whatever happens; and so few of them that they run out. */
#define LARGE 4096
#define SMALL 1024

static double seconds_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - begin->tv_sec + (now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* ---- the model -------------------------------------------------------------------------------- */

struct known {
	unsigned state; /* 0: not in the table */
	int backend;
	__u32 tick;
};

struct world {
	struct flow_scene s;
	struct text yaml;
	struct config *config;
	__u64 chance;
	unsigned n, nclients;
	bool modelled;
	struct known flow[2][CLIENTS_MAX];    /* UDP, TCP */
	unsigned last;                        /* client of the last SYN */
	unsigned long seen[WEIR_FLOW_STATES]; /* packets after which a flow was in this state */
	unsigned fullest;                     /* the most places taken at a time */
	const char *event;
	unsigned long step;
	char why[256];
};

static bool __attribute__((format(printf, 2, 3))) wrong(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->why[0])
		return false;
	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	return false;
}

static const struct weir_ctl_backend *ctl_of(const struct world *w, int b)
{
	return &w->s.m->backend_ctl[b];
}

static bool used(const struct world *w, int b)
{
	return w->s.m->backends[b].family;
}

static bool lives(const struct world *w, int b)
{
	const struct weir_ctl_backend *ctl = ctl_of(w, b);

	return used(w, b) && ctl->admin != WEIR_ADMIN_DISABLED && ctl->health != WEIR_HEALTH_DOWN;
}

static bool takes_new(const struct world *w, int b)
{
	return lives(w, b) && ctl_of(w, b)->admin == WEIR_ADMIN_UP;
}

static unsigned how_many(const struct world *w, bool (*which)(const struct world *, int))
{
	unsigned n = 0;

	for (unsigned b = 0; b < w->n; b++)
		n += which(w, b);
	return n;
}

static void model_counts(const struct world *w, unsigned *n)
{
	memset(n, 0, WEIR_POOL_BACKENDS * sizeof(*n));
	for (int tcp = 0; tcp < 2; tcp++)
		for (unsigned i = 0; i < w->nclients; i++)
			if (weir_flow_counts(w->flow[tcp][i].state))
				n[w->flow[tcp][i].backend]++;
}

/* A new flow's backend: the counts as they were before. */
static bool check_least(struct world *w, int got, const unsigned *counts)
{
	unsigned least = ~0U;

	for (unsigned b = 0; b < w->n; b++)
		if (takes_new(w, b) && counts[b] < least)
			least = counts[b];
	if (got < 0 || !takes_new(w, got))
		return wrong(w, "a new flow went to %d, which takes none", got);
	return counts[got] == least ||
	       wrong(w, "a new flow went to %d, which has %u, not %u", got, counts[got], least);
}

/* What time it was for a flow when its packet came. */
struct when {
	bool waited; /* a tick later than the last one */
	bool in_use; /* not silent for a minute, */
	bool recent; /* for ten seconds, */
	bool later;  /* for two */
};

/* The states that follow a client's packet, RFC 9293 as far as one sees it. */
static unsigned state_after(const struct world *w, unsigned state, __u8 flags, struct when when)
{
	bool sees_both = w->s.nat;

	if (flags & RST)
		return state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_FIN_B || state == WEIR_FLOW_CLOSED
			       ? WEIR_FLOW_CLOSED
			       : WEIR_FLOW_RESET;
	if (flags & FIN) {
		if (!sees_both || state == WEIR_FLOW_FIN_B || state == WEIR_FLOW_CLOSED || state == WEIR_FLOW_RESET)
			return WEIR_FLOW_CLOSED;
		return state == WEIR_FLOW_FOUND && !when.waited ? WEIR_FLOW_CLOSED : WEIR_FLOW_FIN_C;
	}
	if (state == WEIR_FLOW_RESET)
		return when.later ? WEIR_FLOW_TCP : WEIR_FLOW_RESET;
	if (state == WEIR_FLOW_SYN || state == WEIR_FLOW_RESTING || (state == WEIR_FLOW_FOUND && when.waited))
		return WEIR_FLOW_TCP;
	return state;
}

static bool went(struct world *w, int got, int want)
{
	return got == want || wrong(w, "went to %d, wanted %d", got, want);
}

/* k becomes what is expected. */
static bool model_new(struct world *w, struct known *k, int got, unsigned state, const unsigned *counts)
{
	if (!how_many(w, takes_new))
		return went(w, got, TO_NOBODY);
	*k = (struct known){.state = state, .backend = got};
	return check_least(w, got, counts);
}

static bool model_lost(struct world *w, struct known *k, int got, __u8 flags)
{
	if (got == TO_NOBODY)
		return how_many(w, takes_new) < w->n || wrong(w, "an unknown flow was dropped");
	if (got < 0 || !lives(w, got))
		return wrong(w, "an unknown flow went to %d", got);
	if (!(flags & (FIN | RST)))
		*k = (struct known){.state = WEIR_FLOW_FOUND, .backend = got};
	return true;
}

/* A SYN goes where the flow's packets go. */
static bool syn_follows(const struct world *w, const struct known *k, struct when when)
{
	return (k->state == WEIR_FLOW_SYN || (k->state == WEIR_FLOW_TCP && when.in_use) ||
		(k->state == WEIR_FLOW_RESET && when.recent)) &&
	       takes_new(w, k->backend);
}

static bool model_tcp(struct world *w, struct known *k, int got, __u8 flags, struct when when,
		      const unsigned *counts)
{
	if ((flags & (SYN | ACK | RST)) == SYN) {
		if (syn_follows(w, k, when)) {
			k->state = k->state == WEIR_FLOW_RESET ? WEIR_FLOW_SYN : k->state;
			return went(w, got, k->backend);
		}
		return model_new(w, k, got, WEIR_FLOW_SYN, counts);
	}
	if (!k->state)
		return model_lost(w, k, got, flags);
	if (!lives(w, k->backend)) {
		k->state = 0;
		/* A reset, or none: their rate is limited, and nobody answers a reset. */
		return got == TO_NOBODY || (got == TO_SENDER && !(flags & RST)) ||
		       wrong(w, "a dead backend's flow went to %d", got);
	}
	k->state = state_after(w, k->state, flags, when);
	return went(w, got, k->backend);
}

static bool model_udp(struct world *w, struct known *k, int got, const unsigned *counts)
{
	if (k->state && lives(w, k->backend))
		return went(w, got, k->backend);
	k->state = 0;
	return model_new(w, k, got, WEIR_FLOW_UDP, counts);
}

/* The table's word is what the model says. */
static bool check_word(struct world *w, unsigned i, bool tcp)
{
	struct known *k = &w->flow[tcp][i];
	__u64 *word = word_of(&w->s, client(i), tcp);

	if (!word)
		return !k->state ||
		       wrong(w, "client %u's flow is not in the table, wanted state %u", i, k->state);
	if (weir_flow_state(*word) != k->state || weir_flow_backend(*word) != (unsigned)k->backend)
		return wrong(w, "client %u's flow: state %u of backend %u, wanted %u of %d", i,
			     weir_flow_state(*word), weir_flow_backend(*word), k->state, k->backend);
	k->tick = *word & WEIR_TICK_MASK;
	w->seen[k->state]++;
	return true;
}

/* ---- events ----------------------------------------------------------------------------------- */

static bool packet(struct world *w, unsigned i, bool tcp, __u8 flags)
{
	unsigned counts[WEIR_POOL_BACKENDS];
	struct known *k = &w->flow[tcp][i];
	__u64 *word = word_of(&w->s, client(i), tcp);
	unsigned idle = word ? weir_flow_idle(*word, flows_tick()) : 0;
	int got = tcp ? send_tcp(&w->s, client(i), flags) : send_udp(&w->s, client(i), "12345678", 8);
	struct when when = {.in_use = idle < 60, .recent = idle < 10, .later = idle >= 2};

	if (got == TO_HOST || got == TO_ERROR)
		return wrong(w, "went to %d", got);
	if (!w->modelled)
		return true;
	model_counts(w, counts);
	word = word_of(&w->s, client(i), tcp);
	when.waited = word && (*word & WEIR_TICK_MASK) != k->tick;
	/* At the end of each time the clock may have ticked. */
	if (word && idle == 59)
		when.in_use = weir_flow_state(*word) != WEIR_FLOW_SYN;
	if (idle == 9)
		when.recent = got == k->backend;
	if (word && idle == 1)
		when.later = weir_flow_state(*word) == WEIR_FLOW_TCP;
	if (!(tcp ? model_tcp(w, k, got, flags, when, counts) : model_udp(w, k, got, counts)))
		return false;
	return check_word(w, i, tcp);
}

/* The state after a backend's packet. */
static unsigned state_back(unsigned state, __u8 flags, bool later)
{
	if (flags & RST)
		return WEIR_FLOW_CLOSED;
	if (flags & FIN)
		return state == WEIR_FLOW_FIN_C || state == WEIR_FLOW_CLOSED || state == WEIR_FLOW_RESET
			       ? WEIR_FLOW_CLOSED
			       : WEIR_FLOW_FIN_B;
	return state == WEIR_FLOW_RESET && later ? WEIR_FLOW_TCP : state;
}

/* What a backend sends to a client; with NAT it passes here. */
static bool reply(struct world *w, unsigned i, bool tcp, __u8 flags)
{
	struct known *k = &w->flow[tcp][i];
	unsigned b = below(&w->chance, w->n), idle;
	struct peer from = {BACKENDS, VIP_PORT};
	struct wire wire;
	struct sent to;
	__u64 *word;

	if (k->state && below(&w->chance, 8))
		b = k->backend;
	from.addr += b;
	if (tcp)
		put_tcp(&wire, from, client(i), flags);
	else
		put_udp(&wire, from, client(i), "12345678", 8);
	idle = (flows_tick() - k->tick) & WEIR_TICK_MASK;
	run_wire(&w->s, &wire, &to);
	if (to.action != (used(w, b) ? XDP_REDIRECT : XDP_PASS))
		return wrong(w, "backend %u's reply: action %d", b, to.action);
	if (used(w, b) && get32(to.out.b + 14 + 12) != VIP)
		return wrong(w, "backend %u's reply is not translated", b);
	if (!w->modelled)
		return true;
	word = word_of(&w->s, client(i), tcp);
	if (tcp && k->state && k->backend == (int)b && used(w, b))
		k->state = state_back(k->state, flags,
				      idle == 1 && word ? weir_flow_state(*word) == WEIR_FLOW_TCP : idle >= 2);
	return check_word(w, i, tcp);
}

static bool random_packet(struct world *w)
{
	static const __u8 flags[] = {SYN,       SYN,       SYN,     ACK,       ACK,       ACK,       ACK,
				     ACK,       ACK | 8,   ACK | 8, ACK | 8,   FIN | ACK, FIN | ACK, RST,
				     RST | ACK, SYN | ACK, FIN,     FIN | SYN, 0,         SYN | 0xc0};
	unsigned i = below(&w->chance, w->nclients);
	__u8 f = flags[below(&w->chance, sizeof(flags))];

	if (!below(&w->chance, 50))
		f = random_next(&w->chance);
	if (!below(&w->chance, 3)) /* often the same few, so that they come to an end */
		i %= 20;
	if (w->s.nat && !below(&w->chance, 3)) {
		w->event = "reply";
		return reply(w, i, below(&w->chance, 4), f);
	}
	if (!below(&w->chance, 5)) {
		w->event = "UDP";
		return packet(w, i, false, 0);
	}
	w->event = "TCP";
	if (!below(&w->chance, 8))
		i = w->last, f = SYN;
	if (f == SYN)
		w->last = i;
	return packet(w, i, true, f);
}

static void model_forgets(struct world *w, int backend)
{
	for (int tcp = 0; tcp < 2; tcp++)
		for (unsigned i = 0; i < w->nclients; i++)
			if (w->flow[tcp][i].state && w->flow[tcp][i].backend == backend)
				w->flow[tcp][i].state = 0;
}

/* Down: what is open there weighs nothing until its next packet. */
static void model_rests(struct world *w, int backend)
{
	for (unsigned i = 0; i < w->nclients; i++) {
		struct known *k = &w->flow[1][i];

		if (k->backend == backend && (k->state == WEIR_FLOW_TCP || k->state == WEIR_FLOW_FIN_C ||
					      k->state == WEIR_FLOW_FIN_B))
			k->state = WEIR_FLOW_RESTING;
	}
}

static bool put_all_back(struct world *w)
{
	int err = pools_apply(w->s.m, w->config, false, NULL, NULL);

	know_hops(&w->s);
	return !err || wrong(w, "pools_apply: %s", strerror(-err));
}

static bool command(struct world *w)
{
	static const __u32 admin[] = {WEIR_ADMIN_DRAIN, WEIR_ADMIN_DISABLED, WEIR_ADMIN_UP, WEIR_ADMIN_UP};
	unsigned b = below(&w->chance, w->n), what = below(&w->chance, 10);
	int err = 0;

	if (!used(w, b) || what == 9) {
		w->event = "backends as configured";
		return put_all_back(w);
	}
	if (what < 4) {
		w->event = "health";
		if (what >= 2 && w->s.m->backend_ctl[b].health != WEIR_HEALTH_DOWN)
			model_rests(w, b);
		pools_health(w->s.m, b, what < 2 ? WEIR_HEALTH_UP : WEIR_HEALTH_DOWN, "test");
	} else if (what < 8) {
		w->event = "admin";
		err = pools_admin(w->s.m, b, admin[what - 4]);
	} else {
		w->event = "delete";
		err = pools_del(w->s.m, b);
		model_forgets(w, b);
	}
	return !err || wrong(w, "command on backend %u: %s", b, strerror(-err));
}

static bool time_passes(struct world *w)
{
	static const __u32 ticks[] = {1, 3, 12, 40, 100, 130, 3400};
	__u32 by = ticks[below(&w->chance, sizeof(ticks) / sizeof(*ticks))], tick;
	struct flows_swept swept;

	w->event = "sweep";
	age(&w->s, by);
	sweep(&w->s, &swept);
	tick = flows_tick();
	for (int tcp = 0; tcp < 2 && w->modelled; tcp++) {
		for (unsigned i = 0; i < w->nclients; i++) {
			struct known *k = &w->flow[tcp][i];

			k->tick = (k->tick - by) & WEIR_TICK_MASK;
			if (k->state &&
			    ((tick - k->tick) & WEIR_TICK_MASK) > w->s.m->ctl->idle_ticks[k->state])
				k->state = 0;
			if (!check_word(w, i, tcp))
				return false;
		}
	}
	return true;
}

/* ---- what always holds ------------------------------------------------------------------------ */

static bool table_is_sane(struct world *w)
{
	const struct pools_mem *m = w->s.m;
	unsigned taken = 0;

	if (!counts_hold(&w->s))
		return wrong(w, "the counts are not the table's");
	for (__u32 b = 0; b < m->ctl->flow_buckets; b++) {
		for (int i = 0; i < WEIR_BUCKET_WORDS; i++) {
			__u64 word = m->flows[b].word[i];

			taken += !!word;
			if (word && (!weir_flow_state(word) || weir_flow_state(word) >= WEIR_FLOW_STATES))
				return wrong(w, "a word in state %u", weir_flow_state(word));
			if (word && !used(w, weir_flow_backend(word)))
				return wrong(w, "a word of backend %u, which is none",
					     weir_flow_backend(word));
			for (int k = 0; k < i && word; k++)
				if (m->flows[b].word[k] >> WEIR_FLOW_TAG == word >> WEIR_FLOW_TAG)
					return wrong(w, "a flow stands twice in bucket %u", b);
		}
	}
	if (taken > w->fullest)
		w->fullest = taken;
	return true;
}

static bool model_counts_hold(struct world *w)
{
	unsigned counts[WEIR_POOL_BACKENDS];

	model_counts(w, counts);
	for (unsigned b = 0; b < w->n; b++)
		if (active_of(&w->s, b) != counts[b])
			return wrong(w, "backend %u: %u active, wanted %u", b, active_of(&w->s, b),
				     counts[b]);
	return true;
}

static bool step(struct world *w)
{
	unsigned what = below(&w->chance, 400);

	w->step++;
	if (w->step % 5000 == 0)
		know_hops(&w->s);
	if (!(what == 0 ? time_passes(w) : what < 4 ? command(w) : random_packet(w)))
		return false;
	return w->step % 4 ? true : table_is_sane(w) && (!w->modelled || model_counts_hold(w));
}

static void run_world(struct world *w, __u64 seed, unsigned long steps)
{
	struct timespec begin;

	w->chance = seed;
	w->step = 0;
	w->why[0] = 0;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	memset(w->flow, 0, sizeof(w->flow));
	if (put_all_back(w))
		while (w->step < steps && step(w) && (w->step % 256 || seconds_since(&begin) < BUDGET))
			;
	forget_all(&w->s);
	if (!w->why[0] && (total_active(&w->s) || !table_is_sane(w)))
		wrong(w, "%lu still active at the end", total_active(&w->s));
	for (unsigned b = 0; b < w->n; b++)
		pools_health(w->s.m, b, WEIR_HEALTH_UP, NULL);
	if (!CHECK(!w->why[0]))
		printf("# seed %llu, step %lu (%s): %s\n", (unsigned long long)seed, w->step, w->event,
		       w->why);
}

/* Clients' and backends' addresses are reached through a veth, so that replies find their way. */
static void make_routes(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	if (system("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && "
		   "ip addr add 10.99.0.1/24 dev v0 && "
		   "ip neigh add 10.99.0.2 lladdr 06:58:00:00:00:01 dev v0 nud permanent && "
		   "ip route add 10.1.0.0/16 via 10.99.0.2 && ip route add 10.8.0.0/16 via 10.99.0.2 && "
		   "echo 1 >/proc/sys/net/ipv4/ip_forward"))
		printf("# no veth\n");
}

static void take_out_routes(void)
{
	if (system("ip link del v0; echo 0 >/proc/sys/net/ipv4/ip_forward"))
		printf("# no veth\n");
}

static struct world *open_world(unsigned flows, const char *how, unsigned n, unsigned nclients, bool modelled)
{
	struct world *w = calloc(1, sizeof(*w));

	w->n = n;
	w->nclients = nclients;
	w->modelled = modelled;
	plain_yaml(&w->yaml, flows, n, how);
	flow_scene_open(&w->s, &w->yaml);
	use_cpus(1);
	if (config_parse(&w->config, "again", w->yaml.s, w->yaml.len, stderr))
		abort();
	return w;
}

static void close_world(struct world *w)
{
	config_free(w->config);
	flow_scene_close(&w->s);
	free(w);
}

#define L2  "    delivery: l2\n    quantum: 0%\n"
#define NAT "    delivery: nat\n    quantum: 0%\n"

static void test_model(const char *name, const char *how)
{
	struct world *w;

	test_begin(name);
	w = open_world(LARGE, how, 5, MODEL_CLIENTS, true);
	for (__u64 seed = 1; seed <= (emulated() ? 1 : 3); seed++)
		run_world(w, seed, 12000);
	for (int i = 1; i < WEIR_FLOW_STATES; i++) {
		bool of_nat = i == WEIR_FLOW_FIN_C || i == WEIR_FLOW_FIN_B;

		if (!CHECK(w->seen[i] > rounds(100) || (!w->s.nat && of_nat)))
			printf("# state %d: %lu times\n", i, w->seen[i]);
	}
	close_world(w);
	test_end();
}

static void test_full(const char *name, const char *how)
{
	struct world *w;

	test_begin(name);
	w = open_world(SMALL, how, 7, 3000, false);
	/* The last one has it full early on. */
	for (__u64 seed = emulated() ? 14 : 11; seed <= 14; seed++)
		run_world(w, seed, emulated() ? 26000 : 40000);
	printf("# at most %u of %d places taken\n", w->fullest, SMALL);
	CHECK(w->fullest > 800);
	close_world(w);
	test_end();
}

/* ---- single flows ----------------------------------------------------------------------------- */

/* The state after the packet, and how many connections are active then. */
static void expect_state(struct flow_scene *s, struct peer c, __u8 flags, unsigned state,
			 unsigned long active)
{
	CHECK(send_tcp(s, c, flags) >= 0);
	CHECK_INT(state_of(s, c, true), state);
	CHECK_INT(total_active(s), active);
}

/* Not where a tick ends: some hundred packets are one second's. */
static void begin_tick(void)
{
	for (__u32 tick = flows_tick(); flows_tick() == tick;)
		sched_yield();
}

static void test_found(const char *name, const char *how)
{
	struct peer lasts = client(1), ends = client(2), resets = client(3);
	static struct text yaml;
	struct flow_scene s;

	test_begin(name);
	plain_yaml(&yaml, SMALL, 4, how);
	flow_scene_open(&s, &yaml);
	use_cpus(1);
	begin_tick();
	expect_state(&s, lasts, ACK, WEIR_FLOW_FOUND, 0);
	expect_state(&s, lasts, ACK, WEIR_FLOW_FOUND, 0);
	expect_state(&s, ends, ACK, WEIR_FLOW_FOUND, 0);
	expect_state(&s, ends, FIN | ACK, WEIR_FLOW_CLOSED, 0);
	expect_state(&s, resets, RST, 0, 0);
	expect_state(&s, resets, FIN | ACK, 0, 0);
	expect_state(&s, resets, ACK, WEIR_FLOW_FOUND, 0);
	expect_state(&s, resets, RST, WEIR_FLOW_RESET, 0);
	age(&s, 1);
	expect_state(&s, lasts, ACK, WEIR_FLOW_TCP, 1);
	expect_state(&s, ends, ACK, WEIR_FLOW_CLOSED, 1);
	expect_state(&s, lasts, FIN | ACK, s.nat ? WEIR_FLOW_FIN_C : WEIR_FLOW_CLOSED, s.nat);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

/* A reply of the flow's backend, where replies pass here. */
static void expect_state_back(struct flow_scene *s, struct peer c, __u8 flags, unsigned state, unsigned long active)
{
	__u64 *word = word_of(s, c, true);
	struct peer from = {BACKENDS, VIP_PORT};
	struct wire w;
	struct sent to;

	if (!CHECK(word))
		return;
	from.addr += weir_flow_backend(*word);
	put_tcp(&w, from, c, flags);
	run_wire(s, &w, &to);
	CHECK_INT(to.action, XDP_REDIRECT);
	CHECK_INT(state_of(s, c, true), state);
	CHECK_INT(total_active(s), active);
}

/* Whoever knows a client's port can send its reset, but not with the right sequence number. */
static void test_reset(const char *name, const char *how)
{
	struct peer c = client(1), ends = client(2), idles = client(3);
	static struct text yaml;
	struct flows_swept swept;
	struct flow_scene s;
	int b;

	test_begin(name);
	plain_yaml(&yaml, SMALL, 4, how);
	flow_scene_open(&s, &yaml);
	use_cpus(1);
	begin_tick();
	b = connect_tcp(&s, c);
	expect_state(&s, c, RST, WEIR_FLOW_RESET, 0);
	expect_state(&s, c, RST | ACK, WEIR_FLOW_RESET, 0); /* counted out once */
	expect_state(&s, c, ACK, WEIR_FLOW_RESET, 0);	     /* may have been under way */
	age(&s, 1);
	expect_state(&s, c, ACK, WEIR_FLOW_RESET, 0);
	expect_state(&s, c, RST, WEIR_FLOW_RESET, 0); /* no second wait */
	age(&s, 1);
	CHECK_INT(send_tcp(&s, c, ACK), b);
	expect_state(&s, c, ACK, WEIR_FLOW_TCP, 1);
	expect_state(&s, c, ACK, WEIR_FLOW_TCP, 1); /* and in once */
	/* What is silent is kept as long as a SYN alone would leave it in its place. */
	CHECK_INT(connect_tcp(&s, idles) == b, false);
	expect_state(&s, idles, RST, WEIR_FLOW_RESET, 1);
	b = weir_flow_backend(*word_of(&s, idles, true));
	age(&s, 65);
	sweep(&s, &swept);
	CHECK_INT(swept.by_state[WEIR_FLOW_RESET], 1);
	CHECK_INT(send_tcp(&s, idles, ACK), b);
	expect_state(&s, idles, ACK, WEIR_FLOW_TCP, 2);
	expect_state(&s, idles, RST, WEIR_FLOW_RESET, 1);
	age(&s, 130);
	sweep(&s, &swept);
	CHECK_INT(state_of(&s, idles, true), 0);
	CHECK_INT(total_active(&s), 1);
	/* What has ended has. */
	connect_tcp(&s, ends);
	expect_state(&s, ends, FIN | ACK, s.nat ? WEIR_FLOW_FIN_C : WEIR_FLOW_CLOSED, 1 + s.nat);
	expect_state(&s, ends, RST, WEIR_FLOW_CLOSED, 1);
	age(&s, 2);
	expect_state(&s, ends, ACK, WEIR_FLOW_CLOSED, 1);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

/* The same with a SYN behind it, so that the client's next packets would be another backend's. */
static void test_reset_and_syn(const char *name, const char *how)
{
	static struct text yaml;
	struct flow_scene s;
	struct peer c = client(1);
	int b, more = 200;

	test_begin(name);
	plain_yaml(&yaml, SMALL, 4, how);
	flow_scene_open(&s, &yaml);
	use_cpus(1);
	begin_tick();
	for (int i = 10; i < 14; i++)
		connect_tcp(&s, client(i)); /* equal loads: another backend would do */
	for (int i = 0; i < 8; i++) {
		c = client(100 + i);
		b = connect_tcp(&s, c);
		expect_state(&s, c, RST, WEIR_FLOW_RESET, 4 + i);
		age(&s, 9 * (i & 1)); /* the second is the last moment */
		CHECK_INT(send_tcp(&s, c, SYN), b);
		CHECK_INT(state_of(&s, c, true), WEIR_FLOW_SYN);
		CHECK_INT(send_tcp(&s, c, ACK), b);
		CHECK_INT(total_active(&s), 5 + i);
	}
	/* Who begins anew later is a new connection. */
	for (int i = 0; i < 8; i++) {
		c = client(100 + i);
		b = weir_flow_backend(*word_of(&s, c, true));
		send_tcp(&s, c, RST);
		age(&s, 11);
		while (active_of(&s, b) <= active_of(&s, (b + 1) % 4) && more < 300)
			connect_tcp(&s, client(more++));
		CHECK(send_tcp(&s, c, SYN) != b);
		CHECK_INT(state_of(&s, c, true), WEIR_FLOW_SYN);
	}
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

/* Resets of backends are their own. */
static void test_reset_back(void)
{
	struct peer c = client(1);
	static struct text yaml;
	struct flow_scene s;

	test_begin("with translation a backend's packet shows that a reset was forged; its own reset is the end");
	plain_yaml(&yaml, SMALL, 4, NAT);
	flow_scene_open(&s, &yaml);
	use_cpus(1);
	begin_tick();
	connect_tcp(&s, c);
	expect_state(&s, c, RST, WEIR_FLOW_RESET, 0);
	expect_state_back(&s, c, ACK, WEIR_FLOW_RESET, 0);
	age(&s, 2);
	expect_state_back(&s, c, ACK, WEIR_FLOW_TCP, 1);
	expect_state(&s, c, RST, WEIR_FLOW_RESET, 0);
	expect_state_back(&s, c, FIN | ACK, WEIR_FLOW_CLOSED, 0);
	connect_tcp(&s, c);
	CHECK_INT(total_active(&s), 1);
	expect_state_back(&s, c, RST, WEIR_FLOW_CLOSED, 0);
	age(&s, 2);
	expect_state(&s, c, ACK, WEIR_FLOW_CLOSED, 0);
	expect_state_back(&s, c, ACK, WEIR_FLOW_CLOSED, 0);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

/* ---- several CPUs ----------------------------------------------------------------------------- */

#define SENDERS 3

static struct world *shared;
static atomic_bool stop;

struct sender {
	pthread_t thread;
	unsigned number;
	unsigned long packets, lost;
};

/* One packet over and over (its TTL lasts), so that CPUs meet at a flow's word. */
static bool hammer(struct flow_scene *s, struct peer from, bool tcp, __u8 flags)
{
	struct sent to;
	struct wire w;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = w.b, .data_out = to.out.b,
		    .data_size_out = sizeof(to.out.b), .repeat = 48);

	if (tcp)
		put_tcp(&w, from, vip, flags);
	else
		put_udp(&w, from, vip, "12345678", 8);
	opts.data_size_in = w.len;
	return !bpf_prog_test_run_opts(s->fd, &opts) && opts.retval != XDP_ABORTED;
}

/* Half of it to very few flows. */
static void *send_on(void *arg)
{
	static const __u8 flags[] = {SYN, SYN, ACK, ACK, ACK, ACK, FIN | ACK, RST};
	struct sender *me = arg;
	__u64 chance = 100 + me->number;

	use_cpus(1 << me->number % 2);
	while (!atomic_load(&stop)) {
		unsigned i = below(&chance, 2) ? below(&chance, 3) : below(&chance, 2000);
		bool tcp = below(&chance, 8);

		/* Where it goes is not looked at: next hops are being replaced meanwhile. */
		me->lost += !hammer(&shared->s, client(i), tcp, flags[below(&chance, 8)]);
		me->packets++;
	}
	return NULL;
}

/* The agent and commands, meanwhile. */
static void *meddle_on(void *arg)
{
	__u64 chance = 7;
	struct flows_swept swept;
	unsigned long rounds = 0;

	use_cpus(3);
	while (!atomic_load(&stop)) {
		unsigned b = below(&chance, shared->n);

		age(&shared->s, 1 + below(&chance, 9));
		sweep(&shared->s, &swept);
		pools_health(shared->s.m, b, below(&chance, 3) ? WEIR_HEALTH_UP : WEIR_HEALTH_DOWN, "test");
		if (rounds++ % 16 == 0) {
			if (used(shared, b))
				pools_del(shared->s.m, b);
			put_all_back(shared);
		}
		sched_yield();
	}
	*(unsigned long *)arg = rounds;
	return NULL;
}

static void test_at_once(void)
{
	struct sender senders[SENDERS] = {};
	struct world *w;
	pthread_t meddler;
	unsigned long rounds = 0, packets = 0;

	test_begin(
		"with packets on two CPUs, a sweeper and commands at once each flow is settled exactly once");
	w = shared = open_world(SMALL, L2, 7, 2000, false);
	atomic_store(&stop, false);
	pthread_create(&meddler, NULL, meddle_on, &rounds);
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i].number = i;
		pthread_create(&senders[i].thread, NULL, send_on, &senders[i]);
	}
	nanosleep(&(struct timespec){.tv_sec = emulated() ? 2 : 4}, NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		packets += senders[i].packets;
		CHECK_INT(senders[i].lost, 0);
	}
	pthread_join(meddler, NULL);
	printf("# %lu packets, each 48 times, %lu rounds\n", packets, rounds);
	CHECK(packets > 1000 && rounds > 10);
	CHECK(counts_hold(&w->s));
	forget_all(&w->s);
	CHECK(counts_hold(&w->s));
	CHECK_INT(total_active(&w->s), 0);
	CHECK_STR(w->why, "");
	close_world(w);
	test_end();
}

/* ---- floods ----------------------------------------------------------------------------------- */

#define OPEN 500

static struct peer attacker(__u64 *chance)
{
	__u64 r = random_next(chance);

	return (struct peer){0x0b000000 | (r & 0xffffff), 1 + (r >> 32) % 65535};
}

/* That have a place: now and then both buckets are full. */
static void open_connections(struct flow_scene *s, struct peer *c, int *backend)
{
	unsigned n = 0, tried = 0;

	while (n < OPEN && tried < OPEN + 20) {
		c[n] = client(tried++);
		backend[n] = connect_tcp(s, c[n]);
		if (!CHECK(backend[n] >= 0))
			break;
		n += state_of(s, c[n], true) == WEIR_FLOW_TCP;
	}
	CHECK_INT(n, OPEN);
	CHECK_INT(total_active(s), OPEN);
}

static void still_open(struct flow_scene *s, const struct peer *c, const int *backend)
{
	unsigned lost = 0;

	for (int i = 0; i < OPEN; i++) {
		lost += state_of(s, c[i], true) != WEIR_FLOW_TCP;
		lost += send_tcp(s, c[i], ACK) != backend[i];
	}
	CHECK_INT(lost, 0);
	CHECK(counts_hold(s));
}

/* Up to n packets of a flood: SYNs, ACKs or, with flags 0, UDP. Each of another client. How many. */
static unsigned flood(struct flow_scene *s, __u64 *chance, __u8 flags, unsigned n)
{
	struct timespec begin;
	unsigned i;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (i = 0; i < n && (i % 256 || seconds_since(&begin) < BUDGET); i++) {
		if (flags)
			send_tcp(s, attacker(chance), flags);
		else
			send_udp(s, attacker(chance), "12345678", 8);
	}
	return i;
}

/* Handshakes with `between` packets of the flood between a client's SYN and its ACK. How many failed. */
static unsigned handshakes(struct flow_scene *s, __u64 *chance, __u8 flags, unsigned n, unsigned between)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < n; i++) {
		struct peer from = {0x0c000000 + between * 1000 + i, 5000};
		int b = send_tcp(s, from, SYN);

		flood(s, chance, flags, between);
		failed += send_tcp(s, from, ACK) != b;
		flood(s, chance, flags, between);
		failed += send_tcp(s, from, ACK | 8) != b;
		send_tcp(s, from, RST);
	}
	return failed;
}

/* How many of 50 SYNs found a place. */
static unsigned places_for_syns(struct flow_scene *s, __u32 from)
{
	unsigned placed = 0;

	for (__u32 i = 0; i < 50; i++) {
		struct peer c = {from + i, 5000};

		CHECK(send_tcp(s, c, SYN) >= 0);
		placed += state_of(s, c, true) == WEIR_FLOW_SYN;
	}
	return placed;
}

/* A half-open flow keeps its place for two ticks, not longer. They may pass while the table fills. */
static void check_patience(struct flow_scene *s, __u64 *chance)
{
	unsigned placed;
	__u32 tick;

	for (int tries = 0; tries < 10; tries++) {
		age(s, 3);
		tick = flows_tick();
		flood(s, chance, SYN, 6 * WEIR_BUCKET_WORDS * s->m->ctl->flow_buckets);
		placed = places_for_syns(s, 0x0d000000 + 256 * tries);
		if (((flows_tick() - tick) & WEIR_TICK_MASK) < 2)
			break;
	}
	CHECK_INT(placed, 0);
	age(s, 3);
	CHECK(places_for_syns(s, 0x0d001000) > 40);
}

static void test_flood(const char *name, __u8 flags, unsigned table, unsigned n)
{
	static struct text yaml;
	int backend[OPEN];
	struct peer open[OPEN];
	struct flow_scene s;
	struct timespec begin;
	__u64 chance = 5;

	test_begin(name);
	plain_yaml(&yaml, table, 8, L2);
	flow_scene_open(&s, &yaml);
	open_connections(&s, open, backend);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	n = flood(&s, &chance, flags, emulated() ? 30000 : n);
	printf("# %u packets in %.1f s\n", n, seconds_since(&begin));
	CHECK(n > 20 * SMALL);
	if (flags)
		CHECK_INT(total_active(&s), OPEN);
	know_hops(&s);
	still_open(&s, open, backend);
	for (unsigned between = 0; between <= 512; between = between * 8 + !between) {
		unsigned failed = handshakes(&s, &chance, flags, rounds(50), between);

		if (!CHECK_INT(failed, 0))
			printf("# with %u packets of the flood in between\n", between);
	}
	if (flags == SYN && (table == SMALL || !emulated()))
		check_patience(&s, &chance);
	flow_scene_close(&s);
	test_end();
}

/* ---- UDP without a place ---------------------------------------------------------------------- */

#define DATAGRAMS 600

/* Where each client's datagrams go. How many went elsewhere than `before`, of those that were not at `gone`. */
static unsigned ask_all(struct flow_scene *s, int *at, const int *before, int gone)
{
	unsigned moved = 0, placed = 0;

	for (int i = 0; i < DATAGRAMS; i++) {
		at[i] = send_udp(s, client(10000 + i), "12345678", 8);
		CHECK(at[i] >= 0 && at[i] != gone);
		CHECK_INT(send_udp(s, client(10000 + i), "12345678", 8), at[i]);
		moved += before && before[i] != at[i] && before[i] != gone;
		placed += state_of(s, client(10000 + i), false) != 0;
	}
	CHECK_INT(placed, 0);
	return moved;
}

/* A table of open connections only: what is consistent is what the hash says. */
static void test_udp_without_place(const char *name, const char *how)
{
	int first[DATAGRAMS], now[DATAGRAMS], later[DATAGRAMS];
	static struct text yaml;
	struct flow_scene s;
	unsigned moved;

	test_begin(name);
	plain_yaml(&yaml, SMALL, 8, how);
	flow_scene_open(&s, &yaml);
	use_cpus(1);
	for (unsigned i = 0; i < 8 * SMALL && total_active(&s) < SMALL; i++)
		connect_tcp(&s, client(20000 + i));
	CHECK_INT(total_active(&s), SMALL);
	know_hops(&s);
	ask_all(&s, first, NULL, TO_ERROR);
	CHECK_INT(ask_all(&s, now, first, TO_ERROR), 0);
	/* Down: its own go elsewhere, and come back with it. */
	pools_health(s.m, 3, WEIR_HEALTH_DOWN, "test");
	CHECK_INT(ask_all(&s, now, first, 3), 0);
	pools_health(s.m, 3, WEIR_HEALTH_UP, "test");
	CHECK_INT(ask_all(&s, now, first, TO_ERROR), 0);
	/* Drained: out of the table of consistent hashing, which costs a few of the others, too. */
	CHECK_INT(pools_admin(s.m, 3, WEIR_ADMIN_DRAIN), 0);
	moved = ask_all(&s, now, first, 3);
	printf("# %u of %d moved beside those of the backend that goes\n", moved, DATAGRAMS);
	CHECK(moved <= DATAGRAMS / 20);
	CHECK_INT(ask_all(&s, later, now, TO_ERROR), 0);
	CHECK_INT(pools_admin(s.m, 3, WEIR_ADMIN_UP), 0);
	CHECK_INT(ask_all(&s, now, first, TO_ERROR), 0);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

/* More UDP flows than places: each is another's, now and then. */
static void test_udp_too_many(void)
{
	unsigned n = 4 * SMALL, gone = 0, moved = 0;
	static int first[4 * SMALL];
	static struct text yaml;
	struct flow_scene s;

	test_begin("more UDP flows than places: with maglev each is found again where it was");
	plain_yaml(&yaml, SMALL, 8, L2 "    scheduler: maglev\n");
	flow_scene_open(&s, &yaml);
	use_cpus(1);
	for (unsigned i = 0; i < n; i++)
		first[i] = send_udp(&s, client(i), "12345678", 8);
	know_hops(&s);
	for (unsigned i = 0; i < n; i++) {
		gone += i % 16 == 0 && !state_of(&s, client(i), false);
		moved += send_udp(&s, client(i), "12345678", 8) != first[i];
	}
	CHECK(gone > n / 16 / 2);
	CHECK_INT(moved, 0);
	CHECK(counts_hold(&s));
	flow_scene_close(&s);
	test_end();
}

int main(void)
{
	rx_fixture_reuse = true; /* tables of one size one after the other */
	test_full("in a table that is always full, counts are the table's at every step", L2);
	test_found("a flow whose SYN was not seen weighs nothing until it has lasted", L2);
	test_reset("a reset that is not the client's takes a connection out of the count, until its next packet", L2);
	test_reset_and_syn("a forged reset and a SYN do not move a connection that is in use", L2);
	test_at_once();
	test_flood("ACKs of unknown flows weigh nothing, and take no open connection's place", ACK, SMALL, 200000);
	test_flood("UDP flows take no TCP connection's place", 0, SMALL, 200000);
	test_flood("a million SYNs take no open connection's place", SYN, SMALL, 1000000);
	test_flood("nor with a larger table", SYN, LARGE, 100000);
	test_udp_without_place("UDP flows without a place go where maglev says, also when backends come and go",
			       L2 "    scheduler: maglev\n");
	test_udp_without_place("with least-loaded, too", L2);
	test_udp_too_many();
	test_model("each packet goes where a plain model says, and leaves the state it says", L2);
	make_routes();
	test_model("the same with translation, where backends' ends are seen, too", NAT);
	test_full("counts are those of a full table with translation, too", NAT);
	test_found("with translation, too, a flow found late weighs nothing at first", NAT);
	test_reset("the same of resets with translation", NAT);
	test_reset_and_syn("and of resets with a SYN behind them", NAT);
	test_reset_back();
	take_out_routes();
	return test_done();
}
