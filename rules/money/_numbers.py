"""The number of every place: an interpretation of the function IR over the lattice of `_values`.

Names are followed through each block, so that a rebinding or a test is seen; attributes, parameters and returns come
from the types stratum, and where that does not know, from the stores, callers and returns of the project, read in the
layer below. Layers are finished one below the other, so no order of questions can be seen in an answer.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from auditor.facts.model import NONE, Binary, Body, Call, Const, Root, Select, Store, Table
from auditor.project.flow import describe, writes
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode, Module
from auditor.project.tasks import of_tests
from auditor.project.types import UNKNOWN, Instance, Outside

from ._calls import builtin, constructs
from ._near import Floats, Near
from ._run import MARKET, Run
from ._values import (
    BOTTOM,
    DECIMAL,
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
from ._values import NONE as NONE_VALUE

COLUMNS = {
    "Float": "float", "REAL": "float", "Double": "float", "DOUBLE": "float", "FLOAT": "float", "Numeric": "decimal", "DECIMAL": "decimal",
    "NUMERIC": "decimal", "Integer": "int", "BigInteger": "int", "SmallInteger": "int", "INTEGER": "int",
}  # fmt: skip
OVERLOADS = frozenset({"__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"})
LAYERS = 3  # how many functions and attributes away a number is followed where the types stratum does not know


_OF: weakref.WeakKeyDictionary[Project, Numbers] = weakref.WeakKeyDictionary()


def numbers_of(project: Project) -> Numbers:
    """The runs over a project, shared by the rules of the chapter."""
    found = _OF.get(project)
    if found is None:
        found = _OF[project] = Numbers(project)
    return found


class Construction(NamedTuple):
    """A call that makes a Decimal: `path` of the constructor, `operand` of what it is made of."""

    function: FunctionNode
    rank: int
    path: str
    operand: int


class Numbers:
    """The runs over the functions of a project, each made once for a layer, and the indices that they need."""

    def __init__(self, project: Project) -> None:
        self._project = weakref.ref(project)
        self._runs: dict[tuple[FunctionNode, int], Run] = {}
        self._callers: dict[FunctionNode, list[tuple[FunctionNode, int]]] | None = None
        self._built: dict[str, list[tuple[FunctionNode, int]]] | None = None
        self._stores: dict[str, list[tuple[FunctionNode, int]]] | None = None
        self._memo: dict[tuple[str, object, str, int], Value] = {}
        self._converted: dict[Any, Value] = {}
        self._attributes: dict[tuple[object, str, int], Value] = {}

    @property
    def project(self) -> Project:
        found = self._project()
        if found is None:
            raise ReferenceError("the project of these numbers is gone; keep it as long as its runs are read")
        return found

    @cached_property
    def functions(self) -> tuple[FunctionNode, ...]:
        """The functions that the rules of the chapter look at: not those of tests."""
        return tuple(f for f in self.project.functions() if not of_tests(f.path))

    @cached_property
    def near(self) -> tuple[FunctionNode, ...]:
        """Those that can hold a Decimal."""
        if not self.exact:
            return ()
        near = Near(self.project)
        return tuple(f for f in self.functions if f in near)

    @cached_property
    def meeting(self) -> tuple[FunctionNode, ...]:
        """Those of them in which a float can meet it."""
        floats = Floats(self.project)
        return tuple(f for f in self.near if f in floats)

    @cached_property
    def constructions(self) -> tuple[Construction, ...]:
        """Every call outside of tests that makes a Decimal of something, by place."""
        found: list[Construction] = []
        for function in self.functions if self.exact else ():
            calls = self.project.calls(function)
            for rank in sorted(calls):
                path = constructs(calls[rank])
                op = function.body.ops[rank]
                if not path or not isinstance(op, Call) or op.starred:
                    continue
                operand = (
                    op.args[0] if op.args else next((v for k, v in op.keywords if k in ("value", "f", "num")), None)
                )
                if operand is not None:
                    found.append(Construction(function, rank, path, operand))
        return tuple(found)

    @cached_property
    def overloads(self) -> bool:
        """Whether a class of the project brings arithmetic of its own."""
        return any(OVERLOADS.intersection(name for name, _ in cls.header.methods) for cls in self.project.symbols.classes())

    @cached_property
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
            for caller in self.functions:
                for op, result in self.project.calls(caller).items():
                    if not result.targets and len(result.externals) == 1 and result.externals[0].endswith("()"):
                        self._built.setdefault(result.externals[0][:-2], []).append((caller, op))
        return self._built.get(cls.dotted, [])

    def callers(self, function: FunctionNode, tests: bool = False) -> list[tuple[FunctionNode, int]]:
        """The calls that may run a function, by place; `tests`: those of tests too."""
        if self._callers is None:
            self._callers = {}
            for caller in self.project.functions():
                for op, result in self.project.calls(caller).items():
                    for target in result.targets:
                        if not target.wrapper:
                            self._callers.setdefault(target.function, []).append((caller, op))
        found = self._callers.get(function, [])
        return found if tests else [site for site in found if not of_tests(site[0].path)]

    def stores(self, name: str) -> list[tuple[FunctionNode, int]]:
        """Operations that store to an attribute of this name on `self`."""
        if self._stores is None:
            self._stores = {}
            for function in self.functions:
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
        value = self._converted.get(types)
        if value is None:
            value = converted(types)
            if any(isinstance(a, Outside) and a.path.endswith("()") for a in value):
                value = union(self._modelled(a) for a in value)
            self._converted[types] = value
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
        key = (atom, name, layer)
        known = self._attributes.get(key)
        if known is None:
            known = self._attributes[key] = self._attribute(atom, name, layer)
        return known

    def _attribute(self, atom: object, name: str, layer: int) -> Value:
        if isinstance(atom, Instance) and atom.cls == "pandas.DataFrame" and name in MARKET:
            return frozenset((Series("float"),))
        if isinstance(atom, Series) and name in ("iloc", "loc", "values", "iat", "at", "array", "T"):
            return frozenset((atom,))
        if isinstance(atom, External):
            return EXTERNAL
        if isinstance(atom, Exact | Number | Series | Fields):
            return TOP
        found = self.convert(self.project.world.attribute(typed(atom), name))
        if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode) and any(map(_is_column, found)):
            return join(column(self.project, atom.cls, name), frozenset(a for a in found if not _is_column(a)))
        if UNKNOWN in found and isinstance(atom, Instance) and not isinstance(atom.cls, str):
            methods = {c.method(name) for c in (atom.cls, *atom.cls.descendants())}
            if methods != {None}:
                return self._read(methods, layer) if layer else found
            return self._stored(atom.cls, name, layer - 1, found) if layer else self._begun(atom.cls, name, found)
        return found

    def _read(self, methods: set[FunctionNode | None], layer: int) -> Value:
        """What properties without an annotation give."""
        if not all(m is not None and m.is_property and m.header.returns is None for m in methods):
            return TOP
        return union(self.returned(m, layer - 1) for m in methods if m is not None)

    def _begun(self, cls: ClassNode, name: str, otherwise: Value) -> Value:
        """Where every store of an attribute gives it a literal or a number that is made there, or computes it from itself:
        what it begins as. The layers above let it grow."""
        key = ("begun", cls, name, 0)
        known = self._memo.get(key)
        if known is None:
            found: Value | None = BOTTOM
            line = {*cls.mro, *cls.descendants()}
            for function, rank in self.stores(name):
                if function.cls in line and found is not None:
                    one = self._plainly(function, rank)
                    found = join(found, one) if one is not None else None
            known = self._memo[key] = found or otherwise
        return known

    def _plainly(self, function: FunctionNode, rank: int) -> Value | None:
        """The value of a store that needs no other place: BOTTOM for one that computes from what is stored."""
        body = function.body
        op = body.ops[rank]
        if isinstance(op, Binary):
            return BOTTOM if op.dst in (op.left, op.right) else None
        if not isinstance(op, Store):
            return None
        source = body.places[op.src].name
        if isinstance(source, Const):
            return constant(source)
        maker = next((r for r in range(rank - 1, -1, -1) if op.src in writes(body.ops[r])), None)
        made = body.ops[maker] if maker is not None else None
        if isinstance(made, Binary):
            return BOTTOM if op.dst in (made.left, made.right) else None
        if isinstance(made, Call) and maker is not None:
            result = self.project.calls(function).get(maker)
            if constructs(result):
                return DECIMAL
            plain = builtin(result)
            return kind_value(plain) if plain in ("float", "int") else None
        return None

    def variable(self, module: Module, name: str, layer: int) -> Value | None:
        """The table that a module binds to a name once and nothing changes; None for anything else."""
        key = ("variable", module, name, layer)
        known = self._memo.get(key)
        if known is None:
            known = BOTTOM
            ranks = self.project.symbols.assigned(module).get(name, ())
            top = module.functions[0]
            if len(ranks) == 1 and layer and name not in self._changed and isinstance(top.body.ops[ranks[0]], Store):
                source = top.body.ops[ranks[0]]
                made = isinstance(source, Store) and any(
                    isinstance(o, Table) and o.dst == source.src for o in top.body.ops
                )
                known = self.run(top, layer - 1).written.get(ranks[0], BOTTOM) if made else BOTTOM
            self._memo[key] = known
        return known if any(isinstance(a, Fields) for a in known) else None

    @cached_property
    def _changed(self) -> frozenset[str]:
        """Names of which an item is stored somewhere, or a method called that changes a dict."""
        found: set[str] = set()
        for function in self.project.functions():
            places = function.body.places
            for op in function.body.ops:
                if isinstance(op, Call):
                    path = places[op.callee].path
                    if path and path[-1].value in ("update", "setdefault", "pop", "clear", "popitem"):
                        found.update(str(part) for part in (places[op.callee].name, *(v for _, v in path[:-1])))
                else:
                    for written in writes(op):
                        path = places[written].path
                        if path and path[-1].kind is not Select.ATTR:
                            found.update(str(part) for part in (places[written].name, *(v for _, v in path[:-1])))
        return frozenset(found)

    def _stored(self, cls: ClassNode, name: str, layer: int, otherwise: Value) -> Value:
        """The join over all stores `self.name = ...` of a class and its bases."""
        begun = self._begun(cls, name, TOP) if not layer else TOP
        if UNKNOWN not in begun:
            return begun
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


def _is_column(atom: object) -> bool:
    path = atom.path.removesuffix("()") if isinstance(atom, Outside) else atom.cls if isinstance(atom, Instance) else ""
    return isinstance(path, str) and path.startswith("sqlalchemy.") and path.endswith((".Column", ".mapped_column"))


def column(project: Project, cls: ClassNode, name: str) -> Value:
    """What a column of a mapped class holds: the type that is written in its declaration, and None unless that says otherwise."""
    for ancestor in cls.mro:
        body = ancestor.module.functions[ancestor.header.body].body
        for rank, op in enumerate(body.ops):
            if not isinstance(op, Store) or body.places[op.dst].name != name or body.places[op.dst].path:
                continue
            made = next((o for o in reversed(body.ops[:rank]) if isinstance(o, Call) and o.dst == op.src), None)
            if made is None:
                continue
            kinds = [
                COLUMNS[word] for word in (_column_type(body, operand) for operand in made.args) if word in COLUMNS
            ]
            options = {key: body.places[operand].name for key, operand in made.keywords}
            held = kind_value(kinds[0]) if kinds else TOP
            filled = options.get("nullable") == Const("bool", "False") or "primary_key" in options
            return held if filled or held == TOP else join(held, NONE_VALUE)
    return TOP


def _column_type(body: Body, operand: int) -> str:
    """The last name of a column type, given as a class or as a call of it."""
    made = next((o for o in body.ops if isinstance(o, Call) and o.dst == operand), None)
    return describe(body, made.callee if made is not None else operand).rpartition(".")[2]


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
