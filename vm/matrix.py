# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
The matrix, kernel by test: what vm/check runs and scripts/kernels-table renders. Which tests there are, on
which kernels they run, and build/vm/check/KERNEL.json, where their results are kept.
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

# What one guest runs: some programs, one for each of the sources, whose first holds the lines "vm:" (options of
# vm/run.sh) and "vm-kernels:" (globs of kernels' names).
Test = namedtuple("Test", "name programs sources options kernels")

# About how long they take under TCG, in seconds, where that is long: the longest go first, and ends meet.
WEIGHTS = {"demo": 999, "guest/test_dispatcher": 100, "net/test_reload": 100, "net/test_crash": 65, "bpf": 60,
           "net/test_cache": 60, "net/test_differential": 60}

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
    """All of tests/bpf in one guest: they end in less time than it takes to boot."""
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
    return sorted(found, key=lambda t: -WEIGHTS.get(t.name, 50 if t.name.startswith("guest/") else 30))


def runs_on(test, kernel):
    """Those of the generic flavour are there for drivers; the rest would only be run twice."""
    if test.kernels:
        return any(fnmatch.fnmatch(kernel.name, glob) for glob in test.kernels)
    return kernel.flavour != "generic"


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
