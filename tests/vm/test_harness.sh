#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# The VM harness keeps its promises (vm/run.sh's header), and in a guest of the first kernel of
# vm/kernels.txt Weir works on a virtio NIC. Skips all where no guest can be had.

. "$(dirname "$0")/../../scripts/lab.sh"

RUN=$LAB_ROOT/vm/run.sh
AT=$LAB_ROOT/vm/at
KERNEL=$("$LAB_ROOT/vm/kernel.sh" --list | head -1)
export VM_CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir/vm} VM_BOOT_S=120
unset VM_QEMU VM_ACCEL

can_run_guests()
{
	local tool packages
	for tool in "${VM_QEMU:-qemu-system-x86_64}" cpio; do
		command -v "$tool" >/dev/null || tap_skip_all "no $tool: scripts/deps --vm installs what guests need"
	done
	mapfile -t packages < <(grep -v '^#' "$LAB_ROOT/vm/guest/packages.txt")
	dpkg-query -W "${packages[@]}" >/dev/null 2>&1 ||
		tap_skip_all "packages of the guest are not installed: scripts/deps --vm installs them"
	DIR=$(timeout 120 "$LAB_ROOT/vm/kernel.sh" "$KERNEL" 2>&1) || tap_skip_all "no kernel: ${DIR##*$'\n'}"
}

# run.sh in the background. Its streams, and what it keeps, go to a directory of this NAME.
boot() # NAME ARGUMENT...
{
	local name=$1
	shift
	mkdir -p "$tmp/$name"
	{
		timeout -k 5 200 "$RUN" --out "$tmp/$name" --cpus 1 --memory 640 "$@" \
			>"$tmp/$name/stdout" 2>"$tmp/$name/stderr"
		echo $? >"$tmp/$name/status"
	} &
}

status_of() # NAME
{
	cat "$tmp/$1/status"
}

why_of() # NAME
{
	sed -n 's/^why=//p' "$tmp/$1/verdict"
}

clean_up()
{
	local job
	for job in $(jobs -p); do
		pkill -TERM -P "$job"
	done
	wait
	rm -rf "$tmp"
}

### Bad words: status 2, and a message that names them

refuses() # MESSAGE ARGUMENT...
{
	local message=$1 out
	shift
	out=$(timeout 10 "$RUN" "$@" 2>&1 </dev/null)
	[ $? = 2 ] && [[ $out == *"$message"* ]] || { printf '%s: %s\n' "$*" "$out" && false; }
}

refuses_bad_words()
{
	local long bad=0
	long=$(printf '%0120d' 0)
	refuses "no kernel is named" -- true || bad=1
	refuses "no command" 6.1 || bad=1
	refuses "no option --nosuch" 6.1 --nosuch -- true || bad=1
	refuses "'true' after '6.1'" 6.1 true || bad=1
	refuses "--out needs a value" 6.1 --out || bad=1
	refuses "--timeout 0" 6.1 --timeout 0 -- true || bad=1
	refuses "--cpus two" 6.1 --cpus two -- true || bad=1
	refuses "--memory -1" 6.1 --memory -1 -- true || bad=1
	refuses "--name A B" 6.1 --name "A B" -- true || bad=1
	refuses "--env 1=x" 6.1 --env 1=x -- true || bad=1
	refuses "--env NAME" 6.1 --env NAME -- true || bad=1
	refuses "--put /nosuch" 6.1 --put /nosuch -- true || bad=1
	refuses "--nic eth0: 'eth0' is not" 6.1 --nic eth0 -- true || bad=1
	refuses "--nic queues=2: hub=NAME or" 6.1 --nic queues=2 -- true || bad=1
	refuses "'queues=0' is not" 6.1 --nic hub=a,queues=0 -- true || bad=1
	refuses "'mac=1' is not" 6.1 --nic hub=a,mac=1 -- true || bad=1
	refuses "'wire=/tmp/w' is not" 6.1 --nic wire=/tmp/w -- true || bad=1
	refuses "more than 100 bytes" 6.1 --nic "wire=/tmp/$long:a" -- true || bad=1
	refuses "--shell needs a terminal" 6.1 --shell || bad=1
	VM_ACCEL=fast refuses "VM_ACCEL=fast" 6.1 -- true || bad=1
	return $bad
}

### Where no guest can be: 122, and why

cannot() # MESSAGE ARGUMENT...
{
	local message=$1 out
	shift
	out=$(timeout 60 "$RUN" --out "$tmp/cannot" "$@" -- true 2>&1)
	[ $? = 122 ] && [[ $out == *"$message"* ]] || { printf '%s: %s\n' "$*" "$out" && false; }
}

