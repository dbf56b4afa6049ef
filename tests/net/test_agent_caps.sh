#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1 6.12
#
# The agent with just the capabilities of its unit file: it loads, checks, answers, reloads, unloads; what it keeps;
# and that each of them is needed.

. "$(dirname "$0")/common.sh"
UNIT=$LAB_ROOT/scripts/systemd/weir.service
command -v setpriv >/dev/null && command -v capsh >/dev/null || tap_skip_all "no setpriv, or no capsh"
net_start "$@"
cd $LAB_DIR || exit 1
lab_addr client eth0 10.7.0.11/24
lab_addr client lo 10.7.0.100/32
lab_addr server eth0 10.7.0.9/24 # to ask backends from
lab_in server sysctl -qw net.ipv4.ip_forward=1

CAPS=$(sed -n 's/^CapabilityBoundingSet=//p' "$UNIT" | tr A-Z a-z | sed 's/cap_//g')
URL=http://127.0.0.1:9844

caps_yaml()
{
	net_yaml "${1:-1000}"
	cat <<-EOF
		  - name: web
		    vips: ["10.7.0.100:80"]
		    pool: web
		flows: {capacity: 64K}
		pools:
		  - name: web
		    delivery: l2
		    check: {type: ${2:-tcp}, interval: 200ms, timeout: 150ms}
		    backends: [{name: b1, address: 10.7.0.11}]
	EOF
}

with_caps() # "CAP..." COMMAND...: these, and no others, can be had
{
	local caps=$1
	shift
	set -- setpriv --bounding-set "-all$(printf ',+%s' $caps)" --inh-caps -all --no-new-privs "$@"
	lab_in server "$@"
}

agent() # "CAP..." [ARGUMENT...]
{
	local caps=$1
	shift
	# A shell in between, since setpriv changes its own process: exec gives it what the bounding set leaves.
	lab_bg agent lab_in server setpriv --bounding-set "-all$(printf ',+%s' $caps)" --inh-caps -all --no-new-privs \
		"$WEIR" run -c $YAML "$@"
}

said() # TEXT
{
	grep -qF -- "$1" agent.log
}

code() # PATH
{
	lab_in server curl -sS -m 5 -o page -w '%{http_code}' "$URL$1"
}

is_ready()
{
	[ "$(code /readyz)" = 200 ]
}

# Names, sorted: "cap_bpf,cap_net_admin".
caps_of() # PID SET
{
	local set
	set=$(sed -n "s/^$2:\t//p" "/proc/$1/status")
	capsh --decode="$set" | sed 's/^0x[0-9a-f]*=//' | tr , '\n' | sort | paste -sd,
}

loader()
{
	pgrep -P "$(lab_pid agent)" -x weir-loader
}

caps_yaml >$YAML
lab_bg b1 lab_in client "${PYTHON[@]}" -c '
import socket
s = socket.create_server(("0.0.0.0", 80), backlog=128)
while True:
    s.accept()[0].close()'
lab_wait_port client 80

### What is needed, and suffices

agent "$CAPS" --unload-on-exit
tap_ok "with the unit's capabilities it loads, checks, and is ready" lab_wait_for 20 is_ready
tap_is "  by way of the delivery, too" "$(grep -c 'warning' agent.log)" 0
tap_is "the agent keeps" "$(caps_of "$(lab_pid agent)" CapPrm) $(caps_of "$(lab_pid agent)" CapEff)" "cap_net_raw cap_net_raw"
tap_is "  and cannot get more" "$(sed -n 's/^NoNewPrivs:\t//p; s/^CapAmb:\t0*/0/p; s/^CapInh:\t0*/0/p' \
	/proc/$(lab_pid agent)/status | paste -sd' ')" "0 0 1"
tap_is "its loader has the others" "$(caps_of "$(loader)" CapEff)" "cap_net_admin,cap_sys_admin"
tap_is "  and no file but the standard ones, and its socket" "$(ls "/proc/$(loader)/fd" | paste -sd' ')" "0 1 2 3"
tap_is "it answers" "$(code /metrics) $(code /api/v1/status) $(code /api/v1/services)" "200 200 200"
vips() { code /api/v1/services >/dev/null; grep -q '"10.7.0.100:80"' page; }
tap_ok "  also what only the loader can find out" lab_wait_for 5 vips
code /metrics >/dev/null
tap_is "  it sees that the program is attached" "$(grep '^weir_interface_attached' page)" \
	'weir_interface_attached{interface="eth0"} 1'
code /api/v1/status >/dev/null
tap_is "  as status does" "$(of_json "d['interfaces'][0]['attached'], d['interfaces'][0]['egress'], d['warnings']" cat page)" \
	"[true, true, []]"
ip -n server link set dev eth0 xdp off
ip -n server link set dev eth0 xdpgeneric off
not_attached() { [ "$(code /readyz)" = 503 ] && grep -q 'program is not attached' page; }
tap_ok "  and that it is not" lab_wait_for 5 not_attached
caps_yaml 2000 >$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "it reloads, and puts it back" lab_wait_for 20 is_ready
tap_ok "  in another size" lab_wait_for 5 said "generation 2"
lab_stop b1
tap_ok "checks go on" lab_wait_for 5 said "backend b1 down"
kill -TERM "$(lab_pid agent)"
wait "$(lab_pid agent)"
tap_is "it unloads at its end" "$? $(leftovers)" "0 "
lab_stop agent

### Each for a reason

without() # CAP
{
	echo "$CAPS" | tr ' ' '\n' | grep -vx "$1" | paste -sd' '
}
refused() # CAP
{
	with_caps "$(without "$1")" timeout 20 "$WEIR" run -c $YAML >refused.log 2>&1
	local status=$?
	tap_note "$1: $status: $(cat refused.log)"
	[ $status != 0 ] && [ $status != 124 ] && [ -z "$(leftovers)" ]
}
for cap in $CAPS; do
	case $cap in
	net_raw) ;;
	*) tap_ok "without $cap it does not start" refused $cap ;;
	esac
done
tap_is "  and leaves nothing" "$(leftovers)" ""
caps_yaml 1000 memcached >$YAML # without such a port, no probe
agent "$(without net_raw)"
tap_ok "without net_raw it works" lab_wait_for 20 said "at work on"
tap_ok "  but only addresses are checked, which it says" lab_wait_for 5 said "raw sockets cannot be opened"
tap_is "  and keeps none" "$(caps_of "$(lab_pid agent)" CapPrm)" ""
lab_stop agent
with_caps "$CAPS" "$WEIR" unload -q >/dev/null

### The unit

tap_like "the unit has the loader's, and the agent's" "$CAPS" '^net_admin net_raw sys_admin$'
if systemd-analyze security --offline=yes --threshold=35 "$UNIT" >score 2>&1; then
	tap_ok "exposure, as systemd-analyze counts it: 3.5 at most" true
elif grep -q 'Overall exposure' score; then
	tap_is "exposure, as systemd-analyze counts it: 3.5 at most" "$(tail -1 score)" "3.5 or less"
else
	tap_skip "exposure, as systemd-analyze counts it" "there is none that works offline"
fi

tap_done
