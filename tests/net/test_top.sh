#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# `weir top` on a terminal of its own, with real traffic: its views, keys, sizes, and how it ends; `--once`.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1

lpy() # CLIENT ARGUMENT...
{
	lab_in "$1" "${PYTHON[@]}" "$NET_DIR/latency.py" "${@:2}"
}

# weir top on a terminal; its script comes on standard input.
on_terminal() # [OPTION...] -- [OPTION-OF-TOP...]
{
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	lab_in edge "${PYTHON[@]}" "$NET_DIR/top_pty.py" "${options[@]}" "$WEIR" top "$@"
}

# Each step is a sentence and a line of the script; those that print are tests, in that order.
steps=() sentences=()
step() # SCRIPT-LINE [SENTENCE [WANTED]]
{
	steps+=("$1")
	[ $# = 1 ] || sentences+=("$2"$'\t'"${3:-ok}")
}

play() # [OPTION...] -- [OPTION-OF-TOP...]
{
	local line i=0 sentence said=()

	printf '%s\n' "${steps[@]}" | on_terminal "$@" >play.out 2>play.err
	grep '^# |' play.out
	mapfile -t said < <(grep -v '^#' play.out)
	for line in "${sentences[@]}"; do
		sentence=${line%%$'\t'*}
		tap_like "$sentence" "${said[i++]-nothing: $(cat play.err)}" "^(${line#*$'\t'})\$"
	done
	steps=() sentences=()
}

cat >$YAML <<-EOF
	interfaces: [{name: eth0}, {name: eth1}]
	cache: {capacity: 1000, memory: 4M, hit_counters: true}
	flows: {capacity: 64K}
	latency: {flows: 1K, interval: 0, timeout: 5s}
	services:
	  - {name: cache, vips: ["10.2.0.1:11211"], clients: [10.1.0.0/16], origin: "10.2.0.1:11211"}
	  - {name: web, vips: ["$VIP:8001"], protocol: tcp, pool: web}
	pools:
	  - {name: web, delivery: nat, backends: [{name: b1, address: 10.3.0.11}, {name: b2, address: 10.3.0.12}]}
EOF
for b in b1 b2; do
	lab_bg serve-$b lab_in $b "${PYTHON[@]}" "$NET_DIR/latency.py" serve 8001 0.01
done
lab_bg memcached lab_in edge memcached -u root -t 1 -p 11211 -U 11211 -l 10.2.0.1
lab_wait_port b1 8001 && lab_wait_port b2 8001 && lab_wait_port edge 11211 udp || lab_die "no servers"

### Nothing loaded

tap_fails "nothing loaded: --once fails as other commands do" 1 weir top --once
tap_like "  and says why" "$(weir top --once 2>&1)" "weir: top: not loaded: \`weir load"
tap_like "  as a document, too" "$(weir top --once --json 2>/dev/null | tr -d '\n ')" '"kind":"error".*"status":1'
tap_fails "standard output is no terminal: a mistake" 2 weir top
tap_like "  that is said" "$(weir top 2>&1)" "^weir: top: standard output is no terminal: use --once"
step "wait 10 not loaded" "on a terminal it says so, and waits"
step "sh '$WEIR' load -q -c $YAML >load.log 2>&1 || [ \$? = 5 ] || cat load.log"
step "wait 20 1 overview" "  until something is loaded"
step "wait 10 ^web " "  which it shows"
step "keys q"
step "end 10" "  q ends it, and the terminal is as it was" "status 0 restored"
play --

neighbours
weir cache put -q -s cache hot copy >/dev/null
weir cache put -q -s cache cold copy >/dev/null

### Traffic

for c in c1 c2; do
	lab_bg web-$c lab_in $c "${PYTHON[@]}" "$NET_DIR/latency.py" ask $VIP:8001 1000000 --linger 600
	lab_bg hot-$c lab_in $c \
		"${PYTHON[@]}" "$NET_DIR/latency.py" ask --udp 10.2.0.1:11211 1000000 hot --gap 0.005
done
lab_bg miss lab_in c3 "${PYTHON[@]}" "$NET_DIR/latency.py" ask --udp 10.2.0.1:11211 1000000 --gap 0.01
sleep 1

weir top --once --json -d 2s >top.json
tap_is "the document: its kind, and the interval" \
	"$(of_json "[d['kind'], 1.9 < d['interval_seconds'] < 10]" cat top.json)" \
	'["top", true]'
tap_is "  services" "$(of_json "[s['name'] for s in d['services']]" cat top.json)" '["cache", "web"]'
tap_ok "  hits and misses are lookups" [ "$(of_json "(lambda c: 0.2 < c['hit_ratio'] < 0.999 and
	c['requests_per_second'] > 10 and c['misses_per_second'] > 1 and c['p50_seconds'] > 0)(d['services'][0])" \
	cat top.json)" = true ]
tap_ok "  the servers' 10 ms are in p50 and p99" [ "$(of_json "(lambda w: 0.009 < w['p50_seconds'] < 0.1 and
	w['p99_seconds'] >= w['p50_seconds'] and w['timed_per_second'] > 5 and w['hit_ratio'] is None and
	w['packets_per_second'] > 10)(d['services'][1])" cat top.json)" = true ]
tap_is "  a connection on each backend" "$(of_json "[[b['pool'], b['name'], b['state'], b['active'], b['load'],
	b['packets_per_second'] > 5, b['p99_seconds'] > 0.009] for b in d['backends']]" cat top.json)" \
	'[["web", "b1", "up", 1, 1.0, true, true], ["web", "b2", "up", 1, 1.0, true, true]]'
tap_is "  keys, the most hit first" "$(of_json "[[k['key'], k['hits'] > 10, (k['hits_per_second'] or 0) > 10]
	for k in d['keys']]" cat top.json)" '[["hot", true, true], ["cold", false, false]]'
tap_ok "  reasons, by packets a second" [ "$(of_json "(lambda r: [x for x in r] == sorted(r, reverse=True) and
	r[0] > 0)([x['packets_per_second'] for x in d['reasons']])" cat top.json)" = true ]
tap_ok "  flows, the slowest first" [ "$(of_json "(lambda f: d['flows_matched'] >= 3 and f['service'] == 'web' and
	f['latency_seconds'] > 0.009 and f['client'][:5] == '10.1.')(d['flows'][0])" cat top.json)" = true ]
weir top --once --delay 1s >top.out
tap_like "as text: the overview" "$(cat top.out)" "hit ratio.*web .*pool +backend.*web +b1 +up.*steered"
tap_is "  in lines that end with a word" "$(grep -c ' $' top.out)" 0
tap_note "$(cat top.out)"

### Views

step "wait 10 ^web +[0-9.]+k? +- " "live: services with their rates"
step "wait 10 hits/s [0-9.]+k? .*hit ratio [0-9.]+%" "  totals"
step "wait 5 ^web +b2 +up +unknown +1 " "  backends below"
step "wait 5 q quit .*s sort: packets/s" "  keys at the foot"
step show
step "keys 2"
step "wait 5 \[2 backends\][\s\S]*^web +b1 .*[0-9]ms" "backends, with latencies"
step "keys ss"
step "wait 5 s sort: latency" "  s: by the next column"
step "keys 3"
step "wait 5 \[3 keys\][\s\S]* hot\$[\s\S]* cold\$" "keys, the most hit first"
step "wait 10 ^ *[0-9.]+k? +[0-9.]+k? .* hot\$" "  with rates after a second"
step "keys r"
step "wait 5 cold\$[\s\S]* hot\$" "  r: the other way round"
step "keys 4"
step "wait 5 \[4 reasons\][\s\S]*^hit +[0-9.]+" "reasons"
step "keys \t"
step "wait 5 \[5 flows\][\s\S]*^10\.1\.[12]\.2:[0-9]+ +web .*ms" "Tab: flows, the slowest first"
step show
step "keys ?"
step "wait 5 ^keys\$[\s\S]*refresh now" "help"
step "keys ?"
step "keys 1"
step "wait 5 \[1 overview\][\s\S]*^web " "the overview again"
step "keys s"
step "wait 5 s sort: requests" "  s: by requests"
step "keys \x1bOH"
step "keys \x1bOB\x1bOB\x1bOB\x1bOA"
step "keys \r"
step "wait 5 service web[\s\S]*^request +[0-9.]+.*ms" "arrows and Enter: one service alone, with its latencies"
step "wait 5 ^reason[\s\S]*^steered " "  and its reasons"
step "absent ^cache " "  without the other one"
step show
step "keys 2"
step "wait 5 ^web +b1" "  its backends"
step "keys 3"
step "wait 5 no key is in" "  no keys"
step "keys \x7f"
step "wait 5 hot\$" "Backspace: of all services"
step "keys 1"
step "colour" "there is colour" "colour"
step "keys q"
step "end 10" "q: the terminal is as it was" "status 0 restored"
play -- -d 500ms

### Sizes

step "wait 10 \[1 overview\]" "120 columns: all that there is"
step "wait 10 ^service .*requests/s .*timed/s +p50 +p99" "  each column"
step "size 40x10"
step "wait 10 ^service +packets/sv .*p99\$" "dragged to 40 columns: those that are missed least are gone"
step "absent requests/s" "  really"
step "wait 5 ^web " "  services are there"
step "size 20x4"
step "wait 10 ^q quit" "to next to nothing: it lives"
step "size 1x1"
step "sh sleep 0.5"
step "size 200x60"
step "wait 10 ^service .*p99[\s\S]*^pool .*bytes/s[\s\S]*q quit" "to a large one: all of it again"
step "signal TERM"
step "end 10" "SIGTERM: the terminal is as it was" "status 0 restored"
play --size 120x30 --

### Terminals, ends

step "wait 10 ^web " "a terminal without colours"
step "keys 2"
step "wait 10 \[2 backends\]" "  works"
step "colour" "  and gets none" "none"
step "keys \x03"
step "end 10" "Ctrl-C: the terminal is as it was" "status 0 restored"
play --term vt100 --
step "end 10" "a terminal that cannot move its cursor: said, and nothing changed" \
	"status 2 restored weir: top: .*--once"
play --term dumb --
step "end 10" "one that nobody knows" "status 2 restored weir: top: the terminal 'nowhere' is not known.*"
play --term nowhere --

### Unloaded meanwhile

step "wait 10 ^web " "the data plane goes while it is looked at"
step "sh '$WEIR' unload -q >/dev/null"
step "wait 10 not loaded" "  which it says"
step "absent ^web " "  and shows no more of it"
step "keys 3?"
step "sh '$WEIR' load -q -c $YAML >load.log 2>&1 || [ \$? = 5 ] || cat load.log"
step "wait 20 \[3 keys\][\s\S]*^keys\$" "  it goes on with what is loaded next"
step "keys ?"
step "wait 10 no key is in the hot set" "  in the view that was chosen meanwhile"
step "keys 1"
step "wait 10 ^web +[0-9.]+k? " "  with rates"
step "sh sed 's/name: web, vips/name: www, vips/' $YAML >other.yaml"
step "sh '$WEIR' reload -q -c other.yaml >reload.log 2>&1 || cat reload.log"
step "wait 10 ^www +[0-9.]+k? " "  and over a reload that changes the services"
step "signal HUP"
step "end 10" "SIGHUP" "status 0 restored"
play --

### More than one, and no latencies

weir top --once --json -d 100ms >top.json &
weir top --once --json -d 100ms >top2.json
wait $!
tap_is "two at once" "$(of_json "d['kind']" cat top.json)$(of_json "d['kind']" cat top2.json)" toptop
sed -i 's/latency: {.*/latency: {flows: 0}/' $YAML
reload
tap_is "latencies off: no quantiles, and no flows" "$(of_json "[d['flows'], d['latencies'], [s['p50_seconds']
	for s in d['services']]]" weir top --once --json -d 100ms)" "[[], [], [null, null]]"
step "keys 5"
step "wait 10 flows are not measured: latency.flows is 0" "  which is said live"
step "keys q"
step "end 10" "  (q)" "status 0 restored"
play --
for p in web-c1 web-c2 hot-c1 hot-c2 miss; do
	lab_stop $p
done
tap_is "nothing is left behind" "$(weir unload >/dev/null; leftovers)" ""
tap_done
