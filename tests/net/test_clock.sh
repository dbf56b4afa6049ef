#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.12
#
# The wall clock jumps, by decades and back, and nothing notices: the lease is held, checks, sweeps and the
# watchdog go on as before, copies and flows live as long as they would have, counters never fall.
#
# In a guest it is the clock itself that is set. Elsewhere it stays as it is: only Weir, with its loader and its
# commands, sees another one (wall_clock.c).

. "$(dirname "$0")/common.sh"
in_guest() { [ -e /vm/command ] && grep -qw 'vm.name=[^ ]*' /proc/cmdline; }
in_guest || command -v gcc >/dev/null || tap_skip_all "no compiler"
net_start "$@"
cd $LAB_DIR || exit 1
lab_addr client eth0 10.7.0.11/24 10.7.0.12/24
lab_in server sysctl -qw net.ipv4.ip_forward=1

AT=127.0.0.1:9844
[ $SLOWER = 1 ] && LIFE=8 || LIFE=24 # of copies and flows, seconds
YEAR=$((365 * 86400))

### The clock

uptime_s()
{
	local up
	read -r up _ </proc/uptime
	echo "${up%.*}"
}
BOOT=$(($(date +%s) - $(uptime_s))) # when this machine was booted, if its clock is right
EYES=(env) # that Weir sees the clock with
AHEAD=0 # what it is ahead, seconds

jump() # SECONDS-AHEAD of what is right
{
	AHEAD=$1
	if in_guest; then
		date -s "@$((BOOT + $(uptime_s) + AHEAD))" >/dev/null
	else
		printf '%-31d\n' "$AHEAD" 1<>ahead
	fi
}

# Weir's own, as it says.
wall()
{
	of_json "d['at']" weir stats --json
}

