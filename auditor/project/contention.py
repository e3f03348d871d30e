"""Contention: which locks of asyncio a task can ever find taken, and so which awaits really suspend.

On one loop an asyncio lock is found taken only if somebody suspends while holding it; taking one that nobody suspends with
runs straight through. Least fixpoint over the locks: an acquisition counts as a suspension once its lock is contended. A lock
that is taken otherwise than by a `with` whose region is known may be held anywhere, and counts as contended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from auditor.facts.model import Await, Call, Enter, Exit
from auditor.project.graph import Node, last_name
from auditor.project.lock_kinds import kind_of
from auditor.project.summaries import summaries
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.types import BOTTOM

if TYPE_CHECKING:
    from auditor.project.locks import Lock, Locks
    from auditor.project.project import Project

Name = tuple[str, str]  # owner and name of a lock
WAITS = frozenset({"wait", "wait_for"})  # of a condition: they let go of its lock while they wait


class Contention:
    """Answers on the suspension of single operations, as `Suspension.at` but with locks looked into."""

    def __init__(self, project: Project, locks: Locks) -> None:
        self.project = project
        self.locks = locks
        self._known: dict[tuple[Node, int], Suspends] = {}  # answers with all contended locks
        self._withs: dict[FunctionNode, dict[int, list[Lock]]] = {}

    def at(self, node: Node, op: int) -> Suspends:
        """Whether an await, an asynchronous `with` or `for` at this operation may let other tasks run."""
        found = self._known.get((node, op))
        if found is None:
            found = self._known[node, op] = self._operation(node, op, self.contended, self._running)
        return found

    @cached_property
    def _values(self) -> Mapping[Node, Suspends]:
        """Of every coroutine, with all contended locks."""
        functions = (f for f in self.project.functions() if f.header.is_async)
        return self._summaries([n for f in functions for n in self.project.receivers(f)], self.contended)

    def _running(self, node: Node) -> Suspends:
        plain = node._replace(given=())
        return self._values.get(node, self._values.get(plain, Suspends.UNKNOWN))

    def _summaries(self, roots: Iterable[Node], contended: frozenset[Name]) -> Mapping[Node, Suspends]:
        """Whether running a coroutine to its end may let other tasks run, for all that the roots come to."""

        def transfer(node: Node, value: Callable[[Node], Suspends]) -> Suspends:
            found = Suspends.NEVER
            for op in self.project.suspension.points(node):
                found = max(found, self._operation(node, op, contended, value))
                if found is Suspends.MAY:
                    break
            return found

        return summaries(roots, self._below, transfer, Suspends.NEVER, Suspends.UNKNOWN)

    @cached_property
    def contended(self) -> frozenset[Name]:
        """Locks of asyncio that a task can find taken."""
        regions: list[tuple[Node, int, frozenset[Name]]] = []
        found: set[Name] = set()
        for function in self.project.functions():
            for taken in self.locks.acquisitions(function):
                if taken.lock.kind.is_async and (taken.how != "with" or taken.lock.owner.endswith("()")):
                    found.add(taken.lock[:2])
            for op, region in enumerate(self.locks.regions(function)):
                names = frozenset(h.lock[:2] for h in region if h.lock.kind.is_async)
                if names:
                    points = (
                        n for n in self.project.receivers(function) if op in set(self.project.suspension.points(n))
                    )
                    regions.extend((node, op, names) for node in points if not self._lets_go(function, op))
        changed = True
        while changed:
            known = frozenset(found)
            open_ = ((node, op) for node, op, names in regions if not names <= known)
            values = self._summaries(dict.fromkeys(n for node, op in open_ for n in self._awaited(node, op)), known)
            for node, op, names in regions:
                if not names <= found and self._operation(node, op, known, values.__getitem__) is not Suspends.NEVER:
                    found |= names
            changed = len(found) > len(known)
        return frozenset(found)

    def _below(self, node: Node) -> list[Node]:
        return [n for op in self.project.suspension.points(node) for n in self._awaited(node, op)]

    def _awaited(self, node: Node, op: int) -> list[Node]:
        """Coroutines of the project that an operation runs to their end."""
        hows = ("await", "enter", "exit", "iterate")
        inner = (f.target for f in self.locks.frames.at(node, op) if f.how in hows)
        return [n for n in inner if n.function.header.is_async]

    def _taken(self, function: FunctionNode, op: int) -> list[Lock]:
        """The locks that a `with` takes."""
        known = self._withs.get(function)
        if known is None:
            known = self._withs[function] = {}
            for taken in self.locks.acquisitions(function):
                if taken.how == "with":
                    known.setdefault(taken.op, []).append(taken.lock)
        return known.get(op, [])

    def _operation(
        self, node: Node, op: int, contended: frozenset[Name], value: Callable[[Node], Suspends]
    ) -> Suspends:
        function = node.function
        taken = self._taken(function, op)
        step = function.body.ops[op]
        if isinstance(step, Exit):
            left = self.locks.lock(function, op, step.src)
            if left is not None and left.kind.is_async:
                return Suspends.NEVER  # leaving gives it back
        if taken and all(lock.kind.is_async for lock in taken):
            return Suspends.MAY if any(lock[:2] in contended for lock in taken) else Suspends.NEVER
        if isinstance(step, Enter | Exit) and self._kind(function, op, step.src):
            return Suspends.UNKNOWN if isinstance(step, Enter) else Suspends.NEVER  # a lock, and nobody knows which
        coroutines = self._awaited(node, op)
        if not coroutines or self.project.suspension.at(node, op) is Suspends.NEVER:
            return self.project.suspension.at(node, op)
        return max(value(n) for n in coroutines)

    def _kind(self, function: FunctionNode, op: int, operand: int) -> bool:
        """Whether a manager can be a lock of asyncio."""
        kinds = (kind_of(frozenset((atom,))) for atom in self.project.types(function).get((op, operand), BOTTOM))
        return any(kind is not None and kind.is_async for kind in kinds)

    def _lets_go(self, function: FunctionNode, op: int) -> bool:
        """`await condition.wait()`: its lock is free meanwhile."""
        step = function.body.ops[op]
        if not isinstance(step, Await):
            return False
        for rank in self.locks.references.writers(function, step.src):
            call = function.body.ops[rank]
            result = self.project.calls(function).get(rank)
            if isinstance(call, Call) and result is not None and last_name(function, call) in WAITS:
                return any(".Condition." in path for path in result.externals)
        return False
