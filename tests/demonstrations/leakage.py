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
