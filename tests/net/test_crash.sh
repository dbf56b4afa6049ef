#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# Commands that are killed at any moment: the next one works or cleans up, and nothing is ever left that
# `weir unload` does not take away.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
net_yaml 2000 >$YAML
net_yaml 3000 >other.yaml
for i in $(seq 1 1500); do echo "key$i,value$i"; done >hot.csv

# Runs `weir ARGUMENT...`, and kills it after MS milliseconds, if it still runs. 137: it did.
killed_after() # MS ARGUMENT...
{
	local s
	s=$(($1 / 1000)).$(printf %03d $(($1 % 1000)))
	shift
	lab_in server timeout -s KILL "$s" "$WEIR" "$@" >/dev/null 2>&1
}

# How many ms the command takes when nothing happens to it: moments to kill at are spread over that.
took() # ARGUMENT...
{
	local t=${EPOCHREALTIME/./}
	weir "$@" >/dev/null 2>&1
	echo $(((${EPOCHREALTIME/./} - t) / 1000 + 1))
}

# Kills the command at RUNS moments spread over its time, other ones each time this test runs; afterwards
# CHECK must succeed. Where it was quicker than measured, the moments move forward, until one has met it.
kill_often() # RUNS PREPARE CHECK ARGUMENT...
{
	local runs prepare=$2 check=$3 i ms at bad=0 killed=0
	runs=$(rounds "$1")
	shift 3
	$prepare >/dev/null 2>&1
	ms=$(took "$@")
	for ((i = 0; i < runs || killed == 0 && i < 5 * runs; i++)); do
		$prepare >prepare.out 2>&1 || { echo "preparing: $(cat prepare.out)"; bad=1; }
		at=$((1 + (i % runs * ms + RANDOM % ms) / runs))
		killed_after $at "$@"
		[ $? = 137 ] && killed=$((killed + 1)) || ms=$at
		$check >check.out 2>&1 || { echo "killed after $at ms: $(cat check.out)"; bad=1; }
	done
	echo "$killed of $i were killed, the last at $at ms"
	[ $bad = 0 ] && [ $killed -gt 0 ]
}

fresh() { weir unload && [ -z "$(leftovers)" ]; }
loaded() { weir unload && weir_load && weir cache warm -q hot.csv; }
unloads() { weir unload && left=$(leftovers) && [ -z "$left" ] || { echo "left: $left"; false; }; }
loads()
{
	weir load -q -c $YAML || [[ $(weir load -c $YAML 2>&1) == *"already loaded"* ]] || return 1
	weir status && unloads
}
tap_ok "load killed anywhere: unload leaves nothing" kill_often 9 fresh unloads load -c $YAML
tap_ok "load killed anywhere: the next load works, or the killed one had" kill_often 5 fresh loads load -c \
	$YAML
tap_ok "unload killed anywhere: unload leaves nothing" kill_often 6 loaded unloads unload
tap_ok "unload killed anywhere: the next load works" kill_often 4 loaded loads unload

# A killed reload or warming: packets are still answered, the next of its kind works, all keys stay.
reloads_again()
{
	[ "$(ask 'get key1' 'get key1500')" = 'VALUE key1 0 6\r\nvalue1\r\nEND\r\n
VALUE key1500 0 9\r\nvalue1500\r\nEND\r\n' ] || { ask 'get key1' 'get key1500'; weir stats; return 1; }
	weir reload -q -c $YAML && weir status && [ "$(of_json "d['matched']" weir cache show --json)" = 1500 ]
}
ready() { weir status || loaded; }
tap_ok "reload killed anywhere: keys are answered, the next reload works" kill_often 6 ready reloads_again \
	reload -c $YAML
resized() { weir reload -q -c $YAML && weir cache warm -q hot.csv; }
loaded >/dev/null
tap_ok "reload of another size too" kill_often 7 resized reloads_again reload -c other.yaml
tap_ok "  and unload leaves nothing" kill_often 4 loaded unloads reload -c other.yaml
emptied() { weir cache flush || loaded; }
warms_again()
{
	weir cache warm -q hot.csv && [ "$(of_json "d['matched']" weir cache show --json)" = 1500 ] && weir status &&
		[ "$(ask 'get key1500')" = 'VALUE key1500 0 9\r\nvalue1500\r\nEND\r\n' ]
}
loaded >/dev/null
tap_ok "cache warm killed anywhere: the next one works" kill_often 20 emptied warms_again cache warm hot.csv
# Slots that were replaced and not yet freed are found again: the hot set does not leak full.
usage() { of_json "d['cache']['used_bytes']" weir status --json; }
before=$(usage)
for ((i = 1; i <= $(rounds 20); i++)); do
	sed "s/value/other$i/" hot.csv >changed.csv
	killed_after $((2 + i)) cache warm -q changed.csv
done
weir cache warm -q hot.csv >/dev/null
tap_is "no room is lost by killed rewrites" "$(usage)" "$before"
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""
tap_done
