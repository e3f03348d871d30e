"""The linked project: what rules put their questions to. Each question is computed once, on first use, and shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from auditor.facts.codec import Program
from auditor.facts.model import Call, Const
from auditor.finding import Step
from auditor.project.callables import CallResult, Target
from auditor.project.flow import Flow
from auditor.project.graph import Graph, Node
from auditor.project.link import Linked
from auditor.project.models import Condition, Models, Role
from auditor.project.symbols import FunctionNode, Stubs, Symbols
from auditor.project.world import World

NO_CALLS: Mapping[int, CallResult] = {}


class Project:
    """All files, linked. `programs` maps posix paths to decoded facts; `stubs` gives the standard library; `models` what
    is known of other libraries; `traces` are those of an earlier run, valid or not."""

    def __init__(
        self,
        programs: Mapping[str, Program],
        stubs: Stubs | None = None,
        models: Models | None = None,
        traces: bytes | None = None,
    ) -> None:
        self.programs = programs
        self.traces = traces
        self.symbols = Symbols(programs, stubs)
        self.models = models or Models()
        self._flows: dict[FunctionNode, Flow] = {}

    @cached_property
    def linked(self) -> Linked:
        return Linked(self.symbols, self.traces)

    @property
    def world(self) -> World:
        return self.linked.world

    @cached_property
    def graph(self) -> Graph:
        """The call graph with concrete receivers."""
        return Graph(self)

    def functions(self) -> Iterator[FunctionNode]:
        """Every function of the project, module and class bodies included, by path and place."""
        return self.symbols.functions()

    def flow(self, function: FunctionNode) -> Flow:
        """Control flow of a function."""
        found = self._flows.get(function)
        if found is None:
            found = self._flows[function] = Flow(function.body)
        return found

    def calls(self, function: FunctionNode) -> Mapping[int, CallResult]:
        """Every call of a function by the index of its operation."""
        return self.linked.results.get(function, NO_CALLS)

    def role(self, function: FunctionNode, op: int, model: str) -> tuple[str, Role] | None:
        """The role of a call by a library model, with the path that matched; None if it has none."""
        call = function.body.ops[op]
        result = self.calls(function).get(op)
        if result is None or not isinstance(call, Call):
            return None
        for path in result.externals:
            for role in self.models.model(model).roles(path):
                if all(self._holds(function, call, c) for c in role.when) and not any(
                    self._holds(function, call, c) for c in role.unless
                ):
                    return path, role
        return None

    @staticmethod
    def _holds(function: FunctionNode, call: Call, condition: Condition) -> bool:
        operand = next((value for name, value in call.keywords if name == condition.keyword), None)
        if operand is None and condition.position is not None and condition.position < len(call.args):
            operand = call.args[condition.position]
        if operand is None:
            return False
        literal = function.body.places[operand].name
        if condition.equals is None and condition.above is None:
            return True
        if not isinstance(literal, Const):
            return False
        if condition.equals is not None:
            return literal.text == condition.equals
        try:
            return float(literal.text) > (condition.above or 0.0)
        except ValueError:
            return False

    def receivers(self, function: FunctionNode) -> list[Node]:
        """The function with each class that its `self` can have; one node without a class for a plain function."""
        if not function.self_name or function.cls is None:
            return [Node(function, None)]
        classes = [function.cls, *function.cls.descendants()]
        return [Node(function, c) for c in classes if c.method(function.name) is function]

    def step(self, function: FunctionNode, op: int, note: str, name: str = "") -> Step:
        """A step of a proof at an operation."""
        line, column, _, _ = function.at(op)
        return Step(function.path, line, column, note, name)


__all__ = ["CallResult", "Node", "Project", "Target"]
