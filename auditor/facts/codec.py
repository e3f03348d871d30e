"""Facts <-> bytes: one blob per file, for the pipe of the workers, the cache and the tests.

Layout: 4 bytes magic, 12 bytes of a hash of the rest, the length of the JSON part (int32), the JSON part (headers and
the string table), then int32 columns: line starts, statements, and for each function its strings, places, code, spans,
blocks and regions. The JSON part is derived from the field types of the records. A blob is input: what was cut or
changed raises `Corrupt`, and so does an index that is out of range, even under a hash that fits.
"""

from __future__ import annotations

import hashlib
import json
import sys
import types
import typing
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from auditor.facts import model
from auditor.facts.builder import CODE, CONST_KINDS, REGION_KINDS, Encoded
from auditor.facts.model import (
    COLLECTIONS,
    END,
    NONE,
    OPERATORS,
    OPS,
    Await,
    Binary,
    Block,
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
    Delete,
    Edge,
    Enter,
    Exit,
    FileFacts,
    Format,
    Import,
    Iterate,
    Next,
    Opaque,
    Place,
    Raise,
    Region,
    Return,
    Root,
    Select,
    Selector,
    Statement,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip

MAGIC = b"AUD2"
HEAD = 16  # bytes of magic and hash
COLUMNS = ("strings", "places", "code", "spans", "blocks", "regions")
IN_COLUMNS = ("statements", "line_starts")
_SWAP = sys.byteorder == "big"


BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class Corrupt(ValueError):
    """A blob that is not one of ours, or was cut."""

    def __init__(self, why: object) -> None:
        super().__init__(f"unreadable blob of facts: {why}; it is made anew when the cache is cleared")


# --- JSON part, from field types ---------------------------------------------------------------------------------


def _decoder(hint: Any) -> Callable[[Any], Any]:
    if hint in (str, int, bool):
        return _exactly(hint)
    if hint is object:
        return _tuples
    origin = typing.get_origin(hint)
    if origin is tuple:
        args = typing.get_args(hint)
        if args[-1] is Ellipsis:
            item = _decoder(args[0])
            return lambda value: tuple(item(x) for x in value)
        parts = [_decoder(a) for a in args]
        return lambda value: tuple(part(x) for part, x in zip(parts, value, strict=True))
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in typing.get_args(hint) if a is not type(None))
        decode = _decoder(inner)
        return lambda value: None if value is None else decode(value)
    return _record(hint)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(type(value))
        return value

    return decode


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


_RECORDS: dict[type, Callable[[Any], Any]] = {}


def _record(cls: Any) -> Callable[[Any], Any]:
    known = _RECORDS.get(cls)
    if known is not None:
        return known
    parts: list[Callable[[Any], Any]] = []

    def decode(value: Any) -> Any:
        return cls(*[part(x) for part, x in zip(parts, value, strict=True)])

    _RECORDS[cls] = decode
    hints = typing.get_type_hints(cls, vars(model))
    parts.extend(_decoder(hints[name]) for name in cls._fields)
    return decode


def encode(facts: FileFacts, programs: Sequence[Encoded]) -> bytes:
    """The blob of one file."""
    strings: dict[str, int] = {}
    columns: list[array[int]] = [
        array("i", facts.line_starts),
        array("i", [number for statement in facts.statements for number in statement]),
    ]
    for program in programs:
        local = array("i", [strings.setdefault(word, len(strings)) for word in program.strings])
        columns += (local, program.places, program.code, program.spans, program.blocks, program.regions)
    slim = facts._replace(statements=(), line_starts=())
    head = json.dumps([list(strings), slim, [len(c) for c in columns]], separators=(",", ":")).encode("ascii")
    body = b"".join(_bytes(column) for column in columns)
    rest = len(head).to_bytes(4, "little") + head + body
    return MAGIC + _hash(rest) + rest


def _hash(rest: bytes | memoryview) -> bytes:
    return hashlib.blake2b(rest, digest_size=HEAD - len(MAGIC)).digest()


def _bytes(column: array[int]) -> bytes:
    if _SWAP:
        column = array("i", column)
        column.byteswap()
    return column.tobytes()


