#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=lan --nic hub=lan
# vm-kernels: 6.1 6.18
#
# VLAN devices of the kernel on top of the NIC, on both ends; Weir is on the NIC. A reply comes in the
# tags that its request came in.
#
#	eth0  10.7.0.0/24            untagged
#	five  10.5.0.0/24 fd05::/64  802.1Q, 5
#	zero  10.6.0.0/24            802.1Q, 0 with priority 5: the client's only, a priority tag
#	deep  10.4.0.0/24 fd04::/64  802.1Q, 7 in 802.1ad, 100: QinQ

. "$(dirname "$0")/common.sh"
guest_start 1
cd $LAB_DIR || exit 1

vlan() # NS OVER NAME ID [OPTION...]
{
	ip -n "$1" link add link "$2" name "$3" type vlan id "$4" "${@:5}" && ip -n "$1" link set "$3" up
}

vlans() # NS HOST-NUMBER
{
	vlan "$1" eth0 five 5 && vlan "$1" eth0 outer 100 proto 802.1ad && vlan "$1" outer deep 7 || return
	lab_addr "$1" five 10.5.0.$2/24 fd05::$2/64
	lab_addr "$1" deep 10.4.0.$2/24 fd04::$2/64
}

# Of user names a guest has none but root.
TCPDUMP=(tcpdump -Z root -U -e -n)

watch_tags()
{
	lab_bg tcpdump lab_in client "${TCPDUMP[@]}" --immediate-mode -i eth0 -w $LAB_DIR/frames.pcap
	lab_wait_for 30 grep -q 'listening on' $LAB_DIR/tcpdump.log
}

# The tags of the replies that came from this address, each kind once.
tags_from() # ADDRESS
{
	"${TCPDUMP[@]}" -r $LAB_DIR/frames.pcap 2>/dev/null | grep -F " $1.11211 > " |
		sed -E 's/^[^,]*, ethertype //; s/ \(0x[0-9a-f]+\)//g; s/, length [0-9]+://; s/, ethertype IPv.*//
			s/^IPv.*/none/' | sort -u
}

# Sets TAGS: "" where no reply was seen yet.
have_tags() # ADDRESS
{
	TAGS=$(tags_from "$1")
	[ -n "$TAGS" ]
}

tap_tags() # SENTENCE ADDRESS WANT
{
	# tcpdump writes when it comes to it.
	lab_wait_for 10 have_tags "$2"
	tap_is "$1" "$TAGS" "$3"
}

yaml() # INTERFACE
{
	cat >$YAML <<-END
		interfaces: [{name: $1}]
		cache: {capacity: 1000, memory: 4M}
		services:
		  - name: cache
		    vips: ["10.7.0.1:11211", "10.5.0.1:11211", "10.4.0.1:11211", "10.6.0.1:11211",
		           "[fd05::1]:11211", "[fd04::1]:11211"]
		    clients: [10.4.0.0/14, "fd04::/15"]
		    origin: 10.7.0.1:11211
	END
}

fill_origin()
{
	tell 'set one 3 0 3' ONE 'set L67 7 0 1367' "$(value 1367)" >/dev/null
}

hot()
{
	fill_origin
	printf '%s\n' one L67 | weir cache warm -q - >/dev/null
}

LOOKUPS=('get one' 'mg one v s' 'bin get one' 'get L67')
declare -A WANT=(
	[10.7.0.1]='none'
	[10.5.0.1]='802.1Q vlan 5, p 0'
	[fd05::1]='802.1Q vlan 5, p 0'
	[10.4.0.1]='802.1Q-QinQ vlan 100, p 0, ethertype 802.1Q, vlan 7, p 0'
	[fd04::1]='802.1Q-QinQ vlan 100, p 0, ethertype 802.1Q, vlan 7, p 0'
)

# In generic mode, newer kernels (6.18) leave no room behind a short frame for the longest replies.
tap_hits() # SENTENCE MODE
{
	if [ "$2" = generic ]; then
		tap_like "$1" "$(reasons_since)" '^hit=(4|3 no_room=1)$'
	else
		tap_is "$1" "$(reasons_since)" 'hit=4'
	fi
}

