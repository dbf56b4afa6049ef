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
STEER_FORWARDS=(net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1)
SLOW_KIB=$((64 / SLOWER)) # a second
LOAD=(--timeout $((5 * SLOWER)) --rate $((300 / SLOWER))) # of load.py, as a rule

### The lab

steer_start() # the script's "$@"
{
	local i

	lab_start "$@"
	ulimit -n "$(ulimit -Hn)"
	printf 'netns add %s\n' router edge segment "${CLIENTS[@]}" "${BACKENDS[@]}" | ip -batch - ||
		lab_die "cannot make namespaces"
	ip -n segment link add br0 type bridge 2>/dev/null || tap_skip_all "this kernel has no bridge"
	steer_links | ip -batch - || lab_die "cannot make links"
	steer_segment && steer_router && steer_edge || exit 1
	for i in 1 2 3; do
		steer_client $i || exit 1
	done
	for i in 1 2 3 4; do
		steer_backend $i || exit 1
	done
	two_arms
	client_start c1
}

# For `ip -batch`, as in all that follows: a process for each would take an emulated machine half a minute.
steer_links()
{
	local i

	echo "link add front netns router type veth peer name eth0 netns edge"
	echo "link add seg netns router type veth peer name router netns segment"
	echo "link add eth1 netns edge type veth peer name edge netns segment"
	for i in 1 2 3; do
		echo "link add eth0 netns c$i type veth peer name c$i netns router"
	done
	for i in 1 2 3 4; do
		echo "link add eth0 netns b$i type veth peer name b$i netns segment"
	done
}

# What lab_netns and lab_link do, and what `ip -batch` reads on standard input.
steer_netns() # NS "INTERFACE..." [SYSCTL=VALUE...]
{
	lab_in "$1" sh -ec '
		for dev in $1; do
			ethtool -K $dev tx off >/dev/null
			set -- "$@" net.ipv4.conf.$dev.rp_filter=0 net.ipv6.conf.$dev.accept_dad=0 \
				net.ipv6.conf.$dev.accept_ra=0
		done
		shift
		exec sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
			net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 "$@"' - "${@:2}" &&
		ip -n "$1" -batch - || lab_die "cannot set up $1"
}

steer_up() # INTERFACE...
{
	printf 'link set %s up\n' lo "$@"
}

# What makes the far end take frames sent by XDP: lab_native_peer.
steer_native() # INTERFACE...
{
	printf "link set %s xdpdrv obj $WEIR_BUILD/tests/bpf/xdp_pass.bpf.o sec xdp\n" "$@"
}

steer_segment()
{
	local ports="router edge ${BACKENDS[*]}"

	{
		printf 'link set %s master br0\n' $ports
		steer_up br0 $ports
		steer_native $ports
	} | steer_netns segment "$ports"
}

# Its errors are told to each backend that hears of them, and they are several behind one address: no limits of
# ICMP. Floods pretend to come from where the blackhole is.
steer_router()
{
	local i

	{
		steer_up front seg "${CLIENTS[@]}"
		steer_native front
		cat <<-EOF
			addr add 10.2.0.254/24 dev front
			addr add fd02::254/64 dev front nodad
			addr add 10.3.0.254/24 dev seg
			addr add fd03::254/64 dev seg nodad
			route add blackhole 198.18.0.0/15
		EOF
		for i in 1 2 3; do
			printf 'addr add %s dev c%s\n' 10.1.$i.1/24 $i "fd01:$i::1/64" "$i nodad"
		done
	} | steer_netns router "front seg ${CLIENTS[*]}" "${STEER_FORWARDS[@]}" net.ipv4.icmp_ratelimit=0 \
		net.ipv6.icmp.ratelimit=0
}

steer_edge()
{
	{
		steer_up eth0 eth1
		cat <<-EOF
			addr add 10.2.0.1/24 dev eth0
			addr add fd02::1/64 dev eth0 nodad
			addr add 10.3.0.1/24 dev eth1
			addr add fd03::1/64 dev eth1 nodad
			route add default via 10.2.0.254
			route add default via fd02::254
		EOF
	} | steer_netns edge "eth0 eth1" "${STEER_FORWARDS[@]}"
}

