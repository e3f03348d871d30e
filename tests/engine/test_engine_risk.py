"""Risk: what must not be opened is refused with its reason, and what must stop stops."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import Load, Scene, play


def manager(scene: Scene, **limits):
    settings = scene.load("configuration").RiskSettings(**limits)
    breaker = scene.load("risk.breaker").CircuitBreaker(3, 2, 2)
    risk = scene.load("risk.manager").RiskManager(settings, scene.portfolio, scene.ledger, {"alpha": breaker})
    return risk, breaker


def plan(scene: Scene, size: str = "0.3", price: str = "30000", stop: str = "29500"):
    kind = scene.load("risk.validation").EntryPlan
    return kind(scene.instrument.market, Decimal(size), Decimal(price), Decimal(stop))


async def reasons(scene: Scene, risk, entry, last: str | None = "30000") -> tuple[str, ...]:
    prices = {} if last is None else {scene.instrument.market: Decimal(last)}
    return (await risk.admit(entry, scene.instrument, prices)).reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": "0"}, "size_off_step"),
        ({"size": "-0.3"}, "size_off_step"),
        ({"size": "0.30005"}, "size_off_step"),
        ({"price": "30000.3", "stop": "29500"}, "price_off_step"),
        ({"size": "0.0001"}, "below_min_notional"),
        ({"size": "0.5"}, "order_too_large"),
        ({"price": "31000", "stop": "30500"}, "outside_collar"),
        ({"stop": "30000"}, "stop_not_below_entry"),
        ({"stop": "30500"}, "stop_not_below_entry"),
        ({"stop": "0"}, "stop_not_below_entry"),
        ({"stop": "20000"}, "stop_too_far"),
        ({"stop": "29500.3"}, "stop_off_step"),
    ],
)
def test_bad_plan_is_refused(load: Load, tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    async def act(scene: Scene):
        risk, _breaker = manager(scene)
        assert reason in await reasons(scene, risk, plan(scene, **changes))
        assert await reasons(scene, risk, plan(scene)) == ()

    play(load, tmp_path, act)


def test_verdict_must_be_asked_and_not_tested_as_an_object(load: Load) -> None:
    verdict = load("risk.validation").Verdict(("stop_too_far",))
    assert bool(verdict) and not verdict.passed


def test_plan_without_a_price_is_refused(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        risk, _breaker = manager(scene)
        assert await reasons(scene, risk, plan(scene), last=None) == ("no_price",)

    play(load, tmp_path, act)


def test_reservation_counts_until_it_is_released(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        risk, _breaker = manager(scene, market_exposure=Decimal(10000), total_exposure=Decimal(10000))
        assert await reasons(scene, risk, plan(scene)) == ()
        assert await reasons(scene, risk, plan(scene)) == ("market_exposure", "total_exposure")
        await risk.release(scene.instrument.market)
        assert await reasons(scene, risk, plan(scene)) == ()

    play(load, tmp_path, act)


def test_two_plans_at_once_cannot_both_use_the_limit(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        risk, _breaker = manager(scene, total_exposure=Decimal(20000))
        other = scene.load("records").Market("alpha", "ETH-USD")
        first, entry = plan(scene), scene.load("risk.validation").EntryPlan
        second = entry(other, first.size, first.price, first.stop)
        third = entry(scene.load("records").Market("alpha", "SOL-USD"), first.size, first.price, first.stop)
        prices = dict.fromkeys((item.market for item in (first, second, third)), first.price)
        verdicts = await asyncio.gather(
            *(risk.admit(item, scene.instrument, prices) for item in (first, second, third))
        )
        assert [verdict.passed for verdict in verdicts] == [True, True, False]

    play(load, tmp_path, act)


def test_held_position_counts(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        await scene.orders.submit(scene.request(price=scene.quote().ask, size="0.2"))
        risk, _breaker = manager(scene, market_exposure=Decimal(14000), total_exposure=Decimal(14000))
        assert "market_exposure" in await reasons(scene, risk, plan(scene))
        assert "exposure_unknown" in await reasons(scene, risk, plan(scene), last=None)

    play(load, tmp_path, act)


def test_open_breaker_refuses(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        risk, breaker = manager(scene)
        for _failure in range(3):
            breaker.failed()
        assert await reasons(scene, risk, plan(scene)) == ()
        await risk.release(scene.instrument.market)
        breaker.next_bar()
        assert await reasons(scene, risk, plan(scene)) == ("breaker_open",)

    play(load, tmp_path, act)


def test_drawdown_halts_for_good(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        risk, _breaker = manager(scene, max_drawdown=Decimal("0.05"))
        await scene.orders.submit(scene.request(price=scene.quote().ask, size="0.3"))
        market = scene.instrument.market
        await risk.check_drawdown({market: Decimal(30000)})
        assert risk.halted is None
        await risk.check_drawdown({market: Decimal(10000)})
        assert risk.halted == "drawdown"
        await risk.halt("another reason")
        await risk.check_drawdown({market: Decimal(30000)})
        assert "halted_drawdown" in await reasons(scene, risk, plan(scene))

    play(load, tmp_path, act)


def test_unknown_equity_halts(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        risk, _breaker = manager(scene)
        await scene.orders.submit(scene.request(price=scene.quote().ask, size="0.3"))
        await risk.check_drawdown({})
        assert risk.halted == "equity_unknown"

    play(load, tmp_path, act)


def test_breaker_opens_waits_tries_and_closes(load: Load) -> None:
    module = load("risk.breaker")
    breaker, state = module.CircuitBreaker(failures=3, window=2, cooldown=2), module.BreakerState

    def bar(failures: int = 0):
        for _failure in range(failures):
            breaker.failed()
        return breaker.next_bar()

    assert bar(2) is state.CLOSED and breaker.allows
    assert bar(1) is state.OPEN and not breaker.allows
    assert [bar(), bar()] == [state.OPEN, state.TRIAL] and breaker.allows
    assert bar(1) is state.OPEN
    assert [bar(), bar(), bar(), bar()] == [state.OPEN, state.TRIAL, state.TRIAL, state.CLOSED]


def test_breaker_forgets_old_failures(load: Load) -> None:
    module = load("risk.breaker")
    breaker = module.CircuitBreaker(failures=3, window=2, cooldown=2)
    for _bar in range(20):
        breaker.failed()
        assert breaker.next_bar() is module.BreakerState.CLOSED
