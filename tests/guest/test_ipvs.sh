#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.12
#
# Beside the kernel's own load balancer, IPVS with weighted least connections (wlc): the same clients, servers and
# direct routing. Weir must spread no worse.

. "$(dirname "$0")/../net/steer.sh"
[ -e /vm/command ] || tap_skip_all "runs in a guest only: vm/run.sh"
steer_start "$@"
cd $LAB_DIR || exit 1
nginx_all
COUNT=$((800 / SLOWER))

ipvs() # ARGUMENT...
{
	lab_in edge ipvsadm "$@"
}

# For IPVS the address is the host's own; to Weir that makes no difference.
lab_addr edge lo $VIP/32

### One of the two, with weights for b1 .. b4

ipvs_on() # WEIGHT...
{
	local i=0 weight

	modprobe -q ip_vs_wlc
	ipvs -A -t $VIP:80 -s wlc || return 1
	for weight; do
		i=$((i + 1))
		ipvs -a -t $VIP:80 -r "10.3.0.1$i:80" -g -w "$weight" || return 1
	done
}

ipvs_off()
{
	ipvs -C
}

weir_on() # CAPACITY...
{
	CAPACITY_b1=$1 CAPACITY_b2=$2 CAPACITY_b3=$3 CAPACITY_b4=$4 steer_yaml >$YAML
	weir_load >load.log 2>&1 || { cat load.log; return 1; }
	neighbours
}

weir_off()
{
	weir unload >/dev/null
}

# Connections that stay: sets MOST, what a backend has at most over its share, in percent.
measure() # WHO WEIGHT...
{
	local who=$1
	shift
	tap_ok "$who, weights $*: is on" "${who}_on" "$@"
	load_start spread c1 hold $VIP:80 $COUNT
	load_wait spread opened 60
	none_failed "  every connection is answered" spread $COUNT
	MOST=$(uneven spread "$@")
	tap_note "$who: $(told spread "str(d['backends'])"), $MOST% of the mean at most"
	load_end spread closed
	"${who}_off"
}

for weights in '1 1 1 1' '1 2 4 1'; do
	# shellcheck disable=SC2086
	measure ipvs $weights
	theirs=$MOST
	# shellcheck disable=SC2086
	measure weir $weights
	tap_ok "weights $weights: Weir spreads no worse than IPVS, to a connection or two" \
		[ "$MOST" -le $((theirs + 4)) ]
done
tap_done
