"""Decisions that outlive a suspension: state is read, other tasks may run, and what was read is acted upon.

A decision is one of a few kinds that do harm when two tasks make it at once; a refill of a cache, a reset to None at the
end and a time stamp are none. What is tested again after the suspension, or claimed before it, is no decision.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    END,
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
    Next,
    Root,
    Select,
    Store,
    Unary,
)
from auditor.project.accesses import GROWS, Access, How, constant
from auditor.project.claims import Effect
from auditor.project.derived import Derived, derived
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name
from auditor.project.guards import once
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.references import Item
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode


class Kind(enum.StrEnum):
    """What goes wrong when two tasks decide at once."""

    UPDATE = "lost update"
    FLAG = "flag"
    INSERT = "insert"
    CREATE = "create"
    LIMIT = "limit"
    DELETE = "delete"
    STATUS = "status"
    RESET = "reset"
    STALE = "stale"


class Decision(NamedTuple):
    """`read` is relied upon by `write`, after the suspension `pause`; `branch` is the test (NONE for a value that is
    carried). `act` is the operation that the decision is about. `belief`: what the test has found."""

    function: FunctionNode
    kind: Kind
    read: Access
    branch: int
    pause: int
    certainty: Suspends
    write: Effect
    act: int
    belief: str = ""


# Constructors and calls that open a connection or start a task: two of them are one too many.
OPENS = frozenset({
    "create_task", "ensure_future", "run_in_executor", "ws_connect", "open_connection", "create_connection", "open_unix_connection",
    "create_server", "start_server",
})  # fmt: skip
OPENED = (
    "websockets.",
    "aiohttp.ClientSession",
    "aiohttp.client.ClientSession",
    "asyncio.open_connection",
    "asyncpg.",
    "aioredis.",
)
DEPTH = 2  # calls that are followed to find what is begun
CLOCKS = ("time.", "datetime.")


def decisions(project: Project, function: FunctionNode) -> Iterator[Decision]:
    """Decisions of a coroutine, in the order of what they read, one for each read and write."""
    sharing = project.sharing
    if not any(isinstance(op, Await | Enter | Exit | Next) for op in function.body.ops) or sharing.builds(function):
        return
    found = [a for a in sharing.accesses.of(function) if not a.how.changes and not a.aliased]
    effects = sharing.claims.effects(function) if found else ()
    changed = {e.state for e in effects}
    found = [a for a in found if a.state in changed]
    points = sharing.claims.points(function) if found else {}
    for read in found if points else ():
        for write in effects:
            if write.state == read.state and write.ref == read.ref and _matches(read, write):
                yield from _between(project, function, points, read, write)


def _matches(read: Access, write: Effect) -> bool:
    """Whether the write concerns what was read: the same item, or any item of a whole that was measured, or an item whose
    key is spelled in another way."""
    if len(read.rest) == len(write.rest):
        return True
    whole = not read.rest and bool(write.rest) and isinstance(write.rest[0], Item)
    return whole and (write.access.how is How.RESIZE)


def _between(
    project: Project, function: FunctionNode, points: dict[int, Suspends], read: Access, write: Effect
) -> Iterator[Decision]:
    claims = project.sharing.claims
    made = derived(function, read)
    fresh = _rereads(project, function, read)
    for pause, certainty in sorted(points.items()):
        claimed = claims.claimed(function, pause, read.state)
        if any(e.op == pause and e.state == read.state and claims.early(e) for e in claims.effects(function)):
            continue
        if pause not in claims.after(function, read.op, (claimed - {pause}) | fresh):
            continue
        inside = write.op == pause
        later = claims.after(function, pause, fresh | {read.op})
        if not claims.late(write) if inside else write.op not in later:
            continue
        if write.hops and _tests_again(project, write):
            continue
        found = _kind(project, function, read, write, made, later)
        if found is not None:
            kind, branch, act, belief = found
            yield Decision(function, kind, read, branch, pause, certainty, write, act, belief)
            return


def _rereads(project: Project, function: FunctionNode, read: Access) -> frozenset[int]:
    """Operations that read the same state once more, for a test."""
    sharing = project.sharing
    return frozenset(
        a.op
        for accesses in sharing.claims.tested(function).values()
        for a in accesses
        if a.state == read.state
        and a.op != read.op
        and a.ref == read.ref
        and (a.rest == read.rest or not a.rest)
        and not a.aliased
    )


def _tests_again(project: Project, write: Effect) -> bool:
    """Whether the function that writes has tested the state itself."""
    inner = write.access.function
    flow = project.flow(inner)
    tests = project.sharing.claims.tested(inner)
    guards = flow.guards(flow.block_of(write.access.op))
    return any(a.state == write.state for branch, _ in guards for a in tests.get(branch, ()))


def _kind(
    project: Project,
    function: FunctionNode,
    read: Access,
    write: Effect,
    made: Derived,
    later: frozenset[int],
) -> tuple[Kind, int, int, str] | None:
    """(kind, test, act, belief) of a read, a suspension and a write; None if they are no decision that does harm."""
    flow, held, branches = project.flow(function), made.operands, made.branches
    own = write.access.function.body.ops[write.access.op]
    if (
        not write.hops
        and write.op != read.op
        and isinstance(own, Store | Binary)
        and not _is_clock(project, function, own)
    ):
        carried = held.intersection(reads(own))
        if carried and read.rest == write.rest and _computed(function, own, held):
            return Kind.UPDATE, NONE, write.op, ""
    guards = dict(flow.guards(flow.block_of(write.op)))
    exact = read.rest == write.rest or not read.rest
    for branch in sorted(branches.intersection(guards)) if exact else ():
        if branch in later and branch != read.op:
            continue  # tested after the suspension: what was read before it is carried
        belief = _belief(function, read, branch, guards[branch])
        kind = _harm(project, function, write, branch, belief)
        if kind is not None:
            return kind, branch, write.op, belief
    return _stale(project, function, read, made, write, later)


def _stale(
    project: Project, function: FunctionNode, read: Access, made: Derived, write: Effect, later: frozenset[int]
) -> tuple[Kind, int, int, str] | None:
    """A value that was read before the suspension is tested after it, and decides on something that adds up."""
    body = function.body
    kept = {
        body.places[w].name
        for m in made.makers - later
        for w in writes(body.ops[m])
        if body.places[w].root is Root.LOCAL
    }
    effects = [
        e for e in project.sharing.claims.effects(function) if e.op in later and e.op <= write.op and _adds(project, e)
    ]
    if not kept or not effects:
        return None
    for branch in sorted(made.branches.intersection(later)):
        if not _rests_on(project, function, branch, kept, later):
            continue
        for effect in effects:
            if effect.state != read.state and _decides(project, function, branch, effect.op):
                return Kind.STALE, branch, effect.op, ""
    return None


def _decides(project: Project, function: FunctionNode, branch: int, op: int) -> bool:
    """Whether an operation runs or not by the outcome of a branch: it is reached from there, and can be avoided."""
    claims, blocks = project.sharing.claims, function.body.blocks
    if op not in claims.after(function, branch):
        return False
    without = claims.after(function, branch, frozenset((op,)))
    ends = [b for b in blocks if b.end > b.start and any(target == END for _, target in b.edges)]
    joins = any(b.end - 1 in without and op not in range(b.start, b.end) for b in ends)
    return joins or any(target == END for b in blocks if b.end == b.start for _, target in b.edges)


def _adds(project: Project, effect: Effect) -> bool:
    """Whether doing a change twice is one too many."""
    inner = effect.access.function
    op = inner.body.ops[effect.access.op]
    return isinstance(op, Binary) or isinstance(op, Call) and last_name(inner, op) in GROWS


def _rests_on(
    project: Project, function: FunctionNode, branch: int, kept: set[str | int | Const], later: frozenset[int]
) -> bool:
    """Whether a test is made, after the suspension, of names that hold what was read before. A container that a name
    holds is live, and so is an attribute that somebody changes."""
    body = function.body
    pending, seen = [*reads(body.ops[branch])], set[int]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        place = body.places[current]
        if place.root is Root.LOCAL and place.name in kept:
            if all(kind is Select.ATTR and _constant(project, str(name)) for kind, name in place.path):
                return True
        elif place.root in (Root.LOCAL, Root.TEMP) and not place.path:
            for rank in later:
                op = body.ops[rank]
                if current in writes(op) and isinstance(op, Compare | Unary | Binary | Choose | Bool | Store):
                    pending.extend(reads(op))
    return False


def _constant(project: Project, name: str) -> bool:
    """Whether no attribute of this name is changed once its object is made."""
    sharing = project.sharing
    changes = (a for f in sharing.accesses.naming(name) if not sharing.builds(f) for a in sharing.accesses.of(f))
    return not any(a.state.name == name and a.how.changes for a in changes)


def _computed(function: FunctionNode, own: Store | Binary, held: frozenset[int]) -> bool:
    """Whether what is written was reckoned from what was read, not just put back."""
    if isinstance(own, Binary):
        return True
    pending, seen = [own.src], set[int]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for op in function.body.ops:
            if current in writes(op):
                if isinstance(op, Binary) and held.intersection(reads(op)):
                    return True
                if isinstance(op, Store):
                    pending.append(op.src)
    return False


def _is_clock(project: Project, function: FunctionNode, own: Store | Binary) -> bool:
    """Whether a time is written."""
    if not isinstance(own, Store):
        return False
    for rank, op in enumerate(function.body.ops):
        if own.src in writes(op) and isinstance(op, Call):
            result = project.calls(function).get(rank)
            return result is not None and any(p.startswith(CLOCKS) or p.endswith(".time") for p in result.externals)
    return False


# --- what a test has found -------------------------------------------------------------------------------------------


def _belief(function: FunctionNode, read: Access, branch: int, outcome: bool) -> str:
    """What is known of the state where a branch has this outcome."""
    body = function.body
    test = body.ops[branch]
    if not isinstance(test, Branch):
        return ""
    if branch == read.op:
        return "truthy" if outcome else "falsy"
    operand, sources = test.test, {read.operand, *derived(function, read).operands}
    for _ in range(4):
        maker = next((o for o in reversed(body.ops[:branch]) if operand in writes(o)), None)
        if isinstance(maker, Unary) and OPERATORS[maker.operator] == "not":
            outcome, operand = not outcome, maker.operand
        elif isinstance(maker, Store):
            operand = maker.src
        elif isinstance(maker, Compare):
            operator = OPERATORS[maker.operator]
            if maker.right in sources and maker.left not in sources and operator not in ("in", "not in"):
                return _compared(body.places[maker.left].name, _MIRRORED.get(operator, operator), outcome)
            return _compared(body.places[maker.right].name, operator, outcome)
        else:
            break
    if operand == read.operand or body.places[operand].root in (Root.TEMP, Root.LOCAL):
        return "truthy" if outcome else "falsy"
    return ""


_OPPOSITE = {
    "is": "is not", "is not": "is", "==": "!=", "!=": "==", "in": "not in", "not in": "in", "<": ">=", "<=": ">", ">": "<=",
    ">=": "<",
}  # fmt: skip


_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _compared(right: object, operator: str, outcome: bool) -> str:
    if not outcome:
        operator = _OPPOSITE.get(operator, "")
    word = ("None" if right.kind == "none" else right.text) if isinstance(right, Const) else ""
    if operator in ("is", "=="):
        return {"None": "none", "False": "falsy", "True": "truthy", "0": "falsy"}.get(word, "equal")
    if operator in ("is not", "!="):
        return {"None": "some", "False": "truthy", "True": "falsy"}.get(word, "unequal")
    return {"in": "present", "not in": "absent", "<": "below", "<=": "below", ">": "above", ">=": "above"}.get(
        operator, ""
    )


def begins(project: Project, function: FunctionNode, branch: int) -> bool:
    """Whether what stands behind a test starts a task, opens a connection or sends an order, itself or through what it
    calls: a second run is one too many."""
    after = project.sharing.claims.after(function, branch)
    return any(op in after for op in _beginnings(project, function, DEPTH, frozenset()))


def _beginnings(project: Project, function: FunctionNode, depth: int, seen: frozenset[FunctionNode]) -> Iterator[int]:
    for rank, result in sorted(project.calls(function).items()):
        call = function.body.ops[rank]
        if not isinstance(call, Call) or seen and once(project, function, rank):
            continue
        if (
            "place" in project.exchange.at(function, rank)
            or is_opening(project, function, rank)
            and not _entered(function, call)
        ):
            yield rank
        elif depth:
            below = [t.function for t in result.targets if not t.wrapper and t.bound and t.function not in seen]
            if len(below) == 1 and any(True for _ in _beginnings(project, below[0], depth - 1, seen | {function})):
                yield rank


def _entered(function: FunctionNode, call: Call) -> bool:
    """Whether a `with` ends what a call has opened."""
    return any(isinstance(op, Enter) and op.src == call.dst for op in function.body.ops)


def is_opening(project: Project, function: FunctionNode, rank: int) -> bool:
    """Whether a call starts a task or opens a connection."""
    call, result = function.body.ops[rank], project.calls(function).get(rank)
    paths = [canonical(p) for p in result.externals] if result is not None else []
    return isinstance(call, Call) and (last_name(function, call) in OPENS or any(p.startswith(OPENED) for p in paths))


# --- what is written -------------------------------------------------------------------------------------------------


def _harm(project: Project, function: FunctionNode, write: Effect, branch: int, belief: str) -> Kind | None:
    """The kind of a write that relies on a belief, None where a second one does no harm."""
    inner = write.access.function
    op = inner.body.ops[write.access.op]
    value = constant(inner, write.access.value)
    grows = isinstance(op, Store) or isinstance(op, Call) and last_name(inner, op) in GROWS
    if isinstance(op, Store) and _is_clock(project, inner, op):
        return None
    if belief in ("none", "falsy") and isinstance(op, Store) and not write.rest:
        if value is not None and value.text == "True":
            return Kind.FLAG if begins(project, function, branch) else None
        return Kind.CREATE if value is None and opens(project, inner, op.src) else None
    if belief == "absent" and write.access.how is How.RESIZE and grows:
        if isinstance(op, Store):
            if opens(project, inner, op.src):
                return Kind.CREATE
            return None if _fetched(inner, op.src) or value is not None else Kind.INSERT
        return Kind.INSERT if isinstance(op, Call) and last_name(inner, op) in ("add", "append", "update") else None
    if belief == "below" and (
        isinstance(op, Binary) and OPERATORS[op.operator] == "+" or write.access.how is How.RESIZE and grows
    ):
        return Kind.LIMIT
    if (
        belief in ("below", "above")
        and isinstance(op, Store)
        and value is not None
        and value.kind in ("int", "float")
        and not write.rest
    ):
        return Kind.RESET
    if belief in ("present", "truthy") and write.rest and _raises_if_gone(inner, op):
        return Kind.DELETE
    if belief in ("equal", "unequal") and isinstance(op, Store) and _is_member(inner, op.src):
        return Kind.STATUS
    return None


def _raises_if_gone(function: FunctionNode, op: object) -> bool:
    """Whether a removal fails where somebody else was first."""
    if isinstance(op, Delete):
        return True
    if not isinstance(op, Call):
        return False
    name = last_name(function, op)
    return name == "remove" or name == "pop" and len(op.args) == 1 and not op.keywords


def _is_member(function: FunctionNode, operand: int) -> bool:
    """Whether a value is a member of an enumeration, or a literal word."""
    place = function.body.places[operand]
    if isinstance(place.name, Const):
        return place.name.kind == "str"
    return (
        place.root is Root.GLOBAL
        and bool(place.path)
        and place.path[-1].kind is Select.ATTR
        and str(place.path[-1].value).isupper()
    )


def _fetched(function: FunctionNode, operand: int) -> bool:
    """Whether a value is what an await gave: a refill that another one may repeat."""
    body = function.body
    pending, seen = [operand], set[int]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for op in body.ops:
            if current in writes(op):
                if isinstance(op, Await):
                    return True
                pending.extend(x for x in reads(op) if body.places[x].root in (Root.LOCAL, Root.TEMP))
    return False


def opens(project: Project, function: FunctionNode, operand: int) -> bool:
    """Whether a value is a task, a connection or a session that its maker has to end."""
    body = function.body
    pending, seen = [operand], set[int]()
    while pending and len(seen) < len(body.ops):
        current = pending.pop()
        if current in seen or current == NONE:
            continue
        seen.add(current)
        for rank, op in enumerate(body.ops):
            if current not in writes(op):
                continue
            if isinstance(op, Store | Await):
                pending.append(op.src)
            elif isinstance(op, Call) and is_opening(project, function, rank):
                return True
    return False
