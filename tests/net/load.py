#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
Connections, many at a time: what the tests of steering load an edge with, and the servers that nginx is not.

    load.py hold HOST:PORT COUNT        opens COUNT connections, asks on each, and keeps them. SIGUSR1: asks on
                                        each again. SIGTERM: closes them.
    load.py churn HOST:PORT RATE        RATE new connections a second, one request each. SIGUSR1: reports, and
                                        counts anew. SIGTERM: reports, and ends.
    load.py get HOST:PORT COUNT PATH    COUNT downloads at once, to their ends
    load.py put HOST:PORT COUNT BYTES   as many uploads
    load.py udp HOST:PORT COUNT BYTES   a datagram from each of COUNT sockets; which server had it, and whole?
    load.py ttl HOST:PORT udp|tcp TTL   sends with this TTL; who says that it is used up, or `answered`
    load.py flood HOST:PORT SECONDS NET a SYN flood from addresses that begin as NET (IPv4)
    load.py serve NAME PORT [DELAY]     HTTP: answers with its name DELAY seconds after each request, eats uploads
    load.py udp-serve NAME PORT         UDP: answers with its name and the datagram's length and digest

Reports are JSON, one a line: {"what": ..., "backends": {NAME: COUNT}, "errors": {KIND: COUNT}, ...}. Times are
those of CLOCK_MONOTONIC.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import struct
import sys
import time
from collections import Counter

HEAD = b"GET %s HTTP/1.1\r\nHost: lab\r\n\r\n"


def split(target):
    host, port = target.rsplit(":", 1)
    return host.strip("[]"), int(port)


