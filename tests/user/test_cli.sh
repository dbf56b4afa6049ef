#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# The command line as a user meets it: help, mistakes, exit statuses, JSON, broken outputs, the man
# page, the completion. Prints TAP. Runs the program named by WEIR; needs no root, and loads nothing.
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
weir=${WEIR:-$here/build/weir}
case $weir in /*) ;; *) weir=$PWD/$weir ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
count=0 failures=0 bad=0

commands=("check" "load" "unload" "reload" "run" "status" "stats" "top" "metrics" "doctor" "service show" "service add" "service set" "service del"
	"backend show" "backend add" "backend set" "backend drain" "backend enable" "backend disable" "backend del"
	"flow show" "flow top" "latency show" "cache warm" "cache show" "cache get"
	"cache put" "cache drop" "cache flush")
doctor_checks="kernel btf jit bpffs capabilities xdp_program mmapable_map dispatcher"

begin()
{
	sentence=$1 bad=0
}

# Ends a test that ran; each check before it printed both sides when it did not hold.
end()
{
	count=$((count + 1))
	if [ $bad = 0 ]; then
		echo "ok $count - $sentence"
	else
		echo "not ok $count - $sentence"
		failures=$((failures + 1))
	fi
}

skip()
{
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

wrong()
{
	bad=1
	printf '%s\n' "$@" | sed 's/^/# /'
}

is()
{
	[ "$2" = "$3" ] || wrong "$1: got \"$2\", wanted \"$3\""
}

has()
{
	[[ $2 == *"$3"* ]] || wrong "$1: got \"$2\", wanted \"$3\" in it"
}

# Runs weir with the given words: $status, $out, $err.
try()
{
	timeout 20 "$weir" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$? out=$(cat "$tmp/out") err=$(cat "$tmp/err")
}

# A mistake is one line, a hint, and status 2; nothing on standard output.
mistake()
{
	local want=$1
	shift
	try "$@"
	is "weir $*: status" $status 2
	is "weir $*: standard output" "$out" ""
	is "weir $*: first line" "$(head -n 1 "$tmp/err")" "weir: $want"
	is "weir $*: lines" "$(wc -l <"$tmp/err")" 2
	has "weir $*: hint" "$(tail -n 1 "$tmp/err")" "Try 'weir"
}

# The value at a path of dots in the JSON document in $tmp/out, as JSON.
json()
{
	python3 -c '
import functools, json, sys
print(json.dumps(functools.reduce(lambda d, k: d[k], sys.argv[2:], json.load(open(sys.argv[1])))))
' "$tmp/out" "$@" 2>&1 | tail -n 1
}

[ -x "$weir" ] || {
	echo "Bail out! no program $weir: set WEIR"
	exit 1
}

# ---- help --------------------------------------------------------------------------------------

begin "every command explains itself, in 80 columns, with an example, the same in three ways"
for c in "" "cache" "service" "backend" "flow" "${commands[@]}"; do
	# shellcheck disable=SC2086 # words
	try $c -h
	is "$c -h: status" $status 0
	is "$c -h: standard error" "$err" ""
	has "$c -h" "$out" "Usage: weir ${c:-COMMAND}"
	has "$c -h" "$out" $'\nExample:\n  '
	is "$c -h: lines over 80 columns" "$(grep -E '^.{81}' "$tmp/out")" ""
	is "$c -h: tabs and trailing blanks" "$(grep -nP '\t| $' "$tmp/out")" ""
	short=$out
	# shellcheck disable=SC2086
	try $c --help
	is "$c --help" "$out" "$short"
	# shellcheck disable=SC2086
	try help $c
	is "help $c" "$out" "$short"
done
end

begin "help names every command"
try -h
for c in "${commands[@]}"; do
	grep -Eq "^  $c +[a-z]" "$tmp/out" || wrong "no line for $c"
done
end

begin "-h explains instead of running, wherever it stands"
try cache drop a b -h
is "status" $status 0
has "output" "$out" "Usage: weir cache drop [KEY...]"
end

begin "help that could not be printed is a failure"
"$weir" -h >/dev/full 2>"$tmp/err"
is "status, full disk" $? 1
has "message" "$(cat "$tmp/err")" "standard output could not be written: No space left on device"
"$weir" -h >&- 2>"$tmp/err"
is "status, closed" $? 1
has "message" "$(cat "$tmp/err")" "standard output could not be written"
end

begin "a reader that goes away ends it with status 1 and no message"
(
	trap '' PIPE
	exec 2>"$tmp/err"
	sleep 0.2
	"$weir" -h
	echo $? >"$tmp/status"
) | true
is "status" "$(cat "$tmp/status")" 1
is "standard error" "$(cat "$tmp/err")" ""
end

begin "--version names the program and the versions of its interfaces"
try --version
is "status" $status 0
[[ $out =~ ^weir\ [0-9]+\.[0-9]+.*ABI\ [0-9]+.*JSON\ [0-9]+ ]] || wrong "got \"$out\""
end

# ---- mistakes ----------------------------------------------------------------------------------

begin "an unknown command is told from a known one, and the nearest named"
mistake "no command given"
mistake "no command 'loda'; did you mean 'load'?" loda
mistake "no command 'statu'; did you mean 'status'?" statu
mistake "no command 'warm'; did you mean 'cache warm'?" warm list
mistake "no command 'frobnicate'" frobnicate
mistake "no command 'check '; did you mean 'check'?" "check "
mistake "no command ''" ""
mistake "no command 'LOAD'" LOAD
mistake "no option '--frob' before a command" --frob
mistake "no option '-c' before a command" -c x load
end

begin "a noun without its verb, and a wrong verb, are told"
mistake "cache: a verb is missing, one of: warm, show, get, why, policy, export, import, put, drop, flush" cache
mistake "cache: no verb 'shwo'; did you mean 'cache show'?" cache shwo
mistake "cache: a verb is missing, one of: warm, show, get, why, policy, export, import, put, drop, flush" cache -q
mistake "cache: no verb '--top'" cache --top 5 show
mistake "service: a verb is missing, one of: show, add, set, del" service
mistake "backend: a verb is missing, one of: show, add, set, drain, enable, disable, del" backend
mistake "backend: no verb 'dran'; did you mean 'backend drain'?" backend dran b1
mistake "flow: no verb 'state=open'" flow state=open
end

begin "names match exactly: no beginnings of commands or options"
mistake "no command 'che'; did you mean 'check'?" che
mistake "no command 'stat'; did you mean 'stats'?" stat
mistake "load: no option '--conf'; did you mean '--config'?" load --conf x
mistake "load: no option '--conf'; did you mean '--config'?" load --conf=x
mistake "load: no option '--dry'; did you mean '--dry-run'?" load --dry
mistake "cache show: no option '--to'; did you mean '--top'?" cache show --to 5
end

begin "an unknown option, a missing or needless value are told"
mistake "load: no option '--ifcae'; did you mean '--iface'?" load --ifcae eth0
mistake "load: no option '-z'" load -z
mistake "load: no option '-z'" load -qz
mistake "load: option '--config' needs FILE" load -c
mistake "load: option '--config' needs FILE" load --config
mistake "load: option '--dry-run' takes no value" load --dry-run=yes
mistake "status: no option '--config'" status --config x
mistake "backend show: option '--pool' needs POOL" backend show -p
mistake "backend del: option '--force' takes no value" backend del b1 --force=yes
mistake "backend drain: no option '--wai'; did you mean '--wait'?" backend drain b1 --wai=5s
mistake "backend set: option '--backup' needs YES" backend set b1 --backup
end

begin "missing and surplus arguments are named"
mistake "cache warm: LIST is missing" cache warm
mistake "cache get: KEY is missing" cache get
mistake "cache put: KEY is missing" cache put
mistake "cache put: VALUE is missing" cache put key
mistake "cache get: one argument too many: 'b'" cache get a b
mistake "cache get: one argument too many: '-b'" cache get -- -a -b
mistake "cache put: one argument too many: 'd'" cache put a b d
mistake "unload: one argument too many: 'eth0'" unload eth0
mistake "check: one argument too many: 'weir.yaml'" check weir.yaml
mistake "backend add: NAME is missing" backend add
mistake "backend add: ADDRESS[:PORT] is missing" backend add b1
mistake "backend drain: NAME is missing" backend drain
mistake "backend drain: one argument too many: '5m'" backend drain b1 --wait 5m
mistake "backend show: one argument too many: 'b2'" backend show b1 b2
mistake "service set: NAME is missing" service set --fail drop
mistake "service add: VIP is missing" service add www
end

# A value that is wrong: one line and status 2, whatever is loaded.
wrong_value()
{
	local want=$1
	shift
	try "$@"
	is "weir $*: status" $status 2
	is "weir $*: standard output" "$out" ""
	is "weir $*: standard error" "$err" "weir: $want"
}

begin "wrong values of backends are told before anything is opened"
names="a name: 1 to 31 of a-z, 0-9, '_' and '-', a letter or digit first"
wrong_value "backend add: 'B1' is not $names" backend add B1 10.0.0.1
wrong_value "backend add: '' is not $names" backend add "" 10.0.0.1
wrong_value "backend add: '_b' is not $names" backend add _b 10.0.0.1
wrong_value "backend add: 'abcdefghijabcdefghijabcdefghijab' is not $names" \
	backend add abcdefghijabcdefghijabcdefghijab 10.0.0.1
addresses="is no address, as in 10.0.0.1, 10.0.0.1:80, fd00::1 or [fd00::1]:80"
for address in "" b1.example 10.0.0 10.0.0.256 10.0.0.1:0 10.0.0.1:65536 10.0.0.1: 10.0.0.0/8 fd00::1:80x '[fd00::1]' \
	'[10.0.0.1]:80'; do
	wrong_value "backend add: '$address' $addresses" backend add b1 "$address"
done
for address in 127.0.0.1 ::1 0.0.0.0 224.0.0.1 255.255.255.255 ff02::1 '[::]:80' ::ffff:10.0.0.1; do
	try backend add b1 "$address"
	is "$address: status" $status 2
	has "$address" "$err" "weir: backend add: '$address' "
done
for n in "" 0 65537 -1 1x 0x10 99999999999999999999; do
	for c in "add b1 10.0.0.1" "set b1"; do
		# shellcheck disable=SC2086
		wrong_value "backend ${c%% *}: --capacity takes a number from 1 to 65536, not '$n'" backend $c --capacity "$n"
	done
done
wrong_value "backend add: --delivery is l2, tunnel or nat, not 'NAT'" backend add b1 10.0.0.1 --delivery NAT
wrong_value "backend add: --shard takes a number from 0 to 63, not '64'" backend add b1 10.0.0.1 --shard 64
wrong_value "backend add: --quic-id takes a number from 0 to 4294967294, not '4294967295'" \
	backend add b1 10.0.0.1 --quic-id 4294967295
wrong_value "backend set: --backup is no or yes, not 'true'" backend set b1 --backup true
wrong_value "backend set: say what, with --capacity or --backup" backend set b1
for d in 5 5x -5s s; do
	wrong_value "backend drain: '$d' is no duration, as in 90s, 5m, 1h30m" backend drain b1 --wait=$d
done
end

begin "wrong values of services and flows, too"
wrong_value "service set: say what: \`weir service set -h\` lists it" service set www
wrong_value "service set: --scheduler is least-loaded, maglev or maglev-bounded, not 'rr'" \
	service set www --scheduler rr
wrong_value "service set: --fail is drop or reset, not 'backup'" service set www --fail backup
wrong_value "service set: --quantum takes a number from 0 to 50, not '51'" service set www --quantum 51%
wrong_value "service set: --bound takes a number from 1 to 1000, not ''" service set www --bound %
wrong_value "flow show: --limit takes a number, not '-1'" flow show --limit -1
wrong_value "flow show: 'state=open,udp': a state is open, half-open, closing, closed, udp, found, resting or reset" \
	flow show state=open,udp
wrong_value "flow show: 'port=1': port is there twice" flow show port=2 port=1
wrong_value "flow top: --by is latency, bytes or packets, not 'age'" flow top --by age
wrong_value "flow top: --limit takes a number from 0 to 4194304, not '5k'" flow top --limit 5k
wrong_value "flow top: 'state=open,udp': a state is open, half-open, closing, closed, udp, found, resting or reset" \
	flow top state=open,udp
paths="hit, miss, request, request_acked, connect_server, connect_client, connect, rtt_server, rtt_client"
wrong_value "latency show: no path 'hits'; there is: $paths" latency show www --path hits
wrong_value "latency show: --path is of services, --backends shows both of theirs" latency show --backends --path hit
try flow show b1
is "no filter: status" $status 2
has "no filter" "$err" "weir: flow show: 'b1': a filter is backend=NAME"
end

begin "wrong values of metrics, too"
wrong_value "metrics: --format is prometheus, openmetrics, json, emf or statsd, not 'graphite'" \
	metrics --format graphite
try metrics --json --format emf
is "--json --format emf: status" $status 2
has "--json --format emf" "$err" "metrics: --json and --format emf contradict each other"
wrong_value "metrics: --textfile and --statsd: one of them" metrics --textfile x.prom --statsd localhost:8125
wrong_value "metrics: --textfile takes the format prometheus only" metrics --textfile x.prom --format openmetrics
wrong_value "metrics: --textfile takes the name of a file, not '/tmp/'" metrics --textfile /tmp/
for server in localhost :8125 localhost: localhost:0 localhost:65536 localhost:http ::1:8125 '[::1:8125' '[]:1'; do
	wrong_value "metrics: --statsd is HOST:PORT or [ADDRESS]:PORT, not '$server'" metrics --statsd "$server"
done
wrong_value "metrics: --interval is a time from 1s to 1d, not '500ms'" metrics --format emf --interval 500ms
wrong_value "metrics: --interval: the format prometheus has no place for a second document" metrics --interval 1s
wrong_value "metrics: --namespace is of the formats emf and statsd" metrics --namespace x
wrong_value "metrics: --namespace is 1 to 100 of a-z, A-Z, 0-9, . _ -" metrics --format statsd --namespace a/b
end

begin "wrong values of top, too; without a terminal it says what helps"
for time in 99ms 61m x ''; do
	wrong_value "top: --delay is a time from 100ms to 1h, not '$time'" top --once --delay "$time"
done
try top --json
is "top --json: status" $status 2
has "top --json" "$err" "weir: top: --json goes with --once"
wrong_value "top: standard output is no terminal: use --once" top
end

begin "commands on what is not loaded fail with a sentence, and a document"
for c in "backend show" "backend add b1 10.0.0.1" "backend set b1 --capacity 5" "backend drain b1 --wait=1s" \
	"backend enable b1" "backend disable b1" "backend del b1" "service show" "service set www --fail drop" \
	"service set www --ttl 5s" "service add www 192.0.2.1:80" "service del www" \
	"flow show" "flow show --count" "flow top" "latency show" "latency show --backends"; do
	# shellcheck disable=SC2086
	try $c --json
	if [ $status = 0 ]; then
		continue # something is loaded here
	fi
	[ $status = 1 ] || [ $status = 3 ] || [ $status = 4 ] || wrong "$c: status $status"
	is "$c: kind" "$(json kind)" '"error"'
	read -r noun verb _ <<<"$c"
	has "$c" "$err" "weir: $noun $verb: "
done
end

begin "what a mistake quotes cannot move a terminal's cursor"
try $'\e[2J'
is "status" $status 2
has "message" "$err" "no command '\\x1b[2J'"
end

begin "with --json a mistake is a document too, wherever --json stands"
for words in "--json loda" "loda --json" "cache --json" "load --conf x --json" "load --json -c" \
	"cache put key --json"; do
	# shellcheck disable=SC2086
	try $words
	is "$words: status" $status 2
	is "$words: version" "$(json version)" 1
	is "$words: kind" "$(json kind)" '"error"'
	is "$words: status in it" "$(json status)" 2
	is "$words: error" "weir: $(json error | sed 's/^"//; s/"$//')" "$(head -n 1 "$tmp/err")"
done
try $'frob\xff\e' --json
is "a name that is no UTF-8" "$(json error)" '"no command '\''frob\\xff\\x1b'\''"'
end

begin "after -- a key may look like an option"
try cache get -- --json
[ $status != 2 ] || wrong "taken as an option: $err"
[ "$(head -c 1 "$tmp/out")" != "{" ] || wrong "a document on standard output: $out"
end

# ---- check -------------------------------------------------------------------------------------

begin "check reads the example configuration without privileges"
try check -c "$here/docs/weir.example.yaml" --json
is "status" $status 0
is "kind" "$(json kind)" '"check"'
is "ok" "$(json ok)" true
is "latency" "$(json latency | tr -d ' \n')" '{"flows":32768,"interval_seconds":0.004,"timeout_seconds":1.0,"slow_seconds":0.25}'
try check -c "$here/docs/weir.example.yaml"
has "latency in words" "$out" "latency, of 32,768 flows at most
  measured: each flow at most every 4ms, lost without a reply for 1s
  logged: flows with a request of more than 250ms"
is "what shards do not get" "$(grep -c 'flush_all' <<<"$err")" 1
has "what shards do not get" "$err" "note: service users: requests that name no single key, flush_all too, go to pool users-any and not to the shards"
end

begin "check shows what the agent heeds: bus, policies, replicas"
cat >"$tmp/hot.yaml" <<'EOF'
interfaces: [{name: eth0}]
services:
  - name: sessions
    vips: ["192.0.2.1:11211"]
    clients: [192.0.2.0/24]
    origin: 192.0.2.1:11211
    replicas: ["192.0.2.2:11211", "192.0.2.3:11211"]
    promote: {min_hits: 100, window: 10m, top: 1000}
bus: {redis: "10.0.0.5:6379", stream: writes}
policies:
  - {name: rush, service: sessions, on: surge, above: 70%, top: 500}
  - {name: neighbour, service: sessions, on: peer, peer: "http://10.0.0.7:9844", every: 1h}
  - {name: login, service: sessions, on: event, event: login, list: /l.txt, template: "user:{id}:*"}
EOF
try check -c "$tmp/hot.yaml"
for text in "replicas +192.0.2.2:11211 192.0.2.3:11211" "redis +10.0.0.5:6379, stream writes" "on +surge: lookups 70% above" \
	"on +peer 10.0.0.7:9844, every 1h" "template +user:\{id\}:\*"; do
	grep -qE "^  $text" <<<"$out" || wrong "not in it: $text"
done
try check -c "$tmp/hot.yaml" --json
is "bus" "$(json bus stream)" '"writes"'
is "policies" "$("$weir" check -c "$tmp/hot.yaml" --json | python3 -c '
import json, sys
p = json.load(sys.stdin)["policies"]
print(p[0]["above_percent"], p[1]["peer"], p[2]["template"])')" '70 10.0.0.7:9844 user:{id}:*'
end

begin "check of a file that is not there is a failure that names it"
try check -c "$tmp/none.yaml"
is "status" $status 1
has "message" "$err" "$tmp/none.yaml"
end

begin "an option stands before or after, apart or joined"
for words in "-c $tmp/none.yaml" "-c$tmp/none.yaml" "--config $tmp/none.yaml" "--config=$tmp/none.yaml" \
	"-q -c $tmp/none.yaml" "-qc $tmp/none.yaml"; do
	# shellcheck disable=SC2086
	try check $words
	is "$words: status" $status 1
	has "$words" "$err" "$tmp/none.yaml"
done
try -q check -c "$tmp/none.yaml"
is "-q before the command" $status 1
end

# ---- doctor ------------------------------------------------------------------------------------

begin "doctor gives each check a verdict, each fault a fix, and the worst as exit status"
try doctor --json
is "kind" "$(json kind)" '"doctor"'
# shellcheck disable=SC2086 # words
python3 - "$tmp/out" $status $doctor_checks <<'PY' >"$tmp/wrong" 2>&1
import json, sys
doc, status, wanted = json.load(open(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
verdicts = ["ok", "info", "warning", "unknown", "missing"]
checks = doc["checks"]
for c in checks:
    assert set(c) == {"name", "interface", "verdict", "message", "fix"}, c
    assert c["verdict"] in verdicts and c["message"], c
    assert c["fix"] or c["verdict"] in ("ok", "info") or c["interface"], c
    assert not (c["fix"] and c["verdict"] == "ok"), c
missing = set(wanted) - {c["name"] for c in checks}
assert not missing, f"not checked: {missing}"
worst = max((c["verdict"] for c in checks), key=verdicts.index)
worst = "ok" if worst == "info" else worst
assert doc["verdict"] == worst, (doc["verdict"], worst)
assert doc["ok"] == (worst == "ok")
assert status == {"ok": 0, "warning": 5, "unknown": 4, "missing": 3}[worst], (status, worst)
PY
[ -s "$tmp/wrong" ] && wrong "$(tail -n 1 "$tmp/wrong")"
end

begin "doctor says the same in words"
json_status=$status
try doctor
is "status" $status $json_status
for check in $doctor_checks; do
	grep -Eq "^  (ok|info|warning|unknown|missing) +$check " "$tmp/out" || wrong "no line for $check"
done
end

begin "doctor of an interface that is not there: missing, status 3"
try doctor -i weir-none0 --json
is "status" $status 3
has "checks" "$(json checks)" '"name": "interface", "interface": "weir-none0", "verdict": "missing"'
end

begin "doctor leaves no program or map behind"
if [ "$(id -u)" = 0 ] && command -v bpftool >/dev/null; then
	is "programs" "$(bpftool prog 2>/dev/null | grep -c weir_probe)" 0
	is "maps" "$(bpftool map 2>/dev/null | grep -c weir_probe)" 0
	end
else
	skip "doctor leaves no program or map behind" "needs root and bpftool"
fi

# ---- top -----------------------------------------------------------------------------------------

begin "top of what cannot be opened fails with a sentence, and a document"
try top --once --json -d 100ms
if [ $status != 0 ]; then # else something is loaded here
	[ $status = 1 ] || [ $status = 3 ] || [ $status = 4 ] || wrong "status $status"
	is "kind" "$(json kind)" '"error"'
	has "message" "$err" "weir: top: "
fi
end

# ---- stats -------------------------------------------------------------------------------------

begin "stats that cannot be read say why, as a document too"
try stats --json
if [ $status = 0 ]; then
	is "kind" "$(json kind)" '"stats"'
else
	[ $status = 1 ] || [ $status = 3 ] || [ $status = 4 ] || wrong "status $status"
	is "kind" "$(json kind)" '"error"'
	has "message" "$err" "weir: stats: "
fi
end

# ---- what goes with it -------------------------------------------------------------------------

begin "the man page is clean, and has every command and option"
if command -v mandoc >/dev/null; then
	# Which other manuals are installed, and whether they are indexed, is no matter of this one.
	is "mandoc" "$(mandoc -T lint "$here/docs/weir.8" 2>&1 | grep -vE 'manual not found|makewhatis')" ""
	man=$(mandoc -T utf8 "$here/docs/weir.8" | sed 's/.\x08//g')
	for c in "${commands[@]}"; do
		has "man page" "$man" "weir $c"
		# shellcheck disable=SC2086
		try $c -h
		while read -r option; do
			[[ $man == *"$option"* ]] || wrong "$c $option is not in the man page"
		done < <(grep -oE '^ +(-., )?--[a-z-]+' "$tmp/out" | grep -oE -- '--[a-z-]+')
	done
	end
else
	skip "the man page is clean, and has every command and option" "no mandoc"
fi

# What would be offered for the words given, the last being completed.
complete_words()
{
	COMP_WORDS=(weir "$@") COMP_CWORD=$#
	_weir 2>/dev/null
	printf '%s\n' "${COMPREPLY[@]}"
}

begin "completion offers every command and option that the program has"
# shellcheck disable=SC1091
source "$here/scripts/completion/weir.bash"
for c in "${commands[@]}"; do
	read -r -a words <<<"$c"
	has "$c" "$(complete_words "${words[@]}")" "${words[-1]}"
	"$weir" "${words[@]}" -h | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '-?-[a-z-]+' | sort >"$tmp/want"
	complete_words "${words[@]}" - | sort >"$tmp/got"
	is "$c" "$(cat "$tmp/got")" "$(cat "$tmp/want")"
done
end

begin "completion knows the values of options: modes, formats, files, services"
touch "$tmp/list.csv"
is "modes" "$(complete_words load -m na)" native
is "formats" "$(complete_words cache warm --format j)" jsonl
is "formats of metrics" "$(complete_words metrics --format s)" statsd
is "schedulers" "$(complete_words service set www --scheduler maglev-)" maglev-bounded
is "paths" "$(complete_words latency show --path request)" $'request\nrequest_acked'
is "orders" "$(complete_words flow top --by b)" bytes
is "verbs" "$(complete_words backend d)" $'drain\ndisable\ndel'
is "files" "$(complete_words cache warm "$tmp/li")" "$tmp/list.csv"
is "configuration" "$(complete_words check -c "$tmp/li")" "$tmp/list.csv"
weir()
{
	printf '{\n "interfaces": [{"name": "eth0"}],\n "services": [\n  {\n   "name": "sessions", "ttl_seconds": 3\n'
	printf '  },\n  {"name": "carts"}\n ], "cache": {"name": "x"}\n}\n'
}
is "services" "$(complete_words stats -s "")" $'sessions\ncarts'
is "a service" "$(complete_words cache get -s c)" carts
end

begin "every kind of document is described"
for c in "${commands[@]}"; do
	grep -q "^## .*\`${c/ /.}\`" "$here/docs/json.md" || wrong "no section for ${c/ /.}"
done
end

echo "1..$count"
[ $failures = 0 ]
