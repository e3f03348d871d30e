"""
Order sent again without a client id

## What it finds
A call that places an order and can run again after a failure that leaves its outcome open (a timeout, a lost connection),
by a loop, a retry decorator or a second call in the handler, without a client order id that is the same on each attempt.

## Why it matters
The venue may have accepted the first order before the answer was lost. The second one is filled as well: the position is
twice what the risk checks have allowed, and the bot knows of one half of it.

## Bad
```python
import asyncio

import ccxt.async_support as ccxt

client = ccxt.binance()


async def enter(symbol, side, amount):
    for attempt in range(3):
        try:
            return await client.create_order(symbol, "market", side, amount)
        except ccxt.NetworkError:
            await asyncio.sleep(2**attempt)
```

## Good
Make the id before the first attempt and send it with each: the venue refuses the second order of one id. Or ask the venue
for the order before it is sent again.

```python
import asyncio

import ccxt.async_support as ccxt

client = ccxt.binance()


async def enter(symbol, side, amount, key):
    for attempt in range(3):
        try:
            return await client.create_order(symbol, "market", side, amount, None, {"clientOrderId": key})
        except ccxt.NetworkError:
            await asyncio.sleep(2**attempt)
```

## Limits
A loop counts as a retry if a success leaves it and symbol, side and amount are not made anew in it; a loop over signals is
none, also where it sends one of them twice. Ids in a dict that is built out of sight are taken to be there, and so is the
id that a class around the client adds. Whether the venue refuses a second order of one id is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Body, Branch, Root, Store
from auditor.finding import Finding, Severity, Step
from auditor.project.exchange import PLACE, READS_OPEN, READS_ORDER, Way
from auditor.project.order_arguments import ABSENT, MADE, Origin
from auditor.project.outcomes import Handler
from auditor.project.project import Project
from auditor.project.retries import retries_of
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._chains import confidence, following, onward, reading_blocks, roots_of, steps, written_in

SLOTS = ("symbol", "side", "amount")
ASKS = (READS_ORDER, READS_OPEN)


class Again(NamedTuple):
    """How an order is sent again: `kind` is loop, handler (a second call in it) or decorator; `op` shows it, `where` the
    function it stands in, `blocks` are those of the loop."""

    kind: str
    where: FunctionNode
    op: int
    handler: Handler | None
    blocks: frozenset[int]
    doubts: int = 0


class RetriedOrderWithoutClientId(Rule):
    id = "retried-order-without-client-id"
    severity = Severity.CRITICAL
    confidence = confidence(0)
    since = "0.1"
    effort = "S"
    cwe = (837,)
    models = ("exchange",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function, op, way in project.exchange.sites(PLACE):
            if way.known.get("queued") or way.doubts > 1 or not project.outcomes.comes_up(way):
                continue
            origin = project.arguments.client_id(way)
            again = _again(project, function, op, way)
            if again is not None and _new_each_time(project, function, op, origin, again):
                yield _finding(project, function, op, way, origin, again)


# --- how it is sent again -------------------------------------------------------------------------------------------


def _again(project: Project, function: FunctionNode, op: int, way: Way) -> Again | None:
    handlers = [h for h in project.outcomes.handlers(function, op, way) if h.unknown]
    for handler in handlers:
        found = _by_loop(project, function, op, way, handler) or _by_second_call(project, function, op, way, handler)
        if found is not None:
            return found
    retry = retries_of(project, function, way) if len(way.hops) == 1 else None
    return Again("decorator", retry.function, retry.op, None, frozenset(), retry.doubts) if retry is not None else None


def _by_loop(project: Project, function: FunctionNode, op: int, way: Way, handler: Handler) -> Again | None:
    """A loop that a success leaves and this handler comes back in."""
    flow, body = project.flow(function), function.body
    block = flow.block_of(op)
    asked = reading_blocks(project, function, ASKS)
    for loop in sorted((x for x in flow.natural_loops if block in x and handler.block in x), key=len):
        outside = set(range(len(body.blocks))) - loop
        came = onward(body, [handler.block], outside | asked)
        after = onward(body, following(body, block), outside)
        if block not in came or block in onward(body, following(body, block), outside | _settled(body, loop, after)):
            continue
        if not _varies(project, function, op, way, loop):
            return Again("loop", function, op, handler, loop)
    return None


def _settled(body: Body, loop: frozenset[int], after: set[int]) -> set[int]:
    """Blocks that end with a test, which may leave the loop, of a name that a success has bound: `while order is None`."""
    bound = {
        body.places[w].name
        for n in after
        for r in range(body.blocks[n].start, body.blocks[n].end)
        if isinstance(step := body.ops[r], Store)
        for w in (step.dst,)
        if body.places[w].root is Root.LOCAL and not body.places[w].path
    }
    found: set[int] = set()
    for number in loop:
        block = body.blocks[number]
        last = body.ops[block.end - 1] if block.end > block.start else None
        if not isinstance(last, Branch) or all(target in loop for _, target in block.edges):
            continue
        if any(root is Root.LOCAL and name in bound for root, name in roots_of(body, last.test, block.end - 1)):
            found.add(number)
    return found


def _varies(project: Project, function: FunctionNode, op: int, way: Way, loop: frozenset[int]) -> bool:
    """Whether each turn of a loop has an order of its own: what is traded is made in it."""
    body = function.body
    written = written_in(body, loop)
    operands = [project.arguments.operand(way, slot) for slot in SLOTS]
    names = {name for operand in operands if operand != NONE for name in roots_of(body, operand, op)}
    if not names:
        names = {name for operand in _arguments(body.ops[op]) for name in roots_of(body, operand, op)}
    return bool(names & written)


def _arguments(call: object) -> tuple[int, ...]:
    return (*getattr(call, "args", ()), *(value for _, value in getattr(call, "keywords", ())))


def _by_second_call(project: Project, function: FunctionNode, op: int, way: Way, handler: Handler) -> Again | None:
    """A handler that places the same order itself."""
    body, flow = function.body, project.flow(function)
    asked = reading_blocks(project, function, ASKS)
    came = onward(body, [handler.block], asked)
    for other, second in project.exchange.calls_in(function, PLACE):
        if other == op or flow.block_of(other) not in came or not _inside(project, function, other, handler):
            continue
        same = [
            _spelled(project, function, way, slot) == _spelled(project, function, second, slot) != "" for slot in SLOTS
        ]
        if same[0] and same[2]:
            return Again("handler", function, other, handler, frozenset())
    return None


def _inside(project: Project, function: FunctionNode, op: int, handler: Handler) -> bool:
    """Whether an operation belongs to a handler."""
    body = function.body
    region, wanted = body.blocks[project.flow(function).block_of(op)].region, body.blocks[handler.block].region
    while region != NONE:
        if region == wanted:
            return True
        region = body.regions[region].parent
    return False


def _spelled(project: Project, function: FunctionNode, way: Way, slot: str) -> str:
    operand = project.arguments.operand(way, slot)
    return str(function.body.places[operand]) if operand != NONE else ""


# --- the id ---------------------------------------------------------------------------------------------------------


def _new_each_time(project: Project, function: FunctionNode, op: int, origin: Origin, again: Again) -> bool:
    """Whether each attempt has another id, or none."""
    if origin.state == ABSENT:
        return True
    if origin.state != MADE or origin.site is None:
        return False
    if origin.level > 0 or again.kind == "decorator":
        return True
    return again.kind == "loop" and project.flow(function).block_of(origin.site[1]) in again.blocks


# --- the finding ----------------------------------------------------------------------------------------------------


def _finding(project: Project, function: FunctionNode, op: int, way: Way, origin: Origin, again: Again) -> Finding:
    line, column, end_line, end_column = function.at(op)
    reduces = project.arguments.operand(way, "reduces") != NONE
    id_ = "a new client id each time" if origin.state == MADE else "no client id"
    by = {"loop": "in a loop", "handler": "in the handler", "decorator": "by its decorator"}[again.kind]
    doubts = way.doubts + (len(way.hops) > 1 or way.venue is not None) + again.doubts
    return Finding(
        rule=RetriedOrderWithoutClientId.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name or 'the module'}() sends an order again {by}, with {id_}, when it may have been accepted already",
        symbol=function.symbol,
        severity=Severity.MEDIUM if reduces else Severity.CRITICAL,
        confidence=confidence(2 if reduces else min(doubts, 1)),
        proof=tuple(_steps(project, way, origin, again)),
    )  # fmt: skip


def _steps(project: Project, way: Way, origin: Origin, again: Again) -> Iterator[Step]:
    yield from steps(project, way)
    if again.handler is not None:
        name = again.handler.name
        yield project.step(
            again.where, again.handler.op, f"{name} is taken here: the outcome of the order is unknown", "except"
        )
    if again.kind == "handler":
        yield project.step(again.where, again.op, "and the same order is sent a second time", "again")
    elif again.kind == "loop":
        yield project.step(
            again.where,
            again.op,
            "and the loop comes back to the call: a success leaves it, a failure sends again",
            "again",
        )
    else:
        yield project.step(
            again.where, again.op, f"{again.where.name}() runs the function again after such a failure", "again"
        )
    if origin.state == MADE and origin.site is not None:
        yield project.step(*origin.site, "the client id is made anew for each attempt", "client id")
    else:
        yield project.step(*way.last, "client id: none", "client id")
