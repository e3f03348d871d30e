"""Contention: which locks of asyncio a task can ever find taken, and so which awaits really suspend.

On one loop an asyncio lock is found taken only if somebody suspends while holding it; taking one that nobody suspends with
runs straight through. Least fixpoint over the locks: an acquisition counts as a suspension once its lock is contended. A lock
that is taken otherwise than by a `with` whose region is known may be held anywhere, and counts as contended.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from auditor.facts.model import Await, Call, Enter, Exit
from auditor.project.graph import Node, last_name
from auditor.project.lock_kinds import kind_of
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.types import BOTTOM

if TYPE_CHECKING:
    from auditor.project.locks import Locks
    from auditor.project.project import Project

Name = tuple[str, str]  # owner and name of a lock
WAITS = frozenset({"wait", "wait_for"})  # of a condition: they let go of its lock while they wait


class Contention:
    """Answers on the suspension of single operations, as `Suspension.at` but with locks looked into."""

    def __init__(self, project: Project, locks: Locks) -> None:
        self.project = project
        self.locks = locks
        self._known: dict[tuple[Node, int], Suspends] = {}  # answers with all contended locks

    def at(self, node: Node, op: int) -> Suspends:
        """Whether an await, an asynchronous `with` or `for` at this operation may let other tasks run."""
        found = self._known.get((node, op))
        if found is None:
            found = self._known[node, op] = self._at(node, op, self.contended, set())
        return found

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
            for node, op, names in regions:
                if not names <= found and self._at(node, op, known, set()) is not Suspends.NEVER:
                    found |= names
            changed = len(found) > len(known)
        return frozenset(found)

    def _at(self, node: Node, op: int, contended: frozenset[Name], seen: set[tuple[Node, int]]) -> Suspends:
        if (node, op) in self._known:
            return self._known[node, op]
        if (node, op) in seen:
            return Suspends.NEVER
        seen.add((node, op))
        function = node.function
        taken = [a.lock for a in self.locks.acquisitions(function) if a.op == op and a.how == "with"]
        step = function.body.ops[op]
        if isinstance(step, Exit):
            left = self.locks.lock(function, op, step.src)
            if left is not None and left.kind.is_async:
                return Suspends.NEVER  # leaving gives it back
        if taken and all(lock.kind.is_async for lock in taken):
            return Suspends.MAY if any(lock[:2] in contended for lock in taken) else Suspends.NEVER
        if isinstance(step, Enter | Exit) and self._kind(function, op, step.src):
            return Suspends.UNKNOWN if isinstance(step, Enter) else Suspends.NEVER  # a lock, and nobody knows which
        inner = [
            f.target
            for f in self.locks.frames.of(node)
            if f.op == op and f.how in ("await", "enter", "exit", "iterate")
        ]
        coroutines = [n for n in inner if n.function.header.is_async]
        if not coroutines or self.project.suspension.at(node, op) is Suspends.NEVER:
            return self.project.suspension.at(node, op)
        found = Suspends.NEVER
        for inside, at in ((n, at) for n in coroutines for at in self.project.suspension.points(n)):
            found = max(found, self._at(inside, at, contended, seen))
            if found is Suspends.MAY:
                break
        return found

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
