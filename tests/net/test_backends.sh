#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# The commands on backends, services and flows, on pools that are loaded: what each changes, says and
# refuses, that `reload` goes back, and what becomes of real connections.
#
#	client eth0 10.7.0.2 ---- 10.7.0.1 eth0 server eth1 10.8.0.1 ---- eth0 10.8.0.11 .. 15 back

. "$(dirname "$0")/common.sh"
lab_start "$@"
cd $LAB_DIR || exit 1
for ns in client server back; do
	lab_netns $ns
done
lab_link client eth0 server eth0
lab_link server eth1 back eth0
lab_addr client eth0 10.7.0.2/24 fd07::2/64
lab_addr server eth0 10.7.0.1/24 fd07::1/64
lab_addr server eth1 10.8.0.1/24 fd08::1/64
lab_addr back eth0 10.8.0.1{1,2,3,4,5}/24 fd08::1{1,2}/64
ip -n client route add 192.0.2.0/24 via 10.7.0.1
ip -n client route add 2001:db8::/64 via fd07::1
ip -n back route add default via 10.8.0.1
ip -n back route add default via fd08::1
lab_in server sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
lab_native_peer client eth0
lab_native_peer back eth0
client_start client

YAML=$LAB_DIR/weir.yaml
pools_yaml()
{
	cat <<-EOF
		interfaces: [{name: eth0}, {name: eth1}]
		cache: {capacity: 1000, memory: 4M}
		flows: {capacity: 64K}
		pools:
		  - name: web
		    delivery: nat
		    backends:
		      - {name: b1, address: 10.8.0.11}
		      - {name: b2, address: "10.8.0.12:80", capacity: 200}
		      - {name: b3, address: 10.8.0.13, backup: true}
		  - name: dns
		    scheduler: maglev
		    delivery: tunnel
		    backends:
		      - {name: b1, address: 10.8.0.11}
		      - {name: n2, address: "fd08::12", capacity: 50}
		  - name: keys
		    delivery: nat
		    shards: 2
		    backends:
		      - {name: k0, address: 10.8.0.11, shard: 0}
		      - {name: k1, address: 10.8.0.12, shard: 1}
		  - name: quic
		    delivery: l2
		    backends:
		      - {name: q1, address: 10.8.0.11, quic_id: 1}
		services:
		  - {name: www, vips: ["192.0.2.1:80"], pool: web, protocol: tcp}
		  - {name: dns, vips: ["192.0.2.2:53", "[2001:db8::2]:53"], pool: dns, protocol: both}
		  - {name: keys, vips: ["192.0.2.3:11211"], clients: [10.7.0.0/24], cache: true, pool: keys}
		  - {name: quic, vips: ["192.0.2.4:443"], pool: quic, protocol: udp, quic: {offset: 1, length: 1}}
	EOF
}

# Fields of a backend as `backend show` has them, as JSON but for strings.
field() # POOL NAME FIELD...
{
	of_json "(' '.join(v if isinstance(v, str) else json.dumps(v) for v in map(d['backends'][0].get, '${*:3}'.split()))
		if len(d['backends']) == 1 else 'backends: %d' % len(d['backends']))" \
		weir backend show -p "$1" "$2" --json
}

is_field() # POOL NAME FIELD WANT
{
	[ "$(field "$1" "$2" "$3")" = "$4" ]
}

# 5, degraded, is a success where the kernel has no native XDP.
weir_degraded()
{
	weir "$@" || [ $? = 5 ]
}

# What a command prints on standard output, without notes; and its status when that is not 0.
say()
{
	weir -q "$@" 2>/dev/null || echo "status $?"
}

# And what it complains of.
complain()
{
	weir -q "$@" 2>&1 >/dev/null || echo "status $?"
}

tap_is "before load, show says what to do" "$(complain backend show)" \
	"weir: backend show: not loaded: \`weir load -c FILE\` loads the data plane
status 1"
pools_yaml >$YAML
tap_ok "a configuration with four pools is loaded" weir_load

### show

