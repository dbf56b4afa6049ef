# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# What the tests in this directory share. They run inside a guest of vm/run.sh, on its NICs, one of
# them by hand:
#
#	vm/run.sh 6.12 --nic hub=lan --nic hub=lan -- tests/guest/test_virtio.sh
#
# The options of vm/run.sh that a test needs stand in its line `# vm: ...`. A pair of NICs on one hub
# is a wire, an end in each of two namespaces:
#
#	client                               server
#	  eth0  10.7.0.2 fd07::2 ---------- eth0  10.7.0.1 fd07::1     the guest's eth1 and eth0
#	  eth1  10.8.0.2 fd08::2 ---------- eth1  10.8.0.1 fd08::1     its eth3 and eth2
#
# Sourced; then `guest_start PAIRS`, tests with the words of tests/net/common.sh, `tap_done`.

. "$(dirname "${BASH_SOURCE[0]}")/../net/common.sh"

# The guest is the lab: it ends with the test, and the NICs are in its first namespace.
guest_start() # PAIRS-OF-NICS
{
	local pair
	[ -e /vm/command ] || tap_skip_all "runs in a guest only: vm/run.sh"
	[ -d "/sys/class/net/eth$((2 * $1 - 1))" ] ||
		tap_skip_all "needs NICs: vm/run.sh KERNEL $(sed -n 's/^# vm: //p' "$0") -- $0"
	export LAB_DIR=/run/lab LAB_NAP
	mkdir -p $LAB_DIR && mkfifo $LAB_DIR/nap && exec {LAB_NAP}<>$LAB_DIR/nap || lab_die "cannot set up $LAB_DIR"
	trap lab_end EXIT
	lab_netns client
	lab_netns server
	for ((pair = 0; pair < $1; pair++)); do
		guest_nic server "eth$((2 * pair))" $pair 1
		guest_nic client "eth$((2 * pair + 1))" $pair 2
	done
	client_start client
	client_start server
	lab_bg cache lab_in server memcached -u root -t 1 -p 11211 -U 11211 -l '0.0.0.0,[::]'
	lab_wait_port server 11211 udp || lab_die "memcached does not start: $(cat $LAB_DIR/cache.log)"
	for ((pair = 0; pair < $1; pair++)); do
		lab_wait_for 20 lab_in client ping -c1 -W1 10.$((7 + pair)).0.1 || lab_die "pair $pair has no link"
	done
}

# Over a name that no other NIC has: eth0 may be there already.
guest_nic() # NS IF PAIR HOST-NUMBER
{
	ip link set dev "$2" name moving && ip link set dev moving netns "$1" &&
		ip -n "$1" link set dev moving name "eth$3" && ip -n "$1" link set dev "eth$3" up ||
		lab_die "cannot move $2 into $1"
	lab_addr "$1" "eth$3" "10.$((7 + $3)).0.$4/24" "fd0$((7 + $3))::$4/64"
}

# The logs of a failed run go to where vm/run.sh takes files from.
lab_keep_logs()
{
	mkdir -p /out && cp $LAB_DIR/*.log /out
}

# A value in which no two places look alike, up to 1600 bytes.
value() # SIZE
{
	local digits
	printf -v digits '%s.' {100..499}
	printf '%s' "${digits:0:$1}"
}

# What memcached says where Weir is not on the way.
ask_origin() # REQUEST...
{
	client server --timeout "$REPLY_S" ask "$MEMCACHED" -- "$@"
}

# Long texts: what differs is shown, not both.
tap_same() # SENTENCE GOT WANT
{
	tap_ok "$1" diff <(printf '%s\n' "$2") <(printf '%s\n' "$3")
}

# Packets that left for each reason since the last call; without tcp, other and reply, which anything causes.
reasons_since()
{
	local -A was=()
	local name n changes=()
	while read -r name n; do
		was[$name]=$n
	done 2>/dev/null <$LAB_DIR/reasons
	of_json "'\n'.join(f'{r} {sum(s[\"reasons\"][r][\"packets\"] for s in d[\"services\"])}'
		for r in sorted(d['services'][0]['reasons']) if r not in ('tcp', 'other', 'reply'))" \
		weir stats --json >$LAB_DIR/reasons
	while read -r name n; do
		[ "$n" = "${was[$name]:-0}" ] || changes+=("$name=$((n - ${was[$name]:-0}))")
	done <$LAB_DIR/reasons
	echo "${changes[*]}"
}

# A counter of the driver's, over its queues. Kernels name them rx_queue_0_xdp_tx or rx0_xdp_tx.
nic_counts() # IF rx|tx COUNTER: one number a queue
{
	lab_in server ethtool -S "$1" |
		awk -v name="^$2(_queue_)?[0-9]+_$3:\$" '$1 ~ name { printf "%s%s", sep, $2; sep = " " }'
}

nic_sum() # IF rx|tx COUNTER
{
	local n=0 i
	for i in $(nic_counts "$@"); do
		n=$((n + i))
	done
	echo $n
}
