#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# What `weir latency show` says against what servers and clients measure themselves: servers that take a known time,
# behind address translation, with direct return, and on this host; loss and reordering; requests without a reply;
# sampling; reloads; `weir flow top`.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1

DELAYS=(0.0001 0.001 0.01 0.1)
COUNTS=(300 300 150 30)

lpy() # CLIENT ARGUMENT...
{
	lab_in "$1" "${PYTHON[@]}" "$NET_DIR/latency.py" "${@:2}"
}

serve() # NS PORT DELAY [OPTION...]
{
	lab_bg "serve-$1-$2" lab_in "$1" "${PYTHON[@]}" "$NET_DIR/latency.py" serve "${@:2}"
}

ask_bg() # REPORT CLIENT ARGUMENT...
{
	lab_bg "$1" lab_in "$2" "${PYTHON[@]}" "$NET_DIR/latency.py" ask "${@:3}"
}

# Waits for reports.
asked() # REPORT...
{
	local r

	for r in "$@"; do
		lab_wait_for 60 grep -q '"lost"' "$LAB_DIR/$r.log" || lab_die "no report $r: $(cat "$LAB_DIR/$r.log")"
	done
}

# Services s1 .. s4, each over one backend; s5 the first over IPv6; `cache` and `near` are on the edge itself.
yaml() # DELIVERY LATENCY-KEYS
{
	local i

	cat <<-EOF
		interfaces: [{name: eth0}, {name: eth1}]
		cache: {capacity: 1000, memory: 4M}
		flows: {capacity: 64K}
		latency: {$2}
		services:
		  - {name: cache, vips: ["10.2.0.1:11211"], clients: [10.1.0.0/16], origin: "10.2.0.1:11211"}
		  - {name: near, vips: ["10.2.0.1:11212"], clients: [10.1.0.0/16], origin: "10.2.0.1:11211"}
		  - {name: s5, vips: ["[$VIP6]:8001"], protocol: tcp, pool: p5}
	EOF
	for i in 1 2 3 4; do
		echo "  - {name: s$i, vips: [\"$VIP:800$i\"], protocol: tcp, pool: p$i}"
	done
	echo "pools:"
	echo "  - {name: p5, delivery: $1, backends: [{name: b1, address: \"fd03::11\"}]}"
	for i in 1 2 3 4; do
		echo "  - {name: p$i, delivery: $1, backends: [{name: b$i, address: 10.3.0.1$i}]}"
	done
}

# Reloads from nothing: histograms begin anew.
anew() # YAML-ARGUMENT...
{
	weir unload >/dev/null 2>&1
	yaml "$@" >$YAML
	weir_load >load.log 2>&1 || lab_die "weir is not loaded: $(cat load.log)"
	neighbours
}

judged() # SENTENCE REPORT SERVICE PATH [OPTION...]
{
	weir latency show --json >latency.json
	tap_is "$1" "$(lpy edge judge "$LAB_DIR/$2.log" "${@:3}" <latency.json 2>judge.err)" between
	tap_note "$(cut -c3- judge.err)"
}

# A Python expression over the rows `l`, by service and path.
latencies() # EXPRESSION
{
	of_json "(lambda l: $1)({(r['service'], r['path']): r for r in d['services']})" weir latency show --json
}

counted() # SERVICE PATH
{
	latencies "l[('$1', '$2')]['count'] if ('$1', '$2') in l else 0"
}

for i in 1 2 3 4; do
	serve b$i 800$i ${DELAYS[i - 1]}
done
serve edge 11212 0.002
lab_bg memcached lab_in edge memcached -u root -t 1 -p 11211 -U 11211 -l 10.2.0.1
for i in 1 2 3 4; do
	lab_wait_port b$i 800$i || lab_die "no server in b$i: $(cat serve-b$i-800$i.log)"
done
lab_wait_port edge 11212 && lab_wait_port edge 11211 udp || lab_die "no server in edge"

### Both directions

anew nat "flows: 1K, interval: 0, timeout: 5s"
for i in 1 2 3 4; do
	ask_bg nat$i c1 $VIP:800$i ${COUNTS[i - 1]}
done
asked nat{1..4}
for i in 1 2 3 4; do
	judged "NAT, a server that takes ${DELAYS[i - 1]} s: each request, between server's and client's times" \
		nat$i s$i request
