"""The one currency: a finding, its grades and its proof, and the finished audit that every writer takes.

Imports nothing of ours. All records are frozen values; positions are 1-based lines and columns, columns count
code points, ends are exclusive.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


class Severity(enum.IntEnum):
    """Consequence if the finding is true, whatever the certainty. Higher is graver."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        return self.name.lower()

    def step(self, by: int) -> Severity:
        """The grade `by` steps up (or down), held inside the scale."""
        return Severity(min(max(self + by, Severity.INFO), Severity.CRITICAL))


class Confidence(enum.IntEnum):
    """Completeness of the proof, whatever the consequence. Higher is surer."""

    POSSIBLE = 0
    LIKELY = 1
    CERTAIN = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A span of one file; `path` is posix and relative to the audited root."""

    path: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a proof, source to sink. `name` is what fixture marks match (`via a > b`); it is not printed."""

    path: str
    line: int
    column: int
    note: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the span by `text`."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """`safe` keeps behaviour except for the defect; `display` is shown, and applied only on demand (never without edits)."""

    applicability: str
    title: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Witness:
    """Who saw the defect: our rule, or a code of another tool."""

    tool: str
    code: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect. A rule leaves `severity` and `confidence` at None to take its defaults; `id`, `chapter`,
    `witnesses` and `state` are filled in by the triage."""

    rule: str
    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    message: str
    symbol: str = ""
    severity: Severity | None = None
    confidence: Confidence | None = None
    proof: tuple[Step, ...] = ()
    fix: Fix | None = None
    chapter: str = ""
    witnesses: tuple[Witness, ...] = ()
    state: str = "new"
    id: str = ""

    @property
    def location(self) -> Location:
        return Location(self.path, self.line, self.column, self.end_line, self.end_column)

    @property
    def grade(self) -> tuple[Severity, Confidence]:
        """Both grades of a graded finding. Raises ValueError before the triage has graded it."""
        if self.severity is None or self.confidence is None:
            raise ValueError(f"finding of {self.rule} at {self.path}:{self.line} is not graded yet")
        return self.severity, self.confidence

    def with_(self, **changes: Any) -> Finding:
        return replace(self, **changes)


def order(finding: Finding) -> tuple[object, ...]:
    """The one sort order of findings: gravest first, then surest, then by place."""
    severity, confidence = finding.grade
    return (
        -severity,
        -confidence,
        finding.path.encode("utf-8", "surrogateescape"),
        finding.line,
        finding.column,
        finding.rule,
        finding.id,
    )


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that was not analysed, and why (`syntax`, `encoding`, `limit`, `i/o`, ...)."""

    path: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refuted:
    """A report of another tool that our analysis disproved."""

    path: str
    line: int
    code: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What one tool saw. `status` is complete, partial, failed, missing or off; only complete and empty means clean."""

    name: str
    version: str
    status: str
    argv: tuple[str, ...] = ()
    exit_code: int | None = None
    expected: int = 0
    seen: int = 0
    skipped: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()
    refuted: tuple[Refuted, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suppression:
    """An inline suppression as the report lists it; `ids` are the findings it hid."""

    rules: tuple[str, ...]
    path: str
    line: int
    reason: str
    ids: tuple[str, ...] = ()
    used: bool = False


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was looked at, and what was not. Never empty, also when complete."""

    complete: bool = True
    root: str = "."
    commit: str | None = None
    dirty: bool = False
    found: int = 0
    analysed: int = 0
    lines: int = 0
    skipped: tuple[Loss, ...] = ()
    excluded: tuple[tuple[str, str, int], ...] = ()
    links_not_followed: int = 0
    calls: Mapping[str, Any] = field(default_factory=dict)
    awaits: Mapping[str, int] = field(default_factory=dict)
    dynamic: Mapping[str, int] = field(default_factory=dict)
    suppressions: tuple[Suppression, ...] = ()
    baseline: Mapping[str, Any] | None = None
    since: Mapping[str, Any] | None = None
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The documentation of one rule, parsed from its module docstring (markdown text per section)."""

    id: str
    chapter: str
    title: str
    severity: Severity
    confidence: Confidence
    what: str
    why: str
    bad: str
    good: str
    limits: str
    fix: str = ""
    effort: str = "M"
    cwe: tuple[int, ...] = ()
    since: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The finished audit. Writers render it; they never compute, filter or re-order.

    `findings` are graded and in the one order. `risk` is section `risk` of the JSON schema. `pages` holds the page
    of every rule that ran, `chapters` the introduction of each chapter, `texts` the decoded text of every file that
    a finding or a proof mentions, `contexts` what each path is (`production`, `scripts`, `tests`), `orders` the order map
    (schema `auditor-orders/1`).
    """

    version: str
    findings: tuple[Finding, ...]
    tools: tuple[ToolRun, ...]
    coverage: Coverage
    risk: Mapping[str, Any]
    pages: Mapping[str, Page] = field(default_factory=dict)
    chapters: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    project: str = ""
    orders: Mapping[str, Any] = field(default_factory=dict)
