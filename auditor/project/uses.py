"""What becomes of a value: the operations of its function that read it, also through names and conditional expressions.

The search follows the control flow from where the value is made; a name that is bound anew no longer holds it. It stays
inside the function: what is stored in an attribute, a container, a global or a captured name is `kept`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    NONE,
    OPERATORS,
    Await,
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Compare,
    Const,
    Delete,
    Enter,
    Exit,
    Format,
    Iterate,
    Next,
    Op,
    Raise,
    Return,
    Root,
    Select,
    Store,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip
from auditor.project.flow import Flow, reads, writes
from auditor.project.symbols import FunctionNode


class Use(NamedTuple):
    """Operation `op` reads the value as `operand`. `how`: awaited, returned, argument, kept, attribute, item, test,
    identity, compared, arithmetic, format, iterated, entered, unpacked or raised."""

    op: int
    operand: int
    how: str


def uses_of(function: FunctionNode, flow: Flow, op: int) -> list[Use]:
    """The uses of what operation `op` gives, in the order of operations; none if the value is dropped."""
    return sorted(set(_Search(function, flow).run(op)))


class _Search:
    def __init__(self, function: FunctionNode, flow: Flow) -> None:
        self.function = function
        self.body = function.body
        self.flow = flow
        self.captured = _captured(function)
        self.seen: set[tuple[int, int]] = set()

    def run(self, op: int) -> Iterator[Use]:
        pending = [(op, w) for w in writes(self.body.ops[op])]
        while pending:
            start, place = pending.pop()
            if (start, place) in self.seen:
                continue
            self.seen.add((start, place))
            if not self._followed(place):
                yield Use(start, place, "kept")
                continue
            for rank, operand in self._reads(start, place):
                step = self.body.ops[rank]
                if operand == place and (target := _copied(step, operand)) != NONE:
                    if not self._comprehended(target) or self._is_read(target):
                        pending.append((rank, target))
                else:
                    yield Use(rank, operand, self._how(step, operand, place))

    def _comprehended(self, operand: int) -> bool:
        """Whether a place is an item of what a comprehension builds."""
        place = self.body.places[operand]
        return place.root is Root.TEMP and bool(place.path)

    def _is_read(self, operand: int) -> bool:
        operands = self.function.operands
        return any(operands.readers(x) for x in operands.parts(operand))

    def _followed(self, operand: int) -> bool:
        """Whether all readers of a place stand in this function."""
        place = self.body.places[operand]
        if place.path or place.root not in (Root.LOCAL, Root.TEMP):
            return False
        return place.root is Root.TEMP or self.function.header.kind != "class" and place.name not in self.captured

    def _reads(self, start: int, place: int) -> Iterator[tuple[int, int]]:
        """Operations after `start` that read the place, or a part of it, before it is written again."""
        places, operands = self.body.places, self.function.operands
        parts = operands.parts(place)
        wanted = {*parts, *(k for p in parts for k in operands.keyed(p))}
        left = {r for o in wanted for r in operands.readers(o)}
        left.update(r for o in wanted if places[o].path for r in operands.writers(o))
        ends = set(operands.writers(place))
        events = sorted(left | ends)
        pending, seen = [(self.flow.block_of(start), start + 1)], set()
        while pending and left:
            number, rank = pending.pop()
            block = self.body.blocks[number]
            for current in events[bisect_left(events, rank) : bisect_left(events, block.end)]:
                step = self.body.ops[current]
                left.discard(current)
                for operand in dict.fromkeys((*reads(step), *(w for w in writes(step) if places[w].path))):
                    if operand in wanted:
                        yield current, operand
                if current in ends:
                    break
            else:
                for _, target in self.flow.successors[number]:
                    if target not in seen:
                        seen.add(target)
                        pending.append((target, self.body.blocks[target].start))

    def _how(self, step: Op, operand: int, place: int) -> str:
        path = self.body.places[operand].path
        if operand != place:
            if not path or self.body.places[operand].name != self.body.places[place].name:
                return "kept"  # as a key
            return "attribute" if path[0].kind is Select.ATTR else "item"
        match step:
            case Await():
                return "awaited"
            case Return() | Yield():
                return "returned"
            case Call(_, callee, _, _, _):
                return "called" if callee == operand else "argument"
            case Branch() | Unary():
                return "test" if isinstance(step, Branch) or OPERATORS[step.operator] == "not" else "arithmetic"
            case Bool() | Choose():
                return "test"
            case Compare(_, operator, left, right):
                return "identity" if OPERATORS[operator] in ("is", "is not") else self._compared(operator, left, right)
            case Binary():
                return "arithmetic"
            case Format():
                return "format"
            case Iterate() | Next():
                return "iterated"
            case Enter() | Exit():
                return "entered"
            case Unpack():
                return "unpacked"
            case Raise():
                return "raised"
            case Delete():
                return "deleted"
            case _:
                return "kept"

    def _compared(self, operator: int, left: int, right: int) -> str:
        return "identity" if OPERATORS[operator] == "isinstance" else "compared"


def _copied(step: Op, operand: int) -> int:
    """Where an operation copies a value to, NONE if it does something else with it."""
    match step:
        case Store(dst, _):
            return dst
        case Choose(dst, test, then, other) if operand in (then, other) and operand != test:
            return dst
        case Bool(dst, operator, left, right) if operand == right or OPERATORS[operator] == "or" and operand == left:
            return dst
    return NONE


def _captured(function: FunctionNode) -> frozenset[str]:
    """Names of a function that functions inside it read."""
    found: set[str] = set()
    stack = list(function.children)
    while stack:
        child = stack.pop()
        stack.extend(child.children)
        found.update(str(p.name) for p in child.body.places if p.root is Root.CELL and not isinstance(p.name, Const))
    return frozenset(found)


def maker(function: FunctionNode, operand: int) -> int:
    """The one operation that gives a place its value, through names that are bound once; NONE if there is not just one."""
    body = function.body
    params = {p.name for p in function.header.params}
    for _ in range(len(body.places)):
        place = body.places[operand]
        if place.path or place.root not in (Root.LOCAL, Root.TEMP) or place.root is Root.LOCAL and place.name in params:
            return NONE
        makers = [rank for rank in function.operands.writers(operand) if not isinstance(body.ops[rank], Delete)]
        if len(makers) != 1:
            return NONE
        step = body.ops[makers[0]]
        if not isinstance(step, Store):
            return makers[0]
        operand = step.src
    return NONE
