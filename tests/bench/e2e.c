/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The client's side of the end-to-end benchmark, run inside the client's network namespace by
 * scripts/bench. The targets take turns in each round.
 *
 *	e2e list                           the warming list, CSV
 *	e2e head                           the table's head
 *	e2e fill ADDRESS PORT              stores the same keys in a memcached, over TCP
 *	e2e flood|paced|closed [options] TARGET...
 *	    TARGET is NAME,IFACE,SERVER-MAC,CLIENT-ADDRESS,SERVER-ADDRESS,PORT[,PID...]
 *
 * Rows are named e2e/LABEL/NAME..., the label being the mode unless -l says otherwise.
 * flood: as many requests as one core can send; answers a second. paced: `-p` requests a second;
 * CPU time that the PIDs took for an answer. closed: one request at a time; latencies.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "flood.h"
#include "flood.skel.h"
#include "packet.h"
#include "report.h"

#define KEYS          1024 /* a power of two */
#define KEY_LEN       16
#define VALUE_LEN     32
#define CLIENT_PORT   40000
#define PIDS_MAX      8
#define TARGETS_MAX   4
#define LATENCIES_MAX 2000000

struct target {
	char *name, *iface, *mac, *src, *dst;
	int port;
	int pids[PIDS_MAX];
	int npids;
	struct flood *skel;
	struct bpf_link *link;
	struct samples rate, offered, cpu, p50, p99, mean;
	__u64 lost;
};

static struct {
	double seconds;
	unsigned rounds, cpu;
	unsigned pace;
	const char *label;
	FILE *json;
} opt = {.seconds = 0.7, .rounds = 5, .pace = 20000};

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "e2e: %s: %s\n", what, strerror(err < 0 ? -err : err));
	return -1;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void make_key(char *key, __u32 number)
{
	__u64 letters = bench_letters(number);

	memcpy(key, "bench:kk", 8);
	memcpy(key + 8, &letters, 8);
	key[KEY_LEN] = 0;
}

static int cmd_list(void)
{
	char key[KEY_LEN + 1], value[VALUE_LEN + 1];

	memset(value, 'v', VALUE_LEN);
	value[VALUE_LEN] = 0;
	for (__u32 n = 0; n < KEYS; n++) {
		make_key(key, n);
		printf("%s,%s\n", key, value);
	}
	return 0;
}

static int cmd_fill(const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	char key[KEY_LEN + 1], value[VALUE_LEN + 1], line[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r+");

	memset(value, 'v', VALUE_LEN);
	value[VALUE_LEN] = 0;
	if (!f || inet_pton(AF_INET, address, &to.sin_addr) != 1 || connect(fd, (void *)&to, sizeof(to)))
		return fail(address, errno);
	for (__u32 n = 0; n < KEYS; n++) {
		make_key(key, n);
		if (dprintf(fd, "set %s 0 0 %d\r\n%s\r\n", key, VALUE_LEN, value) < 0 ||
		    !fgets(line, sizeof(line), f) || strncmp(line, "STORED", 6))
			return fail("set was not answered with STORED", EPROTO);
	}
	return fclose(f);
}

static int make_data(unsigned char *out, __u32 number)
{
	char key[KEY_LEN + 1];

	make_key(key, number);
	memcpy(out, "\0\1\0\0\0\1\0\0", 8);
	return 8 + sprintf((char *)out + 8, "get %s\r\n", key);
}

/* ---- targets -------------------------------------------------------------------------------- */

static int parse_target(struct target *t, char *text)
{
	char **fields[] = {&t->name, &t->iface, &t->mac, &t->src, &t->dst};
	char *word;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		*fields[i] = strsep(&text, ",");
		if (!text)
			return -EINVAL;
	}
	t->port = atoi(strsep(&text, ","));
	while ((word = strsep(&text, ",")) && t->npids < PIDS_MAX)
		t->pids[t->npids++] = atoi(word);
	return 0;
}

