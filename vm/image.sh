# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2154
#
# Builds a guest's file system, an initramfs of four parts, each a cpio archive:
#
#	root       files of Debian packages (guest/packages.txt), and guest/init; of no kernel
#	modules    of one kernel (guest/modules.txt)
#	project    what is built, and what tests read
#	payload    what a run brings: COMMAND, and files for it; what it asks for with --with
#
# The first two are kept in VM_CACHE, the third in the build, and built again when what they are made of has
# changed.
# Sourced by run.sh.

# Parts of packages that are large and that no guest needs.
UNUSED='/python3.11/(pydoc_data|lib2to3|idlelib|ensurepip|distutils|tkinter|sqlite3|dbm|unittest|turtle)|'
UNUSED+='/lib-dynload/_(sqlite3|dbm|gdbm|tkinter|codecs_)|/xdp-(bench|forward|monitor|trafficgen)$'

# The libraries that programs are linked with, by the paths that the loader would take.
libraries_of() # FILE...
{
	local out
	out=$(ldd "$@" 2>/dev/null)
	! grep -q 'not found' <<<"$out" || vm_die "libraries are missing: $(grep 'not found' <<<"$out" | sort -u)"
	grep -oE '/[^ ]+\.so[^ :]*' <<<"$out" | sort -u
}

# Paths with /bin, /lib... written as what they are links to; and where links lead.
canonical() # < PATHS
{
	sed -E 's,^/(bin|sbin|lib|lib32|lib64|libx32)/,/usr/\1/,' | sort -u | tee >(xargs -r -d '\n' realpath -q --) |
		sort -u
}

guest_packages()
{
	grep -v '^#' "$VM_DIR/guest/packages.txt"
}

# Everything of the packages that a program might read.
package_files()
{
	local packages missing
	mapfile -t packages < <(guest_packages)
	missing=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>&1 | grep -v '^installed ')
	[ -z "$missing" ] || vm_die "packages of the guest are not installed here (scripts/deps --vm installs them):" \
		"$missing"
	dpkg -L "${packages[@]}" |
		grep -vE '^/usr/(share/(doc|man|locale|info|lintian|bug|bash-completion|menu)|lib/systemd)/|^/(lib/systemd|etc)/'
	find /usr/lib/python3.11 -path '*/__pycache__/*.pyc' 2>/dev/null
}

# A cpio archive of a directory, in the form that the kernel unpacks. It appears when it is whole.
archive() # DIRECTORY FILE
{
	(cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
		cpio -0 --quiet -o -H newc -R 0:0 --reproducible) >"$2.new$$" && mv "$2.new$$" "$2" ||
		vm_die "cannot write $2"
}

lay_out_root() # DIRECTORY
{
	local files=$1.files d
	mkdir -p "$1"/{usr/bin,usr/sbin,usr/lib,usr/lib64,dev,proc,sys,run,tmp,root,etc,out,var,mnt}
	for d in bin sbin lib lib64; do
		ln -s usr/$d "$1/$d"
	done
	chmod 1777 "$1/tmp"
	package_files | grep -vE "$UNUSED" | canonical | xargs -d '\n' ls -1d 2>/dev/null | while read -r d; do
		[ ! -f "$d" ] && [ ! -h "$d" ] || echo "$d"
	done >"$files"
	grep -E '^/usr/s?bin/|\.so(\.[0-9.]+)?$' "$files" | xargs -d '\n' bash -c '. "$0"; libraries_of "$@"' \
		"$VM_DIR/image.sh" | canonical >>"$files"
	tar -C / -cf - --no-recursion -T <(sort -u "$files" | sed 's,^/,,') 2>/dev/null | tar -C "$1" -xf -
	ln -sf mawk "$1/usr/bin/awk"
	install -m 755 "$VM_DIR/guest/init" "$1/init"
	install -m 755 "$VM_DIR/guest/serve" "$1/usr/bin/vm-serve"
	install -m 755 "$VM_DIR/guest/send" "$1/usr/bin/vm-send"
	printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$1/etc/hosts"
	printf 'passwd: files\ngroup: files\nhosts: files\n' >"$1/etc/nsswitch.conf"
}

