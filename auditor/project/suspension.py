"""Whether awaiting a function may let other tasks run. `await f()` interleaves only if f comes to a real suspension.

Three values: never, may (with a witness), unknown. A coroutine whose awaits all never suspend runs straight through; so do
`asyncio.timeout`, `put` on a queue without bound, and managers and iterators of the project that never suspend.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from auditor.facts.model import NONE, Await, Call, Enter, Exit, Iterate, Next
from auditor.project.callables import CallResult
from auditor.project.graph import Node
from auditor.project.models import canonical
from auditor.project.protocols import Implementations, is_declared
from auditor.project.summaries import summaries
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance, Outside, Type

if TYPE_CHECKING:
    from auditor.project.project import Project


class Suspends(enum.IntEnum):
    """Ordered: the greater value wins where several awaits meet."""

    NEVER = 0
    UNKNOWN = 1
    MAY = 2


# Awaitables and managers of asyncio that run straight through.
STRAIGHT = frozenset(
    {
        "asyncio.timeout",
        "asyncio.timeouts.timeout",
        "asyncio.timeout_at",
        "asyncio.timeouts.timeout_at",
        "contextlib.nullcontext",
        "contextlib.AsyncExitStack",
    }
)


Summary = Callable[[Node], Suspends]


class Suspension:
    """Answers for nodes (a function and the class of its `self`) and for single operations of them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._implementations = Implementations(project.symbols)
        roots = [n for f in project.functions() if f.header.is_async for n in project.receivers(f)]
        self._values = summaries(roots, self._callees, self._transfer, Suspends.NEVER, Suspends.UNKNOWN)

    def of(self, node: Node) -> Suspends:
        """Whether running the coroutine to its end may suspend."""
        return self._values.get(node, Suspends.UNKNOWN)

    def at(self, node: Node, op: int) -> Suspends:
        """Whether an await, an asynchronous `with` or `for` at this operation may suspend."""
        return self._operation(node, op, self.of)

    def points(self, node: Node) -> Iterator[int]:
        """Operations at which the function hands control away, if at all."""
        for rank, op in enumerate(node.function.body.ops):
            if isinstance(op, Await) or isinstance(op, Enter | Exit | Next) and op.is_async:
                yield rank

    def witness(self, node: Node, op: int) -> list[tuple[Node, int]]:
        """The chain from an operation that may suspend to the first real suspension, shortest first by place."""
        chain = [(node, op)]
        seen = {node}
        while True:
            node, op = chain[-1]
            inner = next(
                (
                    (target, rank)
                    for target in self._awaited(node, op)
                    if target not in seen
                    for rank in self.points(target)
                    if self.at(target, rank) is Suspends.MAY
                ),
                None,
            )
            if inner is None:
                return chain
            seen.add(inner[0])
            chain.append(inner)

    def awaited(self, node: Node, op: int) -> list[Node]:
        """Coroutines of the project that run before control comes back from an operation, each with its receiver."""
        return self._awaited(node, op)

    # --- the transfer function ---
    def _callees(self, node: Node) -> list[Node]:
        return [target for op in self.points(node) for target in self._awaited(node, op)]

    def _transfer(self, node: Node, summary: Summary) -> Suspends:
        if is_declared(node.function):  # its body is none; what implements it is asked beside it
            return Suspends.NEVER if self._implementations.methods(node.function) else Suspends.UNKNOWN
        return max((self._operation(node, op, summary) for op in self.points(node)), default=Suspends.NEVER)

    def _operation(self, node: Node, op: int, summary: Summary) -> Suspends:
        targets = self._awaited(node, op)
        if targets:
            return max(summary(target) for target in targets)
        return self._primitive(node.function, op)

    def _awaited(self, node: Node, op: int) -> list[Node]:
        """Coroutines of the project that run before control comes back from an operation."""
        body = node.function.body
        step = body.ops[op]
        if isinstance(step, Await):
            result = self._made(node, step.src)
            return [] if result is None else self._coroutines(result)
        if isinstance(step, Enter | Exit):
            name = "__aenter__" if isinstance(step, Enter) else "__aexit__"
            return self._methods(self._value(node, step.src), name)
        if isinstance(step, Next):
            source = _iterated(node.function, step)
            if source == NONE:
                return []
            result = self._made(node, source)
            generators = (
                [] if result is None else [t.function for t in result.targets if t.function.header.is_generator]
            )
            if generators:
                return [Node(f, None) for f in generators]
            return self._methods(self._value(node, source), "__anext__")
        return []

    def _coroutines(self, result: CallResult) -> list[Node]:
        found: list[Node] = []
        for target in result.targets:
            if target.function.header.is_async and not target.function.header.is_generator:
                found.extend(self.project.bound_to(target.function, target.receiver, target.exact))
                found.extend(Node(f, c) for f, c in self._implementations.methods(target.function) if f.header.is_async)
        return list(dict.fromkeys(found))

    def _made(self, node: Node, operand: int) -> CallResult | None:
        """The result of the call that made a value, where one call did."""
        body = node.function.body
        makers = node.function.operands.writers(operand)
        if len(makers) != 1 or not isinstance(body.ops[makers[0]], Call):
            return None
        return self.project.graph.result_for(node, makers[0])

    def _value(self, node: Node, operand: int) -> Type:
        result = self._made(node, operand)
        return result.type if result is not None else self.project.type_of(node.function, operand)

    def _methods(self, value: Type, name: str) -> list[Node]:
        found: list[Node] = []
        for atom in value:
            if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode):
                method = atom.cls.method(name)
                if method is not None:
                    found.append(Node(method, atom.cls))
        return sorted(found, key=lambda n: n.order)

    def _primitive(self, function: FunctionNode, op: int) -> Suspends:
        """An operation on something outside of the project."""
        paths = _paths(self.project, function, op)
        if not paths:
            return Suspends.UNKNOWN
        if all(path in STRAIGHT for path in paths):
            return Suspends.NEVER
        if all(path.endswith("Queue.put") for path in paths):
            return Suspends.UNKNOWN  # never on a queue without bound, and bounds are not tracked here
        return Suspends.MAY


def _iterated(function: FunctionNode, step: Next) -> int:
    """What the iterator of a loop was made of."""
    made = (function.body.ops[r] for r in function.operands.writers(step.iterator))
    return next((o.src for o in made if isinstance(o, Iterate)), NONE)


def _paths(project: Project, function: FunctionNode, op: int) -> list[str]:
    """Dotted paths of what an operation awaits, enters or iterates."""
    body = function.body
    step = body.ops[op]
    source = step.iterator if isinstance(step, Next) else getattr(step, "src", -1)
    if isinstance(step, Next):
        source = _iterated(function, step)
    results = project.calls(function)
    found: list[str] = []
    for rank in function.operands.writers(source):
        if rank in results:
            found.extend(canonical(path) for path in results[rank].externals)
    if not found:
        value = project.type_of(function, source) if source >= 0 else frozenset()
        found = [canonical(a.path) for a in value if isinstance(a, Outside)]
        found += [canonical(a.cls) for a in value if isinstance(a, Instance) and isinstance(a.cls, str)]
    return sorted(set(found))
