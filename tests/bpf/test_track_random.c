// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Random streams of commands over a bad network. The client's segments pass Weir and may then be lost, or be lost in
 * front of it, come twice, or late; forged ones come between. The server takes bytes in order, as TCP does, and
 * executes each command when its last byte is there. By then the key's fence, or the service's, must have been
 * raised since the command was sent for the first time. Where nothing happens to segments, nothing else may be
 * fenced.
 *
 * TRACK_SEED and TRACK_STREAMS (of each kind) change what is run.
 */
#include <stdlib.h>

#include "emulated.h"
#include "track_scene.h"

#define STREAM_MAX   (1 << 17)
#define COMMANDS_MAX 2000
#define SEGMENTS_MAX 4000

static __u64 random_state;

static unsigned draw(unsigned below)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (random_state >> 33) % below;
}

/* ---- streams ---------------------------------------------------------------------------------- */

struct write {
	char key[24];
	size_t begin, end; /* of the whole command */
	bool all;	   /* flush_all */
	unsigned long long was_key, was_all; /* fences when its first byte was sent */
	bool sent, done;
};

static struct {
	__u8 b[STREAM_MAX];
	size_t len;
	struct write writes[COMMANDS_MAX];
	int n;
	bool binary, flushes;
} stream;

static unsigned number; /* of keys: each is used once */
static unsigned long long written; /* keys, the others of a gat too */

static void add(const void *p, size_t len)
{
	memcpy(stream.b + stream.len, p, len);
	stream.len += len;
}

static void add_text(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	stream.len += vsprintf((char *)stream.b + stream.len, fmt, ap);
	va_end(ap);
}

/* Data that looks like anything. */
static void add_data(size_t len)
{
	static const char *const bits[] = {"\r\n", "flush_all\r\n", "set a 0 0 5\r\n", "get ", "\x80\x01", " ", "x",
					   "\0"};

	for (size_t end = stream.len + len; stream.len < end;) {
		const char *bit = bits[draw(8)];
		size_t n = strlen(bit) ?: 1;

		add(bit, n < end - stream.len ? n : end - stream.len);
	}
}

static size_t data_len(void)
{
	return draw(4) ? draw(60) : draw(10) ? draw(1500) : draw(6000);
}

static struct write *new_write(void)
{
	struct write *w = &stream.writes[stream.n++];

	*w = (struct write){.begin = stream.len};
	snprintf(w->key, sizeof(w->key), "key%u", number++);
	written++;
	return w;
}

static void text_write(void)
{
	static const char *const verbs[] = {"set", "add", "replace", "append", "prepend"};
	struct write *w = new_write();
	size_t len = data_len();

	switch (draw(10)) {
	case 0:
		add_text("delete %s%s\r\n", w->key, draw(2) ? " noreply" : "");
		break;
	case 1:
		add_text("%s %s %u\r\n", draw(2) ? "incr" : "touch", w->key, draw(1000));
		break;
	case 2:
		add_text("gat %u other%u %s\r\n", draw(100), number, w->key);
		written++;
		break;
	case 3:
		add_text("ms %s %zu T%u\r\n", w->key, len, draw(100));
		add_data(len);
		add("\r\n", 2);
		break;
	case 4:
		add_text("cas %s 0 0 %zu %u\n", w->key, len, draw(1000));
		add_data(len + 2); /* memcached refuses what does not end in "\r\n", but takes it */
		break;
	case 5:
		add_text("md %s q\r\n", w->key);
		break;
	default:
		add_text("%s %s %u %u %zu%s\r\n", verbs[draw(5)], w->key, draw(100), draw(100), len,
			 draw(3) ? "" : " noreply");
		add_data(len);
		add("\r\n", 2);
	}
	w->end = stream.len;
}

static void text_read(void)
{
	if (stream.flushes && !draw(20)) {
		struct write *w = new_write();

		w->all = true;
		written--;
		add_text("flush_all\r\n");
		w->end = stream.len;
		return;
	}
	switch (draw(6)) {
	case 0:
		add_text("gets a b c d e\r\n");
		break;
	case 1:
		add_text("mg some%u v t\r\n", draw(100));
		break;
	case 2:
		add_text("%s\r\n", draw(2) ? "mn" : "version");
		break;
	case 3:
		if (!draw(4)) {
			add_text("get");
			for (int i = draw(300); i >= 0; i--)
				add_text(" long-key-%u", draw(1000000));
			add_text("\r\n");
			break;
		}
		/* fall through */
	default:
		add_text("get some%u\r\n", draw(100));
	}
}

