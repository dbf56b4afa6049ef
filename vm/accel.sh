# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2154
#
# KVM or TCG: which of them runs guests here. Sourced by run.sh.

# /dev/kvm alone proves nothing: under some hypervisors (nested, PVM) guests hang. So this kernel has to
# boot: without a root it says so and panics, and qemu ends.
probe_kvm() # BZIMAGE
{
	local verdict log
	[ -w /dev/kvm ] && [ ! -d /sys/module/kvm_pvm ] || return 1
	verdict=$VM_CACHE/kvm-$(cat /proc/sys/kernel/random/boot_id)-$(sha256sum <"$1" | cut -c1-12)
	if [ ! -s "$verdict" ]; then
		say "trying KVM"
		log=$work/probe.log
		: >"$log"
		setpriv --pdeathsig KILL timeout -k 1 "${VM_PROBE_S:-8}" setpriv --pdeathsig KILL "$QEMU" \
			-nodefaults -no-user-config -display none -no-reboot -M q35 -accel kvm -cpu host -m 256 \
			-kernel "$1" -append "console=ttyS0 panic=-1" -serial "file:$log" >"$log.err" 2>&1 &
		qemu_pid=$!
		# An emulation failure only stops the guest: no need to wait for the time limit.
		while kill -0 $qemu_pid 2>/dev/null && ! grep -qs 'KVM internal error' "$log.err"; do
			sleep 0.1
		done
		kill $qemu_pid 2>/dev/null
		wait $qemu_pid 2>/dev/null
		qemu_pid=''
		grep -q 'Kernel panic - not syncing: VFS' "$log" && echo yes >"$verdict" || echo no >"$verdict"
	fi
	[ "$(cat "$verdict")" = yes ]
}

choose_accelerator() # BZIMAGE
{
	accel=${VM_ACCEL:-auto}
	if [ $accel = auto ]; then
		probe_kvm "$1" && accel=kvm || accel=tcg
	fi
	if [ $accel = kvm ]; then
		args+=(-accel kvm -cpu host)
	else
		# Of translated code a guest would keep up to 1 GiB.
		# One thread for all CPUs: with more, a CPU may run into code that another is patching ("Oops: int3").
		# Without what makes each entry into the kernel, and each switch of processes, dearer to emulate.
		args+=(-accel "tcg,thread=single,tb-size=256" -cpu max,-xsave,-avx,-avx2,-smap,-smep,-erms,-fsrm)
	fi
}
