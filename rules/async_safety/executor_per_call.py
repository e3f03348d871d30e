"""
Executor built for every call

## What it finds
A `ThreadPoolExecutor` or `ProcessPoolExecutor` that is built inside a function which runs per order, tick or request, and is not
kept: a `with` block in an `async def`, a pool in a function that a task or a loop runs again and again.

## Why it matters
Leaving the block joins the workers on the event loop, also when the task is cancelled or times out: every other order waits until
the slowest job is done. And each call pays for threads or processes that one shared pool would have ready.

## Bad
```python
import asyncio
from concurrent.futures import ThreadPoolExecutor


class Gateway:
    def __init__(self, client):
        self._client = client

    async def submit(self, order):
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor() as pool:
            return await loop.run_in_executor(pool, self._client.send, order)
```

## Good
Use the executor of the loop through `asyncio.to_thread`, or keep one pool for the life of the object.

```python
import asyncio


class Gateway:
    def __init__(self, client):
        self._client = client

    async def submit(self, order):
        return await asyncio.to_thread(self._client.send, order)
```

## Limits
A pool that is stored, returned or passed on is left alone, and so is one behind `if self._pool is None`, in a constructor, or in
the function that a program or a loop is started with. Outside of an `async def` there must be a task, a thread or a loop in the
project that runs the function again and again: without that, missed alarms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Call, Const, Enter, Exit
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.flow import describe
from auditor.project.graph import Node, last_name
from auditor.project.guards import cached, once
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.uses import uses_of
from auditor.rule import Rule

from ._sources import MAINS, Again, Sources

HANDS_OVER = frozenset({"run_in_executor", "submit", "map"})
WORKS = frozenset({"submit", "map", "shutdown", "__enter__", "__exit__"})
ONCE = frozenset({"__init__", "__new__", "__post_init__", "__aenter__", "__enter__", "setup", "set_up"}) | MAINS
BOUNDS = frozenset({"timeout", "timeout_at", "wait_for", "move_on_after", "fail_after"})
DEPTH = 6  # calls that are followed to what blocks


class Built(NamedTuple):
    """An executor: operation `op` of `function` builds it; `enter` and `leave` are its `with`, NONE without one; `jobs` are
    the calls that give it work."""

    function: FunctionNode
    op: int
    enter: int
    leave: int
    jobs: tuple[int, ...]
    path: str


class ExecutorPerCall(Rule):
    id = "executor-per-call"
    severity = Severity.MEDIUM
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (400, 770)
    models = ("growth", "blocking")

    def check_project(self, project: Project) -> Iterator[Finding]:
        sources = Sources(project)
        for function in project.functions():
            if function.header.kind != "def" or function.name in ONCE or cached(function):
                continue
            for op, result in sorted(project.calls(function).items()):
                if not any(path.endswith("PoolExecutor") for path in result.externals):
                    continue
                built = _built(project, function, op)
                if built is not None and not once(project, function, op):
                    yield from _judged(project, sources, built)


def _built(project: Project, function: FunctionNode, op: int) -> Built | None:
    """The executor that a call builds, if it lives no longer than the call of its function."""
    role = project.role(function, op, "growth")
    if role is None or role[1].name != "executor":
        return None
    body = function.body
    enter = leave = NONE
    jobs: list[int] = []
    for use in uses_of(function, project.flow(function), op):
        step = body.ops[use.op]
        if isinstance(step, Enter):
            enter = use.op
            jobs.extend(_jobs(project, function, use.op))
        elif isinstance(step, Exit):
            leave = use.op if leave == NONE else leave
        elif isinstance(step, Call) and last_name(function, step) in HANDS_OVER:
            jobs.append(use.op)
        elif not (isinstance(step, Call) and use.how == "attribute" and last_name(function, step) in WORKS):
            return None  # somebody else has it
    return Built(function, op, enter, leave, tuple(sorted(set(jobs))), canonical(role[0]))


def _jobs(project: Project, function: FunctionNode, enter: int) -> Iterator[int]:
    """The calls that give work to a pool by the name that its `with` binds."""
    for use in uses_of(function, project.flow(function), enter):
        step = function.body.ops[use.op]
        if isinstance(step, Call) and last_name(function, step) in HANDS_OVER:
            yield use.op


def _judged(project: Project, sources: Sources, built: Built) -> Iterator[Finding]:
    function = built.function
    if of_tests(function.path) or sources.once(function):
        return
    root = sources.again(function, built.op)
    if built.enter != NONE and function.header.is_async:
        slow = _slow_job(project, built)
        grade = Severity.HIGH if slow is not None and not _bounded(project, built) else Severity.MEDIUM
        yield _finding(project, built, root, slow, grade, Confidence.LIKELY if _let_go(built) else Confidence.CERTAIN)
    elif root is not None:
        yield _finding(project, built, root, None, Severity.LOW, Confidence.LIKELY)


def _let_go(built: Built) -> bool:
    """Whether the function lets go of the workers on the way that it expects: `pool.shutdown(wait=False)`."""
    body = built.function.body
    ends = (op for op in body.ops if isinstance(op, Call) and last_name(built.function, op) == "shutdown")
    return any(
        name == "wait" and body.places[operand].name == Const("bool", "False")
        for call in ends
        for name, operand in call.keywords
    )


def _bounded(project: Project, built: Built) -> bool:
    """Whether some call of the function limits the time of the job."""
    function = built.function
    return any(
        isinstance(call := function.body.ops[op], Call) and last_name(function, call) in BOUNDS
        for op in project.calls(function)
    )


def _slow_job(project: Project, built: Built) -> list[tuple[FunctionNode, int]] | None:
    """The chain from a job to something of high severity that blocks it, shortest first."""
    for op in built.jobs:
        handed = [t.function for t in project.calls(built.function)[op].handed]
        level: list[tuple[FunctionNode, tuple[tuple[FunctionNode, int], ...]]] = [
            (f, ()) for f in dict.fromkeys(handed)
        ]
        seen = set(handed)
        for _ in range(DEPTH):
            following: list[tuple[FunctionNode, tuple[tuple[FunctionNode, int], ...]]] = []
            for function, chain in level:
                for rank in sorted(project.calls(function)):
                    role = project.role(function, rank, "blocking")
                    attributes = role[1].attributes if role is not None else {}
                    if attributes.get("severity") == "high" and attributes.get("kind") != "loop":  # a worker has no loop
                        return [*chain, (function, rank)]
                for run in project.graph.runs(Node(function, None)):
                    if run.target.function not in seen:
                        seen.add(run.target.function)
                        following.append((run.target.function, (*chain, (function, run.op))))
            level = following
    return None


def _finding(
    project: Project,
    built: Built,
    root: Again | None,
    slow: list[tuple[FunctionNode, int]] | None,
    severity: Severity,
    confidence: Confidence,
) -> Finding:
    function = built.function
    line, column, end_line, end_column = function.at(built.op)
    name = built.path.rpartition(".")[2]
    what = f"{function.name}() builds a {name} for {'each call' if root is not None else 'itself'}"
    if built.enter != NONE and function.header.is_async:
        what += ", and leaving its block joins the workers on the event loop, also on cancellation"
    return Finding(
        rule=ExecutorPerCall.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=what,
        symbol=function.symbol,
        severity=severity,
        confidence=confidence,
        proof=tuple(_steps(project, built, root, slow)),
        fix=Fix("display", _mend(function, built)),
    )  # fmt: skip


def _mend(function: FunctionNode, built: Built) -> str:
    call = function.body.ops[built.op]
    plain = isinstance(call, Call) and not call.args and not call.keywords
    if function.header.is_async and plain and "Thread" in built.path:
        return "Use asyncio.to_thread, which shares the executor of the loop"
    return "Build one executor where the object is built, and shut it down with the object"


def _steps(
    project: Project, built: Built, root: Again | None, slow: list[tuple[FunctionNode, int]] | None
) -> Iterator[Step]:
    function = built.function
    if root is not None:
        yield from root.steps(project)
    yield project.step(function, built.op, f"{function.name}() builds it here, and nothing keeps it", function.name)
    for op in built.jobs[:1]:
        call = function.body.ops[op]
        written = describe(function.body, call.callee) or last_name(function, call) if isinstance(call, Call) else "a call"
        yield project.step(function, op, f"work is handed to it with {written}()", "job")
    for rank, (where, op) in enumerate(slow or ()):
        role = project.role(where, op, "blocking") if rank + 1 == len(slow or ()) else None
        note = f"calls {canonical(role[0])}: {role[1].note}" if role is not None else "calls what blocks"
        yield project.step(where, op, f"{where.name}() {note}", where.name)
    if built.enter != NONE:
        place = "on the loop" if function.header.is_async else "here"
        yield project.step(
            function, built.enter, f"the end of this block waits for the workers {place}, whatever ends it", "join"
        )