static void binary(void)
{
	static const __u8 ops[] = {0x01, 0x11, 0x04, 0x14, 0x05, 0x0e, 0x1d, 0x00, 0x0a};
	static const __u8 exts[] = {8, 8, 0, 0, 20, 0, 4, 0, 0};
	static const __u8 ext[20];
	int i = draw(sizeof(ops));
	bool value = i < 2 || i == 5;
	struct bin b = {.op = ops[i], .ext = ext, .ext_len = exts[i], .key = ops[i] == 0x0a ? "" : "some"};
	struct write *w = i < 7 ? new_write() : NULL;
	size_t len = value ? data_len() : 0;
	struct msg m = {.len = 0};

	if (w)
		b.key = w->key;
	msg_add_bin(&m, &b);
	m.b[10] = (m.b[11] + len + (m.b[10] << 8)) >> 8; /* the body's length */
	m.b[11] += len;
	add(m.b, m.len);
	add_data(len);
	if (w)
		w->end = stream.len;
}

static void make_stream(void)
{
	size_t len = draw(3) ? draw(3000) : draw(30000);

	stream.len = stream.n = 0;
	stream.binary = !draw(3);
	while (stream.len <= len && stream.n < COMMANDS_MAX - 1) {
		if (stream.binary)
			binary();
		else if (draw(2))
			text_write();
		else
			text_read();
	}
}

/* ---- the server ------------------------------------------------------------------------------- */

static struct {
	struct conn c;
	bool there[STREAM_MAX];
	size_t next;  /* how far it has the stream */
	int executed; /* writes */
	int unfenced;
} server;

static void execute(void)
{
	while (server.executed < stream.n && stream.writes[server.executed].end <= server.next) {
		struct write *w = &stream.writes[server.executed++];
		bool fenced = service_fences() > w->was_all ||
			      (!w->all && key_fences(w->key, strlen(w->key)) > w->was_key);

		if (!fenced && !server.unfenced++)
			printf("# %s at %zu is executed unfenced\n", w->all ? "flush_all" : w->key, w->begin);
	}
}

static void receive(size_t at, size_t len)
{
	memset(server.there + at, true, len);
	while (server.next < stream.len && server.there[server.next])
		server.next++;
	execute();
}

/* It acknowledges what it has, with a reply or without one. */
static void acknowledge(void)
{
	server_segment(&server.c, server.c.seq + server.next, TCP_ACK, draw(2) * 8);
}

/* ---- the client ------------------------------------------------------------------------------- */

static void note_sent(size_t at, size_t len)
{
	for (int i = 0; i < stream.n; i++) {
		struct write *w = &stream.writes[i];

		if (w->sent || w->begin >= at + len || w->end <= at)
			continue;
		w->sent = true;
		w->was_all = service_fences();
		w->was_key = key_fences(w->key, strlen(w->key));
	}
}

static void send(size_t at, size_t len)
{
	note_sent(at, len);
	segment_pass(&server.c, server.c.seq + at, TCP_ACK, stream.b + at, len);
}

static void forge(void)
{
	static const char attack[] = "set forged 0 0 1000000000\r\n";
	static const __u8 flags[] = {TCP_SYN, TCP_ACK, TCP_ACK, TCP_RST, TCP_ACK | TCP_FIN};
	__u8 f = flags[draw(5)];
	__u32 seq = draw(1 << 16) << 16 | draw(1 << 16);

	/* What lies in the server's window may be taken by it: that would be no forgery, but luck. */
	if (seq - server.c.seq < STREAM_MAX)
		return;
	segment_pass(&server.c, seq, f, attack, f & TCP_ACK ? strlen(attack) : 0);
	if (f == TCP_SYN)
		segment_pass(&server.c, seq + 1, TCP_ACK, attack, strlen(attack));
}

struct how {
	const char *says;
	int lost_before, lost_after, twice, late, forged; /* of 100 segments */
	bool deaf;
};

/* Segments that are under way. */
static struct {
	size_t at, len;
} late[SEGMENTS_MAX];