steer_client() # NUMBER
{
	{
		steer_up eth0
		cat <<-EOF
			addr add 10.1.$1.2/24 dev eth0
			addr add fd01:$1::2/64 dev eth0 nodad
			route add default via 10.1.$1.1
			route add default via fd01:$1::1
		EOF
	} | steer_netns "c$1" eth0
}

steer_backend() # NUMBER
{
	{
		steer_up eth0
		cat <<-EOF
			addr add 10.3.0.1$1/24 dev eth0
			addr add fd03::1$1/64 dev eth0 nodad
			addr add $VIP/32 dev lo
			addr add $VIP6/128 dev lo nodad
			rule add from 10.3.0.1$1 table 100
		EOF
		steer_routes
	} | steer_netns "b$1" eth0 net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 &&
		ip -n "b$1" -6 rule add from "fd03::1$1" table 100
}

# Of a backend.
steer_routes()
{
	cat <<-EOF
		route replace default via 10.3.0.254
		route replace default via fd03::254
		route replace 10.3.0.0/24 dev eth0 table 100
		route replace default via 10.3.0.1 table 100
		route replace fd03::/64 dev eth0 table 100
		route replace default via fd03::1 table 100
	EOF
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
	lab_in edge sh -c 'for to; do ping -qc1 -W2 $to & done; wait' - {10.3.0.,fd03::}1{1,2,3,4} \
		10.2.0.254 fd02::254 >/dev/null 2>&1
}

### Servers

