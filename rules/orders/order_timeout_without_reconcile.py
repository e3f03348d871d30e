"""
Unknown outcome of an order taken for "not placed"

## What it finds
A handler around a call that places an order which takes a failure of unknown outcome (a timeout, a lost connection, every
exception) and leaves with a neutral or failing answer, without asking the venue, recording the order as unknown, or raising.

## Why it matters
The order may rest on the book or be filled already. The bot believes that it is flat: it has a position without a stop, and
opens the next one on top of it.

## Bad
```python
import asyncio

import ccxt.async_support as ccxt

client = ccxt.binance()


async def enter(symbol, amount):
    try:
        return await asyncio.wait_for(client.create_order(symbol, "market", "buy", amount), 5)
    except asyncio.TimeoutError:
        return None
```

## Good
Ask the venue before you answer, or raise: the caller must not read "not placed" from "not known".

```python
import asyncio

import ccxt.async_support as ccxt

client = ccxt.binance()


async def enter(symbol, amount):
    try:
        return await asyncio.wait_for(client.create_order(symbol, "market", "buy", amount), 5)
    except asyncio.TimeoutError:
        return await find(symbol, amount)


async def find(symbol, amount):
    for order in await client.fetch_open_orders(symbol):
        if order["amount"] == amount:
            return order
    raise LookupError(symbol)
```

## Limits
Anything in the handler that reads orders, or whose name speaks of an open outcome (unknown, pending, reconcile, sync, halt),
silences the rule, and so does an order that was recorded before it was sent, unless the handler marks it as failed. What the
project reads of open orders elsewhere makes the finding likely and of medium severity: how long the gap is, is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Body, Call, Collect, Const, Op, Raise, Return, Root, Select, Store, Table
from auditor.finding import Finding, Severity, Step
from auditor.project.exchange import PLACE, READS_OPEN, READS_ORDER, Way, discarded
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name
from auditor.project.outcomes import Handler
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._chains import confidence, ends, onward, reading_blocks, steps

KNOWS = re.compile(
    r"(?i)unknown|pending|reconcil|sync|recover|orphan|in_?doubt|verify|resolve|schedule|restart|reload|refresh|halt|kill|panic|emergency|shutdown"
    r"|suspend|quarantine|recheck|unconfirmed|uncertain|lost|stop_trading|set_exception|circuit|breaker|re_?sched|queue"
)
RECORDS = re.compile(
    r"(?i)_*(start_)?(track|register|record|remember|journal|persist|add_order|insert_order|save_order|store_order)"
)
FAILS = re.compile(r"(?i)fail|reject|cancel|expire|not_?found|untrack|stop_tracking|remove|discard|error_?state")
NEUTRAL = frozenset({"none", "bool", "int", "float", "str"})
DEPTH = 2  # calls of a handler that are looked into
NOTHING = "None"


class Left(NamedTuple):
    """How a handler ends: `op` shows it, `what` in words; `marks` says that it marks the order as failed."""

    op: int
    what: str
    marks: bool = False


class OrderTimeoutWithoutReconcile(Rule):
    id = "order-timeout-without-reconcile"
    severity = Severity.CRITICAL
    confidence = confidence(0)
    since = "0.1"
    effort = "M"
    cwe = (703, 394)
    models = ("exchange",)
    implies = ("bare-except",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        seen: set[tuple[FunctionNode, int]] = set()
        for function, op, way in project.exchange.sites(PLACE):
            if way.known.get("queued") or way.doubts > 1 or not project.outcomes.comes_up(way):
                continue
            for handler in project.outcomes.handlers(function, op, way):
                if not handler.unknown or (function, handler.op) in seen:
                    continue
                left = _left(project, function, op, handler)
                if left is not None:
                    seen.add((function, handler.op))
                    yield _finding(project, function, op, way, handler, left)


# --- how the handler ends -------------------------------------------------------------------------------------------


def _left(project: Project, function: FunctionNode, op: int, handler: Handler) -> Left | None:
    """How a handler leaves with the order taken for not placed; None if it does not."""
    body, flow = function.body, project.flow(function)
    block = flow.block_of(op)
    if block in onward(body, [handler.block]) and not _next_turn(project, function, op):
        return None  # it is sent again, which is another rule's business
    came = onward(body, [handler.block], {block})
    own = {n for n in came if _within(body, n, handler)}
    if came & (reading_blocks(project, function) - {block}) or any(
        _knows(project, function, r, DEPTH) for r in _ranks(body, own)
    ):
        return None
    if any(isinstance(body.ops[r], Raise) for r in _ranks(body, own)):
        return None
    fails = next((r for r in _ranks(body, own) if _says(project, function, r, FAILS, DEPTH)), NONE)
    if _recorded(project, function, op) and fails == NONE:
        return None
    if fails != NONE:
        return Left(fails, "the order is marked as failed", marks=True)
    return _answer(project, function, op, came, own, handler)


def _answer(
    project: Project, function: FunctionNode, op: int, came: set[int], own: set[int], handler: Handler
) -> Left | None:
    """A neutral answer: a constant, an empty collection, or none at all where a success has one."""
    body = function.body
    returns = [
        r
        for n in sorted(came)
        for r in range(body.blocks[n].start, body.blocks[n].end)
        if isinstance(body.ops[r], Return)
    ]
    inside = [r for r in returns if any(body.blocks[n].start <= r < body.blocks[n].end for n in own)]
    answers = inside or returns
    if answers and not all(_is_neutral(body, r) for r in answers):
        return None
    if not answers and not ends(body, came):
        return None if discarded(function, op) else Left(handler.op, "the loop goes on with the next one")
    if discarded(function, op) and not any(_is_neutral(body, r, empty=False) for r in inside):
        return None  # nothing says what became of the order, neither after a success
    rank = answers[0] if answers else handler.op
    given = body.ops[rank]
    literal = body.places[given.src].name if isinstance(given, Return) and given.src != NONE else None
    what = (
        f"{function.name}() answers {literal.text or NOTHING}"
        if isinstance(literal, Const)
        else f"{function.name}() goes on without the order"
    )
    return Left(rank, what)


def _is_neutral(body: Body, rank: int, *, empty: bool = True) -> bool:
    step = body.ops[rank]
    if not isinstance(step, Return) or step.src == NONE:
        return empty
    place = body.places[step.src]
    if isinstance(place.name, Const):
        return place.name.kind in NEUTRAL and (empty or place.name.kind != "none")
    maker = next((o for o in reversed(body.ops[:rank]) if step.src in writes(o)), None)
    return isinstance(maker, Collect | Table) and not (maker.items if isinstance(maker, Collect) else maker.values)


def _next_turn(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether a success comes back to the call as well: it is a loop over orders, not a retry."""
    body, block = function.body, project.flow(function).block_of(op)
    return block in onward(body, [t for _, t in body.blocks[block].edges if t >= 0])


