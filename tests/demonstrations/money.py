"""Amounts that are not what they say, and arithmetic that always fails."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from demonstrations.harms import Harm, drift, raised
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage, market_worker, risk_manager

DEPOSITS = 300
BID = Decimal(30000)


@demonstrates("risk/drawdown.py", "float-decimal-mixing")
def drawdown_cannot_be_computed(stage: Stage) -> Harm:
    """One less a Decimal limit, where the one is a float: a TypeError for every equity there is."""
    guard = stage.load("risk.drawdown").DrawdownGuard(Decimal("0.20"))
    return raised(lambda: [guard.exceeded(Decimal(equity)) for equity in (100, 101, 70)], TypeError)


@demonstrates("configuration.py", "decimal-from-float")
def exit_price_is_one_tick_off(stage: Stage) -> Harm:
    """Four thousandths below 30000 are exactly a price of the venue; the binary ones end on the tick below it."""

    async def act(scene: Scene) -> Harm:
        buy = scene.request(price=scene.quote().ask, size="0.1", tif="ioc")
        await scene.orders.submit(buy)
        assert scene.base() == buy.size

        async def quote(symbol: str) -> Any:
            return stage.load("records").Quote(scene.instrument.market, BID, BID + scene.instrument.tick)

        scene.exchange.quote = quote
        await market_worker(scene, risk_manager(scene))._leave()
        return drift({"exit": scene.exchange.sent[-1].price}, {"exit": BID * Decimal("0.996")})

    return stage.play(act)


@demonstrates("ledger/store.py", "decimal-to-float")
def balance_leaves_its_entries(stage: Stage) -> Harm:
    """Three hundred deposits of ten cents: the balance that went through floats is not their sum."""

    async def act(scene: Scene) -> Harm:
        for _deposit in range(DEPOSITS):
            await scene.ledger.deposit("alpha", "EUR", Decimal("0.10"))
        return drift(await scene.ledger.balances(), await scene.ledger.entry_sums())

    return stage.play(act)
