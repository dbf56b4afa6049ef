#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
Numbered UDP datagrams to port 7000, from a namespace to a namespace, and which of them arrived.

    stream.py FROM TO ADDRESS COUNT     to a socket with ADDRESS in TO
    stream.py FROM back ADDRESS COUNT   they come back to their sender

Prints "ARRIVED of COUNT", and what else was wrong. One process holds both ends: it sends a few, and goes on
when they are there, so that a slow machine loses nothing. One that is missing after three seconds is lost.
Eight flows: a NIC with several queues spreads them. Sizes go from the smallest to a full frame.
"""

import ctypes
import os
import selectors
import socket
import sys

PORT, FLOWS, WINDOW, LONGEST = 7000, 8, 16, 1472
CLONE_NEWNET = 0x40000000


def sockets_in(namespace, bind_to, count):
    """A socket stays in the namespace in which it was made."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(there, CLONE_NEWNET):
        sys.exit(f"{namespace}: {os.strerror(ctypes.get_errno())}")
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for s in made:
        s.setblocking(False)
        s.bind(bind_to)
    libc.setns(here, CLONE_NEWNET)
    os.close(here)
    os.close(there)
    return made


def datagram(n):
    return b"%08d" % n + bytes((n + i) & 0xFF for i in range(n * 37 % (LONGEST - 7)))


def receive(selector, wanted):
    """Numbers of `wanted` that arrive, until all are there or nothing comes any more; how many were bad."""
    arrived, bad = set(), 0
    while arrived != wanted:
        ready = selector.select(3)
        if not ready:
            break
        for key, _ in ready:
            data = key.fileobj.recv(65536)
            n = int(data[:8]) if data[:8].isdigit() else -1
            if n in wanted and n not in arrived and data == datagram(n):
                arrived.add(n)
            else:
                bad += 1
    return arrived, bad


def main():
    source, target, address, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    senders = sockets_in(source, ("", 0), FLOWS)
    receivers = senders if target == "back" else sockets_in(target, (address, PORT), 1)
    selector = selectors.DefaultSelector()
    for s in receivers:
        selector.register(s, selectors.EVENT_READ)
    total = wrong = 0
    for first in range(0, count, WINDOW):
        wanted = set(range(first, min(first + WINDOW, count)))
        for n in wanted:
            senders[n % FLOWS].sendto(datagram(n), (address, PORT))
        arrived, bad = receive(selector, wanted)
        total += len(arrived)
        wrong += bad
    print(f"{total} of {count}" + (f", {wrong} damaged or twice" if wrong else ""))


main()
