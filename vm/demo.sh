#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1 6.18
#
# vm/demo.sh [KERNEL]     Weir on an edge host, told in a minute: three guests (6.12, or KERNEL: what run.sh
#                         takes) on a network of qemu's own. No root, and nothing of the host's network is
#                         touched. At the end, or on Ctrl-C, all is gone.
#
# Each step checks that it did what it says: the exit status is 0 only when all did.
set -u

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$VM_DIR/../scripts/story.sh"

case ${1:-} in
-h | --help)
	sed -n '/^# vm\/demo.sh/,/^#$/{/^#$/d;s/^# //p}' "${BASH_SOURCE[0]}"
	exit
	;;
-*)
	echo "vm: ${1}: not a kernel; vm/demo.sh --help explains" >&2
	exit 2
	;;
esac
KERNEL=${1:-6.12}
BACKEND=10.7.1.2
LIMIT=300 # seconds for the story
declare -A GUESTS=() # NAME -> process of its run.sh

### Words

there() # GUEST COMMAND-LINE
{
	"$VM_DIR/at" "$work/$1" --timeout 40 "cd; $2"
}

# A file in the edge's, or another's, home directory, from standard input.
put() # GUEST FILE
{
	quietly "$1" "base64 -d >$2 <<<$(base64 -w0)"
}

memcached_gets()
{
	memcstat_of $BACKEND cmd_get
}

### The guests

topology()
{
	cat <<-'EOF'

	     client                      edge                       backend
	  +-----------+      +---------------------------+      +-------------+
	  | memcached |      |      routes IP between    |      |             |
	  | clients   o------o eth0                 eth1 o------o  memcached  |
	  |           | wire | [ Weir: XDP ]             | wire |             |
	  | 10.7.0.2  |      | answers hot keys          |      |  10.7.1.2   |
	  | fd07::2   |      |                           |      |  fd07:1::2  |
	  +-----------+      +---------------------------+      +-------------+
	EOF
}

start_guest() # NAME WIRE...
{
	local name=$1 nics=() shown wire
	shift
	shown="vm/run.sh $KERNEL --name $name"
	for wire in "$@"; do
		nics+=(--nic "wire=$work/$wire")
		shown+=" --nic wire=$wire"
	done
	printf '%shost$%s %s --serve %s &\n' "$dim" "$plain" "$shown" "$name"
	setpriv --pdeathsig TERM "$VM_DIR/run.sh" "$KERNEL" --name "$name" "${nics[@]}" --serve "$work/$name" \
		--env "PATH=/weir/build:/weir/build/bench:/weir/tests/net:/usr/sbin:/usr/bin" --cpus 1 \
		--memory 768 --timeout $LIMIT --out "$work/$name.out" --quiet >"$work/$name.log" 2>&1 &
	GUESTS[$name]=$!
}

# A guest that cannot be is not waited for.
wait_for_guests()
{
	local name
	for name in client edge backend; do
		until grep -qs '^boot ' "$work/$name.out/result"; do
			kill -0 "${GUESTS[$name]}" 2>/dev/null ||
				fail "the guest '$name' did not come up: $(cat "$work/$name".{log,out/verdict} 2>/dev/null)"
			sleep 0.1
		done
	done
}

# Its status says, too, whether its kernel complained.
end_guest() # NAME
{
	there "$1" stop >/dev/null 2>&1 || "$VM_DIR/at" "$work/$1" --timeout 5 stop 2>/dev/null
	wait "${GUESTS[$1]}" || fail "the guest '$1' ended with status $?: $(cat "$work/$1.out/verdict")"
	unset "GUESTS[$1]"
}

# What a guest that ended before its time has left.
say_why() # NAME
{
	kill -0 "${GUESTS[$1]}" 2>/dev/null && return
	printf "the guest '%s' is gone: %s\n" "$1" "$(cat "$work/$1.out/verdict" 2>/dev/null)"
	tail -n 80 "$work/$1.out/console.log" 2>/dev/null | sed 's/^/  /'
}

clean_up()
{
	local status=$? name
	trap - EXIT
	for name in "${!GUESTS[@]}"; do
		say_why "$name" >&2
	done
	for name in "${!GUESTS[@]}"; do
		kill "${GUESTS[$name]}" 2>/dev/null
	done
	wait
	cd /
	rm -rf "$work"
	exit $status
}

### Acts

