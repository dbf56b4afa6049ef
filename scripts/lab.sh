#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# A lab of network namespaces: sourced by tests/net and the demo; run as `scripts/lab.sh COMMAND...`
# it gives one command a lab of its own.
#
#     +------------------------- lab: own mount, pid and network namespace --------------------------+
#     |  /sys/fs/bpf (bpffs), /run (tmpfs): private                                                  |
#     |                                                                                              |
#     |   +---------- client ----------+                      +---------- server ----------+        |
#     |   | memcached clients          |      veth pair       |  weir on its "NIC"          |        |
#     |   |                       eth0 o----------------------o eth0                        |        |
#     |   |              10.7.0.2/24   |                      |  10.7.0.1/24     memcached  |        |
#     |   |              fd07::2/64    |                      |  fd07::1/64                 |        |
#     |   +----------------------------+                      +-----------------------------+        |
#     +----------------------------------------------------------------------------------------------+
#
# The picture is what these lines build:
#
#	lab_start "$@"                           # first of all: starts the script again inside the lab
#	lab_netns client; lab_netns server
#	lab_link client eth0 server eth0         # a veth pair
#	lab_addr client eth0 10.7.0.2/24; lab_addr server eth0 10.7.0.1/24     (and fd07::2/64, ...)
#	lab_native_peer client eth0              # so that XDP_TX works on server's end
#	lab_bg cache lab_in server memcached -u root -U 11211 -l 10.7.0.1
#	lab_wait_port server 11211 udp
#	tap_ok "the server answers" lab_in client ping -c1 10.7.0.1
#	tap_done
#
# Nothing of the host is touched, and nothing can be left behind: the namespaces, the pins and the
# processes live under one process, and the kernel removes them with it, however it dies. Two labs
# know nothing of each other, so names need not be unique.
#
# LAB_SHELL=1 opens a shell inside the lab when a test failed, before it is taken down.

LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WEIR_BUILD=${WEIR_BUILD:-$LAB_ROOT/build}
WEIR=${WEIR:-$WEIR_BUILD/weir}
LAB_DIR=${LAB_DIR:-}
declare -A LAB_PIDS=()
TAP_COUNT=0
TAP_FAILED=0
# A guest without KVM: seconds pass in which nothing is wrong, and loading a program takes some.
! grep -q 'TCG CPU' /proc/cpuinfo && SLOWER=1 || SLOWER=8

# How often to repeat what is to be repeated this many times: a quarter of that, but at least twice, where it
# would take minutes.
rounds() # HOW-OFTEN
{
	local few=$((($1 + 3) / 4))
	[ $SLOWER = 1 ] && echo "$1" || echo $((few < 2 ? 2 : few))
}

### TAP: one line a test, the details of a failure as comments before it.

tap_result() # SENTENCE STATUS
{
	TAP_COUNT=$((TAP_COUNT + 1))
	if [ "$2" = 0 ]; then
		echo "ok $TAP_COUNT - $1"
	else
		TAP_FAILED=$((TAP_FAILED + 1))
		echo "not ok $TAP_COUNT - $1"
	fi
}

tap_note() # TEXT...: comment lines
{
	local text=$*
	echo "# ${text//$'\n'/$'\n# '}"
}

# The command succeeds. It runs in a subshell: what it sets is gone afterwards.
tap_ok() # SENTENCE COMMAND...
{
	local sentence=$1 out status
	shift
	out=$("$@" 2>&1)
	status=$?
	[ $status = 0 ] || tap_note "status $status: $*${out:+$'\n'$out}"
	tap_result "$sentence" $status
}

# The command fails with just this status.
tap_fails() # SENTENCE STATUS COMMAND...
{
	local sentence=$1 want=$2 out status
	shift 2
	out=$("$@" 2>&1)
	status=$?
	[ $status = "$want" ] || tap_note "status $status, wanted $want: $*${out:+$'\n'$out}"
	tap_result "$sentence" $((status != want))
}

