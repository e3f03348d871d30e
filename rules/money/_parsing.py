"""What a Decimal is parsed from, and who takes the exception when the text is no number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Call, Const, Format, Op, Root, Select, Store
from auditor.finding import Step
from auditor.project.exceptions import Handler
from auditor.project.flow import describe, writes
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import ROUTES
from auditor.project.types import UNKNOWN, Instance

from ._calls import builtin
from ._run import Run
from ._values import NONE_ATOM, PAIR, Exact, External, Fields, Number, Series, Value

INVALID, TYPE = "decimal.InvalidOperation", "builtins.TypeError"
OUTSIDE, TEXT, NOTHING, OPEN, NEVER, SAFE = "outside", "text", "nothing", "open", "never", "safe"
FOLLOWED = 3  # names between a text and the Decimal
CALLERS = 6  # calls between a root and a parse
VALUES = ("builtins.str", "builtins.int", "builtins.float", "decimal.Decimal", "_decimal.Decimal")


class Parsed(NamedTuple):
    """What a Decimal is parsed from: `kind` says what it can be, `through` that `str()` stands between, `source` is the
    operand below that at operation `at`, `written` its text; `raises` what it raises then."""

    kind: str
    through: bool
    source: int
    at: int
    written: str

    @property
    def raises(self) -> str:
        return INVALID if self.through or self.kind in (TEXT, OPEN, OUTSIDE) else TYPE


def maker(run: Run, operand: int, before: int) -> int | None:
    """The nearest operation above that wrote an operand, in a block from which this one is reached."""
    ops = run.body.ops
    return next((r for r in range(before - 1, -1, -1) if operand in writes(ops[r])), None)


def parsed(run: Run, rank: int, operand: int) -> Parsed:
    """What the operand of a construction is made of."""
    at, source, through = rank, operand, False
    for _ in range(FOLLOWED):
        found = maker(run, source, at)
        step: Op | None = run.body.ops[found] if found is not None else None
        if found is None:
            break
        if isinstance(step, Format):
            parts = [p for p in step.parts if not (isinstance((c := run.places[p].name), Const) and c.kind == "spec")]
            if len(parts) != 1:
                return Parsed(SAFE, True, source, at, "")
            at, source, through = found, parts[0], True
        elif (
            isinstance(step, Call)
            and builtin(run.project.calls(run.function).get(found)) in ("str", "repr")
            and len(step.args) == 1
        ):
            at, source, through = found, step.args[0], True
        elif (
            isinstance(step, Store)
            and run.places[source].root in (Root.LOCAL, Root.TEMP)
            and not run.places[source].path
        ):
            name = run.places[source].name
            given = any(p.name == name for p in run.function.header.params)
            if given or sum(source in writes(other) for other in run.body.ops) != 1:
                break
            at, source = found, step.src
        else:
            break
    return Parsed(_kind(run.seen(at, source), through), through, source, at, _written(run, source, at))


def _written(run: Run, operand: int, before: int) -> str:
    name = describe(run.body, operand)
    if name:
        return name
    made = maker(run, operand, before)
    step = run.body.ops[made] if made is not None else None
    return f"{describe(run.body, step.callee) or '...'}()" if isinstance(step, Call) else "the value"


def _kind(value: Value, through: bool) -> str:
    """The worst that can be parsed."""
    if not value or UNKNOWN in value:
        return OPEN
    if all(_never(atom, through) for atom in value):
        return NEVER
    if any(isinstance(atom, External) for atom in value):
        return OUTSIDE
    if NONE_ATOM in value:
        return NOTHING
    if any(
        isinstance(atom, Number) and atom.kind == "str" and (atom.text is None or not number(atom.text))
        for atom in value
    ):
        literal = all(isinstance(a, Number) and a.kind == "str" and a.text is not None for a in value)
        return NEVER if literal else TEXT
    return SAFE if all(isinstance(atom, Number | Exact | Series) for atom in value) else OPEN


def _never(atom: object, through: bool) -> bool:
    """Whether a value of this type is never a number: a dict, a set, an instance of a plain class of the project."""
    if isinstance(atom, Fields):
        return True
    if not isinstance(atom, Instance):
        return False
    if isinstance(atom.cls, ClassNode):
        if atom.cls.externals or any(c.externals for c in atom.cls.mro) or atom.cls.header.keywords:
            return False
        return not through or atom.cls.method("__str__") is None and atom.cls.method("__repr__") is None
    return atom.cls in ("builtins.dict", "builtins.set") or (
        through and atom.cls in ("builtins.list", "builtins.tuple")
    )


def number(text: str) -> bool:
    """Whether a text is accepted by the constructor."""
    plain = text.strip().replace("_", "").lower().lstrip("+-")
    if plain in ("inf", "infinity", "nan", "snan"):
        return True
    mantissa, _, exponent = plain.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).isdigit()
    return digits and ("e" not in plain or exponent.lstrip("+-").isdigit())


def default_of(run: Run, source: Parsed) -> tuple[int, str] | None:
    """Of `payload.get("last", 0)` the operation and the default as written; None for anything else."""
    made = maker(run, source.source, source.at)
    step = run.body.ops[made] if made is not None else None
    if not isinstance(step, Call) or made is None or len(step.args) != PAIR or step.keywords:
        return None
    place = run.places[step.callee]
    if not place.path or place.path[-1] != (Select.ATTR, "get"):
        return None
    default = run.places[step.args[1]].name
    if not isinstance(default, Const) or default.kind == "none":
        return None
    return made, default.text if default.kind != "str" else f'"{default.text}"'


class Guards:
    """Who takes what a parse raises: the handlers around it, and those around the calls that lead to it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._ways: dict[tuple[FunctionNode, str], tuple[Step, ...] | None] = {}

    def taker(self, function: FunctionNode, op: int, raised: str) -> Handler | None:
        """The handler of the function that takes or may take an exception."""
        found, doubtful = self.project.exceptions.taker(function, op, raised)
        if found is None and doubtful:
            return self.project.exceptions.around(function, op)[0]  # one that cannot be read may take it
        return found

    def open_way(self, function: FunctionNode, raised: str, depth: int = CALLERS) -> tuple[Step, ...] | None:
        """A chain of calls from a task, thread or request handler to a function on which nothing takes an exception; None
        if there is none, or if that cannot be seen."""
        key = (function, raised)
        if key in self._ways:
            return self._ways[key]
        self._ways[key] = None  # a way does not lead through itself
        found: tuple[Step, ...] | None = None
        root = self._root(function)
        if root:
            found = (root,)
        elif depth:
            for caller, op in self.project.callers(function):
                if self.taker(caller, op, raised) is not None:
                    continue
                above = self.open_way(caller, raised, depth - 1)
                if above is not None:
                    found = (*above, self.project.step(caller, op, f"calls {function.name}()", function.name))
                    break
        self._ways[key] = found
        return found

    def _root(self, function: FunctionNode) -> Step | None:
        for spawn in self.project.contexts.spawns_of(function):
            if spawn.how in ("task", "thread", "callback", "executor"):
                note = f"{function.name}() runs as a {spawn.how} of its own"
                return self.project.step(spawn.site, spawn.op, note, function.name)
        if any(d.name.rpartition(".")[2] in ROUTES and d.called for d in function.header.decorators):
            line, column = function.position()
            return Step(function.path, line, column, f"{function.name}() answers requests", function.name)
        return None


def others(run: Run, handler: Handler, rank: int) -> Iterator[int]:
    """The calls of a guarded body besides one."""
    body = run.body
    for block in body.blocks:
        region = block.region
        while region not in (handler.region, -1):
            region = body.regions[region].parent
        if region == handler.region:
            yield from (r for r in range(block.start, block.end) if isinstance(body.ops[r], Call) and r != rank)
