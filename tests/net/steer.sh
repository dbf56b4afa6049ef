# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2034
#
# What the tests of steering share: an edge between clients and four backends, and words for what they do.
# Sourced; then `steer_start "$@"`, tests, `tap_done`.
#
#      c1   c2   c3          clients: 10.1.N.2, fd01:N::2
#       |    |    |
#     +-router-----+         192.0.2.1 and 2001:db8::1 lead to the edge: by `front`, or, with one_arm, by `seg`
#     | front  seg |
#     +-|-------|--+
#   10.2.0/24   |            fd02::/64
#     | eth0    |
#    edge       |            weir on both interfaces
#     | eth1    |
#     +----+----+            10.3.0/24, fd03::/64: a bridge in the namespace `segment`
#          |
#     b1 b2 b3 b4            10.3.0.11 .. 14, fd03::11 .. 14, nginx on each
#
# A backend's replies from a VIP go by the router (DSR), those from its own address by the edge (NAT).

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WEIR_NS=edge
VIP=192.0.2.1
VIP6=2001:db8::1
CLIENTS=(c1 c2 c3)
BACKENDS=(b1 b2 b3 b4)
LOAD=(--timeout $((5 * SLOWER)) --rate $((300 / SLOWER))) # of load.py, as a rule

### The lab

steer_start() # the script's "$@"
{
	local i

	lab_start "$@"
	ulimit -n "$(ulimit -Hn)"
	for i in router edge segment "${CLIENTS[@]}" "${BACKENDS[@]}"; do
		lab_netns "$i"
		lab_in "$i" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 ||
			lab_die "cannot set rp_filter in $i"
	done
	ip -n segment link add br0 type bridge 2>/dev/null || tap_skip_all "this kernel has no bridge"
	ip -n segment link set br0 up
	steer_router
	for i in 1 2 3; do
		steer_client $i
	done
	for i in 1 2 3 4; do
		steer_backend $i
	done
	two_arms
}

steer_forwards() # NS
{
	lab_in "$1" sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1
}

# To the bridge: a port that takes frames sent by XDP.
steer_port() # NS IF
{
	lab_link "$1" "$2" segment "$1"
	ip -n segment link set "$1" master br0
	lab_native_peer segment "$1"
}

steer_router()
{
	lab_link router front edge eth0
	lab_native_peer router front
	steer_port router seg
	steer_port edge eth1
	lab_addr router front 10.2.0.254/24 fd02::254/64
	lab_addr edge eth0 10.2.0.1/24 fd02::1/64
	lab_addr router seg 10.3.0.254/24 fd03::254/64
	lab_addr edge eth1 10.3.0.1/24 fd03::1/64
	steer_forwards router
	steer_forwards edge
	ip -n edge route add default via 10.2.0.254
	ip -n edge -6 route add default via fd02::254
	# Errors are told to each backend that hears of them, and they are several behind one address.
	lab_in router sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
	ip -n router route add blackhole 198.18.0.0/15 # where floods pretend to come from
}

steer_client() # NUMBER
{
	lab_link "c$1" eth0 router "c$1"
	lab_addr "c$1" eth0 "10.1.$1.2/24" "fd01:$1::2/64"
	lab_addr router "c$1" "10.1.$1.1/24" "fd01:$1::1/64"
	ip -n "c$1" route add default via "10.1.$1.1"
	ip -n "c$1" -6 route add default via "fd01:$1::1"
}

steer_backend() # NUMBER
{
	steer_port "b$1" eth0
	lab_addr "b$1" eth0 "10.3.0.1$1/24" "fd03::1$1/64"
	lab_addr "b$1" lo $VIP/32 $VIP6/128
	lab_in "b$1" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
	ip -n "b$1" route add default via 10.3.0.254
	ip -n "b$1" -6 route add default via fd03::254
	ip -n "b$1" route add default via 10.3.0.1 table 100
	ip -n "b$1" -6 route add default via fd03::1 table 100
	ip -n "b$1" rule add from "10.3.0.1$1" table 100
	ip -n "b$1" -6 rule add from "fd03::1$1" table 100
	ip -n "b$1" route add 10.3.0.0/24 dev eth0 table 100
	ip -n "b$1" -6 route add fd03::/64 dev eth0 table 100
}

# Packets come in by one interface of the edge and go out by another: XDP_REDIRECT.
two_arms()
{
	ip -n router route replace $VIP via 10.2.0.1
	ip -n router -6 route replace $VIP6 via fd02::1
}

# They leave by the interface they came in on: XDP_TX.
one_arm()
{
	ip -n router route replace $VIP via 10.3.0.1
	ip -n router -6 route replace $VIP6 via fd03::1
}

