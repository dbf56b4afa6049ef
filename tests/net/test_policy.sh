#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# Warming policies: a list when the agent starts on an empty hot set, an event on a real bus, the hot set of another
# host, and the keys that miss most when traffic rises; export and import.

. "$(dirname "$0")/common.sh"
[ $SLOWER = 1 ] || tap_skip_all "it takes a rate that an emulated machine does not keep"
command -v redis-server redis-cli >/dev/null || tap_skip_all "needs redis-server"
net_start "$@"
cd $LAB_DIR || exit 1

URL=http://127.0.0.1:9844

policy_yaml()
{
	net_yaml 1000 "promote: {min_hits: 1000000, window: 10m}" | sed 's/memory: 4M/memory: 4M, sample: 2/'
	cat <<-EOF
		bus: {redis: "10.7.0.1:6379", stream: changes}
		policies:
		  - {name: boot, on: start, list: $LAB_DIR/boot.txt}
		  - {name: login, on: event, event: login, list: $LAB_DIR/words.txt, template: "user:{id}:*", cooldown: 30s}
		  - {name: one, on: event, event: visit, template: "page:{id}"}
		  - {name: copy, on: peer, peer: "http://10.7.0.1:8088", top: 50}
		  - {name: rush, on: surge, above: 50%, top: 20, rate: 1000, cooldown: 1h}
	EOF
}

# What the last run of a policy says: a Python expression over `r`.
last_run() # NAME EXPRESSION
{
	of_json "(lambda r: ($2))((d['policies'][0]['runs'] or [{}])[0])" weir cache policy show "$1" --json -q
}

has_run() # NAME COUNT
{
	[ "$(of_json "d['policies'][0]['runs_total']" weir cache policy show "$1" --json -q)" -ge "$2" ]
}

held() # KEY
{
	weir cache get -q "$1" >/dev/null 2>&1
}

value() # KEY
{
	of_json "d['value']" weir cache get "$1" --json -q
}

store() # KEY...
{
	local k lines=()
	for k in "$@"; do
		lines+=("set $k 0 0 ${#k}" "$k")
	done
	lab_in server "${PYTHON[@]}" "$NET_DIR/client.py" tell $MEMCACHED "${lines[@]}" >/dev/null
}

zipf() # WORD...
{
	lab_in client "${PYTHON[@]}" "$NET_DIR/zipf.py" "$@"
}

store boot1 boot2 boot3 user:7:name user:7:cart page:9 peer1 peer2 cold1 cold2
printf '%s\n' boot1 boot2 boot3 nowhere 'not a key' >boot.txt
printf '%s\n' name cart nothing >words.txt
mkdir -p www/api/v1/cache
printf '{"key":"%s"}\n' peer1 peer2 gone >www/api/v1/cache/hot
lab_bg redis lab_in server redis-server --bind 10.7.0.1 --port 6379 --save '' --dir $LAB_DIR --protected-mode no
lab_bg www lab_in server "${PYTHON[@]}" -m http.server -d $LAB_DIR/www -b 10.7.0.1 8088
lab_wait_port server 6379 && lab_wait_port server 8088 || lab_die "no redis, or no peer"
policy_yaml >$YAML
tap_ok "the configuration is good" weir check -q -c $YAML
lab_bg agent lab_in server "$WEIR" run -c $YAML
lab_wait_for 20 grep -q 'at work on' agent.log || lab_die "no agent: $(cat agent.log)"
# What is usual: 40 lookups a second, of two keys that are not held.
lab_bg base zipf one $MEMCACHED cold1 6000 40

### When it starts

tap_ok "the list is warmed when the hot set is empty" lab_wait_for 10 has_run boot 1
tap_is "  and the run says what of it" "$(last_run boot "r['keys'], r['warmed'], r['left_out'], r['results']")" \
	'[4, 3, 1, {"added": 3, "missing": 1}]'
for k in boot1 boot2 boot3; do
	tap_ok "  $k is held" held $k
done

### From another host

tap_ok "another host's hot set is taken over" lab_wait_for 10 has_run copy 1
tap_is "  its keys, with values of the own origin" "$(last_run copy "r['keys'], r['warmed'], r['from']")" \
	'[3, 2, "http://10.7.0.1:8088"]'
tap_is "  byte for byte" "$(value peer2)" peer2

### By an event

