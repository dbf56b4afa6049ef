#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# Writers elsewhere: values change at the origin and no packet passes here; a command, HTTP or the bus tells. With a real
# Redis, a real memcached, and an origin that is slow to answer.

. "$(dirname "$0")/common.sh"
[ $SLOWER = 1 ] || tap_skip_all "what is timed here, an emulated machine does not keep"
command -v redis-server redis-cli >/dev/null || tap_skip_all "needs redis-server"
net_start "$@"
cd $LAB_DIR || exit 1

URL=http://127.0.0.1:9844
POST=/api/v1/invalidate
REDIS=6379

invalidate_yaml() # [LINE...]
{
	net_yaml 5000
	cat <<-EOF
		  - name: other
		    vips: ["10.7.0.1:11311"]
		    clients: [10.7.0.0/24]
		    origin: 127.0.0.1:11999
	EOF
	[ $# = 0 ] || printf '%s\n' "$@"
}

bus_yaml() # [KEYS]
{
	invalidate_yaml "bus: {redis: '10.7.0.1:$REDIS', stream: changes, stale_after: 3s$1}"
}

agent_start()
{
	lab_bg agent lab_in server "$WEIR" run -c $YAML
	lab_wait_for 20 grep -q 'at work on' agent.log
}

redis_start()
{
	mkdir -p data
	lab_bg redis lab_in server redis-server --bind 10.7.0.1 --port $REDIS --save '' --appendonly yes \
		--appendfsync always --dir $LAB_DIR/data --protected-mode no "$@"
	lab_wait_port server $REDIS
}

# From another host. Prints what Redis says.
redis()
{
	lab_in client redis-cli -h 10.7.0.1 -p $REDIS "$@"
}

add() # FIELD VALUE...
{
	redis xadd changes '*' "$@" >/dev/null
}

# To the origin inside its own namespace: nothing that passes eth0.
store() # LINE...
{
	lab_in server "${PYTHON[@]}" "$NET_DIR/client.py" tell $MEMCACHED "$@" >/dev/null
}

set_to() # VALUE KEY...
{
	local value=$1 lines=() k
	shift
	for k in "$@"; do
		lines+=("set $k 0 0 ${#value}" "$value")
	done
	store "${lines[@]}"
}

warm() # KEY...
{
	printf '%s\n' "$@" | weir cache warm -q -s cache - >/dev/null
}

# The same of one key, without a Python that would have to start first.
set_now() # VALUE KEY
{
	lab_in server bash -c 'exec 3<>/dev/tcp/10.7.0.1/11211 && printf "set %s 0 0 %d\r\n%s\r\n" "$2" ${#1} "$1" >&3 &&
		read -r reply <&3 && [[ $reply == STORED* ]]' - "$1" "$2"
}

# Keys at the origin with this value, and in the hot set.
have() # VALUE KEY...
{
	set_to "$@"
	shift
	warm "$@"
}

value() # KEY
{
	local reply
	reply=$(ask "get $1")
	reply=${reply#*\\r\\n}
	echo "${reply%%\\r\\n*}"
}

is_value() # KEY WANT
{
	[ "$(value "$1")" = "$2" ]
}

# It is answered from the hot set, and with this value.
is_hit() # KEY WANT
{
	local before
	before=$(reason hit)
	is_value "$1" "$2" && [ "$(reason hit)" = $((before + 1)) ]
}

# Without anybody told, the old value is what is answered: else the rows below would prove nothing.
stale() # KEY...
{
	local k
	for k in "$@"; do
		is_hit "$k" old || return 1
	done
}

counted() # REASON SOURCE LEVEL
{
	of_json "sum(i['count'] for i in d['invalidations'] if (i['reason'], i['source'], i['level']) == ('$1', '$2', '$3'))" \
		weir stats --json
}

is_counted() # WANT REASON SOURCE LEVEL
{
	[ "$(counted "${@:2}")" = "$1" ]
}

metric() # NAME-WITH-LABELS
{
	lab_in server curl -sS -m 5 $URL/metrics | sed -n "s/^$1 //p"
}

is_metric() # WANT NAME
{
	[ "$(metric "$2")" = "$1" ]
}

ready()
{
	[ "$(lab_in server curl -s -o ready.txt -w '%{http_code}' $URL/readyz)" = 200 ]
}

not_ready() # TEXT
{
	! ready && grep -q "$1" ready.txt
}

post() # BODY [CURL-ARGUMENT...]: the status; the body is in reply.json
{
	local body=$1
	shift
	lab_in "${POST_FROM:-server}" curl -sS -m 10 -o reply.json -w '%{http_code}' \
		-H "${POST_TYPE-Content-Type: application/json}" --data-binary "$body" "$@" "${POST_TO:-$URL}$POST"
}

replied() # EXPRESSION
{
	of_file $LAB_DIR/reply.json "$1"
}

### By command

invalidate_yaml >$YAML
weir_load >/dev/null
have old a b c p:1 p:2 q:1
set_to new a b p:1 p:2
tap_ok "copies are older than the origin" stale a b p:1
tap_is "--dry-run says what would go" "$(weir cache drop -s cache a nothing --prefix p: --dry-run 2>&1)" \
	"weir: cache drop: no key 'nothing' in the hot set of cache
would drop 1 of 2 keys
would drop 2 keys that begin with p:"
tap_ok "  and changes nothing" stale a b p:1
tap_is "drop" "$(weir cache drop -s cache a --reason import)" "dropped 1 of 1 key"
tap_ok "  the next lookup finds the new value" is_value a new
tap_ok "  another key's copy stays" stale b
tap_is "a prefix" "$(weir cache drop -s cache --prefix p: --reason import)" "dropped 2 keys that begin with p:"
tap_is "  all of its keys" "$(value p:1) $(value p:2)" "new new"
tap_ok "  and no others" stale q:1
printf 'b\n\nc\r\nnever-there\n' >list
tap_is "a list" "$(weir cache drop -s cache --file list --json >drop.json; echo $?; of_file $LAB_DIR/drop.json \
	"d['dropped'], d['missing'], [k['key'] for k in d['keys']]")" '0
[2, 1, ["b", "c", "never-there"]]'
tap_ok "  also of standard input" eval 'warm b && weir cache drop -s cache --file - <list >/dev/null'
printf 'q:1\nno key\n' >list
tap_like "a list with what is no key is refused" "$(weir cache drop -s cache --file list 2>&1; echo $?)" \
	"list:2: 'no key' cannot be a key
.*nothing was dropped
1$"
tap_ok "  as a whole" stale q:1
tap_fails "a list that is not there" 1 weir cache drop -s cache --file nowhere
tap_fails "nothing to drop" 2 weir cache drop -s cache
tap_fails "a reason that is no word" 2 weir cache drop -s cache a --reason 'two words'
tap_fails "one that is too long" 2 weir cache drop -s cache a --reason "$(printf 'x%.0s' {1..33})"
tap_fails "a prefix that no key has" 2 weir cache drop -s cache --prefix 'a b'
tap_fails "which service?" 2 weir cache drop a
tap_is "they are counted by reason" "$(counted import cli key) $(counted import cli prefix) $(counted unspecified cli key)" \
	"1 1 6"
tap_like "  for people, too" "$(weir stats)" 'import +cli +key +1
 *import +cli +prefix +1'
have old f
set_to new f
weir cache flush -s cache -q >/dev/null
tap_ok "a flush" is_value f new
tap_is "  is counted" "$(counted flush cli service)" 1

### By HTTP

agent_start
tap_ok "the agent is ready" lab_wait_for 10 ready
have old a b c p:1 p:2 q:1
set_to new a b c p:1 p:2
tap_ok "copies are older than the origin" stale a b c p:1 q:1
tap_is "keys" "$(post '{"service": "cache", "keys": ["a", "nothing"], "reason": "deploy"}')" 200
tap_is "  how many were held" "$(replied "d['kind'], d['dropped'], d['keys'], d['service_fenced']")" \
	'["invalidate", 1, 2, false]'
tap_ok "  the next lookup finds the new value" is_value a new
tap_ok "  others stay" stale b q:1
tap_is "prefixes" "$(post '{"service": "cache", "prefixes": ["p:", "b"]}') $(replied "d['dropped']")" "200 3"
tap_is "  the next lookups" "$(value p:1) $(value p:2) $(value b)" "new new new"
tap_ok "  others stay" stale c q:1
tap_is "all" "$(post '{"service": "cache", "all": true}') $(replied "d['dropped'], d['service_fenced']")" \
	"200 [null, true]"
tap_ok "  the next lookup" is_value c new
tap_is "counted" "$(counted deploy http key) $(counted unspecified http prefix) $(counted unspecified http service)" "2 2 1"
tap_is "  as metrics" "$(metric 'weir_invalidations_total{source="http",level="key",reason="deploy"}')" 2

# The agent notices within a second that what was loaded has been replaced.
replace() # KEY...
{
	weir unload -q
	weir_load >/dev/null
	have old "$@"
}
just_looked() { [ "$(of_json "d['lease']['remaining_seconds'] > 2.8" weir status --json)" = true ]; }
told() { [ "$(post '{"service": "cache", "keys": ["a"]}')" = 200 ]; }
lab_wait_for 5 just_looked
replace a
set_to new a
tap_ok "just after what is loaded was replaced: done, when it is asked again while it is refused" lab_wait_for 5 told
tap_ok "  the new hot set has heard of it" is_value a new
lab_wait_for 5 ready

tap_is "GET is refused" "$(lab_in server curl -s -i $URL$POST | tr -d '\r' | grep -E '^(HTTP|Allow)')" 'HTTP/1.1 405 Method Not Allowed
Allow: POST'
tap_is "POST elsewhere, too" "$(lab_in server curl -s -o /dev/null -w '%{http_code}' -d x $URL/metrics)" 405
of_type() # TYPE
{
	POST_TYPE="Content-Type:$1" post '{"service": "cache", "keys": ["a"]}'
}
tap_is "a form" "$(of_type ' application/x-www-form-urlencoded')" 415
tap_is "no type" "$(of_type '')" 415
tap_is "a type that only begins so" "$(of_type ' application/jsonp')" 415
tap_is "one with a parameter is right" "$(of_type ' Application/JSON; charset=utf-8')" 200
tap_is "a browser" "$(post '{"service": "cache", "all": true}' -H 'Origin: http://127.0.0.1:9844')" 403
tap_is "  which asks first" "$(lab_in server curl -s -o /dev/null -w '%{http_code}' -X OPTIONS $URL$POST)" 405
refused() # BODY WANT [SENTENCE]
{
	tap_like "refused: ${3:-$1}" "$(post "$1") $(replied "d['error']")" "^400 .*$2"
}
refused '' 'no JSON'
refused '{"keys": ["a"' 'no JSON'
refused '[]' 'an object'
refused '{}' 'nothing is asked for'
refused '{"keys": []}' 'nothing is asked for'
refused '{"all": false}' 'nothing is asked for'
refused '{"keys": "a"}' 'keys: it is to be a list'
refused '{"keys": ["a", 1]}' 'keys\[1\]'
refused '{"keys": ["a b"]}' 'keys\[0\]'
refused '{"keys": [""]}' 'keys\[0\]'
refused '{"prefixes": [""]}' 'prefixes\[0\]'
refused '{"key": ["a"]}' 'key: there is no such member'
refused '{"keys": ["a"], "keys": ["b"]}' 'no JSON'
refused '{"keys": ["a"], "all": 1}' 'all: it is'
refused '{"keys": ["a"], "reason": "two words"}' 'reason: it is'
refused '{"keys": ["a"], "service": 3}' 'service: it is'
refused '{"keys": ["a"]}' 'which\?'
printf '%0300000d' 0 | tr 0 '[' >body.json
refused @body.json 'no JSON' 'a deep body'
tap_is "no such service" "$(post '{"service": "none", "keys": ["a"]}')" 404
keys_of() # HOW-MANY
{
	"${PYTHON[@]}" -c 'import json, sys
print(json.dumps({"service": "cache", "keys": [f"k{i}" for i in range(int(sys.argv[1]))]}))' "$1" >body.json
}
keys_of 10000
tap_is "10,000 keys" "$(post @body.json)" 200
keys_of 10001
tap_is "  and not one more" "$(post @body.json)" 400
"${PYTHON[@]}" -c 'print("{\"keys\": [\"" + "x" * (1 << 20) + "\"]}")' >body.json
tap_is "more than 1 MiB" "$(post @body.json -H 'Expect:')" 413
tap_is "  in pieces" "$(post @body.json -H 'Transfer-Encoding: chunked' -H 'Expect:')" 413
tap_is "from another host, without a token" \
	"$(POST_FROM=client POST_TO=http://10.7.0.1:9844 post '{"service": "cache", "all": true}' 2>/dev/null)" 000
lab_stop agent

echo 'a-token-of-some-length' >token
chmod 600 token
invalidate_yaml "agent: {http: '10.7.0.1:9844'}" >$YAML
agent_start
POST_TO=http://10.7.0.1:9844
tap_ok "the agent says who may" lab_wait_for 5 grep -q 'without agent.token_file only this host may' agent.log
lab_in client ping -c 1 -W 1 10.7.0.1 >/dev/null
tap_is "another host may not" "$(POST_FROM=client post '{"service": "cache", "keys": ["a"]}')" 403
tap_is "nor this one by that address" "$(post '{"service": "cache", "keys": ["a"]}')" 403
lab_stop agent
invalidate_yaml "agent: {http: '10.7.0.1:9844', token_file: $LAB_DIR/token}" >$YAML
agent_start
POST_FROM=client
have old a
set_to new a
tap_is "with a token: none given" "$(post '{"service": "cache", "keys": ["a"]}')" 401
tap_is "  a wrong one" "$(post '{"service": "cache", "keys": ["a"]}' -H 'Authorization: Bearer a-token-of-some-lengtH')" 401
tap_is "  a longer one" "$(post '{"service": "cache", "keys": ["a"]}' -H 'Authorization: Bearer a-token-of-some-length2')" 401
tap_is "  another way" "$(post '{"service": "cache", "keys": ["a"]}' -H 'Authorization: Basic a-token-of-some-length')" 401
tap_ok "  nothing was done" stale a
tap_is "  the right one" "$(post '{"service": "cache", "keys": ["a"]}' -H 'Authorization: Bearer a-token-of-some-length')" 200
tap_ok "  from another host" is_value a new
echo 'another-token-as-long' >token
tap_is "  a new one counts at once" "$(post '{"service": "cache", "keys": ["a"]}' -H 'Authorization: Bearer another-token-as-long')" 200
echo 'short' >token
tap_is "  a file without a token: nobody may" "$(post '{"service": "cache", "keys": ["a"]}' -H 'Authorization: Bearer short')" 503
lab_stop agent
tap_like "  and no agent starts with it" "$(weir run -c $YAML 2>&1; echo $?)" "agent.token_file $LAB_DIR/token: .*
1$"
unset POST_TO POST_FROM

### A fill in flight

lab_bg slow lab_in server "${PYTHON[@]}" "$NET_DIR/slow_origin.py" 11999 $MEMCACHED $LAB_DIR/hold $LAB_DIR/held
lab_wait_port server 11999
invalidate_yaml >$YAML
agent_start
tap_ok "the agent is ready" lab_wait_for 10 ready

# What is answered for a key of the other service, whose origin is slow; - : nothing.
other_value()
{
	of_json "d['value'] if d.get('state') == 'hit' else '-'" weir cache get -s other "$1" --json 2>/dev/null
}

# Warms the key; while its value is on its way it is changed, and the command told.
race() # KEY COMMAND...
{
	local key=$1
	shift
	set_to old "$key"
	rm -f held
	touch hold
	echo "$key" | lab_in server "$WEIR" cache warm -q -s other - >warm.out 2>&1 &
	local warm=$!
	lab_wait_for 5 test -e held
	set_now new "$key"
	"$@" >/dev/null
	rm hold
	wait $warm
	[ "$(other_value "$key")" != old ]
}
tap_ok "a value on its way when its key is invalidated is not published" \
	race r1 post '{"service": "other", "keys": ["r1"]}'
tap_is "  but fetched again" "$(other_value r1)" new
tap_ok "  nor when its prefix is" race r2 post '{"service": "other", "prefixes": ["r2"]}'
tap_is "  which fences the service when a command fills" "$(replied "d['service_fenced']")" true
tap_ok "  nor when all are" race r3 post '{"service": "other", "all": true}'

# The agent's own fills: a hot copy that was fenced is fetched again. It waits half a second for an origin.
rewarmed() # KEY COMMAND...
{
	local key=$1
	shift
	rm -f held
	touch hold
	lab_wait_for 8 test -e held || return 1
	set_now newer "$key"
	"$@" >/dev/null
	rm hold
	lab_nap 0.5
	[ "$(other_value "$key")" != new ]
}

is_other() # KEY WANT
{
	[ "$(other_value "$1")" = "$2" ]
}

# Seen by the agent to be asked for, and then to be fenced.
fenced_hot() # KEY...
{
	local key i
	set_to old "$@"
	printf '%s\n' "$@" | weir cache warm -q -s other - >/dev/null
	sleep 1.2
	for key in "$@"; do
		for i in 1 2 3 4; do
			ask "get $key" >/dev/null
		done
	done
}
ASK_TO=10.7.0.1:11311
fenced_hot g1 h2 i3
set_to new g1
post '{"service": "other", "keys": ["g1"]}' >/dev/null
tap_ok "the agent's fill: its key" rewarmed g1 post '{"service": "other", "keys": ["g1"]}'
tap_ok "  it is fetched again" lab_wait_for 20 is_other g1 newer
set_to new h2
post '{"service": "other", "keys": ["h2"]}' >/dev/null
tap_ok "  its prefix" rewarmed h2 post '{"service": "other", "prefixes": ["h"]}'
tap_is "    without harm to others" "$(replied "d['service_fenced']") $(other_value g1) $(other_value i3)" "false newer old"
tap_ok "    it is fetched again" lab_wait_for 20 is_other h2 newer
set_to new i3
post '{"service": "other", "keys": ["i3"]}' >/dev/null
tap_ok "  its prefix, by command" rewarmed i3 weir cache drop -s other --prefix i
tap_is "    without harm to others" "$(other_value g1) $(other_value h2)" "newer newer"
unset ASK_TO
lab_stop agent

### The bus

redis_start
bus_yaml >$YAML
have old a b
tap_ok "check takes it" weir check -q -c $YAML
agent_start
tap_ok "with a bus the agent becomes ready" lab_wait_for 10 ready
tap_ok "  the first time what was held before answers no more" [ "$(counted bus-start bus service)" = 2 ]
have old a b c p:1 p:2 q:1
set_to new a b c p:1 p:2
tap_ok "copies are older than the origin" stale a b c p:1 q:1
add service cache key a key nothing reason edit
tap_ok "a key" lab_wait_for 1 is_value a new
tap_ok "  others stay" stale b q:1
add service cache prefix p:
tap_ok "a prefix" lab_wait_for 1 is_value p:1 new
tap_is "  all of its keys" "$(value p:2)" new
tap_ok "  others stay" stale b q:1
add service elsewhere key b
add service cache
add key 'no key' service cache
add service cache service other key b
add nothing at-all
add service cache event login id 42
tap_ok "entries for others and malformed ones are passed over" \
	lab_wait_for 2 is_metric 4 'weir_bus_entries_total{kind="malformed"}'
tap_is "  and counted" "$(metric 'weir_bus_entries_total{kind="elsewhere"}') $(metric 'weir_bus_entries_total{kind="event"}')" "1 1"
tap_ok "  they change nothing" stale b q:1
tap_ok "  and are said" grep -q 'bus: entry .* of changes: it has none of key, prefix, all and event' agent.log
add key b
tap_ok "without a service it is for all" lab_wait_for 1 is_value b new
add service cache all 1 reason purge
tap_ok "all" lab_wait_for 1 is_value c new
tap_is "counted" "$(counted edit bus key) $(counted unspecified bus prefix) $(counted purge bus service)" "2 1 1"
tap_is "the bus is up" "$(metric weir_bus_up)" 1
tap_like "  and no more than a second or two behind" "$(metric weir_bus_lag_seconds)" '^[01]\.'

have old a b c
tap_ok "copies answer" stale a b c
for i in {1..1200}; do
	echo "XADD changes * service cache key n$i"
done | redis >/dev/null
set_to new c
add service cache key c
tap_ok "many entries, in their order" lab_wait_for 2 is_value c new

replace a b
set_to new a
add service cache key a
tap_ok "just after what is loaded was replaced: the new one answers" lab_wait_for 10 is_hit b old
tap_ok "  and hears, within stale_after, of what was told before it was taken up" \
	lab_wait_for 3 is_value a new

### A fill in flight of a key that is not held

# Asked for by an event on the bus, it has no slot yet: nobody who looks through the index finds it.
lab_stop agent
echo profile >list
bus_yaml >$YAML
cat >>$YAML <<-EOF
	policies: [{name: login, service: other, on: event, event: login, list: $LAB_DIR/list, template: 'user:{id}:*'}]
EOF
agent_start
tap_ok "with a policy the agent becomes ready" lab_wait_for 10 ready
set_to old user:7:profile user:8:profile
rm -f held
add service other event login id 8
tap_ok "an event has a key fetched" lab_wait_for 5 is_other user:8:profile old
rm -f held
touch hold
add service other event login id 7
lab_wait_for 5 test -e held
set_now newer user:7:profile
add service other prefix user:7
lab_nap 0.1
rm hold
lab_nap 0.5
tap_ok "while it is fetched its prefix is invalidated: the old value is not published" \
	eval '[ "$(other_value user:7:profile)" != old ]'
lab_wait_for 5 is_other user:7:profile newer || # it took so long that the agent gave the origin up
	add service other event login id 7
tap_ok "  but the new one, later" lab_wait_for 8 is_other user:7:profile newer
tap_is "  without harm to others" "$(other_value user:8:profile)" old
lab_stop slow
bus_yaml >$YAML
lab_stop agent
agent_start
tap_ok "without it: ready" lab_wait_for 10 ready

### The agent away

settled()
{
	have old a b c d
	stale a b c d
}
tap_ok "copies answer" settled
sleep 1.2
lab_stop agent KILL
set_to new a b
add service cache key a
add service cache key b
agent_start
tap_ok "a killed agent, writes meanwhile: it gets ready" lab_wait_for 10 ready
tap_is "  and none of these is stale" "$(value a) $(value b)" "new new"
tap_ok "  what was not written still answers" stale c d
tap_ok "  it made up for them" grep -q 'bus: [0-9]* entries were made up for' agent.log
tap_is "  no service was fenced" "$(metric weir_bus_resets_total)" 0

tap_ok "copies answer" settled
lab_stop agent
tap_like "an agent that ends leaves a lease that does" "$(of_json "d['lease']['remaining_seconds'] > 0" weir status --json)" true
set_to new a
add service cache key a
sleep 3.2
tap_is "  after stale_after nothing is answered from here" "$(value a)" new
tap_is "    nor what did not change" "$(is_hit b old && echo hit)" ""
agent_start
tap_ok "  started again: ready" lab_wait_for 10 ready
tap_ok "    what did not change is a hit again" is_hit b old
tap_is "    what did is not stale" "$(value a)" new

tap_ok "copies answer" settled
sleep 1.2
lab_stop agent KILL
set_to new a b
add service cache key a
add service cache key b
add service cache key z
redis xtrim changes maxlen 1 >/dev/null
agent_start
tap_ok "trimmed while it was away: ready" lab_wait_for 10 ready
tap_is "  nothing is stale" "$(value a) $(value b)" "new new"
tap_ok "  services were fenced" grep -q 'bus: entries of changes are missing' agent.log
tap_is "  which is counted" "$(metric weir_bus_resets_total)" 1
tap_is "    by reason" "$(counted bus-gap bus service)" 2
tap_ok "  and hot copies are fetched again" lab_wait_for 8 is_hit c old

tap_ok "copies answer" settled
sleep 1.2
lab_stop agent KILL
set_to new a
add service cache key a
redis xtrim changes maxlen 1 >/dev/null
agent_start
lab_wait_for 10 ready
tap_is "trimmed up to where it was: all is there" "$(metric weir_bus_resets_total) $(value a)" "0 new"
tap_ok "  and what was not written answers" stale b c

tap_ok "copies answer" settled
sleep 1.2
lab_stop agent KILL
set_to new a
add service cache key a
id=$(redis xrevrange changes + - count 1 | head -1)
redis xdel changes "$id" >/dev/null
agent_start
lab_wait_for 10 ready
tap_is "an entry that was deleted unread is missed" "$(metric weir_bus_resets_total) $(value a)" "1 new"

tap_ok "copies answer" settled
sleep 1.2
lab_stop agent KILL
set_to new a
add service cache key a
redis del changes >/dev/null
add service cache key z
agent_start
lab_wait_for 10 ready
tap_is "a stream that was deleted, too" "$(metric weir_bus_resets_total) $(value a)" "1 new"

### Redis away

tap_ok "copies answer" settled
lab_stop redis KILL
set_to new a
tap_ok "Redis killed: within stale_after and a tick nothing is answered from here" lab_wait_for 4 is_value a new
tap_is "  nor what did not change" "$(is_hit b old && echo hit)" ""
tap_ok "  the host is not ready, and says why" lab_wait_for 3 not_ready 'bus: there is no connection to Redis'
tap_ok "  which is said" grep -q 'bus: no connection to Redis: ' agent.log
tap_is "  and shown" "$(metric weir_bus_up) $(metric weir_lease_valid)" "0 0"
redis_start
tap_ok "started again: ready" lab_wait_for 10 ready
tap_ok "  what nobody told about answers again" stale b c
add service cache key a
tap_ok "  and what is told does not" lab_wait_for 1 is_value a new

tap_ok "copies answer" settled
kill -STOP "$(lab_pid redis)"
tap_ok "Redis that hangs is as one that is gone" lab_wait_for 10 not_ready 'bus: '
tap_is "  no hit" "$(is_hit b old && echo hit)" ""
kill -CONT "$(lab_pid redis)"
tap_ok "  goes on: ready" lab_wait_for 12 ready
tap_ok "  answers" stale b

lab_stop agent
lab_stop redis
bus_yaml ", fail: serve" >$YAML
agent_start
tap_ok "fail: serve: without Redis the host is ready" lab_wait_for 10 ready
tap_ok "  and answers from what it has" stale b
redis_start
tap_ok "  with it, too" lab_wait_for 10 is_metric 1 weir_bus_up
set_to new b
add service cache key b
tap_ok "  and hears" lab_wait_for 2 is_value b new

lab_stop agent
invalidate_yaml "bus: {redis: '203.0.113.1:6379', stale_after: 3s}" >$YAML # no route leads there
agent_start
tap_ok "a Redis that no route leads to: not ready" lab_wait_for 5 not_ready 'bus: there is no connection'
sleep 1 # and tried again
tap_ok "  the agent goes on" not_ready 'bus: there is no connection'
tap_ok "  and says it" grep -q 'bus: no connection to Redis: Network is unreachable' agent.log

### A slow line

slow_line() # PORT BYTES-A-SECOND: to Redis
{
	"${PYTHON[@]}" -c '
import socket, sys, threading, time
port, to, rate = (int(a) for a in sys.argv[1:])
def pump(a, b, size, pause):
    while data := a.recv(size):
        time.sleep(pause)
        b.sendall(data)
    b.shutdown(socket.SHUT_RDWR)
s = socket.create_server(("10.7.0.1", port))
while True:
    a, b = s.accept()[0], socket.create_connection(("10.7.0.1", to))
    threading.Thread(target=pump, args=(a, b, 65536, 0), daemon=True).start()
    threading.Thread(target=pump, args=(b, a, rate // 20, 0.05), daemon=True).start()' "$1" $REDIS "$2"
}
lab_bg line lab_in server bash -c "$(declare -p PYTHON REDIS); $(declare -f slow_line); slow_line 6390 30000"
lab_wait_port server 6390
lab_stop agent
REDIS=6390 bus_yaml >$YAML
agent_start
tap_ok "a slow line: ready" lab_wait_for 10 ready
lab_stop agent
have old a b
for i in {1..500}; do
	printf 'XADD changes * service cache key %0200d\n' "$i"
done | redis >/dev/null
set_to new a
add service cache key a
agent_start
tap_ok "what was missed takes longer to come than a silence may last: ready in the end" lab_wait_for 20 ready
tap_is "  all of it was applied" "$(value a) $(metric weir_bus_resets_total)" "new 0"
lab_stop line
lab_stop agent

### A replica

bus_yaml >$YAML
agent_start
lab_wait_for 10 ready
redis replicaof 10.7.0.1 1 >/dev/null
tap_ok "a replica without its master: not ready" lab_wait_for 10 not_ready 'bus: there is no connection'
tap_ok "  which is said" grep -q 'bus: no connection to Redis: it is a replica without a link to its master' agent.log
redis replicaof no one >/dev/null
tap_ok "  a master again: ready" lab_wait_for 12 ready

### Refused by Redis

lab_stop agent
lab_stop redis
echo secret-of-redis >password
redis_start --requirepass secret-of-redis
bus_yaml >$YAML
agent_start
tap_ok "a password is needed: not ready" lab_wait_for 5 not_ready 'bus: there is no connection'
tap_ok "  with Redis' own words" grep -q 'NOAUTH' agent.log
bus_yaml ", password_file: $LAB_DIR/password" >$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "a reload with one" lab_wait_for 10 ready
tap_is "the password is nowhere said" "$(grep -c secret-of-redis agent.log)" 0
redis --no-auth-warning -a secret-of-redis acl setuser edge on '>secret-of-edge' '~changes' \
	+xread +xinfo +info +multi +exec +select >/dev/null
echo secret-of-edge >password
bus_yaml ", user: edge, password_file: $LAB_DIR/password" >$YAML
kill -HUP "$(lab_pid agent)"
tap_ok "with a user that may do no more than it must" lab_wait_for 5 grep -q 'generation 3' agent.log
tap_ok "  ready" lab_wait_for 10 ready
tap_is "  and connected" "$(metric weir_bus_up)" 1
sed -i 's/capacity: 5000/capacity: 9000/' $YAML
kill -HUP "$(lab_pid agent)"
tap_ok "a reload with another size" lab_wait_for 5 grep -q 'generation 4' agent.log
tap_ok "  ready" lab_wait_for 10 ready
have old a b
set_to new a
tap_ok "  copies are older than the origin" stale a b
redis --no-auth-warning -a secret-of-redis xadd changes '*' service cache key a >/dev/null
tap_ok "  what is told is heard" lab_wait_for 2 is_value a new
tap_ok "  others stay" stale b
redis --no-auth-warning -a secret-of-redis del changes >/dev/null
redis --no-auth-warning -a secret-of-redis set changes x >/dev/null
tap_ok "a key that is no stream" lab_wait_for 10 not_ready 'bus: '
tap_ok "  is said" grep -q 'WRONGTYPE' agent.log

### Reasons

for i in {1..70}; do
	weir cache drop -s cache x --reason "r$i" >/dev/null 2>&1
done
tap_is "more than 64 reasons: the rest are others" \
	"$(of_json "len({i['reason'] for i in d['invalidations']}), sum(i['count'] for i in d['invalidations'] if i['reason'] == 'other') > 6" \
		weir stats --json)" "[65, true]"

tap_is "the lab's agent still runs" "$(kill -0 "$(lab_pid agent)" && echo yes)" yes
tap_done
