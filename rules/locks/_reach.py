"""Which acquisitions are reached while a lock is held: a search along frames with the lock's reference."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from auditor.project.frames import Frame
from auditor.project.graph import Node
from auditor.project.lock_kinds import Kind
from auditor.project.locks import Held
from auditor.project.project import Project
from auditor.project.references import Ref
from auditor.project.symbols import ClassNode, FunctionNode

MAX_DEPTH = 8  # calls between the region and the second acquisition
MAX_NODES = 3000  # functions that one region is followed into


class Hop(NamedTuple):
    """Operation `op` of `function` runs `target` in the way `how`, or takes the lock that is `ref` there (target "")."""

    function: FunctionNode
    op: int
    target: str
    how: str
    ref: Ref | None


class Taking(NamedTuple):
    """While `held` is held, the last hop takes the same lock. `unsure`: another callee is possible on the way; `receiver` is
    the class of `self` that the path was followed with."""

    held: Held
    hops: tuple[Hop, ...]
    unsure: bool
    receiver: ClassNode | None = None

    @property
    def rank(self) -> tuple[object, ...]:
        return (
            self.unsure,
            len(self.hops),
            self.receiver.key if self.receiver is not None else ("", 0),
            self.hops[0].op,
            self.hops[-1].function.key,
            self.hops[-1].op,
        )


def blocking(project: Project, held: Held) -> bool:
    """Whether a second acquisition by the same task waits for ever."""
    kind = held.lock.kind
    if kind.reentrant or held.lock[:2] in project.locks.signals:
        return False
    if kind in (Kind.THREAD_SEMAPHORE, Kind.ASYNC_SEMAPHORE):
        limits = {m.limit for m in project.locks.made if m.lock is not None and m.lock[:2] == held.lock[:2]}
        return limits == {1}
    return True


def retakings(project: Project, function: FunctionNode) -> Iterator[Taking]:
    """Paths of a function on which it takes a lock that it holds."""
    locks = project.locks
    regions = locks.regions(function)
    if not any(regions):
        return
    taken = {a.op: a for a in locks.acquisitions(function)}
    for rank, region in enumerate(regions):
        again = taken.get(rank)
        if again is None or again.gives_up or again.how == "manager":
            continue
        for held in sorted(region, key=lambda h: h.op):
            if held.ref is not None and held.ref == again.ref and blocking(project, held):
                yield Taking(held, (Hop(function, rank, "", "", again.ref),), False)
    for node in project.receivers(function):
        for frame in locks.frames.of(node):
            for held in sorted(regions[frame.op], key=lambda h: h.op):
                if held.ref is None or not blocking(project, held) or held.op == frame.op:
                    continue
                found = _search(project, node, frame, held.ref)
                if found is not None:
                    yield Taking(held, *found, node.receiver)


def _search(project: Project, node: Node, first: Frame, ref: Ref) -> tuple[tuple[Hop, ...], bool] | None:
    """The shortest chain from a frame to an acquisition of what `ref` means."""
    locks = project.locks
    queue: deque[tuple[Node, Ref, tuple[Hop, ...], bool]] = deque()
    seen: set[tuple[Node, Ref]] = set()

    def enter(current: Node, frame: Frame, here: Ref, hops: tuple[Hop, ...], unsure: bool) -> None:
        hop = Hop(current.function, frame.op, frame.target.function.name, frame.how, here)
        for below in locks.frames.down(current, frame, here):
            state = (frame.target, below)
            if state not in seen:
                seen.add(state)
                queue.append((frame.target, below, (*hops, hop), unsure or frame.unsure))

    enter(node, first, ref, (), False)
    while queue and len(seen) < MAX_NODES:
        current, here, hops, unsure = queue.popleft()
        function = current.function
        if here in locks.given_back(function):
            continue  # it gives the lock back before it takes it again, or around what it calls
        for taken in locks.acquisitions(function):
            if (
                taken.ref == here
                and not taken.gives_up
                and taken.how != "manager"
                and locks.frames.live(current, taken.op)
            ):
                return (*hops, Hop(function, taken.op, "", "", here)), unsure
        if len(hops) < MAX_DEPTH:
            for frame in locks.frames.of(current):
                enter(current, frame, here, hops, unsure)
    return None
