"""What grows, and what stays open."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from demonstrations.harms import Harm, growth, left_open
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage

DAYS = 7
BARS_A_DAY = 24 * 60
NOWHERE = "http://127.0.0.1:1"
BURSTS = 4
BURST = 200


@demonstrates("market/candles.py", "unbounded-collection")
def candles_grow_for_a_week(stage: Stage) -> Harm:
    """A candle a minute for seven days: the store that is to hold the last hundred holds them all."""
    records = stage.load("records")
    market, bar = records.Market("alpha", "BTC-USD"), timedelta(minutes=1)
    store = stage.load("market.candles").CandleStore([market], 100, bar)
    opened, price, sizes = stage.load("configuration").SimulationSettings().start, Decimal(30000), []
    for _day in range(DAYS):
        for _bar in range(BARS_A_DAY):
            store.append(records.Candle(market, opened, price, price, price, price, Decimal(1)))
            opened += bar
        sizes.append(len(store.recent(market, DAYS * BARS_A_DAY)))
    return growth(sizes)


@demonstrates("exchange/manager.py", "unclosed-resource")
def first_venue_stays_open(stage: Stage) -> Harm:
    """The second venue cannot be reached, so the block is never entered: nobody closes what the first opened."""
    configuration = stage.load("configuration")
    harbour_module, credentials_module = stage.load("simulator.harbour"), stage.load("credentials")
    settings = configuration.Configuration(venues=(configuration.VenueSettings("alpha", ("BTC-USD",)),))
    issued = harbour_module.issue_keys(configuration.Configuration(), {})
    credentials = credentials_module.read_credentials(issued, ["alpha", "beta"])
    clock = stage.load("clock").SimulatedClock(settings.simulation.start, 1000)

    async def act() -> Harm:
        async with harbour_module.Harbour(settings, credentials, 1, False, clock) as harbour:
            urls = {**harbour.urls(), "beta": NOWHERE}
            manager = stage.load("exchange.manager").ExchangeManager(urls, credentials, settings.execution, clock)
            try:
                async with manager:
                    harm = Harm(False, "connected to a venue that does not exist")
            except stage.load("exchange.errors").OutcomeUnknown:
                harm = left_open({name: session.closed for name, session in manager._sessions.items()})
            await manager._resources.aclose()
            await asyncio.gather(*(session.close() for session in manager._sessions.values()))
        return harm

    return asyncio.run(act())


@demonstrates("assembly.py", "unbounded-queue")
def candles_wait_behind_a_slow_engine(stage: Stage) -> Harm:
    """Nobody takes candles while four bursts of two hundred come in: the stream goes on reading into memory."""

    async def act(scene: Scene) -> Harm:
        feed, queue = assembled_feed(stage, scene)
        candle, sizes = stage.load("records").Candle, []
        opened, price = scene.clock.now(), Decimal(30000)

        async def read(burst: int) -> None:
            for number in range(burst * BURST, (burst + 1) * BURST):
                bar = opened + number * timedelta(minutes=1)
                await feed._emit(candle(scene.instrument.market, bar, price, price, price, price, Decimal(1)))

        bursts = []
        for burst in range(BURSTS):
            bursts.append(asyncio.create_task(read(burst)))
            await asyncio.sleep(0)
            sizes.append(queue.qsize())
        for reading in bursts:
            reading.cancel()
        await asyncio.gather(*bursts, return_exceptions=True)
        return growth(sizes, "burst")

    return stage.play(act)


def assembled_feed(stage: Stage, scene: Scene) -> tuple[Any, Any]:
    """The feed of an assembled engine, and the queue that it reads into."""
    market = scene.instrument.market

    class Venues(dict[str, Any]):
        names = dict.keys

        def instrument(self, _market: Any) -> Any:
            return scene.instrument

        def session(self, _name: str) -> None:
            return None

        stream_url = session

    module = stage.load("assembly")
    around = module.Surroundings(
        configuration=stage.load("configuration").Configuration(),
        exchanges=Venues({market.venue: scene.exchange}),
        ledger=scene.ledger,
        portfolio=scene.portfolio,
        clock=scene.clock,
        histories={market: [SimpleNamespace(market=market, opened=scene.clock.now() - timedelta(minutes=1))]},
        model=None,
        notifier=None,
        state=stage.folder,
        session="d1",
    )
    feed = module.assemble(around).engine._parts.feeds[0]
    return feed, feed._candles


@demonstrates("monitoring/notifier.py", "unbounded-task-creation")
def alerts_pile_up_behind_a_slow_hook(stage: Stage) -> Harm:
    """The hook does not answer. Forty alerts at a time come in, and each has a task of its own that waits for it."""

    class SilentHook:
        async def __aenter__(self) -> None:
            await asyncio.get_running_loop().create_future()

        async def __aexit__(self, *_error: object) -> None:
            return None

    async def act() -> Harm:
        session = SimpleNamespace(post=lambda *_, **__: SilentHook())
        notifier = stage.load("monitoring.notifier").WebhookNotifier(session, NOWHERE, "token")
        alert, sizes = stage.load("monitoring.alerts").Alert("INFO", "demonstration", "slow hook"), []
        running = asyncio.create_task(notifier.run())
        for _burst in range(BURSTS):
            for _alert in range(40):
                notifier.notify(alert)
            for _turn in range(3):
                await asyncio.sleep(0)
            sizes.append(len(asyncio.all_tasks()))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return growth(sizes, "burst")

    return asyncio.run(act())
