#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# Connections steered to backends that answer clients themselves (L2): spread, counts, changes of the pool and
# reloads under load, a SYN flood, and what routers have to say on the way. Nobody checks health here.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1
nginx_all
steer_yaml >$YAML
weir_load >load.log 2>&1 || lab_die "weir is not loaded: $(cat load.log)"
neighbours

### Spread, and counts

spread_all 100

CAPACITY_b1=100 CAPACITY_b2=200 CAPACITY_b3=400 CAPACITY_b4=100 steer_yaml >$YAML
tap_ok "capacities are changed by reload" reload
spread "capacities 1:2:4:1" $VIP:80 $((SLOWER == 1 ? 400 : 200)) 106 1 2 4 1
steer_yaml 'scheduler: maglev' >$YAML
tap_ok "to consistent hashing" reload
spread "maglev" $VIP:80 200 150
steer_yaml 'scheduler: maglev-bounded' 'bound: 10%' >$YAML
tap_ok "to bounded loads" reload
spread "maglev-bounded" $VIP:80 200 116
steer_yaml >$YAML
tap_ok "and back" reload

### The pool changes under load

HELD=$((SLOWER == 1 ? 100 : 40))

# Connections that stay, and others that come and go, from now on.
under_load()
{
	local what
	for what in held held6 churn; do
		lab_stop $what
	done
	load_start held c1 hold $VIP:80 $HELD
	load_start held6 c2 hold "[$VIP6]:80" $HELD
	load_start churn c3 churn $VIP:80 $((200 / SLOWER))
	load_wait held opened && load_wait held6 opened
}

# None of them broke, whatever was done meanwhile.
unharmed() # SENTENCE
{
	load_signal held USR1 asked
	none_failed "$1: connections stay where they are" held $HELD
	load_signal held6 USR1 asked
	none_failed "  over IPv6, too" held6 $HELD
	load_signal churn USR1 churn
	none_failed "  and new ones are answered" churn $((20 * 2 / (1 + SLOWER)))
}

new_ones() # BACKEND: how many new ones it answered since the last report
{
	told churn "d['backends'].get('$1', 0)"
}

NAMES="b1 b2 b3" steer_yaml >$YAML
tap_ok "a backend is taken out by reload" reload
under_load
steer_yaml >$YAML
tap_ok "and added by reload under load" reload
sleep 1
unharmed "a backend is added by reload"
tap_ok "  some by the new one" [ "$(new_ones b4)" -gt 10 ]
tap_ok "a backend is removed by a command, with its connections" weir backend del --force b4
tap_fails "  and cannot be named then: status 1" 1 weir backend set b4 --capacity 50
lab_stop b4 # or it keeps connections of which it hears no more
nginx_start b4
lab_wait_port b4 80
under_load
tap_ok "another is added by a command" weir backend add b4 10.3.0.14
sleep 1
unharmed "a backend is added by a command"
tap_ok "  some by the new one" [ "$(new_ones b4)" -gt 10 ]
under_load
tap_ok "a capacity is changed by a command" weir backend set b2 --capacity 800
sleep 1
unharmed "a capacity is changed"
tap_ok "  most by the largest" [ "$(new_ones b2)" -gt $(($(told churn "d['ok']") / 2)) ]
tap_ok "reload makes all as configured" reload
under_load

load_start slow c2 --transfer-timeout 60 get $VIP:80 40 /slow
load_wait slow started
tap_ok "a backend is drained during downloads" weir backend drain b3
load_signal churn USR1 churn
before=$(backends "b['b3']['active']")
sleep 1
unharmed "a backend is drained"
tap_is "  none by it" "$(new_ones b3)" 0
tap_ok "  which had some" [ "$before" -gt $((HELD / 5)) ]
load_wait slow 'done' 30
none_failed "  and downloads go on to their ends" slow 40
tap_ok "  also its own" [ "$(told slow "d['backends']['b3']")" -gt 0 ]
tap_ok "it is enabled again" weir backend enable b3
sleep 1
unharmed "a backend is enabled"
# Of short ones it may get few: it kept what it had. Of those that stay it has its share.
load_start back c3 hold $VIP:80 80
load_wait back opened
tap_ok "  some by it" [ "$(told back "d['backends'].get('b3', 0)")" -gt 10 ]
load_end back closed

