"""
Await of something that is not awaitable

## What it finds
`await` on the result of a plain `def` that never returns an awaitable; `async with` and `async for` on what has no such
protocol.

## Why it matters
It raises `TypeError`, always, on the first run, after the function has already done its work: the order is placed, then
the error is raised. Inside a broad handler nobody sees it, and the rest of the branch is dead.

## Bad
```python
class Account:
    def fee_for(self, order):
        return order.size * self.rate

    async def charge(self, order):
        fee = await self.fee_for(order)
        self.cash -= fee
```

## Good
Call it without `await`.

```python
class Account:
    def fee_for(self, order):
        return order.size * self.rate

    async def charge(self, order):
        fee = self.fee_for(order)
        self.cash -= fee
```

## Limits
One target, in the project or in the standard library, each of whose returns is decided: a literal, arithmetic, a class
without `__await__`. A return of unknown type, an unknown decorator, an `async` override, or a test such as
`inspect.isawaitable` keep it silent: missed alarms. Attributes that hold the awaited value are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Await, Branch, Call, Catch, Enter, Iterate, Root, Select
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.awaitables import CONSTRUCTORS, Gives
from auditor.project.callables import Target
from auditor.project.graph import last_name
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.types import ClassObject
from auditor.project.uses import maker
from auditor.rule import Rule

CATCHES = frozenset({"TypeError", "Exception", "BaseException"})
MANAGER = "contextlib.contextmanager"
PROTOCOLS = {"async with": "__aenter__", "async for": "__aiter__"}


class Plain(NamedTuple):
    """What an operation waits for in vain: made by the call `made`, which runs `target` or a callee of a library."""

    made: int
    target: Target | None
    path: str
    form: str  # await, async with or async for


class AwaitOnSync(Rule):
    id = "await-on-sync"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (628,)
    models = ("awaitables",)
    counterparts = {"mypy": {"misc": "super"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            if not function.header.is_async:
                continue
            for op in sorted(r for n in project.flow(function).order for r in _ranks(function, n)):
                plain = _plain(project, function, op)
                if plain is not None and not _asked(project, function, op):
                    finding = _finding(project, function, op, plain)
                    if finding is not None:
                        yield finding


def _ranks(function: FunctionNode, number: int) -> range:
    block = function.body.blocks[number]
    return range(block.start, block.end)


def _plain(project: Project, function: FunctionNode, op: int) -> Plain | None:
    step = function.body.ops[op]
    match step:
        case Await(_, source):
            form = "await"
        case Enter(_, source, 1):
            form = "async with"
        case Iterate(_, source, 1):
            form = "async for"
        case _:
            return None
    made = maker(function, source)
    if made == NONE or not isinstance(function.body.ops[made], Call):
        return None
    awaitables = project.awaitables
    manager = _plain_manager(project, function, made) if form == "async with" else None
    if manager is not None:
        return Plain(made, manager, "", form)
    callee = awaitables.plain(function, made) or _constructed(project, function, made)
    if callee is None:
        return None
    target, path = (callee, "") if isinstance(callee, Target) else (None, callee)
    if form == "await":
        return Plain(made, target, path, form)
    lacks = awaitables.lacks(project.calls(function)[made].type, PROTOCOLS[form])
    return Plain(made, target, path, form) if lacks else None


def _constructed(project: Project, function: FunctionNode, made: int) -> str | None:
    """The class of the project that a call constructs, if it has no constructor of its own and cannot be awaited."""
    result = project.calls(function)[made]
    call = function.body.ops[made]
    if (
        result.targets
        or result.how != "typed"
        or not isinstance(call, Call)
        or not project.awaitables.never_awaitable(result.type)
    ):
        return None
    callee = project.types(function).get((made, call.callee), frozenset())
    classes = [a.cls for a in callee if isinstance(a, ClassObject)]
    if len(classes) != len(callee) or len(classes) != 1 or isinstance(classes[0], str):
        return None
    return f"{classes[0].dotted}()"


def _plain_manager(project: Project, function: FunctionNode, made: int) -> Target | None:
    """The one generator of a plain context manager that a call gives."""
    result = project.calls(function)[made]
    if result.how != "typed" or len(result.targets) != 1 or result.externals:
        return None
    header = result.targets[0].function.header
    paths = [project.symbols.decorator_path(result.targets[0].function, d) for d in header.decorators]
    return result.targets[0] if header.is_generator and not header.is_async and paths == [MANAGER] else None


def _asked(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether the operation stands behind a test of what can be awaited."""
    flow = project.flow(function)
    for branch, _ in flow.guards(flow.block_of(op)):
        test = function.body.ops[branch]
        made = maker(function, test.test) if isinstance(test, Branch) else NONE
        found = (
            project.role(function, made, "awaitables")
            if made != NONE and isinstance(function.body.ops[made], Call)
            else None
        )
        if found is not None and found[1].name == "asks":
            return True
    return False


