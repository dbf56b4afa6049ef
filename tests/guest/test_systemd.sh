#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --with systemd --nic hub=lan --nic hub=lan --nic hub=back --nic hub=back
# vm-kernels: 6.12
#
# The units as they are shipped, under a real systemd, which is process 1 of namespaces of its own and in the
# server's network: start, status, reload, watchdog, crash, socket, stop; what the sandbox really keeps from the
# agent, its loader and its checks' commands; what the journal gets.

. "$(dirname "$0")/common.sh"
[ -x /usr/lib/systemd/systemd ] || tap_skip_all "needs systemd in the guest: vm/run.sh KERNEL --with systemd"
guest_start 2
cd $LAB_DIR || exit 1
YAML=/etc/weir/weir.yaml
UNITS=/usr/local/lib/systemd/system
URL=http://127.0.0.1:9844

### systemd

# The first process there goes into a cgroup of its own, whose namespace is made after that: its top is systemd's.
SYSTEMD_INIT='echo 0 >/sys/fs/cgroup/systemd/cgroup.procs && exec unshare --cgroup bash -c "
	umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
	exec env -i container=lab PATH=/usr/sbin:/usr/bin \
		/usr/lib/systemd/systemd --unit=multi-user.target --show-status=no"'

# What `make install` does, and a machine-id: without one systemd takes this for a first boot, and enables all.
systemd_start()
{
	mkdir -p $UNITS /etc/weir /usr/local/bin /sys/fs/cgroup/systemd
	cp "$LAB_ROOT"/scripts/systemd/weir.* $UNITS
	cp "$WEIR" /usr/local/bin/weir
	echo 0123456789abcdef0123456789abcdef >/etc/machine-id
	echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
	lab_bg systemd lab_in server unshare --pid --mount --fork --kill-child --mount-proc bash -c "$SYSTEMD_INIT"
	lab_wait_for 10 test -S /run/systemd/private && SYSTEMD=$(pgrep -P "$(lab_pid systemd)") ||
		lab_die "systemd does not start: $(cat systemd.log)"
}

# In its namespaces: it answers nobody from outside.
inside() # COMMAND...
{
	nsenter --target "$SYSTEMD" --pid --mount --net --cgroup -- "$@"
}

ctl() # WORD...
{
	inside systemctl "$@"
}

show() # PROPERTY
{
	ctl show weir.service -P "$1"
}

shows() # PROPERTY...
{
	ctl show weir.service "${@/#/--property=}" | sort | paste -sd ' '
}

is_shown() # PROPERTY REGEX
{
	[[ $(show "$1") =~ $2 ]]
}

is_running() # RESTARTS
{
	is_shown SubState '^running$' && [ "$(show NRestarts)" -ge "$1" ]
}

journal() # WORD...
{
	inside journalctl --quiet --no-pager "$@"
}

in_journal() # TEXT
{
	journal -u weir.service -o cat | grep -qF -- "$1"
}

# A Python expression over the journal's entries `d`.
of_journal() # EXPRESSION WORD-OF-JOURNALCTL...
{
	local expression=$1
	shift
	journal -o json "$@" | { printf '['; paste -sd,; printf ']'; } >entries
	of_file $LAB_DIR/entries "$expression"
}

### The agent

systemd_yaml() # [TTL]
{
	net_yaml 1000 "ttl: ${1:-5m}"
	cat <<-END
		  - {name: web, vips: ["10.7.0.100:80"], protocol: tcp, pool: web}
		  - {name: direct, vips: ["10.7.0.101:80"], protocol: tcp, pool: direct}
		flows: {capacity: 64K}
		latency: {interval: 1ms, slow: 20ms}
		pools:
		  - name: web
		    delivery: nat
		    check: {type: http, interval: 2s, timeout: 1900ms, rise: 1}
		    backends: [{name: b1, address: "10.8.0.2:80"}]
		  - name: direct
		    delivery: l2
		    check: {type: tcp, interval: 2s, timeout: 1900ms, rise: 1}
		    backends: [{name: d1, address: 10.8.0.2}]
		  - name: command
		    delivery: nat
		    check: {type: command, command: "sh /etc/weir/look", interval: 10s, timeout: 9s, rise: 1}
		    backends: [{name: c1, address: "10.8.0.2:81"}]
	END
}

