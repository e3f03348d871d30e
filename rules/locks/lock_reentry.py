"""
Lock taken twice by the task that holds it

## What it finds
A path on which a lock that is not re-entrant is acquired while it is held: directly, through methods, properties, managers
and awaited coroutines in any file, or through a task that the region waits for.

## Why it matters
The second acquisition waits for the first, which waits for the second: the task never goes on and the lock is never free
again. Every later order, cancel or stop that needs the lock hangs behind it, without an exception and without a log line.

## Bad
```python
import asyncio


class Desk:
    def __init__(self, venue):
        self._lock = asyncio.Lock()
        self._venue = venue
        self._open = {}

    async def submit(self, order):
        async with self._lock:
            if await self.exposure(order.symbol) < 10:
                self._open[order.id] = await self._venue.send(order)

    async def exposure(self, symbol):
        async with self._lock:
            return sum(o.size for o in self._open.values() if o.symbol == symbol)
```

## Good
Split off the part that expects the lock to be held, and call that from inside; only the public method takes the lock.

```python
import asyncio


class Desk:
    def __init__(self, venue):
        self._lock = asyncio.Lock()
        self._venue = venue
        self._open = {}

    async def submit(self, order):
        async with self._lock:
            if self._exposure_locked(order.symbol) < 10:
                self._open[order.id] = await self._venue.send(order)

    async def exposure(self, symbol):
        async with self._lock:
            return self._exposure_locked(symbol)

    def _exposure_locked(self, symbol):
        return sum(o.size for o in self._open.values() if o.symbol == symbol)
```

## Limits
Only what is the same lock for certain counts: the lock of another instance, or one under another key, is silent, and so is
an object whose origin is not in the sources. An acquisition with a timeout gives up and is not reported. A lock that a
callee gives back before it takes it again is silent. A semaphore counts where its limit is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity, Step
from auditor.project.lock_kinds import Kind
from auditor.project.locks import Held
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._reach import Hop, Taking, retakings
from ._words import condition, made_step


class LockReentry(Rule):
    id = "lock-reentry"
    severity = Severity.CRITICAL
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "M"
    cwe = (833,)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            best: dict[tuple[int, int], Taking] = {}
            for taking in retakings(project, function):
                key = (function.at(taking.hops[0].op)[0], taking.held.op)
                if key not in best or taking.rank < best[key].rank:
                    best[key] = taking
            for taking in best.values():
                yield _finding(project, function, taking)


def _finding(project: Project, function: FunctionNode, taking: Taking) -> Finding:
    held, hops = taking.held, taking.hops
    line, column, end_line, end_column = function.at(hops[0].op)
    under = _conditions(project, taking)
    through = (
        ""
        if len(hops) == 1
        else f" through {hops[0].target}()"
        if len(hops) == 2
        else f" through {len(hops) - 1} calls"
    )
    only = f" when {under[0]}" if under else ""
    back = len(hops) > 1 and any(hop.function is function for hop in hops[1:])  # its own test may know the second time
    doubts = bool(under) + taking.unsure + (back and bool(under))
    return Finding(
        rule=LockReentry.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() takes {_name(held)} again{through} while it holds it{only}: it waits for itself for ever",
        symbol=function.symbol,
        confidence=Confidence.CERTAIN if not doubts else Confidence.LIKELY if doubts == 1 else Confidence.POSSIBLE,
        proof=tuple(_steps(project, function, taking)),
    )  # fmt: skip


def _name(held: Held) -> str:
    return str(held.ref or held.lock)


def _conditions(project: Project, taking: Taking) -> list[str]:
    found = []
    for rank, hop in enumerate(taking.hops):
        text = condition(project, hop.function, hop.op, taking.held.op if rank == 0 else None)
        if text:
            found.append(text)
    return found


def _steps(project: Project, function: FunctionNode, taking: Taking) -> Iterator[Step]:
    held = taking.held
    yield from made_step(project, held.lock)
    other = taking.receiver is not None and taking.receiver is not function.cls
    who = (
        f"{function.name}() of a {taking.receiver.name}"
        if other and taking.receiver is not None
        else f"{function.name}()"
    )
    yield project.step(function, held.op, f"{who} takes {_name(held)}, {_article(held.lock.kind)}", function.name)
    for hop in taking.hops:
        text = condition(project, hop.function, hop.op, held.op if hop is taking.hops[0] else None)
        where = f", when {text}" if text else ""
        if hop.target:
            yield project.step(hop.function, hop.op, f"{_who(hop, function)} {_does(hop)}{where}", hop.target)
        else:
            name = str(hop.ref or held.lock)
            yield project.step(hop.function, hop.op, f"{_who(hop, function)} takes {name}, the same lock{where}", name)


def _who(hop: Hop, function: FunctionNode) -> str:
    return "inside, it" if hop.function is function else f"{hop.function.name}()"


def _does(hop: Hop) -> str:
    name = f"{hop.target}()"
    match hop.how:
        case "await" | "call":
            return f"{'awaits' if hop.how == 'await' else 'calls'} {name}"
        case "task":
            return f"starts {name} as a task and waits for it"
        case "property":
            return f"reads the property {name}"
        case "enter" | "exit":
            return f"{hop.how}s a manager through {name}"
        case "iterate":
            return f"iterates over {name}"
        case _:
            return f"runs {name}"


def _article(kind: Kind) -> str:
    return f"{'an' if kind.is_async else 'a'} {kind}, which does not let its owner in again"
