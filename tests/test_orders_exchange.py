"""The exchange model: verbs of libraries, of the project's own clients and of what is around them; outcomes, arguments, retries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from auditor import engine, loader
from auditor.project.exchange import CANCEL, PLACE, READS_OPEN, READS_ORDER, Way
from auditor.project.project import Project

LOADED = loader.load()
RULES = dataclasses.replace(LOADED, rules={"unchecked-cancel-result": LOADED.rules["unchecked-cancel-result"]})

CLIENT = """\
import aiohttp


class Lost(Exception):
    pass


class Refused(Exception):
    pass


class Venue:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def place_order(self, symbol, side, amount, client_order_id):
        return await self._post("/orders", {"symbol": symbol, "qty": amount, "clientOrderId": client_order_id})

    async def cancel_order(self, symbol, order_id):
        return await self._post("/cancel", {"id": order_id})

    async def get_order(self, symbol, order_id):
        return await self._post("/order", {"id": order_id})

    async def _post(self, path, fields):
        try:
            async with self._session.post(path, json=fields) as response:
                return await response.json()
        except aiohttp.ClientError as exc:
            raise Lost(path) from exc


class Paper:
    def __init__(self):
        self.orders = []

    async def place_order(self, symbol, side, amount, client_order_id):
        self.orders.append(symbol)

    async def cancel_order(self, symbol, order_id):
        return True
"""


def project(texts: Mapping[str, str], models: Mapping[str, Any] | None = None) -> Project:
    analysis = engine.in_process(texts, RULES, models=models)
    assert analysis.errors == []
    return analysis.project


def verbs(found: Project, *wanted: str) -> list[tuple[str, int, str, int]]:
    """(symbol, line, what is called, calls of the way) of every call with one of the verbs."""
    return sorted((f.symbol, f.at(op)[0], way.path, len(way.hops)) for f, op, way in found.exchange.sites(*wanted))


def only(found: Project, verb: str, symbol: str) -> tuple[Any, int, Way]:
    sites = [(f, op, way) for f, op, way in found.exchange.sites(verb) if f.symbol == symbol]
    assert len(sites) == 1
    return sites[0]


class TestVerbs:
    @pytest.mark.parametrize("module", ["ccxt", "ccxt.async_support", "ccxt.pro"])
    def test_ccxt_in_its_three_forms_also_by_getattr(self, module: str) -> None:
        text = f"import {module} as ccxt\n\n\ndef send(name):\n    getattr(ccxt, name)().create_order('BTC/USDT', 'market', 'buy', 1)\n"
        assert [(s, line) for s, line, _, _ in verbs(project({"bot.py": text}), PLACE)] == [("send", 5)]

    @pytest.mark.parametrize(
        ("text", "verb"),
        [
            (
                "from binance import Client\n\n\ndef f():\n    Client('k', 's').order_market_buy(symbol='X', quantity=1)\n",
                PLACE,
            ),
            (
                "from binance.client import Client\n\n\ndef f():\n    Client('k', 's').cancel_order(symbol='X', orderId=1)\n",
                CANCEL,
            ),
            (
                "from alpaca.trading.client import TradingClient\n\n\ndef f(o):\n    TradingClient('k', 's').submit_order(o)\n",
                PLACE,
            ),
            ("from ib_async import IB\n\n\ndef f(c, o):\n    IB().placeOrder(c, o)\n", PLACE),
            ("from ib_insync import IB\n\n\ndef f(o):\n    IB().cancelOrder(o)\n", CANCEL),
            ("import ccxt\n\n\ndef f():\n    ccxt.okx().fetch_open_orders()\n", READS_OPEN),
            ("import ccxt\n\n\ndef f():\n    ccxt.okx().fetch_order('1', 'X')\n", READS_ORDER),
        ],
    )
    def test_libraries(self, text: str, verb: str) -> None:
        assert [s for s, _, _, _ in verbs(project({"bot.py": text}), verb)] == ["f"]

    def test_a_method_that_is_handed_to_a_thread(self) -> None:
        text = """\
import asyncio

import ccxt

client = ccxt.okx()


async def send(symbol, amount):
    await asyncio.to_thread(client.create_order, symbol, "market", "buy", amount)
"""
        found = project({"bot.py": text})
        function, _, way = only(found, PLACE, "send")
        assert way.handed
        operand = found.arguments.operand(way, "amount")
        assert function.body.places[operand].name == "amount"

    def test_own_clients_by_their_shape_and_simulators_not_at_all(self) -> None:
        use = """\