act_boot()
{
	step "Three guests boot, with Linux $KERNEL and virtio NICs."
	topology
	start_guest client left:a
	start_guest edge left:b right:a
	start_guest backend right:b
	wait_for_guests
	run edge 'uname -r; ip -br link | grep eth'
	so "all three are up, after $SECONDS seconds"
}

act_network()
{
	step "The edge routes between its two NICs; on the backend runs a real memcached."
	quietly client 'ip link set eth0 up; ip addr add 10.7.0.2/24 dev eth0; ip route add default via 10.7.0.1
		ip addr add fd07::2/64 dev eth0 nodad; ip route add default via fd07::1'
	quietly edge 'sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; ip link set eth0 up
		ip link set eth1 up; ip addr add 10.7.0.1/24 dev eth0; ip addr add 10.7.1.1/24 dev eth1
		ip addr add fd07::1/64 dev eth0 nodad; ip addr add fd07:1::1/64 dev eth1 nodad'
	quietly backend 'ip link set eth0 up; ip addr add 10.7.1.2/24 dev eth0; ip route add default via 10.7.1.1
		ip addr add fd07:1::2/64 dev eth0 nodad; ip route add default via fd07:1::1'
	run backend 'memcached -d -u nobody -t 1 -p 11211 -U 11211 -l "10.7.1.2,[fd07:1::2]"'
	run client 'ping -q -c 1 -w 10 10.7.1.2 | grep loss'
	shows ' 0% packet loss'
	quietly client 'ping -q -c 1 -w 10 fd07:1::2'
	so "the client reaches the backend through the edge"
}

act_clients()
{
	step "A real client stores four users, over TCP, through the edge."
	quietly client 'printf Ada >user:1; printf Grace >user:2; printf Edsger >user:3; printf Barbara >user:4'
	run client 'memccp --servers=10.7.1.2 user:1 user:2 user:3 user:4'
	run client 'memccat --servers=10.7.1.2 user:1 user:4'
	shows Ada
	shows Barbara
	so "memcached holds $(memcstat_of $BACKEND curr_items) items"
}

# One request at a time. The benchmark's name for it: e2e/closed/NAME.
measure() # NAME
{
	quietly client "e2e closed -r 1 -s 2 -c 0 -o rows $1,eth0,$edge_mac,10.7.0.2,10.7.1.2,11211"
	quietly client 'cat rows'
	cat >>rows <<<"$OUT"
}

act_alone()
{
	step "A load generator on the client asks the backend, one request after another."
	edge_mac=$(there edge 'cat /sys/class/net/eth0/address')
	quietly client 'e2e fill 10.7.1.2 11211'
	measure memcached
	so "$(printf '%.0f requests a second' "$(row e2e/closed/memcached/rate)")"
}

act_load()
{
	step "Weir goes onto the edge's NIC. The service is at the backend's own address."
	put edge weir.yaml <<-'EOF'
		interfaces: [{name: eth0}]
		cache: {capacity: 4096}
		services:
		  - name: users
		    vips: ["10.7.1.2:11211", "[fd07:1::2]:11211"]
		    clients: [10.7.0.0/24, "fd07::/64"]
		    origin: 10.7.1.2:11211
	EOF
	run edge 'cat weir.yaml'
	run edge 'weir load -q -c weir.yaml'
	shows 'loaded: 1 service'
	shows 'eth0: attached, native'
	run edge 'weir status | head -1'
	shows 'weir is answering'
	so "native XDP on a virtio NIC"
}

act_warm()
{
	step "A list names three hot keys; the edge fetches their values from the backend."
	printf 'user:1\nuser:2\nuser:3\n' | put edge hot.keys
	run edge 'weir cache warm hot.keys'
	shows 'warmed     3'
}

act_hit()
{
	local hits gets
	step "A hit: the client asks over UDP for hot keys. The edge's NIC answers."
	hits=$(count hit) gets=$(memcached_gets)
	run client "client.py ask 10.7.1.2:11211 'get user:1' 'mg user:2 v'"
	shows 'VALUE user:1 0 3\r\nAda\r\nEND\r\n'
	shows 'VA 5\r\nGrace\r\n'
	run client "client.py ask '[fd07:1::2]:11211' 'get user:3'"
	shows 'VALUE user:3 0 6\r\nEdsger\r\nEND\r\n'
	counted hit "$hits" 3
	[ "$(memcached_gets)" = "$gets" ] || fail "memcached saw a request"
	so "3 hits, one over IPv6; the backend saw none of them"
}

