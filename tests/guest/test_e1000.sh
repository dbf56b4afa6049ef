#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=lan,model=e1000e --nic hub=lan --nic hub=old,model=e1000 --nic hub=old
# vm-kernels: *-generic
#
# NICs whose drivers have no native XDP: Weir falls back to generic mode and says so, or refuses when native
# was asked for.

. "$(dirname "$0")/common.sh"
guest_start 2

LONG=$(printf 'x%.0s' {1..1300})

configure() # DEV HOST
{
	cat >$YAML <<-EOF
		interfaces: [{name: $1}]
		cache: {capacity: 1000, memory: 4M}
		services:
		  - name: cache
		    vips: ["$2:11211"]
		    clients: ["${2%.*}.0/24"]
		    origin: $2:11211
	EOF
}

# Exit status, then what the command says.
said() # COMMAND...
{
	local out
	out=$("$@" 2>&1)
	echo "$? $out"
}

is_clean()
{
	[ -z "$(leftovers)" ]
}

tap_clean() # SENTENCE
{
	lab_wait_for 5 is_clean
	tap_is "$1" "$(leftovers)" ""
}

falls_back() # DEV DRIVER
{
	tap_like "$2: doctor does not promise native XDP" "$(said weir doctor -i "$1")" \
		"driver +$2 is not known to run XDP natively"
	tap_like "  load falls back, and says so: 5" "$(said weir load -c $YAML)" \
		"^5 .*$1: attached, generic.*warning: $1: GENERIC MODE: the driver cannot run XDP natively"
	tap_like "  status does, too: 5" "$(said weir status)" \
		"^5 weir is answering.* $1 +generic.*egress program on.*$1: generic mode, since the driver"
	tap_like "  and in JSON" "$(weir status --json 2>/dev/null)" '"mode": "generic"'
}

# The origin has `cold`; `hot` and `long` are only in the hot set.
answers() # HOST
{
	printf 'hot,value\nlong,%s\n' "$LONG" | weir cache warm -q - >/dev/null
	export ASK_TO=$1:11211
	tap_counts "  a hit" hit 1 ask 'get hot'
	tap_is "  is answered" "$OUT" 'VALUE hot 0 5\r\nvalue\r\nEND\r\n'
	# Generic frames are made longer by the kernel: there is room for any value.
	tap_counts "  a hit on a long value" hit 1 ask 'get long'
	tap_is "  is answered" "$OUT" "VALUE long 0 1300\\r\\n$LONG\\r\\nEND\\r\\n"
	tap_counts "  a write" write 1 ask 'set cold 0 0 4\r\ncold'
	tap_is "  reaches memcached" "$OUT" 'STORED\r\n'
	tap_counts "  a miss" miss 1 ask 'get cold'
	tap_is "  is memcached's" "$OUT" 'VALUE cold 0 4\r\ncold\r\nEND\r\n'
}

stays_through_reload() # DEV
{
	tap_like "  reload stays in generic mode: 5" "$(said weir reload -c $YAML)" \
		"^5 .*$1: attached, generic.*GENERIC MODE"
	tap_counts "  a hit" hit 1 ask 'get hot'
	tap_is "  is still answered" "$OUT" 'VALUE hot 0 5\r\nvalue\r\nEND\r\n'
	tap_ok "  unload" weir unload
	tap_clean "  leaves nothing"
	tap_is "  and memcached answers" "$(ask 'get cold' 'get hot')" 'VALUE cold 0 4\r\ncold\r\nEND\r\n
END\r\n'
}

asked_for() # DEV
{
	tap_like "  native was asked for: load refuses, 3: not here" \
		"$(said weir load -c $YAML -i "$1" --mode native)" \
		"^3 .*$1: the driver takes no native XDP program \(try --mode generic\)"
	tap_clean "  and leaves nothing"
	tap_like "  generic was asked for: 0, no warning" \
		"$(said weir load -q -c $YAML -i "$1" --mode generic)" "^0 .*$1: attached, generic"
	tap_like "  and status has none" "$(said weir status)" "^0 weir is answering"
	tap_ok "  unload" weir unload
	tap_clean "  leaves nothing"
}

for row in "eth0 10.7.0.1 e1000e" "eth1 10.8.0.1 e1000"; do
	read -r dev host driver <<<"$row"
	configure "$dev" "$host"
	tap_like "$dev is driven by $driver" "$(lab_in server ethtool -i "$dev")" "driver: $driver"$'\n'
	falls_back "$dev" "$driver"
	answers "$host"
	stays_through_reload "$dev"
	asked_for "$dev"
done
tap_done
