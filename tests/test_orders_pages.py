"""The examples of the pages, executed against a venue that accepts, fills and is silent: Bad does the harm, Good does not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from auditor import loader
from auditor.rule import example

PAGES = loader.load().pages
SIZE = 10.0


class Venue:
    """Holds orders by number. `silent` answers to placing are lost; `fills` are what the old order gets while it is
    cancelled; a second order of one client id is refused."""

    def __init__(self) -> None:
        self.placed: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.silent = 0
        self.cancel_fails = False
        self.old = {"id": "old", "side": "buy", "amount": SIZE, "filled": 0.0, "status": "open"}
        self.fills = 0.0
        self.requests = 0

    def bought(self) -> float:
        return float(str(self.old["filled"])) + sum(float(order["amount"]) for order in self.placed)


class Errors(ModuleType):
    """The hierarchy of ccxt's exceptions, as far as the examples name it."""

    class BaseError(Exception): ...

    class ExchangeError(BaseError): ...

    class NetworkError(BaseError): ...

    class OrderNotFound(ExchangeError): ...


VENUE = Venue()


class Client:
    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.paced = (options or {}).get("enableRateLimit", True)

    async def create_order(
        self,
        symbol: str,
        kind: str,
        side: str,
        amount: float,
        price: float | None = None,
        params: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        await asyncio.sleep(0)
        key = (params or {}).get("clientOrderId")
        if key is None or all(order["key"] != key for order in VENUE.placed):
            VENUE.placed.append({"id": str(len(VENUE.placed)), "key": key, "amount": amount, "symbol": symbol})
        if VENUE.silent:
            VENUE.silent -= 1
            raise Errors.NetworkError("no answer")
        return VENUE.placed[-1]

    async def cancel_order(self, order_id: str, symbol: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        VENUE.old["filled"] = float(str(VENUE.old["filled"])) + VENUE.fills
        if VENUE.cancel_fails:
            raise Errors.OrderNotFound("filled already")
        VENUE.old["status"] = "canceled"
        return dict(VENUE.old)

    async def fetch_order(self, order_id: str, symbol: str) -> dict[str, Any]:
        return dict(VENUE.old)

    async def fetch_open_orders(self, symbol: str) -> list[dict[str, Any]]:
        return list(VENUE.placed)

    def fetch_ticker(self, symbol: str) -> str:
        VENUE.requests += not self.paced
        return symbol


@pytest.fixture(autouse=True)
def _venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh venue, with `ccxt` and its asynchronous twin in front of it."""
    VENUE.__init__()  # type: ignore[misc]  # the examples hold clients of this one
    package, twin = Errors("ccxt"), Errors("ccxt.async_support")
    for module in (package, twin):
        module.binance = Client  # type: ignore[attr-defined]
    package.async_support = twin  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ccxt", package)
    monkeypatch.setitem(sys.modules, "ccxt.async_support", twin)
    fast = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds: fast(0))
    yield


def run(rule: str, section: str) -> SimpleNamespace:
    """The names of an example after it was executed."""
    names: dict[str, Any] = {}
    exec(compile(example(getattr(PAGES[rule], section)), f"{rule}:{section}", "exec"), names)
    return SimpleNamespace(**names)


def test_a_lost_answer_makes_two_orders_of_one() -> None:
    def held(section: str, *key: str) -> int:
        VENUE.placed.clear()
        VENUE.silent = 1
        asyncio.run(run("retried-order-without-client-id", section).enter("X", "buy", SIZE, *key))
        return len(VENUE.placed)

    assert (held("bad"), held("good", "k1")) == (2, 1)


def test_an_order_that_fills_while_it_is_cancelled_is_bought_twice() -> None:
    def bought(section: str) -> float:
        VENUE.__init__()  # type: ignore[misc]
        VENUE.fills, VENUE.cancel_fails = SIZE, True
        asyncio.run(run("unchecked-cancel-result", section).replace("old", "X", "buy", SIZE, 1.0))
        return VENUE.bought()

    assert (bought("bad"), bought("good")) == (2 * SIZE, SIZE)


def test_a_partial_fill_during_the_cancel_is_bought_a_second_time() -> None:
    def bought(section: str) -> float:
        VENUE.__init__()  # type: ignore[misc]
        VENUE.fills = 4.0
        asyncio.run(run("stale-order-state", section).replace(dict(VENUE.old), "X", 1.0))
        return VENUE.bought()

    assert (bought("bad"), bought("good")) == (SIZE + 4.0, SIZE)


def test_a_lost_acknowledgement_shows_flat_while_the_venue_holds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(work: Any, _seconds: float) -> Any:
        await work
        raise TimeoutError

    monkeypatch.setattr(asyncio, "wait_for", late)
    assert asyncio.run(run("order-timeout-without-reconcile", "bad").enter("X", SIZE)) is None
    assert len(VENUE.placed) == 1
    found = asyncio.run(run("order-timeout-without-reconcile", "good").enter("X", SIZE))
    assert found["amount"] == SIZE


def test_an_order_that_is_too_large_passes_the_check() -> None:
    def sent(section: str) -> list[float]:
        orders: list[float] = []
        client = SimpleNamespace(submit=lambda order: orders.append(order.size))
        run("always-true-check", section).send(client, SimpleNamespace(size=1000.0))
        return orders

    assert (sent("bad"), sent("good")) == ([1000.0], [])


def test_fifty_quotes_are_asked_for_at_once() -> None:
    def unpaced(section: str) -> int:
        VENUE.requests = 0
        run("no-rate-limit", section).quotes([str(n) for n in range(50)])
        return VENUE.requests

    assert (unpaced("bad"), unpaced("good")) == (50, 0)