act_miss()
{
	local misses gets
	step "A miss: a key that is not hot is routed on to the backend, untouched."
	misses=$(count miss) gets=$(memcached_gets)
	run client "client.py ask 10.7.1.2:11211 'get user:4'"
	shows 'VALUE user:4 0 7\r\nBarbara\r\nEND\r\n'
	counted miss "$misses" 1
	[ "$(memcached_gets)" = $((gets + 1)) ] || fail "memcached did not see the request"
	so "1 miss; the backend answered it"
}

act_write()
{
	local fenced writes
	step "A write passes the edge: the hot copy is fenced at once, over IPv4 and IPv6."
	fenced=$(count fenced) writes=$(count write)
	run client "client.py ask 10.7.1.2:11211 'set user:1 0 0 8\r\nLovelace' 'get user:1'"
	shows 'STORED\r\n'
	shows 'VALUE user:1 0 8\r\nLovelace\r\nEND\r\n'
	run client "client.py ask '[fd07:1::2]:11211' 'get user:1' 'set user:2 0 0 6\r\nHopper'"
	shows 'VALUE user:1 0 8\r\nLovelace\r\nEND\r\n'
	run client "client.py ask 10.7.1.2:11211 'get user:2'"
	shows 'VALUE user:2 0 6\r\nHopper\r\nEND\r\n'
	counted write "$writes" 2
	counted fenced "$fenced" 3
	so "2 writes seen; the reads after them went to the backend"
}

act_counters()
{
	step "What happened, counted: each packet under one reason."
	run edge 'weir stats -s users | cut -c1-50'
	shows 'reply_write'
	run edge 'weir cache show --top 3'
	[[ $OUT =~ 1\ +3\ +[^\ ]+\ [^\ ]*\ *fenced\ +user:1 ]] || fail "user:1 does not have its hit"
}

act_speed()
{
	local ratio hits
	step "The load generator again, with its keys hot: they need not travel to the backend."
	quietly edge 'e2e list >bench.csv; weir cache warm -q --replace bench.csv'
	hits=$(count hit)
	measure weir
	[ "$(count hit)" -gt $((hits + 100)) ] || fail "there were no hits"
	ratio=$(python3 -c "print($(row e2e/closed/weir/rate) / $(row e2e/closed/memcached/rate))")
	table_head
	compare "one request at a time" "/s" "$(row e2e/closed/memcached/rate)" \
		"$(row e2e/closed/weir/rate)" "$ratio"
	compare "  half of them within" "us" "$(row e2e/closed/memcached/p50)" "$(row e2e/closed/weir/p50)" \
		"$(python3 -c "print($(row e2e/closed/memcached/p50) / $(row e2e/closed/weir/p50))")"
	so "$(printf '%.1f times as many' "$ratio"); emulated machines: the ratio says more than the figures"
}

act_unload()
{
	step "Unload leaves nothing behind: no program, no map, no qdisc of Weir's."
	run edge 'weir unload'
	quietly edge 'ip link show eth0; ls /sys/fs/bpf; tc qdisc show dev eth0'
	[[ $OUT != *xdp* ]] || fail "a program is left"
	[[ $OUT != *weir* ]] || fail "pins are left"
	[[ $OUT != *clsact* ]] || fail "a qdisc is left"
	run client "client.py ask 10.7.1.2:11211 'get user:2'"
	shows 'VALUE user:2 0 6\r\nHopper\r\nEND\r\n'
	so "nothing is left, and memcached is as before"
}

act_end()
{
	local name
	step "The guests end. None of their kernels complained."
	for name in client edge backend; do
		end_guest $name
	done
	so "three guests booted, worked and ended"
}

[ -x "$VM_DIR/../build/weir" ] && [ -x "$VM_DIR/../build/bench/e2e" ] || { echo \
	"demo: run it with 'make vm-demo', which builds first" >&2; exit 1; }
export VM_BOOT_S=${VM_BOOT_S:-120} # three boot at once
work=$(mktemp -d /tmp/weir-demo.XXXXXX)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
cd "$work" || exit 1
printf '%sWeir on an edge host answers hot keys for a backend, before the network stack.%s\n' "$bold" "$plain"
act_boot
act_network
act_clients
act_alone
act_load
act_warm
act_hit
act_miss
act_write
act_counters
act_speed
act_unload
act_end
printf '\nDone: all %d steps did what they say, in %d seconds. ' $STEP $SECONDS
printf 'Next: docs/vm.md, and a shell: make vm-shell\n'
