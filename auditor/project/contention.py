"""Contention: which locks of asyncio a task can ever find taken, and so which awaits really suspend.

On one loop an asyncio lock is found taken only if somebody suspends while holding it; taking one that nobody suspends with
runs straight through. Least fixpoint over coroutines and locks together: an acquisition suspends if its lock is contended, and
a lock is contended if something may suspend while it is held. A lock that is taken otherwise than by a `with` whose region is
known may be held anywhere, and counts as contended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
Item = Node | Name  # what is contended, or runs
WAITS = frozenset({"wait", "wait_for"})  # of a condition: they let go of its lock while they wait


class Contention:
    """Answers on the suspension of single operations, as `Suspension.at` but with locks looked into."""

    def __init__(self, project: Project, locks: Locks) -> None:
        self.project = project
        self.locks = locks
        self._known: dict[tuple[Node, int], Suspends] = {}  # answers with all contended locks
        self._values: dict[Item, Suspends] = {}
        self._withs: dict[FunctionNode, dict[int, list[Lock]]] = {}
        self._anywhere: set[Name] = set()  # locks that are not only taken by a `with`

    def at(self, node: Node, op: int) -> Suspends:
        """Whether an await, an asynchronous `with` or `for` at this operation may let other tasks run."""
        found = self._known.get((node, op))
        if found is None:
            found = self._known[node, op] = self._operation(node, op, self._value)
        return found

    @cached_property
    def contended(self) -> frozenset[Name]:
        """Locks of asyncio that a task can find taken."""
        return frozenset(name for name in self._regions if self._value(name) is not Suspends.NEVER)

    def _value(self, item: Item) -> Suspends:
        """Of a coroutine whether running it to its end may let other tasks run, of a lock whether it is contended. What is
        asked for is looked at with all that it comes to; what was looked at before stays as it is."""
        if item not in self._values:
            known = self._values
            found = summaries(
                [item],
                lambda i: [x for x in self._below(i) if x not in known],
                lambda i, value: self._transfer(i, lambda x: known[x] if x in known else value(x)),
                Suspends.NEVER,
                Suspends.UNKNOWN,
            )
            self._values.update(found)
        return self._values[item]

    @cached_property
    def _regions(self) -> Mapping[Name, list[tuple[Node, int]]]:
        """For each lock the operations that hand control away, if at all, while it is held; one without a region may be held
        anywhere."""
        found: dict[Name, list[tuple[Node, int]]] = {}
        for function in self.project.functions():
            for taken in self.locks.acquisitions(function):
                if taken.lock.kind.is_async:
                    found.setdefault(taken.lock[:2], [])
                    if taken.how != "with" or taken.lock.owner.endswith("()"):
                        self._anywhere.add(taken.lock[:2])
            regions = self.locks.regions(function)
            held = {op: {h.lock[:2] for h in region if h.lock.kind.is_async} for op, region in enumerate(regions) if region}
            for node in self.project.receivers(function) if any(held.values()) else ():
                for op in self.project.suspension.points(node):
                    if held.get(op) and not self._lets_go(function, op):
                        for name in sorted(held[op]):
                            found.setdefault(name, []).append((node, op))
        return found

    def _transfer(self, item: Item, value: Callable[[Item], Suspends]) -> Suspends:
        if isinstance(item, Node):
            operations = ((item, op) for op in self.project.suspension.points(item))
            found = Suspends.NEVER
            for node, op in operations:
                found = max(found, self._operation(node, op, value))
                if found is Suspends.MAY:
                    break
            return found
        if item in self._anywhere:
            return Suspends.MAY
        suspends = any(self._operation(node, op, value) is not Suspends.NEVER for node, op in self._regions[item])
        return Suspends.MAY if suspends else Suspends.NEVER

    def _below(self, item: Item) -> list[Item]:
        """The coroutines that an item runs and the locks that it takes."""
        points = [(item, op) for op in self.project.suspension.points(item)] if isinstance(item, Node) else self._regions[item]
        locks = (lock[:2] for node, op in points for lock in self._taken(node.function, op) if lock.kind.is_async)
        found: list[Item] = [n for node, op in points for n in self._awaited(node, op)]
        return [*found, *(name for name in locks if name in self._regions)]

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

    def _operation(self, node: Node, op: int, value: Callable[[Item], Suspends]) -> Suspends:
        function = node.function
        taken = self._taken(function, op)
        step = function.body.ops[op]
        if isinstance(step, Exit):
            left = self.locks.lock(function, op, step.src)
            if left is not None and left.kind.is_async:
                return Suspends.NEVER  # leaving gives it back
        if taken and all(lock.kind.is_async for lock in taken):
            waits = any(value(lock[:2]) is not Suspends.NEVER for lock in taken)
            return Suspends.MAY if waits else Suspends.NEVER
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
