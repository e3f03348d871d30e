"""The first screen of the audit document: front matter, title and strip, executive summary, what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditor.finding import Audit, Finding, Severity
from auditor.report import places
from auditor.report.card import (
    Cause,
    causes,
    counts,
    external,
    first_sentence,
    gates,
    is_open,
    plural,
    risk_words,
    words,
)
from auditor.report.escape import cell, cell_prose, code, prose, scalar, text
from auditor.report.machine import SCHEMA
from auditor.report.markdown_blocks import chapter_title, folded, ids, table
from auditor.report.options import Options

STATES = ("new", "baselined", "suppressed")
_IDS = 5
_TOP = 5
_MEANING = {
    Severity.CRITICAL: "can lose or duplicate money, positions or credentials without notice, or void a backtest",
    Severity.HIGH: "can give wrong or frozen behaviour in production under normal load",
    Severity.MEDIUM: "can go wrong under rare timing or input, or leak over days",
}


def front_matter(audit: Audit, options: Options) -> Iterator[str]:
    """YAML whose every scalar is JSON, so that any reader of lines can take it apart."""
    coverage = audit.coverage
    previous = None if options.previous is None else _previous_commit(options.previous)
    sections: list[tuple[str, Any]] = [
        ("schema", SCHEMA),
        ("project", audit.project),
        ("commit", coverage.commit),
        ("dirty", coverage.dirty),
        *([("date", options.timestamp)] if options.timestamp is not None else []),
        ("auditor", audit.version),
        ("tools", {run.name: f"{run.version} ({run.status})" for run in audit.tools}),
        ("counts", {severity.word: number for severity, number in counts(audit.findings).items()}),
        ("states", {state: sum(f.state == state for f in audit.findings) for state in STATES}),
        ("risk", {key: audit.risk.get(key) for key in ("formula", "points", "score", "level", "lower_bound")}),
        (
            "coverage",
            {
                "complete": coverage.complete,
                "files_found": coverage.found,
                "files_analysed": coverage.analysed,
                "lines": coverage.lines,
            },
        ),
        ("previous", previous),
    ]
    yield "---"
    for key, value in sections:
        if isinstance(value, dict) and value:
            yield f"{key}:"
            yield from (f"  {scalar(name)}: {scalar(item)}" for name, item in value.items())
        else:
            yield f"{key}: {scalar(value or None if isinstance(value, dict) else value)}"
    yield from ("---", "")


def _previous_commit(previous: Mapping[str, Any]) -> str | None:
    return (previous.get("coverage") or {}).get("commit")


def strip(audit: Audit, options: Options) -> Iterator[str]:
    """Title, risk, counts: what fits one screen. An incomplete analysis is the first thing said."""
    coverage = audit.coverage
    yield f"# Audit of {text(audit.project or 'the project')}"
    yield ""
    if not coverage.complete:
        lossy = [f"{text(run.name)} {text(run.status)}" for run in audit.tools if run.status not in ("complete", "off")]
        if coverage.skipped:
            lossy.insert(0, f"{plural(len(coverage.skipped), 'file')} not analysed")
        reasons = ": " + ", ".join(lossy) if lossy else ""
        yield f"**Analysis incomplete{reasons}. Every count is a lower bound.** See [coverage](#coverage-and-limits)."
        yield ""
    state = "with uncommitted changes" if coverage.dirty else "clean"
    commit = f"commit {code(coverage.commit)} ({state})" if coverage.commit else "no commit"
    yield f"**Risk {text(risk_words(audit))}** · {commit} · {plural(coverage.analysed, 'file')}, " + plural(
        coverage.lines, "line"
    )
    yield ""
    yield from table(
        ["", *(severity.word for severity in sorted(Severity, reverse=True)), "all"],
        [_state_row(audit, state) for state in STATES],
        range(1, 7),
    )
    if options.previous is not None:
        fresh, fixed, _ = _since(audit, options.previous)
        yield f"Since the last audit: {len(fresh):,} new, {len(fixed):,} fixed."
        yield ""


def _state_row(audit: Audit, state: str) -> list[str]:
    members = [finding for finding in audit.findings if finding.state == state]
    return [state, *(f"{number:,}" for number in counts(members).values()), f"{len(members):,}"]


def executive(audit: Audit, options: Options) -> Iterator[str]:
    """Generated sentences, each with its ids; the five gravest; what was looked at and found clean."""
    yield "## Executive summary"
    yield ""
    active = [finding for finding in audit.findings if is_open(finding)]
    if not active:
        yield f"No finding is open in {plural(audit.coverage.analysed, 'analysed file')}."
    for sentence in _sentences(audit, active):
        yield f"- {sentence}"
    yield ""
    top = [cause for cause in causes(filter(gates, active)) if cause.first.grade[0] >= Severity.MEDIUM][:_TOP]
    if top:
        yield f"### The {'gravest' if len(top) == 1 else f'{len(top)} gravest'}"
        yield ""
        yield from table(
            ["id", "what can happen", "where", "severity", "confidence", "effort"],
            [_top_row(audit, options, cause) for cause in top],
        )
    yield from _clean(audit)


def _sentences(audit: Audit, active: Sequence[Finding]) -> Iterator[str]:
    sure = [finding for finding in active if gates(finding)]
    for severity, meaning in _MEANING.items():
        members = [finding for finding in sure if finding.grade[0] is severity]
        if members:
            number = len(causes(members))
            cause = f", from {plural(number, 'root cause')}" if number < len(members) else ""
            yield f"{plural(len(members), f'{severity.word} finding')}{cause}, which {meaning}: {ids(members, _IDS)}."
    grave = [finding for finding in sure if finding.grade[0] >= Severity.MEDIUM]
    by_path: dict[str, list[Finding]] = {}
    for finding in grave:
        by_path.setdefault(finding.path, []).append(finding)
    if len(by_path) > 1:
        path, members = max(by_path.items(), key=lambda item: len(item[1]))
        if len(members) > 1:
            share = f"{len(members):,} of {plural(len(grave), 'finding')} at medium or above"
            yield f"{code(path)} holds {share}: {ids(members, _IDS)}."
    fixable = [f for f in active if f.fix is not None and f.fix.applicability == "safe" and f.fix.edits]
    if fixable:
        yield f"{plural(len(fixable), 'finding')} with a safe edit, which keeps behaviour but for the defect: {ids(fixable, _IDS)}."
    foreign = [finding for finding in active if external(finding) is not None]
    if foreign:
        yield f"{plural(len(foreign), 'finding')} only other tools have seen: {ids(foreign, _IDS)}."
    doubtful = [finding for finding in active if not gates(finding)]
    if doubtful:
        verb = "is" if len(doubtful) == 1 else "are"
        yield f"{plural(len(doubtful), 'finding')} {verb} possible only, for a reader to judge: {ids(doubtful, _IDS)}."


def _top_row(audit: Audit, options: Options, cause: Cause) -> list[str]:
    finding = cause.first
    severity, confidence = finding.grade
    card = words(audit, finding)
    more = f" (+{len(cause.others):,})" if cause.others else ""
    return [
        code(finding.id) + more,
        cell_prose(card.why or card.what),
        places.markdown(audit, options, finding.path, finding.line),
        severity.word,
        confidence.word,
        card.effort,
    ]


def _clean(audit: Audit) -> Iterator[str]:
    yield "### Checked and clean"
    yield ""
    own = [run for run in audit.tools if run.name == "auditor"]
    if not audit.coverage.complete or any(run.status != "complete" for run in own):
        yield "Nothing is called clean: the analysis is incomplete. See [coverage](#coverage-and-limits)."
        yield ""
        return
    found = {finding.rule for finding in audit.findings}
    by_chapter: dict[str, list[str]] = {}
    for page in audit.pages.values():
        if page.id not in found:
            by_chapter.setdefault(page.chapter, []).append(page.id)
    if not by_chapter:
        yield "Each rule that ran has found something."
        yield ""
        return
    number = sum(map(len, by_chapter.values()))
    yield f"{plural(number, 'rule')} ran on complete data and found nothing."
    yield ""
    rows = [[cell(chapter_title(name)), ", ".join(code(rule) for rule in by_chapter[name])] for name in by_chapter]
    yield from folded("Rules without a finding", table(["chapter", "rules"], rows))


def since_previous(audit: Audit, options: Options) -> Iterator[str]:
    """What is new, fixed and still open against an earlier result; nothing without one."""
    if options.previous is None:
        return
    fresh, fixed, still = _since(audit, options.previous)
    yield "## Since the last audit"
    yield ""
    commit = _previous_commit(options.previous)
    yield f"The last audit is of {'commit ' + code(commit) if commit else 'an unknown commit'}."
    yield ""
    yield f"- New: {ids(fresh) or 'none'}."
    mended = ", ".join(f"{code(str(item['id']))} {prose(str(item['message']))}" for item in fixed)
    yield f"- Fixed: {mended or 'none'}."
    yield f"- Still open: {len(still):,}."
    yield ""


def _since(audit: Audit, previous: Mapping[str, Any]) -> tuple[list[Finding], list[Mapping[str, Any]], list[Finding]]:
    before = {item["id"]: item for item in previous["findings"] if item["state"] != "suppressed"}
    now = [finding for finding in audit.findings if is_open(finding)]
    known = {finding.id for finding in now}
    fixed = [item for key, item in before.items() if key not in known]
    return [f for f in now if f.id not in before], fixed, [f for f in now if f.id in before]


def chapter_introduction(audit: Audit, chapter: str) -> str:
    """The first sentence of a chapter's introduction, escaped; empty if it has none."""
    return prose(first_sentence(audit.chapters.get(chapter, "")))
