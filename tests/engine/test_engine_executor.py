"""The order executor: one intent is one order, whatever is lost on the way."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import Load, Scene, play


def test_lost_answer_is_found_by_client_id(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        scene.script.lose_answers = {1}
        tracked = await scene.orders.submit(scene.request(price=scene.quote().ask))
        assert scene.exchange.places == 1 and scene.venue.counts.orders == 1
        assert tracked.filled > 0 and scene.base() == tracked.filled
        assert scene.executor.retries == 1 and scene.failures == ["failed"]
        await scene.orders.cancel(tracked)
        assert (await scene.difference()).exact

    play(load, tmp_path, act)


def test_lost_request_is_sent_again_under_the_same_id(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        scene.script.lose_requests = {1, 2}
        tracked = await scene.orders.submit(scene.request())
        assert scene.exchange.places == 3 and scene.venue.counts.orders == 1
        assert [request.client_id for request in scene.exchange.sent] == ["t-001"]
        assert not tracked.finished

    play(load, tmp_path, act)


def test_rate_limit_is_waited_out(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        scene.script.limit_rate = {1, 2}
        tracked = await scene.orders.submit(scene.request())
        assert scene.venue.counts.orders == 1 and scene.exchange.reads == 0
        assert scene.executor.retries == 2 and not tracked.finished

    play(load, tmp_path, act)


def test_duplicate_id_means_that_the_first_attempt_arrived(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        request = scene.request()
        report = await scene.executor.place(request)
        assert await scene.executor.place(request) == report
        assert scene.venue.counts.orders == 1

    play(load, tmp_path, act)


def test_silent_venue_leaves_the_order_unknown_until_it_answers(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        records = scene.load("records")
        scene.script.lose_answers, scene.script.lose_reads = {1}, set(range(1, 5))
        tracked = await scene.orders.submit(scene.request(price=scene.quote().ask, size="0.1"))
        assert tracked.status is records.OrderStatus.UNKNOWN
        assert scene.orders.open_orders() == (tracked,)
        assert await scene.ledger.unfinished_orders() == ("t-001",)
        after = await scene.orders.refresh(tracked)
        assert after.status is records.OrderStatus.FILLED and scene.orders.open_orders() == ()
        assert (await scene.difference()).exact

    play(load, tmp_path, act)


def test_refused_order_is_recorded_as_rejected(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        tracked = await scene.orders.submit(scene.request(size="0.00005"))
        assert tracked.finished and scene.orders.counts.refusals == 1
        assert scene.orders.open_orders() == () and await scene.ledger.unfinished_orders() == ()

    play(load, tmp_path, act)


def test_cancel_of_a_filled_order_tells_the_fill(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        tracked = await scene.orders.submit(scene.request())
        scene.script.before_cancel = lambda: scene.hit("t-001", whole=True)
        after = await scene.orders.cancel(tracked)
        assert after.finished and after.filled == Decimal("0.5") and scene.orders.counts.cancels == 0
        assert scene.portfolio.balance("alpha", "BTC") == scene.base() == Decimal("0.5")

    play(load, tmp_path, act)


def test_cancel_that_is_never_answered_is_not_confirmed(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        tracked = await scene.orders.submit(scene.request())
        scene.script.lose_cancels, scene.script.lose_reads = set(range(1, 50)), set(range(1, 200))
        outcome = await scene.executor.cancel("BTC-USD", "t-001")
        assert not outcome.confirmed and outcome.report is None
        after = await scene.orders.cancel(tracked)
        assert not after.finished and scene.orders.open_orders() == (tracked,)

    play(load, tmp_path, act)


def test_unanswered_place_raises_after_the_last_attempt(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        scene.script.lose_requests = set(range(1, 50))
        with pytest.raises(scene.exchange.errors.OutcomeUnknown):
            await scene.executor.place(scene.request())
        assert scene.exchange.places == 4 and scene.venue.counts.orders == 0

    play(load, tmp_path, act)


def test_order_that_was_interrupted_while_it_was_sent_can_still_be_cancelled(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        sent, never = asyncio.Event(), asyncio.Event()
        original = scene.exchange.place

        async def place(request):
            await original(request)
            sent.set()
            await never.wait()

        scene.exchange.place = place
        task = asyncio.create_task(scene.orders.submit(scene.request()))
        await sent.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() and len(scene.venue.open_orders()) == 1 == len(scene.orders.open_orders())
        assert await scene.orders.cancel_all()
        assert scene.venue.open_orders() == [] and (await scene.difference()).exact

    play(load, tmp_path, act)


def test_backoff_doubles_up_to_its_limit(load: Load) -> None:
    backoff = load("orders.backoff").Backoff(0.25, 8.0)
    assert [backoff.delay(failures) for failures in (0, 1, 2, 3, 6, 7, 999)] == [0.25, 0.25, 0.5, 1, 8, 8, 8]
