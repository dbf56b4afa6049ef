#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
Asks a Prometheus, at http://127.0.0.1:9090.

    prometheus.py query EXPRESSION      the values, one a line, each after its labels, sorted; nothing: no series
    prometheus.py wait SECONDS EXPRESSION VALUE
                                        the same, when it has become VALUE, or the time is over
    prometheus.py rules                 "N rules", after what is wrong with any; waits until each was evaluated
    prometheus.py targets               "JOB up", or down and why, one a line
    prometheus.py empty FILE            what the rules of FILE (JSON) would record nothing of, by their label "of"
"""

import json
import sys
import time
import urllib.parse
import urllib.request

URL = "http://127.0.0.1:9090/api/v1/"


def ask(path, **parameters):
    with urllib.request.urlopen(f"{URL}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as reply:
        return json.load(reply)["data"]


def values(expression):
    rows = sorted((json.dumps(r["metric"], sort_keys=True), r["value"][1])
                  for r in ask("query", query=expression)["result"])
    return "\n".join(value if labels == "{}" else f"{labels} {value}" for labels, value in rows)


def query(expression):
    print(values(expression))


def wait(seconds, expression, value):
    end = time.monotonic() + float(seconds)
    while values(expression) != value and time.monotonic() < end:
        time.sleep(0.1)
    query(expression)


def rules():
    end = time.monotonic() + 10
    while True:
        every = [r for g in ask("rules")["groups"] for r in g["rules"]]
        if all(r["health"] != "unknown" for r in every) or time.monotonic() > end:
            break
        time.sleep(0.1)
    for r in every:
        if r["health"] != "ok":
            print(f"{r['name']}: {r['health']} {r.get('lastError', '')}")
    print(len(every), "rules")


def targets():
    for t in sorted(ask("targets")["activeTargets"], key=lambda t: t["labels"]["job"]):
        print(t["labels"]["job"], t["health"], t["lastError"])


def empty(path):
    with open(path) as f:
        every = json.load(f)["groups"][0]["rules"]
    for r in every:
        if not values(r["expr"]):
            print(r["labels"]["of"])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