done
tap_is "  each handshake, in halves" "$(counted s1 connect_server) $(counted s1 connect_client)" "1 1"
tap_is "  none of what only one direction shows" "$(counted s1 request_acked) $(counted s1 connect)" "0 0"
tap_ok "  the server's half is no longer than the client's connect took" [ "$(latencies \
	"l[('s1', 'connect_server')]['mean_seconds'] < $(of_json "d['connect']" cat nat1.log)")" = true ]
tap_ok "  round trips by time stamps, to the server and to the client" \
	[ "$(latencies "all(l[('s3', p)]['count'] > 10 for p in ('rtt_server', 'rtt_client'))")" = true ]
tap_ok "  those to the client know nothing of the server's 10 ms" \
	[ "$(latencies "l[('s3', 'rtt_client')]['p50_seconds'] < 0.005")" = true ]
tap_is "  by backend: the same requests" "$(of_json "[(b['pool'], b['backend'], b['count'])
	for b in d['backends'] if b['path'] == 'request']" weir latency show --backends --json)" \
	"[[\"p1\", \"b1\", 300], [\"p2\", \"b2\", 300], [\"p3\", \"b3\", 150], [\"p4\", \"b4\", 30]]"
lpy c2 ask "[$VIP6]:8001" 100 >six.log
judged "over IPv6" six s5 request

### This host

lpy c1 ask --udp 10.2.0.1:11212 200 >udp.log
judged "UDP to this host: from request to the reply with its id" udp near miss
lpy c1 ask 10.2.0.1:11212 200 >tcp.log
judged "TCP to this host" tcp near request
lpy c1 ask --udp 10.2.0.1:11211 300 >mc.log
judged "misses that memcached answers" mc cache miss
weir cache put -s cache hot copy >/dev/null
before=$(reason hit)
lpy c1 ask --udp 10.2.0.1:11211 3000 hot >hot.log
tap_ok "hits have their own path, some of them are timed" \
	[ "$(counted cache hit)" -gt 3 -a "$(counted cache hit)" -lt 3000 ]
tap_is "  each was a hit" $(($(reason hit) - before)) 3000
tap_ok "  the answer takes less than what the client sees" [ "$(latencies \
	"0 < l[('cache', 'hit')]['p50_seconds'] < $(of_json "d['client']['p50']" cat hot.log)")" = true ]
tap_is "  none of them is a miss" "$(counted cache miss)" 300

### In words

weir latency show s3 >show.out
tap_like "the table says what each path is" "$(cat show.out)" "request: from a request's first byte .* both directions"
tap_like "  how it is sampled" "$(cat show.out)" "sampled: each request.*of 1,024 flow records are in use"
tap_like "  and how exact it is" "$(cat show.out)" "within 7%"
weir latency show s3 --path request >draw.out
tap_like "a histogram is drawn" "$(cat draw.out)" "(8\.39|9\.44|9\.96)ms to 1[0-2]\.[05]ms .*#{20}"
tap_ok "  in 20 rows at most" [ "$(grep -c ' to ' draw.out)" -le 22 ]
tap_note "$(head -20 draw.out)"
tap_fails "a service that is not there" 1 weir latency show s9
tap_fails "a path that is not there" 2 weir latency show --path hits
tap_ok "a path where nothing was measured is said to be so" weir latency show cache --path connect

### Requests without a reply

anew nat "flows: 1K, interval: 0, timeout: 300ms"
lpy c1 ask $VIP:8001 1 hang --timeout 0.1 >hang.log
lpy c1 ask $VIP:8001 2 hang --timeout 0.5 >hang2.log
tap_is "of two that hang the first is lost when the next is sent" "$(latencies "l[('s1', 'request')]['lost']")" 1
lpy c1 ask $VIP:8001 1 reset >reset.log
tap_is "a reset instead of a reply" "$(latencies "[l[('s1', 'request')][k] for k in ('count', 'lost', 'failed')]")" \
	"[0, 1, 1]"
tap_is "  by backend, too" "$(of_json "[[b['lost'], b['failed']] for b in d['backends'] if b['path'] == 'request']" \
	weir latency show --backends --json)" "[[1, 1]]"
lpy c1 ask --udp 10.2.0.1:11212 2 hang --timeout 0.5 >hang3.log
tap_is "a lookup over UDP that is not answered" "$(latencies "l[('near', 'miss')]['lost']")" 1

### Loss and reordering, between the edge and a backend

