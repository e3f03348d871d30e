"""One run: the IR of a function, block by block, over the numeric lattice."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from auditor.facts.model import (
    COLLECTIONS,
    NONE,
    OPERATORS,
    Await,
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Closure,
    Collect,
    Compare,
    Const,
    Declare,
    Delete,
    Edge,
    Enter,
    Format,
    Iterate,
    Next,
    Opaque,
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
from auditor.project.containers import element, iterated, part
from auditor.project.flow import writes
from auditor.project.infer import annotated
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode, Variable
from auditor.project.types import Callee, ClassObject, Instance, ModuleObject, Outside

from . import _values as values
from ._arithmetic import ARITHMETIC, arithmetic, compared, negated, pairs
from ._calls import call
from ._narrowing import narrowed
from ._values import (
    BOOL,
    BOTTOM,
    EXTERNAL,
    PAIR,
    STR,
    TOP,
    Exact,
    External,
    Fields,
    Number,
    Series,
    Value,
    held,
    holding,
    join,
    typed,
    union,
    without_none,
)  # fmt: skip

if TYPE_CHECKING:
    from ._numbers import Numbers

MARKET = frozenset({"open", "high", "low", "close", "volume"})  # columns that hold floats
PASSES = 2  # of a loop; what still changes then is unknown
Env = dict[int, Value]


class Run:
    """The run over one function. `written` maps an operation to the value it gives, `inputs` those of arithmetic and calls to
    what their operands held, `returned` is the join of returns, and `seen` tells what any operation saw in an operand."""

    def __init__(self, numbers: Numbers, function: FunctionNode, layer: int, given: Mapping[str, Value]) -> None:
        self.numbers = numbers
        self.function = function
        self.layer = layer
        self.given = given
        self.body = function.body
        self.places: list[Place] = list(self.body.places)
        self.index = {place: rank for rank, place in enumerate(self.places)}
        self.env: Env = {}
        self.temps: dict[int, Value] = {}
        self.made: dict[int, Any] = {}
        self.written: dict[int, Value] = {}
        self.inputs: dict[int, dict[int, Value]] = {}
        self.envs: dict[int, Env] = {}
        self.returned: Value = BOTTOM
        self.rank = 0

    @property
    def project(self) -> Project:
        return self.numbers.project

    # --- the run ---
    def go(self) -> None:
        blocks, regions = self.body.blocks, self.body.regions
        entry: dict[int, Env] = {0: self._start()}
        visits = [0] * len(blocks)
        order = self.project.flow(self.function).rank
        pending = [(0, 0)]
        waiting = {0}
        while pending:
            _, number = heapq.heappop(pending)
            waiting.discard(number)
            visits[number] += 1
            block = blocks[number]
            before = entry[number]
            self.env = dict(before)
            self.envs[number] = before
            for rank in range(block.start, block.end):
                self.rank = rank
                self._step(self.body.ops[rank], rank)
            targets = [(t, self._edge(block.end, kind)) for kind, t in block.edges if t >= 0]
            region = block.region
            while region != NONE:
                guard = regions[region]
                for target in (*guard.handlers, *((guard.cleanup,) if guard.cleanup != NONE else ())):
                    targets += [(target, before), (target, self.env)]
                region = guard.parent
            for target, env in targets:
                if self._flow(entry, target, env, visits[target] > PASSES) and target not in waiting:
                    waiting.add(target)
                    heapq.heappush(pending, (order.get(target, len(blocks)), target))

    def _start(self) -> Env:
        env: Env = {}
        for param in self.function.header.params:
            place = self.index.get(Place(Root.LOCAL, param.name))
            if place is not None:
                given = self.given.get(param.name)
                env[place] = (
                    given if given is not None else self.numbers.parameter(self.function, param.name, self.layer)
                )
        return env

    def _flow(self, entry: dict[int, Env], target: int, env: Env, widen: bool) -> bool:
        """Join an environment into the entry of a block; whether that changed it."""
        there = entry.get(target)
        if there is None:
            entry[target] = dict(env)
            return True
        changed = False
        for place in [p for p in there if p not in env and self.places[p].path]:
            del there[place]  # known on one way only
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
                    there[place] = TOP if widen else new
                    changed = True
        return changed

    def _edge(self, end: int, kind: Edge) -> Env:
        if kind not in (Edge.TRUE, Edge.FALSE) or not end:
            return self.env
        op = self.body.ops[end - 1]
        if not isinstance(op, Branch):
            return self.env
        facts = narrowed(self, op.test, kind is Edge.TRUE)
        return {**self.env, **facts} if facts else self.env

    # --- places ---
    def seen(self, rank: int, operand: int) -> Value:
        """What an operation saw in an operand: replays its block up to it."""
        block = self.project.flow(self.function).block_of(rank)
        if block not in self.envs:
            return TOP
        self.env = dict(self.envs[block])
        for before in range(self.body.blocks[block].start, rank):
            self._step(self.body.ops[before], before)
        return self.value(operand)

    def value(self, operand: int) -> Value:
        """The value that a place has now."""
        known = self.env.get(operand)
        if known is not None:
            return known
        place = self.places[operand]
        if place.root is Root.CONST:
            return values.constant(place.name) if isinstance(place.name, Const) else TOP
        if not place.path:
            return self._root(place, operand)
        value: Value | None = None
        depth = 0
        for length in range(len(place.path) - 1, -1, -1):
            prefix = self.index.get(Place(place.root, place.name, place.path[:length]))
            if prefix is not None and prefix in self.env:
                value, depth = self.env[prefix], length
                break
        if value is None:
            value = self._root(Place(place.root, place.name), self.index.get(Place(place.root, place.name), NONE))
        for kind, selected in place.path[depth:]:
            if kind is Select.ATTR:
                found = without_none(value)
                if len(found) == 1:
                    (only,) = found
                    value = self.numbers.attribute(only, str(selected), self.layer)
                else:
                    value = union(self.numbers.attribute(a, str(selected), self.layer) for a in found)
            else:
                value = union(self._item(a, kind, selected) for a in value)
        return value

    def base_index(self, operand: int) -> int | None:
        """The place without its last selector, if the function names it."""
        place = self.places[operand]
        return self.index.get(Place(place.root, place.name, place.path[:-1]))

    def base(self, operand: int) -> Value:
        """The value of a place without its last selector."""
        place = self.places[operand]
        index = self.base_index(operand)
        if index is None:
            index = len(self.places)
            self.places.append(Place(place.root, place.name, place.path[:-1]))
            self.index[self.places[index]] = index
        return self.value(index)

    def forget_base(self, operand: int) -> None:
        index = self.base_index(operand)
        if index is not None:
            self.env[index] = TOP

    def _item(self, atom: object, kind: Select, selected: object) -> Value:
        if isinstance(atom, Fields):
            if kind is Select.ITEM and isinstance(selected, Const):
                found = dict(atom.items).get(selected.text)
                return found if found is not None else atom.rest or TOP
            return union((atom.rest, *(v for _, v in atom.items)))
        if isinstance(atom, External):
            return EXTERNAL
        made = self.made.get(selected) if isinstance(selected, int) else None
        if isinstance(made, Collect) and COLLECTIONS[made.kind] == "slice":
            return frozenset((atom,))
        if isinstance(atom, Series):
            return frozenset((Number("np.float"),)) if atom.of == "float" and self._single(kind, selected) else TOP
        if isinstance(atom, Instance) and atom.cls == "pandas.DataFrame":
            return frozenset((Series("float"),)) if isinstance(selected, Const) and selected.text in MARKET else TOP
        if isinstance(atom, Exact | Number):
            return STR if atom == Number("str") else TOP
        return self.numbers.convert(element(typed(atom), selected if isinstance(selected, Const) else None))

    def _single(self, kind: Select, selected: object) -> bool:
        """Whether a series is read at one position."""
        if kind is Select.ITEM:
            return isinstance(selected, Const) and selected.kind == "int"
        return (
            isinstance(selected, int)
            and selected >= 0
            and all(isinstance(a, Number) and a.kind == "int" for a in self.value(selected))
        )

    def _root(self, place: Place, operand: int) -> Value:
        name = str(place.name)
        world = self.project.world
        if place.root is Root.TEMP:
            return self.temps.get(operand, BOTTOM)
        if place.root is Root.LOCAL:
            found = self.env.get(operand)
            if found is not None:
                return found
            if self.function.header.kind != "class":
                return (
                    self.numbers.parameter(self.function, name, self.layer)
                    if any(p.name == name for p in self.function.header.params)
                    else TOP
                )
            meaning = world.symbols.resolve(self.function.module, name, self.function.parent)
            return self.numbers.convert(world.meaning(meaning)) if meaning is not None else TOP
        if place.root is Root.CELL:
            owner = world.cell_owner(self.function, name)
            if owner is None:
                return TOP
            if (owner.index, name) in owner.module.bindings:
                return self.numbers.convert(world.meaning(world.symbols.resolve(owner.module, name, owner)))
            return self.numbers.convert(world.read("cell", owner, name))
        meaning = world.symbols.resolve(self.function.module, name, self.function)
        if meaning is None:
            return frozenset(self.project.linked.calls.builtin(name))
        if isinstance(meaning, Variable):
            literal = world.symbols.constant(meaning.module, meaning.name)
            if literal is not None:
                return values.constant(literal)
            if not meaning.module.is_stub and meaning.module.functions[0] is not self.function:
                table = self.numbers.variable(meaning.module, meaning.name, self.layer)
                if table is not None:
                    return table
        return self.numbers.convert(world.meaning(meaning))

    def write(self, operand: int, value: Value) -> None:
        """A store to a place; what was known of places below it is forgotten."""
        if operand == NONE:
            return
        place = self.places[operand]
        self.written[self.rank] = value
        if place.root is Root.TEMP and not place.path:
            self.temps[operand] = join(self.temps.get(operand, BOTTOM), value)
            return
        if place.path and place.path[-1].kind is not Select.ATTR:
            self._store_item(place, value)
            return
        length = len(place.path)
        for other in [o for o in self.env if o != operand and self._below(o, place, length)]:
            del self.env[other]
        if place.path or place.root is Root.LOCAL or (place.root is Root.GLOBAL and self.function.index == 0):
            self.env[operand] = value

    def _below(self, operand: int, place: Place, length: int) -> bool:
        other = self.places[operand]
        return (
            other.root is place.root
            and other.name == place.name
            and len(other.path) > length
            and other.path[:length] == place.path
        )

    def _store_item(self, place: Place, value: Value) -> None:
        """`container[key] = value`: what the container holds grows."""
        base_place = Place(place.root, place.name, place.path[:-1])
        base_index = self.index.get(base_place)
        if base_index is None:
            return
        key = place.path[-1].value
        grown = frozenset(_filled(a, key if isinstance(key, Const) else None, value) for a in self.value(base_index))
        if base_place.root is Root.TEMP and not base_place.path:
            self.temps[base_index] = union(frozenset((a,)) for a in grown)
        elif base_index in self.env or (base_place.root is Root.LOCAL and not base_place.path):
            self.env[base_index] = union(frozenset((a,)) for a in grown)

    # --- operations ---
    def _step(self, op: Any, rank: int) -> None:
        self.rank = rank
        step = _STEPS.get(type(op))
        if step is not None:
            step(self, op)
        elif not isinstance(op, Branch | Return | Declare):
            for written in writes(op):
                self.write(written, self._defined(op))

    def _defined(self, op: Any) -> Value:
        """Functions and classes are kept, so that what is called stays known; the rest is unknown."""
        if isinstance(op, Closure):
            return frozenset((Callee(self.function.children[op.function]),))
        return TOP

    def declare(self, op: Declare) -> None:
        """An annotation without a value; one with a value is overruled by the store that follows, unless that is open."""
        declared = self.numbers.convert(annotated(self.project.world, self.function, op))
        self.made[op.place] = op
        if values.known(declared):
            self.write(op.place, declared)

    def stored(self, op: Store) -> None:
        value = self.value(op.src)
        declared = self.made.pop(op.dst, None)
        if isinstance(declared, Declare) and not (
            values.known(value) and not any(isinstance(a, External | Outside) for a in value)
        ):
            self.written[self.rank] = self.env.get(op.dst, TOP)
            return
        self.write(op.dst, value)

    def unary(self, op: Unary) -> None:
        word = OPERATORS[op.operator]
        self.made[op.dst] = op
        value = self.value(op.operand)
        self.write(op.dst, BOOL if word == "not" else negated(value) if word in ("-", "+") else TOP)

    def binary(self, op: Binary) -> None:
        left, right = self.value(op.left), self.value(op.right)
        self.inputs[self.rank] = {op.left: left, op.right: right}
        self.write(op.dst, self.apply(OPERATORS[op.operator], left, right))

    def apply(self, operator: str, left: Value, right: Value) -> Value:
        """`left operator right`, with the operators of project classes."""
        if TOP in (left, right):
            return self._beside(operator, right if left == TOP else left) if left and right else BOTTOM
        found = BOTTOM
        for a, b in pairs(left, right):
            found = join(found, self._pair(operator, a, b))
        return found

    def _beside(self, operator: str, known: Value) -> Value:
        """What is not known, beside a Decimal: where that does not raise, it is a Decimal again, as long as no class of the
        project has operators of its own."""
        exact = values.all_decimal(known) and operator in ARITHMETIC and not self.numbers.overloads
        return values.DECIMAL if exact else TOP

    def _pair(self, operator: str, left: object, right: object) -> Value:
        if isinstance(left, Instance) or isinstance(right, Instance):
            both = [_plain(a) for a in (left, right)]
            if None in both or not any(isinstance(a, Instance) and a.args == () for a in (left, right)):
                return (
                    TOP if not _decided(left, right) else arithmetic(operator, frozenset((left,)), frozenset((right,)))
                )
        return arithmetic(operator, frozenset((left,)), frozenset((right,)))

    def compare(self, op: Compare) -> None:
        self.made[op.dst] = op
        word = OPERATORS[op.operator]
        if word in ("isinstance", "len>=", "len==", "keys"):
            self.write(op.dst, BOOL)
            return
        left, right = self.value(op.left), self.value(op.right)
        self.inputs[self.rank] = {op.left: left, op.right: right}
        if TOP in (left, right):
            self.write(op.dst, BOOL if word in ("is", "is not", "in", "not in") else TOP)
            return
        self.write(op.dst, union(compared(word, a, b) for a, b in pairs(left, right)))

    def choose(self, op: Choose) -> None:
        then, other = self.value(op.then), self.value(op.other)
        for truth, operand in ((True, op.then), (False, op.other)):
            facts = narrowed(self, op.test, truth)
            if operand in facts:
                then, other = (facts[operand], other) if truth else (then, facts[operand])
        self.write(op.dst, join(then, other))

    def boolean(self, op: Bool) -> None:
        self.made[op.dst] = op
        left, right = self.value(op.left), self.value(op.right)
        if OPERATORS[op.operator] == "or":
            left = union(frozenset((a,)) for a in left if a != values.NONE_ATOM and not _falsy(a))
        self.write(op.dst, join(left, right))

    def collect(self, op: Collect) -> None:
        kind = COLLECTIONS[op.kind]
        self.made[op.dst] = op
        items = [
            union(self._item(a, Select.KEY, NONE) for a in self.value(x)) if i in op.starred else self.value(x)
            for i, x in enumerate(op.items)
        ]
        if kind == "tuple" and not op.starred:
            self.write(op.dst, frozenset((holding("builtins.tuple", *items),)))
        elif kind == "slice":
            self.write(op.dst, frozenset((Instance("builtins.slice"),)))
        else:
            name = {"generator": "builtins.list"}.get(kind, f"builtins.{kind}")
            self.write(op.dst, frozenset((holding(name, union(items)),)))

    def table(self, op: Table) -> None:
        items: dict[str, Value] = {}
        rest: Value = BOTTOM
        for key, operand in zip(op.keys, op.values, strict=True):
            name = self.places[key].name if key != NONE else None
            if isinstance(name, Const):
                items[name.text] = self.value(operand)
            else:
                rest = TOP if key == NONE else join(rest, self.value(operand))
        self.write(op.dst, frozenset((Fields(tuple(sorted(items.items())), rest),)))

    def unpack(self, op: Unpack) -> None:
        source = self.value(op.src)
        for position, target in enumerate(op.targets):
            if position == op.star:
                self.write(target, TOP)
                continue
            self.write(
                target,
                union(
                    EXTERNAL if isinstance(a, External) else self.numbers.convert(part(a, position, op.star))
                    for a in source
                ),
            )

    def format(self, op: Format) -> None:
        self.write(op.dst, STR)

    def call(self, op: Call) -> None:
        self.made[op.dst] = op
        self.inputs[self.rank] = {a: self.value(a) for a in (*op.args, *(v for _, v in op.keywords))}
        self.write(op.dst, call(self, op, self.rank))

    def awaited(self, op: Await) -> None:
        found = BOTTOM
        for atom in self.value(op.src):
            if isinstance(atom, Instance) and atom.cls == "coroutine" and atom.args:
                found = join(found, self.numbers.convert(atom.args[0]))
            elif isinstance(atom, External | Outside):
                found = join(found, frozenset((atom,)))
            else:
                found = join(found, TOP)
        self.write(op.dst, found)

    def enter(self, op: Enter) -> None:
        self.write(
            op.dst,
            self.numbers.convert(self.project.linked.calls.entered(_typed(self.value(op.src)), bool(op.is_async))),
        )

    def iterate(self, op: Iterate) -> None:
        self.write(op.dst, frozenset((holding("iterator", self.items(op.src)),)))

    def items(self, operand: int) -> Value:
        """What iteration over a place gives."""
        return union(self._iterated(a) for a in self.value(operand))

    def _iterated(self, atom: object) -> Value:
        if isinstance(atom, Fields):
            return STR
        if isinstance(atom, External):
            return EXTERNAL
        if isinstance(atom, Series):
            return frozenset((Number("np.float"),)) if atom.of == "float" else values.DECIMAL
        if isinstance(atom, Exact | Number):
            return STR if atom == Number("str") else TOP
        return self.numbers.convert(iterated(typed(atom)))

    def following(self, op: Next) -> None:
        self.write(
            op.dst,
            union(
                self.numbers.convert(a.args[0]) if a.args[0] else BOTTOM
                for a in self.value(op.iterator)
                if isinstance(a, Instance) and a.args
            ),
        )

    def give(self, op: Return) -> None:
        value = self.value(op.src)
        self.written[self.rank] = value
        self.returned = join(self.returned, value)

    def forget(self, op: Delete) -> None:
        self.env.pop(op.place, None)

    def opaque(self, op: Opaque) -> None:
        for written in op.writes:
            self.write(written, TOP)

    def yielded(self, op: Yield) -> None:
        self.write(op.dst, TOP)


def _falsy(atom: object) -> bool:
    """A literal that `or` passes over."""
    return isinstance(atom, Number) and atom.text in ("0", "0.0", "False", "")


def _filled(atom: object, key: Const | None, value: Value) -> object:
    if isinstance(atom, Fields):
        if key is not None:
            return Fields(tuple(sorted({**dict(atom.items), key.text: value}.items())), atom.rest)
        return Fields(tuple((k, join(v, value)) for k, v in atom.items), join(atom.rest, value))
    if isinstance(atom, Instance) and atom.cls == "builtins.dict" and len(atom.args) == PAIR:
        return holding(atom.cls, held(atom)[0], join(held(atom)[1], value), exact=atom.exact)
    if isinstance(atom, Instance) and atom.cls in ("builtins.list", "builtins.set") and len(atom.args) == 1:
        return holding(atom.cls, join(held(atom)[0], value), exact=atom.exact)
    return atom


def _plain(atom: object) -> object | None:
    """None for an instance of a project class, whose operators are its own."""
    return None if isinstance(atom, Instance) and not isinstance(atom.cls, str) else atom


def _decided(left: object, right: object) -> bool:
    return _plain(left) is not None and _plain(right) is not None


def _typed(value: Value) -> Any:
    """The atoms of a value that the types stratum knows."""
    known = frozenset(a for a in value if isinstance(a, Instance | ClassObject | ModuleObject | Callee | Outside))
    return known if len(known) == len(value) else known | TOP


_STEPS: Mapping[type, Callable[[Run, Any], None]] = {
    Store: Run.stored, Declare: Run.declare, Unary: Run.unary, Binary: Run.binary, Compare: Run.compare, Choose: Run.choose,
    Bool: Run.boolean, Collect: Run.collect, Table: Run.table, Unpack: Run.unpack, Format: Run.format, Call: Run.call,
    Await: Run.awaited, Enter: Run.enter, Iterate: Run.iterate, Next: Run.following, Return: Run.give, Delete: Run.forget,
    Opaque: Run.opaque, Yield: Run.yielded,
}  # fmt: skip