# nginx: / is its name at once, /slow a download of some seconds, /big a quick one.
nginx_start() # BACKEND
{
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
				location /slow { alias $LAB_DIR/slow; limit_rate ${SLOW_KIB}k; }
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
	mkdir -p "${BACKENDS[@]/#/$LAB_DIR/}"
	truncate -s 1M $LAB_DIR/big
	truncate -s $((SLOW_KIB * (SLOWER == 1 ? 4 : 8)))K $LAB_DIR/slow
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
real_connections()
{
	local b counts=() open

	for b in "${BACKENDS[@]}"; do
		mapfile -t open < <(lab_in "$b" ss -Htn state established \
			"sport = :80 and not dst 10.3.0.1 and not dst [fd03::1]")
		counts+=(${#open[@]})
	done
	echo "${counts[*]}"
}

active()
{
	backends "' '.join(str(sum(x['active'] for n, x in b.items() if n[:2] == w)) for w in ('b1', 'b2', 'b3', 'b4'))"
}

counts_agree()
{
	ACTIVE=$(active) REAL=$(real_connections)
	[ "$ACTIVE" = "$REAL" ]
}

# `active` of each backend is what it has open, within three seconds: connections that just begin or end are seen
# by one of both.
tap_counted() # SENTENCE
{
	if lab_wait_for 3 counts_agree; then
		tap_result "$1" 0
	else
		tap_note "$(weir flow show --count)"
		tap_is "$1" "$ACTIVE" "$REAL"
	fi
}

none_active()
{
	ACTIVE=$(active)
	[ "$ACTIVE" = "0 0 0 0" ]
}

tap_none_counted() # SENTENCE
{
	lab_wait_for 3 none_active || tap_note "$(weir flow show -q --limit 20 state=open)"
	tap_is "$1" "$ACTIVE" "0 0 0 0"
}

### Load

load_py() # NS ARGUMENT...: load.py there, to its end
{
	client $CLIENT_NS load --wait "$1" $LAB_DIR/load_py.log "${LOAD[@]}" "${@:2}" >/dev/null
	echo "$(<$LAB_DIR/load_py.log)"
}

load_start() # NAME NS ARGUMENT...: in the background
{
	LAB_PIDS[$1]=$(client $CLIENT_NS load "$2" "$LAB_DIR/$1.log" "${LOAD[@]}" "${@:3}") ||
		lab_die "load.py does not start: ${LAB_PIDS[$1]}"
}

# Of all its reports and of those of this kind: sets REPORTS, how many, and LAST.
load_reports() # NAME [WHAT]
{
	local line

	REPORTS=0 LAST=
	while read -r line; do
		[[ $line != *"\"what\": \"${2:-}"* ]] || REPORTS=$((REPORTS + 1)) LAST=$line
	done <"$LAB_DIR/$1.log"
}

load_reported() # NAME WHAT N
{
	load_reports "$1" "$2\""
	[ $REPORTS -ge "$3" ]
}

# Waits for a report of this kind, the N-th.
load_wait() # NAME WHAT [SECONDS] [N]
{
	lab_wait_for "${3:-20}" load_reported "$1" "$2" "${4:-1}" && return
	tap_note "no report '$2' of $1: $(tail -n3 "$LAB_DIR/$1.log")"
	return 1
}

# A signal, and the report that follows.
load_signal() # NAME SIGNAL WHAT [SECONDS]
{
	load_reports "$1" "$3\""
	kill -s "$2" "${LAB_PIDS[$1]}"
	load_wait "$1" "$3" "${4:-30}" $((REPORTS + 1))
}

load_end() # NAME WHAT
{
	load_signal "$1" TERM "$2"
	lab_stop "$1"
}

# A Python expression over the last report, `d`.
told() # NAME EXPRESSION
{
	load_reports "$1"
	of_json "$2" echo "$LAST"
}

# How uneven it is: the most that a backend has over the mean, by share of what it should have. Whole percent.
uneven() # NAME [SHARE...]: by the last report; shares of b1 .. b4, 1 each
{
	local shares=${*:2}

	shares=${shares:-1 1 1 1}
	told "$1" "(lambda shares: round(100 * sum(shares) / max(1, sum(d['backends'].values())) *
		max(d['backends'].get('b%d' % (i + 1), 0) / s for i, s in enumerate(shares))))([${shares// /, }])"
}

# Nothing failed of what the last report is about, and there was much.
none_failed() # SENTENCE NAME [AT-LEAST]
{
	local errors ok

	{ read -r ok && read -r errors; } < <(told "$2" "'%d\n%s' % (d['ok'], json.dumps(d['errors']))")
	tap_is "$1" "$errors" "{}"
	[ $# -lt 3 ] || tap_ok "  of many" [ "$ok" -ge "$3" ]
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
	most=$(uneven spread "${@:5}")
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
	local vip before count
	count=$(rounds 4)

	for vip in $VIP:80 "[$VIP6]:80"; do
		ip -n router link set c1 mtu 1300
		before=$(reason icmp_error)
		load_start big c1 get "$vip" "$count" /big
		load_wait big 'done' 30
		none_failed "$vip: a smaller MTU on the client's side: downloads are whole" big "$count"
		tap_ok "  for the router's errors reach the backends" [ "$(reason icmp_error)" -gt "$before" ]
		ip -n router link set c1 mtu 1500
	done
}

# A smaller one on the edge's way to backends: it tells clients itself.
narrow_backends() # MTU-REGEX
{
	local host vip before count
	count=$(rounds 48)

	for host in $VIP $VIP6; do
		[ $host = $VIP ] && vip=$VIP:80 || vip="[$VIP6]:80"
		before=$(reason too_big)
		load_start put c2 put "$vip" "$count" 100000
		load_wait put 'done' 30
		none_failed "$vip: a smaller MTU on the edge's side: uploads arrive" put "$count"
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
	tap_is "  and one more is enough" "$(load_py c1 ttl $VIP:80 tcp 3)" answered
}

# A UDP service on port 5353, short and long datagrams.
datagrams()
{
	local b vip

	for b in "${BACKENDS[@]}"; do
		load_start udp-$b $b udp-serve $b 5353
		lab_wait_port $b 5353 udp
	done
	for vip in $VIP:5353 "[$VIP6]:5353"; do
		load_start udp c1 udp "$vip" 80 600
		load_wait udp udp
		none_failed "$vip: datagrams are answered" udp 80
		tap_ok "  by each backend" [ "$(uneven udp)" -le 110 ]
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
		load_start $b $b serve $b 80
		lab_wait_port $b 80
	done
}

uptime_s() # as load.py's times
{
	local up rest

	read -r up rest </proc/uptime
	echo "$up"
}

# Takes a backend off the net, as a cut cable does, or puts it back.
cable() # BACKEND up|down
{
	{
		echo "link set eth0 $2"
		# What goes with an interface that is down.
		[ "$2" = down ] || {
			echo "addr replace fd03::1${1#b}/64 dev eth0 nodad"
			steer_routes
		}
	} | ip -n "$1" -batch -
}
