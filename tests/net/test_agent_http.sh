#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# The agent's HTTP: what it answers, what it refuses, and that whoever asks, stalls, floods or sends nonsense
# never keeps it from its own work.

. "$(dirname "$0")/common.sh"
[ $SLOWER = 1 ] || tap_skip_all "what is timed here, an emulated machine does not keep"
net_start "$@"
cd $LAB_DIR || exit 1
lab_addr client eth0 10.7.0.11/24 10.7.0.12/24
lab_in server sysctl -qw net.ipv4.ip_forward=1

AT=127.0.0.1:9844
URL=http://$AT

http_yaml() # [LINE...]
{
	net_yaml 1000
	cat <<-EOF
		  - name: web
		    vips: ["10.7.0.100:11211"]
		    pool: web
		    protocol: both
		flows: {capacity: 64K}
		pools:
		  - name: web
		    delivery: nat
		    check: {type: memcached, interval: 100ms, timeout: 90ms, rise: 1, fall: 2}
		    backends:
		      - {name: b1, address: "10.7.0.11:11211"}
	EOF
	[ $# = 0 ] || printf '%s\n' "$@"
}

backend_up() # NAME ADDRESS
{
	lab_bg "$1" lab_in client memcached -u root -t 1 -p 11211 -U 11211 -l "$2"
}

agent() # [ARGUMENT...]
{
	lab_bg agent lab_in server "$WEIR" run -c $YAML "$@"
}

said() # TEXT
{
	grep -qF -- "$1" agent.log
}

get() # PATH [CURL-ARGUMENT...]
{
	local path=$1
	shift
	lab_in server curl -sS -m 5 "$@" "$URL$path"
}

code() # PATH [CURL-ARGUMENT...]
{
	get "$@" -o /dev/null -w '%{http_code}'
}

is_code() # WANT PATH [CURL-ARGUMENT...]
{
	[ "$(code "${@:2}")" = "$1" ]
}

# Of a document that is got by HTTP, a Python expression over `d`.
of_page() # EXPRESSION PATH
{
	of_json "$1" get "$2"
}

hostile() # COMMAND ARGUMENT...: a client of its own kind
{
	lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" "$1" $AT "${@:2}"
}

fds()
{
	ls "/proc/$(lab_pid agent)/fd" | wc -l
}

checks()
{
	of_json "[b['checks_ok'] for b in d['backends'] if b['name'] == 'b1'][0]" weir backend show --json
}

# The agent does its work: checks of each 100 ms go on, and the lease is held.
works()
{
	local before
	before=$(checks)
	sleep 1
	[ $(($(checks) - before)) -ge 4 ] &&
		[ "$(of_json "d['lease']['remaining_seconds'] > 1" weir status --json)" = true ]
}

### Beginning

http_yaml >$YAML
backend_up b1 10.7.0.11
lab_bg taken lab_in server "${PYTHON[@]}" -c '
import socket, time
s = socket.create_server(("127.0.0.1", 9844))
time.sleep(3600)'
lab_wait_port server 9844
tap_like "a port that is taken is named, and the agent does not start" "$(weir run -c $YAML 2>&1; echo $?)" \
	'HTTP cannot be answered at 127\.0\.0\.1:9844: Address already in use.*
1$'
tap_is "  nothing was loaded" "$(leftovers)" ""
lab_stop taken
tap_like "nor at an address that is not this host's" "$(weir run -c $YAML --http 192.0.2.77:80 2>&1; echo $?)" \
	'at 192\.0\.2\.77:80: Cannot assign requested address.*
1$'
tap_like "what is no address is a mistake" "$(weir run -c $YAML --http nonsense 2>&1; echo $?)" \
	"--http takes ADDRESS:PORT or none, not 'nonsense'
2$"
agent
tap_ok "it answers" lab_wait_for 10 is_code 200 /healthz
tap_is "with this" "$(get /healthz)" ok
tap_ok "and says where" said "HTTP is answered at $AT"
tap_ok "it is ready when the backend was checked" lab_wait_for 10 is_code 200 /readyz

### Paths

tap_like "/ lists the paths" "$(get /)" '/metrics .*/readyz .*/api/v1/latency '
tap_like "headers" "$(get /healthz -i)" 'HTTP/1\.1 200 OK.*Content-Type: text/plain; charset=utf-8.*Cache-Control: no-store'
tap_is "no CORS" "$(get /metrics -i -H 'Origin: http://evil' | grep -ci access-control)" 0
tap_like "/metrics" "$(get /metrics)" '# TYPE weir_up gauge
weir_up 1
.*weir_agent_checks_total\{result="ok"\} [1-9]'
tap_is "its type" "$(get /metrics -o /dev/null -w '%{content_type}')" "text/plain; version=0.0.4; charset=utf-8"
tap_is "OpenMetrics for who accepts it" \
	"$(get /metrics -H 'Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4' -o open \
		-w '%{content_type}'; tail -1 open)" "application/openmetrics-text; version=1.0.0; charset=utf-8# EOF"

# What changes from moment to moment is left out of the comparison.
same() # PATH COMMAND...
{
	local path=$1
	shift
	get "$path" >page && weir "$@" --json >command
	"${PYTHON[@]}" - page command <<-'EOF'
		import json, sys
		moving = {"at", "remaining_seconds", "agent_age_seconds", "packets", "bytes", "checks_ok", "checks_failed",
		          "latency_seconds", "interval_seconds", "reasons", "reads", "idle_seconds", "p50_seconds",
		          "p95_seconds", "p99_seconds", "p999_seconds", "mean_seconds", "count", "none",
		          "records", "flows_measured", "measured"}
		def still(x):
		    if isinstance(x, dict):
		        return {k: still(v) for k, v in x.items() if k not in moving}
		    return [still(v) for v in x] if isinstance(x, list) else x
		a, b = [still(json.load(open(f))) for f in sys.argv[1:]]
		if a != b:
		    print(a, b, sep="\n")
		    sys.exit(1)
	EOF
}
tap_ok "/api/v1/status is the command's document" same /api/v1/status status
tap_ok "/api/v1/stats" same /api/v1/stats stats
tap_ok "  of one service" same "/api/v1/stats?service=web" stats -s web
tap_ok "/api/v1/backends" same /api/v1/backends backend show
tap_ok "  of one pool, one name" same "/api/v1/backends?pool=web&name=b1" backend show -p web b1
tap_ok "/api/v1/services, with what only the programs know" lab_wait_for 5 same /api/v1/services service show
tap_ok "/api/v1/latency" same /api/v1/latency latency show
tap_ok "/api/v1/flows?count" same "/api/v1/flows?count" flow show --count

tap_ok "/api/v1/check, of the agent's own file" same /api/v1/check check -c "$(realpath $YAML)"
cp $YAML good.yaml
http_yaml "nonsense: 1" >$YAML
sleep 1 # what was made may be given again
tap_is "  as it is now: what a reload would find" \
	"$(of_page "d['ok'], len(d['errors']), d['errors'][0]['field']" /api/v1/check) $(code /api/v1/check)" \
	'[false, 1, "nonsense"] 200'
sleep 1
mv $YAML away.yaml
tap_like "  or is not" "$(of_page "d['ok'], d['errors'][0]['message']" /api/v1/check)" \
	'\[false, "cannot be read: No such file'
sleep 1
mkfifo $YAML
tap_is "  it waits for no pipe" "$(code /api/v1/check) $(code /healthz)" "503 200"
rm $YAML
sed 's|type: memcached|type: command, command: "/bin/true --password x7"|' good.yaml >$YAML
sleep 1
tap_is "  nor tells commands of checks, which may hold a secret, as the command does" \
	"$(get /api/v1/check | grep -c x7) $(of_page "d['ok'], d['pools'][0]['check']['command']" /api/v1/check) \
$(weir check --json -c $YAML | grep -c x7)" "0 [true, null] 1"
mv good.yaml $YAML
tap_is "  and takes no other file, or parameter" "$(code '/api/v1/check?config=/etc/passwd') $(code '/api/v1/check/etc')" \
	"400 404"

ip -n client neigh add 10.7.0.100 lladdr "$(lab_mac server eth0)" dev eth0
client client --timeout 0.2 ask 10.7.0.100:11211 -- "get nothing" >/dev/null # the flow is there, whoever answers
tap_is "/api/v1/flows, a document a line" \
	"$(get '/api/v1/flows?proto=udp&service=web' | head -1 | grep -o '"client":"10.7.0.2"')" '"client":"10.7.0.2"'
tap_is "  with its end" "$(get '/api/v1/flows?limit=1' | tail -1 | grep -o '"shown":[01],')" '"shown":1,'
tap_is "  filtered" "$(get '/api/v1/flows?client=10.9.9.9' | grep -o '"matched":0')" '"matched":0'
tap_is "  by idleness" "$(get '/api/v1/flows?idle_above=1h' | grep -o '"matched":0')" '"matched":0'

tap_is "HEAD: headers only" "$(get /metrics -I | tr -d '\r' | grep -c '^Content-Length: [1-9]'; get /metrics -I | tail -c +1 | grep -c '# HELP')" "1
0"
tap_is "connections are kept" "$(hostile scrape 50 /healthz)" "50 1"

### Refused

tap_is "no such path" "$(code /nothing) $(code /api/v1) $(code /metrics/)" "404 404 404"
tap_is "no such parameter" "$(code '/metrics?x=1') $(code '/healthz?') $(code '/api/v1/stats?pool=web')" "400 200 400"
tap_is "one that is there twice" "$(code '/api/v1/stats?service=web&service=web')" 400
tap_is "too many" "$(code "/api/v1/flows?$(printf 'a%d=1&' {1..30})")" 400
tap_is "no such service" "$(code '/api/v1/stats?service=none') $(code '/api/v1/backends?pool=none')" "404 404"
tap_is "  as a document" "$(of_page "d['kind'] + ' ' + str(d['status'])" '/api/v1/stats?service=none')" "error 404"
tap_is "filters that are none" "$(code '/api/v1/flows?state=x') $(code '/api/v1/flows?limit=0') $(code \
	'/api/v1/flows?limit=1001') $(code '/api/v1/flows?idle_above=x') $(code '/api/v1/flows?port=')" "400 400 400 400 400"
tap_is "a NUL" "$(code '/api/v1/stats?service=web%00x')" 400
tap_like "other methods" "$(get / -i -X DELETE)" '405 Method Not Allowed.*Allow: GET, HEAD'
tap_is "a body" "$(code / -X POST -d x) $(code / -X GET -d x) $(code / -X GET -d x -H 'Transfer-Encoding: chunked')" "405 400 400"
tap_is "a header that is too long" "$(code / -H "X: $(printf 'x%.0s' {1..30000})")" 431

### Readiness

ready_says() # TEXT
{
	get /readyz | grep -qxF -- "$1"
}
lab_stop b1
tap_ok "not ready without a backend" lab_wait_for 5 is_code 503 /readyz
tap_ok "  which it says" lab_wait_for 5 ready_says "pool web: no backend takes connections"
tap_like "  also as a document" "$(of_json "[d['kind'], d['ready'], d['reasons']]" get /readyz -H 'Accept: application/json')" \
	'ready.*false.*pool web'
tap_is "  alive all the same" "$(code /healthz)" 200
backend_up b1 10.7.0.11
tap_ok "ready again" lab_wait_for 5 is_code 200 /readyz
ip -n server link set dev eth0 xdp off
ip -n server link set dev eth0 xdpgeneric off
tap_ok "not ready when somebody took the program off" lab_wait_for 5 ready_says "eth0: the program is not attached"
kill -HUP "$(lab_pid agent)"
tap_ok "a reload puts it back" lab_wait_for 10 is_code 200 /readyz
tc -n server qdisc del dev eth0 clsact
tap_ok "nor without the egress program" lab_wait_for 5 ready_says "eth0: the egress program is not attached"
weir reload -q -c $YAML >/dev/null
tap_ok "  back" lab_wait_for 10 is_code 200 /readyz
weir unload >/dev/null
tap_ok "not ready when unloaded" lab_wait_for 5 is_code 503 /readyz
tap_like "  with the reason" "$(get /readyz)" '^not loaded'
tap_is "status is an answer all the same" "$(of_page "d['loaded']" /api/v1/status)" false
tap_is "metrics, too" "$(get /metrics | grep '^weir_up ')" "weir_up 0"
tap_is "the file, too" "$(of_page "d['ok']" /api/v1/check)" true
tap_is "the rest is not there" "$(code /api/v1/stats) $(code /api/v1/flows)" "503 503"
weir_load >/dev/null
tap_ok "ready when it is loaded again" lab_wait_for 10 is_code 200 /readyz

### Many, slow and hostile ones

before=$(fds)
lab_bg hold lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" hold $AT 300 /metrics 20
tap_ok "many half requests" lab_wait_for 10 grep -q held hold.log
tap_ok "  hold no more than 64 descriptors" test "$(fds)" -le $((before + 64))
tap_ok "  do not disturb it" works
tap_ok "  and are ended: all within 11 s of silence" eval \
	'lab_wait_for 12 test "$(fds)" -le '"$before"' || lab_wait_for 12 eval "[ \$(fds) -le $before ]"'
tap_is "  it answers others again" "$(code /healthz)" 200
lab_stop hold
lab_bg drip lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" drip $AT 45
lab_bg slow lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" slow $AT 20 /metrics
tap_ok "who reads nothing" lab_wait_for 5 grep -q held slow.log
tap_ok "  does not disturb it" works
lab_stop slow

tap_like "a few thousand mutated requests are answered or refused" "$(hostile fuzz "$(rounds 3000)" 1 | tee fuzz.out)" '400:[1-9]'
tap_note "$(cat fuzz.out)"
tap_is "  it answers" "$(code /healthz)" 200
tap_ok "  it works" works
tap_ok "  no descriptor is left over but the slow one's" lab_wait_for 15 eval "[ \$(fds) -le $((before + 1)) ]"
tap_like "5,000 scrapes" "$(hostile scrape "$(rounds 5000)" /metrics)" "^$(rounds 5000) "
tap_ok "  it works" works

for i in {1..5}; do
	lab_bg "scrape$i" lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" scrape $AT 1000 /metrics
done
g=$(of_json "d['generation']" weir status --json)
for i in 1 2 3; do
	kill -HUP "$(lab_pid agent)"
	sleep 0.5
done
more_generations()
{
	[ "$(of_json "d['generation']" weir status --json)" -ge $((g + 2)) ]
}
tap_ok "reloads during scrapes" lab_wait_for 15 more_generations
for i in {1..5}; do
	wait "$(lab_pid "scrape$i")"
done
tap_is "  none of which failed" "$(cat scrape?.log | cut -d' ' -f1 | sort -u)" 1000
lab_wait_for 40 test -s drip.log
tap_like "who sends a byte now and then is ended after 30 s" "$(cat drip.log)" '^(29|3[0-3])$'

### Few descriptors

prlimit --pid "$(lab_pid agent)" --nofile=$(($(fds) + 3)):4096
lab_bg hold lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" hold $AT 20 /metrics 60
lab_wait_for 10 grep -q held hold.log
sleep 1
cpu() # clock ticks that it has used
{
	awk '{ print $14 + $15 }' "/proc/$(lab_pid agent)/stat"
}
before=$(cpu)
sleep 2
tap_ok "without descriptors it does not spin" test $(($(cpu) - before)) -lt 100
tap_ok "  and holds the lease" eval '[ "$(of_json "d[\"lease\"][\"remaining_seconds\"] > 1" weir status --json)" = true ]'
lab_stop hold
tap_ok "  it answers when there are some again" lab_wait_for 15 is_code 200 /healthz
tap_ok "  and works" works
prlimit --pid "$(lab_pid agent)" --nofile=1024:4096

### The log

tap_ok "it ends" eval 'lab_stop agent'
mkfifo log
# Held open by one that never reads.
lab_bg reader sh -c 'exec sleep 3600 <>log'
lab_bg agent lab_in server sh -c "exec '$WEIR' run -c $YAML 2>log"
tap_ok "with a log that nobody reads" lab_wait_for 10 is_code 200 /readyz
"${PYTHON[@]}" -c '
import fcntl, os
fd = os.open("log", os.O_WRONLY | os.O_NONBLOCK)
try:
    while os.write(fd, b"x" * 4096):
        pass
except BlockingIOError:
    pass'
lab_stop b1
tap_ok "  which is full, checks go on" lab_wait_for 5 is_code 503 /readyz
backend_up b1 10.7.0.11
tap_ok "  and on" lab_wait_for 5 is_code 200 /readyz
tap_ok "  it works" works
echo 'services: nonsense' >>$YAML
kill -HUP "$(lab_pid agent)"
sleep 1
tap_ok "  a faulty file's words disturb nobody" works
http_yaml >$YAML
timeout 2 cat log >drained
lab_stop b1
lab_wait_for 5 is_code 503 /readyz
timeout 2 cat log >>drained
backend_up b1 10.7.0.11
tap_like "  what went lost is said" "$(tr -d x <drained)" 'lines? could not be written here, and went lost'
lab_stop reader
lab_stop b1
tap_ok "  one that is closed does not end it" lab_wait_for 5 is_code 503 /readyz
backend_up b1 10.7.0.11
lab_wait_for 5 is_code 200 /readyz

### Killed under load

weir cache put -q -s cache hot value >/dev/null
lab_bg load lab_in server "${PYTHON[@]}" "$NET_DIR/http_client.py" scrape $AT 100000 /metrics
sleep 0.5
tap_counts "a hot key is answered here" hit 1 ask "get hot"
lab_stop agent KILL
tap_counts "killed under load: until the lease ends it still is" hit 1 ask "get hot"
tap_ok "  the lease ends" eval 'sleep 4; [ "$(of_json "d[\"answering\"]" weir status --json)" = false ]'
loader_gone()
{
	! pgrep -x weir-loader >/dev/null
}
tap_ok "  its loader goes with it" lab_wait_for 5 loader_gone
agent
tap_ok "the next agent has the port, and takes it up" lab_wait_for 10 is_code 200 /readyz
lab_stop load
tap_is "  it answers" "$(of_page "d['answering']" /api/v1/status)" true
pkill -P "$(lab_pid agent)" -x weir-loader -KILL
tap_ok "without its loader" lab_wait_for 5 said "the loader, which reloads, is gone"
kill -HUP "$(lab_pid agent)"
tap_ok "  a reload is refused" lab_wait_for 5 said "reload: the loader is gone"
tap_ok "  and the rest works" works
tap_is "  that counts" "$(get /metrics | grep 'reloads_total.*failed')" 'weir_agent_reloads_total{result="failed"} 1'
lab_stop agent

### Elsewhere

http_yaml 'agent: {http: none}' >$YAML
agent
tap_ok "none: it does not listen" lab_wait_for 10 works
tap_is "  nowhere" "$(lab_in server ss -Hltnp | grep -c weir)" 0
lab_stop agent
http_yaml 'agent: {http: "[::1]:8899"}' >$YAML
agent
URL='http://[::1]:8899'
tap_ok "IPv6, another port" lab_wait_for 10 is_code 200 /readyz
sed -i s/8899/8898/ $YAML
kill -HUP "$(lab_pid agent)"
tap_ok "another one takes a new start" lab_wait_for 10 said "agent.http changed: that takes effect when the agent is started again"
tap_is "  until then it is where it was" "$(code /healthz)" 200
lab_stop agent
if command -v systemd-socket-activate >/dev/null; then
	URL=http://127.0.0.1:7777
	lab_bg agent lab_in server systemd-socket-activate -l 127.0.0.1:7777 "$WEIR" run -c $YAML
	lab_wait_port server 7777
	tap_is "a socket of systemd's takes the place of the configured one" "$(code /healthz -m 20)" 200
	tap_is "  which is not there" "$(lab_in server ss -Hltn | grep -c 8898)" 0
	tap_ok "  it is said" said "HTTP is answered at a socket of systemd's"
	lab_stop agent
else
	tap_skip "a socket of systemd's" "there is no systemd-socket-activate"
fi
http_yaml 'agent: {http: "1.2.3.4"}' >$YAML
tap_like "what is wrong in the file is named" "$(weir check -c $YAML 2>&1)" "agent.http: '1.2.3.4' is not ADDRESS:PORT"
weir unload >/dev/null

tap_done
