#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1 6.18
#
# The hot set from a user's chair: filled from each kind of list, asked by UDP clients, written
# through, dropped, expired. Values that only Weir has tell who answered.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
lab_addr client eth0 10.8.0.2/24
ip -n server route add 10.8.0.0/24 dev eth0

net_yaml >$YAML
tap_ok "weir is loaded" weir_load
tell 'set one 5 0 3' 'ONE' 'set two 0 200 3' 'TWO' 'set three 4294967295 0 0' '' 'set cold 0 0 4' 'cold' >stored
tap_is "memcached holds four keys" "$(tr '\n' ' ' <stored)" "STORED STORED STORED STORED "

### Lists

printf 'one\n# a comment\n\ntwo\nthree\n' >hot.keys
tap_counts "a list of keys is filled from the origin" other 0 weir cache warm hot.keys
tap_like "  and the report says so" "$OUT" 'warmed +3 \(3 new, 0 replaced\)'
tap_counts "text: a hit has the item's value and flags" hit 3 ask 'get one' 'get two' 'get three'
tap_is "  byte for byte" "$OUT" 'VALUE one 5 3\r\nONE\r\nEND\r\n
VALUE two 0 3\r\nTWO\r\nEND\r\n
VALUE three 4294967295 0\r\n\r\nEND\r\n'
cas=$(tell 'gets one' | sed -n 's/^VALUE one 5 3 //p')
tap_counts "meta: a hit has the CAS that the origin has" hit 1 ask 'mg one c f k s v O7'
tap_is "  byte for byte" "$OUT" "VA 3 c$cas f5 kone s3 O7\\r\\nONE\\r\\n"
tap_counts "gets: too" hit 1 ask 'gets one'
tap_is "  byte for byte" "$OUT" "VALUE one 5 3 $cas\\r\\nONE\\r\\nEND\\r\\n"
tap_counts "binary: get, getk and both quiet forms hit" hit 4 ask 'bin get one' 'bin getk one' \
	'bin getq one' 'bin getkq one'
tap_is "  with key and value where they belong" "$OUT" $'0 . ONE\n0 one ONE\n0 . ONE\n0 one ONE'
tap_counts "a miss is answered by the origin" miss 2 ask 'get cold' 'mg nowhere v'
tap_is "  with what it has" "$OUT" 'VALUE cold 0 4\r\ncold\r\nEND\r\n
EN\r\n'
tap_is "an item's own end is the copy's" \
	"$(of_json "100 < d['ttl_seconds'] <= 199" weir cache get two --json)" true

printf 'csv,plain\n"q,1","a ""quoted"", value",60,7\r\n"two lines","x"\n' >bad.csv
tap_fails "a CSV list with a bad line: status 1" 1 weir cache warm bad.csv
weir cache warm bad.csv 2>err >/dev/null
tap_like "  which is named by its number" "$(cat err)" 'bad.csv:3: .*key'
tap_is "  and the rest is loaded, quoting undone" "$(ask 'get csv' 'get q,1')" \
	'VALUE csv 0 5\r\nplain\r\nEND\r\n
VALUE q,1 7 17\r\na "quoted", value\r\nEND\r\n'
printf 'cold,new\nno value\n' >strict.csv
tap_fails "--strict with a bad line: status 1" 1 weir cache warm --strict --format csv strict.csv
tap_counts "  and nothing was changed" miss 1 ask 'get cold'

printf '%s\n' '{"key": "j1", "value": "caf\u00e9", "flags": 3}' '{"key": "j2", "value_base64": "AP8NCg==", "ttl": 300}' \
	>hot.jsonl
tap_ok "a JSON Lines list is loaded" weir cache warm hot.jsonl
tap_is "  its text and its bytes" "$(ask 'get j1' 'get j2')" 'VALUE j1 3 5\r\ncaf\xc3\xa9\r\nEND\r\n
VALUE j2 0 4\r\n\x00\xff\r\n\r\nEND\r\n'

