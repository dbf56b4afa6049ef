# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2034
#
# What the tests in this directory share: the lab of scripts/lab.sh with memcached in it, and words
# for what they do. Sourced; then `net_start "$@"`, tests, `tap_done`.

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lab.sh"

NET_DIR=$LAB_ROOT/tests/net
YAML=/run/lab/weir.yaml
MEMCACHED=10.7.0.1:11211
WEIR_NS=server # where it is loaded
CLIENT_NS= # where client.py was started first
REPLY_S=$((1 * SLOWER)) # how long a reply that should come may take
PYTHON=(python3 -IS) # without site packages: what runs hundreds of times starts in two thirds of the time

# client: 10.7.0.2 and fd07::2, server: 10.7.0.1 and fd07::1, with memcached.
net_start() # the script's "$@"
{
	lab_start "$@"
	lab_netns client
	lab_netns server
	lab_link client eth0 server eth0
	lab_addr client eth0 10.7.0.2/24 fd07::2/64
	lab_addr server eth0 10.7.0.1/24 fd07::1/64
	lab_native_peer client eth0
	client_start client
	lab_bg cache lab_in server memcached -u root -t 1 -p 11211 -U 11211 -l '10.7.0.1,[fd07::1]'
	lab_wait_port server 11211 udp || lab_die "memcached does not start: $(cat $LAB_DIR/cache.log)"
}

# A configuration on standard output: one service on eth0, with other lines for what is given.
net_yaml() # [CAPACITY] [EXTRA-LINE-OF-THE-SERVICE...]
{
	local capacity=${1:-1000}
	shift
	cat <<-EOF
		interfaces: [{name: eth0}]
		cache: {capacity: $capacity, memory: 4M}
		services:
		  - name: cache
		    vips: ["10.7.0.1:11211", "[fd07::1]:11211"]
		    clients: [10.7.0.0/24, "fd07::/64"]
		    origin: 10.7.0.1:11211
	EOF
	[ $# = 0 ] || printf '    %s\n' "$@"
}

weir()
{
	lab_in $WEIR_NS "$WEIR" "$@"
}

# 5, degraded, is a success where the kernel has no native XDP.
weir_load() # ARGUMENT...
{
	weir load -q -c $YAML "$@" || [ $? = 5 ]
}

# client.py in a namespace, for good: where all is emulated Python takes half a second to start, and a test
# asks hundreds of times.
client_start() # NS
{
	local fd
	# Held open, or what is asked before it reads would be gone.
	mkfifo "$LAB_DIR/$1".{ask,done} && exec {fd}<>"$LAB_DIR/$1.ask" || lab_die "no FIFOs"
	lab_bg "client.py-$1" lab_in "$1" "${PYTHON[@]}" "$NET_DIR/client.py" serve "$LAB_DIR/$1"
	CLIENT_NS=${CLIENT_NS:-$1}
}

# What client.py prints, and its status, in a namespace where it was started. One at a time: not in the
# background.
client() # NS WORD...
{
	local at=$LAB_DIR/$1 pid=${LAB_PIDS[client.py-$1]} status='' part reply
	shift
	printf '%s\0' $# "$@" 1<>"$at.ask"
	until read -r -t 1 part <>"$at.done"; do
		status+=$part # its time was over in the middle of the line
		kill -0 "$pid" 2>/dev/null && continue
		echo "client.py is gone: $(cat "$LAB_DIR/client.py-${at##*/}.log")" >&2
		return 1
	done
	status+=$part
	# Without a process: not cat.
	IFS= read -r -d '' reply <"$at.reply"
	printf '%s' "$reply"
	return "$status"
}

# Each reply on a line, as client.py prints it.
ask() # REQUEST...
{
	client client ${ASK_FROM:+--source "$ASK_FROM"} --timeout "${ASK_TIMEOUT:-$REPLY_S}" \
		ask "${ASK_TO:-$MEMCACHED}" -- "$@"
}

# Text to memcached over TCP, which Weir does not touch; prints what it says.
tell() # LINE...
{
	client client tell $MEMCACHED -- "$@"
}

# A Python expression over the document `d` that a command prints with --json.
of_json() # EXPRESSION COMMAND...
{
	local expression=$1
	shift
	"$@" >$LAB_DIR/document
	of_file $LAB_DIR/document "$expression"
}

of_file() # FILE EXPRESSION [--lines]
{
	if [ -n "$CLIENT_NS" ]; then
		client $CLIENT_NS eval "$@"
	else # a lab of another shape
		"${PYTHON[@]}" "$NET_DIR/client.py" eval "$@"
	fi
}

# Packets of a reason, of the first service.
reason() # NAME [SERVICE-NUMBER]
{
	of_json "d['services'][${2:-0}]['reasons']['$1']['packets']" weir stats --json
}

# The command makes the counter of a reason grow by just this; what it prints is kept in OUT.
tap_counts() # SENTENCE REASON HOW-MUCH COMMAND...
{
	local sentence=$1 name=$2 want=$3 before
	shift 3
	before=$(reason "$name")
	OUT=$("$@")
	tap_is "$sentence" "$name +$(($(reason "$name") - before))" "$name +$want"
}

# What is left of Weir in the namespace it was loaded in; nothing: "".
leftovers()
{
	ls /sys/fs/bpf | grep -vx '\(maps\|progs\)\.debug'
	lab_in $WEIR_NS ip link show | grep -o 'xdp[a-z]* ' | sort -u
	lab_in $WEIR_NS tc qdisc show | grep -o clsact
	return 0
}
