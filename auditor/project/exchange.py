"""Stratum 4, the exchange: which calls place, change, cancel and read orders, in libraries, in the project's own clients, and
through the functions around them.

A call has a verb by the model `exchange`, by the shape of the project's own client (see `venues`), or because what it runs
does nothing else: a function that comes to a verb on every path that does not raise, or bears its name, inherits it, over
at most four calls. The chain is the proof. A class that never comes to a network call (paper, simulator) has no verb.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from auditor.facts.model import Await, Call, Raise, Root, Select
from auditor.project.callables import CallResult
from auditor.project.flow import reads
from auditor.project.graph import last_name
from auditor.project.models import OWN_ROLES, Role, canonical
from auditor.project.protocols import Implementations, is_declared
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import Instance, Outside
from auditor.project.venues import AROUND, NAMES, WIRE, Venues

if TYPE_CHECKING:
    from auditor.project.project import Project

MODEL = "exchange"
PLACE, EDIT, CANCEL = "place", "edit", "cancel"
READS_ORDER, READS_OPEN, READS_BALANCE = "reads_order", "reads_open", "reads_balance"
VERBS = (PLACE, EDIT, CANCEL, READS_ORDER, READS_OPEN, READS_BALANCE)
READS = frozenset({READS_ORDER, READS_OPEN, READS_BALANCE})
CLIENT = "client"
SIMULATED = OWN_ROLES[MODEL][0]
NOTHING = "builtins.None."  # a method of what is filled in later
NEAR = 2  # calls between a function and the one that reads
BELOW = 6  # calls between a client's method and the request that it sends
DEPTH = 4  # calls over which a role is inherited
EMPTY: Mapping[str, Any] = {}
Site = tuple[FunctionNode, int]


class Way(NamedTuple):
    """How a call comes to a verb. `hops` are the calls, from the one in question to the one that the venue gets; `path` is
    what that one calls; `known` are the attributes of the model for it; `venue` is the project's own method that is the
    last to know that it is an order; `doubts` counts what rests on more than types."""

    verb: str
    hops: tuple[Site, ...]
    path: str
    known: Mapping[str, Any] = EMPTY
    venue: FunctionNode | None = None
    doubts: int = 0
    choice: int = 0  # how far the chain leaves what the calls are declared to run for overrides
    handed: bool = False  # the function of the client is an argument here, as in `to_thread(client.create_order, ...)`

    @property
    def last(self) -> Site:
        """The call that the venue gets."""
        return self.hops[-1]

    @property
    def rank(self) -> tuple[object, ...]:
        return (self.doubts, self.choice, len(self.hops), [(f.key, op) for f, op in self.hops], self.path)


class Exchange:
    """The answers for one project. Tests have no verbs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.implementations = Implementations(project.symbols)
        self._at: dict[Site, dict[str, Way]] = {}
        self._of: dict[FunctionNode, dict[str, Way]] = {}
        self._requests: dict[FunctionNode, tuple[Site, ...]] = {}
        self._settle()

    def at(self, function: FunctionNode, op: int) -> Mapping[str, Way]:
        """The verbs of a call, each with the way to it."""
        return self._at.get((function, op), {})

    def of(self, function: FunctionNode) -> Mapping[str, Way]:
        """The verbs that a function has inherited from what it calls."""
        return self._of.get(function, {})

    def sites(self, *verbs: str) -> Iterator[tuple[FunctionNode, int, Way]]:
        """Every call with one of these verbs, by path and place."""
        for function, op in self._ordered:
            for verb, way in self._at[function, op].items():
                if verb in verbs:
                    yield function, op, way

    def calls_in(self, function: FunctionNode, *verbs: str) -> list[tuple[int, Way]]:
        """The calls of a function with one of these verbs, in order."""
        return [
            (op, way)
            for op in self._in.get(function, ())
            for verb, way in self._at[function, op].items()
            if verb in verbs
        ]

    def requests(self, function: FunctionNode) -> tuple[Site, ...]:
        """The network calls that a function comes to, the nearest first."""
        known = self._requests.get(function)
        if known is None:
            found: list[Site] = []
            level, seen = [function], {function}
            for _ in range(BELOW):
                following: list[FunctionNode] = []
                for each in level:
                    for op, result in sorted(self.project.calls(each).items()):
                        model = self.project.models.model(MODEL)
                        if any(role.name == WIRE for path in result.externals for role in model.roles(path)):
                            found.append((each, op))
                        following.extend(t.function for t in result.targets if t.function not in seen)
                        seen.update(t.function for t in result.targets)
                level = following
            known = self._requests[function] = tuple(found)
        return known

    def built(self, function: FunctionNode, op: int) -> Role | None:
        """The entry of the model for a call that builds a client of a venue, None for other calls."""
        result = self.project.calls(function).get(op)
        for path in result.externals if result is not None else ():
            name = canonical(path).rpartition(".")[2]
            for role in self.project.models.model(MODEL).roles(path):
                if role.name == CLIENT and (name[:1].islower() or name == "*" or not path.startswith("ccxt")):
                    return role
        return None

    @cached_property
    def _ordered(self) -> list[Site]:
        return sorted(self._at, key=lambda site: (site[0].key, site[1]))

    @cached_property
    def _in(self) -> Mapping[FunctionNode, list[int]]:
        found: dict[FunctionNode, list[int]] = {}
        for function, op in self._ordered:
            found.setdefault(function, []).append(op)
        return found

    @cached_property
    def reading(self) -> frozenset[FunctionNode]:
        """Functions that come to a read of orders or positions, over at most three calls."""
        level = {f for f, _, _ in self.sites(*READS)}
        found = set(level)
        for _ in range(NEAR):
            level = {caller for f in level for caller, _ in self.callers(f)} - found
            found |= level
        return frozenset(found)

    def callers_of(self, functions: Iterable[FunctionNode]) -> dict[FunctionNode, Site | None]:
        """The functions that come to one of these through calls, themselves included: with the call that is the next step
        of a shortest chain, None for those that were asked for."""
        found: dict[FunctionNode, Site | None] = dict.fromkeys(sorted(functions, key=lambda f: f.key))
        pending = list(found)
        for target in pending:
            for function, op in self.callers(target):
                if function not in found:
                    found[function] = (target, op)
                    pending.append(function)
        return found

    # --- who calls whom ---
    def callers(self, function: FunctionNode) -> tuple[Site, ...]:
        """The calls that may run a function, those through a protocol that its class implements included."""
        declared = self._declarations.get(function, ())
        found = dict.fromkeys(site for f in (function, *declared) for site in self.project.callers(f))
        return tuple(site for site in found if not of_tests(site[0].path))

    @cached_property
    def _declarations(self) -> Mapping[FunctionNode, tuple[FunctionNode, ...]]:
        """Method -> the methods that declare it in protocols and abstract classes."""
        found: dict[FunctionNode, list[FunctionNode]] = {}
        for cls in self.project.symbols.classes():
            for method in cls.methods.values():
                if method.header.abstract and is_declared(method):
                    for implementation, _ in self.implementations.methods(method):
                        found.setdefault(implementation, []).append(method)
        return {f: tuple(dict.fromkeys(each)) for f, each in found.items()}

    # --- verbs ---
    def _settle(self) -> None:
        grown = list(self._primitives())
        self._add(grown)
        fresh = {function for function, _, _ in grown}
        fresh |= self._inherit(fresh)
        venues = Venues(self.project, self.callers, self.project.models.model(MODEL), frozenset(self._of))
        pending: set[FunctionNode] = set()
        for method, verb in venues.methods:
            sites = [
                (
                    function,
                    op,
                    Way(
                        verb,
                        ((function, op),),
                        f"{method.symbol}()",
                        venue=method,
                        doubts=0 if venues.is_sure(method) else 1,
                    ),
                )
                for function, op in self.callers(method)
            ]
            self._of.setdefault(method, {})[verb] = Way(verb, (), f"{method.symbol}()", venue=method)
            self._add(sites)
            pending.update(function for function, _, _ in sites)
        self._inherit(pending)

    def _add(self, sites: Iterable[tuple[FunctionNode, int, Way]]) -> None:
        for function, op, way in sites:
            verbs = self._at.setdefault((function, op), {})
            if way.verb not in verbs or way.rank < verbs[way.verb].rank:
                verbs[way.verb] = way

    def _primitives(self) -> Iterator[tuple[FunctionNode, int, Way]]:
        """Calls that the model names."""
        for function in self.project.functions():
            if of_tests(function.path):
                continue
            for op, result in sorted(self.project.calls(function).items()):
                call = function.body.ops[op]
                if not isinstance(call, Call):
                    continue
                matched = self.project.role(function, op, MODEL) if result.externals or self._of_team else None
                if matched is not None and matched[1].name in VERBS and not self._through_wrapper(result):
                    yield function, op, _way(function, op, canonical(matched[0]), matched[1], result.how == "partial")
                    continue
                if result.how in ("unknown", "partial") or all(path.startswith(NOTHING) for path in result.externals):
                    yield from self._of_subclasses(function, op, call)
                yield from self._handed(function, op, call)

    def _of_subclasses(self, function: FunctionNode, op: int, call: Call) -> Iterator[tuple[FunctionNode, int, Way]]:
        """`self.client.create_order(...)` in a base class whose many subclasses each bring another client."""
        place = function.body.places[call.callee]
        names = [str(value) for kind, value in place.path if kind is Select.ATTR]
        if (
            len(names) != 2
            or len(place.path) != 2
            or names[1] not in self._method_names
            or place.name != function.self_name
        ):
            return
        world, model = self.project.world, self.project.models.model(MODEL)
        for cls in function.cls.descendants() if function.cls is not None else ():
            for atom in sorted(world.read("attr", cls, names[0]), key=str):
                path = atom.path if isinstance(atom, Outside) else atom.cls if isinstance(atom, Instance) else ""
                for role in model.roles(f"{path}.{names[1]}") if isinstance(path, str) and path else ():
                    if role.name in VERBS:
                        yield function, op, _way(function, op, canonical(f"{path}.{names[1]}"), role, doubtful=False)
                        return

    @cached_property
    def _of_team(self) -> bool:
        return self.project.models.model(MODEL).of_team

    @staticmethod
    def _through_wrapper(result: CallResult) -> bool:
        """Whether a project function stands beside the library's: it is judged by what it does."""
        return any(not t.wrapper for t in result.targets) and result.how == "typed"

    def _handed(self, function: FunctionNode, op: int, call: Call) -> Iterator[tuple[FunctionNode, int, Way]]:
        """`to_thread(client.create_order, ...)`: the function of a client is an argument."""
        places = function.body.places
        for operand in (*call.args, *(value for _, value in call.keywords)):
            path = places[operand].path
            if path and path[-1].kind is Select.ATTR and str(path[-1].value) in self._method_names:
                for atom in self.project.types(function).get((op, operand), ()):
                    roles = self.project.models.model(MODEL).roles(atom.path) if isinstance(atom, Outside) else ()
                    for role in roles:
                        if role.name in VERBS and isinstance(atom, Outside):
                            yield (
                                function,
                                op,
                                _way(function, op, canonical(atom.path), role, doubtful=False)._replace(handed=True),
                            )
                            return

    @cached_property
    def _method_names(self) -> frozenset[str]:
        return frozenset(
            f"{verb}_{what}" for verb in ("create", "cancel", "edit", "fetch", "submit", "place")
            for what in ("order", "orders", "open_orders", "limit_order", "market_order", "balance", "positions")
        )  # fmt: skip

    def _inherit(self, fresh: set[FunctionNode]) -> set[FunctionNode]:
        """Functions that inherit verbs from the calls they make; then their callers, depth by depth."""
        inherited: set[FunctionNode] = set()
        for _ in range(DEPTH):
            following: set[FunctionNode] = set()
            for function in sorted(fresh, key=lambda f: f.key):
                for verb in self._verbs_of(function):
                    way = self._best(function, verb)
                    known = self._of.setdefault(function, {})
                    if way is None or verb in known:
                        continue
                    known[verb] = way
                    inherited.add(function)
                    self._add(self._calls_of(function, way))
                    following.update(caller for caller, _ in self.callers(function))
            fresh = following
        return inherited

    def _verbs_of(self, function: FunctionNode) -> list[str]:
        found = {verb for op in self.project.calls(function) for verb in self._at.get((function, op), ())}
        return [verb for verb in VERBS if verb in found]

    def _best(self, function: FunctionNode, verb: str) -> Way | None:
        """The way of a function to a verb, if it inherits it."""
        ways = {
            op: way
            for op in self.project.calls(function)
            if (way := self._at.get((function, op), {}).get(verb)) is not None
        }
        if function.header.kind not in ("def", "lambda") or self._is_simulated(function):
            return None
        named = _named(function, verb)
        if not named and not self._on_every_path(function, ways):
            return None
        best = min(ways.values(), key=lambda way: way.rank)
        return best if len(best.hops) <= DEPTH else None

    def _is_simulated(self, function: FunctionNode) -> bool:
        path = f"{function.module.name}.{function.symbol}"
        return any(role.name == SIMULATED for role in self.project.models.model(MODEL).team_roles(path))

    def _on_every_path(self, function: FunctionNode, ways: Mapping[int, Way]) -> bool:
        """Whether every path that ends without an exception passes one of the calls."""
        flow, blocks = self.project.flow(function), function.body.blocks
        held = {flow.block_of(op) for op in ways}
        seen, stack = {0}, [0]
        while stack:
            number = stack.pop()
            if number in held:
                continue
            block = blocks[number]
            if block.end > block.start and isinstance(function.body.ops[block.end - 1], Raise):
                continue
            for _, target in block.edges:
                if target < 0:
                    return False
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return True

    def _calls_of(self, function: FunctionNode, way: Way) -> Iterator[tuple[FunctionNode, int, Way]]:
        for caller, op in self.callers(function):
            result = self.project.calls(caller)[op]
            others = [t.function for t in result.targets if not t.wrapper and t.function is not function]
            doubt = result.how == "partial" or bool(others) and not _named(function, way.verb)
            rank = next((n for n, t in enumerate(result.targets) if t.function is function), 0)
            yield (
                caller, op,
                way._replace(hops=((caller, op), *way.hops), doubts=way.doubts + doubt, choice=way.choice + min(rank, 1), handed=False),
            )  # fmt: skip


def _named(function: FunctionNode, verb: str) -> bool:
    """Whether a function says by its name that it does this."""
    around = AROUND.get(verb)
    return bool(NAMES[verb].match(function.name) or around is not None and around.match(function.name))


def _way(function: FunctionNode, op: int, path: str, role: Role, doubtful: bool) -> Way:
    doubts = doubtful + bool(role.attributes.get("by_name"))
    return Way(role.name, ((function, op),), path, role.attributes, None, doubts)


def discarded(function: FunctionNode, op: int) -> bool:
    """Whether nothing reads what a call gives, or what it gives once awaited."""
    body = function.body
    call = body.ops[op]
    if not isinstance(call, Call):
        return False
    wanted = {call.dst}
    for step in body.ops[op + 1 :]:
        if wanted.intersection(reads(step)):
            if isinstance(step, Await) and body.places[step.dst].root is Root.TEMP:
                wanted = {step.dst}
                continue
            return False
    return True


__all__ = [
    "CANCEL", "EDIT", "PLACE", "READS", "READS_BALANCE", "READS_OPEN", "READS_ORDER", "VERBS", "Exchange", "Site", "Way",
    "discarded", "last_name",
]  # fmt: skip