# memcached passes over an item that it is moving from one of its lists to another.
dump_all()
{
	lab_in client python3 -c '
import socket
s = socket.create_connection(("10.7.0.1", 11211), 5)
s.sendall(b"lru_crawler metadump all\r\n")
print("".join(iter(s.makefile().readline, "END\n")), end="")' >meta.dump
	[ "$(wc -l <meta.dump)" = 4 ]
}
lab_wait_for 10 dump_all
tap_like "memcached dumps its keys" "$(cat meta.dump)" 'key=one .*cls='
tap_is "a metadump is recognised, and all its keys are warmed" \
	"$(of_json "d['lists'][0]['format'], d['lines'], d['warmed'] + d['unchanged']" weir cache warm --json meta.dump)" \
	'["metadump", 4, 4]'
tap_counts "  so that the cold one hits" hit 1 ask 'get cold'
tap_is "  and the dump itself fenced nothing" "$(of_json "d['unchanged']" weir cache warm --json hot.keys)" 3

printf 'z,zipped\n' | gzip >list.gz
tap_ok "a compressed list is loaded" weir cache warm list.gz
tap_is "  by content, whatever its name" "$(ask 'get z')" 'VALUE z 0 6\r\nzipped\r\nEND\r\n'
warm_stdin() { printf 'in,standard\n' | weir cache warm -; }
tap_ok "standard input is a list" warm_stdin
tap_is "  too" "$(ask 'get in')" 'VALUE in 0 8\r\nstandard\r\nEND\r\n'
head -c 20 list.gz >cut.gz
tap_fails "a list that is cut off in the middle: status 1" 1 weir cache warm cut.gz
tap_fails "a list that is not there: status 1" 1 weir cache warm none.csv
tap_fails "a key that the origin does not have: status 1" 1 weir cache warm - <<<nowhere

### --replace, and full

printf 'in,standard\nnew,one\n' >next.csv
tap_is "--replace makes a list the whole hot set" \
	"$(of_json "d['added'], d['unchanged'], d['removed'], d['cache']['keys']" weir cache warm --replace --json next.csv)" \
	'[1, 1, 9, 2]'
tap_is "  others are gone, survivors stay" "$(ask 'get z' 'get in')" 'END\r\n
VALUE in 0 8\r\nstandard\r\nEND\r\n'
tap_fails "--replace with an empty list is refused: status 1" 1 weir cache warm --replace - </dev/null
tap_counts "  and changed nothing" hit 1 ask 'get in'

weir unload -q >/dev/null
net_yaml 10 >$YAML
weir_load >/dev/null 2>&1
seq -f 'n%g,value' 1 12 >twelve.csv
mapfile -t gets < <(seq -f 'get n%g' 1 12)
tap_is "a full hot set says how much did not fit" \
	"$(of_json "d['warmed'], d['skipped'], d['cache']['fill']" weir cache warm --json twelve.csv 2>/dev/null)" \
	'[10, {"full": 2}, 1.0]'
tap_fails "  with status 1" 1 weir cache warm twelve.csv
tap_counts "  and what did fit is answered" hit 10 ask "${gets[@]:0:10}"
tap_counts "  the rest is the origin's" miss 2 ask "${gets[@]:10}"
tap_fails "put into the full hot set: status 1" 1 weir cache put n11 value
tap_ok "  but a new value for a hot key fits" weir cache put n10 other
tap_is "  and is answered" "$(ask 'get n10')" 'VALUE n10 0 5\r\nother\r\nEND\r\n'
weir unload -q >/dev/null

### Writes