tap_is "backend show has every backend, in the order of the pools" \
	"$(of_json "[b['pool'] + '/' + b['name'] for b in d['backends']]" weir backend show --json)" \
	'["web/b1", "web/b2", "web/b3", "dns/b1", "dns/n2", "keys/k0", "keys/k1", "quic/q1"]'
tap_is "  each as configured" \
	"$(of_json "[[b[k] for k in ('address', 'via', 'state', 'capacity', 'backup', 'shard', 'source')]
		for b in d['backends'] if b['pool'] in ('web', 'dns', 'keys')]" weir backend show --json)" \
	'[["10.8.0.11", "nat", "up", 100, false, 0, null], ["10.8.0.12:80", "nat", "up", 200, false, 0, null], ["10.8.0.13", "nat", "up", 100, true, 0, null], ["10.8.0.11", "tunnel", "up", 100, false, 0, "10.8.0.1"], ["fd08::12", "tunnel", "up", 50, false, 0, "fd08::1"], ["10.8.0.11", "nat", "up", 100, false, 0, null], ["10.8.0.12", "nat", "up", 100, false, 1, null]]'
tap_is "  without traffic yet" \
	"$(of_json "[[b[k] for k in ('active', 'load', 'latency_seconds', 'packets', 'bytes', 'by_hand', 'removed')]
		for b in d['backends']][0]" weir backend show --json)" '[0, null, null, 0, 0, false, false]'
tap_is "a name can be in several pools" "$(of_json "[b['pool'] for b in d['backends']]" weir backend show b1 --json)" \
	'["web", "dns"]'
tap_like "the table for people has headings and a row" "$(weir backend show -p web b2)" \
	'^pool +backend +address +via +state +capacity +active +load +latency +packets +bytes
web +b2 +10.8.0.12:80 +nat +up +200 +0 +- +- +0 +0 B$'
tap_is "a pool that is not there is told, with those that are" "$(complain backend show -p wbe)" \
	"weir: backend show: no pool 'wbe'; there is: web, dns, keys, quic
status 1"
tap_is "a backend that is not there is told" "$(complain backend show -p web b9)" \
	"weir: backend show: no backend 'b9' in pool web
status 1"
tap_is "service show has addresses, protocol, pool and scheduler" \
	"$(of_json "[[s['name'], s['vips'], s['protocol'], s['cache'], s['pool']['name'], s['pool']['scheduler'],
		s['pool']['shards'], s['pool']['backends']] for s in d['services']]" weir service show --json)" \
	'[["www", ["192.0.2.1:80"], "tcp", false, "web", "least-loaded", 1, 3], ["dns", ["192.0.2.2:53", "[2001:db8::2]:53"], "both", false, "dns", "maglev", 1, 2], ["keys", ["192.0.2.3:11211"], "udp", true, "keys", "least-loaded", 2, 2], ["quic", ["192.0.2.4:443"], "udp", false, "quic", "least-loaded", 1, 1]]'
tap_like "  and for people" "$(weir service show www)" \
	'^service www
  vips       192.0.2.1:80
  cache      no
  protocol   tcp
  pool       web: least-loaded, fail drop, quantum 2%'
tap_is "nothing is changed by hand" "$(of_json "d['steering']['by_hand']" weir status --json 2>/dev/null)" 0
tap_is "  and reload would change nothing" "$(of_json "[d['changes'], d['by_hand']]" weir reload -q -c $YAML --dry-run --json)" \
	'[[], []]'

### Which pool, which backend

tap_is "with several pools one must be named" "$(complain backend drain b1)" \
	"weir: backend drain: which pool? Name one with --pool: web, dns, keys, quic
status 2"
tap_is "a backend must be one of the pool's" "$(complain backend drain -p dns b2)" \
	"weir: backend drain: pool dns has no backend 'b2'; it has: b1, n2
status 1"

### set

tap_is "set changes the capacity, and says from what" "$(say backend set -p web b1 --capacity 300)" \
	"web/b1: capacity 300, was 100"
tap_is "  it is so" "$(field web b1 capacity by_hand)" "300 true"
tap_is "  and again changes nothing, and succeeds" "$(say backend set -p web b1 --capacity 300)" \
	"web/b1: unchanged: capacity 300, no backup"
