"""
Guard for another exception

## What it finds
A `try` that was written for one failure, whose handlers name classes that do not hold what the guarded call raises for it:
`except ValueError` around `quantize`, `except ZeroDivisionError` around the remainder of Decimals, `except ConnectionError`
around a ccxt call.

## Why it matters
The guard looks like care and is none: on the day of the failure the exception passes it, and with it the loop, the task or
the order that the guard was to protect.

## Bad
```python
from decimal import Decimal


def on_tick(best: Decimal, tick: Decimal) -> Decimal | None:
    try:
        return best.quantize(tick)
    except (ValueError, TypeError):
        return None
```

## Good
Name the class that the call raises, or a base of it.

```python
from decimal import Decimal, InvalidOperation


def on_tick(best: Decimal, tick: Decimal) -> Decimal | None:
    try:
        return best.quantize(tick)
    except InvalidOperation:
        return None
```

## Limits
Only for calls whose exceptions are known as data (`exceptions.toml`: decimal, asyncio, queue, json, sqlite3, ccxt, aiohttp,
requests, SQLAlchemy), and only where a handler names a class that is known to be the habitual mistake. Silent when another
operation of the same body may raise what the handler names, when a later or outer handler of the function takes the failure,
and when a handler's class is not known. `Decimal(text)` is the business of `unguarded-decimal-parse`. A failure that a caller
takes is still reported: this guard does not do what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from auditor.facts.model import OPERATORS, Await, Binary, Call, Const, Op, Raise, Select
from auditor.finding import Confidence, Finding, Fix, Severity
from auditor.project.exceptions import Class, Handler, short
from auditor.project.flow import describe, reads
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import Instance, Type
from auditor.rule import Rule

MODEL = "exceptions"
DIVISION = frozenset({"/", "//", "%"})
ZERO = "builtins.ZeroDivisionError"
BY_ZERO = "decimal.DivisionByZero"  # a ZeroDivisionError too, and no InvalidOperation
SUBSCRIPTS = frozenset({"builtins.KeyError", "builtins.IndexError", "builtins.LookupError", "builtins.TypeError"})
QUIET = frozenset({
    "len", "str", "repr", "print", "isinstance", "bool", "list", "tuple", "dict", "set", "abs", "min", "max", "sum", "round",
    "hasattr", "type", "id", "range", "enumerate", "zip", "sorted", "super", "object",
})  # fmt: skip

WAITS = frozenset({"asyncio.Queue.get", "asyncio.queues.Queue.get", "asyncio.Event.wait", "asyncio.locks.Event.wait"})


class Guarded(NamedTuple):
    """An operation with what it raises: `habit` are the classes that show what the guard was meant for."""

    rank: int
    written: str
    raises: str
    habit: tuple[str, ...]
    certain: bool
    note: str


class WrongGuard(Rule):
    id = "wrong-guard"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (755,)
    models = (MODEL,)
    counterparts = {"ruff": {"B029": "near", "B030": "near"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            if of_tests(function.path) or not any(region.handlers for region in function.body.regions):
                continue
            reported: set[int] = set()
            for guarded in sorted((*_calls(project, function), *_divisions(project, function)), key=lambda g: g.rank):
                handler = _aimed(project, function, guarded)
                if handler is not None and handler.op not in reported:
                    reported.add(handler.op)
                    yield _finding(project, function, guarded, handler)


def _calls(project: Project, function: FunctionNode) -> Iterator[Guarded]:
    """Calls whose exceptions are known."""
    for rank in sorted(project.calls(function)):
        call = function.body.ops[rank]
        if not isinstance(call, Call):
            continue
        found = project.role(function, rank, MODEL)
        if found is None or found[1].name != "raises":
            continue
        known = found[1].attributes
        written = f"{describe(function.body, call.callee).rpartition('.')[2] or found[0].rpartition('.')[2]}()"
        for raised in known["classes"]:
            yield Guarded(
                rank, written, str(raised), tuple(map(str, known["habit"])), known["tier"] == "certain", found[1].note
            )


def _divisions(project: Project, function: FunctionNode) -> Iterator[Guarded]:
    """Divisions of Decimals under a handler for ZeroDivisionError: 0 / 0 and every remainder by 0 are InvalidOperation."""
    body = function.body
    for rank, op in enumerate(body.ops):
        if not isinstance(op, Binary) or OPERATORS[op.operator] not in DIVISION:
            continue
        handlers = project.exceptions.around(function, rank)
        if not any({ZERO, BY_ZERO} & set(handler.classes) for handler in handlers):
            continue
        if not _of_decimals(project, function, rank, op, any(BY_ZERO in handler.classes for handler in handlers)):
            continue
        sign = OPERATORS[op.operator]
        sides = " ".join((describe(body, op.left) or "(...)", sign, describe(body, op.right) or "(...)"))
        note = "any remainder by zero" if sign == "%" else "zero by zero"
        yield Guarded(rank, sides, "decimal.InvalidOperation", (ZERO, BY_ZERO), sign == "%", note)


def _of_decimals(project: Project, function: FunctionNode, rank: int, op: Binary, named: bool) -> bool:
    """Whether a division is one of Decimals that can come to zero by zero. Where the handler names `DivisionByZero` of decimal
    (`named`), it says so itself, as long as no side is known to be something else."""
    first = function.body.places[op.left].name
    if isinstance(first, Const) and first.kind in ("int", "float") and OPERATORS[op.operator] != "%":
        return False  # a number that is written there is not zero
    types = project.types(function)
    left, right = (types.get((rank, operand), frozenset()) for operand in (op.left, op.right))
    if named:
        return not any(_plain(side) for side in (left, right)) or _decimal(left) or _decimal(right)
    return (_decimal(left) or _decimal(right)) and _exact(left) and _exact(right)


def _plain(value: Type) -> bool:
    """Whether a value is surely no Decimal."""
    return bool(value) and all(isinstance(a, Instance) and a.cls in ("builtins.float", "builtins.int") for a in value)


def _decimal(value: Type) -> bool:
    return bool(value) and all(
        isinstance(a, Instance) and a.cls in ("decimal.Decimal", "_decimal.Decimal") for a in value
    )


def _exact(value: Type) -> bool:
    return bool(value) and all(
        isinstance(a, Instance) and a.cls in ("decimal.Decimal", "_decimal.Decimal", "builtins.int") for a in value
    )


def _aimed(project: Project, function: FunctionNode, guarded: Guarded) -> Handler | None:
    """The handler that was meant for the failure and does not take it; None if another takes it or that is not decided."""
    handlers = project.exceptions.around(function, guarded.rank)
    if not handlers or None in (c for handler in handlers for c in handler.classes):
        return None
    taker, doubtful = project.exceptions.taker(function, guarded.rank, guarded.raises)
    if taker is not None or doubtful:
        return None
    inner = [handler for handler in handlers if handler.region == handlers[0].region]
    habit = {project.exceptions.proper(path) for path in guarded.habit}
    for handler in inner:
        named = [c for c in handler.classes if isinstance(c, str) and project.exceptions.proper(c) in habit]
        if named and not _meant_for_another(project, function, guarded, handler, named):
            return handler
    return None


def _meant_for_another(
    project: Project, function: FunctionNode, guarded: Guarded, handler: Handler, named: Sequence[Class]
) -> bool:
    """Whether another operation of the guarded body may raise what the handler names."""
    names = {project.exceptions.proper(c) for c in named if isinstance(c, str)}
    body = function.body
    op = body.ops[guarded.rank]
    if isinstance(op, Binary) and OPERATORS[op.operator] != "%":
        return False  # the handler takes 1 / 0 of this very division
    for block in body.blocks:
        region = block.region
        while region not in (handler.region, -1):
            region = body.regions[region].parent
        if region != handler.region:
            continue
        for rank in range(block.start, block.end):
            if rank != guarded.rank and _may_raise(project, function, rank, body.ops[rank], names, guarded):
                return True
    return False


def _may_raise(project: Project, function: FunctionNode, rank: int, op: Op, names: set[str], guarded: Guarded) -> bool:
    if isinstance(op, Raise):
        return True
    if isinstance(op, Await):
        return False  # the call that is awaited is looked at
    if isinstance(op, Call):
        return not _quiet(project, function, rank, guarded)
    if isinstance(op, Binary) and OPERATORS[op.operator] in DIVISION and names & {ZERO, BY_ZERO}:
        return OPERATORS[op.operator] != "%" and rank != guarded.rank and not _decimals(project, function, rank, op)
    if names & SUBSCRIPTS:
        return any(kind is not Select.ATTR for operand in reads(op) for kind, _ in function.body.places[operand].path)
    return False


def _decimals(project: Project, function: FunctionNode, rank: int, op: Binary) -> bool:
    types = project.types(function)
    return _exact(types.get((rank, op.left), frozenset())) and _exact(types.get((rank, op.right), frozenset()))


def _quiet(project: Project, function: FunctionNode, rank: int, guarded: Guarded) -> bool:
    """Whether a call is known not to raise what the handler names: logging, plain builtins, the same kind of call."""
    result = project.calls(function).get(rank)
    if result is None or result.targets or not result.externals or result.how in ("partial", "unknown"):
        return False
    for external in result.externals:
        path = canonical(external)
        name = path.rpartition(".")[2]
        if (
            path.startswith(("logging.", "decimal.Decimal."))
            or (path.startswith("builtins.") and name in QUIET)
            or path in WAITS
        ):
            continue
        role = project.role(function, rank, MODEL)
        if role is None or role[1].name != "raises" or guarded.raises not in role[1].attributes["classes"]:
            return False
    return True


def _finding(project: Project, function: FunctionNode, guarded: Guarded, handler: Handler) -> Finding:
    raised = short(guarded.raises)
    bases = " and ".join(short(b) for b in project.exceptions.line(guarded.raises)[1:3])
    named = " and ".join(dict.fromkeys(handler.names))
    line, column, end_line, end_column = function.at(guarded.rank)
    steps = (
        project.step(function, guarded.rank, f"{guarded.written} raises {raised} ({guarded.note}), a {bases}", raised),
        project.step(function, handler.op, f"the handler takes {named} only: {raised} passes it", "except"),
    )
    return Finding(
        rule=WrongGuard.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"the guard around {guarded.written} takes {named}, but the failure ({guarded.note}) is {raised}, which passes it",
        symbol=function.symbol, severity=Severity.HIGH if guarded.raises != "json.JSONDecodeError" else Severity.MEDIUM,
        confidence=Confidence.CERTAIN if guarded.certain else Confidence.LIKELY,
        proof=steps, fix=Fix("display", f"Add {raised} to the classes of the handler"),
    )  # fmt: skip
