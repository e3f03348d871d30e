"""Walks over shared containers: a `for` over a dict, set or list itself, with a suspension in its body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Call, Delete, Iterate, Next
from auditor.project.accesses import SHRINKS, Access, How
from auditor.project.claims import Effect
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.types import Instance

FAILS = frozenset({
    "builtins.dict", "builtins.set", "collections.deque", "collections.defaultdict", "collections.OrderedDict", "collections.Counter",
})  # fmt: skip
SKIPS = frozenset({"builtins.list"})


class Walk(NamedTuple):
    """`read` walks over a container, and its body may let other tasks run at `pause`. `fails`: a resize raises, else items
    are skipped; None where the type is not known."""

    read: Access
    pause: int
    certainty: Suspends
    fails: bool | None
    body: frozenset[int]


def walks(project: Project, function: FunctionNode) -> Iterator[Walk]:
    """Live iterations of a coroutine with a suspension in the body."""
    sharing = project.sharing
    body = function.body
    found = [a for a in sharing.accesses.of(function) if a.how is How.ITERATE and isinstance(body.ops[a.op], Iterate)]
    points = sharing.claims.points(function) if found and not sharing.builds(function) else {}
    flow = project.flow(function)
    for read in found if points else ():
        step = body.ops[read.op]
        if not isinstance(step, Iterate) or step.is_async:
            continue
        heads = {n for n, b in enumerate(body.blocks) for r in range(b.start, b.end) if _nexts(body.ops[r], step)}
        loop = min((loop for loop in flow.natural_loops if heads & loop), key=len, default=frozenset[int]())
        own = frozenset(r for n in loop for r in range(body.blocks[n].start, body.blocks[n].end))
        going_on = [p for p in sorted(points) if p in own and _goes_on(project, function, p, heads)]
        if going_on:
            best = max(going_on, key=lambda p: (points[p], -p))
            yield Walk(read, best, points[best], _fails(project, function, read), own)


def _nexts(op: object, step: Iterate) -> bool:
    return isinstance(op, Next) and op.iterator == step.dst


def _goes_on(project: Project, function: FunctionNode, op: int, heads: set[int]) -> bool:
    """Whether the walk takes another item after an operation."""
    after = project.sharing.claims.after(function, op)
    blocks = function.body.blocks
    return any(blocks[h].end - 1 in after for h in heads)


def _fails(project: Project, function: FunctionNode, read: Access) -> bool | None:
    """Whether the container raises when it is resized during a walk."""
    made = [p for p in project.sharing.made_by(read.state) if p in FAILS] if not read.rest else []
    if made:
        return True
    value = project.sharing.locks.references.type_of(function, read.ref)
    if read.rest:
        value = project.type_of(function, read.operand)
    names = {a.cls for a in value if isinstance(a, Instance) and a.cls != "builtins.None"}
    if len(names) != 1 or len(names) != len(
        {a for a in value if not (isinstance(a, Instance) and a.cls == "builtins.None")}
    ):
        return None
    (name,) = names
    return True if name in FAILS else False if name in SKIPS else None


def resizes_inside(project: Project, function: FunctionNode, walk: Walk) -> Effect | None:
    """A change of the container in the body itself, after which the walk goes on."""
    flow, body = project.flow(function), function.body
    heads = {
        n
        for n in flow.order
        for r in range(body.blocks[n].start, body.blocks[n].end)
        if _nexts(body.ops[r], _step(walk))
    }
    for effect in project.sharing.claims.effects(function):
        same = effect.state == walk.read.state and effect.ref == walk.read.ref
        same = same and effect.access.how is How.RESIZE and effect.access.container == walk.read.container
        same = same and (walk.fails or _shrinks(effect.access))
        if same and effect.op in walk.body and _goes_on(project, function, effect.op, heads):
            return effect
    return None


def _step(walk: Walk) -> Iterate:
    step = walk.read.function.body.ops[walk.read.op]
    if not isinstance(step, Iterate):
        raise TypeError(f"operation {walk.read.op} of {walk.read.function!r} walks over nothing")
    return step


def resizes(project: Project, walk: Walk) -> list[Access]:
    """Changes of the size of the container anywhere that disturb the walk: a list minds only what is taken out."""
    return [
        w
        for w in project.sharing.writers(walk.read.state)
        if w.how is How.RESIZE and w.container == walk.read.container and not w.aliased and (walk.fails or _shrinks(w))
    ]


def _shrinks(access: Access) -> bool:
    op = access.function.body.ops[access.op]
    return isinstance(op, Delete) or isinstance(op, Call) and last_name(access.function, op) in SHRINKS
