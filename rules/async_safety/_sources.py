"""What runs again and again: loops without end, streams of messages, callbacks, and the calls that lead from there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, OPERATORS, Await, Branch, Call, Iterate, Next, Unary
from auditor.finding import Step
from auditor.project.contexts import Spawn
from auditor.project.flow import Flow
from auditor.project.graph import Node, last_name
from auditor.project.guards import once
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import ROUTES, of_tests
from auditor.project.types import BOOL, Instance, Outside, without_none
from auditor.project.uses import maker

MARKET = re.compile(r"(?i)(tick|trade|quote|book|depth|candle|kline|market|price|bars?\b|ohlc|level2|l2)")
CALLBACK = re.compile(
    r"_*(on|handle)_(\w*_)?(tick|trade|quote|book|depth|candle|kline|message|msg|ticker|order|fill)s?$"
)
FLAGS = frozenset(
    {"is_set", "done", "closed", "is_closed", "is_closing", "cancelled", "is_running", "is_connected", "connected"}
)
HANDLERS = ROUTES - {"command", "event"}  # a command is also one of a command line
DEPTH = 6  # calls that are followed up to a source
MAX_CALLERS = 60
MAX_NODES = 300  # coroutines that are looked through for what waits outside
BETWEEN_TASKS = frozenset({"put", "put_nowait", "get", "get_nowait", "join", "wait", "acquire", "sleep"})
MAINS = frozenset({"main", "_main", "amain", "async_main", "run_main"})


class Source(NamedTuple):
    """Where messages or turns come from, in `function` at `op`. `how`: stream (another party decides how fast), loop
    (without end), callback or started (a task or thread, several times). `market`: it is one of market data."""

    how: str
    function: FunctionNode
    op: int
    market: bool = False


class Again(NamedTuple):
    """Evidence that a function runs again and again: the source, and the calls from there, the first one in it."""

    source: Source
    calls: tuple[tuple[FunctionNode, int], ...]

    def steps(self, project: Project) -> Iterator[Step]:
        """The proof."""
        function, how = self.source.function, self.source.how
        words = {
            "stream": "takes one message after the other", "loop": "loops without end", "callback": "is called for each message",
            "started": "is started again and again",
        }  # fmt: skip
        name = function.name or "the module"
        yield project.step(function, self.source.op, f"{name}() {words[how]}", name)
        for where, op in self.calls:
            call = where.body.ops[op]
            written = last_name(where, call) if isinstance(call, Call) else ""
            yield project.step(
                where, op, f"{where.name or 'the module'}() calls {written or 'it'}()", where.name or "module"
            )


# --- loops ----------------------------------------------------------------------------------------------------------


class Loop(NamedTuple):
    """A loop of a function: the block that begins it, and all of its blocks."""

    head: int
    blocks: frozenset[int]

    def operations(self, function: FunctionNode) -> list[int]:
        """The operations in it, by number of their blocks."""
        blocks = function.body.blocks
        return [r for n in sorted(self.blocks) for r in range(blocks[n].start, blocks[n].end)]


def loops_around(flow: Flow, op: int) -> list[Loop]:
    """The loops that hold an operation, innermost first."""
    block = flow.block_of(op)
    found = [Loop(next(n for n in flow.order if n in loop), loop) for loop in flow.natural_loops if block in loop]
    return sorted(found, key=lambda loop: len(loop.blocks))


def source_of(project: Project, function: FunctionNode, op: int) -> tuple[Source, Loop] | None:
    """The innermost loop around an operation that has no end, as a source; None inside of loops that end."""
    for loop in loops_around(project.flow(function), op):
        source = loop_source(project, function, loop)
        if source is not None:
            return source, loop
    return None


def loop_source(project: Project, function: FunctionNode, loop: Loop) -> Source | None:
    """A loop without end as a source, None if it ends."""
    body = function.body
    part = body.blocks[loop.head]
    last = part.end - 1 if part.end > part.start else NONE
    step = body.ops[last] if last != NONE else None
    if isinstance(step, Next):
        return _iterated(project, function, last, step) if step.is_async else None
    if isinstance(step, Branch) and _tested(project, function, loop, step.test, last):
        return None
    received = _received(project, function, loop)
    if received is not None:
        return received
    first = (
        last
        if isinstance(step, Branch)
        else min((body.blocks[n].start for n in loop.blocks if body.blocks[n].end > body.blocks[n].start), default=NONE)
    )
    return Source("loop", function, first, _names_market(function)) if first != NONE else None


def _tested(project: Project, function: FunctionNode, loop: Loop, test: int, branch: int) -> bool:
    """Whether the test at the head of a loop is one that the loop works towards; a flag is none."""
    flow = project.flow(function)
    if all(target in loop.blocks for _, target in function.body.blocks[loop.head].edges):
        return False  # the first `if` of a `while True`
    if flow.block_of(branch) != loop.head:
        return False
    body = function.body
    place = body.places[test]
    if place.path and without_none(project.types(function).get((branch, test), frozenset())) == BOOL:
        return False
    made = maker(function, test)
    step = body.ops[made] if made != NONE else None
    if isinstance(step, Unary) and OPERATORS[step.operator] == "not":
        inner = maker(function, step.operand)
        if body.places[step.operand].path and project.type_of(function, step.operand) == BOOL:
            return False
        step = body.ops[inner] if inner != NONE else None
    return not (isinstance(step, Call) and last_name(function, step) in FLAGS)


def _iterated(project: Project, function: FunctionNode, op: int, step: Next) -> Source | None:
    """An `async for`: over a stream, or over a generator of the project that loops without end."""
    body = function.body
    source = next((o.src for o in body.ops if isinstance(o, Iterate) and o.dst == step.iterator), NONE)
    made = maker(function, source) if source != NONE else NONE
    result = project.calls(function).get(made) if made != NONE else None
    if result is not None and result.targets:
        for target in result.targets:
            inner = _endless_inside(project, target.function)
            if inner is not None:
                return Source(
                    "stream" if inner.how == "stream" else "loop", function, op, inner.market or _names_market(function)
                )
        return None
    value = project.type_of(function, source) if source != NONE else frozenset()
    paths = [a.path for a in value if isinstance(a, Outside)] + [
        a.cls for a in value if isinstance(a, Instance) and isinstance(a.cls, str)
    ]
    paths += list(result.externals) if result is not None else []
    model = project.models.model("growth")
    streams = any(role.name == "streams" for path in paths for role in model.roles(path))
    return Source("stream" if streams else "loop", function, op, streams and _names_market(function))


def _endless_inside(project: Project, function: FunctionNode) -> Source | None:
    flow = project.flow(function)
    for loop in flow.natural_loops:
        found = loop_source(project, function, Loop(next(n for n in flow.order if n in loop), loop))
        if found is not None:
            return found
    return None


def _received(project: Project, function: FunctionNode, loop: Loop) -> Source | None:
    """An await in a loop that takes the next message of a stream, through coroutines of the project too."""
    body = function.body
    if not function.header.is_async:
        ranks = [r for n in sorted(loop.blocks) for r in range(body.blocks[n].start, body.blocks[n].end)]
        got = next((r for r in ranks if isinstance(body.ops[r], Call) and _receives(project, function, r)), NONE)
        return Source("stream", function, got, _names_market(function)) if got != NONE else None
    for node in project.receivers(function)[:1]:
        for op in project.suspension.points(node):
            if isinstance(body.ops[op], Await) and project.flow(function).block_of(op) in loop.blocks:
                last, at = project.suspension.witness(node, op)[-1]
                step = last.function.body.ops[at]
                made = maker(last.function, step.src) if isinstance(step, Await) else NONE
                if made != NONE and _receives(project, last.function, made):
                    role = project.role(last.function, made, "growth")
                    market = role is not None and bool(role[1].attributes.get("market"))
                    return Source("stream", function, op, market or _names_market(function))
    return None


def _receives(project: Project, function: FunctionNode, op: int) -> bool:
    role = project.role(function, op, "growth")
    return role is not None and role[1].name == "receives"


def _names_market(function: FunctionNode) -> bool:
    """Whether the names around a function speak of market data."""
    return MARKET.search(f"{function.module.name.rpartition('.')[2]} {function.symbol}") is not None


# --- functions ------------------------------------------------------------------------------------------------------


class Sources:
    """What runs the functions of a project, and how often."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.spawned: dict[FunctionNode, list[Spawn]] = {}
        self.starting: set[tuple[FunctionNode, int]] = set()  # calls that only make the coroutine of a start
        for spawn in project.contexts.spawns:
            if of_tests(spawn.site.path):
                continue
            self.spawned.setdefault(spawn.target.function, []).append(spawn)
            call = spawn.site.body.ops[spawn.op]
            for operand in call.args if isinstance(call, Call) else ():
                self.starting.add((spawn.site, maker(spawn.site, operand)))

    def callers(self, function: FunctionNode) -> list[tuple[FunctionNode, int]]:
        """Calls in code that is no test."""
        return [site for site in self.project.callers(function) if not of_tests(site[0].path)]

    def again(self, function: FunctionNode, op: int = NONE) -> Again | None:
        """Evidence that a function, or one operation of it, runs again and again; the shortest chain of calls."""
        if op != NONE:
            inside = source_of(self.project, function, op)
            if inside is not None:
                return Again(inside[0], ())
        pending: list[tuple[FunctionNode, tuple[tuple[FunctionNode, int], ...]]] = [(function, ())]
        seen = {function}
        while pending and len(seen) < MAX_CALLERS:
            current, chain = pending.pop(0)
            started = self._started(current)
            if started is not None:
                return Again(started, chain)
            for caller, at in self.callers(current) if len(chain) < DEPTH else ():
                if caller in seen or caller.header.kind in ("module", "class"):
                    continue
                outer = source_of(self.project, caller, at)
                if outer is not None:
                    return Again(outer[0], ((caller, at), *chain))
                seen.add(caller)
                pending.append((caller, ((caller, at), *chain)))
        return None

    def _started(self, function: FunctionNode) -> Source | None:
        """A function that is called for each message, or started several times."""
        if any(d.called and "." in d.name and d.name.rpartition(".")[2] in HANDLERS for d in function.header.decorators):
            return Source("callback", function, 0, _names_market(function))
        for spawn in self.spawned.get(function, ()):
            outer = source_of(self.project, spawn.site, spawn.op) if spawn.in_loop and spawn.how != "main" else None
            if outer is not None:
                return Source("started", spawn.site, spawn.op, outer[0].market)
        if CALLBACK.match(function.name) and function.body.ops and not self.callers(function):
            return Source("callback", function, 0, MARKET.search(function.name) is not None)
        return None

    def once(self, function: FunctionNode, depth: int = DEPTH) -> bool:
        """Whether all that runs a function is the start of a program or of its loop, with no loop around it."""
        if function.header.kind == "module" or function.name in MAINS or _is_command(function):
            return True
        spawns = self.spawned.get(function, [])
        callers = [site for site in self.callers(function) if site not in self.starting]
        if not depth or not spawns and not callers or any(s.how != "main" or s.in_loop for s in spawns):
            return False
        return all(
            not (flow := self.project.flow(caller)).loops(flow.block_of(op)) and self.once(caller, depth - 1) for caller, op in callers
        )


