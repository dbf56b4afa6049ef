#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=lan --nic hub=lan --nic hub=small,mrg_rxbuf=off --nic hub=small,mrg_rxbuf=off
# vm-kernels: 6.1 6.18
#
# Native XDP on virtio_net: what the NIC answers is, byte for byte, what memcached would, for values up
# to the largest. The second NIC has buffers of 1,600 bytes for its frames, the first has pages.

. "$(dirname "$0")/common.sh"
guest_start 2
cd $LAB_DIR || exit 1

# The largest that can be hot with keys of five bytes: 1,392 bytes are in a datagram.
LARGEST=1365
# Around the words and chunks in which values are copied.
SIZES=(0 1 2 3 7 8 9 30 31 32 33 100 255 256 257 {495..513} 1000 1200
	1317 1318 1337 1338 1359 1360 1364 $LARGEST)

key() # SIZE: the key of the value of this size
{
	printf 's%04d' "$1"
}

# memcached, then the hot set, gets values of these sizes.
fill() # SIZE...
{
	local size lines=()
	for size in "$@"; do
		lines+=("set $(key "$size") 7 0 $size" "$(value "$size")")
	done
	tell "${lines[@]}" >/dev/null
	for size in "$@"; do
		key "$size"
		echo
	done | weir cache warm -q - >/dev/null
}

# All lookups of all values. The other replies of the largest are longer than that to `get`.
every_lookup()
{
	local size key
	for size in "${SIZES[@]}"; do
		key=$(key "$size")
		printf '%s\n' "get $key" "mg $key v" "mg $key" "mg $key k"
		[ "$size" -gt 1338 ] || printf '%s\n' "gets $key" "mg $key s k v f c t Oabc" "bin get $key" "bin getk $key"
	done
}

cat >$YAML <<-END
	interfaces: [{name: eth0}, {name: eth1}]
	cache: {capacity: 1000, memory: 4M}
	services:
	  - name: cache
	    vips: ["10.7.0.1:11211", "[fd07::1]:11211", "10.8.0.1:11211", "[fd08::1]:11211"]
	    clients: [10.7.0.0/24, 10.8.0.0/24, "fd07::/64", "fd08::/64"]
	    origin: 10.7.0.1:11211
END
tap_ok "weir is loaded: not degraded" weir load -q -c $YAML
tap_is "  natively on both NICs, with egress programs" \
	"$(of_json "[(i['name'], i['mode'], i['egress']) for i in d['interfaces']]" weir status --json)" \
	'[["eth0", "native", true], ["eth1", "native", true]]'
tap_like "  as a person reads" "$(weir status)" 'weir is answering.*eth0 +native.*eth1 +native'

### Values of each size, in each protocol

