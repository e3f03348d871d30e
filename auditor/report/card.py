"""The words of a card and the grouping of findings by root cause: what every format for people shares.

Nothing here grades, drops or re-orders; a `Cause` holds the findings of the audit in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from auditor.finding import Audit, Confidence, Finding, Severity

OPEN = ("new", "baselined")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)\s+(?=[A-Z`\"'(])")
_PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )")
# Own findings come from the auditor or have no slash in their id; all others are `tool/code`.
_TOOL_RULE = re.compile(r"^(ruff|mypy|bandit)/(.+)$")


@dataclass(frozen=True, slots=True)
class Words:
    """What a card says of one finding. `why` and `fix` may be empty, for codes of other tools that have no page."""

    title: str
    what: str
    why: str
    fix: str
    effort: str
    cwe: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """Findings with one root cause; the first is the card, the others its table."""

    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        return self.findings[0]

    @property
    def others(self) -> tuple[Finding, ...]:
        return self.findings[1:]


def words(audit: Audit, finding: Finding) -> Words:
    """Title, what, why, fix, effort and CWE numbers of a finding, from the page of its rule and the finding itself."""
    page = audit.pages.get(finding.rule)
    proposed = finding.fix.title if finding.fix is not None else ""
    if page is None:
        return Words(finding.rule, finding.message, "", proposed, "S" if proposed else "M", ())
    fix = proposed or page.fix
    return Words(page.title.rstrip("."), finding.message, first_sentence(page.why), fix, page.effort, page.cwe)


def first_sentence(prose: str) -> str:
    """The first sentence of Markdown prose, on one line."""
    paragraph = _PARAGRAPH_END.split(prose.strip(), maxsplit=1)[0]
    flat = " ".join(paragraph.split())
    return _SENTENCE_END.split(flat, maxsplit=1)[0]


def is_open(finding: Finding) -> bool:
    return finding.state in OPEN


def gates(finding: Finding) -> bool:
    """Whether the finding gets words of its own; `possible` ones are only counted and listed in a table."""
    return finding.grade[1] is not Confidence.POSSIBLE


def external(finding: Finding) -> tuple[str, str] | None:
    """Tool and code of a finding that only another tool has seen, else None."""
    match = _TOOL_RULE.match(finding.rule)
    return (match.group(1), match.group(2)) if match else None


def also_seen(finding: Finding) -> str:
    """The other witnesses of a finding, as `ruff ASYNC251, bandit B615`; empty if there is none."""
    shown = [w for w in finding.witnesses if w.tool != "auditor" and f"{w.tool}/{w.code}" != finding.rule]
    return ", ".join(f"{witness.tool} {witness.code}" for witness in shown)


def causes(findings: Iterable[Finding]) -> tuple[Cause, ...]:
    """The findings by root cause, in the order of their first members.

    One root cause is one rule with one last proof step (ten callers of one blocking function are one defect). Where
    the last step is the finding's own line it says nothing about the cause: a chain or a race then stands alone, and
    findings with at most one step are one habit of one file.
    """
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        groups.setdefault(_root(finding), []).append(finding)
    return tuple(Cause(tuple(group)) for group in groups.values())


def _root(finding: Finding) -> tuple[object, ...]:
    severity = finding.grade[0]
    if finding.proof:
        last = finding.proof[-1]
        if (last.path, last.line) != (finding.path, finding.line):
            return (finding.rule, severity, last.path, last.line, last.column)
        if len(finding.proof) > 1:
            return (finding.rule, finding.id, finding.path, finding.line, finding.column)
    return (finding.rule, severity, finding.path)


def counts(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many findings there are of each severity, gravest first, zeros too."""
    by_severity = dict.fromkeys(sorted(Severity, reverse=True), 0)
    for finding in findings:
        by_severity[finding.grade[0]] += 1
    return by_severity


def risk_words(audit: Audit) -> str:
    """The risk as every format prints it: `HIGH (71)`, or `at least HIGH (71)` when the analysis is incomplete."""
    if not audit.risk:
        return "not computed"
    lower = "at least " if audit.risk.get("lower_bound") else ""
    return f"{lower}{str(audit.risk['level']).upper()} ({audit.risk['score']})"


def plural(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
