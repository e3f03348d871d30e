"""
Lock that is not released on some path

## What it finds
An `acquire()` after which some way out of the function - a return, an exception, a cancellation at an await - passes no
`release()`. Also the reverse: a `finally` that releases what an interrupted `acquire()` never obtained.

## Why it matters
A task is cancelled at shutdown, at a timeout or when its group fails; an exchange call raises every day. If the lock is held
at that moment it is held for ever, and the next order waits for it without an exception. Released too often, a semaphore
lets in more than its limit, and a lock is given back while somebody else is inside.

## Bad
```python
import asyncio


class Gate:
    def __init__(self, venue):
        self._lock = asyncio.Lock()
        self._venue = venue
        self._sent = 0

    async def send(self, order):
        await self._lock.acquire()
        await self._venue.send(order)
        self._sent += 1
        self._lock.release()
```

## Good
Take the lock with `with` (`async with` for one of asyncio), which releases it on every way out.

```python
import asyncio


class Gate:
    def __init__(self, venue):
        self._lock = asyncio.Lock()
        self._venue = venue
        self._sent = 0

    async def send(self, order):
        async with self._lock:
            await self._venue.send(order)
            self._sent += 1
```

## Limits
Recognised by type: a rate limiter or pool with `acquire` is no lock. A function that leaves with the lock held on purpose is
silent where another function releases it, or where the releasing is handed on. Calls of loggers, clocks and containers are
taken not to raise; a key that is missing is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import NONE, Call
from auditor.finding import Confidence, Edit, Finding, Fix, Severity
from auditor.project.flow import describe
from auditor.project.graph import last_name
from auditor.project.locks import Acquisition
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._leaks import Leak, handed_on, leak
from ._words import made_step

INDENT = "    "
GRAVE = ("return", "end", "raise", "cancel")


class LockWithoutRelease(Rule):
    id = "lock-without-release"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (667, 772)

    def check_project(self, project: Project) -> Iterator[Finding]:
        taking = [f for f in project.functions() if f in project.locks.takers]
        if not taking:
            return
        own: dict[FunctionNode, set[tuple[str, str]]] = {}
        for function in project.functions():
            names = {lock[:2] for _, lock in project.locks.releases(function)}
            if names:
                own[function] = names
        taken_in = {f: {a.lock[:2] for a in project.locks.acquisitions(f) if a.how == "acquire"} for f in own}
        pairing = {name for f, names in own.items() for name in names - taken_in[f]}  # released by who did not take it
        for function in taking:
            for taken in project.locks.acquisitions(function):
                if taken.how != "acquire":
                    continue
                name = taken.lock[:2]
                found = _kept(project, taken, name in own.get(function, ()), name in pairing)
                found = found or _not_obtained(project, taken)
                if found is not None:
                    yield found


def _kept(project: Project, taken: Acquisition, releases: bool, paired: bool) -> Finding | None:
    function = taken.function
    if taken.gives_up and not _tested(project, taken) or handed_on(project, taken):
        return None
    way = leak(project, taken)
    if way is None or paired and (not releases or way.why in ("return", "end")):
        return None  # whoever releases it elsewhere is meant to
    name = str(taken.ref or taken.lock)
    doubts = (way.why not in GRAVE) + paired
    severity = Severity.HIGH if way.why in GRAVE or way.why == "suspend" else Severity.MEDIUM
    confidence = Confidence.CERTAIN if doubts == 0 else Confidence.LIKELY if doubts == 1 else Confidence.POSSIBLE
    line, column, end_line, end_column = function.at(taken.op)
    return Finding(
        rule=LockWithoutRelease.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() keeps {name} {_when(function, way)}",
        symbol=function.symbol, severity=severity, confidence=confidence,
        proof=(
            *made_step(project, taken.lock),
            project.step(function, taken.op, f"{function.name}() takes {name}", name),
            project.step(function, way.op, f"{_leaves(way)}, and no release() of {name} follows", function.name),
        ),
        fix=_fix(project, taken),
    )  # fmt: skip


def _tested(project: Project, taken: Acquisition) -> bool:
    """Whether an acquisition that may give up is known to have obtained the lock: its result is looked at."""
    return bool(project.locks.obtained(taken))


def _when(function: FunctionNode, way: Leak) -> str:
    line = function.at(way.op)[0]
    match way.why:
        case "return":
            return f"when it returns in line {line}"
        case "end":
            return "when it ends"
        case "raise":
            return f"when it raises in line {line}"
        case "cancel" | "suspend":
            return f"for ever if it is cancelled at the await in line {line}"
        case _:
            return f"for ever if the call in line {line} raises"


def _leaves(way: Leak) -> str:
    return {
        "return": "it returns here", "end": "the function ends", "raise": "it raises here",
        "cancel": "the task may be cancelled here, or the await raise", "suspend": "the task may be cancelled here, or the await raise",
    }.get(way.why, "the call may raise")  # fmt: skip


def _not_obtained(project: Project, taken: Acquisition) -> Finding | None:
    """`try: await lock.acquire() ... finally: lock.release()`: what interrupts the acquisition leads to the release too."""
    function, body = taken.function, taken.function.body
    if not taken.lock.kind.is_async or _tested(project, taken):
        return None
    flow = project.flow(function)
    region = body.blocks[flow.block_of(taken.op)].region
    if region == NONE or body.regions[region].kind != "try" or body.regions[region].cleanup == NONE:
        return None
    cleanup = body.regions[region].cleanup
    landing = body.blocks[cleanup]
    if landing.start == landing.end and len(landing.edges) == 1:
        cleanup = landing.edges[0][1]  # the body of the finally, which other ways come to as well
    for rank, lock, ref in project.locks.releasing(function):
        same = ref == taken.ref if ref is not None and taken.ref is not None else lock == taken.lock
        block = flow.block_of(rank)
        if not same or not flow.dominates(cleanup, block) or set(flow.guards(block)) - set(flow.guards(cleanup)):
            continue
        name = str(taken.ref or taken.lock)
        excess = (
            f"lets one more in than the limit of {name}"
            if not taken.lock.kind.excludes
            else f"releases {name} for whoever holds it"
        )
        line, column, end_line, end_column = function.at(taken.op)
        return Finding(
            rule=LockWithoutRelease.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=f"{function.name}() {excess} if it is cancelled or times out while it waits for it",
            symbol=function.symbol, severity=Severity.MEDIUM, confidence=Confidence.LIKELY,
            proof=(
                *made_step(project, taken.lock),
                project.step(function, taken.op, f"{function.name}() waits for {name} inside of the try", name),
                project.step(function, rank, "the finally releases it, obtained or not", "release"),
            ),
            fix=Fix("display", "Acquire before the try, or use `async with`"),
        )  # fmt: skip
    return None


def _fix(project: Project, taken: Acquisition) -> Fix:
    """`with` for acquire ... release, with edits where they bracket plain statements of one block."""
    function, body = taken.function, taken.function.body
    word = "async with" if taken.lock.kind.is_async else "with"
    call = body.ops[taken.op]
    written = describe(body, call.callee).removesuffix(".acquire") if isinstance(call, Call) else ""
    title = f"Use `{word} {written or 'the lock'}:`, which releases it on every way out"
    statements = {s.line: s for s in function.module.facts.statements}
    first = function.at(taken.op)[0]
    start = _column(function, taken)
    ends = sorted(
        function.at(rank)[0]
        for rank, lock, ref in project.locks.releasing(function)
        if ref == taken.ref
        and function.at(rank)[0] > first
        and isinstance(o := body.ops[rank], Call)
        and last_name(function, o) == "release"
    )
    if (
        taken.gives_up
        or taken.ref is None
        or not written
        or "[" in written
        or len(ends) != 1
        or first not in statements
        or ends[0] not in statements
    ):
        return Fix("display", title)
    last = ends[0]
    between = [s for line, s in sorted(statements.items()) if first < line < last]
    inner = [rank for rank in range(taken.op, len(body.ops)) if first <= function.at(rank)[0] <= last]
    straight = len({flow_region(function, rank) for rank in inner}) == 1
    single = all(s.line == s.header_end == s.end for s in (statements[first], statements[last], *between))
    if not between or not straight or not single or any(s.scope for s in between) or _branches(function, inner):
        return Fix("display", title)
    edits = [Edit(function.path, first, start, first, function.at(taken.op)[3], f"{word} {written}:")]
    edits += [Edit(function.path, s.line, start, s.line, start, INDENT) for s in between]
    edits.append(Edit(function.path, last, 1, last + 1, 1, ""))
    return Fix("safe", title, tuple(edits))


def _column(function: FunctionNode, taken: Acquisition) -> int:
    """The column at which the statement of the acquisition begins: that of its `await`, if it has one."""
    column = function.at(taken.op)[1]
    following = taken.op + 1
    if following < len(function.body.ops) and function.at(following)[0] == function.at(taken.op)[0]:
        column = min(column, function.at(following)[1])
    return column


def flow_region(function: FunctionNode, op: int) -> int:
    """The guarded part of the function that an operation stands in."""
    return next(b.region for b in function.body.blocks if b.start <= op < b.end)


def _branches(function: FunctionNode, ops: list[int]) -> bool:
    """Whether the operations lie in more than one straight run of blocks."""
    blocks = [b for b in function.body.blocks if any(b.start <= op < b.end for op in ops)]
    return any(len([t for _, t in b.edges]) > 1 for b in blocks[:-1])
