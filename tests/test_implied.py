"""Two of our rules on one statement: which finding stays."""

from __future__ import annotations

from itertools import permutations

from auditor.finding import Confidence, Finding, Severity, Step, Witness
from auditor.triage.implied import without_implied

IMPLIES = {"swallowed": ("bare",), "bare": ()}
DEFAULTS = {"swallowed": Confidence.LIKELY, "bare": Confidence.CERTAIN, "other": Confidence.CERTAIN}


def finding(rule: str, line: int = 1, *steps: tuple[int, str], **changes: object) -> Finding:
    proof = tuple(Step("a.py", at, 1, "a note", name) for at, name in steps)
    plain = Finding(rule, "a.py", line, 1, line, 2, "m", "", Severity.HIGH, Confidence.CERTAIN, proof)
    return plain.with_(**changes)


def left(*findings: Finding) -> list[tuple[str, int]]:
    kept = without_implied(findings, IMPLIES, lambda _, line: (line, line), DEFAULTS)
    return [(f.rule, f.line) for f in kept]


def test_the_finding_that_says_more_stays() -> None:
    all_four = (finding("swallowed", 1), finding("bare", 1), finding("bare", 2), finding("other", 1))
    for order in permutations(all_four):
        assert sorted(left(*order)) == [("bare", 2), ("other", 1), ("swallowed", 1)]


def test_another_file_or_statement_is_another_finding() -> None:
    assert len(left(finding("swallowed"), finding("bare", path="b.py"))) == 2
    assert len(left(finding("swallowed", 1), finding("bare", 2))) == 2


def test_it_takes_over_what_other_tools_have_seen() -> None:
    bare = finding("bare", witnesses=(Witness("auditor", "bare"), Witness("ruff", "E722")))
    own = finding("swallowed", witnesses=(Witness("auditor", "swallowed"),))
    (kept,) = without_implied([bare, own], IMPLIES, lambda _, line: (line, line), DEFAULTS)
    assert kept.witnesses == (Witness("auditor", "swallowed"), Witness("ruff", "E722"))


def test_what_is_only_possible_yields_to_what_is_surer() -> None:
    possible = finding("swallowed", confidence=Confidence.POSSIBLE)
    assert left(possible, finding("bare")) == [("bare", 1)]
    assert left(possible) == [("swallowed", 1)]
    assert left(finding("swallowed", confidence=None), finding("bare", confidence=None)) == [("swallowed", 1)]


def test_a_finding_for_several_places_stays_while_one_of_them_is_left() -> None:
    rolled_up = finding("bare", 1, (1, "except"), (5, "except"), (3, "await"))
    assert left(finding("swallowed", 1), rolled_up) == [("swallowed", 1), ("bare", 1)]
    assert left(finding("swallowed", 1), finding("swallowed", 5), rolled_up) == [("swallowed", 1), ("swallowed", 5)]
