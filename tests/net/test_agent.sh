#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.12
#
# The agent beside commands: health checks of real backends, the lease, reloads, an unload under it, its own
# end in every way.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
lab_addr client eth0 10.7.0.11/24 10.7.0.12/24 10.7.0.13/24 fd07::14/64
lab_in server sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

# A service over pools of backends in the client's namespace.
agent_yaml() # [CAPACITY]
{
	net_yaml "${1:-1000}"
	cat <<-EOF
		  - name: web
		    vips: ["10.7.0.100:11211"]
		    pool: web
		  - name: web6
		    vips: ["[fd07::100]:11211"]
		    pool: web6
		  - name: other
		    vips: ["10.7.0.101:80"]
		    pool: other
		flows: {capacity: 64K}
		pools:
		  - name: web
		    delivery: nat
		    check: {type: memcached, interval: 200ms, timeout: 150ms, rise: 2, fall: 2}
		    backends:
		      - {name: b1, address: "10.7.0.11:11211"}
		      - {name: b2, address: "10.7.0.12:11211"}
		  - name: web6
		    delivery: nat
		    check: {type: memcached, interval: 200ms, timeout: 150ms, rise: 2, fall: 2}
		    backends:
		      - {name: b6, address: "[fd07::14]:11211"}
		  - name: other
		    delivery: l2
		    backends:
		      - {name: c1, address: 10.7.0.13}
	EOF
}

backend_up() # NAME ADDRESS
{
	lab_bg "$1" lab_in client memcached -u root -t 1 -p 11211 -U 11211 -l "$2"
}

# Its notifications, one a line, in notify.log.
lab_bg notify "${PYTHON[@]}" -uc '
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/lab/notify")
while True:
    print(s.recv(4096).decode())'
lab_wait_for 5 test -S notify

agent() # NAME [ARGUMENT...]
{
	local name=$1
	shift
	lab_bg "$name" lab_in server env NOTIFY_SOCKET=/run/lab/notify WATCHDOG_USEC=600000 "$WEIR" run -c $YAML "$@"
}

said() # TEXT [NAME]
{
	grep -qF -- "$1" "${2:-agent}.log"
}

ready()
{
	: >notify.log
	lab_wait_for 10 grep -qx READY=1 notify.log
}

status()
{
	of_json "$1" weir status --json
}

is_status() # EXPRESSION WANT
{
	[ "$(status "$1")" = "$2" ]
}

health() # NAME
{
	of_json "[b['health'] for b in d['backends'] if b['name'] == '$1'][0]" weir backend show --json
}

is_health() # NAME WANT
{
	[ "$(health "$1")" = "$2" ]
}

generation()
{
	status "d['generation']"
}

# The lease is finite, and not over.
leased()
{
	[ "$(status "d['lease']['remaining_seconds'] is not None and d['lease']['remaining_seconds'] > 0")" = true ]
}

### Beginning

agent_yaml >$YAML
backend_up b1 10.7.0.11
backend_up b2 10.7.0.12
backend_up b6 fd07::14
lab_bg agent lab_in server sh -c 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"' - "$WEIR" run -c $YAML --no-load
tap_ok "told not to load, it waits, and gives the journal its lines' priority" \
	lab_wait_for 5 said "<4>waiting: not loaded"
kill -TERM "$(lab_pid agent)"
wait "$(lab_pid agent)"
tap_is "and ends with status 0" $? 0
lab_stop agent

: >notify.log
agent agent
tap_ok "it loads when nothing is loaded, and says when it is ready" lab_wait_for 20 grep -qx READY=1 notify.log
tap_ok "the watchdog is fed" lab_wait_for 5 grep -qx WATCHDOG=1 notify.log
tap_like "there is one agent at a time" "$(weir run -c $YAML 2>&1; echo $?)" 'another agent.*is running
1$'
tap_ok "what it loaded has a lease" leased

### Health

for b in b1 b2 b6; do
	tap_ok "$b is up" lab_wait_for 5 is_health $b up
done
tap_ok "said so" said "pool web6: backend b6 up (1 check)"
lab_stop b1
tap_ok "a backend that is gone is down" lab_wait_for 5 is_health b1 down
tap_ok "with the reason" said "pool web: backend b1 down: connect: Connection refused (2 checks in a row)"
tap_is "the others are not" "$(health b2) $(health b6)" "up up"
backend_up b1 10.7.0.11
tap_ok "up again" lab_wait_for 5 is_health b1 up
tap_ok "a silent one is down" eval 'kill -STOP $(lab_pid b2); lab_wait_for 5 is_health b2 down'
tap_ok "with its reason" said "backend b2 down: reply: none in 150ms"
kill -CONT "$(lab_pid b2)"
tap_ok "and up when it speaks" lab_wait_for 5 is_health b2 up
tap_ok "latency is measured" eval \
	'[ "$(of_json "all(b[\"latency_seconds\"] for b in d[\"backends\"] if b[\"pool\"] == \"web\")" weir backend show --json)" = true ]'
