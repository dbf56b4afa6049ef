#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# Thousands of made-up requests to one memcached, directly and through Weir: replies are the same,
# byte for byte. SEED=N repeats a run, COUNT=N changes its length.

. "$(dirname "$0")/../../scripts/lab.sh"
lab_start "$@"

lab_netns client
lab_netns server
lab_link client eth0 server eth0
lab_addr client eth0 10.7.0.2/24 fd07::2/64
lab_addr server eth0 10.7.0.1/24 10.7.0.3/24 fd07::1/64 fd07::3/64
lab_native_peer client eth0
# Each address has a socket of its own; with one thread, requests to one are answered in order.
lab_bg cache lab_in server memcached -u root -t 1 -p 11211 -U 11211 \
	-l '10.7.0.1,10.7.0.3,[fd07::1],[fd07::3]'
lab_wait_port server 11211 udp || lab_die "memcached does not start: $(cat $LAB_DIR/cache.log)"

cat >$LAB_DIR/weir.yaml <<YAML
interfaces: [{name: eth0}]
cache: {capacity: 1000, memory: 8M}
services:
  - name: cache
    vips: ["10.7.0.1:11211", "[fd07::1]:11211"]
    clients: [10.7.0.0/24, "fd07::/64"]
    origin: 10.7.0.3:11211
    ttl: never
YAML

# 5, degraded: without a dispatcher, and why not.
load()
{
	lab_in server "$WEIR" load -q -c $LAB_DIR/weir.yaml || [ $? = 5 ]
}
tap_ok "weir is loaded" load

reason() # NAME: its packets
{
	lab_in server "$WEIR" stats --json |
		python3 -c "import json, sys; print(json.load(sys.stdin)['services'][0]['reasons']['$1']['packets'])"
}

differential() # reads|writes SEED COUNT WEIR DIRECT
{
	lab_in client python3 "$LAB_ROOT/tests/net/differential.py" "$1" ${2:+--seed "$2"} --count "$3" \
		--weir "$4:11211" --direct "$5:11211" --tcp 10.7.0.3:11211 --keys $LAB_DIR/keys \
		--warm "nsenter --net=/run/netns/server -- $WEIR cache warm -q $LAB_DIR/keys"
}

# What the run printed is shown also when all went well. At least PERCENT of what it compared were hits.
compare() # SENTENCE PERCENT ARGUMENT-OF-differential...
{
	local sentence=$1 percent=$2 out status hits sent
	shift 2
	hits=$(reason hit)
	out=$(differential "$@" 2>&1)
	status=$?
	echo "$out"
	tap_result "$sentence" $status
	hits=$(($(reason hit) - hits))
	sent=$(sed -n 's/^# [0-9]* differences in \([0-9]*\)$/\1/p' <<<"$out")
	tap_note "$hits of ${sent:-0} were answered by Weir"
	tap_ok "  and at least $percent% of them were answered by Weir" \
		[ $((hits * 100)) -ge $((${sent:-0} * percent + 1)) ]
}

count=${COUNT:-$(rounds 2000)}
compare "IPv4: lookups are answered as memcached answers them" \
	15 reads "${SEED:-}" "$count" 10.7.0.1 10.7.0.3
compare "IPv6: lookups are answered as memcached answers them" \
	15 reads "${SEED:-}" "$((count / 4))" '[fd07::1]' '[fd07::3]'
compare "after a write through Weir, lookups find what was written" \
	2 writes "${SEED:-}" "$((count / 5))" 10.7.0.1 10.7.0.3
tap_is "no frame was left half written" "$(reason aborted)" 0
tap_done
