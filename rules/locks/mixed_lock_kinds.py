"""
Thread lock and asyncio lock mixed

## What it finds
A lock taken by the wrong protocol: `with` on an asyncio lock, `async with` or `await` on a thread lock. And an attribute that
is written under a thread lock in one place and under an asyncio lock in another.

## Why it matters
The wrong protocol raises TypeError on the first order that comes by, mostly on a path no test takes. Two locks of different
kinds around one state do not exclude each other: the thread and the task are inside together, and one update is lost.

## Bad
```python
import asyncio


class Account:
    def __init__(self):
        self._lock = asyncio.Lock()
        self._cash = 0

    async def credit(self, amount):
        with self._lock:
            self._cash += amount
```

## Good
One state, one lock, of the kind that its users need: `async with` for coroutines of one loop, `with` on a thread lock as
soon as a thread takes part.

```python
import asyncio


class Account:
    def __init__(self):
        self._lock = asyncio.Lock()
        self._cash = 0

    async def credit(self, amount):
        async with self._lock:
            self._cash += amount
```

## Limits
An attribute counts by the class that stores it, whatever the instance. Reads are not compared, and state that lies behind
a method of another object is not seen. A lock whose kind depends on a branch is silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Await, Call, Enter, Select
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.flow import writes
from auditor.project.graph import last_name, method_of
from auditor.project.locks import Lock
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._words import made_step

MUTATORS = frozenset({
    "append", "appendleft", "add", "update", "setdefault", "insert", "extend", "pop", "popitem", "popleft", "remove", "discard", "clear",
})  # fmt: skip
BUILDING = frozenset({"__init__", "__post_init__", "__new__", "__del__", "__setstate__"})


class Write(NamedTuple):
    """Operation `op` of `function` changes an attribute while `locks` are held."""

    function: FunctionNode
    op: int
    locks: frozenset[Lock]


class MixedLockKinds(Rule):
    id = "mixed-lock-kinds"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "M"
    cwe = (667,)

    def check_project(self, project: Project) -> Iterator[Finding]:
        broken: set[FunctionNode] = set()
        for function in project.functions():
            for finding in _protocol(project, function):
                broken.add(function)
                yield finding
        kinds = {made.kind.is_async for made in project.locks.made}
        if len(kinds) == 2:
            yield from _attributes(project, broken)


def _protocol(project: Project, function: FunctionNode) -> Iterator[Finding]:
    """Locks that are entered or awaited in a way that their kind does not have."""
    body = function.body
    for taken in project.locks.acquisitions(function):
        op = body.ops[taken.op]
        kind = taken.lock.kind
        name = str(taken.ref or taken.lock)
        if isinstance(op, Enter) and taken.how == "with" and bool(op.is_async) is not kind.is_async:
            wrong, right = ("`async with`", "`with`") if op.is_async else ("`with`", "`async with`")
            yield _wrong(project, function, taken.op, taken.lock, name, wrong, right)
        elif isinstance(op, Call) and taken.how == "acquire" and not kind.is_async:
            rank = next((r for r, o in enumerate(body.ops) if isinstance(o, Await) and o.src == op.dst), None)
            if rank is not None:
                yield _wrong(project, function, rank, taken.lock, name, "`await`", "a plain call")


def _wrong(project: Project, function: FunctionNode, op: int, lock: Lock, name: str, wrong: str, right: str) -> Finding:
    line, column, end_line, end_column = function.at(op)
    article = "an" if lock.kind.is_async else "a"
    return Finding(
        rule=MixedLockKinds.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() takes {name}, {article} {lock.kind}, by {wrong}: TypeError when it runs",
        symbol=function.symbol,
        proof=(
            *made_step(project, lock),
            project.step(function, op, f"{wrong} asks for a protocol that {article} {lock.kind} does not have; it takes {right}", name),
        ),
        fix=Fix("display", f"Take {name} by {right}, or make it a lock of the other kind"),
    )  # fmt: skip


def _attributes(project: Project, broken: set[FunctionNode]) -> Iterator[Finding]:
    """Attributes that are written under a lock of each kind, and never under a common one."""
    found: dict[tuple[str, str], list[Write]] = {}
    for function in project.functions():
        if function in broken or not any(project.locks.regions(function)) and not project.locks.entry(function):
            continue
        for attribute, write in _writes(project, function):
            found.setdefault(attribute, []).append(write)
    for (owner, name), places in sorted(found.items()):
        guarded = [w for w in places if any(k.kind.excludes for k in w.locks)]
        threaded = [w for w in guarded if not any(k.kind.is_async for k in w.locks)]
        on_loop = [w for w in guarded if all(k.kind.is_async for k in w.locks)]
        if threaded and on_loop:
            yield _both(project, owner, name, threaded[0], on_loop[0])


def _writes(project: Project, function: FunctionNode) -> Iterator[tuple[tuple[str, str], Write]]:
    """Changes of attributes of `self`: stores to them or into them, and calls that change a container."""
    method = method_of(function)
    if method is None or method.cls is None or method.name in BUILDING:
        return
    body = function.body
    for rank, op in enumerate(body.ops):
        operands = list(writes(op))
        if isinstance(op, Call) and last_name(function, op) in MUTATORS and len(body.places[op.callee].path) > 1:
            operands.append(op.callee)
        for operand in operands:
            place = body.places[operand]
            if place.name == method.self_name and place.path and place.path[0].kind is Select.ATTR:
                name = str(place.path[0].value)
                owner = next(
                    (c for c in reversed(method.cls.mro) if ("attr", c, name) in project.world.state), method.cls
                )
                yield (owner.dotted, name), Write(function, rank, project.locks.at(function, rank))


def _both(project: Project, owner: str, name: str, threaded: Write, on_loop: Write) -> Finding:
    thread_lock = min(k for k in threaded.locks if k.kind.excludes)
    async_lock = min(k for k in on_loop.locks if k.kind.excludes)
    function = on_loop.function
    line, column, end_line, end_column = function.at(on_loop.op)
    cls = owner.rpartition(".")[2]
    return Finding(
        rule=MixedLockKinds.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{cls}.{name} is guarded by {async_lock} here and by {thread_lock} in {threaded.function.name}(): "
        "neither excludes the other",
        symbol=function.symbol, severity=Severity.MEDIUM, confidence=Confidence.LIKELY,
        proof=tuple(_steps(project, name, thread_lock, async_lock, threaded, on_loop)),
        fix=Fix("display", f"Guard {name} by one lock: the thread lock, held around the change alone"),
    )  # fmt: skip


def _steps(
    project: Project, name: str, thread_lock: Lock, async_lock: Lock, threaded: Write, on_loop: Write
) -> Iterator[Step]:
    yield from made_step(project, thread_lock)
    yield from made_step(project, async_lock)
    for write, lock in (
        (threaded, f"{thread_lock}, a {thread_lock.kind}"),
        (on_loop, f"{async_lock}, an {async_lock.kind}"),
    ):
        who = write.function.name
        yield project.step(write.function, write.op, f"{who}() changes {name} under {lock}", who)