reload_on()
{
	local i

	for ((i = 0; i < $(rounds 5); i++)); do
		CAPACITY_b1=$((50 + i * 30)) FLOWS=${FLOWS_EACH:-64K} steer_yaml >$YAML
		reload || return 1
	done
}
load_start slow c2 --transfer-timeout 60 get $VIP:80 40 /slow
load_wait slow started
tap_ok "reload again and again, with another capacity each time" reload_on
unharmed "reloads"
load_wait slow 'done' 30
none_failed "  and downloads go on" slow 40
steer_yaml >$YAML
reload
load_end churn churned
none_failed "  no new connection failed all the while" churn
tap_counted "  the counts are right"
for what in held held6; do
	load_end $what closed
done
tap_none_counted "nothing is open, and nothing counted"

### A flood

load_start held c1 hold $VIP:80 100
load_wait held opened
before=$(active)
load_start churn c3 churn $VIP:80 $((100 / SLOWER))
load_start flood c2 --rate $((10000 / SLOWER)) flood $VIP:80 3 198.18.0.0
load_wait flood flooded
load_signal churn USR1 churn
none_failed "a SYN flood: clients beside it are unharmed" churn $((SLOWER == 1 ? 100 : 8))
tap_note "$(told flood "d['sent']") SYNs, the slowest connection took $(told churn "d['longest']") s"
load_end churn churned
load_signal held USR1 asked
none_failed "  open connections are" held 100
tap_ok "  the count is as before" lab_wait_for 3 eval "[ '$before' = \"\$(active)\" ]"
tap_ok "  half-open ones are in the table, and weigh nothing" \
	[ "$(of_json "sum(c['half_open'] for c in d['counts'])" weir flow show --count --json)" -gt $((1000 / SLOWER)) ]
load_end held closed

### No backend

for b in "${BACKENDS[@]}"; do
	weir backend disable -q $b >/dev/null
done
load_start gone c1 --timeout 2 hold $VIP:80 5
load_wait gone opened
tap_is "no backend, fail: drop: silence" "$(told gone "d['errors']")" '{"timeout": 5}'
steer_yaml 'fail: reset' >$YAML
tap_ok "fail: reset is reloaded, and all enabled by it" reload
load_start held c1 hold $VIP:80 40
load_start held6 c2 hold "[$VIP6]:80" 40
load_wait held opened && load_wait held6 opened
for b in "${BACKENDS[@]}"; do
	weir backend disable -q $b >/dev/null
done
load_signal held USR1 asked
tap_is "no backend, fail: reset: open connections are reset" "$(told held "d['errors']")" '{"reset": 40}'
load_signal held6 USR1 asked
tap_is "  over IPv6, too" "$(told held6 "d['errors']")" '{"reset": 40}'
load_start gone c1 --timeout 2 hold $VIP:80 5
load_wait gone opened
tap_is "  and new ones refused" "$(told gone "d['errors']")" '{"refused": 5}'
load_start gone c1 --timeout 2 hold "[$VIP6]:80" 5
load_wait gone opened
tap_is "  over IPv6, too" "$(told gone "d['errors']")" '{"refused": 5}'
tap_is "  nothing is counted" "$(active)" "0 0 0 0"
load_end held closed
load_end held6 closed
steer_yaml >$YAML
tap_ok "and back" reload

### What routers say

narrow_client
hops_used_up
serve_all
for i in 1 2 3 4; do
	ip -n edge route add 10.3.0.1$i dev eth1 mtu lock 1300
done
sleep 1.2 # next hops are asked for each second
narrow_backends 1300
for i in 1 2 3 4; do
	ip -n edge route del 10.3.0.1$i dev eth1
done

### UDP

PORT=5353 PROTOCOL=udp steer_yaml >$YAML
tap_ok "a UDP service in its place" reload
datagrams
tap_is "UDP flows are connections until they are idle" "$(backends "sum(x['active'] for x in b.values())")" \
	"$(of_json "sum(c['udp'] for c in d['counts'])" weir flow show --count --json)"

tap_is "no frame was left half written" "$(reason aborted)" 0
tap_ok "unload" weir unload -q
tap_is "  leaves nothing" "$(leftovers)" ""
tap_done