anew nat "flows: 1K, interval: 0, timeout: 20s"
# b3 moves behind a wire that is 3 ms long.
ip -n segment link set b3 nomaster
ip link add w0 netns segment type veth peer name w1 netns segment
lab_in segment ethtool -K w0 tx off >/dev/null && lab_in segment ethtool -K w1 tx off >/dev/null
ip -n segment link set w0 master br0 && ip -n segment link set w0 up && ip -n segment link set w1 up
lab_bg wire lab_in segment "${PYTHON[@]}" "$NET_DIR/latency.py" wire b3 w1 0.003 3 10
serve b3 8013 0.001 --bytes 6000
lab_wait_port b3 8013
sed -i 's/10.3.0.13}/"10.3.0.13:8013"}/' $YAML
tap_ok "a backend behind a bad wire" reload
tap_ok "  it can be reached" lab_wait_for 10 lab_in edge ping -qc1 -W1 10.3.0.13
for i in 1 2 3 4; do
	ask_bg wire$i c$((i % 3 + 1)) $VIP:8003 60 --bytes 6000
done
asked wire{1..4}
"${PYTHON[@]}" - wire{1..4}.log >wire-all.log <<'EOP'
import json, sys
all = [json.loads(open(f).read()) for f in sys.argv[1:]]
def mean(k): return sum(r[k]["mean"] * r[k]["n"] for r in all) / sum(r[k]["n"] for r in all)
def of(k): return {"n": sum(r[k]["n"] for r in all), "mean": mean(k), "p50": sum(r[k]["p50"] for r in all) / 4,
	"p95": (min if k == "server" else max)(r[k]["p95"] for r in all)}
print(json.dumps({"lost": sum(r["lost"] for r in all), **{k: of(k) for k in ("client", "server", "cycle")}}))
EOP
tap_is "  each request is answered" "$(of_json "[d['lost'], d['client']['n']]" cat wire-all.log)" "[0, 240]"
judged "  and measured once, between server's and client's times" wire-all s3 request
lab_stop wire
tap_note "the wire: $(tail -n1 wire.log)"
tap_ok "  (it did lose, and reorder)" [ "$(of_json "d['lost'] > 5 and d['late'] > 20" cat wire.log)" = true ]
ip -n segment link del w0 # and what the bridge learned there
ip -n segment link set b3 master br0

### One direction

anew l2 "flows: 1K, interval: 0, timeout: 5s"
for i in 1 2 3 4; do
	ask_bg dsr$i c1 $VIP:800$i ${COUNTS[i - 1]}
done
asked dsr{1..4}
for i in 1 2 3 4; do
	judged "DSR, a server that takes ${DELAYS[i - 1]} s: to the client's acknowledgement, or its next request" \
		dsr$i s$i request_acked --upper cycle --least $((COUNTS[i - 1] - 1))
done
tap_is "  the handshake as a whole" "$(counted s2 connect)" 1
tap_is "  and nothing of what would need the server's packets" \
	"$(latencies "[p for s, p in l if s in ('s1', 's2', 's3', 's4') and p not in ('request_acked', 'connect')]")" "[]"
tap_like "  which is said" "$(weir latency show s2)" "request_acked: .* only the client's packets are seen"

### Flows

anew nat "flows: 1K, interval: 4ms, timeout: 1s"
ask_bg top1 c1 $VIP:8001 200 --linger 600
ask_bg top3 c2 $VIP:8003 50 --linger 600
ask_bg top4 c3 $VIP:8004 10 --linger 600
asked top1 top3 top4
weir flow top --json >top.json
tap_is "flow top: the slowest first" "$(of_json "[f['backend'] for f in d['flows']]" cat top.json)" '["b4", "b3", "b1"]'
tap_is "  by packets" "$(of_json "[f['backend'] for f in d['flows']]" weir flow top --by packets --json)" \
	'["b1", "b3", "b4"]'
tap_is "  its latencies are the server's, and a little" "$(of_json "[[d['flows'][i]['request'][k] >= t and
	d['flows'][i]['request'][k] < t * 1.5 + 0.005 for k in ('min_seconds', 'smoothed_seconds', 'latest_seconds')]
	for i, t in ((0, 0.1), (1, 0.01))]" cat top.json)" "[[true, true, true], [true, true, true]]"
tap_is "  who it is, and what it sent" "$(of_json "[[f[k] for k in ('protocol', 'client', 'service', 'pool', 'state',
	'one_way')] + [f['packets'] > 10, f['bytes'] > 400, f['connect_seconds'] > 0, 0 <= f['age_seconds'] < 60]
	for f in d['flows'][:1]]" cat top.json)" \
	'[["tcp", "10.1.3.2", "s4", "p4", "open", false, true, true, true, true]]'
