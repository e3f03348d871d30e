"""Claims: what a function has changed by the time that it first lets other tasks run, and what it changes only after that.

`if self._started: return; self._started = True; await ...` has claimed the start before any other task can look. The claim
may stand in a callee, up to its first suspension, or in every caller. A coroutine runs straight through to its first
suspension, so what it writes until then is done before its caller's await lets go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE
from auditor.project.accesses import Access, Accesses, Rest, State
from auditor.project.derived import derived
from auditor.project.frames import Frame
from auditor.project.graph import Node
from auditor.project.references import Binding, Item, Ref, up
from auditor.project.summaries import deepest_first
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode

if TYPE_CHECKING:
    from auditor.project.locks import Locks
    from auditor.project.project import Project

MAX_DEPTH = 4  # calls that are followed for what they change
MAX_EFFECTS = 60  # changes that one function is known for
MAX_RECEIVERS = 3  # classes of `self` that a method is asked with


class Effect(NamedTuple):
    """Operation `op` of `function` changes `state` of the object `ref`, itself or through a call that comes to the change
    `inner`; `access` is the last one, `hops` are the calls to it."""

    function: FunctionNode
    op: int
    access: Access
    ref: Ref
    rest: Rest
    inner: Effect | None = None
    hops: tuple[tuple[FunctionNode, int], ...] = ()

    @property
    def state(self) -> State:
        return self.access.state


class Claims:
    """Answers about the order of changes and suspensions, each computed once."""

    def __init__(self, project: Project, locks: Locks, accesses: Accesses) -> None:
        self.project = project
        self.locks = locks
        self.accesses = accesses
        self._points: dict[FunctionNode, dict[int, Suspends]] = {}
        self._effects: dict[FunctionNode, tuple[Effect, ...]] = {}
        self._halves: dict[FunctionNode, tuple[frozenset[int], frozenset[int]]] = {}
        self._tests: dict[FunctionNode, dict[int, tuple[Access, ...]]] = {}

    # --- suspensions ---
    def node(self, function: FunctionNode) -> Node:
        """The function with the first class that its `self` can have."""
        receivers = self.project.receivers(function)
        return receivers[0] if receivers else Node(function, function.cls)

    def points(self, function: FunctionNode) -> dict[int, Suspends]:
        """Operations at which the function may hand control away, with how sure that is."""
        found = self._points.get(function)
        if found is None:
            found = self._points[function] = {}
            nodes = self.project.receivers(function)[:MAX_RECEIVERS] or [Node(function, function.cls)]
            for node in nodes if function.header.is_async else ():
                for op in self.project.suspension.points(node):
                    value = self.locks.contention.at(node, op)
                    if value is not Suspends.NEVER:
                        found[op] = max(found.get(op, Suspends.NEVER), value)
        return found

    def after(self, function: FunctionNode, start: int, stops: frozenset[int] = frozenset()) -> frozenset[int]:
        """Operations that can run after operation `start` (NONE: from the beginning) without passing one of `stops`, which
        are included themselves, along ways without exceptions."""
        flow, blocks = self.project.flow(function), function.body.blocks
        found: set[int] = set()
        entered: set[int] = set()
        pending = [(flow.block_of(start), start + 1)] if start != NONE else [(0, 0)]
        while pending:
            number, rank = pending.pop()
            for current in range(rank, blocks[number].end):
                found.add(current)
                if current in stops:
                    break
            else:
                for kind, target in flow.successors[number]:
                    if kind is not None and target not in entered:
                        entered.add(target)
                        pending.append((target, blocks[target].start))
        return frozenset(found)

    # --- changes ---
    def effects(self, function: FunctionNode) -> tuple[Effect, ...]:
        """What a function changes, itself and through what it calls or awaits, in the order of its operations."""
        def below(current: FunctionNode) -> Iterator[FunctionNode]:
            return (frame.target.function for frame in self._followed(current))

        for current in deepest_first(function, below, self._effects.__contains__):
            self._effects[current] = self._changed(current)
        return self._effects[function]

    def _changed(self, function: FunctionNode) -> tuple[Effect, ...]:
        found = [Effect(function, a.op, a, a.ref, a.rest) for a in self.accesses.of(function) if a.how.changes]
        for frame in self._followed(function):
            target = frame.target.function
            for inner in self._effects.get(target, ()):
                outer = self._outer(inner, target, frame.binding) if len(inner.hops) < MAX_DEPTH else None
                if outer is not None:
                    hops = ((function, frame.made), *inner.hops)
                    found.append(Effect(function, frame.op, inner.access, *outer, inner, hops))
        found.sort(key=lambda e: (e.op, len(e.hops)))
        return tuple(found[:MAX_EFFECTS])

    def _followed(self, function: FunctionNode) -> Iterator[Frame]:
        """The calls and awaits whose changes are those of a function."""
        for frame in self.locks.frames.of(self.node(function)):
            target = frame.target.function
            if (
                frame.unsure
                or frame.how not in ("call", "await", "task")
                or target.name in ("__init__", "__post_init__")
            ):
                continue
            if not frame.binding and target.module is not function.module:
                continue  # it is given nothing of the caller's, and no variable that the caller's module has
            yield frame

    def early(self, effect: Effect) -> bool:
        """Whether a change may be done before the function's first suspension."""
        if effect.op not in self._sides(effect.function)[0]:
            return False
        return effect.inner is None or not self._interrupted(effect) or self.early(effect.inner)

    def late(self, effect: Effect) -> bool:
        """Whether a change may be done after a suspension of the function."""
        if effect.op in self._sides(effect.function)[1]:
            return True
        return effect.inner is not None and self._interrupted(effect) and self.late(effect.inner)

    def _interrupted(self, effect: Effect) -> bool:
        """Whether the call that makes a change may suspend on the way."""
        inner = effect.inner
        return inner is not None and effect.op in self.points(effect.function) and bool(self.points(inner.function))

    def _sides(self, function: FunctionNode) -> tuple[frozenset[int], frozenset[int]]:
        """Operations before the first suspension of a function, that one included, and operations after a suspension."""
        found = self._halves.get(function)
        if found is None:
            points = self.points(function)
            late = frozenset(op for point in points for op in self.after(function, point))
            found = self._halves[function] = self.after(function, NONE, frozenset(points)), late
        return found

    @staticmethod
    def _outer(effect: Effect, target: FunctionNode, binding: Binding) -> tuple[Ref, Rest] | None:
        """Object and selection of an effect in the frame of the caller."""
        ref = up(effect.ref, target, binding)
        if ref is None:
            return None
        rest: list[str | Item] = []
        for selected in effect.rest:
            if isinstance(selected, Item) and isinstance(selected.key, Ref):
                key = up(selected.key, target, binding)
                if key is None:
                    break
                rest.append(Item(key))
            else:
                rest.append(selected)
        return ref, tuple(rest)

    # --- tests ---
    def tested(self, function: FunctionNode) -> dict[int, tuple[Access, ...]]:
        """Branches of a function -> the accesses whose outcome they test, directly or through values made of them."""
        found = self._tests.get(function)
        if found is None:
            sources: dict[int, list[Access]] = {}
            for access in self.accesses.of(function):
                if not access.how.changes:
                    for branch in derived(function, access).branches:
                        sources.setdefault(branch, []).append(access)
            found = self._tests[function] = {branch: tuple(known) for branch, known in sources.items()}
        return found

    def claimed(self, function: FunctionNode, op: int, state: State) -> frozenset[int]:
        """Operations that claim what an operation's guards have tested: after a test on which the operation depends, they
        change what was tested, `state` itself included."""
        flow = self.project.flow(function)
        tests = self.tested(function)
        states = {state}
        for branch, _ in flow.guards(flow.block_of(op)):
            states.update(a.state for a in tests.get(branch, ()))
        return frozenset(e.op for e in self.effects(function) if e.state in states)

    def upstream(self, function: FunctionNode, state: State) -> bool:
        """Whether every caller has tested something and claimed it before it calls the function."""
        callers = [(c, op) for c, op in self.project.callers(function) if c is not function]
        return bool(callers) and all(self._claims(caller, op) for caller, op in callers)

    def _claims(self, caller: FunctionNode, op: int) -> bool:
        flow = self.project.flow(caller)
        tests = self.tested(caller)
        for branch, _ in flow.guards(flow.block_of(op)):
            states = {a.state for a in tests.get(branch, ())}
            if not states:
                continue
            points = frozenset(self.points(caller))
            before = self.after(caller, branch, points)
            for effect in self.effects(caller):
                if (
                    effect.state in states
                    and effect.op in before
                    and op in self.after(caller, effect.op, points - {op})
                ):
                    return True
        return False
