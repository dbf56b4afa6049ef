/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loads each program of the named BPF objects by itself and prints what the verifier says, one line
 * a program: name, instructions processed, states, bytes of stack, bytes of machine code. See
 * scripts/verifier-stats.
 *
 * The constant configuration is made unknown to the verifier (its map is not read-only for
 * programs), so that no branch is pruned: what holds here holds for every configuration.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_STATS 4 /* BPF_LOG_STATS: a summary, no trace */
#define LOG_TRACE 1

static char log_buf[16 << 20];

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return 0;
}

/* The number after a word of the log, the largest where functions give "8+16". -1: not there. */
static long log_number(const char *before)
{
	const char *p = strstr(log_buf, before);
	char *end;
	long most;

	if (!p)
		return -1;
	most = strtol(p + strlen(before), &end, 10);
	while (*end == '+') { /* of each function */
		long n = strtol(end + 1, &end, 10);

		most = n > most ? n : most;
	}
	return most;
}

static struct bpf_object *open_one(const char *path, const char *name, unsigned log_level)
{
	struct bpf_object *obj = bpf_object__open_file(path, NULL);
	struct bpf_program *prog;
	struct bpf_map *map;

	if (!obj)
		return NULL;
	bpf_object__for_each_program(prog, obj) {
		bool wanted = !strcmp(bpf_program__name(prog), name);

		bpf_program__set_autoload(prog, wanted);
		if (wanted) {
			bpf_program__set_log_level(prog, log_level);
			bpf_program__set_log_buf(prog, log_buf, sizeof(log_buf));
		}
	}
	bpf_object__for_each_map(map, obj) {
		bpf_map__set_pin_path(map, NULL);
		if (strstr(bpf_map__name(map), ".rodata"))
			bpf_map__set_map_flags(map, bpf_map__map_flags(map) & ~BPF_F_RDONLY_PROG);
	}
	return obj;
}

/* Of a refusal, the end of the verifier's trace: where it stood and what it missed. */
static void print_refusal(const char *path, const char *name, int err)
{
	struct bpf_object *obj;
	const char *tail;

	log_buf[0] = '\0';
	obj = open_one(path, name, LOG_TRACE);
	bpf_object__load(obj);
	bpf_object__close(obj);
	tail = log_buf + strlen(log_buf);
	for (int lines = 0; tail > log_buf && lines < 12; tail--)
		lines += tail[-1] == '\n';
	fprintf(stderr, "%s: %s: refused: %s\n%s\n", path, name, strerror(-err), tail);
}

static int stats_of(const char *path, const char *name)
{
	struct bpf_object *obj = open_one(path, name, LOG_STATS);
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int err;

	if (!obj)
		return -errno;
	log_buf[0] = '\0';
	err = bpf_object__load(obj);
	if (err) {
		bpf_object__close(obj);
		print_refusal(path, name, err);
		return err;
	}
	bpf_obj_get_info_by_fd(bpf_program__fd(bpf_object__find_program_by_name(obj, name)), &info, &len);
	printf("%s %ld %ld %ld %u\n", name, log_number("processed "), log_number("total_states "),
	       log_number("stack depth "), info.jited_prog_len);
	bpf_object__close(obj);
	return 0;
}

static int stats_of_object(const char *path)
{
	struct bpf_object *obj = bpf_object__open_file(path, NULL);
	struct bpf_program *prog;
	int bad = 0;

	if (!obj) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	bpf_object__for_each_program(prog, obj)
		bad |= stats_of(path, bpf_program__name(prog)) != 0;
	bpf_object__close(obj);
	return bad;
}

int main(int argc, char **argv)
{
	int bad = 0;

	libbpf_set_print(quiet);
	for (int i = 1; i < argc; i++)
		bad |= stats_of_object(argv[i]);
	return bad;
}
