"""The numbers and the limits: metrics, coverage, refuted reports, what was silenced, and the method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from auditor.finding import Audit
from auditor.report import places
from auditor.report.card import external, is_open, plural, risk_words
from auditor.report.escape import cell, cell_code, cell_prose, code, prose, text
from auditor.report.markdown_blocks import folded, ids, table
from auditor.report.options import Options

_ROWS = 200
_TOP = 10
_METRICS = {
    "lines": "lines",
    "findings": "findings",
    "coroutines": "coroutines",
    "locks": "locks",
    "broad_handlers": "broad handlers",
    "decimal_sites": "Decimal sites",
    "float_sites": "float sites",
    "tests": "tests",
}


def metrics(audit: Audit, options: Options) -> Iterator[str]:
    yield "## Metrics"
    yield ""
    rows: Sequence[Mapping[str, Any]] = audit.metrics.get("directories", ())
    if rows:
        present = {key: title for key, title in _METRICS.items() if any(key in row for row in rows)}
        rated = "lines" in present and "findings" in present
        header = ["directory", *present.values(), *(["findings per 1,000 lines"] if rated else [])]
        body = [
            [cell_code(str(row["path"])), *(_number(row.get(key)) for key in present), *([_rate(row)] if rated else [])]
            for row in rows
        ]
        yield from table(header, body, range(1, len(header)))
    contributions: Sequence[Mapping[str, Any]] = audit.risk.get("contributions", ())
    by_path: dict[str, float] = {}
    for item in contributions:
        by_path[item["path"]] = by_path.get(item["path"], 0.0) + item["points"]
    if by_path:
        yield "### Files by risk"
        yield ""
        top = sorted(by_path.items(), key=lambda item: -item[1])[:_TOP]
        number = {path: sum(is_open(f) and f.path == path for f in audit.findings) for path, _ in top}
        yield from table(
            ["file", "context", "points", "open findings"],
            [
                [cell_code(path), cell(audit.contexts.get(path, "production")), f"{points:.2f}", _number(number[path])]
                for path, points in top
            ],
            (2, 3),
        )
    codes: dict[str, int] = {}
    for finding in audit.findings:
        if external(finding) is not None and is_open(finding):
            codes[finding.rule] = codes.get(finding.rule, 0) + 1
    if codes:
        yield "### Codes that only other tools report"
        yield ""
        yield from table(["code", "n"], [[code(rule), _number(count)] for rule, count in sorted(codes.items())], (1,))
    if not rows and not by_path and not codes:
        yield "No metrics were collected."
        yield ""


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def _rate(row: Mapping[str, Any]) -> str:
    lines, findings = row.get("lines"), row.get("findings")
    return f"{1000 * findings / lines:.1f}" if lines and findings is not None else "-"


def coverage(audit: Audit, options: Options) -> Iterator[str]:
    """What was looked at and what was not. Written also when nothing was lost."""
    seen = audit.coverage
    yield "## Coverage and limits"
    yield ""
    verdict = "The analysis is complete." if seen.complete else "**The analysis is incomplete.**"
    skipped = f", {len(seen.skipped):,} skipped" if seen.skipped else ""
    files = f"Of {plural(seen.found, 'file')} found, {seen.analysed:,} were analysed{skipped}"
    yield f"{verdict} {files}; {plural(seen.lines, 'line')}."
    yield ""
    yield from table(
        ["tool", "version", "status", "files expected", "files seen", "lost"],
        [
            [
                cell(run.name),
                cell_code(run.version) if run.version else "-",
                cell(run.status),
                f"{run.expected:,}",
                f"{run.seen:,}",
                cell_prose("; ".join(run.notes[:2])) if run.notes else _lost(len(run.skipped)),
            ]
            for run in audit.tools
        ],
        (3, 4),
    )
    losses = [["auditor", loss.path, loss.reason, loss.detail] for loss in seen.skipped]
    losses += [[run.name, loss.path, loss.reason, loss.detail] for run in audit.tools for loss in run.skipped]
    if losses:
        yield "### Not analysed"
        yield ""
        body = [[cell(who), cell_code(path), cell(why), cell(detail)] for who, path, why, detail in losses]
        yield from _cut(["by", "path", "reason", "detail"], body)
    if seen.excluded:
        yield "### Excluded by configuration"
        yield ""
        body = [[cell_code(pattern), cell(source), f"{files:,}"] for pattern, source, files in seen.excluded]
        yield from _cut(["pattern", "set by", "files"], body, (2,))
    yield from (f"- {fact}" for fact in _facts(audit))
    yield ""


def _lost(number: int) -> str:
    return f"{plural(number, 'file')}, listed below" if number else "-"


def _facts(audit: Audit) -> Iterator[str]:
    seen = audit.coverage
    yield f"Symbolic links not followed: {seen.links_not_followed:,}."
    resolved, unresolved = seen.calls.get("resolved"), seen.calls.get("unresolved")
    if resolved is not None and unresolved is not None and resolved + unresolved:
        share = 100 * unresolved / (resolved + unresolved)
        total = resolved + unresolved
        yield f"Calls: {total:,}, of them {unresolved:,} unresolved ({share:.1f} %). What these reach was not followed."
    if awaits := sum(seen.awaits.values()):
        unknown = seen.awaits.get("unknown", 0)
        yield (
            f"Awaits: {awaits:,}, of them {seen.awaits.get('never', 0):,} never suspend and {unknown:,} are not known to "
            f"({100 * unknown / awaits:.1f} %). What rests on these is at most possible."
        )
    if seen.dynamic:
        listed = ", ".join(f"{text(key)} {seen.dynamic[key]:,}" for key in sorted(seen.dynamic))
        yield f"Dynamic features that hide calls and names: {listed}."
    if seen.since is not None:
        yield f"Only what is new since {code(str(seen.since.get('rev', '')))} counts as new."
        for change in seen.since.get("config_changes") or ():
            yield f"Changed configuration since then: {text(str(change))}"
    for assumption in seen.assumptions:
        yield f"Assumed: {prose(assumption)}"


def refuted(audit: Audit, options: Options) -> Iterator[str]:
    yield "## Refuted reports"
    yield ""
    rows = [
        [
            cell_code(f"{run.name}/{item.code}"),
            places.markdown(audit, options, item.path, item.line),
            cell(item.reason),
            cell_prose(item.detail),
        ]
        for run in audit.tools
        for item in run.refuted
    ]
    if not rows:
        yield "No report of another tool was refuted."
        yield ""
        return
    yield f"{plural(len(rows), 'report')} of other tools, which the analysis disproved. They are not findings."
    yield ""
    yield from _cut(["code", "where", "reason", "detail"], rows)


def silenced(audit: Audit, options: Options) -> Iterator[str]:
    """Accepted risks are still risks: suppressions with their reasons, the baseline, and what suppresses nothing."""
    yield "## Suppressed and baselined"
    yield ""
    items = audit.coverage.suppressions
    hidden = {finding.id: finding for finding in audit.findings if finding.state == "suppressed"}
    used = [item for item in items if item.used]
    unused = [item for item in items if not item.used]
    if used:
        yield "### Suppressed in the source"
        yield ""
        rows = [
            [
                places.markdown(audit, options, item.path, item.line),
                ", ".join(cell_code(rule) for rule in item.rules),
                cell_prose(item.reason) if item.reason.strip() else "**no reason given**",
                ", ".join(f"{code(key)}{f' {hidden[key].grade[0].word}' if key in hidden else ''}" for key in item.ids),
            ]
            for item in used
        ]
        yield from _cut(["where", "rules", "reason", "hides"], rows)
    listed = {key for item in used for key in item.ids}
    elsewhere = [finding for key, finding in hidden.items() if key not in listed]
    if elsewhere:
        yield f"Suppressed by configuration: {ids(elsewhere)}."
        yield ""
    if unused:
        yield "### Suppressions that hide nothing"
        yield ""
        rows = [
            [
                places.markdown(audit, options, item.path, item.line),
                ", ".join(cell_code(rule) for rule in item.rules),
                cell_prose(item.reason),
            ]
            for item in unused
        ]
        yield from _cut(["where", "rules", "reason"], rows)
    baseline = audit.coverage.baseline
    old = [finding for finding in audit.findings if finding.state == "baselined"]
    if baseline is not None:
        facts = ", ".join(f"{text(key)} {text(str(baseline[key]))}" for key in sorted(baseline) if key != "path")
        yield f"Baseline {code(str(baseline.get('path', '')))}: {facts}."
        yield ""
    if old:
        rows = [
            [
                code(finding.id),
                finding.grade[0].word,
                places.markdown(audit, options, finding.path, finding.line),
                cell_prose(finding.message),
            ]
            for finding in old
        ]
        yield from folded(plural(len(old), "baselined finding"), table(["id", "severity", "where", "what"], rows))
    if not items and not hidden and not old and baseline is None:
        yield "Nothing is suppressed and there is no baseline."
        yield ""


def _cut(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> Iterator[str]:
    yield from table(header, rows[:_ROWS], numbers)
    if len(rows) > _ROWS:
        yield f"{len(rows) - _ROWS:,} more rows stand in the JSON report."
        yield ""


def method(audit: Audit, options: Options) -> Iterator[str]:
    """The definitions that the grades rest on, and the risk score so that a reader can recompute it."""
    yield "## Method"
    yield ""
    yield "Severity is the consequence if the finding is true, however sure it is."
    yield ""
    yield from table(["severity", "definition"], SEVERITIES)
    yield "It rises one step on an order, position, balance or risk path, and falls one step in tests and scripts."
    yield ""
    yield "Confidence is the strength of the proof, whatever the consequence."
    yield ""
    yield from table(["confidence", "definition"], CONFIDENCES)
    yield "### Risk score"
    yield ""
    yield f"Risk {text(risk_words(audit))}. Open findings count, new and baselined ones; suppressed ones do not."
    yield ""
    yield from FORMULA
    yield ""
    contributions: Sequence[Mapping[str, Any]] = audit.risk.get("contributions", ())
    if not contributions:
        return
    rows = [
        [cell_code(item["rule"]), cell_code(item["path"]), f"{item['n']:,}", f"{item['points']:.2f}"]
        for item in contributions[:_TOP]
    ]
    rest = contributions[_TOP:]
    if rest:
        points = sum(item["points"] for item in rest)
        rows.append(["other", "", f"{sum(item['n'] for item in rest):,}", f"{points:.2f}"])
    rows.append(["sum", "", f"{sum(item['n'] for item in contributions):,}", f"{audit.risk['points']:.2f}"])
    yield from table(["rule", "file", "n", "points"], rows, (2, 3))


SEVERITIES = (
    ("critical", "money, position or credentials lost or duplicated without notice; backtest invalid by construction"),
    ("high", "wrong or frozen behaviour in production under normal load"),
    ("medium", "wrong under rare timing or input; leaks over days"),
    ("low", "costs maintenance or diagnosis"),
    ("info", "a fact the reader should know"),
)
CONFIDENCES = (
    ("certain", "every step is resolved: imports, receivers, types; or a syntactic fact that needs no resolution"),
    ("likely", "exactly one step rests on a name, an inferred type or a convention"),
    ("possible", "two or more such steps, or the absence of something; never part of the gate by default"),
)
FORMULA = (
    "```text",
    "points(group) = severity * confidence * context * (1 + ln n)",
    "group       one rule in one file; n is the number of its open findings",
    "severity    critical 40, high 15, medium 4, low 1, info 0",
    "confidence  certain 1, likely 0.7, possible 0.3",
    "context     production 1, scripts 0.4, tests 0.1",
    "            the weights are those of the gravest finding of the group",
    "score       100 * (1 - exp(-points / 100)), rounded",
    "level       below 10 low, below 30 medium, below 60 high, from 60 critical;",
    "            one open critical and certain finding in production makes it at least high",
    "```",
)
