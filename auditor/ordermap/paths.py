"""Paths: from the entry points of a project to the calls that a venue gets, over the shortest chains of calls.

Each call that means an order has paths of its own: functions that do nothing else are around it, and their callers mean it.

An entry point is where the project's own code begins: a task, thread, process, callback or route that something else runs,
the body of a module, or a function that nothing in the project calls. Tests are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from auditor.facts.model import Call
from auditor.project.contexts import Spawn
from auditor.project.exchange import CANCEL, EDIT, PLACE, Exchange, Site, Way
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import ROUTES, of_tests

MOST_ENTRIES = 200  # of one call; the rest is counted
WORDS = {
    "task": "task",
    "thread": "thread",
    "executor": "thread",
    "process": "process",
    "callback": "handler",
    "signal": "handler",
    "main": "main",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a path begins. `kind`: task, thread, process, handler, main, script, coroutine (that nothing in the project
    awaits) or function (that nothing in the project calls)."""

    function: FunctionNode
    kind: str


@dataclass(frozen=True, slots=True)
class Path:
    """One way from an entry point to a venue. `way` has all its calls; `alternatives` counts the methods of clients that its
    last call may run."""

    entry: Entry
    way: Way
    alternatives: int = 1

    @property
    def order(self) -> tuple[object, ...]:
        return (
            self.way.verb,
            [(function.key, op) for function, op in reversed(self.way.hops)],
            self.entry.function.key,
        )


@dataclass(frozen=True, slots=True)
class Paths:
    """All paths, in order, and how many more entry points than shown come to a call."""

    paths: tuple[Path, ...]
    left_out: int = 0


def paths(project: Project) -> Paths:
    """Every path of a project."""
    exchange = project.exchange
    search = _Search(project)
    found: list[Path] = []
    left_out = 0
    for function, _, way in exchange.sites(PLACE, EDIT, CANCEL):
        if way.verb in exchange.of(function) and exchange.callers(function):
            continue  # a function around the call: who calls it means the order
        entries, more = search.entries(function)
        left_out += more
        count = _alternatives(exchange, project, *way.last, way)
        found.extend(Path(entry, way._replace(hops=(*hops, *way.hops)), count) for entry, hops in entries)
    return Paths(tuple(sorted(found, key=lambda path: path.order)), left_out)


def _alternatives(exchange: Exchange, project: Project, function: FunctionNode, op: int, way: Way) -> int:
    """How many clients' methods a call may run."""
    result = project.calls(function).get(op)
    if result is None or way.venue is None:
        return 1
    return max(1, sum(way.verb in exchange.of(t.function) for t in result.targets if not t.wrapper))


class _Search:
    """Backwards from a function to the entry points that come to it; the answers of a function are shared by its calls."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.exchange = project.exchange
        self._spawns: dict[FunctionNode, list[Spawn]] = {}
        for spawn in project.contexts.spawns:
            if not of_tests(spawn.site.path):
                self._spawns.setdefault(spawn.target.function, []).append(spawn)
        self._known: dict[FunctionNode, tuple[list[tuple[Entry, tuple[Site, ...]]], int]] = {}

    def entries(self, function: FunctionNode) -> tuple[list[tuple[Entry, tuple[Site, ...]]], int]:
        """The entry points with the calls that lead from them to the function, and how many are left out."""
        known = self._known.get(function)
        if known is None:
            known = self._known[function] = self._entries(function)
        return known

    def _entries(self, function: FunctionNode) -> tuple[list[tuple[Entry, tuple[Site, ...]]], int]:
        following: dict[FunctionNode, Site | None] = {function: None}  # -> the call by which it comes nearer
        nearer: dict[FunctionNode, FunctionNode] = {}
        queue = deque([function])
        found: list[Entry] = []
        while queue:
            current = queue.popleft()
            sites = self.exchange.callers(current)
            kind = self._kind(current, called=bool(sites))
            if kind:
                found.append(Entry(current, kind))
                if kind not in ("coroutine", "function", "script", "main"):
                    continue  # it runs on its own: who has started it is no part of the path
            for caller, op in sites:
                if caller not in following:
                    following[caller] = (caller, op)
                    nearer[caller] = current
                    queue.append(caller)
        ordered = sorted(found, key=lambda entry: entry.function.key)
        return [(entry, self._hops(entry.function, following, nearer)) for entry in ordered[:MOST_ENTRIES]], max(
            0, len(found) - MOST_ENTRIES
        )

    @staticmethod
    def _hops(
        start: FunctionNode, following: Mapping[FunctionNode, Site | None], nearer: Mapping[FunctionNode, FunctionNode]
    ) -> tuple[Site, ...]:
        hops: list[Site] = []
        current = start
        while (site := following[current]) is not None:
            hops.append(site)
            current = nearer[current]
        return tuple(hops)

    def _kind(self, function: FunctionNode, *, called: bool) -> str:
        """What kind of entry point a function is, "" for none."""
        if function.index == 0:
            return "script"
        if function.header.kind == "class":
            return "script"
        if any(d.name.rpartition(".")[2] in ROUTES for d in function.header.decorators):
            return "handler"
        spawns = self._spawns.get(function, [])
        for spawn in spawns:
            if spawn.how in ("thread", "process", "callback", "signal"):
                return WORDS[spawn.how]
            if spawn.how == "task" and self._runs_on(function):
                return "task"
        if called and not (spawns and all(s.how == "main" for s in spawns)):
            return ""
        if spawns:
            return WORDS[spawns[0].how]
        return "coroutine" if function.header.is_async else "function"

    def _runs_on(self, function: FunctionNode) -> bool:
        """Whether a task is a service of its own, with a loop; one that does a single thing belongs to who has started it."""
        return bool(self.project.flow(function).natural_loops)


def shown_call(site: Site) -> str:
    """The name that is called at a site."""
    function, op = site
    call = function.body.ops[op]
    return last_name(function, call) if isinstance(call, Call) else ""
