#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# The agent's own memory (RssAnon: the maps, which it has mapped, are not it) does not grow by what it is asked, nor
# by reloads; and what it is at the largest configuration, each of whose backends has been measured.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
[ $SLOWER = 1 ] || tap_skip_all "an emulated machine takes minutes"

AT=127.0.0.1:9844
LIMIT_SMALL=8192 # KiB
LIMIT_LARGE=24576

ip -n client route add local 10.8.0.0/16 dev lo
ip -n server route add 10.8.0.0/16 via 10.7.0.2
lab_in server sysctl -qw net.ipv4.ip_forward=1
lab_bg web lab_in client python3 "$NET_DIR/load.py" serve b 80

sized_yaml() # POOLS BACKENDS-OF-EACH FLOWS RECORDS
{
	local p b

	printf 'interfaces: [{name: eth0}]\nflows: {capacity: %s}\nlatency: {flows: %s, slow: 10ms}\nservices:\n' "$3" "$4"
	for ((p = 0; p < $1; p++)); do
		echo "  - {name: service-$p, vips: [\"10.9.0.$p:80\"], pool: pool-$p, protocol: tcp}"
	done
	echo "pools:"
	for ((p = 0; p < $1; p++)); do
		printf '  - name: pool-%s\n    delivery: nat\n    check: {type: tcp, interval: 5s, timeout: 1s}\n    backends:\n' $p
		for ((b = 1; b <= $2; b++)); do
			echo "      - {name: backend-$b, address: \"10.8.$p.$b:80\"}"
		done
	done
}

rss() # KiB
{
	awk '/^RssAnon/ { print $2 }' "/proc/$(lab_pid agent)/status"
}

# The least of some: what is made for a moment is not counted.
settled()
{
	local i least='' now
	for i in 1 2 3 4; do
		sleep 1.1
		now=$(rss)
		[ -n "$least" ] && [ "$now" -ge "$least" ] || least=$now
	done
	echo "$least"
}

get()
{
	lab_in server curl -sS -m 20 "http://$AT$1"
}

scrape() # N PATH
{
	lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" scrape $AT "$@"
}

ready()
{
	[ "$(lab_in server curl -sS -m 5 -o /dev/null -w '%{http_code}' http://$AT/readyz)" = 200 ]
}

generation()
{
	of_json "d['generation']" weir status --json
}

reload()
{
	local g
	g=$(generation)
	kill -HUP "$(lab_pid agent)"
	lab_wait_for 20 eval '[ "$(generation)" -gt '"$g"' ]'
}

# Each page, and what cannot be kept for others.
each_page()
{
	local path
	for path in / /healthz /readyz /metrics /api/v1/{status,stats,backends,services,flows,latency,check} \
		'/api/v1/flows?count' "/api/v1/stats?service=service-$1" "/api/v1/flows?limit=$((1 + $1))" /nothing '/?x'; do
		get "$path" >/dev/null
		sleep 0.05
	done
}

grown() # FROM TO: percent, rounded up
{
	echo $((($2 - $1) * 100 / $1))
}

### Small, asked much

sized_yaml 2 4 64K 32K >$YAML
lab_bg agent lab_in server "$WEIR" run -c $YAML
tap_ok "it is ready" lab_wait_for 20 ready
for i in {0..9}; do
	each_page 1
	reload
done
before=$(settled)
tap_is "5,000 scrapes" "$(scrape 5000 /metrics | cut -d' ' -f1)" 5000
for i in {0..9}; do
	each_page 1
	reload || tap_note "no reload"
done
after=$(settled)
tap_note "$before KiB, then $after KiB"
tap_ok "and twenty reloads: it grew by less than 5%" [ "$(grown "$before" "$after")" -lt 5 ]
tap_ok "at most $((LIMIT_SMALL / 1024)) MiB" [ "$after" -lt $LIMIT_SMALL ]
lab_stop agent
weir unload >/dev/null

### The largest

sized_yaml 64 64 16M 1M >$YAML
lab_bg agent lab_in server "$WEIR" run -c $YAML
lab_wait_for 20 test -e /sys/fs/bpf/weir/maps/backend_latency || lab_die "no map: $(ls /sys/fs/bpf/weir/maps)"
up() { [ "$(grep -c ' up ' agent.log)" = 4096 ]; }
tap_ok "4,096 backends are checked" lab_wait_for 40 up
# Each bucket of each backend is in use.
"${PYTHON[@]}" - /sys/fs/bpf/weir/maps/backend_latency 8192 <<'EOP'
import ctypes, os, platform, struct, sys
nr = {"x86_64": 321, "aarch64": 280}[platform.machine()]
syscall = ctypes.CDLL(None, use_errno=True).syscall

def bpf(cmd, attr):
    buf = ctypes.create_string_buffer(attr, 128)
    r = syscall(nr, cmd, buf, 128)
    if r < 0:
        sys.exit("bpf %d: %s" % (cmd, os.strerror(ctypes.get_errno())))
    return r

path = ctypes.create_string_buffer(sys.argv[1].encode())
fd = bpf(7, struct.pack("QII", ctypes.addressof(path), 0, 0))
value = ctypes.create_string_buffer(struct.pack("QQQQ210Q", 123456789, 5, 3, 0, *range(1000, 1210)))
for i in range(int(sys.argv[2])):
    key = ctypes.c_uint32(i)
    bpf(2, struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
EOP
get /metrics >page
tap_note "/metrics has $(wc -l <page) lines, $(wc -c <page) bytes"
tap_ok "/metrics has them all" [ "$(grep -c '^weir_backend_request_seconds_count' page)" = 4096 ]
lab_wait_for 5 ready
tap_note "made and sent in $(lab_in server curl -sS -o page -w '%{time_total}' http://$AT/metrics) s"
tap_like "who asks for too much at once is told to wait" \
	"$(lab_in server curl -sS -i "http://$AT/api/v1/flows?limit=[1-90]" | grep -E '^(HTTP|Retry)' | tr -d '\r')" \
	'503 Service Unavailable.*Retry-After: 1'
# Where what is kept lies among what is not differs from reload to reload, by a tenth: the highest of the first,
# against the lowest of the last.
rounds_of() # N: the settled values, sorted
{
	for ((i = 0; i < $1; i++)); do
		each_page $((i % 64))
		each_page $((i * 7 % 64))
		reload
		settled
	done | sort -n
}
first=$(rounds_of 3)
for i in {1..20}; do
	each_page $((i % 64))
	get /metrics >page
	[ $((i % 4)) != 0 ] || reload
done
last=$(rounds_of 3)
before=$(tail -1 <<<"$first") after=$(head -1 <<<"$last")
tap_note "$(echo $first) KiB, then $(echo $last) KiB; at most $(sed -n 's/^VmHWM:\t*//p' "/proc/$(lab_pid agent)/status"), maps included"
tap_ok "it grew by less than 5%" [ "$(grown "$before" "$after")" -lt 5 ]
tap_ok "at most $((LIMIT_LARGE / 1024)) MiB" [ "$after" -lt $LIMIT_LARGE ]
tap_ok "and the lease was held" [ "$(of_json "d['lease']['remaining_seconds'] > 1" weir status --json)" = true ]
tap_note "the loader: $(grep RssAnon "/proc/$(pgrep -P "$(lab_pid agent)" -x weir-loader)/status")"
lab_stop agent
weir unload >/dev/null

tap_done
