"""What was looked at: statements of the analysed files, our entry among the tools, coverage and metrics."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import auditor
from auditor.engine import Analysis
from auditor.finding import Coverage, Finding, Loss, Suppression, ToolRun
from auditor.project.suspension import Suspends
from auditor.source.discover import Discovery
from auditor.triage import suppress
from auditor.triage.baseline import Matching

LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
DECIMAL = re.compile(r"\bDecimal\(")
FLOAT = re.compile(r"\bfloat\(|\b\d+\.\d+\b")
LOCK = re.compile(r"\b(?:asyncio|threading)\.(?:R?Lock|Semaphore|BoundedSemaphore|Condition)\(")
BROAD = re.compile(r"^\s*except(?:\s+(?:Base)?Exception\b[^:]*)?:", re.MULTILINE)


class Statements:
    """The statements of the analysed files, asked by line."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._lines: dict[str, list[str]] = {}

    def of(self, path: str) -> list[suppress.Statement]:
        program = self.analysis.project.programs.get(path)
        return [suppress.Statement(s.line, s.header_end, s.end, bool(s.scope)) for s in program.facts.statements] if program else []

    def header_at(self, path: str, line: int) -> tuple[int, int]:
        """First and last line of the smallest statement there; of a compound one its header; else the line itself."""
        program = self.analysis.project.programs.get(path)
        if program is None:
            return line, line
        statements = program.facts.statements
        at = bisect_right(statements, (line, 1 << 30, 1 << 30, 2))
        for statement in reversed(statements[max(at - 400, 0) : at]):
            if statement.line <= line <= statement.header_end:
                return statement.line, statement.header_end
        return line, line

    def text_at(self, path: str, line: int) -> str:
        """The source of the statement on a line."""
        if path not in self._lines:
            self._lines[path] = LINES.findall(self.analysis.texts.get(path, ""))
        first, last = self.header_at(path, line)
        return "".join(self._lines[path][first - 1 : last])


def our_run(analysis: Analysis, found: Discovery) -> ToolRun:
    """The engine's entry among the tools."""
    lost = tuple(sorted(analysis.losses, key=lambda loss: (loss.path, loss.reason)))
    seen = len(analysis.texts)
    status = "partial" if lost or analysis.errors else "complete"
    expected = len(found.files) + len(found.skipped)
    return ToolRun(
        name="auditor", version=auditor.__version__, status=status, expected=expected, seen=seen, skipped=lost, notes=found.notes
    )  # fmt: skip


def status_of(rule: str, runs: Sequence[ToolRun], analysis: Analysis) -> bool:
    """Whether a rule, ours or another tool's, ran on complete data."""
    if "/" in rule:
        return any(run.name == rule.partition("/")[0] and run.status == "complete" for run in runs)
    return not analysis.losses and not any(name == rule for name, _, _ in analysis.errors)


def coverage_of(
    analysis: Analysis, found: Discovery, suppressions: tuple[Suppression, ...], complete: bool, matching: Matching | None, name: str | None
) -> Coverage:
    """Section `coverage` of the report."""
    dynamic: Counter[str] = Counter({"getattr": 0, "exec": 0, "import": 0})
    for program in analysis.project.programs.values():
        dynamic.update(dict(program.facts.dynamic))
    return Coverage(
        complete=complete,
        commit=found.commit,
        dirty=found.dirty,
        found=len(found.files) + len(found.skipped),
        analysed=len(analysis.texts),
        lines=sum(len(p.facts.line_starts) - 1 for p in analysis.project.programs.values()),
        skipped=tuple(sorted(analysis.losses, key=lambda loss: (loss.path, loss.reason))),
        excluded=found.excluded,
        links_not_followed=found.links_not_followed,
        calls=calls_of(analysis),
        awaits=awaits_of(analysis),
        dynamic=dict(sorted(dynamic.items())),
        suppressions=suppressions,
        baseline=None if matching is None else {"path": name, "matched": len(matching.pairs), "stale": len(matching.stale)},
        assumptions=analysis.project.models.assumptions,
    )


def calls_of(analysis: Analysis) -> dict[str, int]:
    """How many calls are resolved; one with an unknown callee among its candidates counts as not."""
    resolved = unresolved = 0
    for function in analysis.project.functions():
        for result in analysis.project.calls(function).values():
            if result.how in ("typed", "hierarchy"):
                resolved += 1
            else:
                unresolved += 1
    return {"resolved": resolved, "unresolved": unresolved}


def awaits_of(analysis: Analysis) -> dict[str, int]:
    """How many awaits may suspend, never do, or are not known to; the worst of the classes that `self` can have counts."""
    project = analysis.project
    counts: Counter[str] = Counter({value.name.lower(): 0 for value in Suspends})
    for function in project.functions():
        if function.header.is_async:
            nodes = project.receivers(function)
            for op in project.suspension.points(nodes[0]) if nodes else ():
                counts[max(project.suspension.at(node, op) for node in nodes).name.lower()] += 1
    return dict(sorted(counts.items()))


def metrics_of(analysis: Analysis, findings: Iterable[Finding]) -> dict[str, Any]:
    """Per folder: lines, findings, coroutines, locks, broad handlers, numbers, tests."""
    counts: Counter[str] = Counter(_folder(f.path) for f in findings)
    rows: dict[str, Counter[str]] = {}
    for path, text in analysis.texts.items():
        row = rows.setdefault(_folder(path), Counter())
        row.update(_measures(analysis, path, text))
    return {"directories": [{"path": folder, **_row(rows[folder], counts[folder])} for folder in sorted(rows)]}


def _measures(analysis: Analysis, path: str, text: str) -> Mapping[str, int]:
    functions = analysis.project.programs[path].facts.functions if path in analysis.project.programs else ()
    return {
        "lines": len(LINES.findall(text)),
        "coroutines": sum(f.is_async for f in functions),
        "locks": len(LOCK.findall(text)),
        "broad_handlers": len(BROAD.findall(text)),
        "decimal_sites": len(DECIMAL.findall(text)),
        "float_sites": len(FLOAT.findall(text)),
        "tests": sum(f.kind == "def" and f.name.startswith("test") for f in functions),
    }


def _row(measures: Counter[str], findings: int) -> dict[str, int]:
    names = ("lines", "coroutines", "locks", "broad_handlers", "decimal_sites", "float_sites", "tests")
    return {"findings": findings} | {name: measures[name] for name in names}


def _folder(path: str) -> str:
    """The two outermost folders of a path, "." at the top."""
    return "/".join(path.split("/")[:-1][:2]) or "."


__all__ = ["Loss", "Statements", "calls_of", "coverage_of", "metrics_of", "our_run", "status_of"]