tap_is "set makes a backup, and no backup" \
	"$(say backend set -p web b1 --backup yes --capacity 100; say backend set -p web b1 --backup no)" \
	"web/b1: capacity 100, was 300; now backup
web/b1: no longer backup"
tap_is "the document says what happened" \
	"$(of_json "[d['kind'], d['result'], d['backend']['pool'], d['backend']['name'], d['backend']['capacity']]" \
		weir -q backend set -p dns n2 --capacity 51 --json)" '["backend.set", "changed", "dns", "n2", 51]'
tap_is "  or did not" "$(of_json "d['result']" weir backend set -p dns n2 --capacity 51 --json)" unchanged

### drain, enable, disable

tap_is "drain, disable and enable say what they did" \
	"$(say backend drain -p web b2; say backend drain -p web b2; say backend disable -p web b2
		say backend disable -p web b2; say backend enable -p web b2; say backend enable -p web b2)" \
	"web/b2: draining: takes no new connections, 0 connections left
web/b2: already draining, with 0 connections
web/b2: disabled, 0 connections moved away
web/b2: already disabled
web/b2: up, was disabled
web/b2: already up"
weir -q backend drain -p web b2 >/dev/null
tap_is "draining is a state" "$(field web b2 state admin)" "draining drain"
tap_ok "drain --wait of an empty one ends at once" timeout 5 nsenter --net=/run/netns/server "$WEIR" \
	backend drain -p web b2 --wait
tap_is "  with a document" "$(of_json "[d['result'], d['connections']]" weir backend drain -p web b2 --wait=1s --json)" \
	'["unchanged", 0]'
weir -q backend enable -p web b2 >/dev/null

### add

tap_is "add adds" "$(say backend add -p dns n3 10.8.0.13 --capacity 20)" "dns/n3: added: 10.8.0.13, tunnel, capacity 20"
tap_is "  with the pool's delivery, and the near end of the tunnel" \
	"$(field dns n3 via source state by_hand)" "tunnel 10.8.0.1 up true"
tap_is "add of IPv6, over L2, as backup" "$(say backend add -p dns n4 fd08::11 --delivery l2 --backup)" \
	"dns/n4: added: fd08::11, l2, capacity 100, backup"
tap_is "a name that is there is refused" "$(complain backend add -p dns n3 10.8.0.14)" \
	"weir: backend add: pool dns already has a backend 'n3'
status 1"
tap_is "an address that is there is refused" "$(complain backend add -p dns n5 10.8.0.13)" \
	"weir: backend add: 10.8.0.13 is already dns/n3
status 1"
tap_is "NAT takes another backend where the configuration has one" "$(say backend add -p web b4 10.8.0.14)" \
	"web/b4: added: 10.8.0.14, nat, capacity 100"
tap_is "NAT keeps the family" "$(complain backend add -p web b5 fd08::11)" \
	"weir: backend add: NAT keeps the family: the service's address 192.0.2.1:80 is IPv4, the backend's IPv6
status 1"
tap_is "  of each of the service's addresses" "$(complain backend add -p dns n5 10.8.0.15 --delivery nat)" \
	"weir: backend add: NAT keeps the family: the service's address [2001:db8::2]:53 is IPv6, the backend's IPv4
status 1"
tap_is "  and where they already are another's" "$(complain backend add -p web b5 10.8.0.13:80; complain backend add -p keys k4 10.8.0.12 --shard 0)" \
	"weir: backend add: replies from 10.8.0.13:80 are already those of another backend
status 1
weir: backend add: 10.8.0.12 is already keys/k1
status 1"
tap_is "  but not where they are of another protocol" "$(say backend add -p keys k3 10.8.0.14:80 --shard 0; say backend del -p keys k3)" \
	"keys/k3: added: 10.8.0.14:80, nat, capacity 100
keys/k3: removed"
tap_is "a cache needs NAT" "$(complain backend add -p keys k5 10.8.0.15 --shard 0 --delivery l2)" \
	"weir: backend add: service keys has a cache, which must see replies: only nat delivery is possible
