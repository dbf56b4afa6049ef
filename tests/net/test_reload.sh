#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# Reload while requests come in, thousands a second: none is lost, no counter goes back, no hot key misses.
# Hot values are known to Weir alone, so that a miss would show in the reply.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1

net_yaml >$YAML
tap_ok "weir is loaded" weir_load
tell 'set cold 0 0 4' 'cold' >/dev/null
{
	printf 'a,hot-a\nb,hot-b\nc,hot-c\n'
	seq -f 'fill%g,value' 1 500
} >hot.csv
weir cache warm -q hot.csv >/dev/null

### Traffic

MANY=$((2000 / SLOWER)) # requests

traffic_start() # KEYS [HOST:PORT]
{
	lab_bg traffic lab_in client python3 "$NET_DIR/client.py" --timeout "$REPLY_S" \
		loop "${2:-$MEMCACHED}" "$1"
	# A request has come: the loop runs.
	traffic_hits=$(reason hit)
	lab_wait_for 5 hits_above "$traffic_hits"
}

hits_above() # NUMBER
{
	[ "$(reason hit)" -gt "$1" ]
}

# Ends the loop, when it has asked often. Its report is for `report`.
traffic_end()
{
	lab_wait_for 10 hits_above $((traffic_hits + MANY))
	lab_stop traffic
	cp $LAB_DIR/traffic.log report
}

# A Python expression over the report `d` of the loop.
report() # EXPRESSION
{
	client client eval $LAB_DIR/report "$1"
}

# Every counter of the data plane, one a line, for `never_less`.
counters()
{
	of_json "'\n'.join(f'{s[\"name\"]}/{n} {r[\"packets\"]} {r[\"bytes\"]}'
		for s in d['services'] for n, r in s['reasons'].items())" weir stats --json
}

# No counter of the first file is greater in the second.
never_less() # FILE FILE
{
	python3 -c '
import sys
a, b = [{l.split()[0]: l.split()[1:] for l in open(f)} for f in sys.argv[1:]]
bad = [k for k in a if k not in b or any(int(x) > int(y) for x, y in zip(a[k], b[k]))]
print("\n".join(f"{k}: {a[k]} then {b.get(k)}" for k in bad))
sys.exit(bool(bad))' "$1" "$2"
}

# Reloads, each with the counters before and after; 0: each went well.
reloads() # COUNT COMMAND-BEFORE-EACH...
{
	local i n=$1 bad=0
	shift
	for ((i = 0; i < n; i++)); do
		"$@" $i
		counters >before
		weir reload -q -c $YAML >reload.out 2>&1 || { cat reload.out; bad=1; }
		counters >after
		never_less before after || bad=1
	done
	return $bad
}

nothing_lost() # WHAT
{
	tap_is "$1: no request is lost" "$(report "d['lost']")" 0
	tap_ok "  of many" [ "$(report "d['sent']")" -gt $MANY ]
	tap_is "  and every reply is the hot one, and whole" \
		"$(report "{k: list(r) for k, r in d['replies'].items() if k != 'cold'}")" \
		'{"a": ["VALUE a 0 5\\r\\nhot-a\\r\\nEND\\r\\n"], "b": ["VALUE b 0 5\\r\\nhot-b\\r\\nEND\\r\\n"], "c": ["VALUE c 0 5\\r\\nhot-c\\r\\nEND\\r\\n"]}'
	tap_is "  or the origin's" \
		"$(report "list(d['replies'].get('cold', {'VALUE cold 0 4\\\\r\\\\ncold\\\\r\\\\nEND\\\\r\\\\n': 1}))")" \
		'["VALUE cold 0 4\\r\\ncold\\r\\nEND\\r\\n"]'
	tap_note "$(report "'%d requests, the longest took %.1f ms' % (d['sent'], d['longest'] * 1000)")"
}

same() { :; }
often=$(rounds 10)
hits=$(reason hit)
traffic_start a,b,c,cold
tap_ok "reload with nothing changed, $often times: each works, and no counter goes back" \
	reloads $often same
