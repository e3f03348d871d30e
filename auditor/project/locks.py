"""Stratum 5, locks: which locks there are, where they are held, and what a private helper may take for granted.

A lock is recognised by its type, never by its name. *Held* is a must question (only what is the same object for certain
counts), so identity is exact: an attribute of the class that constructs it, a name of a module, a local name.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Await, Body, Call, Const, Enter, Exit, Place, Root, Select
from auditor.project.flow import Flow
from auditor.project.graph import method_of
from auditor.project.models import canonical
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance, Outside, Type

if TYPE_CHECKING:
    from auditor.project.project import Project


class Kind(enum.StrEnum):
    """What a lock excludes. SEMAPHORE lets several in; a re-entrant lock lets its owner in again."""

    THREAD = "thread lock"
    THREAD_REENTRANT = "re-entrant thread lock"
    THREAD_SEMAPHORE = "thread semaphore"
    ASYNC = "asyncio lock"
    ASYNC_SEMAPHORE = "asyncio semaphore"
    PROCESS = "process lock"

    @property
    def is_async(self) -> bool:
        return self in (Kind.ASYNC, Kind.ASYNC_SEMAPHORE)

    @property
    def excludes(self) -> bool:
        """Whether at most one is inside."""
        return self not in (Kind.THREAD_SEMAPHORE, Kind.ASYNC_SEMAPHORE)


KINDS = {
    "threading.Lock": Kind.THREAD, "thread.lock": Kind.THREAD, "thread.allocate_lock": Kind.THREAD, "thread.LockType": Kind.THREAD,
    "threading.RLock": Kind.THREAD_REENTRANT, "thread.RLock": Kind.THREAD_REENTRANT, "threading.Condition": Kind.THREAD_REENTRANT,
    "threading.Semaphore": Kind.THREAD_SEMAPHORE, "threading.BoundedSemaphore": Kind.THREAD_SEMAPHORE,
    "asyncio.Lock": Kind.ASYNC, "asyncio.locks.Lock": Kind.ASYNC, "asyncio.Condition": Kind.ASYNC,
    "asyncio.locks.Condition": Kind.ASYNC, "asyncio.Semaphore": Kind.ASYNC_SEMAPHORE,
    "asyncio.locks.Semaphore": Kind.ASYNC_SEMAPHORE, "asyncio.BoundedSemaphore": Kind.ASYNC_SEMAPHORE,
    "asyncio.locks.BoundedSemaphore": Kind.ASYNC_SEMAPHORE, "multiprocessing.Lock": Kind.PROCESS,
    "multiprocessing.RLock": Kind.PROCESS, "multiprocessing.synchronize.Lock": Kind.PROCESS,
}  # fmt: skip


class Lock(NamedTuple):
    """A lock. `owner`: the dotted name of the class, module or function that it belongs to; `name`: the attribute or name;
    `key` spells the key of a lock that is taken from a container, "" otherwise."""

    owner: str
    name: str
    key: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.owner.rpartition('.')[2]}.{self.name}" + (f"[{self.key}]" if self.key else "")


class Acquisition(NamedTuple):
    """Operation `op` of `function` takes `lock`. `gives_up`: with a timeout or without waiting."""

    function: FunctionNode
    op: int
    lock: Lock
    gives_up: bool


Lockset = frozenset[Lock]
NOTHING: Lockset = frozenset()


class Locks:
    """Answers about locks, each computed once per function."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._held: dict[FunctionNode, tuple[Lockset, ...]] = {}
        self._entry: dict[FunctionNode, Lockset] | None = None

    # --- what a place is ---
    def lock(self, function: FunctionNode, op: int, operand: int) -> Lock | None:
        """The lock that an operand holds at an operation, if it is one."""
        kind = kind_of(self.project.types(function).get((op, operand), frozenset()))
        return None if kind is None else self._identity(function, function.body.places[operand], kind)

    def _identity(self, function: FunctionNode, place: Place, kind: Kind) -> Lock | None:
        body = function.body
        key = ""
        path = list(place.path)
        if path and path[-1].kind is not Select.ATTR:
            value = path.pop().value
            key = value.text if isinstance(value, Const) else _spelled(body, value) if isinstance(value, int) else str(value)
            if not key:
                return None  # a key without a name of its own: no other place is the same lock for certain
        names = [str(s.value) for s in path if s.kind is Select.ATTR]
        if len(names) != len(path):
            return None
        if place.root is Root.GLOBAL:
            dotted = ".".join((str(place.name), *names))
            return Lock(function.module.name, dotted, key, kind)
        method = method_of(function)
        is_self = method is not None and place.name == method.self_name and place.root is (Root.LOCAL if method is function else Root.CELL)
        if is_self and method is not None and method.cls is not None and names:
            return Lock(_owner(self.project, method.cls, names[0]), ".".join(names), key, kind)
        if place.root in (Root.LOCAL, Root.CELL, Root.TEMP):
            scope = function if place.root is not Root.CELL else self.project.world.cell_owner(function, str(place.name)) or function
            return Lock(f"{scope.module.name}.{scope.symbol}()", ".".join((str(place.name), *names)), key, kind)
        return None

    # --- regions ---
    def acquisitions(self, function: FunctionNode) -> Iterator[Acquisition]:
        """Operations that take a lock: `with`, and `acquire()`."""
        for rank, op in enumerate(function.body.ops):
            if isinstance(op, Enter):
                lock = self.lock(function, rank, op.src)
                if lock is not None:
                    yield Acquisition(function, rank, lock, False)
            elif isinstance(op, Call):
                lock = self._method(function, rank, op, "acquire")
                if lock is not None:
                    limited = any(name in ("timeout", "blocking") for name, _ in op.keywords) or bool(op.args)
                    yield Acquisition(function, rank, lock, limited)

    def releases(self, function: FunctionNode) -> Iterator[tuple[int, Lock]]:
        """Calls of `release()`."""
        for rank, op in enumerate(function.body.ops):
            if isinstance(op, Call):
                lock = self._method(function, rank, op, "release")
                if lock is not None:
                    yield rank, lock

    def _method(self, function: FunctionNode, rank: int, op: Call, name: str) -> Lock | None:
        """The lock on which an operation calls the method."""
        body = function.body
        place = body.places[op.callee]
        if not place.path or place.path[-1] != (Select.ATTR, name):
            return None
        result = self.project.calls(function).get(rank)
        kinds = {KINDS.get(_stem(path)) for path in result.externals} if result is not None else set()
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        if kind is None:
            return None
        return self._identity(function, place._replace(path=place.path[:-1]), kind)

    def held(self, function: FunctionNode) -> tuple[Lockset, ...]:
        """For each operation the locks that are held for certain when it begins, by this function alone."""
        known = self._held.get(function)
        if known is None:
            known = self._held[function] = self._regions(function)
        return known

    def _regions(self, function: FunctionNode) -> tuple[Lockset, ...]:
        body = function.body
        gains = {a.op: a.lock for a in self.acquisitions(function) if not a.gives_up}
        if not gains:
            return (NOTHING,) * len(body.ops)
        drops = dict(self.releases(function))
        for rank, op in enumerate(body.ops):
            if isinstance(op, Exit):
                lock = self.lock(function, rank, op.src)
                if lock is not None:
                    drops[rank] = lock
        flow: Flow = self.project.flow(function)
        at: list[Lockset] = [NOTHING] * len(body.ops)
        entry: dict[int, Lockset] = {0: NOTHING}
        pending = [0]
        while pending:
            number = pending.pop()
            locks = entry[number]
            block = body.blocks[number]
            during = locks
            for rank in range(block.start, block.end):
                at[rank] = locks
                if rank in drops:
                    locks = locks - {drops[rank]}
                if rank in gains and not self._awaited_later(body, rank):
                    locks = locks | {gains[rank]}
                elif isinstance(body.ops[rank], Await):
                    made = self._acquired(body, rank, gains)
                    locks = locks | {made} if made is not None else locks
                during = during & locks
            for kind, target in flow.successors[number]:
                out = during if kind is None else locks
                before = entry.get(target)
                after = out if before is None else before & out
                if after != before:
                    entry[target] = after
                    pending.append(target)
        return tuple(at)

    @staticmethod
    def _awaited_later(body: Body, rank: int) -> bool:
        """`await lock.acquire()` holds the lock after the await, not after the call."""
        following = body.ops[rank + 1] if rank + 1 < len(body.ops) else None
        call = body.ops[rank]
        return isinstance(call, Call) and isinstance(following, Await) and following.src == call.dst

    @staticmethod
    def _acquired(body: Body, rank: int, gains: dict[int, Lock]) -> Lock | None:
        before = body.ops[rank - 1] if rank else None
        step = body.ops[rank]
        if isinstance(before, Call) and isinstance(step, Await) and step.src == before.dst:
            return gains.get(rank - 1)
        return None

    # --- entry locksets ---
    def entry(self, function: FunctionNode) -> Lockset:
        """Locks that every resolved caller of a private method holds at its call; empty for public, spawned and escaping
        functions (greatest fixpoint; callers in `__init__` do not count)."""
        if self._entry is None:
            self._entry = self._entries()
        return self._entry.get(function, NOTHING)

    def at(self, function: FunctionNode, op: int) -> Lockset:
        """All locks held for certain at an operation: in its own regions and by all callers."""
        return self.held(function)[op] | self.entry(function)

    def _entries(self) -> dict[FunctionNode, Lockset]:
        sites: dict[FunctionNode, list[tuple[FunctionNode, int]]] = {}
        escaping: set[FunctionNode] = {s.target.function for s in self.project.contexts.spawns}
        for caller in self.project.functions():
            for op, result in self.project.calls(caller).items():
                escaping.update(t.function for t in result.handed)
                for target in result.targets:
                    sites.setdefault(target.function, []).append((caller, op))
        private = {
            f: calls
            for f, calls in sites.items()
            if f.cls is not None and f.name.startswith("_") and not f.name.startswith("__") and f not in escaping
        }
        everything = frozenset(lock for f in self.project.functions() for locks in self.held(f) for lock in locks) if private else NOTHING
        entry = dict.fromkeys(private, everything)
        changed = True
        while changed:
            changed = False
            updated: dict[FunctionNode, Lockset] = {}
            for function, calls in private.items():
                locks = everything
                counted = [(c, op) for c, op in calls if c.name not in ("__init__", "__post_init__")]
                for caller, op in counted:
                    locks = locks & (self.held(caller)[op] | entry.get(caller, NOTHING))
                updated[function] = locks if counted else NOTHING
            if updated != entry:
                entry, changed = updated, True
        return entry


