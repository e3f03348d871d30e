"""
Check that cannot fail

## What it finds
A condition that is always true (or, negated, never): the result of a call whose class has neither `__bool__` nor `__len__`, a
tuple like `(False, reason)`, a filled dict, a function that is named and not called, `assert (x, "message")`, `x == a or b`.

## Why it matters
The check looks like care and is none: invalid orders, stops that are missing and limits that are broken all pass it.

## Bad
```python
from dataclasses import dataclass


@dataclass
class Verdict:
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.reasons


def validate(order) -> Verdict:
    return Verdict(("too_large",)) if order.size > 10 else Verdict()


def send(client, order):
    if not validate(order):
        return
    client.submit(order)
```

## Good
Test the part of the result that says it: the property, the first element, the call.

```python
from dataclasses import dataclass


@dataclass
class Verdict:
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.reasons


def validate(order) -> Verdict:
    return Verdict(("too_large",)) if order.size > 10 else Verdict()


def send(client, order):
    if not validate(order).passed:
        return
    client.submit(order)
```

## Limits
A test of an object counts only where the callee or the object speaks of a verdict: `if config:` is in vain, and no check.
Every result that the callee can give must be known; one that may be `None`, or of a class with a base that is not part of
the project, is left alone. A method that some class of the project also has as a field is taken to be a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from auditor.facts.model import (
    NONE,
    OPERATORS,
    Await,
    Body,
    Branch,
    Call,
    Closure,
    Collect,
    Compare,
    Const,
    Edge,
    Op,
    Place,
    Raise,
    Return,
    Root,
    Select,
    Store,
    Table,
    Unary,
)  # fmt: skip
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.callables import CallResult
from auditor.project.exchange import PLACE
from auditor.project.flow import describe, writes
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.protocols import is_declared, is_protocol
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import Instance, Type
from auditor.project.uses import maker
from auditor.rule import Rule

HARMLESS = frozenset(
    {"builtins.object", "abc.ABC", "typing.Generic", "enum.Enum", "builtins.Exception", "builtins.BaseException"}
)
GUARDS = re.compile(
    r"(?i)valid|check|risk|allow|limit|halt|_?can_|_?may_|verif|confirm|safe|authori|enough|exceed|is_|has_|should|ready|passe?d?$|ok$"
)
EXIT_WORDS = ("passed", "ok", "valid", "success", "is_valid", "allowed", "approved", "is_ok", "succeeded")


class Always(NamedTuple):
    """Why a test is always true: in words, `op` where the value is made, `source` the callee if there is one; `returns` are
    the operations of it that show what it gives."""

    why: str
    op: int
    mend: str
    source: FunctionNode | None = None
    returns: tuple[int, ...] = ()
    doubts: int = 0


class AlwaysTrueCheck(Rule):
    id = "always-true-check"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (571, 253)
    counterparts = {
        "ruff": {"F631": "super", "F634": "super", "PLR0124": "near"},
        "mypy": {"truthy-bool": "super", "truthy-function": "super"},
    }

    def check_project(self, project: Project) -> Iterator[Finding]:
        judge = _Judge(project)
        for function in project.functions():
            if of_tests(function.path):
                continue
            for rank, op in enumerate(function.body.ops):
                if isinstance(op, Branch):
                    always = judge.test(function, rank, op)
                    if always is not None:
                        yield _finding(project, function, rank, op, always)


class _Judge:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.fields = frozenset(f.name for c in project.symbols.classes() for f in c.header.fields)
        self._stored: frozenset[str] | None = None
        self._only: dict[FunctionNode, Always | None] = {}
        self.closed = cache(self._closed)

    def test(self, function: FunctionNode, rank: int, op: Branch) -> Always | None:
        """Why the test of a branch is always true, or its negation never."""
        body = function.body
        operand = op.test
        made = self._maker(body, rank, operand)
        if made != NONE and isinstance(step := body.ops[made], Unary) and OPERATORS[step.operator] == "not":
            operand = step.operand
            made = self._maker(body, made, operand)
        place = body.places[operand]
        if place.root is Root.LOCAL and not place.path:
            made = maker(function, operand)
            if made != NONE and not isinstance(body.ops[made], Call | Await):
                return None
        if place.path or place.root is Root.GLOBAL:
            return self._named(function, rank, place, operand)
        if place.root is Root.CONST:
            return self._alternative(function, rank, place)
        return self._value(function, made, asserts=bool(op.asserts)) if made != NONE else None

    def _alternative(self, function: FunctionNode, rank: int, place: Place) -> Always | None:
        """`x == a or b`: the second test is of a constant, and leads where the first one does."""
        body, flow = function.body, self.project.flow(function)
        if not isinstance(place.name, Const) or not _is_true(place.name):
            return None
        block = flow.block_of(rank)
        goal = dict(body.blocks[block].edges).get(Edge.TRUE)
        for before in flow.predecessors[block]:
            edges = dict(body.blocks[before].edges)
            last = (
                body.ops[body.blocks[before].end - 1] if body.blocks[before].end > body.blocks[before].start else None
            )
            if isinstance(last, Branch) and edges.get(Edge.FALSE) == block and edges.get(Edge.TRUE) == goal:
                made = self._maker(body, body.blocks[before].end - 1, last.test)
                step = body.ops[made] if made != NONE else None
                if isinstance(step, Compare) and OPERATORS[step.operator] == "==":
                    return Always(
                        f"`or {place.name.text!r}` is true by itself, whatever is compared before it",
                        made,
                        "Compare with `in (a, b)`",
                    )
        return None

    @staticmethod
    def _maker(body: Body, before: int, operand: int) -> int:
        if body.places[operand].root is not Root.TEMP:
            return NONE
        return next((r for r in range(before - 1, -1, -1) if operand in writes(body.ops[r])), NONE)

    def _value(self, function: FunctionNode, made: int, *, asserts: bool) -> Always | None:
        body = function.body
        match body.ops[made]:
            case Collect(_, _, items, starred) as display if items and len(starred) < len(items):
                if asserts and _is_tuple(display):
                    return Always(
                        "the parentheses make a tuple of the condition and its message",
                        made,
                        "Leave the parentheses out",
                    )
            case Await(_, src):
                inner = self._maker(body, made, src)
                if inner != NONE and isinstance(body.ops[inner], Call):
                    return self._called(function, inner, awaited=True)
            case Call():
                return self._called(function, made, awaited=False)
        return None

    # --- what a call gives ---
    def _called(self, function: FunctionNode, op: int, *, awaited: bool) -> Always | None:
        result = self.project.calls(function).get(op)
        if result is None or result.how not in ("typed", "hierarchy") or result.externals:
            return None
        targets = list(dict.fromkeys(t.function for t in result.targets))
        if not targets or any(t.header.is_generator or t.header.is_async is not awaited for t in targets):
            return None
        if any(
            d.name.rpartition(".")[2] not in ("staticmethod", "classmethod", "abstractmethod", "override")
            for t in targets
            for d in t.header.decorators
        ):
            return None
        if targets[0].name == "__init__":
            return None
        return self._instance(result, op, targets, awaited=awaited) or self._display(op, targets)

    def _instance(self, result: CallResult, op: int, targets: list[FunctionNode], *, awaited: bool) -> Always | None:
        value: Type = result.type
        if awaited:
            value = frozenset(
                a
                for atom in value
                if isinstance(atom, Instance) and atom.cls == "coroutine" and atom.args
                for a in atom.args[0]
            )
        classes = [a.cls for a in value if isinstance(a, Instance)]
        if (
            not value
            or len(classes) != len(value)
            or not all(isinstance(c, ClassNode) and self.closed(c) for c in classes)
        ):
            return None
        if any(self._may_give_none(t) for t in targets) or any(
            isinstance(op, Raise) for t in targets for op in t.body.ops
        ):
            return None  # one that raises has said what it had to say
        named = sorted(c.name for c in classes if isinstance(c, ClassNode))
        says = next(
            (
                word
                for c in classes
                if isinstance(c, ClassNode)
                for word in EXIT_WORDS
                if c.method(word) or any(f.name == word for f in c.header.fields)
            ),
            "",
        )
        if not says and not any(GUARDS.search(t.name) for t in targets):
            return None  # `if config:` after a call that once could give None: in vain, but no check
        why = f"it gives a {named[0]}, which has neither __bool__ nor __len__: the object is always true"
        mend = f"Test `.{says}` of the result" if says else "Test the part of the result that says it"
        return Always(why, op, mend, targets[0], _returns(targets[0])[:1])

    def _closed(self, cls: ClassNode) -> bool:
        """Whether no instance of a class, subclasses included, can be false."""
        for each in (cls, *cls.descendants()):
            outside = {path for c in each.mro for path in c.externals} - HARMLESS
            if (
                outside
                or is_protocol(each)
                or each.method("__bool__")
                or each.method("__len__")
                or each.method("__getattr__")
            ):
                return False
            if each.header.keywords and "metaclass" in each.header.keywords:
                return False
            if each.open and not any(c.externals for c in each.mro):
                return False
        return True

    def _may_give_none(self, target: FunctionNode) -> bool:
        """Whether a function can end without an object: by `return None`, or at its end."""
        if is_declared(target) or target.header.abstract:
            return False
        body = target.body
        flow = self.project.flow(target)
        for number in flow.order:
            block = body.blocks[number]
            last = body.ops[block.end - 1] if block.end > block.start else None
            if any(goal < 0 for _, goal in block.edges) and not isinstance(last, Return | Raise):
                return True
            if isinstance(last, Return) and (last.src == NONE or _is_none(body.places[last.src])):
                return True
        return False

    def _display(self, op: int, targets: list[FunctionNode]) -> Always | None:
        """A tuple or a filled dict on every path."""
        found = [self._only_displays(t) for t in targets]
        first = found[0] if found else None
        return (
            first._replace(op=op)
            if first is not None and all(each is not None and each.why == first.why for each in found)
            else None
        )

    def _only_displays(self, target: FunctionNode) -> Always | None:
        if target not in self._only:
            self._only[target] = self._displays(target)
        return self._only[target]

    def _displays(self, target: FunctionNode) -> Always | None:
        body = target.body
        returns = _returns(target)
        if not returns or self._may_give_none(target) or target.header.abstract:
            return None
        kinds: set[str] = set()
        for rank in returns:
            step = body.ops[rank]
            made = self._maker(body, rank, step.src) if isinstance(step, Return) else NONE
            value = body.ops[made] if made != NONE else None
            if isinstance(value, Collect) and _is_tuple(value) and len(value.items) > len(value.starred):
                kinds.add("tuple")
            elif isinstance(value, Table) and any(k != NONE for k in value.keys):
                kinds.add("dict")
            else:
                return None
        kind = kinds.pop() if len(kinds) == 1 else ""
        if not kind:
            return None
        why = (
            "it gives a tuple, which is true whatever stands in it"
            if kind == "tuple"
            else "it gives a dict with keys, which is always true"
        )
        mend = "Test its first element" if kind == "tuple" else "Test the entry that says it"
        return Always(why, NONE, mend, target, returns[:1], doubts=int(kind == "dict"))

    # --- what is named and not called ---
    def _named(self, function: FunctionNode, rank: int, place: Place, operand: int) -> Always | None:
        if place.path and (
            place.path[-1].kind is not Select.ATTR
            or len(place.path) != 1
            or place.name != function.self_name
            or function.cls is None
        ):
            return None
        if place.path:
            target = function.cls.method(str(place.path[0].value)) if function.cls is not None else None
            classes = (function.cls, *function.cls.descendants()) if function.cls is not None else ()
            if target is None or target.header.decorators or any(c.method(target.name) is None for c in classes):
                return None
            if target.name in self.stored or target.name in self.fields or is_declared(target):
                return None
        else:
            meaning = self.project.symbols.resolve(function.module, str(place.name), function)
            if (
                not isinstance(meaning, FunctionNode)
                or meaning.header.decorators
                or meaning.module is not function.module
            ):
                return None
            if any(_binds(f.body, str(place.name)) for f in function.module.functions):
                return None
            target = meaning
        line, _ = target.position()
        why = f"{describe(function.body, operand)} is the function itself, which is always true: it is not called"
        return Always(why, rank, "Call it", target, ()) if line else None

    @property
    def stored(self) -> frozenset[str]:
        """Names of attributes that are stored anywhere."""
        if self._stored is None:
            self._stored = frozenset(
                str(place.path[-1].value)
                for f in self.project.functions()
                for op in f.body.ops
                for w in writes(op)
                if (place := f.body.places[w]).path and place.path[-1].kind is Select.ATTR
            )
        return self._stored


def _binds(body: Body, name: str) -> bool:
    """Whether a name is bound by more than its `def`."""
    for op in body.ops:
        defines = isinstance(op, Closure) or isinstance(op, Store) and body.places[op.src].root is Root.TEMP
        places = (body.places[written] for written in writes(op))
        if not defines and any(p.root is Root.GLOBAL and p.name == name and not p.path for p in places):
            return True
    return False


def _returns(function: FunctionNode) -> tuple[int, ...]:
    return tuple(rank for rank, op in enumerate(function.body.ops) if isinstance(op, Return))


def _is_tuple(op: Op) -> bool:
    return isinstance(op, Collect) and op.kind == 1


def _is_true(literal: Const) -> bool:
    return literal.kind in ("str", "int", "float") and literal.text not in ("", "0", "0.0")


def _is_none(place: Place) -> bool:
    return isinstance(place.name, Const) and place.name.kind == "none"


# --- the finding ----------------------------------------------------------------------------------------------------


def _finding(project: Project, function: FunctionNode, rank: int, op: Branch, always: Always) -> Finding:
    anchor = always.op if always.op != NONE else rank
    line, column, end_line, end_column = function.at(anchor)
    shown = _shown(function, anchor)
    return Finding(
        rule=AlwaysTrueCheck.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"the check {shown or 'here'} in {function.name or 'the module'}() cannot fail: {always.why}",
        symbol=function.symbol,
        severity=_severity(project, function, op, shown),
        confidence=Confidence.LIKELY if always.doubts else Confidence.CERTAIN,
        proof=tuple(_steps(project, function, rank, always, shown)),
        fix=Fix("display", always.mend),
    )  # fmt: skip


def _shown(function: FunctionNode, op: int) -> str:
    step = function.body.ops[op]
    if isinstance(step, Call):
        return f"{last_name(function, step)}()"
    return describe(function.body, step.test) if isinstance(step, Branch) else ""


def _severity(project: Project, function: FunctionNode, op: Branch, shown: str) -> Severity:
    """High where an order or a check hangs on it."""
    grave = bool(GUARDS.search(shown)) or bool(op.asserts) or bool(project.exchange.calls_in(function, PLACE))
    return Severity.HIGH if grave else Severity.MEDIUM


def _steps(project: Project, function: FunctionNode, rank: int, always: Always, shown: str) -> Iterator[Step]:
    if always.source is not None:
        for op in always.returns:
            yield project.step(always.source, op, f"{always.source.name}(): {always.why}", always.source.name)
        if not always.returns:
            line, column = always.source.position()
            yield Step(always.source.path, line, column, f"{always.source.name} is a function", always.source.name)
    anchor = always.op if always.op != NONE else rank
    yield project.step(
        function, anchor, f"the branch here hangs on {shown or 'it'}: one side of it never runs", "check"
    )
