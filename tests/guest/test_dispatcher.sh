#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=lan --nic hub=lan
# vm-kernels: 6.1 6.18
#
# Somebody else's XDP program on our NIC, by xdp-loader and libxdp's dispatcher: both orders, in native and
# generic mode, on virtio and veth; taken off, replaced, full, killed. There are two kinds of kernels, and
# `weir doctor` tells which this is: those where both programs run, and those (6.13, and 6.12 since a fix)
# that let none that changes a packet's length run under the dispatcher of xdp-tools before 1.5.5. There Weir
# runs alone, and it is refused what it cannot have, with words.

. "$(dirname "$0")/common.sh"
guest_start 1

COUNT=$WEIR_BUILD/tests/guest/xdp_count.bpf.o
DEV=eth0 HOST=10.7.0.1
HIT='VALUE a 0 5\r\nhot-a\r\nEND\r\n' MISS='END\r\n'

### Words

# A veth pair beside the NICs, for the rows that are run on both.
add_veth()
{
	lab_link client veth0 server veth0
	lab_addr client veth0 10.9.0.2/24
	lab_addr server veth0 10.9.0.1/24
	lab_native_peer client veth0
}

configure() # [MODE]
{
	cat >$YAML <<-EOF
		interfaces: [{name: $DEV${1:+, mode: $1}}]
		cache: {capacity: 1000, memory: 4M}
		services:
		  - name: cache
		    vips: ["$HOST:11211"]
		    clients: ["${HOST%.*}.0/24"]
	EOF
}

xl()
{
	lab_in server xdp-loader "$@"
}

# 10 runs before ours, 90 after it. xdp-loader's word for generic is skb.
join() # PRIORITY [MODE]
{
	local mode=${2:-native}
	xl load -m "${mode/generic/skb}" -P "$1" $DEV "$COUNT"
}

join_times() # N
{
	local i
	for ((i = 0; i < $1; i++)); do
		join 90 || return 1
	done
}

leave()
{
	xl unload $DEV -i "$(xl status $DEV | awk '$3 == "xdp_count" { print $4; exit }')"
}

bare() # ON|OFF
{
	if [ "$1" = on ]; then
		ip -n server link set dev $DEV xdpdrv obj "$COUNT" sec xdp
	else
		ip -n server link set dev $DEV xdpdrv off
	fi
}

# The names on the NIC in the order in which they run, as xdp-loader sees them; "": none.
programs()
{
	xl status $DEV | awk -v dev=$DEV '
		$1 == "=>" { print $3 }
		$1 == dev && $2 != "xdp_dispatcher" && $2 != "<No" { print "bare", $2 }' | xargs
}

# weir loaded with one hot key, `a`, which the origin does not have: who gets it was answered by us.
load_hot()
{
	weir_load && echo a,hot-a | weir cache warm -q -
}

packets()
{
	bpftool -j map dump name xdp_counted | sed 's/.*"formatted":{"key":0,"value":\([0-9]*\)}.*/\1/'
}

# The reply to `get KEY`, and how many packets of it the other program saw.
seen() # KEY
{
	local before
	before=$(packets)
	ASK_TO=$HOST:11211 ask "get $1"
	echo "seen: $(($(packets) - before))"
}

get() # KEY
{
	ASK_TO=$HOST:11211 ask "get $1"
}

tap_hit() # SENTENCE
{
	tap_is "$1" "$(get a)" "$HIT"
}

tap_programs() # SENTENCE NAME...
{
	local sentence=$1
	shift
	tap_is "$sentence" "$(programs)" "$*"
}

tap_status() # SENTENCE REGEX
{
	local out
	out=$(weir status 2>&1)
	tap_like "$1" "$? $out" "^0 .*weir is answering.*$DEV +$2"
}

# The command fails with status 1 and these words.
tap_refused() # SENTENCE REGEX COMMAND...
{
	local sentence=$1 want=$2 out
	shift 2
	out=$("$@" 2>&1)
	tap_like "$sentence" "$? $out" "^1 .*weir: .*$want"
}

# Programs, maps and pins of ours; the kernel frees programs some time after the last has let them go.
ours()
{
	bpftool prog show | grep -o 'name weir_[a-z]*'
	bpftool map show | grep -oE 'name (ctl|hot_[a-z]*|svc_fence|pending|stats|weir_[a-z.]*) '
	lab_in server tc qdisc show | grep -o clsact
	ls -d /sys/fs/bpf/weir 2>/dev/null
	return 0
}

