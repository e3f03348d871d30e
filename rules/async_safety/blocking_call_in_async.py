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
in a cached function) or before anything else runs on the loop are left out, and so are small local files. A branch for
another thread (`if loop is not asyncio.get_running_loop()`) is taken to be just that: a second loop there is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from auditor.facts.model import Await, Call
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.chains import Hop, Reach
from auditor.project.feasible import Given
from auditor.project.flow import Flow, describe
from auditor.project.graph import Graph, Node, Run, awaited_or_handed, last_name
from auditor.project.guards import cached, once, ready
from auditor.project.models import NONBLOCKING, Role, canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

GRADES = {"high": Severity.HIGH, "medium": Severity.MEDIUM, "low": Severity.LOW}
CALLBACKS = frozenset({"call_soon", "call_later", "call_at", "add_signal_handler", "add_reader", "add_writer", "add_done_callback"})
SPAWNS = frozenset({"create_task", "ensure_future", "start", "submit"})
MAIN = frozenset({"asyncio.run", "asyncio.runners.run", "run_until_complete", "asyncio.Runner.run", "anyio.run", "uvloop.run"})


class Blocked(NamedTuple):
    """One way in which a root blocks: its chain, the role of the primitive, what the chain rests on beside types. `again`
    are further operations of the root that come to the same primitive."""

    hops: list[Hop]
    role: Role
    path: str
    doubts: int
    again: tuple[int, ...] = ()

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
        graph = Graph(project, on_loop=True)
        roots = _roots(project)
        levels = ("high", "medium", "low") if self.option["low"] else ("high", "medium")
        found: dict[tuple[FunctionNode, int], Blocked] = {}
        quiet = _Quiet(project, graph)
        for level in levels:
            reach = Reach(graph, roots, partial(quiet.marks, level), quiet.passes)
            for root in roots:
                for blocked in _ways(project, reach, root):
                    key = (root.function, root.function.at(blocked.hops[0].op)[0])
                    if key not in found or blocked.rank < found[key].rank:
                        found[key] = blocked
        for function, blocked in _merged(found):  # a main coroutine may be alone on its loop
            alone = function in quiet.mains
            yield _finding(project, function, blocked._replace(doubts=blocked.doubts + alone))


def _merged(found: Mapping[tuple[FunctionNode, int], Blocked]) -> Iterator[tuple[FunctionNode, Blocked]]:
    """One finding for each primitive that a root comes to through calls, at the first line: it is mended in one place."""
    groups: dict[tuple[FunctionNode, object], list[Blocked]] = {}
    for function, line in sorted(found, key=lambda k: (k[0].key, k[1])):
        blocked = found[function, line]
        last = blocked.hops[-1]
        sink = (last.node.function, last.op) if len(blocked.hops) > 1 else line
        groups.setdefault((function, sink), []).append(blocked)
    for (function, _), group in groups.items():
        yield function, group[0]._replace(again=tuple(b.hops[0].op for b in group[1:]))


class _Quiet:
    """What is not followed: calls that run once, and calls before anything else runs on the loop."""

    def __init__(self, project: Project, graph: Graph) -> None:
        self.project = project
        self.graph = graph
        self._marks: dict[tuple[FunctionNode, Given, str], tuple[int, ...]] = {}
        self._passes: dict[tuple[FunctionNode, Given, int], bool] = {}
        self.mains = _mains(project)
        self.nests = any("nest_asyncio.apply" in r.externals for f in project.functions() for r in project.calls(f).values())

    def marks(self, level: str, node: Node) -> tuple[int, ...]:
        """Blocking operations of a node, of one level of severity."""
        key = (node.function, node.given, level)
        known = self._marks.get(key)
        if known is None:
            known = self._marks[key] = tuple(self._primitives(node, level))
        return known

    def _primitives(self, node: Node, level: str) -> Iterator[int]:
        function = node.function
        for op in sorted(self.project.calls(function)):
            role = self._role(function, op)
            if role is None or role.attributes.get("severity") != level or not self.graph.live(node, op):
                continue
            if self.nests and role.attributes.get("kind") == "loop":
                continue  # the project allows a loop inside a loop
            if awaited_or_handed(function, op) or not self._open(node, op):
                continue
            if not ready(function, op, role.attributes.get("ready", ()), self.graph.flow(node)):
                yield op

    def _role(self, function: FunctionNode, op: int) -> Role | None:
        matched = self.project.role(function, op, "blocking")
        return None if matched is None or matched[1].name == NONBLOCKING else matched[1]

    def passes(self, node: Node, run: Run) -> bool:
        """Whether an edge is followed."""
        key = (node.function, node.given, run.op)
        known = self._passes.get(key)
        if known is None:
            matched = self.project.role(node.function, run.op, "blocking")
            known = self._passes[key] = (matched is None or matched[1].name != NONBLOCKING) and self._open(node, run.op)
        return known and not cached(run.target.function)

    def _open(self, node: Node, op: int) -> bool:
        function, flow = node.function, self.graph.flow(node)
        if once(self.project, function, op, flow):
            return False
        return function not in self.mains or not _starting(flow, function, op)