jumped()
{
	local off=$(($(wall | cut -d. -f1) - BOOT - $(uptime_s) - AHEAD))
	[ ${off#-} -le $((3 * SLOWER)) ]
}

weir()
{
	lab_in server "${EYES[@]}" "$WEIR" "$@"
}

if ! in_guest; then
	gcc -shared -fPIC -O1 -D_GNU_SOURCE -o wall_clock.so "$NET_DIR/wall_clock.c" || lab_die "wall_clock.c"
	printf '%-31d\n' 0 >ahead
	EYES+=(LD_PRELOAD="$PWD/wall_clock.so" WALL_CLOCK="$PWD/ahead")
fi

### What is watched

clock_yaml()
{
	net_yaml 1000 "ttl: 1h"
	cat <<-EOF
		  - {name: web, vips: ["10.7.0.100:11211"], pool: web, protocol: both}
		  - {name: site, vips: ["10.7.0.101:80"], pool: site, protocol: tcp}
		flows: {capacity: 64K, idle: {udp: ${LIFE}s}}
		pools:
		  - name: web
		    delivery: nat
		    check: {type: memcached, interval: 200ms, timeout: 190ms, rise: 1, fall: 3}
		    backends: [{name: b1, address: "10.7.0.11:11211"}]
		  - name: site
		    delivery: nat
		    check: {type: http, interval: 200ms, timeout: 190ms, rise: 1, fall: 3}
		    backends: [{name: b2, address: "10.7.0.12:80"}]
	EOF
}

site_up()
{
	lab_bg site lab_in client "${PYTHON[@]}" -c '
import socket
s = socket.create_server(("10.7.0.12", 80), backlog=128)
while True:
    c = s.accept()[0]
    c.recv(4096)
    c.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    c.close()'
	lab_wait_port client 80
}

code()
{
	lab_in server curl -sS -m 20 -o /dev/null -w '%{http_code}' "http://$AT$1"
}

is_ready()
{
	[ "$(code /readyz)" = 200 ]
}

# By commands: HTTP requests extend it, too.
leased()
{
	[ "$(of_json "1 / $SLOWER < d['lease']['remaining_seconds'] <= 3" weir status --json)" = true ]
}

flows()
{
	of_json "d['matched']" weir flow show --count proto=udp --json
}

is_flows() # HOW-MANY
{
	[ "$(flows)" = "$1" ]
}

# A flow, and a copy, that are to end after LIFE.
begin_life() # KEY
{
	weir cache put -q -s cache "$1" value --ttl ${LIFE}s >/dev/null
	client client --timeout 0.2 ask 10.7.0.100:11211 -- "get nothing" >/dev/null
}

is_answered() # KEY
{
	[ "$(ask "get $1")" = "VALUE $1 0 5\r\nvalue\r\nEND\r\n" ]
}

is_over() # KEY
{
	[ "$(ask "get $1")" = 'END\r\n' ]
}

# The longest time between two notifications of the watchdog, in ms.
longest_silence()
{
	awk '$2 == "WATCHDOG=1" { if (last && $1 - last > most) most = $1 - last; last = $1 }
		END { print int(most * 1000) }' notify.log
}

seen() # EXPRESSION
{
	client client eval "$PWD/watch.log" "$1"
}

### Beginning

clock_yaml >$YAML
lab_bg b1 lab_in client memcached -u root -t 1 -p 11211 -U 11211 -l 10.7.0.11
site_up
ip -n client neigh add 10.7.0.100 lladdr "$(lab_mac server eth0)" dev eth0
lab_bg notify "${PYTHON[@]}" -uc '
import socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/lab/notify")
while True:
    text = s.recv(4096).decode()
    print("%.3f" % time.monotonic(), text)'
lab_wait_for 5 test -S notify
lab_bg agent lab_in server "${EYES[@]}" NOTIFY_SOCKET=/run/lab/notify WATCHDOG_USEC=$((600000 * SLOWER)) \
	"$WEIR" run -c $YAML
tap_ok "it is ready" lab_wait_for 20 is_ready
pid=$(lab_pid agent)
weir cache put -q -s cache hot value >/dev/null
tap_ok "the clock is right" jumped
lab_bg loop lab_in client "${PYTHON[@]}" "$NET_DIR/client.py" --timeout $REPLY_S loop $MEMCACHED hot
before=$(reason hit)
sleep 1

### Forwards: nothing ends before its time

begin_life early
jump 86400
tap_ok "Weir sees that it is tomorrow" jumped
tap_ok "a copy for ${LIFE} s lives on" is_answered early
tap_is "  a flow, too" "$(flows)" 1
sleep $((LIFE * 5 / 8)) # long enough for a sweep, on a machine that is not slow
tap_is "  also after some of them" "$(is_answered early && flows)" 1
tap_ok "the lease is held" leased
tap_ok "  not after all" lab_wait_for 12 is_over early
tap_ok "  nor does the flow" lab_wait_for 18 is_flows 0

### Backwards: nothing lives beyond it

begin_life late
jump $((-YEAR))
tap_ok "a year ago" jumped
tap_ok "a copy lives on" is_answered late
tap_ok "  and ends in time" lab_wait_for 12 is_over late
tap_ok "  as the flow does" lab_wait_for 18 is_flows 0
tap_ok "the lease is held" leased

### Far away, again and again

lab_bg watch lab_in server "${PYTHON[@]}" "$NET_DIR/watch.py" $AT 0.$((1 * SLOWER))
sleep 1
for when in $((20 * YEAR)) $((1 * YEAR - BOOT)) 86400 -86400 3600 -3600 2 -2 0; do
	jump "$when"
	sleep 1
	jumped || jumps_failed+="$when "
done
tap_is "1971, after the end of 32 bits, and other times" "${jumps_failed:-}" ""

### What was seen all the while

lab_stop watch
lab_stop loop
lab_wait_for 5 test -s loop.log
hits=$(($(reason hit) - before))
tap_is "no request was lost" "$(of_json "d['lost']" cat loop.log)" 0
tap_ok "  all were answered here" [ "$hits" -ge "$(of_json "d['sent']" cat loop.log)" ]
tap_is "  with the value" "$(of_json "list(d['replies']['hot'])" cat loop.log)" \
	'["VALUE hot 0 5\\r\\nvalue\\r\\nEND\\r\\n"]'
tap_note "$(cat watch.log)"
tap_is "the agent was ready whenever it was asked" "$(seen "d['polls'] > 10, d['not_ready']")" "[true, []]"
tap_is "  with a lease" "$(seen "d['no_lease']")" 0
tap_is "no counter fell" "$(seen "d['fell']")" "[]"
tap_is "  and all are of one load, one agent" "$(seen "d['loads'], d['starts']") $(kill -0 "$pid" && echo there)" \
	"[1, 1] there"
# Ten are due in a second. (A machine that is busy with other things may be late, and then make up for it.)
tap_is "checks went on, without a burst or a pause" \
	"$(seen "d['checks_most'] <= 25, d['checks_pause'] < 2 * $SLOWER, d['checks_failed'] <= 0.1 * d['checks']")" \
	"[true, true, true]"
tap_ok "so did the watchdog's notifications" [ "$(longest_silence)" -lt $((600 * SLOWER)) ]
tap_note "the longest silence: $(longest_silence) ms"
tap_is "nothing was said of it" "$(grep -ciE 'warn|error|fail|down' agent.log)" 0

### And on a strange day it works as on any other

jump $((-30 * YEAR))
lab_stop b1
down() { grep -q 'backend b1 down' agent.log; }
tap_ok "a backend that is gone is found" lab_wait_for 5 down
lab_bg b1 lab_in client memcached -u root -t 1 -p 11211 -U 11211 -l 10.7.0.11
tap_ok "  and that it is back" lab_wait_for 10 is_ready
kill -HUP "$pid"
reloaded() { grep -q 'generation 2' agent.log; }
tap_ok "it reloads" lab_wait_for 20 reloaded
jump 0
tap_ok "  and is ready" lab_wait_for 10 is_ready
kill -TERM "$pid"
wait "$pid"
tap_is "and ends" $? 0
tap_done