static int own_mac(const char *iface, unsigned char *mac)
{
	struct ifreq r = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), err;

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", iface);
	err = ioctl(fd, SIOCGIFHWADDR, &r) ? -errno : 0;
	memcpy(mac, r.ifr_hwaddr.sa_data, ETH_ALEN);
	close(fd);
	return err;
}

static int make_config(struct flood_config *c, const struct target *t)
{
	struct packet_flow f = {
		.family = AF_INET, .proto = IPPROTO_UDP, .sport = CLIENT_PORT, .dport = t->port};
	unsigned char data[64], *m = f.dst_mac;
	int len = make_data(data, 0), err;

	if (sscanf(t->mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6 ||
	    inet_pton(AF_INET, t->src, f.src) != 1 || inet_pton(AF_INET, t->dst, f.dst) != 1)
		return -EINVAL;
	err = own_mac(t->iface, f.src_mac);
	c->ifindex = if_nametoindex(t->iface);
	c->len = packet_build(c->frame, sizeof(c->frame), &f, data, len);
	c->num_at = packet_data_at(&f) + 8 + 4 + KEY_LEN - 8;
	c->num_mask = KEYS - 1;
	c->port = t->port;
	return err ?: c->ifindex ? 0 : -ENODEV;
}

static int open_target(struct target *t)
{
	int err;

	t->skel = flood__open();
	if (!t->skel)
		return -errno;
	err = make_config((struct flood_config *)&t->skel->rodata->cfg, t);
	if (err)
		return err;
	err = flood__load(t->skel);
	if (err)
		return err;
	t->link = bpf_program__attach_xdp(t->skel->progs.flood_count, if_nametoindex(t->iface));
	return t->link ? 0 : -errno;
}

static struct flood_counts read_counts(const struct target *t)
{
	struct flood_counts each[libbpf_num_possible_cpus()], sum = {0};
	__u32 zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(t->skel->maps.counts), &zero, each))
		return sum;
	for (int i = 0; i < libbpf_num_possible_cpus(); i++) {
		sum.sent += each[i].sent;
		sum.answered += each[i].answered;
		sum.other += each[i].other;
	}
	return sum;
}

/* CPU time of one thread so far, as the scheduler counts it: to the nanosecond, not by ticks. */
static __u64 thread_cpu_ns(int pid, const char *tid)
{
	unsigned long long ns = 0;
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, tid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	fclose(f);
	return ns;
}

static __u64 cpu_ns(const struct target *t)
{
	struct dirent *e;
	char path[40];
	__u64 sum = 0;
	DIR *d;

	for (int i = 0; i < t->npids; i++) {
		snprintf(path, sizeof(path), "/proc/%d/task", t->pids[i]);
		d = opendir(path);
		while (d && (e = readdir(d)))
			sum += e->d_name[0] == '.' ? 0 : thread_cpu_ns(t->pids[i], e->d_name);
		if (d)
			closedir(d);
	}
	return sum;
}

/* ---- flood and paced ------------------------------------------------------------------------ */

static void on_alarm(int sig)
{
}

/* Sends until the time is over: the signal ends the test run. */
static int send_for(const struct target *t, double seconds)
{
	struct itimerval timer = {.it_value = {(long)seconds, (seconds - (long)seconds) * 1e6}};
	struct xdp_md ctx = {.data_end = t->skel->rodata->cfg.len + FLOOD_EXCESS};
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = (void *)t->skel->rodata->cfg.frame,
		    .data_size_in = t->skel->rodata->cfg.len + FLOOD_EXCESS, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = INT_MAX, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
	struct sigaction act = {.sa_handler = on_alarm};

	if (sigaction(SIGALRM, &act, NULL) || setitimer(ITIMER_REAL, &timer, NULL))
		return -errno;
	if (!bpf_prog_test_run_opts(bpf_program__fd(t->skel->progs.flood_send), &o))
		return -ERANGE;
	return errno == EINTR ? 0 : -errno;
}

