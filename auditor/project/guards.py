"""Code that runs once: behind a test for a missing value that the guarded code then fills, or in a cached function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from auditor.facts.model import OPERATORS, Body, Branch, Call, Compare, Const, Op, Place, Root, Select, Selector, Store
from auditor.project.flow import Flow, writes
from auditor.project.symbols import FunctionNode

if TYPE_CHECKING:
    from auditor.project.project import Project

CACHES = frozenset({"cache", "lru_cache", "cached_property", "alru_cache"})
DEPTH = 3  # calls that are followed to find the assignment


def cached(function: FunctionNode) -> bool:
    """Whether a decorator keeps the function's result."""
    return any(d.name.rpartition(".")[2] in CACHES for d in function.header.decorators)


def once(project: Project, function: FunctionNode, op: int, flow: Flow | None = None) -> bool:
    """Whether an operation stands behind `if x is None` (`not x`, `k not in x`, `len(x) == 0`, `not hasattr`, a method that
    asks so) and the code behind that test assigns x. A test that only looks alike, without the assignment, is no such
    guard. `flow` is the control flow in which the guards are read, that of the function by default."""
    flow = flow or project.flow(function)
    block = flow.block_of(op)
    for branch, outcome in flow.guards(block):
        if flow.leaves_loop(flow.block_of(branch), not outcome):
            continue  # `while self.x is None:` tries again and again
        for place in _missing(function.body, branch, outcome):
            if place.root is Root.LOCAL and not place.path:
                continue  # a local name is missing anew in each call
            if _fills(project, function, flow, branch, outcome, place):
                return True
        if not outcome and _remembers(project, function, flow, branch):
            return True
    return False


def ready(function: FunctionNode, op: int, tests: Iterable[str], flow: Flow) -> bool:
    """Whether a method call stands behind a test of the same object that says that it will not wait: `not empty` for
    `if not q.empty(): q.get()`, `done` for `if f.done(): f.result()`."""
    body = function.body
    call = body.ops[op]
    if not isinstance(call, Call):
        return False
    owner = body.places[call.callee]
    wanted = {(word.removeprefix("not "), not word.startswith("not ")) for word in tests}
    for branch, outcome in flow.guards(flow.block_of(op)):
        test = body.ops[branch]
        made = _made(body, branch, test.test) if isinstance(test, Branch) else None
        if isinstance(made, Call):
            asked = body.places[made.callee]
            same = asked.root is owner.root and asked.name == owner.name and asked.path[:-1] == owner.path[:-1]
            if same and asked.path and owner.path and (str(asked.path[-1].value), outcome) in wanted:
                return True
    return False


def _made(body: Body, before: int, operand: int) -> Op | None:
    """The last operation before another that writes an operand."""
    return next((o for o in reversed(body.ops[:before]) if operand in writes(o)), None)


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
    made = _made(body, branch, test.test)
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


def _behind(flow: Flow, branch: int, outcome: bool) -> list[int]:
    """Blocks that run only after this outcome of a branch."""
    return [n for n in flow.order if any(b == branch and o is outcome for b, o in flow.guards(n))]


def _remembers(project: Project, function: FunctionNode, flow: Flow, branch: int) -> bool:
    """`if not registry.has(k): ... registry.put(k, ...)`: the test reads an attribute that the code behind it stores through
    another method of the same class."""
    body = function.body
    test = body.ops[branch]
    if not isinstance(test, Branch):
        return False
    rank = next((r for r in range(branch - 1, -1, -1) if test.test in writes(body.ops[r])), None)
    result = project.calls(function).get(rank) if rank is not None else None
    asked = [t.function for t in result.targets if t.bound and t.function.cls is not None] if result is not None else []
    if len(asked) != 1:
        return False
    own = [p.path[0] for p in asked[0].body.places if p.name == asked[0].self_name and p.path]
    names = {str(selected.value) for selected in own if selected.kind is Select.ATTR}
    for number in _behind(flow, branch, False):
        for step in range(body.blocks[number].start, body.blocks[number].end):
            called = project.calls(function).get(step)
            for target in called.targets if called is not None else ():
                if target.function.cls is asked[0].cls and any(stores_attribute(project, target.function, n, 1) for n in sorted(names)):
                    return True
    return False


def _fills(project: Project, function: FunctionNode, flow: Flow, branch: int, outcome: bool, place: Place) -> bool:
    """Whether the code behind the branch, or what it calls, stores to the place."""
    body = function.body
    behind = _behind(flow, branch, outcome)
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
            below = [t.function for t in result.targets[:3] if t.bound and t.function is not function] if result is not None else []
            if any(stores_attribute(project, called, name, depth - 1) for called in below):
                return True
    return False
