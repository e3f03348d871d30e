"""One program, run and judged: where the two disagree, and in which way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leakage.bars import bars
from leakage.judge import UNDECIDED, Verdict, judge
from leakage.probe import (
    CAUSAL,
    CERTAIN,
    HOURS,
    LATE,
    LEAK,
    QUICK,
    WARM_UP,
    Measured,
    NotMeasurable,
    Plan,
    probe_all,
    worst,
)
from leakage.programs import Program
from leakage.running import FEATURE, hooks
from leakage.writing import CLASS, FLAG, configuration, written

AGREES = "agrees"
EDGE = "holes at the end"
MISSED, FALSE, REACH, GRADE, BESIDE = "missed leak", "false alarm", "wrong reach", "wrong grade", "false alarm beside"
DISAGREEMENTS = (MISSED, FALSE, REACH, GRADE, BESIDE)
"""A leak that the rules are silent about; a leak that is none; another number of bars; a leak into the warm-up that is
taken for one into all rows or for none, or the reverse; a finding about another column that is causal."""

_UNITS = re.compile(r"resample|merge_asof|floor")
# EDGE: a condition is false until later rows exist, as in `x.shift(1).shift(-1) > 0`; no value of a later row shows.
LIVE_ROWS = 24
"""A feature with fewer different values in the rows that are looked at shows nothing."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What execution and the rules say of a program, and the `kind` of their relation."""

    texts: Mapping[str, str]
    executed: Mapping[str, Measured]
    verdict: Verdict
    kind: str

    @property
    def feature(self) -> Measured:
        return self.executed[FEATURE]

    @property
    def story(self) -> str:
        """Both verdicts in one line."""
        said = "; ".join(
            f"{f.rule} {f.path}:{f.line} ({f.confidence.word}): {f.message}" for f in self.verdict.findings
        )
        return f"executed: {self.feature.verdict} {self.feature.shown_reach} | rules: {self.verdict.word}{': ' if said else ''}{said}"


def measured(program: Program, texts: Mapping[str, str], plan: Plan) -> dict[str, Measured]:
    """The columns of a program as measured, over both values of its flag if it has one. Raises NotMeasurable; of a
    feature that is all holes or nearly constant too."""
    given = configuration(program)
    found: dict[str, Measured] = {}
    alive = False
    for flag in (True, False) if program.flagged else (True,):
        features = hooks(
            texts, CLASS, {**given, FLAG: flag} if "def __init__(self, config" in texts["strategy.py"] else None
        )
        for name, one in probe_all(features, plan).items():
            found[name] = worst(found[name], one) if name in found else one
        values = np.asarray(features(bars(QUICK.seeds[0], QUICK.rows, QUICK.begin))[FEATURE], dtype=float)[
            QUICK.settled :
        ]
        alive = alive or (np.isfinite(values).sum() >= LIVE_ROWS and len(np.unique(values[np.isfinite(values)])) > 1)
    if not alive:
        raise NotMeasurable("the feature is nearly constant")
    return found


def compared(program: Program) -> Compared:
    """Run and judge a program. Raises NotMeasurable."""
    texts = written(program)
    executed = measured(program, texts, HOURS if any(_UNITS.search(text) for text in texts.values()) else QUICK)
    verdict = judge(texts)
    kind = kind_of(executed, verdict)
    if kind in (FALSE, REACH, GRADE, BESIDE, EDGE) or (executed[FEATURE].verdict == LATE and verdict.word != CAUSAL):
        executed = measured(program, texts, CERTAIN)
        kind = kind_of(executed, verdict)
    return Compared(texts, executed, verdict, kind)


def kind_of(executed: Mapping[str, Measured], verdict: Verdict) -> str:
    """How the verdict of the rules relates to what was measured."""
    feature = executed[FEATURE]
    for finding in verdict.ahead_beside:
        if finding.sink in executed and not executed[finding.sink].leaks:
            return BESIDE
    if verdict.word == UNDECIDED:
        return UNDECIDED
    if feature.verdict == LATE:
        return AGREES
    if feature.verdict == LEAK and not feature.reach and verdict.word == CAUSAL:
        return EDGE
    if verdict.word != feature.verdict:
        if WARM_UP in (verdict.word, feature.verdict):
            return GRADE
        return MISSED if verdict.word == CAUSAL else FALSE
    if feature.verdict == LEAK and verdict.bars is not None and not _fits(feature, verdict):
        return REACH
    return AGREES


def _fits(feature: Measured, verdict: Verdict) -> bool:
    bars_said = verdict.bars or 0
    if feature.far or verdict.unknown or any(f.at_least for f in verdict.ahead):
        return feature.reach >= bars_said
    return feature.reach == bars_said or not feature.reach
