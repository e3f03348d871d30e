"""Assembles the program of one function: places, operations, blocks and regions, straight into integers.

An encoded operation is one integer `opcode | length << 8` and `length` operands; see `codec` for the layout of each.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from auditor.facts.model import END, NONE, OPS, Const, Edge, Place, Root, Select, Selector

CODE = {cls: number for number, cls in enumerate(OPS)}
CONST_KINDS = ("str", "bytes", "int", "float", "complex", "bool", "none", "ellipsis", "spec")
REGION_KINDS = ("try", "with", "except", "finally")
_KIND = {kind: number for number, kind in enumerate(CONST_KINDS)}
MAX_PATH = 4
MAX_TEXT = 500


class Encoded(NamedTuple):
    """A finished function: one integer column per part, and its own string table. `digest` leaves positions out."""

    strings: list[str]
    places: array[int]
    code: array[int]
    spans: array[int]
    blocks: array[int]
    regions: array[int]
    digest: str


def _digest(strings: list[str], *columns: array[int]) -> str:
    """Equal for equal parts only: the lengths of all parts go in with them."""
    digest = hashlib.blake2b("\0".join(strings).encode("utf-8", "surrogatepass"), digest_size=12)
    for column in (array("i", map(len, strings)), *columns):
        digest.update(b"%d;" % len(column))
        digest.update(column.tobytes())
    return digest.hexdigest()


class Builder:
    """The function under construction. Operations go to the current block; `block` is NONE after a jump."""

    def __init__(self, origin: int) -> None:
        self.origin = origin
        self.strings: dict[str, int] = {}
        self.table: dict[Any, int] = {}
        self.places: list[Place] = []
        self.code: list[int] = []
        self.spans: list[int] = []
        self.count = 0
        self.temps = 0
        self.blocks: list[list[Any]] = []  # start, end, region, edges
        self.regions: list[tuple[int, str, Sequence[int], int]] = []  # as in Region
        self.region = NONE
        self.current = NONE
        self.position: tuple[int, int] = (origin, origin)
        self.open(self.block())

    # --- places ---
    def place(self, root: Root, name: str | int | Const, path: tuple[Selector, ...] = ()) -> int:
        key = (root, name, path)
        index = self.table.get(key)
        if index is None:
            index = self.table[key] = len(self.places)
            self.places.append(Place(root, name, path))
        return index

    def const(self, kind: str, text: str = "") -> int:
        return self.place(Root.CONST, Const(kind, text[:MAX_TEXT]))

    def temp(self) -> int:
        self.temps += 1
        return self.place(Root.TEMP, self.temps)

    def string(self, word: str) -> int:
        return self.strings.setdefault(word, len(self.strings))

    def extend(self, base: int, kind: Select, value: str | Const | int) -> int:
        """The place one selector further; a path that is full is cut by a temporary."""
        place = self.places[base]
        if place.root is Root.CONST or len(place.path) >= MAX_PATH:
            base = self.hold(base)
            place = self.places[base]
        return self.place(place.root, place.name, (*place.path, Selector(kind, value)))

    def hold(self, operand: int) -> int:
        """A temporary with the value that the place has now."""
        held = self.temp()
        self.emit(0, held, operand)
        return held

    # --- operations ---
    def emit(self, opcode: int, *operands: int) -> None:
        self.code += (opcode | len(operands) << 8, *operands)
        self.spans += self.position
        self.count += 1

    # --- blocks ---
    def block(self) -> int:
        """A block that is not placed yet."""
        self.blocks.append([NONE, NONE, self.region, []])
        return len(self.blocks) - 1

    def guard(self, parent: int, kind: str, handlers: Sequence[int] = (), cleanup: int = NONE) -> int:
        """A new region."""
        self.regions.append((parent, kind, handlers, cleanup))
        return len(self.regions) - 1

    def open(self, block: int) -> None:
        """Operations go to `block` from here; a block that is still open falls through to it."""
        if self.current != NONE:
            self.close(Edge.FALL, block)
        entry = self.blocks[block]
        entry[0], entry[2] = self.count, self.region
        self.current = block

    def close(self, kind: Edge | None = None, target: int = END) -> None:
        """End the current block, with one edge or with none."""
        self.revive()
        entry = self.blocks[self.current]
        entry[1] = self.count
        if kind is not None:
            entry[3].append((kind, target))
        self.current = NONE

    def jump(self, target: int, kind: Edge = Edge.FALL) -> None:
        """Go to `target`, unless the current block has been left already."""
        if self.current != NONE:
            self.close(kind, target)

    def fork(self, yes: int, no: int) -> None:
        """End the current block with a test."""
        self.revive()
        entry = self.blocks[self.current]
        entry[1] = self.count
        entry[3] += ((Edge.TRUE, yes), (Edge.FALSE, no))
        self.current = NONE

    def split(self) -> None:
        """A border after a suspension point."""
        self.open(self.block())

    def revive(self) -> None:
        """Make sure that there is a current block, unreachable if need be."""
        if self.current == NONE:
            block = self.block()
            entry = self.blocks[block]
            entry[0], entry[2] = self.count, self.region
            self.current = block

    # --- result ---
    def finish(self) -> Encoded:
        if self.current != NONE:
            self.close(Edge.RETURN, END)
        words = self.strings
        places: list[int] = []
        for root, name, path in self.places:
            if type(name) is Const:
                places += (root, words.setdefault(name.text, len(words)), _KIND[name.kind])
                continue
            named = words.setdefault(name, len(words)) if type(name) is str else name
            places += (root, named, len(path))  # type: ignore[arg-type]  # a number by now
            for select, value in path:
                if type(value) is str:
                    places += (select, words.setdefault(value, len(words)))
                elif type(value) is Const:
                    places += (select | _KIND[value.kind] << 8, words.setdefault(value.text, len(words)))
                else:
                    places += (select, value)  # type: ignore[arg-type]  # a number
        blocks: list[int] = []
        for start, end, region, edges in self.blocks:
            blocks += (start, end, region, len(edges))
            for kind, target in edges:
                blocks += (kind, target)
        regions: list[int] = []
        for parent, kind, handlers, cleanup in self.regions:
            regions += (parent, REGION_KINDS.index(kind), cleanup, len(handlers), *handlers)
        strings, digested = list(self.strings), [array("i", part) for part in (places, self.code, blocks, regions)]
        columns = (digested[0], digested[1], array("i", self.spans), digested[2], digested[3])
        return Encoded(strings, *columns, _digest(strings, *digested))
