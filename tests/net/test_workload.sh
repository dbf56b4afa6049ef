#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# Whether the hot set follows the traffic, with real packets: 100,000 items in a memcached, clients that ask for them
# by Zipf's law, and an agent that promotes. (The same with a million keys, in simulated time, and with closer bounds:
# tests/user/test_workload.c.)

. "$(dirname "$0")/common.sh"
[ $SLOWER = 1 ] || tap_skip_all "it takes a rate that an emulated machine does not reach"
LOAD=$WEIR_BUILD/bench/load
[ -x "$LOAD" ] || tap_skip_all "$LOAD is not built"
net_start "$@"
cd $LAB_DIR || exit 1

KEYS=100000
TOP=200
WINDOW=10
RATE=20000 # two hundred thousand lookups in a window: the last of the top has eighty of them
CLOCK=$(getconf CLK_TCK)

load() # OPTION... WORD
{
	lab_in client "$LOAD" -k $KEYS "$@" 10.7.0.1 11211
}

counts() # hits and misses so far
{
	of_json "'%d %d' % tuple(d['services'][0]['reasons'].get(r, {'packets': 0})['packets'] for r in ('hit', 'miss'))" \
		weir stats --json --all
}

metric() # SERIES
{
	lab_in server curl -sS -m 5 http://127.0.0.1:9844/metrics | sed -n "s/^$1 //p"
}

# Of the agent and its loader, in seconds.
agent_cpu()
{
	local pid p ticks=0
	pid=$(lab_pid agent)
	for p in $pid $(cat "/proc/$pid/task/$pid/children"); do
		ticks=$((ticks + $(sed 's/.*) //' "/proc/$p/stat" | awk '{ print $12 + $13 }')))
	done
	awk "BEGIN { printf \"%.2f\", $ticks / $CLOCK }"
}

# Traffic for SECONDS; then PART is what the hits were of the ideal's. TOTAL grows by the lookups.
SEED=0
TOTAL=0
traffic() # SECONDS [OPTION...]
{
	local seconds=$1 hits misses hits2 misses2 asked ideal
	shift
	SEED=$((SEED + 1))
	read -r hits misses <<<"$(counts)"
	load -z 0.99 -t $TOP -r $RATE -s "$seconds" -n $SEED "$@" ask >traffic.json || lab_die "load"
	read -r hits2 misses2 <<<"$(counts)"
	read -r asked ideal <<<"$(of_file $LAB_DIR/traffic.json "'%d %.4f' % (d['asked'], d['ideal'] / d['asked'])")"
	HIT_RATIO=$(awk "BEGIN { h = $hits2 - $hits; m = $misses2 - $misses; printf \"%.4f\", h / (h + m) }")
	PART=$(awk "BEGIN { printf \"%.3f\", $HIT_RATIO / $ideal }")
	TOTAL=$((TOTAL + asked))
	tap_note "hit ratio $HIT_RATIO, ideal $ideal: $PART of it; $TOTAL lookups so far, $asked in $seconds s"
}

at_least() # PART
{
	awk "BEGIN { exit !($PART >= $1) }"
}

# Seconds of traffic until a second's hits are PART of the ideal's.
until_part() # PART MOST [TRAFFIC-OPTION...]
{
	local part=$1 most=$2 begin=$TOTAL
	shift 2
	for ((TOOK = 1; TOOK <= most; TOOK++)); do
		traffic 1 "$@"
		at_least "$part" && break
	done
	tap_note "after $((TOTAL - begin)) lookups, in second $TOOK"
}

net_yaml 1000 "promote: {min_hits: 30, window: ${WINDOW}s, top: $TOP}" |
	sed 's/memory: 4M/memory: 4M, sample: 4/' >$YAML
load fill || lab_die "cannot fill memcached"
lab_bg agent lab_in server "$WEIR" run -c $YAML
tap_ok "an agent begins to promote" lab_wait_for 20 grep -q "at work on .*, generation 1" agent.log
CPU=$(agent_cpu)
CPU_SINCE=$EPOCHREALTIME

### From nothing, and then

until_part 0.9 $WINDOW
tap_ok "90% of the ideal hit ratio within a window" [ $TOOK -le $WINDOW ]
traffic $((WINDOW / 2))
traffic 4
tap_ok "it stays so" at_least 0.9
tap_ok "no more than top are held" [ "$(metric 'weir_promoted_keys{service="cache"}')" -le $TOP ]

### Keys that come once

BEFORE=$PART
ASKED=$(metric 'weir_promotions_total{service="cache"}')
traffic 3 -o 0.3
# Of all lookups, those that come once included, on both sides.
tap_ok "keys that come once, three of ten, do not cost more than 5% of it" \
	at_least "$(awk "BEGIN { print 0.95 * $BEFORE }")"
tap_note "$(($(metric 'weir_promotions_total{service="cache"}') - ASKED)) promoted meanwhile"

### A flash crowd

traffic 1 -f 0.2
traffic 1 -f 0.2
tap_ok "a key that gets a fifth of the traffic at once is held at once" at_least 0.9
tap_is "it is that key" "$(of_json "d['verdict']" weir cache why flash --json -q)" held

### Others

until_part 0.9 $WINDOW -x 50000
tap_ok "when all others are asked for, 90% of the ideal again within a window" [ $TOOK -le $WINDOW ]

CPU=$(awk "BEGIN { printf \"%.2f\", $(agent_cpu) - $CPU }")
ELAPSED=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $CPU_SINCE }")
SHARE=$(awk "BEGIN { printf \"%.3f\", $CPU / $ELAPSED }")
tap_note "the agent took $CPU s of CPU in $ELAPSED s: $SHARE of a core; $TOTAL lookups"
tap_ok "the agent takes less than a tenth of a core" awk "BEGIN { exit !($SHARE < 0.1) }"
tap_is "no sample was lost" "$(metric 'weir_miss_samples_total{result="lost"}')" 0

tap_done