status 1"
tap_is "a pool with shards needs one" "$(complain backend add -p keys k5 10.8.0.15)" \
	"weir: backend add: pool keys has 2 shards: say which with --shard
status 2"
tap_is "  that it has" "$(complain backend add -p keys k5 10.8.0.15 --shard 2)" \
	"weir: backend add: the shards of pool keys are 0 to 1
status 1"
tap_is "  and one without has none" "$(complain backend add -p web b5 10.8.0.15 --shard 0)" \
	"weir: backend add: pool web has no shards
status 1"
tap_is "a shard is kept" "$(say backend add -p keys k5 10.8.0.15 --shard 1; field keys k5 shard)" \
	"keys/k5: added: 10.8.0.15, nat, capacity 100
1"
tap_is "a service that routes by QUIC ids needs one" "$(complain backend add -p quic q2 10.8.0.12)" \
	"weir: backend add: service quic routes by QUIC connection ids: name one with --quic-id
status 1"
tap_is "  that fits, and is nobody else's" \
	"$(complain backend add -p quic q2 10.8.0.12 --quic-id 256; complain backend add -p quic q2 10.8.0.12 --quic-id 1)" \
	"weir: backend add: the QUIC id 256 has no room in the 1 byte of service quic
status 1
weir: backend add: the QUIC id 1 is already that of quic/q1
status 1"
tap_is "  and then takes it" "$(say backend add -p quic q2 10.8.0.12 --quic-id 2)" "quic/q2: added: 10.8.0.12, l2, capacity 100"
tap_is "what was refused left nothing behind" "$(of_json "len(d['backends'])" weir backend show --json)" 13

### A pool that is full

fill()
{
	lab_in server bash -c 'for ((i = 0; i < $1; i++)); do
		"$2" -q backend add -p quic "x$i" "10.9.0.$((1 + i))" --quic-id $((3 + i)) >/dev/null || exit
	done' - "$1" "$WEIR"
}
tap_ok "a pool takes 64 backends" fill 62
tap_is "  all are there" "$(of_json "len(d['backends'])" weir backend show -p quic --json)" 64
tap_ok "  the last one, too" is_field quic x61 address 10.9.0.62

### del

tap_is "del takes out what was added" "$(say backend del -p dns n4)" "dns/n4: removed"
tap_is "  without a trace" "$(complain backend show -p dns n4)" \
	"weir: backend show: no backend 'n4' in pool dns
status 1"
tap_is "del takes out what is configured" "$(say backend del -p web b3)" "web/b3: removed"
tap_is "  which is remembered" "$(field web b3 state removed address)" "removed true null"
tap_is "  but takes no other command" "$(complain backend enable -p web b3)" \
	"weir: backend enable: pool web has no backend 'b3'; it has: b1, b2, b4
status 1"
tap_is "  except to come back" "$(say backend add -p web b3 10.8.0.13; field web b3 removed)" \
	"web/b3: added: 10.8.0.13, nat, capacity 100
false"
tap_is "the last of a shard is told" "$(weir -q backend del -p keys k0 2>&1)" \
	"keys/k0: removed
weir: warning: shard 0 of pool keys has no backend left"

### service set

tap_is "service set changes how the pool chooses" \
	"$(say service set www --scheduler maglev-bounded --bound 50% --quantum 5 --fail reset)" \
	"www: changed: pool web, maglev-bounded, fail reset, quantum 5%, bound 50%"
tap_is "  it is so" \
	"$(of_json "[d['services'][0]['pool'][k] for k in ('scheduler', 'fail', 'quantum_percent', 'bound_percent', 'by_hand')]" \
		weir service show www --json)" '["maglev-bounded", "reset", 5, 50, true]'
tap_is "  and again changes nothing" "$(of_json "[d['result'], d['pool']['bound_percent']]" \
	weir service set www --bound 50 --json)" '["unchanged", 50]'
