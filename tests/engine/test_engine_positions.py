"""Positions: the ratchet only rises, money stays exact, and drift is seen."""

import asyncio
import decimal
from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import Load, Scene, stage
from hypothesis import given, settings
from hypothesis import strategies as st

TICK = Decimal("0.5")


def test_ratchet_only_tightens(load: Load) -> None:
    ratchet_class = load("positions.ratchet").Ratchet

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(min_value=1, max_value=400_000), max_size=30))
    def holds(ticks: list[int]) -> None:
        ratchet = ratchet_class.below(Decimal(30000), Decimal(400), TICK)
        assert ratchet.stop == 29600
        for price in (number * TICK for number in ticks):
            before, ratchet = ratchet.stop, ratchet.tightened(price)
            assert ratchet.stop >= before and ratchet.stop % TICK == 0
            assert ratchet.stop in (before, price - 400)

    holds()


def test_ratchet_is_hit_at_the_stop_and_not_above(load: Load) -> None:
    ratchet = load("positions.ratchet").Ratchet.below(Decimal(30000), Decimal(400), TICK)
    assert ratchet.is_hit(Decimal(29600)) and ratchet.is_hit(Decimal(1)) and not ratchet.is_hit(Decimal("29600.5"))


@pytest.mark.parametrize("distance", [0, -1, 30000, 40000])
def test_ratchet_needs_a_distance_that_makes_sense(load: Load, distance: int) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        load("positions.ratchet").Ratchet.below(Decimal(30000), Decimal(distance), TICK)


def fill(load: Load, side: str, price: int, size: str):
    records = load("records")
    market, executed = records.Market("alpha", "BTC-USD"), load("configuration").SimulationSettings().start
    return records.Fill(
        "t", "c", market, records.Side(side), Decimal(price), Decimal(size), Decimal(0), "USD", executed
    )


def test_position_averages_and_closes(load: Load) -> None:
    module = load("positions.manager")
    positions = module.PositionManager()
    positions.apply(fill(load, "buy", 100, "1"))
    held = positions.apply(fill(load, "buy", 200, "1"))
    assert held.average_price == 150 and held.size == 2
    assert positions.apply(fill(load, "sell", 300, "0.5")).average_price == 150
    assert positions.apply(fill(load, "sell", 300, "1.5")) == module.Position()
    assert positions.markets() == () and module.Position().average_price is None
    with pytest.raises(module.ShortPosition):
        positions.apply(fill(load, "sell", 300, "0.5"))


def test_monitor_sees_drift_and_silence(load: Load, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(load, tmp_path) as scene:
            monitor = scene.load("positions.monitor").PositionMonitor({"alpha": scene.exchange}, scene.portfolio)
            assert (await monitor.inspect()).drifts == ()
            scene.portfolio.deposit("alpha", "USD", Decimal("0.01"))
            (drift,) = (await monitor.inspect()).drifts
            assert drift.asset == "USD" and drift.ours - drift.theirs == Decimal("0.01")
            scene.exchange.balances = silent(scene)
            assert (await monitor.inspect()).unanswered == ("alpha",)

    asyncio.run(run())


def silent(scene: Scene):
    async def balances():
        raise scene.exchange.errors.OutcomeUnknown("alpha", "timeout")

    return balances


@pytest.mark.parametrize("value", [0.1, None, True, "NaN", "Infinity", "abc", "", "1,000", [], {}])
def test_money_is_text_or_a_whole_number(load: Load, value: object) -> None:
    money = load("money")
    with pytest.raises(money.MoneyError):
        money.parse_decimal(value, "price")


def test_steps(load: Load) -> None:
    money = load("money")
    assert money.floor_to_step(Decimal("0.29"), Decimal("0.1")) == Decimal("0.2")
    assert money.ceil_to_step(Decimal("0.21"), Decimal("0.1")) == Decimal("0.3")
    assert money.ceil_to_step(Decimal("0.2"), Decimal("0.1")) == Decimal("0.2")
    with pytest.raises(money.MoneyError):
        money.floor_to_step(Decimal("-0.1"), Decimal("0.1"))


def test_float_that_meets_money_is_an_error_in_a_session(load: Load) -> None:
    with load("money").exact_money(), pytest.raises(decimal.FloatOperation):
        Decimal(0.1)
    assert Decimal(0.5) == Decimal("0.5")
