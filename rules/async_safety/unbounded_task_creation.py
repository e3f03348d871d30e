"""
Tasks made faster than they end

## What it finds
A loop without end, a stream of messages or a message callback that makes a task for each turn, with nothing that slows it: no
slot acquired before the task is made, no task awaited, no test of how many there are.

## Why it matters
When the exchange or the disk is slow, tasks pile up behind it with all that they hold. Orders are decided on ticks that are
minutes old, and the process grows until it is killed, in the busiest hour of the market.

## Bad
```python
import asyncio


class Feed:
    def __init__(self, venue):
        self._venue = venue
        self._tasks: set[asyncio.Task[None]] = set()

    async def follow(self, feed):
        async for tick in feed:
            task = asyncio.create_task(self._on_tick(tick))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _on_tick(self, tick):
        await self._venue.create_order(tick)
```

## Good
Take a slot before a task is made and give it back when the task is done: then the loop waits as soon as enough are under way.

```python
import asyncio


class Feed:
    def __init__(self, venue):
        self._venue = venue
        self._slots = asyncio.Semaphore(20)
        self._tasks: set[asyncio.Task[None]] = set()

    async def follow(self, feed):
        async for tick in feed:
            await self._slots.acquire()
            task = asyncio.create_task(self._on_tick(tick))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._slots.release())

    async def _on_tick(self, tick):
        await self._venue.create_order(tick)
```

## Limits
How fast messages come and how long a task takes is not in the source: the finding is possible, and likely only where market data
of another party meets requests or orders. Loops with a pause, with a task for each connection, or whose task is guarded by a test
of state are left alone, and so are tasks that never suspend: missed alarms. A semaphore inside of the task limits how many work at
a time, not how many there are: told as a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, OPERATORS, Await, Branch, Call, Compare, Enter, Op, Root, Select, Unary
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.callables import Target
from auditor.project.flow import Flow, reads, writes
from auditor.project.graph import Node, last_name
from auditor.project.guards import once
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.uses import maker, uses_of
from auditor.rule import Rule

from ._sources import Again, Source, Sources, io_below, points_of, source_of
from ._stakes import Stake, order_below, steps_of

MAKES = frozenset({"create_task", "ensure_future", "start_soon"})
WAITS = frozenset({"wait", "gather", "wait_for", "as_completed", "shield", "join", "acquire", "sleep", "drain"})
ENDS = frozenset({"cancel", "done", "locked", "qsize", "full"})
ACCEPTS = re.compile(r"_*(accept|listen|connect|new_connection|on_connect\w*|handle_client|client_connected)")
COROUTINES = frozenset(
    {"coro", "coroutine", "c", "job", "work", "awaitable", "aw", "task", "future"}
)  # what a wrapper is given
ITEMS = ("len", "any", "all", "sum")
GROUPS = frozenset(
    {"asyncio.TaskGroup", "asyncio.taskgroups.TaskGroup", "anyio.create_task_group", "aiotools.TaskGroup"}
)
LOOKED_FOR = "no slot is acquired before it, no task is awaited, no number of tasks is tested"


class Made(NamedTuple):
    """Operation `op` of `function` makes a task that runs `target`, itself or through a function of the project."""

    function: FunctionNode
    op: int
    target: FunctionNode


class UnboundedTaskCreation(Rule):
    id = "unbounded-task-creation"
    severity = Severity.MEDIUM
    confidence = Confidence.POSSIBLE
    since = "0.1"
    effort = "M"
    cwe = (770,)
    models = ("growth",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        sources = Sources(project)
        found: dict[tuple[FunctionNode, Source], list[tuple[Made, Again]]] = {}
        for made in _made(project):
            again = _unbounded(sources, made)
            if again is not None:
                found.setdefault((made.function, again.source), []).append((made, again))
        for group in found.values():
            yield _finding(project, group)


def _unbounded(sources: Sources, made: Made) -> Again | None:
    """What makes such a task again and again, if nothing bounds their number; else None."""
    project, function = sources.project, made.function
    if of_tests(function.path) or ACCEPTS.match(function.name):
        return None
    inside = source_of(project, function, made.op)
    if inside is not None:
        source, (head, blocks) = inside
        again: Again | None = Again(source, ())
    else:
        again = _called_back(sources, made)
        head, blocks = 0, frozenset(range(len(function.body.blocks)))
    if again is None or _slowed(project, made, head, blocks) or not _lasts(project, made.target):
        return None
    return again


def _made(project: Project) -> Iterator[Made]:
    """All places where a task of the project is made, by path and place."""
    wrappers: dict[FunctionNode, str] = {}
    found: dict[tuple[FunctionNode, int], Made] = {}
    for function in project.functions():
        for op, result in project.calls(function).items():
            call = function.body.ops[op]
            if not isinstance(call, Call) or last_name(function, call) not in MAKES or result.targets:
                continue
            for operand in call.args[:1]:
                given = _parameter(function, operand)
                if given:
                    wrappers[function] = given
                for target in _coroutines(project, function, operand, result.handed) if not given else ():
                    found[function, op] = Made(function, op, target)
    for wrapper, name in wrappers.items():
        names = [p.name for p in wrapper.header.params if p.kind in ("positional", "normal")]
        position = names.index(name) - (1 if wrapper.self_name else 0) if name in names else NONE
        for caller, op in project.callers(wrapper) if position >= 0 else ():
            call = caller.body.ops[op]
            if isinstance(call, Call) and position < len(call.args):
                for target in _coroutines(project, caller, call.args[position], ()):
                    found[caller, op] = Made(caller, op, target)
    yield from sorted(found.values(), key=lambda m: (m.function.key, m.op))


def _parameter(function: FunctionNode, operand: int) -> str:
    """The parameter that a task is made of, itself or wrapped in another coroutine; "" if it is none."""
    params = {p.name for p in function.header.params} - {function.self_name}
    made = maker(function, operand)
    call = function.body.ops[made] if made != NONE else None
    for candidate in (operand, *(call.args[:1] if isinstance(call, Call) and not call.starred else ())):
        place = function.body.places[candidate]
        if place.root is Root.LOCAL and not place.path and place.name in params and candidate == operand:
            return str(place.name)
        if candidate != operand and place.root is Root.LOCAL and not place.path and place.name in COROUTINES & params:
            return str(place.name)
    return ""


def _coroutines(
    project: Project, function: FunctionNode, operand: int, handed: tuple[Target, ...]
) -> list[FunctionNode]:
    made = maker(function, operand)
    result = project.calls(function).get(made) if made != NONE else None
    targets = result.targets if result is not None else handed
    return [t.function for t in targets if t.function.header.is_async and not t.function.header.is_generator]


def _called_back(sources: Sources, made: Made) -> Again | None:
    """The function runs for each message, without a loop of its own."""
    project, function = sources.project, made.function
    again = sources.again(function)
    if again is None or again.source.how not in ("callback", "stream") or len(again.calls) > 1:
        return None
    body, flow = function.body, project.flow(function)
    region = body.blocks[flow.block_of(made.op)].region
    while region != NONE:
        if body.regions[region].kind == "except":
            return None  # for a failure, not for a message
        region = body.regions[region].parent
    if (
        once(project, function, made.op)
        or any(once(project, *site) for site in again.calls)
        or _in_a_slot(project, made)
    ):
        return None
    return None if flow.loops(flow.block_of(made.op)) else again  # of a batch: one message


def _in_a_slot(project: Project, made: Made) -> bool:
    """Whether the handle is put into an attribute, which holds one: the next one takes its place."""
    body = made.function.body
    for use in uses_of(made.function, project.flow(made.function), made.op):
        path = body.places[use.operand].path
        if use.how == "kept" and len(path) > 0 and path[-1].kind is Select.ATTR:
            return True
    return False


# --- what slows the creator -----------------------------------------------------------------------------------------


def _slowed(project: Project, made: Made, head: int, blocks: frozenset[int]) -> bool:
    """Whether every way from one task to the next waits for slots or tasks, or tests how many there are. In a function without
    loop there is one way: through all of it."""
    function = made.function
    flow = project.flow(function)
    if any(_asks(function, r) for n in blocks for r in _operations(function, n)):
        return True
    slow = {n for n in blocks if any(_slows(project, made, r) for r in _operations(function, n))}
    here = flow.block_of(made.op)
    if here in slow or any(_tests_state(project, function, branch) for branch in _guards(project, made, blocks)):
        return True
    if head == 0 and not flow.loops(here):
        return bool(slow & (flow.before(here) | flow.reachable([here])))
    return head not in _unslowed(flow, here, blocks, slow) or here not in _unslowed(flow, head, blocks, slow)


def _unslowed(flow: Flow, start: int, blocks: frozenset[int], slow: set[int]) -> set[int]:
    """Blocks that one reaches without an exception and without being slowed."""
    reached = {start} - slow
    pending = list(reached)
    while pending:
        for kind, target in flow.successors[pending.pop()]:
            if kind is not None and target in blocks and target not in slow and target not in reached:
                reached.add(target)
                pending.append(target)
    return reached


def _operations(function: FunctionNode, block: int) -> range:
    return range(function.body.blocks[block].start, function.body.blocks[block].end)


def _asks(function: FunctionNode, rank: int) -> bool:
    """Whether the loop asks for the task before, or cancels it, on whatever way."""
    step = function.body.ops[rank]
    return isinstance(step, Call) and last_name(function, step) in ENDS


def _slows(project: Project, made: Made, rank: int) -> bool:
    function = made.function
    step = function.body.ops[rank]
    if isinstance(step, Call):
        return ACCEPTS.match(last_name(function, step)) is not None
    if isinstance(step, Await):
        return _waits(project, function, step, made)
    return isinstance(step, Enter) and bool(step.is_async) and _holds_tasks(project, function, rank, step)


def _waits(project: Project, function: FunctionNode, step: Await, made: Made) -> bool:
    source = maker(function, step.src)
    call = function.body.ops[source] if source != NONE else None
    if not isinstance(call, Call):
        return source in (NONE, made.op)  # a name: a task or a future
    if source == made.op:
        return True
    if last_name(function, call) in WAITS and last_name(function, call) != "wait_for":
        return True
    if last_name(function, call) == "wait_for" and call.args:
        inner = maker(function, call.args[0])
        waited = function.body.ops[inner] if inner != NONE else None
        return not isinstance(waited, Call) or inner == made.op or last_name(function, waited) in WAITS
    return any(_limits(project, t.function) for t in project.calls(function)[source].targets)


def _limits(project: Project, function: FunctionNode) -> bool:
    """Whether a coroutine of the project waits for a slot, a pause or tasks."""
    for op in project.calls(function):
        call = function.body.ops[op]
        if (
            isinstance(call, Call)
            and last_name(function, call) in WAITS - {"join"}
            and not project.calls(function)[op].targets
        ):
            return True
    return any(isinstance(o, Await) and maker(function, o.src) == NONE for o in function.body.ops)


def _holds_tasks(project: Project, function: FunctionNode, rank: int, step: Enter) -> bool:
    """A group whose block ends in the iteration, or a lock or semaphore around it."""
    value = project.types(function).get((rank, step.src), frozenset())
    names = {canonical(str(getattr(a, "cls", getattr(a, "path", "")))) for a in value}
    return bool(names & GROUPS) or any(
        n.rpartition(".")[2] in ("Semaphore", "BoundedSemaphore", "Lock", "CapacityLimiter") for n in names
    )


def _guards(project: Project, made: Made, blocks: frozenset[int]) -> list[int]:
    flow = project.flow(made.function)
    return [op for op, _ in flow.guards(flow.block_of(made.op)) if flow.block_of(op) in blocks]


def _tests_state(project: Project, function: FunctionNode, branch: int) -> bool:
    """Whether a test looks at what is under way: a number of items, membership, a task, an attribute of the object."""
    step = function.body.ops[branch]
    if not isinstance(step, Branch):
        return False
    pending, seen = [step.test], set()
    while pending:
        operand = pending.pop()
        if operand in seen or operand == NONE:
            continue
        seen.add(operand)
        place = function.body.places[operand]
        if (
            place.path
            and place.name == function.self_name
            and function.self_name
            and any(s.kind is Select.ATTR for s in place.path)
        ):
            return True
        for op in function.body.ops:
            if operand not in writes(op):
                continue
            if isinstance(op, Call) and last_name(function, op) in (*ITEMS, *ENDS):
                return True
            if isinstance(op, Compare) and OPERATORS[op.operator] in ("in", "not in"):
                return True
            pending.extend(_inside(op))
    return False


def _inside(op: Op) -> tuple[int, ...]:
    return reads(op) if isinstance(op, Compare | Unary) else ()


# --- what is made ---------------------------------------------------------------------------------------------------


def _lasts(project: Project, target: FunctionNode) -> bool:
    """Whether a task waits for something, so that it may still be there when the next one is made."""
    return any(project.suspension.of(node) is not Suspends.NEVER for node in project.receivers(target))


def _limited_inside(project: Project, target: FunctionNode) -> int:
    """Where a task waits for a slot of its own, NONE if it does not."""
    for node in project.receivers(target)[:1]:
        for op in project.suspension.points(node):
            step = target.body.ops[op]
            if isinstance(step, Enter):
                value = project.types(target).get((op, step.src), frozenset())
                names = {str(getattr(a, "cls", getattr(a, "path", ""))).rpartition(".")[2] for a in value}
                if names & {"Semaphore", "BoundedSemaphore", "CapacityLimiter"}:
                    return op
            elif isinstance(step, Await):
                made = maker(target, step.src)
                call = target.body.ops[made] if made != NONE else None
                if isinstance(call, Call) and last_name(target, call) == "acquire":
                    return op
    return NONE


def _finding(project: Project, group: list[tuple[Made, Again]]) -> Finding:
    """One finding for all tasks that one source makes in one function, where the gravest of them is made."""
    chains = {made: (order_below(project, made.target), io_below(project, points_of(project, made.target))) for made, _ in group}
    made, again = min(group, key=lambda item: (chains[item[0]][0] is None, not chains[item[0]][1], item[0].op))
    order, chain = chains[made]
    function, target = made.function, made.target
    line, column, end_line, end_column = function.at(made.op)
    limited = _limited_inside(project, target)
    sure = again.source.market and again.source.how == "stream" and (order is not None or bool(chain))
    return Finding(
        rule=UnboundedTaskCreation.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{_turn(again.source)} makes a task of {target.name}(), and nothing bounds how many there are",
        symbol=function.symbol,
        severity=Severity.INFO if limited != NONE else Severity.MEDIUM,
        confidence=Confidence.LIKELY if sure and limited == NONE else Confidence.POSSIBLE,
        proof=(
            *_steps(project, made, again, order, [] if order is not None else chain, limited),
            *(project.step(function, m.op, f"and one of {m.target.name}() here", m.target.name) for m, _ in group if m != made),
        ),
        fix=Fix("display", "Acquire a semaphore before the task is made, and release it when the task is done"),
    )  # fmt: skip


def _turn(source: Source) -> str:
    word = {"stream": "Each message", "callback": "Each call"}.get(source.how, "Each turn")
    return f"{word} of {source.function.name}()"


def _steps(
    project: Project, made: Made, again: Again, order: Stake | None, chain: list[tuple[Node, int]], limited: int
) -> Iterator[Step]:
    function, target = made.function, made.target
    yield from again.steps(project)
    yield project.step(
        function, made.op, f"{function.name}() makes a task of {target.name}() in each turn", function.name
    )
    if order is not None:
        yield from steps_of(project, order)
    for rank, (node, op) in enumerate(chain):
        last = rank + 1 == len(chain)
        yield project.step(
            node.function,
            op,
            f"{node.function.name}() {'waits for the other side' if last else 'awaits what waits'}",
            node.function.name,
        )
    if limited != NONE:
        yield project.step(
            target, limited, "the slot is taken inside of the task: the tasks that wait for one pile up", "slot"
        )
    yield project.step(function, made.op, f"in the turn {LOOKED_FOR}", "bound")
