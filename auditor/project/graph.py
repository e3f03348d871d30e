"""The call graph that summaries run over: what a function runs before it returns.

A node is a function together with the concrete class of its `self`: a method that calls `self.m()` runs the `m` of that
class and no sibling's; and with the constants that its caller passes, as far as they decide its branches. Edges are
synchronous: a plain call, a property that is read, a manager that is entered or left, a generator that is iterated. A
coroutine that is merely called does not run; it is a root of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import (
    NONE,
    Await,
    Call,
    Enter,
    Exit,
    Iterate,
    Op,
    Root,
    Select,
    Store,
)  # fmt: skip
from auditor.project.callables import CallResult, Target
from auditor.project.containers import element
from auditor.project.feasible import Given, bound_constants, decisive, feasible
from auditor.project.flow import Flow, consumers, reads
from auditor.project.infer import Inference
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Callee, Instance, Type, instance, without_none

if TYPE_CHECKING:
    from auditor.project.project import Project


MAX_GIVEN = 8  # sets of constants that a function is followed with; more and it runs with none
APPLIED = frozenset({"map", "filter", "sorted", "max", "min", "reduce", "sort", "any", "all", "list"})  # they call what they are given
LAZY = frozenset({"map", "filter"})  # where their result is iterated
CONSUMERS = frozenset({
    "list", "tuple", "set", "sorted", "sum", "max", "min", "any", "all", "dict", "frozenset", "enumerate", "zip", "next",
    "join", "extend", "update",
})  # fmt: skip
MANAGER_DECORATORS = ("contextmanager", "asynccontextmanager")


class Node(NamedTuple):
    """A function, run with a `self` of exactly this class (None: no self, or any) and with these constant arguments."""

    function: FunctionNode
    receiver: ClassNode | None
    given: Given = ()

    @property
    def order(self) -> tuple[object, ...]:
        return (*self.function.key, self.receiver.key if self.receiver is not None else ("", 0), self.given)


class Run(NamedTuple):
    """An edge: operation `op` runs `target`. `choices` is all that it may run, for each class of the receiver;
    `unsure` says that the callee is known only in part. `kind`: call, property, enter, exit, iterate, applied or
    wrapper."""

    op: int
    target: Node
    kind: str = "call"
    unsure: bool = False
    choices: tuple[Node, ...] = ()


class Graph:
    """Edges of nodes, computed when they are asked for and remembered. With `on_loop` they are those of code that runs on
    an event loop, each function with the constants that its caller passes (see `feasible`); else nothing is ruled out."""

    def __init__(self, project: Project, on_loop: bool = False) -> None:
        self.project = project
        self.on_loop = on_loop
        self._runs: dict[Node, tuple[Run, ...]] = {}
        self._plain: dict[FunctionNode, tuple[Run, ...]] = {}
        self._on_self: dict[FunctionNode, tuple[int, ...]] = {}
        self._classes: dict[tuple[FunctionNode, ClassNode], list[Node]] = {}
        self._flows: dict[tuple[FunctionNode, Given], Flow] = {}
        self._live: dict[tuple[FunctionNode, Given], frozenset[int] | None] = {}
        self._decisive: dict[FunctionNode, frozenset[str]] = {}
        self._property_names: frozenset[str] | None = None
        self._variants: dict[FunctionNode, set[Given]] = {}

    def runs(self, node: Node) -> tuple[Run, ...]:
        """What a node runs synchronously, in the order of operations."""
        found = self._runs.get(node)
        if found is None:
            function = node.function
            own = self._self_operations(function) if node.receiver is not None else ()
            if own and node.receiver is not None:
                runs = [r for r in self._shared(function) if r.op not in own or r.kind not in ("call", "wrapper")]
                for op in own:
                    runs.extend(self._for_class(function, op, node.receiver))
                runs.sort(key=lambda r: r.op)
            else:
                runs = list(self._shared(function))
            if self.on_loop:
                runs = list(self._specialised(node, [run for run in runs if self.live(node, run.op)]))
            found = self._runs[node] = tuple(runs)
        return found

    def flow(self, node: Node) -> Flow:
        """The control flow of a node; with `on_loop` without the ways that the loop and its constants rule out."""
        if not self.on_loop:
            return self.project.flow(node.function)
        key = (node.function, node.given)
        found = self._flows.get(key)
        if found is None:
            found = self._flows[key] = feasible(self.project, *key)
        return found

    def live(self, node: Node, op: int) -> bool:
        """Whether an operation of a node can run."""
        key = (node.function, node.given)
        if key not in self._live:
            flow = self.flow(node)
            blocks = node.function.body.blocks
            ranks = frozenset(r for n in flow.order for r in range(blocks[n].start, blocks[n].end))
            self._live[key] = ranks if flow.cut else None
        known = self._live[key]
        return known is None or op in known

    def _specialised(self, node: Node, runs: list[Run]) -> Iterator[Run]:
        """The edges with the constants that their calls pass."""
        known: dict[tuple[Node, ...], tuple[Node, ...]] = {}
        operation = NONE
        for run in runs:
            if run.kind != "call":
                yield run
                continue
            if run.op != operation:
                operation, known = run.op, {}
            choices = known.get(run.choices)
            if choices is None:
                choices = known[run.choices] = tuple(self._given(node, run.op, target) for target in run.choices)
            target = choices[run.choices.index(run.target)] if len(choices) > 1 else choices[0]
            yield run._replace(target=target, choices=choices)

    def _given(self, node: Node, op: int, target: Node) -> Node:
        wanted = self._decisive.get(target.function)
        if wanted is None:
            wanted = self._decisive[target.function] = decisive(target.function)
        given = bound_constants((node.function, node.given), op, target.function, wanted, 0 if target.receiver is None else 1)
        if not given:
            return target
        variants = self._variants.setdefault(target.function, set())
        if given not in variants and len(variants) >= MAX_GIVEN:
            return target
        variants.add(given)
        return target._replace(given=given)

    def result_for(self, node: Node, op: int) -> CallResult | None:
        """The result of a call when `self` is of the node's class."""
        result = self.project.calls(node.function).get(op)
        if node.receiver is None or op not in self._self_operations(node.function):
            return result
        return self._resolve(node.function, op, node.receiver) or result

    def _self_operations(self, function: FunctionNode) -> tuple[int, ...]:
        """Calls whose callee is reached through `self`: their target depends on its class."""
        found = self._on_self.get(function)
        if found is None:
            owner = method_of(function)
            name = owner.self_name if owner is not None else ""
            places = function.body.places
            wanted = {
                i
                for i, p in enumerate(places)
                if name and p.path and p.name == name and p.root is (Root.LOCAL if owner is function else Root.CELL)
            }
            ops = function.body.ops
            found = tuple(rank for rank, op in enumerate(ops) if isinstance(op, Call) and op.callee in wanted) if wanted else ()
            self._on_self[function] = found
        return found

    def _shared(self, function: FunctionNode) -> tuple[Run, ...]:
        """Edges by the types of the linked project, for any receiver."""
        found = self._plain.get(function)
        if found is None:
            runs: list[Run] = []
            for op, result in sorted(self.project.calls(function).items()):
                runs.extend(self._edges(op, result))
                runs.extend(self._generators(function, op, result))
                runs.extend(self._applied(function, op, result))
            runs.extend(self._implicit(function))
            found = self._plain[function] = tuple(sorted(runs, key=lambda r: (r.op, r.target.order)))
        return found

    def _edges(self, op: int, result: CallResult) -> list[Run]:
        unsure = result.how in ("partial", "unknown")
        runs: list[Run] = []
        nodes: list[Node] = []
        off_loop = any(t.wrapper and t.function.header.is_async for t in result.targets)
        for target in result.targets:
            header = target.function.header
            if header.is_async or header.is_generator and not target.wrapper:
                continue
            if target.wrapper:
                runs.append(Run(op, Node(target.function, None), "wrapper", unsure))
            elif not off_loop:  # else an asynchronous wrapper decides where the function runs
                nodes.extend(self._nodes(target))
        nodes = list(dict.fromkeys(nodes))
        choices = tuple(nodes)
        runs.extend(Run(op, node, "call", unsure, choices) for node in choices)
        return runs

    def _generators(self, function: FunctionNode, op: int, result: CallResult) -> Iterator[Run]:
        """A generator runs where it is iterated, the generator of a manager where the `with` stands."""
        targets = [t for t in result.targets if t.function.header.is_generator and not t.function.header.is_async and not t.wrapper]
        if not targets:
            return
        body = function.body
        for target in targets:
            is_manager = any(d.name.rpartition(".")[2] in MANAGER_DECORATORS for d in target.function.header.decorators)
            if is_manager:
                if any(isinstance(body.ops[r], Enter) for r in consumers(body, op)):
                    yield from (Run(op, node, "enter") for node in self._nodes(target))
            elif any(self._iterates(function, body.ops[r]) for r in consumers(body, op)):
                yield from (Run(op, node, "iterate") for node in self._nodes(target))

    @staticmethod
    def _iterates(function: FunctionNode, op: Op) -> bool:
        if isinstance(op, Iterate):
            return not op.is_async
        return isinstance(op, Call) and last_name(function, op) in CONSUMERS

    def _applied(self, function: FunctionNode, op: int, result: CallResult) -> Iterator[Run]:
        """`map(f, xs)`, `sorted(xs, key=f)`: the builtin calls f."""
        call = function.body.ops[op]
        if not result.handed or not isinstance(call, Call) or last_name(function, call) not in APPLIED:
            return
        if not any(path.startswith(("builtins.", "functools.")) for path in result.externals):
            return
        used = (function.body.ops[r] for r in consumers(function.body, op))
        if last_name(function, call) in LAZY and not any(self._iterates(function, step) for step in used):
            return
        for target in result.handed:
            if not target.function.header.is_async and not target.function.header.is_generator:
                yield from (Run(op, node, "applied") for node in self._nodes(target))

    def _nodes(self, target: Target) -> list[Node]:
        """The target with each class that its receiver can have."""
        function, receiver = target.function, target.receiver
        if not target.bound or function.cls is None or receiver is None:
            return [Node(function, None)]
        if target.exact:
            return [Node(function, receiver)]
        key = (function, receiver)
        found = self._classes.get(key)
        if found is None:
            classes = [c for c in (receiver, *receiver.descendants()) if c.method(function.name) is function]
            concrete = [c for c in classes if not c.abstract] or [receiver]
            found = self._classes[key] = [Node(function, c) for c in concrete]
        return found

    def _for_class(self, function: FunctionNode, op: int, receiver: ClassNode) -> list[Run]:
        result = self._resolve(function, op, receiver)
        if result is None:
            known = self.project.calls(function).get(op)
            return self._edges(op, known) if known is not None else []
        return self._edges(op, result)

    def _resolve(self, function: FunctionNode, op: int, receiver: ClassNode) -> CallResult | None:
        """The targets of `self....m()` for a `self` of exactly this class; None where types say nothing."""
        body = function.body
        call = body.ops[op]
        if not isinstance(call, Call):
            return None
        world = self.project.world
        value: Type = instance(receiver, exact=True)
        for kind, selected in body.places[call.callee].path:
            value = world.attribute(without_none(value), str(selected)) if kind is Select.ATTR else element(value, None)
        callees = sorted((a for a in value if isinstance(a, Callee)), key=lambda a: a.function.key)
        if not callees:
            return None
        targets: list[Target] = []
        for atom in callees:
            targets.extend(self.project.linked.calls.overrides(atom.function, atom.receiver, atom.bound, atom.exact))
        known = self.project.calls(function).get(op)
        how = "typed" if len({t.function for t in targets if not t.wrapper}) == 1 else "hierarchy"
        return CallResult(known.type if known is not None else value, tuple(dict.fromkeys(targets)), (), how)

    def _implicit(self, function: FunctionNode) -> list[Run]:
        """Properties that are read and managers that are entered."""
        runs: list[Run] = []
        body = function.body
        for rank, op in enumerate(body.ops):
            if isinstance(op, Enter | Exit) and not op.is_async and not (isinstance(op, Exit) and op.raising):
                kind = "enter" if isinstance(op, Enter) else "exit"
                for atom in self._manager(function, op):
                    method = atom.method(f"__{kind}__")
                    if method is not None and not method.header.is_async:
                        runs.append(Run(rank, Node(method, atom), kind))
        runs.extend(self._properties(function))
        return runs

    def _properties(self, function: FunctionNode) -> Iterator[Run]:
        """Properties that are read, of `self` and of whatever has a known class."""
        if self._property_names is None:
            self._property_names = frozenset(f.name for f in self.project.functions() if f.is_property and f.cls is not None)
        body = function.body
        wanted = {i for i, p in enumerate(body.places) if any(k is Select.ATTR and v in self._property_names for k, v in p.path)}
        ranks = {rank: read for rank, op in enumerate(body.ops) if (read := wanted.intersection(reads(op)))}
        if not ranks:
            return
        found: dict[tuple[int, FunctionNode, ClassNode], None] = {}

        def watch(run: Inference, rank: int, op: Op) -> None:
            for operand in sorted(ranks.get(rank, ())):
                value = run._root_value(operand)
                for kind, selected in body.places[operand].path:
                    if kind is Select.ATTR:
                        for atom in without_none(value):
                            owner = atom.cls if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode) else None
                            method = owner.method(str(selected)) if owner is not None else None
                            if owner is not None and method is not None and method.is_property and not method.header.is_async:
                                found[rank, method, owner] = None
                        value = self.project.world.attribute(without_none(value), str(selected))
                    else:
                        value = element(value, None)

        inference = Inference(function, self.project.world, self.project.linked.calls)
        inference.watch = watch
        inference.run()
        for rank, method, cls in sorted(found, key=lambda k: (k[0], k[1].key, k[2].key)):
            yield Run(rank, Node(method, cls), "property")

    def _manager(self, function: FunctionNode, op: Enter | Exit) -> list[ClassNode]:
        results = self.project.calls(function)
        body = function.body
        made = [rank for rank, other in enumerate(body.ops) if isinstance(other, Call) and other.dst == op.src]
        types = [results[rank].type for rank in made if rank in results]
        return sorted(
            (a.cls for t in types for a in t if isinstance(a, Instance) and isinstance(a.cls, ClassNode)), key=lambda c: c.key
        )


