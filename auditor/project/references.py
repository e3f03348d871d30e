"""References: which object a place means, as the way to it, and how that way reads in the function that a call enters.

`self._lock` in a method and `self.parent._lock` in the object that the method built with `Child(self)` are one lock. Two
equal references mean the same object, as long as no name on the way is bound anew in between; a way that cannot be
followed for certain has no reference. Attributes are taken to be stored where the source stores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Await, Call, Const, Return, Root, Select, Store
from auditor.project.flow import writes
from auditor.project.graph import method_of
from auditor.project.summaries import deepest_first
from auditor.project.symbols import ClassNode, FunctionNode, Module, Variable
from auditor.project.types import ClassObject, Instance, Type, instance

if TYPE_CHECKING:
    from auditor.project.project import Project

MAX_PATH = 5  # selectors of a reference; a longer way is not followed
MAX_FOLLOWED = 12  # names, results and attributes behind one another that one place stands for
DATACLASSES = frozenset({"dataclass", "define", "attrs", "frozen", "mutable", "s"})


class Item(NamedTuple):
    """A selector `[key]`: the spelling of a constant, or the reference of the key."""

    key: str | Ref


class Ref(NamedTuple):
    """A value by the way to it: a name of a `scope` - the key of a function, or the dotted name of a module or class whose
    variable it is - and attributes or items from there."""

    scope: tuple[str, int] | str
    name: str
    path: tuple[str | Item, ...] = ()

    def __str__(self) -> str:
        text = self.name
        for selected in self.path:
            text += f"[{_key(selected)}]" if isinstance(selected, Item) else f".{selected}"
        return text

    def names(self, scope: tuple[str, int]) -> Iterator[str]:
        """The names of a scope that the way begins with, or a key on it does."""
        if self.scope == scope:
            yield self.name
        for selected in self.path:
            if isinstance(selected, Item) and isinstance(selected.key, Ref):
                yield from selected.key.names(scope)

    def mentions(self, scope: tuple[str, int], name: str) -> bool:
        """Whether the way begins with this name, or a key on it does."""
        if self.scope == scope and self.name == name:
            return True
        return any(isinstance(s, Item) and isinstance(s.key, Ref) and s.key.mentions(scope, name) for s in self.path)

    def then(self, *path: str | Item) -> Ref | None:
        """The reference of what stands further on the way."""
        return self._replace(path=self.path + path) if len(self.path) + len(path) <= MAX_PATH else None


Binding = Mapping[str, Ref]  # parameter of a callee -> what it is, in the function that calls


class Stored(NamedTuple):
    """Operation `op` of `function` stores the operand `source` (NONE: unknown) to an attribute of its `self`."""

    function: FunctionNode
    op: int
    source: int


class References:
    """References of places, and their translation along calls."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._of: dict[tuple[FunctionNode, int], Ref | None] = {}
        self._waiting: set[tuple[FunctionNode, int]] = set()
        self._rings = 0
        self._returned: dict[FunctionNode, Ref | None] = {}
        self._origins: dict[tuple[ClassNode, str], Stored | None] = {}
        self._members: dict[tuple[ClassNode, str], Mapping[str, Ref]] = {}

    # --- places ---
    def of(self, function: FunctionNode, operand: int) -> Ref | None:
        """What a place means, in the frame of the function; None where the way to it is not known."""
        key = (function, operand)
        if key in self._waiting:
            self._rings += 1
        elif key not in self._of:
            self._follow(function, operand)
        return self._of[key]

    def _follow(self, function: FunctionNode, operand: int) -> None:
        """The ways to a place and to all that it is made from, without recursion. A name that is bound to what is made from
        itself has no way while that is looked for; what was found then is looked for once more."""

        def below(inner: int) -> Iterator[int]:
            self._of[function, inner] = None
            self._waiting.add((function, inner))
            return self._bound_to(function, inner)

        again: list[int] = []
        for at in deepest_first(operand, below, lambda o: (function, o) in self._of):
            rings = self._rings
            self._of[function, at] = self._place(function, at)
            self._waiting.discard((function, at))
            if rings != self._rings:
                again.append(at)
        for at in again:
            self._of[function, at] = self._place(function, at)

    def _bound_to(self, function: FunctionNode, operand: int) -> Iterator[int]:
        """The places that the way to a place may be read from: what a name is bound to, what a call is given. Chains of names
        and calls may be long."""
        place = function.body.places[operand]
        if place.root is Root.CONST:
            return
        if place.path:
            yield from (i for i in function.operands.parts(operand) if not function.body.places[i].path)
            yield from (value for _, value in place.path if isinstance(value, int))
            return
        for rank in self.writers(function, operand) if place.root in (Root.LOCAL, Root.TEMP) else ():
            op = function.body.ops[rank]
            if isinstance(op, Store | Await):
                yield op.src
            elif isinstance(op, Call):
                yield from (op.callee, *op.args, *(value for _, value in op.keywords))

    def _place(self, function: FunctionNode, operand: int) -> Ref | None:
        body = function.body
        place = body.places[operand]
        if place.root is Root.CONST:
            return None
        path: list[str | Item] = []
        for kind, value in place.path:
            if kind is Select.ATTR:
                path.append(str(value))
            else:
                item = self.item(function, value)
                if item is None:
                    return None
                path.append(item)
        return self.walk(function, operand, path)

    def walk(self, function: FunctionNode, operand: int, path: list[str | Item]) -> Ref | None:
        """The name that a place begins with, and selectors from there."""
        place = function.body.places[operand]
        if place.root is Root.GLOBAL:
            return self._global(function, str(place.name), path)
        base = self._root(function, operand)
        found = None if base is None else base.then(*path)
        return None if found is None else self.canonical(function, found)

    def item(self, function: FunctionNode, value: object) -> Item | None:
        """The selector for a key: a constant, or the operand of one."""
        if isinstance(value, Const):
            return Item(value.text)
        if not isinstance(value, int) or value == NONE:
            return None
        name = function.body.places[value].name
        if isinstance(name, Const):
            return Item(name.text)
        ref = self.of(function, value)
        return None if ref is None else Item(ref)

    def _root(self, function: FunctionNode, operand: int) -> Ref | None:
        """What the name means that a place begins with."""
        body = function.body
        place = body.places[operand]
        name = str(place.name)
        if function.header.kind == "class" and place.root is Root.LOCAL and function.body_of is not None:
            return Ref(function.body_of.dotted, name)
        if place.root is Root.CELL:
            owner = self.project.world.cell_owner(function, name)
            if owner is None:
                return None
            return self._named(
                owner, next((i for i, p in enumerate(owner.body.places) if p.name == name and not p.path), NONE), name
            )
        bare = next((i for i in function.operands.parts(operand) if not body.places[i].path), NONE)
        if place.root is Root.TEMP:
            return self._made(function, bare) if bare != NONE else None
        return self._named(function, bare, name)

    def _global(self, function: FunctionNode, name: str, path: list[str | Item]) -> Ref | None:
        """A variable of a module or class, by the place that binds it."""
        symbols = self.project.symbols
        meaning = symbols.resolve(function.module, name, function)
        if meaning is None:
            return Ref(function.module.name, name, tuple(path)) if name in symbols.assigned(function.module) else None
        rest = list(path)
        while isinstance(meaning, Module | ClassNode) and rest and isinstance(rest[0], str):
            inner = symbols.attribute(meaning, rest[0])
            if inner is None and isinstance(meaning, ClassNode):
                owner = self.shared(meaning, rest[0]) or meaning
                return Ref(owner.dotted, rest[0], tuple(rest[1:]))
            meaning = inner
            rest.pop(0)
        return Ref(meaning.module.name, meaning.name, tuple(rest)) if isinstance(meaning, Variable) else None

    def _named(self, function: FunctionNode, bare: int, name: str) -> Ref | None:
        """A local name: what it is bound to, if it is bound once to something that has a reference."""
        own = Ref(function.key, name)
        if bare == NONE or any(p.name == name for p in function.header.params):
            return own
        writers = self.writers(function, bare)
        sources = [function.body.ops[rank] for rank in writers]
        if not sources or not all(isinstance(op, Store) for op in sources):
            return own
        refs = [(op.src, self.of(function, op.src)) for op in sources if isinstance(op, Store)]
        known = {ref for _, ref in refs if ref is not None}
        if len(known) != 1:
            return own
        (only,) = known
        if any(ref is None and not self._also_stored(function, source, only) for source, ref in refs):
            return own
        return own if self._changes(function, only) else only

    def _also_stored(self, function: FunctionNode, source: int, ref: Ref) -> bool:
        """Whether a fresh value is put where the reference leads (`lock = self.locks[k] = Lock()`)."""
        stored = list(_stored_from(function, source))
        copies = {source, *stored}
        further = [t for c in sorted(copies) for t in _stored_from(function, c) if t not in copies]
        targets = [*further, *(t for t in stored if function.body.places[t].path)]
        return any(self.of(function, target) == ref for target in targets)

    def _changes(self, function: FunctionNode, ref: Ref) -> bool:
        """Whether a local name on the way is bound more than once, so that it may mean something else by now."""
        for name in ref.names(function.key):
            given = any(p.name == name for p in function.header.params)
            for rank in function.operands.named(Root.LOCAL, name):
                if not function.body.places[rank].path and len(self.writers(function, rank)) > (0 if given else 1):
                    return True
        return False

    def writers(self, function: FunctionNode, operand: int) -> tuple[int, ...]:
        """Operations that write exactly this place."""
        return function.operands.writers(operand)

    def _made(self, function: FunctionNode, temp: int) -> Ref | None:
        """What a temporary holds: a loaded place, an item that a dict gives, what a call returns, `super()`."""
        body = function.body
        writers = self.writers(function, temp)
        if len(writers) != 1:
            return None
        op = body.ops[writers[0]]
        if isinstance(op, Store):
            return self.of(function, op.src)
        rank = writers[0]
        if isinstance(op, Await):
            made = self.writers(function, op.src)
            if len(made) != 1 or not isinstance(body.ops[made[0]], Call):
                return None
            rank, op = made[0], body.ops[made[0]]
        if not isinstance(op, Call):
            return None
        place = body.places[op.callee]
        if place.root is Root.GLOBAL and place.name == "super" and not place.path:
            method = method_of(function)
            return None if method is None else Ref(method.key, method.self_name)
        if place.path and place.path[-1] in ((Select.ATTR, "setdefault"), (Select.ATTR, "get")) and op.args:
            container, item = self.owner(function, op), self.item(function, op.args[0])
            return container.then(item) if container is not None and item is not None else None
        result = self.project.calls(function).get(rank)
        targets = [t for t in result.targets if not t.wrapper] if result is not None else []
        if len(targets) != 1 or targets[0].function.name == "__init__":
            return None
        given = self.returned(targets[0].function)
        return (
            None if given is None else up(given, targets[0].function, self.binding(function, rank, targets[0].function))
        )

    def owner(self, function: FunctionNode, call: Call) -> Ref | None:
        """The object whose method is called."""
        body = function.body
        place = body.places[call.callee]
        if not place.path:
            bound = self.of(function, call.callee)
            return None if bound is None or not bound.path else bound._replace(path=bound.path[:-1])
        before = place._replace(path=place.path[:-1])
        rank = next((i for i, p in enumerate(body.places) if p == before), NONE)
        if rank != NONE:
            return self.of(function, rank)
        names: list[str | Item] = []
        for kind, value in before.path:
            item = str(value) if kind is Select.ATTR else self.item(function, value)
            if item is None:
                return None
            names.append(item)
        return self.walk(function, call.callee, names)

    def returned(self, function: FunctionNode) -> Ref | None:
        """What a function gives, in its own frame, if every return gives the same."""
        def below(inner: FunctionNode) -> Iterator[FunctionNode]:
            self._returned[inner] = None
            return self._gives(inner)

        for current in deepest_first(function, below, self._returned.__contains__):
            refs = {self.of(current, op.src) for op in current.body.ops if isinstance(op, Return)}
            if len(refs) == 1:
                self._returned[current] = refs.pop()
        return self._returned[function]

    def _gives(self, function: FunctionNode) -> Iterator[FunctionNode]:
        """Functions whose results a function may hand on."""
        ops, places = function.body.ops, function.body.places
        pending = [op.src for op in ops if isinstance(op, Return) and op.src != NONE]
        seen: set[int] = set()
        while pending:
            operand = pending.pop()
            if operand in seen:
                continue
            seen.add(operand)
            roots = (i for i in function.operands.parts(operand) if not places[i].path) if places[operand].path else ()
            for rank in (*self.writers(function, operand), *(r for i in roots for r in self.writers(function, i))):
                op = ops[rank]
                if isinstance(op, Store | Await):
                    pending.append(op.src)
                elif isinstance(op, Call):
                    result = self.project.calls(function).get(rank)
                    targets = [t.function for t in result.targets if not t.wrapper] if result is not None else []
                    if len(targets) == 1:
                        yield targets[0]

    # --- calls ---
    def binding(self, function: FunctionNode, op: int, target: FunctionNode) -> Binding:
        """What the parameters of a callee are, as far as it is known."""
        call = function.body.ops[op]
        if not isinstance(call, Call):
            return {}
        bound: dict[str, Ref] = {}
        params = [p for p in target.header.params if p.kind in ("positional", "normal", "keyword")]
        result = self.project.calls(function).get(op)
        known = [t for t in result.targets if t.function is target] if result is not None else []
        is_method = bool(target.self_name) and (known[0].bound if known else True)
        if is_method and params:
            place = function.body.places[call.callee]
            fresh = target.name in ("__init__", "__new__", "__post_init__") and not (
                place.path and place.path[-1].value == target.name
            )
            owner = None if fresh else self.owner(function, call)
            if owner is not None:
                bound[params[0].name] = owner
            params = params[1:]
        elif target.is_classmethod:
            params = params[1:]
        positional = [p for p in params if p.kind != "keyword"]
        first_star = min(call.starred, default=len(call.args))
        for param, operand in zip(positional, call.args[:first_star], strict=False):
            ref = self.of(function, operand)
            if ref is not None:
                bound[param.name] = ref
        for name, operand in call.keywords:
            ref = self.of(function, operand) if name else None
            if ref is not None:
                bound[name] = ref
        return bound

    def rebound(self, function: FunctionNode, name: str) -> bool:
        """Whether a parameter gets another value inside of its function."""
        return any(
            place.root is Root.LOCAL and place.name == name and not place.path and self.writers(function, rank)
            for rank, place in enumerate(function.body.places)
        )

    def down(
        self, ref: Ref, target: FunctionNode, binding: Binding, receiver: ClassNode | None, caller: FunctionNode
    ) -> Iterator[Ref]:
        """What a reference of the caller is called in the callee; none where it does not come to it."""
        if isinstance(ref.scope, str) or _encloses(ref.scope, target):
            yield ref
        for name, given in binding.items():
            if self.rebound(target, name):
                continue
            own = Ref(target.key, name)
            for prefix, inner in self._aliases(given, own, caller):
                if (prefix.scope, prefix.name) == (ref.scope, ref.name) and ref.path[: len(prefix.path)] == prefix.path:
                    rest = [self._lowered(s, target, binding) for s in ref.path[len(prefix.path) :]]
                    known = [s for s in rest if s is not None]
                    found = inner.then(*known) if len(known) == len(rest) else None
                    if found is not None:
                        yield found

    def _aliases(self, given: Ref, own: Ref, caller: FunctionNode) -> Iterator[tuple[Ref, Ref]]:
        """The argument itself, and what the object that it names was built with."""
        yield given, own
        method = method_of(caller)
        if (
            method is None
            or method.cls is None
            or given.scope != method.key
            or given.name != method.self_name
            or len(given.path) != 1
        ):
            return
        attribute = given.path[0]
        if isinstance(attribute, str):
            for inner, argument in self.members(method.cls, attribute).items():
                yield _on(argument, given), own._replace(path=(inner,))

    @staticmethod
    def _lowered(selected: str | Item, target: FunctionNode, binding: Binding) -> str | Item | None:
        if not isinstance(selected, Item) or isinstance(selected.key, str):
            return selected
        if isinstance(selected.key.scope, str):
            return selected
        name = next((n for n, given in sorted(binding.items()) if given == selected.key), None)
        return None if name is None else Item(Ref(target.key, name))

    # --- attributes ---
    def origin(self, cls: ClassNode, name: str) -> Stored | None:
        """The one place that stores an attribute of `self`, in the line of the class; None if there is not just one."""
        key = (cls, name)
        if key not in self._origins:
            line = {*cls.mro, *cls.descendants()}
            stores = [s for owner in line for s in self._stores.get((owner, name), ())]
            self._origins[key] = stores[0] if len(stores) == 1 and name not in self._foreign else None
        return self._origins[key]

    @cached_property
    def _stores(self) -> Mapping[tuple[ClassNode, str], list[Stored]]:
        """Stores to attributes of `self`, by the class of the method."""
        found: dict[tuple[ClassNode, str], list[Stored]] = {}
        for function in self.project.functions():
            method = method_of(function)
            if method is None or method.cls is None:
                continue
            places = function.body.places
            for rank, op in enumerate(function.body.ops):
                for written in writes(op):
                    place = places[written]
                    if len(place.path) == 1 and place.path[0].kind is Select.ATTR and place.name == method.self_name:
                        source = op.src if isinstance(op, Store) else NONE
                        found.setdefault((method.cls, str(place.path[0].value)), []).append(
                            Stored(function, rank, source)
                        )
        return found

    @cached_property
    def _stored_names(self) -> Mapping[ClassNode, list[str]]:
        """The attributes of `self` that the methods of a class store."""
        found: dict[ClassNode, list[str]] = {}
        for owner, name in self._stores:
            found.setdefault(owner, []).append(name)
        return found

    @cached_property
    def _foreign(self) -> frozenset[str]:
        """Attributes that are stored through something else than `self`: of what object is not asked."""
        found: set[str] = set()
        for function in self.project.functions():
            method = method_of(function)
            own = method.self_name if method is not None else ""
            for op in function.body.ops:
                for written in writes(op):
                    place = function.body.places[written]
                    if place.path and place.path[-1].kind is Select.ATTR and (place.name != own or len(place.path) > 1):
                        found.add(str(place.path[-1].value))
        return frozenset(found)

    def members(self, cls: ClassNode, attribute: str) -> Mapping[str, Ref]:
        """What the object in `self.attribute` was built with: its attributes -> references in the frame of the method that
        built it (`self.child = Child(self, lock=self._guard)` gives `parent` -> `self`, `_lock` -> `self._guard`)."""
        key = (cls, attribute)
        if key not in self._members:
            self._members[key] = {}
            self._members[key] = dict(self._built(cls, attribute))
        return self._members[key]

    def _built(self, cls: ClassNode, attribute: str) -> Iterator[tuple[str, Ref]]:
        stored = self.origin(cls, attribute)
        if stored is None or stored.source == NONE:
            return
        function = stored.function
        makers = self.writers(function, stored.source)
        if len(makers) != 1 or not isinstance(function.body.ops[makers[0]], Call) or function.self_name == "":
            return
        result = self.project.calls(function).get(makers[0])
        made = [a.cls for a in result.type if isinstance(a, Instance)] if result is not None else []
        if len(made) != 1 or not isinstance(made[0], ClassNode) or result is None:
            return
        child = made[0]
        init = next((t.function for t in result.targets if t.function.name == "__init__" and not t.wrapper), None)
        if init is None:
            if any(d.name.rpartition(".")[2] in DATACLASSES for d in child.header.decorators):
                call = function.body.ops[makers[0]]
                keywords = call.keywords if isinstance(call, Call) else ()
                yield from (
                    (n, ref)
                    for n, o in keywords
                    if n and (ref := self.of(function, o)) is not None and _whole(ref, function)
                )
            return
        binding = self.binding(function, makers[0], init)
        for name in sorted({n for owner in child.mro for n in self._stored_names.get(owner, ())}):
            inner = self.origin(child, name)
            if inner is None or inner.function is not init or inner.source == NONE:
                continue
            given = self.of(init, inner.source)
            if (
                given is None
                or given.path
                or given.scope != init.key
                or given.name not in binding
                or self.rebound(init, given.name)
            ):
                continue
            if _whole(binding[given.name], function):
                yield name, binding[given.name]

    def canonical(self, function: FunctionNode, ref: Ref) -> Ref:
        """The shortest known way to the same object: an attribute that is shared by a class is that of the class, what an
        own object was built with is what it was built with, a condition is the lock that it was built around."""
        for _ in range(MAX_FOLLOWED):
            shorter = self._shorter(function, ref)
            if shorter is None or shorter == ref:
                return ref
            ref = shorter
        return ref

    def _shorter(self, function: FunctionNode, ref: Ref) -> Ref | None:
        method = method_of(function)
        if (
            method is None
            or method.cls is None
            or ref.scope != method.key
            or not ref.path
            or not isinstance(ref.path[0], str)
        ):
            return None
        first = method.header.params[0].name if method.header.params else ""
        if ref.name != first:
            return None
        shared = self.shared(method.cls, ref.path[0])
        if shared is not None:
            return Ref(shared.dotted, ref.path[0], ref.path[1:])
        if method.is_classmethod:
            return None
        own = ref._replace(path=ref.path[:1])
        if len(ref.path) > 1 and isinstance(ref.path[1], str):
            argument = self.members(method.cls, ref.path[0]).get(ref.path[1])
            if argument is not None:
                return _on(argument, own).then(*ref.path[2:])
        around = self._around(method.cls, ref.path[0])
        return None if around is None else _on(around, own).then(*ref.path[1:])

    def _around(self, cls: ClassNode, attribute: str) -> Ref | None:
        """The lock that the condition in an attribute was built around."""
        stored = self.origin(cls, attribute)
        if stored is None or stored.source == NONE:
            return None
        makers = self.writers(stored.function, stored.source)
        call = stored.function.body.ops[makers[0]] if len(makers) == 1 else None
        if not isinstance(call, Call):
            return None
        result = self.project.calls(stored.function).get(makers[0])
        if result is None or not any(path.endswith(".Condition") for path in result.externals):
            return None
        given = [*call.args[:1], *(o for name, o in call.keywords if name == "lock")]
        ref = self.of(stored.function, given[0]) if given else None
        return ref if ref is not None and _whole(ref, stored.function) else None

    def shared(self, cls: ClassNode, name: str) -> ClassNode | None:
        """The class whose body binds an attribute that no method stores: all instances share it."""
        if any((owner, name) in self._stores for owner in (*cls.mro, *cls.descendants())):
            return None
        for owner in cls.mro:
            for field in owner.header.fields:
                if field.name == name and field.has_default:
                    made = any(d.name.rpartition(".")[2] in DATACLASSES for d in owner.header.decorators)
                    return None if made else owner
        return None

    # --- types ---
    def type_of(self, function: FunctionNode, ref: Ref) -> Type:
        """The type of what a reference of this function's frame means."""
        world = self.project.world
        if isinstance(ref.scope, str):
            module = self.project.symbols.modules.get(ref.scope)
            if module is not None:
                value: Type = world.read("variable", module, ref.name)
            else:
                cls = next((c for c in self.project.symbols.classes() if c.dotted == ref.scope), None)
                value = world.attribute(frozenset((ClassObject(cls),)), ref.name) if cls is not None else frozenset()
        else:
            scope = self.project.symbols.by_path[ref.scope[0]].functions[ref.scope[1]]
            if scope.self_name == ref.name and scope.cls is not None and not scope.is_classmethod:
                value = instance(scope.cls)
            elif any(p.name == ref.name for p in scope.header.params):
                value = world.parameter(scope, ref.name)
            else:
                value = self._local(scope, ref.name)
        for selected in ref.path:
            if isinstance(selected, Item):
                return frozenset()
            value = world.attribute(frozenset(a for a in value if a not in _NOTHING), selected)
        return value

    def _local(self, function: FunctionNode, name: str) -> Type:
        """The type of a local name: of what it is bound to."""
        found: Type = frozenset()
        for operand, place in enumerate(function.body.places):
            if place.name != name or place.path or place.root is not Root.LOCAL:
                continue
            found |= self.project.type_of(function, operand)
            for rank in self.writers(function, operand):
                op = function.body.ops[rank]
                if isinstance(op, Store):
                    found |= self.project.types(function).get((rank, op.src), frozenset())
        return found