every_bound()
{
	local n

	# An emulated machine takes a second for each.
	for n in 1 7 33 1000 $([ $SLOWER != 1 ] || echo 2 3 25 99 100 333 999); do
		weir -q service set www --bound $n >/dev/null || return
		[ "$(of_json "d['services'][0]['pool']['bound_percent']" weir service show www --json)" = $n ] || return
	done
}
tap_ok "  whatever the percentage, it is shown as it was given" every_bound
tap_is "a service that is not there is told" "$(complain service set wwww --fail drop)" \
	"weir: service set: no service 'wwww'; there is: www, dns, keys, quic
status 1"

### service add, set, del

tap_is "service add adds one, and says so" "$(say service add web2 192.0.2.9:80 '[2001:db8::9]:80' -p dns --protocol tcp)" \
	"web2: added: pool dns, maglev, fail drop, quantum 2%, bound 25%"
tap_is "  the programs run with it" \
	"$(of_json "[d['services'][0][k] for k in ('vips', 'protocol', 'cache', 'by_hand')]" weir service show web2 --json)" \
	'[["192.0.2.9:80", "[2001:db8::9]:80"], "tcp", false, true]'
tap_is "  and with the others as before" \
	"$(of_json "[[s['name'], s['vips'], s['pool']['name'], s['quic'], s['by_hand']] for s in d['services']][:4]" \
		weir service show --json)" \
	'[["www", ["192.0.2.1:80"], "web", null, false], ["dns", ["192.0.2.2:53", "[2001:db8::2]:53"], "dns", null, false], ["keys", ["192.0.2.3:11211"], "keys", null, false], ["quic", ["192.0.2.4:443"], "quic", {"offset": 1, "length": 1}, false]]'
tap_is "  backends by hand stay by hand" "$(field dns n3 by_hand) $(field web b4 by_hand)" "true true"
tap_is "a name that is there is refused" "$(complain service add web2 192.0.2.10:80 -p dns)" \
	"weir: service add: there already is a service 'web2'
status 1"
tap_is "an address that is there is refused" "$(complain service add web3 192.0.2.9:80 -p dns)" \
	"weir: service add: vips[0]: '192.0.2.9:80' is already web2.vips[0]
status 1"
tap_is "a pool that is not there is refused" "$(complain service add web3 192.0.2.10:80 -p 'w"b')" \
	"weir: service add: pool: there is no pool 'w\"b'
status 1"
tap_like "a NAT pool of another service is refused" "$(complain service add web3 192.0.2.10:80 -p web)" \
	'pool: .web. has NAT backends and already belongs to www'
tap_like "a name that is none is refused" "$(complain service add 'Web: x' 192.0.2.10:80 -p dns)" 'name: .Web: x. is not a name'
tap_is "what was refused left nothing behind" "$(of_json "[s['name'] for s in d['services']]" weir service show --json)" \
	'["www", "dns", "keys", "quic", "web2"]'
tap_is "service set changes addresses and protocol, and the pool at once" \
	"$(say service set web2 --vips 192.0.2.9:8080,192.0.2.10:80 --protocol both --scheduler least-loaded)" \
	"web2: changed: pool dns, least-loaded, fail drop, quantum 2%, bound 25%"
tap_is "  it is so" "$(of_json "[d['services'][0][k] for k in ('vips', 'protocol')] + [d['services'][0]['pool']['scheduler']]" \
	weir service show web2 --json)" '[["192.0.2.9:8080", "192.0.2.10:80"], "both", "least-loaded"]'
tap_ok "a cache is added beside, without a pool" weir -q service add hot 192.0.2.11:11211 --clients 10.7.0.0/24,10.8.0.0/24 --ttl 90s
tap_is "  as asked for" "$(of_json "[[s['name'], s['ttl_seconds'], s['cache']] for s in d['services'] if s['name'] == 'hot']" \
	weir status --json 2>/dev/null)" '[["hot", 90.0, true]]'
tap_is "service del takes one away" "$(say service del hot; say service del quic)" "hot: removed
quic: removed"
tap_is "  once" "$(complain service del hot)" "weir: service del: no service 'hot'; there is: www, dns, keys, web2
status 1"