tap_is() # SENTENCE GOT WANT
{
	local bad=0
	if [ "$2" != "$3" ]; then
		bad=1
		tap_note "got:"$'\n'"$2"$'\n'"wanted:"$'\n'"$3"
	fi
	tap_result "$1" $bad
}

# The text matches an extended regular expression.
tap_like() # SENTENCE GOT REGEX
{
	local bad=0
	if ! [[ $2 =~ $3 ]]; then
		bad=1
		tap_note "got:"$'\n'"$2"$'\n'"wanted a match of: $3"
	fi
	tap_result "$1" $bad
}

tap_skip() # SENTENCE WHY
{
	TAP_COUNT=$((TAP_COUNT + 1))
	echo "ok $TAP_COUNT - $1 # SKIP $2"
}

# The plan, last of all. Ends the script.
tap_done()
{
	echo "1..$TAP_COUNT"
	exit $((TAP_FAILED > 0))
}

tap_skip_all() # WHY
{
	echo "1..0 # SKIP $1"
	exit 0
}

### The lab itself

# Starts the script again as the first process of new namespaces. Goes on there, with private /run
# and bpffs.
lab_start() # the script's "$@"
{
	if [ "${LAB_INSIDE:-}" != 1 ] || [ $$ != 1 ]; then
		[ "$(id -u)" = 0 ] || tap_skip_all "needs root"
		LAB_INSIDE=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc bash "$0" "$@"
	fi
	unset LAB_INSIDE
	lab_furnish
}

# What a lab needs in new namespaces of mounts and networks, and that it is taken down at the end.
lab_furnish()
{
	mount -t tmpfs tmpfs /run && mount -t bpf bpf /sys/fs/bpf && ip link set lo up ||
		lab_die "cannot set up the private mounts"
	export LAB_DIR=/run/lab LAB_NAP
	mkdir -p $LAB_DIR && mkfifo $LAB_DIR/nap && exec {LAB_NAP}<>$LAB_DIR/nap || lab_die "cannot set up $LAB_DIR"
	trap lab_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
}

lab_die() # MESSAGE...
{
	echo "lab: $*" >&2
	exit 1
}

# On exit, whatever the reason. Background processes are asked first, so that they end in order;
# those that do not listen die with the lab.
lab_end()
{
	local status=$? name

	trap - EXIT
	if [ -n "${LAB_SHELL:-}" ] && { [ $status != 0 ] || [ $TAP_FAILED != 0 ]; }; then
		echo "lab: a shell inside the lab; 'ip netns' lists the namespaces, lab_in NS COMMAND enters one;" \
			"logs are in $LAB_DIR; exit takes it down"
		LAB_SHELL='' bash --rcfile "$LAB_ROOT/scripts/lab.sh" -i
	fi
	for name in "${!LAB_PIDS[@]}"; do
		lab_stop "$name"
	done
	[ $status = 0 ] || lab_keep_logs
	exit $status
}

