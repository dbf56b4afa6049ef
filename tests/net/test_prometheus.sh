#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# A real Prometheus asks a real agent, and a real node_exporter reads what `weir metrics --textfile` wrote: what
# they then know is what happened. With the rules and alerts of docs/monitoring.
#
# vm-kernels: none
. "$(dirname "$0")/common.sh"

for tool in prometheus promtool prometheus-node-exporter; do
	command -v $tool >/dev/null || tap_skip_all "no $tool"
done
net_start "$@"

AGENT_AT=127.0.0.1:9844 # where it answers unless told otherwise
VIP=192.0.2.80:80
DELAY=0.05 # of the web server
REQUESTS=40

### The lab: a web server behind the edge, beside memcached on it

web_server()
{
	lab_netns web
	lab_link web eth0 server eth1
	lab_native_peer web eth0
	lab_addr web eth0 10.8.0.2/24
	lab_addr server eth1 10.8.0.1/24
	ip -n web route add default via 10.8.0.1
	ip -n client route add ${VIP%:*} via 10.7.0.1
	lab_in server sysctl -qw net.ipv4.ip_forward=1
	lab_bg web lab_in web "${PYTHON[@]}" "$NET_DIR/load.py" serve b1 80 $DELAY
	lab_wait_port web 80 || lab_die "the web server does not start: $(cat $LAB_DIR/web.log)"
}

yaml()
{
	net_yaml 1000 | sed 's/\[{name: eth0}\]/[{name: eth0}, {name: eth1}]/'
	cat <<-EOF
		  - {name: web, vips: ["$VIP"], pool: web}
		pools:
		  - name: web
		    delivery: nat
		    check: {type: tcp, interval: 200ms, timeout: 200ms, fall: 2, rise: 1}
		    backends: [{name: b1, address: "10.8.0.2:80"}]
		latency: {interval: "0"}
	EOF
}

