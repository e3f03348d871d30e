"""Orders that are filled twice and fills that are counted twice."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from demonstrations.harms import Harm, Meeting, drift
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage

SIZE = Decimal("0.4")


@demonstrates("orders/chase.py", "unchecked-cancel-result")
def chased_order_fills_twice(stage: Stage) -> Harm:
    """The order fills while its cancel is under way; the replacement fills as well."""

    async def act(scene: Scene) -> Harm:
        module, records, tick = stage.load("orders.chase"), stage.load("records"), scene.instrument.tick
        ids = stage.load("orders.identity").ClientIds("d1", scene.instrument.market)
        limits = module.ChaseLimits(ticks=2, bars=12)
        chase = module.SmartLimitExecutor(scene.orders, scene.instrument, ids, records.Side.BUY, SIZE, limits)

        def moved(ticks: int) -> object:
            quote = scene.quote()
            return records.Quote(quote.market, quote.bid - 40 * tick + ticks * tick, quote.ask + ticks * tick)

        await chase.start(moved(0))
        scene.script.before_cancel = lambda: scene.hit(scene.exchange.sent[0].client_id, whole=True)
        await chase.advance(moved(5))
        for request in scene.exchange.sent[1:]:
            scene.hit(request.client_id, whole=True)
        return Harm(scene.base() > SIZE, f"{scene.base()} bought where {SIZE} were asked for")

    return stage.play(act)


@demonstrates("orders/manager.py", "order-timeout-without-reconcile")
def lost_order_is_taken_for_refused(stage: Stage) -> Harm:
    """The venue accepts an order and is silent about it for a while; the order fills, and the books do not know of it."""

    async def act(scene: Scene) -> Harm:
        scene.script.lose_answers, scene.script.lose_reads = {1}, set(range(1, 5))
        tracked = await scene.orders.submit(scene.request(size="0.4"))
        scene.hit(scene.exchange.sent[0].client_id, whole=True)
        for order in scene.orders.open_orders():
            await scene.orders.refresh(order)
        seen = drift({"BTC": scene.portfolio.balance("alpha", "BTC")}, {"BTC": scene.base()})
        return Harm(seen.happened, f"{seen.seen}; the bot took the order for {tracked.status}")

    return stage.play(act)


@demonstrates("orders/manager.py", "await-atomicity")
def fill_is_counted_twice(stage: Stage) -> Harm:
    """A refresh and a cancel read the same fill; both have looked at what is known before either books it."""

    async def act(scene: Scene) -> Harm:
        tracked = await scene.orders.submit(scene.request(size="0.4"))
        scene.hit(tracked.request.client_id, whole=False)
        scene.ledger.book_report = Meeting(2).before(scene.ledger.book_report)
        await asyncio.gather(scene.orders.refresh(tracked), scene.orders.refresh(tracked))
        return drift({"BTC": scene.portfolio.balance("alpha", "BTC")}, {"BTC": scene.base()})

    return stage.play(act)
