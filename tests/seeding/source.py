"""A parsed file as the injectors see it: every node with the nodes around it, its bytes, and what its names mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper

from seeding.site import Edit, Site

Around = tuple[cst.CSTNode, ...]
INDENT = b"    "


@dataclass(frozen=True)
class Injector:
    """One fault. `needle` stands in every file that has a site; `find` gives the sites of one node, if any."""

    rule: str
    name: str
    needle: bytes
    find: Callable[[Source, cst.CSTNode, Around], Iterator[Site]]
    find_all: Callable[[Mapping[str, Source]], Iterator[Site]] | None = None


@dataclass
class Source:
    """One file."""

    path: str
    data: bytes
    _wrapper: MetadataWrapper = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._wrapper = MetadataWrapper(cst.parse_module(self.data), unsafe_skip_copy=True)

    @property
    def module(self) -> cst.Module:
        return self._wrapper.module

    @cached_property
    def _spans(self) -> Mapping[cst.CSTNode, object]:
        return self._wrapper.resolve(ByteSpanPositionProvider)

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """First byte of a node and the byte after it, without the parentheses around it."""
        span = self._spans[node]
        return span.start, span.start + span.length

    def outer(self, node: cst.BaseExpression) -> tuple[int, int]:
        """The same with the parentheses around it."""
        start, end = self.span(node)
        for _paren in node.lpar:
            start = self.data.rindex(b"(", 0, start)
        for _paren in node.rpar:
            end = self.data.index(b")", end) + 1
        return start, end

    def text(self, node: cst.CSTNode) -> bytes:
        """The bytes of a node."""
        start, end = self.span(node)
        return self.data[start:end]

    @cached_property
    def nodes(self) -> list[tuple[cst.CSTNode, Around]]:
        """Every node with those around it, outermost first."""
        found: list[tuple[cst.CSTNode, Around]] = []
        stack: list[tuple[cst.CSTNode, Around]] = [(self.module, ())]
        while stack:
            node, around = stack.pop()
            found.append((node, around))
            inner = (*around, node)
            stack.extend((child, inner) for child in reversed(node.children))
        return found

    def function(self, around: Around) -> tuple[str, int]:
        """The innermost function around a node, or the module."""
        inner = innermost(around)
        return self.path, -1 if inner is None else self.span(inner)[0]

    def edit(self, start: int, end: int, text: bytes | str) -> Edit:
        return Edit(self.path, start, end, text.encode() if isinstance(text, str) else text)

    @cached_property
    def imported(self) -> frozenset[str]:
        """Modules that are imported whole, under their own name, at the top."""
        names = set()
        for statement in self.module.body:
            for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
                if isinstance(small, cst.Import):
                    names.update(alias.evaluated_name for alias in small.names if alias.asname is None)
        return frozenset(names)

    def imports_from(self, module: str, name: str) -> bool:
        """Whether the top of the file has `from MODULE import NAME`, under its own name."""
        for statement in self.module.body:
            for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
                if isinstance(small, cst.ImportFrom) and small.module is not None and not small.relative:
                    if dotted(small.module) != module or isinstance(small.names, cst.ImportStar):
                        continue
                    if any(alias.evaluated_name == name and alias.asname is None for alias in small.names):
                        return True
        return False

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(node.value for node, _around in self.nodes if isinstance(node, cst.Name))

    def importing(self, name: str) -> tuple[str, tuple[Edit, ...]]:
        """A name for the module `name` and the edits that import it, if it is not there."""
        if name in self.imported:
            return name, ()
        if name in self._names:
            return f"seeded_{name}", (self._import(f"import {name} as seeded_{name}\n"),)
        return name, (self._import(f"import {name}\n"),)

    def _import(self, line: str) -> Edit:
        return self.edit(self.top, self.top, line)

    @cached_property
    def top(self) -> int:
        """Where an import can be put: before the first statement behind the docstring and `from __future__`."""
        place = len(self.data)
        for index, statement in enumerate(self.module.body):
            small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
            if isinstance(small, cst.Expr) and isinstance(small.value, cst.SimpleString) and index == 0:
                continue
            if isinstance(small, cst.ImportFrom) and small.module is not None and dotted(small.module) == "__future__":
                continue
            place = self.span(statement)[0]
            if isinstance(statement, cst.FunctionDef | cst.ClassDef) and statement.decorators:
                place = self.span(statement.decorators[0])[0]
            break
        return self.data.rfind(b"\n", 0, place) + 1

    def beginning(self, offset: int) -> list[tuple[cst.CSTNode, Around]]:
        """The nodes with text that begin at an offset, outermost first, each with those around it."""
        spans = self._spans
        found = [(node, around) for node, around in self.nodes if node in spans and self.span(node)[0] == offset]
        return [(node, around) for node, around in found if self.span(node)[1] > offset]


def dotted(node: cst.BaseExpression) -> str:
    """A name with dots, "" for anything else."""
    match node:
        case cst.Name(value=value):
            return str(value)
        case cst.Attribute(value=value, attr=cst.Name(value=last)):
            before = dotted(value)
            return f"{before}.{last}" if before else ""
        case _:
            return ""


def innermost(around: Around) -> cst.FunctionDef | None:
    """The innermost function; None in a lambda or outside."""
    for node in reversed(around):
        if isinstance(node, cst.Lambda):
            return None
        if isinstance(node, cst.FunctionDef):
            return node
    return None


def in_coroutine(around: Around) -> bool:
    """Whether the innermost function is an `async def`."""
    function = innermost(around)
    return function is not None and function.asynchronous is not None


def contains(node: cst.CSTNode, kinds: tuple[type[cst.CSTNode], ...]) -> bool:
    """Whether a node holds one of a kind, itself included."""
    return isinstance(node, kinds) or any(contains(child, kinds) for child in node.children)


def statement_start(source: Source, function: cst.FunctionDef) -> tuple[int, bytes] | None:
    """Where a first statement of a function can be put, and its indentation; None for a body on the line of the `def`."""
    if not isinstance(function.body, cst.IndentedBlock):
        return None
    for index, statement in enumerate(function.body.body):
        small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if index == 0 and isinstance(small, cst.Expr) and isinstance(small.value, cst.SimpleString):
            continue
        place = source.span(statement)[0]
        if isinstance(statement, cst.FunctionDef | cst.ClassDef) and statement.decorators:
            place = source.span(statement.decorators[0])[0]
        line = source.data.rfind(b"\n", 0, place) + 1
        indent = source.data[line:place]
        return (line, indent) if indent.strip() == b"" else None
    return None


def sites_of(sources: Iterable[Source], injectors: Sequence[Injector]) -> list[Site]:
    """All sites of these files, by file and place."""
    files = {source.path: source for source in sources}
    found: list[Site] = []
    for source in files.values():
        wanted = [injector for injector in injectors if injector.needle in source.data]
        for node, around in source.nodes if wanted else ():
            for injector in wanted:
                found.extend(injector.find(source, node, around))
    for injector in injectors:
        if injector.find_all is not None:
            found.extend(injector.find_all(files))
    return sorted(found, key=lambda site: (site.rule, site.injector, site.path, site.edits[0].start))


def nothing(_source: Source, _node: cst.CSTNode, _around: Around) -> Iterator[Site]:
    """For an injector that looks at all files together."""
    return iter(())