class Program:
    """The facts of one file and its functions, decoded one by one when they are asked for."""

    __slots__ = ("_bodies", "_columns", "_strings", "facts")

    def __init__(self, blob: bytes) -> None:
        """Raises Corrupt."""
        try:
            self.facts, self._strings, self._columns = _read(blob)
        except BROKEN as error:
            raise error if isinstance(error, Corrupt) else Corrupt(error) from error
        self._bodies: dict[int, Body] = {}

    @property
    def words(self) -> frozenset[str]:
        """Every name and text of the file, for a look that is cheaper than its functions."""
        return frozenset(self._strings)

    def body(self, index: int) -> Body:
        """The decoded program of a function. Raises Corrupt."""
        known = self._bodies.get(index)
        if known is None:
            base = len(IN_COLUMNS) + len(COLUMNS) * index
            try:
                known = _body(self._strings, [_ints(c) for c in self._columns[base : base + len(COLUMNS)]])
                _check_children(known, len(self.facts.functions[index].children))
            except BROKEN as error:
                raise error if isinstance(error, Corrupt) else Corrupt(error) from error
            self._bodies[index] = known
        return known


def _read(blob: bytes) -> tuple[FileFacts, list[str], list[memoryview]]:
    """The facts, the string table and the columns of a blob."""
    view = memoryview(blob)
    if blob[: len(MAGIC)] != MAGIC or _hash(view[HEAD:]) != blob[len(MAGIC) : HEAD]:
        raise Corrupt("it is none of this version, or was cut or changed")
    offset = HEAD + 4 + int.from_bytes(blob[HEAD : HEAD + 4], "little")
    strings, head, lengths = json.loads(blob[HEAD + 4 : offset])
    columns: list[memoryview] = []
    for length in lengths:
        if type(length) is not int or length < 0:
            raise Corrupt(f"a column of length {length!r}")
        columns.append(view[offset : offset + 4 * length])
        offset += 4 * length
    facts: FileFacts = _record(FileFacts)(head)
    if offset != len(blob) or len(columns) != len(IN_COLUMNS) + len(COLUMNS) * len(facts.functions):
        raise Corrupt("its length does not fit its head")
    if any(type(word) is not str for word in strings):
        raise Corrupt("its strings are none")
    numbers, width = _ints(columns[1]), len(Statement._fields)
    statements = tuple(Statement(*numbers[i : i + width]) for i in range(0, len(numbers), width))
    facts = facts._replace(line_starts=tuple(_ints(columns[0])), statements=statements)
    _check_facts(facts)
    return facts, strings, columns


def _within(numbers: Iterable[int], limit: int, least: int = NONE) -> None:
    """Raises Corrupt for a number that is less than `least`, or not less than `limit`."""
    for number in numbers:
        if not least <= number < limit:
            raise Corrupt(f"index {number} of {limit}")


def _check_facts(facts: FileFacts) -> None:
    functions, classes = len(facts.functions), len(facts.classes)
    for rank, function in enumerate(facts.functions):
        _within((function.parent,), rank)
        _within((function.cls,), classes)
        _within(function.children, functions, rank + 1)
    for cls in facts.classes:
        _within((cls.body, cls.parent, *(method for _, method in cls.methods)), functions, 0)
    _within((fact.function for fact in facts.imports), functions, 0)


def _check_children(body: Body, children: int) -> None:
    for op in body.ops:
        if type(op) is Closure:
            _within((op.function,), children, 0)
        elif type(op) is Define:
            _within((op.body,), children, 0)


def _ints(view: memoryview) -> list[int]:
    column = array("i")
    column.frombytes(view)
    if _SWAP:
        column.byteswap()
    return column.tolist()


