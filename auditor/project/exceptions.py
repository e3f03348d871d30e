"""Which handlers an exception of an operation comes to, and which of them takes it.

The lines of descent of exceptions are data (model `exceptions`, entries `derives` and `parts`); those of the project are its
classes. A class that neither knows decides nothing: all questions have three answers, None for the third.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Catch, Collect, Const, Raise, Root, Select, Store
from auditor.project.flow import writes
from auditor.project.models import canonical
from auditor.project.symbols import ClassNode, External, FunctionNode, Meaning, Variable

if TYPE_CHECKING:
    from auditor.project.project import Project

MODEL = "exceptions"
EVERYTHING = ("builtins.BaseException",)  # what a bare `except` takes
Class = ClassNode | str


class Handler(NamedTuple):
    """A handler around an operation: its `Catch`, its first block, the region that it ends; `classes` are those that it
    names, None among them for one that is not known."""

    op: int
    block: int
    region: int
    classes: tuple[Class | None, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as a reader would say them, unknown ones left out."""
        return tuple(short(c) for c in self.classes if c is not None)


class Exceptions:
    """The answers for one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._lines: dict[str, tuple[str, ...]] = {}
        self._classes: dict[tuple[FunctionNode, int], tuple[Class | None, ...]] = {}
        self._around: dict[tuple[FunctionNode, int], tuple[Handler, ...]] = {}

    # --- descent ---
    def line(self, path: str) -> tuple[str, ...]:
        """A class of a library with all that it derives from, itself first; empty if the model does not know it."""
        name = self.proper(path)
        known = self._lines.get(name)
        if known is None:
            self._lines[name] = ()  # a class does not derive from itself
            found: dict[str, None] = {}
            for role in self.project.models.model(MODEL).roles(name):
                if role.name == "derives":
                    found[name] = None
                    for base in role.attributes["bases"]:
                        found.update(dict.fromkeys(self.line(str(base)) or (str(base),)))
            known = self._lines[name] = tuple(found)
        return known

    def proper(self, path: str) -> str:
        """The name under which a class is kept: `asyncio.TimeoutError` is the builtin, `_decimal` is `decimal`."""
        name = canonical(path)
        for role in self.project.models.model(MODEL).roles(name):
            if role.name == "same":
                return str(role.attributes["as"])
        return name

    def derives(self, raised: Class, caught: Class) -> bool | None:
        """Whether a handler for `caught` takes `raised`; None if that is not known."""
        if isinstance(caught, str) and self.proper(caught) in ("builtins.BaseException", "builtins.Exception"):
            return True
        if isinstance(raised, ClassNode):
            if isinstance(caught, ClassNode):
                return caught in raised.mro
            lines = [self.line(path) for c in raised.mro for path in c.externals]
            if any(self.proper(caught) in line for line in lines):
                return True
            return False if lines and all(lines) else None
        if isinstance(caught, ClassNode):
            return False if self.line(raised) else None
        line = self.line(raised)
        if self.proper(caught) in line:
            return True
        return False if line and self.line(caught) else None

    # --- handlers ---
    def around(self, function: FunctionNode, op: int) -> tuple[Handler, ...]:
        """The handlers around an operation, innermost first, in the order in which they are asked."""
        block = self.project.flow(function).block_of(op)
        key = (function, block)
        known = self._around.get(key)
        if known is None:
            known = self._around[key] = tuple(self._handlers(function, block))
        return known

    def _handlers(self, function: FunctionNode, block: int) -> Iterator[Handler]:
        body = function.body
        region = body.blocks[block].region
        while region != NONE:
            for start in body.regions[region].handlers:
                part = body.blocks[start]
                catch = next((r for r in range(part.start, part.end) if isinstance(body.ops[r], Catch)), None)
                if catch is not None:
                    yield Handler(catch, start, region, self.caught(function, catch))
            region = body.regions[region].parent

    def taker(self, function: FunctionNode, op: int, raised: Class) -> tuple[Handler | None, bool]:
        """The first handler that surely takes an exception of an operation, and whether one before it may do so."""
        doubtful = False
        for handler in self.around(function, op):
            answers = [self.derives(raised, c) if c is not None else None for c in handler.classes]
            if any(answers):
                return handler, doubtful
            doubtful = doubtful or None in answers
        return None, doubtful

    def caught(self, function: FunctionNode, catch: int) -> tuple[Class | None, ...]:
        """The classes that a handler names; tuples taken apart, also those that a module defines."""
        key = (function, catch)
        known = self._classes.get(key)
        if known is None:
            step = function.body.ops[catch]
            if not isinstance(step, Catch) or not step.classes:
                known = EVERYTHING
            else:
                known = tuple(c for operand in step.classes for c in self._meant(function, operand, catch))
            self._classes[key] = known
        return known

    def _meant(self, function: FunctionNode, operand: int, before: int) -> Iterator[Class | None]:
        body = function.body
        place = body.places[operand]
        if place.root is Root.TEMP:
            maker = next((o for o in reversed(body.ops[:before]) if operand in writes(o)), None)
            if isinstance(maker, Collect):
                for item in maker.items:
                    yield from self._meant(function, item, before)
            elif isinstance(maker, Store):
                yield from self._meant(function, maker.src, before)
            else:
                yield None
            return
        if isinstance(place.name, Const | int) or any(kind is not Select.ATTR for kind, _ in place.path):
            yield None
            return
        dotted = ".".join((str(place.name).partition("'")[0], *(str(value) for _, value in place.path)))
        meaning = self.project.symbols.resolve(function.module, dotted, function)
        if isinstance(meaning, Variable) and not meaning.module.is_stub:
            yield from self._of_variable(meaning)
        elif meaning is None and not place.path and place.root is Root.GLOBAL:
            yield f"builtins.{place.name}"
        else:
            yield _class(meaning)

    def _of_variable(self, variable: Variable) -> Iterator[Class | None]:
        """`ERRORS = (ValueError, KeyError)` at the top of a module."""
        stores = self.project.symbols.assigned(variable.module).get(variable.name, ())
        top = variable.module.functions[0]
        step = top.body.ops[stores[0]] if len(stores) == 1 else None
        if isinstance(step, Store):
            yield from self._meant(top, step.src, stores[0])
        else:
            yield None

    def leaves(self, function: FunctionNode, handler: Handler) -> bool:
        """Whether a handler raises on some path: what it takes goes on to the callers."""
        body, flow = function.body, self.project.flow(function)
        behind = [n for n in flow.reachable([handler.block]) if flow.dominates(handler.block, n)]
        return any(
            isinstance(body.ops[r], Raise) for n in behind for r in range(body.blocks[n].start, body.blocks[n].end)
        )


def _class(meaning: Meaning | None) -> Class | None:
    if isinstance(meaning, ClassNode):
        return meaning if not meaning.module.is_stub else canonical(meaning.dotted)
    if isinstance(meaning, External):
        return canonical(meaning.path)
    if isinstance(meaning, Variable):
        return canonical(f"{meaning.module.name}.{meaning.name}")
    return None


def short(cls: Class) -> str:
    """The last name of a class."""
    return cls.name if isinstance(cls, ClassNode) else cls.rpartition(".")[2]