tap_is "  one that matches a filter" "$(of_json "[f['client'] for f in d['flows']]" weir flow top --json backend=b3)" \
	'["10.1.2.2"]'
tap_is "  the first of several" "$(of_json "[len(d['flows']), d['matched'], d['left_out']]" weir flow top -n 1 --json)" \
	"[1, 3, 2]"
tap_like "  as a table" "$(weir flow top)" "10\.1\.3\.2:.* s4 +p4/b4 +open"
tap_note "$(weir flow top | head -5)"
lab_stop top4
tap_is "  one that is over" "$(sleep 0.2; of_json "[f['state'] for f in d['flows']]" weir flow top --json client=10.1.3.2)" \
	'["closed"]'

### Sampling

anew nat "flows: 1K, interval: 50ms, timeout: 1s"
ask_bg sampled c1 $VIP:8002 400
asked sampled
n=$(counted s2 request)
tap_ok "an interval of 50 ms: so many samples of a flow, and no more" [ "$n" -ge 5 -a "$n" -le \
	"$(of_json "int(d['client']['mean'] * 400 / 0.05) + 2" cat sampled.log)" ]
tap_is "  is said" "$(of_json "round(d['sampling']['interval_seconds'], 3)" weir latency show --json)" 0.05

### Reload

ask_bg steady c1 $VIP:8002 100000 --gap 0.03
lab_wait_for 5 eval '[ $(counted s2 request) -gt 10 ]'
yaml nat "flows: 1K, interval: 20ms, timeout: 2s" >$YAML
n=$(counted s2 request)
tap_ok "another interval: reload" reload
tap_ok "  what was counted stays" [ "$(counted s2 request)" -ge "$n" ]
tap_is "  flows' records stay" "$(of_json "len(d['flows']) >= 1 and d['sampling']['capacity']" \
	weir flow top --json)" 1024
sleep 1
m=$(counted s2 request)
tap_ok "  and it is counted on" [ "$m" -gt "$n" ]
yaml nat "flows: 4K, interval: 20ms, timeout: 2s" >$YAML
tap_ok "more flows: reload" reload
tap_ok "  histograms stay" [ "$(counted s2 request)" -ge "$m" ]
tap_is "  records begin anew, so many" "$(of_json "d['sampling']['capacity']" weir flow top --json)" 4096
tap_ok "  the flow is found again" lab_wait_for 5 eval '[ "$(of_json "d[\"matched\"]" weir flow top --json service=s2)" -ge 1 ]'
tap_ok "a service is set by hand" weir service set -q cache --ttl 5s
tap_is "  which changes nothing of that" "$(of_json "[d['sampling']['capacity'],
	round(d['sampling']['interval_seconds'], 2)]" weir latency show --json)" "[4096, 0.02]"
yaml nat "flows: 0" >$YAML
tap_ok "latencies off: reload" reload
tap_fails "  nothing to show" 1 weir latency show
tap_fails "  and no flows" 1 weir flow top
lpy c2 ask $VIP:8002 5 >off.log
tap_is "  packets go on" "$(of_json "d['client']['n']" cat off.log)" 5
yaml nat "flows: 2K, interval: 0" >$YAML
tap_ok "and on again: reload" reload
lpy c2 ask $VIP:8002 20 >on.log
tap_ok "  it is counted" [ "$(counted s2 request)" -ge 20 ]
lab_stop steady

### More flows than records

weir unload >/dev/null 2>&1
sed -i 's/flows: 2K/flows: 1K/; s/8001/80/' $YAML
sed -i 's/10.3.0.11}/"10.3.0.11:8080"}/' $YAML
lab_bg web lab_in b1 "${PYTHON[@]}" "$NET_DIR/load.py" serve b1 8080
lab_wait_port b1 8080
weir_load >load.log 2>&1 || lab_die "weir is not loaded: $(cat load.log)"
neighbours
load_start many c1 --rate $((1000 / SLOWER)) --timeout 20 hold $VIP:80 1500
load_wait many opened 60
none_failed "1,500 connections, 1,024 records: each is served" many 1500
tap_ok "  and many, but not all, are measured" [ "$(of_json "600 < d['sampling']['flows'] <= 1024" \
	weir latency show --json)" = true ]
load_end many closed

tap_is "nothing is left behind" "$(weir unload >/dev/null; leftovers)" ""
tap_done
