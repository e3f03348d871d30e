"""Amounts that are not what they say, and arithmetic that always fails."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from demonstrations.harms import Harm, drift, raised
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage, entry_plan, market_worker, risk_manager

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


@demonstrates("money.py", "unguarded-decimal-parse")
def odd_text_passes_its_guard(stage: Stage) -> Harm:
    """A venue sends `n/a` for a price: what should be refused as malformed escapes as another exception."""
    payloads = stage.load("exchange.payloads")
    reader = next(kind for kind in vars(payloads).values() if isinstance(kind, type) and hasattr(kind, "number"))
    client, row = SimpleNamespace(_venue="alpha"), {"price": "n/a"}
    return raised(lambda: _refused(lambda: reader.number(client, row, "price"), stage), InvalidOperation)


@demonstrates("exchange/transport.py", "wrong-guard")
def page_of_a_proxy_passes_its_guard(stage: Stage) -> Harm:
    """A proxy answers with a page: what should be a malformed answer escapes as an error of the JSON reader."""
    answer = stage.load("exchange.transport").SignedTransport._answer
    client, page = SimpleNamespace(venue="alpha"), "<html>busy</html>"
    return raised(lambda: _refused(lambda: answer(client, HTTPStatus.OK, page, None), stage), json.JSONDecodeError)


@demonstrates("simulator/listing.py", "falsy-zero")
def free_market_charges_a_fee(stage: Stage) -> Harm:
    """A market that is free of fees is charged the rate of the house."""
    kind = stage.load("simulator.listing").Listing
    free = kind("BTC", "USD", Decimal("0.5"), Decimal("0.0001"), 60_000, 22.0, 3_000, Decimal(0))
    return drift({"fee": free.fee(Decimal(10_000))}, {"fee": Decimal(0)})


@demonstrates("risk/validation.py", "mixed-numeric-comparison")
def entry_without_a_price_is_not_refused(stage: Stage) -> Harm:
    """No price is known yet: instead of the verdict `no_price` there is a TypeError, and whoever plans the entry dies."""

    async def act(scene: Scene) -> Harm:
        risk = risk_manager(scene)
        plan = entry_plan(scene, stop="29000")
        try:
            verdict = await risk.admit(plan, scene.instrument, {})
        except TypeError as exc:
            return Harm(True, f"{type(exc).__name__}: {exc}")
        return Harm(verdict.passed, f"reasons: {', '.join(verdict.reasons)}")

    return stage.play(act)


def _refused(call: Any, stage: Stage) -> None:
    """The call, where an answer that is refused as malformed is what should happen."""
    try:
        call()
    except stage.load("exchange.errors").MalformedAnswer:
        return
