"""What grows, and what stays open."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

from demonstrations.harms import Harm, growth, left_open
from demonstrations.table import demonstrates
from demonstrations.twins import Stage

DAYS = 7
BARS_A_DAY = 24 * 60
NOWHERE = "http://127.0.0.1:1"


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
