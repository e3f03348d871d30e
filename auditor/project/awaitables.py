"""What calls give that can be awaited: a coroutine, or surely nothing of that kind. Three values; unknown is neither.

A plain function that returns the coroutine of another one gives a coroutine too. Decorators are looked through: those of
the project by what their inner functions do, those of libraries only where the model `awaitables` knows them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import (
    NONE,
    Binary,
    Call,
    Collect,
    Compare,
    Edge,
    Format,
    Op,
    Return,
    Root,
    Select,
    Table,
    Unary,
)  # fmt: skip
from auditor.project.callables import CallResult, Target
from auditor.project.flow import writes
from auditor.project.protocols import is_declared
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import Callee, Instance, Type
from auditor.project.uses import maker
from auditor.project.world import entered

if TYPE_CHECKING:
    from auditor.project.project import Project

DEPTH = 6  # functions that are followed through what they return
PLAIN_CLASSES = frozenset({
    "builtins.None", "builtins.bool", "builtins.int", "builtins.float", "builtins.complex", "builtins.str", "builtins.bytes",
    "builtins.bytearray", "builtins.list", "builtins.tuple", "builtins.dict", "builtins.set", "builtins.frozenset", "builtins.range",
    "decimal.Decimal", "datetime.datetime", "datetime.date", "datetime.timedelta", "datetime.time",
})  # fmt: skip

HARMLESS = ("builtins.object", "abc.ABC", "typing.Generic", "enum.Enum", "enum.IntEnum", "typing.NamedTuple")
CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__"})
MOCKS = ("unittest.mock.", "mock.")


class Gives(enum.Enum):
    """What calling a function gives. GENERATOR is an asynchronous generator: iterated, never awaited."""

    COROUTINE = "coroutine"
    GENERATOR = "asynchronous generator"
    PLAIN = "plain"
    UNKNOWN = "unknown"


class Made(NamedTuple):
    """The coroutine that a call gives: of which `async def` (empty: that of a library, by its `path`), through which plain
    functions, and whether the callee is known without looking at subclasses."""

    functions: tuple[FunctionNode, ...]
    through: tuple[FunctionNode, ...]
    path: str
    sure: bool


class Awaitables:
    """The answers for one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._gives: dict[FunctionNode, Gives] = {}
        self._open: list[FunctionNode] = []

    # --- calls ---
    def coroutine(self, function: FunctionNode, op: int) -> Made | None:
        """The coroutine that a call surely gives, whichever of its targets runs; None if it may give something else."""
        result = self.project.calls(function).get(op)
        if result is None or result.how not in ("typed", "hierarchy") or not _may_be_coroutine(result):
            return None
        targets = [t for t in result.targets if not t.wrapper]
        externals = [p for p in result.externals if not p.startswith(MOCKS)]  # a test has put it there
        if bool(targets) is bool(externals) or any(self._replaced(t) for t in targets):
            return None
        if not targets:
            if all(self._is_async(path) for path in externals):
                return Made((), (), externals[0], len(externals) == 1)
            return None
        if any(self.gives(t.function) is not Gives.COROUTINE for t in targets):
            return None
        functions = tuple(dict.fromkeys(t.function for t in targets))
        through = tuple(f for f in functions if not f.header.is_async)
        ends = tuple(dict.fromkeys(f for each in functions for f in self._ends(each))) or functions
        return Made(ends, through, "", len(functions) == 1 and not is_declared(functions[0]))

    def plain(self, function: FunctionNode, op: int) -> Target | str | None:
        """The one function, or the path of the one callee of a library, that a call runs and that surely gives nothing
        that can be awaited; None where that is not known."""
        result = self.project.calls(function).get(op)
        if result is None or result.how != "typed":
            return None
        targets = [t for t in result.targets if not t.wrapper]
        if len(targets) == 1 and not result.externals and not self._replaced(targets[0]):
            target = targets[0]
            if target.function.name in CONSTRUCTORS:
                return target if self.never_awaitable(result.type) else None
            return target if self.gives(target.function) in (Gives.PLAIN, Gives.GENERATOR) else None
        if not targets and len(result.externals) == 1 and self._is_plain_path(result.externals[0]):
            return result.externals[0]
        return None

    # --- functions ---
    def gives(self, function: FunctionNode) -> Gives:
        """What a call of a function gives, its decorators included."""
        known = self._gives.get(function)
        if known is not None:
            return known
        if function in self._open or len(self._open) > DEPTH:
            return Gives.UNKNOWN
        self._open.append(function)
        found = self._decorated(function, self._bare(function))
        self._open.pop()
        if not self._open or found is not Gives.UNKNOWN:  # inside a ring it depends on where the ring was entered
            self._gives[function] = found
        return found

    def _bare(self, function: FunctionNode) -> Gives:
        header = function.header
        if header.is_generator:
            return Gives.GENERATOR if header.is_async else Gives.PLAIN
        if header.is_async:
            return Gives.COROUTINE
        if header.abstract or header.kind == "class":
            return Gives.UNKNOWN
        kinds = {self._value(function, op, source) for op, source in self.returned(function)}
        if self.ends_plainly(function):
            kinds.add(Gives.PLAIN)
        return kinds.pop() if len(kinds) == 1 else Gives.UNKNOWN

    def returned(self, function: FunctionNode) -> list[tuple[int, int]]:
        """The return statements that can run, with what they return."""
        body, order = function.body, self.project.flow(function).order
        ranks = sorted(r for n in order for r in range(body.blocks[n].start, body.blocks[n].end))
        return [(r, op.src) for r in ranks if isinstance(op := body.ops[r], Return)]

    def ends_plainly(self, function: FunctionNode) -> bool:
        """Whether a function can end without a return statement."""
        body = function.body
        for number in self.project.flow(function).order:
            block = body.blocks[number]
            leaves = any(kind is Edge.RETURN for kind, _ in block.edges)
            if leaves and not (block.end > block.start and isinstance(body.ops[block.end - 1], Return)):
                return True
        return False

    def _value(self, function: FunctionNode, op: int, operand: int) -> Gives:
        made = maker(function, operand)
        step: Op | None = function.body.ops[made] if made != NONE else None
        if isinstance(step, Call):
            if self.coroutine(function, made) is not None:
                return Gives.COROUTINE
            return Gives.PLAIN if self.plain(function, made) is not None or self._is_plain(function, op, operand) else Gives.UNKNOWN
        if isinstance(step, Binary | Compare | Unary | Format | Collect | Table):
            return Gives.PLAIN
        return Gives.PLAIN if self._is_plain(function, op, operand) else Gives.UNKNOWN

    def _is_plain(self, function: FunctionNode, op: int, operand: int) -> bool:
        value = self.project.types(function).get((op, operand))
        return value is not None and self.never_awaitable(value)

    def never_awaitable(self, value: Type) -> bool:
        """Whether no value of a type can be awaited."""
        return bool(value) and all(isinstance(a, Instance) and not self._has(a, "__await__") for a in value)

    def lacks(self, value: Type, name: str) -> bool:
        """Whether no value of a type has a special method."""
        return bool(value) and all(isinstance(a, Instance) and not self._has(a, name) for a in value)

    def _has(self, atom: Instance, name: str) -> bool:
        """Whether an instance has, or may have, a special method."""
        if isinstance(atom.cls, str):
            return atom.cls not in PLAIN_CLASSES
        classes = (atom.cls,) if atom.exact else (atom.cls, *atom.cls.descendants())
        return any(c.open or c.method(name) is not None or _foreign(c) for c in classes)


    # --- decorators ---
    def _decorated(self, function: FunctionNode, gives: Gives) -> Gives:
        for decorator in reversed(function.header.decorators):
            if gives is Gives.UNKNOWN:
                return gives
            meaning = self.project.symbols.resolve(function.module, decorator.name, function.parent) if decorator.name else None
            if isinstance(meaning, FunctionNode) and not meaning.module.is_stub:
                gives = self._wrapped(meaning, gives)
            else:
                path = self.project.symbols.decorator_path(function, decorator)
                if not any(role.name == "keeps" for role in self.project.models.model("awaitables").roles(path)):
                    return Gives.UNKNOWN
        return gives

    def _wrapped(self, decorator: FunctionNode, inner: Gives) -> Gives:
        """What a function gives once a decorator of the project is around it."""
        wrappers = list(entered(decorator))
        if not wrappers:
            return inner if self._returns_its_argument(decorator) else Gives.UNKNOWN
        kinds = {self._bare(w) if w.header.is_async else self._forwarded(w, inner) for w in wrappers}
        if len(kinds) == 1:
            return kinds.pop()
        if inner is Gives.COROUTINE and any(w.header.is_async for w in wrappers) and self._asks(decorator):
            return Gives.COROUTINE  # one wrapper for each kind of function
        return Gives.UNKNOWN

    def _forwarded(self, wrapper: FunctionNode, inner: Gives) -> Gives:
        """What a plain wrapper gives: what the function gives that it captured, if it returns just that."""
        body = wrapper.body
        kinds: set[Gives] = set()
        for op, source in self.returned(wrapper):
            made = maker(wrapper, source)
            step = body.ops[made] if made != NONE else None
            if isinstance(step, Call) and body.places[step.callee].root is Root.CELL and not body.places[step.callee].path:
                kinds.add(inner)
            else:
                kinds.add(self._value(wrapper, op, source))
        if self.ends_plainly(wrapper):
            kinds.add(Gives.PLAIN)
        return kinds.pop() if len(kinds) == 1 else Gives.UNKNOWN

    def _returns_its_argument(self, decorator: FunctionNode) -> bool:
        """Whether a decorator, or the one that its factory makes, only registers the function."""
        for candidate in (decorator, *decorator.children):
            sources = [source for _, source in self.returned(candidate)]
            params = {p.name for p in candidate.header.params[:1]}
            places = candidate.body.places
            if sources and all(places[s].root is Root.LOCAL and not places[s].path and places[s].name in params for s in sources):
                return True
        return False

    def _asks(self, decorator: FunctionNode) -> bool:
        stack = [decorator]
        while stack:
            current = stack.pop()
            stack.extend(current.children)
            if any(p.endswith("iscoroutinefunction") for r in self.project.calls(current).values() for p in r.externals):
                return True
        return False

    # --- callees ---
    def _replaced(self, target: Target) -> bool:
        """Whether an attribute of the instance stands in for the method somewhere."""
        name = target.function.name
        if target.receiver is None or name not in self._stored:
            return False
        line = (*target.receiver.mro, *target.receiver.descendants())
        own = {c.methods.get(name) for c in line}  # a class body binds its methods like any other name
        stored = (a for c in line for a in self.project.world.read("attr", c, name))
        return any(not (isinstance(a, Callee) and a.function in own) for a in stored)

    @cached_property
    def _stored(self) -> frozenset[str]:
        """Names of attributes that some statement assigns, outside of tests: there they are replaced for the test."""
        found: set[str] = set()
        for function in self.project.functions():
            if of_tests(function.path):
                continue
            places = function.body.places
            for op in function.body.ops:
                for operand in writes(op):
                    path = places[operand].path
                    if path and path[-1].kind is Select.ATTR:
                        found.add(str(path[-1].value))
        return frozenset(found)

    def _ends(self, function: FunctionNode) -> Iterator[FunctionNode]:
        """The `async def`s whose coroutines a function gives."""
        if function.header.is_async:
            yield function
            return
        for _, source in self.returned(function):
            made = maker(function, source)
            inner = self.coroutine(function, made) if made != NONE else None
            if inner is not None:
                yield from inner.functions

    def _is_async(self, path: str) -> bool:
        signatures = self.project.world.signatures(path)
        return bool(signatures) and all(f.header.is_async and not f.header.is_generator for f in signatures)

    def _is_plain_path(self, path: str) -> bool:
        signatures = self.project.world.signatures(path)
        return bool(signatures) and all(self._is_plain_signature(f) for f in signatures)

    def _is_plain_signature(self, function: FunctionNode) -> bool:
        if function.header.is_async or function.header.returns is None:
            return False
        value = self.project.world.annotation(function.header.returns, function)
        return bool(value) and all(isinstance(a, Instance) and a.cls in PLAIN_CLASSES for a in value)


def _may_be_coroutine(result: CallResult) -> bool:
    """A quick look at what a call gives, before its callees are gone into."""
    return any(isinstance(a, Instance) and a.cls == "coroutine" for a in result.type) or any(
        t.wrapper and t.function.header.is_async for t in result.targets
    )


def _foreign(cls: ClassNode) -> bool:
    """Whether a class has a base outside of the project that may bring any method."""
    return any(path not in HARMLESS for c in cls.mro for path in c.externals)
