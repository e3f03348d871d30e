"""What to do, in which order: every open finding exactly once. And how to see the same again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from auditor.finding import Audit, Finding, Severity
from auditor.report.card import Cause, causes, gates, is_open, plural, words
from auditor.report.escape import code, fence, prose
from auditor.report.markdown_blocks import ids
from auditor.report.options import Options

_STAGES = {
    "now": "Now: critical and high, small or medium effort",
    "next": "Next: the rest of critical and high, and medium, by root cause",
    "later": "Later: architecture, low, info, and what is possible only",
}


def action_plan(audit: Audit, options: Options) -> Iterator[str]:
    """Check boxes by stage, one per root cause, with all its ids."""
    stages: dict[str, list[Finding]] = {stage: [] for stage in _STAGES}
    for finding in audit.findings:
        if is_open(finding):
            stages[_stage(audit, finding)].append(finding)
    yield "## Action plan"
    yield ""
    yield "Effort: S is minutes, M is hours, L is days."
    yield ""
    for stage, title in _STAGES.items():
        yield f"### {title}"
        yield ""
        groups = causes(stages[stage])
        yield from (_item(audit, cause) for cause in groups)
        if not groups:
            yield "Nothing."
        yield ""


def _stage(audit: Audit, finding: Finding) -> str:
    severity = finding.grade[0]
    if finding.chapter == "architecture" or severity <= Severity.LOW or not gates(finding):
        return "later"
    quick = words(audit, finding).effort in ("S", "M")
    return "now" if severity >= Severity.HIGH and quick else "next"


def _item(audit: Audit, cause: Cause) -> str:
    finding = cause.first
    card = words(audit, finding)
    what = prose(card.title) if finding.rule in audit.pages else f"{code(finding.rule)} {prose(card.what)}"
    others = f"; also {ids(cause.others)}" if cause.others else ""
    return f"- [ ] {code(finding.id)} {what} ({card.effort}), {code(finding.path)}{others}"


def commands(audit: Audit, options: Options) -> Iterator[str]:
    """Our command, then those of the tools, one per line."""
    yield "## Commands to reproduce"
    yield ""
    lines = [_command(audit.argv)] if audit.argv else ["auditor scan"]
    lines += [_command(run.argv) for run in audit.tools if run.name != "auditor" and run.argv]
    yield from fence(lines, "sh")
    yield ""
    if any("<" in line for line in lines):
        yield "`<stage>` stands for a copy of the analysed files, `<cache>` for the cache of the tool."
        yield ""
    grave = [f for f in audit.findings if is_open(f) and gates(f) and f.grade[0] >= Severity.HIGH]
    if grave:
        command = code(f"auditor explain {grave[0].id}")
        yield f"One of the {plural(len(grave), 'grave finding')} with its proof: {command}."
        yield ""


def _command(argv: tuple[str, ...]) -> str:
    """`<python>` is whatever interpreter the reader has; the other marks stay."""
    return shlex.join("python" if word == "<python>" else word for word in argv)