def last_name(function: FunctionNode, call: Call) -> str:
    """The last name of a callee, also of one that is reached through a result (`f().call_soon`)."""
    place = function.body.places[call.callee]
    if place.path:
        return str(place.path[-1].value) if place.path[-1].kind is Select.ATTR else ""
    return str(place.name) if place.root not in (Root.TEMP, Root.CONST) else ""


def method_of(function: FunctionNode) -> FunctionNode | None:
    """The method whose `self` a function sees: itself, or the one it is nested in."""
    current: FunctionNode | None = function
    while current is not None:
        if current.self_name:
            return current
        current = current.parent
    return None


def awaited_or_handed(function: FunctionNode, op: int) -> bool:
    """Whether the result of a call is awaited, or handed on as a value that something else may await."""
    body = function.body
    call = body.ops[op]
    if not isinstance(call, Call):
        return False
    results = {call.dst}
    for other in body.ops[op + 1 :]:
        if isinstance(other, Store) and other.src in results and body.places[other.dst].root is not Root.CONST:
            results.add(other.dst)
        elif isinstance(other, Await) and other.src in results:
            return True
        elif isinstance(other, Call) and any(a in results for a in (*other.args, *(v for _, v in other.keywords))):
            name = body.places[other.callee]
            last = str(name.path[-1].value) if name.path else str(name.name)
            if last in ("gather", "wait", "wait_for", "create_task", "ensure_future", "shield", "run_coroutine_threadsafe", "as_completed"):
                return True
    return False


def awaited(function: FunctionNode, op: int) -> bool:
    """Whether the result of a call is awaited right away."""
    body = function.body
    call = body.ops[op]
    following: Op | None = body.ops[op + 1] if op + 1 < len(body.ops) else None
    return isinstance(call, Call) and isinstance(following, Await) and following.src == call.dst


__all__ = ["NONE", "Graph", "Node", "Run", "awaited", "awaited_or_handed", "last_name", "method_of"]
