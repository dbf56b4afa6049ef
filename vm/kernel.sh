#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# vm/kernel.sh KERNEL             prints a directory with vmlinuz, release and modules/
# vm/kernel.sh --update KERNEL    the same, after looking for a newer one
# vm/kernel.sh --list             the names in vm/kernels.txt
#
# KERNEL is a name in vm/kernels.txt, or the path of any bzImage. A named one comes from Debian's
# archive, through an apt of its own: its own source list, package lists and cache, so that nothing
# of this machine's is touched or needed; signatures are checked against Debian's keyring. What is
# there already is taken without a network. The modules of a bzImage are looked for beside it
# (modules/), and in /lib/modules under its release.
#
# VM_CACHE (~/.cache/weir/vm) keeps kernels; removing it is safe. VM_MIRROR and VM_SECURITY_MIRROR
# are archives to take instead of those that this machine's apt is set up with.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir/vm}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

die()
{
	printf 'vm: %s\n' "$@" >&2
	exit 1
}

kernel_lines()
{
	sed 's/#.*//' "$HERE/kernels.txt" | awk 'NF { print }'
}

### A bzImage of one's own

# The release, from the image's header (Documentation/arch/x86/boot.rst, kernel_version).
release_of() # BZIMAGE
{
	local magic offset

	magic=$(dd if="$1" bs=1 skip=$((0x202)) count=2 2>/dev/null | od -An -tu2 | tr -d ' ')
	[ "$(dd if="$1" bs=1 skip=$((0x1fe)) count=2 2>/dev/null | od -An -tx1 | tr -d ' ')" = 55aa ] &&
		[ "${magic:-0}" -ge $((0x200)) ] || die "$1: not a bzImage"
	offset=$(dd if="$1" bs=1 skip=$((0x20e)) count=2 2>/dev/null | od -An -tu2 | tr -d ' ')
	dd if="$1" bs=1 skip=$((offset + 0x200)) count=128 2>/dev/null | tr '\0' '\n' | sed 's/ .*//;q'
}

of_image() # BZIMAGE
{
	local image release modules to
	image=$(realpath "$1")
	release=$(release_of "$image")
	[ -n "$release" ] || die "$1: no release in its header"
	to=$CACHE/kernels/own-$(printf %s "$image" | sha256sum | cut -c1-12)
	mkdir -p "$to"
	for modules in "$(dirname "$image")/modules" "/lib/modules/$release" ""; do
		[ -z "$modules" ] || [ ! -d "$modules" ] || break
	done
	ln -sfn "$image" "$to/vmlinuz"
	rm -f "$to/modules"
	if [ -n "$modules" ]; then
		ln -sfn "$modules" "$to/modules"
	else
		echo "vm: no modules for $release, beside $1 or in /lib/modules: all drivers must be built in" >&2
		mkdir -p "$CACHE/kernels/no-modules" && ln -sfn ../no-modules "$to/modules"
	fi
	echo "$release" >"$to/release"
	echo "$to"
}

### Debian's

# Where this machine's apt gets Debian from.
mirror() # PATH-ENDING
{
	apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sed 's,/*$,,' | grep "/$1\$" | sort -u | head -1
}

# apt with nothing of this machine's but its proxy settings.
private_apt() # COMMAND ARGUMENT...
{
	local command=$1
	shift
	"$command" -q -q -o "Dir::Etc::sourcelist=$APT/sources.list" -o "Dir::Etc::sourceparts=$APT/none" \
		-o "Dir::Etc::preferences=$APT/none.pref" -o "Dir::Etc::preferencesparts=$APT/none" \
		-o "Dir::State::lists=$APT/lists" -o "Dir::State::status=$APT/status" \
		-o "Dir::Cache=$APT" -o "Dir::Cache::archives=$APT/archives" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 \
		-o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false \
		-o APT::Update::Error-Mode=any -o APT::Update::Post-Invoke-Success::= -o APT::Update::Post-Invoke::= "$@"
}

