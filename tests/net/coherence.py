#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
Many clients read and write a few hot keys through Weir; then a checker looks for reads that are too old.

    coherence.py LOG [options] TARGET...    HOST:PORT, which clients take in turn

All connections are opened and all keys are set (with --base: they are what the run before left); then LOG.ready
appears, and it goes on when LOG.go does. After --seconds it prints what was done and found, as one JSON document.

A value names its version. Each key k* has one writer at a time, which sends the next write only when it knows the end
of the one before, or by a way that keeps their order; so versions are applied in their order. Keys c* are numbers that
several writers increment: the number is the version. For each read, with the times at which it began and ended:

- its version is no older than any write that was acknowledged before it began,
- nor than what a read that had ended before it began saw,
- and no newer than any write that had begun before it ended;
- if there was no value, then a delete is that version; or a flush_all may have come after all writes that are over.
"""

import argparse
import bisect
import collections
import json
import os
import pickle
import random
import re
import socket
import struct
import sys
import threading
import time
import traceback

FRAME = struct.Struct(">HHHH")  # request id, sequence, datagrams, reserved
BINARY = struct.Struct(">BBHBBHIIQ")
VERSION = re.compile(rb"\|v(\d+)\|")
DONE = (b"STORED", b"DELETED", b"HD", b"OK", b"RESET")
GONE = (b"NOT_FOUND", b"NF")  # of a delete: it is done, too
TRAPS = (b"\r\n", b"set k1 0 0 1\r\nx\r\n", b"flush_all\r\n", b"get ", b"\x80\x04\0\2\0\0\0\0\0\0\0\2", b"END\r\n",
         b"mn\r\n", b"delete k0 noreply\r\n", b"x" * 90, b"ms k2 4000\r\n", b"\x81\0", b"0 0 10\r\n")
now = time.monotonic

# What was done with a key: kind is w(rite), d(elete), r(ead), m(iss) or f(lush); end None: unknown.
Event = collections.namedtuple("Event", "kind key version begin end how")


class Lost(Exception):
    """No reply in time."""


def split(target):
    host, port = target.rsplit(":", 1)
    return host.strip("[]"), int(port)


def family(target):
    return socket.AF_INET6 if ":" in split(target)[0] else socket.AF_INET


# ---- ways to the server

class Udp:
    def __init__(self, target, args):
        self.sock = socket.socket(family(target), socket.SOCK_DGRAM)
        self.sock.settimeout(args.timeout)
        self.sock.connect(split(target))
        self.id = random.randrange(65536)

    def ask(self, request):
        self.id = (self.id + 1) & 0xFFFF
        parts = {}
        try:
            self.sock.send(FRAME.pack(self.id, 0, 1, 0) + request)
            while True:
                data = self.sock.recv(65536)
                got, seq, count, _ = FRAME.unpack_from(data)
                if got != self.id:
                    continue  # late, of a request that was given up
                parts[seq] = data[FRAME.size:]
                if len(parts) == count:
                    return b"".join(parts[i] for i in range(count))
        except (OSError, KeyError) as e:
            raise Lost from e

    def ask_line(self, request):
        return self.ask(request).rstrip(b"\r\n")

    ask_value = ask_binary = ask


class Tcp:
    def __init__(self, target, args):
        self.sock = socket.socket(family(target), socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(split(target))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tiny = args.tiny
        self.buffer = b""

    def send(self, data):
        """Often in segments of a few bytes."""
        if random.random() >= self.tiny:
            self.sock.sendall(data)
            return
        while data:
            n = random.choice((1, 2, 3, 5, 8, 13, 40))
            self.sock.sendall(data[:n])
            data = data[n:]

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def bytes(self, n):
        while len(self.buffer) < n:
            self.more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def ask_line(self, request):
        self.send(request)
        return self.line()

    def ask_value(self, request):
        """A reply to get, gets or mg, whole."""
        self.send(request)
        head = self.line()
        words = head.split()
        if words[0] not in (b"VALUE", b"VA"):
            return head + b"\r\n"
        n = int(words[3] if words[0] == b"VALUE" else words[1])
        data = head + b"\r\n" + self.bytes(n + 2)
        return data + (self.line() + b"\r\n" if words[0] == b"VALUE" else b"")

    def ask_binary(self, request):
        self.send(request)
        return self.binary()

    def binary(self):
        head = self.bytes(BINARY.size)
        return head + self.bytes(BINARY.unpack(head)[6])


def binary(opcode, key, extras=b"", value=b"", cas=0):
    return BINARY.pack(0x80, opcode, len(key), len(extras), 0, 0, len(extras) + len(key) + len(value), 1,
                       cas) + extras + key + value


def status(reply):
    return BINARY.unpack_from(reply)[5]


# ---- reads

class Missing(Exception):
    pass


def parse_text(reply):
    """Value and CAS of what get, gets and mg say."""
    head, _, rest = reply.partition(b"\r\n")
    words = head.split()
    if not words or words[0] in (b"END", b"EN"):
        raise Missing
    if words[0] == b"VALUE":
        return rest[:int(words[3])], int(words[4]) if len(words) > 4 else 0
    if words[0] == b"VA":
        return rest[:int(words[1])], next((int(w[1:]) for w in words[2:] if w[:1] == b"c"), 0)
    raise ValueError(reply)


def read(way, how, key):
    if how == "binary":
        reply = way.ask_binary(binary(0x00, key))
        if status(reply) == 1:
            raise Missing
        head = BINARY.unpack_from(reply)
        return reply[BINARY.size + head[3]:], head[8]
    return parse_text(way.ask_value({"get": b"get %s\r\n", "gets": b"gets %s\r\n", "mg": b"mg %s v c\r\n"}[how] % key))


def version_of(key, value):
    if key[:1] == b"c":
        return int(value)
    return int(VERSION.findall(value)[-1])


def logged_read(log, way, how, key):
    """Value and CAS; None: there is none, or no reply came."""
    begin = now()
    try:
        value, cas = read(way, how, key)
    except Missing:
        log.append(Event("m", key, None, begin, now(), how))
        return None
    except Lost:
        return None
    end = now()
    try:
        version = version_of(key, value)
    except (ValueError, IndexError):
        version = -1  # nothing that was ever written
    log.append(Event("r", key, version, begin, end, type(way).__name__ + " " + how))
    return value, cas


def reader(log, way, end, args, rng, keys):
    hows = ["binary"] if isinstance(way, Tcp) and rng.random() < 0.5 else ["get", "gets", "mg"]
    if isinstance(way, Udp):
        hows = ["get", "gets", "mg", "binary"]
    while now() < end:
        logged_read(log, way, rng.choice(hows), rng.choice(keys))
        time.sleep(rng.random() * 2 / args.rate)


# ---- writes

class Writer:
    """Some keys of its own, and the counters; one way to the server."""

    def __init__(self, log, way, args, rng, keys, speaks):
        self.log, self.way, self.args, self.rng = log, way, args, rng
        self.speaks = speaks  # text (and meta) or binary
        self.version = {k: args.base for k in keys}
        self.there = {k: False for k in keys}
        self.size = {k: 0 for k in keys}

    def value(self, key):
        """The next version, and what is written of it."""
        self.version[key] += 1
        junk = b"".join(self.rng.choice(TRAPS) for _ in range(self.rng.randrange(4)))
        return b"|v%d|" % self.version[key] + junk

    def write(self, key, how, ask, done, value=b""):
        """One write, logged: `ask` sends and gives what `done` understands."""
        version, begin = self.version[key], now()
        try:
            ok = done(ask())
        except Lost:
            ok = None
        if ok is not False:
            self.log.append(Event("w" if value else "d", key, version, begin, now() if ok else None, how))
        self.there[key] = bool(ok and value)
        return ok

    def once(self, key):
        kinds = ["set", "set", "cas"]
        if not self.args.cas_only or isinstance(self.way, Tcp):
            kinds += ["delete"]
            if self.there[key] and self.size[key] < 600:
                kinds += ["append"]
            if isinstance(self.way, Tcp):
                kinds += ["noreply", "pipeline", "pipeline"]
                if self.args.slow:
                    kinds += ["slow", "slow_merged"]
        else:
            kinds = ["cas"]  # what arrives late then has no effect
        kind = self.rng.choice(kinds)
        getattr(self, self.speaks + "_" + kind)(key)

    # text and meta

    def text(self, key, kind):
        """A command that replies with a line."""
        if kind == "delete":
            self.version[key] += 1
            return self.rng.choice((b"delete %s\r\n", b"md %s\r\n", b"delete %s 0\r\n")) % key, b""
        value = self.value(key)
        if kind == "append":
            head = self.rng.choice((b"append %s 7 0 %d\r\n", b"ms %s %d MA\r\n")) % (key, len(value))
            self.size[key] += len(value)
        else:
            head = self.rng.choice((b"set %s 5 0 %d\r\n", b"ms %s %d F3\r\n", b"ms %s %d T0 c O77\r\n"))
            head = head % (key, len(value))
            self.size[key] = len(value)
        return head + value + b"\r\n", value

    @staticmethod
    def line_done(line, deletes=False):
        word = line.split()[0]
        return word in DONE or deletes and word in GONE or False

    def text_set(self, key, kind="set"):
        request, value = self.text(key, kind)
        self.write(key, "text " + kind, lambda: self.way.ask_line(request),
                   lambda r: self.line_done(r, not value), value)

    def text_append(self, key):
        self.text_set(key, "append")

    def text_delete(self, key):
        self.text_set(key, "delete")

    def text_cas(self, key):
        got = logged_read(self.log, self.way, self.rng.choice(("gets", "mg")), key)
        if not got:
            if not self.args.cas_only or isinstance(self.way, Tcp):
                self.text_set(key)
            return
        value = self.value(key)
        self.size[key] = len(value)
        request = self.rng.choice((b"cas %s 0 0 %d %d\r\n", b"ms %s %d C%d\r\n"))
        request = request % ((key, len(value), got[1])) + value + b"\r\n"
        self.write(key, "text cas", lambda: self.way.ask_line(request), self.line_done, value)

    def text_noreply(self, key):
        """The reply to what follows on the connection says that it was done."""
        value = self.value(key)
        self.size[key] = len(value)
        head = self.rng.choice((b"set %s 0 0 %d noreply\r\n", b"ms %s %d q\r\n")) % (key, len(value))
        self.write(key, "text noreply", lambda: self.way.ask_line(head + value + b"\r\nmn\r\n"),
                   lambda r: r == b"MN" or None, value)

    def text_pipeline(self, key):
        """Writes to many keys, and reads between them, in one go."""
        keys = self.rng.sample(list(self.version), min(len(self.version), self.rng.randrange(2, 12)))
        request, expected = b"", []
        for k in keys:
            part, value = self.text(k, self.rng.choice(("set", "set", "delete")))
            request += part + b"mn\r\n"
            expected.append((k, value))
        begin = now()
        self.way.send(request)
        for k, value in expected:
            ok = self.line_done(self.way.line(), not value)
            if ok:
                self.log.append(Event("w" if value else "d", k, self.version[k], begin, now(), "text pipeline"))
            self.there[k] = bool(ok and value)
            self.way.line()

    def text_slow(self, key):
        """The end of the data comes when the settle time is over."""
        request, value = self.text(key, "set")
        cut = request.index(b"\r\n") + 2 + self.rng.randrange(2)

        def ask():
            self.way.sock.sendall(request[:cut])
            time.sleep(2.3)
            return self.way.ask_line(request[cut:])
        self.write(key, "text slow", ask, self.line_done, value)

    def text_slow_merged(self, key):
        """The same without replies; its end is in one segment with the next command."""
        other = self.rng.choice(list(self.version))
        value = self.value(key)
        self.size[key] = len(value)
        head = b"set %s 0 0 %d noreply\r\n" % (key, len(value))

        def ask():
            self.way.sock.sendall(head + value[:3])
            time.sleep(2.3)
            self.way.sock.sendall(value[3:] + b"\r\ntouch %s 0 noreply\r\n" % other)
            time.sleep(0.5)
            return self.way.ask_line(b"mn\r\n")
        self.write(key, "text slow merged", ask, lambda r: r == b"MN" or None, value)

    # binary

    def binary_done(self, reply):
        return status(reply) == 0

    def binary_set(self, key, cas=0, how="set"):
        value = self.value(key)
        self.size[key] = len(value)
        request = binary(self.rng.choice((0x01, 0x01, 0x03 if self.there[key] and not cas else 0x01)), key,
                         struct.pack(">II", 1, 0), value, cas)
        self.write(key, "binary " + how, lambda: self.way.ask_binary(request), self.binary_done, value)

    def binary_append(self, key):
        value = self.value(key)
        self.size[key] += len(value)
        request = binary(0x0E, key, b"", value)
        self.write(key, "binary append", lambda: self.way.ask_binary(request), self.binary_done, value)

    def binary_delete(self, key):
        self.version[key] += 1
        self.write(key, "binary delete", lambda: self.way.ask_binary(binary(0x04, key)),
                   lambda r: status(r) in (0, 1))

    def binary_cas(self, key):
        got = logged_read(self.log, self.way, "binary", key)
        if got:
            self.binary_set(key, got[1], "cas")
        elif not self.args.cas_only or isinstance(self.way, Tcp):
            self.binary_set(key)

    def binary_noreply(self, key):
        value = self.value(key)
        self.size[key] = len(value)
        request = binary(0x11, key, struct.pack(">II", 1, 0), value) + binary(0x0A, b"")
        self.write(key, "binary noreply", lambda: self.way.ask_binary(request), self.binary_done, value)

    def binary_pipeline(self, key):
        keys = self.rng.sample(list(self.version), min(len(self.version), self.rng.randrange(2, 12)))
        request, values = b"", []
        for k in keys:
            values.append(self.value(k))
            self.size[k] = len(values[-1])
            request += binary(0x01, k, struct.pack(">II", 1, 0), values[-1])
        begin = now()
        self.way.send(request)
        for k in keys:
            if status(self.way.binary()) == 0:
                self.log.append(Event("w", k, self.version[k], begin, now(), "binary pipeline"))
                self.there[k] = True

    binary_slow = binary_slow_merged = binary_pipeline

    # counters

    def increment(self, key):
        begin = now()
        try:
            if self.speaks == "binary":
                reply = self.way.ask_binary(binary(0x05, key, struct.pack(">QQI", 1, 0, 0xFFFFFFFF)))
                number = struct.unpack(">Q", reply[-8:])[0] if status(reply) == 0 else None
            else:
                number = int(self.way.ask_line(b"incr %s 1\r\n" % key).split()[0])
        except (Lost, ValueError):
            return
        if number is not None:
            self.log.append(Event("w", key, number, begin, now(), "incr"))

    def run(self, end, counters):
        """Each key now and then, with pauses about as long as the settle time, so that there are hits between."""
        at = [(now() + self.rng.random() * self.args.pause[1], k) for k in list(self.version) + counters]
        while True:
            t, key = min(at)
            if t >= end:
                return
            time.sleep(max(0, t - now()))
            for _ in range(self.rng.choice((1, 1, 2, 4))):
                if key in counters:
                    self.increment(key)
                else:
                    self.once(key)
            at[at.index((t, key))] = (now() + self.rng.uniform(*self.args.pause), key)


def flusher(log, way, end, args, rng):
    while now() + args.flush < end:
        time.sleep(args.flush)
        begin = now()
        if way.ask_line(b"flush_all\r\n") == b"OK":
            log.append(Event("f", None, None, begin, now(), "flush_all"))


# ---- processes and threads

def guarded(fn, faults, *words):
    try:
        fn(*words)
    except Exception:
        faults.append(traceback.format_exc())


def keys_of(args):
    return [b"k%d" % i for i in range(args.keys)], [b"c%d" % i for i in range(args.counters)]


def start_readers(args, log):
    keys, counters = keys_of(args)
    jobs = []
    for i in range(args.readers):
        kind = Tcp if i % 4 == 3 else Udp
        way = kind(args.target[i % len(args.target)], args)
        jobs.append((reader, log, way, args, random.Random(args.seed * 1000 + i), keys + counters))
    return jobs


def start_counters(args, log, counters):
    """Those that are not there: above all that they were before."""
    way = Tcp(args.target[0], args)
    for key in counters:
        begin, number = now(), b"%d" % (args.base + 1)
        if way.ask_line(b"add %s 0 0 %d\r\n%s\r\n" % (key, len(number), number)) == b"STORED":
            log.append(Event("w", key, int(number), begin, now(), "add"))


def start_writers(args, log):
    keys, counters = keys_of(args)
    jobs = []
    start_counters(args, log, counters)
    for i, how in enumerate(args.writers):
        way = (Udp if how.startswith("udp") else Tcp)(args.target[i % len(args.target)], args)
        rng = random.Random(args.seed * 1000 + 500 + i)
        w = Writer(log, way, args, rng, keys[i::len(args.writers)], "binary" if how.endswith("binary") else "text")
        for k in w.version:
            while not args.base and not w.there[k]:  # of a lost datagram it is not known whether it arrives later
                (w.binary_set if w.speaks == "binary" else w.text_set)(k)
        jobs.append((w.run, way, counters))
    if args.flush:
        jobs.append((flusher, log, Tcp(args.target[0], args), args, random))
    return jobs


def start(job, end, faults):
    """`end` stands where each expects it."""
    fn, *words = job
    words = [end, words[1]] if getattr(fn, "__name__", "") == "run" else [words[0], words[1], end, *words[2:]]
    t = threading.Thread(target=guarded, args=(fn, faults, *words), daemon=True)
    t.start()
    return t


def process(args, make, ready, go, out):
    """A child: `ready` when its connections are there; begins with `go`; its log goes to `out`."""
    log, faults = [], []
    try:
        jobs = make(args, log)
        os.write(ready, b"1")
        os.read(go, 1)
        end = now() + args.seconds
        threads = [start(j, end, faults) for j in jobs]
        for t in threads:
            t.join(args.seconds + 40)
            if t.is_alive():
                faults.append("a client did not end")
    except Exception:
        faults.append(traceback.format_exc())
        os.write(ready, b"0")
    with open(out, "wb") as f:
        pickle.dump((list(log), faults), f)
    os._exit(0)


def fork(args):
    ready, go = os.pipe(), os.pipe()
    outs = []
    for make in start_writers, start_readers:
        outs.append(f"{args.log}.{make.__name__}")
        if not os.fork():
            process(args, make, ready[1], go[0], outs[-1])
        os.read(ready[0], 1)  # the readers find the keys set
    with open(args.log + ".ready", "w"):
        pass
    while not os.path.exists(args.log + ".go"):
        time.sleep(0.02)
    os.write(go[1], b"gg")
    events, faults = [], []
    for _ in outs:
        os.wait()
    for out in outs:
        with open(out, "rb") as f:
            log, bad = pickle.load(f)
        events += log
        faults += bad
    return events, faults


# ---- the checker

class Newest:
    """The newest version among those whose time is before a given one."""

    def __init__(self, pairs):
        self.times, self.best = [], []
        for t, v in sorted(pairs):
            self.times.append(t)
            self.best.append(max(v, self.best[-1]) if self.best else v)

    def before(self, t):
        i = bisect.bisect_left(self.times, t)
        return self.best[i - 1] if i else 0


def flushed(flushes, writes, r):
    """Whether a flush_all may be what this read found: no write that began after it was over before the read began."""
    return any(f.begin <= r.end and not any(w.begin > f.end and w.end is not None and w.end < r.begin for w in writes)
               for f in flushes)


def check_key(events, flushes, base):
    """What is wrong with the reads of a key."""
    writes = [e for e in events if e.kind in "wd"]
    acknowledged = Newest((e.end, e.version) for e in writes if e.end is not None)
    begun = Newest((e.begin, e.version) for e in writes)
    deleted = Newest((e.begin, e.version) for e in writes if e.kind == "d")
    seen = Newest((e.end, e.version) for e in events if e.kind == "r")
    by_version = {e.version: e for e in writes}
    for r in events:
        if r.kind == "m":
            if deleted.before(r.end) < acknowledged.before(r.begin) and not flushed(flushes, writes, r):
                yield "no value, after a write was acknowledged", r, acknowledged.before(r.begin)
        elif r.kind == "r":
            if r.version < acknowledged.before(r.begin):
                yield "older than an acknowledged write", r, acknowledged.before(r.begin)
            elif r.version < seen.before(r.begin):
                yield "older than an earlier read", r, seen.before(r.begin)
            elif r.key[:1] == b"k" and r.version > max(base, begun.before(r.end)):
                yield "of the future", r, begun.before(r.end)
            w = by_version.get(r.version)
            if w and w.end is not None and any(w.end < f.begin and f.end < r.begin for f in flushes):
                yield "from before a flush_all", r, r.version


def check(events, base):
    by_key = collections.defaultdict(list)
    for e in events:
        if e.key is not None:
            by_key[e.key].append(e)
    flushes = [e for e in events if e.kind == "f"]
    return [v for k in by_key for v in check_key(by_key[k], flushes, base)]


def report(events, faults, bad):
    kinds = collections.Counter(what for what, _, _ in bad)
    count = collections.Counter(e.kind for e in events)
    wrote = {(e.key, e.version): e.how for e in events if e.kind in "wd"}
    return {
        "reads": count["r"] + count["m"], "misses": count["m"],
        "writes": count["w"] + count["d"], "flushes": count["f"],
        "unknown": sum(e.end is None for e in events), "violations": len(bad), "kinds": dict(kinds), "faults": faults,
        "by": dict(collections.Counter(e.how for e in events if e.kind in "wd")),
        "first": [f"{what}: {r.how} of {r.key.decode()} at {r.begin:.4f}-{r.end:.4f}: {r.version}, not {want} "
                  f"({wrote.get((r.key, want))})" for what, r, want in sorted(bad, key=lambda b: b[1].begin)[:10]],
    }


def context(events, bad, n=12):
    """What happened to the key before the first violation, for people."""
    first = min(bad, key=lambda b: b[1].begin)[1]
    around = sorted((e for e in events if e.key in (first.key, None) and e.begin <= first.end), key=lambda e: e.begin)
    return [f"{e.kind} {e.version} {e.begin:.4f}-{e.end or 0:.4f} {e.how}" for e in around[-n:]]


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("log")
    ap.add_argument("target", nargs="+")
    ap.add_argument("--seconds", type=float, default=5)
    ap.add_argument("--keys", type=int, default=48)
    ap.add_argument("--counters", type=int, default=4)
    ap.add_argument("--readers", type=int, default=8)
    ap.add_argument("--rate", type=float, default=400, help="reads a second of each reader, at most")
    ap.add_argument("--writers", type=lambda s: s.split(","),
                    default="tcp,udp,tcp-binary,udp-binary,tcp,tcp".split(","))
    ap.add_argument("--pause", type=lambda s: [float(x) for x in s.split("-")], default=[0.1, 6.0])
    ap.add_argument("--tiny", type=float, default=0.3, help="so many of the requests are cut into small segments")
    ap.add_argument("--slow", action="store_true",
                    help="now and then a value's end comes long after its beginning")
    ap.add_argument("--cas-only", action="store_true", help="over UDP: for a wire that delivers late")
    ap.add_argument("--base", type=int, default=0, help="versions begin above; 0: all keys are set at first")
    ap.add_argument("--flush", type=float, default=0, help="flush_all every so many seconds")
    ap.add_argument("--timeout", type=float, default=1.0)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    args = ap.parse_args(argv)
    events, faults = fork(args)
    bad = check(events, args.base)
    doc = report(events, faults, bad)
    if bad:
        doc["context"] = context(events, bad)
    print(json.dumps(doc, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
