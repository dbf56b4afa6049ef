/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A loaded weir_rx and weir_tx with a hot set and a valid lease, and one packet through them.
 * In a header, since the harness keeps its state in the file that includes it.
 */
#ifndef WEIR_TEST_SCENE_H
#define WEIR_TEST_SCENE_H

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdlib.h>

#include "packet.h"
#include "rx_fixture.h"
#include "test.h"
#include "weir/reason.h"

#define CLIENT4                                                                      \
	(struct flow)                                                                \
	{                                                                            \
		.src = "10.0.0.2", .dst = "10.0.0.1", .sport = 40000, .dport = 11211 \
	}
#define CLIENT6                                                                    \
	(struct flow)                                                              \
	{                                                                          \
		.src = "fd00::2", .dst = "fd00::1", .sport = 40000, .dport = 11211 \
	}

struct scene {
	struct rx_fixture *fx;
	struct hotset *h;
};

struct item {
	const char *key;
	size_t key_len; /* 0: strlen */
	const char *value;
	size_t value_len; /* 0: strlen */
	__u32 client_flags;
	__u8 flags; /* WEIR_SLOT_* */
	__u64 cas;
	__u64 expires_ns; /* 0: never */
};

struct outcome {
	int reason;   /* -1: none or several */
	int action;   /* XDP_* or TC_ACT_* */
	__u8 b[9216]; /* the frame afterwards */
	size_t len;
};

static const struct {
	const char *name;
	int action;
} reasons[] = {
#define X(sym, name, action, class, help) {name, XDP_##action},
	WEIR_REASONS(X)
#undef X
};

static inline const char *reason_text(int reason)
{
	return reason >= 0 && reason < WEIR_R_COUNT ? reasons[reason].name : "(none or several)";
}

#define CHECK_REASON(got, want) test_str(reason_text(got), reason_text(want), __FILE__, __LINE__, #got)

/* One CPU for all: then each packet finds in the work area what the one before left there. */
static inline void stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* yaml NULL: the fixture's own configuration. Exits when it cannot be had. */
static inline void scene_open(struct scene *s, const char *yaml, unsigned mtu)
{
	int err = yaml ? rx_fixture_open_yaml(&s->fx, yaml, mtu) : rx_fixture_open(&s->fx, 1024, 4 << 20);

	if (!err)
		err = hotset_open(&s->h, rx_fixture_mem(s->fx));
	if (err) {
		printf("Bail out! cannot load: %s\n", strerror(-err));
		exit(1);
	}
	maps_ctl(rx_fixture_maps(s->fx))->lease_deadline_ns = WEIR_NEVER;
	stay_on_one_cpu();
}

static inline void scene_close(struct scene *s)
{
	hotset_close(s->h);
	rx_fixture_close(s->fx);
}

/* Puts the item in with the fences as they are now; hotset_put()'s result. */
static inline int scene_put(struct scene *s, const struct item *it)
{
	size_t key_len = it->key_len ?: strlen(it->key);
	struct hot_item item = {
		.key = it->key,
		.key_len = key_len,
		.value = it->value,
		.value_len = it->value_len ?: strlen(it->value),
		.client_flags = it->client_flags,
		.flags = it->flags,
		.cas = it->cas,
		.expires_ns = it->expires_ns ?: WEIR_NEVER,
		.fence = hotset_fence(s->h, 0, it->key, key_len),
	};

	return hotset_put(s->h, &item);
}

static inline void counts(struct scene *s, unsigned long long *n)
{
	for (int i = 0; i < WEIR_R_COUNT; i++)
		n[i] = rx_fixture_count(s->fx, i);
}

/* The one reason whose count went up by one, when no other count changed. */
static inline int reason_between(const unsigned long long *before, const unsigned long long *after)
{
	int reason = -1;

	for (int i = 0; i < WEIR_R_COUNT; i++) {
		if (before[i] == after[i])
			continue;
		if (reason >= 0 || after[i] != before[i] + 1)
			return -1;
		reason = i;
	}
	return reason;
}

static inline void run(struct scene *s, const struct bpf_program *prog, const struct frame *f,
		       struct outcome *o)
{
	unsigned long long before[WEIR_R_COUNT], after[WEIR_R_COUNT];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->b, .data_size_in = f->len, .data_out = o->b,
		    .data_size_out = sizeof(o->b), .repeat = 1);
	int err;

	counts(s, before);
	err = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
	counts(s, after);
	CHECK_INT(err, 0);
	o->reason = reason_between(before, after);
	o->action = err ? -1 : (int)opts.retval;
	o->len = err ? 0 : opts.data_size_out;
}

/* One frame through weir_rx. */
static inline void scene_run(struct scene *s, const struct frame *f, struct outcome *o)
{
	run(s, rx_fixture_prog(s->fx), f, o);
}

/* One frame through weir_tx, which never changes or stops it. */
static inline void scene_run_tx(struct scene *s, const struct frame *f, struct outcome *o)
{
	run(s, rx_fixture_tx_prog(s->fx), f, o);
	CHECK_INT(o->action, 0);
	CHECK_MEM(o->b, o->len, f->b, f->len);
}

/* The frame ends with this reason and its action, and is as it was. */
static inline void expect_untouched(struct scene *s, const struct frame *f, int reason)
{
	struct outcome o;

	scene_run(s, f, &o);
	CHECK_REASON(o.reason, reason);
	CHECK_INT(o.action, reasons[reason].action);
	CHECK_MEM(o.b, o.len, f->b, f->len);
}

/* The frame is answered with exactly this datagram: each byte of each header is checked too. */
static inline void expect_reply(struct scene *s, const struct frame *f, const void *data, size_t len)
{
	struct frame want;
	struct outcome o;
	size_t ip_end;

	scene_run(s, f, &o);
	CHECK_REASON(o.reason, WEIR_R_HIT);
	if (!CHECK_INT(o.action, XDP_TX))
		return;
	frame_reply(&want, f, data, len, true);
	if (!CHECK(frame_csums_ok(&want)))
		return;
	ip_end = want.len;
	frame_pad(&want, f->len >= 60 ? 60 : 0, 0);
	CHECK_INT(o.len, want.len);
	CHECK_MEM(o.b, o.len < ip_end ? o.len : ip_end, want.b, ip_end);
}

/* The reason that `get KEY` from a client ends with. */
static inline int reason_of_get(struct scene *s, const char *key)
{
	struct flow flow = CLIENT4;
	struct outcome o;
	struct frame f;
	struct msg m;

	msg_frame(&m, 0x7777, 0, 1);
	msg_add(&m, "get ", 4);
	msg_add(&m, key, strlen(key));
	msg_add(&m, "\r\n", 2);
	frame_udp(&f, &flow, m.b, m.len);
	scene_run(s, &f, &o);
	return o.reason;
}

#endif
