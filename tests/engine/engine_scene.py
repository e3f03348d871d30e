"""A small stage for tests: one simulated market, an exchange that reaches it without a network, and the books."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

Load = Callable[[str], ModuleType]
CLEAN = Path(__file__).resolve().parents[2] / "fixtures" / "clean"
BAR = timedelta(seconds=60)
OPENING = Decimal(100000)


@dataclass
class Script:
    """What goes wrong, by the number of the call (from one), and what happens just before a cancel arrives."""

    lose_requests: set[int] = field(default_factory=set)
    lose_answers: set[int] = field(default_factory=set)
    limit_rate: set[int] = field(default_factory=set)
    lose_reads: set[int] = field(default_factory=set)
    lose_cancels: set[int] = field(default_factory=set)
    before_cancel: Callable[[], None] = lambda: None


class DirectExchange:
    """The `Exchange` of the engine in front of a `SimulatedVenue`, with faults by script."""

    def __init__(self, load: Load, venue: Any, clock: Any, script: Script) -> None:
        self.errors = load("exchange.errors")
        self.codes = load("exchange.transport").CODES
        self.refusal = load("simulator.venue").Refusal
        self.name = venue.name
        self.venue, self.clock, self.script = venue, clock, script
        self.places, self.reads, self.cancels = 0, 0, 0
        self.sent: list[Any] = []

    def _do(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except self.refusal as refusal:
            kind = self.codes.get(refusal.code, self.errors.OrderRefused)
            raise kind(self.name, refusal.code) from refusal

    async def place(self, request: Any) -> Any:
        self.places += 1
        if self.places in self.script.limit_rate:
            raise self.errors.RateLimited(self.name, "too_many_requests", 0.0)
        if self.places in self.script.lose_requests:
            raise self.errors.OutcomeUnknown(self.name, "timeout")
        self.sent.append(request)
        report = self._do(lambda: self.venue.place(request, self.clock.now()))
        if self.places in self.script.lose_answers:
            raise self.errors.OutcomeUnknown(self.name, "timeout")
        return report

    async def cancel(self, symbol: str, client_id: str) -> Any:
        self.cancels += 1
        self.script.before_cancel()
        if self.cancels in self.script.lose_cancels:
            raise self.errors.OutcomeUnknown(self.name, "timeout")
        return self._do(lambda: self.venue.cancel(symbol, client_id))

    async def order(self, symbol: str, client_id: str) -> Any:
        self.reads += 1
        if self.reads in self.script.lose_reads:
            raise self.errors.OutcomeUnknown(self.name, "timeout")
        return self._do(lambda: self.venue.order(symbol, client_id))

    async def open_orders(self) -> Any:
        return tuple(self.venue.open_orders())

    async def balances(self) -> Any:
        return self.venue.balances()

    async def quote(self, symbol: str) -> Any:
        return self.venue.quote(symbol)


@dataclass
class Scene:
    """One market with everything around it."""

    load: Load
    clock: Any
    venue: Any
    exchange: DirectExchange
    script: Script
    instrument: Any
    ledger: Any
    portfolio: Any
    executor: Any
    orders: Any
    failures: list[str]

    def quote(self) -> Any:
        return self.venue.quote(self.instrument.market.symbol)

    def request(
        self, number: int = 1, side: str = "buy", price: Any = None, size: str = "0.5", tif: str = "gtc"
    ) -> Any:
        records = self.load("records")
        return records.OrderRequest(
            f"t-{number:03d}",
            self.instrument.market,
            records.Side(side),
            self.quote().bid if price is None else price,
            Decimal(size),
            records.TimeInForce(tif),
        )

    def advance(self, bars: int = 1) -> None:
        for _bar in range(bars):
            opened = self.clock.now()
            self.clock.advance(BAR)
            self.venue.advance(opened, BAR)

    def hit(self, client_id: str, *, whole: bool) -> None:
        """An aggressor trades with our resting order."""
        self.venue.hit(self.instrument.market.symbol, client_id, whole, self.clock.now())

    def base(self) -> Decimal:
        """What the venue says we hold."""
        return self.venue.balances().get(self.instrument.base, Decimal(0))

    async def difference(self) -> Any:
        reconciliation = self.load("ledger.reconciliation")
        return await reconciliation.reconcile(self.ledger, self.portfolio, {self.venue.name: self.exchange})


@asynccontextmanager
async def stage(load: Load, folder: Path, *, attempts: int = 4, seed: int = 1) -> AsyncIterator[Scene]:
    """A market in which some bars were played, and a ledger that knows the deposit."""
    clock_module, configuration = load("clock"), load("configuration")
    clock = clock_module.SimulatedClock(configuration.SimulationSettings().start, 1_000_000)
    venue = load("simulator.venue").SimulatedVenue("alpha", ("BTC-USD",), (seed, 0), OPENING, 500)
    script, failures = Script(), []
    exchange = DirectExchange(load, venue, clock, script)
    instrument = venue.instruments()[0]
    instruments = {instrument.market: instrument}
    portfolio = load("positions.portfolio").Portfolio(instruments)
    portfolio.deposit("alpha", instrument.quote, OPENING)
    async with load("ledger.store").open_ledger(folder / "ledger.db", instruments, clock) as ledger:
        await ledger.deposit("alpha", instrument.quote, OPENING)
        backoff = load("orders.backoff").Backoff(0.1, 1.0)
        executor = load("orders.executor").OrderExecutor(
            exchange, clock, backoff, attempts, lambda: failures.append("failed")
        )
        orders = load("orders.manager").OrderManager(executor, ledger, portfolio)
        scene = Scene(load, clock, venue, exchange, script, instrument, ledger, portfolio, executor, orders, failures)
        scene.advance(3)
        yield scene


def play(load: Load, folder: Path, act: Callable[[Scene], Awaitable[Any]], **options: int) -> Any:
    """Run an act on a stage of its own."""

    async def run() -> Any:
        async with stage(load, folder, **options) as scene:
            return await act(scene)

    return asyncio.run(run())