# Sets ROOT_CPIO.
build_root()
{
	local key tmp
	key=$({ cat "$VM_DIR"/guest/{packages.txt,init,serve,send} "$VM_DIR/image.sh"
		dpkg-query -W -f '${Package} ${Version}\n' $(guest_packages) libc6; } 2>/dev/null |
		sha256sum | cut -c1-16)
	ROOT_CPIO=$VM_CACHE/root-$key.cpio
	if [ -s "$ROOT_CPIO" ]; then
		touch -c "$ROOT_CPIO" 2>/dev/null
		return 0
	fi
	# Of before an upgrade of some package, or another version of this tree.
	find "$VM_CACHE" -maxdepth 1 -name 'root-*.cpio' -mtime +7 -delete
	say "building the guest's root"
	tmp=$(mktemp -d "$VM_CACHE/.root.XXXXXX")
	lay_out_root "$tmp/root"
	[ -x "$tmp/root/usr/bin/python3.11" ] && [ -x "$tmp/root/usr/bin/bash" ] ||
		vm_die "the guest's root has no programs: $VM_DIR/guest/packages.txt, or dpkg, is at fault"
	archive "$tmp/root" "$ROOT_CPIO"
	rm -rf "$tmp"
}

# The files of modules.txt in a kernel, with what they need, in modules.dep's words.
module_files() # MODULES-DIRECTORY
{
	local names
	names=$(grep -v '^#' "$VM_DIR/guest/modules.txt" | paste -sd '|' | sed 's/_/[-_]/g')
	grep -E "/($names)\.ko(\.[a-z]+)?:" "$1/modules.dep" | tr -d : | tr ' ' '\n' | sort -u
}

# Into DIRECTORY/usr; all modules, linked, stand in DIRECTORY.all.
lay_out_modules() # KERNEL-DIRECTORY RELEASE DIRECTORY
{
	local to=$3/usr/lib/modules/$2 f
	mkdir -p "$to" "$3.all/lib/modules"
	# Debian's packages come without modules.dep.
	cp -rsL "$(realpath "$1/modules")" "$3.all/lib/modules/$2"
	depmod -b "$3.all" "$2" || vm_die "depmod failed on $1/modules"
	for f in $(module_files "$3.all/lib/modules/$2"); do
		mkdir -p "$to/$(dirname "$f")"
		case $f in
		*.xz) xz -dc "$1/modules/$f" >"$to/${f%.xz}" ;;
		*.zst) zstd -dcq "$1/modules/$f" >"$to/${f%.zst}" ;;
		*) cp -L "$1/modules/$f" "$to/$f" ;;
		esac || vm_die "cannot unpack $f"
	done
	cp "$1"/modules/modules.{builtin,builtin.modinfo,order} "$to" 2>/dev/null
	depmod -b "$3/usr" "$2"
}

# Sets MODULES_CPIO: "" when the kernel comes without modules.
build_modules() # KERNEL-DIRECTORY
{
	local release key tmp
	MODULES_CPIO=
	compgen -G "$1/modules/*" >/dev/null || return 0
	release=$(cat "$1/release")
	key=$(cat "$VM_DIR/guest/modules.txt" "$VM_DIR/image.sh" "$1/modules/modules.builtin" | sha256sum | cut -c1-16)
	MODULES_CPIO=$VM_CACHE/modules-$release-$key.cpio
	[ ! -s "$MODULES_CPIO" ] || return 0
	say "packing the modules of $release"
	tmp=$(mktemp -d "$VM_CACHE/.modules.XXXXXX")
	lay_out_modules "$1" "$release" "$tmp/root"
	archive "$tmp/root" "$MODULES_CPIO"
	rm -rf "$tmp"
}

### The project

