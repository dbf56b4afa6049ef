#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.12
#
# Backends behind address translation, both directions through the edge: connections, counts, what routers say,
# fragments, throughput; and a cache in front of memcached servers.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1
nginx_all
# Nobody has the VIP now but the edge's configuration: a packet that was not translated gets nowhere.
for b in "${BACKENDS[@]}"; do
	ip -n $b addr del $VIP/32 dev lo
	ip -n $b addr del $VIP6/128 dev lo
done
DELIVERY=nat
steer_yaml >$YAML
weir_load >load.log 2>&1 || lab_die "weir is not loaded: $(cat load.log)"
neighbours

### Connections

spread_all 100
tap_ok "replies are translated" [ "$(reason translated)" -gt 1000 ]

load_start held c1 hold $VIP:80 40
load_start held6 c2 hold "[$VIP6]:80" 40
load_wait held opened && load_wait held6 opened
for b in "${BACKENDS[@]}"; do
	lab_stop $b KILL
done
load_signal held USR1 asked
load_signal held6 USR1 asked
tap_none_counted "backends end, then their clients: nothing is counted"
load_start gone c3 --timeout 2 hold $VIP:80 5
load_wait gone opened
tap_is "  new ones are refused by their hosts" "$(told gone "d['errors']")" '{"refused": 5}'
load_start gone c3 --timeout 2 hold "[$VIP6]:80" 5
load_wait gone opened
tap_is "  over IPv6, too" "$(told gone "d['errors']")" '{"refused": 5}'
lab_stop held
lab_stop held6
nginx_all

### Changes under load

load_start held c1 hold $VIP:80 60
load_start held6 c2 hold "[$VIP6]:80" 60
load_start churn c3 churn $VIP:80 $((100 / SLOWER))
load_start slow c2 --transfer-timeout 60 get $VIP:80 30 /slow
load_wait held opened && load_wait held6 opened && load_wait slow started
tap_ok "a backend is drained" weir backend drain -q -p web b3
tap_ok "another is removed" weir backend del -q --force -p web6 b3v6
CAPACITY_b1=300 steer_yaml >$YAML
tap_ok "reload goes back to what is configured, with another capacity" reload
load_signal held USR1 asked
none_failed "connections go on" held 60
load_signal churn USR1 churn
none_failed "  new ones are made" churn $((20 * 2 / (1 + SLOWER)))
load_wait slow 'done' 30
none_failed "  downloads go on" slow 30
load_signal held6 USR1 asked
tap_ok "  but those of a backend that was removed" \
	[ "$(told held6 "set(d['errors']) == {'reset'} and d['ok'] >= 40")" = true ]
for what in held held6; do
	load_end $what closed
done
load_end churn churned
none_failed "no new connection failed all the while" churn
tap_none_counted "nothing is open, and nothing counted"
steer_yaml >$YAML
reload

### Two addresses of one service

