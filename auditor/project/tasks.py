"""Two at once: whether a function can be under way twice, or beside another one, in several tasks or threads.

The evidence is where tasks and threads are started (`contexts.Spawn`): in a loop, at two places, once for each request of a
web route. A function that no start of the project leads to has no evidence, which is not the same as one task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Call
from auditor.project.contexts import Spawn
from auditor.project.graph import method_of
from auditor.project.symbols import ClassNode, FunctionNode

if TYPE_CHECKING:
    from auditor.project.locks import Locks
    from auditor.project.project import Project

MAX_CALLERS = 400  # functions that are looked at on the way to the roots
ROUTES = frozenset({
    "get", "post", "put", "patch", "delete", "route", "websocket", "websocket_route", "api_route", "middleware", "message_handler",
    "callback_query_handler", "command", "event", "on_message",
})  # fmt: skip


class Root(NamedTuple):
    """Where a task or thread begins that comes to a function: `spawn`, or the route `function` that a server starts."""

    function: FunctionNode
    spawn: Spawn | None

    @property
    def repeats(self) -> bool:
        """Whether this root alone makes several: it is started in a loop, from a star, or for each request."""
        if self.spawn is None:
            return True
        call = self.spawn.site.body.ops[self.spawn.op]
        return self.spawn.in_loop or isinstance(call, Call) and bool(call.starred)


def of_tests(path: str) -> bool:
    """Whether a file holds tests: they start one thing many times, each in a program of its own."""
    parts = path.split("/")
    return any(p in ("test", "tests") for p in parts[:-1]) or parts[-1].startswith(("test_", "conftest"))


def _related(one: ClassNode | None, other: ClassNode | None) -> bool:
    """Whether an object can be of both classes."""
    return one is None or other is None or one in other.mro or other in one.mro


class Tasks:
    """Roots of functions, each computed once."""

    def __init__(self, project: Project, locks: Locks) -> None:
        self.project = project
        self.sites = locks.sites
        self.references = locks.references
        self._roots: dict[FunctionNode, tuple[Root, ...]] = {}
        self._spawned: dict[FunctionNode, list[Spawn]] = {}
        started: set[tuple[FunctionNode, int]] = set()
        for spawn in project.contexts.spawns:
            if of_tests(spawn.site.path):
                continue
            self._spawned.setdefault(spawn.target.function, []).append(spawn)
            call = spawn.site.body.ops[spawn.op]
            for operand in call.args if isinstance(call, Call) else ():
                started.update((spawn.site, rank) for rank in self._makers(spawn.site, operand))
        self.started = frozenset(started)

    def _makers(self, function: FunctionNode, operand: int) -> list[int]:
        if operand == NONE:
            return []
        return [r for r in self.references.writers(function, operand) if isinstance(function.body.ops[r], Call)]

    def roots(self, function: FunctionNode) -> tuple[Root, ...]:
        """Starts of tasks, threads and routes that come to a function, by their place."""
        known = self._roots.get(function)
        if known is None:
            known = self._roots[function] = self._search(function)
        return known

    def _search(self, function: FunctionNode) -> tuple[Root, ...]:
        """Backwards along calls, each method with the class of its `self`: that of a sibling starts another object."""
        found: dict[Root, None] = {}
        seen = {(function, function.cls)}
        pending = [(function, function.cls)]
        while pending and len(seen) < MAX_CALLERS:
            current, receiver = pending.pop(0)
            found.update(
                (Root(current, s), None)
                for s in self._spawned.get(current, ())
                if _related(s.target.receiver, receiver)
            )
            if any(
                d.called and "." in d.name and d.name.rpartition(".")[2] in ROUTES for d in current.header.decorators
            ):
                found[Root(current, None)] = None
            for caller, op in self.sites.get(current, ()):
                above = self._above(caller, op, current, receiver)
                if (
                    above is not None
                    and above not in seen
                    and (caller, op) not in self.started
                    and not of_tests(caller.path)
                ):
                    seen.add(above)
                    pending.append(above)
        return tuple(
            sorted(
                found,
                key=lambda r: (
                    r.function.key,
                    r.spawn.site.key if r.spawn else ("", 0),
                    r.spawn.op if r.spawn else NONE,
                ),
            )
        )

    def _above(
        self, caller: FunctionNode, op: int, current: FunctionNode, receiver: ClassNode | None
    ) -> tuple[FunctionNode, ClassNode | None] | None:
        """The caller with the class of its `self`, None if this call enters the function with another class."""
        result = self.project.calls(caller)[op]
        if not any(t.function is current and _related(t.receiver, receiver) for t in result.targets):
            return None
        call = caller.body.ops[op]
        place = caller.body.places[call.callee] if isinstance(call, Call) else None
        method = method_of(caller)
        own = method is not None and place is not None and place.name == method.self_name and len(place.path) == 1
        if not own or method is None or method.cls is None or receiver is None:
            return (caller, caller.cls) if result.how == "typed" else None  # one of several callees is no evidence
        return (caller, receiver) if _related(method.cls, receiver) else None

    def twice(self, function: FunctionNode) -> tuple[Root, ...]:
        """Roots by which a function runs in two tasks or threads at once; empty without evidence."""
        roots = [r for r in self.roots(function) if r.spawn is None or r.spawn.how != "main"]
        many = next((r for r in roots if r.repeats), None)
        if many is not None:
            return (many,)
        places = {(r.spawn.site, r.spawn.op): r for r in roots if r.spawn is not None}
        return tuple(list(places.values())[:2]) if len(places) > 1 else ()

    def apart(self, one: FunctionNode, other: FunctionNode) -> tuple[Root, Root] | None:
        """Two different roots, of each function one; or one that makes several."""
        for first in self.roots(one):
            for second in self.roots(other):
                if first != second or first.repeats:
                    return first, second
        return None
