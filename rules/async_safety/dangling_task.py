"""
Task whose handle is dropped

## What it finds
`create_task` or `ensure_future`, of asyncio or of any event loop, whose handle is not kept; and a function of the project
that returns such a handle to callers that drop it, reported once, where the task is made.

## Why it matters
The loop holds a weak reference only, so a pending task can be collected as garbage before it ends: a pump that stops, an
order that is never sent. What it raises is told when it is collected, if at all.

## Bad
```python
import asyncio


class Feed:
    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self):
        self._loop.create_task(self._pump())

    async def _pump(self):
        while True:
            await self._read()
```

## Good
Keep the handle as long as the task runs, and drop it when the task is done.

```python
import asyncio


class Feed:
    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self):
        task = self._loop.create_task(self._pump())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self):
        while True:
            await self._read()
```

## Limits
A handle that is stored, returned, passed on or read counts as kept, also in a list that is dropped later: missed alarms.
The receiver is told by its type; without one, by a name that ends in `loop`. A local that nothing reads is reported,
though it holds the task while its function runs. A task of a TaskGroup is held by the group. Only possible, and low: a task that
waits for nothing but the loop's timers, which know it, and any task of a program that gives its loop a task factory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Await, Call, Catch, Const, Select
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.flow import describe
from auditor.project.graph import last_name
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.uses import Use, maker, uses_of
from auditor.rule import Rule

from ._keeping import keeping
from ._stakes import Stake, endless, future_below, order_below, steps_of

SPAWNS = frozenset({"create_task", "ensure_future"})
SLEEPS = frozenset({"asyncio.sleep", "asyncio.tasks.sleep"})
WATCHES = frozenset({"add_done_callback", "set_name", "get_name"})  # methods that hold no reference to the task
JOIN = "threading.Thread.join"
DEPTH = 4  # functions that hand a task on
SHOWN = 5  # callers in a proof


class Fate(NamedTuple):
    """What becomes of a handle: kept, watched (only callbacks are added), dropped or returned."""

    how: str
    watcher: int = NONE


class DanglingTask(Rule):
    id = "dangling-task"
    severity = Severity.MEDIUM
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (401, 772)
    models = ("awaitables",)
    counterparts = {"ruff": {"RUF006": "merge"}, "mypy": {"unused-awaitable": "merge"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        droppers = _Droppers(project)
        factory = next(_factories(project), None)
        for function in project.functions():
            for op in sorted(project.calls(function)):
                kind = _spawns(project, function, op)
                if not kind:
                    continue
                fate = fate_of(project, function, op)
                if kind == "over" and _joined(project, function, op):
                    continue  # the other thread ends, and its last job with it
                if fate.how in ("dropped", "watched"):
                    yield _finding(project, function, op, kind, fate, factory)
                elif fate.how == "returned" and (sites := droppers.of(function)):
                    yield _wrapper(project, function, op, kind, sites)


def _spawns(project: Project, function: FunctionNode, op: int) -> str:
    """How a call makes a task: typed, by name, over (in the loop of another thread), or "" if it does not."""
    found = project.role(function, op, "awaitables")
    if found is not None:
        return {"spawns": "typed", "hands_over": "over"}.get(found[1].name, "")
    call = function.body.ops[op]
    result = project.calls(function)[op]
    if not isinstance(call, Call) or last_name(function, call) not in SPAWNS or result.targets or not call.args:
        return ""
    path = function.body.places[call.callee].path
    owner = path[-2].value if len(path) > 1 and path[-2].kind is Select.ATTR else function.body.places[call.callee].name
    known = any(not p.endswith(("()", "[]")) and "(" not in p for p in result.externals)
    return (
        "named"
        if not known and not isinstance(owner, Const) and str(owner).rstrip("_").lower().endswith("loop")
        else ""
    )


def _factories(project: Project) -> Iterator[tuple[FunctionNode, int]]:
    """Where the program says how its loop makes tasks: what makes them may keep them as well."""
    for function in project.functions():
        if not of_tests(function.path):
            for op in sorted(project.calls(function)):
                call = function.body.ops[op]
                if isinstance(call, Call) and last_name(function, call) == "set_task_factory":
                    yield function, op


def _hears(function: FunctionNode) -> bool:
    """Whether a coroutine may tell of its failure itself: by a handler, or by a decorator around it."""
    return bool(function.header.decorators) or any(isinstance(op, Catch) for op in function.body.ops)


def _only_sleeps(project: Project, function: FunctionNode) -> bool:
    """Whether the loop's own timers are all that a coroutine waits for: they know its task."""
    found = False
    for node in project.receivers(function):
        for op in project.suspension.points(node):
            if project.suspension.at(node, op) is Suspends.NEVER:
                continue
            step = function.body.ops[op]
            made = maker(function, step.src) if isinstance(step, Await) else NONE
            result = project.calls(function).get(made)
            if result is None or not any(canonical(p) in SLEEPS for p in result.externals):
                return False
            found = True
    return found