# The kernel finds all neighbours that packets are sent to by XDP.
neighbours()
{
	local i

	for i in 1 2 3 4; do
		lab_in edge ping -qc1 -W2 "10.3.0.1$i" & lab_in edge ping -qc1 -W2 "fd03::1$i" &
	done >/dev/null 2>&1
	lab_in edge ping -qc1 -W2 10.2.0.254 >/dev/null 2>&1
	lab_in edge ping -qc1 -W2 fd02::254 >/dev/null 2>&1
	wait $(jobs -p | grep -vxF -f <(printf '%s\n' "${LAB_PIDS[@]}" 0))
}

### Servers

# nginx: / is its name at once, /slow a long download, /big a quick one.
nginx_start() # BACKEND
{
	mkdir -p "$LAB_DIR/$1"
	cat >"$LAB_DIR/$1/nginx.conf" <<-EOF
		daemon off; master_process off; user root; pid $LAB_DIR/$1/pid; error_log $LAB_DIR/$1-error.log;
		
		events { worker_connections 4096; }
		http {
			access_log off;
			keepalive_timeout 600s; keepalive_requests 100000;
			client_body_temp_path $LAB_DIR/$1/a; proxy_temp_path $LAB_DIR/$1/b; fastcgi_temp_path $LAB_DIR/$1/c;
			uwsgi_temp_path $LAB_DIR/$1/d; scgi_temp_path $LAB_DIR/$1/e;
			add_header X-Backend $1 always;
			server {
				listen 80 backlog=4096; listen [::]:80 backlog=4096;
				location / { return 200 "$1\n"; }
				location /slow { alias $LAB_DIR/slow; limit_rate 64k; }
				location /big { alias $LAB_DIR/big; }
			}
		}
	EOF
	lab_bg "$1" lab_in "$1" nginx -c "$LAB_DIR/$1/nginx.conf" -e "$LAB_DIR/$1-error.log"
}

nginx_all()
{
	local b

	command -v nginx >/dev/null || tap_skip_all "no nginx"
	truncate -s 1M $LAB_DIR/big
	truncate -s 256K $LAB_DIR/slow
	for b in "${BACKENDS[@]}"; do
		nginx_start "$b"
	done
	for b in "${BACKENDS[@]}"; do
		lab_wait_port "$b" 80 || lab_die "nginx does not start in $b: $(cat "$LAB_DIR/$b.log")"
	done
}

### Weir

