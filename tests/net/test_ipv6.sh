#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1 6.18
#
# Other ways in: IPv6, whose checksums the client's kernel verifies; VLAN tags; a second interface;
# generic mode; load -i.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
SIX='[fd07::1]:11211'

# The kernel's own verdict on what comes in, of the client: bad checksums.
bad_checksums() # FIELD-PREFIX
{
	lab_in client python3 -c '
import re
four = [l.split() for l in open("/proc/net/snmp") if l.startswith("Udp:")]
six = dict(l.split() for l in open("/proc/net/snmp6"))
print(dict(zip(*four))["InCsumErrors"], six["Udp6InCsumErrors"])'
}

### IPv6

net_yaml >$YAML
tap_ok "weir is loaded" weir_load
tell 'set one 5 0 3' 'ONE' 'set cold 0 0 4' 'cold' >/dev/null
weir cache warm -q - <<<one >/dev/null
for value in '' a ab abc abcd abcde; do
	weir cache put "v${#value}" "$value" >/dev/null
done
export ASK_TO=$SIX
tap_counts "IPv6: a hit is answered" hit 1 ask 'get one'
tap_is "  with the item" "$OUT" 'VALUE one 5 3\r\nONE\r\nEND\r\n'
tap_counts "IPv6: each length of a value has a right checksum" hit 6 ask 'get v0' 'get v1' 'get v2' \
	'get v3' 'get v4' 'get v5'
tap_is "  the client's kernel finds" "$OUT" 'VALUE v0 0 0\r\n\r\nEND\r\n
VALUE v1 0 1\r\na\r\nEND\r\n
VALUE v2 0 2\r\nab\r\nEND\r\n
VALUE v3 0 3\r\nabc\r\nEND\r\n
VALUE v4 0 4\r\nabcd\r\nEND\r\n
VALUE v5 0 5\r\nabcde\r\nEND\r\n'
tap_counts "IPv6: meta and binary too" hit 3 ask 'mg v3 v s Oopaque' 'bin getk one' 'bin get one'
tap_is "  with their items" "$OUT" 'VA 3 s3 Oopaque\r\nabc\r\n
0 one ONE
0 . ONE'
tap_counts "IPv6: a miss is the origin's" miss 1 ask 'get cold'
tap_is "  to answer" "$OUT" 'VALUE cold 0 4\r\ncold\r\nEND\r\n'
tap_counts "IPv6: a write is seen" write 1 ask 'set one 1 0 3\r\nNEW' 'get one'
tap_is "  and read again" "$OUT" 'STORED\r\n
VALUE one 1 3\r\nNEW\r\nEND\r\n'
lab_addr client eth0 fd08::2/64
ip -n server route add fd08::/64 dev eth0
ASK_FROM=fd08::2 ASK_TIMEOUT=0.3 tap_counts "IPv6: strangers get nothing" stranger_drop 1 ask 'get v1'
tap_is "  at all" "$OUT" -
unset ASK_TO
tap_counts "IPv4: the same key hits as well" hit 1 ask 'get v1'
tap_is "no reply had a bad checksum" "$(bad_checksums)" "0 0"

net_yaml 1000 'udp_checksum: false' >$YAML
tap_ok "udp_checksum: false is reloaded" weir reload -q -c $YAML
tap_is "  IPv4 replies without one are taken" "$(ask 'get v2')" 'VALUE v2 0 2\r\nab\r\nEND\r\n'
tap_is "  IPv6 replies still have one" "$(ASK_TO=$SIX ask 'get v2')" 'VALUE v2 0 2\r\nab\r\nEND\r\n'
net_yaml >$YAML
weir reload -q -c $YAML >/dev/null

### VLAN