def _roots(project: Project) -> list[Node]:
    """Coroutines, and functions that are registered as callbacks of a loop."""
    functions: dict[FunctionNode, None] = {}
    for function in project.functions():
        if function.header.is_async and function.header.kind == "def":
            functions[function] = None
        for op, result in project.calls(function).items():
            call = function.body.ops[op]
            if result.handed and isinstance(call, Call) and last_name(function, call) in CALLBACKS and not _in_pool(result.externals):
                functions.update((t.function, None) for t in result.handed if not t.function.header.is_async)
    return [node for function in functions for node in project.receivers(function)]


def _in_pool(externals: tuple[str, ...]) -> bool:
    """Whether a callback is one of a thread pool's future: it runs in the thread that finished the job."""
    return any(canonical(path).startswith("concurrent.futures.") for path in externals)


def _mains(project: Project) -> frozenset[FunctionNode]:
    """Coroutines that a loop is started for."""
    found: set[FunctionNode] = set()
    for function in project.functions():
        results = project.calls(function)
        for op, result in results.items():
            call = function.body.ops[op]
            if not isinstance(call, Call) or not call.args:
                continue
            if last_name(function, call) not in ("run_until_complete", "run") or not (
                last_name(function, call) == "run_until_complete" or any(p in MAIN for p in result.externals)
            ):
                continue
            for other, inner in results.items():
                made = function.body.ops[other]
                if isinstance(made, Call) and made.dst == call.args[0]:
                    found.update(t.function for t in inner.targets if t.function.header.is_async)
    return frozenset(found)


def _starting(flow: Flow, function: FunctionNode, op: int) -> bool:
    """Whether nothing has been awaited or spawned before an operation: the loop has no other work yet."""
    block = flow.block_of(op)
    before = flow.before(block)
    body = function.body
    ranks = [r for n in before for r in range(body.blocks[n].start, body.blocks[n].end)]
    ranks += list(range(body.blocks[block].start, op))
    for rank in ranks:
        step = body.ops[rank]
        if isinstance(step, Await) or isinstance(step, Call) and last_name(function, step) in SPAWNS:
            return False
    return True


def _ways(project: Project, reach: Reach, root: Node) -> Iterator[Blocked]:
    """The ways in which a root blocks, one for each operation of it."""
    for op in reach.marks(root):
        yield _blocked(project, reach, [Hop(root, op, None)])
    best: dict[int, Run] = {}
    for run in reach.graph.runs(root):
        length = reach.through(root, run)
        if length is None:
            continue
        known = best.get(run.op)
        if known is None or (length, reach.doubtful(run), run.target.order) < (
            reach.through(root, known) or 0, reach.doubtful(known), known.target.order
        ):  # fmt: skip
            best[run.op] = run
    for run in best.values():
        yield _blocked(project, reach, reach.chain(root, run))


def _blocked(project: Project, reach: Reach, hops: list[Hop]) -> Blocked:
    last = hops[-1]
    matched = project.role(last.node.function, last.op, "blocking")
    assert matched is not None, "a chain ends at a primitive"  # noqa: S101 - an invariant of Reach
    return Blocked(hops, matched[1], canonical(matched[0]), sum(h.run is not None and reach.doubtful(h.run) for h in hops))


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
    root = blocked.hops[0].node.function
    for rank, hop in enumerate(blocked.hops):
        function = hop.node.function
        who = f"{function.name}()"
        if rank == 0:
            who = f"coroutine {who}" if function.header.is_async else f"callback {who}"
        if hop.node.receiver is not None and hop.node.receiver is not function.cls:
            who += f" of a {hop.node.receiver.name}"
        if hop.run is None:
            yield project.step(function, hop.op, f"{who} calls {blocked.path}: {blocked.role.note}", blocked.path)
        else:
            yield project.step(function, hop.op, f"{who} {_does(function, hop.run)}", function.name)
    for op in blocked.again:
        yield project.step(root, op, f"{root.name}() comes to it here as well", root.name)


def _does(function: FunctionNode, run: Run) -> str:
    """What an edge of a chain is, in words."""
    target = f"{run.target.function.name}()"
    call = function.body.ops[run.op]
    match run.kind:
        case "property":
            return f"reads the property {target}"
        case "enter" | "exit":
            return f"{run.kind}s a manager through {target}"
        case "iterate":
            return f"iterates over {target}"
        case "applied":
            return f"has {target} called for each item"
        case "wrapper":
            written = describe(function.body, call.callee) if isinstance(call, Call) else ""
            return f"calls {written or 'a function'}(), and with it the {target} of its decorator"
        case _:
            return f"calls {target}"


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
    bound = function.module.bindings.get((0, "asyncio"))
    if bound not in (None, ("asyncio", "")):
        return Fix("display", f"{mend[:1].upper()}{mend[1:]}")  # the name means something else here
    if bound is None:
        place = _import_line(function)
        edits.insert(0, Edit(function.path, place, 1, place, 1, "import asyncio\n"))
    return Fix("safe", "Await asyncio.sleep instead", tuple(edits))


def _import_line(function: FunctionNode) -> int:
    """The line of the first import of the module that stands alone, else that where an import can be added."""
    module = function.module
    free = [module.position(i.offset) for i in module.facts.imports if i.function == 0 and not i.guard and i.path != "__future__"]
    return min((line for line, column in free if column == 1), default=module.facts.import_line)
