"""
Blocking call on the event loop

## What it finds
A coroutine, or a callback on the event loop, that runs a blocking primitive (a sleep, a synchronous request, a query, a
join) itself or through synchronous functions, methods, properties and decorators in any file.

## Why it matters
While it blocks, no order, cancel or stop is processed on this loop. Websocket heartbeats are missed, so the exchange
disconnects; every other task of the bot is as late as the slowest call.

## Bad
```python
import time


async def submit(client, order):
    time.sleep(0.5)
    await client.send(order)
```

## Good
Wait without holding the loop: `await` the asynchronous twin, or hand the call to a thread with `asyncio.to_thread`.

```python
import asyncio
import time


async def submit(client, order):
    await asyncio.sleep(0.5)
    await client.send(order)
```

## Limits
Only calls whose target is resolved count; a callee behind `getattr` with a computed name, `exec` or an untyped parameter
that nothing in the project fills is a missed alarm. Calls that run once (behind `if self.x is None` with the assignment,
in a cached function) or before anything else runs on the loop are left out, and so are small local files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Await, Call
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.chains import Hop, Reach
from auditor.project.flow import describe
from auditor.project.graph import Node, Run, awaited_or_handed
from auditor.project.guards import cached, once
from auditor.project.models import Role, canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

GRADES = {"high": Severity.HIGH, "medium": Severity.MEDIUM, "low": Severity.LOW}
CALLBACKS = frozenset({"call_soon", "call_later", "call_at", "add_signal_handler", "add_reader", "add_writer", "add_done_callback"})
MAIN = frozenset({"asyncio.run", "asyncio.runners.run", "run_until_complete", "asyncio.Runner.run", "anyio.run", "uvloop.run"})


class Blocked(NamedTuple):
    """One way in which a root blocks: its chain, the role of the primitive, what the chain rests on beside types."""

    hops: list[Hop]
    role: Role
    path: str
    doubts: int

    @property
    def rank(self) -> tuple[object, ...]:
        return (-GRADES[self.role.attributes["severity"]], len(self.hops), self.doubts, self.hops[-1].node.order, self.path)


class BlockingCallInAsync(Rule):
    id = "blocking-call-in-async"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (833, 400)
    models = ("blocking",)
    options = {"low": False}
    counterparts = {
        "ruff": dict.fromkeys(
            ("ASYNC210", "ASYNC212", "ASYNC220", "ASYNC221", "ASYNC222", "ASYNC230", "ASYNC240", "ASYNC250", "ASYNC251"), "super"
        )
    }

    def check_project(self, project: Project) -> Iterator[Finding]:
        roots = _roots(project)
        levels = ("high", "medium", "low") if self.option["low"] else ("high", "medium")
        found: dict[tuple[FunctionNode, int, str], Blocked] = {}
        quiet = _Quiet(project)
        for level in levels:
            reach = Reach(project.graph, roots, quiet.marks(level), quiet.passes)
            for root in roots:
                for blocked in _ways(project, reach, root):
                    line = root.function.at(blocked.hops[0].op)[0]
                    key = (root.function, line, blocked.role.attributes.get("kind", ""))
                    if key not in found or blocked.rank < found[key].rank:
                        found[key] = blocked
        taken: set[tuple[FunctionNode, int]] = set()
        for function, line, _ in sorted(found, key=lambda k: (k[0].key, k[1], found[k].rank)):
            if (function, line) in taken:
                continue
            taken.add((function, line))
            best = min((b for k, b in found.items() if k[:2] == (function, line)), key=lambda b: b.rank)
            yield _finding(project, function, best)


class _Quiet:
    """What is not followed: calls that run once, and calls before anything else runs on the loop."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._marks: dict[tuple[FunctionNode, str], tuple[int, ...]] = {}
        self._passes: dict[tuple[FunctionNode, int], bool] = {}
        self.mains = _mains(project)

    def marks(self, level: str):  # type: ignore[no-untyped-def]  # a closure over the level
        def marked(node: Node) -> tuple[int, ...]:
            key = (node.function, level)
            known = self._marks.get(key)
            if known is None:
                known = self._marks[key] = tuple(self._primitives(node.function, level))
            return known

        return marked

    def _primitives(self, function: FunctionNode, level: str) -> Iterator[int]:
        for op in sorted(self.project.calls(function)):
            role = self.project.role(function, op, "blocking")
            if role is None or role[1].attributes.get("severity") != level:
                continue
            if not awaited_or_handed(function, op) and self._open(function, op):
                yield op

    def passes(self, node: Node, run: Run) -> bool:
        key = (node.function, run.op)
        known = self._passes.get(key)
        if known is None:
            known = self._passes[key] = self._open(node.function, run.op)
        return known and not cached(run.target.function)

    def _open(self, function: FunctionNode, op: int) -> bool:
        if once(self.project, function, op):
            return False
        return function not in self.mains or not _starting(self.project, function, op)


def _roots(project: Project) -> list[Node]:
    """Coroutines, and functions that are registered as callbacks of a loop."""
    functions: dict[FunctionNode, None] = {}
    for function in project.functions():
        if function.header.is_async and function.header.kind == "def":
            functions[function] = None
        for op, result in project.calls(function).items():
            call = function.body.ops[op]
            if result.handed and isinstance(call, Call) and _last(function, call) in CALLBACKS:
                functions.update((t.function, None) for t in result.handed if not t.function.header.is_async)
    return [node for function in functions for node in project.receivers(function)]


def _last(function: FunctionNode, call: Call) -> str:
    return describe(function.body, call.callee).rpartition(".")[2]


