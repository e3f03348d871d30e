"""What holds the loop, what it forgets, and what cannot be stopped on it."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import warnings
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

from demonstrations.harms import Harm, cancellation_ignored, raised, stall, task_lost
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage, engine, market_worker, risk_manager

HELD_SECONDS = 0.5


@demonstrates("orders/executor.py", "blocking-call-in-async")
def retry_holds_the_loop(stage: Stage) -> Harm:
    """Three lost requests: the pauses between the attempts are slept on the loop."""

    async def act(scene: Scene) -> Harm:
        scene.script.lose_requests = {1, 2, 3}
        return await stall(scene.executor.place(scene.request()))

    return stage.play(act)


@demonstrates("engine.py", "blocking-call-in-async")
def journal_holds_the_loop(stage: Stage) -> Harm:
    """A disk that needs 0.3 s: the snapshot is written on the loop, three calls below the coroutine."""

    async def act(scene: Scene) -> Harm:
        journal = stage.load("monitoring.journal").SessionJournal(stage.folder / "journal.jsonl", 10_000)
        parts = engine(scene, journal=journal, risk=SimpleNamespace(halted=None))
        bar = stage.load("market.bars").Bar(scene.clock.now(), {})
        harm = await stall(parts._journal(bar))
        assert '"equity"' in (stage.folder / "journal.jsonl").read_text(encoding="utf-8")
        return harm

    return stage.play(act)


@demonstrates("orders/executor.py", "swallowed-cancellation")
def cancelled_task_goes_on(stage: Stage) -> Harm:
    """The venue does not answer; the task that asks it is cancelled, and asks on."""

    async def act(scene: Scene) -> Harm:
        waiting = asyncio.Event()

        async def silent(symbol: str, client_id: str) -> Any:
            waiting.set()
            await asyncio.get_running_loop().create_future()

        request = scene.request()
        await scene.executor.place(request)
        scene.script.lose_cancels = set(range(1, 100))
        scene.exchange.order = silent
        return await cancellation_ignored(scene.executor.cancel(request.market.symbol, request.client_id), waiting)

    return stage.play(act)


@demonstrates("logs.py", "bare-except")
def stop_is_eaten_by_the_log(stage: Stage) -> Harm:
    """Ctrl-C arrives while a record is handed over: it is counted as a full queue, and the engine trades on."""

    class Interrupted(queue.Queue[logging.LogRecord]):
        def put_nowait(self, item: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    handler = stage.load("logs").BoundedQueueHandler(Interrupted())
    stopped = raised(lambda: handler.enqueue(logging.makeLogRecord({})), KeyboardInterrupt)
    return Harm(not stopped, f"the signal: {stopped.seen}; records counted as dropped: {handler.dropped}")


@demonstrates("market/feed.py", "busy-loop")
def waiting_for_the_stream_holds_the_loop(stage: Stage) -> Harm:
    """The stream broke once before it stood: whoever waits for it looks at it without a pause, so that it never comes."""

    class Watched(asyncio.Event):
        """Set by another task; whoever looks at it for half a second without giving way is told that it is set."""

        def is_set(self) -> bool:
            return super().is_set() or monotonic() > give_up

    async def act() -> Harm:
        nothing: Any = None
        feed = stage.load("market.feed").MarketFeed(
            SimpleNamespace(name="alpha"), nothing, "", {}, nothing, nothing, nothing, nothing
        )
        feed.reconnects, feed._connected = 1, Watched()
        connected = asyncio.get_running_loop().call_later(0.05, feed._connected.set)
        harm = await stall(feed.wait_connected())
        connected.cancel()
        return harm

    give_up = monotonic() + HELD_SECONDS
    return asyncio.run(act())


@demonstrates("worker.py", "executor-per-call")
def cancelled_decision_holds_the_loop(stage: Stage) -> Harm:
    """A decision that takes half a second is given up at once; the loop waits for its thread all the same."""

    async def act(scene: Scene) -> Harm:
        worker = market_worker(scene, risk_manager(scene))
        worker._parts = SimpleNamespace(
            candles=SimpleNamespace(recent=lambda *_: []), strategy=SimpleNamespace(decide=lambda _: sleep(HELD_SECONDS))
        )

        async def give_up() -> None:
            deciding = asyncio.create_task(worker._decide())
            await asyncio.sleep(0.05)
            deciding.cancel()
            await asyncio.gather(deciding, return_exceptions=True)

        return await stall(give_up())

    return stage.play(act)


@demonstrates("engine.py", "dangling-task")
def background_task_is_collected(stage: Stage) -> Harm:
    """Nobody keeps the task: a collection of garbage in the middle of its work takes it away."""

    async def act(scene: Scene) -> Harm:
        return await task_lost(engine(scene)._spawn)

    return stage.play(act)


@demonstrates("engine.py", "unawaited-coroutine")
def drift_does_not_halt(stage: Stage) -> Harm:
    """Balances differ from the venue's; the halt is called and never runs."""

    async def act(scene: Scene) -> Harm:
        monitor, alert = stage.load("positions.monitor"), SimpleNamespace(notify=lambda alert: None)
        scene.portfolio.deposit("alpha", "USD", scene.instrument.lot)
        risk = risk_manager(scene)
        exchanges = {"alpha": scene.exchange}
        parts = engine(scene, monitor=monitor.PositionMonitor(exchanges, scene.portfolio), notifier=alert, risk=risk)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            await parts._inspect()
            gc.collect()
        return Harm(risk.halted is None, f"halted: {risk.halted}")

    return stage.play(act)
