// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Writes over TCP to caches behind this host: their segments are steered as others are, and fence as they pass. */
#include <unistd.h>

#include "hotset.h"
#include "steer_scene.h"
#include "weir/conn.h"

#define CACHE ", cache: true, protocol: both, clients: [198.51.100.0/24], ttl: 1m, strangers: drop, "

static const char yaml[] =
	"interfaces: [{name: eth0}]\n"
	"cache: {capacity: 1024, memory: 4M, connections: 256}\n"
	"flows: {capacity: 4096}\n"
	"services:\n"
	"  - {name: nat" CACHE "pool: nat, vips: ['192.0.2.1:11211']}\n"
	"  - {name: web, protocol: both, pool: web, vips: ['192.0.2.3:80']}\n"
	"pools:\n"
	"  - {name: nat, delivery: nat, backends: [{name: b1, address: '10.8.0.1:7000'}]}\n"
	"  - {name: web, delivery: nat, backends: [{name: b1, address: '10.8.0.1:8080'}]}\n";

enum { NAT_SVC, WEB_SVC };

static unsigned long long foo(int svc)
{
	return hotset_fence(edge.s.h, svc, "foo", 3).key;
}

static unsigned long long all(int svc)
{
	return hotset_fence(edge.s.h, svc, "foo", 3).svc;
}

struct conn {
	int svc;
	struct flow flow, back;
	__u32 seq, server;
};

static struct conn conn_of(int svc, const char *client)
{
	static __u16 port = 30000;
	__u16 to = svc == WEB_SVC ? 80 : 11211;

	port++;
	return (struct conn){
		.svc = svc,
		.flow = {.src = client, .dst = svc == WEB_SVC ? "192.0.2.3" : "192.0.2.1", .sport = port,
			 .dport = to},
		.back = {.src = "10.8.0.1", .dst = client, .sport = svc == WEB_SVC ? 8080 : 7000, .dport = port},
		.seq = 1000,
		.server = 5000,
	};
}

/* A segment of the client: its reason. It must be sent on. */
static int segment(struct conn *c, __u8 flags, const char *text)
{
	struct tcp t = {.seq = c->seq, .ack = c->server, .flags = flags, .window = 502};
	struct outcome o;
	struct frame f;

	frame_tcp(&f, &c->flow, &t, text, strlen(text));
	edge_run(&f, &o);
	c->seq += strlen(text) + !!(flags & TCP_SYN);
	CHECK_INT(o.action, XDP_TX);
	return o.reason;
}

/* A segment of the backend, where it is translated here. */
static void answer(struct conn *c, __u32 ack, __u8 flags, const char *text)
{
	struct tcp t = {.seq = c->server, .ack = ack, .flags = flags | TCP_ACK, .window = 502};
	struct outcome o;
	struct frame f;

	frame_tcp(&f, &c->back, &t, text, strlen(text));
	edge_run(&f, &o);
	c->server += strlen(text) + !!(flags & TCP_SYN);
	CHECK_REASON(o.reason, WEIR_R_TRANSLATED);
}

static void test_nat(void)
{
	struct conn c = conn_of(NAT_SVC, STEER_CLIENT4);
	unsigned long long key = foo(NAT_SVC), svc = all(NAT_SVC);

	test_begin("translated: a write fences its key, its reply does again");
	CHECK_REASON(segment(&c, TCP_SYN, ""), WEIR_R_STEERED);
	answer(&c, c.seq, TCP_SYN, "");
	CHECK_REASON(segment(&c, TCP_ACK, "get foo\r\n"), WEIR_R_STEERED);
	answer(&c, c.seq, 0, "END\r\n");
	CHECK_INT(foo(NAT_SVC) - key, 0);
	CHECK_REASON(segment(&c, TCP_ACK, "delete foo\r\n"), WEIR_R_TCP_WRITE);
	CHECK_INT(foo(NAT_SVC) - key, 1);
	answer(&c, c.seq, 0, "");
	CHECK_INT(foo(NAT_SVC) - key, 1);
	answer(&c, c.seq, 0, "DELETED\r\n");
	CHECK_INT(foo(NAT_SVC) - key, 2);
	answer(&c, c.seq, 0, "more");
	CHECK_INT(foo(NAT_SVC) - key, 2);
	CHECK_INT(all(NAT_SVC) - svc, 0);
	test_end();
	test_begin("translated: what the backend acknowledges without Weir having seen it fences the service");
	answer(&c, c.seq + 1, 0, "");
	CHECK_INT(all(NAT_SVC) - svc, 1);
	CHECK_REASON(segment(&c, TCP_ACK, "get foo\r\n"), WEIR_R_TCP_UNSURE);
	CHECK_INT(all(NAT_SVC) - svc, 2);
	test_end();
}

static void test_others(void)
{
	struct conn c = conn_of(NAT_SVC, "203.0.113.9");
	unsigned long long key = foo(NAT_SVC), svc = all(NAT_SVC);
	struct tcp t = {.seq = 1, .flags = TCP_ACK, .window = 502};
	struct frame f, whole;

	test_begin("a stranger's segments are dropped, and fence nothing");
	frame_tcp(&f, &c.flow, &t, "delete foo\r\n", 12);
	edge_untouched(&f, WEIR_R_STRANGER_DROP);
	whole = f;
	frame_fragment(&f, &whole, 24, 8, false);
	edge_untouched(&f, WEIR_R_FRAGMENT_DROP);
	CHECK_INT(foo(NAT_SVC) - key, 0);
	CHECK_INT(all(NAT_SVC) - svc, 0);
	test_end();
	test_begin("a service that is no cache is not followed");
	c = conn_of(WEB_SVC, STEER_CLIENT4);
	svc = all(WEB_SVC);
	CHECK_REASON(segment(&c, TCP_SYN, ""), WEIR_R_STEERED);
	CHECK_REASON(segment(&c, TCP_ACK, "delete foo\r\n"), WEIR_R_STEERED);
	answer(&c, c.seq, 0, "400");
	CHECK_INT(all(WEB_SVC) - svc, 0);
	test_end();
}

int main(void)
{
	make_host();
	scene_open(&edge.s, yaml, 1500);
	test_nat();
	test_others();
	edge_close();
	return test_done();
}