def _is_command(function: FunctionNode) -> bool:
    """Whether a function is a command of a command line."""
    return any(d.name.rpartition(".")[2] in ("command", "group", "callback") for d in function.header.decorators)


def io_below(project: Project, starts: list[tuple[Node, int]], unknown: bool = False) -> list[tuple[Node, int]]:
    """The shortest chain from one of these operations to an await on something outside of the project that is no primitive of
    asyncio; with `unknown` also to one whose callee is not known. What runs once is not followed."""
    level: list[tuple[tuple[Node, int], ...]] = [(start,) for start in starts]
    seen: set[Node] = set()
    while level:
        following: list[tuple[tuple[Node, int], ...]] = []
        for chain in level:
            node, op = chain[-1]
            answer = project.suspension.at(node, op)
            if answer is Suspends.NEVER or once(project, node.function, op):
                continue
            below = project.suspension.awaited(node, op)
            if not below and (is_io(project, node, op) or unknown and answer is Suspends.UNKNOWN and not _of_tasks(node.function, op)):
                return list(chain)
            for inner in below:
                if inner not in seen and len(seen) < MAX_NODES:
                    seen.add(inner)
                    following.extend((*chain, (inner, at)) for at in project.suspension.points(inner))
        level = following
    return []


def points_of(project: Project, function: FunctionNode) -> list[tuple[Node, int]]:
    """The suspension points of a function, for the first of its receivers."""
    return [(node, op) for node in project.receivers(function)[:1] for op in project.suspension.points(node)]