nothing_of_ours()
{
	[ -z "$(ours)" ]
}

tap_clean() # SENTENCE
{
	lab_wait_for 5 nothing_of_ours
	tap_is "$1" "$(ours)" ""
}

# Moments at which a command can be killed, as libxdp's pins and ours show them. Nothing but builtins, so
# that they are looked for often.
is_there() # PATH
{
	[ -e "$1" ]
}

two_dispatchers()
{
	local dirs=(/sys/fs/bpf/xdp/dispatch-*)
	[ ${#dirs[@]} -gt 1 ]
}

# Kills `weir ARGUMENT...` when the moment has come. 137: it was still there. What was quicker than the eye is tried
# again, a load or unload after it is taken back.
killed_when() # MOMENT ARGUMENT...
{
	local i
	for i in {1..5}; do
		kill_when "$@"
		[ $? = 0 ] && [ "$i" -lt 5 ] || break
		case $2 in
		load) weir unload >/dev/null ;;
		unload) weir_load >/dev/null ;;
		reload) ;;
		*) break ;;
		esac
	done
	return $STATUS
}

kill_when() # MOMENT ARGUMENT...: and in STATUS, too
{
	local moment=$1 pid
	shift
	nsenter --net=/run/netns/server -- "$WEIR" "$@" >/dev/null 2>&1 &
	pid=$!
	# A pattern in it is looked up again each time.
	until $moment; do
		kill -0 $pid 2>/dev/null || break
	done
	kill -s KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	STATUS=$?
	return $STATUS
}

### Where both programs run

ours_then_other() # MODE
{
	tap_ok "$DEV, $1: weir is loaded" load_hot
	tap_programs "  under the dispatcher" weir_rx
	tap_ok "  another program joins, to run first" join 10 "$1"
	tap_programs "  xdp-loader names both" xdp_count weir_rx
	tap_status "  weir status says so" "$1, under the libxdp dispatcher"
	tap_is "  and in JSON" "$(of_json "d['interfaces'][0]['dispatcher']" weir status --json)" true
	tap_like "  weir doctor, too" "$(weir doctor -i $DEV)" "xdp_attached +libxdp's dispatcher"
	tap_is "  a hit is answered, the other sees it" "$(seen a)" "$HIT"$'\n'"seen: 1"
	tap_ok "  the other leaves" leave
	tap_programs "  alone again" weir_rx
	tap_hit "  a hit is answered"
}

other_last() # MODE
{
	tap_ok "$DEV, $1: another joins, to run last" join 90 "$1"
	tap_programs "  xdp-loader names both" weir_rx xdp_count
	tap_is "  the other does not see a hit" "$(seen a)" "$HIT"$'\n'"seen: 0"
	tap_is "  and sees a miss" "$(seen b)" "$MISS"$'\n'"seen: 1"
	tap_ok "  reload beside it" weir reload -q -c $YAML
	tap_programs "  leaves one of each" weir_rx xdp_count
	tap_is "  a hit is still answered" "$(seen a)" "$HIT"$'\n'"seen: 0"
	tap_ok "  unload" weir unload
	tap_programs "  leaves the other" xdp_count
	tap_is "  which goes on" "$(seen a)" "$MISS"$'\n'"seen: 1"
	tap_clean "  and nothing of ours"
}

# Goes on from there: the other has the NIC.
other_then_ours() # MODE
{
	tap_ok "$DEV, $1: weir joins another" load_hot
	tap_programs "  xdp-loader names both" weir_rx xdp_count
	tap_status "  weir status says so" "$1, under the libxdp dispatcher"
	tap_hit "  a hit is answered"
	tap_ok "  the other leaves" leave
	tap_programs "  weir stays" weir_rx
	tap_status "  and is answering" "$1, under the libxdp dispatcher"
	tap_hit "  a hit is answered"
	tap_ok "  unload" weir unload
	tap_programs "  leaves an empty NIC"
	tap_clean "  and nothing of ours"
}

both_orders() # MODE
{
	ours_then_other "$1"
	other_last "$1"
	other_then_ours "$1"
}