def _masked(function: FunctionNode, op: int, flow_block: int) -> tuple[int, bool] | None:
    """The handler that takes the TypeError: its operation, and whether it is for TypeError alone."""
    body = function.body
    region = body.blocks[flow_block].region
    while region != NONE:
        guard = body.regions[region]
        for handler in guard.handlers:
            ranks = range(body.blocks[handler].start, body.blocks[handler].end)
            catch = next((r for r in ranks if isinstance(body.ops[r], Catch)), NONE)
            if catch == NONE:
                continue
            step = body.ops[catch]
            names = [_name(function, c) for c in step.classes] if isinstance(step, Catch) else []
            if not names or CATCHES.intersection(names):
                return catch, names == ["TypeError"]
        region = guard.parent
    return None


def _name(function: FunctionNode, operand: int) -> str:
    place = function.body.places[operand]
    return str(
        place.path[-1].value
        if place.path and place.path[-1].kind is Select.ATTR
        else place.name
        if place.root is not Root.CONST
        else ""
    )


def _finding(project: Project, function: FunctionNode, op: int, plain: Plain) -> Finding | None:
    masked = _masked(function, op, project.flow(function).block_of(op))
    if masked is not None and masked[1]:
        return None  # the code counts on it
    line, column, end_line, end_column = function.at(op)
    call = function.body.ops[plain.made]
    assert isinstance(call, Call)  # noqa: S101 - _plain looks at calls only
    name = last_name(function, call) or (
        plain.target.function.name if plain.target is not None else canonical(plain.path)
    )
    what = _what(project, plain)
    hidden = "" if masked is None else f", which the handler in line {function.at(masked[0])[0]} hides"
    return Finding(
        rule=AwaitOnSync.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"`{plain.form} {name}()` raises TypeError: {what}{hidden}",
        symbol=function.symbol,
        proof=tuple(_steps(project, function, op, plain, name, masked)),
        fix=_fix(function, op, plain),
    )  # fmt: skip


def _what(project: Project, plain: Plain) -> str:
    if plain.form != "await":
        return f"what it gives has no {PROTOCOLS[plain.form]}"
    if plain.target is None or plain.target.function.name in CONSTRUCTORS:
        return "what it gives cannot be awaited"
    if project.awaitables.gives(plain.target.function) is Gives.GENERATOR:
        return "it is an asynchronous generator, which is iterated and not awaited"
    return "it is a plain def and returns no awaitable"


def _steps(
    project: Project, function: FunctionNode, op: int, plain: Plain, name: str, masked: tuple[int, bool] | None
) -> Iterator[Step]:
    yield project.step(
        function,
        op,
        f"{function.name}() {'awaits' if plain.form == 'await' else f'runs {plain.form} on'} the result of {name}()",
        function.name,
    )
    if plain.target is None:
        yield project.step(
            function, plain.made, f"{canonical(plain.path)} gives nothing that can be awaited", canonical(plain.path)
        )
    else:
        target = plain.target.function
        line, column = target.position()
        kind = "an asynchronous generator" if target.header.is_async else "a plain def"
        yield Step(target.path, line, column, f"{target.name}() is {kind}", target.name)
        for rank, _ in project.awaitables.returned(target)[:5]:
            yield project.step(target, rank, "it returns here, nothing that can be awaited", "return")
    if masked is not None:
        yield project.step(
            function, masked[0], "this handler takes the TypeError: what follows the await never runs", "except"
        )


def _fix(function: FunctionNode, op: int, plain: Plain) -> Fix:
    line, column, _, _ = function.at(op)
    start = function.at(plain.made)
    word = "await "
    if plain.target is not None and plain.target.function.header.is_async:
        return Fix("display", "Iterate over it with async for")
    if plain.form != "await":
        return Fix("display", f"Use {plain.form.removeprefix('async ')} without async")
    if (line, column + len(word)) != start[:2]:
        return Fix("display", "Drop the await")
    return Fix("safe", "Drop the await", (Edit(function.path, line, column, line, column + len(word), ""),))