static void arrive(size_t at, size_t len, const struct how *how)
{
	if ((int)draw(100) < how->lost_before)
		return;
	send(at, len);
	if ((int)draw(100) < how->lost_after)
		return;
	receive(at, len);
	if (!how->deaf && draw(3))
		acknowledge();
	if (server.c.deaf && !how->deaf)
		server.c.deaf = false;
}

/* Sends [from, to) in pieces. */
static void burst(size_t from, size_t to, const struct how *how)
{
	size_t size = draw(4) ? 1 + draw(DATA_BYTES) : 1 + draw(30);
	int nlate = 0;

	while (from < to) {
		size_t len = 1 + draw(size);

		len = len < to - from ? len : to - from;
		if ((int)draw(100) < how->forged)
			forge();
		if ((int)draw(100) < how->late && nlate < SEGMENTS_MAX) {
			late[nlate].at = from;
			late[nlate++].len = len;
		} else {
			arrive(from, len, how);
		}
		if ((int)draw(100) < how->twice)
			arrive(from, len, how);
		from += len;
	}
	while (nlate) {
		int i = draw(nlate);

		arrive(late[i].at, late[i].len, how);
		late[i] = late[--nlate];
	}
}

static void run_stream(const struct how *how)
{
	size_t window = 0;

	make_stream();
	memset(&server, 0, sizeof(server));
	server.c = conn_of(draw(2) ? CLIENT4 : CLIENT6);
	server.c.seq = draw(2) ? -draw(4000) : draw(1 << 30);
	server.c.deaf = how->deaf;
	shake_hands(&server.c);
	for (int i = 0; server.next < stream.len && i < 1000; i++) {
		window = server.next + 1 + draw(20000);
		window = window < stream.len ? window : stream.len;
		burst(server.next, window, how);
	}
	CHECK_INT(server.next, stream.len);
	CHECK_INT(server.executed, stream.n);
	CHECK_INT(server.unfenced, 0);
	segment_pass(&server.c, server.c.seq + stream.len, TCP_ACK | TCP_FIN, NULL, 0);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static int streams = 150;

static const struct how hows[] = {
	{"in order", 0, 0, 0, 0, 0, false},
	{"in order, where the server is not heard", 0, 0, 0, 0, 0, true},
	{"sent twice", 0, 0, 30, 0, 0, false},
	{"lost behind Weir", 0, 5, 0, 0, 0, false},
	{"lost in front of it", 5, 0, 0, 0, 0, false},
	{"in any order", 0, 0, 0, 20, 0, false},
	{"with forged segments between", 0, 0, 0, 0, 20, false},
	{"all of it", 3, 3, 10, 10, 3, false},
	{"all of it, where the server is not heard", 3, 3, 10, 10, 3, true},
};

/* Of all stripes. */
static unsigned long long key_raises(void)
{
	unsigned long long n = 0;

	for (int i = 0; i < WEIR_FENCE_STRIPES; i++)
		n += ((volatile const struct weir_fence *)rx_fixture_mem(scene.fx)->fences)[i].count;
	return n;
}

static unsigned long long lost_so_far(void)
{
	return all_causes() - track_causes(WEIR_TRACK_FLUSH);
}

static void test_how(const struct how *how)
{
	bool clean = !(how->lost_before | how->lost_after | how->late | how->forged);
	unsigned long long all = service_fences(), keys = key_raises(), lost = lost_so_far();
	char says[160];

	stream.flushes = !clean;
	written = 0;
	test_begin(how->says);
	for (int i = 0; i < streams && !test_bad; i++)
		run_stream(how);
	if (test_bad)
		printf("# TRACK_SEED=%s\n", getenv("TRACK_SEED") ?: "1");
	if (clean)
		CHECK_INT(service_fences() - all, 0);
	if (clean && how->deaf) /* no replies, either */
		CHECK_INT(key_raises() - keys, written);
	snprintf(says, sizeof(says), "%s: of %d connections %llu were lost, %llu fences of the service", how->says,
		 streams, lost_so_far() - lost, service_fences() - all);
	test_name = says;
	test_end();
}

int main(void)
{
	random_state = strtoull(getenv("TRACK_SEED") ?: "1", NULL, 0);
	streams = atoi(getenv("TRACK_STREAMS") ?: emulated() ? "50" : "150");
	track_open(1500);
	for (size_t i = 0; i < sizeof(hows) / sizeof(*hows); i++)
		test_how(&hows[i]);
	track_close();
	return test_done();
}