fake_qemu() # TEXT-OF-A-SCRIPT
{
	printf '#!/bin/bash\n%s\n' "$1" >"$tmp/qemu" && chmod +x "$tmp/qemu"
}

test_no_guest()
{
	echo "no kernel at all" >"$tmp/text"
	tap_ok "no qemu: 122, and the package is named" env VM_QEMU=nosuch bash -c "$(declare -f cannot)
		RUN='$RUN' tmp='$tmp' cannot 'the package qemu-system-x86 holds it' $KERNEL"
	tap_ok "no such kernel: 122, and those that there are" cannot "one of $KERNEL" 2.4
	tap_ok "no bzImage: 122" cannot "not a bzImage" "$tmp/text"
	fake_qemu 'echo "qemu: Could not access KVM kernel module" >&2; exit 1'
	export VM_QEMU=$tmp/qemu VM_ACCEL=kvm
	tap_ok "no KVM: 122, qemu's words, and what to do" cannot \
		"Could not access KVM kernel module; VM_ACCEL=tcg is slower" "$KERNEL"
	fake_qemu 'sleep 60'
	export VM_BOOT_S=1
	tap_like "KVM hangs: 123, and what to do" \
		"$("$RUN" "$KERNEL" --out "$tmp/cannot" -- true 2>&1; echo $?)" \
		"did not come up in 1 s.*VM_ACCEL=tcg is slower.*123"
	VM_BOOT_S=120
	unset VM_QEMU VM_ACCEL
}

### VM_ACCEL=auto

