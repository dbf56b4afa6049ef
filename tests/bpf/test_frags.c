// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * weir_rx as it is loaded for a large MTU: frames of several buffers, of which it sees the first part
 * only. The kernel's test run splits what is longer than about 3,500 bytes.
 */
#include "scene.h"

#define JUMBO 9000

static struct scene scene;
static char value[JUMBO];

static void open_scene(void)
{
	static const char yaml[] = "interfaces: [{name: eth0}]\n"
				   "cache: {capacity: 100, memory: 4M}\n"
				   "services:\n"
				   "  - name: test\n"
				   "    vips: ['10.0.0.1:11211', '[fd00::1]:11211']\n"
				   "    clients: [10.0.0.0/8, 'fd00::/8']\n";

	rx_fixture_frags = true;
	scene_open(&scene, yaml, JUMBO);
	memset(value, 'v', sizeof(value));
}

static void put(const char *key, size_t value_len)
{
	struct item it = {.key = key, .value = value, .value_len = value_len};

	CHECK(scene_put(&scene, &it) >= 0);
}

static void get(struct frame *f, struct flow flow, const char *key)
{
	struct msg m;

	msg_frame(&m, 0x1234, 0, 1);
	msg_add(&m, "get ", 4);
	msg_add(&m, key, strlen(key));
	msg_add(&m, "\r\n", 2);
	frame_udp(f, &flow, m.b, m.len);
}

static void test_answers(const char *says, struct flow flow, size_t value_len)
{
	struct frame f;
	struct msg want;
	char head[64];

	test_begin(says);
	put("key", value_len);
	get(&f, flow, "key");
	msg_frame(&want, 0x1234, 0, 1);
	msg_add(&want, head, snprintf(head, sizeof(head), "VALUE key 0 %zu\r\n", value_len));
	msg_add(&want, value, value_len);
	msg_add(&want, "\r\nEND\r\n", 7);
	expect_reply(&scene, &f, want.b, want.len);
	test_end();
}

static void test_padded_get(const char *says, struct flow flow, size_t len, int reason)
{
	struct frame f;
	struct outcome o;

	test_begin(says);
	put("key", 3);
	get(&f, flow, "key");
	frame_pad(&f, len, 0);
	if (reason == WEIR_R_HIT) {
		scene_run(&scene, &f, &o);
		CHECK_REASON(o.reason, reason);
	} else {
		expect_untouched(&scene, &f, reason);
	}
	test_end();
}

/* A set in one frame of `len` bytes of value: seen as a write, passed on as it was, and fenced. */
static void test_write(const char *says, struct flow flow, size_t len)
{
	char head[64];
	struct frame f;
	struct msg m;

	test_begin(says);
	put("key", 3);
	msg_frame(&m, 1, 0, 1);
	msg_add(&m, head, snprintf(head, sizeof(head), "set key 0 0 %zu\r\n", len));
	msg_add(&m, value, len);
	msg_add(&m, "\r\n", 2);
	frame_udp(&f, &flow, m.b, m.len);
	expect_untouched(&scene, &f, WEIR_R_WRITE);
	CHECK_REASON(reason_of_get(&scene, "key"), WEIR_R_FENCED);
	test_end();
}

static void test_lengths(void)
{
	struct flow flow = CLIENT4, other = CLIENT4;
	struct frame f;
	struct msg m;

	test_begin("a datagram that claims more than all buffers hold is malformed");
	msg_frame(&m, 1, 0, 1);
	msg_add(&m, value, 8000);
	frame_udp(&f, &flow, m.b, m.len);
	f.len -= 1;
	expect_untouched(&scene, &f, WEIR_R_MALFORMED);
	test_end();

	test_begin("other traffic in several buffers passes");
	other.dport = 53;
	frame_udp(&f, &other, m.b, m.len);
	expect_untouched(&scene, &f, WEIR_R_OTHER);
	test_end();
}

int main(void)
{
	open_scene();
	test_answers("a small value, IPv4", CLIENT4, 3);
	test_answers("a small value, IPv6", CLIENT6, 3);
	test_answers("1,000 bytes, IPv4", CLIENT4, 1000);
	test_answers("1,000 bytes, IPv6", CLIENT6, 1000);
	test_padded_get("a lookup with much padding in one buffer is answered", CLIENT4, 2000, WEIR_R_HIT);
	test_padded_get("a lookup whose padding is in another buffer passes on", CLIENT4, 6000, WEIR_R_NO_ROOM);
	test_padded_get("the same over IPv6", CLIENT6, 6000, WEIR_R_NO_ROOM);
	test_write("a write in one buffer", CLIENT4, 1000);
	test_write("a write over several buffers", CLIENT4, 8000);
	test_write("a write over several buffers, IPv6", CLIENT6, 8000);
	test_write("a write that ends about where the first buffer does", CLIENT4, 3440);
	test_lengths();
	scene_close(&scene);
	return test_done();
}