from client import Paper, Venue


async def real(venue: Venue):
    await venue.place_order("X", "buy", 1, "k")
    await venue.cancel_order("X", "1")
    await venue.get_order("X", "1")


async def practise(venue: Paper):
    await venue.place_order("X", "buy", 1, "k")
"""
        found = project({"client.py": CLIENT, "use.py": use})
        assert verbs(found, PLACE) == [("real", 5, "Venue.place_order()", 1)]
        assert verbs(found, CANCEL) == [("real", 6, "Venue.cancel_order()", 1)]
        assert verbs(found, READS_ORDER) == [("real", 7, "Venue.get_order()", 1)]

    def test_the_deepest_class_is_the_client_and_a_protocol_leads_to_it(self) -> None:
        use = """\
from typing import Protocol


class Exchange(Protocol):
    async def place_order(self, symbol, side, amount, client_order_id): ...
    async def cancel_order(self, symbol, order_id): ...
    async def get_order(self, symbol, order_id): ...


class Manager:
    def __init__(self, exchange: Exchange):
        self.exchange = exchange

    async def submit(self, symbol, amount):
        return await self.exchange.place_order(symbol, "buy", amount, "k")

    async def cancel(self, symbol, order_id):
        return await self.exchange.cancel_order(symbol, order_id)


async def trade(manager: Manager):
    await manager.submit("X", 1)
"""
        found = project({"client.py": CLIENT, "use.py": use})
        assert verbs(found, PLACE) == [
            ("Manager.submit", 15, "Venue.place_order()", 1),
            ("trade", 22, "Venue.place_order()", 2),
        ]

    def test_a_role_is_inherited_on_every_path_or_by_name_and_over_four_calls_at_most(self) -> None:
        layers = "\n\n\n".join(f"def go{n}(x):\n    return go{n + 1}(x)" for n in range(6))
        text = f"""\
import ccxt

client = ccxt.okx()


{layers}


def go6(x):
    return client.create_order(x, "market", "buy", 1)


def perhaps(x):
    if x:
        client.create_order(x, "market", "buy", 1)


def open_position(x):
    if x:
        client.create_order(x, "market", "buy", 1)


def both(x):
    perhaps(x)
    open_position(x)
"""
        found = project({"bot.py": text})
        names = {s: calls for s, _, _, calls in verbs(found, PLACE)}
        assert names == {"go6": 1, "go5": 2, "go4": 3, "go3": 4, "go2": 5, "perhaps": 1, "open_position": 1, "both": 2}

    def test_a_team_names_its_calls_and_its_simulators(self) -> None:
        text = "from desk.wire import Channel\n\n\ndef go(x):\n    Channel().push(x, 2)\n\n\ndef outer(x):\n    go(x)\n"
        entry = {"calls": ["desk.wire.Channel.push"], "amount": ["1"], "note": "sends an order"}
        assert verbs(project({"bot.py": text}), PLACE) == []
        found = project({"bot.py": text}, {"exchange": {"place": [entry]}})
        assert [s for s, _, _, _ in verbs(found, PLACE)] == ["go", "outer"]
        silent = {"exchange": {"place": [entry], "simulated": [{"calls": ["bot.go"]}]}}
        assert [s for s, _, _, _ in verbs(project({"bot.py": text}, silent), PLACE)] == ["go"]


class TestOutcomes:
    def handled(
        self, classes: str, body: str = "await client.create_order('X', 'market', 'buy', 1)"
    ) -> tuple[str, str]:
        text = f"""\
import asyncio

import aiohttp
import ccxt.async_support as ccxt

client = ccxt.okx()
LOST = (asyncio.TimeoutError, ccxt.NetworkError)


async def f():
    try:
        {body}
    except {classes}:
        pass
