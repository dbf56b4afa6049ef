#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
`weir top` on a terminal of its own: what test_top.sh drives it with. The terminal understands what ncurses sends to
a vt100 or xterm.

    top_pty.py [--term TERM] [--size COLUMNSxROWS] COMMAND... < SCRIPT

The script is a line for each step, and each prints one line:

    wait SECONDS REGEX     until the screen matches (over its lines); prints `ok`, or `not there` and the screen
    absent REGEX           whether it does not
    keys TEXT              typed, with Python's escapes; prints nothing
    size COLUMNSxROWS      as if the window had been dragged; prints nothing
    sh COMMAND             a shell command, whose output is printed
    show                   the screen, as comment lines
    signal NAME            to the command; prints nothing
    colour                 whether any colour was ever set
    end SECONDS            waits for the end; prints its status, and whether the terminal is as it was: modes,
                           cursor, the screen before
"""

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time


class Screen:
    """As much of a terminal as is needed: cursor movements, erasing, scrolling regions, the second screen."""

    TOKEN = re.compile(rb"\x1b\[([?>]?)([0-9;]*)([@-~])|\x1b[()][A-Z0-9]|\x1b([=>78MDEHc])"
                       rb"|[\x00-\x1a\x1c-\x1f]|[^\x00-\x1f\x1b]+")

    def __init__(self, columns, rows):
        self.left = b""
        self.other = self.colour = False
        self.cursor = True
        self.last = " "
        self.clear(columns, rows)

    def clear(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.x = self.y = 0
        self.top, self.bottom = 0, rows - 1

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, data):
        data = self.left + data
        at = 0
        while at < len(data):
            m = self.TOKEN.match(data, at)
            if not m:
                if data[at:at + 1] == b"\x1b" and len(data) - at < 16:
                    break
                at += 1
                continue
            at = m.end()
            self.token(m)
        self.left = data[at:]

    def token(self, m):
        raw = m.group(0)
        if m.group(3):
            numbers = [int(n or 0) for n in m.group(2).split(b";")] if m.group(2) else []
            self.csi(m.group(1), numbers, m.group(3))
        elif raw == b"\r":
            self.x = 0
        elif raw in (b"\n", b"\x1bD"):
            self.down()
        elif raw == b"\x1bM":
            self.up()
        elif raw == b"\b":
            self.x = max(0, self.x - 1)
        elif raw == b"\t":
            self.x = min(self.columns - 1, self.x // 8 * 8 + 8)
        elif raw[0] >= 32:
            for c in raw.decode("ascii", "replace"):
                self.put(c)

    def put(self, c):
        if self.x >= self.columns:
            self.x = 0
            self.down()
        self.cells[self.y][self.x] = self.last = c
        self.x += 1

    def down(self):
        if self.y == self.bottom:
            self.cells.insert(self.bottom + 1, [" "] * self.columns)
            del self.cells[self.top]
        else:
            self.y = min(self.rows - 1, self.y + 1)

    def up(self):
        if self.y == self.top:
            del self.cells[self.bottom]
            self.cells.insert(self.top, [" "] * self.columns)
        else:
            self.y = max(0, self.y - 1)

    def erase(self, y, x0, x1):
        for x in range(x0, min(x1, self.columns)):
            self.cells[y][x] = " "

    def csi(self, private, n, final):
        one = max(1, n[0]) if n else 1
        f = final.decode()
        if private:
            self.mode(n, f == "h")
        elif f in "Hf":
            self.y = min(self.rows, max(1, n[0] if n else 1)) - 1
            self.x = min(self.columns, max(1, n[1] if len(n) > 1 else 1)) - 1
        elif f == "A":
            self.y = max(0, self.y - one)
        elif f == "B":
            self.y = min(self.rows - 1, self.y + one)
        elif f == "C":
            self.x = min(self.columns - 1, self.x + one)
        elif f == "D":
            self.x = max(0, self.x - one)
        elif f == "G":
            self.x = min(self.columns, one) - 1
        elif f == "d":
            self.y = min(self.rows, one) - 1
        elif f == "J":
            what = n[0] if n else 0
            self.erase(self.y, self.x if what == 0 else 0, self.columns if what != 1 else self.x + 1)
            for y in range(self.rows):
                if what == 2 or (what == 0 and y > self.y) or (what == 1 and y < self.y):
                    self.erase(y, 0, self.columns)
        elif f == "K":
            what = n[0] if n else 0
            self.erase(self.y, self.x if what == 0 else 0, self.columns if what != 1 else self.x + 1)
        elif f == "X":
            self.erase(self.y, self.x, self.x + one)
        elif f == "P":
            row = self.cells[self.y]
            self.cells[self.y] = row[:self.x] + row[self.x + one:] + [" "] * min(one, self.columns - self.x)
        elif f == "@":
            row = self.cells[self.y]
            self.cells[self.y] = (row[:self.x] + [" "] * one + row[self.x:])[:self.columns]
        elif f == "b":
            for _ in range(one):
                self.put(self.last)
        elif f == "r":
            self.top, self.bottom = (n[0] or 1) - 1 if n else 0, (n[1] if len(n) > 1 else self.rows) - 1
            self.x = self.y = 0
        elif f in "LM":
            for _ in range(one):
                at, gone = (self.y, self.bottom) if f == "L" else (self.bottom, self.y)
                del self.cells[gone]
                self.cells.insert(at, [" "] * self.columns)
        elif f in "ST":
            for _ in range(one):
                at, gone = (self.bottom, self.top) if f == "S" else (self.top, self.bottom)
                del self.cells[gone]
                self.cells.insert(at, [" "] * self.columns)
        elif f == "m":
            self.colour |= any(30 <= c <= 49 and c not in (39, 49) or 90 <= c <= 107 for c in n)

    def mode(self, numbers, on):
        if 25 in numbers:
            self.cursor = on
        if 1049 in numbers or 47 in numbers:
            self.other = on


class Terminal:
    def __init__(self, args):
        columns, rows = size(args.size)
        self.screen = Screen(columns, rows)
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.modes = termios.tcgetattr(self.slave)
        env = dict(os.environ, TERM=args.term)
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(args.command, stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE,
                                        env=env, start_new_session=True, preexec_fn=self.control)

    @staticmethod
    def control():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, seconds):
        """Reads what is shown for so long. False: nothing came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.screen.feed(os.read(self.master, 65536))
        except OSError:
            return False
        return True

    def settle(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.pump(left) and self.process.poll() is not None:
                return

    def wait(self, seconds, regex):
        end = time.monotonic() + seconds
        while not re.search(regex, self.screen.text(), re.M):
            left = end - time.monotonic()
            if left <= 0:
                return "not there: %s\n%s" % (regex, comment(self.screen.text()))
            self.pump(min(left, 0.2))
        return "ok"

    def end(self, seconds):
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                return "still runs"
            self.pump(0.05)
        while self.pump(0.05):
            pass
        bad = [] if termios.tcgetattr(self.slave) == self.modes else ["modes changed"]
        bad += [] if self.screen.cursor else ["no cursor"]
        bad += ["the other screen"] if self.screen.other else []
        said = self.process.stderr.read().decode().strip()
        return f"status {self.process.returncode} {', '.join(bad) or 'restored'} {said}".strip()


def size(text):
    return tuple(int(n) for n in text.split("x"))


def comment(text):
    return "\n".join("# |" + line for line in text.split("\n"))


def step(terminal, line):
    word, _, rest = line.partition(" ")
    if word == "wait":
        seconds, _, regex = rest.partition(" ")
        return terminal.wait(float(seconds), regex)
    if word == "absent":
        return "there" if re.search(rest, terminal.screen.text(), re.M) else "ok"
    if word == "keys":
        os.write(terminal.master, rest.encode().decode("unicode_escape").encode("latin-1"))
    elif word == "size":
        terminal.settle(0.1)
        terminal.screen.clear(*size(rest))
        terminal.resize(*size(rest))
    elif word == "sh":
        return subprocess.run(rest, shell=True, capture_output=True, text=True).stdout.strip() or None
    elif word == "show":
        return comment(terminal.screen.text())
    elif word == "signal":
        terminal.process.send_signal(getattr(signal, "SIG" + rest))
    elif word == "colour":
        return "colour" if terminal.screen.colour else "none"
    elif word == "end":
        return terminal.end(float(rest))
    elif word:
        raise SystemExit("top_pty.py: no step " + word)
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--term", default="xterm-256color")
    parser.add_argument("--size", default="80x24")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    terminal = Terminal(parser.parse_args())
    try:
        for line in sys.stdin:
            said = step(terminal, line.rstrip("\n"))
            if said is not None:
                print(said, flush=True)
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()


main()
