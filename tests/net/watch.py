#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
    watch.py HOST:PORT SECONDS      asks an agent for /readyz and /metrics, again and again, SECONDS apart, until
                                    SIGTERM; then says in JSON what it saw

Times are of the monotonic clock.

    polls, longest      how often it asked, and the longest that it took
    not_ready           what /readyz said when it was not 200
    fell                counters that fell, or vanished
    no_lease            how often weir_lease_valid was not 1. (Who asks has the agent extend the lease: of an agent
                        that is left alone, look otherwise.)
    starts, loads       how many values weir_agent_start_timestamp_seconds and weir_loaded_timestamp_seconds had
    checks              health checks; checks_most: in a second; checks_pause: the longest that a backend had
                        none; checks_failed
"""

import http.client
import json
import re
import signal
import sys
import time

COUNTER = re.compile(r"\w+(_total|_count|_bucket)(\{.*)?$")
CHECKS = "weir_backend_checks_total"


def get(address, path):
    conn = http.client.HTTPConnection(address, timeout=30)
    try:
        conn.request("GET", path)
        reply = conn.getresponse()
        return reply.status, reply.read().decode()
    finally:
        conn.close()


def series(text):
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


class Watch:
    def __init__(self):
        self.polls, self.longest, self.not_ready, self.fell = 0, 0.0, [], []
        self.no_lease = 0
        self.starts, self.loads = set(), set()
        self.last, self.seen, self.grew, self.pause = {}, [], {}, 0.0

    def counters(self, now):
        for name, value in self.last.items():
            if COUNTER.match(name) and now.get(name, -1) < value:
                self.fell.append(f"{name}: {value} {now.get(name)}")

    def checks(self, at, now):
        """A backend's checks, well or not, are two series."""
        for name, value in now.items():
            if name.startswith(CHECKS) and 'result="ok"' in name:
                value += now[name.replace('result="ok"', 'result="failed"')]
                if self.grew.get(name, (None, None))[0] != value:
                    self.grew[name] = (value, at)
                self.pause = max(self.pause, at - self.grew[name][1])
        self.seen.append((at, sum(v for n, v in now.items() if n.startswith(CHECKS)),
                          sum(v for n, v in now.items() if n.startswith(CHECKS) and "failed" in n)))

    def poll(self, address):
        begin = time.monotonic()
        status, text = get(address, "/readyz")
        if status != 200:
            self.not_ready.append(text.strip())
        status, text = get(address, "/metrics")
        at = time.monotonic()
        self.longest = max(self.longest, at - begin)
        if status != 200:
            self.not_ready.append(f"metrics: {status}")
            return
        now = series(text)
        self.counters(now)
        self.checks(at, now)
        self.no_lease += now.get("weir_lease_valid") != 1
        self.starts.add(now.get("weir_agent_start_timestamp_seconds"))
        self.loads.add(now.get("weir_loaded_timestamp_seconds"))
        self.last = now
        self.polls += 1

    def most_in_a_second(self):
        most = first = 0
        for at, n, _ in self.seen:
            while self.seen[first][0] < at - 1:
                first += 1
            most = max(most, n - self.seen[first][1])
        return most

    def report(self):
        first, last = self.seen[0], self.seen[-1]
        return {"polls": self.polls, "longest": self.longest, "not_ready": self.not_ready, "fell": self.fell,
                "no_lease": self.no_lease, "starts": len(self.starts), "loads": len(self.loads),
                "checks": last[1] - first[1], "checks_most": self.most_in_a_second(), "checks_pause": self.pause,
                "checks_failed": last[2] - first[2]}


def main():
    done = []
    signal.signal(signal.SIGTERM, lambda *_: done.append(1))
    watch = Watch()
    while not done or not watch.polls:
        watch.poll(sys.argv[1])
        time.sleep(float(sys.argv[2]))
    print(json.dumps(watch.report()))


if __name__ == "__main__":
    main()
