"""What the rules of the chapter say of a program, in the words of the probe.

A finding that ends at a signal, a feature or an indicator is a leak into the column that it names. Silence is *causal*
if the interpreter knows what reaches every sink, and *undecided* if it met something that it does not know; a finding
that is only possible is undecided too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from auditor.rules.leakage._reports import Reports
from auditor.rules.leakage._state import Extent, Part
from linked import MODELS, RULES, STUBS

from auditor.engine import judge as judged_by
from auditor.facts.collect import collect, read
from auditor.finding import Confidence, Finding, Severity
from auditor.loader import Rules, make
from auditor.project.project import Project
from auditor.rule import Rule
from leakage.probe import CAUSAL, LEAK, WARM_UP

CHAPTER = "leakage"
UNDECIDED = "undecided"
SIGNALS = ("enter_long", "enter_short", "enter_tag")
STARTS = "unanchored-cumulative"
"""The rule about the first loaded row; it never speaks of the future."""

_BARS = re.compile(r"reads (at least )?(\d+) bars? ahead")


@cache
def chapter() -> Rules:
    """The rules of the chapter that exist."""
    return replace(RULES, rules={name: rule for name, rule in RULES.rules.items() if rule.chapter() == CHAPTER})


@cache
def _made() -> tuple[Rule, ...]:
    return tuple(make(chapter(), {}))


def built(rule: str) -> bool:
    """Whether a rule exists; silence is always built."""
    return not rule or rule in chapter().rules


@dataclass(frozen=True, slots=True)
class Judged:
    """One finding: its rule, the sink that it ends in, the bars that it speaks of (0 for more than a number of bars)
    and whether these are a lower bound, whether the rows of the warm-up are meant, and its grades."""

    rule: str
    sink: str
    bars: int
    at_least: bool
    warm_up: bool
    severity: Severity
    confidence: Confidence
    path: str
    line: int
    message: str

    @property
    def signal(self) -> bool:
        return self.sink in SIGNALS


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings of a program, and whether something on the way to a sink is unknown."""

    findings: tuple[Judged, ...]
    unknown: bool

    @property
    def ahead(self) -> tuple[Judged, ...]:
        """Findings about the future that reach the signal."""
        return tuple(f for f in self.findings if f.rule != STARTS and f.signal)

    @property
    def ahead_beside(self) -> tuple[Judged, ...]:
        """Findings about the future that reach another column."""
        return tuple(
            f for f in self.findings if f.rule != STARTS and not f.signal and f.confidence > Confidence.POSSIBLE
        )

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(sorted({f.rule for f in self.findings}))

    @property
    def word(self) -> str:
        """What is said of the signal: causal, leak, warm-up or undecided."""
        sure = [f for f in self.ahead if f.confidence > Confidence.POSSIBLE]
        if sure:
            return WARM_UP if all(f.warm_up for f in sure) else LEAK
        return UNDECIDED if self.unknown or self.ahead else CAUSAL

    @property
    def bars(self) -> int | None:
        """How many bars the signal is said to look ahead; None where that is not a number."""
        leaks = [f for f in self.ahead if not f.warm_up]
        return max((f.bars for f in leaks), default=0) if all(f.bars for f in leaks) else None


def judge(texts: Mapping[str, str]) -> Verdict:
    """The verdict of the rules that exist. Raises AssertionError if one of them fails."""
    made = _made()
    collected = {path: read(path, collect(path, text.encode(), made)) for path, text in sorted(texts.items())}
    project = Project({path: item.program for path, item in collected.items()}, STUBS, MODELS)
    found, errors = judged_by(project, made)
    assert errors == [], errors
    return Verdict(tuple(_judged(found)), _unknown(project))


def _judged(found: Iterable[Finding]) -> Iterable[Judged]:
    for finding in sorted(found, key=lambda f: (f.path, f.line, f.column, f.rule)):
        bars = _BARS.search(finding.message)
        rule = chapter().rules[finding.rule]
        severity = finding.severity if finding.severity is not None else rule.severity
        confidence = finding.confidence if finding.confidence is not None else rule.confidence
        yield Judged(
            finding.rule,
            finding.proof[-1].name if finding.proof else "",
            int(bars.group(2)) if bars else 0,
            bool(bars and bars.group(1)),
            severity <= Severity.LOW and finding.rule != STARTS,
            severity,
            confidence,
            finding.path,
            finding.line,
            finding.message,
        )


def _unknown(project: Project) -> bool:
    """Whether something arrives at a sink that may look ahead and is not proven to."""
    return any(_open(part) for _, sink, _ in Reports(project).seen for part in sink.state.parts)


def _open(part: Part) -> bool:
    if part.extent is not Extent.EXACT or part.ahead:
        return False
    high = None if part.reach is None else part.reach.upper()
    return high is None or high > 0