# Of what is built, what tests need: not the objects. By their paths in the build.
built_files() # WORD-OF-FIND...
{
	[ ! -d "$WEIR_BUILD" ] || (cd "$WEIR_BUILD" && find weir bpf/*.bpf.o tests bench -type f \
		\( -perm -u+x -o -name '*.bpf.o' \) ! -name '*.raw.o' "$@" 2>/dev/null)
}

# Changes when one of the files does, or a library of this host may have.
project_key()
{
	local words='%p %m %s %T@\n'
	{
		cat "$VM_DIR/image.sh"
		find /var/lib/dpkg/status -printf "$words"
		(cd "$VM_ROOT" && find Makefile scripts tests docs vm -printf "$words" | sort)
		built_files -printf "$words" | sort
	} 2>/dev/null | sha256sum | cut -c1-16
}

copy_project() # TO
{
	local f
	mkdir -p "$1"
	(cd "$VM_ROOT" && cp -r Makefile scripts tests docs vm "$1") 2>/dev/null
	built_files | while read -r f; do
		mkdir -p "$1/build/$(dirname "$f")"
		cp "$WEIR_BUILD/$f" "$1/build/$f"
	done
}

# Libraries of programs that came along, where the root does not have them.
copy_libraries() # DIRECTORY
{
	local programs
	mapfile -t programs < <(find "$1" -type f -perm -u+x -size +4k)
	[ ${#programs[@]} = 0 ] || tar -C / -cf - --no-recursion \
		-T <(libraries_of "${programs[@]}" | canonical | sed 's,^/,,') | tar -C "$1" -xf -
}

# Sets PROJECT_CPIO.
build_project()
{
	local dir=$WEIR_BUILD/vm
	mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || dir=$work # somebody else's build
	PROJECT_CPIO=$dir/project-$(project_key).cpio
	if [ -s "$PROJECT_CPIO" ]; then
		touch -c "$PROJECT_CPIO"
		return 0
	fi
	# Those of before some file changed; one that another run.sh is about to read was touched.
	find "$dir" -maxdepth 1 -name 'project-*.cpio' -mmin +10 -delete
	copy_project "$work/project/weir"
	copy_libraries "$work/project"
	archive "$work/project" "$PROJECT_CPIO"
}

### The payload

# Of --with NAME. They are few, and most guests do without: no part of the root, which each boot unpacks.
copy_with() # NAME
{
	grep -v '^#' "$VM_DIR/guest/with-$1.txt" | sed 's,^/,,' | tar -C / -cf - -T - | tar -C "$work/payload" -xf - ||
		vm_die "files of vm/guest/with-$1.txt are missing here (scripts/deps --vm installs their packages)"
}

build_payload()
{
	local word to
	mkdir -p "$work/payload/vm"
	for word in ${puts[@]+"${puts[@]}"}; do
		to=${word#"${word%%:*}"}
		to=$work/payload/${to#:}
		[[ $word == *:* ]] || to+=$(basename "$word")
		mkdir -p "$(dirname "$to")" && cp -rL "${word%%:*}" "$to" || vm_die "cannot copy ${word%%:*}"
	done
	for word in ${withs[@]+"${withs[@]}"}; do
		copy_with "$word"
	done
	copy_libraries "$work/payload"
	printf 'export WEIR_BUILD=/weir/build WEIR=/weir/build/weir\n' >"$work/payload/vm/env"
	for word in ${envs[@]+"${envs[@]}"}; do
		printf 'export %s=%q\n' "${word%%=*}" "${word#*=}"
	done >>"$work/payload/vm/env"
	# As bash would read the words of a script.
	{ [ ${#command[@]} = 0 ] || printf '%q ' "${command[@]}"; echo; } >"$work/payload/vm/command"
	if [ $shell = 1 ]; then
		echo "PS1='\\h \\w# '" >>"$work/payload/vm/command"
	fi
	archive "$work/payload" "$work/payload.cpio"
}
