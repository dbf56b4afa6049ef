#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
A cache and its clients: keys with a skewed popularity, asked for over UDP.

    zipf.py fill HOST:PORT COUNT BYTES      sets PREFIX0 .. PREFIX(COUNT-1), over TCP
    zipf.py ask HOST:PORT COUNT SKEW RATE SECONDS
                                            gets keys of these by Zipf's law, RATE a second; --shift N: the N-th is the
                                            most asked for. Prints how many were asked for and answered, and the part
                                            that the TOP most asked for would be: the ideal of so many held.
    zipf.py each HOST:PORT COUNT RATE       gets each key once
    zipf.py one HOST:PORT KEY TIMES RATE    gets one key again and again
"""

import argparse
import bisect
import itertools
import json
import random
import select
import socket
import time


def split(target):
    host, port = target.rsplit(":", 1)
    return host.strip("[]"), int(port)


def fill(a):
    value = b"v" * a.bytes
    with socket.create_connection(split(a.target)) as s:
        for i in range(a.count):
            s.sendall(b"set %s%d 0 0 %d noreply\r\n%s\r\n" % (a.prefix.encode(), i, len(value), value))
        s.sendall(b"mn\r\n")
        s.recv(64)


class Client:
    def __init__(self, target):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.connect(split(target))
        self.s.setblocking(False)
        self.asked = self.answered = 0
        self.begin = time.monotonic()

    def drain(self, wait=0.0):
        while select.select([self.s], [], [], wait)[0]:
            try:
                self.s.recv(2048)
                self.answered += 1
            except OSError:
                return

    def get(self, key, rate):
        """One request, when it is due."""
        self.s.send(b"%c%c\0\0\0\1\0\0get %s\r\n" % (self.asked >> 8 & 255, self.asked & 255, key.encode()))
        self.asked += 1
        if self.asked % 16 == 0:
            self.drain()
            late = time.monotonic() - self.begin - self.asked / rate
            if late < 0:
                time.sleep(-late)

    def report(self, **more):
        self.drain(0.2)
        print(json.dumps({"asked": self.asked, "answered": self.answered, **more}))


def ask(a):
    weights = [(i + 1) ** -a.skew for i in range(a.count)]
    sums = list(itertools.accumulate(weights))
    c, rnd = Client(a.target), random.Random(a.seed)
    while time.monotonic() - c.begin < a.seconds:
        n = bisect.bisect(sums, rnd.random() * sums[-1])
        c.get(f"{a.prefix}{(n + a.shift) % a.count}", a.rate)
    c.report(ideal=sums[a.top - 1] / sums[-1])


def each(a):
    c = Client(a.target)
    for i in range(a.count):
        c.get(f"{a.prefix}{i}", a.rate)
    c.report()


def one(a):
    c = Client(a.target)
    for _ in range(a.times):
        c.get(a.key, a.rate)
    c.report()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--prefix", default="key:")
    p.add_argument("--shift", type=int, default=0)
    p.add_argument("--top", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    sub = p.add_subparsers(dest="what", required=True)
    for name, fn, args in (("fill", fill, "count:int bytes:int"), ("ask", ask, "count:int skew:float rate:float seconds:float"),
                           ("each", each, "count:int rate:float"), ("one", one, "key:str times:int rate:float")):
        s = sub.add_parser(name)
        s.set_defaults(fn=fn)
        s.add_argument("target")
        for arg in args.split():
            arg, kind = arg.split(":")
            s.add_argument(arg, type={"int": int, "float": float, "str": str}[kind])
    a = p.parse_args()
    a.fn(a)


if __name__ == "__main__":
    main()
