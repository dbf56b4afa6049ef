#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""
What is wrong with the files of docs/monitoring that promtool cannot know. Silent, with status 0, when all is well.

    static.py dashboard         the dashboard's structure
    static.py expressions       prints the dashboard's expressions as a rules file, in JSON, which is YAML as well
    static.py names             each metric in an expression is one of docs/metrics.md, or a recorded one
    static.py texts             annotations are there, runbooks lead to headings, README.md has each alert
    static.py thresholds        each threshold is used, and each that is used is there
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docs/monitoring"
# Of Prometheus itself and of node_exporter.
FOREIGN = {"up", "node_textfile_mtime_seconds"}
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$service": ".*", "$pool": ".*", "$path": ".*"}

wrong = []


def complain(*what):
    wrong.append(": ".join(str(w) for w in what))


def dashboard():
    return json.loads((MONITORING / "weir.dashboard.json").read_text())


def rules(*names):
    for name in names or ("weir.thresholds.yml", "weir.rules.yml", "weir.alerts.yml"):
        for group in yaml.safe_load((MONITORING / name).read_text())["groups"]:
            yield from group["rules"]


def panels():
    """Rows that are closed have theirs inside."""
    for p in dashboard()["panels"]:
        yield p
        yield from p.get("panels", ())


def queries():
    """(where, expression) of the dashboard."""
    for p in panels():
        for t in p.get("targets", ()):
            yield f"panel '{p['title']}' {t['refId']}", t["expr"]
    for a in dashboard()["annotations"]["list"]:
        if "expr" in a:
            yield f"annotation '{a['name']}'", a["expr"]
    for v in dashboard()["templating"]["list"]:
        if v["type"] == "query":
            # The selector of label_values(SELECTOR, label).
            yield f"variable '{v['name']}'", re.fullmatch(r"label_values\((.*), \w+\)", v["query"]["query"])[1]


def plain(expr):
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


# ---- the checks ----------------------------------------------------------------------------------


def overlap(a, b):
    return (a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"])


def check_layout(every):
    for i, p in enumerate(every):
        grid = p["gridPos"]
        if grid["x"] + grid["w"] > 24:
            complain(p["title"], "wider than the page")
        for q in every[i + 1:]:
            if overlap(grid, q["gridPos"]):
                complain(p["title"], f"lies on '{q['title']}'")


def check_sources(panel):
    for holder in (panel, *panel.get("targets", ())):
        if holder.get("datasource", {}).get("uid") != "${datasource}":
            complain(panel["title"], "not from ${datasource}")
    if not panel.get("targets") or not panel["fieldConfig"]["defaults"].get("unit"):
        complain(panel["title"], "without a query, or a unit")
    if len({t["refId"] for t in panel["targets"]}) < len(panel["targets"]):
        complain(panel["title"], "two queries of one refId")


def check_dashboard():
    d, every = dashboard(), list(panels())
    if d["uid"] != "weir-edge" or d.get("id") is not None or d["schemaVersion"] < 36:
        complain("uid, id or schemaVersion")
    complaints = [f"panel id {i} twice" for i, n in Counter(p["id"] for p in every).items() if n > 1]
    wrong.extend(complaints)
    check_layout(every)
    for p in every:
        if p["type"] != "row":
            check_sources(p)
    variables = {v["name"]: v for v in d["templating"]["list"]}
    if variables["datasource"]["type"] != "datasource" or variables["datasource"]["query"] != "prometheus":
        complain("variable datasource", "does not choose a Prometheus")
    for where, expr in queries():
        for name in re.findall(r"\$\{?(\w+)", expr):
            if name not in variables and "$" + name not in VARIABLES:
                complain(where, f"no variable ${name}")
    if missing := {"service", "instance"} - set(variables):
        complain("no variables", missing)


def print_expressions():
    every = [{"record": f"dashboard:query:{i}", "labels": {"of": where}, "expr": plain(expr)}
             for i, (where, expr) in enumerate(queries())]
    json.dump({"groups": [{"name": "dashboard", "rules": every}]}, sys.stdout, indent=1)


def documented():
    return set(re.findall(r"`(weir_[a-z0-9_]+)`", (ROOT / "docs/metrics.md").read_text()))


def names_in(expr):
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    return set(re.findall(r"(?<![\w:])(?:\w*:[\w:]+|weir_\w+|node_\w+|up)(?![\w:(])", bare))


def check_names():
    known, recorded = documented(), {r["record"] for r in rules() if "record" in r}
    expressions = [(r.get("alert") or r["record"], str(r["expr"])) for r in rules()]
    for where, expr in expressions + [(w, plain(e)) for w, e in queries()]:
        for name in names_in(expr):
            family = re.sub(r"_(bucket|count|sum)$", "", name)
            if not {name, family} & (known | recorded | FOREIGN):
                complain(where, f"no metric {name}")


def anchors(document):
    """As GitHub makes them of headings."""
    found = set()
    for line in document.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-"))
    return found


def check_texts():
    readme = (MONITORING / "README.md").read_text()
    for r in rules("weir.alerts.yml"):
        notes = r.get("annotations", {})
        if r["labels"].get("severity") not in ("warning", "critical"):
            complain(r["alert"], "no severity")
        if set(notes) != {"summary", "description", "runbook"}:
            complain(r["alert"], "annotations")
            continue
        document, _, anchor = notes["runbook"].partition("#")
        if anchor not in anchors(ROOT / document):
            complain(r["alert"], f"no heading {notes['runbook']}")
        if f"`{r['alert']}`" not in readme:
            complain(r["alert"], "not in README.md")
    alerts = {r["alert"] for r in rules("weir.alerts.yml")}
    for name in set(re.findall(r"`(Weir[A-Z]\w+)`", readme)) - alerts:
        complain("README.md", f"no alert {name}")


def check_thresholds():
    there = Counter((r["labels"]["of"], r["labels"]["severity"]) for r in rules("weir.thresholds.yml"))
    used = set()
    for r in rules("weir.alerts.yml"):
        for of, severity in re.findall(r'weir:threshold\{of="(\w+)"(?:,severity="(\w+)")?\}', r["expr"]):
            used.add((of, severity or "none"))
            if severity and severity != r["labels"]["severity"]:
                complain(r["alert"], f"compares with the threshold of {severity}")
        if r["alert"] == "WeirThresholdsWrong" and f"count(weir:threshold) < {len(there)}" not in r["expr"]:
            complain(r["alert"], f"{len(there)} are there")
    for key in set(there) ^ used:
        complain("threshold", *key, "missing" if key in used else "not used")
    wrong.extend(f"threshold {key} twice" for key, n in there.items() if n > 1)


def main():
    {"dashboard": check_dashboard, "expressions": print_expressions, "names": check_names, "texts": check_texts,
     "thresholds": check_thresholds}[sys.argv[1]]()
    if wrong:
        sys.exit("\n".join(sorted(set(wrong))))


if __name__ == "__main__":
    main()