traffic_end
nothing_lost "reload with nothing changed"
tap_is "  and hits were counted once each" $(($(reason hit) - hits)) \
	"$(report "sum(sum(d['replies'][k].values()) for k in 'abc')")"
tap_is "  the generation counts" "$(of_json "d['generation']" weir status --json)" $((often + 1))

# The hits of a key are compared with the replies that it got.
key_hits() # KEY
{
	of_json "d['hits']" weir cache get "$1" --json
}

other_size() # NUMBER
{
	net_yaml $((600 + $1 * 300)) >$YAML
	[ $(($1 % 2)) = 0 ] || sed -i 's/memory: 4M/memory: 8M/' $YAML
}
often=$(rounds 6) # an even number: the last has 8 MiB
before=$(key_hits a)
traffic_start a,b,c,cold
tap_ok "reload with another capacity and memory, $often times: each works, and no counter goes back" \
	reloads $often other_size
traffic_end
nothing_lost "reload with another size"
tap_is "  the new size is there" \
	"$(of_json "d['cache']['capacity'], d['cache']['total_bytes'] >> 20" weir status --json)" \
	"[$((300 + often * 300)), 8]"
tap_is "  all hot keys are" "$(of_json "d['matched']" weir cache show --json)" 503
tap_note \
	"hits of a key: $(($(key_hits a) - before)) counted, $(report "sum(d['replies']['a'].values())") answered"
tap_is "  and each of their hits is counted" $(($(key_hits a) - before)) \
	"$(report "sum(d['replies']['a'].values())")"
tap_is "  the other directory of pins is gone" "$(ls /sys/fs/bpf/weir)" maps

net_yaml 400 >$YAML
tap_fails "a capacity that the hot keys do not fit in is refused: status 1" 1 weir reload -c $YAML
tap_is "  and nothing was changed" \
	"$(of_json "d['state'], d['cache']['capacity'], d['cache']['keys']" weir status --json)" \
	"[\"ready\", $((300 + often * 300)), 503]"
tap_is "  no directory of pins is left" "$(ls /sys/fs/bpf/weir)" maps

### Writes are seen all the while

seq -f 'set k%g 0 0 1\r\nx' 0 499 | while read -r l; do printf '%b\r\n' "$l"; done >fill
lab_in client python3 -c '
import socket
s = socket.create_connection(("10.7.0.1", 11211), 5)
s.sendall(open("fill", "rb").read() + b"quit\r\n")
while s.recv(65536): pass'
seq -f 'k%g' 0 499 >many.keys
net_yaml 3000 >$YAML
weir reload -q -c $YAML >/dev/null
weir cache warm -q many.keys >/dev/null
reload_on() # with the size changed or not, until the file `stop` is there
{
	for i in {1..200}; do
		[ ! -e stop ] || return 0
		net_yaml $((3000 + i % 3)) >$YAML
		weir reload -q -c $YAML >reload.out 2>&1 || { cat reload.out; return 1; }
	done
}
lab_bg reloads reload_on
coherent=$(lab_in client python3 "$NET_DIR/client.py" --timeout "$REPLY_S" --pause 0.02 coherent $MEMCACHED 500 4)
tap_result "no read gives less than the last acknowledged write, while reloads go on" $?
touch stop
wait "$(lab_pid reloads)"
tap_is "  which all work" "$? $(cat reloads.log)" "0 "
tap_note "$coherent; generation $(of_json "d['generation']" weir status --json)"

### Services, clients

net_yaml 3000 >$YAML
weir reload -q -c $YAML >/dev/null
weir cache warm -q hot.csv >/dev/null
with_second() # CLIENTS
{
	net_yaml 3000 >$YAML
	cat >>$YAML <<-EOF
		  - {name: second, vips: ["10.7.0.9:11211"], clients: ["$1"], ttl: 1h}
	EOF
}
dry_changes()
{
	of_json "d['changes']" weir reload -q -c $YAML --dry-run --json
}
lab_addr server eth0 10.7.0.9/24
lab_bg cache2 lab_in server memcached -u root -t 1 -p 11211 -U 11211 -l 10.7.0.9
traffic_start a,b,c
with_second 10.7.0.0/24
tap_is "reload --dry-run says that a service would be added" "$(dry_changes)" '["service second added"]'
tap_ok "a service is added by reload" weir reload -q -c $YAML
weir cache put -s second key value >/dev/null
lab_wait_for 5 client client tell 10.7.0.9:11211
before=$(reason hit 1)
tap_is "  and answers" "$(ASK_TO=10.7.0.9:11211 ask 'get key') $(($(reason hit 1) - before))" \
	'VALUE key 0 5\r\nvalue\r\nEND\r\n 1'
