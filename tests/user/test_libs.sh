#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# What is loaded with the program, and what only when it is needed; and what is said where that is missing. Of the
# agent: tests/net/test_agent_libs.sh.
. "$(dirname "$0")/../../scripts/lab.sh"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

checked_by() # TYPE
{
	cat <<-EOF
		interfaces: [{name: eth0}]
		services: [{name: web, vips: ["192.0.2.1:80"], pool: web}]
		pools:
		  - name: web
		    check: {type: $1}
		    backends: [{name: b1, address: 192.0.2.2}]
	EOF
}
for type in tcp http https; do
	checked_by $type >"$tmp/$type.yaml"
done

# The file of that name that a build would link with says by which it is to be loaded.
soname_of() # LIBRARY
{
	objdump -p "$(realpath "$(gcc -print-file-name="$1.so")")" | awk '$1 == "SONAME" { print $2 }'
}

weir_with() # DIRECTORY WORD...: libraries are looked for there first
{
	LD_LIBRARY_PATH=$1 timeout 20 "$WEIR" "${@:2}"
}

check_fails() # DIRECTORY FILE WANTED
{
	local out status
	out=$(weir_with "$1" check -c "$2" 2>&1 >/dev/null)
	status=$?
	[ $status = 1 ] && [[ $out == *"$3"* ]] || { echo "status $status: $out"; return 1; }
}

loaded=$(ldd "$WEIR")
tap_note "libraries: $(wc -l <<<"$loaded")"
tap_ok "ldd works on it" grep -q libbpf <<<"$loaded"
tap_is "no library of the agent's HTTP and bus is linked, nor what they bring along" \
	"$(grep -oE 'lib(curl|microhttpd|hiredis|gnutls|ssl|krb5|ldap)[^ ]*' <<<"$loaded" | sort -u)" ""
for lib in libcurl libmicrohttpd libhiredis; do
	tap_ok "$lib is looked for by the name that its header's has" grep -qF "$(soname_of $lib)" "$WEIR"
done

missing="needs the library of Debian's package libcurl4"
mkdir "$tmp/broken" "$tmp/empty"
for lib in libcurl.so.4 libmicrohttpd.so.12 libhiredis.so.0.14; do
	echo "no library" >"$tmp/broken/$lib"
	gcc -shared -Wl,-soname,$lib -o "$tmp/empty/$lib" -x c /dev/null || exit 1
done
tap_ok "without them the program starts" weir_with "$tmp/broken" --version
tap_ok "  and takes a configuration that needs none" weir_with "$tmp/broken" check -c "$tmp/tcp.yaml"
for type in http https; do
	tap_ok "with them, also one with checks of type $type" "$WEIR" check -c "$tmp/$type.yaml"
	tap_ok "  without, it says at that place what is missing, and where that is" check_fails "$tmp/broken" \
		"$tmp/$type.yaml" "$type.yaml:5: pools[0].check.type: $type $missing: $tmp/broken/libcurl.so.4: "
	tap_ok "  and of one that is too old, what it lacks" check_fails "$tmp/empty" \
		"$tmp/$type.yaml" "package libcurl4: $tmp/empty/libcurl.so.4: undefined symbol: curl_"
done
weir_with "$tmp/broken" check --json -c "$tmp/http.yaml" >"$tmp/json" 2>/dev/null
tap_like "  the same in JSON" "$(cat "$tmp/json")" '"field": "pools\[0\].check.type".*libcurl4'
cat >"$tmp/bus.yaml" <<-EOF
	interfaces: [{name: eth0}]
	bus: {redis: "192.0.2.9:6379"}
	services: [{name: a, vips: ["192.0.2.1:11211"], clients: [192.0.2.0/24]}]
EOF
tap_ok "with them, also one with a bus" "$WEIR" check -c "$tmp/bus.yaml"
tap_ok "  without, it says what is missing" check_fails "$tmp/broken" "$tmp/bus.yaml" \
	"bus.yaml:2: bus.redis: needs the library of Debian's package libhiredis0.14: $tmp/broken/libhiredis.so.0.14: "
tap_done