configure() # [TTL]
{
	systemd_yaml "$@" | sed 's/{name: eth0}/{name: eth0}, {name: eth1}/' >$YAML
}

# What a child of the agent may do; it finds that out itself, as a check's command.
cat_look()
{
	cat <<-'END'
		{
			grep -E '^(CapEff|CapPrm|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status |
				paste -sd ' ' | tr '\t' ' '
			for word in 'unshare --uts true' 'mount -t tmpfs none /tmp' 'chown 1 /tmp' \
				'hostname other' 'touch /run/x' 'touch /usr/x' 'ls /root' \
				'ls /usr/lib/modules' 'dmesg' 'touch /tmp/x'; do
				$word >/dev/null 2>&1 && echo "can $word" || echo "cannot $word"
			done
		} >/tmp/found.new && mv /tmp/found.new /tmp/found
	END
}

leased()
{
	[ "$(of_json "d['lease']['agent'] and d['lease']['remaining_seconds'] > 0" weir status --json)" = true ]
}

http() # PATH [WORD-OF-CURL...]
{
	lab_in server curl -sS -m $((5 * SLOWER)) "$URL$1" "${@:2}"
}

web() # what the backend says, by way of the data plane
{
	lab_in client curl -sS -m $((3 * SLOWER)) http://10.7.0.100/
}

# Each path of a list that can be written in the agent's mount namespace.
writable() # PATH...
{
	local p pid
	pid=$(show MainPID)
	for p in "$@"; do
		! inside nsenter --target "$pid" --mount test -w "$p" || echo "$p"
	done | paste -sd ' '
}

# Of each process of the unit, but for a check's command: name and capabilities.
processes()
{
	inside bash -c 'for p in $(cat /sys/fs/cgroup/system.slice/weir.service/cgroup.procs); do
		sed -nE "s/^(Name|CapEff|CapPrm|CapInh|CapAmb|CapBnd|NoNewPrivs|Seccomp):\t//p" /proc/$p/status |
			paste -sd " "
	done 2>/dev/null' | grep '^weir' | sort
}

lab_netns backend
ip -n client link set eth1 netns backend && ip -n backend link set eth1 up
lab_addr backend eth1 10.8.0.2/24
lab_addr backend lo 10.7.0.101/32
ip -n backend route add default via 10.8.0.1
ip -n client route add 10.7.0.100 via 10.7.0.1
lab_in server sysctl -qw net.ipv4.ip_forward=1
lab_bg web lab_in backend "${PYTHON[@]}" -c '
import socket, threading, time
def answer(c):
    try:
        c.recv(4096)
        time.sleep(0.05)
        c.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
        c.close()
    except OSError:
        pass
listener = socket.create_server(("", 80), backlog=64)
while True:
    threading.Thread(target=answer, args=listener.accept()[:1]).start()'
lab_wait_port backend 80
systemd_start
tap_ok "systemd is up" lab_wait_for 10 ctl is-active multi-user.target systemd-journald.service
cat_look >/etc/weir/look

### Before the start

tap_is "systemd finds nothing wrong with the units" \
	"$(inside systemd-analyze verify --man=no $UNITS/weir.service $UNITS/weir.socket 2>&1)" ""
inside systemd-analyze security --no-pager --threshold=35 weir.service >score 2>&1
tap_is "exposure, as systemd counts it: 3.5 at most" "$? $(tail -1 score | grep -o 'Overall exposure')" \
	"0 Overall exposure"
tap_note "$(tail -1 score)"
tap_ok "the units can be enabled" ctl enable weir.service weir.socket
tap_is "  for boot" "$(cd /etc/systemd/system && ls -d ./*.wants/*)" "./multi-user.target.wants/weir.service
./sockets.target.wants/weir.socket"
tap_ok "  and disabled" ctl disable weir.service weir.socket