def _of_tasks(function: FunctionNode, op: int) -> bool:
    """Whether an operation awaits a queue, an event or a task: a matter between tasks."""
    step = function.body.ops[op]
    made = maker(function, step.src) if isinstance(step, Await) else NONE
    call = function.body.ops[made] if made != NONE else None
    return not isinstance(call, Call) or last_name(function, call) in BETWEEN_TASKS


def is_io(project: Project, node: Node, op: int) -> bool:
    """Whether an operation that suspends waits for the network or a disk, and not for another task."""
    function = node.function
    step = function.body.ops[op]
    source = getattr(step, "src", NONE)
    if isinstance(step, Next):
        source = next((o.src for o in function.body.ops if isinstance(o, Iterate) and o.dst == step.iterator), NONE)
    made = maker(function, source) if source != NONE else NONE
    result = project.calls(function).get(made) if made != NONE else None
    paths = [canonical(p) for p in result.externals] if result is not None else []
    if not paths and source != NONE:
        value = project.type_of(function, source)
        paths = [canonical(a.path) for a in value if isinstance(a, Outside)]
        paths += [a.cls for a in value if isinstance(a, Instance) and isinstance(a.cls, str)]
    handed = (".to_thread", ".run_in_executor", "StreamWriter.drain", "StreamReader.read", "open_connection")
    return any(
        p.endswith(handed) or not p.startswith(("asyncio.", "builtins.", "coroutine", "contextlib.", "async_timeout.")) for p in paths
    )
