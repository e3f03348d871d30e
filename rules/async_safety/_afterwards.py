"""What a task does when a handler has taken its cancellation: whether it goes on, and where to."""

from __future__ import annotations

import re
from typing import NamedTuple

from auditor.facts.model import NONE, Await, Branch, Call, Exit, Select
from auditor.project.graph import Node, last_name
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.uses import maker, uses_of

from ._cancellation import Taker, onward, within

CLEANS = re.compile(
    r"_*(cancel|close|aclose|stop|shutdown|disconnect|clean|unsubscribe|wait_closed|gather|release|exit|teardown|flush|dispose)"
)


class Point(NamedTuple):
    """An operation that may hand control away: of which node, how surely."""

    node: Node
    op: int
    suspends: Suspends


class After(NamedTuple):
    """What the task does when the cancellation is gone: loop (without end), flag (a loop that a flag ends), again (a loop
    that ends), await or caller; `site` shows it."""

    kind: str
    site: tuple[FunctionNode, int]
    suspends: Suspends


def suspension_points(project: Project, function: FunctionNode) -> list[Point]:
    """The operations of a function that may suspend, each with the receiver for which that is surest."""
    reached = {
        r
        for n in project.flow(function).order
        for r in range(function.body.blocks[n].start, function.body.blocks[n].end)
    }
    best: dict[int, Point] = {}
    for node in project.receivers(function):
        for op in project.suspension.points(node):
            answer = project.suspension.at(node, op)
            if answer is not Suspends.NEVER and op in reached and (op not in best or answer > best[op].suspends):
                best[op] = Point(node, op, answer)
    return [best[op] for op in sorted(best)]


def afterwards(project: Project, function: FunctionNode, taker: Taker, points: list[Point]) -> After | None:
    body, flow = function.body, project.flow(function)
    came, ends = onward(body, taker.start)
    back = [p for p in points if flow.block_of(p.op) in came]
    if back:
        kind = "loop" if not ends else "flag" if _by_flag(function, set(came)) else "again"
        return After(kind, (function, back[0].op), back[0].suspends)
    inside = body.blocks[taker.start].region if taker.kind != "suppress" else NONE
    cleanup = _cleanups(function)
    later = [
        p for p in suspension_points(project, function)
        if (n := flow.block_of(p.op)) in came and not (inside != NONE and within(body, body.blocks[n].region, inside))
        and not isinstance(body.ops[p.op], Exit) and body.spans[p.op] not in cleanup and not _cleans(function, p.op)
    ]  # fmt: skip
    if later:
        return After("await", (function, later[0].op), max(p.suspends for p in later))
    return _caller(project, function) if ends else None


def _cleanups(function: FunctionNode) -> set[tuple[int, int]]:
    """Places of operations that stand in `finally` parts, however many copies of these there are."""
    body = function.body
    parts = [body.blocks[r.cleanup].region for r in body.regions if r.kind == "try" and r.cleanup != NONE]
    found: set[tuple[int, int]] = set()
    for block in body.blocks:
        if block.start >= 0 and any(part != NONE and within(body, block.region, part) for part in parts):
            found.update(body.spans[block.start : block.end])
    return found


def _cleans(function: FunctionNode, op: int) -> bool:
    """Whether an await is one of a clean-up, by the name of what it calls."""
    step = function.body.ops[op]
    made = maker(function, step.src) if isinstance(step, Await) else NONE
    call = function.body.ops[made] if made != NONE else None
    return isinstance(call, Call) and CLEANS.match(last_name(function, call)) is not None


def _by_flag(function: FunctionNode, came: set[int]) -> bool:
    """Whether a test of an attribute, or of what a method says, stands on the way: a flag that others set."""
    body = function.body
    for number in came:
        block = body.blocks[number]
        step = body.ops[block.end - 1] if block.end > block.start else None
        if isinstance(step, Branch):
            place = body.places[step.test]
            made = maker(function, step.test)
            maker_op = body.ops[made] if made != NONE else None
            called = body.places[maker_op.callee] if isinstance(maker_op, Call) else None
            if place.path and place.path[-1].kind is Select.ATTR or called is not None and called.path:
                return True
    return False


def _caller(project: Project, function: FunctionNode) -> After | None:
    """A caller that awaits the function and goes on to another suspension when it gets a normal value."""
    for caller, op in project.callers(function):
        if not caller.header.is_async or of_tests(caller.path):
            continue
        flow = project.flow(caller)
        awaited = next((u.op for u in uses_of(caller, flow, op) if u.how == "awaited"), NONE)
        if awaited == NONE:
            continue
        came, _ = onward(caller.body, flow.block_of(awaited))
        cleanup = _cleanups(caller)
        for point in suspension_points(project, caller):
            block = flow.block_of(point.op)
            later = block in came and (block != flow.block_of(awaited) or point.op > awaited or _loops(caller, block))
            teardown = (
                isinstance(caller.body.ops[point.op], Exit)
                or caller.body.spans[point.op] in cleanup
                or _cleans(caller, point.op)
            )
            if later and not teardown:
                return After("caller", (caller, awaited), point.suspends)
    return None


def _loops(function: FunctionNode, block: int) -> bool:
    return any(
        block in onward(function.body, target)[0] for _, target in function.body.blocks[block].edges if target >= 0
    )
