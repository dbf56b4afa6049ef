# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
The matrix, kernel by test: what vm/check runs and scripts/kernels-table renders. Which tests there are, on
which kernels they run, which of them share a guest, and build/vm/check/KERNEL.json, where their results are
kept.
"""

import fnmatch
import hashlib
import json
import os
import shlex
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("WEIR_BUILD", ROOT / "build")).resolve()
RESULTS = BUILD / "vm/check"

# A kernel of vm/kernels.txt, or the path of a bzImage, whose flavour is "own".
Kernel = namedtuple("Kernel", "name flavour word")

# A row of the matrix: some programs, one for each of the sources, whose first holds the lines "vm:" (options of
# vm/run.sh) and "vm-kernels:" (globs of kernels' names).
Test = namedtuple("Test", "name programs sources options kernels")

# About how many seconds of CPU they take under TCG, on the kernel where they take most, where that is many:
# the longest go first, and ends meet. The results have them as cpu_seconds.
WEIGHTS = {"demo": 999, "net/test_steer": 420, "bpf": 320, "net/test_nat": 225, "net/test_health": 225,
           "net/test_backends": 165, "net/test_tunnel": 145, "guest/test_dispatcher": 130, "net/test_reload": 125,
           "net/test_cache": 115, "net/test_probe": 110, "net/test_clock": 110, "net/test_crash": 105, "net/test_agent": 90, "guest/test_systemd": 100}
OTHERS_WEIGHT = 50
# Tests share a guest up to this weight in all. With more, fewer guests would have to boot, but one that begins
# last would end long after the others.
GUEST_WEIGHT = 300

# What the tests of a suite share: the files there that are not tests.
SHARED = {"bpf": ["tests/bpf"], "net": ["tests/net"], "guest": ["tests/net", "tests/guest"]}


def kernels():
    rows = (line.split("#")[0].split() for line in (ROOT / "vm/kernels.txt").read_text().splitlines())
    return [Kernel(row[0], row[2], row[0]) for row in rows if row]


def own_kernel(path):
    return Kernel(path.strip("/.").replace("/", "-"), "own", os.path.abspath(path))


def header(source, word):
    """What follows `WORD:` in a comment at the head of a test; "" without such a line."""
    for line in source.read_text().splitlines()[:40]:
        text = line.lstrip("#*/ \t")
        if text.startswith(word + ":") and text != line:
            return text.removeprefix(word + ":").strip()
    return ""


def make_test(name, programs, sources):
    return Test(name, programs, sources, shlex.split(header(sources[0], "vm")),
                header(sources[0], "vm-kernels").split())


def bpf_test():
    """All of tests/bpf as one test: most end in less time than a guest takes to boot."""
    sources = sorted(ROOT.glob("tests/bpf/test_*.c"))
    programs = [f"build/tests/bpf/{s.stem}" for s in sources]
    return make_test("bpf", ["scripts/verifier-stats", *programs], [ROOT / "scripts/verifier-stats", *sources])


def tests():
    """The longest first."""
    found = [bpf_test()]
    for suite in ("net", "guest"):
        found += [make_test(f"{suite}/{s.stem}", [f"tests/{suite}/{s.name}"], [s])
                  for s in sorted(ROOT.glob(f"tests/{suite}/test_*.sh"))]
    demo = ROOT / "vm/demo.sh"
    if demo.exists():
        found.append(make_test("demo", ["vm/demo.sh"], [demo]))
    return sorted(found, key=lambda t: -weight([t]))


def weight(tests):
    return sum(WEIGHTS.get(t.name, OTHERS_WEIGHT) for t in tests)


def matches(test, kernel):
    return any(fnmatch.fnmatch(kernel.name, glob) for glob in test.kernels)


def runs_on(test, kernel, everywhere=False):
    """Those of the generic flavour are there for drivers; the rest would only be run twice."""
    if test.kernels and not (everywhere and any(matches(test, k) for k in kernels() if k.flavour != "generic")):
        return matches(test, kernel)
    return kernel.flavour != "generic"


def may_share(one, other):
    """Tests that want no NIC of their guest live in labs, which leave nothing behind (scripts/lab.sh)."""
    return one.options == other.options and "--nic" not in one.options and "demo" not in (one.name, other.name)


def guests(tests):
    """Lists of tests, one for each guest: the longest first, each into the first guest that has room for it."""
    found = []
    for test in tests:
        for guest in found:
            if may_share(guest[0], test) and weight([*guest, test]) <= GUEST_WEIGHT:
                guest.append(test)
                break
        else:
            found.append([test])
    return found


def sources_of_product():
    return [ROOT / "Makefile", *sorted(f for d in ("bpf", "user", "include/weir") for f in (ROOT / d).glob("*.[ch]"))]


def fingerprint(test):
    """Of the product and the test: results with another one are of something else than what is here."""
    files = sources_of_product() + [ROOT / "scripts/lab.sh", *test.sources]
    for folder in SHARED.get(test.name.split("/")[0], ()):
        files += sorted(f for f in (ROOT / folder).iterdir() if f.is_file() and not f.name.startswith(("test_", ".")))
    whole = hashlib.sha256()
    for f in files:
        whole.update(f.name.encode() + b"\0" + f.read_bytes() + b"\0")
    return whole.hexdigest()[:16]


def unbuilt(test):
    """A source that the build does not have yet; None: it is up to date."""
    if not (BUILD / "weir").exists():
        return BUILD / "weir"
    for f in sources_of_product():
        if f.name != "Makefile" and f.stat().st_mtime > (BUILD / "weir").stat().st_mtime:
            return f
    for source, program in zip(test.sources, test.programs):
        program = ROOT / program
        if source.suffix == ".c" and (not program.exists() or source.stat().st_mtime > program.stat().st_mtime):
            return source
    return None


def load(kernel_name):
    """{"kernel": ..., "tests": {name: result}}, of all runs so far."""
    try:
        return json.loads((RESULTS / f"{kernel_name}.json").read_text())
    except FileNotFoundError:
        return {"kernel": kernel_name, "tests": {}}


def keep(kernel_name, test_name, result):
    document = load(kernel_name)
    document["tests"][test_name] = result
    new = RESULTS / f"{kernel_name}.json.new"
    new.write_text(json.dumps(document, indent=1) + "\n")
    new.rename(RESULTS / f"{kernel_name}.json")
