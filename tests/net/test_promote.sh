#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: none
#
# The hot set fills itself: keys that clients ask for come in, and go when others are asked for more; what is to stay
# out does; and `weir cache why` says why.

. "$(dirname "$0")/common.sh"
[ $SLOWER = 1 ] || tap_skip_all "it takes a rate that an emulated machine does not reach"
net_start "$@"
cd $LAB_DIR || exit 1

TOP=100
WINDOW=12

promote_yaml() # MIN-HITS TOP
{
	net_yaml 1000 "value_max: 500" \
		"promote: {min_hits: $1, window: ${WINDOW}s, top: $2, deny: ['session:'], stay_out: 1h}" |
		sed 's/memory: 4M/memory: 4M, sample: 4/'
}

zipf() # WORD...
{
	lab_in client "${PYTHON[@]}" "$NET_DIR/zipf.py" "$@"
}

# By one CPU: each counts for itself which miss is the next sample.
ask_one() # KEY TIMES
{
	lab_in client taskset -c 0 "${PYTHON[@]}" "$NET_DIR/zipf.py" one $MEMCACHED "$1" "$2" 2000 >/dev/null
}

# The line says which generation, from 1 on.
at_work() # GENERATION
{
	grep -q "at work on .*, generation $1" agent.log
}

# Of why a key is held or not, a Python expression over `d` or its promotion, `p`.
why() # KEY EXPRESSION
{
	of_json "(lambda p: ($2))(d['promotion'])" weir cache why "$1" --json -q
}

is_why() # KEY EXPRESSION WANT
{
	[ "$(why "$1" "$2")" = "$3" ]
}

held()
{
	of_json "len(d['keys'])" weir cache show --json
}

# A metric by its name and labels, as they stand.
metric() # SERIES
{
	lab_in server curl -sS -m 5 http://127.0.0.1:9844/metrics | sed -n "s/^$1 //p"
}

counts() # hits and misses so far
{
	of_json "'%d %d' % tuple(d['services'][0]['reasons'].get(r, {'packets': 0})['packets'] for r in ('hit', 'miss'))" \
		weir stats --json --all
}

# Traffic for SECONDS; then HIT_RATIO is that of its last three seconds, IDEAL that of the TOP most asked for.
traffic() # SECONDS [ZIPF-OPTION...]
{
	local seconds=$1 hits misses hits2 misses2
	shift
	zipf "$@" ask $MEMCACHED 2000 0.99 3000 $((seconds - 3)) >/dev/null
	read -r hits misses <<<"$(counts)"
	zipf --seed 2 "$@" ask $MEMCACHED 2000 0.99 3000 3 >traffic.json
	read -r hits2 misses2 <<<"$(counts)"
	IDEAL=$(of_file $LAB_DIR/traffic.json "round(d['ideal'], 3)")
	HIT_RATIO=$(awk "BEGIN { h = $hits2 - $hits; m = $misses2 - $misses; printf \"%.3f\", h / (h + m) }")
	tap_note "hit ratio $HIT_RATIO, ideal $IDEAL; answered $(of_file $LAB_DIR/traffic.json "d['answered']")" \
		"of $(of_file $LAB_DIR/traffic.json "d['asked']")"
}

near_ideal() # PART
{
	awk "BEGIN { exit !($HIT_RATIO >= $1 * $IDEAL) }"
}

promote_yaml 100 $TOP >$YAML
zipf fill $MEMCACHED 2000 20
zipf --prefix plain: fill $MEMCACHED 10 20
zipf --prefix session: fill $MEMCACHED 2 20
zipf --prefix large: fill $MEMCACHED 2 600
lab_bg agent lab_in server "$WEIR" run -c $YAML
tap_ok "an agent begins to promote" lab_wait_for 20 at_work 1

### One key

ask_one plain:1 20
lab_nap 1
tap_is "a key that is asked for less than min_hits stays out" "$(why plain:1 "d['verdict']")" too_few
tap_ok "and why says about how often it was asked for, by its samples" is_why plain:1 "0 < p['misses'] <= 60" true
tap_is "it says what it needs" "$(why plain:1 "p['needs']")" 100
tap_is "and where it stands" "$(why plain:1 "p['rank']")" 1
ask_one plain:2 250
tap_ok "a key that is asked for more comes in by itself" lab_wait_for 5 is_why plain:2 "d['verdict']" held
tap_is "brought by promotion" "$(why plain:2 "d['copy']['by']")" promotion
ASKED=$(reason hit)
ask_one plain:2 10
tap_is "and is answered" "$(($(reason hit) - ASKED))" 10
tap_is "nothing else came in" "$(held)" 1

### What stays out

