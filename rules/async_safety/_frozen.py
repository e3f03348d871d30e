"""Whether what the exit tests of a way around a loop read stays as it is, so that the loop is never left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from auditor.facts.model import (
    NONE,
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Collect,
    Compare,
    Const,
    Format,
    Root,
    Select,
    Store,
    Unary,
)
from auditor.project.effects import NOTHING, Basis, Effects, callees_outside, is_pure
from auditor.project.flow import reads, writes
from auditor.project.graph import Node, method_of
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance, instance, without_none

MAX_DEPTH = 40  # operations that one test is made from


class Held(NamedTuple):
    """What the tests rest on: attributes and variables by name. `own` says that all of it is state of the project's own
    objects, or of asyncio's, that nothing but the project's code changes."""

    attributes: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    own: bool = True


class Unstable(Exception):
    """What is read may change on the way, or by itself."""


def held(project: Project, function: FunctionNode, ops: Iterable[int], tests: Iterable[int]) -> Held | None:
    """What the tests rest on, None if running these operations may change it."""
    ranks = sorted(ops)
    changed = NOTHING
    for rank in ranks:
        changed = changed.joined(project.changes.written(function, rank))
        if isinstance(function.body.ops[rank], Call):
            changed = changed.joined(project.changes.call(function, rank))
        for run in _run_beside(project, function, rank):
            changed = changed.joined(project.changes.of(run))
    search = _Search(project, function, ranks, changed)
    try:
        for test in tests:
            step = function.body.ops[test]
            if isinstance(step, Branch):
                search.value(test, step.test, 0)
    except Unstable:
        return None
    return Held(frozenset(search.attributes), frozenset(search.variables), search.own)


def _run_beside(project: Project, function: FunctionNode, rank: int) -> list[FunctionNode]:
    """What an operation runs without being a call: properties and managers."""
    return [
        run.target.function
        for run in project.graph.runs(Node(function, None))
        if run.op == rank and run.kind in ("property", "enter", "exit")
    ]


class _Search:
    """Follows the value of a test back to where it comes from, inside of the way."""

    def __init__(self, project: Project, function: FunctionNode, ranks: list[int], changed: Effects) -> None:
        self.project = project
        self.function = function
        self.body = function.body
        self.ranks = ranks
        self.changed = changed
        self.attributes: set[str] = set()
        self.variables: set[str] = set()
        self.own = True
        self.seen: set[int] = set()
        self.open: set[int] = set()

    def value(self, at: int, operand: int, depth: int) -> None:
        """Take up what a place rests on. Raises Unstable."""
        if operand in self.open or depth > MAX_DEPTH:
            raise Unstable  # it is made from what it was before
        if operand in self.seen or operand == NONE:
            return
        self.open.add(operand)
        place = self.body.places[operand]
        if not isinstance(place.name, Const):
            root = next((i for i, p in enumerate(self.body.places) if p == place._replace(path=())), NONE)
            if place.path and root != NONE:
                self.value(at, root, depth + 1)
            if not place.path:
                self._name(at, operand, depth)
            elif root == NONE:
                self._variable(str(place.name), place.root)
            self._path(at, operand, depth)
        self.open.discard(operand)
        self.seen.add(operand)

    def _path(self, at: int, operand: int, depth: int) -> None:
        place = self.body.places[operand]
        for kind, selected in place.path:
            if kind is Select.ATTR:
                self._attribute(str(selected))
            elif kind is Select.KEY and isinstance(selected, int):
                self.value(at, selected, depth + 1)
        names = [str(s.value) for s in place.path if s.kind is Select.ATTR]
        if names and not self._owned(at, operand, names):
            self.own = False
        if self.project.changes.properties.intersection(names):
            self._properties(at, operand)

    def _owned(self, at: int, operand: int, names: list[str]) -> bool:
        """Whether attributes belong to objects of the project: those of `self`, or of a known class."""
        place = self.body.places[operand]
        method = method_of(self.function)
        if method is not None and method.cls is not None and place.name == method.self_name:
            value = instance(method.cls)
        elif any(p.name == place.name for p in self.function.header.params):
            value = self.project.world.parameter(self.function, str(place.name))
        else:
            return False
        for name in names[:-1]:
            value = self.project.world.attribute(without_none(value), name)
        last = without_none(value)
        return bool(last) and all(isinstance(a, Instance) and isinstance(a.cls, ClassNode) for a in last)

    def _properties(self, at: int, operand: int) -> None:
        targets = [r for r in self.project.graph.runs(Node(self.function, None)) if r.op == at and r.kind == "property"]
        for run in targets:
            self._basis(self.project.changes.basis(run.target.function))

    def _basis(self, basis: Basis) -> None:
        if basis.anything:
            raise Unstable
        for name in sorted(basis.attributes):
            self._attribute(name)
        for name in sorted(basis.variables):
            self._variable(name, Root.GLOBAL)

    def _attribute(self, name: str) -> None:
        if self.changed.anything or name in self.changed.attributes:
            raise Unstable
        self.attributes.add(name)

    def _variable(self, name: str, root: Root) -> None:
        if root is not Root.TEMP:
            if self.changed.anything or name in self.changed.variables:
                raise Unstable
            if root is not Root.LOCAL:
                self.variables.add(name)

    def _name(self, at: int, operand: int, depth: int) -> None:
        """A bare name or a temporary: what is bound to it on the way."""
        place = self.body.places[operand]
        self._variable(str(place.name), place.root)
        inside = [r for r in self.ranks if operand in writes(self.body.ops[r])]
        for rank in inside:
            self._made(rank, depth)
        if not inside:  # bound before the loop: to something that goes by another name too
            for step in self.body.ops:
                names = (
                    [s.value for s in self.body.places[step.src].path]
                    if isinstance(step, Store) and step.dst == operand
                    else []
                )
                if self.changed.attributes.intersection(str(n) for n in names[-1:]):
                    raise Unstable

    def _made(self, rank: int, depth: int) -> None:
        step = self.body.ops[rank]
        match step:
            case Store() | Unary() | Compare() | Bool() | Choose() | Collect() | Format() | Binary():
                for operand in reads(step):
                    self.value(rank, operand, depth + 1)
            case Call():
                self._called(rank, step, depth)
            case _:
                raise Unstable

    def _called(self, rank: int, call: Call, depth: int) -> None:
        result = self.project.calls(self.function).get(rank)
        if result is None or result.how in ("unknown", "partial") or not all(map(is_pure, callees_outside(result))):
            raise Unstable
        if not all(canonical(path).startswith(("asyncio.", "builtins.")) for path in result.externals):
            self.own = False
        for target in result.targets:
            self._basis(self.project.changes.basis(target.function))
        for operand in (*call.args, *(value for _, value in call.keywords)):
            self.value(rank, operand, depth + 1)
        place = self.body.places[call.callee]
        if place.path:
            owner = place._replace(path=place.path[:-1])
            known = next((i for i, p in enumerate(self.body.places) if p == owner), NONE)
            if known != NONE:
                self.value(rank, known, depth + 1)
            else:
                self._receiver(rank, call.callee, depth)

    def _receiver(self, rank: int, callee: int, depth: int) -> None:
        """The object whose method is called, where it stands nowhere by itself."""
        place = self.body.places[callee]
        for kind, selected in place.path[:-1]:
            if kind is Select.ATTR:
                self._attribute(str(selected))
            elif kind is Select.KEY and isinstance(selected, int):
                self.value(rank, selected, depth + 1)
        root = next((i for i, p in enumerate(self.body.places) if p == place._replace(path=())), NONE)
        if root != NONE:
            self.value(rank, root, depth + 1)
        else:
            self._variable(str(place.name), place.root)