tap_fails "without a configuration it does not start" 1 ctl start weir.service
tap_ok "  the journal has why" lab_wait_for 5 in_journal "run: $YAML cannot be used; nothing was changed"
tap_ok "  it is tried again" lab_wait_for 10 is_shown NRestarts '^([2-9]|[1-9][0-9])$'
# Five starts within ten seconds would be the most by default, which an emulated machine does not manage.
tap_is "  for ever" "$(show StartLimitIntervalUSec)" 0
configure
tap_ok "  and starts by itself when there is a configuration" lab_wait_for 20 is_running 2
is_running 2 || lab_die "the agent does not start: $(journal -u weir.service -o cat | tail -5)"
ctl stop weir.service
weir unload

### Start

tap_ok "it starts" ctl start weir.service
tap_is "  and is ready only when what it loaded answers: Type=notify" \
	"$(of_json "(d['answering'], d['lease']['agent'], [(i['name'], i['mode']) for i in d['interfaces']])" \
		weir status --json)" \
	'[true, true, [["eth0", "native"], ["eth1", "native"]]]'
tap_is "  as systemd sees it" "$(shows Type ActiveState SubState NotifyAccess)" \
	"ActiveState=active NotifyAccess=main SubState=running Type=notify"
tap_ok "  with a status for people" lab_wait_for 5 is_shown StatusText '^generation 1; 3 backends checked, 0 down$'
healthy() { [ "$(of_json "sorted((b['name'], b['health']) for b in d['backends'])" weir backend show --json)" = \
	'[["b1", "up"], ["c1", "up"], ["d1", "up"]]' ]; }
tap_ok "checks work in there: by HTTP, by raw sockets, by a command" lab_wait_for 15 healthy
tap_is "  no raw socket was refused" "$(journal -u weir.service -o cat | grep -c 'raw sockets')" 0
HOT='VALUE hot 0 4\r\nwarm\r\nEND\r\n'
tell 'set hot 0 0 4' warm >/dev/null
tap_ok "a key gets hot" weir cache warm -q --service cache - <<<hot
tap_counts "  and is answered by the NIC" hit 1 ask 'get hot'
tap_is "a connection is steered to the backend" "$(web)" hello

### The sandbox

tap_is "the agent keeps CAP_NET_RAW, its loader two; none can be had back" "$(processes | uniq)" \
	"weir 0000000000000000 0000000000002000 0000000000002000 0000000000203000 0000000000000000 1 2
weir-loader 0000000000000000 0000000000201000 0000000000201000 0000000000203000 0000000000000000 1 2"
tap_is "of the file system the agent can write this" \
	"$(writable / /usr /etc /etc/weir /var /run /run/weir /run/systemd /run/lab /sys/fs/cgroup /sys/kernel \
		/sys/class/net/eth0/mtu /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/core_pattern \
		/root /usr/lib/modules /sys/fs/bpf /tmp /var/tmp)" "/run/weir /sys/fs/bpf /tmp /var/tmp"
tap_is "  what it keeps in /run is root's only" "$(stat -c '%U %a' /run/weir)" "root 700"
touch /tmp/of-the-host
pid=$(show MainPID)
tap_is "  /tmp is its own" "$(inside nsenter --target "$pid" --mount ls /tmp | grep -c of-the-host)" 0
tap_is "  in /dev there is no device of the host's" \
	"$(inside nsenter --target "$pid" --mount bash -c 'for d in mem kmsg ttyS0 vport0p1 vport1p1 port; do
		[ ! -e /dev/$d ] || echo $d; done')" ""
found() { inside nsenter --target "$(show MainPID)" --mount cat /tmp/found; }
tap_ok "a check's command has looked" lab_wait_for 20 found
tap_is "  it has no more than this" "$(found)" \
	"CapPrm: 0000000000002000 CapEff: 0000000000002000 CapAmb: 0000000000000000 NoNewPrivs: 1 Seccomp: 2
cannot unshare --uts true
cannot mount -t tmpfs none /tmp
cannot chown 1 /tmp
cannot hostname other
cannot touch /run/x
cannot touch /usr/x
cannot ls /root
cannot ls /usr/lib/modules
cannot dmesg
can touch /tmp/x"
tap_is "limits: descriptors, locked memory, tasks" \
	"$(inside bash -c "
		sed -nE 's/^Max (open files|locked memory) +([^ ]+).*/\\2/p' /proc/$pid/limits | paste -sd ' '
		cat /sys/fs/cgroup/system.slice/weir.service/pids.max")" "4096 unlimited
