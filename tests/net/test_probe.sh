#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.18
#
# Health checks through the delivery of clients' packets: a backend that cannot take what comes by the tunnel, does
# not have the service's address or does not listen there is down, though its own address answers.
#
#	b1 eth0 10.3.1.11 ---- 10.3.1.1 eth1 edge eth2 10.3.2.1 ---- 10.3.2.11 eth0 b2     fd03:1::11 .. as well

. "$(dirname "$0")/common.sh"
lab_start "$@"
cd $LAB_DIR || exit 1
for ns in edge b1 b2; do
	lab_netns $ns
	lab_in $ns sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
for n in 1 2; do
	lab_link edge eth$n b$n eth0
	lab_native_peer b$n eth0
	lab_addr edge eth$n 10.3.$n.1/24 fd03:$n::1/64
	lab_addr b$n eth0 10.3.$n.11/24 fd03:$n::11/64
	lab_in b$n sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
	lab_addr b$n lo 192.0.2.1/32 2001:db8::1/128 192.0.2.9/32
done
lab_addr b1 lo 192.0.2.2/32 2001:db8::2/128
client_start edge
WEIR_NS=edge

probe_yaml()
{
	local check="interval: 400ms, timeout: 400ms, rise: 2, fall: 2"
	cat <<-EOF2
		interfaces: [{name: eth1}, {name: eth2}]
		flows: {capacity: 64K}
		services:
		  - {name: tun, vips: ["192.0.2.1:80", "[2001:db8::1]:80"], pool: tun}
		  - {name: seg, vips: ["192.0.2.2:80", "[2001:db8::2]:80"], pool: seg}
		  - {name: own, vips: ["192.0.2.9:80"], pool: own}
		  - {name: nat, vips: ["192.0.2.3:80"], pool: nat}
		  - {name: udp, vips: ["192.0.2.5:80"], protocol: udp, pool: udp}
		pools:
		  - name: tun
		    delivery: tunnel
		    check: {type: tcp, $check}
		    backends:
		      - {name: b1, address: 10.3.1.11}
		      - {name: b1v6, address: "fd03:1::11"}
		      - {name: b2, address: 10.3.2.11}
		      - {name: b2v6, address: "fd03:2::11"}
		  - name: seg
		    delivery: l2
		    check: {type: http, port: 81, $check}
		    backends:
		      - {name: b1, address: 10.3.1.11}
		      - {name: b2, address: "fd03:2::11"}
		  - name: own
		    delivery: tunnel
		    check: {type: tcp, through: address, $check}
		    backends:
		      - {name: b2, address: 10.3.2.11}
		  - name: nat
		    delivery: nat
		    check: {type: tcp, $check}
		    backends:
		      - {name: b1, address: "10.3.1.11:80"}
		      - {name: l2, address: 10.3.2.99, delivery: l2}
		  - name: udp
		    delivery: l2
		    check: {type: tcp, $check}
		    backends:
		      - {name: b2, address: 10.3.2.11}
	EOF2
}

server() # NAME NS PORT
{
	lab_bg "$1" lab_in "$2" "${PYTHON[@]}" -c '
import socket, sys
s = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=True)
while True:
    c = s.accept()[0]
    c.settimeout(1)
    try:
        c.recv(1000) and c.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    except OSError:
        pass
    c.close()' "$3"
	lab_wait_port "$2" "$3"
}

# The far ends of tunnels: the kernel's where it has them, else what unwraps packets and hands them to the kernel by
# a veth pair.
KERNEL_TUNNELS=yes
unshare --net ip link add t0 type ipip local 10.0.0.1 2>/dev/null || KERNEL_TUNNELS=
unshare --net ip link add t0 type sit local 10.0.0.1 2>/dev/null || KERNEL_TUNNELS=
unshare --net ip link add t0 type ip6tnl mode any local fd00::1 2>/dev/null || KERNEL_TUNNELS=

