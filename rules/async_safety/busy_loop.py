"""
Loop that never gives way

## What it finds
A loop of code on the event loop with a way around it on which no `await` suspends, while nothing on that way changes what its
tests read: a wait for a flag without a pause, a `continue` before the pause of a polling loop, an error path back to the top.

## Why it matters
Only other tasks could end the loop, and none of them runs any more: orders, cancels, timeouts and Ctrl-C stand still until the
process is killed. On an error path the loop sends its requests as fast as the exchange refuses them.

## Bad
```python
import asyncio


class Tracker:
    def __init__(self):
        self._status: dict[str, str] = {}

    async def wait_for(self, order):
        while self._status[order] != "filled":
            if self._status[order] == "partial":
                continue
            await asyncio.sleep(0.2)
```

## Good
Wait for an `asyncio.Event` that whoever changes the state sets; or pause on every way around the loop, best at its head.

```python
import asyncio


class Tracker:
    def __init__(self):
        self._filled: dict[str, asyncio.Event] = {}

    async def wait_for(self, order):
        await self._filled[order].wait()
```

## Limits
An await whose callee is not known counts as a pause, and a call that is not known as a change of everything: missed alarms. So
is a wait for the time to pass. State that a thread changes ends such a loop at some time: then the finding is only likely. That
the callee of an error path raises before it suspends is possible and not proven. A plain pause between two looks at the state is
told as a note: an event would wake the task at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Await, Branch, Call, Edge, Enter, Iterate, Next, Return, Root, Select
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.chains import Reach
from auditor.project.contexts import Context
from auditor.project.effects import NOTHING
from auditor.project.flow import writes
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import BOTTOM, Instance
from auditor.rule import Rule

from ._cycles import Loops, Way
from ._frozen import Held, held

SHOWN = 2  # functions that would change the state
NAMES = 3  # of the state, in a message
BUILDS = frozenset({"__init__", "__new__", "__post_init__", "__aenter__", "__enter__"})


class Busy(NamedTuple):
    """A way around a loop that holds the event loop. `kind`: frozen (all of the loop), branch, error or poll; `held` is
    what its tests rest on; `op` is where it is reported."""

    kind: str
    op: int
    way: Way
    held: Held


class BusyLoop(Rule):
    id = "busy-loop"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "S"
    cwe = (400, 834)
    models = ("blocking",)
    counterparts = {"ruff": {"ASYNC110": "super", "ASYNC115": "near", "ASYNC116": "near"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        found: list[tuple[FunctionNode, Busy]] = []
        for function in project.functions():
            if _turns(function) and _on_loop(project, function):
                found.extend((function, busy) for busy in _busy(project, function))
        writers = _writers(project, {n for _, busy in found for n in busy.held.attributes | busy.held.variables})
        ways = _ways_in(project, [f for f, _ in found if not f.header.is_async])
        for function, busy in found:
            if function.header.is_async or function in ways:
                yield _finding(project, function, busy, writers, ways.get(function, ()))


def _turns(function: FunctionNode) -> bool:
    return function.header.kind == "def" and any(kind is Edge.LOOP for b in function.body.blocks for kind, _ in b.edges)


def _on_loop(project: Project, function: FunctionNode) -> bool:
    if function.header.is_async:
        return True
    return not function.header.is_generator and project.contexts.of(function) == {Context.LOOP}


# --- what holds the loop --------------------------------------------------------------------------------------------


def _busy(project: Project, function: FunctionNode) -> Iterator[Busy]:
    loops = Loops(project, function)
    for head, loop in loops.heads():
        busy = _steady(project, loops, head, loop)
        if busy is None and function.header.is_async:
            busy = _failing(project, loops, head, loop) or _polls(project, loops, head, loop)
        if busy is not None:
            yield busy


def _operations(function: FunctionNode, blocks: tuple[int, ...] | frozenset[int]) -> list[int]:
    return [r for n in sorted(blocks) for r in range(function.body.blocks[n].start, function.body.blocks[n].end)]


def _blocks(project: Project, function: FunctionNode, ops: list[int]) -> bool:
    """Whether something on the way blocks by itself, which is another finding, with the same mend."""
    return any(project.role(function, op, "blocking") is not None for op in ops)


def _steady(project: Project, loops: Loops, head: int, loop: frozenset[int]) -> Busy | None:
    function = loops.function
    for way in loops.steady(head, loop):
        ops = _operations(function, way.blocks)
        if _blocks(project, function, ops):
            continue
        if not way.tests and (not function.header.is_async or _may_raise_out(loops, way, ops, loop)):
            continue
        state = held(project, function, ops, (op for op, _ in way.tests))
        if state is None or way.tests and not (state.attributes or state.variables) and not function.header.is_async:
            continue
        if way.whole or not _pausing(loops, loop):
            return Busy("frozen", _first(function, head, way), way, state)
        if function.header.is_async:
            aside = [op for op, _ in way.tests if op != _end(function, head)]
            anchor = aside[-1] if aside else _first(function, head, way)
            return Busy("branch", anchor, way, held(project, function, ops, (anchor,)) or state)
    return None


def _pausing(loops: Loops, loop: frozenset[int]) -> bool:
    return any(loops.first_pause(n) != NONE for n in loop)


def _end(function: FunctionNode, block: int) -> int:
    part = function.body.blocks[block]
    return part.end - 1 if part.end > part.start else NONE


def _first(function: FunctionNode, head: int, way: Way) -> int:
    """Where a loop is shown: its test, else what it does first."""
    last = _end(function, head)
    if last != NONE and isinstance(function.body.ops[last], Branch):
        return last
    ops = _operations(function, way.blocks)
    return way.tests[0][0] if way.tests else ops[0] if ops else last


def _may_raise_out(loops: Loops, way: Way, ops: list[int], loop: frozenset[int]) -> bool:
    """Whether an exception may be meant to end a loop that has no test: something is called, or nothing is there at all."""
    function = loops.function
    leaves = any(kind is None and t not in loop for n in way.blocks for kind, t in loops.flow.successors[n])
    opaque = any(isinstance(function.body.ops[op], Call) and _unsure(loops, op) for op in ops)
    return not ops or leaves or opaque


def _unsure(loops: Loops, op: int) -> bool:
    return loops.project.changes.call(loops.function, op).anything


def _failing(project: Project, loops: Loops, head: int, loop: frozenset[int]) -> Busy | None:
    function = loops.function
    for way in loops.failing(head, loop):
        ops = [r for r in _operations(function, way.blocks) if not _after_failure(function, way, r)]
        if _blocks(project, function, ops) or any(isinstance(function.body.ops[r], Return) for r in ops):
            continue
        state = held(project, function, ops, (op for op, _ in way.tests))
        if state is not None:
            return Busy("error", way.catch, way, state)
    return None


def _after_failure(function: FunctionNode, way: Way, rank: int) -> bool:
    """Whether an operation stands behind the one that raises, in its block."""
    block = next(b for n in way.blocks if (b := function.body.blocks[n]).start <= way.failing < b.end)
    return way.failing < rank < block.end


def _polls(project: Project, loops: Loops, head: int, loop: frozenset[int]) -> Busy | None:
    """A loop that does nothing but sleep until its test fails."""
    function, ops = loops.function, _operations(loops.function, loop)
    awaits = [r for r in ops if isinstance(function.body.ops[r], Await)]
    if len(awaits) != 1 or any(isinstance(function.body.ops[r], Enter | Iterate | Next) for r in ops):
        return None
    slept = [r for r in ops if _is_sleep(project, function, r)]
    tests = [(r, True) for r in ops if isinstance(function.body.ops[r], Branch)]
    if len(slept) != 1 or not tests or _calls_besides(project, function, ops, slept[0]):
        return None
    way = Way(head, tuple(sorted(loop)), tuple(tests), False)
    state = held(project, function, ops, (r for r in ops if isinstance(function.body.ops[r], Branch)))
    return (
        Busy("poll", _first(function, head, way), way, state)
        if state is not None and (state.attributes or state.variables)
        else None
    )


def _is_sleep(project: Project, function: FunctionNode, op: int) -> bool:
    result = project.calls(function).get(op)
    return result is not None and any(
        canonical(path) in ("asyncio.sleep", "asyncio.tasks.sleep") for path in result.externals
    )


def _calls_besides(project: Project, function: FunctionNode, ops: list[int], slept: int) -> bool:
    """Whether the loop calls anything that is not part of its test."""
    return any(
        isinstance(function.body.ops[r], Call) and r != slept and project.changes.call(function, r) != NOTHING
        for r in ops
    )


# --- who could change the state, and how a plain function comes to run on the loop ------------------------------------

Writers = dict[str, list[tuple[FunctionNode, int]]]


def _writers(project: Project, names: set[str]) -> Writers:
    """Where attributes and variables of these names are bound or changed, without what builds the object."""
    found: Writers = {}
    if not names:
        return found
    for function in project.functions():
        if function.name in BUILDS or of_tests(function.path) or function.header.kind == "class":
            continue
        places = function.body.places
        if not any(names.intersection(str(s.value) for s in p.path) or p.name in names for p in places):
            continue
        for rank, step in enumerate(function.body.ops):
            changed = project.changes.written(function, rank)
            own = changed.attributes | (changed.variables if function.header.kind != "module" else frozenset())
            if isinstance(step, Call) and any(s.kind is Select.ATTR for s in places[step.callee].path):
                result = project.calls(function).get(rank)
                handed = project.changes.handed(function, rank)
                if (
                    result is not None
                    and not result.targets
                    and writes(step)
                    and project.changes.call(function, rank).given
                ):
                    own |= handed.attributes
            for name in names & own:
                found.setdefault(name, []).append((function, rank))
    return found


def _ways_in(project: Project, functions: list[FunctionNode]) -> dict[FunctionNode, tuple[Step, ...]]:
    """For each plain function the chain of calls by which a coroutine runs it; those without one are left out."""
    if not functions:
        return {}
    wanted = frozenset(functions)
    roots = [
        n
        for f in project.functions()
        if f.header.is_async and f.header.kind == "def" and not of_tests(f.path)
        for n in project.receivers(f)
    ]
    reach = Reach(project.graph, roots, lambda n: (0,) if n.function in wanted else (), lambda _n, run: not run.unsure)
    found: dict[FunctionNode, tuple[Step, ...]] = {}
    for root in sorted((n for n in roots if n in reach.distance), key=lambda n: (reach.distance[n], n.order)):
        for run in project.graph.runs(root):
            if reach.through(root, run) is None or reach.doubtful(run):
                continue
            hops = reach.chain(root, run)
            target = hops[-1].node.function
            if target not in found and not any(h.run is not None and reach.doubtful(h.run) for h in hops):
                found[target] = tuple(
                    project.step(
                        h.node.function,
                        h.op,
                        f"{h.node.function.name}() calls {h.run.target.function.name}()",
                        h.node.function.name,
                    )
                    for h in hops
                    if h.run is not None
                )
    return found


# --- the finding ----------------------------------------------------------------------------------------------------


def _finding(
    project: Project, function: FunctionNode, busy: Busy, writers: Writers, way_in: tuple[Step, ...]
) -> Finding:
    line, column, end_line, end_column = function.at(busy.op)
    if busy.kind == "error":
        end_line, end_column = line, column + len("except")
    held_names = busy.held.attributes | busy.held.variables
    names = sorted((n for n in held_names if not n[:1].isupper()), key=lambda n: (n not in writers, n)) or sorted(held_names)
    owners = _owners(project, function)
    sites = [site for name in names for site in writers.get(name, ()) if _of_one_owner(function, owners, site[0])]
    threads = any(Context.THREAD in project.contexts.of(f) for f, _ in sites)
    severity, confidence = {
        "frozen": (Severity.HIGH, Confidence.LIKELY), "branch": (Severity.HIGH, Confidence.LIKELY),
        "error": (Severity.MEDIUM, Confidence.POSSIBLE), "poll": (Severity.INFO, Confidence.POSSIBLE),
    }[busy.kind]  # fmt: skip
    if busy.kind == "branch" and not _goes_on(function, busy):
        confidence = Confidence.POSSIBLE  # no branch of an `if` holds: a status that may not occur
    decided = bool(names) or not busy.way.tests
    if busy.kind == "frozen" and function.header.is_async and busy.held.own and not threads and decided:
        severity, confidence = Severity.CRITICAL, Confidence.CERTAIN
    return Finding(
        rule=BusyLoop.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=_message(function, busy, names, threads),
        symbol=function.symbol,
        severity=severity,
        confidence=confidence,
        proof=(*way_in, *_steps(project, function, busy, names, sites)),
        fix=Fix("display", _mend(busy)),
    )  # fmt: skip


def _owners(project: Project, function: FunctionNode) -> set[ClassNode]:
    """The classes of the objects whose attributes a function names, its own among them."""
    values = [value for value in project.types(function).values() if value]
    for place in function.body.places:
        value = project.world.parameter(function, str(place.name)) if place.root is Root.LOCAL else BOTTOM
        for select in place.path:
            if not value or select.kind is not Select.ATTR:
                break
            values.append(value)
            value = project.world.attribute(value, str(select.value))
    atoms = {atom for value in values for atom in value}
    found = {atom.cls for atom in atoms if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode)}
    return found | ({function.cls} if function.cls is not None else set())


def _of_one_owner(function: FunctionNode, owners: set[ClassNode], writer: FunctionNode) -> bool:
    """Whether a function that binds an attribute of a name may bind that of an object which another one reads."""
    if writer.cls is None:
        return function.path == writer.path
    return any(writer.cls in cls.mro or cls in writer.cls.mro for cls in owners)


def _goes_on(function: FunctionNode, busy: Busy) -> bool:
    """Whether the way leads through the body of an `if`, as to a `continue`, and not past all of them."""
    return any(op == busy.op and stays for op, stays in busy.way.tests) or _negated(function, busy.op)


def _negated(function: FunctionNode, op: int) -> bool:
    """Whether what stands behind a test when it is false is an `else`: the block there does more than to go round."""
    block = next(b for b in function.body.blocks if b.end - 1 == op and b.end > b.start)
    target = next((t for kind, t in block.edges if kind is Edge.FALSE), NONE)
    return target >= 0 and function.body.blocks[target].end > function.body.blocks[target].start


def _message(function: FunctionNode, busy: Busy, names: list[str], threads: bool) -> str:
    state = ", ".join(names[:NAMES]) + (", ..." if len(names) > NAMES else "")
    others = "another thread" if threads else "another task"
    match busy.kind:
        case "frozen" if not names:
            return (
                f"{function.name}() loops without an await that suspends: nothing else runs on this event loop any more"
            )
        case "frozen":
            return f"{function.name}() waits for {state} without giving way: only {others} could change it, and none runs meanwhile"
        case "branch":
            why = f": {state} cannot change meanwhile" if names else ", and nothing changes it meanwhile"
            return f"While this test holds, {function.name}() loops without a pause{why}"
        case "error":
            return f"When this await fails at once, {function.name}() starts over without a pause"
        case _:
            return f"{function.name}() looks at {state} again and again; an asyncio.Event would wake it at once"


def _mend(busy: Busy) -> str:
    match busy.kind:
        case "error":
            return "Pause in the handler before the next attempt"
        case "poll":
            return "Wait for an asyncio.Event that whoever changes the state sets"
        case "branch":
            return "Move the pause to the head of the loop, so that every way passes it"
    return "Wait for an asyncio.Event, or pause in the loop"


def _steps(
    project: Project, function: FunctionNode, busy: Busy, names: list[str], sites: list[tuple[FunctionNode, int]]
) -> Iterator[Step]:
    way = busy.way
    who = f"{function.name}()"
    loop = _first(function, way.head, way)
    if busy.kind == "error":
        yield project.step(function, way.failing, f"{who} awaits here; where this raises before it suspends", "await")
        yield project.step(function, way.catch, "the handler takes it, and no await follows on the way back", "except")
    else:
        yield project.step(
            function, loop, f"{who} {'looks again' if busy.kind == 'poll' else 'goes round'} here", function.name
        )
    shown: set[int] = {loop}
    for op, stays in way.tests:
        if op not in shown and busy.kind != "poll":
            shown.add(op)
            yield project.step(function, op, f"goes round while this test is {'true' if stays else 'false'}", "test")
    if busy.kind == "branch":
        pause = next(
            (
                p
                for n in sorted(_loop_of(project, function, way))
                if (p := Loops(project, function).first_pause(n)) != NONE
            ),
            NONE,
        )
        if pause != NONE:
            yield project.step(function, pause, "the pause is not on this way", "pause")
    told: set[FunctionNode] = set()
    for writer, op in sites:
        if writer is not function and writer not in told and len(told) < SHOWN and busy.kind != "error":
            told.add(writer)
            cannot = (
                "would change it"
                if busy.kind == "poll" or Context.THREAD in project.contexts.of(writer)
                else "would change it, and cannot run meanwhile"
            )
            yield project.step(writer, op, f"{writer.name or 'the module'}() {cannot}", writer.name)
    if busy.kind in ("frozen", "branch") and not told and names:
        yield project.step(function, busy.op, f"nothing in the project changes {names[0]} on this way", names[0])


def _loop_of(project: Project, function: FunctionNode, way: Way) -> frozenset[int]:
    return next(
        (loop for loop in project.flow(function).natural_loops if set(way.blocks) <= loop), frozenset(way.blocks)
    )
