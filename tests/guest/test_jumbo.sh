#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=lan,host_mtu=9000 --nic hub=lan,host_mtu=9000
# vm-kernels: 6.1 6.18
#
# Large MTUs: whatever mode Weir finds itself in, every frame of the MTU still arrives. virtio_net takes
# programs at MTUs at which it then drops what does not fit into one buffer, and lets the MTU be raised
# under a program. With xdp.frags, from Linux 6.3 on, it splits frames.

. "$(dirname "$0")/common.sh"
guest_start 1
cd $LAB_DIR || exit 1

# The largest MTU whose frames, with two VLAN tags, are one buffer's.
ONE_BUFFER=3486
[ "$(printf '%s\n' 6.3 "$(uname -r)" | sort -V | head -1)" = 6.3 ] && FRAGS=1 || FRAGS=0

set_mtu()
{
	ip -n server link set eth0 mtu "$1" && ip -n client link set eth0 mtu "$1" || lab_die "no MTU of $1"
}

# Packets of this size, unfragmented, there and back: all of them.
passes() # BYTES
{
	lab_in client ping -c4 -i0.3 -W5 -M do -s $(($1 - 28)) 10.7.0.1 | grep ', 0% packet loss'
}

is_lost() # BYTES
{
	! lab_in client ping -c3 -i0.3 -W1 -M do -s $(($1 - 28)) 10.7.0.1 >/dev/null
}

# native, native frags or generic.
mode()
{
	of_json "d['interfaces'][0]['mode'] + ' frags' * d['interfaces'][0]['frags']" weir status --json
}

HUGE=$(value 1500)$(value 1500)$(value 1500)$(value 500)
hot()
{
	tell 'set one 5 0 3' ONE 'set L67 7 0 1367' "$(value 1367)" >/dev/null
	# Segments of the MTU.
	tell 'set huge 0 0 5000' "$HUGE" >/dev/null
	printf '%s\n' one L67 | weir cache warm -q - >/dev/null
}
hot_one()
{
	weir cache put one put >/dev/null
}

# 5, degraded, is right where the driver cannot split frames.
weir_reload()
{
	weir reload -q -c $YAML || [ $? = 5 ]
}

LOOKUPS=('get one' 'get L67' 'mg L67 v' 'bin get one')

# What must hold at any MTU, in any mode.
works() # WHAT MTU
{
	local out drops
	drops=$(nic_counts eth0 rx drops)
	hot
	reasons_since >/dev/null
	out=$(ask "${LOOKUPS[@]}")
	if [ "$(mode)" = generic ]; then
		# Newer kernels (6.18) leave no room behind a short frame for the longest replies then.
		tap_like "$1: hits" "$(reasons_since)" '^hit=(4|2 no_room=2)$'
	else
		tap_is "$1: hits, up to the largest" "$(reasons_since)" "hit=4"
	fi
	tap_same "  byte for byte" "$out" "$(ask_origin "${LOOKUPS[@]}")"
	tap_ok "  packets of $2 bytes arrive" passes "$2"
	tap_is "  and the driver drops none" "$(nic_counts eth0 rx drops)" "$drops"
}

### load at each MTU

net_yaml >$YAML
for mtu in 1500 $ONE_BUFFER $((ONE_BUFFER + 1)) 4064 9000; do
	set_mtu $mtu
	if [ $mtu -le $ONE_BUFFER ]; then
		want='native' status=0
	elif [ $FRAGS = 1 ]; then
		want='native frags' status=0
	else
		want='generic' status=5
	fi
	weir load -c $YAML >load.log 2>&1
	tap_is "MTU $mtu, mode auto: $want" "$? $(mode)" "$status $want"
	[ $status = 0 ] || tap_like "  why" "$(cat load.log)" 'GENERIC MODE: .*with so large an MTU'
	works "MTU $mtu, $want" $mtu
	tap_ok "  unload" weir unload
	tap_is "  leaves nothing" "$(leftovers)" ""
	if [ "$want" = generic ]; then
		out=$(weir load -c $YAML --mode native 2>&1)
		tap_is "MTU $mtu, mode native: refused, status 1" $? 1
		tap_like "  why, and what to do" "$out" 'no native XDP program at this MTU: lower it'
		tap_is "  and nothing is left" "$(leftovers)" ""
	else
		tap_ok "MTU $mtu, mode native" weir load -q -c $YAML --mode native
		tap_is "  is that" "$(mode)" "$want"
		weir unload -q >/dev/null
	fi
	# Whatever went wrong: at this one it can be taken off.
	set_mtu 1500
	weir unload -q >/dev/null
done
set_mtu 9000
tap_ok "MTU 9000, mode generic" weir load -q -c $YAML --mode generic
tap_is "  is that" "$(mode)" generic
works "MTU 9000, generic" 9000
weir unload -q >/dev/null

### Large requests and replies

