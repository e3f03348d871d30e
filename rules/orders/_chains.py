"""What the rules of this chapter share: the steps of a chain to an order call, and which blocks lie between two operations."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from auditor.facts.model import NONE, Body, Call, Catch, Edge, Op, Raise, Root
from auditor.finding import Confidence, Step
from auditor.project.exchange import READS, Way
from auditor.project.flow import Flow, reads, writes
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode

MAX_READS = 12  # operations behind one another that a value is put together from


def steps(project: Project, way: Way) -> Iterator[Step]:
    """The calls of a way, from the one in question to the one that the venue gets."""
    for rank, (function, op) in enumerate(way.hops):
        call = function.body.ops[op]
        name = last_name(function, call) if isinstance(call, Call) else ""
        last = rank + 1 == len(way.hops)
        note = f"{function.name or 'the module'}() calls {way.path.removesuffix('()') if last else name}()"
        if last:
            note += f": {way.known.get('note') or SAYS[way.verb]}"
        yield project.step(function, op, note, name)


SAYS = {
    "place": "places an order at the venue", "edit": "changes an order at the venue", "cancel": "cancels an order at the venue",
    "reads_order": "reads an order", "reads_open": "reads the open orders", "reads_balance": "reads balances or positions",
}  # fmt: skip


def confidence(doubts: int) -> Confidence:
    return (Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE)[min(doubts, 2)]


def onward(body: Body, starts: Collection[int], without: Collection[int] = ()) -> set[int]:
    """Blocks that can run after the given ones without an exception, themselves included; none of `without` is entered."""
    seen = {n for n in starts if n not in without}
    stack = list(seen)
    while stack:
        number = stack.pop()
        for _, target in body.blocks[number].edges:
            if target >= 0 and target not in seen and target not in without:
                seen.add(target)
                stack.append(target)
    return seen


def following(body: Body, block: int) -> list[int]:
    """The blocks after one, without an exception."""
    return [target for _, target in body.blocks[block].edges if target >= 0]


def ends(body: Body, blocks: Collection[int]) -> list[int]:
    """Blocks among these from which the function is left without an exception."""
    return [n for n in sorted(blocks) if any(target < 0 for _, target in body.blocks[n].edges) and not _raises(body, n)]


def _raises(body: Body, number: int) -> bool:
    block = body.blocks[number]
    return block.end > block.start and isinstance(body.ops[block.end - 1], Raise)


def reading_blocks(project: Project, function: FunctionNode, verbs: Collection[str] = READS) -> set[int]:
    """Blocks in which orders or positions are read from the venue, by the function or by what it calls."""
    exchange, flow = project.exchange, project.flow(function)
    found = {flow.block_of(op) for op, _ in exchange.calls_in(function, *verbs)}
    for op, result in project.calls(function).items():
        if any(
            t.function in exchange.reading for t in result.targets[:1]
        ):  # overrides of a subclass say nothing of this class
            found.add(flow.block_of(op))
    return found


def roots_of(body: Body, operand: int, before: int) -> set[tuple[Root, str]]:
    """The names that a value is put together from, through temporaries; results of calls are those of their arguments and
    of what they are called on."""
    found: set[tuple[Root, str]] = set()
    pending, seen = [operand], {operand}
    while pending and len(seen) < MAX_READS * 4:
        current = pending.pop()
        place = body.places[current]
        if place.root is Root.TEMP:
            maker = next((o for o in reversed(body.ops[:before]) if current in writes(o)), None)
            more = reads(maker) if maker is not None else ()
            pending.extend(x for x in more if x not in seen)
            seen.update(more)
        elif place.root is not Root.CONST:
            found.add((place.root, str(place.name)))
    return found


def written_in(body: Body, blocks: Collection[int]) -> set[tuple[Root, str]]:
    """The names that are bound anew in some blocks."""
    ops: list[Op] = [body.ops[r] for n in blocks for r in range(body.blocks[n].start, body.blocks[n].end)]
    places = [body.places[w] for op in ops for w in writes(op)]
    return {(p.root, str(p.name)) for p in places if not p.path and p.root in (Root.LOCAL, Root.CELL, Root.GLOBAL)}


def catch_of(body: Body, block: int) -> int:
    """The `Catch` of a handler's first block."""
    return next(
        (r for r in range(body.blocks[block].start, body.blocks[block].end) if isinstance(body.ops[r], Catch)), NONE
    )


def back_edge(flow: Flow, block: int) -> bool:
    """Whether a loop's edge leads back from a block."""
    return any(kind is Edge.LOOP for kind, _ in flow.body.blocks[block].edges)
