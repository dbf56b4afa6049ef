#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.18
#
# Backends that die and come back while clients are served, with the agent at work: how long it takes, what
# becomes of their connections, and what of the others. And the agent's own death.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1
nginx_all

INTERVAL=$((200 * SLOWER)) # ms, and the time-out
health_yaml() # [POOL-LINE...]
{
	steer_yaml "check: {type: http, interval: ${INTERVAL}ms, timeout: ${INTERVAL}ms, rise: 2, fall: 2}" \
		'fail: reset' "$@"
}
CHURN=$((SLOWER == 1 ? 100 : 6)) # new connections a second, most of what this test costs where all is emulated
# From the death to the second failure in a row: two intervals, 10% more or less, and a time-out.
WITHIN=$((INTERVAL * 32 / 10 + 200 * SLOWER))

is_health() # NAME WANT
{
	[ "$(backends "b['$1']['health']")" = "$2" ]
}

all_are() # HEALTH
{
	[ "$(backends "sorted({x['health'] for x in b.values()})")" = "[\"$1\"]" ]
}

health_yaml >$YAML
agent_start
lab_wait_for 20 all_are up || lab_die "the agent finds nothing up: $(cat agent.log)"
tap_ok "the agent loads, and finds all backends up" all_are up
neighbours

# Milliseconds from T0 until the agent says so, as its log has it: looked at each 10 ms.
down_after() # BACKEND T0
{
	lab_wait_for 10 grep -q "backend $1 down" agent.log || { echo never; return; }
	of_json "round(1000 * (d - $2))" uptime_s
}

under_load()
{
	local what
	for what in held held6 churn; do
		lab_stop $what
	done
	load_start held c1 hold $VIP:80 80
	load_start held6 c2 hold "[$VIP6]:80" 40
	load_start churn c3 --keep 0.5 churn $VIP:80 $CHURN
	load_wait held opened && load_wait held6 opened
	HELD=$(told held "d['backends']") HELD6=$(told held6 "d['backends']")
}

# How many of those that were opened then are a backend's: of_held 'd["b1"]'
of_held() # EXPRESSION [held6]
{
	of_json "$1" echo "$([ "${2:-}" = held6 ] && echo "$HELD6" || echo "$HELD")"
}

### The server is killed: its kernel tells clients

under_load
t0=$(uptime_s)
lab_stop b1 KILL
took=$(down_after b1 "$t0")
tap_note "down after $took ms"
tap_ok "a server is killed: its backend is down within $WITHIN ms" [ "$took" -le $WITHIN ]
load_signal churn USR1 churn
tap_like "  until then some are refused, or closed by it" "$(told churn "sorted(d['errors'])")" \
	'^\[("closed")?(, )?("refused")?(, )?("reset")?\]$'
tap_note "$(told churn "('no error' if d['last_error'] is None else
	'the last error %.0f ms after' % (1000 * (d['last_error'] - $t0)))")"
sleep 1
load_signal churn USR1 churn
none_failed "  then none" churn $((20 * 2 / (1 + SLOWER)))
tap_is "  none goes there" "$(told churn "d['backends'].get('b1', 0)")" 0
load_signal held USR1 asked
tap_is "  its open connections are gone, the others are not" "$(told held "d['ok'], d['failed']")" \
	"$(of_held "80 - d['b1'], d['b1']")"
nginx_start b1
tap_ok "it comes back" lab_wait_for 10 is_health b1 up
sleep 1
load_signal churn USR1 churn
none_failed "  nobody notices" churn
tap_ok "  but it takes new ones" [ "$(told churn "d['backends'].get('b1', 0)")" -gt $((CHURN / 20)) ]

### The host is gone: silence

under_load
# Longer than it takes to be noticed.
if [ $SLOWER = 1 ]; then
	load_start put c2 --transfer-timeout 10 --pause 0.05 put $VIP:80 24 7000000
else
	load_start put c2 --transfer-timeout 30 --pause 1 put $VIP:80 8 1200000
