# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Clients that no server wishes for: `http_client.py COMMAND HOST:PORT ...`.

fuzz N SEED         N mutated requests, one connection each; prints how many replies had which first byte
hold N PATH SECS    N connections that never end their request, each from a source address of its own
                    (127.0.0.X); "held N" when they stand, then how many were ended from the other side
drip SECS           one request, a byte a second; prints after how many seconds it was ended
slow N PATH         N connections that ask for PATH and read nothing; "held N", then sleeps
scrape N PATH       N requests on kept connections; prints how many had status 200, and how many connections it took
"""
import random
import select
import socket
import sys
import time

VALID = [
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/v1/stats?service=cache HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"GET /api/v1/flows?limit=5&state=open&idle_above=5m HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /readyz HTTP/1.0\r\nAccept: application/json\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /api/v1/backends?pool=%00&name=%ff%fe HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n",
]
PARTS = [b"\r\n", b"\n", b"\0", b" ", b"%", b"%00", b"%zz", b"&", b"=", b"?", b"/", b"..", b":", b"A" * 300, b"A" * 20000,
         b"HTTP/9.9", b"HTTP/1.1", b"Content-Length: 99999999999999999999\r\n", b"Content-Length: -1\r\n",
         b"Transfer-Encoding: gzip\r\n", b"Expect: 100-continue\r\n", b"Connection: upgrade\r\n", b"Host: y\r\n",
         b"GET ", b"TRACE ", b"\xff\xfe", b"a=1&" * 40]


def mutate(rng):
    data = bytearray(rng.choice(VALID))
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        what = rng.randint(0, 5)
        if what == 0 and data:
            data[at % len(data)] = rng.randint(0, 255)
        elif what == 1:
            data[at:at] = rng.choice(PARTS)
        elif what == 2:
            del data[at:at + rng.randint(1, 20)]
        elif what == 3:
            del data[at:]
        elif what == 4:
            data += rng.choice(VALID)
        else:
            data[at:at] = bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 40)))
    return bytes(data)


def connect(to, source=None):
    return socket.create_connection(to, 5, source_address=(source, 0) if source else None)


def fuzz(to, count, seed):
    rng, firsts = random.Random(seed), {}
    for i in range(count):
        try:
            s = connect(to)
            s.sendall(mutate(rng))
            if rng.random() < 0.5:
                s.shutdown(socket.SHUT_WR)
            s.settimeout(0.02)
            got = s.recv(64)
        except socket.timeout:
            got = b"-"  # it waits for the rest
        except OSError:
            got = b"!"
        finally:
            s.close()
        key = got.split(b" ")[1].decode("latin1") if got.startswith(b"HTTP/") else got[:1].decode("latin1")
        firsts[key] = firsts.get(key, 0) + 1
    print(" ".join("%s:%d" % kv for kv in sorted(firsts.items())))


def ended(socks, seconds):
    end, gone = time.monotonic() + seconds, set()
    while time.monotonic() < end and len(gone) < len(socks):
        ready, _, _ = select.select([s for s in socks if s not in gone], [], [], max(0, end - time.monotonic()))
        for s in ready:
            try:
                data = s.recv(65536)
            except OSError:
                data = b""
            if not data:
                gone.add(s)
    return len(gone)


def hold(to, count, path, seconds):
    socks = []
    for i in range(count):
        try:
            s = connect(to, "127.0.1.%d" % (i % 250 + 1))
            s.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n")
            socks.append(s)
        except OSError:
            pass
    print("held", len(socks), flush=True)
    print("ended", ended(socks, seconds), flush=True)


def drip(to, seconds):
    s, begin = connect(to), time.monotonic()
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    while time.monotonic() - begin < seconds:
        try:
            s.sendall(b"y")
        except OSError:
            break
        if ended([s], 1):
            break
    print(int(time.monotonic() - begin))


def slow(to, count, path):
    socks = []
    for i in range(count):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        s.connect(to)
        s.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        socks.append(s)
    print("held", len(socks), flush=True)
    time.sleep(3600)


def scrape(to, count, path):
    good = opened = 0
    s = None
    for _ in range(count):
        for again in (0, 1):
            try:
                if s is None:
                    s, opened = connect(to), opened + 1
                s.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                data = s.recv(65536)
                head, _, body = data.partition(b"\r\n\r\n")
                length = int([l for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")][0].split(b":")[1])
                while len(body) < length:
                    more = s.recv(1 << 20)
                    if not more:
                        raise OSError("short")
                    body += more
            except (OSError, IndexError):
                s = None
                continue
            good += b" 200 " in head.split(b"\r\n")[0] + b" "
            if b"connection: close" in head.lower():
                s.close()
                s = None
            break
    print(good, opened)


def main():
    command, to, args = sys.argv[1], sys.argv[2], sys.argv[3:]
    host, port = to.rsplit(":", 1)
    to = (host.strip("[]"), int(port))
    kinds = {"fuzz": (fuzz, int, int), "hold": (hold, int, str, float), "drip": (drip, float), "slow": (slow, int, str),
             "scrape": (scrape, int, str)}
    fn, *types = kinds[command]
    fn(to, *[t(a) for t, a in zip(types, args)])


main()