1024"

### The journal

tap_is "lines have a priority, and the unit" \
	"$(of_journal "[(e['PRIORITY'], e['SYSLOG_IDENTIFIER'], e['_SYSTEMD_UNIT']) for e in d][-1]" \
		_SYSTEMD_UNIT=weir.service --grep 'loaded from')" '["5", "weir", "weir.service"]'
lab_wait_for 10 in_journal "slow: service web" || web >/dev/null
tap_ok "a slow flow is logged" lab_wait_for 10 in_journal "slow: service web, a request of 10.7.0.2:"
tap_like "  with fields, which select" \
	"$(of_journal "[[e.get(f) for f in
		('MESSAGE', 'PRIORITY', 'WEIR_SERVICE', 'WEIR_CLIENT', 'WEIR_LATENCY_USEC')] for e in d][0]" -u weir.service WEIR_BACKEND=web/b1)" \
	'\["slow: service web, a request of 10\.7\.0\.2:[0-9]+ to web/b1 took [^"]*", "5", "web", '\
'"10\.7\.0\.2:[0-9]+", "[0-9]{5,}"\]'

### Reload

configure 2m
tap_ok "reload" ctl reload weir.service
ttl() { of_json "d['services'][0]['ttl_seconds']" weir status --json; }
reloaded() { is_shown StatusText "^generation $1; 3 backends checked, 0 down$2" && is_shown SubState '^running$'; }
tap_ok "  is another generation, in the status" lab_wait_for 10 reloaded 2 '$'
tap_is "  with the change" "$(ttl)" 120.0
tap_counts "  and the hot keys" hit 1 ask 'get hot'
sed 's/ttl: 2m/ttl: soon/' $YAML >broken && cp broken $YAML
ctl reload weir.service
tap_ok "a broken configuration: the status has file, line and field" lab_wait_for 10 \
	reloaded 2 "; reload failed: $YAML:[0-9]+: services\[0\]\.ttl: "
tap_note "$(show StatusText)"
tap_is "  nothing was changed" "$(ttl) $(show NRestarts)" "120.0 0"
tap_is "  the journal has it as an error" \
	"$(of_journal "sorted({e['PRIORITY'] for e in d})" -u weir.service \
		--grep 'services.0..ttl|reload: .* cannot be used')" '["3"]'
tap_is "  it is counted" "$(http /metrics | grep '^weir_agent_reloads_total.*failed')" \
	'weir_agent_reloads_total{result="failed"} 1'
configure 3m
ctl reload weir.service
tap_ok "the next one that is right clears that" lab_wait_for 10 reloaded 3 '$'
tap_is "  and applies" "$(ttl)" 180.0

### A crash

pid=$(show MainPID)
ctl kill --kill-whom=main -s KILL weir.service
tap_is "kill -9: the next packets are answered" "$(ask 'get hot') $(web)" "$HOT hello"
tap_ok "  it is started again" lab_wait_for 5 is_running 1
tap_ok "  another process" [ "$(show MainPID)" != "$pid" ]
tap_ok "  which holds the lease" leased
# Of the 3 s that it is extended to each second two were left, at least. Emulated, a start alone takes that.
took=$(of_journal "[int(e['__MONOTONIC_TIMESTAMP']) for e in d if 'code=killed' in e['MESSAGE'] or
	e['MESSAGE'].startswith('Started weir')][-2:]" -u weir.service |
	tr -d '[],' | awk '{ printf "%d", ($2 - $1) / 1000 }')
tap_note "ready $took ms after the end of the other"
tap_ok "  in time" [ "$took" -gt 900 -a "$took" -lt $((2000 * SLOWER)) ]
tap_is "  of what was loaded, as it was" "$(of_json "d['generation']" weir status --json) $(ttl)" "3 180.0"
tap_counts "  with its hot keys" hit 1 ask 'get hot'
alone() { [ "$(processes | cut -d' ' -f1 | paste -sd ' ')" = "weir weir-loader" ]; }
tap_ok "  no process is left over" lab_wait_for 2 alone

