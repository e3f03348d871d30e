"""Assembles the program of one function: places, operations, blocks and regions, straight into integers.

An encoded operation is one integer `opcode | length << 8` and `length` operands; see `codec` for the layout of each.
"""

from __future__ import annotations

import hashlib
from array import array
from typing import Any

from auditor.facts.model import END, NONE, OPS, Const, Edge, Place, Root, Select, Selector

CODE = {cls: number for number, cls in enumerate(OPS)}
CONST_KINDS = ("str", "bytes", "int", "float", "complex", "bool", "none", "ellipsis")
_KIND = {kind: number for number, kind in enumerate(CONST_KINDS)}
MAX_PATH = 4
MAX_TEXT = 500


class Encoded:
    """A finished function: one integer column per part, and its own string table. `digest` leaves positions out."""

    __slots__ = ("blocks", "code", "digest", "places", "regions", "spans", "strings")

    def __init__(
        self, strings: list[str], places: array[int], code: array[int], spans: array[int], blocks: array[int], regions: array[int]
    ) -> None:
        self.strings = strings
        self.places = places
        self.code = code
        self.spans = spans
        self.blocks = blocks
        self.regions = regions
        digest = hashlib.blake2b(digest_size=12)
        digest.update("\0".join(strings).encode("utf-8", "surrogatepass"))
        for part in (places, code, blocks, regions):
            digest.update(b"\1")
            digest.update(part.tobytes())
        self.digest = digest.hexdigest()


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
        self.regions: list[list[Any]] = []  # parent, kind, handlers, cleanup
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
        self.code.append(opcode | len(operands) << 8)
        self.code.extend(operands)
        self.spans.extend(self.position)
        self.count += 1

    # --- blocks ---
    def block(self) -> int:
        """A block that is not placed yet."""
        self.blocks.append([NONE, NONE, self.region, []])
        return len(self.blocks) - 1

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
        text = self.string
        places: list[int] = []
        for place in self.places:
            name = place.name
            if isinstance(name, Const):
                places += (place.root, text(name.text), _KIND[name.kind])
                continue
            places += (place.root, name if isinstance(name, int) else text(name), len(place.path))
            for kind, value in place.path:
                if isinstance(value, Const):
                    places += (kind | _KIND[value.kind] << 8, text(value.text))
                else:
                    places += (kind, value if isinstance(value, int) else text(value))
        blocks: list[int] = []
        for start, end, region, edges in self.blocks:
            blocks += (start, end, region, len(edges))
            for kind, target in edges:
                blocks += (kind, target)
        regions: list[int] = []
        for parent, kind, handlers, cleanup in self.regions:
            regions += (parent, 0 if kind == "try" else 1, cleanup, len(handlers), *handlers)
        return Encoded(
            list(self.strings), array("i", places), array("i", self.code), array("i", self.spans), array("i", blocks), array("i", regions)
        )