# Each waits for the lock, 10 seconds at most; an emulated machine may need as long for one.
MANY=(1 2 3 4)
[ $SLOWER = 1 ] || MANY=(1)
at_once()
{
	local i bad=0 pids=()

	for i in "${MANY[@]}"; do
		weir -q service add "at$i" "192.0.2.3$i:80" -p dns >/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || bad=1
	done
	return $bad
}
tap_ok "services added at once" at_once
tap_is "  are all there" "$(of_json "sorted(s['name'] for s in d['services'] if s['name'].startswith('at'))" weir service show --json)" \
	"[$(printf '"at%s", ' "${MANY[@]}" | sed 's/, $//')]"

### Drift and reload

tap_like "status counts what was changed by hand, and warns" "$(weir status 2>&1 >/dev/null)" \
	'weir: warning: [0-9]+ changes by hand: `weir reload --dry-run` tells which, `weir reload` goes back'
weir reload -c $YAML --dry-run --json >dry 2>/dev/null
tap_is "a dry reload names pools and backends by hand" "$(of_json "[b for b in d['by_hand'] if 'quic/x' not in b and b[:2] != 'at']" cat dry)" \
	'["web2 was added by hand", "quic was removed by hand", "web was changed by hand", "web/b1 was changed by hand", "web/b2 was changed by hand", "web/b3 was changed by hand", "web/b4 was added by hand", "dns was changed by hand", "dns/n2 was changed by hand", "dns/n3 was added by hand", "keys/k0 was removed by hand", "keys/k5 was added by hand", "quic/q2 was added by hand"]'
tap_is "  and what it would change" \
	"$(of_json "[c for c in d['changes'] if 'backend n' in c or 'keys' in c]" cat dry)" \
	'["pool dns: backend n2: capacity 51 -> 50", "pool dns: backend n3 removed, its flows go", "pool keys: backend k5 removed, its flows go", "pool keys: backend k0 added"]'
tap_is "  for people, too" "$(weir -q reload -c $YAML --dry-run 2>&1 | grep -c '^would change: \|^goes back: ')" \
	"$(of_json "len(d['by_hand']) + len(d['changes'])" cat dry)"
tap_ok "reload" weir_degraded reload -q -c $YAML
tap_is "  goes back: nothing is by hand" \
	"$(of_json "[b['name'] for b in d['backends'] if b['by_hand']]" weir backend show --json) $(
		of_json "d['steering']['by_hand']" weir status --json 2>/dev/null) $(
		of_json "[[s['name'], s['by_hand'], s['pool']['by_hand']] for s in d['services']]" weir service show --json)" \
	'[] 0 [["www", false, false], ["dns", false, false], ["keys", false, false], ["quic", false, false]]'
tap_is "  each backend is as configured" \
	"$(of_json "[[b['name'], b['capacity'], b['backup'], b['admin']] for b in d['backends']]" weir backend show --json)" \
	'[["b1", 100, false, "up"], ["b2", 200, false, "up"], ["b3", 100, true, "up"], ["b1", 100, false, "up"], ["n2", 50, false, "up"], ["k0", 100, false, "up"], ["k1", 100, false, "up"], ["q1", 100, false, "up"]]'

### Real connections

cat >serve.py <<'PY'
import select, socket, sys
listeners = []
for a in sys.argv[1:]:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((a, 80))
    s.listen(64)
    listeners.append(s)
conns = {}
while True:
    for s in select.select(listeners + list(conns), [], [])[0]:
        if s in listeners:
            c = s.accept()[0]
            conns[c] = s.getsockname()[0]
            c.sendall((conns[c] + "\n").encode())
            continue
        try:
            data = s.recv(4096)
        except OSError:
            data = b""
        if data:
            s.sendall(data)
        else:
            del conns[s]
            s.close()
PY
# Opens connections one after another, says which backend has each, and closes them one by one at each line read;
# at SIGUSR1 asks each for an answer.
cat >hold.py <<'PY'
import signal, socket, sys
held = []
def ask(*_):
    for s in held:
        s.sendall(b"hello\n")
    print(sum(s.makefile().readline() == "hello\n" for s in held), "answer", flush=True)
signal.signal(signal.SIGUSR1, ask)
for i in range(int(sys.argv[1])):
    s = socket.create_connection(("192.0.2.1", 80), 5)
    held.append(s)
    print(s.makefile().readline().strip(), flush=True)
