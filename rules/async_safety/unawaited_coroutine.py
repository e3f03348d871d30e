"""
Coroutine that never runs

## What it finds
A call of an `async def` whose coroutine is dropped, tested, or used as the value that it would have produced, and an
`async def` that is given to something which calls it and drops the result. The callee may stand in any file, behind plain
functions that pass the coroutine on, and behind decorators.

## Why it matters
Calling an `async def` runs none of it: the order is not cancelled, the position not closed, the guard not asked. A
coroutine is always true, so a check that was meant to stop trading lets everything through, or nothing.

## Bad
```python
class Guard:
    async def halted(self):
        return self.loss > self.limit

    async def halt(self, reason):
        await self.venue.cancel_all_orders()


class Engine:
    def __init__(self):
        self.guard = Guard()

    async def tick(self, order):
        if self.guard.halted():
            return
        self.guard.halt("drawdown")
```

## Good
Await it, or hand it to a task that is kept.

```python
class Guard:
    async def halted(self):
        return self.loss > self.limit

    async def halt(self, reason):
        await self.venue.cancel_all_orders()


class Engine:
    def __init__(self):
        self.guard = Guard()

    async def tick(self, order):
        if await self.guard.halted():
            return
        await self.guard.halt("drawdown")
```

## Limits
The callee must be known: a receiver without a type, an unknown decorator, or one override that is no `async def` keeps it
silent. A coroutine that is stored, returned, or passed to a function is taken to be awaited there. A method that some
code replaces by assignment is left out. These are missed alarms; a class outside of the project that overrides the method
with a plain function would make a false one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, OPERATORS, Branch, Call, Enter, Exit, Iterate, Next, Select, Store, Unary
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.awaitables import Gives, Made
from auditor.project.flow import describe, writes
from auditor.project.graph import last_name
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.types import Callee
from auditor.project.uses import Use, maker, uses_of
from auditor.rule import Rule

from ._stakes import STOPS, order_below, steps_of

# What a coroutine object has: reading it is no mistake.
MEMBERS = frozenset(
    {"send", "throw", "close", "__await__", "__name__", "__qualname__", "cr_frame", "cr_running", "cr_code", "cr_await"}
)
RAISES = frozenset(
    {"item", "arithmetic", "iterated", "entered", "unpacked", "called"}
)  # uses that a coroutine does not bear
LOOKS = frozenset({"format", "compared", "test"})  # uses that it bears, and that mean its value
NEUTRAL = frozenset({"identity", "deleted"})
WORDS = {
    "item": "is subscripted", "arithmetic": "is calculated with", "iterated": "is iterated over", "entered": "is entered by a `with`",
    "unpacked": "is unpacked", "called": "is called", "format": "is written into a text", "compared": "is compared",
    "attribute": "is asked for an attribute", "used": "is used as a value",
}  # fmt: skip


class Misuse(NamedTuple):
    """What goes wrong with a coroutine: `how` as in Use, or dropped; `use` is None where nothing reads it. `message` says
    it after `the coroutine of f()`."""

    how: str
    use: Use | None
    message: str


class UnawaitedCoroutine(Rule):
    id = "unawaited-coroutine"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (252,)
    models = ("awaitables",)
    counterparts = {"mypy": {"unused-coroutine": "merge"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            for op in sorted(project.calls(function)):
                made = project.awaitables.coroutine(function, op)
                if made is not None:
                    misuse = _misuse(project, function, op)
                    if misuse is not None and not _proven_plain(project, function, op):
                        yield _finding(project, function, op, made, misuse)
                handed = _called_back(project, function, op)
                if handed is not None:
                    yield _handed(project, function, op, *handed)


def _misuse(project: Project, function: FunctionNode, op: int) -> Misuse | None:
    """What goes wrong with the coroutine that a call gives; None if something may await it."""
    uses = uses_of(function, project.flow(function), op)
    roles = {use: _argument(project, function, use) for use in uses if use.how == "argument"}
    if "asks" in roles.values():
        return None  # the code tells coroutines from values itself
    for use in uses:
        if use.how in RAISES or use.how == "attribute" and not _is_member(function, use) or roles.get(use) == "raises":
            return Misuse(use.how, use, WORDS.get(use.how, WORDS["used"]))
    weak = [u for u in uses if u.how in LOOKS or roles.get(u) == "looks"]
    if any(u.how not in NEUTRAL and u not in weak for u in uses):
        return None
    if not weak:
        return Misuse("dropped", None, "is dropped and never runs")
    first = weak[0]
    if first.how == "test":
        return Misuse("test", first, "is tested, and a coroutine is always true")
    return Misuse(first.how, first, f"{WORDS.get(first.how, WORDS['used'])} and never runs")


def _argument(project: Project, function: FunctionNode, use: Use) -> str:
    """What a call does with a coroutine that it is given: asks, raises, looks, or "" for all else."""
    found = project.role(function, use.op, "awaitables")
    if found is None or found[1].name not in ("asks", "uses"):
        return ""
    return "asks" if found[1].name == "asks" else "raises" if found[1].attributes["raises"] else "looks"


def _is_member(function: FunctionNode, use: Use) -> bool:
    kind, value = function.body.places[use.operand].path[0]
    return kind is Select.ATTR and value in MEMBERS


def _proven_plain(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether the call stands where `iscoroutinefunction` has said no, of the callee or of anything else."""
    body = function.body
    flow = project.flow(function)
    for branch, outcome in flow.guards(flow.block_of(op)):
        test = body.ops[branch]
        if not isinstance(test, Branch):
            continue
        made, asked = maker(function, test.test), outcome
        while made != NONE and isinstance(step := body.ops[made], Unary) and OPERATORS[step.operator] == "not":
            made, asked = maker(function, step.operand), not asked
        if made != NONE and not asked:
            result = project.calls(function).get(made)
            if result is not None and any(path.endswith("iscoroutinefunction") for path in result.externals):
                return True
    return False