"""
        found = project({"bot.py": text})
        function, op, way = only(found, PLACE, "f")
        handler = found.outcomes.handlers(function, op, way)[0]
        return handler.kind, handler.family

    @pytest.mark.parametrize(
        ("classes", "kind"),
        [
            ("ccxt.RequestTimeout", "unknown"), ("ccxt.NetworkError", "unknown"), ("ccxt.ExchangeNotAvailable", "unknown"),
            ("ccxt.BaseError", "unknown"), ("Exception", "unknown"), ("LOST", "unknown"),
            ("(ccxt.InvalidOrder, ccxt.NetworkError)", "unknown"), ("ccxt.RateLimitExceeded", "refused"),
            ("ccxt.InvalidNonce", "refused"), ("ccxt.InsufficientFunds", "refused"), ("ccxt.OrderNotFound", "refused"),
            ("TimeoutError", "other"),
            ("OSError", "other"), ("aiohttp.ClientError", "other"), ("KeyError", "other"),
        ],
    )  # fmt: skip
    def test_ccxt_by_class(self, classes: str, kind: str) -> None:
        assert self.handled(classes)[0] == kind

    @pytest.mark.parametrize("waits", ["await asyncio.wait_for(client.create_order('X', 'market', 'buy', 1), 5)"])
    def test_a_deadline_makes_timeouts_unknown(self, waits: str) -> None:
        assert self.handled("asyncio.TimeoutError", waits) == ("unknown", "timeout")

    def test_own_exceptions_by_where_they_are_raised(self) -> None:
        use = """\
from client import Lost, Refused, Venue


async def f(venue: Venue):
    try:
        await venue.place_order("X", "buy", 1, "k")
    except Refused:
        pass
    except Lost:
        pass
"""
        found = project({"client.py": CLIENT, "use.py": use})
        function, op, way = only(found, PLACE, "f")
        assert [(h.kind, h.name) for h in found.outcomes.handlers(function, op, way)] == [
            ("refused", "Refused"),
            ("unknown", "Lost"),
        ]

    def test_a_later_handler_does_not_get_what_an_earlier_one_has_taken(self) -> None:
        text = """\
import ccxt

client = ccxt.okx()


def f():
    try:
        client.create_order("X", "market", "buy", 1)
    except ccxt.NetworkError:
        raise
    except Exception:
        pass
"""
        found = project({"bot.py": text})
        function, op, way = only(found, PLACE, "f")
        assert [h.kind for h in found.outcomes.handlers(function, op, way)] == ["unknown", "other"]


class TestClientIds:
    def state(self, call: str, before: str = "pass", params: str = "key=None, params=None") -> str:
        head = "import uuid\n\nimport ccxt\n\nclient = ccxt.okx()\n"
        text = f"{head}\n\ndef f(x, {params}):\n    {before}\n    return client.create_order({call})\n"
        found = project({"bot.py": text})
        return found.arguments.client_id(only(found, PLACE, "f")[2]).state

    @pytest.mark.parametrize(
        ("call", "before", "state"),
        [
            ("x, 'market', 'buy', 1", "pass", "absent"),
            ("x, 'market', 'buy', 1, None, {}", "pass", "absent"),
            ("x, 'market', 'buy', 1, None, {'timeInForce': 'IOC'}", "pass", "absent"),
            ("x, 'market', 'buy', 1, None, {'clientOrderId': key}", "pass", "given"),
            ("x, 'market', 'buy', 1, params={'newClientOrderId': str(key)}", "pass", "given"),
            ("x, 'market', 'buy', 1, params={'clientOrderId': uuid.uuid4().hex}", "pass", "made"),
            ("x, 'market', 'buy', 1, params={'clientOrderId': f'bot-{uuid.uuid4()}'}", "pass", "made"),
            ("x, 'market', 'buy', 1, params=more", "more = {}; more['clientOrderId'] = key", "given"),
            ("**more", "more = {'symbol': x, 'params': {'clientOrderId': key}}", "given"),
            ("**more", "more = {'symbol': x, 'amount': 1}", "absent"),
            ("x, 'market', 'buy', 1, None, params", "pass", "undecided"),
            ("*x", "pass", "undecided"),
        ],
    )
    def test_where_it_comes_from(self, call: str, before: str, state: str) -> None:
        assert self.state(call, before) == state

    def test_through_a_call_it_is_what_the_caller_passes(self) -> None:
        text = """\
import uuid

import ccxt

client = ccxt.okx()


def send(symbol, key=None):
    return client.create_order(symbol, "market", "buy", 1, None, {"clientOrderId": key})


def with_one(symbol):
    send(symbol, uuid.uuid4().hex)


def without(symbol):
    send(symbol)
"""
        found = project({"bot.py": text})
        assert found.arguments.client_id(only(found, PLACE, "with_one")[2]).state == "made"
        assert found.arguments.client_id(only(found, PLACE, "without")[2]).state == "absent"
