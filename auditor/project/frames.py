"""Frames: what an operation runs before it goes on, in the same task or thread, and how references read there.

Synchronous calls as in the call graph, coroutines that are awaited, managers and iterators, and tasks that are started and
waited for (`await create_task(f())`, `gather`, `wait_for`): whoever waits holds on to what it holds until they are done.
A task that is only started runs on its own and is no frame of its maker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Await, Call, Collect, Enter, Exit, Iterate, Next, Op, Select, Store
from auditor.project.callables import Target
from auditor.project.feasible import Given, bound_constants, decisive, feasible
from auditor.project.flow import reads
from auditor.project.graph import MAX_GIVEN, Node, last_name
from auditor.project.models import canonical
from auditor.project.references import Binding, Ref, References
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance

if TYPE_CHECKING:
    from auditor.project.project import Project

WAITERS = frozenset({"gather", "wait_for", "wait", "shield", "timeout"})  # run what they are given, and wait for it
STARTERS = frozenset({"create_task", "ensure_future"})
MAX_SOURCES = 24  # values that one awaited collection is made of


class Frame(NamedTuple):
    """Operation `op` of a node runs `target` to its end. `made` is the call that made it, `binding` what its parameters
    are, `how` one of call, await, task, enter, exit, iterate, property, wrapper, applied. `unsure`: not the only callee."""

    op: int
    made: int
    target: Node
    binding: Binding
    how: str
    unsure: bool = False


class Frames:
    """Frames of nodes, computed when they are asked for and remembered."""

    def __init__(self, project: Project, references: References) -> None:
        self.project = project
        self.references = references
        self._of: dict[Node, tuple[Frame, ...]] = {}
        self._at: dict[Node, dict[int, tuple[Frame, ...]]] = {}
        self._live: dict[tuple[FunctionNode, Given], frozenset[int]] = {}
        self._decisive: dict[FunctionNode, frozenset[str]] = {}
        self._variants: dict[FunctionNode, set[Given]] = {}

    def of(self, node: Node) -> tuple[Frame, ...]:
        """What a node runs, in the order of operations."""
        found = self._of.get(node)
        if found is None:
            frames = (f for f in (*self._synchronous(node), *self._asynchronous(node)) if self.live(node, f.op))
            found = self._of[node] = tuple(
                sorted((self._with_constants(node, f) for f in frames), key=lambda f: (f.op, f.target.order))
            )
        return found

    def at(self, node: Node, op: int) -> tuple[Frame, ...]:
        """What one operation of a node runs."""
        found = self._at.get(node)
        if found is None:
            by_op: dict[int, list[Frame]] = {}
            for frame in self.of(node):
                by_op.setdefault(frame.op, []).append(frame)
            found = self._at[node] = {rank: tuple(frames) for rank, frames in by_op.items()}
        return found.get(op, ())

    def live(self, node: Node, op: int) -> bool:
        """Whether an operation can run, with the constants that the caller passes."""
        if not node.given:
            return True
        key = (node.function, node.given)
        ranks = self._live.get(key)
        if ranks is None:
            flow, blocks = feasible(self.project, *key), node.function.body.blocks
            ranks = self._live[key] = frozenset(r for n in flow.order for r in range(blocks[n].start, blocks[n].end))
        return op in ranks

    def _with_constants(self, node: Node, frame: Frame) -> Frame:
        """The frame with the constants that its call passes, as far as they decide its branches."""
        target = frame.target
        if frame.how not in ("call", "await", "task") or not isinstance(node.function.body.ops[frame.made], Call):
            return frame
        wanted = self._decisive.get(target.function)
        if wanted is None:
            wanted = self._decisive[target.function] = decisive(target.function)
        given = bound_constants(
            (node.function, node.given), frame.made, target.function, wanted, 1 if target.function.self_name else 0
        )
        variants = self._variants.setdefault(target.function, set())
        if not given or given not in variants and len(variants) >= MAX_GIVEN:
            return frame
        variants.add(given)
        return frame._replace(target=target._replace(given=given))

    def down(self, node: Node, frame: Frame, ref: Ref) -> Iterator[Ref]:
        """What a reference of the node is called inside of a frame."""
        return self.references.down(ref, frame.target.function, frame.binding, frame.target.receiver, node.function)

    # --- synchronous ---
    def _synchronous(self, node: Node) -> Iterator[Frame]:
        references, function = self.references, node.function
        body = function.body
        for run in self.project.graph.runs(node._replace(given=())):
            target = run.target.function
            unsure = run.unsure or len(run.choices) > 1
            binding: Binding = {}
            op = body.ops[run.op]
            if isinstance(op, Call) and run.kind in ("call", "enter", "iterate"):
                binding = references.binding(function, run.op, target)
            elif isinstance(op, Enter | Exit):
                binding = self._self(function, op.src, target)
            elif run.kind == "property":
                binding = self._property(function, op, target)
            at = self._entered(function, run.op) if run.kind == "enter" and isinstance(op, Call) else run.op
            yield Frame(at, run.op, run.target, binding, run.kind, unsure)

    @staticmethod
    def _entered(function: FunctionNode, made: int) -> int:
        """The `with` that enters a manager which a call made."""
        call = function.body.ops[made]
        dst = call.dst if isinstance(call, Call) else NONE
        return next((r for r, o in enumerate(function.body.ops) if isinstance(o, Enter) and o.src == dst), made)

    def _self(self, function: FunctionNode, operand: int, target: FunctionNode) -> Binding:
        ref = self.references.of(function, operand)
        return {target.self_name: ref} if ref is not None and target.self_name else {}

    def _property(self, function: FunctionNode, op: Op, target: FunctionNode) -> Binding:
        """The object whose property an operation reads."""
        places = function.body.places
        for operand in reads(op):
            path = places[operand].path
            for rank, selected in enumerate(path):
                if selected == (Select.ATTR, target.name):
                    before = places[operand]._replace(path=path[:rank])
                    known = next((i for i, p in enumerate(places) if p == before), NONE)
                    if known != NONE:
                        return self._self(function, known, target)
                    own = target.self_name
                    if not before.path and own:  # the bare name stands nowhere by itself
                        ref = self.references.of(function, operand)
                        if ref is not None and len(ref.path) == len(path):
                            return {own: ref._replace(path=())}
        return {}

    # --- asynchronous ---
    def _asynchronous(self, node: Node) -> Iterator[Frame]:
        body = node.function.body
        for rank, op in enumerate(body.ops):
            if isinstance(op, Await):
                for made, how in self._awaited(node.function, op.src):
                    yield from self._coroutines(node, rank, made, how)
            elif isinstance(op, Enter | Exit) and op.is_async and not (isinstance(op, Exit) and op.raising):
                yield from self._manager(node, rank, op)
            elif isinstance(op, Next) and op.is_async:
                source = next((o.src for o in body.ops if isinstance(o, Iterate) and o.dst == op.iterator), NONE)
                for made in self._makers(node.function, source):
                    yield from self._coroutines(node, rank, made, "iterate")

    def _makers(self, function: FunctionNode, operand: int) -> list[int]:
        """Calls that made a value, through any number of names."""
        ops = function.body.ops
        found: dict[int, None] = {}
        pending, seen = [operand], {NONE}
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            for rank in self.references.writers(function, current):
                op = ops[rank]
                if isinstance(op, Call):
                    found[rank] = None
                elif isinstance(op, Store):
                    pending.append(op.src)
        return sorted(found)

    def _awaited(self, function: FunctionNode, operand: int) -> Iterator[tuple[int, str]]:
        """Calls whose coroutine runs to its end before an await of this value is over, and how."""
        ops = function.body.ops
        pending = [(operand, "await")]
        seen: set[int] = set()
        while pending and len(seen) < MAX_SOURCES:
            current, how = pending.pop(0)
            if current in seen:
                continue
            seen.add(current)
            for rank in self.references.writers(function, current):
                op = ops[rank]
                if isinstance(op, Store):
                    pending.append((op.src, how))
                elif isinstance(op, Collect):
                    pending.extend((item, how) for item in op.items)
                elif isinstance(op, Call):
                    name = last_name(function, op)
                    if name in WAITERS and self._is_asyncio(function, rank):
                        pending.extend((a, "task") for a in op.args)
                    elif name in STARTERS:
                        pending.extend((a, "task") for a in op.args[:1])
                    else:
                        yield rank, how
            places, operands = function.body.places, function.operands
            items = [x for x in operands.parts(current) if places[x].path and places[x].path[-1].kind is not Select.ATTR]
            filled = sorted({r for x in items for r in operands.writers(x)}) if not places[current].path else []
            for rank in filled:  # `[f(x) for x in xs]`: items are put into the collection one by one
                other = ops[rank]
                if isinstance(other, Store):
                    pending.append((other.src, how))

    def _is_asyncio(self, function: FunctionNode, rank: int) -> bool:
        result = self.project.calls(function).get(rank)
        return result is not None and any(canonical(path).startswith("asyncio.") for path in result.externals)

    def _coroutines(self, node: Node, op: int, made: int, how: str) -> Iterator[Frame]:
        result = self.project.graph.result_for(node, made)
        if result is None:
            return
        targets = [t for t in result.targets if not t.wrapper and t.function.header.is_async]
        targets = [t for t in targets if t.function.header.is_generator == (how == "iterate")]
        nodes = [(t, n) for t in targets for n in self._nodes(t)]
        unsure = len(nodes) > 1 or result.how in ("partial", "unknown")
        for target, run in nodes:
            yield Frame(op, made, run, self.references.binding(node.function, made, target.function), how, unsure)

    def _nodes(self, target: Target) -> list[Node]:
        if target.receiver is None or not target.bound:
            return [Node(target.function, None)] if target.function.cls is None else self.project.receivers(target.function)
        if target.exact:
            return [Node(target.function, target.receiver)]
        return self.project.bound_to(target.function, target.receiver, False) or [Node(target.function, target.receiver)]

    def _manager(self, node: Node, rank: int, op: Enter | Exit) -> Iterator[Frame]:
        function = node.function
        makers = self._makers(function, op.src)
        for made in makers:
            result = self.project.graph.result_for(node, made)
            for target in result.targets if result is not None else ():
                header = target.function.header
                if isinstance(op, Enter) and header.is_async and header.is_generator and not target.wrapper:
                    binding = self.references.binding(function, made, target.function)
                    yield from (Frame(rank, made, n, binding, "enter") for n in self._nodes(target))
        name = "__aenter__" if isinstance(op, Enter) else "__aexit__"
        for cls in self._classes(function, op.src):
            method = cls.method(name)
            if method is not None:
                yield Frame(rank, rank, Node(method, cls), self._self(function, op.src, method), name.strip("_a"))

    def _classes(self, function: FunctionNode, operand: int) -> list[ClassNode]:
        value = self.project.type_of(function, operand)
        return sorted(
            (a.cls for a in value if isinstance(a, Instance) and isinstance(a.cls, ClassNode)), key=lambda c: c.key
        )
