"""The number of every place: an interpretation of the function IR over the lattice of `_values`.

Names are followed through each block, so that a rebinding or a test is seen; attributes, parameters and returns come
from the types stratum, and where that does not know, from the stores, callers and returns of the project, read in the
layer below. Layers are finished one below the other, so no order of questions can be seen in an answer.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from auditor.facts.model import NONE, Call, Root, Select
from auditor.project.flow import writes
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import UNKNOWN, Instance, Outside

from ._run import MARKET, Run
from ._values import (
    BOTTOM,
    EXTERNAL,
    TOP,
    Exact,
    External,
    Fields,
    Number,
    Series,
    Value,
    constant,
    converted,
    join,
    kind_value,
    typed,
    union,
)  # fmt: skip

LAYERS = 3  # how many functions and attributes away a number is followed where the types stratum does not know


_OF: weakref.WeakKeyDictionary[Project, Numbers] = weakref.WeakKeyDictionary()


def numbers_of(project: Project) -> Numbers:
    """The runs over a project, shared by the rules of the chapter."""
    found = _OF.get(project)
    if found is None:
        found = _OF[project] = Numbers(project)
    return found


class Numbers:
    """The runs over the functions of a project, each made once for a layer, and the indices that they need."""

    def __init__(self, project: Project) -> None:
        self._project = weakref.ref(project)
        self._runs: dict[tuple[FunctionNode, int], Run] = {}
        self._callers: dict[FunctionNode, list[tuple[FunctionNode, int]]] | None = None
        self._built: dict[str, list[tuple[FunctionNode, int]]] | None = None
        self._stores: dict[str, list[tuple[FunctionNode, int]]] | None = None
        self._memo: dict[tuple[str, object, str, int], Value] = {}

    @property
    def project(self) -> Project:
        found = self._project()
        if found is None:
            raise ReferenceError("the project of these numbers is gone; keep it as long as its runs are read")
        return found

    @property
    def exact(self) -> bool:
        """Whether the project has Decimals at all: without, there is nothing to mix."""
        return any(
            fact.path.lstrip(".").partition(".")[0] == "decimal" for path in sorted(self.project.programs)
            for fact in self.project.programs[path].facts.imports
        )  # fmt: skip

    def run(self, function: FunctionNode, layer: int = LAYERS) -> Run:
        """The finished run over a function."""
        key = (function, layer)
        found = self._runs.get(key)
        if found is None:
            found = self._runs[key] = Run(self, function, layer, {})
            found.go()
        return found

    def supposing(self, function: FunctionNode, given: Mapping[str, Value]) -> Run:
        """A run in which some parameters hold the given values."""
        run = Run(self, function, LAYERS, given)
        run.go()
        return run

    def built(self, cls: ClassNode) -> list[tuple[FunctionNode, int]]:
        """The calls that construct a class without a constructor of its own, by place."""
        if self._built is None:
            self._built = {}
            for caller in self.project.functions():
                for op, result in self.project.calls(caller).items():
                    if not result.targets and len(result.externals) == 1 and result.externals[0].endswith("()"):
                        self._built.setdefault(result.externals[0][:-2], []).append((caller, op))
        return self._built.get(cls.dotted, [])

    def callers(self, function: FunctionNode) -> list[tuple[FunctionNode, int]]:
        """The calls that may run a function, by place."""
        if self._callers is None:
            self._callers = {}
            for caller in self.project.functions():
                for op, result in self.project.calls(caller).items():
                    for target in result.targets:
                        if not target.wrapper:
                            self._callers.setdefault(target.function, []).append((caller, op))
        return self._callers.get(function, [])

    def stores(self, name: str) -> list[tuple[FunctionNode, int]]:
        """Operations that store to an attribute of this name on `self`."""
        if self._stores is None:
            self._stores = {}
            for function in self.project.functions():
                receiver = function.self_name
                if not receiver:
                    continue
                places = function.body.places
                for rank, op in enumerate(function.body.ops):
                    for written in writes(op):
                        place = places[written]
                        if (
                            place.root is Root.LOCAL
                            and place.name == receiver
                            and len(place.path) == 1
                            and place.path[0].kind is Select.ATTR
                        ):
                            self._stores.setdefault(str(place.path[0].value), []).append((function, rank))
        return self._stores.get(name, [])

    def convert(self, types: Any) -> Value:
        """A type of the types stratum as a value; results of untyped libraries by the model."""
        value = converted(types)
        if any(isinstance(a, Outside) and a.path.endswith("()") for a in value):
            value = union(self._modelled(a) for a in value)
        return value

    def _modelled(self, atom: object) -> Value:
        if isinstance(atom, Outside) and atom.path.endswith("()"):
            for role in self.project.models.model("numbers").roles(atom.path[:-2]):
                if role.name == "returns" and not role.attributes.get("of"):
                    return kind_value(str(role.attributes.get("kind", "")))
        return frozenset((atom,))

    # --- what stands in other functions ---
    def attribute(self, atom: object, name: str, layer: int) -> Value:
        """The value of an attribute of an atom."""
        if isinstance(atom, Instance) and atom.cls == "pandas.DataFrame" and name in MARKET:
            return frozenset((Series("float"),))
        if isinstance(atom, Series) and name in ("iloc", "loc", "values", "iat", "at", "array", "T"):
            return frozenset((atom,))
        if isinstance(atom, External):
            return EXTERNAL
        if isinstance(atom, Exact | Number | Series | Fields):
            return TOP
        found = self.convert(self.project.world.attribute(typed(atom), name))
        if UNKNOWN in found and layer and isinstance(atom, Instance) and not isinstance(atom.cls, str):
            return self._stored(atom.cls, name, layer - 1, found)
        return found

    def _stored(self, cls: ClassNode, name: str, layer: int, otherwise: Value) -> Value:
        """The join over all stores `self.name = ...` of a class and its bases."""
        key = ("attr", cls, name, layer)
        known = self._memo.get(key)
        if known is None:
            found = BOTTOM
            line = {*cls.mro, *cls.descendants()}
            for function, rank in self.stores(name):
                if function.cls in line:
                    found = join(found, self.run(function, layer).written.get(rank, TOP))
            known = self._memo[key] = found or otherwise
        return known

    def parameter(self, function: FunctionNode, name: str, layer: int) -> Value:
        """The value of a parameter: its annotation, else what the callers pass, with its default."""
        found = self.convert(self.project.world.parameter(function, name))
        param = next((p for p in function.header.params if p.name == name), None)
        if param is None or param.annotation is not None or param.kind in ("vararg", "kwarg"):
            return found
        default = constant(param.default) if param.default is not None else TOP if param.has_default else BOTTOM
        if UNKNOWN in found and layer and function.header.kind == "def":
            key = ("param", function, name, layer)
            known = self._memo.get(key)
            if known is None:
                known = self._memo[key] = self._passed(function, name, layer - 1)
            found = known or found
        return join(found, default) if default and UNKNOWN not in found else found

    def _passed(self, function: FunctionNode, name: str, layer: int) -> Value:
        found = BOTTOM
        for caller, op in self.callers(function):
            operand = argument(self.project, caller, op, function, name)
            if operand is None:
                return TOP
            if operand != NONE:
                found = join(found, self.run(caller, layer).seen(op, operand))
        return found

    def returned(self, function: FunctionNode, layer: int) -> Value:
        """The join over the returns of a function, without its annotation."""
        return self.run(function, layer).returned or TOP


def argument(project: Project, caller: FunctionNode, op: int, function: FunctionNode, name: str) -> int | None:
    """The operand that a call passes for a parameter; NONE if it leaves the parameter to its default, None if unclear."""
    call = caller.body.ops[op]
    if not isinstance(call, Call) or call.starred or any(key == "" for key, _ in call.keywords):
        return None
    for key, operand in call.keywords:
        if key == name:
            return operand
    target = next((t for t in project.calls(caller)[op].targets if t.function is function), None)
    names = [p.name for p in function.header.params if p.kind in ("positional", "normal")]
    if target is not None and target.bound:
        names = names[1:]
    if name in names and names.index(name) < len(call.args):
        return call.args[names.index(name)]
    return NONE
