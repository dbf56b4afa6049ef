#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# vm/check: which tests share a guest, and what is kept of each when their guest goes wrong. In a tree of its
# own, where a script stands for vm/run.sh, and no guest boots.

. "$(dirname "$0")/../../scripts/lab.sh"

tmp=$(mktemp -d /tmp/weir-test.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
TREE=$tmp/tree
export FAKE=$tmp/fake
unset WEIR_BUILD TEST_TIMEOUT VM_QEMU

write_test() # NAME HEAD
{
	printf '#!/bin/bash\n%s\n' "$2" >"$TREE/tests/$1.sh"
}

# Tests a (long), b, c in labs; nic and nic2 on the guest's own NICs; cpus with an option; old on one kernel.
write_tree()
{
	mkdir -p "$TREE"/{vm,scripts,build,tests/net,tests/guest,tests/bpf}
	cp "$LAB_ROOT"/vm/{check,matrix.py} "$TREE/vm"
	cp "$LAB_ROOT"/scripts/kernels-table "$LAB_ROOT/scripts/lab.sh" "$TREE/scripts"
	touch "$TREE/Makefile"
	echo '# vm: --env VERIFIER_JSON=/out/verifier.json' >"$TREE/scripts/verifier-stats"
	printf '%s\n' 'k1 1 cloud x' 'k2 2 cloud x' >"$TREE/vm/kernels.txt"
	sed -i 's/^WEIGHTS = .*/WEIGHTS = {"demo": 999, "net\/test_a": 200}/; /^WEIGHTS/,/^OTHERS/{/^  /d}' "$TREE/vm/matrix.py"
	for name in net/test_a net/test_b net/test_c net/test_d; do
		write_test $name ""
	done
	write_test net/test_cpus "# vm: --cpus 2"
	write_test net/test_old "# vm-kernels: k1"
	write_test guest/test_nic "# vm: --nic hub=lan"
	write_test guest/test_nic2 "# vm: --nic hub=lan"
	printf '#!/bin/bash\nexit 0\n' >"$TREE/vm/kernel.sh"
	printf '#!/bin/bash\nexit $(cat "$FAKE/demo" 2>/dev/null || echo 0)\n' >"$TREE/vm/demo.sh"
	cp "$tmp/run.sh" "$TREE/vm/run.sh"
	chmod +x "$TREE"/vm/*.sh
}

# Instead of a guest: $FAKE/TEST says what becomes of a test (ok), or with which status the guest ends in it. The
# words that it was started with are kept.
write_run()
{
	cat >"$tmp/run.sh" <<-'EOF'
		#!/bin/bash
		echo "$*" >>"$FAKE/started"
		while [ "$1" != -- ]; do
			[ "$1" != --out ] || out=$2
			shift
		done
		shift 2
		rm -rf "$out/files" && mkdir -p "$out/files"
		status=0
		for words in "$@"; do
			read -r test program <<<"$words"
			what=$(cat "$FAKE/$test" 2>/dev/null || echo ok)
			echo "$test: $what" >>"$out/output.log"
			state=ok
			case $what in
			ok) ;;
			FAIL) state=FAIL status=1 ;;
			complains) status=120 ;;
			dies-after) status=121 ;;
			half) echo '[{"name": "' >"$out/files/$test.json"; status=121; break ;;
			*) status=$what; break ;;
			esac
			echo '[{"name": "'$test'", "seconds": 2.0, "tests": [{"state": "'$state'", "sentence": "'$test' works",
				"why": null, "details": ["seen"]}]}]' >"$out/files/$test.json"
		done
		printf '%s\n' kernel=1.2.3 accel=tcg why="it is $status" >"$out/verdict"
		exit $status
	EOF
}

# vm/check with tests that do as they are told; its status last. How long it took is left out.
check() # [TEST=WHAT...] -- WORD...
{
	rm -rf "$FAKE" "$TREE/build/vm" && mkdir "$FAKE"
	while [ "$1" != -- ]; do
		echo "${1#*=}" >"$FAKE/${1%%=*}"
		shift
	done
	shift
	VM_QEMU=$tmp/qemu timeout 60 "$TREE/vm/check" "$@" 2>&1 | sed -E 's/, 0 min [0-9]+ s$//; /^vm: note/d'
	echo "status ${PIPESTATUS[0]}"
}

kept() # KERNEL TEST EXPRESSION-OF-PYTHON
{
	python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))["tests"][sys.argv[2]]
print(eval(sys.argv[3]))' "$TREE/build/vm/check/$1.json" "$2" "$3"
}

test_plan()
{
	tap_is "tests of one sort share a guest until it is full; NICs and the demo do not" \
		"$("$TREE/vm/check" --dry-run | sed 's/  *$//')" \
"k1           demo
k2           demo
k1           net/test_a net/test_b net/test_c
k2           net/test_a net/test_b net/test_c
k1           net/test_d net/test_old
k1           bpf                      --env VERIFIER_JSON=/out/verifier.json
k1           net/test_cpus            --cpus 2
k1           guest/test_nic           --nic hub=lan
k1           guest/test_nic2          --nic hub=lan
k2           bpf                      --env VERIFIER_JSON=/out/verifier.json
k2           net/test_cpus            --cpus 2
k2           net/test_d
k2           guest/test_nic           --nic hub=lan
k2           guest/test_nic2          --nic hub=lan
14 guests"
	tap_is "  one is just one" "$("$TREE/vm/check" --dry-run --kernel k2 net/test_b | sed 's/  *$//')" \
"k2           net/test_b
1 guests"
}

test_good()
{
	tap_is "each test has its line" "$(check -- --kernel k1 net/test_a net/test_b net/test_old)" \
"ok   k1     net/test_a               1 passed  (2 s)
ok   k1     net/test_b               1 passed  (2 s)
ok   k1     net/test_old             1 passed  (2 s)
3 of 3 test runs on 1 kernels
3 passed, 0 failed, 0 skipped
status 0"
	tap_like "  one guest ran them" "$(cat "$FAKE/started")" \
		"^k1 .*--timeout 1890 .*-- vm/guest/tests net-test_a tests/net/test_a.sh net-test_b tests/net/test_b.sh [^$]*$"
	tap_is "  and its result, with what it is of" "$(kept k1 net/test_b \
		'r["passed"], r["seconds"], r["release"], len(r["fingerprint"])')" "(1, 2.0, '1.2.3', 16)"
	tap_ok "  fingerprints are of each test" test "$(kept k1 net/test_a 'r["fingerprint"]')" != \
		"$(kept k1 net/test_b 'r["fingerprint"]')"
	tap_is "a test that fails is that test's failure" \
		"$(check net-test_b=FAIL -- --kernel k1 net/test_a net/test_b net/test_c)" \
"ok   k1     net/test_a               1 passed  (2 s)
    seen
     k1 net/test_b: net-test_b works
FAIL k1     net/test_b               0 passed, 1 failed  (2 s)
     logs: $(realpath --relative-to=. "$TREE")/build/vm/check/k1/net-test_a+2
ok   k1     net/test_c               1 passed  (2 s)
3 of 3 test runs on 1 kernels
2 passed, 1 failed, 0 skipped
status 1"
}

# The lines of check that say what came of a test.
states() # WORD...
{
	check "$@" -- --kernel k1 net/test_a net/test_b net/test_c | grep -E '^(ok|FAIL) |\(in the guest of|^status'
}

test_bad()
{
	local guest=" (in the guest of net/test_a net/test_b net/test_c)"
	tap_is "a guest that dies: what had ended counts, the rest failed, with the reason" \
		"$(states net-test_b=121)" \
"ok   k1     net/test_a               1 passed  (2 s)
     k1 net/test_b: the guest died: it is 121$guest
FAIL k1     net/test_b               0 passed, 1 failed  (0 s)
     k1 net/test_c: the guest died: it is 121$guest
FAIL k1     net/test_c               0 passed, 1 failed  (0 s)
status 1"
	tap_is "  half of a result is none" "$(states net-test_b=half | grep -c ^FAIL)" 2
	tap_is "  after the last test: all failed" "$(states net-test_c=dies-after | grep -c ^FAIL)" 3
	tap_is "one that does not come up: all failed" "$(states net-test_a=123 | grep -c "^FAIL\|in time: it")" 6
	tap_is "one that cannot be: so, too" "$(states net-test_a=122 | grep -c '^FAIL\|there is no guest: it')" 6
	tap_is "a time-out of the guest: those without a result" "$(states net-test_c=124 | grep -c ^FAIL)" 1
	tap_is "a kernel that complains: all failed, and what they found is kept" "$(states net-test_b=complains)" \
"     k1 net/test_a: the kernel complained: it is 120$guest
FAIL k1     net/test_a               1 passed, 1 failed  (2 s)
     k1 net/test_b: the kernel complained: it is 120$guest
FAIL k1     net/test_b               1 passed, 1 failed  (2 s)
     k1 net/test_c: the kernel complained: it is 120$guest
FAIL k1     net/test_c               1 passed, 1 failed  (2 s)
status 1"
	tap_is "an end without results: failed" "$(states net-test_c=0 | grep -v '^ok')" \
"     k1 net/test_c: no results came back$guest
FAIL k1     net/test_c               0 passed, 1 failed  (0 s)
status 1"
	tap_is "a failure that no test knows of: all failed" "$(states net-test_c=1 | grep -c ^FAIL)" 1
}

test_demo()
{
	tap_is "the demo is one test, without a guest of its own" "$(check -- --kernel k1 demo)" \
"ok   k1     demo                     1 passed  (0 s)
1 of 1 test runs on 1 kernels
1 passed, 0 failed, 0 skipped
status 0"
	tap_like "  that can fail" "$(check demo=3 -- --kernel k1 demo)" "k1 demo: status 3.FAIL .*0 passed, 1 failed"
}

printf '#!/bin/sh\necho "QEMU emulator version 1.0 (x)"\n' >"$tmp/qemu" && chmod +x "$tmp/qemu"
write_run
write_tree
test_plan
test_good
test_bad
test_demo
tap_done
