"""Where a cancellation goes: which handlers take it, and what a task still does after one has.

A handler takes `CancelledError` by a bare `except`, by `BaseException` or by its own name; so does
`contextlib.suppress`, and a `return`, `break` or `continue` in the `finally` part that it passes through.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Body, Call, Catch, Edge, Exit, Raise
from auditor.project.flow import writes
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.types import ClassObject, Instance, Outside

CANCELLED = frozenset({"asyncio.CancelledError", "asyncio.exceptions.CancelledError", "anyio.get_cancelled_exc_class"})
EVERYTHING = frozenset({"builtins.BaseException"})


class Taker(NamedTuple):
    """Something that takes a cancellation: `op` is where it stands, NONE where a bare jump is all there is, `region` what
    it guards, `start` the block that runs when it has taken it. `kind`: bare, everything (`BaseException`), named,
    suppress or finally."""

    kind: str
    op: int
    region: int
    start: int


def takers(project: Project, function: FunctionNode) -> Iterator[Taker]:
    """All of a function, in the order of its regions."""
    body = function.body
    for number, region in enumerate(body.regions):
        for handler in region.handlers:
            catch = _catch(body, handler)
            kind = _kind(project, function, catch) if catch != NONE else ""
            if kind:
                yield Taker(kind, catch, number, handler)
                break  # the handlers after it do not get it
        if region.kind == "with" and region.cleanup != NONE:
            yield from _suppressed(project, function, number)
        elif region.kind == "try" and region.cleanup != NONE:
            yield from _dropped(function, number)


def _catch(body: Body, handler: int) -> int:
    """The Catch operation of a handler; the classes may be evaluated before it."""
    block = body.blocks[handler]
    return next((r for r in range(block.start, block.end) if isinstance(body.ops[r], Catch)), NONE)


def _kind(project: Project, function: FunctionNode, catch: int) -> str:
    step = function.body.ops[catch]
    if not isinstance(step, Catch):
        return ""
    if not step.classes:
        return "bare"
    paths = [p for c in step.classes for p in _paths(project, function, catch, c)]
    return "named" if CANCELLED.intersection(paths) else "everything" if EVERYTHING.intersection(paths) else ""


def _paths(project: Project, function: FunctionNode, op: int, operand: int) -> list[str]:
    """Dotted paths of the classes that an operand names, a tuple of them included."""
    value = project.types(function).get((op, operand), frozenset())
    inner = [x for a in value if isinstance(a, Instance) for arg in a.args for x in arg]
    found: list[str] = []
    for atom in (*value, *inner):
        if isinstance(atom, Outside):
            found.append(canonical(atom.path))
        elif isinstance(atom, ClassObject) and isinstance(atom.cls, str):
            found.append(canonical(atom.cls))
    return sorted(found)


def _suppressed(project: Project, function: FunctionNode, number: int) -> Iterator[Taker]:
    body = function.body
    cleanup = body.blocks[body.regions[number].cleanup]
    leave = next((body.ops[r] for r in range(cleanup.start, cleanup.end) if isinstance(body.ops[r], Exit)), None)
    after = next((target for kind, target in cleanup.edges if kind is Edge.SWALLOW), NONE)
    if not isinstance(leave, Exit) or leave.is_async or after == NONE:
        return
    for rank, op in enumerate(body.ops):
        result = project.calls(function).get(rank)
        if not isinstance(op, Call) or leave.src not in writes(op) or result is None:
            continue
        if "contextlib.suppress" in map(canonical, result.externals):
            paths = {p for a in op.args for p in _paths(project, function, rank, a)}
            if paths & (CANCELLED | EVERYTHING):
                yield Taker("suppress", rank, number, after)


def _dropped(function: FunctionNode, number: int) -> Iterator[Taker]:
    """A `finally` part that a cancellation enters and some path leaves by a jump instead of raising it again."""
    body = function.body
    cleanup = body.regions[number].cleanup
    inside = body.blocks[cleanup].region
    if inside == NONE or body.regions[inside].kind != "except":
        return
    stack, seen = [cleanup], {cleanup}
    while stack:
        block = stack.pop()
        for kind, target in body.blocks[block].edges:
            if target >= 0 and within(body, body.blocks[target].region, inside):
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
            elif kind is not Edge.FINALLY or target < 0 or not shared(body, target):
                rank = body.blocks[block].end - 1
                yield Taker("finally", rank if rank >= body.blocks[block].start else NONE, number, block)
                return


def within(body: Body, region: int, outer: int) -> bool:
    """Whether a region is another one, or lies in it."""
    while region != NONE:
        if region == outer:
            return True
        region = body.regions[region].parent
    return False


def shared(body: Body, block: int) -> bool:
    """Whether a block belongs to a `finally` part that several ways share."""
    region = body.blocks[block].region
    while region != NONE:
        if body.regions[region].kind == "finally":
            return True
        region = body.regions[region].parent
    return False


Walk = dict[int, int]  # block -> the block it was first reached from


def onward(body: Body, start: int) -> tuple[Walk, bool]:
    """What can run after block `start` without an exception, and whether the function can end so. A shared `finally` part
    is left where it was entered for."""
    ways: dict[int, list[int]] = {}
    for number, block in enumerate(body.blocks):
        for kind, target in block.edges:
            if (
                kind is Edge.FINALLY
                and target >= 0
                and shared(body, target)
                and not within(body, block.region, body.blocks[target].region)
            ):
                ways.setdefault(target, []).append(number)
    came: Walk = {start: NONE}
    ends = False
    stack: list[tuple[int, tuple[int, ...]]] = [(start, ())]
    seen: set[tuple[int, tuple[int, ...]]] = {(start, ())}
    while stack:
        number, entered = stack.pop()
        edges = body.blocks[number].edges
        if sum(kind is Edge.FINALLY for kind, _ in edges) > 1 and entered and entered[-1] < len(edges):
            following = [(edges[entered[-1]][1], entered[:-1])]
        else:
            following = []
            for _, target in edges:
                way = ways.get(target, [])
                following.append((target, (*entered, way.index(number)) if number in way else entered))
        for target, state in following:
            if target < 0:
                ends = True
            elif (target, state) not in seen:
                seen.add((target, state))
                came.setdefault(target, number)
                stack.append((target, state))
    return came, ends


def raises(body: Body, taker: Taker) -> bool:
    """Whether some way through a handler raises."""
    inside = body.blocks[taker.start].region
    came, _ = onward(body, taker.start)
    blocks = [body.blocks[n] for n in came if within(body, body.blocks[n].region, inside)]
    return taker.kind != "suppress" and any(
        isinstance(body.ops[r], Raise) for b in blocks for r in range(b.start, b.end)
    )
