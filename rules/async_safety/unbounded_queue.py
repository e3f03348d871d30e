"""
Queue without a capacity

## What it finds
A queue without `maxsize` between a producer that nothing slows - a stream, a callback, a loop without end - and a consumer that
waits for the network, a disk or a database on each item. And a bounded queue of orders or fills into which `put_nowait` puts
without handling that it is full.

## Why it matters
When the consumer falls behind, in the busiest minute of the market, every tick waits in memory: the bot decides on prices of
minutes ago without knowing it, until the process is killed. A full queue that nobody handles loses the fill instead.

## Bad
```python
import asyncio

import websockets


class Recorder:
    def __init__(self, database):
        self._database = database
        self._ticks = asyncio.Queue()

    async def read(self, url):
        async with websockets.connect(url) as socket:
            while True:
                tick = await socket.recv()
                await self._ticks.put(tick)

    async def write(self):
        while True:
            tick = await self._ticks.get()
            await self._database.insert(tick)
```

## Good
Give the queue a capacity, and say what happens when it is full: the producer waits, or the oldest item is dropped and counted.

```python
import asyncio

import websockets


class Recorder:
    def __init__(self, database):
        self._database = database
        self._ticks = asyncio.Queue(maxsize=10_000)

    async def read(self, url):
        async with websockets.connect(url) as socket:
            while True:
                tick = await socket.recv()
                await self._ticks.put(tick)

    async def write(self):
        while True:
            tick = await self._ticks.get()
            await self._database.insert(tick)
```

## Limits
How fast items come and go is not in the source, so a finding is possible, never more. A queue is followed through names, arguments
and attributes of `self`; one that goes elsewhere, one without a consumer in the project, and one whose capacity is a value that is
not known are left alone. So are queues that are filled once, that are drained as a whole, whose size somebody looks at, and whose
producer waits for the answer to what it has put.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    NONE,
    Await,
    Branch,
    Call,
    Catch,
    Compare,
    Iterate,
    Next,
    Place,
    Root,
    Store,
    Unary,
    Yield,
)
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.flow import reads
from auditor.project.graph import Node, last_name, method_of
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.uses import maker
from auditor.rule import Rule

from ._queues import GETS, PUTS, Access, Queue, Queues
from ._sources import MARKET, Again, Sources, io_below, loop_source, loops_around, points_of

ORDERS = re.compile(r"(?i)(?<![a-z])(orders?|fills?|executions?|trade_reports?|cancels?)(?![a-z])(?!_?book)")
FUTURES = frozenset({"create_future", "Future", "Event"})
MAX_CLASSES = 20  # that one queue is looked at for
CATCHES = frozenset({"Full", "QueueFull", "Exception", "BaseException"})


class Consumed(NamedTuple):
    """An item is taken by `get`, and then the consumer waits at `node`, `op` for something outside; `chain` leads there."""

    get: Access
    chain: list[tuple[Node, int]]


class UnboundedQueue(Rule):
    id = "unbounded-queue"
    severity = Severity.LOW
    confidence = Confidence.POSSIBLE
    since = "0.1"
    effort = "S"
    cwe = (770,)
    models = ("growth", "blocking")

    def check_project(self, project: Project) -> Iterator[Finding]:
        sources, queues = Sources(project), Queues(project)
        told: set[Access] = set()  # of queues that subclasses make anew under one name: one object, one finding
        for queue in sorted(queues.made(), key=_generality):
            accesses = queues.accesses(queue)
            if not accesses:
                continue
            if queue.capacity != "none":
                yield from _overflows(project, queue, accesses)
                continue
            if told.isdisjoint(accesses):
                found = next((f for part in _parts(queue, accesses) if (f := _grows(project, sources, queue, part)) is not None), None)
                if found is not None:
                    told.update(a for a in accesses if a.method in GETS)
                    yield found


def _generality(queue: Queue) -> tuple[object, ...]:
    """Queues of base classes first, then by path and place."""
    method = method_of(queue.function)
    return (len(method.cls.mro) if method is not None and method.cls is not None else 0, queue.function.key, queue.op)


def _parts(queue: Queue, accesses: list[Access]) -> Iterator[list[Access]]:
    """The accesses of one object: for each class that a queue can belong to, those in methods that such an object has."""
    method = method_of(queue.function)
    if method is None or method.cls is None:
        yield accesses
        return
    family = {method.cls, *method.cls.mro, *method.cls.descendants()}
    for cls in sorted({method.cls, *method.cls.descendants()}, key=lambda c: (len(c.mro), c.key))[:MAX_CLASSES]:
        yield [a for a in accesses if (own := method_of(a.function)) is None or own.cls not in family or cls.method(own.name) is own]


# --- a queue that grows ---------------------------------------------------------------------------------------------


def _grows(project: Project, sources: Sources, queue: Queue, accesses: list[Access]) -> Finding | None:
    puts = [a for a in accesses if a.method in PUTS]
    gets = [a for a in accesses if a.method in GETS]
    producers = {a.function for a in puts}
    if not puts or not gets or any(_decides(a, producers) for a in accesses):
        return None
    if any(a.function in producers for a in gets):  # lent and given back
        return None
    if any(_drains(project, get) for get in gets):
        return None
    consumed = next((c for get in gets if (c := _consumed(project, get)) is not None), None)
    if consumed is None:
        return None
    for put in puts:
        again = sources.again(put.function, put.op) if not _answered(project, put) and not _ends(project, put) else None
        if again is not None and again.source.function is not consumed.get.function:
            return _finding(project, queue, put, again, consumed)
    return None


def _decides(access: Access, producers: set[FunctionNode]) -> bool:
    """Whether something depends on the size of a queue: it is compared or tested, or a producer waits for its end."""
    if access.method == "join":
        return access.function in producers
    call = access.function.body.ops[access.op]
    if access.method not in ("qsize", "empty") or not isinstance(call, Call):
        return False
    if access.method == "empty" and access.function not in producers:
        return False
    return any(
        isinstance(step, Compare | Branch | Unary) and call.dst in reads(step) for step in access.function.body.ops
    )


def _drains(project: Project, get: Access) -> bool:
    """`while not q.empty(): q.get_nowait()`: all that is there is taken at once."""
    if get.method != "get_nowait":
        return False
    function, ops = get.function, get.function.body.ops
    around = loops_around(project.flow(function), get.op)
    return any(not any(isinstance(ops[r], Await) for r in loop.operations(function)) for loop in around)


def _ends(project: Project, put: Access) -> bool:
    """Whether a put stands in loops that all go over something finite: they fill the queue for one turn."""
    around = loops_around(project.flow(put.function), put.op)
    return bool(around) and all(loop_source(project, put.function, loop) is None for loop in around)


def _answered(project: Project, put: Access) -> bool:
    """Whether the producer waits for the answer to what it puts: a future goes with it."""
    function = put.function
    made = any(isinstance(step, Call) and last_name(function, step) in FUTURES for step in function.body.ops)
    awaited = any(
        isinstance(step, Await) and not _is_put(function, step) and rank > put.op
        for rank, step in enumerate(function.body.ops)
    )
    return made and awaited


def _is_put(function: FunctionNode, step: Await) -> bool:
    made = maker(function, step.src)
    call = function.body.ops[made] if made != NONE else None
    return isinstance(call, Call) and last_name(function, call) in PUTS


def _consumed(project: Project, get: Access) -> Consumed | None:
    """What the consumer waits for between one item and the next."""
    function, flow = get.function, project.flow(get.function)
    around = loops_around(flow, get.op)
    if not around:
        return None
    ranks = around[0].operations(function)
    if not function.header.is_async:
        for rank in ranks:
            role = project.role(function, rank, "blocking")
            if (
                rank != get.op
                and role is not None
                and role[1].attributes.get("kind") in ("network", "disk", "database", "process")
            ):
                return Consumed(get, [(Node(function, None), rank)])
        return None
    if any(isinstance(function.body.ops[r], Yield) for r in ranks):
        return _consumed_outside(project, get)
    return _waiting(project, get, function, ranks)


def _consumed_outside(project: Project, get: Access) -> Consumed | None:
    """What whoever iterates over the items of an asynchronous generator waits for."""
    for caller, op in project.callers(get.function):
        call = caller.body.ops[op]
        iterators = {o.dst for o in caller.body.ops if isinstance(o, Iterate) and isinstance(call, Call) and o.src == call.dst}
        for rank, step in enumerate(caller.body.ops):
            if isinstance(step, Next) and step.is_async and step.iterator in iterators:
                loop = next(iter(loops_around(project.flow(caller), rank)), None)
                found = _waiting(project, get, caller, [r for r in loop.operations(caller) if r != rank]) if loop is not None else None
                if found is not None:
                    return found
    return None


def _waiting(project: Project, get: Access, function: FunctionNode, ranks: list[int]) -> Consumed | None:
    """The first of these operations that waits for something outside of the tasks."""
    own = [(node, op) for node, op in points_of(project, function) if op in ranks and not _takes(function, op, get)]
    chain = io_below(project, own, unknown=True)
    return Consumed(get, chain) if chain else None


def _takes(function: FunctionNode, op: int, get: Access) -> bool:
    """Whether an await is that of the item itself, with or without a time limit."""
    step = function.body.ops[op]
    if not isinstance(step, Await):
        return False
    made = maker(function, step.src)
    call = function.body.ops[made] if made != NONE else None
    return made == get.op or isinstance(call, Call) and any(maker(function, a) == get.op for a in call.args)


def _finding(project: Project, queue: Queue, put: Access, again: Again, consumed: Consumed) -> Finding:
    function = queue.function
    line, column, end_line, end_column = function.at(queue.op)
    words = " ".join((put.function.symbol, consumed.get.function.symbol, _written(queue), again.source.function.symbol))
    market = again.source.market or MARKET.search(words) is not None
    return Finding(
        rule=UnboundedQueue.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"Nothing bounds this queue: {put.function.name}() is never slowed, and {consumed.get.function.name}() waits on each item",
        symbol=function.symbol,
        severity=Severity.MEDIUM if market else Severity.LOW,
        confidence=Confidence.POSSIBLE,
        proof=tuple(_steps(project, queue, put, again, consumed)),
        fix=Fix("display", "Give it a maxsize, and say what happens when it is full: wait, or drop the oldest and count it"),
    )  # fmt: skip


def _written(queue: Queue) -> str:
    """The names that a queue is stored under where it is made."""
    body = queue.function.body
    call = body.ops[queue.op]
    stores = [op for op in body.ops if isinstance(op, Store) and isinstance(call, Call) and op.src == call.dst]
    places = [body.places[op.dst] for op in stores]
    return " ".join(str(p.path[-1].value if p.path else p.name) for p in places)


def _steps(project: Project, queue: Queue, put: Access, again: Again, consumed: Consumed) -> Iterator[Step]:
    name = queue.function.name or "module"
    yield project.step(queue.function, queue.op, "the queue is made without a capacity", name)
    yield from again.steps(project)
    yield project.step(put.function, put.op, f"{put.function.name}() puts an item and is not slowed", put.function.name)
    get = consumed.get
    yield project.step(get.function, get.op, f"{get.function.name}() takes one item in each turn", get.function.name)
    for rank, (node, op) in enumerate(consumed.chain):
        who = node.function.name
        what = (
            "waits before it takes the next one" if rank + 1 == len(consumed.chain) else "awaits what waits"
        )
        yield project.step(node.function, op, f"{who}() {what}", who)


# --- a queue that overflows -----------------------------------------------------------------------------------------


def _overflows(project: Project, queue: Queue, accesses: list[Access]) -> Iterator[Finding]:
    """`put_nowait` of orders or fills into a bounded queue, without a handler for `QueueFull`."""
    if any(a.method in ("full", "qsize") for a in accesses):
        return
    for put in accesses:
        if put.method != "put_nowait" or not _of_orders(queue, put) or _handled(project, put):
            continue
        function = put.function
        line, column, end_line, end_column = function.at(put.op)
        yield Finding(
            rule=UnboundedQueue.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=f"{function.name}() loses what it puts when this bounded queue is full: nothing handles QueueFull",
            symbol=function.symbol,
            severity=Severity.MEDIUM,
            confidence=Confidence.POSSIBLE,
            proof=(
                project.step(queue.function, queue.op, "the queue is made with a capacity", queue.function.name or "module"),
                project.step(function, put.op, f"{function.name}() puts an order or a fill, and handles no QueueFull", function.name),
            ),
            fix=Fix("display", "Await put(), or handle QueueFull: an order or a fill must not be lost"),
        )  # fmt: skip


def _of_orders(queue: Queue, put: Access) -> bool:
    """Whether the names of a queue and of its item speak of orders or fills."""
    body = put.function.body
    call = body.ops[put.op]
    item = body.places[call.args[0]] if isinstance(call, Call) and call.args else None
    names = [_written(queue)]
    if item is not None:
        names += [str(item.name), *(str(s.value) for s in item.path)]
    return any(ORDERS.search(name.replace("_", " ")) for name in names)


def _handled(project: Project, put: Access) -> bool:
    """Whether a handler around a put takes `QueueFull`."""
    body = put.function.body
    region = body.blocks[project.flow(put.function).block_of(put.op)].region
    while region != NONE:
        for handler in body.regions[region].handlers:
            block = body.blocks[handler]
            for rank in range(block.start, block.end):
                step = body.ops[rank]
                if isinstance(step, Catch) and (
                    not step.classes or any(_takes_full(body.places[c]) for c in step.classes)
                ):
                    return True
        region = body.regions[region].parent
    return False


def _takes_full(place: Place) -> bool:
    """Whether a class of a handler is `QueueFull` or above; a tuple of classes is taken to hold it."""
    return place.root is Root.TEMP or str(place.path[-1].value if place.path else place.name) in CATCHES
