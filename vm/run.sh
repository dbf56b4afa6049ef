#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# Boots a kernel in a virtual machine and runs a command in it.
#
#	vm/run.sh KERNEL [OPTION...] -- COMMAND [ARGUMENT...]
#	vm/run.sh KERNEL [OPTION...] --shell
#	vm/run.sh KERNEL [OPTION...] --serve SOCKET
#
# KERNEL is a name in vm/kernels.txt (6.1, 6.12, ...) or the path of a bzImage. The guest has the
# project's build in /weir, where COMMAND starts, with weir on its PATH.
#
#   --nic WIRE[,KEY=VALUE...]   a NIC (repeat for more: eth0, eth1...); WIRE is
#                                 hub=NAME    one network inside this guest for all NICs of this NAME
#                                 wire=FILE:a one end of a wire to another guest, whose end is FILE:b
#                               and KEY queues (1), model (virtio; e1000e, vmxnet3...: of qemu), mac, or
#                               one of qemu's for that model: host_mtu, mrg_rxbuf...
#   --put SOURCE[:PATH]         a file or directory to take along (/PATH; else by its name in /)
#   --with NAME                 what guest/with-NAME.txt lists of this host, too: systemd
#   --env NAME=VALUE            for the command
#   --out DIRECTORY             console.log, output.log, result and files/ (what the guest leaves in
#                               /out) go there; else to a new directory under build/vm
#   --timeout SECONDS           for the command (600; of a shell a day); booting has its own limit,
#                               VM_BOOT_S (60)
#   --cpus N, --memory MIB      of the guest (2, 1024)
#   --name NAME                 its host name (vm)
#   --append WORDS              for the kernel's command line
#   --shell                     a shell instead of a command; Ctrl-] leaves, so does the end of the shell,
#                               whose status does not matter. COMMAND runs in it before the first prompt
#   --serve SOCKET              waits for commands from vm/at SOCKET instead
#   --quiet                     prints the command's output only
#
# The exit status is COMMAND's, or
#   120  the kernel complained (oops, WARN, BUG, stall, lockdep...), whatever COMMAND said
#   121  the guest died: a panic, or nothing heard of it at the end
#   122  qemu does not start, or the kernel or the guest's files cannot be had
#   123  the guest did not come up in time
#   124  COMMAND did not end in time
#
# VM_ACCEL=auto|kvm|tcg: auto takes KVM where a probe has seen it boot this very kernel. VM_CACHE:
# kernels and images (~/.cache/weir/vm). VM_QEMU: the qemu to run.
set -uo pipefail

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VM_ROOT=$(dirname "$VM_DIR")
WEIR_BUILD=${WEIR_BUILD:-$VM_ROOT/build}
export VM_CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir/vm}
QEMU=${VM_QEMU:-qemu-system-x86_64}

# What a kernel prints when something is wrong with it. Not: what it prints about a program it refuses.
COMPLAINTS='Kernel panic|Oops:|BUG: |BUG kmalloc|general protection fault|Unable to handle kernel|'
COMPLAINTS+='WARNING: (CPU|.* at )|INFO: task .* blocked|INFO: rcu_|rcu: INFO|soft lockup|hard LOCKUP|'
COMPLAINTS+='possible (circular|recursive) locking|inconsistent lock state|suspicious RCU|'
COMPLAINTS+='KASAN:|UBSAN:|KCSAN:|KFENCE:|refcount_t:|unregister_netdevice: waiting|page allocation failure|'
COMPLAINTS+='Out of memory:|out of memory:|segfault at|NETDEV WATCHDOG|trap invalid opcode'

. "$VM_DIR/image.sh"
. "$VM_DIR/accel.sh"
. "$VM_DIR/nics.sh"

say()
{
	[ -n "${quiet:-}" ] || echo "vm: $*" >&2
}

# For a guest that cannot be: 122.
vm_die()
{
	printf 'vm: %s\n' "$@" >&2
	exit 122
}

usage_die()
{
	printf 'vm: %s\n' "$*" "vm/run.sh --help explains" >&2
	exit 2
}

### Words

parse_words()
{
	kernel='' out='' timeout='' cpus=2 memory=1024 name=vm append='' shell=0 serve='' quiet=''
	nics=() puts=() withs=() envs=() command=()
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help) sed -n '/^# Boots/,/^set /{/^set /d;s/^# \?//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
		--shell) shell=1; shift ;;
		--quiet) quiet=1; shift ;;
		--) shift; command=("$@"); break ;;
		--nic | --put | --with | --env | --out | --timeout | --cpus | --memory | --name | --append | --serve)
			[ $# -gt 1 ] || usage_die "$1 needs a value"
			option "$1" "$2"
			shift 2
			;;
		-*) usage_die "no option $1" ;;
		*)
			[ -z "$kernel" ] || usage_die "'$1' after '$kernel': a command comes after --"
			kernel=$1
			shift
			;;
		esac
	done
	check_words
}

option() # OPTION VALUE
{
	case $1 in
	--nic) nics+=("$2") ;;
	--put) puts+=("$2") ;;
	--with) withs+=("$2") ;;
	--env) envs+=("$2") ;;
	*) printf -v "${1#--}" %s "$2" ;;
	esac
}

