#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# The agent keeps hot copies: refreshed before they expire, fetched again after a write, from a replica when the
# origin hangs; beside commands, and killed in the middle.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1

TTL=$((4 * SLOWER))
REPLICA=127.0.0.1:11311

refresh_yaml() # LINE-OF-THE-SERVICE...
{
	net_yaml 5000 "ttl: ${TTL}s" "$@"
}

agent_start()
{
	lab_bg agent lab_in server "$WEIR" run -c $YAML
	lab_wait_for 20 grep -q 'at work on' agent.log
}

# Killed: the programs go on without it until the lease ends.
agent_kill()
{
	lab_stop agent KILL
}

# In the server's namespace: nothing that passes eth0.
store() # PORT-OF-127.0.0.1-OR-10.7.0.1 LINE...
{
	lab_in server "${PYTHON[@]}" "$NET_DIR/client.py" tell "$@" >/dev/null
}

warmed() # KEYS...
{
	printf '%s\n' "$@" | weir cache warm -q - >/dev/null
}

# The hot keys are asked for, over and over.
asking()
{
	lab_bg loop lab_in client "${PYTHON[@]}" "$NET_DIR/client.py" loop $MEMCACHED "$1"
}

not_answered()
{
	echo $(($(reason miss) + $(reason expired) + $(reason fenced)))
}

value() # KEY
{
	of_json "d['value']" weir cache get "$1" --json
}

is_value() # KEY WANT
{
	[ "$(value "$1")" = "$2" ]
}

state()
{
	of_json "d['state']" weir cache get "$1" --json
}

is_state() # KEY WANT
{
	[ "$(state "$1")" = "$2" ]
}

healthy()
{
	[ "$(lab_in server curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9844/healthz)" = 200 ] &&
		[ "$(of_json "(d['lease']['remaining_seconds'] or 0) > 1" weir status --json)" = true ]
}

all_hit()
{
	[ "$(of_json "all(k['state'] == 'hit' for k in d['keys'])" weir cache show --json 'h?')" = true ]
}

gone() # KEY
{
	! weir cache get "$1"
}

### Refreshed

refresh_yaml "replicas: [\"$REPLICA\"]" >$YAML
agent_start
mapfile -t hot < <(seq -f 'h%g' 1 10)
mapfile -t cold < <(seq -f 'c%g' 1 10)
for k in "${hot[@]}" "${cold[@]}"; do
	printf 'set %s 0 0 3\nold\n' "$k"
done >items
mapfile -t items <items
store $MEMCACHED "${items[@]}"
warmed "${hot[@]}" "${cold[@]}"
asking "$(IFS=,; echo "${hot[*]}")"
sleep 1
before=$(not_answered) hits=$(reason hit)
sleep $((3 * TTL))
tap_is "over three TTLs hot keys are never missed" "$(($(not_answered) - before))" 0
tap_ok "  and were asked for a lot" [ "$(($(reason hit) - hits))" -gt 200 ]
tap_is "those that nobody asked for have expired" "$(state c1) $(state c10)" 'expired expired'
store $MEMCACHED 'set h1 0 0 3' 'new'
before=$(not_answered)
tap_ok "a write that nobody saw is found out when the copy is refreshed" \
	lab_wait_for $((2 * TTL / SLOWER)) is_value h1 new
tap_is "  with no miss" "$(($(not_answered) - before))" 0
ask 'set h2 0 0 4\r\nseen' >/dev/null
tap_is "a write that passes fences the copy" "$(state h2)" fenced
tap_ok "  and it is fetched again" lab_wait_for $((6 + 2 * TTL / SLOWER)) is_state h2 hit
tap_is "  as it was written" "$(value h2)" seen
store $MEMCACHED 'delete h3'
tap_ok "what the origin no longer has is no longer held" lab_wait_for $((3 * TTL / SLOWER)) gone h3

store $MEMCACHED 'set h3 0 0 3' 'old'
warmed h3

### Beside commands

by_hand()
{
	for i in $(seq 1 20); do
		weir cache put "hand$i" value >/dev/null || return 1
		warmed "${hot[@]:4}" || return 1
		weir cache drop "hand$i" >/dev/null || return 1
	done
}
before=$(not_answered) hits=$(reason hit)
tap_ok "commands write beside it" by_hand
missed=$(($(not_answered) - before)) hits=$(($(reason hit) - hits))
tap_ok "  and hot keys are hardly missed, though the lock is contended ($missed of $hits)" \
	[ $((missed * 50)) -lt $hits ]

### The origin hangs, and the replica does not

lab_bg replica lab_in server memcached -u root -t 1 -p 11311 -U 0 -l 127.0.0.1
lab_wait_port server 11311 tcp
for k in "${hot[@]}"; do
	printf 'set %s 0 0 7\nreplica\n' "$k"
done >items
mapfile -t items <items
store $REPLICA "${items[@]}"
kill -STOP "$(lab_pid cache)"
tap_ok "the origin hangs: copies come from the replica" lab_wait_for $((3 * TTL / SLOWER)) is_value h5 replica
tap_ok "  and the loop goes on: the lease, HTTP" healthy
kill -STOP "$(lab_pid replica)"
sleep $((TTL + TTL / 4))
tap_ok "both hang: the loop goes on" healthy
tap_is "  and copies expire" "$(state h5)" expired
kill -CONT "$(lab_pid replica)"
kill -CONT "$(lab_pid cache)"
tap_ok "both are back: what was hot is fetched again" lab_wait_for $((20 + 2 * TTL / SLOWER)) all_hit
lab_stop replica

### Killed

killed_and_whole()
{
	local keys
	seq -f 'set k%g 0 0 5' 1 2000 | sed 's/$/\nvalue/' >items
	mapfile -t items <items
	store $MEMCACHED "${items[@]}"
	for i in 1 2 3; do
		seq -f 'k%g' 1 2000 | weir cache warm -q - >/dev/null || return 1
		# Each fenced, and hot: the agent has much to do.
		sleep 0.$((RANDOM % 9 + 1))
		agent_kill
		weir cache put "after$i" value >/dev/null || return 1
		keys=$(of_json "d['cache']['keys']" weir status --json)
		[ "$keys" -ge 2000 ] || return 1
		agent_start || return 1
	done
}
killed_and_whole 2>killed.err # not in a subshell: lab_bg would be forgotten
tap_is "killed three times while it fills, the hot set is whole, and commands write" $? 0
tap_ok "the next agent goes on" lab_wait_for $((10 + 3 * TTL / SLOWER)) all_hit
sleep $TTL # what was about to expire when it came may have
before=$(not_answered)
sleep $((2 * TTL))
tap_is "  from the next TTL on with no miss" "$(($(not_answered) - before))" 0

### Not wanted

refresh_yaml "refresh: false" >$YAML
tap_ok "told not to refresh" weir reload -q -c $YAML
tap_ok "  copies expire" lab_wait_for $((5 * TTL / SLOWER)) is_state h5 expired
lab_stop loop
tap_ok "it ends when told to" lab_stop agent
tap_done