def kind_of(value: Type) -> Kind | None:
    """The kind of lock that a type is, None unless it is one kind for certain (None beside it is let through)."""
    kinds: set[Kind | None] = set()
    for atom in value:
        if isinstance(atom, Instance) and atom.cls == "builtins.None":
            continue
        path = atom.cls if isinstance(atom, Instance) and isinstance(atom.cls, str) else atom.path if isinstance(atom, Outside) else ""
        kinds.add(KINDS.get(canonical(path)) or KINDS.get(path.replace("_thread", "thread")))
    return next(iter(kinds)) if len(kinds) == 1 else None


def _stem(path: str) -> str:
    return canonical(path.replace("_thread", "thread").rpartition(".")[0])


def _spelled(body: Body, operand: int) -> str:
    """The spelling of a key that is a name or constant; "" for anything else."""
    if operand == NONE:
        return ""
    place = body.places[operand]
    if isinstance(place.name, Const):
        return place.name.text
    if place.root is Root.TEMP:
        return ""
    return ".".join((str(place.name), *(str(s.value) for s in place.path if s.kind is Select.ATTR)))


def _owner(project: Project, cls: ClassNode, name: str) -> str:
    """The class of the line that stores the attribute first: the same lock for all its subclasses."""
    for ancestor in reversed(cls.mro):
        if ("attr", ancestor, name) in project.world.state:
            return ancestor.dotted
    return cls.dotted
