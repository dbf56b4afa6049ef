#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# What the agent makes of measured latencies: a slow backend gets less without any check, with direct return and
# with address translation; latencies of checks do not count beside them; and the log of slow flows.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1
[ $SLOWER = 1 ] || tap_skip_all "an emulated machine is slow itself"

for b in b1 b2 b3; do
	lab_bg $b lab_in $b python3 "$NET_DIR/load.py" serve $b 80 0.001
done
lab_bg b4 lab_in b4 python3 "$NET_DIR/load.py" serve b4 80 0.03
lab_bg crawl lab_in b4 python3 "$NET_DIR/load.py" serve b4 81 0.05
for b in "${BACKENDS[@]}"; do
	lab_wait_port "$b" 80
done
lab_wait_port b4 81

# steer_yaml's, and a service of one slow backend.
latency_yaml() # DELIVERY LATENCY-KEYS [POOL-LINE...]
{
	local address=10.3.0.14
	[ "$1" = l2 ] || address+=:81
	DELIVERY=$1 steer_yaml "${@:3}" | sed "/^services:/a\\  - {name: crawl, vips: [\"$VIP:81\"], protocol: tcp, pool: crawl}"
	echo "  - {name: crawl, delivery: $1, backends: [{name: c4, address: \"$address\"}]}"
	echo "latency: {$2}"
}

share() # of new connections that b4 had, percent
{
	told churn "round(100 * d['backends'].get('b4', 0) / max(1, d['ok']))"
}

is_slow()
{
	[ "$(backends "(b['b4']['latency_seconds'] or 0) > 0.02 and 0 < (b['b1']['latency_seconds'] or 0) < 0.02")" = true ]
}

slow_gets_less() # WORDS
{
	load_start churn c3 churn $VIP:80 80
	# Where noise made its checks slow, it gets no traffic until that has halved, once or twice.
	tap_ok "$1: the agent learns from traffic which backend is slow" lab_wait_for 75 is_slow
	load_signal churn USR1 churn
	sleep 3
	load_end churn churned
	tap_note "$(backends "{n: x['latency_seconds'] for n, x in b.items()}") $(told churn "d['backends']")"
	tap_ok "  of equally loaded ones, the fast get new connections" [ "$(share)" -lt 15 ]
	none_failed "  none failed" churn 100
}

for delivery in l2 nat; do
	latency_yaml $delivery "interval: 1ms" >$YAML
	agent_start
	lab_wait_for 20 grep -q 'at work' agent.log || lab_die "no agent: $(cat agent.log)"
	neighbours
	slow_gets_less $delivery
	lab_stop agent
	weir unload >/dev/null
done

### Beside checks

# Such a check takes no time at b4, which only requests find slow.
latency_yaml l2 "interval: 1ms" "check: {type: tcp, through: address, interval: 200ms}" >$YAML
agent_start
checked() { [ "$(backends "all(x['health'] == 'up' and x['latency_seconds'] for n, x in b.items() if n != 'c4')")" = true ]; }
tap_ok "without traffic, checks measure" lab_wait_for 20 checked
neighbours
tap_ok "  and find nothing slow" [ "$(backends "all(x['latency_seconds'] < 0.01 for n, x in b.items() if n != 'c4')")" = true ]
slow_gets_less "with checks that find nothing slow"
tap_ok "  which do not count beside it" [ "$(backends "b['b4']['latency_seconds'] > 0.02")" = true ]
as_before() { [ "$(backends "all(0 < (x['latency_seconds'] or 0) < 0.01 for n, x in b.items() if n != 'c4')")" = true ]; }
tap_ok "when there is no traffic for a while, they do" lab_wait_for 25 as_before
lab_stop agent
weir unload >/dev/null

### The log of slow flows

latency_yaml l2 "interval: 1ms, slow: 40ms" >$YAML
mkdir -p /run/systemd/journal
lab_bg journal "${PYTHON[@]}" -uc '
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/systemd/journal/socket")
while True:
    print(s.recv(65536).decode().replace("\n", " "))'
lab_wait_for 5 test -S /run/systemd/journal/socket
agent_start
lab_wait_for 20 grep -q 'at work' agent.log
neighbours
load_start churn c3 churn $VIP:81 5
sleep 3
load_end churn churned
sleep 1.5
tap_like "a slow flow is logged" "$(grep -m1 slow: agent.log)" \
	'slow: service crawl, a request of 10\.1\.3\.2:[0-9]+ to crawl/c4 took [5-9][0-9]'
n=$(grep -c 'slow: service' agent.log) made=$(told churn "d['ok']")
tap_note "$made slow requests, $n lines"
tap_ok "  each once, nearly all" [ "$n" -le "$made" -a "$n" -ge $((made * 7 / 10)) ]
load_start churn c3 churn $VIP:80 50
sleep 2
load_end churn churned
tap_is "  those that are not slow are not" "$(grep -c 'slow: service web' agent.log)" 0
mark=$(wc -l <agent.log)
load_start churn c3 churn $VIP:81 100
sleep 3
load_end churn churned
sleep 1.5
tap_ok "many: ten a second, at most" [ "$(tail -n +$((mark + 1)) agent.log | grep -c 'slow: service')" -le 60 ]
tap_like "  and how many more" "$(grep -m1 more agent.log)" 'slow: and [0-9]+ more'
tap_ok "  counted, all" [ "$(lab_in edge curl -sS 127.0.0.1:9844/metrics | sed -n 's/^weir_agent_slow_flows_total //p')" -gt 150 ]
lab_stop agent
lab_bg agent lab_in edge sh -c 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"' - "$WEIR" run -c $YAML
lab_wait_for 20 grep -q 'at work' agent.log
load_start churn c3 churn $VIP:81 5
sleep 2
load_end churn churned
sleep 1.5
tap_like "the journal gets fields" "$(head -1 journal.log)" \
	'PRIORITY=5 .*MESSAGE=slow: .*WEIR_SERVICE=crawl WEIR_BACKEND=crawl/c4 WEIR_CLIENT=10\.1\.3\.2:[0-9]+ WEIR_LATENCY_USEC=[0-9]{5}'
tap_is "  instead of a line" "$(grep -c slow: agent.log)" 0
kill -STOP "$(lab_pid journal)"
load_start churn c3 churn $VIP:81 100
sleep 3
leased() { [ "$(of_json "d['lease']['remaining_seconds'] > 1" weir status --json)" = true ]; }
tap_ok "a journal that is stuck does not hold it up" leased
load_end churn churned
kill -CONT "$(lab_pid journal)"
lab_stop agent
weir unload >/dev/null

tap_done