def _joined(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether the function waits for a thread after an operation."""
    flow, blocks = project.flow(function), function.body.blocks
    here = flow.block_of(op)
    after = [
        r for n in flow.reachable([t for _, t in flow.successors[here]]) for r in range(blocks[n].start, blocks[n].end)
    ]
    results = project.calls(function)
    ranks = [*range(op + 1, blocks[here].end), *after]
    return any(canonical(path) == JOIN for r in ranks if r in results for path in results[r].externals)


def fate_of(project: Project, function: FunctionNode, op: int) -> Fate:
    """What becomes of the handle that a call gives."""
    watcher = NONE
    hows: set[str] = set()
    for use in uses_of(function, project.flow(function), op):
        if use.how == "attribute" and _is_watch(function, use):
            watcher = use.op
        elif use.how != "deleted":
            hows.add(use.how)
    if not hows:
        return Fate("dropped") if watcher == NONE else Fate("watched", watcher)
    return Fate("returned" if hows == {"returned"} else "kept")


def _is_watch(function: FunctionNode, use: Use) -> bool:
    step = function.body.ops[use.op]
    path = function.body.places[use.operand].path
    return isinstance(step, Call) and step.callee == use.operand and len(path) == 1 and path[0].value in WATCHES


class _Droppers:
    """Call sites that drop the task which a function of the project returns."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.called_back: dict[FunctionNode, list[tuple[FunctionNode, int]]] = {}
        for function in project.functions():
            for op, result in sorted(project.calls(function).items()):
                if result.handed:
                    found = project.role(function, op, "awaitables")
                    if found is not None and found[1].name == "calls_back":
                        for target in result.handed:
                            self.called_back.setdefault(target.function, []).append((function, op))

    def of(self, function: FunctionNode, depth: int = DEPTH) -> list[tuple[FunctionNode, int]]:
        """The sites, by path and place."""
        sites = list(self.called_back.get(function, ()))
        for caller, op in self.project.callers(function):
            made = op
            if function.header.is_async:
                made = next((u.op for u in uses_of(caller, self.project.flow(caller), op) if u.how == "awaited"), NONE)
                if made == NONE:
                    continue
            fate = fate_of(self.project, caller, made)
            if fate.how == "dropped":
                sites.append((caller, op))
            elif fate.how == "returned" and depth and caller is not function:
                sites.extend(self.of(caller, depth - 1))
        return sorted(set(sites), key=lambda s: (s[0].key, s[1]))


# --- the findings ---------------------------------------------------------------------------------------------------


def _targets(project: Project, function: FunctionNode, op: int) -> list[FunctionNode]:
    """The `async def`s whose coroutines a call is given."""
    call = function.body.ops[op]
    found: dict[FunctionNode, None] = {}
    for operand in (*call.args, *(v for _, v in call.keywords)) if isinstance(call, Call) else ():
        made = maker(function, operand)
        result = project.calls(function).get(made) if made != NONE else None
        found.update(
            (t.function, None) for t in (result.targets if result is not None else ()) if t.function.header.is_async
        )
    return list(found)


def _stake(project: Project, targets: list[FunctionNode]) -> tuple[FunctionNode, Stake | int] | None:
    """What is lost with a task: an order, a future that someone waits for, or an endless loop (its operation)."""
    for target in targets:
        found: Stake | int | None = order_below(project, target) or future_below(project, target)
        if found is None:
            found = endless(project, target)
        if found is not None:
            return target, found
    return None


def _stake_steps(project: Project, stake: tuple[FunctionNode, Stake | int]) -> Iterator[Step]:
    target, found = stake
    if isinstance(found, int):
        yield project.step(target, found, f"{target.name}() loops without end", "loop")
    else:
        yield from steps_of(project, found)


def _definition(target: FunctionNode) -> Step:
    line, column = target.position()
    return Step(target.path, line, column, f"the task runs {target.name}()", target.name)


def _finding(
    project: Project, function: FunctionNode, op: int, kind: str, fate: Fate, factory: tuple[FunctionNode, int] | None
) -> Finding:
    line, column, end_line, end_column = function.at(op)
    targets = _targets(project, function, op)
    stake = _stake(project, targets)
    of = f" of {targets[0].name}()" if targets else ""
    message = f"Nothing keeps the task{of}: it can be collected while it runs"
    if fate.how == "watched":
        message = f"Only callbacks know the task{of}: it can be collected while it runs"
    if kind == "over":
        message = f"Nothing reads the future{of}: what it raises is never seen"
    severity = Severity.HIGH if stake is not None else Severity.MEDIUM
    if kind == "over":
        severity = Severity.INFO
    elif fate.how == "watched":
        severity = Severity.LOW
    confidence = Confidence.LIKELY if kind == "named" else Confidence.CERTAIN
    if kind == "over":
        unheard = targets and not any(_hears(t) for t in targets)
        confidence = confidence if unheard else Confidence.POSSIBLE
        factory = None
    elif factory is not None or targets and all(_only_sleeps(project, t) for t in targets):
        severity, confidence = min(severity, Severity.LOW), Confidence.POSSIBLE
    return Finding(
        rule=DanglingTask.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=message,
        symbol=function.symbol,
        severity=severity,
        confidence=confidence,
        proof=(
            *_steps(project, function, op, fate, targets, stake),
            *([project.step(*factory, "the loop has a task factory, which may keep what it makes")] if factory else []),
        ),
        fix=keeping(project, function, op) if kind != "over" else Fix("display", "Keep the future and ask it for its exception"),
    )  # fmt: skip


def _steps(
    project: Project,
    function: FunctionNode,
    op: int,
    fate: Fate,
    targets: list[FunctionNode],
    stake: tuple[FunctionNode, Stake | int] | None,
) -> Iterator[Step]:
    call = function.body.ops[op]
    written = (describe(function.body, call.callee) or last_name(function, call)) if isinstance(call, Call) else ""
    who = function.name or "the module"
    yield project.step(
        function, op, f"{who} makes it with {written}(), and nothing keeps the handle", function.name or "module"
    )
    if fate.watcher != NONE:
        yield project.step(function, fate.watcher, "a callback of the task is no reference to it", "callback")
    yield from (_definition(t) for t in targets[:1])
    if stake is not None:
        yield from _stake_steps(project, stake)


def _wrapper(
    project: Project, function: FunctionNode, op: int, kind: str, sites: list[tuple[FunctionNode, int]]
) -> Finding:
    line, column, end_line, end_column = function.at(op)
    stake = None
    for caller, site in sites:
        stake = _stake(project, _targets(project, caller, site))
        if stake is not None:
            break
    stake = stake or _stake(project, _targets(project, function, op))
    count = f"{len(sites)} caller{'s' if len(sites) > 1 else ''} drop{'s' if len(sites) == 1 else ''} it"
    name = function.name if function.header.kind == "def" else "the lambda"
    shown = name + "()" if function.header.kind == "def" else name
    return Finding(
        rule=DanglingTask.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"The task that {shown} returns is kept by nothing, and {count}",
        symbol=function.symbol,
        severity=Severity.INFO if kind == "over" else Severity.HIGH if stake is not None else Severity.MEDIUM,
        confidence=Confidence.LIKELY,
        proof=(
            project.step(function, op, f"{shown} makes the task and returns it without keeping it", name),
            *(project.step(c, at, f"{c.name or 'the module'} drops what {shown} returns", c.name or "module") for c, at in sites[:SHOWN]),
            *([_definition(stake[0]), *_stake_steps(project, stake)] if stake is not None else []),
        ),
        fix=Fix("display", "Keep the task in a set here, with a done callback that discards it"),
    )  # fmt: skip
