#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# Linearizable, with a real memcached, real TCP and all that fills the hot set: no read is older than a write that was
# acknowledged before it began, nor than what an earlier read saw. coherence.py has the clients and the checker.
# SEED=N makes other choices, among which are some that leave no pause long enough for a hit, so that a row proves nothing
# and fails; SECONDS_EACH=N takes longer; ROWS=REGEX leaves rows out.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
EACH=${SECONDS_EACH:-4}
BASE=0 # of versions
SEED=${SEED:-3}
FROM=client TARGETS=(10.7.0.1:11211 '[fd07::1]:11211')
seq -f 'k%.0f' 0 47 >hot.txt
seq -f 'c%.0f' 0 3 >>hot.txt
tap_note "SEED=$SEED"

coherence_yaml() # [CONNECTIONS [CAPACITY]]
{
	net_yaml "${2:-1000}" 'ttl: 30s' 'promote: {min_hits: 2, window: 10s, top: 1000, stay_out: 1s}' |
		sed "s/memory: 4M/memory: 8M, sample: 1, connections: ${1:-16K}/; s/{name: eth0}/&, {name: eth1}/
			s|clients: \[|&10.8.0.0/24, |"
}

loads() # [CONNECTIONS]
{
	weir unload >/dev/null 2>&1
	coherence_yaml "$@" >$YAML
	weir_load >/dev/null 2>&1
}

agent_up()
{
	lab_bg agent lab_in server "$WEIR" run -c $YAML
	lab_wait_for 10 grep -q 'at work on' agent.log
}

# `weir cache warm` again and again: what was written less than two seconds ago it waits for.
warm_loop()
{
	lab_bg warm lab_in server sh -c "while :; do '$WEIR' cache warm -q hot.txt; sleep 0.05; done"
}

# Clients that are there, with all keys set, and wait.
clients() # OPTION...
{
	rm -f log*
	lab_bg clients lab_in $FROM "${PYTHON[@]}" "$NET_DIR/coherence.py" log "${TARGETS[@]}" --seed "$SEED" \
		--seconds "$EACH" --base $BASE "$@"
	BASE=$((BASE + 100000))
	lab_wait_for 20 test -e log.ready || tap_note "clients do not start: $(cat clients.log)"
}

go()
{
	HITS=$(reason hit) UNSURE=$(reason tcp_unsure)
	: >log.go
}

over()
{
	wait "$(lab_pid clients)"
	unset 'LAB_PIDS[clients]'
	HITS=$(($(reason hit) - HITS)) UNSURE=$(($(reason tcp_unsure) - UNSURE))
}

told() # EXPRESSION
{
	of_file $LAB_DIR/clients.log "$1"
}

sound() # [WITHOUT-HITS]
{
	of_file $LAB_DIR/clients.log "json.dumps(d, indent=1)"
	[ "$(told "d['violations'] == 0 and d['faults'] == [] and d['writes'] > 20 and d['reads'] > 200")" = true ] &&
		{ [ "$HITS" -gt 0 ] || [ -n "${1:-}" ]; }
}

# One row: what fills, what the clients do, what happens meanwhile.
row() # SENTENCE FILLERS DISTURB OPTION...
{
	local sentence=$1 fill=$2 disturb=$3 f
	shift 3
	[[ $sentence =~ ${ROWS:-.} ]] || return 0
	for f in $fill; do
		[ "$f" = agent ] && agent_up || warm_loop
	done
	clients "$@"
	go
	$disturb
	over
	lab_stop agent
	lab_stop warm
	tap_ok "$sentence" sound ${WITHOUT_HITS:-}
	tap_note "$(told "'{reads} reads, $HITS hits, {writes} writes, {unknown} unknown'.format(**d)")," \
		"$UNSURE segments unsure"
}

after() # PART-OF-THE-TIME
{
	lab_nap "$(awk "BEGIN { print $1 * $EACH }")"
}

# Other clients, with a wire between that loses, delays and doubles.
lab_netns segment
lab_netns far
lab_link far eth0 segment far
lab_link segment near server eth1
lab_addr far eth0 10.8.0.2/24
lab_addr server eth1 10.8.0.1/24
ip -n far route add 10.7.0.0/24 via 10.8.0.1
lab_native_peer segment near
lab_bg wire lab_in segment "${PYTHON[@]}" "$NET_DIR/latency.py" wire far near 0.001 2 10 --duplicate 2

coherence_yaml >$YAML
tap_ok "load" weir_load
clients --seconds 0
go
over
tap_ok "all keys are hot at first" weir cache warm -q hot.txt
row "all ways at once, an agent and a command fill" "agent warm" true --slow
row "writers over TCP" agent true --writers tcp,tcp-binary,tcp,tcp
row "writers over UDP" agent true --writers udp,udp-binary,udp,udp

FROM=far TARGETS=(10.7.0.1:11211)
row "loss, duplicates, other orders" agent true --cas-only --timeout 0.1 --tiny 0.02
FROM=client TARGETS=(10.7.0.1:11211 '[fd07::1]:11211')

kill_agent()
{
	for _ in 1 2 3; do
		lab_nap 1.5
		lab_stop agent KILL
		agent_up
	done
}
row "the agent killed, and started again" "agent warm" kill_agent --seconds "$(awk "BEGIN { print $EACH + 2 }")"

reloads()
{
	local i
	for i in 1 2 3 4; do
		after 0.2
		coherence_yaml 16K $((1000 + 500 * (i % 2))) >$YAML
		weir reload -q -c $YAML >/dev/null 2>&1 || tap_note "reload: $?"
	done
}
row "reloads" agent reloads

stop_memcached()
{
	after 0.4
	kill -STOP "$(lab_pid cache)"
	lab_nap 3
	kill -CONT "$(lab_pid cache)"
}
row "memcached stops for three seconds" agent stop_memcached --seconds "$(awk "BEGIN { print $EACH + 3 }")"

row "flush_all now and then" "agent" true --counters 0 --flush 2.2

# Connections that Weir did not see beginning.
weir unload >/dev/null
clients
loads
agent_up
go
over
lab_stop agent
tap_ok "connections that were there before it was loaded" sound without-hits
tap_ok "  are fenced" [ "$UNSURE" -gt 0 ]

# More connections than are followed.
loads 256
lab_bg many lab_in client "${PYTHON[@]}" -c '
import socket, time
socks = [socket.create_connection(("10.7.0.1", 11211)) for _ in range(600)]
for s in socks:
    s.send(b"get k1\r\n")
print("there", flush=True)
time.sleep(1000)'
lab_wait_for 20 grep -q there many.log
WITHOUT_HITS=1 row "more connections than are followed" agent true
lab_stop many

# The checker finds what is wrong: here TCP is not followed.
loads 0
agent_up
clients --writers tcp,tcp-binary --pause 1-4
go
over
lab_stop agent
found()
{
	told "json.dumps(d, indent=1)"
	[ "$(told "d['violations'] > 0 and d['faults'] == []")" = true ] && [ "$HITS" -gt 0 ]
}
tap_ok "where TCP is not followed, old values are found" found
tap_note "$(told "'%d of %d reads, $HITS hits' % (d['violations'], d['reads'])")"
tap_done
