"""Two of our rules on one statement: the finding that says more stays.

A rule declares with `implies` which others its findings contain: a swallowed cancellation is a bare except, and worse. What
is only possible contains nothing: it yields to a surer finding of a rule that it implies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from auditor.finding import Confidence, Finding

Implies = Mapping[str, Iterable[str]]
Span = tuple[int, int]
Place = tuple[str, Span]


def without_implied(
    findings: Iterable[Finding],
    implies: Implies,
    statement_of: Callable[[str, int], Span],
    confidences: Mapping[str, Confidence],
) -> tuple[Finding, ...]:
    """The findings without those that another one on the same statement implies, in the same order. The one that stays
    takes over their witnesses. `implies` maps a rule to others; `statement_of` gives first and last line of the statement
    at (path, line); `confidences` are the defaults of the rules."""
    everything = tuple(findings)
    by_implied: dict[str, list[str]] = defaultdict(list)
    for rule, others in implies.items():
        for other in others:
            by_implied[other].append(rule)
    if not by_implied:
        return everything

    def place(path: str, line: int) -> Place:
        return path, statement_of(path, line)

    rules = {rule for rule, others in implies.items() if others} | set(by_implied)
    at: dict[tuple[str, Place], list[int]] = defaultdict(list)
    for number, finding in enumerate(everything):
        if finding.rule in rules:
            at[finding.rule, place(finding.path, finding.line)].append(number)
    gone: set[int] = set()
    taken: dict[int, list[Finding]] = defaultdict(list)
    for number, finding in enumerate(everything):
        for rule in sorted(by_implied.get(finding.rule, ())):
            here = at[rule, place(finding.path, finding.line)]
            sure = [n for n in here if _sure(everything[n], confidences) > Confidence.POSSIBLE]
            if sure and all(_covered(at, rule, place(*spot)) for spot in _places(finding)):
                gone.add(number)
                taken[sure[0]].append(finding)
            elif not sure and _sure(finding, confidences) > Confidence.POSSIBLE:
                gone.update(here)
    return tuple(_with(f, taken[n]) if n in taken else f for n, f in enumerate(everything) if n not in gone)


def _sure(finding: Finding, confidences: Mapping[str, Confidence]) -> Confidence:
    return confidences[finding.rule] if finding.confidence is None else finding.confidence


def _places(finding: Finding) -> list[tuple[str, int]]:
    """All places of a finding: its own, and of one that stands for several those that its proof names alike."""
    own = {step.name for step in finding.proof if (step.path, step.line) == (finding.path, finding.line)}
    return [(finding.path, finding.line), *((s.path, s.line) for s in finding.proof if s.name in own)]


def _covered(at: Mapping[tuple[str, Place], list[int]], rule: str, place: Place) -> bool:
    return bool(at.get((rule, place)))


def _with(finding: Finding, implied: list[Finding]) -> Finding:
    """The finding with the witnesses of what it implies, those of ours left out."""
    others = {w for each in implied for w in each.witnesses if w.tool != "auditor"} - set(finding.witnesses)
    return finding.with_(witnesses=(*finding.witnesses, *sorted(others)))