net_yaml 5000 >$YAML
weir_load >/dev/null 2>&1
weir cache put one old >/dev/null
write_then_read() # WHAT REQUEST EXPECTED
{
	weir cache put one old >/dev/null
	tap_is "before, the hot copy answers" "$(ask 'get one')" 'VALUE one 0 3\r\nold\r\nEND\r\n'
	tap_is "$1: the read after it finds what was written" "$(ask "$2" 'get one' | tail -n1)" "$3"
}
write_then_read "text set" 'set one 1 0 1\r\na' 'VALUE one 1 1\r\na\r\nEND\r\n'
write_then_read "meta set" 'ms one 1 F2\r\nb' 'VALUE one 2 1\r\nb\r\nEND\r\n'
write_then_read "binary set" 'bin set one c' 'VALUE one 0 1\r\nc\r\nEND\r\n'
write_then_read "append" 'append one 0 0 1\r\nd' 'VALUE one 0 2\r\ncd\r\nEND\r\n'
# No reply comes to the first of the two.
ASK_TIMEOUT=2 write_then_read "set with noreply" 'set one 0 0 2 noreply\r\n41' 'VALUE one 0 2\r\n41\r\nEND\r\n'
write_then_read "incr" 'incr one 1' 'VALUE one 0 2\r\n42\r\nEND\r\n'
write_then_read "meta arithmetic" 'ma one' 'VALUE one 0 2\r\n43\r\nEND\r\n'
write_then_read "touch" 'touch one 100' 'VALUE one 0 2\r\n43\r\nEND\r\n'
write_then_read "gat" 'gat 100 one' 'VALUE one 0 2\r\n43\r\nEND\r\n'
write_then_read "binary delete" 'bin delete one' 'END\r\n'
write_then_read "delete" 'delete one' 'END\r\n'
weir cache put one old >/dev/null
weir cache put two old >/dev/null
tap_counts "flush_all: no key is hot after it" fenced 2 ask 'flush_all' 'get one' 'get two'
tap_is "  but the origin's" "$OUT" 'OK\r\n
END\r\n
END\r\n'

# Keys are written and read while lists are warmed again and again.
seq -f 'k%g' 0 1999 >many.keys
for i in $(seq 0 1999); do printf 'set k%d 0 0 1\r\nx\r\n' "$i"; done >fill
lab_in client python3 -c '
import socket
s = socket.create_connection(("10.7.0.1", 11211), 5)
s.sendall(open("fill", "rb").read() + b"quit\r\n")
while s.recv(65536): pass'
warm_on()
{
	local end=$((SECONDS + 9))

	while [ $SECONDS -lt $end ]; do
		weir cache warm -q many.keys
	done
}
lab_bg warm warm_on
sleep 0.3
before=$(reason hit)
coherent=$(lab_in client python3 "$NET_DIR/client.py" --timeout "$REPLY_S" coherent $MEMCACHED 2000 8)
tap_result "no read ever gives less than the last acknowledged write, while a list is warmed all the time" $?
tap_note "$coherent"
hits=$(($(reason hit) - before))
tap_note "$hits hits"
tap_ok "  and reads were hits" [ $hits -gt 200 ]
lab_stop warm

### One key

weir cache flush -q >/dev/null
tap_ok "put" weir cache put hello world --ttl 1h --flags 9
tap_is "  puts a key" "$(ask 'get hello')" 'VALUE hello 9 5\r\nworld\r\nEND\r\n'
tap_is "  without a CAS, which the origin gives" "$(ask 'gets hello')" 'END\r\n'
tap_is "  and again: unchanged" \
	"$(of_json "d['result']" weir cache put hello world --ttl 1h --flags 9 --json)" unchanged
weir cache put shy once >/dev/null
ask 'get hello' 'get hello' 'get shy' >/dev/null
tap_is "show --top lists the most hit first" \
	"$(of_json "[(k['key'], k['hits']) for k in d['keys']], d['matched']" weir cache show --top 1 --json)" \
	'[[["hello", 3]], 2]'
tap_is "  a pattern chooses" "$(of_json "[k['key'] for k in d['keys']]" weir cache show 's?y' --json)" \
	'["shy"]'
