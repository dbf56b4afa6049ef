#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
memcached over UDP, datagram by datagram: what the tests in this directory ask with.

    client.py ask HOST:PORT REQUEST...      sends each, prints each reply, one a line
    client.py loop HOST:PORT KEYS           asks for KEYS, one after another, until SIGTERM
    client.py coherent HOST:PORT KEYS SECONDS
                                            writes and reads; a read must see the last write
    client.py vlan IFACE ID[,ID] MAC SOURCE TARGET REQUEST
                                            one request in a tagged frame; prints the reply in it
    client.py tell HOST:PORT LINE...        sends lines over TCP, which Weir does not touch; prints what comes
    client.py eval FILE EXPRESSION          a Python expression over `d`, the JSON document in FILE; with --lines
                                            the list of its documents, one a line
    client.py load NS LOG ARGUMENT...       load.py in that namespace, its output in LOG; prints its process id.
                                            With --wait: when it has ended
    client.py serve PATH                    stays, and does what common.sh's `client` asks for

A REQUEST is text with escapes (\\r\\n, \\xNN), to which \\r\\n is added; or `bin get|getq|getk|getkq|
set|delete KEY [VALUE]`. Replies are printed escaped; `-`: none came; of `bin`: status, key and value.
"""

import argparse
import contextlib
import functools
import json
import os
import random
import signal
import socket
import struct
import sys
import time
import traceback

FRAME = struct.Struct(">HHHH")  # request id, sequence, datagrams, reserved
BINARY = struct.Struct(">BBHBBHIIQ")
OPCODES = {"get": 0x00, "set": 0x01, "delete": 0x04, "getq": 0x09, "getk": 0x0C, "getkq": 0x0D}


class Lost(Exception):
    """No reply in time."""


class Udp:
    def __init__(self, target, source=None, timeout=1.0):
        host, port = target.rsplit(":", 1)
        host = host.strip("[]")
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(timeout)
        self.sock.connect((host, int(port)))
        self.id = random.randrange(65536)

    def ask(self, request):
        """The payload of the reply, whose request id was checked."""
        self.id = (self.id + 1) & 0xFFFF
        self.sock.send(FRAME.pack(self.id, 0, 1, 0) + request)
        parts = {}
        while True:
            try:
                data = self.sock.recv(65536)
            except (socket.timeout, ConnectionRefusedError) as e:
                raise Lost from e
            got, seq, count, _ = FRAME.unpack_from(data)
            if got != self.id:
                continue  # late, of a request that was given up
            parts[seq] = data[FRAME.size:]
            if len(parts) == count:
                return b"".join(parts[i] for i in range(count))


def escaped(data):
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else {10: "\\n", 13: "\\r", 92: "\\\\"}.get(c, f"\\x{c:02x}")
                   for c in data)


def binary_request(words):
    opcode, key = OPCODES[words[0]], words[1].encode()
    value = words[2].encode() if len(words) > 2 else b""
    extras = struct.pack(">II", 0, 0) if words[0] == "set" else b""
    return BINARY.pack(0x80, opcode, len(key), len(extras), 0, 0, len(extras) + len(key) + len(value),
                       0x01020304, 0) + extras + key + value


def binary_reply(data):
    magic, _, key_len, extras, _, status, body, opaque, _ = BINARY.unpack_from(data)
    rest = data[BINARY.size:]
    if magic != 0x81 or opaque != 0x01020304 or len(rest) != body:
        return "bad: " + escaped(data)
    key, value = rest[extras:extras + key_len], rest[extras + key_len:]
    return " ".join([str(status), escaped(key) or ".", escaped(value) or "."])


def text_request(text):
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1") + b"\r\n"


def ask(args):
    udp = Udp(args.target, args.source, args.timeout)
    for request in args.request:
        try:
            if request.startswith("bin "):
                print(binary_reply(udp.ask(binary_request(request.split()[1:]))))
            else:
                print(escaped(udp.ask(text_request(request))))
        except Lost:
            print("-")
    return 0


def tell(args):
    host, port = args.target.rsplit(":", 1)
    data = b"".join(text_request(line) for line in [*args.line, "quit"])  # closes: nothing is waited for
    with socket.create_connection((host.strip("[]"), int(port)), 5) as sock:
        sock.sendall(data)
        while data := sock.recv(65536):
            sys.stdout.write(data.decode("utf-8", "surrogateescape").replace("\r", ""))
    return 0


def evaluate(args):
    with open(args.file) as f:
        d = [json.loads(line) for line in f] if args.lines else json.load(f)
    v = eval(args.expression, {"d": d, "json": json})
    print(v if isinstance(v, str) else json.dumps(v))
    return 0


def load(args):
    """Forked, for a Python that starts with all that load.py needs takes an emulated machine a second."""
    import ctypes
    sys.dont_write_bytecode = True
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import load as program
    log = os.open(args.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)
    pid = os.fork()
    if pid:
        os.close(log)
        if args.wait:
            with contextlib.suppress(ChildProcessError):  # `serve` hears nothing of its children
                os.waitpid(pid, 0)
        print(pid)
        return 0
    status = 1
    try:
        with open("/run/netns/" + args.netns) as ns:
            if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), 0x40000000):  # CLONE_NEWNET
                raise OSError(ctypes.get_errno(), "setns", args.netns)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = sys.__stdout__
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        random.seed()
        status = program.main(args.words)
    except SystemExit as e:
        status = e.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status or 0)


def loop(args):
    """A report in JSON at the end: requests, lost ones, and each distinct reply by key."""
    done = []
    signal.signal(signal.SIGTERM, lambda *_: done.append(1))
    udp = Udp(args.target, args.source, args.timeout)
    keys = args.keys.split(",")
    sent = lost = 0
    longest = 0.0
    replies = {k: {} for k in keys}
    while not done:
        key = keys[sent % len(keys)]
        start = time.monotonic()
        sent += 1
        try:
            reply = escaped(udp.ask(b"get %s\r\n" % key.encode()))
        except Lost:
            lost += 1
            continue
        took = time.monotonic() - start
        longest = max(longest, took)
        replies[key][reply] = replies[key].get(reply, 0) + 1
        time.sleep(min(took, 0.01))  # thousands a second, or what there is: others want the CPU as well
    print(json.dumps({"sent": sent, "lost": lost, "longest": longest, "replies": replies}))
    return 0


def write(udp, kind, key, value):
    """In one of the protocols; only what was acknowledged counts."""
    if kind == "text":
        return udp.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"
    if kind == "meta":
        return udp.ask(b"ms %s %d\r\n%s\r\n" % (key, len(value), value)).startswith(b"HD")
    if kind == "delete":
        return udp.ask(b"delete %s\r\n" % key) in (b"DELETED\r\n", b"NOT_FOUND\r\n")
    reply = udp.ask(binary_request(["set", key.decode(), value.decode()]))
    return binary_reply(reply).startswith("0 ")


def read(udp, kind, key):
    """The value, b"" when there is none."""
    if kind == "text":
        reply = udp.ask(b"get %s\r\n" % key)
        return reply.split(b"\r\n")[1] if reply.startswith(b"VALUE") else b""
    if kind == "meta":
        reply = udp.ask(b"mg %s v\r\n" % key)
        return reply.split(b"\r\n")[1] if reply.startswith(b"VA") else b""
    words = binary_reply(udp.ask(binary_request(["get", key.decode()]))).split()
    return words[2].encode() if words[0] == "0" else b""


def coherent(args):
    """Keys k0...: each read must give what the last acknowledged write wrote."""
    udp = Udp(args.target, args.source, args.timeout)
    rng = random.Random(1)
    last = {}
    n = reads = stale = 0
    for i in range(args.keys):
        last[i] = read(udp, "text", b"k%d" % i)
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        i = rng.randrange(args.keys)
        key = b"k%d" % i
        n += 1
        value = b"" if n % 10 == 0 else b"v%d" % n
        kind = "delete" if n % 10 == 0 else rng.choice(["text", "meta", "binary"])
        if not write(udp, kind, key, value):
            print(f"# {kind} write of {key!r} refused")
            return 1
        last[i] = value
        for j in [i, i] + [rng.randrange(args.keys) for _ in range(8)]:
            how = rng.choice(["text", "meta", "binary"])
            got = read(udp, how, b"k%d" % j)
            reads += 1
            if got != last[j]:
                stale += 1
                print(f"# {how} read of k{j}: {got!r}, last written {last[j]!r}")
        time.sleep(args.pause)
    print(f"# {n} writes, {reads} reads, {stale} stale")
    return 1 if stale else 0


def checksum(data):
    data += b"\0" * (len(data) % 2)
    s = sum(struct.unpack(f">{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def vlan(args):
    """IPv4 and IPv6 by hand: not every kernel has VLAN devices, and a packet socket sees every byte."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    sock.bind((args.iface, 0))
    # Tags are taken off before a packet socket sees them, and told beside: ask for that.
    sock.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
    sock.settimeout(1)
    ids = [int(i) for i in args.ids.split(",")]
    tags = b"".join(struct.pack(">HH", 0x88A8 if i < len(ids) - 1 else 0x8100, v) for i, v in enumerate(ids))
    mac = bytes.fromhex(args.mac.replace(":", ""))
    own = sock.getsockname()[4]
    six = ":" in args.src
    family = socket.AF_INET6 if six else socket.AF_INET
    src, dst = socket.inet_pton(family, args.src), socket.inet_pton(family, args.dst)
    payload = FRAME.pack(7, 0, 1, 0) + text_request(args.text)
    udp = struct.pack(">HHHH", 40000, 11211, 8 + len(payload), 0) + payload
    pseudo = src + dst + struct.pack(">IHH", len(udp), 0, 17)
    udp = udp[:6] + struct.pack(">H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    if six:
        ip = struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + src + dst
    else:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + src + dst
        ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    sock.send(mac + own + tags + struct.pack(">H", 0x86DD if six else 0x0800) + ip + udp)
    print(vlan_reply(sock, own, len(ip), pseudo, ids))
    return 0


def vlan_reply(sock, own, ip_len, pseudo, ids):
    """The first frame to us from port 11211; whether its tags are those sent, and its checksums right."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            frame, aux, _, _ = sock.recvmsg(2048, 256)
        except socket.timeout:
            break
        got = [struct.unpack_from("=IIIHHHH", d)[5] & 0xFFF for _, t, d in aux
               if t == 8 and struct.unpack_from("=I", d)[0] & 0x10]
        at = 12
        while frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
            got.append(struct.unpack_from(">H", frame, at + 2)[0] & 0xFFF)
            at += 4
        packet = frame[at + 2:]
        udp = packet[ip_len:]
        if frame[:6] != own or udp[:2] != struct.pack(">H", 11211):
            continue
        if got != ids:
            return f"tags {got}"
        if ip_len == 20 and checksum(packet[:20]):
            return "bad IP checksum"
        udp = udp[:struct.unpack_from(">H", udp, 4)[0]]
        if checksum(pseudo[:-8] + struct.pack(">IHH", len(udp), 0, 17) + udp):
            return "bad UDP checksum"
        return escaped(udp[16:])
    return "-"


def commands(fd):
    """The words of each: how many, then the words themselves, a NUL behind each."""
    fields, rest = [], b""
    while True:
        *more, rest = (rest + os.read(fd, 65536)).split(b"\0")
        fields += more
        while fields and len(fields) > int(fields[0]):
            n = int(fields[0]) + 1
            yield [os.fsdecode(word) for word in fields[1:n]]
            del fields[:n]


def serve(args):
    """Reads commands from PATH.ask; puts what one prints into PATH.reply, then its status into PATH.done."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of `load`: nobody waits for them
    # Opened for both, a FIFO does not end when who wrote to it does.
    asked, done = (os.open(args.path + end, os.O_RDWR) for end in (".ask", ".done"))
    for words in commands(asked):
        status = 1
        with open(args.path + ".reply", "w", errors="surrogateescape") as out, contextlib.redirect_stdout(out):
            try:
                request = parser().parse_args(words)
                status = request.run(request)
            except SystemExit as e:
                status = e.code
            except Exception:
                traceback.print_exc()
        os.write(done, b"%d\n" % status)


@functools.cache
def parser():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--source", help="address to send from")
    ap.add_argument("--timeout", type=float, default=1.0)
    ap.add_argument("--pause", type=float, default=0.003, help="between the writes of `coherent`")
    sub = ap.add_subparsers(dest="what", required=True)
    p = sub.add_parser("ask")
    p.add_argument("target")
    p.add_argument("request", nargs="+")
    p.set_defaults(run=ask)
    p = sub.add_parser("loop")
    p.add_argument("target")
    p.add_argument("keys")
    p.set_defaults(run=loop)
    p = sub.add_parser("coherent")
    p.add_argument("target")
    p.add_argument("keys", type=int)
    p.add_argument("seconds", type=float)
    p.set_defaults(run=coherent)
    p = sub.add_parser("vlan")
    for name in ("iface", "ids", "mac", "src", "dst", "text"):
        p.add_argument(name)
    p.set_defaults(run=vlan)
    p = sub.add_parser("tell")
    p.add_argument("target")
    p.add_argument("line", nargs="*")
    p.set_defaults(run=tell)
    p = sub.add_parser("eval")
    p.add_argument("file")
    p.add_argument("expression")
    p.add_argument("--lines", action="store_true")
    p.set_defaults(run=evaluate)
    p = sub.add_parser("load")
    p.add_argument("--wait", action="store_true")
    p.add_argument("netns")
    p.add_argument("log")
    p.add_argument("words", nargs=argparse.REMAINDER)
    p.set_defaults(run=load)
    p = sub.add_parser("serve")
    p.add_argument("path")
    p.set_defaults(run=serve)
    return ap


def main():
    args = parser().parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
