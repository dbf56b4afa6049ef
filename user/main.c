/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line: finds the row of the table, reads its options, runs it. */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0.1.0"
#endif

#define OPTS_MAX 16
#define LONG_AT  256 /* getopt_long's value of the long option 0: no letter is that high */

/* Those that every command takes, after its own. */
static const struct opt common_opts[] = {
	{ "json", 0, NULL, "print the report as JSON" },
	{ "quiet", 'q', NULL, "no notes" },
	{ "help", 'h', NULL, "this help" },
	{},
};

/* All options of one command, in the forms that getopt_long wants. */
struct options {
	const struct opt *opt[OPTS_MAX];
	struct option longs[OPTS_MAX + 1];
	char letters[2 * OPTS_MAX + 2]; /* options with a value that may be left out have none */
	int n, own;
};

const char *opt_value(const struct cmd *cmd, char **values, const char *name)
{
	for (int i = 0; cmd->opts[i].name; i++) {
		if (!strcmp(cmd->opts[i].name, name))
			return values[i];
	}
	assert(!"a command asks for an option that its row does not have");
	return NULL;
}

static void options_add(struct options *o, const struct opt *list)
{
	char *letter = o->letters + strlen(o->letters);

	for (; list->name; list++) {
		assert(o->n < OPTS_MAX);
		o->longs[o->n] = (struct option){ list->name,
						  !list->arg	    ? no_argument :
						  *list->arg == '[' ? optional_argument :
								      required_argument,
						  NULL, LONG_AT + o->n };
		if (list->letter)
			*letter++ = list->letter;
		if (list->letter && list->arg)
			*letter++ = ':';
		o->opt[o->n++] = list;
	}
}

static void options_of(struct options *o, const struct cmd *cmd)
{
	memset(o, 0, sizeof(*o));
	o->letters[0] = ':'; /* getopt tells a missing argument from an unknown option, and is silent */
	options_add(o, cmd->opts);
	o->own = o->n;
	options_add(o, common_opts);
}

/* ---- help ------------------------------------------------------------------------------------- */

/* "cache warm", "load"; a static buffer. */
static const char *cmd_name(const struct cmd *cmd)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s%s%s", cmd->noun, cmd->verb ? " " : "", cmd->verb ? cmd->verb : "");
	return name;
}

/* "-s, --service NAME" */
static const char *opt_left(const struct opt *opt, char *text, size_t len)
{
	char letter[8] = "    ";
	const char *arg = opt->arg ? opt->arg : "";

	if (opt->letter)
		snprintf(letter, sizeof(letter), "-%c, ", opt->letter);
	if (*arg == '[')
		snprintf(text, len, "%s--%s[=%s", letter, opt->name, arg + 1);
	else
		snprintf(text, len, "%s--%s%s%s", letter, opt->name, *arg ? " " : "", arg);
	return text;
}

static void print_options(const struct options *o)
{
	char text[64];
	int width = 0;

	for (int i = 0; i < o->n; i++) {
		int len = strlen(opt_left(o->opt[i], text, sizeof(text)));

		width = len > width ? len : width;
	}
	for (int i = 0; i < o->n; i++)
		printf("  %-*s  %s\n", width, opt_left(o->opt[i], text, sizeof(text)), o->opt[i]->help);
}

static void print_example(const char *lines)
{
	printf("\nExample:\n");
	while (*lines) {
		int len = strcspn(lines, "\n");

		printf("  %.*s\n", len, lines);
		lines += len + (lines[len] == '\n');
	}
}

static int help_command(const struct cmd *cmd)
{
	struct options o;

	options_of(&o, cmd);
	printf("Usage: weir %s%s%s [OPTION]...\n\n", cmd_name(cmd), cmd->args ? " " : "",
	       cmd->args ? cmd->args : "");
	printf("%c%s.\n\n", cmd->summary[0] - 'a' + 'A', cmd->summary + 1);
	print_options(&o);
	if (cmd->details)
		printf("\n%s\n", cmd->details);
	print_example(cmd->example);
	return EXIT_OK;
}