fi
load_wait put started
sleep 0.3
cable b2 down
t0=$(uptime_s)
load_signal churn USR1 churn
tap_note "before: $(told churn "d['errors']")"
took=$(down_after b2 "$t0")
tap_note "down after $took ms"
tap_ok "a host is gone: its backend is down within $WITHIN ms" [ "$took" -le $WITHIN ]
sleep $((SLOWER == 1 ? 3 : 8)) # their third attempt, if they began when it was gone, and it took $WITHIN ms
load_signal churn USR1 churn
none_failed "  no new connection fails: their next attempt goes elsewhere" churn $((50 * 2 / (1 + SLOWER)))
tap_note "$(told churn "'%d took longer than half a second, the longest %.2f s' % (d['slow'], d['longest'])")"
tap_ok "  in little more than a second" [ "$(told churn "d['longest'] < 1.5 * $SLOWER")" = true ]
load_signal held USR1 asked
tap_is "  its open connections are reset, the others are not" "$(told held "d['ok'], d['errors']")" \
	"$(of_held "80 - d['b2'], {'reset': d['b2']}")"
load_signal held6 USR1 asked
tap_is "  over IPv6, too" "$(told held6 "d['ok'], d['errors']")" \
	"$(of_held "40 - d['b2'], {'reset': d['b2']}" held6)"
load_wait put 'done' 40
tap_note "uploads: $(told put "d['ok'], d['errors']")"
tap_ok "  so are uploads under way" [ "$(told put "d['ok'] >= 4 and set(d['errors']) == {'reset'}")" = true ]
tap_note "$(told put "'%.2f s after it was gone' % (d['last_error'] - $t0)")"
load_signal churn USR1 churn
sleep 1
load_signal churn USR1 churn
none_failed "  then all is as before, without it" churn $((20 * 2 / (1 + SLOWER)))
tap_is "  and nothing goes there" \
	"$(told churn "d['backends'].get('b2', 0)") $(backends "b['b2']['active']")" "0 0"
cable b2 up
tap_ok "it comes back" lab_wait_for 10 is_health b2 up

### Slow start

UNIT=$(((SLOWER + 1) / 2))
slow_s=$((4 * UNIT))
health_yaml "slow_start: ${slow_s}s" >$YAML
tap_ok "a slow start is reloaded" reload
for what in held held6 churn; do
	lab_stop $what
done
load_start churn c3 --keep $((2 * UNIT)) churn $VIP:80 $((100 / SLOWER))
sleep $((2 * UNIT))
lab_stop b3 KILL
tap_ok "a backend goes" lab_wait_for 5 is_health b3 down
sleep $((3 * UNIT))
nginx_start b3
tap_ok "and comes back" lab_wait_for 10 is_health b3 up
load_signal churn USR1 churn
sleep $UNIT
load_signal churn USR1 churn
first=$(told churn "round(100 * d['backends'].get('b3', 0) / max(1, d['ok']))")
sleep $slow_s
load_signal churn USR1 churn
sleep $UNIT
load_signal churn USR1 churn
later=$(told churn "round(100 * d['backends'].get('b3', 0) / max(1, d['ok']))")
tap_note "$first% of new connections in the first second, $later% after slow start; $(active)"
tap_ok "it takes new connections slowly at first" [ "$first" -lt 30 ]
tap_ok "and its share in the end" [ "$later" -gt 15 ]
none_failed "  nobody noticed" churn
load_end churn churned

### The agent dies

