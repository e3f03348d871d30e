"""Where the rules and the probe disagree about a row of the table."""

from __future__ import annotations

import re

from auditor.finding import Severity
from leakage.judge import STARTS, Verdict, built
from leakage.patterns import Pattern
from leakage.probe import LEAK, WARM_UP

AT_A_SIGNAL = {
    "negative-shift-feature": Severity.CRITICAL,
    "future-row-index": Severity.CRITICAL,
    "whole-series-statistic": Severity.HIGH,
    "forward-merge": Severity.HIGH,
    "centered-window": Severity.HIGH,
    "leaky-indicator": Severity.HIGH,
    "backward-fill": Severity.MEDIUM,
    STARTS: Severity.LOW,
}
SPOKEN = {
    STARTS: re.compile(r"first loaded row.*does not use future data"),
    WARM_UP: re.compile(r"first"),
    LEAK: re.compile(r"bars? ahead|whole series|later|ends"),
}
"""What a message has to speak of: what was measured, and nothing graver."""
COUNTED = frozenset({"negative-shift-feature", "centered-window", "future-row-index"})
"""Rules that have to say how many bars, where that is a number."""


def severity_of(pattern: Pattern) -> Severity:
    """The severity that a finding of the row has to have."""
    if pattern.severity:
        return Severity[pattern.severity.upper()]
    return Severity.LOW if pattern.verdict == WARM_UP else AT_A_SIGNAL[pattern.rule]


def disagreements(pattern: Pattern, verdict: Verdict) -> list[str]:
    """What the rules say otherwise than the table; nothing if all is as it was measured."""
    wanted = (pattern.rule,) if pattern.rule else ()
    found: list[str] = []
    if {*verdict.rules} - {*wanted, *pattern.accepted} or bool(verdict.rules) != bool(wanted):
        said, meant = (", ".join(rules) or "silence" for rules in (verdict.rules, wanted))
        return [f"{said} instead of {meant}"]
    if pattern.rule != STARTS and verdict.word != pattern.verdict:
        found.append(f"{verdict.word} instead of {pattern.verdict}")
    if not verdict.findings:
        return found
    worst = max(f.severity for f in verdict.findings)
    if worst != severity_of(pattern):
        found.append(f"{worst.word} instead of {severity_of(pattern).word}")
    words = SPOKEN[STARTS if pattern.rule == STARTS else pattern.verdict]
    found += [f"a message without the class: {f.message}" for f in verdict.findings if not words.search(f.message)]
    if isinstance(pattern.reach, int) and not pattern.varies and pattern.rule != STARTS:
        bars = verdict.bars
        if bars != pattern.reach and (bars is not None or pattern.rule in COUNTED):
            found.append(f"{bars if bars is not None else 'no number of'} bars instead of {pattern.reach}")
    return found


def status(pattern: Pattern, verdict: Verdict) -> str:
    """One word or sentence for a table: agrees, not built, differs (known) or what is wrong."""
    if not built(pattern.rule):
        return "not built"
    found = "; ".join(disagreements(pattern, verdict))
    if pattern.differs:
        return f"differs: {pattern.differs}" if found else "agrees, but the table gives a reason why not"
    return found or "agrees"