static void print_summaries(const char *noun)
{
	for (const struct cmd *cmd = commands; cmd->noun; cmd++) {
		if (!noun || !strcmp(cmd->noun, noun))
			printf("  %-15s %s\n", cmd_name(cmd), cmd->summary);
	}
}

static int help_noun(const struct cmd *first)
{
	printf("Usage: weir %s VERB [ARGUMENT]... [OPTION]...\n\n", first->noun);
	print_summaries(first->noun);
	printf("\n'weir %s VERB -h' explains one.\n", first->noun);
	print_example(first->example);
	return EXIT_OK;
}

static int help_all(void)
{
	printf("Usage: weir COMMAND [ARGUMENT]... [OPTION]...\n\n"
	       "Answers memcached hot-key lookups over UDP at the NIC, before the network stack,\n"
	       "and steers connections to the least-loaded of several backends.\n\n");
	print_summaries(NULL);
	printf("\nEvery command takes --json (print the report as JSON), -q (no notes) and\n"
	       "-h (explain it). 'weir --version' prints the version.\n\n"
	       "Exit status: 0 ok, 1 failed, 2 usage, 3 unsupported here, 4 not permitted,\n"
	       "5 works but degraded. Manual: weir(8).\n");
	print_example("weir check -c weir.yaml\nweir load -c weir.yaml\nweir cache warm hot.csv\nweir stats");
	return EXIT_OK;
}

/* ---- mistakes --------------------------------------------------------------------------------- */

