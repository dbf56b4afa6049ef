# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2154
#
# NICs of a guest, from the words of --nic to those of qemu. Sourced by run.sh.
#
#	hub=NAME              qemu's hub, inside its process; one queue
#	hub=NAME,queues=N     a bridge of taps in a network namespace that goes with the guest
#	wire=FILE:a|b         a pair of datagram sockets, FILE.a and FILE.b: to another guest

declare -A taps_of=() # HUB -> TAP:QUEUES...: hubs with more than one queue

# A hub is qemu's own. It has one queue; with more it is a bridge of taps in a network namespace that
# goes with the guest, so that nothing of the host's networking is touched.
add_nic() # NUMBER SPEC
{
	local n=$1 word wire='' queues=1 model=virtio mac='' device='' netdev
	for word in ${2//,/ }; do
		case $word in
		hub=?* | wire=?*:[ab]) wire=$word ;;
		queues=[1-9] | queues=[1-9][0-9]) queues=${word#*=} ;;
		model=?*) model=${word#*=} ;;
		mac=??:??:??:??:??:??) mac=${word#*=} ;;
		hub* | wire* | queues* | model* | mac*) usage_die "--nic $2: '$word' is not understood" ;;
		?*=?*) device+=,$word ;;
		*) usage_die "--nic $2: '$word' is not understood" ;;
		esac
	done
	[ -n "$wire" ] || usage_die "--nic $2: hub=NAME or wire=FILE:a is needed"
	: "${mac:=$(printf %s "$name" | sha256sum | sed 's/\(..\)\(..\).*/52:54:00:\1:\2/'):$(printf %02x "$n")}"
	[ "$model" = virtio ] && model=virtio-net-pci
	[ "$queues" = 1 ] || device+=",mq=on,vectors=$((2 * queues + 2))"
	case $wire in
	wire=*)
		netdev=$(wire_end "${wire#*=}") || exit
		wires+=("${wire#*=}")
		;;
	hub=*) netdev=$(hub_end "$n" "${wire#*=}" "$queues") ;;
	esac
	[[ $netdev != tap,* ]] || taps_of[${wire#*=}]+=" tap$n:$queues"
	nic_args+=(-netdev "$netdev,id=nic$n" -device "$model,netdev=nic$n,mac=$mac,romfile=$device")
}

wire_end() # FILE:a|b
{
	local file=${1%:*} other=a
	[ "${1##*:}" = b ] || other=b
	[ ${#file} -le 100 ] || usage_die "--nic wire=$file: a path of more than 100 bytes"
	echo "dgram,local.type=unix,local.path=$file.${1##*:},remote.type=unix,remote.path=$file.$other"
}

hub_end() # NUMBER HUB QUEUES
{
	if [[ $multiqueue_hubs == *" $2 "* ]]; then
		echo "tap,ifname=tap$1,script=no,downscript=no,vhost=off,queues=$3"
	else
		echo "hubport,hubid=$(($(printf %s "$2" | cksum | cut -d' ' -f1) % 65536))"
	fi
}

# Sets nic_args, for qemu.
add_nics()
{
	local n=0 spec
	multiqueue_hubs=' ' nic_args=() wires=()
	for spec in ${nics[@]+"${nics[@]}"}; do
		[[ ,$spec, =~ ,queues=([2-9]|[1-9][0-9]), ]] && [[ ,$spec, =~ ,hub=([^,]+), ]] &&
			multiqueue_hubs+="${BASH_REMATCH[1]} "
	done
	for spec in ${nics[@]+"${nics[@]}"}; do
		add_nic $n "$spec"
		n=$((n + 1))
	done
}

# The sockets of wires, which qemu leaves.
remove_wires()
{
	local wire
	for wire in ${wires[@]+"${wires[@]}"}; do
		rm -f "${wire%:*}.${wire##*:}"
	done
}

# Runs inside the new network namespace: bridges and taps, then qemu.
write_tap_script() # FILE
{
	local hub tap kind n=0
	{
		echo 'set -e'
		echo 'no_tap() { echo "no tap: NICs of several queues need /dev/net/tun" >&2; exit 1; }'
		for hub in "${!taps_of[@]}"; do
			echo "ip link add br$n type bridge mcast_snooping 0"
			for tap in ${taps_of[$hub]}; do
				# qemu opens a tap of one queue in another way.
				[ "${tap#*:}" = 1 ] && kind=tap || kind='tap multi_queue'
				tap=${tap%:*}
				echo "ip tuntap add $tap mode $kind || no_tap"
				echo "ip link set $tap mtu 9200 master br$n up"
			done
			echo "ip link set br$n mtu 9200 up"
			n=$((n + 1))
		done
		echo 'exec "$@"'
	} >"$1"
	[ "$(id -u)" = 0 ] && in_netns=(unshare --net) || in_netns=(unshare --map-root-user --net)
	in_netns+=(bash "$1")
}
