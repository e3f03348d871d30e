"""Accesses of shared state: which attribute or global an operation reads, tests, changes or walks over, and of which object.

State is an attribute of a class or a variable of a module; what lies in a container of it is its `rest`: a key, or the way
further inside. Local names are followed: `p = self.book[k]; p["size"] = 0` changes `book`. A name that holds a value is no
access when it is read again: it holds what was read before.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import (
    NONE,
    OPERATORS,
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Compare,
    Const,
    Delete,
    Iterate,
    Op,
    Root,
    Select,
    Store,
    Unary,
)
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name, method_of
from auditor.project.references import Item, Ref, References
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance, Type

if TYPE_CHECKING:
    from auditor.project.project import Project

GROWS = frozenset({
    "append", "appendleft", "add", "update", "setdefault", "insert", "extend", "extendleft", "put_nowait",
})  # fmt: skip
SHRINKS = frozenset({"pop", "popitem", "popleft", "remove", "discard", "clear"})
ORDERS = frozenset({"sort", "reverse", "rotate"})  # change the order alone
MUTATORS = GROWS | SHRINKS | ORDERS
VIEWS = frozenset({"values", "items", "keys"})
COPIES = frozenset({"list", "tuple", "sorted", "set", "frozenset", "dict", "deque"})  # take what they are given at once
WALKS = frozenset({"enumerate", "zip", "reversed", "iter", "map", "filter", "sum", "min", "max", "any", "all"})
KEYED = frozenset({"add", "setdefault", "pop", "remove", "discard"})  # their first argument says which item
LAZY = frozenset({"enumerate", "zip", "reversed", "iter", "map", "filter"})  # walk where their result is walked


class How(enum.StrEnum):
    """What an operation does with state. RESIZE is the change that makes a running iteration fail; SNAPSHOT one atomic
    copy of a container."""

    READ = "read"
    TEST = "test"
    WRITE = "write"
    RESIZE = "resize"
    ITERATE = "iterate"
    SNAPSHOT = "snapshot"

    @property
    def changes(self) -> bool:
        return self in (How.WRITE, How.RESIZE)


class State(NamedTuple):
    """`name` of `owner`: the dotted name of a class, or of a module for its variables."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner.rpartition('.')[2]}.{self.name}"


Rest = tuple[str | Item, ...]


class Access(NamedTuple):
    """Operation `op` of `function` does `how` with `state` through `operand`. `ref` is the way to the attribute itself, in
    the frame of the function; `rest` what is selected inside of it. `aliased`: reached through a local name. `value`
    is the operand that a store puts there, NONE where there is none; `container` the way to the container that is
    walked over, or that gets or loses an item."""

    function: FunctionNode
    op: int
    how: How
    state: State
    ref: Ref
    rest: Rest
    operand: int
    aliased: bool = False
    value: int = NONE
    container: Rest = ()

    @property
    def spelled(self) -> str:
        """The state as the function writes it."""
        return str(self.ref)

    @property
    def place(self) -> tuple[int, int]:
        return self.function.at(self.op)[:2]


def overlaps(one: Rest, other: Rest) -> bool:
    """Whether two selections inside of one container can mean the same item: a whole touches all of its items."""
    return all(a == b or isinstance(a, Item) != isinstance(b, Item) for a, b in zip(one, other, strict=False))