# --- functions that something calls back ----------------------------------------------------------------------------


def _called_back(project: Project, function: FunctionNode, op: int) -> tuple[FunctionNode, str] | None:
    """The `async def` that a call hands to something which calls it and drops its coroutine, with the path of that."""
    found = project.role(function, op, "awaitables")
    call = function.body.ops[op]
    if found is None or found[1].name != "calls_back" or not isinstance(call, Call) or call.starred:
        return None
    path, role = found
    slot, name = int(role.attributes["slot"]), role.attributes.get("name", "")
    operand = next((value for key, value in call.keywords if name and key == name), NONE)
    if operand == NONE and len(call.args) > slot:
        operand = call.args[slot]
    value = project.types(function).get((op, operand), frozenset())
    callees = sorted((a for a in value if isinstance(a, Callee)), key=lambda a: a.function.key)
    if (
        not callees
        or len(callees) != len(value)
        or any(project.awaitables.gives(a.function) is not Gives.COROUTINE for a in callees)
    ):
        return None
    targets = [
        t
        for a in callees
        for t in project.linked.calls.overrides(a.function, a.receiver, a.bound, a.exact)
        if not t.wrapper
    ]
    if any(project.awaitables.gives(t.function) is not Gives.COROUTINE for t in targets):
        return None
    return callees[0].function, canonical(path)


def _handed(project: Project, function: FunctionNode, op: int, target: FunctionNode, path: str) -> Finding:
    line, column, end_line, end_column = function.at(op)
    call = function.body.ops[op]
    assert isinstance(call, Call)  # noqa: S101 - calls_back is a role of calls
    verb = last_name(function, call) or path.rpartition(".")[2]
    stake = order_below(project, target)
    return Finding(
        rule=UnawaitedCoroutine.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{verb}() calls the async def {target.name}() and drops its coroutine, which never runs",
        symbol=function.symbol,
        severity=Severity.CRITICAL if stake is not None or STOPS.match(target.name) else None,
        proof=(
            project.step(function, op, f"{path} gets {target.name} and calls it like a plain function", function.name or path),
            _definition(target),
            *(steps_of(project, stake) if stake is not None else ()),
        ),
        fix=Fix("display", "Hand over a plain function, or schedule the coroutine with asyncio.run_coroutine_threadsafe or create_task"),
    )  # fmt: skip


