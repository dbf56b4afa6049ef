/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of commands: what each is called, takes, says about itself in -h, and runs. */
#include "cmd.h"

#define OPT_CONFIG  { "config", 'c', "FILE", "the configuration, see weir.yaml(5)" }
#define OPT_DRY_RUN { "dry-run", 0, NULL, "say what would be done, change nothing" }
#define OPT_SERVICE { "service", 's', "NAME", "which service; needed when there are several" }
#define OPT_ONLY    { "service", 's', "NAME", "only this service" }

static const struct opt check_opts[] = { OPT_CONFIG, {} };
static const struct opt load_opts[] = {
	OPT_CONFIG,
	{ "iface", 'i', "IFACE", "only on this one of the configured interfaces" },
	{ "mode", 'm', "MODE", "auto, native or generic, for all interfaces" },
	OPT_DRY_RUN,
	{},
};
static const struct opt reload_opts[] = { OPT_CONFIG, OPT_DRY_RUN, {} };
static const struct opt no_opts[] = { {} };
static const struct opt stats_opts[] = {
	{ "watch", 'w', NULL, "every second, with rates, until Ctrl-C" },
	OPT_ONLY,
	{ "all", 0, NULL, "also reasons that were never seen" },
	{},
};
static const struct opt doctor_opts[] = {
	{ "iface", 'i', "IFACE", "only this interface, instead of all that are up" },
	{},
};
static const struct opt warm_opts[] = {
	OPT_SERVICE,
	{ "ttl", 't', "TTL", "for lines without one: 90s, 5m, 1h30m, never" },
	{ "replace", 0, NULL, "the lists become the whole hot set of the service" },
	OPT_DRY_RUN,
	{ "strict", 0, NULL, "all lines or none" },
	{ "format", 0, "FORMAT", "auto, keys, csv, jsonl or metadump" },
	{},
};
static const struct opt show_opts[] = {
	{ "top", 'n', "N", "at most N keys, the most hit first" },
	OPT_ONLY,
	{},
};
static const struct opt service_opts[] = { OPT_SERVICE, {} };
static const struct opt put_opts[] = {
	OPT_SERVICE,
	{ "ttl", 't', "TTL", "90s, 5m, 1h30m, never; default: the service's" },
	{ "flags", 'f', "N", "the client's flags, 0 to 4294967295" },
	{},
};
static const struct opt flush_opts[] = { OPT_ONLY, {} };

const struct cmd commands[] = {
	{
		.noun = "check", .args = "-c FILE", .opts = check_opts, .run = cmd_check,
		.summary = "check a configuration, and say what it costs",
		.details = "Needs no privileges. Each fault is named with its file, line and field.",
		.example = "weir check -c weir.yaml",
	},
	{
		.noun = "load", .args = "-c FILE", .opts = load_opts, .run = cmd_load,
		.summary = "put the programs on the interfaces",
		.details = "With mode auto, an interface whose driver cannot run XDP natively gets generic\n"
			   "XDP; that is said loudly, and the exit status is 5. --dry-run needs no\n"
			   "privileges.",
		.example = "weir load -c weir.yaml -i eth0 --mode native",
	},
	{
		.noun = "unload", .opts = no_opts, .run = cmd_unload,
		.summary = "take the programs off and forget the hot set",
		.details = "Leaves nothing behind. Also finishes what an interrupted load or unload left.",
		.example = "weir unload",
	},
	{
		.noun = "reload", .args = "-c FILE", .opts = reload_opts, .run = cmd_reload,
		.summary = "change configuration and programs while running",
		.details = "No packet, counter or hot key is lost. --dry-run needs no privileges.",
		.example = "weir reload -c weir.yaml",
	},
	{
		.noun = "status", .opts = no_opts, .run = cmd_status,
		.summary = "what is loaded where, and whether it answers",
		.example = "weir status --json | jq .answering",
	},
	{
		.noun = "stats", .opts = stats_opts, .run = cmd_stats,
		.summary = "why packets left the way they did; hits and misses",
		.details = "Each packet is counted under exactly one reason. Counters start with load and\n"
			   "survive reload. The hit ratio is hits / (hits + misses).",
		.example = "weir stats --watch\nweir stats --json | jq .total.hit_ratio",
	},
	{
		.noun = "doctor", .opts = doctor_opts, .run = cmd_doctor,
		.summary = "what this host lacks to run weir, and the fix",
		.details = "Changes nothing. Run it as root: without privileges some checks cannot be made.",
		.example = "weir doctor -i eth0",
	},
	{
		.noun = "cache", .verb = "warm", .args = "LIST...", .opts = warm_opts, .run = cmd_cache_warm,
		.min_args = 1, .max_args = -1,
		.summary = "fill the hot set from warming lists",
		.details = "A LIST is a file, plain or gzip, or - for standard input; its format is\n"
			   "recognised by content:\n"
			   "  keys      one key a line; values are fetched from the origin\n"
			   "  csv       key,value[,ttl[,flags]]\n"
			   "  jsonl     an object a line: key, value or value_base64, ttl, flags\n"
			   "  metadump  what memcached's `lru_crawler metadump all` prints\n"
			   "A bad line is reported with its number, and the rest is loaded.",
		.example = "weir cache warm hot.csv --ttl 5m\n"
			   "echo lru_crawler metadump all | nc -q1 127.0.0.1 11211 | weir cache warm -",
	},
	{
		.noun = "cache", .verb = "show", .args = "[PATTERN]", .opts = show_opts,
		.run = cmd_cache_show, .max_args = 1,
		.summary = "list hot keys, the most hit first",
		.details = "PATTERN is a glob: * any bytes, ? one byte, [a-z] one of these.",
		.example = "weir cache show --top 10 'user:*'",
	},
	{
		.noun = "cache", .verb = "get", .args = "KEY", .opts = service_opts, .run = cmd_cache_get,
		.min_args = 1, .max_args = 1,
		.summary = "print one value from the hot set",
		.example = "weir cache get user:1\nweir cache get -- -a-key-that-begins-with-a-dash",
	},
	{
		.noun = "cache", .verb = "put", .args = "KEY VALUE", .opts = put_opts, .run = cmd_cache_put,
		.min_args = 2, .max_args = 2,
		.summary = "put one key into the hot set",
		.details = "The origin does not learn of it: a copy lives here until its TTL ends.",
		.example = "weir cache put user:1 hello --ttl 30s",
	},
	{
		.noun = "cache", .verb = "drop", .args = "KEY...", .opts = service_opts,
		.run = cmd_cache_drop, .min_args = 1, .max_args = -1,
		.summary = "take keys out of the hot set",
		.details = "Lookups of them go to the origin at once. The exit status is 1 when one of the\n"
			   "keys was not there.",
		.example = "weir cache drop user:1 user:2",
	},
	{
		.noun = "cache", .verb = "flush", .opts = flush_opts, .run = cmd_cache_flush,
		.summary = "take all keys out of the hot set",
		.example = "weir cache flush --service sessions",
	},
	{},
};