class Accesses:
    """Accesses of functions, each computed once."""

    def __init__(self, project: Project, references: References) -> None:
        self.project = project
        self.references = references
        self._of: dict[FunctionNode, tuple[Access, ...]] = {}
        self._owners: dict[tuple[ClassNode, str], str] = {}
        self._types: dict[tuple[tuple[str, int] | str, str], Type] = {}
        self._named: dict[str, tuple[FunctionNode, ...]] | None = None
        self._to: dict[str, dict[State, list[Access]]] = {}

    def of(self, function: FunctionNode) -> tuple[Access, ...]:
        """The accesses of a function in the order of its operations, those of functions inside it left out."""
        found = self._of.get(function)
        if found is None:
            found = self._of[function] = tuple(self._accesses(function))
        return found

    def to(self, state: State) -> Iterator[Access]:
        """Every access of a state in the project."""
        known = self._to.get(state.name)
        if known is None:
            known = self._to[state.name] = {}
            for function in self.naming(state.name):
                for access in self.of(function):
                    if access.state.name == state.name:
                        known.setdefault(access.state, []).append(access)
        yield from known.get(state, ())

    def naming(self, name: str) -> tuple[FunctionNode, ...]:
        """Functions that mention an attribute or variable of this name, by path and place."""
        if self._named is None:
            found: dict[str, dict[FunctionNode, None]] = {}
            for function in self.project.functions():
                for place in function.body.places:
                    if place.root is Root.GLOBAL:
                        found.setdefault(str(place.name), {})[function] = None
                    for kind, value in place.path:
                        if kind is Select.ATTR:
                            found.setdefault(str(value), {})[function] = None
            self._named = {key: tuple(functions) for key, functions in found.items()}
        return self._named.get(name, ())

    def state(self, cls: ClassNode, name: str) -> State:
        """The attribute of a class."""
        return State(self._owner(cls, name), name)

    # --- what a place is ---
    def located(self, function: FunctionNode, operand: int) -> tuple[State, Ref, Rest] | None:
        """The state that a place means, the way to it, and what is selected inside of it."""
        ref = self.references.of(function, operand)
        if ref is not None:
            return self.split(function, ref)
        known: list[str | Item] = []
        for kind, value in function.body.places[operand].path:
            item = str(value) if kind is Select.ATTR else self.references.item(function, value)
            if item is None:  # a key that is reckoned: the same only where it is the same operand
                item = Item(f"?{operand}")
            known.append(item)
        if not any(isinstance(s, Item) for s in known):
            return None
        ref = self.references.walk(function, operand, known)
        return None if ref is None else self.split(function, ref)

    def split(self, function: FunctionNode, ref: Ref) -> tuple[State, Ref, Rest] | None:
        """The innermost attribute on a way whose owner is a class of the project, else the variable that it begins with."""
        value = self._begins(function, ref)
        found: tuple[State, Ref, Rest] | None = None
        if isinstance(ref.scope, str):
            found = State(ref.scope, ref.name), ref._replace(path=()), ref.path
        for rank, selected in enumerate(ref.path):
            if not isinstance(selected, str):
                break
            owners = [a.cls for a in value if isinstance(a, Instance) and isinstance(a.cls, ClassNode)]
            if len(owners) == 1 and isinstance(owners[0], ClassNode):
                if owners[0].method(selected) is not None:
                    break
                state = State(self._owner(owners[0], selected), selected)
                found = state, ref._replace(path=ref.path[: rank + 1]), ref.path[rank + 1 :]
            value = self.project.world.attribute(value, selected)
        return found

    def _begins(self, function: FunctionNode, ref: Ref) -> Type:
        """The type of the name that a way begins with."""
        key = (ref.scope, ref.name)
        if key not in self._types and not isinstance(ref.scope, str):
            scope = self.project.symbols.by_path[ref.scope[0]].functions[ref.scope[1]]
            if not any(p.name == ref.name for p in scope.header.params):
                self._types[key] = frozenset()  # an object that the function has made or found itself
        if key not in self._types:
            self._types[key] = self.references.type_of(function, ref._replace(path=()))
        return self._types[key]

    def _owner(self, cls: ClassNode, name: str) -> str:
        """The class of the line that stores the attribute first."""
        key = (cls, name)
        if key not in self._owners:
            line = [c for c in reversed(cls.mro) if ("attr", c, name) in self.project.world.state]
            line += [c for c in reversed(cls.mro) if any(f.name == name for f in c.header.fields)]
            self._owners[key] = (line[0] if line else cls).dotted
        return self._owners[key]

    # --- operations ---
    def _accesses(self, function: FunctionNode) -> Iterator[Access]:
        own = method_of(function)
        self_name = own.self_name if own is not None else ""
        body = function.body
        reached = self.project.flow(function).rank
        ranks = (r for n, block in enumerate(body.blocks) if n in reached for r in range(block.start, block.end))
        for rank, op in ((r, body.ops[r]) for r in sorted(ranks)):
            for seen in self._operation(function, rank, op):
                place = body.places[seen.operand]
                if place.root is Root.CONST:
                    continue
                bare = not place.path and place.root is not Root.GLOBAL and seen.ref is None
                if bare and not seen.inside:
                    continue  # a name that is read or bound anew
                located = self.located(function, seen.operand) if seen.ref is None else self.split(function, seen.ref)
                if located is None:
                    continue
                state, ref, rest = located
                if bare and not ref.path and not isinstance(ref.scope, str):
                    continue  # a container of the function's own
                container = rest
                key = self.references.item(function, seen.key) if seen.key != NONE else None
                if key is not None:
                    rest = (*rest, key)
                how = seen.how
                if isinstance(op, Store) and how is How.WRITE and rest and isinstance(rest[-1], Item):
                    how = How.RESIZE
                if isinstance(op, Store | Delete | Binary) and how.changes and rest:
                    container = rest[:-1]
                aliased = place.root in (Root.LOCAL, Root.TEMP) and str(place.name) != self_name
                aliased = aliased and str(ref).partition(".")[0] != str(place.name)
                yield Access(function, rank, how, state, ref, rest, seen.operand, aliased, seen.value, container)

    def _operation(self, function: FunctionNode, rank: int, op: Op) -> Iterator[_Seen]:
        """What an operation does, reads first, as they run."""
        body = function.body
        if isinstance(op, Call):
            yield from self._call(function, rank, op)
            return
        if isinstance(op, Delete):
            path = body.places[op.place].path
            item = bool(path) and path[-1].kind is not Select.ATTR
            yield _Seen(op.place, How.RESIZE if item else How.WRITE)
            return
        if isinstance(op, Iterate):
            yield self._walked(function, op.src, How.ITERATE)
            return
        if isinstance(op, Compare):
            contains = OPERATORS[op.operator] in ("in", "not in")
            yield _Seen(op.left, How.READ if contains else How.TEST)
            if contains:
                yield self._walked(function, op.right, How.TEST)._replace(key=op.left)
            else:
                yield _Seen(op.right, How.TEST)
        else:
            how = How.TEST if isinstance(op, Branch | Unary | Bool | Choose) else How.READ
            yield from (_Seen(operand, how) for operand in reads(op))
        value = op.src if isinstance(op, Store) else op.dst if isinstance(op, Binary) else NONE
        yield from (_Seen(operand, How.WRITE, value=value) for operand in writes(op))

    def _call(self, function: FunctionNode, rank: int, op: Call) -> Iterator[_Seen]:
        name = last_name(function, op)
        callee = function.body.places[op.callee]
        result = self.project.calls(function).get(rank)
        builtin = callee.root is Root.GLOBAL and not callee.path
        for operand in (*op.args, *(o for _, o in op.keywords)):
            if builtin and name in COPIES:
                yield self._walked(function, operand, How.SNAPSHOT)
            elif builtin and name in WALKS and name not in LAZY:
                yield self._walked(function, operand, How.ITERATE)
            else:
                yield _Seen(operand, How.READ)
        if builtin or not callee.path or callee.path[-1].kind is not Select.ATTR:
            yield _Seen(op.callee, How.READ)
            return
        ref = self.references.owner(function, op)
        if ref is None or result is not None and result.targets or name in VIEWS:
            return
        first = op.args[0] if op.args else NONE
        seen = _Seen(op.callee, How.READ, ref=ref, inside=True)
        if name in MUTATORS:
            key = first if name in KEYED else NONE
            yield seen._replace(how=How.WRITE if name in ORDERS else How.RESIZE, key=key, value=first)
        elif name == "copy":
            yield seen._replace(how=How.SNAPSHOT)
        else:
            yield seen._replace(key=first if name == "get" else NONE)

    def _walked(self, function: FunctionNode, operand: int, how: How) -> _Seen:
        """An access of the container behind `d.items()`, `enumerate(d)` and the like."""
        body = function.body
        for _ in range(3):
            place = body.places[operand]
            makers = self.references.writers(function, operand) if place.root is Root.TEMP and not place.path else ()
            call = body.ops[makers[0]] if len(makers) == 1 else None
            if not isinstance(call, Call):
                break
            name = last_name(function, call)
            if name in VIEWS and not call.args:
                return _Seen(call.callee, how, ref=self.references.owner(function, call), inside=True)
            if name not in LAZY or not call.args or body.places[call.callee].root is not Root.GLOBAL:
                break
            operand = call.args[-1] if name in ("map", "filter") else call.args[0]
        return _Seen(operand, how, inside=True)


class _Seen(NamedTuple):
    """`inside`: the container behind a bare name is meant, not the name. `ref` replaces the way that the operand has, `key`
    selects an item in it."""

    operand: int
    how: How
    key: int = NONE
    value: int = NONE
    ref: Ref | None = None
    inside: bool = False


def constant(function: FunctionNode, operand: int) -> Const | None:
    """The literal that an operand is."""
    name = function.body.places[operand].name if operand != NONE else None
    return name if isinstance(name, Const) else None