tap_is "what has no check is unknown" "$(health c1)" unknown
tap_ok "but its neighbour is known" lab_wait_for 5 eval \
	'ip -n server neigh show 10.7.0.13 | grep -qE "REACHABLE|DELAY|STALE"'

### Beside commands

tap_ok "a command takes the lock beside it" weir backend add -p web b9 10.7.0.13:11299
tap_ok "what a command adds is checked" lab_wait_for 5 is_health b9 down
tap_ok "and is forgotten with it" weir backend del -p web b9

g=$(generation)
agent_yaml 2000 >$YAML
tap_ok "a reload of another size by a command" weir reload -q -c $YAML
tap_ok "is noticed: checks go on in the new maps" eval \
	'lab_stop b1; lab_wait_for 5 is_health b1 down && backend_up b1 10.7.0.11 && lab_wait_for 5 is_health b1 up'
tap_is "one generation more" "$(generation)" $((g + 1))
tap_ok "the lease goes on" eval 'sleep 4; leased'

echo 'services: nonsense' >>$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "SIGHUP with a faulty file is refused" lab_wait_for 5 said "cannot be used; nothing was changed"
tap_is "and changes nothing" "$(generation)" $((g + 1))
agent_yaml 1500 >$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "SIGHUP reloads" lab_wait_for 10 is_status "d['generation']" $((g + 2))
tap_ok "said so" lab_wait_for 5 said "reloaded from"

sed -i 's/, interval: 200ms/, interval: 200ms, port: 9/' $YAML
kill -HUP "$(lab_pid agent)"
tap_ok "checks are as the new file has them" lab_wait_for 10 is_health b2 down
sed -i '/check:/d' $YAML
kill -HUP "$(lab_pid agent)"
tap_ok "without any, nothing is down" lab_wait_for 10 is_health b2 unknown
agent_yaml 1500 >$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "and back" lab_wait_for 10 is_health b2 up

tap_ok "unloaded under it" weir unload
tap_ok "it stays" lab_wait_for 5 said "weir: unloaded"
tap_ok "loaded again by a command" weir_load
tap_ok "it takes it up" lab_wait_for 5 is_health b2 up
tap_ok "and gives it a lease, which it had not" lab_wait_for 5 leased
(cd / && lab_in server "$WEIR" reload -q -c run/lab/weir.yaml)
tap_is "a path without a root is kept as one from there" "$(status "d['config']")" $YAML
weir unload >/dev/null
deep=$LAB_DIR/$(printf 'd%.0s' {1..200})/$(printf 'e%.0s' {1..60})
mkdir -p "$deep" && cp $YAML "$deep/weir.yaml"
tap_like "one that is too long is refused" "$(weir load -c "$deep/weir.yaml" 2>&1; echo $?)" \
	'weir.yaml: the path is longer than 255 bytes: put the file elsewhere
1$'
tap_is "  and leaves nothing" "$(leftovers)" ""

### Ends

lab_stop agent
tap_is "nothing is left of an agent that had nothing" "$(leftovers)" ""
agent agent
tap_ok "another agent loads" lab_wait_for 20 leased
lab_stop agent KILL
tap_ok "when it is killed, the lease ends" eval 'sleep 4; is_status "d[\"answering\"]" false'
agent agent
tap_ok "the next one takes it up" lab_wait_for 10 is_status "d['answering']" true
tap_ok "and what is up is up" lab_wait_for 5 is_health b1 up
kill -TERM "$(lab_pid agent)"
wait "$(lab_pid agent)"
tap_is "at SIGTERM it ends with status 0" $? 0
lab_stop agent
tap_is "and what is loaded goes on without a lease" "$(status "[d['answering'], d['lease']['remaining_seconds']]")" \
	"[true, null]"
agent agent --unload-on-exit --json
tap_ok "what is loaded is kept" lab_wait_for 5 said "already loaded"
lab_stop b2
tap_ok "changes as documents" lab_wait_for 10 said '"backend":"b2","health":"down"'
kill -INT "$(lab_pid agent)"
wait "$(lab_pid agent)"
tap_is "at SIGINT, too" $? 0
lab_stop agent
tap_is "and unloads when told to" "$(leftovers)" ""

tap_done