each_vlan() # MODE
{
	local to out
	watch_tags
	for to in "${!WANT[@]}"; do
		[[ $to == *:* ]] && ASK_TO=[$to]:11211 || ASK_TO=$to:11211
		hot
		reasons_since >/dev/null
		out=$(ask "${LOOKUPS[@]}")
		tap_hits "$1, $to: hits" "$1"
		tap_same "  byte for byte" "$out" "$ORIGIN"
		out=$(ask 'get nowhere' 'set one 3 0 3\r\nNEW' 'get one')
		tap_is "  a write is seen, and its reply" "$(reasons_since)" "fenced=1 miss=1 reply_write=1 write=1"
		tap_is "  and read again" "$out" 'END\r\n
STORED\r\n
VALUE one 3 3\r\nNEW\r\nEND\r\n'
	done
	unset ASK_TO
	for to in "${!WANT[@]}"; do
		tap_tags "$1, $to: replies come in their requests' tags" $to "${WANT[$to]}"
	done
	lab_stop tcpdump
}

vlans server 1 && vlans client 2 || tap_skip_all "this kernel has no VLAN devices"
vlan client eth0 zero 0 egress-qos-map 0:5
lab_addr client zero 10.6.0.2/24
lab_addr server eth0 10.6.0.1/24
MAC=$(lab_mac server eth0)
# The answer to a question for it would come without a tag, on another device.
ip -n client neigh add 10.6.0.1 dev zero lladdr "$MAC" nud permanent
for to in 10.5.0.1 10.4.0.1 fd05::1 fd04::1 10.6.0.1; do
	tap_ok "the kernels reach each other without weir: $to" lab_wait_for 20 lab_in client ping -c1 -W1 $to
done

fill_origin
ORIGIN=$(ask_origin "${LOOKUPS[@]}")
yaml eth0
tap_ok "weir is loaded on the NIC" weir load -q -c $YAML
tap_is "  natively" "$(of_json "d['interfaces'][0]['mode']" weir status --json)" native
tap_like "doctor has no objection to tags" "$(weir doctor -i eth0)" 'ok +vlan +VLANs on top \((.* )?five'
each_vlan native
hot
watch_tags
reasons_since >/dev/null
out=$(ASK_TO=10.6.0.1:11211 ask "${LOOKUPS[@]}")
tap_hits "a lookup with a priority tag hits" native
tap_same "  byte for byte" "$out" "$ORIGIN"
tap_tags "  and gets its tag back, with the priority" 10.6.0.1 '802.1Q vlan 0, p 5'
lab_stop tcpdump
ASK_TO=10.5.0.1:11211 ask 'set one 3 0 3\r\nTAG' >/dev/null
out=$(ask 'get one')
tap_is "a write in a VLAN fences for all" "$(reasons_since)" "fenced=1 reply_write=1 write=1"
tap_is "  which read it" "$out" 'VALUE one 3 3\r\nTAG\r\nEND\r\n'

# Frames to it are not to the NIC's address; the kernel takes them all the same.
ip -n server link set five address 02:00:00:00:00:05
ip -n client neigh flush dev five
hot
lab_wait_for 20 lab_in client ping -c1 -W1 10.5.0.1
reasons_since >/dev/null
out=$(ASK_TO=10.5.0.1:11211 ask 'get one')
tap_is "a VLAN device with an address of its own is not answered for" "$(reasons_since)" "other_host=1"
tap_is "  but by memcached" "$out" 'VALUE one 3 3\r\nONE\r\nEND\r\n'
ip -n server link set five address "$MAC"
ip -n client neigh flush dev five
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""

### In generic mode

tap_ok "weir is loaded in generic mode" weir load -q -c $YAML --mode generic
each_vlan generic
weir unload -q >/dev/null

### On a VLAN device itself

yaml five
tap_fails "weir is loaded on a VLAN device: status 5, degraded" 5 weir load -q -c $YAML
tap_is "  for it has no other mode" "$(of_json "d['interfaces'][0]['mode']" weir status --json)" generic
watch_tags
hot
reasons_since >/dev/null
out=$(ASK_TO=10.5.0.1:11211 ask "${LOOKUPS[@]}")
tap_hits "on the VLAN device: hits" generic
tap_same "  byte for byte" "$out" "$ORIGIN"
tap_tags "  in the VLAN" 10.5.0.1 "${WANT[10.5.0.1]}"
ask 'get one' >/dev/null
tap_is "  others are memcached's" "$(reasons_since)" ""
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""
tap_done