print("all", flush=True)
for line in sys.stdin:
    held.pop().close()
PY
lab_bg serve lab_in back python3 serve.py 10.8.0.11 10.8.0.12 10.8.0.13
lab_wait_port back 80
# There is no agent here, which resolves neighbours.
for address in 10.8.0.1{1,2,3} 10.7.0.2; do
	lab_in server ping -qc1 $address >/dev/null
done
mkfifo close
hold() # HOW-MANY
{
	lab_bg hold lab_in client bash -c "exec python3 hold.py $1 <close"
	exec 7>close
	lab_wait_for 15 grep -qx all hold.log
}

close() # HOW-MANY
{
	local i

	for ((i = 0; i < $1; i++)); do
		echo >&7
	done
}

if ! hold 9; then
	tap_note "$(cat hold.log; weir stats)"
	tap_result "nine connections are made" 1
	tap_done
fi
tap_is "nine connections are spread by capacity" "$(grep -c 10.8.0.11 hold.log) $(grep -c 10.8.0.12 hold.log)" "3 6"
tap_ok "  and counted" lab_wait_for 5 is_field web b2 active 6
tap_is "  so that the load is even" "$(field web b1 active load) $(field web b2 load)" "3 1.0 1.0"
read -r packets bytes < <(field web b1 packets bytes)
tap_ok "  packets and bytes are counted, too" [ "$packets" -ge 6 -a "$bytes" -gt 300 ]
tap_is "stats has the same packets" "$(of_json "[b['packets'] for b in d['backends'] if b['pool'] == 'web' and b['name'] == 'b1'][0]" \
	weir stats --json)" "$packets"

# Documents of `flow show --json` as a list.
flows() # EXPRESSION FILTER...
{
	local expression=$1
	shift
	weir flow show --json "$@" >$LAB_DIR/document
	of_file $LAB_DIR/document "(lambda flows, last: $expression)([l['flow'] for l in d if l['flow']], d[-1])" --lines
}

tap_is "flow show has each, with client and backend" \
	"$(flows "[len(flows), sorted({(f['protocol'], f['client'], f['service'], f['pool'], f['state']) for f in flows}),
		sum(f['backend'] == 'b2' for f in flows), last['matched'], last['left_out'], len({f['port'] for f in flows})]")" \
	'[9, [["tcp", "10.7.0.2", "www", "web", "open"]], 6, 9, 0, 9]'
tap_is "  filtered by backend and pool" "$(flows "len(flows)" backend=b1) $(flows "len(flows)" pool=web backend=b2) $(
	flows "len(flows)" pool=dns)" "3 6 0"
tap_is "  by service, client, state, family and protocol" \
	"$(for f in service=www service=dns client=10.7.0.0/24 client=10.7.0.3 state=open state=half-open family=6 proto=tcp; do
		flows "len(flows)" $f
	done | tr '\n' ' ')" "9 0 9 0 9 0 0 9 "
port=$(flows "flows[0]['port']")
tap_is "  by port" "$(flows "[len(flows), flows[0]['port']]" port=$port)" "[1, $port]"
tap_is "  by idle time" "$(flows "len(flows)" 'idle<1m') $(flows "len(flows)" 'idle>1m')" "9 0"
tap_is "--limit leaves out, and says how many" "$(flows "[len(flows), last['shown'], last['left_out']]" --limit 4)" "[4, 4, 5]"
tap_is "  for people as well" "$(weir flow show -n 4 2>&1 | tail -n 1)" "weir: note: 5 more: --limit 0 shows all"
tap_is "--count counts" "$(of_json "[[c['pool'], c['backend'], c['open'], c['flows']] for c in d['counts']]" \
	weir flow show --count --json)" '[["web", "b1", 3, 3], ["web", "b2", 6, 6]]'
tap_is "names that are not there are told" "$(complain flow show backend=b9; complain flow show pool=wbe; complain flow show service=x)" \
	"weir: flow show: no backend 'b9' is loaded
