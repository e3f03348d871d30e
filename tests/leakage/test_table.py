"""Every row of the table: the probe measures what is recorded, and the rules say the same."""

from __future__ import annotations

import pytest

from leakage.agreement import disagreements
from leakage.judge import built, judge
from leakage.patterns import Pattern, patterns

ROWS = pytest.mark.parametrize("pattern", patterns(), ids=lambda p: f"{p.number}: {p.name}")
LIBRARIES = {"ta": "a pure Python package of indicators that is not among the development dependencies"}


@ROWS
def test_the_probe_measures_what_is_recorded(pattern: Pattern) -> None:
    if not pattern.runs:
        assert pattern.library in LIBRARIES, f"{pattern.library} is a development dependency and is not installed"
        assert pattern.recorded[0] in ("causal", "warm-up")
        return
    measured = pattern.measure()
    assert pattern.agrees(measured), f"recorded {pattern.recorded}, measured {measured}"


@ROWS
def test_the_rules_say_what_was_measured(pattern: Pattern) -> None:
    verdict = judge(pattern.texts)
    if not built(pattern.rule):
        assert not verdict.findings, f"{pattern.rule} does not exist yet, and {verdict.rules} speaks for it"
        return
    found = disagreements(pattern, verdict)
    if pattern.differs:
        assert found, f"row {pattern.number} agrees now: remove its reason ({pattern.differs})"
    else:
        assert not found, "; ".join([*found, *(f.message for f in verdict.findings)])


def test_the_table_is_whole() -> None:
    numbers = [int(pattern.number) for pattern in patterns() if pattern.number.isdigit()]
    assert numbers == list(range(1, 103))
    assert len({pattern.body + pattern.before for pattern in patterns()}) == len(patterns())
