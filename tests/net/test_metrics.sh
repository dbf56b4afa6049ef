#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# Metrics of a Weir that is loaded: true to the packet, well-formed in every format, and delivered: as a file that
# is never half there, and to a StatsD server.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1

READ=("${PYTHON[@]}" "$NET_DIR/openmetrics.py")

value() # SERIES
{
	weir metrics | "${READ[@]}" value "$1"
}

sum() # NAME [MATCHER...]
{
	weir metrics | "${READ[@]}" sum "$@"
}

is_value() # SERIES VALUE
{
	[ "$(value "$1")" = "$2" ]
}

# What promtool and the strict reader of OpenMetrics say: nothing, "ok: 2 families, .."
judge()
{
	weir metrics >now.prom && weir metrics --format openmetrics >now.om || echo "status $?"
	if command -v promtool >/dev/null; then
		promtool check metrics <now.prom 2>&1
	fi
	"${READ[@]}" check <now.om
}

# The document `d` that is the state of statsd.py.
of_statsd() # NAME EXPRESSION
{
	client client eval "$PWD/$1.json" "$2"
}

statsd_start() # NAME HOST
{
	lab_bg "$1" lab_in server "${PYTHON[@]}" "$NET_DIR/statsd.py" "$2" 8125 "$PWD/$1.json"
	lab_wait_port server 8125 udp
}

pools()
{
	cat <<-EOF
		  - {name: www, vips: ["10.7.0.9:80"], pool: web, protocol: tcp}
		pools:
		  - name: web
		    delivery: l2
		    backends:
		      - {name: b1, address: 10.7.0.2, capacity: 50}
		      - {name: b2, address: 10.7.0.3, state: drain}
	EOF
}

### Nothing loaded

tap_is "nothing loaded is an answer" "$(weir metrics | grep -v '^#' | sed 's/".*"/../')" "weir_up 0
weir_build_info{version=..} 1"
tap_is "  well-formed" "$(judge)" "ok: 2 families, 2 samples"
tap_is "  and a document" "$(of_json "[f['name'] for f in d['families']]" weir metrics --json)" \
	'["weir_up", "weir_build_info"]'
umask 077
tap_ok "  and a file" weir metrics --textfile $PWD/weir.prom
tap_is "  that anyone may read, and nothing beside it" "$(stat -c '%n %a' weir.prom*)" "weir.prom 644"
umask 022

### Loaded

{
	net_yaml
	pools
} >$YAML
tap_ok "a cache and a pool are loaded" weir_load
tap_fails "who may not look learns nothing, not that nothing is loaded: status 4" 4 \
	lab_in server setpriv --reuid 65534 --regid 65534 --clear-groups "$WEIR" metrics
tell 'set cold 0 0 4' 'cold' >/dev/null
weir cache put -s cache a hot-a >/dev/null
weir cache put -s cache b hot-b >/dev/null
ask 'get a' 'get a' 'get b' 'get cold' 'set cold 0 0 1\r\nx' >/dev/null
tap_like "loaded, they are well-formed, in both formats" "$(judge)" '^ok: [3-9][0-9] families, [0-9]+ samples$'
tap_is "hits" "$(value 'weir_cache_hits_total{service="cache"}')" 3
tap_is "misses" "$(value 'weir_cache_misses_total{service="cache"}')" 1
tap_is "a reason" "$(value 'weir_packets_total{service="cache",reason="write"}')" 1
tap_is "  of a service that never had it: zero" "$(value 'weir_packets_total{service="www",reason="write"}')" 0
tap_is "  that nobody ever had: absent" "$(value 'weir_packets_total{service="cache",reason="no_route"}')" absent
tap_is "a service without a cache has no hits" "$(value 'weir_cache_hits_total{service="www"}')" absent
tap_is "keys in the hot set" "$(value weir_cache_entries) $(value weir_cache_capacity_entries)" "2 1000"
tap_is "  and memory" "$(value weir_cache_memory_used_bytes)" \
	"$(of_json "d['cache']['used_bytes']" weir status --json 2>/dev/null)"
tap_is "backends: capacity, state" \
	"$(for b in b1 b2; do
		value "weir_backend_capacity{pool=\"web\",backend=\"$b\"}"
		value "weir_backend_admin{pool=\"web\",backend=\"$b\",state=\"drain\"}"
	done | tr '\n' ' ')" "50 0 100 1 "
