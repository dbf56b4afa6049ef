#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What needs no run to be wrong: man pages, scripts' syntax, licence lines.
. "$(dirname "$0")/../../scripts/lab.sh"
cd "$LAB_ROOT" || exit 1

# Files of the project, whether it is a clone or an unpacked archive.
files()
{
	git ls-files --cached --others --exclude-standard 2>/dev/null | grep . ||
		find . -path ./build -prune -o -path ./.git -prune -o -type f -printf '%P\n'
}

each_names_its_licence()
{
	local bad
	bad=$(files | grep -E '(\.([chy]|sh|py|clang-format)|Makefile)$|^scripts/|^\.ci/|^vm/[a-z]+$|^vm/guest/[a-z]+$' |
		xargs -d '\n' grep -L 'SPDX-License-Identifier: GPL-2.0-only' --)
	[ -z "$bad" ] || { echo "$bad"; return 1; }
}

man_page()
{
	mandoc -T lint -W warning "$1"
}

python_parses()
{
	python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$1"
}

tap_ok "each source file names its licence" each_names_its_licence
if command -v mandoc >/dev/null; then
	for page in docs/*.[1-9]; do
		[ ! -e "$page" ] || tap_ok "$page is a clean man page" man_page "$page"
	done
else
	tap_skip "man pages are clean" "mandoc is not installed"
fi
while read -r file; do
	case $(head -c 80 "$file" 2>/dev/null | head -n 1 | tr -d '\0') in
	'#!'*bash | '#!'*/sh) tap_ok "$file is sound shell" bash -n "$file" ;;
	'#!'*python3) tap_ok "$file is sound Python" python_parses "$file" ;;
	esac
done < <(files | grep -E '^(scripts|tests|vm|\.ci)/')
tap_done