def report(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


def kind(e):
    """The name of what went wrong."""
    if isinstance(e, asyncio.IncompleteReadError):
        return "closed"
    if isinstance(e, (asyncio.TimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(e, ConnectionResetError):
        return "reset"
    if isinstance(e, BrokenPipeError):
        return "reset"
    if isinstance(e, ConnectionRefusedError):
        return "refused"
    return type(e).__name__ + ": " + str(e)


class Conn:
    """One connection to a server that tells its name in the header X-Backend."""

    def __init__(self, target, source=None):
        self.target, self.source = split(target), (source, 0) if source else None
        self.backend = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(*self.target, local_addr=self.source)

    async def ask(self, path=b"/"):
        """The length of what it sends; its backend is known afterwards."""
        self.writer.write(HEAD % path)
        return await self.answer()

    async def answer(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        name = fields[b"x-backend"].decode()
        if self.backend not in (None, name):
            raise ConnectionError(f"answered by {name}, was {self.backend}")
        self.backend = name
        return int(fields[b"content-length"])

    async def rest(self, length):
        while length:
            data = await self.reader.read(min(length, 1 << 16))
            if not data:
                raise asyncio.IncompleteReadError(b"", length)
            length -= len(data)

    def close(self):
        self.writer.close()


def on_signals(**events):
    """Counts signals: a semaphore for each."""
    loop = asyncio.get_running_loop()
    for name, sem in events.items():
        loop.add_signal_handler(getattr(signal, name), sem.release)


class Tally:
    def __init__(self):
        self.backends, self.errors = Counter(), Counter()
        self.first_error = self.last_error = None
        self.longest = 0.0
        self.slow = 0  # took longer than half a second

    def good(self, backend, began):
        self.backends[backend] += 1
        took = time.monotonic() - began
        self.longest = max(self.longest, took)
        self.slow += took > 0.5

    def bad(self, e):
        self.errors[kind(e)] += 1
        self.last_error = time.monotonic()
        self.first_error = self.first_error or self.last_error

    def tell(self, what, **more):
        report(what, ok=sum(self.backends.values()), failed=sum(self.errors.values()), backends=self.backends,
               errors=self.errors, first_error=self.first_error, last_error=self.last_error,
               longest=round(self.longest, 4), slow=self.slow, **more)


async def hold(args):
    again, end = asyncio.Semaphore(0), asyncio.Semaphore(0)
    on_signals(SIGUSR1=again, SIGTERM=end)
    conns = []

    async def ask(c, tally):
        began = time.monotonic()
        try:
            if c.reader.at_eof() or c.reader._eof:  # the server has closed it
                raise asyncio.IncompleteReadError(b"", 1)
            await c.rest(await asyncio.wait_for(c.ask(), args.timeout))
            tally.good(c.backend, began)
            return True
        except Exception as e:
            tally.bad(e)
            c.close()
            return False

    async def new(tally):
        began = time.monotonic()
        c = Conn(args.target, args.source)
        try:
            await asyncio.wait_for(c.open(), args.timeout)
            await c.rest(await asyncio.wait_for(c.ask(), args.timeout))
            tally.good(c.backend, began)
            conns.append(c)
        except Exception as e:
            tally.bad(e)

    tally, tasks = Tally(), []
    for i in range(args.count):
        tasks.append(asyncio.create_task(new(tally)))
        await asyncio.sleep(1 / args.rate)
    await asyncio.gather(*tasks)
    tally.tell("opened")
    waiting_end = asyncio.create_task(end.acquire())
    while True:
        waiting = asyncio.create_task(again.acquire())
        await asyncio.wait([waiting, waiting_end], return_when=asyncio.FIRST_COMPLETED)
        if waiting_end.done():
            break
        tally = Tally()
        kept = await asyncio.gather(*(ask(c, tally) for c in conns))
        conns = [c for c, k in zip(conns, kept) if k]
        tally.tell("asked")
    for c in conns:
        c.close()
    await asyncio.sleep(0.1)
    report("closed")


async def churn(args):
    again, end = asyncio.Semaphore(0), asyncio.Semaphore(0)
    on_signals(SIGUSR1=again, SIGTERM=end)
    tallies = [Tally()]
    running = set()

    async def one(tally):
        began = time.monotonic()
        c = Conn(args.target, args.source)
        try:
            await asyncio.wait_for(c.open(), args.timeout)
            await c.rest(await asyncio.wait_for(c.ask(args.path.encode()), args.timeout))
            tally.good(c.backend, began)
            await asyncio.sleep(args.keep)
            c.close()
        except Exception as e:
            tally.bad(e)

    due = time.monotonic()
    while end.locked():
        if not again.locked():
            await again.acquire()
            tallies[0].tell("churn")
            tallies[0] = Tally()
        t = asyncio.create_task(one(tallies[0]))
        running.add(t)
        t.add_done_callback(running.discard)
        due = max(due + 1 / args.rate, time.monotonic() - 0.1)
        await asyncio.sleep(due - time.monotonic())
    await asyncio.gather(*running)
    tallies[0].tell("churned")


async def transfers(args, one):
    tally, begun = Tally(), 0

    async def run():
        nonlocal begun
        began = time.monotonic()
        c = Conn(args.target, args.source)
        try:
            await asyncio.wait_for(c.open(), args.timeout)

            def started():
                nonlocal begun
                begun += 1
                if begun == args.count:
                    report("started")
            await one(c, started)
            tally.good(c.backend, began)
            c.close()
        except Exception as e:
            tally.bad(e)

    async def each():
        tasks = []
        for _ in range(args.count):
            tasks.append(asyncio.create_task(run()))
            await asyncio.sleep(1 / args.rate)
        await asyncio.gather(*tasks)

    await each()
    tally.tell("done")
    return 1 if tally.errors else 0


async def get(args):
    async def one(c, started):
        length = await asyncio.wait_for(c.ask(args.path.encode()), args.timeout)
        started()
        await asyncio.wait_for(c.rest(length), args.transfer_timeout)
    return await transfers(args, one)


async def put(args):
    async def one(c, started):
        c.writer.write(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: %d\r\n\r\n" % args.bytes)
        started()
        for _ in range(0, args.bytes, 65536):
            c.writer.write(bytes(65536))
            await asyncio.wait_for(c.writer.drain(), args.transfer_timeout)
            await asyncio.sleep(args.pause)
        await c.rest(await asyncio.wait_for(c.answer(), args.transfer_timeout))
    args.bytes = args.bytes + 65535 & ~65535
    return await transfers(args, one)


def udp_socket(target):
    sock = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(target)
    return sock


def udp(args):
    """One after another: how many are whole, by server, and how many never answered."""
    tally = Tally()
    for i in range(args.count):
        began = time.monotonic()
        sock = udp_socket(split(args.target))
        sock.settimeout(args.timeout)
        data = random.randbytes(args.bytes)
        try:
            for _ in range(args.repeat):
                sock.send(data)
                name, length, digest = sock.recv(2048).decode().split()
                if int(length) != len(data) or digest != hashlib.md5(data).hexdigest():
                    raise ConnectionError("not whole")
            tally.good(name, began)
        except Exception as e:
            tally.bad(e)
    tally.tell("udp")
    return 1 if tally.errors else 0


def ttl(args):
    target = split(args.target)
    six = ":" in target[0]
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET,
                         socket.SOCK_DGRAM if args.how == "udp" else socket.SOCK_STREAM)
    level, opt, recverr = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 25) if six else (0, socket.IP_TTL, 11)
    sock.setsockopt(level, opt, args.ttl)
    sock.setsockopt(level, recverr, 1)
    sock.settimeout(args.timeout)
    try:
        sock.connect(target)
        if args.how == "udp":
            sock.send(b"hello")
            sock.recv(2048)
        print("answered")
        return 0
    except OSError:
        pass
    sock.setblocking(False)  # or Python waits for what is not there
    try:
        _, control, _, _ = sock.recvmsg(2048, 512, 0x2000)  # MSG_ERRQUEUE
    except OSError:
        print("nobody")
        return 1
    data = control[0][2]
    origin, kind_, code = data[4], data[5], data[6]
    offender = socket.inet_ntop(socket.AF_INET6, data[24:40]) if six else socket.inet_ntoa(data[20:24])
    print("icmp%d type %d code %d from %s" % (6 if origin == 3 else 4, kind_, code, offender))
    return 0


def checksum(data):
    s = sum(struct.unpack(f">{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def flood(args):
    host, port = split(args.target)
    dst = socket.inet_aton(host)
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    end, sent = time.monotonic() + args.seconds, 0
    net = int.from_bytes(socket.inet_aton(args.net), "big")
    rng = random.Random(1)
    while time.monotonic() < end:
        for _ in range(100):
            src = (net | rng.getrandbits(16)).to_bytes(4, "big")
            tcp = struct.pack(">HHIIBBHHH", rng.randrange(1024, 65536), port, rng.getrandbits(32), 0, 0x50, 2,
                              65535, 0, 0)
            tcp = tcp[:16] + struct.pack(">H", checksum(src + dst + b"\0\6\0\x14" + tcp)) + tcp[18:]
            sock.sendto(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, src, dst) + tcp, (host, 0))
            sent += 1
        time.sleep(100 / args.rate)
    report("flooded", sent=sent)
    return 0


async def serve(args):
    name = args.name.encode()

    async def client(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    while left:
                        left -= len(await reader.read(min(left, 1 << 16)))
                await asyncio.sleep(args.delay)
                writer.write(b"HTTP/1.1 200 OK\r\nX-Backend: %s\r\nContent-Length: %d\r\n\r\n%s\n" %
                             (name, len(name) + 1, name))
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    def dual(family, host):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((host, args.port))
        return s

    servers = [await asyncio.start_server(client, sock=dual(f, h), backlog=4096)
               for f, h in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))]
    await asyncio.gather(*(s.serve_forever() for s in servers))


def udp_serve(args):
    """From the address that was asked: with DSR it is the service's."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.IPPROTO_IPV6, 49, 1)  # IPV6_RECVPKTINFO
    sock.bind(("::", args.port))
    while True:
        data, control, _, peer = sock.recvmsg(65536, 256)
        info = [(level, kind_, d[:16] + b"\0\0\0\0") for level, kind_, d in control if kind_ == 50]
        reply = f"{args.name} {len(data)} {hashlib.md5(data).hexdigest()}".encode()
        sock.sendmsg([reply], info, 0, peer)


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--source", help="address to send from")
    ap.add_argument("--timeout", type=float, default=5.0, help="of one connection or answer")
    ap.add_argument("--transfer-timeout", type=float, default=60.0)
    ap.add_argument("--rate", type=float, default=300.0, help="connections a second")
    ap.add_argument("--path", default="/", help="what `churn` asks for")
    ap.add_argument("--keep", type=float, default=0.0, help="how long `churn` keeps a connection")
    ap.add_argument("--pause", type=float, default=0.0, help="between every 64 KiB of `put`")
    ap.add_argument("--repeat", type=int, default=1, help="datagrams of each socket")
    sub = ap.add_subparsers(dest="what", required=True)
    for name, run, *words in (
            ("hold", hold, "target", ("count", int)), ("churn", churn, "target", ("rate", float)),
            ("get", get, "target", ("count", int), "path"), ("put", put, "target", ("count", int), ("bytes", int)),
            ("udp", udp, "target", ("count", int), ("bytes", int)), ("ttl", ttl, "target", "how", ("ttl", int)),
            ("flood", flood, "target", ("seconds", float), "net"), ("serve", serve, "name", ("port", int)),
            ("udp-serve", udp_serve, "name", ("port", int))):
        p = sub.add_parser(name)
        for word in words:
            p.add_argument(*(word[:1] if isinstance(word, tuple) else (word,)),
                           type=word[1] if isinstance(word, tuple) else str)
        if name == "serve":
            p.add_argument("delay", type=float, nargs="?", default=0.0)
        p.set_defaults(run=run)
    args = ap.parse_args(argv)
    if asyncio.iscoroutinefunction(args.run):
        return asyncio.run(args.run(args))
    return args.run(args)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
