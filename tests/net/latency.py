#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
Servers that take a known time, a client that measures, and a wire that loses: what test_latency.sh compares
`weir latency show` with.

    latency.py serve PORT DELAY [--bytes N]     TCP, and memcached over UDP: answers DELAY seconds after each request,
                                                with how long it took by its own clock. `hang`: never; `reset`: so
    latency.py ask TARGET COUNT [WORD] [--gap S] [--udp]
                                                COUNT requests, one after another; prints a report
    latency.py judge REPORT SERVICE PATH [--upper client|cycle]
                                                whether the document of `weir latency show` on standard input lies
                                                between what server and client measured; prints `between`, or why not
    latency.py wire IF IF DELAY LOSS REORDER    carries frames both ways: so late, and of 100 so many not at all, or
                                                with the delay four times

What weir measures begins after the client's time and before the server's, and ends the other way round. So its mean,
which is exact, lies between theirs, and its quantiles do to within its bound.
"""

import argparse
import heapq
import json
import random
import select
import signal
import socket
import struct
import sys
import threading
import time

ERROR = 0.07
FRAME = struct.Struct(">HHHH")
now = time.perf_counter


def split(target):
    host, port = target.rsplit(":", 1)
    return host.strip("[]"), int(port)


def wait_until(end):
    """Sleeping takes a tenth of a millisecond longer than asked for: the rest is spun."""
    left = end - now()
    if left > 0.0003:
        time.sleep(left - 0.0003)
    while now() < end:
        pass


# ---- the server

def tcp_client(conn, args):
    with conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := conn.recv(4096):
            began = now()
            if b"reset" in data:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if b"hang" in data:
                continue
            wait_until(began + args.delay)
            conn.sendall(b"%-*d\n" % (args.bytes - 1, (now() - began) * 1e9))


def udp_server(sock, args):
    while True:
        data, peer = sock.recvfrom(2048)
        began = now()
        request = FRAME.unpack_from(data)[0]
        if b"hang" in data:
            continue
        wait_until(began + args.delay)
        value = b"%d" % ((now() - began) * 1e9)
        sock.sendto(FRAME.pack(request, 0, 1, 0) + b"VALUE k 0 %d\r\n%s\r\nEND\r\n" % (len(value), value), peer)


def serve(args):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", args.port))
    threading.Thread(target=udp_server, args=(udp, args), daemon=True).start()
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", args.port))
    listener.listen(1024)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=tcp_client, args=(conn, args), daemon=True).start()


# ---- the client

def summary(values):
    values = sorted(values)

    def q(p):
        return values[max(0, -(-p * len(values) // 1000) - 1)] if values else None
    return {"n": len(values), "p50": q(500), "p95": q(950), "mean": sum(values) / len(values) if values else None}


class Tcp:
    def __init__(self, args):
        self.bytes = args.bytes
        self.sock = socket.socket(socket.AF_INET6 if ":" in args.to[0] else socket.AF_INET)
        self.sock.settimeout(args.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect(args.to)

    def send(self, word):
        self.sock.send(word.encode() + b"\n")

    def receive(self):
        """The time of the first byte, and what the server says."""
        data = self.sock.recv(65536)
        at = now()
        while data and len(data) < self.bytes:
            data += self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("closed")
        return at, int(data)


class Udp:
    def __init__(self, args):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(args.timeout)
        self.sock.connect(args.to)
        self.id = random.randrange(65536)

    def send(self, word):
        self.id = (self.id + 1) & 0xFFFF
        self.sock.send(FRAME.pack(self.id, 0, 1, 0) + b"get " + word.encode() + b"\r\n")

    def receive(self):
        while True:
            data = self.sock.recv(2048)
            if FRAME.unpack_from(data)[0] == self.id:
                words = data[8:].split(b"\r\n")
                return now(), int(words[1]) if len(words) > 2 and words[1].isdigit() else 0


def ask(args):
    args.to = split(args.target)
    client, server, cycle, lost, last = [], [], [], 0, None
    began = now()
    conn = Udp(args) if args.udp else Tcp(args)
    connected = now() - began
    for _ in range(args.count):
        sent = now()
        conn.send(args.word)
        if last is not None:
            cycle.append(now() - last)  # the edge sees the next request at the latest when it has been sent
        last = sent
        try:
            at, took = conn.receive()
            client.append(at - sent)
            server.append(took / 1e9)
        except OSError as e:
            lost += 1
            if not isinstance(e, TimeoutError):
                break
        if args.gap:
            time.sleep(args.gap)
    print(json.dumps({"lost": lost, "connect": connected, "client": summary(client), "server": summary(server),
                      "cycle": summary(cycle)}), flush=True)
    if args.linger:
        time.sleep(args.linger)


# ---- the judge

def judge(args):
    with open(args.report, encoding="utf-8") as f:
        truth = json.load(f)
    rows = [r for r in json.load(sys.stdin)["services"]
            if r["service"] == args.service and r["path"] == args.path and r["count"]]
    if not rows:
        print("nothing was measured")
        return
    got, low, high = rows[0], truth["server"], truth[args.upper]
    bad = []
    for what, slack in ("p50", ERROR), ("p95", ERROR), ("mean", 0):
        value = got[what + "_seconds"]
        if args.upper == "cycle":
            slack = ERROR  # the last one is not among them
        if not low[what] * (1 - slack) <= value <= high[what] * (1 + slack):
            bad.append(f"{what} {value * 1e3:.4f} ms is not from {low[what] * 1e3:.4f} to {high[what] * 1e3:.4f}")
    least = args.least if args.least is not None else high["n"]
    if not least <= got["count"] <= truth["client"]["n"]:
        bad.append(f"{got['count']} were counted, {truth['client']['n']} measured")
    print("; ".join(bad) or "between")
    print(f"# {args.service} {args.path}: p50 {low['p50'] * 1e3:.3f} <= {got['p50_seconds'] * 1e3:.3f} <= "
          f"{high['p50'] * 1e3:.3f} ms, mean {low['mean'] * 1e3:.3f} <= {got['mean_seconds'] * 1e3:.3f} <= "
          f"{high['mean'] * 1e3:.3f}, {got['count']} of {truth['client']['n']}", file=sys.stderr)


# ---- the wire

def wire(args):
    socks = []
    for name in args.one, args.other:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.bind((name, 3))
        s.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        socks.append(s)
    due, n, rng, counts = [], 0, random.Random(7), {"carried": 0, "lost": 0, "late": 0}

    def tell(*_):
        print(json.dumps(counts), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, tell)
    while True:
        ready, _, _ = select.select(socks, [], [], max(0, due[0][0] - now()) if due else None)
        for s in ready:
            frame = s.recv(65536)
            ip = frame[12:14] in (b"\x08\x00", b"\x86\xdd")
            if ip and rng.random() * 100 < args.loss:
                counts["lost"] += 1
                continue
            late = ip and rng.random() * 100 < args.reorder
            counts["late" if late else "carried"] += 1
            n += 1
            heapq.heappush(due, (now() + args.delay * (4 if late else 1), n, socks[s is socks[0]], frame))
            if ip and args.duplicate and rng.random() * 100 < args.duplicate:
                n += 1
                heapq.heappush(due, (now() + args.delay * 2, n, socks[s is socks[0]], frame))
        while due and due[0][0] <= now():
            _, _, s, frame = heapq.heappop(due)
            s.send(frame)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    p = sub.add_parser("serve")
    p.add_argument("port", type=int)
    p.add_argument("delay", type=float)
    p.add_argument("--bytes", type=int, default=16)
    p.set_defaults(run=serve)
    p = sub.add_parser("ask")
    p.add_argument("target")
    p.add_argument("count", type=int)
    p.add_argument("word", nargs="?", default="k")
    p.add_argument("--gap", type=float, default=0)
    p.add_argument("--bytes", type=int, default=16)
    p.add_argument("--linger", type=float, default=0, help="how long the connection stays afterwards")
    p.add_argument("--timeout", type=float, default=20)
    p.add_argument("--udp", action="store_true")
    p.set_defaults(run=ask)
    p = sub.add_parser("judge")
    p.add_argument("report")
    p.add_argument("service")
    p.add_argument("path")
    p.add_argument("--upper", choices=("client", "cycle"), default="client")
    p.add_argument("--least", type=int, help="so many are counted at least; all, as a rule")
    p.set_defaults(run=judge)
    p = sub.add_parser("wire")
    p.add_argument("one")
    p.add_argument("other")
    p.add_argument("delay", type=float)
    p.add_argument("loss", type=float)
    p.add_argument("reorder", type=float)
    p.add_argument("--duplicate", type=float, default=0, help="of 100 so many come twice")
    p.set_defaults(run=wire)
    args = ap.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
