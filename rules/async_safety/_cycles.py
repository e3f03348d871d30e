"""Ways around a loop on which nothing hands control away: the cycles that hold the event loop for as long as they last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Await, Branch, Call, Catch, Edge, Enter, Next, Yield
from auditor.project.flow import Flow
from auditor.project.graph import last_name
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.types import ClassObject, Outside
from auditor.project.uses import maker

MAX_WAYS = 40  # around one loop, shortest first
DEPTH = 4  # coroutines that are looked into for what they raise before they suspend
# Of asyncio: when they raise at all, they have suspended before.
PATIENT = frozenset({
    "sleep", "get", "join", "wait", "gather", "wait_for", "to_thread", "run_in_executor", "create_task", "ensure_future", "acquire",
    "shield", "timeout", "put", "create_future",
})  # fmt: skip
# What a handler takes after the task has waited: not at once.
LATE = frozenset({"TimeoutError", "CancelledError", "IncompleteReadError"})


class Way(NamedTuple):
    """One way around a loop: its blocks, from the head on; the branches on it that may leave it, with the outcome that
    stays; `whole` where it is all of the loop, which then has no suspension at all. `failing` is the await that raises on
    it, and `catch` the handler, NONE on a way without exception."""

    head: int
    blocks: tuple[int, ...]
    tests: tuple[tuple[int, bool], ...]
    whole: bool
    failing: int = NONE
    catch: int = NONE


class Loops:
    """The loops of one function, seen from the event loop."""

    def __init__(self, project: Project, function: FunctionNode) -> None:
        self.project = project
        self.function = function
        self.body = function.body
        self.flow: Flow = project.flow(function)
        nodes = project.receivers(function)
        self.pauses = frozenset(
            op
            for op in {p for n in nodes for p in project.suspension.points(n)}
            if any(project.suspension.at(n, op) is not Suspends.NEVER for n in nodes)
        ) | {rank for rank, op in enumerate(self.body.ops) if isinstance(op, Yield)}

    def first_pause(self, block: int) -> int:
        """The first operation of a block that may hand control away, NONE if none does."""
        part = self.body.blocks[block]
        return next((r for r in range(part.start, part.end) if r in self.pauses), NONE)

    def _inner(self, head: int, loop: frozenset[int]) -> frozenset[int]:
        """Heads of loops inside of a loop in whose bodies something pauses: that such a body does not run is not taken for
        granted."""
        found: set[int] = set()
        for inner in self.flow.natural_loops:
            if inner < loop and head not in inner and any(self.first_pause(n) != NONE for n in inner):
                found.add(next(n for n in self.flow.order if n in inner))
        return frozenset(found)

    def _iterates(self, head: int) -> bool:
        part = self.body.blocks[head]
        return part.end > part.start and isinstance(self.body.ops[part.end - 1], Next)

    def heads(self) -> Iterator[tuple[int, frozenset[int]]]:
        """Loops that no iterator bounds, with their blocks."""
        for loop in self.flow.natural_loops:
            head = next(n for n in self.flow.order if n in loop)
            if not self._iterates(head):
                yield head, loop

    def steady(self, head: int, loop: frozenset[int]) -> Iterator[Way]:
        """Ways around without a suspension and without an exception: first all of them at once, then one by one."""
        inner = self._inner(head, loop)
        graph = {n: self._normal(n, loop) for n in loop if self.first_pause(n) == NONE and n not in inner}
        after = _reached(graph, head)
        before = _reached({n: [p for p in graph if n in graph[p]] for n in graph}, head)
        part = after & before
        if head not in graph or not any(head in graph[n] for n in part):
            return
        whole = not any(self.first_pause(n) != NONE for n in loop)
        yield Way(head, tuple(sorted(part)), tuple(self._leaving(part)), whole)
        for blocks in _simple_ways(graph, head, part):
            yield Way(head, blocks, tuple(self._turns(blocks, head)), False)

    def failing(self, head: int, loop: frozenset[int]) -> Iterator[Way]:
        """Ways around on which an await raises before it suspends, is caught, and is come to again."""
        entered = _tree({n: self._normal(n, loop) for n in loop if self.first_pause(n) == NONE}, head)
        for number in sorted(entered, key=self.flow.rank.__getitem__):
            pause = self.first_pause(number)
            if pause == NONE or not self._raises_first(pause, DEPTH):
                continue
            for handler in (t for kind, t in self.flow.successors[number] if kind is None and t in loop):
                catch = self._catch(handler)
                if catch == NONE:
                    continue
                back = _tree({n: self._normal(n, loop) for n in loop if self.first_pause(n) == NONE}, handler)
                if head in back and self.first_pause(handler) == NONE:
                    blocks = (*_path(entered, number), *_path(back, head)[:-1])
                    yield Way(head, blocks, tuple(self._turns(blocks, head)), False, pause, catch)
                    break

    # --- control flow ---
    def _normal(self, number: int, loop: frozenset[int]) -> list[int]:
        return [t for kind, t in self.flow.successors[number] if kind is not None and t in loop]

    def _leaving(self, part: set[int]) -> Iterator[tuple[int, bool]]:
        for number in sorted(part):
            yield from self._branch(number, part)

    def _turns(self, blocks: tuple[int, ...], head: int) -> Iterator[tuple[int, bool]]:
        following = (*blocks[1:], head)
        for number, successor in zip(blocks, following, strict=True):
            yield from self._branch(number, {successor})

    def _branch(self, number: int, inside: set[int]) -> Iterator[tuple[int, bool]]:
        block = self.body.blocks[number]
        if block.end == block.start or not isinstance(self.body.ops[block.end - 1], Branch):
            return
        sides = {kind is Edge.TRUE: target in inside for kind, target in block.edges if kind in (Edge.TRUE, Edge.FALSE)}
        if sides.get(True) != sides.get(False):
            yield block.end - 1, bool(sides.get(True))

    # --- exceptions ---
    def _catch(self, handler: int) -> int:
        """The Catch of a handler that takes what is raised at once, NONE of one that takes what is raised after a wait."""
        block = self.body.blocks[handler]
        catch = next((r for r in range(block.start, block.end) if isinstance(self.body.ops[r], Catch)), NONE)
        step = self.body.ops[catch] if catch != NONE else None
        if not isinstance(step, Catch):
            return NONE
        names = [self._class_names(catch, c) for c in step.classes]
        late = bool(names) and all(n and n <= LATE for n in names)
        return NONE if late else catch

    def _class_names(self, op: int, operand: int) -> frozenset[str]:
        value = self.project.types(self.function).get((op, operand), frozenset())
        paths = [a.path for a in value if isinstance(a, Outside)]
        paths += [a.cls for a in value if isinstance(a, ClassObject) and isinstance(a.cls, str)]
        return (
            frozenset(canonical(path).rpartition(".")[2] for path in paths) if len(paths) == len(value) else frozenset()
        )

    def _raises_first(self, op: int, depth: int) -> bool:
        return raises_first(self.project, self.function, op, depth)


def raises_first(project: Project, function: FunctionNode, op: int, depth: int = DEPTH) -> bool:
    """Whether a suspension point may raise before it has suspended: an `await` or `async with` of something that is neither
    a primitive of asyncio nor a coroutine that begins with one."""
    step = function.body.ops[op]
    if not isinstance(step, Await | Enter):
        return False
    made = maker(function, step.src)
    call = function.body.ops[made] if made != NONE else None
    if not isinstance(call, Call):
        return False  # a future or a task: it has run meanwhile
    result = project.calls(function).get(made)
    if result is None or last_name(function, call) in PATIENT and not result.targets:
        return False
    paths = [canonical(path) for path in result.externals]
    coroutines = [t.function for t in result.targets if t.function.header.is_async]
    if not coroutines:
        return bool(paths) or result.how == "unknown"
    return depth > 0 and any(_fails_early(project, f, depth - 1) for f in dict.fromkeys(coroutines))


def _fails_early(project: Project, function: FunctionNode, depth: int) -> bool:
    """Whether a coroutine comes to something that may raise without having suspended."""
    if function.header.is_generator or not function.body.blocks:
        return False
    loops = Loops(project, function)
    seen, stack = {0}, [0]
    while stack:
        number = stack.pop()
        pause = loops.first_pause(number)
        block = function.body.blocks[number]
        if pause == NONE:
            following = [target for _, target in block.edges if target >= 0 and target not in seen]
            seen.update(following)
            stack.extend(following)
        elif raises_first(project, function, pause, depth):
            return True
    return False


# --- graphs of blocks -----------------------------------------------------------------------------------------------

Graph = dict[int, list[int]]


def _reached(graph: Graph, start: int) -> set[int]:
    return set(_tree(graph, start)) & set(graph)


def _tree(graph: Graph, start: int) -> dict[int, int]:
    """Blocks that are reached -> the block before, breadth first. A block without entry in the graph is not left again."""
    came = {start: NONE}
    queue = deque([start])
    while queue:
        number = queue.popleft()
        for target in graph.get(number, ()):
            if target not in came:
                came[target] = number
                queue.append(target)
    return came


def _path(came: dict[int, int], last: int) -> list[int]:
    path = [last]
    while came[path[-1]] != NONE:
        path.append(came[path[-1]])
    return path[::-1]


def _simple_ways(graph: Graph, head: int, part: set[int]) -> Iterator[tuple[int, ...]]:
    """Ways around that come to no block twice, short ones first, at most `MAX_WAYS`."""
    queue: deque[tuple[int, ...]] = deque([(head,)])
    found = 0
    steps = 0
    while queue and found < MAX_WAYS and steps < MAX_WAYS * MAX_WAYS:
        way = queue.popleft()
        steps += 1
        for target in graph[way[-1]]:
            if target == head:
                found += 1
                yield way
            elif target in part and target not in way:
                queue.append((*way, target))
