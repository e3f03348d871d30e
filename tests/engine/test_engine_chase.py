"""The smart limit executor: a replacement is for what is left after the cancel, never in place of a filled order."""

from decimal import Decimal
from pathlib import Path

from engine_scene import Load, Scene, play

SIZE = Decimal("0.4")


def chase(scene: Scene, bars: int = 12):
    module, records = scene.load("orders.chase"), scene.load("records")
    ids = scene.load("orders.identity").ClientIds("s1", scene.instrument.market)
    limits = module.ChaseLimits(ticks=2, bars=bars)
    return module.SmartLimitExecutor(scene.orders, scene.instrument, ids, records.Side.BUY, SIZE, limits)


def moved(scene: Scene, ticks: int):
    """A quote that is so many ticks above the market of now."""
    records, quote, tick = scene.load("records"), scene.quote(), scene.instrument.tick
    return records.Quote(quote.market, quote.bid - 40 * tick + ticks * tick, quote.ask + ticks * tick)


async def settle(scene: Scene, order) -> None:
    while not await order.stop():
        pass
    assert (await scene.difference()).exact


def test_market_that_moves_is_followed(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        order = chase(scene)
        await order.start(moved(scene, 0))
        await order.advance(moved(scene, 1))
        assert scene.venue.counts.orders == 1
        await order.advance(moved(scene, 5))
        assert scene.venue.counts.orders == 2 and scene.venue.counts.cancels == 1
        assert [request.size for request in scene.exchange.sent] == [SIZE, SIZE]
        await settle(scene, order)

    play(load, tmp_path, act)


def test_fill_during_the_cancel_is_not_doubled(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        order = chase(scene)
        await order.start(moved(scene, 0))
        scene.script.before_cancel = lambda: scene.hit(scene.exchange.sent[-1].client_id, whole=True)
        await order.advance(moved(scene, 5))
        assert scene.venue.counts.orders == 1 and order.filled == SIZE == scene.base()
        await settle(scene, order)
        assert scene.base() == SIZE

    play(load, tmp_path, act)


def test_partial_fill_during_the_cancel_shrinks_the_replacement(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        order = chase(scene)
        await order.start(moved(scene, 0))
        scene.script.before_cancel = lambda: scene.hit(scene.exchange.sent[-1].client_id, whole=False)
        await order.advance(moved(scene, 5))
        assert [request.size for request in scene.exchange.sent] == [SIZE, SIZE / 2]
        await settle(scene, order)
        assert scene.base() == order.filled <= SIZE

    play(load, tmp_path, act)


def test_lost_cancel_delays_the_replacement(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        order = chase(scene)
        await order.start(moved(scene, 0))
        scene.script.lose_cancels = set(range(1, 5))
        await order.advance(moved(scene, 5))
        assert scene.venue.counts.orders == 1 and len(scene.venue.open_orders()) == 1
        await order.advance(moved(scene, 5))
        assert scene.venue.counts.orders == 2 and len(scene.venue.open_orders()) == 1
        await settle(scene, order)

    play(load, tmp_path, act)


def test_patience_ends(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        order = chase(scene, bars=2)
        await order.start(moved(scene, 0))
        await order.advance(moved(scene, 0))
        await order.advance(moved(scene, 0))
        assert order.state.value == "done" and order.filled == 0 and scene.venue.open_orders() == []

    play(load, tmp_path, act)


def test_small_rest_ends_the_chase(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        order = chase(scene)
        order._size = Decimal("0.0001")
        await order.start(moved(scene, 0))
        assert order.state.value == "done" and scene.venue.counts.orders == 0

    play(load, tmp_path, act)