fill "${SIZES[@]}"
mapfile -t lookups < <(every_lookup)
origin=$(ask_origin "${lookups[@]}")
for to in 10.7.0.1 '[fd07::1]' 10.8.0.1 '[fd08::1]'; do
	ASK_TO=$to:11211 tap_counts "$to: the NIC answers ${#lookups[@]} lookups of ${#SIZES[@]} sizes" \
		hit ${#lookups[@]} ask "${lookups[@]}"
	tap_same "  with memcached's bytes" "$OUT" "$origin"
done
for nic in eth0 eth1; do
	tap_is "$nic: the driver sent each of them" "$(nic_counts $nic rx xdp_tx)" $((2 * ${#lookups[@]}))
	tap_is "  and dropped none" "$(nic_counts $nic rx drops) $(nic_counts $nic tx xdp_tx_drops)" "0 0"
done

### The largest

# A datagram's 1,392 bytes, to the byte; the same on both NICs.
tell "set L67 7 0 1367" "$(value 1367)" "set L68 7 0 1368" "$(value 1368)" >/dev/null
tap_ok "the largest value that is documented, 1,367 bytes, can be hot" weir cache warm -q - <<<L67
tap_fails "  one of 1,368 is left out: status 1" 1 weir cache warm -q - <<<L68
reasons_since >/dev/null
for to in 10.7.0.1 '[fd08::1]'; do
	export ASK_TO=$to:11211
	fits=('get L67' 'mg s1365 v O12345678901234' 'bin get s1364' 'bin getk s1359')
	over=('mg s1365 v O123456789012345' "bin get s1365" 'bin getk s1360')
	out=$(ask "${fits[@]}")
	tap_is "$to: the largest replies are the NIC's" "$(reasons_since)" "hit=${#fits[@]}"
	tap_same "  with memcached's bytes" "$out" "$(ask_origin "${fits[@]}")"
	out=$(ask "${over[@]}")
	tap_is "  replies that are a byte longer are memcached's" "$(reasons_since)" "too_long=${#over[@]}"
	tap_same "  which come in two datagrams" "$out" "$(ask_origin "${over[@]}")"
	out=$(ask 'get L68')
	tap_is "  so is what cannot be hot" "$(reasons_since)" "miss=1"
	tap_same "  and comes" "$out" "$(ask_origin 'get L68')"
done
unset ASK_TO

# Here the MTU ends it: 20 or 40 bytes of IP header, 16 of UDP and frame header, 27 around the value.
for nic in eth0 eth1; do
	ip -n server link set $nic mtu 1400
done
tap_like "after a change of the MTU status tells" "$(weir status 2>&1)" 'the MTU was 1500 .*weir reload'
tap_ok "  what to do" weir reload -q -c $YAML
reasons_since >/dev/null
for row in '10.7.0.1 1337' '[fd08::1] 1317'; do
	size=${row#* }
	export ASK_TO=${row% *}:11211
	out=$(ask "get $(key "$size")")
	tap_is "MTU 1400, ${row% *}: the NIC answers $size bytes" "$(reasons_since)" "hit=1"
	tap_same "  with memcached's bytes" "$out" "$(ask_origin "get $(key "$size")")"
	out=$(ask "get $(key $((size + 1)))")
	tap_is "  and leaves $((size + 1)) to memcached" "$(reasons_since)" "too_long=1"
	tap_same "  whose reply comes in fragments" "$out" "$(ask_origin "get $(key $((size + 1)))")"
done
unset ASK_TO
for nic in eth0 eth1; do
	ip -n server link set $nic mtu 1500
done
weir reload -q -c $YAML >/dev/null

### The longest requests

long=$(printf 'k%.0s' {1..250})
tell "set $long 7 0 4" long >/dev/null
weir cache warm -q - <<<"$long" >/dev/null
lookups=("get $long" "gets $long" "mg $long" "mg $long s k v O$long"
	"mg $long s k v O1234567890123456789012345678901" "bin get $long" "bin getk $long")
reasons_since >/dev/null
out=$(ask "${lookups[@]}")
tap_is "keys of 250 bytes: replies shorter and longer than their requests; an opaque token is too long" \
	"$(reasons_since)" "flag=1 hit=6"
tap_same "  memcached's bytes all the same" "$out" "$(ask_origin "${lookups[@]}")"

### What is not the NIC's

tell 'set cold 0 0 4' cold >/dev/null
for to in 10.7.0.1 '[fd08::1]'; do
	export ASK_TO=$to:11211
	fill 8 1200
	reasons_since >/dev/null
	out=$(ask 'get cold' 'get nowhere' 'bin get nowhere' \
		"set s1200 0 0 1330\r\n$(value 1330)" 'get s1200' 'bin set s0008 new' 'get s0008' 'get s0009')
	tap_is "$to: misses pass, writes fence what they write" "$(reasons_since)" \
		"fenced=2 hit=1 miss=3 reply_write=2 write=2"
	tap_same "  and no old value is read" "$out" "VALUE cold 0 4\\r\\ncold\\r\\nEND\\r\\n
END\\r\\n
1 . Not found
STORED\\r\\n
VALUE s1200 0 1330\\r\\n$(value 1330)\\r\\nEND\\r\\n
0 . .
VALUE s0008 0 3\\r\\nnew\\r\\nEND\\r\\n
VALUE s0009 7 9\\r\\n$(value 9)\\r\\nEND\\r\\n"
done
unset ASK_TO
lab_addr client eth0 10.9.0.2/24
ip -n server route add 10.9.0.0/24 dev eth0
reasons_since >/dev/null
out=$(ASK_FROM=10.9.0.2 ASK_TIMEOUT=0.5 ask 'get s0009' 'set s0009 0 0 1\r\nx')
tap_is "strangers are dropped" "$(reasons_since)" "stranger_drop=2"
tap_is "  and hear nothing" "$out" $'-\n-'
tap_is "  nor change anything" "$(ask 'get s0009')" "VALUE s0009 7 9\\r\\n$(value 9)\\r\\nEND\\r\\n"

### The end

tap_is "nothing was ever half written" "$(reason aborted) $(reason no_room) $(reason reply_lost)" "0 0 0"
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""
tap_same "  and memcached answers" "$(ask "get s1000")" "$(ask_origin 'get s1000')"
tap_is "  the driver dropped nothing but the strangers' frames in all this" \
	"$(nic_counts eth0 rx drops) $(nic_counts eth1 rx drops)" "2 0"
tap_done
