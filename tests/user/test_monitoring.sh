#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# The files for Prometheus and Grafana: they parse, every alert fires when it should and only then, and what they ask
# for is there. Without root, and without a running Prometheus: tests/net/test_prometheus.sh has one.
. "$(dirname "$0")/../../scripts/lab.sh"
cd "$LAB_ROOT" || exit 1

command -v promtool >/dev/null || tap_skip_all "no promtool"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

monitoring=docs/monitoring
static=(python3 tests/monitoring/static.py)

# A threshold of 150 ms for 50: then 94 ms are no reason for a warning.
changed_threshold_counts()
{
	mkdir "$tmp/changed" && python3 tests/monitoring/alerts.py "$tmp/changed" WeirLatencyP50High || return 1
	sed '/latency_p50, severity: warning/s/0\.05/0.15/' $monitoring/weir.thresholds.yml >"$tmp/changed/thresholds.yml"
	sed -i "s|[^ ]*/weir.thresholds.yml|thresholds.yml|" "$tmp/changed/alerts.yml"
	promtool test rules "$tmp/changed/alerts.yml" >"$tmp/out" 2>&1 && return 1
	[ "$(grep -c 'expr:.*above the first.*warning' "$tmp/out")" = 1 ] && [ "$(grep -c 'expr:' "$tmp/out")" = 1 ] ||
		{ cat "$tmp/out"; return 1; }
}

expressions_parse()
{
	"${static[@]}" expressions >"$tmp/dashboard.yml" && promtool check rules "$tmp/dashboard.yml"
}

tap_ok "the rules parse" promtool check rules $monitoring/weir.{thresholds,rules,alerts}.yml
tap_ok "the example of a configuration does, with them" promtool check config $monitoring/prometheus.yml
tap_ok "each alert has scenes in which it fires, and in which it does not" \
	python3 tests/monitoring/alerts.py "$tmp"
tap_ok "  and in them it does, not before its time, and of no other severity" \
	promtool test rules "$tmp/alerts.yml" "$tmp/traffic.yml"
tap_ok "recording rules are right; nothing fires on a healthy host, or without data" \
	promtool test rules tests/monitoring/records.yml
tap_ok "so is what is to be expected, after days" promtool test rules tests/monitoring/days.yml
tap_ok "each threshold is used, and none is missing" "${static[@]}" thresholds
tap_ok "a changed threshold changes when an alert fires" \
	changed_threshold_counts
tap_ok "each alert says what, and where to read on; README.md has it" "${static[@]}" texts
tap_ok "the dashboard is well-formed" "${static[@]}" dashboard
tap_ok "  and its expressions are, too" expressions_parse
tap_ok "all metrics in expressions exist" "${static[@]}" names
tap_done