static int measure_sending(struct target *t, bool paced)
{
	struct flood_counts before, after;
	__u64 cpu;
	int err;

	t->skel->bss->pass_replies = 0;
	t->skel->bss->gap_ns = paced ? FLOOD_BURST * 1000000000ULL / opt.pace : 0;
	before = read_counts(t);
	cpu = cpu_ns(t);
	err = send_for(t, opt.seconds);
	usleep(100000); /* the last answers; the queues run dry */
	after = read_counts(t);
	cpu = cpu_ns(t) - cpu;
	if (err)
		return err;
	if (after.answered == before.answered || after.other != before.other) {
		fprintf(stderr,
			"e2e: %s: of %llu requests %llu were answered, and %llu with something else\n",
			t->name, after.sent - before.sent, after.answered - before.answered,
			after.other - before.other);
		return -EPROTO;
	}
	samples_add(&t->rate, (after.answered - before.answered) / opt.seconds);
	samples_add(&t->offered, (after.sent - before.sent) / opt.seconds);
	samples_add(&t->cpu, cpu / 1e3 / (after.answered - before.answered));
	return 0;
}

/* ---- closed loop ---------------------------------------------------------------------------- */

static int connect_udp(const struct target *t)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(t->port)};
	struct timeval patience = {.tv_usec = 200000};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, t->dst, &to.sin_addr);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (void *)&to, sizeof(to)))
		return -errno;
	return fd;
}

/* ns from request to reply; 0: no reply. */
static __u32 ask(int fd, __u32 number)
{
	unsigned char data[64], reply[1500];
	int len = make_data(data, number);
	__u64 start = now_ns();
	ssize_t n;

	if (send(fd, data, len, 0) != len)
		return 0;
	n = recv(fd, reply, sizeof(reply), 0);
	if (n < 8 + 6 || memcmp(reply + 8, "VALUE ", 6))
		return 0;
	return now_ns() - start;
}

static int latency_order(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return (x > y) - (x < y);
}

static int measure_closed(struct target *t)
{
	static __u32 ns[LATENCIES_MAX];
	__u64 end, start, sum = 0;
	int fd = connect_udp(t), n = 0;

	if (fd < 0)
		return fd;
	t->skel->bss->pass_replies = 1;
	for (int i = 0; i < 200; i++)
		ask(fd, i % KEYS);
	start = now_ns();
	end = start + opt.seconds * 1e9;
	while (now_ns() < end && n < LATENCIES_MAX) {
		ns[n] = ask(fd, n % KEYS);
		sum += ns[n];
		t->lost += !ns[n];
		n += ns[n] != 0;
	}
	close(fd);
	if (n < 100)
		return -EPROTO;
	samples_add(&t->rate, n * 1e9 / (now_ns() - start));
	qsort(ns, n, sizeof(ns[0]), latency_order);
	samples_add(&t->p50, ns[n / 2] / 1e3);
	samples_add(&t->p99, ns[n / 100 * 99] / 1e3);
	samples_add(&t->mean, sum / 1e3 / n);
	return 0;
}

/* ---- report --------------------------------------------------------------------------------- */

static void row(const struct target *t, const char *what, const char *unit, struct samples *s)
{
	char name[80];

	snprintf(name, sizeof(name), "e2e/%s/%s%s%s", opt.label, t->name, what ? "/" : "", what ?: "");
	report_row(opt.json, name, unit, s, NULL);
}

/* The quotient of two targets' samples, round by round. */
static void report_ratio(const struct samples *of, const struct samples *to, const char *target)
{
	struct samples ratio = {.n = 0};
	char name[80];

	for (int i = 0; i < of->n && i < to->n; i++)
		samples_add(&ratio, of->v[i] / to->v[i]);
	snprintf(name, sizeof(name), "e2e/%s/ratio", opt.label);
	report_row(opt.json, name, "x", &ratio, target);
}