with_second 10.7.0.77/32
tap_is "reload --dry-run says that its clients would change" "$(dry_changes)" '["service second: clients changed"]'
tap_ok "its clients are changed by reload" weir reload -q -c $YAML
tap_is "  which takes effect" "$(ASK_TIMEOUT=0.3 ASK_TO=10.7.0.9:11211 ask 'get key')" -
tap_is "  and is counted" "$(reason stranger_drop 1)" 1
sed -i '/name: second/s/10.7.0.9:11211/10.7.0.8:11211/; s/, ttl: 1h/, ttl: 2h/' $YAML
tap_is "  its address and limits" "$(dry_changes)" '["service second: vips and limits of hot copies changed"]'
net_yaml 3000 >$YAML
tap_is "  its end" "$(dry_changes)" '["service second removed"]'
tap_ok "it is removed by reload" weir reload -q -c $YAML
tap_is "  its requests are the origin's" "$(ASK_TO=10.7.0.9:11211 ask 'get key')" 'END\r\n'
tap_fails "  and its keys are gone: status 1" 1 weir cache get -s second key
with_second 10.7.0.0/24
tap_ok "it comes back" weir reload -q -c $YAML
tap_is "  with counters that begin at nothing" "$(reason hit 1) $(reason stranger_drop 1)" "0 0"
tap_is "  and without keys" "$(of_json "d['matched']" weir cache show -s second --json)" 0
# The first goes, the second stays: numbers of services are not those of the file.
sed -i '/name: cache/,/origin/d' $YAML
weir cache put -s second key value >/dev/null
traffic_end
nothing_lost "services come and go"
tap_ok "the first of two is removed" weir reload -q -c $YAML
tap_is "  the other keeps its keys" "$(ASK_TO=10.7.0.9:11211 ask 'get key')" \
	'VALUE key 0 5\r\nvalue\r\nEND\r\n'
tap_is "  the first's requests are the origin's" "$(ask 'get a')" 'END\r\n'
net_yaml 3000 >$YAML
weir reload -q -c $YAML >/dev/null
weir cache warm -q hot.csv >/dev/null

### Interfaces

lab_netns second
lab_link second eth0 server eth1
lab_addr second eth0 10.9.0.2/24
lab_addr server eth1 10.9.0.1/24
lab_native_peer second eth0
lab_bg cache3 lab_in server memcached -u root -t 1 -p 11211 -U 11211 -l 10.9.0.1
client_start second
lab_wait_for 5 client second tell 10.9.0.1:11211
two_ifaces()
{
	net_yaml 3000 >$YAML
	sed -i 's/{name: eth0}/&, {name: eth1}/; s/"10.7.0.1:11211"/&, "10.9.0.1:11211"/; s/10.7.0.0\/24/&, 10.9.0.0\/24/' $YAML
}
from_second() { client second ask 10.9.0.1:11211 "$@"; }
tap_is "before, the second interface's requests are the origin's" "$(from_second 'get a')" 'END\r\n'
traffic_start a,b,c
two_ifaces
tap_ok "an interface is added by reload" weir reload -q -c $YAML
tap_is "  and answers" "$(from_second 'get a')" 'VALUE a 0 5\r\nhot-a\r\nEND\r\n'
net_yaml 3000 >$YAML
tap_ok "it is removed by reload" weir reload -q -c $YAML
tap_is "  and its requests are the origin's" "$(from_second 'get a')" 'END\r\n'
tap_is "  no program is left on it" "$(lab_in server ip link show eth1 | grep -c xdp)" 0
tap_is "  and no qdisc" "$(lab_in server tc qdisc show dev eth1 | grep -c clsact)" 0
traffic_end
nothing_lost "interfaces come and go"
two_ifaces
weir reload -q -c $YAML >/dev/null
ip -n server link del eth1
tap_fails "an interface that is gone is said by status: status 5" 5 weir status
tap_fails "a reload that still names it fails: status 1" 1 weir reload -c $YAML
tap_is "  and changes nothing" "$(ask 'get a')" 'VALUE a 0 5\r\nhot-a\r\nEND\r\n'
net_yaml 3000 >$YAML
tap_ok "a reload without it works" weir reload -q -c $YAML
tap_ok "  and all is well" weir status