# A dispatcher takes ten. A reload needs a place for the new program before the old one leaves.
full_dispatcher()
{
	tap_ok "nine programs of others" join_times 9
	tap_ok "  weir is the tenth" load_hot
	tap_hit "  a hit is answered"
	tap_refused "  reload has no place for the new program" \
		'eth0: ten XDP programs share the interface already' weir reload -c $YAML
	tap_hit "  and leaves the old one"
	tap_status "  which is well" "native, under the libxdp dispatcher"
	tap_ok "  unload" weir unload
	tap_clean "  leaves nothing of ours"
	tap_ok "ten programs of others" join 90
	tap_refused "  load says that there is no place" \
		'eth0: ten XDP programs share the interface already' weir load -c $YAML
	tap_clean "  and leaves nothing"
	tap_ok "  nine are left when one leaves" leave
	tap_is "  of theirs" "$(programs | wc -w)" 9
	xl unload -a $DEV
}

unload_leaves_other()
{
	tap_ok "  unload" weir unload
	tap_programs "  leaves the other" xdp_count
	tap_clean "  and nothing of ours"
	# A dispatcher that was made and not attached keeps pins of the other program.
	xl clean >/dev/null
	tap_is "  and xdp-loader clean what is the other's" "$(echo /sys/fs/bpf/xdp/dispatch-* | wc -w)" 1
}

load_killed_beside_other()
{
	local dir='/sys/fs/bpf/xdp/dispatch-*' at
	join 90
	for at in /sys/fs/bpf/weir/maps/stats "$dir/prog1-link" "$dir/prog1-prog"; do
		tap_fails "load is killed beside another when ${at##*/} is there" 137 \
			killed_when "is_there $at" load -c $YAML
		unload_leaves_other
	done
}

# Goes on from there.
reload_killed_beside_other()
{
	local both='is_there /sys/fs/bpf/xdp/dispatch-*/prog2-prog'
	tap_ok "weir is loaded beside another" load_hot
	tap_fails "  reload is killed when its new program is there, too" 137 \
		killed_when "$both" reload -c $YAML
	tap_hit "  hits are answered"
	tap_ok "  the next reload" weir reload -q -c $YAML
	tap_programs "  leaves one of ours" weir_rx xdp_count
	tap_hit "  hits are answered"
	xl clean >/dev/null
	tap_fails "  it is killed once more" 137 killed_when "$both" reload -c $YAML
	unload_leaves_other
	weir_load >/dev/null
	tap_fails "unload is killed when the other gets a dispatcher of its own" 137 \
		killed_when two_dispatchers unload
	unload_leaves_other
	xl unload -a $DEV
}

# What commands that were killed, or somebody's rm, can leave in libxdp's directory of pins.
lost_pins()
{
	local what word dir
	while read -r what; do
		weir_load >/dev/null
		dir=$(echo /sys/fs/bpf/xdp/dispatch-*)
		for word in $what; do
			case $word in
			off) bare off ;;
			link | prog) rm "$dir/prog0-$word" ;;
			esac
		done
		tap_ok "lost: $what; unload" weir unload
		tap_clean "  leaves nothing of ours"
		tap_is "  and no pins of libxdp's" "$(ls /sys/fs/bpf/xdp 2>/dev/null)" ""
		xl unload -a $DEV >/dev/null 2>&1
		rm -rf /sys/fs/bpf/xdp
	done <<-EOF
		off
		off link
		off prog
		link
		prog
	EOF
}

### Where ours runs alone

ours_alone() # MODE
{
	local out
	out=$(weir load -c $YAML 2>&1)
	tap_like "$DEV, $1: weir is loaded alone and says so" "$? $out" \
		"^0 .*$DEV: attached, $1, alone.*note: $DEV: .*no other XDP program can join"
	echo a,hot-a | weir cache warm -q - >/dev/null
	tap_programs "  xdp-loader sees it" bare weir_rx
	tap_status "  weir status says so" "$1, bare program, no dispatcher"
	tap_is "  and in JSON" "$(of_json "d['interfaces'][0]['dispatcher']" weir status --json)" false
	tap_like "  weir doctor, too" "$(weir doctor -i $DEV)" "xdp_attached +weir itself, without dispatcher"
	out=$(join 10 "$1" 2>&1)
	tap_like "  another cannot join" "$? $out" '^[1-9][0-9]* .*Device or resource busy'
	tap_programs "  and changes nothing" bare weir_rx
	tap_hit "  hits are answered"
	tap_ok "  reload" weir reload -q -c $YAML
	tap_hit "  hits are answered"
	tap_ok "  unload" weir unload
	tap_programs "  leaves an empty NIC"
	tap_clean "  and nothing of ours"
}

