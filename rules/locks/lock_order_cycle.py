"""
Locks taken in opposite order

## What it finds
Two or more locks that are taken one inside of the other in different orders, through calls and awaits in any file: one path
holds the first and takes the second, another holds the second and takes the first.

## Why it matters
Each path is right by itself. When two tasks or threads are between their two acquisitions at the same moment, each waits
for what the other holds: orders and reports stop together, once in a month, under load, without an exception.

## Bad
```python
import asyncio


class Desk:
    def __init__(self, venue):
        self._orders_lock = asyncio.Lock()
        self._cash_lock = asyncio.Lock()
        self._venue = venue

    async def fill(self, order):
        async with self._orders_lock:
            self.orders[order.id] = await self._venue.confirm(order)
            async with self._cash_lock:
                self.cash -= order.cost

    async def report(self):
        async with self._cash_lock:
            async with self._orders_lock:
                return self.cash, len(self.orders)

    async def start(self, order):
        self.jobs = [asyncio.create_task(self.fill(order)), asyncio.create_task(self.report())]
```

## Good
Take the locks in one order everywhere, and say which; or copy what is needed under the first lock and let it go.

```python
import asyncio


class Desk:
    def __init__(self, venue):
        self._orders_lock = asyncio.Lock()
        self._cash_lock = asyncio.Lock()
        self._venue = venue

    async def fill(self, order):
        async with self._orders_lock:
            self.orders[order.id] = await self._venue.confirm(order)
            async with self._cash_lock:
                self.cash -= order.cost

    async def report(self):
        async with self._orders_lock:
            async with self._cash_lock:
                return self.cash, len(self.orders)

    async def start(self, order):
        self.jobs = [asyncio.create_task(self.fill(order)), asyncio.create_task(self.report())]
```

## Limits
A lock counts by the class that owns it: two instances of one class, locked one after the other, are silent, and locks of
different instances are taken to be able to meet. An acquisition with a timeout gives up and closes no cycle; a common outer
lock around both paths clears it. Locks of asyncio are silent where nobody suspends while holding one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from auditor.finding import Confidence, Finding, Severity, Step
from auditor.project.graph import Node
from auditor.project.locks import Held, Lock
from auditor.project.project import Project
from auditor.project.summaries import components
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import Root
from auditor.rule import Rule

from ._words import root_step

MAX_DEPTH = 6  # calls between a region and the acquisition inside of it
MAX_NODES = 600  # functions that one region is followed into

Name = tuple[str, str]  # owner and name of a lock
Chain = tuple[tuple[FunctionNode, int], ...]


class Order(NamedTuple):
    """While `first` is held in `function`, `second` is taken: by operation `op` of it, or at the end of `chain`, pairs of a
    function and an operation. `gates` are further locks that are held."""

    first: Held
    second: Lock
    function: FunctionNode
    chain: Chain
    gates: frozenset[Name]

    @property
    def rank(self) -> tuple[object, ...]:
        return (
            len(self.chain),
            self.function.key,
            self.first.op,
            self.chain[0][1],
            self.chain[-1][0].key,
            self.chain[-1][1],
        )


class LockOrderCycle(Rule):
    id = "lock-order-cycle"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "M"
    cwe = (833,)

    def check_project(self, project: Project) -> Iterator[Finding]:
        orders: dict[tuple[Name, Name], list[Order]] = {}
        for function in project.functions():
            if any(project.locks.regions(function)):
                for order in _orders(project, function):
                    if {order.first.lock[:2], order.second[:2]} & project.locks.signals:
                        continue  # given back by another task
                    orders.setdefault((order.first.lock[:2], order.second[:2]), []).append(order)
        inside: dict[Name, list[Name]] = {}
        for first, second in sorted(orders):
            inside.setdefault(first, []).append(second)
        for component in components(sorted(inside), lambda n: inside.get(n, [])):
            if len(component) > 1:
                ring = _ring(component, inside)
                found = _finding(project, [sorted(orders[e], key=lambda o: o.rank) for e in pairwise([*ring, ring[0]])])
                if found is not None:
                    yield found


def _orders(project: Project, function: FunctionNode) -> Iterator[Order]:
    """What a function takes while it holds something, itself or through what it runs."""
    locks = project.locks
    regions = locks.regions(function)
    for taken in locks.acquisitions(function):
        for held in regions[taken.op]:
            if not taken.gives_up and held.lock[:2] != taken.lock[:2]:
                yield Order(held, taken.lock, function, ((function, taken.op),), _gates(regions[taken.op], held))
    for node in project.receivers(function):
        for frame in locks.frames.of(node):
            for held in regions[frame.op]:
                if held.op == frame.op:
                    continue
                for chain, lock, inner in _inside(project, node, frame.op, frame.target):
                    if lock[:2] != held.lock[:2]:
                        yield Order(held, lock, function, chain, _gates(regions[frame.op], held) | inner)


def _gates(region: frozenset[Held], held: Held) -> frozenset[Name]:
    return frozenset(h.lock[:2] for h in region if h.lock[:2] != held.lock[:2] and h.lock.kind.excludes)


def _inside(project: Project, node: Node, op: int, target: Node) -> Iterator[tuple[Chain, Lock, frozenset[Name]]]:
    """Acquisitions that a callee comes to, each once, by a shortest chain, with what is held on the way."""
    locks = project.locks
    pending: list[tuple[Node, Chain, frozenset[Name]]] = [(target, ((node.function, op),), frozenset())]
    seen = {target}
    found: set[Name] = set()
    while pending and len(seen) < MAX_NODES:
        current, chain, gates = pending.pop(0)
        regions = locks.regions(current.function)
        for taken in locks.acquisitions(current.function):
            if not taken.gives_up and taken.lock[:2] not in found and locks.frames.live(current, taken.op):
                found.add(taken.lock[:2])
                more = frozenset(h.lock[:2] for h in regions[taken.op] if h.lock.kind.excludes)
                yield (*chain, (current.function, taken.op)), taken.lock, gates | more
        if len(chain) < MAX_DEPTH:
            for frame in locks.frames.of(current):
                if frame.target not in seen:
                    seen.add(frame.target)
                    more = frozenset(h.lock[:2] for h in regions[frame.op] if h.lock.kind.excludes)
                    pending.append((frame.target, (*chain, (current.function, frame.op)), gates | more))


def _ring(component: list[Name], inside: dict[Name, list[Name]]) -> list[Name]:
    """A shortest cycle through the first lock of a component."""
    members = set(component)
    start = min(component)
    pending: list[list[Name]] = [[start]]
    seen = {start}
    while pending:
        path = pending.pop(0)
        for following in inside.get(path[-1], []):
            if following == start and len(path) > 1:
                return path
            if following in members and following not in seen:
                seen.add(following)
                pending.append([*path, following])
    return component


def _finding(project: Project, edges: list[list[Order]]) -> Finding | None:
    """The cycle, with two of its orders that different tasks or threads can run; None if a common lock clears it, or if
    nothing that holds one of its locks ever suspends."""
    chosen: list[Order] = []
    roots: tuple[Root, Root] | None = None
    for one in edges[0]:
        for other in edges[-1]:
            apart = project.locks.tasks.apart(one.function, other.function)
            middle = [choices[0] for choices in edges[1:-1]]
            if frozenset.intersection(*(o.gates for o in (one, *middle, other))):
                continue
            if not chosen or (roots is None and apart is not None):
                chosen, roots = [one, *middle, other], apart
    if not chosen or not _contended(project, [o.first.lock for o in chosen]):
        return None
    used = sorted(range(len(edges)), key=lambda i: (-len({(o.function, o.first.op) for o in edges[i]}), chosen[i].rank))
    usual = chosen[used[0]]
    head = min(chosen, key=lambda o: (o.chain[0][0].key, o.chain[0][1]))
    function, op = head.chain[0]
    line, column, end_line, end_column = function.at(op)
    against = next(o for o in chosen if o is not head)
    return Finding(
        rule=LockOrderCycle.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() takes {head.second} inside of {head.first.lock}, {against.function.name}() takes "
        f"{against.second} inside of {against.first.lock}: each can wait for the other for ever (usual order: "
        f"{usual.first.lock} first)",
        symbol=function.symbol,
        confidence=Confidence.LIKELY if roots is not None else Confidence.POSSIBLE,
        proof=tuple(_steps(project, chosen[chosen.index(head) :] + chosen[: chosen.index(head)], roots)),
    )  # fmt: skip


def _contended(project: Project, ring: list[Lock]) -> bool:
    """Whether two tasks can meet at the locks: those of asyncio are only ever found taken if somebody suspends with one."""
    return any(not lock.kind.is_async or lock[:2] in project.locks.contention.contended for lock in ring)


def _steps(project: Project, chosen: list[Order], roots: tuple[Root, Root] | None) -> Iterator[Step]:
    for order in chosen:
        name = order.function.name
        yield project.step(order.function, order.first.op, f"{name}() takes {order.first.lock}", name)
        for (function, op), (target, _) in pairwise(order.chain):
            yield project.step(function, op, f"{function.name}() runs {target.name}()", target.name)
        function, op = order.chain[-1]
        yield project.step(
            function, op, f"{function.name}() takes {order.second} while {order.first.lock} is held", order.second.name
        )
    if roots is not None:
        for root in dict.fromkeys(roots):
            yield root_step(project, root, "one of these paths")