tap_like "  for people too" "$(weir cache show)" '3 +5 +[^ ]+ [^ ]+ +hit +hello'
tap_is "get" "$(of_json "d['value'], d['flags'], d['hits'], d['state']" weir cache get hello --json)" \
	'["world", 9, 3, "hit"]'
tap_ok "drop" weir cache drop hello
tap_is "  drops a key" "$(ask 'get hello')" 'END\r\n'
tap_fails "  once: status 1 then" 1 weir cache drop hello
tap_fails "  after which get has status 1" 1 weir cache get hello
tap_is "flush drops all" "$(of_json "d['dropped']" weir cache flush --json)" 1
tap_is "  so that all is the origin's" "$(ask 'get shy')" 'END\r\n'

long=$(printf 'k%.0s' {1..250})
tap_ok "a key of 250 bytes is put" weir cache put "$long" v
tap_is "  and hits" "$(ask "get $long")" "VALUE $long 0 1\\r\\nv\\r\\nEND\\r\\n"
tap_fails "one of 251 is refused: status 2" 2 weir cache put "${long}k" v
tap_fails "a key with a space is refused: status 2" 2 weir cache put 'a b' v
value=$(printf 'v%.0s' {1..1300})
tap_ok "a value of 100 bytes is put" weir cache put long "${value:0:100}"
tap_counts "  and hits" hit 1 ask 'get long'
tap_is "  whole" "$OUT" "VALUE long 0 100\\r\\n${value:0:100}\\r\\nEND\\r\\n"
# A veth leaves a frame little room to grow in; how much depends on the kernel.
answered() { echo $(($(reason hit) + $(reason no_room))); }
before=$(answered)
tap_ok "a value of 1300 bytes is put" weir cache put long "$value"
large=$(ask 'get long')
tap_is "  and hits, or is passed on where the frame cannot grow" $(($(answered) - before)) 1
if [[ $large == VALUE* ]]; then
	tap_is "  whole" "$large" "VALUE long 0 1300\\r\\n$value\\r\\nEND\\r\\n"
else
	tap_is "  to the origin" "$large" 'END\r\n'
fi
tap_fails "one that is longer than a datagram is refused: status 1" 1 weir cache put long "$value$value"

### Time

life=$((SLOWER + 1)) # seconds
weir cache put short lived --ttl ${life}s >/dev/null
printf "listed,value,$life\n" | weir cache warm -q - >/dev/null
tap_counts "a key hits while it lives" hit 2 ask 'get short' 'get listed'
sleep $life.1
tap_counts "a key is the origin's when its time is over" expired 2 ask 'get short' 'get listed'
tap_is "  which is asked then" "$OUT" 'END\r\n
END\r\n'
tap_is "  and shown as such" "$(of_json "d['keys'][-1]['state']" weir cache show 'short' --json)" expired

### Strangers

tell 'set one 0 0 4' 'cold' >/dev/null
weir cache put one hot >/dev/null
ASK_FROM=10.8.0.2 ASK_TIMEOUT=0.3 tap_counts "strangers are dropped, and counted" stranger_drop 2 ask 'get one' 'get cold'
tap_is "  and get nothing" "$OUT" $'-\n-'
net_yaml 5000 'strangers: pass' >$YAML
tap_ok "strangers: pass is reloaded" weir reload -q -c $YAML
ASK_FROM=10.8.0.2 tap_counts "then strangers pass" stranger_pass 1 ask 'get one'
tap_is "  to the origin" "$OUT" 'VALUE one 0 4\r\ncold\r\nEND\r\n'
tap_is "  while clients hit" "$(ask 'get one')" 'VALUE one 0 3\r\nhot\r\nEND\r\n'

### Other requests pass untouched

