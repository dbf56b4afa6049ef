#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1 6.18
#
# Backends behind tunnels, which answer clients themselves: IPv4 and IPv6 in both. The kernel's own tunnel devices
# take off the outer header where it has them, else a program.

. "$(dirname "$0")/steer.sh"
steer_start "$@"
cd $LAB_DIR || exit 1
nginx_all

tunnel_devices() # BACKEND: fails where there are none
{
	modprobe -qa ipip sit ip6_tunnel 2>/dev/null
	ip -n "$1" link add t4 type ipip local "10.3.0.1${1#b}" remote any &&
		ip -n "$1" link add t64 type sit local "10.3.0.1${1#b}" remote any &&
		ip -n "$1" link add t6 type ip6tnl mode any local "fd03::1${1#b}" remote :: &&
		ip -n "$1" link set t4 up && ip -n "$1" link set t64 up && ip -n "$1" link set t6 up
}
for b in "${BACKENDS[@]}"; do
	if tunnel_devices $b 2>devices.log; then
		how="tunnel devices"
	else
		how="a program, for there are no tunnel devices"
		ip -n $b link set dev eth0 xdpdrv obj "$WEIR_BUILD/tests/bpf/xdp_decap.bpf.o" sec xdp ||
			lab_die "no far end of a tunnel: $(cat devices.log)"
	fi
done
tap_note "the far ends are $how"

# Two by IPv4, two by IPv6.
tunnel_yaml()
{
	DELIVERY=tunnel steer_yaml "$@" | sed 's/10\.3\.0\.1\([34]\)/fd03::1\1/'
}
tunnel_yaml >$YAML
weir_load >load.log 2>&1 || lab_die "weir is not loaded: $(cat load.log)"
neighbours

spread_all 80
narrow_client
hops_used_up
serve_all
narrow_backends '14[68]0' # what the tunnels leave

PORT=5353 PROTOCOL=udp tunnel_yaml >$YAML
tap_ok "a UDP service in its place" reload
datagrams

tap_is "no frame was left half written" "$(reason aborted)" 0
tap_ok "unload" weir unload -q
tap_is "  leaves nothing" "$(leftovers)" ""
tap_done