def _body(table: list[str], columns: list[list[int]]) -> Body:
    local, places, code, spans, blocks, regions = columns
    if local and not 0 <= min(local) <= max(local) < len(table):
        raise Corrupt("a string that is not in the table")
    strings = [table[i] for i in local]
    named = _places(places, strings)
    operations = _ops(code, strings, len(named))
    if len(spans) != 2 * len(operations):
        raise Corrupt("operations without positions")
    parts, guards = _blocks(blocks), _regions(regions)
    for start, end, region, _ in parts:
        if not (NONE <= start <= end <= len(operations) and NONE <= region < len(guards)):
            raise Corrupt("a block outside its function")
    for rank, guard in enumerate(guards):
        _within((guard.parent,), rank)
        _within((guard.cleanup, *guard.handlers), len(parts))
    return Body(
        tuple(named), tuple(operations), tuple(zip(spans[::2], spans[1::2], strict=True)), tuple(parts), tuple(guards)
    )


_ROOTS = tuple(Root)
_CONST, _TEMP = int(Root.CONST), int(Root.TEMP)
_SELECTS = tuple(Select)
_EDGE = {int(edge): edge for edge in Edge}


def _places(column: list[int], strings: list[str]) -> list[Place]:
    found: list[Place] = []
    selectors: dict[tuple[int, int], Selector] = {}
    i, size = 0, len(column)
    while i < size:
        root, name, count = column[i : i + 3]
        i += 3
        if (root | name | count) < 0:
            raise Corrupt("a negative name")
        if root == _CONST:
            found.append(Place(Root.CONST, Const(CONST_KINDS[count], strings[name])))
            continue
        path: tuple[Selector, ...] = ()
        for _ in range(count):
            kind, value = column[i : i + 2]
            i += 2
            selector = selectors.get((kind, value))
            if selector is None:
                selector = selectors[kind, value] = _selector(kind, value, strings, len(found))
            path += (selector,)
        found.append(Place(_ROOTS[root], name if root == _TEMP else strings[name], path))
    return found


def _selector(kind: int, value: int, strings: list[str], places: int) -> Selector:
    select = _SELECTS[kind & 255]
    if kind < 0 or not (NONE if select is Select.KEY else 0) <= value:
        raise Corrupt("a negative selector")
    if select is Select.ATTR:
        return Selector(select, strings[value])
    if select is Select.ITEM:
        return Selector(select, Const(CONST_KINDS[kind >> 8], strings[value]))
    if value >= places:
        raise Corrupt("a key that is no earlier place")
    return Selector(select, value)


def _ops(code: list[int], strings: list[str], places: int) -> list[Any]:
    found: list[Any] = []
    named: list[int] = []
    words: list[int] = []
    i, size = 0, len(code)
    while i < size:
        head = code[i]
        start = i + 1
        i = start + (head >> 8)
        operands = code[start:i]
        make, select = _READERS[head & 255]
        if select is None:
            record, numbers = make(operands, strings)
            found.append(record)
            named += numbers
        else:
            found.append(make(operands))
            named += select(operands)
            if head & 255 in _OPERATED:
                words.append(operands[1])
        if i < start:
            raise Corrupt("an operation of no length")
    if i != size or (named and not NONE <= min(named) <= max(named) < places):
        raise Corrupt("an operation that does not fit its function")
    if words and not 0 <= min(words) <= max(words) < len(OPERATORS):
        raise Corrupt("an unknown operator")
    return found


# Which numbers of an operation are places, for those that `_SPECIAL` does not read.
_OPERANDS: dict[type, Callable[[list[int]], tuple[int, ...]]] = {
    Store: itemgetter(0, 1), Delete: itemgetter(0, 0), Unary: itemgetter(0, 2), Binary: itemgetter(0, 2, 3),
    Compare: itemgetter(0, 2, 3), Choose: itemgetter(0, 1, 2, 3), Bool: itemgetter(0, 2, 3), Await: itemgetter(0, 1),
    Yield: itemgetter(0, 1), Enter: itemgetter(0, 1), Exit: itemgetter(0, 0), Iterate: itemgetter(0, 1),
    Next: itemgetter(0, 1), Raise: itemgetter(0, 1), Return: itemgetter(0, 0), Branch: itemgetter(0, 0),
}  # fmt: skip


Special = tuple[Any, Sequence[int]]  # a record, and the numbers in it that are places


