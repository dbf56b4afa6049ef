/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of commands: what each is called, takes, says about itself in -h, and runs. */
#include "cmd.h"

#define OPT_CONFIG  { "config", 'c', "FILE", "the configuration, see weir.yaml(5)" }
#define OPT_DRY_RUN { "dry-run", 0, NULL, "say what would be done, change nothing" }
#define OPT_SERVICE { "service", 's', "NAME", "which service; needed when there are several" }
#define OPT_ONLY    { "service", 's', "NAME", "only this service" }

#define OPT_POOL    { "pool", 'p', "POOL", "which pool; needed when there are several" }

static const struct opt check_opts[] = { OPT_CONFIG, {} };
static const struct opt load_opts[] = {
	OPT_CONFIG,
	{ "iface", 'i', "IFACE", "only on this one of the configured interfaces" },
	{ "mode", 'm', "MODE", "auto, native or generic, for all interfaces" },
	OPT_DRY_RUN,
	{},
};
static const struct opt reload_opts[] = { OPT_CONFIG, OPT_DRY_RUN, {} };
static const struct opt run_opts[] = {
	OPT_CONFIG,
	{ "no-load", 0, NULL, "when nothing is loaded, wait until something is" },
	{ "unload-on-exit", 0, NULL, "take everything away at the end" },
	{ "http", 0, "ADDRESS:PORT", "answer HTTP there, or none; default: as configured" },
	{},
};
static const struct opt no_opts[] = { {} };
static const struct opt stats_opts[] = {
	{ "watch", 'w', NULL, "every second, with rates, until Ctrl-C" },
	OPT_ONLY,
	{ "all", 0, NULL, "also reasons that were never seen" },
	{},
};
static const struct opt top_opts[] = {
	{ "delay", 'd', "TIME", "between two refreshes: 100ms to 1h; default: 1s" },
	{ "once", 0, NULL, "two samples that far apart, as text or with --json" },
	{},
};
static const struct opt metrics_opts[] = {
	{ "format", 0, "FORMAT", "prometheus, openmetrics, json, emf or statsd" },
	{ "textfile", 0, "FILE", "into a file, for node_exporter" },
	{ "statsd", 0, "HOST:PORT", "to a StatsD server, over UDP" },
	{ "namespace", 0, "NAME", "of emf, or before statsd's names" },
	{ "interval", 0, "TIME", "again and again: 10s, 1m" },
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
static const struct opt why_opts[] = {
	OPT_SERVICE,
	{ "http", 0, "ADDRESS:PORT", "where the agent answers, if not as its configuration says" },
	{},
};
static const struct opt policy_opts[] = {
	{ "http", 0, "ADDRESS:PORT", "where the agent answers, if not as its configuration says" },
	{},
};
static const struct opt export_opts[] = {
	OPT_SERVICE,
	{ "top", 'n', "N", "at most N keys, the most hit first" },
	{ "values", 0, NULL, "with values, flags and the time that is left" },
	{ "output", 'o', "FILE", "write FILE, which appears when it is whole" },
	{},
};
static const struct opt put_opts[] = {
	OPT_SERVICE,
	{ "ttl", 't', "TTL", "90s, 5m, 1h30m, never; default: the service's" },
	{ "flags", 'f', "N", "the client's flags, 0 to 4294967295" },
	{},
};
static const struct opt drop_opts[] = {
	{ "prefix", 0, "PREFIX", "all keys that begin with it" },
	{ "file", 0, "LIST", "keys, one a line; - for standard input" },
	{ "reason", 0, "WORD", "under which it is counted, 32 bytes at most" },
	{ "dry-run", 0, NULL, "only say which are there" },
	{ "service", 's', "NAME", "of this service; needed when there are several" },
	{},
};
static const struct opt flush_opts[] = { OPT_ONLY, {} };
static const struct opt backend_show_opts[] = { { "pool", 'p', "POOL", "only this pool" }, {} };
static const struct opt backend_opts[] = { OPT_POOL, {} };
static const struct opt backend_add_opts[] = {
	OPT_POOL,
	{ "capacity", 0, "N", "its share against the others': 1 to 65536; default: 100" },
	{ "backup", 0, NULL, "used only when no other is left" },
	{ "delivery", 0, "WAY", "l2, tunnel or nat; default: the pool's" },
	{ "shard", 0, "N", "its shard, where the pool has several: 0, 1, .." },
	{ "quic-id", 0, "N", "its number in QUIC connection ids" },
	{},
};
static const struct opt backend_set_opts[] = {
	OPT_POOL,
	{ "capacity", 0, "N", "its share against the others': 1 to 65536" },
	{ "backup", 0, "YES", "yes: used only when no other is left; no" },
	{},
};
static const struct opt drain_opts[] = {
	OPT_POOL,
	{ "wait", 0, "[DURATION]", "wait until no connection is left, so long at most" },
	{},
};
static const struct opt backend_del_opts[] = {
	OPT_POOL,
	{ "force", 0, NULL, "even though it has connections" },
	{},
};
#define OPTS_SERVICE                                                                                     \
	{ "clients", 0, "LIST", "networks that are answered, comma-separated" },                \
	{ "pool", 'p', "POOL", "where it goes" },                                                        \
	{ "protocol", 0, "WHICH", "tcp, udp or both: what goes to the pool" },                           \
	{ "fragments", 0, "WAY", "steer or drop" },                                                      \
	{ "origin", 0, "ADDRESS", "of a cache: where values are fetched" },                              \
	{ "ttl", 't', "TTL", "of a cache: how long a copy lives" }
static const struct opt service_add_opts[] = {
	OPTS_SERVICE,
	{ "cache", 0, NULL, "answer lookups, with a pool (without one it does)" },
	{},
};
static const struct opt service_set_opts[] = {
	{ "vips", 0, "LIST", "its addresses, comma-separated" },
	OPTS_SERVICE,
	{ "migrate", 0, "POOL=PERCENT", "move that share of the keys to a pool; or none" },
	{ "scheduler", 0, "NAME", "least-loaded, maglev or maglev-bounded" },
	{ "fail", 0, "WAY", "drop or reset, when no backend is left" },
	{ "quantum", 0, "PERCENT", "loads that differ by less count as equal" },
	{ "bound", 0, "PERCENT", "how far above the mean maglev-bounded goes" },
	{},
};
static const struct opt flow_opts[] = {
	{ "limit", 'n', "N", "at most N flows, 0 for all; default: 1000" },
	{ "count", 0, NULL, "only how many, by backend and state" },
	{},
};
static const struct opt flow_top_opts[] = {
	{ "by", 0, "WHAT", "latency, bytes or packets; default: latency" },
	{ "limit", 'n', "N", "at most N flows, 0 for all; default: 20" },
	{},
};
static const struct opt latency_opts[] = {
	{ "path", 0, "PATH", "only this path; with a service as a histogram" },
	{ "backends", 0, NULL, "by backend instead of by service" },
	{},
};

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
		.details = "No packet, counter, hot key or connection is lost. What commands changed by\n"
			   "hand goes back to what the configuration says. --dry-run needs no privileges.",
		.example = "weir reload -c weir.yaml",
	},
	{
		.noun = "run", .args = "-c FILE", .opts = run_opts, .run = cmd_run,
		.summary = "the agent: health checks, upkeep, and metrics over HTTP",
		.details = "Loads when nothing is loaded, else keeps what is. Runs until SIGTERM or Ctrl-C,\n"
			   "and leaves the programs at work. SIGHUP reloads FILE. Commands work beside it.\n"
			   "Answers /metrics, /healthz, /readyz and /api/v1/... at 127.0.0.1:9844.\n"
			   "With --json, a document a line for each change of a backend's health.",
		.example = "weir run -c /etc/weir.yaml",
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
		.noun = "top", .opts = top_opts, .run = cmd_top,
		.summary = "what happens right now, on the whole screen",
		.details = "1 to 5 or Tab: overview, backends, keys, reasons, flows. s sorts by the next\n"
			   "column, r reverses. Enter shows the chosen service alone, Backspace all again.\n"
			   "? explains, q quits. When nothing is loaded (any more), it waits.",
		.example = "weir top -d 2s\nweir top --once --json | jq '.services[] | [.name, .p99_seconds]'",
	},
	{
		.noun = "metrics", .opts = metrics_opts, .run = cmd_metrics,
		.summary = "what monitoring reads: Prometheus text, JSON, EMF, StatsD",
		.details = "docs/metrics.md has all names. --textfile replaces FILE at once, so that readers\n"
			   "never find half of it. EMF and StatsD add up what they are sent: with\n"
			   "--interval counters are what was added since the time before. --statsd alone\n"
			   "sends gauges only.",
		.example = "weir metrics --textfile /var/lib/prometheus/node-exporter/weir.prom\n"
			   "weir metrics --statsd 127.0.0.1:8125 --interval 10s",
	},
	{
		.noun = "doctor", .opts = doctor_opts, .run = cmd_doctor,
		.summary = "what this host lacks to run weir, and the fix",
		.details = "Changes nothing. Run it as root: without privileges some checks cannot be made.",
		.example = "weir doctor -i eth0",
	},
	{
		.noun = "service", .verb = "show", .args = "[NAME]", .opts = no_opts, .run = cmd_service_show,
		.max_args = 1,
		.summary = "addresses, pool, scheduler and packets of services",
		.example = "weir service show web",
	},
	{
		.noun = "service", .verb = "add", .args = "NAME VIP...", .opts = service_add_opts,
		.run = cmd_service_add, .min_args = 2, .max_args = -1,
		.summary = "add a service, until reload",
		.details = "By the rules of weir.yaml(5), whose keys the options are. Packets flow on.",
		.example = "weir service add web2 192.0.2.2:443 '[2001:db8::2]:443' -p web",
	},
	{
		.noun = "service", .verb = "set", .args = "NAME", .opts = service_set_opts,
		.run = cmd_service_set, .min_args = 1, .max_args = 1,
		.summary = "change a service or how its pool chooses, until reload",
		.details = "By the rules of weir.yaml(5). Connections stay where they are.",
		.example = "weir service set web --scheduler maglev-bounded --bound 25%\n"
			   "weir service set users --migrate users-new=10%",
	},
	{
		.noun = "service", .verb = "del", .args = "NAME", .opts = no_opts, .run = cmd_service_del,
		.min_args = 1, .max_args = 1,
		.summary = "take a service away, until reload",
		.details = "Its packets go to this host as if it had never been. Its pool stays.",
		.example = "weir service del web",
	},
	{
		.noun = "backend", .verb = "show", .args = "[NAME]", .opts = backend_show_opts,
		.run = cmd_backend_show, .max_args = 1,
		.summary = "state, load and traffic of backends",
		.details = "Load is active connections for the capacity, 1.00 being the mean of those in the\n"
			   "pool, or in the shard, that new connections go to. Packets and bytes are those\n"
			   "sent to it.",
		.example = "weir backend show -p web\n"
			   "weir backend show --json | jq '.backends[] | [.name, .active]'",
	},
	{
		.noun = "backend", .verb = "add", .args = "NAME ADDRESS[:PORT]", .opts = backend_add_opts,
		.run = cmd_backend_add, .min_args = 2, .max_args = 2,
		.summary = "add a backend to a pool, until reload",
		.example = "weir backend add -p web b5 10.0.0.15 --capacity 200",
	},
	{
		.noun = "backend", .verb = "set", .args = "NAME", .opts = backend_set_opts,
		.run = cmd_backend_set, .min_args = 1, .max_args = 1,
		.summary = "change a backend's capacity or role, until reload",
		.details = "Connections stay where they are.",
		.example = "weir backend set -p web b5 --capacity 50",
	},
	{
		.noun = "backend", .verb = "drain", .args = "NAME", .opts = drain_opts,
		.run = cmd_backend_drain, .min_args = 1, .max_args = 1,
		.summary = "give it no new connections, and keep the old",
		.details = "Says how many connections are left. With --wait, the exit status is 1 when there\n"
			   "still are some at the end of the time. `weir backend enable` ends it.",
		.example = "weir backend drain -p web b5 --wait=10m && weir backend del -p web b5",
	},
	{
		.noun = "backend", .verb = "enable", .args = "NAME", .opts = backend_opts,
		.run = cmd_backend_enable, .min_args = 1, .max_args = 1,
		.summary = "let it take connections again",
		.example = "weir backend enable -p web b5",
	},
	{
		.noun = "backend", .verb = "disable", .args = "NAME", .opts = backend_opts,
		.run = cmd_backend_disable, .min_args = 1, .max_args = 1,
		.summary = "send it nothing: its connections move at once",
		.example = "weir backend disable -p web b5",
	},
	{
		.noun = "backend", .verb = "del", .args = "NAME", .opts = backend_del_opts,
		.run = cmd_backend_del, .min_args = 1, .max_args = 1,
		.summary = "take it out of its pool, until reload",
		.details = "One that has connections needs --force: they move to other backends, which know\n"
			   "nothing of them. `weir backend drain --wait` lets them end first.",
		.example = "weir backend del -p web b5",
	},
	{
		.noun = "flow", .verb = "show", .args = "[FILTER...]", .opts = flow_opts, .run = cmd_flow_show,
		.max_args = -1,
		.summary = "the connections in the flow table, live",
		.details = "All FILTERs must hold, each may be there once:\n"
			   "  backend=NAME pool=NAME service=NAME\n"
			   "  client=ADDRESS  or a network; of IPv6 clients only the last 32 bits are\n"
			   "                  known, shown as *:1234:5678\n"
			   "  port=N          the client's\n"
			   "  state=STATE     open, udp, closing, half-open, closed, found (without its\n"
			   "                  beginning, a moment ago), resting (open when its backend\n"
			   "                  went down, and no packet since), or reset (said to be, a\n"
			   "                  moment ago or by its last packet)\n"
			   "  family=4 or 6, proto=tcp or udp\n"
			   "  idle>DURATION idle<DURATION  since the last packet; quote them",
		.example = "weir flow show backend=b5 state=open 'idle>5m'\nweir flow show --count",
	},
	{
		.noun = "flow", .verb = "top", .args = "[FILTER...]", .opts = flow_top_opts,
		.run = cmd_flow_top, .max_args = -1,
		.summary = "the slowest or the busiest flows, of those measured",
		.details = "FILTERs are those of `weir flow show`. By latency: the smoothed time from a\n"
			   "request to its answer. Packets and bytes are the client's. rtt-srv and rtt-cl\n"
			   "are smoothed round trips to server and client. - is what was not measured (yet).",
		.example = "weir flow top backend=b5\nweir flow top --by bytes -n 5 service=web",
	},
	{
		.noun = "latency", .verb = "show", .args = "[SERVICE]", .opts = latency_opts,
		.run = cmd_latency_show, .max_args = 1,
		.summary = "how long requests, connects and round trips take",
		.details = "Counted since load. Says of each path what it measures, how flows are sampled,\n"
			   "and how exact the quantiles are.",
		.example = "weir latency show web --path request\nweir latency show --backends",
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
		.noun = "cache", .verb = "why", .args = "KEY", .opts = why_opts, .run = cmd_cache_why,
		.min_args = 1, .max_args = 1,
		.summary = "say why a key is in the hot set or not, and what it lacks",
		.details = "What misses say of a key, and whether it was refused, the agent knows, and is asked\n"
			   "by HTTP. Without one this is what the maps tell.",
		.example = "weir cache why user:1\nweir cache why user:1 --service sessions --json",
	},
	{
		.noun = "cache", .verb = "policy", .args = "show [NAME]", .opts = policy_opts, .run = cmd_cache_policy,
		.min_args = 1, .max_args = 2,
		.summary = "show warming policies and their last runs",
		.details = "The last runs of each: how many keys, from where, how long it took, what was left out.",
		.example = "weir cache policy show\nweir cache policy show boot --json",
	},
	{
		.noun = "cache", .verb = "export", .opts = export_opts, .run = cmd_cache_export,
		.summary = "print the hot set as a warming list, the most hit first",
		.details = "A list in JSON Lines. Without --values it names keys, whose values the importing host\n"
			   "fetches from its own origin.",
		.example = "weir cache export --top 1000 -o hot.jsonl\nweir cache export | ssh edge2 weir cache import -",
	},
	{
		.noun = "cache", .verb = "import", .args = "LIST...", .opts = warm_opts, .run = cmd_cache_warm,
		.min_args = 1, .max_args = -1,
		.summary = "take over an exported list; as `cache warm`",
		.example = "weir cache import hot.jsonl",
	},
	{
		.noun = "cache", .verb = "put", .args = "KEY VALUE", .opts = put_opts, .run = cmd_cache_put,
		.min_args = 2, .max_args = 2,
		.summary = "put one key into the hot set",
		.details = "The origin does not learn of it: a copy lives here until its TTL ends.",
		.example = "weir cache put user:1 hello --ttl 30s",
	},
	{
		.noun = "cache", .verb = "drop", .args = "[KEY...]", .opts = drop_opts,
		.run = cmd_cache_drop, .max_args = -1,
		.summary = "take keys out of the hot set",
		.details = "For values that changed at the origin, too: lookups of them go there at once,\n"
			   "and what is being fetched at this moment is not published. The exit status is\n"
			   "1 when a KEY was not there.",
		.example = "weir cache drop user:1 user:2\n"
			   "weir cache drop --prefix catalogue: --reason import-42",
	},
	{
		.noun = "cache", .verb = "flush", .opts = flush_opts, .run = cmd_cache_flush,
		.summary = "take all keys out of the hot set",
		.example = "weir cache flush --service sessions",
	},
	{},
};