def _within(body: Body, number: int, handler: Handler) -> bool:
    region, wanted = body.blocks[number].region, body.blocks[handler.block].region
    while region != NONE:
        if region == wanted:
            return True
        region = body.regions[region].parent
    return False


def _ranks(body: Body, blocks: set[int]) -> Iterator[int]:
    for number in sorted(blocks):
        yield from range(body.blocks[number].start, body.blocks[number].end)


# --- what the handler says ------------------------------------------------------------------------------------------


def _knows(project: Project, function: FunctionNode, rank: int, depth: int) -> bool:
    """Whether an operation says that the outcome is open: by what it calls, stores or names."""
    return _says(project, function, rank, KNOWS, depth)


def _says(project: Project, function: FunctionNode, rank: int, words: re.Pattern[str], depth: int) -> bool:
    body, step = function.body, function.body.ops[rank]
    if isinstance(step, Call):
        name = last_name(function, step)
        if _is_log(function, step):
            return False
        if words.search(name):
            return True
        if any(_names(body, a, words) for a in (*step.args, *(v for _, v in step.keywords))):
            return True
        result = project.calls(function).get(rank)
        targets = [t.function for t in result.targets if not t.wrapper][:3] if result is not None and depth else []
        return any(_says(project, t, r, words, depth - 1) for t in targets for r in range(len(t.body.ops)))
    return isinstance(step, Store) and (_names(body, step.src, words) or _stored(body, step, words))