# The logs live in the lab; a failed run leaves a copy.
lab_keep_logs()
{
	local to
	to=$WEIR_BUILD/test-logs/$(basename "$0" .sh)

	compgen -G "$LAB_DIR/*.log" >/dev/null || return 0
	mkdir -p "$to" && cp "$LAB_DIR"/*.log "$to" && echo "# logs of background processes: $to" >&2
}

lab_netns() # NAME
{
	# A test's address must be there at once, and no router shall change it.
	ip netns add "$1" && lab_in "$1" sh -c 'cd /proc/sys/net/ipv6/conf/default 2>/dev/null && {
			echo 0 >accept_dad; echo 0 >accept_ra; }
		exec ip link set lo up' || lab_die "cannot make namespace $1"
}

# Two namespaces joined by a veth pair, both ends up. Checksums are computed by the sender, as on a
# real wire: else a program at the far end would see half-made ones.
lab_link() # NS1 IF1 NS2 IF2 [QUEUES]
{
	local q=${5:-1}

	ip link add "$2" netns "$1" up numtxqueues "$q" numrxqueues "$q" type veth \
		peer name "$4" netns "$3" numtxqueues "$q" numrxqueues "$q" || lab_die "cannot make veth $2 - $4"
	lab_in "$1" ethtool -K "$2" tx off >/dev/null && lab_in "$3" ethtool -K "$4" tx off >/dev/null ||
		lab_die "cannot turn checksum offload off: $2, $4"
	ip -n "$3" link set "$4" up || lab_die "cannot bring up $4"
}

lab_mac() # NS IF
{
	ip -n "$1" -br link show dev "$2" | awk '{ print $3 }'
}

lab_addr() # NS IF CIDR...
{
	local ns=$1 dev=$2 cidr nodad
	shift 2

	for cidr in "$@"; do
		[[ $cidr == *:* ]] && nodad=nodad || nodad=
		echo "addr add $cidr dev $dev $nodad"
	done | ip -n "$ns" -batch - || lab_die "cannot add $* to $dev in $ns"
}

# Not `ip netns exec`: that mounts a new /sys, and the pins would be out of sight.
lab_in() # NS COMMAND...
{
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" -- "$@"
}

# A background process, its output in $LAB_DIR/NAME.log. `lab_bg NAME lab_in NS COMMAND...` too.
lab_bg() # NAME COMMAND...
{
	local name=$1
	shift
	# Without the function, so that the recorded pid is the command's own.
	[ "$1" != lab_in ] || set -- nsenter "--net=/run/netns/$2" -- "${@:3}"
	"$@" >"$LAB_DIR/$name.log" 2>&1 </dev/null &
	LAB_PIDS[$name]=$!
}

lab_pid() # NAME
{
	echo "${LAB_PIDS[$1]:-}"
}

# Ends a background process, with SIGKILL when it has not gone after two seconds. 0 when it was there.
lab_stop() # NAME [SIGNAL]
{
	local pid=${LAB_PIDS[$1]:-} i

	[ -n "$pid" ] || return 1
	unset "LAB_PIDS[$1]"
	kill -s "${2:-TERM}" "$pid" 2>/dev/null || return 1
	for ((i = 0; i < 100; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		lab_nap 0.02
	done
	kill -s KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	return 0
}

# A veth takes frames that its peer sends with XDP_TX or XDP_REDIRECT only while it polls (NAPI),
# which a native program of its own turns on.
lab_native_peer() # NS IF
{
	ip -n "$1" link set dev "$2" xdpdrv obj "$WEIR_BUILD/tests/bpf/xdp_pass.bpf.o" sec xdp ||
		lab_die "cannot attach xdp_pass to $2 in $1"
}

# Waits until something listens on the port, 5 seconds at most.
lab_wait_port() # NS PORT [tcp|udp]
{
	local proto=-t
	[ "${3:-tcp}" = tcp ] || proto=-u

	lab_wait_for 5 lab_listens "$1" $proto "$2" && return
	tap_note "nothing listens on ${3:-tcp} port $2 in $1" >&2
	return 1
}

lab_listens() # NS -t|-u PORT
{
	[ -n "$(lab_in "$1" ss -Hln "$2" "sport = :$3")" ]
}

# Sleeps without a process: one costs an emulated machine more than the nap is long.
lab_nap() # SECONDS
{
	read -rt "$1" -u "$LAB_NAP"
	return 0
}

# Waits until the command succeeds, SECONDS at most, and more of them in an emulated machine.
lab_wait_for() # SECONDS COMMAND...
{
	local end=$((SECONDS + $1 * SLOWER))
	shift

	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -le $end ] || return 1
		[ $SLOWER = 1 ] && lab_nap 0.05 || lab_nap 0.2
	done
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	[ $# -gt 0 ] || { echo "usage: scripts/lab.sh COMMAND..." >&2; exit 2; }
	lab_start "$@"
	"$@"
	exit $?
fi
