"""The two engines: one of them on the path at a time, with a folder to work in and a small market to trade on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from engine.engine_scene import Scene, play

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
CLEAN, FLAWED = FIXTURES / "clean", FIXTURES / "flawed"


@dataclass(frozen=True)
class Stage:
    """One twin: `load` gives a module of it by its name without `trading.`; `folder` is empty at the start."""

    load: Callable[[str], ModuleType]
    folder: Path

    def play(self, act: Callable[[Scene], Awaitable[Any]], **options: int) -> Any:
        """Run an act on a simulated market with orders, a ledger and a portfolio, on a loop of its own."""
        return play(self.load, self.folder, act, **options)


@contextmanager
def twin(root: Path, folder: Path) -> Iterator[Stage]:
    """Inside the block `trading` is the engine below this root; before and after it, it is not imported at all."""
    forget()
    sys.path.insert(0, str(root))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield Stage(lambda name: importlib.import_module(f"trading.{name}"), folder)
    finally:
        sys.path.remove(str(root))
        forget()


def forget() -> None:
    """Drop all modules of `trading`, of whichever twin they are."""
    for name in [name for name in sys.modules if name == "trading" or name.startswith("trading.")]:
        del sys.modules[name]


def entry_plan(scene: Scene, *, stop: str, size: str = "0.3", price: str = "30000") -> Any:
    """A planned entry in the market of the scene."""
    kind = scene.load("risk.validation").EntryPlan
    return kind(scene.instrument.market, Decimal(size), Decimal(price), Decimal(stop))


def risk_manager(scene: Scene, **limits: Any) -> Any:
    """A risk manager with the settings of the twin, changed as said."""
    settings = scene.load("configuration").RiskSettings(**limits)
    breaker = scene.load("risk.breaker").CircuitBreaker(12, 5, 20)
    return scene.load("risk.manager").RiskManager(settings, scene.portfolio, scene.ledger, {scene.venue.name: breaker})


def market_worker(scene: Scene, risk: Any) -> Any:
    """The worker of the market of the scene. It has no strategy: it must not reach a bar on which it decides."""
    load, market = scene.load, scene.instrument.market
    configuration = load("configuration").Configuration()
    parts = load("worker").WorkerParts(
        exchange=scene.exchange,
        orders=scene.orders,
        positions=scene.portfolio.positions,
        risk=risk,
        candles=None,
        quotes=load("market.cache").DataCache(8, configuration.simulation.bar / 2, scene.clock),
        strategy=None,
        ids=load("orders.identity").ClientIds("d1", market),
        execution=configuration.execution,
        settings=configuration.strategy,
    )
    return load("worker").MarketWorker(scene.instrument, parts)


def engine(scene: Scene, **parts: Any) -> Any:
    """An engine without workers, of these parts; the others are absent."""
    return scene.load("engine").Engine(SimpleNamespace(workers=[], orders={}, portfolio=scene.portfolio, **parts))


def candle(scene: Scene, *, low: Decimal, close: Decimal) -> Any:
    """A bar of the market of the scene that closed at its low or above."""
    kind = scene.load("records").Candle
    return kind(scene.instrument.market, scene.clock.now(), close, close, low, close, Decimal(1))