# A configuration on standard output: a service `web` on both VIPs over a pool `web` of all backends, by their IPv4
# addresses. With NAT, whose backends and VIP are of one family, two of each: `web6`, too, with backends b1v6 ..
# POOL-LINE: `key: value` of the pools. The environment says the rest: DELIVERY (l2), PORT (80), PROTOCOL (tcp),
# FLOWS, IDLE, NAMES (b1 b2 b3 b4), and CAPACITY_b1 .. of single backends.
steer_yaml() # [POOL-LINE...]
{
	local idle="{${IDLE:-}}" vip4="\"$VIP:${PORT:-80}\"" vip6="\"[$VIP6]:${PORT:-80}\""

	cat <<-EOF
		interfaces: [{name: eth0}, {name: eth1}]
		flows: {capacity: ${FLOWS:-64K}, idle: ${idle/#{\}/{tcp: 1h\}}}
		services:
	EOF
	if [ "${DELIVERY:-l2}" = nat ]; then
		printf '  - {name: %s, vips: [%s], protocol: %s, pool: %s}\n' web "$vip4" "${PROTOCOL:-tcp}" web \
			web6 "$vip6" "${PROTOCOL:-tcp}" web6
		echo "pools:"
		pool_yaml web 10.3.0.1%s '' "$@"
		pool_yaml web6 '[fd03::1%s]' v6 "$@"
	else
		printf '  - {name: web, vips: [%s, %s], protocol: %s, pool: web}\n' "$vip4" "$vip6" "${PROTOCOL:-tcp}"
		echo "pools:"
		pool_yaml web 10.3.0.1%s '' "$@"
	fi
}

pool_yaml() # NAME ADDRESS-FORMAT SUFFIX-OF-NAMES [POOL-LINE...]
{
	local b address capacity more

	printf '  - name: %s\n    delivery: %s\n' "$1" "${DELIVERY:-l2}"
	[ $# = 3 ] || printf '    %s\n' "${@:4}"
	echo "    backends:"
	for b in ${NAMES:-b1 b2 b3 b4}; do
		# shellcheck disable=SC2059
		printf -v address "$2" "${b#b}"
		[ "${DELIVERY:-l2}" != nat ] || address+=:${PORT:-80}
		capacity=CAPACITY_$b
		more=${!capacity:+, capacity: ${!capacity}}
		echo "      - {name: $b$3, address: \"$address\"$more}"
	done
}

agent_start()
{
	lab_bg agent lab_in edge "$WEIR" run -c $YAML "$@"
}

# Packets of a reason, of all services and of none.
reason() # NAME
{
	of_json "sum(s['reasons'].get('$1', {'packets': 0})['packets'] for s in d['services'] + [d['no_service']])" \
		weir stats --json
}

reload()
{
	weir reload -q -c $YAML >/dev/null
}

# A Python expression over the backends by name, b['b1']['active'] and so on.
backends() # EXPRESSION
{
	of_json "(lambda b: $1)({x['name']: x for x in d['backends']})" weir backend show --json
}

# What they have open, really: "12 12 12 12".
real_connections() # [PORT]
{
	local b

	for b in "${BACKENDS[@]}"; do
		lab_in "$b" ss -Htn state established "sport = :${1:-80} and not dst 10.3.0.1 and not dst [fd03::1]" | wc -l
	done | paste -sd' '
}

active()
{
	local b

	backends "' '.join(str(sum(x['active'] for n, x in b.items() if n[:2] == w)) for w in ('b1', 'b2', 'b3', 'b4'))"
}

counts_agree()
{
	ACTIVE=$(active)
	[ "$ACTIVE" = "$(real_connections)" ]
}

# `active` of each backend is what it has open, within three seconds: connections that just begin or end are seen
# by one of both.
tap_counted() # SENTENCE
{
	if lab_wait_for 3 counts_agree; then
		tap_result "$1" 0
	else
		tap_note "$(weir flow show --count)"
		tap_is "$1" "$ACTIVE" "$(real_connections)"
	fi
}

tap_none_counted() # SENTENCE
{
	lab_wait_for 3 eval '[ "$(active)" = "0 0 0 0" ]' || weir flow show -q --limit 20 state=open | sed 's/^/# /'
	tap_is "$1" "$(active)" "0 0 0 0"
}

### Load

load_py() # CLIENT ARGUMENT...: load.py there, to its end
{
	lab_in "$1" python3 "$NET_DIR/load.py" "${LOAD[@]}" "${@:2}"
}

load_start() # NAME CLIENT ARGUMENT...: in the background
{
	rm -f "$LAB_DIR/$1.log"
	lab_bg "$1" lab_in "$2" python3 "$NET_DIR/load.py" "${LOAD[@]}" "${@:3}"
}

# Waits for a report of this kind, the N-th.
load_wait() # NAME WHAT [SECONDS] [N]
{
	lab_wait_for "${3:-20}" eval "[ \$(grep -c '\"what\": \"$2\"' '$LAB_DIR/$1.log') -ge ${4:-1} ]" && return
	tap_note "no report '$2' of $1: $(tail -n3 "$LAB_DIR/$1.log")"
	return 1
}

# A signal, and the report that follows.
load_signal() # NAME SIGNAL WHAT [SECONDS]
{
	local before
	before=$(grep -c "\"what\": \"$3\"" "$LAB_DIR/$1.log")
	kill -s "$2" "$(lab_pid "$1")"
	load_wait "$1" "$3" "${4:-30}" $((before + 1))
}

load_end() # NAME WHAT
{
	load_signal "$1" TERM "$2"
	lab_stop "$1"
}

# A Python expression over the last report, `d`.
told() # NAME EXPRESSION
{
	tail -n1 "$LAB_DIR/$1.log" | of_json "$2" cat
}

# How uneven it is: the most that a backend has over the mean, by share of what it should have. Whole percent.
uneven() # "{'b1': 5, ...}" [SHARE...]: shares of b1 .. b4, 1 each
{
	"${PYTHON[@]}" -c '
import sys
counts, shares = eval(sys.argv[1]), [float(a) for a in sys.argv[2:]] or [1, 1, 1, 1]
loads = [counts.get("b%d" % (i + 1), 0) / s for i, s in enumerate(shares)]
print(round(100 * max(loads) * sum(shares) / max(1, sum(counts.values()))))' "$@"
}

# Nothing failed of what the last report is about, and there was much.
none_failed() # SENTENCE NAME [AT-LEAST]
{
	tap_is "$1" "$(told "$2" "d['errors']")" "{}"
	[ $# -lt 3 ] || tap_ok "  of many" [ "$(told "$2" "d['ok']")" -ge "$3" ]
}

### Rows that each kind of delivery passes

# Connections that stay: who has how many, by what clients, servers and the edge say.
spread() # SENTENCE TARGET COUNT MOST-OF-MEAN-PERCENT [SHARE...]
{
	local most

	load_start spread c1 hold "$2" "$3"
	load_wait spread opened
	none_failed "$1: every connection is answered" spread "$3"
	tap_counted "  and counted, at the backend that has it"
	most=$(uneven "$(told spread "str(d['backends'])")" "${@:5}")
	tap_note "$(told spread "str(d['backends'])"): $most% of the mean at most"
	tap_ok "  and each backend has its share" [ "$most" -le "$4" ]
	load_end spread closed
	tap_none_counted "  and not when they are closed"
}

# Out by another interface, and by the one that packets came in on.
spread_all() # COUNT
{
	spread "IPv4, by two interfaces" $VIP:80 "$1" 104
	spread "IPv6, by two interfaces" "[$VIP6]:80" "$1" 104
	one_arm
	spread "IPv4, out by the same interface" $VIP:80 "$1" 104
	spread "IPv6, out by the same interface" "[$VIP6]:80" "$1" 104
	two_arms
}

# A link of 1300 bytes behind the router: it tells the VIP, and that is the edge.
narrow_client()
{
	local vip before

	for vip in $VIP:80 "[$VIP6]:80"; do
		ip -n router link set c1 mtu 1300
		before=$(reason icmp_error)
		load_start big c1 get "$vip" 4 /big
		load_wait big 'done' 30
		none_failed "$vip: a smaller MTU on the client's side: downloads are whole" big 4
		tap_ok "  for the router's errors reach the backends" [ "$(reason icmp_error)" -gt "$before" ]
		ip -n router link set c1 mtu 1500
	done
}

# A smaller one on the edge's way to backends: it tells clients itself.
narrow_backends() # MTU-REGEX
{
	local host vip before

	for host in $VIP $VIP6; do
		[ $host = $VIP ] && vip=$VIP:80 || vip="[$VIP6]:80"
		before=$(reason too_big)
		load_start put c2 put "$vip" 48 100000
		load_wait put 'done' 30
		none_failed "$vip: a smaller MTU on the edge's side: uploads arrive" put 48
		tap_is "  at each backend" "$(told put "len(d['backends'])")" 4
		tap_ok "  for the client is told" [ "$(reason too_big)" -gt "$before" ]
		tap_like "  how long packets may be" "$(lab_in c2 ip route get $host)" "mtu $1 "
	done
}

hops_used_up()
{
	tap_is "TTL used up: the address itself says so" "$(load_py c1 ttl $VIP:80 tcp 2)" \
		"icmp4 type 11 code 0 from $VIP"
	tap_is "  over IPv6, too" "$(load_py c1 ttl "[$VIP6]:80" tcp 2)" "icmp6 type 3 code 0 from $VIP6"
	tap_is "  and one more is enough" "$(load_py c1 ttl $VIP:80 tcp 3)" nobody
}

# A UDP service on port 5353, short and long datagrams.
datagrams()
{
	local b vip

	for b in "${BACKENDS[@]}"; do
		lab_bg udp-$b lab_in $b python3 "$NET_DIR/load.py" udp-serve $b 5353
		lab_wait_port $b 5353 udp
	done
	for vip in $VIP:5353 "[$VIP6]:5353"; do
		load_start udp c1 udp "$vip" 80 600
		load_wait udp udp
		none_failed "$vip: datagrams are answered" udp 80
		tap_ok "  by each backend" [ "$(uneven "$(told udp "str(d['backends'])")")" -le 110 ]
		# Where the first to be too long are lost, their sender is told.
		load_py c1 --timeout 0.3 udp "$vip" 8 5000 >/dev/null
		load_start udp c1 --repeat 5 udp "$vip" 20 5000
		load_wait udp udp
		none_failed "  in fragments, too, all by the one that has the first" udp 20
	done
}

# HTTP servers that take uploads, in place of nginx.
serve_all()
{
	local b

	for b in "${BACKENDS[@]}"; do
		lab_stop $b
		lab_bg $b lab_in $b python3 "$NET_DIR/load.py" serve $b 80
		lab_wait_port $b 80
	done
}

uptime_s() # as load.py's times
{
	cut -d' ' -f1 /proc/uptime
}

# Takes a backend off the net, as a cut cable does, or puts it back.
cable() # BACKEND up|down
{
	ip -n "$1" link set eth0 "$2"
	[ "$2" = up ] || return 0
	# What goes with an interface that is down.
	ip -n "$1" addr replace "fd03::1${1#b}/64" dev eth0 nodad
	ip -n "$1" route replace default via 10.3.0.254
	ip -n "$1" -6 route replace default via fd03::254
	ip -n "$1" route replace 10.3.0.0/24 dev eth0 table 100
	ip -n "$1" route replace default via 10.3.0.1 table 100
	ip -n "$1" -6 route replace fd03::/64 dev eth0 table 100
	ip -n "$1" -6 route replace default via fd03::1 table 100
}