prepare_apt() # SUITES
{
	local suite uri debian security
	APT=$CACHE/apt/$1
	[ -r $KEYRING ] || die "no $KEYRING: the package debian-archive-keyring holds it"
	debian=${VM_MIRROR:-$(mirror debian)}
	[ -n "$debian" ] || die "this machine's apt knows no archive of Debian: set VM_MIRROR to one's URL"
	security=${VM_SECURITY_MIRROR:-$(mirror debian-security)}
	mkdir -p "$APT"/{lists,archives}/partial "$APT/none"
	: >>"$APT/status"
	for suite in ${1//,/ }; do
		uri=$debian
		[[ $suite != *-security ]] || uri=${security:-$debian-security}
		echo "deb [signed-by=$KEYRING arch=amd64] $uri $suite main"
	done >"$APT/sources.list"
}

# The newest package whose version has the prefix, rather the one that is signed for Secure Boot.
newest_package() # VERSION FLAVOUR
{
	local flavour=amd64 pattern names newest
	[ "$2" = generic ] || flavour=$2-amd64
	pattern="^linux-image-${1//./\\.}([.+-][0-9][^ ]*)?-$flavour(-unsigned)?\$"
	names=$(private_apt apt-cache search --names-only "$pattern" | awk '{ print $1 }')
	[ "$2" != generic ] || names=$(grep -vE -- '-(cloud|rt)-amd64(-unsigned)?$' <<<"$names")
	newest=$(sed 's/-unsigned$//' <<<"$names" | sort -V | tail -1)
	grep -x "$newest" <<<"$names" || sed -n "/./s/\$/-unsigned/p" <<<"$newest"
}

# Newer images are split: linux-image depends on linux-binary and linux-modules.
package_parts() # PACKAGE
{
	echo "$1"
	private_apt apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-\(base\|binary\|modules\)-[0-9].*\)/\1/p'
}

unpack() # PACKAGE RELEASE DIRECTORY
{
	local tmp deb vmlinuz modules
	tmp=$(mktemp -d "$CACHE/kernels/.new.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$tmp'" EXIT
	mkdir "$tmp/debs" "$tmp/kernel"
	echo "vm: fetching $1" >&2
	(cd "$tmp/debs" && private_apt apt-get download $(package_parts "$1")) >&2 ||
		die "$1: the download failed"
	for deb in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$deb" "$tmp/root"
	done
	vmlinuz=$(find "$tmp/root" -name "vmlinuz-$2" -o -path "*/$2/vmlinuz" | head -1)
	modules=$(find "$tmp/root" -type d -path "*lib/modules/$2" | head -1)
	[ -n "$vmlinuz" ] && [ -n "$modules" ] || die "$1: no kernel in it, or no modules"
	mv "$vmlinuz" "$tmp/kernel/vmlinuz"
	mv "$modules" "$tmp/kernel/modules"
	echo "$2" >"$tmp/kernel/release"
	mv -T "$tmp/kernel" "$3"
}

# The newest kernel that is here already.
cached() # VERSION FLAVOUR
{
	local name
	find "$CACHE/kernels" -mindepth 2 -maxdepth 2 -name release -exec cat {} + 2>/dev/null | sort -rV |
		while read -r name; do
			[[ $name == "$1"[.+-]* ]] && [ -d "$CACHE/kernels/$name" ] || continue
			case $2,$name in
			cloud,*-cloud-amd64 | rt,*-rt-amd64) ;;
			generic,*-cloud-amd64 | generic,*-rt-amd64) continue ;;
			generic,*-amd64) ;;
			*) continue ;;
			esac
			echo "$CACHE/kernels/$name"
			break
		done
}

of_debian() # VERSION FLAVOUR SUITES
{
	local have package release
	have=$(cached "$1" "$2")
	if [ -n "$have" ] && [ $UPDATE = 0 ]; then
		echo "$have"
		return
	fi
	prepare_apt "$3"
	private_apt apt-get update >&2 || die "cannot fetch the package lists of $3"
	package=$(newest_package "$1" "$2")
	[ -n "$package" ] || die "no kernel $1 ($2) in $3: see vm/kernels.txt"
	release=${package#linux-image-}
	release=${release%-unsigned}
	[ -d "$CACHE/kernels/$release" ] || unpack "$package" "$release" "$CACHE/kernels/$release"
	echo "$CACHE/kernels/$release"
}

main()
{
	local name version flavour suites
	UPDATE=0
	case "${1:-}" in
	--list) kernel_lines | awk '{ print $1 }'; return ;;
	--update) UPDATE=1; shift ;;
	esac
	[ $# = 1 ] || die "usage: vm/kernel.sh [--update] KERNEL | --list"
	mkdir -p "$CACHE/kernels"
	if [ -f "$1" ]; then
		of_image "$1"
		return
	fi
	while read -r name version flavour suites; do
		[ "$name" = "$1" ] || continue
		[ -e "$CACHE/lock" ] || : >"$CACHE/lock"
		exec 9<"$CACHE/lock"
		flock 9
		of_debian "$version" "$flavour" "$suites"
		return
	done < <(kernel_lines)
	die "no kernel '$1': a file, or one of $(kernel_lines | awk '{ printf "%s ", $1 }')(vm/kernels.txt)"
}

main "$@"
