# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash disable=SC2034
#
# The words that a demo is told in: steps that say what happens, run it, and check that it did. Sourced.
# Whoever does so defines
#
#	there WHERE COMMAND-LINE        runs bash text there, prints what it prints, ends as it does
#
# A step that does not do what it says ends the script with status 1.

bold='' dim='' green='' red='' plain=''
if [ -t 1 ]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi
STEP=0
OUT=

step() # SENTENCE
{
	STEP=$((STEP + 1))
	printf '\n%s%d. %s%s\n' "$bold" $STEP "$1" "$plain"
}

# What was seen, after a command.
so() # SENTENCE...
{
	printf '   %s=> %s%s\n' "$green" "$*" "$plain"
}

fail() # WHY...
{
	printf '   %s=> step %d did not do what it says: %s%s\n' "$red" $STEP "$*" "$plain"
	exit 1
}

# Runs a command line somewhere and shows both. OUT: what it printed.
try() # WHERE COMMAND-LINE
{
	local status
	printf '%s%s$%s %s\n' "$dim" "$1" "$plain" "$2"
	OUT=$(there "$1" "$2" 2>&1)
	status=$?
	[ -z "$OUT" ] || fold -s -w 76 <<<"$OUT" | sed 's/^/  /'
	return $status
}

# The same; the step fails when the command does. 5 is degraded: it works.
run() # WHERE COMMAND-LINE
{
	try "$@" || [ $? = 5 ] || fail "'$2' failed"
}

# What the story does not show.
quietly() # WHERE COMMAND-LINE
{
	OUT=$(there "$1" "$2" 2>&1) || fail "'$2' on $1 failed: $OUT"
}

shows() # TEXT: OUT has it
{
	[[ $OUT == *"$1"* ]] || fail "no '$1' in the output"
}

### What weir, memcached and the benchmark count

# Packets of a reason, as Weir counts them on the edge.
count() # REASON
{
	there edge 'weir stats --json' |
		python3 -c "import json, sys; print(json.load(sys.stdin)['services'][0]['reasons']['$1']['packets'])"
}

counted() # REASON BEFORE MORE
{
	local now
	now=$(count "$1")
	[ "$now" = $(($2 + $3)) ] || fail "the counter '$1' went from $2 to $now"
}

memcstat_of() # SERVER NAME
{
	there client "memcstat --servers=$1" 2>/dev/null | sed -n "s/^[[:space:]]*$2: *//p" | head -1
}

# The median of a row that build/bench/e2e wrote to the file "rows".
row() # NAME
{
	python3 -c '
import json, sys
print(next(r["median"] for r in map(json.loads, open("rows")) if r["name"] == sys.argv[1]))' "$1"
}

table_head()
{
	printf '  %s%-28s %12s %12s%s\n' "$dim" "" "memcached" "Weir" "$plain"
}

compare() # WHAT UNIT ALONE WEIR RATIO
{
	printf '  %-28s %12.0f %12.0f %-6s %8.1f x\n' "$1" "$3" "$4" "$2" "$5"
}