tap_ok "an event" lab_in client redis-cli -h 10.7.0.1 xadd changes '*' event login id 7
tap_ok "  warms that user's keys" lab_wait_for 10 has_run login 1
tap_is "  by the template" "$(last_run login "r['keys'], r['warmed'], r['from']")" '[3, 2, "login"]'
tap_ok "  which are held" held user:7:cart
tap_ok "the same event" lab_in client redis-cli -h 10.7.0.1 xadd changes '*' event login id 7
tap_ok "an event without its field, and one of a policy without a list" lab_in client sh -c "
	redis-cli -h 10.7.0.1 xadd changes '*' event visit nr 9; redis-cli -h 10.7.0.1 xadd changes '*' event visit id 9"
tap_ok "  the key is held" lab_wait_for 10 held page:9
tap_ok "  the same event warms nothing again within its cooldown" has_run login 1
tap_is "  not even a run" "$(of_json "d['policies'][0]['runs_total']" weir cache policy show login --json -q)" 1

### Export, import

tap_ok "the hot set is exported" weir cache export -q -o $LAB_DIR/hot.jsonl
tap_is "  all of it" "$(wc -l <hot.jsonl)" "$(of_json "len(d['keys'])" weir cache show --json)"
tap_is "  as the agent gives it to other hosts" "$(lab_in server curl -sS -m 5 "$URL/api/v1/cache/hot?top=1000" | sort)" \
	"$(sort hot.jsonl)"
tap_ok "  with values" sh -c "nsenter --net=/run/netns/server $WEIR cache export -q --values >$LAB_DIR/values.jsonl"
weir cache flush -q
tap_ok "  and imported" weir cache import -q $LAB_DIR/values.jsonl
tap_is "  whole" "$(value user:7:name)" user:7:name
tap_is "a wrong number of keys is refused" "$(lab_in server curl -sS -m 5 -o /dev/null -w '%{http_code}' \
	"$URL/api/v1/cache/hot?top=0")" 400

### When traffic rises

tap_note "$(weir cache policy show rush)"
usual()
{
	[ "$(of_json "d['policies'][0]['usual_rate'] > 10" weir cache policy show rush --json -q)" = true ]
}
tap_ok "what is usual is known after a while" lab_wait_for 75 usual
tap_note "$(weir cache policy show rush)"
tap_fails "  the key that misses is not held" 1 held cold1
lab_bg surge zipf one $MEMCACHED cold2 6000 400
tap_ok "more traffic than usual warms what misses most" lab_wait_for 20 has_run rush 1
tap_ok "  it is held" lab_wait_for 5 held cold1
tap_ok "  so is what brought the traffic" held cold2
tap_like "policies are shown" "$(weir cache policy show)" 'rush: on surge, service cache, 1 runs.* of '
tap_fails "one that is not there" 1 weir cache policy show nobody
lab_stop base
lab_stop surge
metric() # FAMILY LABELS
{
	lab_in server curl -sS -m 5 $URL/metrics | sed -n "s/^$1{$2} //p"
}
tap_is "runs are counted by policy" "$(metric weir_policy_runs_total 'policy="rush",result="ok"')" 1
tap_is "  so are keys" "$(metric weir_policy_keys_total 'policy="boot",result="missing"')" 1
tap_is "  and what was left out" "$(metric weir_policy_keys_total 'policy="boot",result="left_out"')" 1
weir cache flush -q
tap_is "another host is told of nothing when nothing is held" "$(lab_in server curl -sS -m 5 -w '%{http_code}' \
	"$URL/api/v1/cache/hot")" 200
lab_stop agent

### What is usual outlives the agent

tap_like "it is in a file" "$(cat /run/weir/usual-rush)" '^weir-usual-1 cache '
lab_bg again lab_in server "$WEIR" run -c $YAML
lab_wait_for 20 grep -q 'at work on' again.log || lab_die "no agent: $(cat again.log)"
lab_bg base zipf one $MEMCACHED cold1 1200 40
tap_ok "  and known again with the first traffic" lab_wait_for 10 usual
lab_stop base
lab_stop again
echo rubbish >/run/weir/usual-rush
lab_bg anew lab_in server "$WEIR" run -c $YAML
tap_ok "  damaged, it is learned anew, and that is said" lab_wait_for 20 grep -q 'usual-rush is damaged' anew.log
lab_wait_for 20 grep -q 'at work on' anew.log
tap_is "  nothing is usual yet" "$(of_json "d['policies'][0]['usual_rate']" weir cache policy show rush --json -q)" null
lab_stop anew
tap_ok "unload" weir unload -q
tap_done
