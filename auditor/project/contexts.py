"""Stratum 3, contexts: which roots reach a function - tasks and callbacks of a loop, threads, other processes, imports.

A function that is handed to a thread runs there, and so does all it calls; what is evaluated to make the argument still
runs where the call stands. A coroutine runs on the loop of whoever awaits or spawns it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import Call, Const
from auditor.project.callables import CallResult, Target
from auditor.project.flow import reads
from auditor.project.graph import Node
from auditor.project.models import canonical
from auditor.project.symbols import FunctionNode

if TYPE_CHECKING:
    from auditor.project.project import Project


class Context(enum.StrEnum):
    """Where code runs. PROCESS has memory of its own."""

    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"
    IMPORT = "import"


class Spawn(NamedTuple):
    """`target` is started from `site` (function, operation). `how`: task, callback, thread, executor, process, signal or
    main. `in_loop`: the site lies on a cycle of its function. `kept`: the handle is used."""

    how: str
    target: Target
    site: FunctionNode
    op: int
    in_loop: bool
    kept: bool


# Attribute name of the call -> how it starts what it is given. Names of asyncio, threading and concurrent.futures; the
# receiver's path decides where a name is common.
TASKS = frozenset({"create_task", "ensure_future", "start_soon", "run_coroutine_threadsafe"})
CALLBACKS = frozenset(
    {"call_soon", "call_later", "call_at", "call_soon_threadsafe", "add_reader", "add_writer", "add_done_callback"}
)
EXECUTORS = frozenset(
    {"run_in_executor", "to_thread", "submit", "run_in_threadpool", "run_sync", "sync_to_async", "run_in_thread"}
)
MAINS = frozenset({"run", "run_until_complete"})
MAIN_PATHS = frozenset({"asyncio.run", "asyncio.runners.run", "asyncio.runners.Runner.run", "anyio.run", "uvloop.run"})
PROCESSES = ("multiprocessing.", "concurrent.futures.ProcessPoolExecutor", "concurrent.futures.process.")
THREADS = frozenset({"threading.Thread", "threading.Timer"})


class Contexts:
    """Spawns of the project, and for each function the contexts that reach it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.spawns: tuple[Spawn, ...] = tuple(s for f in project.functions() for s in self._spawns(f))
        self._of: dict[FunctionNode, frozenset[Context]] = {}
        self._flow()

    def of(self, function: FunctionNode) -> frozenset[Context]:
        """Contexts that reach a function; empty where no root of the project does."""
        return self._of.get(function, frozenset())

    def spawns_of(self, function: FunctionNode) -> list[Spawn]:
        """Where a function is started as a task, callback or thread."""
        return [s for s in self.spawns if s.target.function is function]

    # --- spawns ---
    def _spawns(self, function: FunctionNode) -> Iterator[Spawn]:
        results = self.project.calls(function)
        body = function.body
        made = {body.ops[op].dst: result for op, result in results.items() if isinstance(body.ops[op], Call)}  # type: ignore[union-attr]  # a call
        for op, result in sorted(results.items()):
            call = body.ops[op]
            if not isinstance(call, Call):
                continue
            how = self._how(function, call, result)
            if not how:
                continue
            targets = list(result.handed)
            if how in ("task", "main"):
                for operand in call.args:
                    inner = made.get(operand)
                    if inner is not None:
                        targets.extend(t for t in inner.targets if t.function.header.is_async)
            if targets:
                flow = self.project.flow(function)
                in_loop = flow.loops(flow.block_of(op))
                kept = any(call.dst in reads(other) for other in body.ops)
                yield from (Spawn(how, target, function, op, in_loop, kept) for target in dict.fromkeys(targets))

    def _how(self, function: FunctionNode, call: Call, result: CallResult) -> str:
        place = function.body.places[call.callee]
        last = (
            str(place.path[-1].value) if place.path else "" if isinstance(place.name, Const | int) else str(place.name)
        )
        paths = [canonical(path) for path in result.externals]
        if last in TASKS:
            return "task"
        if last in CALLBACKS:
            pooled = any(path.startswith("concurrent.") for path in paths)  # a future of a pool calls back in its thread
            return "thread" if pooled else "callback"
        if last == "add_signal_handler":
            return "signal"
        if any(path in THREADS for path in paths):
            return "thread"
        if any(path.startswith(PROCESSES) for path in paths):
            return "process" if result.handed else ""
        if last in EXECUTORS and result.handed and (paths or last != "submit"):
            return "executor"
        if last in MAINS and (last == "run_until_complete" or any(path in MAIN_PATHS for path in paths)):
            return "main"
        if last == "gather" and any(path.startswith("asyncio.") for path in paths):
            return "task"
        return ""

    # --- propagation ---
    def _flow(self) -> None:
        """Contexts flow from the roots along everything that is run synchronously, and along awaits."""
        roots: list[tuple[FunctionNode, Context]] = []
        for function in self.project.functions():
            if function.index == 0:
                roots.append((function, Context.IMPORT))
            elif function.header.is_async and function.header.kind == "def":
                roots.append((function, Context.LOOP))
        where = {"thread": Context.THREAD, "executor": Context.THREAD, "process": Context.PROCESS}
        for spawn in self.spawns:
            if not spawn.target.function.header.is_async:
                roots.append((spawn.target.function, where.get(spawn.how, Context.LOOP)))
        for function, context in roots:
            self._spread(function, context)

    def _spread(self, function: FunctionNode, context: Context) -> None:
        stack = [function]
        while stack:
            current = stack.pop()
            known = self._of.get(current, frozenset())
            if context in known:
                continue
            self._of[current] = known | {context}
            stack.extend(run.target.function for run in self.project.graph.runs(Node(current, None)))