### The watchdog

ctl kill --kill-whom=main -s STOP weir.service
tap_is "an agent that is stopped: packets are answered" "$(ask 'get hot') $(web)" "$HOT hello"
lab_wait_for 10 eval '! leased'
tap_is "  its lease is over: memcached answers, connections are steered all the same" \
	"$(ask 'get hot') $(web) $(show NRestarts)" "$HOT hello 1"
tap_ok "  the watchdog ends it, and it is started again" lab_wait_for 20 is_running 2
tap_ok "  the journal has why" in_journal "Watchdog timeout (limit 10s)!"
tap_ok "  the lease is held" lab_wait_for 5 leased
tap_counts "  and hot keys are answered" hit 1 ask 'get hot'

### The socket

tap_fails "while the agent has the port the socket cannot be had" 1 ctl start weir.socket
tap_is "  that changes nothing" "$(http /healthz)" ok
ctl stop weir.service
tap_ok "it can be when the agent is stopped" ctl start weir.socket
tap_is "  nothing runs yet" "$(show ActiveState)" inactive
tap_is "  a request starts the agent, and is answered" "$(http /healthz)" ok
tap_ok "  it takes the socket" lab_wait_for 5 in_journal "HTTP is answered at a socket of systemd's"
tap_is "  which is the only one on that port" "$(lab_in server ss -Hltn 'sport = :9844' | wc -l)" 1
# Over and over, each on a connection of its own; what fails is printed.
lab_bg scrape lab_in server "${PYTHON[@]}" -c "
import os, socket, time
n = failed = 0
while not os.path.exists('enough'):
    try:
        c = socket.create_connection(('127.0.0.1', 9844), $((10 * SLOWER)))
        c.settimeout($((10 * SLOWER)))
        c.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        got = b''
        while part := c.recv(65536):
            got += part
        n += 1
        if b' 200 ' not in got[:20] or not got.endswith(b'\n'):
            raise OSError(got[:40])
    except OSError as e:
        failed += 1
        print('failed:', repr(e), flush=True)
    time.sleep(0.05)
print(n, failed)"
for _ in 1 2 3; do
	ctl restart weir.service
done
tap_ok "the agent is restarted three times, then killed" ctl kill --kill-whom=main -s KILL weir.service
lab_wait_for 10 is_running 1
lab_nap 1
touch enough
lab_wait_for 20 grep -q '^[0-9]' scrape.log
tap_note "requests, failed: $(cat scrape.log)"
# What an agent has accepted goes with it, unanswered: one of the four may have had one.
tap_is "  nobody is refused, or waits in vain, or gets half a reply" \
	"$(grep failed scrape.log | grep -vE "reset by peer|OSError\(b''\)")" ""
tap_like "  what ends with an agent is what it had just accepted" "$(tail -1 scrape.log)" '^[1-9][0-9]+ [0-4]$'

### Stop

ctl stop weir.socket weir.service
tap_is "stop" "$(shows ActiveState Result ExecMainStatus)" \
	"ActiveState=inactive ExecMainStatus=0 Result=success"
tap_is "  leaves the programs at work, without a lease" \
	"$(of_json "(d['answering'], d['lease']['agent'], d['generation'])" weir status --json)" "[true, false, 3]"
tap_counts "  hot keys are answered" hit 1 ask 'get hot'
tap_is "  connections are steered" "$(web)" hello
tap_is "  no process is left" "$(inside ls /sys/fs/cgroup/system.slice | grep -c '^weir')" 0
tap_ok "start takes it up again" ctl start weir.service
tap_ok "  as it is" in_journal "already loaded from $YAML (generation 3): kept as it is"
tap_is "  with the lease" "$(of_json "(d['lease']['agent'], d['generation'])" weir status --json)" "[true, 3]"
ctl stop weir.service
ctl start weir.socket
http /healthz >/dev/null
ctl stop weir.service
http /healthz >/dev/null
tap_ok "with the socket a stopped agent is started by the next request" lab_wait_for 5 is_running 0
ctl stop weir.socket weir.service
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""
[ $TAP_FAILED = 0 ] || journal -u weir.service >weir.log
tap_done
