"""Features that know the future, and the backtest that earns with them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from demonstrations.harms import Harm, better_than_chance, changes_without_future
from demonstrations.table import demonstrates
from demonstrations.twins import Stage

BARS = 1500
LIVE_BARS = 120
START = 30000


def random_walk(stage: Stage, seed: int, bars: int = BARS) -> list[Any]:
    """Candles of independent steps: nothing in them can be foretold."""
    records = stage.load("records")
    steps = np.random.default_rng(seed).standard_normal(bars)
    opened, price, candles = stage.load("configuration").SimulationSettings().start, START, []
    for step in steps:
        before, price = price, price + round(25 * float(step))
        low, high = min(before, price) - 5, max(before, price) + 5
        numbers = [Decimal(number) for number in (before, high, low, price, 10 + abs(price - before))]
        candles.append(records.Candle(records.Market("alpha", "BTC-USD"), opened, *numbers))
        opened += timedelta(minutes=1)
    return candles


@demonstrates("learning/features.py", "negative-shift-feature")
def feature_changes_without_the_future(stage: Stage) -> Harm:
    """Cut the last bars off, and the features of the bars before them are others."""
    module = stage.load("learning.features")
    frame = module.candle_frame(random_walk(stage, 0, 400))
    return changes_without_future(module.build_features, frame, (200, 333, 399))


@demonstrates("learning/features.py", "negative-shift-feature")
def backtest_trades_on_its_labels(stage: Stage) -> Harm:
    """The score on unseen rows of a random walk is splendid, and live, bar by bar, the same model knows nothing."""
    settings = stage.load("configuration").Configuration()
    history = random_walk(stage, 1)
    trained = stage.load("learning.training").train([history], settings.learning)
    strategy = stage.load("strategy").DirectionStrategy(trained.model, settings.strategy)
    live, horizon, hits = random_walk(stage, 2, LIVE_BARS + 100), settings.learning.horizon, 0
    bars = range(80, 80 + LIVE_BARS)
    for bar in bars:
        rise = strategy.decide(live[: bar + 1]).probability > 0.5
        hits += rise == (live[bar + horizon].close > live[bar].close)
    backtest = better_than_chance(trained.accuracy)
    return Harm(
        backtest.happened and not better_than_chance(hits / len(bars)).happened,
        f"backtest: {backtest.seen}; live: {hits / len(bars):.3f}",
    )


def frame_of(stage: Stage, seed: int, bars: int = 400) -> Any:
    """A random walk as the features see it."""
    return stage.load("learning.features").candle_frame(random_walk(stage, seed, bars))


@demonstrates("learning/study.py", "centered-window")
def trend_changes_without_the_future(stage: Stage) -> Harm:
    """The smoothed close of a bar is another one when the bars behind it are cut off."""
    return changes_without_future(stage.load("learning.study").trend, frame_of(stage, 3), (203, 331, 399))


@demonstrates("learning/study.py", "forward-merge")
def hour_is_known_before_it_ends(stage: Stage) -> Harm:
    """A bar of 10:05 is compared with the close of 11:00, until that is cut off."""
    return changes_without_future(stage.load("learning.study").above_the_hour, frame_of(stage, 4), (203, 331, 399))


@demonstrates("learning/study.py", "future-row-index")
def low_is_marked_before_it_is_confirmed(stage: Stage) -> Harm:
    """A low stands at its own bar, and is gone when the bar that confirms it is cut off."""
    return changes_without_future(stage.load("learning.study").turns, frame_of(stage, 5), range(200, 260))


@demonstrates("learning/study.py", "backward-fill")
def hole_is_filled_with_a_later_volume(stage: Stage) -> Harm:
    """A bar that fell has the volume of the next one that rose, until that is cut off."""
    return changes_without_future(stage.load("learning.study").busy, frame_of(stage, 6), range(200, 260))


@demonstrates("learning/study.py", "whole-series-statistic")
def mean_of_all_bars_moves_each_of_them(stage: Stage) -> Harm:
    """The mean that each bar is compared with is another one when later bars are cut off."""
    return changes_without_future(stage.load("learning.study").stretched, frame_of(stage, 7), (203, 331, 399))


@demonstrates("learning/study.py", "unanchored-cumulative")
def average_price_depends_on_the_first_bar(stage: Stage) -> Harm:
    """The same bars say something else when older history is not loaded; without the future they say the same."""
    study, frame = stage.load("learning.study"), frame_of(stage, 8)
    whole, recent = study.expensive(frame).iloc[200:], study.expensive(frame.iloc[100:]).iloc[100:]
    differing = int((whole["signal"] != recent["signal"]).sum())
    causal = not changes_without_future(study.expensive, frame, (203, 331, 399)).happened
    return Harm(differing > 0 and causal, f"{differing} of {len(whole)} bars differ when older bars are not loaded")


@demonstrates("learning/study.py", "unlagged-signal-return")
def position_earns_the_bar_that_opened_it(stage: Stage) -> Harm:
    """On random walks a position that earns its own bar wins every time, one that earns the next bar does not."""
    earned = [stage.load("learning.study").earnings(frame_of(stage, seed, BARS)) for seed in range(10, 16)]
    return Harm(min(earned) > 0, f"earned on six random walks: {', '.join(f'{amount:.0f}' for amount in earned)}")