# What a probe sees, and which accelerator is then taken. In a mount namespace, since a host may have a
# module that forbids KVM from the start; with a cache of its own, since the verdict is kept there.
accelerator_when() # BOOTS|HANGS|STOPS
{
	rm -rf "$tmp/cache" && mkdir "$tmp/cache" && ln -s "$VM_CACHE"/* "$tmp/cache" && rm -f "$tmp/cache"/kvm-*
	: >"$tmp/qemu.log"
	fake_qemu '
		echo "$*" >>'"$tmp/qemu.log"'
		[[ $* != *-initrd* ]] || exit 1
		[[ $* =~ -serial\ file:([^ ]*) ]]
		case '"$1"' in
		BOOTS) echo "Kernel panic - not syncing: VFS: Unable to mount" >"${BASH_REMATCH[1]}" ;;
		STOPS) echo "KVM internal error. Suberror: 1" >&2; exec sleep 60 ;;
		HANGS) exec sleep 60 ;;
		esac'
	for _ in 1 2; do
		VM_CACHE=$tmp/cache VM_QEMU=$tmp/qemu VM_PROBE_S=2 timeout 60 unshare --mount bash -c \
			'mount -t tmpfs none /sys/module && "$@"' bash "$RUN" "$KERNEL" --out "$tmp/auto" -- true \
			>/dev/null 2>&1
	done
	# How many probes, and what each guest was started with.
	echo $(grep -cv initrd "$tmp/qemu.log") $(grep initrd "$tmp/qemu.log" | grep -o 'accel \(kvm\|tcg\)')
}

test_accelerator()
{
	if [ "$(id -u)" != 0 ] || ! [ -w /dev/kvm ]; then
		tap_skip "VM_ACCEL=auto tries KVM" "needs root and a /dev/kvm"
		return
	fi
	tap_is "VM_ACCEL=auto: where a kernel boots with KVM, KVM; it is tried once" "$(accelerator_when BOOTS)" \
		"1 accel kvm accel kvm"
	tap_is "  where it hangs, TCG" "$(accelerator_when HANGS)" "1 accel tcg accel tcg"
	tap_is "  where qemu gives up, TCG, and at once" "$(accelerator_when STOPS)" \
		"1 accel tcg accel tcg"
}

### A guest that does all that is promised, and Weir in it

NASTY=$'two\nlines \t\\ "\'`$HOME` ${x} $(y) \xff ;&|<>*? '
WORDS=("a b" "it's" '"q"' '$HOME' '' '*' $'new\nline' $'\xfe' '--' '-x')

write_guest_scripts()
{
	mkdir "$tmp/things"
	echo "it came along" >"$tmp/things/a file"
	cat >"$tmp/things/program" <<-'EOF'
		#!/bin/bash
		cat "/data/things/a file"
		printf '%s\0' "$@" "$NASTY"
		seq 20000
		printf 'no end of line \0 \377 \r'
		mkdir '/out/a directory' && echo back >'/out/a directory/file' && chmod 640 '/out/a directory/file'
		bash /data/things/smoke >/out/smoke.log 2>&1
		exit 137
	EOF
	cat >"$tmp/things/smoke" <<-'EOF'
		uname -r
		. vm/guest/stage
		echo "status: $(weir status | head -1)"
		echo "native: $(weir status | grep -o 'eth0 *native')"
		echo "asked: $(ask 'get user:1' 'get user:3')"
		weir stats --json | python3 -c 'import json, sys
		r = json.load(sys.stdin)["services"][0]["reasons"]
		print("counted:", r["hit"]["packets"], r["miss"]["packets"])'
		weir unload
		echo "left: $(ip link show eth0 | grep -o xdp)$(tc qdisc show dev eth0 | grep -o clsact)$(
			ls /sys/fs/bpf | grep -v debug)"
		echo "asked again: $(ask 'get user:1')"
	EOF
	chmod +x "$tmp/things/program"
}

expected_output()
{
	echo "it came along"
	printf '%s\0' "${WORDS[@]}" "$NASTY"
	seq 20000
	printf 'no end of line \0 \377 \r'
}

smoke() # WHAT
{
	sed -n "s/^$1: //p" "$tmp/good/files/smoke.log"
}

test_good()
{
	local log
	tap_is "the command's status is passed on, 137 too where nothing was late" "$(status_of good)" 137
	tap_ok "  and what it prints, to the byte; words and --env arrive so" \
		cmp "$tmp/good/stdout" <(expected_output)
	tap_ok "  it is kept" cmp "$tmp/good/stdout" "$tmp/good/output.log"
	tap_ok "  so is the console" grep -q 'Linux version' "$tmp/good/console.log"
	tap_is "what the guest leaves in /out comes back" "$(cat "$tmp/good/files/a directory/file" &&
		stat -c %a "$tmp/good/files/a directory/file")" "back"$'\n'640
	tap_is "--quiet: not a word of run.sh's own" "$(cat "$tmp/good/stderr")" ""

	log=$(cat "$tmp/good/files/smoke.log")
	[ "$(smoke status)" = "weir is answering" ] || tap_note "$log"
	tap_is "Linux $KERNEL: weir answers" "$(smoke status)" "weir is answering"
	tap_like "  natively, on virtio" "$(smoke native)" native
	tap_is "  a hit and a miss" "$(sed -n '/^asked: /,/^counted/p' <<<"$log")" \
		'asked: VALUE user:1 0 3\r\nAda\r\nEND\r\n
VALUE user:3 0 6\r\nEdsger\r\nEND\r\n
counted: 1 1'
	tap_is "  unload leaves nothing" "$(smoke left)" ""
	tap_is "  and memcached answers" "$(smoke 'asked again')" 'VALUE user:1 0 3\r\nAda\r\nEND\r\n'
}

### Guests that go wrong

test_bad()
{
	tap_is "a kernel that complains: 120, though the command passed" "$(status_of complains)" 120
	tap_like "  and the line is shown" "$(cat "$tmp/complains/stderr")" \
		"status 120: the kernel complained: .*WARNING: CPU: 0 PID: 1 at nowhere.*logs: $tmp/complains"
	tap_is "a panic: 121" "$(status_of panics)" 121
	tap_like "  and why" "$(why_of panics)" "the guest died: .*sysrq triggered crash"
	tap_is "  what was printed before is there" "$(cat "$tmp/panics/stdout")" "last words"
	tap_is "  and what was sent" "$(cat "$tmp/panics/files/"*)" "new"
	tap_is "a command that does not end: 124" "$(status_of late)" 124
	tap_is "  and why" "$(why_of late)" "the command did not end in 2 s"
	tap_is "  what it left is there" "$(cat "$tmp/late/files/left")" "half done"
	tap_is "a reboot: 121" "$(status_of reboots)" 121
	tap_like "  and why" "$(why_of reboots)" "went away without a word"
}

### Two guests on a wire, one of them served

at() # COMMAND-LINE...
{
	timeout 150 "$AT" "$tmp/control" "$@"
}

test_two()
{
	local first
	first=$(at 'ip link set eth0 up && ip addr add 10.9.0.1/24 dev eth0 && hostname')
	tap_is "a served guest does what it is told" "$first" "one"
	tap_is "  and passes on status and output" "$(at 'printf "a\0b" | od -c -An; exit 43'; echo $?)" \
		$'   a  \\0   b\n43'
	at --timeout 0.3 'sleep 1; echo late' >/dev/null 2>&1
	tap_is "  an answer that nobody waited for is nobody else's" "$(at 'echo mine')" "mine"
	tap_is "  what it starts in the background goes on" \
		"$(at 'sleep 300 & echo started'; at 'pgrep -c sleep')" $'started\n1'
	wait "$second"
	tap_is "two guests see each other; the status of each is its own" "$(status_of two)" 3
	at 'echo 512 >/proc/sys/kernel/tainted'
	tap_ok "  it stops when it is told" at stop
	wait "$served"
	tap_is "a kernel that is tainted: 120, without a word on the console" "$(status_of one)" 120
	tap_is "  and why" "$(why_of one)" "the kernel complained: taint 512"
	tap_like "a guest that is gone: vm/at says so" "$(at --timeout 1 true 2>&1; echo $?)" "no guest.*125"
	tap_ok "  and no socket is left" test ! -e "$tmp/control" -a ! -e "$tmp/wire.a" -a ! -e "$tmp/wire.b"
}

### How run.sh may end

qemu_of() # NAME
{
	pgrep -f "path=$tmp/$1/result"
}

# Signals are ignored in a script's background jobs, so the default is asked for.
end_with() # NAME SIGNAL ARGUMENT...
{
	local name=$1 signal=$2 pid
	shift 2
	TMPDIR=$tmp/$name.tmp
	mkdir -p "$TMPDIR"
	TMPDIR=$TMPDIR env --default-signal=INT "$RUN" "$KERNEL" "$@" --out "$tmp/$name" --quiet -- sleep 60 &
	pid=$!
	lab_wait_for 30 qemu_of "$name" || echo "qemu did not start"
	kill -s "$signal" $pid
	wait $pid
	echo "status $?"
	lab_wait_for 10 gone "$name" || echo "qemu is left"
}

gone() # NAME
{
	[ -z "$(qemu_of "$1")" ]
}

test_ends()
{
	tap_is "Ctrl-C: 130, and qemu is gone" "$(end_with int INT 2>/dev/null)" "status 130"
	tap_is "  no file is left" "$(ls "$tmp/int.tmp")" ""
	tap_is "killed: qemu is gone, too" "$(end_with kill KILL 2>/dev/null)" "status 137"
	if unshare --net --map-root-user ip tuntap add tap0 mode tap 2>/dev/null; then
		tap_is "  also with NICs of several queues" \
			"$(end_with queues KILL --nic hub=a,queues=2 2>/dev/null)" "status 137"
	else
		tap_skip "  also with NICs of several queues" "no taps here"
	fi
	export VM_BOOT_S=2
	boot never "$KERNEL" --append "rdinit=/usr/bin/sleep -- infinity" -- true
	wait $!
	VM_BOOT_S=120
	tap_is "a guest that does not come up: 123" "$(status_of never)" 123
	tap_like "  and why" "$(why_of never)" "did not come up in 2 s; the console's last line: "
}

can_run_guests
tmp=$(mktemp -d /tmp/weir-test.XXXXXX)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

tap_ok "words that are not understood: 2, and they are named" refuses_bad_words
test_no_guest
test_accelerator

# Three at a time: a guest that boots keeps a core busy.
write_guest_scripts
boot good "$KERNEL" --nic hub=lan --nic hub=lan --put "$tmp/things:/data/things" --env "NASTY=$NASTY" \
	--quiet -- /data/things/program "${WORDS[@]}"
boot complains "$DIR/vmlinuz" -- bash -c 'echo "WARNING: CPU: 0 PID: 1 at nowhere" >/dev/kmsg'
boot panics "$KERNEL" -- bash -c 'echo last words; echo old >/out/sent; vm-send; echo new >/out/sent; vm-send
	echo later >/out/later; sleep 0.5; echo c >/proc/sysrq-trigger; sleep 60'
wait
boot late "$KERNEL" --timeout 2 -- bash -c 'echo half done >/out/left; sleep 60'
boot reboots "$KERNEL" -- bash -c 'echo b >/proc/sysrq-trigger; sleep 60'
wait
test_good
test_bad
boot one "$KERNEL" --name one --nic "wire=$tmp/wire:a" --serve "$tmp/control"
served=$!
boot two "$KERNEL" --nic "wire=$tmp/wire:b" -- bash -c 'ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0
	for i in {1..60}; do ping -c 1 -W 1 10.9.0.1 && exit 3; done'
second=$!
test_two
test_ends
tap_done
