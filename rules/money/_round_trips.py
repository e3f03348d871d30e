"""Where a float comes from a Decimal: the way back from a float to `float(d)`, over names, calls, attributes and files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    OPERATORS,
    Await,
    Binary,
    Bool,
    Call,
    Choose,
    Const,
    Place,
    Return,
    Root,
    Select,
    Store,
    Unary,
)
from auditor.finding import Step
from auditor.project.flow import describe, writes
from auditor.project.symbols import FunctionNode
from auditor.project.types import Instance

from ._arithmetic import ARITHMETIC
from ._calls import builtin
from ._numbers import Numbers, argument
from ._run import Run
from ._values import Exact, Value, has_float, literal, without_none

DEPTH = 12  # assignments, operators and calls on one way
KEEPING = frozenset({"abs", "min", "max", "float"})
ROUNDS = frozenset({"round", "int", "floor", "ceil", "trunc", "rint"})
CONVERTS = frozenset(
    {"math.fabs", "math.fmod", "math.fsum", "math.copysign", "math.prod", "numpy.float64", "numpy.array"}
)
CURVES = frozenset({
    "log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "sin", "cos", "tan", "tanh", "atan", "erf", "gamma", "pow",
    "random", "uniform", "gauss", "normal", "normalvariate", "triangular", "randn",
})  # fmt: skip


class Way(NamedTuple):
    """`steps` lead from the conversion to the float; `source` is the Decimal as written. `computed`: arithmetic in floats
    lies between, `scaled`: a multiplication or division does; `far`: it crosses functions, `returned`: as the result of one."""

    steps: tuple[Step, ...]
    source: str
    computed: bool = False
    scaled: bool = False
    far: bool = False
    returned: bool = False


class Curved(Exception):
    """A transcendental function, chance or a rounding lies on the way."""


class Ways:
    """The searches of one project."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project
        self._converts: dict[FunctionNode, bool] = {}

    def back(self, function: FunctionNode, rank: int, operand: int) -> Way | None:
        """The way of a float that an operation reads; None if it comes from no Decimal, or if it is rounded or has no
        exact form."""
        try:
            return self._back(function, rank, operand, DEPTH, frozenset())
        except Curved:
            return None

    def _back(
        self,
        function: FunctionNode,
        rank: int,
        operand: int,
        depth: int,
        seen: frozenset[tuple[FunctionNode, int, int]],
    ) -> Way | None:
        key = (function, rank, operand)
        if depth <= 0 or key in seen:
            return None
        seen |= {key}
        run = self.numbers.run(function)
        place = run.places[operand]
        if place.root is Root.CONST:
            return None
        for at in self._definitions(run, rank, operand):
            found = self._through(run, at, depth, seen)
            if found is not None:
                return self._named(run, at, operand, found)
        if place.path and place.path[-1].kind is Select.ATTR and not self._written_here(run, operand):
            return self._attribute(run, rank, place, depth, seen)
        if place.root is Root.LOCAL and not place.path:
            return self._parameter(function, str(place.name), depth, seen)
        return None

    def _named(self, run: Run, at: int, operand: int, found: Way) -> Way:
        name = describe(run.body, operand)
        if not name or not isinstance(run.body.ops[at], Store):
            return found
        note = f"{name} is a float now"
        return found._replace(steps=(*found.steps, self.project.step(run.function, at, note, name)))

    @staticmethod
    def _written_here(run: Run, operand: int) -> bool:
        return any(operand in writes(op) for op in run.body.ops)

    def _definitions(self, run: Run, rank: int, operand: int) -> Iterator[int]:
        """Operations that may have given a place its value, nearest first; a definition in the same block hides others."""
        flow = run.project.flow(run.function)
        block = flow.block_of(rank)
        part = run.body.blocks[block]
        here = [r for r in range(part.start, rank) if operand in writes(run.body.ops[r])]
        if here:
            yield here[-1]
            return
        before = flow.before(block)
        found = [
            r for number in before for r in range(run.body.blocks[number].start, run.body.blocks[number].end)
            if operand in writes(run.body.ops[r])
        ]  # fmt: skip
        blocks = {r: flow.block_of(r) for r in found}
        hidden = {
            r
            for r in found
            for other in found
            if r < other and flow.dominates(blocks[other], block) and flow.dominates(blocks[r], blocks[other])
        }
        yield from sorted((r for r in found if r not in hidden), reverse=True)

    def _through(self, run: Run, at: int, depth: int, seen: frozenset[tuple[FunctionNode, int, int]]) -> Way | None:
        op, function = run.body.ops[at], run.function
        match op:
            case Store(_, src) | Await(_, src):
                return self._back(function, at, src, depth - 1, seen)
            case Unary(_, _, operand):
                return self._back(function, at, operand, depth - 1, seen)
            case Choose(_, _, then, other) | Bool(_, _, then, other):
                return self._back(function, at, then, depth - 1, seen) or self._back(
                    function, at, other, depth - 1, seen
                )
            case Binary(_, operator, left, right, _):
                return self._arithmetic(run, at, OPERATORS[operator], (left, right), depth, seen)
            case Call():
                return self._call(run, at, op, depth, seen)
            case _:
                return None

    def _arithmetic(
        self, run: Run, at: int, operator: str, sides: tuple[int, int], depth: int,
        seen: frozenset[tuple[FunctionNode, int, int]],
    ) -> Way | None:  # fmt: skip
        if operator == "%" and isinstance(name := run.places[sides[0]].name, Const) and name.kind == "str":
            return self._formatted(run, at, name.text, sides[1])
        if operator not in ARITHMETIC or not has_float(run.written.get(at, frozenset())):
            return None
        found: Way | None = None
        for side in sides:
            below = self._back(run.function, at, side, depth - 1, seen)
            found = found or below
        if found is None:
            return None
        if operator == "**":
            raise Curved
        if any(literal(run.seen(at, side)) in ("1", "1.0", "0", "0.0") for side in sides) and operator in (
            "*",
            "+",
            "/",
        ):
            return found
        return found._replace(computed=True, scaled=found.scaled or operator in ("*", "/", "//"))

    def _formatted(self, run: Run, at: int, template: str, operand: int) -> Way | None:
        """`"%.8f" % d` goes through a float."""
        if not self._decimal(run.seen(at, operand)) or not any(f in template for f in ("f", "g", "e")):
            return None
        name = describe(run.body, operand) or "the Decimal"
        return Way((self.project.step(run.function, at, f"% formats {name} through a float", name),), name)

    @staticmethod
    def _decimal(value: Value) -> bool:
        return bool(value) and all(isinstance(atom, Exact) for atom in without_none(value))

    def _call(
        self, run: Run, at: int, op: Call, depth: int, seen: frozenset[tuple[FunctionNode, int, int]]
    ) -> Way | None:
        result = run.project.calls(run.function).get(at)
        name = builtin(result)
        last = describe(run.body, op.callee).rpartition(".")[2]
        external = result.external if result is not None and not result.targets else ""
        if (name == "float" or external in CONVERTS) and op.args:
            seed = self._seed(run, at, op.args[0])
            if seed is not None:
                return seed
        if last == "__float__" and self._decimal(run.base(op.callee)):
            return self._seed_of(run, at, describe(run.body, op.callee).rpartition(".")[0] or "the Decimal")
        if name in ROUNDS or (external and last in ROUNDS) or (external and last in CURVES):
            for operand in op.args:
                if self._back(run.function, at, operand, depth - 1, seen) is not None:
                    raise Curved
            return None
        if name in KEEPING or name in ("str", "repr", "sum"):
            for operand in op.args:
                found = self._back(run.function, at, operand, depth - 1, seen)
                if found is not None:
                    return found._replace(computed=True) if name == "sum" else found
            return None
        if result is None:
            return None
        for target in result.targets:
            if (
                target.wrapper
                or target.function.header.kind not in ("def", "lambda")
                or not self._may_convert(target.function)
            ):
                continue
            inner = self.numbers.run(target.function)
            for rank, step in enumerate(inner.body.ops):
                if isinstance(step, Return) and has_float(inner.written.get(rank, frozenset())):
                    found = self._back(target.function, rank, step.src, depth - 2, seen)
                    if found is not None:
                        here = self.project.step(
                            target.function, rank, f"{target.function.name}() returns the float", target.function.name
                        )
                        return found._replace(steps=(*found.steps, here), far=True, returned=True)
        return None

    def _may_convert(self, function: FunctionNode) -> bool:
        """Whether a function speaks of float() at all."""
        found = self._converts.get(function)
        if found is None:
            places = function.body.places
            found = self._converts[function] = any(
                isinstance(op, Call)
                and (places[op.callee].name == "float" or describe(function.body, op.callee).startswith("math."))
                for op in function.body.ops
            )
        return found

    def _seed(self, run: Run, at: int, operand: int) -> Way | None:
        if not self._decimal(run.seen(at, operand)):
            return None
        return self._seed_of(run, at, describe(run.body, operand) or self._expression(run, at, operand))

    @staticmethod
    def _expression(run: Run, at: int, operand: int) -> str:
        made = next((run.body.ops[r] for r in range(at - 1, -1, -1) if operand in writes(run.body.ops[r])), None)
        if isinstance(made, Binary):
            names = [describe(run.body, side) for side in (made.left, made.right)]
            return next((n for n in names if n), "the Decimal")
        return f"{describe(run.body, made.callee)}()" if isinstance(made, Call) else "the Decimal"

    def _seed_of(self, run: Run, at: int, name: str) -> Way:
        short = name.rpartition(".")[2]
        return Way((self.project.step(run.function, at, f"float of the Decimal {name}", short),), name)

    def _parameter(
        self, function: FunctionNode, name: str, depth: int, seen: frozenset[tuple[FunctionNode, int, int]]
    ) -> Way | None:
        if not any(p.name == name for p in function.header.params):
            return None
        for caller, op in self.numbers.callers(function):
            operand = argument(self.project, caller, op, function, name)
            if (
                operand is None
                or operand < 0
                or not has_float(self.numbers.run(caller).inputs.get(op, {}).get(operand, frozenset()))
            ):
                continue
            found = self._back(caller, op, operand, depth - 2, seen)
            if found is not None:
                here = self.project.step(caller, op, f"passed to {function.name}() as {name}", function.name)
                return found._replace(steps=(*found.steps, here), far=True)
        return None

    def _attribute(
        self, run: Run, rank: int, place: Place, depth: int, seen: frozenset[tuple[FunctionNode, int, int]]
    ) -> Way | None:
        """What the project stores into an attribute that is read here."""
        base = Place(place.root, place.name, place.path[:-1])
        index = run.index.get(base)
        name = str(place.path[-1].value)
        if index is None:
            return None
        for atom in sorted(run.seen(rank, index), key=repr):
            if not isinstance(atom, Instance) or isinstance(atom.cls, str):
                continue
            line = {*atom.cls.mro, *atom.cls.descendants()}
            for function, at in self.numbers.stores(name):
                if (
                    function.cls in line
                    and isinstance(function.body.ops[at], Store | Binary)
                    and self._may_convert(function)
                ):
                    found = self._through(self.numbers.run(function), at, depth - 2, seen)
                    if found is not None:
                        here = self.project.step(function, at, f"{name} keeps the float", name)
                        return found._replace(steps=(*found.steps, here), far=True)
        return None
