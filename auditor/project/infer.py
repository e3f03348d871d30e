"""Types of one function: an abstract run over its blocks, flow-sensitive for local names and narrowed places.

Takes the state of the previous round (`World`), adds what the function says to the next one, and gives the resolution
of each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from auditor.facts.annotations import read as read_annotation
from auditor.facts.model import (
    COLLECTIONS,
    NONE,
    OPERATORS,
    Await,
    Binary,
    Body,
    Bool,
    Branch,
    Call,
    Catch,
    Choose,
    Closure,
    Collect,
    Compare,
    Const,
    Declare,
    Define,
    Edge,
    Enter,
    Format,
    Import,
    Iterate,
    Next,
    Place,
    Return,
    Root,
    Select,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip
from auditor.project.callables import CallResult, Calls
from auditor.project.containers import element, filled, iterated, part
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import (
    BOOL,
    BOTTOM,
    CONSTANTS,
    FLOAT,
    INT,
    NONE_TYPE,
    STR,
    TOP,
    Callee,
    ClassObject,
    Instance,
    Type,
    instance,
    join,
    known,
    union,
    without_none,
)  # fmt: skip
from auditor.project.world import World

NUMBERS = {"builtins.bool": 0, "builtins.int": 1, "builtins.float": 2, "builtins.complex": 3}
DUNDERS = {
    "+": "__add__", "-": "__sub__", "*": "__mul__", "/": "__truediv__", "//": "__floordiv__", "%": "__mod__",
    "|": "__or__", "&": "__and__", "^": "__xor__", "**": "__pow__", "@": "__matmul__",
}  # fmt: skip
MAX_PASSES = 6  # of the blocks of one function; a name that still grows then is joined over all its stores
Env = dict[int, Type]


class Inference:
    """The run over one function. `types` maps each operation that gives a value to its type, `results` each call."""

    def __init__(self, function: FunctionNode, world: World, calls: Calls) -> None:
        self.function = function
        self.world = world
        self.calls = calls
        self.body = function.body
        shape = world.shapes.get(function)
        if shape is None:
            shape = world.shapes[function] = Shape(self.body)
        self.shape = shape
        self.places, self.root_of, self.prefixes = shape.places, shape.root_of, shape.prefixes
        self.temps: dict[int, Type] = {}
        self.made_by: dict[int, Any] = {}
        self.env: Env = {}
        self.results: dict[int, CallResult] = {}
        self.block = 0  # the block that is run
        self.readers: dict[int, set[int]] = {}  # temporary -> blocks that have read it
        self.stale: set[int] = set()  # blocks that read a temporary which has grown since
        self.is_class = function.header.kind == "class"
        self.watch: Callable[[Inference, int, Any], None] | None = None  # told of each operation before its step

    # --- the run ---
    def run(self) -> None:
        blocks, regions = self.body.blocks, self.body.regions
        entry: list[Env | None] = [None] * len(blocks)
        start: Env = {}
        for param in self.function.header.params:
            place = self.shape.locals.get(param.name)
            if place is not None:
                start[place] = self.world.parameter(self.function, param.name)
        entry[0] = start
        rank_of = self.shape.rank
        pending = {0}
        visits = [0] * len(blocks)
        while pending:
            number = min(pending, key=rank_of.__getitem__)
            pending.discard(number)
            visits[number] += 1
            self.block = number
            block = blocks[number]
            self.env = dict(entry[number] or {})
            before = dict(self.env) if block.region != NONE else self.env
            for rank in range(block.start, block.end):
                op = self.body.ops[rank]
                if self.watch is not None:
                    self.watch(self, rank, op)
                step = _STEPS.get(type(op))
                if step is not None:
                    step(self, op, rank)
            for kind, target in block.edges:
                if (
                    target >= 0
                    and visits[number] <= MAX_PASSES
                    and self._flow(entry, target, self._narrowed(block.end, kind))
                ):
                    pending.add(target)
            region = block.region
            while region != NONE:
                guard = regions[region]
                for target in (*guard.handlers, *((guard.cleanup,) if guard.cleanup != NONE else ())):
                    if visits[number] <= MAX_PASSES:
                        changed = self._flow(entry, target, before)
                        if self._flow(entry, target, self.env) or changed:
                            pending.add(target)
                region = guard.parent
            if self.stale:
                pending.update(b for b in self.stale if visits[b] <= MAX_PASSES)
                self.stale.clear()
        self._publish(entry)

    def _flow(self, entry: list[Env | None], target: int, env: Env) -> bool:
        """Join an environment into the entry of a block; whether that changed it."""
        there = entry[target]
        if there is None:
            entry[target] = dict(env)
            return True
        changed = False
        for place in [p for p in there if p not in env and self.places[p].path]:
            del there[place]  # narrowed on one way only
            changed = True
        for place, value in env.items():
            old = there.get(place)
            if old is None:
                if not self.places[place].path:
                    there[place] = value
                    changed = True
            elif old is not value:
                new = join(old, value)
                if new != old:
                    there[place] = new
                    changed = True
        return changed

    def _publish(self, entry: list[Env | None]) -> None:
        """Names that inner functions capture, and names of a class body: the join over the whole function."""
        if not self.function.children and not self.is_class:
            return
        merged: Env = {}
        for env in (*entry, self.env):
            for place, value in (env or {}).items():
                if not self.places[place].path:
                    merged[place] = join(merged.get(place, BOTTOM), value)
        for place, value in merged.items():
            name = str(self.places[place].name)
            self.world.add("cell", self.function, name, value)
            if self.is_class and self.function.body_of is not None:
                self.world.add("attr", self.function.body_of, name, value)

    # --- places ---
    def value(self, operand: int) -> Type:
        """The type that a place has now."""
        found = self.env.get(operand)
        if found is not None:
            return found
        place = self.places[operand]
        if place.root is Root.CONST:
            return CONSTANTS[place.name.kind]  # type: ignore[union-attr]  # a constant
        if not place.path:
            return self._root(place, operand)
        value = self.env.get(self.root_of[operand])
        if value is None:
            value = self._root(place, self.root_of[operand])
        depth = 0
        for prefix, index in self.prefixes.get(operand, ()):  # a prefix may be narrowed
            narrowed = self.env.get(index)
            if narrowed is not None:
                value, depth = narrowed, prefix
        for kind, selected in place.path[depth:]:
            if kind is Select.ATTR:
                value = self.world.attribute(without_none(value), str(selected))
            elif kind is Select.ITEM:
                value = element(value, selected if isinstance(selected, Const) else None)
            else:
                is_slice = isinstance(selected, int) and selected >= 0 and self._is_slice(selected)
                value = value if is_slice else element(value, None)
        return value

    def _is_slice(self, operand: int) -> bool:
        made = self.made_by.get(operand)
        return isinstance(made, Collect) and COLLECTIONS[made.kind] == "slice"

    def _root(self, place: Place, operand: int) -> Type:
        name = place.name
        if place.root is Root.TEMP:
            self.readers.setdefault(operand, set()).add(self.block)
            return self.temps.get(operand, BOTTOM)
        if place.root is Root.LOCAL:
            found = self.env.get(operand)
            if found is not None:
                return found
            if self.is_class:  # a class body sees the names outside
                return self.world.meaning(
                    self.world.symbols.resolve(self.function.module, str(name), self.function.parent)
                )
            return BOTTOM
        if place.root is Root.CELL:
            owner = self.world.cell_owner(self.function, str(name))
            if owner is None:
                return TOP
            bound = owner.module.bindings.get((owner.index, str(name)))
            if bound is not None:
                return self.world.meaning(self.world.symbols.resolve(owner.module, str(name), owner))
            return self.world.read("cell", owner, str(name))
        meaning = self.world.symbols.resolve(self.function.module, str(name), self.function)
        if meaning is None:
            return self.calls.builtin(str(name))
        return self.world.meaning(meaning)

    def write(self, operand: int, value: Type) -> None:
        """A store: names are updated strongly, attributes are added to the class of the receiver."""
        place = self.places[operand]
        if place.root is Root.TEMP and not place.path:
            self._grow(operand, value)
            return
        if not place.path:
            if place.root is Root.LOCAL:
                for other in [o for o in self.env if self.places[o].path and self.root_of[o] == operand]:
                    del self.env[other]
                self.env[operand] = value
            elif place.root is Root.GLOBAL:
                self.world.add("variable", self.function.module, str(place.name), value)
            elif place.root is Root.CELL:
                owner = self.world.cell_owner(self.function, str(place.name))
                if owner is not None:
                    self.world.add("cell", owner, str(place.name), value)
            return
        kind, selected = place.path[-1]
        if kind is Select.ATTR:
            for atom in self._base(operand):
                if isinstance(atom, Instance | ClassObject) and not isinstance(atom.cls, str):
                    self.world.add("attr", atom.cls, str(selected), value)
            for other in [o for o in self.env if o != operand and self._below(o, place)]:
                del self.env[other]
            self.env[operand] = value
        else:
            self._store_item(operand, value)

    def _grow(self, temp: int, value: Type) -> None:
        """A temporary is joined over all its stores; blocks that have read it already are run again if it grew."""
        before = self.temps.get(temp)
        after = value if before is None else join(before, value)
        if after != before:
            self.temps[temp] = after
            if before is not None:
                self.stale.update(self.readers.get(temp, ()))
                self.stale.discard(self.block)

    def _below(self, operand: int, place: Place) -> bool:
        other = self.places[operand]
        return other.root is place.root and other.name == place.name and other.path[: len(place.path)] == place.path

    def _base(self, operand: int) -> Type:
        """The type of a place without its last selector."""
        place = self.places[operand]
        value = self.env.get(self.root_of[operand])
        if value is None:
            value = self._root(place, self.root_of[operand])
        depth = 0
        for prefix, index in self.prefixes.get(operand, ()):
            narrowed = self.env.get(index)
            if narrowed is not None:
                value, depth = narrowed, prefix
        for kind, selected in place.path[depth:-1]:
            value = (
                self.world.attribute(without_none(value), str(selected))
                if kind is Select.ATTR
                else element(value, None)
            )
        return value

    def _store_item(self, operand: int, value: Type) -> None:
        """`container[key] = value`: the element type of a container that a name or attribute holds grows."""
        place = self.places[operand]
        if place.root is Root.TEMP and len(place.path) == 1:  # a comprehension fills its result
            result = self.root_of[operand]
            self._grow(result, frozenset(filled(a, value) for a in self.temps.get(result, BOTTOM)))
            return
        base = self._base(operand)
        if not any(isinstance(a, Instance) and a.cls == "builtins.dict" for a in base):
            return
        grown = frozenset(filled(a, value) for a in base)
        if len(place.path) == 1 and place.root is Root.LOCAL:
            self.env[self.root_of[operand]] = grown
        elif len(place.path) == 2 and place.path[0].kind is Select.ATTR:
            for atom in self._root_value(operand):
                if isinstance(atom, Instance) and not isinstance(atom.cls, str):
                    self.world.add("attr", atom.cls, str(place.path[0].value), grown)

    def _root_value(self, operand: int) -> Type:
        root = self.root_of[operand]
        found = self.env.get(root)
        return (
            found
            if found is not None
            else self._root(Place(self.places[operand].root, self.places[operand].name), root)
        )

    # --- narrowing ---
    def _narrowed(self, end: int, kind: Edge) -> Env:
        """The environment on one edge of a branch."""
        if kind not in (Edge.TRUE, Edge.FALSE) or not end:
            return self.env
        op = self.body.ops[end - 1]
        if not isinstance(op, Branch):
            return self.env
        truth = kind is Edge.TRUE
        place, narrowed = op.test, None
        made = self.made_by.get(op.test)
        if isinstance(made, Compare) and OPERATORS[made.operator] in ("is", "is not"):
            other = self.places[made.right]
            if isinstance(other.name, Const) and other.name.kind == "none":
                place = made.left
                is_none = (OPERATORS[made.operator] == "is") is truth
                narrowed = NONE_TYPE if is_none else self.value(place) - NONE_TYPE
        elif (
            isinstance(made, Call)
            and len(made.args) == 2
            and self.places[made.callee].name == "isinstance"
            and not self.places[made.callee].path
        ):
            if truth:
                place = made.args[0]
                narrowed = (
                    union(instance(a.cls) for a in self._classes(made.args[1]) if isinstance(a, ClassObject)) or None
                )
                if narrowed is not None:
                    narrowed = _refine(self.value(place), narrowed)
        elif isinstance(made, Compare) and OPERATORS[made.operator] == "isinstance":
            if truth:
                place = made.left
                narrowed = union(instance(a.cls) for a in self.value(made.right) if isinstance(a, ClassObject)) or None
        elif truth and self.places[op.test].root is not Root.TEMP:
            narrowed = self.value(op.test) - NONE_TYPE
        if narrowed is None or self.places[place].root in (Root.TEMP, Root.CONST):
            return self.env
        return {**self.env, place: narrowed}

    def _classes(self, operand: int) -> Type:
        return union(
            x for a in self.value(operand) if isinstance(a, Instance) and a.args for x in a.args
        ) or self.value(operand)

    # --- operations ---
    def store(self, op: Store, rank: int) -> None:
        self.write(op.dst, self.value(op.src))

    def declare(self, op: Declare, rank: int) -> None:
        declared = annotated(self.world, self.function, op)
        if known(declared):
            self.write(op.place, declared)

    def unary(self, op: Unary, rank: int) -> None:
        self.write(op.dst, BOOL if OPERATORS[op.operator] == "not" else self.value(op.operand))

    def binary(self, op: Binary, rank: int) -> None:
        self.write(op.dst, self.arithmetic(OPERATORS[op.operator], self.value(op.left), self.value(op.right)))

    def arithmetic(self, operator: str, left: Type, right: Type) -> Type:
        """The type of `left operator right`."""
        if operator == "or":
            return join(without_none(left), right)
        if operator == "and":
            return join(left, right)
        if not left or not right:
            return BOTTOM
        return union(self._arithmetic(operator, a, b) for a in left for b in right)

    def _arithmetic(self, operator: str, left: Any, right: Any) -> Type:
        if not isinstance(left, Instance) or not isinstance(right, Instance):
            return TOP
        a, b = left.cls, right.cls
        if isinstance(a, str) and isinstance(b, str):
            if a in NUMBERS and b in NUMBERS:
                if operator == "/":
                    return FLOAT if max(NUMBERS[a], NUMBERS[b]) < 3 else frozenset((left,))
                return (INT, INT, FLOAT, CONSTANTS["complex"])[max(NUMBERS[a], NUMBERS[b])]
            if "decimal.Decimal" in (a, b) and {a, b} <= {"decimal.Decimal", "builtins.int", "builtins.bool"}:
                return instance("decimal.Decimal")
            if {a, b} == {"decimal.Decimal", "builtins.float"}:
                return TOP  # raises TypeError; the stub of either operand alone would name a result
            if a == b and a in ("builtins.str", "builtins.bytes"):
                return frozenset((left,))
            if a == "builtins.str" and operator == "%":
                return STR
            if a == b and a in ("builtins.list", "builtins.set", "builtins.dict"):
                return join(frozenset((left,)), frozenset((right,)))
            if operator == "*" and a in ("builtins.list", "builtins.str"):
                return frozenset((left,))
        dunder = DUNDERS.get(operator, "")
        if not isinstance(a, str):
            method = a.method(dunder)
            return self.world.result(method, a) if method is not None else TOP
        stub = self.world.stub_class(a)
        if stub is not None and self.world.stub_member(stub, dunder) is not None:
            return self.world.outside_result(f"{a}.{dunder}")
        return TOP

    def compare(self, op: Compare, rank: int) -> None:
        left, right = self.value(op.left), self.value(op.right)
        builtin = all(
            isinstance(a, Instance) and (not isinstance(a.cls, str) or a.cls.startswith(("builtins.", "decimal.")))
            for a in left | right
        )
        plain = OPERATORS[op.operator] in ("is", "is not", "in", "not in", "isinstance", "len>=", "len==")
        self.write(op.dst, BOOL if plain or builtin else TOP)
        self.made_by[op.dst] = op

    def boolean(self, op: Bool, rank: int) -> None:
        self.write(op.dst, self.arithmetic(OPERATORS[op.operator], self.value(op.left), self.value(op.right)))

    def choose(self, op: Choose, rank: int) -> None:
        self.write(op.dst, join(self.value(op.then), self.value(op.other)))

    def collect(self, op: Collect, rank: int) -> None:
        kind = COLLECTIONS[op.kind]
        items = [element(self.value(x), None) if i in op.starred else self.value(x) for i, x in enumerate(op.items)]
        self.made_by[op.dst] = op
        if kind == "tuple" and not op.starred:
            value = instance("builtins.tuple", *items)
        elif kind == "slice":
            value = instance("builtins.slice")
        else:
            value = instance({"generator": "builtins.list"}.get(kind, f"builtins.{kind}"), union(items))
        self.write(op.dst, value)

    def table(self, op: Table, rank: int) -> None:
        keys = union(self.value(k) for k in op.keys if k != NONE)
        values = union(
            self.value(v) if k != NONE else element(self.value(v), None)
            for k, v in zip(op.keys, op.values, strict=True)
        )
        self.write(op.dst, instance("builtins.dict", keys, values))

    def unpack(self, op: Unpack, rank: int) -> None:
        source = self.value(op.src)
        for position, target in enumerate(op.targets):
            value = union(part(atom, position, op.star) for atom in source)
            self.write(target, instance("builtins.list", value) if position == op.star else value)

    def format(self, op: Format, rank: int) -> None:
        self.write(op.dst, STR)

    def call(self, op: Call, rank: int) -> None:
        self.made_by[op.dst] = op
        result = self.calls.call(self, op)
        self.results[rank] = result
        self.write(op.dst, result.type)

    def awaited(self, op: Await, rank: int) -> None:
        self.write(op.dst, self.calls.awaited(self.value(op.src)))

    def yielded(self, op: Yield, rank: int) -> None:
        if op.src != NONE:
            value = self.value(op.src)
            self.world.add("yield", self.function, "", element(value, None) if op.delegate else value)
        self.write(op.dst, TOP)

    def enter(self, op: Enter, rank: int) -> None:
        self.write(op.dst, self.calls.entered(self.value(op.src), bool(op.is_async)))

    def iterate(self, op: Iterate, rank: int) -> None:
        self._grow(op.dst, instance("iterator", iterated(self.value(op.src))))

    def following(self, op: Next, rank: int) -> None:
        self.write(op.dst, union(a.args[0] for a in self.value(op.iterator) if isinstance(a, Instance) and a.args))

    def closure(self, op: Closure, rank: int) -> None:
        child = self.function.children[op.function]
        self.write(op.dst, frozenset((Callee(child),)))

    def define(self, op: Define, rank: int) -> None:
        body = self.function.children[op.body]
        if body.body_of is not None:
            self.write(op.dst, frozenset((ClassObject(body.body_of),)))

    def imported(self, op: Import, rank: int) -> None:
        if op.dst != NONE:
            place = self.places[op.dst]
            if place.root is Root.LOCAL:
                self.write(
                    op.dst, self.world.meaning(self.world.symbols.imported(self.function.module, op.path, op.member))
                )

    def caught(self, op: Catch, rank: int) -> None:
        if op.dst != NONE:
            classes = union(self.value(c) for c in op.classes)
            self.write(op.dst, union(instance(a.cls) if isinstance(a, ClassObject) else TOP for a in classes) or TOP)

    def returned(self, op: Return, rank: int) -> None:
        self.world.add("return", self.function, "", self.value(op.src))


def annotated(world: World, function: FunctionNode, op: Declare) -> Type:
    """The type that `name: annotation` inside a function declares."""
    return world.annotations.type_of(read_annotation(op.annotation), function.module, function)


def _is_a(cls: ClassNode | str, wanted: ClassNode | str) -> bool:
    return cls == wanted or not isinstance(cls, str) and wanted in cls.mro


def _refine(value: Type, wanted: Type) -> Type:
    """The atoms of a value that an isinstance test lets through; the tested classes where it says more."""
    kept: Type = BOTTOM
    for atom in value:
        for want in wanted:
            if isinstance(atom, Instance) and isinstance(want, Instance) and _is_a(atom.cls, want.cls):
                kept = join(kept, frozenset((atom,)))
    return kept or wanted


class Shape:
    """What does not change between runs over a function: its places with their roots and prefixes, the index of each
    local name, and the rank of each block in reverse postorder (bodies of loops before what follows them)."""

    __slots__ = ("locals", "places", "prefixes", "rank", "root_of")

    def __init__(self, body: Body) -> None:
        self.places, self.root_of, self.prefixes = _rooted(body.places)
        self.locals = {str(p.name): i for i, p in enumerate(self.places) if p.root is Root.LOCAL and not p.path}
        self.rank = _ranks(body)


def _ranks(body: Body) -> list[int]:
    blocks, regions = body.blocks, body.regions

    def out(number: int) -> list[int]:
        found = [target for _, target in blocks[number].edges if target >= 0][::-1]
        region = blocks[number].region
        while region != NONE:
            found.extend(regions[region].handlers)
            if regions[region].cleanup != NONE:
                found.append(regions[region].cleanup)
            region = regions[region].parent
        return found

    rank = [0] * len(blocks)
    seen = {0}
    last = len(blocks)
    stack = [(0, iter(out(0)))] if blocks else []
    while stack:
        number, rest = stack[-1]
        target = next((t for t in rest if t not in seen), None)
        if target is None:
            last -= 1
            rank[number] = last
            stack.pop()
        else:
            seen.add(target)
            stack.append((target, iter(out(target))))
    return rank


Prefixes = dict[int, tuple[tuple[int, int], ...]]


def _rooted(places: tuple[Place, ...]) -> tuple[tuple[Place, ...], list[int], Prefixes]:
    """The places with a place of its own for each root; for each place the index of its root, and the proper prefixes
    of its path that are places themselves, as (length, index) in rising length."""
    table = {place: index for index, place in enumerate(places)}
    extended = list(places)
    roots: list[int] = []
    prefixes: Prefixes = {}
    for index, place in enumerate(places):
        if not place.path:
            roots.append(index)
            continue
        alone = Place(place.root, place.name)
        if alone not in table:
            table[alone] = len(extended)
            extended.append(alone)
        roots.append(table[alone])
        found = [
            (n, table[p])
            for n in range(1, len(place.path))
            if (p := Place(place.root, place.name, place.path[:n])) in table
        ]
        if found:
            prefixes[index] = tuple(found)
    roots.extend(range(len(places), len(extended)))
    return tuple(extended), roots, prefixes


_STEPS: Mapping[type, Callable[[Inference, Any, int], None]] = {
    Store: Inference.store, Declare: Inference.declare, Unary: Inference.unary, Binary: Inference.binary,
    Compare: Inference.compare, Bool: Inference.boolean, Choose: Inference.choose, Collect: Inference.collect,
    Table: Inference.table, Unpack: Inference.unpack, Format: Inference.format, Call: Inference.call,
    Await: Inference.awaited, Yield: Inference.yielded, Enter: Inference.enter, Iterate: Inference.iterate,
    Next: Inference.following, Closure: Inference.closure, Define: Inference.define, Import: Inference.imported,
    Catch: Inference.caught, Return: Inference.returned,
}  # fmt: skip