agent_start()
{
	lab_bg agent lab_in server "$WEIR" run -c $YAML
	lab_wait_port server ${AGENT_AT#*:}
}

prometheus_start()
{
	mkdir $LAB_DIR/rules $LAB_DIR/textfile
	cp "$LAB_ROOT"/docs/monitoring/weir.{thresholds,rules,alerts}.yml $LAB_DIR/rules/
	cat >$LAB_DIR/prometheus.yml <<-EOF
		global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
		rule_files: [rules/*.yml]
		scrape_configs:
		  - {job_name: weir, static_configs: [{targets: ["$AGENT_AT"]}]}
		  - {job_name: node, static_configs: [{targets: ["127.0.0.1:9100"]}]}
	EOF
	# Each group has an interval of its own only where it says so: these are evaluated twice a second.
	lab_bg node lab_in server prometheus-node-exporter --collector.disable-defaults --collector.textfile \
		--collector.textfile.directory=$LAB_DIR/textfile --web.listen-address=127.0.0.1:9100
	lab_bg prometheus lab_in server prometheus --config.file=$LAB_DIR/prometheus.yml --log.level=warn \
		--storage.tsdb.path=$LAB_DIR/tsdb --web.listen-address=127.0.0.1:9090
	lab_wait_port server 9100
	lab_wait_port server 9090
}

### Words

ask_it() # WORD...: of prometheus.py
{
	lab_in server "${PYTHON[@]}" "$NET_DIR/prometheus.py" "$@"
}

# Prometheus knows it, within ten seconds.
tap_knows() # SENTENCE EXPRESSION VALUE
{
	tap_is "$1" "$(ask_it wait 10 "$2" "$3")" "$3"
}

# As monitoring gets it.
metrics()
{
	lab_in server "${PYTHON[@]}" -c 'import sys, urllib.request
sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())' http://$AGENT_AT/metrics
}

passes_promtool() # COMMAND...
{
	"$@" >$LAB_DIR/metrics && [ -s $LAB_DIR/metrics ] && promtool check metrics <$LAB_DIR/metrics
}

web_requests() # COUNT: one after another, on one connection each
{
	lab_in client "${PYTHON[@]}" "$NET_DIR/load.py" --rate 20 get $VIP "$1" /
}

### The tests

is_there()
{
	tap_knows "Prometheus scrapes the agent" 'up{job="weir"}' \
		'{"__name__": "up", "instance": "'$AGENT_AT'", "job": "weir"} 1'
	tap_is "  and has no complaint" "$(ask_it targets | sed 's/ $//')" $'node up\nweir up'
	tap_ok "promtool has none about the names" passes_promtool metrics
	tap_ok "  of \`weir metrics\`, too" passes_promtool weir metrics
	tap_is "the rules load, and each is evaluated without an error" "$(ask_it rules)" \
		"$(cat $LAB_DIR/rules/*.yml | grep -cE '^ *- \{?(record|alert):') rules"
	tap_knows "Weir is loaded, as Prometheus knows" 'weir_up{job="weir"} == bool 1' \
		'{"instance": "'$AGENT_AT'", "job": "weir"} 1'
	tap_knows "  and its backend is up" 'sum(weir_backend_up{job="weir"})' 1
}

counts()
{
	ask 'get hot' 'get hot' 'get hot' 'get cold' >/dev/null
	tap_knows "hits are counted" 'sum(weir_cache_hits_total{job="weir"})' 3
	tap_knows "  misses, too" 'sum(weir_cache_misses_total{job="weir"})' 1
	tap_knows "  as packets by reason" 'sum(weir_packets_total{job="weir",service="cache",reason="hit"})' 3
	ask 'get hot' 'get hot' >/dev/null
	tap_knows "counters go on" 'sum(weir_cache_hits_total{job="weir"})' 5
	tap_knows "the hit ratio follows from them" 'round(sum(service:weir_cache_hits:ratio_rate5m), 0.01)' 0.83
	tap_is "what Prometheus knows is what weir says" \
		"$(ask_it query 'sum(weir_packets_total{job="weir",service="cache",reason="hit"})')" "$(reason hit)"
}

# The server answers after DELAY, or later when the CPU is busy. No client waited longer than `longest`, which has
# the connect in it. Quantiles are wrong by half at most, the mean is exact.
latencies()
{
	local labels='job="weir",service="web",path="request"' longest mean

	longest=$(web_requests $REQUESTS | tail -n1 | of_json "d['longest']" cat)
	tap_knows "each request is measured" "sum(weir_latency_seconds_count{$labels})" $REQUESTS
	tap_knows "  and none was faster than the server" \
		"sum(weir_latency_seconds_bucket{$labels,le=~\"0.0335.*\"})" 0
	tap_knows "  so the median is what it takes" \
		"sum(service_path:weir_latency_seconds:p50_rate5m{$labels} > 0.0335 < 1.5 * $longest) > bool 0" 1
	mean=$(ask_it query "sum(weir_latency_seconds_sum{$labels}) / sum(weir_latency_seconds_count{$labels})")
	tap_note "the mean: $mean s; the server takes $DELAY s, no client waited longer than $longest s"
	tap_ok "the mean lies between the server's delay and the longest wait" \
		python3 -c "import sys; sys.exit(not $DELAY <= $mean <= $longest)"
	tap_knows "both links carry something, both ways, and how much of their speed that is" \
		'count(interface:weir_link_used:ratio{job="weir",interface=~"eth[01]"} > 0 < 1)' 4
	tap_knows "no request is lost or failed" 'sum(service:weir_requests_successful:ratio_rate5m{service="web"})' 1
	tap_is "all is well: nothing fires" "$(ask_it query 'ALERTS{alertstate="firing"}')" ""
}

# The rest are what has not happened here: nothing went wrong, nobody had the same traffic yesterday.
dashboard()
{
	python3 "$LAB_ROOT/tests/monitoring/static.py" expressions >$LAB_DIR/dashboard.json
	tap_is "all of the dashboard's queries find something, but few" "$(ask_it empty $LAB_DIR/dashboard.json)" \
		"panel 'What somebody should look at' A"$'\n'"panel 'Now and expected' B"$'\n'"annotation 'Loads and reloads'"
}

# node_exporter has other labels, the same numbers.
textfile()
{
	weir metrics --textfile $LAB_DIR/textfile/weir.prom
	tap_knows "node_exporter reads what weir wrote" 'sum(weir_up{job="node"})' 1
	tap_knows "  without an error" 'sum(node_textfile_scrape_error)' 0
	tap_knows "  the same counters" 'sum(weir_cache_hits_total{job="node"})' 5
	tap_knows "  the same histograms" \
		'sum(weir_latency_seconds_count{job="node",service="web",path="request"})' $REQUESTS
	tap_is "  and nothing but that file is left there" "$(ls $LAB_DIR/textfile)" weir.prom
	rm $LAB_DIR/textfile/weir.prom
}

# For a minute it would be pending.
alerts()
{
	local pending='count by (alertname, severity) (ALERTS{alertstate="pending",alertname="%s"})'

	ip -n web link set eth0 down
	# shellcheck disable=SC2059
	tap_knows "a backend that is gone is told" "$(printf "$pending" WeirBackendDown)" \
		'{"alertname": "WeirBackendDown", "severity": "warning"} 1'
	# shellcheck disable=SC2059
	tap_knows "  and that none is left" "$(printf "$pending" WeirNoBackendLeft)" \
		'{"alertname": "WeirNoBackendLeft", "severity": "critical"} 1'
	lab_stop agent KILL
	tap_knows "an agent that is killed is told" \
		'count by (alertname, severity) (ALERTS{alertname="WeirUnreachable"})' \
		'{"alertname": "WeirUnreachable", "severity": "critical"} 1'
	tap_like "  while the data plane goes on" "$(lab_in server ip link show eth0)" xdp
}

web_server
yaml >$YAML
agent_start || lab_die "the agent does not start: $(cat $LAB_DIR/agent.log)"
prometheus_start || lab_die "Prometheus does not start: $(cat $LAB_DIR/prometheus.log $LAB_DIR/node.log)"
weir cache put --service cache hot value >/dev/null
is_there
counts
latencies
dashboard
textfile
alerts
tap_done
