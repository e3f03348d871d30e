"""
Cancel whose failure is not seen

## What it finds
An order that is placed after a cancel whose failure nobody looks at: the wrapper gives `False`, `None` or the old order and
the result is dropped, a handler passes over it, or `gather(..., return_exceptions=True)` collects it unread.

## Why it matters
A cancel fails most often because the order has just been filled. The replacement is then filled as well: the position is
doubled, or an exit sells what is no longer held.

## Bad
```python
import ccxt.async_support as ccxt

client = ccxt.binance()


async def cancel(order_id, symbol):
    try:
        await client.cancel_order(order_id, symbol)
        return True
    except ccxt.ExchangeError:
        return False


async def replace(order_id, symbol, side, amount, price):
    await cancel(order_id, symbol)
    await client.create_order(symbol, "limit", side, amount, price)
```

## Good
Place only what is left once the cancel is confirmed: test its result, and read the order again where it has failed.

```python
import ccxt.async_support as ccxt

client = ccxt.binance()


async def cancel(order_id, symbol):
    try:
        await client.cancel_order(order_id, symbol)
        return True
    except ccxt.ExchangeError:
        return False


async def replace(order_id, symbol, side, amount, price):
    if not await cancel(order_id, symbol):
        return
    await client.create_order(symbol, "limit", side, amount, price)
```

## Limits
A failure that is raised past the second order is seen, and so is one after which orders or positions are read. A cancel that
is only queued has no result to look at. Where neither order, symbol nor object connect the two calls there is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Await, Body, Branch, Call, Const, Return, Root
from auditor.finding import Finding, Severity, Step
from auditor.project.exchange import CANCEL, PLACE, Way, discarded
from auditor.project.flow import Flow
from auditor.project.graph import last_name
from auditor.project.outcomes import Handler
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.uses import uses_of
from auditor.rule import Rule

from ._chains import confidence, ends, following, onward, reading_blocks, roots_of, steps

LOGS = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print"})
LINKS = ("id", "symbol")


class Unseen(NamedTuple):
    """Where the failure of a cancel disappears: in `function`, at handler `handler`; `how` is wrapper, handler or gather."""

    how: str
    function: FunctionNode
    op: int
    name: str


class UncheckedCancelResult(Rule):
    id = "unchecked-cancel-result"
    severity = Severity.CRITICAL
    confidence = confidence(0)
    since = "0.1"
    effort = "M"
    cwe = (252, 362)
    models = ("exchange",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function, op, way in project.exchange.sites(CANCEL):
            if way.known.get("queued") or way.doubts > 1:
                continue
            placed = [(other, second) for other, second in project.exchange.calls_in(function, PLACE) if other != op]
            unseen = _unseen(project, function, op, way) if placed else None
            for other, second in placed if unseen is not None else ():
                linked = _linked(project, function, op, way, other, second)
                if linked is not None and unseen is not None and _comes_after(project, function, op, other, unseen):
                    yield _finding(project, function, op, way, second, unseen, linked)
                    break


# --- where the failure disappears -----------------------------------------------------------------------------------


def _unseen(project: Project, function: FunctionNode, op: int, way: Way) -> Unseen | None:
    for handler in project.outcomes.handlers(function, op, way):
        if handler.kind != "other" and _goes_on(function.body, handler):
            return Unseen("handler", function, handler.op, handler.name)
    if _gathered(function, op):
        return Unseen("gather", function, op, "gather")
    if not _dropped(project, function, op):
        return None
    found: list[tuple[bool, Unseen]] = []
    for level in range(1, len(way.hops)):
        inner, call = way.hops[level]
        for handler in project.outcomes.handlers(inner, call, way._replace(hops=way.hops[level:])):
            if handler.kind != "other" and _gives_value(inner.body, handler):
                found.append((not handler.unknown, Unseen("wrapper", inner, handler.op, handler.name)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _goes_on(body: Body, handler: Handler) -> bool:
    """Whether the function goes on after a handler."""
    return bool(onward(body, [handler.block]))


def _gives_value(body: Body, handler: Handler) -> bool:
    """Whether some way through a handler leaves the function without an exception."""
    return bool(ends(body, onward(body, [handler.block])))


def _gathered(function: FunctionNode, op: int) -> bool:
    """`await gather(cancel(a), cancel(b), return_exceptions=True)` whose results nobody reads."""
    body = function.body
    call = body.ops[op]
    for rank, step in enumerate(body.ops):
        if (
            isinstance(step, Call)
            and isinstance(call, Call)
            and call.dst in step.args
            and last_name(function, step) == "gather"
        ):
            kept = next((v for name, v in step.keywords if name == "return_exceptions"), NONE)
            literal = body.places[kept].name if kept != NONE else None
            return isinstance(literal, Const) and literal.text == "True" and discarded(function, rank)
    return False


def _dropped(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether nothing but a log looks at what a call gives; a call that is handed on is not looked at here."""
    body, call = function.body, function.body.ops[op]
    following = body.ops[op + 1] if op + 1 < len(body.ops) else None
    awaited = isinstance(following, Await) and isinstance(call, Call) and following.src == call.dst
    if discarded(function, op):
        return awaited or not _is_coroutine(project, function, op)
    uses = uses_of(function, project.flow(function), op + 1 if awaited else op)
    if not awaited and _is_coroutine(project, function, op):
        return False
    return all(
        use.how == "format" or isinstance(step := body.ops[use.op], Call) and last_name(function, step) in LOGS
        for use in uses
    )


