"""Code that runs once: behind a test for a missing value that the guarded code then fills, or in a cached function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditor.facts.model import OPERATORS, Body, Branch, Call, Compare, Const, Place, Root, Select, Selector, Store
from auditor.project.flow import writes
from auditor.project.symbols import FunctionNode

if TYPE_CHECKING:
    from auditor.project.project import Project

CACHES = frozenset({"cache", "lru_cache", "cached_property", "alru_cache"})
DEPTH = 3  # calls that are followed to find the assignment


def cached(function: FunctionNode) -> bool:
    """Whether a decorator keeps the function's result."""
    return any(d.name.rpartition(".")[2] in CACHES for d in function.header.decorators)


def once(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether an operation stands behind `if x is None` (`not x`, `k not in x`, `len(x) == 0`, `not hasattr`) and the code
    behind that test assigns x. A test that only looks alike, without the assignment, is no such guard."""
    flow = project.flow(function)
    block = flow.block_of(op)
    for branch, outcome in flow.guards(block):
        for place in _missing(function.body, branch, outcome):
            if place.root is Root.LOCAL and not place.path:
                continue  # a local name is missing anew in each call
            if _fills(project, function, branch, outcome, place):
                return True
    return False


def _missing(body: Body, branch: int, outcome: bool) -> Iterator[Place]:
    """Places that a branch with this outcome has found missing."""
    test = body.ops[branch]
    if not isinstance(test, Branch):
        return
    place = body.places[test.test]
    if place.root not in (Root.TEMP, Root.CONST) or place.path:
        if not outcome:
            yield place
        return
    made = next((o for o in reversed(body.ops[:branch]) if test.test in writes(o)), None)
    if isinstance(made, Compare):
        operator = OPERATORS[made.operator]
        left, right = body.places[made.left], body.places[made.right]
        none = isinstance(right.name, Const) and right.name.kind == "none"
        zero = isinstance(right.name, Const) and right.name.text == "0"
        if none and (operator in ("is", "==")) is outcome and operator in ("is", "==", "is not", "!="):
            yield left
        elif operator == "not in" and outcome or operator == "in" and not outcome:
            yield right
        elif zero and operator == "==" and outcome:
            length = next((o for o in body.ops[:branch] if made.left in writes(o)), None)
            if isinstance(length, Call) and length.args and body.places[length.callee].name == "len":
                yield body.places[length.args[0]]
    elif isinstance(made, Call) and not outcome and body.places[made.callee].name == "hasattr" and len(made.args) == 2:
        owner, name = body.places[made.args[0]], body.places[made.args[1]].name
        if isinstance(name, Const):
            yield Place(owner.root, owner.name, (*owner.path, Selector(Select.ATTR, name.text)))


def _fills(project: Project, function: FunctionNode, branch: int, outcome: bool, place: Place) -> bool:
    """Whether the code behind the branch, or what it calls, stores to the place."""
    body = function.body
    flow = project.flow(function)
    behind = [n for n in flow.order if any(b == branch and o is outcome for b, o in flow.guards(n))]
    attribute = str(place.path[-1].value) if place.path and place.path[-1].kind is Select.ATTR else ""
    for number in behind:
        for rank in range(body.blocks[number].start, body.blocks[number].end):
            op = body.ops[rank]
            for written in writes(op):
                target = body.places[written]
                if target.root is place.root and target.name == place.name and target.path[: len(place.path)] == place.path:
                    return not (isinstance(op, Store) and _is_none(body, op.src))
            if isinstance(op, Call) and attribute:
                result = project.calls(function).get(rank)
                if result is not None and any(stores_attribute(project, t.function, attribute, DEPTH) for t in result.targets):
                    return True
    return False


def _is_none(body: Body, operand: int) -> bool:
    name = body.places[operand].name
    return isinstance(name, Const) and name.kind == "none"


def stores_attribute(project: Project, function: FunctionNode, name: str, depth: int) -> bool:
    """Whether a method, or a method that it calls on itself, stores `self.name`."""
    body = function.body
    for rank, op in enumerate(body.ops):
        for written in writes(op):
            path = body.places[written].path
            if path and path[0].kind is Select.ATTR and path[0].value == name:
                return True
        if depth and isinstance(op, Call):
            result = project.calls(function).get(rank)
            if result is not None and any(
                t.bound and t.function is not function and stores_attribute(project, t.function, name, depth - 1) for t in result.targets[:3]
            ):
                return True
    return False