check_words()
{
	local word
	[ -n "$kernel" ] || usage_die "no kernel is named"
	[ -n "$timeout" ] || { [ $shell = 1 ] && timeout=86400 || timeout=600; }
	for word in timeout cpus memory; do
		[[ ${!word} =~ ^[1-9][0-9]{0,5}$ ]] || usage_die "--$word ${!word}: not a number from 1 to 999999"
	done
	[[ $name =~ ^[a-z0-9-]+$ ]] || usage_die "--name $name: not a host name"
	for word in ${envs[@]+"${envs[@]}"}; do
		[[ $word =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || usage_die "--env $word: not NAME=VALUE"
	done
	for word in ${puts[@]+"${puts[@]}"}; do
		[ -e "${word%%:*}" ] || usage_die "--put ${word%%:*}: not there"
	done
	for word in ${withs[@]+"${withs[@]}"}; do
		[ -f "$VM_DIR/guest/with-$word.txt" ] || usage_die "--with $word: there is no $VM_DIR/guest/with-$word.txt"
	done
	[[ ${VM_ACCEL:-auto} =~ ^(auto|kvm|tcg)$ ]] || usage_die "VM_ACCEL=$VM_ACCEL: not auto, kvm or tcg"
	[ $shell = 1 ] || [ -n "$serve" ] || [ ${#command[@]} -gt 0 ] || usage_die "no command: -- COMMAND"
	[ $shell = 0 ] || [ -t 0 ] || usage_die "--shell needs a terminal; without one: -- COMMAND"
	[ -z "$serve" ] || command=(vm-serve)
}

### The guest's life

prepare()
{
	local dir parts
	command -v "$QEMU" >/dev/null ||
		vm_die "no $QEMU: the package qemu-system-x86 holds it (scripts/deps --vm)"
	mkdir -p "$VM_CACHE"
	# Short, for the paths of sockets.
	work=$(mktemp -d "${TMPDIR:-/tmp}/weir-vm.XXXXXX")
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	if [ -z "$out" ]; then
		mkdir -p "$WEIR_BUILD/vm" && out=$(mktemp -d "$WEIR_BUILD/vm/run.XXXXXX")
	fi
	mkdir -p "$out" && out=$(cd "$out" && pwd) &&
		rm -rf "${out:?}"/{console.log,output.log,result,verdict,files} ||
		vm_die "cannot write to $out"
	dir=$("$VM_DIR/kernel.sh" "$kernel") || exit 122
	# Opened to read: a cache of somebody else's, with all in it that is needed, is good enough.
	[ -e "$VM_CACHE/lock" ] || : >"$VM_CACHE/lock"
	(flock 9 && build_root && build_modules "$dir" && build_project &&
		printf '%s\n' "$ROOT_CPIO" ${MODULES_CPIO:+"$MODULES_CPIO"} "$PROJECT_CPIO") 9<"$VM_CACHE/lock" \
		>"$work/parts" || exit 122
	mapfile -t parts <"$work/parts"
	build_payload
	cat "${parts[@]}" "$work/payload.cpio" >"$work/initrd" || vm_die "cannot write the initrd"
	bzimage=$dir/vmlinuz
}

set_machine()
{
	local words="console=ttyS0 panic=-1 oops=panic mitigations=off nokaslr audit=0 apparmor=0"
	# Its test of the timer fails, and it panics, where the host has no time for it.
	words+=" no_timer_check"
	# While a kernel boots its clock may jump, where the host has no time for it: not a stall.
	words+=" rcupdate.rcu_cpu_stall_suppress_at_boot=1"
	# Cheaper under emulation: no page is cleared that nobody reads, no grace period is waited out.
	words+=" init_on_alloc=0 rcupdate.rcu_expedited=1"
	words+=" vm.timeout=$timeout vm.name=$name vm.shell=$shell"
	args=(-nodefaults -no-user-config -display none -no-reboot -M q35 -m "$memory" -smp "$cpus")
	choose_accelerator "$bzimage"
	if [ $shell = 1 ]; then
		words+=" vm.rows=$(tput lines 2>/dev/null || echo 24) vm.cols=$(tput cols 2>/dev/null || echo 80)"
		words+=" vm.term=${TERM:-linux}"
	fi
	args+=(-kernel "$bzimage" -initrd "$work/initrd" -append "$words $append" -serial "file:$out/console.log"
		-device "virtio-serial-pci,max_ports=8"
		-chardev "file,id=output,path=$out/output.log"
		-device virtserialport,chardev=output,name=output
		-chardev "file,id=result,path=$out/result" -device virtserialport,chardev=result,name=result
		-chardev "file,id=files,path=$work/files.tar" -device virtserialport,chardev=files,name=files)
	[ $shell = 0 ] || args+=(-chardev "socket,id=tty,path=$work/tty,server=on,wait=off" -serial chardev:tty)
	[ -z "$serve" ] || args+=(-chardev "socket,id=control,path=$serve,server=on,wait=off"
		-device virtserialport,chardev=control,name=control)
	args+=(${nic_args[@]+"${nic_args[@]}"})
	remove_wires
}

# qemu dies with this script, however that ends: the kernel sees to it.
start_qemu()
{
	local limit=$((timeout + 2 * boot_s)) in_netns=()
	[ ${#taps_of[@]} = 0 ] || write_tap_script "$work/taps"
	: >"$out/result"
	: >"$out/output.log"
	setpriv --pdeathsig KILL timeout -k 2 $limit setpriv --pdeathsig KILL ${in_netns[@]+"${in_netns[@]}"} \
		"$QEMU" "${args[@]}" </dev/null 2>"$out/qemu.err" &
	qemu_pid=$!
	tail -f -s 0.1 --pid=$qemu_pid "$out/output.log" 2>/dev/null &
	tail_pid=$!
}

# Ends a guest that does not come up, or does not end after its command's time.
watch_over()
{
	local start=$SECONDS came_up=''
	while kill -0 $qemu_pid 2>/dev/null; do
		if [ -z "$came_up" ]; then
			if grep -q '^boot ' "$out/result"; then
				came_up=$SECONDS
				rm -rf "$work"/{project*,payload*,initrd} # large, and read by now
			fi
			[ $((SECONDS - start)) -le $boot_s ] || break
		elif [ $((SECONDS - came_up)) -gt $((timeout + boot_s)) ]; then
			break
		fi
		sleep 0.1
	done
	if kill $qemu_pid 2>/dev/null; then
		overran=1
	fi
	wait $qemu_pid 2>/dev/null
	qemu_pid=''
	wait $tail_pid
}

attend_shell()
{
	say "$kernel boots ($accel); Ctrl-] leaves, or the end of the shell"
	while [ ! -S "$work/tty" ] && kill -0 $qemu_pid 2>/dev/null; do
		sleep 0.05
	done
	socat "-,raw,echo=0,escape=0x1d" "UNIX-CONNECT:$work/tty"
	echo
	# It ends by itself unless it was left.
	for _ in {1..20}; do
		kill -0 $qemu_pid 2>/dev/null || break
		sleep 0.1
	done
	kill $qemu_pid 2>/dev/null && left=1
	wait $qemu_pid 2>/dev/null
	qemu_pid=''
}

clean_up()
{
	local status=$?
	trap - EXIT
	if [ -n "${qemu_pid:-}" ]; then
		kill "$qemu_pid" 2>/dev/null && wait "$qemu_pid" 2>/dev/null
	fi
	rm -rf "$work"
	remove_wires
	[ -z "${serve:-}" ] || rm -f "$serve"
	exit $status
}

of_result() # WORD
{
	sed -n "s/.*\<$1=\([^ ]*\).*/\1/p" "$out/result" | tail -1
}

# Sets status and why.
judge()
{
	local complaint taint last
	complaint=$(grep -m1 -aE "$COMPLAINTS" "$out/console.log" 2>/dev/null | tr -d '\r')
	last=$(tail -1 "$out/console.log" 2>/dev/null | tr -d '\r\0')
	status=$(of_result status) taint=$(of_result taint) why=''
	if [ -z "$status$left" ]; then
		judge_lost
	elif [ -n "$complaint" ] || [ "${taint:-0}" != 0 ]; then
		status=120 why="the kernel complained: ${complaint:-taint $taint}"
	elif [ -n "$left" ]; then
		status=0 why='left'
	elif [ "$(of_result late)" = 1 ]; then
		status=124 why="the command did not end in $timeout s"
	fi
}

# Of a guest that did not say how its command ended.
judge_lost()
{
	if [ -n "$complaint" ]; then
		status=121 why="the guest died: $complaint"
	elif ! grep -q '^boot ' "$out/result" && [ -n "$overran" ]; then
		status=123 why="it did not come up in $boot_s s; the console's last line: $last"
	elif [ -n "$overran" ]; then
		status=124 why="it did not end in time"
	elif [ -s "$out/console.log" ]; then
		status=121 why="it went away without a word; the console's last line: $last"
	else
		status=122 why="qemu: $(tail -1 "$out/qemu.err")"
	fi
	[ "$accel" = tcg ] || [ $status = 124 ] || why+="; VM_ACCEL=tcg is slower, and needs no KVM"
}

main()
{
	local began=$EPOCHREALTIME
	boot_s=${VM_BOOT_S:-60} overran='' left='' qemu_pid='' args=()
	parse_words "$@"
	add_nics
	prepare
	set_machine
	start_qemu
	if [ $shell = 1 ]; then
		attend_shell
	else
		watch_over
	fi
	if [ -s "$work/files.tar" ]; then
		# Several archives, one behind the other: vm/guest/send.
		mkdir -p "$out/files" && tar -C "$out/files" --ignore-zeros -xf "$work/files.tar" 2>/dev/null
	fi
	judge
	seconds=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	printf '%s=%s\n' kernel "$(of_result kernel)" accel "$accel" seconds "$seconds" status "$status" \
		why "$why" >"$out/verdict"
	say "$kernel ($(of_result kernel)), $accel, $seconds s, status $status${why:+: $why}; logs: $out"
	exit "$status"
}

main "$@"
