#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An origin that is slow to answer: what its server replies is held back.

    slow_origin.py LISTEN-PORT TARGET-HOST:PORT HOLD-FILE HELD-FILE

It is held back as long as HOLD-FILE is there. A line is added to HELD-FILE when a reply has come from the server, which
then knows nothing of what happens until it is passed on.
"""

import os
import socket
import sys
import threading
import time


def pump(source, sink, hold):
    while True:
        data = source.recv(65536)
        if not data:
            break
        hold()
        sink.sendall(data)
    sink.close()


def main():
    port, target, wait, held = sys.argv[1:]
    host, target_port = target.rsplit(":", 1)

    def hold():
        with open(held, "a", encoding="ascii") as f:
            f.write("held\n")
        while os.path.exists(wait):
            time.sleep(0.01)

    listener = socket.create_server(("127.0.0.1", int(port)))
    while True:
        client = listener.accept()[0]
        server = socket.create_connection((host, int(target_port)))
        threading.Thread(target=pump, args=(client, server, lambda: None), daemon=True).start()
        threading.Thread(target=pump, args=(server, client, hold), daemon=True).start()


main()