# The second address leads to the edge by the same ways as the first.
VIP2=192.0.2.22
VIP62=2001:db8::22
ip -n router route replace $VIP2 via 10.2.0.1
ip -n router -6 route replace $VIP62 via fd02::1
two_vips()
{
	steer_yaml "$@" | sed "s/\\[\"$VIP:\([0-9]*\)\"/&, \"$VIP2:\1\", \"$VIP2:880\"/
		s/\\[\"\[$VIP6\]:\([0-9]*\)\"/&, \"[$VIP62]:\1\"/"
}
load_start held c1 hold $VIP:80 20
load_start held6 c2 hold "[$VIP6]:80" 20
load_wait held opened && load_wait held6 opened
two_vips >$YAML
tap_ok "further addresses of each service are loaded in its place" reload
load_start second c1 hold $VIP2:80 20
load_start third c3 hold $VIP2:880 20
load_start second6 c2 hold "[$VIP62]:80" 20
for what in second third second6; do
	load_wait $what opened
done
for what in held held6 second third second6; do
	load_signal $what USR1 asked
	none_failed "  replies come from the address that was asked: $what" $what 20
done
load_start get c1 --transfer-timeout 60 get $VIP2:80 10 /slow
load_wait get 'done' 60
none_failed "  and downloads" get 10
for what in second third second6; do
	load_end $what closed
done
steer_yaml >$YAML
tap_ok "the further addresses go" reload
load_signal held USR1 asked
none_failed "  and the first goes on" held 20
for what in held held6; do
	load_end $what closed
done
tap_none_counted "  all are counted, and counted out"

### What routers say

narrow_client
hops_used_up
serve_all
for i in 1 2 3 4; do
	ip -n edge route add 10.3.0.1$i dev eth1 mtu lock 1300
	ip -n edge -6 route add fd03::1$i dev eth1 mtu lock 1300
done
sleep 1.2 # next hops are asked for each second
narrow_backends 1300
for i in 1 2 3 4; do
	ip -n edge route del 10.3.0.1$i dev eth1
	ip -n edge -6 route del fd03::1$i dev eth1
done

### UDP, and throughput

PORT=5353 PROTOCOL=both steer_yaml >$YAML
tap_ok "a UDP service in its place" reload
datagrams
for b in "${BACKENDS[@]}"; do
	lab_stop udp-$b
done
# A UDP socket that nobody reads: the backend's ICMP error comes back as the VIP's.
PORT=5353 PROTOCOL=both two_vips >$YAML
reload
tap_is "a closed UDP port of the second address: the error is its own" "$(load_py c1 ttl $VIP2:5353 udp 64)" \
	"icmp4 type 3 code 3 from $VIP2"
tap_is "  over IPv6, too" "$(load_py c1 ttl "[$VIP62]:5353" udp 64)" "icmp6 type 1 code 4 from $VIP62"
tap_is "a closed UDP port: the error is the address's own" "$(load_py c1 ttl $VIP:5353 udp 64)" \
	"icmp4 type 3 code 3 from $VIP"
tap_is "  over IPv6, too" "$(load_py c1 ttl "[$VIP6]:5353" udp 64)" "icmp6 type 1 code 4 from $VIP6"
if command -v iperf3 >/dev/null; then
	NAMES=b1 PORT=5353 PROTOCOL=both steer_yaml >$YAML
	reload
	lab_bg iperf lab_in b1 iperf3 -s -p 5353
	lab_wait_port b1 5353
	for how in "" -R "-6" "-6 -R"; do
		[[ $how == -6* ]] && to=$VIP6 || to=$VIP
		# shellcheck disable=SC2086
		lab_in c1 timeout $((30 * SLOWER)) iperf3 -c $to -p 5353 $how -n 20M -J >iperf.json 2>&1
		# What is under way when the sender ends is not counted.
		tap_is "iperf3 $how: it arrives" "$(of_file $LAB_DIR/iperf.json "(d['end']['sum_sent']['bytes'] >= 20 << 20 and
			d['end']['sum_received']['bytes'] > 10 << 20)")" true
		tap_note "$(of_file $LAB_DIR/iperf.json "'%.2f Gbit/s' % (d['end']['sum_received']['bits_per_second'] / 1e9)")"
	done
else
	tap_skip "iperf3" "no iperf3"
fi

### A cache in front

cache_yaml() # POOL-LINE... then backends follow
{
	cat <<-EOF
		interfaces: [{name: eth0}, {name: eth1}]
		cache: {capacity: 5000, memory: 4M}
		flows: {capacity: 64K}
		services:
		  - {name: cache, vips: ["$VIP:11211"], clients: [10.1.0.0/16], cache: true, pool: mc, origin: "10.3.0.11:11211"}
		pools:
		  - {name: mc, delivery: nat, ${SHARDS:+shards: $SHARDS,} backends: [$1]}
	EOF
}
for b in "${BACKENDS[@]}"; do
	lab_bg mc-$b lab_in $b memcached -u root -t 1 -p 11211 -U 11211 -l "10.3.0.1${b#b}"
	lab_wait_port $b 11211 udp
done
ask()
{
	client c1 --timeout $SLOWER ask $VIP:11211 -- "$@"
}
cache_yaml '{name: b1, address: "10.3.0.11:11211"}' >$YAML
tap_ok "a cached service with a pool is loaded in its place" reload
weir cache put hot copy >/dev/null
before=$(reason hit)
tap_is "hits are answered at the edge, the rest by the backend" \
	"$(ask 'get hot' 'set cold 0 0 1\r\nx' 'get cold' 'get hot')" 'VALUE hot 0 4\r\ncopy\r\nEND\r\n
STORED\r\n
VALUE cold 0 1\r\nx\r\nEND\r\n
VALUE hot 0 4\r\ncopy\r\nEND\r\n'
tap_is "  two hits" $(($(reason hit) - before)) 2
tap_is "a write is seen: the hot copy is old then" "$(ask 'set hot 0 0 3\r\nnew' 'get hot')" 'STORED\r\n
VALUE hot 0 3\r\nnew\r\nEND\r\n'
mapfile -t sets < <(printf 'set k%d 0 0 1\\r\\nx\n' {0..999})
client c1 tell 10.3.0.11:11211 -- "${sets[@]}" >/dev/null
seq -f 'k%g' 0 999 >many.keys
tap_ok "keys are warmed from the backend" weir cache warm -q many.keys
warm_on()
{
	local end=$((SECONDS + 7))

	while [ $SECONDS -lt $end ]; do
		weir cache warm -q many.keys
	done
}
lab_bg warm warm_on
before=$(reason hit)
coherent=$(client c1 --timeout $((5 * SLOWER)) coherent $VIP:11211 1000 5)
tap_result "no read ever gives less than the last acknowledged write, while keys are warmed all the time" $?
tap_note "$coherent; $(($(reason hit) - before)) hits"
tap_ok "  and reads were hits" [ $(($(reason hit) - before)) -gt $((200 / SLOWER)) ]
wait "$(lab_pid warm)"
lab_stop warm

SHARDS=4 cache_yaml \
	"$(printf "{name: b%d, address: '10.3.0.1%d:11211', shard: %d}, " 1 1 0 2 2 1 3 3 2 4 4 3)" >$YAML
sed -i 's/name: mc,/name: shards,/; s/pool: mc/pool: shards/' $YAML
tap_ok "a sharded pool in its place" reload
weir cache flush -q >/dev/null
mapfile -t sets < <(for i in {0..99}; do printf 'set s%d 0 0 3\\r\\n%03d\n' $i $i; done)
tap_is "keys are written to their shards" "$(ask "${sets[@]}" | sort | uniq -c | tr -s ' ')" ' 100 STORED\r\n'
mapfile -t gets < <(seq -f 'get s%g' 0 99)
tap_is "  and found there" "$(ask "${gets[@]}" | grep -c '^VALUE s[0-9]* 0 3')" 100
items=()
for b in "${BACKENDS[@]}"; do
	items+=("$(client c1 tell "10.3.0.1${b#b}:11211" -- "${gets[@]}" | grep -c '^VALUE s[0-9]* 0 3')")
done
tap_note "keys: ${items[*]}"
tap_ok "  each of which has its share, and no key is twice" \
	[ $((items[0] + items[1] + items[2] + items[3])) = 100 -a "${items[0]}" -gt 10 -a "${items[3]}" -gt 10 ]

tap_is "no frame was left half written" "$(reason aborted)" 0
tap_ok "unload" weir unload -q
tap_is "  leaves nothing" "$(leftovers)" ""
tap_done
