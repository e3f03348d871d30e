"""Whether an exception that an operation raises is swallowed where it stands, and what is lost then."""

from __future__ import annotations

from typing import NamedTuple

from auditor.facts.model import NONE, Call, Catch, Const, Raise, Return, Store
from auditor.project.flow import describe, writes
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode

CATCHING = frozenset({"TypeError", "Exception", "BaseException"})


class Swallowed(NamedTuple):
    """The handler (operation of its `except`) and what its callers get instead of the value."""

    handler: int
    effect: str


def swallowed(project: Project, function: FunctionNode, op: int) -> Swallowed | None:
    """The handler that takes a TypeError raised by an operation and goes on; None if it is raised again or reaches the caller."""
    flow = project.flow(function)
    body = function.body
    region = body.blocks[flow.block_of(op)].region
    while region != NONE:
        guard = body.regions[region]
        for handler in guard.handlers:
            start = body.blocks[handler].start
            catch = body.ops[start]
            if not isinstance(catch, Catch):
                continue
            names = {describe(body, c).rpartition(".")[2] for c in catch.classes}
            if catch.classes and not names & CATCHING:
                continue
            behind = [n for n in flow.reachable([handler]) if flow.dominates(handler, n)]
            ranks = sorted(r for n in behind for r in range(body.blocks[n].start, body.blocks[n].end))
            if any(isinstance(body.ops[r], Raise) for r in ranks):
                return None
            return Swallowed(start, _effect(function, op, ranks))
        region = guard.parent
    return None


def _effect(function: FunctionNode, op: int, ranks: list[int]) -> str:
    body = function.body
    for rank in ranks:
        step = body.ops[rank]
        if isinstance(step, Return) and step.src != NONE:
            return f"{function.name}() gives {_text(function, step.src)} instead"
    for other in writes(body.ops[op]):
        for step in body.ops[op:]:
            if isinstance(step, Store) and step.src == other and (name := describe(body, step.dst)):
                return f"{name} is never computed"
    return "the value is never computed"


def _text(function: FunctionNode, operand: int) -> str:
    body = function.body
    name = body.places[operand].name
    if isinstance(name, Const):
        return name.text if name.kind != "none" else "None"
    for step in body.ops:
        if isinstance(step, Call) and step.dst == operand:
            return f"{describe(body, step.callee)}({', '.join(describe(body, a) for a in step.args)})"
    return describe(body, operand) or "another value"
