"""Random strategies and stored cases: what the rules decide is what execution shows."""

from __future__ import annotations

from collections import Counter

import pytest

from leakage.cases import Case, cases
from leakage.comparison import AGREES, DISAGREEMENTS, EDGE, compared
from leakage.judge import UNDECIDED
from leakage.probe import NotMeasurable
from leakage.programs import generate, valid
from leakage.running import FEATURE
from leakage.shrink import reductions, shrunk
from leakage.writing import written

PROGRAMS = 60
DECIDED = 0.8
KNOWN: dict[int, str] = {}
"""Seeds below PROGRAMS whose verdicts differ, with the reason."""
QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, about holes and zeros in random programs


@QUIET
def test_what_is_decided_is_what_was_measured() -> None:
    kinds: Counter[str] = Counter()
    stories: dict[int, str] = {}
    for seed in range(PROGRAMS):
        try:
            found = compared(generate(seed))
        except NotMeasurable:
            continue
        kinds[found.kind] += 1
        if found.kind in DISAGREEMENTS:
            stories[seed] = f"{seed}: {found.kind}; {found.story}"
    assert not [story for seed, story in stories.items() if seed not in KNOWN]
    assert sorted(stories) == sorted(KNOWN), "a program agrees now: remove its reason"
    decided = kinds.total() - kinds[UNDECIDED] - kinds[EDGE]
    assert kinds.total() > PROGRAMS * 0.7
    assert decided >= kinds.total() * DECIDED, kinds
    assert kinds[AGREES] == decided - len(KNOWN)


@QUIET
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_case_stays_mended(case: Case) -> None:
    executed = case.measure()
    measured = executed[FEATURE]
    assert measured.verdict == case.verdict
    assert case.reach in (0, measured.reach)
    problem = case.problem(executed)
    if case.differs:
        assert problem, f"agrees now: remove its reason ({case.differs})"
    else:
        assert not problem


def test_the_same_seed_gives_the_same_program() -> None:
    for seed in range(40):
        assert written(generate(seed)) == written(generate(seed))
    assert len({str(written(generate(seed))) for seed in range(40)}) > 30


def test_programs_use_everything() -> None:
    steps = [step for seed in range(3000) for step in generate(seed).steps]
    for words, least in (("place", 10), ("hold", 20), ("number_form", 10), ("operation", 90)):
        assert len({getattr(step, words) for step in steps}) >= least
    assert {step.hook for step in steps} == {0, 1}


def test_reductions_are_programs_and_end() -> None:
    for seed in range(30):
        program = generate(seed)
        for smaller in reductions(program):
            assert valid(smaller)
            compile(written(smaller)["strategy.py"], "strategy.py", "exec")
        least = shrunk(program, lambda _: True)
        assert len(least.operations) == 1
        assert not [step for step in least.steps if step.number_form != "literal" or step.place != "here"]


def test_shrinking_keeps_what_it_is_asked_to() -> None:
    program = next(p for p in map(generate, range(500)) if "centred" in p.operations and len(p.operations) > 3)
    least = shrunk(program, lambda p: "centred" in p.operations)
    assert least.operations == ("centred",)