def _is_coroutine(project: Project, function: FunctionNode, op: int) -> bool:
    return project.awaitables.coroutine(function, op) is not None


# --- what follows ---------------------------------------------------------------------------------------------------


def _comes_after(project: Project, function: FunctionNode, op: int, other: int, unseen: Unseen) -> bool:
    """Whether the order can be placed after the failed cancel, without a look at the venue between."""
    body, flow = function.body, project.flow(function)
    first, second = flow.block_of(op), flow.block_of(other)
    asked = reading_blocks(project, function) - {first, second}
    asked |= _asks_again(project, function, op, other)
    if unseen.how == "handler":
        starts = [
            next(
                h.block
                for h in project.outcomes.handlers(function, op, _way(project, function, op))
                if h.op == unseen.op
            )
        ]
    else:
        if first == second:
            return other > op
        starts = following(body, first)
    return second in onward(body, starts, asked | _turns(flow, first, second))


def _way(project: Project, function: FunctionNode, op: int) -> Way:
    return project.exchange.at(function, op)[CANCEL]


def _turns(flow: Flow, first: int, second: int) -> set[int]:
    """Heads of the loops that both blocks lie in: the next turn is another order."""
    heads: set[int] = set()
    for loop in flow.natural_loops:
        if first in loop and second in loop:
            heads |= {n for n in loop if all(flow.dominates(n, m) for m in loop)} - {first, second}
    return heads


def _asks_again(project: Project, function: FunctionNode, op: int, other: int) -> set[int]:
    """Blocks that run only if the order is found to be gone, by its own state: `if order.is_open: return`."""
    body, flow = function.body, project.flow(function)
    call = body.ops[op]
    names = {x for a in getattr(call, "args", ()) for x in roots_of(body, a, op)} - {(Root.LOCAL, function.self_name)}
    second = flow.block_of(other)
    for branch, _ in flow.guards(second):
        test = body.ops[branch]
        after = flow.block_of(branch) in onward(body, [flow.block_of(op)]) and branch > op
        if isinstance(test, Branch) and after and names & roots_of(body, test.test, branch):
            return {second}
    return set()


def _linked(project: Project, function: FunctionNode, op: int, way: Way, other: int, second: Way) -> int | None:
    """How surely both calls mean the same order: 0 the order itself, 1 the symbol or the object that does both; None."""
    body, arguments = function.body, project.arguments
    one, two = body.ops[op], body.ops[other]
    if not isinstance(one, Call) or not isinstance(two, Call):
        return None
    order = arguments.operand(way, "id")
    own = {(Root.LOCAL, function.self_name)}
    named = (roots_of(body, order, op) if order != NONE else set()) - own
    given = {x for a in (*two.args, *(v for _, v in two.keywords)) for x in roots_of(body, a, other)} - own
    if named & given:
        return 0
    symbols = [arguments.operand(way, "symbol"), arguments.operand(second, "symbol")]
    if NONE not in symbols:
        return 1 if str(body.places[symbols[0]]) == str(body.places[symbols[1]]) else None
    if way.known.get("every"):
        return None
    mine = [body.places[c.callee] for c in (one, two)]
    same = all(p.root is Root.LOCAL and p.name == function.self_name and p.path for p in mine)
    return 1 if same else None


# --- the finding ----------------------------------------------------------------------------------------------------


def _finding(
    project: Project, function: FunctionNode, op: int, way: Way, second: Way, unseen: Unseen, linked: int
) -> Finding:
    line, column, end_line, end_column = function.at(op)
    doubts = max(linked, way.doubts, second.doubts)
    return Finding(
        rule=UncheckedCancelResult.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name or 'the module'}() places an order after a cancel whose failure it does not see: both may be filled",
        symbol=function.symbol,
        confidence=confidence(doubts),
        proof=tuple(_steps(project, function, op, way, second, unseen)),
    )  # fmt: skip


def _steps(project: Project, function: FunctionNode, op: int, way: Way, second: Way, unseen: Unseen) -> Iterator[Step]:
    yield from steps(project, way)
    name = unseen.name
    if unseen.how == "gather":
        yield project.step(function, unseen.op, "gather collects the failure, and nobody reads what it gives", "gather")
    else:
        yield project.step(unseen.function, unseen.op, f"a failure of the cancel ends here: {name} is taken", "except")
    if unseen.how == "wrapper":
        gives = _returned(unseen.function, unseen.op)
        if gives is not None:
            yield project.step(
                unseen.function, gives[0], f"{unseen.function.name}() gives {gives[1]} instead", f"return {gives[1]}"
            )
        yield project.step(function, op, f"{function.name}() does not look at what it gets", "discarded")
    yield from steps(project, second)


def _returned(function: FunctionNode, catch: int) -> tuple[int, str] | None:
    """The first return behind a handler, with what it gives where that is a constant."""
    body = function.body
    start = next((n for n, b in enumerate(body.blocks) if b.start <= catch < b.end), NONE)
    for number in sorted(onward(body, [start])):
        for rank in range(body.blocks[number].start, body.blocks[number].end):
            step = body.ops[rank]
            if isinstance(step, Return):
                literal = body.places[step.src].name if step.src != NONE else None
                return rank, literal.text if isinstance(literal, Const) else "a value"
    return None