static int min3(int a, int b, int c)
{
	int m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be added, taken, changed or swapped with their neighbour. */
static int distance(const char *a, const char *b)
{
	enum { MAX = 24 };
	int d[MAX + 1][MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > MAX || lb > MAX)
		return MAX;
	for (int i = 0; i <= la; i++) {
		for (int j = 0; j <= lb; j++) {
			if (!i || !j) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min3(d[i][j], d[i - 2][j - 2] + 1, d[i][j]);
		}
	}
	return d[la][lb];
}

/* A name that was perhaps meant. */
struct guess {
	const char *typed;
	int best;
	char text[64];
};

static struct guess guess_start(const char *typed)
{
	int len = strlen(typed);

	/* Of a short word half may be wrong, of a long one two letters. */
	return (struct guess){ .typed = typed, .best = (len < 4 ? len / 2 : 2) + 1 };
}

static void guess_try(struct guess *g, const char *word, const char *text)
{
	size_t len = strlen(g->typed);
	int d = distance(g->typed, word);

	/* The beginning of a name is no name, but a good hint. */
	if (d >= g->best && len > 1 && !strncmp(g->typed, word, len))
		d = g->best - 1;
	if (d >= g->best)
		return;
	g->best = d;
	snprintf(g->text, sizeof(g->text), "; did you mean '%s'?", text);
}

/* One line, and where to read on. `about` is what -h would be asked of, "" for all. */
static int usage(const char *about, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int usage(const char *about, const char *fmt, ...)
{
	const char *gap = *about ? " " : "";
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail(EXIT_USAGE, "%s%s%s", about, *about ? ": " : "", text);
	fprintf(stderr, "Try 'weir%s%s -h'.\n", gap, about);
	return EXIT_USAGE;
}

static int unknown_command(const char *word)
{
	struct guess g = guess_start(word);

	for (const struct cmd *cmd = commands; cmd->noun; cmd++) {
		guess_try(&g, cmd->noun, cmd->noun);
		if (cmd->verb)
			guess_try(&g, cmd->verb, cmd_name(cmd));
	}
	guess_try(&g, "help", "help");
	return usage("", "no command '%s'%s", word, g.text);
}

static int unknown_verb(const char *noun, const char *word)
{
	struct guess g = guess_start(word);

	for (const struct cmd *cmd = commands; cmd->noun; cmd++) {
		if (cmd->verb && !strcmp(cmd->noun, noun))
			guess_try(&g, cmd->verb, cmd_name(cmd));
	}
	return usage(noun, "no verb '%s'%s", word, g.text);
}

static int no_verb(const char *noun)
{
	char verbs[128] = "";

	for (const struct cmd *cmd = commands; cmd->noun; cmd++) {
		if (strcmp(cmd->noun, noun))
			continue;
		if (*verbs)
			strcat(verbs, ", ");
		strcat(verbs, cmd->verb);
	}
	return usage(noun, "a verb is missing, one of: %s", verbs);
}

static int unknown_option(const struct cmd *cmd, const struct options *o, const char *token)
{
	int len = strcspn(token, "=");
	char name[32], text[40];
	struct guess g;

	snprintf(name, sizeof(name), "%.*s", len > 2 ? len - 2 : 0, len > 2 ? token + 2 : "");
	g = guess_start(name);
	for (int i = 0; i < o->n; i++) {
		snprintf(text, sizeof(text), "--%s", o->opt[i]->name);
		guess_try(&g, o->opt[i]->name, text);
	}
	return usage(cmd_name(cmd), "no option '%.*s'%s", len, token, g.text);
}

/* ---- one command ------------------------------------------------------------------------------ */

/* The word of the command line that a long option was read from. */
static const char *option_token(const struct options *o, int i, char **argv)
{
	bool apart = o->opt[i]->arg && optarg == argv[optind - 1];

	return argv[optind - 1 - apart];
}

/* getopt_long takes any beginning of a long name that is not ambiguous; here names match exactly. */
static bool exact(const struct options *o, int i, char **argv)
{
	const char *token = option_token(o, i, argv) + 2;
	size_t len = strlen(o->opt[i]->name);

	return !strncmp(token, o->opt[i]->name, len) && (!token[len] || token[len] == '=');
}

/* Number of the option that getopt_long returned or complained about, or -1. */
static int option_index(const struct options *o, int c)
{
	if (c >= LONG_AT)
		return c - LONG_AT;
	for (int i = 0; i < o->n; i++) {
		if (o->opt[i]->letter == c)
			return i;
	}
	return -1;
}

/* What getopt_long could not use: '?' or ':'. */
static int bad_option(const struct cmd *cmd, const struct options *o, int c, char **argv)
{
	int i = optopt ? option_index(o, optopt) : -1;
	char letter[3] = { '-', optopt, 0 };

	if (i >= 0 && c == ':')
		return usage(cmd_name(cmd), "option '--%s' needs %s", o->opt[i]->name, o->opt[i]->arg);
	if (i >= 0)
		return usage(cmd_name(cmd), "option '--%s' takes no value", o->opt[i]->name);
	return unknown_option(cmd, o, optopt ? letter : argv[optind - 1]);
}

static void use_option(const struct options *o, int i, char **values, bool *help)
{
	static char given[] = "";

	if (i < o->own)
		values[i] = optarg ? optarg : given;
	else if (!strcmp(o->opt[i]->name, "quiet"))
		out_quiet = true;
	else if (!strcmp(o->opt[i]->name, "help"))
		*help = true;
}

static int read_options(const struct cmd *cmd, const struct options *o, char **values, int argc, char **argv,
			bool *help)
{
	int c, i;

	optind = 0; /* glibc: start over */
	while ((c = getopt_long(argc, argv, o->letters, o->longs, NULL)) != -1) {
		if (c == '?' || c == ':')
			return bad_option(cmd, o, c, argv);
		i = option_index(o, c);
		if (c >= LONG_AT && !exact(o, i, argv))
			return unknown_option(cmd, o, option_token(o, i, argv));
		use_option(o, i, values, help);
	}
	return EXIT_OK;
}

/* The n-th word of "KEY VALUE", without dots. */
static const char *arg_name(const char *args, int n, char *text, size_t len)
{
	while (n-- > 0 && strchr(args, ' '))
		args = strchr(args, ' ') + 1;
	snprintf(text, len, "%.*s", (int)strcspn(args, " ."), args);
	return text;
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	char *values[OPTS_MAX] = { NULL };
	struct options o;
	bool help = false;
	char text[32];
	int status;

	options_of(&o, cmd);
	status = read_options(cmd, &o, values, argc, argv, &help);
	if (status)
		return status;
	if (help)
		return help_command(cmd);
	argc -= optind;
	argv += optind;
	if (argc < cmd->min_args)
		return usage(cmd_name(cmd), "%s is missing", arg_name(cmd->args, argc, text, sizeof(text)));
	if (cmd->max_args >= 0 && argc > cmd->max_args)
		return usage(cmd_name(cmd), "one argument too many: '%s'", argv[cmd->max_args]);
	return cmd->run(cmd, values, argc, argv);
}

/* ---- which command ---------------------------------------------------------------------------- */

static bool is_help(const char *word)
{
	return !strcmp(word, "-h") || !strcmp(word, "--help");
}

static const struct cmd *find_noun(const char *noun)
{
	for (const struct cmd *cmd = commands; cmd->noun; cmd++) {
		if (!strcmp(cmd->noun, noun))
			return cmd;
	}
	return NULL;
}

static const struct cmd *find_verb(const char *noun, const char *verb)
{
	for (const struct cmd *cmd = commands; cmd->noun; cmd++) {
		if (cmd->verb && !strcmp(cmd->noun, noun) && !strcmp(cmd->verb, verb))
			return cmd;
	}
	return NULL;
}

/* Whether it is an option that may also stand before the command or its verb. */
static bool took_early(const char *word)
{
	bool quiet = !strcmp(word, "-q") || !strcmp(word, "--quiet");

	out_quiet |= quiet;
	return quiet || !strcmp(word, "--json");
}

/* argv[0] is the noun. With `help`, the command explains itself instead of running. */
static int dispatch(int argc, char **argv, bool help)
{
	const struct cmd *noun = find_noun(argv[0]), *cmd;

	if (!noun)
		return unknown_command(argv[0]);
	if (!noun->verb)
		return help ? help_command(noun) : run(noun, argc, argv);
	do {
		argc--;
		argv++;
	} while (argc && took_early(*argv));
	if (!argc)
		return help ? help_noun(noun) : no_verb(noun->noun);
	if (is_help(*argv))
		return help_noun(noun);
	cmd = find_verb(noun->noun, *argv);
	if (!cmd)
		return unknown_verb(noun->noun, *argv);
	return help ? help_command(cmd) : run(cmd, argc, argv);
}

/* --json holds for a mistake that comes before it as well, so it is looked for ahead of all else. */
static bool has_json(char **argv)
{
	while (*argv && strcmp(*argv, "--")) {
		if (!strcmp(*argv++, "--json"))
			return true;
	}
	return false;
}

static int start(int argc, char **argv)
{
	bool help = false;

	out_json = has_json(argv);
	for (argc--, argv++; argc > 0; argc--, argv++) {
		if (is_help(*argv) || !strcmp(*argv, "help"))
			help = true;
		else if (!took_early(*argv))
			break;
	}
	if (argc && !help && !strcmp(*argv, "--version")) {
		printf("weir %s (map ABI %d, JSON %d)\n", WEIR_VERSION, WEIR_ABI_VERSION, WEIR_JSON_VERSION);
		return EXIT_OK;
	}
	if (!argc)
		return help ? help_all() : usage("", "no command given");
	if (**argv == '-')
		return usage("", "no option '%s' before a command", *argv);
	return dispatch(argc, argv, help);
}

/*
 * A descriptor below 3 that is closed would be given to the first map or socket, and then be written
 * to as standard output. A file that can only be used the other way round fails as a closed one does.
 */
static void hold_standard_fds(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(EXIT_FAILED);
	}
}

int main(int argc, char **argv)
{
	hold_standard_fds();
	/* A reader that goes away must not end a command halfway: the failed write is noticed at the end. */
	signal(SIGPIPE, SIG_IGN);
	return out_finish(start(argc, argv));
}
