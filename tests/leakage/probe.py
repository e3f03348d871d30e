"""The causality probe: what does a feature know of rows that come later?

A feature is causal when `feature(data[:t])` equals the first t rows of `feature(data)` for every t. Three properties are
measured, since they are easily confused:

- it *leaks*: a row changes when later rows are appended, or when one later row is disturbed;
- its *reach*: the largest k for which row t changes when row t + k alone is disturbed;
- it *starts*: a row changes when older history is cut off. A difference of backtest and live, not a look ahead.

A leak is a proof. That a feature is causal is evidence over the seeds, cuts and rows of the plan, never a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from leakage.bars import DISTURBED, bars

CAUSAL, LEAK, WARM_UP, LATE = "causal", "leak", "warm-up", "late"
Feature = Callable[[pd.DataFrame], Any]
Features = Callable[[pd.DataFrame], Mapping[str, Any]]


class NotMeasurable(Exception):
    """A feature that raises, or gives another number of rows than it was given."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to cut and what to disturb; all numbers are rows.

    `settled` is where the warm-up ends: a leak that shows only before it is one of the warm-up, and reach is measured
    behind it. A reach of `far` and more counts as the whole series. A cut below `short` that the feature cannot bear is
    left out. The start is judged `start_settled` rows behind `start_cut`, 0 for not at all. `tolerance` is relative. A
    row is disturbed by all `factors`, or, if not `both`, by one of them in turn.
    """

    rows: int
    seeds: tuple[int, ...]
    cuts: tuple[int, ...]
    disturbed: tuple[int, ...]
    settled: int
    far: int
    short: int
    start_cut: int = 0
    start_settled: int = 0
    factors: tuple[float, ...] = (1.37, 0.7)
    both: bool = True
    begin: str = "2024-01-01"
    tolerance: float = 1e-8
    start_tolerance: float = 1e-4


TABLE = Plan(
    rows=480,
    seeds=(7, 11),
    cuts=(2, 4, 12, 18, 25, 40, 197, 241, 395),
    disturbed=(150, 155, 156, 160, 161, 301, 479),
    settled=60,
    far=90,
    short=120,
    start_cut=100,
    start_settled=250,
)
"""For the table: an hour is twelve rows, so cuts and disturbed rows fall on every part of one."""

THOROUGH = replace(
    TABLE,
    seeds=(7, 11, 23),
    cuts=(2, 4, 12, 18, 25, 40, *range(120, 480, 11)),
    disturbed=(*range(150, 174), 200, 233, 301, 479),
)
"""For leaks that show on few rows."""

QUICK = Plan(
    rows=96,
    seeds=(7,),
    cuts=(1, 3, 6, 11, 34, 47, 53, 66, 79, 90),
    disturbed=(37, 60, 61, 66, 71, 77, 95),
    settled=32,
    far=26,
    short=40,
    both=False,
    begin="2024-01-01 21:00",
)
"""For programs by the thousand: a day ends at row 36, an hour at rows 60 and 72."""

HOURS = replace(QUICK, disturbed=(35, 37, 60, 61, 65, 66, 70, 71, 83, 95), both=True)
"""For programs in which time has longer units: the first and last rows of hours, as their highest and lowest ones."""

CERTAIN = replace(
    HOURS,
    seeds=(7, 11),
    disturbed=(*range(35, 41), *range(59, 75), 83, 84, 85, 95),
    factors=(1.37, 0.2, 5.0),
    both=True,
)
"""For programs of which the rules say more than a shorter look has shown."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a plan showed. `far`: the reach is that of the plan's limit or more. `late`: no value of a later row shows,
    but a row is a hole until later rows exist, as in `x.shift(1).shift(-1)`."""

    leaks: bool
    reach: int
    far: bool
    warm_up: bool
    late: bool
    starts: bool

    @property
    def verdict(self) -> str:
        if not self.leaks:
            return CAUSAL
        if self.late:
            return LATE
        return WARM_UP if self.warm_up else LEAK

    @property
    def shown_reach(self) -> str:
        """The reach as a table shows it; n/m for a leak that no single row shows."""
        if self.far:
            return "all"
        return "n/m" if self.leaks and not self.reach else str(self.reach)


def probe(feature: Feature, plan: Plan) -> Measured:
    """Measure one feature: a function of a frame that gives one value per row. Raises NotMeasurable."""
    return probe_all(lambda frame: {"feature": feature(frame)}, plan)["feature"]


def probe_all(features: Features, plan: Plan) -> dict[str, Measured]:
    """Measure several features that one function gives by name. Raises NotMeasurable."""
    found: dict[str, Measured] = {}
    for seed in plan.seeds:
        for name, measured in _one_seed(features, plan, bars(seed, plan.rows, plan.begin)).items():
            found[name] = worst(found[name], measured) if name in found else measured
    return found


def worst(one: Measured, other: Measured) -> Measured:
    """What two measurements of one feature show together."""
    leaking = [m for m in (one, other) if m.leaks]
    return Measured(
        bool(leaking),
        max(one.reach, other.reach),
        one.far or other.far,
        bool(leaking) and all(m.warm_up for m in leaking),
        bool(leaking) and all(m.late for m in leaking),
        one.starts or other.starts,
    )


def _one_seed(features: Features, plan: Plan, frame: pd.DataFrame) -> dict[str, Measured]:
    whole = _run(features, frame)
    names = list(whole)
    table = _table(whole, names)
    last_changed = np.full(len(names), -1)
    holes: np.ndarray = np.ones(len(names), dtype=bool)
    for cut in plan.cuts:
        try:
            part = _table(_run(features, frame.iloc[:cut]), names)
        except NotMeasurable:
            if cut < plan.short:
                continue
            raise
        changed = _different(part, table[:cut], plan.tolerance)
        last_changed = np.maximum(last_changed, _last(changed))
        holes &= (~changed | np.isnan(part)).all(axis=0)
    reach = np.zeros(len(names), dtype=int)
    columns = [list(frame.columns).index(name) for name in DISTURBED]
    for turn, row in enumerate(plan.disturbed):
        for factor in plan.factors if plan.both else (plan.factors[turn % len(plan.factors)],):
            other: Any = frame.copy()  # the stubs of pandas know no list of columns by position
            other.iloc[row, columns] *= factor
            changed = _different(
                _table(_run(features, other), names)[plan.settled : row], table[plan.settled : row], plan.tolerance
            )
            reach = np.maximum(reach, _first_from_end(changed))
    starts: np.ndarray = np.zeros(len(names), dtype=bool)
    if plan.start_cut:
        later = _table(_run(features, frame.iloc[plan.start_cut :]), names)[plan.start_settled :]
        starts = np.asarray(
            _different(later, table[plan.start_cut + plan.start_settled :], plan.start_tolerance).any(axis=0)
        )
    return {
        name: Measured(
            bool(last_changed[i] >= 0 or reach[i] > 0),
            int(reach[i]),
            bool(reach[i] >= plan.far),
            bool(0 <= last_changed[i] <= plan.settled and reach[i] == 0),
            bool(holes[i] and last_changed[i] > plan.settled and reach[i] == 0),
            bool(starts[i]),
        )
        for i, name in enumerate(names)
    }


def _run(features: Features, frame: pd.DataFrame) -> Mapping[str, Any]:
    try:
        found = features(frame.copy())
    except Exception as error:
        raise NotMeasurable(f"{len(frame)} rows: {type(error).__name__}: {str(error)[:120]}") from error
    for name, values in found.items():
        if np.ndim(values) != 1 or len(values) != len(frame):
            raise NotMeasurable(f"{name} has the shape {np.shape(values)} for {len(frame)} rows")
    return found


def _table(found: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """Values as floats, one column per name; a name that is missing is all holes."""
    rows = len(next(iter(found.values())))
    table = np.full((rows, len(names)), np.nan)
    for i, name in enumerate(names):
        if name in found:
            table[:, i] = np.asarray(found[name], dtype=float)
    return table


def _different(one: np.ndarray, other: np.ndarray, tolerance: float) -> np.ndarray:
    same: np.ndarray = np.isclose(one, other, rtol=tolerance, atol=tolerance / 100, equal_nan=True)
    return ~same


def _last(changed: np.ndarray) -> np.ndarray:
    """The last row that changed in each column, -1 for none."""
    rows = len(changed)
    return np.where(changed.any(axis=0), rows - 1 - changed[::-1].argmax(axis=0), -1)


def _first_from_end(changed: np.ndarray) -> np.ndarray:
    """How far in front of the end the first changed row of each column is, 0 for none."""
    return np.where(changed.any(axis=0), len(changed) - changed.argmax(axis=0), 0)
