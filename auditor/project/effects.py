"""Effects: what a call may change, and what its value rests on, by names of attributes and variables.

For the question whether something stays as it is: an answer names too much rather than too little. Attributes count by name,
of whatever object; a container counts as changed when an item of it is. What a callee outside of the project does is told
by its path: most of the standard library changes at most what it is handed.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Call, Const, Root, Select, Store
from auditor.project.callables import CallResult
from auditor.project.flow import reads, writes
from auditor.project.graph import Node, last_name
from auditor.project.models import canonical
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance

if TYPE_CHECKING:
    from auditor.project.project import Project

MAX_FUNCTIONS = 120  # that one call is followed through; more and it may change anything

PURE_BUILTINS = frozenset({
    "abs", "all", "any", "bool", "bytes", "callable", "chr", "dict", "divmod", "enumerate", "float", "format", "frozenset", "hasattr",
    "hash", "hex", "id", "int", "isinstance", "issubclass", "len", "list", "max", "min", "ord", "pow", "range", "repr", "reversed",
    "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip",
})  # fmt: skip
PURE_METHODS = frozenset({
    "get", "keys", "values", "items", "copy", "index", "count", "union", "difference", "intersection", "issubset", "issuperset",
    "isdisjoint", "split", "strip", "lower", "upper", "replace", "join", "encode", "startswith", "endswith", "lstrip", "rstrip", "title",
    "rsplit", "format", "isdigit",
})  # fmt: skip
CONTAINERS = ("builtins.dict.", "builtins.list.", "builtins.set.", "builtins.str.", "builtins.tuple.", "builtins.frozenset.")
STATES = frozenset({
    "is_set", "done", "cancelled", "empty", "full", "qsize", "locked", "is_alive", "running", "is_closing", "is_closed",
})  # fmt: skip
STATEFUL = ("asyncio.", "threading.", "queue.", "concurrent.futures.", "multiprocessing.")
LOGS = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "notify"})
TURNS = frozenset({"run", "run_until_complete", "run_forever", "apply", "sleep"})  # of asyncio: they let the loop turn
QUIET = frozenset({"builtins.print", "time.sleep"})


class Effects(NamedTuple):
    """Attributes and variables that may change, by name; `given`: what the function was handed may change too; `anything`:
    it runs what is not known."""

    attributes: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    given: bool = False
    anything: bool = False

    def joined(self, other: Effects) -> Effects:
        return Effects(
            self.attributes | other.attributes,
            self.variables | other.variables,
            self.given or other.given,
            self.anything or other.anything,
        )


class Basis(NamedTuple):
    """What a value rests on: attributes and variables by name; `anything`: on something that is not known, as the time."""

    attributes: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    anything: bool = False


NOTHING = Effects()
UNDECIDED = Basis(anything=True)
ANYTHING = Effects(anything=True)


def outside(path: str) -> str:
    """What a callee outside of the project may change: nothing, given (what it is handed) or anything."""
    plain = canonical(path)
    package, _, name = plain.rpartition(".")
    if plain in QUIET or plain.startswith("logging.") or name in LOGS and not package.startswith("builtins"):
        return "nothing"
    if package == "builtins" and name in PURE_BUILTINS:
        return "nothing"
    if is_pure(plain):
        return "nothing"
    if plain.startswith("asyncio.") and name in TURNS:
        return "nothing" if name == "sleep" else "anything"
    top = plain.partition(".")[0]
    return "given" if top in sys.stdlib_module_names or top == "builtins" else "anything"


def callees_outside(result: CallResult) -> list[str]:
    """Paths of the callees outside of the project; the constructor that a class of the project does not have is none."""
    made = {f"{a.cls.dotted}()" for a in result.type if isinstance(a, Instance) and isinstance(a.cls, ClassNode)}
    return [path for path in result.externals if path not in made]


def is_pure(path: str) -> bool:
    """Whether the value of a callee rests on nothing but its receiver and its arguments."""
    plain = canonical(path)
    package, _, name = plain.rpartition(".")
    if package == "builtins":
        return name in PURE_BUILTINS
    if plain.startswith(CONTAINERS):
        return name in PURE_METHODS
    return name in STATES and plain.startswith(STATEFUL)


class _Own(NamedTuple):
    """What one function does by itself: its effects, the names that it hands to functions of the project, and these."""

    effects: Effects
    handed: Effects
    below: tuple[FunctionNode, ...]


class Changes:
    """Effects of calls and bases of values, each function looked at once; chains of calls are followed without recursion."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._own: dict[FunctionNode, _Own] = {}
        self._of: dict[FunctionNode, Effects] = {}
        self._rests: dict[FunctionNode, tuple[Basis, tuple[FunctionNode, ...]]] = {}
        self._bases: dict[FunctionNode, Basis] = {}

    # --- what is changed ---
    def of(self, function: FunctionNode) -> Effects:
        """What running a function may change, with all that it calls; a coroutine is taken to be awaited."""
        known = self._of.get(function)
        if known is None:
            known, handed = NOTHING, NOTHING
            seen, pending = {function}, [function]
            while pending and not known.anything:
                own = self._by_itself(pending.pop())
                known, handed = known.joined(own.effects), handed.joined(own.handed)
                fresh = [f for f in own.below if f not in seen]
                seen.update(fresh)
                pending.extend(fresh)
                if len(seen) > MAX_FUNCTIONS:
                    known = ANYTHING
            self._of[function] = known = known.joined(handed) if known.given else known
        return known

    def call(self, function: FunctionNode, op: int) -> Effects:
        """What a call may change, the names that it is handed included."""
        body = function.body
        call = body.ops[op]
        result = self.project.calls(function).get(op)
        if not isinstance(call, Call) or result is None:
            return ANYTHING
        if last_name(function, call) in LOGS and not result.targets:
            return NOTHING
        if result.how in ("unknown", "partial"):
            return ANYTHING
        kinds = {outside(path) for path in callees_outside(result)}
        found = ANYTHING if "anything" in kinds else Effects(given="given" in kinds)
        for target in dict.fromkeys(t.function for t in (*result.targets, *result.handed)):
            found = found.joined(self.of(target))
        return found.joined(self.handed(function, op)) if found.given else found

    def handed(self, function: FunctionNode, op: int) -> Effects:
        """The names that a call is handed, its receiver included: what it changes if it changes what it is given."""
        call = function.body.ops[op]
        if not isinstance(call, Call):
            return NOTHING
        body = function.body
        found = self._named(function, call.callee, last=1)
        if not body.places[call.callee].path:  # a bound method by another name: `pop = work.pop`
            for step in (body.ops[r] for r in function.operands.writers(call.callee)):
                if isinstance(step, Store) and body.places[step.src].path:
                    found = found.joined(self._named(function, step.src, last=1))
        for operand in (*call.args, *(value for _, value in call.keywords)):
            found = found.joined(self._named(function, operand))
        return found

    def written(self, function: FunctionNode, op: int) -> Effects:
        """The names that an operation binds or whose items it sets; local names that it binds are left out."""
        found = NOTHING
        step = function.body.ops[op]
        for operand in writes(step):
            place = function.body.places[operand]
            if place.path or place.root in (Root.GLOBAL, Root.CELL):
                found = found.joined(self._named(function, operand))
        return found

    @staticmethod
    def _named(function: FunctionNode, operand: int, last: int = 0) -> Effects:
        """The name that a place ends with: its last attribute, without `last` selectors; else its variable."""
        if operand == NONE:
            return NOTHING
        place = function.body.places[operand]
        path = place.path[: len(place.path) - last]
        names = [str(s.value) for s in path if s.kind is Select.ATTR]
        if names:
            return Effects(frozenset(names[-1:]))
        return NOTHING if isinstance(place.name, Const | int) else Effects(variables=frozenset((place.name,)))

    def _by_itself(self, function: FunctionNode) -> _Own:
        known = self._own.get(function)
        if known is None:
            known = self._own[function] = self._looked_at(function)
        return known

    def _looked_at(self, function: FunctionNode) -> _Own:
        effects, handed = NOTHING, NOTHING
        below: dict[FunctionNode, None] = {}
        params = {p.name for p in function.header.params} - {function.self_name}
        for rank, step in enumerate(function.body.ops):
            changed = self.written(function, rank)
            if isinstance(step, Call) and last_name(function, step) not in LOGS:
                result = self.project.calls(function).get(rank)
                kinds = [outside(path) for path in callees_outside(result)] if result is not None else []
                if result is None or result.how in ("unknown", "partial") or "anything" in kinds:
                    return _Own(ANYTHING, NOTHING, ())
                below.update((t.function, None) for t in (*result.targets, *result.handed))
                given = self.handed(function, rank)
                handed = handed.joined(given)
                changed = changed.joined(given) if "given" in kinds else changed
            outer = changed.variables & params
            effects = effects.joined(changed._replace(variables=changed.variables - params, given=bool(outer)))
        below.update((run.target.function, None) for run in self.project.graph.runs(Node(function, None)))
        return _Own(effects, handed._replace(variables=handed.variables - params), tuple(below))

    # --- what a value rests on ---
    @cached_property
    def properties(self) -> frozenset[str]:
        """Names of properties of the project's classes."""
        return frozenset(f.name for f in self.project.functions() if f.is_property and f.cls is not None)

    def basis(self, function: FunctionNode) -> Basis:
        """What the value that a function gives rests on, besides its arguments."""
        known = self._bases.get(function)
        if known is None:
            known = Basis()
            seen, pending = {function}, [function]
            while pending and not known.anything:
                own, below = self._rest(pending.pop())
                known = Basis(known.attributes | own.attributes, known.variables | own.variables, own.anything)
                fresh = [f for f in below if f not in seen]
                seen.update(fresh)
                pending.extend(fresh)
                if len(seen) > MAX_FUNCTIONS:
                    known = UNDECIDED
            self._bases[function] = known
        return known

    def _rest(self, function: FunctionNode) -> tuple[Basis, tuple[FunctionNode, ...]]:
        known = self._rests.get(function)
        if known is None:
            known = self._rests[function] = self._read(function)
        return known

    def _read(self, function: FunctionNode) -> tuple[Basis, tuple[FunctionNode, ...]]:
        attributes: set[str] = set()
        variables: set[str] = set()
        below: dict[FunctionNode, None] = {}
        body = function.body
        if function.header.is_async or function.header.is_generator:
            return UNDECIDED, ()
        for rank, step in enumerate(body.ops):
            if isinstance(step, Call) and last_name(function, step) not in LOGS:
                result = self.project.calls(function).get(rank)
                if result is None or result.how in ("unknown", "partial") or not all(map(is_pure, callees_outside(result))):
                    return UNDECIDED, ()
                below.update((t.function, None) for t in result.targets)
            for operand in reads(step):
                place = body.places[operand]
                attributes.update(str(s.value) for s in place.path if s.kind is Select.ATTR)
                if place.root in (Root.GLOBAL, Root.CELL):
                    variables.add(str(place.name))
        below.update((r.target.function, None) for r in self.project.graph.runs(Node(function, None)) if r.kind == "property")
        return Basis(frozenset(attributes), frozenset(variables)), tuple(below)