# The first interface could change over, the second cannot.
lab_link second eth2 server eth2
ip -n server link set dev eth2 xdpgeneric obj "$WEIR_BUILD/tests/bpf/xdp_pass.bpf.o" sec xdp
sed 's/{name: eth0}/&, {name: eth2}/; s/    vips:/    ttl: 77s\n&/' $YAML >busy.yaml
tap_fails "an interface with another's program cannot join: status 1" 1 weir reload -c busy.yaml
tap_is "  and nothing was changed" "$(of_json "d['state'], [i['name'] for i in d['interfaces']], d['services'][0]['ttl_seconds']" \
	weir status --json)" '["ready", ["eth0"], 300.0]'
tap_is "  the other's program is still there" "$(lab_in server ip link show eth2 | grep -c xdpgeneric)" 1
tap_is "  and no qdisc" "$(lab_in server tc qdisc show dev eth2 | grep -c clsact)" 0
ip -n server link del eth2

### A cache that is turned off, and on again

with_cache() # true|false
{
	net_yaml 3000 >$YAML
	cat >>$YAML <<-EOF
		  - {name: behind, vips: ["10.7.0.9:11211"], clients: [10.7.0.0/24], protocol: udp, cache: $1, pool: behind}
		pools:
		  - {name: behind, delivery: nat, backends: [{name: b, address: "10.7.0.2:11299"}]}
	EOF
	weir reload -q -c $YAML 2>/dev/null || [ $? = 5 ] # nobody forwards here
}
behind() { of_json "d['state']" weir cache get -s behind key --json; }
tap_ok "a service with a pool and a cache" with_cache true
weir cache put -q -s behind key value >/dev/null
tap_is "  has a copy" "$(behind)" hit
with_cache true
tap_is "  which a reload leaves alone" "$(behind)" hit
tap_ok "its cache is turned off: writes raise no fence from now on" with_cache false
tap_ok "  and on again" with_cache true
tap_is "  the copy of before answers no more" "$(behind)" fenced
weir cache put -q -s behind key value >/dev/null
tap_is "  a new one does" "$(behind)" hit
net_yaml 3000 >$YAML
weir reload -q -c $YAML >/dev/null

### What is wrong changes nothing

unchanged() # SENTENCE STATUS: of a reload of bad.yaml
{
	local before
	before=$(of_json "d['generation'], d['cache'], d['services'], d['interfaces']" weir status --json)
	tap_fails "$1: status $2" "$2" weir reload -c bad.yaml
	tap_is "  and nothing was changed" \
		"$(of_json "d['generation'], d['cache'], d['services'], d['interfaces']" weir status --json)" "$before"
}
traffic_start a,b,c
echo 'interfaces: [{name: eth0' >bad.yaml
unchanged "a configuration that is no YAML is refused" 1
sed 's/clients:.*/clients: [0.0.0.0\/0, "fd07::\/64"]/' $YAML >bad.yaml
unchanged "one that answers everybody is refused" 1
sed 's/eth0/eth7/' $YAML >bad.yaml
unchanged "one with an interface that is not there is refused" 1
sed 's/memory: 4M/memory: 60G/' $YAML >bad.yaml
unchanged "one that does not fit into memory is refused" 1
rm bad.yaml
unchanged "one that is not there is refused" 1
tap_fails "without -c: status 2" 2 weir reload
traffic_end
nothing_lost "refused reloads"
tap_is "no frame was left half written" "$(reason aborted)" 0
tap_done