def _call(v: list[int], strings: list[str]) -> Special:
    args, stars = 4 + v[2], 4 + v[2] + v[3]
    rest = v[stars:]
    if v[2] < 0 or v[3] < 0:
        raise Corrupt("a call with fewer than no arguments")
    keywords = tuple((_word(strings, rest[i]), rest[i + 1]) for i in range(0, len(rest), 2)) if rest else ()
    return Call(v[0], v[1], tuple(v[4:args]), tuple(v[args:stars]), keywords), (v[0], v[1], *v[4:args], *rest[1::2])


def _collect(v: list[int], _: list[str]) -> Special:
    items = v[3 : 3 + v[2]]
    _within((v[1],), len(COLLECTIONS), 0)
    return Collect(v[0], v[1], tuple(items), tuple(v[3 + v[2] :])), (v[0], *items)


def _unpack(v: list[int], _: list[str]) -> Special:
    _within((v[1],), len(v) - 2)
    return Unpack(v[0], v[1], tuple(v[2:])), (v[0], *v[2:])


def _table(v: list[int], _: list[str]) -> Special:
    if len(v) % 2 == 0:
        raise Corrupt("a key without value")
    half = 1 + len(v) // 2
    return Table(v[0], tuple(v[1:half]), tuple(v[half:])), v


def _closure(v: list[int], _: list[str]) -> Special:
    decorators, defaults = tuple(v[3 : 3 + v[2]]), tuple(v[3 + v[2] :])
    return Closure(v[0], v[1], decorators, defaults), (v[0], *decorators, *defaults)


def _define(v: list[int], _: list[str]) -> Special:
    bases, decorators = tuple(v[3 : 3 + v[2]]), tuple(v[3 + v[2] :])
    return Define(v[0], v[1], bases, decorators), (v[0], *bases, *decorators)


def _import(v: list[int], strings: list[str]) -> Special:
    return Import(v[0], _word(strings, v[1]), _word(strings, v[2])), v[:1]


def _declare(v: list[int], strings: list[str]) -> Special:
    return Declare(v[0], _word(strings, v[1])), v[:1]


def _opaque(v: list[int], _: list[str]) -> Special:
    return Opaque(tuple(v[1 : 1 + v[0]]), tuple(v[1 + v[0] :])), v[1:]


def _word(strings: list[str], number: int) -> str:
    if number < 0:
        raise Corrupt("a negative name")
    return strings[number]


_SPECIAL: dict[type, Callable[[list[int], list[str]], Special]] = {
    Call: _call, Collect: _collect, Table: _table, Unpack: _unpack, Closure: _closure, Define: _define,
    Import: _import, Declare: _declare, Opaque: _opaque,
    Format: lambda v, _: (Format(v[0], tuple(v[1:])), v),
    Catch: lambda v, _: (Catch(v[0], tuple(v[1:])), v),
}  # fmt: skip


_OPERATED = frozenset(CODE[cls] for cls in (Unary, Binary, Compare, Bool))
_READERS: list[tuple[Callable[..., Any], Callable[[list[int]], tuple[int, ...]] | None]] = [
    (_SPECIAL[cls], None) if cls in _SPECIAL else (cls._make, _OPERANDS[cls])  # type: ignore[attr-defined]  # named tuples
    for cls in OPS
]


def _blocks(column: list[int]) -> list[Block]:
    found: list[Block] = []
    ends: list[int] = []
    i = 0
    while i < len(column):
        start, end, region, count = column[i : i + 4]
        i += 4
        after = i + 2 * count
        if not i <= after <= len(column):
            raise Corrupt("a block of no length")
        kinds, targets = column[i:after:2], column[i + 1 : after : 2]
        ends += targets
        edges = tuple(zip(map(_EDGE.__getitem__, kinds), targets, strict=True))
        i = after
        found.append(Block(start, end, region, edges))
    if ends and not END <= min(ends) <= max(ends) < len(found):
        raise Corrupt("an edge to no block")
    return found


def _regions(column: list[int]) -> list[Region]:
    found: list[Region] = []
    i = 0
    while i < len(column):
        parent, kind, cleanup, count = column[i : i + 4]
        i += 4
        if kind < 0 or not i <= i + count <= len(column):
            raise Corrupt("a region of no length")
        found.append(Region(parent, REGION_KINDS[kind], tuple(column[i : i + count]), cleanup))
        i += count
    return found