health_yaml >$YAML
reload
under_load
lab_stop agent KILL
sleep 2
load_signal held USR1 asked
none_failed "the agent is killed: connections go on" held 80
load_signal churn USR1 churn
none_failed "  new ones are made" churn $((20 * 2 / (1 + SLOWER)))
before=$(backends "sum(x['active'] for x in b.values())")
load_start more c2 hold $VIP:80 40
load_wait more opened
none_failed "  also such that stay" more
more_by_40()
{
	local by=$(($(backends "sum(x['active'] for x in b.values())") - before))
	[ $by -ge 37 ] && [ $by -le 43 ] # others come and go
}
tap_ok "  and counted" lab_wait_for 3 more_by_40
load_end more closed
mv agent.log agent1.log
agent_start
tap_ok "another agent takes up" lab_wait_for 10 grep -q 'at work' agent.log
lab_stop b4 KILL
tap_ok "  and sees a backend die" lab_wait_for 5 is_health b4 down
nginx_start b4
tap_ok "  and come back" lab_wait_for 5 is_health b4 up
load_signal held USR1 asked
tap_is "  open connections of others have noticed nothing" "$(told held "d['ok'], d['failed']")" \
	"$(of_held "80 - d['b4'], d['b4']")"

### All are dead

under_load
for b in "${BACKENDS[@]}"; do
	cable $b down
done
tap_ok "all backends go" lab_wait_for 5 all_are down
load_signal held USR1 asked
tap_is "  all connections are reset" "$(told held "d['ok'], d['errors']")" '[0, {"reset": 80}]'
load_signal held6 USR1 asked
tap_is "  over IPv6, too" "$(told held6 "d['ok'], d['errors']")" '[0, {"reset": 40}]'
load_signal churn USR1 churn
load_signal churn USR1 churn
tap_like "  new ones refused" "$(told churn "d['errors']")" '^(\{\}|\{"refused": [0-9]+\})$'
for b in "${BACKENDS[@]}"; do
	cable $b up
done
tap_ok "all come back" lab_wait_for 10 all_are up
sleep 1
load_signal churn USR1 churn
sleep 1
load_signal churn USR1 churn
none_failed "  and clients are served" churn $((20 * 2 / (1 + SLOWER)))
for what in held held6 churn; do
	lab_stop $what
done
# A server that dies tells its clients alone: connections that it has reset are forgotten when idle for long.
tap_ok "  in the end nothing is counted, or nearly" lab_wait_for 3 eval \
	'[ "$(backends "sum(x[\"active\"] for x in b.values())")" -le 4 ]'

### A slow backend

lab_stop b4
load_start b4 b4 serve b4 80 0.03
lab_wait_for 10 is_health b4 up
is_slow() { [ "$(backends "b['b4']['latency_seconds'] > 0.02 and b['b1']['latency_seconds'] < 0.01")" = true ]; }
if [ $SLOWER = 1 ]; then
	sleep 10 # for so long what traffic gave goes before what checks give
	tap_ok "a backend is slow, and the agent measures it" lab_wait_for 10 is_slow
	load_start churn c3 churn $VIP:80 50
	sleep 2
	load_end churn churned
	tap_note "$(told churn "d['backends']")"
	tap_ok "  of equally loaded ones, the fast get new connections" \
		[ "$(told churn "100 * d['backends'].get('b4', 0) / d['ok'] < 10")" = true ]
else
	tap_skip "a slow backend gets less" "an emulated machine is slow itself"
fi
lab_stop b4
nginx_start b4

### Clients that vanish

IDLE="tcp: $((3 * SLOWER))s, half_open: 2s" health_yaml >$YAML
tap_ok "short idle times are reloaded" reload
load_start held c1 hold $VIP:80 80
load_wait held opened
tap_ok "connections are counted" [ "$(backends "sum(x['active'] for x in b.values())")" -ge 80 ]
ip -n router link set c1 down
lab_stop held KILL
tap_ok "their client vanishes: they are forgotten in time" lab_wait_for 10 none_active
tap_is "the recounts found nothing wrong" "$(cat agent*.log | grep 'the recount')" ""
tap_is "no frame was left half written" "$(reason aborted)" 0
kill "$(lab_pid agent)"
wait "$(lab_pid agent)"
tap_is "the agent ends with status 0" $? 0
tap_ok "unload" weir unload -q
tap_is "  leaves nothing" "$(leftovers)" ""
tap_done
