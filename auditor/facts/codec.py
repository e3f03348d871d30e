"""Facts <-> bytes: one blob per file, for the pipe of the workers, the cache and the tests.

Layout: 4 bytes magic, the length of the JSON part (int32), the JSON part (headers and the string table), then int32
columns: line starts, statements, and for each function its strings, places, code, spans, blocks and regions. The JSON
part is derived from the field types of the records. A blob is input: what does not fit raises `Corrupt`.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from auditor.facts import model
from auditor.facts.builder import CONST_KINDS, Encoded
from auditor.facts.model import (
    OPS, Block, Body, Call, Catch, Closure, Collect, Const, Declare, Define, Edge, FileFacts, Format, Import, Opaque, Place,
    Region, Root, Select, Selector, Statement, Table, Unpack,
)  # fmt: skip

MAGIC = b"AUD1"
COLUMNS = ("strings", "places", "code", "spans", "blocks", "regions")
IN_COLUMNS = ("statements", "line_starts")
_SWAP = sys.byteorder == "big"


class Corrupt(ValueError):
    """A blob that is not one of ours, or was cut."""


# --- JSON part, from field types ---------------------------------------------------------------------------------


def _decoder(hint: Any) -> Callable[[Any], Any]:
    if hint in (str, int, bool, float, object, Any):
        return lambda value: value
    origin = typing.get_origin(hint)
    if origin is tuple:
        args = typing.get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            item = _decoder(args[0])
            return lambda value: tuple(item(x) for x in value)
        parts = [_decoder(a) for a in args]
        return lambda value: tuple(part(x) for part, x in zip(parts, value, strict=True))
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in typing.get_args(hint) if a is not type(None))
        decode = _decoder(inner)
        return lambda value: None if value is None else decode(value)
    return _record(hint)


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
    return MAGIC + len(head).to_bytes(4, "little") + head + body


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
            if blob[:4] != MAGIC:
                raise Corrupt("not a blob of facts")
            size = int.from_bytes(blob[4:8], "little")
            strings, head, lengths = json.loads(blob[8 : 8 + size])
            columns: list[memoryview] = []
            view = memoryview(blob)
            offset = 8 + size
            for length in lengths:
                columns.append(view[offset : offset + 4 * length])
                offset += 4 * length
            if offset != len(blob):
                raise Corrupt("a blob of facts has the wrong length")
            facts: FileFacts = _record(FileFacts)(head)
            numbers = _ints(columns[1])
            self.facts = facts._replace(
                line_starts=tuple(_ints(columns[0])),
                statements=tuple(Statement(*numbers[i : i + 4]) for i in range(0, len(numbers), 4)),
            )
            if len(columns) != 2 + len(COLUMNS) * len(facts.functions):
                raise Corrupt("a blob of facts lacks functions")
        except Corrupt:
            raise
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise Corrupt(f"unreadable blob of facts: {error}") from error
        self._strings: list[str] = strings
        self._columns = columns
        self._bodies: dict[int, Body] = {}

    def body(self, index: int) -> Body:
        """The decoded program of a function. Raises Corrupt."""
        known = self._bodies.get(index)
        if known is None:
            base = 2 + len(COLUMNS) * index
            try:
                known = _body(self._strings, [_ints(c) for c in self._columns[base : base + len(COLUMNS)]])
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise Corrupt(f"unreadable program in a blob of facts: {error}") from error
            self._bodies[index] = known
        return known


def _ints(view: memoryview) -> list[int]:
    column = array("i")
    column.frombytes(view)
    if _SWAP:
        column.byteswap()
    return column.tolist()


def _body(table: list[str], columns: list[list[int]]) -> Body:
    local, places, code, spans, blocks, regions = columns
    strings = [table[i] for i in local]
    return Body(
        tuple(_places(places, strings)),
        tuple(_ops(code, strings)),
        tuple(zip(spans[::2], spans[1::2], strict=True)),
        tuple(_blocks(blocks)),
        tuple(_regions(regions)),
    )


_ROOTS = tuple(Root)
_SELECTS = tuple(Select)
_EDGES = tuple(Edge)


def _places(column: list[int], strings: list[str]) -> list[Place]:
    found: list[Place] = []
    i = 0
    while i < len(column):
        root, name, count = column[i : i + 3]
        i += 3
        if root == Root.CONST:
            found.append(Place(Root.CONST, Const(CONST_KINDS[count], strings[name])))
            continue
        path: list[Selector] = []
        for _ in range(count):
            kind, value = column[i : i + 2]
            i += 2
            select = _SELECTS[kind & 255]
            if select is Select.ATTR:
                path.append(Selector(select, strings[value]))
            elif select is Select.ITEM:
                path.append(Selector(select, Const(CONST_KINDS[kind >> 8], strings[value])))
            else:
                path.append(Selector(select, value))
        found.append(Place(_ROOTS[root], name if root == Root.TEMP else strings[name], tuple(path)))
    return found


def _ops(code: list[int], strings: list[str]) -> list[Any]:
    found: list[Any] = []
    i = 0
    while i < len(code):
        head = code[i]
        cls = OPS[head & 255]
        end = i + 1 + (head >> 8)
        operands = code[i + 1 : end]
        special = _SPECIAL.get(cls)
        found.append(cls._make(operands) if special is None else special(operands, strings))  # type: ignore[attr-defined]  # OPS are named tuples
        i = end
    return found


def _call(v: list[int], strings: list[str]) -> Call:
    args, stars = 4 + v[2], 4 + v[2] + v[3]
    rest = v[stars:]
    keywords = tuple((strings[rest[i]], rest[i + 1]) for i in range(0, len(rest), 2)) if rest else ()
    return Call(v[0], v[1], tuple(v[4:args]), tuple(v[args:stars]), keywords)


_SPECIAL: dict[type, Callable[[list[int], list[str]], Any]] = {
    Call: _call,
    Collect: lambda v, _: Collect(v[0], v[1], tuple(v[3 : 3 + v[2]]), tuple(v[3 + v[2] :])),
    Table: lambda v, _: Table(v[0], tuple(v[1 : 1 + len(v) // 2]), tuple(v[1 + len(v) // 2 :])),
    Unpack: lambda v, _: Unpack(v[0], v[1], tuple(v[2:])),
    Format: lambda v, _: Format(v[0], tuple(v[1:])),
    Closure: lambda v, _: Closure(v[0], v[1], tuple(v[2:])),
    Define: lambda v, _: Define(v[0], v[1], tuple(v[3 : 3 + v[2]]), tuple(v[3 + v[2] :])),
    Import: lambda v, strings: Import(v[0], strings[v[1]], strings[v[2]]),
    Catch: lambda v, _: Catch(v[0], tuple(v[1:])),
    Declare: lambda v, strings: Declare(v[0], strings[v[1]]),
    Opaque: lambda v, _: Opaque(tuple(v[1 : 1 + v[0]]), tuple(v[1 + v[0] :])),
}


def _blocks(column: list[int]) -> list[Block]:
    found: list[Block] = []
    i = 0
    while i < len(column):
        start, end, region, count = column[i : i + 4]
        i += 4
        edges = tuple((_EDGES[column[j]], column[j + 1]) for j in range(i, i + 2 * count, 2))
        i += 2 * count
        found.append(Block(start, end, region, edges))
    return found


def _regions(column: list[int]) -> list[Region]:
    found: list[Region] = []
    i = 0
    while i < len(column):
        parent, kind, cleanup, count = column[i : i + 4]
        i += 4
        found.append(Region(parent, "with" if kind else "try", tuple(column[i : i + count]), cleanup))
        i += count
    return found
