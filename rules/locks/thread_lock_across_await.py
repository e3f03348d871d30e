"""
Thread lock held across an await

## What it finds
A region of a `threading` lock in a coroutine that contains an await which really suspends, directly or through awaited
coroutines in any file.

## Why it matters
While the holder waits, the next task that wants the lock blocks the thread of the event loop, and with it the holder, which
could give the lock back only there. The bot stands still for ever: no order, no cancel, no heartbeat. A re-entrant lock
does the opposite: both tasks run in one thread, so it lets the second one in and excludes nobody.

## Bad
```python
import asyncio
import threading


class Book:
    def __init__(self, feed):
        self._lock = threading.Lock()
        self._feed = feed
        self._levels = {}

    async def refresh(self, symbol):
        with self._lock:
            await asyncio.sleep(0)
            self._levels[symbol] = await self._feed.snapshot(symbol)
```

## Good
Use an `asyncio.Lock` where only coroutines take it; where threads take it too, await first and lock the change alone.

```python
import asyncio
import threading


class Book:
    def __init__(self, feed):
        self._lock = threading.Lock()
        self._feed = feed
        self._levels = {}

    async def refresh(self, symbol):
        await asyncio.sleep(0)
        levels = await self._feed.snapshot(symbol)
        with self._lock:
            self._levels[symbol] = levels
```

## Limits
An await of something that is not in the sources counts as a suspension of unknown length. A thread lock around code that
only blocks is another rule's matter (blocking-call-in-async). Silent where the coroutine is run once, by a loop of its own,
and only threads take the lock beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.contexts import Context
from auditor.project.graph import Node
from auditor.project.lock_kinds import Kind
from auditor.project.locks import Acquisition, Held
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._words import made_step, root_step

BLOCKING = frozenset({Kind.THREAD, Kind.THREAD_SEMAPHORE, Kind.PROCESS})


class ThreadLockAcrossAwait(Rule):
    id = "thread-lock-across-await"
    severity = Severity.CRITICAL
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "M"
    cwe = (833,)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            if function.header.is_async:
                yield from _regions(project, function)


def _regions(project: Project, function: FunctionNode) -> Iterator[Finding]:
    """One finding for each region, at its first await that suspends."""
    regions = project.locks.regions(function)
    if not any(regions):
        return
    best: dict[int, tuple[int, int, Held, Node]] = {}  # acquisition -> (less the surer, await, lock, node)
    for node in project.receivers(function):
        for op in project.suspension.points(node):
            value = project.locks.contention.at(node, op)
            if value is Suspends.NEVER:
                continue
            for held in regions[op]:
                if held.lock.kind.is_async or held.op == op:
                    continue
                if held.op not in best or (-value, op) < best[held.op][:2]:
                    best[held.op] = (-value, op, held, node)
    for _, (less, op, held, node) in sorted(best.items(), key=lambda item: item[0]):
        found = _finding(project, function, held, op, Suspends(-less), node)
        if found is not None:
            yield found


def _finding(
    project: Project, function: FunctionNode, held: Held, op: int, value: Suspends, node: Node
) -> Finding | None:
    kind = held.lock.kind
    others = _others(project, function, held)
    twice = project.locks.tasks.twice(function)
    if not twice and not others and _alone(project, function):
        return None
    apart = next((pair for o in others if (pair := project.locks.tasks.apart(function, o.function)) is not None), None)
    evidence = twice or (tuple(dict.fromkeys(apart)) if apart is not None else ())
    sure = value is Suspends.MAY and bool(evidence) and kind in BLOCKING and kind is not Kind.THREAD_SEMAPHORE
    harm = (
        "the next task that wants it stops the event loop for ever"
        if kind in BLOCKING
        else "other tasks of the same thread get in meanwhile"
    )
    name = str(held.ref or held.lock)
    line, column, end_line, end_column = function.at(held.op)
    steps = [
        *made_step(project, held.lock),
        project.step(function, held.op, f"{function.name}() takes {name}, a {kind}", name),
        *_suspension(project, function, op, value, node),
        *(
            project.step(o.function, o.op, f"{o.function.name}() takes it as well, on the loop", o.function.name)
            for o in others[:1]
        ),
        *(root_step(project, root, f"{function.name}()") for root in evidence),
    ]
    return Finding(
        rule=ThreadLockAcrossAwait.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() holds {name}, a {kind}, across an await: {harm}",
        symbol=function.symbol, severity=Severity.CRITICAL if sure else Severity.HIGH,
        confidence=Confidence.CERTAIN if sure else Confidence.LIKELY if value is Suspends.MAY else Confidence.POSSIBLE,
        proof=tuple(steps),
        fix=Fix("display", _mend(project, held, name)),
    )  # fmt: skip


def _others(project: Project, function: FunctionNode, held: Held) -> list[Acquisition]:
    """Further regions of the lock in code that runs on a loop."""
    return [
        taken
        for taken in _everywhere(project)
        if taken.lock[:2] == held.lock[:2]
        and (taken.function is not function or taken.op != held.op)
        and (taken.function.header.is_async or Context.LOOP in project.contexts.of(taken.function))
    ]


def _everywhere(project: Project) -> Iterator[Acquisition]:
    for function in project.functions():
        yield from (a for a in project.locks.acquisitions(function) if not a.gives_up)


def _alone(project: Project, function: FunctionNode) -> bool:
    """Whether one task, that is started once, is all that runs the coroutine."""
    roots = project.locks.tasks.roots(function)
    return len(roots) == 1 and not roots[0].repeats


def _suspension(project: Project, function: FunctionNode, op: int, value: Suspends, node: Node) -> Iterator[Step]:
    if value is not Suspends.MAY:
        yield project.step(
            function, op, "inside, it awaits what is not in the sources: any other task may run meanwhile", "await"
        )
        return
    chain = project.suspension.witness(node, op)
    for rank, (current, at) in enumerate(chain):
        name = current.function.name
        if rank == len(chain) - 1:
            who = "inside, it" if rank == 0 else f"{name}()"
            yield project.step(current.function, at, f"{who} suspends here: any other task may run meanwhile", name)
        else:
            who = "inside, it" if rank == 0 else f"{name}()"
            target = chain[rank + 1][0].function.name
            yield project.step(current.function, at, f"{who} awaits {target}()", target)


def _mend(project: Project, held: Held, name: str) -> str:
    """What to do depends on who takes the lock beside coroutines."""
    if all(a.function.header.is_async for a in _everywhere(project) if a.lock[:2] == held.lock[:2]):
        return f"Make {name} an asyncio.Lock and take it with `async with`: only coroutines need it"
    return f"Await before the region, and hold {name} for the change alone: threads take it as well"
