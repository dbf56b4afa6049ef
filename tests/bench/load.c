// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A cache's clients: `load fill` sets keys over TCP, `load ask` gets them by Zipf's law over UDP, at a rate, and
 * says as JSON how many were asked for and answered, and how many of them an ideal hot set of the size -t
 * would have answered. -x: the most asked for is this key, the next ones those after it. -f: this part of the
 * lookups is of one other key, `flash`; -o: this part are keys that come once.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "zipf.h"

#define BATCH   32
#define REQUEST 80

struct load {
	const char *host;
	unsigned port, keys, top, first, bytes;
	double skew, rate, seconds, flash, once;
	__u64 random, once_at;
	struct zipf zipf;
	unsigned long long asked, answered, ideal, sent_short;
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* -1 after a line on standard error. */
static int connect_to(const struct load *l, int type)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->port)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), room = 4 << 20;

	if (inet_pton(AF_INET, l->host, &to.sin_addr) != 1 || fd < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		fprintf(stderr, "load: cannot reach %s:%u: %m\n", l->host, l->port);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return fd;
}

/* ---- fill ------------------------------------------------------------------------------------- */

static int fill(const struct load *l)
{
	int fd = connect_to(l, SOCK_STREAM);
	FILE *s = fd < 0 ? NULL : fdopen(fd, "r+");
	char line[64] = "";

	if (!s)
		return 1;
	for (unsigned i = 0; i < l->keys; i++)
		fprintf(s, "set key:%u 0 0 %u noreply\r\n%0*u\r\n", i, l->bytes, l->bytes, i);
	fprintf(s, "set flash 0 0 1\r\nx\r\n");
	if (fflush(s) || !fgets(line, sizeof(line), s) || strcmp(line, "STORED\r\n")) {
		fprintf(stderr, "load: cannot fill %s:%u: %s\n", l->host, l->port, line);
		return 1;
	}
	return fclose(s) ? 1 : 0;
}

/* ---- ask -------------------------------------------------------------------------------------- */

static double draw(struct load *l)
{
	l->random = bench_random(l->random);
	return (l->random >> 11) * 0x1p-53;
}

/* The next request; how long it is. */
static int request(struct load *l, char *to)
{
	double u = draw(l);
	char *text = to + 8;
	__u32 rank;

	memcpy(to, (char[]){l->asked >> 8, l->asked, 0, 0, 0, 1, 0, 0}, 8);
	l->asked++;
	if (u < l->flash) {
		l->ideal++;
		return 8 + sprintf(text, "get flash\r\n");
	}
	if (u < l->flash + l->once)
		return 8 + sprintf(text, "get once:%llx\r\n", l->once_at++);
	rank = zipf_draw(&l->zipf, &l->random);
	l->ideal += rank < l->top - (l->flash > 0);
	return 8 + sprintf(text, "get key:%u\r\n", (rank + l->first) % l->keys);
}

static void send_some(struct load *l, int fd, unsigned n)
{
	static char requests[BATCH][REQUEST];
	struct mmsghdr m[BATCH] = {};
	struct iovec v[BATCH];

	for (unsigned i = 0; i < n; i++) {
		v[i] = (struct iovec){requests[i], request(l, requests[i])};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	for (unsigned sent = 0; sent < n;) {
		int did = sendmmsg(fd, m + sent, n - sent, 0);

		sent += did > 0 ? did : 1;
		l->sent_short += did <= 0;
	}
}

static void take_in(struct load *l, int fd)
{
	static char replies[BATCH][64]; /* their beginnings */
	struct mmsghdr m[BATCH] = {};
	struct iovec v[BATCH];
	int n;

	for (unsigned i = 0; i < BATCH; i++) {
		v[i] = (struct iovec){replies[i], sizeof(replies[i])};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	do {
		n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
		l->answered += n > 0 ? n : 0;
	} while (n == BATCH);
}

static int ask(struct load *l)
{
	int fd = connect_to(l, SOCK_DGRAM);
	double begin = now_s(), at;

	if (fd < 0 || zipf_make(&l->zipf, l->keys, l->skew))
		return 1;
	while ((at = now_s() - begin) < l->seconds) {
		double due = at * l->rate - l->asked;

		if (due > l->rate / 10) /* it could not keep up: what is lost is not made good */
			begin += due / l->rate;
		if (due >= 1)
			send_some(l, fd, due < BATCH ? due : BATCH);
		else
			usleep(500);
		take_in(l, fd);
	}
	usleep(100000);
	take_in(l, fd);
	printf("{\"asked\": %llu, \"answered\": %llu, \"ideal\": %llu, \"unsent\": %llu}\n", l->asked,
	       l->answered, l->ideal, l->sent_short);
	zipf_free(&l->zipf);
	return close(fd) ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: load [-k KEYS] [-b BYTES] fill HOST PORT\n"
			"       load [-k KEYS] [-z SKEW] [-t TOP] [-x FIRST] [-r RATE] [-s SECONDS] [-f "
			"PART] [-o PART]\n"
			"            [-n SEED] ask HOST PORT\n");
	return 2;
}

static bool set_option(struct load *l, int c, double v)
{
	unsigned *whole = c == 'k' ? &l->keys : c == 'b' ? &l->bytes : c == 't' ? &l->top : &l->first;
	double *real = c == 'z'	  ? &l->skew
		       : c == 'r' ? &l->rate
		       : c == 's' ? &l->seconds
		       : c == 'f' ? &l->flash
				  : &l->once;

	if (c == 'n')
		l->random = l->once_at = ((__u64)v + 1) * 0x9e3779b97f4a7c15ULL;
	else if (strchr("kbtx", c))
		*whole = v;
	else if (strchr("zrsfo", c))
		*real = v;
	return c != '?' && v >= 0;
}

int main(int argc, char **argv)
{
	struct load l = {.keys = 100000, .top = 100, .bytes = 20, .skew = 0.99, .rate = 10000, .seconds = 1};
	bool good = true;
	int c;

	set_option(&l, 'n', 0);
	while ((c = getopt(argc, argv, "k:b:z:t:x:r:s:f:o:n:")) != -1)
		good &= set_option(&l, c, optarg ? atof(optarg) : 0);
	if (!good || argc - optind != 3 || !l.keys || !l.top || l.rate < 1)
		return usage();
	l.host = argv[optind + 1];
	l.port = atoi(argv[optind + 2]);
	return !strcmp(argv[optind], "fill") ? fill(&l) : !strcmp(argv[optind], "ask") ? ask(&l) : usage();
}