status 1
weir: flow show: no pool 'wbe' is loaded
status 1
weir: flow show: no service 'x' is loaded
status 1"
tap_ok "a reader that goes away ends it" bash -c '"$@" | head -n 1 | grep -q proto' - \
	nsenter --net=/run/netns/server "$WEIR" flow show --limit 0

udp6()
{
	lab_in client "${PYTHON[@]}" -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("fd07::2", 5353))
s.sendto(b"x", ("2001:db8::2", 53))'
	lab_wait_for 5 eval '[ "$(flows "len(flows)" family=6)" = 1 ]'
}
lab_in server ping -qc1 fd08::12 >/dev/null
tap_ok "a datagram over IPv6 is a flow" udp6
tap_is "  of a client of whom the end is known" \
	"$(flows "[flows[0][k] for k in ('protocol', 'client', 'port', 'service', 'state')]" proto=udp client=fd07::2)" \
	'["udp", "*:0:2", 5353, "dns", "udp"]'
tap_is "  and which is found by it" "$(flows "len(flows)" 'client=*:0:2') $(flows "len(flows)" client=fd07::3)" "1 0"

### Connections and changes

tap_ok "connections survive a service that is added" weir_degraded -q service add more 192.0.2.20:80 -p dns
sed -i 's/capacity: 1000,/capacity: 3000,/' $YAML
tap_ok "  and a reload to other sizes" weir_degraded reload -q -c $YAML
tap_is "  they are there, and counted" "$(flows "len(flows)" state=open) $(field web b1 active) $(field web b2 active)" "9 3 6"
lab_in client kill -USR1 "$(lab_pid hold)"
tap_ok "  and each answers" lab_wait_for 10 grep -qx '9 answer' hold.log

tap_is "drain says how many are left" "$(say backend drain -p web b1)" \
	"web/b1: draining: takes no new connections, 3 connections left"
tap_is "del of one with connections needs --force" "$(complain backend del -p web b1)" \
	"weir: backend del: web/b1 has 3 connections: \`weir backend drain --wait\` lets them end, --force does not
status 1"
tap_is "drain --wait ends with its time" "$(complain backend drain -p web b1 --wait=1s)" \
	"weir: backend drain: the time is over, 3 connections left
status 1"
tap_is "  with a document" "$(of_json "[d['kind'], d['connections'], d['backend']['state']]" \
	weir backend drain -p web b1 --wait=1s --json 2>/dev/null)" '["backend.drain", 3, "draining"]'
lab_bg wait lab_in server "$WEIR" backend drain -p web b1 --wait=30s
sleep 1
tap_ok "other commands go on while it waits" weir -q backend set -p web b2 --capacity 200
close 9
tap_ok "and it ends when the last is closed" lab_wait_for 20 grep -q 'no connection is left' wait.log
tap_is "  counted down to nothing" "$(field web b1 active) $(field web b2 active)" "0 0"
lab_stop hold
exec 7>&-

lab_bg wait lab_in server "$WEIR" backend drain -p web b1 --wait=30s
lab_wait_for 5 is_field web b1 state draining
hold 3
tap_is "all went to the other meanwhile" "$(grep -c 10.8.0.12 hold.log)" 3
weir -q backend enable -p web b1 >/dev/null
lab_bg wait2 lab_in server "$WEIR" backend drain -p web b2 --wait=30s
lab_wait_for 5 is_field web b2 state draining
weir -q backend enable -p web b2 >/dev/null
tap_ok "a wait ends when another command ends the draining" \
	lab_wait_for 5 grep -q 'another command ended the draining of b2' wait2.log
lab_bg wait3 lab_in server "$WEIR" backend drain -p web b2 --wait=30s
lab_wait_for 5 is_field web b2 state draining
weir_degraded reload -q -c $YAML >/dev/null
tap_ok "  or a reload does" lab_wait_for 5 grep -q 'another command ended the draining of b2' wait3.log
tap_like "--force takes one out with its connections" "$(say backend del -p web b2 --force)" \
	'^web/b2: removed, 3 connections moved away$'
tap_is "  none of its flows is left" "$(flows "len([f for f in flows if f['backend'] in ('b2', None)])")" 0
tap_ok "unload" weir unload
tap_done
