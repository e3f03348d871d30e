"""What is known after an order call has failed: the venue has refused, or the order may rest on the book.

The model `exchange` sorts the exceptions of libraries. Exceptions of the project are sorted by where they are raised: one
that is raised while a lost answer is handled (`except TimeoutError as e: raise OutcomeUnknown from e`) means unknown as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Body, Call, Catch, Collect, Const, Enter, Raise, Root, Select, Store
from auditor.project.exchange import MODEL, PLACE, Way
from auditor.project.flow import Flow, writes
from auditor.project.models import canonical
from auditor.project.symbols import ClassNode, External, FunctionNode, Meaning, Variable
from auditor.project.tasks import of_tests

if TYPE_CHECKING:
    from auditor.project.project import Project

UNKNOWN, REFUSED, OTHER, UNDECIDED = "unknown", "refused", "other", "undecided"
ANY = "any"  # family of the classes that take everything
LOST = re.compile(
    r"(?i)(unknown|timeout|timed_?out|network|connection|transport|disconnect|no_?answer)(error|exception)?$"
)
WAITERS = frozenset({"wait_for", "timeout", "timeout_at", "move_on_after", "fail_after"})


class Caught(NamedTuple):
    """A class that a handler names. `family` is that of the model; `whole` says that it takes all that a lost answer of
    its family raises."""

    kind: str
    family: str
    name: str
    whole: bool = False


class Handler(NamedTuple):
    """A handler that an exception of an operation comes to: its `Catch`, its first block, its region; `named` are the
    classes as far as they are known, `kind` the worst that it takes, `family` of the model, `name` for proofs."""

    op: int
    block: int
    region: int
    kind: str
    family: str
    name: str
    whole: bool

    @property
    def unknown(self) -> bool:
        return self.kind == UNKNOWN


class Outcomes:
    """The answers for one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[tuple[FunctionNode, int], tuple[Caught, ...]] = {}

    def handlers(self, function: FunctionNode, op: int, way: Way) -> list[Handler]:
        """The handlers around an order call that its failures come to, in the order in which they are asked. It ends with
        the first that takes all that the ones before have left; of an unknown outcome the later ones see nothing."""
        body, flow = function.body, self.project.flow(function)
        found: list[Handler] = []
        waited = self.waited(function, op)
        for region, starts in self._around(body, flow, op):
            for start in starts:
                catch = next(
                    (
                        r
                        for r in range(body.blocks[start].start, body.blocks[start].end)
                        if isinstance(body.ops[r], Catch)
                    ),
                    NONE,
                )
                if catch == NONE:
                    continue
                kind, family, name, whole = self._worst(function, catch, way, waited)
                taken = {h.family for h in found if h.unknown and h.whole and h.family != "cancel"}
                if kind == UNKNOWN and taken and (family in taken or family == ANY):
                    kind = OTHER  # a handler before it has taken these
                found.append(Handler(catch, start, region, kind, family, name, whole))
                if family == ANY:
                    return found
        return found

    def comes_up(self, way: Way) -> bool:
        """Whether a failure of unknown outcome comes up to the first call of a way: no function below keeps it."""
        for level in range(1, len(way.hops)):
            function, op = way.hops[level]
            for handler in self.handlers(function, op, way._replace(hops=way.hops[level:])):
                if handler.unknown and handler.whole and not self._raises(function, handler.block):
                    return False
        sent = self.project.exchange.requests(way.venue) if way.venue is not None else ()
        return not sent or not all(self._kept(*site) for site in sent)

    def _kept(self, function: FunctionNode, op: int) -> bool:
        """Whether the function that sends a request keeps the failure to itself."""
        request = Way(PLACE, ((function, op),), "request")
        kept = (h for h in self.handlers(function, op, request) if h.unknown and h.whole)
        return any(not self._raises(function, h.block) for h in kept)

    @staticmethod
    def _raises(function: FunctionNode, start: int) -> bool:
        """Whether some way on from a block raises."""
        blocks, ops = function.body.blocks, function.body.ops
        seen, stack = {start}, [start]
        while stack:
            block = blocks[stack.pop()]
            if block.end > block.start and isinstance(ops[block.end - 1], Raise):
                return True
            for _, target in block.edges:
                if target >= 0 and target not in seen:
                    seen.add(target)
                    stack.append(target)
        return False

    @staticmethod
    def _around(body: Body, flow: Flow, op: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        region = body.blocks[flow.block_of(op)].region
        while region != NONE:
            if body.regions[region].handlers:
                yield region, body.regions[region].handlers
            region = body.regions[region].parent

    def waited(self, function: FunctionNode, op: int) -> bool:
        """Whether a call is given up after a time: `wait_for(place(...), 5)`, `async with timeout(5)`."""
        body = function.body
        call = body.ops[op]
        if not isinstance(call, Call):
            return False
        for step in body.ops:
            if isinstance(step, Call) and _last(body, step) in WAITERS and call.dst in step.args:
                return True
        block = self.project.flow(function).block_of(op)
        region = body.blocks[block].region
        while region != NONE:
            if body.regions[region].kind == "with" and self._times_out(function, region):
                return True
            region = body.regions[region].parent
        return False

    @staticmethod
    def _times_out(function: FunctionNode, region: int) -> bool:
        body = function.body
        leaving = body.blocks[body.regions[region].cleanup] if body.regions[region].cleanup != NONE else None
        sources = (
            {getattr(body.ops[r], "src", NONE) for r in range(leaving.start, leaving.end)}
            if leaving is not None
            else set()
        )
        return any(isinstance(s, Call) and _last(body, s) in WAITERS and s.dst in sources for s in body.ops) or any(
            isinstance(s, Enter) and s.src in sources and _made_by(body, s.src) in WAITERS for s in body.ops
        )

    # --- classes ---
    @staticmethod
    def fits(family: str, way: Way) -> bool:
        """Whether a failure of this call can be of a family."""
        return _fits(family, way, waited=False)

    def _worst(self, function: FunctionNode, catch: int, way: Way, waited: bool) -> Caught:
        """The class of a handler that says most about an order."""
        best = Caught(OTHER, "", "")
        for caught in self._classes(function, catch):
            if caught.kind == UNKNOWN and not _fits(caught.family, way, waited):
                continue
            if not best.name or _weight(caught) > _weight(best):
                best = caught
        return best

    def _classes(self, function: FunctionNode, catch: int) -> tuple[Caught, ...]:
        key = (function, catch)
        known = self._known.get(key)
        if known is None:
            step = function.body.ops[catch]
            if isinstance(step, Catch) and not step.classes:
                known = (Caught(UNKNOWN, ANY, "except", whole=True),)
            else:
                meanings = (
                    [m for c in step.classes for m in self.meanings(function, c, catch)]
                    if isinstance(step, Catch)
                    else []
                )
                known = tuple(self.sorted(m) for m in meanings)
            self._known[key] = known
        return known

    def meanings(self, function: FunctionNode, operand: int, before: int) -> Iterator[Meaning | str | None]:
        """What a class expression names, tuples taken apart; a name of the builtins as text, None for what is not known."""
        body = function.body
        place = body.places[operand]
        if place.root is Root.TEMP:
            maker = next((o for o in reversed(body.ops[:before]) if operand in writes(o)), None)
            if isinstance(maker, Collect):
                for item in maker.items:
                    yield from self.meanings(function, item, before)
            elif isinstance(maker, Store):
                yield from self.meanings(function, maker.src, before)
            else:
                yield None
            return
        if isinstance(place.name, Const | int) or any(kind is not Select.ATTR for kind, _ in place.path):
            yield None
            return
        dotted = ".".join((str(place.name).partition("'")[0], *(str(value) for _, value in place.path)))
        meaning = self.project.symbols.resolve(function.module, dotted, function)
        if isinstance(meaning, Variable):
            yield from self._of_variable(meaning)
        elif meaning is None and not place.path and place.root is Root.GLOBAL:
            yield f"builtins.{place.name}"
        else:
            yield meaning

    def _of_variable(self, variable: Variable) -> Iterator[Meaning | str | None]:
        """`LOST = (TimeoutError, ClientError)` at the top of a module."""
        top = variable.module.functions[0]
        stores = [
            (r, o)
            for r, o in enumerate(top.body.ops)
            if isinstance(o, Store) and _names(top.body, o.dst, variable.name)
        ]
        if len(stores) == 1:
            yield from self.meanings(top, stores[0][1].src, stores[0][0])
        else:
            yield None

    def sorted(self, meaning: Meaning | str | None) -> Caught:
        """What is known after an exception of this class."""
        if isinstance(meaning, ClassNode) and meaning.module.is_stub:
            meaning = External(meaning.dotted)
        if isinstance(meaning, ClassNode):
            if any(c in self._lost for c in (meaning, *meaning.descendants())):
                return Caught(UNKNOWN, "project", meaning.name, whole=True)
            inherited = [
                self.sorted(External(path))
                for c in meaning.mro
                for path in c.externals
                if not path.startswith("builtins.")
            ]
            worst = next((s for s in inherited if s.kind == UNKNOWN), None)
            return worst._replace(name=meaning.name) if worst is not None else Caught(REFUSED, "project", meaning.name)
        path = meaning if isinstance(meaning, str) else meaning.path if isinstance(meaning, External) else ""
        name = canonical(path).removeprefix("builtins.")
        for role in self.project.models.model(MODEL).roles(path) if path else ():
            if role.name in (UNKNOWN, REFUSED):
                return Caught(role.name, str(role.attributes["family"]), name, bool(role.attributes.get("whole")))
        return Caught(OTHER if path else UNDECIDED, "", name)

    @cached_property
    def _lost(self) -> frozenset[ClassNode]:
        """Exceptions of the project that mean that an answer is missing."""
        found: set[ClassNode] = set()
        for function in self.project.functions():
            if of_tests(function.path) or not function.body.regions:
                continue
            body = function.body
            for number, block in enumerate(body.blocks):
                for rank in range(block.start, block.end):
                    step = body.ops[rank]
                    if isinstance(step, Raise) and step.exception != NONE and self._handles_lost(function, number):
                        found.update(m for m in self.raised(function, rank, step.exception) if isinstance(m, ClassNode))
        named = (c for c in self.project.symbols.classes() if LOST.search(c.name) and _is_exception(c))
        return frozenset(found.union(named))

    def _handles_lost(self, function: FunctionNode, block: int) -> bool:
        """Whether a block runs while a timeout or a lost connection is handled."""
        body = function.body
        region = body.blocks[block].region
        while region != NONE:
            if body.regions[region].kind == "except":
                for start in (h for r in body.regions for h in r.handlers if body.blocks[h].region == region):
                    step = next(
                        (
                            body.ops[r]
                            for r in range(body.blocks[start].start, body.blocks[start].end)
                            if isinstance(body.ops[r], Catch)
                        ),
                        None,
                    )
                    if isinstance(step, Catch):
                        for operand in step.classes:
                            for meaning in self.meanings(function, operand, body.blocks[start].end):
                                if not isinstance(meaning, ClassNode) and self.sorted(meaning)[:2] in LOSSES:
                                    return True
            region = body.regions[region].parent
        return False

    def raised(self, function: FunctionNode, rank: int, operand: int) -> Iterator[Meaning | str | None]:
        body = function.body
        place = body.places[operand]
        if place.root is Root.TEMP:
            maker = next((o for o in reversed(body.ops[:rank]) if operand in writes(o)), None)
            if isinstance(maker, Call):
                yield from self.meanings(function, maker.callee, rank)
            return
        yield from self.meanings(function, operand, rank)


LOSSES = frozenset({(UNKNOWN, "timeout"), (UNKNOWN, "transport"), (UNKNOWN, "ccxt")})


def _fits(family: str, way: Way, waited: bool) -> bool:
    """Whether a failure of this call can be of a family: none of ccxt's derives from the builtins, and a wrapper of the
    project may raise its own."""
    ccxt = way.path.startswith("ccxt.")
    if family in (ANY, "project"):
        return family == ANY or way.venue is not None or len(way.hops) > 1
    if family == "cancel":
        return True
    if family == "timeout":
        return waited or not ccxt
    return family == "ccxt" if ccxt else family != "ccxt"


def _weight(caught: Caught) -> tuple[bool, bool, bool, bool]:
    return caught.kind == UNKNOWN, caught.family == ANY, caught.kind == UNDECIDED, caught.kind == REFUSED


def _is_exception(cls: ClassNode) -> bool:
    return any(path.rpartition(".")[2].endswith(("Error", "Exception")) for c in cls.mro for path in c.externals)


def _names(body: Body, operand: int, name: str) -> bool:
    place = body.places[operand]
    return not place.path and place.name == name and place.root in (Root.GLOBAL, Root.LOCAL)


def _last(body: Body, call: Call) -> str:
    place = body.places[call.callee]
    if place.path:
        return str(place.path[-1].value)
    return str(place.name) if place.root not in (Root.TEMP, Root.CONST) else ""


def _made_by(body: Body, operand: int) -> str:
    maker = next((o for o in body.ops if isinstance(o, Call) and o.dst == operand), None)
    return _last(body, maker) if maker is not None else ""
