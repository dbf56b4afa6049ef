#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
A StatsD server as servers are: adds up counters, keeps the last of gauges.

    statsd.py HOST PORT FILE    listens until SIGTERM; after each datagram FILE is the state as JSON: counters,
                                gauges, datagrams, longest, wrong (lines that are none)
"""

import json
import os
import re
import socket
import sys

LINE = re.compile(r"([A-Za-z0-9._-]+):(\d+(?:\.\d+)?)\|([cg])")


def main():
    host, port, path = sys.argv[1:]
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, int(port)))
    d = {"counters": {}, "gauges": {}, "datagrams": 0, "longest": 0, "wrong": []}
    while True:
        data = s.recv(65536)
        d["datagrams"] += 1
        d["longest"] = max(d["longest"], len(data))
        for line in data.decode().split("\n"):
            m = LINE.fullmatch(line)
            if not m:
                d["wrong"].append(line)
            elif m[3] == "c":
                d["counters"][m[1]] = d["counters"].get(m[1], 0) + float(m[2])
            else:
                d["gauges"][m[1]] = float(m[2])
        with open(path + ".new", "w") as f:
            json.dump(d, f)
        os.rename(path + ".new", path)


if __name__ == "__main__":
    main()
