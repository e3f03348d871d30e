"""
Shared state touched without its lock

## What it finds
State that is changed under a lock in one place, and changed, walked over or tested and acted upon without that lock in
another. For a thread lock that is enough; for an asyncio lock the guarded region must let other tasks run between two
accesses, because what cannot be interrupted needs no lock.

## Why it matters
A lock protects only if everybody takes it. The one place that does not turns `RuntimeError: deque mutated during iteration`
loose in the middle of a session, loses an update of a position, or empties a table that another thread is half way
through. It cannot be reproduced and leaves no trace but a wrong number.

## Bad
```python
import threading
from collections import deque


class Marks:
    def __init__(self):
        self._lock = threading.Lock()
        self._prices = deque(maxlen=1000)

    def add(self, price):
        with self._lock:
            self._prices.append(price)

    def worst(self):
        return min(price for price in self._prices)
```

## Good
Take the lock around every change and every walk. A copy under the lock is enough where the work on it takes long.

```python
import threading
from collections import deque


class Marks:
    def __init__(self):
        self._lock = threading.Lock()
        self._prices = deque(maxlen=1000)

    def add(self, price):
        with self._lock:
            self._prices.append(price)

    def worst(self):
        with self._lock:
            prices = list(self._prices)
        return min(prices)
```

## Limits
Reading one value is never reported, nor is a copy of a dict, list or set by `list()` and the like, nor a store that
replaces the whole of a container: each is one step. Without two starts that meet, the finding is only possible. State
that only a constructor writes, or what it calls, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.project import Project
from auditor.project.sharing import Same
from auditor.rule import Rule

from ._guards import Breach, breaches
from ._race import way_steps
from ._words import made_step


class InconsistentLock(Rule):
    id = "inconsistent-lock"
    severity = Severity.HIGH
    confidence = Confidence.POSSIBLE
    since = "0.1"
    options: ClassVar = {
        "likely": False
    }  # grade a breach of two shown threads likely; its precision is not measured yet
    effort = "M"
    cwe = (362, 820)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for breach in breaches(project):
            finding = _finding(project, breach)
            yield (
                finding
                if self.option["likely"]
                else finding.with_(severity=Severity.INFO, confidence=Confidence.POSSIBLE)
            )


def _finding(project: Project, breach: Breach) -> Finding:
    function, op = breach.site
    line, column, end_line, end_column = function.at(op)
    sure = breach.meeting is not None and breach.meeting.same is Same.YES and breach.plain
    name = f"{breach.access.state.name}"
    guard = breach.guarded.function.name
    does = f"{function.name}() {_done(breach)} without {breach.lock}"
    return Finding(
        rule=InconsistentLock.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{does}, which {guard}() holds when it changes {name}: {breach.harm}{_others(breach)}",
        symbol=function.symbol, severity=breach.severity if sure else Severity.INFO,
        confidence=Confidence.LIKELY if sure else Confidence.POSSIBLE, proof=tuple(_steps(project, breach)),
        fix=Fix("display", f"Take {breach.lock} around it, if nothing on the way here holds it"),
    )  # fmt: skip


def _others(breach: Breach) -> str:
    return f"; likewise {', '.join(breach.others)}" if breach.others else ""


def _done(breach: Breach) -> str:
    name = str(breach.access.ref)
    if breach.access.function is not breach.site[0]:
        return f"runs {breach.access.function.name}(), which {breach.what} {name},"
    return f"{breach.what} {name}"


def _steps(project: Project, breach: Breach) -> Iterator[Step]:
    lock, guarded, access = breach.lock, breach.guarded, breach.access
    yield from made_step(project, lock)
    yield project.step(
        guarded.function,
        guarded.op,
        f"{guarded.function.name}() changes {guarded.ref} under {lock}",
        guarded.function.name,
    )
    if breach.pause is not None:
        note = "inside of the region it suspends: other tasks run, and the lock alone keeps them out"
        yield project.step(guarded.function, breach.pause, note, "await")
    if breach.caller is not None:
        caller, op = breach.caller
        yield project.step(
            caller, op, f"{caller.name}() holds {lock} when it runs {access.function.name}()", caller.name
        )
    if access.function is not breach.site[0]:
        yield project.step(
            *breach.site, f"{breach.site[0].name}() runs {access.function.name}() without it", breach.site[0].name
        )
    yield project.step(
        access.function,
        access.op,
        f"{access.function.name}() {breach.what} {access.ref} without it",
        access.function.name,
    )
    if breach.meeting is not None:
        yield from way_steps(project, breach.meeting, guarded.function, breach.site[0])
