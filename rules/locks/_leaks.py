"""Ways out of a function on which a lock that it took is still held: a search over control flow, exceptions included."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    END,
    NONE,
    Await,
    Branch,
    Call,
    Catch,
    Edge,
    Enter,
    Exit,
    Iterate,
    Next,
    Raise,
    Return,
    Root,
    Select,
    Yield,
)  # fmt: skip
from auditor.project.flow import reads
from auditor.project.graph import Node, last_name
from auditor.project.locks import Acquisition
from auditor.project.project import Project
from auditor.project.references import up
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode

# Calls that are taken not to raise: of loggers, clocks, containers and the plain builtins.
CALM = frozenset({
    "debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print", "len", "isinstance", "append", "appendleft",
    "add", "clear", "discard", "monotonic", "time", "perf_counter", "bool", "str", "repr", "locked", "is_set", "set", "done", "keys",
    "values", "items", "get", "setdefault", "notify", "notify_all", "cancel", "acquire", "release", "list", "dict", "tuple",
    "setLevel", "copy", "getLogger", "current_task", "get_ident", "now", "utcnow", "create_task", "id", "hash", "callable", "type",
    "hasattr", "update",
})  # fmt: skip
CANCELLED = frozenset({"BaseException", "CancelledError"})
ORDINARY = frozenset({"BaseException", "Exception"})


class Leak(NamedTuple):
    """`why` is return, end, raise, cancel, suspend (of unknown length) or call; `op` is where the way out begins."""

    why: str
    op: int


ORDER = ("return", "end", "raise", "cancel", "suspend", "call")


def leak(project: Project, taken: Acquisition) -> Leak | None:
    """The gravest way out of the function on which the lock is still held; None if there is none."""
    found = sorted(set(_Search(project, taken).run()), key=lambda x: (ORDER.index(x.why), x.op))
    return found[0] if found else None


class _Search:
    """States are (block, first operation, raising): `raising` on the way of an exception, through cleanup."""

    def __init__(self, project: Project, taken: Acquisition) -> None:
        self.project = project
        self.taken = taken
        self.function = taken.function
        self.body = taken.function.body
        self.flow = project.flow(taken.function)
        self.results = project.locks.results(taken.function, taken) if taken.gives_up else frozenset()
        self.given = self._given()
        self.node = next(iter(project.receivers(taken.function)), Node(taken.function, None))

    def _given(self) -> frozenset[int]:
        """Operations that give the lock back, or that hand the giving back on."""
        locks = self.project.locks
        found: set[int] = set()
        for rank, lock, ref in locks.releasing(self.function):
            if ref == self.taken.ref if ref is not None and self.taken.ref is not None else lock == self.taken.lock:
                found.add(rank)
        for frame in locks.frames.of(next(iter(self.project.receivers(self.function)), Node(self.function, None))):
            target = frame.target.function
            for _, lock, ref in locks.releasing(target):
                above = up(ref, target, frame.binding) if ref is not None else None
                if (
                    above == self.taken.ref
                    if above is not None and self.taken.ref is not None
                    else lock[:2] == self.taken.lock[:2]
                ):
                    found.add(frame.op)
        return frozenset(found)

    def run(self) -> Iterator[Leak]:
        start = self.taken.op + 1
        following = self.body.ops[start] if start < len(self.body.ops) else None
        call = self.body.ops[self.taken.op]
        if isinstance(call, Call) and isinstance(following, Await) and following.src == call.dst:
            start += 1
        pending = deque([(self.flow.block_of(self.taken.op), start, "")])
        seen: set[tuple[int, int, str]] = set()
        while pending:
            state = pending.popleft()
            if state in seen:
                continue
            seen.add(state)
            number, rank, why = state
            block = self.body.blocks[number]
            open_ = True
            while rank < block.end and open_:
                if rank in self.given:
                    open_ = False
                    break
                for reason, where in self._raises(rank, why):
                    for target in self._caught(block.region, reason):
                        if target == END:
                            yield Leak(reason, where)
                        else:
                            pending.append((target, self.body.blocks[target].start, f"{reason} {where}"))
                open_ = not isinstance(self.body.ops[rank], Raise)
                rank += 1
            if open_:
                yield from self._onward(number, why, pending)

    def _onward(self, number: int, why: str, pending: deque[tuple[int, int, str]]) -> Iterator[Leak]:
        block = self.body.blocks[number]
        last = self.body.ops[block.end - 1] if block.end > block.start else None
        forks = sum(kind is Edge.FINALLY for kind, _ in block.edges) > 1
        for kind, target in block.edges:
            if isinstance(last, Branch) and last.test in self.results and kind is Edge.FALSE:
                continue  # it was not obtained
            if kind is Edge.SWALLOW and not self._swallows(last):
                continue
            if target == END:
                if why:
                    reason, _, where = why.partition(" ")
                    yield Leak(reason, int(where))
                else:
                    yield Leak("return", block.end - 1) if isinstance(last, Return) else Leak("end", self.taken.op)
                continue
            if kind is Edge.FINALLY and forks and self._reraises(target) != bool(why):
                continue  # a cleanup ends as it began: with the exception, or without
            pending.append((target, self.body.blocks[target].start, why if not self._is_handler(target) else ""))

    def _reraises(self, number: int) -> bool:
        block = self.body.blocks[number]
        only = self.body.ops[block.start : block.end]
        return len(only) == 1 and isinstance(only[0], Raise) and only[0].exception == NONE

    def _is_handler(self, number: int) -> bool:
        block = self.body.blocks[number]
        return block.end > block.start and isinstance(self.body.ops[block.start], Catch)

    def _swallows(self, last: object) -> bool:
        """Whether a manager lets what follows run after an exception; only `suppress` is known to."""
        if not isinstance(last, Exit):
            return False
        for rank in self.project.locks.references.writers(self.function, last.src):
            result = self.project.calls(self.function).get(rank)
            if result is not None and any(path.endswith("suppress") for path in result.externals):
                return True
        return False

    def _raises(self, rank: int, why: str) -> Iterator[tuple[str, int]]:
        """Reasons for which an operation may leave its block by an exception."""
        op = self.body.ops[rank]
        if isinstance(op, Raise):
            if why and op.exception == NONE:
                reason, _, where = why.partition(" ")
                yield reason, int(where)
            else:
                yield "raise", rank
        elif isinstance(op, Await) or isinstance(op, Enter | Exit | Next) and op.is_async:
            value = self.project.locks.contention.at(self.node, rank)
            if value is Suspends.MAY:
                yield "cancel", rank
            elif value is Suspends.UNKNOWN:
                yield "suspend", rank
        elif isinstance(op, Yield):
            yield "cancel", rank
        elif isinstance(op, Call) and self._may_raise(op, rank):
            yield "call", rank

    def _may_raise(self, op: Call, rank: int) -> bool:
        name = last_name(self.function, op)
        if name in CALM or not name:
            return False
        following = self.body.ops[rank + 1] if rank + 1 < len(self.body.ops) else None
        result = self.project.calls(self.function).get(rank)
        if result is not None and result.targets and all(t.function.header.is_async for t in result.targets):
            return False  # a coroutine that is only made
        if result is not None and len(result.targets) == 1 and self._calm(result.targets[0].function):
            return False
        return not (isinstance(following, Await) and following.src == op.dst)

    def _calm(self, target: FunctionNode) -> bool:
        """Whether a callee neither calls nor raises: it moves values."""
        return not any(
            isinstance(o, Raise | Await | Yield | Iterate | Enter)
            or isinstance(o, Call)
            and last_name(target, o) not in CALM
            for o in target.body.ops
        )

    def _caught(self, region: int, reason: str) -> Iterator[int]:
        """Where an exception goes: handlers that may catch it, the first cleanup, END if it leaves the function."""
        catching = CANCELLED if reason in ("cancel", "suspend") else ORDINARY
        while region != NONE:
            guard = self.body.regions[region]
            for handler in guard.handlers:
                names = self._classes(handler)
                if reason in ("cancel", "suspend"):
                    if names is None or names & CANCELLED:
                        yield handler
                else:
                    yield handler
                if names is None or names & catching:
                    return
            if guard.cleanup != NONE:
                yield guard.cleanup
                return
            region = guard.parent
        yield END

    def _classes(self, handler: int) -> frozenset[str] | None:
        """Last names of the classes that a handler catches, None for a bare `except`."""
        block = self.body.blocks[handler]
        op = self.body.ops[block.start] if block.end > block.start else None
        if not isinstance(op, Catch) or not op.classes:
            return None
        places = [self.body.places[c] for c in op.classes]
        return frozenset(str(p.path[-1].value) if p.path else str(p.name) for p in places)


def handed_on(project: Project, taken: Acquisition) -> bool:
    """Whether the function gives the releasing away: the bound method as a value, or a closure that calls it."""
    function, body = taken.function, taken.function.body
    locks = project.locks
    for rank, op in enumerate(body.ops):
        for operand in reads(op):
            place = body.places[operand]
            if (
                place.path
                and place.path[-1] == (Select.ATTR, "release")
                and not (isinstance(op, Call) and op.callee == operand)
            ):
                return True
        if isinstance(op, Return | Yield) and rank > taken.op:
            value = getattr(op, "src", NONE)
            if value != NONE and taken.ref is not None and locks.ref(function, value) == taken.ref:
                return True
        if (
            isinstance(op, Call)
            and taken.ref is not None
            and any(locks.ref(function, a) == taken.ref for a in (*op.args, *(o for _, o in op.keywords)))
        ):
            return True  # the lock itself goes on
    return any(_closes(project, child, taken) for child in function.children)


def _closes(project: Project, child: FunctionNode, taken: Acquisition) -> bool:
    if any(lock[:2] == taken.lock[:2] for _, lock, _ in project.locks.releasing(child)):
        return True
    root = taken.ref.name if taken.ref is not None else ""
    named = any(
        p.root is Root.CELL and p.name == root and p.path and p.path[-1] == (Select.ATTR, "release")
        for p in child.body.places
    )
    return named or any(_closes(project, inner, taken) for inner in child.children)
