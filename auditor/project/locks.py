"""Stratum 5, locks: which locks there are, where they are made, taken and held, and what a private helper may take for
granted.

A lock is recognised by its type, never by its name. *Held* is a must question: only what is the same object for certain
counts, so regions carry references (`references.Ref`). The order of locks is a may question: there a lock is the
attribute of a class, whatever the instance (`Lock`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import (
    END,
    NONE,
    Await,
    Body,
    Branch,
    Call,
    Const,
    Edge,
    Enter,
    Exit,
    Root,
    Select,
    Store,
    TypeExpr,
    Yield,
)
from auditor.project.contention import Contention
from auditor.project.frames import Frame, Frames
from auditor.project.graph import MANAGER_DECORATORS, last_name
from auditor.project.lock_kinds import KINDS, Kind, kind_at, kind_of, of_path
from auditor.project.references import Item, Ref, References, up
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import Tasks
from auditor.project.types import TOP, UNKNOWN, Callee, ClassObject, Instance, Outside

if TYPE_CHECKING:
    from auditor.project.project import Project

ENTERS = frozenset({"enter_context", "enter_async_context"})


class Lock(NamedTuple):
    """A lock, whatever the instance. `owner`: the dotted name of the class, module or function that it belongs to; `name`:
    the attribute or name; `key` spells the key of a lock that is taken from a container, "" otherwise."""

    owner: str
    name: str
    key: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.owner.rpartition('.')[2]}.{self.name}" + (f"[{self.key}]" if self.key else "")


class Acquisition(NamedTuple):
    """Operation `op` of `function` takes `lock`. `gives_up`: with a timeout or without waiting. `ref` says which object,
    if that is known; `how` is with, acquire, stack (an exit stack) or manager (one of the project's)."""

    function: FunctionNode
    op: int
    lock: Lock
    gives_up: bool
    ref: Ref | None = None
    how: str = "with"


class Held(NamedTuple):
    """A lock that is held, and the operation that took it."""

    lock: Lock
    ref: Ref | None
    op: int


class Made(NamedTuple):
    """A lock is made. `lock` says what it is stored as, None where it is stored nowhere; `place` is the operand that it is
    stored in. `many`: a container of locks. `limit` is a semaphore's, None if it is not a literal."""

    function: FunctionNode
    op: int
    kind: Kind
    lock: Lock | None
    place: int
    many: bool = False
    limit: int | None = 1


Lockset = frozenset[Lock]
Region = frozenset[Held]
NOTHING: Lockset = frozenset()
NO_REGION: Region = frozenset()


class Locks:
    """Answers about locks, each computed once per function."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.references = References(project)
        self.frames = Frames(project, self.references)
        self._held: dict[FunctionNode, tuple[Region, ...]] = {}
        self._left: dict[FunctionNode, Region] = {}
        self._entry: dict[FunctionNode, Region] | None = None
        self._decorated: dict[FunctionNode, Region] = {}
        self._taken: dict[FunctionNode, tuple[Acquisition, ...]] = {}
        self._passed: dict[tuple[ClassNode, str], Lock | None] = {}

    @cached_property
    def tasks(self) -> Tasks:
        """Evidence that functions run at the same time."""
        return Tasks(self.project, self)

    @cached_property
    def contention(self) -> Contention:
        """Which locks of asyncio are ever found taken."""
        return Contention(self.project, self)

    @cached_property
    def signals(self) -> frozenset[tuple[str, str]]:
        """Locks that some function releases without having taken them, and without being called by who holds them: one task
        takes, another gives back. They are no possession of a task."""
        found: set[tuple[str, str]] = set()
        for function in self._naming("release"):
            back = self.given_back(function)
            taken = {a.ref for a in self.acquisitions(function) if a.how == "acquire"}
            for _, lock, ref in self.releasing(function):
                if ref in back and (
                    function.parent is not None
                    and function.parent.index != 0
                    and function.cls is None
                    or ref not in taken
                ):
                    callers = self.sites.get(function, [])
                    if not callers or not all(any(h.lock == lock for h in self.regions(c)[op]) for c, op in callers):
                        found.add(lock[:2])
        return frozenset(found)

    # --- what a place is ---
    def lock(self, function: FunctionNode, op: int, operand: int) -> Lock | None:
        """The lock that an operand holds at an operation, if it is one."""
        value = self.project.types(function).get((op, operand), frozenset())
        kind = kind_of(value) or self._declared(function, operand)
        if kind is None and UNKNOWN in value and len(value) > 1:
            ref = self.references.of(function, operand)
            if ref is not None and ref.path and isinstance(ref.path[-1], Item):  # of a container that nothing declares
                kind = kind_of(value - TOP)
        return None if kind is None else self._known(function, operand, kind)[0]

    def ref(self, function: FunctionNode, operand: int) -> Ref | None:
        """Which object an operand is, in the frame of the function."""
        return self.references.of(function, operand)

    def _known(self, function: FunctionNode, operand: int, kind: Kind) -> tuple[Lock, Ref | None]:
        ref = self.references.of(function, operand)
        return self._as_lock(function, operand, ref, kind), ref

    def _as_lock(self, function: FunctionNode, operand: int, ref: Ref | None, kind: Kind) -> Lock:
        scope = f"{function.module.name}.{function.symbol}()"
        if ref is None:
            place = function.body.places[operand]
            names = [str(s.value) for s in place.path if s.kind is Select.ATTR]
            name = str(place.name) if place.root is not Root.TEMP else f"<{place.name}>"
            return Lock(scope, ".".join((name, *names)), "", kind)
        return self.identity(function, ref, self._condition(function, ref, kind))

    def _condition(self, function: FunctionNode, ref: Ref, kind: Kind) -> Kind:
        """A condition that was built around a lock is that lock, re-entrant or not."""
        if kind is not Kind.THREAD_REENTRANT:
            return kind
        inner = kind_of(self.references.type_of(function, ref))
        return inner if inner is not None and not inner.is_async else kind

    def identity(self, function: FunctionNode, ref: Ref, kind: Kind) -> Lock:
        """The lock of a reference, whatever the instance."""
        path = list(ref.path)
        key = ""
        while path and isinstance(path[-1], Item):
            item = path.pop()
            key = str(item.key) if isinstance(item, Item) else key
        names = [str(n) for n in path if isinstance(n, str)]
        if isinstance(ref.scope, str):
            return Lock(ref.scope, ".".join((ref.name, *names)), key, kind)
        if names and len(names) == len(path):
            value = self.references.type_of(function, ref._replace(path=tuple(path[:-1])))
            owners = [a.cls for a in value if isinstance(a, Instance) and isinstance(a.cls, ClassNode)]
            if len(owners) == 1 and isinstance(owners[0], ClassNode):
                given = self.passed(owners[0], names[-1])
                if given is not None:
                    return given._replace(key=key)
                return Lock(_owner(self.project, owners[0], names[-1]), names[-1], key, kind)
        holder = self.project.symbols.by_path[ref.scope[0]].functions[ref.scope[1]]
        if not path and holder.cls is not None and ref.name == holder.self_name:  # an object that is a lock itself
            return Lock(holder.cls.dotted, ref.name, key, kind)
        return Lock(f"{holder.module.name}.{holder.symbol}()", ".".join((ref.name, *names)), key, kind)

    def passed(self, cls: ClassNode, name: str) -> Lock | None:
        """The lock that every construction of a class passes for an attribute, if that is one and the same."""
        key = (cls, name)
        if key not in self._passed:
            self._passed[key] = None
            self._passed[key] = self._injected(cls, name)
        return self._passed[key]

    def _injected(self, cls: ClassNode, name: str) -> Lock | None:
        stored = self.references.origin(cls, name)
        if stored is None or stored.source == NONE or stored.function.name != "__init__":
            return None
        given = self.references.of(stored.function, stored.source)
        if given is None or given.path or given.scope != stored.function.key or given.name == stored.function.self_name:
            return None
        found: set[Lock | None] = set()
        for caller, op in self.sites.get(stored.function, ()):
            ref = self.references.binding(caller, op, stored.function).get(given.name)
            kind = kind_of(self.references.type_of(caller, ref)) if ref is not None else None
            found.add(self.identity(caller, ref, kind) if ref is not None and kind is not None else None)
        return found.pop() if len(found) == 1 else None

    def _declared(self, function: FunctionNode, operand: int) -> Kind | None:
        """The kind that an annotation declares, of a parameter or of an attribute of `self` that takes one; needed where the
        standard library's stubs give the annotated name as an alias (`threading.Lock`)."""
        ref = self.references.of(function, operand)
        if ref is None or isinstance(ref.scope, str):
            return None
        holder = self.project.symbols.by_path[ref.scope[0]].functions[ref.scope[1]]
        if not ref.path:
            param = next((p for p in holder.header.params if p.name == ref.name), None)
            return self._annotated(holder, param.annotation) if param is not None else None
        attribute = ref.path[-1]
        owners = [
            a.cls
            for a in self.references.type_of(function, ref._replace(path=ref.path[:-1]))
            if isinstance(a, Instance)
        ]
        if len(owners) != 1 or not isinstance(owners[0], ClassNode) or not isinstance(attribute, str):
            return None
        for ancestor in owners[0].mro:
            for field in ancestor.header.fields:
                if field.name == attribute and field.annotation is not None:
                    return self._annotated(ancestor.module.functions[ancestor.header.body], field.annotation)
        stored = self.references.origin(owners[0], attribute)
        source = (
            self.references.of(stored.function, stored.source) if stored is not None and stored.source != NONE else None
        )
        if stored is None or source is None or source.path or source.scope != stored.function.key:
            return None
        param = next((p for p in stored.function.header.params if p.name == source.name), None)
        return self._annotated(stored.function, param.annotation) if param is not None else None

    def _annotated(self, function: FunctionNode, expr: TypeExpr | None) -> Kind | None:
        if expr is None:
            return None
        if expr.kind in ("union", "subscript"):
            inner = expr.args if expr.kind == "union" else expr.args[1:]
            kinds = {self._annotated(function, arg) for arg in inner if arg.kind != "none"}
            transparent = expr.kind == "union" or expr.args[0].text.rpartition(".")[2] in (
                "Optional",
                "ClassVar",
                "Final",
                "Annotated",
            )
            return kinds.pop() if transparent and len(kinds) == 1 else None
        if expr.kind != "name":
            return None
        meaning = self.project.symbols.resolve(function.module, expr.text, function.parent)
        module = getattr(meaning, "module", None)
        if module is not None and module.is_stub:
            return of_path(f"{module.name}.{getattr(meaning, 'name', '')}")
        return of_path(getattr(meaning, "path", ""))

    # --- where locks are taken and given back ---
    def acquisitions(self, function: FunctionNode) -> tuple[Acquisition, ...]:
        """Operations that take a lock: `with`, `acquire()`, an exit stack, a manager of the project that holds one while it
        yields."""
        found = self._taken.get(function)
        if found is None:
            self._taken[function] = ()
            found = self._taken[function] = tuple(self._acquisitions(function))
        return found

    def _acquisitions(self, function: FunctionNode) -> Iterator[Acquisition]:
        body = function.body
        for rank, op in enumerate(body.ops):
            if isinstance(op, Enter):
                lock = self.lock(function, rank, op.src)
                if lock is not None:
                    yield Acquisition(function, rank, lock, False, self.ref(function, op.src))
                else:
                    for held in self._of_manager(function, op):
                        yield Acquisition(function, rank, held.lock, False, held.ref, "manager")
            elif isinstance(op, Call):
                name = last_name(function, op)
                if name == "acquire":
                    known = self._method(function, rank, op)
                    if known is not None:
                        limited = any(n in ("timeout", "blocking") for n, _ in op.keywords) or bool(op.args)
                        limited = limited or self._bounded(function, op.dst)
                        yield Acquisition(function, rank, known[0], limited, known[1], "acquire")
                elif name in ENTERS and op.args:
                    lock = self.lock(function, rank, op.args[0])
                    if lock is not None:
                        yield Acquisition(function, rank, lock, False, self.ref(function, op.args[0]), "stack")

    def _bounded(self, function: FunctionNode, coroutine: int) -> bool:
        """Whether `acquire()` is waited for with a time limit (`wait_for(lock.acquire(), 1)`)."""
        return any(
            isinstance(op, Call)
            and coroutine in op.args
            and last_name(function, op) in ("wait_for", "wait", "create_task", "ensure_future")
            for op in function.body.ops
        )

    def releases(self, function: FunctionNode) -> Iterator[tuple[int, Lock]]:
        """Calls of `release()`."""
        for rank, lock, _ in self.releasing(function):
            yield rank, lock

    def releasing(self, function: FunctionNode) -> Iterator[tuple[int, Lock, Ref | None]]:
        """Calls of `release()`, with the object."""
        for rank, op in enumerate(function.body.ops):
            if isinstance(op, Call) and last_name(function, op) == "release":
                known = self._method(function, rank, op)
                if known is not None:
                    yield rank, *known

    def _method(self, function: FunctionNode, rank: int, op: Call) -> tuple[Lock, Ref | None] | None:
        """The lock on which an operation calls a method, and which object it is."""
        result = self.project.calls(function).get(rank)
        kinds = {kind_at(path) for path in result.externals} if result is not None else set()
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        ref = self.references.owner(function, op)
        if kind is None and ref is not None and (result is None or not result.targets):
            kind = self._of_ref(function, ref)
        if kind is None:
            return None
        if ref is None:
            return self._as_lock(function, op.callee, None, kind), None
        return self.identity(function, ref, self._condition(function, ref, kind)), ref

    def _of_ref(self, function: FunctionNode, ref: Ref) -> Kind | None:
        kind = kind_of(self.references.type_of(function, ref))
        if kind is not None:
            return kind
        rank = next((i for i, _ in enumerate(function.body.places) if self.references.of(function, i) == ref), NONE)
        return self._declared(function, rank) if rank != NONE else None

    def _of_manager(self, function: FunctionNode, op: Enter) -> Iterator[Held]:
        """Locks that a manager of the project holds while the block under it runs."""
        for frame in self._entering(function, op):
            target = frame.target.function
            if target.header.is_generator:
                if not any(d.name.rpartition(".")[2] in MANAGER_DECORATORS for d in target.header.decorators):
                    continue
                yields = [self.regions(target)[r] for r, o in enumerate(target.body.ops) if isinstance(o, Yield)]
                held = frozenset.intersection(*yields) if yields else NO_REGION
            elif target.name in ("__enter__", "__aenter__"):
                held = self.left(target)
            else:
                continue
            for one in sorted(held, key=lambda h: h.op):
                ref = up(one.ref, target, frame.binding) if one.ref is not None else None
                yield Held(one.lock, ref, 0)

    def _entering(self, function: FunctionNode, op: Enter) -> Iterator[Frame]:
        rank = next(r for r, o in enumerate(function.body.ops) if o is op)
        nodes = self.project.receivers(function)
        frames = [f for f in (self.frames.of(nodes[0]) if nodes else ()) if f.op == rank and f.how == "enter"]
        return iter(frames if len(frames) == 1 else [])

    # --- regions ---
    def held(self, function: FunctionNode) -> tuple[Lockset, ...]:
        """For each operation the locks that are held for certain when it begins, by this function alone."""
        return tuple(frozenset(h.lock for h in region) for region in self.regions(function))

    def regions(self, function: FunctionNode) -> tuple[Region, ...]:
        """As `held`, with the object and the operation that took it."""
        known = self._held.get(function)
        if known is None:
            self._held[function] = (NO_REGION,) * len(function.body.ops)  # of a function that calls itself
            known = self._held[function] = self._regions(function)
        return known

    def left(self, function: FunctionNode) -> Region:
        """Locks that a function has taken and still holds when it returns."""
        self.regions(function)
        return self._left.get(function, NO_REGION)

    def _regions(self, function: FunctionNode) -> tuple[Region, ...]:
        body = function.body
        gains = self._gains(function)
        if not gains:
            return (NO_REGION,) * len(body.ops)
        tested = {self._tested(function, a): a for a in self.acquisitions(function) if a.gives_up}
        drops = self._drops(function)
        names = self._names(function)
        flow = self.project.flow(function)
        at: list[Region] = [NO_REGION] * len(body.ops)
        entry: dict[int, Region] = {0: NO_REGION}
        left: Region | None = None
        pending = [0]
        while pending:
            number = pending.pop()
            block = body.blocks[number]
            region = during = entry[number]
            for rank in range(block.start, block.end):
                at[rank] = region
                if rank in drops:
                    region = frozenset(h for h in region if not drops[rank].covers(h))
                for name in names.get(rank, ()):
                    region = frozenset(h for h in region if h.ref is None or not h.ref.mentions(function.key, name))
                if rank in gains:
                    region = region | gains[rank]
                during = during & region
            won = tested.get(block.end - 1)
            for kind, target in flow.successors[number]:
                out = during if kind is None else region
                if won is not None and kind is Edge.TRUE:
                    out = out | {Held(won.lock, won.ref, won.op)}
                before = entry.get(target)
                after = out if before is None else before & out
                if after != before:
                    entry[target] = after
                    pending.append(target)
        for number, region in sorted(entry.items()):
            block = body.blocks[number]
            if any(target == END for _, target in block.edges):
                last = at[block.end - 1] if block.end > block.start else region
                left = last if left is None else left & last
        self._left[function] = left or NO_REGION
        return tuple(at)

    def _gains(self, function: FunctionNode) -> dict[int, Region]:
        """Operation after which locks are held -> these locks."""
        body = function.body
        found: dict[int, Region] = {}
        for taken in self.acquisitions(function):
            if taken.gives_up:
                found.setdefault(taken.op, NO_REGION)
                continue
            after = self._awaited(body, taken.op) if taken.how in ("acquire", "stack") else taken.op
            found[after] = found.get(after, NO_REGION) | {Held(taken.lock, taken.ref, taken.op)}
        for rank, result in self.project.calls(function).items():
            targets = [t for t in result.targets if not t.wrapper]
            if len(targets) == 1 and targets[0].function in self.takers and targets[0].function is not function:
                target = targets[0].function
                for one in self.left(target):
                    ref = (
                        up(one.ref, target, self.references.binding(function, rank, target))
                        if one.ref is not None
                        else None
                    )
                    if ref is not None:
                        after = self._awaited(body, rank)
                        found[after] = found.get(after, NO_REGION) | {Held(one.lock, ref, rank)}
        return found

    @staticmethod
    def _awaited(body: Body, rank: int) -> int:
        """`await lock.acquire()` holds the lock after the await, not after the call."""
        call = body.ops[rank]
        following = body.ops[rank + 1] if rank + 1 < len(body.ops) else None
        return (
            rank + 1 if isinstance(call, Call) and isinstance(following, Await) and following.src == call.dst else rank
        )

    def _drops(self, function: FunctionNode) -> dict[int, _Drop]:
        """Operation -> what is given back there: what these operations took, or an object."""
        body = function.body
        drops = {rank: _Drop(frozenset(), lock, ref) for rank, lock, ref in self.releasing(function)}
        taken = self.acquisitions(function)
        stacks = frozenset(self._awaited(body, a.op) for a in taken if a.how == "stack") | {
            a.op for a in taken if a.how == "stack"
        }
        for rank, op in enumerate(body.ops):
            if isinstance(op, Exit):
                entered = frozenset(a.op for a in taken if isinstance(e := body.ops[a.op], Enter) and e.src == op.src)
                if entered or stacks:
                    drops[rank] = _Drop(entered or stacks)
            elif isinstance(op, Call) and rank not in drops:
                result = self.project.calls(function).get(rank)
                for target in result.targets if result is not None else ():
                    if target.function in self.givers and target.function is not function:
                        binding = self.references.binding(function, rank, target.function)
                        for _, lock, ref in self.releasing(target.function):
                            drops[rank] = _Drop(
                                frozenset(), lock, up(ref, target.function, binding) if ref is not None else None
                            )
        return drops

    def _names(self, function: FunctionNode) -> dict[int, tuple[str, ...]]:
        """Operation -> local names that it binds: what they meant before is another object."""
        body = function.body
        found: dict[int, tuple[str, ...]] = {}
        for operand, place in enumerate(body.places):
            if place.root is Root.LOCAL and not place.path:
                for rank in self.references.writers(function, operand):
                    found[rank] = (*found.get(rank, ()), str(place.name))
        return found

    def _tested(self, function: FunctionNode, taken: Acquisition) -> int:
        """The branch that tests whether a lock was obtained, NONE if there is none."""
        body = function.body
        results = self.results(function, taken)
        return next(
            (r for r, op in enumerate(body.ops) if isinstance(op, Branch) and op.test in results and r > taken.op), NONE
        )

    def obtained(self, taken: Acquisition) -> bool:
        """Whether the function looks at the result of an acquisition that may give up."""
        results = self.results(taken.function, taken)
        return any(isinstance(op, Branch) and op.test in results for op in taken.function.body.ops[taken.op :])

    @staticmethod
    def results(function: FunctionNode, taken: Acquisition) -> frozenset[int]:
        """Operands that say whether an acquisition obtained its lock."""
        body = function.body
        call = body.ops[taken.op]
        found = {call.dst} if isinstance(call, Call) else set()
        for op in body.ops[taken.op + 1 :]:
            if (
                isinstance(op, Await | Store)
                and op.src in found
                or isinstance(op, Call)
                and found.intersection(op.args)
                and last_name(function, op) == "wait_for"
            ):
                found.add(op.dst)
        return frozenset(found)

    def given_back(self, function: FunctionNode) -> frozenset[Ref]:
        """Locks that a function releases without having taken them: it expects its caller to hold them."""
        regions = self.regions(function)
        return frozenset(
            ref
            for rank, _, ref in self.releasing(function)
            if ref is not None and not any(h.ref == ref for h in regions[rank])
        )

    @cached_property
    def takers(self) -> frozenset[FunctionNode]:
        """Functions that call `acquire()` on a lock."""
        return frozenset(f for f in self._naming("acquire") if any(a.how == "acquire" for a in self.acquisitions(f)))

    @cached_property
    def givers(self) -> frozenset[FunctionNode]:
        """Functions that call `release()` on a lock and take none themselves."""
        return frozenset(
            f for f in self._naming("release") if f not in self.takers and any(True for _ in self.releasing(f))
        )

    def _naming(self, name: str) -> Iterator[FunctionNode]:
        wanted = (Select.ATTR, name)
        return (f for f in self.project.functions() if any(p.path and p.path[-1] == wanted for p in f.body.places))

    # --- entry locksets ---
    @cached_property
    def sites(self) -> Mapping[FunctionNode, list[tuple[FunctionNode, int]]]:
        """Calls of each function: (caller, operation)."""
        found: dict[FunctionNode, list[tuple[FunctionNode, int]]] = {}
        for caller in self.project.functions():
            for op, result in sorted(self.project.calls(caller).items()):
                for target in result.targets:
                    found.setdefault(target.function, []).append((caller, op))
        return found

    def entry(self, function: FunctionNode) -> Lockset:
        """Locks that every resolved caller of a private method holds at its call; empty for public, spawned and escaping
        functions (greatest fixpoint; callers in `__init__` do not count)."""
        return frozenset(h.lock for h in self.entry_region(function))

    def entry_region(self, function: FunctionNode) -> Region:
        """As `entry`, with the objects in the frame of the function."""
        if self._entry is None:
            self._entry = self._entries()
        return self._entry.get(function, NO_REGION) | self.decorated(function)

    def decorated(self, function: FunctionNode) -> Region:
        """Locks of the object that a decorator of the project holds while it runs a method (`with self.lock: func(self)`)."""
        found = self._decorated.get(function)
        if found is None:
            wrappers = self.project.world.wrappers(function) if function.self_name else ()
            found = self._decorated[function] = frozenset(h for w in wrappers for h in self._around_call(function, w))
        return found

    def _around_call(self, function: FunctionNode, wrapper: FunctionNode) -> Iterator[Held]:
        body = wrapper.body
        first = wrapper.header.params[0].name if wrapper.header.params else ""
        calls = [
            r for r, o in enumerate(body.ops) if isinstance(o, Call) and body.places[o.callee].root is Root.CELL and first in {
                body.places[a].name for a in o.args[:1]
            }
        ]  # fmt: skip
        for rank, op in enumerate(body.ops):
            place = body.places[op.src] if isinstance(op, Enter) else None
            if place is None or place.name != first or len(place.path) != 1 or function.cls is None or not calls:
                continue
            name = str(place.path[0].value)
            left = [r for r, o in enumerate(body.ops) if isinstance(o, Exit) and o.src == getattr(op, "src", NONE)]
            if not all(rank < c < max(left, default=NONE) for c in calls):
                continue
            ref = Ref(function.key, function.self_name, (name,))
            kind = kind_of(self.references.type_of(function, ref))
            if kind is not None:
                yield Held(self.identity(function, ref, kind), ref, NONE)

    def at(self, function: FunctionNode, op: int) -> Lockset:
        """All locks held for certain at an operation: in its own regions and by all callers."""
        return frozenset(h.lock for h in self.regions(function)[op]) | self.entry(function)

    def _entries(self) -> dict[FunctionNode, Region]:
        escaping: set[FunctionNode] = {s.target.function for s in self.project.contexts.spawns}
        for caller in self.project.functions():
            for result in self.project.calls(caller).values():
                escaping.update(t.function for t in result.handed)
        private = {
            f: [(c, op) for c, op in calls if c.name not in ("__init__", "__post_init__")]
            for f, calls in self.sites.items()
            if f.cls is not None and f.name.startswith("_") and not f.name.startswith("__") and f not in escaping
        }
        entry: dict[FunctionNode, Region | None] = {f: None if calls else NO_REGION for f, calls in private.items()}
        changed = True
        while changed:
            changed = False
            for function, calls in private.items():
                known: Region | None = None
                for caller, op in calls:
                    above = entry.get(caller, NO_REGION)
                    if above is None:
                        continue  # not known yet: everything
                    above = above | self.decorated(caller)
                    held = self._lowered(caller, op, function, self.regions(caller)[op] | above)
                    known = held if known is None else known & held
                if known is not None and known != entry[function]:
                    entry[function], changed = known, True
        return {function: region or NO_REGION for function, region in entry.items()}

    def _lowered(self, caller: FunctionNode, op: int, target: FunctionNode, region: Region) -> Region:
        """What a region means inside of a callee."""
        if not region:
            return region
        binding = self.references.binding(caller, op, target)
        found: set[Held] = set()
        for held in region:
            for ref in self.references.down(held.ref, target, binding, None, caller) if held.ref is not None else ():
                found.add(Held(held.lock, ref, NONE))
        return frozenset(found)

    # --- where locks are made ---
    @cached_property
    def made(self) -> tuple[Made, ...]:
        """Every construction of a lock."""
        return tuple(m for function in self.project.functions() for m in self._made(function))

    def _made(self, function: FunctionNode) -> Iterator[Made]:
        body = function.body
        for rank, result in sorted(self.project.calls(function).items()):
            call = body.ops[rank]
            if not isinstance(call, Call):
                continue
            kinds = {of_path(path) for path in result.externals}
            kind = next(iter(kinds)) if len(kinds) == 1 else None
            factory = any(path.rpartition(".")[2] in ("field", "defaultdict") for path in result.externals)
            many = factory and any(path.endswith("defaultdict") for path in result.externals)
            if kind is None and factory:
                operands = [*(o for n, o in call.keywords if n == "default_factory"), *(call.args[:1] if many else ())]
                made = {of_path(path) for o in operands for path in self._paths(function, rank, o)}
                kind = made.pop() if len(made) == 1 else None
            if kind is None:
                continue
            limit: int | None = 1
            if kind in (Kind.THREAD_SEMAPHORE, Kind.ASYNC_SEMAPHORE) and (call.args or call.keywords):
                given = [*call.args[:1], *(o for n, o in call.keywords if n == "value")]
                literal = body.places[given[0]].name if given else None
                limit = int(literal.text) if isinstance(literal, Const) and literal.text.isdigit() else None
            stored = [o.dst for o in body.ops if isinstance(o, Store) and o.src == call.dst]
            for place in stored or [NONE]:
                ref = self.references.of(function, place) if place != NONE else None
                lock = self.identity(function, ref, kind) if ref is not None else None
                if place != NONE and lock is None:
                    lock = self._as_lock(function, place, None, kind)
                yield Made(function, rank, kind, lock, place, many, limit)

    def _paths(self, function: FunctionNode, rank: int, operand: int) -> list[str]:
        value = self.project.types(function).get((rank, operand), frozenset())
        found: list[str] = []
        for atom in value:
            if isinstance(atom, Outside):
                found.append(atom.path)
            elif isinstance(atom, ClassObject) and isinstance(atom.cls, str):
                found.append(atom.cls)
            elif isinstance(atom, Callee):
                kind = kind_of(self.project.world.result(atom.function, None))
                found.extend(path for path, known in sorted(KINDS.items()) if known is kind)
        return found


class _Drop(NamedTuple):
    """A release: of what the operations `entered` took, else of an object, or in doubt of a lock."""

    entered: frozenset[int]
    lock: Lock | None = None
    ref: Ref | None = None

    def covers(self, held: Held) -> bool:
        if self.entered:
            return held.op in self.entered
        return held.ref == self.ref if held.ref is not None and self.ref is not None else held.lock == self.lock


def _owner(project: Project, cls: ClassNode, name: str) -> str:
    """The class of the line that stores the attribute first: the same lock for all its subclasses."""
    for ancestor in reversed(cls.mro):
        if ("attr", ancestor, name) in project.world.state or any(f.name == name for f in ancestor.header.fields):
            return ancestor.dotted
    return cls.dotted