def _mains(project: Project) -> frozenset[FunctionNode]:
    """Coroutines that a loop is started for."""
    found: set[FunctionNode] = set()
    for function in project.functions():
        results = project.calls(function)
        for op, result in results.items():
            call = function.body.ops[op]
            if not isinstance(call, Call) or not call.args:
                continue
            if _last(function, call) not in ("run_until_complete", "run") or not (
                _last(function, call) == "run_until_complete" or any(p in MAIN for p in result.externals)
            ):
                continue
            for other, inner in results.items():
                made = function.body.ops[other]
                if isinstance(made, Call) and made.dst == call.args[0]:
                    found.update(t.function for t in inner.targets if t.function.header.is_async)
    return frozenset(found)


def _starting(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether nothing has been awaited or spawned before an operation: the loop has no other work yet."""
    flow = project.flow(function)
    block = flow.block_of(op)
    before = flow.before(block)
    body = function.body
    ranks = [r for n in before for r in range(body.blocks[n].start, body.blocks[n].end)]
    ranks += list(range(body.blocks[block].start, op))
    for rank in ranks:
        step = body.ops[rank]
        if isinstance(step, Await) or isinstance(step, Call) and _last(function, step) in ("create_task", "ensure_future", "start", "submit"):
            return False
    return True


def _ways(project: Project, reach: Reach, root: Node) -> Iterator[Blocked]:
    """The ways in which a root blocks, one for each operation of it."""
    for op in reach.marks(root):
        yield _blocked(project, reach, [Hop(root, op, None)])
    best: dict[int, Run] = {}
    for run in project.graph.runs(root):
        length = reach.through(root, run)
        if length is None:
            continue
        known = best.get(run.op)
        if known is None or (length, reach.doubtful(root, run), run.target.order) < (
            reach.through(root, known) or 0, reach.doubtful(root, known), known.target.order
        ):  # fmt: skip
            best[run.op] = run
    for run in best.values():
        yield _blocked(project, reach, reach.chain(root, run))


def _blocked(project: Project, reach: Reach, hops: list[Hop]) -> Blocked:
    last = hops[-1]
    matched = project.role(last.node.function, last.op, "blocking")
    assert matched is not None, "a chain ends at a primitive"  # noqa: S101 - an invariant of Reach
    return Blocked(hops, matched[1], canonical(matched[0]), sum(h.run is not None and reach.doubtful(h.node, h.run) for h in hops))


def _finding(project: Project, function: FunctionNode, blocked: Blocked) -> Finding:
    hops, role = blocked.hops, blocked.role
    line, column, end_line, end_column = function.at(hops[0].op)
    severity = GRADES[role.attributes["severity"]]
    doubts = blocked.doubts + (severity < Severity.HIGH)
    calls = len(hops) - 1
    through = "" if not calls else " through 1 call" if calls == 1 else f" through {calls} calls"
    verb = f"it reaches {blocked.path}{through}" if calls else f"it calls {blocked.path}"
    return Finding(
        rule=BlockingCallInAsync.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name}() blocks the event loop: {verb}",
        symbol=function.symbol,
        severity=severity,
        confidence=Confidence.CERTAIN if doubts == 0 else Confidence.LIKELY if doubts == 1 else Confidence.POSSIBLE,
        proof=tuple(_steps(project, blocked)),
        fix=_fix(project, function, blocked),
    )  # fmt: skip


def _steps(project: Project, blocked: Blocked) -> Iterator[Step]:
    for rank, hop in enumerate(blocked.hops):
        function = hop.node.function
        who = f"coroutine {function.name}()" if rank == 0 and function.header.is_async else f"{function.name}()"
        if rank == 0 and not function.header.is_async:
            who = f"callback {who}"
        if hop.node.receiver is not None and hop.node.receiver is not function.cls:
            who += f" of a {hop.node.receiver.name}"
        if hop.run is None:
            yield project.step(function, hop.op, f"{who} calls {blocked.path}: {blocked.role.note}", blocked.path)
            continue
        target = hop.run.target.function
        does = {"property": "reads the property", "enter": "enters a manager through", "wrapper": "enters the decorator's"}
        verb = does.get(hop.run.kind, "calls")
        yield project.step(function, hop.op, f"{who} {verb} {target.name}()", function.name)


def _fix(project: Project, function: FunctionNode, blocked: Blocked) -> Fix | None:
    mend = str(blocked.role.attributes.get("mend", "asyncio.to_thread"))
    if len(blocked.hops) > 1:
        return Fix("display", f"{mend[:1].upper()}{mend[1:]} where it blocks, or call it through asyncio.to_thread")
    body = function.body
    call = body.ops[blocked.hops[0].op]
    assert isinstance(call, Call)  # noqa: S101 - marks are calls
    written = describe(body, call.callee)
    if blocked.path != "time.sleep" or not function.header.is_async or not written:
        return Fix("display", f"{mend[:1].upper()}{mend[1:]}")
    line, column, _, _ = function.at(blocked.hops[0].op)
    edits = [Edit(function.path, line, column, line, column + len(written), "await asyncio.sleep")]
    if (0, "asyncio") not in function.module.bindings:
        place = function.module.facts.import_line
        first = min((function.module.position(i.offset)[0] for i in function.module.facts.imports if i.function == 0), default=place)
        edits.insert(0, Edit(function.path, first, 1, first, 1, "import asyncio\n"))
    return Fix("safe", "Await asyncio.sleep instead", tuple(edits))