tap_is "the interface" \
	"$(value 'weir_interface_attached{interface="eth0"}') $(sum weir_interface_info interface=eth0)" "1 1"
tap_is "  and its speed, as the driver says" "$(value 'weir_interface_speed_bytes{interface="eth0"}')" \
	"$(lab_in server ethtool eth0 | awk '/Speed:/ { print int($2) * 125000 }')"
# As `ip` has them, and `weir metrics`, looked at before and after: a packet may come in between.
driver_counts()
{
	lab_in server ip -j -s link show eth0 | "${PYTHON[@]}" -c 'import json, sys
s = json.load(sys.stdin)[0]["stats64"]
print(*[s[way][what] for what in ("bytes", "packets") for way in ("rx", "tx")])'
}
link_counts()
{
	weir metrics | sed -n 's/^weir_interface_\(receive\|transmit\)_\(bytes\|packets\)_total{interface="eth0"} //p' | xargs
}
same_counts()
{
	local before
	before=$(driver_counts)
	COUNTS=$(link_counts)
	[ "$before" = "$(driver_counts)" ] && [ "$COUNTS" = "$before" ]
}
tap_ok "  what it received and sent, as \`ip\` says" lab_wait_for 5 same_counts
read -r rx tx rx_packets tx_packets <<<"$COUNTS"
ask 'get a' 'get a' 'get a' 'get a' 'get a' >/dev/null
lab_wait_for 5 same_counts
read -r rx_now tx_now rx_packets_now tx_packets_now <<<"$COUNTS"
tap_ok "  hits are among both" [ $((rx_packets_now - rx_packets)) -ge 5 -a $((tx_packets_now - tx_packets)) -ge 5 ]
tap_ok "  bytes, too" [ $((rx_now - rx)) -ge 250 -a $((tx_now - tx)) -ge 300 ]
tap_is "no agent: the lease never ends" \
	"$(value weir_lease_valid) $(value weir_lease_remaining_seconds) $(value weir_agent_up)" "1 absent 0"
weir backend set -q -p web b1 --capacity 60 >/dev/null
tap_is "drift, after a change by hand" "$(value weir_config_drift)" 1
tap_is "no client, no key and no address is in any of it" \
	"$(for f in prometheus openmetrics json emf statsd; do weir metrics --format $f; done |
		grep -cE '10\.7\.|fd07|hot-a|"a"')" 0

lab_wait_for 5 eval 'ask "get a" "get cold" >/dev/null; [ "$(sum weir_latency_seconds_count)" -ge 2 ]'
tap_is "latencies: as many as \`weir latency show\` knows, of the same paths" \
	"$(for p in hit miss; do value "weir_latency_seconds_count{service=\"cache\",path=\"$p\"}"; done | tr '\n' ' ')" \
	"$(of_json "''.join('%d ' % h['count'] for h in d['services'] if h['path'] in ('hit', 'miss'))" \
		weir latency show --json)"
tap_is "  nothing is lost" "$(value 'weir_requests_lost_total{service="cache"}')" 0
tap_is "  of a service without traffic there are none" "$(sum weir_latency_seconds_count service=www)" 0

### JSON and EMF

hits=$(value 'weir_cache_hits_total{service="cache"}')
tap_is "JSON: the same numbers" \
	"$(of_json "[s['value'] for f in d['families'] if f['name'] == 'weir_cache_hits_total' for s in f['samples']]" \
		weir metrics --json)" "[$hits]"
weir metrics --format emf --namespace Test/Weir >emf
tap_is "EMF: every line says where its metrics are" "$("${PYTHON[@]}" -c '
import json
lines = [json.loads(l) for l in open("emf")]
for d in lines:
    m = d["_aws"]["CloudWatchMetrics"][0]
    assert m["Namespace"] == "Test/Weir" and 1 <= len(m["Metrics"]) <= 100, m
    assert all(isinstance(d[x["Name"]], (int, float)) for x in m["Metrics"])
    assert all(d[x] for x in m["Dimensions"][0])
hits = [d["weir_cache_hits_total"] for d in lines if "weir_cache_hits_total" in d]
print(len(lines) > 10, hits)')" "True [$hits]"

### Truth: the sum over reasons is what the interface received, through reloads

