"""What is known of values across functions: attributes, returns, arguments, module variables, captured names.

The state only grows. In a round every function reads the state of the previous one (`read` remembers who asked) and adds
to the next (`add`); `advance` joins the additions and tells whose questions have a new answer. So neither the order of
functions nor that of files can be seen in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from auditor.facts.model import NONE, Call, Closure, Root
from auditor.project.annotate import Annotations
from auditor.project.symbols import ClassNode, External, FunctionNode, Meaning, Module, Symbols
from auditor.project.types import (
    BOTTOM,
    NONE_TYPE,
    STR,
    TOP,
    UNKNOWN,
    Atom,
    Callee,
    ClassObject,
    Instance,
    ModuleObject,
    Outside,
    Super,
    Type,
    derived,
    flat,
    instance,
    join,
    known,
    union,
)  # fmt: skip

Key = tuple[str, object, str]  # ("attr", class, name), ("return", function, ""), ("param", function, name), ...
CONTEXT_MANAGERS = frozenset(
    {"contextlib.contextmanager", "contextlib.asynccontextmanager", "contextmanager", "asynccontextmanager"}
)


class World:
    """The state of the types stratum and the meaning of attributes and calls over it."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.annotations = Annotations(symbols)
        self.state: dict[Key, Type] = {}
        self.readers: dict[Key, dict[FunctionNode, None]] = {}
        self.added: dict[Key, Type] = {}
        self.asked: dict[Key, None] | None = None  # questions of the run under way
        self.said: dict[Key, Type] = {}  # what that run adds
        self.shapes: dict[FunctionNode, Any] = {}  # of `infer`: what does not change between runs over a function
        self._wrappers: dict[FunctionNode, tuple[FunctionNode, ...]] = {}
        self._stub_classes: dict[str, ClassNode | None] = {}
        self._stub_members: dict[tuple[ClassNode, str], Type | FunctionNode | None] = {}
        self._locals: dict[FunctionNode, frozenset[str]] = {}
        self._outside: dict[str, Type] = {}

    # --- state ---
    def read(self, kind: str, owner: object, name: str = "") -> Type:
        key = (kind, owner, name)
        if self.asked is not None:
            self.asked[key] = None
        return self.state.get(key, BOTTOM)

    def add(self, kind: str, owner: object, name: str, value: Type) -> None:
        if value:
            key = (kind, owner, name)
            before = self.said.get(key)
            self.said[key] = flat(value) if before is None else join(before, flat(value))

    def below(self, cls: ClassNode) -> list[ClassNode]:
        """The subclasses of a class; a question too, since any file may add one."""
        if self.asked is not None:
            self.asked["below", cls, ""] = None
        return cls.descendants()

    def begin(self) -> None:
        """A run over a function begins: its questions and additions are kept apart."""
        self.asked, self.said = {}, {}

    def end(self, function: FunctionNode) -> tuple[list[Key], dict[Key, Type]]:
        """The run is over: its questions in the order in which they were asked, and what it adds."""
        asked, said = list(self.asked or ()), self.said
        self.asked, self.said = None, {}
        self.take(function, asked, said)
        return asked, said

    def take(self, function: FunctionNode, asked: Iterable[Key], said: Mapping[Key, Type]) -> None:
        """Enter the questions and additions of a run."""
        for key in asked:
            self.readers.setdefault(key, {})[function] = None
        for key, value in said.items():
            before = self.added.get(key)
            self.added[key] = value if before is None else join(before, value)

    def advance(self) -> list[FunctionNode]:
        """Join what was added; the functions that read a key whose type grew, in order."""
        stale: dict[FunctionNode, None] = {}
        for key, value in self.added.items():
            before = self.state.get(key, BOTTOM)
            after = join(before, value)
            if after != before:
                self.state[key] = after
                stale.update(self.readers.get(key, {}))
        self.added = {}
        return sorted(stale, key=lambda f: f.key)

    # --- meanings ---
    def meaning(self, meaning: Meaning | None) -> Type:
        """The value that a resolved name has."""
        if meaning is None:
            return TOP
        if isinstance(meaning, External):
            return frozenset((Outside(meaning.path),))
        if isinstance(meaning, Module):
            return frozenset((ModuleObject(meaning),))
        if isinstance(meaning, ClassNode):
            return frozenset((ClassObject(meaning.dotted if meaning.module.is_stub else meaning),))
        if isinstance(meaning, FunctionNode):
            if meaning.module.is_stub:
                return frozenset((Outside(f"{meaning.module.name}.{meaning.symbol}"),))
            return frozenset((Callee(meaning),))
        if meaning.module.is_stub:
            return frozenset((Outside(f"{meaning.module.name}.{meaning.name}"),))
        return self.read("variable", meaning.module, meaning.name) or TOP

    def locals_of(self, function: FunctionNode) -> frozenset[str]:
        """Names that a function binds."""
        found = self._locals.get(function)
        if found is None:
            names = {str(p.name) for p in function.body.places if p.root is Root.LOCAL}
            names.update(p.name for p in function.header.params)
            found = self._locals[function] = frozenset(names)
        return found

    def cell_owner(self, function: FunctionNode, name: str) -> FunctionNode | None:
        """The enclosing function whose local a captured name is."""
        owner = function.parent
        while owner is not None and owner.index != 0:
            if owner.header.kind != "class" and name in self.locals_of(owner):
                return owner
            owner = owner.parent
        return None

    def parameter(self, function: FunctionNode, name: str) -> Type:
        """What a parameter may hold: its annotation, else what the project's callers pass, with its default."""
        header = function.header
        for rank, param in enumerate(header.params):
            if param.name != name:
                continue
            if rank == 0 and function.cls is not None and header.kind == "def" and not function.is_static:
                if function.is_classmethod:
                    return frozenset((ClassObject(function.cls),))
                return instance(function.cls)
            if param.kind == "vararg":
                return instance("builtins.tuple", self.annotation(param.annotation, function) or TOP)
            if param.kind == "kwarg":
                return instance("builtins.dict", STR, self.annotation(param.annotation, function) or TOP)
            declared = self.annotation(param.annotation, function)
            default = NONE_TYPE if param.default is not None and param.default.kind == "none" else BOTTOM
            if declared and known(declared):
                return join(declared, default)
            passed = join(self.read("param", function, name), default)
            if declared and not passed:
                return declared
            return passed
        return BOTTOM

    def annotation(self, expr: object, function: FunctionNode) -> Type:
        return self.annotations.type_of(expr, function.module, function.parent)  # type: ignore[arg-type]  # a TypeExpr or None

    # --- attributes ---
    def attribute(self, value: Type, name: str) -> Type:
        return union(self._attribute(atom, name) for atom in value)

    def _attribute(self, atom: Atom, name: str) -> Type:
        match atom:
            case Instance(cls, _, exact):
                if isinstance(cls, str):
                    return self._outside_member(cls, name)
                return self._member(cls, name, exact)
            case ClassObject(cls):
                return derived(cls, f".{name}") if isinstance(cls, str) else self._class_member(cls, name)
            case ModuleObject(module):
                if isinstance(module, str):
                    return derived(module, f".{name}")
                return self.meaning(self.symbols.attribute(module, name))
            case Outside(path):
                return derived(path, f".{name}")
            case Super(cls, receiver):
                return self._super(cls, receiver, name)
            case _:
                return TOP

    def _member(self, cls: ClassNode, name: str, exact: bool) -> Type:
        method = cls.method(name)
        if method is not None:
            if method.is_property:
                return self.result(method, cls)
            return frozenset((Callee(method, cls, not method.is_static, exact),))
        found = self._field(cls, name)
        if found:
            return found
        if not exact:  # a mixin or an abstract base: what the subclasses say
            below: Type = BOTTOM
            for sub in self.below(cls):
                override = sub.methods.get(name)
                if override is not None and not override.is_property:
                    below = join(below, frozenset((Callee(override, sub, not override.is_static, False),)))
                elif override is not None:
                    below = join(below, self.result(override, sub))
                else:
                    below = join(below, self.read("attr", sub, name))
            if below:
                return below
        return self._inherited(cls, name)

    def _field(self, cls: ClassNode, name: str) -> Type:
        """The type of a data attribute: a declaration of the class body, else the join of all stores in its line."""
        stored: Type = BOTTOM
        for ancestor in cls.mro:
            for field in ancestor.header.fields:
                if field.name == name and field.annotation is not None:
                    declared = self.annotations.type_of(
                        field.annotation, ancestor.module, ancestor.module.functions[ancestor.header.parent]
                    )
                    if known(declared):
                        return declared
            stored = join(stored, self.read("attr", ancestor, name))
        return stored

    def _inherited(self, cls: ClassNode, name: str) -> Type:
        for ancestor in cls.mro:
            for path in ancestor.externals:
                if path not in ("builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol"):
                    stub = self.stub_class(path)
                    if stub is None or self.stub_member(stub, name) is not None:
                        return derived(path, f".{name}")
        return TOP

    def _class_member(self, cls: ClassNode, name: str) -> Type:
        method = cls.method(name)
        if method is not None:
            return frozenset((Callee(method, cls, method.is_classmethod, False),))
        if any(
            path.rpartition(".")[2] in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")
            for c in cls.mro
            for path in c.externals
        ) and any(field.name == name for field in cls.header.fields):
            return instance(cls, exact=True)
        inner = self.symbols.attribute(cls, name)
        if isinstance(inner, ClassNode):
            return frozenset((ClassObject(inner),))
        return self._field(cls, name) or self._inherited(cls, name)

    def _super(self, cls: ClassNode, receiver: ClassNode, name: str) -> Type:
        line = receiver.mro
        start = line.index(cls) + 1 if cls in line else 0
        for ancestor in line[start:]:
            method = ancestor.methods.get(name)
            if method is not None:
                return frozenset((Callee(method, receiver, not method.is_static, True),))
        for ancestor in line:
            for path in ancestor.externals:
                return derived(path, f".{name}")
        return TOP

    # --- stubs ---
    def stub_class(self, path: str) -> ClassNode | None:
        """The stub of an external class, if there is one."""
        if path in self._stub_classes:
            return self._stub_classes[path]
        found = self._stub(path)
        self._stub_classes[path] = found if isinstance(found, ClassNode) else None
        return self._stub_classes[path]

    def _stub(self, path: str) -> Meaning | None:
        """What an external dotted path means in the stubs."""
        stubs = self.symbols.stubs
        if stubs is None or "(" in path:
            return None
        head, *rest = path.split(".")
        meaning: Meaning | None = stubs.module(head)
        for name in rest:
            if meaning is None or isinstance(meaning, External):
                return None
            meaning = self.symbols.attribute(meaning, name)
        return None if isinstance(meaning, External) else meaning

    def stub_member(self, cls: ClassNode, name: str) -> Type | FunctionNode | None:
        """A member of a stub class: its method, or the type of a field or property. None: it has none."""
        key = (cls, name)
        if key in self._stub_members:
            return self._stub_members[key]
        found: Type | FunctionNode | None = None
        pending = [cls]
        seen: set[ClassNode] = set()
        while pending and found is None:
            current = pending.pop(0)
            if current in seen:
                continue
            seen.add(current)
            found = self._own_stub_member(current, name)
            for base in current.header.bases:
                written = base.args[0].text if base.kind == "subscript" else base.text
                meaning = self.symbols.resolve(current.module, written) if written else None
                if isinstance(meaning, ClassNode):
                    pending.append(meaning)
        self._stub_members[key] = found
        return found

    def _own_stub_member(self, cls: ClassNode, name: str) -> Type | FunctionNode | None:
        method = dict(cls.header.methods).get(name)
        if method is not None:
            function = cls.module.functions[method]
            if function.is_property:
                return self.annotation(function.header.returns, function) or TOP
            return function
        for field in cls.header.fields:
            if field.name == name:
                return self.annotations.type_of(field.annotation, cls.module) or TOP
        return None

    def _outside_member(self, path: str, name: str) -> Type:
        stub = self.stub_class(path)
        if stub is not None:
            member = self.stub_member(stub, name)
            if isinstance(member, frozenset):
                return member
        return derived(path, f".{name}")

    def signatures(self, path: str) -> list[FunctionNode]:
        """The stub of an external function or method with all its overloads; none where there is no stub."""
        meaning = self._stub(path)
        if meaning is None:
            owner, _, name = path.rpartition(".")
            cls = self.stub_class(owner) if owner else None
            member = self.stub_member(cls, name) if cls is not None else None
            meaning = member if isinstance(member, FunctionNode) else None
        return _overloads(meaning) if isinstance(meaning, FunctionNode) else []

    def outside_result(self, path: str) -> Type:
        """What calling an external path gives, by its stub; else a value derived from it."""
        known = self._outside.get(path)
        if known is None:
            known = self._outside[path] = self._outside_result(path)
        return known

    def _outside_result(self, path: str) -> Type:
        meaning = self._stub(path)
        if meaning is None:
            owner, _, name = path.rpartition(".")
            cls = self.stub_class(owner) if owner else None
            member = self.stub_member(cls, name) if cls is not None else None
            meaning = member if isinstance(member, FunctionNode) else None
        if isinstance(meaning, ClassNode):
            return instance(meaning.dotted, exact=True)
        if isinstance(meaning, FunctionNode):
            returns = meaning.header.returns
            if returns is not None and returns.kind == "name" and returns.text in ("Self", "typing_extensions.Self"):
                declared = instance(path.rpartition(".")[0])
            else:
                declared = self.annotation(returns, meaning)
                if not known(declared):
                    declared = (
                        union(t for f in _overloads(meaning) if known(t := self.annotation(f.header.returns, f)))
                        or declared
                    )
            return instance("coroutine", declared or TOP) if meaning.header.is_async else declared or TOP
        last = path.rpartition(".")[2]
        if last[:1].isupper() and "(" not in last:
            return instance(path)
        return derived(path, "()")

    # --- calls of project functions ---
    def result(self, function: FunctionNode, receiver: ClassNode | None) -> Type:
        """What a call of the function gives: its declared or inferred return, wrapped as its kind asks."""
        header = function.header
        declared = self.annotation(header.returns, function)
        if header.is_generator:
            item = self.read("yield", function) or TOP
            if any(self.symbols.decorator_path(function, d) in CONTEXT_MANAGERS for d in header.decorators):
                return instance("context manager", item)
            return instance("async iterator" if header.is_async else "builtins.list", item)
        value = declared if declared and known(declared) else self.read("return", function) or (declared or BOTTOM)
        if receiver is not None and function.cls is not None and receiver is not function.cls:
            own = function.cls
            value = frozenset(
                Instance(receiver, (), a.exact) if isinstance(a, Instance) and a.cls is own else a for a in value
            )
        if header.is_async:
            return instance("coroutine", value or BOTTOM)
        if any(d.name.rpartition(".")[2] in ("contextmanager", "asynccontextmanager") for d in header.decorators):
            return instance("context manager", value)
        return value

    def wrappers(self, function: FunctionNode) -> tuple[FunctionNode, ...]:
        """Inner functions of the project's decorators around a function: what a call really enters first."""
        found = self._wrappers.get(function)
        if found is None:
            inner: list[FunctionNode] = []
            for decorator in function.header.decorators:
                meaning = (
                    self.symbols.resolve(function.module, decorator.name, function.parent) if decorator.name else None
                )
                if isinstance(meaning, FunctionNode) and not meaning.module.is_stub:
                    inner.extend(entered(meaning))
            found = self._wrappers[function] = tuple(inner)
        return found


def entered(decorator: FunctionNode) -> Iterable[FunctionNode]:
    """Nested functions of a decorator that call one of the names they captured: its wrappers."""
    stack = list(decorator.children)
    while stack:
        child = stack.pop(0)
        stack.extend(child.children)
        if child.header.kind != "def" or not any(isinstance(op, Call | Closure) for op in child.body.ops):
            continue
        captured = {p.name for owner in (decorator, child.parent) if owner is not None for p in owner.header.params}
        places = child.body.places
        for op in child.body.ops:
            if isinstance(op, Call) and op.callee != NONE:
                place = places[op.callee]
                if place.root is Root.CELL and not place.path and place.name in captured:
                    yield child
                    break


def _overloads(function: FunctionNode) -> list[FunctionNode]:
    """All overloads of a stub function, the one that was found among them."""
    if not any(d.name.rpartition(".")[2] == "overload" for d in function.header.decorators):
        return [function]
    same = (function.name, function.cls, function.parent)
    return [f for f in function.module.functions if (f.name, f.cls, f.parent) == same]


def is_unknown(value: Type) -> bool:
    return not value or UNKNOWN in value
