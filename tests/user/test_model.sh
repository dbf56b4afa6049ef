#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# docs/model/coherence.pml, searched exhaustively: what the design promises holds, and each of the mistakes that it
# avoids is found. MODEL=full (`make model`) searches larger ones: some minutes, and 2 GiB of memory.

. "$(dirname "$0")/../../scripts/lab.sh"
for p in spin gcc; do
	command -v $p >/dev/null || tap_skip_all "no $p"
done
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cp "$LAB_ROOT/docs/model/coherence.pml" "$tmp" && cd "$tmp" || exit 1

# What pan says. A search that was cut off proves nothing: status 1.
search() # WRITERS FILLERS READERS WORD...
{
	local d=(-DWRITERS=$1 -DFILLERS=$2 -DREADERS=$3)
	shift 3

	spin "${d[@]}" "${@/#/-D}" -a coherence.pml >spin.log || { cat spin.log; return 1; }
	gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=6000 -o pan pan.c || return 1
	./pan -m200000 -w22 >pan.log || { cat pan.log; return 1; }
	! grep -E 'max search depth|out of memory|Search not completed' pan.log || [ -s coherence.pml.trail ]
}

holds() # SENTENCE SIZE WORD...
{
	local sentence=$1 states bad=0

	# shellcheck disable=SC2086
	search $2 "${@:3}" >search.log 2>&1 && grep -q 'errors: 0$' pan.log || bad=1
	states=$(awk '/states, stored/ { print $1 }' pan.log)
	[ $bad = 0 ] || tap_note "$(cat search.log; grep -vE '^$|unreached' pan.log | head -40)"
	tap_result "$sentence ($2: ${states:-no} states)" $bad
	rm -f coherence.pml.trail
}

refuted() # SENTENCE SIZE WORD...
{
	local sentence=$1 bad=0

	# shellcheck disable=SC2086
	search $2 "${@:3}" >search.log 2>&1 && grep -q 'assertion violated' pan.log || bad=1
	[ $bad = 0 ] || tap_note "$(cat search.log; grep -vE '^$|unreached' pan.log | head -40)"
	tap_result "$sentence" $bad
	rm -f coherence.pml.trail
}

# SIZE: writers, fillers, readers.
holds "linearizable, if the origin applies writes within the settle time" "2 1 1" MONOTONIC
holds "if not, no read is older than a write that was acknowledged" "2 1 1" SLOW
holds "the same of TCP, whose replies raise only what was raised long ago" "1 1 1" SLOW TIMED
holds "  and all of it within the settle time" "2 1 1" TIMED MONOTONIC
holds "also where replies take another way" "1 1 2" MONOTONIC UNSEEN
holds "a filler killed between any two steps" "1 1 1" MONOTONIC KILL
holds "a writer elsewhere, after its key was invalidated" "1 1 1" INVALIDATE_KEY
holds "  or a prefix" "1 1 1" INVALIDATE_PREFIX
if [ "${MODEL:-}" = full ]; then
	holds "two readers" "2 1 2" MONOTONIC
	holds "  a slow origin" "2 1 2" SLOW
	holds "  TCP" "2 1 2" SLOW TIMED
	holds "  replies by another way" "2 1 2" MONOTONIC UNSEEN
	holds "two fillers" "2 2 1" MONOTONIC
	holds "  and two readers" "1 2 2" MONOTONIC
	holds "two fillers, one of them killed" "1 2 1" MONOTONIC KILL
	holds "two readers, a killed filler" "1 1 2" MONOTONIC KILL
	holds "writers elsewhere of both kinds" "0 1 2" INVALIDATE_KEY INVALIDATE_PREFIX
	holds "  a killed filler" "0 1 1" INVALIDATE_KEY INVALIDATE_PREFIX KILL
	holds "  two fillers" "0 2 1" INVALIDATE_KEY INVALIDATE_PREFIX
fi

# What is assumed is needed: without it the search finds a case.
refuted "with a slow origin an old copy can be read after the new value was" "1 1 1" SLOW MONOTONIC
refuted "nor is a reply that takes another way harmless then" "1 1 1" SLOW UNSEEN
refuted "an invalidation comes too late for who has read the new value elsewhere" "0 1 1" INVALIDATE_KEY MONOTONIC

# WRONG=n: see `mistakes` in the model.
refuted "found: replies raise no fence" "1 1 1" SLOW WRONG=1
refuted "found: fences noted after the fetch" "1 1 1" WRONG=2
refuted "found: published without comparing again" "0 1 1" INVALIDATE_PREFIX WRONG=3
refuted "found: the index looked through before fetches are spoiled" "0 1 1" INVALIDATE_PREFIX WRONG=4
refuted "found: requests raise no fence" "1 1 1" MONOTONIC WRONG=5
refuted "found: a segment that is sent again, or the rest of the data, raises none" "1 1 1" MONOTONIC WRONG=6
refuted "found: slots are used again at once" "1 1 1" MONOTONIC WRONG=7
refuted "found: after a kill nobody waits for readers" "1 1 1" MONOTONIC KILL WRONG=8
refuted "found: a fence's time is written after its count" "1 1 1" MONOTONIC WRONG=9
refuted "found: a new value is written where the old one stands" "1 1 1" MONOTONIC WRONG=10
refuted "found: the filler does not wait for the settle time" "1 1 1" MONOTONIC WRONG=11
tap_done