static void report_target(const char *mode, struct target *t)
{
	if (!strcmp(mode, "flood")) {
		row(t, NULL, "req/s", &t->rate);
		row(t, "offered", "req/s", &t->offered);
	} else if (!strcmp(mode, "paced")) {
		row(t, NULL, "us/req", &t->cpu);
		row(t, "answered", "req/s", &t->rate);
	} else {
		row(t, "p50", "us", &t->p50);
		row(t, "p99", "us", &t->p99);
		row(t, "mean", "us", &t->mean);
		row(t, "rate", "req/s", &t->rate);
	}
	if (t->lost)
		printf("%s: %llu requests of the closed loop had no answer\n", t->name, t->lost);
}

/* The first target is the yardstick: a ratio says how many times better the second is. It is taken
 * before the rows, which sort the samples. */
static void report(const char *mode, struct target *t, int n)
{
	if (n == 2 && !strcmp(mode, "flood"))
		report_ratio(&t[1].rate, &t[0].rate, ">= 20");
	else if (n == 2 && !strcmp(mode, "paced"))
		report_ratio(&t[0].cpu, &t[1].cpu, NULL);
	else if (n == 2)
		report_ratio(&t[1].rate, &t[0].rate, NULL);
	for (int i = 0; i < n; i++)
		report_target(mode, &t[i]);
}

static int measure(const char *mode, struct target *t)
{
	if (!strcmp(mode, "closed"))
		return measure_closed(t);
	return measure_sending(t, !strcmp(mode, "paced"));
}

static int pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static int cmd_measure(const char *mode, char **args, int n)
{
	static struct target targets[TARGETS_MAX];
	int err = pin(opt.cpu);

	for (int i = 0; i < n && !err; i++) {
		err = parse_target(&targets[i], args[i]) ?: open_target(&targets[i]);
		if (err)
			return fail(args[i], err);
	}
	for (unsigned r = 0; r < opt.rounds && !err; r++) {
		for (int i = 0; i < n && !err; i++) {
			err = measure(mode, &targets[i]);
			if (err)
				fail(targets[i].name, err);
		}
	}
	if (!err)
		report(mode, targets, n);
	for (int i = 0; i < n; i++) {
		bpf_link__destroy(targets[i].link);
		flood__destroy(targets[i].skel);
	}
	return err;
}

static int usage(void)
{
	fprintf(stderr, "usage: e2e list | head | fill ADDRESS PORT\n"
			"       e2e flood|paced|closed [-l LABEL] [-r ROUNDS] [-s SECONDS] [-p PER_SECOND]"
			" [-c CPU] [-o JSON_LINES]\n"
			"           NAME,IFACE,SERVER-MAC,CLIENT-ADDRESS,SERVER-ADDRESS,PORT[,PID...]...\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int c, err;

	if (!strcmp(mode, "list") && argc == 2)
		return cmd_list();
	if (!strcmp(mode, "head") && argc == 2)
		return report_head(), 0;
	if (!strcmp(mode, "fill") && argc == 4)
		return cmd_fill(argv[2], atoi(argv[3])) ? 1 : 0;
	if (strcmp(mode, "flood") && strcmp(mode, "paced") && strcmp(mode, "closed"))
		return usage();
	opt.label = mode;
	argv++;
	argc--;
	while ((c = getopt(argc, argv, "l:r:s:p:c:o:")) != -1) {
		if (c == 'l')
			opt.label = optarg;
		else if (c == 'r')
			opt.rounds = atoi(optarg);
		else if (c == 's')
			opt.seconds = atof(optarg);
		else if (c == 'p')
			opt.pace = atoi(optarg);
		else if (c == 'c')
			opt.cpu = atoi(optarg);
		else if (c == 'o')
			opt.json = fopen(optarg, "a");
		else
			return usage();
	}
	if (!opt.rounds || opt.rounds > REPORT_RUNS_MAX || opt.pace < 1000 || optind == argc ||
	    argc - optind > TARGETS_MAX)
		return usage();
	err = cmd_measure(mode, argv + optind, argc - optind);
	if (opt.json)
		fclose(opt.json);
	return err ? 1 : 0;
}