tap_counts "several keys in one get are the origin's" multi_key 1 ask 'get one cold'
tap_like "  to answer" "$OUT" '^VALUE one 0 4\\r\\ncold\\r\\n'
tap_like "version too" "$(ask version)" '^VERSION 1\.[0-9.]+\\r\\n$'
if command -v memcaslap >/dev/null; then
	slap=$(lab_in client timeout 20 memcaslap -s $MEMCACHED -U -x 4000 -c 4 -T 1 -v 1.0 2>&1)
	tap_result "memcaslap finds over UDP what it wrote" $?
	tap_is "  nothing is lost on the way" "$(sed -n 's/^\(verify_failed\|get_misses\|packet_drop\|udp_timeout\): //p' <<<"$slap" |
		sort -u)" 0
else
	tap_skip "memcaslap finds over UDP what it wrote" "no memcaslap"
fi

### Documents and exit statuses

document() # KIND STATUS COMMAND...
{
	local kind=$1 want=$2 out status
	shift 2
	out=$(weir "$@" --json 2>/dev/null)
	status=$?
	tap_is "$* --json: one document, version 1, status $want" \
		"$(of_json "f'{d[\"version\"]} {d[\"kind\"]}'" printf %s "$out") $status" \
		"1 $kind $want"
}
document status 0 status
document stats 0 stats
document check 0 check -c $YAML
document reload 0 reload -c $YAML
document reload 0 reload -c $YAML --dry-run
document cache.warm 0 cache warm hot.jsonl
document cache.warm 0 cache warm hot.jsonl --dry-run
document cache.warm 1 cache warm bad.csv
document cache.show 0 cache show
document cache.get 0 cache get one
document cache.get 1 cache get nowhere
document cache.put 0 cache put one two
document cache.drop 0 cache drop one
document cache.drop 1 cache drop one
document cache.flush 0 cache flush
document error 1 load -c $YAML
document error 1 stats --service nobody
document error 2 cache get one --nonsense
document unload 0 unload
document unload 0 unload
document status 1 status
document error 1 stats
document error 1 cache show
document error 1 cache warm hot.jsonl
document error 1 reload -c $YAML
document load 0 load -c $YAML --dry-run
tap_ok "cache warm --dry-run works with nothing loaded" weir cache warm --dry-run hot.jsonl

### Two services keep apart what has the same name

cat >$YAML <<-EOF
	interfaces: [{name: eth0}]
	cache: {capacity: 100, memory: 4M}
	services:
	  - {name: a, vips: ["10.7.0.1:11211"], clients: [10.7.0.0/24]}
	  - {name: b, vips: ["[fd07::1]:11211"], clients: ["fd07::/64"]}
EOF
coherence() { of_json "d['coherence']['udp_writes_seen'], d['coherence']['tcp_writes_seen']" weir status --json; }
sed 's/4M/4M, connections: 0/' $YAML >deaf.yaml
weir load -c deaf.yaml >/dev/null 2>said
tap_like "without a table of connections load says that writes over TCP are not seen" "$(cat said)" 'connections is 0'
tap_is "  and status" "$(coherence)" '[true, false]'
weir unload -q >/dev/null
weir_load >/dev/null 2>&1
tap_is "with one they are" "$(coherence)" '[true, true]'
tap_fails "of two services one must be named: status 2" 2 weir cache put key value
tap_fails "  and must be there: status 1" 1 weir cache put -s c key value
weir cache put -s a key first >/dev/null
weir cache put -s b key second >/dev/null
tap_is "two services keep their keys apart" "$(ask 'get key'; ASK_TO='[fd07::1]:11211' ask 'get key')" \
	'VALUE key 0 5\r\nfirst\r\nEND\r\n
VALUE key 0 6\r\nsecond\r\nEND\r\n'
weir cache flush -s a -q >/dev/null
tap_is "  and flush takes those of one" "$(ask 'get key'; ASK_TO='[fd07::1]:11211' ask 'get key')" \
	'END\r\n
VALUE key 0 6\r\nsecond\r\nEND\r\n'
tap_fails "a list of keys without an origin: status 1" 1 weir cache warm -s a - <<<key
tap_is "no frame was ever left half written" "$(reason aborted 0) $(reason aborted 1)" "0 0"
tap_done