# A lookup whose frame has thousands of bytes behind the packet: in several buffers.
padded() # REQUEST
{
	local mac
	mac=$(lab_mac server eth0)
	lab_in client python3 - "$NET_DIR" "$mac" "$1" <<-'END'
		import socket, struct, sys
		sys.path.insert(0, sys.argv[1])
		from client import FRAME, checksum, escaped
		udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		udp.bind(("10.7.0.2", 0))
		udp.settimeout(5)
		src, dst = socket.inet_aton("10.7.0.2"), socket.inet_aton("10.7.0.1")
		data = FRAME.pack(7, 0, 1, 0) + sys.argv[3].encode() + b"\r\n"
		data = struct.pack(">HHHH", udp.getsockname()[1], 11211, 8 + len(data), 0) + data
		ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0) + src + dst
		ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
		raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		raw.bind(("eth0", 0))
		frame = bytes.fromhex(sys.argv[2].replace(":", "")) + raw.getsockname()[4] + b"\x08\0" + ip + data
		raw.send(frame + bytes(8000 - len(frame)))
		try:
		    print(escaped(udp.recv(2048)[8:]))
		except socket.timeout:
		    print("-")
	END
}

if [ $FRAGS = 1 ]; then
	want='native frags' padded_reason=no_room
else
	want=generic padded_reason=hit
fi
weir load -q -c $YAML >/dev/null 2>&1
tap_is "MTU 9000: $want" "$(mode)" "$want"
hot
reasons_since >/dev/null
out=$(ask 'get huge')
tap_is "a value longer than a datagram is memcached's, though a frame would hold it" \
	"$(reasons_since)" "miss=1"
tap_same "  and comes in several" "$out" "VALUE huge 0 5000\\r\\n$HUGE\\r\\nEND\\r\\n"
out=$(padded 'get one')
tap_is "a lookup in a frame of several buffers is counted as what it is" "$(reasons_since)" "$padded_reason=1"
tap_is "  and answered by whom it is for" "$out" 'VALUE one 5 3\r\nONE\r\nEND\r\n'
out=$(ask "set one 0 0 5000\r\n$HUGE" 'get one')
tap_is "a write of 5,000 bytes in one frame is seen" "$(reasons_since)" "fenced=1 reply_write=1 write=1"
tap_same "  and read again" "$out" "STORED\\r\\n
VALUE one 0 5000\\r\\n$HUGE\\r\\nEND\\r\\n"
out=$(ask 'get L67')
tap_is "  other keys still hit" "$(reasons_since)" "hit=1"
out=$(ask "get $(printf 'k%d ' {1..1000})L67" 'get L67')
tap_is "a get of 1,000 keys, longer than is read, fences all" "$(reasons_since)" \
	"fenced=1 reply_write=1 unknown=1"
tap_same "  and memcached answers it" "$out" "VALUE L67 7 1367\\r\\n$(value 1367)\\r\\nEND\\r\\n
VALUE L67 7 1367\\r\\n$(value 1367)\\r\\nEND\\r\\n"

### The MTU is changed while Weir is loaded

set_mtu 1500
out=$(weir status 2>&1)
tap_is "lowered: status warns, degraded" $? 5
tap_like "  what to do" "$out" 'the MTU was 9000 when loaded and is 1500 now: `weir reload` adapts'
tap_ok "  reload" weir_reload
[ $FRAGS = 0 ] || tap_is "  goes back to one buffer" "$(mode)" native
works "lowered to 1500" 1500
weir unload -q >/dev/null

weir load -q -c $YAML >/dev/null
set_mtu 9000
out=$(weir status 2>&1)
tap_is "raised to 9000: status is degraded" $? 5
tap_like "  it says that frames get lost" "$out" '1500 when loaded and is 9000 now: longer frames are LOST'
tap_ok "  as they are" is_lost 9000
tap_is "  while lookups hit" "$(hot_one; ask 'get one')" 'VALUE one 0 3\r\nput\r\nEND\r\n'
if [ $FRAGS = 1 ]; then
	tap_ok "  reload" weir reload -q -c $YAML
	tap_is "  asks for several buffers" "$(mode)" 'native frags'
	works "raised to 9000" 9000
else
	out=$(weir reload -q -c $YAML 2>&1)
	tap_is "  reload fails: this driver can neither take nor leave a program" $? 1
	tap_like "  it says why" "$out" 'at this MTU: lower it'
	out=$(weir unload 2>&1)
	tap_is "  so does unload" $? 1
	tap_like "  it says why, and what to do" "$out" 'MTU of 9000: `ip link set dev eth0 mtu 1500`'
	tap_is "  and all is as it was: status knows" \
		"$(of_json "d['state'], d['answering'], d['interfaces'][0]['egress']" weir status --json)" \
		'["ready", true, true]'
	set_mtu 1500
fi
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""
set_mtu 9000
tap_ok "  not even lost frames" passes 9000
tap_done