alone_after_other() # MODE
{
	tap_ok "$DEV, $1: another program has the NIC" join 90 "$1"
	tap_refused "  weir cannot join, and says why" \
		"$DEV: another XDP program is attached.*xdp-tools before 1.5.5" weir load -c $YAML
	tap_programs "  the other stays" xdp_count
	tap_is "  and goes on" "$(seen a)" "$MISS"$'\n'"seen: 1"
	tap_clean "  nothing of ours is left"
	tap_ok "  it leaves" leave
	tap_ok "  then weir can be loaded" weir_load
	tap_ok "  and unloaded" weir unload
	tap_programs "  the NIC is empty"
}

alone() # MODE
{
	ours_alone "$1"
	alone_after_other "$1"
}

full_without_us()
{
	tap_ok "ten programs of others" join_times 10
	tap_refused "  load says that there is no place" \
		'eth0: ten XDP programs share the interface already' weir load -c $YAML
	tap_clean "  and leaves nothing"
	tap_is "  the ten stay" "$(programs | wc -w)" 10
	xl unload -a $DEV
}

killed_alone()
{
	local at
	for at in /sys/fs/bpf/weir /sys/fs/bpf/weir/maps/stats; do
		tap_fails "load is killed when ${at##*/} is there" 137 \
			killed_when "is_there $at" load -c $YAML
		tap_ok "  unload" weir unload
		tap_programs "  leaves an empty NIC"
		tap_clean "  and nothing of ours"
	done
}

### Everywhere

# Somebody clears the NIC under us.
taken_off()
{
	local out
	load_hot >/dev/null
	tap_ok "$DEV: xdp-loader unload -a takes ours off, too" xl unload -a $DEV
	out=$(weir status 2>&1)
	tap_like "  weir status says it, 5" "$? $out" \
		"^5 .*NOT answering.*$DEV +not attached.*taken off or replaced.*weir reload"
	tap_is "  lookups go to memcached" "$(get a)" "$MISS"
	tap_refused "  load refuses, and names reload" 'already loaded.*weir reload' weir load -c $YAML
	tap_ok "  reload puts it back" weir reload -q -c $YAML
	tap_status "  and weir is answering" native
	# Nobody saw the writes meanwhile.
	tap_is "  the hot set is fenced" "$(get a)" "$MISS"
	echo a,hot-a | weir cache warm -q - >/dev/null
	tap_hit "  until it is warmed again"
	tap_ok "  unload" weir unload
	tap_clean "  leaves nothing"
}

# Somebody replaces us by force.
replaced()
{
	local out
	load_hot >/dev/null
	xl unload -a $DEV
	tap_ok "$DEV: a bare program takes our place" bare on
	out=$(weir status 2>&1)
	tap_like "  weir status says it, 5" "$? $out" "^5 .*NOT answering.*taken off or replaced"
	tap_refused "  reload refuses" "$DEV: another XDP program is attached" weir reload -c $YAML
	tap_is "  memcached is asked, past the other" "$(seen a)" "$MISS"$'\n'"seen: 1"
	tap_ok "  unload" weir unload
	tap_clean "  leaves nothing of ours"
	tap_programs "  and the other" bare xdp_count
	tap_refused "another has the NIC without the dispatcher: load refuses" \
		"$DEV: another XDP program is attached.*Device or resource busy" weir load -c $YAML
	tap_refused "  in generic mode, too" "$DEV: another XDP program is attached" \
		weir load -i $DEV --mode generic -c $YAML
	tap_clean "  and leaves nothing"
	tap_programs "  the other stays" bare xdp_count
	bare off
}

other_mode()
{
	join 90 generic
	tap_refused "another runs in generic mode: load refuses" \
		"$DEV: another XDP program is attached.*in another mode" weir load -c $YAML
	tap_clean "  and leaves nothing"
	tap_programs "  the other stays" xdp_count
	xl unload -a $DEV
}

# Others and ours on one NIC, as far as this kernel lets them.
together() # MODE
{
	if [ "$SHARES" = ok ]; then
		both_orders "$1"
	else
		alone "$1"
	fi
}

SHARES=$(of_json "[c['verdict'] for c in d['checks'] if c['name'] == 'dispatcher'][0]" weir doctor --json)
tap_note "$(uname -r): the dispatcher is: $SHARES"

configure
together native
if [ "$SHARES" = ok ]; then
	full_dispatcher
	load_killed_beside_other
	reload_killed_beside_other
	lost_pins
else
	full_without_us
	killed_alone
fi
taken_off
replaced
other_mode
configure generic
together generic
add_veth
DEV=veth0 HOST=10.9.0.1
configure
together native
tap_done