decapsulate() # NUMBER
{
	local ns=b$1

	if [ -n "$KERNEL_TUNNELS" ]; then
		ip -n "$ns" link add dec4 type ipip local "10.3.$1.11"
		ip -n "$ns" link add dec64 type sit local "10.3.$1.11"
		ip -n "$ns" link add dec6 type ip6tnl mode any local "fd03:$1::11" remote ::
		for dev in dec4 dec64 dec6; do
			ip -n "$ns" link set $dev up
		done
		return
	fi
	ip -n "$ns" link add in0 type veth peer name in1
	ip -n "$ns" link set in0 up && ip -n "$ns" link set in1 up
	lab_bg "decapsulate$1" lab_in "$ns" "${PYTHON[@]}" -uc '
import socket, sys
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.bind(("eth0", 3))
out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
while True:
    d, who = s.recvfrom(2000)
    if who[2] != 0:
        continue
    v6 = d[0] >> 4 == 6
    proto = d[6] if v6 else d[9]
    if proto in (4, 41):
        inner = 0x0800 if proto == 4 else 0x86dd
        out.sendto(d[40 if v6 else (d[0] & 15) * 4:], ("in1", inner, 0, 0, mac))' "$(lab_mac "$ns" in0)"
}
tap_note "tunnels end in $([ -n "$KERNEL_TUNNELS" ] && echo "the kernel" || echo "a program of this test")"

health() # POOL NAME
{
	of_json "d['backends'][0]['health']" weir backend show -p "$1" "$2" --json
}

is_health() # POOL NAME WANT
{
	[ "$(health "$1" "$2")" = "$3" ]
}

is_up()
{
	is_health "$1" "$2" up
}

is_down()
{
	is_health "$1" "$2" down
}

# The log has it.
said() # TEXT
{
	grep -qF -- "$1" agent.log
}

# The agent has taken up the last reload.
at_work()
{
	grep -q "at work on .*, generation $(of_json "d['generation']" weir status --json)$" agent.log
}

is_told() # POOL NAME FIELD REGEX
{
	[[ $(of_json "d['backends'][0]['$3']" weir backend show -p "$1" "$2" --json) =~ $4 ]]
}

stays() # WANT POOL NAME: for three seconds
{
	local i
	for i in {1..10}; do
		sleep 0.3
		is_health "$2" "$3" "$1" || return 1
	done
}

# As a service's SYNs would come again and again, were they not reset.
nothing_half_open() # NS
{
	[ -z "$(lab_in "$1" ss -Htn state syn-recv)" ]
}

agent_start() # COMMAND...
{
	lab_bg agent lab_in edge "$@" "$WEIR" run -c $YAML
}

### Tunnels

probe_yaml >$YAML
for n in 1 2; do
	server http$n b$n 80
	server health$n b$n 81
done
decapsulate 1
agent_start
tap_ok "loaded, and it runs" lab_wait_for 20 said "at work on"
for b in b1 b1v6; do
	tap_ok "tunnel: $b unwraps packets of IPv4 and IPv6: up" lab_wait_for 10 is_up tun $b
done
tap_ok "  with a latency" is_told tun b1 latency_seconds '^0\.0'
for b in b2 b2v6; do
	tap_ok "tunnel: $b has no far end: down" lab_wait_for 10 is_down tun $b
done
tap_ok "  which is said" said "pool tun: backend b2 down: no answer through the tunnel from 192.0.2.1:80 in 400ms"
tap_ok "  though its own address answers: up where only that is asked" lab_wait_for 10 is_up own b2
decapsulate 2
for b in b2 b2v6; do
	tap_ok "tunnel: $b has got one: up" lab_wait_for 10 is_up tun $b
done
ip -n b1 addr del 192.0.2.1/32 dev lo
tap_ok "the address is gone: down" lab_wait_for 10 is_down tun b1
lab_addr b1 lo 192.0.2.1/32
tap_ok "  and back" lab_wait_for 10 eval 'is_up tun b1 && is_up tun b1v6'
ip -n b1 addr del 2001:db8::1/128 dev lo
tap_ok "that of IPv6 alone is gone: down, too" lab_wait_for 10 is_down tun b1v6
tap_ok "  and said" lab_wait_for 5 said "backend b1v6 down: no answer through the tunnel from [2001:db8::1]:80 in 400ms"
lab_addr b1 lo 2001:db8::1/128
tap_ok "  and back" lab_wait_for 10 eval 'is_up tun b1 && is_up tun b1v6'
lab_addr edge lo 192.0.2.1/32 2001:db8::1/128
tap_ok "the address is this host's, too: up as before" stays up tun b1
tap_ok "no connection stays half open at the backend" lab_wait_for 5 nothing_half_open b1
ip -n edge addr del 192.0.2.1/32 dev lo
ip -n edge addr del 2001:db8::1/128 dev lo
tap_ok "nor otherwise" lab_wait_for 5 nothing_half_open b2
tap_is "no flow was made for that" "$(weir flow show --json | grep -c '"flow": *{')" 0

### L2

