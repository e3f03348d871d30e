"""
Decision on shared state that outlives an await

## What it finds
A coroutine that reads shared state, awaits something that really suspends, and then acts on what it read: a flag, a key or
a limit that was tested, a value that is written back, an iteration over a container that others resize. Another task can
change the state in between.

## Why it matters
Both tasks pass the test before either of them writes: two sockets, two orders for one signal, a fill that is counted twice,
a position that is written back without what came in meanwhile. It happens under load, when answers are slow, and no
test with one task at a time ever shows it.

## Bad
```python
import asyncio


class Feed:
    def __init__(self, socket):
        self._socket = socket
        self._subscribed = set()
        self._tasks = set()

    async def serve(self, requests):
        async for pair in requests:
            self._tasks.add(asyncio.create_task(self.subscribe(pair)))

    async def subscribe(self, pair):
        if pair not in self._subscribed:
            await self._socket.send(pair)
            self._subscribed.add(pair)
```

## Good
Claim first: change the state before the first await, and take it back if what follows fails. Or test again after the await,
or hold one `asyncio.Lock` over the test, the await and the change.

```python
import asyncio


class Feed:
    def __init__(self, socket):
        self._socket = socket
        self._subscribed = set()
        self._tasks = set()

    async def serve(self, requests):
        async for pair in requests:
            self._tasks.add(asyncio.create_task(self.subscribe(pair)))

    async def subscribe(self, pair):
        if pair not in self._subscribed:
            self._subscribed.add(pair)
            await self._socket.send(pair)
```

## Limits
Silent where one task owns the state, where every caller has claimed it, and for what may well happen twice: a cache that is
filled again, a reset to None, a time stamp. Where it is not shown that two tasks come with the same object, or that
the await suspends, the finding is only possible. What a library does with a callback is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.accesses import Access, State
from auditor.project.project import Project
from auditor.project.references import Item, Ref
from auditor.project.sharing import Same, Together
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._decisions import Decision, Kind, decisions
from ._race import pause_steps, really, way_steps
from ._walks import Walk, resizes, resizes_inside, walks

RIVALRY = frozenset({Kind.UPDATE, Kind.STALE, Kind.STATUS, Kind.LIMIT})  # any other change is enough
GRAVE = frozenset({Kind.CREATE, Kind.UPDATE, Kind.STALE})


class AwaitAtomicity(Rule):
    id = "await-atomicity"
    severity = Severity.MEDIUM
    confidence = Confidence.POSSIBLE
    since = "0.1"
    options: ClassVar = {"likely": False}  # grade a race of two shown tasks likely; its precision is not measured yet
    effort = "M"
    cwe = (362, 367)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for finding in self._all(project):
            yield (
                finding
                if self.option["likely"]
                else finding.with_(severity=Severity.INFO, confidence=Confidence.POSSIBLE)
            )

    def _all(self, project: Project) -> Iterator[Finding]:
        lists: dict[State, list[tuple[Walk, Rival]]] = {}
        for function in project.functions():
            if function.header.is_async and not project.sharing.alone(function):
                yield from _decided(project, function)
                for walk, rival in _walked(project, function):
                    if walk.fails:
                        yield _walk_finding(project, walk, rival, 0)
                    else:
                        lists.setdefault(walk.read.state, []).append((walk, rival))
        for _, found in sorted(lists.items()):  # one list of a base class, walked over by all its children
            walk, rival = min(found, key=lambda w: (w[1].rank, w[0].read.function.key, w[0].read.op))
            yield _walk_finding(project, walk, rival, len(found) - 1)


class Rival(NamedTuple):
    """Who interferes: `other` changes the state, `meeting` shows that both are under way (None: nobody shows it). `own`: the
    same task does it."""

    other: Access
    meeting: Together | None
    own: bool = False

    @property
    def rank(self) -> int:
        if self.own:
            return -3
        return -int(self.meeting.same) if self.meeting is not None else 1


def _decided(project: Project, function: FunctionNode) -> Iterator[Finding]:
    """One finding for each operation that acts on a stale decision."""
    best: dict[int, tuple[tuple[int, int, int], Decision, Rival]] = {}
    for decision in decisions(project, function):
        rival = _rival(project, decision)
        if rival is None:
            continue
        rank = (rival.rank, -int(decision.certainty), decision.read.op)
        if decision.act not in best or rank < best[decision.act][0]:
            best[decision.act] = (rank, decision, rival)
    for _, (_, decision, rival) in sorted(best.items(), key=lambda item: item[0]):
        yield _finding(project, decision, rival)


def _rival(project: Project, decision: Decision) -> Rival | None:
    """The best other change of what was read; None where one task owns it, or a lock keeps the others out."""
    sharing, function = project.sharing, decision.function
    if sharing.claims.upstream(function, decision.read.state):
        return None
    held = frozenset(k for k in project.locks.at(function, decision.pause) if k.kind.excludes)
    if held & sharing.held(decision.read) and held & sharing.held(decision.write.access):
        return None  # who comes without the lock is the finding of inconsistent-lock
    found: list[Rival] = []
    for other in _interfering(project, decision):
        if held & sharing.held(other):
            continue
        meeting = sharing.together(function, other.function, decision.pause, other.op)
        if meeting is not None and _other_keys(project, decision, meeting):
            continue
        if meeting is not None:
            found.append(Rival(other, meeting))
        elif not sharing.ways_to(function) or not sharing.ways_to(other.function):
            found.append(Rival(other, None))
    return min(
        found, key=lambda r: (r.rank, r.other.function is not function, r.other.function.key, r.other.op), default=None
    )


def _other_keys(project: Project, decision: Decision, meeting: Together) -> bool:
    """Whether the tasks that are started together have a key each (`gather(*[self.load(k) for k in keys])`)."""
    keys = [s.key for s in decision.read.rest if isinstance(s, Item) and isinstance(s.key, Ref)]
    ways = project.sharing.ways
    return meeting.many and any(ways.varies(meeting.first, decision.function, key) for key in keys)


def _interfering(project: Project, decision: Decision) -> Iterator[Access]:
    """Changes by another task that make the decision wrong."""
    own = decision.write.access
    for other in project.sharing.writers(decision.read.state):
        if other.function is own.function and other.op == own.op:
            yield decision.write.access._replace(function=decision.function, op=decision.write.op)
        elif decision.kind in RIVALRY and other.function is not decision.function and _competes(decision, other):
            yield other


def _competes(decision: Decision, other: Access) -> bool:
    """Whether a change elsewhere concerns what the decision is about."""
    if decision.kind is Kind.LIMIT:
        return other.how is decision.write.access.how
    return len(other.rest) == len(decision.write.access.rest)


def _finding(project: Project, decision: Decision, rival: Rival) -> Finding:
    function, read = decision.function, decision.read
    shown = rival.meeting is not None and rival.meeting.same is Same.YES
    sure = shown and decision.certainty is Suspends.MAY and really(project, function, decision.pause)
    line, column, end_line, end_column = function.at(decision.act)
    name, words = str(read.ref), _WORDS[decision.kind]
    does = f"{function.name}() {words.read.format(name=name)}"
    steps = [
        project.step(function, read.op, does, "read"),
        *pause_steps(project, function, decision.pause, decision.certainty),
        *_write_steps(project, decision, name),
        *_rival_steps(project, function, name, rival),
    ]
    severity = Severity.HIGH if decision.kind in GRAVE else Severity.MEDIUM
    return Finding(
        rule=AwaitAtomicity.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{does}, awaits, and then {words.act}: {words.harm}",
        symbol=function.symbol, severity=severity if sure else Severity.INFO,
        confidence=Confidence.LIKELY if sure else Confidence.POSSIBLE, proof=tuple(steps),
        fix=Fix("display", words.mend.format(name=name)),
    )  # fmt: skip


class Words(NamedTuple):
    """How a kind is told: what is read, what is done, why that is wrong, what to do."""

    read: str
    act: str
    harm: str
    mend: str


_AGAIN = "a second task passes the test meanwhile and does the same again"
_CLAIM = "Change {name} before the first await, and take it back if what follows fails; or hold one asyncio.Lock over all three"
_RETEST = "Test {name} again after the await, or hold one lock over all of it"
_WORDS = {
    Kind.UPDATE: Words(
        "reads {name}",
        "writes back what it made of the old value",
        "what another task adds meanwhile is lost",
        "Await first, and read {name} only in the statement that writes it",
    ),
    Kind.FLAG: Words("tests {name}", "sets it", _AGAIN, _CLAIM),
    Kind.INSERT: Words("looks whether it stands in {name}", "enters it", _AGAIN, _CLAIM),
    Kind.CREATE: Words(
        "finds {name} missing",
        "stores what it has opened",
        "a second task opens another one meanwhile, and one of them is lost",
        _CLAIM,
    ),
    Kind.LIMIT: Words(
        "measures {name} against a limit",
        "adds to it",
        "other tasks pass the test meanwhile, and together they are over the limit",
        _CLAIM,
    ),
    Kind.DELETE: Words(
        "finds it in {name}",
        "removes it",
        "another task may have removed it meanwhile, which raises",
        "Take it out before the await, or with `pop(key, None)`",
    ),
    Kind.STATUS: Words(
        "tests the state in {name}", "overwrites it", "what another task has set meanwhile is lost", _RETEST
    ),
    Kind.RESET: Words(
        "measures {name} against a limit", "sets it anew", "what other tasks have counted meanwhile is lost", _RETEST
    ),
    Kind.STALE: Words(
        "reads {name}",
        "decides on what it read",
        "another task may have acted on the same value meanwhile",
        "Read {name} again after the await, or hold one lock over all of it",
    ),
}


def _write_steps(project: Project, decision: Decision, name: str) -> Iterator[Step]:
    function, write = decision.function, decision.write
    if decision.act != write.op:
        yield project.step(function, decision.act, f"{function.name}() acts on what it read before", "act")
    for current, op in write.hops:
        target = write.access.function.name if (current, op) == write.hops[-1] else "a callee"
        yield project.step(current, op, f"{current.name}() runs {target}()", target)
    yield project.step(
        write.access.function,
        write.access.op,
        f"{write.access.function.name}() changes {name}, relying on that",
        "write",
    )


def _rival_steps(project: Project, function: FunctionNode, name: str, rival: Rival) -> Iterator[Step]:
    other = rival.other
    if rival.meeting is None:
        note = f"{other.function.name}() changes {name} too; that two tasks run is not shown"
        yield project.step(other.function, other.op, note, other.function.name)
        return
    yield from way_steps(project, rival.meeting, function, other.function)
    if other.function is not function:
        yield project.step(other.function, other.op, f"{other.function.name}() changes {name}", other.function.name)


def _walked(project: Project, function: FunctionNode) -> Iterator[tuple[Walk, Rival]]:
    """Live iterations that another task, or the body itself, disturbs. Of a list only what is shown counts."""
    sharing = project.sharing
    for walk in walks(project, function):
        if walk.fails is None:
            continue
        inside = resizes_inside(project, function, walk)
        if inside is not None:
            yield walk, Rival(inside.access, None, own=True)
            continue
        held = frozenset(k for k in project.locks.at(function, walk.pause) if k.kind.excludes)
        found: list[Rival] = []
        for other in resizes(project, walk):
            if held & sharing.held(other):
                continue
            meeting = sharing.together(function, other.function, walk.pause, other.op)
            if meeting is not None and (other.function is not function or meeting.same is Same.YES):
                found.append(Rival(other, meeting))
            elif (
                meeting is None
                and walk.fails
                and other.function is not function
                and (not sharing.ways_to(function) or not sharing.ways_to(other.function))
            ):
                found.append(Rival(other, None))
        if found:
            yield walk, min(found, key=lambda r: (r.rank, r.other.function.key, r.other.op))


def _walk_finding(project: Project, walk: Walk, rival: Rival, more: int) -> Finding:
    read, name, function = walk.read, str(walk.read.ref), walk.read.function
    shown = rival.own or rival.meeting is not None and rival.meeting.same is Same.YES
    sure = rival.own or shown and walk.certainty is Suspends.MAY and really(project, function, walk.pause)
    sure = sure and walk.fails is True
    line, column, end_line, end_column = function.at(read.op)
    harm = "the next step of the loop raises RuntimeError" if walk.fails else "items are left out"
    who = "its body" if rival.own else f"{rival.other.function.name}()"
    others = f"; so do {more} further loops over {read.state}" if more else ""
    changes = f"{rival.other.function.name}() changes its size while the loop runs"
    steps = [
        project.step(function, read.op, f"{function.name}() walks over {name} itself, not over a copy", "read"),
        *pause_steps(project, function, walk.pause, walk.certainty),
        *(
            [project.step(rival.other.function, rival.other.op, changes, "write")]
            if rival.own
            else _rival_steps(project, function, name, rival)
        ),
    ]
    return Finding(
        rule=AwaitAtomicity.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() walks over {name} with an await in the loop, and {who} changes its size meanwhile: {harm}{others}",
        symbol=function.symbol, severity=Severity.MEDIUM if sure else Severity.INFO,
        confidence=Confidence.LIKELY if sure else Confidence.POSSIBLE, proof=tuple(steps),
        fix=Fix("display", f"Walk over a copy, `list({name})`, and expect items that are gone by then"),
    )  # fmt: skip
