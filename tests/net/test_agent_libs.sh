#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.18
#
# The libraries that the agent loads when its configuration needs them: when that is, and what becomes of an
# agent, or of a reload, that cannot have them.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
lab_addr client eth0 10.7.0.11/24
lab_in server sysctl -qw net.ipv4.ip_forward=1
BROKEN=$LAB_DIR/broken

libs_yaml() # TYPE-OF-CHECK
{
	net_yaml 1000
	cat <<-EOF
		  - name: web
		    vips: ["10.7.0.100:80"]
		    pool: web
		flows: {capacity: 64K}
		pools:
		  - name: web
		    delivery: l2
		    check: {type: $1, interval: 200ms, timeout: 150ms, through: address}
		    backends: [{name: b1, address: 10.7.0.11}]
	EOF
}

agent() # ARGUMENT...: libraries are looked for in $BROKEN first
{
	lab_bg agent lab_in server env LD_LIBRARY_PATH=$BROKEN "$WEIR" run -c $YAML "$@"
}

said() # TEXT
{
	grep -qF -- "$1" agent.log
}

# Which of the two are loaded.
loaded() # [PID]
{
	grep -oE 'lib(curl|microhttpd)\.so' "/proc/${1:-$(lab_pid agent)}/maps" | sort -u | paste -sd' '
}

break_libraries()
{
	mkdir -p "$BROKEN"
	for lib in libcurl.so.4 libmicrohttpd.so.12; do
		echo "no library" >"$BROKEN/$lib"
	done
}

refused() # STATUS TEXT ARGUMENT...
{
	local want=$1 text=$2 status
	shift 2
	lab_in server env LD_LIBRARY_PATH=$BROKEN timeout $((20 * SLOWER)) "$WEIR" run -c $YAML "$@" >refused.log 2>&1
	status=$?
	[ $status = "$want" ] && grep -qF -- "$text" refused.log || { echo "status $status"; cat refused.log; return 1; }
}

lab_bg b1 lab_in client "${PYTHON[@]}" -c '
import socket
s = socket.create_server(("10.7.0.11", 80), backlog=128)
while True:
    with s.accept()[0] as c:
        try:
            c.recv(4096)
            c.sendall(b"HTTP/1.0 204 None\r\n\r\n")
        except OSError:
            pass # a check by TCP ends with a reset'
lab_wait_port client 80

### At the start

break_libraries
libs_yaml tcp >$YAML
tap_ok "an agent that answers HTTP does not start without libmicrohttpd, and says so" refused 1 \
	"weir: run: HTTP needs the library of Debian's package libmicrohttpd12: $BROKEN/libmicrohttpd.so.12: "
tap_is "  nothing is left" "$(leftovers)" ""
libs_yaml http >$YAML
tap_ok "nor one with checks by HTTP without libcurl" refused 1 \
	"pools[0].check.type: http needs the library of Debian's package libcurl4: $BROKEN/libcurl.so.4: " --http none
tap_is "  nothing is left" "$(leftovers)" ""
libs_yaml tcp >$YAML
agent --http none
tap_ok "one that does neither starts without both" lab_wait_for 20 said "backend b1 up"
tap_is "  and has none" "$(loaded)" ""

### At a reload

libs_yaml http >$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "a reload that needs libcurl fails without" lab_wait_for 20 said \
	"reload: $YAML cannot be used; nothing was changed"
tap_ok "  and says what is missing" said "http needs the library of Debian's package libcurl4"
tap_is "  nothing has changed" "$(of_json "d['generation']" lab_in server "$WEIR" status --json)" 1
weir reload -q -c $YAML >/dev/null
tap_ok "a command's, that has it: the agent says that it cannot check so" lab_wait_for 20 said \
	"$YAML cannot be used: health checks stay as they were"
tap_ok "  and goes on" lab_wait_for 20 said "generation 2"
rm -r "$BROKEN"
kill -HUP "$(lab_pid agent)"
tap_ok "when it is there, a reload succeeds" lab_wait_for 20 said "generation 3"
loaded_is() { [ "$(loaded)" = "$1" ]; }
tap_ok "  it is loaded" lab_wait_for 5 loaded_is libcurl.so
checks_ok() { of_json "d['backends'][0]['checks_ok']" weir backend show --json; }
ok=$(checks_ok)
more_ok() { [ "$(checks_ok)" -ge $((ok + 3)) ]; }
tap_ok "  and checks" lab_wait_for 5 more_ok
break_libraries
lab_stop b1
tap_ok "  and finds out when the backend is gone" lab_wait_for 20 said "backend b1 down: http: "
lab_stop agent
weir unload -q >/dev/null

### As usual

rm -r "$BROKEN"
libs_yaml tcp >$YAML
agent
tap_ok "an agent without checks by HTTP" lab_wait_for 20 said "HTTP is answered at 127.0.0.1:9844"
tap_is "  has libmicrohttpd only" "$(loaded)" libmicrohttpd.so
lab_stop agent
weir unload -q >/dev/null

tap_done
