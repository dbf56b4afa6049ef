#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
Strict readers of what `weir metrics` prints, on standard input.

    openmetrics.py check            OpenMetrics 1.0.0; "ok: N families, M samples", or what is wrong, with status 1
    openmetrics.py value SERIES     of Prometheus text: the value of NAME{label="value",..}, or "absent"
    openmetrics.py sum NAME [LABEL=REGEX | LABEL!=REGEX]...
                                    of Prometheus text: the sum over the series of a name whose labels match
"""

import math
import re
import sys

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
META = re.compile(r"# (HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$")
SUFFIXES = {"gauge": [""], "counter": ["_total"], "info": ["_info"], "histogram": ["_bucket", "_sum", "_count"]}


class Wrong(Exception):
    pass


def read_labels(text):
    labels, at = {}, 0
    while text and at < len(text):
        m = LABEL.match(text, at)
        if not m or m[1] in labels:
            raise Wrong(f"labels {text}")
        labels[m[1]] = re.sub(r"\\(.)", lambda e: {"n": "\n"}.get(e[1], e[1]), m[2])
        at = m.end()
        if at < len(text):
            if text[at] != ",":
                raise Wrong(f"labels {text}")
            at += 1
    return labels


def read_sample(line):
    m = SAMPLE.match(line)
    if not m:
        raise Wrong("no sample")
    return m[1], read_labels(m[2] or ""), float(m[3])


def check_histograms(name, samples):
    """Each set of labels but `le`: bounds that rise, counts that do not fall, the last of all of them."""
    series = {}
    for suffix, labels, value in samples:
        le = labels.pop("le", None)
        one = series.setdefault(tuple(sorted(labels.items())), {"": []})
        if (suffix == "_bucket") != (le is not None):
            raise Wrong(f"{name}: le of {suffix}")
        if le is not None:
            one[""].append((float(le), value))
        else:
            one[suffix] = value
    for labels, one in series.items():
        bounds, counts = zip(*one[""])
        if list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf or list(counts) != sorted(counts):
            raise Wrong(f"{name}{labels}: buckets {one['']}")
        if one.get("_count") != counts[-1] or one.get("_sum", -1) < 0:
            raise Wrong(f"{name}{labels}: count {one.get('_count')}, sum {one.get('_sum')}")


def check_family(name, meta, samples):
    kind, unit = meta.get("TYPE"), meta.get("UNIT", "")
    if kind not in SUFFIXES or not meta.get("HELP") or not samples:
        raise Wrong(f"{name}: type {kind}, help {meta.get('HELP')}, {len(samples)} samples")
    if unit and not name.endswith("_" + unit):
        raise Wrong(f"{name}: unit {unit}")
    seen = set()
    for suffix, labels, value in samples:
        key = (suffix, tuple(sorted(labels.items())))
        if suffix not in SUFFIXES[kind] or key in seen:
            raise Wrong(f"{name}: {'twice' if key in seen else 'suffix'}: {key}")
        if (kind != "gauge" and not value >= 0) or (kind == "info" and value != 1):
            raise Wrong(f"{name}: value {value}")
        seen.add(key)
    if kind == "histogram":
        check_histograms(name, samples)


def families(lines):
    """(name, metadata, samples) in their order; a sample is (suffix, labels, value)."""
    done, name, meta, samples = set(), None, {}, []
    for line in lines:
        m = META.match(line)
        if m and m[2] != name or m and samples:
            if name:
                yield name, meta, samples
            if m[2] in done:
                raise Wrong(f"{m[2]}: a second time")
            name, meta, samples = m[2], {}, []
            done.add(name)
        if m:
            if m[1] in meta:
                raise Wrong(f"{name}: two of {m[1]}")
            meta[m[1]] = m[3]
            continue
        sample, labels, value = read_sample(line)
        if not name or not sample.startswith(name):
            raise Wrong(f"{sample}: of no family")
        samples.append((sample[len(name):], labels, value))
    if name:
        yield name, meta, samples


def check(text):
    lines = text.split("\n")
    if lines[-2:] != ["# EOF", ""]:
        raise Wrong("the end is not # EOF")
    count = total = 0
    for name, meta, samples in families(lines[:-2]):
        total += len(samples)
        count += 1
        check_family(name, meta, samples)
    print(f"ok: {count} families, {total} samples")


def samples(text):
    return [read_sample(line) for line in text.splitlines() if not line.startswith("#")]


def number(value):
    return str(int(value)) if value == int(value) else repr(value)


def value(text, series):
    name, labels, _ = read_sample(series + " 0")
    found = [v for n, l, v in samples(text) if (n, l) == (name, labels)]
    print(number(found[0]) if found else "absent")


def total(text, name, *matchers):
    def fits(labels):
        for m in matchers:
            key, equal, regex = re.match(r"(\w+)(!?=)(.*)", m).groups()
            if bool(re.fullmatch(regex, labels.get(key, ""))) != (equal == "="):
                return False
        return True

    print(number(sum(v for n, l, v in samples(text) if n == name and fits(l))))


def main():
    try:
        {"check": check, "value": value, "sum": total}[sys.argv[1]](sys.stdin.read(), *sys.argv[2:])
    except Wrong as e:
        print("wrong:", e)
        sys.exit(1)


if __name__ == "__main__":
    main()