ask_one session:1 400
tap_is "what deny names stays out" "$(why session:1 "d['verdict'], p['denied']")" '["denied", "session:"]'
ask_one absent:1 400
tap_ok "so does what the origin does not have" lab_wait_for 3 is_why absent:1 "d['verdict']" missing
ask_one large:1 400
tap_ok "and what is larger than value_max" lab_wait_for 3 is_why large:1 "d['verdict']" too_large
tap_ok "for as long as stay_out says" is_why large:1 "3000 < p['refused_seconds'] <= 3600" true
tap_is "still nothing else came in" "$(held)" 1
tap_like "in words" "$(weir cache why large:1)" "
why      its value is longer than value_max, or than a datagram: it stays out for .*"

ask_one plain:3 250
lab_wait_for 5 is_why plain:3 "d['verdict']" held
lab_nap 4 # its hits are no longer of late: that is two eighths of the window
for i in $(seq 40); do
	ask 'set plain:3 0 0 1\r\nx'
done >/dev/null
tap_ok "what is written more often than it is answered goes, and stays out" \
	lab_wait_for 8 is_why plain:3 "d['verdict']" too_volatile

tap_is "a key that nobody asked for" "$(why nobody "d['verdict'], p['misses']")" '["too_few", 0]'
tap_fails "what is no key is refused" 2 weir cache why 'a b'
tap_fails "so is a service that is not there" 1 weir cache why a --service nosuch
tap_is "over HTTP, too" "$(lab_in server curl -s -o /dev/null -w '%{http_code}' \
	'http://127.0.0.1:9844/api/v1/cache/why?service=cache')" 400
weir cache put -q pinned value >/dev/null

### A mix

# The hundredth most asked for of 2,000 keys is every 818th lookup: 3,000 a second make that 44 in a window.
promote_yaml 20 $TOP >$YAML
weir reload -q -c $YAML
lab_wait_for 5 at_work 2
traffic 14
tap_ok "with Zipf's law the keys most asked for are held: the hit ratio is 90% of the ideal" near_ideal 0.9
tap_ok "no more than top, and what a command put" [ "$(held)" -le $((TOP + 1)) ]
tap_is "the first is held" "$(why key:0 "d['verdict']")" held
tap_is "and is the first in rank" "$(why key:0 "p['rank']")" 1
tap_ok "a rare one is not" is_why key:1999 "d['copy']" null
tap_ok "metrics have it" [ "$(metric 'weir_promoted_keys{service="cache"}')" -gt 80 ]
tap_is "no sample was lost" "$(metric 'weir_miss_samples_total{result="lost"}')" 0

EVICTED=$(metric 'weir_demotions_total{service="cache",reason="evicted"}')
PROMOTED=$(metric 'weir_promotions_total{service="cache"}')
zipf --prefix scan: each $MEMCACHED 12000 4000 >/dev/null
lab_nap 1
tap_is "a scan of keys that are asked for once evicts nothing" \
	"$(metric 'weir_demotions_total{service="cache",reason="evicted"}')" "$EVICTED"
tap_is "and brings nothing in" "$(metric 'weir_promotions_total{service="cache"}')" "$PROMOTED"

traffic 24 --shift 1000
tap_ok "when others are asked for, these are held instead" near_ideal 0.9
tap_is "the first of them" "$(why key:1000 "d['verdict']")" held
tap_ok "and the first of old no longer" is_why key:0 "d['copy']" null
tap_is "what a command put is still there" "$(why pinned "d['verdict'], d['copy']['by']")" '["held", "others"]'

### Beginnings

kill -KILL "$(lab_pid agent)"
lab_stop agent
lab_nap 4 # until its lease is over
N=$(held)
tap_is "without an agent why says what the maps tell" "$(why key:1000 "d['agent'], d['copy']['by']")" '[false, "promotion"]'
tap_like "and that this is not all" "$(weir cache why key:5 2>&1)" "this is what the maps tell alone"
lab_bg agent lab_in server "$WEIR" run -c $YAML
lab_wait_for 20 at_work 2
tap_ok "an agent that starts takes over what was promoted" \
	lab_wait_for 5 is_why key:1000 "p['state'], p['held'] >= $N - 5" '["held", true]'
traffic 6 --shift 1000
tap_ok "and goes on with it" near_ideal 0.9

promote_yaml 20 10 >$YAML
weir reload -q -c $YAML
tap_ok "a lower top: the others go" lab_wait_for 8 is_why key:1000 "p['held']" 10
tap_is "and the ten most asked for stay" "$(why key:1000 "d['verdict'], p['held']")" '["held", 10]'

promote_yaml 1000 10 | sed 's/sample: 4/sample: 1/' >$YAML
weir reload -q -c $YAML
lab_wait_for 5 at_work 4
ask_one plain:9 40
tap_ok "another rate of samples counts from the reload on: all are seen, but the first" \
	lab_wait_for 5 is_why plain:9 "39 <= p['misses'] <= 40" true

net_yaml 1000 "value_max: 500" | sed 's/memory: 4M/memory: 4M, sample: 4/' >$YAML
weir reload -q -c $YAML
lab_wait_for 5 at_work 5
tap_is "without promote in the configuration why says so" "$(why nobody "d['verdict']")" no_promotion
tap_is "and what is held stays" "$(why key:1000 "d['verdict']")" held

tap_done