def _stored(body: Body, step: Store, words: re.Pattern[str]) -> bool:
    place = body.places[step.dst]
    return bool(place.path) and any(kind is Select.ATTR and words.search(str(value)) for kind, value in place.path)


def _names(body: Body, operand: int, words: re.Pattern[str]) -> bool:
    """Whether a value is a state by its name: `OrderState.FAILED`, `"unknown"`."""
    place = body.places[operand]
    if isinstance(place.name, Const):
        return place.name.kind == "str" and len(place.name.text) < 30 and bool(words.search(place.name.text))
    return bool(place.path) and place.path[-1].kind is Select.ATTR and bool(words.search(str(place.path[-1].value)))


def _is_log(function: FunctionNode, call: Call) -> bool:
    name = last_name(function, call)
    return name in ("debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print", "network")


def _recorded(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether the order is written down before it is sent: in an attribute by key, or by a call that says so."""
    body, flow = function.body, project.flow(function)
    block = flow.block_of(op)
    for rank, step in enumerate(body.ops[:op]):
        if not flow.dominates(flow.block_of(rank), block):
            continue
        if isinstance(step, Call) and RECORDS.match(last_name(function, step)):
            return True
        if isinstance(step, Store) and _is_kept(body, step):
            return True
    return False


def _is_kept(body: Body, step: Op) -> bool:
    place = body.places[writes(step)[0]]
    return (
        bool(place.path)
        and place.path[-1].kind is not Select.ATTR
        and place.root is not Root.TEMP
        and bool(reads(step))
        and len(place.path) > 1
    )


# --- the finding ----------------------------------------------------------------------------------------------------


def _elsewhere(project: Project) -> tuple[FunctionNode, int] | None:
    """Where the project reads the open orders, or all orders."""
    found = [
        (verb != READS_OPEN, -len(way.hops), function.key, op, function)
        for verb in (READS_OPEN, READS_ORDER)
        for function, op, way in project.exchange.sites(verb)
        if (verb == READS_OPEN or way.path.endswith(("orders", "orders()")))
        and "test" not in f"{function.path}{function.symbol}"
    ]
    best = min(found, key=lambda each: each[:4], default=None)
    return (best[4], best[3]) if best is not None else None


def _finding(project: Project, function: FunctionNode, op: int, way: Way, handler: Handler, left: Left) -> Finding:
    line, column, _, _ = function.at(handler.op)
    elsewhere = _elsewhere(project)
    doubts = way.doubts + (len(way.hops) > 1 or way.venue is not None or elsewhere is not None)
    return Finding(
        rule=OrderTimeoutWithoutReconcile.id, path=function.path,
        line=line, column=column, end_line=line, end_column=column + len("except"),
        message=f"{function.name or 'the module'}() takes {_name(handler)} for \"not placed\": the order may rest at the venue",
        symbol=function.symbol,
        severity=Severity.MEDIUM if elsewhere is not None else Severity.CRITICAL,
        confidence=confidence(min(doubts, 1)),
        proof=tuple(_steps(project, function, way, handler, left, elsewhere)),
    )  # fmt: skip


def _name(handler: Handler) -> str:
    return "every exception" if handler.family == "any" else handler.name.rpartition(".")[2]


def _steps(
    project: Project,
    function: FunctionNode,
    way: Way,
    handler: Handler,
    left: Left,
    elsewhere: tuple[FunctionNode, int] | None,
) -> Iterator[Step]:
    yield from steps(project, way)
    yield project.step(
        function, handler.op, f"{handler.name} is taken here: the outcome of the order is unknown", "except"
    )
    yield project.step(function, left.op, left.what, "answer")
    for caller, site in project.exchange.callers(function)[:1]:
        yield project.step(caller, site, f'{caller.name or "the module"}() reads "not placed" from it', caller.name)
    if elsewhere is not None:
        where, op = elsewhere
        yield project.step(
            where, op, f"{where.name}() reads orders: until it has run the bot does not know of this one", "reads"
        )
