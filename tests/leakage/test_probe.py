"""The probe itself, on features whose answer is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leakage.bars import bars
from leakage.probe import CAUSAL, LATE, LEAK, QUICK, TABLE, WARM_UP, NotMeasurable, probe, probe_all

Feature = Callable[[pd.DataFrame], Any]


def lead(rows: int) -> Feature:
    return lambda frame: frame["close"].shift(-rows)


@pytest.mark.parametrize("plan", [QUICK, TABLE], ids=["quick", "table"])
def test_the_reach_is_counted_in_rows(plan: Any) -> None:
    for rows in range(1, 12):
        measured = probe(lead(rows), plan)
        assert (measured.verdict, measured.reach, measured.far) == (LEAK, rows, False)
    for rows in (0, -1, -7):
        measured = probe(lead(rows), plan)
        assert (measured.verdict, measured.reach) == (CAUSAL, 0)


@pytest.mark.parametrize(
    ("feature", "shown"),
    [
        (lambda f: f["close"] / f["close"].max(), (LEAK, "all")),
        (lambda f: f["close"].bfill().fillna(0), (CAUSAL, "0")),
        (lambda f: f["close"].rolling(9).mean().bfill(), (WARM_UP, "n/m")),
        (lambda f: f["close"].shift(1).shift(-1), (LATE, "n/m")),
        (lambda f: f["close"].shift(-1).shift(1), (CAUSAL, "0")),
        (lambda f: np.full(len(f), float(len(f))), (LEAK, "n/m")),
        (lambda f: f["close"].to_numpy()[::-1], (LEAK, "all")),
    ],
)  # fmt: skip
def test_classes(feature: Feature, shown: tuple[str, str]) -> None:
    measured = probe(feature, TABLE)
    assert (measured.verdict, measured.shown_reach) == shown


def test_start_dependence_is_no_leak() -> None:
    for feature, starts in (
        (lambda f: f["volume"].cumsum(), True),
        (lambda f: f["volume"].cumsum().diff(5), False),
        (lambda f: f["close"] / f["close"].iloc[0], True),
        (lambda f: f["close"].ewm(span=9).mean(), False),
    ):
        measured = probe(feature, TABLE)
        assert (measured.verdict, measured.starts) == (CAUSAL, starts)


def test_columns_are_measured_apart() -> None:
    found = probe_all(lambda f: {"a": f["close"].shift(-2), "b": f["close"], "c": f["high"].rolling(3).max()}, QUICK)
    assert {name: measured.reach for name, measured in found.items()} == {"a": 2, "b": 0, "c": 0}


def test_what_cannot_be_measured_says_so() -> None:
    with pytest.raises(NotMeasurable, match="96 rows: KeyError: 'missing'"):
        probe(lambda f: f["missing"], QUICK)
    with pytest.raises(NotMeasurable, match=r"feature has the shape \(95,\) for 96 rows"):
        probe(lambda f: f["close"].iloc[1:], QUICK)


def test_the_feature_may_change_the_frame_that_it_is_given() -> None:
    def feature(frame: pd.DataFrame) -> Any:
        frame["close"] = frame["close"].shift(-1)
        return frame.pop("close")

    assert probe(feature, QUICK).reach == 1


def test_bars_are_the_same_for_the_same_seed() -> None:
    pd.testing.assert_frame_equal(bars(3, 40), bars(3, 40))
    assert not bars(3, 40).equals(bars(4, 40))
    assert bars(3, 40)["gap"].isna().sum() > 3
