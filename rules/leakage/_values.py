"""Values of the interpreter and the store that holds what can be changed in place: frames, lists, dicts, instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TypeVar

from auditor.project.symbols import ClassNode, FunctionNode, Module

from ._linear import ZERO, Linear, unknown
from ._state import CONSTANT, DATA, UNKNOWN, Extent, Kind, Part, State, join

ANY = "*"  # in a column name: text that is not known; as the column of a source: the column that is asked for


@dataclass(frozen=True, slots=True)
class Number:
    """An integer, or a form over unknown ones. `given`: the caller of the function said it."""

    form: Linear
    given: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A string; `*` stands for what is not known of it."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Literal:
    """True, False, None or another constant that is no integer and no string."""

    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    lower: Value
    upper: Value
    step: Value


@dataclass(frozen=True, slots=True)
class Callee:
    """A function of the project. `receiver` is what its first parameter is bound to; `captured` names the environment
    of the function that created it, for closures."""

    function: FunctionNode
    receiver: Value | None = None
    captured: int = -1


@dataclass(frozen=True, slots=True)
class Type:
    cls: ClassNode


@dataclass(frozen=True, slots=True)
class File:
    module: Module


@dataclass(frozen=True, slots=True)
class Outside:
    """Something outside of the project, by its dotted path."""

    path: str


@dataclass(frozen=True, slots=True)
class Ref:
    """Something in the store."""

    cell: str


@dataclass(frozen=True, slots=True)
class Member:
    """An attribute of a value that waits for its call: a method, or an accessor such as `loc`."""

    base: Value
    name: str


@dataclass(frozen=True, slots=True)
class Window:
    """`rolling`, `expanding` or `ewm` of a series or frame that waits for its aggregation."""

    base: Value
    kind: str
    width: Linear | None
    center: Literal | None = None
    forward: bool = False
    before: bool = False  # closed on the left: it ends before the row


@dataclass(frozen=True, slots=True)
class Group:
    """`groupby` or `resample` that waits for its aggregation. `key` is time (a bucket of it), stamp (one moment),
    asset, run, category or other; `minutes` and `label` are those of resample."""

    base: Value
    key: str
    minutes: int | None = None
    label: str = "left"
    closed: str = "left"
    resampled: bool = False
    masked: bool = False


Value = State | Number | Text | Literal | Slice | Callee | Type | File | Outside | Ref | Member | Window | Group

NOTHING = Literal("none")
NEVER = Literal("never")  # of a call that raises: no path goes on with it
T = TypeVar("T")


# --- the store --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """A table. `columns` are those that were written or renamed; every other name reads `default`, in whose sources the
    column `*` becomes the name. `closed` says that there are no others. `chosen` is True for a selection of columns."""

    columns: tuple[tuple[str, State], ...] = ()
    default: State = DATA
    head: Linear = ZERO
    direction: int = 1
    closed: bool = False
    chosen: bool = False
    gone: tuple[str, ...] = ()
    picked: bool = False  # nobody knows which columns are left

    def read(self, name: str) -> State:
        """The state of a column; names with `*` join all that may be meant."""
        if name in self.gone:
            return UNKNOWN
        found: State | None = None
        for column, state in self.columns:
            if column == name:
                if ANY not in name:
                    return state
                found = state if found is None else join(found, state)
        for column, state in self.columns:
            if column != name and (ANY in column or ANY in name) and overlap(column, name):
                weak = state.with_(sure=False)
                found = weak if found is None else join(found, weak)
        if found is not None:
            return (
                found
                if self.closed
                else join(found, self._default(name)).with_(kind=Kind.SERIES, direction=found.direction)
            )
        return self._default(name)

    def _default(self, name: str) -> State:
        named = tuple(replace(p, source=(p.source[0], name)) if p.source[1] == ANY else p for p in self.default.parts)
        return replace(self.default, parts=named, names=(name,) if name != ANY else ())

    def write(self, name: str, state: State) -> Frame:
        columns = dict(self.columns)
        if ANY in name and name in columns:
            state = join(columns[name], state)
        columns[name] = state
        gone = tuple(word for word in self.gone if word != name)
        return replace(self, columns=tuple(sorted(columns.items(), key=lambda item: item[0])), gone=gone)

    def drop(self, names: Iterable[str]) -> Frame:
        gone = {*self.gone, *names}
        return replace(
            self, columns=tuple(item for item in self.columns if item[0] not in gone), gone=tuple(sorted(gone))
        )

    def each(self, change: Callable[[State], State]) -> Frame:
        """The frame with every column changed in the same way."""
        return replace(
            self, columns=tuple((name, change(state)) for name, state in self.columns), default=change(self.default)
        )

    def whole(self) -> State:
        """The frame as one value: its unwritten columns, unless only written ones exist."""
        if self.closed and self.columns:
            state = self.columns[0][1]
            for _, other in self.columns[1:]:
                state = join(state, other)
            return state
        return self.default


def overlap(one: str, other: str) -> bool:
    """Whether two names with `*` may be the same."""
    return (
        fnmatchcase(one, other)
        if ANY not in one
        else (fnmatchcase(other, one) or (ANY in other and one[0] == other[0]))
    )


@dataclass(frozen=True, slots=True)
class Items:
    """A list or tuple. Not `exact`: any number of items, each of which may be any of those listed."""

    items: tuple[Value, ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A dict with text keys. Not `exact`: other keys may exist."""

    entries: tuple[tuple[str, Value], ...] = ()
    exact: bool = True

    def get(self, key: str) -> Value | None:
        return dict(self.entries).get(key)

    def write(self, key: str, value: Value) -> Table:
        return replace(self, entries=tuple(sorted({**dict(self.entries), key: value}.items())))


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a class of the project; attributes that were never stored read `source` symbolically."""

    cls: ClassNode | None
    attributes: tuple[tuple[str, Value], ...] = ()
    source: str = ""

    def get(self, name: str) -> Value | None:
        return dict(self.attributes).get(name)

    def write(self, name: str, value: Value) -> Instance:
        return replace(self, attributes=tuple(sorted({**dict(self.attributes), name: value}.items())))


@dataclass(frozen=True, slots=True)
class Model:
    """An object of a library that learns from rows: an estimator, a transformer, a splitter. `fitted` are the rows that it
    has seen; `stated` its arguments as the code states them; `parts` the models inside of a pipeline."""

    path: str
    fitted: tuple[State, ...] = ()
    stated: tuple[tuple[str, str], ...] = ()
    parts: tuple[Value, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


Cell = Frame | Items | Table | Instance | Model


class Environment:
    """Names and store at one moment of one function. Values are frozen: a copy is two shallow dicts."""

    __slots__ = ("cells", "names")

    def __init__(self, names: dict[str, Value] | None = None, cells: dict[str, Cell] | None = None) -> None:
        self.names = names if names is not None else {}
        self.cells = cells if cells is not None else {}

    def copy(self) -> Environment:
        return Environment(dict(self.names), dict(self.cells))

    def frame(self, value: Value) -> Frame | None:
        cell = self.cells.get(value.cell) if isinstance(value, Ref) else None
        return cell if isinstance(cell, Frame) else None

    def cell(self, value: Value) -> Cell | None:
        return self.cells.get(value.cell) if isinstance(value, Ref) else None

    def put(self, name: str, cell: Cell) -> Ref:
        self.cells[name] = cell
        return Ref(name)

    def state(self, value: Value | None) -> State:
        """Any value as rows or a number: constants have no reach at all."""
        if isinstance(value, State):
            return value
        if value is None or isinstance(value, Number | Text | Literal | Type | File | Outside | Callee):
            return CONSTANT
        if isinstance(value, Window | Group | Member):
            return self.state(value.base)
        if isinstance(value, Slice):
            return CONSTANT
        return self._cell_state(value, 0)

    def _cell_state(self, value: Ref, depth: int) -> State:
        cell = self.cells.get(value.cell)
        if isinstance(cell, Frame):
            return cell.whole()
        if isinstance(cell, Items | Table) and depth < 3:
            values = cell.items if isinstance(cell, Items) else tuple(v for _, v in cell.entries)
            found: State | None = None
            filled = any(isinstance(item, State) and item.kind is Kind.ARRAY for item in values)
            for item in values:
                state = self._cell_state(item, depth + 1) if isinstance(item, Ref) else self.state(item)
                if filled and state.kind is Kind.SCALAR:  # the first values of a list that a loop fills
                    state = state.with_(parts=tuple(p for p in state.parts if p.extent is not Extent.START))
                found = state if found is None else join(found, state)
            return found if found is not None else CONSTANT
        return UNKNOWN if isinstance(cell, Instance) or cell is None else CONSTANT

    def merge(self, other: Environment, point: str, *, widen: bool) -> Environment:
        """What holds on either of two paths into `point`. A name that only one path binds keeps its value."""
        return Environment(
            _merge(self.names, other.names, lambda key, a, b: join_values(a, b, f"{point}:{key}", widen=widen)),
            _merge(self.cells, other.cells, lambda key, a, b: _join_cells(a, b, f"{point}:{key}", widen=widen)),
        )

    def same(self, other: Environment) -> bool:
        return self.names == other.names and self.cells == other.cells


def _merge(one: Mapping[str, T], other: Mapping[str, T], joined: Callable[[str, T, T], T]) -> dict[str, T]:
    result = dict(one)
    for key, value in other.items():
        mine = result.get(key)
        if mine is None:
            result[key] = value
        elif mine is not value and mine != value:
            result[key] = joined(key, mine, value)
    return result


def join_values(one: Value, other: Value, point: str, *, widen: bool = False) -> Value:
    """The value that is one or the other. `widen`: a loop that still changes it makes it unknown."""
    if other in (one, NEVER):
        return one
    if one == NEVER:
        return other
    if isinstance(one, Number) and isinstance(other, Number):
        if widen:
            return Number(unknown(point))
        lows, highs = (one.form.lower(), other.form.lower()), (one.form.upper(), other.form.upper())
        low = None if lows[0] is None or lows[1] is None else min(lows[0], lows[1])
        high = None if highs[0] is None or highs[1] is None else max(highs[0], highs[1])
        return Number(unknown(point, low, high))
    if isinstance(one, Text) and isinstance(other, Text):
        return Text(_common(one.pattern, other.pattern))
    rows = (State, Number, Text, Literal)
    if isinstance(one, rows) and isinstance(other, rows):
        if isinstance(one, State) or isinstance(other, State):
            joined = join(as_constant(one), as_constant(other))
            return _widened(one, joined) if widen and isinstance(one, State) else joined
        return Literal("some")
    return UNKNOWN


def as_constant(value: State | Number | Text | Literal) -> State:
    return value if isinstance(value, State) else CONSTANT


def _widened(old: State, new: State) -> State:
    known = set(old.parts)
    parts = tuple(p if p in known or p.extent.value > 1 else Part(p.source, reach=None) for p in new.parts)
    return State(tuple(dict.fromkeys(parts)), new.kind, new.direction, sure=False)


def _common(one: str, other: str) -> str:
    """A pattern of both texts: what they begin and end with alike."""
    size = 0
    while size < min(len(one), len(other)) and one[size] == other[size]:
        size += 1
    tail = 0
    while tail < min(len(one), len(other)) - size and one[-1 - tail] == other[-1 - tail]:
        tail += 1
    return one[:size].rstrip(ANY) + ANY + (one[-tail:] if tail else "").lstrip(ANY)


def _join_cells(one: Cell, other: Cell, point: str, *, widen: bool) -> Cell:
    if isinstance(one, Frame) and isinstance(other, Frame):
        return _join_frames(one, other, widen=widen)
    if isinstance(one, Items) and isinstance(other, Items):
        if one.exact and other.exact and len(one.items) == len(other.items):
            return Items(
                tuple(join_values(a, b, point, widen=widen) for a, b in zip(one.items, other.items, strict=True))
            )
        return Items(tuple(dict.fromkeys((*one.items, *other.items)))[:8], exact=False)
    if isinstance(one, Table) and isinstance(other, Table):
        entries = _merge(
            dict(one.entries), dict(other.entries), lambda k, a, b: join_values(a, b, f"{point}:{k}", widen=widen)
        )
        return Table(tuple(sorted(entries.items())), one.exact and other.exact)
    if isinstance(one, Instance) and isinstance(other, Instance):
        held = _merge(
            dict(one.attributes), dict(other.attributes), lambda k, a, b: join_values(a, b, f"{point}:{k}", widen=widen)
        )
        return Instance(one.cls if one.cls is other.cls else None, tuple(sorted(held.items())), one.source)
    if isinstance(one, Model) and isinstance(other, Model) and one.path == other.path:
        return replace(one, fitted=tuple(dict.fromkeys((*one.fitted, *other.fitted)))[:4])
    return Frame(default=UNKNOWN)


def _join_frames(one: Frame, other: Frame, *, widen: bool) -> Frame:
    mine, theirs = dict(one.columns), dict(other.columns)
    columns: dict[str, State] = {}
    for name in sorted({*mine, *theirs}):
        a = mine.get(name)
        b = theirs.get(name)
        if a is None or b is None:  # written on one path only; on the other there may be no such column
            columns[name] = a or b or UNKNOWN
            continue
        joined = join(a, b)
        columns[name] = _widened(a, joined) if widen and joined != a else joined
    return Frame(
        tuple(columns.items()),
        join(one.default, other.default),
        one.head if one.head == other.head else ZERO,
        one.direction if one.direction == other.direction else 0,
        one.closed and other.closed,
        one.chosen and other.chosen,
        tuple(name for name in one.gone if name in other.gone),
        one.picked or other.picked,
    )


def each_ref(value: Value, cells: Mapping[str, Cell]) -> Iterator[str]:
    """Names of the cells that a value reaches, itself first, each once."""
    seen: set[str] = set()
    stack: list[Value] = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, Member | Window | Group):
            stack.append(current.base)
        elif isinstance(current, Callee) and current.receiver is not None:
            stack.append(current.receiver)
        elif isinstance(current, Ref) and current.cell not in seen and current.cell in cells:
            seen.add(current.cell)
            yield current.cell
            cell = cells[current.cell]
            if isinstance(cell, Items):
                stack.extend(reversed(cell.items))
            elif isinstance(cell, Table):
                stack.extend(v for _, v in reversed(cell.entries))
            elif isinstance(cell, Instance):
                stack.extend(v for _, v in reversed(cell.attributes))
