#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=a,queues=4 --nic hub=a,queues=4 --nic hub=b --nic hub=b --cpus 2
# vm-kernels: 6.12 6.18
#
# Native XDP that sends frames: back out of their NIC (XDP_TX), and on through another one (XDP_REDIRECT),
# alone and beside Weir. The first NIC has transmit queues to spare for each CPU, the second has a single
# queue, which XDP shares with the stack.
#
#	client eth0 10.7.0.2 --- hub a --- server eth0 | eth1 --- hub b --- far eth1 10.7.0.3

. "$(dirname "$0")/common.sh"
guest_start 2

N=500
OBJ=$WEIR_BUILD/tests/guest/xdp_move.bpf.o
PINS=/sys/fs/bpf/test

# N datagrams: how many arrived.
stream() # FROM TO|back ADDRESS [COUNT]
{
	python3 "$LAB_ROOT/tests/guest/stream.py" "$1" "$2" "$3" "${4:-$N}"
}

ifindex() # DEV
{
	ip -n server -o link show "$1" | cut -d: -f1
}

# An own copy of the programs for each NIC, since the map says where to. It is written in the namespace of
# the NICs, where they are looked up.
load_programs() # DEV OTHER
{
	mkdir -p "$PINS/$1" && bpftool prog loadall "$OBJ" "$PINS/$1" pinmaps "$PINS/$1/maps" &&
		lab_in server bpftool map update pinned "$PINS/$1/maps/move_to" key 0 0 0 0 \
			value "$(ifindex "$2")" 0 0 0
}

attach() # DEV PROGRAM
{
	lab_in server bpftool net attach xdpdrv pinned "$PINS/$1/$2" dev "$1"
}

detach() # DEV
{
	lab_in server bpftool net detach xdpdrv dev "$1"
}

# What the program has counted since it was last asked: packets, and queues on which they came.
by_queue() # DEV
{
	local q
	bpftool -j map dump pinned "$PINS/$1/maps/by_queue" | python3 -c '
import json, sys
counts = [e["formatted"]["value"] for e in json.load(sys.stdin)]
print(sum(counts), "on several queues" if sum(c > 0 for c in counts) > 1 else "on one queue")'
	for ((q = 0; q < 8; q++)); do
		echo "map update pinned $PINS/$1/maps/by_queue key $q 0 0 0 value 0 0 0 0 0 0 0 0"
	done | bpftool batch file - >/dev/null
}

# Two hosts on one network, with the server as a wire between them. Neighbours are set: their answers do not
# pass where only one direction is redirected. Drivers count what hosts say by themselves, by_queue does not.
make_wire()
{
	ip netns add far
	ip -n client link set dev eth1 netns far && ip -n far link set dev eth1 up ||
		lab_die "cannot move eth1"
	lab_addr far eth1 10.7.0.3/24
	ip -n client neigh replace 10.7.0.3 lladdr "$(lab_mac far eth1)" dev eth0 nud permanent
	ip -n far neigh replace 10.7.0.2 lladdr "$(lab_mac client eth0)" dev eth1 nud permanent
	ip -n server link set dev eth0 promisc on
	ip -n server link set dev eth1 promisc on
}

sends_back() # DEV HOST QUEUES
{
	local before
	before=$(nic_sum "$1" tx xdp_tx)
	tap_ok "$1: a native program that sends back" attach "$1" xdp_back
	tap_is "  all come back by XDP_TX" "$(stream client back "$2")" "$N of $N"
	tap_is "  from where they came in" "$(by_queue "$1")" "$N $3"
	tap_is "  as the driver counts" $(($(nic_sum "$1" tx xdp_tx) - before)) $N
	tap_is "  and drops none" "$(nic_sum "$1" tx xdp_tx_drops)" 0
	detach "$1"
}

redirects()
{
	local before
	tap_ok "redirect from eth0 to eth1, which has no program" attach eth0 xdp_move
	tap_is "  nothing arrives: virtio_net lends its queues to XDP only with a program" \
		"$(stream client far 10.7.0.3 16)" "0 of 16"
	by_queue eth0 >/dev/null
	tap_ok "a program on eth1, which passes" ip -n server link set dev eth1 xdpdrv \
		obj "$WEIR_BUILD/tests/bpf/xdp_pass.bpf.o" sec xdp
	before=$(nic_sum eth1 tx xdp_tx)
	tap_is "  all arrive, through the single queue" "$(stream client far 10.7.0.3)" "$N of $N"
	tap_is "  each went through the program" "$(by_queue eth0)" "$N on several queues"
	tap_is "  and out: as the driver of eth1 counts" $(($(nic_sum eth1 tx xdp_tx) - before >= N)) 1
	detach eth1
	tap_is "it is taken off: nothing arrives" "$(stream client far 10.7.0.3 16)" "0 of 16"
	by_queue eth0 >/dev/null
}

redirects_both_ways()
{
	tap_ok "redirect from eth1 to eth0, too" attach eth1 xdp_move
	tap_is "  all arrive one way" "$(stream client far 10.7.0.3)" "$N of $N"
	tap_is "  and the other way" "$(stream far client 10.7.0.2)" "$N of $N"
	tap_is "  each went through eth0's program" "$(by_queue eth0)" "$N on several queues"
	tap_is "  or eth1's" "$(by_queue eth1)" "$N on one queue"
	tap_is "  in: as the driver of eth1 counts" "$(($(nic_sum eth1 rx xdp_redirects) >= N))" 1
	tap_is "  none is dropped by eth0" "$(nic_sum eth0 tx xdp_tx_drops)" 0
	tap_is "  nor by eth1" "$(nic_sum eth1 tx xdp_tx_drops)" 0
	detach eth0
}

# eth1 still redirects to eth0, which is Weir's now: replies and what is redirected leave by the same NIC.
beside_weir()
{
	local lost
	net_yaml >$YAML
	tap_ok "weir on eth0" weir_load
	echo a,hot-a | weir cache warm -q - >/dev/null
	tap_is "  answers" "$(ask 'get a')" 'VALUE a 0 5\r\nhot-a\r\nEND\r\n'
	tap_is "  all from far arrive at the client" "$(stream far client 10.7.0.2)" "$N of $N"
	lab_bg asks lab_in client python3 "$NET_DIR/client.py" --timeout 5 loop $MEMCACHED a
	tap_is "  while hits are answered, too" "$(stream far client 10.7.0.2)" "$N of $N"
	lab_stop asks
	lost=$(of_json "[d['sent'] > 5, d['lost'], list(d['replies']['a'])]" cat $LAB_DIR/asks.log)
	tap_is "  all of them, each with the hot value" "$lost" \
		'[true, 0, ["VALUE a 0 5\\r\\nhot-a\\r\\nEND\\r\\n"]]'
	tap_ok "  unload" weir unload
	tap_is "  takes the program from eth0: nothing is redirected there" \
		"$(stream far client 10.7.0.2 16)" "0 of 16"
	tap_is "  to memcached it is open" "$(ask 'get a')" 'END\r\n'
}

load_programs eth0 eth1 && load_programs eth1 eth0 || lab_die "the programs cannot be loaded"
sends_back eth0 10.7.0.1 "on several queues"
sends_back eth1 10.8.0.1 "on one queue"
make_wire
redirects
redirects_both_ways
beside_weir
tap_done
