"""Control flow of one function: predecessors, dominators, loops, and how the results of operations are used."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from auditor.facts.model import (
    NONE,
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
    Declare,
    Define,
    Delete,
    Edge,
    Enter,
    Exit,
    Format,
    Import,
    Iterate,
    Next,
    Op,
    Opaque,
    Raise,
    Return,
    Root,
    Select,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip


def reads(op: Op) -> tuple[int, ...]:  # noqa: PLR0911 - one return for each kind of operation
    """Operands that an operation reads as values, in order."""
    match op:
        case (
            Store(_, src)
            | Return(src)
            | Await(_, src)
            | Yield(_, src, _)
            | Enter(_, src, _)
            | Iterate(_, src, _)
            | Unpack(src, _, _)
        ):
            return (src,) if src != NONE else ()
        case Exit(src, _, _):
            return (src,)
        case Unary(_, _, operand):
            return (operand,)
        case Binary(_, _, left, right, _) | Compare(_, _, left, right) | Bool(_, _, left, right):
            return (left, right)
        case Choose(_, test, then, other):
            return (test, then, other)
        case Collect(_, _, items, _):
            return items
        case Table(_, keys, values):
            return tuple(k for k in keys if k != NONE) + values
        case Format(_, parts):
            return parts
        case Call(_, callee, args, _, keywords):
            return (callee, *args, *(operand for _, operand in keywords))
        case Next(_, iterator, _):
            return (iterator,)
        case Closure(_, _, decorators):
            return decorators
        case Define(_, _, bases, decorators):
            return bases + decorators
        case Raise(exception, cause):
            return tuple(x for x in (exception, cause) if x != NONE)
        case Branch(test, _):
            return (test,)
        case Catch(_, classes):
            return classes
        case Opaque(read, _):
            return read
        case _:
            return ()


def writes(op: Op) -> tuple[int, ...]:
    """Operands that an operation writes."""
    match op:
        case Unpack(_, _, targets):
            return targets
        case Opaque(_, written):
            return written
        case Delete(place):
            return (place,)
        case Return() | Raise() | Branch() | Exit() | Declare():
            return ()
        case Catch(dst, _) | Import(dst, _, _):
            return (dst,) if dst != NONE else ()
        case _:
            return (op.dst,)


class Flow:
    """The control flow graph of a body. Exceptional edges lead from each block of a region to its handlers and cleanup.
    `cut` are edges (block, kind, target) that are left out, exceptional ones with the kind None."""

    def __init__(self, body: Body, cut: frozenset[tuple[int, Edge | None, int]] = frozenset()) -> None:
        self.body = body
        self.cut = cut
        self.successors: list[tuple[tuple[Edge | None, int], ...]] = [
            self._out(n, block) for n, block in enumerate(body.blocks)
        ]
        self.predecessors: list[list[int]] = [[] for _ in body.blocks]
        for number, out in enumerate(self.successors):
            for _, target in out:
                self.predecessors[target].append(number)
        self.order = self._order()
        self.rank = {number: i for i, number in enumerate(self.order)}
        self._dominators: list[int] | None = None
        self._natural: list[frozenset[int]] | None = None
        self._guards: dict[int, tuple[tuple[int, bool], ...]] = {}
        self._starts: list[tuple[int, int]] | None = None
        self._spans: list[tuple[int, int]] | None = None

    def _out(self, number: int, block: Block) -> tuple[tuple[Edge | None, int], ...]:
        found: list[tuple[Edge | None, int]] = [(kind, target) for kind, target in block.edges if target >= 0]
        region = block.region
        while region != NONE:
            guard = self.body.regions[region]
            found.extend((None, handler) for handler in guard.handlers)
            if guard.cleanup != NONE:
                found.append((None, guard.cleanup))
            region = guard.parent
        return tuple(e for e in found if (number, *e) not in self.cut) if self.cut else tuple(found)

    def _order(self) -> list[int]:
        """Reverse postorder of what the entry reaches."""
        seen = {0}
        post: list[int] = []
        stack: list[tuple[int, Iterator[tuple[Edge | None, int]]]] = (
            [(0, iter(self.successors[0]))] if self.successors else []
        )
        while stack:
            number, out = stack[-1]
            for _, target in out:
                if target not in seen:
                    seen.add(target)
                    stack.append((target, iter(self.successors[target])))
                    break
            else:
                post.append(number)
                stack.pop()
        return post[::-1]

    def block_of(self, op: int) -> int:
        """The block that holds an operation."""
        if self._starts is None:
            self._starts = sorted((b.start, n) for n, b in enumerate(self.body.blocks) if b.end > b.start)
        at = bisect_right(self._starts, (op, len(self.body.blocks))) - 1
        if at >= 0 and op < self.body.blocks[self._starts[at][1]].end:
            return self._starts[at][1]
        raise ValueError(f"operation {op} stands in no block")

    @property
    def dominators(self) -> list[int]:
        """Immediate dominator of each block, NONE for the entry and for what nothing reaches (Cooper, Harvey, Kennedy)."""
        if self._dominators is None:
            idom = [NONE] * len(self.successors)
            idom[0] = 0
            changed = True
            while changed:
                changed = False
                for number in self.order[1:]:
                    new = NONE
                    for before in self.predecessors[number]:
                        if before in self.rank and idom[before] != NONE:
                            new = before if new == NONE else self._meet(idom, before, new)
                    if new != idom[number]:
                        idom[number] = new
                        changed = True
            idom[0] = NONE
            self._dominators = idom
        return self._dominators

    def _meet(self, idom: list[int], one: int, other: int) -> int:
        while one != other:
            while self.rank[one] > self.rank[other]:
                one = idom[one]
            while self.rank[other] > self.rank[one]:
                other = idom[other]
        return one

    def dominates(self, one: int, other: int) -> bool:
        """Whether every way to block `other` passes through block `one`."""
        if self._spans is None:
            self._spans = self._numbered()
        first, last = self._spans[one]
        return first <= self._spans[other][0] <= last or one == other

    def _numbered(self) -> list[tuple[int, int]]:
        """For each block its number in a walk down the tree of dominators, and the last number below it; what nothing reaches
        stands alone."""
        below: list[list[int]] = [[] for _ in self.successors]
        for number in reversed(self.order[1:]):
            below[self.dominators[number]].append(number)
        spans = [(NONE, NONE - 1)] * len(self.successors)
        count = 0
        stack = [0] if self.successors else []
        while stack:
            number = stack.pop()
            if number < 0:
                spans[~number] = (spans[~number][0], count - 1)
                continue
            spans[number] = (count, count)
            count += 1
            stack.append(~number)
            stack.extend(below[number])
        return spans

    def guards(self, block: int) -> tuple[tuple[int, bool], ...]:
        """Branch operations on whose outcome a block depends, innermost first, with that outcome."""
        known = self._guards.get(block)
        if known is not None:
            return known
        chain = [block]
        while chain[-1] not in self._guards and (above := self.dominators[chain[-1]]) != NONE:
            chain.append(above)
        outer = self._guards.setdefault(chain.pop(), ())
        for current in reversed(chain):
            outer = self._guards[current] = (*self._own_guards(current), *outer)
        return outer

    def _own_guards(self, block: int) -> Iterator[tuple[int, bool]]:
        """The branch of the immediate dominator, if one of its edges is the only way to the block."""
        above = self.dominators[block]
        edges = [(kind, target) for kind, target in self.successors[above] if kind in (Edge.TRUE, Edge.FALSE)]
        for kind, target in edges:
            if target == block and sum(t == target for _, t in self.successors[above]) == 1:
                alone = [
                    p
                    for p in self.predecessors[target]
                    if p != above and p in self.rank and not self.dominates(target, p)
                ]
                if not alone:
                    yield self.body.blocks[above].end - 1, kind is Edge.TRUE

    def loops(self, block: int) -> bool:
        """Whether a block lies on a cycle."""
        return block in self.reachable([t for _, t in self.successors[block]])

    def leaves_loop(self, block: int, outcome: bool) -> bool:
        """Whether this outcome of the branch that ends a block leaves a loop that holds the block: it is the condition of
        a `while`, or that of a `break`."""
        taken = [t for kind, t in self.successors[block] if kind is (Edge.TRUE if outcome else Edge.FALSE)]
        return any(block in loop and taken and not loop.intersection(taken) for loop in self.natural_loops)

    @property
    def natural_loops(self) -> list[frozenset[int]]:
        """The blocks of each loop, by the edges that lead back to a block that dominates their source."""
        if self._natural is None:
            bodies: dict[int, set[int]] = {}
            for source in self.order:
                for _, head in self.successors[source]:
                    if head in self.rank and self.dominates(head, source):
                        body = bodies.setdefault(head, {head})
                        stack = [source]
                        while stack:
                            number = stack.pop()
                            if number not in body:
                                body.add(number)
                                stack.extend(p for p in self.predecessors[number] if p in self.rank)
            self._natural = [frozenset(body) for _, body in sorted(bodies.items())]
        return self._natural

    def reachable(self, start: list[int]) -> set[int]:
        """Blocks that the given blocks reach, themselves included."""
        seen = set(start)
        stack = list(seen)
        while stack:
            for _, target in self.successors[stack.pop()]:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return seen

    def before(self, block: int) -> set[int]:
        """Blocks from which a block can be reached, without itself unless it lies on a cycle."""
        seen: set[int] = set()
        stack = list(self.predecessors[block])
        while stack:
            number = stack.pop()
            if number not in seen:
                seen.add(number)
                stack.extend(self.predecessors[number])
        return seen


def uses(body: Body, operand: int) -> list[int]:
    """Operations that read exactly this place."""
    return [rank for rank, op in enumerate(body.ops) if operand in reads(op)]


def consumers(body: Body, op: int) -> list[int]:
    """Operations that the result of an operation flows into directly, or through a name that is stored once."""
    written = writes(body.ops[op])
    if not written:
        return []
    found = uses(body, written[0])
    for rank in list(found):
        step = body.ops[rank]
        if isinstance(step, Store):
            target = body.places[step.dst]
            stores = [o for o in body.ops if step.dst in writes(o)]
            if target.root in (Root.LOCAL, Root.TEMP) and len(stores) == 1:
                found.extend(uses(body, step.dst))
    return found


def describe(body: Body, operand: int) -> str:
    """A place as its author would write it; "" for temporaries."""
    place = body.places[operand]
    if place.root is Root.CONST:
        return place.name.text  # type: ignore[union-attr]  # a constant
    if place.root is Root.TEMP:
        return ""
    text = str(place.name).partition("'")[0]
    for kind, value in place.path:
        text += f".{value}" if kind is Select.ATTR else "[...]"
    return text
