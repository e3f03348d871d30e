"""The order map as plain values, schema `auditor-orders/1`, and what the configuration requires of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auditor.config import ORDER_CHECKS
from auditor.ordermap.checks import ABSENT, Answer, Checks
from auditor.ordermap.paths import Path, paths, shown_call
from auditor.project.project import Project

SCHEMA = "auditor-orders/1"


def order_map(project: Project, context: Callable[[str], str] = lambda _: "production") -> dict[str, Any]:
    """Every path with its checks. `context` says what a file is: production, scripts or tests."""
    found = paths(project)
    checks = Checks(project)
    rows = [_row(path, checks.of(path), context) for path in found.paths]
    return {
        "schema": SCHEMA,
        "checks": list(ORDER_CHECKS),
        "paths": [row for row in rows if row["context"] != "tests"],
        "left_out": found.left_out,
    }


def _row(path: Path, answers: Mapping[str, Answer], context: Callable[[str], str]) -> dict[str, Any]:
    function, op = path.way.last
    entry = path.entry.function
    line, _ = entry.position() if entry.index else (1, 1)
    return {
        "verb": path.way.verb,
        "entry": {"kind": path.entry.kind, "symbol": entry.symbol, "path": entry.path, "line": line},
        "context": context(entry.path),
        "sink": {
            "call": path.way.path,
            "symbol": function.symbol,
            "path": function.path,
            "line": function.at(op)[0],
            "alternatives": path.alternatives,
        },
        "hops": [
            {"symbol": f.symbol, "path": f.path, "line": f.at(o)[0], "calls": shown_call((f, o))}
            for f, o in path.way.hops
        ],
        "checks": {
            name: {
                "status": a.status,
                "note": a.note,
                "path": a.place[0] if a.place else "",
                "line": a.place[1] if a.place else 0,
            }
            for name, a in answers.items()
        },
    }


def lacking(table: Mapping[str, Any], required: Sequence[str]) -> list[tuple[Mapping[str, Any], str]]:
    """The paths of production code that lack a required check, with its name, in the order of the map."""
    return [
        (row, name)
        for row in table.get("paths", ())
        if row["context"] == "production"
        for name in required
        if row["checks"][name]["status"] == ABSENT
    ]


def counted(table: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Check -> status -> number of paths."""
    found: dict[str, dict[str, int]] = {name: {} for name in table["checks"]}
    for row in table["paths"]:
        for name, answer in row["checks"].items():
            found[name][answer["status"]] = found[name].get(answer["status"], 0) + 1
    return found