received()
{
	lab_in server ip -j -s link show eth0 | "${PYTHON[@]}" -c 'import json, sys
print(json.load(sys.stdin)[0]["stats64"]["rx"]["packets"])'
}

counted()
{
	sum weir_packets_total 'reason!=reply|reply_write|reply_lost'
}

# How far the two are apart. A packet may come between the looks: then they are the same before and after.
apart()
{
	local before after n

	before=$(received)
	n=$(counted)
	after=$(received)
	[ "$before" = "$after" ] && echo $((n - after))
}

is_apart() # NUMBER; APART: what it was, when it could last be told
{
	local now
	now=$(apart) && APART=$now
	[ "$now" = "$1" ]
}

lab_wait_for 5 eval 'was=$(apart)'
tap_ok "what came before the load is not counted" [ "${was:-none}" -le 0 ]
rx=$(received)
lookups=$(($(sum weir_cache_hits_total) + $(sum weir_cache_misses_total)))
lab_bg traffic lab_in client python3 "$NET_DIR/client.py" --timeout "$REPLY_S" loop $MEMCACHED a,b,cold
for i in 1 2 3; do
	sleep 0.5
	weir -q reload -c $YAML >/dev/null 2>&1
done
sleep 0.5
lab_stop traffic
lab_wait_for 5 is_apart "$was"
tap_is "no packet is counted twice or not at all, while programs are replaced under load" "$APART" "$was"
tap_note "$(($(received) - rx)) packets, $(value weir_generation) generations"
tap_ok "  and there were many" [ $(($(received) - rx)) -gt $((1000 / SLOWER)) ]
tap_is "  each lookup is a hit or a miss" \
	"$(($(sum weir_cache_hits_total) + $(sum weir_cache_misses_total) - lookups)) lookups, 0 lost" \
	"$(client client eval "$LAB_DIR/traffic.log" "'%d lookups, %d lost' % (d['sent'], d['lost'])")"
tap_is "reload undoes what was done by hand" "$(value weir_config_drift)" 0

### node_exporter's file

mkdir text && cd text || exit 1
echo precious >../victim
ln -s ../victim weir.prom.tmp
tap_ok "a file for node_exporter" weir metrics --textfile $PWD/weir.prom
tap_is "  whatever lay in the way was not followed" "$(cat ../victim) $(ls)" "precious weir.prom"
tap_is "  is what Prometheus text is" "$(grep -v _seconds weir.prom | grep -c '^weir_')" \
	"$(weir metrics | grep -v _seconds | grep -c '^weir_')"
lab_bg writer lab_in server "$WEIR" metrics --textfile "$PWD/weir.prom" --interval 1s
torn=0 reads=0 end=$((SECONDS + 3)) old=$(stat -c %i weir.prom)
while [ $SECONDS -lt $end ]; do
	[ "$(tail -n 1 weir.prom | grep -c '^weir_')" = 1 ] && [ "$(wc -l <weir.prom)" -gt 50 ] || torn=$((torn + 1))
	reads=$((reads + 1))
done
tap_is "  is never half there while it is written again and again" "$torn" 0
tap_note "$reads reads"
tap_ok "  and was written again" [ "$(stat -c %i weir.prom)" != "$old" ]
tap_ok "  until it is ended" lab_stop writer
tap_is "  with nothing left beside it" "$(ls)" weir.prom
tap_fails "a directory that is not there: status 1" 1 weir metrics --textfile $PWD/none/weir.prom
tap_like "  said with the file's name" "$(weir metrics --textfile $PWD/none/weir.prom 2>&1)" \
	'weir: metrics: .*/none/weir.prom: No such file or directory'
cd .. || exit 1
mkdir full && mount -t tmpfs -o size=8k tmpfs full || exit 1
echo old >full/weir.prom
tap_fails "a full disk: status 1" 1 weir metrics --textfile $PWD/full/weir.prom
tap_is "  and the old file stays, alone" "$(cat full/*) $(ls full)" "old weir.prom"
umount full
tap_like "a name that node_exporter would not read is noted" \
	"$(weir metrics --textfile $PWD/weir.txt 2>&1)" 'weir: note: .*end in .prom'

### StatsD

statsd_start four 127.0.0.1
tap_ok "gauges go to StatsD" weir metrics --statsd 127.0.0.1:8125
lab_wait_for 5 test -s four.json
tap_is "  in lines that are some, in datagrams that fit" \
	"$(of_statsd four "d['wrong'], 1 <= d['datagrams'] < 20, 100 < d['longest'] <= 1432")" '[[], true, true]'