# --- the finding ----------------------------------------------------------------------------------------------------


def _definition(target: FunctionNode) -> Step:
    line, column = target.position()
    return Step(
        target.path,
        line,
        column,
        f"{target.name}() is an async def: calling it gives a coroutine and runs nothing",
        target.name,
    )


def _finding(project: Project, function: FunctionNode, op: int, made: Made, misuse: Misuse) -> Finding:
    line, column, end_line, end_column = function.at(op)
    call = function.body.ops[op]
    assert isinstance(call, Call)  # noqa: S101 - coroutines are made by calls
    name = last_name(function, call) or (made.functions[0].name if made.functions else made.path.rpartition(".")[2])
    stake = next((s for f in made.functions if (s := order_below(project, f)) is not None), None)
    stops = STOPS.match(name) is not None and bool(made.functions)
    sure = made.sure and not (misuse.use is not None and _rebound(function, misuse.use))
    return Finding(
        rule=UnawaitedCoroutine.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"The coroutine of {name}() {misuse.message}",
        symbol=function.symbol,
        severity=Severity.CRITICAL if stake is not None or stops else None,
        confidence=Confidence.CERTAIN if sure else Confidence.LIKELY,
        proof=(
            project.step(function, op, f"{function.name or 'the module'} calls {describe(function.body, call.callee) or name}()", name),
            *(_passed_on(f) for f in made.through),
            *(_definition(f) for f in made.functions[:3]),
            *([_library(project, function, op, made)] if made.path else []),
            _outcome(project, function, op, misuse),
            *(steps_of(project, stake) if stake is not None else ()),
        ),
        fix=_fix(function, op, misuse),
    )  # fmt: skip


def _rebound(function: FunctionNode, use: Use) -> bool:
    """Whether the name that is misused is bound elsewhere too, so that it may hold something else there."""
    places = function.body.places
    root = places[use.operand]
    return (
        sum(
            isinstance(op, Store) and any(places[w].name == root.name and not places[w].path for w in writes(op))
            for op in function.body.ops
        )
        > 1
    )


def _passed_on(function: FunctionNode) -> Step:
    line, column = function.position()
    return Step(
        function.path, line, column, f"{function.name}() returns the coroutine without running it", function.name
    )


def _library(project: Project, function: FunctionNode, op: int, made: Made) -> Step:
    path = canonical(made.path)
    return project.step(function, op, f"{path} is an async def", path)


def _outcome(project: Project, function: FunctionNode, op: int, misuse: Misuse) -> Step:
    if misuse.use is None:
        return project.step(function, op, "nothing reads the coroutine: it is dropped", "dropped")
    step = function.body.ops[misuse.use.op]
    note = (
        "the test of a coroutine is always true"
        if misuse.how == "test"
        else f"the coroutine {WORDS.get(misuse.how, WORDS['used'])} here"
    )
    if isinstance(step, Enter | Exit | Iterate | Next) and step.is_async:
        note = "the coroutine itself has no such protocol"
    return project.step(function, misuse.use.op, note, misuse.how)


def _fix(function: FunctionNode, op: int, misuse: Misuse) -> Fix:
    if not function.header.is_async:
        return Fix("display", "Await it in a coroutine, or hand it to a task that is kept")
    line, column, end_line, end_column = function.at(op)
    place = function.body.places[misuse.use.operand] if misuse.use is not None else None
    call = function.body.ops[op]
    direct = place is not None and isinstance(call, Call) and place.name == function.body.places[call.dst].name
    edits = [Edit(function.path, line, column, line, column, "await ")]
    if direct and place is not None and (place.path or misuse.how == "called"):
        edits = [
            Edit(function.path, line, column, line, column, "(await "),
            Edit(function.path, end_line, end_column, end_line, end_column, ")"),
        ]
    return Fix("display", "Await the coroutine", tuple(edits))
