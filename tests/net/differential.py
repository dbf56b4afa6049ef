#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
The same requests to one memcached, directly and through Weir: the datagrams that come back must be
the same, byte for byte.

	differential.py reads|writes --weir ADDRESS --direct ADDRESS --tcp ADDRESS --keys FILE --warm COMMAND

Both addresses (ADDRESS:PORT) are UDP sockets of the same memcached; only the first is a service of
Weir's. Each request is followed by a lookup of a key that does not exist: its END comes back after
all replies, so that nothing waits for a time-out. Prints what was sent, by kind; differences are
printed as the two lists of datagrams, and the exit status is 1.
"""

import argparse
import base64
import random
import re
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-:./%"
BIN_READS = (0x00, 0x09, 0x0C, 0x0D)


def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Peer:
    """One UDP address of memcached."""

    def __init__(self, where):
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.connect(where)
        self.barriers = 0

    def _barrier(self, rid):
        """Sends the lookup whose END marks the end; the key makes it unique."""
        self.barriers += 1
        self.sock.send(struct.pack(">HHHH", rid, 0, 1, 0) + b"get barrier-%d\r\n" % self.barriers)

    def _receive(self, seconds):
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def ask(self, datagram, rid):
        """All replies to a datagram with this request id, in order."""
        end_id = rid ^ 0x8000
        end = struct.pack(">HHHH", end_id, 0, 1, 0) + b"END\r\n"
        replies = []
        self.sock.send(datagram)
        for _ in range(20):
            self._barrier(end_id)
            while (reply := self._receive(0.2)) is not None and reply != end:
                if reply[:2] == datagram[:2]:
                    replies.append(reply)
            if reply == end:
                break
        else:
            sys.exit(f"no answer behind {datagram!r}")
        # A reply of Weir's and one of memcached's may overtake each other; also drains what is late.
        wait = 0.0005 if replies else 0.003
        while (reply := self._receive(wait)) is not None:
            if reply[:2] == datagram[:2]:
                replies.append(reply)
        return replies


class Store:
    """The items, put in by TCP before anything is asked."""

    def __init__(self, rng, where, keys_file):
        self.rng = rng
        self.tcp = socket.create_connection(where)
        self.stream = self.tcp.makefile("rb")
        self.hot, self.cold = [], []
        self.fitting = []  # what of the hot ones fits one datagram: these are warmed
        self._fill()
        with open(keys_file, "wb") as out:
            out.write(b"".join(k + b"\n" for k in self.fitting))

    def command(self, line, data=None):
        self.tcp.sendall(line + b"\r\n" + (data + b"\r\n" if data is not None else b""))
        return self.stream.readline()

    def _key(self, length):
        return bytes(self.rng.choice(LETTERS) for _ in range(length))

    def _value(self, length):
        kind = self.rng.randrange(3)
        if kind == 0:
            return self.rng.randbytes(length)
        if kind == 1:
            return (b"END\r\nVALUE x 0 1\r\n" * (length // 18 + 1))[:length]
        return bytes(self.rng.choice(LETTERS) for _ in range(length))

    def _add(self, key, length, keys):
        flags = self.rng.choice((0, 0, 5, 65535, 4294967295))
        value = self._value(length)
        if self.rng.random() < 0.05 and len(key) < 180:
            # Held as a binary key: k returns it in base64.
            line = b"ms %s %d b F%d" % (base64.b64encode(key), length, flags)
            assert self.command(line, value) == b"HD\r\n"
        else:
            assert self.command(b"set %s %d 0 %d" % (key, flags, length), value) == b"STORED\r\n"
        keys.append(key)
        if keys is self.hot and len(b"VALUE %s %d %d\r\n\r\nEND\r\n" % (key, flags, length)) + length <= 1392:
            self.fitting.append(key)

    def _fill(self):
        lengths = list(range(0, 20)) + [31, 32, 33, 63, 64, 100, 255, 256, 257, 500, 999, 1000]
        key_lengths = list(range(1, 34)) + [63, 64, 65, 127, 128, 248, 249, 250]
        for n in key_lengths:
            self._add(b"%.*s" % (n, self._key(n)), self.rng.choice(lengths), self.hot)
        for n in lengths + list(range(1340, 1392)):
            self._add(b"v%d-%s" % (n, self._key(3)), n, self.hot)
        for n in range(60):
            self._add(b"cold%d" % n, self.rng.choice(lengths + [1380, 1500, 5000]), self.cold)

    def key(self):
        r = self.rng.random()
        if r < 0.8:
            return self.rng.choice(self.hot)
        return self.rng.choice(self.cold) if r < 0.9 else b"none%d" % self.rng.randrange(99)


def binary(op, key, ext=b"", value=b"", opaque=0, cas=0, vbucket=0, data_type=0):
    head = struct.pack(">BBHBBHIIQ", 0x80, op, len(key), len(ext), data_type, vbucket,
                       len(ext) + len(key) + len(value), opaque, cas)
    return head + ext + key + value


class Reads:
    """Makes up lookups, right ones and bent ones."""

    def __init__(self, rng, store):
        self.rng, self.store = rng, store

    def text(self):
        verb = self.rng.choice((b"get", b"get", b"gets"))
        many = 1 if self.rng.random() < 0.85 else self.rng.randrange(2, 6)
        line = b" ".join([verb] + [self.store.key() for _ in range(many)])
        return line + self.rng.choice((b"\r\n", b"\r\n", b"\n"))

    def meta(self):
        flags = [bytes([c]) for c in self.rng.sample(b"kvsftcqu", self.rng.randrange(0, 9))]
        if self.rng.random() < 0.4:
            flags.append(b"O" + bytes(self.rng.choice(LETTERS) for _ in range(self.rng.randrange(0, 32))))
        key = self.store.key()
        if self.rng.random() < 0.25 and len(key) < 180:
            key = base64.b64encode(key)
            flags.append(b"b")
        self.rng.shuffle(flags)
        return b" ".join([b"mg", key] + flags) + b"\r\n"

    def binary(self):
        return binary(self.rng.choice(BIN_READS), self.store.key(), opaque=self.rng.getrandbits(32),
                      cas=self.rng.choice((0, 0, 7)), vbucket=self.rng.choice((0, 0, 3)))

    def bent(self):
        """A lookup with something wrong in it, or just unusual."""
        r, data = self.rng, self.rng.choice((self.text, self.meta))()
        way = r.randrange(13)
        if way == 0:
            return data.replace(b" ", b"  ", r.randrange(1, 3))
        if way == 1:
            return data.rstrip(b"\r\n") + b" \r\n"
        if way == 2:
            return data.rstrip(b"\r\n")
        if way == 3:
            return b" " + data
        if way == 4:
            return data + r.choice((self.text, self.meta))()
        if way == 5:
            at = r.randrange(len(data))
            return data[:at] + bytes([r.randrange(256)]) + data[at + 1:]
        if way == 6:
            return data[:r.randrange(len(data))]
        if way == 7:
            flag = r.choice((b"v", b"k", b"h", b"x", b"9", b"v1", b"O" * 40, b"b"))
            return data.rstrip(b"\r\n") + b" " + flag + b"\r\n"
        if way == 8:
            return data.upper()
        if way == 9:
            return r.choice((b"mn\r\n", b"version\r\n", b"get\r\n", b"get \r\n", b"mg\r\n", b"gets\r\n",
                             b"\r\n", b"x"))
        if way == 11:
            return data.rstrip(b"\r\n") + b" O" + b"9" * r.randrange(29, 36) + b"\r\n"
        if way == 10:
            return b"get " + b"k" * r.randrange(249, 260) + b"\r\n"
        return data.rstrip(b"\r\n") + bytes([r.choice((0, 1, 9, 11, 13, 127, 255))]) + b"\r\n"


WRITE = re.compile(rb"(^|\n) *(set|add|replace|append|prepend|cas|delete|incr|decr|touch|gat|gats|ms|md|ma|flush_all|"
                   rb"quit|shutdown|stats|me|lru|slabs|watch|verbosity|cache_memlimit|extstore|misbehave)\b|"
                   rb"mg [^\n]* [NRTl]", re.IGNORECASE)


def harmless(data):
    """Both sides must see one state: nothing that writes or that depends on the second."""
    return data[:1] != b"\x80" and not WRITE.search(data)


class Run:
    def __init__(self, args):
        self.seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(32)
        self.rng = random.Random(self.seed)
        print(f"# seed {self.seed}")
        self.store = Store(self.rng, args.tcp, args.keys)
        self.weir, self.direct = Peer(args.weir), Peer(args.direct)
        self.warm_command = shlex.split(args.warm)
        self.kinds, self.differences, self.rid = Counter(), 0, 0

    def warm(self):
        done = subprocess.run(self.warm_command, capture_output=True, text=True)
        if done.returncode not in (0, 5):
            sys.exit(f"warming failed: {done.returncode}: {done.stdout}{done.stderr}")

    def frame(self, seq=0, count=1):
        self.rid = (self.rid + 1) & 0x7FFF
        return struct.pack(">HHHH", self.rid, seq, count, 0)

    def compare(self, kind, data, frame=None):
        frame = frame or self.frame()
        want = self.direct.ask(frame + data, self.rid)
        got = self.weir.ask(frame + data, self.rid)
        self.kinds[kind] += 1
        if got == want:
            return
        self.differences += 1
        if self.differences <= 20:
            print(f"# {kind}: {data[:200]!r} (frame {frame.hex()})\n#   direct {want!r}\n#   weir   {got!r}")

    def report(self):
        print("# sent: " + ", ".join(f"{n} {kind}" for kind, n in sorted(self.kinds.items())))
        print(f"# {self.differences} differences in {sum(self.kinds.values())}")
        return 1 if self.differences else 0


def reads(run, count):
    made = Reads(run.rng, run.store)
    run.warm()
    for _ in range(count):
        kind = run.rng.choice(("text", "meta", "binary"))
        run.compare(kind, getattr(made, kind)())
    # What is not understood, and what memcached refuses, fences the service, and warming waits until it
    # settles. So the ones that look like plain lookups come first.
    bent = []
    while len(bent) < count // 4:
        if harmless(data := made.bent()):
            plain = re.match(rb"(get|gets|mg) ", data) and data.count(b"\n") == 1 and data.endswith(b"\n")
            refused = any(b"ERROR" in r for r in run.direct.ask(run.frame() + data, run.rid))
            bent.append((bool(refused) + 2 * (not plain), data))
    bent.sort(key=lambda b: b[0])
    for i, (_, data) in enumerate(bent):
        if i % max(count // 40, 25) == 0:
            run.warm()
        run.compare("bent", data)
        run.compare("text", made.text())
        run.compare("binary", made.binary())
        frame = run.frame(run.rng.choice((0, 1, 7)), run.rng.choice((0, 1, 1, 2, 256)))
        run.compare("frame header", made.text(), frame)


class Writes:
    """Makes up writes of a few keys."""

    def __init__(self, rng, keys):
        self.rng, self.keys, self.n = rng, keys, 0

    def _value(self):
        self.n += 1
        return b"%d-" % self.n + bytes(self.rng.choice(LETTERS) for _ in range(self.rng.randrange(40)))

    def storage(self, key):
        value = self._value()
        verb = self.rng.choice((b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend"))
        return b"%s %s %d 0 %d\r\n%s\r\n" % (verb, key, self.rng.randrange(99), len(value), value)

    def number(self, key):
        return b"set %s 0 0 2\r\n%d\r\n" % (key, self.rng.randrange(10, 99))

    def line(self, key):
        return self.rng.choice((b"delete %s\r\n", b"incr %s 1\r\n", b"decr %s 1\r\n",
                                b"touch %s 100000\r\n")) % key

    def gat(self, key):
        return b"gat 100000 %s\r\n" % key

    def meta(self, key):
        value = self._value()
        b64, flag = (base64.b64encode(key), b" b") if self.rng.random() < 0.3 else (key, b"")
        return self.rng.choice((b"ms %s %d c F7%s\r\n%s\r\n" % (b64, len(value), flag, value),
                                b"md %s q%s\r\n" % (b64, flag), b"ma %s N0 J5 v%s\r\n" % (b64, flag),
                                b"ms %s %d MA%s\r\n%s\r\n" % (b64, len(value), flag, value)))

    def binary(self, key):
        value = self._value()
        return self.rng.choice((
            binary(0x01, key, struct.pack(">II", 3, 0), value),
            binary(0x02, key, struct.pack(">II", 3, 0), value),
            binary(0x03, key, struct.pack(">II", 3, 0), value), binary(0x04, key), binary(0x0E, key, b"", value),
            binary(0x0F, key, b"", value), binary(0x05, key, struct.pack(">QQI", 1, 5, 0)),
            binary(0x11, key, struct.pack(">II", 3, 0), value), binary(0x14, key),
            binary(0x1C, key, struct.pack(">I", 100000)), binary(0x1D, key, struct.pack(">I", 100000))))

    def pipelined(self, key):
        other = self.rng.choice(self.keys)
        return b"get %s\r\n" % other + self.storage(key) + self.line(other)

    def any(self):
        kind = self.rng.choice(("storage", "storage", "storage", "number", "line", "gat", "meta", "meta",
                                "binary", "binary", "pipelined"))
        key = self.rng.choice(self.keys)
        if self.rng.random() < 0.01:
            return "flush_all", key, b"flush_all\r\n"
        return kind, key, getattr(self, kind)(key)


def read_forms(run, key):
    run.compare("read", b"gets %s\r\n" % key)
    run.compare("read", b"mg %s k f s c v\r\n" % key)
    run.compare("read", binary(0x0C, key))


def writes(run, count):
    """After a write is acknowledged, a read through Weir is what memcached holds. Meanwhile the hot
    set is filled all the time, so that fills race with writes."""
    stop = threading.Event()

    def fill():
        while not stop.is_set():
            run.warm()

    filler = threading.Thread(target=fill)
    filler.start()
    keys = [k for k in run.store.hot if len(k) < 60][:25]
    made = Writes(run.rng, keys)
    try:
        for i in range(count):
            kind, key, data = made.any()
            run.weir.ask(run.frame() + data, run.rid)
            run.kinds["write: " + kind] += 1
            read_forms(run, key)
            run.compare("read", b"get %s\r\n" % run.rng.choice(keys))
            if i % max(count // 8, 25) == 0:
                # Time for what was written to settle and be filled in: then hot copies answer, and must
                # be the new ones.
                time.sleep(2.5)
                for k in keys + keys:
                    read_forms(run, k)
    finally:
        stop.set()
        filler.join()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=("reads", "writes"))
    for name in ("--weir", "--direct", "--tcp"):
        ap.add_argument(name, type=address, required=True)
    ap.add_argument("--keys", required=True, help="where to write the list of hot keys")
    ap.add_argument("--warm", required=True, help="the command that fills the hot set from it")
    ap.add_argument("--count", type=int, default=3000)
    ap.add_argument("--seed", type=int)
    args = ap.parse_args()
    run = Run(args)
    (reads if args.what == "reads" else writes)(run, args.count)
    return run.report()


if __name__ == "__main__":
    sys.exit(main())