tap_is "  without counters: nobody knows since when" \
	"$(of_statsd four "d['counters'], d['gauges']['weir.backend_capacity.web.b1']")" '[{}, 50.0]'
lab_stop four

statsd_start six ::1
lab_bg sender lab_in server "$WEIR" metrics --statsd '[::1]:8125' --interval 1s --namespace edge.one
lab_wait_for 5 test -s six.json
before=$(value 'weir_cache_hits_total{service="cache"}')
ask 'get a' 'get b' 'get a' 'get a' >/dev/null
added=$(($(value 'weir_cache_hits_total{service="cache"}') - before))
sent()
{
	[ "$(of_statsd six "d['counters'].get('edge.one.packets.cache.hit', 0)")" = 4.0 ]
}
lab_wait_for 5 sent
sleep 1.2
tap_is "over IPv6, each second: what was added" \
	"$(of_statsd six "[d['counters']['edge.one.' + n] for n in ('packets.cache.hit', 'cache_hits.cache')]") $added" \
	'[4.0, 4.0] 4'
tap_is "  in lines that are some" "$(of_statsd six "d['wrong']")" '[]'
lab_stop six
sleep 1.2
ask 'get a' 'get a' >/dev/null
sleep 1.2
statsd_start six ::1
lab_wait_for 5 test -s six.json
sent()
{
	[ "$(of_statsd six "d['counters'].get('edge.one.packets.cache.hit', 0)")" = 2.0 ]
}
lab_wait_for 5 sent
tap_is "  nothing is lost while nobody listens" \
	"$(of_statsd six "d['counters']['edge.one.packets.cache.hit']")" 2.0
tap_like "  which was said" "$(cat "$LAB_DIR/sender.log")" 'weir: metrics: \[::1\]:8125: nobody listens there'
tap_ok "  until it is ended" lab_stop sender
lab_stop six
tap_fails "nobody listens: status 1" 1 weir metrics --statsd 127.0.0.1:8125
tap_fails "a host that is none: status 1" 1 weir metrics --statsd none.invalid:8125

lab_bg emf lab_in server "$WEIR" metrics --format emf --interval 1s
lab_wait_for 5 test -s $LAB_DIR/emf.log
ask 'get a' 'get b' >/dev/null
sleep 2.2
lab_stop emf
tap_is "EMF again and again: what was added, the first time nothing" "$("${PYTHON[@]}" -c '
import json
hits = [d["weir_cache_hits_total"] for d in map(json.loads, open("emf.log")) if "weir_cache_hits_total" in d]
print(hits[0], sum(hits), len(hits) >= 3)')" "0 2 True"

### The agent's part

lab_bg agent lab_in server "$WEIR" run -c $YAML
tap_ok "with an agent the lease is held" lab_wait_for 10 is_value weir_agent_up 1
tap_ok "  for a while" lab_wait_for 5 eval '[ "$(value weir_lease_remaining_seconds)" != absent ]'
lab_stop agent KILL
tap_ok "when it was killed, the lease ends" lab_wait_for 10 is_value weir_lease_valid 0
tap_is "  and nothing is left of it" "$(value weir_lease_remaining_seconds)" 0

### What cannot be read

rm /sys/fs/bpf/weir/maps/stats
tap_fails "a part is missing: degraded, status 5" 5 weir metrics
tap_is "  and not up" "$(value weir_up 2>/dev/null)" 0
tap_like "  with a word of why" "$(weir metrics 2>&1 >/dev/null)" '^weir: warning: .*interrupted'
weir unload -q >/dev/null
lab_link server 'a"b\c' client eth1
net_yaml | sed '1s/.*/interfaces: [{name: '"'"'a"b\\c'"'"'}]/' >odd.yaml
YAML=$PWD/odd.yaml tap_ok "an interface with a name that must be escaped" weir_load
tap_like "  is well-formed, too" "$(judge)" '^ok: [0-9]+ families, [0-9]+ samples$'
tap_is "  and keeps its name" "$(value 'weir_interface_attached{interface="a\"b\\c"}')" 1
weir unload -q >/dev/null
tap_is "after unload it is as in the beginning" "$(judge)" "ok: 2 families, 2 samples"
tap_done
