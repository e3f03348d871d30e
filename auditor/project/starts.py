"""Starts: where the project hands a function to somebody who runs it on his own - an event loop, a thread, a pool, a server -
on which object it then runs, and whether several of them are under way at a time.

Beside the spawns of `contexts`: coroutines that `gather` and its like run together, the body of a thread class, methods
that other threads call by contract (`logging.Handler.emit`), web routes, and callbacks that a library is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Await, Call, Collect, Enter, Exit, Root, Select, Store
from auditor.project.contexts import TASKS, Spawn
from auditor.project.flow import reads
from auditor.project.graph import last_name, method_of
from auditor.project.guards import once
from auditor.project.models import canonical
from auditor.project.references import Ref
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import ROUTES, of_tests
from auditor.project.types import Instance

if TYPE_CHECKING:
    from auditor.project.locks import Locks
    from auditor.project.project import Project

TOGETHER = frozenset({"gather", "wait", "as_completed"})  # run what they are given at the same time
THREADED = frozenset({"thread", "executor", "handler"})
# Bases whose methods are called by other threads -> names of these methods, "" for those that begin with `do_` or `on_`.
CALLED_BY_THREADS = {
    "threading.Thread": ("run",), "threading.Timer": ("run",), "logging.Handler": ("emit", "handle"),
    "socketserver.BaseRequestHandler": ("handle",), "http.server.BaseHTTPRequestHandler": ("",),
    "watchdog.events.FileSystemEventHandler": ("",), "concurrent.futures.Future": ("run",),
}  # fmt: skip
ROUTERS = frozenset({
    "add_get", "add_post", "add_put", "add_delete", "add_patch", "add_route", "add_api_route", "add_websocket_route", "start_server",
})  # fmt: skip


class Start(NamedTuple):
    """`target` is started by operation `op` of `site` (NONE: a framework runs it, `site` is the target). `how`: task,
    callback, thread, executor, signal, main, route, handler or registered. `ref` is the object that it runs on, in the
    frame of the site; `made` the call that made the coroutine. `many`: several at a time. `slot` is the attribute that
    keeps the one handle; `end` the operation of the site by which it is over for certain, NONE where nothing waits;
    `fresh`: the object is made for it."""

    how: str
    target: FunctionNode
    site: FunctionNode
    op: int
    ref: Ref | None
    made: int = NONE
    many: bool = False
    slot: str = ""
    receiver: ClassNode | None = None
    end: int = NONE
    fresh: bool = False

    @property
    def threaded(self) -> bool:
        """Whether it runs in a thread of its own."""
        return self.how in THREADED or self.how == "route" and not self.target.header.is_async

    @property
    def order(self) -> tuple[object, ...]:
        return (self.how == "registered", self.target.key, self.site.key, self.op, self.made)


class Starts:
    """All starts of a project, by what is started."""

    def __init__(self, project: Project, locks: Locks) -> None:
        self.project = project
        self.references = locks.references
        self.by_target: dict[FunctionNode, list[Start]] = {}
        self.sources: set[tuple[FunctionNode, int]] = set()  # calls that only make the coroutine of a start
        found: dict[tuple[object, ...], Start] = {}
        for start in (*self._spawned(), *self._gathered(), *self._wrapped(), *self._framework(), *self._registered()):
            if not of_tests(start.site.path):
                start = start._replace(fresh=start.ref is None and self._fresh(start))  # noqa: PLW2901 - completed
                key = (start.target, start.site, start.op, start.made)
                if key not in found or found[key].how == "registered":
                    found[key] = start
                if start.made != NONE:
                    self.sources.add((start.site, start.made))
        for start in found.values():
            self.by_target.setdefault(start.target, []).append(start)
        for known in self.by_target.values():
            known.sort(key=lambda s: s.order)

    def of(self, function: FunctionNode) -> list[Start]:
        """The starts of a function, by their place."""
        return self.by_target.get(function, [])

    # --- kinds of starts ---
    def _spawned(self) -> Iterator[Start]:
        for spawn in self.project.contexts.spawns:
            if spawn.how == "process":
                continue
            call = spawn.site.body.ops[spawn.op]
            if not isinstance(call, Call) or last_name(spawn.site, call) in TOGETHER:
                continue
            made = self._making(spawn.site, call, spawn.target.function)
            ref = self._object(spawn.site, call, spawn.target.function, made)
            slot = self._slot(spawn.site, call)
            many = spawn.in_loop and not slot and not self._one_by_one(spawn, call)
            end = spawn.op if spawn.how == "main" else self._end(spawn.site, call)
            yield Start(
                spawn.how,
                spawn.target.function,
                spawn.site,
                spawn.op,
                ref,
                made,
                many,
                slot,
                spawn.target.receiver,
                end,
            )

    def _gathered(self) -> Iterator[Start]:
        """Coroutines that run together: each is a task."""
        for function in self.project.functions():
            for op, result in self.project.calls(function).items():
                call = function.body.ops[op]
                if not isinstance(call, Call) or last_name(function, call) not in TOGETHER:
                    continue
                if not any(canonical(path).startswith("asyncio.") for path in result.externals):
                    continue
                for made in self._members(function, call):
                    inner = self.project.calls(function).get(made)
                    many = self._apart(function, made, op)
                    maker = function.body.ops[made]
                    for target in inner.targets if inner is not None and isinstance(maker, Call) else ():
                        if target.function.header.is_async and not target.wrapper and isinstance(maker, Call):
                            ref = self._object(function, maker, target.function, made)
                            end = self._end(function, call)
                            yield Start(
                                "task", target.function, function, op, ref, made, many, "", target.receiver, end
                            )

    def _wrapped(self) -> Iterator[Start]:
        """Coroutines that are given to a function of the project which starts them (`safe_ensure_future(self.run())`)."""
        for wrapper, name in self._wrappers():
            rank = next(i for i, p in enumerate(wrapper.header.params) if p.name == name)
            many = wrapper.header.params[rank].kind == "vararg"
            for site, op in self.project.callers(wrapper):
                call = site.body.ops[op]
                if not isinstance(call, Call):
                    continue
                given = call.args[rank:] if many else call.args[rank : rank + 1]
                for made in self._members(site, call._replace(args=given)):
                    inner, maker = self.project.calls(site).get(made), site.body.ops[made]
                    for target in inner.targets if inner is not None and isinstance(maker, Call) else ():
                        if target.function.header.is_async and not target.wrapper and isinstance(maker, Call):
                            ref = self._object(site, maker, target.function, made)
                            flow = self.project.flow(site)
                            slot = self._slot(site, call)
                            spawn = Spawn("task", target, site, op, flow.loops(flow.block_of(op)), True)
                            several = spawn.in_loop and not slot and not self._one_by_one(spawn, call)
                            several = several or self._apart(site, made, op)
                            end = self._end(site, call)
                            yield Start(
                                "task", target.function, site, op, ref, made, several, slot, target.receiver, end
                            )

    def _wrappers(self) -> Iterator[tuple[FunctionNode, str]]:
        """Functions of the project with the parameter that they start as a task."""
        for function in self.project.functions():
            names = {p.name for p in function.header.params}
            if not names or of_tests(function.path):
                continue
            for op in function.body.ops:
                if isinstance(op, Call) and last_name(function, op) in (*TASKS, "gather"):
                    name = next((n for a in op.args if (n := self._parameter(function, a, 3)) in names), "")
                    if name and name != function.self_name:
                        yield function, name
                        break

    def _parameter(self, function: FunctionNode, operand: int, depth: int) -> str:
        """The parameter that an operand is, or is made of by calls."""
        place = function.body.places[operand]
        if place.root is Root.LOCAL and not place.path and not self.references.writers(function, operand):
            return str(place.name)
        for rank in self.references.writers(function, operand) if depth and place.root is Root.TEMP else ():
            op = function.body.ops[rank]
            if isinstance(op, Call):
                found = next((n for a in op.args if (n := self._parameter(function, a, depth - 1))), "")
                if found:
                    return found
        return ""

    def _apart(self, site: FunctionNode, made: int, op: int) -> bool:
        """Whether a coroutine is made in a loop that the start does not stand in: several are started at once."""
        flow = self.project.flow(site)
        block, at = flow.block_of(made), flow.block_of(op)
        return any(block in loop and at not in loop for loop in flow.natural_loops)

    def _framework(self) -> Iterator[Start]:
        for function in self.project.functions():
            own = Ref(function.key, function.self_name) if function.self_name else None
            decorated = (d.name.rpartition(".")[2] for d in function.header.decorators if d.called and "." in d.name)
            if any(name in ROUTES for name in decorated):
                yield Start("route", function, function, NONE, own, many=True, receiver=function.cls)
            elif function.cls is not None and self._by_contract(function):
                yield Start("handler", function, function, NONE, own, receiver=function.cls)

    @staticmethod
    def _by_contract(function: FunctionNode) -> bool:
        cls = function.cls
        paths = {canonical(path) for c in cls.mro for path in c.externals} if cls is not None else set()
        for base, names in CALLED_BY_THREADS.items():
            if base in paths:
                known = function.name in names or "" in names and function.name.startswith(("do_", "on_"))
                if known and not function.header.is_async:
                    return True
        return False

    def _registered(self) -> Iterator[Start]:
        """Functions that are handed to a library, which runs them when it likes."""
        spawned = {(s.site, s.op) for s in self.project.contexts.spawns}
        for function in self.project.functions():
            for op, result in self.project.calls(function).items():
                call = function.body.ops[op]
                if not result.handed or result.targets or (function, op) in spawned or not isinstance(call, Call):
                    continue
                if any(
                    canonical(p).startswith(("builtins.", "functools.", "asyncio.", "itertools."))
                    for p in result.externals
                ):
                    continue
                how = "route" if last_name(function, call) in ROUTERS else "registered"
                for target in result.handed:
                    if target.function.header.kind == "def":
                        ref = self._object(function, call, target.function, NONE)
                        yield Start(how, target.function, function, op, ref, NONE, how == "route", "", target.receiver)

    # --- what is started, and on what ---
    def _making(self, site: FunctionNode, call: Call, target: FunctionNode) -> int:
        for operand in call.args:
            for rank in self.references.writers(site, operand):
                result = self.project.calls(site).get(rank)
                if result is not None and any(t.function is target for t in result.targets):
                    return rank
        return NONE

    def _object(self, site: FunctionNode, call: Call, target: FunctionNode, made: int) -> Ref | None:
        """The object of a method that is started, None where it is not known; of a closure that of its method."""
        if not target.self_name:
            own = method_of(target)
            return None if own is None else Ref(own.key, own.self_name)
        maker = site.body.ops[made] if made != NONE else None
        if isinstance(maker, Call):
            return self.references.owner(site, maker)
        for operand in (*call.args, *(o for _, o in call.keywords)):
            place = site.body.places[operand]
            if place.path and place.path[-1] == (Select.ATTR, target.name):
                return self._before(site, operand)
        return None

    def _fresh(self, start: Start) -> bool:
        """Whether a method is started on an object that is constructed in the same expression (`Worker(x).run()`)."""
        maker = start.site.body.ops[start.made] if start.made != NONE else None
        if not isinstance(maker, Call):
            return False
        place = start.site.body.places[maker.callee]
        whole = place._replace(path=())
        for rank, op in enumerate(start.site.body.ops):
            if isinstance(op, Call) and start.site.body.places[op.dst] == whole and place.root is Root.TEMP:
                result = self.project.calls(start.site).get(rank)
                return result is not None and any(isinstance(a, Instance) and a.exact for a in result.type)
        return False

    def _before(self, site: FunctionNode, operand: int) -> Ref | None:
        """What a bound method is bound to."""
        ref = self.references.of(site, operand)
        return None if ref is None or not ref.path else ref._replace(path=ref.path[:-1])

    def _members(self, function: FunctionNode, call: Call) -> Iterator[int]:
        """Calls whose results stand in the arguments: directly, in a list, in a comprehension."""
        ops, places = function.body.ops, function.body.places
        pending, seen = [*call.args], set()
        while pending:
            operand = pending.pop()
            if operand in seen:
                continue
            seen.add(operand)
            for rank in self.references.writers(function, operand):
                op = ops[rank]
                if isinstance(op, Store):
                    pending.append(op.src)
                elif isinstance(op, Collect):
                    pending.extend(op.items)
                elif isinstance(op, Call):
                    yield rank
            whole = places[operand]
            for rank, op in enumerate(ops):
                if isinstance(op, Store):
                    place = places[op.dst]
                    if place.path and place._replace(path=()) == whole and place.path[-1].kind is not Select.ATTR:
                        pending.append(op.src)
                elif isinstance(op, Call) and op.args and last_name(function, op) == "append":
                    place = places[op.callee]
                    if place._replace(path=place.path[:-1]) == whole and rank not in seen:
                        pending.append(op.args[0])

    # --- how many ---
    def _slot(self, site: FunctionNode, call: Call) -> str:
        """The attribute of `self` that the handle is stored in: the next one takes its place."""
        body = site.body
        kept = {call.dst}
        for op in body.ops:
            if isinstance(op, Store) and op.src in kept:
                place = body.places[op.dst]
                if place.root in (Root.LOCAL, Root.TEMP) and not place.path:
                    kept.add(op.dst)
                elif place.path and all(kind is Select.ATTR for kind, _ in place.path):
                    return str(place.path[-1].value)
        return ""

    def _end(self, site: FunctionNode, call: Call) -> int:
        """The await of what a call has started, or the exit of the group that holds it."""
        body = site.body
        kept = {call.dst}
        for rank, op in enumerate(body.ops):
            if isinstance(op, Store) and op.src in kept and not body.places[op.dst].path:
                kept.add(op.dst)
            elif isinstance(op, Await) and op.src in kept:
                return rank
        owner = body.places[call.callee]
        for op in body.ops:
            if isinstance(op, Enter) and owner.path and body.places[op.dst].name == owner.name:
                return next((r for r, o in enumerate(body.ops) if isinstance(o, Exit) and o.src == op.src), NONE)
            if (
                isinstance(op, Store)
                and owner.path
                and body.places[op.dst]._replace(path=()) == owner._replace(path=())
            ):
                entered = next((o for o in body.ops if isinstance(o, Enter) and o.dst == op.src), None)
                if entered is not None:
                    return next(
                        (r for r, o in enumerate(body.ops) if isinstance(o, Exit) and o.src == entered.src), NONE
                    )
        return NONE

    def _one_by_one(self, spawn: Spawn, call: Call) -> bool:
        """Whether each round of the loop waits for what it has started, or starts it only once."""
        site = spawn.site
        flow = self.project.flow(site)
        block = flow.block_of(spawn.op)
        loops = [loop for loop in flow.natural_loops if block in loop]
        inner = min(loops, key=len, default=frozenset[int]())
        kept = {call.dst, *(o.dst for o in site.body.ops if isinstance(o, Store) and o.src == call.dst)}
        end = self._end(site, call)
        if end != NONE and flow.block_of(end) in inner:
            return True
        for rank, op in enumerate(site.body.ops):
            if flow.block_of(rank) not in inner or not isinstance(op, Call):
                continue
            if last_name(site, op) in (*TOGETHER, "wait_for", "shield") and kept & set(reads(op)):
                return True
        return once(self.project, site, spawn.op, flow)
