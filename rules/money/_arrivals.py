"""How None comes to an operand: a parameter that a caller leaves out or fills with it, a function or property that gives it."""

from __future__ import annotations

from auditor.facts.model import NONE, Call, Place, Return, Root, Select, Store
from auditor.finding import Step
from auditor.project.flow import describe, writes
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import UNKNOWN, Instance

from ._numbers import Numbers, argument
from ._run import Run
from ._values import NONE_ATOM, Exact

DEPTH = 4  # names between a comparison and the None that it meets


class Arrivals:
    """The searches of one project."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project

    def of(self, run: Run, rank: int, operand: int) -> tuple[Step, ...] | None:
        """The steps by which None comes to an operand; None if it is not seen to."""
        return self._arrives(run, rank, operand, DEPTH)

    def _arrives(self, run: Run, rank: int, operand: int, depth: int) -> tuple[Step, ...] | None:
        """How None comes to an operand: a parameter that a caller leaves or fills with None, a function that returns it."""
        if depth <= 0:
            return None
        function, place = run.function, run.places[operand]
        if place.path:
            return self._of_property(run, rank, operand)
        made = [r for r, op in enumerate(run.body.ops) if operand in writes(op) and r < rank]
        if place.root is Root.LOCAL and not made:
            return self._left_out(function, str(place.name), depth)
        if not made:
            return None
        step = run.body.ops[made[-1]]
        flow = run.project.flow(function)
        if NONE_ATOM not in run.written.get(made[-1], frozenset()) or not flow.dominates(
            flow.block_of(made[-1]), flow.block_of(rank)
        ):
            return None
        if isinstance(step, Store):
            return self._arrives(run, made[-1], step.src, depth - 1)
        result = run.project.calls(function).get(made[-1])
        if isinstance(step, Call) and len(step.args) == 1 and result is not None and not result.targets:
            called = describe(run.body, step.callee)
            if called.endswith(".get") and all(isinstance(a, Exact) or a == NONE_ATOM for a in run.written[made[-1]]):
                return (
                    self.project.step(function, made[-1], f"{called}() gives None for a key that is not there", "get"),
                )
        if result is None or len(result.targets) != 1:
            return None
        target = result.targets[0].function
        inner = self.numbers.run(target)
        for at, op in enumerate(target.body.ops):
            if isinstance(op, Return) and (op.src == NONE or inner.written.get(at) == frozenset((NONE_ATOM,))):
                note = f"{target.name}() returns None here"
                return (
                    self.project.step(target, at, note, target.name),
                    self.project.step(
                        function, made[-1], f"what {target.name}() gives is not asked for None", target.name
                    ),
                )
        return None

    def _of_property(self, run: Run, rank: int, operand: int) -> tuple[Step, ...] | None:
        """A property of the project that gives None in one case."""
        place = run.places[operand]
        base = run.index.get(Place(place.root, place.name, place.path[:-1]))
        if base is None or place.path[-1].kind is not Select.ATTR:
            return None
        for atom in sorted(run.seen(rank, base), key=repr):
            method = (
                atom.cls.method(str(place.path[-1].value))
                if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode)
                else None
            )
            if method is None or not method.is_property:
                continue
            inner = self.numbers.run(method)
            for at, op in enumerate(method.body.ops):
                if isinstance(op, Return) and NONE_ATOM in inner.written.get(at, frozenset()):
                    return (self.project.step(method, at, f"{method.name} gives None here", method.name),)
        return None

    def _left_out(self, function: FunctionNode, name: str, depth: int) -> tuple[Step, ...] | None:
        param = next((p for p in function.header.params if p.name == name), None)
        if param is None:
            return None
        default = param.default is not None and param.default.kind == "none"
        for caller, op in self.numbers.callers(function):
            operand = argument(self.project, caller, op, function, name)
            if operand == NONE and default:
                return (
                    self.project.step(
                        caller, op, f"{function.name}() is called without {name}, which is None then", function.name
                    ),
                )
            if operand is None or operand < 0:
                continue
            above = self.numbers.run(caller)
            value = above.inputs.get(op, {}).get(operand, frozenset())
            here = self.project.step(caller, op, f"None is passed to {function.name}() as {name}", function.name)
            if value == frozenset((NONE_ATOM,)):
                return (here,)
            if NONE_ATOM in value and UNKNOWN not in value:
                below = self._arrives(above, op, operand, depth - 1)
                if below is not None:
                    return (*below, here)
        return None