mac=$(lab_mac server eth0)
tagged() # IDS SOURCE TARGET REQUEST
{
	client client vlan eth0 "$1" "$mac" "$2" "$3" "$4"
}
# Where the NIC takes the tags off before XDP, a native program cannot see them.
lab_in server ethtool -K eth0 rxvlan off 2>/dev/null
lab_in client ethtool -K eth0 txvlan off 2>/dev/null
tap_counts "VLAN: a hit in a tagged frame is answered" hit 1 tagged 5 10.7.0.2 10.7.0.1 'get v3'
tap_is "  with the same tag" "$OUT" 'VALUE v3 0 3\r\nabc\r\nEND\r\n'
tap_counts "VLAN over IPv6 too" hit 1 tagged 5 fd07::2 fd07::1 'get v4'
tap_is "  with the same tag" "$OUT" 'VALUE v4 0 4\r\nabcd\r\nEND\r\n'
tap_counts "two tags (QinQ) too" hit 1 tagged 100,5 10.7.0.2 10.7.0.1 'get v5'
tap_is "  with both" "$OUT" 'VALUE v5 0 5\r\nabcde\r\nEND\r\n'
tap_counts "VLAN: a write is seen" write 1 tagged 5 10.7.0.2 10.7.0.1 'set v5 0 0 1\r\nx'
tap_counts "  so that the key no longer hits" fenced 1 ask 'get v5'
if ip -n server link add link eth0 name eth0.5 type vlan id 5 2>/dev/null; then
	ip -n client link add link eth0 name eth0.5 type vlan id 5
	ip -n server link set eth0.5 up && ip -n client link set eth0.5 up
	lab_addr client eth0.5 10.7.5.2/24
	lab_addr server eth0.5 10.7.5.1/24
	lab_bg vlan lab_in server memcached -u root -t 1 -p 11211 -U 11211 -l 10.7.5.1
	lab_wait_port server 11211 udp
	net_yaml >$YAML
	sed -i 's/"10.7.0.1:11211",/"10.7.5.1:11211", &/; s/10.7.0.0\/24/10.7.0.0\/16/' $YAML
	weir reload -q -c $YAML
	ASK_TO=10.7.5.1:11211 tap_counts "a VLAN device's client gets hits" hit 1 ask 'get v3'
	tap_is "  in its VLAN" "$OUT" 'VALUE v3 0 3\r\nabc\r\nEND\r\n'
else
	tap_skip "a VLAN device's client gets hits" "this kernel has no VLAN devices"
fi
weir unload -q >/dev/null

### Two interfaces

lab_netns second
lab_link second eth0 server eth1
lab_addr second eth0 10.9.0.2/24
lab_addr server eth1 10.9.0.1/24
lab_native_peer second eth0
lab_bg cache2 lab_in server memcached -u root -t 1 -p 11211 -U 11211 -l 10.9.0.1
client_start second
lab_wait_for 5 client second tell 10.9.0.1:11211
from_second() # REQUEST...
{
	client second ask 10.9.0.1:11211 "$@"
}
cat >$YAML <<-EOF
	interfaces:
	  - name: eth0
	  - {name: eth1, mode: generic}
	cache: {capacity: 100, memory: 4M}
	services:
	  - name: both
	    vips: ["10.7.0.1:11211", "10.9.0.1:11211"]
	    clients: [10.7.0.0/24, 10.9.0.0/24]
	    origin: 10.7.0.1:11211
EOF
tap_ok "two interfaces are loaded, one in generic mode" weir_load
tap_is "  as status says" \
	"$(of_json "[(i['name'], i['mode'], i['egress']) for i in d['interfaces']]" weir status --json)" \
	'[["eth0", "native", true], ["eth1", "generic", true]]'
weir cache put key shared >/dev/null
tap_counts "the client at the first hits" hit 1 ask 'get key'
tap_is "  natively" "$OUT" 'VALUE key 0 6\r\nshared\r\nEND\r\n'
tap_counts "the client at the second hits the same hot set" hit 1 from_second 'get key'
tap_is "  in generic mode" "$OUT" 'VALUE key 0 6\r\nshared\r\nEND\r\n'
tap_counts "a write through one" write 1 from_second 'set key 0 0 1\r\nx'
tap_counts "  is seen by the other" fenced 1 ask 'get key'
tap_ok "unload" weir unload
tap_is "  takes the programs off both" "$(lab_in server ip link show | grep -c xdp)" 0
tap_is "  and the qdiscs" "$(lab_in server tc qdisc show | grep -c clsact)" 0

### load -i, --mode

tap_ok "load -i takes one of the interfaces" weir_load -i eth1
tap_is "  alone" "$(of_json "[i['name'] for i in d['interfaces']]" weir status --json)" '["eth1"]'
tap_ok "  and a reload keeps to it" weir reload -q -c $YAML
tap_is "  alone" "$(of_json "[i['name'] for i in d['interfaces']]" weir status --json)" '["eth1"]'
weir unload -q >/dev/null
tap_fails "load -i of an interface that is not configured: status 1" 1 weir load -c $YAML -i eth7
tap_ok "--mode generic is for all" weir_load --mode generic
tap_is "  interfaces" "$(of_json "[i['mode'] for i in d['interfaces']]" weir status --json)" \
	'["generic", "generic"]'
weir cache put key generic >/dev/null
tap_counts "generic mode: hits" hit 1 ask 'get key'
tap_is "  are answered" "$OUT" 'VALUE key 0 7\r\ngeneric\r\nEND\r\n'
tap_counts "generic mode: a write" write 1 ask 'set key 0 0 1\r\ny' 'get key'
tap_is "  is read again" "$OUT" 'STORED\r\n
VALUE key 0 1\r\ny\r\nEND\r\n'
weir unload -q >/dev/null
tap_fails "--mode with another word: status 2" 2 weir load -c $YAML --mode fast
tap_is "no reply had a bad checksum" "$(bad_checksums)" "0 0"
tap_done
