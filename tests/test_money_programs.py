"""Random programs over the numeric lattice, executed and judged: no certain finding is contradicted, and a fair share is decided."""

from __future__ import annotations

import dataclasses

import pytest
from money_programs import Tally, Trace, execute, program

from auditor import engine, loader
from auditor.finding import Confidence, Finding, Severity

RULES = loader.load()
JUDGED = ("float-decimal-mixing", "decimal-from-float", "mixed-numeric-comparison")
COUNT = 60


@pytest.fixture(scope="module")
def tally() -> Tally:
    chosen = dataclasses.replace(RULES, rules={rule: RULES.rules[rule] for rule in JUDGED})
    made = {seed: program(seed) for seed in range(COUNT)}
    analysis = engine.in_process({f"p{seed}.py": item.text for seed, item in made.items()}, chosen)
    assert analysis.errors == []
    found = Tally()
    for seed, item in made.items():
        found.add(seed, item, execute(item), [f for f in analysis.findings if f.path == f"p{seed}.py"])
    return found


def test_no_certain_finding_is_contradicted_by_execution(tally: Tally) -> None:
    assert tally.contradictions == []


def test_most_of_what_raises_is_said(tally: Tally) -> None:
    assert tally.counts["raised"] > COUNT / 3, "the programs hardly ever raise: they test nothing"
    assert tally.counts["raised, said"] >= 0.6 * tally.counts["raised"]
    assert tally.counts["raised, certain"] >= 0.2 * tally.counts["raised"]


def test_nearly_every_decimal_of_a_float_is_said(tally: Tally) -> None:
    assert tally.counts["Decimal of a float"] > 0
    assert tally.counts["Decimal of a float, said"] >= 0.9 * tally.counts["Decimal of a float"]


def test_a_seed_gives_the_same_program_and_trace() -> None:
    assert program(7) == program(7)
    assert execute(program(7)) == execute(program(7))
    assert program(7) != program(8)


# --- the comparison itself: a wrong verdict is seen ------------------------------------------------------------------------


def finding(rule: str, line: int, message: str, severity: Severity = Severity.HIGH) -> Finding:
    return Finding(rule, "p.py", line, 1, line, 2, message, severity=severity, confidence=Confidence.CERTAIN)


def contradictions(trace: Trace, *found: Finding) -> list[str]:
    tally = Tally()
    tally.add(0, program(0), trace, found)
    return tally.contradictions


def test_a_line_that_passed_contradicts_that_it_raises() -> None:
    said = finding("float-decimal-mixing", 3, "TypeError whenever it runs")
    assert contradictions(Trace(passed={3}), said)
    assert contradictions(Trace(raised={3}), said) == []


def test_an_exact_float_contradicts_that_digits_are_lost() -> None:
    said = finding("decimal-from-float", 3, "binary digits")
    assert contradictions(Trace(inexact={3: {False}}), said)
    assert contradictions(Trace(inexact={3: {True}}), said) == []
    note = finding("decimal-from-float", 3, "exact here", Severity.INFO)
    assert contradictions(Trace(inexact={3: {True}}), note)


def test_execution_sees_what_raises_and_what_is_inexact() -> None:
    made = dataclasses.replace(program(0), text=HAND, equalities={8: "same"})
    trace = execute(made)
    assert trace.inexact == {6: {True}, 7: {False}}
    assert trace.raised == {9}
    assert trace.equal == {8: {False}}
    assert {6, 7, 8} <= trace.passed


HAND = """from decimal import Decimal
class Fill:
    def __init__(self, *values): self.values = values
Account = Fill
def act(price, ratio, count, flag, fill, account):
    one = Decimal(0.1)
    two = Decimal(0.5)
    same = one == 0.1 + ratio
    return one * ratio
"""
