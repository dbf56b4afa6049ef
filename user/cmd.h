/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Commands are rows of a table: a new verb is one row and one function. */
#ifndef WEIR_CMD_H
#define WEIR_CMD_H

#include <getopt.h>

#include "out.h"

/* An option of a command, its help beside it. */
struct opt {
	const char *name; /* long name, without the dashes */
	char letter;	  /* 0: none */
	const char *arg;  /* NULL: a switch, else the argument's name in the help; "[NAME]": may be left out */
	const char *help;
};

struct cmd {
	const char *noun; /* "check", "cache" */
	const char *verb; /* NULL where the noun is the whole command, else "warm" */
	const char *args; /* what follows, as in the usage line: "LIST..." */
	const char *summary;
	const char *details;	/* paragraphs for -h, or NULL */
	const char *example;	/* lines for -h */
	const struct opt *opts; /* ends with a NULL name; --json, -q and -h come by themselves */
	int min_args, max_args; /* -1: any number */
	/* Options come as values[i] for opts[i]: NULL not given, "" a switch that was given. */
	int (*run)(const struct cmd *cmd, char **values, int argc, char **argv);
};

extern const struct cmd commands[]; /* ends with a NULL noun; verbs of a noun stand together */

/* The value of an option by its long name, NULL when not given. */
const char *opt_value(const struct cmd *cmd, char **values, const char *name);

int cmd_check(const struct cmd *, char **, int, char **);
int cmd_load(const struct cmd *, char **, int, char **);
int cmd_unload(const struct cmd *, char **, int, char **);
int cmd_reload(const struct cmd *, char **, int, char **);
int cmd_run(const struct cmd *, char **, int, char **);
int cmd_status(const struct cmd *, char **, int, char **);
int cmd_stats(const struct cmd *, char **, int, char **);
int cmd_top(const struct cmd *, char **, int, char **);
int cmd_metrics(const struct cmd *, char **, int, char **);
int cmd_doctor(const struct cmd *, char **, int, char **);
int cmd_service_show(const struct cmd *, char **, int, char **);
int cmd_service_add(const struct cmd *, char **, int, char **);
int cmd_service_del(const struct cmd *, char **, int, char **);
int cmd_service_set(const struct cmd *, char **, int, char **);
int cmd_backend_show(const struct cmd *, char **, int, char **);
int cmd_backend_add(const struct cmd *, char **, int, char **);
int cmd_backend_set(const struct cmd *, char **, int, char **);
int cmd_backend_drain(const struct cmd *, char **, int, char **);
int cmd_backend_enable(const struct cmd *, char **, int, char **);
int cmd_backend_disable(const struct cmd *, char **, int, char **);
int cmd_backend_del(const struct cmd *, char **, int, char **);
int cmd_flow_show(const struct cmd *, char **, int, char **);
int cmd_flow_top(const struct cmd *, char **, int, char **);
int cmd_latency_show(const struct cmd *, char **, int, char **);
int cmd_cache_warm(const struct cmd *, char **, int, char **);
int cmd_cache_show(const struct cmd *, char **, int, char **);
int cmd_cache_get(const struct cmd *, char **, int, char **);
int cmd_cache_why(const struct cmd *, char **, int, char **);
int cmd_cache_policy(const struct cmd *, char **, int, char **);
int cmd_cache_export(const struct cmd *, char **, int, char **);
int cmd_cache_put(const struct cmd *, char **, int, char **);
int cmd_cache_drop(const struct cmd *, char **, int, char **);
int cmd_cache_flush(const struct cmd *, char **, int, char **);

#endif
