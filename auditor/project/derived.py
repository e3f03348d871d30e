"""Derived values: what is made of something that was read, inside of one function, and the branches that test it.

`known = self._open.get(k); left = known.filled - x; if left < 0` tests what was read of `_open`. Arithmetic, comparisons
and calls that tell something of their argument are followed; what an unknown function makes of it is another matter.
"""

from __future__ import annotations

from typing import NamedTuple

from auditor.facts.model import (
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Collect,
    Compare,
    Format,
    Op,
    Root,
    Store,
    Unary,
    Unpack,
)  # fmt: skip
from auditor.project.accesses import Access
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name
from auditor.project.symbols import FunctionNode

# Calls whose result says something of their argument, or of the object that they are called on.
TELLING = frozenset({
    "len", "bool", "min", "max", "sum", "any", "all", "int", "float", "str", "abs", "round", "Decimal", "list", "tuple", "set",
    "sorted", "dict", "isinstance", "getattr", "get", "copy", "keys", "values", "items", "count", "is_set", "done",
})  # fmt: skip


class Derived(NamedTuple):
    """`operands` hold something made of the value, written by the operations `makers`; `branches` test one of them."""

    operands: frozenset[int]
    makers: frozenset[int]
    branches: frozenset[int]


def derived(function: FunctionNode, access: Access) -> Derived:
    """What becomes of what an access reads."""
    body = function.body
    first = body.ops[access.op]
    if isinstance(first, Branch):
        return Derived(frozenset(), frozenset(), frozenset((access.op,)))
    held: set[int] = set()
    roots: set[tuple[Root, object]] = set()
    makers: set[int] = set()
    branches: set[int] = set()
    pending = [access.op] if _tells(function, first) else []
    while pending:
        rank = pending.pop()
        makers.add(rank)
        for written in writes(body.ops[rank]):
            place = body.places[written]
            if place.root not in (Root.LOCAL, Root.TEMP) or place.path:
                continue
            held.add(written)
            roots.add((place.root, place.name))
        for other, op in enumerate(body.ops):
            if other in makers or not any((body.places[x].root, body.places[x].name) in roots for x in reads(op)):
                continue
            if isinstance(op, Branch):
                branches.add(other)
            elif _tells(function, op) and other not in pending:
                pending.append(other)
    return Derived(frozenset(held), frozenset(makers), frozenset(branches))


def _tells(function: FunctionNode, op: Op) -> bool:
    """Whether the result of an operation says something of what it reads."""
    if isinstance(op, Call):
        return last_name(function, op) in TELLING
    return isinstance(op, Store | Compare | Unary | Bool | Choose | Binary | Collect | Format | Unpack)
