"""Learning: features do not know the future, labels do, and the split keeps them apart."""

import math
from datetime import timedelta
from decimal import Decimal

import pandas as pd
import pytest
from engine_scene import BAR, Load


def history(load: Load, bars: int = 500, seed: int = 9):
    """Candles of a simulated market."""
    venue = load("simulator.venue").SimulatedVenue("alpha", ("BTC-USD",), (seed, 0), Decimal(1000), bars)
    opened = load("configuration").SimulationSettings().start
    for _bar in range(bars):
        venue.advance(opened, BAR)
        opened += BAR
    return venue.candles("BTC-USD", None, bars)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_features_are_the_same_on_data_cut_at_any_bar(load: Load, seed: int) -> None:
    features = load("learning.features")
    candles = history(load, 200, seed)
    whole = features.build_features(features.candle_frame(candles))
    assert list(whole.columns) == list(features.FEATURES)
    for cut in range(35, 200, 11):
        part = features.build_features(features.candle_frame(candles[:cut]))
        pd.testing.assert_frame_equal(part, whole.iloc[:cut], check_exact=True)


def test_features_of_a_window_equal_those_of_all_data(load: Load) -> None:
    features = load("learning.features")
    window = load("strategy").WINDOW
    candles = history(load, 200)
    whole = features.build_features(features.candle_frame(candles))
    for end in (60, 101, 200):
        live = features.build_features(features.candle_frame(candles[end - window : end]))
        assert live.iloc[-1].to_numpy() == pytest.approx(whole.iloc[end - 1].to_numpy(), rel=1e-6, abs=1e-9)


def test_only_the_first_rows_are_incomplete(load: Load) -> None:
    features = load("learning.features")
    whole = features.build_features(features.candle_frame(history(load, 200)))
    assert whole.iloc[features.LOOKBACK :].notna().all(axis=None)
    assert whole.iloc[0].isna().any()


def test_labels_look_ahead_and_end_before_the_data_does(load: Load) -> None:
    close = pd.Series([1.0, 2.0, 1.0, 3.0, 3.0])
    assert load("learning.labels").rises_within(close, 2).tolist()[:3] == [0.0, 1.0, 1.0]
    assert load("learning.labels").rises_within(close, 2).isna().tolist() == [False] * 3 + [True] * 2


def test_split_keeps_order_and_embargo(load: Load) -> None:
    split = load("learning.split")
    frame = pd.DataFrame({"x": range(100)})
    parts = split.chronological_split(frame, frame["x"], 0.25, 10, 5)
    assert parts.train_features["x"].max() + 10 + 1 == parts.test_features["x"].min()
    assert len(parts.test_features) == 25 == len(parts.test_labels)


@pytest.mark.parametrize(("rows", "embargo"), [(100, 4), (10, 9)])
def test_split_refuses_a_short_embargo_and_too_few_rows(load: Load, rows: int, embargo: int) -> None:
    frame = pd.DataFrame({"x": range(rows)})
    with pytest.raises(ValueError, match=r"shorter than|too few"):
        load("learning.split").chronological_split(frame, frame["x"], 0.25, embargo, 5)


def test_split_refuses_shuffled_rows(load: Load) -> None:
    frame = pd.DataFrame({"x": range(100)}).sample(frac=1, random_state=1)
    with pytest.raises(ValueError, match="order of time"):
        load("learning.split").chronological_split(frame, frame["x"], 0.25, 10, 5)


def test_training_learns_from_the_past_and_is_scored_on_the_future(load: Load) -> None:
    settings = load("configuration").LearningSettings()
    train = load("learning.training").train
    trained = train([history(load, 600, 1), history(load, 600, 2)], settings)
    assert trained.accuracy > 0.52 and trained.rows < 2 * 600 * 0.75
    assert trained == train([history(load, 600, 1), history(load, 600, 2)], settings)


def test_scaler_sees_training_rows_only(load: Load) -> None:
    """Test rows that are changed beyond recognition do not change the model."""
    settings, training = load("configuration").LearningSettings(), load("learning.training")
    candles = history(load, 600, 1)
    split = training.market_split(candles, settings)
    first_test = next(number for number, row in enumerate(candles) if row.opened == split.test_features.index[0])
    last_label = split.train_features.index[-1] + settings.horizon * timedelta(minutes=1)
    assert last_label < split.test_features.index[0]
    records = load("records")
    changed = candles[:first_test] + [
        records.Candle(c.market, c.opened, c.open * 9, c.high * 9, c.low * 9, c.close * 9, c.volume)
        for c in candles[first_test:]
    ]
    assert training.train([candles], settings).model == training.train([changed], settings).model


def test_incomplete_row_gives_no_probability_and_no_trade(load: Load) -> None:
    logistic, strategy = load("learning.logistic"), load("strategy")
    names = load("learning.features").FEATURES
    model = logistic.LogisticModel(names, (0.0,) * 7, (1.0,) * 7, (1.0,) * 7, 0.0)
    assert math.isnan(model.probability(dict.fromkeys(names, math.nan)))
    decide = strategy.DirectionStrategy(model, load("configuration").StrategySettings()).decide
    candles = history(load, 200)
    assert decide(candles[:10]).action is strategy.Action.HOLD
    assert decide(candles).stop_distance > 0


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_model_refuses_numbers_that_make_no_sense(load: Load, scale: float) -> None:
    logistic = load("learning.logistic")
    with pytest.raises(logistic.ModelError):
        logistic.LogisticModel(("x",), (0.0,), (scale,), (1.0,), 0.0)