tap_ok "L2: b1 has the address: up" lab_wait_for 10 is_up seg b1
tap_ok "L2: b2 has not: down" lab_wait_for 10 is_down seg b2
tap_ok "  said so" said "pool seg: backend b2 down: no answer through l2 from 192.0.2.2:80 in 400ms"
lab_addr b2 lo 192.0.2.2/32
tap_ok "it has that of IPv4: still down, for that of IPv6" stays down seg b2
tap_ok "  said so" is_told seg b2 why 'no answer through l2 from \[2001:db8::2\]:80'
lab_addr b2 lo 2001:db8::2/128
tap_ok "and that of IPv6: up" lab_wait_for 10 is_up seg b2
lab_stop health2
tap_ok "the check of its address fails: down" lab_wait_for 10 is_down seg b2
tap_ok "  with that reason" is_told seg b2 why '^http: '
server health2 b2 81
tap_ok "  and back" lab_wait_for 10 is_up seg b2

# Of six addresses the last.
sed -i 's|vips: \["192.0.2.2:80", "\[2001:db8::2\]:80"\]|vips: ["192.0.2.2:80", "[2001:db8::2]:80", "192.0.2.21:80",\
     "192.0.2.22:80", "192.0.2.23:80", "192.0.2.24:80"]|' $YAML
for n in 1 2; do
	lab_addr b$n lo 192.0.2.2{1,2,3,4}/32
done
ip -n b2 addr del 192.0.2.24/32 dev lo
weir reload -q -c $YAML >/dev/null
tap_ok "of six addresses the last is not there: down" lab_wait_for 10 is_down seg b2
tap_ok "  said so" said "pool seg: backend b2 down: no answer through l2 from 192.0.2.24:80 in 400ms (2 checks in a row)"
tap_ok "  and it stays down, though five answer" stays down seg b2
tap_ok "  the other one has all: up" is_up seg b1
lab_addr b2 lo 192.0.2.24/32
tap_ok "  and back" lab_wait_for 10 is_up seg b2
probe_yaml >$YAML
weir reload -q -c $YAML >/dev/null
# Or the first check that fails is of one that is no longer in the file.
tap_ok "the agent has taken up a file with fewer addresses" lab_wait_for 5 at_work
lab_stop http1
tap_ok "nobody listens at the service's address: down, though that check succeeds" lab_wait_for 10 is_down seg b1
tap_ok "  said so" said "pool seg: backend b1 down: connection refused through l2 by 192.0.2.2:80 (2 checks in a row)"
tap_ok "  by tunnel, too" lab_wait_for 10 is_down tun b1
tap_ok "  said so" said "backend b1 down: connection refused through the tunnel by 192.0.2.1:80"
server http1 b1 80
tap_ok "  and back" lab_wait_for 10 is_up seg b1
tap_ok "nobody has the backend's address: down" lab_wait_for 10 is_down nat l2
tap_ok "  said so" said "backend l2 down: no answer through l2: nobody has 10.3.2.99 in 400ms"
tap_ok "it appears" lab_addr b2 eth0 10.3.2.99/24
lab_addr b2 lo 192.0.2.3/32
tap_ok "  and is up" lab_wait_for 10 is_up nat l2

# The backends of that service have the address, too, and would not answer it.
lab_addr edge eth2 10.3.2.2/24
ip -n edge neigh replace 10.3.2.99 dev eth2 lladdr "$(lab_mac b2 eth0)"
sed -i 's/^pools:/  - {name: edge, vips: ["10.3.2.1:80"], pool: own}\n&/' $YAML
kill -HUP "$(lab_pid agent)"
tap_ok "the address that this host has becomes a service's" lab_wait_for 10 said "generation 4"
lab_addr b2 lo 10.3.2.1/32
tap_ok "  asked from another one: up as before" stays up nat l2
ip -n b2 addr del 10.3.2.1/32 dev lo

### Others

tap_ok "NAT is asked at its address" lab_wait_for 10 is_up nat b1
tap_ok "UDP alone: asked at its address" lab_wait_for 10 is_up udp b2
lab_stop agent
mv agent.log first.log

if command -v setpriv >/dev/null; then
	ip -n b1 addr del 192.0.2.1/32 dev lo
	agent_start setpriv --bounding-set=-net_raw
	tap_ok "without raw sockets: a warning" lab_wait_for 20 said \
		"raw sockets cannot be opened (Operation not permitted; CAP_NET_RAW is needed)"
	tap_is "  one" "$(sleep 2; grep -c 'raw sockets' agent.log)" 1
	tap_ok "  and the address is asked" is_up tun b1
	lab_stop agent
else
	tap_skip "without raw sockets" "no setpriv"
fi
tap_ok "unload" weir unload
tap_done
