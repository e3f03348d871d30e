"""The linked project: what rules put their questions to. Each question is computed once, on first use, and shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from auditor.facts.codec import Program
from auditor.facts.model import Call, Const, Select
from auditor.finding import Step
from auditor.project.awaitables import Awaitables
from auditor.project.callables import CallResult, Target
from auditor.project.contexts import Contexts
from auditor.project.effects import Changes
from auditor.project.exceptions import Exceptions
from auditor.project.exchange import Exchange
from auditor.project.feasible import loop_answer
from auditor.project.flow import Flow, describe, reads
from auditor.project.graph import Graph, Node
from auditor.project.infer import Inference
from auditor.project.link import Linked
from auditor.project.locks import Locks
from auditor.project.models import ANY, Condition, Model, Models, Role
from auditor.project.order_arguments import Arguments
from auditor.project.outcomes import Outcomes
from auditor.project.sharing import Sharing
from auditor.project.suspension import Suspension
from auditor.project.symbols import ClassNode, FunctionNode, Stubs, Symbols
from auditor.project.types import BOTTOM, Type, join, union
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
        self._receivers: dict[FunctionNode, list[Node]] = {}
        self._answers: dict[FunctionNode, Const | None] = {}
        self._types: dict[FunctionNode, dict[tuple[int, int], Type]] = {}

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

    def loop_answer(self, function: FunctionNode) -> Const | None:
        """What a function that only asks for the running loop or its thread gives on a loop: see `feasible`."""
        if function not in self._answers:
            self._answers[function] = loop_answer(self, function)
        return self._answers[function]

    def calls(self, function: FunctionNode) -> Mapping[int, CallResult]:
        """Every call of a function by the index of its operation."""
        return self.linked.results.get(function, NO_CALLS)

    def types(self, function: FunctionNode) -> Mapping[tuple[int, int], Type]:
        """The types of what each operation of a function reads: (operation, operand) -> type."""
        found = self._types.get(function)
        if found is None:
            found = self._types[function] = {}
            inference = Inference(function, self.world, self.linked.calls)
            inference.watch = lambda run, rank, op: found.update(
                {(rank, x): join(found.get((rank, x), BOTTOM), run.value(x)) for x in reads(op)}
            )
            inference.run()
        return found

    def type_of(self, function: FunctionNode, operand: int) -> Type:
        """The type of a place, joined over all operations that read it."""
        return union(value for (_, place), value in self.types(function).items() if place == operand)

    @cached_property
    def suspension(self) -> Suspension:
        """Which awaits may let other tasks run."""
        return Suspension(self)

    @cached_property
    def locks(self) -> Locks:
        """Which locks there are and where they are held."""
        return Locks(self)

    @cached_property
    def sharing(self) -> Sharing:
        """Which state tasks and threads have in common, and how they change it."""
        return Sharing(self)

    @cached_property
    def contexts(self) -> Contexts:
        """Which loops, threads and roots come to a function."""
        return Contexts(self)

    @cached_property
    def exceptions(self) -> Exceptions:
        """Which handlers an exception of an operation comes to."""
        return Exceptions(self)

    @cached_property
    def exchange(self) -> Exchange:
        """Which calls place, change, cancel and read orders."""
        return Exchange(self)

    @cached_property
    def changes(self) -> Changes:
        """What calls may change, and what values rest on."""
        return Changes(self)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What is known after an order call has failed."""
        return Outcomes(self)

    @cached_property
    def arguments(self) -> Arguments:
        """The arguments of order calls."""
        return Arguments(self)

    @cached_property
    def awaitables(self) -> Awaitables:
        """Which calls give something that can be awaited."""
        return Awaitables(self)

    @cached_property
    def _callers(self) -> Mapping[FunctionNode, tuple[tuple[FunctionNode, int], ...]]:
        found: dict[FunctionNode, list[tuple[FunctionNode, int]]] = {}
        for function in self.functions():
            for op, result in sorted(self.calls(function).items()):
                for target in dict.fromkeys(t.function for t in result.targets):
                    found.setdefault(target, []).append((function, op))
        return {target: tuple(sites) for target, sites in found.items()}

    def callers(self, function: FunctionNode) -> tuple[tuple[FunctionNode, int], ...]:
        """The calls that may run a function: (caller, operation), by path and place."""
        return self._callers.get(function, ())

    def role(self, function: FunctionNode, op: int, model: str) -> tuple[str, Role] | None:
        """The role of a call by a model, with the path that matched; None if it has none. What a team says of a callee,
        of its own code too, goes before what is known of libraries."""
        call = function.body.ops[op]
        result = self.calls(function).get(op)
        if result is None or not isinstance(call, Call):
            return None
        known = self.models.model(model)
        for path, role in self._by_team(function, call, result, known) if known.of_team else ():
            if self._applies(function, call, role):
                return path, role
        for path in result.externals:
            for role in known.roles(path):
                if self._applies(function, call, role):
                    return path, role
        return None

    @staticmethod
    def _by_team(function: FunctionNode, call: Call, result: CallResult, known: Model) -> Iterator[tuple[str, Role]]:
        """Roles by path; of a call with an unknown callee also those by the method's name, with the path as written."""
        own = [f"{t.function.module.name}.{t.function.symbol}" for t in result.targets if not t.wrapper]
        inherited = [f"{t.receiver.dotted}.{t.function.name}" for t in result.targets if t.receiver and not t.wrapper]
        for path in dict.fromkeys((*result.externals, *own, *inherited)):
            yield from ((path, role) for role in known.team_roles(path))
        place = function.body.places[call.callee]
        if result.how in ("partial", "unknown") and place.path and place.path[-1].kind is Select.ATTR:
            for role in known.team_roles(f"{ANY}{place.path[-1].value}"):
                by_name = replace(role, attributes={**role.attributes, "by_name": True})
                yield describe(function.body, call.callee), by_name

    def _applies(self, function: FunctionNode, call: Call, role: Role) -> bool:
        when, unless = role.when, role.unless
        holds = all(self._holds(function, call, condition) for condition in when)
        return holds and not any(self._holds(function, call, condition) for condition in unless)

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
        found = self._receivers.get(function)
        if found is None:
            if not function.self_name or function.cls is None:
                found = [Node(function, None)]
            else:
                classes = [function.cls, *function.cls.descendants()]
                found = [Node(function, c) for c in classes if c.method(function.name) is function]
            self._receivers[function] = found
        return found

    def bound_to(self, function: FunctionNode, receiver: ClassNode | None, exact: bool) -> list[Node]:
        """Those of its receivers that an object of a class, or of exactly that class, can be."""
        if receiver is None or not function.self_name or function.cls is None:
            return self.receivers(function)
        classes = [receiver] if exact else [receiver, *receiver.descendants()]
        return [Node(function, c) for c in classes if c.method(function.name) is function]

    def step(self, function: FunctionNode, op: int, note: str, name: str = "") -> Step:
        """A step of a proof at an operation."""
        line, column, _, _ = function.at(op)
        return Step(function.path, line, column, note, name)


__all__ = ["CallResult", "Node", "Project", "Target"]