_NOTHING = instance("builtins.None")


def _stored_from(function: FunctionNode, source: int) -> Iterator[int]:
    """Places that a place is stored to."""
    for rank in function.operands.readers(source):
        op = function.body.ops[rank]
        if isinstance(op, Store) and op.src == source:
            yield op.dst


def up(ref: Ref, callee: FunctionNode, binding: Binding) -> Ref | None:
    """What a reference of the callee is called in the caller; None where the caller has no way to it."""
    path: list[str | Item] = []
    for selected in ref.path:
        if isinstance(selected, Item) and isinstance(selected.key, Ref):
            key = up(selected.key, callee, binding)
            if key is None:
                return None
            path.append(Item(key))
        else:
            path.append(selected)
    if ref.scope != callee.key:
        return ref._replace(path=tuple(path))
    given = binding.get(ref.name)
    return None if given is None else given.then(*path)


def _on(argument: Ref, self_reference: Ref) -> Ref:
    """A reference that begins with the `self` of another method of the same object, on this method's `self`."""
    return (
        argument
        if isinstance(argument.scope, str)
        else argument._replace(scope=self_reference.scope, name=self_reference.name)
    )


def _whole(ref: Ref, method: FunctionNode) -> bool:
    """Whether a reference means the same in every method: it begins with `self`, or with a variable."""
    return isinstance(ref.scope, str) or (ref.scope == method.key and ref.name == method.self_name)


def _encloses(scope: tuple[str, int], target: FunctionNode) -> bool:
    current = target.parent
    while current is not None:
        if current.key == scope:
            return True
        current = current.parent
    return False


def _key(item: Item) -> str:
    return item.key if isinstance(item.key, str) else str(item.key)
