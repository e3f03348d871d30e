"""
Order state from before a cancel

## What it finds
An order whose size is made from what was filled or remaining *before* the old order was cancelled: a local copy, a
difference that was computed before, or a field of the order as it was read then.

## Why it matters
A cancel takes a round trip to the venue, and fills arrive in exactly that time. What was filled meanwhile is bought or sold a
second time; an exit sells more than is held.

## Bad
```python
import ccxt.async_support as ccxt

client = ccxt.binance()


async def replace(order, symbol, price):
    filled = order["filled"]
    await client.cancel_order(order["id"], symbol)
    await client.create_order(symbol, "limit", order["side"], order["amount"] - filled, price)
```

## Good
Read the order again once it is cancelled, and size the next one from that.

```python
import ccxt.async_support as ccxt

client = ccxt.binance()


async def replace(order, symbol, price):
    await client.cancel_order(order["id"], symbol)
    after = await client.fetch_order(order["id"], symbol)
    await client.create_order(symbol, "limit", order["side"], order["amount"] - after["filled"], price)
```

## Limits
Only the gap of a cancel is looked at, and only inside one function. A field of an object is taken to be kept up to date by
others, a key of a dict is not; a size that is passed on to a function that reads the order itself is a missed alarm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Body, Call, Const, Place, Root, Select, Store
from auditor.finding import Confidence, Finding, Severity, Step
from auditor.project.exchange import CANCEL, PLACE, Way
from auditor.project.flow import Flow, describe, reads, writes
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._chains import confidence, following, onward, roots_of, steps

VOLATILE = re.compile(
    r"(?:(?:cum_?|executed_?|last_?)?(?:filled|remaining|unfilled|executed|dealt)(?:_?(?:amount|qty|quantity|size|base|quote|volume|cost))?"
    r"|executedQty|cumQty|cum_qty|leaves_?qty|leavesQty|size_matched|size_remaining|deal_?(?:size|amount)|traded|executed_amount_base)$"
)
DEEP = 8  # names behind one another that a size is put together from


class Read(NamedTuple):
    """Operation `op` reads volatile state: `operand` of `order`, a name of the function."""

    op: int
    operand: int
    order: tuple[Root, str]


class StaleOrderState(Rule):
    id = "stale-order-state"
    severity = Severity.CRITICAL
    confidence = confidence(0)
    since = "0.1"
    effort = "M"
    cwe = (367, 362)
    models = ("exchange",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function, op, way in project.exchange.sites(PLACE):
            cancels = project.exchange.calls_in(function, CANCEL) if way.doubts < 2 else []
            for cancel, how in cancels:
                read = _stale(project, function, op, cancel, how) if cancel != op else None
                if read is not None:
                    yield _finding(project, function, op, way, cancel, how, read)
                    break


def _stale(project: Project, function: FunctionNode, op: int, cancel: int, how: Way) -> Read | None:
    """What the size of an order is made from that was read before the cancel; None if it is none, or known anew."""
    body, flow = function.body, project.flow(function)
    first, second = flow.block_of(cancel), flow.block_of(op)
    heads = {
        n
        for loop in flow.natural_loops
        if first in loop and second in loop
        for n in loop
        if all(flow.dominates(n, m) for m in loop)
    }
    after = onward(body, following(body, first), heads - {first, second})
    if not (second in after or first == second and op > cancel):
        return None
    named = project.arguments.operand(how, "id")
    orders = roots_of(body, named, cancel) if named != NONE else set()
    call = body.ops[op]
    if not isinstance(call, Call):
        return None
    for operand in (*call.args, *(value for _, value in call.keywords)):
        for read in _volatile(body, flow, operand, op, DEEP):
            if read.order not in orders and not (how.known.get("every") and orders == set()):
                continue
            if _before(flow, read.op, cancel) or _snapshot(body, flow, read, cancel):
                return read
    return None


def _volatile(body: Body, flow: Flow, operand: int, before: int, fuel: int) -> Iterator[Read]:
    """The reads of volatile state that a value is put together from."""
    place = body.places[operand]
    if fuel <= 0 or place.root is Root.CONST:
        return
    if place.path and place.root in (Root.LOCAL, Root.CELL) and _is_volatile(place):
        yield Read(before, operand, (place.root, str(place.name)))
        return
    if place.path or place.root not in (Root.LOCAL, Root.TEMP):
        return
    makers = [rank for rank, step in enumerate(body.ops) if operand in writes(step) and rank < before]
    if makers and _before(flow, makers[-1], before):
        makers = makers[-1:]  # it binds the name anew
    for rank in makers[-2:]:
        for each in reads(body.ops[rank]):
            yield from _volatile(body, flow, each, rank, fuel - 1)


def _is_volatile(place: Place) -> bool:
    kind, value = place.path[-1]
    name = value.text if isinstance(value, Const) else str(value) if kind is Select.ATTR else ""
    return len(place.path) == 1 and bool(VOLATILE.match(name))


def _before(flow: Flow, one: int, other: int) -> bool:
    """Whether an operation has run whenever another one does, before it."""
    first, second = flow.block_of(one), flow.block_of(other)
    return one < other if first == second else flow.dominates(first, second)


def _snapshot(body: Body, flow: Flow, read: Read, cancel: int) -> bool:
    """Whether a read after the cancel is of a dict that was filled before it."""
    if body.places[read.operand].path[-1].kind is Select.ATTR:
        return False
    root, name = read.order
    stores = [rank for rank, step in enumerate(body.ops) for w in writes(step) if _is(body.places[w], root, name)]
    return all(_before(flow, rank, cancel) for rank in stores)


def _is(place: Place, root: Root, name: str) -> bool:
    return place.root is root and place.name == name


def _finding(project: Project, function: FunctionNode, op: int, way: Way, cancel: int, how: Way, read: Read) -> Finding:
    line, column, end_line, end_column = function.at(op)
    said = _said(function, read)
    doubts = max(way.doubts, how.doubts)
    return Finding(
        rule=StaleOrderState.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name or 'the module'}() sizes an order by {said} from before the cancel: fills of that time count twice",
        symbol=function.symbol,
        confidence=Confidence.CERTAIN if doubts == 0 else confidence(doubts),
        proof=tuple(_steps(project, function, way, cancel, how, read, said)),
    )  # fmt: skip


def _said(function: FunctionNode, read: Read) -> str:
    body = function.body
    place = body.places[read.operand]
    _, value = place.path[-1]
    return f'{place.name}["{value.text}"]' if isinstance(value, Const) else describe(body, read.operand)


def _steps(
    project: Project, function: FunctionNode, way: Way, cancel: int, how: Way, read: Read, said: str
) -> Iterator[Step]:
    early = _before(project.flow(function), read.op, cancel)
    if early:
        yield project.step(function, read.op, f"{said} is read here", "read")
    else:
        first = next(
            (
                r
                for r, s in enumerate(function.body.ops)
                if isinstance(s, Store) and _is(function.body.places[s.dst], *read.order)
            ),
            NONE,
        )
        if first != NONE:
            yield project.step(function, first, f"{read.order[1]} is what the venue said here", "read")
    yield from steps(project, how)
    yield project.step(function, cancel, "fills can arrive while this waits for the venue", "gap")
    yield from steps(project, way)
