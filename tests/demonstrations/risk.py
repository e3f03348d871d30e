"""Limits that do not limit."""

from __future__ import annotations

from decimal import Decimal

from engine.engine_scene import OPENING

from demonstrations.harms import Harm
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage, candle, entry_plan, market_worker, risk_manager


@demonstrates("risk/manager.py", "always-true-check")
def stop_loss_never_fires(stage: Stage) -> Harm:
    """A stop at a tenth of the price is let through, because the object that says so is true; the price halves."""

    async def act(scene: Scene) -> Harm:
        risk, market = risk_manager(scene), scene.instrument.market
        price = scene.quote().bid
        plan = entry_plan(scene, stop="3000", price=str(price))
        if (await risk.admit(plan, scene.instrument, {market: price})).passed:
            worker = market_worker(scene, risk)
            await worker.enter(plan)
            scene.hit(scene.exchange.sent[-1].client_id, whole=True)
            await worker.on_bar(candle(scene, low=price, close=price))
            await worker.on_bar(candle(scene, low=price / 2, close=price / 2))
        held = scene.base()
        return Harm(held > 0, f"{held} still held after the price has halved")

    return stage.play(act)


@demonstrates("risk/manager.py", "broad-except")
def drawdown_limit_fails_open(stage: Stage) -> Harm:
    """Half of the equity is gone where a fifth is the limit; the check fails, that is swallowed, nothing halts."""

    async def act(scene: Scene) -> Harm:
        risk = risk_manager(scene, max_drawdown=Decimal("0.20"))
        await risk.check_drawdown({})
        scene.portfolio.deposit("alpha", "USD", -OPENING / 2)
        await risk.check_drawdown({})
        return Harm(risk.halted is None, f"halted: {risk.halted}")

    return stage.play(act)
